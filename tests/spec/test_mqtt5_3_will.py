"""MQTT 5.0: the will message (3.1.2.5 ff., 3.1.3.2, 3.14.4)."""

import time

import mqtt
from mqtt import PUBLISH, Will
from spec import SpecCase, spec


class Wills(SpecCase):
    LONG = {'session_expiry_interval': 600}

    def watcher(self, qos=2, **kw):
        return self.subscriber(self.topic(), name='watch', qos=qos, **kw)

    @spec('MQTT-3.1.2-7', 'MQTT-3.1.2-8')
    def test_an_abrupt_end_publishes_the_will(self):
        sub = self.watcher()
        for leave in ('close', 'abort'):
            c = self.client(will=Will(self.topic(), leave))
            getattr(c, leave)()
            sub.message(self.topic(), leave, qos=0, retain=False)

    @spec('MQTT-3.1.2-8', 'MQTT-4.13.1-1')
    def test_a_protocol_error_publishes_the_will(self):
        sub = self.watcher()
        c = self.client(will=Will(self.topic(), b'broken'))
        c.send(mqtt.connect('x'))
        c.expect_close()
        sub.message(self.topic(), b'broken')

    @spec('MQTT-3.1.2-8')
    def test_a_malformed_packet_publishes_the_will(self):
        sub = self.watcher()
        c = self.client(will=Will(self.topic(), b'broken'))
        c.send(b'\x36\x05\0\1a\0\1')
        c.expect_close()
        sub.message(self.topic(), b'broken')

    @spec('MQTT-3.1.2-10', 'MQTT-3.14.4-3')
    def test_a_normal_disconnect_removes_the_will(self):
        sub = self.watcher()
        for data in (mqtt.disconnect(), mqtt.disconnect(0), mqtt.disconnect(0, {})):
            c = self.client(will=Will(self.topic(), b'never'))
            c.send(data)
            c.expect_close()
        self.expect_nothing_from(self.client('pub'), sub)

    def test_disconnect_with_will_publishes_it(self):
        sub = self.watcher()
        c = self.client(will=Will(self.topic(), b'asked for'))
        c.disconnect(0x04)
        sub.message(self.topic(), b'asked for')

    def test_any_other_disconnect_reason_publishes_it(self):
        sub = self.watcher()
        for reason in (0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99):
            c = self.client(will=Will(self.topic(), b'%d' % reason))
            c.disconnect(reason)
            sub.message(self.topic(), b'%d' % reason)

    @spec('MQTT-3.1.2-10')
    def test_the_will_is_published_once(self):
        sub = self.watcher()
        c = self.client(will=Will(self.topic(), b'once'), props=self.LONG)
        c.abort()
        sub.message(self.topic(), b'once')
        self.client(clean=False, session_present=True, props=self.LONG).disconnect()
        self.client(clean=False, session_present=True).abort()  # this connection has no will
        pub = self.client('pub')
        self.client(clean=False).disconnect()
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.1.2-12')
    def test_the_will_has_its_qos(self):
        sub = self.watcher()
        for qos in (0, 1, 2):
            self.client(will=Will(self.topic(), b'%d' % qos, qos)).abort()
            sub.message(self.topic(), b'%d' % qos, qos=qos)

    @spec('MQTT-3.1.2-14')
    def test_a_will_without_retain_is_not_retained(self):
        sub = self.watcher(rap=True)
        self.client(will=Will(self.topic(), b'passing')).abort()
        sub.message(self.topic(), b'passing', retain=False)
        late = self.subscriber(self.topic(), name='late')
        self.expect_nothing_from(self.client('pub'), late)

    @spec('MQTT-3.1.2-15')
    def test_a_will_with_retain_is_retained(self):
        sub = self.watcher(rap=True)
        self.client(will=Will(self.topic(), b'stays', 1, True)).abort()
        sub.message(self.topic(), b'stays', retain=True)
        self.subscriber(self.topic(), name='late').message(self.topic(), b'stays', retain=True)

    def test_an_empty_retained_will_removes_the_retained_message(self):
        pub = self.client('pub')
        pub.publish(self.topic(), b'old', 1, retain=True)
        sub = self.watcher(rh=2)
        self.client(will=Will(self.topic(), b'', 1, True)).abort()
        sub.message(self.topic(), b'')
        late = self.subscriber(self.topic(), name='late')
        self.expect_nothing_from(pub, late)

    @spec('MQTT-3.1.3-10')
    def test_every_property_of_the_will_is_published(self):
        sub = self.watcher()
        user = [('z', '1'), ('a', '2'), ('z', '3'), ('a', '2'), ('', '')]
        self.client(will=Will(self.topic(), 'payload', 1, False, {
            'payload_format_indicator': 1, 'message_expiry_interval': 900,
            'content_type': 'text/plain', 'response_topic': 'answer/here',
            'correlation_data': b'\0\xff', 'user_property': user})).abort()
        p = sub.message(self.topic(), 'payload')
        self.assertEqual(p.user, user)
        self.assertEqual(p.props['payload_format_indicator'], 1)
        self.assertEqual(p.props['content_type'], 'text/plain')
        self.assertEqual(p.props['response_topic'], 'answer/here')
        self.assertEqual(p.props['correlation_data'], b'\0\xff')
        self.assertIn(p.props['message_expiry_interval'], range(890, 901))

    def test_a_will_without_a_payload_is_published(self):
        sub = self.watcher()
        self.client(will=Will(self.topic(), b'')).abort()
        sub.message(self.topic(), b'')

    def test_takeover_publishes_the_will(self):
        sub = self.watcher()
        old = self.client(will=Will(self.topic(), b'taken over'))
        self.client()
        old.expect_close(0x8E)
        sub.message(self.topic(), b'taken over')

    def test_takeover_replaces_the_will_by_the_new_one(self):
        sub = self.watcher()
        old = self.client(will=Will(self.topic(), b'old'))
        new = self.client(will=Will(self.topic(), b'new'))
        old.expect_close(0x8E)
        sub.message(self.topic(), b'old')
        new.abort()
        sub.message(self.topic(), b'new')


class Delay(SpecCase):
    LONG = {'session_expiry_interval': 600}

    def watcher(self):
        return self.subscriber(self.topic(), name='watch')

    def delayed(self, seconds, payload=b'late', **kw):
        return Will(self.topic(), payload, props={'will_delay_interval': seconds}, **kw)

    @spec('MQTT-3.1.2-8')
    def test_the_will_waits_for_its_delay(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(2), props=self.LONG)
        began = time.monotonic()
        c.abort()
        p = sub.message(self.topic(), b'late')
        self.assertGreaterEqual(p.at - began, 1.9)

    @spec('MQTT-3.1.2-8')
    def test_the_end_of_the_session_ends_the_delay(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(600), props={'session_expiry_interval': 1})
        began = time.monotonic()
        c.abort()
        p = sub.message(self.topic(), b'late')
        self.assertGreaterEqual(p.at - began, 0.9)
        pub = self.client('pub')
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-3.1.2-8')
    def test_without_a_session_to_keep_there_is_no_delay(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(600))
        c.abort()
        sub.message(self.topic(), b'late')

    @spec('MQTT-3.1.3-9')
    def test_a_reconnect_in_time_suppresses_the_will(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(1), props=self.LONG)
        c.abort()
        again = self.client(clean=False, session_present=True, props=self.LONG)
        sub.quiet(2)
        again.ping()

    @spec('MQTT-3.1.3-9')
    def test_a_takeover_in_time_suppresses_the_will(self):
        sub = self.watcher()
        old = self.client(will=self.delayed(1), props=self.LONG)
        self.client(clean=False, session_present=True, props=self.LONG)
        old.expect_close(0x8E)
        sub.quiet(2)

    def test_a_clean_start_ends_the_session_and_publishes_the_will(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(600), props=self.LONG)
        c.abort()
        self.client(clean=True, session_present=False)
        sub.message(self.topic(), b'late')

    def test_a_clean_start_takeover_publishes_the_delayed_will(self):
        sub = self.watcher()
        old = self.client(will=self.delayed(600), props=self.LONG)
        self.client(clean=True, session_present=False)
        old.expect_close(0x8E)
        sub.message(self.topic(), b'late')

    def test_disconnect_with_will_waits_for_the_delay_too(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(2), props=self.LONG)
        began = time.monotonic()
        c.disconnect(0x04)
        self.assertGreaterEqual(sub.message(self.topic(), b'late').at - began, 1.9)

    def test_disconnect_with_will_and_expiry_0_publishes_at_once(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(600), props=self.LONG)
        c.disconnect(0x04, {'session_expiry_interval': 0})
        sub.message(self.topic(), b'late')

    def test_a_normal_disconnect_removes_a_delayed_will(self):
        sub = self.watcher()
        c = self.client(will=self.delayed(1), props=self.LONG)
        c.disconnect()
        sub.quiet(2)

    def test_the_expiry_interval_of_a_will_begins_when_it_is_published(self):
        sub = self.watcher()
        will = Will(self.topic(), b'late', props={'will_delay_interval': 2,
                                                  'message_expiry_interval': 100})
        self.client(will=will, props=self.LONG).abort()
        p = sub.message(self.topic(), b'late')
        self.assertIn(p.props['message_expiry_interval'], (99, 100))

    def test_a_will_goes_to_offline_sessions_and_shared_subscribers(self):
        off = self.client('off', props=self.LONG)
        off.subscribe(self.topic(), qos=1)
        off.disconnect()
        shared = self.subscriber(f'$share/g/{self.topic()}', name='member')
        self.client(will=Will(self.topic(), b'will', 1)).abort()
        shared.message(self.topic(), b'will')
        off = self.client('off', clean=False, session_present=True)
        off.message(self.topic(), b'will', qos=1)


class WillErrors(SpecCase):
    def test_a_will_topic_with_wildcards_or_none_is_refused(self):
        for topic in ('a/#', '+', '#', 'a+', ''):
            with self.subTest(topic=topic):
                self.refused_connect(mqtt.connect(self.id('x'), will=Will(topic)),
                                     0x81, 0x82, 0x90)

    def test_a_will_response_topic_with_wildcards_is_never_published(self):
        sub = self.subscriber(self.topic())
        c = self.raw(self.id('x'), will=Will(self.topic(), props={'response_topic': 'a/#'}))
        c.send_connect()
        try:
            if c.expect(mqtt.CONNACK).reason:
                return
        except mqtt.Closed:
            return
        c.abort()
        for p in self.fence(self.client('pub'), sub):
            self.assertEqual(p.type, PUBLISH)  # the parser refuses the response topic
