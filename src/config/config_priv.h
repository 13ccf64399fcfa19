/* config_priv.h - inside of `struct config`: its memory and its reference count. Only for
 * src/config. */
#pragma once
#include "config/arena.h"
#include "config/config.h"
#include "config/node.h"
#include <stdatomic.h>

struct config_box {
    struct config config; /* first: the box is found by it */
    _Atomic uint32_t n_refs;
    struct arena arena; /* everything the config points to, itself excepted */
    struct place place; /* the first file, for what is missing */
    uint32_t n_sources;
};

/* Zeroed with one reference, or NULL. */
struct config_box *config_box_new(void);
/* Reads all files and overrides of `input` into one tree; NULL for nothing. Errors go to `d`. */
const struct node *config_read(struct config_box *box, const struct config_input *input,
                               struct diag *d);
/* Fills box->config from the tree. Errors go to `d`. */
void config_build(struct config_box *box, const struct node *root, const struct config_input *input,
                  struct diag *d);
