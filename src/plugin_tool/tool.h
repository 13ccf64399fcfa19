/* tool.h - the commands of pigeon-plugin. Each takes its own arguments (argv[0] is its name) and
 * returns the exit status: 0, 1 a plugin is not as it should be, 2 usage. */
#pragma once
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
