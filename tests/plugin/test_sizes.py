"""Plugins built with older and with newer headers load and work (V2 to V5 of the plugin ABI)."""

import os

import mqtt
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
