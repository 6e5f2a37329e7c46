/* What an answer promises about other nodes' disks holds when it is given: whole nodes in the simulator, some
 * of whose disks are slow. */
#include "tests/unit/sim/asking.h"

struct mode {
    enum ack_mode group;
    const char *query;
    unsigned needed; /* of three voters */
};

static const struct mode modes[] = {
    {ACK_ASYNC, "", 1},  {ACK_ASYNC, "?ack=quorum", 2}, {ACK_ASYNC, "?ack=all", 3},
    {ACK_QUORUM, "", 2}, {ACK_QUORUM, "?ack=all", 3},   {ACK_ALL, "", 3},
};

#define MODES  (sizeof modes / sizeof modes[0])
#define SLOW   2000 /* times longer */
#define VOTERS 3

static void send_write(struct asking *a, unsigned machine, const char *query) {
    struct buffer request = {0};
    char text[256];
    snprintf(text, sizeof text,
             "POST /set%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             "Content-Length: 23\r\n\r\n{\"key\":\"k\",\"value\":\"v\"}",
             query);
    buffer_append(&request, (struct bytes){(const uint8_t *)text, strlen(text) + 1});
    ask_only(a, machine, &request);
}

static unsigned holders(const struct asking *a) {
    unsigned count = 0;
    for (unsigned i = 0; i < VOTERS; i++)
        count += log_durable(replica_log(node_replica(a->sim->machines[i]->node))) >= a->at.index;
    return count;
}

/* Slow: one bit a machine, the lowest the leader. */
static void written_with(struct tap *tap, const struct mode *mode, unsigned slow) {
    struct asking *a = asking_new(1, VOTERS, 5, mode->group);
    unsigned leader = leader_in(a, 0), fast = 0;
    REQUIRE(leader < VOTERS);
    for (unsigned i = 0; i < VOTERS; i++) {
        bool is_slow = (slow >> (i + VOTERS - leader) % VOTERS & 1) != 0;
        a->sim->machines[i]->disk_factor = is_slow ? SLOW : 1;
        fast += !is_slow;
    }
    send_write(a, leader, mode->query);
    unsigned status = wait_answer(a);
    /* An async leader's own disk is enough; or a majority's. */
    bool waits = fast < mode->needed || (mode->needed == 1 && (slow & 1) != 0 && fast < 2);
    STATUS_IS(a, status, 200);
    if (!OK(holders(a) >= mode->needed))
        printf("# mode %zu, slow %u: %u hold it\n", (size_t)(mode - modes), slow, holders(a));
    if (!OK(waits == (a->took_ms > 50)))
        printf("# mode %zu, slow %u: answered after %llu ms\n", (size_t)(mode - modes), slow,
               (unsigned long long)a->took_ms);
    asking_free(a);
}

TEST(a_write_is_answered_when_as_many_disks_hold_it_as_its_mode_says_and_no_later) {
    for (size_t i = 0; i < MODES; i++)
        for (unsigned slow = 0; slow < 1u << VOTERS; slow++)
            written_with(tap, &modes[i], slow);
}

/* Both followers are there, and one of them takes no more. */
TEST(a_write_for_all_voters_is_not_answered_while_one_of_them_hangs) {
    for (size_t i = 0; i < MODES; i++) {
        struct asking *a = asking_new(1, VOTERS, 5, modes[i].group);
        unsigned leader = leader_in(a, 0);
        REQUIRE(leader < VOTERS);
        machine_pause(a->sim->machines[(leader + 1) % VOTERS]);
        send_write(a, leader, modes[i].query);
        unsigned status = wait_answer(a);
        STATUS_IS(a, status, modes[i].needed == VOTERS ? 504 : 200);
        machine_resume(a->sim->machines[(leader + 1) % VOTERS]);
        asking_free(a);
    }
}

static void last_status(void *arg, struct client *client, const struct response *response) {
    (void)client;
    *(unsigned *)arg = response->status;
}

/* The leader is cut off with writes that nobody else has; another leader writes at the same positions before
 * it is heard again. */
TEST(a_write_that_another_leader_truncates_is_not_answered_as_done) {
    for (enum ack_mode mode = ACK_ASYNC; mode <= ACK_QUORUM; mode++) {
        struct asking *a = asking_new(1, VOTERS, 5, mode);
        unsigned leader = leader_in(a, 0), statuses[4] = {0};
        struct client lost[4];
        struct buffer request = {0};
        REQUIRE(leader < VOTERS);
        for (unsigned i = 0; i < VOTERS; i++)
            a->sim->blocked[leader][i] = i != leader;
        request_set(&request, "lost", "v", "quorum", (struct version){0, 0});
        for (unsigned i = 0; i < 4; i++) {
            sim_client_init(&lost[i], a->sim, last_status, &statuses[i]);
            sim_client_ask(&lost[i], a->sim->machines[leader], (const char *)buffer_bytes(&request).data);
        }
        buffer_release(&request);
        unsigned other = leader;
        for (uint64_t end = a->sim->now_us + 4 * SECOND; other == leader && a->sim->now_us < end;) {
            sim_run(a->sim, 10 * MS);
            for (unsigned i = 0; i < VOTERS; i++)
                other = i != leader && raft_role(raft_at(a, i)) == RAFT_LEADER ? i : other;
        }
        OK(other != leader);
        a->sim->blocked[other][leader] = true;
        for (unsigned i = 0; i < 4; i++)
            STATUS_IS(a, set(a, other, "kept", "v"), 200);
        for (unsigned i = 0; i < VOTERS; i++)
            a->sim->blocked[leader][i] = a->sim->blocked[i][leader] = false;
        sim_run(a->sim, 6 * SECOND);
        for (unsigned i = 0; i < 4; i++) {
            if (!OK(statuses[i] >= 500))
                printf("# mode %u, write %u: %u\n", mode, i, statuses[i]);
            sim_client_release(&lost[i]);
        }
        STATUS_IS(a, get(a, other, "lost", true), 404);
        asking_free(a);
    }
}

static void ask_quorum(struct asking *a, struct client *client, unsigned *status, unsigned leader,
                       const char *key, const char *condition) {
    char body[64], text[400];
    snprintf(body, sizeof body, "{\"key\":\"%s\",\"value\":\"w\"}", key);
    snprintf(text, sizeof text,
             "POST /set?ack=quorum HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s"
             "Content-Length: %zu\r\n\r\n%s",
             condition, strlen(body), body);
    sim_client_init(client, a->sim, last_status, status);
    sim_client_ask(client, a->sim->machines[leader], text);
}

TEST(a_rejected_write_whose_client_was_told_that_its_outcome_is_unknown_says_so) {
    struct asking *a = asking_new(1, VOTERS, 5, ACK_ASYNC);
    unsigned leader = leader_in(a, 0), statuses[2] = {0};
    struct client clients[2];
    STATUS_IS(a, set(a, leader, "there", "v"), 200);
    sim_run(a->sim, 1 * SECOND);
    for (unsigned i = 0; i < VOTERS; i++)
        a->sim->blocked[leader][i] = a->sim->blocked[i][leader] = i != leader;
    ask_quorum(a, &clients[0], &statuses[0], leader, "plain", "");
    ask_quorum(a, &clients[1], &statuses[1], leader, "there", "If-None-Match: *\r\n");
    sim_run(a->sim, 8 * SECOND);
    EQUAL(statuses[0], 504);
    EQUAL(statuses[1], 504);
    memset(a->sim->blocked, 0, sizeof a->sim->blocked);
    sim_run(a->sim, 6 * SECOND);
    const struct ledger *ledger = replica_rejected(node_replica(a->sim->machines[leader]->node));
    EQUAL(ledger_count(ledger), 2);
    for (size_t i = 0; i < ledger_count(ledger); i++)
        OK(!ledger_at(ledger, i)->answered);
    sim_client_release(&clients[0]);
    sim_client_release(&clients[1]);
    asking_free(a);
}

TESTS(TAP(a_rejected_write_whose_client_was_told_that_its_outcome_is_unknown_says_so),
      TAP(a_write_is_answered_when_as_many_disks_hold_it_as_its_mode_says_and_no_later),
      TAP(a_write_for_all_voters_is_not_answered_while_one_of_them_hangs),
      TAP(a_write_that_another_leader_truncates_is_not_answered_as_done))
