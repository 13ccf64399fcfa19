"""pigeond store check | dump | load | convert: what a broker left is read, judged, written down, made
again, and copied into another store, over pigeon.store/1 alone."""

import base64
import fcntl
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import termios
import time
import unittest

import mqtt
from plugin_case import Broker, broker, built
from mqtt import PUBLISH, PUBREC, PUBREL, V5, V311, Will

FOREVER = {'session_expiry_interval': mqtt.NEVER}
DEADLINE = 120
EXACT = {'payload_format_indicator': 1, 'content_type': 'text/plain', 'response_topic': 'back/here',
         'correlation_data': b'\x00\x01\xff', 'user_property': [('a', '1'), ('a', '2'), ('ü', 'ö')]}
DURABLE = ['sqlite', 'leveldb']


def has(store):
    return any(os.path.isfile(os.path.join(d, f'store-{store}.so'))
               for d in broker.plugin_dirs(Broker.binary()))


class Tool:
    """The command line of one state directory."""

    def __init__(self, state_dir, store, **options):
        self.dir, self.store, self.options = state_dir, store, options

    def args(self, store=None):
        dirs = json.dumps(broker.plugin_dirs(Broker.binary()))
        out = ['-o', f'state_dir={self.dir}', '-o', f'persistence={store or self.store}',
               '-o', f'plugins_dir={dirs}']
        for key, value in self.options.items():
            out += ['-o', f'{key}={value}']
        return out

    def run(self, command, *more, store=None, stdin=b''):
        """(exit status, stdout, stderr)."""
        done = subprocess.run([Broker.binary(), 'store', command, *self.args(store), *more],
                              input=stdin, capture_output=True, timeout=DEADLINE, check=False)
        err = done.stderr.decode('utf-8', 'replace')
        if broker.COMPLAINT.search(err):
            raise AssertionError(err)
        return done.returncode, done.stdout, err

    def dump(self, store=None):
        """The rows, parsed."""
        code, out, err = self.run('dump', store=store)
        if code:
            raise AssertionError(f'{code}: {err}')
        lines = [json.loads(line) for line in out.decode().splitlines()]
        assert lines[0]['pigeon_store_dump'] == 1 and lines[-1] == {'kind': 'end'}, lines
        return lines[1:-1]

    def counts(self):
        code, out, err = self.run('check')
        if code:
            raise AssertionError(f'{code}: {out.decode()}{err}')
        return {k.strip(): v.strip() for k, v in
                (line.split(':', 1) for line in out.decode().splitlines())}


def until_read(pipe):
    """The other side has taken what was written."""
    deadline = time.monotonic() + mqtt.DEADLINE
    while struct.unpack('i', fcntl.ioctl(pipe, termios.FIONREAD, b'\0' * 4))[0]:
        if time.monotonic() > deadline:
            raise mqtt.Timeout('not read')


def comparable(rows):
    """Without times that go on by themselves, in an order of its own."""
    return sorted(json.dumps({k: v if k != 'due_ms' else v is not None for k, v in row.items()},
                             sort_keys=True) for row in rows)


@unittest.skipIf(broker.KIND != 'pigeon' or not all(map(has, DURABLE)), 'needs both durable stores')
class StoreTool(unittest.TestCase):
    def setUp(self):
        self.clients = []

    def tearDown(self):
        for c in self.clients:
            c.close()

    def new_dir(self):
        path = tempfile.mkdtemp(prefix='pigeon-test-')
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def broker_on(self, store, state_dir, **options):
        b = Broker({'persistence': store, 'restart_grace': '0s', **options}, state_dir=state_dir)
        self.addCleanup(b.cleanup)
        return b.start()

    def client(self, b, name, version=V5, clean=False, props=FOREVER, **kw):
        c = mqtt.Client(b, name, version, clean=clean, props=props if version == V5 else None, **kw)
        self.clients.append(c)
        c.connect()
        return c

    # -- a store with something of everything

    def make(self, store):
        """State directory with sessions, all kinds of subscriptions, queues, wills and so on."""
        path = self.new_dir()
        b = self.broker_on(store, path)
        away = self.client(b, 'away')
        away.subscribe(('q/#', mqtt.options(2)), props={'subscription_identifier': 7})
        away.subscribe(('q/+', mqtt.options(1, rap=True, rh=2)), props={'subscription_identifier': 8})
        away.subscribe(('own/#', mqtt.options(1, no_local=True, rh=1)))
        away.subscribe(('$share/gruppe/s/#', mqtt.options(1)))
        away.disconnect()
        old = self.client(b, 'old', V311)
        old.subscribe('q/1', qos=1)
        old.disconnect()
        short = self.client(b, 'short', props={'session_expiry_interval': 3600})
        short.subscribe('none')
        short.disconnect()
        slow = self.client(b, 'slow')
        slow.subscribe(('two/#', mqtt.options(2)))
        pub = self.client(b, 'pub')
        for i in range(5):
            self.assertEqual(pub.publish('two/x', b'two %d' % i, 2), 0)
        first = slow.wait(PUBLISH, payload=b'two 0')
        slow.wait(PUBLISH, payload=b'two 4')
        slow.send(mqtt.ack(PUBREC, first.mid))
        slow.wait(PUBREL, mid=first.mid)
        slow.abort()
        for i in range(10):
            pub.publish('q/1', b'one %d' % i, 1, props=EXACT if i == 3 else None)
            pub.publish('q/2', b'\xff\x00 bytes %d' % i, 2)
        pub.publish('q/3', 'ünïcode "\\\n\x01'.encode(), 1, props={'message_expiry_interval': 5000})
        pub.publish('s/1', b'shared', 1)
        pub.publish('r/1', b'retained', 1, retain=True, props=EXACT)
        pub.publish('r/2', b'', 1, retain=True)
        pub.publish('r/ü', b'\x80', 1, retain=True, props={'message_expiry_interval': 5000})
        pub.send(mqtt.publish('in/2', b'half', 2, 77))
        pub.wait(PUBREC, mid=77)
        pub.abort()
        will = Will('w/later', b'gone', 1, True, {'will_delay_interval': 3000, **EXACT})
        self.client(b, 'dying', will=will).abort()
        now = Will('w/now', b'asleep', 2, False, {'will_delay_interval': 3000})
        self.client(b, 'alive', will=now).ping()
        b.kill()
        return path

    def check_delivered(self, store, path):
        """A broker on this store has everything that make() left."""
        b = self.broker_on(store, path)
        away = self.client(b, 'away')
        self.assertTrue(away.connack.session_present)
        got = [away.message() for _ in range(22)]
        self.assertEqual([p.payload for p in got[:20:2]], [b'one %d' % i for i in range(10)])
        self.assertEqual([p.payload for p in got[1:20:2]],
                         [b'\xff\x00 bytes %d' % i for i in range(10)])
        self.assertEqual([got[0].qos, got[1].qos, got[0].sub_ids], [1, 2, [7, 8]])
        self.assertEqual({k: got[6].props.get(k) for k in EXACT}, EXACT)
        self.assertEqual(got[20].payload, 'ünïcode "\\\n\x01'.encode())
        self.assertIn(got[20].props['message_expiry_interval'], range(4000, 5001))
        self.assertEqual(got[21].payload, b'shared')
        away.expect_nothing()
        old = self.client(b, 'old', V311)
        self.assertTrue(old.connack.session_present)
        self.assertEqual([old.message().payload for _ in range(10)],
                         [b'one %d' % i for i in range(10)])
        slow = self.client(b, 'slow')
        rel = slow.expect(PUBREL)
        slow.send(mqtt.ack(mqtt.PUBCOMP, rel.mid))
        self.assertEqual([slow.message().payload for _ in range(4)],
                         [b'two %d' % i for i in range(1, 5)])
        pub = self.client(b, 'pub')
        pub.send(mqtt.publish('in/2', b'half', 2, 77, dup=True))
        pub.wait(PUBREC, mid=77)  # known: it is not published again
        reader = self.client(b, 'reader', clean=True, props=None)
        reader.subscribe(('r/#', mqtt.options(1, rap=True)))
        kept = {p.topic: p for p in (reader.message(), reader.message())}
        self.assertEqual(kept['r/1'].payload, b'retained')
        self.assertEqual({k: kept['r/1'].props.get(k) for k in EXACT}, EXACT)
        self.assertIn(kept['r/ü'].props['message_expiry_interval'], range(4000, 5001))
        reader.expect_nothing()
        pub.publish('q/1', b'new', 1)
        away.message('q/1', b'new')
        pub.publish('own/1', b'theirs', 1)
        away.message('own/1', b'theirs')
        away.publish('own/1', b'mine', 1)
        away.expect_nothing()
        self.assertEqual(b.stop(), 0)

    def test_check_counts_what_a_broker_left(self):
        for store in DURABLE:
            with self.subTest(store=store):
                counts = Tool(self.make(store), store).counts()
                want = {'sessions': '7', 'subscriptions': '7', 'shared': '1',
                        'retained messages': '2', 'queued messages': '37',
                        'with bodies of their own': '27', 'in flight, received': '1',
                        'incoming QoS 2 exchanges': '1', 'wills': '2', 'due': '1', 'bad rows': '0'}
                self.assertEqual({k: counts[k] for k in want}, want)

    def test_a_dump_is_lines_that_a_person_can_read(self):
        path = self.make('sqlite')
        rows = Tool(path, 'sqlite').dump()
        one = next(r for r in rows if r.get('payload') == 'one 3' and r['client'] == 'away')
        self.assertEqual({k: one[k] for k in ('kind', 'topic', 'qos', 'message_qos', 'state',
                                              'subscription_ids', 'origin', 'publisher')},
                         {'kind': 'queued', 'topic': 'q/1', 'qos': 1, 'message_qos': 1,
                          'state': 'queued', 'subscription_ids': [7, 8], 'origin': 'client',
                          'publisher': 'pub'})
        self.assertIn(b'text/plain', base64.b64decode(one['properties_base64']))
        raw = [r for r in rows if r['kind'] == 'queued' and 'payload_base64' in r]
        self.assertEqual(base64.b64decode(raw[0]['payload_base64']), b'\xff\x00 bytes 0')
        keys = [r['key'] for r in rows if r['kind'] == 'subscription']
        self.assertIn('$share/gruppe/s/#', keys)
        shared = next(r for r in rows if r.get('share') and r['kind'] == 'subscription')
        self.assertEqual((shared['share'], shared['filter']), ('gruppe', 's/#'))

    def test_a_dump_makes_the_same_store_again(self):
        for store in DURABLE:
            with self.subTest(store=store):
                path, other = self.make(store), self.new_dir()
                rows = Tool(path, store).dump()
                _, text, _ = Tool(path, store).run('dump')
                code, out, err = Tool(other, store).run('load', stdin=text)
                self.assertEqual(code, 0, err)
                self.assertIn(f'{len(rows)} rows', out.decode())
                self.assertEqual(comparable(Tool(other, store).dump()), comparable(rows))
                self.check_delivered(store, other)

    def test_times_go_on_while_they_are_in_a_dump(self):
        path, other = self.make('sqlite'), self.new_dir()
        _, text, _ = Tool(path, 'sqlite').run('dump')
        Tool(other, 'sqlite').run('load', stdin=text)
        def due(rows):
            return sorted(r['due_ms'] for r in rows if r.get('due_ms'))
        old = due(map(json.loads, text.decode().splitlines()))
        new = due(Tool(other, 'sqlite').dump())
        self.assertTrue(old)
        for a, b in zip(old, new):
            self.assertLess(abs(a - b), 1000)

    def test_a_converted_store_has_everything(self):
        for store, other in (DURABLE, DURABLE[::-1]):
            with self.subTest(store=store):
                path = self.make(store)
                tool = Tool(path, store)
                rows = tool.dump()
                code, out, err = tool.run('convert', '--to', other)
                self.assertEqual(code, 0, err)
                self.assertIn(f'persistence: {other}', out.decode())
                self.assertEqual(comparable(tool.dump(other)), comparable(rows))
                self.assertEqual(comparable(tool.dump()), comparable(rows))  # stays as it was
                bodies = 'with bodies of their own'
                self.assertEqual(Tool(path, other).counts()[bodies], tool.counts()[bodies])
                self.check_delivered(other, path)

    # -- what is refused

    def test_a_store_that_a_broker_has_is_refused(self):
        path = self.new_dir()
        b = self.broker_on('sqlite', path)
        for command in ('check', 'dump', 'load'):
            code, _, err = Tool(path, 'sqlite').run(command)
            self.assertEqual(code, 6, err)
            self.assertIn(f'another broker (process {b.pid}) uses this store', err)

    def test_a_store_that_keeps_nothing_is_refused(self):
        code, _, err = Tool(self.new_dir(), 'memory').run('check')
        self.assertEqual(code, 6)
        self.assertIn("the store 'memory' keeps nothing", err)

    def test_an_unknown_store_is_refused(self):
        code, _, err = Tool(self.new_dir(), 'nonsense').run('check')
        self.assertEqual(code, 4)
        self.assertIn('plugin_not_found', err)

    def test_other_plugins_do_not_take_part(self):
        tool = Tool(self.new_dir(), 'sqlite', **{'plugins.nowhere.enabled': 'true'})
        self.assertEqual(tool.run('check')[0], 0)

    def test_bad_command_lines_are_refused(self):
        tool = Tool(self.new_dir(), 'sqlite')
        self.assertEqual(tool.run('convert', '--to', 'sqlite')[0], 2)
        self.assertEqual(tool.run('convert')[0], 2)
        self.assertEqual(tool.run('check', '--to', 'leveldb')[0], 2)
        self.assertEqual(tool.run('repair')[0], 2)
        self.assertEqual(tool.run('check', '-o', 'nonsense=1')[0], 3)

    def test_only_an_empty_store_is_filled(self):
        path = self.make('sqlite')
        tool = Tool(path, 'sqlite')
        rows = tool.dump()
        _, text, _ = tool.run('dump')
        code, _, err = tool.run('load', stdin=text)
        self.assertEqual(code, 6)
        self.assertIn("the store 'sqlite' is not empty", err)
        self.assertEqual(comparable(tool.dump()), comparable(rows))
        self.assertEqual(tool.run('convert', '--to', 'leveldb')[0], 0)
        code, _, err = tool.run('convert', '--to', 'leveldb')
        self.assertEqual(code, 6)
        self.assertIn("the store 'leveldb' is not empty", err)

    def refused(self, lines, line, why, store='sqlite'):
        """A load fails at this line with these words, and leaves nothing."""
        tool = Tool(self.new_dir(), store)
        code, _, err = tool.run('load', stdin=b''.join(one + b'\n' for one in lines))
        self.assertEqual(code, 1, err)
        self.assertIn(f'stdin:{line}: ', err)
        self.assertIn(why, err)
        self.assertIn('is empty again', err)
        self.assertEqual(tool.dump(), [])

    def test_garbage_is_refused_with_its_line_and_leaves_an_empty_store(self):
        head = b'{"pigeon_store_dump":1}'
        session = b'{"kind":"session","session":1,"client":"c"}'
        queued = (b'{"kind":"queued","session":1,"pos":5,"qos":1,"topic":"t","payload":"x",'
                  b'"id":"00000000000000aa-1"}')
        end = b'{"kind":"end"}'
        for lines, line, why in (
                ([], 1, 'it is empty'),
                ([b'hello'], 1, "'{' is missing"),
                ([session, end], 1, 'its first line is missing'),
                ([b'{"pigeon_store_dump":2}', end], 1, 'a dump of format 2'),
                ([head, head, end], 2, 'a second dump begins'),
                ([head, session, queued], 4, 'the dump ends here'),
                ([head, session, end, session], 3, 'behind the end'),
                ([head, b'{"kind":"sesion"}', end], 2, 'unknown kind'),
                ([head, b'{"kind":"session","sesion":1}', end], 2, "no member 'sesion'"),
                ([head, b'{"kind":"session","client":"a","client":"b"}'], 2, "'client' stands there twice"),
                ([head, b'{"kind":"session","session":"1"}', end], 2, "the value of 'session' is no good"),
                ([head, b'{"kind":"session","session":1,"client":"\xff"}', end], 2, 'not UTF-8'),
                ([head, b'{"kind":"session","session":0,"client":"a"}', end], 2, 'its number'),
                ([head, session, session, end], 3, 'another session of this number'),
                ([head, session, queued, queued.replace(b':5,', b':4,'), end], 4, 'order of positions'),
                ([head, queued, session, end], 2, 'its session, number 1, is not there'),
                ([head, session, queued.replace(b'"t"', b'"t/#"'), end], 3, 'its topic is none'),
                ([head, session, queued[:-2], end], 3, 'a string does not end'),
                ([head, session, queued[:-1], end], 3, "',' or '}' is missing"),
                ([head, session] + [queued] * 3000 + [b'{}'], 3003, 'an object without members')):
            with self.subTest(why=why):
                self.refused(lines, line, why)

    def test_a_cut_dump_is_refused_at_any_place(self):
        path = self.make('sqlite')
        _, text, _ = Tool(path, 'sqlite').run('dump')
        for at in (1, len(text) // 3, len(text) // 2, len(text) - 17, len(text) - 3):
            tool = Tool(self.new_dir(), 'leveldb')
            code, _, err = tool.run('load', stdin=text[:at])
            self.assertEqual(code, 1, err)
            self.assertIn('stdin:', err)
            self.assertEqual(tool.dump(), [])

    def test_a_load_that_was_killed_leaves_a_store_that_nobody_takes_for_whole(self):
        path, other = self.make('sqlite'), self.new_dir()
        rows = Tool(path, 'sqlite').dump()
        _, text, _ = Tool(path, 'sqlite').run('dump')
        for store in DURABLE:
            with self.subTest(store=store):
                tool = Tool(other, store)
                # The mark is on the disk before the first line is read.
                p = subprocess.Popen([Broker.binary(), 'store', 'load', *tool.args()],
                                     stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
                with p:
                    p.stdin.write(text[:text.rindex(b'{"kind":"incoming"')])
                    p.stdin.flush()
                    until_read(p.stdin)
                    p.kill()
                for command in (('check',), ('dump',), ('convert', '--to', 'leveldb' if store ==
                                                        'sqlite' else 'sqlite')):
                    code, _, err = tool.run(*command)
                    self.assertEqual(code, 6, err)
                    self.assertIn('has not come to its end', err)
                with self.assertRaises(RuntimeError) as caught:
                    self.broker_on(store, other)
                self.assertIn('store_unfinished', str(caught.exception))
                code, _, err = tool.run('load', stdin=text)  # begins anew
                self.assertEqual(code, 0, err)
                self.assertEqual(comparable(tool.dump()), comparable(rows))

    def test_bad_rows_are_named_and_left_out(self):
        path = self.new_dir()
        b = self.broker_on('sqlite', path)
        for name in ('c', 'd'):
            c = self.client(b, name)
            c.subscribe((f'{name}/a', mqtt.options(1)), (f'{name}/b', mqtt.options(1)))
            c.disconnect()
        self.assertEqual(b.stop(), 0)
        db = sqlite3.connect(os.path.join(path, 'store.sqlite'))
        db.execute("delete from sessions where client = 'c'")
        db.commit()
        db.close()
        tool = Tool(path, 'sqlite')
        code, out, err = tool.run('check')
        self.assertEqual(code, 1, err)
        self.assertIn("bad row: subscription, session 1, key 'c/a': its session, number 1, is not there",
                      out.decode())
        self.assertIn("bad rows: 2\nstore 'sqlite': has bad rows", out.decode())
        code, out, err = tool.run('dump')
        self.assertEqual((code, len(out.splitlines())), (1, 7), err)  # they are in it, to be seen
        self.assertEqual(Tool(self.new_dir(), 'sqlite').run('load', stdin=out)[0], 1)
        code, out, err = tool.run('convert', '--to', 'leveldb')
        self.assertEqual(code, 1, err)
        self.assertIn('everything but the bad rows', out.decode())
        self.assertEqual([r['client'] for r in Tool(path, 'leveldb').dump()], ['d'] * 3)

    def test_damage_ends_the_reading_with_the_words_of_the_plugin(self):
        path = self.make('sqlite')
        db = sqlite3.connect(os.path.join(path, 'store.sqlite'))
        db.execute("update subscriptions set qos = 0 where key = 'own/#'")
        db.commit()
        db.close()
        tool = Tool(path, 'sqlite')
        code, out, err = tool.run('check')
        self.assertIn(code, (1, 6), err)  # found by a scan, or before at the opening
        self.assertNotIn('in order', out.decode())
        self.assertIn('of subscriptions; the option `salvage`', err)
        code, out, err = tool.run('dump')
        self.assertEqual((code, b'"end"' in out), (6, False), err)
        code, _, err = tool.run('convert', '--to', 'leveldb')
        self.assertEqual(code, 6, err)
        self.assertEqual(Tool(path, 'leveldb').dump(), [])

    def any_store(self, **options):
        """Another plugin's store, which answers late and fails as it is told."""
        file = built('store-fail')
        if not os.path.exists(file):
            self.skipTest('no store-fail in this build')
        block = {'file': file, 'options': {'says_os': True, **options}}
        return {'plugins.store-fail': json.dumps(block)}

    def test_any_store_can_be_filled(self):
        path = self.make('sqlite')
        for options in ({}, {'delay': '1ms'}):
            with self.subTest(**options):
                tool = Tool(path, 'sqlite', **self.any_store(**options))
                code, out, err = tool.run('convert', '--to', 'fail')
                self.assertEqual(code, 0, err)
                self.assertIn('queued messages: 37', out.decode())

    def test_a_store_that_has_no_room_is_empty_again(self):
        path = self.make('sqlite')
        for at in (1, 2, 3):
            tool = Tool(path, 'sqlite', **self.any_store(fail_at=at, delay='1ms'))
            code, _, err = tool.run('convert', '--to', 'fail')
            self.assertEqual(code, 6, err)
            self.assertIn('there is no room in it', err)
            self.assertEqual('is empty again' in err, at > 1, err)

    def test_a_store_that_fails_is_left_marked(self):
        path = self.make('sqlite')
        for word in ('io', 'unknown'):
            tool = Tool(path, 'sqlite', **self.any_store(fail_at=2, fail_with=word))
            _, text, _ = tool.run('dump')
            for command, more in (('convert', ['--to', 'fail']), ('load', ['-o', 'persistence=fail'])):
                code, _, err = tool.run(command, *more, stdin=text)
                self.assertEqual(code, 6, err)
                self.assertIn('marked as unfinished', err)

    def test_a_dump_that_nobody_can_take_is_an_error(self):
        path = self.make('sqlite')
        with open('/dev/full', 'wb') as full:
            done = subprocess.run([Broker.binary(), 'store', 'dump',
                                   *Tool(path, 'sqlite').args()], stdout=full,
                                  stderr=subprocess.PIPE, timeout=DEADLINE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'the dump cannot be written', done.stderr)


if __name__ == '__main__':
    unittest.main()
