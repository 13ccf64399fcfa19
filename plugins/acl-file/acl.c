#include "acl_priv.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void acl_file_free(struct acl_file **file)
{
    struct acl_file *f = *file;

    if (!f)
        return;
    for (size_t i = 0; i < f->n_hidden; i++)
        free(f->hidden[i]);
    free(f->hidden);
    free(f->begin);
    free(f->members);
    free(f->rules);
    free(f->text);
    free(f);
    *file = NULL;
}

bool acl_file_decides_subscribe(const struct acl_file *file)
{
    return file->decides_subscribe;
}

unsigned acl_file_n_unsubscribe(const struct acl_file *file)
{
    return file->n_unsubscribe;
}

size_t acl_file_n_rules(const struct acl_file *file)
{
    return file->n_rules;
}

int acl_rule_order(const struct acl_rule *a, const struct acl_rule *b)
{
    bool a_denies = a->access & ACL_DENY, b_denies = b->access & ACL_DENY;
    int r;

    if (a_denies != b_denies)
        return a_denies ? -1 : 1;
    r = strcmp(a->filter, b->filter);
    return r ? r : (a->access > b->access) - (a->access < b->access);
}

const struct acl_member *acl_members_of(const struct acl_file *file, const char *user, size_t *r_n)
{
    size_t low = 0, high = file->n_members;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(file->members[middle].user, user) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (high = low; high < file->n_members && strcmp(file->members[high].user, user) == 0; high++)
        ;
    *r_n = high - low;
    return file->members ? file->members + low : NULL;
}

/* ---- the rules of a client ------------------------------------------------------------ */

struct client {
    const char *user; /* NULL: none */
    const char *client_id;
    acl_rule_fn fn;
    void *arg;
};

static int each_of_section(const struct acl_file *file, uint32_t section, bool denials,
                           const struct client *c)
{
    int r = 0;

    for (size_t i = file->begin[section]; i < file->begin[section + 1] && r == 0; i++) {
        const struct acl_rule *rule = &file->rules[i];

        if (((rule->access & ACL_DENY) != 0) == denials)
            r = c->fn(c->arg, rule->filter, strlen(rule->filter), rule->access);
    }
    return r;
}

/* All denials of a client's sections come before all that they allow. */
static int each_own(const struct acl_file *file, const struct client *c)
{
    const struct acl_member *m = NULL;
    size_t n = 0;
    int r = 0;

    if (c->user)
        m = acl_members_of(file, c->user, &n);
    for (int denials = 1; denials >= 0 && r == 0; denials--) {
        if (!c->user)
            r = each_of_section(file, SECTION_ANONYMOUS, denials, c);
        for (size_t i = 0; i < n && r == 0; i++)
            r = each_of_section(file, m[i].section, denials, c);
    }
    return r;
}

/* What stands for the two characters at s; NULL: they stand for themselves. */
static const char *name_at(const char *s, const struct client *c)
{
    return s[0] != '%' ? NULL : s[1] == 'u' ? c->user : s[1] == 'c' ? c->client_id : NULL;
}

enum made { MADE, MADE_WIDER, MADE_TOO_LONG };

/* The pattern with the client's names, in `out` of FILTER_MAX bytes. MADE_WIDER: a name brings
 * levels along, or makes of it a filter of topics that begin with '$'. */
static enum made make_filter(const char *pattern, const struct client *c, char *out, size_t *r_len)
{
    bool wider = false;
    size_t len = 0;

    for (const char *s = pattern; *s;) {
        const char *name = name_at(s, c);
        size_t n = name ? strlen(name) : 1;

        if (n > FILTER_MAX - len)
            return MADE_TOO_LONG;
        if (n)
            memcpy(out + len, name ? name : s, n);
        wider = wider || (name && strchr(name, '/'));
        len += n;
        s += name ? 2 : 1;
    }
    *r_len = len;
    return wider || len == 0 || (out[0] == '$' && pattern[0] != '$') ? MADE_WIDER : MADE;
}

static bool wants_user(const char *pattern)
{
    for (; (pattern = strchr(pattern, '%')) != NULL; pattern++)
        if (pattern[1] == 'u')
            return true;
    return false;
}

static int each_pattern(const struct acl_file *file, const struct client *c)
{
    char *out = malloc(FILTER_MAX);
    size_t len;
    int r = 0;

    if (!out)
        return -ENOMEM;
    for (size_t i = file->begin[SECTION_PATTERNS]; i < file->begin[SECTION_PATTERNS + 1] && r == 0;
         i++) {
        const struct acl_rule *rule = &file->rules[i];
        enum made made;

        if (!c->user && wants_user(rule->filter))
            continue;
        made = make_filter(rule->filter, c, out, &len);
        if (made == MADE || (made == MADE_WIDER && (rule->access & ACL_DENY) && len))
            r = c->fn(c->arg, out, len, rule->access);
        else if (made == MADE_TOO_LONG && (rule->access & ACL_DENY))
            r = -EINVAL;
    }
    free(out);
    return r;
}

int acl_file_each(const struct acl_file *file, const char *user, const char *client_id,
                  acl_rule_fn fn, void *arg)
{
    const struct client c = { user, client_id, fn, arg };
    int r = each_own(file, &c);

    if (r != 0 || file->begin[SECTION_PATTERNS] == file->begin[SECTION_PATTERNS + 1])
        return r;
    /* Wildcards in a name would make every pattern wider: it has none then. */
    if ((user && strpbrk(user, "+#")) || strpbrk(client_id, "+#"))
        return 0;
    return each_pattern(file, &c);
}

int acl_file_each_hidden(const struct acl_file *file, acl_rule_fn fn, void *arg)
{
    int r = 0;

    for (size_t i = 0; i < file->n_hidden && r == 0; i++)
        r = fn(arg, file->hidden[i], strlen(file->hidden[i]), ACL_DENY);
    return r;
}

/* ---- what has changed ---------------------------------------------------------------- */

static bool same_rule(const struct acl_rule *a, const struct acl_rule *b)
{
    return a->access == b->access && strcmp(a->filter, b->filter) == 0;
}

static int by_content(const void *a, const void *b)
{
    return acl_rule_order(a, b);
}

static bool same_rules(const struct acl_rule *a, size_t n_a, const struct acl_rule *b, size_t n_b)
{
    for (size_t i = 0; n_a == n_b && i < n_a; i++)
        if (!same_rule(&a[i], &b[i]))
            return false;
    return n_a == n_b;
}

static bool same_section(const struct acl_file *a, const struct acl_file *b, uint32_t s)
{
    return same_rules(a->rules + a->begin[s], a->begin[s + 1] - a->begin[s], b->rules + b->begin[s],
                      b->begin[s + 1] - b->begin[s]);
}

static bool same_for_all(const struct acl_file *a, const struct acl_file *b)
{
    if (a->decides_subscribe != b->decides_subscribe || a->n_hidden != b->n_hidden)
        return false;
    for (size_t i = 0; i < a->n_hidden; i++)
        if (strcmp(a->hidden[i], b->hidden[i]) != 0)
            return false;
    return same_section(a, b, SECTION_ANONYMOUS) && same_section(a, b, SECTION_PATTERNS);
}

/* All rules of a user's sections, each once, in a new array. 0 or -ENOMEM. */
static int gather(const struct acl_file *file, const char *user, struct acl_rule **r_rules,
                  size_t *r_n)
{
    size_t n_members, n = 0, kept = 0;
    const struct acl_member *m = acl_members_of(file, user, &n_members);
    struct acl_rule *rules;

    for (size_t i = 0; i < n_members; i++)
        n += file->begin[m[i].section + 1] - file->begin[m[i].section];
    rules = calloc(n ? n : 1, sizeof(*rules));
    if (!rules)
        return -ENOMEM;
    n = 0;
    for (size_t i = 0; i < n_members; i++)
        for (size_t k = file->begin[m[i].section]; k < file->begin[m[i].section + 1]; k++)
            rules[n++] = file->rules[k];
    qsort(rules, n, sizeof(*rules), by_content);
    for (size_t i = 0; i < n; i++)
        if (!kept || !same_rule(&rules[kept - 1], &rules[i]))
            rules[kept++] = rules[i];
    *r_rules = rules;
    *r_n = kept;
    return 0;
}

static int diff_user(const struct acl_file *old, const struct acl_file *next, const char *user,
                     acl_user_fn fn, void *arg)
{
    struct acl_rule *before = NULL, *after = NULL;
    size_t n_before = 0, n_after = 0;
    int r = gather(old, user, &before, &n_before);

    if (r == 0)
        r = gather(next, user, &after, &n_after);
    if (r == 0 && !same_rules(before, n_before, after, n_after))
        r = fn(arg, user);
    free(before);
    free(after);
    return r;
}

static int diff_members(const struct acl_file *of, const struct acl_file *old,
                        const struct acl_file *next, acl_user_fn fn, void *arg)
{
    int r = 0;

    for (size_t i = 0; i < of->n_members && r == 0; i++)
        if (i == 0 || strcmp(of->members[i - 1].user, of->members[i].user) != 0)
            r = diff_user(old, next, of->members[i].user, fn, arg);
    return r;
}

int acl_file_diff(const struct acl_file *old, const struct acl_file *next, acl_user_fn fn,
                  void *arg)
{
    int r;

    if (!same_for_all(old, next))
        return fn(arg, NULL);
    r = diff_members(old, old, next, fn, arg);
    return r ? r : diff_members(next, old, next, fn, arg);
}
