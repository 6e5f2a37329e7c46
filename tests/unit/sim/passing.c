/* Requests that are passed on to another node, which hangs, falls behind or has lost the lead meanwhile. */
#include "tests/unit/sim/asking.h"

/* Two groups of four, three of which vote: key "d" is group 1's (tests/unit/sharding/ring.c). */
#define OF_GROUP_1 "d"

TEST(a_default_read_for_a_group_without_a_leader_is_answered_by_whichever_of_its_nodes_can) {
    struct asking *a = asking_new(2, 4, 1, ACK_QUORUM);
    unsigned left[3], count = 0, leader = leader_in(a, 1);
    STATUS_IS(a, set(a, 0, OF_GROUP_1, "v"), 200);
    sim_run(a->sim, SECOND);
    REQUIRE(leader < 8);
    const struct configuration *members = raft_configuration(raft_at(a, leader));
    bool voter_dead = false;
    for (unsigned i = 4; i < 8; i++) {
        const uint8_t *id = node_self(a->sim->machines[i]->node)->id;
        bool votes = configuration_find_name(members, id)->role == MEMBER_VOTER;
        if (i != leader && votes && !voter_dead) {
            machine_kill(a->sim->machines[i]);
            voter_dead = true;
        } else if (i != leader) {
            left[count++] = i;
        }
    }
    machine_kill(a->sim->machines[leader]);
    sim_run(a->sim, 2 * SECOND);
    REQUIRE(count == 2 && leader_in(a, 1) == MACHINES_MAX);
    for (unsigned hangs = 0; hangs < 2; hangs++) {
        machine_pause(a->sim->machines[left[hangs]]);
        for (unsigned i = 0; i < 4; i++) {
            STATUS_IS(a, get(a, 0, OF_GROUP_1, false), 200);
            TOOK_AT_MOST(a, 800);
        }
        machine_resume(a->sim->machines[left[hangs]]);
        sim_run(a->sim, 6 * SECOND);
    }
    TEXT_EQUAL(a->sim->violation, "");
    asking_free(a);
}

static unsigned not_leader(const struct asking *a, unsigned group) {
    unsigned leader = leader_in(a, group), first = group * a->per_group;
    return leader == first ? first + 1 : first;
}

static void write_to_a_hanging_leader(struct tap *tap, enum ack_mode ack) {
    struct asking *a = asking_new(1, 3, 1, ack);
    unsigned leader = leader_in(a, 0), follower = not_leader(a, 0);
    struct buffer request = {0};
    REQUIRE(leader < 3);
    machine_pause(a->sim->machines[leader]);
    request_set(&request, "k", "1", NULL, (struct version){0, 0});
    request_pair(&request, 1);
    STATUS_IS(a, ask(a, follower, &request), 504);
    TEXT_EQUAL(a->error, "outcome_unknown");
    OK(strstr(a->body, "leads") != NULL);
    TOOK_AT_MOST(a, 1200);
    request_set(&request, "k", "1", NULL, (struct version){0, 0});
    request_pair(&request, 1);
    STATUS_IS(a, ask(a, follower, &request), 200);
    TOOK_AT_MOST(a, 100);
    uint64_t last = log_last(replica_log(node_replica(a->sim->machines[follower]->node)));
    machine_resume(a->sim->machines[leader]); /* what it had been sent it takes no more */
    sim_run(a->sim, 5 * SECOND);
    EQUAL(log_last(replica_log(node_replica(a->sim->machines[follower]->node))), last);
    asking_free(a);
}

TEST(a_write_passed_on_to_a_leader_that_hangs_has_an_unknown_outcome_as_soon_as_another_one_leads) {
    write_to_a_hanging_leader(tap, ACK_QUORUM);
    write_to_a_hanging_leader(tap, ACK_ASYNC);
}

TEST(the_same_holds_for_another_groups_leader_and_a_read_goes_to_the_next_one) {
    struct asking *a = asking_new(2, 3, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 1);
    REQUIRE(leader < 6);
    STATUS_IS(a, set(a, 0, OF_GROUP_1, "v"), 200);
    machine_pause(a->sim->machines[leader]);
    STATUS_IS(a, get(a, 0, OF_GROUP_1, true), 200);
    TOOK_AT_MOST(a, 1200);
    machine_resume(a->sim->machines[leader]);
    sim_run(a->sim, 5 * SECOND);
    leader = leader_in(a, 1);
    REQUIRE(leader < 6);
    machine_pause(a->sim->machines[leader]);
    STATUS_IS(a, set(a, 0, OF_GROUP_1, "w"), 504);
    TEXT_EQUAL(a->error, "outcome_unknown");
    TOOK_AT_MOST(a, 1200);
    STATUS_IS(a, set(a, 0, OF_GROUP_1, "w"), 200);
    TOOK_AT_MOST(a, 100);
    asking_free(a);
}

TEST(a_write_passed_on_to_a_leader_that_hands_over_meanwhile_is_answered_by_it) {
    struct asking *a = asking_new(1, 3, 1, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), follower = not_leader(a, 0);
    struct buffer request = {0};
    REQUIRE(leader < 3);
    for (unsigned i = 0; i < 3; i++)
        a->sim->machines[i]->disk_factor = 200;
    request_set(&request, "k", "1", NULL, (struct version){0, 0});
    ask_only(a, follower, &request);
    sim_run(a->sim, 5 * MS);
    EQUAL(a->status, 0);
    machine_stop(a->sim->machines[leader]);
    STATUS_IS(a, wait_answer(a), 200);
    asking_free(a);
}

/* Node 0 and the one that comes to lead group 1 never hear of each other. */
TEST(a_group_whose_leader_is_out_of_reach_is_reached_through_any_of_its_nodes) {
    struct asking *a = asking_make(2, 3, 1, ACK_QUORUM);
    a->sim->blocked[0][5] = a->sim->blocked[5][0] = true;
    asking_start(a);
    STATUS_IS(a, change(a, 3, "transfer", 5), 200);
    sim_run(a->sim, SECOND);
    EQUAL(leader_in(a, 1), 5);
    for (unsigned i = 0; i < 6; i++) {
        STATUS_IS(a, set(a, 0, OF_GROUP_1, i % 2 ? "odd" : "even"), 200);
        TOOK_AT_MOST(a, 100);
        STATUS_IS(a, get(a, 0, OF_GROUP_1, true), 200);
        TOOK_AT_MOST(a, 100);
        OK(strstr(a->body, i % 2 ? "odd" : "even") != NULL);
    }
    machine_pause(a->sim->machines[5]);
    STATUS_IS(a, set(a, 0, OF_GROUP_1, "lost"), 504);
    TOOK_AT_MOST(a, 2000);
    STATUS_IS(a, set(a, 0, OF_GROUP_1, "v"), 200);
    asking_free(a);
}

/* Node 0 leads group 0 and node 1 follows; neither passes on. */
static void away_to_the_owner(struct tap *tap, enum route_policy route, unsigned status, const char *error) {
    struct asking *a = asking_make(2, 3, 1, ACK_QUORUM);
    a->sim->machines[0]->route = a->sim->machines[1]->route = route;
    asking_start(a);
    unsigned leader = leader_in(a, 1);
    char home[64], api[ADDRESS_TEXT_MAX];
    struct address address = network_api_address(leader);
    snprintf(home, sizeof home, "leads group 1, at http://%s", address_text(&address, api));
    REQUIRE(leader < 6 && leader_in(a, 0) == 0);
    for (unsigned i = 0; i < 2; i++) {
        STATUS_IS(a, set(a, i, OF_GROUP_1, "v"), status);
        OK(strstr(a->body, error) != NULL && strstr(a->body, home) != NULL);
        STATUS_IS(a, get(a, i, OF_GROUP_1, true), status);
        OK(strstr(a->body, home) != NULL);
    }
    STATUS_IS(a, set(a, leader, OF_GROUP_1, "v"), 200);
    STATUS_IS(a, get(a, 0, OF_GROUP_1, false), 200); /* passed on: it needs no leader */
    for (unsigned i = 3; i < 5; i++)
        machine_kill(a->sim->machines[i]);
    sim_run(a->sim, 2 * SECOND);
    struct buffer request = {0};
    request_set(&request, OF_GROUP_1, "w", NULL, (struct version){0, 0});
    ask_only(a, 0, &request);
    sim_run(a->sim, SECOND);
    EQUAL(a->status, 0); /* it waits for a leader */
    for (unsigned i = 3; i < 5; i++)
        machine_start(a->sim->machines[i]);
    STATUS_IS(a, wait_answer(a), status == 307 ? 503 : status);
    OK(strstr(a->body, "leads group 1, at http://") != NULL);
    asking_free(a);
}

TEST(a_node_that_does_not_pass_on_names_the_leader_of_the_group_that_owns_the_key) {
    away_to_the_owner(tap, ROUTE_REDIRECT, 307, "redirect");
    away_to_the_owner(tap, ROUTE_REFUSE, 421, "wrong_node");
}

TESTS(TAP(a_default_read_for_a_group_without_a_leader_is_answered_by_whichever_of_its_nodes_can),
      TAP(a_write_passed_on_to_a_leader_that_hangs_has_an_unknown_outcome_as_soon_as_another_one_leads),
      TAP(the_same_holds_for_another_groups_leader_and_a_read_goes_to_the_next_one),
      TAP(a_write_passed_on_to_a_leader_that_hands_over_meanwhile_is_answered_by_it),
      TAP(a_group_whose_leader_is_out_of_reach_is_reached_through_any_of_its_nodes),
      TAP(a_node_that_does_not_pass_on_names_the_leader_of_the_group_that_owns_the_key))
