"""Plugins built with older and with newer headers load and work (V2 to V5 of the plugin ABI)."""

import os

import mqtt
from admin_case import COMMANDS, AdminCase
from bus_case import ClusterCase
from plugin_case import Broker, PluginCase, built, judge, plugin


LONG = {'session_expiry_interval': 600}


class Sizes(PluginCase):
    def lines(self, name, **options):
        """Log lines of this plugin in a broker that a client has visited."""
        b = Broker({'plugins': plugin(name, {'second': 22}), **options}).start()
        try:
            c = mqtt.Client(b, 'bird', username='u', password='p')
            c.connect()
            c.subscribe('a', 'from/plugin')
            c.publish('a', b'x', qos=2)
            c.message('a', b'x!')
            again = mqtt.Client(b, 'fish', username='u', password='p')
            again.connect()
            c.message('from/plugin', b'hello')
            again.disconnect()
            c.disconnect()
            self.assertEqual(b.stop(), 0)
            return '\n'.join(line for line in b.log if f'plugin={name} ' in line)
        finally:
            b.cleanup()

    def works(self, lines):
        for line in ('created first=1st second=22', 'authenticate bird', 'authorize_publish a',
                     'client bird loops', 'guard 7 future 0', 'published 0', 'destroyed'):
            self.assertIn(line, lines)
        self.assertNotIn('is from the future', lines)

    def test_a_plugin_with_shorter_structs_is_called_for_what_it_has(self):
        lines = self.lines('sizes-old')
        self.works(lines)
        self.assertNotIn('subscribed', lines)

    def test_a_plugin_with_longer_structs_is_called_for_what_the_broker_knows(self):
        lines = self.lines('sizes-new')
        self.works(lines)
        self.assertIn('subscribed a', lines)
        self.assertIn('subscribed from/plugin', lines)

    def test_a_plugin_that_needs_a_newer_broker_is_refused(self):
        code, text = judge({'plugins': plugin('sizes-need')}, self.broker.dir)
        self.assertNotEqual(code, 0, text)
        self.assertRegex(text, r'it needs plugin ABI 1\.\d+, this broker has 1\.\d+')
        self.assertIn('enabled: false', text)


class Stores(PluginCase):
    """A session that waits for its client, kept by a store of another time."""

    def keeps(self, name):
        if not os.path.exists(built(name)):
            self.skipTest(f'{name} is not built')
        b = Broker({'plugins': plugin(name), 'persistence': name}).start()
        try:
            c = mqtt.Client(b, 'bird', clean=False, props=LONG)
            c.connect()
            c.subscribe(('a', 2))
            c.publish('kept', b'r', qos=1, retain=True)
            c.disconnect()
            p = mqtt.Client(b, 'fish')
            p.connect()
            for qos in (1, 2):
                p.publish('a', b'%d' % qos, qos=qos)
            again = mqtt.Client(b, 'bird', clean=False, props=LONG)
            again.connect(session_present=1)
            again.message('a', b'1')
            again.message('a', b'2')
            again.subscribe('kept')
            again.message('kept', b'r')
            again.disconnect()
            p.disconnect()
            self.assertEqual(b.stop(), 0)
        finally:
            b.cleanup()

    def test_a_store_with_shorter_structs_keeps_what_it_is_given(self):
        self.keeps('store-memory-old')

    def test_a_store_with_longer_structs_keeps_what_it_is_given(self):
        self.keeps('store-memory-new')


class Commands(AdminCase):
    """The table of commands, of a plugin that reads and answers nothing else of this client."""
    sizes = 'sizes-old'
    puppets_let_in = {'username': 'u', 'password': b'p'}

    @classmethod
    def setUpClass(cls):
        cls.options = {'plugins': {**plugin('probe'), **plugin(cls.sizes, only=['a'])}}
        super().setUpClass()

    def test_its_commands_are_listed_and_called(self):
        rows = self.list(COMMANDS, plugin=self.sizes)
        self.assertEqual([(r['name'], r['help']) for r in rows],
                         [('one', 'the first'), ('two', 'the second')])
        for name in ('one', 'two'):
            self.assertEqual(self.call(name, self.sizes, args='{"a":1}'), (0, {}, ''))
            self.broker.wait_log(f'"command {name} ')
        self.assertFalse([line for line in self.broker.log if 'is from the future' in line])


class CommandsOfTheFuture(Commands):
    sizes = 'sizes-new'


class Buses(ClusterCase):
    """One node has the bus of today, one that of yesterday, one that of tomorrow."""
    n_nodes, buses = 3, ['bus-pair', 'bus-pair-old', 'bus-pair-new']
    faults = {'pending': '5ms'}

    def test_each_is_heard_by_each(self):
        subs = [self.subscriber(i, self.topic('+'), qos=2) for i in range(3)]
        for i in range(3):
            pub = self.client(i, f'pub{i}')
            for qos in range(3):
                pub.publish(self.topic(str(i)), f'{i}{qos}', qos=qos)
        for c in subs:
            got = sorted(c.wait(mqtt.PUBLISH).payload for _ in range(9))
            self.assertEqual(got, [b'%d%d' % (i, qos) for i in range(3) for qos in range(3)])

    def test_a_retained_message_of_each_is_known_to_each(self):
        for i in range(3):
            t = self.topic(str(i))
            self.client(i, f'pub{i}').publish(t, t, qos=1, retain=True)
            for k in range(3):
                c = self.subscriber(k, t, name=f'sub{i}-')
                self.assertEqual(c.wait(mqtt.PUBLISH).payload, t.encode())


del AdminCase, ClusterCase, PluginCase  # are no tests themselves
