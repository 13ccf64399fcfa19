"""Hostile packets on an open connection: it is closed with the right code, nobody else notices."""

import mqtt
import mqtt3
from broker import pigeon_only
from hostile import HostileCase, each_version, later, table
from mqtt import (DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE,
                  UNSUBACK, UNSUBSCRIBE, V311, V5)

MALFORMED, PROTOCOL = 0x81, 0x82
EITHER = (MALFORMED, PROTOCOL)
ONLY_5, ONLY_3 = (V5,), (V311,)
FIVE = b'\x80\x80\x80\x80\1'
OVERLONG, SURROGATE, STRAY = b'\xc0\xaf', b'\xed\xa0\x80', b'a\x80'
SLASHES = '/' * 65535


def empty_props(m):
    """The length of no properties, where the version has them."""
    return b'\0' if m is mqtt else b''


def publish_body(qos, body):
    """A PUBLISH of this QoS whose body is these bytes."""
    return lambda m: m.packet(PUBLISH, qos << 1, body)


def with_props(name, raw, **kw):
    """The same ill-formed property field (length and properties) in every packet that has one."""
    return [
        later(*name('PUBLISH'), lambda m: m.packet(PUBLISH, 0, m.string('a') + raw), **kw),
        later(*name('SUBSCRIBE'),
              lambda m: m.packet(SUBSCRIBE, 2, b'\0\1' + raw + m.string('a') + b'\0'), **kw),
        later(*name('UNSUBSCRIBE'),
              lambda m: m.packet(UNSUBSCRIBE, 2, b'\0\1' + raw + m.string('a')), **kw),
        later(*name('PUBACK'), lambda m: m.packet(PUBACK, 0, b'\0\1\0' + raw), **kw),
        later(*name('PUBREC'), lambda m: m.packet(PUBREC, 0, b'\0\1\0' + raw), **kw),
        later(*name('PUBREL'), lambda m: m.packet(PUBREL, 2, b'\0\1\0' + raw), **kw),
        later(*name('PUBCOMP'), lambda m: m.packet(PUBCOMP, 0, b'\0\1\0' + raw), **kw),
        later(*name('DISCONNECT'), lambda m: m.packet(DISCONNECT, 0, b'\0' + raw), **kw),
        later(*name('AUTH'), lambda m: m.packet(mqtt.AUTH, 0, b'\x18' + raw), **kw),
    ]


def publish_prop(*pairs):
    return lambda m: m.publish('a', b'', props_=list(pairs))


FRAMES = [
    later(4, 'a length of five bytes', b'\x30' + b'\xff' * 4 + b'\1', (MALFORMED,)),
    later(4, 'an endless length', b'\x82' + b'\x80' * 30, (MALFORMED,)),
    *with_props(lambda p: (5, f'a property length of five bytes in {p}'), FIVE, v5=(MALFORMED,),
                versions=ONLY_5),
    *with_props(lambda p: (6, f'a property length beyond the {p}'), b'\xff\x7f', v5=(MALFORMED,),
                versions=ONLY_5),
    *with_props(lambda p: (47, f'an unknown property in {p}'), b'\2\x7f\0', v5=(MALFORMED,),
                versions=ONLY_5),
    *with_props(lambda p: (47, f'a property of CONNACK in {p}'), b'\3\x13\0\1', v5=EITHER,
                versions=ONLY_5),
    *with_props(lambda p: (47, f'a property cut short in {p}'), b'\3\x26\0\5', v5=(MALFORMED,),
                versions=ONLY_5),
    later(11, 'a second CONNECT', lambda m: m.connect('hostile'), (PROTOCOL,)),
    later(11, 'a second CONNECT with garbage', b'\x10\x02xx', EITHER),
    later(12, 'wrong flags on PINGREQ', b'\xc1\0', (MALFORMED,)),
    later(12, 'wrong flags on DISCONNECT', b'\xe2\0', (MALFORMED,)),
    later(12, 'wrong flags on PUBREL', lambda m: m.ack(PUBREL, 1, flags=0), (MALFORMED,)),
    later(12, 'wrong flags on PUBACK', lambda m: m.ack(PUBACK, 1, flags=2), (MALFORMED,)),
    later(12, 'wrong flags on AUTH', lambda m: m.auth(flags=1), (MALFORMED,), versions=ONLY_5),
    later(18, 'a PINGREQ with a body', b'\xc0\1x', (MALFORMED,)),
    later(18, 'a PUBACK of one byte', b'\x40\1x', (MALFORMED,)),
    later(18, 'an empty PUBREL', b'\x62\0', (MALFORMED,)),
    later(18, 'an acknowledgement with bytes after its properties',
          lambda m: m.packet(PUBACK, 0, b'\0\1\0\0x'), (MALFORMED,)),
    later(55, 'a CONNACK of a client', lambda m: b'\x20\2\0\0' if m is mqtt3 else b'\x20\3\0\0\0',
          EITHER),
    later(55, 'a SUBACK of a client',
          lambda m: m.packet(SUBACK, 0, b'\0\1' + empty_props(m) + b'\0'), EITHER),
    later(55, 'an UNSUBACK of a client', lambda m: b'\xb0\2\0\1' if m is mqtt3 else
          b'\xb0\4\0\1\0\0', EITHER),
    later(55, 'a PINGRESP of a client', b'\xd0\0', EITHER),
    later(56, 'packet type 0', b'\0\0', EITHER),
    later(56, 'packet type 15', b'\xf0\0', versions=ONLY_3),
    later(56, 'only the first byte of type 0', b'\0', EITHER),
    later(56, 'only the first byte of type 15', b'\xf0', versions=ONLY_3),
]

PUBLISHES = [
    later(17, 'an overlong sequence in a topic', lambda m: m.publish(OVERLONG), (MALFORMED, 0x90)),
    later(17, 'a surrogate in a topic', lambda m: m.publish(SURROGATE), (MALFORMED, 0x90)),
    later(17, 'NUL in a topic', lambda m: m.publish('a\0b'), (MALFORMED, 0x90)),
    later(17, 'a stray byte in a response topic', publish_prop(('response_topic', STRAY)),
          (MALFORMED,), versions=ONLY_5),
    later(17, 'a stray byte in a content type', publish_prop(('content_type', STRAY)),
          (MALFORMED,), versions=ONLY_5),
    later(28, 'a PUBLISH without a topic', lambda m: m.publish('', b'x'), (PROTOCOL,)),
    later(28, 'a QoS 1 PUBLISH without a topic', lambda m: m.publish('', b'x', 1, 1), (PROTOCOL,)),
    later(29, 'a PUBLISH to a number sign', lambda m: m.publish('#'), (0x90,)),
    later(29, 'a PUBLISH to a wildcard', lambda m: m.publish('a/+/b', b'', 1, 1), (0x90,)),
    later(29, 'a retained PUBLISH to a wildcard', lambda m: m.publish('a/#', b'', 2, 1, True),
          (0x90,)),
    later(29, 'a response topic with a wildcard', publish_prop(('response_topic', 'a/#')),
          (PROTOCOL, 0x90), versions=ONLY_5),
    later(33, 'QoS 3', publish_body(3, b'\0\1a\0\1\0'), (MALFORMED,)),
    later(33, 'QoS 3 with DUP and retain', lambda m: b'\x3f\6\0\1a\0\1\0', (MALFORMED,)),
    later(33, 'DUP with QoS 0', lambda m: m.publish('a', b'', dup=True), (MALFORMED,)),
    later(34, 'packet identifier 0 in QoS 1', lambda m: m.publish('a', b'', 1, 0), EITHER),
    later(34, 'packet identifier 0 in QoS 2', lambda m: m.publish('a', b'', 2, 0), EITHER),
    later(34, 'a missing packet identifier', publish_body(1, b'\0\1a'), (MALFORMED,)),
    later(34, 'half a packet identifier', publish_body(2, b'\0\1a\1'), (MALFORMED,)),
    later(34, 'packet identifier 0 in PUBREL', lambda m: m.ack(PUBREL, 0), EITHER),
    later(35, 'a topic beyond the packet', publish_body(0, b'\0\7abc'), (MALFORMED,)),
    later(35, 'a topic of 65535 in a short packet', publish_body(1, b'\xff\xffabc\0\1'),
          (MALFORMED,)),
    later(35, 'half a topic length', publish_body(0, b'\0'), (MALFORMED,)),
    later(35, 'an empty PUBLISH', b'\x30\0', (MALFORMED,)),
    later(44, 'a subscription identifier in a PUBLISH',
          publish_prop(('subscription_identifier', 1)), EITHER, versions=ONLY_5),
    later(45, 'topic alias 0', lambda m: m.publish('a', props_={'topic_alias': 0}), (0x94,),
          versions=ONLY_5),
    later(45, 'a topic alias above the maximum',
          lambda m: m.publish('a', props_={'topic_alias': 101}), (0x94,), versions=ONLY_5),
    later(45, 'the largest topic alias', lambda m: m.publish('a', props_={'topic_alias': 65535}),
          (0x94,), versions=ONLY_5),
    later(45, 'an unknown topic alias', lambda m: m.publish('', props_={'topic_alias': 7}),
          (PROTOCOL, 0x94), versions=ONLY_5),
    later(45, 'a topic alias twice', publish_prop(('topic_alias', 1), ('topic_alias', 1)),
          (PROTOCOL,), versions=ONLY_5),
    later(47, 'a payload format of 2', publish_prop(('payload_format_indicator', 2)), EITHER,
          versions=ONLY_5),
    later(47, 'a message expiry twice', publish_prop(*[('message_expiry_interval', 5)] * 2),
          (PROTOCOL,), versions=ONLY_5),
    later(47, 'a property of CONNECT in a PUBLISH',
          publish_prop(('session_expiry_interval', 5)), EITHER, versions=ONLY_5),
]

SUBSCRIBES = [
    later(17, 'an overlong sequence in a filter', lambda m: m.subscribe([(OVERLONG, 0)]),
          (MALFORMED, 0x8F)),
    later(17, 'a surrogate in a filter', lambda m: m.subscribe([(SURROGATE, 0)]),
          (MALFORMED, 0x8F)),
    later(17, 'NUL in a filter', lambda m: m.subscribe([('a\0', 0)]), (MALFORMED, 0x8F)),
    later(17, 'a stray byte in an UNSUBSCRIBE', lambda m: m.unsubscribe([STRAY]),
          (MALFORMED, 0x8F)),
    later(34, 'packet identifier 0 in SUBSCRIBE', lambda m: m.subscribe([('a', 0)], 0), EITHER),
    later(34, 'packet identifier 0 in UNSUBSCRIBE', lambda m: m.unsubscribe(['a'], 0), EITHER),
    later(34, 'half a packet identifier in SUBSCRIBE', b'\x82\1\1', (MALFORMED,)),
    later(36, 'a SUBSCRIBE without options',
          lambda m: m.packet(SUBSCRIBE, 2, b'\0\1' + empty_props(m) + b'\0\1a'), (MALFORMED,)),
    later(36, 'a second filter without options',
          lambda m: m.packet(SUBSCRIBE, 2, b'\0\1' + empty_props(m) + b'\0\1a\0\0\1b'),
          (MALFORMED,)),
    later(36, 'a filter beyond the SUBSCRIBE',
          lambda m: m.packet(SUBSCRIBE, 2, b'\0\1' + empty_props(m) + b'\0\x09a\0'),
          (MALFORMED,)),
    later(37, 'a SUBSCRIBE without a filter', lambda m: m.subscribe([]), (PROTOCOL,)),
    later(37, 'an UNSUBSCRIBE without a filter', lambda m: m.unsubscribe([]), (PROTOCOL,)),
    later(37, 'wrong flags on SUBSCRIBE', lambda m: m.subscribe([('a', 0)], flags=0),
          (MALFORMED,)),
    later(37, 'DUP on SUBSCRIBE', lambda m: m.subscribe([('a', 0)], flags=10), (MALFORMED,)),
    later(37, 'wrong flags on UNSUBSCRIBE', lambda m: m.unsubscribe(['a'], flags=0),
          (MALFORMED,)),
    later(37, 'a filter beyond the UNSUBSCRIBE',
          lambda m: m.packet(UNSUBSCRIBE, 2, b'\0\1' + empty_props(m) + b'\0\x09a'),
          (MALFORMED,)),
    later(38, 'reserved bit 6 in the options', lambda m: m.subscribe([('a', 0x40)]), EITHER),
    later(38, 'reserved bit 7 in the options', lambda m: m.subscribe([('a', 0x80)]), EITHER),
    later(38, 'MQTT 5 options', lambda m: m.subscribe([('a', 4)]), versions=ONLY_3),
    later(38, 'QoS 3 in a SUBSCRIBE', lambda m: m.subscribe([('a', 3)]), EITHER),
    later(38, 'retain handling 3', lambda m: m.subscribe([('a', 0x30)]), EITHER, versions=ONLY_5),
    later(41, 'no local on a shared subscription',
          lambda m: m.subscribe([('$share/g/a', 4)]), (PROTOCOL,), versions=ONLY_5),
    later(44, 'subscription identifier 0',
          lambda m: m.subscribe([('a', 0)], props_={'subscription_identifier': 0}), EITHER,
          versions=ONLY_5),
    later(44, 'a subscription identifier twice',
          lambda m: m.subscribe([('a', 0)], props_={'subscription_identifier': [1, 2]}),
          (PROTOCOL,), versions=ONLY_5),
    later(44, 'a subscription identifier of five bytes',
          lambda m: m.subscribe([('a', 0)], props_={'subscription_identifier': FIVE}),
          (MALFORMED,), versions=ONLY_5),
    later(48, 'an unsolicited AUTH',
          lambda m: m.auth(0x18, {'authentication_method': 'x'}), (PROTOCOL, 0x8C),
          versions=ONLY_5),
    later(48, 'a re-authentication without a method', lambda m: m.auth(0x19, {}),
          (PROTOCOL, 0x8C), versions=ONLY_5),
    later(48, 'an AUTH without a property length', lambda m: m.auth(0x19), (MALFORMED,),
          versions=ONLY_5),
    later(48, 'an empty AUTH', b'\xf0\0', (PROTOCOL, 0x8C), versions=ONLY_5),
    later(48, 'an AUTH with a reason of its own',
          lambda m: m.auth(0x77, {'authentication_method': 'x'}), EITHER, versions=ONLY_5),
    later(49, 'a session expiry raised from 0',
          lambda m: m.disconnect(0, {'session_expiry_interval': 100}), (PROTOCOL,),
          versions=ONLY_5),
    later(49, 'a session expiry twice in DISCONNECT',
          lambda m: m.disconnect(0, [('session_expiry_interval', 0)] * 2), (PROTOCOL,),
          versions=ONLY_5),
    later(49, 'a DISCONNECT of an unknown reason', lambda m: m.disconnect(0x7F), EITHER,
          versions=ONLY_5),
]


@table(FRAMES)
class Frames(HostileCase):
    pass


@table(PUBLISHES)
class Publish(HostileCase):
    def test_27_a_hundred_thousand_user_properties_are_limited(self):
        c = self.client()
        sub = self.subscriber(self.topic())
        pairs = mqtt.prop('user_property', ('k', 'v')) * 100_000
        c.send(mqtt.publish(self.topic(), b'', 1, 1, props_=pairs))
        if self.answer(c, PUBACK):
            self.assertEqual(len(sub.message(self.topic()).user), 100_000)

    @pigeon_only
    @each_version
    def test_30_dollar_topics_are_refused_or_dropped(self):
        sub = self.raw(self.id('sub'))
        sub.connect()
        sub.subscribe('$foo/#', '$/#', '$SYS/hostile/#')
        for topic in ('$foo', '$', '$share/g/t', '$share', '$SYS/hostile', '$/', '$queue/t'):
            c = self.raw(self.id('c'), version=self.version)
            c.connect()
            for qos in (1, 2):
                reason = c.publish(topic, b'x', qos, retain=True)
                self.assertIn(reason, (0x87, 0x90) if self.version == V5 else (0,))
            c.publish(topic, b'x')
            c.ping()
        self.expect_nothing_from(self.healthy, sub)

    @each_version
    def test_31_a_topic_of_65535_slashes_is_refused(self):
        for qos in (0, 1):
            c = self.raw(self.id('x'), version=self.version)
            c.connect()
            c.send(self.m.publish(SLASHES, b'', qos, 1 if qos else None))
            c.send(mqtt.pingreq())
            p = self.answer(c, PUBACK, mqtt.PINGRESP)
            if p and p.type == PUBACK and self.version == V5:
                self.assertGreaterEqual(p.reason, 0x80)

    def test_45_an_alias_set_twice_takes_the_new_topic(self):
        sub = self.subscriber(self.topic('#'))
        c = self.client()
        for name in ('a', 'b', 'a'):
            c.publish(self.topic(name), name, props={'topic_alias': 5})
            c.publish('', name, props={'topic_alias': 5})
            for _ in range(2):
                sub.message(self.topic(name), name)

    def test_47_ill_formed_properties_are_never_passed_on(self):
        sub = self.subscriber(self.topic(), qos=1)
        for raw in (b'\3\x13\0\1', b'\2\x7f\0', b'\3\x26\0\5', b'\2\x01\2'):
            self.closes(mqtt.packet(PUBLISH, 0, mqtt.string(self.topic()) + raw), *EITHER)
        self.expect_nothing_from(self.healthy, sub)


@table(SUBSCRIBES)
class Subscribe(HostileCase):
    def grants(self, c, name, version):
        """Whether a filter was granted; it may be refused with a code or by closing."""
        c.send(self.m.subscribe([(name, 0)], 5))
        ack = self.answer(c, SUBACK)
        if ack is None:
            return False
        self.assertIn(ack.reasons[0], (0, 0x80, 0x8F) if version == V5 else (0, 0x80))
        return ack.reasons[0] == 0

    @each_version
    def test_31_a_filter_of_65535_slashes_is_refused(self):
        for name in (SLASHES, '#' + SLASHES[1:], '+/' * 32767):
            c = self.raw(self.id('x'), version=self.version)
            c.connect()
            self.assertFalse(self.grants(c, name, self.version))
            c = self.raw(self.id('x'), version=self.version)
            c.connect()
            c.send(self.m.unsubscribe([name], 6))
            self.answer(c, UNSUBACK)

    @each_version
    def test_39_invalid_filters_are_refused(self):
        for name in ('a/#/b', 'b#', '+a', 'a+', '#/', '##', '#a', 'a/#b', '/+a', ''):
            with self.subTest(filter=name, version=self.version):
                c = self.raw(self.id('x'), version=self.version)
                c.connect()
                self.assertFalse(self.grants(c, name, self.version))

    @pigeon_only
    @each_version
    def test_40_invalid_shared_filters_are_refused_and_not_stored(self):
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        code = 0x8F if self.version == V5 else 0x80
        bad = ['$share/ab', '$share//t', '$share/a+/t', '$share/g/', '$share/#/t', '$share/g/t#',
               '$share', '$share/']
        for name in bad:
            with self.subTest(filter=name, version=self.version):
                self.assertEqual(c.subscribe(name).reasons, [0 if name == '$share' else code])
        if self.version == V5:
            for name in bad:
                reasons = c.unsubscribe(name).reasons
                self.assertIn(reasons[0], (0,) if name == '$share' else (0x11, 0x8F), name)
        self.healthy.publish('t', b'')
        self.expect_nothing_from(self.healthy, c)

    @each_version
    def test_42_plain_and_shared_subscriptions_are_told_apart(self):
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        pub = self.client('pub')
        plain, shared = self.topic(), f'$share/g/{self.topic()}'
        for _ in range(3):
            c.subscribe(plain, shared, shared, plain)
            pub.publish(plain, b'both')
            got = self.fence(pub, c)
            self.assertIn(len(got), (1, 2))
            c.unsubscribe(plain)
            pub.publish(plain, b'shared')
            c.message(plain, b'shared')
            c.unsubscribe(plain, '$share/h/' + plain)
            pub.publish(plain, b'still shared')
            c.message(plain, b'still shared')
            c.subscribe(plain)
            c.unsubscribe(shared, shared)
            pub.publish(plain, b'plain')
            c.message(plain, b'plain')
            c.unsubscribe(shared)
            pub.publish(plain, b'still plain')
            c.message(plain, b'still plain')
            c.unsubscribe(plain)
            pub.publish(plain, b'none')
            self.expect_nothing_from(pub, c)

    @each_version
    def test_43_five_thousand_filters_in_one_packet(self):
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        filters = [f'{self.topic()}/{i}' for i in range(5000)]
        reasons = c.subscribe(*filters, qos=1).reasons
        self.assertEqual(len(reasons), 5000)
        self.assertLessEqual(set(reasons), {1, 0x80, 0x97})
        pub = self.client('pub')
        pub.publish(filters[0], b'x', 1)
        c.message(filters[0], b'x')
        ack = c.unsubscribe(*filters)
        if self.version == V5:
            self.assertEqual(len(ack.reasons), 5000)
        pub.publish(filters[0], b'x', 1)
        self.expect_nothing_from(pub, c)


class Deep(HostileCase):
    """Many levels allowed: time and stack stay bounded."""

    options = {'limits': {'topic_levels': 32768}}

    @each_version
    def test_31_the_limit_of_levels_is_exact(self):
        c = self.raw(self.id('c'), version=self.version)
        c.connect()
        topic = '/' * 32767
        if c.subscribe(topic).reasons != [0]:
            self.skipTest('the broker takes no such filters')
        c.publish(topic, b'deep', 1)
        c.message(topic, b'deep')
        if self.version == V5:
            self.assertGreaterEqual(c.subscribe(topic + '/').reasons[0], 0x80)

    def test_32_plus_signs_on_every_level_match_in_bounded_time(self):
        c = self.client()
        levels = 32767
        if c.subscribe('+/' * levels + '#', '+/' * levels).reasons != [0, 0]:
            self.skipTest('the broker takes no such filters')
        pub = self.client('pub')
        for topic in ('a/' * levels, 'a/' * levels + 'b', 'a/' * (levels - 2)):
            pub.publish(topic, b'', 1)
        sizes = {len(p.topic) for p in self.fence(pub, c)}
        self.assertEqual(sizes, {2 * levels, 2 * levels + 1})

    def test_32_filters_that_branch_on_every_level_match_in_bounded_time(self):
        c = self.client()
        levels = 11
        names = ['/'.join('a' if n >> i & 1 else '+' for i in range(levels))
                 for n in range(1 << levels)]
        c.subscribe(*names)
        pub = self.client('pub')
        topic = '/'.join('a' * levels)
        for _ in range(20):
            pub.publish(topic, b'x')
        got = self.fence(pub, c)
        self.assertGreaterEqual(len(got), 20)
        self.assertTrue(all(p.topic == topic for p in got))

    def test_31_a_retained_message_at_every_depth(self):
        c = self.client()
        topic = '/' * 30000
        if c.publish(topic, b'r', 1, retain=True) >= 0x80:
            self.skipTest('the broker takes no such topics')
        sub = self.subscriber('#')
        sub.wait(PUBLISH, topic=topic, payload=b'r')
        c.publish(topic, b'', 1, retain=True)
