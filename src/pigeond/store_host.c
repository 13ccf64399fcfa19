#include "pigeond/store_host.h"
#include "pigeond/args.h"
#include "pigeond/no_broker.h"
#include <errno.h>
#include <stdio.h>

const uint32_t store_kinds[STORE_N_KINDS] = { PIGEON_SCAN_SESSIONS, PIGEON_SCAN_SUBS,
                                              PIGEON_SCAN_RETAINED, PIGEON_SCAN_QUEUE,
                                              PIGEON_SCAN_IN,       PIGEON_SCAN_WILLS };

static int load(struct store_host *h)
{
    struct loop_conf loops = { .n_loops = 1 };
    struct hooks_setup setup = { .config = h->config,
                                 .log = h->log,
                                 .node_id = h->config->id ? h->config->id : "store",
                                 .ops = &no_broker_ops,
                                 .store_only = true };

    if (loop_group_new(&loops, &h->loops))
        return EXIT_CODE_RUNTIME;
    setup.loops = h->loops;
    int r = hooks_new(&setup, &h->hooks);
    if (r)
        return r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_PLUGIN;
    r = hooks_create(h->hooks);
    if (r)
        return r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_STORE;
    h->hl = hooks_loop(h->hooks, 0);
    if (store_keeps(h->hooks) & ~PIGEON_KEEPS_MEM)
        return EXIT_CODE_OK;
    fprintf(stderr,
            "pigeond: the store '%s' keeps nothing when the broker ends; "
            "name another one: -o persistence=sqlite\n",
            h->name);
    return EXIT_CODE_STORE;
}

int store_host_open(struct config *config, struct log *log, struct store_host *r_host)
{
    struct store_host h = { .config = config_ref(config), .log = log, .name = config->persistence };
    int code = load(&h);

    if (code)
        store_host_close(&h);
    else
        *r_host = h;
    return code;
}

void store_host_close(struct store_host *h)
{
    hooks_free(&h->hooks);
    if (h->loops)
        loop_group_free(&h->loops);
    config_unref(&h->config);
    h->hl = NULL;
}

void store_host_turn(struct store_host *h)
{
    if (!store_run_answers(h->hl))
        loop_turn(loop_group_at(h->loops, 0), true);
}

/* ---- is there anything? ---------------------------------------------------------------------- */

struct look {
    struct store_scan scan;
    bool has, is_over;
    int status;
};

static void on_row(struct store_scan *s, const pigeon_op *op)
{
    (void)op;
    container_of(s, struct look, scan)->has = true;
}

static void on_done(struct store_scan *s, int status)
{
    struct look *look = container_of(s, struct look, scan);

    look->is_over = true;
    look->status = status;
}

int store_host_has(struct store_host *h, uint32_t what, uint64_t session, bool *r_has)
{
    struct look look = {
        .scan = { .what = what, .session = session, .limit = 1, .row = on_row, .done = on_done }
    };

    store_set_last_pos(h->hooks, UINT64_MAX); /* or the rows of queues would be from later times */
    int r = store_scan(h->hl, &look.scan);
    while (!r && !look.is_over)
        store_host_turn(h);
    if (!r)
        r = look.status;
    if (!r)
        *r_has = look.has;
    return r;
}
