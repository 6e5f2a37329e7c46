/* Which group a request is for, and its way there and back (replication/PROTOCOL.md, "Groups and the ring").
 *
 * A request for another group goes to that group's leader, as it is hinted, or else to any of its nodes,
 * which passes it on to its own leader: at most two hops, since what a leader is handed by its own group it
 * takes or refuses. One that is refused, surely without effect, is looked at again. A read may be sent again
 * whatever happened to it; a write never. */
#include <assert.h>

#include "api/coordinator_internal.h"
#include "api/routed.h"

void routed_encode(struct buffer *out, const struct routed *route) {
    write_u32(out, route->group);
    write_u64(out, route->ring_id);
    write_u64(out, route->epoch);
}

bool routed_decode(struct bytes payload, struct routed *out, struct bytes *request) {
    struct reader r = reader_of(payload);
    out->group = read_u32(&r);
    out->ring_id = read_u64(&r);
    out->epoch = read_u64(&r);
    *request = read_rest(&r);
    return reader_ok(&r);
}

void coordinator_set_ring(struct coordinator *c, const struct groups *groups, bool own) {
    struct ring_group placed[GROUPS_MAX];
    ring_free(c->ring);
    c->ring = NULL;
    c->groups = *groups;
    c->own_ring = own;
    for (size_t i = 0; i < groups->count; i++)
        placed[i] = (struct ring_group){groups->list[i].number, RING_WEIGHT};
    if (groups->count > 0)
        c->ring = ring_new(placed, groups->count);
    c->retried_ms = 0;
}

enum owner owner_of_group(const struct coordinator *c, uint32_t group) {
    return c->own_ring && group == c->options.self->group ? OWNER_HERE : OWNER_THERE;
}

enum owner owner_of(const struct coordinator *c, struct bytes key, uint32_t *group) {
    *group = c->options.self->group;
    if (c->ring == NULL) /* keys from before there was a ring stay with their group */
        return replica_groups(c->options.replica)->written != 0 ? OWNER_HERE : OWNER_UNKNOWN;
    *group = c->groups.count == 1 ? c->groups.list[0].number : ring_group(c->ring, key);
    return owner_of_group(c, *group);
}

enum owner owner_of_pending(const struct coordinator *c, struct pending *p, const struct request *request) {
    if (p->origin == ORIGIN_GATHER || (p->origin == ORIGIN_NODE && request->operation == OPERATION_KEYS))
        return c->ring != NULL ? owner_of_group(c, p->group) : OWNER_HERE;
    return owner_of(c, request->key, &p->group);
}

bool may_append(struct coordinator *c, struct bytes key) {
    uint32_t group;
    const struct groups *current = &replica_groups(c->options.replica)->current;
    return replica_takes_writes(c->options.replica) && current->epoch == c->groups.epoch &&
           current->ring_id == c->groups.ring_id && owner_of(c, key, &group) == OWNER_HERE;
}

static struct member_id id_of(const struct node_info *info) {
    struct member_id id = {.incarnation = info->incarnation};
    memcpy(id.id, info->id, NODE_ID_SIZE);
    return id;
}

static bool is_of(const struct node_info *info, const struct listed_group *group) {
    return info->group == group->number && info->group_id == group->founding && info->role != NODE_NEWCOMER &&
           info->role != NODE_REMOVED;
}

/* The group's node at this position among those heard of; NULL past the last. */
static const struct node_info *node_of(const struct coordinator *c, const struct listed_group *group,
                                       size_t position) {
    const struct membership *membership = c->options.membership;
    for (size_t i = 0; i < membership_count(membership); i++) {
        const struct node_info *info = &membership_at(membership, i)->info;
        if (is_of(info, group) && position-- == 0)
            return info;
    }
    return NULL;
}

/* As it is hinted, the newest term first. */
static const struct node_info *leader_of(const struct coordinator *c, const struct listed_group *group) {
    const struct membership *membership = c->options.membership;
    const struct node_info *leader = NULL;
    for (size_t i = 0; i < membership_count(membership); i++) {
        const struct node_info *info = &membership_at(membership, i)->info;
        if (is_of(info, group) && info->role == NODE_LEADER && (leader == NULL || info->term > leader->term))
            leader = info;
    }
    return leader;
}

static bool send_to(struct coordinator *c, struct pending *p, const struct node_info *info) {
    struct member_id to = id_of(info);
    bool leads = info == leader_of(c, groups_find(&c->groups, p->group));
    if (!c->host.route(c->host.arg, &to, buffer_bytes(&c->scratch)))
        return false;
    p->routed = true;
    pending_passed(c, p, &to, leads ? info->term : UINT64_MAX);
    return true;
}

bool leader_hinted(const struct coordinator *c, uint32_t group, struct member_id *out, uint64_t *term) {
    const struct listed_group *listed = groups_find(&c->groups, group);
    const struct node_info *leader = listed == NULL ? NULL : leader_of(c, listed);
    if (leader == NULL)
        return false;
    *out = id_of(leader);
    *term = leader->term;
    return true;
}

static bool was_asked(const struct pending *p, const struct node_info *info) {
    struct member_id id = id_of(info);
    return member_id_equal(&p->asked, &id);
}

/* To any node of the group, in turn; to the one that was asked last only where there is no other. */
static bool send_to_any(struct coordinator *c, struct pending *p, const struct listed_group *group) {
    const struct node_info *last = NULL, *info;
    size_t count = 0;
    while (node_of(c, group, count) != NULL)
        count++;
    c->turn++;
    for (size_t i = 0; i < count; i++) {
        info = node_of(c, group, (c->turn + i) % count);
        if (was_asked(p, info))
            last = info;
        else if (send_to(c, p, info))
            return true;
    }
    return last != NULL && send_to(c, p, last);
}

/* To the leader of p's group; where there is none to be reached, or it was asked last and did not take it, to
 * any of its nodes. */
static bool send_to_group(struct coordinator *c, struct pending *p) {
    const struct listed_group *group = groups_find(&c->groups, p->group);
    if (group == NULL)
        return false;
    const struct node_info *leader = leader_of(c, group);
    if (leader != NULL && !was_asked(p, leader) && send_to(c, p, leader))
        return true;
    return send_to_any(c, p, group);
}

bool route_pending(struct coordinator *c, struct pending *p) {
    struct routed route = {p->group, c->groups.ring_id, c->groups.epoch};
    pending_refresh(c, p);
    buffer_clear(&c->scratch);
    routed_encode(&c->scratch, &route);
    buffer_append(&c->scratch, buffer_bytes(&p->copy));
    return send_to_group(c, p);
}

static void answer_node(struct coordinator *c, const struct member_id *to, uint64_t id,
                        const struct reply *reply) {
    buffer_clear(&c->scratch);
    reply_encode(&c->scratch, id, reply);
    c->host.reply(c->host.arg, to, buffer_bytes(&c->scratch));
}

/* Why this node cannot take it; NULL where it can. */
static const char *cannot_take(const struct coordinator *c, const struct routed *route) {
    const struct groups *current = &replica_groups(c->options.replica)->current;
    if (route->group != c->options.self->group || route->ring_id != current->ring_id ||
        route->epoch != current->epoch || route->epoch != c->groups.epoch)
        return "this node's group knows another epoch of the ring";
    if (out_of_service(c) == ERROR_REMOVED)
        return "this node was removed from its group";
    if (is_diverged(c))
        return "this node's keys differ from those that a majority of its group agrees on";
    if (c->stopping)
        return "this node is stopping";
    return NULL;
}

void coordinator_routed(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                        struct bytes payload) {
    struct routed route;
    struct bytes encoded;
    struct request request;
    struct reply reply;
    uint64_t id;
    c->now_ms = now_ms;
    if (!routed_decode(payload, &route, &encoded) || !request_decode(encoded, now_ms, &id, &request) ||
        operation_of_members(request.operation))
        return;
    const char *why = cannot_take(c, &route);
    if (why != NULL) {
        reply = reply_error(c, ERROR_NOT_LEADER, why);
    } else if (!operation_writes(request.operation) && !request.linearizable && request.after.at.index == 0) {
        read_now(c, now_ms, &request, &reply);
        if (request.explain)
            explain(c, NULL, &reply);
    } else if (!coordinator_full(c, &reply)) {
        struct pending *p = pending_new(c, now_ms, &request, ORIGIN_NODE, id);
        p->peer = *from;
        p->group = route.group;
        request_encode(&p->copy, p->number, now_ms, &request);
        if (!step_here(c, now_ms, p, &request))
            pending_error(c, p, ERROR_NOT_LEADER, "this node cannot take it at present");
        return;
    }
    answer_node(c, from, id, &reply);
}
