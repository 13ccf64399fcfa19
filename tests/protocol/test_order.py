"""Order and guarantees per publisher, topic and QoS: across reconnects, on one loop and many."""

import mqtt
import mqtt3
from broker import THREADS, BrokerCase
from mqtt import PUBACK, PUBLISH, V311, V5
from traffic import Publisher, Receiver

LONG = {'session_expiry_interval': 600}


class Order(BrokerCase):
    def publishers(self, n, **kw):
        return [Publisher(self.broker, self.id(f'p{i}'), self.topic('p', str(i)),
                          version=(V5, V311)[i % 2], **kw) for i in range(n)]

    def finish(self, publishers):
        sent = {}
        for p in publishers:
            sent.update(p.stop())
        return sent

    def test_every_subscriber_sees_the_order_of_every_publisher(self):
        subs = [self.subscriber(self.topic('#'), name=f's{i}', qos=2) for i in range(3)]
        receivers = [Receiver() for _ in subs]
        publishers = self.publishers(5, qos=(0, 1, 2), limit=80)
        for p in publishers:
            p.start()
        while any(p.is_alive() for p in publishers):
            for receiver, c in zip(receivers, subs):
                receiver.drain(c)
        sent = self.finish(publishers)
        self.assertEqual(set(sent.values()), {80})
        for receiver, c in zip(receivers, subs):
            receiver.complete(c, sent)
            self.assertEqual(receiver.n_again, 0)

    def test_a_subscriber_that_reconnects_misses_nothing(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic('#'), qos=2)
        receiver = Receiver()
        publishers = self.publishers(4, limit=120)
        for p in publishers:
            p.start()
        i = 0
        while any(p.is_alive() for p in publishers):
            receiver.drain(c, but=i % 4)
            c.abort() if i % 2 else c.disconnect()
            c = self.client(clean=False, session_present=True, props=LONG)
            i += 1
        receiver.complete(c, self.finish(publishers))

    def test_a_publisher_that_reconnects_is_heard_once_with_qos_2(self):
        sub = self.subscriber(self.topic('#'), qos=2)
        receiver = Receiver(repeats=True)
        publishers = self.publishers(4, limit=60, cut=lambda n: n % 4 == 1)
        for p in publishers:
            p.start()
        while any(p.is_alive() for p in publishers):
            receiver.drain(sub)
        receiver.complete(sub, self.finish(publishers))

    def test_both_sides_reconnect(self):
        c = self.client(props=LONG)
        c.subscribe(self.topic('#'), qos=2)
        receiver = Receiver(repeats=True)
        publishers = self.publishers(3, limit=80, cut=lambda n: n % 5 == 2)
        for p in publishers:
            p.start()
        while any(p.is_alive() for p in publishers):
            receiver.drain(c, but=2)
            c.abort()
            c = self.client(clean=False, session_present=True, props=LONG)
        receiver.complete(c, self.finish(publishers))

    def test_a_small_window_keeps_the_order(self):
        c = self.client(props={'receive_maximum': 2, **LONG})
        c.subscribe(self.topic('#'), qos=2)
        receiver = Receiver()
        publishers = self.publishers(3, limit=100)
        for p in publishers:
            p.start()
        while any(p.is_alive() for p in publishers):
            receiver.drain(c, but=1)
            c.abort()
            c = self.client(clean=False, session_present=True,
                            props={'receive_maximum': 2, **LONG})
        receiver.complete(c, self.finish(publishers))

    def test_a_pipeline_of_publishes_keeps_its_order(self):
        """Everything is sent before the first acknowledgement is read."""
        for version, m in ((V311, mqtt3), (V5, mqtt)):
            sub = self.subscriber(self.topic(), qos=1, auto_ack=True, version=version)
            pub = self.client('pub', version=version)
            pub.send(*[m.publish(self.topic(), b'%d' % i, 1, i + 1) for i in range(2000)])
            for i in range(2000):
                sub.expect(PUBLISH, payload=b'%d' % i)
            for i in range(2000):
                pub.expect(PUBACK, mid=i + 1)

    def test_shared_members_together_get_everything_once(self):
        members = [self.subscriber(f'$share/g/{self.topic("#")}', name=f'm{i}', qos=1,
                                   auto_ack=True) for i in range(4)]
        publishers = self.publishers(3, qos=(1,), limit=100)
        for p in publishers:
            p.start()
        sent = self.finish(publishers)
        got = [(p.topic, int(p.payload)) for c in members for p in c.drain() +
               self.fence(self.client('pub'), c) if p.type == PUBLISH]
        want = [(topic, i) for topic, n in sent.items() for i in range(n)]
        self.assertEqual(len(got), len(want))
        self.assertEqual(sorted(got), sorted(want))


class OrderAcrossLoops(Order):
    options = {'threads': max(THREADS, 4)}
