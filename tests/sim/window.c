#include "tests/sim/window.h"

#include <bsd/stdlib.h>
#include <err.h>
#include <stdlib.h>

#include "tests/sim/check.h"
#include "tests/sim/client.h"

#define WRITERS   4
#define CUTS      3
#define SETTLE_US (40 * SECOND)
#define SLACK_US  (5 * MS) /* turns, and clocks that show whole milliseconds */

enum fate { OPEN, ANSWERED, LOST };

struct written {
    enum fate fate;
    struct version at;
    uint64_t answered_us;
};

struct window;

struct writer {
    struct window *window;
    struct client client;
    size_t number; /* of its write under way */
};

struct window {
    struct sim *sim;
    struct window_result *result;
    uint32_t interval_ms;
    struct writer writers[WRITERS];
    bool working;
    bool diverged[MACHINES_MAX];
    struct written *writes;
    size_t count, capacity;
};

static uint64_t below(struct window *w, uint64_t bound) {
    return sim_below(w->sim, STREAM_FAULTS, bound);
}

/* Writers: each writes keys that nobody wrote before, one after the other. */

static void work(struct sim *sim, struct event *event);

static void work_later(struct writer *writer) {
    struct sim *sim = writer->window->sim;
    uint64_t delay = sim_between(sim, STREAM_WORKLOAD, 100, 20 * MS);
    sim_at(sim, sim->now_us + delay, work, NULL)->object = writer;
}

static void work(struct sim *sim, struct event *event) {
    struct writer *writer = event->object;
    struct window *w = writer->window;
    struct buffer request = {0};
    char key[32];
    sim_event_free(event);
    if (!w->working)
        return;
    if (w->count == w->capacity) {
        w->capacity = 2 * w->capacity + 64;
        w->writes = reallocarray(w->writes, w->capacity, sizeof *w->writes);
        if (w->writes == NULL)
            err(1, "out of memory");
    }
    writer->number = w->count++;
    w->writes[writer->number] = (struct written){OPEN, {0, 0}, 0};
    snprintf(key, sizeof key, "w%zu", writer->number);
    request_set(&request, key, "value", NULL, (struct version){0, 0});
    uint64_t to = sim_below(sim, STREAM_WORKLOAD, sim->options.machines);
    sim_client_ask(&writer->client, sim->machines[to], (const char *)request.data);
    buffer_release(&request);
}

static void answered(void *arg, struct client *client, const struct response *response) {
    struct writer *writer = arg;
    struct window *w = writer->window;
    (void)client;
    if (response->status == 200) {
        w->writes[writer->number] = (struct written){ANSWERED, response->position, w->sim->now_us};
        w->result->answered++;
    }
    work_later(writer);
}

static void set_working(struct window *w, bool working) {
    w->working = working;
    for (unsigned i = 0; i < WRITERS && working; i++)
        work_later(&w->writers[i]);
}

/* The group. */

static void start(struct machine *m) {
    machine_power_on(m);
    if (m->node == NULL && !machine_start(m))
        sim_violated(m->sim, "node %u does not start: %s", m->index + 1, m->last_failure);
}

static struct replica *leading(const struct window *w) {
    for (unsigned i = 0; i < w->sim->options.machines; i++) {
        const struct machine *m = w->sim->machines[i];
        if (m->node != NULL && raft_term_committed(replica_raft(node_replica(m->node))))
            return node_replica(m->node);
    }
    return NULL;
}

/* Nothing in its log is beyond what it has applied, and that is the leader's: indexes alone do not tell,
 * since a log of another term may end at the same one. */
static bool is_at(const struct machine *m, struct version last) {
    const struct replica *replica = m->node != NULL ? node_replica(m->node) : NULL;
    return replica != NULL && log_last(replica_log(replica)) == last.index &&
           version_equal(store_applied(replica_store(replica)), last);
}

/* All run, vote, and have applied what the leader has. */
static bool settled(const struct window *w) {
    struct replica *leader = leading(w);
    if (leader == NULL ||
        configuration_voters(raft_configuration(replica_raft(leader))) != w->sim->options.machines)
        return false;
    struct version last = store_applied(replica_store(leader));
    for (unsigned i = 0; i < w->sim->options.machines; i++)
        if (!is_at(w->sim->machines[i], last))
            return false;
    return true;
}

static void said(void *arg, struct machine *m, const char *event, const char *text) {
    struct window *w = arg;
    (void)text;
    if (strcmp(event, "diverged") == 0)
        w->diverged[m->index] = true;
}

/* What the log of a node that says so calls for. */
static void empty_diverged(struct window *w) {
    for (unsigned i = 0; i < w->sim->options.machines; i++) {
        struct machine *m = w->sim->machines[i];
        if (!w->diverged[i])
            continue;
        w->diverged[i] = false;
        w->result->diverged++;
        machine_kill(m);
        machine_wipe(m);
        start(m);
    }
}

static void settle(struct window *w) {
    uint64_t end = w->sim->now_us + SETTLE_US;
    while (!settled(w) && w->sim->now_us < end && w->sim->violation[0] == '\0') {
        sim_run(w->sim, 20 * MS);
        empty_diverged(w);
    }
    if (!settled(w))
        sim_violated(w->sim, "the nodes did not agree");
}

/* How long before a cut a write may have been answered that is lost in it: it was written then, the sync
 * under way had begun before, and the next one begins an interval after that, or when it ends. */
static uint64_t window_us(const struct window *w) {
    const struct sim *sim = w->sim;
    uint64_t sync = 0, interval = w->interval_ms * MS;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        uint64_t own = sim->weather.disk_max_us / 2 * (sim->machines[i]->disk_factor + 1);
        sync = own > sync ? own : sync;
    }
    return (interval > sync ? interval : sync) + sync + SLACK_US;
}

static bool is_there(const struct replica *replica, size_t number, const struct written *write) {
    struct store_record record;
    char key[32];
    snprintf(key, sizeof key, "w%zu", number);
    return store_get(replica_store(replica), bytes_of(key), &record) &&
           version_equal(record.version, write->at);
}

static void check(struct window *w, uint64_t cut_us) {
    const struct replica *leader = leading(w);
    for (size_t i = w->count; leader != NULL && i-- > 0;) {
        struct written *write = &w->writes[i];
        if (write->fate != ANSWERED || is_there(leader, i, write))
            continue;
        uint64_t age = cut_us > write->answered_us ? cut_us - write->answered_us : 0;
        write->fate = LOST;
        w->result->lost++;
        if (age > w->result->oldest_lost_us)
            w->result->oldest_lost_us = age;
        if (age > window_us(w))
            sim_violated(w->sim, "write %zu was answered %llu us before the power cut, and is lost", i,
                         (unsigned long long)age);
    }
    for (unsigned m = 0; m < w->sim->options.machines; m++)
        for (size_t i = 0; i < w->count; i++)
            if (w->writes[i].fate != OPEN && is_there(node_replica(w->sim->machines[m]->node), i,
                                                      &w->writes[i]) != (w->writes[i].fate == ANSWERED))
                sim_violated(w->sim, "node %u and the leader do not agree on write %zu", m + 1, i);
    for (size_t i = 0; i < w->count; i++)
        for (size_t j = 0; j < w->count && w->writes[i].fate == LOST; j++)
            if (w->writes[j].fate == ANSWERED && w->writes[j].at.term == w->writes[i].at.term &&
                w->writes[j].at.index > w->writes[i].at.index)
                sim_violated(w->sim, "write %zu is lost, and %zu of the same leader behind it is there", i,
                             j);
}

/* One cut: of all, or of some. The others go on for a moment. */
static void cut(struct window *w) {
    struct sim *sim = w->sim;
    unsigned machines = sim->options.machines;
    uint64_t whom = below(w, 2) == 0 ? UINT64_MAX : 1 + below(w, (1u << machines) - 1);
    uint64_t cut_us = sim->now_us;
    for (unsigned i = 0; i < machines; i++)
        if (whom >> i & 1)
            machine_power_cut(sim->machines[i]);
    w->result->cuts++;
    w->working = false;
    sim_run(sim, below(w, 3000) * MS);
    for (unsigned i = 0; i < machines; i++) {
        sim_run(sim, below(w, 2) * below(w, 600) * MS);
        start(sim->machines[(i + sim->options.seed) % machines]);
    }
    settle(w);
    if (sim->violation[0] == '\0')
        check(w, cut_us);
    sim_run(sim, 13 * SECOND); /* requests of before the cut are answered by now */
}

void window_run(const struct window_options *options, struct window_result *result) {
    static const unsigned sizes[] = {1, 3, 3, 5};
    unsigned machines = options->machines > 0 ? options->machines : sizes[options->seed % 4];
    struct sim_options sim_options = {.seed = options->seed,
                                      .machines = machines,
                                      .ack = options->ack,
                                      .voters_max = 5,
                                      .sync_interval_ms = options->interval_ms,
                                      .trace = options->trace};
    *result = (struct window_result){.machines = machines};
    struct window w = {.sim = sim_new(&sim_options), .result = result, .interval_ms = options->interval_ms};
    w.sim->unchecked = true; /* what is committed may be lost, in every mode */
    w.sim->said = said;
    w.sim->said_arg = &w;
    w.sim->machines[0]->leader_flag = true;
    for (unsigned i = 0; i < WRITERS; i++) {
        w.writers[i].window = &w;
        sim_client_init(&w.writers[i].client, w.sim, answered, &w.writers[i]);
    }
    uint64_t snapshots = below(&w, 2) * 20 * 1024;
    for (unsigned i = 0; i < machines; i++) {
        w.sim->machines[i]->snapshot_log_size = snapshots;
        start(w.sim->machines[i]);
    }
    settle(&w);
    for (unsigned i = 0; i < CUTS && w.sim->violation[0] == '\0'; i++) {
        for (unsigned j = 0; j < machines; j++)
            w.sim->machines[j]->disk_factor = 1 + below(&w, 2) * below(&w, 60);
        set_working(&w, true);
        sim_run(w.sim, (100 + below(&w, 900)) * MS + below(&w, 1000));
        cut(&w);
    }
    result->passed = w.sim->violation[0] == '\0';
    memcpy(result->violation, w.sim->violation, sizeof result->violation);
    result->hash = w.sim->hash;
    for (unsigned i = 0; i < WRITERS; i++)
        sim_client_release(&w.writers[i].client);
    free(w.writes);
    sim_free(w.sim);
}
