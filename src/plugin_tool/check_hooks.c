/* Groups 3 and 4: every hook with every input, and answers that come late. */
#include "plugin_tool/check.h"
#include <stdlib.h>

#define N_AT_ONCE 100

static void no_complaints(pigeon_mock *m)
{
    if (pigeon_mock_complaints(m))
        isolate_fail("%s", pigeon_mock_complaint(m, 0));
}

/* Waits for a late answer, then for the answer to the cancel; it has to come. */
static void end_of(pigeon_mock_ask *ask, const char *name)
{
    if (pigeon_mock_wait(ask, CHECK_ANSWER_MS) != PIGEON_PENDING)
        return;
    pigeon_mock_cancel(ask, PIGEON_CANCEL_DEADLINE);
    pigeon_mock_wait(ask, CHECK_ANSWER_MS);
    if (!pigeon_mock_completed(ask))
        isolate_fail("%s was answered PENDING, cancelled, and never completed", name);
}

/* ---- group 3 --------------------------------------------------------------------------------- */

static void hook_bears_input(const struct check_case *c)
{
    enum input input = (enum input)c->input;
    pigeon_mock *m = case_create(c, input_release(input));
    struct check_input *in = check_input_new(m, input);

    isolate_at("%s, %s", subject_name(c->subject), input_names[input]);
    if (c->subject < N_DECISIONS) {
        pigeon_mock_client *client = check_input_client(in);

        for (int twice = 0; twice < 2; twice++) /* the second time, slots may be filled */
            end_of(subject_ask(in, c->subject, client), subject_name(c->subject));
        isolate_at("client_free after %s", subject_name(c->subject));
        pigeon_mock_client_gone(client);
    } else {
        subject_tell(in, c->subject);
    }
    pigeon_mock_run(m);
    no_complaints(m);
    case_finish(m);
    check_input_free(&in);
}

static void hook_does_not_block(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct check_input *in = check_input_new(m, INPUT_NORMAL);
    int64_t best = INT64_MAX;

    if (pigeon_mock_plugin(m)->flags & PIGEON_F_MAY_BLOCK)
        isolate_skip("it may block (MAY_BLOCK)");
    isolate_at("%s", subject_name(c->subject));
    for (int i = 0; i < 3 && best > CHECK_BLOCK_MS; i++) {
        int64_t begin = isolate_clock_ms(), took;
        pigeon_mock_ask *ask = NULL;

        if (c->subject < N_DECISIONS)
            ask = subject_ask(in, c->subject, check_input_client(in));
        else
            subject_tell(in, c->subject);
        took = isolate_clock_ms() - begin;
        best = took < best ? took : best;
        if (ask)
            end_of(ask, subject_name(c->subject));
    }
    if (best > CHECK_BLOCK_MS)
        isolate_fail("%s keeps the event loop for %lld ms: answer PENDING and complete() later, or "
                     "say PIGEON_F_MAY_BLOCK",
                     subject_name(c->subject), (long long)best);
    pigeon_mock_free(&m);
    check_input_free(&in);
}

/* A setter of the host fails: the request is refused, nothing crashes or leaks. */
static void hook_bears_failing_setters(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct check_input *in = check_input_new(m, INPUT_NORMAL);

    isolate_at("%s, setters fail", subject_name(c->subject));
    pigeon_mock_fail(m, PIGEON_MOCK_FAIL_SETTER, 0, PIGEON_E_NOMEM);
    pigeon_mock_fail(m, PIGEON_MOCK_FAIL_PUBLISH, 0, PIGEON_E_NOMEM);
    pigeon_mock_fail(m, PIGEON_MOCK_FAIL_POST, 0, PIGEON_E_NOMEM);
    pigeon_mock_fail(m, PIGEON_MOCK_FAIL_WATCH, 0, PIGEON_E_NOMEM);
    end_of(subject_ask(in, c->subject, check_input_client(in)), subject_name(c->subject));
    no_complaints(m);
    case_finish(m);
    check_input_free(&in);
}

/* Decisions have a client at least while connecting, and then lack name and password. */
static bool is_sensible(uint32_t subject, enum input input)
{
    return subject < N_DECISIONS || input != INPUT_NO_CLIENT || subject_may_lack_client(subject);
}

/* Which hooks there are is asked in the parent's stead by a child: loading runs code. */
static void is_it_there(void *arg)
{
    const struct check_case *c = arg;
    pigeon_mock *m = case_load(c, PIGEON_MOCK_SAME);

    if (!subject_is_there(m, c->subject))
        isolate_skip("not there");
}

static bool is_there(const struct check *check, uint32_t subject)
{
    struct check_case c = { check, 3, "", NULL, subject, 0 };
    struct isolate_result r;

    isolate_run(is_it_there, &c, check->timeout_ms, &r);
    return r.outcome == OUTCOME_PASSED;
}

static void run_named(const struct check *check, uint32_t group, uint32_t subject, enum input input,
                      void (*fn)(const struct check_case *c), const char *what)
{
    char name[160];
    struct check_case c = { check, group, name, fn, subject, input };

    snprintf(name, sizeof(name), "%s, %s", subject_name(subject), what);
    check_run(&c);
}

void check_hooks(const struct check *check)
{
    for (uint32_t s = 0; s < subject_count(); s++) {
        if (!is_there(check, s))
            continue;
        for (uint32_t i = 0; i < N_INPUTS; i++)
            if (is_sensible(s, (enum input)i))
                run_named(check, 3, s, (enum input)i, hook_bears_input, input_names[i]);
        run_named(check, 3, s, INPUT_NORMAL, hook_does_not_block, "does not keep the loop");
        if (s < N_DECISIONS)
            run_named(check, 3, s, INPUT_NORMAL, hook_bears_failing_setters,
                      "what it asks of the broker fails");
    }
}

/* ---- group 4 --------------------------------------------------------------------------------- */

/* A question that is pending; skips the case when the hook answers at once. */
static pigeon_mock_ask *pending(struct check_input *in, const struct check_case *c,
                                pigeon_mock_client *client)
{
    pigeon_mock_ask *ask = subject_ask(in, c->subject, client);

    if (pigeon_mock_verdict(ask) != PIGEON_PENDING && !pigeon_mock_completed(ask))
        isolate_skip("it answers at once");
    return ask;
}

static void expect_completed(const pigeon_mock_ask *ask, const char *after)
{
    if (pigeon_mock_completed(ask) != 1)
        isolate_fail("complete() was called %u times after %s; once is owed",
                     pigeon_mock_completed(ask), after);
}

static void late_after_the_deadline(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct check_input *in = check_input_new(m, INPUT_NORMAL);
    pigeon_mock_ask *ask = pending(in, c, check_input_client(in));

    isolate_at("cancel(DEADLINE) of %s", subject_name(c->subject));
    pigeon_mock_advance_ms(m, 3600000);
    pigeon_mock_wait(ask, CHECK_ANSWER_MS);
    expect_completed(ask, "the deadline");
    no_complaints(m);
    case_finish(m);
    check_input_free(&in);
}

static void late_for_a_client_that_is_gone(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct check_input *in = check_input_new(m, INPUT_NORMAL);
    pigeon_mock_client *client = check_input_client(in);
    pigeon_mock_ask *ask = pending(in, c, client);

    isolate_at("cancel(GONE) of %s", subject_name(c->subject));
    pigeon_mock_client_gone(client);
    pigeon_mock_wait(ask, CHECK_ANSWER_MS);
    expect_completed(ask, "the client's end");
    no_complaints(m);
    case_finish(m);
    check_input_free(&in);
}

static void late_when_the_broker_stops(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct check_input *in = check_input_new(m, INPUT_NORMAL);
    pigeon_mock_client *client = check_input_client(in);
    pigeon_mock_ask *ask = pending(in, c, client);

    isolate_at("stop with %s pending", subject_name(c->subject));
    pigeon_mock_cancel(ask, PIGEON_CANCEL_STOP);
    pigeon_mock_client_gone(client);
    if (pigeon_mock_quiesce(m, CHECK_ANSWER_MS) == PIGEON_E_BUSY)
        isolate_fail("quiesce was not answered within %d ms", CHECK_ANSWER_MS);
    pigeon_mock_destroy(m);
    if (!pigeon_mock_completed(ask))
        isolate_fail("destroy() came back with a question that was never completed");
    expect_completed(ask, "the stop");
    case_finish(m);
    check_input_free(&in);
}

static void many_late_ones_at_once(const struct check_case *c)
{
    pigeon_mock *m = case_create(c, PIGEON_MOCK_SAME);
    struct check_input *in = check_input_new(m, INPUT_NORMAL);
    pigeon_mock_ask *asks[N_AT_ONCE];

    isolate_at("%u questions to %s at once", N_AT_ONCE, subject_name(c->subject));
    for (uint32_t i = 0; i < N_AT_ONCE; i++) {
        pigeon_mock_client *client = check_input_client(in);

        asks[i] = pending(in, c, client);
        if (i % 3 == 1)
            pigeon_mock_client_gone(client);
        else if (i % 3 == 2)
            pigeon_mock_cancel(asks[i], PIGEON_CANCEL_DEADLINE);
    }
    for (uint32_t i = 0; i < N_AT_ONCE; i++)
        end_of(asks[i], subject_name(c->subject));
    for (uint32_t i = 0; i < N_AT_ONCE; i++)
        expect_completed(asks[i], "100 questions");
    no_complaints(m);
    case_finish(m);
    check_input_free(&in);
}

void check_late(const struct check *check)
{
    for (uint32_t s = 0; s < N_DECISIONS; s++) {
        if (!is_there(check, s))
            continue;
        run_named(check, 4, s, INPUT_NORMAL, late_after_the_deadline, "answers after the deadline");
        run_named(check, 4, s, INPUT_NORMAL, late_for_a_client_that_is_gone,
                  "answers for a client that is gone");
        run_named(check, 4, s, INPUT_NORMAL, late_when_the_broker_stops,
                  "answers when the broker stops");
        run_named(check, 4, s, INPUT_NORMAL, many_late_ones_at_once, "answers a hundred at once");
    }
}
