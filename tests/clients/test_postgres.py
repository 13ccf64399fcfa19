"""examples/auth_postgres.c against a PostgreSQL server of its own: a directory, a Unix socket."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import unittest

import client_case
import broker
import mqtt
from mqtt import CONNACK, V5

USERS = """
CREATE EXTENSION pgcrypto;
CREATE TABLE users (name text PRIMARY KEY, hash text NOT NULL);
INSERT INTO users VALUES ('alice', crypt('secret', gen_salt('bf', 4))),
                         ('bob', crypt('sé cret', gen_salt('bf', 4)));
"""


def program(name):
    found = sorted(glob.glob(f'/usr/lib/postgresql/*/bin/{name}')) or [shutil.which(name)]
    return found[-1]


def example():
    return os.path.join(os.path.dirname(broker.Broker.binary()), 'examples', 'auth_postgres.so')


class Postgres:
    """A server that only this process knows of; initdb and pg_ctl refuse root."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='pigeon-test-')
        self.words = []
        if os.getuid() == 0:
            user = pwd.getpwnam('postgres')
            os.chown(self.dir, user.pw_uid, user.pw_gid)
            self.words = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups']
        self.data = os.path.join(self.dir, 'data')
        self.run('initdb', '-D', self.data, '-A', 'trust', '-U', 'postgres', '--no-sync')

    def run(self, name, *args, **kw):
        done = subprocess.run([*self.words, program(name), *args], cwd=self.dir, text=True,
                              stdin=kw.pop('stdin', subprocess.DEVNULL), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **kw)
        if done.returncode:
            raise RuntimeError(f'{name} ended with {done.returncode}\n{done.stdout}')

    def start(self):
        # pg_ctl's child keeps its output open, so that is a file.
        options = f"-c listen_addresses='' -k {self.dir} -F"
        self.run('pg_ctl', '-D', self.data, '-w', '-l', os.path.join(self.dir, 'log'), '-o',
                 options, 'start')

    def stop(self):
        self.run('pg_ctl', '-D', self.data, '-w', '-m', 'immediate', 'stop')

    def psql(self, text):
        subprocess.run([program('psql'), '-q', '-h', self.dir, '-U', 'postgres', '-v',
                        'ON_ERROR_STOP=1', 'postgres'], input=text, text=True, check=True)

    @property
    def conninfo(self):
        return f'host={self.dir} user=postgres dbname=postgres connect_timeout=5'


@unittest.skipUnless(program('initdb') and os.path.exists(example()), 'PostgreSQL or libpq missing')
class AuthPostgres(client_case.ClientCase):
    @classmethod
    def setUpClass(cls):
        cls.db = Postgres()
        try:
            cls.db.start()
            cls.db.psql(USERS)
            cls.options = {**client_case.ClientCase.options, 'plugins': {'auth_postgres': {
                'file': example(), 'run': 'worker', 'workers': 2, 'deadline': '20s',
                'options': {'conninfo': cls.db.conninfo}}}}
            super().setUpClass()
        except BaseException:
            cls.clean()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.clean()

    @classmethod
    def clean(cls):
        try:
            cls.db.stop()
        finally:
            shutil.rmtree(cls.db.dir, ignore_errors=True)

    def reason(self, username, password, version=V5):
        c = self.raw(self.id('c'), username=username, password=password, version=version)
        c.send_connect()
        return c.expect(CONNACK).reason

    def test_right_wrong_and_unknown_users(self):
        for name, password, reason in (('alice', 'secret', 0), ('alice', 'wrong', 0x86),
                                       ('bob', 'sé cret', 0), ('alice', '', 0x86),
                                       ('nobody', 'secret', 0x87), ("' OR true --", 'x', 0x87)):
            with self.subTest(name=name, password=password):
                self.assertEqual(self.reason(name, password), reason)
        self.assertEqual(self.reason('alice', 'wrong', mqtt.V311), 4)

    def test_many_at_once(self):
        clients = [self.raw(self.id(f'c{n}'), username='alice',
                            password='secret' if n % 2 else 'wrong') for n in range(40)]
        for c in clients:
            c.send_connect()
        for n, c in enumerate(clients):
            self.assertEqual(c.expect(CONNACK).reason, 0 if n % 2 else 0x86)

    def test_a_database_that_goes_and_comes_back(self):
        self.assertEqual(self.reason('alice', 'secret'), 0)
        self.db.stop()
        try:
            self.assertEqual(self.reason('alice', 'secret'), 0x88)
        finally:
            self.db.start()
        self.assertEqual(self.reason('alice', 'secret'), 0)
        self.assertEqual(self.reason('alice', 'wrong'), 0x86)
