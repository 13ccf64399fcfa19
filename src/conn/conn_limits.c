/* conn_limits.c - the clocks of a connection and the rate at which its messages are taken. */
#include "conn/conn_priv.h"

#define KEEPALIVE_SLACK_MS 50u /* the loop's clock stands still during a turn; never early */

static struct timers *wheel(struct conn *c)
{
    return loop_timers(conn_shard(c)->loop);
}

/* ---- connect timeout, keep alive, lifetime ------------------------------------------------------
 */

static uint64_t keepalive_due_ms(const struct conn *c)
{
    return c->last_in_ms + c->keepalive_ms + KEEPALIVE_SLACK_MS;
}

void conn_arm_timers(struct conn *c)
{
    uint64_t due = c->connect_due_ms;
    if (c->state == CONN_ONLINE) {
        due = c->keepalive_ms ? keepalive_due_ms(c) : UINT64_MAX;
        if (c->lifetime_due_ms && c->lifetime_due_ms < due)
            due = c->lifetime_due_ms;
    }
    if (due == UINT64_MAX)
        timer_stop(wheel(c), &c->timer);
    else
        timer_arm(wheel(c), &c->timer, due);
}

static void on_connect_timeout(struct conn *c)
{
    struct client_cause cause = {
        .reason = REASON_UNSPECIFIED_ERROR,
        .send_will = true,
        .text = c->state == CONN_NEW ? "connect did not arrive in time" : "connect took too long",
    };
    shard_count(conn_shard(c), N_REFUSED, 1);
    conn_end(c, &cause, CONN_FAULT);
}

/* Lazily: packets only note their time, the timer looks. */
static void on_timer(struct timer *t, uint64_t now_ms)
{
    struct conn *c = container_of(t, struct conn, timer);
    if (c->state != CONN_ONLINE) {
        on_connect_timeout(c);
        return;
    }
    if (c->lifetime_due_ms && c->lifetime_due_ms <= now_ms) {
        conn_fail(c, REASON_MAXIMUM_CONNECT_TIME, "the connection has lasted as long as it may");
        return;
    }
    if (c->keepalive_ms && c->paused)
        c->last_in_ms = now_ms; /* we are not reading: the clock stands still [A6] */
    if (c->keepalive_ms && keepalive_due_ms(c) <= now_ms) { /* [MQTT-3.1.2-22] */
        client_keepalive_timeout(&c->client);
        conn_fail(c, REASON_KEEP_ALIVE_TIMEOUT, "keep alive timeout");
        return;
    }
    conn_arm_timers(c);
}

/* ---- a client that does not read ----------------------------------------------------------------
 */

static void on_drain(struct timer *t, uint64_t now_ms)
{
    struct conn *c = container_of(t, struct conn, drain_timer);
    (void)now_ms;
    if (c->state != CONN_ONLINE || !(stream_is_above_high(c->stream) || c->paused & PAUSE_OUT))
        return;
    if (stream_bytes_out(c->stream) != c->drained) {
        conn_watch_drain(c);
        return;
    }
    struct client_cause cause = { .reason = REASON_UNSPECIFIED_ERROR,
                                  .send_will = true,
                                  .text = "the client has not read for drain_timeout" };
    conn_end(c, &cause, CONN_FAULT | CONN_ABORT);
}

void conn_watch_drain(struct conn *c)
{
    int64_t timeout_ms = conn_config(c)->drain_timeout_ms;
    if (!timeout_ms || timer_armed(&c->drain_timer))
        return;
    c->drained = stream_bytes_out(c->stream);
    timer_arm(wheel(c), &c->drain_timer, shard_now_ms(conn_shard(c)) + (uint64_t)timeout_ms);
}

/* ---- publish rates: token buckets of one second -------------------------------------------------
 */

#define MILLI     1000
#define BUCKET_MS 1000u
#define RATE_MAX  (UINT64_C(1) << 40) /* beyond it, it is none */

static void refill_one(int64_t *tokens, uint64_t per_s, uint64_t ms)
{
    int64_t full = (int64_t)per_s * MILLI;
    if (ms > BUCKET_MS && *tokens >= 0)
        ms = BUCKET_MS;
    if (ms > 1000 * BUCKET_MS)
        ms = 1000 * BUCKET_MS;
    *tokens += (int64_t)(per_s * ms);
    if (*tokens > full)
        *tokens = full;
}

static void refill(struct conn_rate *rate, uint64_t now_ms)
{
    uint64_t ms = now_ms - rate->at_ms;
    rate->at_ms = now_ms;
    if (rate->messages_per_s)
        refill_one(&rate->messages_milli, rate->messages_per_s, ms);
    if (rate->bytes_per_s)
        refill_one(&rate->bytes_milli, rate->bytes_per_s, ms);
}

/* Milliseconds until there are `need` tokens. */
static uint64_t wait_ms(int64_t tokens, int64_t need, uint64_t per_s)
{
    if (!per_s || tokens >= need)
        return 0;
    return ((uint64_t)(need - tokens) + per_s - 1) / per_s;
}

static void on_rate(struct timer *t, uint64_t now_ms)
{
    struct conn *c = container_of(t, struct conn, rate_timer);
    (void)now_ms;
    conn_resume(c, PAUSE_RATE);
    if (c->eof || buf_len(&c->deferred))
        conn_post_work(c);
}

bool conn_rate_allows(struct conn *c)
{
    struct conn_rate *rate = &c->rate;
    uint64_t now = shard_now_ms(conn_shard(c));
    if (!rate->messages_per_s && !rate->bytes_per_s)
        return true;
    refill(rate, now);
    uint64_t wait = wait_ms(rate->messages_milli, MILLI, rate->messages_per_s);
    uint64_t wait_bytes = wait_ms(rate->bytes_milli, 1, rate->bytes_per_s);
    if (wait_bytes > wait)
        wait = wait_bytes;
    if (!wait)
        return true;
    conn_pause(c, PAUSE_RATE);
    timer_arm(wheel(c), &c->rate_timer, now + wait);
    return false;
}

void conn_rate_charge(struct conn *c, uint32_t bytes)
{
    if (c->rate.messages_per_s)
        c->rate.messages_milli -= MILLI;
    if (c->rate.bytes_per_s)
        c->rate.bytes_milli -= (int64_t)bytes * MILLI;
}

static uint64_t rate_of(uint64_t per_s)
{
    return per_s < RATE_MAX ? per_s : 0;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

void conn_start_limits(struct conn *c, uint16_t keepalive_s)
{
    const struct client_limits *limits = &c->client.limits;
    uint64_t now = shard_now_ms(conn_shard(c));
    c->last_in_ms = now;
    c->keepalive_ms = keepalive_s * 1500u;
    c->lifetime_due_ms = limits->lifetime_s ? now + limits->lifetime_s * 1000 : 0;
    c->rate = (struct conn_rate){ .at_ms = now,
                                  .messages_per_s = rate_of(limits->publish_rate),
                                  .bytes_per_s = rate_of(limits->publish_bytes) };
    c->rate.messages_milli = (int64_t)c->rate.messages_per_s * MILLI;
    c->rate.bytes_milli = (int64_t)c->rate.bytes_per_s * MILLI;
    conn_arm_timers(c);
}

void conn_limits_init(struct conn *c)
{
    timer_init(&c->timer, on_timer);
    timer_init(&c->rate_timer, on_rate);
    timer_init(&c->drain_timer, on_drain);
}

void conn_stop_timers(struct conn *c)
{
    timer_stop(wheel(c), &c->timer);
    timer_stop(wheel(c), &c->rate_timer);
    timer_stop(wheel(c), &c->drain_timer);
}
