"""A full and a failing disk under a durable store: nothing that could not be stored is acknowledged,
nothing that was acknowledged is lost, and the broker recovers where it can [S6]."""

import os
import unittest

import mqtt
from broker import KIND, Broker
from mqtt import V5, V311
from test_crash import FOREVER, stores

DURABLE = {'clean': False, 'props': FOREVER}


def fake_disk():
    path = os.path.join(os.path.dirname(Broker.binary()), 'tests', 'libdisk.so')
    return path if os.path.isfile(path) else None


@unittest.skipIf(KIND != 'pigeon' or not fake_disk(), 'no fake disk in this build')
class Disk(unittest.TestCase):
    def each(self, fault, run):
        """run(broker) over every durable store, with this fault."""
        names = stores()
        if not names:
            self.skipTest('no durable store')
        for store in names:
            with self.subTest(store=store):
                broker = Broker({'persistence': store})
                broker.prefix = ['env', f'LD_PRELOAD={fake_disk()}',
                                 f'DISK_DIR={broker.state_dir}', f'DISK_FAULT={fault}']
                try:
                    run(broker)
                finally:
                    broker.cleanup()

    def client(self, broker, name, version=V5, **kw):
        c = mqtt.Client(broker, name, version, **kw)
        c.connect()
        self.addCleanup(c.close)
        return c

    def away(self, broker, topic):
        c = self.client(broker, 'away', **DURABLE)
        c.subscribe(topic, qos=1)
        c.disconnect()

    def full(self, broker, is_full):
        flag = os.path.join(broker.dir, 'full')
        if is_full:
            open(flag, 'w', encoding='ascii').close()
        else:
            os.unlink(flag)

    def waiting(self, broker, n):
        """Takes n messages that wait for the absent client, which are the first."""
        c, out = self.client(broker, 'away', **DURABLE), []
        for _ in range(n):
            p = c.expect(mqtt.PUBLISH)
            out.append(p.payload)
            c.acknowledge(p)
        c.ping()
        c.disconnect()
        return out

    def test_a_full_disk_refuses_and_recovers_by_itself(self):
        def run(broker):
            broker.start()
            self.away(broker, 't')
            pub, old = self.client(broker, 'pub'), self.client(broker, 'old', V311)
            plain = self.client(broker, 'plain')
            plain.subscribe('q0')
            self.assertEqual(pub.publish('t', b'before', 1), 0)
            self.full(broker, True)
            refused = 0
            for i in range(20):
                refused += pub.publish('t', b'no %d' % i, 1) == 0x97
            self.assertEqual(refused, 20)
            old.send(mqtt.publish('t', b'no ack', 1, 7, version=V311))
            old.expect_nothing()  # no acknowledgement, but the connection stays
            self.assertEqual(pub.publish('t', b'no more', 1), 0x97)  # the one before has had its answer
            old.expect_nothing()
            pub.publish('q0', b'goes on')
            plain.message('q0', b'goes on')
            self.full(broker, False)
            deadline = mqtt.time.monotonic() + mqtt.DEADLINE
            while pub.publish('t', b'after', 1) == 0x97:
                self.assertLess(mqtt.time.monotonic(), deadline)
            self.assertEqual(self.waiting(broker, 2), [b'before', b'after'])
            self.assertEqual(broker.stop(), 0)
        self.each('full:1', run)

    def test_deletions_work_on_a_full_disk(self):
        def run(broker):
            broker.start()
            self.away(broker, 't')
            pub = self.client(broker, 'pub')
            sent = [b'%d' % i for i in range(50)]
            for payload in sent:
                self.assertEqual(pub.publish('t', payload, 1), 0)
            self.full(broker, True)
            self.assertEqual(pub.publish('t', b'no', 1), 0x97)
            self.assertEqual(self.waiting(broker, 50), sent)
            pub.ping()
            self.full(broker, False)
            self.assertEqual(broker.stop(), 0)
            broker.start()
            self.assertEqual(self.client(broker, 'pub').publish('t', b'last', 1), 0)
            self.assertEqual(self.waiting(broker, 1), [b'last'])
            self.assertEqual(broker.stop(), 0)
        self.each('full:1', run)

    def test_it_starts_on_a_full_disk(self):
        def run(broker):
            broker.start()
            self.away(broker, 't')
            self.assertEqual(self.client(broker, 'pub').publish('t', b'kept', 1), 0)
            broker.kill()
            self.full(broker, True)
            broker.start()
            self.assertEqual(self.client(broker, 'pub2').publish('t', b'no', 1), 0x97)
            self.full(broker, False)
            self.assertEqual(self.waiting(broker, 1), [b'kept'])
            self.assertEqual(broker.stop(), 0)
        self.each('full:1', run)

    def test_a_failed_sync_ends_the_broker_without_another_acknowledgement(self):
        def run(broker):
            broker.start()
            self.away(broker, 't')
            pub, acked = self.client(broker, 'pub'), []
            try:
                for i in range(1000):
                    if pub.publish('t', b'%d' % i, 1) == 0:
                        acked.append(b'%d' % i)
            except (mqtt.Closed, mqtt.Failure) as e:
                last = e
            else:
                self.fail('the disk did not fail')
            self.assertIsNotNone(last)
            self.assertNotEqual(broker.process.wait(mqtt.DEADLINE), 0)
            broker.kill()
            broker.prefix = []
            broker.start()
            self.assertEqual(self.waiting(broker, len(acked)), acked)
            self.assertEqual(broker.stop(), 0)
        self.each('sync:30', run)
