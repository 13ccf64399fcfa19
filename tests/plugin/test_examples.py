"""The plugins in examples/, each driven in a broker, and the command in its first comment."""

import glob
import json
import os
import re
import shlex
import subprocess
import tempfile
import unittest

import mqtt
from mqtt import CONNACK, PUBACK, V31, V311, V5
from plugin_case import ROOT, Broker, PluginCase, judge, plugin


class Build(unittest.TestCase):
    """The line `cc ...` of each example, as an author would type it."""

    def test_each_example_compiles_by_the_command_in_its_comment(self):
        sources = sorted(glob.glob(os.path.join(ROOT, 'examples', '*.c')))
        self.assertGreaterEqual(len(sources), 4)
        for source in sources:
            with self.subTest(source=os.path.basename(source)), \
                    tempfile.TemporaryDirectory(prefix='pigeon-test-') as tmp:
                with open(source, encoding='utf-8') as f:
                    text = f.read()
                command = shlex.split(re.search(r'^ \* (cc .*?)(?: \*/)?$', text, re.M).group(1))
                self.assertEqual(command[-2], '-o')
                if '-lpq' in command and not os.path.exists('/usr/include/postgresql/libpq-fe.h'):
                    continue
                command[-1] = os.path.join(tmp, command[-1])
                done = subprocess.run(command + ['-Wall', '-Wextra', '-Werror',
                                                 '-Wno-missing-field-initializers'],
                                      cwd=ROOT, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                symbols = subprocess.run(['nm', '-D', '--defined-only', command[-1]],
                                         capture_output=True, text=True, check=True).stdout
                self.assertEqual([line.split()[-1] for line in symbols.splitlines()],
                                 ['pigeon_plugin_v1'])

    def test_the_auth_example_is_short(self):
        with open(os.path.join(ROOT, 'examples', 'auth_static.c'), encoding='utf-8') as f:
            self.assertLessEqual(len(f.readlines()), 60)


class AuthStatic(PluginCase):
    options = {'plugins': plugin('auth_static', {'users': ['alice:secret', 'bob:se:cret']})}

    def user(self, name='alice', password='secret', **kw):
        return self.client(name, username=name, password=password, **kw)

    def refused(self, username, password, version=V5):
        c = self.raw(self.id('x'), username=username, password=password, version=version)
        p = c.connect(reason=None)
        self.assertNotEqual(p.reason, 0)
        c.expect_close()
        return p.reason

    def test_who_knows_the_password_comes_in(self):
        for version in (V31, V311, V5):
            self.user(version=version).ping()
        self.user('bob', 'se:cret').ping()

    def test_everybody_else_does_not(self):
        for user, password in (('alice', 'wrong'), ('alice', ''), ('alice', 'secre'),
                               ('alice', 'secret '), ('alic', 'secret'), ('', 'secret'),
                               ('bob', 'secret'), ('carol', 'x')):
            with self.subTest(user=user, password=password):
                self.assertEqual(self.refused(user, password), 0x86)
                self.assertEqual(self.refused(user, password, V311), 4)
        for user, password in ((None, None), ('#', 'secret'), ('+', 'x'), ('a/b', 'x'),
                               ('bob:se', 'cret')):
            with self.subTest(user=user):
                self.assertEqual(self.refused(user, password), 0x87)
                self.assertEqual(self.refused(user, password, V311), 5)

    def test_users_have_their_own_topics(self):
        alice, bob = self.user(), self.user('bob', 'se:cret')
        self.assertEqual(alice.subscribe('dev/alice/#', 'dev/alice', 'dev/alice/+/x').reasons,
                         [0, 0, 0])
        self.assertEqual(bob.publish('dev/alice/x', b'no', qos=1), 0x87)
        self.assertEqual(bob.publish('other', b'no', qos=2), 0x87)
        self.assertEqual(alice.publish('dev/alice/x', b'yes', qos=1), 0)
        alice.message('dev/alice/x', b'yes')
        alice.expect_nothing()

    def test_other_filters_are_refused(self):
        for version, code in ((V311, 0x80), (V5, 0x87)):
            c = self.user(version=version)
            got = c.subscribe('dev/bob/#', 'dev/+/x', '#', 'dev/alice/x', 'public/#', 'public/a')
            self.assertEqual(got.reasons, [code, code, code, 0, 0, 0])

    def test_public_topics_can_be_read_only(self):
        c = self.user()
        self.assertEqual(c.publish('public/x', b'', qos=1), 0x87)

    def test_a_denied_publish_of_an_older_client_is_acknowledged_and_dropped(self):
        alice = self.user()
        alice.subscribe('dev/alice/#')
        for version in (V31, V311):
            bob = self.user('bob', 'se:cret', version=version)
            bob.publish('dev/alice/x', b'no', qos=1)
            bob.publish('dev/alice/x', b'no', qos=2)
            bob.ping()
        alice.publish('dev/alice/end')
        alice.message('dev/alice/end')

    def test_a_will_elsewhere_is_refused(self):
        c = self.raw(self.id('x'), username='alice', password='secret',
                     will=mqtt.Will('dev/bob/will', b''))
        c.connect(reason=0x87)
        self.user(will=mqtt.Will('dev/alice/will', b'')).ping()

    def test_without_users_the_broker_does_not_start(self):
        code, text = judge({'plugins': plugin('auth_static')}, self.broker.dir)
        self.assertNotEqual(code, 0)
        self.assertIn('users', text)


class AuthLate(PluginCase):
    options = {'plugins': plugin('auth_late', {'users': ['alice:secret'], 'delay': '30ms',
                                               'forbidden': 'no/'})}

    def user(self, name='c', **kw):
        return self.client(name, username='alice', password='secret', **kw)

    def still_serving(self):
        self.user('serving').ping()

    def test_users_come_in_later(self):
        for version in (V31, V311, V5):
            self.user(f'v{version}', version=version).ping()

    def test_others_are_refused_later(self):
        for version, codes in ((V311, (4, 5)), (V5, (0x86, 0x87))):
            for user, password in (('alice', 'wrong'), ('bob', 'secret'), (None, None)):
                c = self.raw(self.id('x'), username=user, password=password, version=version)
                c.send_connect()
                self.assertIn(c.expect(CONNACK).reason, codes)
                c.expect_close()

    def test_topics_are_judged_later(self):
        c = self.user()
        self.assertEqual(c.subscribe('no/a', 'yes/a').reasons, [0x87, 0])
        self.assertEqual(c.publish('no/a', b'', qos=1), 0x87)
        self.assertEqual(c.publish('yes/a', b'', qos=2), 0)
        c.message('yes/a')

    def test_a_stream_of_messages_stays_in_order(self):
        topic = self.topic()
        sub = self.user('sub')
        sub.subscribe(topic, qos=2)
        pub = self.user('pub', version=V311)
        for n in range(12):
            qos = n % 3
            pub.send(mqtt.publish(topic, str(n), qos=qos, mid=n + 1 if qos else None,
                                  version=V311))
        for n in range(12):
            sub.message(topic, str(n))

    def test_a_publisher_that_leaves_at_once_loses_nothing(self):
        topic, will = self.topic(), self.topic('will')
        sub = self.user('sub')
        sub.subscribe(topic, will, qos=1)
        for n, version in enumerate((V31, V311, V5)):
            c = self.raw(self.id(f'c{n}'), username='alice', password='secret', version=version,
                         will=mqtt.Will(will, b'will'))
            c.send(mqtt.connect(**c._connect), mqtt.publish(topic, str(n), 1, 1, version=version),
                   mqtt.disconnect())
            c.expect(CONNACK)
            c.expect(PUBACK)
            c.expect_close()
            sub.message(topic, str(n))
        sub.expect_nothing()

    def test_clients_that_vanish_meanwhile_do_no_harm(self):
        for n in range(30):
            c = self.raw(self.id(f'c{n}'), username='alice', password='secret')
            c.send_connect()
            if n % 3 == 0:
                c.expect(CONNACK)
                c.send(mqtt.publish('t', b'', qos=1, mid=1))
            c.abort()
        self.still_serving()

    def test_the_broker_stops_whatever_waits(self):
        options = {'plugins': plugin('auth_late', {'users': ['alice:secret'], 'delay': '1h'},
                                     deadline='1h')}
        b = Broker(options).start()
        try:
            c = mqtt.Client(b, 'c', username='alice', password='secret')
            c.send_connect()
            c.send(mqtt.pingreq())
            self.assertEqual(b.stop(), 0)
        finally:
            b.cleanup()


class EventLogger(unittest.TestCase):
    """A broker per test: when it has stopped, all lines are there."""

    def events(self, act, options=None):
        b = Broker({'plugins': plugin('event_logger', options), 'log': {'rate': 0},
                    'heartbeat_interval': '1s'}).start()
        try:
            act(b)
            self.assertEqual(b.stop(), 0)
            found = []
            for line in b.log:
                m = re.search(r'\bplugin=event_logger\b.* text="?(.*?)"?$', line)
                if m:
                    found.append(m.group(1))
            return found
        finally:
            b.cleanup()

    def in_order(self, lines, *wanted):
        """Each pattern is in a line behind that of the one before."""
        at = 0
        for pattern in wanted:
            while at < len(lines) and not re.search(pattern, lines[at]):
                at += 1
            self.assertLess(at, len(lines), f'{pattern} is not in its place: {lines}')
            at += 1

    def test_the_life_of_a_client_is_told_in_order(self):
        for version in (V31, V311, V5):
            with self.subTest(version=version):
                def act(b, version=version):
                    c = mqtt.Client(b, 'bird', version=version)
                    c.connect()
                    c.subscribe('a/+', qos=1)
                    c.publish('a/b', b'12345', qos=1)
                    c.message('a/b', b'12345')
                    c.ping()
                    c.unsubscribe('a/+', 'never')
                    c.disconnect()
                lines = self.events(act)
                self.in_order(lines, rf'^client bird address=127\.0\.0\.1 protocol={version}',
                              '^connack_sent bird reason=0x00 session_present=0',
                              '^client_ready bird', r'^subscribed bird filter=a/\+ granted=0x01',
                              '^publish bird topic=a/b qos=1 retain=0 bytes=5',
                              '^ack bird topic=a/b packet_id=1', '^ping bird',
                              r'^unsubscribed bird filter=a/\+$', '^unsubscribed bird filter=never',
                              '^client_disconnect bird reason=0x00', '^session_end bird why=1',
                              '^closed')
                self.assertEqual(sum(line.startswith('client bird') for line in lines), 1)
                self.assertEqual(sum(line.startswith('client_disconnect') for line in lines), 1)

    def test_a_will_follows_the_disconnect_it_belongs_to(self):
        def act(b):
            sub = mqtt.Client(b, 'sub')
            sub.connect()
            sub.subscribe('w')
            c = mqtt.Client(b, 'bird', will=mqtt.Will('w', b'will'))
            c.connect()
            c.abort()
            sub.message('w', b'will')
            sub.disconnect()
        self.in_order(self.events(act), '^client bird', '^client_disconnect bird',
                      '^publish .* topic=w')

    def test_a_takeover_ends_the_old_client_first(self):
        def act(b):
            first = mqtt.Client(b, 'bird')
            first.connect()
            mqtt.Client(b, 'bird', version=V311).connect()
            first.expect_close(0x8E)
        self.in_order(self.events(act), '^client bird .*protocol=5',
                      '^client_disconnect bird reason=0x8e', '^client bird .*protocol=4')

    def test_errors_are_told(self):
        def act(b):
            c = mqtt.Client(b, 'bird')
            c.connect()
            c.send(mqtt.subscribe([]))
            c.expect_close()
            garbage = mqtt.Client(b, '')
            garbage.send(b'GET / HTTP/1.1\r\n\r\n')
            garbage.expect_close()
            slow = mqtt.Client(b, 'slow', keepalive=1)
            slow.connect()
            slow.expect_close(0x8D)
        lines = self.events(act)
        self.in_order(lines, '^client bird', '^client_error bird reason=0x8[12]',
                      '^client_disconnect bird')
        self.in_order(lines, '^connection_error ')
        self.in_order(lines, '^keepalive_timeout slow', '^client_disconnect slow')
        self.in_order(lines, '^heartbeat ')

    def test_drops_are_told(self):
        def act(b):
            sub = mqtt.Client(b, 'small', props={'maximum_packet_size': 100})
            sub.connect()
            sub.subscribe('t')
            pub = mqtt.Client(b, 'pub')
            pub.connect()
            pub.publish('t', b'x' * 200, qos=1)
            pub.publish('t', b'fits', qos=1)
            sub.message('t', b'fits')
        self.in_order(self.events(act), '^dropped small topic=t why=3')

    def test_options_leave_lines_out(self):
        def act(b):
            c = mqtt.Client(b, 'bird')
            c.connect()
            c.publish('t', b'', qos=1)
            c.ping()
            c.disconnect()
        lines = self.events(act, {'messages': False, 'heartbeat': False})
        self.in_order(lines, '^client bird', '^client_disconnect bird')
        self.assertFalse([n for n in lines if re.match('publish|ping|heartbeat|ack ', n)], lines)


class PayloadRewrite(PluginCase):
    options = {'plugins': plugin('payload_rewrite', {
        'topic_from': 'old/', 'topic_to': 'new/', 'find': 'cold', 'replace': 'warm',
        'member': '"site":"hall 3"'})}

    def rewritten(self, topic, payload, **kw):
        c = self.client('c', **kw)
        c.subscribe('#', qos=1)
        c.publish(topic, payload, qos=1)
        p = c.message()
        c.disconnect()
        return p.topic, p.payload.decode()

    def test_the_beginning_of_topics_is_replaced(self):
        for version in (V31, V311, V5):
            for topic, want in (('old/a', 'new/a'), ('old/a/b', 'new/a/b'), ('old', 'old'),
                                ('a/old/b', 'a/old/b'), ('older/a', 'older/a')):
                self.assertEqual(self.rewritten(topic, '', version=version), (want, ''))

    def test_text_in_payloads_is_replaced(self):
        for text, want in (('cold', 'warm'), ('coldcold', 'warmwarm'), ('so cold!', 'so warm!'),
                           ('col', 'col'), ('cocold', 'cowarm'), ('COLD', 'COLD')):
            self.assertEqual(self.rewritten('t', text), ('t', want))

    def test_objects_get_a_member(self):
        for text in ('{}', ' { } ', '{"t":1}', '{ "t" : 1 }\n', '{"t":{"u":[1,2]}}'):
            want = dict(json.loads(text), site='hall 3')
            self.assertEqual(json.loads(self.rewritten('t', text)[1]), want)
        for text in ('[1]', '7', '"x"', '{', '}', '', 'plain', '{"cut":'):
            self.assertEqual(self.rewritten('t', text)[1], text)

    def test_everything_at_once(self):
        topic, payload = self.rewritten('old/x', '{"it":"is cold"}')
        self.assertEqual(topic, 'new/x')
        self.assertEqual(json.loads(payload), {'it': 'is warm', 'site': 'hall 3'})

    def test_bytes_of_any_kind_pass(self):
        c = self.client()
        c.subscribe('t')
        data = bytes(range(256)) * 300
        c.publish('t', data)
        c.message('t', data)

    def test_a_large_payload_is_rewritten_whole(self):
        self.assertEqual(self.rewritten('t', 'cold.' * 50000)[1], 'warm.' * 50000)

    def test_retained_messages_are_the_rewritten_ones(self):
        c = self.client()
        c.publish('old/r', b'cold', qos=1, retain=True)
        c.subscribe('new/r')
        c.message('new/r', b'warm', retain=True)
        c.publish('old/r', b'', qos=1, retain=True)
        c.message('new/r', b'')
        self.assertEqual(self.client('late').subscribe('new/r', 'old/r').reasons, [0, 0])

    def test_options_that_go_together_are_asked_for(self):
        code, text = judge({'plugins': plugin('payload_rewrite', {'topic_from': 'a/'})},
                           self.broker.dir)
        self.assertNotEqual(code, 0)
        self.assertIn('topic_from and topic_to go together', text)


class RewriteIntoReserved(PluginCase):
    options = {'plugins': plugin('payload_rewrite', {'topic_from': 'old/', 'topic_to': '$SYS/'})}

    def test_what_a_plugin_rewrites_is_checked_like_anything_else(self):
        sub = self.subscriber('$SYS/#')
        c = self.client()
        self.assertEqual(c.publish('old/broker/version', b'no', qos=1), 0x87)
        self.expect_nothing_from(c, sub)


class RewriteThenAuthorize(PluginCase):
    options = {'plugins': {**plugin('payload_rewrite', {'topic_from': 'mine/',
                                                        'topic_to': 'dev/alice/'}),
                           **plugin('auth_static', {'users': ['alice:secret', 'bob:secret']})}}

    def test_the_rewritten_topic_is_what_is_authorized(self):
        alice = self.client('alice', username='alice', password='secret')
        bob = self.client('bob', username='bob', password='secret')
        alice.subscribe('dev/alice/#')
        self.assertEqual(alice.publish('mine/x', b'1', qos=1), 0)
        alice.message('dev/alice/x', b'1')
        self.assertEqual(bob.publish('mine/x', b'2', qos=1), 0x87)
        alice.expect_nothing()
