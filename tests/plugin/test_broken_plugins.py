"""Deliberately broken plugins: what pigeond makes of each, and what `pigeon-plugin check` says.

START: refused before or while it is loaded; `pigeond -t` and the start fail and say why.
RUN:   loads, and misbehaves when a client with any name but `good` connects:
         denied   that client does not come in, everybody else does
         served   nothing else suffers; the log says what was wrong
         dies     the whole process ends by that signal: a plugin is part of it. (C++: an exception
                  cannot pass through C, so the runtime calls std::terminate, which aborts.) Its last
                  words name the plugin.
"""

import os
import shutil
import signal
import unittest

import mqtt
from plugin_case import NUMBERS, Broker, PluginCase, built, judge, plugin
from tool_case import ToolCase, check, tool

# name: (reason of pigeond, (case of check, its reason))
START = {
    'bad-magic': ('wrong magic number', ('note and descriptor', 'wrong magic number')),
    'short-size': ('size of 24 bytes', ('note and descriptor', 'size of 24 bytes')),
    'other-id': ('manifest and its descriptor differ', ('note and descriptor', 'differ')),
    'null-table': ('NULL in it', ('note and descriptor', 'NULL in it')),
    'no-provides': ('interfaces is damaged', ('note and descriptor', 'damaged')),
    'single-shared': ('SINGLE and SHARED', ('the file may be loaded', 'SINGLE and SHARED')),
    'exec-stack': ('executable stack', ('the file may be loaded', 'executable stack')),
    'check-fails': ('colour: there is none', ('it accepts these options', 'there is none')),
    'check-crashes': ('crashed', ('it accepts these options', 'crashed by signal 6')),
    'create-fails': ('create failed', ('100 times created', 'create failed')),
    'needs-option': ('needed', ('it accepts these options', "'needed' is missing")),
}

# name: (denied | served | signal that ends pigeond, text in its log, (case of check, its reason))
RUN = {
    'k5-verdict': ('denied', 'plugin_bad_verdict', ('authenticate, plain', 'no verdict')),
    'k5-twice': ('served', '', ('authenticate, plain', 'completed 2 times')),
    'k5-never': ('denied', 'plugin_deadline', ('authenticate, plain', 'never completed')),
    'k5-sleep': ('served', 'plugin_slow', ('does not keep the loop', 'keeps the event loop for')),
    'k5-crash': (signal.SIGSEGV, '', ('authenticate, plain', 'crashed by signal')),
    'k5-throw': (signal.SIGABRT, '', ('authenticate, plain', 'crashed by signal 6')),
    'k5-hang': (signal.SIGKILL, '', ('authenticate, plain', 'did not end within')),
    'k5-thread': ('served', '', ('100 times created', 'threads running')),
    'k5-slot': ('served', '', ('authenticate, plain', 'no client_free')),
    'k5-late_set': ('served', '', ('authenticate, plain', 'after the answer')),
    'k5-elsewhere': ('served', '', ('authenticate, plain', 'another thread')),
    'k5-leak': ('served', '', ('100 times created', 'leaks')),
    'k5-touch': ('served', '', ('check() leaves nothing', 'files behind')),
    'k5-symbols': ('served', '', ('nothing else', 'exports k5_something')),
    'k5-quiesce': ('served', 'plugin_quiesce_timeout', ('quiesce is answered', 'not answered')),
}


def sanitized():
    """A sanitizer has its own opinion of crashes and leaks."""
    with open(Broker.binary(), 'rb') as f:
        return b'__asan_init' in f.read()


class ByCheck(ToolCase):
    def expect(self, name, case, reason):
        failed, _ = check(built(name), timeout='3' if name.endswith('hang') else '15',
                          only=case)
        found = [r for c, r in failed.items() if case in c and reason in r]
        self.assertTrue(found, f'{name}: {failed}')

    def test_check_reports_each_fault(self):
        for table in (START, RUN):
            for name, row in table.items():
                with self.subTest(plugin=name):
                    if not os.path.exists(built(name)):
                        continue  # no C++ compiler
                    if sanitized() and name in ('k5-leak', 'k5-crash', 'k5-throw', 'k5-touch',
                                                'check-crashes'):
                        continue
                    self.expect(name, *row[2] if table is RUN else row[1])

    def test_two_files_with_one_id_are_seen_by_scan(self):
        for name in ('a.so', 'b.so'):
            shutil.copy(built('p0'), os.path.join(self.dir, name))
        status, out, _ = tool('scan', self.dir)
        self.assertEqual(status, 1)
        self.assertRegex(out, r'(?m)^\S+/b\.so: refused: its id \S+ is that of \S+/a\.so$')


class AtTheStart(PluginCase):
    def test_pigeond_refuses_it_and_says_why(self):
        for name, (reason, _) in START.items():
            with self.subTest(plugin=name):
                options = {'plugins': plugin(name)}
                code, text = judge(options, self.broker.dir)
                if name == 'create-fails':  # -t creates nothing
                    text = self.start_fails(options)
                else:
                    self.assertNotEqual(code, 0)
                self.assertIn(reason, text)
                self.assertIn(name, text)

    def start_fails(self, options):
        b = Broker(options)
        self.addCleanup(b.cleanup)
        with self.assertRaises(RuntimeError) as failed:
            b.start()
        return str(failed.exception)

    def test_two_files_with_one_id_are_refused(self):
        folder = os.path.join(self.broker.dir, 'twins')
        os.mkdir(folder)
        for name in ('a.so', 'b.so'):
            shutil.copy(built('p0'), os.path.join(folder, name))
        code, text = judge({'plugins_dir': [folder]}, self.broker.dir)
        self.assertNotEqual(code, 0)
        self.assertIn('is that of', text)

    def test_a_file_that_everybody_may_write_is_refused(self):
        path = os.path.join(self.broker.dir, 'open.so')
        shutil.copy(built('p0'), path)
        os.chmod(path, 0o777)
        code, text = judge({'plugins': {'open': {'file': path}}}, self.broker.dir)
        self.assertNotEqual(code, 0)
        self.assertIn('writable by everybody', text)


class AtRunTime(unittest.TestCase):
    def connect(self, b, name, **kw):
        c = mqtt.Client(b, name, username=name, password='x')
        return c, c.connect(**kw)

    def started(self, name):
        b = Broker({'plugins': {**plugin(name, deadline='300ms'), **NUMBERS},
                    'drain_timeout': '1s', 'hook_warn': '50ms'}).start()
        self.addCleanup(b.cleanup)
        good, _ = self.connect(b, 'good')
        good.ping()
        return b, good

    def dies(self, name, by):
        b, _ = self.started(name)
        c = mqtt.Client(b, 'bad', username='bad', password='x')
        c.send_connect()
        if by == signal.SIGKILL:  # the loop is lost; nothing but this helps
            b.wait_log(f'plugin_slow plugin={name} hook=authenticate')
            b.kill()
            return
        self.assertEqual(b.process.wait(timeout=30), -by)
        b.wait_log(f'in plugin {name}, hook authenticate')  # the last words

    def lives(self, name, outcome, text):
        b, good = self.started(name)
        for _ in range(2):
            _, answer = self.connect(b, 'bad', reason=None)
            self.assertEqual(answer.reason == 0, outcome == 'served')
        good.ping()
        self.connect(b, 'good')
        if text == 'plugin_quiesce_timeout':
            self.assertEqual(b.stop(), 0)
        if text:
            b.wait_log(text)
        if text != 'plugin_quiesce_timeout':
            self.assertEqual(b.stop(), 0)

    def test_what_becomes_of_pigeond(self):
        for name, (outcome, text, _) in RUN.items():
            with self.subTest(plugin=name):
                if not os.path.exists(built(name)):
                    continue
                if sanitized() and (isinstance(outcome, signal.Signals) or
                                    name in ('k5-leak', 'k5-slot')):
                    continue
                if isinstance(outcome, signal.Signals):
                    self.dies(name, outcome)
                else:
                    self.lives(name, outcome, text)
