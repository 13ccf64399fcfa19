#!/usr/bin/env python3
"""No function is longer than 100 lines, no file longer than 1000.

An exception stands in the lists below, with its reason.
"""

import re

import sources

FUNCTION_MAX = 100
FILE_MAX = 1000
LONG_FUNCTIONS = {  # 'path:function': 'reason'
}
LONG_FILES = {  # 'path': 'reason'
}
HEAD = re.compile(r'^(?:[A-Za-z_][^;{}=]*?)?\b([A-Za-z_]\w*)\s*\([^;{}]*\)\s*\{?$', re.S)


def functions(code):
    """(name, first line, number of lines) of every function definition, as clang-format lays them
    out: a brace alone in the first column opens the body, another one closes it."""
    lines = code.split('\n')
    begin = 0
    for i, line in enumerate(lines):
        if line == '{' and i > 0:
            begin = i
            while begin > 0 and lines[begin - 1] and lines[begin - 1][0] not in '#}/' \
                    and not lines[begin - 1].endswith((';', '*/')):
                begin -= 1
            head = HEAD.match('\n'.join(lines[begin:i]))
            name = head.group(1) if head else '?'
            opened = begin
        elif line == '}' and begin:
            yield name, opened + 1, i - opened + 1
            begin = 0


def main():
    findings = []
    for path in sources.files('.c', '.h', '.py', '.sh', '.js'):
        code = sources.text(path)
        n = code.count('\n')
        if n > FILE_MAX and path not in LONG_FILES:
            findings.append(f'{path}: {n} lines')
        if not path.endswith(('.c', '.h')):
            continue
        for name, line, length in functions(code):
            if length > FUNCTION_MAX and f'{path}:{name}' not in LONG_FUNCTIONS:
                findings.append(f'{path}:{line}: {name} has {length} lines')
    sources.finish(findings, f'functions over {FUNCTION_MAX} and files over {FILE_MAX} lines')


if __name__ == '__main__':
    main()
