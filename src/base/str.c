#include "base/str.h"
#include <errno.h>
#include <stdlib.h>

char *str_dup(struct str s)
{
    char *copy = malloc((size_t)s.len + 1);
    if (!copy)
        return NULL;
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

int str_dup_r(struct str s, struct str *r_out)
{
    char *copy = str_dup(s);
    if (!copy)
        return -ENOMEM;
    *r_out = (struct str){ copy, s.len };
    return 0;
}

struct str str_cut(struct str *rest, char c)
{
    const char *at = rest->len ? memchr(rest->ptr, c, rest->len) : NULL;
    struct str first = at ? str_make(rest->ptr, (size_t)(at - rest->ptr)) : *rest;
    *rest = at ? str_make(at + 1, rest->len - first.len - 1) : STR_NULL;
    return first;
}

void str_free(struct str *s)
{
    free((void *)(uintptr_t)s->ptr);
    *s = STR_NULL;
}
