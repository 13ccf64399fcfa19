/* Lines of a store's dump. What can be read can be written, and reads and writes the same again. */
#include "fuzz_support.h"
#include "pigeond/store_line.h"
#include <string.h>

static enum store_line_kind read_copy(const void *data, size_t size, struct buf *text,
                                      struct store_line *line, char error[128])
{
    buf_clear(text);
    FUZZ_CHECK(!buf_append(text, data, size));
    return store_line_read(buf_ptr(text), size, line, error);
}

static void write_line(const struct store_line *line, struct buf *out)
{
    buf_clear(out);
    FUZZ_CHECK(!store_line_write(line, out));
    FUZZ_CHECK(buf_len(out) > 1 && buf_ptr(out)[buf_len(out) - 1] == '\n');
}

/* As a scan would show it, and back; its message is the only part that stands beside the row. */
static void check_row(const struct store_line *line)
{
    struct store_line back;
    struct store_row row;

    store_line_row(line, 0, &row);
    store_line_of(&back, line->what, &row.op, 0);
    FUZZ_CHECK(back.session == line->session && back.pos == line->pos);
    FUZZ_CHECK(back.due_ms == line->due_ms && back.packet_id == line->packet_id);
    FUZZ_CHECK(str_eq(back.extra, line->extra) && str_eq(back.share, line->share));
    FUZZ_CHECK(back.n_ids == line->n_ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_line line, again;
    struct buf text, text_again, first, second;
    char error[128];

    buf_init(&text);
    buf_init(&text_again);
    buf_init(&first);
    buf_init(&second);
    enum store_line_kind kind = read_copy(data, size, &text, &line, error);
    FUZZ_CHECK((kind == STORE_LINE_BAD) == (error[0] != '\0'));
    if (kind == STORE_LINE_ROW) {
        write_line(&line, &first);
        FUZZ_CHECK(read_copy(buf_ptr(&first), buf_len(&first) - 1, &text_again, &again, error) ==
                   STORE_LINE_ROW);
        write_line(&again, &second);
        FUZZ_CHECK(str_eq(buf_str(&first), buf_str(&second)));
        check_row(&line);
    }
    buf_fini(&text);
    buf_fini(&text_again);
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
