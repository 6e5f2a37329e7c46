/* One follower's replica, fed by hand, for the tests of a replica.
 *
 * It starts from a snapshot at 3.10 of an async group of three, and is node 1; nodes 2 and 3 lead it in turn.
 */
#ifndef TESTS_UNIT_REPLICATION_FOLLOWER_H
#define TESTS_UNIT_REPLICATION_FOLLOWER_H

#include "replication/replica.h"
#include "storage/hard_state.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"
#include "tests/unit/replication/begin_log.h"
#include "tests/unit/replication/one.h"
#include "tests/unit/replication/replica_parts.h"

#define GROUP_ID 7

static const struct version base = {3, 10};

struct follower {
    struct sim_disk *disk;
    struct replica *replica;
    uint64_t now_ms;
    struct replica_options options; /* but for what every follower has */
    unsigned notices[REPLICA_FILE_MENDED + 1], applied;
    char text[256];          /* of the last notice */
    struct job *job, *later; /* they run in this order */
    struct message sent;     /* the last one; borrowed bytes are gone */
};

static inline void keep_sent(void *arg, const struct member_id *to, const struct message *message) {
    struct follower *f = arg;
    (void)to;
    f->sent = *message;
}

static inline void keep_job(void *arg, struct job *job) {
    struct follower *f = arg;
    assert(f->later == NULL);
    *(f->job == NULL ? &f->job : &f->later) = job;
}

static inline void count_applied(void *arg, struct version at, const struct store_effect *effect) {
    struct follower *f = arg;
    (void)at;
    (void)effect;
    f->applied++;
}

static inline void count_notice(void *arg, enum replica_notice notice, const char *text) {
    struct follower *f = arg;
    f->notices[notice]++;
    snprintf(f->text, sizeof f->text, "%s", text);
}

/* The snapshot file of a state at `at` with the key `name`. */
static inline void make_snapshot_of(struct buffer *out, struct version at, const char *name,
                                    struct bytes value) {
    struct store *store = store_new(0);
    struct configuration configuration = group_of(3, 0, ACK_ASYNC);
    struct entry entry = {.key = bytes_of(name), .value = value};
    for (uint64_t index = 1; index < at.index; index++)
        store_apply(store, (struct version){at.term, index}, ENTRY_NOOP, NULL, false);
    store_apply(store, at, ENTRY_PUT, &entry, false);
    write_snapshot(out, store, at, &configuration);
    store_free(store);
}

static inline void make_snapshot(struct buffer *out, struct version at, const char *name) {
    make_snapshot_of(out, at, name, bytes_of("snapshot"));
}

static inline bool open_follower(struct follower *f) {
    struct replica_options options = f->options;
    options.fs = sim_disk_file_system(f->disk);
    options.self = id_of(1);
    options.group_id = GROUP_ID;
    options.segment_size = 64 * 1024;
    struct replica_host host = {
        f, keep_sent, keep_job, count_applied, none_unanswered, ignore_overruled, count_notice};
    char why[256] = "";
    bool ok = replica_open(&options, &host, f->now_ms, &f->replica, why, sizeof why);
    if (!ok)
        printf("# %s\n", why);
    return ok;
}

static inline struct follower *follower_with(const struct replica_options *options, struct bytes value) {
    struct follower *f = calloc(1, sizeof *f);
    struct buffer snapshot = {0};
    struct hard_state state = {.term = 3};
    f->disk = sim_disk_new();
    f->now_ms = 10000;
    f->options = *options;
    make_snapshot_of(&snapshot, base, "old", value);
    save(sim_disk_file_system(f->disk), "snapshot", buffer_bytes(&snapshot));
    buffer_release(&snapshot);
    if (!begin_log(sim_disk_file_system(f->disk)) ||
        hard_state_save(sim_disk_file_system(f->disk), &state) != FILE_OK || !open_follower(f))
        abort();
    return f;
}

static inline struct follower *follower_new(uint64_t ledger_size_max) {
    struct replica_options options = {.sync = SYNC_ALWAYS, .ledger_size_max = ledger_size_max};
    return follower_with(&options, bytes_of("snapshot"));
}

static inline void follower_free(struct follower *f) {
    replica_close(f->replica);
    sim_disk_free(f->disk);
    free(f);
}

static inline void finish_jobs(struct follower *f) {
    while (f->job != NULL) {
        struct job *job = f->job;
        f->job = f->later;
        f->later = NULL;
        job->run(job);
        job->done(job);
        replica_flush(f->replica, f->now_ms);
    }
}

static inline void hear(struct follower *f, unsigned from, const struct message *m) {
    struct member_id id = id_of(from);
    replica_receive(f->replica, f->now_ms, 0, &id, m);
    replica_flush(f->replica, f->now_ms);
    finish_jobs(f);
}

/* `count` puts of `term` behind previous. */
static inline void hear_records(struct follower *f, unsigned from, struct version previous, uint64_t term,
                                unsigned count, uint64_t commit) {
    struct foreign foreign;
    struct message m = records(&foreign, term, previous, term, count, commit);
    hear(f, from, &m);
    foreign_free(&foreign);
}

static inline uint64_t last_of(const struct follower *f) {
    return log_last(replica_log(f->replica));
}

static inline size_t rows_of(const struct follower *f) {
    return ledger_count(replica_ledger(f->replica));
}

/* What a leader of term 4 appended and nobody committed is overruled by the leader of term 5. */
static inline void overrule(struct follower *f) {
    hear_records(f, 3, base, 5, 2, base.index);
}

static inline void hear_snapshot(struct follower *f, unsigned from, uint64_t term, struct version at,
                                 struct bytes file) {
    struct message m = {.type = MESSAGE_SNAPSHOT, .term = term};
    m.snapshot.at = at;
    m.snapshot.total = file.size;
    m.snapshot.chunk = file;
    hear(f, from, &m);
}

static inline bool has_key(const struct follower *f, const char *key) {
    struct store_record record;
    return store_get(replica_store(f->replica), bytes_of(key), &record);
}

#endif
