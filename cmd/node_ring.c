/* The groups on the ring, as far as one node has to do with it (PROTOCOL.md, "Groups and the ring"): tells
 * other groups what the own log says of the ring, hears theirs, and, on the leader, logs what the steward's
 * rules want. */
#include "cmd/node_internal.h"

#define COMPLAIN_MS 60000
/* A group that is about to be founded, or to elect its leader, is waited for so long. */
#define HINTED_MS 10000 /* a leader waits this long for nodes that it has only heard of */
#define GRACE_MS  2000

void node_ring_heard(struct node *n, const struct peer *peer, struct bytes payload) {
    struct reader r = reader_of(payload);
    struct groups_state state;
    if (peer->info.group == n->self.group || peer->info.group_id == 0 || !groups_state_read(&r, &state) ||
        !reader_done(&r))
        return;
    steward_heard(n->steward, n->now_ms, peer->info.group, peer->info.group_id, &state);
}

/* An async leader that goes on alone can commit nothing, and its clients would wait for it. */
static bool leads(const struct node *n) {
    const struct raft *raft = replica_raft_view(n->replica);
    return raft_role(raft) == RAFT_LEADER && raft_term_committed(raft) && !raft_alone(raft) &&
           n->state == NODE_RUNNING && replica_groups(n->replica)->yielded == 0;
}

static bool same_state(const struct groups_state *a, const struct groups_state *b) {
    return groups_equal(&a->current, &b->current) && groups_equal(&a->proposed, &b->proposed) &&
           a->last_ring_id == b->last_ring_id && a->last_epoch == b->last_epoch &&
           (a->written != 0) == (b->written != 0);
}

/* To the leaders of other groups, now and then to all their nodes: those of a group that is on no ring route
 * by it. */
static void report(struct node *n) {
    const struct groups_state *state = replica_groups(n->replica);
    bool changed = !same_state(state, &n->reported);
    bool all = changed || n->now_ms - n->ring_told_ms >= 4 * STEWARD_REPORT_MS;
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
    n->ring_told_ms = all ? n->now_ms : n->ring_told_ms;
}

static void look_at(const struct node *n, const struct node_info *info, struct steward_view *view) {
    bool early = n->now_ms - n->led_ms < GRACE_MS;
    if (info->group == n->self.group)
        return;
    view->ring_visible |= info->ring_epoch != 0;
    view->lower_visible |=
        info->group < n->self.group && info->ring_epoch == 0 && (info->role == NODE_LEADER || early);
}

/* A node that was only heard of holds nobody up for long: a datagram says anything. */
static void look_around(const struct node *n, struct steward_view *view) {
    const struct membership *membership = discovery_membership(n->discovery);
    bool hints = n->now_ms - n->led_ms < HINTED_MS;
    for (size_t i = 0; i < membership_count(membership) && hints; i++)
        if (membership_at(membership, i)->state == MEMBERSHIP_ALIVE)
            look_at(n, &membership_at(membership, i)->info, view);
    for (size_t i = 0; i < peers_count(n->peers); i++)
        look_at(n, &peers_at(n->peers, i)->info, view);
}

static struct steward_view view_of(struct node *n) {
    struct steward_view view = {
        .number = n->self.group,
        .founding = n->identity.group_id,
        .state = replica_groups(n->replica),
        .led_ms = n->led_ms,
    };
    if (view.state->current.epoch != 0)
        return view;
    view.ring_id = node_random(n, n->now_ms + 5);
    look_around(n, &view);
    return view;
}

static void complain(struct node *n) {
    if (n->trouble_ms != 0 && n->now_ms - n->trouble_ms < COMPLAIN_MS)
        return;
    n->trouble_ms = n->now_ms;
    node_log(n, NODE_ERROR, "two_rings",
             "two rings of cluster '%s' have met and neither is empty: each keeps its own keys; stop "
             "one, and "
             "start it with another -cluster or on empty directories",
             n->self.cluster);
}

static enum health_ring ring_of(enum steward_trouble trouble) {
    switch (trouble) {
    case STEWARD_KEYS:
        return HEALTH_RING_KEYS;
    case STEWARD_LISTED:
        return HEALTH_RING_TAKEN;
    case STEWARD_WAITS:
    case STEWARD_WELL:
    case STEWARD_TWO_RINGS:
        break;
    }
    return HEALTH_RING_WAITS;
}

/* A node whose group has a log and no ring says why. */
static void say_trouble(struct node *n) {
    struct steward_view view = {
        .number = n->self.group, .founding = n->identity.group_id, .state = replica_groups(n->replica)};
    enum steward_trouble trouble = steward_trouble(n->steward, &view);
    bool joining =
        raft_configuration(replica_raft_view(n->replica))->count > 0 && view.state->current.epoch == 0;
    n->known.ring = joining ? ring_of(trouble) : HEALTH_RING_SHARED;
    n->known.two_rings = trouble == STEWARD_TWO_RINGS;
    bool stays = n->known.ring == HEALTH_RING_KEYS || n->known.ring == HEALTH_RING_TAKEN;
    if (stays && !n->said_joining) {
        const struct health_row *row =
            health_row(n->known.ring == HEALTH_RING_KEYS ? HEALTH_JOINING_WITH_KEYS : HEALTH_JOINING_TAKEN);
        node_log(n, NODE_WARNING, "joining", "group %u is not on the ring: %s. %s", n->self.group,
                 row->reason, row->fix);
    }
    n->said_joining = stays;
    if (trouble == STEWARD_TWO_RINGS)
        complain(n);
}

uint64_t node_ring_tick(struct node *n) {
    say_trouble(n);
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
    bool own = ring == &state->current, same = groups_equal(ring, &n->seen_ring);
    if (same && own == n->seen_ring_own)
        return;
    n->seen_ring = *ring;
    n->seen_ring_own = own;
    coordinator_set_ring(n->coordinator, &n->seen_ring, own);
    if (!same && n->started_ms > 0)
        node_say_ring(n);
}
