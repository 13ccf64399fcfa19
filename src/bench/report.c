#include "bench/report.h"
#include "bench/bench.h"
#include <inttypes.h>

static const struct {
    const char *name;
    double share;
} quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p99.9", 0.999 } };
#define N_QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

static uint64_t n_lost(const struct result *r)
{
    return r->n_expected - r->n_delivered;
}

int report_status(const struct bench *b)
{
    const struct result *r = &b->result;
    return n_lost(r) || r->n_duplicated || r->n_reordered || r->n_refused ? 3 : 0;
}

static double per(double value, uint64_t n)
{
    return n ? value / (double)n : 0;
}

static double broker_us(const struct phase *p)
{
    return (double)(p->after.cpu_ns - p->before.cpu_ns) / 1e3;
}

static double rss_growth(const struct phase *p)
{
    return (double)p->after.rss_bytes - (double)p->before.rss_bytes;
}

static void phase_text(const struct bench *b, const struct phase *p, FILE *out)
{
    fprintf(out, "  %-10s %" PRIu64 " x %s in %.3f s, %.0f per second", p->name, p->n, p->unit,
            p->seconds, p->seconds > 0 ? (double)p->n / p->seconds : 0);
    fprintf(out, "; own CPU %.3f us each\n", per((double)p->own_cpu_ns / 1e3, p->n));
    if (b->opt->broker_pid == 0)
        return;
    fprintf(out, "  %-10s broker CPU %.3f us each (%.0f us; user %.0f ms, system %.0f ms)", "",
            per(broker_us(p), p->n), broker_us(p),
            (double)(p->after.user_us - p->before.user_us) / 1e3,
            (double)(p->after.system_us - p->before.system_us) / 1e3);
    fprintf(out, ", RSS %" PRIu64 " KiB", p->after.rss_bytes / 1024);
    if (p->shows_memory)
        fprintf(out, " (%+.0f bytes each)", per(rss_growth(p), p->n));
    fputc('\n', out);
}

void report_text(const struct bench *b, FILE *out)
{
    const struct options *o = b->opt;
    const struct result *r = &b->result;
    fprintf(out, "%s, MQTT %s, QoS %u, payload %u\n", shape_name(o->shape),
            version_name(o->version), o->qos, o->payload);
    for (uint32_t i = 0; i < r->n_phases; i++)
        phase_text(b, &r->phase[i], out);
    if (r->n_expected)
        fprintf(out,
                "  %" PRIu64 " published, %" PRIu64 " of %" PRIu64 " received: %" PRIu64
                " lost, %" PRIu64 " duplicated, %" PRIu64 " out of order, %" PRIu64 " refused\n",
                r->n_published, r->n_delivered, r->n_expected, n_lost(r), r->n_duplicated,
                r->n_reordered, r->n_refused);
    if (!r->has_latency)
        return;
    fprintf(out, "  latency    ");
    for (size_t i = 0; i < N_QUANTILES; i++)
        fprintf(out, "%s %.1f, ", quantiles[i].name,
                (double)histogram_quantile(&r->latency, quantiles[i].share) / 1e3);
    fprintf(out, "max %.1f us%s\n", (double)r->latency.max / 1e3,
            o->rate > 0 ? "" : " (from sending; the window is kept full)");
}

static void phase_json(const struct bench *b, const struct phase *p, FILE *out)
{
    fprintf(out, "{\"name\": \"%s\", \"unit\": \"%s\", \"n\": %" PRIu64 ", \"seconds\": %.6f",
            p->name, p->unit, p->n, p->seconds);
    fprintf(out, ", \"own_cpu_us\": %.1f, \"own_cpu_us_per_unit\": %.4f",
            (double)p->own_cpu_ns / 1e3, per((double)p->own_cpu_ns / 1e3, p->n));
    if (b->opt->broker_pid) {
        fprintf(out, ", \"broker_cpu_us\": %.1f, \"broker_cpu_us_per_unit\": %.4f", broker_us(p),
                per(broker_us(p), p->n));
        fprintf(out, ", \"broker_user_us\": %" PRIu64 ", \"broker_system_us\": %" PRIu64,
                p->after.user_us - p->before.user_us, p->after.system_us - p->before.system_us);
        fprintf(out, ", \"rss_before\": %" PRIu64 ", \"rss_after\": %" PRIu64, p->before.rss_bytes,
                p->after.rss_bytes);
        if (p->shows_memory)
            fprintf(out, ", \"rss_per_unit\": %.1f", per(rss_growth(p), p->n));
    }
    fputc('}', out);
}

static void latency_json(const struct histogram *h, FILE *out)
{
    fprintf(out, ", \"latency_us\": {\"n\": %" PRIu64 ", \"mean\": %.3f", h->n,
            histogram_mean(h) / 1e3);
    for (size_t i = 0; i < N_QUANTILES; i++)
        fprintf(out, ", \"%s\": %.3f", quantiles[i].name,
                (double)histogram_quantile(h, quantiles[i].share) / 1e3);
    fprintf(out, ", \"max\": %.3f}", (double)h->max / 1e3);
}

void report_json(const struct bench *b, FILE *out)
{
    const struct options *o = b->opt;
    const struct result *r = &b->result;
    fprintf(out, "{\"shape\": \"%s\", \"mqtt\": \"%s\", \"qos\": %u, \"payload\": %u",
            shape_name(o->shape), version_name(o->version), o->qos, o->payload);
    fprintf(out, ", \"publishers\": %u, \"subscribers\": %u, \"window\": %u, \"batch\": %u",
            o->publishers, o->subscribers, o->window, o->batch);
    fprintf(out, ", \"rate\": %.3f, \"durable\": %s, \"phases\": [", o->rate,
            o->durable ? "true" : "false");
    for (uint32_t i = 0; i < r->n_phases; i++) {
        fputs(i ? ", " : "", out);
        phase_json(b, &r->phase[i], out);
    }
    fprintf(out, "], \"published\": %" PRIu64 ", \"expected\": %" PRIu64, r->n_published,
            r->n_expected);
    fprintf(out, ", \"delivered\": %" PRIu64 ", \"lost\": %" PRIu64, r->n_delivered, n_lost(r));
    fprintf(out, ", \"duplicated\": %" PRIu64 ", \"reordered\": %" PRIu64 ", \"refused\": %" PRIu64,
            r->n_duplicated, r->n_reordered, r->n_refused);
    if (r->has_latency)
        latency_json(&r->latency, out);
    fputs("}\n", out);
}
