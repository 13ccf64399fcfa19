"""MQTT 3.1 (MQIsdp): the rules of 3.1.1 where they were there already, and what is different."""

import time

import mqtt
import mqtt3
from broker import pigeon_only
from mqtt import (PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK,
                  V31, V311, V5, Will)
from spec import SpecCase


def hello(client_id='x31', **kw):
    return mqtt.connect(client_id, V31, **kw)


class Case(SpecCase):
    version = V31

    def malformed(self, data):
        c = self.raw()
        c.send(data)
        c.expect_close()


class Connect(Case):
    def test_a_connect_is_acknowledged(self):
        for clean in (True, False):
            c = self.raw(self.id('c'), clean=clean)
            self.assertEqual(c.connect().raw, b'\x20\2\0\0')
            c.ping()
            c.disconnect()
            self.forget('c')

    def test_the_name_and_the_level_belong_together(self):
        for kw in ({'name': 'MQIsdp', 'level': 4}, {'name': 'MQIsdp', 'level': 5},
                   {'name': 'MQTT', 'level': 3}, {'name': 'mqisdp'}, {'level': 2}, {'level': 0}):
            with self.subTest(**kw):
                c = self.raw()
                c.send(hello(**kw))
                self.assertIn(c.rest(), (b'', b'\x20\2\0\1', b'\x20\3\0\x84\0'))

    def test_bridges_of_mosquitto_are_answered(self):
        """They set bit 7 of the level; a broker that knows no bridges refuses with code 1."""
        c = self.raw()
        c.send(hello(level=0x83))
        self.assertIn(c.sock.recv(4), (b'', b'\x20\2\0\0', b'\x20\2\0\1', b'\x20\3\0\x84'))

    def test_23_bytes_of_client_id_are_accepted(self):
        for ident in ('x' * 23, 'a', '#' * 23, 'ü' * 11):
            c = self.raw(ident)
            c.connect()
            c.disconnect()

    @pigeon_only
    def test_a_longer_client_id_gets_code_2(self):
        for ident in ('x' * 24, 'ü' * 12, 'x' * 65535):
            c = self.raw()
            c.send(hello(ident))
            c.expect_close(2, connack=True, required=True)

    @pigeon_only
    def test_an_empty_client_id_gets_code_2(self):
        for clean in (True, False):
            c = self.raw()
            c.send(hello('', clean=clean))
            c.expect_close(2, connack=True, required=True)

    def test_ill_formed_connects_close(self):
        whole = hello(will=Will('w', b'm'), username='u', password=b'p')
        for n in (2, 8, 11, 13, len(whole) - 1):
            with self.subTest(length=n):
                self.malformed(mqtt.packet(mqtt.CONNECT, 0, whole[2:n]))
        self.malformed(hello(flags=0x1E))  # will QoS 3
        self.malformed(hello(b'\xff'))
        self.malformed(hello(username=b'\xff'))

    def test_flags_of_credentials_that_are_missing_are_legal(self):
        """3.1: the remaining length takes precedence over the two flags."""
        ident = self.id('x')
        for flags, payload in ((0x82, mqtt.string(ident)), (0xC2, mqtt.string(ident)),
                               (0xC2, mqtt.string(ident) + mqtt.string('user'))):
            c = self.raw()
            c.send(hello(flags=flags, payload=payload))
            self.assertIn(c.recv().reason, (0, 4, 5))

    def test_user_name_and_password_are_understood(self):
        c = self.raw(self.id('x'), username='u', password=b'\0\xff')
        self.assertIn(c.connect(reason=None).reason, (0, 4, 5))

    def test_a_second_connect_closes(self):
        self.refused(hello())

    def test_packets_before_connect_close(self):
        self.malformed(mqtt.pingreq())

    def test_takeover_across_versions(self):
        previous = None
        for version in (V31, V311, V31, V5, V31):
            c = self.client(version=version)
            if previous:
                previous.expect_close(*([0x8E] if previous.version == V5 else []))
            previous = c
        previous.ping()

    def test_keep_alive(self):
        began = time.monotonic()
        c = self.client(keepalive=1)
        c.expect_close(timeout=6)
        self.assertGreaterEqual(time.monotonic() - began, 1.4)
        self.assertLessEqual(time.monotonic() - began, 2.5)


class Sessions(Case):
    def test_clean_session_drops_the_old_session(self):
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'queued', 1)
        c = self.client(clean=True)
        pub.publish(self.topic(), b'live', 1)
        self.expect_nothing_from(pub, c)

    def test_a_session_is_carried_on_with_its_queue(self):
        for end in ('disconnect', 'abort'):
            c = self.client(clean=False)
            c.subscribe(self.topic(), qos=2)
            getattr(c, end)()
            pub = self.client('pub')
            for i in range(6):
                pub.publish(self.topic(), b'%d' % i, 1 + i % 2)
            c = self.client(clean=False)
            for i in range(6):
                c.message(self.topic(), b'%d' % i, qos=1 + i % 2, dup=False)
            c.disconnect()
            self.forget('c')

    def test_unacknowledged_messages_are_sent_again(self):
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=2)
        pub = self.client('pub')
        for qos in (1, 2, 2):
            pub.publish(self.topic(), b'%d' % qos, qos)
        first = [c.expect(PUBLISH, dup=False) for _ in range(3)]
        c.send(mqtt.ack(PUBREC, first[2].mid))
        c.expect(PUBREL, mid=first[2].mid)
        c.abort()
        c = self.client(clean=False)
        got = [c.recv() for _ in range(3)]
        self.assertEqual({(p.type, p.mid) for p in got},
                         {(PUBLISH, first[0].mid), (PUBLISH, first[1].mid),
                          (PUBREL, first[2].mid)})
        self.assertTrue(all(p.dup for p in got if p.type == PUBLISH))


class Messages(Case):
    def test_each_qos_has_its_handshake(self):
        c = self.subscriber(self.topic(), name='c', qos=2)
        for qos in (0, 1, 2):
            c.publish(self.topic(), b'%d' % qos, qos)
            c.message(self.topic(), b'%d' % qos, qos=qos)
        c.send(mqtt3.publish(self.topic('q'), b'', 2, 9))
        c.expect(PUBREC, mid=9)
        c.send(mqtt.ack(PUBREL, 9))
        self.assertEqual(c.expect(PUBCOMP, mid=9).raw, b'\x70\2\0\x09')

    def test_a_repeated_qos_2_publish_is_a_duplicate(self):
        sub = self.subscriber(self.topic(), qos=2)
        c = self.client()
        for dup in (False, True):
            c.send(mqtt3.publish(self.topic(), b'once', 2, 5, dup=dup))
            c.expect(PUBREC, mid=5)
        c.send(mqtt.ack(PUBREL, 5))
        c.expect(PUBCOMP, mid=5)
        sub.message(self.topic(), b'once')
        self.expect_nothing_from(c, sub)

    def test_dup_on_pubrel_subscribe_and_unsubscribe_is_legal(self):
        """3.1 lets a client send these again with the DUP flag."""
        c = self.client()
        c.send(mqtt3.publish(self.topic(), b'', 2, 5))
        c.expect(PUBREC, mid=5)
        c.send(mqtt.ack(PUBREL, 5, flags=10))
        c.expect(PUBCOMP, mid=5)
        c.send(mqtt3.subscribe([(self.topic(), 1)], 6, flags=10))
        c.expect(SUBACK, mid=6)
        c.send(mqtt3.unsubscribe([self.topic()], 7, flags=10))
        c.expect(UNSUBACK, mid=7)

    def test_retained_messages(self):
        c = self.client()
        c.publish(self.topic(), b'r', 1, retain=True)
        c.subscribe(self.topic(), qos=2)
        c.message(self.topic(), b'r', qos=1, retain=True)
        c.publish(self.topic(), b'', 1, retain=True)
        c.message(self.topic(), b'', retain=False)
        late = self.subscriber(self.topic(), name='late')
        self.expect_nothing_from(c, late)

    def test_ill_formed_packets_close(self):
        for data in (mqtt3.publish('#'), mqtt3.publish(''), mqtt3.publish(b'\xff'),
                     mqtt.packet(PUBLISH, 6, b'\0\1a\0\1'), mqtt3.publish('a', b'', 1, 0),
                     mqtt3.subscribe([]), mqtt3.subscribe([('a', 3)]), b'\xf0\0', b'\0\0',
                     b'\x30\xff\xff\xff\xff\1', b'\x20\2\0\0'):
            with self.subTest(data=data):
                self.refused(data)

    def test_pings(self):
        c = self.client()
        c.send(mqtt.pingreq())
        self.assertEqual(c.expect(PINGRESP).raw, b'\xd0\0')


class Subscribe(Case):
    def test_granted_qos_in_order(self):
        c = self.client()
        self.assertEqual(c.subscribe((self.topic('a'), 2), (self.topic('b'), 0),
                                     (self.topic('c'), 1)).reasons, [2, 0, 1])

    def test_wildcards_match_and_stay_out_of_dollar_topics(self):
        sub = self.subscriber(self.topic('+', '#'), '#', qos=1)
        pub = self.client('pub')
        pub.publish(self.topic('a', 'b'), b'x', 1)
        got = [p.topic for p in self.fence(pub, sub)]
        self.assertEqual({t for t in got if not t.startswith('t/')}, set())
        self.assertIn(self.topic('a', 'b'), got)

    def test_the_same_filter_again_replaces_the_subscription(self):
        sub = self.client('sub')
        pub = self.client('pub')
        for qos in (0, 2, 1):
            sub.subscribe(self.topic(), qos=qos)
            pub.publish(self.topic(), b'x', 2)
            sub.message(self.topic(), b'x', qos=qos)

    def test_unsubscribe_ends_it(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.client('pub')
        sub.unsubscribe(self.topic(), self.topic('never'))
        pub.publish(self.topic(), b'', 1)
        self.expect_nothing_from(pub, sub)

    def test_a_suback_never_has_a_failure_code(self):
        """0x80 came with 3.1.1: a refused filter is granted and delivers nothing, or closes."""
        for name in ('a/#/b', 'a#', '+a', '$share/g', '$share//a', '/'.join('x' * 300)):
            with self.subTest(filter=name[:20]):
                c = self.client()
                c.send(mqtt3.subscribe([(name, 1)], 3))
                try:
                    c.expect(SUBACK, mid=3)  # the parser knows only the codes of 3.1
                except mqtt.Closed:
                    continue
                c.ping()


@pigeon_only
class Refused(Case):
    options = {'default_access': 'deny'}

    def test_a_refused_filter_looks_granted_and_delivers_nothing(self):
        c = self.client()
        self.assertEqual(len(c.subscribe((self.topic(), 2), ('#', 1)).reasons), 2)
        self.client('pub').publish(self.topic(), b'', 1)
        c.expect_nothing()
        self.assertEqual(len(c.unsubscribe(self.topic(), '#').raw), 4)

    def test_a_refused_publish_is_acknowledged(self):
        c = self.client()
        for qos in (0, 1, 2):
            c.publish(self.topic(), b'', qos)
        c.ping()

    def test_a_refused_will_gets_code_5(self):
        c = self.raw()
        c.send(hello(self.id('x'), will=Will(self.topic())))
        c.expect_close(5, connack=True, required=True)


class Wills(Case):
    def test_the_will_is_published_with_its_qos_and_retain_flag(self):
        sub = self.subscriber(self.topic(), qos=2)
        for qos in (0, 1, 2):
            self.client(will=Will(self.topic(), b'w', qos)).abort()
            sub.message(self.topic(), b'w', qos=qos, retain=False)
        self.client(will=Will(self.topic(), b'kept', 1, True)).close()
        sub.message(self.topic(), b'kept', retain=False)
        self.subscriber(self.topic(), name='late').message(self.topic(), b'kept', retain=True)

    def test_disconnect_removes_the_will(self):
        sub = self.subscriber(self.topic(), qos=2)
        self.client(will=Will(self.topic(), b'w')).disconnect()
        self.expect_nothing_from(self.client('pub'), sub)

    def test_a_protocol_error_publishes_the_will(self):
        sub = self.subscriber(self.topic(), qos=2)
        c = self.client(will=Will(self.topic(), b'w'))
        c.send(mqtt3.publish('#'))
        c.expect_close()
        sub.message(self.topic(), b'w')

    def test_takeover_publishes_the_will(self):
        sub = self.subscriber(self.topic(), qos=2)
        self.client(will=Will(self.topic(), b'w'))
        self.client()
        sub.message(self.topic(), b'w')


class Order(Case):
    def test_messages_keep_their_order(self):
        sub = self.subscriber(self.topic(), qos=1, auto_ack=True)
        pub = self.client('pub')
        pub.send(*[mqtt3.publish(self.topic(), b'%d' % i, 1, i + 1) for i in range(200)])
        for i in range(200):
            sub.expect(PUBLISH, payload=b'%d' % i)
        for i in range(200):
            pub.expect(PUBACK, mid=i + 1)
