/* pigeon/admin.h - interface "pigeon.admin/1": look into the broker and operate it; for plugins that
 * offer this to people. Included by <pigeon/plugin.h>.
 *
 *     const pigeon_admin *admin = host->get(host->inst, PIGEON_IF_ADMIN, PIGEON_ADMIN_SIZE_1);
 *     pigeon_query q = { .size = sizeof(q), .list = PIGEON_LIST_CLIENTS, .limit = 50 };
 *     r = admin->list(host->inst, &q, on_rows, arg, &job);
 *
 * All functions are [any]: from every thread and every callback. They copy what they are given, wait for
 * nothing, hold no lock while a plugin runs, and return PIGEON_OK or PIGEON_E_*; with an error nothing has been
 * begun and no callback follows. Callbacks are [loop]: on the thread of the instance that asked, never within the
 * call that asked. Views in them live until they return.
 *
 * What is under way is a job. Its last callback says so (`done`); none follows after that, after cancel() on
 * the instance's own thread, or after destroy(), which cancels everything. An instance may have
 * PIGEON_JOBS_MAX jobs at once; one more is PIGEON_E_BUSY.
 *
 * The core asks nobody whether a plugin may do this: who offers it to people asks for their credentials. */
#ifndef PIGEON_ADMIN_H
#define PIGEON_ADMIN_H
#include <pigeon/host.h>

typedef uint64_t pigeon_job; /* never 0; a stale one is harmless */
#define PIGEON_JOBS_MAX 1000u

/* What rows are: the struct they point to. */
#define PIGEON_LIST_CLIENTS       1u  /* pigeon_session_row: those with a connection      */
#define PIGEON_LIST_SESSIONS      2u  /* pigeon_session_row: the offline ones, too        */
#define PIGEON_LIST_SUBSCRIPTIONS 3u  /* pigeon_subscription_row                          */
#define PIGEON_LIST_RETAINED      4u  /* pigeon_retained_row                              */
#define PIGEON_LIST_PLUGINS       5u  /* pigeon_plugin_row                                */
#define PIGEON_LIST_CHAINS        6u  /* pigeon_chain_row                                 */
#define PIGEON_LIST_LISTENERS     7u  /* pigeon_listener_row                              */
#define PIGEON_LIST_BANS          8u  /* pigeon_ban                                       */
#define PIGEON_LIST_COMMANDS      9u  /* pigeon_command_row                               */
#define PIGEON_LIST_EXPLAIN       10u /* pigeon_explain_row, of explain()                 */
#define PIGEON_LIST_TRACE         11u /* pigeon_trace_row, of trace()                     */

/* Some rows of a job. At most 100 at a time for a list, 256 for a trace; n may be 0 in the last call. */
typedef struct pigeon_rows {
    uint32_t   size;
    uint32_t   list;    /* PIGEON_LIST_*                                                              */
    PIGEON_PTR(const void, rows);
    uint32_t   n;
    uint32_t   stride;  /* of rows: use pigeon_rows_at()                                                  */
    uint32_t   done;    /* 1: the last call of this job                                               */
    int32_t    status;  /* when done: PIGEON_OK, or why it ended early                                */
    uint64_t   dropped; /* trace: rows lost so far, because they came too fast                        */
    pigeon_str resume;  /* when done, and there is more: for the next query; empty at the end         */
    pigeon_str text;    /* when done with an error: a sentence for people, may be empty               */
} pigeon_rows;
typedef void (*pigeon_rows_fn)(void *self, void *arg, pigeon_job job, const pigeon_rows *rows);

/* Row i, as a pointer to the struct of that list. */
static inline const void *pigeon_rows_at(const pigeon_rows *rows, uint32_t i)
{
    return (const char *)rows->rows + (size_t)i * rows->stride;
}

/* ---- lists ---------------------------------------------------------------------------------------
 * Rows come in portions; between two of them the loops serve their clients, so a list is no snapshot: what is
 * there all the time is reported exactly once, what comes or goes meanwhile once or not at all. A list of
 * all clients costs each loop some microseconds per portion. Empty members of a query select everything;
 * several narrow it down together. */
typedef struct pigeon_query {
    uint32_t   size;
    uint32_t   list;      /* PIGEON_LIST_CLIENTS ... PIGEON_LIST_COMMANDS                             */
    uint32_t   limit;     /* 0: all                                                                   */
    uint32_t   rsv;
    pigeon_str resume;    /* pigeon_rows.resume of the page before; same query otherwise              */
    pigeon_str client_id; /* clients, sessions, subscriptions: exactly this one                       */
    pigeon_str pattern;   /* the same by client id with * and ?                                       */
    pigeon_str username;  /* clients, sessions: of connected ones                                     */
    pigeon_str address;   /* the same, without port                                                   */
    pigeon_str listener;  /* clients, sessions, chains: name                                          */
    pigeon_str topic;     /* subscriptions: those which would get a message with this topic           */
    pigeon_str filter;    /* subscriptions: exactly this one, with $share/NAME/ where it has it;
                             retained: the topics that it matches                                     */
    pigeon_str plugin;    /* plugins, chains, commands: name                                          */
} pigeon_query;

typedef struct pigeon_session_row {
    uint32_t   size;
    uint32_t   connected;
    PIGEON_PTR(const pigeon_client, client); /* NULL: not connected. Without the certificate's bytes  */
    pigeon_str client_id;
    int64_t    connected_ms;      /* UNIX time; 0: not connected                                      */
    uint32_t   session_expiry_s;  /* UINT32_MAX: never                                                */
    uint32_t   subscriptions;
    uint64_t   expires_in_ms;     /* not connected: until the session ends; UINT64_MAX: never         */
    uint64_t   queued_messages;   /* in memory or in the store                                        */
    uint64_t   queued_bytes;
    uint64_t   dropped_messages;  /* of this session, so far                                          */
    uint32_t   inflight;          /* sent and not yet acknowledged by the client                      */
    uint32_t   inflight_in;       /* received from it and not yet completed                           */
    uint32_t   durable;           /* 1: outlives its connection                                       */
    uint32_t   has_will;
} pigeon_session_row;

typedef struct pigeon_subscription_row {
    uint32_t   size;
    uint32_t   connected;
    pigeon_str client_id;                /* empty: a plugin's                                         */
    pigeon_str plugin;                   /* whose it is                                               */
    PIGEON_PTR(const pigeon_sub, sub);
    uint32_t   denied;                   /* 1: MQTT 3.1 was told so with a grant; gets nothing        */
    uint32_t   rsv;
} pigeon_subscription_row;

typedef struct pigeon_retained_row {
    uint32_t   size;
    uint32_t   rsv;
    PIGEON_PTR(const pigeon_msg, msg);   /* host->msg_ref() to keep it                                */
} pigeon_retained_row;

#define PIGEON_PLUGIN_TAKEN     1u
#define PIGEON_PLUGIN_AVAILABLE 2u /* on demand, and nobody named it                                  */
#define PIGEON_PLUGIN_DISABLED  3u
#define PIGEON_PLUGIN_IGNORED   4u /* no plugin of this broker                                        */
#define PIGEON_PLUGIN_REFUSED   5u

#define PIGEON_RUN_INLINE  0u
#define PIGEON_RUN_WORKER  1u
#define PIGEON_RUN_PROCESS 2u

/* Their metrics: PIGEON_IF_METRICS. */
typedef struct pigeon_plugin_row {
    uint32_t   size;
    uint32_t   state;         /* PIGEON_PLUGIN_*                                                      */
    pigeon_str name;          /* in the configuration                                                 */
    pigeon_str file;
    pigeon_str id;
    pigeon_str version;
    pigeon_str summary;
    pigeon_str license;
    pigeon_str interfaces;    /* separated by a blank                                                 */
    pigeon_str fault;         /* why it was refused or ignored                                        */
    uint32_t   flags;         /* PIGEON_F_*                                                           */
    uint32_t   run;           /* PIGEON_RUN_*                                                         */
    uint32_t   instances;
    uint32_t   pending;       /* questions it has not answered yet                                    */
    uint64_t   deadlines;     /* answers that did not come in time                                    */
    uint64_t   refused;       /* questions the broker denied in its place                             */
    uint64_t   events_lost;
    uint16_t   abi_major;
    uint16_t   abi_minor;
    uint32_t   rsv;
} pigeon_plugin_row;

#define PIGEON_CONTROL_DECIDE  0u
#define PIGEON_CONTROL_REQUIRE 1u
#define PIGEON_CONTROL_VETO    2u

#define PIGEON_END_OF_CHAIN_GO_ON 0u /* nobody decided: it goes on                                    */
#define PIGEON_END_OF_CHAIN_ALLOW 1u
#define PIGEON_END_OF_CHAIN_DENY  2u

/* One entry of one chain; an empty chain is one row without a plugin. */
typedef struct pigeon_chain_row {
    uint32_t   size;
    uint32_t   hook;          /* PIGEON_HOOK_*                                                        */
    pigeon_str listener;      /* empty: the broker's, for what belongs to no client                   */
    pigeon_str plugin;
    uint32_t   entry;         /* from 0                                                               */
    uint32_t   entries;       /* of this chain                                                        */
    uint32_t   control;       /* PIGEON_CONTROL_*                                                     */
    uint32_t   run;           /* PIGEON_RUN_*                                                         */
    uint32_t   has_hook;      /* 0: it is there for the rules that it pushes                          */
    uint32_t   next_on_deadline;
    uint64_t   deadline_ms;
    uint32_t   end;           /* PIGEON_END_OF_CHAIN_*: of the chain, when nobody decides             */
    uint32_t   rsv;
    pigeon_str only;          /* topic filters, separated by a blank; empty: all topics               */
} pigeon_chain_row;

typedef struct pigeon_listener_row {
    uint32_t   size;
    uint32_t   transport;     /* PIGEON_TRANSPORT_*                                                   */
    pigeon_str name;
    pigeon_str bind;          /* addresses as configured, separated by a blank, or the socket's path  */
    uint32_t   port;          /* as configured; 0: any free one, or a UNIX socket                     */
    uint32_t   proxy_protocol;
    uint64_t   max_connections; /* 0: no limit                                                        */
} pigeon_listener_row;

typedef struct pigeon_command_row {
    uint32_t   size;
    uint32_t   rsv;
    pigeon_str plugin;
    pigeon_str name;
    pigeon_str args;
    pigeon_str help;
} pigeon_command_row;

/* ---- bans ----------------------------------------------------------------------------------------
 * A CONNECT of who is banned is refused by the core, before any hook, with 0x8A (3.x: 5). Client id and user
 * name are looked at as they were sent, and again as the hooks have set them. Kept in memory: a restart forgets
 * them. */
#define PIGEON_BAN_CLIENT  1u
#define PIGEON_BAN_USER    2u
#define PIGEON_BAN_ADDRESS 3u /* "192.0.2.7", "2001:db8::/32": an address or a network                */

#define PIGEON_BAN_KICK 1u    /* ends the connections it applies to                                   */

typedef struct pigeon_ban {
    uint32_t   size;
    uint32_t   kind;        /* PIGEON_BAN_CLIENT ...                                                  */
    uint32_t   flags;       /* PIGEON_BAN_KICK; not in lists                                          */
    uint32_t   rsv;
    uint64_t   duration_ms; /* 0: until unban or restart. In lists: what is left of it                */
    pigeon_str value;
    pigeon_str text;        /* why, for logs and the client; may be empty                             */
    pigeon_str by;          /* in lists: the plugin                                                   */
    int64_t    since_ms;    /* in lists: UNIX time                                                    */
    uint64_t   hits;        /* in lists: CONNECTs refused                                             */
} pigeon_ban;

/* ---- explain -------------------------------------------------------------------------------------
 * What the chains would say. The plugins are really asked, on the loop of the client, and see PIGEON_REQ_EXPLAIN
 * in pigeon_req.flags: who counts failures or keeps state should leave this question out. Nothing happens of
 * it: nothing is published, subscribed, remembered, or made a rule. */
#define PIGEON_EXPLAIN_CONNECT   1u
#define PIGEON_EXPLAIN_PUBLISH   2u
#define PIGEON_EXPLAIN_SUBSCRIBE 3u
#define PIGEON_EXPLAIN_DELIVER   4u /* would the client get this message of a subscription it has     */

typedef struct pigeon_question {
    uint32_t     size;
    uint32_t     action;      /* PIGEON_EXPLAIN_*                                                     */
    pigeon_str   client_id;   /* a connected client; if it is not, a client made of what follows      */
    pigeon_str   username;
    pigeon_str   address;
    pigeon_str   listener;    /* name; empty: the first one                                           */
    uint32_t     made_up;     /* 1: do not look for a connected client                                */
    uint32_t     qos;
    uint32_t     retain;
    uint32_t     protocol;    /* 3, 4, 5; 0: 5. Of a made-up client                                   */
    pigeon_str   topic;       /* or the filter, with $share/NAME/                                     */
    pigeon_bytes payload;
    pigeon_bytes password;    /* CONNECT: ptr NULL: the plugins are not asked, only listed            */
} pigeon_question;

#define PIGEON_BY_NOBODY   0u /* no rule applied, and the plugin has no such hook                     */
#define PIGEON_BY_RULE     1u /* that the plugin had pushed for this client                           */
#define PIGEON_BY_CACHE    2u /* what it had said before, and let be remembered                       */
#define PIGEON_BY_HOOK     3u
#define PIGEON_BY_ONLY     4u /* left out: `only` names other topics                                  */
#define PIGEON_BY_DEADLINE 5u /* its answer did not come in time                                      */
#define PIGEON_BY_HOST     6u /* the broker, in its place: max_pending, or a value it could not set   */
#define PIGEON_BY_CORE     7u /* no entry: syntax, reserved topics, bans, limits                      */
#define PIGEON_BY_END      8u /* no entry: the end of the chain                                       */
#define PIGEON_BY_UNASKED  9u /* listed only                                                          */

/* One entry of a chain, in order; entries behind the one that decided are not there. The last row of a chain
 * and of the whole has `final`; `outcome` then is what happens. */
typedef struct pigeon_explain_row {
    uint32_t   size;
    uint32_t   hook;          /* PIGEON_HOOK_*; 0: none                                               */
    uint32_t   entry;
    uint32_t   control;       /* PIGEON_CONTROL_*                                                     */
    uint32_t   by;            /* PIGEON_BY_*                                                          */
    int32_t    verdict;       /* PIGEON_NEXT, _ALLOW, _DENY                                           */
    uint32_t   reason;        /* of a denial, MQTT 5                                                  */
    uint32_t   final;         /* 1: this ended the chain                                              */
    uint32_t   outcome;       /* in the very last row: PIGEON_ALLOW or _DENY; else 0                  */
    uint32_t   required;      /* 1: an entry with `require` has passed, which ends in ALLOW           */
    uint64_t   ns;            /* until the answer was there                                           */
    pigeon_str plugin;
    pigeon_str text;          /* reason string, or why, as a sentence                                 */
    uint32_t   rewritten;     /* 1: this entry changed something of what follows                      */
    uint32_t   qos;
    uint32_t   retain;
    uint32_t   payload_len;
    pigeon_str topic;         /* or filter: as it is after this entry                                 */
    pigeon_str client_id;     /* CONNECT: as it is after this entry                                   */
    pigeon_str username;
} pigeon_explain_row;

/* ---- trace ---------------------------------------------------------------------------------------
 * Packets of a client in both directions, as they come, and what each plugin says about them. May begin before
 * the client connects. Members that are set select together: all of them have to fit. Passwords and
 * authentication data are never shown. When nobody traces it costs one test per packet. */
typedef struct pigeon_trace {
    uint32_t   size;
    uint32_t   payload_max;  /* bytes of each payload to be shown, at most 1024; 0: none              */
    pigeon_str client_id;
    pigeon_str address;      /* without port                                                          */
    pigeon_str filter;       /* PUBLISH whose topic it matches, and verdicts about them; nothing else */
    uint64_t   duration_ms;  /* 0: 10 minutes; at most a day                                          */
    uint32_t   rate_max;     /* rows per second and loop, 0: 1000; those beyond are dropped           */
    uint32_t   rows_max;     /* ends after so many; 0: no limit                                       */
} pigeon_trace;
#define PIGEON_TRACES_MAX 16u /* in the whole broker                                                  */

#define PIGEON_TRACE_IN      1u /* a packet of the client                                             */
#define PIGEON_TRACE_OUT     2u /* a packet to it                                                     */
#define PIGEON_TRACE_VERDICT 3u
#define PIGEON_TRACE_CLOSE   4u /* the connection has ended: reason, text                             */

typedef struct pigeon_trace_row {
    uint32_t     size;
    uint32_t     kind;        /* PIGEON_TRACE_*                                                       */
    int64_t      time_us;     /* UNIX time                                                            */
    uint64_t     conn_id;
    pigeon_str   client_id;
    pigeon_str   address;
    uint8_t      type;        /* MQTT packet type, 1 CONNECT ... 15 AUTH                              */
    uint8_t      dup;
    uint8_t      qos;
    uint8_t      retain;
    uint16_t     packet_id;   /* 0: none                                                              */
    uint8_t      reason;
    uint8_t      has_reason;
    uint32_t     packet_size; /* bytes, header included                                               */
    uint32_t     payload_len; /* of the whole payload                                                 */
    pigeon_str   name;        /* of the packet type, or of the hook                                   */
    pigeon_str   topic;       /* aliases resolved                                                     */
    pigeon_str   text;        /* the rest in words: flags, filters, reason codes                      */
    pigeon_str   props;       /* MQTT 5 properties: name=value, separated by a blank;
                                 names with - for blanks                                              */
    pigeon_bytes payload;     /* its beginning, as asked for                                          */
    pigeon_str   plugin;      /* verdict: who                                                         */
    uint32_t     hook;        /* verdict: PIGEON_HOOK_*                                               */
    uint32_t     entry;
    uint32_t     control;     /* verdict: PIGEON_CONTROL_*                                            */
    uint32_t     by;          /* verdict: PIGEON_BY_*                                                 */
    int32_t      verdict;
    uint32_t     rsv;
    uint64_t     ns;          /* verdict: until the answer was there                                  */
} pigeon_trace_row;

/* ---- control commands of plugins -------------------------------------------------------------------- */
typedef struct pigeon_call {
    uint32_t   size;
    uint32_t   timeout_ms; /* 0: 5000; at most 300000                                                 */
    pigeon_str plugin;     /* name in the configuration                                               */
    pigeon_str command;
    pigeon_str args;       /* a JSON object; empty: {}. At most 1 MiB                                 */
} pigeon_call;
#define PIGEON_REPLY_MAX (1024u * 1024u)

/* status PIGEON_OK: json is the answer, {} if the plugin gave none; at most PIGEON_REPLY_MAX bytes of UTF-8 that
 * begin and end as JSON does. Else text is a sentence for people, and json is empty: E_UNKNOWN no such
 * plugin or command, E_BUSY no answer in time or max_pending reached, E_TOOBIG and E_INVAL the answer, or what
 * the plugin returned. */
typedef void (*pigeon_reply_fn)(void *self, void *arg, pigeon_job job, int32_t status, pigeon_str json,
                                pigeon_str text);

#define PIGEON_IF_ADMIN "pigeon.admin/1"
typedef struct pigeon_admin {
    uint32_t size;
    uint32_t flags;
    /* job may be NULL in all four. E_INVAL: unknown list, a resume that does not belong to it, a wrong
     * filter; E_NOMEM; E_BUSY. */
    int32_t (*list)(void *inst, const pigeon_query *query, pigeon_rows_fn fn, void *arg, pigeon_job *job);
    int32_t (*explain)(void *inst, const pigeon_question *question, pigeon_rows_fn fn, void *arg,
                       pigeon_job *job);
    /* Goes on until cancel(), its duration, or rows_max. */
    int32_t (*trace)(void *inst, const pigeon_trace *trace, pigeon_rows_fn fn, void *arg,
                     pigeon_job *job);
    /* Asks a plugin, itself included; on its instance, or on the first one of those on each loop. A wrong name
     * is told by fn. After cancel() the plugin still answers, to nobody. */
    int32_t (*call)(void *inst, const pigeon_call *call, pigeon_reply_fn fn, void *arg, pigeon_job *job);
    /* Nothing more of it is delivered to this instance. From another thread than the instance's a callback may
     * be running still. PIGEON_E_GONE: it was over, or is somebody else's. */
    int32_t (*cancel)(void *inst, pigeon_job job);
    /* Replaces one of the same kind and value. Holds for CONNECTs from now on. E_INVAL: not an address, or empty;
     * E_FULL: more than 10000. */
    int32_t (*ban)(void *inst, const pigeon_ban *ban);
    /* E_UNKNOWN: there is none. */
    int32_t (*unban)(void *inst, uint32_t kind, pigeon_str value);
    /* Ends a session, and its connection with 0x98. done (may be NULL): PIGEON_OK, E_UNKNOWN. */
    int32_t (*session_delete)(void *inst, pigeon_str client_id, pigeon_done_fn done, void *arg);
    /* Deletes the retained messages that a filter matches, without a message to anybody. done (may be NULL):
     * how many, or an error. Those under $SYS only by their whole topic. */
    int32_t (*retained_delete)(void *inst, pigeon_str filter, pigeon_done_fn done, void *arg);
    /* PIGEON_LOG_*, until the next reload. */
    int32_t (*log_level)(void *inst, uint32_t level);
    /* As SIGHUP: reads the configuration again. What comes of it is in the log. E_NOTSUP: not in this program. */
    int32_t (*reload)(void *inst);
} pigeon_admin;

#define PIGEON_ADMIN_SIZE_1 ((uint32_t)(offsetof(pigeon_admin, reload) + sizeof(int32_t (*)(void *))))

#endif
