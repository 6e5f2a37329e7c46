/* Replicas whose state is not their group's, with whole nodes: found, out of service, replaced. */
#include "tests/sim/flip.h"
#include "tests/unit/sim/asking.h"

#define FOUND_US    (1500 * MS) /* two rounds, and an answer */
#define REPLACED_US (5 * SECOND)

static bool odd(const struct asking *a, unsigned machine) {
    return a->sim->machines[machine]->node != NULL && raft_odd(raft_at(a, machine));
}

static bool wait_odd(struct asking *a, unsigned machine, bool is, uint64_t limit_us) {
    for (uint64_t end = a->sim->now_us + limit_us; a->sim->now_us < end && sim_step(a->sim);)
        if (odd(a, machine) == is)
            return true;
    return odd(a, machine) == is;
}

static bool any_flipped(const struct asking *a) {
    for (unsigned i = 0; i < a->sim->options.machines; i++)
        if (is_flipped(a->sim->machines[i]))
            return true;
    return false;
}

/* Nobody is odd or flipped any more. */
static bool wait_mended(struct asking *a, uint64_t limit_us) {
    for (uint64_t end = a->sim->now_us + limit_us; a->sim->now_us < end && sim_step(a->sim);) {
        bool whole = !any_flipped(a);
        for (unsigned i = 0; i < a->sim->options.machines; i++)
            whole = whole && !odd(a, i);
        if (whole)
            return true;
    }
    return false;
}

static bool all_equal(const struct asking *a) {
    uint64_t first = 0, digest;
    for (unsigned i = 0; i < a->sim->options.machines; i++) {
        digest = store_digest(replica_store(node_replica(a->sim->machines[i]->node)));
        if (i > 0 && digest != first)
            return false;
        first = digest;
    }
    return true;
}

static unsigned other_than(unsigned a, unsigned b) {
    for (unsigned i = 0;; i++)
        if (i != a && i != b)
            return i;
}

/* Written to all the while, or not at all. */
static void follower_is_replaced(struct tap *tap, enum ack_mode ack, bool writes) {
    struct asking *a = asking_new(1, 3, 7, ack);
    unsigned leader = leader_in(a, 0), follower = other_than(leader, leader), voters;
    STATUS_IS(a, set(a, leader, "k", "v"), 200);
    REQUIRE(flip_state(a->sim->machines[follower], "x"));
    if (writes)
        STATUS_IS(a, set(a, leader, "k", "w"), 200);
    OK(wait_odd(a, follower, true, FOUND_US));
    OK(!odd(a, leader) && !odd(a, other_than(leader, follower)));
    STATUS_IS(a, get(a, follower, "k", false), 503);
    TEXT_EQUAL(a->error, "diverged");
    OK(wait_mended(a, REPLACED_US));
    EQUAL(leader_in(a, 0), leader);
    sim_run(a->sim, SECOND);
    STATUS_IS(a, set(a, leader, "k", "z"), 200);
    sim_run(a->sim, SECOND);
    EQUAL(raft_acks(raft_at(a, leader), raft_commit(raft_at(a, leader)), &voters), 3);
    STATUS_IS(a, get(a, follower, "k", false), 200);
    TEXT_EQUAL(a->body, "{\"key\":\"k\",\"value\":\"z\"}");
    OK(all_equal(a));
    asking_free(a);
}

TEST(a_follower_with_another_state_is_found_out_of_service_and_replaced) {
    follower_is_replaced(tap, ACK_QUORUM, true);
    follower_is_replaced(tap, ACK_ALL, true);
    follower_is_replaced(tap, ACK_ASYNC, true);
}

TEST(it_is_found_also_where_nothing_is_written) {
    follower_is_replaced(tap, ACK_QUORUM, false);
    follower_is_replaced(tap, ACK_ASYNC, false);
}

TEST(an_odd_follower_acknowledges_nothing_and_no_write_waits_for_it_alone) {
    struct asking *a = asking_new(1, 3, 9, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), follower = other_than(leader, leader);
    unsigned third = other_than(leader, follower), voters;
    STATUS_IS(a, set(a, leader, "k", "v"), 200);
    REQUIRE(flip_state(a->sim->machines[follower], "x"));
    REQUIRE(wait_odd(a, follower, true, FOUND_US));
    EQUAL(raft_acks(raft_at(a, leader), raft_commit(raft_at(a, leader)), &voters), 2);
    EQUAL(voters, 3);
    /* Of the other two one is away: no majority is left until the odd one has its copy. */
    machine_pause(a->sim->machines[third]);
    uint64_t commit = raft_commit(raft_at(a, leader));
    struct buffer request = {0};
    request_set(&request, "k", "w", NULL, (struct version){0, 0});
    ask_only(a, leader, &request);
    for (uint64_t end = a->sim->now_us + 3 * SECOND; odd(a, follower) && a->sim->now_us < end;) {
        REQUIRE(sim_step(a->sim));
        REQUIRE(raft_commit(raft_at(a, leader)) == commit || !odd(a, follower));
    }
    machine_resume(a->sim->machines[third]);
    wait_answer(a);
    OK(wait_mended(a, REPLACED_US));
    STATUS_IS(a, set(a, leader, "k", "y"), 200);
    sim_run(a->sim, SECOND);
    OK(all_equal(a));
    asking_free(a);
}

TEST(a_bit_that_flips_in_memory_is_found_though_nobody_writes_or_reads_it) {
    for (unsigned machine = 0; machine < 3; machine++) {
        struct asking *a = asking_new(1, 3, 41 + machine, ACK_QUORUM);
        STATUS_IS(a, set(a, 0, "k", "v"), 200);
        sim_run(a->sim, SECOND);
        REQUIRE(flip_memory(a->sim->machines[machine], "k"));
        OK(wait_odd(a, machine, true, FOUND_US + SECOND));
        OK(wait_mended(a, REPLACED_US));
        sim_run(a->sim, SECOND);
        STATUS_IS(a, get(a, machine, "k", false), 200);
        OK(strstr(a->body, "\"v\"") != NULL);
        OK(all_equal(a));
        asking_free(a);
    }
}

static void leader_hands_over(struct tap *tap, enum ack_mode ack) {
    struct asking *a = asking_new(1, 3, 11, ack);
    unsigned old = leader_in(a, 0);
    STATUS_IS(a, set(a, old, "k", "v"), 200);
    REQUIRE(flip_state(a->sim->machines[old], "x"));
    OK(wait_odd(a, old, true, FOUND_US));
    STATUS_IS(a, get(a, old, "k", true), 503);
    TEXT_EQUAL(a->error, "diverged");
    OK(wait_mended(a, REPLACED_US));
    unsigned leader = leader_in(a, 0);
    OK(leader != old);
    STATUS_IS(a, set(a, old, "k", "w"), 200);
    STATUS_IS(a, get(a, old, "k", true), 200);
    sim_run(a->sim, SECOND);
    OK(all_equal(a));
    asking_free(a);
}

TEST(an_odd_leader_hands_over_and_is_replaced_by_its_successor) {
    leader_hands_over(tap, ACK_QUORUM);
    leader_hands_over(tap, ACK_ASYNC);
    leader_hands_over(tap, ACK_ALL);
}

TEST(of_two_voters_that_differ_both_go_on_and_both_say_so) {
    struct asking *a = asking_new(1, 2, 13, ACK_QUORUM);
    unsigned leader = leader_in(a, 0);
    STATUS_IS(a, set(a, leader, "k", "v"), 200);
    REQUIRE(flip_state(a->sim->machines[1 - leader], "x"));
    sim_run(a->sim, 3 * SECOND);
    for (unsigned i = 0; i < 2; i++) {
        OK(!odd(a, i));
        OK(raft_unequal(raft_at(a, i)));
        STATUS_IS(a, get(a, i, "k", false), 200);
    }
    OK(is_flipped(a->sim->machines[1 - leader]));
    OK(raft_comparison(raft_at(a, leader))->unequal_index > 0);
    /* A third one that agrees with either settles it. */
    asking_free(a);
}

TEST(of_five_voters_two_that_differ_are_replaced) {
    struct asking *a = asking_new(1, 5, 15, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), second = other_than(leader, leader);
    EQUAL(configuration_voters(raft_configuration(raft_at(a, leader))), 5);
    STATUS_IS(a, set(a, leader, "k", "v"), 200);
    REQUIRE(flip_state(a->sim->machines[leader], "x"));
    REQUIRE(flip_state(a->sim->machines[second], "y"));
    OK(wait_odd(a, leader, true, FOUND_US));
    uint64_t installed = a->sim->tally.counts[TALLY_SNAPSHOT_INSTALLED];
    OK(wait_mended(a, REPLACED_US));
    EQUAL(a->sim->tally.counts[TALLY_SNAPSHOT_INSTALLED] - installed, 2); /* the odd leader replaced nobody */
    STATUS_IS(a, set(a, leader, "k", "w"), 200);
    sim_run(a->sim, SECOND);
    OK(all_equal(a));
    asking_free(a);
}

TEST(an_odd_learner_is_replaced) {
    struct asking *a = asking_new(1, 4, 17, ACK_QUORUM);
    unsigned learner = MACHINES_MAX;
    for (unsigned i = 0; i < 4; i++)
        if (node_self(a->sim->machines[i]->node)->role == NODE_LEARNER)
            learner = i;
    REQUIRE(learner < MACHINES_MAX);
    REQUIRE(flip_state(a->sim->machines[learner], "x"));
    OK(wait_odd(a, learner, true, FOUND_US));
    OK(wait_mended(a, REPLACED_US));
    OK(all_equal(a));
    asking_free(a);
}

TEST(an_odd_node_that_starts_again_serves_nothing_before_it_is_replaced) {
    struct asking *a = asking_new(1, 3, 19, ACK_QUORUM);
    unsigned leader = leader_in(a, 0), follower = other_than(leader, leader);
    struct machine *m = a->sim->machines[follower];
    STATUS_IS(a, set(a, leader, "k", "v"), 200);
    REQUIRE(flip_state(m, "x"));
    REQUIRE(wait_odd(a, follower, true, FOUND_US));
    machine_power_cut(m);
    machine_power_on(m);
    REQUIRE(machine_start(m));
    OK(odd(a, follower));
    STATUS_IS(a, get(a, follower, "k", false), 503);
    TEXT_EQUAL(a->error, "diverged");
    OK(wait_mended(a, REPLACED_US));
    machine_power_cut(m);
    machine_power_on(m);
    REQUIRE(machine_start(m));
    OK(!odd(a, follower));
    sim_run(a->sim, SECOND);
    STATUS_IS(a, get(a, follower, "k", false), 200);
    asking_free(a);
}

TEST(a_power_cut_at_any_moment_of_its_replacement_leaves_it_odd_or_replaced) {
    unsigned odd_after = 0, whole_after = 0;
    for (unsigned delay_ms = 0; delay_ms < 1200; delay_ms += 8) {
        struct asking *a = asking_new(1, 3, 61 + delay_ms, ACK_QUORUM);
        unsigned leader = leader_in(a, 0), follower = other_than(leader, leader);
        struct machine *m = a->sim->machines[follower];
        STATUS_IS(a, set(a, leader, "k", "v"), 200);
        REQUIRE(flip_state(m, "x"));
        REQUIRE(wait_odd(a, follower, true, FOUND_US));
        sim_run(a->sim, delay_ms * MS);
        machine_power_cut(m);
        machine_power_on(m);
        REQUIRE(machine_start(m));
        OK(odd(a, follower) || !is_flipped(m));
        odd_after += odd(a, follower);
        whole_after += !odd(a, follower);
        OK(wait_mended(a, REPLACED_US));
        sim_run(a->sim, SECOND);
        OK(all_equal(a));
        asking_free(a);
    }
    OK(odd_after > 20);
    OK(whole_after > 20);
}

TEST(a_new_leader_replaces_what_its_predecessor_found) {
    for (unsigned delay_ms = 0; delay_ms < 60; delay_ms += 5) {
        struct asking *a = asking_new(1, 3, 21 + delay_ms, ACK_QUORUM);
        unsigned leader = leader_in(a, 0), follower = other_than(leader, leader);
        STATUS_IS(a, set(a, leader, "k", "v"), 200);
        REQUIRE(flip_state(a->sim->machines[follower], "x"));
        REQUIRE(wait_odd(a, follower, true, FOUND_US));
        sim_run(a->sim, delay_ms * MS);
        machine_kill(a->sim->machines[leader]);
        sim_run(a->sim, 2 * SECOND);
        OK(leader_in(a, 0) != follower || !is_flipped(a->sim->machines[follower]));
        REQUIRE(machine_start(a->sim->machines[leader]));
        OK(wait_mended(a, REPLACED_US));
        STATUS_IS(a, set(a, follower, "k", "w"), 200);
        sim_run(a->sim, SECOND);
        OK(all_equal(a));
        asking_free(a);
    }
}

TEST(a_change_of_members_never_rests_on_an_odd_one) {
    for (unsigned delay_ms = 0; delay_ms < 1000; delay_ms += 50) {
        struct asking *a = asking_new(1, 3, 31 + delay_ms, ACK_QUORUM);
        unsigned leader = leader_in(a, 0), follower = other_than(leader, leader);
        unsigned third = other_than(leader, follower);
        STATUS_IS(a, set(a, leader, "k", "v"), 200);
        REQUIRE(flip_state(a->sim->machines[follower], "x"));
        sim_run(a->sim, delay_ms * MS);
        change(a, leader, "leave", third);
        sim_run(a->sim, 5 * SECOND);
        change(a, leader, "join", third);
        sim_run(a->sim, 5 * SECOND);
        OK(!odd(a, leader) && !odd(a, follower) && !odd(a, third));
        STATUS_IS(a, set(a, leader, "k", "w"), 200);
        asking_free(a);
    }
}

static void fill(struct asking *a, unsigned machine, unsigned count) {
    char key[16], value[600];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "fill%u", i);
        set(a, machine, key, value);
    }
}

TEST(one_is_replaced_while_another_takes_its_first_snapshot) {
    struct asking *a = asking_make(1, 3, 23, ACK_QUORUM);
    for (unsigned i = 0; i < 3; i++)
        a->sim->machines[i]->snapshot_log_size = 48 * 1024;
    asking_start(a);
    unsigned leader = leader_in(a, 0), follower = other_than(leader, leader);
    unsigned third = other_than(leader, follower);
    machine_kill(a->sim->machines[third]);
    fill(a, leader, 400);
    REQUIRE(machine_start(a->sim->machines[third]));
    sim_run(a->sim, 200 * MS);
    REQUIRE(flip_state(a->sim->machines[follower], "x"));
    OK(wait_odd(a, follower, true, 3 * FOUND_US));
    OK(wait_mended(a, REPLACED_US));
    sim_run(a->sim, 2 * SECOND);
    STATUS_IS(a, set(a, leader, "k", "w"), 200);
    sim_run(a->sim, SECOND);
    OK(all_equal(a));
    asking_free(a);
}

TESTS(TAP(a_follower_with_another_state_is_found_out_of_service_and_replaced),
      TAP(it_is_found_also_where_nothing_is_written),
      TAP(an_odd_follower_acknowledges_nothing_and_no_write_waits_for_it_alone),
      TAP(a_bit_that_flips_in_memory_is_found_though_nobody_writes_or_reads_it),
      TAP(an_odd_leader_hands_over_and_is_replaced_by_its_successor),
      TAP(of_two_voters_that_differ_both_go_on_and_both_say_so),
      TAP(of_five_voters_two_that_differ_are_replaced), TAP(an_odd_learner_is_replaced),
      TAP(an_odd_node_that_starts_again_serves_nothing_before_it_is_replaced),
      TAP(a_power_cut_at_any_moment_of_its_replacement_leaves_it_odd_or_replaced),
      TAP(a_new_leader_replaces_what_its_predecessor_found),
      TAP(a_change_of_members_never_rests_on_an_odd_one),
      TAP(one_is_replaced_while_another_takes_its_first_snapshot))
