#include "tests/sim/flips.h"

#include "tests/sim/flip.h"
#include "tests/sim/workload.h"

#define ROUNDS 3

struct flips {
    struct sim *sim;
    struct flips_result *result;
};

static uint64_t below(struct flips *f, uint64_t bound) {
    return sim_below(f->sim, STREAM_FAULTS, bound);
}

static struct machine *any(struct flips *f) {
    return f->sim->machines[below(f, f->sim->options.machines)];
}

static void bring_up(struct machine *m) {
    machine_power_on(m);
    machine_resume(m);
    m->disk_factor = 1;
    if (m->node == NULL && !machine_start(m))
        sim_violated(m->sim, "node %u does not start: %s", m->index + 1, m->last_failure);
}

static void strike(struct flips *f) {
    struct sim *sim = f->sim;
    struct machine *m = any(f);
    uint64_t sides = below(f, 1ull << sim->options.machines);
    switch (below(f, 6)) {
    case 0:
        machine_kill(m);
        break;
    case 1:
        machine_power_cut(m);
        break;
    case 2:
        machine_pause(m);
        break;
    case 3:
        m->disk_factor = 2 + below(f, 60);
        break;
    case 4:
        network_reset(m);
        break;
    default:
        sim_note(sim, "partition %llx", (unsigned long long)sides);
        for (unsigned i = 0; i < sim->options.machines; i++)
            for (unsigned j = 0; j < sim->options.machines; j++)
                sim->blocked[i][j] = (sides >> i & 1) != (sides >> j & 1);
    }
}

static void heal(struct flips *f) {
    memset(f->sim->blocked, 0, sizeof f->sim->blocked);
    for (unsigned i = 0; i < f->sim->options.machines; i++)
        bring_up(f->sim->machines[i]);
}

static bool in_service(const struct machine *m) {
    struct member_id leader;
    if (m->node == NULL)
        return false;
    const struct raft *raft = replica_raft_view(node_replica(m->node));
    return raft_leader(raft, &leader) && !raft_odd(raft) && !raft_unequal(raft);
}

static unsigned flipped(const struct sim *sim) {
    unsigned count = 0;
    for (unsigned i = 0; i < sim->options.machines; i++)
        count += is_flipped(sim->machines[i]);
    return count;
}

static bool mended(const struct sim *sim) {
    unsigned count = flipped(sim);
    for (unsigned i = 0; i < sim->options.machines; i++)
        if (!in_service(sim->machines[i]))
            return false;
    return count == 0 || count == sim->options.machines;
}

static void demand_one_state(struct flips *f) {
    struct sim *sim = f->sim;
    uint64_t from = sim->now_us, end = from + FLIPS_MENDED_US;
    while (!mended(sim) && sim->now_us < end && sim->violation[0] == '\0')
        sim_run(sim, 10 * MS);
    if (!mended(sim))
        sim_violated(sim, "%u of the nodes have a flipped state %llu s after the faults", flipped(sim),
                     (unsigned long long)(FLIPS_MENDED_US / SECOND));
    if (sim->now_us - from > f->result->longest_us)
        f->result->longest_us = sim->now_us - from;
    f->result->spread += flipped(sim) > 0;
}

/* Some nodes' states, fewer than a majority of the voters; each in a way of its own, or all alike. */
static void flip_some(struct flips *f, unsigned round) {
    unsigned most = f->sim->options.machines == 5 ? 2 : 1, count = 1 + (unsigned)below(f, most);
    bool alike = below(f, 2) != 0;
    for (unsigned i = 0; i < count; i++) {
        char value[32];
        snprintf(value, sizeof value, "%u-%u", round, alike ? 0 : i);
        flip_state(any(f), value);
    }
}

static bool settled(const struct sim *sim) {
    static const unsigned voters[] = {0, 1, 2, 3, 3, 5};
    for (unsigned i = 0; i < sim->options.machines; i++) {
        const struct machine *m = sim->machines[i];
        if (m->node == NULL ||
            configuration_voters(raft_configuration(replica_raft_view(node_replica(m->node)))) !=
                voters[sim->options.machines])
            return false;
    }
    return true;
}

static void settle(struct flips *f) {
    uint64_t end = f->sim->now_us + 30 * SECOND;
    while (!settled(f->sim) && f->sim->now_us < end && f->sim->violation[0] == '\0')
        sim_run(f->sim, 50 * MS);
    if (!settled(f->sim))
        sim_violated(f->sim, "the nodes did not come to vote");
}

static void run_round(struct flips *f, unsigned round) {
    bool faults = below(f, 3) != 0;
    sim_run(f->sim, below(f, 1500) * MS);
    flip_some(f, round);
    for (uint64_t i = faults ? below(f, 5) : 0; i > 0; i--) {
        sim_run(f->sim, below(f, 800) * MS);
        strike(f);
    }
    sim_run(f->sim, faults * below(f, 2000) * MS);
    heal(f);
    demand_one_state(f);
}

void flips_run(const struct flips_options *options, struct flips_result *result) {
    unsigned machines = options->machines > 0 ? options->machines : 3 + (unsigned)(options->seed % 3);
    struct sim_options sim_options = {.seed = options->seed,
                                      .machines = machines,
                                      .ack = options->ack,
                                      .voters_max = 5,
                                      .trace = options->trace};
    static const uint64_t snapshot_sizes[] = {0, 48 * 1024, 160 * 1024};
    struct workload_options work = {.keys = 12, .value_size_max = 300, .pace_ms = 60};
    *result = (struct flips_result){.machines = machines};
    struct flips f = {.sim = sim_new(&sim_options), .result = result};
    uint64_t snapshots = snapshot_sizes[below(&f, 3)];
    f.sim->machines[0]->leader_flag = true;
    for (unsigned i = 0; i < machines; i++) {
        f.sim->machines[i]->snapshot_log_size = snapshots;
        bring_up(f.sim->machines[i]);
    }
    settle(&f);
    struct workload *workload = workload_new(f.sim, &work);
    for (unsigned i = 0; i < ROUNDS && f.sim->violation[0] == '\0'; i++)
        run_round(&f, i);
    workload_stop(workload);
    sim_run(f.sim, PATIENCE_US + SECOND);
    for (unsigned i = 0; i < 100 && !check_agree(f.sim->check) && f.sim->violation[0] == '\0'; i++)
        sim_run(f.sim, 100 * MS);
    if (!check_agree(f.sim->check))
        sim_violated(f.sim, "the nodes did not agree");
    if (f.sim->violation[0] == '\0')
        check_final(f.sim->check);
    if (f.sim->violation[0] == '\0')
        check_judge(f.sim->check);
    result->passed = f.sim->violation[0] == '\0';
    memcpy(result->violation, f.sim->violation, sizeof result->violation);
    result->hash = f.sim->hash;
    result->tally = f.sim->tally;
    workload_free(workload);
    sim_free(f.sim);
}
