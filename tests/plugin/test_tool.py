"""pigeon-plugin new, scan, doc and check, and what `meson install` gives to an author."""

import json
import os
import re
import shlex
import shutil
import subprocess

import mqtt
from plugin_case import Broker
from tool_case import STRICT, TOOL, Installed, ToolCase, build_options, built, check, run, tool

KINDS = ('auth', 'flow', 'events', 'store', 'bus', 'control')
TAKEN = {'auth': 'taken', 'flow': 'taken', 'events': 'taken', 'store': 'on demand',
         'bus': 'on demand', 'control': 'taken'}
LANGUAGES = (('c', 'c99'), ('c', 'gnu11'), ('c', 'c17'), ('c++', 'c++17'), ('c++', 'gnu++20'))
HELLO = '''
#include <pigeon/plugin.h>

static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    (void)self;
    (void)connect;
    return pigeon_eq(req->client->username, pigeon_z("alice")) ? PIGEON_ALLOW : PIGEON_DENY;
}
static const pigeon_auth auth = { sizeof(auth), 0, 0, authenticate, 0, 0, 0, 0, 0, 0 };
PIGEON_PLUGIN("org.example.hello", "1.0", "lets alice in", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .check = 0);
'''


# Logs and acts at each reload; reads the file that its option names.
WORDY = '''
#include <pigeon/plugin.h>
#include <stdio.h>
#include <stdlib.h>

struct self {
    const pigeon_host *host;
};

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    FILE *f = fopen(host->conf_str(conf, "file").ptr, "r");

    if (f == NULL)
        return host->fail(host->inst, "file", "cannot be read");
    fclose(f);
    return PIGEON_OK;
}
static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = (struct self *)malloc(sizeof(*self));

    (void)conf;
    if (self == NULL)
        return PIGEON_E_NOMEM;
    self->host = host;
    *out = self;
    return PIGEON_OK;
}
static int32_t prepare(void *self, const pigeon_conf *conf, void **next)
{
    *next = NULL;
    return check(((struct self *)self)->host, conf);
}
static void *volatile lost;
static void commit(void *self, void *next)
{
    const pigeon_host *host = ((struct self *)self)->host;

    (void)next;
    pigeon_logf(host, PIGEON_LOG_INFO, "the file was read again");
    host->invalidate(host->inst, pigeon_z(""), pigeon_z("alice"));
    if (LEAKS)
        lost = malloc(40);
}
static void abort_next(void *self, void *next)
{
    (void)self;
    (void)next;
}
static void client_ready(void *self, const pigeon_client *client)
{
    (void)self;
    (void)client;
}
static const pigeon_option options[] = {
    { .key = "file", .doc = "to read", .type = PIGEON_T_PATH,
      .flags = PIGEON_O_REQUIRED | PIGEON_O_RELOAD },
};
static const pigeon_events events = { .size = sizeof(events), .client_ready = client_ready };
PIGEON_PLUGIN("org.example.wordy", "1.0", "talks at each reload", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)), PIGEON_OPTIONS(options), .check = check,
              .create = create, .destroy = free, .prepare = prepare, .commit = commit,
              .abort = abort_next);
'''


class Install(ToolCase):
    def test_headers_library_program_and_pkg_config_files_are_installed(self):
        i = Installed.get()
        for name in ('plugin.h', 'mock.h', 'pigeon-plugin.pc', 'pigeon-mock.pc', 'pigeon-plugin',
                     'libpigeon-mock.so'):
            i.find(name)
        self.assertIn('-fvisibility=hidden', i.pkg_config('--cflags', 'pigeon-plugin'))
        with open(os.path.join(os.path.dirname(i.find('plugin.h')), 'types.h'),
                  encoding='utf-8') as f:
            types = f.read()
        for name in ('major', 'minor'):
            number = re.search(rf'#define PIGEON_ABI_{name.upper()} (\d+)u', types).group(1)
            self.assertEqual(i.pkg_config(f'--variable=abi_{name}', 'pigeon-plugin'), [number])
        folder = i.pkg_config('--variable=pluginsdir', 'pigeon-plugin')[0]
        self.assertTrue(folder.endswith('/plugins'), folder)

    def test_the_mock_shows_its_own_functions_only(self):
        out = self.ok('nm', '-D', '--defined-only', Installed.get().find('libpigeon-mock.so'))
        names = {line.split()[-1] for line in out.splitlines()}
        strange = {n for n in names if not n.startswith(('pigeon_mock_', '__asan', '__odr_asan'))}
        self.assertEqual(strange, set())

    def test_a_plugin_is_built_with_the_installation_alone_and_serves(self):
        i = Installed.get()
        source = os.path.join(self.dir, 'hello.txt')
        with open(source, 'w', encoding='utf-8') as f:
            f.write(HELLO)
        for compiler in i.compilers:
            for language, standard in LANGUAGES:
                with self.subTest(compiler=compiler, standard=standard):
                    folder = os.path.join(self.dir, compiler + standard)
                    os.mkdir(folder)
                    self.ok(compiler, '-x', language, '-std=' + standard, *STRICT, *i.sanitize,
                            '-shared', '-fPIC', *i.pkg_config('--cflags', 'pigeon-plugin'), source,
                            '-o', os.path.join(folder, 'hello.so'), env=i.env)
                    self.serves(folder)

    def serves(self, folder):
        b = Broker({'plugins_dir': [folder], 'persistence': 'memory'})
        own = json.loads(tool('scan', '--json', folder)[1])
        self.assertEqual([(f['state'], f['id']) for f in own], [('taken', 'org.example.hello')])
        b.options['plugins_dir'] += self.shipped()
        b.start()
        try:
            mqtt.Client(b, 'a', username='alice', password='x').connect()
            self.assertNotEqual(mqtt.Client(b, 'b', username='bob', password='x')
                                .connect(reason=None).reason, 0)
            self.assertEqual(b.stop(), 0)
        finally:
            b.cleanup()

    @staticmethod
    def shipped():
        import broker
        return broker.plugin_dirs(Broker.binary())


class New(ToolCase):
    def begin(self, kind):
        """A new plugin, built by the command that `new` prints: its folder."""
        i = Installed.get()
        out = self.ok(TOOL, 'new', kind, f'my-{kind}', cwd=self.dir)
        folder = os.path.join(self.dir, f'my-{kind}')
        command = re.search(r'^ *(cc .*)$', out, re.M).group(1)
        for compiler in i.compilers:
            line = ' '.join([compiler, *STRICT, *i.sanitize, command[3:]])
            self.ok('sh', '-c', line, cwd=folder, env=i.env)
        return folder

    def test_each_kind_compiles_passes_its_test_and_the_check(self):
        i = Installed.get()
        for kind in KINDS:
            with self.subTest(kind=kind):
                folder = self.begin(kind)
                name = f'my-{kind}'
                flags = i.pkg_config('--cflags', '--libs', 'pigeon-mock', 'cmocka')
                self.ok(i.compilers[0], *STRICT, *i.sanitize, f'test_{name}.c', '-o', 'test',
                        *flags, cwd=folder, env=i.env)
                self.ok('./test', cwd=folder, env=i.env)
                failed, n = check(os.path.join(folder, name + '.so'))
                self.assertEqual(failed, {})
                self.assertGreaterEqual(n, 12)
                self.assertIn(f'{name}.so: {TAKEN[kind]}\n',
                              self.ok(TOOL, 'scan', name + '.so', cwd=folder))

    def test_the_test_of_a_new_plugin_can_fail(self):
        i = Installed.get()
        folder = self.begin('auth')
        source = os.path.join(folder, 'my-auth.c')
        with open(source, encoding='utf-8') as f:
            text = f.read()
        with open(source, 'w', encoding='utf-8') as f:
            f.write(text.replace('return PIGEON_DENY;', 'return PIGEON_ALLOW;'))
        own = [i.compilers[0], *i.sanitize]
        self.ok(*own, '-shared', '-fPIC', *i.pkg_config('--cflags', 'pigeon-plugin'), 'my-auth.c',
                '-o', 'my-auth.so', cwd=folder, env=i.env)
        self.ok(*own, 'test_my-auth.c', '-o', 'test',
                *i.pkg_config('--cflags', '--libs', 'pigeon-mock', 'cmocka'), cwd=folder, env=i.env)
        self.assertNotEqual(run('./test', cwd=folder, env=i.env)[0], 0)

    def test_it_builds_and_tests_itself_with_meson(self):
        i = Installed.get()
        if i.sanitize:
            self.skipTest('one build without sanitizers is enough')
        folder = self.begin('flow')
        self.ok('meson', 'setup', 'build', cwd=folder, env=i.env)
        self.ok('meson', 'test', '-C', 'build', cwd=folder, env=i.env)
        with open(os.path.join(folder, 'build', 'meson-logs', 'testlog.txt'),
                  encoding='utf-8') as f:
            log = f.read()
        for name in ('unit', 'contract'):
            self.assertRegex(log, rf'(?m)^test: +{name}$')

    def test_the_auth_template_is_short_and_the_readme_fits(self):
        self.ok(TOOL, 'new', 'auth', 'bird', cwd=self.dir)
        with open(os.path.join(self.dir, 'bird', 'bird.c'), encoding='utf-8') as f:
            self.assertLessEqual(len(f.readlines()), 50)
        with open(os.path.join(self.dir, 'bird', 'README.md'), encoding='utf-8') as f:
            readme = f.read()
        self.assertNotIn('@', readme)
        self.assertIn('pigeon-plugin check bird.so', readme)

    def test_what_cannot_be_made_is_refused_with_a_way_out(self):
        os.mkdir(os.path.join(self.dir, 'there'))
        self.refused('new', 'auth', 'there', says=('there already', 'DIR'))
        self.refused('new', 'aut', 'x', says=("no kind 'aut'", 'auth, flow, events'))
        for name in ('', 'Bird', '1bird', 'a/b', '../x', 'x' * 61, 'bi rd', 'bîrd'):
            self.refused('new', 'auth', name, says=('a name',))
        self.refused('new', 'auth', says=('needs a kind and a name',))
        self.refused('new', 'auth', 'x', 'no/such/folder', says=('No such file',))
        self.assertEqual(os.listdir(self.dir), ['there'])

    def test_every_command_has_help(self):
        self.assertIn('scan', self.ok(TOOL, '--help'))
        for command in ('new', 'check', 'scan', 'doc'):
            self.assertIn(f'usage: pigeon-plugin {command}', self.ok(TOOL, command, '--help'))
            self.refused(command, says=('--help',) if command != 'new' else ())
        self.refused('chek', says=("no command 'chek'", '--help'))


class Scan(ToolCase):
    def put(self, name, to=None):
        shutil.copy(built(name), os.path.join(self.dir, to or name + '.so'))

    def states(self):
        out = tool('scan', '--json', self.dir)[1]
        return {os.path.basename(f['file']): f for f in json.loads(out)}

    def test_each_file_gets_what_pigeond_would_say(self):
        self.put('good', '10-good.so')
        self.put('other-id', '20-twin.so')
        self.put('on-demand', '05-asked.so')
        self.put('no-note')
        self.put('exec-stack')
        self.put('single-shared')
        with open(os.path.join(self.dir, 'text.so'), 'w', encoding='utf-8') as f:
            f.write('INPUT(libc.so.6)\n')
        found = self.states()
        self.assertEqual({n: f['state'] for n, f in found.items()}, {
            '05-asked.so': 'on demand', '10-good.so': 'refused', '20-twin.so': 'refused',
            'no-note.so': 'ignored', 'exec-stack.so': 'refused', 'single-shared.so': 'refused',
            'text.so': 'ignored'})
        self.assertIn('its id org.pigeon-mqtt.test.broken is that of',
                      found['20-twin.so']['reason'])
        self.assertIn('executable stack', found['exec-stack.so']['reason'])
        self.assertEqual(found['05-asked.so']['flags'], ['ON_DEMAND'])
        self.assertEqual(found['05-asked.so']['interfaces'], ['pigeon.auth/1'])
        self.assertEqual(tool('scan', self.dir)[0], 1)

    def test_a_plugin_that_may_block_needs_a_block(self):
        self.put('may-block')
        found = self.states()['may-block.so']
        self.assertEqual((found['state'], 'run: worker' in found['reason']), ('refused', True))

    def test_no_code_of_a_file_is_run(self):
        source = os.path.join(self.dir, 'x.c')
        with open(source, 'w', encoding='utf-8') as f:
            f.write('#include <pigeon/plugin.h>\n#include <unistd.h>\n'
                    '__attribute__((constructor)) static void early(void) { _exit(77); }\n'
                    'static const pigeon_auth auth = { .size = sizeof(auth) };\n'
                    'PIGEON_PLUGIN("org.example.early", "1", "x", "MIT", 0,\n'
                    '  (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .check = 0);\n')
        path = os.path.join(self.dir, 'x.so')
        self.ok('cc', '-shared', '-fPIC', '-fvisibility=hidden', '-I',
                os.path.join(os.path.dirname(__file__), '..', '..', 'include'), source, '-o', path)
        self.assertIn('taken', self.ok(TOOL, 'scan', path))
        self.assertIn('ended the process with status 77',
                      check(path)[0]['note and descriptor are whole and agree'])

    def test_a_file_that_everybody_may_write_is_refused(self):
        self.put('p0')
        os.chmod(os.path.join(self.dir, 'p0.so'), 0o666)
        found = self.states()['p0.so']
        self.assertEqual((found['state'], 'writable by everybody' in found['reason']),
                         ('refused', True))

    def test_an_empty_directory_is_fine_and_a_missing_one_is_not(self):
        self.assertEqual(self.states(), {})
        self.assertEqual(self.ok(TOOL, 'scan', self.dir), f'no *.so in {self.dir}\n')
        self.refused('scan', os.path.join(self.dir, 'gone'), says=('No such file',))


class Doc(ToolCase):
    def test_markdown_shows_options_and_interfaces(self):
        out = self.ok(TOOL, 'doc', built('auth_late'))
        for text in ('# auth_late', '`org.example.auth-late` 1.0, licence MIT', '`pigeon.auth/1`',
                     '| `delay` | time | `50ms` |', '| `users` | list |'):
            self.assertIn(text, out)
        self.assertIn('| `needed` | string | required |', self.ok(TOOL, 'doc',
                                                                  built('needs-option')))

    def test_the_manual_page_has_no_warnings(self):
        out = self.ok(TOOL, 'doc', '--man', built('auth_late'))
        self.assertTrue(out.startswith('.TH AUTH_LATE 7'))
        self.assertIn('.BR delay " (time)"', out)
        if shutil.which('groff'):
            done = subprocess.run(['groff', '-man', '-Tutf8', '-ww', '-z'], input=out.encode(),
                                  capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b''))

    def test_commands_are_shown(self):
        self.ok(TOOL, 'new', 'control', 'bird', cwd=self.dir)
        i = Installed.get()
        folder = os.path.join(self.dir, 'bird')
        self.ok(i.compilers[0], *i.sanitize, '-shared', '-fPIC',
                *i.pkg_config('--cflags', 'pigeon-plugin'), 'bird.c', '-o', 'bird.so', cwd=folder,
                env=i.env)
        out = self.ok(TOOL, 'doc', os.path.join(folder, 'bird.so'))
        self.assertIn('plugin `bird`', out)
        self.assertIn('| `status` |', out)

    def test_what_cannot_be_loaded_is_refused(self):
        self.refused('doc', built('exec-stack'), says=('executable stack',), status=1)


class Check(ToolCase):
    def test_the_examples_pass(self):
        for name, options in (('auth_static', ['users=["alice:secret"]']), ('auth_late', []),
                              ('event_logger', []), ('payload_rewrite', [])):
            with self.subTest(example=name):
                failed, n = check(built(name), *options, timeout='20')
                self.assertEqual(failed, {})
                self.assertGreaterEqual(n, 20)

    def test_late_answers_are_put_to_the_test(self):
        out = self.ok(TOOL, 'check', built('auth_late'))
        for what in ('after the deadline', 'for a client that is gone', 'when the broker stops',
                     'a hundred at once'):
            self.assertRegex(out, rf'(?m)^ok \d+ - 4 authenticate, answers {what}$')
        out = self.ok(TOOL, 'check', built('event_logger'))
        self.assertRegex(out, r'(?m)^ok \d+ - 3 publish, without a client$')

    def test_tap_has_a_plan_and_a_reason_for_each_failure(self):
        status, out, _ = tool('check', built('check-fails'))
        self.assertEqual(status, 1)
        lines = out.splitlines()
        self.assertEqual(lines[0], 'TAP version 13')
        n = sum(re.match(r'(not )?ok \d+ - ', line) is not None for line in lines)
        self.assertEqual(lines[-1], f'1..{n}')
        at = next(i for i, line in enumerate(lines) if line.startswith('not ok')
                  and 'accepts' in line)
        self.assertIn('colour: there is none', lines[at + 1])

    def test_options_are_those_of_the_plugins_table(self):
        failed, _ = check(built('auth_late'), 'dealy=3ms')
        self.assertIn("did you mean 'delay'", failed['it accepts these options'])
        failed, _ = check(built('auth_static'))
        self.assertIn("'users' is missing", failed['it accepts these options'])

    def wordy(self, leaks):
        i = Installed.get()
        with open(os.path.join(self.dir, 'wordy.c'), 'w', encoding='utf-8') as f:
            f.write(WORDY)
        with open(os.path.join(self.dir, 'users.txt'), 'w', encoding='utf-8') as f:
            f.write('alice')
        self.ok(i.compilers[0], *i.sanitize, f'-DLEAKS={leaks}', '-shared', '-fPIC',
                *i.pkg_config('--cflags', 'pigeon-plugin'), 'wordy.c', '-o', 'wordy.so',
                cwd=self.dir, env=i.env)

    def test_what_a_reload_logs_and_does_is_no_leak(self):
        self.wordy(0)
        self.ok(TOOL, 'check', 'wordy.so', 'file=users.txt', cwd=self.dir)

    def test_what_a_reload_leaks_is(self):
        if 'address' in build_options().get('b_sanitize', 'none'):
            self.skipTest('its heap does not shrink')
        self.wordy(1)
        self.refused('check', 'wordy.so', 'file=users.txt', status=1,
                     says=('reloading it 100 times leaks',))

    def test_file_names_are_relative_to_the_current_directory(self):
        self.wordy(0)
        self.ok(TOOL, 'check', '--only', 'accepts', 'wordy.so', 'file=users.txt', cwd=self.dir)
        self.refused('check', '--only', 'accepts', 'wordy.so', 'file=users.tx', status=1,
                     says=('file: cannot be read',))

    def test_usage_is_checked(self):
        self.refused('check', 'no-such.so', says=('No such file',))
        self.refused('check', built('good'), 'nonsense', says=('KEY=VALUE',))
        self.assertEqual(check(built('auth_late'), only='quiesce')[1], 1)
        self.refused('check', '--timeout', 'x', built('good'), says=('seconds',))
        self.refused('check', '--what', built('good'), says=("no option '--what'",))

    def test_a_store_that_is_not_whole_fails_the_contract(self):
        i = Installed.get()
        self.ok(TOOL, 'new', 'store', 'half', cwd=self.dir)
        folder = os.path.join(self.dir, 'half')
        self.ok('sh', '-c', shlex.join([i.compilers[0], *i.sanitize, '-shared', '-fPIC']) +
                ' $(pkg-config --cflags pigeon-plugin) half.c -o half.so', cwd=folder, env=i.env)
        status, out, _ = tool('check', '--store', os.path.join(folder, 'half.so'))
        self.assertEqual(status, 1)
        self.assertRegex(out, r'(?m)^ok \d+ - 5 records: a retained message comes back whole$')
        self.assertRegex(out, r'(?m)^not ok \d+ - 5 queue: ')
