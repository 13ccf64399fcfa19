"""Brokers and the load generator, for the benchmarks: started on loopback, stopped by their pid.

Environment: PIGEON_BENCH and PIGEOND, the binaries (default: from build/ of this tree).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'protocol'))

import broker as protocol  # noqa: E402

DEADLINE = 20.0


def find_binary(variable, *candidates):
    given = os.environ.get(variable)
    for path in [given] if given else [os.path.join(ROOT, 'build', c) for c in candidates]:
        if os.path.isfile(path):
            return os.path.abspath(path)
    return None


def bench_binary():
    return find_binary('PIGEON_BENCH', 'src/bench/pigeon-bench', 'pigeon-bench')


def pigeon_binary():
    return find_binary('PIGEOND', 'pigeond', 'src/pigeond/pigeond', 'src/pigeond')


def mosquitto_binary():
    return shutil.which('mosquitto') or shutil.which('mosquitto', path='/usr/sbin')


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    """One process that listens on self.port. Use as a context manager."""

    def __init__(self, binary, cpu=None):
        self.binary, self.cpu = binary, cpu
        self.dir = tempfile.mkdtemp(prefix='pigeon-bench-')
        self.port = free_port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def __enter__(self):
        prefix = ['taskset', '-c', str(self.cpu)] if self.cpu is not None else []
        with open(os.path.join(self.dir, 'log'), 'wb') as log:
            self.process = subprocess.Popen(prefix + self.command(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.dir)
        end = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    text = self.log()
                    self.__exit__()
                    raise RuntimeError(f'{self.binary} does not listen\n{text}') from None
                time.sleep(0.02)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def log(self):
        with open(os.path.join(self.dir, 'log'), encoding='utf-8', errors='replace') as f:
            return f.read()

    @property
    def pid(self):
        return self.process.pid


class Mosquitto(Server):
    """Nothing may be dropped: no limit of queued messages, nor of those in flight, above which
    Mosquitto closes the connection of QoS 2 publishers."""

    name = 'mosquitto'

    def command(self):
        path = os.path.join(self.dir, 'mosquitto.conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(f'listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n'
                    'max_queued_messages 0\nmax_inflight_messages 0\n'
                    'log_dest stderr\nlog_type error\nlog_type warning\n')
        return [self.binary, '-c', path]


class Pigeon(Server):
    """One loop, store-memory, defaults otherwise; logs as little as Mosquitto does here."""

    name = 'pigeon'
    threads = 1

    def command(self):
        config = {
            'threads': self.threads,
            'persistence': 'memory',
            'state_dir': self.dir,
            'log': {'level': 'warn'},
            'listeners': [{'name': 'default', 'port': self.port, 'bind': ['127.0.0.1']}],
        }
        plugins = protocol.plugin_dirs(self.binary)
        if plugins:
            config['plugins_dir'] = plugins
        everywhere = json.loads(os.environ.get('PIGEON_TEST_OPTIONS', '{}'))
        path = os.path.join(self.dir, 'pigeon.yaml')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(protocol.merge(config, everywhere), f)  # JSON is YAML
        return [self.binary, '-c', path]


class BenchFailed(Exception):
    pass


def run_bench(port, args, pid=None, cpu=None, timeout=600):
    """(result as a dict, exit status 0 or 3)."""
    command = ['taskset', '-c', str(cpu)] if cpu is not None else []
    command += [bench_binary(), '--port', str(port), '--json', *map(str, args)]
    if pid is not None:
        command += ['--broker-pid', str(pid)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False)
    if done.returncode not in (0, 3):
        raise BenchFailed(f'{" ".join(command)}: {done.returncode}\n{done.stderr.strip()}')
    return json.loads(done.stdout), done.returncode
