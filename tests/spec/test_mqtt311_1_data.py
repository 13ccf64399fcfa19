"""MQTT 3.1.1 chapters 1 and 2: strings, fixed header, packet identifiers."""

import mqtt
import mqtt3
from mqtt import PUBACK, PUBCOMP, PUBREC, PUBREL, PUBLISH, SUBACK, UNSUBACK, Will
from spec import Spec311Case, spec

ILL_FORMED = [
    b'\xff', b'\x80', b'a\xc0\x80', b'\xc0\xaf', b'\xe2\x82', b'\xf8\x88\x80\x80\x80',
    b'\xed\xa0\x80', b'\xed\xbf\xbf', b'\xed\xa0\x80\xed\xb0\x80', b'\xf4\x90\x80\x80',
    b'\xe0\x80\xaf', b'\xf0\x80\x80\xaf',
]


class Strings(Spec311Case):
    def connects_with(self, text):
        """CONNECTs with text in each UTF-8 field, and whether CONNACK 2 is an answer, too."""
        ok = self.id('s')
        yield 'client id', mqtt3.connect(text), True
        yield 'user name', mqtt3.connect(ok, username=text), False
        yield 'will topic', mqtt3.connect(ok, will=Will(text)), False

    def refused_text(self, text):
        for where, data, may_say_2 in self.connects_with(text):
            with self.subTest(where=where, text=text):
                c = self.raw()
                c.send(data)
                c.expect_close(2, connack=may_say_2)
        for where, data in (('topic', mqtt3.publish(text, b'x')),
                            ('filter', mqtt3.subscribe([(text, 0)])),
                            ('unsubscribe filter', mqtt3.unsubscribe([text]))):
            with self.subTest(where=where, text=text):
                self.refused(data)

    @spec('MQTT-1.5.3-1', 'MQTT-3.1.3-4', 'MQTT-3.1.3-10', 'MQTT-3.1.3-11', 'MQTT-3.3.2-1',
          'MQTT-3.8.3-1', 'MQTT-3.10.3-1', 'MQTT-4.8.0-1')
    def test_ill_formed_utf8_closes(self):
        for text in ILL_FORMED:
            self.refused_text(text)
        self.still_serving()

    @spec('MQTT-1.5.3-2', 'MQTT-4.7.3-2')
    def test_nul_in_a_string_closes(self):
        self.refused_text('a\0b')
        self.refused_text('\0')

    @spec('MQTT-1.5.3-3')
    def test_a_byte_order_mark_is_an_ordinary_character(self):
        plain, marked = self.topic('x'), '\ufeff' + self.topic('\ufeffx\ufeff')
        sub = self.subscriber(plain, marked)
        pub = self.client('pub')
        pub.publish(marked, b'1')
        sub.message(marked, b'1')
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-1.5.3-1')
    def test_text_of_every_length_passes_unchanged(self):
        sub = self.subscriber(self.topic('#'))
        pub = self.client('pub')
        for text in ('é', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\U00010000', '\U0010fffd', '水'):
            pub.publish(self.topic(text), text)
            sub.message(self.topic(text), text)


class FixedHeader(Spec311Case):
    @spec('MQTT-2.2.2-1', 'MQTT-2.2.2-2', 'MQTT-3.6.1-1', 'MQTT-3.8.1-1', 'MQTT-3.10.1-1',
          'MQTT-3.14.1-1', 'MQTT-4.8.0-1')
    def test_reserved_flags_of_every_packet_are_checked(self):
        bodies = {
            mqtt.PUBACK: (0, b'\0\1'), mqtt.PUBREC: (0, b'\0\1'), mqtt.PUBREL: (2, b'\0\1'),
            mqtt.PUBCOMP: (0, b'\0\1'), mqtt.SUBSCRIBE: (2, b'\0\1\0\1a\0'),
            mqtt.UNSUBSCRIBE: (2, b'\0\1\0\1a'), mqtt.PINGREQ: (0, b''),
            mqtt.DISCONNECT: (0, b''),
        }
        for ptype, (right, body) in bodies.items():
            for flags in (0, 1, 2, 4, 8, 15):
                if flags != right:
                    with self.subTest(packet=mqtt.NAMES[ptype], flags=flags):
                        self.refused(mqtt.packet(ptype, flags, body))
        for flags in (1, 2, 4, 8):
            with self.subTest(packet='CONNECT', flags=flags):
                self.malformed_connect(mqtt3.connect(self.id('x'), fixed_flags=flags))

    @spec('MQTT-4.8.0-1')
    def test_packet_types_that_do_not_exist_close(self):
        for data in (b'\x00\x00', b'\xf0\x00', b'\xf0\x02\x00\x00'):
            with self.subTest(data=data):
                self.refused(data)

    @spec('MQTT-4.8.0-1')
    def test_packets_only_a_server_sends_close(self):
        for data in (b'\x20\x02\0\0', b'\x90\x03\0\1\0', b'\xb0\x02\0\1', b'\xd0\x00'):
            with self.subTest(data=data):
                self.refused(data)

    def test_a_length_of_five_bytes_closes(self):
        self.refused(b'\x30\x80\x80\x80\x80\x01')
        self.malformed_connect(b'\x10\xff\xff\xff\xff\x01')

    def test_packets_of_a_wrong_length_close(self):
        for data in (b'\xc0\x01\0', b'\xe0\x01\0', b'\x40\x00', b'\x40\x01\0', b'\x40\x03\0\1\0',
                     b'\x62\x03\0\1\0', b'\x50\x01\0', b'\x70\x04\0\1\0\0', b'\x82\x02\0\1',
                     b'\x82\x05\0\1\0\1a', b'\xa2\x04\0\1\0\5', b'\x30\x00', b'\x30\x01\0'):
            with self.subTest(data=data):
                self.refused(data)

    def test_lengths_are_encoded_in_the_fewest_bytes(self):
        sub = self.subscriber(self.topic())
        pub = self.client('pub')
        head = len(mqtt3.publish(self.topic(), b'')) - 2
        for edge in (127, 128, 16383, 16384, 65535, 2097151, 2097152):
            for length in (edge - 1, edge, edge + 1):
                payload = b'x' * max(0, length - head)
                pub.publish(self.topic(), payload)  # the parser refuses longer encodings
                sub.message(self.topic(), payload)

    def test_packets_may_arrive_in_pieces_of_any_size(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.raw(self.id('pub'))
        stream = mqtt3.connect(self.id('pub')) + \
            b''.join(mqtt3.publish(self.topic(), b'%d' % i, 1, i + 1) for i in range(20))
        for i in range(len(stream)):
            pub.sock.sendall(stream[i:i + 1])
        for i in range(20):
            sub.message(self.topic(), b'%d' % i)
        pub.expect(mqtt.CONNACK, reason=0)
        for i in range(20):
            pub.expect(PUBACK, mid=i + 1)

    @spec('MQTT-7.1.1-1')
    def test_many_packets_in_one_segment_are_handled_in_order(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.raw(self.id('pub'))
        pub.send(mqtt3.connect(self.id('pub')),
                 *[mqtt3.publish(self.topic(), b'%d' % i, 1, i + 1) for i in range(30)],
                 mqtt.disconnect())
        for i in range(30):
            sub.message(self.topic(), b'%d' % i)


class Identifiers(Spec311Case):
    @spec('MQTT-2.3.1-5', 'MQTT-3.3.1-2', 'MQTT-4.3.1-1')
    def test_a_qos_0_publish_has_no_identifier_and_no_dup(self):
        sub = self.subscriber(self.topic(), qos=0)
        pub = self.client('pub')
        for qos in (0, 1, 2):
            pub.publish(self.topic(), b'payload', qos)
            p = sub.message(self.topic(), b'payload', qos=0, dup=False)
            self.assertEqual(p.raw, mqtt3.publish(self.topic(), b'payload'))

    @spec('MQTT-2.3.1-4', 'MQTT-4.3.2-1', 'MQTT-4.3.3-1')
    def test_unacknowledged_messages_have_different_identifiers(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        held = []
        for i in range(15):
            pub.publish(self.topic(), b'%d' % i, 1 + i % 2)
            held.append(sub.expect(PUBLISH, payload=b'%d' % i, dup=False))
        self.assertEqual(len({p.mid for p in held}), 15)
        self.assertNotIn(0, {p.mid for p in held})

    @spec('MQTT-2.3.1-6', 'MQTT-4.3.2-2', 'MQTT-4.3.3-2')
    def test_acknowledgements_repeat_the_identifier(self):
        c = self.client()
        for mid in (1, 2, 255, 256, 65535, 7):
            c.send(mqtt3.publish(self.topic(), b'', 1, mid))
            self.assertEqual(c.expect(PUBACK, mid=mid).raw, b'\x40\2' + mqtt.u16(mid))
            c.send(mqtt3.publish(self.topic(), b'', 2, mid))
            self.assertEqual(c.expect(PUBREC, mid=mid).raw, b'\x50\2' + mqtt.u16(mid))
            c.send(mqtt.ack(PUBREL, mid))
            self.assertEqual(c.expect(PUBCOMP, mid=mid).raw, b'\x70\2' + mqtt.u16(mid))

    @spec('MQTT-2.3.1-6', 'MQTT-4.3.3-1')
    def test_the_server_repeats_the_identifier_in_pubrel(self):
        sub = self.subscriber(self.topic(), qos=2)
        self.client('pub').publish(self.topic(), b'', 2)
        p = sub.expect(PUBLISH, qos=2)
        sub.send(mqtt.ack(PUBREC, p.mid))
        self.assertEqual(sub.expect(PUBREL, mid=p.mid).raw, b'\x62\2' + mqtt.u16(p.mid))

    @spec('MQTT-2.3.1-7', 'MQTT-3.8.4-1', 'MQTT-3.8.4-2', 'MQTT-3.10.4-4')
    def test_suback_and_unsuback_repeat_the_identifier(self):
        c = self.client()
        for mid in (1, 256, 65535):
            c.send(mqtt3.subscribe([(self.topic(), 0)], mid))
            self.assertEqual(c.expect(SUBACK, mid=mid).raw, b'\x90\3' + mqtt.u16(mid) + b'\0')
            c.send(mqtt3.unsubscribe([self.topic()], mid))
            self.assertEqual(c.expect(UNSUBACK, mid=mid).raw, b'\xb0\2' + mqtt.u16(mid))

    def test_identifier_0_closes(self):
        for data in (mqtt3.publish('a', b'', 1, 0), mqtt3.publish('a', b'', 2, 0),
                     mqtt3.subscribe([('a', 0)], 0), mqtt3.unsubscribe(['a'], 0)):
            with self.subTest(data=data):
                self.refused(data)

    def test_both_sides_number_their_packets_independently(self):
        c = self.subscriber(self.topic(), qos=1)
        other = self.client('other')
        other.publish(self.topic(), b'1', 1)
        held = c.expect(PUBLISH)
        c.send(mqtt3.publish(self.topic('elsewhere'), b'', 1, held.mid))
        c.expect(PUBACK, mid=held.mid)
        c.send(mqtt.ack(PUBACK, held.mid))
        self.expect_nothing_from(other, c)
