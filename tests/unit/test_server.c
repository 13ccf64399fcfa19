/* The parts of the program that need no broker: the node's name, listeners of a reload, and loops
 * that stand still together. */
#include "config_support.h"
#include "net/loop.h"
#include "pigeond/memory.h"
#include "pigeond/node_id.h"
#include "pigeond/standstill.h"
#include <limits.h>
#include <stdatomic.h>

/* ---- node id -------------------------------------------------------------------------------- */

static void check_id(const char *override, int result, char r_id[NODE_ID_MAX + 1])
{
    struct config *config = good_with(override);
    assert_int_equal(node_id_read(config, NULL, r_id), result);
    config_unref(&config);
}

static void a_written_name_is_used_and_not_kept(void **state)
{
    char id[NODE_ID_MAX + 1];
    struct stat st;
    (void)state;
    struct config *config = good("id: node-7\nstate_dir: named\n");
    assert_int_equal(node_id_read(config, NULL, id), 0);
    config_unref(&config);
    assert_string_equal(id, "node-7");
    assert_int_equal(stat("named", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat("named/node-id", &st), -1);
}

static void a_name_is_made_once_and_read_again(void **state)
{
    char first[NODE_ID_MAX + 1], again[NODE_ID_MAX + 1];
    struct stat st;
    (void)state;
    check_id("state_dir=made", 0, first);
    check_id("state_dir=made", 0, again);
    assert_int_equal(strlen(first), 16);
    assert_string_equal(first, again);
    assert_int_equal(stat("made/node-id", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat("made/node-id.new", &st), -1);
}

static void without_a_directory_every_name_is_new(void **state)
{
    char first[NODE_ID_MAX + 1], again[NODE_ID_MAX + 1];
    (void)state;
    check_id("threads=1", 0, first);
    check_id("threads=1", 0, again);
    assert_string_not_equal(first, again);
}

static void a_damaged_name_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "\n", "two words\n", "a/b\n", "a+\n", "#\n", "a\nb\n"
    };
    char id[NODE_ID_MAX + 1], text[NODE_ID_MAX + 3];
    (void)state;
    assert_int_equal(mkdir("damaged", 0700), 0);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file("damaged/node-id", texts[i]);
        check_id("state_dir=damaged", -EINVAL, id);
    }
    memset(text, 'x', sizeof(text));
    text[NODE_ID_MAX + 1] = 0;
    write_file("damaged/node-id", text);
    check_id("state_dir=damaged", -EINVAL, id);
    text[NODE_ID_MAX] = 0;
    write_file("damaged/node-id", text);
    check_id("state_dir=damaged", 0, id);
    assert_string_equal(id, text);
}

static void a_directory_that_cannot_be_is_refused(void **state)
{
    char id[NODE_ID_MAX + 1];
    (void)state;
    check_id("state_dir=not/there", -ENOENT, id);
    write_file("file", "");
    check_id("state_dir=file", -ENOTDIR, id);
}

/* ---- memory --------------------------------------------------------------------------------- */

static void the_limit_of_memory_is_the_written_one_or_less_than_the_machine(void **state)
{
    (void)state;
    struct config *config = good_with("limits.memory=64M");
    assert_int_equal(memory_limit(config), 64 << 20);
    config_unref(&config);
    config = good_with("limits.memory=0");
    assert_int_equal(memory_limit(config), 0);
    config_unref(&config);
    config = good_with("limits.memory=auto");
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    assert_in_range(memory_limit(config), 1, machine / 4 * 3);
    config_unref(&config);
    assert_in_range(memory_used(0), 1, machine);
}

/* ---- standstill ----------------------------------------------------------------------------- */

#define LOOPS 3u

struct still {
    struct loop_group *loops;
    _Atomic uint32_t moves[LOOPS];
    _Atomic int may_move;
    _Atomic uint32_t n_wrong; /* moves that must not be */
    _Atomic uint32_t is_due[LOOPS]; /* the loop has to run `then` before it moves again */
    _Atomic uint32_t n_then;
    uint32_t n_calls;
};

static bool on_round(void *ctx)
{
    struct still *still = ctx;
    struct loop *me = loop_current();
    if (!atomic_load(&still->may_move) || atomic_load(&still->is_due[loop_index(me)]))
        atomic_fetch_add(&still->n_wrong, 1);
    atomic_fetch_add(&still->moves[loop_index(me)], 1);
    loop_again(me);
    return false;
}

static void while_all_stand(void *ctx)
{
    struct still *still = ctx;
    atomic_store(&still->may_move, 0);
    still->n_calls++;
    for (volatile int i = 0; i < 1000000; i++)
        ; /* time for a loop that does not stand still to be seen */
    for (uint32_t i = 1; i < LOOPS; i++)
        atomic_store(&still->is_due[i], 1);
    atomic_store(&still->may_move, 1);
}

/* Both other loops go on. */
static void wait_for_moves(struct still *still)
{
    for (uint32_t i = 1; i < LOOPS; i++)
        for (uint32_t n = atomic_load(&still->moves[i]); atomic_load(&still->moves[i]) == n;)
            ;
}

static void before_it_goes_on(void *ctx, struct loop *here)
{
    struct still *still = ctx;
    if (loop_current() ? loop_current() != here : loop_index(here) != 0)
        atomic_fetch_add(&still->n_wrong, 1);
    if (loop_index(here) == 0)
        wait_for_moves(still); /* the others do not wait for what loop 0 does then */
    atomic_store(&still->is_due[loop_index(here)], 0);
    atomic_fetch_add(&still->n_then, 1);
}

static void no_loop_moves_during_a_standstill_nor_before_its_part_of_it(void **state)
{
    static const struct loop_ops ops = { .turn_round = on_round };
    struct loop_conf conf = { .n_loops = LOOPS };
    struct still still = { 0 };
    uint32_t n_failed = 0;
    (void)state;
    atomic_store(&still.may_move, 1);
    assert_int_equal(loop_group_new(&conf, &still.loops), 0);
    for (uint32_t i = 0; i < LOOPS; i++)
        loop_set_ops(loop_group_at(still.loops, i), &ops, &still);
    assert_int_equal(loop_start_threads(still.loops), 0);
    for (uint32_t i = 0; i < 30; i++) {
        wait_for_moves(&still);
        n_failed += standstill_run(still.loops, while_all_stand, before_it_goes_on, &still) != 0;
    }
    loop_group_stop(still.loops);
    loop_join(still.loops);
    loop_group_free(&still.loops);
    assert_int_equal(n_failed, 0);
    assert_int_equal(still.n_calls, 30);
    assert_int_equal(atomic_load(&still.n_then), 30 * LOOPS);
    assert_int_equal(atomic_load(&still.n_wrong), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_name_is_used_and_not_kept),
        cmocka_unit_test(a_name_is_made_once_and_read_again),
        cmocka_unit_test(without_a_directory_every_name_is_new),
        cmocka_unit_test(a_damaged_name_is_refused),
        cmocka_unit_test(a_directory_that_cannot_be_is_refused),
        cmocka_unit_test(the_limit_of_memory_is_the_written_one_or_less_than_the_machine),
        cmocka_unit_test(no_loop_moves_during_a_standstill_nor_before_its_part_of_it),
    };
    return cmocka_run_group_tests(tests, in_a_directory, out_of_the_directory);
}
