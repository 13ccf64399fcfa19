"""MQTT 3.1.1 sections 3.3 PUBLISH to 3.7 PUBCOMP."""

import mqtt
import mqtt3
from broker import pigeon_only
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from spec import Spec311Case, spec


class Header(Spec311Case):
    @spec('MQTT-3.3.1-4')
    def test_qos_3_closes(self):
        for flags in (6, 7, 14, 15):
            self.refused(mqtt.packet(PUBLISH, flags, mqtt.string('a') + b'\0\1x'))

    @spec('MQTT-3.3.1-2')
    def test_dup_on_qos_0_closes(self):
        self.refused(mqtt3.publish('a', b'', 0, dup=True))

    @spec('MQTT-3.3.1-3')
    def test_dup_of_the_publisher_is_not_passed_on(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for qos in (1, 2):
            for dup in (True, False):
                pub.publish(self.topic(), b'x', qos, dup=dup)
                sub.message(self.topic(), b'x', qos=qos, dup=False)

    @spec('MQTT-3.3.2-1')
    def test_a_topic_beyond_the_packet_closes(self):
        for body in (b'', b'\0', b'\0\5abc', b'\xff\xffabc'):
            with self.subTest(body=body):
                self.refused(mqtt.packet(PUBLISH, 0, body))

    def test_a_missing_identifier_closes(self):
        for flags in (2, 4):
            for body in (mqtt.string('a'), mqtt.string('a') + b'\1'):
                with self.subTest(flags=flags, body=body):
                    self.refused(mqtt.packet(PUBLISH, flags, body))

    @spec('MQTT-3.3.2-2', 'MQTT-4.7.1-1')
    def test_wildcards_in_a_topic_name_close(self):
        for topic in ('#', '+', 'a/#', 'a/+', '+/a', 'a#', 'a+b', '/#'):
            for qos in (0, 1, 2):
                with self.subTest(topic=topic, qos=qos):
                    self.refused(mqtt3.publish(topic, b'', qos, 1 if qos else None))

    @spec('MQTT-4.7.3-1')
    def test_an_empty_topic_closes(self):
        self.refused(mqtt3.publish('', b'x'))
        self.refused(mqtt3.publish('', b'x', 1, 1))

    @spec('MQTT-3.3.4-1', 'MQTT-4.3.2-2', 'MQTT-4.3.3-2')
    def test_each_qos_has_its_answer(self):
        c = self.client()
        c.send(mqtt3.publish(self.topic(), b'', 0))
        c.expect_nothing()
        c.send(mqtt3.publish(self.topic(), b'', 1, 9))
        c.expect(PUBACK, mid=9)
        c.send(mqtt3.publish(self.topic(), b'', 2, 9))
        c.expect(PUBREC, mid=9)
        c.expect_nothing()
        c.send(mqtt.ack(PUBREL, 9))
        c.expect(PUBCOMP, mid=9)
        c.expect_nothing()

    def test_an_empty_payload_is_a_message(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for qos in (0, 1, 2):
            pub.publish(self.topic(), b'', qos)
            sub.message(self.topic(), b'', qos=qos)

    def test_a_large_payload_passes_unchanged(self):
        payload = bytes(range(256)) * 4096
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for qos in (0, 1, 2):
            pub.publish(self.topic(), payload, qos)
            sub.message(self.topic(), payload, qos=qos)


class Retained(Spec311Case):
    def late(self, qos=2, name='late'):
        """The retained message that a new subscriber gets, or None."""
        sub = self.subscriber(self.topic(), name=name, qos=qos)
        got = self.fence(self.client('fence'), sub)
        for p in got:
            sub.acknowledge(p)
        sub.disconnect()
        self.assertLessEqual(len(got), 1)
        return got[0] if got else None

    @spec('MQTT-3.3.1-5', 'MQTT-3.3.1-6', 'MQTT-3.3.1-8')
    def test_a_retained_message_is_stored_with_its_qos_and_replaced(self):
        pub = self.client('pub')
        for qos in (0, 1, 2, 1, 0):
            payload = b'%d' % qos
            pub.publish(self.topic(), payload, qos, retain=True)
            pub.ping()
            p = self.late()
            self.assertEqual((p.payload, p.qos, p.retain, p.dup), (payload, qos, True, False))

    @spec('MQTT-3.3.1-6', 'MQTT-3.3.1-8')
    def test_a_new_subscription_gets_the_last_message_of_each_matching_topic(self):
        pub = self.client('pub')
        for i in range(10):
            for text in (b'old', b'new'):
                pub.publish(self.topic(str(i)), text, 1, retain=True)
        sub = self.subscriber(self.topic('+'), qos=1)
        got = [sub.message(payload=b'new', retain=True).topic for _ in range(10)]
        self.assertEqual(sorted(got), sorted(self.topic(str(i)) for i in range(10)))
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.3.1-7')
    def test_a_qos_0_message_discards_the_retained_one(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'1', 1, retain=True)
        pub.publish(self.topic(), b'0', 0, retain=True)
        pub.ping()
        p = self.late()
        self.assertIn((p and p.payload), (None, b'0'))

    @spec('MQTT-3.3.1-9')
    def test_an_established_subscription_gets_retain_0(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for qos in (0, 1, 2):
            pub.publish(self.topic(), b'x', qos, retain=True)
            sub.message(self.topic(), b'x', qos=qos, retain=False)

    @spec('MQTT-3.3.1-9')
    def test_a_queued_message_has_retain_0(self):
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        self.client('pub').publish(self.topic(), b'x', 1, retain=True)
        c = self.client(clean=False, session_present=True)
        c.message(self.topic(), b'x', retain=False)

    @spec('MQTT-3.3.1-10', 'MQTT-3.3.1-11', 'MQTT-3.3.1-9')
    def test_an_empty_payload_is_delivered_and_removes_the_retained_message(self):
        pub = self.client('pub')
        for qos in (0, 1, 2):
            pub.publish(self.topic(), b'r', 1, retain=True)
            sub = self.subscriber(self.topic(), qos=2)
            sub.message(self.topic(), b'r', retain=True)
            pub.publish(self.topic(), b'', qos, retain=True)
            sub.message(self.topic(), b'', qos=qos, retain=False)
            self.assertIsNone(self.late())

    @spec('MQTT-3.3.1-11')
    def test_an_empty_message_is_not_stored(self):
        self.client('pub').publish(self.topic(), b'', 1, retain=True)
        self.assertIsNone(self.late())

    @spec('MQTT-3.3.1-12')
    def test_retain_0_leaves_the_retained_message_alone(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'not stored', 1)
        self.assertIsNone(self.late())
        pub.publish(self.topic(), b'kept', 1, retain=True)
        pub.publish(self.topic(), b'live', 1)
        pub.publish(self.topic(), b'', 1)
        self.assertEqual(self.late().payload, b'kept')

    @spec('MQTT-3.8.4-6')
    def test_the_granted_qos_caps_a_retained_message(self):
        pub = self.client('pub')
        for stored in (0, 1, 2):
            pub.publish(self.topic(), b'%d' % stored, stored, retain=True)
            for granted in (0, 1, 2):
                self.assertEqual(self.late(granted).qos, min(stored, granted))


class Delivery(Spec311Case):
    @spec('MQTT-3.3.2-3')
    def test_the_topic_of_a_delivery_is_that_of_the_message(self):
        sub = self.subscriber(self.topic('#'), self.topic('+', 'b'))
        pub = self.client('pub')
        for topic in (self.topic(), self.topic('a', 'b'), self.topic('', 'b'), self.topic('a', '')):
            pub.publish(topic, topic)
            for p in self.fence(pub, sub):
                self.assertEqual((p.topic, p.payload), (topic, topic.encode()))

    @spec('MQTT-3.3.5-1')
    def test_the_highest_qos_of_overlapping_subscriptions_is_respected(self):
        for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
            sub = self.client('sub')
            for name, qos in zip((self.topic('a'), self.topic('+'), self.topic('#')), order):
                sub.subscribe(name, qos=qos)
            pub = self.client('pub')
            for qos in (0, 1, 2):
                pub.publish(self.topic('a'), b'x', qos)
                got = self.fence(pub, sub)
                for p in got:
                    sub.acknowledge(p)
                self.assertIn(len(got), (1, 2, 3))
                self.assertEqual(max(p.qos for p in got), qos)

    @pigeon_only
    def test_overlapping_subscriptions_give_one_copy(self):
        for clean in (True, False):
            sub = self.client('sub', clean=clean)
            sub.subscribe((self.topic('a'), 0), (self.topic('+'), 2), (self.topic('#'), 1))
            pub = self.client('pub')
            for qos in (0, 1, 2):
                pub.publish(self.topic('a'), b'x', qos)
                sub.message(self.topic('a'), b'x', qos=qos)
            self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.3.5-2')
    def test_a_publish_the_server_does_not_want_is_acknowledged_or_closes(self):
        sub = self.subscriber('$SYS/not/for/clients', qos=2)
        for qos in (1, 2):
            pub = self.client('pub')
            try:
                pub.publish('$SYS/not/for/clients', b'', qos)
            except mqtt.Closed:
                continue
            pub.ping()
        self.expect_nothing_from(self.client('pub'), sub)


@pigeon_only
class Denied(Spec311Case):
    options = {'on_denied_publish': 'disconnect'}

    @spec('MQTT-3.3.5-2')
    def test_a_refused_publish_closes_when_configured(self):
        for qos in (0, 1, 2):
            self.refused(mqtt3.publish('$foo/x', b'', qos, 1 if qos else None))


@pigeon_only
class InboundWindow(Spec311Case):
    options = {'limits': {'inflight_qos2_in': 20, 'inflight_in': 20}}

    def fill(self):
        c = self.client(clean=False)
        for i in range(1, 21):
            c.send(mqtt3.publish(self.topic(), b'', 2, i))
            c.expect(PUBREC, mid=i)
        return c

    @spec('MQTT-4.8.0-2')
    def test_a_qos_2_message_too_many_closes_the_connection(self):
        c = self.fill()
        c.send(mqtt3.publish(self.topic(), b'', 2, 21))
        c.expect_close()
        self.client(clean=False, session_present=True).ping()
        self.forget('c')

    def test_a_repeated_message_takes_no_second_place(self):
        c = self.fill()
        for i in range(1, 21):
            c.send(mqtt3.publish(self.topic(), b'', 2, i, dup=True))
            c.expect(PUBREC, mid=i)
        c.send(mqtt.ack(PUBREL, 20))
        c.expect(PUBCOMP, mid=20)
        c.send(mqtt3.publish(self.topic(), b'', 2, 21))
        c.expect(PUBREC, mid=21)

    def test_qos_1_is_not_limited(self):
        c = self.client()
        c.send(*[mqtt3.publish(self.topic(), b'', 1, i) for i in range(1, 2001)])
        for i in range(1, 2001):
            c.expect(PUBACK, mid=i)


class Acknowledgements(Spec311Case):
    @spec('MQTT-3.6.1-1')
    def test_wrong_pubrel_flags_close(self):
        for flags in (0, 1, 3, 4, 8, 10, 15):
            self.refused(mqtt.ack(PUBREL, 1, flags=flags))

    def test_a_pubrel_for_an_unknown_identifier_is_answered(self):
        c = self.client()
        for mid in (1, 700, 65535):
            c.send(mqtt.ack(PUBREL, mid))
            c.expect(PUBCOMP, mid=mid)

    def test_acknowledgements_of_unknown_identifiers_do_no_harm(self):
        c = self.subscriber(self.topic(), name='c', qos=2)
        for ptype in (PUBACK, PUBCOMP):
            c.send(mqtt.ack(ptype, 77))
        c.expect_nothing()
        c.send(mqtt.ack(PUBREC, 78))
        for p in c.drain():
            self.assertEqual((p.type, p.mid), (PUBREL, 78))
        pub = self.client('pub')
        for qos in (1, 2):
            pub.publish(self.topic(), b'x', qos)
            c.message(self.topic(), b'x', qos=qos)
