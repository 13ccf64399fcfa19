/* Unit tests of @name@: no broker, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pigeon-mock/mock.h>

static const char *file; /* the plugin */

static void status_counts_its_calls(void **state)
{
    pigeon_mock *m = pigeon_mock_new();
    pigeon_mock_ask *ask;

    (void)state;
    if (pigeon_mock_load(m, file) != PIGEON_OK || pigeon_mock_create(m) != PIGEON_OK)
        fail_msg("%s", pigeon_mock_error(m));
    pigeon_mock_command(m, "status", "{}");
    ask = pigeon_mock_command(m, "status", "{}");
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_OK);
    assert_string_equal(pigeon_mock_text(ask, PIGEON_MOCK_REPLY), "{\"calls\":2}");
    ask = pigeon_mock_command(m, "nonsense", "{}");
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_E_NOTSUP);
    pigeon_mock_finish(m);
    assert_int_equal(pigeon_mock_complaints(m), 0);
    pigeon_mock_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(status_counts_its_calls) };

    file = argc > 1 ? argv[1] : "./@name@.so";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
