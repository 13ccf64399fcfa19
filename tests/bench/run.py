#!/usr/bin/env python3
"""Measures Pigeon against Debian's mosquitto in one run, interleaved.

Prints CPU microseconds of the broker per delivered message (and other units), medians over the
rounds, and their ratio; GOAL is the ratio that Pigeon is to reach. Every run has a broker of its
own. The numbers of one machine mean little on another; the ratio means more.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import brokers


class Row:
    """One run of pigeon-bench. metrics: (title, phase, field, ratio to reach or None)."""

    def __init__(self, name, args, metrics, size=None):
        self.name, self.args, self.metrics, self.size = name, args.split(), metrics, size


PATIENCE = 30  # seconds without progress: some brokers end large sessions slowly
CPU = 'broker_cpu_us_per_unit'
MEMORY = 'rss_per_unit'


def traffic(name, args, goal):
    """Lasts as long as --duration says."""
    return Row(name, args, [(name, 'publish', CPU, goal)])


# size: (option, full, quick) of rows that take as long as they take.
ROWS = [
    traffic('pair QoS 0', 'pair -q 0', 0.20 / 4.9),
    traffic('pair QoS 1', 'pair -q 1', 0.60 / 8.7),
    traffic('pair QoS 2', 'pair -q 2 -w 400', 1.1 / 17.9),
    traffic('pair QoS 0, 1 KiB', 'pair -q 0 -l 1024', 0.60 / 7.3),
    traffic('pair QoS 0, MQTT 5', 'pair -q 0 -m 5', 0.20 / 4.9 * 1.1),
    traffic('pair QoS 1, MQTT 5', 'pair -q 1 -m 5', 0.60 / 8.7 * 1.1),
    traffic('ping-pong QoS 0', 'ping-pong -q 0', 3.3 / 5.9),
    traffic('ping-pong QoS 1', 'ping-pong -q 1', 4.5 / 8.5),
    traffic('fan-out QoS 0', 'fan-out -q 0', 0.15 / 4.9),
    traffic('fan-out QoS 1', 'fan-out -q 1', 0.35 / 6.3),
    traffic('fan-out QoS 2', 'fan-out -q 2 -w 40', 0.60 / 12.8),
    traffic('fan-in QoS 0', 'fan-in -q 0', 1.5 / 4.1),
    traffic('fan-in QoS 1', 'fan-in -q 1', 2.5 / 9.5),
    traffic('fan-in QoS 2', 'fan-in -q 2 -w 20', 5 / 21),
    Row('subscriptions', 'subscriptions', [
        ('publish with many filters', 'publish', CPU, 1.5 / 13.7),
        ('bytes per subscription', 'subscribe', MEMORY, 300 / 760),
        ('subscribe', 'subscribe', CPU, None)], ('--filters', 1000000, 50000)),
    Row('idle', 'idle', [
        ('bytes per idle connection', 'connect', MEMORY, 1000 / 1762),
        ('connect and subscribe', 'connect', CPU, None)], ('--connections', 15000, 2000)),
    Row('churn', 'churn', [('connect and disconnect', 'cycle', CPU, 9 / 17.4)]),
    Row('retained', 'retained', [
        ('retained: store', 'store', CPU, None),
        ('retained: deliver', 'deliver', CPU, 0.5 / 2.0)], ('--topics', 100000, 10000)),
    Row('offline', 'offline', [
        ('offline QoS 1: store', 'store', CPU, 1.0 / 4.1),
        ('offline QoS 1: drain', 'drain', CPU, 0.9 / 2.1)], ('--count', 50000, 5000)),
    Row('durable', 'pair -q 1 --durable', [('pair QoS 1, durable', 'publish', CPU, None)]),
    Row('rate', 'pair --rate 5000 --pairs 10', [
        ('5000/s: p50 us', 'latency_us', 'p50', None),
        ('5000/s: p99 us', 'latency_us', 'p99', None),
        ('5000/s: p99.9 us', 'latency_us', 'p99.9', None)]),
]
TIMED = ('pair', 'ping-pong', 'fan-in', 'fan-out', 'subscriptions', 'churn')


def value_of(result, phase, field):
    if phase == 'latency_us':
        return result[phase][field]
    return next(p[field] for p in result['phases'] if p['name'] == phase)


def arguments(row, options):
    args = [*row.args, '--timeout', PATIENCE]
    if args[0] in TIMED:
        args += ['--duration', options.duration]
        if args[0] != 'churn':
            args += ['--warmup', min(0.5, options.duration / 6)]
    if row.size:
        args += [row.size[0], row.size[2] if options.quick else row.size[1]]
    return args


def run_once(kind, binary, row, options):
    pins = (0, 1) if options.pin else (None, None)
    with kind(binary, pins[0]) as server:
        return brokers.run_bench(server.port, arguments(row, options), server.pid, pins[1])[0]


def measure(rows, contenders, options):
    """{row name: {broker name: [result of each round, or an error as text]}}"""
    results = {row.name: {kind.name: [] for kind, _ in contenders} for row in rows}
    for turn in range(options.rounds):
        for row in rows:
            # Who is first changes, so that what warms or tires the machine hits both.
            order = contenders if turn % 2 == 0 else contenders[::-1]
            for kind, binary in order:
                print(f'round {turn + 1}/{options.rounds}: {row.name}, {kind.name}',
                      file=sys.stderr, flush=True)
                try:
                    out = run_once(kind, binary, row, options)
                except (brokers.BenchFailed, RuntimeError, subprocess.TimeoutExpired) as e:
                    out = str(e)
                    print(f'  FAILED: {e}', file=sys.stderr)
                results[row.name][kind.name].append(out)
    return results


def median(results, phase, field):
    values = [value_of(r, phase, field) for r in results if isinstance(r, dict)]
    return statistics.median(values) if values else None


def summary(rows, contenders, results):
    """A dict per line of the table."""
    lines = []
    for row in rows:
        for title, phase, field, goal in row.metrics:
            line = {'title': title, 'row': row.name, 'goal': goal}
            for kind, _ in contenders:
                runs = results[row.name][kind.name]
                good = [r for r in runs if isinstance(r, dict)]
                line[kind.name] = median(runs, phase, field)
                line[kind.name + '_odd'] = [sum(r[k] for r in good) for k in
                                            ('lost', 'duplicated', 'reordered')]
                line[kind.name + '_failed'] = len(runs) - len(good)
            if line.get('mosquitto') and line.get('pigeon') is not None:
                line['ratio'] = line['pigeon'] / line['mosquitto']
            lines.append(line)
    return lines


def number(value, form='{:.3f}'):
    return '-' if value is None else form.format(value) if value < 100 else f'{value:.0f}'


def print_table(lines, contenders, out):
    names = [kind.name for kind, _ in contenders]
    head = ['shape', *names, 'ratio', 'goal', 'lost/dup/reordered']
    table = [head]
    for line in lines:
        odd = ' '.join(f'{n}: {"/".join(map(str, line[n + "_odd"]))}' +
                       (f' ({line[n + "_failed"]} failed)' if line[n + '_failed'] else '')
                       for n in names if any(line[n + '_odd']) or line[n + '_failed'])
        table.append([line['title'], *(number(line[n]) for n in names),
                      number(line.get('ratio')), number(line['goal']), odd or '0'])
    widths = [max(len(r[i]) for r in table) for i in range(len(head))]
    for i, r in enumerate(table):
        print('| ' + ' | '.join(c.ljust(w) if k in (0, len(head) - 1) else c.rjust(w)
                                for k, (c, w) in enumerate(zip(r, widths))) + ' |', file=out)
        if i == 0:
            print('|' + '|'.join('-' * (w + 2) for w in widths) + '|', file=out)


def machine():
    model = 'unknown'
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        for text in f:
            if text.startswith('model name'):
                model = text.split(':', 1)[1].strip()
                break
    return {'cpu': model, 'cpus': os.cpu_count(), 'kernel': platform.release()}


def parse():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('rows', nargs='*', help='rows to run, by a part of their name (default: all)')
    p.add_argument('--quick', action='store_true', help='about a minute: one round, small sizes')
    p.add_argument('--rounds', type=int, help='(5; quick: 1)')
    p.add_argument('--duration', type=float, help='seconds of each timed run (3; quick: 0.4)')
    p.add_argument('--bench', help='the pigeon-bench binary')
    p.add_argument('--pigeond', help='the pigeond binary')
    p.add_argument('--only', choices=['mosquitto', 'pigeon'], help='one of the brokers')
    p.add_argument('--pin', action='store_true', help='broker on CPU 0, load generator on CPU 1')
    p.add_argument('--json', metavar='FILE', default='bench.json',
                   help='where all results go (bench.json)')
    p.add_argument('--list', action='store_true', help='print the rows and end')
    options = p.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.duration = options.duration or (0.4 if options.quick else 3)
    for variable, path in (('PIGEON_BENCH', options.bench), ('PIGEOND', options.pigeond)):
        if path:
            os.environ[variable] = os.path.abspath(path)
    return options


def find_contenders(options):
    found = [(brokers.Mosquitto, brokers.mosquitto_binary()),
             (brokers.Pigeon, brokers.pigeon_binary())]
    found = [c for c in found if options.only in (None, c[0].name)]
    for kind, binary in found:
        if not binary:
            sys.exit(f'run.py: there is no {kind.name} binary')
    if not brokers.bench_binary():
        sys.exit('run.py: there is no pigeon-bench binary')
    return found


def main():
    options = parse()
    rows = [r for r in ROWS if not options.rows or any(w in r.name for w in options.rows)]
    if options.list:
        for row in rows:
            print(f'{row.name}: {" ".join(map(str, arguments(row, options)))}')
        return 0
    contenders = find_contenders(options)
    begin = time.monotonic()
    results = measure(rows, contenders, options)
    lines = summary(rows, contenders, results)
    print_table(lines, contenders, sys.stdout)
    print(f'\n{options.rounds} round(s), {time.monotonic() - begin:.0f} s; CPU us of the broker '
          'per unit unless the name says otherwise')
    with open(options.json, 'w', encoding='utf-8') as f:
        json.dump({'machine': machine(), 'rounds': options.rounds, 'duration': options.duration,
                   'quick': options.quick, 'table': lines, 'results': results}, f, indent=1)
        f.write('\n')
    bad = any(any(line.get(kind.name + '_odd', ())) or line[kind.name + '_failed']
              for line in lines for kind, _ in contenders if kind.name == 'pigeon')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
