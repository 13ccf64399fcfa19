#include "pigeond/no_broker.h"

static void no_publish(void *broker, uint32_t loop, struct message *m_message,
                       void (*done)(void *arg, int32_t status), void *arg)
{
    (void)broker;
    (void)loop;
    message_unref(&m_message);
    if (done)
        done(arg, PIGEON_E_NOTSUP);
}

static int32_t no_subscribe(void *broker, uint32_t loop, struct str filter, uint8_t qos,
                            int32_t (*deliver)(void *arg, const struct message *message), void *arg,
                            void **r_subscription)
{
    (void)broker;
    (void)loop;
    (void)filter;
    (void)qos;
    (void)deliver;
    (void)arg;
    (void)r_subscription;
    return PIGEON_E_NOTSUP;
}

static void no_subscription(void *broker, uint32_t loop, void *subscription)
{
    (void)broker;
    (void)loop;
    (void)subscription;
}

static void no_kick(void *broker, uint32_t loop, struct str client_id, uint8_t reason,
                    const char *text)
{
    (void)broker;
    (void)loop;
    (void)client_id;
    (void)reason;
    (void)text;
}

static void no_invalidate(void *broker, uint32_t loop, const char *plugin, struct str client_id,
                          struct str username)
{
    (void)broker;
    (void)loop;
    (void)plugin;
    (void)client_id;
    (void)username;
}

static void no_info(void *broker, pigeon_info *info)
{
    uint32_t size = info->size;
    (void)broker;
    memset(info, 0, size);
    info->size = size;
}

static void no_store_failed(void *broker, const char *text)
{
    (void)broker;
    (void)text;
}

static void no_store_room(void *broker, uint32_t loop)
{
    (void)broker;
    (void)loop;
}

const struct hooks_ops no_broker_ops = {
    .publish = no_publish,
    .subscribe = no_subscribe,
    .unsubscribe = no_subscription,
    .deliver_next = no_subscription,
    .kick = no_kick,
    .invalidate = no_invalidate,
    .info = no_info,
    .store_failed = no_store_failed,
    .store_room = no_store_room,
};
