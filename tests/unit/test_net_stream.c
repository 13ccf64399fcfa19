#include "net_support.h"
#include "net/layer.h"
#include "net/mail.h"
#include "base/list.h"
#include <malloc.h>
#include <pthread.h>
#include <netinet/in.h>

static const struct stream_ops sink_ops = SINK_OPS;

/* One loop, one stream, the far end of its socket pair. */
struct rig {
    struct loop_group *g;
    struct loop *loop;
    struct sink k;
    int far;
};

static void rig_init(struct rig *r, uint32_t n_loops)
{
    int fd[2];
    *r = (struct rig){ .g = net_group(n_loops) };
    r->loop = loop_group_at(r->g, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    r->far = fd[1];
    assert_int_equal(stream_new(fd[0], NULL, &r->k.s), 0);
    stream_attach(r->k.s, r->loop, &sink_ops, &r->k);
    net_turns(r->loop, 1);
}

static void rig_fini(struct rig *r)
{
    if (r->k.s)
        stream_abort(&r->k.s);
    if (r->far >= 0)
        close(r->far);
    loop_group_free(&r->g);
    free(r->k.got);
}

static void far_send(struct rig *r, const void *data, size_t len)
{
    assert_int_equal(send(r->far, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void got_is(const struct rig *r, const char *text)
{
    assert_int_equal(r->k.n_got, strlen(text));
    assert_memory_equal(r->k.got, text, strlen(text));
}

/* ---- reading ---- */

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
    rig_init(&r, 1);
    stream_abort(&r.k.s);
    loop_group_free(&r.g);
    close(r.far);
    assert_int_equal(loop_group_new(&conf, &r.g), 0);
    r.loop = loop_group_at(r.g, 0);
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    r.far = fd[1];
    assert_int_equal(stream_new(fd[0], NULL, &r.k.s), 0);
    stream_attach(r.k.s, r.loop, &sink_ops, &r.k);
    far_send(&r, buf, sizeof(buf));
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_got, 1000);
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_got, 2000);
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_got, 2500);
    rig_fini(&r);
}

static void pause_me(struct sink *k)
{
    stream_pause(k->s);
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
    struct rig r;
    rig_init(&r, 1);
    stream_pause(r.k.s);
    far_send(&r, "last words", 10);
    close(r.far);
    r.far = -1;
    assert_int_equal(stream_write(r.k.s, "x", 1), 0);
    net_turns(r.loop, 2); /* EPIPE */
    assert_int_equal(r.k.n_closed, 0);
    assert_int_equal(stream_write(r.k.s, "x", 1), -EPIPE);
    stream_resume(r.k.s);
    net_turns(r.loop, 2);
    got_is(&r, "last words");
    assert_int_equal(r.k.n_closed, 1);
    assert_int_equal(r.k.err, -EPIPE);
    rig_fini(&r);
}

/* ---- writing ---- */

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

static void write_pattern(struct rig *r, size_t from, size_t len)
{
    uint8_t *p = malloc(len);
    for (size_t i = 0; i < len; i++)
        p[i] = pattern(from + i);
    assert_int_equal(stream_write(r->k.s, p, len), 0);
    free(p);
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

/* ---- the end ---- */

static int tcp_pair(int *r_far)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sa);
    int l = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(l, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(l, 1), 0);
    getsockname(l, (struct sockaddr *)&sa, &len);
    *r_far = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*r_far, (struct sockaddr *)&sa, len), 0);
    int fd = accept(l, NULL, NULL);
    assert_true(fd >= 0);
    close(l);
    return fd;
}

static void close_with_linger_delivers_the_last_bytes_and_no_reset(void **state)
{
    (void)state;
    struct rig r;
    struct loop_stats stats;
    uint8_t buf[4096];
    size_t seen = 0;
    ssize_t n;
    rig_init(&r, 1);
    stream_abort(&r.k.s);
    close(r.far);
    assert_int_equal(stream_new(tcp_pair(&r.far), NULL, &r.k.s), 0);
    stream_attach(r.k.s, r.loop, &sink_ops, &r.k);
    far_send(&r, "unread input would make a plain close a reset", 45);
    write_pattern(&r, 0, 8000000);
    stream_close(&r.k.s, 10000);
    assert_null(r.k.s);
    for (;;) {
        net_turns(r.loop, 1);
        n = recv(r.far, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            continue;
        assert_true(n >= 0); /* no reset */
        if (n == 0)
            break;
        assert_true(is_pattern(buf, seen, (size_t)n));
        seen += (size_t)n;
        if (seen % 3 == 0)
            (void)!send(r.far, "more", 4, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    assert_int_equal(seen, 8000000);
    loop_get_stats(r.loop, &stats);
    assert_int_equal(stats.n_lingering, 1); /* waits for the peer's FIN */
    close(r.far);
    r.far = -1;
    for (int i = 0; i < 1000 && stats.n_streams; i++) {
        loop_turn(r.loop, true);
        loop_get_stats(r.loop, &stats);
    }
    assert_int_equal(stats.n_streams, 0);
    assert_int_equal(stats.n_lingering, 0);
    assert_int_equal(r.k.n_calls + r.k.n_eof + r.k.n_closed, 0);
    rig_fini(&r);
}

static void a_peer_that_never_answers_the_close_is_dropped_in_time(void **state)
{
    (void)state;
    struct rig r;
    struct loop_stats stats = { .n_streams = 1 };
    rig_init(&r, 1);
    write_pattern(&r, 0, 2000000);
    stream_close(&r.k.s, 5);
    while (stats.n_streams) {
        loop_turn(r.loop, true);
        loop_get_stats(r.loop, &stats);
    }
    assert_int_equal(stats.n_lingering, 0);
    rig_fini(&r);
}

static void close_me(struct sink *k)
{
    stream_write(k->s, "bye", 3);
    stream_close(&k->s, 0);
}

static void abort_me(struct sink *k)
{
    stream_abort(&k->s);
}

static void a_stream_may_be_ended_inside_its_own_callback(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct rig r;
        uint8_t buf[8];
        rig_init(&r, 1);
        if (how < 2) {
            r.k.in_data = how ? abort_me : close_me;
            far_send(&r, "abc", 3);
        } else {
            stream_set_water(r.k.s, 0, 1);
            r.k.in_low = how == 2 ? close_me : abort_me;
            stream_write(r.k.s, "abc", 3);
        }
        net_turns(r.loop, 3);
        assert_int_equal(r.k.n_calls, how < 2);
        assert_int_equal(r.k.n_closed + r.k.n_eof, 0);
        ssize_t n = far_read(r.far, buf, sizeof(buf));
        assert_int_equal(n, how == 0 ? 3 : how == 1 ? -1 : how == 2 ? 6 : 3);
        rig_fini(&r);
    }
}

static void close_accepts_a_stream_that_is_gone(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    struct stream *s = r.k.s, *none = NULL;
    stream_close(&none, 0);
    stream_abort(&none);
    close(r.far);
    r.far = -1;
    r.k.in_data = abort_me;
    stream_close(&s, 0);
    s = r.k.s;
    stream_close(&s, 0); /* twice in one turn */
    s = r.k.s;
    stream_abort(&s);
    r.k.s = NULL;
    net_turns(r.loop, 2);
    rig_fini(&r);
}

/* ---- moving ---- */

struct move {
    struct mail mail;
    struct sink *k, *to;
};

static void on_moved(struct loop *here, struct mail *m)
{
    struct move *move = container_of(m, struct move, mail);
    move->to->s = move->k->s;
    move->k->s = NULL;
    stream_attach(move->to->s, here, &sink_ops, move->to);
}

static void detach_me(struct sink *k)
{
    struct move *move = k->arg;
    struct loop *from = stream_loop(k->s);
    stream_detach(k->s);
    loop_post_last(from, loop_index(from) ^ 1u, &move->mail, on_moved);
}

static void no_byte_is_lost_when_a_stream_moves_in_the_middle_of_a_frame(void **state)
{
    (void)state;
    struct rig r;
    struct sink to = { .frame = 4 };
    rig_init(&r, 2);
    struct move move = { .k = &r.k, .to = &to };
    struct loop *other = loop_group_at(r.g, 1);
    uint8_t buf[600000];
    r.k.frame = 4;
    write_pattern(&r, 0, 600000); /* output under way moves, too */
    net_turns(r.loop, 1);
    assert_true(stream_queued_bytes(r.k.s) > 0);
    r.k.arg = &move;
    r.k.in_data = detach_me;
    far_send(&r, "aaaabbbbcc", 10);
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_calls, 1); /* it consumed 8 after it had let go */
    far_send(&r, "ccdddde", 7);
    net_turns(r.loop, 2);
    assert_null(stream_loop(r.k.s));
    net_turns(other, 3);
    assert_int_equal(r.k.n_got, 8);
    assert_int_equal(r.k.n_calls, 1);
    assert_int_equal(to.n_got, 8);
    assert_memory_equal(to.got, "ccccdddd", 8);
    assert_ptr_equal(stream_loop(to.s), other);
    assert_int_equal(stream_kept_bytes(to.s), 1);
    size_t seen = 0;
    while (seen < 600000) {
        ssize_t n = far_read(r.far, buf, sizeof(buf));
        assert_true(is_pattern(buf, seen, (size_t)n));
        seen += (size_t)n;
        net_turns(other, 1);
        net_turns(r.loop, 1);
    }
    struct loop_stats stats;
    loop_get_stats(r.loop, &stats);
    assert_int_equal(stats.n_streams, 0);
    stream_abort(&to.s);
    free(to.got);
    rig_fini(&r);
}

static void pause_and_detach_me(struct sink *k)
{
    stream_pause(k->s); /* consumes nothing */
    detach_me(k);
}

static void unconsumed_bytes_are_shown_to_the_new_owner_without_new_ones(void **state)
{
    (void)state;
    struct rig r;
    struct sink to = { 0 };
    rig_init(&r, 2);
    struct move move = { .k = &r.k, .to = &to };
    r.k.arg = &move;
    r.k.in_data = pause_and_detach_me;
    far_send(&r, "CONNECT", 7);
    net_turns(r.loop, 1);
    net_turns(loop_group_at(r.g, 1), 1);
    assert_int_equal(to.n_got, 7);
    assert_false(stream_is_paused(to.s));
    stream_abort(&to.s);
    free(to.got);
    rig_fini(&r);
}

static void detach_and_abort_me(struct sink *k)
{
    stream_detach(k->s);
    stream_abort(&k->s);
}

static void a_stream_detached_and_aborted_in_one_callback_is_gone(void **state)
{
    (void)state;
    struct rig r;
    uint8_t buf[1];
    rig_init(&r, 1);
    r.k.in_data = detach_and_abort_me;
    far_send(&r, "x", 1);
    net_turns(r.loop, 2);
    assert_int_equal(far_read(r.far, buf, 1), -1);
    rig_fini(&r);
}

/* Two threads throw a connection to and fro while the far end sends a counted stream. */
struct juggle {
    struct rig r;
    struct move move;
    size_t total, n_moves;
    struct sink *k;
};

static void on_juggle(struct loop *here, struct mail *m);

static size_t juggle_on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct juggle *j = ctx;
    struct loop *here = loop_current();
    size_t n = len > 3 ? len - 3 : len;
    if (!is_pattern(data, j->total, n))
        j->k->err = -EILSEQ;
    j->total += n;
    j->n_moves++;
    stream_detach(j->k->s);
    loop_post_last(here, loop_index(here) ^ 1u, &j->move.mail, on_juggle);
    return n;
}

static void juggle_on_eof(void *ctx)
{
    struct juggle *j = ctx;
    stream_close(&j->k->s, 0);
    loop_group_stop(j->r.g);
}

static void on_juggle(struct loop *here, struct mail *m)
{
    static const struct stream_ops ops = { juggle_on_data, juggle_on_eof, NULL, sink_on_closed };
    struct move *move = container_of(m, struct move, mail);
    struct juggle *j = container_of(move, struct juggle, move);
    stream_attach(j->k->s, here, &ops, j);
}

static void *juggle_far_main(void *arg)
{
    struct juggle *j = arg;
    uint64_t seed = 7;
    size_t sent = 0;
    while (sent < 300000) {
        uint8_t buf[200];
        size_t n = 1 + unit_random(&seed) % sizeof(buf);
        for (size_t i = 0; i < n; i++)
            buf[i] = pattern(sent + i);
        sent += (size_t)send(j->r.far, buf, n, MSG_NOSIGNAL);
    }
    shutdown(j->r.far, SHUT_WR);
    return (void *)(uintptr_t)sent;
}

static void a_connection_thrown_between_two_threads_loses_nothing(void **state)
{
    (void)state;
    static struct juggle j;
    pthread_t far;
    void *sent;
    rig_init(&j.r, 2);
    j.k = &j.r.k;
    stream_detach(j.k->s);
    loop_post_any(j.r.loop, &j.move.mail, on_juggle);
    assert_int_equal(pthread_create(&far, NULL, juggle_far_main, &j), 0);
    assert_int_equal(loop_start_threads(j.r.g), 0);
    loop_run(j.r.loop);
    loop_join(j.r.g);
    pthread_join(far, &sent);
    assert_int_equal(j.k->err, 0);
    assert_true(j.total + 3 >= (size_t)(uintptr_t)sent);
    assert_true(j.n_moves > 10);
    rig_fini(&j.r);
}

/* ---- layers ---- */

/* Turns every byte over, greets with '!' and expects '!', says '.' at the end. */
struct invert {
    struct layer layer;
    bool said, heard, said_bye;
    bool *freed;
    uint8_t inside[8]; /* read from below, not yet given upward */
    size_t n_inside;
};

static int invert_handshake(struct layer *l)
{
    struct invert *v = container_of(l, struct invert, layer);
    uint8_t c;
    if (!v->said) {
        ssize_t n = layer_below_write(l, "!", 1);
        if (n < 0)
            return (int)n;
        v->said = true;
    }
    if (!v->heard) {
        ssize_t n = layer_below_read(l, &c, 1);
        if (n <= 0)
            return n == 0 ? -ECONNRESET : (int)n;
        if (c != '!')
            return -EPROTO;
        v->heard = true;
    }
    return 0;
}

/* Takes eight bytes from below and gives one at a time, so that the rest is pending. */
static ssize_t invert_read(struct layer *l, void *buf, size_t len)
{
    struct invert *v = container_of(l, struct invert, layer);
    (void)len;
    if (v->n_inside == 0) {
        ssize_t n = layer_below_read(l, v->inside, sizeof(v->inside));
        if (n <= 0)
            return n;
        v->n_inside = (size_t)n;
    }
    *(uint8_t *)buf = v->inside[0] ^ 0xff;
    memmove(v->inside, v->inside + 1, --v->n_inside);
    return 1;
}

static ssize_t invert_writev(struct layer *l, const struct iovec *iov, int n_iov)
{
    uint8_t buf[64];
    size_t n = iov->iov_len < sizeof(buf) ? iov->iov_len : sizeof(buf);
    (void)n_iov;
    for (size_t i = 0; i < n; i++)
        buf[i] = ((uint8_t *)iov->iov_base)[i] ^ 0xff;
    return layer_below_write(l, buf, n);
}

static size_t invert_pending(const struct layer *l)
{
    return container_of(l, struct invert, layer)->n_inside;
}

static int invert_shutdown(struct layer *l)
{
    struct invert *v = container_of(l, struct invert, layer);
    if (v->said_bye)
        return 0;
    ssize_t n = layer_below_write(l, ".", 1);
    v->said_bye = n == 1;
    return n == 1 ? 0 : (int)n;
}

static void invert_free(struct layer *l)
{
    struct invert *v = container_of(l, struct invert, layer);
    *v->freed = true;
    free(v);
}

static const struct layer_ops invert_ops = {
    "invert", invert_handshake, invert_read,     invert_writev,
    NULL,     invert_pending,   invert_shutdown, invert_free
};

static void rig_invert(struct rig *r, bool *freed)
{
    struct invert *v = calloc(1, sizeof(*v));
    rig_init(r, 1);
    stream_detach(r->k.s);
    v->layer.ops = &invert_ops;
    v->freed = freed;
    stream_push_layer(r->k.s, &v->layer);
    stream_attach(r->k.s, r->loop, &sink_ops, &r->k);
    assert_ptr_equal(stream_find_layer(r->k.s, &invert_ops), &v->layer);
}

static void a_layer_shakes_hands_transforms_both_ways_and_says_goodbye(void **state)
{
    (void)state;
    struct rig r;
    bool freed = false;
    uint8_t buf[64];
    rig_invert(&r, &freed);
    stream_write(r.k.s, "early", 5);
    net_turns(r.loop, 2);
    assert_int_equal(far_read(r.far, buf, sizeof(buf)), 1); /* no data before the handshake */
    assert_int_equal(buf[0], '!');
    far_send(&r, "!\x9e\x9d\x9c\x9b\x9a\x99\x98\x97\x96\x95", 11);
    net_turns(r.loop, 2);
    got_is(&r, "abcdefghij");
    assert_int_equal(far_read(r.far, buf, sizeof(buf)), 5);
    assert_int_equal(buf[0], 'e' ^ 0xff);
    stream_write(r.k.s, "z", 1);
    stream_close(&r.k.s, 0);
    net_turns(r.loop, 1);
    assert_int_equal(far_read(r.far, buf, 2), 2);
    assert_int_equal(buf[1], '.');
    assert_int_equal(far_read(r.far, buf, 1), -1);
    shutdown(r.far, SHUT_WR);
    net_turns(r.loop, 2);
    assert_true(freed);
    rig_fini(&r);
}

static void bytes_inside_a_layer_are_not_forgotten_by_a_pause(void **state)
{
    (void)state;
    struct rig r;
    bool freed = false;
    rig_invert(&r, &freed);
    r.k.in_data = pause_me;
    far_send(&r, "!\x9e\x9d\x9c", 4);
    net_turns(r.loop, 3);
    assert_int_equal(r.k.n_got, 0);
    r.k.in_data = NULL;
    stream_resume(r.k.s);
    net_turns(r.loop, 1);
    got_is(&r, "abc");
    rig_fini(&r);
    assert_true(freed);
}

static void a_failed_handshake_closes_the_connection(void **state)
{
    (void)state;
    struct rig r;
    bool freed = false;
    rig_invert(&r, &freed);
    far_send(&r, "GET / HTTP/1.1", 14);
    net_turns(r.loop, 2);
    assert_int_equal(r.k.n_closed, 1);
    assert_int_equal(r.k.err, -EPROTO);
    assert_int_equal(r.k.n_calls, 0);
    rig_fini(&r);
    assert_true(freed);
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
        cmocka_unit_test(close_with_linger_delivers_the_last_bytes_and_no_reset),
        cmocka_unit_test(a_peer_that_never_answers_the_close_is_dropped_in_time),
        cmocka_unit_test(a_stream_may_be_ended_inside_its_own_callback),
        cmocka_unit_test(close_accepts_a_stream_that_is_gone),
        cmocka_unit_test(no_byte_is_lost_when_a_stream_moves_in_the_middle_of_a_frame),
        cmocka_unit_test(unconsumed_bytes_are_shown_to_the_new_owner_without_new_ones),
        cmocka_unit_test(a_stream_detached_and_aborted_in_one_callback_is_gone),
        cmocka_unit_test(a_connection_thrown_between_two_threads_loses_nothing),
        cmocka_unit_test(a_layer_shakes_hands_transforms_both_ways_and_says_goodbye),
        cmocka_unit_test(bytes_inside_a_layer_are_not_forgotten_by_a_pause),
        cmocka_unit_test(a_failed_handshake_closes_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
