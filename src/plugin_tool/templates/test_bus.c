/* Unit tests of @name@: no broker, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pigeon-mock/mock.h>

static const char *file; /* the plugin */

static void what_is_sent_arrives(void **state)
{
    pigeon_mock *m = pigeon_mock_new();
    pigeon_parcel parcel = { .size = sizeof(parcel), .from = 1, .link_seq = 1 };

    (void)state;
    if (pigeon_mock_load(m, file) != PIGEON_OK || pigeon_mock_create(m) != PIGEON_OK)
        fail_msg("%s", pigeon_mock_error(m));
    assert_int_equal(pigeon_mock_verdict(pigeon_mock_bus_open(m, 1, 65536)), PIGEON_OK);
    assert_true(pigeon_mock_bus_is_up(m));
    parcel.body = pigeon_data("hello", 5);
    assert_int_equal(pigeon_mock_verdict(pigeon_mock_bus_send(m, &parcel)), PIGEON_OK);
    assert_int_equal(pigeon_mock_did_count(m, PIGEON_MOCK_DID_DELIVER), 1);
    pigeon_mock_finish(m);
    assert_int_equal(pigeon_mock_complaints(m), 0);
    pigeon_mock_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_sent_arrives) };

    file = argc > 1 ? argv[1] : "./@name@.so";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
