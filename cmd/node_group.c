/* A node's belonging: its identity, the founding of its group, being adopted by one.
 *
 * The order on disk: a newcomer saves the group id before it takes the group's first record; a founder before
 * it writes its own. So an identity without a group beside a log means a start-over that was cut short, and a
 * group id beside an empty log binds to nothing. */
#include <stdio.h>

#include "cmd/node_internal.h"

#include "storage/directory.h"

#define NAMED_PEERS_MS 3000 /* a founder waits this long for -peers that do not answer */

static void random_id(uint64_t seed, uint8_t id[NODE_ID_SIZE]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    struct random random;
    random_seed(&random, seed);
    for (int i = 0; i < NODE_ID_SIZE; i++)
        id[i] = (uint8_t)letters[random_below(&random, sizeof letters - 1)];
}

/* Not 0, which stands for none. */
uint64_t node_random(const struct node *n, uint64_t salt) {
    struct random random;
    random_seed(&random, n->options.seed ^ salt * 0x9e3779b97f4a7c15);
    uint64_t number;
    do
        number = random_next(&random);
    while (number == 0);
    return number;
}

static void remove_file(void *arg, const char *name) {
    struct file_system *fs = arg;
    if (directory_owns(name) && strcmp(name, "identity") != 0)
        file_system_remove(fs, name);
}

static bool empty_directory(struct node *n) {
    struct file_system *fs = n->options.fs;
    return file_system_list(fs, remove_file, fs) == FILE_OK && file_system_sync(fs) == FILE_OK;
}

static void new_identity(struct node *n) {
    n->identity = (struct identity){.group = n->options.group, .incarnation = node_random(n, 1)};
    memcpy(n->identity.cluster, n->options.cluster, sizeof n->identity.cluster);
    if (n->options.id_given)
        memcpy(n->identity.node_id, n->options.id, NODE_ID_SIZE);
    else
        random_id(n->options.seed, n->identity.node_id);
    memcpy(n->identity.secret, n->options.secret, IDENTITY_SECRET_SIZE);
}

static bool foreign(const struct node *n, char *why, size_t why_size) {
    const struct identity *identity = &n->identity;
    char id[NODE_ID_SIZE + 1];
    if (strcmp(identity->cluster, n->options.cluster) != 0)
        snprintf(why, why_size,
                 "the data directory belongs to cluster '%s': start with -cluster %s, or name another -data",
                 identity->cluster, identity->cluster);
    else if (identity->group != n->options.group)
        snprintf(why, why_size,
                 "the data directory belongs to group %u: start with -group %u, or name another -data",
                 identity->group, identity->group);
    else if (n->options.id_given && memcmp(identity->node_id, n->options.id, NODE_ID_SIZE) != 0)
        snprintf(
            why, why_size,
            "the data directory belongs to node %s: start with -id %s or without -id, or name another -data",
            node_id_text(identity->node_id, id), id);
    else
        return false;
    return true;
}

static bool save_identity(struct node *n) {
    return identity_save(n->options.fs, &n->identity) == FILE_OK;
}

static bool has_log(struct node *n) {
    struct hard_state state;
    char why[160];
    return hard_state_load(n->options.fs, &state, why, sizeof why) != FILE_NOT_FOUND;
}

bool node_group_open(struct node *n, char *why, size_t why_size) {
    enum file_result result = identity_load(n->options.fs, &n->identity, why, why_size);
    if (result != FILE_OK && result != FILE_NOT_FOUND)
        return false;
    if (result == FILE_NOT_FOUND && has_log(n)) {
        snprintf(why, why_size,
                 "the data directory has a log but no identity: restore the file 'identity', or "
                 "empty the directory, and the node joins its group anew");
        return false;
    }
    if (result == FILE_OK && foreign(n, why, why_size))
        return false;
    if (result == FILE_NOT_FOUND) {
        new_identity(n);
        if (!save_identity(n)) {
            snprintf(why, why_size, "cannot write the file 'identity': is the disk full or read-only?");
            return false;
        }
    } else if (n->identity.group_id == 0 && !empty_directory(n)) {
        snprintf(why, why_size, "cannot empty the data directory of what a start-over left");
        return false;
    }
    n->self = (struct node_info){
        .incarnation = n->identity.incarnation,
        .session = node_random(n, 2),
        .group_id = n->identity.group_id,
        .group = n->options.group,
        .peer = n->options.peer,
        .api = n->options.api,
    };
    memcpy(n->self.id, n->identity.node_id, NODE_ID_SIZE);
    memcpy(n->self.cluster, n->identity.cluster, sizeof n->self.cluster);
    memcpy(n->self_id.id, n->identity.node_id, NODE_ID_SIZE);
    n->self_id.incarnation = n->identity.incarnation;
    return true;
}

/* A group id beside an empty log: the founding, or the adoption, ended before its first record was durable.
 * The node is a newcomer for any founding, but takes that one back from whoever of it speaks, since it may
 * have voted there. */
void node_group_opened(struct node *n) {
    if (raft_configuration(replica_raft_view(n->replica))->count > 0)
        return;
    n->unbound = n->identity.group_id;
    n->identity.group_id = n->self.group_id = 0;
    replica_set_group(n->replica, 0);
}

static const struct raft *raft_of(const struct node *n) {
    return replica_raft_view(n->replica);
}

/* The group's only member, and no client ever wrote: such a founding may yield to another. */
static bool is_fresh(const struct node *n) {
    struct log_record record;
    struct log *log = (struct log *)(uintptr_t)replica_log(n->replica);
    if (raft_configuration(raft_of(n))->count != 1 || log_first(log) > 1 || log_last(log) > 64)
        return false;
    if (!replica_ring_idle(n->replica) || replica_groups(n->replica)->current.count > 1 ||
        replica_groups(n->replica)->proposed.epoch != 0)
        return false; /* other groups count on it */
    for (uint64_t i = 1; i <= log_last(log); i++)
        if (log_read(log, i, &record) != LOG_OK || record.type == ENTRY_PUT || record.type == ENTRY_DELETE)
            return false;
    return log_last(log) > 0;
}

static enum node_role own_role(const struct node *n) {
    const struct raft *raft = raft_of(n);
    const struct member *member = configuration_find(raft_configuration(raft), &n->self_id);
    if (node_members_removed(n))
        return NODE_REMOVED;
    if (n->identity.group_id == 0 || raft_configuration(raft)->count == 0)
        return NODE_NEWCOMER;
    if (raft_role(raft) == RAFT_LEADER)
        return NODE_LEADER;
    return member == NULL || member->role == MEMBER_LEARNER ? NODE_LEARNER : NODE_FOLLOWER;
}

void node_group_update_self(struct node *n) {
    enum node_role role = own_role(n);
    bool fresh = is_fresh(n);
    uint64_t term = raft_term(raft_of(n));
    const struct groups *ring = &replica_groups(n->replica)->current;
    bool same_ring = ring->ring_id == n->self.ring_id && ring->epoch == n->self.ring_epoch;
    if (role == n->self.role && term == n->self.term && n->self.group_id == n->identity.group_id &&
        n->self.fresh == fresh && same_ring)
        return;
    bool announce = role != n->self.role || n->self.group_id != n->identity.group_id || !same_ring;
    n->self.ring_id = ring->ring_id;
    n->self.ring_epoch = ring->epoch;
    n->self.role = role;
    n->self.term = term;
    n->self.fresh = fresh;
    n->self.group_id = n->identity.group_id;
    peers_update(n->peers, &n->self);
    if (announce && n->started_ms > 0)
        discovery_update(n->discovery, n->now_ms, &n->self);
}

/* The group lives already: a node of the same number has heard of, or is connected to, a founding of it. */
const struct node_info *node_group_found(const struct node *n) {
    const struct membership *membership = discovery_membership(n->discovery);
    for (size_t i = 0; i < membership_count(membership); i++) {
        const struct node_info *info = &membership_at(membership, i)->info;
        if (info->group == n->self.group && info->group_id != 0 &&
            memcmp(info->id, n->self.id, NODE_ID_SIZE) != 0)
            return info;
    }
    return NULL;
}

static void found(struct node *n) {
    n->founding = FOUNDING_NONE;
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
    if (!save_identity(n) || raft_found(replica_raft(n->replica), n->now_ms, &first) != RAFT_OK) {
        node_log(n, NODE_ERROR, "founding_failed", "cannot found group %u: is the disk full or read-only?",
                 n->options.group);
        n->state = NODE_FAILED;
        return;
    }
    n->founded = true;
    node_log(n, NODE_NOTICE, "founded", "founded group %u: this node is its first voter", n->options.group);
}

/* There is nothing to found. */
static void give_up_founding(struct node *n, const struct node_info *member) {
    char text[ADDRESS_TEXT_MAX];
    n->founding = FOUNDING_NONE;
    node_log(n, NODE_NOTICE, "group_lives",
             "-leader has no effect: group %u lives already at %s, and this node joins it", n->self.group,
             address_text(&member->peer, text));
}

static void consider_founding(struct node *n) {
    const struct node_info *member = node_group_found(n);
    if (member != NULL) {
        give_up_founding(n, member);
        return;
    }
    uint64_t listened = n->now_ms - n->started_ms;
    bool settled = !n->options.named_peers || (n->learned > 0 && peers_settled(n->peers));
    if (listened >= DISCOVERY_LISTEN_MS && (settled || listened >= NAMED_PEERS_MS))
        found(n);
}

static void begin_founding(struct node *n) {
    bool empty = raft_configuration(raft_of(n))->count == 0;
    if (!n->options.leader || n->said_mode)
        return;
    n->said_mode = true;
    if (empty)
        n->founding = FOUNDING_LISTENING;
    else
        node_log(
            n, NODE_NOTICE, "leader_flag",
            "-leader only founds a group: this node belongs to one already, and elections decide who leads");
}

void node_group_tick(struct node *n) {
    begin_founding(n);
    if (n->founding == FOUNDING_LISTENING && n->state == NODE_RUNNING)
        consider_founding(n);
    node_members_tick(n);
    node_group_update_self(n);
}

static bool adopt(struct node *n, const struct peer *peer) {
    char text[ADDRESS_TEXT_MAX];
    n->identity.group_id = peer->info.group_id;
    if (!save_identity(n)) {
        node_log(n, NODE_ERROR, "disk_failed",
                 "cannot write the file 'identity': is the disk full or read-only?");
        n->state = NODE_FAILED;
        return false;
    }
    if (n->founding == FOUNDING_LISTENING)
        give_up_founding(n, &peer->info);
    replica_set_group(n->replica, n->identity.group_id);
    n->joined = true;
    node_log(n, NODE_NOTICE, "adopted", "joins group %u: its leader at %s sends the data", n->self.group,
             address_text(&peer->info.peer, text));
    node_group_update_self(n);
    return true;
}

bool node_group_accept(struct node *n, const struct peer *peer, const struct message *message) {
    if (n->state == NODE_STARTING_OVER || n->state == NODE_FAILED || peer->info.group != n->self.group)
        return false;
    if (n->identity.group_id != 0 || message->type == MESSAGE_REMOVED)
        return peer->info.group_id != 0 &&
               (n->identity.group_id == 0 || peer->info.group_id == n->identity.group_id);
    bool speaks = message->type == MESSAGE_APPEND || message->type == MESSAGE_SNAPSHOT ||
                  peer->info.group_id == n->unbound;
    return speaks && peer->info.group_id != 0 && adopt(n, peer);
}

/* Two foundings of one group number met. */
static void foundings_met(struct node *n, const struct address *at, const struct node_info *other) {
    char text[ADDRESS_TEXT_MAX];
    bool fresh = is_fresh(n);
    at = other->peer.family != 0 ? &other->peer : at; /* one that dialled came from a port of the moment */
    if (fresh && (!other->fresh || n->identity.group_id > other->group_id)) {
        node_log(n, NODE_NOTICE, "start_over",
                 "group %u was founded twice; this founding is empty and yields to the one at %s",
                 n->self.group, address_text(at, text));
        coordinator_stop(n->coordinator); /* not one write more */
        n->state = NODE_STARTING_OVER;
    } else if (!fresh && !other->fresh) {
        n->twin_ms = n->now_ms;
        n->twin = *at;
        node_log(
            n, NODE_ERROR, "founded_twice",
            "group %u was founded twice, here and at %s, and both hold data: stop the one you do not want, "
            "empty its data directory and start it without -leader",
            n->self.group, address_text(at, text));
    }
}

void node_group_refused(struct node *n, const struct address *at, const struct node_info *info,
                        enum peers_refusal reason, bool ours) {
    char text[ADDRESS_TEXT_MAX];
    if (reason == REFUSED_FOUNDING && n->state == NODE_RUNNING) {
        foundings_met(n, at, info);
        return;
    }
    if (reason == REFUSED_SELF)
        return;
    if (reason == REFUSED_CLUSTER && cluster_name_valid(bytes_of(info->cluster)))
        discovery_heard(n->discovery, n->now_ms, info);
    node_log(n, NODE_WARNING, "refused", "%s %s: %s",
             ours ? "refused the node at" : "was refused by the node at", address_text(at, text),
             peers_refusal_text(reason));
}

bool node_start_over(struct node *n) {
    n->identity.group_id = 0;
    n->identity.incarnation = node_random(n, n->now_ms + 4);
    return save_identity(n) && empty_directory(n);
}
