"""MQTT 5.0 sections 4.7 topic names and filters, 4.8 subscriptions."""

import mqtt
from mqtt import PUBLISH, SUBACK, UNSUBACK
from spec import SpecCase, spec

# filter, topics that match, topics that do not
MATCHES = [
    ('{}', ['{}'], ['{}/', '/{}', '{}/a', '{}x']),
    ('{}/#', ['{}', '{}/', '{}/a', '{}/a/b', '{}//', '{}/a/b/c/d'], ['{}x', '/{}', '{}x/a']),
    ('{}/+', ['{}/', '{}/a', '{}/$a'], ['{}', '{}/a/b', '{}/a/', '{}//']),
    ('{}/+/b', ['{}/a/b', '{}//b'], ['{}/b', '{}/a/b/', '{}/a/c', '{}/a/a/b']),
    ('{}/+/#', ['{}/', '{}/a', '{}/a/b', '{}//b'], ['{}']),
    ('{}/+/+', ['{}//', '{}/a/', '{}//b', '{}/a/b'], ['{}/a', '{}/a/b/c']),
    ('{}/a/#', ['{}/a', '{}/a/', '{}/a/x'], ['{}', '{}/', '{}/ab', '{}/b']),
    ('+/{}', ['/{}', 'a/{}'], ['{}', 'a/b/{}', '{}/a']),
    ('+/+/{}', ['//{}', 'a/b/{}'], ['a/{}', '/{}', '{}']),
    ('/{}', ['/{}'], ['{}', '//{}']),
    ('/+/{}', ['/a/{}', '//{}'], ['a/{}', '/{}']),
    ('{}/a b/ü', ['{}/a b/ü'], ['{}/a b/u', '{}/A b/ü', '{}/a  b/ü']),
    ('{}//#', ['{}/', '{}//', '{}//a'], ['{}', '{}/a']),
]


class Matching(SpecCase):
    @spec('MQTT-3.3.2-3', 'MQTT-4.7.1-1', 'MQTT-4.7.1-2')
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

    @spec('MQTT-3.3.2-3', 'MQTT-4.7.1-1', 'MQTT-4.7.1-2')
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
        got = c.drain()
        for p in got:
            self.assertFalse(p.topic.startswith('$'), p)

    @spec('MQTT-4.7.2-1')
    def test_dollar_inside_a_topic_is_ordinary(self):
        sub = self.subscriber(self.topic('+'))
        self.client('pub').publish(self.topic('$x'), b'')
        sub.message(self.topic('$x'))

    @spec('MQTT-4.7.3-3')
    def test_topics_of_65535_bytes_are_well_formed(self):
        c = self.client()
        limit = c.connack.props.get('maximum_packet_size', 268435455)
        if limit < 70000:
            self.skipTest('the broker takes no such packets')
        topic = 'x' * 65535
        if c.subscribe(topic).reasons[0] >= 0x80:
            self.skipTest('the broker does not grant such a filter')
        self.assertLess(c.publish(topic, b'long', 1), 0x80)
        c.message(topic, b'long')

    @spec('MQTT-4.7.3-4')
    def test_nothing_is_normalized(self):
        sub = self.subscriber(self.topic('é'), self.topic('A'), self.topic('a b'),
                              self.topic('x/./y'))
        pub = self.client('pub')
        for other in ('e\u0301', 'a', 'a+b'.replace('+', ' ') + ' ', 'x/y', 'E\u0301', 'Å'):
            pub.publish(self.topic(other), b'other')
        pub.publish(self.topic('é'), b'same')
        sub.message(self.topic('é'), b'same')

    def test_many_levels(self):
        sub = self.subscriber(self.topic('#'))
        topic = self.topic(*['l'] * 90)
        self.client('pub').publish(topic, b'')
        sub.message(topic)


class Shared(SpecCase):
    LONG = {'session_expiry_interval': 600}

    def group(self, name='g', topic=None):
        return f'$share/{name}/{topic or self.topic()}'

    def members(self, n, qos=1, **kw):
        return [self.subscriber(self.group(), name=f'm{i}', qos=qos, **kw) for i in range(n)]

    def collected(self, pub, members):
        """Payloads that each member has received by now."""
        return [[p.payload for p in self.fence(pub, m) if p.type == PUBLISH] for m in members]

    @spec('MQTT-4.8.2-1', 'MQTT-4.8.2-2')
    def test_malformed_shared_filters_are_refused(self):
        for name in ('$share/', '$share/g', '$share//a', '$share/g/', '$share/g+/a', '$share/#/a',
                     '$share/g#/a', '$share/+/a', '$share/g/a#', '$share/g/#/b', '$share/g/a+'):
            for build, answer in ((mqtt.subscribe([(name, 0)]), SUBACK),
                                  (mqtt.unsubscribe([name]), UNSUBACK)):
                with self.subTest(filter=name, packet=mqtt.NAMES[answer]):
                    c = self.client()
                    c.send(build)
                    try:
                        p = c.recv()
                    except mqtt.Closed:
                        continue
                    if p.type == answer:
                        if answer == SUBACK:
                            self.assertGreaterEqual(p.reasons[0], 0x80)
                    else:
                        self.assertIn(p.reason, (0x81, 0x82, 0x8F, 0x9E))

    @spec('MQTT-4.8.2-1')
    def test_each_message_goes_to_one_member(self):
        members = self.members(3)
        pub = self.client('pub')
        for i in range(30):
            pub.publish(self.topic(), b'%d' % i, 1)
        got = self.collected(pub, members)
        self.assertEqual(sorted(int(x) for g in got for x in g), list(range(30)))

    def test_every_group_and_every_plain_subscriber_gets_a_copy(self):
        a = self.subscriber(self.group('a'), name='a')
        b = self.subscriber(self.group('b'), name='b')
        plain = self.subscriber(self.topic(), name='plain')
        pub = self.client('pub')
        for i in range(5):
            pub.publish(self.topic(), b'%d' % i)
            for sub in (a, b, plain):
                sub.message(self.topic(), b'%d' % i)

    def test_groups_differ_by_filter_too(self):
        a = self.subscriber(self.group(), name='a')
        b = self.subscriber(self.group(topic=self.topic('#')), name='b')
        pub = self.client('pub')
        pub.publish(self.topic(), b'')
        a.message(self.topic())
        b.message(self.topic())

    def test_a_plain_and_a_shared_subscription_of_one_client_are_two(self):
        c = self.client()
        c.subscribe(self.topic(), qos=1)
        c.subscribe(self.group(), qos=1)
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 1)
        got = self.fence(pub, c)
        self.assertIn(len(got), (1, 2))
        for p in got:
            c.acknowledge(p)
        self.assertEqual(c.unsubscribe(self.topic()).reasons, [0])
        pub.publish(self.topic(), b'y', 1)
        c.message(self.topic(), b'y')
        self.assertEqual(c.unsubscribe(self.group()).reasons, [0])
        pub.publish(self.topic(), b'z', 1)
        self.expect_nothing_from(pub, c)

    @spec('MQTT-4.8.2-3')
    def test_the_qos_granted_to_the_chosen_member_is_respected(self):
        pub = self.client('pub')
        for granted in (0, 1, 2):
            m = self.subscriber(self.group(), name='m', qos=granted)
            for published in (0, 1, 2):
                pub.publish(self.topic(), b'', published)
                m.message(self.topic(), qos=min(granted, published))
            m.disconnect()

    def test_a_member_that_left_gets_nothing_more(self):
        a, b = self.members(2)
        a.unsubscribe(self.group())
        pub = self.client('pub')
        for i in range(10):
            pub.publish(self.topic(), b'%d' % i, 1)
            b.message(self.topic(), b'%d' % i)
        self.expect_nothing_from(pub, a)

    @spec('MQTT-4.8.2-4')
    def test_qos_2_begun_is_completed_with_the_same_member(self):
        a = self.subscriber(self.group(), name='a', qos=2, props=self.LONG)
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 2)
        first = a.expect(PUBLISH, qos=2)
        b = self.subscriber(self.group(), name='b', qos=2)
        a.disconnect()
        self.expect_nothing_from(pub, b)
        a = self.client('a', clean=False, session_present=True)
        a.message(self.topic(), b'x', mid=first.mid, dup=True)
        self.expect_nothing_from(pub, b)

    @spec('MQTT-4.8.2-5')
    def test_qos_2_of_a_session_that_ended_goes_to_nobody(self):
        a = self.subscriber(self.group(), name='a', qos=2, props=self.LONG)
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 2)
        a.expect(PUBLISH, qos=2)
        b = self.subscriber(self.group(), name='b', qos=2)
        a.disconnect(0, {'session_expiry_interval': 0})
        self.client('a', clean=False, session_present=False)
        self.expect_nothing_from(pub, b)

    @spec('MQTT-4.8.2-6')
    def test_a_refused_message_goes_to_nobody_else(self):
        a = self.subscriber(self.group(), name='a', qos=2)
        pub = self.client('pub')
        held = []
        for qos in (1, 2):
            pub.publish(self.topic(), b'%d' % qos, qos)
            held.append(a.expect(PUBLISH, qos=qos))
        b = self.subscriber(self.group(), name='b', qos=2)
        a.send(mqtt.ack(mqtt.PUBACK, held[0].mid, 0x80), mqtt.ack(mqtt.PUBREC, held[1].mid, 0x83))
        a.ping()
        self.expect_nothing_from(pub, b)
        self.expect_nothing_from(pub, a)

    def test_the_subscription_identifier_of_a_shared_subscription_is_sent(self):
        m = self.subscriber(self.group(), name='m', sub_props={'subscription_identifier': 33})
        self.client('pub').publish(self.topic(), b'')
        self.assertEqual(m.message(self.topic()).sub_ids, [33])

    def test_an_offline_member_alone_keeps_the_messages(self):
        a = self.subscriber(self.group(), name='a', qos=1, props=self.LONG)
        a.disconnect()
        pub = self.client('pub')
        for i in range(5):
            pub.publish(self.topic(), b'%d' % i, 1)
        a = self.client('a', clean=False, session_present=True)
        for i in range(5):
            a.message(self.topic(), b'%d' % i)

    def test_retain_as_published_of_a_shared_subscription(self):
        m = self.subscriber(self.group(), name='m', rap=True)
        self.client('pub').publish(self.topic(), b'r', retain=True)
        m.message(self.topic(), b'r', retain=True)
