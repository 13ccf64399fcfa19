#include "users.h"
#include "hash.h"
#include "textfile.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    struct user user;
    unsigned line;
};

struct users {
    atomic_uint refs;
    char *text; /* names and hashes point into it */
    struct row *rows;
    size_t n, cap;
};

static int add(struct users *users, const struct row *row)
{
    if (users->n == users->cap) {
        size_t cap = users->cap ? users->cap * 2 : 64;
        struct row *more = reallocarray(users->rows, cap, sizeof(*more));

        if (!more)
            return -ENOMEM;
        users->rows = more;
        users->cap = cap;
    }
    users->rows[users->n++] = *row;
    return 0;
}

/* `NAME:HASH`; what comes behind a further colon is ignored, as in files of crypt(3)'s kind. */
static int parse_line(struct users *users, struct textfile *f, char *line)
{
    char *hash = strchr(line, ':');
    const char *fault;

    if (!*line || *line == '#')
        return 0;
    if (!hash)
        return textfile_fail(f, "no ':' between user name and hash");
    if (hash == line)
        return textfile_fail(f, "the user name is missing");
    *hash++ = '\0';
    hash[strcspn(hash, ":")] = '\0';
    fault = hash_fault(hash);
    if (fault)
        return textfile_fail(f, "user '%.100s': %s", line, fault);
    return add(users, &(struct row){ { line, hash }, f->line });
}

static int by_name(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int r = strcmp(x->user.name, y->user.name);

    return r ? r : (x->line > y->line) - (x->line < y->line);
}

static int parse(struct users *users, struct textfile *f)
{
    char *line;
    int r;

    while ((r = textfile_next(f, &line)) == 1)
        if ((r = parse_line(users, f, line)) < 0)
            return r;
    if (r < 0)
        return r;
    if (users->n == 0)
        return textfile_fail(f, "there is no user: nobody could come in");
    qsort(users->rows, users->n, sizeof(users->rows[0]), by_name);
    for (size_t i = 1; i < users->n; i++)
        if (strcmp(users->rows[i - 1].user.name, users->rows[i].user.name) == 0) {
            f->line = users->rows[i].line;
            return textfile_fail(f, "user '%.100s' is there already, in line %u",
                                 users->rows[i].user.name, users->rows[i - 1].line);
        }
    return 0;
}

/* Takes the text of the file, also on failure. */
static int build(struct textfile *f, struct users **r_users)
{
    struct users *users = calloc(1, sizeof(*users));
    int r;

    if (users)
        atomic_init(&users->refs, 1);
    r = users ? parse(users, f) : -ENOMEM;
    if (r == -ENOMEM)
        snprintf(f->err, f->err_size, "%s: out of memory", f->path);
    if (users)
        users->text = textfile_release(f);
    textfile_fini(f);
    if (r < 0)
        users_unref(&users);
    else
        *r_users = users;
    return r;
}

int users_load(const char *path, char *err, size_t err_size, struct users **r_users)
{
    struct textfile f;
    int r = textfile_read(&f, path, err, err_size);

    return r < 0 ? r : build(&f, r_users);
}

int users_parse(const char *path, const void *text, size_t len, char *err, size_t err_size,
                struct users **r_users)
{
    struct textfile f;
    int r = textfile_copy(&f, path, text, len, err, err_size);

    return r < 0 ? r : build(&f, r_users);
}

struct users *users_ref(struct users *users)
{
    atomic_fetch_add(&users->refs, 1);
    return users;
}

void users_unref(struct users **users)
{
    struct users *u = *users;

    *users = NULL;
    if (!u || atomic_fetch_sub(&u->refs, 1) != 1)
        return;
    free(u->rows);
    free(u->text);
    free(u);
}

size_t users_count(const struct users *users)
{
    return users->n;
}

const struct user *users_at(const struct users *users, size_t i)
{
    return &users->rows[i].user;
}

static int by_key(const void *name, const void *row)
{
    return strcmp(name, ((const struct row *)row)->user.name);
}

const struct user *users_find(const struct users *users, const char *name)
{
    const struct row *row = bsearch(name, users->rows, users->n, sizeof(users->rows[0]), by_key);

    return row ? &row->user : NULL;
}
