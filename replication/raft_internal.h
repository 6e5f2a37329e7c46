/* The inside of the consensus core, shared by the raft*.c files only.
 *
 * raft.c                life, terms and roles, the turn (flush, synced, tick), links, questions
 * raft_election.c       pre-vote, votes, transfer's receiving end
 * raft_quorum.c         majorities
 * raft_replicate.c      the leader's side of appends: progress of each member, commit, reads
 * raft_append.c         the follower's side of appends
 * raft_proof.c          how old a follower's state may be
 * raft_configuration.c  the configurations of the log, and the members that follow from the newest
 * raft_snapshot.c       chunks, both sides
 * raft_compare.c        whose state differs, and what becomes of it */
#ifndef REPLICATION_RAFT_INTERNAL_H
#define REPLICATION_RAFT_INTERNAL_H

#include "replication/raft.h"
#include "storage/hard_state.h"

#ifndef PROBE_SIZE
#define PROBE_SIZE (64u * 1024) /* bytes of records in an append that may be refused */
#endif
#ifndef FLIGHTS_MAX
#define FLIGHTS_MAX 128 /* appends in flight to one member */
#endif
#define MARKS_MAX     256        /* samples of the log's size, hence its bound's precision */
#define LINK_DELAY_MS 50         /* most, before an election after the leader's connection was refused */
#define TERM_STEP     (1u << 20) /* by which one message raises a term at most */
#define RETRY_MIN_MS  10         /* before another election where this one cannot be won */
#define RETRY_MAX_MS  60
#define YIELD_MIN_MS  50 /* own election put off after a pre-vote was granted */
#define YIELD_MAX_MS  100
/* Bytes of the first chunk: the connection for chunks may still be on its way, and then it is lost. */
#ifndef CHUNK_FIRST_SIZE
#define CHUNK_FIRST_SIZE 4096
#endif
#define CHUNK_FIRST_MS     5   /* before the first chunk is sent again; doubles */
#define CHUNK_RETRY_MS     200 /* before unanswered chunks behind it are; doubles */
#define CHUNK_RETRY_MAX_MS 2000
#define CHUNKS_MAX         4          /* in flight */
#define SNAPSHOT_PAUSE_MS  1000       /* after a refused snapshot */
#define OFFER_PAUSE_MS     100        /* before the host is asked for a snapshot again */
#define HOLD_MS            2          /* that records gather at most while a batch is on its way */
#define HOLD_MAX           64         /* records that gather so */
#define LATE_MAX           (1u << 20) /* bytes of log that wait for the end of a sync to be written */
#define CAUGHT_UP_MS       500        /* between samples of the log's last index */
#define COMPARE_MS         500        /* between rounds of comparison */
#define COMPARE_MAX_MS     2000       /* that one waits for answers */
#define ODD_STANDS_MS      2000       /* without a leader, before an odd voter stands */
#define COMPARE_AGREED     64         /* rounds whose outcome is remembered */

enum progress { PROGRESS_PROBE, PROGRESS_REPLICATE, PROGRESS_SNAPSHOT };

/* Appends in flight, oldest first, in a ring. */
struct flights {
    struct {
        uint64_t last;
        size_t size;
    } ring[FLIGHTS_MAX];
    size_t head, count, size; /* size: bytes of all */
};

struct transfer {
    struct version at; /* index 0: none chosen */
    uint64_t total;
    uint64_t offset;   /* the member has the bytes before it */
    uint64_t sent;     /* those before it are sent; at least offset */
    uint64_t retry_ms; /* when those in flight are sent again; where none is chosen, one is not before */
    uint64_t delay_ms; /* of the next repetition */
};

/* Another member of the newest configuration. */
struct raft_peer {
    struct member_id id;
    unsigned votes;       /* bits of enum voter_set; 0: a learner */
    bool down, refused;   /* its connection; cleared by whatever it sends */
    bool granted, denied; /* its answer in the round under way */

    enum progress progress; /* the rest: leader only */
    uint64_t next, match, durable;
    uint64_t unreadable;   /* what could not be read when it was next: tried again with heartbeats; 0: none */
    uint64_t read;         /* highest sequence it answered in this term */
    uint64_t asked, bound; /* its time in its newest answer; and when the round under way began */
    struct proof echo;     /* what goes back to it */
    uint64_t heard_ms;
    uint64_t commit_told, read_told;
    uint64_t probe_last;   /* last index that the probe under way covers */
    bool probing;          /* a probe is under way */
    uint64_t odd;          /* number of its mark; 0: none */
    uint64_t odd_end;      /* the snapshot that replaces its state reaches at least to there */
    uint64_t odd_ms;       /* when it was marked */
    uint64_t says_odd_ms;  /* since when it calls itself odd; 0: it does not */
    bool answered, agrees; /* in the round of comparison; agrees: with the majority, when it last answered */
    uint64_t digest;       /* its answer */
    struct flights flights;
    struct transfer transfer;
};

/* Leader: the round of comparison, and what earlier ones agreed on. */
struct compare_round {
    bool open, agreed;
    uint64_t index, digest; /* this node's own; index 0: none yet */
    uint64_t opened_ms;
    uint64_t right_ms; /* when the last one was opened that found this node's state to be right; 0 never */
    struct {
        uint64_t index, digest;
    } known[COMPARE_AGREED];
    size_t known_next;
    uint64_t marks; /* given in this term */
};

struct placed_configuration {
    uint64_t index;
    struct configuration configuration;
};

/* What a follower owes its leader. */
struct owed_reply {
    bool wanted; /* an acknowledgement, when durable */
    bool now;    /* in this turn */
    bool refusal;
    uint64_t refused; /* index of the previous that did not fit */
    struct version hint;
};

struct raft {
    struct raft_options options;
    struct raft_host host;
    struct log *log;
    struct random random;
    struct hard_state state, saved; /* saved: as the file has it */
    bool failed, retired;
    bool no_space; /* since the last record that found none */
    bool diverged;
    uint64_t now_ms;

    enum raft_role role;
    bool asking;      /* follower: a pre-vote round is under way */
    bool transferred; /* candidate: by the leader's wish */
    bool leader_known;
    struct member_id leader;
    enum raft_cause cause, pending_cause; /* pending: of an election that is due */
    struct raft_counters counters;
    uint64_t deadline_ms; /* follower and candidate: the next round */

    uint64_t commit;
    uint64_t leader_commit;
    uint64_t heard_ms;
    uint64_t matched;               /* follower: verified to be the leader's log up to here */
    uint64_t read_seen;             /* follower: highest sequence in this term's appends */
    struct proof proofs[2], proven; /* follower: not reached yet, the older first; asked 0: none */
    uint64_t started_ms, time_base;
    struct owed_reply owed;
    uint64_t asked;       /* follower: the last position refused that is before what can be compared */
    unsigned asked_again; /* times in a row in this term */
    uint64_t ignored;     /* messages that no correct leader sends */

    bool odd;            /* PROTOCOL.md, "Comparing states" */
    uint64_t odd_number; /* of the mark that this term's leader gave; 0: none yet */
    uint64_t odd_done;   /* of the last one that a snapshot has answered */
    uint64_t led_ms;     /* when it last led, or heard a leader that had a majority */
    uint64_t wanted;     /* index whose digest the leader wants; 0 none */
    bool unequal;        /* the leader's word */
    struct raft_comparison comparison;
    struct compare_round compare;

    uint64_t term_start; /* leader: first index of its own term */
    uint64_t heartbeat_ms;
    bool holding;       /* the log's unwritten records gather */
    uint64_t flight_ms; /* when the last batch left */
    uint64_t read;
    struct {
        uint64_t sequence, index; /* 0: none is under way */
    } round;
    bool alone;
    bool transferring;
    struct member_id transfer_to;
    uint64_t transfer_end_ms, timeout_now_ms;
    uint64_t sample_ms, sample_new, sample_old; /* of the last index, for raft_caught_up */
    struct version offer;                       /* the host's newest snapshot */
    uint64_t offer_total, offer_ms;

    struct placed_configuration *configurations; /* oldest first; [0] is always there */
    size_t configuration_count, configuration_capacity;
    struct raft_peer peers[MEMBERS_MAX];
    size_t peer_count;
    unsigned own_votes; /* this node's bits of enum voter_set */
    bool joint;         /* the configuration in force */

    /* Bytes of log beyond commit: all appended, minus those at the newest mark passed by commit. */
    struct {
        uint64_t index, appended;
    } marks[MARKS_MAX];
    size_t mark_head, mark_count;
    uint64_t appended, appended_at_commit, appended_at_write;
};

/* raft.c */
void raft_fail(struct raft *r);
bool raft_save(struct raft *r);
uint64_t raft_between(struct raft *r, uint64_t from_ms, uint64_t to_ms);
void raft_reset_deadline(struct raft *r);
/* Follower of term, which is the current one or a later one; leader NULL where unknown. False: the disk
 * failed. */
bool raft_follow(struct raft *r, uint64_t term, const struct member_id *leader, enum raft_cause cause);
/* False: the term is too far above the own one, which has risen by a step; the message is to be dropped. */
bool raft_near(struct raft *r, uint64_t term);
void raft_send(struct raft *r, const struct member_id *to, struct message *message);
struct raft_peer *raft_peer(struct raft *r, const struct member_id *id);
/* What of its log this node acknowledges, and counts for itself towards a commit. */
uint64_t raft_own_durable(const struct raft *r);
/* Bytes came to, or went from, the log's end. */
void raft_count_append(struct raft *r, uint64_t bytes);
/* RAFT_OK where this node leads, and takes proposals of any kind. */
enum raft_result raft_may_propose(const struct raft *r);
/* What the log made of an append of this leader. */
enum raft_result raft_appended(struct raft *r, enum log_result result, uint64_t size_before);
void raft_count_truncate(struct raft *r);
void raft_set_commit(struct raft *r, uint64_t commit);

/* raft_quorum.c: own is this node's value, offset that of a uint64_t in struct raft_peer */
/* The highest value that a majority has reached: of each set of voters. */
uint64_t raft_reached(const struct raft *r, uint64_t own, size_t offset);
uint64_t raft_reached_in(const struct raft *r, enum voter_set set, uint64_t own, size_t offset);
/* One value of each that votes in either set; gives how many. */
size_t raft_of_voters(const struct raft *r, uint64_t own, size_t offset, uint64_t values[MEMBERS_MAX]);
/* It holds for a majority of each set; for this node it does. */
bool raft_majority(const struct raft *r, bool (*holds)(const struct raft_peer *p));
bool raft_self_votes(const struct raft *r);
bool raft_only_voter(const struct raft *r);

#define RAFT_REACHED(r, own, field) raft_reached(r, own, offsetof(struct raft_peer, field))

/* raft_election.c */
void raft_campaign(struct raft *r, enum raft_cause cause);
bool raft_may_stand(const struct raft *r);
bool raft_leader_alive(const struct raft *r);
void raft_receive_vote(struct raft *r, const struct member_id *from, const struct message *m);
void raft_receive_vote_reply(struct raft *r, struct raft_peer *p, const struct message *m);
void raft_receive_timeout_now(struct raft *r, const struct member_id *from, const struct message *m);

/* raft_replicate.c */
void raft_lead(struct raft *r, enum raft_cause cause);
void raft_peer_start(struct raft *r, struct raft_peer *p);
void raft_peer_probe(struct raft_peer *p, uint64_t next);
void raft_peer_replicate(struct raft_peer *p);
void raft_peer_send(struct raft *r, struct raft_peer *p, bool heartbeat);
void raft_receive_append_reply(struct raft *r, struct raft_peer *p, const struct message *m);
void raft_advance_commit(struct raft *r);
/* When a majority was last heard; now for a sole voter. */
uint64_t raft_majority_heard(const struct raft *r);
void raft_tick_leader(struct raft *r);
void raft_send_timeout_now(struct raft *r);

/* raft_append.c */
/* At another leader, and in another term: what was found to be the one's log, or said by it, says nothing of
 * the next one's. */
void raft_forget_leader(struct raft *r);
void raft_receive_append(struct raft *r, const struct member_id *from, const struct message *m);
void raft_send_owed(struct raft *r);
/* The log is the leader's up to index, whose commit is given: owed is an acknowledgement. */
void raft_match_position(struct raft *r, uint64_t index, uint64_t commit);
/* It is not known to be, at a position of the leader's log: owed is a refusal, unless nothing helps. */
void raft_refuse_position(struct raft *r, struct version previous);
/* The sender leads the message's term; false where the message is not to be handled. */
bool raft_accept_leader(struct raft *r, const struct member_id *from, uint64_t term, bool alone);

/* raft_compare.c */
/* Of another term: marks, questions and answers are void. */
void raft_compare_reset(struct raft *r);
void raft_compare_tick(struct raft *r);
/* Leader: false where the reply is of an odd member, and counts for nothing. */
bool raft_compare_reply(struct raft *r, struct raft_peer *p, const struct message *m);
/* Follower: what an append says of states; what its reply says. */
void raft_compare_heard(struct raft *r, const struct message *m);
void raft_compare_answer(struct raft *r, struct message *reply);
/* Follower: this term's leader has given it that mark; 0 none. */
void raft_odd_told(struct raft *r, uint64_t number);
/* A snapshot has taken the place of the state. */
void raft_odd_replaced(struct raft *r);
/* Nobody with a majority's state has marked it, or it calls itself so. */
bool raft_peer_even(const struct raft_peer *p);

/* raft_configuration.c */
void raft_configurations_load(struct raft *r, const struct configuration *base, uint64_t index);
void raft_configuration_push(struct raft *r, uint64_t index, const struct configuration *configuration);
void raft_configurations_truncate(struct raft *r, uint64_t index);
void raft_configurations_replace(struct raft *r, uint64_t index, const struct configuration *configuration);
void raft_configurations_prune(struct raft *r);
/* Leader: what follows a joint configuration, when it is time. */
void raft_configuration_finish(struct raft *r);
enum raft_result raft_configuration_append(struct raft *r, const struct configuration *next);

/* raft_proof.c */
/* Leader: with a heartbeat; before the next is sent. */
void raft_proof_begin(struct raft *r);
void raft_proof_confirm(struct raft *r);
/* Follower: what an answer asks, what an append echoes, what its commit reached. */
uint64_t raft_proof_asked(const struct raft *r);
void raft_proof_take(struct raft *r, struct proof echo);
void raft_proof_reach(struct raft *r);

/* raft_snapshot.c */
void raft_snapshot_send(struct raft *r, struct raft_peer *p);
/* Whether a member that has nothing, though the log holds it all, is sooner sent the snapshot, which is then
 * chosen: it is smaller than the records that it stands for. */
bool raft_snapshot_preferred(struct raft *r, struct raft_peer *p);
/* When chunks in flight to it are due again; UINT64_MAX where there are none. */
uint64_t raft_snapshot_due(const struct raft_peer *p);
/* The member has what the snapshot under way holds, and the log begins behind that: a newer one is next. */
void raft_snapshot_outgrown(struct raft_peer *p);
/* What is in flight may be lost. */
void raft_snapshot_rewind(struct raft_peer *p);
void raft_receive_snapshot(struct raft *r, const struct member_id *from, const struct message *m);
void raft_receive_snapshot_reply(struct raft *r, struct raft_peer *p, const struct message *m);

#endif
