#include "pigeond/store_load.h"
#include "pigeond/args.h"
#include "pigeond/store_judge.h"
#include "pigeond/store_line.h"
#include <errno.h>
#include <inttypes.h>

#define LINE_MAX_BYTES (UINT32_C(1) << 31) /* a message of 256 MB, base64, is far below */
#define READ_BYTES     65536u

struct load {
    struct store_host *to;
    struct fill *fill;
    struct judge judge;
    FILE *in;
    struct buf bytes; /* read and not used yet */
    size_t searched;  /* of these, for a line feed */
    bool is_over;     /* the input */
    uint64_t n_line, n_rows;
    char error[192]; /* of the line at hand */
};

/* ---- lines ----------------------------------------------------------------------------------- */

static int refuse(struct load *l, const char *why)
{
    snprintf(l->error, sizeof(l->error), "%s", why);
    return -EINVAL;
}

static int read_more(struct load *l)
{
    if (buf_len(&l->bytes) > LINE_MAX_BYTES)
        return refuse(l, "the line is too long");
    int r = buf_reserve(&l->bytes, READ_BYTES);
    if (r)
        return r;
    size_t n = fread(buf_tail(&l->bytes), 1, READ_BYTES, l->in);
    buf_commit(&l->bytes, n);
    l->is_over = n == 0;
    return ferror(l->in) ? refuse(l, "stdin cannot be read") : 0;
}

/* *r_line stays until the next call, which comes with its length; NULL: the input has ended. */
static int next_line(struct load *l, size_t used, char **r_line, size_t *r_len)
{
    buf_consume(&l->bytes, used);
    l->searched = 0;
    l->n_line++;
    for (;;) {
        char *text = buf_ptr(&l->bytes);
        size_t len = buf_len(&l->bytes);
        char *end = len > l->searched ? memchr(text + l->searched, '\n', len - l->searched) : NULL;

        if (end || l->is_over) {
            *r_line = end || len ? text : NULL;
            *r_len = end ? (size_t)(end - text) : len;
            return 0;
        }
        l->searched = len;
        int r = read_more(l);
        if (r)
            return r;
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

static struct message *message_of_line(const struct store_line *line)
{
    struct message_parts parts = {
        .topic = line->topic,
        .props = line->props,
        .payload = line->payload,
        .publisher = line->publisher,
        .publisher_user = line->publisher_user,
        .qos = line->msg_qos,
        .retain = line->msg_retain,
        .dup = line->dup,
        .origin = line->origin,
        .expires_ms = line->expires_ms,
        .hide_expiry = line->msg_flags & PIGEON_MSG_EXPIRY_HIDDEN,
        .received_ms = line->received_ms,
        .id = line->id,
    };

    return message_new(&parts);
}

static int put_row(struct load *l, const struct store_line *line)
{
    struct message *m = NULL;
    struct store_row row;
    int r;

    store_line_row(line, store_wall_ms(), &row);
    if (store_line_has_message(line)) {
        m = message_of_line(line);
        if (!m)
            return -ENOMEM;
        row.op.msg = &m->view;
    }
    const char *why = judge_row(&l->judge, line->what, &row.op, &r);
    if (why)
        r = refuse(l, why);
    if (!r)
        r = fill_row(l->fill, line->what, &row.op);
    message_unref(&m);
    l->n_rows += !r;
    return r;
}

/* 1: that was the end of the dump. */
static int take_line(struct load *l, char *text, size_t len)
{
    struct store_line line;
    char error[128];

    enum store_line_kind kind = store_line_read(text, len, &line, error);
    if (kind == STORE_LINE_BAD)
        return refuse(l, error);
    if ((kind == STORE_LINE_HEAD) != (l->n_line == 1))
        return refuse(l, l->n_line == 1 ? "no dump of a store: its first line is missing"
                                        : "a second dump begins");
    return kind == STORE_LINE_END ? 1 : kind == STORE_LINE_ROW ? put_row(l, &line) : 0;
}

/* 0: all rows up to the line that says so. */
static int take_all(struct load *l)
{
    char *text = NULL;
    size_t len = 0;
    int r = next_line(l, 0, &text, &len);

    while (!r && text) {
        size_t used = len + (len < buf_len(&l->bytes)); /* with its line feed */

        r = take_line(l, text, len);
        if (!r)
            r = next_line(l, used, &text, &len);
        else if (r == 1 && used < buf_len(&l->bytes))
            r = refuse(l, "something stands behind the end of the dump");
    }
    if (r == 1)
        return 0;
    return r ? r
             : refuse(l, l->n_line == 1 ? "no dump of a store: it is empty"
                                        : "the dump ends here, before its last line");
}

static int load(struct load *l)
{
    int code = store_begin_fill(l->to, &l->fill);

    if (code)
        return code;
    int r = take_all(l);
    if (r)
        fprintf(stderr, "pigeond: stdin:%" PRIu64 ": %s (rows read before: %" PRIu64 ")\n",
                l->n_line, l->error[0] ? l->error : store_reason(r), l->n_rows);
    if (!r) {
        r = fill_end(l->fill);
        if (r)
            fprintf(stderr, "pigeond: the store '%s' cannot be filled: %s\n", l->to->name,
                    store_reason(r));
    }
    if (r)
        store_give_up(l->to, l->fill);
    else
        printf("%" PRIu64 " rows are in the store '%s' now\n", l->n_rows, l->to->name);
    fill_free(&l->fill);
    if (!r)
        return EXIT_CODE_OK;
    return l->error[0] || r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_STORE;
}

int store_load_run(struct store_host *to, FILE *in)
{
    struct load l = { .to = to, .in = in };

    if (judge_init(&l.judge))
        return EXIT_CODE_RUNTIME;
    buf_init(&l.bytes);
    int code = load(&l);
    buf_fini(&l.bytes);
    judge_fini(&l.judge);
    return code;
}
