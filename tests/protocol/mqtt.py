"""A raw MQTT client for tests: 3.1 (MQIsdp), 3.1.1 and 5.0, blocking, with deadlines.

Builders return bytes and check nothing, so they can build what no client should send.
The parser is strict: whatever the server sends against the specification (flags, lengths, UTF-8,
properties in the wrong packet, undefined reason codes) raises BadPacket. The client also watches
what it announced in CONNECT: packet size, receive maximum, topic aliases, problem information.
Nothing is acknowledged by itself unless auto_ack is set.
"""

import collections
import os
import socket
import struct
import time

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE,
 UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH) = range(1, 16)
NAMES = ['RESERVED', 'CONNECT', 'CONNACK', 'PUBLISH', 'PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP',
         'SUBSCRIBE', 'SUBACK', 'UNSUBSCRIBE', 'UNSUBACK', 'PINGREQ', 'PINGRESP', 'DISCONNECT',
         'AUTH']

V31, V311, V5 = 3, 4, 5
# Seconds; only ever waited for in full by a failing test.
DEADLINE = float(os.environ.get('PIGEON_TEST_DEADLINE', '10'))
NEVER = 0xFFFFFFFF


class Failure(AssertionError):
    """The server did not do what the test expected."""


class Timeout(Failure):
    """Nothing arrived before the deadline."""


class Closed(Failure):
    """The server closed the connection while a packet was expected."""


class BadPacket(Failure):
    """The server sent something the specification forbids."""


# ---------------------------------------------------------------- properties

# id -> name, wire type
PROPS = {
    0x01: ('payload_format_indicator', 'byte'),
    0x02: ('message_expiry_interval', 'u32'),
    0x03: ('content_type', 'str'),
    0x08: ('response_topic', 'str'),
    0x09: ('correlation_data', 'bin'),
    0x0B: ('subscription_identifier', 'var'),
    0x11: ('session_expiry_interval', 'u32'),
    0x12: ('assigned_client_identifier', 'str'),
    0x13: ('server_keep_alive', 'u16'),
    0x15: ('authentication_method', 'str'),
    0x16: ('authentication_data', 'bin'),
    0x17: ('request_problem_information', 'byte'),
    0x18: ('will_delay_interval', 'u32'),
    0x19: ('request_response_information', 'byte'),
    0x1A: ('response_information', 'str'),
    0x1C: ('server_reference', 'str'),
    0x1F: ('reason_string', 'str'),
    0x21: ('receive_maximum', 'u16'),
    0x22: ('topic_alias_maximum', 'u16'),
    0x23: ('topic_alias', 'u16'),
    0x24: ('maximum_qos', 'byte'),
    0x25: ('retain_available', 'byte'),
    0x26: ('user_property', 'pair'),
    0x27: ('maximum_packet_size', 'u32'),
    0x28: ('wildcard_subscription_available', 'byte'),
    0x29: ('subscription_identifier_available', 'byte'),
    0x2A: ('shared_subscription_available', 'byte'),
}
PROP_ID = {name: pid for pid, (name, _) in PROPS.items()}

# What a server may send, by packet type.
SERVER_PROPS = {
    CONNACK: {0x11, 0x21, 0x24, 0x25, 0x27, 0x12, 0x22, 0x1F, 0x26, 0x28, 0x29, 0x2A, 0x13, 0x1A,
              0x1C, 0x15, 0x16},
    PUBLISH: {0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26},
    PUBACK: {0x1F, 0x26}, PUBREC: {0x1F, 0x26}, PUBREL: {0x1F, 0x26}, PUBCOMP: {0x1F, 0x26},
    SUBACK: {0x1F, 0x26}, UNSUBACK: {0x1F, 0x26},
    DISCONNECT: {0x1F, 0x26, 0x1C},
    AUTH: {0x15, 0x16, 0x1F, 0x26},
}
BOOL_PROPS = {0x01, 0x24, 0x25, 0x28, 0x29, 0x2A}
NONZERO_PROPS = {0x0B, 0x21, 0x23, 0x27}

SERVER_REASONS = {
    CONNACK: {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
              0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREC: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREL: {0x00, 0x92}, PUBCOMP: {0x00, 0x92},
    SUBACK: {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    UNSUBACK: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    DISCONNECT: {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90,
                 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F,
                 0xA0, 0xA1, 0xA2},
    AUTH: {0x00, 0x18},
}


# ---------------------------------------------------------------- building

def varint(n, width=None):
    """Variable byte integer; width forces a longer, not minimal, encoding."""
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        more = n > 0 or (width is not None and len(out) + 1 < width)
        out.append(low | (0x80 if more else 0))
        if not more:
            return bytes(out)


def u16(n):
    return struct.pack('>H', n)


def u32(n):
    return struct.pack('>I', n)


def binary(data):
    """Two byte length and the bytes; str is encoded as UTF-8 (surrogates pass, for bad packets)."""
    if isinstance(data, str):
        data = data.encode('utf-8', 'surrogatepass')
    return u16(len(data)) + data


string = binary


def prop(key, value):
    """One property. key: name or number; bytes for a number that is unknown are taken raw."""
    pid = PROP_ID[key] if isinstance(key, str) else key
    if pid not in PROPS:
        return varint(pid) + value
    kind = PROPS[pid][1]
    if kind == 'byte':
        body = bytes([value])
    elif kind == 'u16':
        body = u16(value)
    elif kind == 'u32':
        body = u32(value)
    elif kind == 'var':
        body = value if isinstance(value, bytes) else varint(value)
    elif kind == 'pair':
        body = binary(value[0]) + binary(value[1])
    else:
        body = binary(value)
    return varint(pid) + body


def props(given=None):
    """Property length and properties from bytes (raw list), a dict, or a list of (key, value).

    In a dict, user_property and subscription_identifier may hold a list of values.
    """
    if given is None:
        body = b''
    elif isinstance(given, bytes):
        body = given
    else:
        body = b''
        for key, value in (given.items() if isinstance(given, dict) else given):
            for one in (value if isinstance(value, list) else [value]):
                body += prop(key, one)
    return varint(len(body)) + body


def packet(ptype, flags, body=b'', length=None):
    """Any packet; length overrides the remaining length (int) or its raw encoding (bytes)."""
    if length is None:
        length = len(body)
    if not isinstance(length, bytes):
        length = varint(length)
    return bytes([ptype << 4 | flags]) + length + body


class Will:
    """A will for connect(): properties only matter in MQTT 5."""

    def __init__(self, topic, payload=b'', qos=0, retain=False, props=None):
        self.topic, self.payload, self.qos = topic, payload, qos
        self.retain, self.props = retain, props


def connect(client_id='', version=V5, clean=True, keepalive=0, will=None, username=None,
            password=None, props_=None, flags=None, name=None, level=None, fixed_flags=0,
            payload=None):
    """CONNECT. flags, name, level, payload (raw) override what follows from the rest."""
    if flags is None:
        flags = (0x02 if clean else 0) | (0x80 if username is not None else 0) \
            | (0x40 if password is not None else 0)
        if will is not None:
            flags |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
    if name is None:
        name = 'MQIsdp' if version == V31 else 'MQTT'
    body = string(name) + bytes([version if level is None else level, flags]) + u16(keepalive)
    if version == V5:
        body += props(props_)
    if payload is None:
        payload = string(client_id)
        if will is not None:
            if version == V5:
                payload += props(will.props)
            payload += string(will.topic) + binary(will.payload)
        if username is not None:
            payload += string(username)
        if password is not None:
            payload += binary(password)
    return packet(CONNECT, fixed_flags, body + payload)


def publish(topic, payload=b'', qos=0, mid=None, retain=False, dup=False, props_=None, version=V5):
    if isinstance(payload, str):
        payload = payload.encode()
    body = string(topic)
    if mid is not None:
        body += u16(mid)
    if version == V5:
        body += props(props_)
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + payload)


def ack(ptype, mid, reason=None, props_=None, flags=None):
    """PUBACK, PUBREC, PUBREL, PUBCOMP; reason and properties are left out when None."""
    body = u16(mid)
    if reason is not None:
        body += bytes([reason])
        if props_ is not None:
            body += props(props_)
    if flags is None:
        flags = 2 if ptype == PUBREL else 0
    return packet(ptype, flags, body)


def options(qos=0, no_local=False, rap=False, rh=0):
    """The subscription options byte of MQTT 5."""
    return qos | (4 if no_local else 0) | (8 if rap else 0) | rh << 4


def subscribe(filters, mid=1, props_=None, version=V5, flags=2):
    """filters: list of (filter, options byte)."""
    body = u16(mid)
    if version == V5:
        body += props(props_)
    for name, opts in filters:
        body += string(name) + bytes([opts])
    return packet(SUBSCRIBE, flags, body)


def unsubscribe(filters, mid=1, props_=None, version=V5, flags=2):
    body = u16(mid)
    if version == V5:
        body += props(props_)
    for name in filters:
        body += string(name)
    return packet(UNSUBSCRIBE, flags, body)


def pingreq():
    return packet(PINGREQ, 0)


def disconnect(reason=None, props_=None, flags=0):
    body = b'' if reason is None else bytes([reason])
    if props_ is not None:
        body += props(props_)
    return packet(DISCONNECT, flags, body)


def auth(reason=0x18, props_=None, flags=0):
    body = b'' if reason is None else bytes([reason])
    if props_ is not None:
        body += props(props_)
    return packet(AUTH, flags, body)


# ---------------------------------------------------------------- parsing

class Packet:
    """One packet of the server. Fields depend on the type; raw, size and at (arrival) always."""

    def __init__(self, ptype, flags, raw):
        self.type, self.flags, self.raw = ptype, flags, raw
        self.size = len(raw)
        self.at = time.monotonic()
        self.props = {}

    @property
    def name(self):
        return NAMES[self.type]

    @property
    def user(self):
        """User properties as a list of pairs, in wire order."""
        return self.props.get('user_property', [])

    @property
    def sub_ids(self):
        return sorted(self.props.get('subscription_identifier', []))

    def __repr__(self):
        skip = {'type', 'flags', 'raw', 'size', 'at'}
        parts = []
        for key, value in vars(self).items():
            if key in skip or (key == 'props' and not value):
                continue
            text = repr(value)
            parts.append(f'{key}={text if len(text) < 120 else text[:117] + "..."}')
        return f'{self.name}({", ".join(parts)})'


class Cursor:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def left(self):
        return len(self.data) - self.pos

    def take(self, n):
        if n > self.left():
            raise BadPacket(f'truncated: {n} bytes wanted, {self.left()} left')
        self.pos += n
        return self.data[self.pos - n:self.pos]

    def byte(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack('>H', self.take(2))[0]

    def u32(self):
        return struct.unpack('>I', self.take(4))[0]

    def var(self):
        value = 0
        for i in range(4):
            b = self.byte()
            value |= (b & 0x7F) << 7 * i
            if not b & 0x80:
                if i and b == 0:
                    raise BadPacket('variable byte integer is not minimal [MQTT-1.5.5-1]')
                return value
        raise BadPacket('variable byte integer of more than four bytes')

    def bin(self):
        return self.take(self.u16())

    def str(self):
        raw = self.bin()
        try:
            text = raw.decode('utf-8')
        except UnicodeDecodeError as e:
            raise BadPacket(f'string is not UTF-8 [MQTT-1.5.4-1]: {e}') from None
        if '\0' in text:
            raise BadPacket('string with U+0000 [MQTT-1.5.4-2]')
        return text


def parse_props(cur, ptype):
    sub = Cursor(cur.take(cur.var()))
    out = {}
    while sub.left():
        pid = sub.var()
        if pid not in PROPS:
            raise BadPacket(f'unknown property 0x{pid:02x} in {NAMES[ptype]}')
        if pid not in SERVER_PROPS[ptype]:
            raise BadPacket(f'property {PROPS[pid][0]} is not allowed in {NAMES[ptype]}')
        name, kind = PROPS[pid]
        value = {'byte': sub.byte, 'u16': sub.u16, 'u32': sub.u32, 'var': sub.var, 'str': sub.str,
                 'bin': sub.bin, 'pair': lambda: (sub.str(), sub.str())}[kind]()
        if pid in BOOL_PROPS and value > 1:
            raise BadPacket(f'{name} is {value}')
        if pid in NONZERO_PROPS and value == 0:
            raise BadPacket(f'{name} is 0')
        if name == 'user_property' or (name == 'subscription_identifier' and ptype == PUBLISH):
            out.setdefault(name, []).append(value)
        elif name in out:
            raise BadPacket(f'{name} twice in {NAMES[ptype]}')
        else:
            out[name] = value
    return out


def _reason(p, cur, allowed):
    p.reason = cur.byte()
    if p.reason not in allowed:
        raise BadPacket(f'reason code 0x{p.reason:02x} is not defined for {p.name}')


def _parse_connack(p, cur, version):
    ack_flags = cur.byte()
    if ack_flags & 0xFE:
        raise BadPacket(f'CONNACK flags 0x{ack_flags:02x} [MQTT-3.2.2-1]')
    p.session_present = bool(ack_flags & 1)
    if version == V5 and len(p.raw) == 4 and p.raw[3] == 1:
        p.reason = 1  # a 3.x style refusal of the protocol version
    elif version == V5:
        _reason(p, cur, SERVER_REASONS[CONNACK])
        p.props = parse_props(cur, CONNACK)
    else:
        _reason(p, cur, set(range(6)))
    if p.reason and p.session_present:
        raise BadPacket('session present in a refusal [MQTT-3.2.2-6]')


def _parse_publish(p, cur, version):
    p.dup, p.qos, p.retain = bool(p.flags & 8), p.flags >> 1 & 3, bool(p.flags & 1)
    if p.qos == 3:
        raise BadPacket('PUBLISH with QoS 3')
    if p.dup and p.qos == 0:
        raise BadPacket('DUP on QoS 0 [MQTT-3.3.1-2]')
    p.topic = cur.str()
    if '#' in p.topic or '+' in p.topic:
        raise BadPacket(f'wildcard in a topic name: {p.topic!r}')
    p.mid = cur.u16() if p.qos else None
    if p.mid == 0:
        raise BadPacket('packet identifier 0')
    if version == V5:
        p.props = parse_props(cur, PUBLISH)
    if not p.topic and 'topic_alias' not in p.props:
        raise BadPacket('empty topic without a topic alias')
    p.payload = cur.take(cur.left())
    topic = p.props.get('response_topic')
    if topic is not None and ('#' in topic or '+' in topic or not topic):
        raise BadPacket('response topic with wildcards [MQTT-3.3.2-14]')


def _parse_ack(p, cur, version):
    p.mid, p.reason = cur.u16(), 0
    if version == V5 and cur.left():
        _reason(p, cur, SERVER_REASONS[p.type])
        if cur.left():
            p.props = parse_props(cur, p.type)


def _parse_suback(p, cur, version):
    p.mid = cur.u16()
    p.reasons = []
    if version == V5:
        p.props = parse_props(cur, p.type)
    elif p.type == UNSUBACK:
        return
    allowed = SERVER_REASONS[p.type] if version == V5 else \
        {0, 1, 2, 0x80} if version == V311 else {0, 1, 2}
    while cur.left():
        code = cur.byte()
        if code not in allowed:
            raise BadPacket(f'reason code 0x{code:02x} is not defined for {p.name}')
        p.reasons.append(code)
    if not p.reasons:
        raise BadPacket(f'{p.name} without a reason code')


def _parse_disconnect(p, cur, version):
    if version != V5:
        raise BadPacket('a 3.x server sends no DISCONNECT')
    p.reason = 0
    if cur.left():
        _reason(p, cur, SERVER_REASONS[DISCONNECT])
        if cur.left():
            p.props = parse_props(cur, DISCONNECT)


def _parse_auth(p, cur, version):
    if version != V5:
        raise BadPacket('AUTH before MQTT 5')
    p.reason = 0
    if cur.left():
        _reason(p, cur, SERVER_REASONS[AUTH])
        if cur.left():
            p.props = parse_props(cur, AUTH)


PARSERS = {CONNACK: _parse_connack, PUBLISH: _parse_publish, PUBACK: _parse_ack,
           PUBREC: _parse_ack, PUBREL: _parse_ack, PUBCOMP: _parse_ack, SUBACK: _parse_suback,
           UNSUBACK: _parse_suback, PINGRESP: lambda p, cur, version: None,
           DISCONNECT: _parse_disconnect, AUTH: _parse_auth}


def parse(raw, version):
    """One whole packet of a server."""
    cur = Cursor(raw)
    first = cur.byte()
    ptype, flags = first >> 4, first & 15
    if ptype not in PARSERS:
        raise BadPacket(f'a server never sends {NAMES[ptype]}: {raw[:32].hex()}')
    if ptype != PUBLISH and flags != (2 if ptype == PUBREL else 0):
        raise BadPacket(f'flags {flags} on {NAMES[ptype]} [MQTT-2.1.3-1]')
    cur.var()
    p = Packet(ptype, flags, raw)
    PARSERS[ptype](p, cur, version)
    if cur.left():
        raise BadPacket(f'{cur.left()} bytes too many in {p.name}: {raw[:64].hex()}')
    return p


def frame(buf):
    """Length of the first whole packet in buf, or None when more bytes are needed."""
    length = 0
    for i in range(1, 5):
        if i >= len(buf):
            return None
        length |= (buf[i] & 0x7F) << 7 * (i - 1)
        if not buf[i] & 0x80:
            if i > 1 and buf[i] == 0:
                raise BadPacket('remaining length is not minimal [MQTT-1.5.5-1]')
            total = 1 + i + length
            return total if len(buf) >= total else None
    raise BadPacket(f'remaining length of five bytes: {bytes(buf[:8]).hex()}')


# ---------------------------------------------------------------- the client

class Client:
    """One connection. Opens the socket at once; connect() sends CONNECT and returns the CONNACK.

    address: (host, port) or anything with an attribute `address`. tls: an ssl.SSLContext.
    """

    def __init__(self, address, client_id='', version=V5, clean=True, keepalive=0, will=None,
                 username=None, password=None, props=None, auto_ack=False, timeout=DEADLINE,
                 tls=None, server_name=None, session=None, **extra):
        self.address = getattr(address, 'address', address)
        self.version, self.client_id, self.timeout = version, client_id, timeout
        self.auto_ack = auto_ack
        self.connect_props = dict(props or {}) if not isinstance(props, (list, bytes)) else {}
        self._connect = dict(client_id=client_id, version=version, clean=clean,
                             keepalive=keepalive, will=will, username=username,
                             password=password, props_=props, **extra)
        self.connack = None
        self.history = collections.deque(maxlen=60)  # what went over the wire, for reports
        self._buf = bytearray()
        self._stash = collections.deque()
        self._aliases = {}
        self._unacked = {}  # server's packet ids: QoS, until the client completed them
        self._next_mid = 0
        self._eof = None
        self.sock = socket.create_connection(self.address, timeout=self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name, session=session)

    # -- raw

    def send(self, *packets):
        """Send bytes in one go. A connection the server has closed already is not an error."""
        data = b''.join(packets)
        self.history.append(f'> {data[:80].hex()}{"..." if len(data) > 80 else ""}')
        self._note_sent(data)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _note_sent(self, data):
        """Keep the receive window right for hand-made acknowledgements."""
        while data:
            try:
                n = frame(data)
            except BadPacket:
                return
            if n is None:
                return
            one, data = data[:n], data[n:]
            ptype = one[0] >> 4
            if ptype not in (PUBACK, PUBREC, PUBCOMP) or len(one) < 4:
                continue
            mid = one[2] << 8 | one[3]
            refused = self.version == V5 and len(one) > 4 and one[4] >= 0x80
            if ptype != PUBREC or refused:
                self._unacked.pop(mid, None)

    def _read_packet(self, deadline):
        """Next packet from the socket. Raises Timeout or Closed."""
        while True:
            n = frame(self._buf)
            if n is not None:
                raw = bytes(self._buf[:n])
                del self._buf[:n]
                try:
                    p = parse(raw, self.version)
                except BadPacket as e:
                    raise BadPacket(f'{e} in {raw[:64].hex()}{self._report()}') from None
                self.history.append(f'< {p!r}')
                self._watch(p)
                return p
            if self._eof is not None:
                raise Closed(f'connection closed by the server ({self._eof}){self._report()}')
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout(f'nothing arrived in time{self._report()}')
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                continue
            except OSError as e:
                self._eof = type(e).__name__
                continue
            if not data:
                self._eof = f'EOF, {len(self._buf)} bytes of an unfinished packet' \
                    if self._buf else 'EOF'
            self._buf += data

    def _watch(self, p):
        """What must hold for any packet on this connection."""
        def bad(text):
            raise BadPacket(f'{text}: {p!r}{self._report()}')
        if self.version != V5:
            return
        limit = self.connect_props.get('maximum_packet_size')
        if limit and p.size > limit:
            bad(f'{p.size} bytes, maximum packet size is {limit} [MQTT-3.1.2-24]')
        if self.connect_props.get('request_problem_information') == 0 and \
                p.type not in (PUBLISH, CONNACK, DISCONNECT) and \
                ('reason_string' in p.props or 'user_property' in p.props):
            bad('problem information was declined [MQTT-3.1.2-29]')
        if p.type == CONNACK and 'response_information' in p.props and \
                self.connect_props.get('request_response_information', 0) == 0:
            bad('response information was not asked for [MQTT-3.1.2-28]')
        if p.type == PUBLISH:
            self._watch_publish(p, bad)

    def _watch_publish(self, p, bad):
        alias = p.props.get('topic_alias')
        if alias is not None:
            if alias > self.connect_props.get('topic_alias_maximum', 0):
                bad(f'topic alias {alias} is above the maximum [MQTT-3.1.2-26]')
            if p.topic:
                self._aliases[alias] = p.topic
            elif alias not in self._aliases:
                bad(f'topic alias {alias} was never set')
            else:
                p.topic = self._aliases[alias]
        if p.qos:
            if p.mid in self._unacked:
                bad(f'packet identifier {p.mid} is in use [MQTT-2.2.1-4]')
            self._unacked[p.mid] = p.qos
            maximum = self.connect_props.get('receive_maximum', 65535)
            if len(self._unacked) > maximum:
                bad(f'{len(self._unacked)} in flight, receive maximum {maximum} [MQTT-3.3.4-9]')

    def _report(self):
        return ''.join(f'\n      {line}' for line in [f'  [{self.client_id or "client"}]',
                                                      *list(self.history)[-14:]])

    # -- receiving

    def _ack_if_asked(self, p):
        if not self.auto_ack:
            return
        if p.type == PUBLISH and p.qos:
            self.send(ack(PUBACK if p.qos == 1 else PUBREC, p.mid))
        elif p.type == PUBREL:
            self.send(ack(PUBCOMP, p.mid))

    def recv(self, timeout=None):
        """Next packet in order of arrival; raises Timeout or Closed."""
        if self._stash:
            return self._stash.popleft()
        p = self._read_packet(time.monotonic() + (self.timeout if timeout is None else timeout))
        self._ack_if_asked(p)
        return p

    def expect(self, ptype, timeout=None, **fields):
        """The next packet is of this type and its fields have these values. Returns it."""
        p = self.recv(timeout)
        if p.type != ptype:
            raise Failure(f'{NAMES[ptype]} expected, got {p!r}{self._report()}')
        return self._check(p, fields)

    def _check(self, p, fields):
        for key, want in fields.items():
            have = getattr(p, key)
            if isinstance(want, str) and isinstance(have, bytes):
                want = want.encode()
            if have != want:
                raise Failure(f'{key} is {have!r}, expected {want!r}: {p!r}{self._report()}')
        return p

    def wait(self, ptype, timeout=None, **fields):
        """First packet of this type with these fields; the others stay for recv() in order."""
        def fits(p):
            return p.type == ptype and all(getattr(p, k, None) == v for k, v in fields.items())
        for p in list(self._stash):
            if fits(p):
                self._stash.remove(p)
                return p
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            p = self._read_packet(deadline)
            self._ack_if_asked(p)
            if fits(p):
                return p
            self._stash.append(p)

    def ping(self):
        """PINGREQ and its PINGRESP; what arrives before it stays for recv()."""
        self.send(pingreq())
        return self.wait(PINGRESP)

    def drain(self):
        """Everything the server sent up to the answer to a PINGREQ."""
        self.ping()
        out = list(self._stash)
        self._stash.clear()
        return out

    def expect_nothing(self):
        """Nothing was sent to us before the answer to a PINGREQ."""
        got = self.drain()
        if got:
            raise Failure(f'nothing expected, got {got!r}{self._report()}')

    def quiet(self, seconds):
        """Nothing arrives for that long: lets time pass where the rule is about time."""
        try:
            p = self.recv(seconds)
        except Timeout:
            return
        raise Failure(f'nothing expected, got {p!r}{self._report()}')

    def rest(self):
        """The bytes up to the close by the server, not parsed."""
        self.sock.settimeout(self.timeout)
        data, self._buf = bytes(self._buf), bytearray()
        while self._eof is None:
            try:
                more = self.sock.recv(65536)
            except socket.timeout:
                raise Timeout(f'not closed in time{self._report()}') from None
            except OSError as e:
                self._eof = type(e).__name__
                break
            if not more:
                self._eof = 'EOF'
            data += more
        return data

    def is_open(self):
        """A PINGREQ is answered (packets before the answer are kept)."""
        self.send(pingreq())
        try:
            self.wait(PINGRESP)
        except Closed:
            return False
        return True

    def expect_close(self, *reasons, required=False, timeout=None, connack=False):
        """The server closes. In MQTT 5 a DISCONNECT (CONNACK with connack=True) may come first;
        it must carry one of reasons (if any are given), and must come if required.
        Packets of other types before it are a failure. Returns that packet or None."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        last = None
        while True:
            try:
                p = self._stash.popleft() if self._stash else self._read_packet(deadline)
            except Closed:
                break
            kind = CONNACK if connack else DISCONNECT
            if p.type != kind or last is not None:
                raise Failure(f'a close expected, got {p!r}{self._report()}')
            if reasons and p.reason not in reasons:
                want = ', '.join(f'0x{r:02x}' for r in reasons)
                raise Failure(f'reason 0x{p.reason:02x}, expected {want}{self._report()}')
            last = p
        if required and last is None:
            raise Failure(f'closed without saying why{self._report()}')
        return last

    @property
    def closed_after(self):
        return self._eof

    # -- the usual exchanges

    def mid(self):
        """A fresh packet identifier."""
        self._next_mid = self._next_mid % 65535 + 1
        return self._next_mid

    def send_connect(self):
        self.send(connect(**self._connect))

    def connect(self, reason=0, session_present=None):
        """CONNECT and CONNACK; reason=None accepts any. Returns the CONNACK."""
        self.send_connect()
        fields = {} if reason is None else {'reason': reason}
        if session_present is not None:
            fields['session_present'] = session_present
        self.connack = self.expect(CONNACK, **fields)
        assigned = self.connack.props.get('assigned_client_identifier')
        if assigned:
            self.client_id = assigned
        return self.connack

    def publish(self, topic, payload=b'', qos=0, retain=False, props=None, dup=False, mid=None):
        """PUBLISH and the whole handshake. Returns the reason code (0 for QoS 0)."""
        if qos and mid is None:
            mid = self.mid()
        self.send(publish(topic, payload, qos, mid, retain, dup, props, self.version))
        if qos == 1:
            return self.wait(PUBACK, mid=mid).reason
        if qos == 2:
            rec = self.wait(PUBREC, mid=mid)
            if rec.reason < 0x80:
                self.send(ack(PUBREL, mid))
                self.wait(PUBCOMP, mid=mid)
            return rec.reason
        return 0

    def subscribe(self, *filters, qos=0, no_local=False, rap=False, rh=0, props=None, mid=None):
        """SUBSCRIBE and SUBACK. filters: strings, or (string, options byte). Returns SUBACK.

        Application messages that overtake the SUBACK stay for recv()."""
        opts = options(qos, no_local, rap, rh)
        mid = self.mid() if mid is None else mid
        given = [f if isinstance(f, tuple) else (f, opts) for f in filters]
        self.send(subscribe(given, mid, props, self.version))
        sub = self.wait(SUBACK, mid=mid)
        if len(sub.reasons) != len(given):
            raise Failure(f'{len(given)} filters, {len(sub.reasons)} codes{self._report()}')
        return sub

    def unsubscribe(self, *filters, props=None, mid=None):
        mid = self.mid() if mid is None else mid
        self.send(unsubscribe(filters, mid, props, self.version))
        return self.wait(UNSUBACK, mid=mid)

    def message(self, topic=None, payload=None, timeout=None, **fields):
        """The next packet is a PUBLISH with these fields; it is acknowledged in full."""
        if topic is not None:
            fields['topic'] = topic
        if payload is not None:
            fields['payload'] = payload
        p = self.expect(PUBLISH, timeout, **fields)
        if not self.auto_ack:
            self.acknowledge(p)
        return p

    def acknowledge(self, p):
        """Complete the handshake of a received PUBLISH."""
        if p.qos == 1:
            self.send(ack(PUBACK, p.mid))
        elif p.qos == 2:
            self.send(ack(PUBREC, p.mid))
            self.wait(PUBREL, mid=p.mid)
            self.send(ack(PUBCOMP, p.mid))

    # -- leaving

    def disconnect(self, reason=None, props=None):
        """DISCONNECT, then wait for the server to close."""
        self.send(disconnect(reason, props))
        self._stash.clear()
        deadline = time.monotonic() + self.timeout
        try:
            while True:
                p = self._read_packet(deadline)
                if p.type == DISCONNECT:
                    raise Failure(f'DISCONNECT answered: {p!r}{self._report()}')
        except Closed:
            pass
        self.sock.close()

    def close(self):
        """FIN without DISCONNECT."""
        self.sock.close()

    def abort(self):
        """RST, as when the network fails."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        except OSError:
            pass
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
