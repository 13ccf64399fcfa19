"""Rights that a plugin pushes and takes back (rule X3 of the plugin ABI), and clients that it sends
away. What the plugin does: revoke.c."""

import unittest

import broker
import mqtt
from mqtt import AUTH, CONNACK, DISCONNECT, SUBACK
from plugin_case import PluginCase, plugin
from test_crash import FOREVER, stores


NOBODY = 0x10  # subscribes to what is published here
GONE = 0x11    # no subscription existed
DENIED = 0x87

# What is held is released by the test, however slow the machine is.
REVOKE = plugin('revoke', deadline='60s')


def auth(data, reason=0x18):
    return mqtt.auth(reason, {'authentication_method': 'rules', 'authentication_data': data})


class Revoke(PluginCase):
    options = {'plugins': REVOKE, 'threads': 1}

    def setUp(self):
        super().setUp()
        self.key = self.client('key')
        self.addCleanup(self.order, 'restore')

    def order(self, topic, *rest):
        with self.raw(self.id('key-order')) as c:
            c.connect()
            # Who subscribed to everything in another test may still be on its way out.
            self.assertIn(c.publish('/'.join((topic, *rest)), qos=1), (0, NOBODY))

    def held(self, *packets):
        """Does what makes the plugin hold something, and waits for that."""
        self.key.subscribe('held')
        for c, data in packets:
            c.send(data)
        self.key.message('held')

    def granted(self, name='c', **kw):
        """A client with a rule for granted/#."""
        return self.client(name, **kw)

    def settled(self, c):
        """What this client's loop was told to ask again is answered: the loop has learnt of it when
        the first publish is asked about, and the second one is asked about behind it."""
        for _ in range(2):
            c.publish('settled', qos=1)

    def thrown_out(self, c):
        c.expect(DISCONNECT, reason=DENIED)
        c.expect_close()

    # -- invalidate

    def test_who_has_pushed_rules_must_authenticate_again(self):
        c = self.granted()
        self.assertEqual(c.publish('granted/x', qos=1), NOBODY)
        self.order('revoke')
        self.thrown_out(c)

    def test_without_rules_the_hooks_are_asked_again(self):
        c = self.client('plain')
        c.subscribe('a', 'cached/t')
        self.assertEqual(c.publish('cached/x', qos=1), NOBODY)
        self.order('revoke')
        self.assertEqual(c.publish('other', qos=1), DENIED)
        self.assertEqual(c.publish('cached/x', qos=1), DENIED)
        self.assertEqual(list(c.unsubscribe('a', 'cached/t').reasons), [GONE, GONE])

    def test_what_is_still_allowed_stays(self):
        c = self.client('plain')
        c.subscribe('a', 'b')
        self.order('forbid', 'a')
        self.settled(c)
        self.assertEqual(list(c.unsubscribe('a', 'b').reasons), [GONE, 0])

    def test_one_client_or_one_user_is_meant(self):
        c, d, e = (self.granted(n, username=u) for n, u in (('c', 'ann'), ('d', 'bob'), ('e', None)))
        self.order('invalidate', self.id('c'))
        self.thrown_out(c)
        self.order('invalidate-user', 'bob')
        self.thrown_out(d)
        self.assertEqual(e.publish('granted/x', qos=1), NOBODY)
        self.order('invalidate')
        self.thrown_out(e)

    def test_a_subscribe_that_is_under_way_is_asked_about_again(self):
        c = self.client('plain')
        self.held((c, mqtt.subscribe([('hold/x', 0)], mid=7)))
        self.order('forbid', 'hold/x')
        self.order('release')
        self.assertEqual(list(c.expect(SUBACK).reasons), [0])
        self.settled(c)
        self.assertEqual(list(c.unsubscribe('hold/x').reasons), [GONE])

    def test_a_connect_that_is_under_way_is_sent_away(self):
        c = self.raw(self.id('c'), will=mqtt.Will('hold/will', b'w'))
        self.key.subscribe('held')
        c.send_connect()
        self.key.message('held')  # it has authenticated: its will is looked at
        self.order('invalidate')
        self.order('release')
        self.assertEqual(c.expect(CONNACK).reason, 0)
        self.thrown_out(c)

    def test_an_authenticate_that_began_before_does_not_let_in(self):
        self.key.subscribe('held')
        c = self.raw(self.id('slow'))
        c.send_connect()
        self.key.message('held')
        self.order('invalidate')
        self.order('release')
        self.assertEqual(c.expect(CONNACK).reason, 0x89)
        c.expect_close()

    def test_the_will_of_who_has_gone_is_not_sent_on_rights_taken_back(self):
        sub = self.subscriber('granted/will', name='sub')
        for name, taken in (('c', True), ('d', False)):
            will = mqtt.Will('granted/will', name.encode(), props={'will_delay_interval': 600})
            kw = dict(will=will, props={'session_expiry_interval': 700})
            self.granted(name, **kw).abort()
            self.granted(name + 'x').disconnect()
            if taken:
                self.order('invalidate', self.id(name))
            self.client(name)  # Clean Start: the old session ends, and with it the delay
        sub.message('granted/will', b'd')
        self.expect_nothing_from(self.key, sub)

    def test_a_session_that_is_offline_is_asked_about_when_it_is_back(self):
        props = {'session_expiry_interval': 60}
        c = self.client('plain', props=props)
        c.subscribe('a', 'b')
        c.disconnect()
        self.order('forbid', 'a')
        c = self.client('plain', clean=False, props=props, session_present=True)
        self.assertEqual(list(c.unsubscribe('a', 'b').reasons), [GONE, 0])

    def test_a_subscription_taken_away_does_not_come_back(self):
        props = {'session_expiry_interval': 60}
        c = self.client('plain', props=props)
        c.subscribe('a', 'b')
        self.order('forbid', 'a')
        self.settled(c)
        self.order('forget')
        c.disconnect()
        c = self.client('plain', clean=False, props=props, session_present=True)
        self.assertEqual(list(c.unsubscribe('a', 'b').reasons), [GONE, 0])

    # -- rules

    def test_a_deny_that_meets_a_filter_is_applied_to_deliveries(self):
        self.key.publish('secret/kept', b'no', retain=True, qos=1)
        self.key.publish('public/kept', b'yes', retain=True, qos=1)
        c = self.client('deny')
        self.assertEqual(list(c.subscribe('secret/+', '$share/g/secret/x').reasons),
                         [DENIED, DENIED])
        self.assertEqual(list(c.subscribe('+/kept').reasons), [0])
        c.message('public/kept', b'yes')
        self.assertEqual(list(c.subscribe('$share/g/#').reasons), [0])
        self.key.publish('secret/x', b'no')
        self.key.publish('public/x', b'yes')
        c.message('public/x', b'yes')
        self.expect_nothing_from(self.key, c)
        for topic in ('secret/kept', 'public/kept'):
            self.key.publish(topic, b'', retain=True, qos=1)

    # -- enhanced authentication

    def exchanged(self, *steps):
        c = self.raw(self.id('c'), props={'authentication_method': 'rules',
                                          'authentication_data': steps[0]})
        c.send_connect()
        for step in steps[1:]:
            c.expect(AUTH, reason=0x18)
            c.send(auth(step))
        c.expect(CONNACK, reason=0)
        return c

    def test_what_earlier_steps_pushed_holds_at_the_end(self):
        c = self.exchanged('+a/#', '+b/#', 'c/#')
        for topic, reason in (('a/x', NOBODY), ('b/x', NOBODY), ('c/x', NOBODY), ('d/x', DENIED)):
            self.assertEqual(c.publish(topic, qos=1), reason)

    def test_rules_of_a_re_authentication_replace_and_are_applied_to_subscriptions(self):
        c = self.exchanged('+a/#', 'b/#')
        self.assertEqual(list(c.subscribe('a/1', 'b/1').reasons), [0, 0])
        c.send(auth('+c/#', reason=0x19))
        c.expect(AUTH, reason=0x18)
        c.send(auth('b/#'))
        c.expect(AUTH, reason=0)
        for topic, reason in (('a/x', DENIED), ('b/x', NOBODY), ('c/x', NOBODY)):
            self.assertEqual(c.publish(topic, qos=1), reason)
        self.assertEqual(list(c.unsubscribe('a/1', 'b/1').reasons), [GONE, 0])

    def test_a_new_deny_rule_holds_before_the_plugins_have_been_asked_again(self):
        c = self.exchanged('-none')
        self.held((c, mqtt.subscribe([('hold/#', 0)], mid=7)))
        self.order('release')
        self.assertEqual(list(c.expect(SUBACK).reasons), [0])
        c.send(auth('-hold/secret', reason=0x19))
        c.expect(AUTH, reason=0)
        self.key.message('held')  # about hold/#, which is not covered
        for _ in range(2):
            self.key.publish('hold/secret', b'no', qos=1)
            self.key.publish('hold/open', b'yes', qos=1)
            c.message('hold/open', b'yes')
            self.order('release')
        self.expect_nothing_from(self.key, c)

    def test_a_new_deny_rule_holds_for_a_subscribe_that_began_before(self):
        for filter_ in ('hold/#', 'hold/secret'):
            with self.subTest(filter=filter_):
                c = self.exchanged('-none')
                self.held((c, auth('=-hold/secret', reason=0x19)))
                c.send(mqtt.subscribe([(filter_, 0)], mid=7))
                self.key.message('held')
                self.order('release-earlier')
                c.expect(AUTH, reason=0)
                self.order('release')
                self.assertEqual(list(c.expect(SUBACK).reasons), [0])
                if filter_ == 'hold/#':
                    self.key.message('held')  # asked about again
                for _ in range(2):
                    self.key.publish('hold/secret', b'no', qos=1)
                    self.key.publish('hold/open', b'yes', qos=1)
                    if filter_ == 'hold/#':
                        c.message('hold/open', b'yes')
                        self.order('release')
                self.expect_nothing_from(self.key, c)
                c.disconnect()


class RevokeTwoLoops(Revoke):
    options = {'plugins': REVOKE, 'threads': 2}


class RevokeEightLoops(Revoke):
    options = {'plugins': REVOKE, 'threads': 8}


class Listener(PluginCase):
    """The chain of the listener is another one than the broker's own, which asks nobody."""
    options = {'plugins': REVOKE, 'chains': {'authorize': []},
               'listeners': [dict(broker.LISTENER, chains={'authorize': ['revoke']})]}

    def test_a_will_is_looked_at_by_the_chain_of_its_listener(self):
        sub, key = self.subscriber('w/#', name='sub'), self.client('key')
        for name in ('a', 'b'):
            c = self.client('plain' + name, will=mqtt.Will('w/' + name, b'gone'))
            if name == 'a':
                key.publish('forbid/w/a', qos=1)
            c.abort()
        sub.message('w/b', b'gone')
        self.expect_nothing_from(key, sub)


class Narrowed(unittest.TestCase):
    @unittest.skipIf(broker.KIND != 'pigeon', 'plugins of Pigeon')
    def test_a_filter_made_narrower_stays_so_in_the_next_life(self):
        for store in stores():
            with self.subTest(store=store):
                one = broker.Broker({'plugins': REVOKE, 'persistence': store})
                try:
                    one.start()
                    self.narrowed(one)
                    self.assertEqual(one.stop(), 0, one.report())
                finally:
                    one.cleanup()

    def client(self, one, name, present=None):
        c = mqtt.Client(one.address, name, clean=False, props=FOREVER)
        self.addCleanup(c.close)
        c.connect(session_present=present)
        return c

    def narrowed(self, one):
        c, key = self.client(one, 'plain'), self.client(one, 'key')
        c.subscribe('wide/#', qos=1)
        self.assertEqual(key.publish('narrow', qos=1), NOBODY)
        deadline = broker.now() + mqtt.DEADLINE
        while key.publish('wide/x', b'too wide', 1) != NOBODY:
            self.assertLess(broker.now(), deadline)
        self.assertEqual(key.publish('wide/few/x', b'seen', 1), 0)
        while c.message().payload != b'seen':
            pass
        one.restart()
        key = self.client(one, 'key')
        self.assertEqual(key.publish('wide/y', b'no', 1), NOBODY)
        self.assertEqual(key.publish('wide/few/y', b'yes', 1), 0)
        c = self.client(one, 'plain', present=True)
        c.message('wide/few/y', b'yes')
        c.expect_nothing()


class Kick(PluginCase):
    options = {'plugins': REVOKE, 'threads': 4}

    def test_a_kick_ends_one_connection(self):
        key = self.client('key')
        c = self.client('c')
        for _ in range(10):
            key.publish('kick/' + self.id('c'), qos=1)
            c.expect(DISCONNECT, reason=0x98)
            c.expect_close()
            c = self.client('c')
            self.assertEqual(c.publish('x', qos=1), NOBODY)


class Rename(PluginCase):
    options = {'plugins': REVOKE, 'threads': 4}

    def test_rules_go_along_when_a_new_id_is_at_home_on_another_loop(self):
        for i in range(8):
            with self.subTest(i=i):
                c = self.client(f'rename-{i}')
                self.assertEqual(c.publish('denied/x', qos=1), DENIED)

    def test_rules_that_went_along_are_taken_back(self):
        clients = [self.client(f'rename-plain{i}') for i in range(8)]
        self.client('key').publish('invalidate', qos=1)
        for c in clients:
            c.expect(DISCONNECT, reason=DENIED)
            c.expect_close()
