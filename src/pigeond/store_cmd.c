#include "pigeond/store_cmd.h"
#include "pigeond/settings.h"
#include "pigeond/store_fill.h"
#include "pigeond/store_judge.h"
#include "pigeond/store_line.h"
#include "pigeond/store_load.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define OUT_MAX 65536u /* of a dump, before it is written */

/* One command over one store. */
struct command {
    struct store_host from;
    struct judge judge;
    uint32_t what; /* being scanned */
    int error;
    FILE *faults; /* where bad rows are named */
    struct buf out;
    bool out_failed;
    struct fill *fill; /* of the other store */
};

int64_t store_wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const char *store_reason(int r)
{
    switch (r) {
    case -ENOSPC: return "there is no room in it";
    case -ENOMEM: return "out of memory";
    case -EINVAL: return "it refuses a row";
    case -ENOTSUP: return "it cannot do that";
    default: return "it has failed; the lines above say why";
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

static int say_unfinished(const char *name)
{
    fprintf(stderr,
            "pigeond: a load into the store '%s' has not come to its end, what is in it is of no "
            "use; do the load again, it begins anew\n",
            name);
    return EXIT_CODE_STORE;
}

static int check_finished(struct store_host *h)
{
    bool unfinished = false;
    int r = fill_is_unfinished(h, &unfinished);

    if (r) {
        fprintf(stderr, "pigeond: the store '%s' cannot be read: %s\n", h->name, store_reason(r));
        return EXIT_CODE_STORE;
    }
    return unfinished ? say_unfinished(h->name) : EXIT_CODE_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void put_shown(FILE *out, const char *what, pigeon_str text)
{
    uint32_t n = text.len < 80 ? text.len : 80;

    if (!n)
        return;
    fprintf(out, ", %s '", what);
    for (uint32_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        fputc(c < ' ' || c > '~' ? '?' : c, out);
    }
    fputs(n < text.len ? "...'" : "'", out);
}

static void show_bad(FILE *out, uint32_t what, const pigeon_op *op, const char *why)
{
    uint64_t session = op->nrcpts == 1 && op->rcpts ? op->rcpts->session : op->session;

    fprintf(out, "bad row: %s", store_kind_name(what));
    if (session)
        fprintf(out, ", session %" PRIu64, session);
    if (op->pos)
        fprintf(out, ", position %" PRIu64, op->pos);
    put_shown(out, "client", op->client);
    put_shown(out, "key", op->key);
    if (what == PIGEON_SCAN_IN)
        fprintf(out, ", packet identifier %u", op->packet_id);
    fprintf(out, ": %s\n", why);
}

/* false: it is bad, and has been named. */
static bool judge(struct command *c, const pigeon_op *op)
{
    int error;
    const char *why = judge_row(&c->judge, c->what, op, &error);

    if (error)
        c->error = error;
    if (why)
        show_bad(c->faults, c->what, op, why);
    return !why;
}

/* Everything in the store, kind by kind. */
static int scan(struct command *c, void (*row)(void *ctx, const pigeon_op *op))
{
    for (size_t i = 0; i < STORE_N_KINDS && !c->error; i++) {
        c->what = store_kinds[i];
        int r = store_scan_all(c->from.hooks, store_kinds[i], row, c);
        uint32_t n_bad = store_scan_bad(c->from.hooks);
        if (n_bad)
            fprintf(c->faults, "bad rows: %s, %u without what their kind must have\n",
                    store_kind_name(store_kinds[i]), n_bad);
        c->judge.n_bad += n_bad;
        if (r && !c->error)
            c->error = r;
    }
    return c->error;
}

static int say_unread(const struct command *c)
{
    fprintf(stderr, "pigeond: reading the store '%s' ended early, at rows of kind '%s': %s\n",
            c->from.name, store_kind_name(c->what), store_reason(c->error));
    return c->error == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_STORE;
}

/* ---- check ----------------------------------------------------------------------------------- */

static void check_row(void *ctx, const pigeon_op *op)
{
    judge(ctx, op);
}

static void print_counts(const struct judge *j, FILE *out)
{
    fprintf(out, "sessions: %" PRIu64 "\n", j->n_rows[PIGEON_SCAN_SESSIONS]);
    if (j->n_earlier)
        fprintf(out, "  earlier lives that the broker deletes at its start: %" PRIu64 "\n",
                j->n_earlier);
    fprintf(out, "subscriptions: %" PRIu64 "\n  shared: %" PRIu64 "\n", j->n_rows[PIGEON_SCAN_SUBS],
            j->n_shared);
    fprintf(out, "retained messages: %" PRIu64 "\n", j->n_rows[PIGEON_SCAN_RETAINED]);
    fprintf(out, "queued messages: %" PRIu64 "\n  with bodies of their own: %" PRIu64 "\n",
            j->n_rows[PIGEON_SCAN_QUEUE], j->n_messages);
    fprintf(out, "  in flight, sent: %" PRIu64 "\n  in flight, received: %" PRIu64 "\n", j->n_sent,
            j->n_received);
    fprintf(out, "incoming QoS 2 exchanges: %" PRIu64 "\n", j->n_rows[PIGEON_SCAN_IN]);
    fprintf(out, "wills: %" PRIu64 "\n  due: %" PRIu64 "\n", j->n_rows[PIGEON_SCAN_WILLS],
            j->n_due);
    fprintf(out, "bad rows: %" PRIu64 "\n", j->n_bad);
}

static int run_check(struct command *c)
{
    c->faults = stdout;
    int r = scan(c, check_row);
    print_counts(&c->judge, stdout);
    if (r) {
        fflush(stdout);
        say_unread(c);
    }
    printf("store '%s': %s\n", c->from.name,
           r                ? "cannot be read to its end"
           : c->judge.n_bad ? "has bad rows"
                            : "in order");
    return r || c->judge.n_bad ? EXIT_CODE_RUNTIME : EXIT_CODE_OK;
}

/* ---- dump ------------------------------------------------------------------------------------ */

static void flush(struct command *c, size_t more_than)
{
    size_t len = buf_len(&c->out);

    if (len <= more_than || c->out_failed)
        return;
    c->out_failed = fwrite(buf_ptr(&c->out), 1, len, stdout) != len;
    if (c->out_failed)
        fprintf(stderr, "pigeond: the dump cannot be written: %s\n", strerror(errno));
    buf_clear(&c->out);
}

static void dump_row(void *ctx, const pigeon_op *op)
{
    struct command *c = ctx;
    struct store_line line;

    judge(c, op); /* a bad row is in the dump, too: somebody may want to see it */
    if (c->error || c->out_failed)
        return;
    store_line_of(&line, c->what, op, store_wall_ms());
    if (!line.client.len)
        judge_knows(&c->judge, line.session, &line.client);
    c->error = store_line_write(&line, &c->out);
    flush(c, OUT_MAX);
}

static int run_dump(struct command *c)
{
    c->error = store_line_write_head(&c->out, c->from.name, store_wall_ms());
    int r = c->error ? c->error : scan(c, dump_row);
    if (!r)
        r = c->error = store_line_write_end(&c->out);
    flush(c, 0);
    if (fflush(stdout) && !c->out_failed) {
        fprintf(stderr, "pigeond: the dump cannot be written: %s\n", strerror(errno));
        c->out_failed = true;
    }
    if (r)
        return say_unread(c);
    return c->out_failed || c->judge.n_bad ? EXIT_CODE_RUNTIME : EXIT_CODE_OK;
}

/* ---- filling another store ------------------------------------------------------------------- */

int store_begin_fill(struct store_host *to, struct fill **r_fill)
{
    int r = fill_begin(to, r_fill);

    if (r == -EEXIST)
        fprintf(stderr,
                "pigeond: the store '%s' is not empty; move its files away, or name another one\n",
                to->name);
    else if (r)
        fprintf(stderr, "pigeond: the store '%s' cannot be filled: %s\n", to->name,
                store_reason(r));
    return !r ? EXIT_CODE_OK : r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_STORE;
}

void store_give_up(struct store_host *to, struct fill *fill)
{
    if (fill_undo(fill))
        fprintf(stderr,
                "pigeond: the store '%s' is left as it is, marked as unfinished: no broker starts "
                "with it\n",
                to->name);
    else
        fprintf(stderr, "pigeond: the store '%s' is empty again\n", to->name);
}

/* ---- convert --------------------------------------------------------------------------------- */

static void convert_row(void *ctx, const pigeon_op *op)
{
    struct command *c = ctx;

    if (c->error || !judge(c, op) || c->error)
        return;
    int r = fill_row(c->fill, c->what, op);
    if (r)
        c->error = r;
}

/* The store that is to be filled: as the configured one, with another `persistence`. */
static int open_other(const struct args *args, struct store_host *from, struct store_host *r_to)
{
    struct args other = *args;
    struct config *config = NULL;
    char option[256];

    if (snprintf(option, sizeof(option), "persistence=%s", args->to) >= (int)sizeof(option))
        return EXIT_CODE_CONFIG;
    other.options = calloc(args->n_options + 1, sizeof(*other.options));
    if (!other.options)
        return EXIT_CODE_RUNTIME;
    memcpy(other.options, args->options, args->n_options * sizeof(*other.options));
    other.options[other.n_options++] = option;
    int r = settings_load(&other, &config);
    int code = !r ? EXIT_CODE_OK : r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_CONFIG;
    free(other.options);
    if (!code)
        code = store_host_open(config, from->log, r_to);
    config_unref(&config);
    return code;
}

static const char *short_name(const char *name)
{
    return strncmp(name, "store-", 6) == 0 ? name + 6 : name;
}

static int convert(struct command *c, struct store_host *to)
{
    int code = store_begin_fill(to, &c->fill);

    if (code)
        return code;
    int r = scan(c, convert_row);
    if (!r)
        r = c->error = fill_end(c->fill);
    if (r) {
        fprintf(stderr, "pigeond: not converted, at rows of kind '%s': %s\n",
                store_kind_name(c->what), store_reason(r));
        store_give_up(to, c->fill);
    }
    fill_free(&c->fill);
    if (r)
        return r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_STORE;
    print_counts(&c->judge, stdout);
    printf("everything%s is in the store '%s' now; to use it: persistence: %s\n",
           c->judge.n_bad ? " but the bad rows" : "", to->name, to->name);
    return c->judge.n_bad ? EXIT_CODE_RUNTIME : EXIT_CODE_OK;
}

static int run_convert(struct command *c, const struct args *args)
{
    struct store_host to;

    if (strcmp(short_name(args->to), short_name(c->from.name)) == 0) {
        fprintf(stderr, "pigeond: '%s' is the configured store itself; --to names another one\n",
                args->to);
        return EXIT_CODE_USAGE;
    }
    int code = open_other(args, &c->from, &to);
    if (code)
        return code;
    c->faults = stderr;
    code = convert(c, &to);
    store_host_close(&to);
    return code;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int run(struct command *c, const struct args *args)
{
    if (strcmp(args->store, "load") == 0)
        return store_load_run(&c->from, stdin);
    int code = check_finished(&c->from);
    if (code)
        return code;
    if (strcmp(args->store, "check") == 0)
        return run_check(c);
    if (strcmp(args->store, "dump") == 0)
        return run_dump(c);
    return run_convert(c, args);
}

static int run_with(const struct args *args, struct config *config, struct log *log)
{
    struct command c = { .faults = stderr };
    int code = store_host_open(config, log, &c.from);

    if (code)
        return code;
    buf_init(&c.out);
    code = judge_init(&c.judge) ? EXIT_CODE_RUNTIME : run(&c, args);
    judge_fini(&c.judge);
    buf_fini(&c.out);
    store_host_close(&c.from);
    return code;
}

int store_cmd_run(const struct args *args)
{
    struct config *config = NULL;
    struct log *log;
    int r = settings_load(args, &config);

    if (r)
        return r == -EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_RUNTIME;
    int code = EXIT_CODE_RUNTIME;
    if (settings_open_log(config, &log) == 0) {
        code = run_with(args, config, log);
        log_free(&log);
    }
    config_unref(&config);
    return code;
}
