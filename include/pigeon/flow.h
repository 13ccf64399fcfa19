/* pigeon/flow.h - interface "pigeon.flow/1": change, drop or hold messages. All [loop]. */
#ifndef PIGEON_FLOW_H
#define PIGEON_FLOW_H
#include <pigeon/types.h>

#define PIGEON_IF_FLOW "pigeon.flow/1"
typedef struct pigeon_flow {
    uint32_t size;
    uint32_t flags;
    /* Before authorization: set_topic, set_payload, set_props, set_qos, set_retain; DENY drops the message
     * with a reason and acknowledges it as a refused one. May answer PENDING. */
    int32_t (*inbound)(void *self, pigeon_req *req, const pigeon_msg *msg);
    /* After storing and routing, before the acknowledgement; PENDING holds acknowledgement and the
     * publisher's next PUBLISH. Any final answer lets both go on. */
    int32_t (*published)(void *self, pigeon_req *req, const pigeon_msg *msg);
} pigeon_flow;

#endif
