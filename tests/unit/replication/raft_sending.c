/* What a leader sends to each follower: from where on, how much at once, and when. */
#include "tests/tap.h"
#include "tests/unit/replication/one.h"

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

/* As its disk returns it from now on: everything behind the record of the term's begin is not what was
 * written. */
static void rot_first_segment(struct one *o) {
    struct disk_file **first = NULL;
    for (size_t i = 0; i < DISK_FILES_MAX; i++)
        if (o->disk->files[i] != NULL && strncmp(o->disk->files[i]->name, "log-", 4) == 0 &&
            (first == NULL || strcmp(o->disk->files[i]->name, (*first)->name) < 0))
            first = &o->disk->files[i];
    assert(first != NULL);
    for (size_t at = 8192 + 500; at < (*first)->now.size; at += 500)
        (*first)->now.data[at] ^= 1;
}

/* One of three, of which the third is down and the second lacks committed records that are damaged here. */
static struct one *with_damaged_records(void) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    raft_free(o->raft);
    log_close(o->log);
    struct log_options options = {.fs = &o->disk->fs, .segment_size = 64 * 1024, .cache_size = 64 * 1024};
    struct log_report report;
    enum log_result opened = log_open(&options, (struct version){0}, &o->log, &report);
    assert(opened == LOG_OK);
    start(o, &c, (struct raft_options){.sync_always = true});
    win(o);
    uint64_t term = raft_term(o->raft);
    struct member_id two = id_of(2), three = id_of(3);
    for (unsigned i = 0; i < 300; i++) {
        put(o, 1000);
        o->now_ms += 2;
        turn(o);
        receive(o, 3, ack(term, log_last(o->log), log_last(o->log), 0));
        forget(o);
    }
    receive(o, 2, ack(term, 1, 1, 0));
    assert(raft_commit(o->raft) == log_last(o->log));
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_DOWN);
    raft_link(o->raft, o->now_ms, &three, RAFT_LINK_DOWN);
    rot_first_segment(o);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_UP);
    return o;
}

TEST(a_member_that_needs_damaged_records_hears_heartbeats_and_keeps_its_leader_in_office) {
    struct one *o = with_damaged_records();
    uint64_t term = raft_term(o->raft), read = 0;
    for (unsigned beats = 0; beats < 40; beats++) {
        o->now_ms += 50;
        if (beats == 30)
            read = raft_read(o->raft, o->now_ms);
        raft_tick(o->raft, o->now_ms);
        turn(o);
        const struct message *m = last_sent(o, 2, MESSAGE_APPEND);
        REQUIRE(m->type == MESSAGE_APPEND);
        EQUAL(m->append.previous.index, 1);
        EQUAL(m->append.records.size, 0);
        EQUAL(m->append.commit, raft_commit(o->raft));
        OK(sent(o, MESSAGE_APPEND) <= 3); /* to both, and a read's */
        receive(o, 2, ack(term, 1, 1, m->append.read));
        forget(o);
    }
    OK(!raft_failed(o->raft));
    EQUAL(raft_role(o->raft), RAFT_LEADER);
    EQUAL(raft_term(o->raft), term);
    OK(read > 0 && raft_read_confirmed(o->raft) >= read);
    one_free(o);
}

/* How often the log looked into its files while turns passed, each with an answer, a write, and a slice of
 * another segment, for which one look is needed. */
static uint64_t looks_of_turns(struct tap *tap, struct one *o, unsigned turns) {
    uint64_t before = o->disk->reads, last;
    struct bytes records;
    for (unsigned i = 0; i < turns; i++) {
        EQUAL(log_slice(o->log, 100, 1, &records, &last), LOG_OK);
        receive(o, 2, ack(raft_term(o->raft), 1, 1, 0));
        put(o, 10);
        turn(o);
    }
    return o->disk->reads - before;
}

TEST(what_cannot_be_read_is_read_again_with_heartbeats_only) {
    struct one *o = with_damaged_records();
    for (unsigned beats = 0; beats < 5; beats++) {
        o->now_ms += 50;
        uint64_t before = o->disk->reads;
        raft_tick(o->raft, o->now_ms);
        OK(o->disk->reads > before);
        looks_of_turns(tap, o, 1);
        OK(looks_of_turns(tap, o, 20) <= 1); /* a new segment's */
        forget(o);
    }
    one_free(o);
}

TESTS(TAP(what_cannot_be_read_is_read_again_with_heartbeats_only),
      TAP(a_member_that_needs_damaged_records_hears_heartbeats_and_keeps_its_leader_in_office),
      TAP(a_leader_that_is_told_of_a_later_position_goes_on_there_and_asks_no_faster_than_heartbeats),
      TAP(a_stalled_follower_gets_a_window_of_bytes_and_the_leader_a_bound_of_uncommitted_log),
      TAP(a_follower_that_has_a_truncated_tail_back_after_a_power_cut_is_repaired),
      TAP(after_a_lost_link_the_leader_goes_on_from_what_was_acknowledged),
      TAP(records_gather_while_a_batch_is_on_its_way_and_leave_as_one_with_its_commit),
      TAP(records_gather_for_two_milliseconds_at_most),
      TAP(more_than_64_records_wait_for_no_batch_before_them),
      TAP(a_read_is_asked_about_at_once_while_records_gather),
      TAP(a_member_is_told_the_commit_once_when_it_is_to_know))
