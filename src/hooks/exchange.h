/* exchange.h - one MQTT 5 enhanced authentication under way: the plugin's state pointer and who
 * owns it.
 *
 * Private to hooks/; the connection keeps an opaque pointer (ask.exchange_slot). Counted by the
 * client's loop: one reference is the connection's, one is each pending question's. With the last
 * one exchange_free() of the plugin is called, on the plugin's loop, if it left a pointer. */
#pragma once
#include "hooks/ask.h"
#include "hooks/plugin.h"

struct exchange {
    uint32_t refs;
    struct instance *inst; /* whose `slot` is */
    struct loop *home;     /* where exchange_free is called */
    void *slot;
    uint32_t entry; /* of the chain: where the next step goes on */
    bool required_passed;
    bool is_reauth;           /* of a client that is online */
    struct ask_value *values; /* what the steps so far have set */
    struct mail mail;
};

struct exchange *exchange_new(void);
struct exchange *exchange_ref(struct exchange *x);
void exchange_unref(struct exchange **x);
