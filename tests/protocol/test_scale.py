"""Many connections, subscriptions and retained messages, in moderate time.

PIGEON_TEST_SCALE multiplies the numbers (5 gives a million subscriptions).
"""

import os
import resource
import select
import socket
import time

import mqtt
from broker import KIND, BrokerCase
from mqtt import PUBLISH, SUBACK, UNSUBACK, V311, V5

SCALE = float(os.environ.get('PIGEON_TEST_SCALE', '1'))
MB = 1 << 20


def length_of(buf, at):
    """Whole length of the packet that begins there; None when that is not known yet."""
    length = 0
    for i in range(1, 5):
        if at + i >= len(buf):
            return None
        length |= (buf[at + i] & 0x7F) << 7 * (i - 1)
        if not buf[at + i] & 0x80:
            return 1 + i + length
    raise mqtt.BadPacket('remaining length of five bytes')


def frames(sock, deadline):
    """Whole packets as bytes, while the connection lasts."""
    buf = bytearray()
    while True:
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        data = sock.recv(1 << 18)
        if not data:
            return
        buf += data
        at = 0
        while True:
            n = length_of(buf, at)
            if n is None or at + n > len(buf):
                break
            yield bytes(buf[at:at + n])
            at += n
        del buf[:at]


def exactly(sock, n):
    """The next n bytes."""
    out = b''
    while len(out) < n:
        more = sock.recv(n - len(out))
        if not more:
            raise mqtt.Closed(f'{len(out)} of {n} bytes')
        out += more
    return out


class Connections(BrokerCase):
    def setUp(self):
        super().setUp()
        self.n = int(10_000 * SCALE)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < self.n + 200:
            self.skipTest(f'only {hard} file descriptors')
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def idle(self):
        """n connections with a session each, and what they cost."""
        before, socks = self.broker.rss(), []
        for first in range(0, self.n, 500):
            part = []
            for i in range(first, min(first + 500, self.n)):
                s = socket.create_connection(self.broker.address, mqtt.DEADLINE)
                s.sendall(mqtt.connect(f'idle-{i}', (V311, V5)[i & 1], keepalive=1200))
                part.append(s)
            for s in part:
                head = exactly(s, 2)
                self.assertEqual((head[0], exactly(s, head[1])[1]), (0x20, 0))
            socks += part
        return socks, self.broker.rss() - before

    def test_10_000_idle_connections_leave_the_others_at_ease(self):
        socks, cost = self.idle()
        try:
            if not self.broker.sanitized:
                self.assertLess(cost / self.n, 12_000)
            sub = self.subscriber(self.topic(), qos=1)
            pub = self.client('pub')
            for i in range(200):
                pub.publish(self.topic(), b'%d' % i, 1)
                sub.message(self.topic(), b'%d' % i)
            for s in socks[::50]:
                s.sendall(mqtt.pingreq())
                self.assertEqual(exactly(s, 2), b'\xd0\0')
            for i in range(0, self.n, 97):  # all of them are there: one message each
                s = socks[i]
                s.sendall(mqtt.subscribe([(self.topic('all'), 0)], 1,
                                         version=(V311, V5)[i & 1]))
                self.assertEqual(exactly(s, 1), b'\x90')
                exactly(s, exactly(s, 1)[0])
            pub.publish(self.topic('all'), b'hello')
            for i in range(0, self.n, 97):
                self.assertEqual(exactly(socks[i], 1), b'\x30')
        finally:
            for s in socks:
                s.close()
        self.gone()

    def gone(self):
        """The broker closes what its clients closed."""
        deadline = time.monotonic() + mqtt.DEADLINE * 2
        c = self.client('clock')
        while self.broker.fds() > 100:
            self.assertLess(time.monotonic(), deadline)
            c.ping()

    def test_all_connections_at_once(self):
        """A storm: every CONNECT is sent before the first CONNACK is read."""
        n = min(self.n, 3000)
        poll, socks = select.poll(), {}
        for i in range(n):
            s = socket.create_connection(self.broker.address, mqtt.DEADLINE)
            s.sendall(mqtt.connect(f'storm-{i}', V311))
            socks[s.fileno()] = s
            poll.register(s, select.POLLIN)
        left, deadline = n, time.monotonic() + mqtt.DEADLINE * 2
        while left:
            self.assertLess(time.monotonic(), deadline, f'{left} of {n} have no CONNACK')
            for fd, _ in poll.poll(1000):
                self.assertEqual(socks[fd].recv(4), b'\x20\2\0\0')
                poll.unregister(fd)
                left -= 1
        for s in socks.values():
            s.close()
        self.gone()


class Retained(BrokerCase):
    N = int(100_000 * SCALE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        pub = mqtt.Client(cls.broker, 'fill', V311, timeout=120)
        pub.connect()
        for first in range(0, cls.N, 5000):
            pub.send(b''.join(mqtt.publish(f'r/{i % 100}/{i}', b'%d' % i, retain=True,
                                           version=V311)
                              for i in range(first, min(first + 5000, cls.N))))
        pub.ping()
        pub.disconnect()

    def all_of_them(self, version, qos, filters=('r/#',)):
        """Subscribes; SUBACK has to come first, then each message once. Meanwhile others are
        served."""
        c = self.client('sub', version=version, timeout=120)
        other = self.subscriber(self.topic('other'), name='other', qos=1)
        c.send(mqtt.subscribe([(f, qos) for f in filters], 1, version=version))
        other.publish(self.topic('other'), b'x', 1)
        other.message(self.topic('other'), b'x')
        seen, acks = set(), []
        for raw in frames(c.sock, time.monotonic() + 60 * max(1, SCALE)):
            if not seen and raw[0] >> 4 == SUBACK:
                other.ping()
                continue
            p = mqtt.parse(raw, version)
            self.assertEqual((p.type, p.retain), (PUBLISH, True))
            self.assertEqual(p.topic.rsplit('/', 1)[1], p.payload.decode())
            self.assertNotIn(p.topic, seen)
            seen.add(p.topic)
            if p.qos:
                acks.append(mqtt.ack(mqtt.PUBACK, p.mid))
                if len(acks) == 100:
                    c.sock.sendall(b''.join(acks))
                    acks = []
            if len(seen) == self.N:
                break
        self.assertEqual(len(seen), self.N)
        c.expect_nothing()
        c.disconnect()

    def test_a_subscriber_to_everything_gets_each_once_after_the_suback(self):
        self.all_of_them(V5, 0)

    def test_a_subscriber_of_3_1_1_too(self):
        self.all_of_them(V311, 0, ('r/+/+',))

    def test_single_topics_among_many_are_found(self):
        c = self.client()
        for i in range(0, self.N, self.N // 200):
            c.subscribe(f'r/{i % 100}/{i}')
            c.message(f'r/{i % 100}/{i}', b'%d' % i, retain=True)

    def test_a_frozen_subscriber_to_everything_stalls_nobody(self):
        before = self.broker.rss()
        frozen = [self.client(f'f{i}') for i in range(5)]
        for c in frozen:
            c.send(mqtt.subscribe([('r/#', 0)], 1))
        other = self.subscriber(self.topic('other'), qos=1)
        for i in range(50):
            other.publish(self.topic('other'), b'%d' % i, 1)
            other.message(self.topic('other'), b'%d' % i)
        if not self.broker.sanitized:
            self.assertLess(self.broker.rss() - before, 64 * MB)


class Subscriptions(BrokerCase):
    PER_CLIENT, PER_PACKET = 10_000, 1000

    def name(self, c, i):
        return f'{c}/{i % 7}/sensor/{i}/value'

    def test_200_000_subscriptions(self):
        clients = [self.client(f's{i}', version=(V311, V5)[i & 1], timeout=60)
                   for i in range(int(20 * SCALE))]
        before = self.broker.rss()
        for n, c in enumerate(clients):
            for first in range(0, self.PER_CLIENT, self.PER_PACKET):
                c.send(mqtt.subscribe([(self.name(n, i), 0)
                                       for i in range(first, first + self.PER_PACKET)], 1,
                                      version=c.version))
            for _ in range(0, self.PER_CLIENT, self.PER_PACKET):
                self.assertEqual(set(c.expect(SUBACK).reasons), {0})
        total = self.PER_CLIENT * len(clients)
        if not self.broker.sanitized:
            self.assertLess((self.broker.rss() - before) / total, 1000)
        pub = self.client('pub')
        for n, c in enumerate(clients):
            for i in (0, self.PER_CLIENT // 2, self.PER_CLIENT - 1):
                pub.publish(self.name(n, i), b'%d' % i)
                c.message(self.name(n, i), b'%d' % i)
        wild = self.subscriber('+/3/sensor/#', name='wild')
        pub.publish(self.name(0, 3), b'both')
        wild.message(self.name(0, 3), b'both')
        clients[0].message(self.name(0, 3), b'both')
        for n, c in enumerate(clients[:2]):
            c.send(mqtt.unsubscribe([self.name(n, i) for i in range(self.PER_CLIENT)], 2,
                                    version=c.version))
            c.wait(UNSUBACK, mid=2)
            pub.publish(self.name(n, 5), b'gone')
        for c in clients[:2]:
            self.expect_nothing_from(pub, c)
        for c in clients:
            c.abort()
        pub.publish(self.name(len(clients) - 1, 3), b'alone')
        wild.message(payload=b'alone')

    def test_many_subscribers_of_one_topic(self):
        subs = [self.subscriber(self.topic(), name=f's{i}', qos=i % 3, timeout=60)
                for i in range(int(1000 * min(SCALE, 5)))]
        pub = self.client('pub')
        for i in range(5):
            pub.publish(self.topic(), b'%d' % i, 2)
        for c in subs:
            for i in range(5):
                c.message(self.topic(), b'%d' % i)

    def test_overlapping_filters_of_one_client_give_one_message(self):
        if KIND != 'pigeon':
            self.skipTest('behaviour of Pigeon, not of MQTT')
        c = self.client(timeout=60)
        names = ['/'.join(p if i >> b & 1 else '+' for b, p in enumerate('abcdefghij'))
                 for i in range(1024)]
        c.subscribe(*names, '#', 'a/#', qos=1)
        pub = self.client('pub')
        pub.publish('/'.join('abcdefghij'), b'one', 1)
        c.message(payload=b'one', qos=1)
        self.expect_nothing_from(pub, c)
