"""Starts the broker under test on a loopback port of its own, and stops it by its pid.

Environment:
  PIGEOND               the binary (default build/pigeond of this tree)
  BROKER_KIND           pigeon (default) or mosquitto: the same cases against /usr/sbin/mosquitto
  PIGEON_TEST_THREADS   event loops (default 1)
  PIGEON_TEST_STORE     persistence (default memory)
  PIGEON_TEST_PLUGINS   plugin directories, separated by colons (default: where the build has *.so)
  PIGEON_TEST_OPTIONS   JSON object merged into every configuration (a test's own options win)
  PIGEON_TEST_PREFIX    words put before the command line, e.g. "valgrind -q"
  PIGEON_TEST_KEEP      keep the temporary directories
"""

import functools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib

import mqtt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KIND = os.environ.get('BROKER_KIND', 'pigeon')
THREADS = int(os.environ.get('PIGEON_TEST_THREADS', '1'))
START_DEADLINE = 30.0
STOP_DEADLINE = max(10.0, mqtt.DEADLINE)
LISTENING = re.compile(r'\blistening\b.*\blistener=(\S+).*\b(?:port=(\d+)|path=(\S+))')
COMPLAINT = re.compile(r'Sanitizer|runtime error:|Assertion|^==\d+==|corrupted|double free')
LISTENER = {'name': 'default', 'port': 0, 'bind': ['127.0.0.1']}

# Options of Pigeon that have an equal in mosquitto.conf; the others are left out there.
MOSQUITTO = {
    'limits.packet_size': 'max_packet_size',
    'limits.max_keepalive': 'max_keepalive',
}


def merge(base, extra):
    """extra over base, tables merged."""
    out = dict(base)
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            value = merge(out[key], value)
        out[key] = value
    return out


def flatten(options, prefix=''):
    for key, value in options.items():
        if isinstance(value, dict):
            yield from flatten(value, prefix + key + '.')
        else:
            yield prefix + key, value


def plugin_dirs(binary):
    """Where the plugins of this build are: any directory below plugins/ with a *.so in it."""
    given = os.environ.get('PIGEON_TEST_PLUGINS')
    if given:
        return given.split(':')
    found = set()
    for build in (os.path.dirname(binary), os.path.dirname(os.path.dirname(binary))):
        for here, _, files in os.walk(os.path.join(build, 'plugins')):
            if any(name.endswith('.so') for name in files):
                found.add(here)
        if found:
            break
    return sorted(found)


def _is_sanitized(pid):
    try:
        with open(f'/proc/{pid}/statm', encoding='ascii') as f:
            return int(f.read().split()[0]) * os.sysconf('SC_PAGE_SIZE') > 1 << 40
    except (OSError, IndexError):
        return False


class Broker:
    """One broker process. options: configuration as a (nested) dict; args: more arguments."""

    def __init__(self, options=None, args=(), name='broker', state_dir=None):
        self.options, self.args, self.name = options or {}, list(args), name
        self.dir = tempfile.mkdtemp(prefix='pigeon-test-')
        self.state_dir = state_dir or os.path.join(self.dir, 'state')
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        self.process = self.address = None
        self.prefix = []  # words before the command
        self.ports = {}  # of the listeners, by name; the path of a unix socket
        self.log = []  # lines of stderr, all starts
        self._reader, self._wanted = None, {'default'}
        self._up = threading.Event()
        self._news = threading.Condition()  # of the log

    # -- life

    def start(self):
        self._up.clear()
        self.ports = {}
        command = self._mosquitto() if KIND == 'mosquitto' else self._pigeon()
        prefix = shlex.split(os.environ.get('PIGEON_TEST_PREFIX', ''))
        self.process = subprocess.Popen(prefix + self.prefix + command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        cwd=self.dir)
        self._reader = threading.Thread(target=self._read_log, args=(self.process.stderr,),
                                        daemon=True)
        self._reader.start()
        if not self._up.wait(START_DEADLINE) or not self._wanted <= set(self.ports):
            self.kill()
            raise RuntimeError(f'{self.name} does not listen\n{self.report()}')
        self.address = ('127.0.0.1', self.ports['default'])
        return self

    @staticmethod
    def binary():
        return os.path.abspath(os.environ.get('PIGEOND', os.path.join(ROOT, 'build', 'pigeond')))

    def _pigeon(self):
        binary = self.binary()
        everywhere = json.loads(os.environ.get('PIGEON_TEST_OPTIONS', '{}'))
        config = {'threads': THREADS, 'state_dir': self.state_dir, 'listeners': [LISTENER],
                  'persistence': os.environ.get('PIGEON_TEST_STORE', 'memory')}
        plugins = plugin_dirs(binary)
        if plugins:
            config['plugins_dir'] = plugins
        config = merge(merge(config, everywhere), self.options)
        self._wanted = {one['name'] for one in config['listeners']}
        path = os.path.join(self.dir, 'pigeon.conf')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(config, f, indent=2)  # JSON is YAML
            f.write('\n')
        return [binary, '-c', path] + self.args

    def _mosquitto(self):
        with socket.socket() as s:  # 2.0 cannot listen on port 0 and say which it got
            s.bind(('127.0.0.1', 0))
            self._wanted_port = s.getsockname()[1]
        path = os.path.join(self.dir, 'mosquitto.conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(f'listener {self._wanted_port} 127.0.0.1\nallow_anonymous true\n'
                    'max_queued_messages 0\nlog_type all\nlog_dest stderr\n'
                    f'persistence true\npersistence_location {self.state_dir}/\n')
            for key, value in flatten(self.options):
                if key in MOSQUITTO:
                    f.write(f'{MOSQUITTO[key]} {value}\n')
        return [shutil.which('mosquitto') or '/usr/sbin/mosquitto', '-c', path]

    def _read_log(self, pipe):
        for raw in pipe:
            line = raw.decode('utf-8', 'replace').rstrip('\n')
            with self._news:
                self.log.append(line)
                self._news.notify_all()
            if self._up.is_set():
                continue
            found = LISTENING.search(line)
            if found:
                port, path = found.group(2), found.group(3)
                self.ports[found.group(1).strip('"')] = int(port) if port else path.strip('"')
            elif KIND == 'mosquitto' and re.search(r'mosquitto version .* running', line):
                self.ports['default'] = self._wanted_port
            if self._wanted <= set(self.ports):
                self._up.set()
        pipe.close()
        self._up.set()  # EOF: gone before it listened, or just gone

    def stop(self, term=True):
        """SIGTERM (unless it was sent already); returns the exit code.

        SIGKILL and an error when it does not go."""
        process, self.process = self.process, None
        if process is None:
            return 0
        since = len(self.log)
        if term and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            self._insist(process, since)
        try:
            code = process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f'{self.name} did not stop on SIGTERM\n{self.report()}') from None
        finally:
            self._reader.join(STOP_DEADLINE)
        return code

    def _insist(self, process, since):
        """ThreadSanitizer sometimes keeps a signal that comes right after the start for itself."""
        if not _is_sanitized(process.pid):
            return
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            if not any(' stopping ' in line for line in self.log[since:]):
                process.send_signal(signal.SIGTERM)

    def kill(self):
        """SIGKILL, as in a crash."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            self._reader.join(STOP_DEADLINE)

    def restart(self, crash=False):
        """Stop (or SIGKILL) and start again on the same state directory, on a new port."""
        if crash:
            self.kill()
        else:
            code = self.stop()
            if code != 0:
                raise RuntimeError(f'{self.name} ended with {code}\n{self.report()}')
        return self.start()

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def rss(self):
        """Resident bytes of the process."""
        with open(f'/proc/{self.pid}/statm', encoding='ascii') as f:
            return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def fds(self):
        """Number of open file descriptors."""
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    @property
    def sanitized(self):
        """Built with a sanitizer: terabytes reserved for shadow memory; rss() means little."""
        return _is_sanitized(self.pid)

    def wait_log(self, text, since=0, timeout=10.0):
        """The first line with this text, once it has been written and read: the log takes its own
        way and may come after an answer."""
        def line():
            return next((one for one in self.log[since:] if text in one), None)
        with self._news:
            if not self._news.wait_for(lambda: line() is not None, timeout):
                raise mqtt.Timeout(f'{text!r} is not in the log\n{self.report()}')
            return line()

    def reload(self, outcome):
        """SIGHUP; the log from there on, once this text is in it. ThreadSanitizer sometimes keeps a
        signal for itself: see _insist."""
        since = len(self.log)
        os.kill(self.pid, signal.SIGHUP)
        try:
            self.wait_log(outcome, since, STOP_DEADLINE / 2)
        except mqtt.Timeout:
            if self.sanitized:
                os.kill(self.pid, signal.SIGHUP)
            self.wait_log(outcome, since, STOP_DEADLINE)
        return '\n'.join(self.log[since:])

    def complaints(self, lines=50):
        """What sanitizers and assertions wrote to stderr, all starts, from the first such line on;
        empty when all is well."""
        first = next((i for i, line in enumerate(self.log) if COMPLAINT.search(line)), None)
        return [] if first is None else self.log[first:first + lines]

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def report(self, lines=60):
        return ''.join(f'      | {line}\n' for line in self.log[-lines:])

    def cleanup(self):
        if self.process is not None:
            self.kill()
        if not os.environ.get('PIGEON_TEST_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)


class BrokerCase(unittest.TestCase):
    """A test class with one broker for all its tests. Set `options` (configuration)."""

    options = {}
    version = mqtt.V5  # of the clients, unless a test says otherwise
    args = ()
    broker = None

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(cls.options, cls.args, cls.__name__)
        try:
            cls.broker.start()
        except BaseException:
            cls.broker.cleanup()
            raise

    @classmethod
    def tearDownClass(cls):
        broker = cls.broker
        died = broker.process is not None and not broker.alive
        # Where everything takes ten times as long, five seconds may not be enough for the end.
        slow = not died and broker.sanitized
        try:
            code = broker.stop()
            code = 0 if slow and code == 1 and any(
                'stop_forced' in line or 'leaving now' in line for line in broker.log) \
                else code
            told = ''.join(f'      | {line}\n' for line in broker.complaints())
            if died or code != 0 or told:
                raise RuntimeError(f'{cls.__name__}: the broker '
                                   f'{"died" if died else "ended"} with {code}\n'
                                   f'{told or broker.report()}')
        finally:
            broker.cleanup()

    def setUp(self):
        self._clients = []
        self._log_from = len(self.broker.log)

    def run(self, result=None):
        """As unittest's; the broker's log since the test began follows a failure."""
        before = _problems(result)
        out = super().run(result)
        if result is not None and _problems(result) != before and self.broker is not None:
            lines = self.broker.log[getattr(self, '_log_from', 0):]
            for line in lines[-40:]:
                print(f'      | {line}', file=sys.stderr)
            if not self.broker.alive and self.broker.process is not None:
                print('      | (the broker is dead; starting it again)', file=sys.stderr)
                self.broker.kill()
                self.broker.start()
        return out

    def tearDown(self):
        for c in self._clients:
            c.close()

    # -- names of this test's own, so that tests do not meet each other

    def topic(self, *rest):
        return '/'.join(['t', type(self).__name__, self._testMethodName, *rest])

    def id(self, suffix=None):
        """Without an argument unittest's id of the test; with one, a client id of this test,
        short enough for MQTT 3.1 (23 bytes)."""
        if suffix is None:
            return super().id()
        whole = zlib.crc32(super().id().encode())
        return f'{suffix}-{whole:08x}'

    # -- clients

    def raw(self, client_id=None, **kw):
        """A client with an open socket that has not sent CONNECT. client_id: used as it is."""
        kw.setdefault('version', self.version)
        c = mqtt.Client(self.broker, '' if client_id is None else client_id, **kw)
        self._clients.append(c)
        return c

    def client(self, name='c', session_present=None, reason=0, **kw):
        """A connected client with an id made of name and the test's name."""
        c = self.raw(self.id(name), **kw)
        c.connect(reason=reason, session_present=session_present)
        return c

    def subscriber(self, *filters, name='sub', qos=0, no_local=False, rap=False, rh=0,
                   sub_props=None, **kw):
        """A connected client with these filters granted at qos."""
        c = self.client(name, **kw)
        ack = c.subscribe(*filters, qos=qos, no_local=no_local, rap=rap, rh=rh, props=sub_props)
        self.assertTrue(all(r <= 2 for r in ack.reasons), ack)
        return c

    def forget(self, name):
        """Discard the session that client(name) left."""
        c = self.client(name)
        c.disconnect()

    def fence(self, publisher, subscriber):
        """Everything publisher sent before has reached subscriber, which has to have no other
        traffic left to read: a marker goes the same way. Returns what came before the marker."""
        marker = f'fence/{os.urandom(6).hex()}'
        subscriber.subscribe(marker)
        publisher.publish(marker, b'fence')
        publisher.ping()
        out = []
        while True:
            p = subscriber.recv()
            if p.type == mqtt.PUBLISH and p.topic == marker:
                return out
            out.append(p)

    def expect_nothing_from(self, publisher, subscriber):
        """No message of publisher is on its way to subscriber (stronger than a PINGREQ when the
        two are served by different event loops)."""
        got = self.fence(publisher, subscriber)
        if got:
            raise mqtt.Failure(f'nothing expected, got {got!r}')

    def still_serving(self):
        """The broker answers a newcomer."""
        c = mqtt.Client(self.broker, '')
        c.connect()
        c.ping()
        c.disconnect()


def _problems(result):
    return None if result is None else len(result.failures) + len(result.errors)


def now():
    return time.monotonic()


@functools.lru_cache
def features():
    """What `pigeond -V` says it can do, as {'WebSocket': 'no', ...}; empty without a binary."""
    if KIND != 'pigeon':
        return {}
    try:
        out = subprocess.run([Broker.binary(), '-V'], stdin=subprocess.DEVNULL, check=False,
                             capture_output=True, text=True, timeout=START_DEADLINE).stdout
    except OSError:
        return {}
    return dict(re.findall(r'(\w+): (\w+)', out))


def needs(feature):
    """Skips a test, or a class of them, where this broker was built without the feature."""
    have = features().get(feature, 'no') != 'no'
    return unittest.skipUnless(have, f'this broker has no {feature}')


def pigeon_only(test):
    return unittest.skipIf(KIND != 'pigeon', 'behaviour of Pigeon, not of MQTT')(test)
