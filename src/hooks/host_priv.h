/* host_priv.h - the parts of pigeon_host, one file per subject; private to hooks/host*.c. */
#pragma once
#include "hooks/plugin.h"

void host_set_fill(pigeon_host *host);
void host_conf_fill(pigeon_host *host);
void host_msg_fill(pigeon_host *host);
void host_watch_fill(pigeon_host *host);
void host_metric_fill(pigeon_host *host);

static inline struct instance *instance_of(void *inst)
{
    return inst;
}

/* Is this the thread of the instance? */
bool host_on_loop(const struct instance *inst);
/* The same for a [loop] function, which says PIGEON_E_THREAD or NULL otherwise; what was wrong is
 * logged. Looked at in debug builds only. */
bool host_check_thread(const struct instance *inst, const char *function);
/* A message made of what a plugin gave, shared from the start. NULL with *r_error: PIGEON_E_*. */
struct message *host_message_new(const struct hooks *hooks, const pigeon_msg *msg, uint8_t origin,
                                 int32_t *r_error);
/* Post from any thread, in order for each caller: to the event loop that serves the instance, where
 * hooks_ops are called; and to where the instance itself is called, which may be a worker. */
void host_post_mail(struct instance *inst, struct mail *m_mail, mail_fn fn);
void host_post_home(struct instance *inst, struct mail *m_mail, mail_fn fn);
/* What host->fail was told. */
void host_forget_reason(struct instance *inst);
struct str host_str(pigeon_str s);
/* Can MQTT carry it as text? PIGEON_OK, PIGEON_E_TOOBIG, PIGEON_E_INVAL. */
int32_t host_check_text(pigeon_str s);
int32_t host_check_props(pigeon_bytes props);
