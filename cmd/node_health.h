/* The state of a node: the one table behind /health, /health?ready=1, /metrics, kvctl, and the 503s of
 * requests that need a leader.
 *
 * health_of is a pure function from facts to a state. Each state has a row: a status for programs, whether
 * requests should be sent to the node, what is the case, and what to do about it. The states in which a node
 * does not serve come first: of several that hold, one of them is reported. */
#ifndef CMD_NODE_HEALTH_H
#define CMD_NODE_HEALTH_H

#include <stdbool.h>

enum health {
    HEALTH_STOPPING,
    HEALTH_STARTING_OVER, /* two bootstraps met, and this empty one gives way */
    HEALTH_REPAIRING,     /* damaged files were set aside, the data comes from the others */
    /* It belongs to no group yet: it was started with -leader and listens; a member is known; none is. */
    HEALTH_BOOTSTRAPPING,
    HEALTH_JOINS,
    HEALTH_UNJOINED,
    HEALTH_REMOVED,
    HEALTH_OUTSIDE, /* its group's configuration does not list it */
    HEALTH_DIVERGED,
    HEALTH_STUCK,         /* what it has committed is not what its group has */
    HEALTH_FILES_MISSING, /* somebody removed them while it runs */
    /* No leader: too few voters answer; an election may succeed; a node that does not vote. */
    HEALTH_NO_MAJORITY,
    HEALTH_ELECTION,
    HEALTH_LEADER_AWAY,
    HEALTH_LEDGER_FULL, /* this and the next: a follower that takes nothing more from its leader */
    HEALTH_FOLLOWER_DISK_FULL,
    HEALTH_LEADER_DISK_FULL,
    /* The group is on no ring: its keys are older than the ring; its number is taken; it is being decided. */
    HEALTH_JOINING_WITH_KEYS,
    HEALTH_JOINING_TAKEN,
    HEALTH_JOINING,
    HEALTH_YIELDING,   /* another bootstrap was met, to which this one, without keys, will give way */
    HEALTH_NEW_LEADER, /* its term has nothing committed yet */
    HEALTH_CATCHING_UP,
    HEALTH_LAGGING,
    /* From here on it serves. */
    HEALTH_TWO_BOOTSTRAPS, /* of one group number, both with keys */
    HEALTH_TWO_RINGS,
    HEALTH_DEGRADED, /* an async leader without a majority */
    HEALTH_UNEQUAL,  /* two voters differ, and nobody knows which one is right */
    HEALTH_SNAPSHOT_DAMAGED,
    HEALTH_LOG_DAMAGED,
    HEALTH_LEDGER_DAMAGED,
    HEALTH_HEALTHY,
    HEALTH_STATES,
};

enum health_ring { HEALTH_RING_SHARED, HEALTH_RING_WAITS, HEALTH_RING_KEYS, HEALTH_RING_TAKEN };

struct health_facts {
    bool stopping, starting_over, repairing;
    bool has_group;         /* a configuration, in its log or snapshot */
    bool bootstrapping;     /* without one: it may yet make the group */
    bool member_known;      /* without one: a node of the group was heard of */
    bool removed, listed;   /* the configuration's word on this node */
    bool voter;             /* listed, and it votes */
    bool leads, has_leader; /* has_leader: also on the leader itself */
    bool majority_answers;  /* voters that are connected, or may be soon, are a majority */
    bool alone;             /* leader: hears no majority */
    bool term_committed;    /* leader: its first record is */
    bool caught_up;         /* follower: it once had all that its leader had committed, since the start */
    bool lagging;           /* and not for some time now */
    bool stuck, full, ledger_full; /* follower: cannot take what the leader sends; full: for lack of room */
    bool refuses_writes;           /* leader: for lack of room */
    bool diverged, unequal, files_missing;
    enum health_ring ring;
    bool yielding, two_bootstraps, two_rings;
    bool snapshot_damaged, log_damaged, ledger_damaged;
};

struct health_row {
    const char *status; /* one word */
    bool ready;
    const char *reason; /* what is the case, a clause; empty where all is well */
    const char *fix;    /* what to do, sentences; empty likewise */
};

enum health health_of(const struct health_facts *facts);
const struct health_row *health_row(enum health state);
/* What needs a leader, or a majority, waits in vain. */
bool health_hopeless(const struct health_facts *facts);

#endif
