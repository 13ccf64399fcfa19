"""MQTT 5.0 chapter 6: MQTT over WebSocket."""

import mqtt
import ws
from broker import LISTENER, needs
from spec import SpecCase, spec


@needs('WebSocket')
class WebSocket(SpecCase):
    options = {'listeners': [LISTENER, {'name': 'ws', 'port': 0, 'protocol': 'websocket',
                                        'bind': ['127.0.0.1']}]}

    def web(self, name='w', **kw):
        c = ws.Client(('127.0.0.1', self.broker.ports['ws']), self.id(name), **kw)
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
        for size in (0, 1, 125, 126, 127, 65535, 65536, 200000):
            for qos in (0, 1, 2):
                c.publish(self.topic(), b'x' * size, qos)
                c.message(self.topic(), b'x' * size, qos=qos)
        self.assertEqual(set(c.sock.opcodes) - {ws.BINARY, ws.CONTINUATION}, set())

    @spec('MQTT-6.0.0-1')
    def test_a_text_frame_closes(self):
        c = self.web()
        c.sock.raw.sendall(ws.frame(mqtt.connect(self.id('w')), ws.TEXT))
        c.rest()
        c = self.web()
        c.connect()
        c.sock.raw.sendall(ws.frame(mqtt.pingreq(), ws.TEXT))
        c.expect_close()

    @spec('MQTT-6.0.0-2')
    def test_frames_need_not_line_up_with_packets(self):
        for cut in (1, 2, 3, 7):
            c = self.web(cut=cut)
            c.connect()
            c.subscribe(self.topic(), qos=1)
            c.publish(self.topic(), b'cut', 1)
            c.message(self.topic(), b'cut')
            c.disconnect()

    @spec('MQTT-6.0.0-2')
    def test_one_frame_may_hold_many_packets(self):
        c = self.web()
        c.send(mqtt.connect(self.id('w')), mqtt.subscribe([(self.topic(), 0)], 1),
               *[mqtt.publish(self.topic(), b'%d' % i) for i in range(20)])
        c.expect(mqtt.CONNACK, reason=0)
        c.wait(mqtt.SUBACK)
        for i in range(20):
            c.message(self.topic(), b'%d' % i)

    @spec('MQTT-6.0.0-2')
    def test_a_packet_may_go_through_fragments_with_a_ping_between(self):
        c = self.web()
        c.connect()
        data = mqtt.subscribe([(self.topic(), 0)], 5)
        c.sock.raw.sendall(ws.frame(data[:5], fin=False) + ws.frame(b'hi', ws.PING) +
                           ws.frame(data[5:], ws.CONTINUATION))
        c.expect(mqtt.SUBACK, mid=5)
        self.assertIn(ws.PONG, c.sock.opcodes)

    def test_tcp_and_websocket_meet(self):
        sub = self.subscriber(self.topic(), qos=1)
        c = self.web()
        c.connect()
        c.publish(self.topic(), b'x', 1)
        sub.message(self.topic(), b'x')
