/* Clients of all nodes: each of a few workers asks, waits for the answer and asks again; sets, deletes,
 * conditional writes, reads, listings, writes that are sent again under their pair, and what became of those.
 *
 * Every request and answer goes through check.h. A node that runs must answer within PATIENCE_US. */
#ifndef TESTS_SIM_WORKLOAD_H
#define TESTS_SIM_WORKLOAD_H

#include "tests/sim/check.h"

#define PATIENCE_US (12 * SECOND) /* of a client; a node answers within 5 s */

struct workload;

struct workload_options {
    unsigned keys;           /* at most KEYS_MAX */
    uint32_t value_size_max; /* of the padding */
    unsigned pace_ms;        /* longest pause behind an answer */
    unsigned to_leaders;     /* of 1,000 requests: for whoever leads, or thinks so */
    unsigned weak_workers;   /* they only set keys, and wait for no majority where the group does not */
};

/* The workers begin a second later. */
struct workload *workload_new(struct sim *sim, const struct workload_options *options);
void workload_free(struct workload *w);
/* No new requests; those under way go on. */
void workload_stop(struct workload *w);

/* Sends the op of this number, as it is, by a client. */
void workload_send(struct check *check, size_t number, struct client *client, struct machine *to);

#endif
