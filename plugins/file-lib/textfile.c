#include "textfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail_whole(struct textfile *f, int error, const char *what)
{
    snprintf(f->err, f->err_size, "%s: %s", f->path, what ? what : strerror(error));
    return -error;
}

/* Up to the end of the file; it may have become shorter or longer since its size was asked for. */
static int read_all(struct textfile *f, int fd, size_t size)
{
    f->text = malloc(size + 1);
    if (!f->text)
        return -ENOMEM;
    while (f->len < size) {
        ssize_t n = read(fd, f->text + f->len, size - f->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        f->len += (size_t)n;
    }
    f->text[f->len] = '\0';
    return 0;
}

int textfile_read(struct textfile *f, const char *path, char *err, size_t err_size)
{
    struct stat st;
    int fd, r;

    *f = (struct textfile){ .path = path, .err = err, .err_size = err_size };
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fail_whole(f, errno, NULL);
    if (fstat(fd, &st) < 0)
        r = fail_whole(f, errno, NULL);
    else if (!S_ISREG(st.st_mode))
        r = fail_whole(f, EINVAL, "not a regular file");
    else if (st.st_size > (off_t)TEXTFILE_MAX)
        r = fail_whole(f, EFBIG, NULL);
    else if ((r = read_all(f, fd, (size_t)st.st_size)) < 0)
        r = fail_whole(f, -r, NULL);
    close(fd);
    if (r < 0)
        textfile_fini(f);
    return r;
}

int textfile_copy(struct textfile *f, const char *path, const void *text, size_t len, char *err,
                  size_t err_size)
{
    *f = (struct textfile){ .path = path, .err = err, .err_size = err_size, .len = len };
    f->text = malloc(len + 1);
    if (!f->text)
        return fail_whole(f, ENOMEM, NULL);
    if (len)
        memcpy(f->text, text, len);
    f->text[len] = '\0';
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

int textfile_next(struct textfile *f, char **r_line)
{
    char *begin = f->text + f->at;
    size_t left = f->len - f->at, len;
    char *end;

    if (left == 0)
        return 0;
    end = memchr(begin, '\n', left);
    len = end ? (size_t)(end - begin) : left;
    f->at += len + (end ? 1 : 0);
    f->line++;
    if (memchr(begin, '\0', len))
        return textfile_fail(f, "a NUL character");
    if (len > TEXTFILE_LINE_MAX)
        return textfile_fail(f, "the line is too long");
    while (len && is_blank(begin[len - 1]))
        len--;
    begin[len] = '\0';
    *r_line = begin;
    return 1;
}

int textfile_fail(struct textfile *f, const char *format, ...)
{
    int n = snprintf(f->err, f->err_size, "%s:%u: ", f->path, f->line);
    va_list args;

    va_start(args, format);
    if (n >= 0 && (size_t)n < f->err_size)
        vsnprintf(f->err + n, f->err_size - (size_t)n, format, args);
    va_end(args);
    return -EINVAL;
}

char *textfile_release(struct textfile *f)
{
    char *text = f->text;

    f->text = NULL;
    return text;
}

void textfile_fini(struct textfile *f)
{
    free(f->text);
    f->text = NULL;
}
