#include "pigeond/doors.h"
#include "base/list.h"
#include "broker/broker.h"
#include "conn/conn.h"
#include "hooks/hooks.h"
#include "net/listener.h"
#include "net/tls.h"
#include "net/transport.h"
#include "pigeond/door_tls.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT_TRIES 16         /* port 0: what is free for one address may be taken for the next */
#define NOWHERE    UINT32_MAX /* index of a door that is closed */

struct door {
    struct list link; /* in one list of struct doors */
    struct broker *broker;
    _Atomic uint32_t index;       /* in the broker's configuration; any loop */
    uint32_t chains;              /* see hooks_listener; constant once it is open */
    struct config *config;        /* reference: keeps `conf` */
    struct config_listener *conf; /* as it was opened */
    struct config *next_config;   /* between prepare and commit: what it will be; NULL: closed */
    struct config_listener *next_conf;
    uint32_t next_uid, next_gid; /* of a socket file; UINT32_MAX: not set */
    int next_owner;              /* 0, or -EINVAL: nobody has that name */
    struct transport *transport; /* NULL: plain MQTT; as `conf` says, and the next one */
    struct transport *next_transport;
    bool is_started;
    uint32_t n_sockets;
    struct listener *sockets[]; /* one per address */
};

struct doors {
    struct loop_group *loops;
    struct log *log;
    struct tls_tickets *tickets; /* NULL: none could be drawn */
    struct list open, fresh, closed;
};

/* ---- accept -------------------------------------------------------------------------------- */

static void on_accept(void *ctx, struct loop *loop, struct stream *m_stream)
{
    struct door *door = ctx;
    uint32_t index = atomic_load(&door->index);
    int r = 0;
    if (index == NOWHERE) {
        stream_abort(&m_stream);
        return;
    }
    if (door->transport)
        r = transport_apply(door->transport, m_stream);
    if (r) {
        struct shard *s = &door->broker->shards[loop_index(loop)];
        shard_count(s, N_ACCEPTED, 1);
        conn_refuse(s, m_stream, r == -EACCES ? "not one of the trusted proxies" : "out of memory");
        return;
    }
    conn_accept(door->broker, loop, index, door->chains, m_stream);
}

/* ---- one door ------------------------------------------------------------------------------ */

static void door_close_sockets(struct door *door)
{
    atomic_store(&door->index, NOWHERE);
    for (uint32_t i = 0; i < door->n_sockets; i++)
        listener_free(&door->sockets[i]);
    door->n_sockets = 0;
}

static void door_free(struct door *door)
{
    door_close_sockets(door);
    list_remove(&door->link);
    config_unref(&door->next_config);
    config_unref(&door->config);
    transport_unref(&door->next_transport);
    transport_unref(&door->transport);
    free(door);
}

static bool may_be_missing(const struct config_listener *l, uint32_t i, int err)
{
    return !l->bind_written && i > 0 && (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT);
}

static int refuse(struct doors *doors, const struct config_listener *l, const char *address,
                  int err)
{
    const char *help;
    switch (err) {
    case -EADDRINUSE: help = "another program listens there: stop it, or set `port`"; break;
    case -EACCES: help = "only root may open it: set another `port` or path"; break;
    case -EINVAL: help = "correct `owner` or `group`: there is none of this name"; break;
    case -EPERM: help = "only root may give the socket to this `owner` or `group`"; break;
    default: help = "correct `bind`, `port` or `unix`"; break;
    }
    if (l->unix_path)
        log_error(doors->log, "listen_refused", LZ("listener", l->name), LZ("path", l->unix_path),
                  LZ("reason", strerror(-err)), LZ("help", help));
    else
        log_error(doors->log, "listen_refused", LZ("listener", l->name), LZ("address", address),
                  LI("port", l->port), LZ("reason", strerror(-err)), LZ("help", help));
    return err;
}

/* 0 or a negative errno: logged. */
static int plan_transport(struct doors *doors, struct door *door, const struct config_listener *l)
{
    struct transport_conf conf = { .is_websocket = l->protocol == CONFIG_WEBSOCKET,
                                   .path = l->path,
                                   .origins = l->origins.items,
                                   .n_origins = l->origins.n,
                                   .proxy = (enum transport_proxy)l->proxy_protocol,
                                   .trusted = l->trusted_proxies.items,
                                   .n_trusted = l->trusted_proxies.n };
    char reason[512];
    int r = door_tls_new(l, doors->tickets, reason, sizeof(reason), &conf.tls);
    if (r) {
        log_error(doors->log, "listen_refused", LZ("listener", l->name), LZ("reason", reason),
                  LZ("help", "correct `tls` or the file"));
        return r;
    }
    if (conf.tls || conf.is_websocket || conf.proxy)
        r = transport_new(&conf, &door->next_transport);
    tls_context_unref(&conf.tls);
    return r ? refuse(doors, l, "", r) : 0;
}

static bool read_id(const char *text, uint32_t *r_id)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n >= UINT32_MAX)
        return false;
    *r_id = (uint32_t)n;
    return true;
}

/* The owner of a socket file, UINT32_MAX for what is not set. Asks the system's user database. */
static int find_owner(const struct config_listener *l, uint32_t *r_uid, uint32_t *r_gid)
{
    *r_uid = *r_gid = UINT32_MAX;
    if (l->owner && !read_id(l->owner, r_uid)) {
        const struct passwd *user = getpwnam(l->owner);
        if (!user)
            return -EINVAL;
        *r_uid = user->pw_uid;
    }
    if (l->group && !read_id(l->group, r_gid)) {
        const struct group *group = getgrnam(l->group);
        if (!group)
            return -EINVAL;
        *r_gid = group->gr_gid;
    }
    return 0;
}

/* What `config` wants of the door, when it becomes true. 0 or a negative errno: logged. */
static int door_plan(struct doors *doors, struct door *door, struct config *config,
                     struct config_listener *l)
{
    door->next_conf = l;
    door->next_config = config_ref(config);
    door->next_owner = find_owner(l, &door->next_uid, &door->next_gid);
    return plan_transport(doors, door, l);
}

/* All addresses on one port. *r_address: the one that failed. */
static int open_addresses(struct doors *doors, struct door *door, const char **r_address)
{
    const struct config_listener *l = door->conf;
    struct listener_conf conf = { .port = l->unix_path ? 0 : (uint16_t)l->port,
                                  .unix_path = l->unix_path,
                                  .unix_mode = (uint32_t)l->mode,
                                  .unix_uid = door->next_uid,
                                  .unix_gid = door->next_gid,
                                  .unix_chown = l->owner || l->group };
    if (door->next_owner)
        return door->next_owner;
    uint32_t n = l->unix_path ? 1 : l->bind.n;
    for (uint32_t i = 0; i < n; i++) {
        struct listener **socket = &door->sockets[door->n_sockets];
        conf.bind = l->unix_path ? NULL : l->bind.items[i];
        int r = listener_new(doors->loops, &conf, on_accept, door, socket);
        if (may_be_missing(l, i, r))
            continue;
        if (r) {
            *r_address = conf.bind;
            return r;
        }
        conf.port = listener_port(*socket);
        door->n_sockets++;
    }
    return 0;
}

static int door_open(struct doors *doors, struct config *config, struct config_listener *l)
{
    uint32_t n = l->unix_path ? 1 : l->bind.n;
    struct door *door = calloc(1, sizeof(*door) + n * sizeof(door->sockets[0]));
    if (!door)
        return refuse(doors, l, "", -ENOMEM);
    atomic_store(&door->index, NOWHERE);
    door->conf = l;
    door->config = config_ref(config);
    list_append(&doors->fresh, &door->link);
    const char *address = "";
    int tries = 0;
    int r = door_plan(doors, door, config, l);
    if (r)
        return r;
    do {
        door_close_sockets(door);
        r = open_addresses(doors, door, &address);
    } while (r == -EADDRINUSE && l->port == 0 && ++tries < PORT_TRIES);
    return r ? refuse(doors, l, address, r) : 0;
}

static void door_start(struct doors *doors, struct door *door)
{
    const struct config_listener *l = door->conf;
    for (uint32_t i = 0; i < door->n_sockets; i++) {
        listener_start(door->sockets[i]);
        if (l->unix_path)
            log_info(doors->log, "listening", LZ("listener", l->name), LZ("path", l->unix_path));
        else
            log_info(doors->log, "listening", LZ("listener", l->name),
                     LZ("address", l->bind.items[i]), LU("port", listener_port(door->sockets[i])));
    }
    door->is_started = true;
}

/* ---- all of them --------------------------------------------------------------------------- */

static bool same_list(const struct config_list *a, const struct config_list *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++)
        same = !strcmp(a->items[i], b->items[i]);
    return same;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

/* Do both stand for the same sockets? What is spoken there is looked up at each accept. */
static bool same_sockets(const struct config_listener *a, const struct config_listener *b)
{
    if (a->unix_path || b->unix_path)
        return same_text(a->unix_path, b->unix_path);
    return a->port == b->port && a->bind_written == b->bind_written &&
           same_list(&a->bind, &b->bind);
}

static struct door *find(struct doors *doors, const struct config_listener *l)
{
    LIST_FOREACH (link, &doors->open) {
        struct door *door = container_of(link, struct door, link);
        if ((l->unix_path || !strcmp(door->conf->name, l->name)) && same_sockets(door->conf, l))
            return door;
    }
    return NULL;
}

int doors_new(struct loop_group *loops, struct log *log, struct doors **r_doors)
{
    struct doors *doors = calloc(1, sizeof(*doors));
    if (!doors)
        return -ENOMEM;
    doors->loops = loops;
    doors->log = log;
    doors->tickets = tls_tickets_new();
    list_init(&doors->open);
    list_init(&doors->fresh);
    list_init(&doors->closed);
    *r_doors = doors;
    return 0;
}

static void free_all(struct list *list)
{
    while (!list_empty(list))
        door_free(container_of(list->next, struct door, link));
}

void doors_free(struct doors **p)
{
    struct doors *doors = *p;
    *p = NULL;
    if (!doors)
        return;
    free_all(&doors->open);
    free_all(&doors->fresh);
    free_all(&doors->closed);
    tls_tickets_free(&doors->tickets);
    free(doors);
}

int doors_prepare(struct doors *doors, struct config *config)
{
    int r = 0;
    for (uint32_t i = 0; i < config->n_listeners && !r; i++) {
        struct config_listener *l = &config->listeners[i];
        struct door *door = find(doors, l);
        if (!door) {
            r = door_open(doors, config, l);
            continue;
        }
        r = door_plan(doors, door, config, l);
    }
    if (r)
        doors_abort(doors);
    return r;
}

void doors_abort(struct doors *doors)
{
    free_all(&doors->fresh);
    LIST_FOREACH (link, &doors->open) {
        struct door *door = container_of(link, struct door, link);
        config_unref(&door->next_config);
        transport_unref(&door->next_transport);
    }
}

static bool same_mode(const struct config_listener *a, const struct config_listener *b)
{
    return a->mode == b->mode && same_text(a->owner, b->owner) && same_text(a->group, b->group);
}

/* A path can be opened once only, so its socket stays and changes its permissions. */
static void take_mode(struct doors *doors, const struct door *door)
{
    const struct config_listener *l = door->next_conf;
    int r = door->next_owner;
    if (!r && (l->owner || l->group) && lchown(l->unix_path, door->next_uid, door->next_gid) < 0)
        r = -errno;
    /* The permissions all the same: the narrower ones must not wait for a name. */
    if (chmod(l->unix_path, (mode_t)l->mode) < 0)
        r = -errno;
    if (r)
        log_error(doors->log, "listener_mode_refused", LZ("listener", l->name),
                  LZ("path", l->unix_path), LZ("reason", strerror(-r)));
}

static void door_take(struct doors *doors, struct door *door, struct broker *broker)
{
    if (door->conf->unix_path && !same_mode(door->conf, door->next_conf))
        take_mode(doors, door);
    config_unref(&door->config);
    door->config = door->next_config;
    door->conf = door->next_conf;
    door->next_config = NULL;
    transport_unref(&door->transport);
    door->transport = door->next_transport;
    door->next_transport = NULL;
    door->broker = broker;
    door->chains = hooks_listener(broker->hooks, door->conf->name);
    atomic_store(&door->index, (uint32_t)(door->conf - door->config->listeners));
}

static void door_shut(struct doors *doors, struct door *door)
{
    log_info(doors->log, "listener_closed", LZ("listener", door->conf->name));
    door_close_sockets(door);
    list_remove(&door->link);
    list_append(&doors->closed, &door->link); /* a loop may still be inside on_accept */
}

void doors_commit(struct doors *doors, struct broker *broker)
{
    LIST_FOREACH_SAFE (link, &doors->open) {
        struct door *door = container_of(link, struct door, link);
        if (door->next_config)
            door_take(doors, door, broker);
        else
            door_shut(doors, door);
    }
    LIST_FOREACH_SAFE (link, &doors->fresh) {
        struct door *door = container_of(link, struct door, link);
        list_remove(link);
        list_append(&doors->open, link);
        door_take(doors, door, broker);
        door_start(doors, door);
    }
}

void doors_close(struct doors *doors)
{
    LIST_FOREACH_SAFE (link, &doors->open)
        door_shut(doors, container_of(link, struct door, link));
}
