#!/usr/bin/env python3
"""The top level holds what belongs there: a folder per kind of thing, and what tools insist on."""

import sources

ALLOWED = {
    'meson.build', 'meson_options.txt', 'README.md', 'LICENSE',
    'src', 'include', 'plugins', 'tests', 'examples', 'docs', 'debian',
    '.ci', '.clang-format', '.clang-tidy', '.editorconfig', '.gitattributes', '.gitignore', '.git',
}


def main():
    entries = {path.split('/')[0] for path in sources.tracked()}
    sources.finish(sorted(entries - ALLOWED), 'entries of the top level that do not belong there')


if __name__ == '__main__':
    main()
