"""What the tests of bad input share: tables of packets, and a healthy client beside them.

A case is a row of a table: bytes, and what MQTT 3.1.1 and MQTT 5 answer to them. Each becomes
one test per version. After every test the client that was connected before all of them must still
be served: PINGREQ, and a message to itself.
"""

import re
import time

import mqtt
import mqtt3
from broker import KIND, BrokerCase
from mqtt import V311, V5, Failure

BOTH = (V311, V5)
BUILDERS = {V311: mqtt3, V5: mqtt}
NAMES = {V311: 'in_3_1_1', V5: 'in_5'}


class Case:
    """data: bytes, or a function of the builders of a version (mqtt3 or mqtt).

    v5: reason codes of which one must come in a DISCONNECT (with first: a CONNACK) before the
    close; none: nothing may come but one of any code. v3: return codes of the CONNACK that must
    come before the close; none: no CONNACK. first: the bytes are the first ones of a connection.
    """

    def __init__(self, row, name, data, v5=(), v3=(), first=False, versions=BOTH):
        self.row, self.name, self.data = row, name, data
        self.v5, self.v3, self.first, self.versions = v5, v3, first, versions

    def bytes(self, version):
        return self.data(BUILDERS[version]) if callable(self.data) else self.data

    def method(self, version):
        words = re.sub(r'[^a-z0-9]+', '_', f'{self.name} closes'.lower()).strip('_')
        return f'test_{self.row:02}_{words}_{NAMES[version]}'


def first(row, name, data, v5=(), v3=(), **kw):
    """A case whose bytes open the connection."""
    return Case(row, name, data, v5, v3, True, **kw)


def later(row, name, data, v5=(), **kw):
    """A case whose bytes follow a CONNECT that was accepted."""
    return Case(row, name, data, v5, **kw)


def table(cases):
    """Adds a test for each case and version to the class."""
    def add(cls):
        for case in cases:
            for version in case.versions:
                def test(self, case=case, version=version):
                    self.play(case, version)
                test.__name__ = case.method(version)
                if hasattr(cls, test.__name__):
                    raise ValueError(f'{test.__name__} twice')
                setattr(cls, test.__name__, test)
        return cls
    return add


def each_version(test):
    """A handwritten test for 3.1.1 and 5: it runs with self.version and self.m set."""
    def run(self):
        for version in BOTH:
            with self.subTest(version=version):
                self.version, self.m = version, BUILDERS[version]
                test(self)
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class HostileCase(BrokerCase):
    healthy = None
    m = mqtt

    def setUp(self):
        super().setUp()
        cls = type(self)
        if cls.healthy is None:
            cls.healthy = mqtt.Client(self.broker, 'healthy')
            cls.healthy.connect()
            cls.healthy.subscribe('healthy/echo', qos=1)

    def tearDown(self):
        try:
            self.unharmed()
        finally:
            super().tearDown()

    def unharmed(self):
        """The healthy client notices nothing."""
        c, cls = self.healthy, type(self)
        cls.healthy = None  # a new one for the next test, should this fail
        c.ping()
        c.publish('healthy/echo', b'echo', 1)
        c.message('healthy/echo', b'echo', qos=1)
        c.expect_nothing()
        cls.healthy = c

    def settled(self, fds):
        """No more descriptors than that are open, once the broker saw everybody go; it waits
        only shortly for peers that do not close their side."""
        deadline = time.monotonic() + mqtt.DEADLINE
        while self.broker.fds() > fds:
            if time.monotonic() > deadline:
                self.fail(f'{self.broker.fds()} descriptors, {fds} before')
            self.healthy.ping()

    @classmethod
    def tearDownClass(cls):
        if cls.healthy is not None:
            cls.healthy.close()
        super().tearDownClass()

    def play(self, case, version):
        c = self.raw(self.id('x'), version=version)
        if not case.first:
            c.connect()
        c.send(case.bytes(version))
        if version == V5:
            return c.expect_close(*case.v5, connack=case.first,
                                  required=bool(case.v5) and KIND == 'pigeon')
        return c.expect_close(*case.v3, connack=bool(case.v3), required=bool(case.v3))

    def closes(self, data, *v5, version=None, **kw):
        """These bytes on an open connection end it; in MQTT 5 with one of these codes."""
        version = self.version if version is None else version
        c = self.raw(self.id('x'), version=version, **kw)
        c.connect()
        c.send(data)
        return c.expect_close(*(v5 if version == V5 else ()),
                              required=bool(v5) and version == V5 and KIND == 'pigeon')

    def refused(self, data, v5=(), v3=()):
        """These bytes as the first ones are refused with one of these codes."""
        c = self.raw(version=self.version)
        c.send(data)
        codes = v5 if self.version == V5 else v3
        return c.expect_close(*codes, connack=bool(codes), required=bool(codes))

    def answer(self, c, *types):
        """The next packet if it is of these types; None when the connection was closed instead
        (in MQTT 5 a DISCONNECT may have said why)."""
        try:
            p = c.recv()
        except mqtt.Closed:
            return None
        if p.type in types:
            return p
        if p.type == mqtt.DISCONNECT and c.version == V5:
            c.expect_close()
            return None
        raise Failure(f'unexpected {p!r}')
