#include "net_support.h"
#include <malloc.h>

static void bytes_arrive_in_order_and_the_end_comes_last(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    far_send(&r, "hello ", 6);
    net_turns(r.loop, 1);
    far_send(&r, "world", 5);
    shutdown(r.far, SHUT_WR);
    net_turns(r.loop, 3);
    got_is(&r, "hello world");
    assert_int_equal(r.k.n_eof, 1);
    assert_int_equal(r.k.n_closed, 0);
    assert_int_equal(stream_bytes_in(r.k.s), 11);
    stream_write(r.k.s, "bye", 3); /* half closed: writing goes on */
    net_turns(r.loop, 1);
    uint8_t buf[8];
    assert_int_equal(far_read(r.far, buf, 3), 3);
    rig_fini(&r);
}

static void a_rest_is_kept_and_shown_again_with_more_behind_it(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.k.frame = 4;
    far_send(&r, "aaaabb", 6);
    net_turns(r.loop, 1);
    got_is(&r, "aaaa");
    assert_int_equal(stream_kept_bytes(r.k.s), 2);
    far_send(&r, "bbcccc", 6);
    net_turns(r.loop, 1);
    got_is(&r, "aaaabbbbcccc");
    assert_int_equal(r.k.shown_max, 8);
    assert_int_equal(stream_kept_bytes(r.k.s), 0);
    rig_fini(&r);
}

static void a_byte_at_a_time_makes_a_frame_of_any_size(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.k.frame = 6000; /* passes from the shared to the stream's own buffer */
    for (size_t i = 0; i < 12001; i++) {
        uint8_t b = pattern(i);
        far_send(&r, &b, 1);
        net_turns(r.loop, 1);
    }
    assert_int_equal(r.k.n_got, 12000);
    assert_true(is_pattern(r.k.got, 0, 12000));
    assert_int_equal(stream_kept_bytes(r.k.s), 1);
    rig_fini(&r);
}

static void a_large_frame_grows_the_buffer_with_what_has_come(void **state)
{
    (void)state;
    const size_t total = 1000000;
    struct rig r;
    uint8_t buf[10000];
    rig_init(&r, 1);
    r.k.frame = total;
    size_t before = mallinfo2().uordblks;
    size_t sent = 0;
    while (sent < total) {
        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = pattern(sent + i);
        far_send(&r, buf, sizeof(buf));
        sent += sizeof(buf);
        net_turns(r.loop, 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        if (sent < total)
            assert_true(mallinfo2().uordblks - before < 2 * sent + 32768);
#endif
    }
    (void)before;
    assert_int_equal(r.k.n_got, total);
    assert_true(is_pattern(r.k.got, 0, total));
    assert_int_equal(stream_kept_bytes(r.k.s), 0);
    rig_fini(&r);
}

static void a_stream_reads_no_more_than_its_budget_in_one_turn(void **state)
{
    (void)state;
    struct loop_conf conf = { .read_budget = 1000, .read_buffer = 16384 };
    struct rig r;
    uint8_t buf[2500] = { 0 };
    rig_init_conf(&r, &conf);
    far_send(&r, buf, sizeof(buf));
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_got, 1000);
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_got, 2000);
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_got, 2500);
    rig_fini(&r);
}

static void a_paused_stream_shows_nothing_and_resume_shows_the_rest_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.k.in_data = pause_me;
    far_send(&r, "abc", 3);
    net_turns(r.loop, 2);
    assert_int_equal(r.k.n_calls, 1);
    assert_int_equal(r.k.n_got, 0);
    far_send(&r, "def", 3);
    shutdown(r.far, SHUT_WR);
    net_turns(r.loop, 3);
    assert_int_equal(r.k.n_calls, 1);
    r.k.in_data = NULL;
    stream_resume(r.k.s);
    net_turns(r.loop, 1);
    assert_true(r.k.n_got >= 3); /* without new bytes from the socket */
    net_turns(r.loop, 2);
    got_is(&r, "abcdef");
    assert_int_equal(r.k.n_eof, 1);
    rig_fini(&r);
}

static void a_reset_is_told_as_closed_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    stream_write(r.k.s, "unread", 6);
    net_turns(r.loop, 1);
    close(r.far); /* with unread bytes: a reset */
    r.far = -1;
    net_turns(r.loop, 3);
    assert_int_equal(r.k.n_closed, 1);
    assert_int_equal(r.k.err, -ECONNRESET);
    rig_fini(&r);
}

static void what_the_peer_sent_before_it_went_is_read_although_writing_fails(void **state)
{
    (void)state;
    static uint8_t words[150000];
    struct rig r;
    rig_init(&r, 1);
    stream_pause(r.k.s);
    for (size_t i = 0; i < sizeof(words); i++)
        words[i] = pattern(i);
    far_send(&r, words, sizeof(words));
    close(r.far);
    r.far = -1;
    assert_int_equal(stream_write(r.k.s, "x", 1), 0);
    net_turns(r.loop, 2); /* EPIPE */
    assert_int_equal(r.k.n_closed, 0);
    assert_int_equal(stream_write(r.k.s, "x", 1), -EPIPE);
    stream_resume(r.k.s);
    while (r.k.n_closed == 0)
        loop_turn(r.loop, true); /* more than one turn's budget */
    assert_int_equal(r.k.n_got, sizeof(words));
    assert_true(is_pattern(r.k.got, 0, sizeof(words)));
    assert_int_equal(r.k.n_closed, 1);
    assert_int_equal(r.k.err, -EPIPE);
    assert_int_equal(r.k.n_eof, 0);
    rig_fini(&r);
}

static void what_is_written_in_a_turn_leaves_at_its_end_in_one_piece(void **state)
{
    (void)state;
    struct rig r;
    uint8_t buf[16];
    int fd[2];
    struct sink k = { 0 };
    rig_init(&r, 1);
    /* A datagram-like socket shows the number of system calls. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
    assert_int_equal(stream_new(fd[0], NULL, &k.s), 0);
    stream_attach(k.s, r.loop, &sink_ops, &k);
    stream_write(k.s, "ab", 2);
    memcpy(stream_reserve(k.s, 100), "cd", 2);
    stream_commit(k.s, 2);
    stream_write(k.s, "ef", 2);
    assert_int_equal(recv(fd[1], buf, sizeof(buf), MSG_DONTWAIT), -1);
    assert_int_equal(stream_queued_bytes(k.s), 6);
    net_turns(r.loop, 1);
    assert_int_equal(recv(fd[1], buf, sizeof(buf), MSG_DONTWAIT), 6);
    assert_memory_equal(buf, "abcdef", 6);
    assert_int_equal(stream_queued_bytes(k.s), 0);
    stream_abort(&k.s);
    close(fd[1]);
    rig_fini(&r);
}

struct payload {
    uint8_t *bytes;
    uint32_t n_released;
};

static void on_release(void *obj)
{
    struct payload *p = obj;
    p->n_released++;
    free(p->bytes); /* a second use is a finding of the sanitizer */
    p->bytes = NULL;
}

static void payload_init(struct payload *p, size_t from, size_t len)
{
    p->n_released = 0;
    p->bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        p->bytes[i] = pattern(from + i);
}

/* Copied and referenced pieces of many sizes, far more than the socket takes at once. */
static void everything_arrives_in_order_through_a_full_socket(void **state)
{
    (void)state;
    enum { N = 120 };
    static struct payload p[N];
    struct rig r;
    uint64_t seed = 42;
    size_t total = 0, seen = 0;
    uint8_t buf[5000];
    rig_init(&r, 1);
    for (int i = 0; i < N; i++) {
        size_t copied = 1 + unit_random(&seed) % 40;
        size_t referenced = 1 + unit_random(&seed) % 20000;
        write_pattern(&r, total, copied);
        total += copied;
        payload_init(&p[i], total, referenced);
        assert_int_equal(stream_write_ref(r.k.s, p[i].bytes, referenced, on_release, &p[i]), 0);
        total += referenced;
        if (i % 10 == 0) {
            write_pattern(&r, total, 50000);
            total += 50000;
        }
    }
    assert_int_equal(stream_queued_bytes(r.k.s), total);
    net_turns(r.loop, 1);
    assert_true(stream_queued_bytes(r.k.s) > 0);
    assert_int_equal(p[N - 1].n_released, 0);
    while (seen < total) {
        ssize_t n = far_read(r.far, buf, 1 + unit_random(&seed) % sizeof(buf));
        assert_true(n >= 0);
        assert_true(is_pattern(buf, seen, (size_t)n));
        seen += (size_t)n;
        net_turns(r.loop, 1);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(p[i].n_released, 1);
    assert_int_equal(stream_queued_bytes(r.k.s), 0);
    assert_int_equal(stream_bytes_out(r.k.s), total);
    rig_fini(&r);
}

static void a_reference_is_released_once_however_the_stream_ends(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct payload p;
        struct rig r;
        rig_init(&r, 1);
        payload_init(&p, 0, 1000000); /* more than the socket takes */
        assert_int_equal(stream_write_ref(r.k.s, p.bytes, 1000000, on_release, &p), 0);
        net_turns(r.loop, 1);
        assert_int_equal(p.n_released, 0);
        switch (how) {
        case 0: stream_abort(&r.k.s); break;
        case 1:
            close(r.far);
            r.far = -1;
            net_turns(r.loop, 3);
            assert_int_equal(r.k.n_closed, 1);
            break;
        case 2:
            stream_close(&r.k.s, 1);
            for (int i = 0; i < 1000 && p.n_released == 0; i++)
                loop_turn(r.loop, true); /* ended by the linger timeout */
            break;
        case 3: stream_detach(r.k.s); break; /* aborted while detached, by rig_fini */
        }
        if (how != 3)
            assert_int_equal(p.n_released, 1);
        rig_fini(&r);
        assert_int_equal(p.n_released, 1);
    }
}

static void low_water_comes_once_after_the_high_mark_was_passed(void **state)
{
    (void)state;
    struct rig r;
    uint8_t buf[100000];
    size_t seen = 0;
    rig_init(&r, 1);
    stream_set_water(r.k.s, 10000, 600000);
    write_pattern(&r, 0, 600000);
    assert_false(stream_is_above_high(r.k.s));
    net_turns(r.loop, 1);
    for (seen = 0; seen < 600000; net_turns(r.loop, 1))
        seen += (size_t)far_read(r.far, buf, sizeof(buf));
    assert_int_equal(r.k.n_low, 0); /* never above high */
    write_pattern(&r, 0, 600001);
    assert_true(stream_is_above_high(r.k.s));
    net_turns(r.loop, 1);
    for (seen = 0; seen < 600001; net_turns(r.loop, 1)) {
        assert_int_equal(r.k.n_low, stream_queued_bytes(r.k.s) <= 10000);
        seen += (size_t)far_read(r.far, buf, sizeof(buf));
    }
    assert_int_equal(r.k.n_low, 1);
    rig_fini(&r);
}

static void write_more(struct sink *k)
{
    if (k->n_low < 5)
        stream_write(k->s, "0123456789", 10);
}

static void what_low_water_writes_leaves_in_the_same_turn(void **state)
{
    (void)state;
    struct rig r;
    uint8_t buf[100];
    rig_init(&r, 1);
    stream_set_water(r.k.s, 0, 5);
    r.k.in_low = write_more;
    stream_write(r.k.s, "0123456789", 10);
    net_turns(r.loop, 1);
    assert_int_equal(far_read(r.far, buf, sizeof(buf)), 50);
    assert_int_equal(r.k.n_low, 5);
    rig_fini(&r);
}

static void without_memory_a_write_ends_the_connection_and_nothing_else(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct payload p = { 0 };
        struct rig r;
        rig_init(&r, 1);
        failalloc_after(0);
        if (how == 0)
            assert_int_equal(stream_write(r.k.s, "x", 1), -ENOMEM);
        else if (how == 1)
            assert_null(stream_reserve(r.k.s, 1));
        else
            assert_int_equal(stream_write_ref(r.k.s, "x", 1, on_release, &p), -ENOMEM);
        assert_true(failalloc_disarm());
        assert_int_equal(p.n_released, how == 2);
        assert_int_equal(r.k.n_closed, 0); /* not from inside the call */
        net_turns(r.loop, 1);
        assert_int_equal(r.k.n_closed, 1);
        assert_int_equal(r.k.err, -ENOMEM);
        rig_fini(&r);
    }
}

static void without_memory_for_the_rest_the_connection_ends(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.k.frame = 4;
    r.k.got = malloc(r.k.cap = 4096);
    far_send(&r, "aaaab", 5);
    failalloc_after(0);
    net_turns(r.loop, 1);
    assert_true(failalloc_disarm());
    assert_int_equal(r.k.n_closed, 1);
    assert_int_equal(r.k.err, -ENOMEM);
    rig_fini(&r);
}

static void an_idle_stream_holds_no_buffer(void **state)
{
    (void)state;
    enum { N = 200 };
    struct rig r;
    struct sink k[N];
    int fd[N];
    rig_init(&r, 1);
    memset(k, 0, sizeof(k));
    r.k.frame = 3; /* uses a kept buffer, too */
    far_send(&r, "ab", 2);
    net_turns(r.loop, 1);
    far_send(&r, "c", 1);
    stream_write(r.k.s, "hello", 5);
    net_turns(r.loop, 1);
    int64_t n_live = failalloc_n_live();
    for (int i = 0; i < N; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        fd[i] = pair[1];
        assert_int_equal(stream_new(pair[0], NULL, &k[i].s), 0);
        stream_attach(k[i].s, r.loop, &sink_ops, &k[i]);
        stream_write(k[i].s, "hello", 5);
    }
    net_turns(r.loop, 1);
    for (int i = 0; i < N; i++) {
        assert_int_equal(send(fd[i], "abc", 3, 0), 3);
        k[i].got = malloc(k[i].cap = 16);
    }
    net_turns(r.loop, 16); /* libev takes some events at a time */
    /* One block per stream, one for the sink, and the chunks in the loop's pool, at most one each.
     */
    assert_true(failalloc_n_live() - n_live <= 3 * N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(k[i].n_got, 3);
        assert_int_equal(stream_queued_bytes(k[i].s) + stream_kept_bytes(k[i].s), 0);
        close(fd[i]);
        stream_abort(&k[i].s);
        free(k[i].got);
    }
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_in_order_and_the_end_comes_last),
        cmocka_unit_test(a_rest_is_kept_and_shown_again_with_more_behind_it),
        cmocka_unit_test(a_byte_at_a_time_makes_a_frame_of_any_size),
        cmocka_unit_test(a_large_frame_grows_the_buffer_with_what_has_come),
        cmocka_unit_test(a_stream_reads_no_more_than_its_budget_in_one_turn),
        cmocka_unit_test(a_paused_stream_shows_nothing_and_resume_shows_the_rest_at_once),
        cmocka_unit_test(a_reset_is_told_as_closed_once),
        cmocka_unit_test(what_the_peer_sent_before_it_went_is_read_although_writing_fails),
        cmocka_unit_test(what_is_written_in_a_turn_leaves_at_its_end_in_one_piece),
        cmocka_unit_test(everything_arrives_in_order_through_a_full_socket),
        cmocka_unit_test(a_reference_is_released_once_however_the_stream_ends),
        cmocka_unit_test(low_water_comes_once_after_the_high_mark_was_passed),
        cmocka_unit_test(what_low_water_writes_leaves_in_the_same_turn),
        cmocka_unit_test(without_memory_a_write_ends_the_connection_and_nothing_else),
        cmocka_unit_test(without_memory_for_the_rest_the_connection_ends),
        cmocka_unit_test(an_idle_stream_holds_no_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
