/* pigeon/control.h - interface "pigeon.control/1": commands of a plugin, for whatever plugin
 * offers them to people. */
#ifndef PIGEON_CONTROL_H
#define PIGEON_CONTROL_H
#include <pigeon/types.h>

typedef struct pigeon_command {
    const char *name;
    const char *args; /* for the usage line, e.g. "ADDRESS [SECONDS]" */
    const char *help;
    const char *rsv;
} pigeon_command;

#define PIGEON_IF_CONTROL "pigeon.control/1"
typedef struct pigeon_control {
    uint32_t size;
    uint32_t flags;
    const pigeon_command *commands; /* constant */
    uint32_t ncommands;
    uint32_t command_stride;
    /* [loop] Answers with host->reply(req, json) and PIGEON_OK, with an error (and set_reason for its text), or
     * PIGEON_PENDING, then reply and complete(). `args` is a JSON object. Asked on one instance: the single one,
     * or the first; by whom: pigeon_admin.call. */
    int32_t (*command)(void *self, pigeon_req *req, pigeon_str name, pigeon_str args);
} pigeon_control;

#endif
