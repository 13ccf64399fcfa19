/* checker.h - who may come in: the current password file, the threads that check passwords against
 * it, what they remember, and who is in.
 *
 * One for the whole plugin, called from all loops; it locks. Passwords are checked on its own
 * threads, never on the caller's; what waits for them is bounded. */
#pragma once
#include "users.h"
#include <pigeon/plugin.h>
#include <stdbool.h>

struct checker;

struct checker_setup {
    const pigeon_host *host;
    unsigned n_threads;
    unsigned queue;    /* most questions that wait */
    size_t cache_size; /* most passwords remembered */
};

/* What a reload may change. */
struct checker_policy {
    int32_t anonymous; /* the verdict about clients without user name */
    int32_t unknown;   /* about users who are not in the file: PIGEON_DENY or PIGEON_NEXT */
    int64_t cache_ns;  /* how long a password is remembered; 0: not at all */
    bool ends_withdrawn;
};

/* 0, -ENOMEM or -EAGAIN (no thread). The users are taken when it succeeds. */
int checker_new(const struct checker_setup *setup, const struct checker_policy *policy,
                struct users *m_users, struct checker **r_checker);
/* Answers what waits with a denial, as everything from now on, and joins the threads. */
void checker_stop(struct checker *c);
void checker_free(struct checker **checker);

/* A verdict, or PIGEON_PENDING and one later. */
int32_t checker_ask(struct checker *c, pigeon_req *req, const pigeon_connect *connect);
/* The question is void: it is answered at once unless a thread is at it. */
void checker_cancel(struct checker *c, pigeon_token token);
/* What checker_ask has left in pigeon_req.client_slot: the connection is over. */
void checker_leave(struct checker *c, void *slot);
/* The file and what is to be done from now on. Ends connections of users that are gone or have
 * another hash, if the policy says so; how many. */
unsigned checker_change(struct checker *c, const struct checker_policy *policy,
                        struct users *m_users);
/* Ends again what checker_change has ended too early to be there; false: all are gone. */
bool checker_end_withdrawn(struct checker *c);
