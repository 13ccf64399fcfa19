"""Eclipse Paho for Python against the broker, in each version of the protocol."""

import queue
import threading
import unittest

from client_case import PATIENCE, ClientCase

try:
    import paho.mqtt.client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
    if hasattr(paho, 'CallbackAPIVersion'):  # paho 2
        paho = None
except ImportError:
    paho = None


class Connection:
    """One paho client on a thread of its own; what it hears is in queues."""

    def __init__(self, test, name, version, clean=True, will=None, expiry=None):
        old = version < paho.MQTTv5
        self.test, self.old = test, old
        self.client = paho.Client(test.name(name), protocol=version,
                                  **({'clean_session': clean} if old else {}))
        self.messages, self.acks = queue.Queue(), queue.Queue()
        self.connected, self.session_present = threading.Event(), None
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda _c, _u, m: self.messages.put(m)
        self.client.on_publish = lambda _c, _u, mid: self.acks.put(mid)
        self.client.on_subscribe = lambda *_: self.acks.put('suback')
        self.client.on_unsubscribe = lambda *_: self.acks.put('unsuback')
        if will:
            self.client.will_set(will, b'gone', 1)
        more = {}
        if not old:
            more['clean_start'] = clean
            if expiry is not None:
                more['properties'] = Properties(PacketTypes.CONNECT)
                more['properties'].SessionExpiryInterval = expiry
        self.client.connect('127.0.0.1', test.port, 60, **more)
        self.client.loop_start()
        if not self.connected.wait(PATIENCE):
            test.fail(f'{name} was not connected')

    def _on_connect(self, _client, _userdata, flags, *_rest):
        self.session_present = bool(flags['session present'])
        self.connected.set()

    def subscribe(self, topic, qos=0, **options):
        if options:
            self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options))
        else:
            self.client.subscribe(topic, qos)
        self.test.assertEqual(self.acks.get(timeout=PATIENCE), 'suback')

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        self.test.assertEqual(self.acks.get(timeout=PATIENCE), 'unsuback')

    def publish(self, *args, **kw):
        self.client.publish(*args, **kw)
        self.acks.get(timeout=PATIENCE)

    def message(self):
        return self.messages.get(timeout=PATIENCE)

    def payloads(self, n):
        return [self.message().payload for _ in range(n)]

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def die(self):
        """The connection is lost without DISCONNECT."""
        self.client.loop_stop()
        self.client._sock_close()  # pylint: disable=protected-access


class Paho:
    version = None

    def open(self, name='c', **kw):
        c = Connection(self, name, self.version, **kw)
        self.addCleanup(c.die)
        return c

    def test_each_qos_arrives(self):
        sub, pub = self.open('s'), self.open('p')
        sub.subscribe(self.topic(), 2)
        for qos in (0, 1, 2):
            pub.publish(self.topic(), b'at %d' % qos, qos)
            m = sub.message()
            self.assertEqual((m.payload, m.qos, m.retain, m.topic),
                             (b'at %d' % qos, qos, False, self.topic()))

    def test_a_thousand_messages_in_order(self):
        sub, pub = self.open('s'), self.open('p')
        sub.subscribe(self.topic('#'), 2)
        for i in range(1000):
            pub.client.publish(self.topic('n'), b'%d' % i, 1 + i // 500)
        self.assertEqual(sub.payloads(1000), [b'%d' % i for i in range(1000)])
        for _ in range(1000):
            pub.acks.get(timeout=PATIENCE)

    def test_unsubscribing_ends_it(self):
        sub, pub = self.open('s'), self.open('p')
        sub.subscribe(self.topic('a'), 1)
        sub.subscribe(self.topic('b'), 1)
        sub.unsubscribe(self.topic('a'))
        pub.publish(self.topic('a'), b'no', 1)
        pub.publish(self.topic('b'), b'yes', 1)
        self.assertEqual(sub.payloads(1), [b'yes'])

    def test_retained_messages(self):
        pub = self.open('p')
        pub.publish(self.topic(), b'kept', 1, retain=True)
        sub = self.open('s')
        sub.subscribe(self.topic(), 1)
        m = sub.message()
        self.assertEqual((m.payload, m.retain), (b'kept', True))
        pub.publish(self.topic(), b'live', 1, retain=True)
        m = sub.message()
        self.assertEqual((m.payload, m.retain), (b'live', False))
        pub.publish(self.topic(), b'', 1, retain=True)
        late = self.open('l')
        late.subscribe(self.topic(), 1)
        pub.publish(self.topic(), b'next', 1)
        self.assertEqual(late.payloads(1), [b'next'])

    def test_a_will_is_sent_when_the_connection_is_lost(self):
        watcher = self.open('w')
        watcher.subscribe(self.topic('#'), 1)
        self.open('a', will=self.topic('left')).leave()
        self.logged('client_disconnected', f'client={self.name("a")} ')
        self.open('b', will=self.topic('lost')).die()
        self.assertEqual(watcher.message().topic, self.topic('lost'))

    def test_a_session_keeps_what_came_meanwhile(self):
        kw = {'clean': False, 'expiry': 1000}
        first = self.open('s', **kw)
        self.assertFalse(first.session_present)
        first.subscribe(self.topic(), 2)
        first.leave()
        self.logged('client_disconnected', f'client={self.name("s")} ')
        pub = self.open('p')
        for i in range(20):
            pub.publish(self.topic(), b'%d' % i, 2)
        again = self.open('s', **kw)
        self.assertEqual(again.session_present, self.version > 3)
        self.assertEqual(again.payloads(20), [b'%d' % i for i in range(20)])

    def test_large_payloads(self):
        sub, pub = self.open('s'), self.open('p')
        sub.subscribe(self.topic(), 1)
        payload = bytes(range(256)) * 20000
        pub.publish(self.topic(), payload, 1)
        self.assertEqual(sub.message().payload, payload)


@unittest.skipIf(not paho, 'not installed: python3-paho-mqtt (1.x)')
class Version31(Paho, ClientCase):
    version = 3


@unittest.skipIf(not paho, 'not installed: python3-paho-mqtt (1.x)')
class Version311(Paho, ClientCase):
    version = 4


@unittest.skipIf(not paho, 'not installed: python3-paho-mqtt (1.x)')
class Version5(Paho, ClientCase):
    version = 5

    def test_properties_travel(self):
        sub, pub = self.open('s'), self.open('p')
        sub.subscribe(self.topic(), 1)
        props = Properties(PacketTypes.PUBLISH)
        props.ContentType, props.ResponseTopic = 'text/plain', 'answers'
        props.CorrelationData = b'c1'
        props.UserProperty = [('k', 'v'), ('k', 'w')]
        pub.publish(self.topic(), b'x', 1, properties=props)
        got = sub.message().properties
        self.assertEqual((got.ContentType, got.ResponseTopic, got.CorrelationData,
                          got.UserProperty),
                         ('text/plain', 'answers', b'c1', [('k', 'v'), ('k', 'w')]))

    def test_no_local_and_retain_as_published(self):
        both = self.open('s')
        both.subscribe(self.topic('own'), 1, noLocal=True)
        both.subscribe(self.topic('kept'), 1, retainAsPublished=True)
        both.publish(self.topic('own'), b'mine', 1)
        self.open('p').publish(self.topic('kept'), b'kept', 1, retain=True)
        m = both.message()
        self.assertEqual((m.payload, m.retain), (b'kept', True))
