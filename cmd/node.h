/* A whole node without a socket: replica, connections, discovery, coordinator and HTTP server core put
 * together.
 *
 * The program (kvnode_io.c) and the simulator drive it alike: datagrams, peer bytes, client bytes, finished
 * jobs and the time go in; datagrams, peer bytes, jobs and log lines come out through node_host, and clients'
 * answers through the api core. After each batch of events the driver calls node_turn, which sends, writes
 * and answers what the events led to ("one turn, one flush"). */
#ifndef CMD_NODE_H
#define CMD_NODE_H

#include "api/api.h"
#include "discovery/discovery.h"
#include "replication/peers.h"
#include "replication/replica.h"
#include "storage/identity.h"

enum node_level { NODE_DEBUG, NODE_INFO, NODE_NOTICE, NODE_WARNING, NODE_ERROR };

/* What only the program can measure. Times are in microseconds. */
struct node_measures {
    const char *version;
    struct histogram log_syncs; /* jobs of the lane JOB_LOG */
    struct histogram bulk_jobs; /* of JOB_BULK */
    struct histogram turns;     /* of the loop, from what was ready to what was sent */
    uint64_t resident_bytes, descriptors, descriptors_max;
    uint64_t peers_turned_away;    /* connections, for lack of descriptors */
    double cpu_seconds, started_s; /* since the start; Unix time of it */
};

struct node_options {
    struct file_system *fs; /* borrowed; outlives the node */
    const char *directory;  /* its name, for the log; borrowed; may be NULL */
    uint32_t group;
    bool leader; /* -leader */
    bool again;  /* after node_start_over: the other founding is known to be there */
    bool memory; /* -memory */
    bool id_given;
    uint8_t id[NODE_ID_SIZE]; /* where id_given */
    char cluster[CLUSTER_NAME_MAX + 1];
    struct address peer, api; /* what others are told */
    enum ack_mode ack;        /* with -leader: the group's, from its founding on */
    bool ack_given;
    uint8_t voters_max;
    bool voters_given;
    enum replica_sync sync;
    uint32_t sync_interval_ms;
    enum route_policy route; /* -route */
    bool broadcast;
    bool named_peers; /* -peers was given */
    const char *const *allow_hosts;
    uint32_t slow_ms;                     /* requests that take longer are logged; 0: none are */
    enum node_level level;                /* of the log */
    uint32_t clients_max;                 /* of the HTTP server; 0: its default */
    uint32_t segment_size;                /* 0: the log's default */
    uint64_t snapshot_log_size;           /* 0: the replica's default */
    uint64_t scrub_rest_ms;               /* likewise */
    uint64_t snapshot_max;                /* the replica's */
    uint64_t seed;                        /* of every random choice but the next */
    uint8_t secret[IDENTITY_SECRET_SIZE]; /* random; of a new directory */
};

struct node_host {
    void *arg;
    /* discovery_host.send, peers_host.dial, write, close and hold, replica_host.background */
    void (*datagram)(void *arg, const struct address *to, struct bytes datagram);
    void (*dial)(void *arg, uint32_t connection, const struct address *to);
    void (*write)(void *arg, uint32_t connection, struct bytes data);
    void (*close)(void *arg, uint32_t connection);
    void (*hold)(void *arg, uint32_t connection, bool held);
    void (*background)(void *arg, struct job *job);
    /* One line without a newline. event is a stable name for machines, text a sentence for people. */
    void (*log)(void *arg, enum node_level level, const char *event, const char *text);
    uint64_t (*wall_ms)(void *arg);                         /* Unix time */
    void (*measures)(void *arg, struct node_measures *out); /* may be NULL */
    void (*level)(void *arg, enum node_level level);        /* the log's was changed; may be NULL */
};

enum node_state {
    NODE_RUNNING,
    NODE_STOPPING,      /* node_stop was called */
    NODE_STOPPED,       /* everything accepted is answered: call node_shutdown, then exit 0 */
    NODE_STARTING_OVER, /* two foundings of the group met and this one, without keys, has yielded:
                           node_start_over, then open it again */
    NODE_FAILED,        /* the disk failed, or another process bears this id: exit 1, without node_shutdown */
};

struct node;

/* Reads or makes the identity, opens the replica. False with one line in `why` where the directory is damaged
 * or belongs to another node, group or cluster; nothing was changed then. */
bool node_open(const struct node_options *options, const struct node_host *host, uint64_t now_ms,
               struct node **out, char *why, size_t why_size);
void node_close(struct node *n);
/* Announces, dials, elects: the shells are ready. */
void node_start(struct node *n, uint64_t now_ms);

/* Events. */
void node_datagram(struct node *n, uint64_t now_ms, const struct address *from, struct bytes datagram);
void node_learn(struct node *n, uint64_t now_ms, const struct address *peer); /* a resolved name of -peers */
struct peers *node_peers(struct node *n); /* for the shell: accepted, connected, received, closed, unsent */
struct api *node_api(struct node *n);     /* for the shell: open, process, close */
/* After a job's done. */
void node_job_done(struct node *n, uint64_t now_ms, struct job *job);

/* End of a turn. Returns when the driver must call it again at the latest, absolute. */
uint64_t node_turn(struct node *n, uint64_t now_ms);

/* Changes the log's level while the node runs; it stays when the node is opened again. */
void node_set_level(struct node *n, enum node_level level);
enum node_level node_level(const struct node *n);

/* A clean stop: a leader hands leadership over, what was accepted is answered, then NODE_STOPPED. */
void node_stop(struct node *n, uint64_t now_ms);
/* Blocks: syncs the log and takes a snapshot. Helper threads have been stopped. */
bool node_shutdown(struct node *n);
/* Empties the directory and gives it a new incarnation. Helper threads have been stopped. */
/* *leader: it is to be opened again with -leader, as it was, or since it led the group that gave itself up.
 */
bool node_start_over(struct node *n, bool *leader);
enum node_state node_state(const struct node *n);

struct replica *node_replica(struct node *n); /* for the simulator's checks */
const struct node_info *node_self(const struct node *n);

#endif
