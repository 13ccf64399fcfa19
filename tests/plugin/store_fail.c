/* store-fail: a store for tests that keeps everything in memory (the code of store-memory) and
 * fails, delays or holds answers as its options say. A refused batch changes nothing; a held one
 * has taken effect, its answer comes from the store's own thread.
 *
 *   fail_at N      the N-th submit with work in it fails, counted from 1; 0: none
 *   fail_count N   so many submits in a row; 0: until room_after has passed, or for ever
 *   fail_with      full | io | unknown
 *   room_after     after the first failure with `full` it goes on working and says so; 0: never
 *   delay          each answer comes so much later
 *   says_os        claims to keep what a process leaves behind, which is not so
 *   hold_file      while this file exists, no answer is given at all
 *   hold_scans     while this file exists, no scan of one session begins */
#include "../../plugins/store-memory/memory.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS 2000000 /* how often hold_file is looked for */

static const pigeon_option options[] = {
    { .key = "fail_at", .preset = "0", .type = PIGEON_T_INT, .doc = "the first submit that fails" },
    { .key = "fail_count", .preset = "1", .type = PIGEON_T_INT, .doc = "how many fail" },
    { .key = "fail_with",
      .preset = "full",
      .allowed = "full|io|unknown",
      .type = PIGEON_T_ENUM,
      .doc = "what they answer" },
    { .key = "room_after",
      .preset = "0",
      .type = PIGEON_T_TIME,
      .doc = "when there is room again" },
    { .key = "delay", .preset = "0", .type = PIGEON_T_TIME, .doc = "before each answer" },
    { .key = "says_os", .preset = "false", .type = PIGEON_T_BOOL, .doc = "claims to keep things" },
    { .key = "hold_file",
      .preset = "",
      .type = PIGEON_T_STRING,
      .doc = "answers wait while it exists" },
    { .key = "hold_scans",
      .preset = "",
      .type = PIGEON_T_STRING,
      .doc = "scans wait while it exists" },
};

struct late {
    struct late *next;
    pigeon_token token;
    int64_t due_ns;
    int32_t status;
    pigeon_unit_result *results; /* or NULL */
    uint32_t n;
    bool is_scan; /* `scan` is to be begun */
    pigeon_scan scan;
};

struct fail {
    struct memory *memory;
    pigeon_host host; /* as the memory store sees it: our host, with batch_done caught */
    const pigeon_host *real;
    const pigeon_store_host *real_store;
    int64_t fail_at, fail_count, delay_ns, room_after_ns;
    int32_t fail_status;
    char *hold_file, *hold_scans;
    bool says_os;
    int64_t n_submits, room_ns; /* room_ns: when it is said, 0: not under way */
    bool room_said;
    struct late *caught;         /* the answer that the memory store gives during submit */
    pthread_mutex_t memory_lock; /* recursive: the host asks for more from within a row */
    /* the thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct late *first, **last;
    bool stop, threaded;
};

/* ---- between the memory store and the host ------------------------------------------------------
 */

static int32_t caught_batch_done(void *inst, pigeon_token token, const pigeon_batch_result *result)
{
    struct fail *f = inst;
    struct late *l = f->caught;

    (void)token;
    l->status = result->status;
    if (!result->units)
        return PIGEON_OK;
    l->results = malloc(l->n * sizeof(*l->results));
    if (l->results)
        memcpy(l->results, result->units, l->n * sizeof(*l->results));
    else
        l->status = PIGEON_E_UNKNOWN;
    return PIGEON_OK;
}

static int32_t through_rows(void *inst, pigeon_token scan, const pigeon_row *rows, uint32_t n,
                            uint32_t stride)
{
    struct fail *f = inst;

    return f->real_store->rows(f->real->inst, scan, rows, n, stride);
}

static const pigeon_store_host caught_host = { .size = sizeof(caught_host),
                                               .batch_done = caught_batch_done,
                                               .rows = through_rows };

static const void *caught_get(void *inst, const char *id, uint32_t min_size)
{
    struct fail *f = inst;

    if (strcmp(id, PIGEON_IF_STORE_HOST) == 0)
        return &caught_host;
    return f->real->get(f->real->inst, id, min_size);
}

static int32_t through_complete(void *inst, pigeon_token token, int32_t status)
{
    struct fail *f = inst;

    return f->real->complete(f->real->inst, token, status);
}

static int32_t through_fail(void *inst, const char *key, const char *text)
{
    struct fail *f = inst;

    return f->real->fail(f->real->inst, key, text);
}

static int64_t through_now_ns(void *inst)
{
    struct fail *f = inst;

    return f->real->now_ns(f->real->inst);
}

/* ---- answers ------------------------------------------------------------------------------------
 */

static int64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void late_free(struct late *l)
{
    free(l->results);
    free(l);
}

static void scan_now(struct fail *f, struct late *l)
{
    pthread_mutex_lock(&f->memory_lock);
    int32_t status = memory_scan(f->memory, &l->scan);
    pthread_mutex_unlock(&f->memory_lock);
    if (status != PIGEON_PENDING)
        f->real->complete(f->real->inst, l->scan.token, status);
    late_free(l);
}

static void late_answer(struct fail *f, struct late *l)
{
    if (l->is_scan) {
        scan_now(f, l);
        return;
    }
    pigeon_batch_result result = { .size = sizeof(result), .status = l->status };

    result.units = l->results;
    f->real_store->batch_done(f->real->inst, l->token, &result);
    late_free(l);
}

static bool is_there(const char *file)
{
    return *file && access(file, F_OK) == 0;
}

/* Under the lock: may the oldest answer go? Otherwise *r_wait_ns says when to look again. */
static bool is_ready(const struct fail *f, int64_t now, int64_t *r_wait_ns)
{
    *r_wait_ns = POLL_NS;
    if (!f->first)
        return false;
    if (f->first->due_ns > now) {
        *r_wait_ns = f->first->due_ns - now;
        return false;
    }
    return !is_there(f->first->is_scan ? f->hold_scans : f->hold_file);
}

static void wait_ns(struct fail *f, int64_t ns)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ns += ts.tv_nsec;
    ts.tv_sec += ns / 1000000000;
    ts.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(&f->changed, &f->lock, &ts);
}

static void *answer_thread(void *arg)
{
    struct fail *f = arg;
    int64_t ns;

    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        int64_t now = clock_ns();

        if (f->room_ns && f->room_ns <= now) {
            f->room_ns = 0;
            f->room_said = true;
            pthread_mutex_unlock(&f->lock);
            f->real_store->seen(f->real->inst, PIGEON_SEEN_ROOM, (pigeon_str){ .ptr = "" });
            pthread_mutex_lock(&f->lock);
        } else if (is_ready(f, now, &ns)) {
            struct late *l = f->first;

            f->first = l->next;
            if (!f->first)
                f->last = &f->first;
            pthread_mutex_unlock(&f->lock);
            late_answer(f, l);
            pthread_mutex_lock(&f->lock);
        } else if (f->first || f->room_ns) {
            wait_ns(f, ns);
        } else {
            pthread_cond_wait(&f->changed, &f->lock);
        }
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* ---- the store ----------------------------------------------------------------------------------
 */

static bool fails_now(struct fail *f)
{
    int64_t n = ++f->n_submits;

    if (!f->fail_at || n < f->fail_at)
        return false;
    if (f->room_after_ns) {
        pthread_mutex_lock(&f->lock);
        bool room = f->room_said;
        if (!room && !f->room_ns)
            f->room_ns = clock_ns() + f->room_after_ns;
        pthread_cond_signal(&f->changed);
        pthread_mutex_unlock(&f->lock);
        return !room;
    }
    return !f->fail_count || n < f->fail_at + f->fail_count;
}

static void late_append(struct fail *f, struct late *l)
{
    pthread_mutex_lock(&f->lock);
    *f->last = l;
    f->last = &l->next;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static int32_t submit(void *self, const pigeon_batch *batch)
{
    struct fail *f = self;
    struct late *l = calloc(1, sizeof(*l));

    if (!l)
        return PIGEON_E_NOMEM;
    *l = (struct late){ .token = batch->token, .n = batch->nunits };
    f->caught = l;
    if (batch->nops && fails_now(f)) {
        l->status = f->fail_status;
    } else {
        pthread_mutex_lock(&f->memory_lock);
        int32_t status = memory_submit(f->memory, batch);
        pthread_mutex_unlock(&f->memory_lock);

        if (status != PIGEON_PENDING)
            l->status = status;
    }
    f->caught = NULL;
    if (!f->delay_ns && !*f->hold_file) {
        int32_t status = l->status;

        if (l->results) {
            late_answer(f, l);
            return PIGEON_PENDING;
        }
        late_free(l);
        return status;
    }
    l->due_ns = clock_ns() + f->delay_ns;
    late_append(f, l);
    return PIGEON_PENDING;
}

static int32_t scan(void *self, const pigeon_scan *like)
{
    struct fail *f = self;

    if (like->session && is_there(f->hold_scans)) {
        struct late *l = calloc(1, sizeof(*l));

        if (!l)
            return PIGEON_E_NOMEM;
        l->is_scan = true;
        l->scan = *like;
        late_append(f, l);
        return PIGEON_PENDING;
    }
    pthread_mutex_lock(&f->memory_lock);
    int32_t status = memory_scan(f->memory, like);
    pthread_mutex_unlock(&f->memory_lock);
    return status;
}

static int32_t more(void *self, pigeon_token token, uint32_t credit)
{
    struct fail *f = self;

    pthread_mutex_lock(&f->memory_lock);
    int32_t status = memory_more(f->memory, token, credit);
    pthread_mutex_unlock(&f->memory_lock);
    return status;
}

static int32_t info(void *self, pigeon_store_info *out)
{
    const struct fail *f = self;
    pigeon_store_info mine = { .size = out->size,
                               .keeps = f->says_os ? PIGEON_KEEPS_OS : PIGEON_KEEPS_MEM };

    memcpy(out, &mine, out->size < sizeof(mine) ? out->size : sizeof(mine));
    return PIGEON_OK;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void destroy(void *self)
{
    struct fail *f = self;

    if (f->threaded) {
        pthread_mutex_lock(&f->lock);
        f->stop = true;
        pthread_cond_signal(&f->changed);
        pthread_mutex_unlock(&f->lock);
        pthread_join(f->thread, NULL);
    }
    for (struct late *l = f->first, *next; l; l = next) {
        next = l->next;
        late_free(l);
    }
    memory_free(&f->memory);
    pthread_mutex_destroy(&f->lock);
    pthread_mutex_destroy(&f->memory_lock);
    pthread_cond_destroy(&f->changed);
    free(f->hold_file);
    free(f->hold_scans);
    free(f);
}

static int32_t status_of(pigeon_str name)
{
    if (strcmp(name.ptr, "io") == 0)
        return PIGEON_E_IO;
    return strcmp(name.ptr, "unknown") == 0 ? PIGEON_E_UNKNOWN : PIGEON_E_FULL;
}

static int thread_start(struct fail *f)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&f->thread, NULL, answer_thread, f);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    f->threaded = r == 0;
    return r;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    struct fail *f = calloc(1, sizeof(*f));

    if (!f)
        return PIGEON_E_NOMEM;
    f->real = host;
    f->real_store = host->get(host->inst, PIGEON_IF_STORE_HOST, sizeof(pigeon_store_host));
    f->fail_at = host->conf_int(conf, "fail_at");
    f->fail_count = host->conf_int(conf, "fail_count");
    f->says_os = host->conf_int(conf, "says_os") != 0;
    f->fail_status = status_of(host->conf_str(conf, "fail_with"));
    f->room_after_ns = host->conf_int(conf, "room_after") * 1000000;
    f->delay_ns = host->conf_int(conf, "delay") * 1000000;
    f->hold_file = strdup(host->conf_str(conf, "hold_file").ptr);
    f->hold_scans = strdup(host->conf_str(conf, "hold_scans").ptr);
    f->last = &f->first;
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&f->memory_lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_cond_init(&f->changed, NULL);
    f->host = (pigeon_host){ .size = sizeof(f->host),
                             .inst = f,
                             .get = caught_get,
                             .fail = through_fail,
                             .now_ns = through_now_ns,
                             .complete = through_complete,
                             .msg_ref = host->msg_ref,
                             .msg_unref = host->msg_unref };
    if (!f->real_store || !f->hold_file || !f->hold_scans ||
        memory_new(&f->host, 0, &f->memory) != PIGEON_OK || thread_start(f)) {
        destroy(f);
        return PIGEON_E_NOMEM;
    }
    *self = f;
    return PIGEON_OK;
}

static const pigeon_store store = {
    .size = sizeof(store), .info = info, .submit = submit, .scan = scan, .more = more
};

PIGEON_PLUGIN("org.pigeon-mqtt.test.store-fail", "0", "fails as it is told", "MIT",
              PIGEON_F_ON_DEMAND, (PIGEON_PROVIDES(PIGEON_IF_STORE, &store)),
              PIGEON_OPTIONS(options), .create = create, .destroy = destroy);
