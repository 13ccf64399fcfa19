"""plugins/auth-file and pigeon-passwd: password files of Mosquitto and of crypt(3)."""

import os
import shutil
import subprocess
import tempfile
import threading
import unittest

import broker
import mqtt
from broker import STOP_DEADLINE, Broker
from mqtt import CONNACK, DISCONNECT
from plugin_case import NUMBERS, judge

BAD, DENIED, BUSY = 0x86, 0x87, 0x89
BUILD = os.path.dirname(Broker.binary())
PASSWD = os.path.join(BUILD, 'plugins', 'auth-file', 'pigeon-passwd')
MOSQUITTO_PASSWD = shutil.which('mosquitto_passwd')

# The password is `secret` everywhere.
STORED = {
    # mosquitto_passwd of 2.0.11, without and with -H sha512
    'pbkdf2': '$7$101$sNdpzmgAFDqmGl0U$Qbh05BrvjFvGPYjCmr5M4oiuapxttBrDHp6/oZ0ZRAAL37TH0A0h9QDgJTi1'
              'U1clkmu0E1U3jFLFROud5HnxPQ==',
    'sha512': '$6$gZyMe5HHTmETx+ic$ZOE+/NEjuPNPQTPv3KlNmVIXm9GvNo92sRFsWlQGirPFZQMmcG'
              'fNWBjWlK4Dh+GxFaQ6cgS3H0YKm+vD5jEJLQ==',
    # crypt(3) of libxcrypt 4.4.33
    'sha512crypt': '$6$saltsaltsalt$PMWE8DTlam1JU37Piyk43bHcMxTJq6sgu5DKB0/tGPjanN35jcY68Q'
              'kpDfPFUGPWX5uCxIQkSPzMmqEiVNgts.',
    'rounds': '$6$rounds=200000$saltysalt$I39.IwYxKocVnSdiD2Zlo40kTY3zDEn2ZHFMmThX35k'
              'TNeJUjsU08rmi9HLJ9hrByAvDCuW93nmYkn8/be/P30',
    'yescrypt': '$y$j9T$Wf.45moiXxOh.fy8ZXFgS/$yei2910MM23glUUAd.s8t4dp2HxIlhWyBUkMynEa'
              'kcA',
    'bcrypt': '$2b$10$bdOYr1lm5TEzfBXucf22u.7ZvelmQND10sEp3pUUxNsnfbTT.2pwm',
}


def run_passwd(*args, text='secret\n'):
    return subprocess.run([PASSWD, *args], input=text, capture_output=True, text=True,
                          timeout=STOP_DEADLINE)


@unittest.skipUnless(os.path.exists(PASSWD), 'auth-file is not built')
class FileCase(unittest.TestCase):
    def setUp(self):
        if broker.KIND != 'pigeon':
            self.skipTest('plugins of Pigeon')
        self.dir = tempfile.mkdtemp(prefix='pigeon-test-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, 'passwd')

    def write(self, text):
        with open(self.path + '.new', 'w', encoding='utf-8') as f:
            f.write(text)
        os.rename(self.path + '.new', self.path)

    def options(self, **options):
        block = {'deadline': '60s', 'options': {'file': self.path, **options}}
        return {'plugins': {'auth-file': block, **NUMBERS}}

    def start(self, text=None, **options):
        if text is not None:
            self.write(text)
        self.broker = Broker(self.options(**options))
        self.addCleanup(self.end)
        return self.broker.start()

    def end(self):
        try:
            self.assertEqual(self.broker.stop(), 0, self.broker.report())
            self.assertEqual(self.broker.complaints(), [])
        finally:
            self.broker.cleanup()

    def client(self, user, password='secret', reason=0, name=None, **kw):
        password = password.encode() if isinstance(password, str) else password
        c = mqtt.Client(self.broker, name or f'c-{user}', username=user, password=password, **kw)
        self.addCleanup(c.close)
        c.connect(reason=reason)
        return c

    def reload(self, outcome='reloaded', text=None):
        if text is not None:
            self.write(text)
        return self.broker.reload(' ' + outcome)


def line(user, kind='sha512'):
    return f'{user}:{STORED[kind]}\n'


class Hashes(FileCase):
    def test_every_kind_of_hash_lets_the_right_password_in_and_no_other(self):
        self.start('# users\n\n' + ''.join(line(kind, kind) for kind in STORED))
        for kind in STORED:
            with self.subTest(kind=kind):
                self.client(kind, name=kind).ping()
                for wrong in ('Secret', 'secret ', '', 'secre', b'secret\0', b'secret\0x', None):
                    self.client(kind, wrong, BAD)

    @unittest.skipUnless(MOSQUITTO_PASSWD, 'needs mosquitto_passwd')
    def test_files_that_mosquitto_passwd_writes_are_read(self):
        subprocess.run([MOSQUITTO_PASSWD, '-b', '-c', self.path, 'alice', 'secret'], check=True)
        subprocess.run([MOSQUITTO_PASSWD, '-b', self.path, 'bob', 'ge:heim'], check=True)
        self.start()
        self.client('alice')
        self.client('bob', 'ge:heim')
        self.client('bob', 'secret', BAD)

    def test_unknown_users_are_refused_as_wrong_passwords_are(self):
        self.start(line('alice'))
        for user, password in (('alice', 'no'), ('nobody', 'secret'), ('', 'secret'),
                               ('alice:', 'secret'), ('x' * 60000, 'secret')):
            self.client(user, password, BAD, name='c')
        self.client(None, None, DENIED, name='c')

    def test_what_is_not_ours_can_be_left_to_others_or_let_in(self):
        self.start(line('alice'), anonymous='allow', unknown_users='next')
        self.client(None, None, name='nameless')
        self.client('nobody', 'x', DENIED)
        self.client('alice', 'x', BAD)

    def test_a_right_password_is_remembered_and_a_wrong_one_never(self):
        self.start(line('alice', 'bcrypt'))
        for _ in range(3):
            self.client('alice')
            self.client('alice', 'no', BAD)
        c = self.client('alice', name='reader')
        c.subscribe(*(f'$SYS/broker/plugins/auth-file/{n}' for n in ('checked', 'cached')))
        seen = {}
        while seen.get('cached', 0) < 3 or 'checked' not in seen:
            p = c.message()
            seen[p.topic.rsplit('/', 1)[1]] = int(p.payload)
        self.assertEqual((seen['checked'], seen['cached']), (4, 3))

    def test_too_many_waiting_passwords_are_refused_as_busy(self):
        self.start(line('alice', 'rounds'), queue=1, threads=1, cache_time='0s')
        clients = [mqtt.Client(self.broker, f'c{i}', username='alice', password=b'secret')
                   for i in range(30)]
        for c in clients:
            self.addCleanup(c.close)
        for c in clients:
            c.send_connect()
        reasons = [c.expect(CONNACK, 60).reason for c in clients]
        self.assertEqual(set(reasons), {0, BUSY})

    def test_clients_that_go_while_they_wait_leave_nothing(self):
        self.start(line('alice', 'rounds'), threads=1, cache_time='0s')
        for i in range(20):
            c = mqtt.Client(self.broker, f'c{i}', username='alice', password=b'secret')
            c.send_connect()
            c.abort()
        self.client('alice')


class Reload(FileCase):
    def test_users_who_are_gone_or_have_another_password_are_disconnected(self):
        self.start(line('a') + line('b') + line('c'))
        a, b, c = (self.client(n) for n in 'abc')
        self.reload(text=line('c') + line('b', 'pbkdf2'))
        for gone in (a, b):
            gone.expect(DISCONNECT, reason=DENIED)
            gone.expect_close()
        c.ping()
        self.client('a', reason=BAD)
        self.client('b').ping()
        self.reload()
        c.ping()

    def test_they_stay_when_the_option_says_so(self):
        self.start(line('a') + line('b'), disconnect_withdrawn=False)
        a = self.client('a')
        self.reload(text=line('b'))
        a.ping()
        self.client('a', reason=BAD, name='again')

    def test_a_remembered_password_does_not_outlive_its_line(self):
        self.start(line('a'))
        self.client('a').disconnect()
        run_passwd(self.path, 'a', text='other\n')
        self.reload()
        self.client('a', reason=BAD)
        self.client('a', 'other')

    def test_a_faulty_file_is_refused_and_the_old_one_stays(self):
        self.start(line('a'))
        a = self.client('a')
        for text, said in (('', 'there is no user'), (line('b') + 'a:$6$', 'passwd:2: user'),
                           ('a\n', "passwd:1: no ':'")):
            self.assertIn(said, self.reload('reload_refused', text))
        os.unlink(self.path)
        self.assertIn('No such file', self.reload('reload_refused'))
        a.ping()
        self.client('a', name='again')

    def test_reloads_while_clients_come_and_go_let_nobody_in_who_is_gone(self):
        self.start(line('a', 'pbkdf2') + line('b'))
        stop = threading.Event()

        def come_and_go():
            while not stop.is_set():
                c = mqtt.Client(self.broker, 'visitor', username='a', password=b'secret')
                try:
                    c.send_connect()
                    c.recv()
                except (mqtt.Failure, OSError):
                    pass
                c.close()

        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            for i in range(10):
                self.reload(text=line('b') if i % 2 == 0 else line('b') + line('a', 'pbkdf2'))
        finally:
            stop.set()
            thread.join()
        self.reload(text=line('b'))
        self.client('a', reason=BAD)


class Faults(FileCase):
    FILES = {
        'alice\n': ":1: no ':' between user name and hash",
        ':x\n': ':1: the user name is missing',
        'a:\n': ":1: user 'a': the hash is missing",
        'a:secret\n': ":1: user 'a': not a hash: passwords are not kept as they are",
        '\na:$1$salt$qJH7.N4xYta3aEG/dfqo/0\n': ":2: user 'a': not a hash that is known",
        'a:' + STORED['pbkdf2'][:-4] + '\n': ":1: user 'a': the hash is cut off or malformed",
        'a:' + STORED['sha512'][:-1] + '\n': ":1: user 'a': the hash is cut off or malformed",
        'a:' + STORED['bcrypt'][:-1] + '\n': ":1: user 'a': the hash is cut off or malformed",
        'a:' + STORED['yescrypt'] + 'x\n': ":1: user 'a': the hash is cut off or malformed",
        'a:$7$0$c2FsdA==$' + STORED['pbkdf2'].split('$')[-1] + '\n': 'cut off or malformed',
        line('a') + line('b') + line('a'): ":3: user 'a' is there already, in line 1",
        'a\0:x\n': ':1: a NUL character',
        '# nobody\n': 'there is no user',
    }

    def test_a_fault_refuses_the_start_with_file_and_line(self):
        for text, said in self.FILES.items():
            with self.subTest(text=text):
                self.write(text)
                code, out = judge({'plugins_dir': broker.plugin_dirs(Broker.binary()),
                                   **self.options()}, self.dir)
                self.assertNotEqual(code, 0)
                self.assertIn(said, out)


class Passwd(FileCase):
    def kinds(self):
        kinds = ['pbkdf2', 'sha512', 'yescrypt', 'bcrypt', 'argon2id']
        r = run_passwd('-c', '-H', 'argon2id', os.path.join(self.dir, 'try'), 'x')
        return kinds if r.returncode == 0 else kinds[:-1]

    def test_what_it_writes_the_broker_reads(self):
        for i, kind in enumerate(self.kinds()):
            r = run_passwd(*(['-c'] if i == 0 else []), '-H', kind, self.path, kind)
            self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(run_passwd(self.path, 'preset').returncode, 0)
        self.start()
        for kind in [*self.kinds(), 'preset']:
            self.client(kind).ping()
            self.client(kind, 'Secret', BAD)

    def test_the_rest_of_the_file_stays_as_it_is(self):
        rest = '# who\n' + line('a') + '\n' + line('z').rstrip('\n')
        self.write(rest)
        os.chmod(self.path, 0o640)
        self.assertEqual(run_passwd(self.path, 'm').returncode, 0)
        with open(self.path, encoding='utf-8') as f:
            text = f.read()
        self.assertTrue(text.startswith(rest + '\nm:$'), text)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)
        self.assertEqual(run_passwd('-D', self.path, 'm').returncode, 0)
        with open(self.path, encoding='utf-8') as f:
            self.assertEqual(f.read(), rest + '\n')
        self.assertEqual(os.listdir(self.dir), ['passwd'])

    def test_a_new_file_is_for_its_owner_only(self):
        self.assertEqual(run_passwd('-c', self.path, 'a').returncode, 0)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_a_batch_is_taken_as_a_whole_or_not_at_all(self):
        r = run_passwd('-c', '--batch', '-H', 'sha512', self.path, text='a:1\nb:2:3\n')
        self.assertEqual(r.returncode, 0, r.stderr)
        with open(self.path, encoding='utf-8') as f:
            before = f.read()
        self.assertEqual([one.split(':')[0] for one in before.splitlines()], ['a', 'b'])
        r = run_passwd('--batch', self.path, text='c:1\nwrong\n')
        self.assertEqual(r.returncode, 1)
        self.assertIn("standard input:2: no ':'", r.stderr)
        with open(self.path, encoding='utf-8') as f:
            self.assertEqual(f.read(), before)

    def test_what_cannot_be_is_refused_and_nothing_changes(self):
        self.write(line('a'))
        for args, text in (((self.path, 'x:y'), 'p\n'), ((self.path, ''), 'p\n'),
                           ((self.path, '#x'), 'p\n'), ((self.path, 'x'), '\n'),
                           ((self.path, 'x'), ''), (('-c', self.path, 'x'), 'p\n'),
                           (('-D', self.path, 'x'), ''), (('-H', 'bcrypt', self.path, 'x'), 'p' * 73),
                           ((self.path + '2', 'x'), 'p\n')):
            with self.subTest(args=args):
                self.assertEqual(run_passwd(*args, text=text).returncode, 1)
        self.assertEqual(run_passwd(self.path).returncode, 2)
        with open(self.path, encoding='utf-8') as f:
            self.assertEqual(f.read(), line('a'))
        self.write('garbage\n')
        r = run_passwd(self.path, 'x')
        self.assertEqual(r.returncode, 1)
        self.assertIn("passwd:1: no ':'", r.stderr)
