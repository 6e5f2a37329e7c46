#include "replication/roster.h"

#include <assert.h>

static const struct roster_node *connected(const struct roster_view *view, const struct member_id *id) {
    for (size_t i = 0; i < view->count; i++)
        if (member_id_equal(&view->nodes[i].id, id))
            return &view->nodes[i];
    return NULL;
}

/* The node stands where the member stood: it has lost what the member held. */
static bool replaces(const struct roster_node *node, const struct member *member) {
    if (!node->newcomer || member_id_equal(&node->id, &member->id))
        return false;
    if (memcmp(node->id.id, member->id.id, NODE_ID_SIZE) == 0)
        return true;
    return node->volatile_ && address_equal(&node->peer, &member->peer);
}

static const struct member *gone(const struct configuration *current, const struct roster_view *view) {
    for (size_t m = 0; m < current->count; m++) {
        const struct member *member = &current->members[m];
        if (member_id_equal(&member->id, &view->leader) || connected(view, &member->id) != NULL)
            continue;
        for (size_t i = 0; i < view->count; i++)
            if (replaces(&view->nodes[i], member))
                return member;
    }
    return NULL;
}

static uint64_t silence(const struct configuration *seen, const struct roster_view *view,
                        const struct member_id *id) {
    for (size_t m = 0; m < seen->count; m++)
        if (member_id_equal(&seen->members[m].id, id))
            return view->silent_ms[m];
    return UINT64_MAX;
}

bool roster_has_majority(const struct configuration *configuration, const struct configuration *seen,
                         const struct roster_view *view) {
    size_t voters = 0, heard = 0;
    for (size_t m = 0; m < configuration->count; m++) {
        const struct member *member = &configuration->members[m];
        if (member->role != MEMBER_VOTER)
            continue;
        voters++;
        heard += silence(seen, view, &member->id) < ROSTER_HEARD_MS;
    }
    return heard > voters / 2;
}

/* 2: a voter whose place was taken. */
static enum roster_change finish_replacement(struct configuration *next, const struct roster_view *view,
                                             struct member_id *about) {
    for (size_t m = 0; m < next->count; m++) {
        struct member *member = &next->members[m];
        if (!member->replaced)
            continue;
        *about = member->id;
        if (connected(view, about) != NULL) {
            member->role = MEMBER_LEARNER;
            member->replaced = false;
            return ROSTER_DEMOTE;
        }
        if (view->silent_ms[m] >= ROSTER_HEARD_MS) { /* a new leader gives it that long */
            configuration_remove(next, about);
            return ROSTER_REMOVE;
        }
    }
    return ROSTER_NONE;
}

static enum roster_change move(struct configuration *next, const struct roster_view *view,
                               struct member_id *about) {
    for (size_t m = 0; m < next->count && view->may_move; m++) {
        struct member *member = &next->members[m];
        const struct roster_node *node = connected(view, &member->id);
        if (node == NULL ||
            (address_equal(&node->peer, &member->peer) && address_equal(&node->api, &member->api)))
            continue;
        *about = member->id;
        member->peer = node->peer;
        member->api = node->api;
        return ROSTER_MOVE;
    }
    return ROSTER_NONE;
}

static const struct roster_node *newcomer(const struct configuration *current,
                                          const struct roster_view *view) {
    for (size_t i = 0; i < view->count; i++)
        if (view->nodes[i].newcomer && configuration_find_name(current, view->nodes[i].id.id) == NULL)
            return &view->nodes[i];
    return NULL;
}

/* The first learner that has been silent for so long. */
static enum roster_change drop_learner(struct configuration *next, const struct roster_view *view,
                                       uint64_t silent_ms, struct member_id *about) {
    for (size_t m = 0; m < next->count; m++) {
        if (next->members[m].role != MEMBER_LEARNER || view->silent_ms[m] < silent_ms)
            continue;
        *about = next->members[m].id;
        configuration_drop(next, about);
        return ROSTER_DROP;
    }
    return ROSTER_NONE;
}

static enum roster_change add(struct configuration *next, const struct roster_view *view,
                              struct member_id *about) {
    const struct roster_node *node = newcomer(next, view);
    if (node == NULL)
        return ROSTER_NONE;
    if (next->count < MEMBERS_MAX) {
        *about = node->id;
        configuration_add(next, &node->id, &node->peer, &node->api);
        return ROSTER_ADD;
    }
    return drop_learner(next, view, ROSTER_SILENT_MS, about);
}

/* Voters grow 1, 2, 3, 5, 7, 9. An even number above 2 is halfway to the next, or has lost one. */
static bool may_grow(size_t voters, size_t candidates, size_t voters_max) {
    bool pair = voters >= 3 && voters % 2 == 1;
    size_t needed = pair ? 2 : 1;
    return candidates >= needed && voters + needed <= voters_max;
}

/* The first learner that has caught up, and how many have. */
static struct member *candidate(struct configuration *configuration, const struct roster_view *view,
                                size_t *count) {
    struct member *first = NULL;
    *count = 0;
    for (size_t m = 0; m < configuration->count; m++) {
        struct member *member = &configuration->members[m];
        const struct roster_node *node = connected(view, &member->id);
        if (member->role != MEMBER_LEARNER || node == NULL || !node->caught_up)
            continue;
        first = first == NULL ? member : first;
        ++*count;
    }
    return first;
}

static struct member *long_silent(struct configuration *configuration, const struct roster_view *view) {
    for (size_t m = 0; m < configuration->count; m++)
        if (configuration->members[m].role == MEMBER_VOTER && view->silent_ms[m] >= ROSTER_SILENT_MS)
            return &configuration->members[m];
    return NULL;
}

static enum roster_change promote(const struct configuration *current, struct configuration *next,
                                  const struct roster_view *view, struct member_id *about) {
    size_t candidates, voters = configuration_voters(next);
    struct member *learner = candidate(next, view, &candidates), *silent = long_silent(next, view);
    if (learner == NULL)
        return ROSTER_NONE;
    *about = learner->id;
    learner->role = MEMBER_VOTER;
    if (may_grow(voters, candidates, next->voters_max))
        return ROSTER_PROMOTE;
    if (silent == NULL || voters > VOTERS_MAX || !roster_has_majority(next, current, view)) {
        learner->role = MEMBER_LEARNER;
        return ROSTER_NONE;
    }
    silent->replaced = true;
    return ROSTER_REPLACE;
}

enum roster_change roster_next(const struct configuration *current, const struct roster_view *view,
                               struct configuration *next, struct member_id *about) {
    *next = *current;
    const struct member *old = gone(current, view);
    if (old != NULL) {
        *about = old->id;
        configuration_remove(next, about);
        return ROSTER_REMOVE;
    }
    enum roster_change change = finish_replacement(next, view, about);
    if (change == ROSTER_NONE)
        change = move(next, view, about);
    if (change == ROSTER_NONE)
        change = add(next, view, about);
    if (change == ROSTER_NONE)
        change = promote(current, next, view, about);
    return change != ROSTER_NONE ? change : drop_learner(next, view, ROSTER_DROP_MS, about);
}

enum roster_verdict roster_leave(const struct configuration *current, const struct roster_view *view,
                                 const uint8_t id[NODE_ID_SIZE], struct configuration *next) {
    const struct member *member = configuration_find_name(current, id);
    *next = *current;
    if (member == NULL)
        return ROSTER_UNKNOWN;
    bool votes = member->role == MEMBER_VOTER;
    if (votes && configuration_voters(current) == 1)
        return ROSTER_LAST_VOTER;
    configuration_remove(next, &member->id);
    if (votes && !roster_has_majority(next, current, view))
        return ROSTER_NO_MAJORITY;
    return ROSTER_DONE;
}

enum roster_verdict roster_join(const struct configuration *current, const struct roster_node *node, bool own,
                                struct configuration *next) {
    *next = *current;
    if (!own)
        return ROSTER_ELSEWHERE;
    if (configuration_find_name(current, node->id.id) != NULL)
        return ROSTER_MEMBER;
    if (current->count == MEMBERS_MAX)
        return ROSTER_FULL;
    configuration_add(next, &node->id, &node->peer, &node->api);
    return ROSTER_DONE;
}
