/* secret.h - `!file PATH` and `!env NAME`: text that stands elsewhere than in the configuration. */
#pragma once
#include "config/node.h"

#define SECRET_MAX (64u << 10)

/* The text of a scalar with or without such a tag, with a NUL behind it, in the arena. One newline
 * at the end of a file is dropped. 0; -EINVAL with the error in `d`; -ENOMEM. */
int secret_resolve(const struct node *node, struct arena *a, struct diag *d, struct str *r_text);
/* `name` relative to the file that names it, in the arena; NULL when out of memory. */
char *secret_path(const struct source *source, struct str name, struct arena *a);
