#include "hooks/bus.h"
#include "hooks/bus_priv.h"
#include "hooks/chain.h"
#include "hooks/host_priv.h"
#include "hooks/pending.h"
#include <errno.h>
#include <stdlib.h>

#define ARRIVALS_MAX 65536u /* parcels, however small */
#define TEXT_MAX     160u

/* A parcel or a state on its way from the plugin to loop 0. */
struct arrival {
    struct arrival *next;
    bool is_state, up;
    uint64_t dropped;
    pigeon_parcel parcel;
    char data[]; /* topic and body, or the text of a state */
};

struct bus_door {
    struct hooks *hooks;
    struct plugin *plugin;
    const struct bus_door_ops *ops;
    void *ctx;
    struct arrival *due; /* [loop 0] taken from the inbox, oldest first */
    uint32_t owed;       /* [loop 0] credit to be returned */
    struct mail wake;

    pthread_mutex_t lock; /* all below */
    struct arrival *first, **last;
    uint64_t n, bytes; /* arrived and not handed over, those in `due` included */
    bool posted;
};

/* ---- what the plugin calls, from any thread -----------------------------------------------------
 */

static void on_wake(struct loop *here, struct mail *m)
{
    struct bus_door *door = container_of(m, struct bus_door, wake);

    (void)here;
    pthread_mutex_lock(&door->lock);
    door->posted = false;
    pthread_mutex_unlock(&door->lock);
    if (!door->hooks->stopping && door->ops)
        door->ops->wake(door->ctx);
}

static void arrive(struct bus_door *door, struct arrival *a)
{
    a->next = NULL;
    *door->last = a;
    door->last = &a->next;
    if (door->posted)
        return;
    door->posted = true;
    loop_post_any(loop_group_at(door->hooks->loops, 0), &door->wake, on_wake);
}

static struct bus_door *door_of(void *inst)
{
    struct instance *i = instance_of(inst);

    return i->hooks->bus && i->plugin == i->hooks->bus->plugin ? i->hooks->bus : NULL;
}

static struct arrival *parcel_copy(const pigeon_parcel *parcel)
{
    size_t topic = parcel->topic.ptr ? parcel->topic.len : 0, body = parcel->body.len;
    struct arrival *a = malloc(sizeof(*a) + topic + 1 + body);

    if (!a)
        return NULL;
    *a = (struct arrival){ .parcel = { .size = sizeof(a->parcel) } };
    a->parcel.kind = parcel->kind;
    a->parcel.from = parcel->from;
    a->parcel.to = parcel->to;
    a->parcel.link_seq = parcel->link_seq;
    if (topic)
        memcpy(a->data, parcel->topic.ptr, topic);
    a->data[topic] = '\0';
    memcpy(a->data + topic + 1, parcel->body.ptr, body);
    a->parcel.topic = (pigeon_str){ .ptr = a->data, .len = (uint32_t)topic };
    a->parcel.body =
        (pigeon_bytes){ .ptr = (const uint8_t *)a->data + topic + 1, .len = (uint32_t)body };
    return a;
}

/* E_BUSY: more than the credit, not taken; again after the next `more`. */
static int32_t deliver(void *inst, const pigeon_parcel *parcel)
{
    struct bus_door *door = door_of(inst);
    struct arrival *a;

    if (!door || !PIGEON_HAS(parcel, pigeon_parcel, body) || !parcel->body.ptr || !parcel->body.len)
        return PIGEON_E_INVAL;
    if (door->hooks->stopping)
        return PIGEON_E_GONE;
    a = parcel_copy(parcel);
    if (!a)
        return PIGEON_E_NOMEM;
    pthread_mutex_lock(&door->lock);
    if (door->n >= ARRIVALS_MAX || (door->n && door->bytes + parcel->body.len > BUS_CREDIT)) {
        pthread_mutex_unlock(&door->lock);
        free(a);
        return PIGEON_E_BUSY;
    }
    door->n++;
    door->bytes += parcel->body.len;
    arrive(door, a);
    pthread_mutex_unlock(&door->lock);
    return PIGEON_OK;
}

static int32_t state(void *inst, uint32_t up, uint64_t dropped, pigeon_str text)
{
    struct bus_door *door = door_of(inst);
    uint32_t len = !text.ptr ? 0 : text.len < TEXT_MAX ? text.len : TEXT_MAX;
    struct arrival *a;

    if (!door)
        return PIGEON_E_INVAL;
    if (door->hooks->stopping)
        return PIGEON_E_GONE;
    a = malloc(sizeof(*a) + len + 1);
    if (!a)
        return PIGEON_E_NOMEM;
    *a = (struct arrival){ .is_state = true, .up = up != 0, .dropped = dropped };
    if (len)
        memcpy(a->data, text.ptr, len);
    a->data[len] = '\0';
    pthread_mutex_lock(&door->lock);
    arrive(door, a);
    pthread_mutex_unlock(&door->lock);
    return PIGEON_OK;
}

const pigeon_bus_host bus_host_table = {
    .size = sizeof(bus_host_table),
    .deliver = deliver,
    .state = state,
};

/* ---- loop 0 -------------------------------------------------------------------------------------
 */

static void *self_of(const struct bus_door *door)
{
    return door->plugin->instances[0].self;
}

static void give_credit(struct bus_door *door)
{
    uint32_t owed = door->owed;

    door->owed = 0;
    if (owed && !door->hooks->stopping && door->plugin->instances[0].created)
        door->plugin->bus->more(self_of(door), owed);
}

bool bus_door_run(struct hooks *hooks)
{
    struct bus_door *door = hooks->bus;
    struct arrival *a = door->due;

    if (!a) {
        pthread_mutex_lock(&door->lock);
        a = door->first;
        door->first = NULL;
        door->last = &door->first;
        pthread_mutex_unlock(&door->lock);
    }
    if (!a) {
        give_credit(door);
        return false;
    }
    door->due = a->next;
    if (a->is_state) {
        door->ops->state(door->ctx, a->up, a->dropped, a->data);
    } else {
        door->ops->parcel(door->ctx, &a->parcel);
        pthread_mutex_lock(&door->lock);
        door->n--;
        door->bytes -= a->parcel.body.len;
        pthread_mutex_unlock(&door->lock);
        door->owed += a->parcel.body.len;
        if (door->owed >= BUS_CREDIT / 4)
            give_credit(door);
    }
    free(a);
    return true;
}

static void on_sent(struct ask_slot *slot, int32_t status)
{
    struct bus_wait *wait = slot->owner;

    slot_release(slot);
    wait->done(wait, status);
}

enum bus_send bus_door_send(struct hooks *hooks, const pigeon_parcel *parcel, struct bus_wait *wait,
                            int32_t *r_error)
{
    struct bus_door *door = hooks->bus;
    struct instance *inst = &door->plugin->instances[0];
    struct ask_slot *slot = inst->created ? slot_get(hooks->loop[0]) : NULL;
    struct crumb_call crumb;
    int32_t r;

    if (!slot)
        return BUS_BUSY;
    slot_open(slot, inst);
    slot->owner = NULL; /* nobody hears of an answer that was given twice */
    slot->fn = on_sent;
    crumb = crumb_begin(inst, PIGEON_HOOK_BUS);
    r = door->plugin->bus->send(inst->self, slot->req.token, parcel);
    crumb_end(crumb);
    if (r == PIGEON_PENDING) {
        slot->owner = wait;
        slot_count(slot);
        return BUS_PENDING;
    }
    if (slot_close(slot))
        slot_put(slot);
    if (r == PIGEON_OK)
        return BUS_SENT;
    if (r == PIGEON_E_BUSY)
        return BUS_BUSY;
    *r_error = r;
    return BUS_FAILED;
}

static void on_opened(struct ask_slot *slot, int32_t status)
{
    struct hooks *hooks = slot->hl->hooks;

    slot_release(slot);
    if (status != PIGEON_OK)
        log_error(hooks->log, "bus_not_open", LZ("plugin", hooks->bus->plugin->name),
                  LI("error", status));
}

const char *bus_door_plugin(const struct bus_door *door)
{
    return door->plugin->name;
}

bool bus_door_is_there(const struct hooks *hooks)
{
    return hooks->bus != NULL;
}

int bus_door_open(struct hooks *hooks, uint64_t me, const struct bus_door_ops *ops, void *ctx)
{
    struct bus_door *door = hooks->bus;
    struct instance *inst = &door->plugin->instances[0];
    struct ask_slot *slot = slot_get(hooks->loop[0]);
    struct crumb_call crumb;
    int32_t r;

    if (!slot)
        return -ENOMEM;
    door->ctx = ctx;
    door->ops = ops;
    slot_open(slot, inst);
    slot->owner = door;
    slot->fn = on_opened;
    crumb = crumb_begin(inst, PIGEON_HOOK_BUS);
    r = door->plugin->bus->open(inst->self, slot->req.token, me, BUS_CREDIT);
    crumb_end(crumb);
    if (r == PIGEON_PENDING) {
        slot_count(slot);
        return 0;
    }
    if (slot_close(slot))
        slot_put(slot);
    if (r == PIGEON_OK)
        return 0;
    log_error(hooks->log, "bus_not_open", LZ("plugin", door->plugin->name), LI("error", r),
              LZ("reason", inst->reason ? inst->reason : "open failed"));
    return -EINVAL;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

int bus_door_new(struct hooks *hooks, struct plugin *plugin, struct bus_door **r_door)
{
    const pigeon_bus *bus = plugin->bus;
    struct bus_door *door;

    if (!PIGEON_HAS(bus, pigeon_bus, more) || !bus->open || !bus->send || !bus->more)
        return -EINVAL;
    door = calloc(1, sizeof(*door));
    if (!door)
        return -ENOMEM;
    door->hooks = hooks;
    door->plugin = plugin;
    door->last = &door->first;
    pthread_mutex_init(&door->lock, NULL);
    *r_door = door;
    return 0;
}

static void arrivals_free(struct arrival *a)
{
    for (struct arrival *next; a; a = next) {
        next = a->next;
        free(a);
    }
}

void bus_door_free(struct bus_door **r_door)
{
    struct bus_door *door = *r_door;

    if (!door)
        return;
    *r_door = NULL;
    arrivals_free(door->due);
    arrivals_free(door->first);
    pthread_mutex_destroy(&door->lock);
    free(door);
}
