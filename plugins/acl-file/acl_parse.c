#include "acl_priv.h"
#include "textfile.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct textfile f;
    struct acl_file *file;
    struct acl_group *groups;
    size_t n_groups, cap_groups;
    uint32_t section; /* of `topic` lines */
    bool in_group;
};

/* ---- lines --------------------------------------------------------------------------- */

static const struct {
    const char *word;
    unsigned access; /* 0: has no effect */
} words[] = {
    { "read", ACL_READ }, { "write", ACL_WRITE },         { "readwrite", ACL_READ | ACL_WRITE },
    { "deny", ACL_DENY }, { "subscribe", ACL_SUBSCRIBE }, { "unsubscribe", 0 },
};

static bool access_of(const char *word, unsigned *r_access)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(words[i].word, word) == 0) {
            *r_access = words[i].access;
            return true;
        }
    return false;
}

static char *skip_blanks(char *s)
{
    return s + strspn(s, " \t");
}

/* Cuts the first word off; the rest of the line, without blanks before it. */
static char *cut_word(char *s)
{
    char *end = s + strcspn(s, " \t");

    if (!*end)
        return end;
    *end = '\0';
    return skip_blanks(end + 1);
}

/* Makes room for one more; the array, NULL: no memory. */
static void *grow(void *array, size_t n, size_t *cap, size_t size)
{
    void *more;

    if (n < *cap)
        return array;
    more = reallocarray(array, *cap ? *cap * 2 : 16, size);
    if (more)
        *cap = *cap ? *cap * 2 : 16;
    return more;
}

static int add_member(struct parser *p, const char *user)
{
    struct acl_file *file = p->file;
    struct acl_member *more =
        grow(file->members, file->n_members, &file->cap_members, sizeof(*more));

    if (!more)
        return -ENOMEM;
    file->members = more;
    more[file->n_members++] = (struct acl_member){ user, p->section };
    return 0;
}

static int add_rule(struct parser *p, uint32_t section, unsigned access, const char *filter)
{
    struct acl_file *file = p->file;
    struct acl_rule *more = grow(file->rules, file->n_rules, &file->cap_rules, sizeof(*more));

    if (!more)
        return -ENOMEM;
    file->rules = more;
    more[file->n_rules++] = (struct acl_rule){ filter, section, access };
    file->decides_subscribe = file->decides_subscribe || (access & ACL_SUBSCRIBE);
    return 0;
}

/* ---- filters ------------------------------------------------------------------------- */

/* Bytes of the well-formed character at s, 0: there is none. No overlong forms, no surrogates
 * [MQTT-1.5.4-1]. */
static size_t utf8_len(const unsigned char *s)
{
    unsigned low = 0x80, high = 0xbf;
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (n == 0 || s[0] > 0xf4)
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
        if (s[i] < low || s[i] > high)
            return 0;
    return n;
}

static bool is_utf8(const char *s)
{
    while (*s) {
        size_t n = utf8_len((const unsigned char *)s);

        if (n == 0)
            return false;
        s += n;
    }
    return true;
}

/* [MQTT-4.7.1] */
static bool is_filter(const char *s)
{
    if (!*s)
        return false;
    for (;;) {
        size_t n = strcspn(s, "/");

        if (n > 1 && (memchr(s, '#', n) || memchr(s, '+', n)))
            return false;
        if (s[0] == '#' && n == 1 && s[1])
            return false;
        if (!s[n])
            return true;
        s += n + 1;
    }
}

static bool has_name(const char *s)
{
    for (; (s = strchr(s, '%')) != NULL; s++)
        if (s[1] == 'u' || s[1] == 'c')
            return true;
    return false;
}

static int check_filter(struct parser *p, const char *filter, bool is_pattern)
{
    if (strlen(filter) > FILTER_MAX || !is_utf8(filter) || !is_filter(filter))
        return textfile_fail(&p->f, "'%.200s' is no topic filter", filter);
    if (strncmp(filter, "$share/", 7) == 0)
        return textfile_fail(&p->f, "say the filter of a shared subscription without $share/NAME/");
    if (is_pattern && filter[0] == '$') {
        char level[64];
        size_t n = strcspn(filter, "/");

        snprintf(level, sizeof(level), "%.*s", (int)(n < 63 ? n : 63), filter);
        if (n > 63 || has_name(level))
            return textfile_fail(&p->f, "a pattern's first level must not be made of names when it "
                                        "begins with $");
    }
    return 0;
}

/* `topic [ACCESS] FILTER`: the filter may have blanks in it when there is an access word. */
static int parse_topic(struct parser *p, char *rest, bool is_pattern)
{
    char *filter = cut_word(rest);
    unsigned access = ACL_READ | ACL_WRITE;
    int r;

    if (!*rest)
        return textfile_fail(&p->f, "the topic filter is missing");
    if (!*filter && access_of(rest, &access))
        return textfile_fail(&p->f, "the topic filter is missing after '%s'", rest);
    if (!*filter)
        filter = rest;
    else if (!access_of(rest, &access))
        return textfile_fail(&p->f,
                             "'%.50s' is none of read, write, readwrite, deny, subscribe, "
                             "unsubscribe",
                             rest);
    r = check_filter(p, filter, is_pattern);
    if (r < 0)
        return r;
    if (access == 0) {
        p->file->n_unsubscribe++;
        return 0;
    }
    return add_rule(p, is_pattern ? SECTION_PATTERNS : p->section, access, filter);
}

/* ---- sections ------------------------------------------------------------------------ */

static int parse_user(struct parser *p, char *name)
{
    if (!*name)
        return textfile_fail(&p->f, "the user's name is missing");
    p->section = p->file->n_sections++;
    p->in_group = false;
    return add_member(p, name);
}

static int parse_group(struct parser *p, char *name)
{
    struct acl_group *more;

    if (!*name)
        return textfile_fail(&p->f, "the group's name is missing");
    more = grow(p->groups, p->n_groups, &p->cap_groups, sizeof(*more));
    if (!more)
        return -ENOMEM;
    p->groups = more;
    p->section = p->file->n_sections++;
    p->in_group = true;
    more[p->n_groups++] = (struct acl_group){ name, p->section, p->f.line };
    return 0;
}

static int parse_member(struct parser *p, char *name)
{
    if (!p->in_group)
        return textfile_fail(&p->f, "'member' stands below a 'group' line");
    if (!*name)
        return textfile_fail(&p->f, "the member's name is missing");
    return add_member(p, name);
}

static int parse_line(struct parser *p, char *line)
{
    char *rest;

    if (!*line || *line == '#')
        return 0;
    line = skip_blanks(line);
    rest = cut_word(line);
    if (strcmp(line, "topic") == 0)
        return parse_topic(p, rest, false);
    if (strcmp(line, "pattern") == 0)
        return parse_topic(p, rest, true);
    if (strcmp(line, "user") == 0)
        return parse_user(p, rest);
    if (strcmp(line, "group") == 0)
        return parse_group(p, rest);
    if (strcmp(line, "member") == 0)
        return parse_member(p, rest);
    return textfile_fail(&p->f, "'%.50s' is none of topic, pattern, user, group, member", line);
}

/* ---- the whole ----------------------------------------------------------------------- */

static int by_section(const void *a, const void *b)
{
    const struct acl_rule *x = a, *y = b;

    if (x->section != y->section)
        return x->section < y->section ? -1 : 1;
    return acl_rule_order(x, y);
}

static int by_user(const void *a, const void *b)
{
    const struct acl_member *x = a, *y = b;
    int r = strcmp(x->user, y->user);

    return r ? r : (x->section > y->section) - (x->section < y->section);
}

static int by_name(const void *a, const void *b)
{
    const struct acl_group *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    return r ? r : (x->line > y->line) - (x->line < y->line);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int check_groups(struct parser *p)
{
    if (p->n_groups)
        qsort(p->groups, p->n_groups, sizeof(p->groups[0]), by_name);
    for (size_t i = 1; i < p->n_groups; i++)
        if (strcmp(p->groups[i - 1].name, p->groups[i].name) == 0) {
            p->f.line = p->groups[i].line;
            return textfile_fail(&p->f, "the group '%.100s' is there already, in line %u",
                                 p->groups[i].name, p->groups[i - 1].line);
        }
    return 0;
}

static int add_hidden(struct acl_file *file, const char *filter)
{
    char *text;

    if (asprintf(&text, "%.*s/#", (int)strcspn(filter, "/"), filter) < 0)
        return -ENOMEM;
    file->hidden[file->n_hidden++] = text;
    return 0;
}

static int find_hidden(struct acl_file *file)
{
    size_t n = 1, kept = 0;

    for (size_t i = 0; i < file->n_rules; i++)
        n += file->rules[i].filter[0] == '$';
    file->hidden = calloc(n, sizeof(char *));
    if (!file->hidden || add_hidden(file, "$SYS") < 0)
        return -ENOMEM;
    for (size_t i = 0; i < file->n_rules; i++)
        if (file->rules[i].filter[0] == '$' && add_hidden(file, file->rules[i].filter) < 0)
            return -ENOMEM;
    qsort(file->hidden, file->n_hidden, sizeof(char *), by_text);
    for (size_t i = 0; i < file->n_hidden; i++) {
        if (kept && strcmp(file->hidden[kept - 1], file->hidden[i]) == 0)
            free(file->hidden[i]);
        else
            file->hidden[kept++] = file->hidden[i];
    }
    file->n_hidden = kept;
    return 0;
}

static int finish(struct parser *p)
{
    struct acl_file *file = p->file;
    int r = check_groups(p);

    if (r < 0)
        return r;
    if (!file->n_rules)
        return textfile_fail(&p->f, "there is no rule: nobody could do anything");
    qsort(file->rules, file->n_rules, sizeof(file->rules[0]), by_section);
    if (file->n_members)
        qsort(file->members, file->n_members, sizeof(file->members[0]), by_user);
    file->begin = calloc((size_t)file->n_sections + 1, sizeof(file->begin[0]));
    if (!file->begin)
        return -ENOMEM;
    for (size_t i = 0; i < file->n_rules; i++)
        file->begin[file->rules[i].section + 1] = i + 1;
    for (uint32_t s = 0; s < file->n_sections; s++) /* sections without rules */
        if (file->begin[s + 1] < file->begin[s])
            file->begin[s + 1] = file->begin[s];
    return find_hidden(file);
}

static int parse(struct parser *p)
{
    char *line;
    int r;

    p->file->n_sections = SECTION_FIRST_OWN;
    while ((r = textfile_next(&p->f, &line)) == 1)
        if ((r = parse_line(p, line)) < 0)
            return r;
    return r < 0 ? r : finish(p);
}

/* Takes the text of p->f, also on failure. */
static int build(struct parser *p, struct acl_file **r_file)
{
    int r;

    p->file = calloc(1, sizeof(*p->file));
    p->section = SECTION_ANONYMOUS;
    r = p->file ? parse(p) : -ENOMEM;
    if (r == -ENOMEM)
        snprintf(p->f.err, p->f.err_size, "%s: out of memory", p->f.path);
    if (p->file)
        p->file->text = textfile_release(&p->f);
    textfile_fini(&p->f);
    free(p->groups);
    if (r < 0)
        acl_file_free(&p->file);
    else
        *r_file = p->file;
    return r;
}

int acl_file_load(const char *path, char *err, size_t err_size, struct acl_file **r_file)
{
    struct parser p = { 0 };
    int r = textfile_read(&p.f, path, err, err_size);

    return r < 0 ? r : build(&p, r_file);
}

int acl_file_parse(const char *path, const void *text, size_t len, char *err, size_t err_size,
                   struct acl_file **r_file)
{
    struct parser p = { 0 };
    int r = textfile_copy(&p.f, path, text, len, err, err_size);

    return r < 0 ? r : build(&p, r_file);
}
