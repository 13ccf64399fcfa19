#!/usr/bin/env python3
"""Runs protocol and spec tests: run.py [options] [PATTERN...]

PATTERN: a file, a directory, or text matched against module.Class.test (fnmatch or substring).
Without one everything in tests/protocol and tests/spec runs.
"""

import argparse
import fnmatch
import glob
import importlib
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = os.path.join(os.path.dirname(HERE), 'spec')
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, SPEC]


def files_of(patterns):
    """(test files, name patterns left over)."""
    files, names = [], []
    for p in patterns:
        if os.path.isdir(p):
            files += glob.glob(os.path.join(p, 'test_*.py'))
        elif os.path.isfile(p):
            files.append(p)
        else:
            names.append(p)
    if not files:
        files = glob.glob(os.path.join(HERE, 'test_*.py')) + \
            glob.glob(os.path.join(SPEC, 'test_*.py'))
    return sorted(set(map(os.path.abspath, files))), names


def load(files):
    suite = unittest.TestSuite()
    for path in files:
        sys.path.insert(0, os.path.dirname(path))
        module = importlib.import_module(os.path.basename(path)[:-3])
        suite.addTest(unittest.defaultTestLoader.loadTestsFromModule(module))
    return suite


def flat(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from flat(t)
        else:
            yield t


def name_of(test):
    test = getattr(test, 'test_case', test)  # of a subtest
    return unittest.TestCase.id(test) if isinstance(test, unittest.TestCase) else str(test)


class Tap(unittest.TestResult):
    """TAP on stdout; the reasons follow as diagnostics. The plan comes last: a class that cannot be
    set up or torn down is one line more or less."""

    def __init__(self):
        super().__init__()
        self.n = 0
        self.times = []
        print('TAP version 13', flush=True)

    def startTest(self, test):
        super().startTest(test)
        self._began = time.monotonic()
        self._bad = False

    def _line(self, ok, test, note='', text=''):
        self.n += 1
        self.times.append((time.monotonic() - getattr(self, '_began', time.monotonic()),
                           name_of(test)))
        print(f'{"ok" if ok else "not ok"} {self.n} - {name_of(test)}{note}', flush=True)
        for line in text.splitlines():
            print(f'# {line}')

    def addSuccess(self, test):
        super().addSuccess(test)
        if not self._bad:
            self._line(True, test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            if not self._bad:
                self._line(False, test, text=str(subtest) + '\n' +
                           self._exc_info_to_string(err, test))
            self._bad = True

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line(True, test, f' # SKIP {reason}')

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line(False, test, text=self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._line(False, test, text=self.errors[-1][1])


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('pattern', nargs='*')
    ap.add_argument('-l', '--list', action='store_true', help='list the tests, run none')
    ap.add_argument('-v', '--verbose', action='store_true', help="unittest's output, not TAP")
    ap.add_argument('-x', '--failfast', action='store_true')
    ap.add_argument('--slow', type=int, default=0, metavar='N', help='show the N slowest tests')
    args = ap.parse_args()
    files, names = files_of(args.pattern)
    tests = list(flat(load(files)))
    if names:
        tests = [t for t in tests
                 if any(n in name_of(t) or fnmatch.fnmatch(name_of(t), n) for n in names)]
    if args.list:
        print('\n'.join(map(name_of, tests)))
        return 0
    suite = unittest.TestSuite(tests)
    if args.verbose:
        result = unittest.TextTestRunner(verbosity=2, failfast=args.failfast).run(suite)
        return 0 if result.wasSuccessful() else 1
    began = time.monotonic()
    result = Tap()
    result.failfast = args.failfast
    suite.run(result)
    print(f'1..{result.n}')
    for seconds, name in sorted(result.times, reverse=True)[:args.slow]:
        print(f'# {seconds:6.2f} s {name}')
    failed = sorted({name_of(t) for t, _ in result.failures + result.errors})
    print(f'# {result.testsRun} run, {len(failed)} failed, {len(result.skipped)} skipped, '
          f'{time.monotonic() - began:.1f} s')
    for name in failed:
        print(f'# FAILED {name}')
    return 0 if not failed and tests else 1


if __name__ == '__main__':
    sys.exit(main())
