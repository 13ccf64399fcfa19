"""What the checks share: the files of this tree, and how findings are printed."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ('src', 'include', 'plugins', 'examples', 'tests', 'docs')


def tracked():
    """Every file that belongs to the project, relative to its root.

    With git: what is committed or would be; in an unpacked archive: all but build folders."""
    try:
        out = subprocess.run(['git', '-C', ROOT, 'ls-files', '-co', '--exclude-standard', '-z'],
                             check=True, capture_output=True).stdout.decode()
        return sorted(p for p in out.split('\0') if p and os.path.isfile(os.path.join(ROOT, p)))
    except (OSError, subprocess.CalledProcessError):
        found = []
        for here, folders, names in os.walk(ROOT):
            folders[:] = [f for f in folders
                          if f != '__pycache__' and not (here == ROOT and f.startswith('build'))]
            found += [os.path.relpath(os.path.join(here, name), ROOT) for name in names]
        return sorted(found)


def files(*endings, under=FOLDERS):
    """Paths below some folders, relative to the root, with one of these endings."""
    return [p for p in tracked() if p.split('/')[0] in under and p.endswith(endings)]


def text(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        return f.read()


def bare(code):
    """C without comments, strings and character constants; lines stay where they are."""
    def blank(m):
        kept = '\n' * m.group(0).count('\n')
        return kept if m.group(0).startswith('/') else '""' + kept
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, code,
                  flags=re.S)


def finish(findings, what):
    for line in findings:
        print(line)
    print(f'{what}: {len(findings)} found' if findings else f'{what}: none')
    sys.exit(1 if findings else 0)
