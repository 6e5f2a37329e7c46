/* Appends and their answers, commit, reads, configurations of the log. */
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

static struct message refusal(uint64_t term, uint64_t previous, struct version hint) {
    struct message m = {.type = MESSAGE_APPEND_REPLY, .term = term};
    m.append_reply.match = previous;
    m.append_reply.hint = hint;
    m.append_reply.last = hint.index;
    return m;
}

TEST(a_leader_that_is_told_of_a_later_position_goes_on_there_and_asks_no_faster_than_heartbeats) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 1, (struct version){0}, 1, 20, 0);
    turn(o);
    win(o);
    turn(o);
    uint64_t term = raft_term(o->raft);
    receive(o, 2, refusal(term, 20, (struct version){1, 5}));
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 5);
    receive(o, 2, refusal(term, 5, (struct version){1, 12})); /* compacted up to there meanwhile */
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 12);
    receive(o, 2,
            refusal(term, 12, (struct version){7, 900})); /* it has committed more than this log holds */
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 21);
    forget(o);
    for (unsigned i = 0; i < 100; i++) {
        receive(o, 2, refusal(term, 21, (struct version){7, 900}));
        turn(o);
    }
    EQUAL(sent(o, MESSAGE_APPEND), 0);
    o->now_ms += 50;
    raft_tick(o->raft, o->now_ms);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 21);
    one_free(o);
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

TEST(a_stalled_follower_gets_a_window_of_bytes_and_the_leader_a_bound_of_uncommitted_log) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    start(
        o, &c,
        (struct raft_options){.sync_always = true, .window_size = 64 * 1024, .uncommitted_max = 1024 * 1024});
    win(o);
    uint64_t term = raft_term(o->raft);
    turn(o);
    receive(o, 2, ack(term, 1, 1, 0));
    forget(o);
    static const uint8_t value[10000];
    struct entry entry = {.key = bytes_of("k"), .value = {value, sizeof value}};
    struct version at;
    unsigned taken = 0;
    while (taken < 1000 && raft_propose(o->raft, ENTRY_PUT, &entry, &at) == RAFT_OK) {
        taken++;
        turn(o);
    }
    OK(taken >= 100 && taken <= 110);
    EQUAL(raft_propose(o->raft, ENTRY_PUT, &entry, &at), RAFT_BUSY);
    OK(o->sent_bytes >= 50 * 1024 && o->sent_bytes <= 76 * 1024);
    receive(o, 2, ack(term, 1 + taken, 1 + taken, 0));
    EQUAL(raft_propose(o->raft, ENTRY_PUT, &entry, &at), RAFT_OK);
    one_free(o);
}

TEST(after_a_lost_link_the_leader_goes_on_from_what_was_acknowledged) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct member_id two = id_of(2);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft);
    turn(o);
    receive(o, 2, ack(term, 1, 1, 0));
    for (int i = 0; i < 3; i++) {
        put(o, 10);
        turn(o);
        o->now_ms += 2; /* longer than a batch waits for the one before */
    }
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 3);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_DOWN);
    forget(o);
    put(o, 10);
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->type, 0);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_UP);
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 1);
    OK(last_sent(o, 2, MESSAGE_APPEND)->append.records.size > 0);
    one_free(o);
}

TEST(a_follower_that_has_a_truncated_tail_back_after_a_power_cut_is_repaired) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft);
    for (int i = 0; i < 9; i++)
        put(o, 10);
    turn(o);
    receive(o, 2, ack(term, 10, 2, 0));
    struct message refusal = {.type = MESSAGE_APPEND_REPLY, .term = term};
    refusal.append_reply.match = 10;
    refusal.append_reply.hint = (struct version){0, 0};
    refusal.append_reply.last = 12;
    receive(o, 2, refusal);
    forget(o);
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 0);
    OK(last_sent(o, 2, MESSAGE_APPEND)->append.records.size > 0);
    receive(o, 2, ack(term, 10, 10, 0));
    EQUAL(raft_commit(o->raft), 10);
    one_free(o);
}

/* Leads with its first record committed and one more on its way. */
static struct one *with_a_batch_on_its_way(void) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    turn(o);
    receive(o, 2, ack(raft_term(o->raft), 1, 1, 0));
    receive(o, 3, ack(raft_term(o->raft), 1, 1, 0));
    o->now_ms += 50;
    put(o, 10);
    turn(o);
    forget(o);
    return o;
}

TEST(records_gather_while_a_batch_is_on_its_way_and_leave_as_one_with_its_commit) {
    struct one *o = with_a_batch_on_its_way();
    for (int i = 0; i < 3; i++) {
        put(o, 10);
        turn(o);
    }
    OK(raft_holding(o->raft));
    EQUAL(log_written(o->log), 2);
    EQUAL(sent(o, MESSAGE_APPEND), 0);
    receive(o, 2, ack(raft_term(o->raft), 2, 2, 0));
    turn(o);
    OK(!raft_holding(o->raft));
    EQUAL(log_written(o->log), 5);
    EQUAL(sent(o, MESSAGE_APPEND), 2);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND)->append.commit, 2);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND)->append.previous.index, 2);
    one_free(o);
}

TEST(records_gather_for_two_milliseconds_at_most) {
    struct one *o = with_a_batch_on_its_way();
    put(o, 10);
    o->now_ms++;
    turn(o);
    EQUAL(sent(o, MESSAGE_APPEND), 0);
    o->now_ms++;
    turn(o);
    EQUAL(sent(o, MESSAGE_APPEND), 2);
    EQUAL(log_durable(o->log), 3);
    one_free(o);
}

TEST(more_than_64_records_wait_for_no_batch_before_them) {
    struct one *o = with_a_batch_on_its_way();
    for (int i = 0; i < 64; i++)
        put(o, 10);
    turn(o);
    EQUAL(sent(o, MESSAGE_APPEND), 0);
    put(o, 10);
    turn(o);
    EQUAL(sent(o, MESSAGE_APPEND), 2);
    EQUAL(log_written(o->log), 67);
    one_free(o);
}

TEST(a_read_is_asked_about_at_once_while_records_gather) {
    struct one *o = with_a_batch_on_its_way();
    put(o, 10);
    uint64_t read = raft_read(o->raft, o->now_ms);
    turn(o);
    OK(raft_holding(o->raft));
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.read, read);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.records.size, 0);
    one_free(o);
}

TEST(a_member_is_told_the_commit_once_when_it_is_to_know) {
    struct one *o = with_a_batch_on_its_way();
    struct member_id two = id_of(2);
    receive(o, 3, ack(raft_term(o->raft), 2, 2, 0));
    raft_tell(o->raft, o->now_ms, &two);
    raft_tell(o->raft, o->now_ms, &two);
    EQUAL(sent(o, MESSAGE_APPEND), 1);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.commit, 2);
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
      TAP(what_was_acknowledged_to_an_earlier_leadership_is_asked_again),
      TAP(falling_terms_from_a_peer_are_not_taken),
      TAP(a_record_of_an_earlier_term_is_not_committed_by_counting),
      TAP(what_is_not_durable_counts_for_nothing_neither_here_nor_there),
      TAP(a_new_commit_index_goes_out_in_the_next_flush_without_records),
      TAP(a_read_is_confirmed_by_a_majority_of_answers_to_a_later_round_only),
      TAP(a_configuration_waits_for_the_terms_first_commit_and_for_the_one_before),
      TAP(an_overruled_configuration_is_out_of_force),
      TAP(the_configuration_before_one_that_may_be_overruled_is_the_last_committed_one),
      TAP(configurations_of_the_log_are_found_again_after_a_restart),
      TAP(a_follower_acknowledges_once_when_durable_and_a_heartbeat_at_once),
      TAP(without_sync_written_is_durable_enough),
      TAP(without_sync_a_configuration_and_what_follows_it_count_once_they_are_synced),
      TAP(a_commit_index_never_passes_what_the_leader_has_verified),
      TAP(an_append_against_committed_records_is_ignored),
      TAP(where_disks_may_forget_a_leader_overrules_what_a_majority_has_lost_though_it_was_committed_here),
      TAP(a_follower_claims_no_more_than_was_compared_with_this_leader_in_this_term),
      TAP(a_compacted_position_proves_nothing_and_is_refused_with_one_that_can_be_compared),
      TAP(a_diverged_follower_acknowledges_nothing_of_what_it_does_not_have),
      TAP(a_leader_that_is_told_of_a_later_position_goes_on_there_and_asks_no_faster_than_heartbeats),
      TAP(a_record_that_cannot_be_applied_is_not_taken), TAP(a_refusal_names_the_last_position_that_may_fit),
      TAP(an_append_of_a_lower_term_is_answered_with_the_term),
      TAP(a_stalled_follower_gets_a_window_of_bytes_and_the_leader_a_bound_of_uncommitted_log),
      TAP(a_follower_that_has_a_truncated_tail_back_after_a_power_cut_is_repaired),
      TAP(after_a_lost_link_the_leader_goes_on_from_what_was_acknowledged),
      TAP(records_gather_while_a_batch_is_on_its_way_and_leave_as_one_with_its_commit),
      TAP(records_gather_for_two_milliseconds_at_most),
      TAP(more_than_64_records_wait_for_no_batch_before_them),
      TAP(a_read_is_asked_about_at_once_while_records_gather),
      TAP(a_member_is_told_the_commit_once_when_it_is_to_know))
