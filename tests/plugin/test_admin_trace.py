"""trace of pigeon.admin/1: packets and verdicts of a client, live and in order."""

import unittest

import mqtt
from admin_case import CLOSE, E_BUSY, E_GONE, E_INVAL, IN, OUT, VERDICT, AdminCase, plugin
from mqtt import PUBCOMP, PUBLISH, PUBREC, PUBREL


class Trace(AdminCase):
    options = {'plugins': {**plugin('probe'), **plugin('p0')},
               'chains': {'pre_connect': ['p0', 'probe']}}
    puppets_let_in = {'username': 'u', 'password': b'aaa'}

    def trace(self, **values):
        """(order, job); it has begun on every loop."""
        number = self.order('trace', **values)
        got = self.began(number)
        self.assertEqual(got['began'], 0)
        self.list(1)  # goes to each loop, behind the beginning of the trace
        return number, got['job']

    def rows_until(self, number, fits):
        rows = []
        while not rows or not fits(rows[-1]):
            rows += self.answer(number)['rows']
        return rows

    def names(self, rows, *kinds):
        return [('<' if r['kind'] == OUT else '>') + r['name'] for r in rows if r['kind'] in kinds]

    def me(self, name='x', **kw):
        return self.client(name, username='u', password=b'aaa', **kw)

    def test_a_trace_begins_before_the_client_connects_and_sees_it_leave(self):
        number, job = self.trace(client_id=self.id('x'))
        c = self.me(props={'session_expiry_interval': 5}, will=mqtt.Will('a/will', 'aaa'))
        c.subscribe('aaa/x', ('aaa/y', 1))
        c.ping()
        c.disconnect()
        rows = self.rows_until(number, lambda r: r['kind'] == CLOSE)
        self.assertEqual(self.names(rows, IN, OUT, CLOSE),
                         ['>CONNECT', '<CONNACK', '>SUBSCRIBE', '<SUBACK', '>PINGREQ', '<PINGRESP',
                          '>DISCONNECT', '>CLOSE'])
        connect = rows[0]
        self.assertEqual((connect['client_id'], connect['topic']), (self.id('x'), 'a/will'))
        self.assertIn('user="u" password=(not shown)', connect['text'])
        self.assertIn('session-expiry-interval=5', connect['props'])
        self.assertNotIn('aaa"', str(connect))
        [sub] = [r for r in rows if r['name'] == 'SUBSCRIBE']
        self.assertEqual(sub['text'], 'aaa/x qos=0 rh=0 aaa/y qos=1 rh=0')
        [suback] = [r for r in rows if r['name'] == 'SUBACK']
        self.assertEqual((suback['text'], suback['packet_id']), ('0x00 0x01', sub['packet_id']))
        verdicts = [(r['name'], r['plugin'], r['verdict']) for r in rows if r['kind'] == VERDICT]
        self.assertEqual([v for v in verdicts if v[1] == 'p0'],
                         [('pre_connect', 'p0', 1), ('authenticate', 'p0', 1),
                          ('authorize_will', 'p0', 1), ('authorize_subscribe', 'p0', 1),
                          ('authorize_subscribe', 'p0', 1)][:len([v for v in verdicts
                                                                   if v[1] == 'p0'])])
        self.assertEqual(self.do('cancel', job=job), 0)
        self.assertEqual(self.do('cancel', job=job), E_GONE)

    def test_a_qos_2_exchange_is_complete_and_in_order(self):
        c = self.me()
        c.subscribe('aaa/t', qos=2)
        number, job = self.trace(client_id=self.id('x'), payload_max=2)
        c.auto_ack = False
        c.send(mqtt.publish('aaa/t', b'aaa', 2, 77))
        c.wait(PUBREC, mid=77)
        c.send(mqtt.ack(PUBREL, 77))
        p = c.wait(PUBLISH)
        c.send(mqtt.ack(PUBREC, p.mid))
        c.wait(PUBREL, mid=p.mid)
        c.send(mqtt.ack(PUBCOMP, p.mid))
        c.ping()
        rows = self.rows_until(number, lambda r: r['name'] == 'PINGRESP')
        mine = [n for n, r in zip(self.names(rows, IN, OUT), [r for r in rows if r['kind'] in (IN, OUT)])
                if r['packet_id'] == 77 and n not in ('<PUBLISH', '>PUBCOMP')]
        self.assertEqual(mine[:2] + mine[-1:], ['>PUBLISH', '<PUBREC', '<PUBCOMP'])
        names = self.names(rows, IN, OUT)
        order = [names.index(n) for n in ('>PUBLISH', '<PUBREC', '>PUBREL', '<PUBCOMP')]
        self.assertEqual(order, sorted(order))
        order = [names.index(n) for n in ('<PUBLISH', '>PUBREC', '<PUBREL', '>PUBCOMP')]
        self.assertEqual(order, sorted(order))
        self.assertEqual(sorted(names), sorted(['>PUBLISH', '<PUBREC', '>PUBREL', '<PUBCOMP', '<PUBLISH',
                                                '>PUBREC', '<PUBREL', '>PUBCOMP', '>PINGREQ',
                                                '<PINGRESP']))
        [sent] = [r for r in rows if r['name'] == 'PUBLISH' and r['kind'] == IN]
        self.assertEqual((sent['topic'], sent['qos'], sent['payload'], sent['payload_len']),
                         ('aaa/t', 2, 'aa', 3))
        self.assertEqual([r['time_us'] for r in rows], sorted(r['time_us'] for r in rows))
        self.do('cancel', job=job)

    def test_payloads_are_shown_on_demand_only(self):
        c = self.me()
        number, job = self.trace(client_id=self.id('x'))
        c.publish('aaa/t', b'aaa', qos=1)
        rows = self.rows_until(number, lambda r: r['name'] == 'PUBACK')
        self.assertEqual({r['payload'] for r in rows}, {None})
        self.do('cancel', job=job)

    def test_a_filter_picks_messages_of_everybody(self):
        a, b = self.me('x1'), self.me('x2')
        number, job = self.trace(filter='aaa/+/t')
        a.publish('aaa/0/other', b'aaa', qos=1)
        a.publish('aaa/1/t', b'aaa', qos=1)
        b.publish('aaa/2/t', b'aaa', qos=1)
        b.publish('aaa/stop/t', b'aaa', qos=1)
        rows = self.rows_until(number, lambda r: 'stop' in r['topic'] and r['kind'] == VERDICT)
        seen = {(r['client_id'], r['topic']) for r in rows if r['kind'] == IN}
        self.assertEqual(seen, {(self.id('x1'), 'aaa/1/t'), (self.id('x2'), 'aaa/2/t'),
                                (self.id('x2'), 'aaa/stop/t')})
        self.do('cancel', job=job)

    def test_topic_aliases_are_resolved(self):
        c = self.me()
        number, job = self.trace(filter='aaa/alias')
        c.publish('aaa/alias', b'aaa', qos=1, props={'topic_alias': 1})
        c.publish('', b'aaa', qos=1, props={'topic_alias': 1})
        rows = []
        while len([r for r in rows if r['kind'] == IN]) < 2:
            rows += self.answer(number)['rows']
        self.assertEqual({r['topic'] for r in rows}, {'aaa/alias'})
        self.do('cancel', job=job)

    def test_an_address_that_nobody_has_shows_nothing(self):
        number, job = self.trace(address='192.0.2.1')
        self.me().publish('aaa/t', b'aaa', qos=1)
        self.list(1)
        self.assertEqual(self.waiting.get(number, []), [])
        self.do('cancel', job=job)

    def test_rows_beyond_the_rate_are_dropped_and_counted(self):
        c = self.me()
        number, job = self.trace(client_id=self.id('x'), rate_max=5)
        c.send(*[mqtt.pingreq() for _ in range(200)])
        n = dropped = 0
        while not dropped:
            for _ in range(2):
                c.ping()
            c.send(mqtt.pingreq())
            got = self.answer(number)
            n += len(got['rows'])
            dropped = got['dropped']
        self.assertGreater(dropped, 0)
        self.do('cancel', job=job)

    def test_it_ends_by_time_and_by_number_of_rows(self):
        c = self.me()
        got = self.until_done(self.order('trace', client_id='nobody', duration_ms=50))
        self.assertEqual((got[-1]['rows'], got[-1]['status']), ([], 0))
        number, _ = self.trace(client_id=self.id('x'), rows_max=3)
        for _ in range(5):
            c.ping()
        rows = []
        while True:
            got = self.answer(number)
            rows += got['rows']
            if got['done']:
                break
        self.assertEqual(len(rows), 3)

    def test_a_trace_of_nothing_and_one_too_many_are_refused(self):
        self.assertEqual(self.do('trace'), E_INVAL)
        self.assertEqual(self.do('trace', filter='a/#/b'), E_INVAL)
        jobs = [self.trace(client_id='nobody')[1] for _ in range(16)]
        self.assertEqual(self.do('trace', client_id='nobody'), E_BUSY)
        for job in jobs:
            self.assertEqual(self.do('cancel', job=job), 0)
        self.list(1)
        _, job = self.trace(client_id='nobody')
        self.do('cancel', job=job)


class TraceToAWorker(Trace):
    options = {**Trace.options, 'plugins': {**plugin('probe', run='worker'), **plugin('p0')}}


del AdminCase  # is no test itself

if __name__ == '__main__':
    unittest.main()
