/* pigeon-plugin - for authors of plugins: begin one, check it, look at it. */
#include "plugin_tool/tool.h"
#include <pigeon/types.h>
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

/* Bytes of the character at `s`; 0: no UTF-8. */
static unsigned utf8_width(const unsigned char *s)
{
    unsigned n = s[0] < 0x80                   ? 1
                 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                               : 0;

    for (unsigned i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

void tool_json(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        unsigned n = utf8_width(s);

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
