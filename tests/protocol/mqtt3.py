"""Stands in for mqtt.py where packets of MQTT 3.1.1 are built (3.1: only CONNECT differs)."""

import functools

import mqtt
from mqtt import (V311, ack, auth, binary, disconnect, options, packet, pingreq, prop, props,
                  string, u16, u32, varint)

connect = functools.partial(mqtt.connect, version=V311)
publish = functools.partial(mqtt.publish, version=V311)
subscribe = functools.partial(mqtt.subscribe, version=V311)
unsubscribe = functools.partial(mqtt.unsubscribe, version=V311)

__all__ = ['V311', 'ack', 'auth', 'binary', 'connect', 'disconnect', 'options', 'packet',
           'pingreq', 'prop', 'props', 'publish', 'string', 'subscribe', 'u16', 'u32',
           'unsubscribe', 'varint']
