"""Hostile behaviour over time: silence, floods, windows, resets. Memory and time stay bounded."""

import select
import time

import mqtt
from broker import pigeon_only
from hostile import BOTH, HostileCase, each_version
from mqtt import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, V311, V5

MALFORMED, PROTOCOL = 0x81, 0x82


@pigeon_only
class Silence(HostileCase):
    options = {'connect_timeout': '1s'}

    def test_07_a_connect_that_is_not_completed_is_closed_in_time(self):
        for data in (b'', b'\x10', b'\x10\x80', mqtt.connect('x')[:5], mqtt.connect('x')[:-1]):
            with self.subTest(data=data):
                c = self.raw()
                began = time.monotonic()
                c.send(data)
                self.assertEqual(c.rest(), b'')
                self.assertGreaterEqual(time.monotonic() - began, 0.9)
                self.assertLessEqual(time.monotonic() - began, 3)

    def test_07_bytes_that_trickle_in_do_not_extend_the_time(self):
        c = self.raw()
        began = time.monotonic()
        c.send(b'\x10\xff\x7f' + mqtt.string('MQTT') + b'\5\2\0\0')
        while time.monotonic() - began < 4:
            c.send(b'x')
            try:
                c.quiet(0.1)
            except mqtt.Closed:
                break
        self.assertIsNotNone(c.closed_after)
        self.assertLessEqual(time.monotonic() - began, 3)

    def test_08_two_hundred_silent_sockets_keep_nobody_out(self):
        fds = self.broker.fds()
        silent = [self.raw() for _ in range(200)]
        self.unharmed()
        self.still_serving()
        for c in silent:
            c.rest()
        self.settled(fds)


@pigeon_only
class Crowd(HostileCase):
    options = {'limits': {'pending_per_address': 50}}

    def test_08_connections_without_connack_are_capped_per_address(self):
        silent = [self.raw() for _ in range(200)]
        self.unharmed()
        # Several loops accept at once, so it is any 60 of them that stay.
        left, deadline = set(silent), time.monotonic() + mqtt.DEADLINE
        while len(left) > 60:
            self.assertLess(time.monotonic(), deadline, f'{len(left)} are still there')
            by_sock = {c.sock: c for c in left}
            for sock in select.select(list(by_sock), [], [], 1)[0]:
                by_sock[sock].rest()
                left.discard(by_sock[sock])
        first = left.pop()
        first.send(mqtt.connect(self.id('first')))
        first.expect(CONNACK, reason=0)
        for c in silent:
            c.close()
        self.still_serving_soon()

    def still_serving_soon(self):
        """Newcomers are served as soon as the broker saw the silent ones leave."""
        deadline = time.monotonic() + mqtt.DEADLINE
        while True:
            try:
                self.still_serving()
                return
            except mqtt.Failure:
                if time.monotonic() > deadline:
                    raise


class Windows(HostileCase):
    options = {'limits': {'inflight_in': 100, 'inflight_qos2_in': 100, 'packet_size': 20000}}

    def test_50_more_than_the_receive_maximum_is_answered_with_0x93(self):
        c = self.client()
        maximum = c.connack.props.get('receive_maximum', 65535)
        if maximum > 1000:
            self.skipTest('the window is too large to fill')
        c.send(*[mqtt.publish(self.topic(), b'', 2, i + 1) for i in range(maximum)])
        for i in range(maximum):
            c.expect(PUBREC, mid=i + 1)
        c.send(mqtt.publish(self.topic(), b'', 1, maximum + 1))
        try:
            c.expect(PUBACK)  # a server may acknowledge faster than it counts
        except mqtt.Failure:
            pass
        c = self.client()
        for i in range(maximum):
            c.send(mqtt.publish(self.topic(), b'', 2, i + 1))
            c.expect(PUBREC, mid=i + 1)
        c.send(mqtt.publish(self.topic(), b'', 2, maximum + 1))
        c.expect_close(0x93)

    def test_51_a_packet_above_the_maximum_is_refused_before_its_body(self):
        for flags in (0, 2):
            c = self.client()
            c.send(bytes([0x30 | flags]) + mqtt.varint(30000) + mqtt.string(self.topic()))
            c.expect_close(0x95)
        old = self.client(version=V311)
        old.send(b'\x30' + mqtt.varint(30000) + mqtt.string(self.topic()))
        old.expect_close()

    @each_version
    def test_51_the_largest_packet_announced_passes(self):
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        c.subscribe(self.topic())
        limit = c.connack.props.get('maximum_packet_size', 20000)
        head = len(self.m.publish(self.topic(), b'')) + 2  # a longer remaining length
        c.publish(self.topic(), b'x' * (limit - head))
        self.assertEqual(len(c.message(self.topic()).payload), limit - head)

    def test_52_a_message_above_the_clients_maximum_counts_as_delivered(self):
        sub = self.subscriber(self.topic(), qos=2, props={'maximum_packet_size': 300,
                                                          'receive_maximum': 1})
        for qos in (0, 1, 2):
            for _ in range(3):
                self.healthy.publish(self.topic(), b'x' * 400, qos)
            self.healthy.publish(self.topic(), b'small', qos)
            sub.message(self.topic(), b'small')

    @each_version
    def test_53_one_identifier_repeated_takes_one_slot(self):
        sub = self.raw(self.id('sub'), version=self.version)
        sub.connect()
        sub.subscribe(self.topic(), qos=2)
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        one = self.m.publish(self.topic(), b'once', 2, 7, dup=True)
        for _ in range(100):
            c.send(one * 50)
            for _ in range(50):
                c.expect(PUBREC, mid=7)
        c.send(mqtt.ack(PUBREL, 7))
        c.expect(PUBCOMP, mid=7)
        sub.message(self.topic(), b'once')
        sub.expect_nothing()

    @pigeon_only
    def test_53_what_is_never_released_meets_its_limit(self):
        old = self.client(version=V311)
        for i in range(100):
            old.send(mqtt.publish(self.topic(), b'', 2, i + 1, version=V311))
            old.expect(PUBREC, mid=i + 1)
        old.send(mqtt.publish(self.topic(), b'', 2, 101, version=V311))
        old.expect_close()


class Strangers(HostileCase):
    @each_version
    def test_54_acknowledgements_for_unknown_identifiers_leave_no_state(self):
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        c.subscribe(self.topic(), qos=2)
        for mid in (1, 500, 65535):
            c.send(mqtt.ack(PUBACK, mid), mqtt.ack(PUBCOMP, mid))
            c.expect_nothing()
            c.send(mqtt.ack(PUBREL, mid))
            p = c.expect(PUBCOMP, mid=mid)
            self.assertIn(p.reason, (0, 0x92))
            c.send(mqtt.ack(PUBREC, mid))
            for p in c.drain():
                self.assertEqual((p.type, p.mid), (PUBREL, mid))
                c.send(mqtt.ack(PUBCOMP, mid))
        for qos in (1, 2):
            self.healthy.publish(self.topic(), b'x', qos)
            c.message(self.topic(), b'x', qos=qos)
        c.expect_nothing()

    @each_version
    def test_54_floods_of_strange_acknowledgements_take_no_memory(self):
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        flood = b''.join(mqtt.ack(PUBREL, mid) for mid in range(1, 20001))
        for turn in range(3):
            if turn == 1:
                before = self.broker.rss()
            for at in range(0, len(flood), 4000):
                c.send(flood[at:at + 4000])
                c.drain()
        if not self.broker.sanitized:
            self.assertLess(self.broker.rss() - before, 4 << 20)

    def test_54_the_wrong_acknowledgement_of_a_qos_does_no_harm(self):
        sub = self.subscriber(self.topic(), qos=2)
        for qos, wrong in ((1, PUBREC), (1, PUBCOMP), (2, PUBACK), (2, PUBCOMP)):
            with self.subTest(qos=qos, answer=mqtt.NAMES[wrong]):
                sub = self.subscriber(self.topic(), qos=2)
                self.healthy.publish(self.topic(), b'x', qos)
                p = sub.expect(PUBLISH, payload=b'x')
                sub.send(mqtt.ack(wrong, p.mid))
                try:
                    sub.ping()
                except mqtt.Closed:
                    pass
                self.still_serving()


class Resets(HostileCase):
    def cuts(self):
        """Beginnings of a conversation that ends in the middle of a packet."""
        for version in BOTH:
            will = mqtt.Will('hostile/reset', b'x' * 50)
            hello = mqtt.connect(self.id('r'), version, will=will)
            for tail in (hello[:7], hello, hello + mqtt.publish('a', b'x' * 900, 1, 1,
                                                                version=version)[:-100],
                         hello + mqtt.subscribe([('hostile/#', 1)], 1, version=version)[:-1]):
                yield tail

    def test_59_resets_in_the_middle_of_packets_leave_nothing(self):
        cuts = list(self.cuts())
        for i in range(100):
            c = self.raw()
            c.send(cuts[i % len(cuts)])
            c.abort()
            if i == 19:
                self.unharmed()
                fds, before = self.broker.fds(), self.broker.rss()
        self.settled(fds)
        if not self.broker.sanitized:
            self.assertLess(self.broker.rss() - before, 2 << 20)

    def test_59_resets_while_messages_are_on_their_way(self):
        for i in range(100):
            c = self.raw(self.id('r'), version=BOTH[i % 2])
            c.connect()
            c.subscribe(self.topic('#'), qos=2)
            for qos in (0, 1, 2):
                self.healthy.publish(self.topic('a'), b'x' * 500, qos)
            c.abort()

    def test_59_half_closed_connections_get_their_answers(self):
        for version in BOTH:
            c = self.raw(self.id('h'), version=version)
            c.send(mqtt.connect(self.id('h'), version),
                   mqtt.publish(self.topic(), b'', 1, 1, version=version))
            c.sock.shutdown(mqtt.socket.SHUT_WR)
            c.expect(CONNACK, reason=0)
            c.expect(PUBACK, mid=1)
            c.rest()


class KeepAlive(HostileCase):
    def test_60_a_silent_client_is_closed_in_time(self):
        for version in BOTH:
            c = self.raw(self.id('k'), version=version, keepalive=1)
            began = time.monotonic()
            c.connect()
            c.expect_close(0x8D)
            self.assertGreaterEqual(time.monotonic() - began, 1.4)
            self.assertLessEqual(time.monotonic() - began, 2.6)

    def test_60_the_longest_keep_alive_is_accepted(self):
        for version in BOTH:
            c = self.raw(self.id('k'), version=version, keepalive=65535)
            c.connect()
            c.ping()


@pigeon_only
class ShortKeepAlive(HostileCase):
    options = {'limits': {'max_keepalive': '1s'}}

    def unharmed(self):
        """The usual one would have to ping all the time."""
        self.still_serving()

    def setUp(self):
        super(HostileCase, self).setUp()

    def test_60_the_longest_keep_alive_is_cut_for_every_version(self):
        for version in (V311, V5):
            for asked in (0, 65535):
                c = self.raw(self.id('k'), version=version, keepalive=asked)
                began = time.monotonic()
                c.connect()
                if version == V5:
                    self.assertEqual(c.connack.props.get('server_keep_alive'), 1)
                c.expect_close(0x8D)
                self.assertLessEqual(time.monotonic() - began, 2.6)
