"""What the tests of several nodes share: brokers that meet in a directory through bus-pair, and a
node that is not a broker: it speaks to brokers in raw parcels."""

import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest

import broker
import mqtt
from plugin_case import Broker, plugin

# A node is given up after three; where everything is slow that must not happen by itself.
HELLO = '300ms' if mqtt.DEADLINE <= 10 else '2s'
NUMBERS = {'sys': {'options': {'aedes': False, 'mosquitto': False, 'interval': '100ms'}}}


class Cluster:
    """Brokers that share a directory. options: of every broker; faults: options of bus-pair, of
    all or, as a list, of each; buses: a list of who stands in for bus-pair."""

    def __init__(self, n, options=None, faults=None, buses=None):
        self.dir = tempfile.mkdtemp(prefix='pb-')
        self.meet = os.path.join(self.dir, 'n')
        os.mkdir(self.meet)
        self.nodes, self.controls = [], []
        for i in range(n):
            control = os.path.join(self.dir, f'control{i}')
            of_bus = {'dir': self.meet, 'control': control}
            of_bus.update(faults[i] if isinstance(faults, list) else faults or {})
            bus = buses[i] if buses else 'bus-pair'
            one = {'id': f'node{i}', 'bus': bus.removeprefix('bus-'), 'bus_hello': HELLO,
                   'plugins': {**plugin(bus, of_bus), **NUMBERS}}
            self.controls.append(control)
            self.nodes.append(Broker(broker.merge(one, options or {}), name=f'node{i}'))

    def start(self):
        for b in self.nodes:
            b.start()
        self.await_all()
        return self

    def await_all(self):
        """Each has met all the others."""
        for b in self.nodes:
            for other in self.nodes:
                if other is not b:
                    b.wait_log(f'node={other.name}', timeout=mqtt.DEADLINE)

    def command(self, i, text):
        """up, down or frozen."""
        path = self.controls[i]
        with open(path + '.new', 'w', encoding='ascii') as f:
            f.write(text)
        since = len(self.nodes[i].log)
        os.rename(path + '.new', path)
        if text == 'frozen':
            self.nodes[i].wait_log('is frozen', since, mqtt.DEADLINE)

    def stop(self):
        """Stops all; the first thing that is wrong, or None."""
        wrong = None
        for b in self.nodes:
            try:
                died = b.process is not None and not b.alive
                code = b.stop()
                told = b.complaints()
                if died or code != 0 or told:
                    wrong = wrong or (f'{b.name} {"died" if died else "ended"} with {code}\n' +
                                      ('\n'.join(told) or b.report()))
            except RuntimeError as e:
                wrong = wrong or str(e)
        return wrong

    def cleanup(self):
        for b in self.nodes:
            b.cleanup()
        shutil.rmtree(self.dir, ignore_errors=True)


class ClusterCase(unittest.TestCase):
    """A cluster for all tests of a class."""

    n_nodes, options, faults, buses = 2, {}, None, None
    cluster = None

    @classmethod
    def setUpClass(cls):
        if broker.KIND != 'pigeon':
            raise unittest.SkipTest('plugins of Pigeon')
        cls.cluster = Cluster(cls.n_nodes, cls.options, cls.faults, cls.buses)
        try:
            cls.cluster.start()
        except BaseException:
            cls.cluster.cleanup()
            raise
        cls.nodes = cls.cluster.nodes

    @classmethod
    def tearDownClass(cls):
        wrong = cls.cluster.stop()
        cls.cluster.cleanup()
        if wrong:
            raise RuntimeError(f'{cls.__name__}: {wrong}')

    def setUp(self):
        self._clients = []
        self._from = [len(b.log) for b in self.nodes]

    def tearDown(self):
        for c in self._clients:
            c.close()

    def run(self, result=None):
        before = broker._problems(result)
        out = super().run(result)
        if result is not None and broker._problems(result) != before and self.cluster:
            for b, since in zip(self.nodes, getattr(self, '_from', [0] * len(self.nodes))):
                for line in b.log[since:][-25:]:
                    print(f'      {b.name}| {line}', file=sys.stderr)
        return out

    def topic(self, *rest):
        return '/'.join(['t', type(self).__name__, self._testMethodName, *rest])

    def client(self, node, name='c', session_present=None, **kw):
        c = mqtt.Client(self.nodes[node], f'{name}-{self._testMethodName}', **kw)
        self._clients.append(c)
        c.connect(session_present=session_present)
        return c

    def subscriber(self, node, *filters, name='sub', qos=0, **kw):
        """Every other node knows of it when this returns."""
        c = self.client(node, f'{name}{node}', auto_ack=True, **kw)
        c.subscribe(*filters, qos=qos)
        self.known(node)
        return c

    def known(self, node):
        """What was subscribed at a node is known at all the others: they send it a mark."""
        mark = f'mark/{os.urandom(6).hex()}'
        watcher = self.client(node, f'w{os.urandom(3).hex()}')
        watcher.subscribe(mark)
        for i in range(len(self.nodes)):
            if i != node:
                self._mark(i, watcher, f'{i}', mark)
        watcher.close()

    def _mark(self, node, watcher, text, topic):
        c = self.client(node, f'm{os.urandom(3).hex()}')
        deadline = time.monotonic() + mqtt.DEADLINE
        while time.monotonic() < deadline:
            c.publish(topic, text)
            try:
                while watcher.expect(mqtt.PUBLISH, 0.05).payload != text.encode():
                    pass
                c.close()
                return
            except mqtt.Timeout:
                pass
        raise mqtt.Failure(f'node {node} does not hear of a subscription')

    def until(self, what, text):
        """Waits for what() to be true."""
        deadline = time.monotonic() + mqtt.DEADLINE
        while not what():
            if time.monotonic() > deadline:
                raise mqtt.Failure(text)
            time.sleep(0.02)

    def number(self, node, name):
        """A number of $SYS/broker/bus/..., as it was a moment ago."""
        c = self.client(node, f'n{os.urandom(3).hex()}')
        c.subscribe(f'$SYS/broker/bus/{name}')
        value = int(c.message().payload)
        c.close()
        return value

    def counted(self, node, name, least):
        self.until(lambda: self.number(node, name) >= least, f'{name} of node {node} < {least}')


# ---------------------------------------------------------------- a node in Python

HEAD = struct.Struct('=IIQQQ')


def u16s(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack('>H', len(data)) + data


def u32s(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack('>I', len(data)) + data


def word(kind, content=b''):
    return struct.pack('>BI', kind, len(content)) + content


def hello(node_id, period=60000, clock=0, welcome=0):
    return word(1, u16s(node_id) + struct.pack('>IQB', period, clock, welcome))


def interest(key, add=True, online=True):
    return word(4, struct.pack('>B', add | online << 1) + u32s(key))


def message(topic, payload=b'', qos=0, retain=False, plain=True, groups=(), node=77, n=1, ms=1,
            flags=0):
    flags |= qos | retain << 2 | plain << 3
    return (struct.pack('>BQQQ', flags, node, n, ms) + u16s(topic) + u16s('') + u16s('') + u32s('') +
            u32s(payload) + struct.pack('>H', len(groups)) + b''.join(map(u16s, groups)))


class RawNode:
    """Listens in the directory as bus-pair does, dials every broker there, keeps what it is sent."""

    def __init__(self, cluster, incarnation=None, node_id='raw'):
        self.me = incarnation or int.from_bytes(os.urandom(7), 'big')
        self.node_id, self.seq, self.got = node_id, {}, []
        self._news, self.dialed = threading.Condition(), 0
        self.path = os.path.join(cluster.meet, f'{self.me:016x}')
        self.links = {}
        for name in os.listdir(cluster.meet):
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(os.path.join(cluster.meet, name))
                self.links[int(name, 16)] = s
            except ConnectionRefusedError:
                s.close()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            self.dialed += 1
            threading.Thread(target=self._read, args=(s,), daemon=True).start()

    def _read(self, s):
        with s.makefile('rb') as f:
            while True:
                head = f.read(HEAD.size)
                if len(head) < HEAD.size:
                    return
                size, kind, source, to, seq = HEAD.unpack(head)
                body = f.read(size)
                with self._news:
                    self.got.append((kind, source, to, seq, body))
                    self._news.notify_all()

    def send(self, body, kind=1, to=None, seq=None, version=1, source=None):
        """To one broker (default: the only one), with the next number unless one is given."""
        peer = to if to else next(iter(self.links))
        key = 0 if to == 0 else peer
        if seq is None:
            seq = self.seq.get(key, 0) + 1
        self.seq[key] = seq
        data = bytes([version]) + body
        frame = HEAD.pack(len(data), kind, source or self.me, key, seq) + data
        self.links[peer].sendall(frame)
        return seq

    def wait_dialed(self):
        """Every broker has dialed this node."""
        deadline = time.monotonic() + mqtt.DEADLINE
        while self.dialed < len(self.links) and time.monotonic() < deadline:
            time.sleep(0.01)

    def meet(self):
        """Says hello, as one that knows nobody."""
        for peer in self.links:
            self.send(hello(self.node_id, welcome=1), to=peer)

    def wait(self, fits, since=0, timeout=mqtt.DEADLINE):
        def found():
            return next((p for p in self.got[since:] if fits(p)), None)
        with self._news:
            if not self._news.wait_for(lambda: found() is not None, timeout):
                raise mqtt.Timeout(f'the node got {self.got!r}')
            return found()

    def close(self):
        self.server.close()
        for s in self.links.values():
            s.close()
        if os.path.exists(self.path):
            os.unlink(self.path)
