#!/usr/bin/env python3
"""The gate of the plugin ABI: run.py [--update] [--quick].

Every header compiles alone, as C99, C11, C17 and C++17, with gcc and clang, warnings being errors.
Structs are made of types that are the same everywhere, have no padding on amd64 or 32-bit ARM, and
none that may grow lies within another. All layouts and constants are those of the accepted copies
layout.golden and constants.golden. --update accepts the present ones, and insists on a new line in
the change list on top of <pigeon/plugin.h>; so does the gate itself of every commit, and of what is
not committed yet. --quick leaves out what compiles headers and plugins by every compiler.
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
FROZEN = {'pigeon_str', 'pigeon_bytes', 'pigeon_iface', 'pigeon_msg_id', 'pigeon_unit_result',
          'pigeon_manifest'}
ROWS = {'pigeon_option', 'pigeon_command'}  # grow by their array's stride, and have no size
# What a struct or a function type may be made of, beside the ABI's own names.
TYPES = {'const', 'void', 'char', 'int8_t', 'int16_t', 'int32_t', 'int64_t', 'uint8_t', 'uint16_t',
         'uint32_t', 'uint64_t', 'union'}
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
    found = re.fullmatch(r'[\w\s*]*?[\s*](\w+)(\[\w+\]|\s*:\s*\d+)?', declaration)
    if not found:
        raise ValueError(f'not understood: {declaration!r}')
    return found.group(1)


def preprocessed():
    return out('gcc', '-E', '-P', '-DPIGEON_DEPRECATED(instead)=', '-I', INCLUDE,
               '-include', 'pigeon/plugin.h', '-x', 'c', '/dev/null')


def declared(text):
    """[(struct, [declarations])] of the ABI, in the order of the headers."""
    found = []
    for m in re.finditer(r'typedef struct (pigeon_\w+)\s*\{', text):
        depth, end = 1, m.end()
        while depth:
            depth += (text[end] == '{') - (text[end] == '}')
            end += 1
        found.append((m.group(1), list(split(text[m.end():end - 1]))))
    return found


def function_types(text):
    """[(name, declaration)] of the ABI's function types."""
    return [(m.group(1), m.group(0)[len('typedef '):]) for m in
            re.finditer(r'typedef [\w\s*]*\(\*(pigeon_\w+)\)\s*\([^;]*\)(?=;)', text)]


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
    exceptions = {'pigeon_plugin': ['magic', 'size']}
    for struct, members in kinds:
        if struct not in FROZEN | ROWS:
            want = exceptions.get(struct, ['size'])
            gate.report(members[:len(want)] == want, f'{struct} begins with its size',
                        f'it begins with {members[:2]}')


def words(declaration):
    """Type names in a declaration, without the names that it declares."""
    found = []
    for part in re.split(r'[(),;{}]', declaration):
        part = re.sub(r'\[\w+\]', '', part).strip()
        names = re.findall(r'\w+', part)
        if not names:
            continue
        named = len([n for n in names if n not in ('const', 'void', 'union')]) > 1 or \
            re.fullmatch(r'(const )?void[\s*]+(const )?\w+', part)
        if re.fullmatch(r'\*\s*\w+', part):  # (*function)
            continue
        found += names[:-1] if named else names
    return found


def case_types(gate, text):
    """L2: nothing whose size depends on the compiler, its options, or the C library."""
    own = set(re.findall(r'typedef [^;{]*?\b(pigeon_\w+);', text)) | {s for s, _ in declared(text)} | \
        {name for name, _ in function_types(text)}
    rows = [(s, d) for s, ds in declared(text) for d in ds if s not in HELPERS]
    bad = [f'{where}: {word}: {d}' for where, d in rows + function_types(text) for word in words(d)
           if word not in TYPES and word not in own]
    gate.report(not bad, 'only types that are the same everywhere', '\n'.join(bad))
    bad = [f'{s}: {d}' for s, d in rows if re.search(r':\s*\d+$', d)]
    gate.report(not bad, 'no bit-field', '\n'.join(bad))
    bad = [f'{s}: {d}' for s, d in rows + function_types(text) if '...' in d]
    gate.report(not bad, 'no function takes a variable number of arguments', '\n'.join(bad))
    bad = re.findall(r'\benum\s+\w*\s*\{[^}]*PIGEON[^}]*\}|typedef\s+enum\b[^;]*pigeon_\w+;', text,
                     re.I)
    gate.report(not bad, 'no enum', '\n'.join(bad))


def case_nesting(gate, text):
    """V2: a struct that may grow lies in no other, or what follows it there would move."""
    grows = {s for s, _ in declared(text)} - FROZEN
    bad = [f'{s}: {d}' for s, ds in declared(text) for d in ds
           if re.match(r'(const )?(\w+)\s+\w+(\[\w+\])?$', d) and
           grows & set(re.findall(r'\w+', d.rsplit(None, 1)[0]))]
    gate.report(not bad, 'no struct that may grow lies in another', '\n'.join(bad))
    known = {s for s, _ in declared(text)}
    gone = (FROZEN | ROWS) - known
    gate.report(not gone, 'the list of frozen structs is right', ' '.join(gone))


def git(*command):
    done = subprocess.run(['git', '-C', HERE, *command], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ''


def new_dated_lines(diff):
    """Lines of the change list that a diff adds."""
    return re.findall(r'^\+ \*   \d{4}-\d\d-\d\d .*$', diff, re.M)


def case_commits(gate):
    """V7: accepted copies change only together with a dated line on top of the header."""
    goldens = [os.path.basename(LAYOUT), os.path.basename(CONSTANTS)]
    header = os.path.join(INCLUDE, 'pigeon', 'plugin.h')
    if not git('rev-parse', '--verify', 'HEAD') or not git('ls-files', '--', *goldens):
        gate.skip('each change of the accepted copies came with a dated line', 'no history here')
        return
    commits = git('log', '--format=%H', '--diff-filter=M', '--', *goldens).split()
    bad = [git('log', '-1', '--format=%h %s', c) for c in commits
           if not new_dated_lines(git('show', '--format=', c, '--', header))]
    gate.report(not bad, 'each change of the accepted copies came with a dated line', ''.join(bad))
    ok = not git('diff', 'HEAD', '--', *goldens) or \
        bool(new_dated_lines(git('diff', 'HEAD', '--', header)))
    gate.report(ok, 'what is not committed yet has its dated line',
                'the accepted copies differ from the last commit, the change list does not')


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
    ap.add_argument('--quick', action='store_true', help='leave out the matrix of compilers')
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix='pigeon-abi-') as tmp:
        gate = Gate(tmp)
        text = preprocessed()
        every = [(s, [member(d) for d in ds]) for s, ds in declared(text)]
        kinds = [(s, m) for s, m in every if s not in HELPERS]
        if args.update:
            return update(gate, kinds)
        if not args.quick:
            case_headers(gate)
            case_sample(gate)
            case_helpers(gate)
        case_padding(gate, every)
        case_types(gate, text)
        case_nesting(gate, text)
        case_size_first(gate, kinds)
        case_layout(gate, kinds)
        case_constants(gate)
        case_commits(gate)
    print(f'1..{gate.n}')
    print(f'# {gate.n} run, {gate.failed} failed')
    return 1 if gate.failed else 0


if __name__ == '__main__':
    sys.exit(main())
