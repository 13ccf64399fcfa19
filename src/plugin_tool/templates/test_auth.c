/* Unit tests of @name@: no broker, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pigeon-mock/mock.h>

static const char *file; /* the plugin */

static pigeon_mock *start(void)
{
    pigeon_mock *m = pigeon_mock_new();

    pigeon_mock_option(m, "password", "secret");
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

static void who_knows_the_password_comes_in(void **state)
{
    pigeon_mock *m = start();
    pigeon_mock_client *alice = pigeon_mock_client_new(m, "bird", "alice");

    (void)state;
    assert_int_equal(pigeon_mock_verdict(pigeon_mock_authenticate(alice, "secret")), PIGEON_ALLOW);
    stop(m);
}

static void everybody_else_does_not(void **state)
{
    pigeon_mock *m = start();
    pigeon_mock_client *alice = pigeon_mock_client_new(m, "bird", "alice");
    pigeon_mock_ask *ask = pigeon_mock_authenticate(alice, "wrong");

    (void)state;
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_DENY);
    assert_int_equal(pigeon_mock_reason(ask), 0x86);
    stop(m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_knows_the_password_comes_in),
        cmocka_unit_test(everybody_else_does_not),
    };

    file = argc > 1 ? argv[1] : "./@name@.so";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
