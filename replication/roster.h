/* The leader's policy on members: which one change, if any, its group's configuration needs next.
 *
 * A pure function of the configuration and of what the leader sees. In this order:
 *  1. a member whose id (or, for one that keeps nothing on disk, whose address) is borne by a connected newcomer of
 *     another incarnation is gone: it is removed;
 *  2. a connected newcomer is added as a learner;
 *  3. a learner that has caught up becomes a voter, while voters grow 1, 2, 3, 5 (7, 9) up to voters_max: a fourth
 *     stays a learner until a fifth has caught up too. */
#ifndef REPLICATION_ROSTER_H
#define REPLICATION_ROSTER_H

#include "replication/configuration.h"

struct roster_node {
    struct member_id id;
    struct address peer, api;
    bool newcomer;  /* belongs to no founding, or to this one without being its member: it may be added */
    bool volatile_; /* keeps nothing on disk (-memory) */
    bool caught_up; /* its acknowledged position is within a second of the leader's log; members only */
};

enum roster_change { ROSTER_NONE, ROSTER_REMOVE, ROSTER_ADD, ROSTER_PROMOTE };

/* The change, the configuration after it, and whom it is about. nodes are the connected ones. The leader itself is
 * never removed here. */
enum roster_change roster_next(const struct configuration *current, const struct member_id *leader,
                               const struct roster_node *nodes, size_t count, struct configuration *next,
                               struct member_id *about);

#endif
