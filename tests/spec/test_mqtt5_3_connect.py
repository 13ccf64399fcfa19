"""MQTT 5.0 sections 3.1 CONNECT and 3.2 CONNACK."""

import time

import mqtt
from mqtt import (CONNACK, CONNECT, NEVER, PUBACK, PUBLISH, V31, V311, Will)
from spec import SpecCase, spec

MALFORMED = (0x81, 0x82)


class Format(SpecCase):
    @spec('MQTT-3.1.0-2')
    def test_a_second_connect_closes(self):
        self.refused(mqtt.connect(self.id('x')), 0x82, 0x81)
        self.refused(mqtt.connect(self.id('other')), 0x82, 0x81)

    def test_anything_else_first_closes(self):
        for data in (mqtt.publish('a'), mqtt.subscribe([('a', 0)]), mqtt.pingreq(),
                     mqtt.disconnect(), mqtt.auth(), b'GET / HTTP/1.1\r\n\r\n'):
            with self.subTest(data=data):
                c = self.raw()
                c.send(data)
                c.rest()
        self.still_serving()

    @spec('MQTT-3.1.2-1')
    def test_another_protocol_name_closes(self):
        for name in ('MQTX', 'mqtt', '', 'MQTTT', 'MQT', 'MQIsdp', 'HTTP'):
            with self.subTest(name=name):
                self.refused_version(mqtt.connect(self.id('x'), name=name))

    @spec('MQTT-3.1.2-2')
    def test_an_unknown_protocol_version_closes(self):
        for level in (0, 1, 2, 6, 7, 127, 128, 255):
            with self.subTest(level=level):
                self.refused_version(mqtt.connect(self.id('x'), level=level))

    def refused_version(self, data):
        """An optional CONNACK that refuses, in the shape of any version, then close."""
        c = self.raw()
        c.send(data)
        answer = c.rest()
        if answer:
            self.assertEqual(answer[0], 0x20, answer)
            self.assertIn(answer[3], (0x01, 0x84), answer)

    @spec('MQTT-3.1.2-3', 'MQTT-3.1.4-1')
    def test_the_reserved_connect_flag_closes(self):
        self.refused_connect(mqtt.connect(self.id('x'), flags=0x03), *MALFORMED)
        self.refused_connect(mqtt.connect(self.id('x'), flags=0x01), *MALFORMED)

    @spec('MQTT-3.1.2-9', 'MQTT-3.1.4-1')
    def test_a_will_flag_without_will_fields_closes(self):
        ident = mqtt.string(self.id('x'))
        for payload in (ident, ident + b'\0', ident + b'\0' + mqtt.string('w'),
                        ident + mqtt.string('w') + mqtt.string('m')):
            with self.subTest(payload=payload):
                self.refused_connect(mqtt.connect(flags=0x06, payload=payload), *MALFORMED)

    @spec('MQTT-3.1.2-11', 'MQTT-3.1.2-13')
    def test_will_bits_without_a_will_close(self):
        for flags in (0x08, 0x10, 0x18, 0x20, 0x28):
            with self.subTest(flags=flags):
                self.refused_connect(mqtt.connect(self.id('x'), flags=0x02 | flags), *MALFORMED)

    @spec('MQTT-3.1.2-12')
    def test_will_qos_3_closes(self):
        self.refused_connect(mqtt.connect(self.id('x'), will=Will('w', b'', 3)),
                             0x81, 0x82, 0x9B)

    @spec('MQTT-3.1.2-16', 'MQTT-3.1.2-18')
    def test_credentials_without_their_flags_close(self):
        ident = mqtt.string(self.id('x'))
        self.refused_connect(mqtt.connect(flags=0x02, payload=ident + mqtt.string('user')),
                             *MALFORMED)
        self.refused_connect(mqtt.connect(
            flags=0x82, payload=ident + mqtt.string('user') + mqtt.string('pw')), *MALFORMED)

    @spec('MQTT-3.1.2-17', 'MQTT-3.1.2-19')
    def test_flagged_credentials_that_are_missing_close(self):
        ident = mqtt.string(self.id('x'))
        for flags in (0x82, 0x42, 0xC2):
            with self.subTest(flags=flags):
                self.refused_connect(mqtt.connect(flags=flags, payload=ident), *MALFORMED)
        self.refused_connect(mqtt.connect(flags=0xC2, payload=ident + mqtt.string('u')),
                             *MALFORMED)

    def test_a_password_without_a_user_name_is_well_formed(self):
        c = self.raw(self.id('x'), password=b'secret')
        ack = c.connect(reason=None)
        self.assertIn(ack.reason, (0x00, 0x86, 0x87))

    @spec('MQTT-3.1.3-3', 'MQTT-3.1.4-1')
    def test_a_connect_without_a_client_id_closes(self):
        self.refused_connect(mqtt.connect(payload=b''), *MALFORMED)
        self.refused_connect(mqtt.connect(payload=b'\0'), *MALFORMED)
        self.refused_connect(mqtt.connect(payload=b'\0\x09abc'), *MALFORMED)

    @spec('MQTT-3.1.4-1')
    def test_connects_cut_short_or_too_long_close(self):
        whole = mqtt.connect(self.id('x'), will=Will('w', b'm'))[2:]
        for n in (0, 1, 5, 6, 7, 8, 9, 10, 11, len(whole) - 1):
            with self.subTest(length=n):
                self.refused_version_or_format(mqtt.packet(CONNECT, 0, whole[:n]))
        self.refused_connect(mqtt.packet(CONNECT, 0, whole + b'x'), *MALFORMED)

    def refused_version_or_format(self, data):
        c = self.raw()
        c.send(data)
        answer = c.rest()
        if answer:
            self.assertEqual(answer[0], 0x20, answer)
            self.assertNotEqual(answer[3], 0, answer)

    @spec('MQTT-3.1.3-1', 'MQTT-3.1.3-12')
    def test_a_connect_with_every_field_is_understood(self):
        topic = self.topic('will')
        sub = self.subscriber(topic, qos=2)
        c = self.raw(self.id('c'), keepalive=600, username='üser', password=b'\0\xffpw',
                     will=Will(topic, b'\0payload\xff', 2, False, {
                         'will_delay_interval': 0, 'payload_format_indicator': 0,
                         'message_expiry_interval': 1000, 'content_type': 'ct',
                         'response_topic': 'r/t', 'correlation_data': b'\0\1',
                         'user_property': [('a', '1'), ('b', '2')]}),
                     props={'session_expiry_interval': 0, 'receive_maximum': 10,
                            'maximum_packet_size': 100000, 'topic_alias_maximum': 5,
                            'request_response_information': 1, 'request_problem_information': 1,
                            'user_property': [('k', 'v'), ('k', 'v')]})
        if c.connect(reason=None).reason in (0x86, 0x87):
            self.skipTest('the broker checks credentials')
        self.assertEqual(c.connack.reason, 0)
        c.abort()
        p = sub.message(topic, b'\0payload\xff', qos=2)
        self.assertEqual(p.props['content_type'], 'ct')
        self.assertEqual(p.props['response_topic'], 'r/t')
        self.assertEqual(p.props['correlation_data'], b'\0\1')
        self.assertEqual(p.user, [('a', '1'), ('b', '2')])
        self.assertLessEqual(p.props['message_expiry_interval'], 1000)
        self.assertNotIn('will_delay_interval', p.props)


class ClientId(SpecCase):
    @spec('MQTT-3.1.3-5')
    def test_23_letters_and_digits_are_accepted(self):
        letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
        for ident in (letters[:23], letters[20:43], letters[-23:], 'a', '0'):
            c = self.raw(ident)
            c.connect()
            self.assertNotIn('assigned_client_identifier', c.connack.props)
            c.disconnect()

    @spec('MQTT-3.1.3-6', 'MQTT-3.1.3-7', 'MQTT-3.2.2-16')
    def test_an_empty_id_gets_a_unique_one(self):
        clients = [self.raw('') for _ in range(10)]
        ids = [c.connect().props.get('assigned_client_identifier') for c in clients]
        self.assertNotIn(None, ids)
        self.assertNotIn('', ids)
        self.assertEqual(len(set(ids)), 10)
        for c in clients:
            c.ping()

    @spec('MQTT-3.1.3-7', 'MQTT-3.1.3-2')
    def test_an_assigned_id_names_the_session(self):
        c = self.raw('', clean=False, props={'session_expiry_interval': 600})
        c.connect(session_present=False)
        ident, topic = c.client_id, self.topic()
        c.subscribe(topic, qos=1)
        c.disconnect()
        self.client('pub').publish(topic, b'kept', 1)
        again = self.raw(ident, clean=False, props={'session_expiry_interval': 0})
        again.connect(session_present=True)
        again.message(topic, b'kept')

    @spec('MQTT-3.1.3-8', 'MQTT-3.1.4-2')
    def test_a_client_id_is_accepted_or_refused_as_such(self):
        for ident in ('x' * 65535, 'x' * 300):
            c = self.raw(ident)
            c.send_connect()
            try:
                ack = c.expect(CONNACK)
            except mqtt.Closed:
                continue
            self.assertIn(ack.reason, (0x00, 0x85, 0x95))
            if ack.reason:
                c.expect_close()

    @spec('MQTT-3.1.3-2')
    def test_ids_that_differ_in_a_byte_are_different_sessions(self):
        a = self.client('a')
        b = self.client('A')
        c = self.client('a\u0301')
        d = self.client('á')
        for client in (a, b, c, d):
            client.ping()


class Sessions(SpecCase):
    LONG = {'session_expiry_interval': 600}

    def leave_session(self, topic, qos=1, **props):
        c = self.client(props={**self.LONG, **props})
        c.subscribe(topic, qos=qos)
        c.disconnect()

    @spec('MQTT-3.1.2-4', 'MQTT-3.2.2-2', 'MQTT-3.1.4-4')
    def test_clean_start_drops_the_old_session(self):
        topic = self.topic()
        self.leave_session(topic)
        pub = self.client('pub')
        pub.publish(topic, b'queued', 1)
        c = self.client(clean=True, session_present=False)
        self.expect_nothing_from(pub, c)
        pub.publish(topic, b'no longer subscribed', 1)
        self.expect_nothing_from(pub, c)

    @spec('MQTT-3.1.2-5', 'MQTT-3.2.2-3', 'MQTT-3.1.2-23', 'MQTT-4.1.0-1', 'MQTT-4.5.0-1')
    def test_a_session_is_carried_on(self):
        topic = self.topic()
        self.leave_session(topic)
        self.client('pub').publish(topic, b'queued', 1)
        c = self.client(clean=False, session_present=True)
        c.message(topic, b'queued')
        self.client('pub').publish(topic, b'live', 1)
        c.message(topic, b'live')

    @spec('MQTT-3.2.2-3', 'MQTT-3.1.2-23')
    def test_a_session_without_subscriptions_is_present(self):
        self.client(props=self.LONG).disconnect()
        self.client(clean=False, session_present=True)

    @spec('MQTT-3.1.2-6', 'MQTT-3.2.2-3')
    def test_without_a_session_a_new_one_begins(self):
        self.client(clean=False, session_present=False)

    def test_a_session_of_a_clean_start_is_kept_by_its_expiry_interval(self):
        self.client(clean=True, props=self.LONG).disconnect()
        self.client(clean=False, session_present=True)

    def test_without_an_expiry_interval_the_session_ends_with_the_connection(self):
        for props in (None, {'session_expiry_interval': 0}):
            self.client(clean=False, props=props).disconnect()
            self.client('c', clean=False, session_present=False).disconnect()

    def test_an_abrupt_end_keeps_the_session_too(self):
        c = self.client(props=self.LONG)
        c.subscribe(self.topic(), qos=1)
        c.abort()
        self.client(clean=False, session_present=True)

    @spec('MQTT-4.1.0-2')
    def test_a_session_ends_after_its_expiry_interval(self):
        c = self.client(props={'session_expiry_interval': 1})
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        self.client('clock').quiet(2.5)
        self.client(clean=False, session_present=False)

    def test_a_session_is_there_until_its_expiry_interval_passed(self):
        self.client(props={'session_expiry_interval': 4}).disconnect()
        self.client('clock').quiet(1)
        self.client(clean=False, session_present=True)

    def test_each_connection_sets_the_expiry_interval_anew(self):
        self.client(props=self.LONG).disconnect()
        c = self.client(clean=False, session_present=True)  # interval absent: 0
        c.disconnect()
        self.client(clean=False, session_present=False)

    def test_disconnect_overrides_the_expiry_interval(self):
        c = self.client(props={'session_expiry_interval': 1})
        c.disconnect(0, {'session_expiry_interval': 600})
        self.client('clock').quiet(2.5)
        c = self.client(clean=False, session_present=True, props=self.LONG)
        c.disconnect(0, {'session_expiry_interval': 0})
        self.client(clean=False, session_present=False)

    def test_0xffffffff_never_expires(self):
        c = self.client(props={'session_expiry_interval': NEVER})
        c.disconnect()
        self.client('clock').quiet(1.5)
        c = self.client(clean=False, session_present=True, props={'session_expiry_interval': 1})
        c.disconnect(0, {'session_expiry_interval': NEVER})
        self.client('clock').quiet(2.5)
        self.client(clean=False, session_present=True)

    def test_disconnect_cannot_raise_the_interval_from_0(self):
        for props in (None, {'session_expiry_interval': 0}):
            c = self.client(props=props)
            c.send(mqtt.disconnect(0, {'session_expiry_interval': 100}))
            c.expect_close(0x82)

    @spec('MQTT-3.1.4-3')
    def test_takeover_tells_the_old_connection(self):
        old = self.client()
        new = self.client()
        old.expect_close(0x8E, required=True)
        new.ping()

    @spec('MQTT-3.1.4-3', 'MQTT-3.1.2-5')
    def test_takeover_carries_the_session_on(self):
        topic = self.topic()
        old = self.client(props=self.LONG)
        old.subscribe(topic, qos=2)
        new = self.client(clean=False, session_present=True, props=self.LONG)
        old.expect_close(0x8E, required=True)
        self.client('pub').publish(topic, b'x', 2)
        new.message(topic, b'x', qos=2)

    def test_takeover_of_a_session_with_expiry_0_finds_none(self):
        old = self.client()
        old.subscribe(self.topic(), qos=1)
        new = self.client(clean=False, session_present=False)
        old.expect_close(0x8E)
        pub = self.client('pub')
        pub.publish(self.topic(), b'', 1)
        self.expect_nothing_from(pub, new)

    def test_a_chain_of_takeovers_leaves_one(self):
        clients = [self.client() for _ in range(20)]
        for c in clients[:-1]:
            c.expect_close(0x8E)
        clients[-1].ping()


class KeepAlive(SpecCase):
    def closes_in_time(self, c, began, seconds):
        c.expect_close(0x8D, timeout=seconds * 1.5 + 5)
        took = time.monotonic() - began
        self.assertGreaterEqual(took, seconds * 1.5 - 0.1)
        self.assertLessEqual(took, seconds * 1.5 + mqtt.DEADLINE / 10)

    def interval(self, c, asked):
        return c.connack.props.get('server_keep_alive', asked)

    @spec('MQTT-3.1.2-22', 'MQTT-3.2.2-22')
    def test_a_silent_client_is_closed_after_one_and_a_half_intervals(self):
        for seconds in (1, 2):
            c = self.raw(self.id('c'), keepalive=seconds)
            began = time.monotonic()
            c.connect()
            self.closes_in_time(c, began, self.interval(c, seconds))

    @spec('MQTT-3.1.2-22', 'MQTT-3.1.2-8')
    def test_a_client_closed_for_silence_leaves_its_will(self):
        topic = self.topic()
        sub = self.subscriber(topic)
        began = time.monotonic()
        self.client(keepalive=1, will=Will(topic, b'silent'))
        p = sub.message(topic, b'silent')
        self.assertGreaterEqual(p.at - began, 1.4)

    def test_any_packet_restarts_the_interval(self):
        c = self.client(keepalive=1)
        keepalive = self.interval(c, 1)
        for data in (mqtt.pingreq(), mqtt.publish(self.topic()), mqtt.pingreq()):
            for _ in c.drain():
                self.fail('unexpected packet')
            c.quiet(keepalive * 0.9)
            began = time.monotonic()
            c.send(data)
            if data == mqtt.pingreq():
                c.expect(mqtt.PINGRESP)
        self.closes_in_time(c, began, keepalive)

    def test_what_the_server_sends_does_not_restart_the_interval(self):
        topic = self.topic()
        c = self.client(keepalive=2)
        c.subscribe(topic)
        began = time.monotonic()
        pub = self.client('pub')
        pub.quiet(1.5)
        pub.publish(topic, b'')
        c.message(topic, b'')
        self.closes_in_time(c, began, self.interval(c, 2))

    def test_keep_alive_0_never_closes(self):
        c = self.client(keepalive=0)
        if self.interval(c, 0) == 0:
            c.quiet(2.5)
            c.ping()


class Limits(SpecCase):
    @spec('MQTT-3.1.2-24', 'MQTT-3.1.2-25')
    def test_a_message_above_the_clients_maximum_is_not_sent(self):
        topic = self.topic()
        limit = 100 + len(topic)
        sub = self.subscriber(topic, qos=2, props={'maximum_packet_size': limit,
                                                   'receive_maximum': 1})
        pub = self.client('pub')
        for qos in (0, 1, 2):
            for i in range(3):  # each would block the window if it counted as unacknowledged
                self.assertLess(pub.publish(topic, b'x' * limit, qos), 0x80)
            pub.publish(topic, b'small', qos)
            sub.message(topic, b'small', qos=qos)
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.1.2-24')
    def test_the_maximum_packet_size_itself_still_fits(self):
        topic = self.topic()
        limit = 100 + len(topic)
        sub = self.subscriber(topic, props={'maximum_packet_size': limit})
        pub = self.client('pub')
        size = limit
        while len(mqtt.publish(topic, b'x' * size)) > limit:
            size -= 1
        pub.publish(topic, b'x' * (size + 1))
        pub.publish(topic, b'y' * size)
        self.assertEqual(sub.message(topic, b'y' * size).size, limit)

    @spec('MQTT-3.1.2-24', 'MQTT-3.1.2-25')
    def test_a_queued_message_above_the_maximum_of_the_next_connection_is_dropped(self):
        topic = self.topic()
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(topic, qos=1)
        c.disconnect()
        pub = self.client('pub')
        for payload in (b'1', b'x' * 500, b'3'):
            pub.publish(topic, payload, 1)
        c = self.client(clean=False, session_present=True,
                        props={'maximum_packet_size': 200, 'session_expiry_interval': 600})
        c.message(topic, b'1')
        c.message(topic, b'3')
        c.disconnect()
        c = self.client(clean=False, session_present=True)
        self.expect_nothing_from(pub, c)

    @spec('MQTT-3.2.2-19', 'MQTT-3.2.2-20')
    def test_connack_respects_the_maximum_packet_size(self):
        for size in (10, 20, 30, 60, 100):
            for method in (None, 'no such method'):
                with self.subTest(size=size, method=method):
                    props = {'maximum_packet_size': size}
                    if method:
                        props['authentication_method'] = method
                    c = self.raw(self.id('x'), props=props)
                    c.send_connect()
                    try:
                        ack = c.expect(CONNACK)  # the client checks its size
                    except mqtt.Closed:
                        continue
                    if ack.reason >= 0x80:
                        c.expect_close()

    @spec('MQTT-3.1.2-26', 'MQTT-3.3.2-11')
    def test_aliases_of_the_server_stay_within_the_clients_maximum(self):
        for maximum in (1, 3):
            sub = self.subscriber(self.topic('#'), qos=1, props={'topic_alias_maximum': maximum})
            pub = self.client('pub')
            for i in range(3 * 8):
                topic = self.topic('long' * 10, str(i % 8))
                pub.publish(topic, b'%d' % i, i % 2)
                sub.message(topic, b'%d' % i)  # the client checks and resolves aliases
            sub.disconnect()

    @spec('MQTT-3.1.2-27')
    def test_no_alias_is_sent_without_a_maximum(self):
        for props in (None, {'topic_alias_maximum': 0}):
            sub = self.subscriber(self.topic(), props=props)
            pub = self.client('pub')
            for _ in range(10):
                pub.publish(self.topic(), b'')
                self.assertNotIn('topic_alias', sub.message(self.topic()).props)
            sub.disconnect()

    @spec('MQTT-3.1.2-28')
    def test_response_information_only_when_asked_for(self):
        for props in (None, {'request_response_information': 0}):
            c = self.client(props=props)
            self.assertNotIn('response_information', c.connack.props)
            c.disconnect()
        self.client(props={'request_response_information': 1})  # may be there or not

    @spec('MQTT-3.1.2-29')
    def test_no_problem_information_when_declined(self):
        c = self.client(props={'request_problem_information': 0})
        c.subscribe(self.topic())  # the client checks each packet
        c.unsubscribe('not/subscribed')
        c.publish(self.topic('nobody'), b'', 1)
        c.publish(self.topic('nobody'), b'', 2)
        c.send(mqtt.ack(mqtt.PUBREL, 77))
        c.expect(mqtt.PUBCOMP, mid=77)
        c.ping()


class Connack(SpecCase):
    @spec('MQTT-3.1.4-5', 'MQTT-3.2.2-1', 'MQTT-3.2.2-8')
    def test_an_accepted_connect_is_acknowledged(self):
        c = self.raw(self.id('c'))
        ack = c.connect()
        self.assertEqual((ack.reason, ack.session_present, ack.flags), (0, False, 0))

    @spec('MQTT-3.2.0-1')
    def test_connack_precedes_what_was_queued(self):
        topic = self.topic()
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(topic, qos=2)
        c.disconnect()
        pub = self.client('pub')
        for i in range(20):
            pub.publish(topic, b'%d' % i, 1 + i % 2)
        c = self.raw(self.id('c'), clean=False)
        c.send_connect()
        c.expect(CONNACK, reason=0, session_present=True)

    @spec('MQTT-3.2.0-1')
    def test_packets_sent_before_connack_are_answered_after_it(self):
        c = self.raw(self.id('c'))
        topic = self.topic()
        c.send(mqtt.connect(self.id('c')), mqtt.subscribe([(topic, 0)], 3),
               mqtt.publish(topic, b'early', 1, 4), mqtt.pingreq())
        c.expect(CONNACK, reason=0)
        got = sorted(c.recv().type for _ in range(4))
        self.assertEqual(got, [PUBLISH, PUBACK, mqtt.SUBACK, mqtt.PINGRESP])

    @spec('MQTT-3.2.0-2')
    def test_there_is_one_connack(self):
        c = self.client()
        c.subscribe(self.topic())
        c.expect_nothing()

    @spec('MQTT-3.1.4-2', 'MQTT-3.2.2-6', 'MQTT-3.2.2-7', 'MQTT-3.14.0-1', 'MQTT-4.13.2-1')
    def test_a_refusal_closes_and_shows_no_session(self):
        self.client('x', props={'session_expiry_interval': 600}).disconnect()
        data = mqtt.connect(self.id('x'), clean=False,
                            props_={'authentication_method': 'no such method'})
        self.refused_connect(data, 0x8C, 0x87)
        self.client('x', clean=False, session_present=True)

    @spec('MQTT-3.1.4-6')
    def test_nothing_is_processed_after_a_refusal(self):
        topic = self.topic()
        sub = self.subscriber(topic)
        c = self.raw()
        c.send(mqtt.connect(self.id('x'), props_={'authentication_method': 'no such method'}),
               mqtt.publish(topic, b'refused'), mqtt.subscribe([(topic, 0)]), mqtt.pingreq())
        c.expect_close(0x8C, 0x87, connack=True)
        self.expect_nothing_from(self.client('pub'), sub)

    @spec('MQTT-3.2.2-9', 'MQTT-3.2.2-10')
    def test_maximum_qos_is_announced_when_it_is_not_2(self):
        topic = self.topic()
        c = self.client()
        maximum = c.connack.props.get('maximum_qos', 2)
        self.assertIn(c.subscribe(topic, qos=2).reasons[0], (0, 1, 2))
        for qos in range(maximum + 1):
            self.assertLess(c.publish(topic, b'%d' % qos, qos), 0x80)
            c.message(topic, b'%d' % qos)

    def test_features_not_announced_as_missing_work(self):
        c = self.client()
        topic = self.topic()
        info = c.connack.props
        if info.get('wildcard_subscription_available', 1):
            self.assertEqual(c.subscribe(topic + '/+').reasons, [0])
        if info.get('shared_subscription_available', 1):
            self.assertEqual(c.subscribe(f'$share/g/{topic}').reasons, [0])
        if info.get('subscription_identifier_available', 1):
            self.assertEqual(c.subscribe(topic, props={'subscription_identifier': 9}).reasons, [0])
        if info.get('retain_available', 1):
            c.publish(topic, b'r', 1, retain=True)
            self.subscriber(topic).message(topic, b'r', retain=True)

    def test_a_larger_expiry_interval_than_allowed_is_answered_with_the_one_in_use(self):
        c = self.client(props={'session_expiry_interval': 1000})
        self.assertLessEqual(c.connack.props.get('session_expiry_interval', 1000), 1000)

    def test_all_versions_meet(self):
        topic = self.topic()
        subs = [self.subscriber(topic, name=f's{v}', qos=2, version=v) for v in (V31, V311, 5)]
        for version in (V31, V311, 5):
            pub = self.client('pub', version=version)
            for qos in (0, 1, 2):
                payload = b'%d %d' % (version, qos)
                pub.publish(topic, payload, qos)
                for sub in subs:
                    sub.message(topic, payload, qos=qos)
            pub.disconnect()
