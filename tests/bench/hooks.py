#!/usr/bin/env python3
"""Instructions per call of a plugin, counted by valgrind: the same on every machine and at any load.

    hooks.py BUILD/tests/bench/hooks [CASE...]

Each case runs twice with different numbers of calls; the difference is what the calls cost. The
plugin's own part (a function that returns a number) is in it.
"""

import re
import subprocess
import sys
import tempfile

FEW, MANY = 2560, 12800
CASES = ['unhooked', 'publish-1', 'publish-2', 'publish-3', 'publish-4', 'publish-5',
         'deliver-1', 'deliver-2', 'deliver-5', 'late', 'event-unheard', 'event-1', 'event-5']


def instructions(binary, case, calls):
    with tempfile.TemporaryDirectory() as tmp:
        done = subprocess.run(['valgrind', '--tool=callgrind', f'--callgrind-out-file={tmp}/out',
                               binary, case, str(calls)], capture_output=True, text=True,
                              check=True)
    return int(re.search(r'Collected : (\d+)', done.stderr).group(1))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for case in sys.argv[2:] or CASES:
        cost = instructions(sys.argv[1], case, MANY) - instructions(sys.argv[1], case, FEW)
        print(f'{case:14} {cost / (MANY - FEW):8.1f} instructions')


if __name__ == '__main__':
    main()
