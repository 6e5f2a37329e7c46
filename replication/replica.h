/* One node's replica of its group: log, store, consensus and rejected-write ledger put together.
 *
 * Applies what consensus commits to the store; in an async group the leader applies what is durable there,
 * and undoes what a new leader overrules (ARCHITECTURE.md, "Applying before commit"). Takes snapshots of the
 * committed state when the log has grown, and installs those a leader sends. A core: jobs and messages go to
 * its host. */
#ifndef REPLICATION_REPLICA_H
#define REPLICATION_REPLICA_H

#include "cluster/groups.h"
#include "replication/ledger.h"
#include "replication/raft.h"
#include "storage/snapshot.h"
#include "storage/store.h"

enum replica_sync { SYNC_ALWAYS, SYNC_INTERVAL, SYNC_NEVER }; /* -fsync */

#define REPLICA_LOG_KEEP (8u * 1024 * 1024) /* bytes of log kept behind a snapshot for followers that lag */

#ifndef REPLICA_DIGESTS
#define REPLICA_DIGESTS 4096 /* applied entries behind which the state's digest is known */
#endif

struct replica_options {
    struct file_system *fs; /* borrowed */
    struct member_id self;
    uint64_t group_id; /* from the identity; 0 a newcomer's */
    bool had_log;      /* the directory has held one: that nothing of it is there is damage */
    bool *damaged;     /* set by replica_open where what had been durable is damaged; NULL: nobody asks */
    enum replica_sync sync;
    uint32_t sync_interval_ms;
    uint32_t segment_size;      /* 0: the log's default */
    uint64_t snapshot_log_size; /* bytes of log that call for a snapshot; 0: 64 MiB. Never less than twice the
                                 * last snapshot. Below REPLICA_LOG_KEEP that much is also kept behind one */
    uint64_t snapshot_max;  /* bytes of the largest that is taken from a leader: what this machine's memory
                             * cannot hold, it cannot load; 0: no bound */
    uint64_t stop_size_max; /* bytes of store up to which a stop takes a snapshot: a larger one restarts from
                             * its log; 0: 1 GiB */
    uint64_t scrub_rest_ms; /* before each pass over the files; 0: 10 minutes */
    uint64_t ledger_size_max;                                /* 0: the ledger's default */
    uint64_t election_min_ms, election_max_ms, heartbeat_ms; /* 0: raft.h's */
    uint64_t seed;
};

enum replica_notice {
    REPLICA_TAIL_CUT, /* text: what was cut and where */
    REPLICA_SNAPSHOT_TAKEN,
    REPLICA_SNAPSHOT_INSTALLED,
    REPLICA_SNAPSHOT_FAILED, /* the disk is full, or one that was received is damaged */
    REPLICA_LEDGER_DAMAGED,
    REPLICA_OVERRULED, /* text: how many writes went to the ledger */
    REPLICA_DISK_FULL, /* this and the next two: a follower's; a leader answers 507 */
    REPLICA_LEDGER_FULL,
    REPLICA_DISK_HAS_ROOM,
    REPLICA_DIVERGED,    /* this node can follow its group no further */
    REPLICA_ODD,         /* text: whose state differs from the majority's, this node's or a member's */
    REPLICA_EQUAL_AGAIN, /* this node's state is the majority's again, or no voters differ any more */
    REPLICA_MEMORY_FAILED,
    REPLICA_UNEQUAL,      /* the voters' states differ, and none has a majority */
    REPLICA_COMMITS_LOST, /* a snapshot has taken the place of records that were committed here */
    REPLICA_FILE_DAMAGED, /* while it runs; text: which file, and where */
    REPLICA_FILE_MENDED,  /* a new snapshot stands for it */
};

struct replica_host {
    void *arg;
    void (*send)(void *arg, const struct member_id *to, const struct message *message);
    void (*background)(void *arg, struct job *job);
    /* An entry was applied here: its outcome, for whoever waits for it. */
    void (*applied)(void *arg, struct version at, const struct store_effect *effect);
    /* The write at `at` still waits for a stronger acknowledgement: its client has not been answered. */
    bool (*unanswered)(void *arg, struct version at);
    /* Entries from index on are about to leave the log: a new leader overruled them. */
    void (*overruled)(void *arg, uint64_t index);
    void (*notice)(void *arg, enum replica_notice notice, const char *text);
};

struct replica;

/* Loads the snapshot, opens the log, applies up to the recorded commit. False with one line in `why` (cause
 * and mend) where the directory's content is damaged or unreadable. */
bool replica_open(const struct replica_options *options, const struct replica_host *host, uint64_t now_ms,
                  struct replica **out, char *why, size_t why_size);
void replica_close(struct replica *r);

/* The founding of the group, or the group a newcomer was adopted by. */
void replica_set_group(struct replica *r, uint64_t group_id);
struct raft *replica_raft(struct replica *r);
const struct raft *replica_raft_view(const struct replica *r);
const struct store *replica_store(const struct replica *r);
const struct ledger *replica_ledger(const struct replica *r);
const struct log *replica_log(const struct replica *r);
/* For listing: reading rows reads the file. */
struct ledger *replica_rejected(struct replica *r);
/* Drops a row, durably. FILE_NO_SPACE: it stays; other failures are the replica's. Blocks. */
enum file_result replica_rejected_drop(struct replica *r, size_t position);

/* wall_ms is Unix time, for the ledger's rows. */
void replica_receive(struct replica *r, uint64_t now_ms, uint64_t wall_ms, const struct member_id *from,
                     const struct message *message);
enum raft_result replica_propose(struct replica *r, enum entry_type type, const struct entry *entry,
                                 struct version *at);

/* The digest of the state after the entry at index: records, answered pairs and the ring. Replicas of a group
 * have the same at the same committed index. False where it is not applied here, or not known any more: it
 * is for the last REPLICA_DIGESTS applied, and for a leader's commit as far as its applied entries can be
 * undone. */
bool replica_digest_at(const struct replica *r, uint64_t index, uint64_t *digest);

/* The look at the own records (store_check), since the start. */
struct replica_check {
    uint64_t due_ms;
    uint64_t passes, wrong; /* wrong: of them, that found memory to have failed */
};
const struct replica_check *replica_check(const struct replica *r);

/* What reading the own files has shown, since the start: in use, and by the scrub, which reads the snapshot,
 * what is durable of the log and the ledger a little at a time, and the small files whole. A damaged snapshot
 * or segment is mended by a new snapshot, a small file is written again; a row of the ledger is lost. */
struct replica_damage {
    bool snapshot, log; /* are damaged now */
    uint64_t found, mended;
    uint64_t passes, bytes; /* of the scrub: over all of it; read */
};
const struct replica_damage *replica_damage(const struct replica *r);
/* A file that is not the replica's own was damaged, and has been written again: counts and tells it. */
void replica_scrub_rewritten(struct replica *r, const char *name);

/* The ring as this group's log has it, up to what is committed and applied here. */
const struct groups_state *replica_groups(const struct replica *r);
/* Leader: a ring record, encoded here. Client writes wait from now on until it is applied. */
enum raft_result replica_propose_ring(struct replica *r, const struct groups_record *record);
/* Leader: every ring record in its log is applied. */
bool replica_ring_idle(struct replica *r);
/* Leader: the ring is in force, no change of it is under way, and the log holds no ring record that is not
 * applied yet: what is appended now is appended under replica_groups()->current. */
bool replica_takes_writes(struct replica *r);
/* Until it is called with false, takes_writes is false. */
void replica_hold_writes(struct replica *r, bool hold);

/* False where somebody has removed or renamed files of the log, the snapshot or the term and vote. Lists the
 * directory. */
bool replica_files_there(const struct replica *r);
/* After RAFT_NO_SPACE: whether the disk has room for more log again. */
bool replica_has_room(struct replica *r);

/* End of a turn, leader: applies what may be applied and nothing else, so that its answers leave before the
 * next batch is written and sent. True after several, and as long as each turn after brings more for that
 * batch: the turn ends here, and another one is wanted at once. Where the next batch is large already nothing
 * is held back. */
bool replica_answer(struct replica *r, uint64_t now_ms);
/* End of a turn: sends, writes, begins a sync, applies what may be applied. True when something was applied
 * or the commit moved: then call it again once its consequences are out. */
bool replica_flush(struct replica *r, uint64_t now_ms);
/* Returns when it wants to be called next, absolute. */
uint64_t replica_tick(struct replica *r, uint64_t now_ms, uint64_t wall_ms);
/* The program's own time for completions of jobs, which carry none. */
void replica_now(struct replica *r, uint64_t now_ms);

/* Everything accepted is on disk and a snapshot taken where the log grew; blocks. */
bool replica_shutdown(struct replica *r);

/* The first entry beyond those applied that bears this pair. A bounded number of entries is looked through,
 * so false is no proof where the log is far ahead. */
bool replica_find(struct replica *r, struct bytes client, struct bytes request, struct version *at);

/* The index that may be read at: applied, with everything committed in it. */
uint64_t replica_applied(const struct replica *r);
/* Follower: the last time at which this state surely held all that it should; 0 never (raft_proven_ms), or
 * while it has more than is committed, which may go again. */
uint64_t replica_current_ms(const struct replica *r);
/* The disk failed or lied: one line; NULL while all is well. The process must end. */
const char *replica_failure(const struct replica *r);

#endif
