/* Changes of members under failures, with whole nodes: who is told that it left, and what a group lives
 * through while it changes. */
#include "tests/unit/sim/asking.h"

/* Runs until the group's leader lists that many members. */
static bool wait_members(struct asking *a, unsigned leader, size_t count) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end;) {
        if (raft_configuration(raft_at(a, leader))->count == count)
            return true;
        if (!sim_step(a->sim))
            break;
    }
    return false;
}

static bool wait_role(struct asking *a, unsigned machine, enum node_role role) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end; sim_run(a->sim, 50 * MS))
        if (node_self(a->sim->machines[machine]->node)->role == role)
            return true;
    return false;
}

static void cut(struct asking *a, unsigned machine, bool is) {
    for (unsigned i = 0; i < a->sim->options.machines; i++)
        if (i != machine)
            a->sim->blocked[i][machine] = a->sim->blocked[machine][i] = is;
}

static bool wait_adopted(struct asking *a, unsigned machine) {
    for (uint64_t end = a->sim->now_us + 10 * SECOND; a->sim->now_us < end && sim_step(a->sim);)
        if (node_self(a->sim->machines[machine]->node)->group_id != 0)
            return true;
    return false;
}

/* Node 1 is added and leaves again, having heard nothing of it, or no more than whom it joins. */
static void leaves_before_its_first_record(struct tap *tap, bool adopted, bool restarted) {
    struct asking *a = asking_make(1, 2, 3, ACK_QUORUM);
    struct machine *second = a->sim->machines[1];
    uint8_t id[NODE_ID_SIZE];
    REQUIRE(machine_start(a->sim->machines[0]) && machine_start(second));
    REQUIRE(wait_members(a, 0, 2));
    memcpy(id, node_self(second->node)->id, NODE_ID_SIZE);
    if (adopted)
        REQUIRE(wait_adopted(a, 1));
    else
        cut(a, 1, true);
    if (restarted)
        machine_kill(second);
    sim_run(a->sim, 20 * MS);
    struct buffer request = {0};
    struct address address = network_peer_address(1);
    request_members(&request, "leave", id, &address);
    STATUS_IS(a, ask(a, 0, &request), 200);
    cut(a, 1, false);
    if (restarted)
        REQUIRE(machine_start(second));
    EQUAL(raft_configuration(raft_at(a, 1))->count, 0);
    OK(wait_role(a, 1, NODE_REMOVED));
    STATUS_IS(a, get(a, 1, "k", false), 503);
    TEXT_EQUAL(a->error, "removed");
    sim_run(a->sim, 5 * SECOND);
    EQUAL(raft_configuration(raft_at(a, 0))->count, 1); /* it does not come back by itself */
    STATUS_IS(a, change(a, 0, "join", 1), 200);
    OK(wait_role(a, 1, NODE_FOLLOWER));
    STATUS_IS(a, set(a, 1, "k", "v"), 200);
    asking_free(a);
}

TEST(a_node_that_left_before_it_was_adopted_is_told_and_comes_back_by_hand) {
    leaves_before_its_first_record(tap, false, false);
}

TEST(a_node_that_left_before_its_first_record_and_has_started_again_since_is_told_too) {
    leaves_before_its_first_record(tap, true, true);
    leaves_before_its_first_record(tap, false, true);
}

TESTS(TAP(a_node_that_left_before_it_was_adopted_is_told_and_comes_back_by_hand),
      TAP(a_node_that_left_before_its_first_record_and_has_started_again_since_is_told_too))
