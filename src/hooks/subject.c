#include "hooks/subject.h"
#include "hooks/client_slots.h"
#include "hooks/plugin.h"
#include "hooks/worker.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- writing views into a block behind a struct
 * -------------------------------------------------- */

static char *put_text(char *at, struct str s, pigeon_str *r_view)
{
    if (s.len)
        memcpy(at, s.ptr, s.len);
    at[s.len] = '\0';
    *r_view = (pigeon_str){ .ptr = at, .len = s.len };
    return at + s.len + 1;
}

static char *put_bytes(char *at, const void *ptr, uint32_t len, pigeon_bytes *r_view)
{
    if (len)
        memcpy(at, ptr, len);
    at[len] = '\0';
    *r_view = (pigeon_bytes){ .ptr = (const uint8_t *)at, .len = len };
    return at + len + 1;
}

static struct str of_text(pigeon_str s)
{
    return (struct str){ s.ptr, s.len };
}

static struct str of_bytes(pigeon_bytes b)
{
    return (struct str){ (const char *)b.ptr, b.len };
}

/* ---- identity -------------------------------------------------------------------------------- */

struct client_slots *client_slots_new(uint32_t loop)
{
    struct client_slots *cs = calloc(1, sizeof(*cs));

    if (!cs)
        return NULL;
    cs->refs = 1;
    cs->loop = loop;
    list_init(&cs->link);
    list_init(&cs->names);
    acl_init(&cs->acl);
    return cs;
}

struct client_slots *client_slots_make(struct identity *who, struct hooks *hooks)
{
    struct client_slots *cs = who->slots;
    size_t n = hooks->n_plugins ? hooks->n_plugins : 1;

    if (!cs) {
        cs = client_slots_new(who->view.loop);
        if (!cs)
            return NULL;
        who->slots = cs;
        list_append(&cs->names, &who->same);
    }
    cs->slot = calloc(n, sizeof(*cs->slot) + sizeof(*cs->revoked));
    if (!cs->slot)
        return NULL;
    cs->revoked = (uint32_t *)(void *)(cs->slot + n);
    cs->hooks = hooks;
    cs->key = hooks_key_of(hooks, &who->view);
    clients_add(cs);
    return cs;
}

uint64_t client_key(const struct identity *who, const struct hooks *hooks)
{
    return who->slots && who->slots->slot ? who->slots->key : hooks_key_of(hooks, &who->view);
}

static void slot_free(struct instance *inst, void **slot)
{
    void *mine = *slot;

    *slot = NULL;
    if (mine && inst->created && inst->plugin->desc.client_free) {
        struct crumb_call crumb = crumb_begin(inst, PIGEON_HOOK_LIFE);

        inst->plugin->desc.client_free(inst->self, mine);
        crumb_end(crumb);
    }
}

static void slots_destroy(struct client_slots *cs)
{
    acl_fini(&cs->acl);
    free(cs->slot);
    free(cs);
}

/* Whose a pointer is, and where it is freed. */
static struct seat seat_of(const struct client_slots *cs, uint32_t plugin)
{
    const struct plugin *p = &cs->hooks->plugins[plugin];

    if (p->n_workers || plugin_is_single(p))
        return plugin_seat(p, cs->key);
    return (struct seat){ plugin_instance(p, cs->loop), loop_group_at(cs->hooks->loops, cs->loop) };
}

/* Event loops first: a worker may take its time. */
static bool is_sooner(const struct client_slots *cs, const struct loop *a, const struct loop *b)
{
    return !b || (loop_get_group(b) != cs->hooks->loops && loop_get_group(a) == cs->hooks->loops);
}

static void on_slots_mail(struct loop *here, struct mail *m);

/* Frees what belongs here, then goes where the rest belongs. */
static void slots_free(struct client_slots *cs)
{
    struct loop *next = NULL;

    for (uint32_t i = 0; cs->slot && i < cs->hooks->n_plugins; i++) {
        struct seat seat;

        if (!cs->slot[i])
            continue;
        seat = seat_of(cs, i);
        if (!hooks_is_elsewhere(cs->hooks, seat.loop))
            slot_free(seat.inst, &cs->slot[i]);
        else if (is_sooner(cs, seat.loop, next))
            next = seat.loop;
    }
    if (next)
        hooks_post(next, &cs->mail, on_slots_mail);
    else
        slots_destroy(cs);
}

static void on_slots_mail(struct loop *here, struct mail *m)
{
    (void)here;
    slots_free(container_of(m, struct client_slots, mail));
}

static void slots_unref(struct client_slots *cs)
{
    if (!cs || --cs->refs > 0)
        return;
    list_remove(&cs->link);
    slots_free(cs);
}

struct identity *identity_new(const struct identity_parts *p, struct identity *from)
{
    size_t len = (size_t)p->id.len + p->username.len + p->address.len + p->listener.len +
                 p->tls_cn.len + p->tls_cert.len + 6;
    struct identity *who;
    char *at;

    if (from && !from->slots) {
        from->slots = client_slots_new(from->view.loop);
        if (!from->slots)
            return NULL;
        list_append(&from->slots->names, &from->same);
    }
    who = malloc(sizeof(*who) + len);
    if (!who)
        return NULL;
    *who = (struct identity){
        .view = { .size = sizeof(pigeon_client),
                  .flags = p->flags,
                  .conn_id = p->conn_id,
                  .protocol = p->protocol,
                  .transport = p->transport,
                  .port = p->port,
                  .loop = p->loop,
                  .keepalive_s = p->keepalive_s,
                  .session_expiry_s = p->session_expiry_s,
                  .peer_pid = p->peer_pid,
                  .peer_uid = p->peer_uid,
                  .peer_gid = p->peer_gid },
        .refs = 1,
        .chains = p->chains,
        .slots = from ? from->slots : NULL,
    };
    list_init(&who->same);
    if (who->slots) {
        who->slots->refs++;
        list_append(&who->slots->names, &who->same);
    }
    at = put_text(who->data, p->id, &who->view.id);
    at = put_text(at, p->username, &who->view.username);
    if (!p->has_username)
        who->view.username = (pigeon_str){ 0 };
    at = put_text(at, p->address, &who->view.address);
    at = put_text(at, p->listener, &who->view.listener);
    at = put_text(at, p->tls_cn, &who->view.tls_cn);
    put_bytes(at, p->tls_cert.ptr, p->tls_cert.len, &who->view.tls_cert);
    return who;
}

void identity_parts(const struct identity *who, struct identity_parts *r)
{
    const pigeon_client *v = &who->view;

    *r = (struct identity_parts){
        .id = of_text(v->id),
        .username = of_text(v->username),
        .address = of_text(v->address),
        .listener = of_text(v->listener),
        .tls_cn = of_text(v->tls_cn),
        .tls_cert = of_bytes(v->tls_cert),
        .has_username = v->username.ptr != NULL,
        .protocol = v->protocol,
        .transport = v->transport,
        .port = v->port,
        .flags = v->flags,
        .loop = v->loop,
        .chains = who->chains,
        .keepalive_s = v->keepalive_s,
        .session_expiry_s = v->session_expiry_s,
        .peer_pid = v->peer_pid,
        .peer_uid = v->peer_uid,
        .peer_gid = v->peer_gid,
        .conn_id = v->conn_id,
    };
}

struct identity *identity_ref(struct identity *who)
{
    who->refs++;
    return who;
}

void identity_unref(struct identity **who)
{
    struct identity *w = *who;

    *who = NULL;
    if (!w || --w->refs > 0)
        return;
    list_remove(&w->same);
    slots_unref(w->slots);
    free(w);
}

/* ---- subjects -------------------------------------------------------------------------------- */

struct subject *subject_ref(struct subject *s)
{
    s->refs++;
    return s;
}

void subject_unref(struct subject **s)
{
    struct subject *subject = *s;

    *s = NULL;
    if (subject && --subject->refs == 0)
        subject->free_fn(subject);
}

static void connect_free(struct subject *s)
{
    struct connect_info *c = container_of(s, struct connect_info, base);

    message_unref(&c->will);
    explicit_bzero(c->data, c->data_len);
    free(c->data);
    free(c);
}

struct connect_info *connect_info_new(const pigeon_connect *connect, struct str id,
                                      struct str username, struct message *m_will)
{
    struct connect_info *c = malloc(sizeof(*c));
    size_t len = (size_t)id.len + username.len + connect->password.len + connect->auth_method.len +
                 connect->auth_data.len + connect->props.len + 6;
    char *data = malloc(len);
    pigeon_str text;
    char *at;

    if (!c || !data) {
        free(c);
        free(data);
        message_unref(&m_will);
        return NULL;
    }
    *c = (struct connect_info){
        .base = { 1, connect_free }, .view = *connect, .will = m_will, .data = data, .data_len = len
    };
    c->view.size = sizeof(c->view);
    at = put_text(data, id, &text);
    c->id = of_text(text);
    at = put_text(at, username, &text);
    c->username = of_text(text);
    at = put_bytes(at, connect->password.ptr, connect->password.len, &c->view.password);
    at = put_text(at, of_text(connect->auth_method), &c->view.auth_method);
    if (!connect->auth_method.ptr)
        c->view.auth_method.ptr = NULL;
    at = put_bytes(at, connect->auth_data.ptr, connect->auth_data.len, &c->view.auth_data);
    put_bytes(at, connect->props.ptr, connect->props.len, &c->view.props);
    c->view.will_bits = 0;
    c->view.will = m_will ? &m_will->view : NULL;
    return c;
}

void connect_info_wipe(struct connect_info *info)
{
    pigeon_bytes *password = &info->view.password;

    if (info->base.refs > 1 || !password->len)
        return;
    explicit_bzero(info->data + ((const char *)password->ptr - info->data), password->len);
    password->len = 0;
}

static void sub_free(struct subject *s)
{
    free(container_of(s, struct sub_info, base));
}

struct sub_info *sub_info_new(const pigeon_sub *sub)
{
    struct str effective = of_text(sub->effective.ptr ? sub->effective : sub->filter);
    struct sub_info *s = malloc(sizeof(*s) + sub->filter.len + effective.len + sub->share.len + 3);
    char *at;

    if (!s)
        return NULL;
    s->base = (struct subject){ 1, sub_free };
    s->view = *sub;
    s->view.size = sizeof(s->view);
    at = put_text(s->data, of_text(sub->filter), &s->view.filter);
    at = put_text(at, effective, &s->view.effective);
    put_text(at, of_text(sub->share), &s->view.share);
    return s;
}

static void exchange_info_free(struct subject *s)
{
    free(container_of(s, struct exchange_info, base));
}

struct exchange_info *exchange_info_new(uint32_t stage, struct str method, struct str data,
                                        struct str props)
{
    struct exchange_info *x = malloc(sizeof(*x) + method.len + data.len + props.len + 3);
    char *at;

    if (!x)
        return NULL;
    *x = (struct exchange_info){ .base = { 1, exchange_info_free },
                                 .view = { .size = sizeof(x->view), .stage = stage } };
    at = put_text(x->data, method, &x->view.method);
    at = put_bytes(at, data.ptr, data.len, &x->view.data);
    put_bytes(at, props.ptr, props.len, &x->view.props);
    return x;
}
