#include "fuzz_support.h"
#include "net/ws_frame.h"
#include <string.h>

struct outcome {
    int end;
    size_t n_data, n_frames;
    uint64_t sum;
};

static struct outcome decode(const uint8_t *data, size_t len, size_t step)
{
    struct ws_decoder d = { 0 };
    struct outcome o = { 0 };
    const char *fault = NULL;
    while (len > 0 && o.end == 0) {
        size_t n = len < step ? len : step, left = n;
        uint8_t *piece = malloc(n), *out = piece;
        const uint8_t *in = piece;
        int r;
        FUZZ_CHECK(piece);
        memcpy(piece, data, n);
        while ((r = ws_decode(&d, &in, &left, &out, &fault)) > 0) {
            FUZZ_CHECK((r == WS_CLOSE || r == WS_PING || r == WS_PONG) &&
                       d.n_control <= WS_CONTROL_MAX);
            (void)ws_close_code(d.control, d.n_control);
            o.n_frames++;
        }
        FUZZ_CHECK(r == 0 ? left == 0 : r <= -1000 && r > -1016 && fault);
        FUZZ_CHECK(out <= in && in + left == piece + n);
        o.end = r;
        for (const uint8_t *p = piece; p < out; p++)
            o.sum = o.sum * 31 + *p;
        o.n_data += (size_t)(out - piece);
        free(piece);
        data += n;
        len -= n;
    }
    return o;
}

/* Input: one byte, the size of pieces, then what a client sends. Pieces make no difference. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct outcome whole = decode(data + 1, size - 1, size);
    struct outcome parts = decode(data + 1, size - 1, 1 + data[0]);
    FUZZ_CHECK(whole.end == parts.end && whole.n_data == parts.n_data);
    FUZZ_CHECK(whole.n_frames == parts.n_frames && whole.sum == parts.sum);
    return 0;
}
