/* pigeon/auth.h - interface "pigeon.auth/1": who may connect, publish, subscribe, receive.
 *
 * Every function answers PIGEON_NEXT, _ALLOW, _DENY or _PENDING; any other number, negative ones included,
 * is a denial with a log line. What the verdicts mean in a chain: docs/plugin-abi.md. All [loop]. */
#ifndef PIGEON_AUTH_H
#define PIGEON_AUTH_H
#include <pigeon/types.h>

#define PIGEON_IF_AUTH "pigeon.auth/1"
typedef struct pigeon_auth {
    uint32_t size;
    uint32_t flags;
    /* Every well-formed CONNECT, before anything else. May set client id, user name, password, keep alive,
     * clean start, session expiry and will; may refuse, cannot let in. */
    int32_t (*pre_connect)(void *self, pigeon_req *req, const pigeon_connect *connect);
    /* Name and password, or whatever else the plugin looks at. */
    int32_t (*authenticate)(void *self, pigeon_req *req, const pigeon_connect *connect);
    /* MQTT 5 enhanced authentication: PIGEON_CONTINUE after set_auth() sends AUTH 0x18. */
    int32_t (*exchange)(void *self, pigeon_req *req, const pigeon_exchange *exchange);
    /* Frees what the plugin left in pigeon_exchange.slot; once for every non-NULL slot. */
    void (*exchange_free)(void *self, void *slot);
    /* A PUBLISH, after `inbound`. Payload and properties may be set, the topic not. */
    int32_t (*authorize_publish)(void *self, pigeon_req *req, const pigeon_msg *msg);
    /* The will, at CONNECT and again when it is sent. NULL: asked through authorize_publish. */
    int32_t (*authorize_will)(void *self, pigeon_req *req, const pigeon_msg *msg);
    /* Each filter of a SUBSCRIBE and each restored one; set_filter() may change filter and QoS. */
    int32_t (*authorize_subscribe)(void *self, pigeon_req *req, const pigeon_sub *sub);
    /* Per receiver, must answer at once: PENDING is a denial. acl_add() at connect costs nothing per
     * message and is to be preferred. */
    int32_t (*authorize_deliver)(void *self, pigeon_req *req, const pigeon_msg *msg);
} pigeon_auth;

#endif
