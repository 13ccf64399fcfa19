"""TLS listeners: real handshakes by Python's OpenSSL, certificates that come and go, and what is no
TLS at all."""

import json
import os
import re
import shutil
import socket
import ssl
import unittest
import warnings

import mqtt
from broker import LISTENER, Broker, pigeon_only
from mqtt import V5, V311

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
REFUSED = (ssl.SSLError, ConnectionError, mqtt.Closed, mqtt.Failure)


class Tls(unittest.TestCase):
    """One broker per class with a listener `default` that speaks TLS."""

    tls = {}
    more = {}

    @classmethod
    def setUpClass(cls):
        if not shutil.which('openssl'):
            raise unittest.SkipTest('no openssl command')
        import pki  # pylint: disable=import-outside-toplevel
        cls.pki = pki.Authority()
        cls.addClassCleanup(cls.pki.close)
        cls.server = cls.pki.issue('server', san='DNS:localhost,DNS:one.example')
        cls.broker = Broker(cls.options())
        cls.addClassCleanup(cls.end)
        cls.broker.start()

    @classmethod
    def options(cls):
        return {'listeners': [dict(LISTENER, tls=dict(cls.server, **cls.tls))], **cls.more}

    @classmethod
    def end(cls):
        try:
            code = cls.broker.stop()
            if code:
                raise RuntimeError(f'ended with {code}\n{cls.broker.report()}')
        finally:
            cls.broker.cleanup()

    def client(self, name, context=None, server_name='localhost', **kw):
        c = mqtt.Client(self.broker, name, tls=context or self.pki.context(),
                        server_name=server_name, **kw)
        self.addCleanup(c.close)
        return c

    def reload(self, outcome, **tls):
        path = os.path.join(self.broker.dir, 'pigeon.conf')
        with open(path, encoding='utf-8') as f:
            config = json.load(f)
        config['listeners'][0]['tls'].update(tls)
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(config, f)
        return self.broker.reload(f' {outcome} ')

    def assert_refused(self, context, name='refused'):
        with self.assertRaises(REFUSED):
            self.client(name, context).connect()


@pigeon_only
class Clients(Tls):
    def test_publish_and_subscribe_in_every_version(self):
        for tls in VERSIONS:
            for version in (V311, V5):
                with self.subTest(tls=tls, version=version):
                    c = self.client('c', self.pki.context(version=tls), version=version)
                    c.connect()
                    c.subscribe('t/#', qos=1)
                    c.publish('t/x', b'hello', qos=1)
                    self.assertEqual(c.expect(mqtt.PUBLISH).payload, b'hello')
                    c.disconnect()

    def test_large_messages_and_many_small_ones(self):
        c = self.client('large', auto_ack=True)
        c.connect()
        c.subscribe('t/#', qos=1)
        for size in (16000, 16384, 100000, 2000000):
            payload = os.urandom(size)
            c.publish('t/large', payload, qos=1)
            self.assertEqual(c.expect(mqtt.PUBLISH).payload, payload)
        n = 2000
        c.send(b''.join(mqtt.publish('t/small', b'%d' % i) for i in range(n)))
        for i in range(n):
            self.assertEqual(c.expect(mqtt.PUBLISH).payload, b'%d' % i)

    def test_packets_cut_into_records_of_one_byte(self):
        c = self.client('cut')
        for byte in mqtt.connect('cut'):
            c.send(bytes([byte]))
        self.assertEqual(c.recv().type, mqtt.CONNACK)
        c.ping()

    def test_what_is_no_tls_is_closed_and_harms_nobody(self):
        good = self.client('good')
        good.connect()
        for junk in (mqtt.connect('plain'), b'GET / HTTP/1.1\r\n\r\n', b'\x16\x03\x01\xff\xff\x01',
                     b'\x15\x03\x01\0\2\2\x28', os.urandom(300)):
            with self.subTest(junk=junk[:12]), socket.create_connection(self.broker.address) as s:
                s.settimeout(mqtt.DEADLINE)
                try:
                    s.sendall(junk)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
                except ConnectionError:
                    pass
        good.ping()

    def test_versions_before_1_2_are_refused(self):
        old = self.pki.context()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Python itself advises against them
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers('ALL:@SECLEVEL=0')
        self.assert_refused(old)

    def test_alpn(self):
        context = self.pki.context()
        context.set_alpn_protocols(['http/1.1', 'mqtt'])
        c = self.client('alpn', context)
        self.assertEqual(c.sock.selected_alpn_protocol(), 'mqtt')
        c.connect()
        context = self.pki.context()
        context.set_alpn_protocols(['h2'])
        self.assert_refused(context)

    def test_a_session_is_resumed_by_its_ticket(self):
        context = self.pki.context()
        first = self.client('ticket', context)
        first.connect()
        first.ping()
        session = first.sock.session
        first.close()
        again = self.client('ticket', context, session=session)
        again.connect()
        self.assertTrue(again.sock.session_reused)

    def test_a_client_that_vanishes_without_goodbye_has_its_will_sent(self):
        watcher = self.client('watcher')
        watcher.connect()
        watcher.subscribe('will')
        c = self.client('gone', will=mqtt.Will('will', b'gone'))
        c.connect()
        c.sock.shutdown(socket.SHUT_RDWR)
        self.assertEqual(watcher.expect(mqtt.PUBLISH).payload, b'gone')


@pigeon_only
class Slow(Tls):
    more = {'connect_timeout': '300ms'}

    def test_a_handshake_has_the_time_of_a_connect(self):
        with socket.create_connection(self.broker.address) as s:
            s.settimeout(mqtt.DEADLINE)
            s.sendall(b'\x16\x03\x01\x02')
            self.assertEqual(s.recv(1), b'')
        c = self.client('fine')
        c.connect()


@pigeon_only
class Certificates(Tls):
    """Reloads; in the order of their names, as each leaves the listener with other files."""

    def shown(self, name='localhost'):
        context = self.pki.context()
        with socket.create_connection(self.broker.address) as s, \
                context.wrap_socket(s, server_hostname=name) as t:
            return dict(x[0] for x in t.getpeercert()['subject'])['commonName']

    def test_1_new_files_hold_for_new_connections_and_the_others_stay(self):
        clients = [self.client(f'c{i}') for i in range(200)]
        for c in clients:
            c.connect()
        self.assertEqual(self.shown(), 'server')
        fresh = self.pki.issue('fresh', san='DNS:localhost')
        for part in fresh:  # as certbot does: the paths stay
            os.replace(fresh[part], self.server[part])
        self.reload('reloaded')
        self.assertEqual(self.shown(), 'fresh')
        for c in clients:
            c.ping()

    def test_2_a_wrong_file_is_named_and_the_old_certificate_stays(self):
        with open(self.pki.path('bad.pem'), 'w', encoding='ascii') as f:
            f.write('-----BEGIN CERTIFICATE-----\n')
        log = self.reload('reload_refused', cert=self.pki.path('bad.pem'))
        self.assertIn('bad.pem', log)
        self.assertEqual(self.shown(), 'fresh')
        log = self.reload('reload_refused', cert=self.pki.path('none.pem'))
        self.assertRegex(log, 'none.pem: No such file')
        self.reload('reloaded', cert=self.server['cert'])

    def test_3_the_name_asked_for_chooses(self):
        two = self.pki.issue('two', san='DNS:two.example,DNS:*.three.example')
        self.reload('reloaded', certificates=[two])
        for name, cn in ('two.example', 'two'), ('x.three.example', 'two'), ('localhost', 'fresh'):
            self.assertEqual(self.shown(name), cn)


class WithCertificate(Tls):
    @classmethod
    def options(cls):
        cls.alice = cls.pki.issue('alice', cn='alice')
        cls.mallory = cls.pki.issue('mallory', cn='mallory')
        cls.tls = {'ca': cls.pki.ca, 'crl': cls.pki.revoke(), **cls.tls}
        return super().options()

    def user_of(self, name):
        line = self.broker.wait_log(f'client_connected client={name} ')
        return re.search(r'user=(\S+)', line).group(1)


@pigeon_only
class Required(WithCertificate):
    tls = {'client_cert': 'required', 'identity': 'cn'}
    more = {'allow_anonymous': 'false'}

    def test_the_certificate_says_who_it_is(self):
        for tls in VERSIONS:
            c = self.client(f'a{int(tls)}', self.pki.context(self.alice, tls), username='root',
                            password=b'x')
            c.connect()
            self.assertEqual(self.user_of(f'a{int(tls)}'), 'alice')

    def test_none_or_one_of_somebody_else_is_refused(self):
        import pki  # pylint: disable=import-outside-toplevel
        other = pki.Authority()
        self.addCleanup(other.close)
        for tls in VERSIONS:
            self.assert_refused(self.pki.context(version=tls))
            self.assert_refused(self.pki.context(other.issue('alice'), tls))

    def test_a_revoked_one_is_refused_after_a_reload_and_its_ticket_with_it(self):
        context = self.pki.context(self.mallory)
        c = self.client('m', context)
        c.connect()
        c.ping()
        session = c.sock.session
        self.pki.revoke('mallory')
        self.reload('reloaded')
        c.ping()  # who is in stays
        with self.assertRaises(REFUSED):
            self.client('m2', context, session=session).connect()
        self.client('a', self.pki.context(self.alice)).connect()

    def test_a_name_that_is_no_user_name_is_refused(self):
        bell = self.pki.issue('bell', cn='al\aice')
        c = self.client('bell', self.pki.context(bell))
        c.send(mqtt.connect('bell'))
        p = c.recv()
        self.assertEqual((p.type, p.reason), (mqtt.CONNACK, 0x87))


@pigeon_only
class Optional(WithCertificate):
    tls = {'client_cert': 'optional', 'identity': 'cn'}

    def test_who_shows_none_cannot_say_who_he_is(self):
        self.client('n').connect()
        self.assertEqual(self.user_of('n'), '""')
        c = self.client('b')
        c.send(mqtt.connect('b', username='alice'))
        p = c.recv()
        self.assertEqual((p.type, p.reason), (mqtt.CONNACK, 0x87))
        self.client('c', self.pki.context(self.alice), username='bob').connect()
        self.assertEqual(self.user_of('c'), 'alice')


@pigeon_only
class Test(unittest.TestCase):
    def test_the_test_of_a_configuration_reads_the_files(self):
        b = Broker({'listeners': [dict(LISTENER, tls={'cert': '/nowhere/x.pem'})]}, args=['-t'])
        self.addCleanup(b.cleanup)
        with self.assertRaises(RuntimeError) as e:
            b.start()
        self.assertIn('/nowhere/x.pem: No such file', str(e.exception))


if __name__ == '__main__':
    unittest.main()
