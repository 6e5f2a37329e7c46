/* What the coordinator refuses a request with, in whole sentences, where other tests look at the error alone.
 */
#include "tests/unit/sim/asking.h"

#define REQUEST(line, headers) line " HTTP/1.1\r\nHost: localhost\r\n" headers "\r\n"

/* The last answer has this status and error, and says all of this. */
static void is_refused(struct tap *tap, const struct asking *a, unsigned status, const char *error,
                       const char *message) {
    char text[256];
    snprintf(text, sizeof text, "\"error\":\"%s\",\"message\":\"%s\",\"fix\":\"", error, message);
    if (!OK(a->status == status && strstr(a->body, text) != NULL))
        printf("# wanted %u %s, not %u %s\n", status, text, a->status, a->body);
}

TEST(an_acknowledgement_weaker_than_the_groups_is_refused_with_why) {
    struct asking *a = asking_new(1, 1, 1, ACK_QUORUM);
    ask_text(a, 0, REQUEST("DELETE /delete?key=k&ack=async", ""));
    is_refused(tap, a, 400, "weaker_ack",
               "the group's own mode acknowledges more strongly than ?ack asks for");
    asking_free(a);
}

TEST(a_read_after_a_position_that_does_not_come_is_told_so_at_its_deadline) {
    struct asking *a = asking_new(1, 1, 1, ACK_ASYNC);
    for (unsigned again = 0; again < 2; again++) {
        ask_text(a, 0, REQUEST("GET /get?key=k", "KV-After: 0:1.900\r\n"));
        is_refused(tap, a, 504, "deadline",
                   "the position in KV-After was not applied here before the deadline");
    }
    ask_text(a, 0, REQUEST("GET /get?key=k", "KV-After: 7:1.1\r\n"));
    is_refused(tap, a, 400, "bad_parameter", "KV-After names a position of another group than the read's");
    asking_free(a);
}

TEST(a_learner_is_not_made_leader) {
    struct asking *a = asking_make(1, 2, 1, ACK_ASYNC);
    a->sim->options.voters_max = 1;
    asking_start(a);
    change(a, 0, "transfer", 1);
    is_refused(tap, a, 409, "member_refused", "a learner cannot lead");
    asking_free(a);
}

/* The others run, and answer nothing: their connections stay. */
TEST(a_read_that_no_majority_confirms_is_told_so_at_its_deadline) {
    struct asking *a = asking_new(1, 3, 1, ACK_ASYNC);
    unsigned leader = leader_in(a, 0);
    for (unsigned i = 0; i < 3; i++)
        a->sim->blocked[i][leader] = i != leader;
    get(a, leader, "k", true);
    is_refused(tap, a, 503, "no_majority", "no majority confirmed the read before the deadline");
    asking_free(a);
}

TEST(a_key_of_a_group_that_cannot_be_reached_is_told_which_one) {
    struct asking *a = asking_new(2, 1, 1, ACK_ASYNC);
    char key[16];
    unsigned i = 0;
    machine_kill(a->sim->machines[1]);
    do
        snprintf(key, sizeof key, "k%u", i++);
    while (i < 20 && set(a, 0, key, "v") == 200);
    is_refused(tap, a, 503, "group_unreachable",
               "group 1 owns the key and cannot be reached; its keys stay with it");
    asking_free(a);
}

TESTS(TAP(an_acknowledgement_weaker_than_the_groups_is_refused_with_why),
      TAP(a_read_after_a_position_that_does_not_come_is_told_so_at_its_deadline),
      TAP(a_learner_is_not_made_leader), TAP(a_read_that_no_majority_confirms_is_told_so_at_its_deadline),
      TAP(a_key_of_a_group_that_cannot_be_reached_is_told_which_one))
