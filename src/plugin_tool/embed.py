#!/usr/bin/env python3
"""Templates as C: embed.py OUT.c FILE..."""

import os
import sys

ROW = '    {{ "{}", {} }},\n'


def literal(text):
    """One string per line, as the file is laid out."""
    lines = [line.replace('\\', '\\\\').replace('"', '\\"').replace('?', '\\?')
             for line in text.splitlines()]
    return '\n      '.join(f'"{line}\\n"' for line in lines)


def main():
    with open(sys.argv[1], 'w', encoding='utf-8') as out:
        out.write('#include "plugin_tool/template.h"\n\n'
                  'const struct template templates[] = {\n')
        for path in sys.argv[2:]:
            with open(path, encoding='utf-8') as f:
                out.write(ROW.format(os.path.basename(path), literal(f.read())))
        out.write('    { NULL, NULL },\n};\n')


if __name__ == '__main__':
    main()
