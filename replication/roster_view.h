/* What a leader sees of its group's members: roster.h's view, from the consensus core and the connections. */
#ifndef REPLICATION_ROSTER_VIEW_H
#define REPLICATION_ROSTER_VIEW_H

#include "replication/peers.h"
#include "replication/raft.h"
#include "replication/roster.h"

/* may_move is left false. */
void roster_look(struct roster_view *out, const struct raft *raft, const struct peers *peers,
                 const struct node_info *self, uint64_t now_ms);

#endif
