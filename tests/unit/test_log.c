#include "base/log.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The log writes to a pipe; what came out is read without waiting. */
struct bench {
    struct log *log;
    int in, out;
    char text[70000];
};

/* The clock has no argument to carry its state. */
static uint64_t fake_ms;

static uint64_t fake_clock(void)
{
    return fake_ms;
}

static struct bench *bench_new(enum log_format format, bool timestamps)
{
    struct bench *b = calloc(1, sizeof(*b));
    int fd[2];
    assert_non_null(b);
    assert_int_equal(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
    b->in = fd[1];
    b->out = fd[0];
    assert_int_equal(log_new(b->in, LOG_DEBUG, format, timestamps, &b->log), 0);
    fake_ms = UINT64_C(1795510502123); /* 2026-11-24T08:55:02.123Z */
    log_set_clock(b->log, fake_clock);
    return b;
}

static void bench_free(struct bench *b)
{
    log_free(&b->log);
    assert_null(b->log);
    close(b->in);
    close(b->out);
    free(b);
}

static const char *written(struct bench *b)
{
    ssize_t n = read(b->out, b->text, sizeof(b->text) - 1);
    b->text[n < 0 ? 0 : n] = '\0';
    return b->text;
}

static unsigned count_lines(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void a_text_line_has_time_level_event_and_fields(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, true);
    log_info(b->log, "client_connected", LS("client", STR("abc")), LU("keepalive", 60));
    assert_string_equal(written(b), "2026-11-24T08:55:02.123Z INFO client_connected client=abc "
                                    "keepalive=60\n");
    bench_free(b);
}

static void without_timestamps_a_line_begins_with_the_level(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    log_error(b->log, "store_failed", LI("error", -28));
    log_warn(b->log, "queue_full");
    log_debug(b->log, "packet", LZ("type", "PINGREQ"));
    assert_string_equal(written(b), "ERROR store_failed error=-28\nWARN queue_full\n"
                                    "DEBUG packet type=PINGREQ\n");
    bench_free(b);
}

static void a_json_line_is_one_object_with_ts_level_event_and_fields(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_JSON, true);
    log_info(b->log, "client_connected", LS("client", STR("abc")), LU("keepalive", 60));
    assert_string_equal(written(b),
                        "{\"ts\":\"2026-11-24T08:55:02.123Z\",\"level\":\"INFO\","
                        "\"event\":\"client_connected\",\"client\":\"abc\",\"keepalive\":60}\n");
    bench_free(b);
    b = bench_new(LOG_JSON, false);
    log_warn(b->log, "bare");
    assert_string_equal(written(b), "{\"level\":\"WARN\",\"event\":\"bare\"}\n");
    bench_free(b);
}

static void numbers_keep_their_full_range(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    log_info(b->log, "n", LI("min", INT64_MIN), LI("max", INT64_MAX), LU("umax", UINT64_MAX));
    assert_string_equal(written(b), "INFO n min=-9223372036854775808 max=9223372036854775807 "
                                    "umax=18446744073709551615\n");
    bench_free(b);
}

static void values_that_could_be_misread_are_quoted_and_escaped(void **state)
{
    (void)state;
    static const struct {
        struct str value;
        const char *text, *json;
    } row[] = {
        { { "", 0 }, "\"\"", "\"\"" },
        { { NULL, 0 }, "\"\"", "\"\"" },
        { { "a/b-c.d:1", 9 }, "a/b-c.d:1", "\"a/b-c.d:1\"" },
        { { "gr\xc3\xbc\xc3\x9f", 6 }, "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"" },
        { { "a b", 3 }, "\"a b\"", "\"a b\"" },
        { { "a=b", 3 }, "\"a=b\"", "\"a=b\"" },
        { { "a\"b", 3 }, "\"a\\\"b\"", "\"a\\\"b\"" },
        { { "a\\b", 3 }, "\"a\\\\b\"", "\"a\\\\b\"" },
        { { "a\nb", 3 }, "\"a\\nb\"", "\"a\\nb\"" },
        { { "a\0b", 3 }, "\"a\\u0000b\"", "\"a\\u0000b\"" },
        { { "\x1b[31m", 5 }, "\"\\u001b[31m\"", "\"\\u001b[31m\"" },
        { { "\x7f", 1 }, "\"\\u007f\"", "\"\\u007f\"" },
        { { "\xc2\x9b", 2 }, "\"\\u009b\"", "\"\\u009b\"" },
        { { "\xe2\x80\xa8", 3 }, "\"\\u2028\"", "\"\\u2028\"" },
        { { "a\xff"
            "b",
            3 },
          "\"a\\xffb\"",
          "\"a\\ufffdb\"" },
        { { "\xe2\x82", 2 }, "\"\\xe2\\x82\"", "\"\\ufffd\\ufffd\"" },
    };
    struct bench *text = bench_new(LOG_TEXT, false), *json = bench_new(LOG_JSON, false);
    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        char expected[200];
        log_info(text->log, "e", LS("v", row[i].value));
        snprintf(expected, sizeof(expected), "INFO e v=%s\n", row[i].text);
        assert_string_equal(written(text), expected);
        log_info(json->log, "e", LS("v", row[i].value));
        snprintf(expected, sizeof(expected), "{\"level\":\"INFO\",\"event\":\"e\",\"v\":%s}\n",
                 row[i].json);
        assert_string_equal(written(json), expected);
    }
    bench_free(text);
    bench_free(json);
}

static void no_value_can_add_a_line(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    uint64_t seed = 9;
    for (unsigned i = 0; i < 2000; i++) {
        char value[64];
        size_t len = unit_random(&seed) % sizeof(value);
        for (size_t j = 0; j < len; j++)
            value[j] = (char)unit_random(&seed);
        log_info(b->log, "e", LS("v", str_make(value, len)), LI("end", 1));
        const char *line = written(b);
        assert_int_equal(count_lines(line), 1);
        assert_non_null(strstr(line, " end=1\n"));
    }
    bench_free(b);
}

static void a_line_never_exceeds_4096_bytes_and_says_what_is_missing(void **state)
{
    (void)state;
    char *value = malloc(65535);
    for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        for (unsigned byte = 'a'; byte < 256; byte += 'e') { /* bare, and two that are escaped */
            struct bench *b = bench_new(format, true);
            memset(value, (int)byte, 65535);
            struct str s = str_make(value, 65535);
            log_info(b->log, "big", LS("a", s), LS("b", s), LS("c", s), LS("d", s), LS("e", s),
                     LI("last", 7));
            const char *line = written(b);
            assert_true(strlen(line) <= 4096 && strlen(line) > 3000);
            assert_int_equal(count_lines(line), 1);
            assert_non_null(strstr(line, "...\""));
            assert_non_null(strstr(line, format == LOG_JSON ? "\"last\":7" : " last=7"));
            assert_non_null(
                strstr(line, format == LOG_JSON ? ",\"truncated\":1}\n" : " truncated=1\n"));
            bench_free(b);
        }
    }
    free(value);
}

static void names_with_odd_characters_are_made_harmless(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_JSON, false);
    log_info(b->log, "odd \"name\"", LI("a b", 1));
    assert_string_equal(written(b), "{\"level\":\"INFO\",\"event\":\"odd__name_\",\"a_b\":1}\n");
    bench_free(b);
}

static void only_wanted_levels_are_written(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    log_set_level(b->log, LOG_WARN);
    assert_true(log_wants(b->log, LOG_ERROR));
    assert_true(log_wants(b->log, LOG_WARN));
    assert_false(log_wants(b->log, LOG_INFO));
    log_info(b->log, "quiet");
    log_emit(b->log, LOG_INFO, "quiet", NULL);
    log_warn(b->log, "loud");
    assert_string_equal(written(b), "WARN loud\n");
    log_set_level(b->log, LOG_DEBUG);
    log_emit(b->log, LOG_DEBUG, "now", NULL);
    assert_string_equal(written(b), "DEBUG now\n");
    bench_free(b);
}

static void no_log_swallows_everything(void **state)
{
    (void)state;
    assert_false(log_wants(NULL, LOG_ERROR));
    log_error(NULL, "nowhere", LI("n", 1));
    log_emit(NULL, LOG_ERROR, "nowhere", NULL);
}

static void lines_of_one_name_are_limited_and_the_rest_is_counted(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    log_set_rate(b->log, 3);
    for (unsigned second = 0; second < 3; second++) {
        for (unsigned i = 0; i < 10; i++)
            log_info(b->log, "burst", LU("i", i));
        log_info(b->log, "other");
        assert_string_equal(written(b), second ? "INFO burst i=0 suppressed=7\nINFO burst i=1\n"
                                                 "INFO burst i=2\nINFO other\n"
                                               : "INFO burst i=0\nINFO burst i=1\n"
                                                 "INFO burst i=2\nINFO other\n");
        fake_ms += 1000;
    }
    bench_free(b);
}

static void a_clock_that_goes_back_does_not_silence_a_name(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    log_set_rate(b->log, 1);
    log_info(b->log, "e");
    fake_ms -= 3600 * 1000;
    log_info(b->log, "e");
    assert_int_equal(count_lines(written(b)), 2);
    bench_free(b);
}

static void without_a_limit_everything_is_written(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    for (unsigned i = 0; i < 1000; i++)
        log_info(b->log, "e");
    assert_int_equal(count_lines(written(b)), 1000);
    bench_free(b);
}

static void more_names_than_the_limiter_holds_are_written_unlimited(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    static char name[400][8];
    log_set_rate(b->log, 1);
    for (unsigned i = 0; i < 400; i++)
        snprintf(name[i], sizeof(name[i]), "e%u", i);
    for (unsigned i = 0; i < 400; i++)
        log_emit(b->log, LOG_INFO, name[i], NULL);
    assert_int_equal(count_lines(written(b)), 400);
    for (unsigned i = 0; i < 400; i++)
        log_emit(b->log, LOG_INFO, name[i], NULL);
    assert_int_equal(count_lines(written(b)), 400 - 256);
    bench_free(b);
}

static void lines_the_descriptor_refuses_are_counted_in_the_next_one(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_TEXT, false);
    char filler[4096];
    memset(filler, 'x', sizeof(filler));
    while (write(b->in, filler, sizeof(filler)) > 0)
        ;
    errno = EDOM;
    log_info(b->log, "one");
    log_info(b->log, "two");
    assert_int_equal(errno, EDOM);
    while (read(b->out, b->text, sizeof(b->text)) > 0)
        ;
    log_info(b->log, "three", LI("n", 3));
    log_info(b->log, "four");
    assert_string_equal(written(b), "INFO three n=3 lost=2\nINFO four\n");
    bench_free(b);
}

static void without_memory_there_is_no_log_and_no_leak(void **state)
{
    (void)state;
    int64_t n_live = failalloc_n_live();
    struct log *log = NULL;
    failalloc_after(0);
    assert_int_equal(log_new(2, LOG_INFO, LOG_TEXT, true, &log), -ENOMEM);
    assert_true(failalloc_disarm());
    assert_null(log);
    assert_int_equal(failalloc_n_live(), n_live);
    log_free(&log);
}

static void a_line_is_written_without_any_allocation(void **state)
{
    (void)state;
    struct bench *b = bench_new(LOG_JSON, true);
    log_set_rate(b->log, 1);
    failalloc_after(0);
    log_error(b->log, "out_of_memory", LZ("what", "a queue \xff"), LI("size", 1));
    log_error(b->log, "out_of_memory", LZ("what", "a queue \xff"), LI("size", 1));
    assert_false(failalloc_disarm());
    assert_int_equal(count_lines(written(b)), 1);
    bench_free(b);
}

#define N_THREADS 4
#define N_LINES   500

static void *thread_log(void *arg)
{
    struct log *log = arg;
    for (unsigned i = 0; i < N_LINES; i++) {
        log_info(log, "shared", LZ("v", "some value"), LU("i", i));
        log_debug(log, "maybe");
        log_set_level(log, i % 2 ? LOG_INFO : LOG_DEBUG);
        log_set_rate(log, i % 3 ? 1000000 : 0);
    }
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    struct log *log = NULL;
    FILE *file = tmpfile();
    pthread_t thread[N_THREADS];
    assert_non_null(file);
    assert_int_equal(log_new(fileno(file), LOG_INFO, LOG_TEXT, true, &log), 0);
    for (unsigned i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, thread_log, log), 0);
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(thread[i], NULL);
    log_free(&log);
    rewind(file);
    char line[200];
    unsigned n_shared = 0;
    while (fgets(line, sizeof(line), file)) {
        unsigned number;
        char end;
        if (strcmp(line + 24, " DEBUG maybe\n") == 0)
            continue;
        assert_int_equal(sscanf(line + 24, " INFO shared v=\"some value\" i=%u%c", &number, &end),
                         2);
        assert_int_equal(end, '\n');
        n_shared++;
    }
    assert_int_equal(n_shared, N_THREADS * N_LINES);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_time_level_event_and_fields),
        cmocka_unit_test(without_timestamps_a_line_begins_with_the_level),
        cmocka_unit_test(a_json_line_is_one_object_with_ts_level_event_and_fields),
        cmocka_unit_test(numbers_keep_their_full_range),
        cmocka_unit_test(values_that_could_be_misread_are_quoted_and_escaped),
        cmocka_unit_test(no_value_can_add_a_line),
        cmocka_unit_test(a_line_never_exceeds_4096_bytes_and_says_what_is_missing),
        cmocka_unit_test(names_with_odd_characters_are_made_harmless),
        cmocka_unit_test(only_wanted_levels_are_written),
        cmocka_unit_test(no_log_swallows_everything),
        cmocka_unit_test(lines_of_one_name_are_limited_and_the_rest_is_counted),
        cmocka_unit_test(a_clock_that_goes_back_does_not_silence_a_name),
        cmocka_unit_test(without_a_limit_everything_is_written),
        cmocka_unit_test(more_names_than_the_limiter_holds_are_written_unlimited),
        cmocka_unit_test(lines_the_descriptor_refuses_are_counted_in_the_next_one),
        cmocka_unit_test(without_memory_there_is_no_log_and_no_leak),
        cmocka_unit_test(a_line_is_written_without_any_allocation),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
