#include "api/metrics.h"

#include "api/prometheus.h"

#include <stdio.h>

void metrics_clock(struct metrics *m, uint64_t now_us) {
    uint64_t passed = now_us > m->now_us ? now_us - m->now_us : 0;
    if (m->any_instant) {
        for (size_t i = 0; i < METRICS_ROUTES_MAX; i++)
            if (m->instant[i] > 0) {
                histogram_add(&m->seconds[i], HISTOGRAM_TIME_LOG2, passed, m->instant[i]);
                m->instant[i] = 0;
            }
        m->any_instant = false;
    }
    m->now_us += passed;
}

static uint64_t total(const uint64_t counts[ERROR_COUNT]) {
    uint64_t sum = 0;
    for (size_t i = 0; i < ERROR_COUNT; i++)
        sum += counts[i];
    return sum;
}

/* Errors that have the same status are one sample. */
static void print_route(const uint64_t counts[ERROR_COUNT], const char *route, struct buffer *out) {
    for (unsigned i = 0; i < ERROR_COUNT; i++) {
        unsigned status = error_row(i)->status;
        uint64_t sum = counts[i];
        bool seen = false;
        for (unsigned j = 0; j < ERROR_COUNT; j++)
            if (j != i && error_row(j)->status == status) {
                seen = seen || j < i;
                sum += counts[j];
            }
        if (seen || sum == 0)
            continue;
        char labels[160] = "", text[8];
        snprintf(text, sizeof text, "%u", status);
        prometheus_label(labels, sizeof labels, "route", route);
        prometheus_label(labels, sizeof labels, "status", text);
        prometheus_sample(out, "kvnode_http_requests_total", labels, sum);
    }
}

void metrics_print(const struct metrics *m, const char *const names[METRICS_ROUTES_MAX], struct buffer *out) {
    prometheus_family(out, "kvnode_http_requests_total", "counter",
                      "Requests answered, by route and HTTP status.");
    for (size_t i = 0; i < METRICS_ROUTES_MAX; i++)
        if (names[i] != NULL)
            print_route(m->requests[i], names[i], out);
    prometheus_family(out, "kvnode_http_request_duration_seconds", "histogram",
                      "From a whole request to its answer, by route.");
    for (size_t i = 0; i < METRICS_ROUTES_MAX; i++) {
        char labels[96] = "";
        if (names[i] == NULL || total(m->requests[i]) == 0)
            continue;
        prometheus_label(labels, sizeof labels, "route", names[i]);
        prometheus_times(out, "kvnode_http_request_duration_seconds", labels, &m->seconds[i]);
    }
    prometheus_counter(out, "kvnode_http_slow_requests_total", "Requests that took longer than -slow-ms.",
                       m->slow);
    prometheus_counter(out, "kvnode_http_connections_opened_total", "Client connections taken.", m->opened);
    prometheus_counter(out, "kvnode_http_connections_refused_total",
                       "Client connections turned away because there were too many.", m->turned_away);
}
