/* A node's belonging: its identity, the founding of its group, being adopted by one.
 *
 * The order on disk: a newcomer saves the group id before it takes the group's first record; a founder before
 * it writes its own. So an identity without a group beside a log means a start-over that was cut short, and a
 * group id beside an empty log binds to nothing. */
#include <stdio.h>

#include "cmd/node_internal.h"

#include "storage/directory.h"

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
    /* The ledger is of whatever founding: what is in it was answered once. */
    if (directory_owns(name) && strcmp(name, "identity") != 0 && strcmp(name, "rejected") != 0)
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

bool node_save_identity(struct node *n) {
    return identity_save(n->options.fs, &n->identity) == FILE_OK;
}

/* The identity is the first file of a directory. */
static void note_file(void *arg, const char *name) {
    bool *there = arg;
    *there |= directory_owns(name) && strncmp(name, IDENTITY_FILE, strlen(IDENTITY_FILE)) != 0;
}

/* Without it, or where it is damaged, what the node has promised, and to whom, cannot be known. */
static bool identity_refused(struct node *n, enum file_result result, char *why, size_t why_size) {
    static const char mend[] = "restore it from a backup, or move the directory's files away, and the node "
                               "starts as a new one";
    char cause[160];
    bool files = false;
    if (result == FILE_OK)
        return false;
    if (result == FILE_NOT_FOUND) {
        if (file_system_list(n->options.fs, note_file, &files) == FILE_OK && !files)
            return false;
        snprintf(why, why_size, "the file 'identity' is missing beside the log: %s", mend);
        return true;
    }
    snprintf(cause, sizeof cause, "%s", why);
    if (result == FILE_OLD)
        snprintf(why, why_size, "%s: start that version, or remove the data directory to join again", cause);
    else if (result == FILE_CORRUPT)
        snprintf(why, why_size, "%s, and who this node was cannot be known: %s", cause, mend);
    return true;
}

void node_group_name_self(struct node *n) {
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
}

bool node_group_open(struct node *n, char *why, size_t why_size) {
    enum file_result result = identity_load(n->options.fs, &n->identity, why, why_size);
    if (identity_refused(n, result, why, why_size) || (result == FILE_OK && foreign(n, why, why_size)))
        return false;
    bool new = result == FILE_NOT_FOUND;
    if (new)
        new_identity(n);
    if ((new || n->identity.worn) && !node_save_identity(n)) {
        snprintf(why, why_size, IDENTITY_UNWRITTEN);
        return false;
    }
    if (!new && n->identity.group_id == 0 && !empty_directory(n)) {
        snprintf(why, why_size, "cannot empty the data directory of what a start-over left");
        return false;
    }
    if (n->identity.files == IDENTITY_FILES_GOING && !node_aside_finish(n, why, why_size))
        return false;
    node_group_name_self(n);
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
    const struct raft *raft = raft_of(n);
    const struct groups *ring = &replica_groups(n->replica)->current;
    const struct node_info before = n->self;
    struct node_info *self = &n->self;
    self->role = own_role(n);
    self->term = raft_term(raft);
    self->group_id = n->identity.group_id;
    self->ring_id = ring->ring_id;
    self->ring_epoch = ring->epoch;
    self->bootstraps = n->bootstrap.wanted;
    self->fresh = node_bootstrap_fresh(n);
    self->majority = self->role == NODE_LEADER && raft_term_committed(raft) && !raft_alone(raft) &&
                     replica_groups(n->replica)->yielded == 0;
    bool announce = self->role != before.role || self->group_id != before.group_id ||
                    self->ring_id != before.ring_id || self->ring_epoch != before.ring_epoch ||
                    self->bootstraps != before.bootstraps;
    if (!announce && self->term == before.term && self->fresh == before.fresh &&
        self->majority == before.majority)
        return;
    peers_update(n->peers, self);
    if (announce && n->started_ms > 0)
        discovery_update(n->discovery, n->now_ms, self);
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

uint64_t node_group_tick(struct node *n) {
    node_members_tick(n);
    node_aside_tick(n);
    node_group_update_self(n);
    return node_bootstrap_tick(n);
}

static bool adopt(struct node *n, const struct peer *peer) {
    char text[ADDRESS_TEXT_MAX];
    n->identity.group_id = peer->info.group_id;
    if (!node_save_identity(n)) {
        node_log(n, NODE_ERROR, "disk_failed", IDENTITY_UNWRITTEN);
        n->state = NODE_FAILED;
        return false;
    }
    node_bootstrap_found_out(n, &peer->info);
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
    if (n->identity.files != IDENTITY_FILES_OWN && peer->info.group_id != n->unbound)
        return false; /* what was set aside is that group's */
    bool speaks = message->type == MESSAGE_APPEND || message->type == MESSAGE_SNAPSHOT ||
                  peer->info.group_id == n->unbound;
    return speaks && peer->info.group_id != 0 && adopt(n, peer);
}

void node_group_refused(struct node *n, const struct address *at, const struct node_info *info,
                        enum peers_refusal reason, bool ours) {
    char text[ADDRESS_TEXT_MAX];
    if (reason == REFUSED_SELF)
        return;
    if (reason == REFUSED_CLUSTER && cluster_name_valid(bytes_of(info->cluster)))
        discovery_heard(n->discovery, n->now_ms, info);
    node_log(n, NODE_WARNING, "refused", "%s %s: %s",
             ours ? "refused the node at" : "was refused by the node at", address_text(at, text),
             peers_refusal_text(reason));
}

bool node_start_over(struct node *n, bool *leader) {
    *leader = n->options.leader || n->bootstrap.led;
    n->identity.group_id = 0;
    n->identity.other_voters = 0;
    n->identity.files = IDENTITY_FILES_OWN;
    n->identity.incarnation = node_random(n, n->now_ms + 4);
    bool ok = node_save_identity(n) && empty_directory(n);
    if (!ok)
        node_log(
            n, NODE_ERROR, "disk_failed",
            "cannot empty the data directory to start over: the disk failed, or is full; free or replace "
            "it, then start the node again");
    return ok;
}
