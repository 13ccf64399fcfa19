/* users.h - a password file, read: names and hashes, sorted by name.
 *
 * Immutable and reference counted: who checks a password keeps the file it looked at, while a
 * reload puts a new one in its place. */
#pragma once
#include <stddef.h>

struct users;

struct user {
    const char *name;
    const char *hash; /* both live as long as the file */
};

/* 0, or a negative errno with the reason, "FILE:LINE: ...", in `err`. A file without users is
 * refused. */
int users_load(const char *path, char *err, size_t err_size, struct users **r_users);
/* The same of a text in memory; `path` is for messages. */
int users_parse(const char *path, const void *text, size_t len, char *err, size_t err_size,
                struct users **r_users);
struct users *users_ref(struct users *users);
void users_unref(struct users **users);

size_t users_count(const struct users *users);
const struct user *users_at(const struct users *users, size_t i);
/* NULL: there is no such user. */
const struct user *users_find(const struct users *users, const char *name);
