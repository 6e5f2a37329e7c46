/* One consensus core, fed by hand: what it answers to which message, in which turn. */
#include "replication/raft.h"
#include "tests/tap.h"
#include "tests/unit/replication/disk.h"

#include <stdio.h>

#define SENT_MAX 512

/* Node 1 of a group, with everything it sent since the last look. */
struct one {
    struct disk *disk;
    struct log *log;
    struct raft *raft;
    uint64_t now_ms;
    struct {
        struct member_id to;
        struct message m; /* borrowed bytes are gone */
    } sent[SENT_MAX];
    size_t count;
    uint64_t sent_bytes;
    uint64_t snapshot_index; /* offered where not 0 */
    unsigned offers, reads;
    bool reads_fail;
    bool chunk_ok;
};

static struct member_id id_of(unsigned number) {
    struct member_id id = {.incarnation = 1};
    char text[NODE_ID_SIZE + 1];
    snprintf(text, sizeof text, "node-%011u", number);
    memcpy(id.id, text, NODE_ID_SIZE);
    return id;
}

static void one_send(void *arg, const struct member_id *to, const struct message *m) {
    struct one *o = arg;
    assert(o->count < SENT_MAX);
    o->sent[o->count].to = *to;
    o->sent[o->count++].m = *m;
    if (m->type == MESSAGE_APPEND)
        o->sent_bytes += m->append.records.size;
}

static bool one_before_truncate(void *arg, uint64_t index) {
    (void)arg;
    (void)index;
    return true;
}

static bool one_offer(void *arg, struct version *at, uint64_t *total) {
    struct one *o = arg;
    o->offers++;
    *at = (struct version){1, o->snapshot_index};
    *total = MESSAGE_CHUNK_SIZE * 2 + 10;
    return o->snapshot_index > 0;
}

static bool one_read(void *arg, struct version at, uint64_t offset, size_t size, struct bytes *out) {
    static const uint8_t chunk[MESSAGE_CHUNK_SIZE];
    struct one *o = arg;
    (void)offset;
    o->reads++;
    *out = (struct bytes){chunk, size};
    return !o->reads_fail && at.index == o->snapshot_index;
}

static bool one_chunk(void *arg, struct version at, uint64_t total, uint64_t offset, struct bytes chunk,
                      uint64_t *next) {
    struct one *o = arg;
    *next = o->chunk_ok ? offset + chunk.size : 0;
    if (*next == total && o->chunk_ok && log_reset(o->log, at) == LOG_OK) {
        const struct member_id self = id_of(1), leader = id_of(2);
        struct configuration c = {.group_id = 7, .voters_max = 5, .count = 2};
        c.members[0] = (struct member){.id = self, .role = MEMBER_VOTER};
        c.members[1] = (struct member){.id = leader, .role = MEMBER_VOTER};
        raft_installed(o->raft, at, &c, at.index);
    }
    return o->chunk_ok;
}

static struct configuration group_of(unsigned voters, unsigned learners, enum ack_mode mode) {
    struct configuration c = {.group_id = 7, .mode = mode, .voters_max = 9};
    for (unsigned i = 1; i <= voters + learners; i++)
        c.members[c.count++] =
            (struct member){.id = id_of(i), .role = i <= voters ? MEMBER_VOTER : MEMBER_LEARNER};
    return c;
}

static void open_log(struct one *o) {
    struct log_options options = {.fs = &o->disk->fs, .segment_size = 64 * 1024};
    struct log_report report;
    enum log_result result = log_open(&options, (struct version){0}, &o->log, &report);
    assert(result == LOG_OK);
}

static void start(struct one *o, const struct configuration *c, struct raft_options options) {
    char why[160];
    options.self = id_of(1);
    options.log = o->log;
    options.fs = &o->disk->fs;
    options.seed = 1;
    hard_state_load(&o->disk->fs, &options.hard_state, why, sizeof why);
    struct raft_host host = {o, one_send, one_before_truncate, one_offer, one_read, one_chunk};
    o->raft = raft_new(&options, &host, c, 0, o->now_ms);
}

static struct one *one_new(const struct configuration *c) {
    struct one *o = calloc(1, sizeof *o);
    assert(o != NULL);
    o->disk = disk_new();
    o->now_ms = 1000;
    open_log(o);
    start(o, c, (struct raft_options){.sync_always = true});
    return o;
}

static void one_free(struct one *o) {
    raft_free(o->raft);
    log_close(o->log);
    file_system_free(&o->disk->fs);
    free(o);
}

static void ignore(void *arg) {
    (void)arg;
}

static void sync_log(struct one *o) {
    struct job *job = log_sync_begin(o->log, ignore, NULL);
    if (job == NULL)
        return;
    job->run(job);
    log_sync_end(o->log);
    raft_synced(o->raft, o->now_ms);
}

/* A whole turn, the sync included. */
static void turn(struct one *o) {
    raft_flush(o->raft, o->now_ms);
    sync_log(o);
    raft_flush(o->raft, o->now_ms);
}

static void receive(struct one *o, unsigned from, struct message m) {
    struct member_id id = id_of(from);
    raft_receive(o->raft, o->now_ms, &id, &m);
}

static size_t sent(const struct one *o, enum message_type type) {
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++)
        count += o->sent[i].m.type == type;
    return count;
}

static const struct message *last_sent(const struct one *o, unsigned to, enum message_type type) {
    static const struct message none;
    struct member_id id = id_of(to);
    for (size_t i = o->count; i-- > 0;)
        if (o->sent[i].m.type == type && member_id_equal(&o->sent[i].to, &id))
            return &o->sent[i].m;
    return &none;
}

static void forget(struct one *o) {
    o->count = 0;
    o->sent_bytes = 0;
}

static struct message vote_reply(uint64_t term, bool pre) {
    return (struct message){
        .type = MESSAGE_VOTE_REPLY, .term = term, .vote_reply = {.granted = true, .pre = pre}};
}

static struct message vote(uint64_t term, struct version last) {
    return (struct message){.type = MESSAGE_VOTE, .term = term, .vote = {.last = last}};
}

static struct message pre_vote(uint64_t term, struct version last) {
    return (struct message){.type = MESSAGE_VOTE, .term = term, .vote = {.last = last, .pre = true}};
}

static struct message heartbeat(uint64_t term, struct version previous, uint64_t commit) {
    return (struct message){
        .type = MESSAGE_APPEND, .term = term, .append = {.previous = previous, .commit = commit}};
}

static struct message ack(uint64_t term, uint64_t match, uint64_t durable, uint64_t read) {
    return (struct message){
        .type = MESSAGE_APPEND_REPLY,
        .term = term,
        .append_reply = {.success = true, .match = match, .durable = durable, .read = read, .last = match},
    };
}

/* Makes it the leader of a group of three or more, with the votes of 2 and 3. */
static void win(struct one *o) {
    for (int i = 0; i < 3 && raft_role(o->raft) != RAFT_LEADER; i++) {
        o->now_ms += 1000;
        raft_tick(o->raft, o->now_ms);
        for (unsigned from = 2; from <= 3; from++)
            receive(o, from, vote_reply(raft_term(o->raft) + 1, true));
        for (unsigned from = 2; from <= 3; from++)
            receive(o, from, vote_reply(raft_term(o->raft), false));
    }
    assert(raft_role(o->raft) == RAFT_LEADER);
}

static void put(struct one *o, size_t size) {
    static const uint8_t value[VALUE_SIZE_MAX];
    struct entry entry = {.key = bytes_of("k"), .value = {value, size}};
    struct version at;
    enum raft_result result = raft_propose(o->raft, ENTRY_PUT, &entry, &at);
    assert(result == RAFT_OK);
}

/* Records as another node's log would send them: `count` of `term` after previous. */
struct foreign {
    struct disk *disk;
    struct log *log;
};

static struct message records(struct foreign *f, uint64_t message_term, struct version previous,
                              uint64_t term, unsigned count, uint64_t commit) {
    struct log_options options = {0};
    struct log_report report;
    f->disk = disk_new();
    options.fs = &f->disk->fs;
    enum log_result result = log_open(&options, previous, &f->log, &report);
    if (result == LOG_OK && previous.index > 0)
        result = log_reset(f->log, previous);
    struct entry entry = {.key = bytes_of("k"), .value = bytes_of("foreign")};
    for (unsigned i = 0; i < count && result == LOG_OK; i++)
        result = log_append_entry(f->log, term, ENTRY_PUT, &entry);
    struct message m = heartbeat(message_term, previous, commit);
    uint64_t last;
    if (result == LOG_OK)
        result = log_slice(f->log, previous.index + 1, MESSAGE_RECORDS_MAX, &m.append.records, &last);
    assert(result == LOG_OK);
    return m;
}

static void foreign_free(struct foreign *f) {
    log_close(f->log);
    file_system_free(&f->disk->fs);
}

static void receive_records(struct one *o, unsigned from, uint64_t message_term, struct version previous,
                            uint64_t term, unsigned count, uint64_t commit) {
    struct foreign f;
    receive(o, from, records(&f, message_term, previous, term, count, commit));
    foreign_free(&f);
}

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
    EQUAL(raft_propose_configuration(o->raft, &next), RAFT_NOT_LEADER);
    win(o);
    uint64_t term = raft_term(o->raft);
    turn(o);
    EQUAL(raft_propose_configuration(o->raft, &next), RAFT_BUSY);
    receive(o, 2, ack(term, 1, 1, 0));
    EQUAL(raft_propose_configuration(o->raft, &next), RAFT_OK);
    EQUAL(raft_configuration(o->raft)->count, 4); /* in force at once */
    EQUAL(raft_propose_configuration(o->raft, &c), RAFT_BUSY);
    turn(o);
    receive(o, 2, ack(term, 2, 2, 0));
    EQUAL(raft_propose_configuration(o->raft, &c), RAFT_OK);
    one_free(o);
}

TEST(an_overruled_configuration_is_out_of_force) {
    struct configuration c = group_of(3, 0, ACK_QUORUM), next = group_of(3, 1, ACK_QUORUM);
    struct one *o = one_new(&c);
    win(o);
    uint64_t term = raft_term(o->raft), at;
    turn(o);
    receive(o, 2, ack(term, 1, 1, 0));
    raft_propose_configuration(o->raft, &next);
    turn(o);
    receive_records(o, 3, term + 1, (struct version){term, 1}, term + 1, 1, 1);
    turn(o);
    EQUAL(raft_configuration(o->raft)->count, 3);
    EQUAL(raft_configuration_index(o->raft), 0);
    EQUAL(raft_configuration_at(o->raft, 2, &at)->count, 3);
    one_free(o);
}

TEST(configurations_of_the_log_are_found_again_after_a_restart) {
    struct configuration none = {0}, first = group_of(1, 0, ACK_ALL), second = group_of(1, 1, ACK_ALL);
    struct one *o = one_new(&none);
    raft_found(o->raft, o->now_ms, &first);
    turn(o);
    put(o, 10);
    raft_propose_configuration(o->raft, &second);
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

TEST(a_commit_index_never_passes_what_the_leader_has_verified) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = one_new(&c);
    receive_records(o, 2, 1, (struct version){0}, 1, 5, 0);
    turn(o);
    receive(o, 3, heartbeat(2, (struct version){1, 2}, 4)); /* another leader: 3 to 5 may not be its */
    EQUAL(raft_commit(o->raft), 2);
    EQUAL(raft_leader_commit(o->raft), 4);
    one_free(o);
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
    one_free(o);
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
    start(o, &c,
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
    EQUAL(raft_propose_configuration(o->raft, &next), RAFT_OK);
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

TEST(a_snapshot_goes_chunk_by_chunk_and_on_from_where_the_follower_is) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    raft_flush(o->raft, o->now_ms);
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 1);
    receive(o, 2, chunk_reply(o, MESSAGE_CHUNK_SIZE));
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 2);
    receive(o, 2, chunk_reply(o, MESSAGE_CHUNK_SIZE)); /* an answer repeated sends nothing twice */
    raft_flush(o->raft, o->now_ms);
    EQUAL(sent(o, MESSAGE_SNAPSHOT), 2);
    struct member_id two = id_of(2);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_DOWN);
    raft_link(o->raft, o->now_ms, &two, RAFT_LINK_UP);
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.offset, MESSAGE_CHUNK_SIZE);
    receive(o, 2, chunk_reply(o, 2 * MESSAGE_CHUNK_SIZE));
    raft_flush(o->raft, o->now_ms);
    EQUAL(last_sent(o, 2, MESSAGE_SNAPSHOT)->snapshot.chunk.size, 10);
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
    EQUAL(o->reads, 1);
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

TEST(an_unanswered_chunk_is_repeated_ever_more_slowly) {
    struct configuration c = group_of(3, 0, ACK_QUORUM);
    struct one *o = compacted_leader(&c);
    wait_ms(o, 190);
    EQUAL(o->reads, 1);
    wait_ms(o, 5000);
    OK(o->reads >= 4 && o->reads <= 6);
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
    m.snapshot.offset = 0;
    receive(o, 2, m); /* it has that already */
    OK(last_sent(o, 2, MESSAGE_SNAPSHOT_REPLY)->snapshot_reply.installed);
    EQUAL(log_last(o->log), 51);
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
    static const uint8_t value[60000];
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

static uint64_t near(struct random *random, uint64_t value) {
    switch (random_below(random, 8)) {
    case 0:
        return random_next(random);
    case 1:
        return 0;
    default:
        return value + random_below(random, 5) - (value >= 2 ? 2 : 0);
    }
}

static struct message random_message(struct random *random, const struct one *o, uint8_t *bytes, size_t size) {
    struct message m = {.type = (enum message_type)(1 + random_below(random, MESSAGE_READ_INDEX_REPLY))};
    m.term = near(random, raft_term(o->raft));
    uint64_t *fields[] = {&m.append_reply.match, &m.append_reply.durable, &m.append_reply.read,
                          &m.append_reply.hint.term, &m.append_reply.hint.index, &m.append_reply.last};
    if (m.type == MESSAGE_APPEND_REPLY)
        for (size_t i = 0; i < 6; i++)
            *fields[i] = near(random, log_last(o->log));
    m.append_reply.success = m.type == MESSAGE_APPEND_REPLY && random_below(random, 2);
    if (m.type == MESSAGE_APPEND || m.type == MESSAGE_SNAPSHOT) {
        m.append.previous = (struct version){near(random, raft_term(o->raft)), near(random, log_last(o->log))};
        m.append.commit = near(random, raft_commit(o->raft));
        m.append.read = near(random, 5);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_next(random);
        m.append.records = (struct bytes){bytes, size};
    }
    if (m.type == MESSAGE_SNAPSHOT) {
        m.snapshot.chunk = (struct bytes){bytes, size};
        m.snapshot.total = m.snapshot.offset + size;
    }
    if (m.type == MESSAGE_SNAPSHOT_REPLY) {
        m.snapshot_reply.at = (struct version){1, near(random, 100)};
        m.snapshot_reply.offset = near(random, MESSAGE_CHUNK_SIZE);
        m.snapshot_reply.installed = random_below(random, 4) == 0;
        m.snapshot_reply.refused = random_below(random, 4) == 0;
    }
    if (m.type == MESSAGE_VOTE)
        m.vote.last = (struct version){near(random, raft_term(o->raft)), near(random, log_last(o->log))};
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

TESTS(TAP(a_founder_leads_at_once_and_commits_its_configuration_when_it_is_durable),
      TAP(a_sole_voter_leads_in_its_first_tick_and_its_reads_need_nobody),
      TAP(a_learner_and_a_newcomer_never_stand_for_election),
      TAP(a_vote_is_on_disk_before_its_reply_leaves_and_is_not_given_twice_after_a_restart),
      TAP(a_candidate_with_a_worse_log_gets_no_vote),
      TAP(a_repeated_vote_and_the_vote_of_a_stranger_or_a_learner_count_for_nothing),
      TAP(a_pre_vote_changes_nothing_and_is_refused_while_the_leader_is_alive),
      TAP(a_refused_connection_to_the_leader_an_alone_leader_and_a_transfer_let_a_candidate_pass),
      TAP(the_leaders_process_gone_begins_an_election_within_50_ms),
      TAP(of_two_crossing_candidates_with_equal_logs_the_higher_id_goes_on),
      TAP(a_record_of_an_earlier_term_is_not_committed_by_counting),
      TAP(what_is_not_durable_counts_for_nothing_neither_here_nor_there),
      TAP(a_new_commit_index_goes_out_in_the_next_flush_without_records),
      TAP(a_read_is_confirmed_by_a_majority_of_answers_to_a_later_round_only),
      TAP(a_configuration_waits_for_the_terms_first_commit_and_for_the_one_before),
      TAP(an_overruled_configuration_is_out_of_force),
      TAP(configurations_of_the_log_are_found_again_after_a_restart),
      TAP(a_follower_acknowledges_once_when_durable_and_a_heartbeat_at_once),
      TAP(without_sync_written_is_durable_enough),
      TAP(a_commit_index_never_passes_what_the_leader_has_verified),
      TAP(an_append_against_committed_records_is_ignored), TAP(a_refusal_names_the_last_position_that_may_fit),
      TAP(an_append_of_a_lower_term_is_answered_with_the_term),
      TAP(a_stalled_follower_gets_a_window_of_bytes_and_the_leader_a_bound_of_uncommitted_log),
      TAP(after_a_lost_link_the_leader_goes_on_from_what_was_acknowledged),
      TAP(a_quorum_groups_leader_that_hears_no_majority_steps_down_and_an_async_one_marks_itself),
      TAP(a_handover_stops_proposals_brings_the_target_up_and_ends_by_itself),
      TAP(timeout_now_is_obeyed_from_the_leader_of_the_term_only),
      TAP(a_removed_leader_stays_until_the_configuration_is_committed_and_hands_over),
      TAP(a_snapshot_goes_chunk_by_chunk_and_on_from_where_the_follower_is),
      TAP(a_refused_snapshot_is_tried_again_after_a_pause_and_a_replaced_one_from_the_start),
      TAP(an_unanswered_chunk_is_repeated_ever_more_slowly),
      TAP(a_follower_installs_a_snapshot_and_refuses_what_its_host_refuses),
      TAP(a_failed_disk_ends_it_before_anything_leaves),
      TAP(a_full_disk_refuses_a_proposal_and_an_append_softly), TAP(no_message_from_anybody_trips_an_assertion))
