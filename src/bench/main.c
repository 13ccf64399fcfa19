#include "bench/bench.h"
#include "bench/report.h"
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>

#define KEPT_MEMORY (512 << 20)
#define TOP_PAD     (4 << 20)

static int (*const play[N_SHAPES])(struct bench *b) = {
    [SHAPE_PAIR] = shape_traffic,          [SHAPE_PING_PONG] = shape_traffic,
    [SHAPE_FAN_IN] = shape_traffic,        [SHAPE_FAN_OUT] = shape_traffic,
    [SHAPE_SUBSCRIPTIONS] = shape_traffic, [SHAPE_IDLE] = shape_idle,
    [SHAPE_RETAINED] = shape_retained,     [SHAPE_CHURN] = shape_churn,
    [SHAPE_OFFLINE] = shape_offline,
};

static int run(const struct options *opt)
{
    struct bench *b = malloc(sizeof(*b));
    if (!b) {
        fputs("pigeon-bench: out of memory\n", stderr);
        return 1;
    }
    int r = bench_init(b, opt);
    if (r == 0)
        r = play[opt->shape](b);
    if (r == 0 && !b->failed) {
        (opt->json ? report_json : report_text)(b, stdout);
        r = report_status(b);
    } else {
        fprintf(stderr, "pigeon-bench: %s\n", b->why);
        r = 1;
    }
    bench_fini(b);
    free(b);
    return r;
}

int main(int argc, char **argv)
{
    struct options opt;
    signal(SIGPIPE, SIG_IGN);
    /* Bursts come and go; what they used once is kept, page faults would be measured otherwise. */
    mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
    mallopt(M_TOP_PAD, TOP_PAD);
    if (options_parse(argc, argv, stderr, &opt) < 0)
        return 2;
    if (opt.help) {
        options_print_help(stdout);
        return 0;
    }
    if (opt.about) {
        puts("pigeon-bench " PIGEON_VERSION);
        return 0;
    }
    dial_raise_limit();
    return run(&opt);
}
