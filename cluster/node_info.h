/* What nodes tell each other about themselves: the content of an announcement and of a hello.
 *
 * A node is (id, incarnation): the id names it, the incarnation is new whenever its data directory is. Roles
 * here are hints; a group's log decides. */
#ifndef CLUSTER_NODE_INFO_H
#define CLUSTER_NODE_INFO_H

#include "cluster/address.h"
#include "storage/name.h"

enum node_role {
    NODE_NEWCOMER, /* belongs to no founding of its group yet */
    NODE_LEARNER,
    NODE_FOLLOWER,
    NODE_CANDIDATE,
    NODE_LEADER,
    NODE_REMOVED, /* its group's configuration no longer lists it */
};

struct node_info {
    uint8_t id[NODE_ID_SIZE];
    uint64_t incarnation;
    uint64_t session;  /* random, new at every start */
    uint64_t group_id; /* of the founding; 0 for a newcomer */
    uint32_t group;
    enum node_role role;
    /* Hints for the bootstrap of a group (replication/PROTOCOL.md, "Bootstrap"). */
    bool bootstraps; /* -leader on an empty directory: is about to found its group */
    bool fresh;      /* no client ever wrote to its group's log as it has it: that founding may yield */
    bool majority;   /* a leader that a majority of its voters follows */
    uint64_t term;   /* in which it has that role */
    uint64_t ring_id, ring_epoch; /* of the ring that its group's log knows (cluster/groups.h); 0: none */
    struct address peer, api;
    char cluster[CLUSTER_NAME_MAX + 1];
};

void node_info_write(struct buffer *out, const struct node_info *info);
/* False for bytes that are none, an id or a cluster name with other characters, an unknown role. */
bool node_info_read(struct reader *r, struct node_info *out);
bool node_id_valid(struct bytes id);
/* 1 to 64 bytes of printable ASCII: it goes into logs and JSON as it is. */
bool cluster_name_valid(struct bytes name);
/* The same id, incarnation and session: not only the same node, but the same run of it. */
bool node_info_same_process(const struct node_info *a, const struct node_info *b);

/* Most bytes that node_info_write appends. */
#define NODE_INFO_SIZE_MAX (NODE_ID_SIZE + 3 * 8 + 4 + 1 + 3 * 8 + 2 * (1 + 16 + 2) + 1 + CLUSTER_NAME_MAX)

#endif
