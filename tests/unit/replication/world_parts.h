/* The nodes, packets and counts of a world of consensus cores (world.h), and its trace. */
#ifndef TESTS_UNIT_REPLICATION_WORLD_PARTS_H
#define TESTS_UNIT_REPLICATION_WORLD_PARTS_H

#include "replication/raft.h"
#include "storage/hard_state.h"
#include "tests/unit/replication/disk.h"

#include <bsd/stdlib.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define WORLD_NODES   8 /* numbered from 1 */
#define WORLD_TERMS   4096
#define WORLD_INDEXES 65536
#define WORLD_PACKETS 65536
#define SNAPSHOT_SIZE (4u * 1024 * 1024) /* bytes: five round trips of chunks */

struct world;

/* What a snapshot of the toy state machine holds: the hash of everything committed. */
struct toy_snapshot {
    struct version at;
    uint64_t chain;
    struct configuration configuration;
    uint64_t configuration_index;
};

struct world_read {
    uint64_t sequence, term, commit;
};

struct node {
    struct world *world;
    unsigned number;
    struct member_id id;
    struct disk *disk;
    struct log *log;
    struct raft *raft;          /* NULL: not running */
    struct configuration first; /* that it starts from */
    struct toy_snapshot snapshot;
    struct toy_snapshot arriving;
    uint64_t arrived;
    bool touched, frozen, cut[WORLD_NODES + 1]; /* cut[n]: what it sends to n is lost */
    uint64_t skew_ms;                           /* its clock is ahead by this */
    uint64_t tick_ms, sync_ms;
    struct job *sync;
    uint64_t chain;                             /* hash of what it committed */
    uint64_t commit, term, configuration_index; /* as last seen */
    enum raft_role role;
    bool alone, joint;
    struct world_read read;
};

/* How often something happened that a run is to prove anything about. */
struct met {
    uint64_t installs, truncations, superseded; /* superseded: client records truncated */
    uint64_t transfers, reads, isolated_reads;  /* isolated: begun by a leader while a later one led */
    uint64_t late;                              /* messages of an earlier term than the receiver's */
    uint64_t joint, joint_ends, all_acked;      /* joint_ends: a leader's process ends in one */
    uint64_t split_joint;                       /* another's leads by it, and does not hear the new voters */
};

struct packet {
    uint64_t at_ms, sequence;
    unsigned from, to;
    struct buffer bytes;
};

struct committed {
    uint64_t term, chain;
};

struct world {
    uint64_t now_ms, sequence;
    unsigned count;
    struct node nodes[WORLD_NODES + 1];
    struct packet packets[WORLD_PACKETS];
    size_t packet_count;
    struct random random;
    uint64_t delay_max_ms, sync_max_ms;     /* 0: 1 ms */
    uint64_t election_min_ms, heartbeat_ms; /* 0: the defaults */
    uint64_t sync_exact_ms;                 /* of every sync; 0: at random */
    unsigned drop, duplicate, late;         /* of 1000 */
    uint64_t late_max_ms;                   /* of those that are late */
    struct met met;
    bool sync_never;
    size_t segment_size; /* 0: 64 KiB */
    enum ack_mode mode;
    FILE *trace; /* NULL: none */
    bool quiet;  /* commits are not traced */
    struct member_id leaders[WORLD_TERMS];
    uint8_t votes[WORLD_TERMS][WORLD_NODES + 1];      /* whom each voted for */
    uint64_t read_seen[WORLD_TERMS][WORLD_NODES + 1]; /* highest sequence in appends of the term's leader */
    struct committed committed[WORLD_INDEXES];
    uint64_t committed_last;
    char breach[256]; /* the first one; empty: none */
};

static inline struct node *world_node(struct world *w, unsigned number) {
    assert(number >= 1 && number <= WORLD_NODES);
    return &w->nodes[number];
}

__attribute__((format(printf, 2, 3))) static void world_breach(struct world *w, const char *format, ...) {
    if (w->breach[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->breach, sizeof w->breach, format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void node_trace(struct node *n, const char *format, ...) {
    if (n->world->trace == NULL)
        return;
    fprintf(n->world->trace, "    %5" PRIu64 "ms  %u ", n->world->now_ms, n->number);
    va_list args;
    va_start(args, format);
    vfprintf(n->world->trace, format, args);
    va_end(args);
    fputc('\n', n->world->trace);
}

static struct member_id world_id(unsigned number, uint64_t incarnation) {
    struct member_id id = {.incarnation = incarnation};
    char text[NODE_ID_SIZE + 1];
    snprintf(text, sizeof text, "node-%011u", number);
    memcpy(id.id, text, NODE_ID_SIZE);
    return id;
}

static unsigned world_number(const struct member_id *id) {
    char text[NODE_ID_SIZE + 1] = {0};
    memcpy(text, id->id, NODE_ID_SIZE);
    return (unsigned)atoi(text + 5);
}

/* By the node's own clock. */
static uint64_t node_now(const struct node *n) {
    return n->world->now_ms + n->skew_ms;
}

#endif
