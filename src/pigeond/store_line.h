/* store_line.h - one row of a store as a line of a dump, and back.
 *
 * A `struct store_line` is the flat form of what a scan shows: views only, into the row or into the
 * line they were read from; it owns nothing. One table says what each kind of row has, for both
 * directions. It checks form, not sense: see store_judge.h.
 *
 *   {"pigeon_store_dump":1,"pigeon":"0.1.0","store":"store-sqlite","time_ms":1760000000000}
 *   {"kind":"session","session":7,"client":"sensor","due_ms":null,"extra_base64":"gFEBAA=="}
 *   {"kind":"end"}
 *
 * Text is a string, or with `_base64` behind its name when it is not UTF-8; bytes always have
 * `_base64`. Times are UNIX milliseconds, null: never, or not yet. What is absent is 0 or empty. */
#pragma once
#include "pigeon/store.h"
#include "pigeond/store_json.h"

#define STORE_DUMP_FORMAT 1

struct store_line {
    uint32_t what; /* PIGEON_SCAN_* */
    uint64_t session, pos;
    struct str client, extra;
    int64_t due_ms; /* absolute, -1: never */
    uint16_t packet_id;
    uint8_t state;
    /* a subscription */
    struct str key, filter, effective;
    uint8_t no_local, retain_as_published, retain_handling;
    uint32_t sub_id;
    /* a subscription or a recipient */
    struct str share;
    uint8_t qos, retain;
    uint32_t ids[JSON_LIST_MAX], n_ids;
    /* a message */
    struct str topic, payload, props, publisher, publisher_user;
    uint8_t msg_qos, msg_retain, dup, origin;
    uint32_t msg_flags;
    pigeon_msg_id id;
    int64_t expires_ms, received_ms; /* 0: never, not known */
};

/* A row of a scan; wall_ms: now, its time counts from there. */
void store_line_of(struct store_line *line, uint32_t what, const pigeon_op *op, int64_t wall_ms);
/* Appends it with a line feed: 0 or -ENOMEM. */
int store_line_write(const struct store_line *line, struct buf *out);
int store_line_write_head(struct buf *out, const char *store, int64_t wall_ms);
int store_line_write_end(struct buf *out);

enum store_line_kind { STORE_LINE_BAD, STORE_LINE_ROW, STORE_LINE_HEAD, STORE_LINE_END };
/* One line without its line feed, whose bytes are changed and must live as long as *r_line; with
 * BAD *r_error says why. Of a head only its format is looked at: others are BAD. */
enum store_line_kind store_line_read(char *text, size_t len, struct store_line *r_line,
                                     char r_error[128]);

/* The row as a scan would show it, views into `line` and `row`; op.msg is left NULL. */
struct store_row {
    pigeon_op op;
    pigeon_sub sub;
    pigeon_rcpt rcpt;
};
void store_line_row(const struct store_line *line, int64_t wall_ms, struct store_row *r_row);
bool store_line_has_message(const struct store_line *line);
const char *store_kind_name(uint32_t what);
