#!/usr/bin/env python3
"""The plugin ABI as of another time, in one header: other.py old|new INCLUDE OUT.

old: tables and views end earlier, as if what follows had not been invented yet. new: every struct
that may grow has grown, and the minor version is one higher. Compile with `-include OUT`: the
guards of the real headers are defined then, and <pigeon/plugin.h> adds nothing.
"""

import os
import re
import sys

FROZEN = {'pigeon_str', 'pigeon_bytes', 'pigeon_iface', 'pigeon_msg_id', 'pigeon_unit_result',
          'pigeon_manifest', 'pigeon_prop'}
# The first member that an older header does not have.
FIRST_NEW = {
    'pigeon_client': 'listener', 'pigeon_msg': 'publisher', 'pigeon_connect': 'will',
    'pigeon_host': 'metric', 'pigeon_info': 'sockets_accepted', 'pigeon_plugin': 'prepare',
    'pigeon_option': 'min', 'pigeon_command': 'rsv', 'pigeon_auth': 'authorize_subscribe',
    'pigeon_flow': 'published', 'pigeon_events': 'subscribed', 'pigeon_store': 'join',
    'pigeon_store_info': 'history', 'pigeon_store_host': 'queued', 'pigeon_bus': 'subscribe',
    'pigeon_req': 'flags',  # not pigeon_bus_host: without `state` no bus could say that it is up
}
GROWTH = '    void (*later_1)(void);\n    void (*later_2)(void);\n    uint64_t later_3[2];\n'


def whole(include):
    """All headers in one, in the order in which <pigeon/plugin.h> includes them."""
    included = re.compile(r'^#include <(pigeon/.*)>\n', re.M)

    def read(name):
        with open(os.path.join(include, name), encoding='utf-8') as f:
            return f.read()
    plugin = read('pigeon/plugin.h')
    return ''.join(included.sub('', text) for text in
                   [read(name) for name in included.findall(plugin)] + [plugin])


def struct(text, name):
    """(start, end) of the lines between the braces of a struct."""
    start = re.search(rf'typedef struct {name} \{{[^\n]*\n', text)
    return start.end(), text.index(f'}} {name};', start.end())


def cut(text, name, member):
    """The struct without this member and those behind it."""
    start, end = struct(text, name)
    body = text[start:end]
    at = re.search(rf'(?:[\s*(]|, ){member}(?:\[\w+\])?[);]', body)
    line = body.rindex('\n', 0, at.start() + 1) + 1
    while re.match(r' +(/\*|\*|[A-Z][^;]*\*/)', body[:line].splitlines()[-1]):  # its comment
        line = body.rindex('\n', 0, line - 1) + 1
    return text[:start] + body[:line] + text[end:]


def old(text):
    for name, member in FIRST_NEW.items():
        text = cut(text, name, member)
    return text


def new(text):
    for name in re.findall(r'^typedef struct (pigeon_\w+) \{', text, re.M):
        if name not in FROZEN:
            _, end = struct(text, name)
            text = text[:end] + GROWTH + text[end:]
    minor = re.search(r'#define PIGEON_ABI_MINOR (\d+)u', text)
    return text.replace(minor.group(0), f'#define PIGEON_ABI_MINOR {int(minor.group(1)) + 1}u')


def main():
    age, include, out = sys.argv[1:]
    text = {'old': old, 'new': new}[age](whole(include))
    with open(out, 'w', encoding='utf-8') as f:
        f.write(text + f'\n#define SIZES_{age.upper()} 1\n')


if __name__ == '__main__':
    main()
