"""Damaged files: the broker starts with everything that was acknowledged, or refuses and says how to go on;
with `salvage` it starts, says that something is lost, and invents nothing.

Files of a store that was stopped or killed are cut and bits in them are turned, at random places. A cut log
looks like one whose last commits were not finished: then what is there is what was there at some time.
PIGEON_TEST_ROUNDS sets the number of damages, PIGEON_TEST_SEED repeats one run.
"""

import os
import random
import shutil
import unittest

import mqtt
from broker import KIND, Broker
from mqtt import PUBLISH, Will
from test_crash import FOREVER, stores

ROUNDS = int(os.environ.get('PIGEON_TEST_ROUNDS', '6'))
STORE = 6  # exit code
SESSIONS, MESSAGES, RETAINED = 5, 40, 60
DURABLE = {'clean': False, 'props': FOREVER}
# Small buffers, so that LevelDB has sorted tables too.
OPTIONS = {'leveldb': {'write_buffer': '64K', 'reserve': 0}, 'sqlite': {'reserve': 0}}


class Damaged(Broker):
    """Remembers the exit code of a start that failed."""

    code = None

    def kill(self):
        process = self.process
        super().kill()
        if process is not None:
            self.code = process.returncode


def payload(rng, *what):
    return b'%s|%s' % ('/'.join(map(str, what)).encode(), rng.randbytes(rng.randrange(900)))


@unittest.skipIf(KIND != 'pigeon', 'files of Pigeon')
class Salvage(unittest.TestCase):
    def setUp(self):
        self.seed = int(os.environ.get('PIGEON_TEST_SEED', random.randrange(1 << 32)))
        self.rng = random.Random(self.seed)

    def broker(self, store, salvage=False):
        options = dict(OPTIONS.get(store, {}), salvage=salvage)
        broker = Damaged({'persistence': store, 'restart_grace': 0,
                          'plugins': {f'store-{store}': {'options': options}}})
        self.addCleanup(broker.cleanup)
        return broker

    def client(self, broker, name, **kw):
        c = mqtt.Client(broker.address, name, **kw)
        self.addCleanup(c.close)
        c.connect()
        return c

    # -- what there is to lose

    def fill(self, broker):
        """{session: payloads}, {topic: payload} as they were acknowledged."""
        queues, retained = {f's{i}': [] for i in range(SESSIONS)}, {}
        for name in queues:
            c = self.client(broker, name, will=Will('wills', name.encode(), 1), **DURABLE)
            c.subscribe(f'q/{name}', 'all', qos=1)
            c.disconnect()
        pub = self.client(broker, 'pub')
        for i in range(MESSAGES):
            for name, queue in queues.items():
                queue.append(payload(self.rng, name, i))
                self.assertEqual(pub.publish(f'q/{name}', queue[-1], 1), 0)
            one = payload(self.rng, 'all', i)
            self.assertEqual(pub.publish('all', one, 1), 0)
            for queue in queues.values():
                queue.append(one)
        for i in range(RETAINED):
            retained[f'r/{i}'] = payload(self.rng, 'r', i)
            self.assertIn(pub.publish(f'r/{i}', retained[f'r/{i}'], 1, retain=True), (0, 0x10))
        pub.disconnect()
        return queues, retained

    def files(self, place):
        """Those that hold the store."""
        found = []
        for here, _, names in os.walk(place):
            found += [os.path.join(here, n) for n in names
                      if not n.endswith(('-lock', '-reserve', 'LOCK', 'LOG', 'LOG.old', 'node-id'))]
        return sorted(f for f in found if os.path.getsize(f))

    # -- damage

    def damage(self, place):
        """(what was done, may the end be missing)."""
        files = self.files(place)
        path = self.rng.choice(files)
        size, name = os.path.getsize(path), os.path.basename(path)
        is_log = name.endswith(('-wal', '.log'))
        if self.rng.random() < 0.4:
            at = self.rng.randrange(size)
            if name.startswith('MANIFEST'):
                at = size - self.rng.randrange(1, 7)  # within the last record
            os.truncate(path, at)
            return f'{name} of {size} bytes cut to {at}', is_log
        flips = [(self.rng.randrange(size), 1 << self.rng.randrange(8))
                 for _ in range(self.rng.choice((1, 1, 8)))]
        with open(path, 'r+b') as f:
            for at, bit in flips:
                f.seek(at)
                old = f.read(1)[0]
                f.seek(at)
                f.write(bytes([old ^ bit]))
        # What is turned in the last commits of a log cannot be told from one that was not finished.
        return f'{name} of {size} bytes turned at {sorted(flips)}', is_log

    # -- what is left

    def found(self, broker):
        c = self.client(broker, 'reader')
        retained = {}
        c.subscribe('r/#', qos=1)
        c.ping()
        c.publish('r/fence', b'fence', 1)
        while True:
            p = c.message()
            if p.topic == 'r/fence':
                break
            retained[p.topic] = p.payload
        c.disconnect()
        queues = {}
        for i in range(SESSIONS):
            name = f's{i}'
            c, queue = self.client(broker, name, **DURABLE), []
            c.subscribe(f'fence/{name}', qos=1)
            c.publish(f'fence/{name}', b'fence', 1)
            while True:
                p = c.message()
                if p.topic.startswith('fence/'):
                    break
                queue.append(p.payload)
            queues[name] = queue
            c.disconnect()
        return queues, retained

    def is_begun(self, queues, retained, found):
        """A state of the past: everything up to some moment, nothing behind it."""
        cut = False
        for i in range(MESSAGES):
            for j in range(2):  # own message, then the one for all
                for name in queues:
                    n = 2 * i + j
                    is_there = found[0][name][n:n + 1] == queues[name][n:n + 1]
                    if is_there and cut and j == 0:
                        return False
                    cut = cut or not is_there
        kept = [f'r/{i}' in found[1] for i in range(RETAINED)]
        return kept == sorted(kept, reverse=True) and not (cut and any(kept))

    def strange(self, queues, retained, found):
        """What was never there, or is there twice or out of order: nothing of it may be."""
        for name, queue in found[0].items():
            at = -1
            for one in queue:
                if one not in queues[name][at + 1:]:
                    return f'{name}: {one[:20]!r}, known: {one in queues[name]}'
                at = queues[name].index(one)
        return [topic for topic, one in found[1].items() if retained.get(topic) != one]

    def judge(self, store, template, everything):
        queues, retained = everything
        broker = self.broker(store)
        shutil.rmtree(broker.state_dir)
        shutil.copytree(template, broker.state_dir)
        what, may_end_early = self.damage(broker.state_dir)
        copy = os.path.join(broker.dir, 'copy')
        shutil.copytree(broker.state_dir, copy)
        try:
            broker.start()
        except RuntimeError:
            self.assertEqual(broker.code, STORE, f'{what}\n{broker.report()}')
            log = '\n'.join(broker.log)
            self.assertIn(f'store.{store}', log, what)
            self.assertIn('salvage', log, what)
            self.refused += 1
            self.salvaged(store, copy, what, everything)
            return
        found = self.found(broker)
        self.assertEqual(broker.stop(), 0, f'{what}\n{broker.report()}')
        self.assertFalse(broker.complaints(), what)
        if found == everything:
            return
        lost = {n: len(queues[n]) - len(q) for n, q in found[0].items()}
        text = f'{what}: missing {lost}, retained {len(retained) - len(found[1])}' \
            f'\n{broker.report()}'
        self.assertFalse(self.strange(queues, retained, found), text)
        self.assertTrue(may_end_early and self.is_begun(queues, retained, found), text)

    def salvaged(self, store, damaged, what, everything):
        broker = self.broker(store, salvage=True)
        shutil.rmtree(broker.state_dir)
        shutil.copytree(damaged, broker.state_dir)
        try:
            broker.start()
        except RuntimeError as e:
            raise AssertionError(f'{what}: salvage: {e}') from None
        found = self.found(broker)
        self.assertFalse(self.strange(*everything, found), what)
        self.assertIn('salvage', '\n'.join(broker.log), what)
        self.assertEqual(broker.restart().stop(), 0, f'{what}\n{broker.report()}')
        self.assertFalse(broker.complaints(), what)

    def test_damaged_files_are_noticed(self):
        names = stores()
        if not names:
            self.skipTest('no durable store')
        for store in names:
            for killed in (False, True):
                self.refused = 0
                broker = self.broker(store)
                broker.start()
                everything = self.fill(broker)
                if killed:
                    broker.kill()
                else:
                    self.assertEqual(broker.stop(), 0)
                for i in range(ROUNDS):
                    with self.subTest(store=store, killed=killed, seed=self.seed, round=i):
                        self.judge(store, broker.state_dir, everything)
                broker.cleanup()
