"""MQTT 5.0 sections 3.3 PUBLISH to 3.7 PUBCOMP."""

import time

import mqtt
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, V311
from spec import SpecCase, spec

MALFORMED = (0x81, 0x82)


class Header(SpecCase):
    @spec('MQTT-3.3.1-4')
    def test_qos_3_closes(self):
        for flags in (6, 7, 14):
            body = mqtt.string('a') + b'\0\1\0'
            self.refused(mqtt.packet(PUBLISH, flags, body), *MALFORMED)

    @spec('MQTT-3.3.1-3', 'MQTT-4.3.2-2', 'MQTT-4.3.3-2')
    def test_dup_of_the_publisher_is_not_passed_on(self):
        topic = self.topic()
        sub = self.subscriber(topic, qos=2)
        pub = self.client('pub')
        for qos in (1, 2):
            for dup in (False, True):
                pub.publish(topic, b'', qos, dup=dup)
                sub.message(topic, qos=qos, dup=False)

    @spec('MQTT-3.3.2-1')
    def test_a_topic_beyond_the_packet_closes(self):
        for body in (b'', b'\0', b'\0\5abc', b'\xff\xffabc'):
            with self.subTest(body=body):
                self.refused(mqtt.packet(PUBLISH, 0, body), *MALFORMED)

    def test_a_missing_identifier_closes(self):
        for qos in (1, 2):
            self.refused(mqtt.packet(PUBLISH, qos << 1, mqtt.string('a')), *MALFORMED)
            self.refused(mqtt.packet(PUBLISH, qos << 1, mqtt.string('a') + b'\0'), *MALFORMED)

    @spec('MQTT-3.3.2-2', 'MQTT-4.7.0-1')
    def test_wildcards_in_a_topic_name_close(self):
        for topic in ('#', '+', 'a/#', 'a/+/b', 'a+', 'a#b'):
            for qos in (0, 1, 2):
                with self.subTest(topic=topic, qos=qos):
                    self.refused(mqtt.publish(topic, b'', qos, 1 if qos else None),
                                 0x81, 0x82, 0x90)

    @spec('MQTT-4.7.3-1')
    def test_an_empty_topic_without_an_alias_closes(self):
        self.refused(mqtt.publish('', b''), 0x81, 0x82, 0x90)

    @spec('MQTT-3.3.4-1', 'MQTT-4.3.2-4', 'MQTT-4.3.3-8', 'MQTT-4.3.3-11')
    def test_each_qos_has_its_answer(self):
        c = self.client()
        c.send(mqtt.publish(self.topic(), b'', 0))
        c.expect_nothing()
        c.send(mqtt.publish(self.topic(), b'', 1, 5))
        c.expect(PUBACK, mid=5)
        c.send(mqtt.publish(self.topic(), b'', 2, 6))
        c.expect(PUBREC, mid=6)
        c.send(mqtt.ack(PUBREL, 6))
        c.expect(PUBCOMP, mid=6, reason=0)
        c.expect_nothing()

    def test_an_empty_payload_is_a_message(self):
        sub = self.subscriber(self.topic(), qos=1)
        self.client('pub').publish(self.topic(), b'', 1)
        sub.message(self.topic(), b'')


class Retained(SpecCase):
    @spec('MQTT-3.3.1-5')
    def test_a_retained_message_is_stored_and_replaced(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'1', 1, retain=True)
        self.subscriber(self.topic(), name='a', qos=2).message(self.topic(), b'1', retain=True,
                                                               qos=1)
        pub.publish(self.topic(), b'2', 2, retain=True)
        self.subscriber(self.topic(), name='b', qos=2).message(self.topic(), b'2', retain=True,
                                                               qos=2)
        pub.publish(self.topic(), b'3', 0, retain=True)
        pub.ping()
        self.subscriber(self.topic(), name='d', qos=2).message(self.topic(), b'3', retain=True,
                                                               qos=0)

    @spec('MQTT-3.3.1-6', 'MQTT-3.3.1-7')
    def test_an_empty_payload_removes_it_and_is_delivered(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'1', 1, retain=True)
        sub = self.subscriber(self.topic(), qos=1)
        sub.message(self.topic(), b'1')
        pub.publish(self.topic(), b'', 1, retain=True)
        sub.message(self.topic(), b'')
        late = self.subscriber(self.topic(), name='late')
        self.expect_nothing_from(pub, late)

    @spec('MQTT-3.3.1-7')
    def test_an_empty_payload_is_not_stored(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'', 1, retain=True)
        self.expect_nothing_from(pub, self.subscriber(self.topic(), rap=True))

    @spec('MQTT-3.3.1-8')
    def test_retain_0_leaves_the_retained_message_alone(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'stays', 1, retain=True)
        pub.publish(self.topic(), b'passes', 1)
        pub.publish(self.topic(), b'', 1)
        sub = self.subscriber(self.topic(), qos=1)
        sub.message(self.topic(), b'stays', retain=True)
        pub.publish(self.topic('other'), b'passes', 1)
        self.expect_nothing_from(pub, self.subscriber(self.topic('other'), name='b'))

    @spec('MQTT-3.3.1-9', 'MQTT-3.8.4-4')
    def test_retain_handling_0_sends_on_every_subscribe(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'r', 1, retain=True)
        sub = self.client('sub')
        for _ in range(3):
            sub.subscribe(self.topic(), qos=1, rh=0)
            sub.message(self.topic(), b'r', retain=True)
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.3.1-10')
    def test_retain_handling_1_sends_for_a_new_subscription_only(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'r', 1, retain=True)
        sub = self.client('sub')
        sub.subscribe(self.topic(), qos=1, rh=1)
        sub.message(self.topic(), b'r', retain=True)
        sub.subscribe(self.topic(), qos=0, rh=1)
        self.expect_nothing_from(pub, sub)
        sub.unsubscribe(self.topic())
        sub.subscribe(self.topic(), qos=1, rh=1)
        sub.message(self.topic(), b'r', retain=True)

    @spec('MQTT-3.3.1-10')
    def test_a_subscription_of_a_resumed_session_is_not_new(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'r', 1, retain=True)
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(self.topic(), qos=1)
        c.message(self.topic(), b'r')
        c.disconnect()
        c = self.client(clean=False, session_present=True)
        self.expect_nothing_from(pub, c)
        c.subscribe(self.topic(), qos=1, rh=1)
        self.expect_nothing_from(pub, c)

    @spec('MQTT-3.3.1-11')
    def test_retain_handling_2_sends_none(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'r', 1, retain=True)
        sub = self.subscriber(self.topic(), rh=2)
        self.expect_nothing_from(pub, sub)
        pub.publish(self.topic(), b'live', 1, retain=True)
        sub.message(self.topic(), b'live')

    @spec('MQTT-3.3.1-12')
    def test_without_retain_as_published_the_flag_is_cleared(self):
        sub = self.subscriber(self.topic(), qos=1, rap=False)
        pub = self.client('pub')
        for retain in (True, False):
            pub.publish(self.topic(), b'x', 1, retain=retain)
            sub.message(self.topic(), b'x', retain=False)

    @spec('MQTT-3.3.1-13')
    def test_with_retain_as_published_the_flag_stays(self):
        sub = self.subscriber(self.topic(), qos=1, rap=True)
        pub = self.client('pub')
        for retain in (True, False):
            pub.publish(self.topic(), b'x', 1, retain=retain)
            sub.message(self.topic(), b'x', retain=retain)

    def test_messages_sent_because_of_a_subscription_have_retain_1(self):
        self.client('pub').publish(self.topic(), b'r', 1, retain=True)
        for rap in (False, True):
            sub = self.client('sub')
            sub.subscribe(self.topic(), rap=rap)
            sub.message(self.topic(), b'r', retain=True)

    def test_retained_messages_of_a_wildcard_come_once_each(self):
        pub = self.client('pub')
        wanted = {self.topic('a'), self.topic('b'), self.topic('b', 'c'), self.topic()}
        for topic in wanted:
            pub.publish(topic, topic, 1, retain=True)
        sub = self.subscriber(self.topic('#'), qos=1)
        got = [sub.message(retain=True).topic for _ in wanted]
        self.assertEqual(sorted(got), sorted(wanted))
        self.expect_nothing_from(pub, sub)

    def test_retained_delivery_keeps_properties_and_subscription_identifier(self):
        props = {'payload_format_indicator': 1, 'content_type': 'c', 'response_topic': 'r',
                 'correlation_data': b'd', 'user_property': [('b', '1'), ('a', '2')]}
        self.client('pub').publish(self.topic(), b'r', 1, retain=True, props=props)
        sub = self.subscriber(self.topic(), sub_props={'subscription_identifier': 12})
        p = sub.message(self.topic(), b'r', retain=True)
        self.assertEqual(p.sub_ids, [12])
        for name, value in props.items():
            self.assertEqual(p.props[name], value)

    def test_a_retained_message_expires(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'r', 1, retain=True, props={'message_expiry_interval': 1})
        pub.publish(self.topic('stays'), b'r', 1, retain=True,
                    props={'message_expiry_interval': 100})
        pub.quiet(2.2)
        sub = self.subscriber(self.topic('#'), qos=1)
        p = sub.message(self.topic('stays'), b'r', retain=True)
        self.assertIn(p.props['message_expiry_interval'], range(90, 99))
        self.expect_nothing_from(pub, sub)

    def test_shared_subscriptions_get_no_retained_messages(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'r', 1, retain=True)
        sub = self.subscriber(f'$share/g/{self.topic()}')
        self.expect_nothing_from(pub, sub)

    def test_retained_qos_is_capped_by_the_granted_qos(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'r', 2, retain=True)
        for qos in (0, 1, 2):
            sub = self.subscriber(self.topic(), name=f's{qos}', qos=qos)
            sub.message(self.topic(), b'r', qos=qos, retain=True)


class PublishProperties(SpecCase):
    @spec('MQTT-3.3.2-4', 'MQTT-3.3.2-15', 'MQTT-3.3.2-16', 'MQTT-3.3.2-17', 'MQTT-3.3.2-18',
          'MQTT-3.3.2-20')
    def test_properties_are_passed_on_unchanged(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        user = [('z', '1'), ('a', '2'), ('z', '3'), ('', 'empty'), ('a', '2'), ('m', 'x' * 1000)]
        for qos in (0, 1, 2):
            for indicator in (0, 1):
                props = {'payload_format_indicator': indicator, 'content_type': 'text/plain',
                         'response_topic': 'some/answer', 'correlation_data': bytes(range(256)),
                         'user_property': user}
                pub.publish(self.topic(), 'text', qos, props=props)
                self.assertEqual(sub.message(self.topic(), 'text', qos=qos).props, props)

    @spec('MQTT-3.3.2-4', 'MQTT-3.3.2-17')
    def test_absent_properties_stay_absent(self):
        sub = self.subscriber(self.topic(), qos=1)
        self.client('pub').publish(self.topic(), b'x', 1)
        self.assertEqual(sub.message(self.topic(), b'x').props, {})

    @spec('MQTT-3.3.2-18')
    def test_user_properties_keep_their_order_between_other_properties(self):
        sub = self.subscriber(self.topic())
        pub = self.client('pub')
        pairs = [(str(i % 7), str(i)) for i in range(100)]
        listed = [('user_property', p) for p in pairs]
        listed.insert(50, ('content_type', 'c'))
        pub.publish(self.topic(), b'', props=listed)
        self.assertEqual(sub.message(self.topic()).user, pairs)

    def test_properties_survive_the_offline_queue(self):
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(self.topic(), qos=1, props={'subscription_identifier': 3})
        c.disconnect()
        props = {'payload_format_indicator': 1, 'content_type': 'c', 'response_topic': 'r',
                 'correlation_data': b'd', 'user_property': [('b', '1'), ('a', '2')]}
        self.client('pub').publish(self.topic(), b'q', 1, props=props)
        p = self.client(clean=False, session_present=True).message(self.topic(), b'q')
        self.assertEqual(p.props, {**props, 'subscription_identifier': [3]})

    @spec('MQTT-3.3.2-14')
    def test_a_response_topic_with_wildcards_is_never_passed_on(self):
        sub = self.subscriber(self.topic())
        for topic in ('a/#', '+'):
            pub = self.client('pub')
            pub.send(mqtt.publish(self.topic(), b'', props_={'response_topic': topic}))
            pub.is_open()
            self.fence(self.client('other'), sub)  # the parser refuses such a response topic

    @spec('MQTT-3.3.4-6')
    def test_a_subscription_identifier_from_a_client_closes(self):
        self.refused(mqtt.publish('a', props_={'subscription_identifier': 1}), *MALFORMED)

    def test_properties_are_left_out_for_older_subscribers(self):
        sub = self.subscriber(self.topic(), version=V311)
        self.client('pub').publish(self.topic(), b'x', props={'content_type': 'c'})
        self.assertEqual(sub.message(self.topic(), b'x').raw,
                         mqtt.publish(self.topic(), b'x', version=V311))


class Expiry(SpecCase):
    def offline(self, *filters):
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(*filters, qos=2)
        c.disconnect()

    @spec('MQTT-3.3.2-5')
    def test_an_expired_message_is_not_delivered(self):
        self.offline(self.topic())
        pub = self.client('pub')
        for qos in (1, 2):
            pub.publish(self.topic(), b'gone', qos, props={'message_expiry_interval': 1})
        pub.publish(self.topic(), b'here', 1)
        pub.quiet(2.2)
        c = self.client(clean=False, session_present=True)
        c.message(self.topic(), b'here')
        self.expect_nothing_from(pub, c)

    @spec('MQTT-3.3.2-6')
    def test_the_interval_is_reduced_by_the_time_waited(self):
        self.offline(self.topic())
        pub = self.client('pub')
        sent = time.monotonic()
        pub.publish(self.topic(), b'x', 1, props={'message_expiry_interval': 100})
        pub.quiet(2.2)
        p = self.client(clean=False, session_present=True).message(self.topic(), b'x')
        waited = p.at - sent
        left = p.props['message_expiry_interval']
        self.assertLessEqual(left, 98)
        self.assertGreaterEqual(left, 100 - waited - 1)

    @spec('MQTT-3.3.2-6')
    def test_a_message_passed_on_at_once_keeps_its_interval(self):
        sub = self.subscriber(self.topic())
        self.client('pub').publish(self.topic(), b'', props={'message_expiry_interval': 100})
        self.assertIn(sub.message(self.topic()).props['message_expiry_interval'], (99, 100))

    def test_a_message_waiting_for_the_window_expires(self):
        sub = self.subscriber(self.topic(), qos=1, props={'receive_maximum': 1})
        pub = self.client('pub')
        pub.publish(self.topic(), b'first', 1)
        pub.publish(self.topic(), b'gone', 1, props={'message_expiry_interval': 1})
        pub.publish(self.topic(), b'last', 1)
        first = sub.expect(PUBLISH, payload=b'first')
        sub.quiet(2.2)
        sub.acknowledge(first)
        sub.message(self.topic(), b'last')

    def test_without_an_interval_a_message_does_not_expire(self):
        self.offline(self.topic())
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 1)
        pub.quiet(1.2)
        p = self.client(clean=False, session_present=True).message(self.topic(), b'x')
        self.assertNotIn('message_expiry_interval', p.props)

    @spec('MQTT-4.3.3-13')
    def test_the_handshake_goes_on_when_the_message_expired(self):
        pub = self.client('pub')
        pub.send(mqtt.publish(self.topic(), b'', 2, 9,
                              props_={'message_expiry_interval': 1}))
        pub.expect(PUBREC, mid=9)
        pub.quiet(2.2)
        pub.send(mqtt.publish(self.topic(), b'', 2, 9, dup=True,
                              props_={'message_expiry_interval': 1}))
        pub.expect(PUBREC, mid=9)
        pub.send(mqtt.ack(PUBREL, 9))
        pub.expect(PUBCOMP, mid=9, reason=0)

    @spec('MQTT-4.3.3-7')
    def test_a_qos_2_message_once_sent_does_not_expire(self):
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(self.topic(), qos=2)
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 2, props={'message_expiry_interval': 1})
        first = c.expect(PUBLISH, qos=2)
        c.disconnect()
        pub.quiet(2.2)
        c = self.client(clean=False, session_present=True)
        c.message(self.topic(), b'x', qos=2, mid=first.mid, dup=True)


class Aliases(SpecCase):
    def alias_client(self, name='pub'):
        c = self.client(name)
        maximum = c.connack.props.get('topic_alias_maximum', 0)
        if not maximum:
            self.skipTest('the broker takes no topic aliases')
        return c, maximum

    @spec('MQTT-3.3.2-12')
    def test_every_alias_up_to_the_announced_maximum_is_accepted(self):
        pub, maximum = self.alias_client()
        sub = self.subscriber(self.topic('+'))
        aliases = range(1, maximum + 1) if maximum <= 200 else \
            [*range(1, 100), maximum // 2, maximum - 1, maximum]
        for alias in aliases:
            pub.publish(self.topic(str(alias)), b'set', props={'topic_alias': alias})
            sub.message(self.topic(str(alias)), b'set')
        for alias in reversed(aliases):
            pub.publish('', b'used', props={'topic_alias': alias})
            p = sub.message(self.topic(str(alias)), b'used')
            self.assertNotIn('topic_alias', p.props)

    def test_an_alias_can_be_set_anew(self):
        pub, _ = self.alias_client()
        sub = self.subscriber(self.topic('+'))
        for name in ('a', 'b'):
            pub.publish(self.topic(name), b'', props={'topic_alias': 1})
            sub.message(self.topic(name))
            pub.publish('', b'', 1, props={'topic_alias': 1})
            sub.message(self.topic(name))

    @spec('MQTT-3.3.2-8')
    def test_alias_0_closes(self):
        self.refused(mqtt.publish('a', props_={'topic_alias': 0}), 0x94, 0x82, 0x81)

    @spec('MQTT-3.3.2-12')
    def test_an_alias_above_the_maximum_closes(self):
        c = self.client()
        maximum = c.connack.props.get('topic_alias_maximum', 0)
        if maximum == 65535:
            self.skipTest('every alias is allowed')
        c.send(mqtt.publish('a', props_={'topic_alias': maximum + 1}))
        c.expect_close(0x94, 0x82)

    def test_an_unknown_alias_closes(self):
        c, maximum = self.alias_client('c')
        c.send(mqtt.publish('', props_={'topic_alias': maximum}))
        c.expect_close(0x82, 0x94)

    @spec('MQTT-3.3.2-7')
    def test_aliases_end_with_the_connection(self):
        c, _ = self.alias_client('c')
        c.disconnect()
        c = self.client(props={'session_expiry_interval': 600})
        c.publish(self.topic(), b'', 1, props={'topic_alias': 1})
        c.disconnect()
        c = self.client(clean=False, session_present=True)
        c.send(mqtt.publish('', props_={'topic_alias': 1}))
        c.expect_close(0x82, 0x94)

    @spec('MQTT-3.3.2-7')
    def test_aliases_of_the_server_end_with_the_connection(self):
        props = {'session_expiry_interval': 600, 'topic_alias_maximum': 5}
        pub = self.client('pub')
        for clean in (True, False):
            c = self.client(clean=clean, props=props)
            if clean:
                c.subscribe(self.topic(), qos=1)
            for _ in range(5):
                pub.publish(self.topic(), b'x', 1)
                c.message(self.topic(), b'x')  # the client resolves within this connection
            c.disconnect()

    def test_aliases_of_two_clients_do_not_meet(self):
        a, _ = self.alias_client('a')
        b, _ = self.alias_client('b')
        sub = self.subscriber(self.topic('+'))
        a.publish(self.topic('a'), b'', 1, props={'topic_alias': 1})
        sub.message(self.topic('a'))
        b.publish(self.topic('b'), b'', 1, props={'topic_alias': 1})
        sub.message(self.topic('b'))
        a.publish('', b'', 1, props={'topic_alias': 1})
        sub.message(self.topic('a'))

    def test_an_alias_is_set_by_a_retained_and_by_a_qos_2_publish(self):
        pub, _ = self.alias_client()
        sub = self.subscriber(self.topic('+'), qos=2)
        pub.publish(self.topic('r'), b'', 2, retain=True, props={'topic_alias': 1})
        sub.message(self.topic('r'))
        pub.publish('', b'again', 2, props={'topic_alias': 1})
        sub.message(self.topic('r'), b'again')


class Acknowledgements(SpecCase):
    @spec('MQTT-3.4.2-1', 'MQTT-3.5.2-1', 'MQTT-3.6.2-1', 'MQTT-3.7.2-1')
    def test_reason_codes_are_the_defined_ones(self):
        c = self.client()
        for qos in (1, 2):
            c.publish(self.topic('nobody'), b'', qos)  # the parser knows the defined codes
        sub = self.subscriber(self.topic(), qos=2)
        for reason in (0x00, 0x10):
            c.publish(self.topic(), b'', 2)
            p = sub.expect(PUBLISH)
            sub.send(mqtt.ack(PUBREC, p.mid, reason))
            sub.expect(PUBREL, mid=p.mid, reason=0)
            sub.send(mqtt.ack(PUBCOMP, p.mid))
        c.send(mqtt.ack(PUBREL, 1234))
        c.expect(PUBCOMP, mid=1234)

    @spec('MQTT-3.4.2-2', 'MQTT-3.4.2-3', 'MQTT-3.5.2-2', 'MQTT-3.5.2-3', 'MQTT-3.6.2-2',
          'MQTT-3.6.2-3', 'MQTT-3.7.2-2', 'MQTT-3.7.2-3')
    def test_acknowledgements_stay_within_the_clients_maximum(self):
        props = {'maximum_packet_size': 200, 'request_problem_information': 1}
        c = self.client(props=props)  # the client checks the size of what arrives
        c.publish(self.topic('nobody'), b'', 1)
        c.publish(self.topic('nobody'), b'', 2)
        c.send(mqtt.ack(PUBREL, 99))
        c.expect(PUBCOMP, mid=99)
        sub = self.subscriber('t', qos=2, props={'maximum_packet_size': 120})
        c.publish('t', b'', 2)
        sub.message('t')
        sub.send(mqtt.ack(PUBREC, 77))
        sub.wait(PUBREL, mid=77)

    @spec('MQTT-3.6.1-1')
    def test_wrong_pubrel_flags_close(self):
        c = self.client()
        c.send(mqtt.publish(self.topic(), b'', 2, 1))
        c.expect(PUBREC)
        c.send(mqtt.ack(PUBREL, 1, flags=0))
        c.expect_close(*MALFORMED)

    def test_a_pubrel_for_an_unknown_identifier_is_answered(self):
        c = self.client()
        c.send(mqtt.ack(PUBREL, 500))
        self.assertIn(c.expect(PUBCOMP, mid=500).reason, (0x00, 0x92))
        c.ping()

    def test_acknowledgements_of_every_length_are_understood(self):
        sub = self.subscriber(self.topic(), qos=2, props={'receive_maximum': 1})
        pub = self.client('pub')
        for args in ((), (0,), (0, {}), (0, {'reason_string': 'ok', 'user_property': [('a', 'b')]}),
                     (0x10,)):
            pub.publish(self.topic(), b'', 1)
            p = sub.expect(PUBLISH, qos=1)
            sub.send(mqtt.ack(PUBACK, p.mid, *args))
        for args in ((), (0,), (0, {}), (0, {'reason_string': 'ok'})):
            pub.publish(self.topic(), b'', 2)
            p = sub.expect(PUBLISH, qos=2)
            sub.send(mqtt.ack(PUBREC, p.mid, *args))
            sub.expect(PUBREL, mid=p.mid)
            sub.send(mqtt.ack(PUBCOMP, p.mid, *args))
            pub.send(mqtt.publish(self.topic('x'), b'', 2, 77))
            pub.expect(PUBREC, mid=77)
            pub.send(mqtt.ack(PUBREL, 77, *args))
            pub.expect(PUBCOMP, mid=77, reason=0)

    def test_an_acknowledgement_cut_short_closes(self):
        for ptype, flags in ((PUBACK, 0), (PUBREC, 0), (PUBREL, 2), (PUBCOMP, 0)):
            for body in (b'', b'\0', b'\0\1\0\5'):
                with self.subTest(packet=mqtt.NAMES[ptype], body=body):
                    self.refused(mqtt.packet(ptype, flags, body), *MALFORMED)
