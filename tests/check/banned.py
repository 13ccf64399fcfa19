#!/usr/bin/env python3
"""Nothing that must not be: unsafe C functions, libev outside net/, sleeping unit tests, notes to
oneself, paths of one machine."""

import re

import sources

UNSAFE = re.compile(r'\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|alloca)\s*\(')
EV = re.compile(r'#\s*include\s*<ev\.h>')
SLEEP = re.compile(r'\b(sleep|usleep|nanosleep|clock_nanosleep)\s*\(')
# Put together, so that this file does not contain them.
NOTES = re.compile(r'\b(' + '|'.join(('TO' + 'DO', 'FIX' + 'ME', 'X' * 3)) + r')\b')
PATHS = re.compile(r'(?<![\w.])/(?:work|home|root|Users)/\w')


def lines(pattern, code):
    for m in pattern.finditer(code):
        yield code.count('\n', 0, m.start()) + 1, m.group(0)


def check(path):
    whole = sources.text(path)
    if path.endswith(('.c', '.h')):
        code = sources.bare(whole)
        for n, found in lines(UNSAFE, code):
            yield f'{path}:{n}: banned function {found})'
        if not path.startswith('src/net/'):
            for n, _ in lines(EV, whole):
                yield f'{path}:{n}: <ev.h> outside of net/'
        if path.startswith('tests/unit/'):
            for n, _ in lines(SLEEP, code):
                yield f'{path}:{n}: a unit test that sleeps'
    for n, found in lines(NOTES, whole):
        yield f'{path}:{n}: {found}'
    for n, found in lines(PATHS, whole):
        yield f'{path}:{n}: the path of one machine: {found}'


def main():
    findings = []
    for path in sources.files('.c', '.h', '.py', '.sh', '.js', '.md', '.yaml', '.build', '.txt'):
        findings += check(path)
    sources.finish(findings, 'banned words')


if __name__ == '__main__':
    main()
