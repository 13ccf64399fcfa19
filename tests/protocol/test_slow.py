"""Packets that arrive, or are read, a byte at a time are packets like any other."""

import mqtt
import mqtt3
from broker import BrokerCase
from mqtt import CONNACK, PINGRESP, PUBACK, SUBACK, V311, V5

PACE = 0.02


class Slow(BrokerCase):
    def trickle(self, c, data):
        """One byte each 20 ms; what the server sends meanwhile is kept."""
        early = []
        for i in range(len(data)):
            c.send(data[i:i + 1])
            try:
                early.append(c.recv(PACE))
            except mqtt.Timeout:
                pass
        c._stash.extend(early)

    def test_one_byte_each_20_ms_works(self):
        for version, m in ((V311, mqtt3), (V5, mqtt)):
            with self.subTest(version=version):
                c = self.raw(self.id('c'), version=version)
                self.trickle(c, m.connect('slow'))
                c.expect(CONNACK, reason=0)
                self.trickle(c, m.subscribe([('slow/t', 1)], 1))
                c.expect(SUBACK, mid=1)
                self.trickle(c, m.publish('slow/t', b'x', 1, 2) + mqtt.pingreq())
                c.wait(PUBACK, mid=2)
                c.wait(PINGRESP)
                c.message('slow/t', b'x', qos=1)
                c.send(mqtt.disconnect()[:1])
                c.quiet(PACE)
                c.send(mqtt.disconnect()[1:])
                c.expect_close()

    def test_a_slow_packet_keeps_the_connection_alive(self):
        """Bytes count, not whole packets: keep alive is about the last one that arrived."""
        c = self.client(keepalive=1)
        self.trickle(c, mqtt.publish(self.topic(), b'x' * 40, 1, 1))
        c.expect(PUBACK, mid=1)

    def test_a_reader_of_one_byte_at_a_time_gets_everything(self):
        sub = self.subscriber(self.topic(), qos=1)
        pub = self.client('pub')
        for i in range(20):
            pub.publish(self.topic(), b'%d' % i, 1)
        raw = bytearray()
        want = len(mqtt.publish(self.topic(), b'0', 1, 1)) * 10 + \
            len(mqtt.publish(self.topic(), b'10', 1, 1)) * 10
        while len(raw) < want:
            raw += sub.sock.recv(1)
        sub._buf += raw
        for i in range(20):
            sub.message(self.topic(), b'%d' % i)
