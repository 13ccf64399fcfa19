#include "hooks/control.h"
#include "hooks/error_name.h"
#include "base/utf8.h"
#include "hooks/chain.h"
#include "hooks/host_admin.h"
#include "hooks/host_priv.h"
#include "hooks/worker.h"
#include <errno.h>
#include <stdlib.h>

#define TIMEOUT_MS     5000u
#define TIMEOUT_MAX_MS 300000u
#define NAME_MAX_LEN   128u

/* What the plugin sees, for as long as it has not answered; counted by the loop that asks. */
struct command {
    struct subject base; /* first */
    pigeon_str name, args;
    char text[];
};

struct call_job {
    struct job job;
    struct mail mail;
    pigeon_reply_fn fn;
    uint64_t timeout_ms;
    struct plugin *plugin;   /* NULL: unknown */
    struct command *command; /* until it is asked */
    struct ask_slot *slot;   /* [loop that asks] while the answer is awaited */
    int32_t status;
    struct str reply; /* owned */
    char text[256];
};

/* ---- a small part of JSON ------------------------------------------------------------ */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct str trim(struct str s)
{
    while (s.len && is_blank(s.ptr[0]))
        s = str_make(s.ptr + 1, s.len - 1);
    while (s.len && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* UTF-8 that begins and ends as JSON does; whoever reads it checks the rest. */
static bool looks_like_json(struct str s)
{
    char first, last;

    if (!utf8_is_valid(s.ptr, s.len))
        return false;
    s = trim(s);
    if (!s.len)
        return false;
    first = s.ptr[0];
    last = s.ptr[s.len - 1];
    switch (first) {
    case '{': return s.len > 1 && last == '}';
    case '[': return s.len > 1 && last == ']';
    case '"': return s.len > 1 && last == '"';
    case 't': return str_eq(s, STR("true"));
    case 'f': return str_eq(s, STR("false"));
    case 'n': return str_eq(s, STR("null"));
    default: return (first == '-' || (first >= '0' && first <= '9')) && last >= '0' && last <= '9';
    }
}

/* ---- tables of commands -------------------------------------------------------------- */

const pigeon_command *control_command(const struct plugin *p, uint32_t i)
{
    return (const void *)((const char *)p->control->commands +
                          (size_t)i * p->control->command_stride);
}

static bool has_command(const struct plugin *p, struct str name)
{
    for (uint32_t i = 0; i < p->control->ncommands; i++)
        if (str_eq(name, str_from(control_command(p, i)->name)))
            return true;
    return false;
}

int control_init(struct hooks *hooks)
{
    struct step *steps = calloc(hooks->n_plugins ? hooks->n_plugins : 1, sizeof(*steps));

    if (!steps)
        return -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        steps[i] =
            (struct step){ .inst = &hooks->plugins[i].instances[0], .hook = PIGEON_HOOK_CONTROL };
    hooks->admin->control = steps;
    return 0;
}

#define PACKED_ERROR 0x80u
#define PACKED_BAD   0xffu

uint8_t control_pack(int32_t status)
{
    if (status == PIGEON_OK)
        return 0;
    return status < 0 && status > -0x7f ? (uint8_t)(PACKED_ERROR | (uint8_t)-status) : PACKED_BAD;
}

int32_t control_unpack(uint8_t packed)
{
    if (packed == 0)
        return PIGEON_OK;
    return packed > PACKED_ERROR && packed != PACKED_BAD ? -(int32_t)(packed & 0x7fu)
                                                         : PIGEON_E_INVAL;
}

/* ---- the way back -------------------------------------------------------------------- */

static void on_reply(struct loop *here, struct mail *m)
{
    struct call_job *c = container_of(m, struct call_job, mail);
    bool may_tell = job_may_tell(&c->job);
    pigeon_str json = { .ptr = "" }, text = { .ptr = c->text, .len = (uint32_t)strlen(c->text) };

    (void)here;
    if (c->status == PIGEON_OK)
        json = c->reply.len ? (pigeon_str){ .ptr = c->reply.ptr, .len = c->reply.len }
                            : (pigeon_str){ .ptr = "{}", .len = 2 };
    job_end(&c->job);
    if (may_tell) {
        admin_call_begin(c->job.inst);
        c->fn(c->job.inst->self, c->job.arg, c->job.id, c->status, json, text);
        admin_call_end();
    }
    job_unref(&c->job);
}

static void answer(struct call_job *c, int32_t status, const char *text)
{
    c->status = status;
    if (text && !c->text[0])
        snprintf(c->text, sizeof(c->text), "%s", text);
    job_post_home(&c->job, &c->mail, on_reply);
}

static void take_reply(struct call_job *c, const struct ask_slot *slot)
{
    const struct ask_value *found = NULL;

    for (const struct ask_value *v = slot->values; v; v = v->next)
        if (v->kind == VALUE_REPLY)
            found = v;
    if (!found)
        return;
    if (!looks_like_json(found->a)) {
        c->status = PIGEON_E_INVAL;
        snprintf(c->text, sizeof(c->text), "the answer of %s is not JSON", c->plugin->name);
    } else if (str_dup_r(found->a, &c->reply)) {
        c->status = PIGEON_E_NOMEM;
        snprintf(c->text, sizeof(c->text), "out of memory");
    }
}

static void settle(struct call_job *c, struct ask_slot *slot, int32_t status)
{
    c->status = status;
    memcpy(c->text, slot->text, sizeof(slot->text));
    if (slot->failed) {
        c->status = PIGEON_E_TOOBIG;
        snprintf(c->text, sizeof(c->text),
                 "the answer of %s could not be kept, or is above %u bytes", c->plugin->name,
                 PIGEON_REPLY_MAX);
    } else if (status == PIGEON_OK) {
        take_reply(c, slot);
    } else if (!c->text[0]) {
        snprintf(c->text, sizeof(c->text), "%s answered with %s", c->plugin->name,
                 error_name(status));
    }
    c->slot = NULL;
    slot_release(slot);
    answer(c, c->status, NULL);
}

static void on_answer(struct ask_slot *slot, int32_t packed)
{
    struct call_job *c = slot->owner;

    settle(c, slot, control_unpack((uint8_t)packed));
    job_unref(&c->job);
}

static void on_deadline(struct ask_slot *slot)
{
    struct call_job *c = slot->owner;
    char text[sizeof(c->text)];

    slot->owner = NULL;
    c->slot = NULL;
    snprintf(text, sizeof(text), "%s has not answered within %llu ms", c->plugin->name,
             (unsigned long long)c->timeout_ms);
    answer(c, PIGEON_E_BUSY, text);
    job_unref(&c->job);
}

/* ---- the question -------------------------------------------------------------------- */

static int32_t run(struct ask_slot *slot, struct instance *inst)
{
    const struct command *cmd = (const struct command *)slot->subject;
    struct crumb *crumb = crumb_here();
    int32_t status;

    if (crumb)
        crumb_enter(crumb, inst, PIGEON_HOOK_CONTROL, NULL);
    status = inst->plugin->control->command(inst->self, &slot->req, cmd->name, cmd->args);
    if (crumb)
        crumb_leave(crumb);
    return status == PIGEON_NEXT || status == PIGEON_PENDING || status < 0 ? status
                                                                           : PIGEON_E_INVAL;
}

static void wait_for(struct call_job *c, struct ask_slot *slot, struct hook_loop *hl)
{
    job_ref(&c->job); /* the slot's, until it is settled or nobody waits */
    c->slot = slot;
    slot->owner = c;
    slot->fn = on_answer;
    slot_count(slot);
    slot_arm(slot, loop_now_ms(hl->loop) + c->timeout_ms, on_deadline);
}

static void on_hop_back(struct loop *here, struct mail *m)
{
    (void)here;
    slot_mail_back(container_of(m, struct ask_slot, hop_mail));
}

/* On the thread of an instance that is not on the loop that asks. */
static void on_hop(struct loop *here, struct mail *m)
{
    struct ask_slot *slot = container_of(m, struct ask_slot, hop_mail);
    struct instance *inst = atomic_load_explicit(&slot->inst, memory_order_relaxed);
    int32_t status = PIGEON_E_GONE;

    (void)here;
    if (word_state(atomic_load_explicit(&slot->word, memory_order_acquire)) == SLOT_PENDING &&
        inst->created && !inst->hooks->stopping) {
        slot->unseen = false;
        status = run(slot, inst);
        slot->unseen = status != PIGEON_PENDING;
    }
    if (status != PIGEON_PENDING)
        pending_complete(inst, slot->req.token, status);
    hooks_post(slot->hl->loop, m, on_hop_back);
}

static void put_question(struct call_job *c, struct hook_loop *hl, struct ask_slot *slot)
{
    struct seat seat = plugin_seat(c->plugin, 0);
    int32_t status;

    slot_open(slot, seat.inst);
    if (seat.loop != hl->loop) {
        wait_for(c, slot, hl);
        slot->unseen = true;
        slot->home = seat.loop;
        slot->mails_out++;
        hooks_post(seat.loop, &slot->hop_mail, on_hop);
        return;
    }
    status = run(slot, seat.inst);
    if (status != PIGEON_PENDING && slot_close(slot))
        settle(c, slot, status);
    else
        wait_for(c, slot, hl);
}

static void on_call(struct loop *here, struct mail *m)
{
    struct call_job *c = container_of(m, struct call_job, mail);
    struct hooks *hooks = c->job.hooks;
    struct hook_loop *hl = hooks->loop[loop_index(here)];
    struct ask_slot *slot = NULL;

    if (!job_may_tell(&c->job) || !c->plugin->instances[0].created) {
        job_unref(&c->job);
        return;
    }
    if (c->plugin->stats.n_pending <
        (uint32_t)config_plugin(hooks->config, c->plugin->name)->max_pending)
        slot = slot_get(hl);
    if (!slot) {
        answer(c, PIGEON_E_BUSY, "the plugin has too many questions to answer");
    } else {
        slot->step = &hooks->admin->control[c->plugin->index];
        atomic_store_explicit(&slot->is_control, true, memory_order_relaxed);
        slot->subject = &c->command->base;
        c->command = NULL;
        slot->view = NULL;
        slot->req.hook = PIGEON_HOOK_CONTROL;
        slot->req.deadline_ns = (int64_t)(loop_now_ms(hl->loop) + c->timeout_ms) * 1000000;
        slot->req.client = NULL;
        slot->req.client_slot = NULL;
        put_question(c, hl, slot);
    }
    job_unref(&c->job);
}

/* ---- the function of the table ------------------------------------------------------- */

static void command_free(struct subject *s)
{
    free(s);
}

static struct command *command_new(struct str name, struct str args)
{
    struct command *cmd = malloc(sizeof(*cmd) + name.len + args.len + 2);

    if (!cmd)
        return NULL;
    cmd->base = (struct subject){ .refs = 1, .free_fn = command_free };
    memcpy(cmd->text, name.ptr, name.len);
    cmd->text[name.len] = '\0';
    cmd->name = (pigeon_str){ .ptr = cmd->text, .len = name.len };
    memcpy(cmd->text + name.len + 1, args.ptr, args.len);
    cmd->text[name.len + 1 + args.len] = '\0';
    cmd->args = (pigeon_str){ .ptr = cmd->text + name.len + 1, .len = args.len };
    return cmd;
}

static void call_free(struct job *job)
{
    struct call_job *c = container_of(job, struct call_job, job);

    free(c->command);
    str_free(&c->reply);
    free(c);
}

/* The loops stand still and the plugin is still there: it learns that nobody waits. */
static void call_stop(struct job *job)
{
    struct call_job *c = container_of(job, struct call_job, job);
    struct ask_slot *slot = c->slot;

    if (!slot)
        return;
    c->slot = NULL;
    slot->owner = NULL;
    slot_kill(slot, PIGEON_CANCEL_STOP);
    job_unref(job);
}

static void find(struct call_job *c, struct str plugin, struct str command)
{
    struct hooks *hooks = c->job.hooks;
    struct plugin *p = NULL;

    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        if (str_eq(plugin, str_from(hooks->plugins[i].name)))
            p = &hooks->plugins[i];
    if (!p)
        snprintf(c->text, sizeof(c->text), "there is no plugin '" STR_FMT "'", STR_ARG(plugin));
    else if (!p->control || !p->control->command)
        snprintf(c->text, sizeof(c->text), "plugin '%s' has no commands", p->name);
    else if (!has_command(p, command))
        snprintf(c->text, sizeof(c->text), "plugin '%s' has no command '" STR_FMT "'", p->name,
                 STR_ARG(command));
    else
        c->plugin = p;
}

static void begin(struct call_job *c)
{
    if (c->plugin)
        job_post(&c->job, c->plugin->instances[0].loop, &c->mail, on_call);
    else
        answer(c, PIGEON_E_UNKNOWN, NULL);
}

int32_t admin_call(void *inst, const pigeon_call *call, pigeon_reply_fn fn, void *arg,
                   pigeon_job *job)
{
    struct call_job *c;
    struct str plugin, command, args;
    int32_t r;

    if (!call || call->size < offsetof(pigeon_call, args) + sizeof(call->args) || !fn)
        return PIGEON_E_INVAL;
    plugin = admin_str(call->plugin);
    command = admin_str(call->command);
    args = trim(admin_str(call->args));
    if (!args.len)
        args = STR("{}");
    if (args.len > PIGEON_REPLY_MAX || plugin.len > NAME_MAX_LEN || command.len > NAME_MAX_LEN)
        return PIGEON_E_TOOBIG;
    if (!plugin.len || !command.len || args.ptr[0] != '{' || !looks_like_json(args) ||
        !utf8_is_mqtt(plugin.ptr, plugin.len) || !utf8_is_mqtt(command.ptr, command.len))
        return PIGEON_E_INVAL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return PIGEON_E_NOMEM;
    c->job = (struct job){ .hooks = instance_of(inst)->hooks,
                           .inst = inst,
                           .arg = arg,
                           .stop = call_stop,
                           .free_fn = call_free };
    c->fn = fn;
    c->timeout_ms = call->timeout_ms ? call->timeout_ms : TIMEOUT_MS;
    if (c->timeout_ms > TIMEOUT_MAX_MS)
        c->timeout_ms = TIMEOUT_MAX_MS;
    c->command = command_new(command, args);
    if (!c->command) {
        call_free(&c->job);
        return PIGEON_E_NOMEM;
    }
    find(c, plugin, command);
    r = job_start(&c->job, job);
    if (r != PIGEON_OK)
        return r;
    begin(c);
    job_unref(&c->job);
    return PIGEON_OK;
}
