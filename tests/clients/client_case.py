"""What the tests with other people's clients share: a broker, and what it says about them."""

import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'protocol'))

from broker import BrokerCase  # noqa: E402

PATIENCE = 20.0  # seconds until a test is lost; nothing waits so long when all is well
PACE = 0.005


class ClientCase(BrokerCase):
    """The broker logs every packet, so that a test can wait for what a client has reached."""

    options = {'log': {'level': 'debug', 'rate': 0}}

    def setUp(self):
        super().setUp()
        self.programs = []

    def tearDown(self):
        for p in self.programs:
            if p.poll() is None:
                p.kill()
            p.wait()
            for pipe in (p.stdout, p.stderr):
                if pipe:
                    pipe.close()
        super().tearDown()

    @property
    def port(self):
        return self.broker.address[1]

    def name(self, suffix=''):
        """A client id short enough for MQTT 3.1."""
        return f'{suffix}{self.id("x")[-8:]}'

    def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f'{what} did not happen')
            time.sleep(PACE)

    def logged(self, *words, times=1):
        """The broker has logged a line with all these words, since this test began."""
        def seen():
            lines = self.broker.log[self._log_from:]
            return sum(all(w in line for w in words) for line in lines) >= times
        self.until(seen, f'a line with {words}')

    def start(self, *command):
        p = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.programs.append(p)
        return p

    def finish(self, p, code=0):
        """Waits for its end; what it has written to stdout."""
        out, err = p.communicate(timeout=PATIENCE)
        self.assertEqual(p.returncode, code, (out + err).decode('utf-8', 'replace'))
        return out

    def run_program(self, *command, code=0):
        return self.finish(self.start(*command), code)
