"""MQTT 3.1.1 sections 4.1 state, 4.3 quality of service, 4.4 retry, 4.5 receipt, 4.6 ordering."""

import mqtt
import mqtt3
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from spec import Spec311Case, spec


class Receiver(Spec311Case):
    """The server receives."""

    @spec('MQTT-4.3.2-2')
    def test_after_puback_the_same_identifier_is_a_new_message(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.client('pub')
        for dup in (False, True, False, True):
            pub.send(mqtt3.publish(self.topic(), b'', 1, 5, dup=dup))
            pub.expect(PUBACK, mid=5)
            sub.message(self.topic(), qos=1, dup=False)

    @spec('MQTT-4.3.3-2')
    def test_until_pubrel_a_repeated_publish_is_a_duplicate(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for dup in (False, True, True):
            pub.send(mqtt3.publish(self.topic(), b'once', 2, 5, dup=dup))
            pub.expect(PUBREC, mid=5)
        pub.send(mqtt.ack(PUBREL, 5))
        pub.expect(PUBCOMP, mid=5)
        sub.message(self.topic(), b'once', qos=2)
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-4.3.3-2', 'MQTT-4.1.0-1')
    def test_received_identifiers_are_kept_with_the_session(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub', clean=False)
        pub.send(mqtt3.publish(self.topic(), b'once', 2, 5))
        pub.expect(PUBREC, mid=5)
        pub.disconnect()
        pub = self.client('pub', clean=False, session_present=True)
        pub.send(mqtt3.publish(self.topic(), b'once', 2, 5, dup=True))
        pub.expect(PUBREC, mid=5)
        pub.abort()
        pub = self.client('pub', clean=False, session_present=True)
        pub.send(mqtt.ack(PUBREL, 5))
        pub.expect(PUBCOMP, mid=5)
        sub.message(self.topic(), b'once')
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-4.3.3-2')
    def test_after_pubcomp_the_same_identifier_is_a_new_message(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for dup in (False, True, False):
            pub.publish(self.topic(), b'', 2, mid=5, dup=dup)
            sub.message(self.topic(), qos=2, dup=False)

    @spec('MQTT-4.3.3-2')
    def test_a_repeated_pubrel_is_answered_again(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        pub.publish(self.topic(), b'x', 2, mid=5)
        for _ in range(3):
            pub.send(mqtt.ack(PUBREL, 5))
            pub.expect(PUBCOMP, mid=5)
        sub.message(self.topic(), b'x')
        self.expect_nothing_from(pub, sub)

    def test_handshakes_of_many_identifiers_interleave(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for i in range(1, 16):
            pub.send(mqtt3.publish(self.topic(), b'%d' % i, 2, i))
        for i in range(1, 16):
            pub.expect(PUBREC, mid=i)
        for i in range(15, 0, -1):
            pub.send(mqtt.ack(PUBREL, i))
        for i in range(15, 0, -1):
            pub.expect(PUBCOMP, mid=i)
        got = [int(sub.message(self.topic()).payload) for _ in range(15)]
        self.assertEqual(sorted(got), list(range(1, 16)))


class Sender(Spec311Case):
    """The server sends."""

    def held(self, qos, n=1):
        """A session client that got n messages and acknowledged none."""
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=qos)
        pub = self.client('pub')
        for i in range(n):
            pub.publish(self.topic(), b'%d' % i, qos)
        return c, [c.expect(PUBLISH, payload=b'%d' % i, qos=qos, dup=False) for i in range(n)]

    def again(self, **kw):
        return self.client(clean=False, session_present=True, **kw)

    @spec('MQTT-3.3.1-1', 'MQTT-4.4.0-1', 'MQTT-4.3.2-1', 'MQTT-4.3.3-1')
    def test_unacknowledged_messages_are_sent_again_with_dup_and_their_identifier(self):
        for qos in (1, 2):
            c, first = self.held(qos, 3)
            for end in ('disconnect', 'abort'):
                getattr(c, end)()
                c = self.again()
                for p in first:
                    c.expect(PUBLISH, mid=p.mid, payload=p.payload, qos=qos, dup=True)
            for p in first:
                c.acknowledge(p)
            c.disconnect()
            c = self.again()
            self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-4.4.0-1', 'MQTT-3.1.4-2')
    def test_takeover_sends_again_too(self):
        old, first = self.held(2, 2)
        c = self.again()
        old.expect_close()
        for p in first:
            c.message(self.topic(), p.payload, mid=p.mid, dup=True)

    @spec('MQTT-4.3.2-1')
    def test_only_what_was_not_acknowledged_is_sent_again(self):
        c, first = self.held(1, 4)
        c.send(mqtt.ack(PUBACK, first[2].mid), mqtt.ack(PUBACK, first[0].mid))
        c.disconnect()
        c = self.again()
        for i in (1, 3):
            c.message(self.topic(), b'%d' % i, mid=first[i].mid, dup=True)
        self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-4.3.3-1', 'MQTT-4.4.0-1')
    def test_after_pubrec_only_pubrel_is_sent_again(self):
        c, (p,) = self.held(2)
        c.send(mqtt.ack(PUBREC, p.mid))
        c.expect(PUBREL, mid=p.mid)
        for _ in range(2):
            c.disconnect()
            c = self.again()
            c.expect(PUBREL, mid=p.mid)
        c.send(mqtt.ack(PUBCOMP, p.mid))
        c.disconnect()
        c = self.again()
        self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-4.4.0-1')
    def test_all_states_of_the_handshake_are_taken_up_together(self):
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=2)
        pub = self.client('pub')
        for i, qos in enumerate((1, 2, 2, 1)):
            pub.publish(self.topic(), b'%d' % i, qos)
        first = [c.expect(PUBLISH) for _ in range(4)]
        c.send(mqtt.ack(PUBREC, first[2].mid))
        c.expect(PUBREL, mid=first[2].mid)
        c.disconnect()
        c = self.again()
        got = [c.recv() for _ in range(4)]
        self.assertEqual([p.mid for p in got if p.type == PUBREL], [first[2].mid])
        publishes = [p for p in got if p.type == PUBLISH]
        self.assertEqual([p.payload for p in publishes], [b'0', b'1', b'3'])
        self.assertTrue(all(p.dup for p in publishes))
        self.assertEqual([p.mid for p in publishes], [first[i].mid for i in (0, 1, 3)])

    def test_nothing_is_sent_again_on_an_open_connection(self):
        c, _ = self.held(1, 2)
        c.quiet(1.5)
        self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-2.3.1-4', 'MQTT-4.3.3-1')
    def test_an_identifier_is_used_again_only_when_free(self):
        c = self.client()
        c.subscribe(self.topic(), qos=2)
        pub = self.client('pub')
        held = None
        for i in range(30):
            pub.publish(self.topic(), b'%d' % i, 1 + i % 2)
            p = c.expect(PUBLISH, payload=b'%d' % i)
            if held is None:
                held = p
            else:
                self.assertNotEqual(p.mid, held.mid)
                c.acknowledge(p)

    @spec('MQTT-3.1.2-5', 'MQTT-4.5.0-1', 'MQTT-4.6.0-6')
    def test_messages_for_an_offline_session_are_queued_in_order(self):
        c = self.client(clean=False)
        c.subscribe(self.topic('#'), qos=2)
        c.abort()
        pub = self.client('pub')
        for i in range(60):
            pub.publish(self.topic('q'), b'%d' % i, 1)
        c = self.again(auto_ack=True)
        for i in range(60):
            c.expect(PUBLISH, payload=b'%d' % i, qos=1, dup=False)

    @spec('MQTT-4.5.0-1')
    def test_every_session_with_a_matching_subscription_has_the_message(self):
        sessions = [self.client(f's{i}', clean=False) for i in range(6)]
        for i, c in enumerate(sessions):
            c.subscribe(self.topic('+' if i % 2 else 'a'), qos=1 + i // 3)
            if i % 3 == 0:
                c.disconnect()
        self.client('pub').publish(self.topic('a'), b'x', 2)
        for i in range(6):
            if i % 3 == 0:
                sessions[i] = self.client(f's{i}', clean=False, session_present=True)
            sessions[i].message(self.topic('a'), b'x', qos=1 + i // 3)


class Order(Spec311Case):
    @spec('MQTT-4.6.0-5', 'MQTT-4.6.0-6')
    def test_messages_of_one_topic_and_qos_keep_their_order(self):
        subs = [self.subscriber(self.topic(), name=f's{i}', qos=2, auto_ack=True)
                for i in range(3)]
        pub = self.client('pub')
        for qos in (0, 1, 2):
            for i in range(100):
                if qos < 2:
                    pub.send(mqtt3.publish(self.topic(), b'%d' % i, qos, i + 1 if qos else None))
                else:
                    pub.publish(self.topic(), b'%d' % i, 2)
            for sub in subs:
                got = [sub.wait(PUBLISH).payload for _ in range(100)]
                self.assertEqual(got, [b'%d' % i for i in range(100)])
                sub.drain()
            pub.drain()

    @spec('MQTT-4.6.0-6')
    def test_messages_sent_again_keep_their_order_before_new_ones(self):
        c = self.client(clean=False)
        c.subscribe(self.topic(), qos=1)
        pub = self.client('pub')
        for i in range(10):
            pub.publish(self.topic(), b'%d' % i, 1)
        for i in range(10):
            c.expect(PUBLISH, payload=b'%d' % i)
        c.abort()
        for i in range(10, 20):
            pub.publish(self.topic(), b'%d' % i, 1)
        c = self.client(clean=False, session_present=True)
        for i in range(20):
            c.message(self.topic(), b'%d' % i)
