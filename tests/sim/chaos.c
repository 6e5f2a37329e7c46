#include "tests/sim/chaos_internal.h"

#define PROGRESS_US  (10 * SECOND)
#define AGREEMENT_US (30 * SECOND)
#define RING_US      (30 * SECOND)
#define CHAOS_MS     15000

static uint64_t below(struct chaos *c, uint64_t bound) {
    return chaos_below(c, bound);
}

static void operator_answered(void *arg, struct client *client, const struct response *response) {
    struct chaos *c = arg;
    (void)client;
    sim_note(c->sim, "the members' change: %u %s", response->status, response->error);
}

/* What a seed is. */

static void choose_machines(struct chaos *c, uint64_t snapshots) {
    static const enum route_policy routes[] = {ROUTE_PROXY, ROUTE_REDIRECT, ROUTE_REFUSE};
    struct sim *sim = c->sim;
    bool clocks = below(c, 2) != 0, routed = below(c, 8) == 0;
    bool memory = c->per_group >= 3 && below(c, 10) == 0;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        m->group = i / c->per_group;
        m->segment_size = below(c, 2) ? 64 * 1024 : 256 * 1024;
        m->segment_size = BOUNDS_TINY ? 16 * 1024 : m->segment_size;
        m->snapshot_log_size = snapshots;
        m->scrub_rest_ms = m->segment_size == 64 * 1024 ? 2000 : 0;
        m->rate_ppm = clocks ? 990000 + below(c, 20001) : 1000000;
        m->route = routed ? routes[below(c, 3)] : ROUTE_PROXY;
        m->memory = memory;
        c->places[i].return_us = 1 + below(c, 1000) * MS;
    }
    for (unsigned first = 0; first < sim->options.machines; first += c->per_group)
        sim->machines[first + below(c, c->per_group)]->leader_flag = true;
}

static uint64_t choose_faults(struct chaos *c) {
    const struct sim_options *options = &c->sim->options;
    uint64_t allowed = below(c, 1ull << FAULT_FLIP);
    uint64_t damage = 1ull << FAULT_DAMAGE | 1ull << FAULT_LIE | 1ull << FAULT_CLONE;
    uint64_t forgetful = 1ull << FAULT_POWER | 1ull << FAULT_POWER_WITHIN | 1ull << FAULT_ABSENCE |
                         1ull << FAULT_DISK_FAILS | 1ull << FAULT_DISK_FULL | 1ull << FAULT_WIPE | damage;
    if (below(c, 6) != 0)
        allowed &= ~(1ull << FAULT_ABSENCE | 1ull << FAULT_LONG_PAUSE);
    if (!(options->with & WITH_LIE))
        allowed &= ~(1ull << FAULT_LIE);
    if (BOUNDS_TINY && below(c, 2) == 0) /* leaders that go on alone meet the most bounds */
        allowed &= 1ull << FAULT_KILL | 1ull << FAULT_PARTITION;
    if (BOUNDS_TINY)
        allowed |= 1ull << FAULT_ISOLATE;
    if (options->sync_interval_ms > 0)
        allowed &= ~forgetful;
    return allowed;
}

static struct workload_options choose_workload(struct chaos *c) {
    struct workload_options workload = {.keys = 12, .pace_ms = 60};
    workload.value_size_max = (uint32_t)(1 + below(c, below(c, 3) == 0 ? 6000 : 300));
    if (BOUNDS_TINY) {
        workload.keys = 40;
        workload.value_size_max = 1 + workload.value_size_max % 100;
        workload.to_leaders = 700;
        workload.weak_workers = c->sim->options.ack == ACK_ASYNC ? 3 : 0;
    }
    return workload;
}

static void note_seed(struct chaos *c) {
    sim_note(
        c->sim, "seed %llu: %u nodes in %u groups%s%s, faults:", (unsigned long long)c->sim->options.seed,
        c->sim->options.machines, c->result->groups, c->beyond ? ", more is lost than they can bear" : "",
        c->sim->machines[0]->memory ? ", in memory" : "");
    for (int i = 0; i < FAULTS; i++)
        if (c->allowed & 1ull << i)
            sim_note(c->sim, "    %s", chaos_fault_text((enum fault)i));
}

/* Its course. */

/* All nodes that run know of a ring of so many groups. */
static bool one_ring(const struct chaos *c, size_t groups) {
    const struct sim *sim = c->sim;
    for (unsigned i = 0; i < groups * c->per_group; i++) {
        const struct machine *m = sim->machines[i];
        if (m->node == NULL || replica_groups(node_replica(m->node))->current.count != groups)
            return false;
    }
    return true;
}

/* Groups share a ring only where nobody has written yet, and one joins after the other: of three that meet at
 * once two may have formed a ring that the third one takes for another store. */
static void form_ring(struct chaos *c) {
    struct sim *sim = c->sim;
    for (size_t groups = 1; groups <= c->result->groups && sim->violation[0] == '\0'; groups++) {
        uint64_t end = sim->now_us + RING_US;
        for (size_t i = (groups - 1) * c->per_group; i < groups * c->per_group; i++)
            faults_bring_up(c, sim->machines[i]);
        while (!one_ring(c, groups) && sim->now_us < end && sim->violation[0] == '\0')
            sim_run(sim, 50 * MS);
        if (!one_ring(c, groups))
            sim_violated(sim, "%zu groups did not come to share a ring within 30 s", groups);
    }
}

static void run_faults(struct chaos *c) {
    struct sim *sim = c->sim;
    for (uint64_t phases = c->beyond ? 0 : below(c, 3); phases > 0 && sim->violation[0] == '\0'; phases--) {
        sim_run(sim, (2000 + below(c, 6000)) * MS);
        liveness_phase(c);
    }
    while (sim->now_us < c->end_us && sim->violation[0] == '\0')
        sim_run(sim, c->end_us - sim->now_us);
}

/* Its end. */

/* After the healing: who left, or lost its place while it was silent, joins again. */
static void join_again(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    sim_event_free(event);
    unsigned first = (unsigned)below(c, sim->options.machines);
    for (unsigned i = 0; i < sim->options.machines; i++) {
        const struct machine *m = sim->machines[(first + i) % sim->options.machines];
        if (m->node != NULL && node_self(m->node)->role == NODE_REMOVED)
            faults_change_members(c, m);
    }
    chaos_later(c, 100 * MS, join_again);
}

static void heal(struct chaos *c) {
    sim_note(c->sim, "healed");
    c->healed = true;
    faults_lift(c);
    chaos_later(c, 100 * MS, join_again);
}

static size_t voters_of(size_t members, size_t voters_max) {
    static const size_t steps[] = {9, 7, 5, 3, 2, 1};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i] <= members && steps[i] <= voters_max)
            return steps[i];
    return 0;
}

static bool settled(const struct chaos *c) {
    const struct sim *sim = c->sim;
    if (!check_agree(sim->check))
        return false;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        const struct raft *raft = replica_raft(node_replica(sim->machines[i]->node));
        const struct configuration *configuration = raft_configuration(raft);
        bool differs = raft_odd(raft) || raft_unequal(raft);
        if (differs != foes_undecided(c, sim->machines[i]) || configuration->count != c->per_group ||
            configuration_voters(configuration) != voters_of(c->per_group, sim->options.voters_max))
            return false;
    }
    return true;
}

static void demand_agreement(struct chaos *c) {
    struct sim *sim = c->sim;
    uint64_t end = sim->now_us + AGREEMENT_US;
    while (sim->now_us < end && !settled(c) && sim->violation[0] == '\0') {
        sim_run(sim, 50 * MS);
        for (unsigned i = 0; i < sim->options.machines; i++) /* a clean stop may have been under way */
            faults_bring_up(c, sim->machines[i]);
    }
    if (settled(c) || sim->violation[0] != '\0')
        return;
    liveness_note(c);
    sim_violated(sim, "the nodes did not agree within 30 s of the healing");
}

static void demand_progress(struct chaos *c) {
    struct sim *sim = c->sim;
    for (unsigned i = 0; i < sim->options.machines; i++)
        c->probes[i].wanted = true;
    liveness_demand(c, PROGRESS_US, "after the healing");
    workload_stop(c->workload);
    sim_run(sim, PATIENCE_US + SECOND);
    demand_agreement(c);
}

static void finish(struct chaos *c) {
    struct sim *sim = c->sim;
    heal(c);
    if (c->beyond) { /* only that nothing wrong is answered */
        sim_run(sim, PROGRESS_US);
        workload_stop(c->workload);
        sim_run(sim, PATIENCE_US + SECOND);
        sim_count(sim, TALLY_RUN_BEYOND);
    } else {
        demand_progress(c);
        if (sim->violation[0] == '\0')
            check_final(sim->check);
    }
    if (sim->violation[0] == '\0')
        check_judge(sim->check);
}

/* A seed. */

static struct sim_options choose_size(const struct chaos_options *options, struct chaos_result *result) {
    static const unsigned sizes[] = {1, 2, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 5, 6, 7, 8, 9};
    static const uint8_t voters[] = {5, 5, 5, 3, 9};
    struct random random;
    random_seed(&random, options->seed ^ 0x5eed);
    uint64_t several = random_below(&random, 8);
    result->groups = options->machines == 0 && several < 2 ? 2 + (unsigned)several : 1;
    if (options->machines > 0)
        result->machines = options->machines;
    else if (result->groups > 1)
        result->machines =
            result->groups * (1 + (unsigned)random_below(&random, MACHINES_MAX / result->groups));
    else
        result->machines = sizes[random_below(&random, sizeof sizes / sizeof sizes[0])];
    if (BOUNDS_TINY && options->seed % 2 == 0 && result->groups == 1 && result->machines > 3)
        result->machines = 3; /* a bound of one node is met sooner */
    return (struct sim_options){.seed = options->seed,
                                .machines = result->machines,
                                .ack = options->ack,
                                .voters_max = voters[random_below(&random, sizeof voters)],
                                .sync_interval_ms = options->sync_interval_ms,
                                .with = options->with,
                                .trace = options->trace};
}

static void begin(struct chaos *c, const struct chaos_options *options) {
    static const uint64_t snapshot_sizes[] = {0, 48 * 1024, 160 * 1024};
    struct sim *sim = c->sim;
    sim_client_init(&c->operator, sim, operator_answered, c);
    keeper_init(&c->keeper, sim);
    c->allowed = choose_faults(c);
    c->long_left = 2;
    c->beyond = options->sync_interval_ms == 0 && below(c, 8) == 0;
    c->result->beyond = sim->beyond = c->beyond;
    sim->weather.split = below(c, 2) != 0;
    sim->weather.datagram_lost = (unsigned)below(c, 2) * (unsigned)below(c, 500);
    sim->weather.datagram_twice = (unsigned)below(c, 2) * 100;
    choose_machines(c, snapshot_sizes[below(c, 3)]);
    note_seed(c);
    if (c->result->groups > 1)
        form_ring(c);
    struct workload_options workload = choose_workload(c);
    c->workload = workload_new(sim, &workload);
    c->end_us = sim->now_us + (options->duration_ms > 0 ? options->duration_ms : CHAOS_MS) * MS;
    faults_begin(c);
}

void chaos_run(const struct chaos_options *options, struct chaos_result *result) {
    *result = (struct chaos_result){.passed = false};
    struct sim_options sim_options = choose_size(options, result);
    struct chaos c = {.sim = sim_new(&sim_options), .result = result};
    c.per_group = result->machines / result->groups;
    begin(&c, options);
    run_faults(&c);
    finish(&c);
    if (options->history != NULL)
        history_write(check_history(c.sim->check), options->history);
    result->passed = c.sim->violation[0] == '\0';
    memcpy(result->violation, c.sim->violation, sizeof result->violation);
    result->hash = c.sim->hash;
    result->events = c.sim->fired;
    result->tally = c.sim->tally;
    workload_free(c.workload);
    liveness_free(&c);
    sim_client_release(&c.operator);
    keeper_release(&c.keeper);
    sim_free(c.sim);
}
