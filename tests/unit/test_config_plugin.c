#include "config_support.h"

static const pigeon_option table[] = {
    { .key = "uri", .type = PIGEON_T_STRING, .flags = PIGEON_O_REQUIRED, .doc = "where" },
    { .key = "tries",
      .type = PIGEON_T_INT,
      .preset = "3",
      .min = 1,
      .max = 9,
      .flags = PIGEON_O_RELOAD },
    { .key = "strict", .type = PIGEON_T_BOOL, .preset = "true" },
    { .key = "cache", .type = PIGEON_T_SIZE, .preset = "1M" },
    { .key = "ttl", .type = PIGEON_T_TIME, .preset = "30s", .flags = PIGEON_O_RELOAD },
    { .key = "ca", .type = PIGEON_T_PATH },
    { .key = "password", .type = PIGEON_T_SECRET, .flags = PIGEON_O_RELOAD },
    { .key = "mode", .type = PIGEON_T_ENUM, .allowed = "fast|safe", .preset = "safe" },
    { .key = "groups", .type = PIGEON_T_LIST, .preset = "[a, b]", .min = 1, .max = 3 },
    { .key = "map", .type = PIGEON_T_TREE, .preset = "{ x: 1 }" },
    { .key = "suffix", .type = PIGEON_T_STRING, .preset = "" },
    { .key = "none", .type = PIGEON_T_LIST },
};
#define N_TABLE (sizeof(table) / sizeof(table[0]))

static int make(const char *yaml, struct diag *d, struct plugin_conf **r_conf)
{
    struct config *c = good(yaml);
    int result =
        plugin_conf_new(config_plugin(c, "p"), "p", table, N_TABLE, sizeof(table[0]), d, r_conf);
    config_unref(&c); /* the conf lives on its own */
    return result;
}

static struct plugin_conf *good_conf(const char *yaml)
{
    struct plugin_conf *conf = NULL;
    struct diag d;
    diag_init(&d);
    int result = make(yaml, &d, &conf);
    diag_print(&d, stderr);
    assert_int_equal(result, 0);
    diag_fini(&d);
    return conf;
}

static void bad_conf(const char *yaml, const char *expected)
{
    struct plugin_conf *conf = NULL;
    struct diag d;
    diag_init(&d);
    assert_int_equal(make(yaml, &d, &conf), -EINVAL);
    assert_null(conf);
    check_text(&d, expected);
}

static void is(struct plugin_conf *conf, const char *key, const char *text)
{
    struct str s = plugin_conf_str(conf, key);
    assert_non_null(s.ptr);
    assert_string_equal(s.ptr, text); /* a NUL stands behind it */
    assert_int_equal(s.len, strlen(text));
}

static void what_is_not_written_is_preset(void **state)
{
    (void)state;
    struct plugin_conf *conf = good_conf("plugins: { p: { options: { uri: x } } }\n");
    is(conf, "uri", "x");
    assert_int_equal(plugin_conf_int(conf, "tries"), 3);
    assert_int_equal(plugin_conf_int(conf, "strict"), 1);
    assert_int_equal(plugin_conf_int(conf, "cache"), 1 << 20);
    assert_int_equal(plugin_conf_int(conf, "ttl"), 30000);
    is(conf, "mode", "safe");
    assert_int_equal(plugin_conf_int(conf, "mode"), 1);
    assert_int_equal(plugin_conf_count(conf, "groups"), 2);
    assert_true(str_eq(plugin_conf_item(conf, "groups", 1), STR("b")));
    is(conf, "map", "{\"x\":1}");
    is(conf, "suffix", "");
    assert_false(plugin_conf_has(conf, "ca"));
    assert_null(plugin_conf_str(conf, "ca").ptr);
    assert_int_equal(plugin_conf_count(conf, "none"), 0);
    plugin_conf_free(&conf);
    assert_null(conf);
}

static void what_is_written_is_read_by_its_type(void **state)
{
    (void)state;
    write_file("pw", "s3cret word\n");
    struct plugin_conf *conf = good_conf(
        "plugins:\n  p:\n    options:\n      uri: \"\"\n      tries: 9\n"
        "      strict: false\n      cache: 2k\n      ttl: 1m\n      ca: certs/ca.pem\n"
        "      password: !file pw\n      mode: fast\n      groups: one\n"
        "      map: { a: [1, 1.5e3, true, ~, \"1\", 0x1f, yes], \"q\\\"\": \"\\u0001\" }\n");
    is(conf, "uri", "");
    assert_int_equal(plugin_conf_int(conf, "tries"), 9);
    assert_int_equal(plugin_conf_int(conf, "strict"), 0);
    assert_int_equal(plugin_conf_int(conf, "cache"), 2048);
    assert_int_equal(plugin_conf_int(conf, "ttl"), 60000);
    is(conf, "ca", "certs/ca.pem");
    is(conf, "password", "s3cret word");
    assert_int_equal(plugin_conf_count(conf, "groups"), 1);
    is(conf, "map", "{\"a\":[1,1.5e3,true,null,\"1\",\"0x1f\",\"yes\"],\"q\\\"\":\"\\u0001\"}");
    plugin_conf_free(&conf);
}

static void a_secret_may_come_from_the_environment(void **state)
{
    (void)state;
    setenv("PIGEON_TEST_SECRET", "from-env", 1);
    struct plugin_conf *conf =
        good_conf("plugins: { p: { options: { uri: x, password: !env PIGEON_TEST_SECRET,\n"
                  "                           map: { k: !env PIGEON_TEST_SECRET } } } }\n");
    is(conf, "password", "from-env");
    is(conf, "map", "{\"k\":\"from-env\"}");
    plugin_conf_free(&conf);
    unsetenv("PIGEON_TEST_SECRET");
    bad_conf("plugins: { p: { options: { uri: x, password: !env PIGEON_TEST_SECRET } } }\n",
             "p.yaml:1:51: error: the environment has no 'PIGEON_TEST_SECRET'\n"
             "    plugins: { p: { options: { uri: x, password: !env PIGEON_TEST_SECRET } } }\n"
             "                                                      ^~~~~~~~~~~~~~~~~~\n");
    bad_conf("plugins: { p: { options: { uri: x, password: !file gone } } }\n",
             "p.yaml:1:52: error: cannot read 'gone': No such file or directory\n"
             "    plugins: { p: { options: { uri: x, password: !file gone } } }\n"
             "                                                       ^~~~\n");
}

static void errors_look_like_those_of_the_broker(void **state)
{
    (void)state;
    bad_conf("plugins:\n  p:\n    options:\n      ur: x\n      tries: 10\n      mode: sfe\n"
             "      groups: []\n",
             "p.yaml:2:3: error: 'uri' is missing in the options of 'p'\n"
             "      p:\n"
             "      ^\n"
             "p.yaml:4:7: error: unknown key 'ur' in the options of 'p'; did you mean 'uri'?\n"
             "          ur: x\n"
             "          ^~\n"
             "p.yaml:5:14: error: 'tries' must be 1 to 9, found 10\n"
             "          tries: 10\n"
             "                 ^~\n"
             "p.yaml:6:13: error: 'mode' must be fast or safe, found 'sfe'; did you mean 'safe'?\n"
             "          mode: sfe\n"
             "                ^~~\n"
             "p.yaml:7:15: error: 'groups' must be 1 to 3 items, found 0\n"
             "          groups: []\n"
             "                  ^\n");
}

static void a_plugin_without_a_block_misses_what_is_required(void **state)
{
    (void)state;
    bad_conf("", "p.yaml: error: 'uri' is missing in the options of 'p'\n");
}

static void an_error_about_a_secret_never_shows_it(void **state)
{
    (void)state;
    bad_conf(
        "plugins: { p: { options: { uri: x, password: [hush] } } }\n",
        "p.yaml:1:46: error: 'password' must be text, !file PATH or !env NAME, found a list\n");
}

struct differences {
    char text[1000];
};

static void note(void *arg, const char *key, const char *old_text, const char *new_text,
                 bool reloadable)
{
    struct differences *all = arg;
    size_t n = strlen(all->text);
    snprintf(all->text + n, sizeof(all->text) - n, "%s: %s -> %s%s\n", key,
             old_text ? old_text : "-", new_text ? new_text : "-", reloadable ? "" : " (restart)");
}

static void two_configurations_of_a_plugin_are_compared_key_by_key(void **state)
{
    (void)state;
    struct plugin_conf *a = good_conf("plugins: { p: { options: { uri: x, password: one } } }\n");
    struct plugin_conf *b = good_conf(
        "plugins: { p: { options: { uri: y, password: two, tries: 3, ttl: 1m, groups: [a] } } }\n");
    struct differences all = { "" };
    uint32_t n_restart = 99;
    assert_int_equal(plugin_conf_diff(a, b, note, &all, &n_restart), 4);
    assert_int_equal(n_restart, 2);
    assert_string_equal(all.text, "uri: x -> y (restart)\n"
                                  "ttl: 30s -> 1m\n"
                                  "password: (secret) -> (secret)\n"
                                  "groups: [a, b] -> [a] (restart)\n");
    assert_int_equal(plugin_conf_diff(a, a, NULL, NULL, &n_restart), 0);
    assert_int_equal(n_restart, 0);
    plugin_conf_free(&a);
    plugin_conf_free(&b);
}

struct old_row { /* a row of a plugin built before min and max */
    const char *key, *preset, *allowed, *doc;
    uint32_t type, flags;
};
struct new_row { /* and of one built after something was added */
    pigeon_option row;
    int64_t more;
};

static void rows_may_be_shorter_or_longer_than_ours(void **state)
{
    (void)state;
    static const struct old_row old_rows[] = {
        { "a", "5", NULL, "", PIGEON_T_INT, 0 },
        { "b", "x", NULL, "", PIGEON_T_STRING, 0 },
    };
    static const struct new_row new_rows[] = {
        { { .key = "a", .preset = "6", .type = PIGEON_T_INT, .max = 9 }, -1 },
        { { .key = "b", .preset = "y", .type = PIGEON_T_STRING }, -1 },
    };
    struct config *c = good("");
    struct diag d;
    struct plugin_conf *conf = NULL;
    diag_init(&d);
    assert_int_equal(plugin_conf_new(config_plugin(c, "p"), "p", (const pigeon_option *)old_rows, 2,
                                     sizeof(old_rows[0]), &d, &conf),
                     0);
    assert_int_equal(plugin_conf_int(conf, "a"), 5);
    is(conf, "b", "x");
    plugin_conf_free(&conf);
    assert_int_equal(plugin_conf_new(config_plugin(c, "p"), "p", (const pigeon_option *)new_rows, 2,
                                     sizeof(new_rows[0]), &d, &conf),
                     0);
    assert_int_equal(plugin_conf_int(conf, "a"), 6);
    is(conf, "b", "y");
    plugin_conf_free(&conf);
    diag_fini(&d);
    config_unref(&c);
}

static void broken(const pigeon_option *rows, uint32_t n, const char *expected)
{
    struct config *c = good("");
    struct diag d;
    struct plugin_conf *conf = NULL;
    diag_init(&d);
    assert_int_equal(plugin_conf_new(config_plugin(c, "p"), "p", rows, n, sizeof(*rows), &d, &conf),
                     -EINVAL);
    check_text(&d, expected);
    config_unref(&c);
}

static void a_broken_table_is_refused(void **state)
{
    (void)state;
    static const pigeon_option no_key = { .type = PIGEON_T_INT };
    static const pigeon_option no_type = { .key = "a" };
    static const pigeon_option no_word = { .key = "a", .type = PIGEON_T_ENUM };
    static const pigeon_option preset = { .key = "a", .type = PIGEON_T_INT, .preset = "x" };
    static const pigeon_option range = { .key = "a", .type = PIGEON_T_INT, .min = 2, .max = 1 };
    static const pigeon_option twice[] = { { .key = "a", .type = PIGEON_T_INT },
                                           { .key = "a", .type = PIGEON_T_INT } };
    broken(&no_key, 1, "error: option 0 in the options of 'p' has no proper name\n");
    broken(&no_type, 1, "error: option 'a' in the options of 'p' has an unknown type 0\n");
    broken(&no_word, 1, "error: option 'a' in the options of 'p' allows no word\n");
    broken(&preset, 1, "default of 'a': error: 'a' must be a whole number, found 'x'\n");
    broken(&range, 1, "error: option 'a' in the options of 'p' has no value in its range\n");
    broken(twice, 2, "error: option 'a' in the options of 'p' is there twice\n");
    broken(NULL, 1, "error: the option table in the options of 'p' is no table\n");
}

static void a_tree_of_aliases_is_bounded(void **state)
{
    (void)state;
    char yaml[4000];
    int n =
        snprintf(yaml, sizeof(yaml),
                 "plugins:\n  p:\n    options:\n      uri: x\n      map:\n        x0: &a0 [y]\n");
    for (int i = 1; i < 40; i++)
        n += snprintf(yaml + n, sizeof(yaml) - (size_t)n, "        x%d: &a%d [*a%d, *a%d]\n", i, i,
                      i - 1, i - 1);
    bad_conf(yaml, "p.yaml:6:9: error: too large: more than 1048576 bytes\n"
                   "            x0: &a0 [y]\n"
                   "            ^\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_written_is_preset),
        cmocka_unit_test(what_is_written_is_read_by_its_type),
        cmocka_unit_test(a_secret_may_come_from_the_environment),
        cmocka_unit_test(errors_look_like_those_of_the_broker),
        cmocka_unit_test(a_plugin_without_a_block_misses_what_is_required),
        cmocka_unit_test(an_error_about_a_secret_never_shows_it),
        cmocka_unit_test(two_configurations_of_a_plugin_are_compared_key_by_key),
        cmocka_unit_test(rows_may_be_shorter_or_longer_than_ours),
        cmocka_unit_test(a_broken_table_is_refused),
        cmocka_unit_test(a_tree_of_aliases_is_bounded),
    };
    return cmocka_run_group_tests(tests, in_a_directory, out_of_the_directory);
}
