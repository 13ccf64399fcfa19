"""pigeon.admin/1: lists, bans, the end of sessions, commands of plugins."""

import socket
import unittest

import mqtt
from admin_case import (BANS, BAN_ADDRESS, BAN_CLIENT, BAN_USER, CHAINS, CLIENTS, COMMANDS, E_BUSY,
                        E_GONE, E_INVAL, E_TOOBIG, E_UNKNOWN, LISTENERS, PLUGINS, RETAINED, SESSIONS,
                        SUBSCRIPTIONS, AdminCase, built, plugin)
from mqtt import CONNACK, DISCONNECT
from plugin_case import NUMBERS


class Lists(AdminCase):
    options = {'plugins': {**plugin('probe'), **plugin('commands')},
               'chains': {'pre_connect': [{'veto': 'probe'}]}, 'allow_anonymous': True}

    def ids(self, rows):
        return sorted(r['client_id'] for r in rows)

    def mine(self, which, **values):
        return self.list(which, pattern=self.id('x*'), **values)

    def test_clients_and_sessions_are_listed_with_what_they_are(self):
        c = self.client('x1', username='me', props={'session_expiry_interval': 100})
        c.subscribe('a', 'b')
        gone = self.client('x2', props={'session_expiry_interval': 100})
        gone.disconnect()
        [row] = self.mine(CLIENTS)
        self.assertEqual((row['client_id'], row['username'], row['subscriptions'], row['durable'],
                          row['expiry'], row['protocol']), (self.id('x1'), 'me', 2, 1, 100, 5))
        self.assertGreater(row['connected_ms'], 1700000000000)
        rows = {r['client_id']: r for r in self.mine(SESSIONS)}
        self.assertEqual(sorted(rows), [self.id('x1'), self.id('x2')])
        self.assertEqual(rows[self.id('x2')]['connected'], 0)
        self.assertTrue(0 < rows[self.id('x2')]['expires_in_ms'] <= 100000)
        self.assertEqual(self.ids(self.list(CLIENTS, client_id=self.id('x1'))), [self.id('x1')])
        self.assertEqual(self.list(CLIENTS, client_id=self.id('x2')), [])
        self.assertEqual(self.ids(self.mine(CLIENTS, username='me')), [self.id('x1')])
        self.assertEqual(self.mine(CLIENTS, username='you'), [])

    def test_pages_follow_one_another(self):
        clients = [self.client(f'x{i}') for i in range(25)]
        seen, resume = [], ''
        for _ in range(30):
            rows, resume = self.page('list', list=CLIENTS, pattern=self.id('x*'), limit=4,
                                     resume=resume)
            self.assertLessEqual(len(rows), 4)
            seen += self.ids(rows)
            if not resume:
                break
        self.assertEqual(sorted(seen), sorted(self.id(f'x{i}') for i in range(len(clients))))

    def test_a_resume_that_nobody_gave_is_refused(self):
        for which, resume in ((CLIENTS, 'x'), (CLIENTS, '99.0.0.0'), (CLIENTS, '@'), (CLIENTS, '0.0'),
                              (RETAINED, '0.0.0.0'), (RETAINED, '@6'), (RETAINED, '@zz')):
            self.assertEqual(self.do('list', list=which, resume=resume), E_INVAL, resume)
        far = '@' + b'a/b/c/d'.hex()
        self.assertEqual(self.do('list', list=RETAINED, filter='a/+', resume=far), E_INVAL)
        self.assertEqual(self.do('list', list=0), E_INVAL)
        self.assertEqual(self.do('list', list=10), E_INVAL)

    def test_subscriptions_by_client_filter_and_topic(self):
        t = self.topic()
        a, b = self.client('x1'), self.client('x2')
        a.subscribe(t + '/+', qos=1)
        a.subscribe('$share/g/' + t + '/b')
        b.subscribe(t + '/a', t + '/b')
        rows = self.list(SUBSCRIPTIONS, topic=t + '/b')
        self.assertEqual(sorted((r['client_id'], r['share'], r['filter'], r['qos']) for r in rows),
                         sorted([(self.id('x1'), '', t + '/+', 1), (self.id('x1'), 'g', t + '/b', 0),
                                 (self.id('x2'), '', t + '/b', 0)]))
        rows = self.list(SUBSCRIPTIONS, client_id=self.id('x2'))
        self.assertEqual(sorted(r['filter'] for r in rows), [t + '/a', t + '/b'])
        [row] = self.list(SUBSCRIPTIONS, filter='$share/g/' + t + '/b')
        self.assertEqual(row['client_id'], self.id('x1'))
        [row] = self.list(SUBSCRIPTIONS, topic='probe/do/x')
        self.assertEqual((row['client_id'], row['plugin'], row['filter']), ('', 'probe', 'probe/do/+'))

    def test_many_subscriptions_of_one_client_come_in_pages_too(self):
        c = self.client('x1')
        filters = [self.topic(str(i)) for i in range(1000)]
        for i in range(0, len(filters), 100):
            c.subscribe(*filters[i:i + 100])
        seen, resume = [], ''
        while True:
            rows, resume = self.page('list', list=SUBSCRIPTIONS, client_id=self.id('x1'), limit=130,
                                     resume=resume)
            seen += [r['filter'] for r in rows]
            if not resume:
                break
        self.assertEqual(sorted(seen), sorted(filters))
        self.assertEqual(len(self.list(SUBSCRIPTIONS, pattern=self.id('x?'))), 1000)

    def test_retained_messages_are_listed_and_deleted(self):
        c, t = self.client('x1'), self.topic()
        topics = [f'{t}/{i}' for i in range(150)]
        for name in topics:
            c.publish(name, 'value', retain=True, qos=1)
        seen, resume = [], ''
        while True:
            rows, resume = self.page('list', list=RETAINED, filter=t + '/#', limit=40, resume=resume)
            seen += [r['topic'] for r in rows]
            if not resume:
                break
        self.assertEqual(sorted(seen), sorted(topics))
        [one] = self.list(RETAINED, filter=topics[7])
        self.assertEqual(one['payload'], 'value')
        watcher = self.client('x2')
        watcher.subscribe(t + '/#', rh=2)
        self.assertEqual(self.until_done(self.order('retained_delete', filter=topics[7]))[-1]['status'],
                         1)
        self.assertEqual(self.until_done(self.order('retained_delete', filter=t + '/+'))[-1]['status'],
                         149)
        self.assertEqual(self.list(RETAINED, filter=t + '/#'), [])
        watcher.ping()  # nobody was told
        self.assertEqual(self.do('retained_delete', filter='$SYS/#'), E_INVAL)

    def test_plugins_chains_listeners_and_commands_are_listed(self):
        rows = {r['name']: r for r in self.list(PLUGINS)}
        self.assertEqual((rows['probe']['state'], rows['probe']['instances']), (1, 1))
        self.assertEqual(rows['probe']['file'], built('probe'))
        self.assertIn('pigeon.control/1', rows['commands']['interfaces'].split())
        rows = [r for r in self.list(CHAINS, plugin='probe') if r['hook'] == 1]
        self.assertEqual({(r['plugin'], r['control'], r['entries'], r['end'], r['has_hook'])
                          for r in rows}, {('probe', 2, 1, 0, 1)})
        self.assertEqual(len(rows), 2)  # the broker's own and the listener's
        empty = [r for r in self.list(CHAINS) if r['hook'] == 2 and r['listener'] == '']
        self.assertEqual([(r['plugin'], r['entries']) for r in empty], [(None, 0)])
        [row] = self.list(LISTENERS)
        self.assertEqual(row['transport'], 0)
        rows = self.list(COMMANDS, plugin='commands')
        self.assertEqual(rows[0], {'plugin': 'commands', 'name': 'echo', 'args': 'ANYTHING',
                                   'help': 'gives its arguments back'})
        self.assertEqual(len(rows), 11)

    def test_after_cancel_nothing_comes(self):
        clients = [self.client(f'x{i}') for i in range(3)]
        number = self.order('list', list=SESSIONS, cancel_after=1)
        self.began(number)
        self.answer(number)
        self.list(CLIENTS)
        self.assertEqual(self.waiting[number], [])
        self.assertEqual(self.do('cancel', job=123456), E_GONE)
        self.assertEqual(len(clients), 3)

    def test_a_deleted_session_is_gone_with_its_connection(self):
        c = self.client('x1', props={'session_expiry_interval': 100})
        c.subscribe('a')
        gone = self.client('x2', props={'session_expiry_interval': 100})
        gone.disconnect()
        for name in ('x1', 'x2'):
            done = self.until_done(self.order('session_delete', client_id=self.id(name)))[-1]
            self.assertEqual(done['status'], 0)
        c.expect(DISCONNECT, reason=0x98)
        self.assertEqual(self.mine(SESSIONS), [])
        done = self.until_done(self.order('session_delete', client_id=self.id('x1')))[-1]
        self.assertEqual(done['status'], E_UNKNOWN)
        self.forget('x1')
        self.client('x1', clean=False, session_present=False)

    def test_the_level_of_the_log_can_be_changed(self):
        self.assertEqual(self.do('log_level', level=3), 0)
        self.assertEqual(self.do('log_level', level=2), 0)
        self.assertEqual(self.do('log_level', level=4), E_INVAL)

    def test_a_reload_can_be_asked_for(self):
        self.assertEqual(self.do('reload'), 0)
        self.broker.wait_log('reload')


class Crowd(AdminCase):
    options = {'plugins': plugin('probe'), 'allow_anonymous': True,
               'limits': {'connections_per_address': 0, 'pending_per_address': 0}}

    def test_who_stays_is_listed_once_while_others_come_and_go(self):
        staying = [self.raw(self.id(f'stay{i}')) for i in range(300)]
        for c in staying:
            c.send_connect()
        for c in staying:
            c.expect(CONNACK)
        churn = []
        for round_ in range(5):
            number = self.order('list', list=CLIENTS)
            for i in range(60):
                c = self.raw(self.id(f'churn{round_}-{i}'))
                c.send_connect()
                churn.append(c)
            for c in churn[-90:-60]:
                c.abort()
            rows = [r['client_id'] for a in self.until_done(number) for r in a['rows']]
            self.assertEqual(len(rows), len(set(rows)))
            self.assertEqual({r for r in rows if '-stay' in r or 'stay' in r},
                             {self.id(f'stay{i}') for i in range(300)})


class Multitude(AdminCase):
    options = {'plugins': plugin('probe'), 'allow_anonymous': True}
    N = 10000

    def visit(self, name):
        """A session that stays behind."""
        with socket.create_connection(self.broker.address, mqtt.DEADLINE) as s:
            s.sendall(mqtt.connect(name, props_={'session_expiry_interval': 3600}) + mqtt.disconnect())
            while s.recv(4096):
                pass

    def test_ten_thousand_sessions_are_listed_once_while_others_come(self):
        for i in range(self.N):
            self.visit(f'stay{i}')
        for round_ in range(3):
            number = self.order('list', list=SESSIONS, pattern='*')
            for i in range(50):
                self.visit(f'come{round_}-{i}')
            answers = self.until_done(number)
            rows = [r['client_id'] for a in answers for r in a['rows']]
            self.assertLessEqual(max(len(a['rows']) for a in answers), 100)
            self.assertEqual(len(rows), len(set(rows)))
            self.assertEqual(sum(r.startswith('stay') for r in rows), self.N)


class Bans(AdminCase):
    options = {'plugins': plugin('probe'), 'allow_anonymous': True}

    def refused(self, name, reason=0x8a, **more):
        c = self.raw(self.id(name), **more)
        c.send_connect()
        p = c.expect(CONNACK)
        self.assertEqual(p.reason, reason)
        return p

    def test_a_banned_client_id_or_user_is_refused_until_it_is_unbanned(self):
        for kind, value, more in ((BAN_CLIENT, self.id('x'), {}), (BAN_USER, 'bad', {'username': 'bad'})):
            self.assertEqual(self.do('ban', kind=kind, value=value, text='go away'), 0)
            self.refused('x', **more)
            self.refused('x', reason=5, version=mqtt.V311, **more)
            [row] = self.list(BANS)
            self.assertEqual((row['kind'], row['value'], row['text'], row['by'], row['duration_ms'],
                              row['hits']), (kind, value, 'go away', 'probe', 0, 2))
            self.assertEqual(self.do('unban', kind=kind, value=value), 0)
            self.assertEqual(self.do('unban', kind=kind, value=value), E_UNKNOWN)
            self.client('x', **more).disconnect()
            self.forget('x')

    def test_nobody_is_asked_about_who_is_banned(self):
        self.assertEqual(self.do('ban', kind=BAN_CLIENT, value=self.id('x')), 0)
        p = self.refused('x', username='u', password=b'V')  # the probe would refuse with a text of its own
        self.assertEqual(p.props.get('reason_string'), 'banned')
        self.assertEqual(self.do('unban', kind=BAN_CLIENT, value=self.id('x')), 0)

    def test_an_id_that_a_plugin_sets_is_looked_at_too(self):
        self.assertEqual(self.do('ban', kind=BAN_CLIENT, value='p0'), 0)
        self.refused('any', username='u', password=b'R')
        self.assertEqual(self.do('unban', kind=BAN_CLIENT, value='p0'), 0)

    def test_a_ban_may_end_the_connections_it_is_about(self):
        c, other = self.client('x1', username='bad'), self.client('x2')
        self.assertEqual(self.do('ban', kind=BAN_USER, value='bad', kick=1), 0)
        c.expect(DISCONNECT, reason=0x98)
        other.ping()
        self.assertEqual(self.do('unban', kind=BAN_USER, value='bad'), 0)

    def test_a_ban_is_over_after_its_time(self):
        self.assertEqual(self.do('ban', kind=BAN_CLIENT, value=self.id('x'), duration_ms=300), 0)
        self.refused('x')
        [row] = self.list(BANS)
        self.assertTrue(0 < row['duration_ms'] <= 300)
        deadline = mqtt.DEADLINE
        while self.list(BANS) and deadline:
            deadline -= 0.001
        self.client('x')

    def test_networks_take_the_probe_along(self):
        self.assertEqual(self.do('ban', kind=BAN_ADDRESS, value='127.0.0.0/8'), 0)
        self.refused('x')
        self.assertEqual(self.do('unban', kind=BAN_ADDRESS, value='127.1.2.3/8'), 0)
        self.assertEqual(self.do('ban', kind=BAN_ADDRESS, value='127.0.0.1'), 0)
        self.refused('x')
        self.assertEqual(self.do('unban', kind=BAN_ADDRESS, value='::ffff:127.0.0.1'), 0)
        self.assertEqual(self.do('ban', kind=BAN_ADDRESS, value='10.0.0.0/8'), 0)
        self.client('x')
        self.assertEqual(self.do('unban', kind=BAN_ADDRESS, value='10.0.0.0/8'), 0)

    def test_what_is_no_address_is_no_ban(self):
        for value in ('127.0.0.1/33', '127.0.0.1/', '127.0.0', 'localhost', '::1/129', '1.2.3.4/-1'):
            self.assertEqual(self.do('ban', kind=BAN_ADDRESS, value=value), E_INVAL, value)
        self.assertEqual(self.do('ban', kind=9, value='x'), E_INVAL)
        self.assertEqual(self.do('ban', kind=BAN_CLIENT), E_INVAL)


class BansUnderWay(AdminCase):
    options = {'plugins': {**plugin('probe'), **plugin('hold', deadline='60s'), **NUMBERS},
               'allow_anonymous': True}

    def test_a_connect_past_its_last_look_is_ended_too(self):
        will = mqtt.Will('hold/will', b'w')
        c = self.raw(self.id('x'), username='bad', will=will)
        c.send_connect()
        held = self.reader('hold', 'held')
        self.until(held, 'held', 1)
        self.assertEqual(self.do('ban', kind=BAN_USER, value='bad', kick=1), 0)
        self.probe.publish('let-go', qos=1)
        self.assertEqual(c.expect(CONNACK).reason, 0)
        c.expect(DISCONNECT, reason=0x98)
        c.expect_close()
        self.until(held, 'held', 2)  # its will
        self.probe.publish('let-go', qos=1)
        self.assertEqual(self.do('unban', kind=BAN_USER, value='bad'), 0)


class Commands(AdminCase):
    options = {'plugins': {**plugin('probe'), **plugin('commands'), **plugin('commands-single')},
               'allow_anonymous': True}

    def test_a_command_gives_its_answer(self):
        for name in ('commands', 'commands-single'):
            self.assertEqual(self.call('echo', name, args='{"a":[1,2]}'), (0, {'a': [1, 2]}, ''))
            self.assertEqual(self.call('echo', name), (0, {}, ''))
            self.assertEqual(self.call('nothing', name), (0, {}, ''))
            self.assertEqual(self.call('later', name), (0, {'late': True}, ''))
            self.assertEqual([self.call('count', name)[1]['n'] for _ in range(5)], [1, 2, 3, 4, 5])

    def test_a_plugin_may_ask_itself(self):
        self.assertEqual(self.call('echo', 'probe', args='{"me":1}'), (0, {'me': 1}, ''))

    def test_a_wrong_name_is_told_in_words(self):
        self.assertEqual(self.call('echo', 'nobody'), (E_UNKNOWN, None, "there is no plugin 'nobody'"))
        self.assertEqual(self.call('dance'),
                         (E_UNKNOWN, None, "plugin 'commands' has no command 'dance'"))

    def test_errors_of_the_plugin_come_back(self):
        self.assertEqual(self.call('error'), (E_UNKNOWN, None, 'there is nothing like that'))
        self.assertEqual(self.call('odd')[0], E_INVAL)
        self.assertEqual(self.call('bad'), (E_INVAL, None, 'the answer of commands is not JSON'))
        self.assertEqual(self.call('both')[0], -8)

    def test_answers_are_bounded(self):
        got = self.until_done(self.order('call', plugin='commands', command='full'))[-1]
        self.assertEqual((got['status'], got['len']), (0, 1 << 20))
        self.assertEqual(self.call('toobig')[0], E_TOOBIG)

    def test_who_does_not_answer_is_given_up(self):
        for name in ('commands', 'commands-single'):
            status, _, text = self.call('never', name, timeout_ms=50)
            self.assertEqual((status, text), (E_BUSY, f'{name} has not answered within 50 ms'))

    def test_arguments_are_a_json_object(self):
        for args in ('x', '[1]', '1', '{', '"{}"'):
            self.assertEqual(self.do('call', plugin='commands', command='echo', args=args), E_INVAL)

    def test_after_cancel_no_answer_comes(self):
        number = self.order('call', plugin='commands', command='later')
        job = self.began(number)['job']
        self.assertIn(self.do('cancel', job=job), (0, E_GONE))
        self.call('echo')


class Worker(Commands):
    options = {'plugins': {**plugin('probe'), **plugin('commands', run='worker'),
                           **plugin('commands-single', run='worker')},
               'allow_anonymous': True}


class AskedByAWorker(Lists):
    options = {**Lists.options, 'plugins': {**plugin('probe', run='worker'), **plugin('commands')}}


del AdminCase  # is no test itself

if __name__ == '__main__':
    unittest.main()
