#include "hooks_support.h"

static struct config_plugin block(const struct world *w, const char *name)
{
    struct config_plugin b = w->config->plugin_preset;

    b.name = name;
    return b;
}

static void with_block(struct world *w, struct config_plugin *b)
{
    w->config->plugins = b;
    w->config->n_plugins = 1;
}

/* Starts with one file in the directory; what must be said of it. */
static void refused(const char *file, const char *reason)
{
    struct world w;

    world_init(&w, 1);
    world_link(&w, file, "thing.so");
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, reason));
    assert_true(world_logged(&w, "thing: { enabled: false }"));
    world_fini(&w);
}

static void a_good_file_that_is_dropped_in_takes_part(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 2);
    world_link(&w, "good.so", "20-thing.so");
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(w.hooks->n_plugins, 1);
    assert_string_equal(w.hooks->plugins[0].name, "thing");
    assert_int_equal(w.hooks->plugins[0].n_instances, 2);
    world_fini(&w);
}

static void files_are_taken_in_the_order_of_their_names(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "30-a.so");
    world_link(&w, "p1.so", "10-z.so");
    world_link(&w, "p2.so", "20-m.so");
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(w.hooks->n_plugins, 3);
    assert_string_equal(w.hooks->plugins[0].name, "z");
    assert_string_equal(w.hooks->plugins[1].name, "m");
    assert_string_equal(w.hooks->plugins[2].name, "a");
    world_fini(&w);
}

static void a_file_without_a_note_is_ignored(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "no-note.so", "thing.so");
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(w.hooks->n_plugins, 0);
    assert_true(world_logged(&w, "no Pigeon note"));
    world_fini(&w);
}

static void a_file_without_a_note_that_the_configuration_names_stops_the_start(void **state)
{
    struct config_plugin b;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "no-note.so", "thing.so");
    b = block(&w, "thing");
    with_block(&w, &b);
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "no Pigeon note"));
    world_fini(&w);
}

static void a_text_file_is_ignored(void **state)
{
    char path[PATH_MAX + 16];
    struct world w;
    FILE *f;

    (void)state;
    world_init(&w, 1);
    snprintf(path, sizeof(path), "%s/thing.so", w.dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("INPUT(libc.so.6)\n", f);
    fclose(f);
    assert_int_equal(world_start(&w), 0);
    assert_true(world_logged(&w, "not an ELF file"));
    world_fini(&w);
}

static void damaged_descriptors_are_refused(void **state)
{
    (void)state;
    refused("bad-magic.so", "wrong magic number");
    refused("short-size.so", "size of 24 bytes");
    refused("other-id.so", "manifest and its descriptor differ");
    refused("null-table.so", "NULL in it");
    refused("no-provides.so", "list of interfaces is damaged");
    refused("single-shared.so", "SINGLE and SHARED");
}

static void a_plugin_that_may_block_is_refused_inline(void **state)
{
    (void)state;
    refused("may-block.so", "it may block: set run: worker in its block");
}

static void unstable_interfaces_need_the_operators_leave(void **state)
{
    struct config_plugin b;
    struct world w;

    (void)state;
    refused("unstable.so", "allow_unstable: true");
    world_init(&w, 1);
    world_link(&w, "unstable.so", "thing.so");
    b = block(&w, "thing");
    b.allow_unstable = true;
    with_block(&w, &b);
    assert_int_equal(world_start(&w), 0);
    world_fini(&w);
}

static void a_deprecated_member_is_said_once_and_shown(void **state)
{
    static const struct deprecated_member rows[] = {
        { PIGEON_IF_AUTH, offsetof(pigeon_auth, authenticate), "authenticate", "use login" },
        { PIGEON_IF_AUTH, sizeof(pigeon_auth), "beyond", "use nothing" },
        { PIGEON_IF_BUS, offsetof(pigeon_bus, open), "open", "use nothing" },
        { "", offsetof(pigeon_plugin, create), "create", "use make" },
        { NULL, 0, NULL, NULL },
    };
    struct world w;
    char *shown = NULL;
    size_t size;
    FILE *out;

    (void)state;
    world_init(&w, 4);
    world_link(&w, "p0.so", "thing.so");
    world_link(&w, "good.so", "modest.so"); /* has none of them */
    w.deprecated = rows;
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(world_count(&w, "plugin_deprecated"), 1);
    assert_true(world_logged(&w, "pigeon.auth/1: authenticate, pigeon_plugin: create"));
    assert_true(world_logged(&w, "use login; use make"));
    out = open_memstream(&shown, &size);
    hooks_print(w.hooks, out);
    fclose(out);
    assert_non_null(strstr(shown, "thing: taken (deprecated: pigeon.auth/1: authenticate,"));
    assert_non_null(strstr(shown, "modest: taken, "));
    free(shown);
    world_fini(&w);
}

static void nothing_is_deprecated_in_this_abi(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "thing.so");
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(world_count(&w, "plugin_deprecated"), 0);
    world_fini(&w);
}

static void an_unknown_interface_is_ignored_with_one_line(void **state)
{
    struct config_plugin b;
    struct world w;

    (void)state;
    world_init(&w, 4);
    world_link(&w, "unknown.so", "thing.so");
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(w.hooks->n_plugins, 1);
    assert_int_equal(world_count(&w, "plugin_interface_unknown"), 1);
    assert_true(world_logged(&w, "org.example.thing/1"));
    world_fini(&w);
    world_init(&w, 4);
    world_link(&w, "unstable.so", "thing.so");
    b = block(&w, "thing");
    b.allow_unstable = true;
    with_block(&w, &b);
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(world_count(&w, "plugin_interface_unknown"), 1);
    world_fini(&w);
}

static void failing_check_create_and_options_stop_the_start(void **state)
{
    (void)state;
    refused("check-fails.so", "colour: there is none");
    refused("create-fails.so", "create failed");
    refused("needs-option.so", "needed");
}

static void an_executable_stack_is_refused(void **state)
{
    (void)state;
    refused("exec-stack.so", "executable stack");
}

static void cut_off_files_are_refused_or_ignored_and_never_crash(void **state)
{
    static const off_t sizes[] = { 0, 3, 16, 63, 64, 100, 500, 568, 600, 700, 4096, 8192 };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char path[PATH_MAX + 16], reason[1024];
        struct plugin_file file;
        struct world w;
        int r;

        world_init(&w, 1);
        world_copy(&w, "good.so", "thing.so", 0644);
        snprintf(path, sizeof(path), "%s/thing.so", w.dir);
        assert_int_equal(truncate(path, sizes[i]), 0);
        r = plugin_file_judge(path, &file, reason, sizeof(reason));
        assert_true(r == -EINVAL || r == PLUGIN_FILE_FOREIGN);
        plugin_file_fini(&file);
        world_fini(&w);
    }
}

static void files_with_flipped_bytes_never_crash_the_judge(void **state)
{
    uint64_t seed = 88172645463325252u;
    struct world w;

    (void)state;
    world_init(&w, 1);
    for (int round = 0; round < 300; round++) {
        char path[PATH_MAX + 16], reason[1024];
        struct plugin_file file;
        int fd;

        world_copy(&w, "good.so", "thing.so", 0644);
        snprintf(path, sizeof(path), "%s/thing.so", w.dir);
        fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        for (int k = 0; k < 8; k++) {
            uint8_t byte = (uint8_t)unit_random(&seed);

            assert_int_equal(pwrite(fd, &byte, 1, (off_t)(unit_random(&seed) % 1024)), 1);
        }
        close(fd);
        plugin_file_judge(path, &file, reason, sizeof(reason));
        plugin_file_fini(&file);
    }
    world_fini(&w);
}

static void a_file_that_everybody_may_write_is_refused(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_copy(&w, "good.so", "thing.so", 0646);
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "writable by everybody"));
    world_fini(&w);
}

static void a_directory_that_everybody_may_write_is_refused(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_copy(&w, "good.so", "thing.so", 0644);
    assert_int_equal(chmod(w.dir, 0777), 0);
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "writable by everybody"));
    world_fini(&w);
}

static void a_link_from_a_directory_that_everybody_may_write_is_refused(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "good.so", "thing.so");
    assert_int_equal(chmod(w.dir, 0777), 0);
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "writable by everybody"));
    world_fini(&w);
}

static void the_same_id_twice_is_refused(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "good.so", "10-one.so");
    world_copy(&w, "good.so", "20-two.so", 0644);
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "its id org.pigeon-mqtt.test.broken is that of"));
    world_fini(&w);
}

static void enabled_false_keeps_out_even_what_would_be_refused(void **state)
{
    struct config_plugin b;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "bad-magic.so", "thing.so");
    b = block(&w, "thing");
    b.enabled = false;
    with_block(&w, &b);
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(w.hooks->n_plugins, 0);
    world_fini(&w);
}

static void a_block_without_a_file_stops_the_start(void **state)
{
    struct config_plugin b;
    struct world w;

    (void)state;
    world_init(&w, 1);
    b = block(&w, "thing");
    with_block(&w, &b);
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "no file of this name"));
    world_fini(&w);
}

static void a_block_may_name_its_file(void **state)
{
    struct config_plugin b;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "good.so", "odd_name.so");
    b = block(&w, "thing");
    b.file = "odd_name.so";
    with_block(&w, &b);
    assert_int_equal(world_start(&w), 0);
    assert_string_equal(w.hooks->plugins[0].name, "thing");
    world_fini(&w);
}

static void a_plugin_on_demand_waits_to_be_named(void **state)
{
    struct config_plugin b;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "on-demand.so", "thing.so");
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(w.hooks->n_plugins, 0);
    world_fini(&w);
    world_init(&w, 1);
    world_link(&w, "on-demand.so", "thing.so");
    b = block(&w, "thing");
    with_block(&w, &b);
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(w.hooks->n_plugins, 1);
    world_fini(&w);
}

static void a_named_store_must_be_there(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    w.config->persistence = "nowhere";
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "persistence"));
    world_fini(&w);
}

static void an_unknown_plugin_in_a_chain_stops_the_start(void **state)
{
    struct config_chain_entry entry = { .plugin = "nobody" };
    struct world w;

    (void)state;
    world_init(&w, 1);
    w.config->chains.of[CONFIG_AUTHENTICATE] =
        (struct config_chain){ .written = true, .entries = &entry, .n_entries = 1 };
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "no such plugin"));
    world_fini(&w);
}

static void a_deciding_plugin_that_a_written_chain_forgets_stops_the_start(void **state)
{
    struct config_chain_entry entry = { .plugin = "p0" };
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p0.so");
    world_link(&w, "p1.so", "p1.so");
    w.config->chains.of[CONFIG_AUTHENTICATE] =
        (struct config_chain){ .written = true, .entries = &entry, .n_entries = 1 };
    assert_int_equal(world_start(&w), -EINVAL);
    assert_true(world_logged(&w, "add it to the chain, or set enabled: false"));
    world_fini(&w);
}

static void the_report_shows_files_and_chains(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "10-p0.so");
    world_link(&w, "no-note.so", "lib.so");
    assert_int_equal(world_start(&w), 0);
    hooks_print(w.hooks, out);
    fclose(out);
    assert_non_null(strstr(text, "p0: taken"));
    assert_non_null(strstr(text, "lib: ignored"));
    assert_non_null(strstr(text, "authenticate: p0(decide, inline, 5s, deny) -> DENY"));
    assert_non_null(strstr(text, "inbound: p0(decide, inline, 2s, deny) -> GO ON"));
    assert_non_null(strstr(text, "events: p0"));
    free(text);
    world_fini(&w);
}

static void out_of_memory_at_the_start_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    for (uint32_t n = 0;; n++) {
        struct world w;
        bool failed;
        int r;

        world_init(&w, 1);
        world_link(&w, "p0.so", "p0.so");
        failalloc_after(n);
        r = world_start(&w);
        failed = failalloc_disarm();
        assert_true(failed || r == 0);
        world_fini(&w);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_that_is_dropped_in_takes_part),
        cmocka_unit_test(files_are_taken_in_the_order_of_their_names),
        cmocka_unit_test(a_file_without_a_note_is_ignored),
        cmocka_unit_test(a_file_without_a_note_that_the_configuration_names_stops_the_start),
        cmocka_unit_test(a_text_file_is_ignored),
        cmocka_unit_test(damaged_descriptors_are_refused),
        cmocka_unit_test(a_plugin_that_may_block_is_refused_inline),
        cmocka_unit_test(unstable_interfaces_need_the_operators_leave),
        cmocka_unit_test(an_unknown_interface_is_ignored_with_one_line),
        cmocka_unit_test(a_deprecated_member_is_said_once_and_shown),
        cmocka_unit_test(nothing_is_deprecated_in_this_abi),
        cmocka_unit_test(failing_check_create_and_options_stop_the_start),
        cmocka_unit_test(an_executable_stack_is_refused),
        cmocka_unit_test(cut_off_files_are_refused_or_ignored_and_never_crash),
        cmocka_unit_test(files_with_flipped_bytes_never_crash_the_judge),
        cmocka_unit_test(a_file_that_everybody_may_write_is_refused),
        cmocka_unit_test(a_directory_that_everybody_may_write_is_refused),
        cmocka_unit_test(a_link_from_a_directory_that_everybody_may_write_is_refused),
        cmocka_unit_test(the_same_id_twice_is_refused),
        cmocka_unit_test(enabled_false_keeps_out_even_what_would_be_refused),
        cmocka_unit_test(a_block_without_a_file_stops_the_start),
        cmocka_unit_test(a_block_may_name_its_file),
        cmocka_unit_test(a_plugin_on_demand_waits_to_be_named),
        cmocka_unit_test(a_named_store_must_be_there),
        cmocka_unit_test(an_unknown_plugin_in_a_chain_stops_the_start),
        cmocka_unit_test(a_deciding_plugin_that_a_written_chain_forgets_stops_the_start),
        cmocka_unit_test(the_report_shows_files_and_chains),
        cmocka_unit_test(out_of_memory_at_the_start_is_reported_and_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
