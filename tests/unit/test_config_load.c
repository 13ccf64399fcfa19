#include "config_support.h"

static void nothing_written_means_loopback_memory_and_anonymous_there_only(void **state)
{
    (void)state;
    struct config *c = good(NULL);
    assert_int_equal(c->n_listeners, 1);
    assert_int_equal(c->listeners[0].port, 1883);
    assert_int_equal(c->listeners[0].bind.n, 2);
    assert_string_equal(c->listeners[0].bind.items[0], "127.0.0.1");
    assert_string_equal(c->listeners[0].bind.items[1], "::1");
    assert_false(c->listeners[0].bind_written);
    assert_string_equal(c->listeners[0].name, "mqtt-1883");
    assert_string_equal(c->persistence, "memory");
    assert_null(c->bus);
    assert_null(c->state_dir);
    assert_true(config_allows_anonymous(c, &c->listeners[0], true));
    assert_false(config_allows_anonymous(c, &c->listeners[0], false));
    config_unref(&c);
}

static void the_defaults_of_pigeon_and_aedes_hold(void **state)
{
    (void)state;
    struct config *c = good("");
    assert_int_equal(c->connect_timeout_ms, 30000);
    assert_int_equal(c->heartbeat_interval_ms, 60000);
    assert_int_equal(c->drain_timeout_ms, 60000);
    assert_int_equal(c->queue_limit, 42);
    assert_int_equal(c->max_client_id_length, 23);
    assert_int_equal(c->limits.topic_levels, 200);
    assert_int_equal(c->limits.memory, CONFIG_AUTO);
    assert_int_equal(c->threads, CONFIG_AUTO);
    assert_int_equal(c->default_access, CONFIG_ALLOW);
    assert_int_equal(c->on_denied_publish, CONFIG_ACKNOWLEDGE);
    assert_int_equal(c->log.level, LOG_INFO);
    assert_int_equal(c->plugin_preset.max_pending, 1000);
    assert_true(c->plugin_preset.enabled && c->plugin_preset.required);
    config_unref(&c);
}

static void no_default_limits_a_client_that_keeps_to_mqtt(void **state)
{
    (void)state;
    struct config *c = good("");
    assert_int_equal(c->limits.client_id_length, 65535);
    assert_int_equal(c->limits.topic_length, 65535);
    assert_int_equal(c->limits.max_keepalive_ms, 0);
    assert_int_equal(c->limits.session_expiry_ms, 0);
    assert_int_equal(c->limits.publish_rate, 0);
    assert_int_equal(c->limits.inflight_qos2_in, 65535);
    assert_true(c->limits.topic_alias_in > 0 && c->limits.topic_alias_out > 0);
    config_unref(&c);
}

static void everything_in_the_plan_of_the_configuration_is_read(void **state)
{
    (void)state;
    write_file("ldap.pw", "secret\n");
    struct config *c =
        good("threads: auto\n"
             "persistence: sqlite\n"
             "durability: { default: disk, filters: { \"telemetry/#\": os } }\n"
             "listeners:\n"
             "  - { port: 1883, bind: [127.0.0.1, \"::1\"] }\n"
             "  - { port: 9001, protocol: websocket, allow_anonymous: false, max_connections: 7,\n"
             "      chains: { authenticate: [ ldap ] } }\n"
             "  - { unix: run/p.sock, mode: 0600 }\n"
             "plugins:\n"
             "  ipban:     { file: ipban.so }\n"
             "  ldap:      { file: ./ldap_auth.so, run: worker, workers: 4, deadline: 3s,\n"
             "               on_deadline: next, only: [\"a/#\", +/b],\n"
             "               options: { uri: \"ldaps://x\", bind_password: !file ldap.pw } }\n"
             "chains:\n"
             "  authenticate: [ { veto: ipban }, ldap, { require: auth-file } ]     # end: deny\n"
             "  events: ~\n");
    assert_int_equal(c->durability.preset, CONFIG_DISK);
    assert_int_equal(c->durability.n_filters, 1);
    assert_int_equal(c->durability.filters[0].level, CONFIG_OS);
    assert_int_equal(c->n_listeners, 3);
    assert_true(c->listeners[0].bind_written);
    assert_int_equal(c->listeners[1].protocol, CONFIG_WEBSOCKET);
    assert_int_equal(c->listeners[1].max_connections, 7);
    assert_string_equal(c->listeners[1].name, "websocket-9001");
    assert_string_equal(c->listeners[2].unix_path, "run/p.sock");
    assert_int_equal(c->listeners[2].mode, 0600);
    assert_int_equal(c->listeners[2].port, -1);
    assert_int_equal(c->listeners[2].bind.n, 0);
    const struct config_plugin *ldap = config_plugin(c, "ldap");
    assert_string_equal(ldap->file, "./ldap_auth.so");
    assert_int_equal(ldap->run, CONFIG_WORKER);
    assert_int_equal(ldap->workers, 4);
    assert_int_equal(ldap->deadline_ms, 3000);
    assert_int_equal(ldap->on_deadline, CONFIG_DEADLINE_NEXT);
    assert_int_equal(ldap->only.n, 2);
    assert_non_null(ldap->options);
    assert_string_equal(config_plugin(c, "ipban")->file, "ipban.so");
    assert_null(config_plugin(c, "other")->name);
    const struct config_chain *chain = config_chain(c, &c->listeners[0], CONFIG_AUTHENTICATE);
    assert_int_equal(chain->n_entries, 3);
    assert_int_equal(chain->entries[0].control, CONFIG_VETO);
    assert_string_equal(chain->entries[0].plugin, "ipban");
    assert_int_equal(chain->entries[1].control, CONFIG_DECIDE);
    assert_int_equal(chain->entries[2].control, CONFIG_REQUIRE);
    assert_int_equal(config_chain(c, &c->listeners[1], CONFIG_AUTHENTICATE)->n_entries, 1);
    assert_true(config_chain(c, NULL, CONFIG_EVENTS)->written);
    assert_false(config_chain(c, NULL, CONFIG_INBOUND)->written);
    config_unref(&c);
}

static int64_t size_of(const char *text)
{
    char override[64];
    snprintf(override, sizeof(override), "limits.queue_bytes=%s", text);
    struct config *c = good_with(override);
    int64_t n = c->limits.queue_bytes;
    config_unref(&c);
    return n;
}

static int64_t time_of(const char *text)
{
    char override[64];
    snprintf(override, sizeof(override), "drain_timeout=%s", text);
    struct config *c = good_with(override);
    int64_t n = c->drain_timeout_ms;
    config_unref(&c);
    return n;
}

static void sizes_are_powers_of_1024(void **state)
{
    (void)state;
    assert_int_equal(size_of("4096"), 4096);
    assert_int_equal(size_of("256k"), 256 << 10);
    assert_int_equal(size_of("256K"), 256 << 10);
    assert_int_equal(size_of("10M"), 10 << 20);
    assert_int_equal(size_of("10MiB"), 10 << 20);
    assert_int_equal(size_of("3G"), INT64_C(3) << 30);
    assert_int_equal(size_of("1T"), INT64_C(1) << 40);
    assert_int_equal(size_of("'5k'"), 5 << 10);
}

static void times_are_read_as_milliseconds(void **state)
{
    (void)state;
    assert_int_equal(time_of("1500ms"), 1500);
    assert_int_equal(time_of("30s"), 30000);
    assert_int_equal(time_of("5m"), 300000);
    assert_int_equal(time_of("12h"), 43200000);
    assert_int_equal(time_of("1d"), 86400000);
    assert_int_equal(time_of("1h30m"), 5400000);
    assert_int_equal(time_of("0"), 0);
}

static void where_mqtt_counts_seconds_a_bare_number_is_seconds(void **state)
{
    (void)state;
    struct config *c = good("limits: { max_keepalive: 60, session_expiry: 3600 }\n");
    assert_int_equal(c->limits.max_keepalive_ms, 60000);
    assert_int_equal(c->limits.session_expiry_ms, 3600000);
    config_unref(&c);
}

static void overrides_beat_the_file_and_later_ones_the_earlier(void **state)
{
    (void)state;
    const char *overrides[] = { "threads=2",           "limits.packet_size=1M",   "threads=3",
                                "listeners.0.port=77", "plugins.x.options.a.b=1", "state_dir=/s" };
    struct diag d;
    struct config *c = NULL;
    diag_init(&d);
    assert_int_equal(load("threads: 1\nlimits: { packet_size: 9k, queue_ram: 5 }\n"
                          "listeners: [{ port: 1883 }]\n",
                          overrides, 6, &d, &c),
                     0);
    assert_int_equal(c->threads, 3);
    assert_int_equal(c->limits.packet_size, 1 << 20);
    assert_int_equal(c->limits.queue_ram, 5);
    assert_int_equal(c->listeners[0].port, 77);
    assert_string_equal(c->state_dir, "/s");
    assert_non_null(config_plugin(c, "x")->options);
    config_unref(&c);
    diag_fini(&d);
}

static void an_item_that_is_not_there_cannot_be_overridden(void **state)
{
    (void)state;
    const char *overrides[] = { "listeners.1.port=3", "listeners.x.port=3" };
    struct diag d;
    struct config *c = NULL;
    diag_init(&d);
    assert_int_equal(load("listeners: [{ port: 1883 }]\n", overrides, 2, &d, &c), -EINVAL);
    check_text(&d,
               "-o listeners.1.port=3: error: '1' is no item of a list of 1 (the first is 0)\n"
               "-o listeners.x.port=3: error: 'x' is no item of a list of 1 (the first is 0)\n");
}

static void a_port_of_the_command_line_is_that_of_the_first_tcp_listener(void **state)
{
    (void)state;
    const char *files[] = { "p.yaml" };
    write_file("p.yaml", "listeners: [{ unix: s }, { bind: 127.0.0.1 }, { port: 3 }]\n");
    struct config_input input = { .files = files, .n_files = 1, .has_port = true, .port = 0 };
    struct diag d;
    struct config *c = NULL;
    diag_init(&d);
    input.n_files = 0;
    assert_int_equal(config_load(&input, &d, &c), 0);
    assert_int_equal(c->listeners[0].port, 0);
    config_unref(&c);
    write_file("p.yaml", "listeners: [{ unix: s }, { port: 2 }, { port: 3 }]\n");
    input.n_files = 1;
    assert_int_equal(config_load(&input, &d, &c), 0);
    assert_int_equal(c->listeners[0].port, -1);
    assert_int_equal(c->listeners[1].port, 0);
    assert_int_equal(c->listeners[2].port, 3);
    config_unref(&c);
    diag_fini(&d);
}

static void included_files_are_merged_in_order_of_name(void **state)
{
    (void)state;
    mkdir("conf.d", 0755);
    write_file("conf.d/10.yaml", "limits: { queue_ram: 7 }\nlisteners: [{ port: 10 }]\n");
    write_file("conf.d/20.yaml", "plugins: { b: { file: sub/b.so } }\nstate_dir: here\n"
                                 "listeners: [{ port: 20 }]\ninclude: more/*.yaml\n");
    write_file("conf.d/ignored.txt", "x: y\n");
    struct config *c = good("include: conf.d/*.yaml\nlimits: { packet_size: 8k }\n"
                            "plugins: { a: {} }\nlisteners: [{ port: 1 }]\n");
    assert_int_equal(c->limits.queue_ram, 7);
    assert_int_equal(c->limits.packet_size, 8192);
    assert_int_equal(c->n_listeners, 3);
    assert_int_equal(c->listeners[1].port, 10);
    assert_int_equal(c->listeners[2].port, 20);
    assert_int_equal(c->n_plugins, 2);
    assert_string_equal(config_plugin(c, "b")->file, "conf.d/sub/b.so");
    assert_string_equal(c->state_dir, "conf.d/here");
    config_unref(&c);
}

static void a_pattern_without_files_is_fine_but_a_name_must_exist(void **state)
{
    (void)state;
    struct config *c = good("include: [none.d/*.yaml]\n");
    config_unref(&c);
    bad("include: [none.d/x.yaml, 3.yaml]\n",
        "p.yaml:1:11: error: cannot read 'none.d/x.yaml': No such file or directory\n"
        "    include: [none.d/x.yaml, 3.yaml]\n"
        "              ^~~~~~~~~~~~~\n"
        "p.yaml:1:26: error: cannot read '3.yaml': No such file or directory\n"
        "    include: [none.d/x.yaml, 3.yaml]\n"
        "                             ^~~~~~\n");
}

static void a_file_that_includes_itself_is_read_once(void **state)
{
    (void)state;
    struct config *c = good("include: '*.yaml'\nlisteners: [{ port: 5 }]\n");
    assert_int_equal(c->n_listeners, 1);
    config_unref(&c);
}

static void what_two_files_set_is_refused_and_both_places_named(void **state)
{
    (void)state;
    write_file("inc.yml", "threads: 2\nlimits: { queue_ram: 2, inflight_in: oops }\n");
    bad("include: inc.yml\nthreads: 1\nlimits:\n  queue_ram: 1\n",
        "inc.yml:1:1: error: 'threads' is already set in p.yaml:2\n"
        "    threads: 2\n"
        "    ^~~~~~~\n"
        "inc.yml:2:11: error: 'queue_ram' is already set in p.yaml:4\n"
        "    limits: { queue_ram: 2, inflight_in: oops }\n"
        "              ^~~~~~~~~\n"
        "inc.yml:2:38: error: 'inflight_in' must be a whole number, found 'oops'\n"
        "    limits: { queue_ram: 2, inflight_in: oops }\n"
        "                                         ^~~~\n");
}

static void anchors_repeat_what_was_written_before(void **state)
{
    (void)state;
    struct config *c = good("listeners:\n  - &l { port: 1, bind: &b [127.0.0.1] }\n"
                            "  - { port: 2, bind: *b }\n");
    assert_string_equal(c->listeners[1].bind.items[0], "127.0.0.1");
    config_unref(&c);
}

static void a_listener_needs_exactly_one_address_kind(void **state)
{
    (void)state;
    bad("listeners:\n  - { port: 1, unix: s }\n  - {}\n  - { unix: t, bind: 127.0.0.1 }\n",
        "p.yaml:2:7: error: a listener has either a 'port' or a 'unix' path\n"
        "      - { port: 1, unix: s }\n"
        "          ^~~~\n"
        "p.yaml:3:5: error: a listener needs a 'port' or a 'unix' path\n"
        "      - {}\n"
        "        ^\n"
        "p.yaml:4:22: error: a unix socket has no addresses\n"
        "      - { unix: t, bind: 127.0.0.1 }\n"
        "                         ^~~~~~~~~\n");
    bad("listeners: []\n",
        "p.yaml:1:12: error: 'listeners' is empty; without it there is one on loopback\n"
        "    listeners: []\n"
        "               ^\n");
}

static void two_listeners_need_two_addresses_and_two_names(void **state)
{
    (void)state;
    bad("listeners:\n  - { port: 1 }\n  - { port: 1 }\n  - { port: 2, name: a }\n"
        "  - { port: 3, name: a }\n",
        "p.yaml:3:5: error: the listener 'mqtt-1' has the same address\n"
        "      - { port: 1 }\n"
        "        ^\n"
        "p.yaml:5:5: error: another listener has the name 'a'\n"
        "      - { port: 3, name: a }\n"
        "        ^\n");
    struct config *c =
        good("listeners: [{ port: 0 }, { port: 0 }, { port: 0, bind: 127.0.0.2 }]\n");
    assert_string_equal(c->listeners[1].name, "mqtt-0-2");
    assert_string_equal(c->listeners[2].name, "mqtt-0-3");
    config_unref(&c);
}

static void an_address_is_a_number_a_host_or_a_star(void **state)
{
    (void)state;
    struct config *c =
        good("listeners: [{ port: 1, bind: ['*', 10.0.0.1, '::', fe80::1%eth0, my-host.lan] }]\n");
    assert_int_equal(c->listeners[0].bind.n, 5);
    config_unref(&c);
    bad("listeners: [{ port: 1, bind: [127.0.0.300, ':::1', ''] }]\n",
        "p.yaml:1:31: error: '127.0.0.300' is no address; every address is '*'\n"
        "    listeners: [{ port: 1, bind: [127.0.0.300, ':::1', ''] }]\n"
        "                                  ^~~~~~~~~~~\n"
        "p.yaml:1:44: error: ':::1' is no address; every address is '*'\n"
        "    listeners: [{ port: 1, bind: [127.0.0.300, ':::1', ''] }]\n"
        "                                               ^~~~~~\n"
        "p.yaml:1:52: error: '' is no address; every address is '*'\n"
        "    listeners: [{ port: 1, bind: [127.0.0.300, ':::1', ''] }]\n"
        "                                                       ^~\n");
}

static void tls_needs_a_certificate_and_says_what_clients_show(void **state)
{
    (void)state;
    bad("listeners: [{ port: 1, tls: {} }]\n", "p.yaml:1:24: error: 'cert' is missing in 'tls'\n"
                                               "    listeners: [{ port: 1, tls: {} }]\n"
                                               "                           ^~~\n");
    bad("listeners:\n  - port: 1\n    tls: { cert: a, crl: b, client_cert: required }\n",
        "p.yaml:3:21: error: 'crl' needs a 'ca'\n"
        "        tls: { cert: a, crl: b, client_cert: required }\n"
        "                        ^~~\n"
        "p.yaml:3:29: error: 'client_cert' needs a 'ca': who signs the certificates of clients\n"
        "        tls: { cert: a, crl: b, client_cert: required }\n"
        "                                ^~~~~~~~~~~\n");
    bad("listeners:\n  - port: 1\n    tls: { cert: a, ca: b, identity: cn }\n",
        "p.yaml:3:21: error: 'ca' needs 'client_cert: required' or 'optional'\n"
        "        tls: { cert: a, ca: b, identity: cn }\n"
        "                        ^~\n"
        "p.yaml:3:28: error: 'identity' needs 'client_cert: required' or 'optional'\n"
        "        tls: { cert: a, ca: b, identity: cn }\n"
        "                               ^~~~~~~~\n");
}

static void chains_take_names_and_control_words_only(void **state)
{
    (void)state;
    bad("chains:\n  authenticate: [ { vto: a }, b, b, [c], { veto: a, require: b } ]\n"
        "  autorize: []\n  inbound: x\n",
        "p.yaml:2:21: error: 'vto' is no control word; did you mean 'veto'?\n"
        "      authenticate: [ { vto: a }, b, b, [c], { veto: a, require: b } ]\n"
        "                        ^~~\n"
        "p.yaml:2:34: error: 'b' is in this chain twice\n"
        "      authenticate: [ { vto: a }, b, b, [c], { veto: a, require: b } ]\n"
        "                                     ^\n"
        "p.yaml:2:37: error: expected the name of a plugin or { veto: NAME }, found a list\n"
        "      authenticate: [ { vto: a }, b, b, [c], { veto: a, require: b } ]\n"
        "                                        ^\n"
        "p.yaml:2:42: error: expected the name of a plugin or { veto: NAME }, found a block\n"
        "      authenticate: [ { vto: a }, b, b, [c], { veto: a, require: b } ]\n"
        "                                             ^\n"
        "p.yaml:3:3: error: unknown chain 'autorize'; did you mean 'authorize'?\n"
        "      autorize: []\n"
        "      ^~~~~~~~\n"
        "p.yaml:4:12: error: a chain must be a list of plugins, found 'x'\n"
        "      inbound: x\n"
        "               ^\n");
}

static void a_veto_or_requirement_cannot_be_skipped_by_a_deadline(void **state)
{
    (void)state;
    bad("plugins: { a: { on_deadline: next }, b: {} }\n"
        "chains: { authorize: [a, { veto: b }], inbound: [{ veto: a }] }\n"
        "listeners: [{ port: 1, chains: { events: [{ require: a }] } }]\n",
        "p.yaml:2:58: error: 'a' has 'on_deadline: next', so it can only decide\n"
        "    chains: { authorize: [a, { veto: b }], inbound: [{ veto: a }] }\n"
        "                                                             ^\n"
        "p.yaml:3:54: error: 'a' has 'on_deadline: next', so it can only decide\n"
        "    listeners: [{ port: 1, chains: { events: [{ require: a }] } }]\n"
        "                                                         ^\n");
}

static void a_plugin_block_is_checked_like_any_other(void **state)
{
    (void)state;
    bad("plugins:\n  a/b: {}\n  c: { workers: 2 }\n  d: { only: [x#] }\n  e: { fle: x }\n",
        "p.yaml:2:3: error: 'a/b' cannot be the name of a plugin\n"
        "      a/b: {}\n"
        "      ^~~\n"
        "p.yaml:3:8: error: 'workers' needs 'run: worker'\n"
        "      c: { workers: 2 }\n"
        "           ^~~~~~~\n"
        "p.yaml:4:15: error: 'only': not a topic filter\n"
        "      d: { only: [x#] }\n"
        "                  ^~\n"
        "p.yaml:5:8: error: unknown key 'fle' in a plugin's block; did you mean 'file'?\n"
        "      e: { fle: x }\n"
        "           ^~~\n");
}

static void limits_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    bad("limits: { min_keepalive: 60, max_keepalive: 30 }\n",
        "p.yaml:1:26: error: 'min_keepalive' is above 'max_keepalive'\n"
        "    limits: { min_keepalive: 60, max_keepalive: 30 }\n"
        "                             ^~\n");
}

static int check_open(const char *yaml, bool has_auth, char **r_text)
{
    struct config *c = good(yaml);
    struct diag d;
    diag_init(&d);
    int result = config_check_open(c, has_auth, &d);
    assert_int_equal(diag_text(&d, r_text), 0);
    diag_fini(&d);
    config_unref(&c);
    return result;
}

static void a_listener_open_to_the_network_needs_a_decision(void **state)
{
    (void)state;
    static const char *const closed[] = {
        "",
        "listeners: [{ port: 1 }, { unix: s }, { port: 2, bind: [127.3.0.1, '::ffff:127.0.0.1'] }]",
        "listeners: [{ port: 1, bind: '*' }]\nallow_anonymous: true\n",
        "listeners: [{ port: 1, bind: '*' }]\nallow_anonymous: false\n",
        "listeners: [{ port: 1, bind: '*', allow_anonymous: true }]\n",
        "listeners: [{ port: 1, bind: '*' }]\nchains: { authenticate: [x] }\n",
    };
    char *text;
    for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++) {
        assert_int_equal(check_open(closed[i], false, &text), 0);
        free(text);
    }
    assert_int_equal(check_open("listeners: [{ port: 1, bind: '*' }]\n", true, &text), 0);
    free(text);
    assert_int_equal(
        check_open("listeners:\n  - { port: 1, bind: [127.0.0.1, 10.0.0.1] }\n", false, &text),
        -EINVAL);
    assert_string_equal(
        text, "p.yaml:2:5: error: 'mqtt-1' is open to the network on 10.0.0.1, but nobody decides "
              "who may come in: configure a plugin that authenticates, or write 'allow_anonymous: "
              "true' to let everybody in\n"
              "      - { port: 1, bind: [127.0.0.1, 10.0.0.1] }\n"
              "        ^\n");
    free(text);
    assert_int_equal(
        check_open("listeners: [{ port: 1, bind: '*' }]\nallow_anonymous: auto\n", false, &text),
        -EINVAL);
    free(text);
    assert_int_equal(check_open("listeners: [{ port: 1, bind: '*', "
                                "chains: { authenticate: [] } }]\n",
                                true, &text),
                     -EINVAL);
    free(text);
}

static void threads_follow_the_cores_unless_they_are_written(void **state)
{
    (void)state;
    struct config *c = good("");
    assert_int_equal(config_threads(c, 1), 1);
    assert_int_equal(config_threads(c, 2), 1);
    assert_int_equal(config_threads(c, 8), 7);
    assert_int_equal(config_threads(c, 200), 64);
    config_unref(&c);
    c = good("threads: 8\n");
    assert_int_equal(config_threads(c, 2), 8);
    config_unref(&c);
}

static bool equal(struct str filter, struct str topic)
{
    return str_eq(filter, topic);
}

static void the_first_filter_that_matches_gives_the_durability(void **state)
{
    (void)state;
    struct config *c = good("durability: { default: os, filters: { a: memory, b/#: disk } }\n");
    assert_int_equal(config_durability_of(c, STR("a"), equal), CONFIG_MEMORY);
    assert_int_equal(config_durability_of(c, STR("b/#"), equal), CONFIG_DISK);
    assert_int_equal(config_durability_of(c, STR("c"), equal), CONFIG_OS);
    config_unref(&c);
}

static void a_configuration_lives_until_its_last_reference(void **state)
{
    (void)state;
    struct config *c = good("id: n1\n"), *again = config_ref(c);
    config_unref(&c);
    assert_null(c);
    assert_string_equal(again->id, "n1");
    config_unref(&again);
    config_unref(&again);
}

static void json_is_read_too(void **state)
{
    (void)state;
    struct config *c =
        good("{\"threads\": 3, \"listeners\": [{\"port\": 5, \"bind\": [\"::1\"]}],\n"
             "\t\"limits\": {\"packet_size\": \"64k\"}}\n");
    assert_int_equal(c->threads, 3);
    assert_int_equal(c->limits.packet_size, 65536);
    config_unref(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_written_means_loopback_memory_and_anonymous_there_only),
        cmocka_unit_test(the_defaults_of_pigeon_and_aedes_hold),
        cmocka_unit_test(no_default_limits_a_client_that_keeps_to_mqtt),
        cmocka_unit_test(everything_in_the_plan_of_the_configuration_is_read),
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(times_are_read_as_milliseconds),
        cmocka_unit_test(where_mqtt_counts_seconds_a_bare_number_is_seconds),
        cmocka_unit_test(overrides_beat_the_file_and_later_ones_the_earlier),
        cmocka_unit_test(an_item_that_is_not_there_cannot_be_overridden),
        cmocka_unit_test(a_port_of_the_command_line_is_that_of_the_first_tcp_listener),
        cmocka_unit_test(included_files_are_merged_in_order_of_name),
        cmocka_unit_test(a_pattern_without_files_is_fine_but_a_name_must_exist),
        cmocka_unit_test(a_file_that_includes_itself_is_read_once),
        cmocka_unit_test(what_two_files_set_is_refused_and_both_places_named),
        cmocka_unit_test(anchors_repeat_what_was_written_before),
        cmocka_unit_test(a_listener_needs_exactly_one_address_kind),
        cmocka_unit_test(two_listeners_need_two_addresses_and_two_names),
        cmocka_unit_test(an_address_is_a_number_a_host_or_a_star),
        cmocka_unit_test(tls_needs_a_certificate_and_says_what_clients_show),
        cmocka_unit_test(chains_take_names_and_control_words_only),
        cmocka_unit_test(a_veto_or_requirement_cannot_be_skipped_by_a_deadline),
        cmocka_unit_test(a_plugin_block_is_checked_like_any_other),
        cmocka_unit_test(limits_that_contradict_each_other_are_refused),
        cmocka_unit_test(a_listener_open_to_the_network_needs_a_decision),
        cmocka_unit_test(threads_follow_the_cores_unless_they_are_written),
        cmocka_unit_test(the_first_filter_that_matches_gives_the_durability),
        cmocka_unit_test(a_configuration_lives_until_its_last_reference),
        cmocka_unit_test(json_is_read_too),
    };
    return cmocka_run_group_tests(tests, in_a_directory, out_of_the_directory);
}
