#include "replication/replica.h"

#include <assert.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "replication/replica_internal.h"

#define GATHER_MAX     64  /* records beyond which a batch waits for no more to join it */
#define IDLE_COMMIT_MS 100 /* without another commit */

#define SCRUB_REST_MS (10 * 60 * 1000u)

#define ADVICE_OLD "start it with that version, or empty the data directory and load the data again"

#define FIND_MAX 4096 /* entries that replica_find reads: a few milliseconds */

void replica_fail(struct replica *r, const char *what, const char *why) {
    if (r->failure[0] == '\0')
        snprintf(r->failure, sizeof r->failure, "%s: %s; free or replace the disk, then start the node again",
                 what, why);
}

const char *replica_failure(const struct replica *r) {
    if (r->failure[0] != '\0')
        return r->failure;
    return raft_failed(r->raft) ? "the disk failed while writing the log, or the term and vote; replace the "
                                  "disk, then start the node again"
                                : NULL;
}

static bool undecodable(struct replica *r) {
    replica_fail(r, "cannot read the log back", "a record of this version's own cannot be decoded");
    return false;
}

static void note_write(struct replica *r, uint64_t index) {
    if (r->groups.written != 0)
        return;
    groups_note_write(&r->groups, index);
    replica_digest_ring(r, r->digests.ring_index);
}

/* entry: of a write. */
static bool apply(struct replica *r, const struct log_record *record, const struct entry *entry, bool undo) {
    bool write = replica_is_write(record->type);
    if (record->type == ENTRY_RING) {
        if (!replica_ring_apply(r, record->payload))
            return undecodable(r);
        replica_digest_ring(r, record->index);
    }
    if (write)
        note_write(r, record->index);
    struct version at = {record->term, record->index};
    struct store_effect effect = store_apply(r->store, at, record->type, write ? entry : NULL, undo);
    replica_digest_note(r);
    if (write && !r->closing)
        r->host.applied(r->host.arg, at, &effect);
    return true;
}

/* False where it cannot be applied: the log cannot be read, or the next record is one of the ring and not
 * committed. */
static bool apply_next(struct replica *r, uint64_t commit) {
    struct log_record record;
    struct entry entry;
    uint64_t index = store_applied(r->store).index + 1;
    enum log_result result = log_read(r->log, index, &record);
    if (result != LOG_OK) {
        replica_fail(r, "cannot read the log back", log_result_text(result));
        return false;
    }
    if (record.type == ENTRY_RING && index > commit)
        return false;
    if (replica_is_write(record.type) && !entry_decode(record.payload, &entry))
        return undecodable(r);
    return apply(r, &record, &entry, index > commit);
}

/* At start, while the log is read: some records that are committed. */
static void take_committed(void *arg, const struct log_record *records, size_t count) {
    struct replica *r = arg;
    struct entry entries[LOG_TOLD_MAX];
    struct bytes keys[LOG_TOLD_MAX] = {0};
    size_t writes = 0;
    for (size_t i = 0; i < count; i++) {
        if (!replica_is_write(records[i].type))
            continue;
        if (!entry_decode(records[i].payload, &entries[i])) {
            undecodable(r);
            return;
        }
        keys[writes++] = entries[i].key;
    }
    store_warm(r->store, keys, writes);
    for (size_t i = 0; i < count && r->failure[0] == '\0'; i++)
        apply(r, &records[i], &entries[i], false);
}

/* How far this node may apply: the commit; an async group's leader, what is durable here. */
static uint64_t apply_target(const struct replica *r) {
    uint64_t commit = raft_commit(r->raft);
    if (raft_role(r->raft) != RAFT_LEADER || raft_configuration(r->raft)->mode != ACK_ASYNC)
        return commit;
    uint64_t own = raft_own_held(r->raft);
    return own > commit ? own : commit;
}

static bool advance(struct replica *r) {
    uint64_t commit = raft_commit(r->raft), target = apply_target(r), before = store_applied(r->store).index;
    while (store_applied(r->store).index < target && r->failure[0] == '\0')
        if (!apply_next(r, commit))
            break;
    struct version applied = store_applied(r->store);
    if (applied.index > commit)
        r->answered = applied;
    bool moved = applied.index > before || commit > r->forgotten;
    if (commit > r->forgotten) {
        r->forgotten = commit;
        store_forget(r->store, commit);
        replica_settle(r, commit);
    }
    uint64_t index, proven_ms = raft_proven_ms(r->raft, &index);
    if (applied.index >= index)
        r->current_ms = proven_ms;
    return moved;
}

bool replica_rebuild(struct replica *r) {
    struct snapshot_header header;
    struct buffer configuration = {0};
    char why[160];
    struct configuration ignored;
    replica_snapshot_release(r);
    store_clear(r->store);
    r->groups = (struct groups_state){0};
    enum snapshot_result result =
        snapshot_load(r->options.fs, SNAPSHOT_FILE, r->store, &header, &configuration, why, sizeof why);
    bool ok = result == SNAPSHOT_NONE ||
              (result == SNAPSHOT_OK && replica_state_decode(header.configuration, &ignored, &r->groups));
    buffer_release(&configuration);
    if (!ok) {
        replica_fail(r, "cannot read the snapshot back", why);
        return false;
    }
    replica_digest_begin(r);
    uint64_t commit = raft_commit(r->raft);
    while (store_applied(r->store).index < commit)
        if (!apply_next(r, commit))
            return false;
    return true;
}

/* Of what has been applied, the entries from index on. */
static bool undo(struct replica *r, uint64_t index) {
    if (store_applied(r->store).index < index)
        return true;
    if (r->groups.written >= index) {
        r->groups.written = 0;
        replica_digest_ring(r, r->digests.ring_index);
    }
    if (r->taking.writer != NULL && r->taking.at.index >= index)
        return replica_rebuild(r); /* which drops the snapshot that holds them */
    struct version at = {0, index - 1};
    if (!log_term_at(r->log, at.index, &at.term) && at.index > 0)
        return replica_rebuild(r);
    if (!store_undo(r->store, at))
        return replica_rebuild(r);
    replica_digest_note(r);
    return true;
}

static enum log_result before_truncate(void *arg, uint64_t index) {
    struct replica *r = arg;
    size_t kept;
    if (index <= r->snapshot.index)
        return LOG_COMPACTED;
    enum file_result result = replica_keep_overruled(r, index, &kept);
    if (result != FILE_OK)
        return result == FILE_NO_SPACE ? LOG_NO_SPACE : LOG_IO_ERROR;
    replica_tell_overruled(r, index, kept);
    if (r->forgotten >= index)
        r->forgotten = index - 1;
    return undo(r, index) ? LOG_OK : LOG_IO_ERROR;
}

static void send_message(void *arg, const struct member_id *to, const struct message *message) {
    struct replica *r = arg;
    r->host.send(r->host.arg, to, message);
}

/* False, which is what the caller answers. */
static bool note_damage(struct replica *r, bool damaged) {
    if (r->options.damaged != NULL)
        *r->options.damaged = damaged;
    return false;
}

static bool load_snapshot(struct replica *r, struct snapshot_header *header, struct buffer *state,
                          struct configuration *configuration, char *why, size_t why_size) {
    char cause[160];
    enum snapshot_result result =
        snapshot_load(r->options.fs, SNAPSHOT_FILE, r->store, header, state, cause, sizeof cause);
    if (result == SNAPSHOT_OK || result == SNAPSHOT_NONE) {
        file_system_remove(r->options.fs, SNAPSHOT_NEW_FILE);
        file_system_remove(r->options.fs, SNAPSHOT_IN_FILE);
    }
    if (result == SNAPSHOT_NONE) {
        *header = (struct snapshot_header){0};
        return true;
    }
    if (result != SNAPSHOT_OK) {
        snprintf(why, why_size, "%s%s", cause, result == SNAPSHOT_OLD ? "; " ADVICE_OLD : "");
        return note_damage(r, result == SNAPSHOT_CORRUPT);
    }
    if (!replica_state_decode(header->configuration, configuration, &r->groups)) {
        snprintf(why, why_size, "the snapshot's configuration cannot be decoded");
        return note_damage(r, true);
    }
    if (header->at.term > MESSAGE_TERM_MAX || header->at.index > MESSAGE_INDEX_MAX) {
        snprintf(why, why_size, "the snapshot names a term or an index that no group reaches");
        return note_damage(r, true);
    }
    r->snapshot = header->at;
    return true;
}

static bool open_log(struct replica *r, struct version base, struct log_report *report, char *why,
                     size_t why_size) {
    struct hard_state state;
    char ignored[160];
    struct log_options options = {
        .fs = r->options.fs,
        .exists = r->options.had_log ||
                  hard_state_load(r->options.fs, &state, ignored, sizeof ignored) != FILE_NOT_FOUND,
        .segment_size = r->options.segment_size,
        .salt = r->options.seed,
        .committed = take_committed,
        .committed_arg = r,
    };
    enum log_result result = log_open(&options, base, &r->log, report);
    if (result != LOG_OK) {
        snprintf(why, why_size, "%s%s", report->detail, result == LOG_OLD ? "; " ADVICE_OLD : "");
        return note_damage(r, result == LOG_CORRUPT);
    }
    if (report->cut_bytes > 0)
        r->host.notice(r->host.arg, REPLICA_TAIL_CUT, report->detail);
    snprintf(why, why_size, "%s", r->failure);
    return r->failure[0] == '\0';
}

static bool open_raft(struct replica *r, const struct snapshot_header *header,
                      const struct configuration *configuration, uint64_t commit, uint64_t now_ms, char *why,
                      size_t why_size) {
    struct hard_state hard_state = {0};
    char cause[160];
    enum file_result result = hard_state_load(r->options.fs, &hard_state, cause, sizeof cause);
    if (result == FILE_NOT_FOUND && (header->at.index > 0 || log_last(r->log) > 0)) {
        snprintf(cause, sizeof cause, "hard_state is missing beside a log that has records");
        result = FILE_CORRUPT;
    }
    if (result != FILE_OK && result != FILE_NOT_FOUND) {
        snprintf(why, why_size, "%s%s", cause, result == FILE_OLD ? "; " ADVICE_OLD : "");
        return note_damage(r, result == FILE_CORRUPT);
    }
    if (hard_state.term > MESSAGE_TERM_MAX) {
        snprintf(
            why, why_size,
            "the file 'hard_state' names term %llu, which no group reaches: 'kvctl directory mend' gives it "
            "another, and loses nothing",
            (unsigned long long)hard_state.term);
        return false;
    }
    if (result == FILE_OK && (result = hard_state_save_again(r->options.fs, &hard_state)) != FILE_OK) {
        snprintf(why, why_size, "the file 'hard_state' with the term and vote cannot be written: %s",
                 file_result_text(result));
        return false;
    }
    struct raft_options options = {
        .self = r->options.self,
        .log = r->log,
        .fs = r->options.fs,
        .hard_state = hard_state,
        .commit = commit,
        .sync_always = r->options.sync == SYNC_ALWAYS,
        .odd = replica_odd_open(r),
        .election_min_ms = r->options.election_min_ms,
        .election_max_ms = r->options.election_max_ms,
        .heartbeat_ms = r->options.heartbeat_ms,
        .seed = r->options.seed,
    };
    struct raft_host host = {
        .arg = r,
        .send = send_message,
        .before_truncate = before_truncate,
        .snapshot_offer = snapshot_offer,
        .snapshot_read = snapshot_read,
        .snapshot_chunk = snapshot_chunk,
        .digest = replica_digest_asked,
        .snapshot_needed = snapshot_needed,
        .odd = replica_odd_keep,
    };
    r->raft = raft_new(&options, &host, configuration, header->configuration_index, now_ms);
    return true;
}

/* A directory that has held a log has a ledger too. */
static void tell_ledger(struct replica *r) {
    char text[160];
    if (ledger_created(r->ledger) && log_last(r->log) > 0)
        snprintf(text, sizeof text,
                 "the file 'rejected' was missing: if it held rejected writes, they cannot be shown");
    else if (ledger_damaged(r->ledger) > 0)
        snprintf(text, sizeof text,
                 "%llu bytes of the file 'rejected' are damaged: the rejected writes in them cannot be shown",
                 (unsigned long long)ledger_damaged(r->ledger));
    else
        return;
    r->host.notice(r->host.arg, REPLICA_LEDGER_DAMAGED, text);
}

bool replica_open(const struct replica_options *options, const struct replica_host *host, uint64_t now_ms,
                  struct replica **out, char *why, size_t why_size) {
    struct replica *r = calloc(1, sizeof *r);
    if (r == NULL)
        err(1, "out of memory");
    r->options = *options;
    if (r->options.scrub_rest_ms == 0)
        r->options.scrub_rest_ms = SCRUB_REST_MS;
    r->host = *host;
    r->now_ms = now_ms;
    r->scrubbing.due_ms = now_ms + r->options.scrub_rest_ms; /* opening reads it all */
    r->store = store_new(0);
    struct snapshot_header header;
    struct configuration configuration = {0};
    struct buffer state = {0};
    struct log_report report = {0};
    bool ok = load_snapshot(r, &header, &state, &configuration, why, why_size);
    if (ok)
        replica_digest_begin(r);
    ok = ok && open_log(r, header.at, &report, why, why_size);
    uint64_t commit = report.commit > header.at.index ? report.commit : header.at.index;
    if (ok && commit > log_last(r->log))
        commit = log_last(r->log);
    ok = ok && open_raft(r, &header, &configuration, commit, now_ms, why, why_size) &&
         ledger_open(options->fs, options->ledger_size_max, &r->ledger, why, why_size) == FILE_OK;
    if (ok)
        tell_ledger(r);
    if (ok) {
        if (!report.took_back || replica_rebuild(r))
            advance(r);
        ok = r->failure[0] == '\0';
        if (!ok)
            snprintf(why, why_size, "%s", r->failure);
    }
    buffer_release(&state);
    if (!ok) {
        replica_close(r);
        return false;
    }
    *out = r;
    return true;
}

void replica_close(struct replica *r) {
    if (r == NULL)
        return;
    r->taking.job_running = false; /* the helper threads have been stopped before */
    replica_scrub_close(r);
    replica_snapshot_close(r);
    ledger_close(r->ledger);
    if (r->raft != NULL)
        raft_free(r->raft);
    if (r->log != NULL)
        log_close(r->log);
    store_free(r->store);
    free(r->digests.sums);
    free(r);
}

void replica_set_group(struct replica *r, uint64_t group_id) {
    r->options.group_id = group_id;
}

struct raft *replica_raft(struct replica *r) {
    return r->raft;
}

const struct raft *replica_raft_view(const struct replica *r) {
    return r->raft;
}

const struct store *replica_store(const struct replica *r) {
    return r->store;
}

const struct ledger *replica_ledger(const struct replica *r) {
    return r->ledger;
}

const struct log *replica_log(const struct replica *r) {
    return r->log;
}

void replica_now(struct replica *r, uint64_t now_ms) {
    r->now_ms = now_ms;
}

void replica_receive(struct replica *r, uint64_t now_ms, uint64_t wall_ms, const struct member_id *from,
                     const struct message *message) {
    r->now_ms = now_ms;
    r->wall_ms = wall_ms;
    raft_receive(r->raft, now_ms, from, message);
}

enum raft_result replica_propose(struct replica *r, enum entry_type type, const struct entry *entry,
                                 struct version *at) {
    return raft_propose(r->raft, type, entry, at);
}

static void sync_done(void *arg) {
    struct replica *r = arg;
    enum log_result result = log_sync_end(r->log);
    if (result != LOG_OK)
        replica_fail(r, "cannot sync the log", log_result_text(result));
    else
        raft_synced(r->raft, r->now_ms);
}

static bool sync_is_due(const struct replica *r, uint64_t now_ms) {
    if (log_sync_pending(r->log))
        return false;
    if (r->log_shrank || raft_configuration_index(r->raft) > log_durable(r->log))
        return true;
    if (r->options.sync == SYNC_NEVER)
        return false;
    return r->options.sync == SYNC_ALWAYS || now_ms - r->synced_ms >= r->options.sync_interval_ms;
}

static void tell_space(struct replica *r) {
    bool full = raft_no_space(r->raft) && raft_role(r->raft) != RAFT_LEADER;
    if (full == r->told_full)
        return;
    r->told_full = full;
    if (!full)
        r->host.notice(r->host.arg, REPLICA_DISK_HAS_ROOM, "there is room again: this node follows on");
    else if (ledger_full(r->ledger))
        r->host.notice(r->host.arg, REPLICA_LEDGER_FULL, LEDGER_FULL_TEXT);
    else
        r->host.notice(r->host.arg, REPLICA_DISK_FULL,
                       "no space left on the disk: this node takes nothing new from the leader; free some, "
                       "and it goes on by itself");
}

static void tell_diverged(struct replica *r) {
    if (raft_diverged(r->raft) && !r->told_diverged)
        r->host.notice(
            r->host.arg, REPLICA_DIVERGED,
            "the group has lost records that are committed here: a power cut took them from members whose "
            "-fsync is not always, or whose disk does not keep what it synced; this node can follow no "
            "further: save what only it has, then empty its data directory and start it again");
    r->told_diverged = raft_diverged(r->raft);
}

bool replica_has_room(struct replica *r) {
    return log_has_room(r->log);
}

bool replica_answer(struct replica *r, uint64_t now_ms) {
    uint64_t last = log_last(r->log), target = apply_target(r);
    r->now_ms = now_ms;
    if (r->failure[0] != '\0' || raft_role(r->raft) != RAFT_LEADER || last - target > GATHER_MAX) {
        r->gathering = false;
        return false;
    }
    uint64_t before = store_applied(r->store).index;
    if (before < target)
        advance(r);
    /* One answer brings one request: nothing would join it. */
    r->gathering = r->gathering ? last > r->gathered : target > before + 1;
    r->gathered = last;
    return r->gathering;
}

bool replica_flush(struct replica *r, uint64_t now_ms) {
    r->now_ms = now_ms;
    if (r->failure[0] != '\0')
        return false;
    uint64_t written = log_written(r->log);
    raft_flush(r->raft, now_ms);
    tell_space(r);
    tell_diverged(r);
    replica_odd_tell(r);
    if (r->options.sync != SYNC_ALWAYS && log_written(r->log) > written)
        raft_synced(r->raft, now_ms);
    if (sync_is_due(r, now_ms)) {
        struct job *job = log_sync_begin(r->log, sync_done, r);
        if (job != NULL) {
            r->synced_ms = now_ms;
            r->host.background(r->host.arg, job);
        } else {
            r->log_shrank = false;
        }
    }
    return advance(r);
}

/* Batches record the commit; what is committed after the last one is recorded once the group is idle, so that
 * a node that restarts alone serves it too. Returns when it wants to be asked again. */
static uint64_t note_commit(struct replica *r) {
    uint64_t commit = raft_commit(r->raft);
    if (commit != r->noted.commit) {
        r->noted = (struct noted_commit){.commit = commit, .due_ms = r->now_ms + IDLE_COMMIT_MS};
    } else if (!r->noted.done && r->now_ms >= r->noted.due_ms) {
        r->noted.done = true;
        enum log_result result = log_write(r->log, commit, true);
        if (result != LOG_OK && result != LOG_NO_SPACE)
            replica_fail(r, "cannot write the log", log_result_text(result));
    }
    return r->noted.done ? UINT64_MAX : r->noted.due_ms;
}

uint64_t replica_tick(struct replica *r, uint64_t now_ms, uint64_t wall_ms) {
    r->now_ms = now_ms;
    r->wall_ms = wall_ms;
    if (r->failure[0] != '\0')
        return UINT64_MAX;
    uint64_t next = raft_tick(r->raft, now_ms), noted = note_commit(r);
    next = noted < next ? noted : next;
    replica_check_tick(r);
    replica_scrub_tick(r);
    if (replica_snapshot_tick(r))
        return now_ms;
    if (r->options.sync == SYNC_INTERVAL && log_durable(r->log) < log_last(r->log)) {
        uint64_t due = r->synced_ms + r->options.sync_interval_ms;
        next = due < next ? due : next;
    }
    return next;
}

bool replica_shutdown(struct replica *r) {
    if (replica_failure(r) != NULL)
        return false;
    /* A sync that is under way ends with the helper threads, which the program has stopped before this. */
    enum log_result result = log_write(r->log, raft_commit(r->raft), true);
    struct job *job = NULL;
    if (result == LOG_NO_SPACE && log_written(r->log) == log_last(r->log))
        result = LOG_OK; /* the commit alone had no room */
    replica_scrub_leave_segment(r);
    if (result == LOG_OK && log_sync_pending(r->log))
        result = log_sync_end(r->log);
    if (result == LOG_OK)
        job = log_sync_begin(r->log, sync_done, r);
    if (job != NULL) {
        job->run(job);
        result = log_sync_end(r->log);
    }
    if (result != LOG_OK) {
        replica_fail(r, "cannot sync the log", log_result_text(result));
        return false;
    }
    /* The last syncs may have moved the commit: what they commit belongs into the snapshot, but whoever waits
     * for it has gone. */
    r->closing = true;
    raft_synced(r->raft, r->now_ms);
    advance(r);
    if ((raft_commit(r->raft) > r->snapshot.index || replica_scrub_wants_snapshot(r)) && !raft_odd(r->raft))
        replica_snapshot_now(r);
    replica_scrub_stop(r);
    return replica_failure(r) == NULL;
}

bool replica_find(struct replica *r, struct bytes client, struct bytes request, struct version *at) {
    struct log_record record;
    struct entry entry;
    uint64_t index = store_applied(r->store).index + 1, last = log_last(r->log);
    for (uint64_t end = index + FIND_MAX; index <= last && index < end; index++) {
        if (log_read(r->log, index, &record) != LOG_OK)
            return false;
        if (!replica_is_write(record.type) || !entry_decode(record.payload, &entry))
            continue;
        if (!bytes_equal(entry.client, client) || !bytes_equal(entry.request, request))
            continue;
        *at = (struct version){record.term, record.index};
        return true;
    }
    return false;
}

uint64_t replica_applied(const struct replica *r) {
    return store_applied(r->store).index;
}

uint64_t replica_current_ms(const struct replica *r) {
    return replica_applied(r) > raft_commit(r->raft) ? 0 : r->current_ms;
}
