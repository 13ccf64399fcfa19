/* payload_rewrite - changes messages on their way in, before they are authorized.
 * SPDX-License-Identifier: MIT
 *
 * cc -shared -fPIC -Iinclude examples/payload_rewrite.c -o payload_rewrite.so
 *
 * What is not set is not done; what is, in this order:
 *   topic_from, topic_to   a topic that begins with topic_from begins with topic_to instead
 *   find, replace          every `find` in the payload becomes `replace`
 *   member                 `"site":"hall 3"`: added to payloads that are JSON objects */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self {
    const pigeon_host *host;
    pigeon_str topic_from, topic_to, find, replace, member; /* live as long as the instance */
};

/* Bytes that grow; data NULL after a failure. */
struct out {
    uint8_t *data;
    size_t len, room;
};

static int out_add(struct out *out, const void *data, size_t len)
{
    if (len > out->room - out->len) {
        size_t room = (out->len + len) * 2;
        uint8_t *more = room <= UINT32_MAX ? realloc(out->data, room) : NULL;

        if (!more)
            return -1;
        out->data = more;
        out->room = room;
    }
    if (len)
        memcpy(out->data + out->len, data, len);
    out->len += len;
    return 0;
}

static int32_t rewrite_topic(const struct self *self, pigeon_req *req, pigeon_str topic)
{
    struct out out = { 0 };
    pigeon_str rest;
    int32_t r = PIGEON_E_NOMEM;

    if (!self->topic_from.len || !pigeon_starts(topic, self->topic_from))
        return PIGEON_OK;
    rest = pigeon_text(topic.ptr + self->topic_from.len, topic.len - self->topic_from.len);
    if (out_add(&out, self->topic_to.ptr, self->topic_to.len) == 0 &&
        out_add(&out, rest.ptr, rest.len) == 0)
        r = self->host->set_topic(req, pigeon_text((const char *)out.data, out.len));
    free(out.data);
    return r;
}

static const uint8_t *find(const uint8_t *at, const uint8_t *end, pigeon_str what)
{
    while ((size_t)(end - at) >= what.len) {
        at = memchr(at, what.ptr[0], (size_t)(end - at) - what.len + 1);
        if (!at || memcmp(at, what.ptr, what.len) == 0)
            return at;
        at++;
    }
    return NULL;
}

/* The payload with every `find` replaced; *r_changed tells whether there was one. */
static int replace_all(const struct self *self, pigeon_bytes payload, struct out *out,
                       int *r_changed)
{
    const uint8_t *at = payload.ptr, *end = payload.ptr + payload.len;
    const uint8_t *found;

    while (self->find.len && (found = find(at, end, self->find)) != NULL) {
        if (out_add(out, at, (size_t)(found - at)) ||
            out_add(out, self->replace.ptr, self->replace.len))
            return -1;
        at = found + self->find.len;
        *r_changed = 1;
    }
    return out_add(out, at, (size_t)(end - at));
}

static int is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* {...} becomes {...,member}, {} becomes {member}; anything else stays. */
static int add_member(const struct self *self, struct out *out, int *r_changed)
{
    size_t first = 0, last = out->len, before;

    while (first < last && is_space(out->data[first]))
        first++;
    while (last > first && is_space(out->data[last - 1]))
        last--;
    if (!self->member.len || last - first < 2 || out->data[first] != '{' ||
        out->data[last - 1] != '}')
        return 0;
    before = last - 1;
    while (is_space(out->data[before - 1]))
        before--;
    out->len = before;
    *r_changed = 1;
    if (before - 1 != first && out_add(out, ",", 1))
        return -1;
    return out_add(out, self->member.ptr, self->member.len) || out_add(out, "}", 1);
}

static int32_t rewrite_payload(const struct self *self, pigeon_req *req, pigeon_bytes payload)
{
    struct out out = { 0 };
    int changed = 0;
    int32_t r = PIGEON_OK;

    if (payload.len == 0) /* deletes a retained message: it has to stay empty */
        return PIGEON_OK;
    if (replace_all(self, payload, &out, &changed) || add_member(self, &out, &changed))
        r = PIGEON_E_NOMEM;
    else if (changed)
        r = self->host->set_payload(req, pigeon_data(out.data, out.len));
    free(out.data);
    return r;
}

static int32_t inbound(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    if (rewrite_topic(self, req, msg->topic) == PIGEON_OK &&
        rewrite_payload(self, req, msg->payload) == PIGEON_OK)
        return PIGEON_NEXT;
    return PIGEON_DENY; /* better dropped than not rewritten */
}

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    if (!host->conf_str(conf, "topic_to").len != !host->conf_str(conf, "topic_from").len)
        return host->fail(host->inst, "topic_to", "topic_from and topic_to go together");
    return PIGEON_OK;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = malloc(sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->topic_from = host->conf_str(conf, "topic_from");
    self->topic_to = host->conf_str(conf, "topic_to");
    self->find = host->conf_str(conf, "find");
    self->replace = host->conf_str(conf, "replace");
    self->member = host->conf_str(conf, "member");
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "topic_from", .type = PIGEON_T_STRING, .doc = "beginning of topics to rewrite" },
    { .key = "topic_to", .type = PIGEON_T_STRING, .doc = "what they begin with then" },
    { .key = "find", .type = PIGEON_T_STRING, .doc = "text in the payload to replace" },
    { .key = "replace", .type = PIGEON_T_STRING, .doc = "what it is replaced with" },
    { .key = "member", .type = PIGEON_T_STRING, .doc = "\"name\":value for JSON objects" },
};
static const pigeon_flow flow = { .size = sizeof(flow), .inbound = inbound };

PIGEON_PLUGIN("org.example.payload-rewrite", "1.0", "rewrites topics and payloads", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_FLOW, &flow)), PIGEON_OPTIONS(options), .check = check,
              .create = create, .destroy = free);
