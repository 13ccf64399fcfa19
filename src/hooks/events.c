#include "hooks/events.h"
#include "hooks/chain.h"
#include "hooks/client_slots.h"
#include "hooks/worker.h"
#include <errno.h>
#include <stdlib.h>

/* Facts of a plugin that wait for another loop or a worker; beyond it they are dropped and counted.
 */
#define EVENTS_MAIL_MAX 10000u

struct fact {
    enum hook_event event;
    const pigeon_client *client;
    struct message *message;
    uint32_t number; /* reason, why, packet identifier */
    uint32_t number2;
    pigeon_str text; /* also client id, node id */
    const pigeon_sub *subs;
    const pigeon_str *filters;
    uint32_t n;
};

bool events_wants(const struct hook_loop *hl, enum hook_event event)
{
    return hl->head.wanted_events & (UINT32_C(1) << event);
}

static pigeon_str text_of(const char *text)
{
    return (pigeon_str){ .ptr = text ? text : "", .len = text ? (uint32_t)strlen(text) : 0 };
}

static void call(const pigeon_events *e, void *self, const struct fact *f)
{
    const pigeon_msg *msg = f->message ? &f->message->view : NULL;

    switch (f->event) {
    case EVENT_CLIENT: e->client(self, f->client); break;
    case EVENT_CLIENT_READY: e->client_ready(self, f->client); break;
    case EVENT_CLIENT_DISCONNECT: e->client_disconnect(self, f->client, f->number, f->text); break;
    case EVENT_CLIENT_ERROR: e->client_error(self, f->client, f->number, f->text); break;
    case EVENT_CONNECTION_ERROR: e->connection_error(self, f->client, f->number, f->text); break;
    case EVENT_KEEPALIVE_TIMEOUT: e->keepalive_timeout(self, f->client); break;
    case EVENT_CONNACK_SENT: e->connack_sent(self, f->client, f->number, f->number2); break;
    case EVENT_SUBSCRIBED:
        e->subscribed(self, f->client, f->subs, f->n, (uint32_t)sizeof(pigeon_sub));
        break;
    case EVENT_UNSUBSCRIBED: e->unsubscribed(self, f->client, f->filters, f->n); break;
    case EVENT_PUBLISH: e->publish(self, f->client, msg); break;
    case EVENT_ACK: e->ack(self, f->client, msg, f->number); break;
    case EVENT_PING: e->ping(self, f->client); break;
    case EVENT_HEARTBEAT: e->heartbeat(self, f->text); break;
    case EVENT_DROPPED: e->dropped(self, f->client, msg, f->number); break;
    case EVENT_SESSION_END: e->session_end(self, f->text, f->number); break;
    case EVENT_WILL_DROPPED: e->will_dropped(self, f->text, msg, f->number); break;
    case EVENT_ERROR: e->error(self, (int32_t)f->number, f->text); break;
    case EVENT_CLOSED: e->closed(self); break;
    case EVENT_COUNT: break;
    }
}

static void tell(struct crumb *crumb, struct instance *inst, const struct fact *f)
{
    if (!inst->created)
        return;
    crumb_enter(crumb, inst, PIGEON_HOOK_EVENT, f->client);
    call(&inst->plugin->events, inst->self, f);
    crumb_leave(crumb);
}

static bool is_for(const struct event_step *s, const struct fact *f)
{
    return !s->only || !f->message || only_matches(s->only, message_topic(f->message));
}

/* ---- copies for instances on another loop -------------------------------------------- */

struct fact_mail {
    struct mail mail;
    struct instance *inst;
    struct hook_loop *from;
    struct identity *who; /* dropped by the loop it came from */
    struct fact fact;
    char data[];
};

static void mail_free(struct fact_mail *fm)
{
    atomic_fetch_sub_explicit(&fm->inst->plugin->stats.n_events_mail, 1, memory_order_relaxed);
    message_unref(&fm->fact.message);
    free(fm);
}

static void on_fact_back(struct loop *here, struct mail *m)
{
    struct fact_mail *fm = container_of(m, struct fact_mail, mail);

    (void)here;
    identity_unref(&fm->who);
    mail_free(fm);
}

static void on_fact(struct loop *here, struct mail *m)
{
    struct fact_mail *fm = container_of(m, struct fact_mail, mail);

    tell(hooks_crumb(fm->inst->hooks, here), fm->inst, &fm->fact);
    if (fm->who)
        hooks_post(fm->from->loop, m, on_fact_back);
    else
        mail_free(fm);
}

static size_t room_for(pigeon_str s)
{
    return (size_t)s.len + 1;
}

static pigeon_str copy(char **at, pigeon_str s)
{
    char *mine = *at;

    if (!s.ptr)
        return s;
    memcpy(mine, s.ptr, s.len);
    mine[s.len] = '\0';
    *at += (size_t)s.len + 1;
    return (pigeon_str){ .ptr = mine, .len = s.len };
}

static size_t fact_size(const struct fact *f)
{
    size_t size = room_for(f->text);

    for (uint32_t i = 0; f->subs && i < f->n; i++)
        size += sizeof(pigeon_sub) + room_for(f->subs[i].filter) + room_for(f->subs[i].effective) +
                room_for(f->subs[i].share);
    for (uint32_t i = 0; f->filters && i < f->n; i++)
        size += sizeof(pigeon_str) + room_for(f->filters[i]);
    return size;
}

/* Arrays first, so that they are aligned, then the text they point to. */
static void fact_copy(struct fact_mail *fm, const struct fact *f)
{
    pigeon_sub *subs = (pigeon_sub *)(void *)fm->data;
    pigeon_str *filters = (pigeon_str *)(void *)fm->data;
    char *at = fm->data;

    fm->fact = *f;
    if (f->subs) {
        at += f->n * sizeof(*subs);
        for (uint32_t i = 0; i < f->n; i++) {
            subs[i] = f->subs[i];
            subs[i].filter = copy(&at, f->subs[i].filter);
            subs[i].effective = copy(&at, f->subs[i].effective);
            subs[i].share = copy(&at, f->subs[i].share);
        }
        fm->fact.subs = subs;
    }
    if (f->filters) {
        at += f->n * sizeof(*filters);
        for (uint32_t i = 0; i < f->n; i++)
            filters[i] = copy(&at, f->filters[i]);
        fm->fact.filters = filters;
    }
    fm->fact.text = copy(&at, f->text);
    if (f->message) {
        message_share(f->message);
        message_ref(f->message);
    }
}

/* What is about a session goes where its client's facts went; what is about nobody to the first. */
static uint64_t fact_key(const struct hooks *hooks, const struct identity *who,
                         const struct fact *f)
{
    if (who)
        return client_key(who, hooks);
    if (f->event == EVENT_SESSION_END || f->event == EVENT_WILL_DROPPED)
        return hooks_key(hooks, str_make(f->text.ptr, f->text.len));
    return 0;
}

static void send_fact(struct hook_loop *hl, const struct event_step *s, const struct identity *who,
                      const struct fact *f)
{
    const struct plugin *p = s->inst->plugin;
    struct plugin_stats *stats = &s->inst->plugin->stats;
    struct fact_mail *fm = NULL;
    struct seat seat = { s->inst, s->inst->home };

    if (atomic_fetch_add_explicit(&stats->n_events_mail, 1, memory_order_relaxed) < EVENTS_MAIL_MAX)
        fm = malloc(sizeof(*fm) + fact_size(f));
    if (!fm) {
        atomic_fetch_sub_explicit(&stats->n_events_mail, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&stats->n_events_lost, 1, memory_order_relaxed);
        return;
    }
    if (p->n_workers)
        seat = plugin_seat(p, fact_key(hl->hooks, who, f));
    fm->inst = seat.inst;
    fm->from = hl;
    fm->who = who ? identity_ref((struct identity *)who) : NULL;
    fact_copy(fm, f);
    hooks_post(seat.loop, &fm->mail, on_fact);
}

/* ---- sending ------------------------------------------------------------------------- */

static void tell_all(struct hook_loop *hl, const struct identity *who, struct fact *f)
{
    const struct event_chain *c = hook_loop_events(hl, who ? who->chains : 0, f->event);

    f->client = who ? &who->view : NULL;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct event_step *s = &c->steps[i];

        if (!is_for(s, f))
            continue;
        if (s->away) {
            send_fact(hl, s, who, f);
            continue;
        }
        if (f->message && plugin_is_shared(s->inst->plugin))
            message_share(f->message);
        tell(&hl->crumb, s->inst, f);
    }
}

/* Broker-wide facts go to one instance of each plugin: the one of the first loop. */
static void tell_one(struct hook_loop *hl, struct fact *f)
{
    const struct event_chain *c = hook_loop_events(hl->hooks->loop[0], 0, f->event);

    for (uint32_t i = 0; i < c->n; i++)
        if (hl->loop == c->steps[i].inst->home)
            tell(&hl->crumb, c->steps[i].inst, f);
        else
            send_fact(hl, &c->steps[i], NULL, f);
}

static void tell_client(struct hook_loop *hl, enum hook_event event, const struct identity *who,
                        uint32_t number, uint32_t number2, const char *text)
{
    if (events_wants(hl, event))
        tell_all(hl, who,
                 &(struct fact){
                     .event = event, .number = number, .number2 = number2, .text = text_of(text) });
}

static void tell_message(struct hook_loop *hl, enum hook_event event, const struct identity *who,
                         struct message *message, uint32_t number)
{
    if (events_wants(hl, event))
        tell_all(hl, who, &(struct fact){ .event = event, .message = message, .number = number });
}

void events_client(struct hook_loop *hl, const struct identity *who)
{
    tell_client(hl, EVENT_CLIENT, who, 0, 0, NULL);
}

void events_client_ready(struct hook_loop *hl, const struct identity *who)
{
    tell_client(hl, EVENT_CLIENT_READY, who, 0, 0, NULL);
}

void events_client_disconnect(struct hook_loop *hl, const struct identity *who, uint8_t reason,
                              const char *text)
{
    tell_client(hl, EVENT_CLIENT_DISCONNECT, who, reason, 0, text);
}

void events_client_error(struct hook_loop *hl, const struct identity *who, uint8_t reason,
                         const char *text)
{
    tell_client(hl, EVENT_CLIENT_ERROR, who, reason, 0, text);
}

void events_connection_error(struct hook_loop *hl, const struct identity *who, uint8_t reason,
                             const char *text)
{
    tell_client(hl, EVENT_CONNECTION_ERROR, who, reason, 0, text);
}

void events_keepalive_timeout(struct hook_loop *hl, const struct identity *who)
{
    tell_client(hl, EVENT_KEEPALIVE_TIMEOUT, who, 0, 0, NULL);
}

void events_connack_sent(struct hook_loop *hl, const struct identity *who, uint8_t reason,
                         bool present)
{
    tell_client(hl, EVENT_CONNACK_SENT, who, reason, present, NULL);
}

void events_subscribed(struct hook_loop *hl, const struct identity *who, const pigeon_sub *subs,
                       uint32_t n)
{
    if (events_wants(hl, EVENT_SUBSCRIBED))
        tell_all(hl, who, &(struct fact){ .event = EVENT_SUBSCRIBED, .subs = subs, .n = n });
}

void events_unsubscribed(struct hook_loop *hl, const struct identity *who,
                         const struct str *filters, uint32_t n)
{
    pigeon_str few[16], *views = few;

    if (!events_wants(hl, EVENT_UNSUBSCRIBED))
        return;
    if (n > sizeof(few) / sizeof(few[0]))
        views = malloc(n * sizeof(*views));
    if (!views) {
        const struct event_chain *c =
            hook_loop_events(hl, who ? who->chains : 0, EVENT_UNSUBSCRIBED);

        for (uint32_t i = 0; i < c->n; i++)
            atomic_fetch_add_explicit(&c->steps[i].inst->plugin->stats.n_events_lost, 1,
                                      memory_order_relaxed);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        views[i] = (pigeon_str){ .ptr = filters[i].ptr, .len = filters[i].len };
    tell_all(hl, who, &(struct fact){ .event = EVENT_UNSUBSCRIBED, .filters = views, .n = n });
    if (views != few)
        free(views);
}

void events_publish(struct hook_loop *hl, const struct identity *who, struct message *message)
{
    tell_message(hl, EVENT_PUBLISH, who, message, 0);
}

void events_ack(struct hook_loop *hl, const struct identity *who, struct message *message,
                uint16_t packet_id)
{
    tell_message(hl, EVENT_ACK, who, message, packet_id);
}

void events_ping(struct hook_loop *hl, const struct identity *who)
{
    tell_client(hl, EVENT_PING, who, 0, 0, NULL);
}

void events_heartbeat(struct hook_loop *hl)
{
    if (events_wants(hl, EVENT_HEARTBEAT))
        tell_one(hl,
                 &(struct fact){ .event = EVENT_HEARTBEAT, .text = text_of(hl->hooks->node_id) });
}

void events_dropped(struct hook_loop *hl, const struct identity *who, struct message *message,
                    uint32_t why)
{
    tell_message(hl, EVENT_DROPPED, who, message, why);
}

void events_session_end(struct hook_loop *hl, struct str client_id, uint32_t why)
{
    if (events_wants(hl, EVENT_SESSION_END))
        tell_all(hl, NULL,
                 &(struct fact){ .event = EVENT_SESSION_END,
                                 .text = { .ptr = client_id.ptr, .len = client_id.len },
                                 .number = why });
}

void events_will_dropped(struct hook_loop *hl, struct str client_id, struct message *will,
                         uint8_t reason)
{
    if (events_wants(hl, EVENT_WILL_DROPPED))
        tell_all(hl, NULL,
                 &(struct fact){ .event = EVENT_WILL_DROPPED,
                                 .text = { .ptr = client_id.ptr, .len = client_id.len },
                                 .message = will,
                                 .number = reason });
}

void events_error(struct hook_loop *hl, int32_t err, const char *text)
{
    if (events_wants(hl, EVENT_ERROR))
        tell_one(hl, &(struct fact){
                         .event = EVENT_ERROR, .number = (uint32_t)err, .text = text_of(text) });
}

void events_closed(struct hook_loop *hl)
{
    if (events_wants(hl, EVENT_CLOSED))
        tell_one(hl, &(struct fact){ .event = EVENT_CLOSED });
}
