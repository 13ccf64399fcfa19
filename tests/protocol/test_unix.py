"""Listeners on unix sockets: the file and its permissions, traffic, start, stop, reload."""

import grp
import json
import os
import pwd
import socket
import stat
import tempfile
import unittest

import mqtt
import ws
from broker import LISTENER, Broker, pigeon_only


class Unix:
    """mqtt.Client's socket, over a path."""

    def __init__(self, path):
        self.raw = socket.socket(socket.AF_UNIX)
        self.raw.settimeout(mqtt.DEADLINE)
        self.raw.connect(path)

    def setsockopt(self, level, *args):
        if level != socket.IPPROTO_TCP:
            self.raw.setsockopt(level, *args)

    def __getattr__(self, name):
        return getattr(self.raw, name)


class UnixCase(unittest.TestCase):
    """Every test has a directory and brokers of its own."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='pigeon-unix-')
        self.path = os.path.join(self.dir, 'p.sock')
        self.addCleanup(os.rmdir, self.dir)

    def broker(self, start=True, **listener):
        b = Broker({'listeners': [LISTENER, dict({'name': 'u', 'unix': self.path}, **listener)],
                    'log': {'level': 'debug'}})
        self.addCleanup(b.cleanup)
        return b.start() if start else b

    def client(self, broker, name='c', **kw):
        c = mqtt.Client(broker.address, name, **kw)
        c.sock.close()
        c.sock = Unix(self.path)
        self.addCleanup(c.close)
        c.connect()
        return c


@pigeon_only
class File(UnixCase):
    def test_clients_meet_over_both_kinds_of_listeners(self):
        b = self.broker()
        sub = self.client(b, 'sub')
        sub.subscribe('t', qos=1)
        pub = mqtt.Client(b.address, 'pub')
        self.addCleanup(pub.close)
        pub.connect()
        pub.publish('t', b'x' * 300000, 1)
        sub.message('t', b'x' * 300000)
        b.wait_log('client_connected client=sub address=local')
        self.assertEqual(b.stop(), 0)

    def test_the_mode_is_the_one_written_and_the_file_goes_at_the_stop(self):
        for mode, bits in ((None, 0o660), ('0600', 0o600), ('0666', 0o666)):
            b = self.broker(**({'mode': mode} if mode else {}))
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), bits)
            self.assertEqual(b.stop(), 0)
            self.assertFalse(os.path.exists(self.path))

    def test_owner_and_group_are_names_or_numbers(self):
        me, group = os.getuid(), os.getgid()
        if me == 0:
            me, group = pwd.getpwnam('nobody').pw_uid, grp.getgrnam('nogroup').gr_gid
        for owner, of in ((pwd.getpwuid(me).pw_name, grp.getgrgid(group).gr_name),
                          (str(me), str(group))):
            b = self.broker(owner=owner, group=of)
            st = os.stat(self.path)
            self.assertEqual((st.st_uid, st.st_gid), (me, group))
            self.assertEqual(b.stop(), 0)

    def test_an_owner_that_does_not_exist_is_refused(self):
        b = self.broker(start=False, owner='no-such-user')
        self.assertRaises(RuntimeError, b.start)
        self.assertIn('correct `owner`', '\n'.join(b.log))
        self.assertFalse(os.path.exists(self.path))

    def test_a_file_that_a_dead_broker_left_is_replaced(self):
        b = self.broker()
        b.kill()
        self.assertTrue(os.path.exists(self.path))
        b = self.broker()
        self.client(b).ping()
        self.assertEqual(b.stop(), 0)

    def test_a_socket_that_somebody_answers_is_left_alone(self):
        b = self.broker()
        other = self.broker(start=False)
        self.assertRaises(RuntimeError, other.start)
        self.assertIn('Address already in use', '\n'.join(other.log))
        self.client(b).ping()
        self.assertEqual(b.stop(), 0)

    def test_a_file_that_is_no_socket_is_left_alone(self):
        with open(self.path, 'w', encoding='ascii') as f:
            f.write('mine')
        other = self.broker(start=False)
        self.assertRaises(RuntimeError, other.start)
        with open(self.path, encoding='ascii') as f:
            self.assertEqual(f.read(), 'mine')
        os.unlink(self.path)

    def test_a_path_taken_over_by_another_is_not_removed_at_the_stop(self):
        b = self.broker()
        os.unlink(self.path)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.path)
            self.assertEqual(b.stop(), 0)
            self.assertTrue(os.path.exists(self.path))
        os.unlink(self.path)

    def test_a_websocket_goes_over_it_too(self):
        b = self.broker(protocol='websocket', trusted_proxies=['local'], allow_anonymous='true')
        s = Unix(self.path)
        self.addCleanup(s.close)
        _, request = ws.upgrade('x', extra=['X-Forwarded-For: 192.0.2.5'])
        s.sendall(request + ws.frame(mqtt.connect('w')))
        b.wait_log('client_connected client=w address=192.0.2.5')
        self.assertEqual(b.stop(), 0)

    def test_a_reload_changes_permissions_and_keeps_clients(self):
        b = self.broker()
        c = self.client(b)
        path = os.path.join(b.dir, 'pigeon.conf')
        with open(path, encoding='utf-8') as f:
            options = json.load(f)
        options['listeners'][1].update(mode='0600', group=str(os.getgid()))
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(options, f)
        b.reload('reloaded')
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        c.ping()
        self.assertEqual(b.stop(), 0)
