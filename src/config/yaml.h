/* yaml.h - YAML text to a tree of nodes. The only user of libfyaml. */
#pragma once
#include "config/node.h"

/* Parses source->text. 0; -EINVAL with every error in `d` (YAML syntax, duplicate keys, unknown
 * tags and anchors, bytes that are no UTF-8); -ENOMEM. *r_root: the tree, NULL for an empty
 * document; after -EINVAL it is still there, so that the rest can be checked, unless the text could
 * not be read to its end. */
int yaml_parse(struct arena *a, const struct source *source, struct diag *d,
               const struct node **r_root);
