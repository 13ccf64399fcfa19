#include "config/secret.h"
#include "config/file.h"
#include <errno.h>
#include <stdlib.h>

char *secret_path(const struct source *source, struct str name, struct arena *a)
{
    bool relative = name.len && name.ptr[0] != '/' && source;
    return arena_printf(a, "%s" STR_FMT, relative ? source->dir : "", STR_ARG(name));
}

static int read_secret(const struct node *node, struct arena *a, struct diag *d, struct str *r_text)
{
    char *path = secret_path(node->place.source, node->text, a);
    if (!path)
        return -ENOMEM;
    struct buf content;
    buf_init(&content);
    int err = file_read(path, SECRET_MAX, &content);
    struct str text = buf_str(&content);
    if (err && err != -ENOMEM) {
        diag_error(d, node->place, "cannot read '%s': %s", path, strerror(-err));
        err = -EINVAL;
    } else if (!err) {
        if (text.len && text.ptr[text.len - 1] == '\n')
            text.len--;
        if (text.len && text.ptr[text.len - 1] == '\r')
            text.len--;
        char *copy = arena_dup(a, text);
        if (copy)
            *r_text = str_make(copy, text.len);
        else
            err = -ENOMEM;
    }
    if (content.mem)
        explicit_bzero(content.mem, content.cap);
    buf_fini(&content);
    return err;
}

int secret_resolve(const struct node *node, struct arena *a, struct diag *d, struct str *r_text)
{
    if (!node->tag) {
        *r_text = node->text;
        return 0;
    }
    if (!strcmp(node->tag, "!file"))
        return read_secret(node, a, d, r_text);
    const char *value = getenv(node->text.ptr);
    if (!value) {
        diag_error(d, node->place, "the environment has no '" STR_FMT "'", STR_ARG(node->text));
        return -EINVAL;
    }
    char *copy = arena_dup(a, str_from(value));
    if (!copy)
        return -ENOMEM;
    *r_text = str_from(copy);
    return 0;
}
