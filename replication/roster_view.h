/* What a leader sees of its group's members: roster.h's view, from the consensus core and the connections. */
#ifndef REPLICATION_ROSTER_VIEW_H
#define REPLICATION_ROSTER_VIEW_H

#include "replication/peers.h"
#include "replication/raft.h"
#include "replication/roster.h"

/* A round of the consensus core's, to find out who is there now. All 0: none. */
struct roster_round {
    uint64_t sequence, term, begun_ms;
};

/* The caller leads, and flushes the core afterwards. */
void roster_round_begin(struct roster_round *round, struct raft *raft, uint64_t now_ms);
/* Its answers count still. */
bool roster_round_open(const struct roster_round *round, const struct raft *raft, uint64_t now_ms);

/* may_move is left false. */
void roster_look(struct roster_view *out, const struct raft *raft, const struct peers *peers,
                 const struct node_info *self, const struct roster_round *round, uint64_t now_ms);

#endif
