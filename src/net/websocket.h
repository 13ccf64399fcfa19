/* websocket.h - the layer that makes a byte stream of a WebSocket: upgrade, frames, ping, close.
 *
 * What the stream writes at once becomes one binary frame, sent with it in one system call; what
 * comes is unmasked where it was read. Owned by its stream like every layer. */
#pragma once

struct stream;
struct transport;

/* Puts it on top of a detached stream that has not read anything. 0 or -ENOMEM. */
int websocket_push(struct stream *s, struct transport *transport);
