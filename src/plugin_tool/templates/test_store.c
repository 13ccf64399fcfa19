/* Unit tests of @name@: no broker, no network. The whole contract of a store is tested by
 * `pigeon-plugin check --store @name@.so`. */
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

/* One unit of n ops: its status. */
static int32_t submit(pigeon_mock *m, const pigeon_op *ops, uint32_t n)
{
    pigeon_unit unit = { .size = sizeof(unit), .nops = n };
    pigeon_batch batch = { .size = sizeof(batch),
                           .nunits = 1,
                           .unit_stride = sizeof(unit),
                           .nops = n,
                           .op_stride = sizeof(ops[0]) };

    batch.units = &unit;
    batch.ops = ops;
    return pigeon_mock_unit_status(pigeon_mock_submit(m, &batch), 0);
}

static uint32_t count(pigeon_mock *m)
{
    pigeon_scan scan = { .size = sizeof(scan), .what = PIGEON_SCAN_RETAINED };

    return pigeon_mock_rows(pigeon_mock_scan(m, &scan, NULL, NULL));
}

static void retained_messages_are_kept_and_deleted(void **state)
{
    pigeon_mock *m = start();
    pigeon_op put = { .size = sizeof(put), .kind = PIGEON_OP_RETAIN_PUT };
    pigeon_op del = { .size = sizeof(del), .kind = PIGEON_OP_RETAIN_DEL };

    (void)state;
    put.key = del.key = pigeon_z("a/b");
    put.msg = pigeon_mock_msg(m, "a/b", "hello");
    assert_int_equal(submit(m, &put, 1), PIGEON_OK);
    assert_int_equal(submit(m, &put, 1), PIGEON_OK);
    assert_int_equal(count(m), 1);
    assert_int_equal(submit(m, &del, 1), PIGEON_OK);
    assert_int_equal(count(m), 0);
    stop(m);
}

static void a_unit_that_fails_changes_nothing(void **state)
{
    pigeon_mock *m = start();
    pigeon_op ops[2] = { { .size = sizeof(ops[0]), .kind = PIGEON_OP_RETAIN_PUT },
                         { .size = sizeof(ops[0]), .kind = 999 } };

    (void)state;
    ops[0].key = pigeon_z("a/b");
    ops[0].msg = pigeon_mock_msg(m, "a/b", "hello");
    assert_int_equal(submit(m, ops, 2), PIGEON_E_NOTSUP);
    assert_int_equal(count(m), 0);
    stop(m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retained_messages_are_kept_and_deleted),
        cmocka_unit_test(a_unit_that_fails_changes_nothing),
    };

    file = argc > 1 ? argv[1] : "./@name@.so";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
