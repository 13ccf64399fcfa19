#include "plugin_tool/check.h"
#include "plugin_tool/tool.h"
#include <stdlib.h>
#include <string.h>

struct report {
    bool json;
    uint32_t n, n_failed;
};

struct report *report_new(bool json, const char *path)
{
    struct report *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->json = json;
    if (json) {
        fputs("{\"file\": ", stdout);
        tool_json(stdout, path);
        fputs(", \"cases\": [", stdout);
    } else {
        fputs("TAP version 13\n", stdout);
    }
    return r;
}

static void add_json(struct report *r, uint32_t group, const char *name,
                     const struct isolate_result *result)
{
    static const char *const outcomes[] = { "passed", "failed", "skipped" };

    printf("%s\n  {\"group\": %u, \"name\": ", r->n > 1 ? "," : "", group);
    tool_json(stdout, name);
    printf(", \"outcome\": \"%s\", \"reason\": ", outcomes[result->outcome]);
    tool_json(stdout, result->outcome == OUTCOME_PASSED ? "" : result->reason);
    fputc('}', stdout);
}

/* TAP has one line per case; more is a comment. */
static void add_tap(const struct report *r, uint32_t group, const char *name,
                    const struct isolate_result *result)
{
    printf("%s %u - %u %s", result->outcome == OUTCOME_FAILED ? "not ok" : "ok", r->n, group, name);
    if (result->outcome == OUTCOME_SKIPPED)
        printf(" # SKIP %s", result->reason);
    fputc('\n', stdout);
    if (result->outcome != OUTCOME_FAILED)
        return;
    for (const char *line = result->reason; *line;) {
        size_t len = strcspn(line, "\n");

        printf("#   %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

void report_add(struct report *r, uint32_t group, const char *name,
                const struct isolate_result *result)
{
    r->n++;
    r->n_failed += result->outcome == OUTCOME_FAILED;
    if (r->json)
        add_json(r, group, name, result);
    else
        add_tap(r, group, name, result);
    fflush(stdout);
}

uint32_t report_end(struct report **report)
{
    struct report *r = *report;
    uint32_t n_failed = r->n_failed;

    if (r->json)
        printf("\n], \"failed\": %u}\n", n_failed);
    else
        printf("1..%u\n", r->n);
    free(r);
    *report = NULL;
    return n_failed;
}
