/* control.h - commands of plugins (pigeon.control/1), asked by other plugins through
 * pigeon.admin/1; private to hooks/. A question is one slot (pending.h) of the loop of the plugin's
 * instance, so it may be answered late and from any thread, and has a deadline. */
#pragma once
#include "hooks/plugin.h"

int32_t admin_call(void *inst, const pigeon_call *call, pigeon_reply_fn fn, void *arg,
                   pigeon_job *job);
/* Row i of the plugin's table, whatever its stride; i < ncommands. */
const pigeon_command *control_command(const struct plugin *p, uint32_t i);
/* The steps that questions to the plugins refer to. 0 or -ENOMEM. */
int control_init(struct hooks *hooks);
/* What a status comes to in the word of a slot, and back. */
uint8_t control_pack(int32_t status);
int32_t control_unpack(uint8_t packed);
