"""What the plugin tests share: where the built plugins are, and brokers that load them by file."""

import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, 'tests', 'protocol'), os.path.join(ROOT, 'tests', 'spec')]

import broker  # noqa: E402
import mqtt  # noqa: E402
from broker import Broker, BrokerCase  # noqa: E402
from spec import SpecCase, spec  # noqa: E402,F401


def built(name):
    """The .so of an example or of a test plugin of this build."""
    build = os.path.dirname(Broker.binary())
    places = [os.path.join(build, *where, name + '.so')
              for where in (('examples',), ('tests', 'plugin'))]
    return next(filter(os.path.exists, places), places[0])


def plugin(name, options=None, **more):
    """A configuration block for it."""
    return {name: dict(file=built(name), **({'options': options} if options else {}), **more)}


NUMBERS = {'sys': {'options': {'aedes': False, 'mosquitto': False, 'interval': '100ms'}}}


class PluginCase(BrokerCase):
    """One broker with plugins for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        if broker.KIND != 'pigeon':
            raise unittest.SkipTest('plugins of Pigeon')
        super().setUpClass()

    def reader(self, name, *metrics):
        """A subscriber to numbers of a plugin (sys has to be loaded, see NUMBERS)."""
        c = self.client(f'reader-{name}')
        c.subscribe(*[f'$SYS/broker/plugins/{name}/{m}' for m in metrics])
        return c

    @staticmethod
    def until(reader, metric, value):
        """The number reaches a value; it must not jump over it."""
        while True:
            p = reader.message()
            if p.topic.endswith('/' + metric):
                if int(p.payload) == value:
                    return
                if int(p.payload) > value:
                    raise mqtt.Failure(f'{metric} is {int(p.payload)}, expected {value}')


def judge(options, tmp):
    """pigeond -t with this configuration: (exit code, everything it printed)."""
    path = os.path.join(tmp, 'test.yaml')
    with open(path, 'w', encoding='utf-8') as f:
        json.dump(options, f)
    done = subprocess.run([Broker.binary(), '-t', '-c', path], capture_output=True, text=True,
                          timeout=broker.START_DEADLINE)
    return done.returncode, done.stdout + done.stderr
