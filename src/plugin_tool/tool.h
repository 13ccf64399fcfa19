/* tool.h - the commands of pigeon-plugin. Each takes its own arguments (argv[0] is its name) and
 * returns the exit status: 0, 1 a plugin is not as it should be, 2 usage. */
#pragma once
#include <pigeon/plugin.h>
#include <stdio.h>

enum { TOOL_OK = 0, TOOL_BAD = 1, TOOL_USAGE = 2 };

int tool_new(int argc, char **argv);
int tool_check(int argc, char **argv);
int tool_scan(int argc, char **argv);
int tool_doc(int argc, char **argv);

/* A line on stderr; returns TOOL_USAGE. */
__attribute__((format(printf, 1, 2))) int tool_usage(const char *format, ...);
/* Text as a JSON string, quotes included; bytes that are no UTF-8 as U+FFFD. */
void tool_json(FILE *out, const char *text);
/* The table of an interface, NULL: the plugin does not provide it. */
const void *plugin_iface(const pigeon_plugin *p, const char *id);
/* Rows may be longer than ours; i below ncommands. */
const pigeon_command *plugin_command(const pigeon_control *control, uint32_t i);
