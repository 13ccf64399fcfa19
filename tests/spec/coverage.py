#!/usr/bin/env python3
"""Which normative statements that bind a server are shown by a test, and which cannot be.

Reads the @spec(...) marks from the sources. Fails when a statement is neither tested nor listed,
when a mark or a list names no such statement, or when a statement is in both.
"""

import ast
import csv
import glob
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROTOCOL = os.path.join(os.path.dirname(HERE), 'protocol')
PLUGIN = os.path.join(os.path.dirname(HERE), 'plugin')
VERSIONS = [  # name, statements, untestable ones, test files
    ('MQTT 5.0', 'mqtt5-normative.csv', 'untestable5.csv', 'test_mqtt5_*.py'),
    ('MQTT 3.1.1', 'mqtt311-normative.csv', 'untestable311.csv', 'test_mqtt311_*.py'),
]


def rows(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8', newline='') as f:
        return list(csv.DictReader(f))


def calls(decorators, name):
    """The literal arguments of every decorator name(...)."""
    for deco in decorators:
        if isinstance(deco, ast.Call) and getattr(deco.func, 'id', None) == name:
            yield from map(ast.literal_eval, deco.args)


def marks(path):
    """(test, statement id, feature it needs or None) of every @spec decorator in a file."""
    with open(path, encoding='utf-8') as f:
        tree = ast.parse(f.read(), path)
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        needs = next(calls(node.decorator_list, 'needs'), None)
        for test in node.body:
            if isinstance(test, ast.FunctionDef) and test.name.startswith('test_'):
                for statement in calls(test.decorator_list, 'spec'):
                    yield f'{os.path.basename(path)}:{test.name}', statement, needs


def check(name, statements, untestable, pattern, verbose):
    known = {r['id']: r for r in rows(os.path.join(HERE, statements))}
    server = {i for i, r in known.items() if r['binds'] in ('server', 'both')}
    shown, missing = {}, {}
    for path in sorted(glob.glob(os.path.join(HERE, pattern)) +
                       glob.glob(os.path.join(PROTOCOL, pattern)) +
                       glob.glob(os.path.join(PLUGIN, pattern))):
        for test, statement, needs in marks(path):
            shown.setdefault(statement, []).append(test)
            missing.setdefault(statement, set()).add(needs)
    listed = {r['id']: r['why'] for r in rows(os.path.join(HERE, untestable))}
    ok = True
    if not server:
        print(f'{name}: {statements} has no statements')
        ok = False
    for what, ids in (('no such statement', (set(shown) | set(listed)) - set(known)),
                      ('tested and listed as untestable', set(shown) & set(listed)),
                      ('neither tested nor listed', server - set(shown) - set(listed)),
                      ('listed without a reason', {i for i, why in listed.items() if not why})):
        for i in sorted(ids):
            print(f'{name}: {i}: {what}')
            ok = False
    if verbose:
        for i in known:
            if i in shown:
                print(f'{i}: {", ".join(shown[i])}')
            elif i in listed:
                print(f'{i}: untestable: {listed[i]}')
    print(f'{name}: {len(server & set(shown))} of {len(server)} server statements shown by '
          f'tests, {len(server & set(listed))} untestable (listed)')
    for feature in sorted({f for needs in missing.values() for f in needs if f}):
        only = [i for i in known if missing.get(i) == {feature}]
        print(f'{name}: {len(only)} of them only by tests that need {feature}: {", ".join(only)}')
    return ok


def main():
    verbose = '-v' in sys.argv[1:]
    results = [check(*version, verbose) for version in VERSIONS]
    return 0 if all(results) else 1


if __name__ == '__main__':
    sys.exit(main())
