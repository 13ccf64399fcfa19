#include "wire/ping.h"
#include "wire/reason.h"

int ping_decode(const struct frame *f, enum mqtt_version version)
{
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    return f->len == 0 ? 0 : -REASON_MALFORMED_PACKET;
}

void ping_encode(enum packet_type type, struct writer *w)
{
    writer_u8(w, (uint8_t)(type << 4));
    writer_u8(w, 0);
}
