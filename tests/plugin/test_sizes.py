"""Plugins built with older and with newer headers load and work (V2 to V4 of the plugin ABI)."""

import mqtt
from plugin_case import Broker, PluginCase, judge, plugin


class Sizes(PluginCase):
    def lines(self, name):
        """Log lines of this plugin in a broker that a client has visited."""
        b = Broker({'plugins': plugin(name)}).start()
        try:
            c = mqtt.Client(b, 'bird')
            c.connect()
            c.subscribe('a')
            c.publish('a', b'', qos=2)
            c.message('a')
            c.disconnect()
            self.assertEqual(b.stop(), 0)
            return [line for line in b.log if f'plugin={name} ' in line]
        finally:
            b.cleanup()

    def test_a_plugin_with_shorter_structs_is_called_for_what_it_has(self):
        lines = '\n'.join(self.lines('sizes-old'))
        self.assertIn('client bird', lines)
        self.assertIn('destroyed', lines)

    def test_a_plugin_with_longer_structs_is_called_for_what_the_broker_knows(self):
        lines = '\n'.join(self.lines('sizes-new'))
        self.assertIn('client bird', lines)
        self.assertIn('destroyed', lines)

    def test_a_plugin_that_needs_a_newer_broker_is_refused(self):
        code, text = judge({'plugins': plugin('sizes-need')}, self.broker.dir)
        self.assertNotEqual(code, 0, text)
        self.assertIn('1.1', text)
