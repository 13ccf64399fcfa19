"""kill -9 under load: what was acknowledged is there, once where once was promised.

Publishers and subscribers with durable sessions of QoS 1 and 2 work while the broker is killed again and
again; they keep their own session state as MQTT asks of a client. PIGEON_TEST_ROUNDS sets the number of
kills, PIGEON_TEST_STORES the stores.
"""

import os
import random
import shutil
import threading
import time
import unittest

import mqtt
from broker import KIND, Broker, plugin_dirs
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, V5

ROUNDS = int(os.environ.get('PIGEON_TEST_ROUNDS', '4'))
WINDOW = 20
FOREVER = {'session_expiry_interval': 0xffffffff}


def stores():
    given = os.environ.get('PIGEON_TEST_STORES')
    if given:
        return given.split()
    found = {name[6:-3] for d in plugin_dirs(Broker.binary()) for name in os.listdir(d)
             if name.startswith('store-') and name.endswith('.so')}
    return sorted(found - {'memory', 'fail'})


class Peer(threading.Thread):
    """One client with a session of its own, for one life of the broker."""

    def __init__(self, address, state):
        super().__init__(daemon=True)
        self.address, self.state, self.error = address, state, None
        self.done = threading.Event()

    def run(self):
        try:
            c = mqtt.Client(self.address, self.state.name, V5, clean=False, props=FOREVER)
            before, self.state.has_session = self.state.has_session, None
            present = c.connect().session_present
            # Of a CONNECT that was never answered nobody knows whether it made a session.
            if before is not None and present != before:
                self.state.has_session = before
                raise AssertionError(f'{self.state.name}: session present {present}')
            self.state.has_session = True
            self.state.live(c, self.done)
        except (mqtt.Closed, mqtt.Timeout, OSError):
            pass
        except Exception as e:  # to be shown by the test
            self.error = e


class Publisher:
    """Keeps WINDOW messages in flight; knows which the broker has acknowledged."""

    def __init__(self, name, topic, qos):
        self.name, self.topic, self.qos = name, topic, qos
        self.has_session = False
        self.n = 0
        self.flying = {}  # packet identifier: [payload, was PUBREC seen]
        self.acked = set()
        self.stopping = False

    def publish(self, mid, dup):
        payload, received = self.flying[mid]
        if received:
            return mqtt.ack(PUBREL, mid)
        return mqtt.publish(self.topic, payload, self.qos, mid, dup=dup)

    def fill(self):
        out, mid = [], 0
        while not self.stopping and len(self.flying) < WINDOW:
            mid += 1
            if mid in self.flying:
                continue
            self.flying[mid] = [b'%s %d' % (self.name.encode(), self.n), False]
            self.n += 1
            out.append(self.publish(mid, False))
        return out

    def live(self, c, done):
        c.send(*[self.publish(mid, True) for mid in list(self.flying)], *self.fill())
        while self.flying:
            p = c.recv()
            if p.type in (PUBACK, PUBREC) and p.reason >= 0x80:
                raise AssertionError(f'{p!r}')
            if p.type == PUBREC:
                self.flying[p.mid][1] = True
                c.send(mqtt.ack(PUBREL, p.mid))
                continue
            self.acked.add(self.flying.pop(p.mid)[0])
            c.send(*self.fill())
        done.set()
        c.disconnect()


class Subscriber:
    """Takes messages as they come; knows which it got how often. Acknowledges `lag` of them at a time."""

    def __init__(self, name, topic, qos, lag=1):
        self.name, self.topic, self.qos, self.lag = name, topic, qos, lag
        self.has_session = False
        self.got = {}      # payload: how often
        self.received = set()  # packet identifiers of QoS 2 that wait for PUBREL
        self.wanted = None  # payloads that end it

    def take(self, payload):
        self.got[payload] = self.got.get(payload, 0) + 1

    def on_packet(self, c, p):
        if p.type == PUBREL:
            self.received.discard(p.mid)
            return mqtt.ack(PUBCOMP, p.mid)
        if p.qos == 1:
            self.take(p.payload)
            return mqtt.ack(PUBACK, p.mid)
        if p.mid not in self.received:
            self.received.add(p.mid)
            self.take(p.payload)
        return mqtt.ack(PUBREC, p.mid)

    def live(self, c, done):
        c.subscribe(self.topic, qos=self.qos, rh=1)
        late = []
        while self.wanted is None or not self.wanted <= set(self.got) or self.received:
            p = c.recv()
            if p.type in (PUBLISH, PUBREL):
                late.append(self.on_packet(c, p))
            if self.wanted is not None or len(late) >= self.lag:
                c.send(*late)
                late.clear()
        c.ping()
        done.set()
        c.disconnect()


@unittest.skipIf(KIND != 'pigeon', 'mosquitto keeps less')
class Crash(unittest.TestCase):
    # Messages of QoS 1 that may come again after one kill: acknowledgements that were under way.
    again = 400

    def setUp(self):
        self.seed = random.randrange(1 << 32)
        self.random = random.Random(self.seed)

    def life(self, broker, peers):
        """Starts the broker and its clients; they are to be joined."""
        broker.start()
        out = [Peer(broker.address, state) for state in peers]
        for t in out:
            t.start()
        return out

    def join(self, threads):
        for t in threads:
            t.join(mqtt.DEADLINE * 2)
            self.assertFalse(t.is_alive())
            if t.error:
                raise t.error

    def subscribe(self, broker, subscribers):
        """A first life in which the subscriptions are made."""
        for s in subscribers:
            s.wanted = set()
        self.join(self.life(broker, subscribers))
        for s in subscribers:
            s.wanted = None
        broker.kill()
        self.killed(broker)

    def storm(self, broker, peers):
        for _ in range(ROUNDS):
            threads = self.life(broker, peers)
            threads[-1].join(self.random.uniform(0.05, 0.6))  # a moment of load
            broker.kill()
            self.join(threads)
            self.killed(broker)

    def settle(self, broker, publishers, subscribers):
        """A last life in which everything comes to its end."""
        for p in publishers:
            p.stopping = True
        self.join(self.life(broker, publishers))
        for s in subscribers:
            s.wanted = set().union(*(p.acked for p in publishers if s.topic in (p.topic, 'crash/+')))
        threads = [Peer(broker.address, state) for state in subscribers]
        for t in threads:
            t.start()
        deadline = time.monotonic() + mqtt.DEADLINE * 6
        for t in threads:
            while t.is_alive() and not t.done.is_set():
                self.assertLess(time.monotonic(), deadline, self.missing(t.state))
                t.join(0.2)
        self.join(threads)

    @staticmethod
    def missing(s):
        lost = sorted(s.wanted - set(s.got))
        return f'{s.name}: {len(lost)} of {len(s.wanted)} acknowledged messages lost: {lost[:9]}'

    def killed(self, broker):
        """What is left of the disk when the broker was killed."""

    def prepared(self, broker):
        """Before its first start."""

    def round_trip(self, store):
        publishers = [Publisher(f'p{qos}{i}', f'crash/{qos}', qos) for qos in (1, 2)
                      for i in range(2)]
        subscribers = [Subscriber(f's{qos}', f'crash/{qos}', qos) for qos in (1, 2)]
        subscribers.append(Subscriber('mixed', 'crash/+', 2, lag=700))
        broker = Broker({'persistence': store, 'limits': {'queue_messages': 10_000_000}})
        try:
            self.prepared(broker)
            self.subscribe(broker, subscribers)
            self.storm(broker, subscribers + publishers)
            self.settle(broker, publishers, subscribers)
            code = broker.stop()
            self.assertEqual(code, 0, broker.report())
            self.assertFalse(broker.complaints())
        finally:
            broker.cleanup()
        for s in subscribers:
            self.assertFalse(s.wanted - set(s.got), self.missing(s))
            self.assertGreater(len(s.wanted), 0)
        for s in subscribers[1:]:
            twice = [one for one, n in s.got.items() if n > 1 and one.startswith(b'p2')]
            self.assertFalse(twice, f'{s.name}: QoS 2 came twice: {twice[:9]}')
        again = sum(subscribers[0].got.values()) - len(subscribers[0].got)
        self.assertLessEqual(again, self.again * ROUNDS)

    def test_nothing_acknowledged_is_lost_and_qos_2_comes_once(self):
        names = stores()
        if not names:
            self.skipTest('no durable store')
        for store in names:
            with self.subTest(store=store, seed=self.seed):
                self.round_trip(store)


class PowerLoss(Crash):
    """Only what was synced is left."""

    again = 100_000  # acknowledgements of QoS 1 wait for the next sync of somebody else

    def prepared(self, broker):
        fake = os.path.join(os.path.dirname(Broker.binary()), 'tests', 'libdisk.so')
        if not os.path.isfile(fake):
            self.skipTest('no fake disk in this build')
        self.shadow = os.path.join(broker.dir, 'shadow')
        os.mkdir(self.shadow)
        broker.prefix = ['env', f'LD_PRELOAD={fake}', f'DISK_DIR={broker.state_dir}',
                         f'DISK_SHADOW={self.shadow}']

    def killed(self, broker):
        shutil.rmtree(broker.state_dir)
        shutil.copytree(self.shadow, broker.state_dir)
        os.chmod(broker.state_dir, 0o700)
