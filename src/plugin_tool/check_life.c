/* Groups 1 and 2: what a file is, what its tables say, and that it comes and goes without a trace.
 */
#include "plugin_tool/check.h"
#include "plugin_tool/symbols.h"
#include "plugin_tool/tool.h"
#include "base/log.h"
#include "config/table.h"
#include "hooks/plugin.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define N_LIVES         100
#define N_ROUNDS        5
#define MORE_ROUNDS     10 /* when all of these grew */
#define N_WARM_UP       10
#define PER_LIFE        8 /* bytes: less than one forgotten block of each life */
#define LEAK_OF_A_ROUND (N_LIVES / N_ROUNDS * PER_LIFE)

/* ---- group 1 --------------------------------------------------------------------------------- */

static void file_may_be_loaded(const struct check_case *c)
{
    struct plugin_file file;
    char reason[1024];

    if (plugin_file_judge(c->check->path, &file, reason, sizeof(reason)) != 0)
        isolate_fail("%s", reason);
    if (file.warning)
        fprintf(stderr, "# it brings %s, as the broker does\n", file.warning);
    plugin_file_fini(&file);
}

static void one_symbol_is_exported(const struct check_case *c)
{
    struct symbols s;
    int r = symbols_read(c->check->path, &s);

    if (r < 0)
        isolate_fail("cannot read its symbols: %s", strerror(-r));
    if (s.n_plugin != 1)
        isolate_fail("it exports %u symbols pigeon_plugin_v<N>", s.n_plugin);
    if (s.n_other)
        isolate_fail("it exports %s%s besides pigeon_plugin_v1: build it with -fvisibility=hidden",
                     s.first, s.n_other > 1 ? " and others" : "");
}

static void note_and_descriptor_agree(const struct check_case *c)
{
    struct plugin p = { 0 };
    struct log *log = NULL;
    char reason[1024], name[] = "plugin";

    p.name = name;
    if (log_new(STDERR_FILENO, LOG_WARN, LOG_TEXT, false, &log) < 0)
        isolate_fail("out of memory");
    if (plugin_file_judge(c->check->path, &p.file, reason, sizeof(reason)) != 0)
        isolate_fail("%s", reason);
    isolate_at("loading it");
    if (plugin_load(&p, true, log, reason, sizeof(reason)) != 0)
        isolate_fail("%s", reason);
    plugin_file_fini(&p.file);
    log_free(&log);
}

bool check_file(const struct check *check)
{
    const struct check_case cases[] = {
        { check, 1, "the file may be loaded", file_may_be_loaded, 0, 0 },
        { check, 1, "it exports pigeon_plugin_v1 and nothing else", one_symbol_is_exported, 0, 0 },
        { check, 1, "note and descriptor are whole and agree", note_and_descriptor_agree, 0, 0 },
    };
    bool may_load;

    may_load = check_run(&cases[0]);
    check_run(&cases[1]);
    return may_load && check_run(&cases[2]);
}

/* ---- group 2: tables ------------------------------------------------------------------------- */

static void check_option(const struct table *t, uint32_t i, struct diag *d)
{
    pigeon_option o = table_row(t, i);
    struct arena arena;
    struct value value;

    arena_init(&arena);
    struct value_env env = { .arena = &arena, .diag = d };
    if (!o.doc || !*o.doc)
        isolate_fail("option '%s' has no doc", o.key);
    if ((o.flags & PIGEON_O_REQUIRED) && o.preset)
        isolate_fail("option '%s' is required and has a preset", o.key);
    if (o.flags & ~(PIGEON_O_REQUIRED | PIGEON_O_RELOAD))
        isolate_fail("option '%s' has unknown flags", o.key);
    if (o.preset)
        value_preset(&env, &o, 0, (struct place){ 0 }, &value);
    arena_fini(&arena);
}

static void options_are_described(const struct check_case *c)
{
    pigeon_mock *m = case_load(c, PIGEON_MOCK_SAME);
    const pigeon_plugin *p = pigeon_mock_plugin(m);
    struct table t = {
        .rows = p->options, .n = p->noptions, .stride = p->option_stride, .where = "of the plugin"
    };
    struct diag d;
    char *text = NULL;
    bool reloads = false;

    diag_init(&d);
    if (table_check(&t, &d))
        for (uint32_t i = 0; i < t.n; i++) {
            check_option(&t, i, &d);
            reloads = reloads || (table_row(&t, i).flags & PIGEON_O_RELOAD);
        }
    if (diag_result(&d) < 0) {
        diag_text(&d, &text);
        isolate_fail("%s", text ? text : "out of memory");
    }
    diag_fini(&d);
    if (reloads && (!PIGEON_HAS(p, pigeon_plugin, prepare) || !p->prepare || !p->commit))
        isolate_fail("options may change by reload, but there is no prepare() and commit()");
    pigeon_mock_free(&m);
}

static void commands_are_described(const struct check_case *c)
{
    pigeon_mock *m = case_load(c, PIGEON_MOCK_SAME);
    const pigeon_control *control = plugin_iface(pigeon_mock_plugin(m), PIGEON_IF_CONTROL);

    if (!control)
        isolate_skip("it has no commands");
    for (uint32_t i = 0; i < control->ncommands; i++) {
        const pigeon_command *command = plugin_command(control, i);

        if (!command->name || !*command->name)
            isolate_fail("command %u has no name", i);
        if (!command->help || !*command->help)
            isolate_fail("command '%s' has no help", command->name);
    }
    pigeon_mock_free(&m);
}

static void hooks_are_there(const struct check_case *c)
{
    pigeon_mock *m = case_load(c, PIGEON_MOCK_SAME);
    const pigeon_plugin *p = pigeon_mock_plugin(m);
    uint32_t n = 0;

    if (!p->nprovides)
        isolate_fail("it provides no interface");
    for (uint32_t i = 0; i < subject_count(); i++)
        n += subject_is_there(m, i);
    if (n == 0 && (plugin_iface(p, PIGEON_IF_AUTH) || plugin_iface(p, PIGEON_IF_FLOW) ||
                   plugin_iface(p, PIGEON_IF_EVENTS)))
        isolate_fail("its tables have no function in them: the broker would never call it");
    pigeon_mock_free(&m);
}

/* ---- group 2: life --------------------------------------------------------------------------- */

static void options_are_accepted(const struct check_case *c)
{
    pigeon_mock *m = case_load(c, PIGEON_MOCK_SAME);

    isolate_at("check");
    if (pigeon_mock_check(m) != PIGEON_OK)
        isolate_fail("%s\ngive it options that it accepts: pigeon-plugin check FILE.so KEY=VALUE",
                     pigeon_mock_error(m));
    pigeon_mock_free(&m);
}

static void check_has_no_side_effects(const struct check_case *c)
{
    pigeon_mock *m = case_load(c, PIGEON_MOCK_SAME);
    struct census before;

    isolate_at("check");
    census_take(&before);
    if (pigeon_mock_check(m) != PIGEON_OK)
        isolate_fail("%s", pigeon_mock_error(m));
    census_compare(&before, "check()", SIZE_MAX);
    if (pigeon_mock_timers(m))
        isolate_fail("check() arms timers");
    pigeon_mock_free(&m);
}

/* One life, with each decision hook asked and each fact told once. */
static void live(const struct check_case *c, bool work)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct check_input *in = check_input_new(m, INPUT_NORMAL);

    for (uint32_t i = 0; work && i < subject_count(); i++) {
        if (!subject_is_there(m, i))
            continue;
        isolate_at("%s", subject_name(i));
        if (i >= N_DECISIONS)
            subject_tell(in, i);
        else
            pigeon_mock_cancel(subject_ask(in, i, check_input_client(in)), PIGEON_CANCEL_STOP);
    }
    isolate_at("destroy");
    pigeon_mock_finish(m);
    check_input_free(&in);
    pigeon_mock_free(&m);
}

/* Caches of allocator and libraries grow at times; what leaks grows in every round. */
static void lives(const struct check_case *c, bool work, const char *what)
{
    struct census before, now;
    size_t least = SIZE_MAX;

    for (int round = 0; round < N_ROUNDS + MORE_ROUNDS; round++) {
        if (round >= N_ROUNDS && least < LEAK_OF_A_ROUND)
            break;
        census_take(&now);
        for (int i = 0; i < N_LIVES / N_ROUNDS; i++)
            live(c, work);
        if (round == 0) {
            census_take(&before);
            continue;
        }
        size_t heap = now.heap;
        census_take(&now);
        size_t grown = now.heap > heap ? now.heap - heap : 0;
        least = grown < least ? grown : least;
    }
    census_compare(&before, what, SIZE_MAX);
    if (least >= LEAK_OF_A_ROUND)
        isolate_fail("%s leaks: the heap grows by at least %zu bytes each time", what,
                     least / (N_LIVES / N_ROUNDS));
}

static void lives_leave_nothing(const struct check_case *c)
{
    lives(c, false, "creating and destroying it 100 times");
}

static void work_leaves_nothing(const struct check_case *c)
{
    lives(c, true, "100 lives with every hook called");
}

static void reload(pigeon_mock *m, bool commits)
{
    int32_t r;

    isolate_at("prepare");
    r = pigeon_mock_prepare(m);
    if (r == PIGEON_E_NOTSUP)
        isolate_skip("it has no prepare()");
    if (r != PIGEON_OK)
        isolate_fail("%s", pigeon_mock_error(m));
    isolate_at(commits ? "commit" : "abort");
    if (commits)
        pigeon_mock_commit(m);
    else
        pigeon_mock_abort(m);
    pigeon_mock_run(m);
    pigeon_mock_forget(m); /* what it logged and did is no memory of the plugin */
}

/* The allocator keeps some freed blocks at first; what leaks goes on growing. */
static void reload_is_whole_or_not_at_all(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct census before, now;

    for (int round = 0; round <= MORE_ROUNDS; round++) {
        for (int i = 0; i < N_LIVES + (round ? 0 : N_WARM_UP); i++) {
            if (i == (round ? 0 : N_WARM_UP))
                census_take(&before);
            reload(m, i % 2);
        }
        census_take(&now);
        if (now.heap <= before.heap + N_LIVES * PER_LIFE)
            break;
    }
    census_compare(&before, "reloading it 100 times", N_LIVES * PER_LIFE);
    case_finish(m);
}

static void quiesce_is_answered(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    const pigeon_plugin *p = pigeon_mock_plugin(m);

    isolate_at("quiesce");
    if (!PIGEON_HAS(p, pigeon_plugin, quiesce) || !p->quiesce)
        isolate_skip("it has no quiesce()");
    if (pigeon_mock_quiesce(m, CHECK_ANSWER_MS) == PIGEON_E_BUSY)
        isolate_fail("quiesce was not answered within %d ms", CHECK_ANSWER_MS);
    case_finish(m);
}

bool check_life(const struct check *check)
{
    const struct check_case cases[] = {
        { check, 2, "its options are described", options_are_described, 0, 0 },
        { check, 2, "its commands are described", commands_are_described, 0, 0 },
        { check, 2, "it has something to be called for", hooks_are_there, 0, 0 },
        { check, 2, "check() leaves nothing behind", check_has_no_side_effects, 0, 0 },
        { check, 2, "100 times created and destroyed, it leaves nothing", lives_leave_nothing, 0,
          0 },
        { check, 2, "100 times put to work, it leaves nothing", work_leaves_nothing, 0, 0 },
        { check, 2, "a reload is taken or dropped as a whole", reload_is_whole_or_not_at_all, 0,
          0 },
        { check, 2, "quiesce is answered", quiesce_is_answered, 0, 0 },
    };
    const struct check_case first = { check, 2, "it accepts these options", options_are_accepted,
                                      0,     0 };
    bool accepted;

    check_run(&cases[0]);
    check_run(&cases[1]);
    check_run(&cases[2]);
    accepted = check_run(&first);
    for (size_t i = 3; accepted && i < sizeof(cases) / sizeof(cases[0]); i++)
        check_run(&cases[i]);
    return accepted;
}
