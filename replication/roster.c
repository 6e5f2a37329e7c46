#include "replication/roster.h"

#include <assert.h>

static bool connected(const struct roster_node *nodes, size_t count, const struct member_id *id) {
    for (size_t i = 0; i < count; i++)
        if (member_id_equal(&nodes[i].id, id))
            return true;
    return false;
}

/* The node stands where the member stood: it has lost what the member held. */
static bool replaces(const struct roster_node *node, const struct member *member) {
    if (!node->newcomer || member_id_equal(&node->id, &member->id))
        return false;
    if (memcmp(node->id.id, member->id.id, NODE_ID_SIZE) == 0)
        return true;
    return node->volatile_ && address_equal(&node->peer, &member->peer);
}

static const struct member *gone(const struct configuration *current, const struct member_id *leader,
                                 const struct roster_node *nodes, size_t count) {
    for (size_t m = 0; m < current->count; m++) {
        const struct member *member = &current->members[m];
        if (member_id_equal(&member->id, leader) || connected(nodes, count, &member->id))
            continue;
        for (size_t i = 0; i < count; i++)
            if (replaces(&nodes[i], member))
                return member;
    }
    return NULL;
}

static const struct roster_node *newcomer(const struct configuration *current,
                                          const struct roster_node *nodes, size_t count) {
    if (current->count == MEMBERS_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (nodes[i].newcomer && configuration_find_name(current, nodes[i].id.id) == NULL)
            return &nodes[i];
    return NULL;
}

/* Voters grow 1, 2, 3, 5, 7, 9. An even number above 2 is halfway to the next, or has lost one. */
static bool may_grow(size_t voters, size_t candidates, size_t voters_max) {
    bool pair = voters >= 3 && voters % 2 == 1;
    size_t needed = pair ? 2 : 1;
    return candidates >= needed && voters + needed <= voters_max;
}

static struct member *to_promote(struct configuration *configuration, const struct roster_node *nodes,
                                 size_t count) {
    struct member *first = NULL;
    size_t candidates = 0;
    for (size_t m = 0; m < configuration->count; m++) {
        struct member *member = &configuration->members[m];
        for (size_t i = 0; i < count && member->role == MEMBER_LEARNER; i++) {
            if (!nodes[i].caught_up || !member_id_equal(&nodes[i].id, &member->id))
                continue;
            candidates++;
            first = first == NULL ? member : first;
            break;
        }
    }
    return may_grow(configuration_voters(configuration), candidates, configuration->voters_max) ? first
                                                                                                : NULL;
}

static void remove_member(struct configuration *configuration, const struct member_id *id) {
    size_t kept = 0;
    for (size_t m = 0; m < configuration->count; m++)
        if (!member_id_equal(&configuration->members[m].id, id))
            configuration->members[kept++] = configuration->members[m];
    assert(kept + 1 == configuration->count);
    configuration->count = kept;
}

enum roster_change roster_next(const struct configuration *current, const struct member_id *leader,
                               const struct roster_node *nodes, size_t count, struct configuration *next,
                               struct member_id *about) {
    *next = *current;
    const struct member *old = gone(current, leader, nodes, count);
    if (old != NULL) {
        *about = old->id;
        remove_member(next, about);
        return ROSTER_REMOVE;
    }
    const struct roster_node *node = newcomer(current, nodes, count);
    if (node != NULL) {
        *about = node->id;
        next->members[next->count++] =
            (struct member){.id = node->id, .role = MEMBER_LEARNER, .peer = node->peer, .api = node->api};
        return ROSTER_ADD;
    }
    struct member *learner = to_promote(next, nodes, count);
    if (learner == NULL)
        return ROSTER_NONE;
    learner->role = MEMBER_VOTER;
    *about = learner->id;
    return ROSTER_PROMOTE;
}
