/* Whole nodes in the simulator, and one client that asks them and waits: for tests of what an answer says and
 * when it comes. */
#ifndef TESTS_UNIT_SIM_ASKING_H
#define TESTS_UNIT_SIM_ASKING_H

#include "tests/sim/check.h"
#include "tests/tap.h"

struct asking {
    struct sim *sim;
    struct client client;
    unsigned per_group; /* machines */
    unsigned status;    /* of the last answer; 0: none */
    uint64_t asked_us, took_ms;
    struct version at; /* of a write */
    bool staleness_known;
    uint64_t staleness_ms;
    char body[64 * 1024], error[32];
};

static inline void asking_answered(void *arg, struct client *client, const struct response *response) {
    struct asking *a = arg;
    (void)client;
    a->status = response->status;
    a->took_ms = (a->sim->now_us - a->asked_us) / MS;
    a->at = response->position;
    a->staleness_known = response->follower && response->staleness_known;
    a->staleness_ms = response->staleness_ms;
    snprintf(a->body, sizeof a->body, "%.*s", (int)response->body.size, (const char *)response->body.data);
    snprintf(a->error, sizeof a->error, "%s", response->error);
}

/* Machine 0 founds group 0, machine per_group group 1, and so on. */
static inline struct asking *asking_make(unsigned groups, unsigned per_group, uint64_t seed,
                                         enum ack_mode ack) {
    struct sim_options options = {.seed = seed, .machines = groups * per_group, .ack = ack, .voters_max = 5};
    struct asking *a = calloc(1, sizeof *a);
    a->sim = sim_new(&options);
    a->sim->unchecked = true; /* writes here are not check.c's */
    a->per_group = per_group;
    for (unsigned i = 0; i < options.machines; i++) {
        a->sim->machines[i]->group = i / per_group;
        a->sim->machines[i]->leader_flag = i % per_group == 0;
        a->sim->machines[i]->segment_size = 64 * 1024;
    }
    sim_client_init(&a->client, a->sim, asking_answered, a);
    return a;
}

static inline void asking_start(struct asking *a) {
    for (unsigned i = 0; i < a->sim->options.machines; i++)
        machine_start(a->sim->machines[i]);
    sim_run(a->sim, 8 * SECOND);
}

/* All run, and have settled. */
static inline struct asking *asking_new(unsigned groups, unsigned per_group, uint64_t seed,
                                        enum ack_mode ack) {
    struct asking *a = asking_make(groups, per_group, seed, ack);
    asking_start(a);
    return a;
}

static inline void asking_free(struct asking *a) {
    sim_client_release(&a->client);
    sim_free(a->sim);
    free(a);
}

static inline const struct raft *raft_at(const struct asking *a, unsigned machine) {
    return replica_raft(node_replica(a->sim->machines[machine]->node));
}

/* MACHINES_MAX where nobody leads. */
static inline unsigned leader_in(const struct asking *a, unsigned group) {
    for (unsigned i = group * a->per_group; i < (group + 1) * a->per_group; i++) {
        const struct machine *m = a->sim->machines[i];
        if (m->node != NULL && !m->paused && raft_role(raft_at(a, i)) == RAFT_LEADER)
            return i;
    }
    return MACHINES_MAX;
}

/* Sends, and waits for nothing. The request ends with a NUL. */
static inline void ask_only(struct asking *a, unsigned machine, struct buffer *request) {
    a->status = 0;
    a->body[0] = '\0';
    a->asked_us = a->sim->now_us;
    sim_client_ask(&a->client, a->sim->machines[machine], (const char *)buffer_bytes(request).data);
    buffer_release(request);
}

static inline unsigned wait_answer(struct asking *a) {
    for (uint64_t end = a->asked_us + 8 * SECOND; a->status == 0 && a->sim->now_us < end;)
        if (!sim_step(a->sim))
            break;
    return a->status;
}

static inline unsigned ask(struct asking *a, unsigned machine, struct buffer *request) {
    ask_only(a, machine, request);
    return wait_answer(a);
}

static inline unsigned ask_text(struct asking *a, unsigned machine, const char *text) {
    struct buffer request = {0};
    buffer_append(&request, (struct bytes){(const uint8_t *)text, strlen(text) + 1});
    return ask(a, machine, &request);
}

static inline unsigned set(struct asking *a, unsigned machine, const char *key, const char *value) {
    struct buffer request = {0};
    request_set(&request, key, value, NULL, (struct version){0, 0});
    return ask(a, machine, &request);
}

static inline unsigned get(struct asking *a, unsigned machine, const char *key, bool linearizable) {
    struct buffer request = {0};
    request_get(&request, key, linearizable);
    return ask(a, machine, &request);
}

/* join, leave, transfer */
static inline unsigned change(struct asking *a, unsigned through, const char *what, unsigned about) {
    struct buffer request = {0};
    const struct node_info *info = node_self(a->sim->machines[about]->node);
    request_members(&request, what, info->id, &info->peer);
    return ask(a, through, &request);
}

/* OK, or what was answered instead. */
#define STATUS_IS(a, got, want)                                                                              \
    do {                                                                                                     \
        if (!EQUAL(got, want))                                                                               \
            printf("# after %llu ms: %s\n", (unsigned long long)(a)->took_ms, (a)->body);                    \
    } while (0)

/* The last answer came within so many milliseconds. */
#define TOOK_AT_MOST(a, ms)                                                                                  \
    do {                                                                                                     \
        if (!OK((a)->took_ms <= (ms)))                                                                       \
            printf("# it took %llu ms: %s\n", (unsigned long long)(a)->took_ms, (a)->body);                  \
    } while (0)

#endif
