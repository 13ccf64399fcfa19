/* template.h - the files of src/plugin_tool/templates/, compiled in by embed.py. */
#pragma once
#include <stddef.h>

struct template
{
    const char *name; /* NULL ends the list */
    const char *text;
};

extern const struct template templates[];
