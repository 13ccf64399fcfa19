/* mqtt_random.h - random topics and filters over a small alphabet, so that they often meet. */
#pragma once
#include "base/str.h"
#include "unit.h"
#include <stdlib.h>
#include <time.h>

#define RANDOM_TEXT 64

static inline uint64_t random_seed(void)
{
    const char *given = getenv("PIGEON_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!seed)
        seed = ((uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec) | 1;
    print_message("PIGEON_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static inline uint32_t random_below(uint64_t *seed, uint32_t n)
{
    return (uint32_t)((unit_random(seed) >> 16) % n);
}

/* Appends a level; returns the new end. */
static inline char *random_level(uint64_t *seed, char *at)
{
    static const char *const levels[] = { "a", "b", "ab", "", "$x", "c" };
    const char *level = levels[random_below(seed, 6)];
    size_t len = strlen(level);
    memcpy(at, level, len);
    return at + len;
}

/* Up to 5 levels; never empty. */
static inline struct str random_topic(uint64_t *seed, char text[RANDOM_TEXT])
{
    char *at;
    do {
        at = text;
        for (uint32_t n = random_below(seed, 5); n > 0; n--) {
            at = random_level(seed, at);
            *at++ = '/';
        }
        at = random_level(seed, at);
    } while (at == text);
    return str_make(text, (size_t)(at - text));
}

static inline struct str random_filter(uint64_t *seed, char text[RANDOM_TEXT])
{
    char *at;
    do {
        at = text;
        for (uint32_t n = random_below(seed, 5); n > 0; n--) {
            if (random_below(seed, 3) == 0)
                *at++ = '+';
            else
                at = random_level(seed, at);
            *at++ = '/';
        }
        uint32_t last = random_below(seed, 6);
        if (last < 3)
            at = random_level(seed, at);
        else
            *at++ = last == 3 ? '+' : '#';
    } while (at == text);
    return str_make(text, (size_t)(at - text));
}
