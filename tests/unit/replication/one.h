/* One consensus core, fed by hand: it is node 1, what it sends is kept, its disk and its time belong to the
 * test. */
#ifndef TESTS_UNIT_REPLICATION_ONE_H
#define TESTS_UNIT_REPLICATION_ONE_H

#include "replication/raft.h"
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
    uint64_t snapshot_index;  /* offered where not 0 */
    uint64_t snapshot_chunks; /* whole ones; 0: 2 */
    unsigned offers, reads;
    bool reads_fail, reads_old; /* old: a snapshot that was replaced is still there */
    bool chunk_ok;
    bool compares;         /* it has a state */
    uint64_t digest;       /* of that, at every index */
    uint64_t needed;       /* index that a snapshot was wanted for */
    unsigned odd, not_odd; /* how often it was kept that it is, and is not any more */
};

static inline struct member_id id_of(unsigned number) {
    struct member_id id = {.incarnation = 1};
    char text[NODE_ID_SIZE + 1];
    snprintf(text, sizeof text, "node-%011u", number);
    memcpy(id.id, text, NODE_ID_SIZE);
    return id;
}

static inline void one_send(void *arg, const struct member_id *to, const struct message *m) {
    struct one *o = arg;
    assert(o->count < SENT_MAX);
    o->sent[o->count].to = *to;
    o->sent[o->count++].m = *m;
    if (m->type == MESSAGE_APPEND)
        o->sent_bytes += m->append.records.size;
}

static inline enum log_result one_before_truncate(void *arg, uint64_t index) {
    (void)arg;
    (void)index;
    return LOG_OK;
}

static inline bool one_offer(void *arg, struct version *at, uint64_t *total) {
    struct one *o = arg;
    o->offers++;
    *at = (struct version){1, o->snapshot_index};
    *total = MESSAGE_CHUNK_SIZE * (o->snapshot_chunks > 0 ? o->snapshot_chunks : 2) + 10;
    return o->snapshot_index > 0;
}

static inline bool one_read(void *arg, struct version at, uint64_t offset, size_t size, struct bytes *out) {
    static const uint8_t chunk[MESSAGE_CHUNK_SIZE];
    struct one *o = arg;
    (void)offset;
    o->reads++;
    *out = (struct bytes){chunk, size};
    return !o->reads_fail && (at.index == o->snapshot_index || o->reads_old);
}

static inline bool one_chunk(void *arg, struct version at, uint64_t total, uint64_t offset,
                             struct bytes chunk, uint64_t *next) {
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

static inline bool one_digest(void *arg, uint64_t index, uint64_t *digest) {
    *digest = ((struct one *)arg)->digest;
    return index > 0;
}

static inline void one_snapshot_needed(void *arg, uint64_t index) {
    ((struct one *)arg)->needed = index;
}

static inline void one_odd(void *arg, bool odd) {
    struct one *o = arg;
    o->odd += odd;
    o->not_odd += !odd;
}

static inline struct configuration group_of(unsigned voters, unsigned learners, enum ack_mode mode) {
    struct configuration c = {.group_id = 7, .mode = mode, .voters_max = 9};
    for (unsigned i = 1; i <= voters + learners; i++)
        c.members[c.count++] =
            (struct member){.id = id_of(i), .role = i <= voters ? MEMBER_VOTER : MEMBER_LEARNER};
    return c;
}

static inline void open_log(struct one *o) {
    struct log_options options = {.fs = &o->disk->fs, .segment_size = 64 * 1024};
    struct log_report report;
    enum log_result result = log_open(&options, (struct version){0}, &o->log, &report);
    assert(result == LOG_OK);
}

static inline void start(struct one *o, const struct configuration *c, struct raft_options options) {
    char why[160];
    options.self = id_of(1);
    options.log = o->log;
    options.fs = &o->disk->fs;
    options.seed = 1;
    hard_state_load(&o->disk->fs, &options.hard_state, why, sizeof why);
    struct raft_host host = {
        .arg = o,
        .send = one_send,
        .before_truncate = one_before_truncate,
        .snapshot_offer = one_offer,
        .snapshot_read = one_read,
        .snapshot_chunk = one_chunk,
        .digest = o->compares ? one_digest : NULL,
        .snapshot_needed = o->compares ? one_snapshot_needed : NULL,
        .odd = o->compares ? one_odd : NULL,
    };
    o->raft = raft_new(&options, &host, c, 0, o->now_ms);
}

static inline struct one *one_new(const struct configuration *c) {
    struct one *o = calloc(1, sizeof *o);
    assert(o != NULL);
    o->disk = disk_new();
    o->now_ms = 1000;
    open_log(o);
    start(o, c, (struct raft_options){.sync_always = true});
    return o;
}

static inline void one_free(struct one *o) {
    raft_free(o->raft);
    log_close(o->log);
    file_system_free(&o->disk->fs);
    free(o);
}

static inline void ignore(void *arg) {
    (void)arg;
}

static inline void sync_log(struct one *o) {
    struct job *job = log_sync_begin(o->log, ignore, NULL);
    if (job == NULL)
        return;
    job->run(job);
    log_sync_end(o->log);
    raft_synced(o->raft, o->now_ms);
}

/* A whole turn, the sync included. */
static inline void turn(struct one *o) {
    raft_flush(o->raft, o->now_ms);
    sync_log(o);
    raft_flush(o->raft, o->now_ms);
}

static inline void receive(struct one *o, unsigned from, struct message m) {
    struct member_id id = id_of(from);
    raft_receive(o->raft, o->now_ms, &id, &m);
}

static inline size_t sent(const struct one *o, enum message_type type) {
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++)
        count += o->sent[i].m.type == type;
    return count;
}

static inline const struct message *last_sent(const struct one *o, unsigned to, enum message_type type) {
    static const struct message none;
    struct member_id id = id_of(to);
    for (size_t i = o->count; i-- > 0;)
        if (o->sent[i].m.type == type && member_id_equal(&o->sent[i].to, &id))
            return &o->sent[i].m;
    return &none;
}

static inline void forget(struct one *o) {
    o->count = 0;
    o->sent_bytes = 0;
}

static inline struct message vote_reply(uint64_t term, bool pre) {
    return (struct message){
        .type = MESSAGE_VOTE_REPLY, .term = term, .vote_reply = {.granted = true, .pre = pre}};
}

static inline struct message vote(uint64_t term, struct version last) {
    return (struct message){.type = MESSAGE_VOTE, .term = term, .vote = {.last = last}};
}

static inline struct message pre_vote(uint64_t term, struct version last) {
    return (struct message){.type = MESSAGE_VOTE, .term = term, .vote = {.last = last, .pre = true}};
}

static inline struct message heartbeat(uint64_t term, struct version previous, uint64_t commit) {
    return (struct message){
        .type = MESSAGE_APPEND, .term = term, .append = {.previous = previous, .commit = commit}};
}

static inline struct message ack(uint64_t term, uint64_t match, uint64_t durable, uint64_t read) {
    return (struct message){
        .type = MESSAGE_APPEND_REPLY,
        .term = term,
        .append_reply = {.success = true, .match = match, .durable = durable, .read = read, .last = match},
    };
}

/* Makes it the leader of a group of three or more, with the votes of 2 and 3. */
static inline void win(struct one *o) {
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

static inline void put(struct one *o, size_t size) {
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

static inline struct message records(struct foreign *f, uint64_t message_term, struct version previous,
                                     uint64_t term, unsigned count, uint64_t commit) {
    struct log_options options = {0};
    struct log_report report;
    f->disk = disk_new();
    options.fs = &f->disk->fs;
    enum log_result result = log_open(&options, (struct version){0}, &f->log, &report);
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

static inline void foreign_free(struct foreign *f) {
    log_close(f->log);
    file_system_free(&f->disk->fs);
}

static inline void receive_records(struct one *o, unsigned from, uint64_t message_term,
                                   struct version previous, uint64_t term, unsigned count, uint64_t commit) {
    struct foreign f;
    receive(o, from, records(&f, message_term, previous, term, count, commit));
    foreign_free(&f);
}

#endif
