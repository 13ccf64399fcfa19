"""MQTT.js against the broker, in each version of the protocol; the scenarios are in mqttjs.js."""

import os
import shutil
import subprocess
import unittest

from client_case import HERE, ClientCase

SCRIPT = os.path.join(HERE, 'mqttjs.js')
NODE = shutil.which('nodejs') or shutil.which('node')
WHERE = '/usr/share/nodejs:/usr/lib/nodejs'  # of Debian's packages, for other builds of Node.js
os.environ['NODE_PATH'] = ':'.join(filter(None, (os.environ.get('NODE_PATH'), WHERE)))


def is_missing():
    if not NODE:
        return 'not installed: nodejs'
    found = subprocess.run([NODE, '-e', 'require("mqtt")'], capture_output=True, check=False)
    return found.returncode != 0 and 'not installed: MQTT.js (node-mqtt)'


MISSING = is_missing()


class MqttJs:
    version = None

    def scenario(self, name):
        self.run_program(NODE, SCRIPT, self.port, self.version, name,
                         self.name())

    def test_each_qos_arrives(self):
        self.scenario('qos')

    def test_hundreds_of_messages_in_order(self):
        self.scenario('order')

    def test_retained_messages(self):
        self.scenario('retained')

    def test_a_will_is_sent_when_the_connection_is_lost(self):
        self.scenario('will')

    def test_a_session_keeps_what_came_meanwhile(self):
        self.scenario('session')


@unittest.skipIf(MISSING, MISSING)
class Version31(MqttJs, ClientCase):
    version = 3


@unittest.skipIf(MISSING, MISSING)
class Version311(MqttJs, ClientCase):
    version = 4


@unittest.skipIf(MISSING, MISSING)
class Version5(MqttJs, ClientCase):
    version = 5

    def test_properties_travel(self):
        self.scenario('properties')
