/* Snapshots: taken in slices when the log has grown, sent to followers in chunks, installed from a leader. */
#include <assert.h>
#include <stdio.h>

#include "replication/replica_internal.h"

#define LOG_SIZE_DEFAULT (64u * 1024 * 1024)
#define RETRY_MS         5000
#define ABANDONED_MS     60000 /* without a chunk: what came of a snapshot is let go */
#define ROOM_SEGMENTS    2     /* of the log, for which a snapshot that is received leaves room */
#define STOP_SIZE_MAX    (1024u * 1024 * 1024)

static void take_end(struct replica *r) {
    if (r->taking.writer != NULL)
        snapshot_writer_free(r->taking.writer);
    r->taking.writer = NULL;
    if (r->taking.file != NULL)
        file_close(r->taking.file);
    r->taking.file = NULL;
    buffer_release(&r->taking.slice);
}

static void take_failed(struct replica *r, enum file_result result) {
    char text[128];
    r->taking.failed = result;
    take_end(r);
    file_system_remove(r->options.fs, SNAPSHOT_NEW_FILE);
    r->taking.retry_ms = r->now_ms + RETRY_MS;
    snprintf(text, sizeof text, "cannot write a snapshot: %s; the log keeps growing until one succeeds",
             file_result_text(result));
    r->host.notice(r->host.arg, REPLICA_SNAPSHOT_FAILED, text);
}

static bool take_begin(struct replica *r) {
    uint64_t commit = raft_commit(r->raft);
    struct snapshot_header header = {.at.index = commit, .count = store_count(r->store)};
    struct buffer encoded = {0};
    r->taking.failed = FILE_OK;
    if (!log_term_at(r->log, commit, &header.at.term) || store_applied(r->store).index < commit)
        return false;
    replica_state_encode(r, commit, raft_configuration_at(r->raft, commit, &header.configuration_index),
                         &encoded);
    header.configuration = buffer_bytes(&encoded);
    file_system_remove(r->options.fs, SNAPSHOT_NEW_FILE);
    enum file_result result = file_open(r->options.fs, SNAPSHOT_NEW_FILE, true, &r->taking.file);
    if (result == FILE_OK) {
        r->taking.at = header.at;
        r->taking.offset = 0;
        r->taking.writer = snapshot_writer_new(r->store, &header);
        r->log_shrank = true; /* what no sync has covered cannot be let go when the snapshot is done */
        /* The state at the commit cannot be had back: an async leader alone. */
        if (r->taking.writer == NULL) {
            take_end(r);
            r->taking.retry_ms = r->now_ms + RETRY_MS;
        }
    } else {
        r->taking.file = NULL;
        take_failed(r, result);
    }
    buffer_release(&encoded);
    return r->taking.writer != NULL;
}

/* False where the disk did not take it. *last: that was all of it. */
static bool take_slice(struct replica *r, bool *last) {
    struct taking *t = &r->taking;
    *last = snapshot_writer_step(t->writer, SNAPSHOT_SLICE_SIZE, &t->slice);
    struct bytes bytes = buffer_bytes(&t->slice);
    enum file_result result = file_write(t->file, t->offset, bytes);
    t->offset += bytes.size;
    buffer_clear(&t->slice);
    if (result != FILE_OK)
        take_failed(r, result);
    return result == FILE_OK;
}

/* Bytes of log that stay behind a snapshot. */
static uint64_t log_keep(const struct replica *r) {
    uint64_t given = r->options.snapshot_log_size;
    return given > 0 && given < REPLICA_LOG_KEEP ? given : REPLICA_LOG_KEEP;
}

static void offer_end(struct replica *r) {
    snapshot_check_free(r->offered.check);
    r->offered.check = NULL;
    if (r->offered.file != NULL)
        file_close(r->offered.file);
    r->offered.file = NULL;
}

void replica_snapshot_damaged(struct replica *r, const char *why) {
    offer_end(r);
    replica_scrub_found(r, why);
}

/* The file is synced: makes it the snapshot, and the log before it can go (bug 10: never the other way
 * round). */
static bool take_finish(struct replica *r) {
    struct taking *t = &r->taking;
    enum file_result result = t->synced;
    if (result == FILE_OK)
        result = file_system_rename(r->options.fs, SNAPSHOT_NEW_FILE, SNAPSHOT_FILE);
    if (result == FILE_OK)
        result = file_system_sync(r->options.fs);
    if (result != FILE_OK) {
        replica_fail(r, "cannot make a snapshot durable", file_result_text(result));
        take_end(r);
        return false;
    }
    r->snapshot = t->at;
    r->snapshot_size = t->offset;
    r->snapshots++;
    take_end(r);
    enum log_result compacted = log_compact(r->log, r->snapshot, log_keep(r));
    if (compacted != LOG_OK)
        replica_fail(r, "cannot compact the log", log_result_text(compacted));
    r->compacted_size = log_size(r->log);
    char text[128];
    snprintf(text, sizeof text, "snapshot at index %llu: %llu bytes", (unsigned long long)r->snapshot.index,
             (unsigned long long)r->snapshot_size);
    r->host.notice(r->host.arg, REPLICA_SNAPSHOT_TAKEN, text);
    replica_scrub_mended(r);
    return compacted == LOG_OK;
}

static struct replica *replica_of(struct job *job) {
    return (struct replica *)(void *)((char *)job - offsetof(struct replica, taking.job));
}

static void job_run(struct job *job) {
    struct taking *t = &replica_of(job)->taking;
    t->synced = file_sync(t->file);
}

static void job_done(struct job *job) {
    struct replica *r = replica_of(job);
    r->taking.job_running = false;
    if (r->taking.cancelled) {
        r->taking.cancelled = false;
        take_end(r);
        return;
    }
    take_finish(r);
}

static bool take_is_due(const struct replica *r) {
    uint64_t commit = raft_commit(r->raft);
    if (raft_odd(r->raft) || r->now_ms < r->taking.retry_ms)
        return false;
    if (replica_scrub_wants_snapshot(r))
        return true;
    if (commit <= r->snapshot.index)
        return false;
    if (r->taking.needed > r->snapshot.index && commit >= r->taking.needed)
        return true;
    uint64_t limit = r->options.snapshot_log_size > 0 ? r->options.snapshot_log_size : LOG_SIZE_DEFAULT;
    if (limit < 2 * r->snapshot_size)
        limit = 2 * r->snapshot_size;
    uint64_t kept = log_keep(r) > r->compacted_size ? log_keep(r) : r->compacted_size;
    return log_size(r->log) > limit + kept;
}

void snapshot_needed(void *arg, uint64_t index) {
    struct replica *r = arg;
    if (r->taking.needed < index)
        r->taking.needed = index;
}

static void receive_end(struct replica *r) {
    if (r->received.file != NULL)
        file_close(r->received.file);
    r->received = (struct received){0};
}

static void receive_drop(struct replica *r) {
    receive_end(r);
    file_system_remove(r->options.fs, SNAPSHOT_IN_FILE);
}

bool replica_snapshot_tick(struct replica *r) {
    struct taking *t = &r->taking;
    if (r->received.file != NULL && r->now_ms - r->received.heard_ms >= ABANDONED_MS)
        receive_drop(r);
    if (t->job_running)
        return false;
    if (t->writer == NULL && !(take_is_due(r) && take_begin(r)))
        return false;
    bool last;
    if (!take_slice(r, &last))
        return false;
    if (!last)
        return true;
    snapshot_writer_free(t->writer);
    t->writer = NULL;
    t->job = (struct job){.lane = JOB_BULK, .run = job_run, .done = job_done};
    t->job_running = true;
    r->host.background(r->host.arg, &t->job);
    return false;
}

bool replica_snapshot_now(struct replica *r) {
    uint64_t size_max = r->options.stop_size_max > 0 ? r->options.stop_size_max : STOP_SIZE_MAX;
    if (store_memory(r->store) > size_max && !replica_scrub_wants_snapshot(r))
        return false;
    replica_snapshot_release(r);
    if (!take_begin(r))
        return false;
    for (bool last = false; !last;)
        if (!take_slice(r, &last))
            return false;
    r->taking.synced = file_sync(r->taking.file);
    return take_finish(r);
}

/* A snapshot whose sync is under way in a helper thread is left to it, and dropped when it comes back. */
void replica_snapshot_release(struct replica *r) {
    if (r->taking.job_running)
        r->taking.cancelled = true;
    else
        take_end(r);
}

void replica_snapshot_close(struct replica *r) {
    replica_snapshot_release(r);
    offer_end(r);
    receive_end(r);
    buffer_release(&r->offered.chunk);
    buffer_release(&r->taking.slice);
}

bool snapshot_offer(void *arg, struct version *at, uint64_t *total) {
    struct replica *r = arg;
    struct offered *o = &r->offered;
    if (r->snapshot.index == 0 || r->damage.snapshot)
        return false;
    if (!version_equal(o->at, r->snapshot))
        offer_end(r);
    if (o->file == NULL) {
        if (file_open(r->options.fs, SNAPSHOT_FILE, false, &o->file) != FILE_OK) {
            o->file = NULL;
            return false;
        }
        if (file_size(o->file, &o->total) != FILE_OK) {
            offer_end(r);
            return false;
        }
        o->at = r->snapshot;
    }
    *at = o->at;
    *total = o->total;
    return true;
}

/* Unless a newer one has its name already. */
static void offered_damaged(struct replica *r, const char *why) {
    if (version_equal(r->offered.at, r->snapshot))
        replica_snapshot_damaged(r, why);
    else
        offer_end(r);
}

/* Before bytes up to `end` leave. What is sent from elsewhere than the start, to a member that had the rest
 * from another leader, that one verifies: its refusal has the transfer begin again. */
static bool verify_offered(struct replica *r, uint64_t offset, uint64_t end) {
    struct offered *o = &r->offered;
    char why[160];
    if (offset == 0 && (o->check == NULL || snapshot_check_ended(o->check))) {
        snapshot_check_free(o->check);
        o->check = snapshot_check_new(SNAPSHOT_FILE, o->file);
    }
    if (o->check == NULL || snapshot_check_offset(o->check) < offset ||
        snapshot_check_to(o->check, end, why, sizeof why) == SNAPSHOT_OK)
        return true;
    offered_damaged(r, why);
    return false;
}

bool snapshot_read(void *arg, struct version at, uint64_t offset, size_t size, struct bytes *out) {
    struct replica *r = arg;
    struct offered *o = &r->offered;
    if (o->file == NULL || !version_equal(o->at, at) || offset > o->total)
        return false;
    if (size > o->total - offset)
        size = (size_t)(o->total - offset);
    if (!verify_offered(r, offset, offset + size))
        return false;
    buffer_clear(&o->chunk);
    uint8_t *to = buffer_reserve(&o->chunk, size > 0 ? size : 1);
    size_t got;
    if (file_read(o->file, offset, to, size, &got) != FILE_OK || got != size) {
        offered_damaged(r, SNAPSHOT_FILE ": the disk cannot read it");
        return false;
    }
    *out = (struct bytes){to, size};
    return true;
}

/* What a received snapshot holds beside the records. */
struct arrived {
    struct snapshot_header header;
    struct buffer encoded;
    struct configuration configuration;
    struct groups_state groups;
    char why[160];
};

static bool decode_arrived(struct arrived *in, struct version at) {
    bool ok = version_equal(in->header.at, at) &&
              replica_state_decode(in->header.configuration, &in->configuration, &in->groups);
    if (!ok)
        snprintf(in->why, sizeof in->why,
                 "its position differs from the announced one, or its configuration cannot be decoded");
    return ok;
}

static void refuse_received(struct replica *r, const char *why) {
    r->host.notice(r->host.arg, REPLICA_SNAPSHOT_FAILED, why);
    file_system_remove(r->options.fs, SNAPSHOT_IN_FILE);
}

/* A node that has nothing reads it only once, when it is loaded. */
static bool verify_received(struct replica *r, struct version at, struct arrived *in) {
    if (store_applied(r->store).index == 0 && log_last(r->log) == 0)
        return true;
    bool ok = snapshot_verify(r->options.fs, SNAPSHOT_IN_FILE, &in->header, &in->encoded, in->why,
                              sizeof in->why) == SNAPSHOT_OK &&
              decode_arrived(in, at);
    buffer_clear(&in->encoded);
    if (!ok)
        refuse_received(r, in->why);
    return ok;
}

/* The first index of this log that the leader may have overruled. Up to an entry of the term in which the
 * snapshot's last one was made, both logs are that term's leader's. */
static uint64_t not_the_leaders(const struct replica *r, struct version at) {
    uint64_t commit = raft_commit(r->raft), matched = raft_matched(r->raft), last = log_last(r->log), term;
    uint64_t known = matched > commit ? matched : commit;
    for (uint64_t i = at.index < last ? at.index : last; i > known; i--) {
        if (!log_term_at(r->log, i, &term) || term < at.term)
            break;
        if (term == at.term)
            known = i;
    }
    return known + 1;
}

/* What the disk must have room for, and then the store from the received file, while nothing of what this
 * node has is gone: a sender can give right checksums to what cannot be loaded. */
static bool load_received(struct replica *r, struct version at, uint64_t overruled, struct arrived *in,
                          size_t *kept) {
    enum log_result room = log_prepare_reset(r->log);
    if (room != LOG_OK && room != LOG_NO_SPACE)
        replica_fail(r, "cannot prepare the log for a snapshot", log_result_text(room));
    if (room != LOG_OK || replica_keep_overruled(r, overruled, kept) != FILE_OK) {
        if (r->failure[0] == '\0')
            refuse_received(r, ledger_full(r->ledger) ? LEDGER_FULL_TEXT
                                                      : "no space left on the disk to install a snapshot");
        return false;
    }
    replica_snapshot_release(r);
    store_clear(r->store);
    bool ok = snapshot_load(r->options.fs, SNAPSHOT_IN_FILE, r->store, &in->header, &in->encoded, in->why,
                            sizeof in->why) == SNAPSHOT_OK &&
              decode_arrived(in, at);
    if (!ok) {
        refuse_received(r, in->why);
        replica_rebuild(r);
    }
    return ok;
}

/* The order keeps every crash safe: the new snapshot is durable under its name before the log forgets
 * anything, and a log that ends before its snapshot is reset when it is opened. */
static bool exchange(struct replica *r, struct version at, uint64_t overruled, size_t kept) {
    replica_tell_overruled(r, overruled, kept);
    enum file_result result = file_system_rename(r->options.fs, SNAPSHOT_IN_FILE, SNAPSHOT_FILE);
    if (result == FILE_OK)
        result = file_system_sync(r->options.fs);
    if (result == FILE_OK && log_reset(r->log, at) != LOG_OK)
        result = FILE_IO_ERROR;
    if (result != FILE_OK)
        replica_fail(r, "cannot install a snapshot", file_result_text(result));
    return result == FILE_OK;
}

/* Only a group that syncs at times comes to this (raft_receive_snapshot). */
static void tell_commits_lost(struct replica *r, struct version at, uint64_t commit) {
    char text[200];
    snprintf(text, sizeof text,
             "the group has lost records up to index %llu that were committed here, as a power cut may with "
             "-fsync other than always: the leader's snapshot at index %llu has taken their place",
             (unsigned long long)commit, (unsigned long long)at.index);
    r->host.notice(r->host.arg, REPLICA_COMMITS_LOST, text);
}

static bool install(struct replica *r) {
    struct arrived in = {0};
    enum file_result result = file_sync(r->received.file);
    struct version at = r->received.at;
    uint64_t total = r->received.total, commit = raft_commit(r->raft);
    size_t kept;
    receive_end(r);
    if (result != FILE_OK) {
        replica_fail(r, "cannot make a received snapshot durable", file_result_text(result));
        return false;
    }
    uint64_t overruled = not_the_leaders(r, at);
    bool ok = verify_received(r, at, &in) && load_received(r, at, overruled, &in, &kept) &&
              exchange(r, at, overruled, kept);
    buffer_release(&in.encoded);
    if (!ok)
        return false;
    r->snapshot = at;
    r->snapshot_size = total;
    r->snapshots++;
    replica_scrub_mended(r);
    r->compacted_size = 0;
    r->forgotten = at.index;
    r->log_shrank = true;
    r->groups = in.groups;
    replica_digest_begin(r);
    bool odd = raft_odd(r->raft);
    raft_installed(r->raft, at, &in.configuration, in.header.configuration_index);
    replica_settle(r, at.index);
    r->host.notice(r->host.arg, REPLICA_SNAPSHOT_INSTALLED, "a snapshot from the leader was installed");
    if (at.index <= commit && !odd)
        tell_commits_lost(r, at, commit);
    return true;
}

/* Anybody may say that it leads, and announce any size: what comes never takes the room that the log needs to
 * go on, nor more than could be loaded. False with the reason. */
static bool may_receive(struct replica *r, uint64_t total, uint64_t left, char *why, size_t why_size) {
    uint64_t max = r->options.snapshot_max, room;
    uint64_t segment = r->options.segment_size > 0 ? r->options.segment_size : LOG_SEGMENT_SIZE;
    bool ok = file_system_room(r->options.fs, &room) == FILE_OK;
    if (max > 0 && total > max)
        snprintf(why, why_size, "a leader announces a snapshot of %llu bytes: the limit is %llu",
                 (unsigned long long)total, (unsigned long long)max);
    else if (ok && (room < left || room - left < ROOM_SEGMENTS * segment))
        snprintf(
            why, why_size,
            "no room on the disk for a snapshot of %llu bytes that a leader announces: %llu are free, and "
            "%llu of them are the log's",
            (unsigned long long)total, (unsigned long long)room,
            (unsigned long long)(ROOM_SEGMENTS * segment));
    else
        return true;
    return false;
}

static bool receive_begin(struct replica *r, struct version at, uint64_t total, char *why, size_t why_size) {
    receive_drop(r);
    if (!may_receive(r, total, total, why, why_size))
        return false;
    if (file_open(r->options.fs, SNAPSHOT_IN_FILE, true, &r->received.file) != FILE_OK) {
        r->received.file = NULL;
        snprintf(why, why_size, "cannot create a file for a snapshot");
        return false;
    }
    r->received.at = at;
    r->received.total = total;
    return true;
}

static bool receive_write(struct replica *r, struct bytes chunk, char *why, size_t why_size) {
    struct received *in = &r->received;
    in->heard_ms = r->now_ms;
    if (!may_receive(r, in->total, in->total - in->offset, why, why_size))
        return false;
    enum file_result result = file_write(in->file, in->offset, chunk);
    if (result != FILE_OK)
        snprintf(why, why_size, "cannot write a snapshot that a leader sends: %s", file_result_text(result));
    return result == FILE_OK;
}

bool snapshot_chunk(void *arg, struct version at, uint64_t total, uint64_t offset, struct bytes chunk,
                    uint64_t *next) {
    struct replica *r = arg;
    struct received *in = &r->received;
    char why[240];
    *next = 0;
    if (in->file == NULL || !version_equal(in->at, at) || in->total != total) {
        if (offset != 0)
            return true;
        if (!receive_begin(r, at, total, why, sizeof why)) {
            refuse_received(r, why);
            return false;
        }
    }
    *next = in->offset;
    if (offset != in->offset || chunk.size > total - offset)
        return true;
    if (!receive_write(r, chunk, why, sizeof why)) {
        receive_end(r);
        refuse_received(r, why);
        *next = 0;
        return false;
    }
    in->offset += chunk.size;
    *next = in->offset;
    if (in->offset < total)
        return true;
    *next = 0;
    if (!install(r))
        return false;
    *next = total;
    return true;
}
