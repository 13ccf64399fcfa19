/* What the broker does for plugins: publish, subscribe, timers, post, metrics, orders, facts. The
 * test plays the plugin: it calls the host of an instance with callbacks of its own. */
#include "hooks_support.h"
#include "hooks/client_slots.h"
#include <pthread.h>

#undef fail /* cmocka's macro; here it is a member of pigeon_host */

struct floor { /* the broker of these tests */
    struct world w;
    uint32_t n_published, n_kicked, n_invalidated, n_next, n_unsubscribed;
    char topic[64], kicked[64];
    uint8_t reason;
    int32_t (*deliver)(void *arg, const struct message *message);
    void *deliver_arg;
};

static struct floor *floor_of(void *broker)
{
    return container_of(broker, struct floor, w);
}

static void fl_publish(void *broker, uint32_t loop, struct message *m_message,
                       void (*done)(void *arg, int32_t status), void *arg)
{
    struct floor *f = floor_of(broker);

    assert_int_equal(loop, 0);
    assert_int_equal(m_message->view.origin, PIGEON_ORIGIN_PLUGIN);
    snprintf(f->topic, sizeof(f->topic), "%s", m_message->view.topic.ptr);
    f->n_published++;
    message_unref(&m_message);
    if (done)
        done(arg, PIGEON_OK);
}

static int32_t fl_subscribe(void *broker, uint32_t loop, struct str filter, uint8_t qos,
                            int32_t (*deliver)(void *arg, const struct message *message), void *arg,
                            void **r_subscription)
{
    struct floor *f = floor_of(broker);

    (void)loop;
    assert_true(str_eq(filter, STR("a/#")));
    assert_int_equal(qos, 1);
    f->deliver = deliver;
    f->deliver_arg = arg;
    *r_subscription = f;
    return 0;
}

static void fl_unsubscribe(void *broker, uint32_t loop, void *subscription)
{
    (void)loop;
    assert_ptr_equal(subscription, floor_of(broker));
    floor_of(broker)->n_unsubscribed++;
}

static void fl_deliver_next(void *broker, uint32_t loop, void *subscription)
{
    (void)loop;
    (void)subscription;
    floor_of(broker)->n_next++;
}

static void fl_kick(void *broker, uint32_t loop, struct str client_id, uint8_t reason,
                    const char *text)
{
    struct floor *f = floor_of(broker);

    (void)loop;
    (void)text;
    f->reason = reason;
    snprintf(f->kicked, sizeof(f->kicked), STR_FMT, STR_ARG(client_id));
    __atomic_fetch_add(&f->n_kicked, 1, __ATOMIC_RELAXED);
}

static void fl_invalidate(void *broker, uint32_t loop, const char *plugin, struct str client_id,
                          struct str username)
{
    (void)loop;
    (void)username;
    assert_string_equal(plugin, "p");
    assert_int_equal(client_id.len, 0);
    floor_of(broker)->n_invalidated++;
}

static void fl_info(void *broker, pigeon_info *info)
{
    (void)broker;
    info->sessions = 42;
}

static const struct hooks_ops floor_ops = { .publish = fl_publish,
                                            .subscribe = fl_subscribe,
                                            .unsubscribe = fl_unsubscribe,
                                            .deliver_next = fl_deliver_next,
                                            .kick = fl_kick,
                                            .invalidate = fl_invalidate,
                                            .info = fl_info };

static struct instance *begin(struct floor *f, uint32_t n_loops, const char *file)
{
    *f = (struct floor){ 0 };
    world_init(&f->w, n_loops);
    f->w.ops = floor_ops;
    world_link(&f->w, file, "p.so");
    assert_int_equal(world_start(&f->w), 0);
    return &f->w.hooks->plugins[0].instances[0];
}

static void turn(struct floor *f)
{
    for (int i = 0; i < 4; i++)
        for (uint32_t k = 0; k < loop_group_count(f->w.loops); k++)
            loop_turn(loop_group_at(f->w.loops, k), false);
}

static pigeon_msg message_view(const char *topic)
{
    return (pigeon_msg){ .size = sizeof(pigeon_msg),
                         .topic = { .ptr = topic, .len = (uint32_t)strlen(topic) },
                         .payload = { .ptr = (const uint8_t *)"x", .len = 1 } };
}

static void on_done(void *self, void *arg, int32_t status)
{
    (void)self;
    assert_int_equal(status, PIGEON_OK);
    ++*(uint32_t *)arg;
}

struct publisher {
    struct instance *inst;
    uint32_t *n_done;
};

static void *publish_in_thread(void *arg)
{
    struct publisher *p = arg;
    pigeon_msg msg = message_view("from/thread");

    assert_int_equal(p->inst->host.publish(p->inst, &msg, on_done, p->n_done), PIGEON_OK);
    return NULL;
}

static void a_published_message_reaches_the_broker_on_the_instances_loop(void **state)
{
    uint32_t n_done = 0;
    struct floor f;
    struct instance *inst = begin(&f, 2, "p0.so");
    struct publisher p = { inst, &n_done };
    pigeon_msg msg = message_view("a/b"), wild = message_view("a/#"), bad = message_view("a");
    static const uint8_t alias[] = { 0x23, 0, 1 };
    pthread_t thread;

    (void)state;
    assert_int_equal(inst->host.publish(inst, &msg, on_done, &n_done), PIGEON_OK);
    assert_int_equal(f.n_published, 0); /* never within the call */
    turn(&f);
    assert_int_equal(f.n_published, 1);
    assert_string_equal(f.topic, "a/b");
    assert_int_equal(n_done, 1);
    assert_int_equal(pthread_create(&thread, NULL, publish_in_thread, &p), 0);
    pthread_join(thread, NULL);
    turn(&f);
    assert_int_equal(n_done, 2);
    assert_int_equal(inst->host.publish(inst, &wild, NULL, NULL), PIGEON_E_INVAL);
    bad.qos = 3;
    assert_int_equal(inst->host.publish(inst, &bad, NULL, NULL), PIGEON_E_INVAL);
    bad.qos = 0;
    bad.props = (pigeon_bytes){ .ptr = alias, .len = sizeof(alias) };
    assert_int_equal(inst->host.publish(inst, &bad, NULL, NULL), PIGEON_E_INVAL);
    world_fini(&f.w);
}

static void what_is_published_while_the_broker_stops_is_dropped(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 1, "p0.so");
    pigeon_msg msg = message_view("a/b");

    (void)state;
    assert_int_equal(inst->host.publish(inst, &msg, NULL, NULL), PIGEON_OK);
    world_fini(&f.w);
    assert_int_equal(f.n_published, 0);
}

struct consumer {
    struct instance *inst;
    pigeon_token token;
    uint32_t n;
    int32_t answer;
    pigeon_subscription *unsubscribe;
};

static int32_t on_message(void *self, void *arg, pigeon_token token, const pigeon_msg *msg)
{
    struct consumer *c = arg;

    (void)self;
    assert_string_equal(msg->topic.ptr, "a/1");
    assert_true(token != 0);
    c->token = token;
    c->n++;
    if (c->unsubscribe)
        c->inst->host.unsubscribe(c->unsubscribe);
    return c->answer;
}

static void a_subscription_waits_for_each_pending_message(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 1, "p0.so");
    struct consumer c = { .inst = inst };
    pigeon_str filter = { .ptr = "a/#", .len = 3 };
    struct message *m = message_with("a/1", "n");
    pigeon_subscription *sub = NULL;

    (void)state;
    assert_int_equal(inst->host.subscribe(inst, filter, 1, on_message, &c, &sub), PIGEON_OK);
    assert_int_equal(f.deliver(f.deliver_arg, m), PIGEON_OK);
    assert_int_equal(inst->host.complete(inst, c.token, PIGEON_OK), PIGEON_E_GONE);
    c.answer = PIGEON_PENDING;
    assert_int_equal(f.deliver(f.deliver_arg, m), PIGEON_PENDING);
    message_unref(&m);
    assert_int_equal(f.n_next, 0);
    assert_int_equal(inst->host.complete(inst, c.token, PIGEON_OK), PIGEON_OK);
    turn(&f);
    assert_int_equal(f.n_next, 1);
    m = message_with("a/1", "n");
    assert_int_equal(f.deliver(f.deliver_arg, m), PIGEON_PENDING);
    inst->host.unsubscribe(sub);
    assert_int_equal(metric_value(&f.w, "p", "cancelled"), 1);
    assert_int_equal(inst->host.complete(inst, c.token, PIGEON_OK), PIGEON_E_GONE);
    turn(&f);
    assert_int_equal(f.n_unsubscribed, 1);
    assert_int_equal(f.n_next, 1);
    message_unref(&m);
    world_fini(&f.w);
}

static void a_plugin_may_unsubscribe_within_its_own_callback(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 1, "p0.so");
    struct consumer c = { .inst = inst, .answer = PIGEON_OK };
    pigeon_str filter = { .ptr = "a/#", .len = 3 };
    struct message *m = message_with("a/1", "n");

    (void)state;
    assert_int_equal(inst->host.subscribe(inst, filter, 1, on_message, &c, &c.unsubscribe),
                     PIGEON_OK);
    assert_int_equal(f.deliver(f.deliver_arg, m), PIGEON_OK);
    assert_int_equal(f.deliver(f.deliver_arg, m), PIGEON_OK);
    assert_int_equal(c.n, 1);
    turn(&f);
    assert_int_equal(f.n_unsubscribed, 1);
    message_unref(&m);
    world_fini(&f.w);
}

static void what_a_plugin_leaves_subscribed_ends_with_it(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 1, "p0.so");
    struct consumer c = { .inst = inst };
    pigeon_str filter = { .ptr = "a/#", .len = 3 };
    pigeon_subscription *left = NULL, *last = NULL;

    (void)state;
    assert_int_equal(inst->host.subscribe(inst, filter, 1, on_message, &c, &left), PIGEON_OK);
    assert_int_equal(inst->host.subscribe(inst, filter, 1, on_message, &c, &last), PIGEON_OK);
    inst->host.unsubscribe(last);
    world_fini(&f.w);
    assert_int_equal(f.n_unsubscribed, 2);
}

static void kick_and_invalidate_reach_every_loop(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 3, "p0.so");
    pigeon_str id = { .ptr = "c1", .len = 2 }, none = { 0 };

    (void)state;
    assert_int_equal(inst->host.kick(inst, id, 0, "bye"), PIGEON_OK);
    assert_int_equal(inst->host.kick(inst, none, 0, "bye"), PIGEON_E_INVAL);
    assert_int_equal(inst->host.kick(inst, id, 0x10, "bye"), PIGEON_E_INVAL);
    assert_int_equal(inst->host.invalidate(inst, none, none), PIGEON_OK);
    turn(&f);
    assert_int_equal(f.n_kicked, 3);
    assert_int_equal(f.reason, 0x98);
    assert_string_equal(f.kicked, "c1");
    assert_int_equal(f.n_invalidated, 3);
    world_fini(&f.w);
}

static void on_post(void *self, void *arg)
{
    assert_non_null(self);
    ++*(uint32_t *)arg;
}

static void on_tick(void *self, void *arg, pigeon_watch *watch, uint32_t events)
{
    (void)self;
    (void)watch;
    assert_int_equal(events, 0);
    ++*(uint32_t *)arg;
}

static void on_readable(void *self, void *arg, pigeon_watch *watch, uint32_t events)
{
    (void)self;
    (void)watch;
    assert_int_equal(events, PIGEON_FD_READ);
    ++*(uint32_t *)arg;
}

static void posts_timers_and_descriptors_run_on_the_loop(void **state)
{
    uint32_t n_posts = 0, n_ticks = 0, n_reads = 0;
    struct floor f;
    struct instance *inst = begin(&f, 1, "p0.so");
    pigeon_watch *timer, *fd;
    int pipe_fds[2];

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(inst->host.post(inst, on_post, &n_posts), PIGEON_OK);
    assert_int_equal(n_posts, 0);
    timer = inst->host.timer(inst, 1000000, 0, on_tick, &n_ticks);
    fd = inst->host.fd(inst, pipe_fds[0], PIGEON_FD_READ, on_readable, &n_reads);
    assert_non_null(timer);
    assert_non_null(fd);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    wait_until(&f.w, &n_ticks, 1);
    wait_until(&f.w, &n_posts, 1);
    assert_true(n_reads > 0);
    inst->host.unwatch(fd);
    inst->host.unwatch(timer);
    /* One that the plugin forgets goes with its instance. */
    assert_non_null(inst->host.timer(inst, 1000000000, 1000000000, on_tick, &n_ticks));
    world_fini(&f.w);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void *call_from_elsewhere(void *arg)
{
    struct instance *inst = arg;
    pigeon_str filter = { .ptr = "a/#", .len = 3 };
    pigeon_subscription *sub;
    struct consumer c = { 0 };

    assert_null(inst->host.timer(inst, 0, 0, on_tick, NULL));
    assert_null(inst->host.fd(inst, 0, PIGEON_FD_READ, on_tick, NULL));
    assert_int_equal(inst->host.subscribe(inst, filter, 1, on_message, &c, &sub), PIGEON_E_THREAD);
    assert_int_equal(inst->host.fail(inst, NULL, "no"), PIGEON_E_THREAD);
    return NULL;
}

static void loop_functions_refuse_other_threads_in_debug_builds(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 1, "p0.so");
    pthread_t thread;

    (void)state;
#ifndef NDEBUG
    assert_int_equal(pthread_create(&thread, NULL, call_from_elsewhere, inst), 0);
    pthread_join(thread, NULL);
#else
    (void)thread;
    (void)inst;
    (void)call_from_elsewhere;
#endif
    world_fini(&f.w);
}

static void info_fills_what_the_caller_has_room_for(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 1, "p0.so");
    pigeon_info info = { .size = sizeof(info) };
    pigeon_info old;

    (void)state;
    assert_int_equal(inst->host.info(inst, &info), PIGEON_OK);
    assert_int_equal(info.sessions, 42);
    assert_string_equal(info.node_id.ptr, "node");
    memset(&old, 0x7f, sizeof(old));
    old.size = offsetof(pigeon_info, connections);
    assert_int_equal(inst->host.info(inst, &old), PIGEON_OK);
    assert_int_equal(old.size, offsetof(pigeon_info, connections));
    assert_int_equal(old.connections, 0x7f7f7f7f7f7f7f7f);
    assert_non_null(inst->host.get(inst, PIGEON_IF_METRICS, sizeof(pigeon_metrics)));
    assert_null(inst->host.get(inst, PIGEON_IF_METRICS, 4096));
    assert_null(inst->host.get(inst, "pigeon.nothing/1", 0));
    world_fini(&f.w);
}

static void on_metric(void *arg, const pigeon_metric *m)
{
    pigeon_metric *out = arg;

    if (strcmp(m->name, "test_h") == 0) {
        *out = *m;
        out->buckets_bits = m->buckets[0] * 1000000 + m->buckets[2] * 1000 + m->buckets[23];
    }
}

static void metrics_of_all_loops_add_up(void **state)
{
    struct floor f;
    struct instance *inst = begin(&f, 2, "p0.so");
    struct instance *other = &f.w.hooks->plugins[0].instances[1];
    int32_t c = inst->host.metric(inst, "test_c", "counter", PIGEON_METRIC_COUNTER);
    int32_t g = inst->host.metric(inst, "test_g", "gauge", PIGEON_METRIC_GAUGE);
    int32_t h = inst->host.metric(inst, "test_h", "histogram", PIGEON_METRIC_HISTOGRAM);
    pigeon_metric found = { 0 };

    (void)state;
    assert_true(c >= 0 && g >= 0 && h >= 0);
    assert_int_equal(other->host.metric(other, "test_c", "", PIGEON_METRIC_COUNTER), c);
    assert_int_equal(other->host.metric(other, "test_c", "", PIGEON_METRIC_GAUGE), PIGEON_E_INVAL);
    assert_int_equal(other->host.metric(other, "bad name", "", 0), PIGEON_E_INVAL);
    inst->host.metric_add(inst, c, 5);
    other->host.metric_add(other, c, 2);
    inst->host.metric_add(inst, 100000, 2);
    inst->host.metric_add(inst, -1, 2);
    inst->host.metric_set(inst, g, 9);
    inst->host.metric_observe(inst, h, 256);
    inst->host.metric_observe(inst, h, 1000);
    inst->host.metric_observe(inst, h, INT64_C(3600000000000));
    assert_int_equal(metric_value(&f.w, "p", "test_c"), 7);
    assert_int_equal(metric_value(&f.w, "p", "test_g"), 9);
    host_metrics_table.each(inst, on_metric, &found);
    assert_int_equal(found.value, 3);
    assert_int_equal(found.sum_ns, INT64_C(3600000001256));
    assert_int_equal(found.buckets_bits, 1001001);
    world_fini(&f.w);
}

/* ---- facts --------------------------------------------------------------------------- */

static void facts(struct floor *f, uint32_t loop, struct identity *who)
{
    struct hook_loop *hl = hooks_loop(f->w.hooks, loop);
    pigeon_str filter = { .ptr = "a/+", .len = 3 };
    pigeon_sub subs[2] = { { .size = sizeof(pigeon_sub), .filter = filter, .effective = filter },
                           { .size = sizeof(pigeon_sub), .filter = filter, .effective = filter } };
    struct message *m = message_with("a/1", "n");

    events_client(hl, who);
    events_subscribed(hl, who, subs, 2);
    events_publish(hl, who, m);
    events_publish(hl, NULL, m);
    events_heartbeat(hl);
    message_unref(&m);
}

static void facts_reach_the_instance_of_the_loop(void **state)
{
    struct floor f;
    struct identity *who = client_new(0);

    (void)state;
    begin(&f, 1, "p0.so");
    assert_true(events_wants(hooks_loop(f.w.hooks, 0), EVENT_CLIENT));
    assert_false(events_wants(hooks_loop(f.w.hooks, 0), EVENT_PING));
    facts(&f, 0, who);
    assert_int_equal(metric_value(&f.w, "p", "events"), 6);
    events_ping(hooks_loop(f.w.hooks, 0), who);
    assert_int_equal(metric_value(&f.w, "p", "events"), 6);
    identity_unref(&who);
    world_fini(&f.w);
}

static void a_single_instance_gets_copies_of_facts_from_other_loops(void **state)
{
    struct floor f;
    struct identity *who = client_new(1);

    (void)state;
    begin(&f, 2, "single.so");
    facts(&f, 1, who);
    assert_int_equal(metric_value(&f.w, "p", "events"), 0);
    identity_unref(&who);
    turn(&f);
    assert_int_equal(metric_value(&f.w, "p", "events"), 6);
    world_fini(&f.w);
}

static void facts_beyond_the_bound_are_dropped_and_counted(void **state)
{
    struct floor f;
    struct identity *who = client_new(1);

    (void)state;
    begin(&f, 2, "single.so");
    for (int i = 0; i < 10100; i++)
        events_client(hooks_loop(f.w.hooks, 1), who);
    assert_int_equal(metric_value(&f.w, "p", "events_lost"), 100);
    turn(&f);
    assert_int_equal(metric_value(&f.w, "p", "events"), 10000);
    events_client(hooks_loop(f.w.hooks, 1), who);
    turn(&f);
    assert_int_equal(metric_value(&f.w, "p", "events"), 10001);
    identity_unref(&who);
    world_fini(&f.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_published_message_reaches_the_broker_on_the_instances_loop),
        cmocka_unit_test(what_is_published_while_the_broker_stops_is_dropped),
        cmocka_unit_test(a_subscription_waits_for_each_pending_message),
        cmocka_unit_test(a_plugin_may_unsubscribe_within_its_own_callback),
        cmocka_unit_test(what_a_plugin_leaves_subscribed_ends_with_it),
        cmocka_unit_test(kick_and_invalidate_reach_every_loop),
        cmocka_unit_test(posts_timers_and_descriptors_run_on_the_loop),
        cmocka_unit_test(loop_functions_refuse_other_threads_in_debug_builds),
        cmocka_unit_test(info_fills_what_the_caller_has_room_for),
        cmocka_unit_test(metrics_of_all_loops_add_up),
        cmocka_unit_test(facts_reach_the_instance_of_the_loop),
        cmocka_unit_test(a_single_instance_gets_copies_of_facts_from_other_loops),
        cmocka_unit_test(facts_beyond_the_bound_are_dropped_and_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
