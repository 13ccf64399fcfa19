"""MQTT 5: Pigeon says why it refuses, where the specification only asks it to close."""

import mqtt
from broker import BrokerCase, pigeon_only
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Will

MALFORMED, PROTOCOL = 0x81, 0x82


@pigeon_only
class Reasons(BrokerCase):
    options = {'limits': {'packet_size': 20000, 'inflight_in': 10, 'topic_alias_in': 5,
                          'client_id_length': 100, 'user_properties': 50}}

    def told(self, data, *reasons, **kw):
        """These bytes on an open connection: DISCONNECT with one of reasons, then close."""
        with self.subTest(data=data[:40], **kw):
            c = self.client('x', **kw)
            c.send(data)
            c.expect_close(*reasons, required=True)

    def told_at_connect(self, data, *reasons):
        with self.subTest(data=data[:40]):
            c = self.raw()
            c.send(data)
            c.expect_close(*reasons, connack=True, required=True)

    def test_malformed_packets_get_0x81(self):
        self.told(b'\x00\x00', MALFORMED, PROTOCOL)
        self.told(mqtt.packet(PUBLISH, 6, mqtt.string('a') + b'\0\1\0'), MALFORMED)
        self.told(b'\x30\xff\xff\xff\xff\x01', MALFORMED)
        self.told(mqtt.packet(PUBLISH, 0, mqtt.string('a') + b'\x20'), MALFORMED)
        self.told(mqtt.packet(PUBLISH, 0, mqtt.string('a') + b'\x80\x80\x80\x80\x01'), MALFORMED)
        self.told(mqtt.publish(b'\xff'), MALFORMED)
        self.told(mqtt.ack(PUBREL, 1, flags=0), MALFORMED)
        self.told(mqtt.subscribe([('a', 0)], flags=0), MALFORMED)
        self.told(mqtt.unsubscribe(['a'], flags=0), MALFORMED)
        self.told(mqtt.disconnect(flags=1), MALFORMED)
        self.told(mqtt.subscribe([('a', 0x40)]), MALFORMED)
        self.told(mqtt.publish('a', b'', 0, dup=True), MALFORMED)
        self.told(b'\xc0\x01\0', MALFORMED)

    def test_protocol_errors_get_0x82(self):
        self.told(mqtt.connect('y'), PROTOCOL)
        self.told(mqtt.subscribe([]), PROTOCOL, MALFORMED)
        self.told(mqtt.unsubscribe([]), PROTOCOL, MALFORMED)
        self.told(mqtt.subscribe([('a', 3)]), PROTOCOL, MALFORMED)
        self.told(mqtt.subscribe([('a', 0x30)]), PROTOCOL, MALFORMED)
        self.told(mqtt.subscribe([('$share/g/a', 4)]), PROTOCOL)
        self.told(mqtt.subscribe([('a', 0)], 0), PROTOCOL, MALFORMED)
        self.told(mqtt.publish('a', b'', 1, 0), PROTOCOL, MALFORMED)
        self.told(mqtt.publish('', b''), PROTOCOL)
        self.told(mqtt.publish('', props_={'topic_alias': 3}), PROTOCOL, 0x94)
        self.told(mqtt.publish('a', props_={'subscription_identifier': 1}), PROTOCOL)
        self.told(mqtt.publish('a', props_=[('content_type', 'x')] * 2), PROTOCOL)
        self.told(mqtt.subscribe([('a', 0)], props_={'subscription_identifier': 0}), PROTOCOL)
        self.told(mqtt.auth(0x18, {'authentication_method': 'x'}), PROTOCOL, 0x8C)
        self.told(mqtt.disconnect(0, {'session_expiry_interval': 9}), PROTOCOL)
        for data in (b'\x20\x03\0\0\0', b'\x90\x04\0\1\0\0', b'\xb0\x04\0\1\0\0', b'\xd0\x00'):
            self.told(data, PROTOCOL, MALFORMED)

    def test_errors_with_a_code_of_their_own(self):
        for topic in ('#', 'a/+/b', 'a#'):
            self.told(mqtt.publish(topic), 0x90)
        self.told(mqtt.publish('a', props_={'topic_alias': 0}), 0x94)
        self.told(mqtt.publish('a', props_={'topic_alias': 6}), 0x94)

    def test_a_packet_above_the_maximum_gets_0x95_before_its_body_arrives(self):
        c = self.client()
        self.assertEqual(c.connack.props.get('maximum_packet_size'), 20000)
        c.send(b'\x30' + mqtt.varint(20000))  # with the header 20004 bytes
        c.expect_close(0x95, required=True)
        c = self.client()
        c.send(b'\x30' + mqtt.varint(268435455))
        c.expect_close(0x95, required=True)

    def test_a_packet_of_exactly_the_maximum_passes(self):
        sub = self.subscriber(self.topic())
        pub = self.client('pub')
        size = 20000 - len(mqtt.publish(self.topic(), b'')) - 2
        self.assertEqual(len(mqtt.publish(self.topic(), b'x' * size)), 20000)
        pub.publish(self.topic(), b'x' * size)
        sub.message(self.topic(), b'x' * size)

    def test_more_in_flight_than_announced_gets_0x93(self):
        c = self.client()
        self.assertEqual(c.connack.props.get('receive_maximum'), 10)
        for i in range(10):
            c.send(mqtt.publish(self.topic(), b'', 2, i + 1))
            c.expect(PUBREC, mid=i + 1)
        c.send(mqtt.publish(self.topic(), b'', 2, 11))
        c.expect_close(0x93, required=True)

    def test_limits_are_announced(self):
        c = self.client()
        self.assertEqual(c.connack.props.get('topic_alias_maximum'), 5)

    def test_refused_connects_are_told(self):
        x = self.id('x')
        self.told_at_connect(mqtt.connect(x, props_={'receive_maximum': 0}), PROTOCOL)
        self.told_at_connect(mqtt.connect(x, props_={'maximum_packet_size': 0}), PROTOCOL)
        self.told_at_connect(mqtt.connect(x, props_=[('receive_maximum', 5)] * 2), PROTOCOL)
        self.told_at_connect(mqtt.connect(x, props_={'request_problem_information': 2}), PROTOCOL)
        self.told_at_connect(mqtt.connect(x, props_={'authentication_data': b'x'}), PROTOCOL, 0x8C)
        self.told_at_connect(mqtt.connect(x, props_={'authentication_method': 'x'}), 0x8C)
        self.told_at_connect(mqtt.connect(x, will=Will('a/#')), 0x90)
        self.told_at_connect(mqtt.connect('y' * 101), 0x85)
        self.told_at_connect(mqtt.connect(x, will=Will('$SYS/x')), 0x87)
        self.told_at_connect(mqtt.connect(b'\xff'), 0x85, MALFORMED)

    def test_a_client_id_of_exactly_the_limit_passes(self):
        self.raw('y' * 100).connect()

    def test_more_user_properties_than_the_limit_close(self):
        sub = self.subscriber(self.topic())
        pub = self.client('pub')
        pairs = {'user_property': [('k', str(i)) for i in range(50)]}
        pub.publish(self.topic(), b'', props=pairs)
        self.assertEqual(len(sub.message(self.topic()).user), 50)
        pairs['user_property'].append(('k', '50'))
        pub.send(mqtt.publish(self.topic(), b'', props_=pairs))
        pub.expect_close(required=True)
        self.still_serving()


@pigeon_only
class Answers(BrokerCase):
    def test_unknown_identifiers_get_0x92(self):
        c = self.client()
        c.send(mqtt.ack(PUBREL, 500))
        c.expect(PUBCOMP, mid=500, reason=0x92)
        c.send(mqtt.ack(PUBREC, 501))
        c.expect(PUBREL, mid=501, reason=0x92)
        c.send(mqtt.ack(PUBACK, 502))
        c.send(mqtt.ack(PUBCOMP, 503))
        c.expect_nothing()

    def test_nobody_listening_is_0x10(self):
        c = self.client()
        for qos in (1, 2):
            self.assertEqual(c.publish(self.topic(), b'', qos), 0x10)
        self.subscriber(self.topic())
        for qos in (1, 2):
            self.assertEqual(c.publish(self.topic(), b'', qos), 0)

    def test_invalid_shared_filters_get_0x8f_and_the_others_are_granted(self):
        c = self.client()
        bad = ['$share/g', '$share//a', '$share/g/', '$share/g+/a', '$share/#/a', '$share/g/a#',
               '$share/g/#/b', '$share/']
        ack = c.subscribe(self.topic(), *bad, self.topic('b'), qos=1)
        self.assertEqual(ack.reasons, [1] + [0x8F] * len(bad) + [1])
        c.ping()

    def test_suback_comes_before_retained_messages(self):
        pub = self.client('pub')
        for i in range(5):
            pub.publish(self.topic(str(i)), b'r', 1, retain=True)
        sub = self.client('sub')
        sub.send(mqtt.subscribe([(self.topic('#'), 1)], 7))
        sub.expect(SUBACK, mid=7, reasons=[1])
        for _ in range(5):
            sub.message(retain=True)

    def test_overlapping_subscriptions_give_one_copy(self):
        orders = [((self.topic('a'), 0, 1), (self.topic('+'), 1, 2), (self.topic('#'), 2, 3))]
        orders.append(tuple(reversed(orders[0])))
        for order in orders:
            sub = self.client('sub')
            for name, qos, ident in order:
                sub.subscribe(name, qos=qos, props={'subscription_identifier': ident})
            pub = self.client('pub')
            for qos in (0, 1, 2):
                pub.publish(self.topic('a'), b'x', qos)
                p = sub.message(self.topic('a'), b'x', qos=qos)
                self.assertEqual(p.sub_ids, [1, 2, 3])
            self.expect_nothing_from(pub, sub)

    def test_overlapping_subscriptions_give_one_copy_in_the_queue_too(self):
        c = self.client(props={'session_expiry_interval': 600})
        c.subscribe(self.topic('a'), qos=1, props={'subscription_identifier': 1})
        c.subscribe(self.topic('#'), qos=2, props={'subscription_identifier': 2})
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic('a'), b'x', 2)
        c = self.client(clean=False, session_present=True)
        self.assertEqual(c.message(self.topic('a'), b'x', qos=2).sub_ids, [1, 2])
        self.expect_nothing_from(pub, c)

    def test_repeated_topics_are_sent_by_alias(self):
        sub = self.subscriber(self.topic(), props={'topic_alias_maximum': 3})
        pub = self.client('pub')
        sizes = []
        for _ in range(10):
            pub.publish(self.topic(), b'x')
            sizes.append(sub.message(self.topic(), b'x').size)
        self.assertLess(sizes[-1], len(self.topic()))


@pigeon_only
class DollarTopics(BrokerCase):
    TOPICS = ('$SYS/x', '$foo', '$', '$share/g/t', '$SYS')

    def test_writing_to_dollar_topics_is_refused_and_the_connection_stays(self):
        c = self.client()
        for topic in self.TOPICS:
            self.assertEqual(c.publish(topic, b'', 1), 0x87, topic)
            self.assertEqual(c.publish(topic, b'', 2), 0x87, topic)
            c.publish(topic, b'', 0, retain=True)
            c.expect_nothing()

    def test_what_was_refused_is_neither_delivered_nor_retained(self):
        sub = self.subscriber('$foo/#')
        pub = self.client('pub')
        for qos in (0, 1, 2):
            pub.publish('$foo/bar', b'', qos, retain=True)
        self.expect_nothing_from(pub, sub)
        late = self.subscriber('$foo/#', name='late')
        self.expect_nothing_from(pub, late)

    def test_older_clients_are_acknowledged(self):
        sub = self.subscriber('$foo/#')
        for version in (3, 4):
            c = self.client('old', version=version)
            for qos in (0, 1, 2):
                c.publish('$foo/x', b'', qos)
            c.ping()
            self.expect_nothing_from(c, sub)


@pigeon_only
class DeniedDisconnects(BrokerCase):
    options = {'on_denied_publish': 'disconnect'}

    def test_older_clients_are_disconnected(self):
        for version in (3, 4):
            for qos in (0, 1, 2):
                c = self.client('old', version=version)
                c.send(mqtt.publish('$foo/x', b'', qos, 1 if qos else None, version=version))
                c.expect_close()

    def test_newer_clients_are_told(self):
        self.assertEqual(self.client().publish('$foo/x', b'', 1), 0x87)


@pigeon_only
class DefaultDeny(BrokerCase):
    options = {'default_access': 'deny'}

    def test_each_version_is_refused_in_its_way(self):
        c = self.client()
        self.assertEqual(c.subscribe(self.topic(), '#').reasons, [0x87, 0x87])
        self.assertEqual(c.publish(self.topic(), b'', 1), 0x87)
        self.assertEqual(c.publish(self.topic(), b'', 2), 0x87)
        c4 = self.client('c4', version=4)
        self.assertEqual(c4.subscribe(self.topic(), qos=1).reasons, [0x80])
        c4.publish(self.topic(), b'', 1)
        c3 = self.client('c3', version=3)
        self.assertEqual(c3.subscribe(self.topic(), qos=1).reasons, [0])
        c3.publish(self.topic(), b'', 2)
        c3.expect_nothing()

    def test_a_denied_will_refuses_the_connect(self):
        c = self.raw(self.id('x'), will=Will(self.topic()))
        c.connect(reason=0x87)
        c.expect_close()
        c = self.raw(self.id('x'), version=4, will=Will(self.topic()))
        c.connect(reason=5)
        c.expect_close()
