/* upgrade.h - the HTTP/1.1 request that opens a WebSocket [RFC 6455, 4.2.1], and its answer.
 *
 * Strict, as it reads from strangers: what RFC 9110 and 9112 do not allow is a 400. The verdict is
 * a status, never an error. Views point into the request; no I/O, no allocation. */
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UPGRADE_MAX           8192u /* bytes of a request; a longer one is a 431 */
#define UPGRADE_ANSWER_MAX    512u
#define UPGRADE_FORWARDED_MAX 8u /* lines of X-Forwarded-For */

#define UPGRADE_NEED_MORE 1

struct upgrade_rules {
    const char *path;           /* NULL: any */
    const char *const *origins; /* "*": any; none: that of the Host */
    uint32_t n_origins;
};

struct upgrade {
    uint32_t status;   /* 101, or a HTTP error */
    const char *fault; /* a sentence, NULL with 101 */
    size_t len;        /* of the request; frames follow */
    struct str method, target, host, origin, key, version;
    struct str protocol; /* "mqtt" or "mqttv3.1": the first of the client's that we speak */
    bool has_upgrade, has_connection;
    struct str forwarded[UPGRADE_FORWARDED_MAX]; /* X-Forwarded-For, as they came */
    uint32_t n_forwarded;
};

/* 0: *r_upgrade is the verdict; UPGRADE_NEED_MORE: the request has not ended. *scanned: 0 at first,
 * how far the bytes have been looked at. */
int upgrade_parse(const uint8_t *data, size_t len, size_t *scanned,
                  const struct upgrade_rules *rules, struct upgrade *r_upgrade);
/* What is sent back; returns its length, 0 when the digest cannot be computed. */
size_t upgrade_answer(const struct upgrade *u, char r_text[UPGRADE_ANSWER_MAX]);
