"""The program: command line, exit codes, -t and -V, reload, stop."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import unittest

from broker import (LISTENER, STOP_DEADLINE, Broker, BrokerCase, merge, now, pigeon_only,
                    plugin_dirs)
import mqtt

OK, RUNTIME, USAGE, CONFIG, PLUGIN, LISTEN, STORE = range(7)
CHECK_LIMIT = 10.0  # seconds that plugins have in `-t`


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def test_plugin(name):
    return os.path.join(os.path.dirname(Broker.binary()), 'tests', 'plugin', name + '.so')


class Program(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix='pigeon-test-')
        self.addCleanup(place.cleanup)
        self.dir = place.name

    def file(self, text, name='p.yaml'):
        path = os.path.join(self.dir, name)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text if isinstance(text, str) else json.dumps(text))
        return path

    def config(self, **more):
        return self.file(merge({'plugins_dir': plugin_dirs(Broker.binary()),
                                'listeners': [dict(LISTENER, port=0)]}, more))

    def pigeond(self, *args, timeout=60):
        """(exit code, stdout, stderr)"""
        done = subprocess.run([Broker.binary(), *map(str, args)], capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL, check=False)
        return done.returncode, done.stdout, done.stderr


@pigeon_only
class CommandLine(Program):
    def test_help_documents_the_exit_codes(self):
        code, out, _ = self.pigeond('--help')
        self.assertEqual(code, OK)
        for n in range(7):
            self.assertRegex(out, rf'(?m)^  {n}  \w')

    def test_what_is_not_understood_is_2(self):
        for args in (['--nonsense'], ['-p', '65536'], ['-o', 'novalue'], ['-c'], ['stray']):
            code, out, err = self.pigeond(*args)
            self.assertEqual((code, out), (USAGE, ''), args)
            self.assertIn('pigeond: ', err)

    def test_the_version_names_abi_features_and_plugins(self):
        code, out, err = self.pigeond('-c', self.config(), '-V')
        self.assertEqual((code, err), (OK, ''))
        self.assertRegex(out, r'^pigeond \d+\.\d+\.\d+\nplugin ABI: 1\.\d+\nfeatures: ')
        self.assertRegex(out, r'  store-memory: taken, .*store-memory\.so')
        self.assertRegex(out, r'  sys: available, ')

    def test_the_version_runs_no_code_of_plugins(self):
        place = os.path.join(self.dir, 'plugins')
        os.mkdir(place)
        os.symlink(test_plugin('no-note'), os.path.join(place, 'no-note.so'))
        code, out, _ = self.pigeond('-o', f'plugins_dir={place}', '-V')
        self.assertEqual(code, OK)
        self.assertIn('no-note: ignored', out)

    def test_all_errors_of_a_configuration_are_printed_and_the_code_is_3(self):
        path = self.file('thread: 2\nlimits: { packet_size: many }\nlog: { level: loud }\n')
        for args in (['-c', path], ['-t', '-c', path]):
            code, _, err = self.pigeond(*args)
            self.assertEqual(code, CONFIG)
            self.assertIn(f'{path}:1:1: error: ', err)
            self.assertIn(f'{path}:2:24: error: ', err)
            self.assertIn(f'{path}:3:15: error: ', err)
            self.assertIn("did you mean 'threads'", err)

    def test_a_missing_file_is_3(self):
        code, _, err = self.pigeond('-c', '/nowhere/p.yaml')
        self.assertEqual(code, CONFIG)
        self.assertIn('/nowhere/p.yaml', err)
        self.assertIn('No such file', err)

    def test_an_open_listener_without_authentication_is_3(self):
        path = self.config(listeners=[dict(LISTENER, port=0, bind=['0.0.0.0'])])
        for args in (['-c', path], ['-t', '-c', path]):
            code, _, err = self.pigeond(*args)
            self.assertEqual(code, CONFIG)
            self.assertIn('allow_anonymous', err)

    def test_a_plugin_that_is_refused_is_4(self):
        for name in ('bad-magic', 'check-fails', 'create-fails'):
            path = self.config(plugins={'x': {'file': test_plugin(name)}})
            code, _, err = self.pigeond('-c', path)
            self.assertEqual(code, PLUGIN, name)
            self.assertIn('plugin_refused', err)

    def test_a_port_in_use_is_5(self):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            s.listen()
            code, _, err = self.pigeond('-c', self.config(), '-p', s.getsockname()[1])
        self.assertEqual(code, LISTEN)
        self.assertIn('listen_refused', err)
        self.assertIn('Address already in use', err)

    def test_a_state_directory_that_cannot_be_made_is_6(self):
        code, _, err = self.pigeond('-c', self.config(state_dir='/proc/nowhere/state'))
        self.assertEqual(code, STORE)
        self.assertIn('/proc/nowhere/state', err)
        self.assertIn('No such file', err)


@pigeon_only
class Test(Program):
    """pigeond -t"""

    def judge(self, **options):
        return self.pigeond('-t', '-c', self.config(**options))

    def test_what_would_run_is_printed(self):
        code, out, err = self.judge(plugins={'sys': {}})
        self.assertEqual((code, err), (OK, ''))
        for pattern in (r'^threads: \d+$', r'^  default: 127\.0\.0\.1 on any free port, mqtt, ',
                        r'^  store-memory: taken, ', r'^  authenticate: ', r'^  events: sys',
                        r'^test passed$'):
            self.assertRegex(out, '(?m)' + pattern)

    def test_no_port_is_opened(self):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            s.listen()
            code, _, _ = self.pigeond('-t', '-c', self.config(), '-p', s.getsockname()[1])
        self.assertEqual(code, OK)

    def test_a_plugin_that_does_not_like_its_options_fails(self):
        code, out, err = self.judge(plugins={'x': {'file': test_plugin('check-fails')}})
        self.assertEqual(code, PLUGIN)
        self.assertIn('test failed', out)
        self.assertIn('there is none', err)

    def test_a_plugin_that_crashes_is_named(self):
        code, out, err = self.judge(plugins={'x': {'file': test_plugin('check-crashes')}})
        self.assertEqual(code, PLUGIN)
        self.assertIn('test failed', out)
        self.assertIn('crashed (SIGABRT)', err)
        self.assertIn('check-crashes.so', err)

    def test_a_plugin_that_hangs_is_named_and_ended(self):
        began = now()
        code, out, err = self.judge(plugins={'x': {'file': test_plugin('check-hangs')}})
        self.assertEqual(code, PLUGIN)
        self.assertIn('test failed', out)
        if 'ended by SIGKILL' not in err:  # ThreadSanitizer keeps signals from a busy thread
            self.assertIn('took too long', err)
            self.assertIn('check-hangs.so', err)
        self.assertLess(now() - began, 2 * CHECK_LIMIT)


@pigeon_only
class NodeId(BrokerCase):
    def node(self):
        return re.findall(r'\bstarting\b.*\bnode=(\S+)', '\n'.join(self.broker.log))[-1]

    def test_it_is_made_once_and_kept(self):
        path = os.path.join(self.broker.state_dir, 'node-id')
        first = self.node()
        with open(path, encoding='ascii') as f:
            self.assertEqual(f.read(), first + '\n')
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.broker.restart()
        self.assertEqual(self.node(), first)


@pigeon_only
class Reload(unittest.TestCase):
    """SIGHUP; every test has a broker of its own."""

    def start(self, **options):
        self.broker = Broker(options)
        self.addCleanup(self.end)
        self.broker.start()
        self.path = os.path.join(self.broker.dir, 'pigeon.conf')
        with open(self.path, encoding='utf-8') as f:
            self.options = json.load(f)

    def end(self):
        try:
            self.assertEqual(self.broker.stop(), OK, self.broker.report())
        finally:
            self.broker.cleanup()

    def reload(self, outcome, text=None, **changes):
        """Rewrites the configuration, sends SIGHUP, waits for its outcome; the lines about it."""
        with open(self.path, 'w', encoding='utf-8') as f:
            f.write(text or json.dumps(merge(self.options, changes)))
        return self.broker.reload(f' {outcome} ')

    def client(self, port, name, **kw):
        where = type('Where', (), {'address': ('127.0.0.1', port)})
        c = mqtt.Client(where, name, **kw)
        self.addCleanup(c.close)
        c.connect()
        return c

    def test_limits_change_and_clients_stay(self):
        self.start()
        port = self.broker.ports['default']
        c = self.client(port, 'stays')
        log = self.reload('reloaded', limits={'packet_size': '2k'}, log={'level': 'debug'})
        self.assertIn('key=limits.packet_size', log)
        self.assertIn('key=log.level', log)
        self.assertIn('changed=2 need_restart=0', log)
        c.ping()
        self.broker.wait_log('packet_in type=PINGREQ')
        self.assertEqual(self.client(port, 'new').connack.props.get('maximum_packet_size'), 2048)

    def test_what_needs_a_restart_is_said_by_key(self):
        self.start()
        log = self.reload('reloaded', threads=7, queue_limit=7)
        self.assertRegex(log, r'reload_needs_restart key=threads from=\d to=7')
        self.assertIn('changed=1 need_restart=1', log)

    def test_a_wrong_configuration_changes_nothing(self):
        self.start()
        port = self.broker.ports['default']
        c = self.client(port, 'stays')
        log = self.reload('reload_refused', text='limits: { packet_size: 2k }\nnonsense: 1\n')
        self.assertIn("unknown key 'nonsense'", log)
        c.ping()
        self.assertNotEqual(self.client(port, 'new').connack.props.get('maximum_packet_size'),
                            2048)

    def test_opening_a_listener_to_the_network_needs_authentication(self):
        self.start()
        log = self.reload('reload_refused', listeners=[dict(LISTENER, bind=['0.0.0.0'])])
        self.assertIn('allow_anonymous', log)

    def test_listeners_come_and_go(self):
        first, second, third = (dict(LISTENER, name=n, port=free_port()) for n in ('default', 'b', 'c'))
        self.start(listeners=[first, second])
        stays = [self.client(one['port'], one['name']) for one in (first, second)]
        log = self.reload('reloaded', listeners=[third, second])
        self.assertIn('listener_closed listener=default', log)
        self.assertIn('listening listener=c', log)
        for c in stays:
            c.ping()
        self.client(second['port'], 'x').ping()
        self.client(third['port'], 'y').ping()
        with self.assertRaises(OSError):
            self.client(first['port'], 'z')

    def test_a_listener_is_opened_anew_for_another_port(self):
        one = dict(LISTENER, port=free_port())
        self.start(listeners=[one])
        c = self.client(one['port'], 'stays')
        other = free_port()
        self.reload('reloaded', listeners=[dict(one, port=other)])
        c.ping()
        self.client(other, 'x').ping()

    def test_a_listener_that_cannot_be_opened_changes_nothing(self):
        one = dict(LISTENER, port=free_port())
        self.start(listeners=[one])
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            s.listen()
            more = dict(LISTENER, name='more', port=s.getsockname()[1])
            log = self.reload('reload_refused', listeners=[more], queue_limit=7)
        self.assertIn('listen_refused', log)
        self.client(one['port'], 'x').ping()

    def test_again_and_again_under_traffic(self):
        self.start(limits={'packet_size': '1M'})
        port = self.broker.ports['default']
        sub, pub = self.client(port, 's'), self.client(port, 'p')
        sub.subscribe('again/#', qos=1)
        for i in range(20):
            self.reload('reloaded', limits={'packet_size': f'{i + 2}k'})
            for _ in range(10):
                pub.publish('again/x', b'%d' % i, 1)
                self.assertEqual(sub.message().payload, b'%d' % i)


@pigeon_only
class Stop(BrokerCase):
    def test_sigint_is_as_good_as_sigterm(self):
        c = self.client(version=5)
        os.kill(self.broker.pid, signal.SIGINT)
        c.expect_close(0x8B, required=True)
        self.assertEqual(self.broker.stop(term=False), OK)
        self.broker.start()

    def test_a_client_that_does_not_read_does_not_hold_it_up(self):
        frozen = self.client('frozen')
        frozen.subscribe('flood', qos=0)
        pub = self.client('pub')
        for _ in range(200):
            pub.publish('flood', b'x' * 50000, 0)
        pub.ping()
        began = now()
        os.kill(self.broker.pid, signal.SIGTERM)
        self.assertEqual(self.broker.stop(term=False), OK)
        self.assertLess(now() - began, 5)
        self.broker.start()


@pigeon_only
class StopWithoutAnswer(BrokerCase):
    """hold.c never answers a PUBLISH to hold/..."""

    options = {'plugins': {'hold': {'file': test_plugin('hold'), 'deadline': '1h'}}}

    def setUp(self):
        super().setUp()
        if not self.broker.alive:
            self.broker.start()

    def hold(self):
        c = self.client('c')
        c.send(mqtt.publish('hold/x', b'', qos=1, mid=1))
        os.kill(self.broker.pid, signal.SIGTERM)
        deadline = now() + STOP_DEADLINE
        while not any('stopping' in line for line in self.broker.log[self._log_from:]):
            self.assertLess(now(), deadline)

    def test_it_is_over_in_five_seconds(self):
        began = now()
        self.hold()
        self.assertEqual(self.broker.stop(term=False), OK)
        self.assertLess(now() - began, 5)

    def test_a_second_signal_ends_it_at_once(self):
        self.hold()
        os.kill(self.broker.pid, signal.SIGTERM)
        self.assertEqual(self.broker.stop(term=False), RUNTIME)
