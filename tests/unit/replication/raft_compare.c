/* Comparing states: who is odd, what counts of it, and what it does until it has a copy. */
#include "tests/tap.h"
#include "tests/unit/replication/one.h"

#define RIGHT 7
#define WRONG 8

/* Leader of a group, with its first record committed and everybody's acknowledgement. */
static struct one *comparing_leader(unsigned voters, unsigned learners) {
    struct configuration c = group_of(voters, learners, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    o->compares = true;
    o->digest = RIGHT;
    start(o, &c, (struct raft_options){.sync_always = true});
    win(o);
    turn(o);
    for (unsigned from = 2; from <= voters + learners; from++)
        receive(o, from, ack(raft_term(o->raft), log_last(o->log), log_last(o->log), 0));
    assert(raft_term_committed(o->raft));
    return o;
}

static void later(struct one *o, uint64_t ms, unsigned members) {
    for (uint64_t end = o->now_ms + ms; o->now_ms < end && raft_role(o->raft) == RAFT_LEADER;) {
        o->now_ms += 50;
        for (unsigned from = 2; from <= members; from++)
            receive(o, from, ack(raft_term(o->raft), 0, 0, 0));
        raft_tick(o->raft, o->now_ms);
        turn(o);
    }
}

/* As an acknowledgement up to `durable` tells it. */
static void says_with(struct one *o, unsigned from, uint64_t durable, uint64_t index, uint64_t digest) {
    struct message m = ack(raft_term(o->raft), durable, durable, 0);
    m.append_reply.compared = index;
    m.append_reply.digest = digest;
    receive(o, from, m);
}

static void says(struct one *o, unsigned from, uint64_t index, uint64_t digest) {
    says_with(o, from, log_last(o->log), index, digest);
}

static bool is_odd(const struct one *o, unsigned number) {
    struct member_id id = id_of(number);
    return raft_member_odd(o->raft, &id);
}

/* The index that its newest append asks about. */
static uint64_t asked(const struct one *o, unsigned to) {
    return last_sent(o, to, MESSAGE_APPEND)->append.compare;
}

TEST(the_one_that_differs_from_a_majority_counts_for_nothing_from_then_on) {
    struct one *o = comparing_leader(3, 0);
    later(o, 600, 3);
    uint64_t index = asked(o, 2);
    OK(index > 0);
    says(o, 2, index, RIGHT);
    OK(!is_odd(o, 2) && !is_odd(o, 3));
    says(o, 3, index, WRONG);
    OK(is_odd(o, 3));
    OK(!is_odd(o, 2) && !raft_odd(o->raft));
    turn(o);
    uint64_t commit = raft_commit(o->raft);
    put(o, 1);
    turn(o);
    receive(o, 3, ack(raft_term(o->raft), log_last(o->log), log_last(o->log), 0));
    turn(o);
    EQUAL(raft_commit(o->raft), commit);
    uint64_t read = raft_read(o->raft, o->now_ms);
    receive(o, 3, ack(raft_term(o->raft), log_last(o->log), log_last(o->log), read));
    OK(raft_read_confirmed(o->raft) < read);
    unsigned voters;
    EQUAL(raft_acks(o->raft, log_last(o->log), &voters), 1);
    struct member_id three = id_of(3);
    OK(!raft_transfer(o->raft, o->now_ms, &three));
    receive(o, 2, ack(raft_term(o->raft), log_last(o->log), log_last(o->log), read));
    EQUAL(raft_commit(o->raft), log_last(o->log));
    EQUAL(raft_read_confirmed(o->raft), read);
    one_free(o);
}

TEST(its_copy_reaches_the_log_s_end_and_waits_until_the_leader_s_own_state_is_confirmed) {
    struct one *o = comparing_leader(3, 0);
    later(o, 600, 3);
    uint64_t index = asked(o, 2);
    put(o, 1); /* acknowledged by nobody yet */
    turn(o);
    uint64_t end = log_last(o->log);
    says_with(o, 2, index, index, RIGHT);
    says_with(o, 3, index, index, WRONG);
    REQUIRE(is_odd(o, 3));
    OK(raft_commit(o->raft) < end);
    receive(o, 2, ack(raft_term(o->raft), end, end, 0));
    o->snapshot_index = end;
    forget(o);
    later(o, 600, 2);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 0);
    o->snapshot_index = end - 1;
    says(o, 2, asked(o, 2), RIGHT);
    later(o, 200, 2);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 0);
    EQUAL(o->needed, end);
    o->snapshot_index = end;
    later(o, 200, 2);
    OK(sent(o, MESSAGE_SNAPSHOT) > 0);
    uint64_t number = last_sent(o, 3, MESSAGE_SNAPSHOT)->snapshot.odd;
    EQUAL(number, last_sent(o, 3, MESSAGE_APPEND)->append.odd);
    OK(number != 0);
    struct message done = {.type = MESSAGE_SNAPSHOT_REPLY, .term = raft_term(o->raft)};
    done.snapshot_reply.at = last_sent(o, 3, MESSAGE_SNAPSHOT)->snapshot.at;
    done.snapshot_reply.installed = true;
    receive(o, 3, done); /* of no mark */
    OK(is_odd(o, 3));
    done.snapshot_reply.odd = number;
    receive(o, 3, done);
    OK(!is_odd(o, 3));
    struct member_id three = id_of(3);
    EQUAL(raft_match_durable(o->raft, &three), end);
    one_free(o);
}

TEST(a_leader_that_differs_from_a_majority_serves_nothing_and_hands_over_to_one_of_it) {
    struct one *o = comparing_leader(5, 0);
    o->digest = WRONG;
    later(o, 600, 5);
    uint64_t index = asked(o, 2);
    says(o, 2, index, 9); /* another odd one */
    says(o, 3, index, RIGHT);
    says(o, 4, index, RIGHT);
    OK(!raft_odd(o->raft));
    says(o, 5, index, RIGHT);
    OK(raft_odd(o->raft));
    OK(is_odd(o, 2));
    EQUAL(o->odd, 1);
    struct version at;
    struct entry entry = {.key = bytes_of("k"), .value = bytes_of("v")};
    struct configuration next = group_of(5, 1, ACK_QUORUM);
    EQUAL(raft_propose(o->raft, ENTRY_PUT, &entry, &at), RAFT_TRANSFERRING);
    EQUAL(raft_propose_payload(o->raft, ENTRY_RING, bytes_of("r"), &at), RAFT_TRANSFERRING);
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_TRANSFERRING);
    forget(o);
    later(o, 100, 5);
    OK(sent(o, MESSAGE_TIMEOUT_NOW) > 0);
    EQUAL(last_sent(o, 2, MESSAGE_TIMEOUT_NOW)->term, 0);
    one_free(o);
}

TEST(of_two_voters_that_differ_none_is_odd_and_both_are_told) {
    struct one *o = comparing_leader(2, 1);
    later(o, 600, 3);
    says(o, 3, asked(o, 2), RIGHT); /* a learner decides nothing */
    says(o, 2, asked(o, 2), WRONG);
    OK(!is_odd(o, 2) && !raft_odd(o->raft) && raft_unequal(o->raft));
    EQUAL(raft_comparison(o->raft)->unequal_index, asked(o, 2));
    later(o, 600, 3);
    OK(last_sent(o, 2, MESSAGE_APPEND)->append.unequal);
    says(o, 2, asked(o, 2), RIGHT);
    OK(!raft_unequal(o->raft));
    says(o, 2, asked(o, 2), WRONG); /* late */
    OK(!is_odd(o, 2) && !raft_odd(o->raft) && raft_unequal(o->raft));
    one_free(o);
}

TEST(a_late_answer_is_judged_by_what_its_round_agreed_on) {
    struct one *o = comparing_leader(3, 0);
    later(o, 600, 3);
    uint64_t index = asked(o, 2);
    says(o, 2, index, RIGHT);
    for (unsigned i = 0; i < 5; i++) {
        put(o, 1);
        turn(o);
        receive(o, 2, ack(raft_term(o->raft), log_last(o->log), log_last(o->log), 0));
        for (unsigned part = 0; part < 5; part++) {
            forget(o);
            later(o, 550, 3);
        }
        says(o, 2, asked(o, 2), RIGHT);
    }
    OK(asked(o, 2) > index);
    says(o, 3, index, RIGHT);
    OK(!is_odd(o, 3));
    says(o, 3, index, WRONG);
    OK(is_odd(o, 3));
    one_free(o);
}

TEST(a_voter_is_not_given_up_where_no_majority_would_be_left) {
    struct one *o = comparing_leader(3, 0);
    later(o, 600, 3);
    says(o, 2, asked(o, 2), RIGHT);
    says(o, 3, asked(o, 2), WRONG);
    REQUIRE(is_odd(o, 3));
    says(o, 2, asked(o, 2), 9);
    OK(!is_odd(o, 2));
    one_free(o);
}

static void calls_itself_odd(struct one *o, unsigned from, uint64_t index, uint64_t digest) {
    struct message m = ack(raft_term(o->raft), log_last(o->log), log_last(o->log), 0);
    m.append_reply.odd = UINT64_MAX;
    m.append_reply.compared = index;
    m.append_reply.digest = digest;
    receive(o, from, m);
}

TEST(one_that_calls_itself_odd_is_compared_and_told_that_it_agrees) {
    struct one *o = comparing_leader(3, 0);
    struct member_id three = id_of(3);
    later(o, 600, 2);
    uint64_t index = asked(o, 2);
    calls_itself_odd(o, 3, 0, 0);
    OK(!is_odd(o, 3));
    OK(!raft_transfer(o->raft, o->now_ms, &three));
    OK(!raft_answered(o->raft, &three, 0));
    later(o, 100, 2);
    OK(!last_sent(o, 3, MESSAGE_APPEND)->append.agrees);
    calls_itself_odd(o, 3, index, RIGHT);
    later(o, 100, 2);
    OK(!is_odd(o, 3));
    OK(last_sent(o, 3, MESSAGE_APPEND)->append.agrees);
    says(o, 3, index, RIGHT);
    OK(raft_answered(o->raft, &three, 0));
    one_free(o);
}

TEST(one_that_calls_itself_odd_and_is_gets_a_copy_that_covers_what_it_acknowledged) {
    struct one *o = comparing_leader(3, 0);
    later(o, 600, 2);
    uint64_t index = asked(o, 2);
    put(o, 1);
    turn(o);
    uint64_t end = log_last(o->log);
    calls_itself_odd(o, 3, 0, 0); /* its log is as good as any */
    EQUAL(raft_commit(o->raft), end);
    says(o, 2, index, RIGHT);
    calls_itself_odd(o, 3, index, WRONG);
    OK(is_odd(o, 3));
    o->snapshot_index = end - 1;
    later(o, 700, 2);
    says(o, 2, asked(o, 2), RIGHT);
    later(o, 200, 2);
    EQUAL(o->needed, end);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 0);
    one_free(o);
}

TEST(one_that_calls_itself_odd_and_cannot_be_compared_is_believed) {
    struct one *o = comparing_leader(3, 0);
    for (unsigned i = 0; i < 60 && !is_odd(o, 3); i++) {
        later(o, 50, 2);
        calls_itself_odd(o, 3, 0, 0);
        says(o, 2, asked(o, 2), RIGHT);
    }
    OK(is_odd(o, 3));
    one_free(o);
}

TEST(an_odd_leader_that_agrees_with_a_majority_serves_again) {
    struct one *o = comparing_leader(3, 0);
    o->digest = WRONG;
    later(o, 600, 3);
    says(o, 2, asked(o, 2), RIGHT);
    says(o, 3, asked(o, 2), RIGHT);
    REQUIRE(raft_odd(o->raft));
    o->digest = RIGHT;
    later(o, 600, 3);
    calls_itself_odd(o, 2, asked(o, 2), RIGHT);
    OK(!raft_odd(o->raft));
    EQUAL(o->not_odd, 1);
    one_free(o);
}

/* ---- the odd one ---- */

static struct one *comparing_follower(bool odd) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    o->compares = true;
    o->digest = RIGHT;
    o->chunk_ok = true;
    start(o, &c, (struct raft_options){.sync_always = true, .odd = odd});
    struct foreign f;
    struct message m = records(&f, 3, (struct version){0}, 3, 5, 5);
    receive(o, 2, m);
    foreign_free(&f);
    turn(o);
    forget(o);
    return o;
}

static struct message marked(uint64_t number) {
    struct message m = heartbeat(3, (struct version){3, 5}, 5);
    m.append.odd = number;
    return m;
}

static struct message chunk(uint64_t number, uint64_t index, uint64_t offset) {
    static const uint8_t bytes[10];
    struct message m = {.type = MESSAGE_SNAPSHOT, .term = 3};
    m.snapshot.at = (struct version){3, index};
    m.snapshot.offset = offset;
    m.snapshot.total = 20;
    m.snapshot.odd = number;
    m.snapshot.chunk = (struct bytes){bytes, sizeof bytes};
    return m;
}

TEST(a_follower_answers_with_its_digest_where_its_log_is_the_leader_s) {
    struct one *o = comparing_follower(false);
    struct message m = heartbeat(3, (struct version){3, 5}, 5);
    m.append.compare = 5;
    receive(o, 2, m);
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.compared, 5);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.digest, RIGHT);
    m.append.compare = 6; /* it does not have that */
    receive(o, 2, m);
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.compared, 0);
    one_free(o);
}

TEST(a_mark_is_kept_and_ends_with_the_snapshot_that_bears_it) {
    struct one *o = comparing_follower(false);
    receive(o, 2, marked(1));
    turn(o);
    OK(raft_odd(o->raft));
    EQUAL(o->odd, 1);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.odd, 1);
    receive(o, 2, chunk(0, 5, 0)); /* of no mark: its log has that, and it stays odd */
    OK(raft_odd(o->raft));
    receive(o, 2, chunk(1, 4, 0)); /* less than is committed */
    EQUAL(sent(o, MESSAGE_SNAPSHOT_REPLY), 0);
    receive(o, 2, chunk(1, 5, 0));
    OK(raft_odd(o->raft));
    OK(!last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.installed);
    receive(o, 2, chunk(1, 5, 10));
    OK(!raft_odd(o->raft));
    EQUAL(o->not_odd, 1);
    OK(last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.installed);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.odd, 1);
    receive(o, 2, marked(1)); /* late */
    OK(!raft_odd(o->raft));
    forget(o);
    receive(o, 2, chunk(1, 5, 0)); /* likewise */
    OK(last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.installed);
    OK(!raft_odd(o->raft));
    receive(o, 2, marked(2));
    OK(raft_odd(o->raft));
    one_free(o);
}

TEST(a_mark_ends_with_the_leader_s_word_that_the_states_agree) {
    struct one *o = comparing_follower(true);
    struct message m = heartbeat(3, (struct version){3, 5}, 5);
    m.append.compare = 5;
    receive(o, 2, m);
    turn(o);
    OK(raft_odd(o->raft));
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.odd, UINT64_MAX);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.compared, 5);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.digest, RIGHT);
    m.append.agrees = true;
    receive(o, 2, m);
    OK(!raft_odd(o->raft));
    EQUAL(o->not_odd, 1);
    receive(o, 2, marked(1)); /* the leader finds it so all the same */
    OK(raft_odd(o->raft));
    m.append.odd = 1;
    receive(o, 2, m);
    OK(raft_odd(o->raft));
    one_free(o);
}

TEST(a_question_about_what_never_comes_holds_up_no_other) {
    struct one *o = comparing_follower(false);
    struct message m = heartbeat(3, (struct version){3, 5}, 5);
    m.append.compare = MESSAGE_INDEX_MAX;
    receive(o, 2, m);
    turn(o);
    m.append.compare = 5;
    receive(o, 2, m);
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.compared, 5);
    one_free(o);
}

TEST(an_odd_node_votes_and_stands_only_where_nobody_else_has) {
    struct one *o = comparing_follower(true);
    OK(raft_odd(o->raft));
    receive(o, 2, heartbeat(3, (struct version){3, 5}, 5));
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.odd, UINT64_MAX);
    forget(o);
    o->now_ms += 1900;
    raft_tick(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_VOTE), 0);
    receive(o, 2, (struct message){.type = MESSAGE_TIMEOUT_NOW, .term = 3});
    EQUAL(sent(o, MESSAGE_VOTE), 0);
    receive(o, 3, vote(4, (struct version){3, 4})); /* a worse log than its own */
    OK(!last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    receive(o, 3, vote(4, (struct version){3, 5}));
    OK(last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    forget(o);
    o->now_ms += 1000;
    raft_tick(o->raft, o->now_ms);
    OK(sent(o, MESSAGE_VOTE) > 0);
    one_free(o);
}

TESTS(TAP(the_one_that_differs_from_a_majority_counts_for_nothing_from_then_on),
      TAP(its_copy_reaches_the_log_s_end_and_waits_until_the_leader_s_own_state_is_confirmed),
      TAP(a_leader_that_differs_from_a_majority_serves_nothing_and_hands_over_to_one_of_it),
      TAP(of_two_voters_that_differ_none_is_odd_and_both_are_told),
      TAP(a_late_answer_is_judged_by_what_its_round_agreed_on),
      TAP(a_voter_is_not_given_up_where_no_majority_would_be_left),
      TAP(one_that_calls_itself_odd_is_compared_and_told_that_it_agrees),
      TAP(one_that_calls_itself_odd_and_is_gets_a_copy_that_covers_what_it_acknowledged),
      TAP(one_that_calls_itself_odd_and_cannot_be_compared_is_believed),
      TAP(an_odd_leader_that_agrees_with_a_majority_serves_again),
      TAP(a_follower_answers_with_its_digest_where_its_log_is_the_leader_s),
      TAP(a_mark_is_kept_and_ends_with_the_snapshot_that_bears_it),
      TAP(a_mark_ends_with_the_leader_s_word_that_the_states_agree),
      TAP(a_question_about_what_never_comes_holds_up_no_other),
      TAP(an_odd_node_votes_and_stands_only_where_nobody_else_has))
