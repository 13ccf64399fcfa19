/* sweep.h - retained messages whose time is over leave the tree and the store, a portion at a time,
 * on loop 0. */
#pragma once
#include "broker/broker.h"

struct sweep;
int sweep_new(struct broker *b, struct sweep **r_sweep);
void sweep_free(struct sweep **sweep);
