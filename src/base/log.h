/* log.h - one event, one line: fixed event name and key=value fields, as text or JSON.
 *
 * INFO per connection, DEBUG per packet, WARN = look at it, ERROR = something was lost or refused.
 * Lines of one name are rate-limited; what was suppressed is said when the name is logged again
 * (suppressed=N). Never payloads, never passwords. Any thread. Emitting allocates nothing and is
 * one write(2) of at most 4096 bytes: long values are cut ("..."), fields that do not fit are left
 * out (truncated=1), and lines the descriptor did not take are counted in the next one (lost=N). A
 * NULL log swallows everything. */
#pragma once
#include "base/str.h"
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log;

struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_F_STR, LOG_F_INT, LOG_F_UINT } kind;
    struct str str;
    int64_t num;
};

#define LS(k, s) ((struct log_field){ .key = (k), .kind = LOG_F_STR, .str = (s) })
#define LZ(k, z) ((struct log_field){ .key = (k), .kind = LOG_F_STR, .str = str_from(z) })
#define LI(k, n) ((struct log_field){ .key = (k), .kind = LOG_F_INT, .num = (int64_t)(n) })
#define LU(k, n) \
    ((struct log_field){ .key = (k), .kind = LOG_F_UINT, .num = (int64_t)(uint64_t)(n) })

/* Writes to `fd` (not owned). timestamps: ISO 8601 in UTC before each line. 0 or -ENOMEM. */
int log_new(int fd, enum log_level level, enum log_format format, bool timestamps,
            struct log **r_log);
void log_free(struct log **log);
void log_set_level(struct log *log, enum log_level level); /* any thread */
/* [any thread] Per event name; 0, as in a new log: no limit. */
void log_set_rate(struct log *log, uint32_t lines_per_s);
/* Milliseconds since 1970 from another clock than the system's; before other threads log. */
void log_set_clock(struct log *log, uint64_t (*wall_ms)(void));
bool log_wants(const struct log *log, enum log_level level);
/* `event` must be a string literal (it is also the rate limiter's key). `fields` may be NULL. */
void log_emit(struct log *log, enum log_level level, const char *event,
              const struct log_field *fields);

/* log_info(log, "client_connected", LS("client", id), LU("keepalive", 60)); fields are optional. */
#define LOG_AT(log, level, event, ...)                                               \
    do {                                                                             \
        if (log_wants((log), (level)))                                               \
            log_emit((log), (level), (event),                                        \
                     (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ 0 } }); \
    } while (0)
#define log_error(log, event, ...) LOG_AT(log, LOG_ERROR, event __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(log, event, ...)  LOG_AT(log, LOG_WARN, event __VA_OPT__(, ) __VA_ARGS__)
#define log_info(log, event, ...)  LOG_AT(log, LOG_INFO, event __VA_OPT__(, ) __VA_ARGS__)
#define log_debug(log, event, ...) LOG_AT(log, LOG_DEBUG, event __VA_OPT__(, ) __VA_ARGS__)
