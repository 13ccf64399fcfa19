#include "pigeond/door_tls.h"
#include "net/tls.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)CONFIG_CERT_REQUIRED == (int)TLS_CERT_REQUIRED, "the same words");
_Static_assert((int)CONFIG_ID_SAN == (int)TLS_IDENTITY_SAN, "the same words");

static struct tls_files files_of(const struct config_tls_files *f)
{
    return (struct tls_files){ .cert = f->cert, .key = f->key ? f->key : f->cert };
}

int door_tls_new(const struct config_listener *l, struct tls_tickets *tickets, char *reason,
                 size_t room, struct tls_context **r_context)
{
    const struct config_tls *tls = &l->tls;
    struct tls_conf conf = { .n_files = 1 + tls->n_more,
                             .ca = tls->ca,
                             .crl = tls->crl,
                             .client_cert = (enum tls_client_cert)tls->client_cert,
                             .identity = (enum tls_identity)tls->identity,
                             .only_1_3 = tls->min_version == CONFIG_TLS_1_3,
                             .ciphers = tls->ciphers,
                             .suites = tls->suites,
                             .websocket = l->protocol == CONFIG_WEBSOCKET,
                             .session_id = l->name,
                             .tickets = tls->tickets ? tickets : NULL };
    struct tls_files *files;
    int r;

    *r_context = NULL;
    if (!tls->on)
        return 0;
    files = calloc(conf.n_files, sizeof(*files));
    if (!files) {
        snprintf(reason, room, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    files[0] = files_of(&tls->own);
    for (uint32_t i = 0; i < tls->n_more; i++)
        files[1 + i] = files_of(&tls->more[i]);
    conf.files = files;
    r = tls_context_new(&conf, reason, room, r_context);
    if (r == -ENOMEM)
        snprintf(reason, room, "%s", strerror(ENOMEM));
    free(files);
    return r;
}

int door_tls_check(const struct config *config, struct diag *d)
{
    int result = 0;

    for (uint32_t i = 0; i < config->n_listeners; i++) {
        const struct config_listener *l = &config->listeners[i];
        struct tls_context *context;
        char reason[512];

        if (door_tls_new(l, NULL, reason, sizeof(reason), &context)) {
            diag_error(d, l->place, "the TLS of '%s': %s", l->name, reason);
            result = -EINVAL;
        } else {
            tls_context_unref(&context);
        }
    }
    return result;
}
