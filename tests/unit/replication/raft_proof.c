/* What proves to a follower how old its state is (KV-Staleness-Ms). */
#include "tests/tap.h"
#include "tests/unit/replication/one.h"

static void answer(struct one *o, unsigned from, uint64_t read, uint64_t asked) {
    struct message m = ack(raft_term(o->raft), log_last(o->log), log_last(o->log), read);
    m.append_reply.asked = asked;
    receive(o, from, m);
}

/* Heartbeats go out; what node 2 gets back with them. */
static struct proof beat(struct one *o) {
    o->now_ms += 50;
    raft_tick(o->raft, o->now_ms);
    turn(o);
    return last_sent(o, 2, MESSAGE_APPEND)->append.echo;
}

static struct one *leader(struct configuration c) {
    struct one *o = one_new(&c);
    win(o);
    turn(o);
    return o;
}

TEST(a_time_is_echoed_once_a_majority_answered_a_round_that_began_after_it_came) {
    struct one *o = leader(group_of(3, 1, ACK_QUORUM));
    answer(o, 2, 0, 111);
    EQUAL(beat(o).asked, 0); /* this is the round's beginning */
    uint64_t round = last_sent(o, 2, MESSAGE_APPEND)->append.read;
    answer(o, 4, round, 5); /* a learner proves nothing */
    EQUAL(beat(o).asked, 0);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.read, round); /* that round is still under way */
    answer(o, 2, round, 222);
    struct proof echo = beat(o);
    EQUAL(echo.asked, 111);
    EQUAL(echo.index, raft_commit(o->raft));
    OK(last_sent(o, 2, MESSAGE_APPEND)->append.read > round);
    answer(o, 3, round, 7); /* an old round's answer */
    EQUAL(beat(o).asked, 111);
    answer(o, 3, round + 1, 7);
    EQUAL(beat(o).asked, 222);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND)->append.echo.asked, 0);
    EQUAL(last_sent(o, 4, MESSAGE_APPEND)->append.echo.asked, 5);
    one_free(o);
}

TEST(nothing_is_proven_before_the_terms_first_record_is_committed) {
    struct one *o = leader(group_of(3, 0, ACK_QUORUM));
    struct message m = ack(raft_term(o->raft), 0, 0, 0);
    for (unsigned i = 0; i < 4; i++) {
        m.append_reply.asked = 100 + i;
        m.append_reply.read = last_sent(o, 2, MESSAGE_APPEND)->append.read;
        receive(o, 2, m);
        EQUAL(beat(o).asked, 0);
    }
    answer(o, 2, last_sent(o, 2, MESSAGE_APPEND)->append.read, 200);
    EQUAL(beat(o).asked,
          0); /* what was committed before it was not known when a round before this one began */
    answer(o, 2, last_sent(o, 2, MESSAGE_APPEND)->append.read, 201);
    struct proof echo = beat(o);
    EQUAL(echo.asked, 200);
    EQUAL(echo.index, 1);
    one_free(o);
}

TEST(in_an_async_group_a_proof_is_of_what_was_answered) {
    struct one *o = leader(group_of(3, 0, ACK_ASYNC));
    struct version at;
    answer(o, 2, 0, 111);
    struct entry entry = {.key = bytes_of("k"), .value = bytes_of("v")};
    EQUAL(raft_propose(o->raft, ENTRY_PUT, &entry, &at), RAFT_OK);
    turn(o);
    OK(raft_commit(o->raft) < at.index);
    beat(o);
    struct message m = ack(raft_term(o->raft), 1, 1, last_sent(o, 2, MESSAGE_APPEND)->append.read);
    receive(o, 2, m);
    struct proof echo = beat(o);
    EQUAL(echo.asked, 111);
    EQUAL(echo.index, at.index);
    one_free(o);
}

TEST(without_sync_that_is_what_was_written_behind_a_configuration_too) {
    struct configuration c = group_of(3, 0, ACK_ASYNC), next = group_of(3, 1, ACK_ASYNC);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    start(o, &c, (struct raft_options){.sync_always = false});
    win(o);
    turn(o);
    answer(o, 2, 0, 111);
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_OK);
    put(o, 8);
    raft_flush(o->raft, o->now_ms);
    o->now_ms += 50;
    raft_tick(o->raft, o->now_ms);
    receive(o, 2, ack(raft_term(o->raft), 1, 1, last_sent(o, 2, MESSAGE_APPEND)->append.read));
    o->now_ms += 50;
    raft_tick(o->raft, o->now_ms);
    struct proof echo = last_sent(o, 2, MESSAGE_APPEND)->append.echo;
    EQUAL(echo.asked, 111);
    EQUAL(echo.index, log_last(o->log));
    one_free(o);
}

static struct message echoing(uint64_t term, uint64_t commit, struct proof echo) {
    struct message m = heartbeat(term, (struct version){1, 3}, commit);
    m.append.echo = echo;
    return m;
}

static uint64_t asked_of(struct one *o, unsigned leader) {
    return last_sent(o, leader, MESSAGE_APPEND_REPLY)->append_reply.asked;
}

static uint64_t asked(struct one *o) {
    return asked_of(o, 2);
}

TEST(a_follower_is_current_as_of_its_own_question_where_its_commit_reached_the_index) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    uint64_t index, begin = o->now_ms;
    receive_records(o, 2, 1, (struct version){0}, 1, 3, 0);
    turn(o);
    uint64_t first = asked(o);
    EQUAL(raft_proven_ms(o->raft, &index), 0);
    o->now_ms += 40;
    receive(o, 2, echoing(1, 1, (struct proof){first, 2}));
    turn(o);
    uint64_t second = asked(o);
    EQUAL(raft_proven_ms(o->raft, &index), 0); /* it lacks index 2 */
    o->now_ms += 40;
    receive(o, 2, echoing(1, 1, (struct proof){second, 3}));
    turn(o);
    uint64_t third = asked(o);
    o->now_ms += 40;
    receive(o, 2, echoing(1, 1, (struct proof){third, 4}));
    EQUAL(raft_proven_ms(o->raft, &index), 0);
    receive(o, 2, echoing(1, 2, (struct proof){third, 4})); /* the oldest is waited for */
    EQUAL(raft_proven_ms(o->raft, &index), begin);
    EQUAL(index, 2);
    receive(o, 2, echoing(1, 3, (struct proof){second, 3}));
    EQUAL(raft_proven_ms(o->raft, &index), begin); /* a later one took its place */
    receive_records(o, 2, 1, (struct version){1, 3}, 1, 1, 4);
    EQUAL(raft_proven_ms(o->raft, &index), begin + 80);
    EQUAL(index, 4);
    one_free(o);
}

TEST(an_index_that_an_earlier_leader_named_is_not_waited_for_any_more) {
    struct configuration c = group_of(3, 0, ACK_ASYNC);
    const uint64_t far[] = {5000, MESSAGE_INDEX_MAX};
    for (unsigned i = 0; i < 6; i++) {
        unsigned how = i / 2;
        struct one *o = one_new(&c);
        uint64_t index;
        unsigned first = how == 0 ? 9 : 3, next = how == 0 ? 2 : 3; /* 9 is no member */
        receive_records(o, first, 1, (struct version){0}, 1, 3, 3);
        turn(o);
        receive(o, first, echoing(1, far[i % 2], (struct proof){asked_of(o, first), far[i % 2]}));
        EQUAL(raft_leader_commit(o->raft), far[i % 2]);
        o->now_ms += 600;
        if (how == 2) { /* this node asks for votes in the next term, and the same one wins them */
            raft_tick(o->raft, o->now_ms);
            receive(o, 2, vote_reply(2, true));
            EQUAL(raft_term(o->raft), 2);
        }
        uint64_t term = how == 0 ? 1 : 2;
        receive(o, next, heartbeat(term, (struct version){1, 3}, 3));
        turn(o);
        EQUAL(raft_leader_commit(o->raft), 3);
        uint64_t begin = o->now_ms;
        struct message m = echoing(term, 3, (struct proof){asked_of(o, next), 3});
        o->now_ms += 40;
        receive(o, next, m);
        EQUAL(raft_proven_ms(o->raft, &index), begin);
        EQUAL(index, 3);
        one_free(o);
    }
}

TEST(an_echo_of_what_this_run_never_asked_proves_nothing) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    uint64_t index;
    receive_records(o, 2, 1, (struct version){0}, 1, 3, 3);
    turn(o);
    uint64_t mine = asked(o), wrong[] = {0, 1, o->now_ms, mine - 1, mine + 1, mine + 1000, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        receive(o, 2, echoing(1, 3, (struct proof){wrong[i], 0}));
        EQUAL(raft_proven_ms(o->raft, &index), 0);
    }
    receive(o, 2, echoing(1, 3, (struct proof){mine, 3}));
    EQUAL(raft_proven_ms(o->raft, &index), o->now_ms);
    one_free(o);
}

TESTS(TAP(a_time_is_echoed_once_a_majority_answered_a_round_that_began_after_it_came),
      TAP(nothing_is_proven_before_the_terms_first_record_is_committed),
      TAP(in_an_async_group_a_proof_is_of_what_was_answered),
      TAP(without_sync_that_is_what_was_written_behind_a_configuration_too),
      TAP(a_follower_is_current_as_of_its_own_question_where_its_commit_reached_the_index),
      TAP(an_index_that_an_earlier_leader_named_is_not_waited_for_any_more),
      TAP(an_echo_of_what_this_run_never_asked_proves_nothing))
