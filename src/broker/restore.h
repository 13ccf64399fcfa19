/* restore.h - at start: sessions, subscriptions, retained messages, queues and wills out of the
 * store. */
#pragma once
#include "broker/broker.h"

/* Before the loops run. 0, -ENOMEM, -EIO. */
int broker_restore(struct broker *b);
