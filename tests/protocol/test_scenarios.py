"""The scenarios of docs/concurrency.md, by their numbers: what is forced here is forced with a
store that holds or refuses answers (tests/plugin/store_fail.c) and with several event loops.

Crashes between the steps belong to the tests of the durable stores. Token and credit protocols
(7, 13) are forced step by step in tests/unit; a turn that is held between match and delivery (2)
in tests/unit/test_broker_turn.c.
"""

import contextlib
import os
import random
import select
import tempfile
import threading
import time
from unittest import mock

import mqtt
from broker import LISTENER, THREADS, Broker, BrokerCase, merge, pigeon_only
from mqtt import (CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, V5, Closed,
                  Failure, Will)
from traffic import Publisher, Receiver

LONG = {'session_expiry_interval': 600}


def store_fail(**options):
    """Configuration of the store that fails as it is told."""
    path = os.path.join(os.path.dirname(Broker.binary()), 'tests', 'plugin', 'store-fail.so')
    return {'persistence': 'fail', 'plugins': {'store-fail': {'file': path, 'options': options}}}


class HeldCase(BrokerCase):
    """The store answers no batch while self.held(), or begins no scan of a queue."""

    holds, more = 'hold_file', {}

    @classmethod
    def setUpClass(cls):
        cls.hold_file = os.path.join(tempfile.gettempdir(),
                                     f'pigeon-hold-{os.getpid()}-{cls.__name__}')
        cls.options = merge(store_fail(**{cls.holds: cls.hold_file}), cls.more)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        cls.let_go()
        super().tearDownClass()

    @classmethod
    def let_go(cls):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(cls.hold_file)

    @contextlib.contextmanager
    def held(self):
        with open(self.hold_file, 'wb'):
            pass
        try:
            yield
        finally:
            self.let_go()

    def durable(self, name='c', present=None, expiry=600, **kw):
        return self.client(name, session_present=present, props={'session_expiry_interval': expiry},
                           **kw)

    def newcomer(self, name='c', clean=False, expiry=600):
        """Its CONNECT is sent, nothing more."""
        c = self.raw(self.id(name), clean=clean, props={'session_expiry_interval': expiry})
        c.send_connect()
        return c


@pigeon_only
class Takeover(HeldCase):
    """4, 5"""

    more = {'threads': THREADS}

    def test_4_a_connection_that_dies_in_a_takeover_lets_the_third_one_in(self):
        for old_expiry in (0, 600):
            for clean2 in (False, True):
                for clean3 in (False, True):
                    with self.subTest(old_expiry=old_expiry, clean2=clean2, clean3=clean3):
                        self.dies_in_a_takeover(old_expiry, clean2, clean3)

    def dies_in_a_takeover(self, old_expiry, clean2, clean3):
        topic = self.topic()
        old = self.durable(expiry=old_expiry)
        old.subscribe(topic, qos=1)
        with self.held():
            # Of a session that ends with its connection nothing but a will has to be stored.
            old.send(mqtt.publish(topic, b'own', 1, 9, retain=True))
            old.expect(PUBLISH)
            second = self.newcomer(clean=clean2)
            old.wait(DISCONNECT, reason=0x8E)
            third = self.newcomer(clean=clean3)
            second.abort()
            self.still_serving()
        third.expect(CONNACK, reason=0, session_present=not clean3)
        third.publish(topic, b'', 1, retain=True)
        third.disconnect(0, {'session_expiry_interval': 0})

    def test_4_the_old_session_expires_while_two_connects_wait_for_its_batch(self):
        old = self.durable(expiry=1)
        old.subscribe(self.topic(), qos=1)
        with self.held():
            old.send(mqtt.publish(self.topic(), b'own', 1, 9, retain=True))
            old.expect(PUBLISH)
            second = self.newcomer()
            old.wait(DISCONNECT, reason=0x8E)
            third = self.newcomer()
            second.close()
            third.quiet(1.3)
        third.expect(CONNACK, reason=0)
        third.publish(self.topic(), b'', 1, retain=True)

    def test_5_a_takeover_of_a_qos_2_publisher_before_the_commit(self):
        topic = self.topic()
        sub = self.durable('s')
        sub.subscribe(topic, qos=2)
        for repeats in (0, 1, 2):
            with self.subTest(repeats=repeats):
                pub = self.durable('p', clean=False)
                with self.held():
                    pub.send(*[mqtt.publish(topic, b'once', 2, 7, dup=i > 0)
                               for i in range(repeats + 1)])
                    pub.expect_nothing()
                    new = self.newcomer('p')
                    pub.expect(DISCONNECT, reason=0x8E)
                    sub.expect_nothing()
                new.expect(CONNACK, reason=0, session_present=True)
                self.assertEqual(new.publish(topic, b'once', 2, mid=7, dup=True), 0)
                sub.message(topic, b'once')
                self.expect_nothing_from(new, sub)
                new.disconnect()

    def test_5_a_publisher_that_is_gone_before_the_commit_is_heard(self):
        topic = self.topic()
        sub = self.durable('s')
        sub.subscribe(topic, qos=2)
        for how in ('close', 'abort', 'disconnect'):
            pub = self.durable('p', clean=False)
            with self.held():
                pub.send(mqtt.publish(topic, how.encode(), 2, 8))
                pub.expect_nothing()
                getattr(pub, how)()
                sub.expect_nothing()
            sub.message(topic, how.encode())
            pub = self.durable('p', True, clean=False)
            self.assertEqual(pub.publish(topic, how.encode(), 2, mid=8, dup=True), 0)
            pub.disconnect()
            self.expect_nothing_from(self.client('f'), sub)


@pigeon_only
class TakeoverOnThreeLoops(Takeover):
    more = {'threads': max(THREADS, 3)}


@pigeon_only
class Identifiers(HeldCase):
    """9"""

    def test_9_a_second_publish_with_the_identifier_waits_for_the_same_answer(self):
        topic = self.topic()
        sub, pub = self.durable('s'), self.durable('p')
        sub.subscribe(topic, qos=2)
        with self.held():
            one = mqtt.publish(topic, b'x', 2, 5)
            pub.send(one, one, one)
            pub.expect_nothing()
        pub.expect(PUBREC, mid=5, reason=0)
        pub.expect_nothing()
        pub.send(one)
        pub.expect(PUBREC, mid=5, reason=0)
        with self.held():
            pub.send(mqtt.ack(PUBREL, 5), mqtt.ack(PUBREL, 5))
            pub.expect_nothing()
        pub.expect(PUBCOMP, mid=5, reason=0)
        pub.expect_nothing()
        sub.message(topic, b'x')
        self.expect_nothing_from(pub, sub)

    def test_9_a_pubrel_before_its_pubrec_is_an_error(self):
        self.durable('s').subscribe(self.topic(), qos=2)
        pub = self.durable('p')
        with self.held():
            pub.send(mqtt.publish(self.topic(), b'x', 2, 5), mqtt.ack(PUBREL, 5))
            pub.expect_close(0x82)

    def test_9_nothing_leaves_before_its_step_is_committed(self):
        """PUBLISH after the identifier's commit, PUBREL after PUBREC's, the identifier is free
        after PUBCOMP's."""
        topic = self.topic()
        sub, pub = self.durable('s'), self.client('p')
        sub.subscribe(topic, qos=2)
        with self.held():
            pub.send(mqtt.publish(topic, b'1', 2, 1))
            sub.expect_nothing()
            pub.expect_nothing()
        pub.expect(PUBREC, mid=1)
        pub.send(mqtt.ack(PUBREL, 1))
        pub.expect(PUBCOMP, mid=1)
        p = sub.expect(PUBLISH, payload=b'1')
        with self.held():
            sub.send(mqtt.ack(PUBREC, p.mid))
            sub.expect_nothing()
        sub.expect(PUBREL, mid=p.mid)
        with self.held():
            sub.send(mqtt.ack(PUBCOMP, p.mid))
            sub.expect_nothing()
        self.assertEqual(pub.publish(topic, b'2', 2), 0)
        sub.message(topic, b'2')

    def test_9_the_receiver_reconnects_while_a_step_is_held(self):
        topic = self.topic()
        pub = self.client('p')
        sub = self.durable('s')
        sub.subscribe(topic, qos=2)
        for step in ('publish', 'pubrec', 'pubcomp'):
            for clean in (False, True):
                with self.subTest(step=step, clean=clean):
                    sub = self.step_held(pub, sub, topic, step, clean)
        self.expect_nothing_from(pub, sub)

    def step_held(self, pub, sub, topic, step, clean):
        """Returns the receiver's new connection; the message has been delivered exactly once to
        the session that was there."""
        with self.held() if step == 'publish' else contextlib.nullcontext():
            pub.send(mqtt.publish(topic, step.encode(), 2, 1))
            if step == 'publish':
                pub.expect_nothing()
                new = self.newcomer('s', clean)
        pub.wait(PUBREC, mid=1, reason=0)
        pub.send(mqtt.ack(PUBREL, 1))
        pub.wait(PUBCOMP, mid=1)
        if step != 'publish':
            p = sub.expect(PUBLISH, payload=step.encode())
            if step == 'pubcomp':
                sub.send(mqtt.ack(PUBREC, p.mid))
                sub.expect(PUBREL, mid=p.mid)
            with self.held():
                sub.send(mqtt.ack(PUBREC if step == 'pubrec' else PUBCOMP, p.mid))
                sub.ping()
                new = self.newcomer('s', clean)
                sub.expect(DISCONNECT, reason=0x8E)
        new.expect(CONNACK, reason=0, session_present=not clean)
        if clean:
            new.subscribe(topic, qos=2)
        elif step == 'publish':
            new.message(topic, step.encode())
        elif step == 'pubrec':
            new.expect(PUBREL, mid=p.mid)
            new.send(mqtt.ack(PUBCOMP, p.mid))
        self.expect_nothing_from(pub, new)
        return new

    def test_9_what_is_inflight_does_not_expire_and_keeps_its_identifier(self):
        topic = self.topic()
        sub = self.client('s', props={**LONG, 'receive_maximum': 2})
        sub.subscribe(topic, qos=2)
        pub = self.client('p')
        for i in range(4):
            pub.publish(topic, b'%d' % i, 2, props={'message_expiry_interval': 1})
        first = [sub.expect(PUBLISH, payload=b'%d' % i) for i in range(2)]
        sub.send(mqtt.ack(PUBREC, first[0].mid))
        sub.expect(PUBREL)
        sub.close()
        time.sleep(1.2)
        sub = self.client('s', clean=False, session_present=True,
                          props={**LONG, 'receive_maximum': 2})
        got = [sub.recv(), sub.recv()]
        self.assertEqual([(p.type, p.mid) for p in got],
                         [(PUBREL, first[0].mid), (PUBLISH, first[1].mid)])
        self.assertTrue(got[1].dup)
        pub.publish(topic, b'later', 2)
        sub.send(mqtt.ack(PUBCOMP, first[0].mid))
        p = sub.expect(PUBLISH, payload=b'later')
        self.assertNotIn(p.mid, (first[1].mid,))
        for p in (got[1], p):
            sub.acknowledge(p)
        self.expect_nothing_from(pub, sub)

    def test_a_commit_under_way_does_not_hold_up_others(self):
        topic = self.topic()
        pub, sub, other = self.durable('p'), self.durable('s'), self.subscriber('else', name='o')
        sub.subscribe(topic, qos=1)
        with self.held():
            pub.send(mqtt.publish(topic, b'x', 1, 1))
            sub.expect(PUBLISH, payload=b'x')  # QoS 1 leaves before the commit
            for i in range(10):
                self.client('q').publish('else', b'%d' % i, 1)
                other.message('else', b'%d' % i)
            pub.expect_nothing()
        pub.expect(PUBACK, mid=1, reason=0)


@pigeon_only
class Backlog(HeldCase):
    """11"""

    holds, more = 'hold_scans', {'threads': max(THREADS, 3), 'limits': {'inflight_out': 20}}

    def test_11_messages_that_arrive_during_the_scan_follow_its_rows(self):
        """n stored ones; `live` from each of two loops during the scan: held, or too many."""
        for n, live in ((100, 50), (1200, 300), (600, 1500)):
            with self.subTest(n=n, live=live):
                self.resume(n, live)

    def resume(self, n, live):
        topics = [self.topic('p', str(i)) for i in range(2)]
        sub = self.durable('s')
        sub.subscribe(self.topic('p', '#'), qos=1)
        sub.disconnect()
        pubs = [self.client(f'p{i}') for i in range(2)]
        self.burst(pubs, topics, 0, n // 2)
        with self.held():
            sub = self.durable('s', True, clean=False, auto_ack=True)
            for c, topic in zip(pubs, topics):
                c.send(*[mqtt.publish(topic, b'%d' % (n // 2 + i), 1, i + 1) for i in range(live)])
            for c in pubs:
                for i in range(live):
                    c.expect(PUBACK, mid=i + 1)
            sub.expect_nothing()
        self.burst(pubs, topics, n // 2 + live, 5)
        want = n // 2 + live + 5
        got = {topic: [] for topic in topics}
        while any(len(one) < want for one in got.values()):
            p = sub.expect(PUBLISH)
            got[p.topic].append(int(p.payload))
        for topic in topics:
            self.assertEqual(got[topic], list(range(want)))
        sub.expect_nothing()
        sub.disconnect(0, {'session_expiry_interval': 0})

    def burst(self, pubs, topics, first, n):
        for c, topic in zip(pubs, topics):
            c.send(*[mqtt.publish(topic, b'%d' % (first + i), 1, i + 1) for i in range(n)])
        for c in pubs:
            for i in range(n):
                c.expect(PUBACK, mid=i + 1)


@pigeon_only
class Subscribing(HeldCase):
    """P4: SUBACK after the commit, retained after SUBACK, nothing twice."""

    def test_12_a_subscription_is_inserted_when_it_is_committed(self):
        sub, pub = self.durable('s'), self.client('p')
        with self.held():
            sub.send(mqtt.subscribe([(self.topic(), 1)]))
            sub.expect_nothing()
            pub.publish(self.topic(), b'before', 0)
            pub.ping()
            pub.send(mqtt.publish(self.topic(), b'kept', 0, retain=True))
            pub.ping()
        sub.expect(SUBACK, reasons=[1])
        sub.expect(PUBLISH, payload=b'kept', retain=True)
        self.expect_nothing_from(pub, sub)

    def test_12_a_takeover_while_the_subscribe_is_held(self):
        for clean in (False, True):
            sub, pub = self.durable('s'), self.client('p')
            with self.held():
                sub.send(mqtt.subscribe([(self.topic(), 1)]))
                sub.expect_nothing()
                new = self.newcomer('s', clean)
                sub.expect(DISCONNECT, reason=0x8E)
            new.expect(CONNACK, reason=0, session_present=not clean)
            pub.publish(self.topic(), b'x', 1)
            got = [p.payload for p in self.fence(pub, new)]
            self.assertEqual(got, [] if clean else [b'x'])
            new.disconnect(0, {'session_expiry_interval': 0})

    def test_an_unsubscribe_ends_the_delivery_when_it_is_answered(self):
        sub, pub = self.durable('s'), self.client('p')
        sub.subscribe(self.topic(), qos=0)
        with self.held():
            sub.send(mqtt.unsubscribe([self.topic()]))
            sub.expect_nothing()
            pub.publish(self.topic(), b'still')
            sub.message(self.topic(), b'still')
        sub.expect(mqtt.UNSUBACK)
        pub.publish(self.topic(), b'no more')
        self.expect_nothing_from(pub, sub)


@pigeon_only
class OneId(BrokerCase):
    """1"""

    options = {'threads': max(THREADS, 3)}

    def test_1_three_connects_at_once_with_every_mix_of_clean_start(self):
        """One survivor; it sees nothing of a session that a Clean Start ended, and each publisher
        in order and once, its own messages included."""
        random.seed(1)
        topic = self.topic('p', '#')
        pubs = [Publisher(self.broker, self.id(f'p{i}'), self.topic('p', str(i)), qos=(0, 1))
                for i in range(4)]
        for p in pubs:
            p.start()
        for i in range(40):
            three = [self.raw(self.id('c'), clean=bool(i >> k & 1), auto_ack=True,
                              props={'session_expiry_interval': random.choice((0, 600))})
                     for k in range(3)]
            for c in three:
                c.send_connect()
                c.send(mqtt.subscribe([(topic, 1)], 1))
            alive = []
            for c in three:
                with contextlib.suppress(Closed):
                    c.wait(CONNACK, reason=0)
                    c.wait(SUBACK, mid=1)
                    alive.append(c)
            alive = [c for c in alive if c.is_open()]
            self.assertEqual(len(alive), 1)
            own = self.topic('p', 'own', str(i))
            alive[0].publish(own, b'0', 1)
            alive[0].wait(PUBLISH, topic=own)
            self.in_order(alive[0].drain())
            for c in three:
                c.close()
        for p in pubs:
            p.stop()

    def in_order(self, got):
        last = {}
        for p in got:
            if p.type != PUBLISH or p.dup:
                continue
            if p.topic in last and int(p.payload) != last[p.topic] + 1:
                raise Failure(f'{last[p.topic]} is followed by {p!r}')
            last[p.topic] = int(p.payload)

    def test_1_a_storm_on_one_id_leaves_it_usable(self):
        end, errors = time.monotonic() + 3, []

        def storm(seed):
            rnd, n = random.Random(seed), 0
            try:
                while time.monotonic() < end:
                    n += 1
                    c = mqtt.Client(self.broker, self.id('c'), clean=rnd.random() < 0.3,
                                    props=rnd.choice((LONG, {})),
                                    will=rnd.choice((None, Will(self.topic('w'), b'w', 1))))
                    c.send_connect()
                    c.send(mqtt.subscribe([(self.topic('#'), rnd.randint(0, 2))], 3),
                           mqtt.publish(self.topic(str(seed)), b'x', rnd.randint(1, 2),
                                        rnd.randint(1, 5), rnd.random() < 0.3))
                    with contextlib.suppress(Closed):
                        for _ in range(rnd.randint(0, 3)):
                            c.recv()
                    c.close() if rnd.random() < 0.5 else c.abort()
            except BaseException as e:
                errors.append(e)

        threads = [threading.Thread(target=storm, args=(i,)) for i in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise errors[0]
        c = self.client()
        while not c.is_open():  # those that came after it have gone
            c = self.client()
        c.subscribe(self.topic('end'), qos=1)
        c.publish(self.topic('end'), b'x', 1)
        c.message(self.topic('end'), b'x')


@pigeon_only
class TwoListeners(BrokerCase):
    """3"""

    options = {'threads': max(THREADS, 3),
               'listeners': [LISTENER, {**LISTENER, 'name': 'other'}]}

    def test_3_a_publisher_that_comes_back_on_another_listener_keeps_its_order(self):
        sub = self.subscriber(self.topic('#'), qos=1, auto_ack=True)
        ports = [('127.0.0.1', self.broker.ports[name]) for name in ('default', 'other')]
        c, last = None, -1
        for i in range(200):
            new = mqtt.Client(ports[i % 2], self.id('p'), clean=False, props=LONG)
            self._clients.append(new)
            if c:
                c.send(mqtt.publish(self.topic('m'), b'%d' % i, 0))
            new.send_connect()
            new.expect(CONNACK, reason=0)
            new.send(mqtt.publish(self.topic('m'), b'%d' % (1000 + i), 1, 1))
            new.expect(PUBACK)
            if c:
                c.close()
            c = new
        order = [int(p.payload) for p in self.fence(c, sub)]
        self.assertEqual([n for n in order if n >= 1000], list(range(1000, 1200)))
        for n in order:
            rank = n * 2 if n < 1000 else (n - 1000) * 2 + 1
            self.assertGreater(rank, last)
            last = rank


@pigeon_only
class Flood(BrokerCase):
    """7"""

    options = {'threads': max(THREADS, 2)}

    def test_7_loops_that_flood_each_other_are_never_stuck(self):
        subs = [self.subscriber(self.topic('#'), name=f's{i}') for i in range(40)]
        pubs = [self.client(f'p{i}') for i in range(4)]
        done = threading.Event()

        def read():
            poll = select.poll()
            for c in subs:
                poll.register(c.sock.fileno(), select.POLLIN)
            while not done.is_set():
                for fd, _ in poll.poll(50):
                    os.read(fd, 1 << 20)

        def flood(i):
            for _ in range(20):
                pubs[i].send(mqtt.publish(self.topic(str(i)), b'x' * 10) * 250)
            pubs[i].ping()

        reader = threading.Thread(target=read)
        reader.start()
        floods = [threading.Thread(target=flood, args=(i,), daemon=True) for i in range(4)]
        try:
            for t in floods:
                t.start()
            for t in floods:
                t.join(mqtt.DEADLINE * 3)
                self.assertFalse(t.is_alive())
        finally:
            done.set()
            reader.join()
        sub = self.subscriber(self.topic('end'), name='end')
        for c in pubs:
            c.publish(self.topic('end'), b'x', 1)
            sub.message(self.topic('end'), b'x')


class Exchange:
    """Two messages with QoS 2 from a publisher to a receiver, both durable; each side goes on as
    the specification says when something is refused for want of room."""

    def __init__(self, broker, window, version=V5):
        self.broker, self.got, self.held = broker, [], {}
        self.sub = self.connect('sub', {**LONG, 'receive_maximum': window})
        self.pub = self.connect('pub', LONG)
        while self.sub.subscribe('t', qos=2).reasons != [2]:
            time.sleep(0.02)

    def connect(self, name, props):
        while True:
            c = mqtt.Client(self.broker, name, clean=False, props=props)
            if c.connect(reason=None).reason == 0:
                return c
            c.close()
            time.sleep(0.02)

    def run(self):
        sent = threading.Thread(target=self.publish)
        sent.start()
        while self.held or len(self.got) < 2:
            self.take(self.sub.recv())
        sent.join()
        self.sub.expect_nothing()

    def publish(self):
        for i in range(2):
            while self.pub.publish('t', b'%d' % i, 2) != 0:
                time.sleep(0.02)

    def take(self, p):
        if p.type == PUBLISH:
            if p.mid in self.held:
                raise Failure(f'identifier in use: {p!r}')
            self.held[p.mid] = True
            self.got.append(p.payload)
            self.sub.send(mqtt.ack(PUBREC, p.mid))
        elif p.type == PUBREL:
            self.held.pop(p.mid)
            self.sub.send(mqtt.ack(PUBCOMP, p.mid))
        else:
            raise Failure(f'{p!r}')


@pigeon_only
class Refused(HeldCase):
    """8"""

    broker = None

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self._clients = []

    @contextlib.contextmanager
    def own(self, options):
        b = Broker(options)
        try:
            yield b.start()
            self.assertEqual(b.complaints(), [])
        finally:
            b.cleanup()

    def test_8_no_room_for_the_nth_batch_of_a_qos_2_exchange(self):
        for window in (1, 2):
            n, refused = 1, True
            while refused:
                with self.subTest(window=window, n=n), \
                        self.own(store_fail(fail_at=n, room_after='30ms')) as b:
                    x = Exchange(b, window)
                    x.run()
                    self.assertEqual(x.got, [b'0', b'1'])
                    # Nothing is left over, nothing comes again.
                    x.sub.close()
                    x.connect('sub', LONG).expect_nothing()
                    refused = any('store_no_room' in line for line in b.log)
                    if n % 4 == 0:
                        self.assertEqual(b.stop(), 0)
                n += 1
            self.assertGreater(n, 8)

    def test_8_a_failed_disk_acknowledges_nothing_and_ends_the_broker(self):
        for with_ in ('io', 'unknown'):
            with self.subTest(with_), self.own(store_fail(fail_at=4, fail_with=with_)) as b:
                sub, pub = (mqtt.Client(b, name, props=LONG) for name in ('sub', 'pub'))
                sub.connect()
                sub.subscribe('t', qos=2)
                pub.connect()
                pub.send(mqtt.publish('t', b'x', 2, 1))
                p = None
                with contextlib.suppress(Closed):
                    p = pub.recv()
                self.assertTrue(p is None or p.type == DISCONNECT, p)
                self.assertNotEqual(b.stop(term=False), 0)


@pigeon_only
class Stopping(Refused):
    """6"""

    def points(self, b):
        """Clients at each point where something is under way."""
        def client(name, **kw):
            c = mqtt.Client(b, name, clean=False, props=LONG, **kw)
            c.connect()
            return c
        sub = client('sub')
        sub.subscribe('t/#', qos=2)
        c = {name: client(name) for name in ('qos 1', 'qos 2', 'subscribe', 'taken over')}
        c['willing'] = client('willing', will=Will('t/w', b'will', 1))
        yield c
        c['qos 1'].send(mqtt.publish('t/1', b'x', 1, 1))
        c['qos 2'].send(mqtt.publish('t/2', b'x', 2, 1))
        c['subscribe'].send(mqtt.subscribe([('t/x', 1)]))
        c['taken over'].send(mqtt.publish('t/3', b'x', 2, 1))
        c['taken over'].ping()
        c['takes over'] = mqtt.Client(b, 'taken over', clean=False, props=LONG)
        c['takes over'].send_connect()
        c['waits'] = mqtt.Client(b, 'taken over', clean=True, props=LONG)
        c['waits'].send_connect()
        c['new'] = mqtt.Client(b, 'new', props=LONG)
        c['new'].send_connect()
        for name in ('qos 1', 'qos 2', 'subscribe'):
            c[name].ping()
        yield c

    def begin(self, b):
        steps = self.points(b)
        next(steps)
        with open(self.hold_file, 'wb'):
            pass
        return next(steps)

    def setUp(self):
        super().setUp()
        type(self).hold_file = os.path.join(tempfile.gettempdir(), f'pigeon-hold-{os.getpid()}')
        self.addCleanup(self.let_go)

    def test_6_a_store_that_never_answers_does_not_keep_the_broker(self):
        # What waits for ever is left to the end of the process: no leak.
        calm = os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0'
        with mock.patch.dict(os.environ, ASAN_OPTIONS=calm), \
                self.own(store_fail(hold_file=self.hold_file)) as b:
            c = self.begin(b)
            began = time.monotonic()
            b.stop()
            self.assertLess(time.monotonic() - began, 5.5)
            for name in ('qos 1', 'qos 2'):
                types = [p.type for p in self.rest(c[name])]
                self.assertNotIn(PUBACK, types)
                self.assertNotIn(PUBREC, types)

    def test_6_answers_that_come_during_the_stop_are_still_given(self):
        with self.own(store_fail(hold_file=self.hold_file)) as b:
            c = self.begin(b)
            b.process.terminate()
            b.wait_log(' stopping ')
            self.let_go()
            self.assertEqual(b.stop(term=False), 0)
            got = {name: self.rest(c[name]) for name in c}
            self.assertEqual(got['qos 1'][0].type, PUBACK)
            self.assertEqual(got['qos 2'][0].type, PUBREC)
            self.assertEqual(got['subscribe'][0].type, SUBACK)
            for name in ('qos 1', 'qos 2', 'subscribe'):
                self.assertEqual((got[name][-1].type, got[name][-1].reason), (DISCONNECT, 0x8B))
            for name in ('waits', 'takes over', 'new'):
                self.assertTrue(got[name], name)

    @staticmethod
    def rest(c):
        got = []
        with contextlib.suppress(Closed):
            while True:
                got.append(c.recv())
        return got

    test_8_no_room_for_the_nth_batch_of_a_qos_2_exchange = None
    test_8_a_failed_disk_acknowledges_nothing_and_ends_the_broker = None


@pigeon_only
class Retained(BrokerCase):
    """12"""

    options = {'threads': max(THREADS, 2)}

    def test_12_two_publishers_of_one_retained_topic_and_subscribes_meanwhile(self):
        """SUBACK first, one copy that was kept, then each publisher's values in order."""
        topic, stop, errors = self.topic(), threading.Event(), []

        def write(name):
            try:
                c, n = mqtt.Client(self.broker, self.id(name)), 0
                c.connect()
                while not stop.is_set():
                    n += 1
                    c.publish(topic, f'{name} {n}', 1, retain=True)
                c.disconnect()
            except BaseException as e:
                errors.append(e)

        writers = [threading.Thread(target=write, args=(name,)) for name in 'ab']
        for t in writers:
            t.start()
        try:
            for i in range(60):
                c = self.client(f's{i}')
                c.send(mqtt.subscribe([(topic, 0)]))
                got = [c.recv() for _ in range(6)]
                self.assertEqual(got[0].type, SUBACK)
                self.assertEqual([p.retain for p in got[2:]], [False] * 4)
                seen = {}
                for p in got[1:]:
                    name, n = p.payload.decode().split()
                    if not p.retain and name in seen:
                        self.assertEqual(int(n), seen[name] + 1)
                    self.assertGreater(int(n), seen.get(name, 0))
                    seen[name] = int(n)
                c.close()
        finally:
            stop.set()
            for t in writers:
                t.join()
        self.assertEqual(errors, [])

    def test_12_all_of_many_retained_topics_come_once_while_others_publish(self):
        n = 20000
        pub = self.client('pub')
        pub.send(*[mqtt.publish(self.topic('kept', str(i)), b'k', 0, retain=True)
                   for i in range(n)])
        pub.ping()
        sub = self.client('sub')
        sub.send(mqtt.subscribe([(self.topic('#'), 0)]))
        live = 0
        sub.expect(SUBACK)
        kept = set()
        while len(kept) < n:
            if live < 500:
                pub.send(mqtt.publish(self.topic('live'), b'%d' % live))
                live += 1
            p = sub.expect(PUBLISH)
            if p.retain:
                self.assertNotIn(p.topic, kept)
                kept.add(p.topic)
        got = [p for p in self.fence(pub, sub)]
        self.assertFalse(any(p.retain for p in got))
        pub.send(*[mqtt.publish(self.topic('kept', str(i)), b'', 0, retain=True)
                   for i in range(n)])
        pub.ping()
