"""Peers that stop reading, among healthy ones: bounded memory, and nobody else is stalled."""

import socket
import threading
import time

import mqtt
import mqtt3
from broker import THREADS, BrokerCase, pigeon_only
from mqtt import PUBACK, PUBLISH, SUBACK, V311, V5

LONG = {'session_expiry_interval': 600}
MB = 1 << 20


class Frozen(mqtt.Client):
    """Its receive buffer is small and it reads only when asked to."""

    def __init__(self, *args, **kw):
        create = socket.create_connection

        def small(address, timeout):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock.settimeout(timeout)
            sock.connect(address)
            return sock

        socket.create_connection = small
        try:
            super().__init__(*args, **kw)
        finally:
            socket.create_connection = create

    def thaw(self):
        """Reads at full speed from now on."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)


class FrozenCase(BrokerCase):
    def frozen(self, name, *filters, qos=0, **kw):
        c = Frozen(self.broker, self.id(name), **kw)
        self._clients.append(c)
        c.connect()
        if filters:
            c.subscribe(*filters, qos=qos)
        return c

    def flood(self, pub, healthy, total, size=10_000, batch=40, qos=0):
        """total bytes, in batches: healthy has each before the next one goes out."""
        payload = b'x' * size
        for _ in range(total // (size * batch)):
            for _ in range(batch):
                if qos:
                    pub.publish(self.topic(), payload, qos)
                else:
                    pub.send(mqtt.publish(self.topic(), payload))
            for c in healthy:
                for _ in range(batch):
                    self.assertEqual(len(c.message(self.topic()).payload), size)

    def measured(self, limit, before):
        if not self.broker.sanitized:
            grown = self.broker.rss() - before
            self.assertLess(grown, limit, f'{grown >> 20} MB more')


class Subscriber(FrozenCase):
    options = {'limits': {'write_buffer': '1M', 'queue_bytes': '2M', 'queue_messages': 100000}}

    def test_qos_0_to_a_frozen_subscriber_is_dropped_and_the_others_get_all(self):
        healthy = [self.subscriber(self.topic(), name=f'h{i}') for i in range(3)]
        for i in range(4):
            self.frozen(f'f{i}', self.topic(), version=(V5, V311)[i % 2])
        pub = self.client('pub')
        self.flood(pub, healthy, 2 * MB)
        before = self.broker.rss()
        self.flood(pub, healthy, 32 * MB)
        self.measured(16 * MB, before)

    def test_qos_1_to_a_frozen_subscriber_is_queued_up_to_its_bound(self):
        healthy = self.subscriber(self.topic(), name='h', qos=1)
        frozen = self.frozen('f', self.topic(), qos=1, props=LONG)
        pub = self.client('pub')
        before = self.broker.rss()
        self.flood(pub, [healthy], 32 * MB, qos=1)
        self.measured(24 * MB, before)
        n = 0
        frozen.thaw()
        frozen.send(mqtt.pingreq())
        while True:  # thawed: what was kept comes in order
            p = frozen.recv()
            if p.type == mqtt.PINGRESP:
                break
            frozen.acknowledge(p)
            n += 1
        self.assertGreater(n, 50)
        frozen.drain()

    def test_a_thawed_subscriber_gets_new_messages_again(self):
        frozen = self.frozen('f', self.topic())
        healthy = self.subscriber(self.topic(), name='h')
        pub = self.client('pub')
        self.flood(pub, [healthy], 4 * MB)
        frozen.thaw()
        frozen.drain()
        pub.publish(self.topic(), b'again')
        frozen.wait(PUBLISH, payload=b'again')

    def test_a_frozen_subscriber_does_not_delay_acknowledgements(self):
        self.frozen('f', self.topic('#'), qos=1)
        pub = self.client('pub')
        for i in range(300):
            pub.publish(self.topic(str(i % 5)), b'x' * 20000, 1)

    def test_a_frozen_subscriber_can_be_taken_over(self):
        frozen = self.frozen('f', self.topic(), qos=1, props=LONG)
        healthy = self.subscriber(self.topic(), name='h')
        self.flood(self.client('pub'), [healthy], 4 * MB)
        taken = self.client('f', clean=False, session_present=True)
        taken.ping()
        frozen.thaw()
        frozen.rest()


class SubscriberAcrossLoops(Subscriber):
    options = dict(Subscriber.options, threads=max(THREADS, 3))


@pigeon_only
class Drain(FrozenCase):
    options = {'drain_timeout': '1s', 'limits': {'write_buffer': '256k'}}

    def test_a_connection_that_takes_nothing_for_so_long_is_closed(self):
        frozen = self.frozen('f', self.topic())
        idle = self.client('idle')
        healthy = self.subscriber(self.topic(), name='h')
        pub = self.client('pub')
        self.flood(pub, [healthy], 4 * MB, batch=10)
        began = time.monotonic()
        self.broker.wait_log(f'client_disconnected client={frozen.client_id}', self._log_from,
                             mqtt.DEADLINE)
        self.assertGreaterEqual(time.monotonic() - began, 0.8)
        for c in (idle, healthy, pub):
            c.ping()

    def test_a_slow_reader_is_not_a_frozen_one(self):
        slow = self.frozen('s', self.topic())
        pub = self.client('pub')
        for _ in range(200):
            pub.send(mqtt.publish(self.topic(), b'x' * 5000))
        pub.ping()
        began = time.monotonic()
        # No more than was kept for it: beyond write_buffer QoS 0 is dropped.
        for _ in range(240):
            slow.sock.settimeout(mqtt.DEADLINE)
            slow._buf += slow.sock.recv(1000)
            pub.quiet(0.01)
        self.assertGreater(time.monotonic() - began, 2.0)
        slow.drain()


class Publisher(FrozenCase):
    """A peer that asks and asks and never reads the answers."""

    options = {'limits': {'write_buffer': '1M'}}

    def pour(self, c, data, total):
        """Sends data again and again until the broker stops reading, or total bytes are out."""
        c.sock.settimeout(1.0)
        sent, at = 0, 0
        while sent < total:
            try:
                n = c.sock.send(data[at:])
            except socket.timeout:
                return sent
            except OSError:
                return sent  # closing is fine, too
            sent, at = sent + n, (at + n) % len(data)
        return sent

    def poured(self, data, version=V5, limit=24):
        other = self.client('other')
        c = self.frozen('f', version=version)
        before = self.broker.rss()
        self.pour(c, data, 48 * MB)
        self.measured(limit * MB, before)
        other.publish(self.topic('other'), b'', 1)
        c.abort()
        other.ping()

    def test_pings_without_reading(self):
        self.poured(mqtt.pingreq() * 10000)

    def test_publishes_without_reading(self):
        self.poured(b''.join(mqtt3.publish('frozen/t', b'', 1, i + 1) for i in range(10000)), V311)

    def test_releases_without_reading(self):
        self.poured(b''.join(mqtt.ack(mqtt.PUBREL, i + 1) for i in range(10000)))

    def test_subscribes_without_reading(self):
        pub = self.client('pub')
        for i in range(200):
            pub.publish(self.topic('r', str(i)), b'x' * 1000, 1, retain=True)
        self.poured(mqtt.subscribe([(self.topic('r', '#'), 0)], 1) * 100)
        for i in range(200):
            pub.publish(self.topic('r', str(i)), b'', 1, retain=True)

    def test_own_messages_without_reading(self):
        c = self.frozen('f', self.topic())
        other = self.client('other')
        before = self.broker.rss()
        self.pour(c, mqtt.publish(self.topic(), b'x' * 5000) * 10, 32 * MB)
        self.measured(24 * MB, before)
        other.ping()


class Together(FrozenCase):
    def test_a_healthy_pair_keeps_its_pace_among_twenty_frozen_ones(self):
        for i in range(20):
            self.frozen(f'f{i}', self.topic('#'), qos=i % 3)
        sub = self.subscriber(self.topic('#'), qos=1, auto_ack=True)
        pub = self.client('pub')
        got = []

        def read():
            while len(got) < 400:
                p = sub.recv()
                if p.type == PUBLISH:
                    got.append(p.payload)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        for i in range(400):
            pub.send(mqtt.publish(self.topic('x'), b'%d' % i + b' ' * 8000, 1, i + 1))
        for i in range(400):
            pub.expect(PUBACK, mid=i + 1)
        reader.join(mqtt.DEADLINE)
        self.assertEqual([int(p) for p in got], list(range(400)))

    def test_retained_messages_for_a_frozen_subscriber_wait(self):
        pub = self.client('pub')
        for i in range(100):
            pub.publish(self.topic(str(i)), b'x' * 50000, 0, retain=True)
        pub.ping()
        frozen = self.frozen('f')
        frozen.send(mqtt.subscribe([(self.topic('#'), 0)], 1))
        healthy = self.client('h')
        healthy.subscribe(self.topic('0'))
        self.assertEqual(len(healthy.message(self.topic('0'), retain=True).payload), 50000)
        frozen.thaw()
        frozen.expect(SUBACK)
        got = {frozen.message(retain=True).topic for _ in range(100)}
        self.assertEqual(len(got), 100)
        for i in range(100):
            pub.publish(self.topic(str(i)), b'', 1, retain=True)
