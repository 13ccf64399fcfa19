#include "config_support.h"

struct differences {
    char text[3000];
};

static void note(void *arg, const char *key, const char *old_text, const char *new_text,
                 bool reloadable)
{
    struct differences *all = arg;
    size_t n = strlen(all->text);
    snprintf(all->text + n, sizeof(all->text) - n, "%s: %s -> %s%s\n", key,
             old_text ? old_text : "-", new_text ? new_text : "-", reloadable ? "" : " (restart)");
}

static void differ(const char *old_yaml, const char *new_yaml, const char *expected)
{
    struct config *a = good(old_yaml), *b = good(new_yaml);
    struct differences all = { "" };
    assert_int_equal(config_diff(a, b, note, &all), 0);
    assert_string_equal(all.text, expected);
    config_unref(&a);
    config_unref(&b);
}

static void the_same_configuration_has_no_differences(void **state)
{
    (void)state;
    differ("threads: 2\nlisteners: [{ port: 1 }]\nchains: { inbound: [a] }\nplugins: { a: {} }\n",
           "plugins: { a: ~ }\nchains: { inbound: [{ decide: a }] }\nlisteners:\n- port: 1\n"
           "threads: 2\nlimits:\n",
           "");
}

static void each_option_says_whether_a_reload_is_enough(void **state)
{
    (void)state;
    differ("threads: 2\nid: a\nlimits: { packet_size: 1k }\nplugins_dir: x\n",
           "log: { level: debug }\nallow_anonymous: false\nlimits: { memory: 1G }\n"
           "durability: { default: os }\nresponse_information: r\n",
           "id: a -> (none) (restart)\n"
           "threads: 2 -> auto (restart)\n"
           "plugins_dir: [x] -> [] (restart)\n"
           "allow_anonymous: auto -> false\n"
           "response_information: (none) -> r\n"
           "durability.default: disk -> os (restart)\n"
           "log.level: info -> debug\n"
           "limits.packet_size: 1k -> 100M\n"
           "limits.memory: auto -> 1G\n");
}

static void listeners_are_known_by_name(void **state)
{
    (void)state;
    differ("listeners: [{ port: 1, name: a }, { port: 2 }]\n",
           "listeners: [{ port: 3 }, { port: 1, name: a, max_connections: 5, mode: 0600,\n"
           "             chains: { authenticate: [x, { veto: y }] } }]\n",
           "listeners.a.mode: 0660 -> 0600\n"
           "listeners.a.max_connections: 0 -> 5\n"
           "listeners.a.chains.authenticate: - -> [x, { veto: y }]\n"
           "listeners.mqtt-2: mqtt-2 -> -\n"
           "listeners.mqtt-3: - -> mqtt-3\n");
}

static void plugins_chains_and_filters_are_compared_entry_by_entry(void **state)
{
    (void)state;
    differ("plugins: { a: { deadline: 1s }, b: {} }\nchains: { events: [a, b] }\n"
           "durability: { filters: { x: os, y: os } }\n",
           "plugins: { a: { deadline: 2s, run: worker }, c: { only: [t] } }\n"
           "chains: { events: [{ require: b }, a] }\n"
           "durability: { filters: { y: disk, z: os } }\n",
           "durability.filters.x: os -> - (restart)\n"
           "durability.filters.y: os -> disk (restart)\n"
           "durability.filters.z: - -> os (restart)\n"
           "plugins.a.run: inline -> worker (restart)\n"
           "plugins.a.deadline: 1s -> 2s\n"
           "plugins.b: b -> - (restart)\n"
           "plugins.c: - -> c (restart)\n"
           "plugins.c.only: [] -> [t]\n"
           "chains.events: [a, b] -> [{ require: b }, a]\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_configuration_has_no_differences),
        cmocka_unit_test(each_option_says_whether_a_reload_is_enough),
        cmocka_unit_test(listeners_are_known_by_name),
        cmocka_unit_test(plugins_chains_and_filters_are_compared_entry_by_entry),
    };
    return cmocka_run_group_tests(tests, in_a_directory, out_of_the_directory);
}
