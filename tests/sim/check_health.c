/* What a node says of its health is so, within HEALTH_LATE_US: one that calls itself healthy knows of what
 * its group had committed then, and applies it in the same turn, and does not stand alone. */
#include "cmd/node_internal.h"
#include "tests/sim/check_internal.h"

#define HEALTH_LATE_US (6 * SECOND)

static bool reach_each_other(const struct machine *a, const struct machine *b) {
    const struct sim *sim = a->sim;
    return b->node != NULL && !b->paused && !sim->blocked[a->index][b->index] &&
           !sim->blocked[b->index][a->index];
}

/* Its group has other voters, and none of its machines is there for it. */
static bool stands_alone(const struct machine *m) {
    const struct configuration *configuration = raft_configuration(replica_raft(node_replica(m->node)));
    for (unsigned i = 0; i < m->sim->options.machines; i++) {
        const struct machine *other = m->sim->machines[i];
        if (other != m && other->group == m->group && reach_each_other(m, other))
            return false;
    }
    return configuration_voters(configuration) > 1;
}

static void check_current(struct machine *m) {
    const struct group_log *group = &m->sim->check->groups[m->group];
    uint64_t known = raft_commit(replica_raft(node_replica(m->node)));
    if (known < group->count && group->entries[known].at_us + HEALTH_LATE_US < m->sim->now_us)
        sim_violated(m->sim, "node %u says that it is healthy, knows of %llu, and %llu is committed",
                     m->index + 1, (unsigned long long)known, (unsigned long long)group->count);
}

static void check_machine(struct machine *m) {
    struct check *c = m->sim->check;
    struct health_view view;
    bool asked = m->node != NULL && !m->paused && node_state(m->node) == NODE_RUNNING && !machine_is_dark(m);
    if (!asked || !stands_alone(m))
        c->together_us[m->index] = m->sim->now_us;
    if (!asked || m->resumed_us + HEALTH_LATE_US > m->sim->now_us)
        return;
    if (node_health(m->node, machine_ms(m), &view) != HEALTH_HEALTHY)
        return;
    sim_count(m->sim, TALLY_HEALTHY);
    check_current(m);
    if (c->together_us[m->index] + HEALTH_LATE_US < m->sim->now_us)
        sim_violated(m->sim, "node %u says that it is healthy, and has reached nobody for %llu s",
                     m->index + 1, (unsigned long long)(HEALTH_LATE_US / SECOND));
}

void check_health(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines && !sim->unchecked; i++)
        check_machine(sim->machines[i]);
}
