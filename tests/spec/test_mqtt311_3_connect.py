"""MQTT 3.1.1 sections 3.1 CONNECT and 3.2 CONNACK."""

import time

import mqtt
import mqtt3
from broker import pigeon_only
from mqtt import CONNACK, CONNECT, PINGRESP, PUBACK, PUBLISH, SUBACK, Will
from spec import Spec311Case, spec


class Format(Spec311Case):
    @spec('MQTT-3.1.0-2')
    def test_a_second_connect_closes(self):
        self.refused(mqtt3.connect(self.id('x')))
        self.refused(mqtt3.connect(self.id('other')))

    @spec('MQTT-4.8.0-1')
    def test_anything_else_first_closes(self):
        for data in (mqtt3.publish('a'), mqtt3.subscribe([('a', 0)]), mqtt.pingreq(),
                     mqtt.disconnect(), mqtt.ack(PUBACK, 1), b'\x00\x00', b'\xf0\x00',
                     b'GET / HTTP/1.1\r\n\r\n', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'):
            with self.subTest(data=data):
                self.malformed_connect(data)
        self.still_serving()

    @spec('MQTT-3.1.2-1')
    def test_another_protocol_name_closes(self):
        for name in ('MQTX', 'mqtt', '', 'MQTTT', 'MQT', 'MQIsdp', 'HTTP'):
            with self.subTest(name=name):
                c = self.raw()
                c.send(mqtt3.connect(self.id('x'), name=name))
                self.assertIn(c.rest(), (b'', b'\x20\2\0\1', b'\x20\3\0\x84\0'))

    @spec('MQTT-3.1.2-2', 'MQTT-3.2.2-4', 'MQTT-3.2.2-5')
    def test_an_unknown_protocol_level_gets_code_1(self):
        for level in (0, 1, 2, 6, 7, 127, 255):
            with self.subTest(level=level):
                c = self.raw()
                c.send(mqtt3.connect(self.id('x'), level=level))
                self.assertIn(c.rest(), (b'\x20\2\0\1', b'\x20\3\0\x84\0'))

    @spec('MQTT-3.1.2-3', 'MQTT-3.1.4-1', 'MQTT-3.2.2-6')
    def test_the_reserved_connect_flag_closes(self):
        self.malformed_connect(mqtt3.connect(self.id('x'), flags=0x03))
        self.malformed_connect(mqtt3.connect(self.id('x'), flags=0x01))

    @spec('MQTT-3.1.2-9', 'MQTT-3.1.4-1')
    def test_a_will_flag_without_will_fields_closes(self):
        ident = mqtt.string(self.id('x'))
        for payload in (ident, ident + b'\0', ident + mqtt.string('w'),
                        ident + mqtt.string('w') + b'\0\7abc'):
            with self.subTest(payload=payload):
                self.malformed_connect(mqtt3.connect(flags=0x06, payload=payload))

    @spec('MQTT-3.1.2-11', 'MQTT-3.1.2-13', 'MQTT-3.1.2-15')
    def test_will_bits_without_a_will_close(self):
        for flags in (0x08, 0x10, 0x18, 0x20, 0x28):
            with self.subTest(flags=flags):
                self.malformed_connect(mqtt3.connect(self.id('x'), flags=0x02 | flags))

    @spec('MQTT-3.1.2-11')
    def test_will_fields_without_a_will_close(self):
        payload = mqtt.string(self.id('x')) + mqtt.string('w') + mqtt.string('m')
        self.malformed_connect(mqtt3.connect(flags=0x02, payload=payload))

    @spec('MQTT-3.1.2-14')
    def test_will_qos_3_closes(self):
        self.malformed_connect(mqtt3.connect(self.id('x'), will=Will('w', b'', 3)))

    @spec('MQTT-3.1.2-18', 'MQTT-3.1.2-20')
    def test_credentials_without_their_flags_close(self):
        ident = mqtt.string(self.id('x'))
        self.malformed_connect(mqtt3.connect(flags=0x02, payload=ident + mqtt.string('user')))
        self.malformed_connect(mqtt3.connect(
            flags=0x82, payload=ident + mqtt.string('user') + mqtt.string('pw')))

    @spec('MQTT-3.1.2-19', 'MQTT-3.1.2-21')
    def test_flagged_credentials_that_are_missing_close(self):
        ident = mqtt.string(self.id('x'))
        self.malformed_connect(mqtt3.connect(flags=0x82, payload=ident))
        self.malformed_connect(mqtt3.connect(flags=0xC2, payload=ident + mqtt.string('u')))
        self.malformed_connect(mqtt3.connect(flags=0xC2, payload=ident + mqtt.string('u') + b'\0'))

    @spec('MQTT-3.1.2-22')
    def test_a_password_without_a_user_name_closes(self):
        self.malformed_connect(mqtt3.connect(self.id('x'), password=b'secret'))

    @spec('MQTT-3.1.3-3', 'MQTT-3.1.4-1')
    def test_a_connect_without_a_client_id_closes(self):
        for payload in (b'', b'\0', b'\0\x09abc'):
            with self.subTest(payload=payload):
                self.malformed_connect(mqtt3.connect(payload=payload))

    @spec('MQTT-3.1.4-1', 'MQTT-4.8.0-1')
    def test_connects_cut_short_or_too_long_close(self):
        whole = mqtt3.connect(self.id('x'), will=Will('w', b'm'))[2:]
        for n in (0, 1, 5, 6, 7, 8, 9, 10, 11, len(whole) - 1):
            with self.subTest(length=n):
                self.malformed_connect(mqtt.packet(CONNECT, 0, whole[:n]))
        self.malformed_connect(mqtt.packet(CONNECT, 0, whole + b'x'))

    @spec('MQTT-3.1.3-1', 'MQTT-3.1.2-9', 'MQTT-3.1.2-19', 'MQTT-3.1.2-21')
    def test_a_connect_with_every_field_is_understood(self):
        topic = self.topic('will')
        sub = self.subscriber(topic, qos=2)
        c = self.raw(self.id('c'), keepalive=600, username='üser', password=b'\0\xffpw',
                     will=Will(topic, b'\0payload\xff', 2))
        if c.connect(reason=None).reason in (4, 5):
            self.skipTest('the broker checks credentials')
        self.assertEqual(c.connack.reason, 0)
        c.abort()
        sub.message(topic, b'\0payload\xff', qos=2, retain=False)


class ClientId(Spec311Case):
    @spec('MQTT-3.1.3-5')
    def test_23_letters_and_digits_are_accepted(self):
        letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
        for ident in (letters[:23], letters[20:43], letters[-23:], 'a', '0'):
            c = self.raw(ident)
            c.connect()
            c.disconnect()

    def test_other_ids_are_accepted_or_rejected_as_such(self):
        for ident in ('x' * 65535, 'x' * 300, 'a b', 'ü', '#', '+', '/', '$SYS'):
            c = self.raw(ident)
            if c.connect(reason=None).reason:
                self.assertEqual(c.connack.reason, 2)
                c.expect_close()
            else:
                c.disconnect()

    @spec('MQTT-3.1.3-6')
    def test_an_empty_id_gets_a_unique_one(self):
        clients = [self.raw('') for _ in range(10)]
        for c in clients:
            c.connect(session_present=False)
            c.subscribe(self.topic())
        self.client('pub').publish(self.topic(), b'x')
        for c in clients:
            c.message(self.topic(), b'x')
            c.ping()

    @spec('MQTT-3.1.3-8', 'MQTT-3.1.3-9', 'MQTT-3.2.2-4', 'MQTT-3.2.2-5')
    def test_an_empty_id_without_clean_session_gets_code_2(self):
        self.rejected_connect(mqtt3.connect('', clean=False), 2)

    @spec('MQTT-3.1.3-2')
    def test_ids_that_differ_in_a_byte_are_different_sessions(self):
        clients = [self.client(name) for name in ('a', 'A', 'a\u0301', 'á', 'a ', ' a')]
        for c in clients:
            c.ping()


@pigeon_only
class ShortIds(Spec311Case):
    options = {'limits': {'client_id_length': 40, 'username_length': 20}}

    @spec('MQTT-3.1.3-9', 'MQTT-3.2.2-4', 'MQTT-3.2.2-5')
    def test_an_id_above_the_limit_gets_code_2(self):
        self.raw('x' * 40).connect()
        self.rejected_connect(mqtt3.connect('x' * 41), 2)

    def test_a_user_name_above_the_limit_is_refused(self):
        self.raw(self.id('x')[:40], username='x' * 20).connect()
        c = self.raw()
        c.send(mqtt3.connect(self.id('x')[:40], username='x' * 21))
        c.expect_close(4, 5, connack=True)


class Sessions(Spec311Case):
    def leave_session(self, topic, qos=1):
        c = self.client(clean=False)
        c.subscribe(topic, qos=qos)
        c.disconnect()

    @spec('MQTT-3.1.2-6', 'MQTT-3.1.4-3', 'MQTT-3.2.2-1')
    def test_clean_session_drops_the_old_session(self):
        self.leave_session(self.topic())
        pub = self.client('pub')
        pub.publish(self.topic(), b'queued', 1)
        c = self.client(clean=True, session_present=False)
        self.expect_nothing_from(pub, c)
        pub.publish(self.topic(), b'no longer subscribed', 1)
        self.expect_nothing_from(pub, c)

    @spec('MQTT-3.1.2-6', 'MQTT-3.2.2-3')
    def test_nothing_of_a_clean_session_is_reused(self):
        c = self.client(clean=True, session_present=False)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'', 1)
        c = self.client(clean=False, session_present=False)
        pub.publish(self.topic(), b'', 1)
        self.expect_nothing_from(pub, c)

    @spec('MQTT-3.1.2-4', 'MQTT-3.1.2-5', 'MQTT-3.1.4-3', 'MQTT-3.2.2-2', 'MQTT-4.1.0-1',
          'MQTT-4.5.0-1')
    def test_a_session_is_carried_on(self):
        self.leave_session(self.topic(), 2)
        pub = self.client('pub')
        for qos in (1, 2):
            pub.publish(self.topic(), b'queued%d' % qos, qos)
        c = self.client(clean=False, session_present=True)
        for qos in (1, 2):
            c.message(self.topic(), b'queued%d' % qos, qos=qos)
        pub.publish(self.topic(), b'live', 1)
        c.message(self.topic(), b'live')

    @spec('MQTT-3.1.2-4', 'MQTT-4.1.0-1')
    def test_a_session_is_carried_on_after_each_of_many_connections(self):
        self.leave_session(self.topic())
        pub = self.client('pub')
        for i in range(5):
            pub.publish(self.topic(), b'%d' % i, 1)
            c = self.client(clean=False, session_present=True)
            c.message(self.topic(), b'%d' % i)
            c.abort() if i % 2 else c.disconnect()

    @spec('MQTT-3.2.2-2')
    def test_a_session_without_subscriptions_is_present(self):
        self.client(clean=False).disconnect()
        self.client(clean=False, session_present=True)

    @spec('MQTT-3.1.2-4', 'MQTT-3.2.2-3')
    def test_without_a_session_a_new_one_begins(self):
        self.client(clean=False, session_present=False)

    @spec('MQTT-3.1.2-7')
    def test_retained_messages_outlive_the_session_that_published_them(self):
        for clean in (True, False):
            c = self.client(clean=clean)
            c.publish(self.topic(), b'kept', 1, retain=True)
            c.disconnect()
            self.forget('c')
            self.subscriber(self.topic()).message(self.topic(), b'kept', retain=True)

    @spec('MQTT-4.1.0-2')
    def test_a_session_lasts_as_long_as_its_connection(self):
        c = self.subscriber(self.topic(), name='c', qos=1)
        c.quiet(2)
        self.client('pub').publish(self.topic(), b'x', 1)
        c.message(self.topic(), b'x')

    @spec('MQTT-3.1.4-2')
    def test_takeover_closes_the_old_connection(self):
        for clean in (True, False):
            old = self.client(clean=clean)
            new = self.client(clean=clean)
            old.expect_close()
            new.ping()
            new.disconnect()

    @spec('MQTT-3.1.4-2', 'MQTT-3.1.2-4')
    def test_takeover_carries_the_session_on(self):
        old = self.client(clean=False)
        old.subscribe(self.topic(), qos=2)
        new = self.client(clean=False, session_present=True)
        old.expect_close()
        self.client('pub').publish(self.topic(), b'x', 2)
        new.message(self.topic(), b'x', qos=2)

    def test_takeover_of_a_clean_session_finds_none(self):
        old = self.subscriber(self.topic(), name='c', qos=1)
        new = self.client(clean=False, session_present=False)
        old.expect_close()
        pub = self.client('pub')
        pub.publish(self.topic(), b'', 1)
        self.expect_nothing_from(pub, new)

    @spec('MQTT-3.1.4-2')
    def test_a_chain_of_takeovers_leaves_one(self):
        clients = [self.client() for _ in range(20)]
        for c in clients[:-1]:
            c.expect_close()
        clients[-1].ping()


class KeepAlive(Spec311Case):
    def closes_in_time(self, c, began, seconds):
        c.expect_close(timeout=seconds * 1.5 + 5)
        took = time.monotonic() - began
        self.assertGreaterEqual(took, seconds * 1.5 - 0.1)
        self.assertLessEqual(took, seconds * 1.5 + mqtt.DEADLINE / 10)

    @spec('MQTT-3.1.2-24')
    def test_a_silent_client_is_closed_after_one_and_a_half_intervals(self):
        for seconds in (1, 2):
            began = time.monotonic()
            self.closes_in_time(self.client(keepalive=seconds), began, seconds)

    @spec('MQTT-3.1.2-24', 'MQTT-3.1.2-8')
    def test_a_client_closed_for_silence_leaves_its_will(self):
        sub = self.subscriber(self.topic())
        began = time.monotonic()
        self.client(keepalive=1, will=Will(self.topic(), b'silent'))
        self.assertGreaterEqual(sub.message(self.topic(), b'silent').at - began, 1.4)

    @spec('MQTT-3.1.2-24')
    def test_any_packet_restarts_the_interval(self):
        c = self.client(keepalive=1)
        for data in (mqtt.pingreq(), mqtt3.publish(self.topic()), mqtt.pingreq()):
            c.quiet(0.9)
            began = time.monotonic()
            c.send(data)
            if data == mqtt.pingreq():
                c.expect(PINGRESP)
        self.closes_in_time(c, began, 1)

    def test_keep_alive_0_never_closes(self):
        c = self.client(keepalive=0)
        c.quiet(2.5)
        c.ping()


class Connack(Spec311Case):
    @spec('MQTT-3.1.4-4', 'MQTT-3.2.0-1', 'MQTT-3.2.2-1', 'MQTT-3.2.2-3')
    def test_an_accepted_connect_is_acknowledged(self):
        for clean in (True, False):
            c = self.raw(self.id('c'), clean=clean)
            self.assertEqual(c.connect().raw, b'\x20\2\0\0')
            c.disconnect()
            self.forget('c')

    @spec('MQTT-3.2.0-1')
    def test_connack_precedes_what_was_queued(self):
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=2)
        c.disconnect()
        pub = self.client('pub')
        for i in range(20):
            pub.publish(self.topic(), b'%d' % i, 1 + i % 2)
        c = self.raw(self.id('c'), clean=False)
        c.send_connect()
        c.expect(CONNACK, reason=0, session_present=True)

    @spec('MQTT-3.2.0-1')
    def test_packets_sent_before_connack_are_answered_after_it(self):
        c = self.raw(self.id('c'))
        c.send(mqtt3.connect(self.id('c')), mqtt3.subscribe([(self.topic(), 0)], 3),
               mqtt3.publish(self.topic(), b'early', 1, 4), mqtt.pingreq())
        c.expect(CONNACK, reason=0)
        got = sorted(c.recv().type for _ in range(4))
        self.assertEqual(got, [PUBLISH, PUBACK, SUBACK, PINGRESP])

    def test_there_is_one_connack(self):
        c = self.client()
        c.subscribe(self.topic())
        c.expect_nothing()

    @spec('MQTT-3.1.4-5', 'MQTT-3.2.2-5')
    def test_nothing_is_processed_after_a_refusal(self):
        sub = self.subscriber(self.topic())
        c = self.raw()
        c.send(mqtt3.connect('', clean=False), mqtt3.publish(self.topic(), b'refused'),
               mqtt3.subscribe([(self.topic(), 0)]), mqtt.pingreq())
        c.expect_close(2, connack=True, required=True)
        self.expect_nothing_from(self.client('pub'), sub)

    @spec('MQTT-3.1.4-5')
    def test_a_refused_connect_leaves_the_session_alone(self):
        self.client('x', clean=False).disconnect()
        self.malformed_connect(mqtt3.connect(self.id('x'), flags=0x03))
        self.client('x', clean=False, session_present=True)


class Wills(Spec311Case):
    """A will, and a subscriber who waits for it."""

    def watcher(self, qos=2):
        return self.subscriber(self.topic(), qos=qos)

    def will(self, payload=b'will', qos=0, retain=False):
        return Will(self.topic(), payload, qos, retain)

    @spec('MQTT-3.1.2-8')
    def test_an_abrupt_end_publishes_the_will(self):
        sub = self.watcher()
        for end in ('abort', 'close'):
            getattr(self.client(will=self.will()), end)()
            sub.message(self.topic(), b'will')

    @spec('MQTT-3.1.2-8')
    def test_a_protocol_error_publishes_the_will(self):
        sub = self.watcher()
        for data in (mqtt3.publish('#'), mqtt3.connect(self.id('c')), b'\x00\x00',
                     mqtt3.publish(b'\xff'), mqtt3.subscribe([])):
            with self.subTest(data=data):
                c = self.client(will=self.will())
                c.send(data)
                c.expect_close()
                sub.message(self.topic(), b'will')

    @spec('MQTT-3.1.2-10', 'MQTT-3.14.4-3')
    def test_disconnect_removes_the_will(self):
        sub = self.watcher()
        for clean in (True, False):
            self.client(will=self.will(), clean=clean).disconnect()
            self.forget('c')
        self.expect_nothing_from(self.client('pub'), sub)

    @spec('MQTT-3.1.2-10')
    def test_the_will_is_published_once(self):
        sub = self.watcher()
        self.client(will=self.will(), clean=False).abort()
        sub.message(self.topic(), b'will')
        c = self.client(clean=False, session_present=True)
        c.abort()
        self.client(clean=False, session_present=True)
        self.expect_nothing_from(self.client('pub'), sub)

    @spec('MQTT-3.1.2-12')
    def test_without_a_will_none_is_published(self):
        sub = self.subscriber(self.topic('#'), '#')
        self.client().abort()
        self.client(name='d', clean=False).abort()
        self.forget('d')
        got = [p for p in self.fence(self.client('pub'), sub) if p.topic.startswith(self.topic())]
        self.assertEqual(got, [])

    @spec('MQTT-3.1.2-14')
    def test_the_will_has_its_qos(self):
        sub = self.watcher()
        for qos in (0, 1, 2):
            self.client(will=self.will(qos=qos)).abort()
            sub.message(self.topic(), b'will', qos=qos)

    @spec('MQTT-3.1.2-16')
    def test_a_will_without_retain_is_not_retained(self):
        sub = self.watcher()
        self.client(will=self.will()).abort()
        sub.message(self.topic(), b'will', retain=False)
        late = self.subscriber(self.topic(), name='late')
        self.expect_nothing_from(self.client('pub'), late)

    @spec('MQTT-3.1.2-17')
    def test_a_will_with_retain_is_retained(self):
        sub = self.watcher()
        self.client(will=self.will(retain=True, qos=1)).abort()
        sub.message(self.topic(), b'will', retain=False)
        late = self.subscriber(self.topic(), name='late')
        late.message(self.topic(), b'will', retain=True)

    def test_an_empty_retained_will_removes_the_retained_message(self):
        self.client('pub').publish(self.topic(), b'old', 1, retain=True)
        sub = self.watcher()
        sub.message(self.topic(), b'old', retain=True)
        self.client(will=self.will(b'', retain=True)).abort()
        sub.message(self.topic(), b'', retain=False)
        late = self.subscriber(self.topic(), name='late')
        self.expect_nothing_from(self.client('pub'), late)

    @spec('MQTT-3.1.2-8', 'MQTT-3.1.4-2')
    def test_takeover_publishes_the_will(self):
        sub = self.watcher()
        for clean in (True, False):
            self.client(will=self.will(), clean=clean)
            new = self.client(clean=clean)
            sub.message(self.topic(), b'will')
            new.disconnect()

    def test_the_will_of_the_new_connection_counts(self):
        sub = self.watcher()
        self.client(will=self.will(b'1'), clean=False)
        new = self.client(will=self.will(b'2'), clean=False)
        sub.message(self.topic(), b'1')
        self.expect_nothing_from(self.client('pub'), sub)
        new.abort()
        sub.message(self.topic(), b'2')

    @spec('MQTT-3.1.2-8', 'MQTT-3.1.2-5')
    def test_a_will_goes_to_offline_sessions(self):
        away = self.client('away', clean=False)
        away.subscribe(self.topic(), qos=1)
        away.disconnect()
        sub = self.watcher()
        self.client(will=self.will(qos=1)).abort()
        sub.message(self.topic(), b'will')
        self.client('away', clean=False, session_present=True).message(self.topic(), b'will')

    @spec('MQTT-4.7.3-1', 'MQTT-4.7.1-1', 'MQTT-3.1.3-10')
    def test_a_will_topic_with_wildcards_or_none_closes(self):
        for topic in ('#', '+', 'a/#', 'a/+/b', ''):
            with self.subTest(topic=topic):
                c = self.raw()
                c.send(mqtt3.connect(self.id('x'), will=Will(topic)))
                c.expect_close(5, connack=True)
