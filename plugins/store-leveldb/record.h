/* record.h - keys and values of the store in LevelDB. Numbers in keys are big-endian, so that keys
 * are in order of arrival; in values little-endian. LevelDB has checksums of its own.
 *
 *   f                          format number
 *   s session                  client, due, extra
 *   b session key              subscription
 *   r topic                    retained message
 *   q pos session              recipient; with the message unless others wait for it, too
 *   m pos                      the message of several recipients
 *   i session packet_id        incoming QoS 2 identifier
 *   w session                  will */
#pragma once
#include "journal.h"
#include "overlay.h"

#define KEY_NUMBERS_MAX 32

/* A value being written. */
struct writer {
    char *ptr;
    size_t len, size;
    bool failed;
};

void writer_fini(struct writer *w);
struct bytes writer_bytes(const struct writer *w);
void put_number(struct writer *w, uint64_t n, unsigned width);
void put_bytes(struct writer *w, const void *ptr, size_t len);
void put_text(struct writer *w, pigeon_str text);
void put_msg(struct writer *w, const pigeon_msg *msg); /* the last of a value */
void put_sub(struct writer *w, const pigeon_sub *sub);
/* packet_id and state stand first. */
void put_rcpt(struct writer *w, const pigeon_rcpt *to, uint16_t packet_id, uint8_t state,
              bool is_alone);

/* A value being read; views into it. Malformed: failed. */
struct reader {
    const char *at, *end;
    bool failed;
};

uint64_t take_number(struct reader *r, unsigned width);
struct bytes take_bytes(struct reader *r, size_t len);
pigeon_str take_text(struct reader *r);
void take_msg(struct reader *r, pigeon_msg *r_msg);
void take_sub(struct reader *r, pigeon_sub *r_sub);
/* The recipient's part; *r_alone: the message follows. */
void take_rcpt(struct reader *r, struct journal_row *room, bool *r_alone);

/* A key of a letter and numbers; room for KEY_NUMBERS_MAX bytes. */
struct bytes key1(char room[KEY_NUMBERS_MAX], char kind, uint64_t a);
struct bytes key2(char room[KEY_NUMBERS_MAX], char kind, uint64_t a, uint64_t b);
uint64_t key_number(struct bytes key, unsigned at); /* the at-th number behind the letter */
