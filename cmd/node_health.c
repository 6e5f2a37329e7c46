#include "cmd/node_health.h"

#include <assert.h>
#include <stddef.h>

static const struct health_row rows[HEALTH_STATES] = {
    [HEALTH_STOPPING] = {"stopping", false, "the node is shutting down", "Use another node."},
    [HEALTH_STARTING_OVER] =
        {"waiting", false,
         "the group was founded twice, and this node, which has no keys, joins the other "
         "one",
         "Wait: it takes seconds."},
    [HEALTH_REPAIRING] =
        {"repairing", false,
         "damaged files were set aside, and the node fetches its data from the other members",
         "Wait: it becomes a full member by itself. Its log names the files and the damage; "
         "look at the disk."},
    [HEALTH_BOOTSTRAPPING] =
        {"waiting", false, "the node was started with -leader and listens whether its group exists already",
         "Wait: it takes half a second, or 3 s where a node of -peers does not answer."},
    [HEALTH_JOINS] = {"waiting", false,
                      "a node of its group was found, and the leader has not added this one yet",
                      "Wait. Where it lasts: the group may have no leader, or its log says why it refuses "
                      "this node."},
    [HEALTH_UNJOINED] = {"waiting", false, "no member of its group was found",
                         "If the group is new, start one of its nodes with -leader. Otherwise name a member "
                         "with -peers, and compare -cluster, -group and -discovery-port."},
    [HEALTH_REMOVED] = {"removed", false, "the node was removed from its group and serves nothing",
                        "POST /cluster/join at a member brings it back; or empty its data directory and "
                        "start it again."},
    [HEALTH_OUTSIDE] = {"outside", false, "the list of its group's members does not have this node",
                        "Wait: a leader that reaches it adds it, or tells it that it was removed. Where it "
                        "lasts: POST /cluster/join at a member."},
    [HEALTH_DIVERGED] = {"diverged", false,
                         "the node's keys differ from those that a majority of its group agrees on",
                         "Wait: it is replaced by a fresh copy by itself. Its log says where they differ; "
                         "look at its memory and disk."},
    [HEALTH_STUCK] =
        {"stuck", false,
         "the group has lost records that are committed here, and this node can follow no further",
         "Save what only this node has, then empty its data directory and start it again."},
    [HEALTH_FILES_MISSING] = {"files_missing", false,
                              "files of the data directory were removed or renamed while the node runs: what "
                              "it holds is in its memory "
                              "alone",
                              "Where the group has no other full member, save the keys with kvctl first. "
                              "Then stop the node, empty its "
                              "data directory and start it again without -leader."},
    [HEALTH_NO_MAJORITY] = {"no_leader", false,
                            "the group has no leader, and too few of its voters answer to elect one",
                            "Start the voters that are missing, with their data directories, or restore the "
                            "network to them."},
    [HEALTH_ELECTION] = {"no_leader", false,
                         "the group has no leader at the moment: an election is under way",
                         "Wait: it takes about half a second."},
    [HEALTH_LEADER_AWAY] = {"no_leader", false,
                            "the node does not vote, and no leader of its group is connected to it",
                            "Start the voters of the group, or restore the network to them."},
    [HEALTH_LEDGER_FULL] = {"ledger_full", false,
                            "the ledger of rejected writes is full, and the node takes nothing more from its "
                            "leader",
                            "kvctl rejected list, then apply all or drop all: it continues by itself."},
    [HEALTH_FOLLOWER_DISK_FULL] = {"disk_full", false,
                                   "the disk is full: the node takes nothing more from its leader and falls "
                                   "behind",
                                   "Free space on the disk of its data directory: it continues by itself."},
    [HEALTH_LEADER_DISK_FULL] = {"disk_full", false, "the leader's disk is full: writes get 507, reads go on",
                                 "Free space on the disk of its data directory: it takes writes again by "
                                 "itself."},
    [HEALTH_JOINING_WITH_KEYS] =
        {"joining", false,
         "the groups that share the keys hold keys already, which cannot move yet: "
         "this group owns nothing and passes requests on",
         "Use the nodes of the other groups. To have this group share the keys, start all "
         "groups on empty data directories and write only once every node is ready."},
    [HEALTH_JOINING_TAKEN] = {"joining", false,
                              "another group of this number shares the keys already: this one owns nothing",
                              "Bring the other group's nodes back, or start this one under another -group on "
                              "empty data directories."},
    [HEALTH_JOINING] = {"joining", false,
                        "the group looks for others to share the keys with; requests wait until that is "
                        "decided",
                        "Wait: it takes half a second, and longer while another group has no leader."},
    [HEALTH_YIELDING] =
        {"joining", false,
         "the group was founded twice: this one holds no key, and takes no writes while it sees the "
         "other",
         "Start the missing nodes of either side: once a majority of both is up, this one joins the "
         "other."},
    [HEALTH_NEW_LEADER] = {"starting", false,
                           "the node has just been elected, and a majority has not confirmed it yet",
                           "Wait: it takes a moment."},
    [HEALTH_CATCHING_UP] = {"catching_up", false,
                            "the node has not caught up with its leader since its start",
                            "Wait. Where it lasts: kvnode_lag_entries shows how far it is behind."},
    [HEALTH_LAGGING] = {"lagging", false, "the node is more than 2 s behind its leader",
                        "Wait. Where it lasts: look for a slow disk or network; kvnode_lag_entries shows how "
                        "far it is behind."},
    [HEALTH_TWO_BOOTSTRAPS] = {"split", true,
                               "the group was founded twice, both hold keys, and each serves its own",
                               "Stop the nodes of the one you do not want, empty their data directories and "
                               "start them again; or start them with another -cluster."},
    [HEALTH_TWO_RINGS] = {"split", true,
                          "two stores under one cluster name hold keys, and each serves its own",
                          "Stop one of them, and start it with another -cluster or on empty data "
                          "directories."},
    [HEALTH_DEGRADED] =
        {"degraded", true,
         "the leader hears no majority of the voters and continues alone: what it answers may "
         "be rolled back",
         "Start the voters that are missing, or restore the network to them."},
    [HEALTH_UNEQUAL] = {"diverged", true,
                        "the keys of the group's voters differ, no majority of them agrees, and nobody knows "
                        "which are right",
                        "Compare them with kvctl keys and kvctl get; then empty the data directory of the "
                        "wrong one and start it again."},
    [HEALTH_SNAPSHOT_DAMAGED] =
        {"damaged", true, "the snapshot on the disk is damaged",
         "Wait, or stop it cleanly: both rewrite it from memory. Do not kill it; look at the disk."},
    [HEALTH_LOG_DAMAGED] = {"damaged", true, "a part of the log on the disk is damaged",
                            "Wait, or stop it cleanly: both replace it by a snapshot from memory. Do not "
                            "kill it; look at the disk."},
    [HEALTH_LEDGER_DAMAGED] = {"damaged", true,
                               "the ledger of rejected writes is damaged: rows of it are lost",
                               "kvctl rejected list shows what is left, and the log says what is lost; look "
                               "at the disk."},
    [HEALTH_HEALTHY] = {"healthy", true, "", ""},
};

const struct health_row *health_row(enum health state) {
    assert((unsigned)state < HEALTH_STATES);
    return &rows[state];
}

bool health_hopeless(const struct health_facts *f) {
    return f->has_group && !f->majority_answers && (!f->has_leader || (f->leads && f->alone));
}

static enum health without_group(const struct health_facts *f) {
    if (f->bootstrapping && !f->member_known)
        return HEALTH_BOOTSTRAPPING;
    return f->member_known ? HEALTH_JOINS : HEALTH_UNJOINED;
}

static enum health without_leader(const struct health_facts *f) {
    if (!f->majority_answers)
        return HEALTH_NO_MAJORITY;
    return f->voter ? HEALTH_ELECTION : HEALTH_LEADER_AWAY;
}

static enum health of_ring(enum health_ring ring) {
    static const enum health states[] = {
        [HEALTH_RING_SHARED] = HEALTH_HEALTHY,
        [HEALTH_RING_WAITS] = HEALTH_JOINING,
        [HEALTH_RING_KEYS] = HEALTH_JOINING_WITH_KEYS,
        [HEALTH_RING_TAKEN] = HEALTH_JOINING_TAKEN,
    };
    return states[ring];
}

static enum health of_follower(const struct health_facts *f) {
    if (f->full)
        return f->ledger_full ? HEALTH_LEDGER_FULL : HEALTH_FOLLOWER_DISK_FULL;
    if (f->ring != HEALTH_RING_SHARED)
        return of_ring(f->ring);
    if (f->yielding)
        return HEALTH_YIELDING;
    if (!f->caught_up)
        return HEALTH_CATCHING_UP;
    return f->lagging ? HEALTH_LAGGING : HEALTH_HEALTHY;
}

static enum health of_leader(const struct health_facts *f) {
    if (f->refuses_writes)
        return HEALTH_LEADER_DISK_FULL;
    if (f->ring != HEALTH_RING_SHARED)
        return of_ring(f->ring);
    if (f->yielding)
        return HEALTH_YIELDING;
    return f->term_committed || f->alone ? HEALTH_HEALTHY : HEALTH_NEW_LEADER;
}

/* Of a node that serves. */
static enum health of_trouble(const struct health_facts *f) {
    if (f->two_bootstraps)
        return HEALTH_TWO_BOOTSTRAPS;
    if (f->two_rings)
        return HEALTH_TWO_RINGS;
    if (f->leads && f->alone)
        return HEALTH_DEGRADED;
    if (f->unequal)
        return HEALTH_UNEQUAL;
    if (f->snapshot_damaged)
        return HEALTH_SNAPSHOT_DAMAGED;
    if (f->log_damaged)
        return HEALTH_LOG_DAMAGED;
    return f->ledger_damaged ? HEALTH_LEDGER_DAMAGED : HEALTH_HEALTHY;
}

enum health health_of(const struct health_facts *f) {
    if (f->stopping)
        return HEALTH_STOPPING;
    if (f->starting_over)
        return HEALTH_STARTING_OVER;
    if (f->repairing)
        return HEALTH_REPAIRING;
    if (!f->has_group)
        return without_group(f);
    if (f->removed)
        return HEALTH_REMOVED;
    if (!f->listed) /* a log that is on its way names it only near its end */
        return f->has_leader && !f->caught_up ? HEALTH_CATCHING_UP : HEALTH_OUTSIDE;
    if (f->diverged)
        return HEALTH_DIVERGED;
    if (f->stuck)
        return HEALTH_STUCK;
    if (f->files_missing)
        return HEALTH_FILES_MISSING;
    if (!f->has_leader)
        return without_leader(f);
    enum health state = f->leads ? of_leader(f) : of_follower(f);
    return state != HEALTH_HEALTHY ? state : of_trouble(f);
}
