"""Hostile first packets and CONNECTs: the connection is closed, nobody else notices."""

import time

import mqtt
import mqtt3
from broker import pigeon_only
from hostile import BOTH, BUILDERS, HostileCase, each_version, first, table
from mqtt import CONNACK, PUBACK, V311, V5, Will

MALFORMED, PROTOCOL = 0x81, 0x82
IDENT, TOPIC, USER = 'hostile', 'hostile/will', 'user'
HUGE = b'\xff\xff\xff\x7f'  # remaining length of 268435455
OVERLONG, SURROGATE, STRAY = b'\xc0\xaf', b'\xed\xa0\x80', b'a\x80'
ONLY_5 = (V5,)
ONLY_3 = (V311,)
ONCE = (V311,)  # what comes before any version is known


def will(m, topic=TOPIC, given=None, **kw):
    return m.connect(IDENT, will=Will(topic, b'w', props=given), **kw)


def cut(m, n):
    """A CONNECT with every field whose last n bytes are missing; the length is right."""
    whole = m.connect(IDENT, will=Will(TOPIC, b'w'), username=USER, password=b'p')
    return m.packet(mqtt.CONNECT, 0, whole[2:-n])


def connect_props(raw):
    return lambda m: m.connect(IDENT, props_=raw)


def badly_measured(length):
    """A CONNECT whose property length is these bytes."""
    return lambda m: m.packet(mqtt.CONNECT, 0, m.string('MQTT') + b'\5\2\0\0' + length +
                              m.string(IDENT))


NOT_CONNECT = [
    first(1, 'a PUBLISH first', lambda m: m.publish('a', b'x')),
    first(1, 'a QoS 1 PUBLISH first', lambda m: m.publish('a', b'x', 1, 1)),
    first(1, 'a SUBSCRIBE first', lambda m: m.subscribe([('#', 0)])),
    first(1, 'an UNSUBSCRIBE first', lambda m: m.unsubscribe(['#'])),
    first(1, 'a PINGREQ first', lambda m: m.pingreq(), versions=ONCE),
    first(1, 'a DISCONNECT first', lambda m: m.disconnect(), versions=ONCE),
    first(1, 'an AUTH first', lambda m: m.auth(0x18, {'authentication_method': 'x'}),
          versions=ONCE),
    first(1, 'a PUBACK first', lambda m: m.ack(mqtt.PUBACK, 1), versions=ONCE),
    first(1, 'a CONNACK first', b'\x20\2\0\0', versions=ONCE),
    first(1, 'packet type 0 first', b'\0\0', versions=ONCE),
    first(1, 'an HTTP request', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', versions=ONCE),
    first(1, 'a TLS hello', b'\x16\3\1\2\0\1\0\1\xfc\3\3' + bytes(200), versions=ONCE),
    first(1, 'an SSH banner', b'SSH-2.0-x\r\n', versions=ONCE),
    first(1, 'only the first byte of a PUBLISH', b'\x30', versions=ONCE),
    first(1, 'only the first byte of an HTTP request', b'G', versions=ONCE),
    first(1, 'only the first byte of a TLS hello', b'\x16', versions=ONCE),
    first(2, 'a PUBLISH of 256 MB first', b'\x30' + HUGE, versions=ONCE),
    first(2, 'a CONNECT of 256 MB', b'\x10' + HUGE, versions=ONCE),
    first(4, 'a CONNECT with a length of five bytes', b'\x10\xff\xff\xff\xff\1', versions=ONCE),
    first(4, 'a CONNECT with an endless length', b'\x10' + b'\x80' * 20, versions=ONCE),
]

CONNECTS = [
    first(5, 'a property length of five bytes', badly_measured(b'\x80\x80\x80\x80\1'),
          (MALFORMED,), versions=ONLY_5),
    first(5, 'a will property length of five bytes',
          lambda m: m.connect(flags=6, payload=m.string(IDENT) + b'\xff\xff\xff\xff\1' +
                              m.string('a') + m.string('b')), (MALFORMED,), versions=ONLY_5),
    first(6, 'a property length beyond the CONNECT', badly_measured(b'\xff\x7f'),
          (MALFORMED,), versions=ONLY_5),
    first(6, 'a will property length beyond the CONNECT',
          lambda m: m.connect(flags=6, payload=m.string(IDENT) + b'\x7f\1\0' + m.string('a') +
                              m.string('b')), (MALFORMED,), versions=ONLY_5),
    first(6, 'a property that ends before its value', connect_props(b'\x11\0\0'), (MALFORMED,),
          versions=ONLY_5),
    first(12, 'the reserved connect flag', lambda m: m.connect(IDENT, flags=3), (MALFORMED,)),
    first(12, 'a CONNECT with header flags', lambda m: m.connect(IDENT, fixed_flags=2)),
    first(12, 'a CONNECT with all header flags', lambda m: m.connect(IDENT, fixed_flags=15)),
    first(14, 'will QoS 3', lambda m: m.connect(IDENT, will=Will('a', b'', 3)), (MALFORMED,)),
    first(14, 'will QoS without a will', lambda m: m.connect(IDENT, flags=0x0A), (MALFORMED,)),
    first(14, 'will retain without a will', lambda m: m.connect(IDENT, flags=0x22), (MALFORMED,)),
    first(15, 'a password without a user name', lambda m: m.connect(IDENT, password=b'p'),
          versions=ONLY_3),
    first(16, 'an empty id without clean session', lambda m: m.connect('', clean=False),
          v3=(2,), versions=ONLY_3),
    first(17, 'an overlong sequence in the client id', lambda m: m.connect(OVERLONG),
          (MALFORMED, 0x85)),
    first(17, 'a surrogate in the client id', lambda m: m.connect(SURROGATE), (MALFORMED, 0x85)),
    first(17, 'NUL in the client id', lambda m: m.connect('a\0b'), (MALFORMED, 0x85)),
    first(17, 'an overlong sequence in the user name',
          lambda m: m.connect(IDENT, username=OVERLONG), (MALFORMED,)),
    first(17, 'a surrogate in the user name',
          lambda m: m.connect(IDENT, username=SURROGATE), (MALFORMED,)),
    first(17, 'NUL in the user name', lambda m: m.connect(IDENT, username='\0'), (MALFORMED,)),
    first(17, 'a stray byte in the will topic', lambda m: will(m, STRAY), (MALFORMED, 0x90)),
    first(17, 'a surrogate in the will topic', lambda m: will(m, SURROGATE), (MALFORMED, 0x90)),
    first(17, 'a stray byte in a user property',
          connect_props([('user_property', ('k', STRAY))]), (MALFORMED,), versions=ONLY_5),
    first(17, 'NUL in a user property', connect_props([('user_property', ('\0', 'v'))]),
          (MALFORMED,), versions=ONLY_5),
    first(18, 'a payload one byte short', lambda m: cut(m, 1), (MALFORMED,)),
    first(18, 'a payload without a password', lambda m: cut(m, 3), (MALFORMED,)),
    first(18, 'a payload that ends in the user name', lambda m: cut(m, 5), (MALFORMED,)),
    first(18, 'a payload that ends in the will', lambda m: cut(m, 11), (MALFORMED,)),
    first(18, 'bytes after the payload',
          lambda m: m.packet(mqtt.CONNECT, 0, m.connect(IDENT)[2:] + b'x'), (MALFORMED,)),
    first(18, 'an empty CONNECT', b'\x10\0', versions=ONCE),
    first(18, 'a CONNECT that ends in the protocol name', b'\x10\4\0\4MQ', versions=ONCE),
    first(18, 'a protocol name beyond the CONNECT', b'\x10\x0c\xff\xffMQTT\4\2\0\0\0\0',
          versions=ONCE),
    first(18, 'a client id beyond the CONNECT', lambda m: m.connect(payload=b'\xff\xffabc'),
          (MALFORMED,)),
    first(21, 'a will topic that ends in a number sign', lambda m: will(m, 'a/#'), (0x90,)),
    first(21, 'a will topic with a plus sign', lambda m: will(m, 'a/+/b'), (0x90,)),
    first(21, 'an empty will topic', lambda m: will(m, ''), (0x90, MALFORMED, PROTOCOL)),
    first(21, 'NUL in the will topic', lambda m: will(m, 'a\0b'), (0x90, MALFORMED)),
    first(23, 'a will property of another packet',
          lambda m: will(m, given={'receive_maximum': 1}), (MALFORMED, PROTOCOL), versions=ONLY_5),
    first(23, 'a will property twice',
          lambda m: will(m, given=[('content_type', 'a')] * 2), (PROTOCOL,), versions=ONLY_5),
    first(23, 'an unknown will property', lambda m: will(m, given=[(0x7E, b'x')]), (MALFORMED,),
          versions=ONLY_5),
    first(23, 'a will payload format of 2',
          lambda m: will(m, given={'payload_format_indicator': 2}), (PROTOCOL, MALFORMED),
          versions=ONLY_5),
    first(46, 'receive maximum 0', connect_props({'receive_maximum': 0}), (PROTOCOL,),
          versions=ONLY_5),
    first(46, 'maximum packet size 0', connect_props({'maximum_packet_size': 0}), (PROTOCOL,),
          versions=ONLY_5),
    first(46, 'receive maximum twice', connect_props([('receive_maximum', 3)] * 2), (PROTOCOL,),
          versions=ONLY_5),
    first(46, 'session expiry twice', connect_props([('session_expiry_interval', 3)] * 2),
          (PROTOCOL,), versions=ONLY_5),
    first(46, 'request problem information 2', connect_props({'request_problem_information': 2}),
          (PROTOCOL,), versions=ONLY_5),
    first(46, 'request response information 255',
          connect_props({'request_response_information': 255}), (PROTOCOL,), versions=ONLY_5),
    first(47, 'an unknown property in CONNECT', connect_props([(0x7F, b'xy')]), (MALFORMED,),
          versions=ONLY_5),
    first(47, 'a property number of five bytes', connect_props(b'\x80\x80\x80\x80\1x'),
          (MALFORMED,), versions=ONLY_5),
    first(47, 'a property of PUBLISH in CONNECT', connect_props({'topic_alias': 1}),
          (MALFORMED, PROTOCOL), versions=ONLY_5),
    first(48, 'authentication data without a method',
          connect_props({'authentication_data': b'x'}), (PROTOCOL,), versions=ONLY_5),
    first(48, 'an unknown authentication method',
          connect_props({'authentication_method': 'X-1', 'authentication_data': b'x'}), (0x8C,),
          versions=ONLY_5),
]


@table(NOT_CONNECT)
class FirstPacket(HostileCase):
    def test_13_wrong_protocol_names_and_levels_close(self):
        answers = (b'', b'\x20\2\0\1', b'\x20\3\0\x84\0')  # in the shape of any version
        for kw in ({'name': 'MQTX'}, {'name': 'mqtt'}, {'name': ''}, {'name': 'M' * 65535},
                   {'name': 'MQIsdp', 'level': 4}, {'name': 'MQIsdp', 'level': 5},
                   {'name': 'MQTT', 'level': 3}, {'level': 0}, {'level': 2}, {'level': 6},
                   {'level': 127}, {'level': 255}):
            with self.subTest(**kw):
                c = self.raw()
                c.send(mqtt3.connect(IDENT, **kw))
                self.assertIn(c.rest(), answers)

    def test_02_announced_sizes_take_no_memory(self):
        if self.broker.sanitized:
            self.skipTest('memory is measured without sanitizers')
        before = self.broker.rss()
        clients = [self.raw() for _ in range(20)]
        for c in clients:
            c.send(b'\x10' + HUGE + mqtt.string('MQTT') + b'\5\2\0\0' + bytes(1000))
        for c in clients:
            c.rest()
        self.assertLess(self.broker.rss() - before, 4 << 20)

    def test_03_memory_grows_with_the_bytes_that_arrived(self):
        if self.broker.sanitized:
            self.skipTest('memory is measured without sanitizers')
        before = self.broker.rss()
        clients = [self.raw() for _ in range(100)]
        for c in clients:
            c.send(b'\x10' + mqtt.varint(200_000) + mqtt.string('MQTT') + b'\5\2\0\0')
        self.unharmed()
        self.assertLess(self.broker.rss() - before, 8 << 20)


@table(CONNECTS)
class Connect(HostileCase):
    def test_05_lengths_that_are_longer_than_needed_do_no_harm(self):
        for data in (b'\x10' + mqtt.varint(len(mqtt.connect(IDENT)) - 2, 4) +
                     mqtt.connect(IDENT)[2:], badly_measured(b'\x80\x80\x80\0')(mqtt)):
            c = self.raw()
            c.send(data)
            p = self.answer(c, CONNACK)
            if p and p.reason:
                self.assertEqual(p.reason, MALFORMED)

    @each_version
    def test_10_what_follows_connect_in_one_segment_is_served_in_order(self):
        sub = self.raw(self.id('sub'), version=self.version)
        sub.connect()
        sub.subscribe(self.topic(), qos=1)
        c = self.raw(self.id('c'), version=self.version)
        m = self.m
        c.send(m.connect(self.id('c')), *[m.publish(self.topic(), b'%d' % i, 1, i + 1)
                                          for i in range(20)], mqtt.disconnect())
        c.expect(CONNACK, reason=0)
        for i in range(20):
            c.expect(PUBACK, mid=i + 1)
            sub.message(self.topic(), b'%d' % i)
        c.rest()

    def test_15_mqtt_5_allows_a_password_without_a_user_name(self):
        self.raw(self.id('x'), password=b'p').connect()

    def test_16_mqtt_5_allows_an_empty_id_without_clean_start(self):
        c = self.raw('', clean=False)
        c.connect(session_present=False)
        self.assertIn('assigned_client_identifier', c.connack.props)

    @each_version
    def test_19_wildcards_as_client_id_or_user_name_open_no_doors(self):
        for ident, user in (('#', None), ('+', None), ('a/#', None), (self.id('x'), '#'),
                            (self.id('x'), '+')):
            with self.subTest(client_id=ident, username=user):
                c = self.raw(ident, version=self.version, username=user)
                if c.connect(reason=None).reason == 0:
                    c.subscribe('+')
                    self.expect_nothing_from(self.healthy, c)

    @each_version
    def test_20_fields_of_64_kib_are_accepted_or_refused(self):
        long = 'x' * 65535
        for kw in ({'client_id': long}, {'client_id': self.id('x'), 'username': long},
                   {'client_id': self.id('x'), 'username': 'u', 'password': long.encode()},
                   {'client_id': self.id('x'), 'will': Will('a', long.encode())}):
            with self.subTest(fields=sorted(kw)):
                c = self.raw(version=self.version, **kw)
                c.connect(reason=None)
                self.assertIn(c.connack.reason, (0, 0x85, 0x86, 0x87) if self.version == V5
                              else (0, 2, 4, 5))

    @pigeon_only
    def test_22_wills_to_dollar_topics_are_refused(self):
        for topic in ('$SYS/x', '$CONTROL/x', '$x', '$'):
            for self.version in BOTH:
                with self.subTest(topic=topic, version=self.version):
                    self.refused(will(BUILDERS[self.version], topic), (0x87, 0x90), (5,))

    def test_23_refused_wills_leak_nothing(self):
        if self.broker.sanitized:
            self.skipTest('memory is measured without sanitizers')
        bad = [will(mqtt, given=[('correlation_data', b'x' * 5000), ('topic_alias', 1)]),
               will(mqtt, given=[('content_type', 'x' * 5000)] * 2)]
        for i in range(600):
            self.refused(bad[i % 2], (MALFORMED, PROTOCOL))
            if i == 100:
                before = self.broker.rss()
        self.assertLess(self.broker.rss() - before, 500 * 4000)

    def test_24_the_first_property_of_a_will_is_delivered(self):
        sub = self.subscriber(self.topic())
        for given in ({'content_type': 'first'}, {'content_type': 'first', 'response_topic': 'r'},
                      {'response_topic': 'r', 'content_type': 'last'},
                      {'user_property': [('a', 'b')], 'content_type': 'c',
                       'correlation_data': b'\0d'}):
            c = self.client(will=Will(self.topic(), b'w', props=given))
            c.abort()
            self.assertEqual(sub.message(self.topic(), b'w').props, given)

    def test_25_a_will_delay_beyond_the_session_ends_with_it(self):
        sub = self.subscriber(self.topic())
        will_ = Will(self.topic(), b'w', props={'will_delay_interval': 1000})
        c = self.client(will=will_, props={'session_expiry_interval': 1})
        c.abort()
        began = time.monotonic()
        self.assertGreaterEqual(sub.message(self.topic(), b'w').at - began, 0.9)
        self.client(clean=False, session_present=False).abort()
        self.expect_nothing_from(self.healthy, sub)

    def test_26_five_megabytes_of_user_properties_are_refused(self):
        pairs = mqtt.prop('user_property', ('k' * 10, 'v' * 34)) * 100_000
        c = self.raw()
        c.send(mqtt.connect(IDENT, props_=pairs)[:1000])  # what follows is not waited for
        c.expect_close(0x95, connack=True)


@pigeon_only
class Limits(HostileCase):
    options = {'limits': {'connect_size': '16M', 'user_properties': 200_000,
                          'client_id_length': 50, 'username_length': 50}}

    def test_26_many_user_properties_are_read_in_linear_time(self):
        pairs = mqtt.prop('user_property', ('k' * 10, 'v' * 34)) * 100_000
        for given in (None, pairs):
            c = self.raw(props=given, will=Will('a', props=pairs))
            c.connect()
            self.unharmed()
            c.disconnect()

    def test_26_more_user_properties_than_allowed_are_refused(self):
        pairs = mqtt.prop('user_property', ('', '')) * 200_001
        c = self.raw(props=pairs)
        c.send_connect()
        c.expect_close(connack=True)

    @each_version
    def test_20_the_limits_of_id_and_user_name_are_exact(self):
        ident = self.id('x')
        self.raw('y' * 50, username='z' * 50, version=self.version).connect()
        self.refused(self.m.connect('y' * 51), (0x85,), (2,))
        self.refused(self.m.connect(ident, username='z' * 51), (0x86, 0x87, 0x97), (4, 5))

