#include "broker/admin_ban.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define BANS_MAX 10000u

/* An address or network: IPv4 in its first four bytes. */
struct network {
    uint8_t ip[16];
    uint8_t len, bits; /* len: 4 or 16 */
};

struct ban {
    struct list link; /* bans.all, oldest first */
    struct list net;  /* bans.nets, when it is wider than one address */
    uint64_t number;
    uint32_t kind;
    struct network network;
    struct str key;   /* kind and value as they are looked up, owned */
    struct str value; /* as given, owned */
    struct str text;  /* owned */
    char *by;
    uint64_t until_ms; /* broker.now_ms; 0: for ever */
    int64_t since_ms;  /* UNIX */
    uint64_t hits;
};

struct bans {
    struct broker *broker;
    pthread_mutex_t lock;
    _Atomic uint32_t n;
    struct map by_key;
    struct list all, nets;
    uint64_t next;
};

int bans_new(struct broker *b, struct bans **r_bans)
{
    struct bans *bans = calloc(1, sizeof(*bans));
    if (!bans)
        return -ENOMEM;
    bans->broker = b;
    pthread_mutex_init(&bans->lock, NULL);
    map_init(&bans->by_key, &b->hash_key);
    list_init(&bans->all);
    list_init(&bans->nets);
    *r_bans = bans;
    return 0;
}

/* ---- addresses ----------------------------------------------------------------------------------
 */

static void mask(struct network *n)
{
    for (uint32_t bit = n->bits; bit < n->len * 8u; bit++)
        n->ip[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

/* "192.0.2.7", "2001:db8::/32". IPv6 that is mapped IPv4 becomes that. */
static bool parse_network(struct str text, struct network *r)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    char buf[64], *slash;
    if (!text.len || text.len >= sizeof(buf))
        return false;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    slash = strchr(buf, '/');
    if (slash)
        *slash++ = '\0';
    *r = (struct network){ 0 };
    if (inet_pton(AF_INET, buf, r->ip) == 1)
        r->len = 4;
    else if (inet_pton(AF_INET6, buf, r->ip) == 1)
        r->len = 16;
    else
        return false;
    r->bits = (uint8_t)(r->len * 8);
    if (slash) {
        char *end;
        long bits = strtol(slash, &end, 10);
        if (*slash < '0' || *slash > '9' || *end || bits > r->bits)
            return false;
        r->bits = (uint8_t)bits;
    }
    if (r->len == 16 && r->bits >= 96 && memcmp(r->ip, mapped, sizeof(mapped)) == 0) {
        memmove(r->ip, r->ip + 12, 4);
        memset(r->ip + 4, 0, 12);
        r->len = 4;
        r->bits = (uint8_t)(r->bits - 96);
    }
    mask(r);
    return true;
}

static bool is_within(const struct network *net, const struct network *address)
{
    struct network n = *address;
    if (n.len != net->len)
        return false;
    n.bits = net->bits;
    mask(&n);
    return memcmp(n.ip, net->ip, n.len) == 0;
}

/* ---- the table ----------------------------------------------------------------------------------
 */

#define KEY_MAX 32u /* of an address */

static struct str address_key(const struct network *n, char buf[KEY_MAX])
{
    buf[0] = (char)PIGEON_BAN_ADDRESS;
    buf[1] = (char)n->bits;
    memcpy(buf + 2, n->ip, n->len);
    return str_make(buf, 2 + n->len);
}

/* [lock] */
static void ban_free(struct bans *bans, struct ban *ban)
{
    if (list_linked(&ban->link)) {
        map_remove(&bans->by_key, ban->key);
        list_remove(&ban->link);
        list_remove(&ban->net);
        atomic_fetch_sub(&bans->n, 1);
    }
    str_free(&ban->key);
    str_free(&ban->value);
    str_free(&ban->text);
    free(ban->by);
    free(ban);
}

void bans_free(struct bans **p)
{
    struct bans *bans = *p;
    *p = NULL;
    if (!bans)
        return;
    while (!list_empty(&bans->all))
        ban_free(bans, container_of(bans->all.next, struct ban, link));
    map_fini(&bans->by_key);
    pthread_mutex_destroy(&bans->lock);
    free(bans);
}

static uint64_t now_ms(const struct bans *bans)
{
    return atomic_load(&bans->broker->now_ms);
}

static bool is_over(const struct bans *bans, const struct ban *ban)
{
    return ban->until_ms && now_ms(bans) >= ban->until_ms;
}

/* [lock] The ban of a key; one that is over goes. */
static struct ban *ban_find(struct bans *bans, struct str key)
{
    struct ban *ban = map_get(&bans->by_key, key);
    if (!ban || !is_over(bans, ban))
        return ban;
    ban_free(bans, ban);
    return NULL;
}

/* Kind and value; for ids and names, on the heap. 0, -EINVAL, -ENOMEM. */
static int make_key(uint32_t kind, struct str value, struct network *r_network, struct str *r_key)
{
    char buf[KEY_MAX];
    if (!value.len || kind < PIGEON_BAN_CLIENT || kind > PIGEON_BAN_ADDRESS)
        return -EINVAL;
    if (kind == PIGEON_BAN_ADDRESS)
        return parse_network(value, r_network) ? str_dup_r(address_key(r_network, buf), r_key)
                                               : -EINVAL;
    char *key = malloc(value.len + 2);
    if (!key)
        return -ENOMEM;
    key[0] = (char)kind;
    memcpy(key + 1, value.ptr, value.len);
    key[value.len + 1] = '\0';
    *r_key = str_make(key, value.len + 1);
    return 0;
}

static struct ban *ban_new(struct bans *bans, const pigeon_ban *from, const char *by, int *r_error)
{
    struct ban *ban = calloc(1, sizeof(*ban));
    *r_error = -ENOMEM;
    if (!ban)
        return NULL;
    list_init(&ban->link);
    list_init(&ban->net);
    ban->kind = from->kind;
    *r_error = make_key(from->kind, admin_str(from->value), &ban->network, &ban->key);
    if (*r_error == 0 && (str_dup_r(admin_str(from->value), &ban->value) ||
                          str_dup_r(admin_str(from->text), &ban->text) || !(ban->by = strdup(by))))
        *r_error = -ENOMEM;
    if (*r_error) {
        ban_free(bans, ban);
        return NULL;
    }
    ban->until_ms = from->duration_ms ? now_ms(bans) + from->duration_ms : 0;
    ban->since_ms =
        bans->broker->started_wall_ms + (int64_t)(now_ms(bans) - bans->broker->started_ms);
    return ban;
}

/* [lock] */
static void forget_those_over(struct bans *bans)
{
    LIST_FOREACH_SAFE (it, &bans->all) {
        struct ban *ban = container_of(it, struct ban, link);
        if (is_over(bans, ban))
            ban_free(bans, ban);
    }
}

int32_t bans_put(struct bans *bans, const pigeon_ban *from, const char *by)
{
    int error = 0;
    struct ban *ban = ban_new(bans, from, by, &error), *old;
    int32_t r = PIGEON_OK;
    if (!ban)
        return error == -EINVAL ? PIGEON_E_INVAL : PIGEON_E_NOMEM;
    pthread_mutex_lock(&bans->lock);
    old = ban_find(bans, ban->key);
    if (old)
        ban_free(bans, old);
    if (atomic_load(&bans->n) >= BANS_MAX)
        forget_those_over(bans);
    if (atomic_load(&bans->n) >= BANS_MAX)
        r = PIGEON_E_FULL;
    else if (map_put(&bans->by_key, ban->key, ban))
        r = PIGEON_E_NOMEM;
    if (r == PIGEON_OK) {
        ban->number = ++bans->next;
        list_append(&bans->all, &ban->link);
        if (ban->kind == PIGEON_BAN_ADDRESS && ban->network.bits < ban->network.len * 8)
            list_append(&bans->nets, &ban->net);
        atomic_fetch_add(&bans->n, 1);
    } else {
        ban_free(bans, ban);
    }
    pthread_mutex_unlock(&bans->lock);
    if (r == PIGEON_OK)
        log_info(bans->broker->log, "banned", LS("value", admin_str(from->value)), LZ("plugin", by),
                 LU("duration_ms", from->duration_ms));
    return r;
}

int32_t bans_remove(struct bans *bans, uint32_t kind, struct str value)
{
    struct network network;
    struct str key = STR_NULL;
    int r = make_key(kind, value, &network, &key);
    if (r)
        return r == -ENOMEM ? PIGEON_E_NOMEM : PIGEON_E_INVAL;
    pthread_mutex_lock(&bans->lock);
    struct ban *ban = ban_find(bans, key);
    if (ban)
        ban_free(bans, ban);
    pthread_mutex_unlock(&bans->lock);
    str_free(&key);
    return ban ? PIGEON_OK : PIGEON_E_UNKNOWN;
}

/* ---- who is meant -------------------------------------------------------------------------------
 */

/* [lock] */
static struct ban *find_text(struct bans *bans, uint32_t kind, struct str value)
{
    struct network unused;
    struct str key = STR_NULL;
    if (!value.len || make_key(kind, value, &unused, &key))
        return NULL;
    struct ban *ban = ban_find(bans, key);
    str_free(&key);
    return ban;
}

/* [lock] */
static struct ban *find_address(struct bans *bans, struct str text)
{
    struct network address;
    char buf[KEY_MAX];
    if (!parse_network(text, &address))
        return NULL;
    struct ban *ban = ban_find(bans, address_key(&address, buf));
    LIST_FOREACH (it, &bans->nets) {
        struct ban *net = container_of(it, struct ban, net);
        if (ban)
            break;
        if (is_within(&net->network, &address) && !is_over(bans, net))
            ban = net;
    }
    return ban;
}

bool bans_apply(struct bans *bans, const struct admin_who *who, bool is_hit, char *text,
                size_t size)
{
    if (!atomic_load_explicit(&bans->n, memory_order_acquire))
        return false;
    pthread_mutex_lock(&bans->lock);
    struct ban *ban = find_text(bans, PIGEON_BAN_CLIENT, who->client_id);
    if (!ban)
        ban = find_text(bans, PIGEON_BAN_USER, who->username);
    if (!ban)
        ban = find_address(bans, who->address);
    if (ban) {
        ban->hits += is_hit;
        snprintf(text, size, STR_FMT, STR_ARG(ban->text.len ? ban->text : STR("banned")));
    }
    pthread_mutex_unlock(&bans->lock);
    return ban != NULL;
}

/* ---- the list -----------------------------------------------------------------------------------
 */

static void add_row(struct bans *bans, const struct ban *ban, struct rows *rows)
{
    pigeon_ban *row = rows_add(rows);
    if (!row)
        return;
    row->kind = ban->kind;
    row->duration_ms = ban->until_ms ? ban->until_ms - now_ms(bans) : 0;
    row->value = rows_text(rows, ban->value);
    row->text = rows_text(rows, ban->text);
    row->by = rows_z(rows, ban->by);
    row->since_ms = ban->since_ms;
    row->hits = ban->hits;
}

int bans_list(struct bans *bans, uint64_t *at, uint32_t max, struct rows *rows)
{
    int more = 0;
    pthread_mutex_lock(&bans->lock);
    forget_those_over(bans);
    LIST_FOREACH (it, &bans->all) {
        const struct ban *ban = container_of(it, struct ban, link);
        if (ban->number <= *at)
            continue;
        if (rows->n >= max) {
            more = 1;
            break;
        }
        *at = ban->number;
        add_row(bans, ban, rows);
    }
    pthread_mutex_unlock(&bans->lock);
    return more;
}
