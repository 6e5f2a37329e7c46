/* The bounds that a node meets, and what it must say of them. In kvsim they are far away (tiny.h). */
#include "replication/raft_internal.h"
#include "replication/replica_internal.h"
#include "storage/log_internal.h"
#include "tests/sim/check_internal.h"

bool check_beyond_undo(const struct machine *m, uint64_t index) {
    const struct replica *replica = node_replica(m->node);
    bool beyond =
        replica->digests.noted - index >= REPLICA_DIGESTS && index < check_undo_floor(replica->store);
    if (beyond)
        sim_count(m->sim, TALLY_DIGEST_UNKNOWN);
    return beyond;
}

/* What is below the floor and not committed can only be taken back by building the state anew, of which the
 * floor of the new one shows. */
static void count_undo(struct machine *m, const struct replica *replica) {
    uint64_t floor = check_undo_floor(replica->store);
    bool passed = floor > raft_commit(replica->raft);
    if (passed && !m->passed_undo)
        sim_count(m->sim, TALLY_UNDO_PASSED);
    if (m->passed_undo && floor < m->undo_floor)
        sim_count(m->sim, TALLY_STATE_REBUILT);
    m->passed_undo = passed;
    m->undo_floor = floor;
}

static bool in_cache(const struct log *log, uint64_t index) {
    for (size_t i = log->count; i-- > 0;)
        if (log->segments[i]->first <= index)
            return log->segments[i]->image != NULL;
    return true;
}

static void count_members(struct machine *m, const struct replica *replica) {
    const struct raft *raft = replica->raft;
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct raft_peer *p = &raft->peers[i];
        if (p->flights.count == FLIGHTS_MAX)
            sim_count(m->sim, TALLY_FLIGHTS_FULL);
        if (p->next < raft->commit && !in_cache(replica->log, p->next))
            sim_count(m->sim, TALLY_CACHE_LEFT);
        if (p->transfer.at.index > 0 && p->transfer.offset > 0)
            sim_count(m->sim, TALLY_SNAPSHOT_HALF_SENT);
    }
}

void check_bounds(struct machine *m) {
    const struct replica *replica = node_replica(m->node);
    count_undo(m, replica);
    if (raft_role(replica->raft) == RAFT_LEADER)
        count_members(m, replica);
    if (replica->taking.writer != NULL && replica->taking.offset > 0)
        sim_count(m->sim, TALLY_SNAPSHOT_HALF_TAKEN);
}

void check_row_dropped(const struct machine *m, struct version at) {
    struct check *c = m->sim->check;
    for (size_t i = 0; i < c->dropped_count; i++)
        if (c->dropped[i].machine == m->index && version_equal(c->dropped[i].at, at))
            sim_count(m->sim, TALLY_LEDGER_RETURNED);
    c->dropped = check_grow(c->dropped, &c->dropped_capacity, c->dropped_count + 1, sizeof *c->dropped);
    c->dropped[c->dropped_count++] = (struct dropped){m->index, m->group, at};
}

bool check_was_dropped(const struct check *c, uint32_t group, struct version at) {
    for (size_t i = 0; i < c->dropped_count; i++)
        if (c->dropped[i].group == group && version_equal(c->dropped[i].at, at))
            return true;
    return false;
}
