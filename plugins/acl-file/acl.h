/* acl.h - an ACL file as Mosquitto has it, compiled: sections of rules, who has which section, and
 * patterns for everybody.
 *
 * Immutable after acl_file_load; whoever loaded it frees it. Knows neither broker nor connections:
 * for a client id and a user name it lists the rules in the order in which the first match decides.
 * What no rule allows is not allowed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_READ      1u /* what may be delivered       */
#define ACL_WRITE     2u /* what may be published       */
#define ACL_SUBSCRIBE 4u /* which SUBSCRIBE is accepted */
#define ACL_DENY      8u /* all of it is refused        */

struct acl_file;

/* 0, or a negative errno with the reason, "FILE:LINE: ...", in `err`. */
int acl_file_load(const char *path, char *err, size_t err_size, struct acl_file **r_file);
/* The same of a text in memory; `path` is for messages. */
int acl_file_parse(const char *path, const void *text, size_t len, char *err, size_t err_size,
                   struct acl_file **r_file);
void acl_file_free(struct acl_file **file);

/* Does the file use the word `subscribe`? If not, every SUBSCRIBE is accepted. */
bool acl_file_decides_subscribe(const struct acl_file *file);
/* Lines with the word `unsubscribe`, which has no effect. */
unsigned acl_file_n_unsubscribe(const struct acl_file *file);
size_t acl_file_n_rules(const struct acl_file *file);

/* `access`: some of ACL_READ, _WRITE, _SUBSCRIBE, or ACL_DENY. The filter lives until the return.
 * Not 0: enough, and acl_file_each returns it. */
typedef int (*acl_rule_fn)(void *arg, const char *filter, size_t len, unsigned access);

/* The rules of a client. user NULL: it has no user name. 0; -ENOMEM; -EINVAL: a pattern that denies
 * cannot be made for it, so that it must not come in at all; what fn returned. */
int acl_file_each(const struct acl_file *file, const char *user, const char *client_id,
                  acl_rule_fn fn, void *arg);
/* The first levels that begin with '$' in the file, as filters ("$SYS/#"); $SYS is always there. */
int acl_file_each_hidden(const struct acl_file *file, acl_rule_fn fn, void *arg);

/* Whose rules differ: fn for each user name, once or more; user NULL: everybody's may. Not 0:
 * enough. 0; -ENOMEM; what fn returned. */
typedef int (*acl_user_fn)(void *arg, const char *user);
int acl_file_diff(const struct acl_file *old, const struct acl_file *next, acl_user_fn fn,
                  void *arg);
