/* A leader's replica on a disk whose files rot, for the tests of mending.
 *
 * Node 1 is its group's only voter and leads; node 2 is a learner that has nothing and needs the snapshot. It
 * starts from a snapshot at 3.10.
 */
#ifndef TESTS_UNIT_REPLICATION_LEADER_H
#define TESTS_UNIT_REPLICATION_LEADER_H

#include "replication/replica.h"
#include "storage/hard_state.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"
#include "tests/unit/replication/begin_log.h"
#include "tests/unit/replication/one.h"
#include "tests/unit/replication/replica_parts.h"

#define JOBS_MAX 4
#define PUTS     60 /* of fill */

static const struct version base = {3, 10};

struct leader {
    struct sim_disk *disk;
    struct replica *replica;
    struct replica_options options; /* but for what every leader has */
    uint64_t now_ms;
    unsigned notices[REPLICA_FILE_MENDED + 1];
    char damage[320]; /* text of the last REPLICA_FILE_DAMAGED */
    struct job *jobs[JOBS_MAX];
    size_t job_count;
    struct buffer copy; /* what the learner has of the snapshot */
    struct version copy_at;
    uint64_t copy_total;
    struct message last; /* to the learner; borrowed bytes are gone */
    unsigned finished;   /* copies that arrived whole */
};

static inline void take_message(void *arg, const struct member_id *to, const struct message *m) {
    struct leader *l = arg;
    (void)to;
    l->last = *m;
    if (m->type != MESSAGE_SNAPSHOT)
        return;
    if (m->snapshot.offset == 0)
        buffer_clear(&l->copy);
    if (m->snapshot.offset != buffer_size(&l->copy))
        return;
    buffer_append(&l->copy, m->snapshot.chunk);
    l->copy_at = m->snapshot.at;
    l->copy_total = m->snapshot.total;
    l->finished += buffer_size(&l->copy) == m->snapshot.total;
}

static inline void keep_job(void *arg, struct job *job) {
    struct leader *l = arg;
    assert(l->job_count < JOBS_MAX);
    l->jobs[l->job_count++] = job;
}

static inline void ignore_applied(void *arg, struct version at, const struct store_effect *effect) {
    (void)arg;
    (void)at;
    (void)effect;
}

static inline void note(void *arg, enum replica_notice notice, const char *text) {
    struct leader *l = arg;
    l->notices[notice]++;
    if (notice == REPLICA_FILE_DAMAGED)
        snprintf(l->damage, sizeof l->damage, "%s", text);
}

/* Of some megabytes, so that it takes several chunks. */
static inline void make_snapshot(struct buffer *out) {
    static const uint8_t value[64 * 1024];
    struct store *store = store_new(0);
    struct configuration configuration = group_of(1, 1, ACK_QUORUM);
    for (uint64_t index = 1; index <= base.index; index++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", (unsigned)index);
        struct entry entry = {.key = bytes_of(key), .value = {value, sizeof value}};
        store_apply(store, (struct version){base.term, index}, ENTRY_PUT, &entry, false);
    }
    write_snapshot(out, store, base, &configuration);
    store_free(store);
}

static inline bool open_leader(struct leader *l) {
    struct replica_options options = l->options;
    char why[256] = "";
    options.fs = sim_disk_file_system(l->disk);
    options.self = id_of(1);
    options.group_id = 7;
    options.segment_size = 64 * 1024;
    options.sync = SYNC_ALWAYS;
    struct replica_host host = {
        l, take_message, keep_job, ignore_applied, none_unanswered, ignore_overruled, note};
    bool ok = replica_open(&options, &host, l->now_ms, &l->replica, why, sizeof why);
    if (!ok)
        printf("# %s\n", why);
    return ok;
}

static inline void finish_jobs(struct leader *l) {
    while (l->job_count > 0) {
        struct job *job = l->jobs[0];
        memmove(l->jobs, l->jobs + 1, --l->job_count * sizeof(struct job *));
        job->run(job);
        job->done(job);
    }
}

/* So many ticks, 20 ms apart. */
static inline void pass(struct leader *l, unsigned ticks) {
    for (; ticks > 0; ticks--) {
        l->now_ms += 20;
        replica_tick(l->replica, l->now_ms, 0);
        while (replica_flush(l->replica, l->now_ms))
            ;
        finish_jobs(l);
        while (replica_flush(l->replica, l->now_ms))
            ;
    }
}

static inline void hear(struct leader *l, const struct message *m) {
    struct member_id id = id_of(2);
    replica_receive(l->replica, l->now_ms, 0, &id, m);
    replica_flush(l->replica, l->now_ms);
}

/* The learner: it has nothing, takes chunks, and verifies a copy that it has whole. */
static inline void answer(struct leader *l) {
    struct message m = {.term = raft_term(replica_raft(l->replica))};
    if (l->last.type == MESSAGE_APPEND) {
        m.type = MESSAGE_APPEND_REPLY;
        m.append_reply.match = l->last.append.previous.index;
        m.append_reply.read = l->last.append.read;
    } else if (l->last.type == MESSAGE_SNAPSHOT) {
        m.type = MESSAGE_SNAPSHOT_REPLY;
        m.snapshot_reply.at = l->copy_at;
        m.snapshot_reply.offset = buffer_size(&l->copy);
        if (buffer_size(&l->copy) == l->copy_total) {
            m.snapshot_reply.offset = 0;
            m.snapshot_reply.refused = true;
        }
    }
    l->last.type = 0;
    if (m.type != 0)
        hear(l, &m);
}

static inline void run(struct leader *l, unsigned ticks) {
    for (; ticks > 0; ticks--) {
        pass(l, 1);
        answer(l);
    }
}

static inline struct leader *leader_new(const struct replica_options *options) {
    struct leader *l = calloc(1, sizeof *l);
    struct buffer snapshot = {0};
    struct hard_state state = {.term = base.term};
    l->disk = sim_disk_new();
    l->now_ms = 10000;
    l->options = *options;
    make_snapshot(&snapshot);
    save(sim_disk_file_system(l->disk), "snapshot", buffer_bytes(&snapshot));
    buffer_release(&snapshot);
    if (!begin_log(sim_disk_file_system(l->disk)) ||
        hard_state_save(sim_disk_file_system(l->disk), &state) != FILE_OK || !open_leader(l))
        abort();
    return l;
}

static inline bool reopen(struct leader *l) {
    l->job_count = 0; /* the process ends: what is under way is not seen any more */
    replica_close(l->replica);
    return open_leader(l);
}

static inline void leader_free(struct leader *l) {
    replica_close(l->replica);
    sim_disk_free(l->disk);
    buffer_release(&l->copy);
    free(l);
}

static inline void rot(struct leader *l, const char *name, uint64_t offset) {
    if (!sim_disk_flip(l->disk, name, offset, 4))
        abort();
}

/* Or it cannot be read any more. */
static inline void spoil(struct leader *l, const char *name, uint64_t offset, bool unreadable) {
    if (!unreadable)
        rot(l, name, offset);
    else if (!sim_disk_damage(l->disk, DAMAGE_UNREADABLE, name, offset, NULL))
        abort();
}

/* What has left, as a learner with nothing loads it. */
static inline bool copy_loads(const struct leader *l) {
    struct file_system *fs = file_system_memory_new();
    struct snapshot_header header;
    struct buffer state = {0};
    char why[160] = "";
    save(fs, "copy", buffer_bytes(&l->copy));
    bool ok = snapshot_verify(fs, "copy", &header, &state, why, sizeof why) == SNAPSHOT_OK;
    if (!ok)
        printf("# %s\n", why);
    buffer_release(&state);
    file_system_free(fs);
    return ok;
}

static inline void note_name(void *arg, const char *name) {
    char *first = arg;
    if (strncmp(name, "log-", 4) == 0 && first[0] == '\0')
        snprintf(first, FILE_NAME_MAX, "%s", name);
}

static inline void first_segment(const struct leader *l, char name[FILE_NAME_MAX]) {
    name[0] = '\0';
    sim_disk_names(l->disk, note_name, name);
}

/* Fills several segments of 64 KiB. */
static inline void fill(struct leader *l) {
    static const uint8_t value[8 * 1024];
    pass(l, 100);
    for (unsigned i = 0; i < PUTS; i++) {
        char key[8];
        struct version at;
        snprintf(key, sizeof key, "p%u", i);
        struct entry entry = {.key = bytes_of(key), .value = {value, sizeof value}};
        if (replica_propose(l->replica, ENTRY_PUT, &entry, &at) != RAFT_OK)
            abort();
        pass(l, 1);
    }
}

static inline bool has_all(const struct leader *l) {
    return store_count(replica_store(l->replica)) == base.index + PUTS;
}

static inline void last_name(void *arg, const char *name) {
    if (strncmp(name, "log-", 4) == 0)
        snprintf(arg, FILE_NAME_MAX, "%s", name);
}

#endif
