#include "tests/sim/chaos_internal.h"

#define SERVE_US (10 * SECOND) /* a healthy majority elects and commits within it */

/* Writes through each node that is wanted, or reads linearizably, again and again until one is done. */

static void probe_send(struct probe *p) {
    struct sim *sim = p->chaos->sim;
    struct op op = {.kind = p->chaos->probe_reads ? OP_READ : OP_SET,
                    .key = p->machine,
                    .machine = p->asked,
                    .quorum = true,
                    .process = 100 + p->machine,
                    .value_size = 8};
    p->op = check_begin(sim->check, &op);
    workload_send(sim->check, p->op, &p->client, sim->machines[p->asked]);
}

static void probe_again(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    struct probe *p = &c->probes[event->number];
    (void)sim;
    sim_event_free(event);
    if (p->wanted && !p->done && !p->client.waiting)
        probe_send(p);
}

/* One that only its disk has left may lead on, and serves then. */
static bool answers(const struct chaos *c, unsigned machine) {
    return !c->places[machine].broken || c->sim->machines[machine]->disk_stuck;
}

static void ask_next(struct probe *p) {
    do
        p->asked = (p->asked + 1) % p->chaos->sim->options.machines;
    while (!answers(p->chaos, p->asked) && p->asked != p->machine);
}

static void probe_answered(void *arg, struct client *client, const struct response *response) {
    struct probe *p = arg;
    (void)client;
    check_answered(p->chaos->sim->check, p->op, response);
    bool none = p->chaos->probe_reads && strcmp(response->error, "not_found") == 0;
    p->done = p->done || response->status == 200 || none;
    bool elsewhere = p->asked != p->machine && response->status != 200;
    if (elsewhere || response->status == 307 || response->status == 421)
        ask_next(p);
    if (p->wanted && !p->done)
        chaos_later(p->chaos, 100 * MS, probe_again)->number = p->machine;
}

/* By a change that an operator had asked for before. */
static bool was_removed(const struct machine *m) {
    return m->node != NULL && node_self(m->node)->role == NODE_REMOVED;
}

/* A node whose state differs stays out of service as long as nobody knows which state is right. */
static bool stays_odd(const struct chaos *c, const struct machine *m) {
    return m->node != NULL && raft_odd(replica_raft_view(node_replica(m->node))) && foes_undecided(c, m);
}

static bool is_due(const struct chaos *c, unsigned i) {
    const struct probe *p = &c->probes[i];
    const struct machine *m = c->sim->machines[i];
    return p->wanted && !p->done && !was_removed(m) && !stays_odd(c, m);
}

static bool all_done(const struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        if (is_due(c, i))
            return false;
    return true;
}

static void note_nodes(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        if (m->node == NULL) {
            sim_note(sim, "%u does not run: %s", i + 1, m->last_failure);
            continue;
        }
        const struct replica *replica = node_replica(m->node);
        const struct raft *raft = replica_raft_view(replica);
        const struct log *log = replica_log(replica);
        sim_note(
            sim,
            "%u %s, term %llu, log from %llu to %llu, durable %llu, commit %llu, applied %llu, %zu members",
            i + 1, raft_role(raft) == RAFT_LEADER ? "leads" : "follows", (unsigned long long)raft_term(raft),
            (unsigned long long)log_first(log), (unsigned long long)log_last(log),
            (unsigned long long)log_durable(log), (unsigned long long)raft_commit(raft),
            (unsigned long long)replica_applied(replica), raft_configuration(raft)->count);
    }
}

void liveness_demand(struct chaos *c, uint64_t limit_us, const char *what) {
    struct sim *sim = c->sim;
    uint64_t end = sim->now_us + limit_us;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct probe *p = &c->probes[i];
        p->done = false;
        p->asked = i;
        if (p->chaos == NULL) {
            *p = (struct probe){.chaos = c, .machine = i, .asked = i, .wanted = p->wanted};
            sim_client_init(&p->client, sim, probe_answered, p);
        }
        if (p->wanted && !p->client.waiting)
            probe_send(p);
    }
    while (sim->now_us < end && !all_done(c) && sim->violation[0] == '\0') {
        sim_run(sim, 50 * MS);
        for (unsigned i = 0; i < sim->options.machines; i++) /* a clean stop may have been under way */
            if (sim->machines[i]->node == NULL)
                faults_bring_up(c, sim->machines[i]);
    }
    for (unsigned i = 0; i < sim->options.machines; i++) {
        if (is_due(c, i) && sim->violation[0] == '\0') {
            note_nodes(sim);
            sim_violated(sim, "%s: node %u %s within %llu s", what, i + 1,
                         c->probe_reads ? "served no linearizable read" : "took no write",
                         (unsigned long long)(limit_us / SECOND));
        }
        c->probes[i].wanted = false;
    }
}

void liveness_note(const struct chaos *c) {
    note_nodes(c->sim);
}

void liveness_free(struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        if (c->probes[i].chaos != NULL)
            sim_client_release(&c->probes[i].client);
}

/* A minority stays broken. */

/* The voters of the set that are sound are a majority of it. */
static bool set_has_majority(const struct chaos *c, const struct configuration *configuration,
                             enum voter_set set) {
    size_t sound = 0;
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        for (unsigned j = 0; j < c->sim->options.machines && (member->role & (unsigned)set); j++) {
            const struct machine *m = c->sim->machines[j];
            sound += memcmp(m->id, member->id.id, NODE_ID_SIZE) == 0 &&
                     m->incarnation == member->id.incarnation && !c->places[j].broken &&
                     !c->places[j].refused && !c->places[j].latent && !c->places[j].flipped &&
                     m->node != NULL;
        }
    }
    return configuration->count == 0 || 2 * sound > configuration_voters_in(configuration, set);
}

static bool has_majority(const struct chaos *c, const struct configuration *configuration) {
    return set_has_majority(c, configuration, VOTERS_OLD) && set_has_majority(c, configuration, VOTERS_NEW);
}

/* So they are in every configuration that a machine goes by, or did when it last ran. */
static bool all_have_majority(const struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        if (!has_majority(c, machine_configuration(m)) || !has_majority(c, machine_committed(m)))
            return false;
    }
    return true;
}

/* A process with -memory would take along what it has. */
static void break_machine(struct chaos *c, struct machine *m) {
    struct sim *sim = c->sim;
    uint64_t how = m->memory ? 2 + chaos_below(c, 4) : chaos_below(c, 6);
    if (how == 3 && !(sim->options.with & WITH_STUCK_DISK)) /* it may lead, or come to lead */
        how = 4;
    bool out = how != 4, in = how != 5;
    sim_note(sim, "%u stays broken, in the way %llu", m->index + 1, (unsigned long long)how);
    if (how == 0)
        machine_kill(m);
    else if (how == 1)
        machine_power_cut(m);
    else if (how == 2)
        machine_pause(m);
    else if (how == 3)
        m->disk_stuck = true;
    for (unsigned i = 0; i < sim->options.machines && how >= 4; i++) {
        sim->blocked[m->index][i] = out && i != m->index;
        sim->blocked[i][m->index] = in && i != m->index;
    }
    if (how == 2 && m->node == NULL)
        c->places[m->index].broken = false;
}

/* Who is a member and sound. */
static void want_probes(struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        c->probes[i].wanted = false;
        if (m->node == NULL || c->places[i].broken || c->places[i].flipped)
            continue;
        const struct configuration *known = raft_configuration(replica_raft(node_replica(m->node)));
        const struct member *member = configuration_find_name(known, m->id);
        c->probes[i].wanted = member != NULL && member->id.incarnation == m->incarnation &&
                              node_self(m->node)->role != NODE_REMOVED;
    }
}

/* Whom the change in hand names is not known to be needed. */
static void await_operator(struct chaos *c) {
    for (unsigned i = 0; i < 20 && c->operator.waiting && c->sim->violation[0] == '\0'; i++)
        sim_run(c->sim, 500 * MS);
}

void liveness_phase(struct chaos *c) {
    struct sim *sim = c->sim;
    bool any = false;
    c->calm = true;
    faults_lift(c);
    sim_run(sim, chaos_below(c, 3) * chaos_below(c, 1500) * MS);
    if (!(sim->options.with & WITH_LEAVE))
        await_operator(c);
    for (unsigned tries = 0; tries < 4; tries++) {
        unsigned i = faults_victim(c)->index;
        if (c->places[i].broken)
            continue;
        c->places[i].broken = true;
        if (!all_have_majority(c)) {
            c->places[i].broken = false;
            continue;
        }
        break_machine(c, sim->machines[i]);
        any = true;
    }
    if (any && sim->violation[0] == '\0' && all_have_majority(c)) {
        want_probes(c);
        sim_count(sim, TALLY_MINORITY_BROKEN);
        c->probe_reads = sim->options.ack == ACK_ALL; /* a write needs all voters */
        liveness_demand(c, SERVE_US, "with a minority broken");
        c->probe_reads = false;
    }
    for (unsigned i = 0; i < sim->options.machines; i++)
        c->places[i].broken = false;
    if (chaos_below(c, 2) == 0)
        faults_lift(c);
    c->calm = false;
}
