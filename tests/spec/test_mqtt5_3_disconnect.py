"""MQTT 5.0 sections 3.14 DISCONNECT, 3.15 AUTH, 4.12 enhanced authentication, 4.13 errors."""

import mqtt
from mqtt import CONNACK, Will
from spec import SpecCase, spec

MALFORMED = (0x81, 0x82)


class Disconnect(SpecCase):
    @spec('MQTT-3.14.1-1')
    def test_reserved_disconnect_bits_close(self):
        for flags in (1, 2, 4, 8):
            self.refused(mqtt.disconnect(flags=flags), *MALFORMED)

    @spec('MQTT-3.14.1-1', 'MQTT-3.1.2-8')
    def test_a_malformed_disconnect_does_not_remove_the_will(self):
        sub = self.subscriber(self.topic())
        self.refused(mqtt.disconnect(flags=1), *MALFORMED, will=Will(self.topic(), b'w'))
        sub.message(self.topic(), b'w')

    @spec('MQTT-3.14.4-2')
    def test_the_server_closes_after_the_clients_disconnect(self):
        for args in ((), (0,), (0, {}), (4,), (0, {'reason_string': 'bye',
                                                  'user_property': [('a', 'b')]})):
            self.client().disconnect(*args)  # waits for the close, takes no packet before it

    def test_what_precedes_a_disconnect_is_handled(self):
        sub = self.subscriber(self.topic(), qos=1)
        c = self.client()
        c.send(mqtt.publish(self.topic(), b'last', 1, 1), mqtt.disconnect())
        sub.message(self.topic(), b'last')

    def test_what_follows_a_disconnect_is_not_handled(self):
        sub = self.subscriber(self.topic(), qos=1)
        c = self.client()
        c.send(mqtt.disconnect(), mqtt.publish(self.topic(), b'after'), mqtt.pingreq())
        c.expect_close()
        self.expect_nothing_from(self.client('pub'), sub)

    @spec('MQTT-3.14.4-1', 'MQTT-3.14.4-2', 'MQTT-3.14.2-1', 'MQTT-3.14.2-2', 'MQTT-4.13.2-1')
    def test_after_its_disconnect_the_server_sends_nothing_and_closes(self):
        old = self.client(props={'session_expiry_interval': 600})
        old.subscribe(self.topic(), qos=1)
        self.client()
        self.client('pub').publish(self.topic(), b'', 1)
        old.expect_close(0x8E)  # any packet after the DISCONNECT fails
        for data in (mqtt.connect('x'), b'\x36\x05\0\1a\0\1', mqtt.subscribe([])):
            c = self.client('x')
            c.send(data, mqtt.pingreq(), mqtt.pingreq())
            c.expect_close(*MALFORMED)

    @spec('MQTT-3.14.2-3', 'MQTT-3.14.2-4')
    def test_disconnect_stays_within_the_clients_maximum(self):
        for size in (40, 60, 100):
            props = {'maximum_packet_size': size}
            c = self.raw(self.id('x'), props=props)
            c.send_connect()
            try:
                if c.expect(CONNACK).reason:
                    continue
            except mqtt.Closed:
                continue  # the CONNACK itself is too large
            c.send(mqtt.connect('x'))
            c.expect_close(*MALFORMED)  # the client checks the size

    @spec('MQTT-4.13.1-1')
    def test_malformed_packets_and_protocol_errors_close(self):
        for data in (b'\x00\x00', b'\x36\x05\0\1a\0\1', mqtt.connect('x'), mqtt.subscribe([]),
                     b'\x30\xff\xff\xff\xff\x01', mqtt.packet(mqtt.PUBACK, 0, b''),
                     mqtt.disconnect(0, b'\x11\0')):
            with self.subTest(data=data):
                self.refused(data, *MALFORMED)
        self.still_serving()

    def test_properties_a_client_may_not_send_close(self):
        self.refused(mqtt.disconnect(0, {'server_reference': 'x'}), *MALFORMED)
        self.refused(mqtt.disconnect(0, {'content_type': 'x'}), *MALFORMED)


class Auth(SpecCase):
    @spec('MQTT-3.15.1-1')
    def test_reserved_auth_bits_close(self):
        for flags in (1, 2, 4, 8):
            self.refused(mqtt.auth(0x18, {'authentication_method': 'x'}, flags), *MALFORMED)

    @spec('MQTT-4.12.0-1')
    def test_an_unknown_method_is_refused(self):
        for props in ({'authentication_method': 'no such method'},
                      {'authentication_method': 'no such method', 'authentication_data': b'x'},
                      {'authentication_method': ''}):
            self.refused_connect(mqtt.connect(self.id('x'), props_=props), 0x8C, 0x87)

    @spec('MQTT-4.12.0-6')
    def test_without_a_method_there_is_no_auth(self):
        c = self.client()
        self.assertNotIn('authentication_method', c.connack.props)
        self.assertNotIn('authentication_data', c.connack.props)
        c.subscribe(self.topic())
        c.expect_nothing()

    def test_auth_without_a_method_in_connect_closes(self):
        for data in (mqtt.auth(0x18, {'authentication_method': 'x'}),
                     mqtt.auth(0x19, {'authentication_method': 'x'}), mqtt.auth(None),
                     mqtt.auth(0x19)):
            with self.subTest(data=data):
                self.refused(data, 0x81, 0x82, 0x8C)

    def test_auth_before_connect_closes(self):
        c = self.raw()
        c.send(mqtt.auth(0x18, {'authentication_method': 'x'}))
        c.expect_close(connack=True)
