/* check.h - pigeon-plugin check: cases, how they are run, how they are told. */
#pragma once
#include "plugin_tool/isolate.h"
#include <pigeon-mock/mock.h>
#include <stdbool.h>
#include <stdio.h>

#define CHECK_TIMEOUT_MS 10000 /* of one case, unless --timeout says otherwise */
#define CHECK_ANSWER_MS  2000  /* real time that a late answer may take */
#define CHECK_BLOCK_MS   50    /* what the broker calls a stall (hook_warn) */

/* What is asked, and how much: the command line, constant. */
struct check {
    const char *path; /* resolved */
    const char *dir;  /* the one it was called in */
    char **options;   /* KEY=VALUE */
    int n_options;
    bool json;
    const char *only; /* cases whose name contains it; NULL: all */
    int64_t timeout_ms;
    struct report *report;
};

struct check_case {
    const struct check *check;
    uint32_t group; /* 1 to 4, 5: a store's contract */
    const char *name;
    void (*fn)(const struct check_case *c);
    uint32_t subject, input; /* of the hooks */
};

/* ---- told as TAP or JSON (report.c) ---- */

struct report;
struct report *report_new(bool json, const char *path);
void report_add(struct report *r, uint32_t group, const char *name,
                const struct isolate_result *result);
/* Plan or closing bracket; number of failed cases. */
uint32_t report_end(struct report **r);

/* Runs the case in a child and tells it; true: passed, skipped, or not asked for. */
bool check_run(const struct check_case *c);

/* ---- the groups ---- */

/* 1: file, note, symbols; 2: options, life. False: the rest makes no sense. */
bool check_file(const struct check *check);
bool check_life(const struct check *check);
/* 3: every hook with every input; 4: late answers. */
void check_hooks(const struct check *check);
void check_late(const struct check *check);
/* The contract of pigeon.store/1. */
void check_store(const struct check *check);

/* ---- for cases, in the child ---- */

/* A mock with the plugin loaded and the options of the command line set; fails the case. */
pigeon_mock *case_load(const struct check_case *c, int release);
pigeon_mock *case_create(const struct check_case *c, int release);
/* Ends the mock; any complaint fails the case. */
void case_finish(pigeon_mock *m);

/* What a process has, to be compared. */
struct census {
    uint32_t n_fds, n_threads, n_files;
    size_t heap;
};
void census_take(struct census *r_census);
/* Fails the case when `now` has more than `before`; heap: bytes that may be more. Threads that end
 * are waited for. */
void census_compare(const struct census *before, const char *what, size_t heap);

/* ---- hooks and inputs (check_input.c) ---- */

enum input {
    INPUT_NORMAL,
    INPUT_EMPTY,
    INPUT_HUGE,
    INPUT_BINARY,
    INPUT_NO_CLIENT,
    INPUT_UNKNOWN,
    INPUT_OLD_HOST,
    INPUT_NEW_HOST,
    N_INPUTS
};
extern const char *const input_names[N_INPUTS];
int input_release(enum input input);

struct check_input;
struct check_input *check_input_new(pigeon_mock *m, enum input input);
void check_input_free(struct check_input **in);
/* A client with this input's values; not for INPUT_NO_CLIENT of messages. */
pigeon_mock_client *check_input_client(struct check_input *in);

/* Subjects: decision hooks first, then facts, then the commands and the bus. */
#define N_DECISIONS 9u
uint32_t subject_count(void);
const char *subject_name(uint32_t subject);
bool subject_is_there(const pigeon_mock *m, uint32_t subject);
/* A fact that makes sense without a client. */
bool subject_may_lack_client(uint32_t subject);
/* Asks a decision hook: its question. */
pigeon_mock_ask *subject_ask(struct check_input *in, uint32_t subject, pigeon_mock_client *client);
/* Calls anything else. */
void subject_tell(struct check_input *in, uint32_t subject);
