#include "config_support.h"

static const char right[] =
    "listeners: [{ port: 1, chains: { authenticate: [x] } }, { port: 0 }, { port: 0 }]\n"
    "include: 'inc*.yml'\ndurability: { filters: { a: os } }\nplugins_dir: [a, b]\n"
    "plugins: { p: { options: { uri: &u x, list: [*u, b], tree: { a: !file inc.yml } } } }\n"
    "chains: { events: [{ veto: a }, b] }\n";
static const char wrong[] =
    "listners: 3\nid: [x]\nid: y\nlimits: { queue_ram: 0 }\ninclude: gone\n";

static const pigeon_option table[] = {
    { .key = "uri", .type = PIGEON_T_STRING, .flags = PIGEON_O_REQUIRED },
    { .key = "list", .type = PIGEON_T_LIST, .preset = "[a]" },
    { .key = "tree", .type = PIGEON_T_TREE, .preset = "{}" },
    { .key = "ttl", .type = PIGEON_T_TIME, .preset = "3s" },
};

/* Lets one allocation after the other fail until none is left to fail. */
static void survives(int (*run)(void), int expected)
{
    uint32_t n = 0;
    for (;; n++) {
        int64_t live = failalloc_n_live();
        failalloc_after(n);
        int result = run();
        bool failed = failalloc_disarm();
        assert_int_equal(failalloc_n_live(), live);
        assert_int_equal(result, failed ? -ENOMEM : expected);
        if (!failed)
            break;
    }
    assert_true(n > 0); /* it did fail sometimes */
}

static int run_load(void)
{
    const char *files[] = { "p.yaml" },
               *overrides[] = { "limits.queue_ram=3", "listeners.0.port=2" };
    struct config_input input = {
        .files = files, .n_files = 1, .overrides = overrides, .n_overrides = 2
    };
    struct diag d;
    struct config *c = NULL;
    diag_init(&d);
    int result = config_load(&input, &d, &c);
    assert_true((result == 0) == (c != NULL));
    diag_fini(&d);
    config_unref(&c);
    return result;
}

static void loading_survives_every_failing_allocation(void **state)
{
    (void)state;
    write_file("inc.yml", "threads: 2\nlisteners: [{ port: 4, name: x }]\n");
    write_file("p.yaml", right);
    survives(run_load, 0);
}

static void refusing_survives_every_failing_allocation(void **state)
{
    (void)state;
    write_file("p.yaml", wrong);
    survives(run_load, -EINVAL);
}

static struct config *config;

static int run_plugin(void)
{
    struct diag d;
    struct plugin_conf *conf = NULL;
    diag_init(&d);
    int result =
        plugin_conf_new(config_plugin(config, "p"), "p", table, 4, sizeof(table[0]), &d, &conf);
    assert_true((result == 0) == (conf != NULL));
    diag_fini(&d);
    plugin_conf_free(&conf);
    return result;
}

static void plugin_options_survive_every_failing_allocation(void **state)
{
    (void)state;
    write_file("inc.yml", "threads: 2\n");
    config = good(right);
    survives(run_plugin, 0);
    config_unref(&config);
}

static struct config *other;

static void ignore(void *arg, const char *key, const char *old_text, const char *new_text,
                   bool reloadable)
{
    (void)arg, (void)old_text, (void)new_text, (void)reloadable;
    assert_non_null(key);
}

static int run_diff(void)
{
    return config_diff(config, other, ignore, NULL);
}

static void comparing_survives_every_failing_allocation(void **state)
{
    (void)state;
    config = good(right);
    other = good("chains: { events: [b] }\nlog: { level: debug }\nplugins: { q: {} }\n"
                 "plugins_dir: [some/rather/long/name/of/a/directory/that/needs/room]\n");
    survives(run_diff, 0);
    config_unref(&config);
    config_unref(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_survives_every_failing_allocation),
        cmocka_unit_test(refusing_survives_every_failing_allocation),
        cmocka_unit_test(plugin_options_survive_every_failing_allocation),
        cmocka_unit_test(comparing_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, in_a_directory, out_of_the_directory);
}
