/* The state of the node as the API shows it: in /health, and in the 503 of a request that needs a leader. The
 * node decides it (cmd/node_health.h). */
#ifndef API_HEALTH_H
#define API_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

/* Borrowed until the node is asked again. */
struct health_view {
    const char *status; /* one word: "healthy" and others */
    const char *role;   /* "leader", "follower", "candidate", "learner", "newcomer", "removed" */
    uint32_t group;
    uint64_t keys;
    bool ready;         /* requests should be sent to this node */
    bool hopeless;      /* no leader and no majority can be expected: do not wait for one */
    const char *reason; /* what is the case, a clause; empty where it is healthy */
    const char *fix;    /* what to do, sentences; empty likewise */
};

#endif
