"""docs/plugin-guide.md does what it says: its listings are compiled against the installed headers, its commands run.

Comments in the page mark what is used: `<!-- file: NAME -->` a complete file, `<!-- run -->` commands, `<!-- start -->`
a broker to leave running, `<!-- output -->` what the commands before it print. Each section has a directory of its own.
"""

import os
import re
import shutil
import subprocess
import tempfile
import threading
import unittest

import broker
import mqtt
from broker import LISTENING, START_DEADLINE
from plugin_case import ROOT, Broker, judge
from mqtt import AUTH, CONNACK, auth, connect

GUIDE = os.path.join(ROOT, 'docs', 'plugin-guide.md')
MARKED = re.compile(r'<!-- (file|run|start|output)(?:: (\S+))? -->\n```\w+\n(.*?)^```$', re.S | re.M)
WARN = '-Wall -Wextra -Werror -Wno-missing-field-initializers'


def guide():
    with open(GUIDE, encoding='utf-8') as f:
        return f.read()


def sections():
    """{heading: [(kind, name, text)]} of what is marked."""
    out = {}
    for part in re.split(r'^## ', guide(), flags=re.M)[1:]:
        heading = part.split('\n', 1)[0]
        out[heading.split(':')[0]] = MARKED.findall(part)
    return out


def edit(path, pattern, text):
    with open(path, encoding='utf-8') as f:
        old = f.read()
    with open(path, 'w', encoding='utf-8') as f:
        f.write(re.sub(pattern, lambda _: text, old, flags=re.M))


class Section:
    """One section of the guide in a directory of its own, with the broker that it starts."""

    def __init__(self, steps, sdk):
        self.steps, self.sdk = steps, sdk
        self.dir = tempfile.mkdtemp(prefix='pigeon-test-')
        self.process, self.port, self.log = None, 1883, []
        plugins = os.path.join(self.dir, '.plugins')  # as if it were the broker's own
        shutil.copytree(sdk.find('store-memory.so'), plugins)
        installed = os.path.join(self.dir, '.bin', 'pigeond')
        os.mkdir(os.path.dirname(installed))
        with open(installed, 'w', encoding='utf-8') as f:
            f.write(f'#!/bin/sh\nexec {Broker.binary()} -o plugins_dir=[{plugins}] "$@"\n')
        os.chmod(installed, 0o755)
        pc = os.path.join(self.dir, '.pc')
        shutil.copytree(sdk.pkgconfig, pc)
        edit(os.path.join(pc, 'pigeon-plugin.pc'), r'^pluginsdir=.*$', f'pluginsdir={plugins}')
        self.env = dict(os.environ, LC_ALL='C', PKG_CONFIG_PATH=pc, LD_LIBRARY_PATH=sdk.libdir,
                        PATH=f'{os.path.dirname(installed)}:{sdk.bin}:{os.environ["PATH"]}')

    def command(self, text):
        return text.replace('-p 1883', f'-p {self.port}')

    def start(self, text):
        text = text.replace('-p 1883', '-p 0')
        self.process = subprocess.Popen(['sh', '-ec', f'exec {text}'], cwd=self.dir, env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        up = threading.Event()

        def read():
            for line in self.process.stderr:
                self.log.append(line)
                found = LISTENING.search(line)
                if found and not up.is_set():
                    self.port = int(found.group(2))
                    up.set()
            up.set()
        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        if not up.wait(START_DEADLINE) or self.port == 1883:
            raise AssertionError(f'does not listen: {text}\n{"".join(self.log)}')

    def run(self):
        printed = None
        for kind, name, text in self.steps:
            if kind == 'file':
                with open(os.path.join(self.dir, name), 'w', encoding='utf-8') as f:
                    f.write(text)
            elif kind == 'start':
                self.start(text)
            elif kind == 'run':
                done = subprocess.run(['sh', '-ec', self.command(text)], cwd=self.dir, env=self.env,
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      timeout=mqtt.DEADLINE + 60)
                if done.returncode != 0:
                    raise AssertionError(f'{text}\n{done.stdout}{done.stderr}{"".join(self.log)}')
                printed = done.stdout
            elif printed != text:
                raise AssertionError(f'printed:\n{printed}expected:\n{text}{"".join(self.log)}')

    def stop(self):
        code = 0
        if self.process:
            self.process.terminate()
            code = self.process.wait(broker.STOP_DEADLINE)
            self.reader.join()
        shutil.rmtree(self.dir)
        return code


class Sdk:
    """What `meson install --destdir` gives to an author."""

    def __init__(self):
        build = os.path.dirname(Broker.binary())
        self.root = tempfile.mkdtemp(prefix='pigeon-test-')
        done = subprocess.run(['meson', 'install', '-C', build, '--destdir', self.root, '--no-rebuild',
                               '--quiet'], capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        self.pkgconfig = self.find('pigeon-plugin.pc')
        self.libdir = self.find('libpigeon-mock.so')
        self.bin = self.find('pigeon-plugin') or '/nowhere'
        for name in os.listdir(self.pkgconfig):  # as if it were the prefix it was configured for
            edit(os.path.join(self.pkgconfig, name), r'^prefix=', f'prefix={self.root}')

    def find(self, name):
        for here, _, files in os.walk(self.root):
            if name in files:
                return here
        return None

    def cflags(self):
        return subprocess.run(['pkg-config', '--cflags', 'pigeon-plugin'], check=True, text=True,
                              capture_output=True,
                              env=dict(os.environ, PKG_CONFIG_PATH=self.pkgconfig)).stdout.split()


class GuideCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if broker.KIND != 'pigeon' or os.environ.get('PIGEON_TEST_THREADS', '1') != '1':
            raise unittest.SkipTest('one run is enough')
        if not shutil.which('pkg-config') or not shutil.which('meson'):
            raise unittest.SkipTest('pkg-config or meson is not there')
        cls.sdk = Sdk()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.sdk.root)

    def section(self, heading):
        s = Section(sections()[heading], self.sdk)
        self.addCleanup(lambda: self.assertEqual(s.stop(), 0))
        return s

    def compile(self, section, name, compiler='cc', std='gnu11'):
        """A listing of the section, as the guide says, but with more warnings."""
        text = next(t for k, n, t in section.steps if k == 'file' and n == name)
        with open(os.path.join(section.dir, name), 'w', encoding='utf-8') as f:
            f.write(text)
        out = os.path.join(section.dir, name[:-2] + '.so')
        done = subprocess.run([compiler, f'-std={std}', *WARN.split(), '-shared', '-fPIC',
                               *self.sdk.cflags(), os.path.join(section.dir, name), '-o', out],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out


class Commands(GuideCase):
    """The sections that can be typed as they are."""

    def walk(self, heading):
        if not shutil.which('mosquitto_pub'):
            self.skipTest('mosquitto-clients is not installed')
        s = self.section(heading)
        s.run()
        return s

    def test_the_first_plugin_works_when_typed_as_written(self):
        s = self.walk('First plugin in ten minutes')
        self.assertTrue(any('welcome, alice' in line for line in s.log), ''.join(s.log))

    def test_the_first_plugin_is_short(self):
        text = next(t for k, n, t in sections()['First plugin in ten minutes'] if n == 'hello_auth.c')
        self.assertLessEqual(text.count('\n'), 55)

    def test_auth(self):
        self.walk('auth')

    def test_flow(self):
        self.walk('flow')

    def test_events(self):
        self.walk('events')

    def test_store(self):
        self.walk('store')

    def test_options(self):
        self.walk('Options and reload')

    def test_threads(self):
        self.walk('Threads and run modes')

    def test_control(self):
        self.walk('control')

    def test_late_answers(self):
        self.walk('Late answers, deadlines, cancel')

    def test_testing(self):
        mock = os.path.join(self.sdk.libdir, 'libpigeon-mock.so')
        symbols = subprocess.run(['nm', '-D', '--undefined-only', mock], capture_output=True,
                                 text=True, check=True).stdout
        if re.search(r'__[at]san_', symbols):
            self.skipTest('a library with a sanitizer needs a program with one')
        self.walk('Testing')


class Contract(unittest.TestCase):
    """The tables of the contract know every function there is."""

    TABLES = {'plugin.h': ['pigeon_plugin'], 'host.h': ['pigeon_host'], 'auth.h': ['pigeon_auth'],
              'flow.h': ['pigeon_flow'], 'events.h': ['pigeon_events'], 'store.h': ['pigeon_store'],
              'bus.h': ['pigeon_bus'], 'control.h': ['pigeon_control']}

    def test_every_function_of_every_table_has_its_row(self):
        rows = guide().split('## The contract')[1].split('\n## ')[0]
        told = set(re.findall(r'`(\w+)`', '\n'.join(line for line in rows.splitlines()
                                                    if line.startswith('| '))))
        for header, structs in self.TABLES.items():
            with open(os.path.join(ROOT, 'include', 'pigeon', header), encoding='utf-8') as f:
                text = f.read()
            for struct in structs:
                body = re.search(rf'typedef struct {struct} \{{(.*?)\}} {struct};', text, re.S).group(1)
                functions = re.findall(r'\(\*(\w+)\)\(', body)
                self.assertTrue(functions, struct)
                self.assertEqual([f for f in functions if f not in told], [], struct)


class Migration(unittest.TestCase):
    """docs/migrating-plugins.md knows every name of the other side, and only names of ours that exist."""

    MOSQUITTO = '/usr/include/mosquitto_broker.h', '/usr/include/mosquitto_plugin.h'
    NAMES = """
        MOSQ_EVT_RELOAD MOSQ_EVT_ACL_CHECK MOSQ_EVT_BASIC_AUTH MOSQ_EVT_EXT_AUTH_START MOSQ_EVT_EXT_AUTH_CONTINUE
        MOSQ_EVT_CONTROL MOSQ_EVT_MESSAGE MOSQ_EVT_PSK_KEY MOSQ_EVT_TICK MOSQ_EVT_DISCONNECT MOSQ_EVT_MESSAGE_IN
        MOSQ_EVT_MESSAGE_OUT MOSQ_EVT_CONNECT MOSQ_EVT_SUBSCRIBE MOSQ_EVT_UNSUBSCRIBE MOSQ_EVT_CLIENT_OFFLINE
        mosquitto_plugin_version mosquitto_plugin_init mosquitto_plugin_cleanup mosquitto_auth_plugin_version
        mosquitto_auth_plugin_init mosquitto_auth_plugin_cleanup mosquitto_auth_security_init
        mosquitto_auth_security_cleanup mosquitto_auth_acl_check mosquitto_auth_unpwd_check
        mosquitto_auth_psk_key_get mosquitto_auth_start mosquitto_auth_continue mosquitto_callback_register
        mosquitto_callback_unregister mosquitto_calloc mosquitto_free mosquitto_malloc mosquitto_realloc
        mosquitto_strdup mosquitto_log_printf mosquitto_client_address mosquitto_client_clean_session
        mosquitto_client_id mosquitto_client_keepalive mosquitto_client_certificate mosquitto_client_protocol
        mosquitto_client_protocol_version mosquitto_client_sub_count mosquitto_client_username
        mosquitto_set_username mosquitto_kick_client_by_clientid mosquitto_kick_client_by_username
        mosquitto_broker_publish mosquitto_broker_publish_copy
        preConnect authenticate authorizePublish authorizeSubscribe authorizeForward published
        client clientReady clientDisconnect clientError connectionError keepaliveTimeout connackSent publish ack ping
        subscribe unsubscribe closed error willDropped sessionExpired sessionLimitReached
        id mq persistence concurrency queueLimit maxClientsIdLength connectTimeout heartbeatInterval keepaliveLimit
        drainTimeout maxTopicLevels maxInflightInbound trustProxy trustedProxies decodeProtocol topicAliasMaximum
        maximumPacketSize receiveMaximum sessionExpiryIntervalLimit pendingSessionsLimit responseInformation
        setup storeRetained createRetainedStream createRetainedStreamCombi addSubscriptions removeSubscriptions
        subscriptionsByClient subscriptionsByTopic cleanSubscriptions countOffline getClientList outgoingEnqueue
        outgoingEnqueueCombi outgoingUpdate outgoingClearMessageId outgoingStream incomingStorePacket
        incomingGetPacket incomingDelPacket cleanIncoming putWill getWill delWill streamWill destroy
        emit on removeListener removeAllListeners close current length separator wildcardOne wildcardSome
        matchEmptyLevels ListenOn Topic Payload Credential Host onHeartBeat""".split()

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(ROOT, 'docs', 'migrating-plugins.md'), encoding='utf-8') as f:
            cls.text = f.read()
        # What stands left of the last column of a table.
        cls.left = set(re.findall(r'\w+', ' '.join(line.rsplit(' | ', 1)[0] for line in
                                                   cls.text.splitlines() if line.startswith('| '))))

    def test_every_name_of_the_other_side_is_there(self):
        names = set(self.NAMES)
        for path in self.MOSQUITTO:
            if os.path.exists(path):
                with open(path, encoding='utf-8') as f:
                    names |= set(re.findall(r'\bMOSQ_EVT_\w+(?= =)|\bmosquitto_\w+(?=\()', f.read()))
        self.assertEqual(sorted(names - self.left), [])

    def test_our_own_names_exist(self):
        headers = ''
        for folder in ('include/pigeon', 'src/config'):
            for here, _, files in os.walk(os.path.join(ROOT, folder)):
                for name in files:
                    with open(os.path.join(here, name), encoding='utf-8') as f:
                        headers += f.read()
        ours = set(re.findall(r'\b(?:PIGEON_[A-Z0-9_]*[A-Z0-9]|pigeon_[a-z0-9_]+)\b', self.text))
        ours |= set(re.findall(r'host->(\w+)', self.text))
        ours |= {w for s in re.findall(r'`limits\.(\w+)`', self.text) for w in [s]}
        self.assertGreater(len(ours), 60)
        missing = sorted(w for w in ours if not re.search(rf'\b{w}\b', headers) and w not in
                         ('pigeon_mqtt',))
        self.assertEqual(missing, [])


class Listings(GuideCase):
    def test_each_listing_compiles_without_warnings(self):
        n = 0
        for heading, steps in sections().items():
            for kind, name, text in steps:
                if kind == 'file' and name.endswith('.c') and 'PIGEON_PLUGIN(' in text:
                    for compiler, std in (('gcc', 'gnu99'), ('clang', 'gnu17')):
                        if shutil.which(compiler):
                            s = self.section(heading)
                            self.compile(s, name, compiler, std)
                            n += 1
        self.assertGreater(n, 10)

    def test_each_listing_keeps_the_contract(self):
        tool = os.path.join(self.sdk.bin, 'pigeon-plugin')
        for heading, steps in sections().items():
            for kind, name, text in steps:
                if kind == 'file' and 'PIGEON_PLUGIN(' in text:
                    so = self.compile(self.section(heading), name)
                    done = subprocess.run([tool, 'check', so], capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_greeting_changes_while_the_broker_runs(self):
        so = self.compile(self.section('Options and reload'), 'motd.c')
        options = {'plugins': {'motd': {'file': so, 'options': {'greeting': 'welcome'}}}}
        b = Broker(options).start()
        self.addCleanup(b.cleanup)

        def visit(name, text):
            c = mqtt.Client(b, name)
            c.connect()
            b.wait_log(f'{text}, {name}')
            c.disconnect()

        def reload(greeting, outcome):
            path = os.path.join(b.dir, 'pigeon.conf')
            edit(path, r'("greeting": )".*"', f'"greeting": "{greeting}"')
            b.reload(outcome)
        visit('one', 'welcome')
        reload('hello again', ' reloaded ')
        visit('two', 'hello again')
        reload('50% off', 'no percent signs here')
        visit('three', 'hello again')
        self.assertEqual(b.stop(), 0)

    def load(self, heading, name, **options):
        so = self.compile(self.section(heading), name)
        stem = os.path.basename(so)[:-3]
        b = Broker({'plugins': {stem: {'file': so}}, **options}).start()
        self.addCleanup(b.cleanup)
        return b

    def test_the_riddle_is_asked_and_answered(self):
        b = self.load('enhanced auth', 'riddle.c')
        for answers, end in (([b'mellon'], 0), ([b'x', b'y', b'mellon'], 0),
                             ([b'x', b'y', b'z'], 0x87)):
            with self.subTest(answers=answers):
                c = mqtt.Client(b, 'frodo', props={'authentication_method': 'RIDDLE',
                                                   'authentication_data': b''})
                c.send_connect()
                for answer in answers:
                    self.assertEqual(c.expect(AUTH).props['authentication_data'], b'speak, friend')
                    c.send(auth(0x18, {'authentication_method': 'RIDDLE',
                                       'authentication_data': answer}))
                self.assertEqual(c.expect(CONNACK).reason, end)
                c.close()
        c = mqtt.Client(b, 'sam', props={'authentication_method': 'OTHER'})
        c.connect(reason=0x8C)
        self.assertEqual(b.stop(), 0)

    def test_bus_and_control_are_taken(self):
        for heading, name, options in (('bus', 'bus-alone.c', {'bus': 'alone'}),
                                       ('control', 'greeter.c', {})):
            so = self.compile(self.section(heading), name)
            with tempfile.TemporaryDirectory(prefix='pigeon-test-') as tmp:
                code, text = judge({'plugins': {name[:-2]: {'file': so}}, **options}, tmp)
            self.assertEqual(code, 0, text)
            self.assertIn(f'{name[:-2]}: taken', text)
