/* A leader's log: what commits, reads, configurations of the log. */
#include "tests/tap.h"
#include "tests/unit/replication/one.h"

TEST(a_record_of_an_earlier_term_is_not_committed_by_counting) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 2, (struct version){0}, 2, 2, 0);
    turn(o);
    win(o);
    uint64_t term = raft_term(o->raft);
    turn(o);
    EQUAL(log_last(o->log), 3);
    receive(o, 2, ack(term, 2, 2, 0));
    receive(o, 3, ack(term, 2, 2, 0));
    EQUAL(raft_commit(o->raft), 0);
    receive(o, 3, ack(term, 3, 3, 0));
    EQUAL(raft_commit(o->raft), 3);
    one_free(o);
}

TEST(what_is_not_durable_counts_for_nothing_neither_here_nor_there) {
    struct configuration c = group_of(3, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft);
    raft_flush(o->raft, o->now_ms);
    OK(sent(o, MESSAGE_APPEND) == 3); /* before its own sync */
    receive(o, 2, ack(term, 1, 1, 0));
    EQUAL(raft_commit(o->raft), 0);
    receive(o, 3, ack(term, 1, 0, 0));
    receive(o, 4, ack(term, 1, 1, 0)); /* a learner */
    EQUAL(raft_commit(o->raft), 0);
    unsigned voters;
    EQUAL(raft_acks(o->raft, 1, &voters), 1);
    EQUAL(voters, 3);
    sync_log(o);
    EQUAL(raft_commit(o->raft), 1);
    EQUAL(raft_acks(o->raft, 1, &voters), 2);
    EQUAL(raft_all_acked(o->raft), 0);
    receive(o, 3, ack(term, 1, 1, 0));
    EQUAL(raft_all_acked(o->raft), 1);
    one_free(o);
}

TEST(a_new_commit_index_goes_out_in_the_next_flush_without_records) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft);
    turn(o);
    receive(o, 3, ack(term, 1, 1, 0));
    forget(o);
    receive(o, 2, ack(term, 1, 1, 0));
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_APPEND), 2);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.commit, 1);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_APPEND), 2);
    one_free(o);
}

TEST(a_read_is_confirmed_by_a_majority_of_answers_to_a_later_round_only) {
    struct configuration c = group_of(3, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft), early = raft_read(o->raft, o->now_ms);
    turn(o);
    receive(o, 2, ack(term, 0, 0, early));
    EQUAL(raft_read_confirmed(o->raft), 0); /* the term's first record is not committed: bug 19 */
    receive(o, 2, ack(term, 1, 1, early));
    EQUAL(raft_read_confirmed(o->raft), early);
    uint64_t read = raft_read(o->raft, o->now_ms);
    OK(read > early);
    receive(o, 2, ack(term, 1, 1, early)); /* the answer to an earlier round: bug 20 */
    receive(o, 3, ack(term, 1, 1, early));
    receive(o, 4, ack(term, 1, 1, read));     /* a learner's */
    receive(o, 3, ack(term - 1, 1, 1, read)); /* of another term */
    OK(raft_read_confirmed(o->raft) < read);
    forget(o);
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND)->append.read, read);
    receive(o, 3, ack(term, 1, 1, read));
    EQUAL(raft_read_confirmed(o->raft), read);
    receive(o, 2, vote_reply(term + 1, false));
    EQUAL(raft_read_confirmed(o->raft), 0);
    EQUAL(raft_read(o->raft, o->now_ms), 0);
    one_free(o);
}

TEST(a_configuration_waits_for_the_terms_first_commit_and_for_the_one_before) {
    struct configuration c = group_of(3, 0, ACK_QUORUM), next = group_of(3, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_NOT_LEADER);
    win(o);
    uint64_t term = raft_term(o->raft);
    turn(o);
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_BUSY);
    receive(o, 2, ack(term, 1, 1, 0));
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_OK);
    EQUAL(raft_configuration(o->raft)->count, 4); /* in force at once */
    EQUAL(raft_propose_configuration(o->raft, &c, true), RAFT_BUSY);
    turn(o);
    receive(o, 2, ack(term, 2, 2, 0));
    EQUAL(raft_propose_configuration(o->raft, &c, true), RAFT_OK);
    one_free(o);
}

TEST(an_overruled_configuration_is_out_of_force) {
    struct configuration c = group_of(3, 0, ACK_QUORUM), next = group_of(3, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft), at;
    turn(o);
    receive(o, 2, ack(term, 1, 1, 0));
    raft_propose_configuration(o->raft, &next, true);
    turn(o);
    receive_records(o, 3, term + 1, (struct version){term, 1}, term + 1, 1, 1);
    turn(o);
    EQUAL(raft_configuration(o->raft)->count, 3);
    EQUAL(raft_configuration_index(o->raft), 0);
    EQUAL(raft_configuration_at(o->raft, 2, &at)->count, 3);
    one_free(o);
}

TEST(the_configuration_before_one_that_may_be_overruled_is_the_last_committed_one) {
    struct configuration c = group_of(3, 0, ACK_QUORUM), next = group_of(3, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft), at;
    turn(o);
    receive(o, 2, ack(term, 1, 1, 0));
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_OK);
    turn(o);
    EQUAL(raft_configuration_committed(o->raft, &at)->count, 3);
    EQUAL(at, 0);
    receive(o, 2, ack(term, 2, 2, 0));
    EQUAL(raft_configuration_committed(o->raft, &at)->count, 4);
    EQUAL(at, 2);
    EQUAL(raft_propose_configuration(o->raft, &c, true), RAFT_OK);
    turn(o);
    EQUAL(raft_configuration_committed(o->raft, &at)->count, 4);
    EQUAL(at, 2);
    one_free(o);
}

TEST(configurations_of_the_log_are_found_again_after_a_restart) {
    struct configuration none = {0}, first = group_of(1, 0, ACK_ALL), second = group_of(1, 1, ACK_ALL);
    struct one *o = one_new(&none);
    raft_found(o->raft, o->now_ms, &first);
    turn(o);
    put(o, 10);
    raft_propose_configuration(o->raft, &second, true);
    put(o, 10);
    turn(o);
    raft_free(o->raft);
    start(o, &none, (struct raft_options){.sync_always = true, .commit = 4});
    EQUAL(raft_configuration(o->raft)->count, 2);
    EQUAL(raft_configuration_index(o->raft), 3);
    uint64_t at;
    EQUAL(raft_configuration_at(o->raft, 2, &at)->count, 1);
    EQUAL(at, 1);
    EQUAL(raft_commit(o->raft), 4);
    one_free(o);
}

TEST(without_sync_a_configuration_and_what_follows_it_count_once_they_are_synced) {
    struct configuration c = group_of(1, 0, ACK_QUORUM), next = group_of(1, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    start(o, &c, (struct raft_options){.sync_always = false});
    win(o);
    put(o, 8);
    raft_flush(o->raft, o->now_ms);
    raft_synced(o->raft, o->now_ms);
    EQUAL(raft_commit(o->raft), 2);
    put(o, 8);
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_OK);
    put(o, 8);
    raft_flush(o->raft, o->now_ms);
    raft_synced(o->raft, o->now_ms);
    EQUAL(raft_commit(o->raft), 3);
    sync_log(o);
    EQUAL(raft_commit(o->raft), 5);
    one_free(o);
}

/* An async leader answers it before that, and counts itself; nobody else is told that it has it. */
TEST(without_sync_what_an_async_leader_has_written_counts_as_its_own_behind_a_configuration_too) {
    struct configuration c = group_of(3, 0, ACK_ASYNC), next = group_of(3, 1, ACK_ASYNC);
    struct one *o = one_new(&c);
    struct member_id self = id_of(1);
    unsigned voters;
    raft_free(o->raft);
    start(o, &c, (struct raft_options){.sync_always = false});
    win(o);
    turn(o);
    receive(o, 2, ack(raft_term(o->raft), 1, 1, 0));
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_OK);
    put(o, 8);
    EQUAL(raft_acks(o->raft, 3, &voters), 0);
    raft_flush(o->raft, o->now_ms);
    EQUAL(raft_acks(o->raft, 3, &voters), 1);
    EQUAL(voters, 3);
    EQUAL(raft_match_durable(o->raft, &self), 1);
    EQUAL(raft_all_acked(o->raft), 0);
    one_free(o);
}

/* It may have truncated that since: commits with two of five would follow. */
TEST(what_was_acknowledged_to_an_earlier_leadership_is_asked_again) {
    struct configuration c = group_of(5, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    struct member_id two = id_of(2);
    unsigned voters;
    win(o);
    turn(o);
    uint64_t term = raft_term(o->raft);
    put(o, 10);
    put(o, 10);
    o->now_ms += 5; /* they no longer wait for the batch before */
    turn(o);
    receive(o, 2, ack(term, 3, 3, 0));
    EQUAL(raft_match(o->raft, &two), 3);
    EQUAL(raft_acks(o->raft, 3, &voters), 2);
    receive(o, 3, heartbeat(term + 1, (struct version){0}, 0)); /* another leads in between */
    EQUAL(raft_role(o->raft), RAFT_FOLLOWER);
    turn(o);
    win(o);
    turn(o);
    EQUAL(raft_match(o->raft, &two), 0);
    EQUAL(raft_acks(o->raft, 3, &voters), 1);
    receive(o, 2, ack(term, 3, 3, 0)); /* late */
    EQUAL(raft_acks(o->raft, 3, &voters), 1);
    one_free(o);
}

TESTS(TAP(what_was_acknowledged_to_an_earlier_leadership_is_asked_again),
      TAP(a_record_of_an_earlier_term_is_not_committed_by_counting),
      TAP(what_is_not_durable_counts_for_nothing_neither_here_nor_there),
      TAP(a_new_commit_index_goes_out_in_the_next_flush_without_records),
      TAP(a_read_is_confirmed_by_a_majority_of_answers_to_a_later_round_only),
      TAP(a_configuration_waits_for_the_terms_first_commit_and_for_the_one_before),
      TAP(an_overruled_configuration_is_out_of_force),
      TAP(the_configuration_before_one_that_may_be_overruled_is_the_last_committed_one),
      TAP(configurations_of_the_log_are_found_again_after_a_restart),
      TAP(without_sync_what_an_async_leader_has_written_counts_as_its_own_behind_a_configuration_too),
      TAP(without_sync_a_configuration_and_what_follows_it_count_once_they_are_synced))
