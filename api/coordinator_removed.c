/* A node out of whose state nothing may be read: it was removed from its group, so that its state grows old;
 * or its state is not the one that a majority of its group agrees on (replication/PROTOCOL.md, "Comparing
 * states"). What waits here waits in vain, and all of it is answered at once.
 *
 * Other nodes are told that this one does not take it, and look elsewhere. What is with another node already
 * is answered as that one does. */
#include "api/coordinator_internal.h"

bool is_diverged(const struct coordinator *c) {
    return raft_odd(coordinator_raft(c));
}

enum error out_of_service(const struct coordinator *c) {
    if (c->options.self->role == NODE_REMOVED)
        return ERROR_REMOVED;
    return is_diverged(c) ? ERROR_DIVERGED : ERROR_NONE;
}

struct refusal {
    const char *unknown, *client, *node;
};

static const struct refusal removed = {
    "this node was removed from its group before it knew of a majority that has it",
    "this node was removed from its group while the request waited",
    "this node was removed from its group",
};

static const struct refusal diverged = {
    "this node was found to hold other keys than a majority of its group before it knew what became of it",
    "this node was found to hold other keys than a majority of its group while the request waited",
    "this node holds other keys than a majority of its group",
};

static void refuse(struct coordinator *c, struct pending *p, enum error why) {
    const struct refusal *words = why == ERROR_REMOVED ? &removed : &diverged;
    if (p->at.index != 0)
        pending_unknown(c, p, words->unknown);
    else if (p->origin == ORIGIN_CLIENT || p->origin == ORIGIN_GATHER)
        pending_error(c, p, why, words->client);
    else
        pending_error(c, p, ERROR_NOT_LEADER, words->node);
}

void removed_poll(struct coordinator *c) {
    struct pending *p, *next;
    enum error why = out_of_service(c);
    if (why == ERROR_NONE)
        return;
    for (int i = 0; i < PENDING_STATES; i++) {
        if (i == PENDING_FORWARDED)
            continue;
        TAILQ_FOREACH_SAFE(p, &c->states[i], link, next)
        refuse(c, p, why);
    }
}
