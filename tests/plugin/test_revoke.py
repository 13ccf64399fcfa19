"""Rights that a plugin takes back (rule X3 of the plugin ABI), and clients that it sends away."""

from mqtt import DISCONNECT
from plugin_case import PluginCase, plugin


NOBODY = 0x10  # subscribes to what is published here


class Revoke(PluginCase):
    options = {'plugins': plugin('revoke')}

    def test_invalidate_drops_rules_remembered_verdicts_and_subscriptions(self):
        c = self.client('c')
        c.subscribe('granted/t', 'cached/t')
        self.assertEqual(c.publish('granted/x', qos=1), NOBODY)
        self.assertEqual(c.publish('cached/x', qos=1), NOBODY)
        self.client('key').publish('revoke', qos=1)
        self.assertEqual(c.publish('other', qos=1), 0x87)
        self.assertEqual(c.publish('granted/x', qos=1), 0x87)
        self.assertEqual(c.publish('cached/x', qos=1), 0x87)
        self.assertEqual(list(c.unsubscribe('granted/t', 'cached/t').reasons), [0x11, 0x11])


class Kick(PluginCase):
    options = {'plugins': plugin('revoke'), 'threads': 4}

    def test_a_kick_ends_one_connection(self):
        key = self.client('key')
        c = self.client('c')
        for _ in range(10):
            key.publish('kick/' + self.id('c'), qos=1)
            c.expect(DISCONNECT, reason=0x98)
            c.expect_close()
            c = self.client('c')
            self.assertEqual(c.publish('x', qos=1), NOBODY)


class Rename(PluginCase):
    options = {'plugins': plugin('revoke'), 'threads': 4}

    def test_rules_go_along_when_a_new_id_is_at_home_on_another_loop(self):
        for i in range(8):
            with self.subTest(i=i):
                c = self.client(f'rename-{i}')
                self.assertEqual(c.publish('denied/x', qos=1), 0x87)
