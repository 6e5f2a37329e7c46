/* From a request to its reply: decides here, waits for the group, or passes the request on to the leader.
 *
 * Nothing on the way ever resends a write by itself: a request is passed on at most once after it may have
 * been appended. A request that meets an election waits for the new leader until its deadline. */
#ifndef API_COORDINATOR_H
#define API_COORDINATOR_H

#include "api/health.h"
#include "api/request.h"
#include "cluster/groups.h"
#include "cluster/membership.h"
#include "replication/peers.h"
#include "replication/replica.h"
#include "sharding/ring.h"

#define COORDINATOR_PENDING_MAX 65536 /* requests under way; further ones get ERROR_OVERLOAD */

struct coordinator_host {
    void *arg;
    /* Between nodes. request: false where it surely went nowhere. */
    bool (*request)(void *arg, const struct member_id *to, struct bytes payload);
    bool (*route)(void *arg, const struct member_id *to, struct bytes payload); /* to another group */
    void (*reply)(void *arg, const struct member_id *to, struct bytes payload);
    /* Likewise false where it went nowhere. */
    bool (*read_index)(void *arg, const struct member_id *to, const struct message *message);
    /* To a client: the reply to its ticket, borrowed for the call. */
    void (*answer)(void *arg, uint64_t ticket, const struct reply *reply);
    /* Nodes of other cluster names that were heard of, by position; NULL past the last. May be NULL: none. */
    const struct node_info *(*foreign)(void *arg, size_t position);
    /* May be NULL: nothing is known. */
    void (*health)(void *arg, uint64_t now_ms, struct health_view *out);
};

/* -route: what a follower does with a request for the leader. */
enum route_policy {
    ROUTE_PROXY,    /* passes it on and answers as the leader did */
    ROUTE_REDIRECT, /* 307 */
    ROUTE_REFUSE,   /* 421 */
};

struct coordinator_options {
    struct replica *replica;             /* borrowed */
    const struct membership *membership; /* borrowed: the table of nodes heard of */
    const struct node_info *self;        /* borrowed, followed as it changes */
    struct peers *peers;                 /* borrowed: who is connected, for what is asked about members */
    enum route_policy route;
};

struct coordinator;

struct coordinator *coordinator_new(const struct coordinator_options *options,
                                    const struct coordinator_host *host);
void coordinator_free(struct coordinator *c);

/* Events. Those of the replica's host: */
void coordinator_applied(struct coordinator *c, uint64_t now_ms, struct version at,
                         const struct store_effect *effect);
void coordinator_overruled(struct coordinator *c, uint64_t index);
/* Its client waits, or was told that the outcome is unknown; it may have been told so, for one before the
 * last 128 of them. */
bool coordinator_unanswered(const struct coordinator *c, struct version at);
/* Of the connections: */
void coordinator_request(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                         struct bytes payload);
void coordinator_routed(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                        struct bytes payload);
void coordinator_replied(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                         struct bytes payload);
void coordinator_read_index(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                            const struct message *message);
void coordinator_link_down(struct coordinator *c, uint64_t now_ms, const struct member_id *peer);
/* The ring to route by; epoch 0: none is known. own: it is the one in force in the own group's log; otherwise
 * the own group owns nothing. groups is copied. */
void coordinator_set_ring(struct coordinator *c, const struct groups *groups, bool own);
/* Commit, leadership or applied moved: answers what can be answered. True where the replica has something to
 * flush. */
bool coordinator_poll(struct coordinator *c, uint64_t now_ms);
/* Deadlines. Returns when it wants to be called next, absolute. */
uint64_t coordinator_tick(struct coordinator *c, uint64_t now_ms);
/* This node leads, and its disk is full: writes got ERROR_DISK_FULL, the last one not long ago. */
bool coordinator_disk_full(const struct coordinator *c);
/* Clean shutdown: new writes are refused; what was accepted goes on. */
void coordinator_stop(struct coordinator *c);
size_t coordinator_pending(const struct coordinator *c);

/* True: *reply is the answer, borrowed from the store until the next call. False: the answer comes later,
 * through the host's answer, under this ticket (the caller's number, not looked into). */
bool coordinator_submit(struct coordinator *c, uint64_t now_ms, const struct request *request,
                        uint64_t ticket, struct reply *reply);

/* Keys in byte order from the own node's state: those that start with prefix and come after `after`
 * (after.size 0: from the first); neither may change before it returns. Calls each until it returns false. */
void coordinator_scan(struct coordinator *c, struct bytes prefix, struct bytes after,
                      bool (*each)(void *arg, struct bytes key), void *arg);
/* A read that returns no key: ready for a scan at the consistency that request asks for. Same return as
 * submit. */
bool coordinator_barrier(struct coordinator *c, uint64_t now_ms, const struct request *request,
                         uint64_t ticket, struct reply *reply);

/* Keys of all groups. True where a listing needs them from other groups, or does not know yet: then
 * coordinator_keys gives it slice by slice, and coordinator_scan only the own group's. */
bool coordinator_gathers(const struct coordinator *c);
struct keys_request {
    struct bytes prefix, after;
    uint64_t limit; /* most keys; UINT64_MAX none */
    bool linearizable;
    struct position position; /* KV-After: its group's part waits for it; index 0: none */
    uint64_t deadline_ms;
};
/* The next slice comes later, under this ticket: reply.value is for keys_slice_next. */
void coordinator_keys(struct coordinator *c, uint64_t now_ms, const struct keys_request *request,
                      uint64_t ticket);

/* This node's, as in struct health_view. */
const char *coordinator_role(const struct coordinator *c);
/* The leader of the own group: this node, or the one that it follows and is connected to. */
bool coordinator_leader(const struct coordinator *c, struct member_id *out);

#define COORDINATOR_NODES_MAX (MEMBERSHIP_NODES_MAX + 1 + 64) /* own and foreign ones */

/* Nodes for GET /cluster: those of this cluster, self included, in order of id; then those of other cluster
 * names. */
struct coordinator_node {
    struct node_info info;
    bool is_leader; /* own group: from its log; others: hinted */
    bool is_self;
    const char *role;  /* as in struct health_view, of the own group from its configuration */
    const char *state; /* "alive", "suspect" */
};
size_t coordinator_nodes(const struct coordinator *c, struct coordinator_node *out, size_t count_max);
/* The ring as this node knows it. */
struct coordinator_ring {
    bool several;                                     /* more than one group is known */
    uint64_t epoch;                                   /* 0: none yet */
    uint32_t groups[GROUPS_MAX], joining[GROUPS_MAX]; /* on the ring; known and not on it */
    size_t group_count, joining_count;
    const struct ring *slots; /* who owns them; borrowed until the ring changes; NULL: no ring yet */
};
void coordinator_ring(const struct coordinator *c, struct coordinator_ring *out);
const struct node_info *coordinator_self(const struct coordinator *c);
bool coordinator_is_leader(const struct coordinator *c);
/* -route redirect or refuse: a write or a linearizable read whose leader, of the own group or of another one
 * that owns the key, is another node. */
struct coordinator_away {
    struct reply reply; /* the refusal, which names the leader */
    struct address api; /* the leader's HTTP port */
    char text[160];
};
bool coordinator_may_route_away(const struct coordinator *c);
/* False where the request is this node's, may be passed on, or has no leader yet. */
bool coordinator_routes_away(const struct coordinator *c, const struct request *request,
                             struct coordinator_away *out);

#endif
