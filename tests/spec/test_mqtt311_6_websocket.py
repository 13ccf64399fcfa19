"""MQTT 3.1.1 chapter 6: MQTT over WebSocket."""

import mqtt
import mqtt3
import ws
from broker import LISTENER, needs
from spec import Spec311Case, spec


@needs('WebSocket')
class WebSocket(Spec311Case):
    options = {'listeners': [LISTENER, {'name': 'ws', 'port': 0, 'protocol': 'websocket',
                                        'bind': ['127.0.0.1']}]}

    def web(self, name='w', **kw):
        c = ws.Client(('127.0.0.1', self.broker.ports['ws']), self.id(name), version=self.version,
                      **kw)
        self._clients.append(c)
        return c

    @spec('MQTT-6.0.0-4')
    def test_the_server_selects_mqtt(self):
        for offer in ('mqtt', 'x, mqtt', 'mqtt, y'):
            c = self.web(protocol=offer)
            self.assertEqual(c.sock.status, 101)
            self.assertEqual(c.sock.headers.get('sec-websocket-protocol'), 'mqtt')
            c.connect()

    @spec('MQTT-6.0.0-1')
    def test_messages_pass_in_binary_frames(self):
        c = self.web()
        c.connect()
        c.subscribe(self.topic(), qos=2)
        for size in (0, 1, 125, 126, 127, 65535, 65536):
            for qos in (0, 1, 2):
                c.publish(self.topic(), b'x' * size, qos)
                c.message(self.topic(), b'x' * size, qos=qos)
        self.assertEqual(set(c.sock.opcodes) - {ws.BINARY, ws.CONTINUATION}, set())

    @spec('MQTT-6.0.0-1')
    def test_a_text_frame_closes(self):
        c = self.web()
        c.connect()
        c.sock.raw.sendall(ws.frame(mqtt.pingreq(), ws.TEXT))
        c.expect_close()

    @spec('MQTT-6.0.0-2')
    def test_frames_need_not_line_up_with_packets(self):
        c = self.web(cut=3)
        c.connect()
        c.subscribe(self.topic(), qos=1)
        c.publish(self.topic(), b'cut', 1)
        c.message(self.topic(), b'cut')
        c = self.web('many')
        c.send(mqtt3.connect(self.id('many')),
               *[mqtt3.publish(self.topic(), b'%d' % i, 1, i + 1) for i in range(20)])
        c.expect(mqtt.CONNACK, reason=0)
        for i in range(20):
            c.expect(mqtt.PUBACK, mid=i + 1)
