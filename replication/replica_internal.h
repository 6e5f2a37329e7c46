/* What the sources of a replica (replica*.c) share. examine.c takes the names of files from it, and the codec
 * of what a snapshot holds beside the records. */
#ifndef REPLICATION_REPLICA_INTERNAL_H
#define REPLICATION_REPLICA_INTERNAL_H

#include "replication/replica.h"

#define SNAPSHOT_FILE     "snapshot"
#define SNAPSHOT_NEW_FILE "snapshot.new" /* being taken */
#define SNAPSHOT_IN_FILE  "snapshot.in"  /* being received */
#ifndef SNAPSHOT_SLICE_SIZE
#define SNAPSHOT_SLICE_SIZE (256u * 1024) /* bytes put out per tick: under a millisecond of work */
#endif

#define LEDGER_FULL_TEXT                                                                                     \
    "the ledger of rejected writes has reached its bound of 1 GiB: until its rows are applied or dropped "   \
    "(kvctl rejected), this node keeps its log and takes nothing from the leader"

/* A snapshot being taken: sliced by ticks, synced by a job, then renamed. */
struct taking {
    struct snapshot_writer *writer; /* NULL: none, or all is written and the job is under way */
    struct file *file;              /* NULL: none */
    struct version at;
    uint64_t offset;
    uint64_t retry_ms; /* after a failure not before then */
    struct buffer slice;
    struct job job;
    enum file_result synced;
    enum file_result failed; /* of the last try; FILE_OK: the disk took it */
    bool job_running, cancelled;
    uint64_t needed; /* one that ends here or later is wanted now; 0 none */
};

/* The snapshot being sent to followers. */
struct offered {
    struct file *file;            /* NULL: none */
    struct snapshot_check *check; /* runs ahead of the chunks; NULL: none has left */
    struct version at;
    uint64_t total;
    struct buffer chunk;
};

/* The snapshot being received. */
struct received {
    struct file *file; /* NULL: none */
    struct version at;
    uint64_t total, offset;
    uint64_t heard_ms; /* when its last chunk came */
};

/* The scrub: of the snapshot, of the log, then of the small files and the ledger. */
struct scrubbing {
    struct job job; /* the snapshot's */
    struct file *file;
    struct snapshot_check *check; /* NULL: none is open */
    uint64_t from;                /* where the job began in it */
    uint64_t snapshots;           /* which one it is, of those that were put in place */
    uint64_t due_ms;
    enum snapshot_result result;
    bool running, in_log, in_rows;
    size_t row;            /* of the ledger, to be read next */
    unsigned damaged_rows; /* of this pass */
    uint64_t end_mended;   /* log_end_mended, as it was told */
    char why[160];
};

/* The commit as last seen, and whether the log has recorded it since. */
struct noted_commit {
    uint64_t commit, due_ms;
    bool done;
};

/* Of the state after each of the last applied entries, by index modulo REPLICA_DIGESTS. */
struct digests {
    uint64_t *sums;
    uint64_t first;      /* index of the first one noted, or that it could be */
    uint64_t noted;      /* the highest one of all, also of those undone since: their sums took places */
    uint64_t ring;       /* the ring's part, as it is now */
    uint64_t ring_index; /* of the last entry that changed it, its note of a client's first write apart */
    uint64_t asked;      /* index whose digest is kept however much is applied at once; 0 none */
    uint64_t kept;       /* that digest */
    bool is_kept;
};

struct replica {
    struct replica_options options;
    struct replica_host host;
    struct log *log;
    struct store *store;
    struct raft *raft;
    struct ledger *ledger;
    uint64_t now_ms, wall_ms;
    bool gathering;     /* the last turn ended in replica_answer, */
    uint64_t gathered;  /* with the log up to here */
    uint64_t forgotten; /* store_forget was called up to here */
    uint64_t current_ms;
    struct noted_commit noted;
    uint64_t synced_ms; /* when the last sync began, for SYNC_INTERVAL */
    struct version
        answered; /* highest entry of that term that was applied, and so answered, before its commit */
    struct version snapshot; /* the newest one on disk; index 0: none */
    uint64_t snapshot_size;
    bool log_shrank; /* syncs are wanted in every mode: each lets go one file the log no longer needs */
    uint64_t compacted_size; /* of the log after the last compaction, which leaves whole segments */
    struct taking taking;
    struct offered offered;
    struct received received;
    struct groups_state groups;
    struct digests digests;
    struct replica_check check;
    struct replica_damage damage;
    struct scrubbing scrubbing;
    uint64_t snapshots; /* that were put in place since the start */
    uint64_t led_term;  /* the term that barrier belongs to */
    bool writes_held;
    uint64_t barrier;         /* leader: client writes wait until this index is applied */
    bool closing;             /* nobody is told any more of what is applied */
    uint64_t ledger_retry_ms; /* it had no room: not before then */
    bool told_diverged, told_odd;
    uint64_t told_odd_count, told_unequal; /* of raft_comparison */
    bool told_full;                        /* that the disk is full */
    char failure[256];                     /* empty: none */
};

void replica_fail(struct replica *r, const char *what, const char *why);
static inline bool replica_is_write(enum entry_type type) {
    return type == ENTRY_PUT || type == ENTRY_DELETE;
}
/* The store anew, from the snapshot and the log up to the commit: where the undo list does not reach back far
 * enough. */
bool replica_rebuild(struct replica *r);

/* replica_digest.c */
/* The state was loaded, or is new. */
void replica_digest_begin(struct replica *r);
/* The ring's state has changed by the entry at index. */
void replica_digest_ring(struct replica *r, uint64_t index);
/* An entry was applied, or some were undone. */
void replica_digest_note(struct replica *r);
/* raft_host.digest: of the state as it is now where that is at index. */
bool replica_digest_asked(void *arg, uint64_t index, uint64_t *digest);

/* replica_ring.c */
/* False for a payload that is no ring record. */
bool replica_ring_apply(struct replica *r, struct bytes payload);
/* What a snapshot holds beside the records: configuration and ring, as of index `at`. */
void replica_state_encode(const struct replica *r, uint64_t at, const struct configuration *configuration,
                          struct buffer *out);
/* False for bytes that are none. */
bool replica_state_decode(struct bytes state, struct configuration *configuration,
                          struct groups_state *groups);

/* replica_odd.c: the file `diverged`, and what is said of odd members. */
bool replica_odd_open(struct replica *r);
void replica_odd_keep(void *arg, bool odd);
void replica_odd_tell(struct replica *r);
/* The next slice of the look at the own records, when it is due. */
void replica_check_tick(struct replica *r);

/* replica_ledger.c */
/* Puts the clients' writes from index on into the ledger, durably (async groups), *kept of them.
 * FILE_NO_SPACE: some may be there already; nothing else has changed. Other failures are the replica's. */
enum file_result replica_keep_overruled(struct replica *r, uint64_t index, size_t *kept);
/* The entries from index on leave the log now. */
void replica_tell_overruled(struct replica *r, uint64_t index, size_t kept);
/* Rows up to the commit become `rejected`, or go. */
void replica_settle(struct replica *r, uint64_t commit);

/* replica_scrub.c */
void replica_scrub_tick(struct replica *r);
void replica_scrub_close(struct replica *r);
/* The newest snapshot is damaged. */
void replica_scrub_found(struct replica *r, const char *why);
/* Files are damaged now that a snapshot of what is committed mends. */
bool replica_scrub_wants_snapshot(const struct replica *r);
/* A new snapshot is durable. */
void replica_scrub_mended(struct replica *r);
/* At a stop: removes the damaged segments that a snapshot has replaced. The replica has failed where damage
 * stays. Blocks. */
void replica_scrub_stop(struct replica *r);
/* The segment that is written, where it is damaged, so that a snapshot can stand for it. */
void replica_scrub_leave_segment(struct replica *r);
/* replica_snapshot.c */
/* The newest one's file was read, and is not what was written. */
void replica_snapshot_damaged(struct replica *r, const char *why);
bool snapshot_offer(void *arg, struct version *at, uint64_t *total);
void snapshot_needed(void *arg, uint64_t index);
bool snapshot_read(void *arg, struct version at, uint64_t offset, size_t size, struct bytes *out);
bool snapshot_chunk(void *arg, struct version at, uint64_t total, uint64_t offset, struct bytes chunk,
                    uint64_t *next);
/* Starts one when the log has grown, and takes the next slice of one that is under way. True: call again
 * soon. */
bool replica_snapshot_tick(struct replica *r);
/* Takes one whole, blocking; false where it could not. */
bool replica_snapshot_now(struct replica *r);
void replica_snapshot_release(struct replica *r);
void replica_snapshot_close(struct replica *r);

#endif
