/* A node and its group's configuration: on the leader, who joins, votes and goes (replication/roster.h); on
 * each, the connections that the configuration calls for; on a former member, that it is one.
 *
 * A former member is told by the leader, or finds itself in its own log's list of them. It then serves
 * nothing; with the list it stands for no election either. The file `removed` holds the index of the
 * configuration that it was told of, so that it stays so when it starts again out of reach. What is committed
 * here decides as soon as it reaches that far: a join by a leader that was deposed meanwhile is overruled,
 * and the node would never be told again of a removal older than it.
 *
 * One that left before it had received anything has neither list nor file: it is told again whenever it is
 * connected, whether it still knows the founding it was about to join or not. */
#include "cmd/node_internal.h"

#include "storage/crc32c.h"

#define ROSTER_MS    50
#define MOVE_MS      1000 /* between changes of addresses: an id borne by two would flap no faster */
#define TELL_MS      1000
#define REMOVED_FILE "removed"

static const struct raft *raft_of(const struct node *n) {
    return replica_raft_view(n->replica);
}

/* ---- the leader ---- */

static void say_change(struct node *n, enum roster_change change, const struct member_id *about) {
    static const char *const words[ROSTER_CHANGES] = {
        [ROSTER_REMOVE] = "leaves the group: another has its place",
        [ROSTER_DROP] =
            "leaves the group: it only copied, and has been silent for long; when it is back it joins again",
        [ROSTER_MOVE] = "has another address",
        [ROSTER_ADD] = "joins the group as a learner",
        [ROSTER_PROMOTE] = "has caught up and becomes a voter",
        [ROSTER_REPLACE] = "has caught up and becomes a voter in the place of one silent for 30 s",
    };
    char id[NODE_ID_SIZE + 1];
    node_log(n, NODE_INFO, "member", "node %s %s", node_id_text(about->id, id), words[change]);
}

/* A change of the voters waits for the answers to a round that begins when it is called for. */
static bool may_change(struct node *n, struct raft *raft, const struct roster_view *view,
                       const struct configuration *next, const struct member_id *about) {
    const struct configuration *current = raft_configuration(raft);
    if (configuration_same_voters(current, next))
        return true;
    if (!roster_round_open(&n->round, raft, n->now_ms) || !member_id_equal(&n->round_about, about)) {
        roster_round_begin(&n->round, raft, n->now_ms);
        n->round_about = *about;
        return false;
    }
    return roster_safe(current, next, view);
}

static void keep_roster(struct node *n) {
    struct raft *raft = replica_raft(n->replica);
    bool asking = roster_round_open(&n->round, raft, n->now_ms);
    if (raft_role(raft) != RAFT_LEADER || n->state != NODE_RUNNING || node_bootstrap_yields(n) ||
        (!asking && n->now_ms - n->roster_ms < ROSTER_MS))
        return;
    n->roster_ms = n->now_ms;
    struct roster_view view;
    struct configuration next;
    struct member_id about;
    roster_look(&view, raft, n->peers, &n->self, &n->round, n->now_ms);
    view.may_move = n->now_ms - n->moved_ms >= MOVE_MS;
    const struct configuration *current = raft_configuration(raft);
    enum roster_change change = roster_next(current, &view, &next, &about);
    if (change == ROSTER_NONE || !may_change(n, raft, &view, &next, &about) ||
        raft_propose_configuration(raft, &next, roster_at_once(current, &next, &view)) != RAFT_OK)
        return;
    n->round = (struct roster_round){0};
    if (change == ROSTER_MOVE)
        n->moved_ms = n->now_ms;
    say_change(n, change, &about);
}

/* Former members that are connected and do not know it. */
static void tell_removed(struct node *n) {
    const struct raft *raft = raft_of(n);
    const struct configuration *configuration = raft_configuration(raft);
    uint64_t index = raft_configuration_index(raft);
    bool due = index != n->told_configuration || n->now_ms - n->told_ms >= TELL_MS;
    if (raft_role(raft) != RAFT_LEADER || !due || index > raft_commit(raft))
        return;
    n->told_ms = n->now_ms;
    n->told_configuration = index;
    for (size_t i = 0; i < peers_count(n->peers); i++) {
        const struct peer *peer = peers_at(n->peers, i);
        bool own = peer->info.group_id == 0 || peer->info.group_id == n->identity.group_id;
        if (peer->info.group != n->self.group || !own || peer->info.role == NODE_REMOVED ||
            !configuration_was_removed(configuration, &peer->id))
            continue;
        struct message message = {.type = MESSAGE_REMOVED, .term = raft_term(raft), .removed.index = index};
        buffer_clear(&n->message);
        message_encode(&n->message, &message);
        peers_send(n->peers, n->now_ms, &peer->id, PEERS_MAIN, FRAME_RAFT, buffer_bytes(&n->message));
    }
}

/* ---- the former member ---- */

static void keep_removed_at(struct node *n, uint64_t index, uint64_t term) {
    struct buffer content = {0};
    n->removed_at = index;
    n->removed_term = term > n->removed_term ? term : n->removed_term;
    write_u64(&content, n->removed_at);
    write_u64(&content, n->removed_term);
    write_u32(&content, crc32c(0, buffer_bytes(&content)));
    /* Without the file the node is told again. */
    if (file_replace(n->options.fs, REMOVED_FILE, buffer_bytes(&content)) != FILE_OK)
        node_log(n, NODE_WARNING, "disk_failed", "cannot write the file '" REMOVED_FILE "'");
    buffer_release(&content);
}

static void forget_removed_at(struct node *n) {
    n->removed_at = n->removed_term = 0;
    file_system_remove(n->options.fs, REMOVED_FILE);
}

void node_members_open(struct node *n) {
    struct buffer content = {0};
    if (file_read_all(n->options.fs, REMOVED_FILE, 64, &content) == FILE_OK) {
        struct bytes whole = buffer_bytes(&content);
        if (whole.size == 20 && crc32c(0, (struct bytes){whole.data, 16}) == get_u32(whole.data + 16)) {
            n->removed_at = get_u64(whole.data);
            n->removed_term = get_u64(whole.data + 8);
        }
    }
    buffer_release(&content);
}

/* What is committed here decides: it reaches to that index, or to a later leader's record, behind which the
 * index is (Raft, section 5.4, Leader Completeness). */
static bool decided(const struct node *n, uint64_t index, uint64_t by_term) {
    uint64_t commit = raft_commit(raft_of(n)), term;
    return commit >= index || (log_term_at(replica_log(n->replica), commit, &term) && term > by_term);
}

/* Believed from who says that it leads, where nobody else does. Anybody may say so: it is believed for as
 * long as there is no leader that shows it to be false. */
void node_members_told(struct node *n, const struct peer *peer, const struct message *message) {
    uint64_t index = message->removed.index, at;
    struct raft *raft = replica_raft(n->replica);
    if (peer->info.role != NODE_LEADER || raft_role(raft) == RAFT_LEADER ||
        raft_led_by_another(raft, n->now_ms, &peer->id))
        return;
    if (raft_configuration(raft)->count == 0) {
        n->told_out = true;
        return;
    }
    raft_configuration_committed(raft, &at);
    if (index >= at && index > n->removed_at && !decided(n, index, message->term) &&
        raft_hear_term(raft, n->now_ms, message->term))
        keep_removed_at(n, index, message->term);
}

/* A term has one leader: the one that appends in it, and has not committed what this node was told of by the
 * leader of that term, did not say it. */
void node_members_led(struct node *n, const struct peer *peer, const struct message *message) {
    const struct raft *raft = raft_of(n);
    struct member_id leader;
    if (n->removed_at != 0 && message->type == MESSAGE_APPEND && message->term == n->removed_term &&
        message->append.commit < n->removed_at && raft_term(raft) == message->term &&
        raft_leader(raft, &leader) && member_id_equal(&leader, &peer->id))
        forget_removed_at(n);
}

/* By its own log. */
static bool is_former(const struct node *n) {
    uint64_t at;
    return configuration_was_removed(raft_configuration_committed(raft_of(n), &at), &n->self_id);
}

bool node_members_removed(const struct node *n) {
    if (raft_configuration(raft_of(n))->count == 0)
        return n->told_out;
    return n->removed_at != 0 || is_former(n);
}

static void note_removal(struct node *n) {
    n->told_out = n->told_out && raft_configuration(raft_of(n))->count == 0;
    if (n->removed_at != 0 && decided(n, n->removed_at, n->removed_term))
        forget_removed_at(n);
    raft_retire(replica_raft(n->replica), n->now_ms, is_former(n));
    bool removed = node_members_removed(n);
    if (removed == n->seen_removed)
        return;
    n->seen_removed = removed;
    if (removed)
        node_log(n, NODE_WARNING, "removed",
                 "removed from group %u: this node serves nothing; POST /cluster/join at a member brings it "
                 "back, or "
                 "empty its data directory and start it again",
                 n->self.group);
    else
        node_log(n, NODE_NOTICE, "member_again", "a member of group %u again", n->self.group);
}

/* ---- connections ---- */

bool node_group_member_at(const struct node *n, const struct address *peer) {
    const struct configuration *configuration = raft_configuration(raft_of(n));
    for (size_t i = 0; i < configuration->count; i++)
        if (address_equal(&configuration->members[i].peer, peer))
            return true;
    return false;
}

static bool heard_of(const struct node *n, const struct address *peer) {
    const struct membership *membership = discovery_membership(n->discovery);
    for (size_t i = 0; i < membership_count(membership); i++)
        if (address_equal(&membership_at(membership, i)->info.peer, peer))
            return true;
    return false;
}

/* A quorum that shrinks is said loudly, on every node, whoever had it shrink. */
static void say_who_left(struct node *n, const struct configuration *configuration) {
    char id[NODE_ID_SIZE + 1];
    for (size_t i = 0; i < n->dialled_count; i++)
        if (configuration_find(configuration, &n->members[i]) == NULL)
            node_log(n, NODE_NOTICE, "member_left",
                     "node %s is no longer a member of group %u, which has %zu voters",
                     node_id_text(n->members[i].id, id), n->self.group, configuration_voters(configuration));
}

/* The log names the members' addresses: where broadcast does not reach, nobody else does. Those that it names
 * no longer are forgotten. */
static void dial_members(struct node *n) {
    const struct raft *raft = raft_of(n);
    const struct configuration *configuration = raft_configuration(raft);
    if (raft_configuration_index(raft) == n->dialled_configuration)
        return;
    n->dialled_configuration = raft_configuration_index(raft);
    say_who_left(n, configuration);
    struct address gone[MEMBERS_MAX];
    size_t gone_count = 0;
    for (size_t i = 0; i < n->dialled_count; i++)
        if (!node_group_member_at(n, &n->dialled[i]) && !heard_of(n, &n->dialled[i]))
            gone[gone_count++] = n->dialled[i];
    struct peers_member others[MEMBERS_MAX];
    size_t count = 0;
    n->dialled_count = 0;
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        n->members[n->dialled_count] = member->id;
        n->dialled[n->dialled_count++] = member->peer;
        if (member_id_equal(&member->id, &n->self_id))
            continue;
        others[count].at = member->peer;
        memcpy(others[count++].id, member->id.id, NODE_ID_SIZE);
    }
    peers_members(n->peers, n->now_ms, others, count);
    for (size_t i = 0; i < gone_count; i++)
        peers_forget(n->peers, &gone[i]);
}

void node_members_tick(struct node *n) {
    dial_members(n);
    keep_roster(n);
    tell_removed(n);
    note_removal(n);
}
