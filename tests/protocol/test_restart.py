"""What a restart must not change: wills, lifetimes, packet identifiers. Over every durable store."""

import time
import unittest

import mqtt
from broker import KIND, Broker
from mqtt import PUBLISH, V311, V5, Will
from test_crash import FOREVER, stores

DURABLE = {'clean': False, 'props': FOREVER}



def wall_ms():
    """As the broker counts lifetimes: whole milliseconds of the clock on the wall."""
    return time.time_ns() // 1000000


@unittest.skipIf(KIND != 'pigeon', 'mosquitto keeps less')
class Restart(unittest.TestCase):
    def each(self, run, options=None):
        """run(broker), which has been started, over every durable store."""
        names = stores()
        if not names:
            self.skipTest('no durable store')
        for store in names:
            with self.subTest(store=store):
                broker = Broker({'persistence': store, 'restart_grace': '1s', **(options or {})})
                try:
                    broker.start()
                    run(broker)
                    self.assertEqual(broker.stop(), 0, broker.report())
                    self.assertFalse(broker.complaints())
                finally:
                    broker.cleanup()

    def client(self, broker, name, version=V5, present=None, **kw):
        c = mqtt.Client(broker.address, name, version, **kw)
        self.addCleanup(c.close)
        c.connect(session_present=present)
        return c

    # -- lifetimes

    def test_the_expiry_of_a_stored_will_counts_from_its_publication(self):
        def run(broker):
            will = Will('will', b'last', 1, props={'message_expiry_interval': 2})
            self.client(broker, 'dying', will=will)
            broker.restart(crash=True)
            watch = self.client(broker, 'watch')
            watch.subscribe('will', qos=1)
            p = watch.message('will', b'last')  # after the grace, which is longer than 2 s
            self.assertIn(p.props['message_expiry_interval'], (1, 2))
        self.each(run, {'restart_grace': '3s'})

    def test_what_is_retained_for_a_time_ends_in_the_next_life(self):
        def run(broker):
            pub = self.client(broker, 'pub')
            began_ms = wall_ms()
            self.assertIn(pub.publish('kept', b'a', 1, retain=True), (0, 0x10))
            broker.restart(crash=True)
            deadline = time.monotonic() + mqtt.DEADLINE
            while self.retained(broker, 'kept'):
                self.assertLess(time.monotonic(), deadline, 'it does not end')
            self.assertGreaterEqual(wall_ms(), began_ms + 4000)
        self.each(run, {'limits': {'retained_ttl': '4s'}})

    def retained(self, broker, topic):
        """Is there a message? Its lifetime is the broker's limit, which nobody is told."""
        with self.client(broker, 'reader') as c:
            c.subscribe(topic)
            c.ping()
            got = c.drain()
            for p in got:
                self.assertNotIn('message_expiry_interval', p.props)
            c.disconnect()
            return bool(got)

    # -- packet identifiers

    def away(self, broker, topic, qos):
        c = self.client(broker, 'away', **DURABLE)
        c.subscribe(topic, qos=qos)
        return c

    def publish(self, broker, topic, qos, *payloads):
        with self.client(broker, 'pub') as pub:
            for payload in payloads:
                self.assertEqual(pub.publish(topic, payload, qos), 0)
            pub.disconnect()

    def test_what_was_sent_comes_again_under_its_identifier(self):
        """[MQTT-4.4.0-1] [MQTT-3.3.1-1] after an orderly stop."""
        def run(broker):
            c = self.away(broker, 't', 1)
            self.publish(broker, 't', 1, *[b'%d' % i for i in range(9)])
            seen = [c.expect(PUBLISH, payload=b'%d' % i, dup=False) for i in range(9)]
            c.send(mqtt.ack(mqtt.PUBACK, seen.pop(4).mid))
            c.ping()
            broker.restart()
            self.publish(broker, 't', 1, b'later')
            c = self.client(broker, 'away', present=True, **DURABLE)
            for p in seen:
                c.expect(PUBLISH, payload=p.payload, dup=True, mid=p.mid)
            p = c.expect(PUBLISH, payload=b'later', dup=False)
            self.assertNotIn(p.mid, [one.mid for one in seen])
            for p in [*seen, p]:
                c.acknowledge(p)
            c.ping()
            broker.restart()
            c = self.client(broker, 'away', present=True, **DURABLE)
            c.expect_nothing()
        self.each(run)

    def test_the_identifiers_of_who_has_gone_before_a_crash_are_kept(self):
        def run(broker):
            c = self.away(broker, 't', 1)
            self.publish(broker, 't', 1, b'a', b'b')
            seen = [c.expect(PUBLISH, payload=one) for one in (b'a', b'b')]
            c.disconnect()
            self.publish(broker, 't', 1, b'c')  # its commit is behind that of the disconnect
            broker.restart(crash=True)
            for _ in range(2):
                c = self.client(broker, 'away', present=True, **DURABLE)
                for p in seen:
                    c.expect(PUBLISH, payload=p.payload, dup=True, mid=p.mid)
                p = c.expect(PUBLISH, payload=b'c')
                self.assertNotIn(p.mid, [one.mid for one in seen])
                c.disconnect()
        self.each(run)

    def test_a_window_that_was_read_is_known_again_when_the_queue_is_read_again(self):
        """QoS 2 behind QoS 1: its identifier is stored, that of QoS 1 is not when the broker dies."""
        def run(broker):
            c = self.away(broker, 't', 2)
            self.publish(broker, 't', 1, b'first')
            self.publish(broker, 't', 2, b'second')
            c.expect(PUBLISH, payload=b'first')
            mid = c.expect(PUBLISH, payload=b'second').mid
            broker.restart(crash=True)
            few = {'clean': False, 'props': {**FOREVER, 'receive_maximum': 1}}
            for _ in range(2):
                c = self.client(broker, 'away', present=True, **few)
                c.expect(PUBLISH, payload=b'second', dup=True, mid=mid)
                c.expect_nothing()  # the window is full
                c.disconnect()
            c = self.client(broker, 'away', present=True, **DURABLE)
            p = c.expect(PUBLISH, payload=b'second', dup=True, mid=mid)
            c.acknowledge(p)
            c.acknowledge(c.expect(PUBLISH, payload=b'first'))
            c.expect_nothing()
        self.each(run)
