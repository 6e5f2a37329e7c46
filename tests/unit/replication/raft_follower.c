/* A follower's answers to appends: what it takes, acknowledges and refuses. */
#include "tests/tap.h"
#include "tests/unit/replication/one.h"

TEST(a_follower_acknowledges_once_when_durable_and_a_heartbeat_at_once) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 1, (struct version){0}, 1, 2, 0);
    receive_records(o, 2, 1, (struct version){1, 2}, 1, 3, 0);
    raft_flush(o->raft, o->now_ms);
    EQUAL(o->count, 0);
    receive(o, 2, heartbeat(1, (struct version){1, 5}, 0));
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_APPEND_REPLY), 1);
    EQUAL(o->sent[0].m.append_reply.match, 5);
    EQUAL(o->sent[0].m.append_reply.durable, 0);
    sync_log(o);
    raft_flush(o->raft, o->now_ms);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_APPEND_REPLY), 2);
    EQUAL(o->sent[1].m.append_reply.durable, 5);
    one_free(o);
}

TEST(without_sync_written_is_durable_enough) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    start(o, &c, (struct raft_options){.sync_always = false});
    receive_records(o, 2, 1, (struct version){0}, 1, 2, 0);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_APPEND_REPLY), 1);
    EQUAL(o->sent[0].m.append_reply.durable, 2);
    one_free(o);
}

TEST(a_commit_index_never_passes_what_the_leader_has_verified) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    for (unsigned next = 2; next <= 3; next++) { /* leads the next term */
        struct one *o = one_new(&c);
        receive_records(o, 2, 1, (struct version){0}, 1, 5, 0);
        turn(o);
        receive(o, next, heartbeat(2, (struct version){1, 2}, 4)); /* 3 to 5 may not be in its log */
        EQUAL(raft_commit(o->raft), 2);
        EQUAL(raft_leader_commit(o->raft), 4);
        one_free(o);
    }
}

TEST(an_append_against_committed_records_is_ignored) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 1, (struct version){0}, 1, 3, 3);
    turn(o);
    EQUAL(raft_commit(o->raft), 3);
    receive_records(o, 3, 2, (struct version){1, 1}, 2, 1, 0);
    receive(o, 3, heartbeat(2, (struct version){2, 2}, 0));
    turn(o);
    EQUAL(log_last(o->log), 3);
    uint64_t term = 0;
    OK(log_term_at(o->log, 2, &term) && term == 1);
    OK(raft_diverged(o->raft));
    one_free(o);
}

TEST(where_disks_may_forget_a_leader_overrules_what_a_majority_has_lost_though_it_was_committed_here) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    start(o, &c, (struct raft_options){.sync_always = false});
    receive_records(o, 2, 1, (struct version){0}, 1, 5, 5);
    turn(o);
    EQUAL(raft_commit(o->raft), 5);
    forget(o);
    receive(o, 3, heartbeat(2, (struct version){1, 2}, 2)); /* what follows may not be its */
    turn(o);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND_REPLY)->append_reply.match, 2);
    receive(o, 3, heartbeat(2, (struct version){2, 4}, 2));
    turn(o);
    OK(!last_sent(o, 3, MESSAGE_APPEND_REPLY)->append_reply.success);
    receive_records(o, 3, 2, (struct version){1, 2}, 2, 1, 2);
    turn(o);
    EQUAL(log_last(o->log), 3);
    EQUAL(raft_commit(o->raft), 2);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND_REPLY)->append_reply.durable, 3);
    OK(!raft_diverged(o->raft) && !raft_failed(o->raft));
    uint64_t term = 0;
    OK(log_term_at(o->log, 3, &term) && term == 2);
    one_free(o);
}

/* Records up to 5, committed and durable, from leader 2 in term 1. */
static struct one *follower_of_five(const struct configuration *c, bool sync_always) {
    struct one *o = one_new(c);
    raft_free(o->raft);
    start(o, c, (struct raft_options){.sync_always = sync_always});
    receive_records(o, 2, 1, (struct version){0}, 1, 5, 5);
    turn(o);
    assert(raft_commit(o->raft) == 5);
    forget(o);
    return o;
}

TEST(a_follower_claims_no_more_than_was_compared_with_this_leader_in_this_term) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    for (unsigned always = 0; always < 2; always++) {
        struct one *o = follower_of_five(&c, always);
        receive(o, 3, heartbeat(2, (struct version){1, 3}, 5));
        turn(o);
        const struct message *reply = last_sent(o, 3, MESSAGE_APPEND_REPLY);
        OK(reply->append_reply.success);
        EQUAL(reply->append_reply.match, 3);
        EQUAL(reply->append_reply.durable, 3);
        EQUAL(raft_commit(o->raft), 5);
        one_free(o);
    }
}

TEST(a_compacted_position_proves_nothing_and_is_refused_with_one_that_can_be_compared) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    for (unsigned always = 0; always < 2; always++) {
        struct one *o = one_new(&c);
        enum log_result reset = log_reset(o->log, (struct version){1, 50});
        EQUAL(reset, LOG_OK);
        raft_free(o->raft);
        start(o, &c, (struct raft_options){.sync_always = always, .commit = 50});
        for (uint64_t index = 0; index <= 20; index += 20) {
            receive(o, 2, heartbeat(3, (struct version){index > 0 ? 2 : 0, index}, 60));
            turn(o);
            const struct message *reply = last_sent(o, 2, MESSAGE_APPEND_REPLY);
            OK(!reply->append_reply.success);
            EQUAL(reply->append_reply.hint.index, 50);
            EQUAL(reply->append_reply.hint.term, 1);
            EQUAL(reply->append_reply.durable, 0);
            OK(!raft_diverged(o->raft));
            forget(o);
        }
        receive(o, 2,
                heartbeat(3, (struct version){2, 50}, 60)); /* the leader's log has another record there */
        turn(o);
        EQUAL(o->count, 0);
        OK(raft_diverged(o->raft));
        receive(o, 2, heartbeat(3, (struct version){1, 50}, 60));
        turn(o);
        EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.match, 50);
        one_free(o);
    }
}

/* Bug 54: it acknowledged what it had not. */
TEST(a_diverged_follower_acknowledges_nothing_of_what_it_does_not_have) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    for (unsigned always = 0; always < 2; always++) {
        struct one *o = follower_of_five(&c, always);
        raft_free(o->raft);
        log_close(o->log);
        open_log(o);
        start(o, &c, (struct raft_options){.sync_always = always, .commit = 5});
        for (uint64_t index = 9; index-- > 0;) {
            receive_records(o, 3, 4, (struct version){3, index}, 4, 2, 9);
            turn(o);
        }
        for (size_t i = 0; i < o->count; i++)
            OK(!o->sent[i].m.append_reply.success || o->sent[i].m.append_reply.match <= 2);
        one_free(o);
    }
}

TEST(a_record_that_cannot_be_applied_is_not_taken) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    for (enum entry_type type = ENTRY_CONFIGURATION; type <= ENTRY_DELETE; type++) {
        struct one *o = one_new(&c);
        struct foreign f;
        struct message m = records(&f, 1, (struct version){0}, 1, 1, 2);
        uint64_t last;
        EQUAL(log_append(f.log, 1, type, bytes_of("\xff no entry")), LOG_OK);
        EQUAL(log_slice(f.log, 1, MESSAGE_RECORDS_MAX, &m.append.records, &last), LOG_OK);
        receive(o, 2, m);
        turn(o);
        EQUAL(log_last(o->log), 1);
        EQUAL(raft_commit(o->raft), 1);
        foreign_free(&f);
        one_free(o);
    }
}

TEST(a_refusal_names_the_last_position_that_may_fit) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 1, (struct version){0}, 1, 2, 0);
    receive_records(o, 2, 3, (struct version){1, 2}, 3, 4, 0);
    turn(o);
    forget(o);
    receive(o, 3, heartbeat(4, (struct version){2, 5}, 0));
    raft_flush(o->raft, o->now_ms);
    const struct message *reply = last_sent(o, 3, MESSAGE_APPEND_REPLY);
    OK(!reply->append_reply.success);
    EQUAL(reply->append_reply.match, 5);
    EQUAL(reply->append_reply.hint.index, 2);
    EQUAL(reply->append_reply.hint.term, 1);
    EQUAL(reply->append_reply.last, 6);
    receive(o, 3, heartbeat(4, (struct version){4, 90}, 0));
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND_REPLY)->append_reply.hint.index, 6);
    one_free(o);
}

TEST(an_append_of_a_lower_term_is_answered_with_the_term) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive(o, 2, heartbeat(9, (struct version){0}, 0));
    forget(o);
    receive(o, 3, heartbeat(8, (struct version){0}, 0));
    EQUAL(last_sent(o, 3, MESSAGE_APPEND_REPLY)->term, 9);
    struct member_id leader;
    OK(raft_leader(o->raft, &leader) && leader.id[NODE_ID_SIZE - 1] == '2');
    one_free(o);
}

/* Else its late reply would confirm a read of the newer leader's that it has not heard of. */
TEST(what_a_follower_has_seen_of_one_leaders_reads_says_nothing_of_the_next_ones) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    for (unsigned next = 2; next <= 3; next++) { /* leads the next term */
        struct one *o = one_new(&c);
        struct message m = heartbeat(1, (struct version){0}, 0);
        m.append.read = 50;
        receive(o, 2, m);
        turn(o);
        EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.read, 50);
        m.term = 2;
        m.append.read = 3;
        receive(o, next, m);
        turn(o);
        EQUAL(last_sent(o, next, MESSAGE_APPEND_REPLY)->append_reply.read, 3);
        one_free(o);
    }
}

/* Records of falling terms: of an append itself, and below what is before it. */
TEST(falling_terms_from_a_peer_are_not_taken) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 5, (struct version){0}, 4, 2, 0);
    EQUAL(log_last(o->log), 2);
    receive_records(o, 2, 5, (struct version){4, 2}, 6, 1, 0); /* above the leader's own */
    EQUAL(log_last(o->log), 2);
    struct foreign high, low, lower;
    struct message below = records(&lower, 5, (struct version){3, 2}, 3, 2, 0);
    below.append.previous.term = 4;
    receive(o, 2, below);
    EQUAL(log_last(o->log), 2);
    struct message first = records(&high, 5, (struct version){4, 2}, 5, 1, 0);
    struct message then = records(&low, 5, (struct version){4, 3}, 4, 1, 0);
    struct buffer both = {0};
    buffer_append(&both, first.append.records);
    buffer_append(&both, then.append.records);
    first.append.records = buffer_bytes(&both);
    receive(o, 2, first);
    EQUAL(log_last(o->log), 3);
    EQUAL(log_last_term(o->log), 5);
    buffer_release(&both);
    foreign_free(&high);
    foreign_free(&lower);
    foreign_free(&low);
    one_free(o);
}

TESTS(TAP(what_a_follower_has_seen_of_one_leaders_reads_says_nothing_of_the_next_ones),
      TAP(falling_terms_from_a_peer_are_not_taken),
      TAP(a_follower_acknowledges_once_when_durable_and_a_heartbeat_at_once),
      TAP(without_sync_written_is_durable_enough),
      TAP(a_commit_index_never_passes_what_the_leader_has_verified),
      TAP(an_append_against_committed_records_is_ignored),
      TAP(where_disks_may_forget_a_leader_overrules_what_a_majority_has_lost_though_it_was_committed_here),
      TAP(a_follower_claims_no_more_than_was_compared_with_this_leader_in_this_term),
      TAP(a_compacted_position_proves_nothing_and_is_refused_with_one_that_can_be_compared),
      TAP(a_diverged_follower_acknowledges_nothing_of_what_it_does_not_have),
      TAP(a_record_that_cannot_be_applied_is_not_taken), TAP(a_refusal_names_the_last_position_that_may_fit),
      TAP(an_append_of_a_lower_term_is_answered_with_the_term))
