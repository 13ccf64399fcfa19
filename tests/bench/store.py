#!/usr/bin/env python3
"""Measures the stores against one another: what durability costs, how a full store starts.

  throughput  messages per second and CPU of the broker per message, durable subscribers, with the
              memory store, and each other store as a part of it (GOAL: what is to be reached)
  latency     time from a QoS 1 PUBLISH to its PUBACK, one at a time, beside a bare fdatasync of
              the same disk
  restart     time from the start of the process to its listening and to the first CONNACK, with
              rows in the store; memory before, after and while one client reads them all
  reconnect   all clients of a store come back at once after a restart: time to the last CONNACK
              and to the last message; twice as many rows should take about twice as long
  delete      as many sessions as reconnect end by Clean Start: time to the last CONNACK

Every run has a broker and a directory of its own, below --dir: put it on the disk that counts.
The disk's fdatasync is measured before and after throughput, for some disks tire.
"""

import argparse
import json
import os
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import brokers

GOAL = {'sqlite': 0.6, 'leveldb': 0.4}
SHAPES = [
    ('pair QoS 1', 'pair -q 1 --durable', True),
    ('pair QoS 2', 'pair -q 2 -m 5 -w 400 --durable', False),
    ('fan-out QoS 1', 'fan-out -q 1 --durable', True),
    ('fan-out QoS 2', 'fan-out -q 2 -m 5 -w 40 --durable', False),
]
PAYLOAD = 100
WINDOW = 1000  # PUBLISH packets written together
SECONDS = 300  # before a wait has failed


class Store(brokers.Pigeon):
    """A broker that can be killed and started again on what it has stored."""

    def __init__(self, store, where=None, options=None):
        super().__init__(brokers.pigeon_binary())
        self.store, self.options = store, options or {}
        self.state = tempfile.mkdtemp(prefix='pigeon-store-', dir=where)

    def command(self):
        config = {
            'threads': 1,
            'persistence': self.store,
            'state_dir': self.state,
            'log': {'level': 'warn'},
            'limits': {'queue_messages': 100_000_000, 'queue_bytes': '100G'},
            'listeners': [{'name': 'default', 'port': self.port, 'bind': ['127.0.0.1']}],
            'plugins_dir': brokers.protocol.plugin_dirs(self.binary),
        }
        path = os.path.join(self.dir, 'pigeon.yaml')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(brokers.protocol.merge(config, self.options), f)
        return [self.binary, '-c', path]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def start(self):
        """Seconds until it listens, and until a new client has its CONNACK."""
        os.makedirs(self.dir, exist_ok=True)
        began = time.monotonic()
        with open(os.path.join(self.dir, 'log'), 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.dir)
        while True:
            try:
                s = socket.create_connection(('127.0.0.1', self.port), 1)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > began + SECONDS:
                    raise RuntimeError('does not start again\n' + self.log()) from None
                time.sleep(0.002)
        listening = time.monotonic() - began
        s.settimeout(SECONDS)
        s.sendall(connect('first'))
        take(s, 4)
        s.close()
        return listening, time.monotonic() - began

    def rss_mb(self):
        with open(f'/proc/{self.pid}/statm', encoding='ascii') as f:
            return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6

    def size_mb(self):
        return sum(os.path.getsize(os.path.join(at, n))
                   for at, _, names in os.walk(self.state) for n in names) / 1e6

    def __exit__(self, *args):
        super().__exit__(*args)
        shutil.rmtree(self.state, ignore_errors=True)


# ---- just enough of MQTT 3.1.1 ------------------------------------------------------------------

def text(s):
    return struct.pack('>H', len(s)) + s.encode()


def packet(first, body):
    n, out = len(body), bytearray([first])
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out) + body


def connect(client, clean=True):
    return packet(0x10, text('MQTT') + bytes([4, 2 if clean else 0, 0, 0]) + text(client))


def publish(topic, number):
    return packet(0x32, text(topic) + struct.pack('>H', number) + bytes(PAYLOAD))


def take(s, n):
    got = bytearray()
    while len(got) < n:
        part = s.recv(n - len(got))
        if not part:
            raise RuntimeError('closed by the broker')
        got += part
    return bytes(got)


def dial(server):
    s = socket.create_connection(('127.0.0.1', server.port), SECONDS)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def client_name(i):
    return f'c{i:07d}'


def topic_name(i):
    return f'q/{i:07d}'


def message_size():
    return len(publish(topic_name(0), 1))


def fill(server, sessions, each, shared=False):
    """Absent sessions with so many messages each, in turns; shared: all wait for the same ones."""
    for i in range(sessions):
        s = dial(server)
        s.sendall(connect(client_name(i), clean=False) +
                  packet(0x82, b'\0\1' + text(topic_name(0 if shared else i)) + b'\1'))
        take(s, 4 + 5)
        s.sendall(b'\xe0\0')
        while s.recv(1):
            pass
        s.close()
    s = dial(server)
    s.sendall(connect('filler'))
    take(s, 4)
    total, n = (each if shared else sessions * each), 0
    while n < total:
        many = min(WINDOW, total - n)
        s.sendall(b''.join(publish(topic_name(0 if shared else (n + i) % sessions), i + 1)
                           for i in range(many)))
        take(s, 4 * many)
        n += many
    s.close()


class Reader:
    """A session that comes back: reads messages of one size and acknowledges them."""

    def __init__(self, server, i, clean=False):
        self.socket = dial(server)
        self.socket.sendall(connect(client_name(i), clean))
        self.socket.setblocking(False)
        self.in_, self.n, self.is_on = bytearray(), 0, False

    def on_readable(self):
        try:
            part = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not part:
            raise RuntimeError('closed by the broker')
        self.in_ += part
        if not self.is_on:
            if len(self.in_) < 4:
                return
            self.is_on = True
            del self.in_[:4]
        size = message_size()
        whole = len(self.in_) // size
        if not whole:
            return
        at = size - PAYLOAD - 2
        acks = bytearray(b'\x40\2\0\0' * whole)
        end = whole * size
        acks[2::4], acks[3::4] = self.in_[at:end:size], self.in_[at + 1:end:size]
        del self.in_[:end]
        self.n += whole
        self.socket.setblocking(True)
        self.socket.sendall(acks)
        self.socket.setblocking(False)


def read_all(server, readers, each, on_progress=None):
    """Seconds until the last has its CONNACK, and until the last has its last message."""
    began = time.monotonic()
    connacks = drained = None
    with selectors.DefaultSelector() as selector:
        for r in readers:
            selector.register(r.socket, selectors.EVENT_READ, r)
        while drained is None:
            ready = selector.select(1)
            if time.monotonic() > began + SECONDS:
                raise RuntimeError(f'{sum(r.n for r in readers)} messages after {SECONDS} s')
            for key, _ in ready:
                key.data.on_readable()
            if connacks is None and all(r.is_on for r in readers):
                connacks = time.monotonic() - began
            if connacks is not None and all(r.n >= each for r in readers):
                drained = time.monotonic() - began
            if on_progress:
                on_progress()
    for r in readers:
        r.socket.close()
    return connacks, drained


# ---- what is measured ---------------------------------------------------------------------------

def fdatasync_us(where, n=200):
    """Median time to append 4 KiB to a file that is long enough, and have it on the disk."""
    with tempfile.TemporaryFile(dir=where) as f:
        f.write(bytes(4096 * n))
        f.flush()
        os.fsync(f.fileno())
        f.seek(0)
        took = []
        for _ in range(n):
            began = time.monotonic()
            os.write(f.fileno(), bytes(4096))
            os.fdatasync(f.fileno())
            took.append((time.monotonic() - began) * 1e6)
    return statistics.median(took)


def throughput(options):
    print(f'fdatasync: {fdatasync_us(options.dir):.0f} us')
    stores = ['memory', *options.stores]
    for title, args, has_goal in SHAPES:
        results = {name: [] for name in stores}
        for turn in range(options.rounds):
            for name in stores if turn % 2 == 0 else stores[::-1]:
                with Store(name, options.dir) as server:
                    out = brokers.run_bench(server.port, [
                        *args.split(), '-l', PAYLOAD, '--duration', options.duration, '--warmup',
                        0.5, '--timeout', 30], server.pid)[0]
                p = next(p for p in out['phases'] if p['name'] == 'publish')
                results[name].append((p['n'] / p['seconds'], p['broker_cpu_us_per_unit']))
        base = statistics.median(rate for rate, _ in results['memory'])
        for name in stores:
            rate, cpu = (statistics.median(column) for column in zip(*results[name]))
            goal = GOAL.get(name) if has_goal else None
            print(f'{title:14} {name:8} {rate:10.0f}/s {cpu:7.2f} us CPU  ratio {rate / base:.2f}' +
                  (f'  goal {goal}' if goal else ''), flush=True)
    print(f'fdatasync: {fdatasync_us(options.dir):.0f} us')


def latency(options):
    for name in ['memory', *options.stores]:
        with Store(name, options.dir) as server:
            fill(server, 1, 0)
            s = dial(server)
            s.sendall(connect('one'))
            take(s, 4)
            bare, took = [], []
            for i in range(options.count or 1000):
                began = time.monotonic()
                s.sendall(publish(topic_name(0), i % 65535 + 1))
                take(s, 4)
                took.append((time.monotonic() - began) * 1e6)
                if i % 250 == 0:
                    bare.append(fdatasync_us(options.dir, 50))
            s.close()
        took.sort()
        print(f'latency        {name:8} p50 {statistics.median(took):6.0f} us  '
              f'p99 {took[len(took) * 99 // 100]:6.0f} us  '
              f'bare fdatasync {statistics.median(bare):.0f} us', flush=True)


def restart(options):
    total = options.count or 1_000_000
    for name in options.stores:
        for sessions in (1, 10_000):
            with Store(name, options.dir) as server:
                before = server.rss_mb()
                fill(server, sessions, total // sessions)
                filled = server.rss_mb()
                server.kill()
                listening, connack = server.start()
                after, most = server.rss_mb(), [0]

                def look():
                    most[0] = max(most[0], server.rss_mb())

                n = min(sessions, 100)
                took = read_all(server, [Reader(server, i) for i in range(n)], total // sessions,
                                look)
                print(f'restart        {name:8} {sessions} x {total // sessions}: '
                      f'listens {listening:.2f} s, CONNACK {connack:.2f} s; '
                      f'RSS empty {before:.0f}, filled {filled:.0f}, restarted {after:.0f}, '
                      f'read {most[0]:.0f} MB; {n} read in {took[1]:.2f} s; '
                      f'{server.size_mb():.0f} MB on disk', flush=True)


def reconnect(options):
    each = 200
    for name in options.stores:
        for shared in (False, True):
            for sessions in (500, 1000):
                with Store(name, options.dir) as server:
                    fill(server, sessions, each, shared)
                    server.kill()
                    server.start()
                    began = time.monotonic()
                    readers = [Reader(server, i) for i in range(sessions)]
                    dialled = time.monotonic() - began
                    on, drained = read_all(server, readers, each)
                    kind = 'shared' if shared else 'own'
                    print(f'reconnect      {name:8} {sessions} x {each} {kind} messages: '
                          f'CONNACKs {dialled + on:.2f} s, all messages {dialled + drained:.2f} s',
                          flush=True)


def delete(options):
    each = 200
    for name in options.stores:
        for sessions in (500, 1000):
            with Store(name, options.dir) as server:
                fill(server, sessions, each)
                server.kill()
                server.start()
                began = time.monotonic()
                readers = [Reader(server, i, clean=True) for i in range(sessions)]
                read_all(server, readers, 0)
                print(f'delete         {name:8} {sessions} x {each}: '
                      f'CONNACKs {time.monotonic() - began:.2f} s', flush=True)


PARTS = {f.__name__: f for f in (throughput, latency, restart, reconnect, delete)}


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('parts', nargs='*', help='(all)')
    p.add_argument('--stores', default='sqlite,leveldb', help='besides memory (sqlite,leveldb)')
    p.add_argument('--dir', help='where the stores are (the directory for temporary files)')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--duration', type=float, default=3, help='seconds of a run of throughput')
    p.add_argument('--count', type=int, help='rows of restart, messages of latency')
    options = p.parse_args()
    options.stores = options.stores.split(',')
    for part in options.parts or PARTS:
        if part not in PARTS:
            p.error(f'unknown: {part}')
        PARTS[part](options)


if __name__ == '__main__':
    sys.exit(main())
