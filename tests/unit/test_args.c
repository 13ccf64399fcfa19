#include "unit.h"
#include "pigeond/args.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PARSE(args, text, ...)                                                                   \
    parse((const char *const[]){ "pigeond", __VA_ARGS__ },                                       \
          (int)(sizeof((const char *const[]){ "pigeond", __VA_ARGS__ }) / sizeof(char *)), args, \
          text)

/* What was printed as the reason goes to `text`. */
static int parse(const char *const *words, int n, struct args *args, char text[200])
{
    char *argv[16] = { 0 };
    memcpy(argv, words, (size_t)n * sizeof(char *));
    FILE *err = fmemopen(text, 200, "w");
    assert_non_null(err);
    text[0] = '\0';
    int result = args_parse(n, argv, err, args);
    fclose(err);
    return result;
}

static void every_option_has_a_short_and_a_long_form(void **state)
{
    (void)state;
    struct args a, b;
    char text[200];
    assert_int_equal(PARSE(&a, text, "-c", "f", "-o", "a=b", "-p", "0", "-t"), 0);
    assert_int_equal(PARSE(&b, text, "--config=f", "--option", "a=b", "--port", "0", "--test"), 0);
    for (int i = 0; i < 2; i++) {
        const struct args *x = i ? &b : &a;
        assert_int_equal(x->n_files, 1);
        assert_string_equal(x->files[0], "f");
        assert_int_equal(x->n_options, 1);
        assert_string_equal(x->options[0], "a=b");
        assert_true(x->has_port && x->port == 0 && x->test);
        assert_false(x->version || x->help);
    }
    args_fini(&a);
    args_fini(&b);
    assert_int_equal(PARSE(&a, text, "-V"), 0);
    assert_true(a.version);
    args_fini(&a);
    assert_int_equal(PARSE(&a, text, "--version"), 0);
    assert_true(a.version);
    args_fini(&a);
    assert_int_equal(PARSE(&a, text, "--help", "nonsense"), 0);
    assert_true(a.help);
    args_fini(&a);
}

static void nothing_given_is_fine(void **state)
{
    (void)state;
    struct args a;
    char name[] = "pigeond", *argv[] = { name, NULL };
    assert_int_equal(args_parse(1, argv, stderr, &a), 0);
    assert_false(a.has_port || a.test || a.version || a.help || a.n_files || a.n_options);
    args_fini(&a);
}

static void files_and_options_keep_their_order(void **state)
{
    (void)state;
    struct args a;
    char text[200];
    assert_int_equal(PARSE(&a, text, "-o", "x=1", "-c", "a", "-ox=2", "-cb"), 0);
    assert_string_equal(a.files[0], "a");
    assert_string_equal(a.files[1], "b");
    assert_string_equal(a.options[0], "x=1");
    assert_string_equal(a.options[1], "x=2");
    args_fini(&a);
}

static void options_behind_version_count(void **state)
{
    (void)state;
    struct args a;
    char text[200];
    assert_int_equal(PARSE(&a, text, "-V", "-o", "plugins_dir=[a]", "-c", "f"), 0);
    assert_true(a.version);
    assert_int_equal(a.n_options, 1);
    assert_string_equal(a.options[0], "plugins_dir=[a]");
    assert_int_equal(a.n_files, 1);
    args_fini(&a);
}

static void refused(int result, const char *text, const char *expected)
{
    assert_int_equal(result, -EINVAL);
    assert_string_equal(text, expected);
}

static void what_is_not_understood_is_refused_with_its_name(void **state)
{
    (void)state;
    struct args a;
    char text[200];
    refused(PARSE(&a, text, "--prt", "3"), text,
            "pigeond: unknown option '--prt'\nTry 'pigeond --help'.\n");
    refused(PARSE(&a, text, "-x"), text, "pigeond: unknown option '-x'\nTry 'pigeond --help'.\n");
    refused(PARSE(&a, text, "-c"), text,
            "pigeond: a value is missing after '-c'\nTry 'pigeond --help'.\n");
    refused(PARSE(&a, text, "file"), text,
            "pigeond: unexpected argument 'file'\nTry 'pigeond --help'.\n");
    refused(PARSE(&a, text, "-p", "70000"), text,
            "pigeond: -p needs a port from 0 to 65535, not '70000'\nTry 'pigeond --help'.\n");
    refused(PARSE(&a, text, "-p", "1x"), text,
            "pigeond: -p needs a port from 0 to 65535, not '1x'\nTry 'pigeond --help'.\n");
    refused(PARSE(&a, text, "-o", "threads"), text,
            "pigeond: -o needs key=value, not 'threads'\nTry 'pigeond --help'.\n");
    refused(PARSE(&a, text, "--test=yes"), text,
            "pigeond: unknown option '--test=yes'\nTry 'pigeond --help'.\n");
}

static void help_names_every_option_and_exit_status(void **state)
{
    (void)state;
    char text[4000] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");
    args_help(out);
    fclose(out);
    static const char *const words[] = { "-c, --config", "-o, --option",  "-p, --port",
                                         "-t, --test",   "-V, --version", "-h, --help" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_non_null(strstr(text, words[i]));
    for (int code = EXIT_CODE_OK; code <= EXIT_CODE_STORE; code++) {
        char line[16];
        snprintf(line, sizeof(line), "\n  %d  ", code);
        assert_non_null(strstr(text, line));
    }
}

static void running_out_of_memory_is_told(void **state)
{
    (void)state;
    char name[] = "pigeond", test[] = "-t", *argv[] = { name, test, NULL };
    for (uint32_t i = 0; i < 2; i++) {
        struct args a;
        int64_t live = failalloc_n_live();
        failalloc_after(i);
        assert_int_equal(args_parse(2, argv, stderr, &a), -ENOMEM);
        assert_true(failalloc_disarm());
        assert_int_equal(failalloc_n_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_has_a_short_and_a_long_form),
        cmocka_unit_test(nothing_given_is_fine),
        cmocka_unit_test(files_and_options_keep_their_order),
        cmocka_unit_test(options_behind_version_count),
        cmocka_unit_test(what_is_not_understood_is_refused_with_its_name),
        cmocka_unit_test(help_names_every_option_and_exit_status),
        cmocka_unit_test(running_out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
