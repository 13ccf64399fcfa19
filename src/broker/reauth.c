/* reauth.c - AUTH: the steps of an enhanced authentication, and re-authentication of a client that
 * is online [MQTT-4.12.1-1]. While it is under way the client's other packets go on. */
#include "broker/broker.h"
#include "broker/connect.h"
#include "broker/revoke.h"
#include "wire/reason.h"
#include <stdlib.h>

struct reauth {
    struct client *client;
    struct ask ask;
    void *exchange_slot;
    bool asking;
};

static void reauth_free(struct client *c)
{
    ask_fini(&c->reauth->ask);
    ask_exchange_end(&c->reauth->exchange_slot);
    free(c->reauth);
    c->reauth = NULL;
}

void reauth_gone(struct client *c)
{
    if (!c->reauth)
        return;
    if (c->reauth->asking)
        ask_abandon(c->shard->hooks, &c->reauth->ask);
    reauth_free(c);
}

static void settle(struct reauth *r)
{
    struct client *c = r->client;
    const struct ask_value *v = ask_value_last(&r->ask, VALUE_AUTH_DATA);
    struct str data = v ? v->a : STR_NULL;
    if (r->ask.verdict == PIGEON_CONTINUE) {
        c->ops->auth(c, REASON_CONTINUE_AUTHENTICATION, c->auth_method, data);
        ask_fini(&r->ask);
        return;
    }
    if (r->ask.verdict == PIGEON_ALLOW) {
        c->ops->auth(c, REASON_SUCCESS, c->auth_method, data);
        reauth_free(c);
        revoke_look(c); /* it may be allowed less than before */
        return;
    }
    uint8_t reason = r->ask.reason ? r->ask.reason : REASON_NOT_AUTHORIZED;
    char text[sizeof(r->ask.text)];
    memcpy(text, r->ask.text, sizeof(text));
    c->ops->close(c, reason, text[0] ? text : NULL); /* [MQTT-4.12.1-2]; frees r */
}

static void on_verdict(struct ask *ask)
{
    struct reauth *r = container_of(ask, struct reauth, ask);
    r->asking = false;
    settle(r);
}

static int step(struct client *c, uint32_t stage, struct str data, struct str props)
{
    struct reauth *r = c->reauth;
    struct exchange_info *x = exchange_info_new(stage, c->auth_method, data, props);
    if (!x)
        return -REASON_SERVER_BUSY;
    r->ask = (struct ask){ .hook = PIGEON_HOOK_EXCHANGE,
                           .who = c->who,
                           .subject = &x->base,
                           .exchange_slot = &r->exchange_slot,
                           .listener = c->listener,
                           .done = on_verdict };
    r->asking = ask_run(c->shard->hooks, &r->ask) == ASK_WAIT;
    if (!r->asking)
        settle(r);
    return 0;
}

int client_auth(struct client *c, uint8_t reason, struct str method, struct str data,
                struct str props)
{
    struct str expected = c->auth_method;
    if (c->connecting) {
        const pigeon_connect *view = &c->connecting->info->view;
        expected = str_make(view->auth_method.ptr, view->auth_method.len);
    }
    if (!expected.ptr || !str_eq(expected, method))
        return -REASON_PROTOCOL_ERROR;
    if (c->state == CLIENT_EXCHANGING && reason == REASON_CONTINUE_AUTHENTICATION)
        return connect_continue(c, data);
    if (c->state != CLIENT_ONLINE)
        return -REASON_PROTOCOL_ERROR;
    if (reason == REASON_REAUTHENTICATE && !c->reauth) {
        c->reauth = calloc(1, sizeof(*c->reauth));
        if (!c->reauth)
            return -REASON_SERVER_BUSY;
        c->reauth->client = c;
        return step(c, PIGEON_STAGE_REAUTH, data, props);
    }
    if (reason == REASON_CONTINUE_AUTHENTICATION && c->reauth && !c->reauth->asking)
        return step(c, PIGEON_STAGE_CONTINUE, data, props);
    return -REASON_PROTOCOL_ERROR;
}
