#include "tests/sim/chaos_internal.h"
#include "tests/sim/check.h"

#define DISK_SMALL (96 * 1024)
#define REPLACE_MS 30000 /* silence after which another votes in a voter's place */

const char *chaos_fault_text(enum fault fault) {
    static const char *const texts[] = {
#define FAULT_TEXT(name, text) text,
        FAULT_KINDS(FAULT_TEXT)
#undef FAULT_TEXT
    };
    return texts[fault];
}

static uint64_t below(struct chaos *c, uint64_t bound) {
    return chaos_below(c, bound);
}

struct event *chaos_later(struct chaos *c, uint64_t delay_us,
                          void (*fire)(struct sim *sim, struct event *event)) {
    struct event *event = sim_at(c->sim, c->sim->now_us + delay_us, fire, NULL);
    event->object = c;
    return event;
}

struct machine *faults_victim(struct chaos *c) {
    struct machine *m = c->sim->machines[below(c, c->sim->options.machines)];
    if (below(c, 3) != 0)
        return m;
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        struct machine *other = c->sim->machines[i];
        if (other->group == m->group && other->node != NULL &&
            raft_role(replica_raft(node_replica(other->node))) == RAFT_LEADER)
            return other;
    }
    return m;
}

/* Down and up again. */

static void refuse(struct chaos *c, struct machine *m) {
    struct place *place = &c->places[m->index];
    if (!place->lost && !m->may_fail)
        sim_violated(m->sim, "node %u does not start: %s", m->index + 1, m->last_failure);
    if (m->may_fail) { /* it is tried again, without the fault */
        sim_disk_restart(m->disk);
        m->may_fail = false;
        return;
    }
    if (!place->refused)
        sim_count(c->sim, TALLY_START_REFUSED);
    place->refused = true;
}

/* An operator reads why, and empties the directory. */
static void empty_refused(struct chaos *c, struct machine *m) {
    machine_wipe(m);
    m->leader_flag = false;
    c->places[m->index].refused = false;
    sim_count(c->sim, TALLY_EMPTIED);
}

void faults_bring_up(struct chaos *c, struct machine *m) {
    struct place *place = &c->places[m->index];
    place->return_us = 0;
    if (place->broken || m->node != NULL || (place->refused && c->beyond))
        return;
    if (place->refused)
        empty_refused(c, m);
    machine_power_on(m);
    sim_disk_set_capacity(m->disk, 0);
    uint64_t incarnation = m->incarnation;
    if (!machine_start(m)) {
        refuse(c, m);
        return;
    }
    if (place->latent && m->incarnation != incarnation) /* what it wrote since the damage went aside too */
        check_lost(m);
    place->latent = false;
}

static void stay_down(struct chaos *c, const struct machine *m, uint64_t ms) {
    uint64_t until = c->sim->now_us + ms * MS;
    if (c->places[m->index].return_us < until)
        c->places[m->index].return_us = until;
}

/* The faults go on behind a long one. */
static void outlast(struct chaos *c, uint64_t ms) {
    uint64_t end_us = c->sim->now_us + (ms + 4000) * MS;
    c->long_left--;
    if (c->end_us < end_us)
        c->end_us = end_us;
}

/* Whatever is down, for whichever cause, comes back at its time. */
static void revive(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    sim_event_free(event);
    if (c->healed)
        return;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct place *place = &c->places[i];
        if (sim->machines[i]->node != NULL)
            continue;
        if (place->return_us == 0)
            stay_down(c, sim->machines[i], 50 + below(c, 4000));
        else if (place->return_us <= sim->now_us)
            faults_bring_up(c, sim->machines[i]);
    }
    foes_recovered(c);
    damage_recovered(c);
    check_health(sim);
    chaos_later(c, 50 * MS, revive);
}

/* A process with -memory takes what it has along. */
static bool may_end(struct chaos *c, struct machine *m) {
    if (!m->memory || m->node == NULL)
        return true;
    if (!damage_bearable(c, m))
        return false;
    damage_lost(c, m);
    c->places[m->index].latent = true;
    return true;
}

/* Faults of one machine. Each ends by an event of its own, or when all are lifted. */

static void resume(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    struct machine *m = sim->machines[event->number];
    if (!c->places[m->index].broken)
        machine_resume(m);
    sim_event_free(event);
}

static void pause_for(struct chaos *c, struct machine *m, uint64_t ms) {
    machine_pause(m);
    chaos_later(c, ms * MS, resume)->number = m->index;
}

static void disk_as_it_was(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    struct machine *m = sim->machines[event->number];
    if (!c->places[m->index].broken) {
        m->disk_factor = 1;
        m->disk_stuck = false;
        sim_disk_set_capacity(m->disk, 0);
    }
    sim_event_free(event);
}

static void slow_disk(struct chaos *c, struct machine *m, uint64_t factor) {
    m->disk_factor = factor;
    chaos_later(c, (500 + below(c, 4000)) * MS, disk_as_it_was)->number = m->index;
}

static void disk_fails(struct chaos *c, struct machine *m) {
    static const unsigned kinds[] = {SIM_DISK_SYNC, SIM_DISK_WRITE,
                                     SIM_DISK_NAME | SIM_DISK_SYNC_NAMES | SIM_DISK_ALLOCATE, SIM_DISK_READ};
    uint64_t after = below(c, 20);
    unsigned kind = kinds[below(c, 4)];
    if (m->memory || (kind == SIM_DISK_READ && !damage_bearable(c, m)))
        return;
    if (kind == SIM_DISK_READ) { /* what cannot be read may be given up */
        damage_lost(c, m);
        c->places[m->index].latent = true;
    }
    sim_note(c->sim, "the disk of %u will fail", m->index + 1);
    m->may_fail = true;
    sim_disk_inject(m->disk,
                    (struct sim_disk_fault){
                        .after = after, .kinds = kind, .result = FILE_IO_ERROR, .stays = below(c, 2) != 0});
}

/* A member goes on, whatever its disk has no room for; one that is not yet may end. */
static void disk_full(struct chaos *c, struct machine *m) {
    sim_note(c->sim, "the disk of %u is full, or nearly", m->index + 1);
    if (m->node == NULL || node_self(m->node)->group_id == 0)
        m->may_fail = true;
    sim_disk_set_capacity(m->disk, sim_disk_used(m->disk) + below(c, 2) * below(c, DISK_SMALL));
    chaos_later(c, (500 + below(c, 4000)) * MS, disk_as_it_was)->number = m->index;
}

/* All of the group run, reach each other, and have what they had. */
static bool is_sound(const struct chaos *c, uint32_t group) {
    const struct sim *sim = c->sim;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        const struct machine *m = sim->machines[i];
        const struct place *place = &c->places[i];
        if (m->group != group)
            continue;
        if (m->node == NULL || m->paused || m->disk_stuck || place->lost || place->broken)
            return false;
        for (unsigned j = 0; j < sim->options.machines; j++)
            if (sim->blocked[i][j] || sim->blocked[j][i])
                return false;
    }
    return true;
}

/* By hand, through any node of the group: a former member joins again, another one leaves or is to lead. */
void faults_change_members(struct chaos *c, const struct machine *m) {
    struct sim *sim = c->sim;
    struct machine *asked = sim->machines[m->group * c->per_group + below(c, c->per_group)];
    struct buffer request = {0};
    struct address address = network_peer_address(m->index);
    if (m->node == NULL || asked->node == NULL || c->operator.waiting)
        return;
    bool removed = node_self(m->node)->role == NODE_REMOVED;
    const char *change = removed ? "join" : below(c, 2) ? "leave" : "transfer";
    if (c->healed && (!removed || node_self(asked->node)->role == NODE_REMOVED))
        return;
    if (!removed && !is_sound(c, m->group) && !(sim->options.with & WITH_LEAVE))
        return;
    sim_note(sim, "node %u: %s node %u", asked->index + 1, change, m->index + 1);
    c->leaves = strcmp(change, "leave") == 0;
    request_members(&request, change, m->id, &address);
    sim_client_ask(&c->operator, asked, (const char *)request.data);
    buffer_release(&request);
}

/* Faults of the network. */

static void unblock(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    sim_event_free(event);
    for (unsigned i = 0; i < sim->options.machines; i++)
        for (unsigned j = 0; j < sim->options.machines; j++)
            if (!c->places[i].broken && !c->places[j].broken)
                sim->blocked[i][j] = false;
    sim_note(sim, "the network is whole");
}

static void partition(struct chaos *c) {
    struct sim *sim = c->sim;
    uint64_t sides = below(c, 1ull << sim->options.machines);
    bool one_way = (c->allowed & 1ull << FAULT_ONE_WAY) != 0 && below(c, 2) == 0;
    for (unsigned i = 0; i < sim->options.machines; i++)
        for (unsigned j = 0; j < sim->options.machines; j++)
            if ((sides >> i & 1) != (sides >> j & 1) && !(one_way && (sides >> i & 1)))
                sim->blocked[i][j] = true;
    sim_note(sim, "partition %llx%s", (unsigned long long)sides, one_way ? ", one way" : "");
    chaos_later(c, (200 + below(c, 6000)) * MS, unblock);
}

/* With or without some company that makes no majority. */
static void isolate(struct chaos *c, const struct machine *m) {
    struct sim *sim = c->sim;
    uint64_t side = 1ull << m->index;
    if (below(c, 3) == 0)
        side |= 1ull << below(c, sim->options.machines);
    for (unsigned i = 0; i < sim->options.machines; i++)
        for (unsigned j = 0; j < sim->options.machines; j++)
            if ((side >> i & 1) != (side >> j & 1))
                sim->blocked[i][j] = true;
    sim_note(sim, "%u is cut off, with %llx", m->index + 1, (unsigned long long)side);
    chaos_later(c, (400 + below(c, 6000)) * MS, unblock);
}

static void one_way(struct chaos *c) {
    struct sim *sim = c->sim;
    unsigned from = (unsigned)below(c, sim->options.machines), to = (unsigned)below(c, sim->options.machines);
    if (from == to)
        return;
    sim->blocked[from][to] = true;
    sim_note(sim, "nothing passes from %u to %u", from + 1, to + 1);
    chaos_later(c, (200 + below(c, 6000)) * MS, unblock);
}

static void calm_down(struct sim *sim, struct event *event) {
    sim->weather.latency_max_us = 400;
    sim_event_free(event);
}

static void storm(struct chaos *c) {
    c->sim->weather.latency_max_us = (2 + below(c, 150)) * MS;
    sim_note(c->sim, "storm: up to %llu us", (unsigned long long)c->sim->weather.latency_max_us);
    chaos_later(c, (500 + below(c, 4000)) * MS, calm_down);
}

/* All of them. */

static void strike_process(struct chaos *c, enum fault fault, struct machine *m) {
    if (fault != FAULT_PAUSE && fault != FAULT_POWER_WITHIN && !may_end(c, m))
        return;
    if (fault == FAULT_KILL)
        machine_kill(m);
    else if (fault == FAULT_POWER)
        machine_power_cut(m);
    else if (fault == FAULT_POWER_WITHIN && m->node != NULL && !m->memory)
        machine_power_cut_after(m, below(c, below(c, 2) == 0 ? 4 : 40));
    else if (fault == FAULT_STOP && !m->paused)
        machine_stop(m);
    else if (fault == FAULT_PAUSE)
        pause_for(c, m, 50 + below(c, 6000));
}

static void strike_long(struct chaos *c, enum fault fault, struct machine *m) {
    uint64_t ms = fault == FAULT_ABSENCE ? REPLACE_MS + below(c, 25000) : 8000 + below(c, 55000);
    if (c->long_left == 0 || (fault == FAULT_ABSENCE && !may_end(c, m)))
        return;
    outlast(c, ms);
    if (fault == FAULT_LONG_PAUSE) {
        pause_for(c, m, ms);
    } else {
        machine_power_cut(m);
        stay_down(c, m, ms);
    }
}

static void strike(struct chaos *c, enum fault fault) {
    struct machine *m = faults_victim(c);
    c->result->faults[fault]++;
    switch (fault) {
    case FAULT_KILL:
    case FAULT_POWER:
    case FAULT_POWER_WITHIN:
    case FAULT_STOP:
    case FAULT_PAUSE:
        strike_process(c, fault, m);
        break;
    case FAULT_LONG_PAUSE:
    case FAULT_ABSENCE:
        strike_long(c, fault, m);
        break;
    case FAULT_PARTITION:
        partition(c);
        break;
    case FAULT_ISOLATE:
        isolate(c, m);
        break;
    case FAULT_ONE_WAY:
        one_way(c);
        break;
    case FAULT_STORM:
        storm(c);
        break;
    case FAULT_SLOW_DISK:
        slow_disk(c, m, 2 + below(c, 100));
        break;
    case FAULT_STUCK_DISK:
        slow_disk(c, m, 1);
        m->disk_stuck = true;
        break;
    case FAULT_RESET:
        network_reset(m);
        break;
    case FAULT_DISK_FAILS:
        disk_fails(c, m);
        break;
    case FAULT_DISK_FULL:
        disk_full(c, m);
        break;
    case FAULT_MEMBERS:
        faults_change_members(c, m);
        break;
    case FAULT_WIPE:
        damage_wipe(c, m);
        break;
    case FAULT_CLOCK:
        machine_clock_jump(m, below(c, 4) == 0 ? below(c, 60000) : 0, (int64_t)below(c, 7200000) - 3600000);
        break;
    case FAULT_DAMAGE:
        damage_strike(c, m);
        break;
    case FAULT_LIE:
        damage_lie(c, m);
        break;
    case FAULT_CLONE:
        damage_clone(c, m);
        break;
    case FAULT_FLIP:
    case FAULT_HOSTILE:
    case FAULTS:
        break;
    }
}

static void next_fault(struct sim *sim, struct event *event) {
    struct chaos *c = event->object;
    (void)sim;
    sim_event_free(event);
    if (c->healed)
        return;
    enum fault fault = (enum fault)below(c, FAULT_FLIP);
    if (BOUNDS_TINY && below(c, 10) == 0)
        fault = FAULT_ISOLATE;
    if ((c->allowed & 1ull << fault) && !c->calm)
        strike(c, fault);
    chaos_later(c, (20 + below(c, 500)) * MS, next_fault);
}

void faults_begin(struct chaos *c) {
    chaos_later(c, 0, revive);
    chaos_later(c, (1000 + below(c, 3000)) * MS, next_fault);
    foes_begin(c);
}

void faults_lift(struct chaos *c) {
    struct sim *sim = c->sim;
    sim->weather = (struct weather){.latency_min_us = 100,
                                    .latency_max_us = 400,
                                    .disk_min_us = 200,
                                    .disk_max_us = 2000,
                                    .split = sim->weather.split};
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        if (c->places[i].broken)
            continue;
        for (unsigned j = 0; j < sim->options.machines; j++)
            sim->blocked[i][j] = sim->blocked[i][j] && c->places[j].broken;
        sim_disk_inject(m->disk, (struct sim_disk_fault){0});
        sim_disk_set_capacity(m->disk, 0);
        m->disk_factor = 1;
        m->disk_stuck = false;
        machine_resume(m);
        faults_bring_up(c, m);
        if (m->node == NULL && !c->places[i].broken) /* refused: emptied now */
            faults_bring_up(c, m);
    }
}
