/* pigeon-plugin - for authors of plugins: begin one, check it, look at it. */
#include "plugin_tool/tool.h"
#include "base/utf8.h"
#include <stdarg.h>
#include <string.h>

static const char help[] =
    "usage: pigeon-plugin COMMAND ...\n"
    "\n"
    "  new KIND NAME [DIR]           begin a plugin: auth, flow, events, store, bus or control\n"
    "  check FILE.so [KEY=VALUE...]  drive it through all it promises, each case in a child\n"
    "  scan DIR|FILE.so...           what pigeond would make of these files; runs nothing of them\n"
    "  doc FILE.so                   options, interfaces and commands, as markdown or man page\n"
    "\n"
    "`pigeon-plugin COMMAND --help` says more. Exit status: 0 good, 1 not good, 2 usage.\n";

int tool_usage(const char *format, ...)
{
    va_list args;

    fputs("pigeon-plugin: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return TOOL_USAGE;
}

void tool_json(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t code;
        size_t n = utf8_decode((const char *)s, strnlen((const char *)s, 4), &code);

        if (n == 0) {
            fputs("\\ufffd", out);
            s++;
        } else if (*s == '"' || *s == '\\') {
            fprintf(out, "\\%c", *s++);
        } else if (*s < 0x20) {
            fprintf(out, "\\u%04x", *s++);
        } else {
            fwrite(s, 1, n, out);
            s += n;
        }
    }
    fputc('"', out);
}

const void *plugin_iface(const pigeon_plugin *p, const char *id)
{
    for (uint32_t i = 0; i < p->nprovides; i++)
        if (strcmp(p->provides[i].id, id) == 0)
            return p->provides[i].vtable;
    return NULL;
}

const pigeon_command *plugin_command(const pigeon_control *control, uint32_t i)
{
    const char *at = (const char *)control->commands + (size_t)i * control->command_stride;

    return (const pigeon_command *)(const void *)at;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {
        { "new", tool_new }, { "check", tool_check }, { "scan", tool_scan }, { "doc", tool_doc }
    };

    if (argc < 2) {
        fputs(help, stderr);
        return TOOL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        fputs(help, stdout);
        return TOOL_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("pigeon-plugin %s, plugin ABI %u.%u\n", PIGEON_VERSION, PIGEON_ABI_MAJOR,
               PIGEON_ABI_MINOR);
        return TOOL_OK;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return tool_usage("there is no command '%s'; `pigeon-plugin --help` lists them", argv[1]);
}
