/* frame.h - finds one control packet in a byte stream: fixed header, remaining length, body.
 *
 * Nothing is copied or kept: the caller owns the bytes and offers them again when there are more.
 * The body is a view and is not looked into. */
#pragma once
#include "wire/version.h"
#include <stddef.h>
#include <stdint.h>

enum packet_type {
    PACKET_CONNECT = 1,
    PACKET_CONNACK = 2,
    PACKET_PUBLISH = 3,
    PACKET_PUBACK = 4,
    PACKET_PUBREC = 5,
    PACKET_PUBREL = 6,
    PACKET_PUBCOMP = 7,
    PACKET_SUBSCRIBE = 8,
    PACKET_SUBACK = 9,
    PACKET_UNSUBSCRIBE = 10,
    PACKET_UNSUBACK = 11,
    PACKET_PINGREQ = 12,
    PACKET_PINGRESP = 13,
    PACKET_DISCONNECT = 14,
    PACKET_AUTH = 15,
};

#define FRAME_OK        0
#define FRAME_NEED_MORE 1

/* Largest fixed header, and largest whole packet that MQTT can express. */
#define FRAME_HEAD_MAX  5
#define FRAME_TOTAL_MAX 268435460u

struct frame {
    uint8_t type;        /* enum packet_type */
    uint8_t flags;       /* low nibble of the first byte */
    uint8_t head_len;    /* bytes of the fixed header */
    uint32_t total;      /* bytes of the whole packet, fixed header included */
    const uint8_t *body; /* view */
    uint32_t len;        /* of the body */
};

/* Looks at the `len` bytes at `p`. FRAME_OK: a whole packet is there. FRAME_NEED_MORE: it is not;
 * then type and flags are set when len > 0 (type is 0 otherwise), total and head_len when the
 * length is known (else 0), body is NULL. -REASON_MALFORMED_PACKET: type 0, or a remaining length
 * of more than four bytes. -REASON_PACKET_TOO_LARGE: the whole packet would exceed max_packet bytes
 * (0: no limit), which is said as soon as the length is known; type, flags, total and head_len are
 * set then. */
int frame_next(const uint8_t *p, size_t len, uint32_t max_packet, struct frame *r);

/* Is this first byte possible in that version? 0 or -REASON_MALFORMED_PACKET: type 0, AUTH
 * before 5.0, bad reserved flags [MQTT-2.1.3-1], QoS 3 [MQTT-3.3.1-4], DUP with QoS 0
 * [MQTT-3.3.1-2]. MQTT 3.1 does not assign the flags of packets other than PUBLISH: there they are
 * ignored. CONNECT is the same in all. */
int frame_check_first(uint8_t first_byte, enum mqtt_version version);

/* As above for a frame, and in 5.0 the remaining length must be in its shortest form
 * [MQTT-1.5.5-1]. Every decoder of this floor calls it; callers need it only to refuse a packet
 * before all of it is there. */
int frame_check(const struct frame *f, enum mqtt_version version);

/* "PUBLISH" and so on; "RESERVED" for 0 and what is above 15. Never NULL. */
const char *packet_type_name(uint8_t type);
