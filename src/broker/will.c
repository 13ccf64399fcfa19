#include "broker/will.h"
#include "broker/broker.h"
#include "broker/publish.h"
#include <errno.h>
#include <stdlib.h>

static void on_due(struct timer *t, uint64_t now_ms);

int will_set(struct session *session, struct message *m_message, uint32_t delay_s,
             struct identity *who)
{
    will_free(&session->will);
    if (!m_message)
        return 0;
    struct will *w = calloc(1, sizeof(*w));
    if (!w) {
        message_unref(&m_message);
        return -ENOMEM;
    }
    w->session = session;
    w->message = m_message;
    w->delay_s = delay_s;
    w->who = who ? identity_ref(who) : NULL;
    timer_init(&w->due, on_due);
    session->will = w;
    return 0;
}

void will_free(struct will **p)
{
    struct will *w = *p;
    if (!w)
        return;
    timer_stop(loop_timers(w->session->shard->loop), &w->due);
    message_unref(&w->message);
    identity_unref(&w->who);
    free(w);
    *p = NULL;
}

void will_store(struct session *session)
{
    struct will *w = session->will;
    store_will_put(session->shard->hooks, session->number, w->message, (int64_t)w->delay_s * 1000);
    w->stored = true;
}

/* Its lifetime counts from now on (Message Expiry Interval of a will, 3.1.3.2.4). */
static struct message *dated_message(struct will *w, int64_t wall_ms)
{
    struct message_parts parts;
    message_parts(w->message, &parts);
    if (parts.expires_ms)
        parts.expires_ms = wall_ms + (parts.expires_ms - parts.received_ms);
    parts.received_ms = wall_ms;
    return message_new(&parts);
}

/* ends_session: the session ends in this turn; its row goes together with the will's. */
static void send(struct session *session, bool ends_session)
{
    struct shard *s = session->shard;
    struct will *w = session->will;
    struct message *m = dated_message(w, shard_wall_ms(s));
    bool takes_row = ends_session && w->stored;
    if (takes_row)
        session->stored = false;
    if (m)
        publish_start_will(s, m, w->who, w->stored ? session->number : 0, takes_row);
    else
        events_will_dropped(s->hooks, session->id, w->message, 0x89);
    will_free(&session->will);
}

static void on_due(struct timer *t, uint64_t now_ms)
{
    (void)now_ms;
    send(container_of(t, struct will, due)->session, false);
}

void will_connection_ended(struct session *session)
{
    struct will *w = session->will;
    struct shard *s = session->shard;
    if (!w->delay_s || !session->durable) {
        send(session, !session->durable);
        return;
    }
    /* The session may end first: that publishes it, too (session_end). */
    w->ended = true;
    timer_arm(loop_timers(s->loop), &w->due, shard_now_ms(s) + (uint64_t)w->delay_s * 1000);
    store_unit_begin(s->hooks, PIGEON_DURABILITY_OS, STORE_AGAIN);
    store_will_due(s->hooks, session->number, (int64_t)w->delay_s * 1000);
    store_unit_end(s->hooks, NULL);
}

void will_session_ended(struct session *session)
{
    if (session->will->ended)
        send(session, true);
    else
        will_cancel(session);
}

void will_cancel(struct session *session)
{
    if (session->will->stored) {
        store_unit_begin(session->shard->hooks, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
        store_will_del(session->shard->hooks, session->number);
        store_unit_end(session->shard->hooks, NULL);
    }
    will_free(&session->will);
}

void will_restored(struct session *session, uint64_t due_in_ms)
{
    session->will->ended = session->will->stored = true;
    timer_arm(loop_timers(session->shard->loop), &session->will->due,
              shard_now_ms(session->shard) + due_in_ms);
}
