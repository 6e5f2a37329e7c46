/* What a node says of its health is so, within LATE_US: one that calls itself healthy knows of what
 * its group had committed then, and applies it in the same turn, and does not stand alone. */
#include "cmd/node_internal.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/flip.h"

/* Its group has other voters, and none of its machines is there for it. */
static bool stands_alone(const struct machine *m) {
    const struct configuration *configuration = raft_configuration(replica_raft(node_replica(m->node)));
    for (unsigned i = 0; i < m->sim->options.machines; i++) {
        const struct machine *other = m->sim->machines[i];
        if (other != m && other->group == m->group && check_reach_each_other(m, other))
            return false;
    }
    return configuration_voters(configuration) > 1;
}

static void check_current(struct machine *m) {
    const struct group_log *group = &m->sim->check->groups[m->group];
    uint64_t known = raft_commit(replica_raft(node_replica(m->node)));
    if (known < group->count && group->entries[known].at_us + LATE_US < m->sim->now_us)
        sim_violated(m->sim, "node %u says that it is healthy, knows of %llu, and %llu is committed",
                     m->index + 1, (unsigned long long)known, (unsigned long long)group->count);
}

/* One that takes nothing more because its ledger is full. */
static bool stopped_by_ledger(const struct machine *m) {
    const struct replica *replica = node_replica(m->node);
    return raft_role(replica_raft_view(replica)) == RAFT_FOLLOWER &&
           raft_no_space(replica_raft_view(replica)) && ledger_full(replica_ledger(replica));
}

static void check_machine(struct machine *m) {
    struct check *c = m->sim->check;
    struct health_view view;
    bool asked = m->node != NULL && !m->paused && node_state(m->node) == NODE_RUNNING && !machine_is_dark(m);
    if (!asked || !stands_alone(m))
        c->together_us[m->index] = m->sim->now_us;
    if (!asked || m->resumed_us + LATE_US > m->sim->now_us)
        return;
    if (node_health(m->node, machine_ms(m), &view) != HEALTH_HEALTHY)
        return;
    sim_count(m->sim, TALLY_HEALTHY);
    if (stopped_by_ledger(m))
        sim_violated(m->sim, "node %u says that it is healthy, and its ledger is full", m->index + 1);
    check_current(m);
    if (c->together_us[m->index] + LATE_US < m->sim->now_us)
        sim_violated(m->sim, "node %u says that it is healthy, and has reached nobody for %llu s",
                     m->index + 1, (unsigned long long)(LATE_US / SECOND));
}

void check_health(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines && !sim->unchecked; i++)
        check_machine(sim->machines[i]);
}

/* ---- GET /health ---- */

/* By the log that the node has. */
static const char *role_of(const struct machine *m) {
    const struct raft *raft = replica_raft_view(node_replica(m->node));
    struct member_id self = {.incarnation = m->incarnation};
    memcpy(self.id, m->id, NODE_ID_SIZE);
    const struct member *member = configuration_find(raft_configuration(raft), &self);
    if (raft_role(raft) == RAFT_LEADER)
        return "leader";
    if (node_self(m->node)->role == NODE_REMOVED)
        return "removed";
    if (member == NULL)
        return "newcomer";
    if (member->role == MEMBER_LEARNER)
        return "learner";
    return raft_role(raft) == RAFT_CANDIDATE ? "candidate" : "follower";
}

static void check_health_body(const struct machine *m, const char *body) {
    const struct group_log *group = &m->sim->check->groups[m->group];
    size_t rows = ledger_count(replica_ledger(node_replica(m->node)));
    unsigned long long applied = m->checked_applied, keys = 0, rejected = 0;
    char begin[160];
    snprintf(begin, sizeof begin, "\",\"role\":\"%s\",\"group\":%u,\"keys\":", role_of(m), m->group);
    const char *at = strstr(body, begin), *ledger = strstr(body, ",\"rejected\":");
    if (at == NULL || sscanf(at + strlen(begin), "%llu", &keys) != 1) {
        sim_violated(m->sim, "node %u says in /health another role or group: %s", m->index + 1, body);
        return;
    }
    if (ledger != NULL)
        sscanf(ledger, ",\"rejected\":%llu", &rejected);
    bool known = applied > 0 && applied <= m->checked_commit && applied <= group->count && !is_flipped(m) &&
                 !group->others_keys;
    if ((known && keys != group->entries[applied - 1].keys) || rejected != rows)
        sim_violated(m->sim, "node %u says in /health another count of keys or rejected writes: %s",
                     m->index + 1, body);
}

void check_health_told(struct machine *m) {
    struct buffer body = {0};
    if (check_ask(m, "/health", &body))
        check_health_body(m, (const char *)body.data + body.start);
    else
        sim_violated(m->sim, "node %u did not answer /health", m->index + 1);
    buffer_release(&body);
}
