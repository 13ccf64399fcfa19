#include "hooks/ask_priv.h"
#include <stdio.h>

static bool is_reserved(uint32_t hook, struct str topic)
{
    return (hook == PIGEON_HOOK_AUTHORIZE_PUBLISH || hook == PIGEON_HOOK_AUTHORIZE_WILL) &&
           topic.len && topic.ptr[0] == '$';
}

bool ask_default(const struct hook_loop *hl, uint32_t hook, struct str topic)
{
    if (is_reserved(hook, topic))
        return false;
    return hl->hooks->config->default_access == CONFIG_ALLOW ||
           (hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE && str_starts(topic, STR("$SYS/")));
}

void ask_end(struct ask *ask)
{
    bool allow = true;

    ask->decided = false;
    ask->plugin = NULL;
    switch (ask->hook) {
    case PIGEON_HOOK_AUTHENTICATE:
        allow = !ask->chain->configured && !ask->denied_by_default;
        break;
    case PIGEON_HOOK_EXCHANGE: allow = false; break;
    case PIGEON_HOOK_AUTHORIZE_PUBLISH:
    case PIGEON_HOOK_AUTHORIZE_WILL:
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE:
        allow = !ask_is_configured(ask) && ask_default(ask->hl, ask->hook, ask_topic(ask));
        ask->reserved = is_reserved(ask->hook, ask_topic(ask));
        break;
    default: break;
    }
    ask->verdict = allow || (ask->required_passed && !ask->reserved) ? PIGEON_ALLOW : PIGEON_DENY;
}

/* ---- in words ------------------------------------------------------------------------ */

static const char *why_nobody(const struct ask *ask)
{
    switch (ask->hook) {
    case PIGEON_HOOK_EXCHANGE: return "no plugin knows the authentication method";
    case PIGEON_HOOK_AUTHENTICATE:
        return ask->chain->configured ? NULL : "allow_anonymous is false for this listener";
    default: break;
    }
    if (ask->reserved)
        return "topics that begin with $ need a plugin's consent";
    if (ask->chain->configured)
        return NULL;
    return ask_is_configured(ask) ? "no rule pushed for the client allows it"
                                  : "default_access is deny";
}

const char *ask_why(const struct ask *ask, struct ask_text *text)
{
    const char *why;
    int n;

    if (ask->text[0] || ask->plugin || ask->decided || ask->verdict != PIGEON_DENY)
        return ask->text;
    why = why_nobody(ask);
    n = snprintf(text->z, sizeof(text->z), "no plugin decided%s%s", why ? ": " : "",
                 why ? why : "");
    for (uint32_t i = 0; i < ask->chain->n && n >= 0 && (size_t)n < sizeof(text->z); i++)
        n += snprintf(text->z + n, sizeof(text->z) - (size_t)n, "%s%s",
                      i ? ", " : "; abstained: ", ask->chain->steps[i].inst->plugin->name);
    return text->z;
}
