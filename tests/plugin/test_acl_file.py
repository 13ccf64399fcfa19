"""plugins/acl-file: Mosquitto's ACL file. Thousands of random decisions are compared with a plain
reading of Mosquitto's documentation, and with Mosquitto itself where it is installed."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import broker
import mqtt
from broker import STOP_DEADLINE, Broker
from mqtt import DISCONNECT
from plugin_case import judge, plugin

DENIED = 0x87
FENCE = 'fence/x'
SEED = int(os.environ.get('PIGEON_TEST_SEED', '61'))
MOSQUITTO = shutil.which('mosquitto') or '/usr/sbin/mosquitto'


# -- the model: https://mosquitto.org/man/mosquitto-conf-5.html, acl_file

def matches(rule, topic):
    if topic.startswith('$') != rule.startswith('$'):
        return False
    r, t = rule.split('/'), topic.split('/')
    for i, level in enumerate(r):
        if level == '#':
            return True
        if i >= len(t) or level not in ('+', t[i]):
            return False
    return len(r) == len(t)


def allows(rules, topic, access):
    """True, False, or None: nothing is said."""
    if any(kind == 'deny' and matches(rule, topic) for kind, rule in rules):
        return False
    hit = any(kind in (access, 'readwrite') and matches(rule, topic) for kind, rule in rules)
    return True if hit else None


class Acl:
    """Sections of (kind, filter): of None (anonymous), users, groups; patterns; members."""

    def __init__(self):
        self.users, self.groups, self.members, self.patterns = {None: []}, {}, {}, []

    def text(self):
        lines = [f'topic {kind} {rule}' for kind, rule in self.users[None]]
        for name, rules in self.users.items():
            if name is not None:
                lines += ['', f'user {name}', *(f'topic {kind} {rule}' for kind, rule in rules)]
        for name, rules in self.groups.items():
            lines += [f'group {name}', *(f'member {one}' for one in self.members[name]),
                      *(f'topic {kind} {rule}' for kind, rule in rules)]
        lines += [f'pattern {kind} {rule}' for kind, rule in self.patterns]
        return '\n'.join(['# made by a test', *lines, ''])

    def own(self, user):
        rules = list(self.users.get(user, ()))
        for name, members in self.members.items():
            if user in members:
                rules += self.groups[name]
        return rules

    def decide(self, user, cid, topic, access):
        said = allows(self.own(user), topic, access)
        if said is not None:
            return said
        if any(c in (user or '') + cid for c in '+#'):
            return False
        rules = []
        for kind, rule in self.patterns:
            names = [n for key, n in (('%u', user), ('%c', cid)) if key in rule]
            if None in names or (kind != 'deny' and any('/' in n for n in names)):
                continue
            rules.append((kind, rule.replace('%c', cid).replace('%u', user or '')))
        return allows(rules, topic, access) is True


def some_filter(rng, words):
    levels = [rng.choice(words + ['+']) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.3:
        levels.append('#')
    return '/'.join(levels)


def some_acl(rng, groups):
    acl = Acl()
    kinds = ['read', 'write', 'readwrite', 'read', 'write', 'deny']
    words = ['a', 'b', 'c d']
    for name in (None, 'alice', 'bob', 'a+b'):
        acl.users[name] = [(rng.choice(kinds), some_filter(rng, words))
                           for _ in range(rng.randint(0, 5))] + [('readwrite', FENCE)]
    for name in ('admins', 'the others') if groups else ():
        acl.members[name] = rng.sample(['alice', 'bob', 'carol', 'x/y'], 2)
        acl.groups[name] = [(rng.choice(kinds), some_filter(rng, words))
                            for _ in range(rng.randint(0, 4))]
    for name in ('carol', 'x/y'):
        acl.users[name] = [('readwrite', FENCE)]
    acl.users['root'] = [('readwrite', '#')]
    acl.patterns = [(rng.choice(kinds), some_filter(rng, words + ['%u', '%c']))
                    for _ in range(rng.randint(0, 4))]
    return acl


WHO = [(None, 'c'), ('alice', 'a'), ('bob', 'b'), ('carol', 'a'), ('a+b', 'p'), ('alice', '#')]
SLASHED = [('x/y', 'c'), ('carol', 'a/b')]


def some_topics(rng, n=40):
    words = ['a', 'b', 'c d', 'alice', 'carol', 'x/y', 'x', 'c']
    return sorted({'/'.join(rng.choice(words) for _ in range(rng.randint(1, 3)))
                   for _ in range(n)})


def collect(reader):
    """What came before the marker."""
    got = set()
    while True:
        p = reader.recv(mqtt.DEADLINE)
        if p.type == mqtt.PUBLISH and p.topic == FENCE:
            return got
        got.add(p.topic)


def observe(where, who, topics):
    """{(user, client id, topic, access): allowed}, from a broker."""
    facts = {}
    for user, cid in who:
        with mqtt.Client(where, cid, username=user) as c, \
                mqtt.Client(where, 'root', username='root') as root:
            c.connect()
            root.connect()
            for topic in topics:
                facts[user, cid, topic, 'write'] = c.publish(topic, qos=1) < 0x80
            c.subscribe('#')
            for topic in topics:
                root.publish(topic, qos=1)
            root.publish(FENCE, qos=1)
            got = collect(c)
            for topic in topics:
                facts[user, cid, topic, 'read'] = topic in got
    return facts


class AclCase(unittest.TestCase):
    def setUp(self):
        if broker.KIND != 'pigeon':
            self.skipTest('plugins of Pigeon')
        self.dir = tempfile.mkdtemp(prefix='pigeon-test-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, 'acl.txt')

    def write(self, text):
        with open(self.path + '.new', 'w', encoding='utf-8') as f:
            f.write(text)
        os.rename(self.path + '.new', self.path)

    def options(self, **plugins):
        return {'plugins': {'acl-file': {'options': {'file': self.path}}, **plugins}}

    def start(self, text, **plugins):
        self.write(text)
        self.broker = Broker(self.options(**plugins))
        self.addCleanup(self.end)
        return self.broker.start()

    def end(self):
        try:
            self.assertEqual(self.broker.stop(), 0, self.broker.report())
            self.assertEqual(self.broker.complaints(), [])
        finally:
            self.broker.cleanup()

    def client(self, name='c', user=None, reason=0, **kw):
        c = mqtt.Client(self.broker, name, username=user, **kw)
        self.addCleanup(c.close)
        c.connect(reason=reason)
        return c

    def reload(self, outcome='reloaded', text=None):
        if text is not None:
            self.write(text)
        return self.broker.reload(' ' + outcome)


class Decisions(AclCase):
    def compare(self, facts, acl, seed):
        for (user, cid, topic, access), allowed in facts.items():
            self.assertEqual(allowed, acl.decide(user, cid, topic, access),
                             f'seed {seed}: {access} of {topic!r} by {user!r} as {cid!r}\n'
                             f'{acl.text()}')
        return len(facts)

    def test_random_files_mean_what_the_documentation_says(self):
        n = 0
        for seed in range(SEED, SEED + 6):
            rng = random.Random(seed)
            acl, topics = some_acl(rng, groups=seed % 2), some_topics(rng)
            self.start(acl.text())
            n += self.compare(observe(self.broker, WHO + SLASHED, topics), acl, seed)
            self.doCleanups()
            self.setUp()
        self.assertGreater(n, 2000)

    @unittest.skipUnless(os.path.exists(MOSQUITTO), 'needs mosquitto')
    def test_mosquitto_decides_in_the_same_way(self):
        for seed in range(SEED, SEED + 3):
            rng = random.Random(seed)
            acl, topics = some_acl(rng, groups=False), some_topics(rng)
            self.write(acl.text())
            where, process = self.mosquitto()
            try:
                self.compare(observe(where, WHO, topics), acl, seed)
            finally:
                process.terminate()
                process.wait(STOP_DEADLINE)

    def mosquitto(self):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            address = s.getsockname()
        path = os.path.join(self.dir, 'mosquitto.conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(f'listener {address[1]} 127.0.0.1\nallow_anonymous true\n'
                    f'acl_file {self.path}\nlog_dest none\nuser root\n')
        process = subprocess.Popen([MOSQUITTO, '-c', path], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + STOP_DEADLINE
        while True:
            try:
                socket.create_connection(address).close()
                return type('Where', (), {'address': address}), process
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), end)
                self.assertIsNone(process.poll())


class Rules(AclCase):
    def test_names_do_not_widen_patterns(self):
        self.start('pattern readwrite own/%u/%c\npattern deny no/%c/#\npattern read all/#\n'
                   'pattern write %u/#\npattern write no/#\n')
        c = self.client('c', 'u')
        self.assertLess(c.publish('own/u/c', qos=1), 0x80)
        self.assertLess(c.publish('u/x', qos=1), 0x80)
        for name, user in (('+', 'u'), ('#', 'u'), ('c', '+'), ('c', '#'), ('c', 'a/#')):
            c = self.client(name, user)
            for topic in ('own/u/c', 'own/x/y', 'u/x', 'no/x'):
                self.assertEqual(c.publish(topic, qos=1), DENIED, (name, user, topic))
        c = self.client('s/t', 'u')
        self.assertEqual(c.publish('own/u/s/t', qos=1), DENIED)
        self.assertEqual(c.publish('no/s/t/x', qos=1), DENIED)  # a denial is made with a slash, too
        self.assertLess(c.publish('no/s', qos=1), 0x80)
        self.assertEqual(self.client('d', '$x').publish('$x/t', qos=1), DENIED)

    def test_sys_is_read_by_those_who_may(self):
        self.start('topic read $SYS/#\nuser bob\ntopic read #\n', sys={'options': {
            'interval': '100ms', 'aedes': False}})
        c = self.client('a')
        c.subscribe('$SYS/broker/uptime')
        c.message('$SYS/broker/uptime')
        bob = self.client('b', 'bob')
        bob.subscribe('$SYS/#')
        c.message('$SYS/broker/uptime')
        c.message('$SYS/broker/uptime')
        bob.ping()  # nothing else came before
        self.assertEqual(list(bob.subscribe('$other/#').reasons), [DENIED])

    def test_subscribe_words_decide_about_subscribe(self):
        self.start('user u\ntopic read a/#\ntopic subscribe a/#\ntopic deny a/x/#\n'
                   'topic unsubscribe q\n')
        c = self.client('c', 'u')
        self.assertEqual(list(c.subscribe('a/+', 'a/#', 'a/x/1', 'b', '#').reasons),
                         [0, 0, DENIED, DENIED, DENIED])
        self.assertEqual(list(c.unsubscribe('a/#').reasons), [0])
        self.broker.wait_log("1 lines with 'unsubscribe' have no effect")

    def test_without_them_every_subscribe_is_granted(self):
        self.start('user u\ntopic read a\n')
        c = self.client('c', 'u')
        self.assertEqual(list(c.subscribe('b', '#').reasons), [0, 0])

    def test_a_will_is_a_publish(self):
        self.start('topic write w/#\n')
        self.client('a', will=mqtt.Will('w/1', b''))
        self.client('b', will=mqtt.Will('x/1', b''), reason=DENIED)

    def test_names_that_another_plugin_sets_do_not_keep_the_rules_of_the_first_ones(self):
        self.start('user alice\ntopic readwrite #\n', **plugin('revoke'))
        for name in ('rename-x', 'known-bob'):  # in pre_connect, in authenticate
            begin = len(self.broker.log)
            self.client(name, 'alice', reason=DENIED)
            self.broker.wait_log('connect_renamed', begin)
        self.client('known-alice', 'alice')


class Reload(AclCase):
    FIRST = 'user a\ntopic write a\nuser b\ntopic write b\n'

    def test_only_clients_with_other_rules_are_sent_away(self):
        self.start(self.FIRST)
        a, b = self.client('a', 'a'), self.client('b', 'b')
        self.reload(text='# moved\nuser b\ntopic write b\nuser a\ntopic write a2\n')
        a.expect(DISCONNECT, reason=DENIED)
        a.expect_close()
        self.assertLess(b.publish('b', qos=1), 0x80)
        a = self.client('a', 'a')
        self.assertEqual(a.publish('a', qos=1), DENIED)
        self.assertLess(a.publish('a2', qos=1), 0x80)

    def test_the_anonymous_and_patterns_concern_everybody(self):
        self.start(self.FIRST)
        for more in ('topic read x\n', 'pattern read y\n'):
            b = self.client('b', 'b')
            self.reload(text=more + self.FIRST)
            b.expect(DISCONNECT, reason=DENIED)
            b.expect_close()

    def test_a_file_with_a_fault_is_refused_and_the_old_one_stays(self):
        self.start(self.FIRST)
        a = self.client('a', 'a')
        log = self.reload('reload_refused', 'user a\ntopic wriet a\n')
        self.assertIn("acl.txt:2: 'wriet' is none of read, write", log)
        self.reload('reload_refused', '')
        self.assertLess(a.publish('a', qos=1), 0x80)


class Faults(AclCase):
    FILES = {
        'topic\n': ':1: the topic filter is missing',
        '\n\ntopic read\n': ":3: the topic filter is missing after 'read'",
        'topic a/#/b\n': ":1: 'a/#/b' is no topic filter",
        'topic read a+\n': ":1: 'a+' is no topic filter",
        'topic read \udcff\n': ' is no topic filter',
        'user\n': ":1: the user's name is missing",
        'usr a\n': ":1: 'usr' is none of topic, pattern, user, group, member",
        'member a\n': ":1: 'member' stands below a 'group' line",
        'group g\ngroup g\ntopic a\n': ":2: the group 'g' is there already, in line 1",
        'pattern read $%u/a\n': ":1: a pattern's first level",
        'topic read $share/g/a\n': ':1: say the filter of a shared subscription',
        'topic a\n\0\n': ':2: a NUL character',
        '# nothing\n': 'there is no rule',
    }

    def test_a_fault_refuses_the_start_with_file_and_line(self):
        for text, said in self.FILES.items():
            with self.subTest(text=text):
                with open(self.path, 'wb') as f:
                    f.write(text.encode('utf-8', 'surrogateescape'))
                code, out = judge({'plugins_dir': broker.plugin_dirs(Broker.binary()),
                                   **self.options()}, self.dir)
                self.assertNotEqual(code, 0)
                self.assertIn('acl.txt' + said if said[0] == ':' else said, out)

    def test_a_file_that_is_not_there_refuses_the_start(self):
        for path in (self.path, self.dir):
            self.path = path
            code, out = judge({'plugins_dir': broker.plugin_dirs(Broker.binary()),
                               **self.options()}, self.dir)
            self.assertNotEqual(code, 0)
            self.assertRegex(out, 'No such file|not a regular file')
