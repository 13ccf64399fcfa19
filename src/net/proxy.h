/* proxy.h - the layer that reads a PROXY header in front of everything else and gives the stream
 * the client's address. Behind the header it lets bytes pass. Owned by its stream. */
#pragma once

struct stream;

/* Puts it onto a detached stream that has not read anything, below the others. 0 or -ENOMEM. */
int proxy_push(struct stream *s);
