"""MQTT 3.1.1 section 4.7 topic names and filters."""

import mqtt3
from spec import Spec311Case, spec
from test_mqtt5_4_topics import MATCHES


class Matching(Spec311Case):
    @spec('MQTT-3.3.2-3', 'MQTT-4.7.1-2', 'MQTT-4.7.1-3')
    def test_the_matching_matrix(self):
        pub = self.client('pub')
        stem = f'm{self.id("x")[-8:]}'
        for name, yes, no in MATCHES:
            name = name.format(stem)
            sub = self.subscriber(name)
            for topic in no:
                pub.publish(topic.format(stem), b'no')
            for topic in yes:
                pub.publish(topic.format(stem), b'yes')
            for topic in yes:
                with self.subTest(filter=name, topic=topic):
                    sub.message(topic.format(stem), b'yes')
            sub.disconnect()

    @spec('MQTT-3.3.1-6', 'MQTT-4.7.1-2', 'MQTT-4.7.1-3')
    def test_retained_messages_match_alike(self):
        pub = self.client('pub')
        stem = f'r{self.id("x")[-8:]}'
        topics = sorted({t for _, yes, no in MATCHES for t in yes + no})
        for topic in topics:
            pub.publish(topic.format(stem), topic, 1, retain=True)
        for name, yes, no in MATCHES:
            sub = self.subscriber(name.format(stem))
            got = sorted(p.payload.decode() for p in self.fence(pub, sub))
            with self.subTest(filter=name):
                for topic in yes:
                    self.assertIn(topic, got)
                for topic in no:
                    self.assertNotIn(topic, got)
            sub.disconnect()
        for topic in topics:
            pub.publish(topic.format(stem), b'', 1, retain=True)

    @spec('MQTT-4.7.2-1')
    def test_wildcards_at_the_start_do_not_match_dollar_topics(self):
        c = self.client()
        c.subscribe('#', '+/#', '+/broker/#', '+/broker/uptime')
        for p in c.drain():
            self.assertFalse(p.topic.startswith('$'), p)

    @spec('MQTT-4.7.2-1')
    def test_dollar_inside_a_topic_is_ordinary(self):
        sub = self.subscriber(self.topic('+'))
        self.client('pub').publish(self.topic('$x'), b'')
        sub.message(self.topic('$x'))

    @spec('MQTT-4.7.3-3')
    def test_topics_of_65535_bytes_are_well_formed(self):
        c = self.client()
        topic = 'x' * 65535
        if c.subscribe(topic).reasons[0] == 0x80:
            self.skipTest('the broker does not grant such a filter')
        c.publish(topic, b'long', 1)
        c.message(topic, b'long')

    @spec('MQTT-4.7.3-4')
    def test_nothing_is_normalized(self):
        sub = self.subscriber(self.topic('é'), self.topic('A'), self.topic('a b'),
                              self.topic('x/./y'))
        pub = self.client('pub')
        for other in ('e\u0301', 'a', 'a b ', 'x/y', 'E\u0301', 'Å'):
            pub.publish(self.topic(other), b'other')
        pub.publish(self.topic('é'), b'same')
        sub.message(self.topic('é'), b'same')

    @spec('MQTT-4.7.1-1')
    def test_a_message_to_a_wildcard_reaches_nobody(self):
        sub = self.subscriber(self.topic('#'))
        self.refused(mqtt3.publish(self.topic('+'), b'x'))
        self.refused(mqtt3.publish(self.topic('#'), b'x'))
        self.expect_nothing_from(self.client('pub'), sub)

    def test_many_levels(self):
        sub = self.subscriber(self.topic('#'))
        topic = self.topic(*['l'] * 90)
        self.client('pub').publish(topic, b'')
        sub.message(topic)
