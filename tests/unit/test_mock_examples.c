/* The examples' own unit tests, as an author would write them. */
#include "unit.h"
#include <limits.h>
#include <pigeon-mock/mock.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The .so of an example of this build. */
static pigeon_mock *load(const char *name)
{
    pigeon_mock *m = pigeon_mock_new();
    char path[PATH_MAX + 64] = "";
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);

    assert_true(n > 0);
    path[n] = '\0';
    for (int up = 0; up < 3; up++)
        *strrchr(path, '/') = '\0';
    snprintf(path + strlen(path), 64, "/examples/%s.so", name);
    if (pigeon_mock_load(m, path) != PIGEON_OK)
        fail_msg("%s", pigeon_mock_error(m));
    return m;
}

static void done(pigeon_mock *m)
{
    pigeon_mock_finish(m);
    for (uint32_t i = 0; i < pigeon_mock_complaints(m); i++)
        print_error("%s\n", pigeon_mock_complaint(m, i));
    assert_int_equal(pigeon_mock_complaints(m), 0);
    pigeon_mock_free(&m);
}

static pigeon_mock_ask *login(pigeon_mock *m, const char *user, const char *password)
{
    return pigeon_mock_authenticate(pigeon_mock_client_new(m, "bird", user), password);
}

static void auth_static_lets_in_who_knows_the_password(void **state)
{
    pigeon_mock *m = load("auth_static");
    pigeon_mock_ask *ask;

    (void)state;
    pigeon_mock_option(m, "users", "[\"alice:secret\", \"bob:se:cret\"]");
    assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
    assert_int_equal(pigeon_mock_verdict(login(m, "alice", "secret")), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_verdict(login(m, "bob", "se:cret")), PIGEON_ALLOW);
    ask = login(m, "alice", "secre");
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_DENY);
    assert_int_equal(pigeon_mock_reason(ask), 0x86);
    assert_int_equal(pigeon_mock_verdict(login(m, NULL, NULL)), PIGEON_NEXT);
    assert_int_equal(pigeon_mock_verdict(login(m, "a/b", "x")), PIGEON_NEXT);
    done(m);
}

static void auth_static_pushes_rules_for_its_users(void **state)
{
    pigeon_mock *m = load("auth_static");
    pigeon_mock_ask *ask;

    (void)state;
    pigeon_mock_option(m, "users", "[\"alice:secret\"]");
    assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
    ask = login(m, "alice", "secret");
    assert_int_equal(pigeon_mock_acl(ask, PIGEON_ACL_PUBLISH, "dev/alice/x"), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_acl(ask, PIGEON_ACL_PUBLISH, "dev/bob/x"), PIGEON_DENY);
    assert_int_equal(pigeon_mock_acl(ask, PIGEON_ACL_SUBSCRIBE, "public/x"), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_acl(ask, PIGEON_ACL_PUBLISH, "public/x"), PIGEON_DENY);
    done(m);
}

static void auth_static_denies_when_a_rule_cannot_be_kept(void **state)
{
    pigeon_mock *m = load("auth_static");

    (void)state;
    pigeon_mock_option(m, "users", "[\"alice:secret\"]");
    assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
    for (uint32_t nth = 1; nth <= 3; nth++) {
        pigeon_mock_fail(m, PIGEON_MOCK_FAIL_SETTER, nth, PIGEON_E_NOMEM);
        assert_int_equal(pigeon_mock_verdict(login(m, "alice", "secret")), PIGEON_DENY);
    }
    assert_int_equal(pigeon_mock_verdict(login(m, "alice", "secret")), PIGEON_ALLOW);
    done(m);
}

static void auth_static_needs_users(void **state)
{
    pigeon_mock *m = load("auth_static");

    (void)state;
    assert_int_equal(pigeon_mock_create(m), PIGEON_E_INVAL);
    assert_non_null(strstr(pigeon_mock_error(m), "users"));
    done(m);
}

static pigeon_mock *late(const char *delay)
{
    pigeon_mock *m = load("auth_late");

    pigeon_mock_option(m, "users", "[\"alice:secret\"]");
    pigeon_mock_option(m, "forbidden", "no/");
    pigeon_mock_option(m, "delay", delay);
    assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
    return m;
}

static void auth_late_answers_from_its_thread(void **state)
{
    pigeon_mock *m = late("1ms");
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", "alice");
    pigeon_mock_ask *in = pigeon_mock_authenticate(c, "secret");
    pigeon_mock_ask *out = pigeon_mock_authenticate(c, "wrong");
    pigeon_mock_ask *publish = pigeon_mock_authorize_publish(c, "no/x", "");

    (void)state;
    assert_int_equal(pigeon_mock_wait(in, 10000), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_wait(out, 10000), PIGEON_DENY);
    assert_int_equal(pigeon_mock_wait(publish, 10000), PIGEON_DENY);
    done(m);
}

static void auth_late_answers_at_once_what_was_cancelled(void **state)
{
    static const int32_t why[] = { PIGEON_CANCEL_GONE, PIGEON_CANCEL_DEADLINE, PIGEON_CANCEL_STOP };
    pigeon_mock *m = late("1h");
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", "alice");

    (void)state;
    for (size_t i = 0; i < PIGEON_COUNT(why); i++) {
        pigeon_mock_ask *ask = pigeon_mock_authenticate(c, "secret");

        assert_int_equal(pigeon_mock_verdict(ask), PIGEON_PENDING);
        assert_true(pigeon_mock_cancel(ask, why[i]));
        pigeon_mock_wait(ask, 10000);
        assert_int_equal(pigeon_mock_completed(ask), 1);
    }
    done(m);
}

static void auth_late_survives_clients_that_vanish(void **state)
{
    pigeon_mock *m = late("1h");

    (void)state;
    for (int i = 0; i < 20; i++) {
        pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", "alice");

        pigeon_mock_authenticate(c, "secret");
        pigeon_mock_client_gone(c);
    }
    done(m);
}

static void auth_late_stops_with_questions_open(void **state)
{
    pigeon_mock *m = late("1h");

    (void)state;
    login(m, "alice", "secret");
    pigeon_mock_finish(m);
    assert_int_equal(pigeon_mock_pending(m), 0);
    done(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auth_static_lets_in_who_knows_the_password),
        cmocka_unit_test(auth_static_pushes_rules_for_its_users),
        cmocka_unit_test(auth_static_denies_when_a_rule_cannot_be_kept),
        cmocka_unit_test(auth_static_needs_users),
        cmocka_unit_test(auth_late_answers_from_its_thread),
        cmocka_unit_test(auth_late_answers_at_once_what_was_cancelled),
        cmocka_unit_test(auth_late_survives_clients_that_vanish),
        cmocka_unit_test(auth_late_stops_with_questions_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
