#include "net/upgrade.h"
#include "base/base64.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

#define GUID      "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */
#define KEY_TEXT  24u                                    /* base64 of 16 bytes */
#define SHA1_SIZE 20u

/* ---- characters --------------------------------------------------------------------------------
 */

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (!is_token_char(s.ptr[i]))
            return false;
    return s.len > 0;
}

static bool is_same(struct str a, struct str b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

static struct str trim(struct str s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = str_make(s.ptr + 1, s.len - 1);
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool list_has(struct str list, struct str word)
{
    while (list.len)
        if (is_same(trim(str_cut(&list, ',')), word))
            return true;
    return false;
}

/* ---- where it ends -----------------------------------------------------------------------------
 */

/* Lines end in CR LF, and nothing else is below a blank but tabs. Returns the request's length, 0:
 * not there yet. */
static size_t find_end(const uint8_t *data, size_t len, size_t *scanned, bool *r_bad)
{
    for (size_t i = *scanned; i < len; i++) {
        uint8_t c = data[i];
        bool after_cr = i > 0 && data[i - 1] == '\r';
        if ((c == '\n') != after_cr || (c < ' ' && c != '\r' && c != '\n' && c != '\t') ||
            c == 0x7f) {
            *r_bad = true;
            return 0;
        }
        if (c == '\n' && i >= 3 && data[i - 2] == '\n')
            return i + 1;
    }
    *scanned = len;
    return 0;
}

/* ---- lines -------------------------------------------------------------------------------------
 */

static int refuse(struct upgrade *u, uint32_t status, const char *fault)
{
    u->status = status;
    u->fault = fault;
    return -1;
}

static int read_request_line(struct upgrade *u, struct str line)
{
    u->method = str_cut(&line, ' ');
    u->target = str_cut(&line, ' ');
    if (!is_token(u->method) || !str_eq(line, STR("HTTP/1.1")))
        return refuse(u, 400, "the request is not one of HTTP/1.1");
    for (uint32_t i = 0; i < u->target.len; i++)
        if (u->target.ptr[i] <= ' ' || u->target.ptr[i] > '~' || u->target.ptr[i] == '#')
            return refuse(u, 400, "the target of the request is none");
    if (!str_starts(u->target, STR("/")))
        return refuse(u, 400, "the target of the request is none");
    return 0;
}

static int take_once(struct upgrade *u, struct str *field, struct str value, const char *fault)
{
    if (field->ptr)
        return refuse(u, 400, fault);
    *field = value;
    return 0;
}

static void take_protocols(struct upgrade *u, struct str list)
{
    while (list.len && !u->protocol.ptr) {
        struct str one = trim(str_cut(&list, ','));
        if (str_eq(one, STR("mqtt")) || str_eq(one, STR("mqttv3.1")))
            u->protocol = one;
    }
}

static int take_forwarded(struct upgrade *u, struct str value)
{
    if (u->n_forwarded == UPGRADE_FORWARDED_MAX)
        return refuse(u, 400, "too many X-Forwarded-For");
    u->forwarded[u->n_forwarded++] = value;
    return 0;
}

static int take_field(struct upgrade *u, struct str name, struct str value)
{
    if (is_same(name, STR("Host")))
        return take_once(u, &u->host, value, "more than one Host");
    if (is_same(name, STR("Origin")))
        return take_once(u, &u->origin, value, "more than one Origin");
    if (is_same(name, STR("Sec-WebSocket-Key")))
        return take_once(u, &u->key, value, "more than one Sec-WebSocket-Key");
    if (is_same(name, STR("Sec-WebSocket-Version")))
        return take_once(u, &u->version, value, "more than one Sec-WebSocket-Version");
    if (is_same(name, STR("X-Forwarded-For")))
        return take_forwarded(u, value);
    if (is_same(name, STR("Transfer-Encoding")) ||
        (is_same(name, STR("Content-Length")) && !str_eq(value, STR("0"))))
        return refuse(u, 400, "the request has a body");
    if (is_same(name, STR("Upgrade")))
        u->has_upgrade = u->has_upgrade || list_has(value, STR("websocket"));
    else if (is_same(name, STR("Connection")))
        u->has_connection = u->has_connection || list_has(value, STR("upgrade"));
    else if (is_same(name, STR("Sec-WebSocket-Protocol")))
        take_protocols(u, value);
    return 0;
}

/* `head` ends with the empty line. */
static int read_lines(struct upgrade *u, struct str head)
{
    bool first = true;
    while (head.len > 2) {
        struct str line = str_cut(&head, '\n');
        line.len--; /* its CR */
        if (first) {
            first = false;
            if (read_request_line(u, line) < 0)
                return -1;
            continue;
        }
        struct str name = str_cut(&line, ':');
        if (!line.ptr || !is_token(name)) /* folded lines, too */
            return refuse(u, 400, "a header line is none");
        if (take_field(u, name, trim(line)) < 0)
            return -1;
    }
    return first ? refuse(u, 400, "the request is not one of HTTP/1.1") : 0;
}

/* ---- the verdict -------------------------------------------------------------------------------
 */

/* 16 bytes in base64. */
static bool is_key(struct str key)
{
    char bytes[KEY_TEXT / 4 * 3];
    return key.len == KEY_TEXT && base64_decode(key.ptr, key.len, bytes) == 16;
}

/* The host without the port; "[::1]:80" has colons in it. */
static struct str host_only(struct str host)
{
    const char *from = host.ptr;
    const char *bracket = host.len && *from == '[' ? memchr(from, ']', host.len) : NULL;
    if (bracket)
        return str_make(from, (size_t)(bracket + 1 - from));
    return str_cut(&host, ':');
}

static bool is_host_of(struct str origin, struct str host)
{
    const char *at = memmem(origin.ptr, origin.len, "://", 3);
    if (!at)
        return false;
    at += 3;
    return host.len && is_same(host_only(str_make(at, origin.len - (size_t)(at - origin.ptr))),
                               host_only(host));
}

static bool is_welcome(const struct upgrade *u, const struct upgrade_rules *rules)
{
    if (!u->origin.ptr)
        return true;
    for (uint32_t i = 0; i < rules->n_origins; i++)
        if (!strcmp(rules->origins[i], "*") || is_same(str_from(rules->origins[i]), u->origin))
            return true;
    return !rules->n_origins && is_host_of(u->origin, u->host);
}

static int judge(struct upgrade *u, const struct upgrade_rules *rules)
{
    struct str query = u->target;
    struct str path = str_cut(&query, '?');
    if (!u->host.ptr)
        return refuse(u, 400, "Host is missing");
    if (!str_eq(u->method, STR("GET")))
        return refuse(u, 405, "only GET opens a WebSocket");
    if (rules->path && !str_eq(path, str_from(rules->path)))
        return refuse(u, 404, "there is nothing at this path");
    if (!u->has_upgrade || !u->has_connection)
        return refuse(u, 426, "here is a WebSocket, and nothing else");
    if (!u->version.ptr)
        return refuse(u, 400, "Sec-WebSocket-Version is missing");
    if (!str_eq(u->version, STR("13")))
        return refuse(u, 426, "another version of WebSocket");
    if (!is_key(u->key))
        return refuse(u, 400, "Sec-WebSocket-Key is missing or wrong");
    if (!is_welcome(u, rules))
        return refuse(u, 403, "this origin is not in the listener's `origins`");
    if (!u->protocol.ptr) /* [MQTT-6.0.0-3] */
        return refuse(u, 400, "the subprotocol mqtt is not offered");
    u->status = 101;
    return 0;
}

int upgrade_parse(const uint8_t *data, size_t len, size_t *scanned,
                  const struct upgrade_rules *rules, struct upgrade *r_upgrade)
{
    struct upgrade u = { 0 };
    bool bad = false;
    size_t max = len < UPGRADE_MAX ? len : UPGRADE_MAX;
    u.len = find_end(data, max, scanned, &bad);
    if (bad)
        refuse(&u, 400, "this is not HTTP");
    else if (!u.len && max == UPGRADE_MAX)
        refuse(&u, 431, "the request is too long");
    else if (!u.len)
        return UPGRADE_NEED_MORE;
    else if (read_lines(&u, str_make(data, u.len)) == 0)
        judge(&u, rules);
    *r_upgrade = u;
    return 0;
}

/* ---- the answer --------------------------------------------------------------------------------
 */

static const char *status_text(uint32_t status)
{
    switch (status) {
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 426: return "Upgrade Required";
    default: return "Request Header Fields Too Large";
    }
}

static const char *status_header(uint32_t status)
{
    if (status == 405)
        return "Allow: GET\r\n";
    if (status == 426)
        return "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    return "";
}

size_t upgrade_answer(const struct upgrade *u, char r_text[UPGRADE_ANSWER_MAX])
{
    unsigned char digest[SHA1_SIZE], both[KEY_TEXT + sizeof(GUID) - 1];
    char accept[4 * ((SHA1_SIZE + 2) / 3) + 1];
    int n;
    if (u->status != 101) {
        n = snprintf(r_text, UPGRADE_ANSWER_MAX,
                     "HTTP/1.1 %u %s\r\n%sConnection: %sclose\r\nContent-Type: text/plain\r\n"
                     "Content-Length: %zu\r\n\r\n%s\n",
                     u->status, status_text(u->status), status_header(u->status),
                     u->status == 426 ? "Upgrade, " : "", strlen(u->fault) + 1, u->fault);
        return (size_t)n;
    }
    memcpy(both, u->key.ptr, KEY_TEXT);
    memcpy(both + KEY_TEXT, GUID, sizeof(GUID) - 1);
    if (!EVP_Digest(both, sizeof(both), digest, NULL, EVP_sha1(), NULL))
        return 0;
    EVP_EncodeBlock((unsigned char *)accept, digest, (int)sizeof(digest));
    n = snprintf(r_text, UPGRADE_ANSWER_MAX,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: " STR_FMT "\r\n\r\n",
                 accept, STR_ARG(u->protocol));
    return (size_t)n;
}
