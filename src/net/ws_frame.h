/* ws_frame.h - WebSocket frames [RFC 6455, 5]: the client's are taken apart in place, the server's
 * heads are made.
 *
 * The decoder keeps its place in the stream, whatever pieces it is fed; payload of data frames is
 * unmasked and moved together, so that the bytes of the stream above remain. What a length
 * announces is never allocated. No I/O. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WS_CONTROL_MAX 125u       /* payload of a control frame */
#define WS_HEAD_MAX    10u        /* of a frame of ours, which has no mask */
#define WS_FRAME_MAX   (1u << 30) /* a longer frame is nobody's MQTT */

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

enum ws_code { /* of a close frame [RFC 6455, 7.4] */
               WS_CODE_NORMAL = 1000,
               WS_CODE_PROTOCOL = 1002,
               WS_CODE_UNACCEPTABLE = 1003,
               WS_CODE_NONE = 1005, /* never on the wire: the frame had none */
               WS_CODE_NOT_UTF8 = 1007,
               WS_CODE_TOO_LARGE = 1009,
};

struct ws_decoder {
    uint64_t left; /* payload bytes of this frame to come */
    uint32_t mask_at;
    uint8_t mask[4];
    uint8_t head[14], n_head; /* what has come of a head */
    uint8_t opcode;           /* of this frame, once its head is complete */
    bool in_payload;
    bool in_message; /* a data frame without FIN came before */
    uint8_t n_control;
    uint8_t control[WS_CONTROL_MAX]; /* payload of the control frame */
};

/* Takes `*n_in` bytes at *in, puts payload at *out, which may be where the input is or before it;
 * all three are moved on. 0: everything was taken; WS_CLOSE, WS_PING, WS_PONG: such a frame is
 * complete in `control`, call again for the rest; negative: the close code of a broken rule, at
 * *fault in words. */
int ws_decode(struct ws_decoder *d, const uint8_t **in, size_t *n_in, uint8_t **out,
              const char **fault);
/* The code of a close frame's payload, WS_CODE_NONE, or a negative close code for a bad one. */
int ws_close_code(const uint8_t *payload, size_t len);
/* The head of a final frame of ours; returns its length. */
size_t ws_encode_head(uint8_t r_head[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t len);
