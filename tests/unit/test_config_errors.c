#include "config_support.h"

static void an_unknown_key_is_refused_with_the_nearest_one(void **state)
{
    (void)state;
    bad("persistance: sqlite\n",
        "p.yaml:1:1: error: unknown key 'persistance'; did you mean 'persistence'?\n"
        "    persistance: sqlite\n"
        "    ^~~~~~~~~~~\n");
    bad("listeners: [ { port: 1, address: x } ]\n",
        "p.yaml:1:25: error: unknown key 'address' in a listener; did you mean 'bind'?\n"
        "    listeners: [ { port: 1, address: x } ]\n"
        "                            ^~~~~~~\n");
    bad("limits:\n  packetsize: 1M\n",
        "p.yaml:2:3: error: unknown key 'packetsize' in 'limits'; did you mean 'packet_size'?\n"
        "      packetsize: 1M\n"
        "      ^~~~~~~~~~\n");
    bad("limits: { conections: 1 }\n",
        "p.yaml:1:11: error: unknown key 'conections' in 'limits'; did you mean 'connections'?\n"
        "    limits: { conections: 1 }\n"
        "              ^~~~~~~~~~\n");
}

static void the_names_aedes_uses_lead_to_ours(void **state)
{
    (void)state;
    bad("connectTimeout: 30s\n",
        "p.yaml:1:1: error: unknown key 'connectTimeout'; did you mean 'connect_timeout'?\n"
        "    connectTimeout: 30s\n"
        "    ^~~~~~~~~~~~~~\n");
    bad("maxClientsIdLength: 23\n",
        "p.yaml:1:1: error: unknown key 'maxClientsIdLength'; did you mean "
        "'max_client_id_length'?\n"
        "    maxClientsIdLength: 23\n"
        "    ^~~~~~~~~~~~~~~~~~\n");
}

static void a_limit_at_the_top_level_is_told_where_it_belongs(void **state)
{
    (void)state;
    bad("packet_size: 3\n",
        "p.yaml:1:1: error: unknown key 'packet_size'; did you mean 'limits.packet_size'?\n"
        "    packet_size: 3\n"
        "    ^~~~~~~~~~~\n");
}

static void a_key_unlike_any_other_gets_no_suggestion(void **state)
{
    (void)state;
    bad("zzzzzz: 3\n", "p.yaml:1:1: error: unknown key 'zzzzzz'\n"
                       "    zzzzzz: 3\n"
                       "    ^~~~~~\n");
}

static void a_wrong_word_is_refused_with_all_right_ones_and_the_nearest(void **state)
{
    (void)state;
    bad("log: { level: warning }\n",
        "p.yaml:1:15: error: 'level' must be error, warn, info or debug, found 'warning'\n"
        "    log: { level: warning }\n"
        "                  ^~~~~~~\n");
    bad("log: { format: jsn }\n",
        "p.yaml:1:16: error: 'format' must be text or json, found 'jsn'; did you mean 'json'?\n"
        "    log: { format: jsn }\n"
        "                   ^~~\n");
}

static void all_errors_come_in_one_run_in_reading_order(void **state)
{
    (void)state;
    bad("threads: 0\nqueue_qos0: yes\nlimits:\n  topic_levels: many\n",
        "p.yaml:1:10: error: 'threads' must be 1 to 64, found 0\n"
        "    threads: 0\n"
        "             ^\n"
        "p.yaml:2:13: error: 'queue_qos0' must be true or false, found 'yes'\n"
        "    queue_qos0: yes\n"
        "                ^~~\n"
        "p.yaml:4:17: error: 'topic_levels' must be a whole number, found 'many'\n"
        "      topic_levels: many\n"
        "                    ^~~~\n");
}

static void a_key_written_twice_is_refused_and_the_rest_still_checked(void **state)
{
    (void)state;
    bad("threads: 1\nthreads: 2\nqueue_limit: 0\n",
        "p.yaml:2:1: error: duplicate key 'threads', first in line 1\n"
        "    threads: 2\n"
        "    ^~~~~~~\n"
        "p.yaml:3:14: error: 'queue_limit' must be 1 to 65535, found 0\n"
        "    queue_limit: 0\n"
        "                 ^\n");
}

static void a_duplicate_is_found_in_plugin_options_too(void **state)
{
    (void)state;
    bad("plugins: { x: { options: { a: 1, \"a\": 2 } } }\n",
        "p.yaml:1:34: error: duplicate key 'a', first in line 1\n"
        "    plugins: { x: { options: { a: 1, \"a\": 2 } } }\n"
        "                                     ^~~\n");
}

static void a_wrong_type_says_what_is_expected_and_found(void **state)
{
    (void)state;
    bad("threads: [1]\n", "p.yaml:1:10: error: 'threads' must be a whole number or auto, found a "
                          "list\n"
                          "    threads: [1]\n"
                          "             ^\n");
    bad("limits: 3\n", "p.yaml:1:9: error: expected a block of options in 'limits', found '3'\n"
                       "    limits: 3\n"
                       "            ^\n");
    bad("queue_limit: \"42\"\n",
        "p.yaml:1:14: error: 'queue_limit' must be a whole number, found text '42'\n"
        "    queue_limit: \"42\"\n"
        "                 ^~~~\n");
    bad("- a\n", "p.yaml:1:1: error: expected a block of options, found a list\n"
                 "    - a\n"
                 "    ^\n");
}

static void a_key_without_value_is_refused(void **state)
{
    (void)state;
    bad("state_dir:\nthreads: 1\n", "p.yaml:1:1: error: 'state_dir' has no value: it must be a "
                                    "file name\n"
                                    "    state_dir:\n"
                                    "    ^\n");
}

static void a_time_needs_a_unit(void **state)
{
    (void)state;
    bad("connect_timeout: 30\n",
        "p.yaml:1:18: error: 'connect_timeout' must be a time with unit such as 500ms, 30s or 5m, "
        "found '30'\n"
        "    connect_timeout: 30\n"
        "                     ^~\n");
    bad("connect_timeout: 30sec\n",
        "p.yaml:1:18: error: 'connect_timeout' must be a time with unit such as 500ms, 30s or 5m, "
        "found '30sec'\n"
        "    connect_timeout: 30sec\n"
        "                     ^~~~~\n");
}

static void a_value_out_of_range_is_told_the_range_with_units(void **state)
{
    (void)state;
    bad("connect_timeout: 2h\n",
        "p.yaml:1:18: error: 'connect_timeout' must be 100ms to 1h, found 2h\n"
        "    connect_timeout: 2h\n"
        "                     ^~\n");
    bad("limits: { connect_size: 100 }\n",
        "p.yaml:1:25: error: 'connect_size' must be 1k to 268435460, found 100\n"
        "    limits: { connect_size: 100 }\n"
        "                            ^~~\n");
    bad("queue_limit: 99999999999999999999999\n",
        "p.yaml:1:14: error: 'queue_limit' must be 1 to 65535, found 99999999999999999999999\n"
        "    queue_limit: 99999999999999999999999\n"
        "                 ^~~~~~~~~~~~~~~~~~~~~~~\n");
    bad("limits: { queue_bytes: 99999999999999999G }\n",
        "p.yaml:1:24: error: 'queue_bytes' must be 1k to 1024T, found 99999999999999999G\n"
        "    limits: { queue_bytes: 99999999999999999G }\n"
        "                           ^~~~~~~~~~~~~~~~~~\n");
}

static void a_syntax_error_has_place_line_and_caret(void **state)
{
    (void)state;
    bad("threads: [1, 2\n", "p.yaml:2:1: error: flow sequence without a closing bracket\n"
                            "    \n"
                            "    ^\n");
    bad("threads: 1\n queue_limit: 2\n", "p.yaml:1:10: error: invalid multiline plain key\n"
                                         "    threads: 1\n"
                                         "             ^\n");
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    bad("id: a\nstate_dir: \xff\n", "p.yaml:2:1: error: not UTF-8\n");
    bad("id: a\x01\n", "p.yaml:1:6: error: control character 0x01\n");
}

static void tags_and_anchors_nobody_knows_are_refused(void **state)
{
    (void)state;
    bad("id: !fle x\n", "p.yaml:1:10: error: unknown tag '!fle'; did you mean '!file'?\n"
                        "    id: !fle x\n"
                        "             ^\n");
    bad("id: *x\n", "p.yaml:1:6: error: unknown anchor 'x'\n"
                    "    id: *x\n"
                    "         ^\n"
                    "p.yaml:1:6: error: 'id' has no value: it must be text\n"
                    "    id: *x\n"
                    "         ^\n");
    bad("id: !env HOME\n", "p.yaml:1:10: error: !env is only for secrets; 'id' is not one\n"
                           "    id: !env HOME\n"
                           "             ^~~~\n");
}

static void tabs_and_wide_characters_keep_the_caret_in_its_place(void **state)
{
    (void)state;
    bad("state_dir: \"\xc3\xa4\"  # \xc3\xa4\nlog: {\tx\xc3\xb6: 1 }\n",
        "p.yaml:2:8: error: unknown key 'x\xc3\xb6' in 'log'\n"
        "    log: {\tx\xc3\xb6: 1 }\n"
        "          \t^~\n");
}

static void a_very_long_line_is_cut_around_the_place(void **state)
{
    (void)state;
    char yaml[1200];
    snprintf(yaml, sizeof(yaml), "log: { level: info,%500sxyzxyz: 1 }\n", "");
    char expected[400];
    snprintf(expected, sizeof(expected),
             "p.yaml:1:520: error: unknown key 'xyzxyz' in 'log'\n"
             "    ...%60sxyzxyz: 1 }\n"
             "       %60s^~~~~~\n",
             "", "");
    bad(yaml, expected);
}

static void nesting_without_end_is_refused(void **state)
{
    (void)state;
    struct diag d;
    struct config *config = NULL;
    char yaml[1200] = "";
    memset(yaml, '[', 1000);
    diag_init(&d);
    assert_int_equal(load(yaml, NULL, 0, &d, &config), -EINVAL);
    diag_fini(&d);
}

static void aliases_of_aliases_neither_grow_nor_nest_without_end(void **state)
{
    (void)state;
    char yaml[8000];
    int n = snprintf(yaml, sizeof(yaml), "x0: &a0 [y]\n");
    for (int i = 1; i < 200; i++)
        n += snprintf(yaml + n, sizeof(yaml) - (size_t)n, "x%d: &a%d [*a%d, *a%d]\n", i, i, i - 1,
                      i - 1);
    struct diag d;
    struct config *config = NULL;
    diag_init(&d);
    assert_int_equal(load(yaml, NULL, 0, &d, &config), -EINVAL);
    diag_fini(&d);
}

static void a_second_document_is_refused(void **state)
{
    (void)state;
    bad("threads: 1\n---\nthreads: 2\n",
        "p.yaml:2:1: error: a second document is not read; write it to its own file\n"
        "    ---\n"
        "    ^\n");
}

static void more_errors_than_anyone_reads_are_counted(void **state)
{
    (void)state;
    struct diag d;
    struct place nowhere = { 0 };
    diag_init(&d);
    for (int i = 0; i < DIAG_MAX + 7; i++)
        diag_error(&d, nowhere, "e");
    char *text;
    assert_int_equal(diag_text(&d, &text), 0);
    assert_non_null(strstr(text, "error: 7 more errors\n"));
    free(text);
    diag_fini(&d);
}

static void a_file_that_is_not_there_is_an_error_with_its_name(void **state)
{
    (void)state;
    const char *files[] = { "nowhere.yaml", "." };
    struct config_input input = { .files = files, .n_files = 2 };
    struct diag d;
    struct config *config = NULL;
    diag_init(&d);
    assert_int_equal(config_load(&input, &d, &config), -EINVAL);
    check_text(&d, "nowhere.yaml: error: cannot read it: No such file or directory\n"
                   ".: error: cannot read it: Is a directory\n");
}

static void overrides_are_named_in_their_errors(void **state)
{
    (void)state;
    bad_with("limits.packet_size=abc", "-o limits.packet_size=abc: error: 'packet_size' must be a "
                                       "size such as 4096, 256k or 10M, found 'abc'\n");
    bad_with("lmits.packet_size=1k",
             "-o lmits.packet_size=1k: error: unknown key 'lmits'; did you mean 'limits'?\n");
    bad_with("limits.packet_siz=1k", "-o limits.packet_siz=1k: error: unknown key 'packet_siz' in "
                                     "'limits'; did you mean 'packet_size'?\n");
    bad_with("threads", "-o threads: error: expected key=value or block.key=value\n");
    bad_with("a..b=1", "-o a..b=1: error: expected key=value or block.key=value\n");
    bad_with("threads=", "-o threads=: error: 'threads' has no value: it must be a whole number "
                         "or auto\n");
    bad_with("threads=[1", "-o threads=[1: error: flow sequence without a closing bracket\n");
    bad_with("threads.x=1",
             "-o threads.x=1: error: 'threads' must be a whole number or auto, found a block\n");
}

static void transports_say_what_they_need(void **state)
{
    (void)state;
    bad("listeners:\n"
        "  - { port: 1, path: /mqtt, origins: [ x ] }\n"
        "  - { port: 2, protocol: websocket, path: mqtt, origins: [ \"https://a.b/c\" ] }\n"
        "  - { port: 3, proxy_protocol: true }\n"
        "  - { port: 4, proxy_protocol: required, trusted_proxies: [ 10.0.0.1/8 ] }\n"
        "  - { port: 5, trusted_proxies: local, owner: me }\n"
        "  - { port: 6, proxy_protocol: yes }\n",
        "p.yaml:2:16: error: 'path' needs 'protocol: websocket'\n"
        "      - { port: 1, path: /mqtt, origins: [ x ] }\n"
        "                   ^~~~\n"
        "p.yaml:2:29: error: 'origins' needs 'protocol: websocket'\n"
        "      - { port: 1, path: /mqtt, origins: [ x ] }\n"
        "                                ^~~~~~~\n"
        "p.yaml:2:40: error: 'origins': not an origin such as https://app.example:8443, or *\n"
        "      - { port: 1, path: /mqtt, origins: [ x ] }\n"
        "                                           ^\n"
        "p.yaml:3:43: error: 'path' must be like /mqtt, found 'mqtt'\n"
        "      - { port: 2, protocol: websocket, path: mqtt, origins: [ \"https://a.b/c\" ] }\n"
        "                                              ^~~~\n"
        "p.yaml:3:60: error: 'origins': not an origin such as https://app.example:8443, or *\n"
        "      - { port: 2, protocol: websocket, path: mqtt, origins: [ \"https://a.b/c\" ] }\n"
        "                                                               ^~~~~~~~~~~~~~~\n"
        "p.yaml:4:16: error: 'proxy_protocol' needs 'trusted_proxies': who may say who the client "
        "is\n"
        "      - { port: 3, proxy_protocol: true }\n"
        "                   ^~~~~~~~~~~~~~\n"
        "p.yaml:5:61: error: 'trusted_proxies': not a network such as 10.0.0.0/8, an address, or "
        "local\n"
        "      - { port: 4, proxy_protocol: required, trusted_proxies: [ 10.0.0.1/8 ] }\n"
        "                                                                ^~~~~~~~~~\n"
        "p.yaml:6:16: error: 'trusted_proxies' needs 'proxy_protocol' or 'protocol: websocket'\n"
        "      - { port: 5, trusted_proxies: local, owner: me }\n"
        "                   ^~~~~~~~~~~~~~~\n"
        "p.yaml:6:40: error: 'owner' needs a 'unix' path\n"
        "      - { port: 5, trusted_proxies: local, owner: me }\n"
        "                                           ^~~~~\n"
        "p.yaml:7:32: error: 'proxy_protocol' must be false, true or required, found 'yes'\n"
        "      - { port: 6, proxy_protocol: yes }\n"
        "                                   ^~~\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_key_is_refused_with_the_nearest_one),
        cmocka_unit_test(the_names_aedes_uses_lead_to_ours),
        cmocka_unit_test(a_limit_at_the_top_level_is_told_where_it_belongs),
        cmocka_unit_test(a_key_unlike_any_other_gets_no_suggestion),
        cmocka_unit_test(a_wrong_word_is_refused_with_all_right_ones_and_the_nearest),
        cmocka_unit_test(all_errors_come_in_one_run_in_reading_order),
        cmocka_unit_test(a_key_written_twice_is_refused_and_the_rest_still_checked),
        cmocka_unit_test(a_duplicate_is_found_in_plugin_options_too),
        cmocka_unit_test(a_wrong_type_says_what_is_expected_and_found),
        cmocka_unit_test(a_key_without_value_is_refused),
        cmocka_unit_test(a_time_needs_a_unit),
        cmocka_unit_test(a_value_out_of_range_is_told_the_range_with_units),
        cmocka_unit_test(a_syntax_error_has_place_line_and_caret),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(tags_and_anchors_nobody_knows_are_refused),
        cmocka_unit_test(tabs_and_wide_characters_keep_the_caret_in_its_place),
        cmocka_unit_test(a_very_long_line_is_cut_around_the_place),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(aliases_of_aliases_neither_grow_nor_nest_without_end),
        cmocka_unit_test(a_second_document_is_refused),
        cmocka_unit_test(more_errors_than_anyone_reads_are_counted),
        cmocka_unit_test(a_file_that_is_not_there_is_an_error_with_its_name),
        cmocka_unit_test(overrides_are_named_in_their_errors),
        cmocka_unit_test(transports_say_what_they_need),
    };
    return cmocka_run_group_tests(tests, in_a_directory, out_of_the_directory);
}
