#include "conn/tally.h"
#include <errno.h>
#include <stdlib.h>

struct tally {
    uint64_t n, n_pending;
    uint32_t key_len;
    char key[];
};

void tally_init(struct tally_table *t, const struct hash_key *key)
{
    pthread_mutex_init(&t->lock, NULL);
    map_init(&t->map, key);
}

void tally_fini(struct tally_table *t)
{
    uint32_t it = 0;
    for (struct tally *tally; (tally = map_next(&t->map, &it));)
        free(tally);
    map_fini(&t->map);
    pthread_mutex_destroy(&t->lock);
}

static struct tally *tally_new(struct tally_table *t, struct str key)
{
    struct tally *tally = malloc(sizeof(*tally) + key.len);
    if (!tally)
        return NULL;
    *tally = (struct tally){ .key_len = key.len };
    if (key.len)
        memcpy(tally->key, key.ptr, key.len);
    if (map_put(&t->map, str_make(tally->key, key.len), tally)) {
        free(tally);
        return NULL;
    }
    return tally;
}

int tally_enter(struct tally_table *t, struct str key, uint64_t max, uint64_t max_pending,
                struct tally **r_tally)
{
    int r = 0;
    pthread_mutex_lock(&t->lock);
    struct tally *tally = map_get(&t->map, key);
    if (!tally)
        tally = tally_new(t, key);
    if (!tally) {
        r = -ENOMEM;
    } else if ((max && tally->n >= max) || (max_pending && tally->n_pending >= max_pending)) {
        r = -EDQUOT; /* limits are at least 1, so somebody is counted in it */
    } else {
        tally->n++;
        tally->n_pending++;
        *r_tally = tally;
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

struct str tally_key(const struct tally *tally)
{
    return str_make(tally->key, tally->key_len);
}

void tally_settle(struct tally_table *t, struct tally *tally)
{
    if (!tally)
        return;
    pthread_mutex_lock(&t->lock);
    tally->n_pending--;
    pthread_mutex_unlock(&t->lock);
}

void tally_leave(struct tally_table *t, struct tally **p, bool is_pending)
{
    struct tally *tally = *p;
    if (!tally)
        return;
    *p = NULL;
    pthread_mutex_lock(&t->lock);
    if (is_pending)
        tally->n_pending--;
    bool last = --tally->n == 0;
    if (last)
        map_remove(&t->map, str_make(tally->key, tally->key_len));
    pthread_mutex_unlock(&t->lock);
    if (last)
        free(tally);
}
