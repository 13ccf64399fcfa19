"""What waits while a plugin has not answered, and what does not (rules A2 to A6 of the plugin ABI).

hold.c keeps PUBLISHes to hold/..., SUBSCRIBEs to hold/... and CONNECTs of the user hold.
"""

import shutil
import socket
import subprocess
import unittest

import mqtt
from mqtt import (CONNACK, DISCONNECT, PUBACK, PUBLISH, PUBREC, SUBACK, UNSUBACK, V31, V311, V5)
from plugin_case import NUMBERS, Broker, PluginCase, plugin


class HoldCase(PluginCase):
    """Tests that wait for numbers of hold.c: `base` is what they were when last waited for."""

    def setUp(self):
        super().setUp()
        self.numbers = self.reader('hold', 'held', 'ok', 'gone', 'cancelled')
        self.now = {}
        while len(self.now) < 4:
            self._number()
        self.base = dict(self.now)

    def _number(self):
        p = self.numbers.message()
        self.now[p.topic.rsplit('/', 1)[1]] = int(p.payload)

    def counted(self, **more):
        """Waits until these numbers have grown by so much since they were last waited for."""
        want = {name: self.base[name] + n for name, n in more.items()}
        while any(self.now[name] < n for name, n in want.items()):
            self._number()
        for name, n in want.items():
            self.assertEqual(self.now[name], n, name)
            self.base[name] = n

    def key(self):
        """A client that lets go."""
        return self.client('key')

    @staticmethod
    def let_go(key):
        key.publish('let-go', qos=1)

    @staticmethod
    def let_go_denied(key):
        key.publish('let-go-denied', qos=1)

    def hold(self, topic, version=V5, name='c', qos=1, **kw):
        """A client with one PUBLISH under way."""
        c = self.client(name, version=version, **kw)
        c.send(mqtt.publish(topic, b'held', qos=qos, mid=1 if qos else None, version=version))
        self.counted(held=1)
        return c


class Held(HoldCase):
    options = {'plugins': {**plugin('hold', deadline='1h'), **NUMBERS}, 'connect_timeout': '1h'}

    # -- A6: order within a client

    def test_later_packets_of_the_client_wait_in_order(self):
        for version in (V31, V311, V5):
            with self.subTest(version=version):
                topic, held = self.topic(f'v{version}'), 'hold/' + self.topic(f'v{version}')
                key = self.key()
                sub = self.subscriber(topic, name=f's{version}', qos=2)
                c = self.client(f'c{version}', version=version)
                c.send(mqtt.publish(held, b'1', qos=1, mid=1, version=version),
                       mqtt.publish(topic, b'2', qos=1, mid=2, version=version),
                       mqtt.publish(topic, b'3', version=version),
                       mqtt.subscribe([('else', 0)], mid=3, version=version),
                       mqtt.publish(topic, b'4', qos=2, mid=4, version=version),
                       mqtt.unsubscribe(['else'], mid=5, version=version))
                self.counted(held=1)
                c.expect_nothing()  # a PINGREQ is answered, nothing else
                self.expect_nothing_from(key, sub)
                self.let_go(key)
                got = [c.recv() for _ in range(5)]
                self.assertEqual([p.type for p in got], [PUBACK, PUBACK, SUBACK, PUBREC, UNSUBACK])
                self.assertEqual([p.mid for p in got], [1, 2, 3, 4, 5])
                for payload in (b'2', b'3', b'4'):
                    sub.message(topic, payload)
                self.counted(ok=1)

    def test_acknowledgements_of_the_client_do_not_wait(self):
        topic, key = self.topic(), self.key()
        c = self.client('c', props={'receive_maximum': 1})
        c.subscribe(topic, qos=2)
        for n in range(3):
            key.publish(topic, str(n), qos=1 + n % 2)
        first = c.expect(PUBLISH, payload=b'0')
        c.send(mqtt.publish('hold/x', b'held', qos=1, mid=9))
        self.counted(held=1)
        c.acknowledge(first)
        c.message(topic, b'1')  # QoS 2, the whole exchange
        c.message(topic, b'2')
        c.ping()
        self.let_go(key)
        c.expect(PUBACK, mid=9, reason=0x10)
        self.counted(ok=1)

    def test_other_clients_go_on(self):
        topic, key = self.topic(), self.key()
        self.hold('hold/x')
        sub = self.subscriber(topic, qos=1)
        pub = self.client('pub')
        for n in range(20):
            self.assertEqual(pub.publish(topic, str(n), qos=1), 0)
            sub.message(topic, str(n))
        self.let_go(key)
        self.counted(ok=1)

    def test_many_clients_wait_at_once(self):
        key = self.key()
        clients = [self.client(f'c{n}') for n in range(40)]
        for c in clients:
            c.send(mqtt.publish('hold/x', b'', qos=1, mid=1))
        self.counted(held=40)
        self.let_go(key)
        for c in clients:
            c.expect(PUBACK, mid=1)
        self.counted(ok=40)

    def test_a_subscribe_answers_for_all_filters_at_once(self):
        key = self.key()
        for version, refused in ((V311, 0x80), (V5, 0x87)):
            with self.subTest(version=version):
                c = self.client(f'c{version}', version=version)
                c.send(mqtt.subscribe([('free', 1), ('hold/a', 1), ('hold/b', 2)], version=version))
                self.counted(held=1)
                c.expect_nothing()
                self.let_go(key)
                self.counted(ok=1, held=1)
                self.let_go_denied(key)
                self.assertEqual(c.expect(SUBACK).reasons, [1, 1, refused])
                self.counted(ok=1)

    # -- denials

    def test_a_late_denial_is_a_denial(self):
        key = self.key()
        sub = self.subscriber('#')
        for version in (V31, V311, V5):
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    c = self.hold('hold/x', version, f'c{version}{qos}', qos)
                    self.let_go_denied(key)
                    if qos:
                        p = c.expect(PUBACK if qos == 1 else PUBREC, mid=1)
                        self.assertEqual(p.reason, 0x87 if version == V5 else 0)
                    c.ping()
                    self.counted(ok=1)
        key.publish('end')
        while True:
            p = sub.message()
            self.assertNotIn('hold/', p.topic)
            if p.topic == 'end':
                break

    # -- A4: the end of a client's input comes in order

    def bye(self, how, version):
        """CONNECT with a will, a PUBLISH that is held, DISCONNECT, and the end, as mosquitto_pub."""
        key = self.key()
        name = f'{how}{version}'
        topic, will = 'hold/' + self.topic(name), self.topic(name, 'will')
        sub = self.subscriber(will, name=f's{name}')
        sub.send(mqtt.subscribe([(topic, 1)], mid=9))
        self.counted(held=1)
        self.let_go(key)
        self.assertEqual(sub.wait(SUBACK, mid=9).reasons, [1])
        self.counted(ok=1)
        c = self.client(name, version=version, will=mqtt.Will(will, b'will'))
        c.send(mqtt.publish(topic, b'last words', qos=1, mid=1, version=version),
               b'' if how == 'lost' else mqtt.disconnect())
        if how == 'close':
            c.close()
        else:
            c.sock.shutdown(socket.SHUT_WR)
        self.counted(held=1)
        self.expect_nothing_from(key, sub)
        self.let_go(key)
        sub.message(topic, b'last words')
        if how == 'lost':
            sub.message(will, b'will')
        else:
            self.expect_nothing_from(key, sub)
        self.counted(ok=1)

    def test_a_publisher_that_leaves_at_once_loses_nothing_and_leaves_no_will(self):
        for version in (V31, V311, V5):
            for how in ('half', 'close'):
                with self.subTest(how=how, version=version):
                    self.bye(how, version)

    def test_a_publisher_that_is_cut_off_loses_nothing_and_leaves_its_will(self):
        for version in (V311, V5):
            with self.subTest(version=version):
                self.bye('lost', version)

    @unittest.skipUnless(shutil.which('mosquitto_pub'), 'mosquitto_pub is not installed')
    def test_mosquitto_pub_loses_nothing_and_leaves_no_will(self):
        key = self.key()
        for qos in (0, 1, 2):
            for version in ('mqttv31', 'mqttv311', 'mqttv5'):
                with self.subTest(qos=qos, version=version):
                    topic = f'hold/{qos}/{version}'
                    sub = self.client('sub')
                    sub.send(mqtt.subscribe([(topic, 2), ('will', 0)]))
                    self.counted(held=1)
                    self.let_go(key)
                    sub.expect(SUBACK)
                    self.counted(ok=1)
                    host, port = self.broker.address
                    pub = subprocess.Popen(['mosquitto_pub', '-h', host, '-p', str(port), '-t',
                                            topic, '-m', 'last words', '-q', str(qos), '-V',
                                            version, '--will-topic', 'will', '--will-payload', 'w'])
                    self.counted(held=1)
                    if qos == 0:  # it is gone before there is an answer
                        self.assertEqual(pub.wait(mqtt.DEADLINE), 0)
                    self.let_go(key)
                    self.assertEqual(pub.wait(mqtt.DEADLINE), 0)
                    sub.message(topic, b'last words')
                    self.expect_nothing_from(key, sub)
                    self.counted(ok=1)

    def test_a_reset_cancels_what_waits(self):
        key = self.key()
        will = self.topic('will')
        sub = self.subscriber(will)
        c = self.hold('hold/x', will=mqtt.Will(will, b'will'))
        c.abort()
        self.counted(cancelled=1)
        sub.message(will, b'will')
        self.let_go(key)
        self.counted(gone=1, ok=0)

    def test_a_takeover_cancels_what_waits(self):
        key = self.key()
        c = self.hold('hold/x')
        again = self.client('c')
        c.expect(DISCONNECT, reason=0x8E)
        self.counted(cancelled=1)
        self.let_go(key)
        self.counted(gone=1, ok=0)
        again.expect_nothing()

    # -- A5: a CONNECT that waits

    def test_a_waiting_connect_leaves_the_client_of_that_id_alone(self):
        key = self.key()
        for allow in (False, True):
            with self.subTest(allow=allow):
                old = self.client(f'c{allow}')
                new = self.raw(self.id(f'c{allow}'), username='hold')
                new.send_connect()
                self.counted(held=1)
                old.expect_nothing()
                (self.let_go if allow else self.let_go_denied)(key)
                self.assertEqual(new.expect(CONNACK).reason, 0 if allow else 0x87)
                if allow:
                    old.expect(DISCONNECT, reason=0x8E)
                else:
                    old.expect_nothing()
                self.counted(ok=1)

    def test_packets_behind_a_waiting_connect_are_kept(self):
        key = self.key()
        for version in (V31, V311, V5):
            with self.subTest(version=version):
                topic, will = self.topic(f'v{version}'), self.topic(f'v{version}', 'will')
                sub = self.subscriber(topic, will, name=f's{version}')
                c = self.raw(self.id(f'c{version}'), version=version, username='hold',
                             will=mqtt.Will(will, b'will'))
                c.send_connect()
                c.send(mqtt.publish(topic, b'1', qos=1, mid=1, version=version),
                       mqtt.publish(topic, b'2', version=version), mqtt.disconnect())
                c.sock.shutdown(socket.SHUT_WR)
                self.counted(held=1)
                self.expect_nothing_from(key, sub)
                self.let_go(key)
                sub.message(topic, b'1')
                sub.message(topic, b'2')
                self.expect_nothing_from(key, sub)
                c.expect(CONNACK)
                c.expect(PUBACK, mid=1)
                c.expect_close()
                self.counted(ok=1)

    def test_packets_behind_a_refused_connect_are_dropped(self):
        key, topic = self.key(), self.topic()
        sub = self.subscriber(topic)
        c = self.raw(self.id('c'), username='hold', will=mqtt.Will(topic, b'will'))
        c.send_connect()
        c.send(mqtt.publish(topic, b'no'))
        self.counted(held=1)
        self.let_go_denied(key)
        c.expect(CONNACK, reason=0x87)
        c.expect_close()
        self.expect_nothing_from(key, sub)
        self.counted(ok=1)

    def test_too_many_packets_behind_a_waiting_connect_close(self):
        key = self.key()
        c = self.raw(self.id('c'), username='hold')
        c.send_connect()
        self.counted(held=1)
        c.send(*[mqtt.publish('t') for _ in range(60)])  # queue_limit is 42
        c.expect_close(connack=True)
        self.counted(cancelled=1)
        self.let_go(key)
        self.counted(gone=1)

    def test_a_client_that_goes_while_its_connect_waits_leaves_nothing(self):
        key, topic = self.key(), self.topic()
        sub = self.subscriber(topic)
        c = self.raw(self.id('c'), username='hold', will=mqtt.Will(topic, b'will'))
        c.send_connect()
        self.counted(held=1)
        c.abort()
        self.counted(cancelled=1)
        self.let_go(key)
        self.counted(gone=1, ok=0)
        self.expect_nothing_from(key, sub)


class Deadline(HoldCase):
    options = {'plugins': {**plugin('hold', deadline='300ms'), **NUMBERS}}

    def test_a_publish_without_an_answer_is_denied(self):
        key = self.key()
        c = self.hold('hold/x')
        c.expect(PUBACK, mid=1, reason=0x87)
        self.counted(cancelled=1)
        self.let_go(key)
        self.counted(gone=1, ok=0)
        self.assertEqual(c.publish('t', b'', qos=1), 0x10)

    def test_a_subscribe_without_an_answer_is_denied(self):
        key = self.key()
        c = self.client()
        self.assertEqual(c.subscribe('free', 'hold/x').reasons, [0, 0x87])
        self.counted(cancelled=1)
        self.let_go(key)
        self.counted(gone=1)

    def test_a_connect_without_an_answer_is_refused(self):
        key = self.key()
        for version, code in ((V5, 0x87), (V311, 5)):
            with self.subTest(version=version):
                c = self.raw(self.id(f'c{version}'), username='hold', version=version)
                c.send_connect()
                self.assertEqual(c.expect(CONNACK).reason, code)
                c.expect_close()
                self.counted(cancelled=1)
                self.let_go(key)
                self.counted(gone=1)


class Full(HoldCase):
    options = {'plugins': {**plugin('hold', deadline='1h', max_pending=3), **NUMBERS}}

    def test_too_many_questions_are_denied_at_once(self):
        clients = [self.client(f'c{n}') for n in range(4)]
        for n, c in enumerate(clients):
            c.send(mqtt.publish('hold/x', b'', qos=1, mid=1))
            if n < 3:
                self.counted(held=1)
        clients[3].expect(PUBACK, mid=1, reason=0x97)
        for c in clients[:3]:
            c.expect_nothing()


class Stop(PluginCase):
    options = {'plugins': {**plugin('hold', deadline='1h'), **NUMBERS}}

    def test_the_broker_stops_whatever_waits(self):
        b = Broker(self.options).start()
        try:
            c = mqtt.Client(b, 'c')
            c.connect()
            c.send(mqtt.publish('hold/x', b'', qos=1, mid=1))
            c.ping()
            w = mqtt.Client(b, 'w', username='hold')
            w.send_connect()
            self.assertEqual(b.stop(), 0)
        finally:
            b.cleanup()
