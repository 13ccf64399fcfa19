/* explain.h - what would the chains say? A question of pigeon.admin/1, put to the real chains on
 * the client's loop with an observer that keeps the answers and lets nothing happen; private to
 * hooks/. */
#pragma once
#include <pigeon/plugin.h>

int32_t admin_explain(void *inst, const pigeon_question *question, pigeon_rows_fn fn, void *arg,
                      pigeon_job *job);
/* PIGEON_CONTROL_* and PIGEON_BY_* of what hooks/ uses itself. */
uint32_t explain_control(uint8_t control);
