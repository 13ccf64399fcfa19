/* Unit tests of @name@: no broker, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pigeon-mock/mock.h>

static const char *file; /* the plugin */

static pigeon_mock *start(const char *max_payload)
{
    pigeon_mock *m = pigeon_mock_new();

    pigeon_mock_option(m, "max_payload", max_payload);
    if (pigeon_mock_load(m, file) != PIGEON_OK || pigeon_mock_create(m) != PIGEON_OK)
        fail_msg("%s", pigeon_mock_error(m));
    return m;
}

static void stop(pigeon_mock *m)
{
    pigeon_mock_finish(m);
    assert_int_equal(pigeon_mock_complaints(m), 0);
    pigeon_mock_free(&m);
}

static void large_messages_are_dropped_and_counted(void **state)
{
    pigeon_mock *m = start("4");
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);

    (void)state;
    assert_int_equal(pigeon_mock_verdict(pigeon_mock_inbound(c, "t", "1234")), PIGEON_NEXT);
    assert_int_equal(pigeon_mock_verdict(pigeon_mock_inbound(c, "t", "12345")), PIGEON_DENY);
    assert_int_equal(pigeon_mock_metric(m, "dropped"), 1);
    stop(m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(large_messages_are_dropped_and_counted) };

    file = argc > 1 ? argv[1] : "./@name@.so";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
