/* str.h - borrowed text and bytes.
 *
 * A `struct str` is a view: pointer and length, no NUL promised, nothing owned. MQTT strings,
 * payloads and property blocks all travel as views until somebody keeps them (str_dup). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *ptr;
    uint32_t len;
};

#define STR(lit)   ((struct str){ (lit), (uint32_t)(sizeof(lit) - 1) })
#define STR_NULL   ((struct str){ NULL, 0 })
#define STR_FMT    "%.*s"
#define STR_ARG(s) (int)(s).len, (s).ptr

static inline struct str str_from(const char *text)
{
    return (struct str){ text, text ? (uint32_t)strlen(text) : 0 };
}

static inline struct str str_make(const void *ptr, size_t len)
{
    return (struct str){ ptr, (uint32_t)len };
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* Cuts off what stands before the first `c`, which goes too; the whole, and STR_NULL is left,
 * without one. */
struct str str_cut(struct str *rest, char c);
/* Copies `s` to the heap with a NUL behind it; NULL when out of memory. Freed with free(). */
char *str_dup(struct str s);
/* As str_dup, into a view: 0 or -ENOMEM. The old value of *r_out is not freed. */
int str_dup_r(struct str s, struct str *r_out);
/* Frees what str_dup_r made and resets it to STR_NULL. */
void str_free(struct str *s);
