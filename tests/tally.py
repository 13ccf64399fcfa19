#!/usr/bin/env python3
"""Counts single tests in the logs of Meson: tally.py LABEL=testlog.json ... [LABEL=pass|fail ...]

A program that speaks TAP or cmocka counts by its cases, any other one as one test; a program that
ended wrongly with no case failed counts as one failure. Names what failed, with what it had to say
last, and why something was skipped, then ends with the line `N passed, N failed`. The exit status
says whether all passed.
"""

import json
import re
import sys

TAP = re.compile(r'^(not ok|ok) \d+(?: - )?([^#\n]*)(# SKIP ?[^\n]*)?', re.M)
CMOCKA = re.compile(r'^\[\s*(OK|FAILED|ERROR|SKIPPED)\s*\] (\w+)$', re.M)
FINE = ('OK', 'SKIP', 'EXPECTEDFAIL')
EXCERPT = 40  # lines of a failed test


class Tally:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], {}

    def skip(self, why):
        self.skipped[why] = self.skipped.get(why, 0) + 1

    def case(self, ok, name, skip=None, said=''):
        if skip is not None:
            self.skip(skip.strip() or 'no reason given')
        elif ok:
            self.passed += 1
        else:
            self.failed.append((name, said.strip('\n').split('\n')[-EXCERPT:]))

    def program(self, label, test):
        name = f'{label}: {test["name"]}'
        out = test.get('stdout', '')
        before = len(self.failed)
        cases = 0
        said = out + test.get('stderr', '')
        results = list(TAP.finditer(out))
        for m, following in zip(results, results[1:] + [None]):
            skip = m.group(3)
            self.case(m.group(1) == 'ok', f'{name}: {m.group(2).strip()}',
                      skip[6:] if skip else None,
                      out[m.end():following.start()] if following else said[m.end():])
            cases += 1
        seen = set()
        for m in CMOCKA.finditer(out) if not cases else ():
            if m.group(2) in seen:  # cmocka lists failures once more at its end
                continue
            seen.add(m.group(2))
            self.case(m.group(1) == 'OK', f'{name}: {m.group(2)}',
                      '' if m.group(1) == 'SKIPPED' else None, said)
        cases += len(seen)
        wrong = test['result'] not in FINE
        if not cases and test['result'] == 'SKIP':
            self.skip(name)
        elif not cases or (wrong and len(self.failed) == before):
            self.case(not wrong, f'{name}: {test["result"].lower()}', said=said)

    def read(self, label, path):
        if path in ('pass', 'fail'):
            self.case(path == 'pass', label)
            return
        try:
            with open(path, encoding='utf-8') as f:
                tests = [json.loads(line) for line in f]
        except (OSError, ValueError) as e:
            self.case(False, f'{label}: no result ({e})')
            return
        if not tests:
            self.case(False, f'{label}: nothing was run')
        for test in tests:
            self.program(label, test)


def main():
    tally = Tally()
    for arg in sys.argv[1:]:
        label, path = arg.rsplit('=', 1)
        tally.read(label, path)
    for why, n in sorted(tally.skipped.items()):
        print(f'skipped {n}: {why}')
    for name, said in tally.failed:
        print(f'FAILED {name}')
        print(''.join(f'    {line}\n' for line in said if line), end='')
    print(f'{tally.passed} passed, {len(tally.failed)} failed')
    return 1 if tally.failed or not tally.passed else 0


if __name__ == '__main__':
    sys.exit(main())
