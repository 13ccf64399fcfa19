"""The gate of the plugin ABI (tests/abi/run.py) lets through what is allowed, and nothing else.

Each case changes a copy of the headers as somebody might in good faith, and asks the gate.
"""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from plugin_case import ROOT

AUTH_END = '} pigeon_auth;'


class Gate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.environ.get('PIGEON_TEST_THREADS', '1') != '1':
            raise unittest.SkipTest('has nothing to do with event loops')

    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory(prefix='pigeon-test-')
        self.addCleanup(self.tmp.cleanup)
        self.root = self.tmp.name
        for part in ('include', 'tests/abi'):
            shutil.copytree(os.path.join(ROOT, part), os.path.join(self.root, part),
                            ignore=shutil.ignore_patterns('__pycache__'))

    def path(self, name):
        folder = 'tests/abi' if name.endswith('.golden') else 'include/pigeon'
        return os.path.join(self.root, folder, name)

    def edit(self, name, old, new):
        with open(self.path(name), encoding='utf-8') as f:
            text = f.read()
        self.assertIn(old, text)
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text.replace(old, new, 1))

    def add_line(self):
        with open(self.path('plugin.h'), encoding='utf-8') as f:
            last = re.findall(r'^ \*   \d{4}-\d\d-\d\d .*\n', f.read(), re.M)[-1]
        self.edit('plugin.h', last, last + ' *   2099-01-01  1.9  auth: one more member\n')

    def gate(self, *args):
        done = subprocess.run(['/usr/bin/python3', '-B', os.path.join(self.root, 'tests/abi/run.py'),
                               '--quick', *args], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def fails(self, *names):
        code, text = self.gate()
        self.assertNotEqual(code, 0, text)
        for name in names:
            self.assertRegex(text, rf'(?m)^not ok \d+ - {re.escape(name)}')

    def passes(self):
        code, text = self.gate()
        self.assertEqual(code, 0, text)

    def git(self, *args):
        subprocess.run(['git', '-C', self.root, '-c', 'user.name=t', '-c', 'user.email=t@example',
                        *args], check=True, capture_output=True)

    def commit(self):
        self.git('add', '-A')
        self.git('commit', '-qm', 'a change')

    # -- what a struct may be made of

    def test_the_headers_as_they_are_pass(self):
        self.passes()

    def test_types_that_are_not_the_same_everywhere_are_refused(self):
        members = ('long a;', 'time_t b;', '_Bool c;', 'unsigned d;', 'size_t e;',
                   'void (*f)(long n);', 'off_t (*g)(void *self);', 'enum colour h;', 'double i;')
        self.edit('types.h', '#include <stdint.h>', '#include <stdint.h>\n#include <sys/types.h>\n'
                  '#include <time.h>\nenum colour { RED };')
        self.edit('auth.h', AUTH_END, ''.join(f'    {m}\n' for m in members) + AUTH_END)
        code, text = self.gate()
        self.assertNotEqual(code, 0)
        self.assertRegex(text, r'(?m)^not ok \d+ - only types that are the same everywhere')
        for member in members:
            self.assertRegex(text, rf'(?m)^# pigeon_auth: \w+: {re.escape(member[:-1])}$')

    def test_enums_bit_fields_and_ellipses_are_refused(self):
        self.edit('auth.h', AUTH_END, '    uint32_t a : 3;\n    uint32_t b : 29;\n'
                  f'    void (*log)(void *self, ...);\n{AUTH_END}\n'
                  'enum pigeon_colour { PIGEON_RED };')
        code, text = self.gate()
        self.assertNotEqual(code, 0, text)
        for name in ('no bit-field', 'no function takes a variable number of arguments', 'no enum'):
            self.assertRegex(text, rf'(?m)^not ok \d+ - {name}')

    def test_padding_is_refused(self):
        self.edit('auth.h', AUTH_END, f'    uint32_t n;\n{AUTH_END}')
        self.fails('no struct has padding, gcc as c11', 'no struct has padding, clang++ as c++17')

    def test_padding_on_32_bit_only_is_refused(self):
        self.edit('types.h', '} pigeon_exchange;', '    const char *a;\n} pigeon_exchange;')
        self.fails('no struct has padding, 32-bit ARM')

    def test_a_struct_that_may_grow_within_another_is_refused(self):
        members = ('pigeon_auth a', 'const pigeon_flow b', 'pigeon_auth c[2]')
        self.edit('plugin.h', '} pigeon_plugin;',
                  ''.join(f'    {m};\n' for m in members) + '} pigeon_plugin;')
        code, text = self.gate()
        self.assertNotEqual(code, 0)
        self.assertRegex(text, r'(?m)^not ok \d+ - no struct that may grow lies in another')
        for member in members:
            self.assertIn(f'# pigeon_plugin: {member}\n', text)

    def test_a_struct_without_its_size_is_refused(self):
        self.edit('flow.h', '    uint32_t size;\n    uint32_t flags;',
                  '    uint32_t flags;\n    uint32_t size;')
        self.fails('pigeon_flow begins with its size')

    def test_a_deprecated_member_is_said_to_who_uses_it(self):
        self.edit('auth.h', '(*exchange)(void *self, pigeon_req *req, const pigeon_exchange *exchange);',
                  '(*exchange)(void *self, pigeon_req *req, const pigeon_exchange *exchange)\n'
                  '        PIGEON_DEPRECATED("use steps");')
        self.passes()
        for use, extra, warns in (('auth.exchange', [], True), ('auth.authenticate', [], False),
                                  ('auth.exchange', ['-DPIGEON_DEPRECATED(text)='], False)):
            for compiler in ('gcc', 'clang'):
                done = subprocess.run(
                    [compiler, '-Wall', '-Wextra', '-I', os.path.join(self.root, 'include'), *extra,
                     '-x', 'c', '-fsyntax-only', '-'], capture_output=True, text=True,
                    input='#include <pigeon/plugin.h>\nint used(pigeon_auth auth);\n'
                          f'int used(pigeon_auth auth)\n{{\n    return {use} != NULL;\n}}\n')
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual('use steps' in done.stderr, warns, done.stderr)

    # -- what is accepted, and by whom

    def test_a_member_in_the_middle_is_seen(self):
        self.edit('auth.h', '    uint32_t flags;\n', '    uint32_t flags;\n    uint64_t more;\n')
        self.fails('structs and members are the accepted ones',
                   'sizes and offsets are the accepted ones, gcc')

    def test_a_member_of_another_width_is_seen(self):
        self.edit('types.h', 'uint16_t     receive_maximum;\n    uint16_t     topic_alias_maximum;',
                  'uint8_t      receive_maximum;\n    uint8_t      topic_alias_maximum;\n'
                  '    uint16_t     rsv3;')
        self.fails('sizes and offsets are the accepted ones, 32-bit ARM')

    def test_another_value_of_a_constant_is_seen(self):
        self.edit('types.h', '#define PIGEON_DENY     2', '#define PIGEON_DENY     5')
        self.fails('constants are the accepted ones')

    def test_growth_is_accepted_only_with_a_dated_line(self):
        self.edit('auth.h', AUTH_END, '    int32_t (*more)(void *self, pigeon_req *req);\n'
                  f'    void *rsv9;\n{AUTH_END}')
        self.fails('structs and members are the accepted ones')
        code, text = self.gate('--update')
        self.assertEqual(code, 1, text)
        self.assertIn('add a dated line to the change list', text)
        self.fails('structs and members are the accepted ones')
        self.add_line()
        self.assertEqual(self.gate('--update')[0], 0)
        self.passes()

    def test_a_line_alone_is_not_enough(self):
        self.add_line()
        self.fails('the accepted copy knows every line of the change list')

    # -- what goes into the history

    def grow(self):
        self.edit('types.h', '#define PIGEON_CONTINUE 4',
                  '#define PIGEON_PERHAPS  9\n#define PIGEON_CONTINUE 4')
        self.edit('constants.golden', '#define PIGEON_PENDING 3\n',
                  '#define PIGEON_PENDING 3\n#define PIGEON_PERHAPS 9\n')

    def test_an_accepted_copy_edited_by_hand_is_refused_before_the_commit(self):
        self.git('init', '-q')
        self.commit()
        self.grow()
        self.fails('what is not committed yet has its dated line')

    def test_a_commit_that_changes_an_accepted_copy_without_a_dated_line_is_refused(self):
        self.git('init', '-q')
        self.commit()
        self.grow()
        self.commit()
        self.fails('each change of the accepted copies came with a dated line')

    def test_a_commit_with_a_dated_line_is_fine(self):
        self.git('init', '-q')
        self.commit()
        self.grow()
        self.add_line()
        self.assertEqual(self.gate('--update')[0], 0)
        self.passes()
        self.commit()
        self.passes()
