#include "plugin_tool/check.h"
#include "plugin_tool/tool.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] =
    "usage: pigeon-plugin check [--store] [--json] [--timeout SECONDS] [--only TEXT]\n"
    "                           FILE.so [KEY=VALUE...]\n"
    "\n"
    "Drives a plugin through what it promises, with options as they stand in pigeon.yaml (the "
    "value\n"
    "is YAML: users=[a,b]; file names are relative to the current directory). Each case runs in "
    "a\n"
    "child process of its own, so a crash or an endless loop is one failed case that names the "
    "hook.\n"
    "\n"
    "  1  file, note, symbols: what pigeond judges before it loads a file\n"
    "  2  options, check(), create and destroy 100 times, reload, quiesce\n"
    "  3  every hook with plain, empty, huge, binary and unknown input, without a client, in an\n"
    "     older and in a newer broker\n"
    "  4  late answers: the deadline, a client that goes, a broker that stops, many at once\n"
    "\n"
    "  --store            the contract of a store instead of 3 and 4; KEY=%s is an empty "
    "directory,\n"
    "                     a file in it), full_option=KEY the option that bounds its bytes\n"
    "  --json             one JSON object instead of TAP\n"
    "  --timeout SECONDS  for one case, default 10 (--store: 120)\n"
    "  --only TEXT        the cases whose name contains it\n"
    "\n"
    "Exit status: 0 all good, 1 a case failed.\n";

static void run_case(void *arg)
{
    const struct check_case *c = arg;

    c->fn(c);
}

static bool wants(const struct check *check, const char *name)
{
    return !check->only || strstr(name, check->only);
}

bool check_run(const struct check_case *c)
{
    struct isolate_result result;

    if (!wants(c->check, c->name))
        return true;
    isolate_run(run_case, (void *)(uintptr_t)c, c->check->timeout_ms, &result);
    report_add(c->check->report, c->group, c->name, &result);
    return result.outcome != OUTCOME_FAILED;
}

/* ---- for cases ------------------------------------------------------------------------------- */

/* `%s` at the beginning of a value is the empty directory. */
static void set_option(pigeon_mock *m, const char *key, const char *value, const char *dir)
{
    char text[2 * PATH_MAX];

    if (strncmp(value, "%s", 2) == 0) {
        snprintf(text, sizeof(text), "%s%s", dir, value + 2);
        value = text;
    }
    pigeon_mock_option(m, key, value);
}

pigeon_mock *case_load(const struct check_case *c, int release)
{
    pigeon_mock *m = pigeon_mock_new();
    char path[PATH_MAX] = "";

    pigeon_mock_set_release(m, release);
    pigeon_mock_set_option_dir(m, c->check->dir);
    if (realpath("state", path))
        pigeon_mock_set_state_dir(m, path);
    isolate_at("loading it");
    if (pigeon_mock_load(m, c->check->path) != PIGEON_OK)
        isolate_fail("%s", pigeon_mock_error(m));
    for (int i = 0; i < c->check->n_options; i++) {
        char *copy = strdup(c->check->options[i]), *eq = copy ? strchr(copy, '=') : NULL;

        if (eq)
            *eq = '\0';
        if (eq && strcmp(copy, "full_option") != 0)
            set_option(m, copy, eq + 1, path);
        free(copy);
    }
    return m;
}

pigeon_mock *case_create(const struct check_case *c, int release)
{
    pigeon_mock *m = case_load(c, release);

    isolate_at("create");
    if (pigeon_mock_create(m) != PIGEON_OK)
        isolate_fail("%s", pigeon_mock_error(m));
    return m;
}

void case_finish(pigeon_mock *m)
{
    isolate_at("destroy");
    pigeon_mock_finish(m);
    if (pigeon_mock_complaints(m))
        isolate_fail("%s", pigeon_mock_complaint(m, 0));
    if (pigeon_mock_pending(m))
        isolate_fail("a question was answered PENDING and never completed");
    pigeon_mock_free(&m);
}

static uint32_t count_entries(const char *path)
{
    DIR *d = opendir(path);
    uint32_t n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

void census_take(struct census *r)
{
    struct mallinfo2 heap = mallinfo2();

    r->n_fds = count_entries("/proc/self/fd");
    r->n_threads = count_entries("/proc/self/task");
    r->n_files = count_entries(".") + count_entries("state");
    r->heap = heap.uordblks + heap.hblkhd;
}

void census_compare(const struct census *before, const char *what, size_t heap)
{
    const struct timespec tick = { 0, 10 * 1000 * 1000 };
    struct census now;

    census_take(&now);
    /* A thread that was joined is gone from the kernel's list a little later. */
    for (int i = 0; i < 100 && now.n_threads > before->n_threads; i++) {
        nanosleep(&tick, NULL);
        census_take(&now);
    }
    if (now.n_threads > before->n_threads)
        isolate_fail("%s leaves %u threads running", what, now.n_threads - before->n_threads);
    if (now.n_fds > before->n_fds)
        isolate_fail("%s leaves %u file descriptors open", what, now.n_fds - before->n_fds);
    if (now.n_files > before->n_files)
        isolate_fail("%s leaves %u files behind", what, now.n_files - before->n_files);
    if (heap != SIZE_MAX && now.heap > before->heap + heap)
        isolate_fail("%s leaks: the heap grew by %zu bytes", what, now.heap - before->heap);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run(struct check *check, bool as_store)
{
    uint32_t n_failed;

    check->report = report_new(check->json, check->path);
    if (!check->report)
        return tool_usage("out of memory");
    if (check_file(check) && check_life(check)) {
        if (as_store) {
            check_store(check);
        } else {
            check_hooks(check);
            check_late(check);
        }
    }
    n_failed = report_end(&check->report);
    return n_failed ? TOOL_BAD : TOOL_OK;
}

static int parse_timeout(const char *text, struct check *check)
{
    char *end;
    long long seconds = text ? strtoll(text, &end, 10) : 0;

    if (!text || *end || seconds < 1 || seconds > 86400)
        return tool_usage("--timeout needs a number of seconds");
    check->timeout_ms = seconds * 1000;
    return TOOL_OK;
}

static int parse(int argc, char **argv, struct check *check, bool *r_as_store)
{
    int r = TOOL_OK;

    for (int i = 1; i < argc && r == TOOL_OK; i++) {
        if (strcmp(argv[i], "--store") == 0)
            *r_as_store = true;
        else if (strcmp(argv[i], "--json") == 0)
            check->json = true;
        else if (strcmp(argv[i], "--timeout") == 0 && i + 1 < argc)
            r = parse_timeout(argv[++i], check); /* NULL behind the last */
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            check->only = argv[++i];
        else if (argv[i][0] == '-')
            r = tool_usage("check has no option '%s'", argv[i]);
        else if (!check->path)
            check->path = argv[i];
        else if (strchr(argv[i], '='))
            check->options[check->n_options++] = argv[i];
        else
            r = tool_usage("'%s' is not KEY=VALUE", argv[i]);
    }
    if (r == TOOL_OK && !check->path)
        r = tool_usage("check what? `pigeon-plugin check --help` says how");
    return r;
}

int tool_check(int argc, char **argv)
{
    struct check check = { 0 };
    bool as_store = false;
    char *path = NULL, *dir = NULL;
    int r;

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return TOOL_OK;
        }
    check.options = calloc((size_t)argc, sizeof(*check.options));
    r = check.options ? parse(argc, argv, &check, &as_store) : tool_usage("out of memory");
    if (r == TOOL_OK) {
        path = realpath(check.path, NULL);
        dir = path ? realpath(".", NULL) : NULL;
        if (!dir)
            r = tool_usage("%s: %s", path ? "." : check.path, strerror(errno));
    }
    if (r == TOOL_OK) {
        check.path = path;
        check.dir = dir;
        if (!check.timeout_ms)
            check.timeout_ms = as_store ? 12 * CHECK_TIMEOUT_MS : CHECK_TIMEOUT_MS;
        r = run(&check, as_store);
    }
    free(path);
    free(dir);
    free(check.options);
    return r;
}
