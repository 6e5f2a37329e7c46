/* The leader's policy on members: which change, if any, its group's configuration needs next.
 *
 * A pure function of the configuration and of what the leader sees. In this order:
 *  1. a member whose id (or, for one that keeps nothing on disk, whose address) is borne by a connected
 * newcomer of another incarnation is gone: it is removed;
 *  2. a connected member whose address differs from the configuration's is followed to its new one;
 *  3. a connected newcomer is added as a learner; where there is no room, a learner long silent makes it;
 *  4. learners that have caught up become voters, as voters grow 1, 2, 3, 5 (7, 9) up to voters_max: a fourth
 * stays a learner until a fifth has caught up too, and both vote at once;
 *  5. a learner that has caught up takes the place of a voter long silent;
 *  6. a learner silent for ROSTER_DROP_MS leaves the configuration. It counted for nothing, so that it is not
 * remembered as a former member: when it comes back it is added again (3).
 *
 * What changes the voters also has to be safe (roster_safe): decided by answers to a round that began after
 * the change was called for, never by when somebody was last heard (bugs 58, 59). What is done by hand
 * (roster_leave, roster_join) is decided by the same view, and refused with its reason.
 */
#ifndef REPLICATION_ROSTER_H
#define REPLICATION_ROSTER_H

#include "replication/configuration.h"

/* Without a connection and an acknowledgement for so long, a voter's place may be taken: longer than a
 * restart, a reboot of a small machine or a flapping link; as long as discovery takes to forget a node. */
#define ROSTER_SILENT_MS 30000
#define ROSTER_ROUND_MS  250    /* an answer counts no longer: it is not what is so now */
#define ROSTER_DROP_MS   300000 /* after so long a silent learner leaves the configuration */
#define ROSTER_NODES_MAX 65     /* PEERS_MAX and the leader itself */

struct roster_node {
    struct member_id id;
    struct address peer, api;
    bool newcomer;  /* belongs to no founding, or to this one without ever having been its member: it may be
                       added */
    bool volatile_; /* keeps nothing on disk (-memory) */
    bool caught_up; /* its acknowledged position is within a second of the leader's log; members only */
};

struct roster_view {
    struct member_id leader;
    size_t count; /* the leader itself and the nodes connected to it */
    struct roster_node nodes[ROSTER_NODES_MAX];
    uint64_t silent_ms[MEMBERS_MAX]; /* of each member, by its place in the configuration; 0: connected */
    bool answered[MEMBERS_MAX];      /* likewise: the round (struct roster_round) */
    bool may_move;                   /* no address was changed a moment ago (2) */
};

enum roster_change {
    ROSTER_NONE,
    ROSTER_REMOVE, /* replaced by another incarnation */
    ROSTER_DROP,   /* a learner that has been silent for long */
    ROSTER_MOVE,
    ROSTER_ADD,
    ROSTER_PROMOTE,
    ROSTER_REPLACE, /* a learner takes the place of a silent voter */
    ROSTER_CHANGES,
};

/* The change, the configuration after it, and whom it is about. None while a change of the voters is under
 * way. */
enum roster_change roster_next(const struct configuration *current, const struct roster_view *view,
                               struct configuration *next, struct member_id *about);

enum roster_verdict {
    ROSTER_DONE,        /* *next holds what to propose */
    ROSTER_UNKNOWN,     /* no member bears the id */
    ROSTER_LAST_VOTER,  /* the only voter cannot leave */
    ROSTER_NO_MAJORITY, /* of the voters that would be left too few are heard */
    ROSTER_MEMBER,      /* it is a member already */
    ROSTER_ELSEWHERE,   /* the connected node belongs to another group or founding */
    ROSTER_FULL,        /* MEMBERS_MAX */
};

/* By hand. leave: whoever bears the id, the leader too. join: a connected node that is no member, whether it
 * was removed or not; own: its group and founding are the leader's, or it has none. */
enum roster_verdict roster_leave(const struct configuration *current, const struct roster_view *view,
                                 const uint8_t id[NODE_ID_SIZE], struct configuration *next);
enum roster_verdict roster_join(const struct configuration *current, const struct roster_node *node, bool own,
                                struct configuration *next);
/* The change needs no joint configuration: one voter comes to an even number of them, or one goes that did
 * not answer. Then every majority of the old voters that answered is one of the new voters too. */
bool roster_at_once(const struct configuration *current, const struct configuration *next,
                    const struct roster_view *view);
/* Of each set of voters that the change needs a majority has answered, and so have all that come to vote:
 * nobody that may be gone is needed, neither now nor afterwards. */
bool roster_answered(const struct configuration *current, const struct configuration *next,
                     const struct roster_view *view);
/* Besides, those that answered could lose as many as before and still be a majority: what the leader does by
 * itself makes no group weaker. */
bool roster_safe(const struct configuration *current, const struct configuration *next,
                 const struct roster_view *view);

#endif
