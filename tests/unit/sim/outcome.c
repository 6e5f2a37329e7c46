/* GET /outcome while a write is on its way: whole nodes in the simulator, their disks made slow. */
#include "tests/sim/check.h"
#include "tests/tap.h"

struct asked {
    struct sim *sim;
    struct client writer, reader;
    unsigned written; /* status; 0: not answered yet */
    struct version at;
    char outcome[160]; /* empty: not answered yet */
};

static void written(void *arg, struct client *client, const struct response *response) {
    struct asked *a = arg;
    (void)client;
    a->written = response->status;
    a->at = response->position;
}

static void told(void *arg, struct client *client, const struct response *response) {
    struct asked *a = arg;
    (void)client;
    snprintf(a->outcome, sizeof a->outcome, "%u %.*s", response->status, (int)response->body.size,
             (const char *)response->body.data);
}

static struct machine *leader_of(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.machines; i++)
        if (raft_role(replica_raft(node_replica(sim->machines[i]->node))) == RAFT_LEADER)
            return sim->machines[i];
    return NULL;
}

static struct asked *asked_new(enum ack_mode ack) {
    struct asked *a = calloc(1, sizeof *a);
    struct sim_options options = {.seed = 3, .machines = 3, .ack = ack, .voters_max = 5};
    a->sim = sim_new(&options);
    a->sim->unchecked = true; /* writes here are not check.c's */
    a->sim->machines[0]->leader_flag = true;
    for (unsigned i = 0; i < options.machines; i++)
        machine_start(a->sim->machines[i]);
    sim_client_init(&a->writer, a->sim, written, a);
    sim_client_init(&a->reader, a->sim, told, a);
    sim_run(a->sim, 8 * SECOND);
    return a;
}

static void asked_free(struct asked *a) {
    sim_client_release(&a->writer);
    sim_client_release(&a->reader);
    sim_free(a->sim);
    free(a);
}

static void write_through(struct asked *a, struct machine *machine, size_t number) {
    struct buffer request = {0};
    request_set(&request, "k1", "v", NULL, (struct version){0, 0});
    request_pair(&request, number);
    sim_client_ask(&a->writer, machine, (const char *)request.data);
    buffer_release(&request);
}

static const char *outcome_through(struct asked *a, struct machine *machine, size_t number) {
    struct buffer request = {0};
    a->outcome[0] = '\0';
    request_outcome(&request, "k1", number);
    sim_client_ask(&a->reader, machine, (const char *)request.data);
    for (int i = 0; i < 100 && a->outcome[0] == '\0'; i++)
        sim_run(a->sim, 2 * MS);
    buffer_release(&request);
    return a->outcome;
}

static void pending_then_committed(struct tap *tap, enum ack_mode ack, bool slow_leader) {
    struct asked *a = asked_new(ack);
    struct machine *leader = leader_of(a->sim);
    char want[160];
    REQUIRE(leader != NULL);
    TEXT_EQUAL(outcome_through(a, leader, 7), "200 {\"outcome\":\"unknown\"}");
    for (unsigned i = 0; i < 3; i++)
        if (a->sim->machines[i] != leader || slow_leader)
            a->sim->machines[i]->disk_factor = 2000;
    write_through(a, leader, 7);
    sim_run(a->sim, 20 * MS);
    uint64_t index = log_last(replica_log(node_replica(leader->node)));
    unsigned long long term = raft_term(replica_raft(node_replica(leader->node)));
    snprintf(want, sizeof want, "200 {\"outcome\":\"pending\",\"position\":\"0:%llu.%llu\"}", term,
             (unsigned long long)index);
    TEXT_EQUAL(outcome_through(a, leader, 7), want);
    EQUAL(a->written, 0);
    for (int i = 0; i < 200 && a->written == 0; i++)
        sim_run(a->sim, 50 * MS);
    EQUAL(a->written, 200);
    EQUAL(a->at.index, index);
    snprintf(want, sizeof want,
             "200 {\"outcome\":\"committed\",\"position\":\"0:%llu.%llu\",\"result\":\"ok\"}", term,
             (unsigned long long)index);
    for (unsigned i = 0; i < 3; i++)
        TEXT_EQUAL(outcome_through(a, a->sim->machines[i], 7), want);
    TEXT_EQUAL(a->sim->violation, "");
    asked_free(a);
}

TEST(a_write_in_a_quorum_groups_log_is_pending_until_it_is_committed) {
    pending_then_committed(tap, ACK_QUORUM, true);
}

TEST(a_write_that_an_async_leader_has_applied_is_pending_until_it_is_committed) {
    pending_then_committed(tap, ACK_ASYNC, false);
}

/* The entries that are not committed yet may be what has taken the pair's place. */
TEST(that_a_pair_is_not_known_is_told_once_what_the_leader_has_applied_is_committed) {
    struct asked *a = asked_new(ACK_ASYNC);
    struct machine *leader = leader_of(a->sim);
    REQUIRE(leader != NULL);
    for (unsigned i = 0; i < 3; i++)
        if (a->sim->machines[i] != leader)
            a->sim->machines[i]->disk_factor = 2000;
    write_through(a, leader, 8);
    sim_run(a->sim, 20 * MS);
    EQUAL(a->written, 0); /* a pair is answered at its commit */
    TEXT_EQUAL(outcome_through(a, leader, 7), "");
    for (int i = 0; i < 200 && a->outcome[0] == '\0'; i++)
        sim_run(a->sim, 50 * MS);
    TEXT_EQUAL(a->outcome, "200 {\"outcome\":\"unknown\"}");
    asked_free(a);
}

TEST(a_change_of_members_whose_leader_is_cut_off_meanwhile_may_have_happened) {
    struct asked *a = asked_new(ACK_QUORUM);
    struct machine *leader = leader_of(a->sim), *other[2];
    char request[256];
    size_t others = 0;
    REQUIRE(leader != NULL);
    for (unsigned i = 0; i < 3; i++)
        if (a->sim->machines[i] != leader)
            other[others++] = a->sim->machines[i];
    for (unsigned i = 0; i < 3; i++)
        a->sim->machines[i]->disk_factor = 2000; /* the change is not committed soon */
    snprintf(request, sizeof request,
             "POST /cluster/leave HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             "Content-Length: 25\r\n\r\n{\"id\":\"%.16s\"}",
             (const char *)node_self(other[1]->node)->id);
    sim_client_ask(&a->reader, other[0], request);
    sim_run(a->sim, 20 * MS);
    EQUAL(strlen(a->outcome), 0);
    for (int i = 0; i < 8; i++)
        network_reset(leader);
    for (int i = 0; i < 100 && a->outcome[0] == '\0'; i++)
        sim_run(a->sim, 2 * MS);
    if (!OK(strncmp(a->outcome, "504 {\"error\":\"outcome_unknown\"", 30) == 0))
        printf("# %s\n", a->outcome);
    asked_free(a);
}

TESTS(TAP(that_a_pair_is_not_known_is_told_once_what_the_leader_has_applied_is_committed),
      TAP(a_write_in_a_quorum_groups_log_is_pending_until_it_is_committed),
      TAP(a_write_that_an_async_leader_has_applied_is_pending_until_it_is_committed),
      TAP(a_change_of_members_whose_leader_is_cut_off_meanwhile_may_have_happened))
