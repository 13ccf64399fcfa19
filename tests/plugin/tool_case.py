"""pigeon-plugin of this build, and an installation of it in a directory of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import broker
from plugin_case import Broker, built  # noqa: F401

BUILD = os.path.dirname(Broker.binary())
TOOL = os.path.join(BUILD, 'src', 'plugin_tool', 'pigeon-plugin')
DEADLINE = 120.0
STRICT = ['-Wall', '-Wextra', '-Werror', '-Wno-missing-field-initializers']


def run(*command, cwd=None, env=None, timeout=DEADLINE):
    """(exit status, stdout, stderr)."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, timeout=timeout)
    return (done.returncode, done.stdout.decode('utf-8', 'replace'),
            done.stderr.decode('utf-8', 'replace'))


def tool(*args, **kw):
    return run(TOOL, *args, **kw)


def check(path, *options, timeout='10', only=None):
    """The cases of `pigeon-plugin check` that failed: {name: reason}, and how many there were."""
    some = ['--only', only] if only else []
    _, out, err = tool('check', '--json', '--timeout', timeout, *some, path, *options)
    try:
        cases = json.loads(out)['cases']
    except ValueError as e:
        raise AssertionError(f'no JSON: {out}{err}') from e
    return {c['name']: c['reason'] for c in cases if c['outcome'] == 'failed'}, len(cases)


def build_options():
    """What this build was made with, by name."""
    out = run('meson', 'introspect', '--buildoptions', BUILD)[1]
    return {o['name']: o['value'] for o in json.loads(out)}


class Installed:
    """`meson install --destdir`, once for all tests that want it."""

    one = None

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='pigeon-test-')
        status, out, err = run('meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet',
                               '--destdir', self.dir, timeout=300)
        if status:
            raise AssertionError(out + err)
        pc = self.find('pigeon-plugin.pc')
        self.env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(pc),
                        PKG_CONFIG_SYSROOT_DIR=self.dir,
                        LD_LIBRARY_PATH=os.path.dirname(self.find('libpigeon-mock.so')))
        self.env['PATH'] = os.path.dirname(self.find('pigeon-plugin')) + ':' + os.environ['PATH']
        options = build_options()
        sanitize = options.get('b_sanitize', 'none')
        self.sanitize = [] if sanitize == 'none' else ['-fsanitize=' + sanitize]
        own = os.environ.get('CC', 'cc').split()[-1]
        self.compilers = [own] if self.sanitize else [c for c in ('gcc', 'clang')
                                                      if shutil.which(c)]

    def find(self, name):
        for here, _, names in os.walk(self.dir):
            if name in names:
                return os.path.join(here, name)
        raise AssertionError(f'{name} is not installed')

    def pkg_config(self, *args):
        status, out, err = run('pkg-config', *args, env=self.env)
        if status:
            raise AssertionError(err)
        return out.split()

    @classmethod
    def get(cls):
        if not shutil.which('meson') or not shutil.which('pkg-config'):
            raise unittest.SkipTest('needs meson and pkg-config')
        if cls.one is None:
            cls.one = cls()
            unittest.addModuleCleanup(cls.drop)
        return cls.one

    @classmethod
    def drop(cls):
        shutil.rmtree(cls.one.dir, ignore_errors=True)
        cls.one = None


class ToolCase(unittest.TestCase):
    def setUp(self):
        if broker.THREADS != 1:
            self.skipTest('event loops are no matter of the tool')
        if not os.path.exists(TOOL):
            self.skipTest(f'{TOOL} is not built')
        self.dir = tempfile.mkdtemp(prefix='pigeon-test-')
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def ok(self, *command, **kw):
        status, out, err = run(*command, **kw)
        self.assertEqual(status, 0, f'{command}\n{out}{err}')
        return out

    def refused(self, *args, says=(), status=2):
        """The tool says no, and what to do."""
        got, out, err = tool(*args, cwd=self.dir)
        self.assertEqual(got, status, out + err)
        for word in says:
            self.assertIn(word, err + out)
        return err


if __name__ == '__main__':
    sys.exit('tool_case.py is for other tests')
