/* What node.c, node_group.c and node_words.c share. */
#ifndef CMD_NODE_INTERNAL_H
#define CMD_NODE_INTERNAL_H

#include "cmd/node.h"
#include "cmd/node_health.h"
#include "replication/roster_view.h"
#include "replication/steward.h"

#define FOREIGN_SAID_MAX 16 /* other cluster names that the log tells of: anybody may make them up */

/* node_bootstrap.c's. */
struct bootstrap {
    bool wanted;  /* -leader on an empty directory: does the group live already? */
    bool holding; /* another founding is in sight to which this one will yield: writes wait */
    bool led;     /* the group that yielded */
    uint64_t ticked_ms;
    uint64_t listened_ms, waited_ms; /* to whoever answers; for a candidate of a lower id */
    uint64_t proposed_term;          /* in which this leader logged that the group yields */
    uint64_t said_group_id;          /* the living group that the log named last */
    uint64_t yielded_ms, leaderless_ms;
    uint64_t twin_ms,
        complained_ms;   /* another founding that holds keys too was met last, 0: none is; said last */
    struct address twin; /* that one, or the one because of which writes wait */
};

struct node {
    struct node_options options;
    struct node_host host;
    struct identity identity; /* group_id also 0 while the one on disk binds to nothing */
    uint64_t unbound;         /* that one */
    struct node_info self;
    struct member_id self_id;
    struct replica *replica;
    struct peers *peers;
    struct discovery *discovery;
    struct coordinator *coordinator;
    struct api *api;
    enum node_state state;
    struct bootstrap bootstrap;
    uint64_t now_ms, started_ms, ticked_ms, next_ms;
    uint64_t roster_ms, stop_ms;
    struct roster_round round;      /* who is there now, for a change of the voters */
    struct member_id round_about;   /* the change that called for it */
    uint64_t noted_passes;          /* of the scrub, when the identity was read again */
    uint64_t noted_configuration;   /* index of the one whose voters the identity counts */
    uint64_t dialled_configuration; /* index of the one whose members are held connections to */
    struct member_id members[MEMBERS_MAX];
    struct address dialled[MEMBERS_MAX]; /* theirs */
    size_t dialled_count;
    uint64_t moved_ms, told_ms, told_configuration;
    uint64_t removed_at;   /* index of the configuration that this node was told of; 0: none */
    uint64_t removed_term; /* of whoever told it */
    bool told_out;         /* the same, of a node that has no configuration yet */
    size_t learned;        /* -peers resolved so far */
    bool handed_over;
    bool gathering; /* the last turn wrote and sent nothing: the next one, at once, may bring more */
    /* What was last said in the log, so that changes are. */
    struct member_id seen_leader;
    enum raft_role seen_role;
    uint64_t seen_term, seen_configuration;
    uint64_t two_voters_ms; /* when to say that the group has two voters; 0: it was said, or has not */
    bool seen_removed, seen_alone, seen_full, said_waiting, said_mode, said_promise, said_serving;
    bool founded, joined;   /* in this run */
    uint64_t serving_ms;    /* since when it is ready; 0: it is not */
    uint64_t files_ms;      /* when the files were last looked for */
    uint64_t looked_ms;     /* when its health was last looked at for the log */
    uint64_t leaderless_ms; /* since when too few voters answer; 0: enough do */
    size_t said_missing;    /* how many voters were then said to be missing */
    enum ack_mode said_ack;
    struct steward *steward;
    uint64_t led_ms;                    /* since when this node leads; 0 it does not */
    uint64_t reported_ms, ring_told_ms; /* the ring's state: to leaders, to all */
    struct groups_state reported;
    struct groups seen_ring; /* that the coordinator routes by */
    bool seen_ring_own;
    uint64_t trouble_ms; /* when two rings were last complained about */
    bool said_joining;
    struct health_facts
        known;         /* those that somebody notes as they come; node_health_facts looks up the rest */
    char reason[1024]; /* of the last health_view */
    char said_foreign[FOREIGN_SAID_MAX][CLUSTER_NAME_MAX + 1];
    size_t said_foreign_count;
    struct buffer message;
};

/* printf-like; one line. */
void node_log(struct node *n, enum node_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* node_group.c: identity, adoption. */
uint64_t node_random(const struct node *n, uint64_t salt); /* the same for the same salt; never 0 */
bool node_group_open(struct node *n, char *why, size_t why_size);
/* The replica is open too. */
void node_group_opened(struct node *n);
/* Returns when it wants to be called next, absolute. */
uint64_t node_group_tick(struct node *n);
#define IDENTITY_UNWRITTEN "cannot write the file 'identity': is the disk full or read-only?"
bool node_save_identity(struct node *n);
/* A message from a member of a group while this node belongs to none: takes its group id. False where it must
 * not be handled. */
bool node_group_accept(struct node *n, const struct peer *peer, const struct message *message);
void node_group_refused(struct node *n, const struct address *at, const struct node_info *info,
                        enum peers_refusal reason, bool ours);
void node_group_name_self(struct node *n); /* what others see of the identity */
void node_group_update_self(struct node *n);
/* A node of the same group, of whatever founding, that was heard of; NULL: none. */
const struct node_info *node_group_found(const struct node *n);

/* node_bootstrap.c: how a group comes to be, and how two foundings of it become one. */
void node_bootstrap_begin(struct node *n);
/* Returns when it wants to be called next, absolute. */
uint64_t node_bootstrap_tick(struct node *n);
/* -leader has nothing to found: member belongs to the group. */
void node_bootstrap_found_out(struct node *n, const struct node_info *member);
/* The log, as this node has it, holds no client's write, and nothing else binds its founding. */
bool node_bootstrap_fresh(const struct node *n);
/* The group gives itself up, or has: nobody joins it any more. */
bool node_bootstrap_yields(const struct node *n);

/* node_aside.c: damage to what had been durable. */
/* `why` holds the damage. False where the node must not start, with why. */
bool node_aside_set(struct node *n, char *why, size_t why_size);
/* The rest of it after a crash. */
bool node_aside_finish(struct node *n, char *why, size_t why_size);
void node_aside_tick(struct node *n);

/* node_members.c: the configuration and what follows from it. */
void node_members_open(struct node *n);
void node_members_tick(struct node *n);
/* The leader said that this node is no member any more. */
void node_members_told(struct node *n, const struct peer *peer, const struct message *message);
/* A message that the core has handled. */
void node_members_led(struct node *n, const struct peer *peer, const struct message *message);
bool node_members_removed(const struct node *n);
/* A member of the own group is said to be there: held a connection to for as long as it is a member. */
bool node_group_member_at(const struct node *n, const struct address *peer);

/* node_ring.c: the groups on the ring. */
void node_ring_heard(struct node *n, const struct peer *peer, struct bytes payload);
/* Returns when it wants to be called next, absolute. */
uint64_t node_ring_tick(struct node *n);
/* After what was committed has been applied: the coordinator routes by it. */
void node_ring_follow(struct node *n);

/* node_outside.c: what the API shows of the node, with the node as arg. */
struct api_host node_outside(struct node *n);
/* Appends the members that are connected to nobody here, or all others: "<before>node X at 10.0.0.1:8000,
 * node Y at ...". Returns how many; of none it appends nothing. */
size_t node_list_members(const struct node *n, bool missing_voters, const char *before, char *out,
                         size_t size);
void node_health_facts(const struct node *n, uint64_t now_ms, struct health_facts *out);
enum health node_health(struct node *n, uint64_t now_ms, struct health_view *out);
void node_health_view(void *arg, uint64_t now_ms,
                      struct health_view *out); /* the same, with the node as arg */
/* node_metrics.c */
void node_metrics(struct node *n, uint64_t now_ms, struct buffer *out);

/* node_words.c: what the log says. */
void node_say_start(struct node *n);
void node_say_changes(struct node *n);
void node_say_membership(struct node *n, const struct node_info *info, enum membership_event event);
void node_say_ring(struct node *n);
/* Once for a cluster name; of further names than FOREIGN_SAID_MAX no more. */
void node_say_foreign(struct node *n, const struct node_info *info);
void node_say_version(struct node *n, const struct address *source);
void node_say_removed(struct node *n, const struct node_info *info);
const char *node_id_text(const uint8_t id[NODE_ID_SIZE], char out[NODE_ID_SIZE + 1]);

#endif
