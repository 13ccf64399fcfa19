"""mosquitto_pub and mosquitto_sub against the broker, in each version of the protocol."""

import json
import shutil
import signal
import unittest

from client_case import ClientCase

MISSING = [name for name in ('mosquitto_pub', 'mosquitto_sub') if not shutil.which(name)]
FORMAT = '{"topic":"%t","payload":"%p","qos":%q,"retain":%r}'


class Mosquitto:
    version = None  # as the clients' -V wants it
    wills = ['dies']  # which of the two below are sent

    def sub_start(self, *args, name='s', n=1):
        """A subscriber that ends after n messages, once it has its SUBACK."""
        p = self.start('mosquitto_sub', '-p', self.port, '-V', self.version, '-i',
                       self.name(name), '-C', n, '-F', FORMAT, '-W', 20, *args)
        self.logged('packet_out type=SUBACK', f'client={self.name(name)} ')
        return p

    def received(self, p):
        return [json.loads(line) for line in self.finish(p).decode().splitlines()]

    def pub(self, *args, name='p'):
        self.run_program('mosquitto_pub', '-p', self.port, '-V', self.version, '-i',
                         self.name(name), *args)

    def test_each_qos_arrives(self):
        for qos in (0, 1, 2):
            topic = self.topic(str(qos))
            sub = self.sub_start('-t', topic, '-q', 2, name=f's{qos}')
            self.pub('-t', topic, '-m', f'at {qos}', '-q', qos)
            self.assertEqual(self.received(sub), [
                {'topic': topic, 'payload': f'at {qos}', 'qos': qos, 'retain': 0}])

    def test_the_subscription_bounds_the_qos(self):
        sub = self.sub_start('-t', self.topic(), '-q', 1)
        self.pub('-t', self.topic(), '-m', 'x', '-q', 2)
        self.assertEqual(self.received(sub)[0]['qos'], 1)

    def test_wildcards_and_order(self):
        sub = self.sub_start('-t', self.topic('+', 'c'), '-t', self.topic('d', '#'), '-q', 1, n=4)
        for last in ('a/c', 'b/c', 'd', 'd/e/f'):
            self.pub('-t', self.topic(last), '-m', last, '-q', 1)
        self.assertEqual([m['payload'] for m in self.received(sub)],
                         ['a/c', 'b/c', 'd', 'd/e/f'])

    def test_many_lines_of_one_publisher_stay_in_order(self):
        n = 500
        sub = self.sub_start('-t', self.topic(), '-q', 2, n=n)
        p = self.start('sh', '-c', f'seq {n} | mosquitto_pub -p {self.port} -V {self.version} '
                       f'-i {self.name("p")} -t "$0" -q 2 -l', self.topic())
        self.finish(p)
        self.assertEqual([int(m['payload']) for m in self.received(sub)],
                         list(range(1, n + 1)))

    def test_retained_messages_come_first_and_can_be_cleared(self):
        self.pub('-t', self.topic(), '-m', 'kept', '-q', 1, '-r')
        self.assertEqual(self.received(self.sub_start('-t', self.topic(), '-q', 1)), [
            {'topic': self.topic(), 'payload': 'kept', 'qos': 1, 'retain': 1}])
        self.pub('-t', self.topic(), '-n', '-q', 1, '-r')
        sub = self.sub_start('-t', self.topic(), name='s2')
        self.pub('-t', self.topic(), '-m', 'live')
        self.assertEqual([m['payload'] for m in self.received(sub)], ['live'])

    def test_a_will_is_sent_when_the_client_dies_and_not_when_it_leaves(self):
        watcher = self.sub_start('-t', self.topic('will', '#'), '-q', 1, n=len(self.wills))
        for how in ('leaves', 'dies'):
            client = self.sub_start('-t', self.topic('nothing'), '--will-topic',
                                    self.topic('will', how), '--will-payload', how, '--will-qos',
                                    1, name=how)
            client.send_signal(signal.SIGKILL if how == 'dies' else signal.SIGTERM)
            client.wait()
            self.logged('client_disconnected', f'client={self.name(how)} ')
        self.assertEqual([m['payload'] for m in self.received(watcher)], self.wills)

    def test_a_session_keeps_what_came_meanwhile(self):
        session = ['-c', '-t', self.topic(), '-q', '1']
        if self.version == '5':
            session += ['-x', '1000']
        first = self.sub_start(*session)
        first.send_signal(signal.SIGTERM)
        first.wait()
        self.logged('client_disconnected', f'client={self.name("s")} ')
        for i in range(10):
            self.pub('-t', self.topic(), '-m', i, '-q', 1)
        again = self.start('mosquitto_sub', '-p', self.port, '-V', self.version, '-i',
                           self.name('s'), '-C', 10, '-F', FORMAT, *session)
        self.assertEqual([m['payload'] for m in self.received(again)], [str(i) for i in range(10)])

    def test_large_payloads(self):
        sub = self.start('mosquitto_sub', '-p', self.port, '-V', self.version, '-i',
                         self.name('s'), '-C', 1, '-N', '-t', self.topic())
        self.logged('packet_out type=SUBACK', f'client={self.name("s")} ')
        path = shutil.which('mosquitto_sub')
        self.pub('-t', self.topic(), '-f', path, '-q', 2)
        with open(path, 'rb') as f:
            self.assertEqual(self.finish(sub), f.read())


@unittest.skipIf(MISSING, f'not installed: {", ".join(MISSING)}')
class Version31(Mosquitto, ClientCase):
    version = '31'


@unittest.skipIf(MISSING, f'not installed: {", ".join(MISSING)}')
class Version311(Mosquitto, ClientCase):
    version = '311'


@unittest.skipIf(MISSING, f'not installed: {", ".join(MISSING)}')
class Version5(Mosquitto, ClientCase):
    version = '5'
    wills = ['leaves', 'dies']  # it leaves with reason code 4: disconnect with will message

    def test_properties_travel(self):
        sub = self.start('mosquitto_sub', '-p', self.port, '-V', 5, '-i', self.name('s'), '-C', 1,
                         '-t', self.topic(), '-F', '%P %C %R %D')
        self.logged('packet_out type=SUBACK', f'client={self.name("s")} ')
        self.pub('-t', self.topic(), '-m', 'x', '-D', 'publish', 'user-property', 'k', 'v',
                 '-D', 'publish', 'content-type', 'text/plain', '-D', 'publish', 'response-topic',
                 'answers', '-D', 'publish', 'correlation-data', 'c1')
        self.assertEqual(self.finish(sub).decode().strip(), 'k:v text/plain answers c1')

    def test_request_and_response(self):
        if not shutil.which('mosquitto_rr'):
            self.skipTest('not installed: mosquitto_rr')
        rr = self.start('mosquitto_rr', '-p', self.port, '-V', 5, '-i', self.name('r'), '-t',
                        self.topic('ask'), '-e', self.topic('answer'), '-m', 'who', '-q', 1)
        self.logged('packet_in type=PUBLISH', f'client={self.name("r")} ')
        self.pub('-t', self.topic('answer'), '-m', 'me', '-q', 1)
        self.assertEqual(self.finish(rr).decode().strip(), 'me')

    def test_a_shared_subscription_gives_each_message_to_one_member(self):
        n = 40
        members = [self.start('mosquitto_sub', '-p', self.port, '-V', 5, '-i', self.name(m), '-t',
                              f'$share/g/{self.topic()}', '-q', 1, '-F', '%p') for m in 'ab']
        for m in 'ab':
            self.logged('packet_out type=SUBACK', f'client={self.name(m)} ')
        all_of_them = self.sub_start('-t', self.topic(), '-q', 1, n=n)
        for i in range(n):
            self.pub('-t', self.topic(), '-m', i, '-q', 1)
        self.received(all_of_them)
        for m in members:
            m.send_signal(signal.SIGTERM)
        got = [int(line) for m in members for line in m.communicate()[0].split()]
        self.assertEqual(sorted(got), list(range(n)))
