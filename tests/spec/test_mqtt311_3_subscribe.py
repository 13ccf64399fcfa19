"""MQTT 3.1.1 sections 3.8 SUBSCRIBE to 3.14 DISCONNECT."""

import mqtt
import mqtt3
from broker import pigeon_only
from mqtt import PINGRESP, PUBLISH, SUBACK, Will
from spec import Spec311Case, spec


class Subscribe(Spec311Case):
    @spec('MQTT-3.8.1-1')
    def test_wrong_subscribe_flags_close(self):
        for flags in (0, 1, 3, 6, 10, 15):
            self.refused(mqtt3.subscribe([('a', 0)], flags=flags))

    @spec('MQTT-3.8.3-3')
    def test_a_subscribe_without_a_filter_closes(self):
        self.refused(mqtt3.subscribe([]))

    def test_a_filter_without_a_qos_closes(self):
        self.refused(mqtt.packet(mqtt.SUBSCRIBE, 2, b'\0\1\0\1a'))
        self.refused(mqtt.packet(mqtt.SUBSCRIBE, 2, b'\0\1\0\1a\0\0\1b'))

    @spec('MQTT-3.8.3-4')
    def test_reserved_bits_and_qos_3_close(self):
        for options in (3, 4, 8, 16, 32, 64, 128, 0xFF):
            with self.subTest(options=options):
                self.refused(mqtt3.subscribe([('a', options)]))

    @spec('MQTT-3.8.4-1', 'MQTT-3.8.4-4', 'MQTT-3.8.4-5', 'MQTT-3.9.3-1')
    def test_each_filter_has_its_code_in_order(self):
        c = self.client()
        wanted = [2, 0, 1, 1, 0, 2]
        filters = [(self.topic(str(i)), qos) for i, qos in enumerate(wanted)]
        self.assertEqual(c.subscribe(*filters).reasons, wanted)
        pub = self.client('pub')
        for topic, qos in filters:
            pub.publish(topic, topic, 2)
            c.message(topic, topic, qos=qos)

    @spec('MQTT-3.8.4-4', 'MQTT-3.8.4-5')
    def test_many_filters_in_one_packet(self):
        c = self.client()
        filters = [self.topic(str(i)) for i in range(300)]
        c.subscribe(*filters, qos=1)
        pub = self.client('pub')
        for topic in filters[::60]:
            pub.publish(topic, b'', 1)
            c.message(topic)

    @spec('MQTT-3.9.3-2')
    def test_return_codes_are_the_defined_ones(self):
        c = self.client()
        for name in ('#', '+', '/', self.topic(), '$SYS/#', '$share/g/' + self.topic()):
            for qos in (0, 1, 2):
                self.assertIn(c.subscribe(name, qos=qos).reasons[0], (0, 1, 2, 0x80))

    @spec('MQTT-3.8.4-5', 'MQTT-3.9.3-2', 'MQTT-4.7.1-2', 'MQTT-4.7.1-3')
    def test_an_invalid_filter_fails_or_closes(self):
        for name in ('a/#/b', 'a#', '#/a', 'a+', '+a', 'a/+b', '##', '++', 'a/#b', '+#'):
            with self.subTest(filter=name):
                c = self.client()
                c.send(mqtt3.subscribe([(name, 0)]))
                try:
                    self.assertEqual(c.expect(SUBACK).reasons, [0x80])
                except mqtt.Closed:
                    pass

    @spec('MQTT-4.7.3-1')
    def test_an_empty_filter_fails_or_closes(self):
        c = self.client()
        c.send(mqtt3.subscribe([('', 0)]))
        try:
            self.assertEqual(c.expect(SUBACK).reasons, [0x80])
        except mqtt.Closed:
            pass
        self.client().send(mqtt3.unsubscribe(['']))  # closes or is acknowledged
        self.still_serving()

    @spec('MQTT-3.8.4-3')
    def test_the_same_filter_again_replaces_the_subscription(self):
        sub = self.client('sub')
        pub = self.client('pub')
        for qos in (0, 2, 1, 0):
            sub.subscribe(self.topic(), qos=qos)
            pub.publish(self.topic(), b'x', 2)
            sub.message(self.topic(), b'x', qos=qos)
            self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.8.4-3', 'MQTT-3.3.1-6')
    def test_retained_messages_are_sent_again_when_a_subscription_is_replaced(self):
        sub = self.client('sub')
        self.client('pub').publish(self.topic(), b'r', 1, retain=True)
        for _ in range(3):
            sub.subscribe(self.topic(), qos=1)
            sub.message(self.topic(), b'r', retain=True)

    @spec('MQTT-3.8.4-3')
    def test_nothing_is_lost_while_a_subscription_is_replaced(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.client('pub')
        for i in range(100):
            pub.send(mqtt3.publish(self.topic(), b'%d' % i, 1, i + 1))
            if i % 10 == 0:
                sub.send(mqtt3.subscribe([(self.topic(), 1)], i + 1))
        got = []
        while len(got) < 100:
            p = sub.recv()
            if p.type == PUBLISH:
                got.append(int(p.payload))
                sub.acknowledge(p)
        self.assertEqual(got, list(range(100)))

    @spec('MQTT-3.8.4-6')
    def test_delivery_qos_is_the_smaller_of_published_and_granted(self):
        pub = self.client('pub')
        for granted in (0, 1, 2):
            sub = self.subscriber(self.topic('#'), name=f's{granted}', qos=granted)
            for published in (0, 1, 2):
                pub.publish(self.topic('x'), b'', published)
                sub.message(self.topic('x'), qos=min(granted, published))
            sub.disconnect()

    @pigeon_only
    def test_suback_comes_before_retained_messages(self):
        pub = self.client('pub')
        for i in range(5):
            pub.publish(self.topic(str(i)), b'r', 1, retain=True)
        sub = self.client('sub')
        sub.send(mqtt3.subscribe([(self.topic('#'), 1)], 7))
        sub.expect(SUBACK, mid=7, reasons=[1])
        for _ in range(5):
            sub.message(retain=True)

    def test_a_client_gets_its_own_messages(self):
        c = self.subscriber(self.topic(), name='c', qos=1)
        c.publish(self.topic(), b'mine', 1)
        c.message(self.topic(), b'mine')


@pigeon_only
class Refused(Spec311Case):
    options = {'default_access': 'deny'}

    @spec('MQTT-3.8.4-5', 'MQTT-3.9.3-1', 'MQTT-3.9.3-2')
    def test_a_refused_subscription_gets_0x80(self):
        c = self.client()
        self.assertEqual(c.subscribe(self.topic(), '#', qos=1).reasons, [0x80, 0x80])
        c.ping()


class Unsubscribe(Spec311Case):
    @spec('MQTT-3.10.1-1')
    def test_wrong_unsubscribe_flags_close(self):
        for flags in (0, 1, 3, 6, 10, 15):
            self.refused(mqtt3.unsubscribe(['a'], flags=flags))

    @spec('MQTT-3.10.3-2')
    def test_an_unsubscribe_without_a_filter_closes(self):
        self.refused(mqtt3.unsubscribe([]))

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

    @spec('MQTT-3.10.4-1', 'MQTT-3.10.4-2')
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

    @spec('MQTT-3.10.4-2')
    def test_unsubscribe_reaches_the_stored_session(self):
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=1)
        c.unsubscribe(self.topic())
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'', 1)
        c = self.client(clean=False, session_present=True)
        self.expect_nothing_from(pub, c)

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
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=2)
        self.client('pub').publish(self.topic(), b'x', 2)
        first = c.expect(PUBLISH)
        c.unsubscribe(self.topic())
        c.disconnect()
        c = self.client(clean=False, session_present=True)
        c.message(self.topic(), b'x', mid=first.mid, dup=True)

    @spec('MQTT-3.10.4-4', 'MQTT-3.10.4-5')
    def test_what_was_not_subscribed_is_acknowledged_too(self):
        c = self.client()
        for mid in (1, 2, 9999):
            c.unsubscribe(self.topic('never'), mid=mid)

    @spec('MQTT-3.10.4-6', 'MQTT-3.10.4-4')
    def test_one_packet_unsubscribes_many_filters(self):
        topics = [self.topic(str(i)) for i in range(5)]
        sub = self.subscriber(*topics)
        sub.unsubscribe(topics[3], self.topic('never'), topics[0], topics[0])
        pub = self.client('pub')
        for topic in topics:
            pub.publish(topic, topic)
        got = [p.topic for p in self.fence(pub, sub)]
        self.assertEqual(got, [topics[1], topics[2], topics[4]])


class Ping(Spec311Case):
    @spec('MQTT-3.12.4-1')
    def test_pingreq_is_answered(self):
        c = self.client()
        for _ in range(5):
            c.send(mqtt.pingreq())
            self.assertEqual(c.expect(PINGRESP).raw, b'\xd0\0')

    @spec('MQTT-3.12.4-1')
    def test_each_of_many_pingreqs_is_answered(self):
        c = self.client()
        c.send(mqtt.pingreq() * 1000)
        for _ in range(1000):
            c.expect(PINGRESP)


class Disconnect(Spec311Case):
    @spec('MQTT-3.14.1-1')
    def test_reserved_bits_disconnect_and_publish_the_will(self):
        sub = self.subscriber(self.topic(), qos=1)
        for flags in (1, 2, 4, 8, 15):
            c = self.client(will=Will(self.topic(), b'will', 1))
            c.send(mqtt.disconnect(flags=flags))
            c.expect_close()
            sub.message(self.topic(), b'will')

    @spec('MQTT-3.14.4-3')
    def test_the_connection_ends_without_the_will(self):
        sub = self.subscriber(self.topic(), qos=1)
        self.client(will=Will(self.topic(), b'will', 1)).disconnect()
        self.expect_nothing_from(self.client('pub'), sub)

    @spec('MQTT-3.14.4-3')
    def test_nothing_after_disconnect_is_processed(self):
        sub = self.subscriber(self.topic(), qos=1)
        c = self.client(will=Will(self.topic(), b'will', 1))
        c.send(mqtt3.publish(self.topic(), b'before', 1, 1), mqtt.disconnect(),
               mqtt3.publish(self.topic(), b'after', 1, 2))
        sub.message(self.topic(), b'before')
        c.rest()
        self.expect_nothing_from(self.client('pub'), sub)
