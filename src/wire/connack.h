/* connack.h - CONNACK. Reasons are MQTT 5's in every version; 3.x return codes are mapped here. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct connack_packet {
    bool session_present;
    uint8_t reason;

    uint64_t
        present; /* PROPERTY_BIT of the numbers below; absent ones are decoded to MQTT's default */
    uint32_t session_expiry_s;
    uint32_t maximum_packet_size; /* 0: no limit */
    uint16_t receive_maximum;
    uint16_t topic_alias_maximum;
    uint16_t server_keep_alive_s;
    uint8_t maximum_qos;
    bool retain_available;
    bool wildcard_available;
    bool subscription_ids_available;
    bool shared_available;
    struct str assigned_client_id, response_info, server_reference; /* ptr NULL: absent, as below */
    struct str auth_method, auth_data;
    struct str reason_string;
    struct str props; /* raw; holds the user properties */
};

/* 0 or negative reason. */
int connack_decode(const struct frame *f, enum mqtt_version version, struct connack_packet *r);
/* Writes the numbers that are in `present`, the strings that have a pointer, and the user
 * properties found in props. In 3.x only session_present (not in 3.1) and the return code. Size 0:
 * no encoding, as for a reason that 3.x has no return code for. */
size_t connack_size(const struct connack_packet *p, enum mqtt_version version);
void connack_encode(const struct connack_packet *p, enum mqtt_version version, struct writer *w);
/* Drops the reason string, then the user properties, as far as needed for a packet of at most
 * max_packet bytes (0: no limit) [MQTT-3.2.2-19] [MQTT-3.2.2-20]. Returns the size, which may still
 * be above. */
size_t connack_fit(struct connack_packet *p, enum mqtt_version version, uint32_t max_packet);
