#include "tests/sim/machine.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#include "tests/sim/check.h"
#include "tests/sim/client.h"

#define WALL_MS 1700000000000ull

struct machine *machine_new(struct sim *sim, unsigned index) {
    struct machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        err(1, "out of memory");
    m->sim = sim;
    m->index = m->disk_of = index;
    m->disk = sim_disk_new();
    m->power = m->broadcast = true;
    m->rate_ppm = 1000000;
    m->disk_factor = 1;
    m->segment_size = 64 * 1024;
    m->turn_us = UINT64_MAX;
    char id[NODE_ID_SIZE + 16];
    snprintf(id, sizeof id, "node-%u-----------", index + 1);
    memcpy(m->id, id, NODE_ID_SIZE);
    TAILQ_INIT(&m->clients);
    return m;
}

static void drop_deferred(struct machine *m) {
    for (size_t i = 0; i < m->deferred_count; i++)
        sim_event_free(m->deferred[i]);
    m->deferred_count = 0;
}

void machine_free(struct machine *m) {
    clients_broken(m);
    node_close(m->node);
    drop_deferred(m);
    free(m->deferred);
    sim_disk_free(m->disk);
    free(m);
}

uint64_t machine_ms(const struct machine *m) {
    return m->clock_base_ms + (m->sim->now_us - m->clock_from_us) * m->rate_ppm / 1000000 / 1000;
}

/* When the machine's clock will show it. */
static uint64_t clock_us(const struct machine *m, uint64_t ms) {
    uint64_t wait = ms > m->clock_base_ms ? ms - m->clock_base_ms : 0;
    return m->clock_from_us + (wait * 1000 * 1000000 + m->rate_ppm - 1) / m->rate_ppm;
}

struct event *machine_at(struct machine *m, uint64_t at_us,
                         void (*fire)(struct sim *sim, struct event *event)) {
    struct event *event = sim_at(m->sim, at_us, fire, m);
    event->epoch = m->epoch;
    return event;
}

void machine_defer(struct machine *m, struct event *event) {
    if (m->deferred_count == m->deferred_capacity) {
        m->deferred_capacity = m->deferred_capacity * 2 + 16;
        m->deferred = reallocarray(m->deferred, m->deferred_capacity, sizeof(struct event *));
        if (m->deferred == NULL)
            err(1, "out of memory");
    }
    m->deferred[m->deferred_count++] = event;
}

/* The node's host. */

static void datagram(void *arg, const struct address *to, struct bytes bytes) {
    network_datagram(arg, to, bytes);
}

static void dial(void *arg, uint32_t connection, const struct address *to) {
    network_dial(arg, connection, to);
}

static void write_stream(void *arg, uint32_t connection, struct bytes bytes) {
    network_write(arg, connection, bytes);
}

static void close_stream(void *arg, uint32_t connection) {
    network_close(arg, connection);
}

static void hold_stream(void *arg, uint32_t connection, bool held) {
    network_hold(arg, connection, held);
}

static void log_line(void *arg, enum node_level level, const char *event, const char *text) {
    struct machine *m = arg;
    if (machine_is_dark(m))
        return;
    if (level > NODE_DEBUG)
        sim_note(m->sim, "%u %s: %s", m->index + 1, event, text);
    if (level == NODE_ERROR)
        snprintf(m->last_failure, sizeof m->last_failure, "%s: %s", event, text);
    check_said(m, event, text);
    if (m->sim->said != NULL)
        m->sim->said(m->sim->said_arg, m, event, text);
}

static uint64_t wall_ms(void *arg) {
    const struct machine *m = arg;
    /* unlike the other clock it goes on over a start */
    return (uint64_t)((int64_t)(WALL_MS + m->sim->now_us / MS) + m->wall_ms);
}

/* Jobs: each lane one after the other; `run` somewhere within the delay, then `done`. */

static void begin_job(struct machine *m, enum job_lane lane);

static void job_done(struct sim *sim, struct event *event) {
    struct machine *m = event->machine;
    enum job_lane lane = event->number;
    struct job *job = m->jobs[lane];
    m->jobs[lane] = job->next;
    if (job->next == NULL)
        m->jobs_end[lane] = &m->jobs[lane];
    sim_event_free(event);
    (void)sim;
    node_job_done(m->node, machine_ms(m), job);
    machine_touch(m);
    if (m->jobs[lane] != NULL)
        begin_job(m, lane);
}

static void job_run(struct sim *sim, struct event *event) {
    struct machine *m = event->machine;
    if (m->disk_stuck) {
        sim_again(sim, event, sim->now_us + 20 * MS);
        return;
    }
    struct job *job = m->jobs[event->number];
    job->run(job);
    event->fire = job_done;
    uint64_t rest = sim_between(sim, STREAM_DISK, sim->weather.disk_min_us, sim->weather.disk_max_us) / 2;
    sim_again(sim, event, sim->now_us + rest);
}

static void begin_job(struct machine *m, enum job_lane lane) {
    struct sim *sim = m->sim;
    uint64_t delay = sim_between(sim, STREAM_DISK, sim->weather.disk_min_us, sim->weather.disk_max_us) / 2;
    machine_at(m, sim->now_us + delay * m->disk_factor, job_run)->number = lane;
}

static void background(void *arg, struct job *job) {
    struct machine *m = arg;
    bool idle = m->jobs[job->lane] == NULL;
    job->next = NULL;
    *m->jobs_end[job->lane] = job;
    m->jobs_end[job->lane] = &job->next;
    if (idle)
        begin_job(m, job->lane);
}

/* As worker_free does it: what is queued runs to its end and is delivered. */
static void finish_jobs(struct machine *m) {
    for (int lane = 0; lane < JOB_LANES; lane++) {
        while (m->jobs[lane] != NULL) {
            struct job *job = m->jobs[lane];
            m->jobs[lane] = job->next;
            if (job->next == NULL)
                m->jobs_end[lane] = &m->jobs[lane];
            job->run(job);
            node_job_done(m->node, machine_ms(m), job);
        }
    }
}

/* The process. */

static void drop_jobs(struct machine *m) {
    for (int lane = 0; lane < JOB_LANES; lane++) {
        m->jobs[lane] = NULL;
        m->jobs_end[lane] = &m->jobs[lane];
    }
}

/* Ends with the process: whatever it held in memory. */
static void end_process(struct machine *m, bool told) {
    check_ending(m);
    m->epoch++;
    m->turn_us = UINT64_MAX;
    m->paused = false;
    drop_jobs(m);
    drop_deferred(m);
    network_gone(m, told);
    clients_broken(m);
    if (m->may_fail)
        check_kept_none(m);
    else if (!machine_is_dark(m))
        check_ended(m);
    m->ended_in_force = *machine_configuration(m);
    m->ended_committed = *machine_committed(m);
    node_close(m->node);
    m->node = NULL;
}

static bool open_node(struct machine *m) {
    struct sim *sim = m->sim;
    struct node_options options = {
        .fs = sim_disk_file_system(m->disk),
        .group = m->group,
        .leader = m->leader_flag || m->leads_again,
        .again = m->again,
        .memory = m->memory,
        .id_given = true,
        .cluster = "kvnode",
        .peer = network_peer_address(m->index),
        .api = network_api_address(m->index),
        .ack = sim->options.ack,
        .ack_given = true,
        .voters_max = sim->options.voters_max,
        .route = m->route,
        .sync = sim->options.sync_interval_ms > 0 ? SYNC_INTERVAL : SYNC_ALWAYS,
        .sync_interval_ms = sim->options.sync_interval_ms,
        .broadcast = m->broadcast,
        .segment_size = m->segment_size,
        .snapshot_log_size = m->snapshot_log_size,
        .scrub_rest_ms = m->scrub_rest_ms,
        .seed = random_next(&sim->random[STREAM_NODES]),
    };
    struct node_host host = {
        .arg = m,
        .datagram = datagram,
        .dial = dial,
        .write = write_stream,
        .close = close_stream,
        .hold = hold_stream,
        .background = background,
        .log = log_line,
        .wall_ms = wall_ms,
    };
    memcpy(options.id, m->id, NODE_ID_SIZE);
    memcpy(options.secret, m->id, NODE_ID_SIZE);
    for (unsigned i = 0; i < sim->options.machines; i++)
        options.named_peers = options.named_peers || m->named[i];
    m->epoch++;
    drop_jobs(m);
    return node_open(&options, &host, machine_ms(m), &m->node, m->last_failure, sizeof m->last_failure);
}

static void start_node(struct machine *m) {
    m->incarnation = node_self(m->node)->incarnation;
    node_start(m->node, machine_ms(m));
    for (unsigned i = 0; i < m->sim->options.machines; i++) {
        struct address address = network_peer_address(i);
        if (m->named[i])
            node_learn(m->node, machine_ms(m), &address);
    }
    check_started(m);
    machine_touch(m);
}

bool machine_start(struct machine *m) {
    assert(m->node == NULL && m->power);
    m->starts++;
    m->clock_base_ms = sim_between(m->sim, STREAM_CLOCK, 1000, 1000000);
    m->clock_from_us = m->sim->now_us;
    m->last_failure[0] = '\0';
    m->said_ledger_damaged = false;
    if (!open_node(m)) {
        m->node = NULL;
        sim_note(m->sim, "%u does not start: %s", m->index + 1, m->last_failure);
        return false;
    }
    start_node(m);
    return true;
}

/* -memory. It is not to found the group anew where it cannot see it. */
static void forget(struct machine *m) {
    machine_wipe(m);
    m->leader_flag = m->leader_flag && !check_is_founded(m);
}

/* What a failed sync dropped stays visible until the power goes: a disk that may have failed loses it at
 * once, since nobody can tell a restarted process about it. */
static void disk_after_process(struct machine *m) {
    if (m->memory)
        forget(m);
    else if (m->may_fail)
        sim_disk_crash(m->disk, &m->sim->random[STREAM_DISK]);
    else
        sim_disk_restart(m->disk);
    m->may_fail = false;
}

void machine_kill(struct machine *m) {
    if (m->node == NULL)
        return;
    sim_note(m->sim, "%u is killed", m->index + 1);
    end_process(m, true);
    disk_after_process(m);
}

void machine_power_cut(struct machine *m) {
    sim_note(m->sim, "%u loses power", m->index + 1);
    bool ran = m->node != NULL;
    if (ran)
        end_process(m, false);
    if (ran && m->memory)
        forget(m);
    else
        sim_disk_crash(m->disk, &m->sim->random[STREAM_DISK]);
    m->power = m->may_fail = false;
}

void machine_power_cut_after(struct machine *m, uint64_t operations) {
    sim_note(m->sim, "%u loses power after %llu operations of its disk", m->index + 1,
             (unsigned long long)operations);
    sim_disk_cut_after(m->disk, operations, &m->sim->random[STREAM_DISK]);
    m->sim->cuts_armed = true;
}

bool machine_is_dark(const struct machine *m) {
    return sim_disk_is_cut(m->disk);
}

void machine_end_dark(struct machine *m) {
    sim_note(m->sim, "%u has lost power", m->index + 1);
    sim_count(m->sim, TALLY_CUT_WITHIN_TURN);
    if (m->node != NULL)
        end_process(m, false);
    m->disk = sim_disk_take_cut(m->disk);
    if (m->memory)
        machine_wipe(m);
    m->power = m->may_fail = false;
}

void machine_power_on(struct machine *m) {
    m->power = true;
}

void machine_stop(struct machine *m) {
    if (m->node == NULL)
        return;
    sim_note(m->sim, "%u is asked to stop", m->index + 1);
    node_stop(m->node, machine_ms(m));
    machine_touch(m);
}

void machine_pause(struct machine *m) {
    if (m->node == NULL || m->paused)
        return;
    sim_note(m->sim, "%u is paused", m->index + 1);
    m->paused = true;
}

void machine_resume(struct machine *m) {
    if (!m->paused)
        return;
    sim_note(m->sim, "%u goes on", m->index + 1);
    m->paused = false;
    m->resumed_us = m->sim->now_us;
    for (size_t i = 0; i < m->deferred_count; i++)
        sim_again(m->sim, m->deferred[i], m->sim->now_us);
    m->deferred_count = 0;
}

void machine_wipe(struct machine *m) {
    assert(m->node == NULL);
    sim_note(m->sim, "%u is wiped", m->index + 1);
    check_kept_none(m);
    check_lost(m);
    m->ended_in_force.count = m->ended_committed.count = 0;
    sim_disk_free(m->disk);
    m->disk = sim_disk_new();
    m->disk_of = m->index;
}

void machine_clone(struct machine *m, const struct machine *from) {
    assert(m->node == NULL);
    sim_note(m->sim, "%u gets a copy of the disk of %u", m->index + 1, from->index + 1);
    check_kept_none(m);
    m->ended_in_force.count = m->ended_committed.count = 0;
    sim_disk_free(m->disk);
    m->disk = sim_disk_copy(from->disk);
    m->disk_of = from->disk_of;
    sim_disk_restart(m->disk);
}

const struct configuration *machine_configuration(const struct machine *m) {
    return m->node != NULL ? raft_configuration(replica_raft(node_replica(m->node))) : &m->ended_in_force;
}

const struct configuration *machine_committed(const struct machine *m) {
    uint64_t at;
    if (m->node == NULL)
        return &m->ended_committed;
    return raft_configuration_committed(replica_raft(node_replica(m->node)), &at);
}

void machine_clock_jump(struct machine *m, uint64_t ahead_ms, int64_t calendar_ms) {
    sim_note(m->sim, "the clock of %u leaps %llu ms, its calendar %lld", m->index + 1,
             (unsigned long long)ahead_ms, (long long)calendar_ms);
    m->clock_base_ms += ahead_ms;
    m->leapt_us = m->sim->now_us;
    m->wall_ms += calendar_ms;
    if (m->node != NULL)
        machine_touch(m);
}

static void failed(struct machine *m) {
    m->failures++;
    if (m->last_failure[0] == '\0' && !machine_is_dark(m))
        sim_violated(m->sim, "node %u ended and did not say why", m->index + 1);
    if (!m->may_fail)
        sim_violated(m->sim, "node %u failed without a fault of its disk: %s", m->index + 1, m->last_failure);
    end_process(m, true);
    disk_after_process(m);
}

static void stopped(struct machine *m) {
    finish_jobs(m);
    const struct replica_damage *damage = replica_damage(node_replica(m->node));
    bool shut = node_shutdown(m->node), damaged = damage->snapshot || damage->log;
    if (machine_is_dark(m))
        return;
    if (!shut && !m->may_fail && !damaged) /* which no snapshot could replace */
        sim_violated(m->sim, "node %u could not shut down", m->index + 1);
    check_turn(m);
    end_process(m, true);
    disk_after_process(m);
    sim_note(m->sim, "%u has stopped", m->index + 1);
}

static void starting_over(struct machine *m) {
    finish_jobs(m);
    check_kept_none(m);
    m->may_fail = m->may_fail || sim_disk_is_bounded(m->disk);
    if (!node_start_over(m->node, &m->leads_again)) {
        m->leads_again = false;
        failed(m);
        return;
    }
    end_process(m, true);
    m->again = true;
    if (!machine_start(m) && !m->may_fail)
        sim_violated(m->sim, "node %u did not open after starting over: %s", m->index + 1, m->last_failure);
    m->again = m->leads_again = false;
}

/* True where the process is gone. */
static bool ended(struct machine *m) {
    switch (node_state(m->node)) {
    case NODE_RUNNING:
    case NODE_STOPPING:
        return false;
    case NODE_STOPPED:
        stopped(m);
        return true;
    case NODE_STARTING_OVER:
        starting_over(m);
        return true;
    case NODE_FAILED:
        failed(m);
        return true;
    }
    return true;
}

static void plan_turn(struct machine *m, uint64_t at_us);

static void turn(struct sim *sim, struct event *event) {
    struct machine *m = event->machine;
    bool stale = event->number != m->turn_number;
    sim_event_free(event);
    if (stale)
        return;
    m->turn_us = UINT64_MAX;
    uint64_t next_ms = node_turn(m->node, machine_ms(m));
    struct api_client *client;
    while ((client = api_next_ready(node_api(m->node))) != NULL)
        sim_client_turn(api_shell(client));
    if (machine_is_dark(m))
        return;
    check_turn(m);
    if (ended(m))
        return;
    uint64_t latest_us = sim->now_us + SECOND; /* as the program does */
    uint64_t next_us = next_ms == UINT64_MAX ? latest_us : clock_us(m, next_ms);
    if (next_us <= sim->now_us && machine_ms(m) >= next_ms)
        next_us = sim->now_us + 1;
    plan_turn(m, next_us < latest_us ? next_us : latest_us);
}

static void plan_turn(struct machine *m, uint64_t at_us) {
    if (m->turn_us <= at_us)
        return;
    m->turn_us = at_us;
    machine_at(m, at_us, turn)->number = ++m->turn_number;
}

void machine_touch(struct machine *m) {
    plan_turn(m, m->sim->now_us + sim_between(m->sim, STREAM_CLOCK, 1, 60));
}
