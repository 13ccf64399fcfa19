/* histogram.h - counts of 64-bit values with a relative error below 1 %, over the whole range.
 *
 * Values below 256 have a bucket each; above that every power of two is cut into 128 buckets.
 * 60 KB, embedded, never allocates. One thread. */
#pragma once
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_BUCKETS  ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t n, min, max; /* min is UINT64_MAX while n is 0 */
    double sum;
    uint64_t count[HISTOGRAM_BUCKETS];
};

static inline uint32_t histogram_bucket(uint64_t value)
{
    if (value < (UINT64_C(1) << (HISTOGRAM_SUB_BITS + 1)))
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (shift << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->count[histogram_bucket(value)]++;
    h->n++;
    h->sum += (double)value;
    if (value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
}

void histogram_clear(struct histogram *h);
/* Adds what `from` has counted. */
void histogram_merge(struct histogram *h, const struct histogram *from);
/* Largest value that falls into the bucket. */
uint64_t histogram_bucket_top(uint32_t bucket);
/* A value that at least `share` (0..1) of all values do not exceed: the top of its bucket, never
 * above max. 0 when nothing was counted. */
uint64_t histogram_quantile(const struct histogram *h, double share);
double histogram_mean(const struct histogram *h);
