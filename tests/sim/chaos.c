#include "tests/sim/chaos.h"

#include "tests/sim/workload.h"

#define PROGRESS_US  (10 * SECOND)
#define AGREEMENT_US (30 * SECOND)
#define CHAOS_MS     15000
#define DISK_SMALL   (96 * 1024)

struct chaos;

struct chaos {
    struct sim *sim;
    struct chaos_result *result;
    struct workload *workload;
    unsigned allowed; /* bits of enum fault */
    bool healed;
    struct client operator;
    struct client finals[MACHINES_MAX];
    size_t final_ops[MACHINES_MAX];
    bool final_done[MACHINES_MAX];
};

const char *chaos_fault_text(enum fault fault) {
    static const char *const texts[] = {
        [FAULT_KILL] = "kill",           [FAULT_POWER] = "power",
        [FAULT_PAUSE] = "pause",         [FAULT_PARTITION] = "partition",
        [FAULT_ONE_WAY] = "one-way",     [FAULT_STORM] = "storm",
        [FAULT_SLOW_DISK] = "slow-disk", [FAULT_RESET] = "reset",
        [FAULT_STOP] = "stop",           [FAULT_DISK_FAILS] = "disk-fails",
        [FAULT_DISK_FULL] = "disk-full", [FAULT_MEMBERS] = "members",
    };
    return texts[fault];
}

static uint64_t below(struct chaos *c, uint64_t bound) {
    return sim_below(c->sim, STREAM_FAULTS, bound);
}

static struct event *later(struct chaos *c, uint64_t delay_us,
                           void (*fire)(struct sim *sim, struct event *event)) {
    struct event *event = sim_at(c->sim, c->sim->now_us + delay_us, fire, NULL);
    event->object = c;
    return event;
}

/* Faults. Each ends by an event of its own, or at the healing. */

static void bring_up(struct machine *m) {
    machine_power_on(m);
    machine_resume(m);
    sim_disk_set_capacity(m->disk, 0);
    if (m->node == NULL && !machine_start(m) && !m->may_fail)
        sim_violated(m->sim, "node %u does not start: %s", m->index + 1, m->last_failure);
}

static void restart(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    struct machine *m = sim->machines[event->number];
    bool healed = c->healed;
    sim_event_free(event);
    if (!healed && m->node == NULL)
        bring_up(m);
}

static void restart_later(struct chaos *c, const struct machine *m) {
    later(c, (50 + below(c, 4000)) * MS, restart)->number = m->index;
}

static void resume(struct sim *sim, struct event *event) {
    struct machine *m = sim->machines[event->number];
    machine_resume(m);
    sim_event_free(event);
}

static void unblock(struct sim *sim, struct event *event) {
    memset(sim->blocked, 0, sizeof sim->blocked);
    sim_note(sim, "the network is whole");
    sim_event_free(event);
}

static void partition(struct chaos *c) {
    struct sim *sim = c->sim;
    uint64_t sides = below(c, 1ull << sim->options.machines);
    bool one_way = (c->allowed & 1u << FAULT_ONE_WAY) != 0 && below(c, 2) == 0;
    for (unsigned i = 0; i < sim->options.machines; i++)
        for (unsigned j = 0; j < sim->options.machines; j++)
            if ((sides >> i & 1) != (sides >> j & 1) && !(one_way && (sides >> i & 1)))
                sim->blocked[i][j] = true;
    sim_note(sim, "partition %llx%s", (unsigned long long)sides, one_way ? ", one way" : "");
    later(c, (200 + below(c, 6000)) * MS, unblock);
}

static void one_way(struct chaos *c) {
    struct sim *sim = c->sim;
    unsigned from = (unsigned)below(c, sim->options.machines), to = (unsigned)below(c, sim->options.machines);
    if (from != to)
        sim->blocked[from][to] = true;
    sim_note(sim, "nothing passes from %u to %u", from + 1, to + 1);
    later(c, (200 + below(c, 6000)) * MS, unblock);
}

static void calm(struct sim *sim, struct event *event) {
    sim->weather.latency_max_us = 400;
    sim_event_free(event);
}

static void storm(struct chaos *c) {
    c->sim->weather.latency_max_us = (2 + below(c, 150)) * MS;
    sim_note(c->sim, "storm: up to %llu us", (unsigned long long)c->sim->weather.latency_max_us);
    later(c, (500 + below(c, 4000)) * MS, calm);
}

static void disk_fast(struct sim *sim, struct event *event) {
    struct machine *m = sim->machines[event->number];
    m->disk_factor = 1;
    sim_disk_set_capacity(m->disk, 0);
    sim_event_free(event);
}

static void disk_fails(struct chaos *c, struct machine *m) {
    sim_note(c->sim, "the disk of %u will fail", m->index + 1);
    m->may_fail = true;
    sim_disk_inject(m->disk, (struct sim_disk_fault){.after = below(c, 20),
                                                     .kinds = below(c, 2) ? SIM_DISK_SYNC : SIM_DISK_WRITE,
                                                     .result = FILE_IO_ERROR,
                                                     .stays = below(c, 2) != 0});
}

/* A member goes on, whatever its disk has no room for; one that is not yet may end. */
static void disk_full(struct chaos *c, struct machine *m) {
    sim_note(c->sim, "the disk of %u is full, or nearly", m->index + 1);
    if (m->node == NULL || node_self(m->node)->group_id == 0)
        m->may_fail = true;
    sim_disk_set_capacity(m->disk, sim_disk_used(m->disk) + below(c, 2) * below(c, DISK_SMALL));
    later(c, (500 + below(c, 4000)) * MS, disk_fast)->number = m->index;
}

/* By hand, through any node: a former member joins again, another one leaves or is to lead. */
static void change_members(struct chaos *c, const struct machine *m) {
    struct sim *sim = c->sim;
    struct machine *asked = sim->machines[below(c, sim->options.machines)];
    struct buffer request = {0};
    struct address address = network_peer_address(m->index);
    if (m->node == NULL || asked->node == NULL || c->operator.waiting)
        return;
    bool removed = node_self(m->node)->role == NODE_REMOVED;
    const char *change = removed ? "join" : below(c, 2) ? "leave" : "transfer";
    if (c->healed && (!removed || node_self(asked->node)->role == NODE_REMOVED))
        return;
    sim_note(sim, "node %u: %s node %u", asked->index + 1, change, m->index + 1);
    request_members(&request, change, node_self(m->node)->id, &address);
    sim_client_ask(&c->operator, asked, (const char *)request.data);
    buffer_release(&request);
}

static void operator_answered(void *arg, struct client *client, const struct response *response) {
    (void)client;
    struct chaos *c = arg;
    sim_note(c->sim, "the members' change: %u %s", response->status, response->error);
}

/* After the healing: who left joins again. */
static void join_again(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    sim_event_free(event);
    change_members(c, sim->machines[below(c, sim->options.machines)]);
    later(c, 100 * MS, join_again);
}

static void strike(struct chaos *c, enum fault fault) {
    struct machine *m = c->sim->machines[below(c, c->sim->options.machines)];
    c->result->faults[fault]++;
    switch (fault) {
    case FAULT_KILL:
        machine_kill(m);
        restart_later(c, m);
        break;
    case FAULT_POWER:
        machine_power_cut(m);
        restart_later(c, m);
        break;
    case FAULT_PAUSE:
        machine_pause(m);
        later(c, (50 + below(c, 6000)) * MS, resume)->number = m->index;
        break;
    case FAULT_PARTITION:
        partition(c);
        break;
    case FAULT_ONE_WAY:
        one_way(c);
        break;
    case FAULT_STORM:
        storm(c);
        break;
    case FAULT_SLOW_DISK:
        m->disk_factor = 2 + below(c, 100);
        later(c, (500 + below(c, 4000)) * MS, disk_fast)->number = m->index;
        break;
    case FAULT_RESET:
        network_reset(m);
        break;
    case FAULT_STOP:
        if (!m->paused)
            machine_stop(m);
        break;
    case FAULT_DISK_FAILS:
        disk_fails(c, m);
        break;
    case FAULT_DISK_FULL:
        disk_full(c, m);
        break;
    case FAULT_MEMBERS:
        change_members(c, m);
        break;
    case FAULTS:
        break;
    }
}

/* Everything that ended by itself, or was stopped, comes back. */
static void revive(struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        if (c->sim->machines[i]->node == NULL && c->sim->machines[i]->power && below(c, 4) == 0)
            restart_later(c, c->sim->machines[i]);
}

static void next_fault(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    bool healed = c->healed;
    sim_event_free(event);
    if (healed)
        return;
    enum fault fault = (enum fault)below(c, FAULTS);
    if (c->allowed & 1u << fault)
        strike(c, fault);
    revive(c);
    (void)sim;
    later(c, (20 + below(c, 700)) * MS, next_fault);
}

static void heal(struct chaos *c) {
    struct sim *sim = c->sim;
    sim_note(sim, "healed");
    c->healed = true;
    memset(sim->blocked, 0, sizeof sim->blocked);
    sim->weather = (struct weather){
        .latency_min_us = 100, .latency_max_us = 400, .disk_min_us = 200, .disk_max_us = 2000};
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        sim_disk_inject(m->disk, (struct sim_disk_fault){0});
        m->disk_factor = 1;
        bring_up(m);
    }
    if (c->allowed & 1u << FAULT_MEMBERS)
        later(c, 100 * MS, join_again);
}

/* After the healing: each node takes a write. */

static void final_answered(void *arg, struct client *client, const struct response *response);

static void final_write(struct chaos *c, unsigned index) {
    struct sim *sim = c->sim;
    struct op op = {.kind = OP_SET, .key = index, .machine = index, .quorum = true, .process = 100 + index};
    c->final_ops[index] = check_begin(sim->check, &op);
    workload_send(sim->check, c->final_ops[index], &c->finals[index], sim->machines[index]);
}

static void final_again(struct sim *sim, struct event *event) {
    (void)sim;
    final_write(event->object, (unsigned)event->number);
    sim_event_free(event);
}

static void final_answered(void *arg, struct client *client, const struct response *response) {
    struct chaos *c = arg;
    unsigned index = (unsigned)(client - c->finals);
    check_answered(c->sim->check, c->final_ops[index], response);
    c->final_done[index] = response->status == 200;
    if (response->status != 200)
        later(c, 100 * MS, final_again)->number = index;
}

static bool all_done(const struct chaos *c) {
    bool done = true;
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        done = done && c->final_done[i];
    return done;
}

static bool settled(const struct chaos *c) {
    static const unsigned voters[] = {0, 1, 2, 3, 3, 5, 5, 5, 5, 5};
    const struct sim *sim = c->sim;
    if (!check_agree(sim->check))
        return false;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        const struct configuration *configuration =
            raft_configuration(replica_raft(node_replica(sim->machines[i]->node)));
        if (configuration->count != sim->options.machines ||
            configuration_voters(configuration) != voters[sim->options.machines])
            return false;
    }
    return true;
}

static void note_nodes(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        if (m->node == NULL)
            continue;
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

static void run_until(struct chaos *c, uint64_t limit_us, bool (*reached)(const struct chaos *c),
                      const char *what) {
    uint64_t end = c->sim->now_us + limit_us;
    while (c->sim->now_us < end && !reached(c) && c->sim->violation[0] == '\0') {
        sim_run(c->sim, 50 * MS);
        for (unsigned i = 0; i < c->sim->options.machines; i++) /* a clean stop may have been under way */
            if (c->sim->machines[i]->node == NULL)
                bring_up(c->sim->machines[i]);
    }
    if (reached(c))
        return;
    note_nodes(c->sim);
    sim_violated(c->sim, "%s within %llu s of the healing", what, (unsigned long long)(limit_us / SECOND));
}

static void demand_progress(struct chaos *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        sim_client_init(&c->finals[i], c->sim, final_answered, c);
        final_write(c, i);
    }
    run_until(c, PROGRESS_US, all_done, "not every node took a write");
    workload_stop(c->workload);
    sim_run(c->sim, PATIENCE_US + SECOND);
    run_until(c, AGREEMENT_US, settled, "the nodes did not agree");
}

/* A seed. */

static void set_up(struct chaos *c) {
    static const uint64_t snapshot_sizes[] = {0, 48 * 1024, 160 * 1024};
    struct sim *sim = c->sim;
    c->allowed = (unsigned)below(c, 1u << FAULTS);
    if (sim->options.sync_interval_ms > 0)
        c->allowed &= ~(1u << FAULT_POWER | 1u << FAULT_DISK_FAILS | 1u << FAULT_DISK_FULL);
    sim_client_init(&c->operator, sim, operator_answered, c);
    struct workload_options workload = {.keys = 12, .pace_ms = 60};
    workload.value_size_max = (uint32_t)(1 + below(c, below(c, 3) == 0 ? 6000 : 300));
    uint64_t snapshots = snapshot_sizes[below(c, 3)];
    sim->weather.split = below(c, 2) != 0;
    sim->weather.datagram_lost = (unsigned)below(c, 2) * (unsigned)below(c, 500);
    sim->weather.datagram_twice = (unsigned)below(c, 2) * 100;
    bool clocks = below(c, 2) != 0;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        m->segment_size = below(c, 2) ? 64 * 1024 : 256 * 1024;
        m->snapshot_log_size = snapshots;
        m->rate_ppm = clocks ? 990000 + below(c, 20001) : 1000000;
        later(c, below(c, 1000) * MS, restart)->number = i;
    }
    sim->machines[below(c, sim->options.machines)]->leader_flag = true;
    c->workload = workload_new(sim, &workload);
    later(c, (1000 + below(c, 3000)) * MS, next_fault);
}

static void note_set_up(struct chaos *c) {
    sim_note(c->sim, "seed %llu: %u nodes, faults:", (unsigned long long)c->sim->options.seed,
             c->sim->options.machines);
    for (int i = 0; i < FAULTS; i++)
        if (c->allowed & 1u << i)
            sim_note(c->sim, "    %s", chaos_fault_text((enum fault)i));
}

void chaos_run(const struct chaos_options *options, struct chaos_result *result) {
    struct random sizes;
    random_seed(&sizes, options->seed ^ 0x5eed);
    unsigned machines = options->machines > 0 ? options->machines : 1 + (unsigned)random_below(&sizes, 5);
    struct sim_options sim_options = {.seed = options->seed,
                                      .machines = machines,
                                      .ack = options->ack,
                                      .voters_max = 5,
                                      .sync_interval_ms = options->sync_interval_ms,
                                      .trace = options->trace};
    *result = (struct chaos_result){.machines = machines};
    struct chaos c = {.sim = sim_new(&sim_options), .result = result};
    set_up(&c);
    note_set_up(&c);
    sim_run(c.sim, (options->duration_ms > 0 ? options->duration_ms : CHAOS_MS) * MS);
    heal(&c);
    demand_progress(&c);
    if (c.sim->violation[0] == '\0')
        check_final(c.sim->check);
    if (c.sim->violation[0] == '\0')
        check_judge(c.sim->check);
    if (options->history != NULL)
        history_write(check_history(c.sim->check), options->history);
    result->passed = c.sim->violation[0] == '\0';
    memcpy(result->violation, c.sim->violation, sizeof result->violation);
    result->hash = c.sim->hash;
    result->events = c.sim->fired;
    result->tally = c.sim->tally;
    workload_free(c.workload);
    for (unsigned i = 0; i < machines; i++)
        sim_client_release(&c.finals[i]);
    sim_client_release(&c.operator);
    sim_free(c.sim);
}
