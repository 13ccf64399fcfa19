#include "net_support.h"
#include "base/list.h"
#include "net/layer.h"
#include "net/mail.h"
#include <netinet/in.h>
#include <pthread.h>

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

static void hand_over(struct sink *k)
{
    stream_set_ops(k->s, &sink_ops, k->arg);
}

static void another_owner_on_the_same_loop_is_shown_the_rest(void **state)
{
    (void)state;
    struct rig r;
    struct sink to = { 0 };
    rig_init(&r, 1);
    r.k.arg = &to;
    r.k.in_data = hand_over;
    r.k.frame = 100;
    far_send(&r, "CONNECT", 7);
    net_turns(r.loop, 1);
    assert_int_equal(r.k.n_calls, 1);
    assert_int_equal(to.n_got, 7);
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

static void rig_invert(struct rig *r, bool *freed, size_t read_budget)
{
    struct invert *v = calloc(1, sizeof(*v));
    rig_init_conf(r, &(struct loop_conf){ .read_budget = read_budget });
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
    rig_invert(&r, &freed, 0);
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
    rig_invert(&r, &freed, 0);
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

static void bytes_inside_a_layer_beyond_the_budget_come_in_the_next_turns(void **state)
{
    (void)state;
    struct rig r;
    bool freed = false;
    rig_invert(&r, &freed, 3);
    far_send(&r, "!\x9e\x9d\x9c\x9b\x9a\x99\x98\x97", 9);
    while (r.k.n_got < 8)
        loop_turn(r.loop, true); /* the socket has nothing more to wake it */
    got_is(&r, "abcdefgh");
    rig_fini(&r);
}

static void a_failed_handshake_closes_the_connection(void **state)
{
    (void)state;
    struct rig r;
    bool freed = false;
    rig_invert(&r, &freed, 0);
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
        cmocka_unit_test(close_with_linger_delivers_the_last_bytes_and_no_reset),
        cmocka_unit_test(a_peer_that_never_answers_the_close_is_dropped_in_time),
        cmocka_unit_test(a_stream_may_be_ended_inside_its_own_callback),
        cmocka_unit_test(close_accepts_a_stream_that_is_gone),
        cmocka_unit_test(no_byte_is_lost_when_a_stream_moves_in_the_middle_of_a_frame),
        cmocka_unit_test(unconsumed_bytes_are_shown_to_the_new_owner_without_new_ones),
        cmocka_unit_test(another_owner_on_the_same_loop_is_shown_the_rest),
        cmocka_unit_test(a_stream_detached_and_aborted_in_one_callback_is_gone),
        cmocka_unit_test(a_connection_thrown_between_two_threads_loses_nothing),
        cmocka_unit_test(a_layer_shakes_hands_transforms_both_ways_and_says_goodbye),
        cmocka_unit_test(bytes_inside_a_layer_are_not_forgotten_by_a_pause),
        cmocka_unit_test(bytes_inside_a_layer_beyond_the_budget_come_in_the_next_turns),
        cmocka_unit_test(a_failed_handshake_closes_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
