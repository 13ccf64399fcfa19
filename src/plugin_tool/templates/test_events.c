/* Unit tests of @name@: no broker, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pigeon-mock/mock.h>

static const char *file; /* the plugin */

static void clients_are_counted_and_logged(void **state)
{
    pigeon_mock *m = pigeon_mock_new();
    pigeon_client *bird;

    (void)state;
    if (pigeon_mock_load(m, file) != PIGEON_OK || pigeon_mock_create(m) != PIGEON_OK)
        fail_msg("%s", pigeon_mock_error(m));
    bird = pigeon_mock_client_view(pigeon_mock_client_new(m, "bird", NULL));
    PIGEON_MOCK_TELL(m, client, bird);
    PIGEON_MOCK_TELL(m, client_disconnect, bird, 0x8d, pigeon_z("keep alive"));
    assert_int_equal(pigeon_mock_metric(m, "seen"), 1);
    assert_true(pigeon_mock_logged(m, "bird came from 127.0.0.1"));
    assert_true(pigeon_mock_logged(m, "reason 0x8d"));
    pigeon_mock_finish(m);
    assert_int_equal(pigeon_mock_complaints(m), 0);
    pigeon_mock_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(clients_are_counted_and_logged) };

    file = argc > 1 ? argv[1] : "./@name@.so";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
