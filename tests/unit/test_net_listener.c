#include "net_support.h"
#include "net/listener.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

struct door {
    uint32_t n, n_on[4];
    struct addr peer, local;
    struct stream *s[64];
};

static void on_accept(void *ctx, struct loop *loop, struct stream *m_stream)
{
    struct door *d = ctx;
    assert_ptr_equal(loop, loop_current());
    assert_null(stream_loop(m_stream));
    d->peer = *stream_peer(m_stream);
    d->local = stream_local(m_stream);
    d->n_on[loop_index(loop)]++;
    d->s[d->n++ % 64] = m_stream;
}

static void door_fini(struct door *d)
{
    for (uint32_t i = 0; i < d->n && i < 64; i++)
        stream_abort(&d->s[i]);
}

static int dial(int family, uint16_t port)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
                                .sin6_port = htons(port),
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof(in))
                              : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
    if (r < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void a_connection_comes_detached_with_its_addresses(void **state)
{
    (void)state;
    struct loop_group *g = net_group(1);
    struct listener_conf conf = { .bind = "127.0.0.1" };
    struct listener *l;
    struct door d = { 0 };
    char text[ADDR_TEXT_MAX];
    assert_int_equal(listener_new(g, &conf, on_accept, &d, &l), 0);
    uint16_t port = listener_port(l);
    assert_true(port > 0);
    int fd = dial(AF_INET, port);
    assert_true(fd >= 0);
    net_turns(loop_group_at(g, 0), 2);
    assert_int_equal(d.n, 0); /* not started */
    listener_start(l);
    net_turns(loop_group_at(g, 0), 2);
    assert_int_equal(d.n, 1);
    assert_int_equal(addr_text(&d.peer, text), 9);
    assert_string_equal(text, "127.0.0.1");
    assert_true(d.peer.port > 0 && d.peer.port != port);
    assert_int_equal(d.local.port, port);
    close(fd);
    door_fini(&d);
    listener_free(&l);
    assert_null(l);
    net_turns(loop_group_at(g, 0), 1);
    assert_int_equal(dial(AF_INET, port), -1);
    loop_group_free(&g);
}

static void all_addresses_and_all_loops_share_the_port_that_was_chosen(void **state)
{
    (void)state;
    struct loop_group *g = net_group(3);
    struct listener_conf conf = { .bind = "*" };
    struct listener *l;
    struct door d = { 0 };
    int fd[48], n_fd = 0;
    assert_int_equal(listener_new(g, &conf, on_accept, &d, &l), 0);
    listener_start(l);
    for (int i = 0; i < 24; i++) {
        fd[n_fd] = dial(AF_INET, listener_port(l));
        assert_true(fd[n_fd++] >= 0);
        int six = dial(AF_INET6, listener_port(l));
        if (six >= 0)
            fd[n_fd++] = six;
    }
    for (int turn = 0; turn < 4; turn++)
        for (uint32_t i = 0; i < 3; i++)
            loop_turn(loop_group_at(g, i), false);
    assert_int_equal(d.n, n_fd);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(d.n_on[i] > 0);
    struct listener_stats stats;
    listener_get_stats(l, &stats);
    assert_int_equal(stats.n_accepted, n_fd);
    while (n_fd > 0)
        close(fd[--n_fd]);
    door_fini(&d);
    listener_free(&l);
    loop_group_free(&g); /* runs the stops that no turn has run */
}

static void a_port_in_use_is_refused_also_with_several_loops(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 2; n++) {
        struct loop_group *g = net_group(n);
        struct listener_conf conf = { .bind = "127.0.0.1" };
        struct listener *first, *second = NULL;
        struct door d = { 0 };
        assert_int_equal(listener_new(g, &conf, on_accept, &d, &first), 0);
        conf.port = listener_port(first);
        assert_int_equal(listener_new(g, &conf, on_accept, &d, &second), -EADDRINUSE);
        assert_null(second);
        listener_free(&first);
        loop_group_free(&g);
    }
}

static void an_unknown_address_is_refused(void **state)
{
    (void)state;
    struct loop_group *g = net_group(1);
    struct listener_conf conf = { .bind = "192.0.2.1" };
    struct listener *l = NULL;
    assert_int_equal(listener_new(g, &conf, on_accept, NULL, &l), -EADDRNOTAVAIL);
    assert_null(l);
    loop_group_free(&g);
}

static void no_more_than_the_budget_is_accepted_in_one_turn(void **state)
{
    (void)state;
    struct loop_group *g = net_group(1);
    struct listener_conf conf = { .bind = "127.0.0.1", .accept_budget = 2 };
    struct listener *l;
    struct door d = { 0 };
    int fd[5];
    assert_int_equal(listener_new(g, &conf, on_accept, &d, &l), 0);
    listener_start(l);
    net_turns(loop_group_at(g, 0), 1);
    for (int i = 0; i < 5; i++)
        fd[i] = dial(AF_INET, listener_port(l));
    net_turns(loop_group_at(g, 0), 1);
    assert_int_equal(d.n, 2);
    net_turns(loop_group_at(g, 0), 2);
    assert_int_equal(d.n, 5);
    for (int i = 0; i < 5; i++)
        close(fd[i]);
    door_fini(&d);
    listener_free(&l);
    loop_group_free(&g);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(un.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void a_unix_socket_replaces_a_stale_file_and_never_a_live_one(void **state)
{
    (void)state;
    char dir[] = "/tmp/pigeon-test-XXXXXX", path[64], text[ADDR_TEXT_MAX];
    struct loop_group *g = net_group(2);
    struct door d = { 0 };
    struct listener *l, *second = NULL;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/socket", dir);
    struct listener_conf conf = { .unix_path = path, .unix_mode = 0600 };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    memcpy(un.sun_path, path, strlen(path));
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&un, sizeof(un)), 0);
    close(stale);
    assert_int_equal(listener_new(g, &conf, on_accept, &d, &l), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    listener_start(l);
    int fd = dial_unix(path);
    assert_true(fd >= 0);
    net_turns(loop_group_at(g, 0), 2);
    net_turns(loop_group_at(g, 1), 2); /* watches the same socket: finds nothing */
    assert_int_equal(d.n, 1);
    addr_text(&d.peer, text);
    assert_string_equal(text, "local");
    assert_int_equal(listener_port(l), 0);
    assert_int_equal(listener_new(g, &conf, on_accept, &d, &second), -EADDRINUSE);
    close(fd);
    door_fini(&d);
    listener_free(&l);
    assert_int_equal(stat(path, &st), -1);
    loop_group_free(&g);
    rmdir(dir);
}

static void an_inherited_socket_is_listened_on(void **state)
{
    (void)state;
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct loop_group *g = net_group(2);
    struct door d = { 0 };
    struct listener *l;
    struct listener_conf conf = { .inherited = true, .fd = socket(AF_INET, SOCK_STREAM, 0) };
    assert_int_equal(bind(conf.fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(conf.fd, 5), 0);
    assert_int_equal(listener_new(g, &conf, on_accept, &d, &l), 0);
    listener_start(l);
    int fd = dial(AF_INET, listener_port(l));
    assert_true(fd >= 0);
    net_turns(loop_group_at(g, 1), 2);
    assert_int_equal(d.n_on[1], 1);
    close(fd);
    door_fini(&d);
    listener_free(&l);
    loop_group_free(&g);
}

/* The child's exit code, -1 if it was killed. */
static int run_child(int (*fn)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define N_DIALS 30

static void on_end(struct timer *t, uint64_t now_ms)
{
    (void)t;
    (void)now_ms;
}

/* Runs in a child: only as many descriptors as leave room for a few connections. 0 = all well. */
static int child_out_of_descriptors(void)
{
    struct loop_group *g = net_group(1);
    struct loop *loop = loop_group_at(g, 0);
    struct listener_conf conf = { .bind = "127.0.0.1" };
    struct listener_stats stats;
    struct door d = { 0 };
    struct listener *l;
    int fd[N_DIALS];
    if (listener_new(g, &conf, on_accept, &d, &l) < 0)
        return 1;
    listener_start(l);
    for (int i = 0; i < N_DIALS; i++)
        fd[i] = dial(AF_INET, listener_port(l));
    struct rlimit limit = { (rlim_t)fd[N_DIALS - 1] + 6, (rlim_t)fd[N_DIALS - 1] + 6 };
    if (fd[N_DIALS - 1] < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 2;
    net_turns(loop, 3);
    listener_get_stats(l, &stats);
    if (stats.n_accepted != 5 || stats.n_refused != N_DIALS - 5)
        return 3;
    uint8_t buf[1];
    int n_closed = 0;
    for (int i = 0; i < N_DIALS; i++)
        n_closed += far_read(fd[i], buf, 1) == -1;
    if (n_closed != N_DIALS - 5)
        return 4;
    /* Nothing spins: with nobody calling, a turn that may wait does wait. */
    uint64_t before = loop_turns(loop);
    struct timer end;
    timer_init(&end, on_end);
    timer_arm(loop_timers(loop), &end, loop_now_ms(loop) + 30);
    while (loop_now_ms(loop) + 1 < end.due_ms && loop_turns(loop) - before < 50)
        loop_turn(loop, true);
    if (loop_turns(loop) - before >= 50)
        return 5;
    /* A descriptor comes free: business as usual. */
    timer_stop(loop_timers(loop), &end);
    close(fd[0]);
    fd[0] = dial(AF_INET, listener_port(l));
    stream_abort(&d.s[0]);
    net_turns(loop, 3);
    listener_get_stats(l, &stats);
    return stats.n_accepted == 6 ? 0 : 6;
}

/* Runs in a child: not even the reserve descriptor helps, because the limit fell below what is
 * open. */
static int child_without_reserve(void)
{
    struct loop_group *g = net_group(1);
    struct loop *loop = loop_group_at(g, 0);
    struct listener_conf conf = { .bind = "127.0.0.1" };
    struct listener *l;
    struct door d = { 0 };
    struct rlimit limit, low;
    if (listener_new(g, &conf, on_accept, &d, &l) < 0)
        return 1;
    listener_start(l);
    net_turns(loop, 1);
    if (dial(AF_INET, listener_port(l)) < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 2;
    low = limit;
    low.rlim_cur = 3;
    if (setrlimit(RLIMIT_NOFILE, &low) < 0)
        return 3;
    uint64_t before = loop_turns(loop);
    uint64_t end_ms = loop_now_ms(loop) + 250;
    while (loop_now_ms(loop) < end_ms && loop_turns(loop) - before < 50)
        loop_turn(loop, true); /* woken by the retry alone */
    if (loop_turns(loop) - before >= 50 || d.n > 0)
        return 4;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (d.n == 0)
        loop_turn(loop, true);
    return 0;
}

static void without_descriptors_connections_are_closed_and_nothing_spins(void **state)
{
    (void)state;
    assert_int_equal(run_child(child_out_of_descriptors), 0);
}

static void without_the_reserve_accepting_is_tried_again_later(void **state)
{
    (void)state;
    assert_int_equal(run_child(child_without_reserve), 0);
}

static void an_address_is_written_as_people_write_it(void **state)
{
    (void)state;
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(1883) };
    struct addr mapped, six, none = { .kind = ADDR_NONE };
    char text[ADDR_TEXT_MAX];
    inet_pton(AF_INET6, "::ffff:192.0.2.7", &in6.sin6_addr);
    addr_from_sockaddr(&mapped, (struct sockaddr *)&in6, sizeof(in6));
    assert_int_equal(addr_text(&mapped, text), 9);
    assert_string_equal(text, "192.0.2.7");
    assert_int_equal(mapped.port, 1883);
    assert_int_equal(mapped.kind, ADDR_IPV4);
    inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
    addr_from_sockaddr(&six, (struct sockaddr *)&in6, sizeof(in6));
    addr_text(&six, text);
    assert_string_equal(text, "2001:db8::1");
    assert_false(addr_is_equal(&six, &mapped));
    addr_text(&none, text);
    assert_string_equal(text, "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_comes_detached_with_its_addresses),
        cmocka_unit_test(all_addresses_and_all_loops_share_the_port_that_was_chosen),
        cmocka_unit_test(a_port_in_use_is_refused_also_with_several_loops),
        cmocka_unit_test(an_unknown_address_is_refused),
        cmocka_unit_test(no_more_than_the_budget_is_accepted_in_one_turn),
        cmocka_unit_test(a_unix_socket_replaces_a_stale_file_and_never_a_live_one),
        cmocka_unit_test(an_inherited_socket_is_listened_on),
        cmocka_unit_test(without_descriptors_connections_are_closed_and_nothing_spins),
        cmocka_unit_test(without_the_reserve_accepting_is_tried_again_later),
        cmocka_unit_test(an_address_is_written_as_people_write_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
