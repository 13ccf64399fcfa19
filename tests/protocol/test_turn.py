"""What several packets do to each other when one turn of a loop takes them all.

The broker is stopped (SIGSTOP) while the packets are sent, so that it finds all of them at once;
which socket it looks at first is up to the kernel, so each case is sent in both orders.
"""

import contextlib
import os
import signal
import time

import mqtt
from broker import THREADS, Broker, BrokerCase, pigeon_only
from mqtt import CONNACK, DISCONNECT, PUBACK, PUBLISH, V311, V5, Closed

LONG = {'session_expiry_interval': 600}


@contextlib.contextmanager
def one_turn(broker):
    """What is sent in this block is read in one turn."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        while state(broker.pid) != 'T':
            time.sleep(0.001)
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def state(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        return f.read().rsplit(')', 1)[1].split()[0]


class TurnCase(BrokerCase):
    def turn(self, turned, *steps):
        """Runs the steps in one turn, as given or turned around."""
        with one_turn(self.broker):
            for step in reversed(steps) if turned else steps:
                step()

    def newcomer(self, version=V5, clean=False, props=None, **kw):
        props = {**LONG, **(props or {})} if version == V5 else None
        return self.raw(self.id('c'), version=version, clean=clean, props=props, **kw)

    def answered(self, c):
        """CONNACK of success, unless another connection took the id over meanwhile."""
        p = c.recv()
        if p.type != DISCONNECT:
            self.assertEqual((p.type, p.reason), (CONNACK, 0))
        elif p.reason != 0x8E:
            raise mqtt.Failure(f'{p!r}')

    def id_is_free(self, others=0):
        """The client id can be used, with and without Clean Start; so many other connections of
        it may still be on their way to their loop."""
        for clean in (False, True):
            c = self.newcomer(clean=clean)
            c.connect()
            while not c.is_open():
                self.assertGreater(others, 0)
                others -= 1
                c = self.newcomer(clean=clean)
                c.connect()
            c.disconnect()


class Turn(TurnCase):
    def test_a_subscribe_of_the_old_connection_does_not_lock_the_client_id(self):
        for version in (V311, V5):
            for turned in (False, True):
                with self.subTest(version=version, turned=turned):
                    old = self.newcomer(version)
                    old.connect()
                    new = self.newcomer(version)
                    steps = [new.send_connect, lambda: old.send(
                        mqtt.subscribe([(self.topic(), 1)], version=version))]
                    self.turn(turned, *steps)
                    new.expect(CONNACK, reason=0, session_present=True)
                    new.ping()
                    self.id_is_free()

    def test_a_publish_of_the_old_connection_does_not_lock_the_client_id(self):
        sub = self.subscriber(self.topic('#'), name='sub', qos=2)
        for qos in (1, 2):
            for retain in (False, True):
                for turned in (False, True):
                    with self.subTest(qos=qos, retain=retain, turned=turned):
                        old = self.newcomer()
                        old.connect()
                        new = self.newcomer()
                        steps = [new.send_connect, lambda: old.send(mqtt.publish(
                            self.topic(), b'x', qos=qos, mid=7, retain=retain))]
                        self.turn(turned, *steps)
                        new.expect(CONNACK, reason=0, session_present=True)
                        # The publisher does not know whether it arrived; QoS 2 is exact anyway.
                        if qos == 2:
                            new.publish(self.topic(), b'x', 2, retain, mid=7, dup=True)
                            got = [p for p in self.fence(new, sub) if p.type == PUBLISH]
                            self.assertEqual([p.payload for p in got], [b'x'])
                            sub.send(*[mqtt.ack(mqtt.PUBREC, p.mid) for p in got])
                            sub.wait(mqtt.PUBREL)
                            sub.send(mqtt.ack(mqtt.PUBCOMP, got[0].mid))
                        else:
                            for p in self.fence(new, sub):
                                sub.send(mqtt.ack(PUBACK, p.mid))
                        self.id_is_free()

    def test_unsubscribe_and_disconnect_with_the_takeover_do_not_lock_the_client_id(self):
        for last in (mqtt.unsubscribe([self.topic()]), mqtt.disconnect(),
                     mqtt.disconnect(0, {'session_expiry_interval': 0})):
            for turned in (False, True):
                with self.subTest(last=last, turned=turned):
                    old = self.newcomer()
                    old.connect()
                    old.subscribe(self.topic(), qos=1)
                    new = self.newcomer()
                    steps = [new.send_connect, lambda: old.send(last)]
                    self.turn(turned, *steps)
                    new.expect(CONNACK, reason=0)
                    new.ping()
                    self.id_is_free()

    def test_a_connection_that_dies_while_it_is_served_lets_the_next_one_in(self):
        for how in ('protocol error', 'reset', 'end'):
            for turned in (False, True):
                with self.subTest(how=how, turned=turned):
                    dying, waiting = self.newcomer(), self.newcomer()

                    def die():
                        dying.send_connect()
                        if how == 'protocol error':
                            dying.send(mqtt.connect(self.id('c')))
                        elif how == 'reset':
                            dying.abort()
                        else:
                            dying.close()

                    steps = [die, waiting.send_connect]
                    self.turn(turned, *steps)
                    self.answered(waiting)
                    self.id_is_free(others=1)

    def test_a_connack_that_is_too_large_lets_the_next_one_in(self):
        for turned in (False, True):
            with self.subTest(turned=turned):
                small = self.newcomer(props={'maximum_packet_size': 3})
                waiting = self.newcomer()
                steps = [waiting.send_connect, small.send_connect]
                self.turn(turned, *steps)
                self.answered(waiting)
                self.id_is_free(others=1)  # the small one may be the later one

    def test_many_connects_in_one_turn_leave_one_survivor(self):
        """With every mix of Clean Start and session expiry, each with a SUBSCRIBE behind it."""
        for kinds in ((False, False), (True, True), (False, True), (True, False)):
            with self.subTest(kinds=kinds):
                burst = [self.newcomer(clean=kinds[i % 2], timeout=mqtt.DEADLINE,
                                       props={'session_expiry_interval': i % 3 * 100})
                         for i in range(9)]
                with one_turn(self.broker):
                    for c in burst:
                        c.send_connect()
                        c.send(mqtt.subscribe([(self.topic(), 1)], mid=3))
                alive = []
                for c in burst:
                    try:
                        c.expect(CONNACK, reason=0)
                        c.wait(mqtt.SUBACK, mid=3)
                        alive.append(c)
                    except Closed:
                        pass
                alive = [c for c in alive if c.is_open()]  # everybody has been served
                self.assertEqual(len(alive), 1)
                pub = self.client('pub')
                pub.publish(self.topic(), b'once', 1)
                alive[0].message(self.topic(), b'once')
                self.expect_nothing_from(pub, alive[0])
                pub.disconnect()
                self.id_is_free()

    def test_publish_and_disconnect_of_many_publishers_lose_nothing(self):
        sub = self.subscriber(self.topic('#'), qos=1, auto_ack=True)
        pubs = [self.client(f'p{i}') for i in range(8)]
        with one_turn(self.broker):
            for i, c in enumerate(pubs):
                c.send(*[mqtt.publish(self.topic(str(i)), b'%d' % n, 1, n + 1,
                                      retain=n % 3 == 0) for n in range(20)], mqtt.disconnect())
        got = {}
        for _ in range(len(pubs) * 20):
            p = sub.wait(PUBLISH)
            got.setdefault(p.topic, []).append(int(p.payload))
        for i in range(len(pubs)):
            self.assertEqual(got[self.topic(str(i))], list(range(20)))

    def test_a_subscribe_and_a_retained_publish_in_one_turn_meet_once(self):
        """Live with retain 0, or read with retain 1; never both, never neither."""
        for version in (V311, V5):
            for round_ in range(10):
                with self.subTest(version=version, round=round_):
                    topic = self.topic(str(version), str(round_))
                    sub, pub = self.client('s', version=version), self.client('p')
                    steps = [lambda: sub.send(mqtt.subscribe([(topic, 1)], version=version)),
                             lambda: pub.send(mqtt.publish(topic, b'r', 1, 1, retain=True))]
                    self.turn(round_ % 2, *steps)
                    pub.expect(PUBACK, mid=1)
                    sub.expect(mqtt.SUBACK)
                    sub.message(topic, b'r')
                    self.expect_nothing_from(pub, sub)


class TurnOnThreeLoops(Turn):
    options = {'threads': max(THREADS, 3)}


@pigeon_only
class Stop(BrokerCase):
    """SIGTERM in the middle of it."""

    def setUp(self):
        super().setUp()
        self.own = Broker({'connect_timeout': '2s'}).start()
        self.addCleanup(self.own.cleanup)

    def stop(self):
        began = time.monotonic()
        self.assertEqual(self.own.stop(term=False), 0)
        self.assertLess(time.monotonic() - began, 5.5)

    def test_a_takeover_and_sigterm_in_one_turn(self):
        old = mqtt.Client(self.own, 'x', props=LONG)
        old.connect()
        new = mqtt.Client(self.own, 'x', clean=False, props=LONG)
        with one_turn(self.own):
            new.send_connect()
            old.send(mqtt.subscribe([('t', 1)]), mqtt.publish('t', b'x', 2, 9))
            os.kill(self.own.pid, signal.SIGTERM)
        self.stop()

    def test_a_will_reaches_its_subscriber_although_the_stop_began_with_it(self):
        sub = mqtt.Client(self.own, 'sub')
        sub.connect()
        sub.subscribe('w')
        c = mqtt.Client(self.own, 'c', will=mqtt.Will('w', b'will'))
        c.connect()
        with one_turn(self.own):
            os.kill(self.own.pid, signal.SIGTERM)
            c.abort()
        sub.expect(PUBLISH, topic='w', payload=b'will')
        sub.expect(DISCONNECT, reason=0x8B)
        self.stop()

