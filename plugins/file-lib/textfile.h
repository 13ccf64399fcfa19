/* textfile.h - a file of lines that an operator edits: read at once, bounded, handed out line by
 * line; faults come as "FILE:LINE: what is wrong".
 *
 * The reader owns the text until textfile_release or textfile_fini; lines are views into it. Only
 * regular files are read, so that nothing here waits. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXTFILE_MAX      (64u << 20)
#define TEXTFILE_LINE_MAX 65536u

struct textfile {
    const char *path; /* the caller's, for messages */
    char *text;       /* a NUL behind it */
    size_t len;
    size_t at;     /* of the next line */
    unsigned line; /* number of the one that was handed out last */
    char *err;     /* the caller's buffer for messages */
    size_t err_size;
};

/* 0, or a negative errno with the reason in `err`, and nothing to be freed. `path` and `err` must
 * outlive the reader. */
int textfile_read(struct textfile *f, const char *path, char *err, size_t err_size);
/* The same of a text in memory, which is copied. */
int textfile_copy(struct textfile *f, const char *path, const void *text, size_t len, char *err,
                  size_t err_size);
/* The next line without blanks, tabs and line ends at its end, NUL-terminated, in *r_line. 1; 0:
 * that was all; -EINVAL: longer than TEXTFILE_LINE_MAX or with a NUL in it. */
int textfile_next(struct textfile *f, char **r_line);
/* Writes "FILE:LINE: text" to `err`; -EINVAL. */
int textfile_fail(struct textfile *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The text becomes the caller's, who frees it. */
char *textfile_release(struct textfile *f);
void textfile_fini(struct textfile *f);
