/* auth_postgres - asks a PostgreSQL database, and waits for it.
 * SPDX-License-Identifier: MIT
 *
 * cc -shared -fPIC -Iinclude -I/usr/include/postgresql examples/auth_postgres.c -lpq -o pg.so
 *
 *     plugins:
 *       auth_postgres: { file: pg.so, run: worker, workers: 4, deadline: 3s,
 *                        options: { conninfo: "host=db dbname=mqtt connect_timeout=2" } }
 *
 * What it shows: a plugin that blocks needs no thread, no lock and no late answer. It says
 * MAY_BLOCK, the operator gives it workers, and each worker has an instance with a connection of
 * its own. */
#include <libpq-fe.h>
#include <pigeon/plugin.h>
#include <stdlib.h>

#define TEXT 25 /* type of both parameters; in binary form, so that any byte may be in them */

struct self {
    const pigeon_host *host;
    const char *conninfo, *query;
    PGconn *db; /* NULL: to be connected at the next question */
};

static void forget(struct self *self, const char *why)
{
    pigeon_logf(self->host, PIGEON_LOG_WARN, "%s: %s", why, PQerrorMessage(self->db));
    PQfinish(self->db);
    self->db = NULL;
}

static int connected(struct self *self)
{
    if (!self->db)
        self->db = PQconnectdb(self->conninfo);
    if (PQstatus(self->db) == CONNECTION_OK)
        return 1;
    forget(self, "no connection");
    return 0;
}

static PGresult *ask(struct self *self, pigeon_str name, pigeon_bytes password)
{
    const Oid types[] = { TEXT, TEXT };
    const char *values[] = { name.ptr, password.len ? (const char *)password.ptr : "" };
    const int lengths[] = { (int)name.len, (int)password.len };
    const int formats[] = { 1, 1 };

    /* A connection that has died since the last question is made again, once. */
    for (int i = 0; i < 2 && connected(self); i++) {
        PGresult *rows = PQexecParams(self->db, self->query, 2, types, values, lengths, formats, 0);

        if (PQresultStatus(rows) == PGRES_TUPLES_OK || PQstatus(self->db) == CONNECTION_OK)
            return rows;
        PQclear(rows);
        forget(self, "connection lost");
    }
    return NULL;
}

static int32_t authenticate(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    struct self *self = arg;
    PGresult *rows;
    int32_t verdict = PIGEON_NEXT; /* no such user: the next plugin may know him */

    if (!connect->has_username)
        return PIGEON_NEXT;
    rows = ask(self, req->client->username, connect->password);
    if (PQresultStatus(rows) != PGRES_TUPLES_OK) {
        if (self->db)
            pigeon_logf(self->host, PIGEON_LOG_ERROR, "query: %s", PQerrorMessage(self->db));
        self->host->set_reason(req, 0x88, "the user database does not answer");
        verdict = PIGEON_DENY;
    } else if (PQntuples(rows) > 0) {
        verdict = strcmp(PQgetvalue(rows, 0, 0), "t") == 0 ? PIGEON_ALLOW : PIGEON_DENY;
        if (verdict == PIGEON_DENY)
            self->host->set_reason(req, 0x86, "bad user name or password");
    }
    PQclear(rows);
    return verdict;
}

static void destroy(void *arg)
{
    struct self *self = arg;

    PQfinish(self->db);
    free(self);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->conninfo = host->conf_str(conf, "conninfo").ptr;
    self->query = host->conf_str(conf, "query").ptr;
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "conninfo",
      .type = PIGEON_T_SECRET,
      .flags = PIGEON_O_REQUIRED,
      .doc = "Where the database is, as libpq wants it." },
    { .key = "query",
      .type = PIGEON_T_STRING,
      .preset = "SELECT hash = crypt($2, hash) FROM users WHERE name = $1",
      .doc = "$1 is the user name, $2 the password. True: come in, false: wrong password, no row: "
             "not a user. The preset needs the extension pgcrypto." },
};
static const pigeon_auth auth = { .size = sizeof(auth), .authenticate = authenticate };

PIGEON_PLUGIN("org.example.auth-postgres", "1.0", "users in a PostgreSQL database", "MIT",
              PIGEON_F_MAY_BLOCK, (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), PIGEON_OPTIONS(options),
              .create = create, .destroy = destroy);
