#include "fuzz_support.h"

/* Input: a byte stream; the first two bytes choose the packet limit. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint32_t max_packet = (uint32_t)(data[0] << 8 | data[1]);
    const uint8_t *p = data + 2;
    for (size_t left = size - 2;;) {
        struct frame f, shorter;
        int rc = frame_next(p, left, max_packet, &f);
        if (rc != FRAME_OK) {
            FUZZ_CHECK(rc < 0 || f.total == 0 || f.total > left);
            FUZZ_CHECK(f.body == NULL);
            break;
        }
        FUZZ_CHECK(f.total <= left && f.total == f.head_len + f.len && f.body == p + f.head_len);
        FUZZ_CHECK(max_packet == 0 || f.total <= max_packet);
        FUZZ_CHECK(frame_next(p, f.total - 1, max_packet, &shorter) == FRAME_NEED_MORE);
        for (int version = MQTT_31; version <= MQTT_5; version++)
            (void)frame_check(&f, version);
        p += f.total;
        left -= f.total;
    }
    return 0;
}
