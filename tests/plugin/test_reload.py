"""Reload of plugin options and chains (C3, CH7): reload_options.c shows which options hold."""

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import unittest

from plugin_case import built
import broker
import mqtt
from broker import LISTENER, STOP_DEADLINE, Broker, merge

RELOADS = int(os.environ.get('PIGEON_TEST_RELOADS', '200'))
CALLS = re.compile(r'calls prepared=(\d+) committed=(\d+) aborted=(\d+)')


@unittest.skipUnless(broker.KIND == 'pigeon', 'plugins of Pigeon')
class ReloadCase(unittest.TestCase):
    """Every test has a broker of its own."""

    kind = 'reload_options'
    allowed_exit = 0

    def start(self, threads=2, plugin=None, **options):
        block = {'file': built(self.kind), **(plugin or {})}
        self.broker = Broker(merge({'threads': threads, 'plugins': {'opts': block}}, options))
        self.addCleanup(self.end)
        self.broker.start()
        self.path = os.path.join(self.broker.dir, 'pigeon.conf')
        with open(self.path, encoding='utf-8') as f:
            self.options = json.load(f)

    def end(self):
        try:
            if self.broker.process is not None:
                self.stop()
        finally:
            self.broker.cleanup()

    def stop(self):
        """Stops it: every next of the plugin was committed or aborted. Sum of all instances."""
        self.assertEqual(self.broker.stop(), 0, self.broker.report())
        self.assertEqual(self.broker.complaints(), [])
        return self.calls()

    def calls(self):
        found = [tuple(map(int, m.groups())) for m in map(CALLS.search, self.broker.log) if m]
        for prepared, committed, aborted in found:
            self.assertEqual(prepared, committed + aborted, found)
        return [sum(column) for column in zip(*found)]

    def write(self, **changes):
        with open(self.path + '.new', 'w', encoding='utf-8') as f:
            json.dump(merge(self.options, changes), f, indent=1)
        os.rename(self.path + '.new', self.path)

    def signal(self):
        os.kill(self.broker.pid, signal.SIGHUP)

    def reload(self, outcome, **changes):
        """The log from SIGHUP to its outcome."""
        self.write(**changes)
        return self.broker.reload(' ' + outcome)

    def opts(self, outcome='reloaded', **options):
        return self.reload(outcome, plugins={'opts': {'options': options}})

    def client(self, name, port=None, **kw):
        where = type('Where', (), {'address': ('127.0.0.1', port or self.broker.ports['default'])})
        c = mqtt.Client(where, name, **kw)
        self.addCleanup(c.close)
        c.connect()
        return c

    @staticmethod
    def puback(c, topic):
        """Publishes; the reason code of the acknowledgement."""
        c.send(mqtt.publish(topic, b'', qos=1, mid=99))
        return c.expect(mqtt.PUBACK).reason

    def stamps(self, n=4):
        """What messages of several clients, on several loops, come out as."""
        sub = self.client('stamps')
        sub.subscribe('stamp/now', qos=1)
        for i in range(n):
            self.client(f'stamp-{i}').publish('stamp/now', b'm', 1)
        got = {sub.message().payload.decode() for _ in range(n)}
        sub.disconnect()
        return got


class Options(ReloadCase):
    def test_new_options_hold_on_all_loops_once_the_reload_is_logged(self):
        self.start(threads=3)
        stays = self.client('stays')
        self.assertEqual(self.stamps(), {'m|0|0'})
        log = self.opts(value='a', number=7)
        self.assertIn('reload_change key=plugins.opts.options.value from=0 to=a', log)
        self.assertIn('changed=2 need_restart=0', log)
        self.assertEqual(self.stamps(), {'m|a|7'})
        self.opts(value='b' * 50, number=8)
        self.assertEqual(self.stamps(), {f'm|{"b" * 50}|8'})
        stays.ping()
        self.assertEqual(self.stop(), [6, 6, 0])

    def test_one_instance_that_refuses_keeps_everything_as_it_was(self):
        self.start(threads=3)
        log = self.reload('reload_refused', limits={'packet_size': '2k'},
                          plugins={'opts': {'options': {'value': 'a', 'refuse': 1}}})
        self.assertRegex(log, r"pigeon\.conf:\d+:\d+: error: the plugin 'opts' does not take its "
                              r'new options: refuse: told to')
        self.assertRegex(log, r'reload_refused .*pigeon\.conf:\d+:\d+')
        self.assertEqual(self.stamps(), {'m|0|0'})
        self.assertNotEqual(self.client('x').connack.props.get('maximum_packet_size'), 2048)
        self.opts(value='c')
        self.assertEqual(self.stamps(), {'m|c|0'})
        prepared, committed, aborted = self.stop()
        self.assertEqual((committed, prepared), (3, 3 + aborted))

    def test_a_reload_that_fails_elsewhere_aborts_what_plugins_have_prepared(self):
        self.start()
        log = self.reload('reload_refused', plugins={'opts': {'options': {'value': 'a'}}},
                          listeners=[LISTENER, dict(LISTENER, name='no', bind=['192.0.2.1'],
                                                 allow_anonymous=True)])
        self.assertIn('listen_refused', log)
        self.assertEqual(self.stamps(), {'m|0|0'})
        self.assertEqual(self.stop(), [2, 0, 2])

    def test_an_option_of_the_wrong_kind_is_refused_with_its_place(self):
        self.start()
        log = self.opts('reload_refused', number='many')
        self.assertRegex(log, r'pigeon\.conf:\d+:\d+: error: .*number')
        self.assertEqual(self.stop(), [0, 0, 0])

    def test_what_cannot_be_reloaded_keeps_its_value_and_is_named_each_time(self):
        self.start()
        for value in 'ab':
            log = self.opts(value=value, fixed='new')
            self.assertIn('reload_needs_restart key=plugins.opts.options.fixed from=old to=new', log)
            self.assertIn('changed=1 need_restart=1', log)
            self.assertEqual(self.stamps(), {f'm|{value}|0'})
        self.assertIn('changed=0 need_restart=0', self.opts(value='b'))

    def test_a_file_that_an_option_names_is_read_at_each_reload(self):
        self.start()
        self.opts(users='users.txt')
        self.assertIn('changed=0', self.opts(users='users.txt'))
        self.opts(users='users.txt')
        prepared, committed, aborted = self.stop()
        self.assertEqual((prepared, aborted), (committed, 0))
        self.assertGreaterEqual(prepared, 3)

    def test_a_secret_is_not_shown(self):
        self.start()
        log = self.opts('reload_refused', password='geheim', refuse=99)
        log += self.opts(password='geheim')
        self.assertIn('key=plugins.opts.options.password', log)
        self.assertNotIn('geheim', log.replace('"password": "geheim"', ''))

    def test_a_term_signal_during_prepare_ends_it(self):
        self.start()
        self.write(plugins={'opts': {'options': {'value': 'a', 'slow': '700ms'}}})
        begin = len(self.broker.log)
        self.signal()
        self.broker.wait_log('reloading', begin)
        self.assertEqual(self.stop()[1], 0)
        self.assertFalse([one for one in self.broker.log if ' reloaded' in one])

    def test_signals_that_come_together_end_with_the_last_configuration(self):
        self.start()
        self.opts(slow='100ms')
        begin = len(self.broker.log)
        for i in range(20):
            self.write(plugins={'opts': {'options': {'value': f'v{i}'}}})
            self.signal()
        deadline = time.monotonic() + STOP_DEADLINE
        while self.stamps() != {'m|v19|0'}:
            self.assertLess(time.monotonic(), deadline)
        log = self.broker.log[begin:]
        self.assertLessEqual(len([one for one in log if ' reloaded' in one]), 20)

    def test_a_plugin_without_a_block_gets_its_options_by_one(self):
        self.start()
        here = os.path.join(self.broker.dir, 'plugins')
        os.mkdir(here, 0o700)
        shutil.copy(built(self.kind), os.path.join(here, 'dropped.so'))
        self.broker.stop()
        self.broker.options = {'plugins_dir': [*broker.plugin_dirs(Broker.binary()), here]}
        self.broker.start()
        with open(self.path, encoding='utf-8') as f:
            self.options = json.load(f)
        log = self.reload('reloaded', plugins={'dropped': {'options': {'value': 'a'},
                                                           'max_pending': 7}})
        self.assertIn('changed=2 need_restart=0', log)
        self.assertEqual(self.stamps(), {'m|a|0'})


class Single(Options):
    kind = 'reload_single'

    def test_new_options_hold_on_all_loops_once_the_reload_is_logged(self):
        self.start(threads=3)
        self.opts(value='a', number=7)
        self.assertEqual(self.stamps(), {'m|a|7'})
        self.assertEqual(self.stop(), [1, 1, 0])

    test_one_instance_that_refuses_keeps_everything_as_it_was = None
    test_a_term_signal_during_prepare_ends_it = None  # loop 0 is the one that prepares
    test_a_reload_that_fails_elsewhere_aborts_what_plugins_have_prepared = None


class Shared(Single):
    kind = 'reload_shared'


class Never(ReloadCase):
    kind = 'reload_never'

    def test_a_plugin_that_cannot_prepare_needs_a_restart(self):
        self.start()
        log = self.opts(value='a', fixed='b')
        self.assertIn('reload_needs_restart key=plugins.opts.options.value', log)
        self.assertIn('changed=0 need_restart=2', log)
        self.assertEqual(self.stamps(), {'m|0|0'})


class Worker(ReloadCase):
    def test_instances_on_workers_take_over_on_their_own_threads(self):
        self.start(plugin={'run': 'worker', 'workers': 3})
        self.opts(value='a', number=7)
        self.assertEqual(self.stamps(), {'m|a|7'})
        self.assertEqual(self.stop(), [3, 3, 0])

    def test_who_has_not_come_back_from_prepare_is_named(self):
        self.start(plugin={'run': 'worker', 'workers': 1})
        begin = len(self.broker.log)
        self.write(plugins={'opts': {'options': {'value': 'x', 'slow': '15s'}}})
        self.signal()
        self.broker.wait_log(' reload_refused', begin, 2 * STOP_DEADLINE)  # after ten seconds
        log = self.opts('reload_waits', value='y')
        self.assertIn('reload_waits plugin=opts', log)
        self.broker.wait_log(' reloaded', begin, 2 * STOP_DEADLINE)
        self.assertEqual(self.stamps(), {'m|y|0'})
        self.assertEqual(self.stop(), [2, 1, 1])


class Chains(ReloadCase):
    kind = 'reload_auth'

    def start_chain(self, *order, **more):
        super().start(plugins={'hold': {'file': built('hold'), 'deadline': '1h'},
                               'opts': {'deadline': '1h', 'options': {'deny': 'hold/deny'}}},
                      chains={'authorize': list(order)}, **more)

    def held(self, name, topic='hold/deny'):
        c = self.client(name)
        c.send(mqtt.publish(topic, b'', qos=1, mid=1))
        return c

    def test_questions_under_way_end_in_the_chain_they_were_asked_in(self):
        self.start_chain('hold', {'veto': 'opts'})
        first = self.held('first')
        first.ping()  # the question has been put
        for order in ([{'veto': 'opts'}, 'hold'], ['hold', {'veto': 'opts'}],
                      [{'veto': 'opts'}, 'hold']):
            self.assertIn('key=chains.authorize', self.reload('reloaded', chains={'authorize': order}))
        self.assertEqual(self.held('second').expect(mqtt.PUBACK).reason, 0x87)
        self.client('third').publish('let-go', b'', 1)
        self.assertEqual(first.expect(mqtt.PUBACK).reason & 0x80, 0)

    def test_a_chain_that_cannot_be_is_refused(self):
        self.start_chain('hold', {'veto': 'opts'})
        log = self.reload('reload_refused', chains={'authorize': ['hold', 'opts', 'nobody']})
        self.assertIn('chain_refused chain=authorize plugin=nobody', log)
        self.assertIn('reload_refused', self.reload('reload_refused', chains={'authorize': ['hold']}))

    def test_a_deadline_holds_for_questions_to_come(self):
        self.start_chain('hold', {'veto': 'opts'})
        log = self.reload('reloaded', plugins={'hold': {'deadline': '100ms'}})
        self.assertIn('key=plugins.hold.deadline', log)
        self.assertEqual(self.held('c', 'hold/x').expect(mqtt.PUBACK).reason, 0x87)

    def test_the_bound_of_pending_questions_changes(self):
        # One loop: a question that travels to another one counts until it is back.
        self.start_chain('hold', {'veto': 'opts'}, threads=1)
        self.reload('reloaded', plugins={'hold': {'max_pending': 1}})
        second = self.client('second')
        self.held('first', 'hold/x').ping()
        self.assertEqual(self.puback(second, 'hold/x'), 0x97)

    def test_clients_keep_the_chain_of_their_listener_when_listeners_move(self):
        a, b, other = (dict(LISTENER, name=name, port=0) for name in ('default', 'b', 'other'))
        own, other = (dict(one, chains={'authorize': [{'veto': 'opts'}]}) for one in (b, other))
        self.start_chain('hold', listeners=[a, own, other])
        port = self.broker.ports['b']
        of_b = self.client('of-b', port)
        of_a = self.client('of-a')
        self.assertEqual(self.puback(of_b, 'hold/deny'), 0x87)
        self.reload('reloaded', listeners=[own, other, a])
        self.reload('reloaded', listeners=[a, other])
        self.assertEqual(self.puback(of_b, 'hold/deny'), 0x87)
        self.assertEqual(self.puback(of_a, 'x') & 0x80, 0)

    def test_a_listener_that_goes_must_not_take_the_only_place_of_a_plugin_along(self):
        a, b = (dict(LISTENER, name=name, port=0) for name in ('default', 'b'))
        own = dict(b, chains={'authorize': [{'veto': 'opts'}]})
        self.start_chain('hold', listeners=[a, own])
        log = self.reload('reload_refused', listeners=[a])
        self.assertIn('chain_refused chain=authorize plugin=opts', log)
        port = self.broker.ports['b']
        self.assertEqual(self.puback(self.client('of-b', port), 'hold/deny'), 0x87)
        self.reload('reloaded', listeners=[a], chains={'authorize': ['hold', {'veto': 'opts'}]})

    def test_rules_without_a_place_in_the_chain_are_taken_back(self):
        both = {'rules': {'file': built('r0')}, 'hold': {'file': built('hold')}}
        order = ['rules', {'veto': 'opts'}, 'hold']
        super().start(threads=3, plugins=both,
                      chains={'authenticate': ['rules', 'hold'], 'authorize': order})
        ruled = [self.client(f'c{i}', username='u', password=b'rules') for i in range(6)]
        free = self.client('free')
        for c in ruled:
            self.assertEqual(self.puback(c, 'own/secret/x'), 0x87)
        self.reload('reloaded', chains={'authorize': [order[1], order[0], order[2]]})
        for c in ruled:
            self.assertEqual(self.puback(c, 'own/secret/x'), 0x87)
        self.reload('reloaded', chains={'authorize': order[1:]})
        for c in ruled:
            c.expect(mqtt.DISCONNECT, reason=0x87)
        free.ping()

    def test_facts_go_by_the_chain_of_the_listener(self):
        a, b = (dict(LISTENER, name=name, port=0) for name in ('default', 'b'))
        self.start_chain('hold', {'veto': 'opts'}, listeners=[a, dict(b, chains={'events': []})])
        self.client('told').ping()
        self.client('untold', self.broker.ports['b']).ping()
        self.client('told-2').ping()
        self.broker.wait_log('ready client=told-2')
        self.assertFalse([one for one in self.broker.log if 'client=untold' in one and 'ready' in one])

    def test_what_waits_at_the_stop_is_cancelled_once_with_its_reason(self):
        self.start_chain({'veto': 'opts'}, 'hold')
        for i in range(3):
            self.held(f'c{i}', 'wait/x').ping()
        self.stop()
        told = [one for one in self.broker.log if 'cancelled why=' in one]
        self.assertEqual(len(told), 3, told)
        self.assertEqual([one for one in told if 'why=3' not in one], [])


class Core(ReloadCase):
    def test_default_access_holds_after_a_reload(self):
        self.start()
        c = self.client('c')
        self.assertEqual(self.puback(c, 'x') & 0x80, 0)
        self.reload('reloaded', default_access='deny')
        self.assertEqual(self.puback(c, 'x'), 0x87)

    def test_a_unix_socket_gets_another_mode(self):
        self.start()
        one = {'name': 'u', 'unix': os.path.join(self.broker.dir, 's'), 'mode': '0600'}
        self.reload('reloaded', listeners=[LISTENER, one])
        for name, mode in (('u', '0666'), ('renamed', '0660')):
            log = self.reload('reloaded', listeners=[LISTENER, dict(one, name=name, mode=mode)])
            self.assertNotIn('listener_closed', log)
            self.assertEqual(os.stat(one['unix']).st_mode & 0o777, int(mode, 8))
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(one['unix'])


class Load(ReloadCase):
    """Clients that publish while the configuration changes all the time."""

    def swapped(self, outcome, **options):
        """Again if a busy machine has kept a loop from coming to rest in time."""
        for _ in range(5):
            begin = len(self.broker.log)
            try:
                return self.opts(outcome, **options)
            except mqtt.Timeout:
                if 'does not come to rest' not in '\n'.join(self.broker.log[begin:]):
                    raise
        return self.opts(outcome, **options)

    def run_load(self, threads, reloads):
        self.start(threads=threads)
        sub = self.client('sub')
        sub.subscribe('stamp/#', qos=1)
        stop, faults, sent = threading.Event(), [], [0] * 4

        def publish(i):
            try:
                c = self.client(f'pub-{i}')
                while not stop.is_set():
                    c.publish(f'stamp/{i}', b'%d' % sent[i], 1)
                    sent[i] += 1
            except Exception as e:  # pylint: disable=broad-except
                faults.append(e)

        got = []

        def receive():
            try:
                while True:
                    p = sub.message()
                    if p.topic == 'stamp/end':
                        return
                    if p.topic == 'stamp/now':
                        continue
                    got.append((p.topic, p.payload.decode()))
            except Exception as e:  # pylint: disable=broad-except
                faults.append(e)

        workers = [threading.Thread(target=publish, args=(i,)) for i in range(4)]
        reader = threading.Thread(target=receive)
        for t in [reader, *workers]:
            t.start()
        n_ok, held = 0, '0'
        for i in range(1, reloads + 1):
            refuse = (-1, -1, i % threads, 99)[i % 4]
            outcome = 'reloaded' if refuse == -1 else 'reload_refused'
            self.swapped(outcome, value=f'{i}', number=i, refuse=refuse)
            if refuse == -1:
                n_ok, held = n_ok + 1, f'{i}'
            if faults:
                break
        self.assertEqual({one.split('|', 1)[1] for one in self.stamps(2)}, {f'{held}|{held}'})
        stop.set()
        for t in workers:
            t.join()
        self.client('last').publish('stamp/end', b'', 1)
        reader.join()
        self.assertEqual(faults, [])
        for i in range(4):
            mine = [one for topic, one in got if topic == f'stamp/{i}']
            numbers = [int(one.split('|')[0]) for one in mine]
            self.assertEqual(numbers, list(range(sent[i])))
            for one in mine:
                _, value, number = one.split('|')
                self.assertEqual(value, number)
        prepared, committed, aborted = self.stop()
        self.assertEqual(committed, n_ok * threads)
        self.assertEqual(prepared, committed + aborted)

    def test_one_loop(self):
        self.run_load(1, RELOADS)

    def test_two_loops(self):
        self.run_load(2, RELOADS)

    def test_eight_loops(self):
        self.run_load(8, RELOADS)
