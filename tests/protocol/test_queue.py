"""Queues and identifiers in corners: what is stored, counted, refused, shown again."""

import mqtt
from broker import BrokerCase, pigeon_only
from mqtt import (PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, V311, V5, Will)

LONG = {'session_expiry_interval': 600}


class QueueCase(BrokerCase):
    def away(self, *filters, qos=1, name='s', **kw):
        """A durable session whose client is away."""
        c = self.client(name, props=LONG)
        if filters:
            c.subscribe(*filters, qos=qos)
        c.disconnect()

    def back(self, name='s', **props):
        return self.client(name, clean=False, session_present=True, props={**LONG, **props})

    def all_of(self, c, n):
        """n messages with their whole exchanges; their payloads. Then nothing follows."""
        got = []
        while len(got) < n:
            p = c.recv()
            if p.type == PUBLISH:
                got.append(p.payload)
                if p.qos:
                    c.send(mqtt.ack(PUBREC if p.qos == 2 else PUBACK, p.mid))
            elif p.type == PUBREL:
                c.send(mqtt.ack(PUBCOMP, p.mid))
            elif p.type != SUBACK:
                raise mqtt.Failure(f'{p!r}')
        return got


@pigeon_only
class Denied(QueueCase):
    options = {'on_denied_publish': 'disconnect'}

    def test_a_denied_publish_that_closes_does_not_keep_its_identifier(self):
        for version in (V311, V5):
            with self.subTest(version=version):
                topic = self.topic(str(version))
                sub = self.subscriber(topic, qos=2, name='sub')
                kw = {'version': version, 'clean': False,
                      'props': LONG if version == V5 else None}
                c = self.client(**kw)
                c.send(mqtt.publish('$other/x', b'no', 2, 5, version=version))
                if version == V5:
                    c.expect(PUBREC, mid=5, reason=0x87)
                else:
                    c.expect_close()
                c.close()
                c = self.client(**kw)
                c.publish(topic, b'yes', 2, mid=5)
                sub.message(topic, b'yes')


@pigeon_only
class Disconnecting(QueueCase):
    options = {'limits': {'queue_policy': 'disconnect', 'queue_messages': 1}}

    def test_a_will_in_the_middle_of_a_delivery_disturbs_nobody(self):
        """A receiver whose queue is full is closed while the same message goes to the others."""
        topic, will = self.topic('t'), self.topic('will')
        for round_ in range(3):
            full = self.client('full', props={'receive_maximum': 1}, will=Will(will, b'will'))
            full.subscribe(topic, qos=1)
            others = [self.subscriber(topic, name=f'o{i}') for i in range(8)]
            watchers = [self.subscriber(will, name=f'w{i}') for i in range(30)]
            pub = self.client('pub')
            for i in range(3):
                pub.publish(topic, b'%d' % i, 1)
            for c in others:
                for i in range(3):
                    c.message(topic, b'%d' % i)
                self.expect_nothing_from(pub, c)
            for c in watchers:
                c.message(will, b'will')
                self.expect_nothing_from(pub, c)
            full.wait(mqtt.DISCONNECT, reason=0x97)
            for c in others + watchers + [pub]:
                c.disconnect()


class SmallWindow(QueueCase):
    options = {'limits': {'inflight_out': 10}}

    def test_qos_2_keeps_its_order_whether_retained_or_not(self):
        topic = self.topic()
        for durable in (False, True):
            with self.subTest(durable=durable):
                sub = self.client('sub', props=LONG if durable else None)
                sub.subscribe(topic, qos=2, rh=2)
                pub = self.client('pub')
                pub.send(*[mqtt.publish(topic, b'%d' % i, 2, i + 1, retain=i % 3 == 0)
                           for i in range(30)])
                self.assertEqual(self.all_of(sub, 30), [b'%d' % i for i in range(30)])
                sub.disconnect()

    def test_live_messages_stay_behind_the_stored_ones(self):
        """Also when the session is resumed as one that ends with its connection."""
        for expiry in (600, 0):
            with self.subTest(expiry=expiry):
                topic, n = self.topic(str(expiry)), 1000
                self.away(topic)
                pub = self.client('pub')
                pub.send(*[mqtt.publish(topic, b'%d' % i, 1, i + 1) for i in range(n)])
                for i in range(n):
                    pub.expect(PUBACK, mid=i + 1)
                s = self.back(session_expiry_interval=expiry)
                first = [s.expect(PUBLISH) for _ in range(10)]
                pub.publish(topic, b'%d' % n, 1)
                for p in first:
                    s.acknowledge(p)
                got = [p.payload for p in first] + self.all_of(s, n - 9)
                self.assertEqual(got, [b'%d' % i for i in range(n + 1)])
                self.expect_nothing_from(pub, s)
                s.disconnect()
                self.forget('s')

    def test_retained_messages_of_a_subscribe_during_the_reading_come_once(self):
        live, kept, n = self.topic('live'), self.topic('kept'), 600
        self.away(live, qos=2)
        pub = self.client('pub')
        pub.publish(kept, b'retained', 2, retain=True)
        pub.send(*[mqtt.publish(live, b'%d' % i, 1, i + 1) for i in range(n)])
        for i in range(n):
            pub.expect(PUBACK, mid=i + 1)
        s = self.back()
        s.send(mqtt.subscribe([(kept, 2)], mid=9))
        got = self.all_of(s, n + 1)
        self.assertEqual(got.count(b'retained'), 1)
        got.remove(b'retained')
        self.assertEqual(got, [b'%d' % i for i in range(n)])
        self.assertEqual([p for p in s.drain() if p.type == PUBLISH], [])


@pigeon_only
class Full(QueueCase):
    options = {'persistence': 'memory', 'limits': {'queue_messages': 20},
               'plugins': {'store-memory': {'options': {'max_bytes': 60000}}}}

    def test_what_could_not_be_stored_does_not_count_against_the_queue(self):
        topic = self.topic()
        self.away(topic)
        pub, n = self.client('pub'), 0
        while pub.publish(self.topic('fill', str(n)), b'x' * 2000, 1, retain=True) != 0x97:
            n += 1
        for _ in range(30):
            self.assertEqual(pub.publish(topic, b'y' * 3000, 1), 0x97)
        for i in range(n):
            pub.publish(self.topic('fill', str(i)), b'', 1, retain=True)
        self.assertEqual(pub.publish(topic, b'important', 1), 0)
        s = self.back()
        s.message(topic, b'important')
        self.expect_nothing_from(pub, s)


@pigeon_only
class Short(QueueCase):
    options = {'limits': {'queue_messages': 1}}

    def test_a_bounced_shared_message_does_not_come_again(self):
        """The first member is full, the second one has QoS 0: it gets each once, in no row. Its
        queue is read from the store again, from before the bounced messages on."""
        topic, other = self.topic('t'), self.topic('other')
        share = f'$share/g/{topic}'
        full = self.client('a', props={**LONG, 'receive_maximum': 1})
        full.subscribe(share, qos=1)
        zero = self.client('z', props={**LONG, 'receive_maximum': 1})
        zero.subscribe(other, qos=1)
        pub = self.client('pub')
        for i in range(2):
            pub.publish(topic, b'full %d' % i, 1)
        for i in range(2):
            pub.publish(other, b'other %d' % i, 1)
        zero.subscribe(share, qos=0)
        for i in range(4):
            pub.publish(topic, b'bounced %d' % i, 1)
        got = [p.payload for p in self.fence(pub, zero)]
        self.assertEqual(got, [b'other 0'] + [b'bounced %d' % i for i in range(4)])
        zero.disconnect()
        zero = self.back('z')
        zero.message(other, b'other 0', dup=True)
        zero.message(other, b'other 1')
        self.expect_nothing_from(pub, zero)
