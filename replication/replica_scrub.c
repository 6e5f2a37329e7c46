/* The scrub: what a replica holds on its disk and does not use, read and verified a little at a time, so that
 * rot is found while memory still has what the files are to hold; and the mending, whoever found it. */
#include <bsd/string.h>
#include <stdio.h>

#include "replication/replica_internal.h"

#define PART_SIZE (256u * 1024) /* bytes read by a job, */
#define PAUSE_MS  100           /* and the pause behind it: 2.5 MiB/s */

#define STOP_SYNCS_MAX 10000 /* bound on the loop; each sync removes one segment */

const struct replica_damage *replica_damage(const struct replica *r) {
    return &r->damage;
}

static void tell_damaged(struct replica *r, const char *why, const char *what) {
    char text[320];
    r->damage.found++;
    snprintf(
        text, sizeof text,
        "%s: %s is damaged on the disk; a new snapshot is taken from memory, and until that is there this "
        "node could not start: look at the disk",
        why, what);
    r->host.notice(r->host.arg, REPLICA_FILE_DAMAGED, text);
}

void replica_scrub_found(struct replica *r, const char *why) {
    if (r->damage.snapshot)
        return;
    r->damage.snapshot = true;
    tell_damaged(r, why, "the snapshot");
}

static void look_at_log(struct replica *r) {
    uint64_t last;
    char name[FILE_NAME_MAX];
    if (r->damage.log || !log_damaged(r->log, &last, name))
        return;
    r->damage.log = true;
    tell_damaged(r, name, "a segment of the log");
}

/* What memory has as it is on the disk, and wrote there again at once. */
void replica_scrub_rewritten(struct replica *r, const char *name) {
    char text[128];
    r->damage.found++;
    r->damage.mended++;
    snprintf(text, sizeof text, "%s was damaged on disk and has been rewritten from memory: look at the disk",
             name);
    r->host.notice(r->host.arg, REPLICA_FILE_DAMAGED, text);
}

static void look_at_log_end(struct replica *r) {
    for (; r->scrubbing.end_mended < log_end_mended(r->log); r->scrubbing.end_mended++)
        replica_scrub_rewritten(r, "log_end");
}

void replica_scrub_leave_segment(struct replica *r) {
    uint64_t last;
    char name[FILE_NAME_MAX];
    look_at_log(r);
    if (raft_commit(r->raft) == 0 || !log_damaged(r->log, &last, name) || last != UINT64_MAX)
        return;
    enum log_result result = log_write(r->log, raft_commit(r->raft), true);
    if (result != LOG_OK && result != LOG_NO_SPACE)
        replica_fail(r, "cannot write the log", log_result_text(result));
}

bool replica_scrub_wants_snapshot(const struct replica *r) {
    uint64_t last;
    char name[FILE_NAME_MAX];
    uint64_t commit = raft_commit(r->raft);
    return commit > 0 && (r->damage.snapshot || (log_damaged(r->log, &last, name) && last <= commit));
}

static void tell_mended(struct replica *r) {
    char text[128];
    r->damage.mended++;
    snprintf(text, sizeof text, "a new snapshot at index %llu has taken the place of what was damaged",
             (unsigned long long)r->snapshot.index);
    r->host.notice(r->host.arg, REPLICA_FILE_MENDED, text);
}

void replica_scrub_mended(struct replica *r) {
    if (r->damage.snapshot)
        tell_mended(r);
    r->damage.snapshot = false;
}

/* Not before its files are gone: until then a start would find them. */
static void look_at_mended_log(struct replica *r) {
    if (!r->damage.log || !log_mended(r->log))
        return;
    r->damage.log = false;
    tell_mended(r);
}

/* A file goes with each sync. */
static void drop_segments(struct replica *r) {
    for (unsigned left = STOP_SYNCS_MAX; left > 0 && !log_mended(r->log); left--) {
        struct job *job = log_sync_begin(r->log, NULL, NULL);
        if (job == NULL)
            return;
        job->run(job);
        enum log_result result = log_sync_end(r->log);
        if (result != LOG_OK) {
            replica_fail(r, "cannot sync the log", log_result_text(result));
            return;
        }
    }
}

/* Empty where it is not known. */
static void why_damage_stays(const struct replica *r, char *out, size_t size) {
    uint64_t last = 0;
    char name[FILE_NAME_MAX];
    bool in_log = log_damaged(r->log, &last, name);
    out[0] = '\0';
    if (!r->damage.snapshot && !in_log)
        strlcpy(out, ". The file of a segment that has been replaced could not be removed", size);
    else if (raft_odd(r->raft))
        strlcpy(out, ". This node's state is not the majority's, so it takes no snapshot", size);
    else if (!r->damage.snapshot && last > raft_commit(r->raft) && last != UINT64_MAX)
        strlcpy(out, ". It holds uncommitted records, which no snapshot replaces", size);
    else if (r->taking.failed != FILE_OK)
        snprintf(out, size, ". No snapshot could be written to replace it: %s",
                 file_result_text(r->taking.failed));
}

void replica_scrub_stop(struct replica *r) {
    uint64_t last;
    char why[104];
    char name[FILE_NAME_MAX] = "the log";
    look_at_log(r);
    drop_segments(r);
    look_at_mended_log(r);
    if (r->failure[0] != '\0' || (!r->damage.snapshot && log_mended(r->log)))
        return;
    if (r->damage.snapshot)
        strlcpy(name, SNAPSHOT_FILE, sizeof name);
    else
        log_damaged(r->log, &last, name);
    why_damage_stays(r, why, sizeof why);
    snprintf(r->failure, sizeof r->failure,
             "%s is still damaged on disk; the next start will find it, as 'kvctl directory check' does%s",
             name, why);
}

static void check_end(struct scrubbing *s) {
    snapshot_check_free(s->check);
    s->check = NULL;
    if (s->file != NULL)
        file_close(s->file);
    s->file = NULL;
}

static void check_begin(struct replica *r) {
    struct scrubbing *s = &r->scrubbing;
    if (r->snapshot.index == 0 || r->damage.snapshot)
        return;
    if (file_open(r->options.fs, SNAPSHOT_FILE, false, &s->file) != FILE_OK)
        s->file = NULL;
    else
        s->check = snapshot_check_new(SNAPSHOT_FILE, s->file);
    s->snapshots = r->snapshots;
}

static struct replica *replica_of(struct job *job) {
    return (struct replica *)(void *)((char *)job - offsetof(struct replica, scrubbing.job));
}

static void job_run(struct job *job) {
    struct scrubbing *s = &replica_of(job)->scrubbing;
    s->result =
        snapshot_check_to(s->check, snapshot_check_offset(s->check) + PART_SIZE, s->why, sizeof s->why);
}

static void part_done(struct replica *r, uint64_t bytes) {
    r->damage.bytes += bytes;
    r->scrubbing.running = false;
    r->scrubbing.due_ms = r->now_ms + PAUSE_MS;
}

/* Of one that has been replaced meanwhile nothing more is wanted. */
static void job_done(struct job *job) {
    struct replica *r = replica_of(job);
    struct scrubbing *s = &r->scrubbing;
    bool current = s->snapshots == r->snapshots;
    part_done(r, snapshot_check_offset(s->check) - s->from);
    if (current && s->result != SNAPSHOT_OK)
        replica_snapshot_damaged(r, s->why);
    s->in_log = !current || s->result != SNAPSHOT_OK || snapshot_check_ended(s->check);
    if (s->in_log)
        check_end(s);
}

static void segment_done(void *arg) {
    struct replica *r = arg;
    part_done(r, log_scrub_end(r->log));
    r->log_shrank = true; /* a segment that was let go meanwhile has kept its file */
}

/* False where there is nothing to read: that part of the pass is over. */
static bool part_begin(struct replica *r) {
    struct scrubbing *s = &r->scrubbing;
    struct job *job = NULL;
    if (!s->in_log && s->check == NULL)
        check_begin(r);
    if (s->check != NULL) {
        s->from = snapshot_check_offset(s->check);
        s->job = (struct job){.lane = JOB_BULK, .run = job_run, .done = job_done};
        job = &s->job;
    } else {
        check_end(s);
        s->in_log = true;
        job = log_scrub_begin(r->log, segment_done, r);
    }
    if (job == NULL)
        return false;
    s->running = true;
    r->host.background(r->host.arg, job);
    return true;
}

static void tell_rows(struct replica *r) {
    char text[160];
    r->damage.found++;
    snprintf(text, sizeof text,
             "%u rows of the file 'rejected' are damaged on the disk: these rejected writes cannot be shown",
             r->scrubbing.damaged_rows);
    r->scrubbing.damaged_rows = 0;
    r->host.notice(r->host.arg, REPLICA_LEDGER_DAMAGED, text);
}

/* Where the disk is full, the next pass tries again: a file system that copies on write wants room for it. */
static void mend_ledger_head(struct replica *r) {
    bool mended;
    enum file_result result = ledger_mend_head(r->ledger, &mended);
    if (result != FILE_OK && result != FILE_NO_SPACE)
        replica_fail(r, "cannot write the ledger of rejected writes", file_result_text(result));
    if (mended)
        replica_scrub_rewritten(r, LEDGER_FILE);
}

/* What is small is read here and now, and the ledger a part at a time. False: that was all. */
static bool read_rows(struct replica *r) {
    struct scrubbing *s = &r->scrubbing;
    unsigned damaged = 0;
    uint64_t bytes = 0;
    if (!s->in_rows) {
        s->in_rows = true;
        s->row = 0;
        log_scrub_log_end(r->log);
        r->log_shrank = true; /* for a sync */
        if (raft_mend_state(r->raft))
            replica_scrub_rewritten(r, HARD_STATE_NAME);
        mend_ledger_head(r);
    }
    s->in_rows = ledger_scrub(r->ledger, &s->row, PART_SIZE, &bytes, &damaged);
    s->damaged_rows += damaged;
    if (!s->in_rows && s->damaged_rows > 0)
        tell_rows(r);
    part_done(r, bytes);
    return s->in_rows;
}

/* What a copy from the leader is about to replace is left alone. */
void replica_scrub_tick(struct replica *r) {
    struct scrubbing *s = &r->scrubbing;
    look_at_log(r);
    look_at_log_end(r);
    look_at_mended_log(r);
    replica_scrub_leave_segment(r);
    if (s->running || r->now_ms < s->due_ms || raft_odd(r->raft) || raft_diverged(r->raft) ||
        r->received.file != NULL)
        return;
    if ((!s->in_rows && part_begin(r)) || read_rows(r))
        return;
    s->in_log = false;
    s->due_ms = r->now_ms + r->options.scrub_rest_ms;
    r->damage.passes++;
}

void replica_scrub_close(struct replica *r) {
    check_end(&r->scrubbing);
}
