"""MQTT 5.0 sections 4.3 quality of service to 4.6 ordering, 4.9 flow control."""

import mqtt
from mqtt import PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK
from spec import SpecCase, spec

LONG = {'session_expiry_interval': 600}


class Receiver(SpecCase):
    """The server receives."""

    options = {'limits': {'inflight_in': 20}}

    @spec('MQTT-4.3.2-5')
    def test_after_puback_the_same_identifier_is_a_new_message(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.client('pub')
        for dup in (False, True, False, True):
            pub.send(mqtt.publish(self.topic(), b'', 1, 5, dup=dup))
            pub.expect(PUBACK, mid=5)
            sub.message(self.topic(), qos=1, dup=False)

    @spec('MQTT-4.3.3-10')
    def test_until_pubrel_a_repeated_publish_is_a_duplicate(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for dup in (False, True, True):
            pub.send(mqtt.publish(self.topic(), b'once', 2, 5, dup=dup))
            pub.expect(PUBREC, mid=5)
        pub.send(mqtt.ack(PUBREL, 5))
        pub.expect(PUBCOMP, mid=5, reason=0)
        sub.message(self.topic(), b'once', qos=2)
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-4.3.3-10', 'MQTT-4.1.0-1')
    def test_received_identifiers_are_kept_with_the_session(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub', props=LONG)
        pub.send(mqtt.publish(self.topic(), b'once', 2, 5))
        pub.expect(PUBREC, mid=5)
        pub.disconnect()
        pub = self.client('pub', clean=False, session_present=True, props=LONG)
        pub.send(mqtt.publish(self.topic(), b'once', 2, 5, dup=True))
        pub.expect(PUBREC, mid=5)
        pub.disconnect()
        pub = self.client('pub', clean=False, session_present=True)
        pub.send(mqtt.ack(PUBREL, 5))
        pub.expect(PUBCOMP, mid=5, reason=0)
        sub.message(self.topic(), b'once')
        self.expect_nothing_from(pub, sub)

    @spec('MQTT-4.3.3-12')
    def test_after_pubcomp_the_same_identifier_is_a_new_message(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        for dup in (False, True, False):
            pub.publish(self.topic(), b'', 2, mid=5, dup=dup)
            sub.message(self.topic(), qos=2, dup=False)

    def test_a_clean_start_forgets_received_identifiers(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub', props=LONG)
        pub.send(mqtt.publish(self.topic(), b'1', 2, 5))
        pub.expect(PUBREC, mid=5)
        pub.disconnect()
        pub = self.client('pub', clean=True, session_present=False)
        pub.publish(self.topic(), b'2', 2, mid=5)
        sub.wait(PUBLISH, payload=b'2')  # the first may have been delivered or not

    @spec('MQTT-4.3.3-9')
    def test_after_a_refusing_pubrec_the_same_identifier_is_a_new_message(self):
        pub = self.client('pub')
        sub = self.subscriber(self.topic(), qos=2)
        pub.send(mqtt.publish('$SYS/not/for/clients', b'', 2, 5))
        try:
            refused = pub.expect(PUBREC, mid=5).reason >= 0x80
        except mqtt.Closed:
            refused = False
        if not refused:
            self.skipTest('the broker does not refuse with a PUBREC')
        pub.publish(self.topic(), b'new', 2, mid=5)
        sub.message(self.topic(), b'new')
        self.expect_nothing_from(pub, sub)

    def test_handshakes_of_many_identifiers_interleave(self):
        sub = self.subscriber(self.topic(), qos=2)
        pub = self.client('pub')
        n = min(15, pub.connack.props.get('receive_maximum', 65535))
        for i in range(1, n + 1):
            pub.send(mqtt.publish(self.topic(), b'%d' % i, 2, i))
        for i in range(1, n + 1):
            pub.expect(PUBREC, mid=i)
        for i in range(n, 0, -1):
            pub.send(mqtt.ack(PUBREL, i))
        for i in range(n, 0, -1):
            pub.expect(PUBCOMP, mid=i, reason=0)
        got = [int(sub.message(self.topic()).payload) for _ in range(n)]
        self.assertEqual(sorted(got), list(range(1, n + 1)))

    def test_more_than_the_receive_maximum_closes(self):
        pub = self.client('pub')
        maximum = pub.connack.props.get('receive_maximum', 65535)
        if maximum > 60000:
            self.skipTest('the window is as large as the set of identifiers')
        pub.send(b''.join(mqtt.publish(self.topic(), b'', 2, i + 1) for i in range(maximum)))
        for i in range(maximum):
            pub.expect(PUBREC, mid=i + 1)
        pub.ping()
        pub.send(mqtt.publish(self.topic(), b'', 2, maximum + 1))
        pub.expect_close(0x93)

    def test_a_released_identifier_makes_room_in_the_window(self):
        pub = self.client('pub')
        maximum = pub.connack.props.get('receive_maximum', 65535)
        if maximum > 60000:
            self.skipTest('the window is as large as the set of identifiers')
        for i in range(maximum):
            pub.send(mqtt.publish(self.topic(), b'', 2, i + 1))
            pub.expect(PUBREC, mid=i + 1)
        pub.send(mqtt.ack(PUBREL, 1))
        pub.expect(PUBCOMP, mid=1)
        pub.send(mqtt.publish(self.topic(), b'', 2, maximum + 1))
        pub.expect(PUBREC, mid=maximum + 1)
        pub.ping()


class Sender(SpecCase):
    """The server sends."""

    def held(self, qos, n=1, **props):
        """A session client that got n messages and acknowledged none."""
        c = self.client(props={**LONG, **props})
        c.subscribe(self.topic(), qos=qos)
        pub = self.client('pub')
        for i in range(n):
            pub.publish(self.topic(), b'%d' % i, qos)
        return c, [c.expect(PUBLISH, payload=b'%d' % i, qos=qos, dup=False) for i in range(n)]

    def again(self, **kw):
        return self.client(clean=False, session_present=True, props=LONG, **kw)

    @spec('MQTT-3.3.1-1', 'MQTT-4.4.0-1', 'MQTT-4.3.2-3', 'MQTT-4.3.3-3')
    def test_unacknowledged_messages_are_sent_again_with_dup_and_their_identifier(self):
        for qos in (1, 2):
            c, first = self.held(qos, 3)
            for _ in range(2):
                c.disconnect()
                c = self.again()
                for p in first:
                    c.expect(PUBLISH, mid=p.mid, payload=p.payload, qos=qos, dup=True)
            for p in first:
                c.acknowledge(p)
            c.disconnect()
            c = self.again()
            self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-3.3.1-1', 'MQTT-4.4.0-1')
    def test_a_lost_connection_is_like_a_closed_one(self):
        c, first = self.held(1, 2)
        c.abort()
        c = self.again()
        for p in first:
            c.message(self.topic(), p.payload, mid=p.mid, dup=True)

    @spec('MQTT-4.4.0-1')
    def test_takeover_sends_again_too(self):
        old, first = self.held(2, 2)
        c = self.again()
        old.expect_close(0x8E)
        for p in first:
            c.message(self.topic(), p.payload, mid=p.mid, dup=True)

    @spec('MQTT-4.4.0-1')
    def test_nothing_is_sent_again_on_an_open_connection(self):
        c, _ = self.held(1, 2)
        c.quiet(1.5)
        self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-4.3.2-3', 'MQTT-4.3.2-4')
    def test_only_what_was_not_acknowledged_is_sent_again(self):
        c, first = self.held(1, 4)
        c.send(mqtt.ack(PUBACK, first[2].mid), mqtt.ack(PUBACK, first[0].mid))
        c.disconnect()
        c = self.again()
        for i in (1, 3):
            c.message(self.topic(), b'%d' % i, mid=first[i].mid, dup=True)
        self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-4.3.3-4', 'MQTT-4.3.3-5', 'MQTT-4.3.3-6', 'MQTT-4.4.0-1')
    def test_after_pubrec_only_pubrel_is_sent_again(self):
        c, (p,) = self.held(2)
        c.send(mqtt.ack(PUBREC, p.mid))
        c.expect(PUBREL, mid=p.mid, reason=0)
        for _ in range(2):
            c.disconnect()
            c = self.again()
            c.expect(PUBREL, mid=p.mid, reason=0)
        c.send(mqtt.ack(PUBCOMP, p.mid))
        c.disconnect()
        c = self.again()
        self.expect_nothing_from(self.client('pub'), c)

    @spec('MQTT-4.4.0-1')
    def test_all_states_of_the_handshake_are_taken_up_together(self):
        c = self.client(props=LONG)
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

    @spec('MQTT-4.4.0-2')
    def test_a_refusal_ends_the_delivery(self):
        for qos, ptype in ((1, PUBACK), (2, PUBREC)):
            for reason in (0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99):
                c, (p,) = self.held(qos, receive_maximum=1)
                c.send(mqtt.ack(ptype, p.mid, reason))
                pub = self.client('pub')
                pub.publish(self.topic(), b'next', qos)
                c.message(self.topic(), b'next', qos=qos)  # the window is free, no PUBREL came
                c.disconnect()
                c = self.again()
                self.expect_nothing_from(pub, c)
                c.disconnect(0, {'session_expiry_interval': 0})

    def test_an_identifier_is_used_again_only_when_free(self):
        c = self.client(props={'receive_maximum': 5})
        c.subscribe(self.topic(), qos=2)
        pub = self.client('pub')
        held = None
        for i in range(30):
            pub.publish(self.topic(), b'%d' % i, 1 + i % 2)
            p = c.expect(PUBLISH, payload=b'%d' % i)  # the client checks the identifiers
            if held is None:
                held = p
            else:
                c.acknowledge(p)

    @spec('MQTT-4.5.0-1', 'MQTT-4.6.0-5')
    def test_messages_for_an_offline_session_are_queued_in_order(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic('#'), qos=2)
        c.disconnect()
        pub = self.client('pub')
        for i in range(60):
            pub.publish(self.topic('q'), b'%d' % i, 1)
        c = self.again(auto_ack=True)
        for i in range(60):
            c.expect(PUBLISH, payload=b'%d' % i, qos=1, dup=False)

    def test_live_messages_follow_the_queued_ones(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic(), qos=1)
        c.disconnect()
        pub = self.client('pub')
        for i in range(30):
            pub.publish(self.topic(), b'%d' % i, 1)
        c = self.raw(self.id('c'), clean=False, auto_ack=True)
        c.send_connect()
        for i in range(30, 60):
            pub.publish(self.topic(), b'%d' % i, 1)
        c.expect(mqtt.CONNACK, session_present=True)
        for i in range(60):
            c.expect(PUBLISH, payload=b'%d' % i)


class Order(SpecCase):
    @spec('MQTT-4.6.0-5', 'MQTT-4.6.0-6')
    def test_messages_of_one_topic_and_qos_keep_their_order(self):
        sub = self.subscriber(self.topic(), qos=2, auto_ack=True)
        pub = self.client('pub', auto_ack=False)
        for qos in (0, 1, 2):
            for i in range(100):
                if qos < 2:
                    pub.send(mqtt.publish(self.topic(), b'%d' % i, qos, i + 1 if qos else None))
                else:
                    pub.publish(self.topic(), b'%d' % i, 2)
            got = []
            while len(got) < 100:
                p = sub.recv()
                if p.type == PUBLISH:
                    self.assertEqual(p.qos, qos)
                    got.append(int(p.payload))
            self.assertEqual(got, list(range(100)))
            pub.drain()

    @spec('MQTT-4.6.0-6')
    def test_every_subscriber_sees_the_order(self):
        subs = [self.subscriber(self.topic('+'), name=f's{i}', qos=1, auto_ack=True)
                for i in range(5)]
        pub = self.client('pub')
        for i in range(60):
            pub.send(mqtt.publish(self.topic('x'), b'%d' % i, 1, i + 1))
        for sub in subs:
            for i in range(60):
                sub.expect(PUBLISH, payload=b'%d' % i)

    @spec('MQTT-4.6.0-5')
    def test_redelivery_keeps_the_order_before_newer_messages(self):
        c = self.client(props={**LONG, 'receive_maximum': 3})
        c.subscribe(self.topic(), qos=1)
        pub = self.client('pub')
        for i in range(6):
            pub.publish(self.topic(), b'%d' % i, 1)
        for i in range(3):
            c.expect(PUBLISH, payload=b'%d' % i)
        c.disconnect()
        pub.publish(self.topic(), b'6', 1)
        c = self.client(clean=False, session_present=True, auto_ack=True)
        for i in range(7):
            c.expect(PUBLISH, payload=b'%d' % i, dup=i < 3)


class FlowControl(SpecCase):
    @spec('MQTT-3.3.4-9', 'MQTT-4.9.0-1', 'MQTT-4.9.0-2')
    def test_the_server_stays_within_the_clients_receive_maximum(self):
        for maximum in (1, 2, 5):
            sub = self.subscriber(self.topic(), qos=2, props={'receive_maximum': maximum})
            pub = self.client('pub')
            for i in range(12):
                pub.publish(self.topic(), b'%d' % i, 1 + i % 2)
            held = [sub.expect(PUBLISH) for _ in range(maximum)]
            self.expect_nothing_from(pub, sub)
            for i in range(maximum, 12):
                sub.acknowledge(held.pop(0))  # the client checks the window
                held.append(sub.expect(PUBLISH, payload=b'%d' % i))
            sub.disconnect()

    @spec('MQTT-4.9.0-2')
    def test_a_qos_2_message_takes_its_place_until_pubcomp(self):
        sub = self.subscriber(self.topic(), qos=2, props={'receive_maximum': 1})
        pub = self.client('pub')
        pub.publish(self.topic(), b'1', 2)
        pub.publish(self.topic(), b'2', 2)
        p = sub.expect(PUBLISH, payload=b'1')
        sub.send(mqtt.ack(PUBREC, p.mid))
        sub.expect(PUBREL, mid=p.mid)
        self.expect_nothing_from(pub, sub)
        sub.send(mqtt.ack(PUBCOMP, p.mid))
        sub.message(self.topic(), b'2')

    @spec('MQTT-3.3.4-10', 'MQTT-4.9.0-3')
    def test_a_full_window_holds_back_nothing_else(self):
        sub = self.subscriber(self.topic('#'), qos=2, props={'receive_maximum': 1})
        pub = self.client('pub')
        pub.publish(self.topic('full'), b'', 1)
        held = sub.expect(PUBLISH)
        pub.publish(self.topic('waits'), b'', 1)
        pub.publish(self.topic('passes'), b'', 0)
        sub.expect(PUBLISH, topic=self.topic('passes'), qos=0)
        sub.send(mqtt.subscribe([(self.topic('more'), 0)], 9))
        sub.expect(SUBACK, mid=9)
        sub.send(mqtt.publish('elsewhere', b'', 1, 3))
        sub.expect(PUBACK, mid=3)
        sub.send(mqtt.publish('elsewhere', b'', 2, 4))
        sub.expect(PUBREC, mid=4)
        sub.send(mqtt.ack(PUBREL, 4))
        sub.expect(PUBCOMP, mid=4)
        sub.send(mqtt.unsubscribe([self.topic('more')], 10))
        sub.expect(mqtt.UNSUBACK, mid=10)
        sub.send(mqtt.pingreq())
        sub.expect(PINGRESP)
        sub.acknowledge(held)
        sub.message(self.topic('waits'))

    def test_the_window_is_full_again_on_a_new_connection(self):
        props = {**LONG, 'receive_maximum': 2}
        c = self.client(props=props)
        c.subscribe(self.topic(), qos=1)
        pub = self.client('pub')
        for i in range(4):
            pub.publish(self.topic(), b'%d' % i, 1)
        for i in range(2):
            c.expect(PUBLISH, payload=b'%d' % i)
        c.disconnect()
        c = self.client(clean=False, session_present=True, props={**LONG, 'receive_maximum': 4})
        for i in range(4):
            c.expect(PUBLISH, payload=b'%d' % i, dup=i < 2)

    def test_a_smaller_window_on_reconnect_is_respected(self):
        c = self.client(props={**LONG, 'receive_maximum': 5})
        c.subscribe(self.topic(), qos=2)
        pub = self.client('pub')
        for i in range(5):
            pub.publish(self.topic(), b'%d' % i, 2)
        for i in range(5):
            c.expect(PUBLISH, payload=b'%d' % i)
        c.disconnect()
        c = self.client(clean=False, session_present=True, props={**LONG, 'receive_maximum': 1})
        for i in range(5):
            c.message(self.topic(), b'%d' % i, dup=True)  # the client checks the window
