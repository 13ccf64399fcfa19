#include "bench/histogram.h"
#include <string.h>

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->count[i] += from->count[i];
    h->n += from->n;
    h->sum += from->sum;
    if (from->min < h->min)
        h->min = from->min;
    if (from->max > h->max)
        h->max = from->max;
}

uint64_t histogram_bucket_top(uint32_t bucket)
{
    if (bucket < (2u << HISTOGRAM_SUB_BITS))
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t low = (uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS)) << shift;
    return low + ((UINT64_C(1) << shift) - 1);
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
    if (h->n == 0)
        return 0;
    if (share >= 1)
        return h->max;
    double exact = share > 0 ? share * (double)h->n : 0;
    uint64_t wanted = (uint64_t)exact;
    if ((double)wanted < exact)
        wanted++;
    if (wanted == 0)
        return h->min;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= wanted) {
            uint64_t top = histogram_bucket_top(i);
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}

double histogram_mean(const struct histogram *h)
{
    return h->n ? h->sum / (double)h->n : 0;
}
