"""The PROXY protocol in front of MQTT and WebSocket: who may say it, and what is believed."""

import os
import socket

import mqtt
import ws
from broker import LISTENER, BrokerCase, needs, pigeon_only

V2 = b'\r\n\r\n\x00\r\nQUIT\n'


def v1(source='192.0.2.7', port=56324):
    kind = 'TCP6' if ':' in source else 'TCP4'
    to = '::1' if ':' in source else '10.0.0.1'
    return f'PROXY {kind} {source} {to} {port} 1883\r\n'.encode()


def v2(source='192.0.2.7', port=56324, command=0x21, tlvs=b''):
    six = ':' in source
    family = socket.AF_INET6 if six else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, '::1' if six else '10.0.0.1')
    body += port.to_bytes(2, 'big') + b'\x07\x5b' + tlvs
    return V2 + bytes([command, 0x21 if six else 0x11]) + len(body).to_bytes(2, 'big') + body


def listener(name, **kw):
    return dict({'name': name, 'port': 0, 'bind': ['127.0.0.1'], 'allow_anonymous': 'true',
                 'proxy_protocol': 'true', 'trusted_proxies': ['127.0.0.1']}, **kw)


@needs('PROXY')
@pigeon_only
class Proxy(BrokerCase):
    options = {'listeners': [
        LISTENER, listener('proxied'), listener('web', protocol='websocket'),
        listener('auto', allow_anonymous='auto'),
        listener('others', trusted_proxies=['10.0.0.0/8']),
        listener('required', proxy_protocol='required', trusted_proxies=['10.0.0.0/8'])],
        'limits': {'connections_per_address': 3}, 'log': {'level': 'debug', 'rate': 0}}

    def setUp(self):
        super().setUp()
        self._sockets = []

    def tearDown(self):
        for s in self._sockets:
            s.close()
        super().tearDown()

    def dial(self, name, data):
        s = socket.create_connection(('127.0.0.1', self.broker.ports[name]), mqtt.DEADLINE)
        self._sockets.append(s)
        s.sendall(data)
        return s

    def connected(self, s):
        self.assertEqual(s.recv(4)[0] >> 4, mqtt.CONNACK)

    def closed(self, s):
        try:
            self.assertEqual(s.recv(4096), b'')
        except ConnectionResetError:
            pass

    def address_of(self, listener_name, head, body=None):
        name = self.id(f'x{len(self._sockets)}')
        packet = mqtt.connect(name)
        self.dial(listener_name, head + (packet if body is None else body(packet)))
        line = self.broker.wait_log(f'client_connected client={name} ')
        return line.split('address=')[1].split()[0]

    def test_both_versions_name_the_client(self):
        for head, address in (
                (v1(), '192.0.2.7'), (v1('2001:db8::7'), '2001:db8::7'),
                (v1('::ffff:192.0.2.8'), '192.0.2.8'), (b'PROXY UNKNOWN\r\n', '127.0.0.1'),
                (v2(), '192.0.2.7'), (v2('2001:db8::7'), '2001:db8::7'),
                (v2(tlvs=b'\x04\x00\x05hello\xe0\x00\x00'), '192.0.2.7'),
                (v2(command=0x20), '127.0.0.1')):
            self.assertEqual(self.address_of('proxied', head), address)
            self._sockets[-1].close()

    def test_a_header_may_come_byte_by_byte(self):
        for head in (v1(), v2()):
            name = self.id(f'b{len(self._sockets)}')
            s = self.dial('proxied', b'')
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in head + mqtt.connect(name):
                s.sendall(bytes([byte]))
            self.connected(s)
            self.broker.wait_log(f'client_connected client={name} address=192.0.2.7')

    def test_a_trusted_proxy_without_header_is_closed(self):
        for data in (mqtt.connect('x'), b'GET / HTTP/1.1\r\n\r\n', v1()[:-2] + b'x' * 200,
                     v1().replace(b'TCP4', b'UDP4'), v2()[:12] + b'\x31' + v2()[13:],
                     V2 + b'\x21\x11\xff\xff', v2(tlvs=b'\x04\x00\x09x'), os.urandom(64)):
            self.closed(self.dial('proxied', data))
        self.broker.wait_log('a PROXY header is missing or wrong')
        self.still_serving()

    def test_a_header_of_one_who_is_no_proxy_is_no_header(self):
        self.closed(self.dial('others', v1() + mqtt.connect(self.id('x'))))
        self.connected(self.dial('others', mqtt.connect(self.id('y'))))

    def test_where_it_is_required_only_proxies_come_in(self):
        for head in (b'', v1(), v2()):
            self.closed(self.dial('required', head + mqtt.connect(self.id('x'))))
        self.broker.wait_log('not one of the trusted proxies')

    def test_limits_hold_for_the_client_not_for_the_proxy(self):
        waiting = [self.dial('proxied', b'') for _ in range(10)]
        for i, s in enumerate(waiting):
            s.sendall(v1(f'192.0.2.{i}') + mqtt.connect(self.id(f'c{i}')))
            self.connected(s)
        for i in range(3):
            self.connected(self.dial('proxied', v1('198.51.100.1') +
                                     mqtt.connect(self.id(f'd{i}'))))
        self.closed(self.dial('proxied', v1('198.51.100.1') + mqtt.connect(self.id('d4'))))
        self.broker.wait_log('too many connections from this address')
        self.connected(self.dial('proxied', v1('198.51.100.2') + mqtt.connect(self.id('d5'))))

    def test_clients_of_a_proxy_on_loopback_are_not_local(self):
        s = self.dial('auto', v1() + mqtt.connect(self.id('x')))
        self.assertIn(s.recv(4096)[3], (0x86, 0x87))

    def test_a_websocket_stands_behind_it(self):
        _, request = ws.upgrade('x')
        self.assertEqual(self.address_of('web', v2('192.0.2.9') + request, ws.frame), '192.0.2.9')
        _, request = ws.upgrade('x', extra=['X-Forwarded-For: 6.6.6.6'])
        self.assertEqual(self.address_of('web', v1('192.0.2.9') + request, ws.frame), '192.0.2.9')
        self.assertEqual(self.address_of('web', v2(command=0x20) + request, ws.frame), '6.6.6.6')
