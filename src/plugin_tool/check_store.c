/* The contract of pigeon.store/1, case by case. */
#include "plugin_tool/check.h"
#include "plugin_tool/store_contract.h"

struct store_job {
    struct check_case c; /* first */
    const struct store_case *one;
};

static void run_store_case(const struct check_case *c)
{
    const struct store_job *job = (const void *)c;
    void *state = NULL;

    isolate_at("%s", job->one->name);
    rig_options(c->check->path, c->check->options, c->check->n_options);
    rig_setup(&state);
    job->one->fn(&state);
    rig_teardown(&state);
}

static void run_cases(const struct check *check, const char *topic, const struct store_case *cases,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char name[160];
        struct store_job job = { { check, 5, name, run_store_case, 0, 0 }, &cases[i] };

        snprintf(name, sizeof(name), "%s: %s", topic, cases[i].name);
        for (char *s = name; *s; s++)
            if (*s == '_')
                *s = ' ';
        check_run(&job.c);
    }
}

void check_store(const struct check *check)
{
    run_cases(check, "records", records_cases, n_records_cases);
    run_cases(check, "queue", queue_cases, n_queue_cases);
    run_cases(check, "batch", batch_cases, n_batch_cases);
}
