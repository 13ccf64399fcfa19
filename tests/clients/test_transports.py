"""MQTT.js, Paho and mosquitto's clients over TLS, WebSocket and both."""

import shutil
import unittest

import test_mqttjs
import test_paho
from transport_case import TransportCase


class MqttJs(test_mqttjs.MqttJs):
    def scenario(self, name):
        self.run_program(test_mqttjs.NODE, test_mqttjs.SCRIPT, self.url, self.version, name,
                         self.name(), self.pki.ca)


def classes():
    for transport in ('mqtts', 'ws', 'wss'):
        for version in (4, 5):
            name = f'MqttJs{transport.capitalize()}{version}'
            yield name, type(name, (MqttJs, TransportCase),
                             {'transport': transport, 'version': version})


for _name, _class in classes():
    globals()[_name] = unittest.skipIf(test_mqttjs.MISSING, test_mqttjs.MISSING)(_class)
del _class


@unittest.skipUnless(test_paho.paho, 'not installed: paho 1 for Python')
class Paho(TransportCase):
    transport = 'wss'

    def test_publish_and_subscribe(self):
        client = test_paho.paho.Client(self.name('p'), transport='websockets')
        client.tls_set(self.pki.ca)
        client.ws_set_options('/mqtt')
        got = []
        client.on_message = lambda _c, _u, m: got.append(m.payload)
        client.on_connect = lambda c, *_: c.subscribe(self.topic(), 1)
        client.on_subscribe = lambda c, *_: c.publish(self.topic(), b'hello', 1)
        client.connect('localhost', self.port)
        client.loop_start()
        self.addCleanup(client.loop_stop)
        self.until(lambda: got, 'the message')
        self.assertEqual(got, [b'hello'])
        client.disconnect()


@unittest.skipUnless(shutil.which('mosquitto_sub'), 'not installed: mosquitto_sub')
class Mosquitto(TransportCase):
    transport = 'mqtts'

    def test_publish_and_subscribe(self):
        for version in ('mqttv311', 'mqttv5'):
            for tls in ('tlsv1.2', 'tlsv1.3'):
                where = ['-h', 'localhost', '-p', self.port, '-V', version, '--cafile', self.pki.ca,
                         '--tls-version', tls, '-t', self.topic(version, tls), '-q', 1]
                name = self.name(version[-1] + tls[-1])
                sub = self.start('mosquitto_sub', *where, '-i', name, '-C', 1, '-W', 20)
                self.logged('packet_out type=SUBACK', f'client={name} ')
                self.run_program('mosquitto_pub', *where, '-m', 'hello')
                self.assertEqual(self.finish(sub), b'hello\n')


if __name__ == '__main__':
    unittest.main()
