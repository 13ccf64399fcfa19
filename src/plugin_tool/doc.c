/* pigeon-plugin doc: what the operator may write for a plugin, from the plugin's own tables. */
#include "plugin_tool/tool.h"
#include "config/table.h"
#include "config/value.h"
#include "hooks/plugin_file.h"
#include <ctype.h>
#include <pigeon-mock/mock.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: pigeon-plugin doc [--markdown|--man] FILE.so\n"
    "\n"
    "Prints options, interfaces and commands of a plugin, as markdown (the default) or as a "
    "manual\n"
    "page. The file is judged as pigeond judges it, then loaded: its constructors run.\n";

struct doc {
    const pigeon_plugin *plugin;
    const pigeon_control *control;
    struct table table;
    char *name;
};

static void range_of(const pigeon_option *o, char *out, size_t room)
{
    if (o->type == PIGEON_T_ENUM)
        snprintf(out, room, "%s", o->allowed ? o->allowed : "");
    else
        value_range(o, 0, out, room);
}

static uint32_t n_commands(const struct doc *d)
{
    return d->control ? d->control->ncommands : 0;
}

static const char *instances(uint32_t flags)
{
    if (flags & PIGEON_F_SINGLE)
        return "one instance";
    return flags & PIGEON_F_SHARED ? "one shared instance" : "one instance per event loop";
}

/* ---- markdown -------------------------------------------------------------------------------- */

/* A cell of a table: a bar would end it. */
static void cell(const char *text)
{
    for (; text && *text; text++) {
        if (*text == '|')
            fputc('\\', stdout);
        fputc(*text == '\n' ? ' ' : *text, stdout);
    }
}

static void markdown_options(const struct doc *d)
{
    char range[256];

    if (!d->table.n) {
        fputs("\nIt has no options.\n", stdout);
        return;
    }
    fputs("\n## Options\n\n| option | type | default | range | reload | meaning |\n"
          "|---|---|---|---|---|---|\n",
          stdout);
    for (uint32_t i = 0; i < d->table.n; i++) {
        pigeon_option o = table_row(&d->table, i);

        range_of(&o, range, sizeof(range));
        printf("| `%s` | %s | ", o.key, value_type_word(o.type));
        if (o.flags & PIGEON_O_REQUIRED)
            fputs("required", stdout);
        else if (o.preset)
            printf("`%s`", o.preset);
        fputs(" | ", stdout);
        cell(range);
        printf(" | %s | ", o.flags & PIGEON_O_RELOAD ? "yes" : "");
        cell(o.doc);
        fputs(" |\n", stdout);
    }
}

static void markdown(const struct doc *d)
{
    const pigeon_plugin *p = d->plugin;

    printf("# %s\n\n%s.\n\n`%s` %s, licence %s, %s%s.\nInterfaces:", d->name, p->summary, p->id,
           p->version, p->license, instances(p->flags),
           p->flags & PIGEON_F_ON_DEMAND ? ", on demand" : "");
    for (uint32_t i = 0; i < p->nprovides; i++)
        printf("%s `%s`", i ? "," : "", p->provides[i].id);
    fputs(".\n", stdout);
    markdown_options(d);
    if (!n_commands(d))
        return;
    printf("\n## Commands\n\nFor `call` of `<pigeon/admin.h>`, plugin `%s`.\n\n"
           "| command | arguments | meaning |\n|---|---|---|\n",
           d->name);
    for (uint32_t i = 0; i < n_commands(d); i++) {
        const pigeon_command *c = plugin_command(d->control, i);

        printf("| `%s` | ", c->name);
        cell(c->args);
        fputs(" | ", stdout);
        cell(c->help);
        fputs(" |\n", stdout);
    }
}

/* ---- manual page ----------------------------------------------------------------------------- */

/* Text of a manual page: no line may begin as a request, and hyphens are meant as such. */
static void roff(const char *text)
{
    if (text && (*text == '.' || *text == '\''))
        fputs("\\&", stdout);
    for (; text && *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            fputc(*text == '\n' ? ' ' : *text, stdout);
    }
}

static void man_line(const char *macro, const char *text)
{
    printf("%s ", macro);
    roff(text);
    fputc('\n', stdout);
}

static void man_options(const struct doc *d)
{
    char range[256];

    fputs(".SH OPTIONS\n", stdout);
    if (!d->table.n)
        fputs("None.\n", stdout);
    for (uint32_t i = 0; i < d->table.n; i++) {
        pigeon_option o = table_row(&d->table, i);

        fputs(".TP\n", stdout);
        printf(".BR ");
        roff(o.key);
        printf(" \" (%s)\"\n", value_type_word(o.type));
        roff(o.doc ? o.doc : "");
        fputs(".\n", stdout);
        range_of(&o, range, sizeof(range));
        if (range[0]) {
            fputs("Range: ", stdout);
            roff(range);
            fputs(".\n", stdout);
        }
        if (o.flags & PIGEON_O_REQUIRED) {
            fputs("Required.\n", stdout);
        } else if (o.preset) {
            fputs("Default: ", stdout);
            roff(o.preset);
            fputs(".\n", stdout);
        }
        if (o.flags & PIGEON_O_RELOAD)
            fputs("May change by reload.\n", stdout);
    }
}

static void man(const struct doc *d)
{
    const pigeon_plugin *p = d->plugin;

    fputs(".TH ", stdout);
    for (const char *s = d->name; *s; s++)
        fputc(toupper((unsigned char)*s), stdout);
    printf(" 7 \"\" \"%s %s\" \"Pigeon plugins\"\n.SH NAME\n", p->id, p->version);
    roff(d->name);
    fputs(" \\- ", stdout);
    roff(p->summary);
    fputs("\n.SH DESCRIPTION\n", stdout);
    printf("A plugin of ");
    fputs("\n.BR pigeond (8),\n", stdout);
    printf("%s%s.\n", instances(p->flags), p->flags & PIGEON_F_ON_DEMAND ? ", on demand" : "");
    fputs("It provides\n", stdout);
    for (uint32_t i = 0; i < p->nprovides; i++)
        man_line(".B", p->provides[i].id);
    man_options(d);
    if (n_commands(d)) {
        fputs(".SH COMMANDS\nFor\n.B call\nof <pigeon/admin.h>.\n", stdout);
        for (uint32_t i = 0; i < n_commands(d); i++) {
            const pigeon_command *c = plugin_command(d->control, i);

            fputs(".TP\n.B ", stdout);
            roff(c->name);
            fputc(' ', stdout);
            roff(c->args);
            fputc('\n', stdout);
            roff(c->help);
            fputs("\n", stdout);
        }
    }
    printf(".SH LICENCE\n");
    roff(p->license);
    fputs("\n.SH SEE ALSO\n.BR pigeond (8)\n", stdout);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int print_doc(pigeon_mock *m, const char *path, bool as_man)
{
    struct doc d = { .plugin = pigeon_mock_plugin(m), .name = plugin_file_name(path) };
    const pigeon_plugin *p = d.plugin;

    if (!d.name)
        return TOOL_BAD;
    d.table = (struct table){ .rows = p->options, .n = p->noptions, .stride = p->option_stride };
    d.control = plugin_iface(p, PIGEON_IF_CONTROL);
    (as_man ? man : markdown)(&d);
    free(d.name);
    return ferror(stdout) ? TOOL_BAD : TOOL_OK;
}

static int load_and_print(const char *path, bool as_man)
{
    struct plugin_file file;
    char reason[1024];
    int r = plugin_file_judge(path, &file, reason, sizeof(reason));

    if (r != 0) {
        fprintf(stderr, "pigeon-plugin: %s: %s\n", path, reason);
        plugin_file_fini(&file);
        return TOOL_BAD;
    }
    pigeon_mock *m = pigeon_mock_new();
    if (pigeon_mock_load(m, file.path) == PIGEON_OK) {
        r = print_doc(m, path, as_man);
    } else {
        fprintf(stderr, "pigeon-plugin: %s: %s\n", path, pigeon_mock_error(m));
        r = TOOL_BAD;
    }
    pigeon_mock_free(&m);
    plugin_file_fini(&file);
    return r;
}

int tool_doc(int argc, char **argv)
{
    const char *path = NULL;
    bool as_man = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return TOOL_OK;
        }
        if (strcmp(argv[i], "--man") == 0)
            as_man = true;
        else if (strcmp(argv[i], "--markdown") == 0)
            as_man = false;
        else if (argv[i][0] == '-')
            return tool_usage("doc has no option '%s'", argv[i]);
        else if (path)
            return tool_usage("doc takes one file");
        else
            path = argv[i];
    }
    return path ? load_and_print(path, as_man)
                : tool_usage("doc of what? `pigeon-plugin doc --help` says how");
}
