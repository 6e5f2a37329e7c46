/* What the coordinator's files share: the requests under way. */
#ifndef API_COORDINATOR_INTERNAL_H
#define API_COORDINATOR_INTERNAL_H

#include <bsd/sys/queue.h>

#include "api/coordinator.h"
#include "replication/roster_view.h"
#include "sharding/ring.h"

/* Where a request stands.
 *
 *   WAITING <---------> FORWARDED --> answered by another node
 *      |  no leader yet     (back where that did not take it; a read also where it does not answer)
 *      +--> APPENDED --> ACKING -----> answered          writes, on the leader
 *      +--> CONFIRMING --> HOLDING --> answered          linearizable reads, on the leader
 *      +--> ASKING --> APPLYING -----> answered          linearizable reads, on a follower
 *   AFTER -----------> any of the reads' ways             reads with KV-After
 *   MEMBERS ---------> FORWARDED, or answered             coordinator_members.c
 */
enum pending_state {
    PENDING_WAITING,
    PENDING_FORWARDED,
    PENDING_APPENDED,   /* in the log, not yet applied here */
    PENDING_ACKING,     /* applied; a stronger acknowledgement is still to come */
    PENDING_CONFIRMING, /* a round of acknowledgements proves leadership */
    PENDING_HOLDING,    /* read; what was read is not all committed yet */
    PENDING_ASKING,     /* the leader is asked how far to apply */
    PENDING_APPLYING,
    PENDING_AFTER,   /* a read waits until the position of its KV-After is applied here */
    PENDING_MEMBERS, /* a request about members: to be taken up by the leader, or its change to commit */
    PENDING_STATES,
};

enum pending_origin {
    ORIGIN_CLIENT,
    ORIGIN_NODE, /* a node of the own group, or of another one */
    ORIGIN_READ_INDEX,
    ORIGIN_GATHER, /* one group's part of a listing; the ticket is the gather's number */
};

enum owner {
    OWNER_UNKNOWN, /* no ring is known */
    OWNER_HERE,    /* the own group */
    OWNER_THERE,
};

struct pending {
    TAILQ_ENTRY(pending) link;
    enum pending_state state;
    enum pending_origin origin;
    bool barrier, explain;
    bool tried;            /* MEMBERS: the address was dialled, or a handover was begun */
    bool routed;           /* FORWARDED: to another group */
    struct position after; /* AFTER */
    bool linearizable;
    uint32_t group;  /* that owns the key, as it was last looked at */
    unsigned part;   /* ORIGIN_GATHER */
    uint64_t number; /* names it between nodes */
    uint64_t deadline_ms;
    uint64_t began_ms, stepped_ms; /* when it came; when it was last moved out of WAITING, 0 before */
    uint64_t ticket;               /* ORIGIN_CLIENT's; else the other node's number */
    struct member_id peer; /* ORIGIN_NODE, ORIGIN_READ_INDEX: who asked; FORWARDED, ASKING: who was asked */
    struct member_id asked;
    uint64_t sent_ms;   /* FORWARDED: since when */
    unsigned sent;      /* how often it was */
    uint64_t sent_term; /* FORWARDED to a leader: of which term; UINT64_MAX: to a node that passes it on */
    uint64_t gone_ms;   /* FORWARDED: since when another one leads; 0: none does */
    enum operation operation;
    enum ack_mode ack; /* what the answer waits for */
    struct version at; /* APPENDED, ACKING */
    struct store_effect effect;
    uint64_t read, term;       /* CONFIRMING */
    struct roster_round round; /* MEMBERS: who is there now */
    uint64_t index;            /* HOLDING, APPLYING */
    struct buffer copy;        /* the request as request_encode gives it; HOLDING: the value read */
    struct reply held;         /* HOLDING */
};

TAILQ_HEAD(pending_list, pending);

struct gather; /* coordinator_keys.c */
TAILQ_HEAD(gather_list, gather);

#define TIMING_FROM_MS 20 /* what takes less long is not taken apart */

/* When an index was first seen durable, or committed: the last few. */
struct marks {
    struct {
        uint64_t index, ms;
    } ring[64];
    size_t count; /* ever */
};

#define UNTOLD_MAX 128

struct coordinator {
    struct coordinator_options options;
    uint64_t now_ms; /* as told last */
    struct marks durable, committed;
    struct coordinator_host host;
    struct pending_list states[PENDING_STATES]; /* APPENDED in order of index */
    struct pending_list free;
    size_t count;
    uint64_t
        number; /* begins at the session: answers to an earlier run of this node fit none of this one's */
    uint64_t retried_ms; /* when the waiting ones were last tried */
    uint64_t due_ms;     /* no pending one's deadline is before */
    size_t turn;         /* of another group's nodes, whose it is */
    uint64_t seen_term;
    struct member_id seen_leader;
    bool seen_leading, stopping;
    uint64_t full_ms; /* when the disk last had no room for an entry; 0: since then it had again */
    struct buffer scratch, explain, view;
    struct groups groups; /* the ring to route by */
    struct ring *ring;    /* NULL: none is known */
    bool own_ring;        /* groups is in force in the own group's log */
    struct gather_list gathers;
    struct buffer slice; /* of keys, for an answer */
    /* Writes whose clients were told that the outcome is unknown: the last ones, and the highest before. */
    struct version untold[UNTOLD_MAX], untold_before;
    size_t untold_next;
};

static inline struct raft *coordinator_raft(const struct coordinator *c) {
    return replica_raft(c->options.replica);
}

/* coordinator_pending.c: the table. */
struct pending *pending_new(struct coordinator *c, uint64_t now_ms, const struct request *request,
                            enum pending_origin origin, uint64_t ticket);
void pending_move(struct coordinator *c, struct pending *p, enum pending_state state);
void pending_end(struct coordinator *c, struct pending *p);
/* Answers whoever asked, and ends it. */
void pending_answer(struct coordinator *c, struct pending *p, const struct reply *reply);
void pending_error(struct coordinator *c, struct pending *p, enum error error, const char *message);
/* 504 of a write or a change of members, saying which: it may have happened, or happen yet. */
void pending_unknown(struct coordinator *c, struct pending *p, const char *message);

/* Replies' common fields: who decided. */
struct reply reply_here(const struct coordinator *c);
/* KV-Acks of the write at `at`, where this node leads. */
void reply_acks(const struct coordinator *c, struct version at, struct reply *reply);
struct reply reply_error(const struct coordinator *c, enum error error, const char *message);

/* coordinator.c */
bool coordinator_full(const struct coordinator *c, struct reply *reply);
/* A request of the own group's takes its first, or next, step; false where it has to wait. */
bool step_here(struct coordinator *c, uint64_t now_ms, struct pending *p, const struct request *request);
/* Likewise, wherever it has to go. */
bool step(struct coordinator *c, uint64_t now_ms, struct pending *p);

/* coordinator_write.c */
/* Begins a write to a key of the own group. Same return as coordinator_submit. */
bool write_submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                  struct reply *reply);
/* A write takes its first, or next, step. True while it goes on waiting. */
bool write_step(struct coordinator *c, struct pending *p, const struct request *request);
void writes_poll(struct coordinator *c);
/* Notes that the client was told that nobody knows the outcome. */
void writes_untold(struct coordinator *c, struct version at);
/* An entry was, or was not, appended for lack of room. */
void note_room(struct coordinator *c, bool room);
/* Whether a disk that was full still is. Returns when it wants to be called next, absolute. */
uint64_t look_for_room(struct coordinator *c, uint64_t now_ms);

/* coordinator_no_leader.c */
/* An error for lack of a leader or a majority, with what the node knows of it; otherwise: the message where
 * it knows of nothing. Borrows until the next one. */
struct reply reply_no_leader(struct coordinator *c, uint64_t now_ms, enum error error, const char *otherwise);
void pending_no_leader(struct coordinator *c, struct pending *p, enum error error, const char *otherwise);
/* Answers what waits in vain. */
void no_leader_poll(struct coordinator *c, uint64_t now_ms);

/* coordinator_expire.c */
void pending_expire(struct coordinator *c, struct pending *p);

/* coordinator_passed.c: requests that another node has */
/* Writes the time that is left into a request's copy. */
void pending_refresh(struct coordinator *c, struct pending *p);
/* Passes a request's copy on to p->asked; false where it surely went nowhere. */
bool pending_send(struct coordinator *c, struct pending *p);
/* `to` has it, which leads in this term; UINT64_MAX: it only passes it on. */
void pending_passed(struct coordinator *c, struct pending *p, const struct member_id *to, uint64_t term);
/* Looks again at those that get no answer: they are to be tried elsewhere, and wait, or are answered. */
void passed_poll(struct coordinator *c, uint64_t now_ms);

/* coordinator_route.c */
enum owner owner_of(const struct coordinator *c, struct bytes key, uint32_t *group);
enum owner owner_of_group(const struct coordinator *c, uint32_t group);
/* Sets p's group. */
enum owner owner_of_pending(const struct coordinator *c, struct pending *p, const struct request *request);
/* On the leader: the own log says that the key is the group's, and no change is under way. */
bool may_append(struct coordinator *c, struct bytes key);
/* Who leads another group, and its term, as far as is known. */
bool leader_hinted(const struct coordinator *c, uint32_t group, struct member_id *out, uint64_t *term);
/* Sends it to its group; false where nobody there can be reached. */
bool route_pending(struct coordinator *c, struct pending *p);

/* coordinator_keys.c */
void keys_now(struct coordinator *c, const struct request *request, struct reply *reply);
void gather_part(struct coordinator *c, const struct pending *p, const struct reply *reply);
void gathers_poll(struct coordinator *c, uint64_t now_ms);
void gathers_free(struct coordinator *c);

/* coordinator_away.c: -route */
/* False for what only a leader can do, with -route redirect or refuse. */
bool may_pass_on(const struct coordinator *c, const struct pending *p);
/* -route redirect or refuse, and the leader became known only now. The request's target is gone by then, so
 * that it is told who leads, or to come again. */
bool refuse_late(struct coordinator *c, struct pending *p, const struct request *request);

/* coordinator_removed.c: a former member, or one whose state is not its group's */
/* Why nothing is served from this node; ERROR_NONE where it may be. */
enum error out_of_service(const struct coordinator *c);
bool is_diverged(const struct coordinator *c);
void removed_poll(struct coordinator *c);

/* coordinator_timing.c: where the time of slow requests goes. */
void timing_mark(struct coordinator *c, uint64_t now_ms);
struct timing timing_of(const struct coordinator *c, const struct pending *p);

/* coordinator_read.c */
/* A default read. Of a request with an empty key: only who answers. */
void read_now(struct coordinator *c, uint64_t now_ms, const struct request *request, struct reply *reply);
/* Begins a linearizable read here; false where there is no leader to prove it. */
bool read_begin(struct coordinator *c, uint64_t now_ms, struct pending *p);
void reads_poll(struct coordinator *c, uint64_t now_ms);
/* Answers a read, or a barrier, with the own state. */
void read_answer(struct coordinator *c, uint64_t now_ms, struct pending *p);

/* coordinator_after.c: KV-After */
enum after { AFTER_WAIT, AFTER_REACHED, AFTER_OVERRULED };
enum after after_state(const struct raft *raft, const struct log *log, uint64_t applied, struct version at);
/* Begins a read with KV-After. Same return as coordinator_submit. */
bool after_submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                  struct reply *reply);
/* The same for a request that is under way already: true where the position is reached; otherwise it waits
 * for it, or is answered. */
bool after_step(struct coordinator *c, struct pending *p, const struct request *request);
void after_poll(struct coordinator *c, uint64_t now_ms);

/* coordinator_members.c: who belongs to the group */
bool members_submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                    struct reply *reply);
void members_request(struct coordinator *c, uint64_t now_ms, const struct member_id *from, uint64_t id,
                     const struct request *request);
/* True where a change was proposed. */
bool members_poll(struct coordinator *c, uint64_t now_ms);
/* The leader that was asked did not take it, surely without effect. */
void members_again(struct coordinator *c, struct pending *p);
void members_overruled(struct coordinator *c, uint64_t index);
void members_expire(struct coordinator *c, struct pending *p);
/* coordinator_members_view.c: GET /cluster/nodes as this node sees it */
void members_view(struct coordinator *c, uint64_t now_ms, struct buffer *out);

/* coordinator_explain.c: ?explain=1. p: NULL for an answer at once. Into c->explain, which reply then
 * borrows. */
void explain(struct coordinator *c, const struct pending *p, struct reply *reply);

#endif
