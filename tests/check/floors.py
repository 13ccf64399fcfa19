#!/usr/bin/env python3
"""Includes go down only: a file of src/<floor>/ sees its own floor, lower ones, and the plugin ABI.

Plugins and examples see the ABI and their own folder, nothing else of this tree; stores with a
blocking library share plugins/store-lib/, those with a text file plugins/file-lib/.
"""

import os
import re

import sources

FLOORS = {'base': 0, 'config': 1, 'net': 1, 'wire': 1, 'mqtt': 2, 'hooks': 3, 'broker': 4,
          'conn': 5, 'pigeond': 6}
# Programs and libraries beside pigeond, and what they may see.
PROGRAMS = {'bench': {'base', 'net', 'wire'},
            'mock': {'base', 'config', 'wire', 'mqtt'},
            'plugin_tool': {'base', 'config', 'wire', 'mqtt', 'hooks', 'mock'}}
QUOTED = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
ANGLED = re.compile(r'^[ \t]*#[ \t]*include[ \t]*<([^>]+)>', re.M)


def line_of(code, match):
    return code.count('\n', 0, match.start()) + 1


def may_see(floor, other):
    if floor in PROGRAMS:
        return other == floor or other in PROGRAMS[floor]
    return other == floor or FLOORS.get(other, 99) < FLOORS[floor]


def check_floor(path, code):
    floor = path.split('/')[1]
    if floor not in FLOORS and floor not in PROGRAMS:
        yield f'{path}: src/{floor}/ is no floor'
        return
    for m in QUOTED.finditer(code):
        other = m.group(1).split('/')[0]
        where = f'{path}:{line_of(code, m)}'
        if '/' not in m.group(1):
            yield f'{where}: write "{floor}/{m.group(1)}"'
        elif other != 'pigeon' and not may_see(floor, other):
            yield f'{where}: {floor}/ must not see {other}/'


def check_plugin(path, code):
    folders = [os.path.dirname(path)]
    if path.startswith('plugins/store-'):
        folders.append('plugins/store-lib')
    if path.startswith(('plugins/auth-file/', 'plugins/acl-file/')):
        folders.append('plugins/file-lib')
    for m in QUOTED.finditer(code):
        targets = [os.path.join(sources.ROOT, f, m.group(1)) for f in folders]
        if '..' in m.group(1) or not any(map(os.path.isfile, targets)):
            yield f'{path}:{line_of(code, m)}: "{m.group(1)}" is not in the plugin\'s own folder'


def check_abi(path, code):
    for m in ANGLED.finditer(code):
        if m.group(1).startswith('pigeon/'):
            continue
        if path.endswith('/thread.h') and m.group(1) in ('pthread.h', 'signal.h', 'sys/prctl.h'):
            continue
        if m.group(1) not in ('stddef.h', 'stdint.h', 'stdarg.h', 'stdio.h', 'string.h',
                              'stdbool.h', 'stdlib.h'):
            yield f'{path}:{line_of(code, m)}: the plugin ABI includes libc only'


def main():
    findings = []
    for path in sources.files('.c', '.h', under=('src', 'plugins', 'examples', 'include')):
        code = sources.text(path)
        top = path.split('/')[0]
        check = {'src': check_floor, 'include': check_abi}.get(top, check_plugin)
        findings += check(path, code)
    sources.finish(findings, 'includes that go up or aside')


if __name__ == '__main__':
    main()
