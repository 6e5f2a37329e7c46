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

static bool answered(const struct configuration *current, const struct roster_view *view,
                     const struct member_id *id) {
    for (size_t m = 0; m < current->count; m++)
        if (member_id_equal(&current->members[m].id, id))
            return view->answered[m];
    return false;
}

/* Voters of the configuration that could be lost yet, of those that answered; negative: they are no majority.
 */
static int to_spare(const struct configuration *configuration, const struct configuration *current,
                    const struct roster_view *view) {
    int voters = 0, there = 0;
    for (size_t m = 0; m < configuration->count; m++) {
        if (configuration->members[m].role != MEMBER_VOTER)
            continue;
        voters++;
        there += answered(current, view, &configuration->members[m].id);
    }
    return there - (voters / 2 + 1);
}

/* Whether the member votes in the one configuration and not in the other. */
static bool only_in(const struct configuration *one, const struct configuration *other,
                    const struct member *member) {
    const struct member *there = configuration_find(other, &member->id);
    return one != other && member->role == MEMBER_VOTER && (there == NULL || there->role != MEMBER_VOTER);
}

bool roster_at_once(const struct configuration *current, const struct configuration *next,
                    const struct roster_view *view) {
    size_t come = 0, go = 0;
    for (size_t m = 0; m < next->count; m++)
        come += only_in(next, current, &next->members[m]);
    for (size_t m = 0; m < current->count; m++) {
        bool goes = only_in(current, next, &current->members[m]);
        if (goes && view->answered[m])
            return false;
        go += goes;
    }
    return come + go == 0 || (come + go == 1 && (go == 1 || configuration_voters(current) % 2 == 0));
}

bool roster_answered(const struct configuration *current, const struct configuration *next,
                     const struct roster_view *view) {
    for (size_t m = 0; m < next->count; m++)
        if (only_in(next, current, &next->members[m]) && !answered(current, view, &next->members[m].id))
            return false;
    return to_spare(next, current, view) >= 0 &&
           (to_spare(current, current, view) >= 0 || roster_at_once(current, next, view));
}

bool roster_safe(const struct configuration *current, const struct configuration *next,
                 const struct roster_view *view) {
    return roster_answered(current, next, view) &&
           to_spare(next, current, view) >= to_spare(current, current, view);
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

/* Voters grow 1, 2, 3, 5, 7, 9: how many come at once. An even number above 2 has lost one. */
static size_t step(size_t voters, size_t voters_max) {
    size_t needed = voters >= 3 && voters % 2 == 1 ? 2 : 1;
    return voters + needed <= voters_max ? needed : 0;
}

static bool may_vote(const struct member *member, const struct roster_view *view) {
    const struct roster_node *node = connected(view, &member->id);
    return member->role == MEMBER_LEARNER && node != NULL && node->caught_up;
}

/* The first `count` learners that have caught up vote; about the first of them. False: there are fewer. */
static bool let_vote(struct configuration *next, const struct roster_view *view, size_t count,
                     struct member_id *about) {
    size_t found = 0;
    for (size_t m = 0; m < next->count && found < count; m++) {
        struct member *member = &next->members[m];
        if (!may_vote(member, view))
            continue;
        if (found++ == 0)
            *about = member->id;
        member->role = MEMBER_VOTER;
    }
    return found == count;
}

static const struct member *long_silent(const struct configuration *configuration,
                                        const struct roster_view *view) {
    for (size_t m = 0; m < configuration->count; m++)
        if (configuration->members[m].role == MEMBER_VOTER && view->silent_ms[m] >= ROSTER_SILENT_MS)
            return &configuration->members[m];
    return NULL;
}

static enum roster_change promote(const struct configuration *current, struct configuration *next,
                                  const struct roster_view *view, struct member_id *about) {
    size_t needed = step(configuration_voters(current), current->voters_max);
    if (needed > 0 && let_vote(next, view, needed, about))
        return ROSTER_PROMOTE;
    const struct member *silent = long_silent(current, view);
    *next = *current;
    if (silent != NULL && let_vote(next, view, 1, about)) {
        configuration_remove(next, &silent->id);
        return ROSTER_REPLACE;
    }
    *next = *current;
    return ROSTER_NONE;
}

enum roster_change roster_next(const struct configuration *current, const struct roster_view *view,
                               struct configuration *next, struct member_id *about) {
    *next = *current;
    if (configuration_is_joint(current))
        return ROSTER_NONE;
    const struct member *old = gone(current, view);
    if (old != NULL) {
        *about = old->id;
        configuration_remove(next, about);
        return ROSTER_REMOVE;
    }
    enum roster_change change = move(next, view, about);
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
    if (votes && !roster_answered(current, next, view))
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
