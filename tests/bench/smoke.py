#!/usr/bin/env python3
"""Does pigeon-bench count right? Every shape with tiny counts; no timing.

Brokers: PIGEOND if there is one, mosquitto if it is installed, and a broker that loses, doubles and
swaps messages on purpose.
"""

import socket
import subprocess
import threading
import unittest

import brokers
import mqtt

SHAPES = {
    'pair': ['-n', '500', '--pairs', '5'],
    'ping-pong': ['-n', '50', '--pairs', '5'],
    'fan-in': ['-n', '500', '--publishers', '10', '--subscribers', '2'],
    'fan-out': ['-n', '50', '--subscribers', '20'],
    'subscriptions': ['-n', '500', '--filters', '1000', '--subscribers', '5'],
    'retained': ['--topics', '200', '--subscribers', '2'],
    'offline': ['-n', '200', '--subscribers', '3'],
}
EXPECTED = {'pair': 500, 'ping-pong': 50, 'fan-in': 1000, 'fan-out': 1000, 'subscriptions': 500,
            'retained': 400, 'offline': 600}


class Shapes:
    """With every broker: a subclass sets `kind` and `binary`."""

    kind = binary = None

    @classmethod
    def setUpClass(cls):
        if not cls.binary:
            raise unittest.SkipTest(f'there is no {cls.kind.name}')
        cls.server = cls.kind(cls.binary)
        cls.server.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def bench(self, *args):
        return brokers.run_bench(self.server.port, args, self.server.pid, timeout=60)

    def check(self, shape, *args):
        result, status = self.bench(shape, *SHAPES[shape], *args)
        self.assertEqual(result['expected'], EXPECTED[shape])
        self.assertEqual(result['delivered'], EXPECTED[shape])
        for what in ('lost', 'duplicated', 'reordered', 'refused'):
            self.assertEqual(result[what], 0, what)
        self.assertEqual(status, 0)
        for phase in result['phases']:
            self.assertGreater(phase['n'], 0, phase['name'])
            self.assertGreaterEqual(phase['broker_cpu_us'], 0)
            self.assertGreater(phase['rss_after'], 0)
        return result

    def test_every_message_arrives_once_in_every_shape_qos_and_version(self):
        for shape in SHAPES:
            for qos in (0, 1, 2):
                if shape == 'offline' and qos == 0:
                    continue
                for version in ('3.1.1', '5'):
                    with self.subTest(shape=shape, qos=qos, version=version):
                        self.check(shape, '-q', qos, '-m', version)

    def test_mqtt_31_is_spoken(self):
        self.check('pair', '-m', '3.1', '-q', 1)

    def test_durable_subscribers_receive_everything(self):
        for version in ('3.1.1', '5'):
            with self.subTest(version=version):
                self.check('pair', '--durable', '-q', 1, '-m', version)

    def test_large_payloads_arrive(self):
        self.check('fan-out', '-l', 100000, '-q', 1, '-w', 2)

    def test_a_fixed_rate_is_kept_and_its_latency_told(self):
        result = self.check('pair', '--rate', 2000)
        self.assertEqual(result['latency_us']['n'], 500)
        publish = next(p for p in result['phases'] if p['name'] == 'publish')
        self.assertGreater(publish['seconds'], 499 / 2000 - 0.01)

    def test_idle_connections_come_and_go(self):
        result, status = self.bench('idle', '--connections', 50, '--hold', 0)
        self.assertEqual(status, 0)
        self.assertEqual([p['n'] for p in result['phases']], [50, 50, 50])

    def test_churn_ends_after_as_many_cycles_as_asked_for(self):
        for version in ('3.1.1', '5'):
            result, status = self.bench('churn', '-n', 200, '--connections', 7, '-m', version)
            self.assertEqual(status, 0)
            self.assertEqual(result['phases'][0]['n'], 200)

    def test_retained_messages_are_cleared_again(self):
        for _ in range(2):
            result = self.check('retained')
            self.assertEqual(result['published'], 200)


class TestPigeon(Shapes, unittest.TestCase):
    kind, binary = brokers.Pigeon, brokers.pigeon_binary()


class TestMosquitto(Shapes, unittest.TestCase):
    kind, binary = brokers.Mosquitto, brokers.mosquitto_binary()


class Faulty:
    """Serves one topic of MQTT 3.1.1, QoS 0: everybody who subscribes gets everything, changed by
    `fault`, a function from a list of whole PUBLISH packets to another."""

    def __init__(self, fault):
        self.fault, self.subscribers = fault, []
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        data = b''
        while True:
            more = peer.recv(65536)
            if not more:
                break
            data += more
            publishes = []
            while True:
                packet, data = self._split(data)
                if packet is None:
                    break
                kind = packet[0] >> 4
                if kind == mqtt.PUBLISH:
                    publishes.append(packet)
                elif kind == mqtt.CONNECT:
                    peer.sendall(b'\x20\x02\x00\x00')
                elif kind == mqtt.SUBSCRIBE:
                    self.subscribers.append(peer)  # first: its SUBACK lets the publisher start
                    peer.sendall(b'\x90\x03' + packet[2:4] + b'\x00')
                elif kind == mqtt.DISCONNECT:
                    peer.close()
                    return
            if publishes:
                out = b''.join(self.fault(publishes))
                for subscriber in self.subscribers:
                    subscriber.sendall(out)
        peer.close()

    @staticmethod
    def _split(data):
        """The first whole packet (shorter than 16 KiB), and the rest."""
        if len(data) < 3:
            return (data, b'') if len(data) == 2 and data[1] == 0 else (None, data)
        size = 2 + data[1] if data[1] < 128 else 3 + (data[1] & 127) + 128 * data[2]
        return (data[:size], data[size:]) if len(data) >= size else (None, data)

    def close(self):
        self.listener.close()


class TestFaultyBroker(unittest.TestCase):
    """A fault of the broker is seen, counted, and makes the exit status 3."""

    def counts(self, fault):
        server = Faulty(fault)
        try:
            result, status = brokers.run_bench(
                server.port, ['pair', '--pairs', 1, '-n', 100, '-w', 100, '-b', 10,
                              '--timeout', 2], timeout=60)
        finally:
            server.close()
        self.assertEqual(result['published'], 100)
        return status, *(result[k] for k in ('lost', 'duplicated', 'reordered'))

    def test_a_faultless_broker_is_found_faultless(self):
        self.assertEqual(self.counts(lambda packets: packets), (0, 0, 0, 0))

    def test_lost_messages_are_counted(self):
        def lose(packets):
            return [p for p in packets if b'\x07\x00\x00\x00' not in p and
                    b'\x63\x00\x00\x00' not in p]  # numbers 7 and 99
        self.assertEqual(self.counts(lose), (3, 2, 0, 0))

    def test_doubled_messages_are_counted(self):
        def double(packets):
            return packets + packets[:1]
        status, lost, duplicated, reordered = self.counts(double)
        self.assertEqual((status, lost, reordered), (3, 0, 0))
        self.assertGreaterEqual(duplicated, 1)

    def test_swapped_messages_are_counted(self):
        def swap(packets):
            return packets[1:2] + packets[:1] + packets[2:]
        status, lost, duplicated, reordered = self.counts(swap)
        self.assertEqual((status, lost, duplicated), (3, 0, 0))
        self.assertGreaterEqual(reordered, 1)


class TestFailures(unittest.TestCase):
    """What cannot be measured ends with a message and an exit status."""

    def fail(self, status, *args):
        done = subprocess.run([brokers.bench_binary(), *map(str, args)], capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertTrue(done.stderr.startswith('pigeon-bench: '), done.stderr)
        self.assertEqual(done.stdout, '')
        return done.stderr

    def test_bad_usage_is_status_2(self):
        self.assertIn('unknown shape', self.fail(2, 'triangle'))
        self.assertIn('shape is missing', self.fail(2))
        self.assertIn('one shape', self.fail(2, 'pair', 'churn'))
        self.assertIn('unknown option', self.fail(2, '--nonsense', 'pair'))
        self.assertIn('value is missing', self.fail(2, 'pair', '--qos'))
        self.assertIn('--qos needs', self.fail(2, 'pair', '--qos', 3))
        self.assertIn('--payload needs', self.fail(2, 'pair', '--payload', 15))
        self.assertIn('--mqtt needs', self.fail(2, 'pair', '--mqtt', '4'))
        self.assertIn('means nothing', self.fail(2, 'idle', '--filters', 3))
        self.assertIn('QoS 0', self.fail(2, 'offline', '--qos', 0))

    def test_no_broker_is_status_1(self):
        self.assertIn('cannot connect', self.fail(1, '-p', brokers.free_port(), 'pair'))

    def test_no_such_process_is_status_1(self):
        self.assertIn('no process', self.fail(1, '--broker-pid', 2**30, 'pair'))

    def test_a_silent_broker_is_status_1(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]
            self.assertIn('no answer', self.fail(1, '-p', port, '--timeout', 0.2, 'churn'))

    def test_a_broker_that_talks_nonsense_is_status_1(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]

            def talk():
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(b'\x00\xff\xff\xff\xff\xff')
                    peer.recv(1000)
            threading.Thread(target=talk, daemon=True).start()
            self.assertIn('malformed', self.fail(1, '-p', port, 'churn', '--connections', 1))


if __name__ == '__main__':
    unittest.main()
