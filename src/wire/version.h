/* version.h - the three dialects of MQTT that are spoken, by protocol level, and who sent a packet.
 */
#pragma once

enum mqtt_version {
    MQTT_31 = 3,  /* "MQIsdp" */
    MQTT_311 = 4, /* "MQTT" */
    MQTT_5 = 5,   /* "MQTT" */
};

/* Some packets travel both ways but may not carry the same things. */
enum wire_from { WIRE_FROM_CLIENT, WIRE_FROM_SERVER };
