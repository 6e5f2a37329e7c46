/* What the HTTP server counts of its requests: how many by route and error, how long they took by route.
 *
 * A core has no clock: its shell tells the time (metrics_clock) when a turn of a client begins and when its
 * answers are written. A request answered within a turn took what lies between the two; one answered later,
 * what lies between its own turn and the time then told last. */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "api/error.h"
#include "storage/buffer.h"
#include "storage/histogram.h"

#define METRICS_ROUTES_MAX 24

struct metrics {
    uint64_t now_us;
    uint64_t requests[METRICS_ROUTES_MAX][ERROR_COUNT];
    struct histogram seconds[METRICS_ROUTES_MAX];
    uint64_t instant[METRICS_ROUTES_MAX]; /* answered since the time was told last */
    bool any_instant;
    uint64_t opened, turned_away; /* connections */
    uint64_t slow;                /* requests over the threshold */
};

static inline void metrics_request(struct metrics *m, uint8_t route, enum error error, uint64_t started_us) {
    m->requests[route][error]++;
    if (started_us >= m->now_us) {
        m->instant[route]++;
        m->any_instant = true;
    } else {
        histogram_add_us(&m->seconds[route], m->now_us - started_us);
    }
}

void metrics_clock(struct metrics *m, uint64_t now_us);

/* names: of the routes; one that is NULL has no requests. */
void metrics_print(const struct metrics *m, const char *const names[METRICS_ROUTES_MAX], struct buffer *out);

#endif
