"""Every limit is exact, says so with the right code, and lets the others go on."""

import time

import mqtt
from broker import LISTENER, BrokerCase, pigeon_only
from mqtt import PUBACK, PUBLISH, V31, V311, V5, Will

LONG = {'session_expiry_interval': 600}
QUOTA = 0x97
BUSY = (0x97, 0x9F)


class LimitCase(BrokerCase):
    def eventually(self, attempt):
        """Repeats until it does not fail: for what the broker notices a moment later."""
        deadline = time.monotonic() + mqtt.DEADLINE
        while True:
            try:
                return attempt()
            except mqtt.Failure:
                if time.monotonic() > deadline:
                    raise

    def refused(self, reasons=BUSY, address=None, **kw):
        """A newcomer is closed, with or without a CONNACK that says why."""
        c = self.raw('', **kw) if address is None else mqtt.Client(address, '', **kw)
        self._clients.append(c)
        try:
            c.send_connect()
            c.expect_close(*reasons, connack=True)
        except ConnectionResetError:
            pass

    def stored(self, n, payload=b'', qos=1, props=None):
        """n messages for a session whose client is away; returns what is there when it is back."""
        c = self.client(props=LONG)
        c.subscribe(self.topic(), qos=qos)
        c.disconnect()
        pub = self.client('pub')
        reasons = [pub.publish(self.topic(), payload + b'%d' % i, qos, props=props)
                   for i in range(n)]
        c = self.client(clean=False, session_present=True)
        return reasons, [int(p.payload[len(payload):]) for p in self.fence(pub, c)]


@pigeon_only
class Connections(LimitCase):
    options = {'limits': {'connections': 10}}

    def test_a_connection_too_many_is_refused_and_a_place_is_free_again(self):
        clients = [self.client(f'c{i}', version=(V31, V311, V5)[i % 3]) for i in range(10)]
        for version in (V311, V5):
            self.refused(version=version, reasons=() if version == V311 else BUSY)
        for c in clients:
            c.ping()
        clients.pop().disconnect()
        self.eventually(lambda: self.client('next'))
        self.refused()


@pigeon_only
class PerAddress(LimitCase):
    options = {'limits': {'connections_per_address': 5}}

    def test_each_address_has_its_own_count(self):
        clients = [self.client(f'c{i}') for i in range(5)]
        self.refused()
        other = mqtt.socket.socket()
        other.bind(('127.0.0.2', 0))
        other.connect(self.broker.address)
        other.sendall(mqtt.connect('from another address'))
        self.assertEqual(other.recv(4)[:1], b'\x20')
        other.close()
        clients[0].abort()
        self.eventually(lambda: self.client('next'))


@pigeon_only
class PerListener(LimitCase):
    options = {'listeners': [dict(LISTENER, max_connections=3), dict(LISTENER, name='second')]}

    def test_each_listener_has_its_own_count(self):
        clients = [self.client(f'c{i}') for i in range(3)]
        self.refused()
        for i in range(10):
            c = mqtt.Client(('127.0.0.1', self.broker.ports['second']), f's{i}')
            self._clients.append(c)
            c.connect()
        clients[0].abort()
        self.eventually(lambda: self.client('next'))


@pigeon_only
class Sizes(LimitCase):
    options = {'limits': {'connect_size': '2k', 'packet_size': '4k', 'topic_length': 100,
                          'topic_levels': 5, 'topic_alias_in': 0, 'topic_alias_out': 0}}

    def test_the_size_of_a_connect(self):
        room = 2048 - len(mqtt.connect('x', will=Will('w', b''))) - 1
        c = self.raw('x', will=Will('w', b'p' * room))
        c.connect()
        c.disconnect()
        self.refused((0x95,), will=Will('w', b'p' * 2048))
        c = self.raw(version=V311, will=Will('w', b'p' * 2048))
        c.send_connect()
        c.expect_close()

    def test_the_size_of_other_packets(self):
        c = self.client()
        self.assertEqual(c.connack.props['maximum_packet_size'], 4096)
        c.subscribe(self.topic(), qos=1)
        room = 4096 - len(mqtt.publish(self.topic(), b'', 1, 1)) - 1
        c.publish(self.topic(), b'x' * room, 1)
        c.message(self.topic(), b'x' * room)
        for data in (mqtt.publish(self.topic(), b'x' * (room + 1), 1, 1),
                     mqtt.subscribe([('x' * 90, 0)] * 50), mqtt.unsubscribe(['x' * 90] * 50)):
            c = self.client()
            c.send(data)
            c.expect_close(0x95, required=True)

    def test_the_length_of_a_topic(self):
        for version in (V311, V5):
            c = self.client(version=version)
            self.assertEqual(c.subscribe('x' * 100, qos=1).reasons, [1])
            c.publish('x' * 100, b'', 1)
            c.message('x' * 100)
            self.assertGreaterEqual(c.subscribe('x' * 101).reasons[0], 0x80)
            c.send(mqtt.publish('x' * 101, b'', 1, 9, version=version))
            try:
                self.assertGreaterEqual(c.wait(PUBACK, mid=9).reason, 0x80)
            except mqtt.Closed:
                pass

    def test_the_length_of_a_will_topic(self):
        self.raw('x', will=Will('w' * 100)).connect()
        self.refused((0x90,), will=Will('w' * 101))
        self.refused((0x90,), will=Will('/////'))

    def test_levels(self):
        c = self.client()
        self.assertEqual(c.subscribe('1/2/3/4/5', '+/+/+/+/#').reasons, [0, 0])
        self.assertGreaterEqual(min(c.subscribe('1/2/3/4/5/6', '/////').reasons), 0x80)
        self.assertEqual(c.subscribe('$share/g/1/2/3/4/5').reasons, [0])

    def test_aliases_can_be_turned_off(self):
        c = self.client(props={'topic_alias_maximum': 10})
        self.assertNotIn('topic_alias_maximum', c.connack.props)
        c.subscribe(self.topic())
        for _ in range(5):
            c.publish(self.topic(), b'')
            self.assertNotIn('topic_alias', c.message(self.topic()).props)
        c.send(mqtt.publish(self.topic(), props_={'topic_alias': 1}))
        c.expect_close(0x94, required=True)


@pigeon_only
class Windows(LimitCase):
    options = {'limits': {'inflight_out': 5}}

    def test_what_is_in_flight_to_one_client(self):
        for version in (V31, V311, V5):
            with self.subTest(version=version):
                sub = self.subscriber(self.topic(), qos=2, version=version)
                pub = self.client('pub')
                for i in range(12):
                    pub.publish(self.topic(), b'%d' % i, 1 + i % 2)
                for first in (0, 5):
                    held = [sub.expect(PUBLISH, payload=b'%d' % i)
                            for i in range(first, first + 5)]
                    sub.expect_nothing()
                    for p in held:
                        sub._stash.clear()
                        sub.send(mqtt.ack(PUBACK if p.qos == 1 else mqtt.PUBREC, p.mid))
                    for p in held:
                        if p.qos == 2:
                            sub.wait(mqtt.PUBREL, mid=p.mid)
                    for p in held:
                        if p.qos == 2:
                            sub.send(mqtt.ack(mqtt.PUBCOMP, p.mid))
                for i in (10, 11):
                    sub.message(self.topic(), b'%d' % i)

    def test_qos_0_passes_a_full_window(self):
        sub = self.subscriber(self.topic('#'), qos=1)
        pub = self.client('pub')
        for i in range(10):
            pub.publish(self.topic('one'), b'', 1)
        pub.publish(self.topic('nil'), b'passes', 0)
        for _ in range(5):
            sub.expect(PUBLISH, topic=self.topic('one'))
        sub.message(self.topic('nil'), b'passes')


@pigeon_only
class Queues(LimitCase):
    options = {'limits': {'queue_messages': 1000, 'queue_bytes': '10k'}}

    def test_bytes_of_an_offline_queue(self):
        reasons, got = self.stored(50, b'x' * 1000)
        self.assertLess(max(reasons), 0x80)
        self.assertEqual(got, list(range(len(got))))
        self.assertIn(len(got), range(5, 11))

    def test_a_single_message_may_be_larger(self):
        _, got = self.stored(2, b'x' * 20000)
        self.assertEqual(got, [0])

    def test_what_was_taken_makes_room(self):
        for _ in range(3):
            _, got = self.stored(4, b'x' * 1000)
            self.assertEqual(got, [0, 1, 2, 3])
            self.forget('c')


@pigeon_only
class QueueDisconnects(LimitCase):
    options = {'limits': {'queue_messages': 5, 'queue_policy': 'disconnect'}}

    def test_a_client_whose_queue_is_full_is_disconnected(self):
        for version in (V311, V5):
            props = {'receive_maximum': 1, **LONG} if version == V5 else None
            window = 1 if version == V5 else 1000
            sub = self.subscriber(self.topic(), qos=1, version=version, props=props, clean=False)
            pub = self.client('pub')
            for i in range(window + 7):
                pub.publish(self.topic(), b'%d' % i, 1)
            for i in range(window):
                sub.expect(PUBLISH)
            sub.expect_close(QUOTA, required=version == V5)
            pub.ping()
            again = self.client('sub', version=version, clean=False, session_present=True)
            again.expect(PUBLISH, payload=b'0', dup=True)
            again.disconnect()
            self.forget('sub')


@pigeon_only
class Retained(LimitCase):
    options = {'limits': {'retained_bytes': 5000, 'retained_size': 1000, 'retained_ttl': '1s'}}

    def test_the_size_of_one_retained_message(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.client('pub')
        self.assertEqual(pub.publish(self.topic(), b'x' * 2000, 1, retain=True), QUOTA)
        self.expect_nothing_from(pub, sub)
        self.assertLess(pub.publish(self.topic(), b'x' * 2000, 1), 0x80)
        sub.message(self.topic())
        self.assertLess(pub.publish(self.topic(), b'x' * 500, 1, retain=True), 0x80)
        sub.message(self.topic())
        pub.publish(self.topic(), b'', 1, retain=True)

    def test_the_bytes_of_all_retained_messages(self):
        pub = self.client('pub')
        reasons = [pub.publish(self.topic(str(i)), b'x' * 900, 1, retain=True) for i in range(8)]
        self.assertLess(reasons[0], 0x80)
        self.assertEqual(reasons[7], QUOTA)
        self.assertLess(pub.publish(self.topic('0'), b'y' * 900, 1, retain=True), 0x80)
        for i in range(8):
            pub.publish(self.topic(str(i)), b'', 1, retain=True)
        self.assertLess(pub.publish(self.topic('7'), b'x' * 900, 1, retain=True), 0x80)
        pub.publish(self.topic('7'), b'', 1, retain=True)

    def test_retained_messages_are_forgotten_after_their_time(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 1, retain=True)
        pub.publish(self.topic('own'), b'x', 1, retain=True,
                    props={'message_expiry_interval': 100})
        sub = self.subscriber(self.topic('#'), qos=1)
        for _ in range(2):
            sub.message(retain=True)
        pub.quiet(2.1)
        late = self.subscriber(self.topic('#'), qos=1, name='late')
        self.expect_nothing_from(pub, late)


@pigeon_only
class Rates(LimitCase):
    def slowed(self, n, payload=b''):
        """Seconds until n messages have passed; none is lost, nobody is disconnected."""
        sub = self.subscriber(self.topic(), qos=1, auto_ack=True)
        pub = self.client('pub')
        began = time.monotonic()
        pub.send(*[mqtt.publish(self.topic(), payload, 1, i + 1) for i in range(n)])
        other = self.client('other')
        other.publish(self.topic(), b'not slowed', 1)
        got = [sub.wait(PUBLISH) for _ in range(n + 1)]
        took = time.monotonic() - began
        self.assertLess(next(p.at for p in got if p.payload == b'not slowed') - began, took)
        pub.ping()
        return took


class MessageRate(Rates):
    options = {'limits': {'publish_rate': 50}}

    def test_messages_per_second_are_read_more_slowly(self):
        self.assertGreaterEqual(self.slowed(150), 1.5)

    def test_the_keep_alive_stands_still_meanwhile(self):
        c = self.client(keepalive=1)
        c.send(*[mqtt.publish(self.topic(), b'', 1, i + 1) for i in range(200)], mqtt.pingreq())
        for i in range(200):
            c.expect(PUBACK, mid=i + 1)
        c.expect(mqtt.PINGRESP)


class ByteRate(Rates):
    options = {'limits': {'publish_bytes': 20000}}

    def test_bytes_per_second_are_read_more_slowly(self):
        self.assertGreaterEqual(self.slowed(60, b'x' * 1000), 1.5)

    def test_a_message_larger_than_a_second_passes(self):
        sub = self.subscriber(self.topic())
        pub = self.client('pub')
        pub.publish(self.topic(), b'x' * 30000)
        self.assertEqual(len(sub.message(self.topic()).payload), 30000)
        pub.ping()


@pigeon_only
class KeepAlives(LimitCase):
    options = {'limits': {'min_keepalive': '5s'}}

    def test_a_shorter_keep_alive_is_replaced(self):
        c = self.client(keepalive=1)
        old = self.client('old', keepalive=1, version=V311)
        self.assertEqual(c.connack.props.get('server_keep_alive'), 5)
        c.quiet(2.2)
        c.ping()
        old.ping()
        never = self.client('never', keepalive=0)
        self.assertEqual(never.connack.props.get('server_keep_alive', 0), 0)


@pigeon_only
class Sessions(LimitCase):
    options = {'limits': {'sessions': 5}}

    def test_sessions_of_absent_clients_count(self):
        for i in range(5):
            self.client(f's{i}', props=LONG).disconnect()
        self.refused((QUOTA,))
        c = self.raw(version=V311)
        c.send_connect()
        c.expect_close(3, connack=True, required=True)
        back = self.client('s0', clean=False, session_present=True)
        back.disconnect(0, {'session_expiry_interval': 0})
        self.eventually(lambda: self.client('next')).disconnect()


@pigeon_only
class Memory(LimitCase):
    options = {'persistence': 'memory',
               'limits': {'memory': '100M', 'queue_messages': 1000000, 'queue_bytes': '10G',
                          'queue_ram': 1000000}}

    def test_above_the_mark_nothing_new_is_taken_in(self):
        if self.broker.sanitized:
            self.skipTest('memory is measured without sanitizers')
        away = self.client('away', props=LONG)
        away.subscribe(self.topic(), qos=1)
        away.disconnect()
        pub = self.client('pub')
        other = self.subscriber(self.topic('other'), name='other')
        deadline = time.monotonic() + 30
        while pub.publish(self.topic(), b'x' * 100_000, 1) < 0x80:
            self.assertLess(time.monotonic(), deadline)
        self.assertLess(self.broker.rss(), 400 << 20)
        other.ping()
        self.client('away', session_present=False).disconnect()  # a clean start: away with it
        self.eventually(lambda: self.accepted(pub))

    def accepted(self, pub):
        if pub.publish(self.topic('other'), b'', 1) >= 0x80:
            raise mqtt.Failure('still short of memory')
