/* What a node shows of itself and of its cluster. */
#include "api/coordinator_internal.h"

const char *coordinator_role(const struct coordinator *c) {
    const struct raft *raft = coordinator_raft(c);
    struct member_id self = {.incarnation = c->options.self->incarnation};
    memcpy(self.id, c->options.self->id, NODE_ID_SIZE);
    const struct member *member = configuration_find(raft_configuration(raft), &self);
    if (raft_role(raft) == RAFT_LEADER)
        return "leader";
    if (c->options.self->role == NODE_REMOVED)
        return "removed";
    if (member == NULL)
        return "newcomer";
    if (member->role == MEMBER_LEARNER)
        return "learner";
    return raft_role(raft) == RAFT_CANDIDATE ? "candidate" : "follower";
}

static const char *hinted_role(enum node_role role) {
    static const char *const names[] = {
        [NODE_NEWCOMER] = "newcomer",   [NODE_LEARNER] = "learner", [NODE_FOLLOWER] = "follower",
        [NODE_CANDIDATE] = "candidate", [NODE_LEADER] = "leader",   [NODE_REMOVED] = "removed",
    };
    return (size_t)role < sizeof names / sizeof names[0] ? names[role] : "unknown";
}

bool coordinator_leader(const struct coordinator *c, struct member_id *out) {
    if (!raft_leader(coordinator_raft(c), out))
        return false;
    return coordinator_is_leader(c) || peers_find(c->options.peers, out) != NULL;
}

static struct coordinator_node self_node(const struct coordinator *c) {
    return (struct coordinator_node){
        .info = *c->options.self,
        .is_leader = coordinator_is_leader(c),
        .is_self = true,
        .role = coordinator_role(c),
        .state = "alive",
    };
}

static struct member_id id_of(const struct node_info *info) {
    struct member_id id = {.incarnation = info->incarnation};
    memcpy(id.id, info->id, NODE_ID_SIZE);
    return id;
}

/* By what it said last: it is there, and no other says so of a later term. */
static bool leads_by_hint(const struct coordinator *c, const struct node_info *info) {
    const struct membership *membership = c->options.membership;
    struct member_id id = id_of(info);
    if (info->role != NODE_LEADER || peers_find(c->options.peers, &id) == NULL)
        return false;
    for (size_t i = 0; i < membership_count(membership); i++) {
        const struct node_info *other = &membership_at(membership, i)->info;
        if (other->role == NODE_LEADER && other->group == info->group && other->group_id == info->group_id &&
            other->term > info->term)
            return false;
    }
    return true;
}

static struct coordinator_node other_node(const struct coordinator *c, const struct membership_row *row) {
    const struct raft *raft = coordinator_raft(c);
    struct member_id leader;
    struct coordinator_node node = {
        .info = row->info,
        .role = hinted_role(row->info.role),
        .is_leader = leads_by_hint(c, &row->info),
        .state = row->state == MEMBERSHIP_ALIVE ? "alive" : "suspect",
    };
    /* Of the own group the log knows better than a hint. */
    if (row->info.group == c->options.self->group && raft_configuration(raft)->count > 0)
        node.is_leader = coordinator_leader(c, &leader) && memcmp(leader.id, row->info.id, NODE_ID_SIZE) == 0;
    if (node.is_leader)
        node.role = "leader";
    else if (row->info.role == NODE_LEADER)
        node.role = "follower";
    return node;
}

static size_t add_foreign(const struct coordinator *c, struct coordinator_node *out, size_t count,
                          size_t count_max) {
    const struct node_info *info;
    for (size_t i = 0; c->host.foreign != NULL && count < count_max; i++) {
        info = c->host.foreign(c->host.arg, i);
        if (info == NULL)
            break;
        out[count++] = (struct coordinator_node){
            .info = *info,
            .role = hinted_role(info->role),
            .is_leader = info->role == NODE_LEADER,
            .state = "alive",
        };
    }
    return count;
}

size_t coordinator_nodes(const struct coordinator *c, struct coordinator_node *out, size_t count_max) {
    const struct membership *membership = c->options.membership;
    const uint8_t *self = c->options.self->id;
    size_t count = 0;
    bool self_done = false;
    for (size_t i = 0; i < membership_count(membership) && count < count_max; i++) {
        const struct membership_row *row = membership_at(membership, i);
        int order = memcmp(row->info.id, self, NODE_ID_SIZE);
        if (order > 0 && !self_done) {
            out[count++] = self_node(c);
            self_done = true;
        }
        if (order != 0 && count < count_max)
            out[count++] = other_node(c, row);
    }
    if (!self_done && count < count_max)
        out[count++] = self_node(c);
    return add_foreign(c, out, count, count_max);
}

static void note_group(const struct coordinator *c, struct coordinator_ring *out, uint32_t group) {
    size_t i = 0;
    out->several |= group != c->options.self->group;
    if (groups_find(&c->groups, group) != NULL || out->joining_count == GROUPS_MAX)
        return;
    while (i < out->joining_count && out->joining[i] < group)
        i++;
    if (i < out->joining_count && out->joining[i] == group)
        return;
    memmove(out->joining + i + 1, out->joining + i, (out->joining_count - i) * sizeof out->joining[0]);
    out->joining[i] = group;
    out->joining_count++;
}

void coordinator_ring(const struct coordinator *c, struct coordinator_ring *out) {
    *out =
        (struct coordinator_ring){.epoch = c->groups.epoch, .group_count = c->groups.count, .slots = c->ring};
    for (size_t i = 0; i < c->groups.count; i++)
        out->groups[i] = c->groups.list[i].number;
    note_group(c, out, c->options.self->group);
    for (size_t i = 0; i < membership_count(c->options.membership); i++)
        note_group(c, out, membership_at(c->options.membership, i)->info.group);
    out->several |= c->groups.count > 1;
}
