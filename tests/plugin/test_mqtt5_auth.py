"""MQTT 5.0 sections 3.15 AUTH and 4.12 enhanced authentication, with a plugin that knows a method."""

import mqtt
from mqtt import AUTH, CONNACK, DISCONNECT, PUBLISH
from plugin_case import NUMBERS, PluginCase, SpecCase, plugin, spec

METHOD = 'challenge'


def auth(data, reason=0x18, method=METHOD):
    if isinstance(data, str):
        data = data.encode()
    return mqtt.auth(reason, {'authentication_method': method, 'authentication_data': data})


class Enhanced(PluginCase, SpecCase):
    options = {'plugins': {**plugin('enhanced'), **NUMBERS}}

    def begin(self, data, name='c', method=METHOD, props=None, **kw):
        """CONNECT with a method; what answers it is still to be read."""
        c = self.raw(self.id(name), props={**(props or {}), 'authentication_method': method,
                                           'authentication_data': data}, **kw)
        c.send_connect()
        return c

    def challenge(self, c, n):
        """The server's AUTH number n."""
        p = c.expect(AUTH, reason=0x18)
        self.assertEqual(p.props.get('authentication_method'), METHOD)
        self.assertEqual(p.props.get('authentication_data'), f'challenge-{n}'.encode())
        return p

    def welcome(self, c, ptype=CONNACK):
        p = c.expect(ptype, reason=0)
        self.assertEqual(p.props.get('authentication_method'), METHOD)
        self.assertEqual(p.props.get('authentication_data'), b'welcome')
        return p

    def online(self, data='1', **kw):
        """A client that came in by the method."""
        c = self.begin(data, **kw)
        for n in range(1, int(data[-1]) + 1):
            self.challenge(c, n)
            c.send(auth(f'answer-{n}'))
        self.welcome(c)
        return c

    # -- at CONNECT

    @spec('MQTT-4.12.0-2', 'MQTT-4.12.0-5', 'MQTT-3.15.2-1')
    def test_steps_as_many_as_the_method_needs(self):
        for n in (0, 1, 2, 9):
            for late in ('', 'l'):
                with self.subTest(n=n, late=late):
                    self.online(f'{late}{n}', name=f'n{n}{late}').ping()

    @spec('MQTT-4.12.0-4')
    def test_any_step_may_refuse(self):
        for n in (1, 2, 3):
            for late in ('', 'l'):
                with self.subTest(n=n, late=late):
                    c = self.begin(f'{late}3', name=f'n{n}{late}')
                    for step in range(1, n):
                        self.challenge(c, step)
                        c.send(auth(f'answer-{step}'))
                    self.challenge(c, n)
                    c.send(auth('wrong'))
                    self.assertEqual(c.expect(CONNACK).reason, 0x87)
                    c.expect_close()
        c = self.begin('nonsense')
        self.assertEqual(c.expect(CONNACK).reason, 0x87)
        c.expect_close()

    @spec('MQTT-4.12.0-1')
    def test_another_method_is_refused(self):
        c = self.begin('1', method='CHALLENGE')
        self.assertIn(c.expect(CONNACK).reason, (0x8C, 0x87))
        c.expect_close()

    @spec('MQTT-4.12.0-6')
    def test_without_a_method_the_plugin_is_not_asked(self):
        c = self.client()
        self.assertNotIn('authentication_method', c.connack.props)

    @spec('MQTT-4.12.0-5')
    def test_a_client_that_changes_the_method_is_refused(self):
        c = self.begin('2')
        self.challenge(c, 1)
        c.send(auth('answer-1', method='other'))
        p = c.expect_close(0x82, 0x8C, 0x87, connack=True)
        self.assertIsNotNone(p)

    def test_a_client_may_only_continue(self):
        for reason in (0x00, 0x19):
            with self.subTest(reason=reason):
                c = self.begin('2', name=f'r{reason}')
                self.challenge(c, 1)
                c.send(auth('answer-1', reason=reason))
                c.expect_close(0x81, 0x82, connack=True)

    def test_other_packets_wait_for_the_end(self):
        topic = self.topic()
        sub = self.subscriber(topic)
        c = self.begin('2')
        self.challenge(c, 1)
        c.send(auth('answer-1'))
        self.challenge(c, 2)
        sub.expect_nothing()
        c.send(auth('answer-2'), mqtt.publish(topic, b'after'))
        self.welcome(c)
        sub.message(topic, b'after')

    def test_a_publish_before_the_last_step_is_kept_or_refused(self):
        topic = self.topic()
        sub = self.subscriber(topic)
        c = self.begin('1')
        self.challenge(c, 1)
        c.send(mqtt.publish(topic, b'early'))
        sub.expect_nothing()
        try:
            c.send(auth('wrong'))
            c.expect_close(0x87, 0x82, connack=True)
        finally:
            sub.expect_nothing()

    @spec('MQTT-3.15.2-2', 'MQTT-3.15.2-3')
    def test_no_reason_string_makes_auth_too_large(self):
        # the client of these tests refuses what is above its Maximum Packet Size
        c = self.begin('w2', props={'maximum_packet_size': 60})
        self.challenge(c, 1)
        c.send(auth('answer-1'))
        self.challenge(c, 2)
        c.send(auth('answer-2'))
        self.welcome(c)
        c.send(auth('w1', reason=0x19))
        self.challenge(c, 1)
        c.send(auth('answer-1'))
        self.welcome(c, AUTH)

    def test_clients_that_leave_within_an_exchange_leave_nothing_behind(self):
        reader = self.reader('enhanced', 'made', 'freed')
        made = freed = None
        while made is None or freed is None:
            p = reader.message()
            made = int(p.payload) if p.topic.endswith('/made') else made
            freed = int(p.payload) if p.topic.endswith('/freed') else freed
        for how in ('close', 'abort'):
            for late in ('', 'l'):
                c = self.begin(f'{late}2', name=how + late)
                self.challenge(c, 1)
                c.send(auth('answer-1'))
                getattr(c, how)()
        while made < freed + 4 or made != freed:
            p = reader.message()
            made = int(p.payload) if p.topic.endswith('/made') else made
            freed = int(p.payload) if p.topic.endswith('/freed') else freed
            if made == freed:
                break
        self.still_serving()

    # -- afterwards

    @spec('MQTT-4.12.0-5', 'MQTT-3.15.2-1')
    def test_a_client_authenticates_again(self):
        for late in ('', 'l'):
            with self.subTest(late=late):
                c = self.online(name=f'c{late}')
                for n in (0, 1, 3):
                    c.send(auth(f'{late}{n}', reason=0x19))
                    for step in range(1, n + 1):
                        self.challenge(c, step)
                        c.send(auth(f'answer-{step}'))
                    self.welcome(c, AUTH)
                c.ping()

    @spec('MQTT-4.12.1-2')
    def test_a_failed_re_authentication_closes(self):
        for late in ('', 'l'):
            for bad in ('nonsense', 'wrong'):
                with self.subTest(late=late, bad=bad):
                    c = self.online(name=f'c{late}{bad}')
                    if bad == 'wrong':
                        c.send(auth(f'{late}1', reason=0x19))
                        self.challenge(c, 1)
                        c.send(auth('wrong'))
                    else:
                        c.send(auth(f'{late}nonsense', reason=0x19))
                    self.assertIsNotNone(c.expect_close(0x87))

    def test_a_failed_re_authentication_publishes_the_will(self):
        topic = self.topic()
        sub = self.subscriber(topic)
        c = self.online(will=mqtt.Will(topic, b'gone'))
        c.send(auth('nonsense', reason=0x19))
        c.expect(DISCONNECT, reason=0x87)
        sub.message(topic, b'gone')

    @spec('MQTT-4.12.1-1')
    def test_re_authentication_keeps_the_method(self):
        c = self.online()
        c.send(auth('1', reason=0x19, method='other'))
        c.expect_close(0x82, 0x8C)

    def test_traffic_goes_on_during_re_authentication(self):
        topic = self.topic()
        c = self.online()
        c.subscribe(topic)
        c.send(auth('1', reason=0x19))
        self.challenge(c, 1)
        self.client('pub').publish(topic, b'meanwhile')
        self.assertEqual(c.expect(PUBLISH).payload, b'meanwhile')
        self.assertEqual(c.publish(topic, b'own', qos=1), 0)
        c.message(topic, b'own')
        c.send(auth('answer-1'))
        self.welcome(c, AUTH)

    def test_an_answer_nobody_asked_for_closes(self):
        c = self.online()
        c.send(auth('answer-1'))
        c.expect_close(0x82)

    def test_re_authentication_within_one_closes(self):
        c = self.online()
        c.send(auth('2', reason=0x19))
        self.challenge(c, 1)
        c.send(auth('2', reason=0x19))
        c.expect_close(0x82)


class EnhancedOfFour(Enhanced):
    """The same of a plugin with workers: an exchange stays with the one it began with."""

    options = {'plugins': {**plugin('enhanced', run='worker', workers=4), **NUMBERS}}
    # [MQTT-3.1.2-30] A PUBLISH before the CONNACK: how long the worker takes decides what becomes of it.
    test_other_packets_wait_for_the_end = None

    def test_clients_of_every_worker_come_in_and_authenticate_again(self):
        for n in range(24):
            c = self.online('2', name=f'w{n}')
            c.send(auth('1', reason=0x19))
            self.challenge(c, 1)
            c.send(auth('answer-1'))
            self.welcome(c, AUTH)
            c.ping()
