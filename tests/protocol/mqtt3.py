"""The builders of mqtt.py for MQTT 3.1.1 (and 3.1, where only CONNECT differs)."""

import functools

import mqtt
from mqtt import V311

connect = functools.partial(mqtt.connect, version=V311)
publish = functools.partial(mqtt.publish, version=V311)
subscribe = functools.partial(mqtt.subscribe, version=V311)
unsubscribe = functools.partial(mqtt.unsubscribe, version=V311)
