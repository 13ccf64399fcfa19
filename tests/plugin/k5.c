/* k5.c - plugins that load and then misbehave; K5_FAULT chooses how. What becomes of each stands in
 * test_broken_plugins.py. */
#include <pigeon/plugin.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define VERDICT   1
#define TWICE     2
#define NEVER     3
#define SLEEP     4
#define CRASH     5
#define THREAD    6
#define SLOT      7
#define LATE_SET  8
#define ELSEWHERE 9
#define LEAK      10
#define TOUCH     11
#define SYMBOLS   12
#define HANG      13
#define QUIESCE   14

struct self {
    const pigeon_host *host;
    pigeon_req *last;
    int32_t got;
};

__attribute__((unused)) static void wait_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

#if K5_FAULT == SYMBOLS
PIGEON_EXPORT int k5_something(void);
PIGEON_EXPORT int k5_something(void)
{
    return 1;
}
#endif

#if K5_FAULT == ELSEWHERE
static void on_timer(void *self, void *arg, pigeon_watch *watch, uint32_t events)
{
    (void)self;
    (void)arg;
    (void)watch;
    (void)events;
}

static void *ask_for_a_timer(void *arg)
{
    struct self *s = arg;

    s->host->timer(s->host->inst, 1000000, 0, on_timer, NULL);
    return NULL;
}
#endif

#if K5_FAULT == THREAD
static void *stay(void *arg)
{
    (void)arg;
    for (;;)
        wait_ms(1000);
    return NULL;
}
#endif

static int32_t misbehave(struct self *s, pigeon_req *req)
{
    (void)s;
    (void)req;
#if K5_FAULT == VERDICT
    return 99;
#elif K5_FAULT == TWICE
    s->host->complete(s->host->inst, req->token, PIGEON_ALLOW);
    s->host->complete(s->host->inst, req->token, PIGEON_DENY);
    return PIGEON_PENDING;
#elif K5_FAULT == NEVER
    return PIGEON_PENDING;
#elif K5_FAULT == SLEEP
    wait_ms(150);
    return PIGEON_ALLOW;
#elif K5_FAULT == CRASH
    *(volatile int *)0 = 1;
    return PIGEON_ALLOW;
#elif K5_FAULT == HANG
    for (volatile int for_ever = 1; for_ever;)
        ;
    return PIGEON_ALLOW;
#elif K5_FAULT == SLOT
    *req->client_slot = s;
    return PIGEON_ALLOW;
#elif K5_FAULT == LATE_SET
    if (s->last)
        s->host->set_reason(s->last, 0x87, "too late");
    s->last = req;
    return PIGEON_ALLOW;
#elif K5_FAULT == ELSEWHERE
    {
        pthread_t thread;

        if (pthread_create(&thread, NULL, ask_for_a_timer, s) == 0)
            pthread_join(thread, NULL);
        return PIGEON_ALLOW;
    }
#else
    return PIGEON_ALLOW;
#endif
}

/* A plain login is let in by all of them: the fault is asked for by name, or by any name at all
 * where a suite drives the plugin. */
static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    (void)connect;
    if (req->client && pigeon_eq(req->client->username, pigeon_z("good")))
        return PIGEON_ALLOW;
    return misbehave(self, req);
}

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    (void)host;
    (void)conf;
#if K5_FAULT == TOUCH
    if (fclose(fopen("k5-was-here", "w")) != 0)
        return PIGEON_E_IO;
#endif
    return PIGEON_OK;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *s = calloc(1, sizeof(*s));

    (void)conf;
    if (!s)
        return PIGEON_E_NOMEM;
    s->host = host;
#if K5_FAULT == THREAD
    pthread_t thread;
    if (pthread_create(&thread, NULL, stay, NULL) == 0)
        pthread_detach(thread);
#elif K5_FAULT == LEAK
    static void *volatile forgotten;
    forgotten = malloc(100);
    (void)forgotten;
#endif
    *out = s;
    return PIGEON_OK;
}

__attribute__((unused)) static int32_t quiesce(void *self, pigeon_token token)
{
    (void)self;
    (void)token;
    return PIGEON_PENDING; /* and that was all */
}

static const pigeon_auth auth = { .size = sizeof(auth), .authenticate = authenticate };

#if K5_FAULT == QUIESCE
#define QUIESCE_MEMBER .quiesce = quiesce
#else
#define QUIESCE_MEMBER .quiesce = NULL
#endif

PIGEON_PLUGIN(K5_ID, "1.0", "misbehaves", "MIT", 0, (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)),
              .check = check, .create = create, .destroy = free, QUIESCE_MEMBER);
