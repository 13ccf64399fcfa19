"""A WebSocket client under mqtt.Client: frames can be cut, merged and broken at will."""

import base64
import hashlib
import os
import socket

import mqtt

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


def frame(payload, opcode=BINARY, fin=True, mask=True, length=None):
    """One client frame; length overrides the announced length."""
    n = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + n.to_bytes(2, 'big')
    else:
        head += bytes([bit | 127]) + n.to_bytes(8, 'big')
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ key[i & 3] for i, b in enumerate(payload))


def upgrade(host, path='/mqtt', protocol='mqtt', key=None, extra=()):
    key = key or base64.b64encode(os.urandom(16)).decode()
    lines = [f'GET {path} HTTP/1.1', f'Host: {host}', 'Upgrade: websocket',
             'Connection: Upgrade', f'Sec-WebSocket-Key: {key}', 'Sec-WebSocket-Version: 13']
    if protocol is not None:
        lines.append(f'Sec-WebSocket-Protocol: {protocol}')
    return key, '\r\n'.join([*lines, *extra, '', '']).encode()


class Socket:
    """Looks like a socket to mqtt.Client; what it sends becomes frames of at most `cut` bytes."""

    def __init__(self, address, protocol='mqtt', cut=None, timeout=mqtt.DEADLINE):
        self.raw = socket.create_connection(address, timeout=timeout)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.cut, self.buf, self.opcodes = cut, bytearray(), []
        key, request = upgrade(f'{address[0]}:{address[1]}', protocol=protocol)
        self.raw.sendall(request)
        self.status, self.headers = self._response()
        want = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        if self.status == 101 and self.headers.get('sec-websocket-accept') != want:
            raise mqtt.Failure(f'wrong Sec-WebSocket-Accept: {self.headers}')

    def _response(self):
        while b'\r\n\r\n' not in self.buf:
            data = self.raw.recv(4096)
            if not data:
                raise mqtt.Closed(f'closed during the upgrade: {bytes(self.buf)!r}')
            self.buf += data
        head, _, rest = bytes(self.buf).partition(b'\r\n\r\n')
        self.buf = bytearray(rest)
        first, *lines = head.decode('latin-1').split('\r\n')
        headers = {}
        for line in lines:
            name, _, value = line.partition(':')
            headers[name.strip().lower()] = value.strip()
        return int(first.split()[1]), headers

    def setsockopt(self, *args):
        self.raw.setsockopt(*args)

    def settimeout(self, seconds):
        self.raw.settimeout(seconds)

    def sendall(self, data):
        step = self.cut or len(data) or 1
        for i in range(0, len(data), step):
            self.raw.sendall(frame(data[i:i + step]))

    def next_frame(self):
        """(opcode, payload) of the next server frame, or None at EOF."""
        while True:
            if len(self.buf) >= 2:
                if self.buf[1] & 0x80:
                    raise mqtt.BadPacket('a server frame is masked')
                n, head = self.buf[1] & 0x7F, 2
                if n == 126:
                    n, head = int.from_bytes(self.buf[2:4], 'big'), 4
                elif n == 127:
                    n, head = int.from_bytes(self.buf[2:10], 'big'), 10
                if len(self.buf) >= head + n:
                    opcode, payload = self.buf[0] & 15, bytes(self.buf[head:head + n])
                    del self.buf[:head + n]
                    return opcode, payload
            data = self.raw.recv(65536)
            if not data:
                return None
            self.buf += data

    def recv(self, _size):
        """Bytes of the next data frame; b'' at a close frame or EOF."""
        while True:
            got = self.next_frame()
            if got is None or got[0] == CLOSE:
                return b''
            self.opcodes.append(got[0])
            if got[0] == TEXT:
                raise mqtt.BadPacket('MQTT in a text frame [MQTT-6.0.0-1]')
            if got[0] in (BINARY, CONTINUATION) and got[1]:
                return got[1]

    def close(self):
        self.raw.close()


class Client(mqtt.Client):
    """mqtt.Client over a WebSocket."""

    def __init__(self, address, *args, protocol='mqtt', cut=None, **kw):
        super().__init__(address, *args, **kw)
        self.sock.close()
        self.sock = Socket(self.address, protocol, cut)
