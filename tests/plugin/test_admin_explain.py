"""explain of pigeon.admin/1 says what really happens, and lets nothing happen (rules CH2-CH5, X3)."""

import random
import unittest

import broker
import mqtt
from admin_case import (ALLOW, BY_CACHE, BY_CORE, BY_DEADLINE, BY_END, BY_HOOK, BY_ONLY, BY_RULE,
                        BY_UNASKED, CONNECT, DELIVER, DENY, E_GONE, NEXT, PUBLISH, SUBSCRIBE,
                        AdminCase, plugin)

PUPPETS = ['p0', 'p1', 'p2']  # each obeys one character of password, payload or filter
LET_IN = {'username': 'u', 'password': b'aaa'}


def config(controls, **more):
    entries = [{c: p} if c != 'decide' else p for p, c in zip(PUPPETS, controls)]
    plugins = {**plugin('probe')}
    for name in PUPPETS:
        plugins.update(plugin(name, **more.get(name, {})))
    return {'plugins': plugins,
            'chains': {'authorize': entries, 'authenticate': PUPPETS,
                       'pre_connect': [*PUPPETS, 'probe'], 'inbound': entries}}


class Explained(AdminCase):
    options = config(['veto', 'decide', 'decide'], p2={'only': ['t/#'], 'deadline': '100ms'})
    puppets_let_in = LET_IN

    def setUp(self):
        super().setUp()
        self.c = self.client('c', **LET_IN)

    def explain(self, action=PUBLISH, client_id=None, **values):
        return self.rows('explain', action=action, client_id=client_id or self.id('c'), **values)

    def authorize(self, rows, hook=4):
        return [(r['plugin'], r['by'], r['verdict'], r['final']) for r in rows if r['hook'] == hook]

    def test_each_entry_is_shown_until_one_decides(self):
        rows = self.explain(topic='t/x', payload='nan', qos=1)
        self.assertEqual(self.authorize(rows), [('p0', BY_HOOK, NEXT, 0), ('p1', BY_HOOK, ALLOW, 1)])
        self.assertEqual(self.authorize(rows, 8), [('p0', BY_HOOK, NEXT, 0), ('p1', BY_HOOK, ALLOW, 1)])
        self.assertEqual((rows[-1]['outcome'], rows[0]['control'], rows[0]['outcome']), (ALLOW, 2, 0))
        self.assertTrue(all(r['ns'] > 0 for r in rows))

    def test_the_end_of_the_chain_is_a_row_of_its_own(self):
        rows = self.explain(topic='t/x', payload='nnn')
        self.assertEqual((rows[-1]['by'], rows[-1]['verdict'], rows[-1]['reason'], rows[-1]['outcome'],
                          rows[-1]['text']), (BY_END, DENY, 0x87, DENY, 'nobody decided'))

    def test_reason_and_text_of_a_denial_are_shown(self):
        rows = self.explain(SUBSCRIBE, topic='Vxx')
        self.assertEqual((rows[-1]['plugin'], rows[-1]['verdict'], rows[-1]['reason'], rows[-1]['text'],
                          rows[-1]['outcome']), ('p0', DENY, 0x8a, 'because I say so', DENY))

    def test_the_text_of_a_denial_reaches_client_and_log(self):
        for send, answer in ((mqtt.subscribe([('Vxx', 1)], 5), mqtt.SUBACK),
                             (mqtt.publish('t/x', b'Vnn', 1, 6), mqtt.PUBACK)):
            self.c.send(send)
            p = self.c.expect(answer)
            self.assertEqual(p.props.get('reason_string'), 'because I say so')
        self.broker.wait_log('subscribe_denied')
        self.broker.wait_log('publish_denied')
        self.assertTrue(all('because I say so' in line for line in self.broker.log
                            if '_denied' in line and 'plugin=p0' in line))

    def test_the_log_names_who_abstained_where_no_plugin_decided(self):
        for event, do in (('publish_denied', lambda: self.c.publish('t/x', b'nnn', qos=1)),
                          ('subscribe_denied', lambda: self.c.subscribe('nnn/#'))):
            since = len(self.broker.log)
            do()
            line = self.broker.wait_log('no plugin decided; abstained: p0, p1, p2', since)
            self.assertIn(event, line)
            self.assertIn('plugin=-', line)

    def test_the_log_names_the_setter_that_failed(self):
        self.c.publish('t/x', b'aFa', qos=1)
        self.broker.wait_log('a value could not be set: set_qos answered PIGEON_E_')

    def test_a_rewrite_is_shown_and_dropped(self):
        rows = self.explain(topic='t/x', payload='Raa', qos=1)
        self.assertEqual((rows[0]['rewritten'], rows[0]['topic'], rows[0]['qos'], rows[0]['retain']),
                         (1, 'rewritten', 2, 1))
        rewritten = [r for r in rows if r['hook'] == 4][0]
        self.assertEqual((rewritten['rewritten'], rewritten['payload_len']), (1, 2))
        rows = self.explain(SUBSCRIBE, topic='Raa/x', qos=1)
        self.assertEqual((rows[0]['rewritten'], rows[0]['topic'], rows[0]['qos']), (1, 'rewritten/+', 0))
        self.assertEqual(self.list(3, client_id=self.id('c')), [])
        self.assertEqual(self.list(4, filter='rewritten'), [])

    def test_only_leaves_an_entry_out(self):
        rows = self.explain(topic='u/x', payload='nnd')
        self.assertIn(('p2', BY_ONLY, NEXT, 0), self.authorize(rows, 8))

    def test_a_late_answer_is_awaited_and_a_missing_one_shown(self):
        rows = self.explain(topic='t/x', payload='nAn')
        self.assertEqual(self.authorize(rows)[-1], ('p1', BY_HOOK, ALLOW, 1))
        rows = self.explain(SUBSCRIBE, topic='nnH')
        self.assertEqual((rows[-1]['plugin'], rows[-1]['by'], rows[-1]['outcome']),
                         ('p2', BY_DEADLINE, DENY))
        self.assertGreater(rows[-1]['ns'], 50e6)

    def test_a_rule_is_shown_as_a_rule(self):
        self.client('ruled', username='u', password=b'nGa')
        rows = self.explain(client_id=self.id('ruled'), topic='own/x', payload='nan')
        self.assertEqual(self.authorize(rows)[-1], ('p1', BY_RULE, ALLOW, 1))
        rows = self.explain(client_id=self.id('ruled'), topic='other', payload='nan')
        self.assertEqual(self.authorize(rows)[-1], ('p1', BY_RULE, DENY, 1))

    def test_nothing_is_remembered_of_an_explanation(self):
        for _ in range(2):
            rows = self.explain(SUBSCRIBE, topic='nCn')
            self.assertEqual(self.authorize(rows, 6)[-1], ('p1', BY_HOOK, ALLOW, 1))
        self.c.subscribe('nCn')
        rows = self.explain(SUBSCRIBE, topic='nCn')
        self.assertEqual(self.authorize(rows, 6)[-1], ('p1', BY_CACHE, ALLOW, 1))

    def test_what_the_core_says_is_shown(self):
        for topic, reason in (('a/+', 0x90), ('$SYS/x', 0x87), ('', 0x90)):
            rows = self.explain(topic=topic, payload='nan')
            self.assertEqual((rows[-1]['by'], rows[-1]['reason'], rows[-1]['outcome']),
                             (BY_CORE, reason, DENY), topic)
        rows = self.explain(SUBSCRIBE, topic='a/#/b')
        self.assertEqual((rows[-1]['by'], rows[-1]['reason']), (BY_CORE, 0x8f))

    def test_delivery_is_explained(self):
        rows = self.explain(DELIVER, topic='t/x', payload='ndn')
        self.assertEqual((rows[-1]['plugin'], rows[-1]['hook'], rows[-1]['outcome']), ('p1', 7, DENY))
        rows = self.explain(DELIVER, topic='t/x', payload='nnn')
        self.assertEqual((rows[-1]['by'], rows[-1]['outcome']), (BY_END, ALLOW))

    def test_a_connect_is_only_listed_without_a_password(self):
        rows = self.explain(CONNECT, client_id='nobody', username='u')
        self.assertEqual({r['by'] for r in rows[:-1]}, {BY_UNASKED})
        self.assertEqual((rows[-1]['by'], rows[-1]['verdict'], rows[-1]['outcome']), (BY_END, DENY, 0))
        rows = self.explain(CONNECT, client_id='nobody', username='u', password='nan')
        self.assertEqual((rows[-1]['plugin'], rows[-1]['hook'], rows[-1]['outcome']), ('p1', 2, ALLOW))
        rows = self.explain(CONNECT, client_id='nobody', username='u', password='Rdn')
        self.assertEqual((rows[0]['client_id'], rows[0]['username'], rows[-1]['outcome']),
                         ('p0', 'user', DENY))
        self.assertEqual(self.do('ban', kind=1, value='nobody'), 0)
        rows = self.explain(CONNECT, client_id='nobody')
        self.assertEqual([(r['by'], r['reason'], r['outcome']) for r in rows], [(BY_CORE, 0x8a, DENY)])
        self.assertEqual(self.do('unban', kind=1, value='nobody'), 0)

    def test_a_client_may_be_made_up(self):
        rows = self.explain(client_id='nobody', username='x', address='192.0.2.1', topic='t/x',
                            payload='nan')
        self.assertEqual(rows[-1]['outcome'], ALLOW)


class NobodyIsAsked(AdminCase):
    """The chain of the clients' listener asks nobody; the orders come in at another one."""
    access = 'deny'
    puppets_let_in = LET_IN

    @classmethod
    def setUpClass(cls):
        cls.options = {'plugins': {**plugin('probe'), **plugin('p0')}, 'default_access': cls.access,
                       'chains': {'authorize': []},
                       'listeners': [dict(broker.LISTENER, chains={'authorize': ['p0']}),
                                     dict(broker.LISTENER, name='plain')]}
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.c = mqtt.Client(('127.0.0.1', self.broker.ports['plain']), self.id('c'), **LET_IN)
        self.addCleanup(self.c.close)
        self.c.connect()

    def expected(self, action, topic):
        if action == SUBSCRIBE:
            return self.access == 'allow' or '$SYS/' in topic
        return self.access == 'allow' and topic[0] != '$'

    def test_defaults_are_what_was_explained(self):
        for action, topics in ((SUBSCRIBE, ('a', '#', '$SYS/#', '$SYS/x', '$other', '$SYS',
                                            '$share/g/a', '$share/g/$SYS/#', '$share/g/$SYS/x')),
                               (PUBLISH, ('a', '$other', '$SYS/x', '$SYS', '$share/g/a'))):
            for topic in topics:
                with self.subTest(action=action, topic=topic):
                    if action == SUBSCRIBE:
                        reason = self.c.subscribe(topic).reasons[0]
                    else:
                        reason = self.c.publish(topic, b'', qos=1)
                    row = self.rows('explain', action=action, client_id=self.id('c'), topic=topic)[-1]
                    allowed = self.expected(action, topic)
                    self.assertEqual((reason < 0x80, row['outcome']), (allowed, ALLOW if allowed else DENY))
                    self.assertEqual(row['reason'], reason if reason >= 0x80 else 0)

    def test_the_log_says_what_decided(self):
        def said(event, text, do, what):
            since = len(self.broker.log)
            do(what)
            self.assertIn(event, self.broker.wait_log('no plugin decided: ' + text, since))

        said('publish_denied', 'topics that begin with $ need', self.c.publish, '$other')
        if self.access == 'deny':
            said('publish_denied', 'default_access is deny', self.c.publish, 'a')
            said('subscribe_denied', 'default_access is deny', self.c.subscribe, 'a')


class NobodyIsAskedAllowed(NobodyIsAsked):
    access = 'allow'


class Cancelled(AdminCase):
    options = config(['veto', 'decide', 'decide'], p0={'deadline': '1h'})
    puppets_let_in = LET_IN

    def test_one_that_waits_for_a_plugin_holds_nothing_at_the_stop(self):
        """The end of the class, with AddressSanitizer."""
        who = {'action': PUBLISH, 'client_id': self.id('made-up'), 'made_up': 1, 'topic': 't/x'}
        job = self.began(self.order('explain', payload='Hnn', **who))['job']
        self.rows('explain', payload='aaa', **who)  # behind it, on the same loop
        self.assertEqual(self.do('cancel', job=job), 0)
        self.assertEqual(self.do('cancel', job=job), E_GONE)


class RandomChain(AdminCase):
    puppets_let_in = LET_IN
    seed = 0

    @classmethod
    def setUpClass(cls):
        cls.dice = random.Random(cls.seed)
        cls.controls = [cls.dice.choice(['decide', 'decide', 'require', 'veto']) for _ in PUPPETS]
        cls.options = config(cls.controls)
        super().setUpClass()

    def compare(self, rows, reason, orders):
        story = f'seed {self.seed} {self.controls} {orders}: {reason:#x} {rows}'
        self.assertEqual(rows[-1]['final'], 1, story)
        self.assertEqual(rows[-1]['outcome'], DENY if reason >= 0x80 else ALLOW, story)
        if reason >= 0x80 and 'V' not in orders:  # whose reason code not every packet can carry
            self.assertEqual(rows[-1]['reason'], reason, story)

    def test_a_publish_ends_as_it_was_explained(self):
        c = self.client('c', **LET_IN)
        for _ in range(60):
            orders = ''.join(self.dice.choice('nnaaadxmNADRVBWE') for _ in PUPPETS)
            topic = self.dice.choice(['t/x', '$other/x', 't/y', '$SYS/x'])
            rows = self.rows('explain', action=PUBLISH, client_id=self.id('c'), topic=topic,
                             payload=orders, qos=1)
            self.compare(rows, c.publish(topic, orders, qos=1), orders)

    def test_a_subscribe_ends_as_it_was_explained(self):
        c = self.client('c', **LET_IN)
        for _ in range(60):
            orders = ''.join(self.dice.choice('nnaaadxmNADRVBWE') for _ in PUPPETS)
            rows = self.rows('explain', action=SUBSCRIBE, client_id=self.id('c'), topic=orders,
                             qos=1)
            self.compare(rows, c.subscribe(orders, qos=1).reasons[0], orders)


for number in range(1, 6):
    name = f'RandomChain{number}'
    globals()[name] = type(name, (RandomChain,), {'seed': number, '__module__': __name__})
del AdminCase, RandomChain  # are no tests themselves

if __name__ == '__main__':
    unittest.main()
