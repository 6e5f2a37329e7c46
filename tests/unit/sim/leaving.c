/* Requests about members, and members that go, as clients see it. */
#include "tests/unit/sim/asking.h"

static void ignored(void *arg, struct client *client, const struct response *response) {
    (void)arg;
    (void)client;
    (void)response;
}

TEST(a_leader_that_nobody_can_succeed_is_refused_to_leave_and_goes_on_taking_writes) {
    struct asking *a = asking_new(1, 3, 1, ACK_ASYNC);
    unsigned leader = leader_in(a, 0);
    REQUIRE(leader < 3);
    for (unsigned i = 0; i < 3; i++)
        if (i != leader)
            sim_disk_set_capacity(a->sim->machines[i]->disk, 1); /* they hear all, and cannot keep it */
    char value[3001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned i = 0; i < 60; i++)
        STATUS_IS(a, set(a, leader, "k", value), 200);
    STATUS_IS(a, change(a, leader, "leave", leader), 409);
    TEXT_EQUAL(a->error, "member_refused");
    OK(strstr(a->body, "took over") != NULL);
    TOOK_AT_MOST(a, 1000);
    STATUS_IS(a, set(a, leader, "k", "2"), 200);
    TOOK_AT_MOST(a, 100);
    EQUAL(leader_in(a, 0), leader);
    asking_free(a);
}

static void cut_off(struct asking *a, unsigned machine, bool is) {
    for (unsigned i = 0; i < a->sim->options.machines; i++)
        if (i != machine)
            a->sim->blocked[i][machine] = a->sim->blocked[machine][i] = is;
}

/* Another client has the group's leader change it, and does not wait for the answer. */
static void change_only(struct asking *a, unsigned leader, const char *what, unsigned about) {
    const struct node_info *info = node_self(a->sim->machines[about]->node);
    struct client other;
    struct buffer request = {0};
    sim_client_init(&other, a->sim, ignored, NULL);
    request_members(&request, what, info->id, &info->peer);
    sim_client_ask(&other, a->sim->machines[leader], (const char *)buffer_bytes(&request).data);
    buffer_release(&request);
    sim_run(a->sim, 100 * MS);
    sim_client_release(&other);
}

/* A follower of three is asked something that it has to wait for, and leaves meanwhile. */
static void removed_while_waiting(struct tap *tap, const char *request, unsigned status, const char *error) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    struct buffer copy = {0};
    unsigned leader = leader_in(a, 0), follower = leader == 2 ? 1 : 2;
    REQUIRE(leader < 3);
    STATUS_IS(a, set(a, leader, "k", "old"), 200);
    sim_run(a->sim, SECOND);
    buffer_append(&copy, (struct bytes){(const uint8_t *)request, strlen(request) + 1});
    ask_only(a, follower, &copy);
    sim_run(a->sim, 20 * MS);
    EQUAL(a->status, 0);
    change_only(a, leader, "leave", follower);
    STATUS_IS(a, wait_answer(a), status);
    TOOK_AT_MOST(a, 1000);
    TEXT_EQUAL(a->error, error);
    OK(strstr(a->body, "removed from its group") != NULL);
    asking_free(a);
}

TEST(a_read_that_waits_for_a_position_on_a_node_that_is_removed_is_told_so) {
    removed_while_waiting(tap, "GET /get?key=k HTTP/1.1\r\nHost: localhost\r\nKV-After: 0:9.900\r\n\r\n", 503,
                          "removed");
}

TEST(what_a_node_without_a_leader_is_asked_is_refused_when_it_learns_that_it_was_removed) {
    static const char *const requests[] = {
        "GET /get?key=k&consistency=linearizable HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /keys?consistency=linearizable HTTP/1.1\r\nHost: localhost\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
        struct buffer copy = {0};
        unsigned leader = leader_in(a, 0), follower = leader == 2 ? 1 : 2;
        REQUIRE(leader < 3);
        STATUS_IS(a, set(a, leader, "k", "old"), 200);
        cut_off(a, follower, true);
        sim_run(a->sim, SECOND);
        change_only(a, leader, "leave", follower);
        buffer_append(&copy, (struct bytes){(const uint8_t *)requests[i], strlen(requests[i]) + 1});
        ask_only(a, follower, &copy);
        sim_run(a->sim, 20 * MS);
        EQUAL(a->status, 0);
        cut_off(a, follower, false);
        STATUS_IS(a, wait_answer(a), 503);
        TEXT_EQUAL(a->error, "removed");
        TOOK_AT_MOST(a, 2500);
        asking_free(a);
    }
}

static void is_removed(struct tap *tap, struct asking *a, unsigned machine) {
    STATUS_IS(a, get(a, machine, "k", false), 503);
    TEXT_EQUAL(a->error, "removed");
}

/* The leader of four is cut off from the voters, and has a former member join. Those left elect another. */
TEST(a_join_by_a_leader_that_is_overruled_makes_no_member_of_a_node_that_was_removed) {
    struct asking *a = asking_new(1, 4, 1, ACK_ASYNC);
    unsigned old = leader_in(a, 0), former = old == 3 ? 2 : 3;
    REQUIRE(old < 4);
    STATUS_IS(a, set(a, old, "k", "old"), 200);
    STATUS_IS(a, change(a, old, "leave", former), 200);
    sim_run(a->sim, 2 * SECOND);
    is_removed(tap, a, former);
    uint64_t removal = raft_configuration_index(raft_at(a, old));
    cut_off(a, old, true);
    a->sim->blocked[old][former] = a->sim->blocked[former][old] = false;
    change_only(a, old, "join", former);
    sim_run(a->sim, 2 * SECOND);
    OK(raft_configuration_index(raft_at(a, former)) > removal); /* it took what the old leader sent */
    is_removed(tap, a, former);
    machine_kill(a->sim->machines[former]);
    machine_start(a->sim->machines[former]);
    cut_off(a, old, false);
    sim_run(a->sim, 3 * SECOND);
    unsigned leader = leader_in(a, 0);
    REQUIRE(leader < 4 && leader != old);
    EQUAL(raft_configuration_index(raft_at(a, leader)), removal);
    is_removed(tap, a, former);
    STATUS_IS(a, set(a, leader, "k", "new"), 200);
    STATUS_IS(a, change(a, leader, "join", former), 200);
    sim_run(a->sim, SECOND);
    STATUS_IS(a, get(a, former, "k", false), 200);
    OK(strstr(a->body, "new") != NULL);
    asking_free(a);
}

#define NODES "GET /cluster/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n"

/* The group comes when there are keys already: it owns nothing, and its members are its own all the same. */
TEST(a_change_of_members_in_a_group_that_is_on_no_ring_may_have_happened_too) {
    struct asking *a = asking_make(2, 2, 1, ACK_QUORUM);
    struct buffer request = {0};
    for (unsigned i = 0; i < 4; i++) {
        machine_start(a->sim->machines[i]);
        if (i % 2 == 1)
            sim_run(a->sim, 5 * SECOND);
        if (i == 1)
            STATUS_IS(a, set(a, 0, "k", "v"), 200);
    }
    REQUIRE(leader_in(a, 1) == 2 &&
            replica_groups(node_replica(a->sim->machines[2]->node))->current.epoch == 0);
    for (unsigned i = 2; i < 4; i++)
        a->sim->machines[i]->disk_factor = 1000000;
    request_members(&request, "leave", node_self(a->sim->machines[3]->node)->id, NULL);
    ask_only(a, 3, &request);
    sim_run(a->sim, 2 * SECOND);
    machine_pause(a->sim->machines[2]);
    STATUS_IS(a, wait_answer(a), 504);
    OK(strstr(a->body, "GET /cluster/nodes") != NULL);
    asking_free(a);
}

TEST(a_list_of_the_members_that_waits_for_a_leader_that_hangs_is_given_by_the_next_one) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 0);
    REQUIRE(leader < 3);
    struct client other;
    unsigned first = leader == 0 ? 1 : 0, second = leader == 2 ? 1 : 2;
    machine_pause(a->sim->machines[leader]);
    sim_client_init(&other, a->sim, ignored, NULL);
    sim_client_ask(&other, a->sim->machines[first], NODES);
    STATUS_IS(a, ask_text(a, second, NODES), 200); /* one of the two leads by then */
    TOOK_AT_MOST(a, 1000);
    sim_run(a->sim, 5 * SECOND);
    OK(leader_in(a, 0) != leader);
    sim_client_release(&other);
    asking_free(a);
}

static void of_unknown_outcome(struct tap *tap, bool through_leader) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), follower = leader == 0 ? 1 : 0;
    REQUIRE(leader < 3);
    for (unsigned i = 0; i < 3; i++)
        a->sim->machines[i]->disk_factor = 1000000; /* nothing is committed any more */
    STATUS_IS(a, change(a, through_leader ? leader : follower, "leave", 3 - leader - follower), 504);
    TEXT_EQUAL(a->error, "outcome_unknown");
    if (!OK(strstr(a->body, "GET /cluster/nodes") != NULL && strstr(a->body, "write") == NULL))
        printf("# %s\n", a->body);
    asking_free(a);
}

TEST(a_change_of_members_of_unknown_outcome_says_where_to_see_whether_it_happened) {
    of_unknown_outcome(tap, true);
    of_unknown_outcome(tap, false);
}

static size_t members_at(const struct asking *a, unsigned machine) {
    return raft_configuration(raft_at(a, machine))->count;
}

TEST(a_learner_that_is_away_for_long_leaves_the_list_and_is_a_learner_again_when_it_comes_back) {
    struct asking *a = asking_new(1, 4, 1, ACK_QUORUM);
    const struct configuration *members = raft_configuration(raft_at(a, 0));
    unsigned learner = 0;
    while (learner < 3 &&
           configuration_find_name(members, node_self(a->sim->machines[learner]->node)->id)->role ==
               MEMBER_VOTER)
        learner++;
    unsigned other = learner == 0 ? 1 : 0;
    EQUAL(members_at(a, other), 4);
    machine_kill(a->sim->machines[learner]);
    sim_run(a->sim, 290 * SECOND);
    EQUAL(members_at(a, other), 4);
    sim_run(a->sim, 15 * SECOND);
    EQUAL(members_at(a, other), 3);
    STATUS_IS(a, set(a, other, "k", "v"), 200);
    machine_start(a->sim->machines[learner]);
    sim_run(a->sim, 5 * SECOND);
    EQUAL(members_at(a, other), 4);
    STATUS_IS(a, get(a, learner, "k", false), 200);
    TEXT_EQUAL(a->sim->violation, "");
    asking_free(a);
}

TESTS(TAP(a_learner_that_is_away_for_long_leaves_the_list_and_is_a_learner_again_when_it_comes_back),
      TAP(a_leader_that_nobody_can_succeed_is_refused_to_leave_and_goes_on_taking_writes),
      TAP(a_read_that_waits_for_a_position_on_a_node_that_is_removed_is_told_so),
      TAP(what_a_node_without_a_leader_is_asked_is_refused_when_it_learns_that_it_was_removed),
      TAP(a_join_by_a_leader_that_is_overruled_makes_no_member_of_a_node_that_was_removed),
      TAP(a_change_of_members_of_unknown_outcome_says_where_to_see_whether_it_happened),
      TAP(a_change_of_members_in_a_group_that_is_on_no_ring_may_have_happened_too),
      TAP(a_list_of_the_members_that_waits_for_a_leader_that_hangs_is_given_by_the_next_one))
