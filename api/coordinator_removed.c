/* A node that was removed from its group: its state grows old from then on, so that nothing is read from it,
 * and what waits for its group here waits in vain. All of that is answered at once.
 *
 * Other nodes are told that this one does not take it, and look elsewhere. What is with another node already
 * is answered as that one does. */
#include "api/coordinator_internal.h"

bool is_removed(const struct coordinator *c) {
    return c->options.self->role == NODE_REMOVED;
}

static void refuse(struct coordinator *c, struct pending *p) {
    if (p->at.index != 0)
        pending_unknown(c, p,
                        "this node was removed from its group before it knew of a majority that has it");
    else if (p->origin == ORIGIN_CLIENT || p->origin == ORIGIN_GATHER)
        pending_error(c, p, ERROR_REMOVED, "this node was removed from its group while the request waited");
    else
        pending_error(c, p, ERROR_NOT_LEADER, "this node was removed from its group");
}

void removed_poll(struct coordinator *c) {
    struct pending *p, *next;
    if (!is_removed(c))
        return;
    for (int i = 0; i < PENDING_STATES; i++) {
        if (i == PENDING_FORWARDED)
            continue;
        TAILQ_FOREACH_SAFE(p, &c->states[i], link, next)
        refuse(c, p);
    }
}
