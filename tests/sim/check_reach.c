/* Who could reach whom, and since when: by it the checks know how soon a node must have heard of something.
 */
#include "tests/sim/check_internal.h"

#define LOOK_US (100 * MS)

bool check_reach_each_other(const struct machine *a, const struct machine *b) {
    const struct sim *sim = a->sim;
    return b->node != NULL && !b->paused && !sim->blocked[a->index][b->index] &&
           !sim->blocked[b->index][a->index];
}

struct machine *check_named(const struct sim *sim, const char *id) {
    for (unsigned i = 0; i < sim->options.machines; i++)
        if (strncmp(id, (const char *)sim->machines[i]->id, NODE_ID_SIZE) == 0)
            return sim->machines[i];
    return NULL;
}

struct machine *check_at_address(const struct sim *sim, const char *text, bool api) {
    char own[ADDRESS_TEXT_MAX];
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct address address = api ? network_api_address(i) : network_peer_address(i);
        if (strcmp(address_text(&address, own), text) == 0)
            return sim->machines[i];
    }
    return NULL;
}

static bool serves(const struct machine *m) {
    return m->node != NULL && !m->paused && !m->disk_stuck && node_state(m->node) == NODE_RUNNING;
}

static bool some_link_is_cut(const struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines; i++)
        for (unsigned j = 0; j < sim->options.machines; j++)
            if (sim->blocked[i][j])
                return true;
    return false;
}

static bool all_serve(const struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines; i++)
        if (!serves(sim->machines[i]))
            return false;
    return true;
}

/* Itself included; both ways, and it is the node that the configuration names. */
static bool reaches_member(const struct machine *m, const struct member *member) {
    const struct machine *other = check_named(m->sim, (const char *)member->id.id);
    return other != NULL && other->node != NULL && !other->paused &&
           node_state(other->node) == NODE_RUNNING && other->incarnation == member->id.incarnation &&
           (other == m || check_reach_each_other(m, other));
}

static bool reaches_majority(const struct machine *m) {
    const struct configuration *configuration = machine_configuration(m);
    for (unsigned set = VOTERS_OLD; set <= VOTERS_NEW; set++) {
        size_t voters = configuration_voters_in(configuration, (enum voter_set)set), reached = 0;
        for (size_t i = 0; i < configuration->count; i++)
            reached += ((unsigned)configuration->members[i].role & set) != 0 &&
                       reaches_member(m, &configuration->members[i]);
        if (reached <= voters / 2)
            return false;
    }
    return true;
}

static void look_at(struct reach *reach, const struct machine *m, uint64_t now_us) {
    unsigned i = m->index;
    bool silent = m->node == NULL || m->paused;
    if (!silent || reach->epochs[i] != m->epoch || m->resumed_us > reach->silent_us[i])
        reach->silent_us[i] = silent ? now_us : 0;
    reach->epochs[i] = m->epoch;
    if (!reaches_majority(m))
        reach->minority_us[i] = now_us;
}

void check_reach(struct sim *sim) {
    struct reach *reach = &sim->check->reach;
    if (reach->looked_us > 0 && sim->now_us < reach->looked_us + LOOK_US)
        return;
    reach->looked_us = sim->now_us;
    if (some_link_is_cut(sim))
        reach->cut_us = sim->now_us;
    if (reach->cut_us == sim->now_us || !all_serve(sim))
        reach->broken_us = sim->now_us;
    for (unsigned i = 0; i < sim->options.machines; i++)
        look_at(reach, sim->machines[i], sim->now_us);
}

/* Its process and its clock went on evenly so long. */
static bool ran_evenly(const struct machine *m, uint64_t for_us) {
    return m->resumed_us + for_us < m->sim->now_us && m->leapt_us + for_us < m->sim->now_us;
}

bool check_has_majority(const struct machine *m) {
    return m->sim->check->reach.minority_us[m->index] + LATE_US < m->sim->now_us && ran_evenly(m, LATE_US);
}

static const struct leader *newest(const struct group_log *group) {
    for (size_t term = group->leader_count; term > 0; term--)
        if (group->leaders[term - 1].machine != 0)
            return &group->leaders[term - 1];
    return NULL;
}

const struct leader *check_standing(const struct check *c, uint32_t group) {
    const struct leader *leader = newest(&c->groups[group]);
    if (leader == NULL || leader->since_us + LATE_US > c->sim->now_us ||
        c->reach.broken_us + LATE_US > c->sim->now_us)
        return NULL;
    const struct machine *m = c->sim->machines[leader->machine - 1];
    if (!serves(m) || m->incarnation != leader->incarnation)
        return NULL;
    const struct raft *raft = replica_raft(node_replica(m->node));
    return raft_role(raft) == RAFT_LEADER && raft_term(raft) == leader->term ? leader : NULL;
}

bool check_has_led(const struct check *c, uint32_t group, unsigned machine, uint64_t term) {
    return c->groups[group].led[machine] >= term;
}

const struct configuration *check_members_at(const struct group_log *group, uint64_t index) {
    for (size_t i = group->members_count; i > 0; i--)
        if (group->members[i - 1].index == index)
            return &group->members[i - 1].configuration;
    return NULL;
}
