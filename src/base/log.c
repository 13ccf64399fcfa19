#include "base/log.h"
#include "base/utf8.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* A line is at most PIPE_BUF long, so that one write to a pipe is whole or not at all. */
#define LINE_MAX_BYTES 4096
#define LINE_RESERVE   96   /* for suppressed, lost, truncated and the end of the line */
#define VALUE_MAX      1024 /* bytes of one value as written */
#define RATE_SLOTS     256  /* event names beyond this many are not limited */

struct rate_slot {
    const char *event;
    uint64_t second;
    uint64_t n_suppressed;
    uint32_t n_lines; /* let through in this second */
};

struct log {
    int fd;
    enum log_format format;
    bool timestamps;
    uint64_t (*wall_ms)(void);
    _Atomic int level;
    _Atomic uint32_t rate;
    _Atomic uint64_t n_lost;
    pthread_mutex_t mutex; /* guards the slots */
    struct rate_slot slot[RATE_SLOTS];
};

struct line {
    char text[LINE_MAX_BYTES];
    size_t len, limit;
    bool json;
    bool overrun; /* something did not fit; nothing of it was written */
};

static const char *const level_name[] = {
    [LOG_ERROR] = "ERROR", [LOG_WARN] = "WARN", [LOG_INFO] = "INFO", [LOG_DEBUG] = "DEBUG"
};

static uint64_t wall_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int log_new(int fd, enum log_level level, enum log_format format, bool timestamps,
            struct log **r_log)
{
    struct log *log = calloc(1, sizeof(*log));
    if (!log)
        return -ENOMEM;
    log->fd = fd;
    log->format = format;
    log->timestamps = timestamps;
    log->wall_ms = wall_clock_ms;
    atomic_init(&log->level, level);
    atomic_init(&log->rate, 0);
    atomic_init(&log->n_lost, 0);
    pthread_mutex_init(&log->mutex, NULL);
    *r_log = log;
    return 0;
}

void log_free(struct log **log)
{
    if (!*log)
        return;
    pthread_mutex_destroy(&(*log)->mutex);
    free(*log);
    *log = NULL;
}

void log_set_level(struct log *log, enum log_level level)
{
    atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

void log_set_rate(struct log *log, uint32_t lines_per_s)
{
    atomic_store_explicit(&log->rate, lines_per_s, memory_order_relaxed);
}

void log_set_clock(struct log *log, uint64_t (*wall_ms)(void))
{
    log->wall_ms = wall_ms;
}

bool log_wants(const struct log *log, enum log_level level)
{
    return log && (int)level <= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* The slot of the event, NULL when the table is full. */
static struct rate_slot *rate_find(struct log *log, const char *event)
{
    uint64_t spread = (uint64_t)(uintptr_t)event * UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = 0; i < RATE_SLOTS; i++) {
        struct rate_slot *slot = &log->slot[((spread >> 32) + i) % RATE_SLOTS];
        if (!slot->event)
            slot->event = event;
        if (slot->event == event)
            return slot;
    }
    return NULL;
}

/* Whether the line may go out, and how many before it did not. */
static bool rate_allows(struct log *log, const char *event, uint64_t second, uint64_t *r_suppressed)
{
    uint32_t rate = atomic_load_explicit(&log->rate, memory_order_relaxed);
    if (!rate)
        return true;
    bool allowed = true;
    pthread_mutex_lock(&log->mutex);
    struct rate_slot *slot = rate_find(log, event);
    if (slot) {
        if (slot->second != second) {
            slot->second = second;
            slot->n_lines = 0;
        }
        allowed = slot->n_lines < rate;
        if (allowed) {
            slot->n_lines++;
            *r_suppressed = slot->n_suppressed;
            slot->n_suppressed = 0;
        } else {
            slot->n_suppressed++;
        }
    }
    pthread_mutex_unlock(&log->mutex);
    return allowed;
}

static void line_bytes(struct line *l, const char *bytes, size_t len)
{
    if (l->overrun || len > l->limit - l->len) {
        l->overrun = true;
        return;
    }
    memcpy(l->text + l->len, bytes, len);
    l->len += len;
}

__attribute__((format(printf, 2, 3))) static void line_printf(struct line *l, const char *format,
                                                              ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    line_bytes(l, text, n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* Controls, and what a terminal or a reader of lines may take for one. */
static bool code_is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029;
}

static bool value_is_bare(struct str s)
{
    uint32_t code;
    for (uint32_t i = 0; i < s.len;) {
        size_t n = utf8_decode(s.ptr + i, s.len - i, &code);
        if (n == 0 || code_is_control(code) || code == ' ' || code == '"' || code == '=' ||
            code == '\\')
            return false;
        i += (uint32_t)n;
    }
    return s.len > 0;
}

/* Writes the first character of `s` so that it is safe between quotes; returns its length in `s`.
 */
static size_t line_char(struct line *l, struct str s)
{
    uint32_t code;
    size_t n = utf8_decode(s.ptr, s.len, &code);
    if (n == 0) {
        if (l->json)
            line_printf(l, "\\ufffd");
        else
            line_printf(l, "\\x%02x", (unsigned)(unsigned char)s.ptr[0]);
        return 1;
    }
    if (code == '"' || code == '\\')
        line_printf(l, "\\%c", (char)code);
    else if (code == '\n')
        line_printf(l, "\\n");
    else if (code_is_control(code))
        line_printf(l, "\\u%04x", (unsigned)code);
    else
        line_bytes(l, s.ptr, n);
    return n;
}

static void line_quoted(struct line *l, struct str s)
{
    size_t begin = l->len;
    line_bytes(l, "\"", 1);
    while (s.len && !l->overrun) {
        if (l->len - begin > VALUE_MAX) {
            line_bytes(l, "...", 3);
            break;
        }
        size_t n = line_char(l, s);
        s = str_make(s.ptr + n, s.len - n);
    }
    line_bytes(l, "\"", 1);
}

static void line_value(struct line *l, struct str s)
{
    if (!l->json && s.len <= VALUE_MAX && value_is_bare(s))
        line_bytes(l, s.ptr, s.len);
    else
        line_quoted(l, s);
}

/* Names come from our own literals; anything else in one is made harmless. */
static void line_name(struct line *l, const char *name)
{
    for (; *name; name++) {
        bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                     (*name >= '0' && *name <= '9') || strchr("_.-", *name);
        line_bytes(l, plain ? name : "_", 1);
    }
}

static void line_key(struct line *l, const char *key)
{
    line_bytes(l, l->json ? ",\"" : " ", l->json ? 2 : 1);
    line_name(l, key);
    line_bytes(l, l->json ? "\":" : "=", l->json ? 2 : 1);
}

/* Writes the whole field or nothing; false if it did not fit. */
static bool line_field(struct line *l, const struct log_field *field)
{
    size_t before = l->len;
    line_key(l, field->key);
    switch (field->kind) {
    case LOG_F_STR: line_value(l, field->str); break;
    case LOG_F_INT: line_printf(l, "%lld", (long long)field->num); break;
    case LOG_F_UINT: line_printf(l, "%llu", (unsigned long long)field->num); break;
    }
    bool fits = !l->overrun;
    if (!fits)
        l->len = before;
    l->overrun = false;
    return fits;
}

static void line_head(struct line *l, const struct log *log, uint64_t now_ms, enum log_level level,
                      const char *event)
{
    char when[40] = "";
    if (log->timestamps) {
        time_t second = (time_t)(now_ms / 1000);
        struct tm tm;
        gmtime_r(&second, &tm);
        size_t n = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(when + n, sizeof(when) - n, ".%03uZ", (unsigned)(now_ms % 1000));
    }
    if (!l->json) {
        line_printf(l, "%s%s%s ", when, *when ? " " : "", level_name[level]);
        line_name(l, event);
        return;
    }
    line_bytes(l, "{", 1);
    if (*when)
        line_printf(l, "\"ts\":\"%s\",", when);
    line_printf(l, "\"level\":\"%s\",\"event\":\"", level_name[level]);
    line_name(l, event);
    line_bytes(l, "\"", 1);
}

static void line_write(struct log *log, const struct line *l, uint64_t n_lost)
{
    ssize_t n;
    do
        n = write(log->fd, l->text, l->len);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)l->len)
        atomic_fetch_add(&log->n_lost, n_lost + 1);
}

void log_emit(struct log *log, enum log_level level, const char *event,
              const struct log_field *fields)
{
    if (!log_wants(log, level))
        return;
    uint64_t now_ms = log->wall_ms(), n_suppressed = 0;
    if (!rate_allows(log, event, now_ms / 1000, &n_suppressed))
        return;
    int saved_errno = errno;
    struct line l;
    l.len = 0;
    l.limit = LINE_MAX_BYTES - LINE_RESERVE;
    l.json = log->format == LOG_JSON;
    l.overrun = false;
    line_head(&l, log, now_ms, level, event);
    bool cut = l.overrun;
    l.overrun = false;
    for (; fields && fields->key; fields++)
        cut = !line_field(&l, fields) || cut;
    uint64_t n_lost = atomic_exchange(&log->n_lost, 0);
    l.limit = LINE_MAX_BYTES;
    if (n_suppressed)
        line_field(&l, &LU("suppressed", n_suppressed));
    if (n_lost)
        line_field(&l, &LU("lost", n_lost));
    if (cut)
        line_field(&l, &LU("truncated", 1));
    line_bytes(&l, l.json ? "}\n" : "\n", l.json ? 2 : 1);
    line_write(log, &l, n_lost);
    errno = saved_errno;
}
