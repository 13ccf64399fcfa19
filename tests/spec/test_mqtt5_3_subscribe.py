"""MQTT 5.0 sections 3.8 SUBSCRIBE to 3.12 PINGREQ."""

import mqtt
from mqtt import PINGRESP, PUBLISH, SUBACK, UNSUBACK
from spec import SpecCase, spec

MALFORMED = (0x81, 0x82)


class Subscribe(SpecCase):
    @spec('MQTT-3.8.1-1')
    def test_wrong_subscribe_flags_close(self):
        for flags in (0, 1, 3, 6, 10, 15):
            self.refused(mqtt.subscribe([('a', 0)], flags=flags), *MALFORMED)

    @spec('MQTT-3.8.3-2')
    def test_a_subscribe_without_a_filter_closes(self):
        self.refused(mqtt.subscribe([]), *MALFORMED)

    def test_a_filter_without_options_closes(self):
        self.refused(mqtt.packet(mqtt.SUBSCRIBE, 2, b'\0\1\0\0\1a'), *MALFORMED)
        self.refused(mqtt.packet(mqtt.SUBSCRIBE, 2, b'\0\1\0\0\1a\0\0\1b'), *MALFORMED)

    @spec('MQTT-3.8.3-5')
    def test_reserved_option_bits_close(self):
        for options in (0x40, 0x80, 0xC0):
            self.refused(mqtt.subscribe([('a', options)]), *MALFORMED)

    def test_qos_3_and_retain_handling_3_close(self):
        self.refused(mqtt.subscribe([('a', 3)]), *MALFORMED)
        self.refused(mqtt.subscribe([('a', 0x30)]), *MALFORMED)

    @spec('MQTT-3.8.3-4')
    def test_no_local_on_a_shared_subscription_closes(self):
        self.refused(mqtt.subscribe([('$share/g/a', mqtt.options(no_local=True))]), *MALFORMED)

    @spec('MQTT-3.8.4-1', 'MQTT-3.8.4-5', 'MQTT-3.8.4-6', 'MQTT-3.8.4-7', 'MQTT-3.9.3-1')
    def test_each_filter_has_its_code_in_order(self):
        c = self.client()
        wanted = [2, 0, 1, 1, 0, 2]
        filters = [(self.topic(str(i)), qos) for i, qos in enumerate(wanted)]
        self.assertEqual(c.subscribe(*filters).reasons, wanted)
        pub = self.client('pub')
        for (topic, qos) in filters:
            pub.publish(topic, topic, 2)
            c.message(topic, topic, qos=qos)

    @spec('MQTT-3.8.4-5')
    def test_many_filters_in_one_packet(self):
        c = self.client()
        filters = [self.topic(str(i)) for i in range(300)]
        c.subscribe(*filters, qos=1)
        pub = self.client('pub')
        for topic in filters[::60]:
            pub.publish(topic, b'', 1)
            c.message(topic)

    @spec('MQTT-3.9.3-2', 'MQTT-3.8.4-7')
    def test_an_invalid_filter_fails_with_a_defined_code_or_closes(self):
        for name in ('a/#/b', 'a#', '#/a', 'a+', '+a', 'a/+b', '##', '++'):
            with self.subTest(filter=name):
                c = self.client()
                c.send(mqtt.subscribe([(name, 0)]))
                try:
                    ack = c.expect(SUBACK)
                except mqtt.Failure:
                    continue
                self.assertIn(ack.reasons[0], (0x80, 0x8F))

    @spec('MQTT-4.7.3-1')
    def test_an_empty_filter_fails_or_closes(self):
        for data, answer in ((mqtt.subscribe([('', 0)]), SUBACK),
                             (mqtt.unsubscribe(['']), UNSUBACK)):
            c = self.client()
            c.send(data)
            try:
                p = c.recv()
            except mqtt.Closed:
                continue
            if p.type == answer:
                self.assertGreaterEqual(p.reasons[0], 0x80)
            else:
                self.assertIn(p.reason, (0x81, 0x82, 0x8F))

    @spec('MQTT-3.8.4-3')
    def test_the_same_filter_again_replaces_the_subscription(self):
        sub = self.client('sub')
        pub = self.client('pub')
        for qos, rap, ident in ((0, False, 5), (2, True, 6), (1, False, 7), (0, True, None)):
            sub.subscribe(self.topic(), qos=qos, rap=rap,
                          props={'subscription_identifier': ident} if ident else None)
            pub.publish(self.topic(), b'x', 2, retain=True)
            p = sub.wait(PUBLISH, payload=b'x', retain=rap, qos=qos)
            sub.acknowledge(p)
            self.assertEqual(p.sub_ids, [ident] if ident else [])
            pub.publish(self.topic(), b'', 2, retain=True)
            sub.wait(PUBLISH, payload=b'', qos=qos)
            sub.drain()

    @spec('MQTT-3.8.4-3')
    def test_a_replaced_subscription_delivers_one_copy(self):
        sub = self.subscriber(self.topic(), qos=1)
        sub.subscribe(self.topic(), qos=2)
        pub = self.client('pub')
        pub.publish(self.topic(), b'', 2)
        sub.message(self.topic(), qos=2)
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.8.4-3', 'MQTT-3.8.4-4')
    def test_nothing_is_lost_while_a_subscription_is_replaced(self):
        sub = self.subscriber(self.topic(), qos=1, rh=2)
        pub = self.client('pub')
        for i in range(100):
            pub.send(mqtt.publish(self.topic(), b'%d' % i, 1, i + 1))
            if i % 10 == 0:
                sub.send(mqtt.subscribe([(self.topic(), mqtt.options(1, rh=2))], i + 1))
        got = []
        while len(got) < 100:
            p = sub.recv()
            if p.type == PUBLISH:
                got.append(int(p.payload))
                sub.acknowledge(p)
        self.assertEqual(got, list(range(100)))

    @spec('MQTT-3.8.4-8')
    def test_delivery_qos_is_the_smaller_of_published_and_granted(self):
        pub = self.client('pub')
        for granted in (0, 1, 2):
            sub = self.subscriber(self.topic('#'), name=f's{granted}', qos=granted)
            for published in (0, 1, 2):
                pub.publish(self.topic('x'), b'', published)
                sub.message(self.topic('x'), qos=min(granted, published))
            sub.disconnect()

    @spec('MQTT-3.8.3-3')
    def test_no_local_keeps_own_messages_away(self):
        c = self.subscriber(self.topic(), qos=1, no_local=True, name='c')
        other = self.subscriber(self.topic(), qos=1, name='other')
        c.publish(self.topic(), b'mine', 1)
        other.message(self.topic(), b'mine')
        other.publish(self.topic(), b'theirs', 1)
        c.message(self.topic(), b'theirs')
        c.subscribe(self.topic(), qos=1, no_local=False)
        c.publish(self.topic(), b'mine again', 1)
        c.message(self.topic(), b'mine again')

    @spec('MQTT-3.8.3-3')
    def test_no_local_of_one_subscription_leaves_the_others_alone(self):
        c = self.client()
        c.subscribe(self.topic('a'), qos=1, no_local=True)
        c.subscribe(self.topic('+'), qos=0, no_local=False)
        c.publish(self.topic('a'), b'x', 1)
        self.assertEqual(c.message(self.topic('a'), b'x').qos, 0)
        self.expect_nothing_from(c, c)

    @spec('MQTT-3.8.3-3')
    def test_no_local_survives_in_the_session(self):
        props = {'session_expiry_interval': 600}
        c = self.client(props=props)
        c.subscribe(self.topic(), qos=1, no_local=True)
        c.disconnect()
        c = self.client(clean=False, session_present=True)
        c.publish(self.topic(), b'x', 1)
        self.expect_nothing_from(c, c)

    @spec('MQTT-3.9.2-1', 'MQTT-3.9.2-2', 'MQTT-3.11.2-1', 'MQTT-3.11.2-2')
    def test_suback_and_unsuback_stay_within_the_clients_maximum(self):
        c = self.client(props={'maximum_packet_size': 30, 'request_problem_information': 1})
        filters = [f'{i}/{self.topic()}' for i in range(8)]
        c.subscribe(*filters)  # the client checks the size
        c.unsubscribe(*filters)
        c.unsubscribe(*filters)

    def test_user_properties_of_subscribe_and_unsubscribe_are_accepted(self):
        c = self.client()
        user = {'user_property': [('a', 'b'), ('a', 'b')]}
        c.subscribe(self.topic(), props=user)
        c.unsubscribe(self.topic(), props=user)


class Unsubscribe(SpecCase):
    @spec('MQTT-3.10.1-1')
    def test_wrong_unsubscribe_flags_close(self):
        for flags in (0, 1, 3, 6, 10, 15):
            self.refused(mqtt.unsubscribe(['a'], flags=flags), *MALFORMED)

    @spec('MQTT-3.10.3-2')
    def test_an_unsubscribe_without_a_filter_closes(self):
        self.refused(mqtt.unsubscribe([]), *MALFORMED)

    @spec('MQTT-3.10.4-1')
    def test_only_the_same_characters_unsubscribe(self):
        topic = self.topic('a')
        sub = self.subscriber(topic)
        pub = self.client('pub')
        for other in (self.topic('+'), self.topic('#'), topic + '/', topic.upper(), '/' + topic,
                      topic + 'x', topic[:-1] + 'b', '#'):
            sub.unsubscribe(other)
            pub.publish(topic, b'still')
            sub.message(topic, b'still')
        sub.unsubscribe(topic)
        pub.publish(topic, b'gone')
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.10.4-2')
    def test_nothing_more_is_added_after_unsubscribe(self):
        sub = self.subscriber(self.topic(), self.topic('#'), qos=1)
        pub = self.client('pub')
        sub.unsubscribe(self.topic('#'))
        pub.publish(self.topic('x'), b'', 1)
        pub.publish(self.topic(), b'one', 1)
        sub.message(self.topic(), b'one')
        sub.unsubscribe(self.topic())
        pub.publish(self.topic(), b'', 1)
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.10.4-3')
    def test_deliveries_begun_are_completed(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        pub.publish(self.topic(), b'1', 1)
        pub.publish(self.topic(), b'2', 2)
        held = [sub.expect(PUBLISH), sub.expect(PUBLISH)]
        sub.unsubscribe(self.topic())
        for p in held:
            sub.acknowledge(p)
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.10.4-3')
    def test_deliveries_begun_are_completed_after_a_reconnect(self):
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(self.topic(), qos=2)
        self.client('pub').publish(self.topic(), b'x', 2)
        first = c.expect(PUBLISH)
        c.unsubscribe(self.topic())
        c.disconnect()
        c = self.client(clean=False, session_present=True)
        c.message(self.topic(), b'x', mid=first.mid, dup=True)

    @spec('MQTT-3.10.4-4', 'MQTT-3.10.4-5', 'MQTT-3.10.4-6', 'MQTT-3.11.3-1', 'MQTT-3.11.3-2')
    def test_unsuback_has_a_code_for_each_filter_in_order(self):
        c = self.client()
        c.subscribe(self.topic('a'), self.topic('b'))
        ack = c.unsubscribe(self.topic('b'), self.topic('never'), self.topic('a'),
                            self.topic('a'))
        self.assertEqual(ack.reasons[0], 0)
        self.assertEqual(ack.reasons[2], 0)
        self.assertEqual(ack.reasons[1], 0x11)
        self.assertEqual(ack.reasons[3], 0x11)
        self.assertEqual(c.unsubscribe(self.topic('a')).reasons, [0x11])

    def test_unsubscribe_reaches_the_stored_session(self):
        props = {'session_expiry_interval': 600}
        c = self.client(props=props)
        c.subscribe(self.topic(), qos=1)
        c.unsubscribe(self.topic())
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'', 1)
        c = self.client(clean=False, session_present=True)
        self.expect_nothing_from(pub, c)


class Overlapping(SpecCase):
    def copies(self, sub, pub, qos, payload=b'x'):
        pub.publish(self.topic('a'), payload, qos)
        got = self.fence(pub, sub)
        for p in got:
            sub.acknowledge(p)
        return got

    @spec('MQTT-3.3.4-2')
    def test_the_highest_qos_of_overlapping_subscriptions_is_respected(self):
        for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
            sub = self.client('sub')
            for name, qos in zip((self.topic('a'), self.topic('+'), self.topic('#')), order):
                sub.subscribe(name, qos=qos)
            pub = self.client('pub')
            for qos in (0, 1, 2):
                got = self.copies(sub, pub, qos)
                self.assertIn(len(got), (1, 2, 3))
                self.assertEqual(max(p.qos for p in got), qos)

    @spec('MQTT-3.3.4-3', 'MQTT-3.3.4-4', 'MQTT-3.3.4-5')
    def test_identifiers_of_all_matching_subscriptions_are_sent(self):
        sub = self.client('sub')
        for name, ident in ((self.topic('a'), 10), (self.topic('+'), 20), (self.topic('#'), None),
                            (self.topic('b'), 40), ('t/#', 268435455)):
            sub.subscribe(name, qos=1,
                          props={'subscription_identifier': ident} if ident else None)
        pub = self.client('pub')
        got = self.copies(sub, pub, 1)
        seen = sorted(i for p in got for i in p.sub_ids)
        self.assertEqual(seen, [10, 20, 268435455])
        if len(got) > 1:
            self.assertTrue(all(len(p.sub_ids) <= 1 for p in got))

    def test_the_same_identifier_on_two_subscriptions(self):
        sub = self.client('sub')
        for name in (self.topic('a'), self.topic('#')):
            sub.subscribe(name, props={'subscription_identifier': 7})
        got = self.copies(sub, self.client('pub'), 0)
        self.assertEqual({i for p in got for i in p.sub_ids}, {7})

    def test_one_packet_with_two_filters_gives_both_the_identifier(self):
        sub = self.client('sub')
        sub.subscribe(self.topic('a'), self.topic('b'), props={'subscription_identifier': 9})
        pub = self.client('pub')
        for name in ('a', 'b'):
            pub.publish(self.topic(name), b'')
            self.assertEqual(sub.message(self.topic(name)).sub_ids, [9])


class Ping(SpecCase):
    @spec('MQTT-3.12.4-1')
    def test_pingreq_is_answered(self):
        c = self.client()
        for _ in range(5):
            c.send(mqtt.pingreq())
            self.assertEqual(c.expect(PINGRESP).raw, b'\xd0\0')
