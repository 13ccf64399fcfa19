"""WebSocket listeners: the upgrade, frames that break rules, who may come, and the way out."""

import os
import socket
import time

import mqtt
import ws
from broker import LISTENER, BrokerCase, needs, pigeon_only

LOCAL = {'bind': ['127.0.0.1'], 'protocol': 'websocket', 'port': 0}


class WebCase(BrokerCase):
    options = {'listeners': [
        LISTENER,
        dict(LOCAL, name='ws', path='/mqtt'),
        dict(LOCAL, name='picky', origins=['https://app.example']),
        dict(LOCAL, name='behind', trusted_proxies=['127.0.0.1', '10.0.0.0/8'],
             allow_anonymous='true')],
        'plugins': {'sys': {}}, 'log': {'level': 'debug', 'rate': 0}}

    def setUp(self):
        super().setUp()
        self._sockets = []

    def tearDown(self):
        for s in self._sockets:
            s.close()
        super().tearDown()

    def dial(self, name='ws'):
        s = socket.create_connection(('127.0.0.1', self.broker.ports[name]), mqtt.DEADLINE)
        self._sockets.append(s)
        return s

    def all_of(self, s):
        """Up to the end of what the broker sends."""
        data = b''
        try:
            while more := s.recv(65536):
                data += more
        except ConnectionResetError:
            pass
        return data

    def answer(self, request, name='ws'):
        s = self.dial(name)
        s.sendall(request)
        return self.all_of(s)

    def request(self, *drop, path='/mqtt', protocol='mqtt', extra=()):
        _, text = ws.upgrade('127.0.0.1', path, protocol, extra=extra)
        lines = [line for line in text.decode().split('\r\n')
                 if not any(line.startswith(d) for d in drop)]
        return '\r\n'.join(lines).encode()

    def web(self, name='w', listener='ws', **kw):
        c = ws.Client(('127.0.0.1', self.broker.ports[listener]), self.id(name), **kw)
        self._clients.append(c)
        return c

    def close_code(self, sock):
        """What the broker's close frame says; only that and pongs may come."""
        while True:
            got = sock.next_frame()
            self.assertIsNotNone(got, 'no close frame')
            if got[0] == ws.CLOSE:
                self.assertIsNone(sock.next_frame(), 'something behind the close frame')
                return int.from_bytes(got[1][:2], 'big')


@needs('WebSocket')
@pigeon_only
class Upgrade(WebCase):
    def status(self, request, name='ws'):
        data = self.answer(request, name)
        self.assertTrue(data.startswith(b'HTTP/1.1 '), data)
        head, _, body = data.partition(b'\r\n\r\n')
        self.assertIn(b'Content-Length: %d' % len(body), head)
        return int(data[9:12]), head

    def test_each_refusal_has_its_status(self):
        ask = self.request
        for status, request in (
                (400, ask('Host')), (400, ask('Sec-WebSocket-Key')), (400, ask(protocol=None)),
                (400, ask(protocol='chat')), (400, ask('Sec-WebSocket-Version')),
                (400, b'\x10\x0c\x00\x04MQTT'), (400, b'GET /mqtt HTTP/1.1\n\n'),
                (400, ask(extra=['Content-Length: 5'])), (404, ask(path='/')),
                (405, ask().replace(b'GET', b'PUT', 1)), (426, ask('Upgrade')),
                (431, ask(extra=['X: ' + 'x' * 9000]))):
            self.assertEqual(self.status(request)[0], status, request)
        status, head = self.status(ask().replace(b'Version: 13', b'Version: 12'))
        self.assertEqual(status, 426)
        self.assertIn(b'Sec-WebSocket-Version: 13', head)
        self.assertIn(b'Allow: GET', self.status(ask().replace(b'GET', b'HEAD', 1))[1])
        self.still_serving()

    def test_an_error_arrives_although_the_peer_goes_on_sending(self):
        s = self.dial()
        s.sendall(self.request(path='/nowhere') + b'x' * 100000)
        self.assertIn(b'404 Not Found', self.all_of(s))

    def test_a_request_may_come_byte_by_byte_with_the_first_frames_behind_it(self):
        s = self.dial()
        data = self.request() + ws.frame(mqtt.connect(self.id('w'))) + ws.frame(mqtt.pingreq())
        for i in range(len(data)):
            s.sendall(data[i:i + 1])
        got = b''
        while not got.endswith(b'\xd0\x00'):
            got += s.recv(4096)
        self.assertIn(b'101 Switching', got)

    def test_origins_are_asked_for(self):
        for name, origin, status in (
                ('picky', 'https://app.example', 101), ('picky', 'https://evil.example', 403),
                ('picky', 'http://127.0.0.1', 403), ('ws', 'http://127.0.0.1:3000', 101),
                ('ws', 'https://evil.example', 403), ('ws', 'null', 403)):
            s = self.dial(name)
            s.sendall(self.request(extra=[f'Origin: {origin}']))
            self.assertEqual(int(s.recv(4096)[9:12]), status, origin)

    def test_both_names_of_the_subprotocol_are_spoken(self):
        for offer in ('mqttv3.1', 'chat, mqttv3.1, mqtt'):
            c = self.web(protocol=offer)
            self.assertEqual(c.sock.headers['sec-websocket-protocol'], 'mqttv3.1')
            c.connect()
            c.disconnect()

    def test_the_reason_is_logged(self):
        self.answer(self.request(path='/nowhere'))
        self.broker.wait_log('there is nothing at this path')


@needs('WebSocket')
@pigeon_only
class Slow(WebCase):
    options = dict(WebCase.options, connect_timeout='300ms')

    def test_half_a_request_is_closed_after_connect_timeout(self):
        for data in (b'', b'GET /mqtt HT', self.request(), self.request() + b'\x82'):
            s = self.dial()
            began = time.monotonic()
            s.sendall(data)
            self.all_of(s)
            self.assertGreaterEqual(time.monotonic() - began, 0.25)
        self.still_serving()


@needs('WebSocket')
@pigeon_only
class Frames(WebCase):
    def test_each_broken_rule_ends_with_its_code(self):
        f = ws.frame
        for code, data in (
                (1002, f(b'x', mask=False)), (1002, bytes([f(b'x')[0] | 0x40]) + f(b'x')[1:]),
                (1002, f(b'x', 3)), (1002, f(b'x', 11)), (1002, f(b'x', ws.PING, fin=False)),
                (1002, f(b'x' * 126, ws.PING)), (1002, f(b'x', ws.CONTINUATION)),
                (1002, f(b'', fin=False) + f(b'')), (1002, b'\x82\xfe\x00\x01'
                                                     b'abcd' b'x'),
                (1002, f(b'', length=1 << 63)), (1009, f(b'', length=1 << 40)),
                (1003, f(b'x', ws.TEXT)), (1002, f(b'\x03', ws.CLOSE)),
                (1002, f(b'\x03\xed', ws.CLOSE)), (1007, f(b'\x03\xe8\xff', ws.CLOSE))):
            for connected in (False, True):
                c = self.web()
                if connected:
                    c.connect()
                c.sock.raw.sendall(data)
                self.assertEqual(self.close_code(c.sock), code, data)
        self.still_serving()

    def test_a_length_that_is_announced_costs_nothing(self):
        clients = [self.web(f'w{i}') for i in range(20)]
        for c in clients:
            c.sock.raw.sendall(ws.frame(b'\x10', length=1 << 29))
        self.still_serving()
        with open(f'/proc/{self.broker.pid}/status', encoding='ascii') as f:
            rss = [int(line.split()[1]) for line in f if line.startswith('VmRSS')]
        self.assertLess(rss[0], 2 << 20)

    def test_a_close_frame_is_answered_with_its_own_code(self):
        for payload in (b'\x03\xe8', b'\x0f\xa1bye', b''):
            c = self.web()
            c.connect()
            c.sock.raw.sendall(ws.frame(payload, ws.CLOSE))
            self.assertEqual(c.sock.next_frame(), (ws.CLOSE, payload[:2]))
            self.assertIsNone(c.sock.next_frame())

    def test_what_came_before_a_close_frame_counts(self):
        sub = self.subscriber(self.topic(), qos=1)
        c = self.web()
        c.connect()
        c.sock.raw.sendall(ws.frame(mqtt.publish(self.topic(), b'x', 1, 7)) +
                           ws.frame(b'\x03\xe8', ws.CLOSE) + ws.frame(mqtt.pingreq()))
        sub.message(self.topic(), b'x')

    def test_a_close_frame_without_disconnect_sends_the_will(self):
        sub = self.subscriber(self.topic())
        c = self.web(will=mqtt.Will(self.topic(), b'gone'))
        c.connect()
        c.sock.raw.sendall(ws.frame(b'\x03\xe8', ws.CLOSE))
        sub.message(self.topic(), b'gone')

    def test_disconnect_is_followed_by_a_close_frame(self):
        c = self.web()
        c.connect()
        c.send(mqtt.disconnect())
        self.assertEqual(self.close_code(c.sock), 1000)

    def test_an_error_of_mqtt_is_told_before_the_close_frame(self):
        c = self.web()
        c.connect()
        c.send(b'\xff\x00')
        got = c.sock.next_frame()
        self.assertEqual((got[0], got[1][0] >> 4), (ws.BINARY, mqtt.DISCONNECT))
        self.assertEqual(self.close_code(c.sock), 1000)

    def test_pings_are_answered_in_every_state(self):
        c = self.web()
        for payload in (b'', b'x' * 125):
            c.sock.raw.sendall(ws.frame(payload, ws.PING))
            self.assertEqual(c.sock.next_frame(), (ws.PONG, payload))
        c.connect()
        c.sock.raw.sendall(ws.frame(b'hi', ws.PONG))
        c.sock.raw.sendall(ws.frame(b'hi', ws.PING))
        self.assertEqual(c.sock.next_frame(), (ws.PONG, b'hi'))
        c.ping()

    def test_a_flood_of_pings_by_one_who_does_not_read_stalls_nobody(self):
        c = self.web()
        c.connect()
        c.sock.raw.settimeout(mqtt.DEADLINE)
        flood = ws.frame(b'x' * 125, ws.PING) * 5000
        for _ in range(20):
            c.sock.raw.sendall(flood)
        self.still_serving()

    def test_empty_frames_and_fragments_of_nothing_are_harmless(self):
        c = self.web()
        c.connect()
        ping = mqtt.pingreq()
        c.sock.raw.sendall(ws.frame(b'') * 1000 + ws.frame(ping[:1], fin=False) +
                           ws.frame(b'', ws.CONTINUATION, fin=False) * 1000 +
                           ws.frame(ping[1:], ws.CONTINUATION))
        c.expect(mqtt.PINGRESP)

    def test_garbage_of_any_kind_ends_one_connection(self):
        for i in range(200):
            s = self.dial()
            s.sendall(self.request() if i & 1 else b'')
            try:
                s.sendall(os.urandom(300))
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.all_of(s)
        self.still_serving()


@needs('WebSocket')
@pigeon_only
class Traffic(WebCase):
    def test_large_messages_and_many_of_them_arrive_whole(self):
        sub = self.web('sub')
        sub.connect()
        sub.subscribe(self.topic(), qos=1)
        pub = self.web('pub')
        pub.connect()
        payload = os.urandom(1 << 20)
        for i in range(8):
            pub.publish(self.topic(), payload + b'%d' % i, 1)
        for i in range(8):
            self.assertEqual(sub.message(self.topic()).payload, payload + b'%d' % i)

    def test_a_subscriber_that_reads_slowly_gets_all_in_order(self):
        sub = self.web('sub')
        sub.connect()
        sub.subscribe(self.topic(), qos=1)
        pub = self.client('pub')
        for i in range(300):
            pub.publish(self.topic(), b'%d ' % i + b'x' * 40000, 1)
        for i in range(300):
            self.assertEqual(sub.message(self.topic()).payload.split()[0], b'%d' % i)

    def test_keep_alive_counts_mqtt_not_frames(self):
        c = self.web(keepalive=1)
        c.connect()
        deadline = time.monotonic() + mqtt.DEADLINE
        while time.monotonic() < deadline:
            c.sock.raw.sendall(ws.frame(b'', ws.PING))
            got = c.sock.next_frame()
            if got is None or got[0] != ws.PONG:
                break
        self.assertEqual(got[1][0] >> 4, mqtt.DISCONNECT)
        self.assertIn(0x8D, got[1])


@needs('WebSocket')
@pigeon_only
class Forwarded(WebCase):
    def address_of(self, listener, *lines):
        s = self.dial(listener)
        name = self.id(f'x{len(self._sockets)}')
        s.sendall(self.request(extra=lines) + ws.frame(mqtt.connect(name)))
        self.broker.wait_log(f'client_connected client={name}')
        line = [one for one in self.broker.log if f'client_connected client={name} ' in one][-1]
        return line.split('address=')[1].split()[0]

    def test_a_trusted_proxy_says_who_the_client_is(self):
        self.assertEqual(self.address_of('behind', 'X-Forwarded-For: 192.0.2.9'), '192.0.2.9')
        self.assertEqual(self.address_of('behind', 'X-Forwarded-For: 6.6.6.6, 192.0.2.9, 10.1.1.1'),
                         '192.0.2.9')
        self.assertEqual(self.address_of('behind'), '127.0.0.1')

    def test_nobody_else_does(self):
        self.assertEqual(self.address_of('ws', 'X-Forwarded-For: 192.0.2.9'), '127.0.0.1')
