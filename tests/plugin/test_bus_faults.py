"""Several nodes when something goes wrong: nodes that die, parcels that get lost, a bus that is down
or does not move, others that talk nonsense."""

import os
import struct
import threading
import unittest

import broker
import bus_case
import mqtt
from bus_case import Cluster, ClusterCase, RawNode, hello, interest, message, word
from mqtt import PUBLISH, V311
from plugin_case import Broker, judge


def retained(case, node, topic):
    """The retained message of a topic at a node, or None."""
    c = case.client(node, f'r{os.urandom(3).hex()}')
    mark = case.topic('mark', c.client_id)
    c.subscribe(topic, mark)
    c.publish(mark, b'')  # waits behind retained messages
    payload = None
    while (p := c.message()).topic != mark:
        payload = p.payload
    c.close()
    return payload


class Join(ClusterCase):
    n_nodes = 3

    def test_a_node_that_comes_back_learns_everything_and_is_served(self):
        kept, gone, t = self.topic('kept'), self.topic('gone'), self.topic('x')
        pub = self.client(0, 'pub')
        pub.publish(kept, b'before', qos=1, retain=True)
        pub.publish(gone, b'before', qos=1, retain=True)
        self.until(lambda: retained(self, 2, gone) == b'before', 'not there')
        there = self.subscriber(1, t)
        since = [len(b.log) for b in self.nodes]
        self.nodes[2].kill()
        pub.publish(kept, b'meanwhile', qos=1, retain=True)
        pub.publish(gone, b'', qos=1, retain=True)
        pub.publish(t, b'meanwhile')
        self.assertEqual(there.expect(PUBLISH).payload, b'meanwhile')
        self.nodes[2].start()
        for i in (0, 1):
            self.nodes[i].wait_log('node_gone node=node2', since[i], mqtt.DEADLINE)
            self.nodes[i].wait_log('node_up node=node2', since[i], mqtt.DEADLINE)
        back = self.subscriber(2, t)
        self.until(lambda: retained(self, 2, kept) == b'meanwhile', 'not told')
        self.assertIsNone(retained(self, 2, gone))
        pub.publish(t, b'again')
        self.assertEqual(back.expect(PUBLISH).payload, b'again')
        self.assertEqual(there.expect(PUBLISH).payload, b'again')
        self.client(2, 'from').publish(t, b'from there')
        self.assertEqual(there.expect(PUBLISH).payload, b'from there')

    def test_what_a_dead_node_wanted_is_forgotten(self):
        t = self.topic('x')
        self.subscriber(2, t)
        pub = self.client(0, 'pub')
        self.assertEqual(pub.publish(t, qos=1), 0)
        since = len(self.nodes[0].log)
        self.nodes[2].kill()
        self.nodes[0].wait_log('node_gone node=node2', since, mqtt.DEADLINE)
        self.assertEqual(pub.publish(t, qos=1), 0x10)
        self.nodes[2].start()
        self.nodes[0].wait_log('node_up node=node2', since, mqtt.DEADLINE)

    def test_a_node_that_stops_says_so(self):
        since = len(self.nodes[0].log)
        self.assertEqual(self.nodes[2].stop(), 0)
        line = self.nodes[0].wait_log('node_gone node=node2', since, mqtt.DEADLINE)
        self.assertIn('it has stopped', line)
        self.nodes[2].start()
        self.nodes[0].wait_log('node_up node=node2', since, mqtt.DEADLINE)


class Faulty:
    """Lost, doubled and late parcels: in the end every node knows what it has to."""

    n_nodes = 2

    def test_interests_and_retained_messages_are_told_again(self):
        topics = [self.topic(str(i)) for i in range(30)]
        pub = self.client(0, 'pub')
        for i, t in enumerate(topics):
            pub.publish(t, b'%d' % i, qos=1, retain=True)
        subs = [self.client(1, f's{i}') for i in range(30)]
        for c, t in zip(subs, topics):
            c.subscribe(self.topic('live', t))
        reader = self.client(1, 'reader')
        for t in topics:
            self.until(lambda: self._is_there(reader, t), f'{t} is missing')
        for c, t in zip(subs, topics):
            self.until(lambda: pub.publish(self.topic('live', t), qos=1) == 0, f'{t} not known')

    def _is_there(self, reader, topic):
        mark = self.topic('mark')
        reader.unsubscribe(topic, mark)
        reader.subscribe(topic, mark)
        reader.publish(mark, b'')
        seen = False
        while (p := reader.message()).topic != mark:
            seen = seen or p.topic == topic
        return seen

    def test_nothing_arrives_twice(self):
        t = self.topic('x')
        c = self.client(1, 'sub', auto_ack=True)
        c.subscribe(t, qos=1)
        pub = self.client(0, 'pub')
        self.until(lambda: pub.publish(t, b'0', qos=1) == 0, 'not known')
        for i in range(1, 200):
            pub.publish(t, b'%d' % i, qos=1)
        self.until(lambda: pub.publish(t, b'end', qos=1) == 0, 'lost')
        got = []
        while True:
            try:
                p = c.expect(PUBLISH, 0.5).payload
            except mqtt.Timeout:
                pub.publish(t, b'end', qos=1)
                continue
            if p == b'end':
                break
            got.append(int(p))
        self.assertEqual(got, sorted(set(got)))


class Dropping(Faulty, ClusterCase):
    faults = {'drop': 3}

    def tearDown(self):
        self.counted(1, 'holes', 1)
        super().tearDown()


class Repeating(Faulty, ClusterCase):
    faults = {'repeat': 2, 'echo': True}

    def tearDown(self):
        self.counted(1, 'dropped/repeat', 1)
        self.counted(1, 'dropped/echo', 1)
        super().tearDown()


class Delaying(Faulty, ClusterCase):
    faults = {'delay': 4}


class Busy(Faulty, ClusterCase):
    faults = {'busy': 2, 'pending': '20ms'}


class Down(ClusterCase):
    n_nodes = 2
    options = {'on_bus_down': 'local'}

    def down(self, i=0):
        since = len(self.nodes[i].log)
        self.cluster.command(i, 'down')
        self.nodes[i].wait_log('bus_down', since, mqtt.DEADLINE)

    def up(self, i=0):
        since = len(self.nodes[i].log)
        self.cluster.command(i, 'up')
        self.nodes[i].wait_log('node_up', since, mqtt.DEADLINE)

    def test_what_is_published_stays_here(self):
        t = self.topic('x')
        here, there = self.subscriber(0, t), self.subscriber(1, t)
        self.down()
        pub = self.client(0, 'pub')
        self.assertEqual(pub.publish(t, b'down', qos=1), 0)
        self.assertEqual(here.expect(PUBLISH).payload, b'down')
        self.up()
        self.until(lambda: self._reaches(pub, t, there), 'not up again')

    @staticmethod
    def _reaches(pub, t, there):
        pub.publish(t, b'up', qos=1)
        try:
            return there.expect(PUBLISH, 0.1).payload == b'up'
        except mqtt.Timeout:
            return False

    def test_numbers_say_so(self):
        self.until(lambda: self.number(0, 'up') == 1, 'not up')
        self.until(lambda: self.number(0, 'nodes') == 1, 'not there')
        self.down()
        self.until(lambda: self.number(0, 'up') == 0, 'still up')
        self.until(lambda: self.number(0, 'nodes') == 0, 'still there')
        self.up()


class Refuse(Down):
    options = {'on_bus_down': 'refuse'}

    def test_what_is_published_stays_here(self):
        t = self.topic('x')
        here = self.subscriber(0, t)
        pub, old = self.client(0, 'pub'), self.client(0, 'old', version=V311)
        self.down()
        self.assertEqual(pub.publish(t, b'1', qos=1), 0x97)
        self.assertEqual(pub.publish(t, b'2', qos=2), 0x97)
        pub.publish(t, b'0')
        old.send(mqtt.publish(t, b'1', 1, 1, version=V311))
        old.ping()
        self.up()
        self.assertEqual(pub.publish(t, b'up', qos=1), 0)
        self.assertEqual(here.expect(PUBLISH).payload, b'up')


class Frozen(ClusterCase):
    """A node whose bus does not move: what waits for it is bounded, and the others go on."""

    n_nodes = 3
    options = {'bus_hello': '60s', 'bus_queue': '256k'}
    faults = {'buffer': '64k'}

    def test_what_waits_is_bounded_and_publishers_pause(self):
        t, other = self.topic('x'), self.topic('other')
        there = self.subscriber(1, t, qos=1)
        third = self.subscriber(2, other, qos=1)
        self.cluster.command(1, 'frozen')
        pub = self.client(0, 'pub')
        pub.sock.settimeout(0.5)
        sent = self._flood(pub, t)
        self.assertLess(sent, 30000)  # it was not read any more
        self.counted(0, 'queued', 256 * 1024)
        self.assertLess(self.number(0, 'queued'), 3 * 256 * 1024)
        another = self.client(0, 'another')
        self.assertEqual(another.publish(other, b'goes on', qos=1), 0)
        self.assertEqual(third.expect(PUBLISH).payload, b'goes on')
        self.cluster.command(1, 'up')
        for i in range(sent):
            self.assertEqual(int(there.expect(PUBLISH).payload[:8]), i, f'of {sent}')

    @staticmethod
    def _flood(pub, topic):
        """QoS 1 until the socket takes no more; how many whole packets it took."""
        for i in range(30000):
            packet = mqtt.publish(topic, b'%08d' % i + b'x' * 1000, 1, i % 65535 + 1)
            try:
                pub.sock.sendall(packet)
            except TimeoutError:
                return i
        return 30000

    def test_qos_0_is_dropped_and_counted(self):
        t = self.topic('x')
        self.subscriber(1, t)
        self.cluster.command(1, 'frozen')
        pub = self.client(0, 'pub')
        for _ in range(3000):
            pub.send(mqtt.publish(t, b'x' * 1000))
        pub.ping()
        self.counted(0, 'dropped/queue', 100)
        self.assertLess(self.number(0, 'queued'), 300 * 1024)
        self.cluster.command(1, 'up')


class FrozenParked(Frozen):
    faults = {'buffer': '64k', 'park': True}


class Flood(ClusterCase):
    """Two nodes that have more for one another than fits: nobody waits for ever, nothing is lost."""

    n_nodes = 2
    options = {'bus_queue': '1M'}
    faults = {'buffer': '64k'}

    def test_both_go_on(self):
        n, topics = 5000, [self.topic('0'), self.topic('1')]
        subs = [self.subscriber(1 - i, t, qos=1) for i, t in enumerate(topics)]
        pubs = [self.client(i, f'pub{i}') for i in range(2)]
        data = [b''.join(mqtt.publish(t, b'%08d' % i + b'x' * 1000, 1, i + 1) for i in range(n))
                for t in topics]
        writers = [threading.Thread(target=p.send, args=(d,)) for p, d in zip(pubs, data)]
        for w in writers:
            w.start()
        for c in subs:
            for i in range(n):
                self.assertEqual(int(c.expect(PUBLISH).payload[:8]), i)
        for p in pubs:
            for i in range(n):
                p.expect(mqtt.PUBACK, mid=i + 1)
        for w in writers:
            w.join()


class FrozenGone(ClusterCase):
    n_nodes = 2
    options = {'bus_queue': '256k'}
    faults = {'buffer': '64k'}

    def test_publishers_go_on_when_the_node_is_given_up(self):
        t = self.topic('x')
        self.subscriber(1, t, qos=1)
        since = len(self.nodes[0].log)
        self.cluster.command(1, 'frozen')
        pub = self.client(0, 'pub')
        pub.send(*[mqtt.publish(t, b'x' * 1000, 1, i + 1) for i in range(2000)])
        for i in range(2000):
            pub.expect(mqtt.PUBACK, mid=i + 1)
        self.nodes[0].wait_log('node_gone node=node1', since, mqtt.DEADLINE)
        self.cluster.command(1, 'up')


class Hostile(ClusterCase):
    """A node in Python that says what it likes."""

    n_nodes = 1

    def node(self, **kw):
        n = RawNode(self.cluster, **kw)
        self.addCleanup(n.close)
        self.nodes[0].wait_log('bus_up')
        return n

    def met(self, node_id, **kw):
        n = self.node(node_id=node_id, **kw)
        n.wait_dialed()
        n.meet()
        self.nodes[0].wait_log(f'node_up node={node_id}')
        return n

    def test_a_welcome_is_answered_with_everything(self):
        self.client(0, 'sub').subscribe(self.topic('#'))
        self.client(0, 'pub').publish(self.topic('kept'), b'kept', qos=1, retain=True)
        n = self.met('raw-a')
        n.wait(lambda p: p[0] == 1 and b'\x04' in p[4] and self.topic('#').encode() in p[4])
        n.wait(lambda p: self.topic('kept').encode() in p[4])

    def test_an_interest_gets_messages_and_a_message_is_routed(self):
        n = self.met('raw-b')
        c = self.client(0, 'c')
        c.subscribe(self.topic('in'))
        n.send(interest(self.topic('out')))
        self.until(lambda: c.publish(self.topic('out'), b'out', qos=1) == 0, 'not known')
        n.wait(lambda p: p[0] == 0 and b'out' in p[4])
        n.send(message(self.topic('in'), b'in'), kind=0)
        self.assertEqual(c.expect(PUBLISH).payload, b'in')

    def test_nonsense_is_dropped_and_counted_and_nothing_else_happens(self):
        n = self.met('raw-c')
        c = self.client(0, 'c')
        c.subscribe(self.topic('in'))
        bad = self.number(0, 'dropped/bad')
        whole = message(self.topic('in'), b'payload', groups=[f'$share/g/{self.topic("in")}'])
        cut = 0
        for size in range(1, len(whole)):
            n.send(whole[:size], kind=0)
            cut += 1
        others = [message('', b''), message('a/+', b''), message('$SYS/x', b''),
                  message(b'\xff\xfe', b''), message('a', b'', qos=3), message('a', groups=['g/a']),
                  message('a', flags=64), message('a', ms=1 << 63)]
        for body in others:
            n.send(body, kind=0)
        words = [word(1, b''), word(4, b'\x01\xff\xff\xff\xff'), interest('a/#/b'), interest('$SYS/#'),
                 interest('$share/x'), word(6, whole[:9]), word(7, b'\x00'), word(10, b'\x00\x00'),
                 struct.pack('>BI', 4, 1 << 31)]
        for body in words:
            n.send(body)
        n.send(message(self.topic('in'), b'old'), kind=0, version=9)
        n.send(b'\x00' * 100, kind=7)
        n.send(message(self.topic('in'), b'end'), kind=0)
        self.assertEqual(c.expect(PUBLISH).payload, b'end')
        self.counted(0, 'dropped/bad', bad + cut + len(others) + len(words) + 2)
        n.send(word(200, b'from a newer version'))
        c.ping()

    def test_a_repeat_is_dropped_and_a_hole_is_asked_about(self):
        n = self.met('raw-d')
        c = self.client(0, 'c')
        c.subscribe(self.topic('in'))
        seq = n.send(message(self.topic('in'), b'1'), kind=0)
        n.send(message(self.topic('in'), b'again'), kind=0, seq=seq)
        n.send(message(self.topic('in'), b'2'), kind=0, seq=seq + 5)
        n.send(message(self.topic('in'), b'late'), kind=0, seq=seq + 3)
        n.send(message(self.topic('in'), b'3'), kind=0, seq=seq + 6)
        self.assertEqual([c.expect(PUBLISH).payload for _ in range(3)], [b'1', b'2', b'3'])
        n.wait(lambda p: p[0] == 1 and word(9) in p[4])
        self.counted(0, 'dropped/repeat', 2)
        self.counted(0, 'holes', 4)

    def test_the_same_node_id_or_incarnation_twice_is_not_believed(self):
        n = self.node(node_id='node0')
        n.wait_dialed()
        n.meet()
        self.nodes[0].wait_log('bus_node_id_twice node=node0')
        me = next(iter(n.links))
        echo = self.number(0, 'dropped/echo')
        n.send(hello('raw-e'), source=me)
        self.counted(0, 'dropped/echo', echo + 1)

    def test_a_younger_life_of_a_node_replaces_the_older(self):
        old = self.met('raw-f')
        since = len(self.nodes[0].log)
        young = self.node(node_id='raw-f')
        young.wait_dialed()
        young.meet()
        self.nodes[0].wait_log('node_up node=raw-f', since)
        old.send(hello('raw-f'))
        self.nodes[0].wait_log('bus_node_id_twice node=raw-f', since)

    def test_a_stranger_is_not_heard(self):
        n = self.node()
        unknown = self.number(0, 'dropped/unknown')
        c = self.client(0, 'c')
        c.subscribe(self.topic('in'))
        n.send(message(self.topic('in'), b'x'), kind=0)
        self.counted(0, 'dropped/unknown', unknown + 1)
        c.ping()

    def test_an_expired_or_older_retained_message_is_not_kept(self):
        n = self.met('raw-g')
        t = self.topic('kept')
        c = self.client(0, 'c')
        c.publish(t, b'new', qos=1, retain=True)
        n.send(word(6, message(t, b'old', retain=True, plain=False, ms=5)))
        n.send(word(6, message(self.topic('other'), b'other', retain=True, plain=False, ms=5)))
        self.until(lambda: retained(self, 0, self.topic('other')) == b'other', 'not kept')
        self.assertEqual(retained(self, 0, t), b'new')
        n.send(word(7, bus_case.u16s(t) + struct.pack('>QQ', 1 << 50, 1)))
        self.until(lambda: retained(self, 0, t) is None, 'not deleted')


class Stored(ClusterCase):
    """A node that comes back with what its store has kept."""

    options = {'persistence': 'sqlite'}

    @classmethod
    def setUpClass(cls):
        dirs = broker.plugin_dirs(Broker.binary())
        if not any(os.path.exists(os.path.join(d, 'store-sqlite.so')) for d in dirs):
            raise unittest.SkipTest('no store-sqlite in this build')
        super().setUpClass()

    def test_its_durable_sessions_are_served(self):
        t = self.topic('x')
        props = {'session_expiry_interval': 100}
        self.subscriber(1, t, name='durable', qos=1, props=props).disconnect()
        since = len(self.nodes[0].log)
        self.nodes[1].kill()
        self.nodes[1].start()
        self.nodes[0].wait_log('node_up node=node1', since, mqtt.DEADLINE)
        self.known(1)
        pub = self.client(0, 'pub')
        self.assertEqual(pub.publish(t, b'while away', qos=1), 0)
        self.known(1)
        c = self.client(1, 'durable1', clean=False, session_present=True, props=props)
        self.assertEqual(c.message().payload, b'while away')

    def test_a_retained_message_of_the_others_wins_over_its_own(self):
        t = self.topic('x')
        self.client(1, 'pub').publish(t, b'old', qos=1, retain=True)
        c = self.subscriber(0, t)
        self.assertEqual(c.expect(PUBLISH).payload, b'old')
        since = len(self.nodes[0].log)
        self.nodes[1].kill()
        self.client(0, 'pub').publish(t, b'new', qos=1, retain=True)
        self.nodes[1].start()
        self.nodes[0].wait_log('node_up node=node1', since, mqtt.DEADLINE)
        self.until(lambda: retained(self, 1, t) == b'new', 'the old one is still there')
        self.assertEqual(retained(self, 0, t), b'new')


class Start(unittest.TestCase):
    def test_a_bus_that_is_not_there_is_an_error(self):
        cluster = Cluster(1, {'bus': 'nowhere'})
        try:
            with self.assertRaises(RuntimeError) as e:
                cluster.nodes[0].start()
            self.assertIn('plugin_not_found', str(e.exception))
        finally:
            cluster.cleanup()

    def test_dash_t_names_the_bus(self):
        cluster = Cluster(1)
        try:
            options = dict(cluster.nodes[0].options, plugins_dir=broker.plugin_dirs(Broker.binary()))
            code, text = judge(options, cluster.dir)
            self.assertEqual(code, 0, text)
            self.assertIn('bus: bus-pair', text)
        finally:
            cluster.cleanup()


if __name__ == '__main__':
    unittest.main()
