/* Snapshots, disks that fail or are full, and messages that make no sense. */
#include "tests/tap.h"
#include "tests/unit/replication/one.h"

/* A leader whose log begins after what member 2 needs. */
static struct one *compacted_leader(const struct configuration *c) {
    struct one *o = one_new(c);
    o->snapshot_index = 100;
    enum log_result result = log_reset(o->log, (struct version){1, 100});
    assert(result == LOG_OK);
    raft_free(o->raft);
    start(o, c, (struct raft_options){.sync_always = true, .commit = 100});
    win(o);
    turn(o);
    struct message refusal = {.type = MESSAGE_APPEND_REPLY, .term = raft_term(o->raft)};
    refusal.append_reply.match = 100;
    receive(o, 2, refusal);
    forget(o);
    return o;
}

static struct message chunk_reply(struct one *o, uint64_t offset) {
    return (struct message){
        .type = MESSAGE_SNAPSHOT_REPLY,
        .term = raft_term(o->raft),
        .snapshot_reply = {.at = {1, o->snapshot_index}, .offset = offset},
    };
}

/* The first chunk on its way, since the last look. */
static uint64_t first_offset(const struct one *o) {
    for (size_t i = 0; i < o->count; i++)
        if (o->sent[i].m.type == MESSAGE_SNAPSHOT)
            return o->sent[i].m.snapshot.offset;
    return UINT64_MAX;
}

TEST(a_snapshot_goes_in_chunks_and_on_from_where_the_follower_is) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    raft_flush(o->raft, o->now_ms);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 1); /* a small one, alone */
    OK(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.chunk.size < MESSAGE_CHUNK_SIZE);
    forget(o);
    receive(o, 2, chunk_reply(o, MESSAGE_CHUNK_SIZE)); /* it has more, from before */
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 2);
    EQUAL(first_offset(o), MESSAGE_CHUNK_SIZE);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.chunk.size, 10);
    receive(o, 2, chunk_reply(o, MESSAGE_CHUNK_SIZE)); /* an answer repeated sends nothing twice */
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 2);
    struct member_id two = id_of(2);
    forget(o);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_DOWN);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_UP);
    raft_flush(o->raft, o->now_ms);
    EQUAL(first_offset(o), MESSAGE_CHUNK_SIZE);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 2);
    receive(o, 2, chunk_reply(o, 2 * MESSAGE_CHUNK_SIZE)); /* the end is on its way */
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 2);
    forget(o);
    receive(o, 2, chunk_reply(o, 0)); /* it was started again, without its file */
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 1);
    EQUAL(first_offset(o), 0);
    struct message done = chunk_reply(o, 2 * MESSAGE_CHUNK_SIZE + 10);
    done.snapshot_reply.installed = true;
    receive(o, 2, done);
    struct member_id id = id_of(2);
    EQUAL(raft_match(o->raft, &id), 100);
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 100);
    OK(last_sent(o, 2, MESSAGE_APPEND)->append.records.size > 0);
    one_free(o);
}

/* As it is repeated by a network that delays, after the leader has gone on to a newer one. */
TEST(an_acknowledgement_of_another_snapshot_than_the_one_under_way_counts_for_nothing) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 1);
    struct message late = chunk_reply(o, 2 * MESSAGE_CHUNK_SIZE + 10);
    late.snapshot_reply.at.index = 99;
    late.snapshot_reply.installed = true;
    receive(o, 2, late);
    struct member_id id = id_of(2);
    EQUAL(raft_match(o->raft, &id), 0);
    EQUAL(raft_match_durable(o->raft, &id), 0);
    one_free(o);
}

TEST(a_few_chunks_are_in_flight_and_each_answer_lets_one_more_go) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    o->snapshot_chunks = 20;
    raft_flush(o->raft, o->now_ms);
    receive(o, 2, chunk_reply(o, 4096));
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 5);
    for (uint64_t i = 1; i <= 10; i++) {
        receive(o, 2, chunk_reply(o, 4096 + i * MESSAGE_CHUNK_SIZE));
        raft_flush(o->raft, o->now_ms);
        EQUAL(sent(o, MESSAGE_SNAPSHOT), 5 + i);
        EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.offset, 4096 + (i + 3) * MESSAGE_CHUNK_SIZE);
    }
    one_free(o);
}

/* Ticks for a while; the member answers heartbeats, so that the leader stays. */
static void wait_ms(struct one *o, unsigned ms) {
    for (unsigned i = 0; i < ms; i += 10) {
        o->now_ms += 10;
        raft_tick(o->raft, o->now_ms);
        raft_flush(o->raft, o->now_ms);
        receive(o, 3, ack(raft_term(o->raft), 0, 0, 0));
        if (o->count > SENT_MAX / 2)
            forget(o);
    }
}

/* A leader with 1000 records from the first on, and a snapshot of half a MiB of the first 500 of them. */
static struct one *leader_of_a_whole_log(struct tap *tap, const struct configuration *c, size_t value_size) {
    static const uint8_t value[2000];
    struct one *o = one_new(c);
    struct version at;
    win(o);
    turn(o);
    struct entry entry = {.key = bytes_of("k"), .value = {value, value_size}};
    for (unsigned i = 0; i < 1000; i++)
        EQUAL(raft_propose(o->raft, ENTRY_PUT, &entry, &at), RAFT_OK);
    o->snapshot_index = 500;
    return o;
}

/* Member 2 is connected, and nothing is known of it. */
static void connect(struct one *o) {
    struct member_id two = id_of(2);
    o->now_ms += 200;
    forget(o);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_DOWN);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_UP);
    raft_flush(o->raft, o->now_ms);
}

TEST(a_member_that_has_nothing_gets_the_snapshot_where_that_is_smaller_than_the_records_it_stands_for) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = leader_of_a_whole_log(tap, &c, 800); /* 400 KB for those 500 records */
    connect(o);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 0);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 0);
    one_free(o);
    o = leader_of_a_whole_log(tap, &c, 1200);
    connect(o);
    OK(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.chunk.size > 0);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.records.size, 0);
    struct message no = chunk_reply(o, 0);
    no.snapshot_reply.refused = true;
    receive(o, 2, no);
    forget(o);
    wait_ms(o, 100); /* a heartbeat, before which there is nothing: it takes that, and gets the log */
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 0);
    receive(o, 2, ack(raft_term(o->raft), 0, 0, 0));
    raft_flush(o->raft, o->now_ms);
    OK(last_sent(o, 2, MESSAGE_APPEND)->append.records.size > 0);
    one_free(o);
}

TEST(a_member_that_took_a_snapshot_goes_on_from_the_log_though_its_answer_was_lost) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = leader_of_a_whole_log(tap, &c, 1200);
    connect(o);
    wait_ms(o, 100);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index, 500);
    receive(o, 2, ack(raft_term(o->raft), 500, 500, 0));
    forget(o);
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND)->append.previous.index > 500, 1);
    OK(last_sent(o, 2, MESSAGE_APPEND)->append.records.size > 0);
    one_free(o);
}

TEST(a_refused_snapshot_is_tried_again_after_a_pause_and_a_replaced_one_from_the_start) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    raft_flush(o->raft, o->now_ms);
    struct message no = chunk_reply(o, 0);
    no.snapshot_reply.refused = true;
    receive(o, 2, no);
    o->reads = 0;
    wait_ms(o, 900);
    EQUAL(o->reads, 0);
    wait_ms(o, 200);
    OK(o->reads > 0);
    receive(o, 2, chunk_reply(o, MESSAGE_CHUNK_SIZE));
    o->snapshot_index = 101;
    forget(o);
    wait_ms(o, 400);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.at.index, 101);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.offset, 0);
    OK(sent(o, MESSAGE_APPEND) >= 8); /* heartbeats go on */
    o->reads_fail = true;
    o->reads = o->offers = 0;
    struct member_id two = id_of(2);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_UP);
    wait_ms(o, 1000);
    OK(o->offers > 0 && o->offers <= 11);
    one_free(o);
}

TEST(that_one_snapshot_is_installed_says_nothing_of_the_next) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    struct member_id two = id_of(2);
    raft_flush(o->raft, o->now_ms);
    struct message late = chunk_reply(o, 2 * MESSAGE_CHUNK_SIZE + 10);
    late.snapshot_reply.installed = true;
    o->snapshot_index = 101;
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_DOWN);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_UP);
    o->reads_fail = true; /* the snapshot at 100 is gone */
    wait_ms(o, 300);
    o->reads_fail = false;
    wait_ms(o, 300);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.at.index, 101);
    receive(o, 2, late);
    EQUAL(raft_match(o->raft, &two), 0);
    late.snapshot_reply.at.index = 101;
    receive(o, 2, late);
    EQUAL(raft_match(o->raft, &two), 101);
    one_free(o);
}

/* Its log goes on behind the snapshot under way, and the leader's begins later still. */
TEST(a_member_that_has_what_the_snapshot_under_way_holds_gets_a_newer_one) {
    for (int refuses = 0; refuses < 2; refuses++) {
        struct configuration c = group_of(3, 0, ACK_QUORUM);
        struct one *o = compacted_leader(&c);
        uint64_t last = 0;
        raft_flush(o->raft, o->now_ms);
        EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.at.index, 100);
        for (unsigned i = 0; i < 400; i++) {
            put(o, 1000);
            turn(o);
            last = log_last(o->log);
            receive(o, 3, ack(raft_term(o->raft), last, last, 0));
            forget(o);
        }
        EQUAL(log_compact(o->log, (struct version){raft_term(o->raft), last}, 0), LOG_OK);
        OK(log_first(o->log) > 150);
        o->snapshot_index = last;
        o->reads_old = true;
        struct message answer = ack(raft_term(o->raft), 110, 110, 0);
        if (refuses) {
            answer.append_reply.success = false;
            answer.append_reply.match = 100; /* asked for, and compacted there */
            answer.append_reply.hint = (struct version){1, 110};
        }
        receive(o, 2, answer);
        wait_ms(o, 300);
        EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.at.index, last);
        one_free(o);
    }
}

TEST(an_unanswered_chunk_is_repeated_ever_more_slowly) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    raft_flush(o->raft, o->now_ms);
    wait_ms(o, 30); /* the first soon: its connection may have been on its way */
    OK(o->reads >= 2 && o->reads <= 3);
    wait_ms(o, 6000);
    OK(o->reads >= 9 && o->reads <= 12);
    receive(o, 2, chunk_reply(o, MESSAGE_CHUNK_SIZE));
    o->reads = 0;
    wait_ms(o, 190);
    EQUAL(o->reads, 2); /* the two that are left */
    wait_ms(o, 5000);
    OK(o->reads >= 8 && o->reads <= 12);
    one_free(o);
}

TEST(a_follower_installs_a_snapshot_and_refuses_what_its_host_refuses) {
    struct configuration none = {0};
    struct one *o = one_new(&none);
    static const uint8_t chunk[100];
    struct message m = {.type = MESSAGE_SNAPSHOT, .term = 3};
    m.snapshot.at = (struct version){2, 50};
    m.snapshot.total = 200;
    m.snapshot.chunk = (struct bytes){chunk, 100};
    receive(o, 2, m);
    OK(last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.refused);
    o->chunk_ok = true;
    receive(o, 2, m);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.offset, 100);
    m.snapshot.offset = 100;
    receive(o, 2, m);
    OK(last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.installed);
    EQUAL(raft_commit(o->raft), 50);
    EQUAL(raft_configuration(o->raft)->count, 2);
    EQUAL(raft_configuration_index(o->raft), 50);
    receive_records(o, 2, 3, (struct version){2, 50}, 3, 1, 51);
    turn(o);
    EQUAL(raft_commit(o->raft), 51);
    forget(o);
    receive(o, 2, heartbeat(3, (struct version){1, 10}, 51)); /* before its log, but committed */
    raft_flush(o->raft, o->now_ms);
    OK(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.success);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.match, 51);
    m.snapshot.offset = 0;
    forget(o);
    receive(o, 2, m); /* it has that already */
    turn(o);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.durable, 51);
    EQUAL(sent(o, MESSAGE_SNAPSHOT_REPLY), 0);
    EQUAL(log_last(o->log), 51);
    one_free(o);
}

TEST(a_snapshot_of_what_the_log_has_is_acknowledged_as_far_as_the_log_is_durable) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 1, (struct version){0}, 1, 3, 3);
    raft_flush(o->raft, o->now_ms);
    EQUAL(raft_commit(o->raft), 3); /* by the others' disks */
    forget(o);
    struct message m = {.type = MESSAGE_SNAPSHOT, .term = 1};
    m.snapshot.at = (struct version){1, 3};
    m.snapshot.total = 200;
    receive(o, 2, m);
    raft_flush(o->raft, o->now_ms);
    EQUAL(o->count, 0);
    sync_log(o);
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 2, MESSAGE_APPEND_REPLY)->append_reply.durable, 3);
    one_free(o);
}

TEST(a_snapshot_that_ends_before_the_log_or_contradicts_it_is_no_match) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    o->chunk_ok = true;
    struct message m = {.type = MESSAGE_SNAPSHOT, .term = 1};
    m.snapshot.at = (struct version){1, 50};
    receive(o, 2, m);
    EQUAL(raft_commit(o->raft), 50);
    forget(o);
    m.term = 2;
    m.snapshot.at = (struct version){1, 40};
    receive(o, 3, m);
    turn(o);
    EQUAL(sent(o, MESSAGE_SNAPSHOT_REPLY), 0);
    OK(!last_sent(o, 3, MESSAGE_APPEND_REPLY)->append_reply.success);
    EQUAL(last_sent(o, 3, MESSAGE_APPEND_REPLY)->append_reply.hint.index, 50);
    OK(!raft_diverged(o->raft));
    forget(o);
    m.snapshot.at = (struct version){2, 50};
    receive(o, 3, m);
    turn(o);
    EQUAL(o->count, 0);
    OK(raft_diverged(o->raft));
    one_free(o);
}

TEST(a_failed_disk_ends_it_before_anything_leaves) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    o->disk->broken = true;
    receive(o, 2, vote(5, (struct version){0}));
    OK(raft_failed(o->raft));
    EQUAL(o->count, 0);
    receive(o, 3, vote(6, (struct version){0}));
    raft_flush(o->raft, o->now_ms);
    raft_tick(o->raft, o->now_ms + 5000);
    EQUAL(o->count, 0);
    one_free(o);
}

TEST(a_full_disk_refuses_a_proposal_and_an_append_softly) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    turn(o);
    o->disk->full = true;
    static const uint8_t value[40000];
    struct entry entry = {.key = bytes_of("k"), .value = {value, sizeof value}};
    struct version at;
    enum raft_result result = RAFT_OK;
    for (int i = 0; i < 20 && result == RAFT_OK; i++) {
        result = raft_propose(o->raft, ENTRY_PUT, &entry, &at);
        turn(o);
    }
    EQUAL(result, RAFT_NO_SPACE);
    OK(!raft_failed(o->raft));
    o->disk->full = false;
    EQUAL(raft_propose(o->raft, ENTRY_PUT, &entry, &at), RAFT_OK);
    one_free(o);
}

static uint64_t close_to(struct random *random, uint64_t value) {
    switch (random_below(random, 8)) {
    case 0:
        return random_next(random);
    case 1:
        return 0;
    default:
        return value + random_below(random, 5) - (value >= 2 ? 2 : 0);
    }
}

static struct message random_message(struct random *random, const struct one *o, uint8_t *bytes,
                                     size_t size) {
    struct message m = {.type = (enum message_type)(1 + random_below(random, MESSAGE_READ_INDEX_REPLY))};
    m.term = close_to(random, raft_term(o->raft));
    uint64_t *fields[] = {&m.append_reply.match,     &m.append_reply.durable,    &m.append_reply.read,
                          &m.append_reply.hint.term, &m.append_reply.hint.index, &m.append_reply.last};
    if (m.type == MESSAGE_APPEND_REPLY)
        for (size_t i = 0; i < 6; i++)
            *fields[i] = close_to(random, log_last(o->log));
    m.append_reply.success = m.type == MESSAGE_APPEND_REPLY && random_below(random, 2);
    if (m.type == MESSAGE_APPEND || m.type == MESSAGE_SNAPSHOT) {
        m.append.previous =
            (struct version){close_to(random, raft_term(o->raft)), close_to(random, log_last(o->log))};
        m.append.commit = close_to(random, raft_commit(o->raft));
        m.append.read = close_to(random, 5);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_next(random);
        m.append.records = (struct bytes){bytes, size};
    }
    if (m.type == MESSAGE_SNAPSHOT) {
        m.snapshot.chunk = (struct bytes){bytes, size};
        m.snapshot.total = m.snapshot.offset + size;
    }
    if (m.type == MESSAGE_SNAPSHOT_REPLY) {
        m.snapshot_reply.at = (struct version){1, close_to(random, 100)};
        m.snapshot_reply.offset = close_to(random, MESSAGE_CHUNK_SIZE);
        m.snapshot_reply.installed = random_below(random, 4) == 0;
        m.snapshot_reply.refused = random_below(random, 4) == 0;
    }
    if (m.type == MESSAGE_VOTE)
        m.vote.last =
            (struct version){close_to(random, raft_term(o->raft)), close_to(random, log_last(o->log))};
    if (m.type == MESSAGE_VOTE_REPLY)
        m.vote_reply.granted = random_below(random, 2);
    return m;
}

TEST(no_message_from_anybody_trips_an_assertion) {
    struct random random;
    random_seed(&random, 5);
    for (int round = 0; round < 60; round++) {
        struct configuration c = group_of(3, 1, (enum ack_mode)(round % 3));
        struct one *o = round % 2 ? compacted_leader(&c) : one_new(&c);
        for (int i = 0; i < 2000 && !raft_failed(o->raft); i++) {
            uint8_t *bytes = malloc(40);
            receive(o, 1 + (unsigned)random_below(&random, 6), random_message(&random, o, bytes, 40));
            free(bytes);
            if (random_below(&random, 4) == 0)
                raft_tick(o->raft, o->now_ms += random_below(&random, 200));
            turn(o);
            forget(o);
        }
        OK(!raft_failed(o->raft));
        one_free(o);
    }
}

TESTS(TAP(a_snapshot_goes_in_chunks_and_on_from_where_the_follower_is),
      TAP(an_acknowledgement_of_another_snapshot_than_the_one_under_way_counts_for_nothing),
      TAP(a_few_chunks_are_in_flight_and_each_answer_lets_one_more_go),
      TAP(a_member_that_has_nothing_gets_the_snapshot_where_that_is_smaller_than_the_records_it_stands_for),
      TAP(a_member_that_took_a_snapshot_goes_on_from_the_log_though_its_answer_was_lost),
      TAP(a_refused_snapshot_is_tried_again_after_a_pause_and_a_replaced_one_from_the_start),
      TAP(that_one_snapshot_is_installed_says_nothing_of_the_next),
      TAP(a_member_that_has_what_the_snapshot_under_way_holds_gets_a_newer_one),
      TAP(an_unanswered_chunk_is_repeated_ever_more_slowly),
      TAP(a_follower_installs_a_snapshot_and_refuses_what_its_host_refuses),
      TAP(a_snapshot_of_what_the_log_has_is_acknowledged_as_far_as_the_log_is_durable),
      TAP(a_snapshot_that_ends_before_the_log_or_contradicts_it_is_no_match),
      TAP(a_failed_disk_ends_it_before_anything_leaves),
      TAP(a_full_disk_refuses_a_proposal_and_an_append_softly),
      TAP(no_message_from_anybody_trips_an_assertion))
