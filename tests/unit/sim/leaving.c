/* Requests about members, and members that go, as clients see it. */
#include "tests/unit/sim/asking.h"

static unsigned change(struct asking *a, unsigned through, const char *what, unsigned about) {
    struct buffer request = {0};
    request_members(&request, what, node_self(a->sim->machines[about]->node)->id, NULL);
    return ask(a, through, &request);
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

TESTS(TAP(a_leader_that_nobody_can_succeed_is_refused_to_leave_and_goes_on_taking_writes))
