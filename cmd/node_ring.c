/* The groups on the ring, as far as one node has to do with it (PROTOCOL.md, "Groups and the ring"): tells other
 * groups what the own log says of the ring, hears theirs, and, on the leader, logs what the steward's rules want. */
#include "cmd/node_internal.h"

#define GRACE_MS 2000 /* a group that is about to be founded, or to elect its leader, is waited for so long */

void node_ring_heard(struct node *n, const struct peer *peer, struct bytes payload) {
    struct reader r = reader_of(payload);
    struct groups_state state;
    if (peer->info.group == n->self.group || peer->info.group_id == 0 || !groups_state_read(&r, &state) ||
        !reader_done(&r))
        return;
    steward_heard(n->steward, n->now_ms, peer->info.group, peer->info.group_id, &state);
}

static bool leads(const struct node *n) {
    const struct raft *raft = replica_raft_view(n->replica);
    return raft_role(raft) == RAFT_LEADER && raft_term_committed(raft) && n->state == NODE_RUNNING;
}

static bool same_state(const struct groups_state *a, const struct groups_state *b) {
    return groups_equal(&a->current, &b->current) && groups_equal(&a->proposed, &b->proposed) &&
           a->last_ring_id == b->last_ring_id && a->last_epoch == b->last_epoch &&
           (a->written != 0) == (b->written != 0);
}

/* To the leaders of other groups, now and then to all their nodes: those of a group that is on no ring route by it. */
static void report(struct node *n) {
    const struct groups_state *state = replica_groups(n->replica);
    bool changed = !same_state(state, &n->reported);
    bool all = changed || n->now_ms - n->told_ms >= 4 * STEWARD_REPORT_MS;
    if (!changed && n->now_ms - n->reported_ms < STEWARD_REPORT_MS)
        return;
    buffer_clear(&n->message);
    groups_state_write(&n->message, state);
    for (size_t i = 0; i < peers_count(n->peers); i++) {
        const struct peer *peer = peers_at(n->peers, i);
        if (peer->info.group != n->self.group && (all || peer->info.role == NODE_LEADER))
            peers_send(n->peers, n->now_ms, &peer->id, PEERS_MAIN, FRAME_RING, buffer_bytes(&n->message));
    }
    n->reported = *state;
    n->reported_ms = n->now_ms;
    n->told_ms = all ? n->now_ms : n->told_ms;
}

static void look_around(const struct node *n, struct steward_view *view) {
    const struct membership *membership = discovery_membership(n->discovery);
    bool early = n->now_ms - n->led_ms < GRACE_MS;
    for (size_t i = 0; i < membership_count(membership); i++) {
        const struct membership_row *row = membership_at(membership, i);
        if (row->info.group == n->self.group || row->state != MEMBERSHIP_ALIVE)
            continue;
        view->ring_visible |= row->info.ring_epoch != 0;
        view->lower_visible |= row->info.group < n->self.group && row->info.ring_epoch == 0 &&
                               (row->info.role == NODE_LEADER || early);
    }
}

static struct steward_view view_of(struct node *n) {
    struct steward_view view = {
        .number = n->self.group,
        .founding = n->identity.group_id,
        .state = replica_groups(n->replica),
        .led_ms = n->led_ms,
        .ring_id = node_random(n, n->now_ms + 5),
    };
    look_around(n, &view);
    return view;
}

uint64_t node_ring_tick(struct node *n) {
    if (!leads(n)) {
        n->led_ms = 0;
        return UINT64_MAX;
    }
    if (n->led_ms == 0)
        n->led_ms = n->now_ms;
    struct groups_record record;
    struct steward_view view = view_of(n);
    if (replica_ring_idle(n->replica) && steward_next(n->steward, n->now_ms, &view, &record))
        replica_propose_ring(n->replica, &record);
    report(n);
    return n->now_ms + STEWARD_REPORT_MS;
}

void node_ring_follow(struct node *n) {
    const struct groups_state *state = replica_groups(n->replica);
    const struct groups *ring = &state->current, *heard = steward_heard_ring(n->steward);
    if (ring->epoch == 0 && heard != NULL && state->written == 0)
        ring = heard;
    if (groups_equal(ring, &n->seen_ring))
        return;
    n->seen_ring = *ring;
    coordinator_set_ring(n->coordinator, &n->seen_ring, ring == &state->current);
    node_say_ring(n);
}
