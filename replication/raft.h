/* The consensus core: Raft (Ongaro and Ousterhout, 2014; Ongaro's thesis) over a struct log.
 *
 * Deterministic: messages, proposals, sync completions, link events and the time go in; messages, log writes
 * and term/vote saves come out. It decides terms, votes, the leader, the commit index and the configuration
 * in force, and knows nothing of keys: `replica` applies what it commits.
 *
 *  - term and vote are durable before any message that follows from them (bugs 14, 15);
 *  - pre-vote, check-quorum (a quorum or all group's leader steps down; an async leader goes on and marks its
 *    appends `alone`), leadership transfer (thesis, 3.10), no-op at the start of a term;
 *  - only entries of the current term are committed by counting (Raft, 5.4.2; bug 16);
 *  - a leader sends before its own sync ends and counts itself only after (bug 6);
 *  - reads are confirmed by a round of acknowledgements begun after they arrived, never by a lease (bugs 19
 * to 21);
 *  - pipelined appends within a window of bytes for each follower (bug 32).
 *
 * Errors: a disk that failed is final: raft_failed is then true, every call does nothing, and the host ends
 * the process. All times are milliseconds of one monotonic clock. */
#ifndef REPLICATION_RAFT_H
#define REPLICATION_RAFT_H

#include "replication/message.h"
#include "storage/hard_state.h"
#include "storage/log.h"
#include "storage/random.h"

enum raft_role { RAFT_FOLLOWER, RAFT_CANDIDATE, RAFT_LEADER };

enum raft_result {
    RAFT_OK,
    RAFT_NOT_LEADER,
    RAFT_TRANSFERRING, /* leadership is being handed over: try again in a moment, nothing was appended */
    RAFT_BUSY,         /* a configuration change is under way, or the bound of uncommitted log is reached */
    RAFT_NO_SPACE,     /* nothing was appended */
    RAFT_FAILED,
};

/* Why the last election began or leadership ended: what the log of the program says. */
enum raft_cause {
    RAFT_CAUSE_NONE,
    RAFT_CAUSE_FOUNDED,
    RAFT_CAUSE_TIMEOUT,     /* no word from the leader for an election timeout */
    RAFT_CAUSE_LINK,        /* the leader closed its connection and refused another */
    RAFT_CAUSE_TRANSFER,    /* the leader handed over */
    RAFT_CAUSE_HIGHER_TERM, /* somebody has a higher term */
    RAFT_CAUSE_NO_MAJORITY, /* check-quorum */
    RAFT_CAUSE_REMOVED,
    RAFT_CAUSE_ALONE, /* the only voter */
    RAFT_CAUSES,
};

/* Since the node started. */
struct raft_counters {
    uint64_t elections[RAFT_CAUSES]; /* begun by this node, by their cause */
    uint64_t won;                    /* and foundings */
    uint64_t lost[RAFT_CAUSES];      /* leaderships ended, by their cause */
};

struct raft_host {
    void *arg;
    /* Borrowed for the call. Losing it is fine. Snapshot chunks may take another connection than the rest. */
    void (*send)(void *arg, const struct member_id *to, const struct message *message);
    /* Before log_truncate drops records from index on: the rejected-write ledger. LOG_NO_SPACE: it has no
     * room, nothing has changed, and the leader's append is refused until it has. LOG_COMPACTED: the state
     * before index cannot be had back. LOG_IO_ERROR: the disk failed. index may be committed here where
     * nodes may forget what they acknowledged (sync_always is false); raft_commit is before it already. */
    enum log_result (*before_truncate)(void *arg, uint64_t index);
    /* Leader: the snapshot to send. False where there is none (yet); then it is asked again later. It stays
     * readable under `at` until another one is asked for; a read of a snapshot that is gone gives false. */
    bool (*snapshot_offer)(void *arg, struct version *at, uint64_t *total);
    bool (*snapshot_read)(void *arg, struct version at, uint64_t offset, size_t size, struct bytes *out);
    /* Follower: a chunk. Gives the offset wanted next. On the last one the host verifies and installs the
     * snapshot (its ledger of what log_reset drops, store, log_reset) and calls raft_installed before it
     * returns. False: refused or damaged, start again at *next = 0. */
    bool (*snapshot_chunk)(void *arg, struct version at, uint64_t total, uint64_t offset, struct bytes chunk,
                           uint64_t *next);
    /* The rest may be NULL: nothing is compared then. */
    /* The digest of the state at a committed index; false where it is not applied yet, in which case it is
     * kept when it is, or is not known any more. */
    bool (*digest)(void *arg, uint64_t index, uint64_t *digest);
    /* Leader: a snapshot that ends at index or later is needed soon. */
    void (*snapshot_needed)(void *arg, uint64_t index);
    /* This node has become odd, or is not any more: kept on disk before the call returns. */
    void (*odd)(void *arg, bool odd);
};

#ifndef UNCOMMITTED_MAX
#define UNCOMMITTED_MAX (256ull * 1024 * 1024)
#endif

struct raft_options {
    struct member_id self;
    struct log *log;              /* borrowed */
    struct file_system *fs;       /* borrowed; for hard_state */
    struct hard_state hard_state; /* as loaded; all zero in a new directory */
    uint64_t commit; /* known durable commit: the log's report or the snapshot's end, whichever is later */
    /* -fsync always: a record counts when synced. Else when written, but for a configuration and what comes
     * behind it: a node that forgot who belongs to its group could elect by an old list. */
    bool sync_always;
    bool odd;                                                /* it was when it stopped */
    uint64_t election_min_ms, election_max_ms, heartbeat_ms; /* 0: 250, 500, 50 */
    uint64_t uncommitted_max; /* bytes of log beyond commit that a leader takes; 0: UNCOMMITTED_MAX */
    size_t window_size;       /* bytes in flight to one follower; 0: 4 MiB */
    uint64_t seed;
};

struct raft;

/* configuration: the snapshot's (count 0 without one), at log index configuration_index; those in the log are
 * read from it. */
struct raft *raft_new(const struct raft_options *options, const struct raft_host *host,
                      const struct configuration *configuration, uint64_t configuration_index,
                      uint64_t now_ms);
void raft_free(struct raft *r);

/* Founds the group: term 1, first record the configuration with self as the only voter, leader at once. The
 * log is empty (asserted). */
enum raft_result raft_found(struct raft *r, uint64_t now_ms, const struct configuration *first);

/* Foreign input: never asserted on. Messages from ids outside the configuration are handled as Raft needs: a
 * leader unknown to a newcomer appends to it; a removed member's votes count for nothing. MESSAGE_READ_INDEX
 * and its reply are the host's and do nothing here. */
void raft_receive(struct raft *r, uint64_t now_ms, const struct member_id *from,
                  const struct message *message);

/* The leader appends; nothing leaves before raft_flush. *at is where it stands. */
enum raft_result raft_propose(struct raft *r, enum entry_type type, const struct entry *entry,
                              struct version *at);
/* The same with a payload that is no client's entry (ENTRY_RING). */
enum raft_result raft_propose_payload(struct raft *r, enum entry_type type, struct bytes payload,
                                      struct version *at);
/* next is not joint. One change at a time, and none before the no-op of this term is committed (RAFT_BUSY).
 * At once: at most one voter differs (asserted); it is appended as it is (the thesis, section 4.1). Else,
 * where voters differ, a joint configuration is, and once that is committed what was asked for; where the new
 * voters fall silent before, the old configuration again. */
enum raft_result raft_propose_configuration(struct raft *r, const struct configuration *next, bool at_once);

/* End of a turn: sends what followers lack within their windows (and a commit index they do not know yet),
 * writes the log's batch. The caller then begins a sync where log_sync_begin gives one. */
void raft_flush(struct raft *r, uint64_t now_ms);
/* Leader: records wait to leave as one batch once the batch on its way is committed; flush again at the next
 * millisecond at the latest. */
bool raft_holding(const struct raft *r);
/* Leader: tells a member the commit index now, where it does not know it. */
void raft_tell(struct raft *r, uint64_t now_ms, const struct member_id *member);
/* log_sync_end has advanced log_durable: acknowledges to the leader, or advances the commit. Followed by a
 * flush. */
void raft_synced(struct raft *r, uint64_t now_ms);

/* Heartbeats, elections, check-quorum, resends. Returns when it wants to be called next, absolute; anything
 * else that happens may bring that forward, so the host ticks at the end of each turn. */
uint64_t raft_tick(struct raft *r, uint64_t now_ms);

enum raft_link { RAFT_LINK_UP, RAFT_LINK_DOWN, RAFT_LINK_REFUSED };
/* UP: resend from what is acknowledged. REFUSED (closed and a new connection refused: the process is gone)
 * counts as silence: of the leader, an election after a short random delay. */
void raft_link(struct raft *r, uint64_t now_ms, const struct member_id *peer, enum raft_link link);

/* Hands leadership to the most caught-up voter, or to target where not NULL. False where there is none. Ends
 * by itself after an election timeout. */
bool raft_transfer(struct raft *r, uint64_t now_ms, const struct member_id *target);

/* A read that needs the proof of leadership: its sequence, greater than any before. Confirmed once
 * raft_read_confirmed reaches it, provided the term is still the one it was asked in and the no-op of the
 * term is committed. 0 where this node does not lead. */
uint64_t raft_read(struct raft *r, uint64_t now_ms);
uint64_t raft_read_confirmed(const struct raft *r);

/* The host installed a snapshot (log already reset). */
void raft_installed(struct raft *r, struct version at, const struct configuration *configuration,
                    uint64_t configuration_index);

enum raft_role raft_role(const struct raft *r);
uint64_t raft_term(const struct raft *r);
uint64_t raft_commit(const struct raft *r);
/* The last index that this node holds under its own -fsync. An async leader answers up to there. That can be
 * more than it acknowledges: what comes behind a configuration counts there only once that is synced. */
uint64_t raft_own_held(const struct raft *r);
/* Leader: the no-op of this term is committed. */
bool raft_term_committed(const struct raft *r);
/* The leader of the current term, where known. */
bool raft_leader(const struct raft *r, struct member_id *out);
/* It leads itself and hears a majority, or follows a leader that is alive and is not that one. */
bool raft_led_by_another(struct raft *r, uint64_t now_ms, const struct member_id *than);
/* As a message of that term that it handles itself would: a follower of a higher one. False where the message
 * is to be dropped: its term is too far above the own one, or the disk failed. */
bool raft_hear_term(struct raft *r, uint64_t now_ms, uint64_t term);
/* Follower: whoever has applied up to *index held at the time given, of this node's clock, all that was
 * committed then, and in an async group all that the leader had answered. 0 never. */
uint64_t raft_proven_ms(const struct raft *r, uint64_t *index);
/* Follower: the highest commit index that the leader of this term has named; 0 none yet. */
uint64_t raft_leader_commit(const struct raft *r);
/* An async leader that has heard no majority for an election timeout. */
bool raft_alone(const struct raft *r);
const struct configuration *raft_configuration(const struct raft *r);
uint64_t raft_configuration_index(const struct raft *r);
/* The newest configuration at or before index (for a snapshot at it). */
const struct configuration *raft_configuration_at(const struct raft *r, uint64_t index, uint64_t *at);
/* The newest one known to be committed: that in force, or one before it. */
const struct configuration *raft_configuration_committed(const struct raft *r, uint64_t *at);
/* Voters that acknowledged index as durable, self included where it holds it under its own -fsync; *voters of
 * how many. */
unsigned raft_acks(const struct raft *r, uint64_t index, unsigned *voters);
/* Leader: the highest index durable on every voter. */
uint64_t raft_all_acked(const struct raft *r);
/* Leader: acknowledged position of a member, 0 unknown; and whether it is caught up (roster.h). */
uint64_t raft_match(const struct raft *r, const struct member_id *member);
bool raft_caught_up(const struct raft *r, const struct member_id *member);
/* Leader: of that, durable there; and how long the member has acknowledged nothing (0 for itself). */
uint64_t raft_match_durable(const struct raft *r, const struct member_id *member);
uint64_t raft_silent_ms(const struct raft *r, const struct member_id *member, uint64_t now_ms);
/* Leader: the member has answered the round of that read sequence, or a later one, in this term. */
bool raft_answered(const struct raft *r, const struct member_id *member, uint64_t sequence);
/* Leader: leadership is being handed over. */
bool raft_transferring(const struct raft *r);
/* While retired it stands for no election: the newest configuration that it knows to be committed has it
 * among the former members. */
void raft_retire(struct raft *r, uint64_t now_ms, bool retired);
enum raft_cause raft_cause(const struct raft *r);
const struct raft_counters *raft_counters(const struct raft *r);
/* What the leader last sent found no room on the disk, or the noop of an own term. */
bool raft_no_space(const struct raft *r);
/* PROTOCOL.md, "Comparing states". This node's state is not the one that a majority of the voters agrees on:
 * nothing may be served from it until a snapshot has replaced it, or a comparison found it right. */
bool raft_odd(const struct raft *r);
/* Leader: that is so of the member. */
bool raft_member_odd(const struct raft *r, const struct member_id *member);
/* The voters' states differ, and none has a majority. */
bool raft_unequal(const struct raft *r);
struct raft_comparison {
    uint64_t rounds;        /* that agreed */
    uint64_t index;         /* leader: of the last one; follower: that it last answered; 0 none */
    uint64_t odd;           /* members that were found odd, this one included */
    uint64_t unequal_index; /* leader: where the voters' states were found to differ; 0: they do not */
};
/* Since the node started. */
const struct raft_comparison *raft_comparison(const struct raft *r);
/* Up to where the log is known to be the leader's. */
uint64_t raft_matched(const struct raft *r);
/* The leader has other records than those committed here, and they cannot be given up: this node can follow
 * no further. A majority has lost its power and, with it, what it had acknowledged. */
bool raft_diverged(const struct raft *r);
bool raft_failed(const struct raft *r);
/* Whether the file `hard_state` was damaged: then it has been written again. Blocks. */
bool raft_mend_state(struct raft *r);

#endif
