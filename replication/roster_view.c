#include "replication/roster_view.h"

#include <assert.h>

static struct roster_node node_of(const struct raft *raft, const struct peer *peer) {
    const struct configuration *configuration = raft_configuration(raft);
    bool member = configuration_find(configuration, &peer->id) != NULL;
    return (struct roster_node){
        .id = peer->id,
        .peer = peer->info.peer,
        .api = peer->info.api,
        .newcomer = !member && !configuration_was_removed(configuration, &peer->id),
        .volatile_ = peer->volatile_,
        .caught_up = raft_caught_up(raft, &peer->id),
    };
}

/* A node of this founding that is no member and never was one was adopted by a leader whose record of it was
 * lost: it is a newcomer as one that belongs to none. */
static void look_at_nodes(struct roster_view *out, const struct raft *raft, const struct peers *peers,
                          const struct node_info *self) {
    for (size_t i = 0; i < peers_count(peers) && out->count < ROSTER_NODES_MAX; i++) {
        const struct peer *peer = peers_at(peers, i);
        bool own = peer->info.group_id == 0 || peer->info.group_id == self->group_id;
        if (peer->info.group == self->group && own)
            out->nodes[out->count++] = node_of(raft, peer);
    }
}

void roster_round_begin(struct roster_round *round, struct raft *raft, uint64_t now_ms) {
    *round = (struct roster_round){
        .sequence = raft_read(raft, now_ms), .term = raft_term(raft), .begun_ms = now_ms};
}

bool roster_round_open(const struct roster_round *round, const struct raft *raft, uint64_t now_ms) {
    return round->sequence != 0 && round->term == raft_term(raft) && raft_role(raft) == RAFT_LEADER &&
           now_ms - round->begun_ms < ROSTER_ROUND_MS;
}

void roster_look(struct roster_view *out, const struct raft *raft, const struct peers *peers,
                 const struct node_info *self, const struct roster_round *round, uint64_t now_ms) {
    bool open = roster_round_open(round, raft, now_ms);
    const struct configuration *configuration = raft_configuration(raft);
    *out = (struct roster_view){.leader.incarnation = self->incarnation};
    memcpy(out->leader.id, self->id, NODE_ID_SIZE);
    out->nodes[out->count++] =
        (struct roster_node){.id = out->leader, .peer = self->peer, .api = self->api, .caught_up = true};
    look_at_nodes(out, raft, peers, self);
    for (size_t m = 0; m < configuration->count; m++) {
        const struct member_id *id = &configuration->members[m].id;
        bool here = member_id_equal(id, &out->leader) || peers_find(peers, id) != NULL;
        out->silent_ms[m] = here ? 0 : raft_silent_ms(raft, id, now_ms);
        out->answered[m] = open && raft_answered(raft, id, round->sequence);
    }
}
