"""What the specification tests share: the mark of a statement and the common test class."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'protocol'))

from broker import BrokerCase  # noqa: E402
import mqtt  # noqa: E402


def spec(*statements):
    """This test shows these normative statements, e.g. @spec('MQTT-3.1.2-24').

    coverage.py reads the marks from the source. Both specifications use the same identifiers:
    the name of the file (test_mqtt5_*, test_mqtt311_*) says which one is meant."""
    def mark(test):
        test.spec = statements
        return test
    return mark


class SpecCase(BrokerCase):
    """Refusals as the specification words them: closing is a must, telling why is optional."""

    def refused_connect(self, data, *reasons):
        """These bytes as the first packet: an optional CONNACK with one of reasons, then close."""
        c = self.raw()
        c.send(data)
        return c.expect_close(*reasons, connack=True)

    def refused(self, data, *reasons, name='x', **kw):
        """These bytes on a connection: an optional DISCONNECT with one of reasons, then close."""
        c = self.client(name, **kw)
        c.send(data)
        return c.expect_close(*reasons)

    def forwarded(self, sub, pub, data, mid=None):
        """pub sends a hand-made PUBLISH (QoS 1 with mid); the copy that sub receives."""
        pub.send(data)
        if mid is not None:
            pub.wait(mqtt.PUBACK, mid=mid)
        return sub.message()


class Spec311Case(SpecCase):
    """MQTT 3.1.1: there is no packet that tells why; a refusal is a close and nothing before it."""

    version = mqtt.V311

    def malformed_connect(self, data):
        """These bytes as the first packet: closed without a CONNACK."""
        c = self.raw()
        c.send(data)
        c.expect_close()

    def rejected_connect(self, data, code):
        """These bytes as the first packet: CONNACK with this code, no session, then close."""
        c = self.raw()
        c.send(data)
        self.assertFalse(c.expect(mqtt.CONNACK, reason=code).session_present)
        c.expect_close()
