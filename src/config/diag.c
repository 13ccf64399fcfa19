#include "config/diag.h"
#include "base/buf.h"
#include "config/node.h"
#include <errno.h>
#include <stdlib.h>

#define LINE_ROOM 120u /* characters of a long source line that are shown */

struct diag_item {
    char *text;
    uint32_t order, line, column, added;
};

void diag_init(struct diag *d)
{
    *d = (struct diag){ 0 };
}

void diag_fini(struct diag *d)
{
    for (uint32_t i = 0; i < d->n_items; i++)
        free(d->items[i].text);
    free(d->items);
    diag_init(d);
}

static struct str line_of(struct str text, uint32_t line)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    while (--line && p) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (p)
            p++;
    }
    if (!p)
        return STR_NULL;
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop)
        stop = end;
    if (stop > p && stop[-1] == '\r')
        stop--;
    return str_make(p, (size_t)(stop - p));
}

static bool starts_character(char c)
{
    return ((unsigned char)c & 0xC0) != 0x80;
}

/* The line and the caret under it. A long line is cut to a window around the column. */
static int append_line(struct buf *out, struct str line, struct place at)
{
    uint32_t first = at.column > LINE_ROOM / 2 + 1 ? at.column - LINE_ROOM / 2 : 1;
    uint32_t at_char = 0, shown = 0;
    int err = buf_printf(out, "\n    %s", first > 1 ? "..." : "");
    struct buf pad;
    buf_init(&pad);
    if (first > 1)
        err = err ? err : buf_printf(&pad, "   ");
    for (uint32_t i = 0; i < line.len && !err; i++) {
        bool start = starts_character(line.ptr[i]);
        at_char += start;
        if (at_char < first)
            continue;
        shown += start;
        if (shown > LINE_ROOM)
            break;
        char c = line.ptr[i];
        bool control = (unsigned char)c < 0x20 && c != '\t';
        err = buf_append(out, control ? "?" : &c, 1);
        if (!err && start && at_char < at.column)
            err = buf_append(&pad, c == '\t' ? "\t" : " ", 1);
    }
    while (!err && at_char + 1 < at.column && shown <= LINE_ROOM) { /* past the end of the line */
        err = buf_append(&pad, " ", 1);
        at_char++;
    }
    if (!err)
        err = buf_printf(out, "\n    " STR_FMT "^", STR_ARG(buf_str(&pad)));
    for (uint32_t i = 1; i < at.width && i < LINE_ROOM / 2 && !err; i++)
        err = buf_append(out, "~", 1);
    buf_fini(&pad);
    return err;
}

static int append_place(struct buf *out, struct place at)
{
    if (!at.source)
        return buf_printf(out, "error: ");
    if (at.source->is_override || !at.line)
        return buf_printf(out, "%s: error: ", at.source->name);
    return buf_printf(out, "%s:%u:%u: error: ", at.source->name, at.line, at.column);
}

static char *compose(struct place at, const char *format, va_list args)
{
    struct buf out;
    buf_init(&out);
    int err = append_place(&out, at);
    if (!err)
        err = buf_vprintf(&out, format, args);
    if (!err && at.source && at.line && at.width && !at.source->is_override) {
        struct str line = line_of(at.source->text, at.line);
        if (line.ptr)
            err = append_line(&out, line, at);
    }
    if (!err)
        err = buf_append(&out, "\n", 2); /* with its NUL */
    char *text = err ? NULL : str_dup(str_make(buf_ptr(&out), buf_len(&out) - 1));
    buf_fini(&out);
    return text;
}

void diag_error(struct diag *d, struct place at, const char *format, ...)
{
    uint32_t added = d->n_errors++;
    if (d->n_items >= DIAG_MAX)
        return;
    if (d->n_items == d->cap) {
        uint32_t cap = d->cap ? d->cap * 2 : 16;
        struct diag_item *items = realloc(d->items, cap * sizeof(*items));
        if (!items) {
            d->no_memory = true;
            return;
        }
        d->items = items;
        d->cap = cap;
    }
    va_list args;
    va_start(args, format);
    char *text = compose(at, format, args);
    va_end(args);
    if (!text) {
        d->no_memory = true;
        return;
    }
    d->items[d->n_items++] = (struct diag_item){ .text = text,
                                                 .order = at.source ? at.source->order : UINT32_MAX,
                                                 .line = at.line,
                                                 .column = at.column,
                                                 .added = added };
}

int diag_result(const struct diag *d)
{
    if (d->no_memory)
        return -ENOMEM;
    return d->n_errors ? -EINVAL : 0;
}

static int compare(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int by_place(const void *pa, const void *pb)
{
    const struct diag_item *a = pa, *b = pb;
    int c = compare(a->order, b->order);
    c = c ? c : compare(a->line, b->line);
    c = c ? c : compare(a->column, b->column);
    return c ? c : compare(a->added, b->added);
}

static int print_all(struct diag *d, struct buf *out)
{
    int err = 0;
    if (d->n_items)
        qsort(d->items, d->n_items, sizeof(*d->items), by_place);
    for (uint32_t i = 0; i < d->n_items && !err; i++)
        err = buf_append_str(out, str_from(d->items[i].text));
    if (!err && d->n_errors > d->n_items && !d->no_memory)
        err = buf_printf(out, "error: %u more errors\n", d->n_errors - d->n_items);
    if (!err && d->no_memory)
        err = buf_append_str(out, STR("error: out of memory\n"));
    return err;
}

void diag_print(struct diag *d, FILE *out)
{
    struct buf text;
    buf_init(&text);
    if (print_all(d, &text))
        fputs("error: out of memory\n", out);
    else if (buf_len(&text))
        fwrite(buf_ptr(&text), 1, buf_len(&text), out);
    buf_fini(&text);
}

int diag_text(struct diag *d, char **r_text)
{
    struct buf text;
    buf_init(&text);
    int err = print_all(d, &text);
    char *copy = err ? NULL : str_dup(buf_str(&text));
    buf_fini(&text);
    if (!copy)
        return -ENOMEM;
    *r_text = copy;
    return 0;
}
