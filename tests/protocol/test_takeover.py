"""One client id, taken over again and again across event loops while others publish to it."""

import random

import mqtt
import mqtt3
from broker import KIND, THREADS, BrokerCase
from mqtt import CONNACK, PUBLISH, SUBACK, UNSUBACK, V311, V5, Will
from traffic import Publisher, Receiver

LONG = {'session_expiry_interval': 600}


class Takeover(BrokerCase):
    options = {'threads': max(THREADS, 4)}

    def take_over(self, version, **kw):
        """A new connection of the id; its CONNACK has not been read."""
        c = self.raw(self.id('c'), version=version, clean=False,
                     props=LONG if version == V5 else None, **kw)
        c.send_connect()
        return c

    def jitter(self, c, i):
        """SUBSCRIBE and UNSUBSCRIBE on the side, and the main subscription anew."""
        m = mqtt if c.version == V5 else mqtt3
        if i % 3 == 0:
            c.send(m.subscribe([(self.topic('side', str(i % 7)), i % 3)], 100 + i % 50))
        if i % 3 == 1:
            c.send(m.unsubscribe([self.topic('side', str(i % 7))], 200 + i % 50))
        if i % 5 == 0:
            c.send(m.subscribe([(self.topic('p', '#'), 2)], 300 + i % 50))

    def rounds(self, version, n):
        random.seed(n)
        receiver = Receiver()
        c = self.take_over(version)
        c.expect(CONNACK, reason=0, session_present=False)
        c.subscribe(self.topic('p', '#'), qos=2)
        publishers = [Publisher(self.broker, self.id(f'p{i}'), self.topic('p', str(i)),
                                paced=True) for i in range(3)]
        for p in publishers:
            p.start()
        for i in range(n):
            for p in publishers:
                p.more(3)
            old, c = c, self.take_over(version)
            if i % 4:
                c.expect(CONNACK, reason=0, session_present=True)
            why = receiver.until_closed(old)
            if version == V5 and KIND == 'pigeon':
                self.assertIsNotNone(why)
                self.assertEqual(why.reason, 0x8E)
            old.close()
            if i % 4 == 0:
                c.expect(CONNACK, reason=0, session_present=True)
            self.jitter(c, i)
            if random.random() < 0.7:
                receiver.drain(c)
        sent = {}
        for p in publishers:
            sent.update(p.stop())
        receiver.complete(c, sent)
        self.assertGreater(min(sent.values()), 10)
        c.ping()

    def test_300_takeovers_lose_nothing_reorder_nothing_double_nothing(self):
        self.rounds(V5, 300)

    def test_takeovers_of_3_1_1_lose_nothing_reorder_nothing_double_nothing(self):
        self.rounds(V311, 100)

    def test_a_burst_of_connects_leaves_one_survivor(self):
        for clean in (False, True):
            for _ in range(10):
                burst = [self.raw(self.id('c'), clean=clean, props=LONG) for _ in range(30)]
                for c in burst:
                    c.send_connect()
                open_, closed = [], 0
                for c in burst:
                    try:
                        c.expect(CONNACK, reason=0)
                        c.ping()
                        open_.append(c)
                    except mqtt.Failure:
                        closed += 1
                survivors = [c for c in open_ if c.is_open()]
                self.assertEqual(len(survivors), 1)
                for c in burst:
                    if c not in survivors:
                        c.close()
                survivors[0].subscribe(self.topic(), qos=1)
                self.client('pub').publish(self.topic(), b'one', 1)
                survivors[0].message(self.topic(), b'one')
                self.expect_nothing_from(self.client('pub'), survivors[0])

    def test_each_takeover_publishes_the_will_of_the_old_connection_once(self):
        watcher = self.subscriber(self.topic('will'), qos=1, auto_ack=True, name='watcher')
        n, c = 100, None
        for i in range(n):
            c = self.raw(self.id('c'), version=(V5, V311)[i % 2], clean=bool(i % 3),
                         will=Will(self.topic('will'), b'%d' % i, 1))
            c.connect()
        got = [watcher.expect(PUBLISH).payload for _ in range(n - 1)]
        self.assertEqual(sorted(map(int, got)), list(range(n - 1)))
        c.disconnect()
        self.expect_nothing_from(self.client('pub'), watcher)

    def test_subscriptions_are_exact_after_many_takeovers(self):
        """Whatever was acknowledged holds; nothing else."""
        random.seed(7)
        have = set()
        c = self.take_over(V5)
        c.expect(CONNACK)
        for i in range(150):
            name = self.topic('s', str(random.randrange(10)))
            if random.random() < 0.5:
                c.send(mqtt.subscribe([(name, 0)], 1))
                c.wait(SUBACK, mid=1)
                have.add(name)
            else:
                c.send(mqtt.unsubscribe([name], 2))
                c.wait(UNSUBACK, mid=2)
                have.discard(name)
            c = self.take_over(V5)
            c.expect(CONNACK, session_present=True)
        pub = self.client('pub')
        for i in range(10):
            pub.publish(self.topic('s', str(i)), b'')
        got = [p.topic for p in self.fence(pub, c)]
        self.assertEqual(sorted(got), sorted(have))
