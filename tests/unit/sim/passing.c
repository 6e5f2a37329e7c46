/* Requests that are passed on to another node, which hangs, falls behind or has lost the lead meanwhile. */
#include "tests/unit/sim/asking.h"

/* Two groups of four, three of which vote: key "c" is group 1's (tests/unit/sharding/ring.c). */
#define OF_GROUP_1 "c"

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

TESTS(TAP(a_default_read_for_a_group_without_a_leader_is_answered_by_whichever_of_its_nodes_can))
