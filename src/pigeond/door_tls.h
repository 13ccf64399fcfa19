/* door_tls.h - the TLS of a listener, as its configuration has it. */
#pragma once
#include "config/config.h"
#include <stddef.h>

struct diag;
struct tls_context;
struct tls_tickets;

/* Reads the files. `tickets` (NULL: none are given) outlives the context. *r_context is NULL for a
 * listener without TLS. 0; -ENOMEM; -EINVAL with what is wrong in `reason`. */
int door_tls_new(const struct config_listener *l, struct tls_tickets *tickets, char *reason,
                 size_t room, struct tls_context **r_context);
/* Reads the files of all listeners and forgets them. 0 or -EINVAL: each that is wrong is in `d`. */
int door_tls_check(const struct config *config, struct diag *d);
