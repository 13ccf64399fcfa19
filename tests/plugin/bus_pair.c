/* bus_pair.c - a bus without a server, for tests: "bus-pair".
 *
 * With `dir`: every node has a unix socket there, named by its incarnation, dials all the others
 * and sends on the connections it has dialed. Without: all nodes of one process hand parcels to
 * each other. Faults by options; `control` names a file whose text is looked at: "up", "down",
 * "frozen" (nothing is read or written). A frame is {u32 length of the body, u32 kind, u64 from,
 * to, link_seq} in the machine's byte order, then the body.
 *
 * Built with headers of another time, too (SIZES_OLD, SIZES_NEW: tests/abi/other.py): behind the
 * table of its time are functions that end the process. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pigeon/plugin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINKS_MAX 16
#define READ_SIZE 65536

#ifdef SIZES_OLD
#define UP_TO(n)
#else
#define UP_TO(n) .max = (n),
#endif
#ifdef SIZES_NEW
#define LATER .later_1 = abort, .later_2 = abort,
#else
#define LATER
#endif

struct head {
    uint32_t len, kind;
    uint64_t from, to, seq;
};

struct frame {
    struct frame *next;
    size_t size, done;
    pigeon_token token; /* 0: nobody waits */
    int64_t due_ns;
    char bytes[];
};

struct link {
    int fd;
    uint64_t peer; /* 0: dialed by the peer, read only */
    pigeon_watch *watch;
    struct frame *first, **last; /* to be written */
    size_t queued;
    char *in; /* an unfinished frame */
    size_t n_in, room;
};

struct self {
    const pigeon_host *host;
    const pigeon_bus_host *bus;
    pigeon_incarnation me;
    const char *dir, *control;
    int64_t drop, repeat, delay, busy, pending_ns, buffer;
    int64_t echo, park;
    int64_t credit;
    uint64_t n_sent, n_calls;
    int listener;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    pigeon_watch *listening, *timer;
    struct link links[LINKS_MAX];
    struct frame *delayed; /* goes behind the next one */
    struct frame *pending; /* answers that are due later */
    int up, frozen;
    struct self *next; /* of one process */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct self *registry;

/* ---- frames ------------------------------------------------------------------------------------
 */

static struct frame *frame_new(const pigeon_parcel *p)
{
    struct frame *f = malloc(sizeof(*f) + sizeof(struct head) + p->body.len);
    struct head head = { p->body.len, p->kind, p->from, p->to, p->link_seq };

    if (!f)
        return NULL;
    *f = (struct frame){ .size = sizeof(head) + p->body.len };
    memcpy(f->bytes, &head, sizeof(head));
    memcpy(f->bytes + sizeof(head), p->body.ptr, p->body.len);
    return f;
}

static void complete(struct self *self, pigeon_token token, int32_t status)
{
    if (token)
        self->host->complete(self->host->inst, token, status);
}

static void on_link(void *arg, void *link, pigeon_watch *watch, uint32_t events);

static void link_close(struct self *self, struct link *l)
{
    struct frame *f;

    if (l->fd < 0)
        return;
    self->host->unwatch(l->watch);
    close(l->fd);
    while ((f = l->first)) {
        l->first = f->next;
        complete(self, f->token, PIGEON_E_IO);
        free(f);
    }
    free(l->in);
    *l = (struct link){ .fd = -1 };
}

static void watch_link(struct self *self, struct link *l)
{
    uint32_t events = (l->first ? PIGEON_FD_WRITE : 0) | (l->peer ? 0 : PIGEON_FD_READ);

    if (l->watch)
        self->host->unwatch(l->watch);
    l->watch = NULL;
    if (self->frozen || (!l->peer && self->credit <= 0) || !events)
        return;
    l->watch = self->host->fd(self->host->inst, l->fd, events, on_link, l);
}

static struct link *link_new(struct self *self, int fd, uint64_t peer)
{
    for (int i = 0; i < LINKS_MAX; i++) {
        struct link *l = &self->links[i];

        if (l->fd >= 0)
            continue;
        *l = (struct link){ .fd = fd, .peer = peer };
        l->last = &l->first;
        watch_link(self, l);
        return l;
    }
    close(fd);
    return NULL;
}

/* ---- out ---------------------------------------------------------------------------------------
 */

static void link_write(struct self *self, struct link *l)
{
    while (l->first && !self->frozen) {
        struct frame *f = l->first;
        ssize_t n = send(l->fd, f->bytes + f->done, f->size - f->done, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN) {
            link_close(self, l);
            return;
        }
        if (n < 0)
            return;
        f->done += (size_t)n;
        l->queued -= (size_t)n;
        if (f->done < f->size)
            return;
        l->first = f->next;
        if (!l->first)
            l->last = &l->first;
        complete(self, f->token, PIGEON_OK);
        free(f);
    }
}

static void link_put(struct self *self, struct link *l, const pigeon_parcel *p, pigeon_token token)
{
    struct frame *f = frame_new(p);

    if (!f)
        return;
    f->token = token;
    *l->last = f;
    l->last = &f->next;
    l->queued += f->size;
    if (f == l->first) {
        link_write(self, l);
        if (l->fd >= 0 && l->first)
            watch_link(self, l);
    }
}

/* To the links it is for. */
static void put_all(struct self *self, const pigeon_parcel *p, pigeon_token token)
{
    for (int i = 0; i < LINKS_MAX; i++) {
        struct link *l = &self->links[i];

        if (l->fd >= 0 && l->peer && (!p->to || p->to == l->peer)) {
            link_put(self, l, p, token);
            if (p->to)
                return;
            token = 0;
        }
    }
    complete(self, token, PIGEON_OK); /* nobody is there */
}

static void put_frame(struct self *self, const struct frame *f)
{
    pigeon_parcel p = { .size = sizeof(p) };
    struct head head;

    memcpy(&head, f->bytes, sizeof(head));
    p.kind = head.kind;
    p.from = head.from;
    p.to = head.to;
    p.link_seq = head.seq;
    p.body = pigeon_data(f->bytes + sizeof(head), head.len);
    put_all(self, &p, 0);
}

static void hand_over(struct self *self, const pigeon_parcel *p)
{
    pthread_mutex_lock(&registry_lock);
    for (struct self *s = registry; s; s = s->next)
        if (s != self && s->up && (!p->to || p->to == s->me))
            s->bus->deliver(s->host->inst, p);
    pthread_mutex_unlock(&registry_lock);
}

static int is_nth(uint64_t n, int64_t every)
{
    return every && n % (uint64_t)every == 0;
}

/* Only what is for one node: its numbers show what happened. */
static int is_faulty(struct self *self, const pigeon_parcel *p)
{
    struct frame *was = self->delayed;
    uint64_t n;

    if (!p->to)
        return 0;
    n = ++self->n_sent;
    if (is_nth(n, self->drop))
        return 1;
    if (is_nth(n, self->delay) && !was) {
        self->delayed = frame_new(p);
        return 1;
    }
    put_all(self, p, 0);
    if (is_nth(n, self->repeat))
        put_all(self, p, 0);
    if (was) {
        put_frame(self, was);
        free(was);
        self->delayed = NULL;
    }
    return 1;
}

static int is_congested(const struct self *self, const pigeon_parcel *p)
{
    for (int i = 0; i < LINKS_MAX; i++) {
        const struct link *l = &self->links[i];

        if (l->fd >= 0 && l->peer && (!p->to || p->to == l->peer) && l->queued &&
            l->queued + p->body.len > (size_t)self->buffer)
            return 1;
    }
    return 0;
}

static int32_t answer_later(struct self *self, pigeon_token token)
{
    struct frame *f = calloc(1, sizeof(*f)), **at = &self->pending;

    if (!f)
        return PIGEON_E_NOMEM;
    f->token = token;
    f->due_ns = self->host->now_ns(self->host->inst) + self->pending_ns;
    while (*at)
        at = &(*at)->next;
    *at = f;
    return PIGEON_PENDING;
}

static int32_t bus_send(void *arg, pigeon_token token, const pigeon_parcel *p)
{
    struct self *self = arg;
    uint64_t n = ++self->n_calls;

    if (!self->up)
        return PIGEON_E_IO;
    if (is_nth(n, self->busy))
        return PIGEON_E_BUSY;
    if (self->echo)
        self->bus->deliver(self->host->inst, p);
    if (!self->dir) {
        hand_over(self, p);
        return self->pending_ns ? answer_later(self, token) : PIGEON_OK;
    }
#ifdef SIZES_NEW
    if (PIGEON_HAS(p, pigeon_parcel, later_1))
        abort();
#endif
    if (is_congested(self, p)) {
        if (!self->park)
            return PIGEON_E_BUSY;
        put_all(self, p, token);
        return PIGEON_PENDING;
    }
    if (!is_faulty(self, p))
        put_all(self, p, 0);
    return self->pending_ns ? answer_later(self, token) : PIGEON_OK;
}

/* ---- in ----------------------------------------------------------------------------------------
 */

/* The frames that are whole. */
static void take_frames(struct self *self, struct link *l)
{
    size_t at = 0;
    struct head head;

    while (l->n_in - at >= sizeof(head) && self->credit > 0) {
        pigeon_parcel p = { .size = sizeof(p) };

        memcpy(&head, l->in + at, sizeof(head));
        if (l->n_in - at < sizeof(head) + head.len)
            break;
        p.kind = head.kind;
        p.from = head.from;
        p.to = head.to;
        p.link_seq = head.seq;
        p.body = pigeon_data(l->in + at + sizeof(head), head.len);
        if (self->bus->deliver(self->host->inst, &p) == PIGEON_E_BUSY)
            break;
        self->credit -= head.len;
        at += sizeof(head) + head.len;
    }
    l->n_in -= at;
    if (at)
        memmove(l->in, l->in + at, l->n_in);
}

static void link_read(struct self *self, struct link *l)
{
    ssize_t n;

    if (l->room - l->n_in < READ_SIZE) {
        char *more = realloc(l->in, l->room * 2 + READ_SIZE);

        if (!more)
            return;
        l->in = more;
        l->room = l->room * 2 + READ_SIZE;
    }
    n = recv(l->fd, l->in + l->n_in, l->room - l->n_in, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        link_close(self, l);
        return;
    }
    if (n > 0)
        l->n_in += (size_t)n;
    take_frames(self, l);
    if (self->credit <= 0)
        watch_link(self, l);
}

static void on_link(void *arg, void *link, pigeon_watch *watch, uint32_t events)
{
    struct self *self = arg;
    struct link *l = link;

    (void)watch;
    if (events & PIGEON_FD_WRITE)
        link_write(self, l);
    if (l->fd >= 0 && !l->first && events & PIGEON_FD_WRITE)
        watch_link(self, l);
    if (l->fd >= 0 && events & PIGEON_FD_READ)
        link_read(self, l);
}

static int32_t bus_more(void *arg, uint32_t bytes)
{
    struct self *self = arg;

    self->credit += bytes;
    for (int i = 0; i < LINKS_MAX; i++)
        if (self->links[i].fd >= 0 && !self->links[i].peer) {
            take_frames(self, &self->links[i]);
            watch_link(self, &self->links[i]);
        }
    return PIGEON_OK;
}

/* ---- who is there ------------------------------------------------------------------------------
 */

static void on_accept(void *arg, void *unused, pigeon_watch *watch, uint32_t events)
{
    struct self *self = arg;
    int fd = accept4(self->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)unused;
    (void)watch;
    (void)events;
    if (fd >= 0 && self->up)
        link_new(self, fd, 0);
    else if (fd >= 0)
        close(fd);
}

static int is_dialed(const struct self *self, uint64_t peer)
{
    for (int i = 0; i < LINKS_MAX; i++)
        if (self->links[i].fd >= 0 && self->links[i].peer == peer)
            return 1;
    return 0;
}

static int dial(struct self *self, uint64_t peer)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%.80s/%016" PRIx64, self->dir, peer);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return link_new(self, fd, peer) != NULL;
    if (fd >= 0)
        close(fd);
    return 0;
}

/* true: somebody new is there. */
static int dial_all(struct self *self)
{
    DIR *d = opendir(self->dir);
    struct dirent *e;
    int any = 0;

    while (d && (e = readdir(d))) {
        char *end;
        uint64_t peer = strtoull(e->d_name, &end, 16);

        if (!*end && peer && peer != self->me && !is_dialed(self, peer))
            any |= dial(self, peer);
    }
    if (d)
        closedir(d);
    return any;
}

static void set_state(struct self *self, int up, const char *text)
{
    if (self->up == up)
        return;
    self->up = up;
    for (int i = 0; i < LINKS_MAX && !up; i++)
        link_close(self, &self->links[i]);
    self->bus->state(self->host->inst, (uint32_t)up, 0, pigeon_z(text));
}

static void set_frozen(struct self *self, int frozen)
{
    if (self->frozen == frozen)
        return;
    self->frozen = frozen;
    self->host->log(self->host->inst, PIGEON_LOG_INFO, frozen ? "is frozen" : "moves again");
    for (int i = 0; i < LINKS_MAX; i++)
        if (self->links[i].fd >= 0)
            watch_link(self, &self->links[i]);
}

static void look_at_control(struct self *self)
{
    char text[16] = "up";
    int fd = self->control && self->control[0] ? open(self->control, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof(text) - 1);

        text[n > 0 ? n : 0] = '\0';
        close(fd);
    }
    set_frozen(self, strcmp(text, "frozen") == 0);
    set_state(self, strcmp(text, "down") != 0, "as the control file says");
}

static void on_timer(void *arg, void *unused, pigeon_watch *watch, uint32_t events)
{
    struct self *self = arg;
    struct frame *f;

    (void)unused;
    (void)watch;
    (void)events;
    while ((f = self->pending) && f->due_ns <= self->host->now_ns(self->host->inst)) {
        self->pending = f->next;
        complete(self, f->token, PIGEON_OK);
        free(f);
    }
    look_at_control(self);
    if (self->dir && self->up)
        dial_all(self);
}

static int listen_at(struct self *self)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    self->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(self->path, sizeof(self->path), "%.80s/%016" PRIx64, self->dir, self->me);
    memcpy(a.sun_path, self->path, sizeof(a.sun_path));
    if (self->listener < 0 || bind(self->listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        listen(self->listener, LINKS_MAX) < 0)
        return -1;
    self->listening =
        self->host->fd(self->host->inst, self->listener, PIGEON_FD_READ, on_accept, NULL);
    return self->listening ? 0 : -1;
}

static int32_t bus_open(void *arg, pigeon_token token, pigeon_incarnation me, uint32_t credit)
{
    struct self *self = arg;

    (void)token;
    self->me = me;
    self->credit = credit;
    if (self->dir && listen_at(self))
        return PIGEON_E_IO;
    self->timer = self->host->timer(self->host->inst, 1000000, 20000000, on_timer, NULL);
    return self->timer ? PIGEON_OK : PIGEON_E_NOMEM;
}

/* ---- life --------------------------------------------------------------------------------------
 */

static const pigeon_option options[] = {
    { .key = "dir", .type = PIGEON_T_STRING, .preset = "", .doc = "where the nodes meet" },
    { .key = "control", .type = PIGEON_T_STRING, .preset = "", .doc = "file with a command" },
    { .key = "drop", .type = PIGEON_T_INT, .preset = "0", UP_TO(1000000).doc = "every n-th" },
    { .key = "repeat", .type = PIGEON_T_INT, .preset = "0", UP_TO(1000000).doc = "every n-th" },
    { .key = "delay", .type = PIGEON_T_INT, .preset = "0", UP_TO(1000000).doc = "every n-th" },
    { .key = "busy", .type = PIGEON_T_INT, .preset = "0", UP_TO(1000000).doc = "every n-th" },
    { .key = "pending", .type = PIGEON_T_TIME, .preset = "0", UP_TO(60000).doc = "late answers" },
    { .key = "buffer", .type = PIGEON_T_SIZE, .preset = "256k", UP_TO(1 << 30).doc = "per link" },
    { .key = "park", .type = PIGEON_T_BOOL, .preset = "false", .doc = "PENDING instead of BUSY" },
    { .key = "echo", .type = PIGEON_T_BOOL, .preset = "false", .doc = "own parcels come back" },
};

static void destroy(void *arg)
{
    struct self *self = arg;
    struct frame *f;

    pthread_mutex_lock(&registry_lock);
    for (struct self **at = &registry; *at; at = &(*at)->next)
        if (*at == self) {
            *at = self->next;
            break;
        }
    pthread_mutex_unlock(&registry_lock);
    for (int i = 0; i < LINKS_MAX; i++)
        link_close(self, &self->links[i]);
    while ((f = self->pending)) {
        self->pending = f->next;
        complete(self, f->token, PIGEON_E_GONE);
        free(f);
    }
    free(self->delayed);
    if (self->listener >= 0) {
        close(self->listener);
        unlink(self->path);
    }
    free(self);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->bus = host->get(host->inst, PIGEON_IF_BUS_HOST,
                          offsetof(pigeon_bus_host, state) + sizeof(self->bus->state));
    self->dir = host->conf_str(conf, "dir").ptr;
    if (!self->dir || !self->dir[0])
        self->dir = NULL;
    self->control = host->conf_str(conf, "control").ptr;
    self->drop = host->conf_int(conf, "drop");
    self->repeat = host->conf_int(conf, "repeat");
    self->delay = host->conf_int(conf, "delay");
    self->busy = host->conf_int(conf, "busy");
    self->pending_ns = host->conf_int(conf, "pending") * 1000000;
    self->buffer = host->conf_int(conf, "buffer");
    self->park = host->conf_int(conf, "park");
    self->echo = host->conf_int(conf, "echo");
    self->listener = -1;
    for (int i = 0; i < LINKS_MAX; i++)
        self->links[i].fd = -1;
    pthread_mutex_lock(&registry_lock);
    self->next = registry;
    registry = self;
    pthread_mutex_unlock(&registry_lock);
    *out = self;
    return PIGEON_OK;
}

static const struct {
    pigeon_bus now;
    void (*beyond[16])(void);
} bus = {
    .now = { .size = sizeof(pigeon_bus),
             .caps = PIGEON_BUS_ORDERED,
             .open = bus_open,
             .send = bus_send,
             .more = bus_more,
             LATER },
    .beyond = { abort, abort, abort, abort, abort, abort, abort, abort, abort, abort, abort, abort,
                abort, abort, abort, abort },
};

PIGEON_PLUGIN("org.pigeon-mqtt.test.bus-pair", "1.0", "a bus for tests", "MIT", PIGEON_F_SINGLE,
              (PIGEON_PROVIDES(PIGEON_IF_BUS, &bus)), PIGEON_OPTIONS(options), .create = create,
              .destroy = destroy);
