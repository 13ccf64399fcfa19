"""Numbered messages from several publishers, and a receiver that checks each one.

Publishers run in threads of their own and number their messages from 0 for each topic. A receiver
outlives its connections as a session does: it knows the QoS 2 identifiers that it holds, and
fails at once when a message is lost, out of order, or delivered twice.
"""

import threading
import time

import mqtt
from mqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, V5, Failure


class Publisher(threading.Thread):
    """Publishes to topic/0, topic/1, topic/2 with these QoS until stop(); never waits for others.

    paced: it publishes only as many rounds as more() allowed.
    cut: a function of the number of messages sent; when true, the connection is dropped in the
    middle of the handshake and the session taken up again.
    """

    def __init__(self, broker, client_id, topic, version=V5, qos=(1, 2), limit=None, cut=None,
                 paced=False):
        super().__init__(daemon=True)
        self.broker, self.client_id, self.topic, self.version = broker, client_id, topic, version
        self.qos, self.limit, self.cut = qos, limit, cut or (lambda n: False)
        self.count = dict.fromkeys(qos, 0)
        self.error, self._halt = None, threading.Event()
        self._allowed = threading.Semaphore(0) if paced else None
        self._c = self.connect(first=True)

    def connect(self, first=False):
        props = {'session_expiry_interval': 600} if self.version == V5 else None
        clean = first and self.version == V5  # an older clean session would end when it is cut
        c = mqtt.Client(self.broker, self.client_id, self.version, clean=clean, props=props)
        c.connect(session_present=not first)
        return c

    def run(self):
        try:
            n = 0
            while not self._halt.is_set() and (self.limit is None or n < self.limit):
                if self._allowed is not None and not self._allowed.acquire(timeout=0.1):
                    continue
                for qos in self.qos:
                    self.send(qos, n % 60000 + 1)
                n += 1
            self._c.ping()
            self._c.disconnect()
        except BaseException as e:  # reported by stop()
            self.error = e

    def send(self, qos, mid):
        n = self.count[qos]
        topic, payload = f'{self.topic}/{qos}', b'%d' % n
        self.count[qos] += 1

        def one(dup=False):
            return mqtt.publish(topic, payload, qos, mid if qos else None, dup=dup,
                                version=self.version)

        self._c.send(one())
        if qos == 0:
            return
        if self.cut(n):  # nobody knows whether it arrived
            self._c.abort()
            self._c = self.connect()
            self._c.send(one(dup=True))
        self._c.wait(PUBACK if qos == 1 else PUBREC, mid=mid)
        if qos == 1:
            return
        self._c.send(mqtt.ack(PUBREL, mid))
        if self.cut(n):
            self._c.abort()
            self._c = self.connect()
            self._c.send(mqtt.ack(PUBREL, mid))
        self._c.wait(PUBCOMP, mid=mid)

    def more(self, n):
        self._allowed.release(n)

    def stop(self):
        """Waits for the message under way; what was published, by topic."""
        self._halt.set()
        self.join(mqtt.DEADLINE * 3)
        if self.error:
            raise self.error
        if self.is_alive():
            raise Failure(f'{self.client_id} does not stop')
        return {f'{self.topic}/{qos}': n for qos, n in self.count.items()}


class Receiver:
    """repeats: the publishers send QoS 1 messages again, so they may come twice without DUP.
    gaps: QoS 0 messages may be missing."""

    def __init__(self, repeats=False, gaps=False):
        self.repeats, self.gaps = repeats, gaps
        self.next = {}  # number of the next message, by topic
        self.held = {}  # QoS 2 identifiers without PUBREL: topic and number
        self.n_again = 0

    def take(self, c, p):
        """One packet of connection c; acknowledges it there."""
        if p.type == PUBLISH:
            self._publish(c, p)
        elif p.type == PUBREL:
            self.held.pop(p.mid, None)
            c.send(mqtt.ack(PUBCOMP, p.mid))

    def _publish(self, c, p):
        n, want = int(p.payload), self.next.get(p.topic, 0)
        if p.qos == 2:
            again = p.mid in self.held
            if again and (self.held[p.mid] != (p.topic, n) or not p.dup):
                raise Failure(f'identifier {p.mid} is held for {self.held[p.mid]}: {p!r}')
            self.held[p.mid] = (p.topic, n)
            if not again and n < want:
                raise Failure(f'{n} was delivered before, {want} is next: {p!r}')
        else:
            again = n < want
            if again and not p.dup and not self.repeats:
                raise Failure(f'{n} again without DUP, {want} is next: {p!r}')
        if again:
            self.n_again += 1
        elif n > want and not (self.gaps and p.qos == 0):
            raise Failure(f'{n} came, {want} is next: {p!r}')
        else:
            self.next[p.topic] = n + 1
        if p.qos:
            c.send(mqtt.ack(PUBACK if p.qos == 1 else PUBREC, p.mid))

    def drain(self, c, but=0):
        """Takes what arrived up to the answer to a PINGREQ, but for the last ones."""
        got = c.drain()
        for p in got[:len(got) - but]:
            self.take(c, p)

    def until_closed(self, c):
        """Takes what is left on a connection that the server closes; its DISCONNECT or None."""
        while True:
            try:
                p = c.recv()
            except mqtt.Closed:
                return None
            if p.type == mqtt.DISCONNECT:
                return p
            self.take(c, p)

    def complete(self, c, sent):
        """Takes packets until all that was sent is there and every handshake is complete."""
        deadline = time.monotonic() + mqtt.DEADLINE * 3
        while self.held or any(self.next.get(t, 0) < n for t, n in sent.items()):
            if time.monotonic() > deadline:
                missing = {t: (self.next.get(t, 0), n) for t, n in sent.items()
                           if self.next.get(t, 0) < n}
                raise Failure(f'missing {missing}, held {self.held}')
            self.take(c, c.recv())
        self.drain(c)
        if any(self.next.get(t, 0) != n for t, n in sent.items()):
            raise Failure(f'{self.next} received, {sent} sent')
