/* The contract of pigeon.store/1, case by case. */
#include "plugin_tool/check.h"
#include "plugin_tool/store_contract.h"

struct store_job {
    const struct check *check;
    const struct store_case *one;
};

static void run_store_case(void *arg)
{
    const struct store_job *job = arg;
    void *state = NULL;

    isolate_at("%s", job->one->name);
    rig_options(job->check->path, job->check->options, job->check->n_options);
    rig_setup(&state);
    job->one->fn(&state);
    rig_teardown(&state);
}

static void run_cases(const struct check *check, const char *topic, const struct store_case *cases,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct store_job job = { check, &cases[i] };
        struct isolate_result result;
        char name[160];

        snprintf(name, sizeof(name), "%s: %s", topic, cases[i].name);
        for (char *s = name; *s; s++)
            if (*s == '_')
                *s = ' ';
        if (!check_wants(check, name))
            continue;
        isolate_run(run_store_case, &job, check->timeout_ms, &result);
        report_add(check->report, 5, name, &result);
    }
}

void check_store(const struct check *check)
{
    run_cases(check, "records", records_cases, n_records_cases);
    run_cases(check, "queue", queue_cases, n_queue_cases);
    run_cases(check, "batch", batch_cases, n_batch_cases);
}
