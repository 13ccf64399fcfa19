/* mail.h - items that one loop hands to another.
 *
 * A `struct mail` is embedded in the object that is handed over; it belongs to the mailbox from the
 * post until fn is called, and fn may free or post it again. Posting never blocks, never allocates,
 * never fails. What a loop posts leaves at the end of its turn; every (from, to) pair is first in,
 * first out, data and control alike. One wake-up per burst. Mail to oneself is run in the next
 * round of the same turn, never inside the post. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_group;
struct mail;
typedef void (*mail_fn)(struct loop *here, struct mail *m);

struct mail {
    struct mail *next;
    mail_fn fn; /* called on the receiving loop */
};

/* [loop from] */
void loop_post(struct loop *from, uint32_t to, struct mail *m_mail, mail_fn fn);
/* [loop from] For items that let a client go on at another loop (moved connection, session state):
 * leaves after everything that this loop has posted in this turn, to whomever. */
void loop_post_last(struct loop *from, uint32_t to, struct mail *m_mail, mail_fn fn);
/* [any] From other threads, or where order against loop_post does not matter. FIFO per calling
 * thread. */
void loop_post_any(struct loop *to, struct mail *m_mail, mail_fn fn);
