/* pigeon-passwd: adds, changes and deletes users in a password file of auth-file.
 *
 * The file is replaced as a whole or not at all; all other lines stay as they are. Passwords come
 * from the terminal or standard input, never from the command line, where everybody sees them. */
#include "hash.h"
#include "users.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_MAX 1024

struct args {
    bool create, delete, batch;
    enum hash_kind kind;
    unsigned iterations;
    const char *path, *user;
};

struct text {
    char *bytes; /* malloc */
    size_t len;
};

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
    va_list args;

    fputs("pigeon-passwd: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- the file ---------------------------------------------------------------------------- */

/* Opened and locked against other pigeon-passwd; -1: a complaint was made. */
static int open_locked(const struct args *a)
{
    for (;;) {
        int fd = open(a->path, O_RDWR | O_CLOEXEC | (a->create ? O_CREAT | O_EXCL : 0), 0600);
        struct stat mine, now;

        if (fd < 0) {
            complain("%s: %s%s", a->path, strerror(errno),
                     errno == ENOENT ? " (-c makes a new file)" : "");
            return -1;
        }
        if (flock(fd, LOCK_EX) < 0 || fstat(fd, &mine) < 0 || !S_ISREG(mine.st_mode)) {
            complain("%s: cannot be locked, or is no regular file", a->path);
            close(fd);
            return -1;
        }
        /* Another one may have put a new file in its place meanwhile. */
        if (stat(a->path, &now) == 0 && now.st_dev == mine.st_dev && now.st_ino == mine.st_ino)
            return fd;
        close(fd);
    }
}

static bool read_fd(int fd, struct text *r)
{
    size_t size = 0;
    ssize_t n;

    *r = (struct text){ 0 };
    do {
        if (r->len + 1 >= size) {
            char *more = realloc(r->bytes, size = size ? size * 2 : 4096);

            if (!more)
                return false;
            r->bytes = more;
        }
        n = read(fd, r->bytes + r->len, size - r->len - 1);
        r->len += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    r->bytes[r->len] = '\0';
    return n == 0;
}

static bool write_all(int fd, const struct text *t)
{
    for (size_t at = 0; at < t->len;) {
        ssize_t n = write(fd, t->bytes + at, t->len - at);

        if (n < 0 && errno != EINTR)
            return false;
        at += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0;
}

static void sync_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

/* As the old file's; where only its group can be had, who could read it still can. */
static bool take_owner(int fd, const struct stat *old)
{
    struct stat now;

    if (fchown(fd, old->st_uid, old->st_gid) == 0)
        return true;
    return old->st_uid == geteuid() && fstat(fd, &now) == 0 &&
           (now.st_gid == old->st_gid || !(old->st_mode & 060));
}

/* A new file in the old one's place, with its owner and no more rights than 0660. */
static bool replace(const char *path, int old_fd, const struct text *t)
{
    char *temporary;
    struct stat st;
    bool ok;
    int fd;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return false;
    fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    ok = fd >= 0 && fstat(old_fd, &st) == 0 && take_owner(fd, &st) &&
         fchmod(fd, st.st_mode & 0660) == 0 && write_all(fd, t) && rename(temporary, path) == 0;
    if (!ok)
        complain("%s: %s", path, strerror(errno));
    if (!ok && fd >= 0)
        unlink(temporary);
    if (fd >= 0)
        close(fd);
    free(temporary);
    if (ok)
        sync_folder(path);
    return ok;
}

/* ---- its text ---------------------------------------------------------------------------- */

/* The line of a user, with its line end; NULL: none. */
static char *find_line(const struct text *t, const char *user, size_t *r_len)
{
    size_t n = strlen(user);

    for (char *at = t->bytes; *at;) {
        size_t len = strcspn(at, "\n");

        len += at[len] == '\n';
        if (len > n && memcmp(at, user, n) == 0 && at[n] == ':') {
            *r_len = len;
            return at;
        }
        at += len;
    }
    return NULL;
}

/* Puts `line` in the place of the user's one, or at the end; "": takes it out. */
static bool put_line(struct text *t, const char *user, const char *line)
{
    size_t n = 0, n_line = strlen(line);
    char *at = find_line(t, user, &n);
    size_t before = at ? (size_t)(at - t->bytes) : t->len;
    bool no_end = !at && t->len && t->bytes[t->len - 1] != '\n';
    char *made = malloc(t->len + n_line + 2);
    size_t len = before;

    if (!made)
        return false;
    memcpy(made, t->bytes, before);
    if (no_end)
        made[len++] = '\n';
    memcpy(made + len, line, n_line);
    len += n_line;
    memcpy(made + len, t->bytes + before + n, t->len - before - n);
    len += t->len - before - n;
    made[len] = '\0';
    free(t->bytes);
    *t = (struct text){ made, len };
    return true;
}

static bool is_user_name(const char *user)
{
    return *user && *user != '#' && !strpbrk(user, ":\r\n") && !strchr(" \t", *user);
}

static bool set_password(const struct args *a, struct text *t, const char *user,
                         const char *password)
{
    char hash[HASH_MAX], *line;
    int r;

    if (!is_user_name(user)) {
        complain("'%s' cannot be a user name: it is empty, or has a colon, '#' or blank in the "
                 "wrong place",
                 user);
        return false;
    }
    if (!*password) {
        complain("the password of '%s' is empty", user);
        return false;
    }
    r = hash_make(a->kind, a->iterations, password, strlen(password), hash);
    if (r < 0) {
        complain("the password of '%s' cannot be hashed: %s", user,
                 r == -EINVAL    ? "too long for this method"
                 : r == -ENOTSUP ? "this build does not know the method"
                                 : strerror(-r));
        return false;
    }
    if (asprintf(&line, "%s:%s\n", user, hash) < 0)
        return false;
    bool ok = put_line(t, user, line);
    free(line);
    return ok;
}

/* ---- passwords --------------------------------------------------------------------------- */

/* One line without its end; false: there is none, or it is too long. */
static bool read_line(FILE *f, char *line, size_t size)
{
    if (!fgets(line, (int)size, f))
        return false;
    if (!strchr(line, '\n') && !feof(f))
        return false;
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static bool ask(FILE *tty, const char *prompt, char *r_password)
{
    struct termios before, quiet;
    bool ok;

    if (tcgetattr(fileno(tty), &before) < 0)
        return false;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    fputs(prompt, stderr);
    tcsetattr(fileno(tty), TCSAFLUSH, &quiet);
    ok = read_line(tty, r_password, PASSWORD_MAX);
    tcsetattr(fileno(tty), TCSAFLUSH, &before);
    fputc('\n', stderr);
    return ok;
}

static bool get_password(char *r_password)
{
    char again[PASSWORD_MAX] = "";
    bool ok;

    if (!isatty(STDIN_FILENO))
        return read_line(stdin, r_password, PASSWORD_MAX);
    ok = ask(stdin, "password: ", r_password) && ask(stdin, "again: ", again);
    if (ok && strcmp(again, r_password) != 0) {
        complain("they differ");
        ok = false;
    }
    OPENSSL_cleanse(again, sizeof(again));
    return ok;
}

/* `NAME:PASSWORD` lines; one that is wrong, and nothing changes. */
static bool take_batch(const struct args *a, struct text *t)
{
    char line[PASSWORD_MAX + 65536];
    bool ok = true;

    for (unsigned n = 1; ok && read_line(stdin, line, sizeof(line)); n++) {
        char *password = strchr(line, ':');

        if (!*line)
            continue;
        if (!password) {
            complain("standard input:%u: no ':' between user name and password", n);
            ok = false;
            break;
        }
        *password++ = '\0';
        ok = set_password(a, t, line, password);
    }
    OPENSSL_cleanse(line, sizeof(line));
    return ok && feof(stdin);
}

static bool delete_user(const struct args *a, struct text *t)
{
    size_t n;

    if (!find_line(t, a->user, &n)) {
        complain("%s: there is no user '%s'", a->path, a->user);
        return false;
    }
    return put_line(t, a->user, "");
}

static bool change(const struct args *a, struct text *t)
{
    char password[PASSWORD_MAX] = "";
    bool ok;

    if (a->batch)
        return take_batch(a, t);
    if (a->delete)
        return delete_user(a, t);
    ok = get_password(password) && set_password(a, t, a->user, password);
    OPENSSL_cleanse(password, sizeof(password));
    return ok;
}

static bool has_users(const struct text *t)
{
    for (const char *at = t->bytes; *at;) {
        size_t n = strcspn(at, "\n");

        if (n && *at != '#')
            return true;
        at += n + (at[n] == '\n');
    }
    return false;
}

/* What is not a password file already is not touched. */
static bool is_sound(const struct args *a, const struct text *t)
{
    char err[512] = "";
    struct users *users;

    if (!has_users(t))
        return true;
    if (users_parse(a->path, t->bytes, t->len, err, sizeof(err), &users) < 0) {
        complain("%s", err);
        return false;
    }
    users_unref(&users);
    return true;
}

static bool edit(const struct args *a)
{
    struct text t = { 0 };
    int fd = open_locked(a);
    bool ok = fd >= 0 && read_fd(fd, &t) && is_sound(a, &t) && change(a, &t) && is_sound(a, &t) &&
              replace(a->path, fd, &t);

    if (ok && !has_users(&t))
        complain("%s has no users left: the broker does not take such a file", a->path);
    if (!ok && fd >= 0 && a->create)
        unlink(a->path);
    free(t.bytes);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* ---- command line ------------------------------------------------------------------------ */

static int usage(FILE *out)
{
    fputs("usage: pigeon-passwd [-c] [-H METHOD] [-i N] FILE USER   sets a password\n"
          "       pigeon-passwd [-c] [-H METHOD] [-i N] --batch FILE   NAME:PASSWORD lines from "
          "stdin\n"
          "       pigeon-passwd -D FILE USER   deletes a user\n"
          "  -c, --create      a new file\n"
          "  -H, --hash        argon2id, pbkdf2, yescrypt, bcrypt, sha512\n"
          "  -i, --iterations  of pbkdf2\n",
          out);
    return out == stdout ? 0 : 2;
}

#define ITERATIONS_MIN 1000u

static bool iterations_of(const char *text, unsigned *r_iterations)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || n < ITERATIONS_MIN || n > HASH_ITERATIONS_MAX)
        return false;
    *r_iterations = (unsigned)n;
    return true;
}

/* 0, or what main returns. */
static int read_args(int argc, char **argv, struct args *a)
{
    static const struct option longs[] = {
        { "create", no_argument, NULL, 'c' },
        { "delete", no_argument, NULL, 'D' },
        { "batch", no_argument, NULL, 'b' },
        { "hash", required_argument, NULL, 'H' },
        { "iterations", required_argument, NULL, 'i' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    for (int c; (c = getopt_long(argc, argv, "cDH:i:h", longs, NULL)) != -1;) {
        switch (c) {
        case 'c': a->create = true; break;
        case 'D': a->delete = true; break;
        case 'b': a->batch = true; break;
        case 'H':
            if (hash_kind_of(optarg, &a->kind))
                break;
            return usage(stderr);
        case 'i':
            if (iterations_of(optarg, &a->iterations))
                break;
            return usage(stderr);
        case 'h': usage(stdout); return -1;
        default: return usage(stderr);
        }
    }
    if (argc - optind != (a->batch ? 1 : 2) || (a->delete &&(a->batch || a->create)))
        return usage(stderr);
    a->path = argv[optind];
    a->user = a->batch ? NULL : argv[optind + 1];
    return 0;
}

int main(int argc, char **argv)
{
    struct args a = { .kind = hash_kind_preset() };
    int r = read_args(argc, argv, &a);

    if (r != 0)
        return r < 0 ? 0 : r;
    return edit(&a) ? 0 : 1;
}
