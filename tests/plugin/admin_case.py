"""A broker with the plugin `probe` (admin_probe.c), and orders to it."""

import itertools
import json

import mqtt
from plugin_case import PluginCase, built, plugin  # noqa: F401

CLIENTS, SESSIONS, SUBSCRIPTIONS, RETAINED, PLUGINS, CHAINS, LISTENERS, BANS, COMMANDS = range(1, 10)
NEXT, ALLOW, DENY = range(3)
BY_NOBODY, BY_RULE, BY_CACHE, BY_HOOK, BY_ONLY, BY_DEADLINE, BY_HOST, BY_CORE, BY_END, \
    BY_UNASKED = range(10)
CONNECT, PUBLISH, SUBSCRIBE, DELIVER = range(1, 5)  # to be explained
IN, OUT, VERDICT, CLOSE = range(1, 5)  # rows of a trace
E_INVAL, E_GONE, E_BUSY, E_TOOBIG, E_UNKNOWN = -1, -3, -6, -9, -11
BAN_CLIENT, BAN_USER, BAN_ADDRESS = 1, 2, 3


class AdminCase(PluginCase):
    numbers = itertools.count(1)
    puppets_let_in = {}

    def setUp(self):
        super().setUp()
        self.probe = self.client('probe-reader', **self.puppets_let_in)
        self.probe.subscribe('aaa/answer', qos=1)
        self.waiting = {}

    def order(self, what, **values):
        """Tells the probe to do it; the number of the order."""
        number = f'o{next(self.numbers)}'
        lines = ['aaa', f'id={number}'] + [f'{k}={v}' for k, v in values.items()]
        self.probe.publish(f'probe/do/{what}', '\n'.join(lines).encode(), qos=1)
        return number

    def read(self, timeout=None):
        return json.loads(self.probe.message(topic='aaa/answer', timeout=timeout).payload[3:])

    def answer(self, number, timeout=None):
        """The next answer to that order; those to others are kept."""
        kept = self.waiting.setdefault(number, [])
        while not kept:
            got = self.read(timeout)
            self.waiting.setdefault(got['id'], []).append(got)
        return kept.pop(0)

    def began(self, number):
        """Which job an order has become; not to be mixed up with its rows, which may come first."""
        kept = self.waiting.setdefault(number, [])
        while True:
            for i, got in enumerate(kept):
                if 'began' in got:
                    return kept.pop(i)
            got = self.read()
            self.waiting.setdefault(got['id'], []).append(got)

    def do(self, what, **values):
        """What the function of the table returned."""
        return self.began(self.order(what, **values))['began']

    def until_done(self, number):
        """All answers up to the one that is the last."""
        self.assertEqual(self.began(number)['began'], 0)
        answers = [self.answer(number)]
        while not answers[-1]['done']:
            answers.append(self.answer(number))
        return answers

    def page(self, what, status=0, **values):
        """(rows, resume)"""
        answers = self.until_done(self.order(what, **values))
        self.assertEqual(answers[-1]['status'], status, answers[-1]['text'])
        return [row for a in answers for row in a['rows']], answers[-1]['resume']

    def rows(self, what, **values):
        rows, resume = self.page(what, **values)
        self.assertEqual(resume, '')
        return rows

    def list(self, which, **values):
        return self.rows('list', list=which, **values)

    def call(self, command, plugin='commands', **values):
        """(status, reply, text)"""
        got = self.until_done(self.order('call', plugin=plugin, command=command, **values))[-1]
        return got['status'], got.get('reply'), got['text']
