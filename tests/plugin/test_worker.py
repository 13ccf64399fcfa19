"""Run mode `worker`: a plugin that blocks on threads of its own delays only who waits for it.

worker_gate.c blocks until a byte is written into a FIFO; its first comment says what it obeys.
"""

import os
import re
import shutil
import tempfile
import threading
import time

import mqtt
from broker import plugin_dirs
from mqtt import CONNACK, DISCONNECT, PUBACK, SUBACK, V311, V5
from plugin_case import NUMBERS, Broker, PluginCase, judge, plugin


def gate(name='worker_gate', workers=1, **more):
    """A configuration block of the gate; `dir` is filled in when the broker is started."""
    return plugin(name, {'dir': '.'}, run='worker', workers=workers, **more)


class Fifo:
    """What one or more calls of the plugin wait for."""

    def __init__(self, folder, name):
        self.name = name
        os.mkfifo(os.path.join(folder, name))
        self.fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_NONBLOCK)

    def let(self, answers=b'a'):
        os.write(self.fd, answers)


class Numbers:
    """The metrics of a plugin, as they come; first(...) says from where they are counted."""

    def __init__(self, client, name):
        self.client, self.now, self.base = client, {}, {}
        client.subscribe(f'$SYS/broker/plugins/{name}/+')

    def _take(self):
        p = self.client.message()
        try:
            self.now[p.topic.rsplit('/', 1)[1]] = int(p.payload)
        except ValueError:
            pass  # a name or a mean

    def get(self, metric):
        while metric not in self.now:
            self._take()
        return self.now[metric]

    def mark(self, *metrics):
        self.base.update({m: self.get(m) for m in metrics})

    def reached(self, metric, n):
        while self.get(metric) < self.base[metric] + n:
            self._take()

    def grown(self, metric, n):
        """Waits until it has grown by n since it was marked, or last waited for."""
        want = self.base[metric] + n
        while self.get(metric) < want:
            self._take()
        if self.get(metric) != want:
            raise mqtt.Failure(f'{metric} is {self.get(metric)}, expected {want}')
        self.base[metric] = want


class GateCase(PluginCase):
    name = 'worker_gate'

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='pigeon-test-')
        cls.fifos = []
        for block in cls.options['plugins'].values():
            if 'dir' in block.get('options', {}):
                block['options']['dir'] = cls.folder
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            for one in cls.fifos:
                os.close(one.fd)
            shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        super().setUp()
        self.numbers = Numbers(self.client('numbers'), self.name)

    def tearDown(self):
        for one in self.fifos:
            one.let(b'd' * 9)  # whatever still waits
        super().tearDown()

    def fifo(self, name=None):
        one = Fifo(self.folder, name or self.id(f'f{len(self.fifos)}'))
        self.fifos.append(one)
        return one

    def blocked_connect(self, fifo, name='b', **kw):
        c = self.raw(self.id(name), username=f'block-{fifo.name}', **kw)
        self.numbers.mark('blocked')
        c.send_connect()
        self.numbers.grown('blocked', 1)
        return c


class Authentication(GateCase):
    """One worker for authentication; everything else is asked of nobody."""

    name = 'worker_gate_auth'
    options = {'plugins': {**gate('worker_gate_auth', deadline='1h'), **NUMBERS},
               'connect_timeout': '1h'}

    def test_a_plugin_that_blocks_delays_nobody_else(self):
        fifo = self.fifo()
        others = [self.client(f'o{n}') for n in range(8)]
        for n, c in enumerate(others):
            c.subscribe(self.topic(str(n)), qos=2)
        late = self.blocked_connect(fifo)
        for n, c in enumerate(others):
            for qos in (0, 1, 2):
                others[n - 1].publish(self.topic(str(n)), str(qos), qos=qos)
                c.message(self.topic(str(n)), str(qos))
        fifo.let()
        self.assertEqual(late.expect(CONNACK).reason, 0)
        late.ping()

    def test_who_comes_behind_is_served_when_the_plugin_is_back(self):
        fifo = self.fifo()
        first = self.blocked_connect(fifo)
        behind = [self.raw(self.id(f'x{n}')) for n in range(5)]
        for c in behind:
            c.send_connect()
        fifo.let()
        self.assertEqual(first.expect(CONNACK).reason, 0)
        for c in behind:
            self.assertEqual(c.expect(CONNACK).reason, 0)
            c.ping()

    def test_a_denial_after_blocking_is_a_denial(self):
        for version, code in ((V311, 5), (V5, 0x87)):
            with self.subTest(version=version):
                fifo = self.fifo()
                c = self.blocked_connect(fifo, f'b{version}', version=version)
                fifo.let(b'd')
                self.assertEqual(c.expect(CONNACK).reason, code)
                c.expect_close()

    def test_a_client_that_goes_meanwhile_leaves_nothing(self):
        fifo = self.fifo()
        before = self.broker.fds()  # the plugin opens the FIFO
        c = self.blocked_connect(fifo)
        self.numbers.mark('hook_late', 'freed', 'cancelled')
        c.abort()
        deadline = time.monotonic() + mqtt.DEADLINE
        while self.broker.fds() > before + 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        again = self.raw(self.id('b'))
        again.send_connect()
        fifo.let()
        self.assertEqual(again.expect(CONNACK).reason, 0)
        self.numbers.grown('hook_late', 1)
        self.numbers.grown('freed', 1)
        self.numbers.grown('cancelled', 0)  # it had nothing to cancel: it was still being asked
        self.assertEqual(self.numbers.get('strayed'), 0)

    def test_a_reload_does_not_wait_for_it(self):
        fifo = self.fifo()
        c = self.blocked_connect(fifo)
        self.broker.reload('reload')
        fifo.let()
        self.assertEqual(c.expect(CONNACK).reason, 0)

    def test_its_thread_bears_its_name_and_takes_no_signals(self):
        tasks = f'/proc/{self.broker.pid}/task'
        found = []
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/status', encoding='ascii') as f:
                status = f.read()
            if re.search(r'^Name:\s+pg-worker_gate_$', status, re.M):  # the kernel's 15 characters
                blocked = int(re.search(r'^SigBlk:\s+(\w+)', status, re.M).group(1), 16)
                for signo in (1, 2, 15):
                    self.assertTrue(blocked >> (signo - 1) & 1, signo)
                found.append(task)
        self.assertEqual(len(found), 1)


class Deadline(GateCase):
    name = 'worker_gate_auth'
    options = {'plugins': {**gate('worker_gate_auth', deadline='2s'), **NUMBERS}}

    def test_the_deadline_denies_while_the_plugin_blocks(self):
        fifo = self.fifo()
        self.numbers.mark('hook_deadlines', 'hook_late')
        c = self.raw(self.id('c'), username=f'block-{fifo.name}')
        c.send_connect()
        self.assertEqual(c.expect(CONNACK).reason, 0x87)
        c.expect_close()
        self.numbers.grown('hook_deadlines', 1)
        fifo.let()
        self.numbers.grown('hook_late', 1)
        self.client('after').ping()


class DeadlineNext(GateCase):
    name = 'worker_gate_auth'
    options = {'plugins': {**gate('worker_gate_auth', deadline='200ms', on_deadline='next'),
                           **plugin('auth_static', {'users': ['block-next:secret']}), **NUMBERS},
               'chains': {'authenticate': ['worker_gate_auth', 'auth_static'],
                          'authorize': ['auth_static']}}

    def test_the_next_entry_is_asked_when_the_plugin_blocks_too_long(self):
        fifo = self.fifo('next')
        for password, reason in (('wrong', 0x86), ('secret', 0)):
            with self.subTest(password=password):
                c = self.raw(self.id('c'), username='block-next', password=password)
                c.send_connect()
                self.assertEqual(c.expect(CONNACK).reason, reason)
        fifo.let(b'dd')  # what it says now is too late
        c.ping()


class Full(GateCase):
    options = {'plugins': {**gate(deadline='1h', max_pending=3), **NUMBERS},
               'connect_timeout': '1h'}

    def test_too_many_questions_are_denied_at_once(self):
        fifo = self.fifo()
        clients = [self.client(f'c{n}') for n in range(4)]
        for n, c in enumerate(clients[:3]):
            c.send(mqtt.publish(f'block/{fifo.name}', b'', qos=1, mid=1))
            while self.numbers.get('hook_pending') != n + 1:
                self.numbers._take()
        self.assertEqual(clients[3].publish('x', b'', qos=1), 0x97)
        late = self.raw(self.id('late'))
        late.send_connect()
        self.assertEqual(late.expect(CONNACK).reason, 0x89)
        late.expect_close()
        fifo.let(b'aaa')
        for c in clients[:3]:
            c.expect(PUBACK, mid=1)


class Facts(GateCase):
    name = 'worker_gate_facts'
    options = {'plugins': {**gate('worker_gate_facts'), **NUMBERS}}
    BOUND, N = 10000, 12000

    def test_facts_beyond_the_bound_are_dropped_and_counted(self):
        fifo = self.fifo()
        n = self.numbers
        n.mark('blocked')
        c = self.client()
        c.publish(f'block-fact/{fifo.name}')
        n.grown('blocked', 1)
        fact = mqtt.publish(f'fact/{self.topic()}', b'')
        for _ in range(self.N // 100):
            c.send(*[fact] * 100)
        c.ping()
        while n.get('events_lost') < self.N - self.BOUND:
            n._take()
        lost = n.get('events_lost')
        self.assertEqual(n.get('facts'), 0)
        fifo.let()
        while n.get('facts') + lost < self.N - 100:  # facts of $SYS take their places, too
            n._take()
        self.assertLessEqual(n.get('facts'), self.BOUND)
        before = n.get('facts')
        c.send(fact)
        while n.get('facts') == before:
            n._take()
        self.assertEqual(n.get('strayed'), 0)


class Services(GateCase):
    """What the host offers, from the thread of a worker."""

    options = {'plugins': {**gate(), **NUMBERS}}

    def did(self, what):
        c = self.client('did')
        c.subscribe(f'did/{what}', qos=1)
        return c

    def do(self, what):
        self.assertIn(self.client('do').publish(f'do/{what}', b'', qos=1), (0, 0x10))

    def subscribe(self):
        """Has the plugin subscribe. Its event loop makes the subscription, before it sends what the plugin
        says later."""
        self.do('subscribe')
        later = self.subscriber('did/loop', name='later', qos=1)
        self.do('loop')
        later.message('did/loop', b'worker')
        later.disconnect()

    def check(self, what, payload=b''):
        c = self.did(what)
        self.do(what)
        c.message(f'did/{what}', payload)
        self.assertEqual(self.numbers.get('strayed'), 0)

    def test_publish_is_routed_and_its_end_told_to_the_worker(self):
        self.numbers.mark('done')
        self.check('publish')
        self.numbers.grown('done', 1)

    def test_a_timer_runs_on_the_worker(self):
        self.check('timer')

    def test_a_descriptor_is_watched_on_the_worker(self):
        self.check('fd', b'x')

    def test_post_from_another_thread_runs_on_the_worker(self):
        self.check('post')

    def test_functions_of_the_loop_are_refused_to_other_threads_and_reported(self):
        since = len(self.broker.log)
        c = self.did('stray')
        self.do('stray')
        if c.message('did/stray').payload == b'accepted':
            self.skipTest('a release build does not look')
        for function in ('timer', 'fd', 'subscribe'):
            line = self.broker.wait_log(f'function={function}', since)
            self.assertIn('plugin_wrong_thread', line)
            self.assertIn('plugin=worker_gate', line)

    def test_the_host_says_that_it_is_no_event_loop(self):
        self.check('loop', b'worker')

    def test_kick_from_the_worker(self):
        c = self.client('victim')
        self.do('kick/' + self.id('victim'))
        c.expect(DISCONNECT, reason=0x98)

    def test_subscriptions_are_served_on_the_worker_one_message_after_the_other(self):
        did, pub = self.did('deliver'), self.client('pub')
        self.subscribe()
        for n in range(50):
            pub.publish('sub/free', str(n), qos=n % 2)
        for n in range(50):
            did.message('did/deliver', str(n))
        for n in range(3):
            pub.publish('sub/wait', str(n), qos=1)
        for n in range(3):
            did.message('did/deliver', str(n))
            did.expect_nothing()
            self.do('answer')
        self.do('unsubscribe')
        pub.publish('sub/free', 'unheard', qos=1)
        self.subscribe()
        pub.publish('sub/wait', 'again', qos=1)
        did.message('did/deliver', 'again')
        self.numbers.mark('cancelled')
        self.do('unsubscribe')  # while the message is still with the plugin
        self.numbers.grown('cancelled', 1)
        self.assertEqual(self.numbers.get('strayed'), 0)

    def test_a_subscription_may_end_before_the_event_loop_has_made_it(self):
        for _ in range(10):
            self.check('flicker')
        did, pub = self.did('deliver'), self.client('pub')
        pub.publish('sub/free', 'unheard', qos=1)
        self.subscribe()
        pub.publish('sub/free', 'heard once', qos=1)
        did.message('did/deliver', 'heard once')
        did.expect_nothing()
        self.do('unsubscribe')


class Order(GateCase):
    options = {'plugins': {**gate(workers=1), **NUMBERS}}

    def test_all_questions_about_a_client_come_in_order_to_one_thread(self):
        self.numbers.mark('freed')
        clients = [self.client(f'c{n}') for n in range(12)]
        for number in range(1, 101):
            for c in clients:
                c.send(mqtt.publish(f'order/{number}', str(number), qos=1, mid=number))
        for c in clients:
            for number in range(1, 101):
                c.expect(PUBACK, mid=number)
        for c in clients:
            c.send(mqtt.disconnect())
            c.expect_close()
        self.numbers.reached('freed', len(clients))  # the test before leaves some, too
        self.assertEqual(self.numbers.get('disorder'), 0)
        self.assertEqual(self.numbers.get('strayed'), 0)

    def test_a_subscribe_that_blocks_is_answered_for_all_filters_at_once(self):
        fifo = self.fifo()
        c = self.client()
        self.numbers.mark('blocked')
        c.send(mqtt.subscribe([('free', 1), (f'block/{fifo.name}', 1)]))
        self.numbers.grown('blocked', 1)
        c.expect_nothing()
        fifo.let(b'd')
        self.assertEqual(c.expect(SUBACK).reasons, [1, 0x87])


class OrderOfFour(Order):
    options = {'plugins': {**gate(workers=4), **NUMBERS}}

    def test_other_workers_go_on_while_one_blocks(self):
        fifo = self.fifo()
        blocked = self.client('b')
        self.numbers.mark('blocked')
        blocked.send(mqtt.publish(f'block/{fifo.name}', b'', qos=1, mid=1))
        self.numbers.grown('blocked', 1)
        served, answers = [], threading.Semaphore(0)

        def knock(c):
            c.send_connect()
            if c.recv(mqtt.DEADLINE).type == CONNACK:
                served.append(c)
                answers.release()

        knocking = [self.raw(self.id(f'k{n}')) for n in range(32)]
        threads = [threading.Thread(target=knock, args=(c,)) for c in knocking]
        for t in threads:
            t.start()
        for _ in range(4):  # of 32 clients three quarters have another worker
            self.assertTrue(answers.acquire(timeout=mqtt.DEADLINE))
        blocked.expect_nothing()
        fifo.let()
        for t in threads:
            t.join()
        self.assertEqual(len(served), len(knocking))
        blocked.expect(PUBACK, mid=1)


class Single(GateCase):
    name = 'worker_gate_single'
    options = {'plugins': {**gate('worker_gate_single'), **NUMBERS}}

    def test_a_single_instance_has_one_worker(self):
        fifo = self.fifo()
        c = self.client()
        c.send(mqtt.publish(f'block/{fifo.name}', b'', qos=1, mid=1))
        c.expect_nothing()
        fifo.let()
        c.expect(PUBACK, mid=1)
        self.assertEqual(self.numbers.get('strayed'), 0)


class Stop(PluginCase):
    options = {}

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self._clients = []

    def stopped(self, let):
        """(exit code, log) of a broker that is told to stop while its plugin blocks."""
        folder = tempfile.mkdtemp(prefix='pigeon-test-')
        options = {'plugins': {**gate(deadline='1h'), **NUMBERS}}
        options['plugins']['worker_gate']['options']['dir'] = folder
        fifo = Fifo(folder, 'f')
        b = Broker(options).start()
        try:
            numbers = mqtt.Client(b, 'numbers')
            numbers.connect()
            numbers = Numbers(numbers, 'worker_gate')
            numbers.mark('blocked')
            c = mqtt.Client(b, 'c')
            c.connect()
            c.send(mqtt.publish('block/f', b'', qos=1, mid=1))
            numbers.grown('blocked', 1)
            b.process.terminate()
            b.wait_log('stopping')
            if let:
                fifo.let()
            return b.stop(term=False), '\n'.join(b.log)
        finally:
            b.cleanup()
            os.close(fifo.fd)
            shutil.rmtree(folder, ignore_errors=True)

    def test_a_plugin_that_comes_back_in_time_is_waited_for(self):
        code, log = self.stopped(let=True)
        self.assertEqual(code, 0, log)
        self.assertNotIn('plugin_stuck', log)

    def test_a_plugin_that_does_not_come_back_is_given_up(self):
        code, log = self.stopped(let=False)
        self.assertEqual(code, 1, log)
        self.assertIn('plugin_stuck', log)
        self.assertIn('stop_forced', log)


class Refused(PluginCase):
    """What `pigeond -t` says."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='pigeon-test-')

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        self._clients = []

    def judge(self, plugins, **more):
        return judge({'plugins': plugins, 'plugins_dir': plugin_dirs(Broker.binary()), **more},
                     self.folder)

    def test_the_chain_and_the_file_say_how_many_workers(self):
        code, out = self.judge(gate(workers=4))
        self.assertEqual(code, 0, out)
        self.assertIn('worker_gate(decide, worker x4, 5s, deny)', out)
        self.assertIn('one instance per worker, worker x4', out)

    def test_authorize_deliver_cannot_wait_for_a_worker(self):
        code, out = self.judge(gate('worker_gate_deliver'))
        self.assertNotEqual(code, 0)
        self.assertIn('authorize_deliver must answer at once', out)
        self.assertIn('acl_add()', out)
        self.assertIn('run: inline', out)

    def test_a_single_instance_cannot_have_several_workers(self):
        code, out = self.judge(gate('worker_gate_single', workers=2))
        self.assertNotEqual(code, 0)
        self.assertRegex(out, r"test\.yaml:\d+:\d+: error: 'workers' must be 1")

    def test_a_plugin_that_may_block_does_not_run_inline(self):
        code, out = self.judge(plugin('worker_gate'))
        self.assertNotEqual(code, 0)
        self.assertIn('it may block: set run: worker in its block (the default is inline)', out)

    def test_a_store_is_not_run_by_workers(self):
        code, out = self.judge({'store-memory': {'run': 'worker'}}, persistence='memory')
        self.assertNotEqual(code, 0)
        self.assertRegex(out, r"test\.yaml:\d+:\d+: error: 'run: worker' is not for")
