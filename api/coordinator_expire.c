/* Requests whose deadline has passed: what each is told depends on what it waited for. */
#include <stdio.h>

#include "api/coordinator_internal.h"

/* Its group is another one and did not answer, or is not known. */
static void expire_elsewhere(struct coordinator *c, struct pending *p) {
    char text[160];
    snprintf(text, sizeof text,
             p->operation == OPERATION_KEYS
                 ? "group %u cannot be reached, and the list needs its keys"
                 : "group %u owns the key and cannot be reached; its keys stay with it",
             p->group);
    if (c->ring == NULL)
        pending_no_leader(c, p, ERROR_NO_LEADER, "it is not decided yet which groups share the keys");
    else
        pending_error(c, p, ERROR_GROUP_UNREACHABLE, text);
}

static bool is_elsewhere(const struct coordinator *c, const struct pending *p) {
    bool own = !p->barrier && c->ring == NULL && replica_groups(c->options.replica)->written == 0;
    return own || (c->ring != NULL && owner_of_group(c, p->group) == OWNER_THERE);
}

void pending_expire(struct coordinator *c, struct pending *p) {
    bool acts = operation_writes(p->operation) || operation_of_members(p->operation);
    bool undone = p->state == PENDING_WAITING || (p->state == PENDING_FORWARDED && !acts);
    if (undone && is_elsewhere(c, p)) {
        expire_elsewhere(c, p);
        return;
    }
    switch (p->state) {
    case PENDING_WAITING:
        if (coordinator_is_leader(c) && !replica_takes_writes(c->options.replica)) {
            pending_error(c, p, ERROR_NO_LEADER, "a change of the groups that share the keys was under way");
            break;
        }
        pending_no_leader(c, p, ERROR_NO_LEADER, "the group has no leader that this node can reach");
        break;
    case PENDING_FORWARDED:
        if (operation_of_members(p->operation))
            members_expire(c, p);
        else if (operation_writes(p->operation))
            pending_unknown(c, p, "the deadline passed before it was acknowledged");
        else
            pending_error(c, p, ERROR_DEADLINE, "the node that was asked did not answer before the deadline");
        break;
    case PENDING_APPENDED:
    case PENDING_ACKING:
        pending_unknown(c, p, "the deadline passed before it was acknowledged");
        break;
    case PENDING_AFTER:
        pending_error(c, p, ERROR_DEADLINE,
                      "the position in KV-After was not applied here before the deadline");
        break;
    case PENDING_MEMBERS:
        members_expire(c, p);
        break;
    case PENDING_CONFIRMING:
    case PENDING_HOLDING:
    case PENDING_ASKING:
    case PENDING_APPLYING:
    case PENDING_STATES:
        pending_no_leader(c, p, ERROR_NO_MAJORITY, "no majority confirmed the read before the deadline");
        break;
    }
}
