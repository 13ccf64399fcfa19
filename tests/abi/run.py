#!/usr/bin/env python3
"""The gate of the plugin ABI: run.py [--update] [-v].

Every header compiles alone, as C99, C11, C17 and C++17, with gcc and clang, warnings being errors.
No struct has padding, on amd64 or 32-bit ARM. All layouts and constants are those of the accepted
copies layout.golden and constants.golden. --update accepts the present ones, and insists on a new
line in the change list on top of <pigeon/plugin.h>.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
INCLUDE = os.path.join(os.path.dirname(os.path.dirname(HERE)), 'include')
LAYOUT = os.path.join(HERE, 'layout.golden')
CONSTANTS = os.path.join(HERE, 'constants.golden')
HELPERS = {'pigeon_prop'}  # of util.h: never crosses between broker and plugin
WARN = ['-Wall', '-Wextra', '-Wshadow', '-Wundef', '-Werror']
MATRIX = [('gcc', 'c', s) for s in ('c99', 'c11', 'c17')] + [('g++', 'c++', 'c++17')] + \
    [('clang', 'c', s) for s in ('c99', 'c11', 'c17')] + [('clang++', 'c++', 'c++17')]
ARM = ['clang', '--target=armv7-linux-gnueabihf', '-ffreestanding']
# 32-bit ARM has no libc headers here, and the ABI needs next to nothing of them.
STUBS = {
    'stdio.h': '#include <stdarg.h>\n#include <stddef.h>\n'
               'int vsnprintf(char *, size_t, const char *, va_list);\n',
    'string.h': '#include <stddef.h>\nvoid *memset(void *, int, size_t);\n'
                'int memcmp(const void *, const void *, size_t);\nsize_t strlen(const char *);\n',
}


class Gate:
    """Counts and prints; everything is made in one temporary directory."""

    def __init__(self, tmp):
        self.tmp, self.n, self.failed = tmp, 0, 0
        for name, text in STUBS.items():
            self.file(os.path.join('stub', name), text)

    def file(self, name, text):
        path = os.path.join(self.tmp, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return path

    def report(self, ok, name, text=''):
        self.n += 1
        self.failed += not ok
        print(f'{"ok" if ok else "not ok"} {self.n} - {name}', flush=True)
        for line in text.splitlines()[:40] if not ok else []:
            print(f'# {line}')

    def skip(self, name, why):
        self.n += 1
        print(f'ok {self.n} - {name} # SKIP {why}', flush=True)

    def compile(self, name, command):
        """Reports whether a compiler was content."""
        if not shutil.which(command[0]):
            self.skip(name, f'{command[0]} is not installed')
            return False
        done = subprocess.run(command, capture_output=True, text=True)
        self.report(done.returncode == 0, name, done.stdout + done.stderr)
        return done.returncode == 0

    def arm(self):
        return ARM + ['-isystem', os.path.join(self.tmp, 'stub'), '-I', INCLUDE]


def out(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def headers():
    return sorted(os.listdir(os.path.join(INCLUDE, 'pigeon')))


# ---------------------------------------------------------------- what the headers say

def split(body):
    """Declarations of a struct's body, at its own depth."""
    depth, start = 0, 0
    for i, c in enumerate(body):
        depth += (c in '({') - (c in ')}')
        if c == ';' and depth == 0:
            yield body[start:i].strip()
            start = i + 1
    if body[start:].strip():
        raise ValueError(f'not understood: {body[start:]!r}')


def member(declaration):
    """Name of the one member that it declares."""
    union = re.fullmatch(r'union\s*\{(.*)\}', declaration, re.S)
    if union:
        return member(next(split(union.group(1))))
    function = re.match(r'[^()]*\(\s*\*\s*(\w+)\s*\)\s*\(', declaration)
    if function:
        return function.group(1)
    found = re.fullmatch(r'[\w\s*]*?[\s*](\w+)(\[\w+\])?', declaration)
    if not found:
        raise ValueError(f'not understood: {declaration!r}')
    return found.group(1)


def structs():
    """[(struct, [members])] of the ABI, in the order of the headers."""
    text = out('gcc', '-E', '-P', '-I', INCLUDE, '-include', 'pigeon/plugin.h', '-x', 'c',
               '/dev/null')
    found = []
    for m in re.finditer(r'typedef struct (pigeon_\w+)\s*\{', text):
        depth, end = 1, m.end()
        while depth:
            depth += (text[end] == '{') - (text[end] == '}')
            end += 1
        found.append((m.group(1), [member(d) for d in split(text[m.end():end - 1])]))
    return found


def change_list():
    with open(os.path.join(INCLUDE, 'pigeon', 'plugin.h'), encoding='utf-8') as f:
        return re.findall(r'^ \*   (\d{4}-\d\d-\d\d .*)$', f.read(), re.M)


def constants():
    lines = out('gcc', '-E', '-dM', '-I', INCLUDE, '-include', 'pigeon/plugin.h', '-x', 'c',
                '/dev/null').splitlines()
    keep = [line for line in lines if re.match(r'#define PIGEON_\w*[A-Z0-9] \S', line) and
            not line.split()[1].endswith('_H')]
    return ''.join(f'{line}\n' for line in sorted(keep))


EXPRESSIONS = '(unsigned)sizeof({0})', '(unsigned)offsetof({0}, {1})', '(unsigned)sizeof((({0} *)0)->{1})'


def layout_source(kinds):
    """A C array of all sizes and offsets, in the order of names()."""
    size, offset, width = EXPRESSIONS
    rows = []
    for struct, members in kinds:
        rows.append(size.format(struct))
        for one in members:
            rows += [offset.format(struct, one), width.format(struct, one)]
    return '#include <pigeon/plugin.h>\nconst unsigned layout[] = {\n    ' + \
        ',\n    '.join(rows) + '\n};\n'


def golden_layout(gate, kinds):
    """The text of layout.golden for the present headers."""
    source = layout_source(kinds)
    program = gate.file('layout.c', source + '#include <stdio.h>\nint main(void)\n{\n'
                        '    for (unsigned i = 0; i < sizeof(layout) / sizeof(*layout); i++)\n'
                        '        printf("%u\\n", layout[i]);\n    return 0;\n}\n')
    binary = os.path.join(gate.tmp, 'layout')
    out('gcc', '-I', INCLUDE, program, '-o', binary)
    here = list(map(int, out(binary).split()))
    assembler = out(*gate.arm(), '-S', '-o', '-', gate.file('layout_arm.c', source))
    there = [int(n) for n in re.findall(r'^\s+\.long\s+(\d+)', assembler, re.M)][:len(here)]
    if len(there) != len(here):
        raise ValueError('the assembler text was not understood')
    lines = ['# Sizes and offsets of the plugin ABI; written by run.py --update.',
             '# struct: size on amd64, on 32-bit ARM; member: offset and size, offset and size']
    lines += [f'# change: {line}' for line in change_list()]
    at = 0
    for struct, members in kinds:
        lines.append(f'{struct} {here[at]} {there[at]}')
        at += 1
        for one in members:
            lines.append(f'{struct}.{one} {here[at]} {here[at + 1]} {there[at]} {there[at + 1]}')
            at += 2
    return '\n'.join(lines) + '\n'


def read_golden():
    with open(LAYOUT, encoding='utf-8') as f:
        lines = f.read().splitlines()
    changes = [line[len('# change: '):] for line in lines if line.startswith('# change: ')]
    rows = [line.split() for line in lines if line and not line.startswith('#')]
    return changes, [(row[0], list(map(int, row[1:]))) for row in rows]


def asserts(rows, arm):
    """The accepted layout as static assertions."""
    size, offset, width = EXPRESSIONS
    text = '#include <pigeon/plugin.h>\n'
    for name, numbers in rows:
        struct, _, one = name.partition('.')
        mine = numbers[len(numbers) // 2:] if arm else numbers[:len(numbers) // 2]
        tests = [(size, mine[0])] if not one else [(offset, mine[0]), (width, mine[1])]
        for expression, want in tests:
            expression = expression.format(struct, one)
            text += f'_Static_assert({expression} == {want}u, "{name}");\n'
    return text


# ---------------------------------------------------------------- the cases

def case_headers(gate):
    for header in headers():
        for compiler, lang, std in MATRIX:
            source = gate.file('alone.c', f'#include <pigeon/{header}>\n')
            gate.compile(f'{header} alone is {std} for {compiler}',
                         [compiler, f'-std={std}', '-x', lang, *WARN, '-Wpadded', '-Wconversion',
                          '-I', INCLUDE, '-fsyntax-only', source])


def case_sample(gate):
    sample = os.path.join(HERE, 'sample.c')
    for compiler, lang, std in MATRIX:
        binary = os.path.join(gate.tmp, 'sample.so')
        if not gate.compile(f'a plugin is {std} for {compiler}',
                            [compiler, f'-std={std}', '-x', lang, *WARN,
                             '-Wno-missing-field-initializers', '-I', INCLUDE, '-shared', '-fPIC',
                             '-fvisibility=hidden', sample, '-o', binary]):
            continue
        symbols = [line.split()[-1] for line in
                   out('nm', '-D', '--defined-only', binary).splitlines()]
        gate.report(symbols == ['pigeon_plugin_v1'],
                    f'a plugin by {compiler} as {std} exports one symbol', ' '.join(symbols))
        note = out('readelf', '-n', binary)
        gate.report('Pigeon' in note, f'a plugin by {compiler} as {std} has the note', note)
    if shutil.which('clang'):
        gate.compile('a plugin is C11 for 32-bit ARM',
                     [*gate.arm(), '-std=c11', *WARN, '-Wno-missing-field-initializers', '-c',
                      sample, '-o', os.path.join(gate.tmp, 'sample.o')])


def case_padding(gate, kinds):
    source = '#include <pigeon/plugin.h>\n' + \
        ''.join(f'extern {s} one_{s};\n{s} one_{s};\n' for s, _ in kinds)
    path = gate.file('every.c', source)
    for compiler, lang, std in MATRIX:
        if std in ('c11', 'c++17'):
            gate.compile(f'no struct has padding, {compiler} as {std}',
                         [compiler, f'-std={std}', '-x', lang, *WARN, '-Wpadded', '-I', INCLUDE,
                          '-c', path, '-o', os.path.join(gate.tmp, 'every.o')])
    gate.compile('no struct has padding, 32-bit ARM',
                 [*gate.arm(), '-std=c11', *WARN, '-Wpadded', '-c', path, '-o',
                  os.path.join(gate.tmp, 'every.o')])


def case_size_first(gate, kinds):
    """L1: growable structs begin with their size."""
    frozen = {'pigeon_str', 'pigeon_bytes', 'pigeon_iface', 'pigeon_msg_id', 'pigeon_unit_result',
              'pigeon_manifest', 'pigeon_option', 'pigeon_command'}
    exceptions = {'pigeon_plugin': ['magic', 'size']}
    for struct, members in kinds:
        if struct not in frozen:
            want = exceptions.get(struct, ['size'])
            gate.report(members[:len(want)] == want, f'{struct} begins with its size',
                        f'it begins with {members[:2]}')


def case_layout(gate, kinds):
    changes, rows = read_golden()
    have = [name for s, members in kinds for name in [s] + [f'{s}.{m}' for m in members]]
    want = [name for name, _ in rows]
    gate.report(have == want, 'structs and members are the accepted ones',
                '\n'.join([f'new: {n}' for n in have if n not in want] +
                          [f'gone: {n}' for n in want if n not in have]) or 'another order')
    for compiler in ('gcc', 'clang'):
        gate.compile(f'sizes and offsets are the accepted ones, {compiler}',
                     [compiler, '-std=c11', '-I', INCLUDE, '-fsyntax-only',
                      gate.file('golden.c', asserts(rows, False))])
    gate.compile('sizes and offsets are the accepted ones, 32-bit ARM',
                 [*gate.arm(), '-std=c11', '-fsyntax-only',
                  gate.file('golden_arm.c', asserts(rows, True))])
    gate.report(changes == change_list(), 'the accepted copy knows every line of the change list',
                'run.py --update')


def case_constants(gate):
    with open(CONSTANTS, encoding='utf-8') as f:
        want = f.read().splitlines()
    have = constants().splitlines()
    text = [f'- {line}' for line in want if line not in have] + \
        [f'+ {line}' for line in have if line not in want]
    gate.report(have == want, 'constants are the accepted ones', '\n'.join(text))


def case_helpers(gate):
    source = os.path.join(HERE, 'helpers.c')
    for compiler, lang, std in (('gcc', 'c', 'c99'), ('clang++', 'c++', 'c++17')):
        binary = os.path.join(gate.tmp, 'helpers')
        if not gate.compile(f'the test of the helpers is {std} for {compiler}',
                            [compiler, f'-std={std}', '-x', lang, *WARN, '-g',
                             '-fsanitize=address,undefined', '-I', INCLUDE, source, '-o', binary]):
            continue
        done = subprocess.run([binary], capture_output=True, text=True)
        bad = [line for line in done.stdout.splitlines() if not line.startswith('ok')]
        gate.report(done.returncode == 0, f'the helpers keep their word, {compiler} as {std}',
                    '\n'.join(bad) + done.stderr)


def update(gate, kinds):
    layout, names = golden_layout(gate, kinds), constants()
    if os.path.exists(LAYOUT):
        with open(LAYOUT, encoding='utf-8') as f, open(CONSTANTS, encoding='utf-8') as c:
            old_layout, old_names = f.read(), c.read()
        if layout == old_layout and names == old_names:
            print('nothing has changed')
            return 0
        if read_golden()[0] == change_list():
            print('layout or constants have changed: add a dated line to the change list on top of '
                  'include/pigeon/plugin.h first', file=sys.stderr)
            return 1
    for path, text in ((LAYOUT, layout), (CONSTANTS, names)):
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
    return 0


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--update', action='store_true', help='accept the present headers')
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix='pigeon-abi-') as tmp:
        gate = Gate(tmp)
        every = structs()
        kinds = [(s, m) for s, m in every if s not in HELPERS]
        if args.update:
            return update(gate, kinds)
        case_headers(gate)
        case_sample(gate)
        case_padding(gate, every)
        case_size_first(gate, kinds)
        case_layout(gate, kinds)
        case_constants(gate)
        case_helpers(gate)
    print(f'1..{gate.n}')
    print(f'# {gate.n} run, {gate.failed} failed')
    return 1 if gate.failed else 0


if __name__ == '__main__':
    sys.exit(main())
