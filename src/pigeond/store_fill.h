/* store_fill.h - puts rows, as a scan shows them, into an empty store.
 *
 * A filling begins with a mark (STORE_UNFINISHED_SESSION) and ends with its removal: in between no
 * broker starts with the store, whatever happens to this process. What a filling that did not end
 * has left is removed by the next one. Memory is bounded: so many units and bytes are under way,
 * then the caller waits. Consecutive rows of one position become one message with many recipients.
 */
#pragma once
#include "pigeond/store_host.h"

struct fill;

/* 0; -EEXIST: the store is not empty; -EIO, -ENOSPC, -ENOMEM. */
int fill_begin(struct store_host *host, struct fill **r_fill);
/* One row, in the order of a scan and of its kinds. Its message, if any, is a struct message. 0, or
 * the first error of any row so far. */
int fill_row(struct fill *f, uint32_t what, const pigeon_op *op);
/* Everything is on the disk, the mark is gone. 0 or the first error. */
int fill_end(struct fill *f);
/* Empties the store again. 0: it is empty; negative: it stays as it is, with its mark. */
int fill_undo(struct fill *f);
/* After fill_end or fill_undo, or neither: then the mark stays. */
void fill_free(struct fill **f);
/* Is this store marked? 0 or negative. */
int fill_is_unfinished(struct store_host *host, bool *r_unfinished);
