/* pigeon-plugin scan: each file as pigeond judges it, without running any code of it. */
#include "plugin_tool/tool.h"
#include "hooks/plugin_file.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "usage: pigeon-plugin scan [--json] DIR|FILE.so...\n"
    "\n"
    "Says of each file (of a directory: of every *.so in it) what pigeond would make of it, as it\n"
    "would run under this user: taken, on demand (only when the configuration names it), ignored\n"
    "(no plugin of Pigeon) or refused, and why. No code of the files is run. Exit status 1 when\n"
    "one is refused.\n";

struct scan {
    bool json;
    uint32_t n, n_refused;
    char **ids, **paths; /* of the taken ones */
    uint32_t n_ids;
};

static const char *const flag_names[] = { "SINGLE", "SHARED", "MAY_BLOCK", "ON_DEMAND",
                                          "OPTIONAL" };

static const char *state_of(const struct plugin_file *file, int judged)
{
    if (judged == PLUGIN_FILE_FOREIGN)
        return "ignored";
    if (judged < 0)
        return "refused";
    if (file->manifest.flags & PIGEON_F_ON_DEMAND)
        return "on demand";
    if (file->n_ifaces == 1 && plugin_file_provides(file, PIGEON_IF_STORE))
        return "on demand"; /* a store takes part as `persistence: NAME` only */
    return "taken";
}

/* An id twice, or what a configuration without a block for it cannot serve. */
static int judge_more(struct scan *s, const struct plugin_file *file, char *reason, size_t size)
{
    for (uint32_t i = 0; i < s->n_ids; i++)
        if (strcmp(s->ids[i], file->id) == 0 && strcmp(s->paths[i], file->path) != 0) {
            snprintf(reason, size, "its id %s is that of %s", file->id, s->paths[i]);
            return -EINVAL;
        }
    if ((file->manifest.flags & PIGEON_F_MAY_BLOCK) &&
        !(file->manifest.flags & PIGEON_F_ON_DEMAND)) {
        snprintf(reason, size, "it may block (MAY_BLOCK): it needs `run: worker` in its block");
        return -EINVAL;
    }
    return 0;
}

static void keep_id(struct scan *s, const struct plugin_file *file)
{
    char **ids = realloc(s->ids, (s->n_ids + 1) * sizeof(*ids));
    char **paths = ids ? realloc(s->paths, (s->n_ids + 1) * sizeof(*paths)) : NULL;

    if (ids)
        s->ids = ids;
    if (!paths)
        return;
    s->paths = paths;
    s->ids[s->n_ids] = strdup(file->id);
    s->paths[s->n_ids] = strdup(file->path);
    if (s->ids[s->n_ids] && s->paths[s->n_ids])
        s->n_ids++;
}

static void print_text(const struct plugin_file *f, const char *path, const char *state,
                       const char *reason)
{
    char *name = plugin_file_name(path);

    printf("%s: %s%s%s\n", path, state, reason[0] ? ": " : "", reason);
    if (f->id) {
        printf("  plugin      %s %s (%s in the configuration)\n", f->id, f->version,
               name ? name : "?");
        printf("  summary     %s\n", f->summary);
        printf("  licence     %s\n", f->license);
        printf("  ABI         %u.%u, needs %u.%u\n", f->manifest.abi_major, f->manifest.abi_minor,
               f->manifest.abi_major, f->manifest.need_minor);
        fputs("  interfaces ", stdout);
        for (uint32_t i = 0; i < f->n_ifaces; i++)
            printf(" %s", f->ifaces[i]);
        fputs("\n  flags      ", stdout);
        for (uint32_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
            if (f->manifest.flags & 1u << i)
                printf(" %s", flag_names[i]);
        if (!f->manifest.flags)
            fputs(" none: one instance per event loop", stdout);
        fputc('\n', stdout);
    }
    if (f->warning)
        printf("  warning     it brings %s, as the broker does\n", f->warning);
    free(name);
}

static void print_member(const char *key, const char *value)
{
    printf(", \"%s\": ", key);
    tool_json(stdout, value);
}

static void print_json(const struct scan *s, const struct plugin_file *f, const char *path,
                       const char *state, const char *reason)
{
    printf("%s\n  {\"file\": ", s->n > 1 ? "," : "");
    tool_json(stdout, path);
    print_member("state", state);
    print_member("reason", reason);
    if (f->id) {
        print_member("id", f->id);
        print_member("version", f->version);
        print_member("summary", f->summary);
        print_member("license", f->license);
        printf(", \"abi\": [%u, %u], \"need_minor\": %u, \"flags\": [", f->manifest.abi_major,
               f->manifest.abi_minor, f->manifest.need_minor);
        for (uint32_t i = 0, n = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
            if (f->manifest.flags & 1u << i)
                printf("%s\"%s\"", n++ ? ", " : "", flag_names[i]);
        fputs("], \"interfaces\": [", stdout);
        for (uint32_t i = 0; i < f->n_ifaces; i++) {
            fputs(i ? ", " : "", stdout);
            tool_json(stdout, f->ifaces[i]);
        }
        fputc(']', stdout);
    }
    fputc('}', stdout);
}

static void scan_file(struct scan *s, const char *path)
{
    char reason[1024];
    struct plugin_file file;
    const char *state;
    int r = plugin_file_judge(path, &file, reason, sizeof(reason));

    if (r == 0)
        r = judge_more(s, &file, reason, sizeof(reason));
    state = state_of(&file, r);
    if (r == 0) {
        reason[0] = '\0';
        keep_id(s, &file);
    }
    if (r == 0 && (file.manifest.flags & PIGEON_F_MAY_BLOCK))
        snprintf(reason, sizeof(reason), "its block needs `run: worker`");
    s->n++;
    s->n_refused += r < 0;
    if (s->json)
        print_json(s, &file, path, state, reason);
    else
        print_text(&file, path, state, reason);
    plugin_file_fini(&file);
}

static int is_library(const struct dirent *e)
{
    size_t len = strlen(e->d_name);

    return len > 3 && e->d_name[0] != '.' && strcmp(e->d_name + len - 3, ".so") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* 0 or TOOL_USAGE. */
static int scan_dir(struct scan *s, const char *dir)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, is_library, by_name);

    if (n < 0)
        return tool_usage("%s: %s", dir, strerror(errno));
    if (n == 0 && !s->json)
        printf("no *.so in %s\n", dir);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(dir) + strlen(entries[i]->d_name) + 2;
        char *path = malloc(len);

        if (path) {
            snprintf(path, len, "%s/%s", dir, entries[i]->d_name);
            scan_file(s, path);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    return TOOL_OK;
}

static int scan_all(struct scan *s, int argc, char **argv)
{
    int n_paths = 0, r = TOOL_OK;

    for (int i = 1; i < argc && r == TOOL_OK; i++) {
        struct stat st;

        if (argv[i][0] == '-')
            continue;
        n_paths++;
        if (stat(argv[i], &st) != 0)
            r = tool_usage("%s: %s", argv[i], strerror(errno));
        else if (S_ISDIR(st.st_mode))
            r = scan_dir(s, argv[i]);
        else
            scan_file(s, argv[i]);
    }
    return n_paths ? r : tool_usage("scan what? `pigeon-plugin scan --help` says how");
}

int tool_scan(int argc, char **argv)
{
    struct scan s = { 0 };
    int r;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return TOOL_OK;
        }
        if (strcmp(argv[i], "--json") == 0)
            s.json = true;
        else if (argv[i][0] == '-')
            return tool_usage("scan has no option '%s'", argv[i]);
    }
    if (s.json)
        fputc('[', stdout);
    r = scan_all(&s, argc, argv);
    if (s.json)
        fputs("\n]\n", stdout);
    for (uint32_t i = 0; i < s.n_ids; i++) {
        free(s.ids[i]);
        free(s.paths[i]);
    }
    free(s.ids);
    free(s.paths);
    return r != TOOL_OK ? r : s.n_refused ? TOOL_BAD : TOOL_OK;
}
