#!/usr/bin/env python3
"""What clients notice of a plugin that blocks for three seconds in run mode `worker`.

Two brokers take turns: one without the plugin, one where a login is blocked all the time. Prints
throughput (messages per second, pair QoS 1) and the 99th percentile of the latency at 5000 messages
per second of clients that have nothing to do with it; medians over the rounds, and their ratio,
which is to stay within ten per cent of 1.
"""

import argparse
import json
import os
import socket
import statistics
import sys
import threading

import run  # before brokers, which puts another one in front of it
import brokers
import mqtt

HOLD_S = 3.0
ROWS = [run.Row('pair', 'pair -q 1', [('messages/s', 'publish', 'n', 0.9)]),
        run.Row('rate', 'pair --rate 5000 --pairs 10', [('p99 us', 'latency_us', 'p99', 1.1)])]


class Plain(brokers.Pigeon):
    name = 'without'
    threads = 2
    plugins = {}
    chains = None

    def command(self):
        self.slow = brokers.free_port()
        fast = {'name': 'default', 'port': self.port, 'bind': ['127.0.0.1']}
        slow = {'name': 'slow', 'port': self.slow, 'bind': ['127.0.0.1']}
        if self.chains:
            fast['chains'] = self.chains
        config = {'threads': self.threads, 'persistence': 'memory', 'state_dir': self.dir,
                  'log': {'level': 'warn'}, 'listeners': [fast, slow], 'connect_timeout': '1h',
                  'plugins_dir': brokers.protocol.plugin_dirs(self.binary),
                  'plugins': self.plugins_block()}
        path = os.path.join(self.dir, 'pigeon.yaml')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(config, f)  # JSON is YAML
        return [self.binary, '-c', path]

    def plugins_block(self):
        return {}


class Blocked(Plain):
    """A login waits for the plugin from the start to the end, three seconds each."""

    name = 'blocked'
    chains = {'authenticate': []}

    def plugins_block(self):
        gate = os.path.join(os.path.dirname(self.binary), 'tests', 'plugin', 'worker_gate_auth.so')
        return {'gate': {'file': gate, 'run': 'worker', 'deadline': '1h',
                         'options': {'dir': self.dir}}}

    def __enter__(self):
        super().__enter__()
        self.over = threading.Event()
        os.mkfifo(os.path.join(self.dir, 'fifo'))
        self.fifo = os.open(os.path.join(self.dir, 'fifo'), os.O_RDWR | os.O_NONBLOCK)
        self.thread = threading.Thread(target=self.log_in)
        self.thread.start()
        return self

    def log_in(self):
        while not self.over.is_set():
            with socket.create_connection(('127.0.0.1', self.slow)) as s:
                s.sendall(mqtt.connect('slow', username='block-fifo'))
                self.over.wait(HOLD_S)
                os.write(self.fifo, b'a')
                s.recv(1)

    def __exit__(self, *args):
        self.over.set()
        self.thread.join()
        os.close(self.fifo)
        super().__exit__(*args)


def value_of(result, phase, field):
    """As run's, a number of units per second."""
    value = run.value_of(result, phase, field)
    return value / run.value_of(result, phase, 'seconds') if field == 'n' else value


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--rounds', type=int, default=5)
    ap.add_argument('--duration', type=float, default=4)
    options = ap.parse_args()
    options.pin, options.quick = False, False
    contenders = [(Plain, brokers.pigeon_binary()), (Blocked, brokers.pigeon_binary())]
    results = run.measure(ROWS, contenders, options)
    fine = True
    for row in ROWS:
        title, phase, field, bound = row.metrics[0]
        plain, blocked = (statistics.median(value_of(r, phase, field)
                                            for r in results[row.name][kind.name]
                                            if not isinstance(r, str))
                          for kind, _ in contenders)
        ratio = blocked / plain
        good = ratio >= bound if bound < 1 else ratio <= bound
        fine = fine and good
        print(f'{title}: {plain:.0f} without, {blocked:.0f} blocked, ratio {ratio:.3f} '
              f'({"good" if good else "missed"}, bound {bound})')
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
