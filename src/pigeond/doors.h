/* doors.h - the listeners of the broker, by name: opened at the start, opened and closed by a
 * reload, closed at the stop. Loop 0's thread owns them. What they accept goes to conn_accept.
 *
 * A change has two steps: prepare opens what is new and may fail, commit cannot. */
#pragma once
#include "config/config.h"
#include "net/loop.h"

struct broker;
struct doors;
struct log;

/* 0 or -ENOMEM. */
int doors_new(struct loop_group *loops, struct log *log, struct doors **r_doors);
/* The loops have been joined. */
void doors_free(struct doors **doors);

/* Opens what `config` has and the present doors lack or have otherwise. Nothing is accepted yet,
 * nothing is closed. 0; negative errno: logged, and everything is as before. */
int doors_prepare(struct doors *doors, struct config *config);
/* Gives up what doors_prepare has opened. */
void doors_abort(struct doors *doors);
/* After doors_prepare, while every other loop stands still or has not begun: the doors are those of
 * its configuration, others are closed, and all let clients in. */
void doors_commit(struct doors *doors, struct broker *broker);
/* Nothing more is accepted. */
void doors_close(struct doors *doors);
