/* How a group comes to be, and how two that were founded apart become one (PROTOCOL.md, "Bootstrap").
 *
 * A node with -leader and an empty directory is a candidate. It listens, and founds the group only if nobody
 * answers that belongs to it; candidates that see each other leave it to the lowest id. What datagrams say
 * only makes it listen longer: what counts is connections.
 *
 * Where two foundings meet all the same, one that holds no client's write and sees the other led by a
 * majority gives itself up. Its leader logs that, so that it is decided at one place in one log: behind a
 * client's write the record changes nothing, and behind the record no write is taken. Whoever applies it
 * starts over as an unjoined node. So no answered write is ever lost to this, whatever anybody pretends to
 * be.
 *
 * A member that was away meanwhile finds a majority of its group's voters under other incarnations: its
 * founding can never elect a leader again. If it holds no client's write either, it starts over too. */
#include "cmd/node_internal.h"

#define STEP_MS        50 /* how often all this is looked at, and the most that one look counts as listening */
#define NAMED_PEERS_MS 3000  /* a candidate waits this long for addresses that do not answer */
#define HINTED_MS      10000 /* and this long where a datagram says that the group lives, or it has yielded */
#define CANDIDATE_MS   15000 /* and this long for a candidate of a lower id */
#define LOOK_MS        35000 /* a node met so long ago, and not since, may still be there */
#define MET_MS         3000  /* what was met so long ago is so now */
#define BOTH_MET_MS    65000 /* the same, where both hold data and are dialled twice a minute */
#define LEADERLESS_MS  3000
#define HANDOVER_MS    2000 /* a leader that yields stays this long for others to hear of it */
#define COMPLAIN_MS    60000

static const struct raft *raft_of(const struct node *n) {
    return replica_raft_view(n->replica);
}

static bool same_group(const struct node *n, const struct node_info *info) {
    return info->group == n->self.group && strcmp(info->cluster, n->self.cluster) == 0;
}

static bool is_self(const struct node *n, const struct node_info *info) {
    return memcmp(info->id, n->self.id, NODE_ID_SIZE) == 0;
}

/* ---- the candidate ---- */

static const struct node_info *connected(const struct node *n, const uint8_t id[NODE_ID_SIZE]) {
    for (size_t i = 0; i < peers_count(n->peers); i++)
        if (memcmp(peers_at(n->peers, i)->id.id, id, NODE_ID_SIZE) == 0)
            return &peers_at(n->peers, i)->info;
    return NULL;
}

/* Somebody who belongs to the group: connected, or met a short while ago. */
static const struct node_info *living(const struct node *n) {
    const struct peers_look *look;
    for (size_t i = 0; i < peers_count(n->peers); i++) {
        const struct node_info *info = &peers_at(n->peers, i)->info;
        if (same_group(n, info) && info->group_id != 0)
            return info;
    }
    for (size_t cursor = 0; (look = peers_look(n->peers, n->now_ms, &cursor)) != NULL;)
        if (same_group(n, &look->info) && look->info.group_id != 0 && !is_self(n, &look->info) &&
            n->now_ms < look->at_ms + LOOK_MS && connected(n, look->info.id) == NULL)
            return &look->info;
    return NULL;
}

static const struct node_info *earlier_candidate(const struct node *n) {
    for (size_t i = 0; i < peers_count(n->peers); i++) {
        const struct node_info *info = &peers_at(n->peers, i)->info;
        if (same_group(n, info) && info->bootstraps && info->group_id == 0 &&
            memcmp(info->id, n->self.id, NODE_ID_SIZE) < 0)
            return info;
    }
    return NULL;
}

static void found(struct node *n) {
    n->bootstrap.wanted = false;
    n->identity.group_id = node_random(n, 3);
    struct configuration first = {
        .group_id = n->identity.group_id,
        .group = n->options.group,
        .founded_ms = n->host.wall_ms(n->host.arg),
        .mode = n->options.ack,
        .voters_max = n->options.voters_max,
        .count = 1,
        .members = {{.id = n->self_id, .role = MEMBER_VOTER, .peer = n->self.peer, .api = n->self.api}},
    };
    replica_set_group(n->replica, n->identity.group_id);
    if (!node_save_identity(n) || raft_found(replica_raft(n->replica), n->now_ms, &first) != RAFT_OK) {
        node_log(n, NODE_ERROR, "founding_failed", "cannot found group %u: is the disk full or read-only?",
                 n->options.group);
        n->state = NODE_FAILED;
        return;
    }
    n->founded = true;
    node_log(n, NODE_NOTICE, "founded", "founded group %u: this node is its first voter", n->options.group);
}

void node_bootstrap_found_out(struct node *n, const struct node_info *member) {
    char text[ADDRESS_TEXT_MAX];
    if (!n->bootstrap.wanted || n->bootstrap.said_group_id == member->group_id)
        return;
    n->bootstrap.said_group_id = member->group_id;
    node_log(n, NODE_NOTICE, "group_lives",
             "-leader has no effect: group %u already exists at %s, and this node joins it", n->self.group,
             address_text(&member->peer, text));
}

static void say_waiting_for(struct node *n, const struct node_info *candidate) {
    char text[ADDRESS_TEXT_MAX];
    if (n->bootstrap.waited_ms == 0)
        node_log(n, NODE_INFO, "candidates",
                 "leaves it to the node at %s, with the lower id, to found group %u",
                 address_text(&candidate->peer, text), n->self.group);
}

/* How long a candidate listens before it founds the group. */
static uint64_t listen_ms(const struct node *n) {
    if (n->options.again || node_group_found(n) != NULL)
        return HINTED_MS;
    bool settled = peers_settled(n->peers) && (!n->options.named_peers || n->learned > 0);
    return settled ? DISCOVERY_LISTEN_MS : NAMED_PEERS_MS;
}

static void consider_founding(struct node *n, uint64_t passed_ms) {
    struct bootstrap *b = &n->bootstrap;
    const struct node_info *member = living(n), *candidate = earlier_candidate(n);
    if (member != NULL) {
        node_bootstrap_found_out(n, member);
        b->listened_ms = b->waited_ms = 0;
        return;
    }
    if (candidate != NULL && b->waited_ms < CANDIDATE_MS) {
        say_waiting_for(n, candidate);
        b->waited_ms += passed_ms > 0 ? passed_ms : 1;
        return;
    }
    b->listened_ms += passed_ms;
    if (b->listened_ms >= listen_ms(n))
        found(n);
}

void node_bootstrap_begin(struct node *n) {
    if (!n->options.leader || n->identity.files != IDENTITY_FILES_OWN)
        return; /* a node whose files are set aside has a group */
    n->bootstrap.wanted = raft_configuration(raft_of(n))->count == 0;
    if (!n->bootstrap.wanted)
        node_log(
            n, NODE_NOTICE, "leader_flag",
            "-leader only founds a group: this node belongs to one already, and elections decide who leads");
}

/* ---- two foundings ---- */

/* Another founding of the group, met at an address that this node dialled. */
static bool is_other_founding(const struct node *n, const struct peers_look *look, uint64_t within_ms) {
    const struct node_info *info = &look->info;
    return same_group(n, info) && info->group_id != 0 && info->group_id != n->identity.group_id &&
           info->role != NODE_REMOVED && n->now_ms < look->at_ms + within_ms;
}

bool node_bootstrap_fresh(const struct node *n) {
    struct log_record record;
    const struct log *log = replica_log(n->replica);
    const struct groups_state *groups = replica_groups(n->replica);
    uint64_t applied = store_applied(replica_store(n->replica)).index, last = log_last(log);
    if (!groups_unwritten(groups) || last > applied + 64)
        return false;
    for (uint64_t i = applied + 1; i <= last; i++)
        if (log_read((struct log *)(uintptr_t)log, i, &record) != LOG_OK || record.type == ENTRY_PUT ||
            record.type == ENTRY_DELETE)
            return false;
    return true;
}

static void yield(struct node *n, const struct peers_look *look) {
    char text[ADDRESS_TEXT_MAX];
    struct groups_record record = {.step = GROUPS_YIELDED, .steward = n->self.group};
    record.groups = (struct groups){.ring_id = look->info.group_id, .epoch = 1};
    groups_add(&record.groups, n->self.group, look->info.group_id);
    if (replica_propose_ring(n->replica, &record) != RAFT_OK)
        return;
    n->bootstrap.proposed_term = raft_term(raft_of(n));
    node_log(n, NODE_NOTICE, "yields",
             "group %u was founded twice; this founding holds no key and yields to the one at %s",
             n->self.group, address_text(&look->at, text));
}

/* The other one is led, and this one has less to lose, or as little and the higher number. */
static bool must_yield(const struct node *n, const struct node_info *other) {
    return other->majority && (!other->fresh || other->group_id < n->identity.group_id);
}

/* Both hold keys: neither may go. */
static void complain(struct node *n, const struct peers_look *look) {
    struct bootstrap *b = &n->bootstrap;
    char text[ADDRESS_TEXT_MAX];
    b->twin = look->at;
    b->twin_ms = n->now_ms;
    if (b->complained_ms != 0 && n->now_ms < b->complained_ms + COMPLAIN_MS)
        return;
    b->complained_ms = n->now_ms;
    node_log(n, NODE_ERROR, "founded_twice",
             "group %u was founded twice, here and at %s, and both hold keys: stop the nodes of the one you "
             "do not "
             "want, empty their data directories and start them again",
             n->self.group, address_text(&look->at, text));
}

/* Writes wait while another founding is in sight to which this one will yield, as soon as a majority is up:
 * of the other, where that holds keys, or of this one. With a write it no longer could. */
static void hold_writes(struct node *n, const struct peers_look *look) {
    struct bootstrap *b = &n->bootstrap;
    char text[ADDRESS_TEXT_MAX];
    if (look != NULL)
        b->twin = look->at;
    if ((look != NULL) == b->holding)
        return;
    b->holding = look != NULL;
    replica_hold_writes(n->replica, b->holding);
    if (b->holding)
        node_log(n, NODE_WARNING, "holds_writes",
                 "group %u was founded twice: this founding, which holds no key, takes no writes while it "
                 "sees the "
                 "other at %s, and yields when a majority of both is up",
                 n->self.group, address_text(&look->at, text));
}

static void look_at_foundings(struct node *n) {
    bool fresh = n->self.fresh, leads = n->self.majority && n->state == NODE_RUNNING;
    const struct peers_look *look, *waits_for = NULL;
    for (size_t cursor = 0; (look = peers_look(n->peers, n->now_ms, &cursor)) != NULL;) {
        if (!fresh && !look->info.fresh && is_other_founding(n, look, BOTH_MET_MS))
            complain(n, look);
        if (!fresh || !is_other_founding(n, look, MET_MS))
            continue;
        if (leads && must_yield(n, &look->info) && replica_ring_idle(n->replica))
            yield(n, look);
        if (look->info.majority ? !leads && must_yield(n, &look->info) : !look->info.fresh)
            waits_for = look;
    }
    hold_writes(n, waits_for);
    if (n->bootstrap.twin_ms != 0 && n->now_ms > n->bootstrap.twin_ms + COMPLAIN_MS)
        n->bootstrap.twin_ms = 0;
}

/* ---- starting over ---- */

static void start_over(struct node *n, const char *why) {
    node_log(n, NODE_NOTICE, "start_over", "starts over as a node that belongs to no group %u yet: %s",
             n->self.group, why);
    n->state = NODE_STARTING_OVER;
}

static bool others_stay(const struct node *n) {
    for (size_t i = 0; i < peers_count(n->peers); i++) {
        const struct node_info *info = &peers_at(n->peers, i)->info;
        if (same_group(n, info) && info->group_id == n->identity.group_id)
            return true;
    }
    return false;
}

bool node_bootstrap_yields(const struct node *n) {
    bool proposed = n->bootstrap.proposed_term == raft_term(raft_of(n)) && !replica_ring_idle(n->replica);
    return proposed || replica_groups(n->replica)->yielded != 0;
}

/* The group has given itself up. Its leader tells the others the commit of that first. */
static void follow_yielded(struct node *n) {
    struct bootstrap *b = &n->bootstrap;
    if (b->yielded_ms == 0) {
        b->yielded_ms = n->now_ms;
        b->led = raft_role(raft_of(n)) == RAFT_LEADER;
        coordinator_stop(n->coordinator);
    }
    if (!b->led || !others_stay(n) || n->now_ms >= b->yielded_ms + HANDOVER_MS)
        start_over(n, "its founding of the group, which held no key, has yielded to another");
}

/* The voter's node has started over, or lost its directory. */
static bool is_gone(const struct node *n, const struct member *voter) {
    const struct peers_look *look;
    for (size_t cursor = 0; (look = peers_look(n->peers, n->now_ms, &cursor)) != NULL;)
        if (same_group(n, &look->info) && n->now_ms < look->at_ms + LOOK_MS &&
            memcmp(look->info.id, voter->id.id, NODE_ID_SIZE) == 0 &&
            look->info.incarnation != voter->id.incarnation)
            return true;
    return false;
}

/* Another founding is led, and this one's leader, who was about to send the first record, is not there. */
static bool was_adopted_in_vain(const struct node *n) {
    const struct peers_look *look;
    for (size_t cursor = 0; (look = peers_look(n->peers, n->now_ms, &cursor)) != NULL;)
        if (is_other_founding(n, look, MET_MS) && look->info.majority)
            return !others_stay(n);
    return false;
}

/* So many of the voters are gone that the others are no majority, and never will be. */
static bool is_given_up(const struct node *n) {
    const struct configuration *configuration = raft_configuration(raft_of(n));
    size_t voters = 0, gone = 0;
    if (configuration->count == 0)
        return n->identity.group_id != 0 && was_adopted_in_vain(n);
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        if (member->role == MEMBER_LEARNER)
            continue;
        voters++;
        gone += !member_id_equal(&member->id, &n->self_id) && is_gone(n, member);
    }
    return voters - gone < voters / 2 + 1;
}

/* This node leads a majority, or is connected to the leader that it knows: a learner goes on knowing one that
 * is gone, and an async leader goes on alone. */
static bool has_leader(const struct node *n) {
    struct member_id leader;
    if (raft_role(raft_of(n)) == RAFT_LEADER)
        return n->self.majority;
    return raft_leader(raft_of(n), &leader) && peers_find(n->peers, &leader) != NULL;
}

static void look_for_the_others(struct node *n) {
    struct bootstrap *b = &n->bootstrap;
    if (!n->self.fresh || has_leader(n)) {
        b->leaderless_ms = 0;
        return;
    }
    if (b->leaderless_ms == 0)
        b->leaderless_ms = n->now_ms;
    if (n->now_ms >= b->leaderless_ms + LEADERLESS_MS && is_given_up(n))
        start_over(n, "a majority of the voters of its founding are gone, and it holds no key");
}

uint64_t node_bootstrap_tick(struct node *n) {
    struct bootstrap *b = &n->bootstrap;
    uint64_t passed_ms = n->now_ms - b->ticked_ms;
    if (passed_ms < STEP_MS || n->state != NODE_RUNNING)
        return b->ticked_ms + STEP_MS;
    bool first = b->ticked_ms == 0;
    b->ticked_ms = n->now_ms;
    if (raft_configuration(raft_of(n))->count > 0)
        b->wanted = false;
    if (first)
        node_bootstrap_begin(n);
    /* A process that stood still has not listened. */
    if (b->wanted)
        consider_founding(n, first ? 0 : passed_ms > STEP_MS ? STEP_MS : passed_ms);
    else if (replica_groups(n->replica)->yielded != 0)
        follow_yielded(n);
    else
        look_for_the_others(n);
    if (!b->wanted && n->state == NODE_RUNNING)
        look_at_foundings(n);
    return n->now_ms + STEP_MS;
}
