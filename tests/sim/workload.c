#include "tests/sim/workload.h"

#include <err.h>
#include <stdlib.h>

#define WORKERS 6
#define RETRIES 12 /* of a write with a pair */

struct worker {
    struct workload *workload;
    struct client client;
    size_t op;
    size_t paired;  /* the last write with a pair + 1; 0 none */
    uint64_t epoch; /* of the process asked */
    struct version seen[KEYS_MAX];
};

struct workload {
    struct sim *sim;
    struct workload_options options;
    struct worker workers[WORKERS];
    bool working;
};

static uint64_t below(struct workload *w, uint64_t bound) {
    return sim_below(w->sim, STREAM_WORKLOAD, bound);
}

static bool chance(struct workload *w, unsigned of_1000) {
    return sim_chance(w->sim, STREAM_WORKLOAD, of_1000);
}

static void work(struct sim *sim, struct event *event);
static void retry(struct sim *sim, struct event *event);

static void work_later(struct worker *w, uint64_t delay_us) {
    sim_at(w->workload->sim, w->workload->sim->now_us + delay_us, work, NULL)->object = w;
}

static void answered(void *arg, struct client *client, const struct response *response) {
    struct worker *w = arg;
    struct sim *sim = w->workload->sim;
    const struct op *op = check_op(sim->check, w->op);
    (void)client;
    if (op->pair && op->unknown < RETRIES && response->status != 200 && response->status != 412) {
        check_attempted(sim->check, w->op, response);
        uint64_t delay_us = sim_between(sim, STREAM_WORKLOAD, 1, 600) * MS;
        sim_at(sim, sim->now_us + delay_us, retry, NULL)->object = w;
        return;
    }
    if (response->status == 200 && op->kind <= OP_READ)
        w->seen[op->key] = response->etag;
    check_answered(sim->check, w->op, response);
    uint64_t pause = response->status == 200 ? w->workload->options.pace_ms : 300;
    work_later(w, sim_between(sim, STREAM_WORKLOAD, 1, pause) * MS);
}

/* The client has waited longer than any answer may take. */
static void impatient(struct sim *sim, struct event *event) {
    static const struct response none;
    struct worker *w = event->object;
    const struct op *op = check_op(sim->check, event->number);
    bool last = sim->now_us - op->began_us >= PATIENCE_US; /* and no retry of it is under way */
    if (w->client.waiting && w->op == event->number && last) {
        const struct machine *m = sim->machines[op->machine];
        if (m->epoch == w->epoch && !m->paused && m->resumed_us < op->began_us)
            sim_violated(sim, "request %zu to node %u was not answered within 12 s", w->op, op->machine + 1);
        sim_client_give_up(&w->client);
        answered(w, &w->client, &none);
    }
    sim_event_free(event);
}

static void choose_condition(struct worker *w, struct op *op) {
    if (op->kind > OP_DELETE || !chance(w->workload, 200))
        return;
    uint64_t roll = below(w->workload, 10);
    op->condition = roll < 7 ? HISTORY_IF_MATCH : roll < 9 ? HISTORY_IF_ABSENT : HISTORY_IF_EXISTS;
    op->match = w->seen[op->key];
    if (op->condition == HISTORY_IF_MATCH && op->match.index == 0)
        op->condition = HISTORY_IF_ABSENT;
}

static void choose_listing(struct worker *w, struct op *op) {
    op->after = chance(w->workload, 300) ? (int)below(w->workload, w->workload->options.keys) : -1;
    op->limit = chance(w->workload, 300) ? 1 + below(w->workload, 6) : 0;
    op->linearizable = chance(w->workload, 700);
}

/* From that machine on; itself where nobody leads. */
static unsigned next_leader(const struct sim *sim, unsigned from) {
    for (unsigned i = 0; i < sim->options.machines; i++) {
        const struct machine *m = sim->machines[(from + i) % sim->options.machines];
        if (m->node != NULL && raft_role(replica_raft_view(node_replica(m->node))) == RAFT_LEADER)
            return m->index;
    }
    return from;
}

static struct op choose(struct worker *w) {
    struct workload *load = w->workload;
    struct sim *sim = load->sim;
    uint64_t roll = below(load, 100);
    struct op op = {
        .kind = roll < 52   ? OP_SET
                : roll < 59 ? OP_DELETE
                : roll < 76 ? OP_GET
                : roll < 97 ? OP_READ
                            : OP_KEYS,
        .key = (unsigned)below(load, load->options.keys),
        .machine = (unsigned)below(load, sim->options.machines),
        .process = (unsigned)(w - load->workers) + 1,
        .value_size = (uint32_t)below(load, load->options.value_size_max),
    };
    if (load->options.to_leaders > 0 && chance(load, load->options.to_leaders))
        op.machine = next_leader(sim, op.machine);
    if (w->paired > 0 && op.kind == OP_READ && chance(load, 300)) {
        op.kind = OP_OUTCOME;
        op.target = w->paired - 1;
        op.key = check_op(sim->check, op.target)->key;
    }
    op.pair = op.kind <= OP_DELETE && chance(load, 300);
    op.quorum = op.pair || sim->options.ack != ACK_ASYNC || chance(load, 250);
    op.all = op.quorum && (sim->options.ack == ACK_ALL || op.value_size % 8 == 3);
    if (op.process <= load->options.weak_workers) {
        op.kind = OP_SET;
        op.pair = op.all = false;
        op.quorum = sim->options.ack != ACK_ASYNC;
    }
    choose_condition(w, &op);
    choose_listing(w, &op);
    return op;
}

static void add_condition(struct buffer *request, const struct op *op) {
    char line[80];
    if (op->condition == HISTORY_IF_MATCH) {
        snprintf(line, sizeof line, "If-Match: \"%llu.%llu\"", (unsigned long long)op->match.term,
                 (unsigned long long)op->match.index);
        request_header(request, line);
    }
    if (op->condition == HISTORY_IF_EXISTS)
        request_header(request, "If-Match: *");
    if (op->condition == HISTORY_IF_ABSENT)
        request_header(request, "If-None-Match: *");
}

void workload_send(struct check *check, size_t number, struct client *client, struct machine *to) {
    const struct op *op = check_op(check, number);
    const char *ack = op->quorum && !op->pair && to->sim->options.ack == ACK_ASYNC ? "quorum" : NULL;
    if (op->all && to->sim->options.ack != ACK_ALL)
        ack = "all";
    struct buffer request = {0}, value = {0};
    char key[16], after[16];
    snprintf(key, sizeof key, "k%u", op->key);
    snprintf(after, sizeof after, "k%d", op->after);
    if (op->kind == OP_SET) {
        check_value(check, number, &value);
        buffer_append(&value, (struct bytes){(const uint8_t *)"", 1});
        request_set(&request, key, (const char *)value.data, ack, (struct version){0, 0});
    } else if (op->kind == OP_DELETE) {
        request_delete(&request, key, ack);
    } else if (op->kind == OP_OUTCOME) {
        request_outcome(&request, key, op->target);
    } else if (op->kind == OP_KEYS) {
        request_keys(&request, op->after >= 0 ? after : NULL, op->limit, op->linearizable);
    } else {
        request_get(&request, key, op->kind == OP_READ);
    }
    add_condition(&request, op);
    if (op->pair)
        request_pair(&request, number);
    sim_client_ask(client, to, (const char *)request.data);
    buffer_release(&request);
    buffer_release(&value);
}

static void send_op(struct worker *w) {
    struct sim *sim = w->workload->sim;
    struct machine *m = sim->machines[check_op(sim->check, w->op)->machine];
    w->epoch = m->epoch;
    workload_send(sim->check, w->op, &w->client, m);
    struct event *limit = sim_at(sim, sim->now_us + PATIENCE_US, impatient, NULL);
    limit->object = w;
    limit->number = w->op;
}

static void work(struct sim *sim, struct event *event) {
    struct worker *w = event->object;
    sim_event_free(event);
    if (!w->workload->working)
        return;
    struct op op = choose(w);
    w->op = check_begin(sim->check, &op);
    if (op.pair)
        w->paired = w->op + 1;
    send_op(w);
}

/* The same write with the same pair, through any node. */
static void retry(struct sim *sim, struct event *event) {
    struct worker *w = event->object;
    sim_event_free(event);
    check_again(sim->check, w->op, (unsigned)sim_below(sim, STREAM_WORKLOAD, sim->options.machines));
    send_op(w);
}

struct workload *workload_new(struct sim *sim, const struct workload_options *options) {
    struct workload *w = calloc(1, sizeof *w);
    if (w == NULL)
        err(1, "out of memory");
    w->sim = sim;
    w->options = *options;
    w->working = true;
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &w->workers[i];
        worker->workload = w;
        sim_client_init(&worker->client, sim, answered, worker);
        work_later(worker, SECOND + i * MS);
    }
    return w;
}

void workload_stop(struct workload *w) {
    w->working = false;
}

void workload_free(struct workload *w) {
    for (unsigned i = 0; i < WORKERS; i++)
        sim_client_release(&w->workers[i].client);
    free(w);
}
