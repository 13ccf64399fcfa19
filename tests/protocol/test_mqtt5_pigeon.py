"""Pigeon's choices where MQTT leaves one: limits, shared subscriptions, versions, shutdown."""

import os
import signal
import time

import mqtt
from broker import BrokerCase, Broker, KIND, pigeon_only, plugin_dirs
from mqtt import PUBACK, PUBLISH, PUBREC, PUBREL, V31, V311, Will

LONG = {'session_expiry_interval': 600}


class SharedByPigeon(BrokerCase):
    def group(self):
        return f'$share/g/{self.topic()}'

    def spread(self, members, n, qos=1):
        """How many of n messages each member got."""
        pub = self.client('pub')
        for i in range(n):
            pub.publish(self.topic(), b'%d' % i, qos)
        got = [[int(p.payload) for p in self.fence(pub, m) if p.type == PUBLISH] for m in members]
        self.assertEqual(sorted(x for g in got for x in g), list(range(n)))
        for g in got:
            self.assertEqual(g, sorted(g))
        return [len(g) for g in got]

    def test_messages_go_round(self):
        members = [self.subscriber(self.group(), name=f'm{i}', qos=1) for i in range(3)]
        counts = self.spread(members, 30)
        self.assertLessEqual(max(counts) - min(counts), 2, counts)

    @pigeon_only
    def test_an_offline_member_is_passed_over(self):
        away = self.subscriber(self.group(), name='away', qos=1, props=LONG)
        here = self.subscriber(self.group(), name='here', qos=1)
        away.disconnect()
        self.assertEqual(self.spread([here], 10), [10])
        away = self.client('away', clean=False, session_present=True)
        self.expect_nothing_from(self.client('pub'), away)

    @pigeon_only
    def test_qos_1_of_a_member_that_went_away_goes_to_another(self):
        a = self.subscriber(self.group(), name='a', qos=1)
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 1)
        a.expect(PUBLISH, payload=b'x')
        b = self.subscriber(self.group(), name='b', qos=1)
        a.abort()
        b.message(self.topic(), b'x')

    def test_members_of_every_version_share(self):
        members = [self.subscriber(self.group(), name=f'm{v}', qos=1, version=v)
                   for v in (V31, V311, 5)]
        counts = self.spread(members, 30)
        self.assertGreater(min(counts), 0, counts)

    @pigeon_only
    def test_invalid_shared_filters_of_3_1_1_fail(self):
        c = self.client(version=V311)
        for name in ('$share/g', '$share//a', '$share/g/', '$share/+/a'):
            self.assertEqual(c.subscribe(name).reasons, [0x80])
        c.ping()

    def test_a_shared_member_resumes_its_membership(self):
        c = self.subscriber(self.group(), name='c', qos=1, props=LONG)
        c.disconnect()
        c = self.client('c', clean=False, session_present=True)
        self.client('pub').publish(self.topic(), b'x', 1)
        c.message(self.topic(), b'x')


class Interop(BrokerCase):
    def test_a_3_1_1_message_reaches_an_mqtt_5_subscriber_without_properties(self):
        sub = self.subscriber(self.topic(), qos=2, sub_props={'subscription_identifier': 4})
        pub = self.client('pub', version=V311)
        for qos in (0, 1, 2):
            pub.publish(self.topic(), b'x', qos)
            self.assertEqual(sub.message(self.topic(), b'x', qos=qos).props,
                             {'subscription_identifier': [4]})

    def test_an_mqtt_5_message_reaches_older_subscribers_without_properties(self):
        pub = self.client('pub')
        props = {'content_type': 'c', 'user_property': [('a', 'b')], 'response_topic': 'r',
                 'message_expiry_interval': 100}
        for version in (V31, V311):
            sub = self.subscriber(self.topic(), version=version, qos=1)
            pub.publish(self.topic(), b'x', 1, props=props)
            p = sub.message(self.topic(), b'x', qos=1)
            self.assertEqual(p.raw, mqtt.publish(self.topic(), b'x', 1, p.mid, version=V311))

    def test_expiry_holds_for_older_subscribers(self):
        c = self.client(version=V311, clean=False)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'gone', 1, props={'message_expiry_interval': 1})
        pub.publish(self.topic(), b'here', 1)
        pub.quiet(2.2)
        c = self.client(version=V311, clean=False, session_present=True)
        c.message(self.topic(), b'here')
        c.disconnect()
        self.forget('c')

    def test_a_session_changes_the_version(self):
        c = self.client(version=V311, clean=False)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'1', 1, props={'content_type': 'c'})
        c = self.client(version=5, clean=False, session_present=True, props=LONG)
        self.assertEqual(c.message(self.topic(), b'1').props.get('content_type'), 'c')
        c.disconnect()
        pub.publish(self.topic(), b'2', 1, props={'content_type': 'c'})
        c = self.client(version=V311, clean=False, session_present=True)
        c.message(self.topic(), b'2')
        c.disconnect()
        self.forget('c')

    def test_takeover_between_versions(self):
        old = self.client(version=V311)
        new = self.client(version=5)
        old.expect_close()
        newest = self.client(version=V31)
        new.expect_close(0x8E)
        newest.ping()

    def test_wills_cross_versions(self):
        subs = [self.subscriber(self.topic(), name=f's{v}', qos=1, version=v) for v in (V31, 5)]
        for version in (V31, V311, 5):
            payload = b'%d' % version
            self.client('c', version=version, will=Will(self.topic(), payload, 1)).abort()
            for sub in subs:
                sub.message(self.topic(), payload, qos=1)

    def test_retained_messages_cross_versions(self):
        for version in (V31, V311, 5):
            payload = b'%d' % version
            self.client('pub', version=version).publish(self.topic(), payload, 1, retain=True)
            for other in (V31, V311, 5):
                sub = self.subscriber(self.topic(), version=other)
                sub.message(self.topic(), payload, retain=True)

    def test_3_1_1_subscribers_get_live_retained_messages_without_the_flag(self):
        sub = self.subscriber(self.topic(), version=V311)
        self.client('pub').publish(self.topic(), b'r', retain=True)
        sub.message(self.topic(), b'r', retain=False)


@pigeon_only
class Limits(BrokerCase):
    options = {
        'limits': {'max_keepalive': '2s', 'session_expiry': '2s', 'subscriptions_per_client': 3,
                   'filters_per_packet': 5, 'retained_messages': 2, 'queue_messages': 5,
                   'topic_levels': 10},
        'response_information': 'answers/here', 'check_payload_format': True,
        'connect_timeout': '2s'}

    def test_a_longer_keep_alive_is_replaced_and_enforced(self):
        for asked in (0, 60000):
            c = self.raw(self.id('c'), keepalive=asked)
            began = time.monotonic()
            c.connect()
            self.assertEqual(c.connack.props.get('server_keep_alive'), 2)
            c.expect_close(0x8D, required=True)
            self.assertGreaterEqual(time.monotonic() - began, 2.9)
            self.assertLessEqual(time.monotonic() - began, 4)

    def test_a_longer_session_expiry_is_replaced(self):
        c = self.client(props={'session_expiry_interval': 1000})
        self.assertEqual(c.connack.props.get('session_expiry_interval'), 2)
        c.disconnect()
        self.client('clock').expect_close(0x8D, timeout=8)
        self.client(clean=False, session_present=False)

    def test_a_subscription_too_many_gets_0x97(self):
        c = self.client()
        topics = [self.topic(str(i)) for i in range(5)]
        self.assertEqual(c.subscribe(*topics).reasons, [0, 0, 0, 0x97, 0x97])
        self.assertEqual(c.subscribe(topics[0], qos=1).reasons, [1])
        c.unsubscribe(topics[0])
        self.assertEqual(c.subscribe(topics[4]).reasons, [0])
        old = self.client('old', version=V311)
        self.assertEqual(old.subscribe(*topics[:4]).reasons, [0, 0, 0, 0x80])

    def test_a_filter_too_many_gets_0x97(self):
        c = self.client()
        reasons = c.subscribe(*[self.topic('a')] * 6).reasons
        self.assertEqual(reasons[5], 0x97)

    def test_response_information_is_returned_when_asked_for(self):
        c = self.client(props={'request_response_information': 1})
        self.assertIn('answers/here', c.connack.props.get('response_information', ''))
        self.client('d')

    def test_a_payload_that_is_not_the_text_it_says_gets_0x99(self):
        c = self.client()
        text = {'payload_format_indicator': 1}
        self.assertEqual(c.publish(self.topic(), b'\xff', 1, props=text), 0x99)
        self.assertEqual(c.publish(self.topic(), b'\xff', 2, props=text), 0x99)
        self.assertLess(c.publish(self.topic(), b'\xff', 1), 0x80)
        self.assertLess(c.publish(self.topic(), 'é', 1, props=text), 0x80)

    def test_a_retained_message_too_many_gets_0x97(self):
        c = self.client()
        topics = [self.topic(str(i)) for i in range(3)]
        for topic in topics[:2]:
            self.assertLess(c.publish(topic, b'r', 1, retain=True), 0x80)
        self.assertEqual(c.publish(topics[2], b'r', 1, retain=True), 0x97)
        self.assertLess(c.publish(topics[0], b'changed', 1, retain=True), 0x80)
        for topic in topics:
            c.publish(topic, b'', 1, retain=True)

    def test_a_full_queue_drops_the_newest(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        for i in range(8):
            pub.publish(self.topic(), b'%d' % i, 1)
        c = self.client(clean=False, session_present=True)
        for i in range(5):
            c.message(self.topic(), b'%d' % i)
        self.expect_nothing_from(pub, c)

    def test_more_levels_than_the_limit_are_refused(self):
        ok, deep = '/'.join('a' * 10), '/'.join('a' * 11)
        c = self.client()
        self.assertEqual(c.subscribe(ok).reasons, [0])
        self.assertLess(c.publish(ok, b'', 1), 0x80)
        self.assertGreaterEqual(c.subscribe(deep).reasons[0], 0x80)
        c.send(mqtt.publish(deep, b'', 1, 9))
        try:
            self.assertGreaterEqual(c.wait(PUBACK, mid=9).reason, 0x80)
        except mqtt.Closed:
            pass

    def test_a_connection_without_connect_is_closed_in_time(self):
        for data in (b'', b'\x10', mqtt.connect(self.id('x'))[:-1]):
            with self.subTest(data=data):
                c = self.raw()
                began = time.monotonic()
                c.send(data)
                c.rest()
                self.assertGreaterEqual(time.monotonic() - began, 1.9)
                self.assertLessEqual(time.monotonic() - began, 4)


@pigeon_only
class DropOldest(BrokerCase):
    options = {'limits': {'queue_messages': 5, 'queue_policy': 'drop_oldest'}, 'queue_qos0': True}

    def test_a_full_queue_drops_the_oldest(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        for i in range(8):
            pub.publish(self.topic(), b'%d' % i, 1)
        c = self.client(clean=False, session_present=True)
        for i in range(3, 8):
            c.message(self.topic(), b'%d' % i)
        self.expect_nothing_from(pub, c)

    def test_qos_0_is_queued_when_configured(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 0)
        pub.ping()
        self.client(clean=False, session_present=True).message(self.topic(), b'x', qos=0)


@pigeon_only
class QoS0Offline(BrokerCase):
    def test_qos_0_is_not_queued_by_default(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 0)
        pub.publish(self.topic(), b'y', 1)
        self.client(clean=False, session_present=True).message(self.topic(), b'y', qos=1)


@pigeon_only
class Shutdown(BrokerCase):
    def test_sigterm_tells_everybody_and_ends_with_0(self):
        clients = [self.client(f'c{v}', version=v) for v in (V31, V311, 5)]
        began = time.monotonic()
        os.kill(self.broker.pid, signal.SIGTERM)
        clients[2].expect_close(0x8B, required=True)
        for c in clients[:2]:
            c.expect_close()
        self.assertEqual(self.broker.stop(term=False), 0)
        self.assertLess(time.monotonic() - began, 5)
        self.broker.start()
        self.client('again').ping()

    def test_what_was_acknowledged_before_sigterm_was_delivered(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.client('pub')
        for i in range(50):
            pub.publish(self.topic(), b'%d' % i, 1)
        os.kill(self.broker.pid, signal.SIGTERM)
        for i in range(50):
            sub.expect(PUBLISH, payload=b'%d' % i)
        self.assertEqual(self.broker.stop(term=False), 0)
        self.broker.start()


def durable_store():
    """A store that survives a restart, or None."""
    if KIND != 'pigeon':
        return None
    given = os.environ.get('PIGEON_TEST_STORE')
    if given and given != 'memory':
        return given
    root = Broker.binary()
    found = any(os.path.exists(os.path.join(d, 'store-sqlite.so')) for d in plugin_dirs(root))
    return 'sqlite' if found else None


class Restart(BrokerCase):
    options = {'persistence': durable_store() or 'memory', 'restart_grace': '0s'}

    def setUp(self):
        super().setUp()
        if durable_store() is None:
            self.skipTest('no durable store')

    def test_sessions_and_messages_survive(self):
        for crash in (False, True):
            with self.subTest(crash=crash):
                self.survive(crash)

    def survive(self, crash):
        c = self.client(props=LONG)
        c.subscribe(self.topic('q'), qos=2, props={'subscription_identifier': 5})
        pub = self.client('pub', props=LONG)
        for i in range(3):
            pub.publish(self.topic('q'), b'%d' % i, 2)
        first = [c.expect(PUBLISH, payload=b'%d' % i) for i in range(3)]
        c.send(mqtt.ack(PUBREC, first[0].mid))
        c.expect(PUBREL, mid=first[0].mid)
        c.disconnect()
        for i in range(3, 6):
            pub.publish(self.topic('q'), b'%d' % i, 1, props={'content_type': 'c'})
        pub.publish(self.topic('r'), b'kept', 1, retain=True)
        pub.send(mqtt.publish(self.topic('q'), b'6', 2, 900))
        pub.expect(PUBREC, mid=900)
        self.broker.restart(crash)
        pub = self.client('pub', clean=False, session_present=True)
        pub.send(mqtt.publish(self.topic('q'), b'6', 2, 900, dup=True))
        pub.expect(PUBREC, mid=900)
        pub.send(mqtt.ack(PUBREL, 900))
        pub.expect(mqtt.PUBCOMP, mid=900, reason=0)
        c = self.client(clean=False, session_present=True)
        got = [c.recv() for _ in range(7)]
        self.assertEqual([p.mid for p in got if p.type == PUBREL], [first[0].mid])
        publishes = [p for p in got if p.type == PUBLISH]
        self.assertEqual([p.payload for p in publishes], [b'1', b'2', b'3', b'4', b'5', b'6'])
        self.assertEqual([p.dup for p in publishes[:2]], [True, True])
        self.assertEqual([p.mid for p in publishes[:2]], [p.mid for p in first[1:]])
        self.assertTrue(all(p.sub_ids == [5] for p in publishes))
        self.assertEqual(publishes[2].props.get('content_type'), 'c')
        late = self.subscriber(self.topic('r'))
        late.message(self.topic('r'), b'kept', retain=True)
        c.disconnect(0, {'session_expiry_interval': 0})

    def test_the_time_away_counts_for_expiry(self):
        c = self.client(props={'session_expiry_interval': 1})
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        long = self.client('long', props=LONG)
        long.subscribe(self.topic(), qos=1)
        long.disconnect()
        pub = self.client('pub')
        pub.publish(self.topic(), b'gone', 1, props={'message_expiry_interval': 1})
        pub.publish(self.topic(), b'here', 1, props={'message_expiry_interval': 100})
        self.broker.restart(crash=True)
        self.client('clock').quiet(2.2)
        self.client(clean=False, session_present=False)
        long = self.client('long', clean=False, session_present=True)
        p = long.message(self.topic(), b'here')
        self.assertLessEqual(p.props['message_expiry_interval'], 98)

    def test_the_will_of_a_client_lost_in_a_crash_is_published(self):
        sub = self.client('sub', props=LONG)
        sub.subscribe(self.topic(), qos=1)
        self.client(will=Will(self.topic(), b'crash', 1), props=LONG)
        self.broker.restart(crash=True)
        sub = self.client('sub', clean=False, session_present=True)
        sub.message(self.topic(), b'crash')
