/* Questions: what the plugin is shown, its answer, and how long it may take. */
#include "mock/mock_priv.h"
#include <stdlib.h>
#include <time.h>

/* ---- memory ---------------------------------------------------------------------------------- */

void *ask_block(pigeon_mock_ask *ask, size_t size)
{
    struct block *b = mock_alloc(sizeof(*b) + size);

    b->len = size;
    b->next = ask->blocks;
    ask->blocks = b;
    return b->data;
}

pigeon_str ask_str(pigeon_mock_ask *ask, pigeon_str s)
{
    char *copy;

    if (!s.ptr)
        return (pigeon_str){ 0 };
    copy = ask_block(ask, (size_t)s.len + 1);
    memcpy(copy, s.ptr, s.len);
    return (pigeon_str){ .ptr = copy, .len = s.len };
}

pigeon_bytes ask_bytes(pigeon_mock_ask *ask, pigeon_bytes b)
{
    uint8_t *copy;

    if (!b.ptr)
        return (pigeon_bytes){ 0 };
    copy = ask_block(ask, b.len);
    memcpy(copy, b.ptr, b.len);
    return (pigeon_bytes){ .ptr = copy, .len = b.len };
}

void *ask_view(pigeon_mock_ask *ask, const void *view, size_t size, uint32_t first)
{
    uint32_t len = mock_size(ask->mock, size, first);
    void *copy = ask_block(ask, len);

    memset(copy, 0xa5, len);
    memcpy(copy, view, size < len ? size : len);
    memcpy(copy, &len, sizeof(len));
    return copy;
}

static void blocks_spoil(pigeon_mock_ask *ask)
{
    for (struct block *b = ask->blocks; b; b = b->next)
        memset(b->data, 0xdd, b->len);
    if (ask->req)
        ask->req->host_data = ask; /* a setter that comes too late has to find its mock */
}

/* ---- making ---------------------------------------------------------------------------------- */

pigeon_mock_ask *ask_new(pigeon_mock *m, pigeon_mock_client *client, uint32_t hook)
{
    pigeon_mock_ask *ask = mock_alloc(sizeof(*ask));

    ask->mock = m;
    ask->client = client;
    ask->hook = hook;
    ask->last = &ask->values;
    ask->was_asked = true;
    if (client)
        client->n_pinned++;
    pthread_mutex_lock(&m->lock);
    ask->token = ++m->last_token;
    ask->deadline_ns = m->now_ns + m->deadline_ms * 1000000;
    list_append(&m->asks, &ask->link);
    pthread_mutex_unlock(&m->lock);
    return ask;
}

static const pigeon_client *view_client(pigeon_mock_ask *ask, const pigeon_client *from)
{
    pigeon_client copy = *from;

    copy.id = ask_str(ask, copy.id);
    copy.username = ask_str(ask, copy.username);
    copy.address = ask_str(ask, copy.address);
    copy.listener = ask_str(ask, copy.listener);
    copy.tls_cn = ask_str(ask, copy.tls_cn);
    copy.tls_cert = ask_bytes(ask, copy.tls_cert);
    return ask_view(ask, &copy, sizeof(copy), FIRST_CLIENT);
}

pigeon_req *ask_req(pigeon_mock_ask *ask)
{
    pigeon_req req = { .hook = ask->hook, .token = ask->token, .deadline_ns = ask->deadline_ns };

    if (ask->client) {
        req.client = view_client(ask, &ask->client->view);
        req.client_slot = &ask->client->slot;
    }
    req.host_data = ask;
    ask->req = ask_view(ask, &req, sizeof(req), FIRST_REQ);
    return ask->req;
}

pigeon_mock_ask *ask_unasked(pigeon_mock_ask *ask)
{
    ask->was_asked = false;
    return ask_returned(ask, PIGEON_NEXT);
}

pigeon_mock_ask *ask_returned(pigeon_mock_ask *ask, int32_t verdict)
{
    pigeon_mock *m = ask->mock;

    pthread_mutex_lock(&m->lock);
    if (ask->state == ASK_EARLY) {
        if (verdict != PIGEON_PENDING)
            mock_complain_locked(m, "%s was completed and answered by return (%d) as well",
                                 mock_hook_name(ask->hook), verdict);
        ask->state = ASK_DONE;
    } else if (verdict == PIGEON_PENDING) {
        ask->state = ASK_PENDING;
        if (ask->hook == PIGEON_HOOK_AUTHORIZE_DELIVER) {
            mock_complain_locked(m, "authorize_deliver must not answer later");
            ask->state = ASK_DEAD;
        }
    } else {
        ask->state = ASK_DONE;
        ask->verdict = verdict;
    }
    pthread_mutex_unlock(&m->lock);
    asks_settle(m);
    return ask;
}

/* ---- answers --------------------------------------------------------------------------------- */

pigeon_mock_ask *ask_of_token(pigeon_mock *m, pigeon_token token)
{
    LIST_FOREACH (it, &m->asks) {
        pigeon_mock_ask *ask = container_of(it, struct pigeon_mock_ask, link);

        if (ask->token == token)
            return ask;
    }
    return NULL;
}

pigeon_mock_ask *ask_of_req(pigeon_mock *m, const pigeon_req *req)
{
    LIST_FOREACH (it, &m->asks) {
        pigeon_mock_ask *ask = container_of(it, struct pigeon_mock_ask, link);

        if (ask->req && ask->req == req)
            return ask;
    }
    return NULL;
}

static bool is_verdict(const pigeon_mock_ask *ask, int32_t verdict)
{
    if (ask->hook >= PIGEON_HOOK_CONTROL || ask->hook == 0)
        return verdict <= 0;
    if (verdict == PIGEON_CONTINUE)
        return ask->hook == PIGEON_HOOK_EXCHANGE;
    return verdict == PIGEON_NEXT || verdict == PIGEON_ALLOW || verdict == PIGEON_DENY;
}

static void settle(pigeon_mock_ask *ask)
{
    ask->settled = true;
    if (ask->state == ASK_DONE && !is_verdict(ask, ask->verdict)) {
        mock_complain(ask->mock, "%s was answered with %d, which is no verdict",
                      mock_hook_name(ask->hook), ask->verdict);
        ask->verdict = ask->hook < PIGEON_HOOK_CONTROL ? PIGEON_DENY : PIGEON_E_INVAL;
    }
    if (ask->failed && ask->hook < PIGEON_HOOK_CONTROL)
        ask->verdict = PIGEON_DENY;
    blocks_spoil(ask);
    for (size_t i = 0; i < PIGEON_COUNT(ask->messages); i++) {
        msg_drop(ask->messages[i]);
        ask->messages[i] = NULL;
    }
    if (ask->client) {
        if (ask->hook == PIGEON_HOOK_EXCHANGE && ask->verdict != PIGEON_CONTINUE)
            exchange_end(ask->client);
        client_unpin(ask->client);
        ask->client = NULL;
    }
}

static bool is_over(const pigeon_mock_ask *ask)
{
    return ask->state == ASK_DONE || ask->state == ASK_RETURNED;
}

void asks_settle(pigeon_mock *m)
{
    for (;;) {
        pigeon_mock_ask *found = NULL;

        pthread_mutex_lock(&m->lock);
        LIST_FOREACH (it, &m->asks) {
            pigeon_mock_ask *ask = container_of(it, struct pigeon_mock_ask, link);

            if (is_over(ask) && !ask->settled) {
                found = ask;
                break;
            }
        }
        pthread_mutex_unlock(&m->lock);
        if (!found)
            return;
        settle(found);
    }
}

int32_t pigeon_mock_verdict(pigeon_mock_ask *ask)
{
    enum ask_state state;

    asks_settle(ask->mock);
    pthread_mutex_lock(&ask->mock->lock);
    state = ask->state;
    pthread_mutex_unlock(&ask->mock->lock);
    switch (state) {
    case ASK_CALLING:
    case ASK_EARLY:
    case ASK_PENDING: return PIGEON_PENDING;
    case ASK_DONE: return ask->verdict;
    default: return PIGEON_DENY;
    }
}

int pigeon_mock_cancel(pigeon_mock_ask *ask, int32_t why)
{
    pigeon_mock *m = ask->mock;
    bool was_pending;

    pthread_mutex_lock(&m->lock);
    was_pending = ask->state == ASK_PENDING;
    if (was_pending)
        ask->state = ASK_DEAD;
    pthread_mutex_unlock(&m->lock);
    if (was_pending && m->desc.cancel)
        m->desc.cancel(m->self, ask->token, why);
    asks_settle(m);
    return was_pending;
}

void asks_expire(pigeon_mock *m)
{
    for (;;) {
        pigeon_mock_ask *found = NULL;

        pthread_mutex_lock(&m->lock);
        LIST_FOREACH (it, &m->asks) {
            pigeon_mock_ask *ask = container_of(it, struct pigeon_mock_ask, link);

            if (ask->state == ASK_PENDING && ask->deadline_ns <= m->now_ns) {
                found = ask;
                break;
            }
        }
        pthread_mutex_unlock(&m->lock);
        if (!found)
            return;
        pigeon_mock_cancel(found, PIGEON_CANCEL_DEADLINE);
    }
}

int64_t asks_next_ns(pigeon_mock *m)
{
    int64_t next = INT64_MAX;

    pthread_mutex_lock(&m->lock);
    LIST_FOREACH (it, &m->asks) {
        pigeon_mock_ask *ask = container_of(it, struct pigeon_mock_ask, link);

        if (ask->state == ASK_PENDING && ask->deadline_ns < next)
            next = ask->deadline_ns;
    }
    pthread_mutex_unlock(&m->lock);
    return next;
}

static int64_t real_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int32_t pigeon_mock_wait(pigeon_mock_ask *ask, int64_t timeout_ms)
{
    pigeon_mock *m = ask->mock;
    int64_t end = real_ns() + timeout_ms * 1000000;

    for (;;) {
        int64_t until = real_ns() + 5 * 1000000; /* descriptors are looked at so often */
        struct timespec t;

        pigeon_mock_run(m);
        pthread_mutex_lock(&m->lock);
        if (is_over(ask) || real_ns() >= end)
            break;
        t.tv_sec = (time_t)(until / 1000000000);
        t.tv_nsec = (long)(until % 1000000000);
        pthread_cond_timedwait(&m->news, &m->lock, &t);
        pthread_mutex_unlock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return pigeon_mock_verdict(ask);
}

void asks_free(pigeon_mock *m)
{
    struct list *it;

    while ((it = list_pop(&m->asks)) != NULL) {
        pigeon_mock_ask *ask = container_of(it, struct pigeon_mock_ask, link);

        if (!is_over(ask))
            mock_complain(m, "%s was answered PENDING and never completed",
                          mock_hook_name(ask->hook));
        if (!ask->settled)
            for (size_t i = 0; i < PIGEON_COUNT(ask->messages); i++)
                msg_drop(ask->messages[i]);
        for (struct block *b = ask->blocks, *next; b; b = next) {
            next = b->next;
            free(b);
        }
        for (struct value_node *v = ask->values, *next; v; v = next) {
            next = v->next;
            free(v);
        }
        free(ask->units);
        free(ask);
    }
}

/* ---- what a test asks ------------------------------------------------------------------------ */

int pigeon_mock_was_asked(const pigeon_mock_ask *ask)
{
    return ask->was_asked;
}

int pigeon_mock_setter_failed(const pigeon_mock_ask *ask)
{
    return ask->failed;
}

uint32_t pigeon_mock_completed(const pigeon_mock_ask *ask)
{
    uint32_t n;

    pthread_mutex_lock(&ask->mock->lock);
    n = ask->n_completed;
    pthread_mutex_unlock(&ask->mock->lock);
    return n;
}

uint32_t pigeon_mock_pending(pigeon_mock *m)
{
    uint32_t n = 0;

    pthread_mutex_lock(&m->lock);
    LIST_FOREACH (it, &m->asks)
        n += !is_over(container_of(it, struct pigeon_mock_ask, link));
    pthread_mutex_unlock(&m->lock);
    return n;
}

void pigeon_mock_set_deadline_ms(pigeon_mock *m, int64_t ms)
{
    m->deadline_ms = ms;
}
