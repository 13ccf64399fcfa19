/* acl_priv.h - the inside of a compiled ACL file, shared by acl_parse.c, which makes it, and acl.c,
 * which answers from it. */
#pragma once
#include "acl.h"

#define FILTER_MAX 65535u /* bytes of a topic filter */

enum { SECTION_ANONYMOUS, SECTION_PATTERNS, SECTION_FIRST_OWN };

/* Texts are views into acl_file.text. */
struct acl_rule {
    const char *filter;
    uint32_t section;
    uint32_t access; /* ACL_* */
};

/* A user has the rules of this section: its own, or those of a group. */
struct acl_member {
    const char *user;
    uint32_t section;
};

struct acl_group {
    const char *name;
    uint32_t section;
    unsigned line;
};

struct acl_file {
    char *text;
    struct acl_rule *rules; /* by section, in it denials first, then by filter and access */
    size_t n_rules, cap_rules;
    struct acl_member *members; /* by user and section */
    size_t n_members, cap_members;
    size_t *begin; /* begin[s]..begin[s + 1]: rules of section s */
    uint32_t n_sections;
    char **hidden; /* "$NAME/#", sorted, each once */
    size_t n_hidden;
    unsigned n_unsubscribe;
    bool decides_subscribe;
};

/* Denials first, then by filter and access. */
int acl_rule_order(const struct acl_rule *a, const struct acl_rule *b);
/* The sections of a user, *r_n of them. */
const struct acl_member *acl_members_of(const struct acl_file *file, const char *user, size_t *r_n);
