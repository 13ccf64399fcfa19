"""Whose fault it was: crashes, stalls and what calls cost (F5, F6).

blame.c misbehaves as the payload of a PUBLISH says.
"""

import ctypes
import json
import os
import re
import signal
import unittest

import broker
import mqtt
from plugin_case import NUMBERS, Broker, PluginCase, built, plugin


class Crash(unittest.TestCase):
    """A broker for each crash: it does not survive."""

    n = 0

    def setUp(self):
        if broker.KIND != 'pigeon':
            raise unittest.SkipTest('plugins of Pigeon')

    def crash(self, name, order):
        """Has the plugin do that; (exit status, what the broker said at last)."""
        b = Broker({'plugins': plugin(name)}).start()
        self.addCleanup(b.cleanup)
        if order == b'segv' and b.sanitized:
            self.skipTest('AddressSanitizer takes SIGSEGV itself')
        c = mqtt.Client(b, f'c{self.n}')  # another loop is the client's home
        self.addCleanup(c.close)
        c.connect()
        c.send(mqtt.publish('t', order, qos=1, mid=1))
        code = b.process.wait(broker.STOP_DEADLINE)
        b._reader.join(broker.STOP_DEADLINE)
        b.process = None
        return code, '\n'.join(b.log)

    def blamed(self, name, order, signo):
        """By clients of several loops: which one they live on is drawn anew at each start."""
        for self.n in range(min(2 * broker.THREADS, 8)):
            log = self.blamed_once(name, order, signo)
        return log

    def blamed_once(self, name, order, signo):
        code, log = self.crash(name, order)
        self.assertEqual(code, -signo, log)
        line = next((x for x in log.splitlines() if 'fatal signal' in x), log)
        self.assertRegex(line, rf'fatal signal {signo.name[3:]} in plugin {name}, '
                               r'hook authorize_publish, client connection \d+$')
        self.assertRegex(log, r'pigeond: version \d+\.')
        return log

    def test_a_segfault_names_the_plugin_and_takes_its_course(self):
        log = self.blamed('blame', b'segv', signal.SIGSEGV)
        self.assertRegex(log, r'blame\.so\(\+?.*\) ?\[0x[0-9a-f]+\]')

    def test_an_abort_names_the_plugin(self):
        self.blamed('blame', b'abort', signal.SIGABRT)

    def test_a_division_names_the_plugin(self):
        self.blamed('blame', b'fpe', signal.SIGFPE)

    def test_an_exception_that_leaves_the_plugin_names_it(self):
        if not os.path.exists(built('throws')):
            self.skipTest('no C++ compiler')
        self.blamed('throws', b'throw', signal.SIGABRT)

    def test_a_thread_of_the_plugins_own_is_told_apart(self):
        code, log = self.crash('blame', b'thread')
        self.assertEqual(code, -signal.SIGSEGV, log)
        self.assertRegex(log, r"fatal signal SEGV in thread blame-own, which is not one of the "
                              r"broker's loops")

    def test_a_crash_outside_of_plugins_says_so(self):
        b = Broker({}).start()
        self.addCleanup(b.cleanup)
        # To the first loop's thread: another one might take it before it is a loop.
        self.assertEqual(ctypes.CDLL(None).tgkill(b.pid, b.pid, signal.SIGSEGV), 0)
        self.assertEqual(b.process.wait(broker.STOP_DEADLINE), -signal.SIGSEGV)
        b._reader.join(broker.STOP_DEADLINE)
        b.process = None
        self.assertRegex('\n'.join(b.log), 'fatal signal SEGV not in a plugin')


class Stall(unittest.TestCase):
    def setUp(self):
        if broker.KIND != 'pigeon':
            raise unittest.SkipTest('plugins of Pigeon')
        self.b = Broker({'hook_warn': '20ms'})
        self.addCleanup(self.b.cleanup)
        self.gate = os.path.join(self.b.dir, 'gate')
        self.b.options['plugins'] = plugin('blame', {'gate': self.gate})

    def test_who_holds_up_a_loop_is_named_while_it_lasts_and_afterwards(self):
        with open(self.gate, 'w', encoding='ascii'):
            pass
        self.b.start()
        c = mqtt.Client(self.b, 'c')
        self.addCleanup(c.close)
        c.connect()
        c.send(mqtt.publish('t', b'sleep', qos=1, mid=1))
        said = self.b.wait_log('plugin_slow')
        for part in ('plugin=blame', 'hook=authorize_publish', 'state=running'):
            self.assertIn(part, said)
        self.assertGreaterEqual(int(re.search(r'\bms=(\d+)', said)[1]), 20)
        self.assertNotIn('connection=0', said)
        again = self.b.wait_log('plugin_slow', since=self.b.log.index(said) + 1)  # a second later
        self.assertIn('state=running', again)
        self.assertGreaterEqual(int(re.search(r'\bms=(\d+)', again)[1]), 1000)
        os.unlink(self.gate)
        c.expect(mqtt.PUBACK, mid=1)
        over = self.b.wait_log('state=returned')
        self.assertIn('plugin=blame', over)
        self.assertGreaterEqual(int(re.search(r'\bms=(\d+)', over)[1]), 1000)

    def test_it_is_switched_on_by_a_reload(self):
        with open(self.gate, 'w', encoding='ascii'):
            pass
        self.b.options['hook_warn'] = 0
        self.b.start()
        path = os.path.join(self.b.dir, 'pigeon.conf')
        with open(path, encoding='utf-8') as f:
            options = json.load(f)
        with open(path, 'w', encoding='utf-8') as f:
            json.dump({**options, 'hook_warn': '20ms'}, f)
        self.assertIn('changed=1', self.b.reload(' reloaded '))
        self.assertNotIn('plugin_slow', '\n'.join(self.b.log))
        c = mqtt.Client(self.b, 'c')
        self.addCleanup(c.close)
        c.connect()
        c.send(mqtt.publish('t', b'sleep', qos=1, mid=1))
        self.b.wait_log('plugin_slow')
        os.unlink(self.gate)
        c.expect(mqtt.PUBACK, mid=1)


class Numbers(PluginCase):
    options = {'plugins': {**plugin('blame'), **NUMBERS}}

    def test_calls_and_denials_are_counted_and_some_are_timed(self):
        hook = 'authorize_publish'
        reader = self.reader('blame', f'hook_calls/{hook}', f'hook_denials/{hook}',
                             'hook_bad_verdicts', f'hook_seconds/{hook}/#', f'hook_max_ns/{hook}')
        c = self.client()
        for i in range(130):
            c.publish('t', (b'deny' if i == 3 else b'bad' if i == 4 else b''), qos=1)
        got = {}
        want = {f'hook_calls/{hook}': 130, f'hook_denials/{hook}': 2, 'hook_bad_verdicts': 1,
                f'hook_seconds/{hook}/count': 3}
        while any(got.get(name) != value for name, value in want.items()):
            p = reader.message()
            name = p.topic.split('/blame/')[1]
            got[name] = float(p.payload)
            self.assertLessEqual(got[name], want.get(name, 1e12), p)
        for name in ('mean', 'p99', 'sum'):
            if f'hook_seconds/{hook}/{name}' in got:
                self.assertGreater(got[f'hook_seconds/{hook}/{name}'], 0)
