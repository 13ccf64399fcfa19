"""MQTT 5.0 chapters 1 and 2: data representation, fixed header, packet identifier, properties."""

import mqtt
from mqtt import PUBACK, PUBCOMP, PUBREC, PUBREL, PUBLISH, SUBACK, UNSUBACK, Will
from spec import SpecCase, spec

ILL_FORMED = [
    b'\xff', b'\x80', b'a\xc0\x80', b'\xc0\xaf', b'\xe2\x82', b'\xf8\x88\x80\x80\x80',
    b'\xed\xa0\x80', b'\xed\xbf\xbf', b'\xed\xa0\x80\xed\xb0\x80', b'\xf4\x90\x80\x80',
    b'\xe0\x80\xaf', b'\xf0\x80\x80\xaf',
]
MALFORMED = (0x81, 0x82)


class Strings(SpecCase):
    def connects_with(self, text):
        """CONNECTs with text in each UTF-8 field."""
        ok = self.id('s')
        yield 'client id', mqtt.connect(text)
        yield 'user name', mqtt.connect(ok, username=text)
        yield 'will topic', mqtt.connect(ok, will=Will(text))
        yield 'will content type', mqtt.connect(ok, will=Will('a', props={'content_type': text}))
        yield 'will response topic', mqtt.connect(
            ok, will=Will('a', props={'response_topic': text}))
        yield 'will property name', mqtt.connect(
            ok, will=Will('a', props={'user_property': [(text, 'v')]}))
        yield 'property name', mqtt.connect(ok, props_={'user_property': [(text, 'v')]})
        yield 'property value', mqtt.connect(ok, props_={'user_property': [('k', text)]})
        yield 'authentication method', mqtt.connect(ok, props_={'authentication_method': text})

    def packets_with(self, text):
        """Packets for an open connection with text in each UTF-8 field."""
        yield 'topic', mqtt.publish(text, b'x')
        yield 'content type', mqtt.publish('a', props_={'content_type': text})
        yield 'response topic', mqtt.publish('a', props_={'response_topic': text})
        yield 'property name', mqtt.publish('a', props_={'user_property': [(text, 'v')]})
        yield 'property value', mqtt.publish('a', props_={'user_property': [('k', text)]})
        yield 'filter', mqtt.subscribe([(text, 0)])
        yield 'subscribe property', mqtt.subscribe([('a', 0)],
                                                   props_={'user_property': [(text, text)]})
        yield 'unsubscribe filter', mqtt.unsubscribe([text])
        yield 'reason string', mqtt.disconnect(0x04, {'reason_string': text})

    @spec('MQTT-1.5.4-1', 'MQTT-1.5.7-1', 'MQTT-3.1.3-4', 'MQTT-3.1.3-11', 'MQTT-3.1.3-12')
    def test_ill_formed_utf8_in_connect_closes(self):
        for text in ILL_FORMED:
            for where, data in self.connects_with(text):
                with self.subTest(where=where, text=text):
                    self.refused_connect(data, 0x81, 0x82, 0x85, 0x8C, 0x90)

    @spec('MQTT-1.5.4-1', 'MQTT-1.5.7-1', 'MQTT-3.3.2-1', 'MQTT-3.3.2-13', 'MQTT-3.3.2-19',
          'MQTT-3.8.3-1', 'MQTT-3.10.3-1')
    def test_ill_formed_utf8_after_connect_closes(self):
        for text in ILL_FORMED:
            for where, data in self.packets_with(text):
                with self.subTest(where=where, text=text):
                    self.refused(data, 0x81, 0x82, 0x8F, 0x90)
        self.still_serving()

    @spec('MQTT-1.5.4-2', 'MQTT-4.7.3-2')
    def test_nul_in_a_string_closes(self):
        for where, data in self.connects_with('a\0b'):
            with self.subTest(where=where):
                self.refused_connect(data, 0x81, 0x82, 0x85, 0x8C, 0x90)
        for where, data in self.packets_with('a\0b'):
            with self.subTest(where=where):
                self.refused(data, 0x81, 0x82, 0x8F, 0x90)

    @spec('MQTT-1.5.4-3', 'MQTT-4.7.3-4')
    def test_a_byte_order_mark_is_an_ordinary_character(self):
        plain, marked = self.topic('x'), '\ufeff' + self.topic('\ufeffx\ufeff')
        sub = self.subscriber(plain, marked)
        pub = self.client('pub')
        pub.publish(marked, b'1', props={'content_type': '\ufeffc',
                                         'user_property': [('\ufeffk', 'v\ufeff')]})
        p = sub.message(marked, b'1')
        self.assertEqual(p.props['content_type'], '\ufeffc')
        self.assertEqual(p.user, [('\ufeffk', 'v\ufeff')])
        self.expect_nothing_from(pub, sub)

    def test_text_of_every_length_passes_unchanged(self):
        sub = self.subscriber(self.topic('#'))
        pub = self.client('pub')
        for text in ('é', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\U00010000', '\U0010fffd', '水'):
            topic = self.topic(text)
            pub.publish(topic, text, props={'user_property': [(text, text)]})
            self.assertEqual(sub.message(topic, text.encode()).user, [(text, text)])


class Integers(SpecCase):
    @spec('MQTT-1.5.5-1')
    def test_lengths_are_encoded_in_the_fewest_bytes(self):
        topic = self.topic()
        sub = self.subscriber(topic, qos=0)
        pub = self.client('pub')
        head = len(mqtt.publish(topic, b'')) - 2
        for edge in (127, 128, 16383, 16384, 65535):
            for length in (edge - 1, edge, edge + 1):
                payload = b'x' * max(0, length - head)
                pub.publish(topic, payload)  # the parser refuses longer encodings
                sub.message(topic, payload)

    @spec('MQTT-1.5.5-1')
    def test_property_lengths_are_encoded_in_the_fewest_bytes(self):
        topic = self.topic()
        sub = self.subscriber(topic)
        pub = self.client('pub')
        for n in (120, 121, 122, 123, 130, 16370, 16376, 16377, 16378, 16390):
            pub.publish(topic, b'', props={'user_property': [('k', 'v' * n)]})
            self.assertEqual(len(sub.message(topic).user[0][1]), n)

    @spec('MQTT-1.5.5-1')
    def test_subscription_identifiers_of_every_size_come_back(self):
        topic = self.topic()
        pub = self.client('pub')
        sub = self.client('sub')
        for n in (1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455):
            sub.subscribe(topic, props={'subscription_identifier': n})
            pub.publish(topic, b'')
            self.assertEqual(sub.message(topic).sub_ids, [n])

    def test_a_length_of_five_bytes_closes(self):
        self.refused(b'\x30\x80\x80\x80\x80\x01', *MALFORMED)
        self.refused_connect(b'\x10\xff\xff\xff\xff\x01', *MALFORMED)
        body = mqtt.string('a') + b'\x80\x80\x80\x80\x01'
        self.refused(mqtt.packet(PUBLISH, 0, body), *MALFORMED)

    def test_a_property_length_beyond_the_packet_closes(self):
        self.refused(mqtt.packet(PUBLISH, 0, mqtt.string('a') + b'\x20'), *MALFORMED)
        self.refused(mqtt.packet(mqtt.SUBSCRIBE, 2, b'\0\1\x7f\0\1a\0'), *MALFORMED)


class FixedHeader(SpecCase):
    @spec('MQTT-2.1.3-1')
    def test_reserved_flags_of_every_packet_are_checked(self):
        bodies = {
            mqtt.PUBACK: (0, b'\0\1'), mqtt.PUBREC: (0, b'\0\1'), mqtt.PUBREL: (2, b'\0\1'),
            mqtt.PUBCOMP: (0, b'\0\1'), mqtt.SUBSCRIBE: (2, b'\0\1\0\0\1a\0'),
            mqtt.UNSUBSCRIBE: (2, b'\0\1\0\0\1a'), mqtt.PINGREQ: (0, b''),
            mqtt.DISCONNECT: (0, b''), mqtt.AUTH: (0, b''),
        }
        for ptype, (right, body) in bodies.items():
            for flags in (0, 1, 2, 4, 8, 15):
                if flags != right:
                    with self.subTest(packet=mqtt.NAMES[ptype], flags=flags):
                        self.refused(mqtt.packet(ptype, flags, body), *MALFORMED)
        for flags in (1, 2, 4, 8):
            with self.subTest(packet='CONNECT', flags=flags):
                self.refused_connect(mqtt.connect(self.id('x'), fixed_flags=flags), *MALFORMED)

    def test_packet_type_0_closes(self):
        self.refused(b'\x00\x00', *MALFORMED)

    def test_packets_only_a_server_sends_close(self):
        for data in (b'\x20\x03\0\0\0', b'\x90\x04\0\1\0\0', b'\xb0\x04\0\1\0\0', b'\xd0\x00'):
            with self.subTest(data=data):
                self.refused(data, *MALFORMED)

    @spec('MQTT-4.2-1')
    def test_packets_may_arrive_in_pieces_of_any_size(self):
        topic = self.topic()
        sub = self.subscriber(topic, qos=1)
        pub = self.raw(self.id('pub'))
        stream = mqtt.connect(self.id('pub')) + \
            b''.join(mqtt.publish(topic, b'%d' % i, 1, i + 1) for i in range(20))
        for i in range(len(stream)):
            pub.sock.sendall(stream[i:i + 1])
        for i in range(20):
            sub.message(topic, b'%d' % i)
        pub.expect(mqtt.CONNACK, reason=0)
        for i in range(20):
            pub.expect(PUBACK, mid=i + 1)

    @spec('MQTT-4.2-1')
    def test_many_packets_in_one_segment_are_handled_in_order(self):
        topic = self.topic()
        sub = self.subscriber(topic, qos=1)
        pub = self.raw(self.id('pub'))
        pub.send(mqtt.connect(self.id('pub')),
                 *[mqtt.publish(topic, b'%d' % i, 1, i + 1) for i in range(30)],
                 mqtt.disconnect())
        for i in range(30):
            sub.message(topic, b'%d' % i)


class Identifiers(SpecCase):
    @spec('MQTT-2.2.1-2', 'MQTT-2.2.2-1', 'MQTT-4.3.1-1', 'MQTT-3.3.1-2')
    def test_a_qos_0_publish_has_no_identifier_and_an_empty_property_list(self):
        topic = self.topic()
        sub = self.subscriber(topic, qos=0)
        pub = self.client('pub')
        for qos in (0, 1, 2):
            pub.publish(topic, b'payload', qos)
            p = sub.message(topic, b'payload', qos=0, dup=False)
            self.assertEqual(p.raw, mqtt.publish(topic, b'payload'))

    @spec('MQTT-2.2.1-4', 'MQTT-4.3.2-1', 'MQTT-4.3.3-1')
    def test_unacknowledged_messages_have_different_identifiers(self):
        topic = self.topic()
        sub = self.subscriber(topic, qos=2, props={'receive_maximum': 200})
        pub = self.client('pub')
        for i in range(60):
            pub.publish(topic, b'%d' % i, 1 + i % 2)
        held = [sub.expect(PUBLISH) for _ in range(60)]
        self.assertEqual(len({p.mid for p in held}), 60)
        self.assertNotIn(0, {p.mid for p in held})

    @spec('MQTT-2.2.1-5')
    def test_acknowledgements_repeat_the_identifier(self):
        c = self.client()
        for mid in (1, 2, 255, 256, 65535, 7):
            c.send(mqtt.publish(self.topic(), b'', 1, mid))
            c.expect(PUBACK, mid=mid)
            c.send(mqtt.publish(self.topic(), b'', 2, mid))
            c.expect(PUBREC, mid=mid)
            c.send(mqtt.ack(PUBREL, mid))
            c.expect(PUBCOMP, mid=mid, reason=0)

    @spec('MQTT-2.2.1-5', 'MQTT-4.3.3-4')
    def test_the_server_repeats_the_identifier_in_pubrel(self):
        topic = self.topic()
        sub = self.subscriber(topic, qos=2)
        self.client('pub').publish(topic, b'', 2)
        p = sub.expect(PUBLISH, qos=2)
        sub.send(mqtt.ack(PUBREC, p.mid))
        sub.expect(PUBREL, mid=p.mid, reason=0)

    @spec('MQTT-2.2.1-6', 'MQTT-3.8.4-2', 'MQTT-3.10.4-5')
    def test_suback_and_unsuback_repeat_the_identifier(self):
        c = self.client()
        for mid in (1, 256, 65535):
            c.send(mqtt.subscribe([(self.topic(), 0)], mid))
            c.expect(SUBACK, mid=mid)
            c.send(mqtt.unsubscribe([self.topic()], mid))
            c.expect(UNSUBACK, mid=mid)

    def test_identifier_0_closes(self):
        for data in (mqtt.publish('a', b'', 1, 0), mqtt.publish('a', b'', 2, 0),
                     mqtt.subscribe([('a', 0)], 0), mqtt.unsubscribe(['a'], 0)):
            with self.subTest(data=data):
                self.refused(data, *MALFORMED)

    def test_both_sides_number_their_packets_independently(self):
        topic = self.topic()
        c = self.subscriber(topic, qos=1)
        other = self.client('other')
        other.publish(topic, b'1', 1)
        held = c.expect(PUBLISH)
        c.send(mqtt.publish(self.topic('elsewhere'), b'', 1, held.mid))
        c.expect(PUBACK, mid=held.mid)
        c.send(mqtt.ack(PUBACK, held.mid))
        self.expect_nothing_from(other, c)


class Properties(SpecCase):
    @spec('MQTT-2.2.2-1')
    def test_acknowledgements_have_a_whole_property_list(self):
        c = self.client()
        self.assertEqual(c.connack.raw[0], 0x20)
        c.subscribe(self.topic())  # the parser wants the property length in each
        c.unsubscribe(self.topic())

    def test_unknown_properties_close(self):
        for pid in (0x00, 0x04, 0x0A, 0x2B, 0x7F, 0x80):
            with self.subTest(property=pid):
                bad = mqtt.varint(pid) + b'\0'
                self.refused(mqtt.publish('a', props_=bad), *MALFORMED)
                self.refused_connect(mqtt.connect(self.id('x'), props_=bad), *MALFORMED)

    def test_properties_in_the_wrong_packet_close(self):
        wrong = {'server_keep_alive': 5, 'assigned_client_identifier': 'x', 'maximum_qos': 1,
                 'will_delay_interval': 1, 'content_type': 'x', 'reason_string': 'x',
                 'topic_alias': 1, 'subscription_identifier': 1}
        for name, value in wrong.items():
            with self.subTest(packet='CONNECT', property=name):
                self.refused_connect(mqtt.connect(self.id('x'), props_={name: value}), *MALFORMED)
        for name in ('session_expiry_interval', 'receive_maximum', 'reason_string',
                     'will_delay_interval', 'server_reference'):
            value = 'x' if name in ('reason_string', 'server_reference') else 1
            with self.subTest(packet='PUBLISH', property=name):
                self.refused(mqtt.publish('a', props_={name: value}), *MALFORMED)
        for name, value in (('content_type', 'x'), ('topic_alias', 1), ('reason_string', 'x')):
            with self.subTest(packet='SUBSCRIBE', property=name):
                self.refused(mqtt.subscribe([('a', 0)], props_={name: value}), *MALFORMED)
        with self.subTest(packet='UNSUBSCRIBE'):
            self.refused(mqtt.unsubscribe(['a'], props_={'subscription_identifier': 1}),
                         *MALFORMED)
        with self.subTest(packet='will'):
            self.refused_connect(mqtt.connect(self.id('x'), will=Will(
                'a', props={'topic_alias': 1})), *MALFORMED)

    def test_a_property_given_twice_closes(self):
        twice = [('session_expiry_interval', 1), ('receive_maximum', 9),
                 ('maximum_packet_size', 999), ('topic_alias_maximum', 1),
                 ('request_response_information', 0), ('request_problem_information', 1),
                 ('authentication_method', 'x')]
        for name, value in twice:
            with self.subTest(packet='CONNECT', property=name):
                data = mqtt.connect(self.id('x'), props_=[(name, value), (name, value)])
                self.refused_connect(data, 0x81, 0x82, 0x8C)
        for name, value in [('payload_format_indicator', 1), ('message_expiry_interval', 9),
                            ('content_type', 'x'), ('response_topic', 'x'),
                            ('correlation_data', b'x'), ('topic_alias', 1)]:
            with self.subTest(packet='PUBLISH', property=name):
                self.refused(mqtt.publish('a', props_=[(name, value), (name, value)]), *MALFORMED)
        for name, value in [('will_delay_interval', 1), ('payload_format_indicator', 0),
                            ('content_type', 'x')]:
            with self.subTest(packet='will', property=name):
                will = Will('a', props=[(name, value), (name, value)])
                self.refused_connect(mqtt.connect(self.id('x'), will=will), *MALFORMED)
        with self.subTest(packet='SUBSCRIBE'):
            self.refused(mqtt.subscribe([('a', 0)], props_=[('subscription_identifier', 1)] * 2),
                         *MALFORMED)

    def test_values_out_of_range_close(self):
        for name, value in [('receive_maximum', 0), ('maximum_packet_size', 0),
                            ('request_problem_information', 2),
                            ('request_response_information', 2)]:
            with self.subTest(packet='CONNECT', property=name):
                self.refused_connect(mqtt.connect(self.id('x'), props_={name: value}), *MALFORMED)
        with self.subTest(packet='SUBSCRIBE'):
            self.refused(mqtt.subscribe([('a', 0)], props_={'subscription_identifier': 0}),
                         *MALFORMED)

    def test_authentication_data_without_a_method_closes(self):
        self.refused_connect(mqtt.connect(self.id('x'), props_={'authentication_data': b'x'}),
                             0x81, 0x82, 0x8C)

    def test_a_string_property_cut_short_closes(self):
        self.refused(mqtt.packet(PUBLISH, 0, mqtt.string('a') + b'\x04\x03\0\x05x' + b'y'),
                     *MALFORMED)
