"""plugins/sys: the $SYS topics of Aedes and of Mosquitto, each on or off."""

import json

from mqtt import V31, V311, V5
from plugin_case import PluginCase, judge

NODE = 'node-1'
LASTING = {'session_expiry_interval': 1000}
STATS = ['uptime', 'time', 'clients/total', 'clients/maximum', 'messages/publish/sent',
         'memory/heap/current', 'memory/heap/maximum', 'cpu/usage', 'cpu/avg/last/1',
         'cpu/avg/last/5', 'cpu/avg/last/15']
# As Mosquitto 2.0.11 publishes them, with messages/inflight of its documentation.
MOSQUITTO = [
    'version', 'uptime', 'clients/total', 'clients/maximum', 'clients/inactive',
    'clients/disconnected', 'clients/active', 'clients/connected', 'clients/expired',
    'messages/stored', 'messages/received', 'messages/sent', 'messages/inflight',
    'store/messages/count', 'store/messages/bytes', 'subscriptions/count',
    'shared_subscriptions/count', 'retained messages/count', 'heap/current', 'heap/maximum',
    'publish/messages/dropped', 'publish/messages/received', 'publish/messages/sent',
    'publish/bytes/received', 'publish/bytes/sent', 'bytes/received', 'bytes/sent'
] + [f'load/{what}/{span}' for span in ('1min', '5min', '15min')
     for what in ('messages/received', 'messages/sent', 'publish/dropped', 'publish/received',
                  'publish/sent', 'bytes/received', 'bytes/sent', 'sockets', 'connections')]


class SysCase(PluginCase):
    def watch(self, *filters, name='watch'):
        c = self.client(name)
        c.subscribe(*filters)
        return c

    def until(self, c, topic, test=lambda payload: True):
        """The first message on a topic whose payload is right; others are skipped."""
        while True:
            p = c.message()
            if p.topic == topic and test(p.payload):
                return p


class Both(SysCase):
    options = {'id': NODE, 'heartbeat_interval': '1s',
               'plugins': {'sys': {'options': {'interval': '100ms'}}}}

    # -- Aedes

    def test_clients_come_and_go(self):
        watch = self.watch(f'$SYS/{NODE}/new/clients', f'$SYS/{NODE}/disconnect/clients')
        for version in (V31, V311, V5):
            with self.subTest(version=version):
                name = f'guest{version}'
                c = self.raw(name, version=version)
                c.connect()
                p = self.until(watch, f'$SYS/{NODE}/new/clients', lambda b: b == name.encode())
                self.assertEqual((p.qos, p.retain), (0, False))
                c.disconnect()
                self.until(watch, f'$SYS/{NODE}/disconnect/clients', lambda b: b == name.encode())
        c = self.raw('lost')
        c.connect()
        c.abort()
        self.until(watch, f'$SYS/{NODE}/disconnect/clients', lambda b: b == b'lost')

    def test_both_spellings_tell_of_subscriptions(self):
        for kind, verb in (('subscribe', 'new/subscribe'), ('unsubscribe', 'new/unsubscribe')):
            name = f'{kind}r'
            watch = self.watch(f'$SYS/{NODE}/{verb}s', f'$SYS/{NODE}/{verb}rs',
                               name=f'watch-{kind}')
            c = self.client(name)
            if kind == 'subscribe':
                c.subscribe(('t/1', 1), ('t/2', 2), '$share/group/t/3')
                want = [{'topic': 't/1', 'qos': 1}, {'topic': 't/2', 'qos': 2},
                        {'topic': '$share/group/t/3', 'qos': 0}]
            else:
                c.unsubscribe('t/1', 'never')
                want = ['t/1', 'never']
            mine = self.id(name).encode()
            for topic in (f'$SYS/{NODE}/{verb}s', f'$SYS/{NODE}/{verb}rs'):
                p = self.until(watch, topic, lambda b, mine=mine: mine in b)
                self.assertEqual(json.loads(p.payload), {'clientId': self.id(name), 'subs': want})

    def test_the_payload_is_that_of_aedes_byte_by_byte(self):
        watch = self.watch(f'$SYS/{NODE}/new/subscribes', f'$SYS/{NODE}/new/unsubscribes')
        c = self.raw('a')
        c.connect()
        c.subscribe(('t', 1))
        p = self.until(watch, f'$SYS/{NODE}/new/subscribes', lambda b: b'"a"' in b)
        self.assertEqual(p.payload, b'{"clientId":"a","subs":[{"topic":"t","qos":1}]}')
        c.unsubscribe('t')
        p = self.until(watch, f'$SYS/{NODE}/new/unsubscribes', lambda b: b'"a"' in b)
        self.assertEqual(p.payload, b'{"clientId":"a","subs":["t"]}')

    def test_names_are_escaped_as_json(self):
        odd = '"quote\\back\tü\u20ac\U0001f426'
        watch = self.watch(f'$SYS/{NODE}/new/subscribes')
        c = self.raw('json' + odd)
        c.connect()
        c.subscribe('t/' + odd)
        p = self.until(watch, f'$SYS/{NODE}/new/subscribes', lambda b: b'json' in b)
        self.assertEqual(json.loads(p.payload),
                         {'clientId': 'json' + odd, 'subs': [{'topic': 't/' + odd, 'qos': 0}]})

    def test_the_heart_beats(self):
        watch = self.watch(f'$SYS/{NODE}/heartbeat')
        self.assertEqual(watch.message(f'$SYS/{NODE}/heartbeat').payload, NODE.encode())
        watch.message(f'$SYS/{NODE}/heartbeat')

    def test_the_numbers_of_aedes_stats_are_retained(self):
        watch = self.watch(*[f'$SYS/{NODE}/{stat}' for stat in STATS])
        found = {}
        while len(found) < len(STATS):
            p = watch.message()
            if p.topic not in found:
                self.assertTrue(p.retain, p)
                found[p.topic] = p.payload.decode()
        get = {topic[len(f'$SYS/{NODE}/'):]: value for topic, value in found.items()}
        self.assertRegex(get['time'], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$')
        self.assertGreaterEqual(int(get['uptime']), 0)
        self.assertGreaterEqual(int(get['clients/total']), 0)
        self.assertGreaterEqual(int(get['clients/maximum']), int(get['clients/total']))
        self.assertGreater(int(get['memory/heap/current']), 100000)
        self.assertGreaterEqual(int(get['memory/heap/maximum']), int(get['memory/heap/current']))
        self.assertTrue(0 <= int(get['cpu/usage']) <= 100)
        self.assertGreaterEqual(float(get['cpu/avg/last/15']), 0)

    # -- Mosquitto

    def test_the_tree_of_mosquitto_is_all_there(self):
        watch = self.watch('$SYS/broker/#')
        found, names = {}, {f'$SYS/broker/{name}' for name in MOSQUITTO}
        while set(found) < names:
            p = watch.message()
            if p.topic not in names or p.topic in found:
                continue
            self.assertTrue(p.retain, p)
            found[p.topic] = p.payload.decode()
        for topic, value in found.items():
            if topic.endswith('/version'):
                self.assertRegex(value, r'^pigeon version \d+\.\d+\.\d+')
            elif topic.endswith('/uptime'):
                self.assertRegex(value, r'^\d+ seconds$')
            else:
                self.assertRegex(value, r'^\d+\.\d\d$' if '/load/' in topic else r'^\d+$', topic)

    def test_numbers_follow_what_happens(self):
        watch = self.watch('$SYS/broker/publish/#', '$SYS/broker/subscriptions/count',
                           '$SYS/broker/retained messages/count', '$SYS/broker/clients/connected',
                           '$SYS/broker/clients/disconnected', '$SYS/broker/clients/total',
                           '$SYS/broker/shared_subscriptions/count')
        now = {}

        def read(topic, test):
            while topic not in now or not test(now[topic]):
                p = watch.message()
                now[p.topic] = int(p.payload)
            return now[topic]

        def any_number(n):
            return n >= 0

        received = '$SYS/broker/publish/messages/received'
        retained = '$SYS/broker/retained messages/count'
        shared = '$SYS/broker/shared_subscriptions/count'
        away = '$SYS/broker/clients/disconnected'
        before = {t: read(t, any_number) for t in (received, retained, shared, away)}
        pub = self.client('pub', clean=False, props={'session_expiry_interval': 60})
        for n in range(5):
            pub.publish(self.topic(str(n)), b'12345', qos=1, retain=True)
        pub.subscribe('$share/g/' + self.topic())
        read(received, lambda n: n >= before[received] + 5)
        read(retained, lambda n: n >= before[retained] + 5)
        read(shared, lambda n: n >= before[shared] + 1)
        read('$SYS/broker/publish/bytes/received', lambda n: n >= 25)
        pub.disconnect()
        read(away, lambda n: n == before[away] + 1)
        clean = self.client('clean')
        for n in range(5):
            clean.publish(self.topic(str(n)), b'', qos=1, retain=True)
        self.forget('pub')
        read(away, lambda n: n == before[away])

    def test_what_did_not_change_is_not_published_again(self):
        watch = self.watch('$SYS/broker/version', '$SYS/broker/clients/expired',
                           '$SYS/broker/uptime')
        seen = []
        while len(seen) < 3:  # seconds, with many updates in each
            p = watch.message()
            if p.topic.endswith('/uptime'):
                seen.append(p.payload)
            else:
                self.assertTrue(p.retain, p)  # the stored one, none that is new
        self.assertEqual(len(set(seen)), len(seen))

    def test_load_grows_with_the_work(self):
        watch = self.watch('$SYS/broker/load/publish/received/1min')
        pub = self.client('pub')
        for _ in range(200):
            pub.publish(self.topic(), b'')
        pub.ping()
        self.until(watch, '$SYS/broker/load/publish/received/1min', lambda b: float(b) > 1)

    # -- who sees and who may write

    def test_plain_wildcards_do_not_match(self):
        c = self.watch('#', '+/#', name='wild')
        n = self.watch('$SYS/broker/uptime', name='count')
        for _ in range(3):
            n.message()
        c.ping()
        c.expect_nothing()

    def test_clients_cannot_write_there(self):
        watch = self.watch('$SYS/broker/mine')
        c = self.client('writer')
        self.assertEqual(c.publish('$SYS/broker/mine', b'x', qos=1), 0x87)
        self.expect_no(watch, '$SYS/broker/mine')

    def expect_no(self, watch, topic):
        marker = self.client('marker')
        got = self.fence(marker, watch)
        self.assertFalse([p for p in got if p.topic == topic], got)

    def test_numbers_of_plugins_are_there(self):
        watch = self.watch('$SYS/broker/plugins/sys/#')
        p = self.until(watch, '$SYS/broker/plugins/sys/hook_pending')
        self.assertEqual(p.payload, b'0')


class Store(SysCase):
    options = {'id': NODE, 'limits': {'queue_ram': 10},
               'plugins': {'sys': {'options': {'interval': '100ms', 'aedes': False}}}}

    def number(self, topic, value):
        """The number gets there; the last one that was retained comes first."""
        watch = self.watch(f'$SYS/broker/{topic}', name='number-' + topic.replace('/', '-'))
        self.until(watch, f'$SYS/broker/{topic}', lambda payload: float(payload) == value)

    def test_what_waits_in_the_store_is_counted_until_it_is_read(self):
        away = self.client('away', clean=False, props=LASTING, version=V5)
        away.subscribe(('away/#', 1))
        away.disconnect()
        for topic in ('messages', 'bytes'):
            self.number(f'queue/store/{topic}', 0)
        source = self.client('source')
        for i in range(50):
            source.publish('away/x', b'%d' % i, qos=1)
        self.number('queue/store/messages', 50)
        self.number('queue/memory/messages', 0)
        away = self.client('away', clean=False, props=LASTING, version=V5)
        for i in range(50):
            self.assertEqual(away.message().payload, b'%d' % i)
        for topic in ('messages', 'bytes'):
            self.number(f'queue/store/{topic}', 0)

    def test_a_session_that_ends_takes_its_stored_messages_along(self):
        gone = self.client('gone', clean=False, props=LASTING, version=V5)
        gone.subscribe(('gone/#', 1))
        gone.disconnect()
        source = self.client('source')
        for _ in range(20):
            source.publish('gone/x', b'x', qos=1)
        self.number('queue/store/messages', 20)
        self.client('gone', clean=True, version=V5)
        for topic in ('messages', 'bytes'):
            self.number(f'queue/store/{topic}', 0)

    def test_commits_are_counted_and_timed(self):
        durable = self.client('durable', clean=False, props=LASTING, version=V5)
        durable.subscribe(('durable/#', 1))
        watch = self.watch('$SYS/broker/store/#')
        seen = {}

        def read_until(topic, test):
            topic = '$SYS/broker/store/' + topic
            while topic not in seen or not test(seen[topic]):
                p = watch.message()
                seen[p.topic] = float(p.payload)
            return seen[topic]

        units = read_until('units', lambda n: n >= 1)
        for _ in range(10):  # each waits for its PUBACK: a message, and the end of its delivery
            durable.publish('durable/x', b'x', qos=1)
            durable.message()
        batches = read_until('batches', lambda n: n >= 11)
        read_until('units', lambda n: n >= units + 10)
        read_until('ops', lambda n: n >= batches)
        read_until('commit_seconds/count', lambda n: n >= 11)
        read_until('commit_seconds/p99', lambda s: 0 <= s < 60)
        read_until('in_flight', lambda n: n == 0)
        read_until('lag_ms', lambda n: n == 0)
        read_until('refused', lambda n: n == 0)


class OnlyAedes(SysCase):
    options = {'id': NODE, 'plugins': {'sys': {'options': {
        'mosquitto': False, 'plugins': False, 'interval': '100ms'}}}}

    def test_the_other_tree_is_not_there(self):
        watch = self.watch('$SYS/#')
        for _ in range(40):
            self.assertTrue(watch.message().topic.startswith(f'$SYS/{NODE}/'))


class OnlyMosquitto(SysCase):
    options = {'id': NODE, 'plugins': {'sys': {'options': {
        'aedes': False, 'plugins': False, 'interval': '100ms'}}}}

    def test_the_other_tree_is_not_there(self):
        watch = self.watch('$SYS/#')
        self.client('guest').disconnect()
        topics = {watch.message().topic for _ in range(80)}
        self.assertFalse([t for t in topics if not t.startswith('$SYS/broker/')])
        self.assertFalse([t for t in topics if '/plugins/' in t])


class Off(SysCase):
    def test_without_a_block_there_is_nothing(self):
        self.assertEqual(self.watch('$SYS/#').drain(), [])

    def test_options_are_checked(self):
        for options, word in (({'interval': '10ms'}, 'interval'), ({'intervall': '1s'}, 'interval'),
                              ({'aedes': 7}, 'aedes')):
            code, text = judge({'plugins': {'sys': {'options': options}}}, self.broker.dir)
            self.assertNotEqual(code, 0, text)
            self.assertIn(word, text)
