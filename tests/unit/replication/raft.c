/* Founding, elections, check-quorum, handover and the end of a removed leader. */
#include "tests/tap.h"
#include "tests/unit/replication/one.h"

TEST(a_founder_leads_at_once_and_commits_its_configuration_when_it_is_durable) {
    struct configuration none = {0}, first = group_of(1, 0, ACK_ASYNC);
    struct one *o = one_new(&none);
    EQUAL(raft_found(o->raft, o->now_ms, &first), RAFT_OK);
    EQUAL(raft_role(o->raft), RAFT_LEADER);
    EQUAL(raft_term(o->raft), 1);
    EQUAL(raft_cause(o->raft), RAFT_CAUSE_FOUNDED);
    raft_flush(o->raft, o->now_ms);
    EQUAL(raft_commit(o->raft), 0);
    sync_log(o);
    EQUAL(raft_commit(o->raft), 1);
    EQUAL(log_last(o->log), 1);
    OK(raft_term_committed(o->raft));
    EQUAL(raft_configuration(o->raft)->group_id, 7);
    one_free(o);
}

TEST(a_sole_voter_leads_in_its_first_tick_and_its_reads_need_nobody) {
    struct configuration c = group_of(1, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_tick(o->raft, o->now_ms);
    EQUAL(raft_role(o->raft), RAFT_LEADER);
    EQUAL(raft_cause(o->raft), RAFT_CAUSE_ALONE);
    uint64_t read = raft_read(o->raft, o->now_ms);
    EQUAL(raft_read_confirmed(o->raft), 0); /* its term's first record is not durable */
    turn(o);
    OK(raft_read_confirmed(o->raft) >= read);
    one_free(o);
}

TEST(a_learner_and_a_newcomer_never_stand_for_election) {
    struct configuration c = group_of(1, 1, ACK_QUORUM), none = {0};
    c.members[0].id = id_of(2);
    c.members[1].id = id_of(1);
    for (int i = 0; i < 2; i++) {
        struct one *o = one_new(i == 0 ? &c : &none);
        for (int ms = 0; ms < 10000; ms += 50)
            raft_tick(o->raft, o->now_ms += 50);
        EQUAL(o->count, 0);
        EQUAL(raft_term(o->raft), 0);
        one_free(o);
    }
}

TEST(a_vote_is_on_disk_before_its_reply_leaves_and_is_not_given_twice_after_a_restart) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive(o, 2, vote(5, (struct version){0}));
    OK(last_sent(o, 2, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    raft_free(o->raft);
    log_close(o->log);
    disk_crash(o->disk);
    open_log(o);
    start(o, &c, (struct raft_options){.sync_always = true});
    EQUAL(raft_term(o->raft), 5);
    receive(o, 3, vote(5, (struct version){0}));
    OK(!last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    forget(o);
    receive(o, 2, vote(5, (struct version){0})); /* the same candidate may ask again */
    OK(last_sent(o, 2, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    struct member_id wiped = id_of(2);
    wiped.incarnation = 2;
    forget(o);
    struct message again = vote(5, (struct version){0});
    raft_receive(o->raft, o->now_ms, &wiped, &again);
    OK(!o->sent[0].m.vote_reply.granted);
    one_free(o);
}

TEST(a_candidate_with_a_worse_log_gets_no_vote) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 3, (struct version){0}, 3, 2, 0);
    turn(o);
    struct version worse[] = {{3, 1}, {2, 9}, {0, 0}}, good[] = {{3, 2}, {4, 1}};
    uint64_t term = 10;
    o->now_ms += 400; /* its leader is silent */
    for (size_t i = 0; i < 3; i++) {
        receive(o, 3, pre_vote(term, worse[i]));
        OK(!last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
        receive(o, 3, vote(term++, worse[i]));
        OK(!last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    }
    for (size_t i = 0; i < 2; i++) {
        receive(o, 3, vote(term++, good[i]));
        OK(last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    }
    one_free(o);
}

TEST(a_repeated_vote_and_the_vote_of_a_stranger_or_a_learner_count_for_nothing) {
    struct configuration c = group_of(5, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    o->now_ms += 600;
    raft_tick(o->raft, o->now_ms);
    EQUAL(raft_role(o->raft), RAFT_CANDIDATE);
    EQUAL(raft_term(o->raft), 0);
    const unsigned senders[] = {2, 2, 2, 6, 9};
    for (size_t i = 0; i < 5; i++)
        receive(o, senders[i], vote_reply(1, true));
    EQUAL(raft_term(o->raft), 0);
    receive(o, 3, vote_reply(1, true));
    EQUAL(raft_term(o->raft), 1);
    for (size_t i = 0; i < 5; i++)
        receive(o, senders[i], vote_reply(1, false));
    EQUAL(raft_role(o->raft), RAFT_CANDIDATE);
    receive(o, 3, vote_reply(1, false));
    EQUAL(raft_role(o->raft), RAFT_LEADER);
    one_free(o);
}

/* Late replies to two rounds of asking that came to nothing. */
TEST(a_vote_of_an_earlier_term_counts_for_nothing_in_this_one) {
    struct configuration c = group_of(5, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    for (unsigned term = 1; term <= 2; term++) {
        o->now_ms += 2000;
        raft_tick(o->raft, o->now_ms);
        for (unsigned sender = 2; term == 2 && sender <= 5; sender++)
            receive(o, sender, vote_reply(1, true));
        EQUAL(raft_term(o->raft), term - 1);
        for (unsigned sender = 2; sender <= 3; sender++)
            receive(o, sender, vote_reply(term, true));
        EQUAL(raft_term(o->raft), term);
    }
    for (unsigned sender = 2; sender <= 5; sender++)
        receive(o, sender, vote_reply(1, false));
    EQUAL(raft_role(o->raft), RAFT_CANDIDATE);
    for (unsigned sender = 2; sender <= 3; sender++)
        receive(o, sender, vote_reply(2, false));
    EQUAL(raft_role(o->raft), RAFT_LEADER);
    one_free(o);
}

/* An append of term 4 that comes late, to one that has voted in term 5. */
TEST(an_append_of_a_lower_term_is_refused_though_no_leader_of_the_own_is_known) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive(o, 2, vote(5, (struct version){0}));
    turn(o);
    receive_records(o, 3, 4, (struct version){0}, 4, 1, 1);
    turn(o);
    EQUAL(log_last(o->log), 0);
    EQUAL(raft_commit(o->raft), 0);
    OK(!last_sent(o, 3, MESSAGE_APPEND_REPLY)->append_reply.success);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND_REPLY)->term, 5);
    one_free(o);
}

/* The thesis, section 4.3: {1 2 3} on the way to {1 4 5}. */
TEST(in_a_joint_configuration_an_election_needs_a_majority_of_either_set) {
    struct configuration from = group_of(3, 0, ACK_QUORUM), to = from, c;
    to.members[1].id = id_of(4);
    to.members[2].id = id_of(5);
    configuration_towards(&from, &to, &c);
    OK(configuration_is_joint(&c));
    for (unsigned first = 2; first <= 4;
         first += 2) { /* of the two that answer first, and make no majority */
        unsigned then = 6 - first;
        struct one *o = one_new(&c);
        o->now_ms += 600;
        raft_tick(o->raft, o->now_ms);
        receive(o, first, vote_reply(1, true));
        receive(o, first + 1, vote_reply(1, true));
        EQUAL(raft_term(o->raft), 0);
        receive(o, then, vote_reply(1, true));
        EQUAL(raft_term(o->raft), 1);
        receive(o, first, vote_reply(1, false));
        receive(o, first + 1, vote_reply(1, false));
        EQUAL(raft_role(o->raft), RAFT_CANDIDATE);
        receive(o, then, vote_reply(1, false));
        EQUAL(raft_role(o->raft), RAFT_LEADER);
        one_free(o);
    }
}

TEST(a_pre_vote_changes_nothing_and_is_refused_while_the_leader_is_alive) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive(o, 2, heartbeat(4, (struct version){0}, 0));
    o->now_ms += 249;
    receive(o, 3, pre_vote(5, (struct version){0}));
    OK(!last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    receive(o, 3, vote(5, (struct version){0}));
    EQUAL(raft_term(o->raft), 4); /* dropped */
    o->now_ms += 1;
    receive(o, 3, pre_vote(5, (struct version){0}));
    OK(last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    EQUAL(last_sent(o, 3, MESSAGE_VOTE_REPLY)->term, 5);
    EQUAL(raft_term(o->raft), 4);
    one_free(o);
}

TEST(a_refused_connection_to_the_leader_an_alone_leader_and_a_transfer_let_a_candidate_pass) {
    struct configuration c = group_of(3, 0, ACK_ASYNC);
    struct member_id two = id_of(2);
    struct one *o = one_new(&c);
    receive(o, 2, heartbeat(4, (struct version){0}, 0));
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_REFUSED);
    receive(o, 3, pre_vote(5, (struct version){0}));
    OK(last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    receive(o, 2, heartbeat(4, (struct version){0}, 0)); /* it is there after all */
    receive(o, 3, pre_vote(5, (struct version){0}));
    OK(!last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    struct message wanted = vote(5, (struct version){0});
    wanted.vote.transfer = true;
    receive(o, 3, wanted);
    OK(last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);

    struct message alone = heartbeat(5, (struct version){0}, 0);
    alone.append.alone = true;
    for (int i = 0; i < 6; i++) {
        receive(o, 3, alone);
        o->now_ms += 50;
    }
    receive(o, 2, pre_vote(6, (struct version){0}));
    OK(last_sent(o, 2, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    o->now_ms += 300;
    receive(o, 3, alone);
    raft_tick(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_VOTE), 2); /* its own round, in spite of the marked appends */
    one_free(o);
}

TEST(the_leaders_process_gone_begins_an_election_within_50_ms) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct member_id two = id_of(2);
    struct one *o = one_new(&c);
    receive(o, 2, heartbeat(4, (struct version){0}, 0));
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_REFUSED);
    uint64_t next = raft_tick(o->raft, o->now_ms);
    OK(next <= o->now_ms + 50);
    o->now_ms = next;
    raft_tick(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_VOTE), 2);
    EQUAL(raft_cause(o->raft), RAFT_CAUSE_LINK);
    one_free(o);
}

TEST(of_two_crossing_candidates_with_equal_logs_the_higher_id_goes_on) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    c.members[0].id = id_of(0);
    c.members[1].id = id_of(1);
    struct one *o = one_new(&c);
    o->now_ms += 600;
    raft_tick(o->raft, o->now_ms);
    receive(o, 0, pre_vote(1, (struct version){0}));
    OK(!last_sent(o, 0, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    receive(o, 3, pre_vote(1, (struct version){0}));
    OK(last_sent(o, 3, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    receive(o, 0, vote_reply(1, true)); /* it has given way */
    EQUAL(raft_term(o->raft), 0);
    one_free(o);
}

TEST(a_quorum_groups_leader_that_hears_no_majority_steps_down_and_an_async_one_marks_itself) {
    for (int async = 0; async < 2; async++) {
        struct configuration c = group_of(3, 0, async ? ACK_ASYNC : ACK_QUORUM);
        struct one *o = one_new(&c);
        win(o);
        turn(o);
        o->now_ms += 499;
        raft_tick(o->raft, o->now_ms);
        EQUAL(raft_role(o->raft), RAFT_LEADER);
        OK(!raft_alone(o->raft));
        o->now_ms += 1;
        raft_tick(o->raft, o->now_ms);
        EQUAL(raft_role(o->raft), async ? RAFT_LEADER : RAFT_FOLLOWER);
        EQUAL(raft_alone(o->raft), async);
        if (async) {
            o->now_ms += 50;
            raft_tick(o->raft, o->now_ms);
            OK(last_sent(o, 2, MESSAGE_APPEND)->append.alone);
            receive(o, 2, ack(raft_term(o->raft), 1, 1, 0));
            o->now_ms += 50;
            raft_tick(o->raft, o->now_ms);
            OK(!raft_alone(o->raft));
            OK(!last_sent(o, 2, MESSAGE_APPEND)->append.alone);
        } else {
            EQUAL(raft_cause(o->raft), RAFT_CAUSE_NO_MAJORITY);
        }
        one_free(o);
    }
}

TEST(a_handover_stops_proposals_brings_the_target_up_and_ends_by_itself) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct member_id two = id_of(2);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft);
    put(o, 10);
    turn(o);
    receive(o, 2, ack(term, 1, 1, 0));
    OK(raft_transfer(o->raft, o->now_ms, &two));
    struct entry entry = {.key = bytes_of("k")};
    struct version at;
    EQUAL(raft_propose(o->raft, ENTRY_DELETE, &entry, &at), RAFT_TRANSFERRING);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_TIMEOUT_NOW), 0);
    receive(o, 2, ack(term, 2, 2, 0));
    raft_flush(o->raft, o->now_ms);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_TIMEOUT_NOW), 1);
    for (int i = 0; i < 10; i++) {
        receive(o, 2, ack(term, 2, 2, 0));
        raft_tick(o->raft, o->now_ms += 50);
    }
    EQUAL(raft_propose(o->raft, ENTRY_DELETE, &entry, &at), RAFT_OK);
    one_free(o);
}

TEST(timeout_now_is_obeyed_from_the_leader_of_the_term_only) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive(o, 2, heartbeat(4, (struct version){0}, 0));
    receive(o, 3, (struct message){.type = MESSAGE_TIMEOUT_NOW, .term = 4});
    receive(o, 2, (struct message){.type = MESSAGE_TIMEOUT_NOW, .term = 3});
    EQUAL(raft_term(o->raft), 4);
    receive(o, 2, (struct message){.type = MESSAGE_TIMEOUT_NOW, .term = 4});
    EQUAL(raft_term(o->raft), 5);
    OK(last_sent(o, 2, MESSAGE_VOTE)->vote.transfer && !last_sent(o, 2, MESSAGE_VOTE)->vote.pre);
    EQUAL(raft_cause(o->raft), RAFT_CAUSE_TRANSFER);
    one_free(o);
}

static bool follows(struct one *o, unsigned number) {
    struct member_id id = id_of(number), leader;
    receive(o, number, heartbeat(3, (struct version){0, 0}, 0));
    return raft_leader(o->raft, &leader) && member_id_equal(&leader, &id);
}

TEST(of_two_that_lead_one_term_a_member_is_believed_and_nobody_who_is_silent) {
    for (unsigned learns = 0; learns < 2; learns++) {
        struct configuration c = group_of(4, 0, ACK_QUORUM);
        if (learns)
            c.members[0].role = MEMBER_LEARNER;
        struct one *o = one_new(&c);
        OK(follows(o, 9)); /* no member, as far as this node knows */
        OK(follows(o, 2));
        OK(!follows(o, 9) && !follows(o, 3));
        o->now_ms += 600; /* nobody speaks; and a learner stands in no election */
        OK(follows(o, 3));
        OK(!follows(o, 2) && !follows(o, 9));
        one_free(o);
    }
}

TEST(what_was_compared_with_another_leader_of_the_term_is_not_acknowledged_to_this_one) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    struct foreign f;
    receive(o, 9, records(&f, 3, (struct version){0}, 3, 5, 0));
    turn(o);
    EQUAL(last_sent(o, 9, MESSAGE_APPEND_REPLY)->append_reply.match, 5);
    OK(follows(o, 2));
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.match, 0);
    foreign_free(&f);
    one_free(o);
}

/* 13 records of term 2, 10 of them committed; then one that leads nothing claims all 13 for term 3, and the
 * time of an election passes before that term's leader speaks. Its log has other records from 11 on. */
TEST(what_was_compared_with_another_leader_of_the_term_does_not_outlast_an_election_begun_since) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 3, 2, (struct version){0}, 2, 13, 10);
    turn(o);
    receive(o, 9, heartbeat(3, (struct version){2, 13}, 10));
    turn(o);
    o->now_ms += 600;
    raft_tick(o->raft, o->now_ms);
    EQUAL(raft_role(o->raft), RAFT_CANDIDATE);
    receive(o, 2, heartbeat(3, (struct version){2, 10}, 12));
    turn(o);
    EQUAL(raft_commit(o->raft), 10);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.match, 10);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.durable, 10);
    receive_records(o, 2, 3, (struct version){2, 10}, 3, 2, 12);
    turn(o);
    EQUAL(raft_commit(o->raft), 12);
    OK(!raft_diverged(o->raft));
    one_free(o);
}

TEST(one_append_of_another_log_has_a_node_diverge_until_its_leader_has_compared) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    struct foreign f;
    receive(o, 2, records(&f, 3, (struct version){0}, 3, 5, 5));
    turn(o);
    receive(o, 9, heartbeat(4, (struct version){2, 4}, 4));
    OK(raft_diverged(o->raft));
    receive(o, 2, heartbeat(4, (struct version){3, 4}, 4));
    OK(raft_diverged(o->raft));
    receive(o, 2, heartbeat(4, (struct version){3, 5}, 5));
    OK(!raft_diverged(o->raft));
    foreign_free(&f);
    one_free(o);
}

TEST(a_removed_leader_stays_until_the_configuration_is_committed_and_hands_over) {
    struct configuration c = group_of(4, 0, ACK_QUORUM), next = group_of(4, 0, ACK_QUORUM);
    next.members[0] = next.members[3];
    next.count = 3;
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft);
    turn(o);
    for (unsigned from = 2; from <= 4; from++)
        receive(o, from, ack(term, 1, 1, 0));
    EQUAL(raft_propose_configuration(o->raft, &next, true), RAFT_OK);
    turn(o);
    receive(o, 2, ack(term, 2, 2, 0));
    turn(o);
    EQUAL(raft_role(o->raft), RAFT_LEADER); /* its own copy does not count: one of three */
    forget(o);
    receive(o, 3, ack(term, 2, 2, 0));
    raft_flush(o->raft, o->now_ms);
    EQUAL(raft_role(o->raft), RAFT_FOLLOWER);
    EQUAL(raft_cause(o->raft), RAFT_CAUSE_REMOVED);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.commit, 2);
    EQUAL(sent(o, MESSAGE_TIMEOUT_NOW), 1);
    one_free(o);
}

TEST(a_leader_that_steps_down_within_its_term_has_voted_in_it) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    turn(o);
    uint64_t term = raft_term(o->raft);
    o->now_ms += 500;
    raft_tick(o->raft, o->now_ms);
    EQUAL(raft_role(o->raft), RAFT_FOLLOWER);
    EQUAL(raft_term(o->raft), term);
    receive(o, 2, vote(term, (struct version){term, 9}));
    OK(!last_sent(o, 2, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    receive(o, 2, vote(term + 1, (struct version){term, 9}));
    OK(last_sent(o, 2, MESSAGE_VOTE_REPLY)->vote_reply.granted);
    one_free(o);
}

/* A term is kept for good: one that could not be raised any more would end the group. */
TEST(one_message_raises_the_term_by_a_step_at_most) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    uint64_t step = 1u << 20, far = MESSAGE_TERM_MAX;
    struct message forged[] = {
        vote(far, (struct version){far, MESSAGE_INDEX_MAX}),
        heartbeat(far, (struct version){0}, 0),
        {.type = MESSAGE_SNAPSHOT, .term = far, .snapshot = {.at = {far, MESSAGE_INDEX_MAX}, .total = 1}},
        ack(far, 0, 0, 0),
        vote_reply(far, false),
    };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        struct one *o = one_new(&c);
        receive(o, 2, forged[i]);
        EQUAL(raft_term(o->raft), step);
        EQUAL(o->count, 0);
        struct member_id leader;
        OK(!raft_leader(o->raft, &leader));
        win(o);
        OK(raft_term(o->raft) < step + 4);
        one_free(o);
    }
}

TEST(a_node_that_is_many_terms_behind_gets_there_by_steps) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    uint64_t term = (5u << 20) + 7;
    for (unsigned i = 0; i < 5; i++) {
        receive(o, 2, heartbeat(term, (struct version){0}, 0));
        OK(raft_term(o->raft) < term);
    }
    receive(o, 2, heartbeat(term, (struct version){0}, 0));
    struct member_id leader;
    EQUAL(raft_term(o->raft), term);
    OK(raft_leader(o->raft, &leader));
    one_free(o);
}

TESTS(TAP(a_leader_that_steps_down_within_its_term_has_voted_in_it),
      TAP(one_message_raises_the_term_by_a_step_at_most),
      TAP(a_node_that_is_many_terms_behind_gets_there_by_steps),
      TAP(a_founder_leads_at_once_and_commits_its_configuration_when_it_is_durable),
      TAP(a_sole_voter_leads_in_its_first_tick_and_its_reads_need_nobody),
      TAP(a_learner_and_a_newcomer_never_stand_for_election),
      TAP(a_vote_is_on_disk_before_its_reply_leaves_and_is_not_given_twice_after_a_restart),
      TAP(a_candidate_with_a_worse_log_gets_no_vote),
      TAP(of_two_that_lead_one_term_a_member_is_believed_and_nobody_who_is_silent),
      TAP(a_repeated_vote_and_the_vote_of_a_stranger_or_a_learner_count_for_nothing),
      TAP(a_vote_of_an_earlier_term_counts_for_nothing_in_this_one),
      TAP(an_append_of_a_lower_term_is_refused_though_no_leader_of_the_own_is_known),
      TAP(in_a_joint_configuration_an_election_needs_a_majority_of_either_set),
      TAP(a_pre_vote_changes_nothing_and_is_refused_while_the_leader_is_alive),
      TAP(a_refused_connection_to_the_leader_an_alone_leader_and_a_transfer_let_a_candidate_pass),
      TAP(the_leaders_process_gone_begins_an_election_within_50_ms),
      TAP(of_two_crossing_candidates_with_equal_logs_the_higher_id_goes_on),
      TAP(a_quorum_groups_leader_that_hears_no_majority_steps_down_and_an_async_one_marks_itself),
      TAP(a_handover_stops_proposals_brings_the_target_up_and_ends_by_itself),
      TAP(what_was_compared_with_another_leader_of_the_term_does_not_outlast_an_election_begun_since),
      TAP(what_was_compared_with_another_leader_of_the_term_is_not_acknowledged_to_this_one),
      TAP(one_append_of_another_log_has_a_node_diverge_until_its_leader_has_compared),
      TAP(timeout_now_is_obeyed_from_the_leader_of_the_term_only),
      TAP(a_removed_leader_stays_until_the_configuration_is_committed_and_hands_over))
