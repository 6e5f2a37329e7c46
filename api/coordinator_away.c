/* -route: what a node does with a request that is another one's to decide, beside passing it on. */
#include <stdio.h>

#include "api/coordinator_internal.h"

static bool own_leader(const struct coordinator *c, struct member_id *id, struct address *api) {
    const struct raft *raft = coordinator_raft(c);
    if (raft_role(raft) == RAFT_LEADER || !raft_leader(raft, id))
        return false;
    const struct peer *peer = peers_find(c->options.peers, id);
    const struct member *member = configuration_find(raft_configuration(raft), id);
    if (peer == NULL && member == NULL)
        return false;
    *api = peer != NULL ? peer->info.api : member->api;
    return true;
}

/* One that is not connected may be gone. */
static bool other_leader(const struct coordinator *c, uint32_t group, struct member_id *id,
                         struct address *api) {
    uint64_t term;
    if (!leader_hinted(c, group, id, &term))
        return false;
    const struct peer *peer = peers_find(c->options.peers, id);
    if (peer == NULL)
        return false;
    *api = peer->info.api;
    return true;
}

static bool is_leaders(enum operation operation, bool linearizable) {
    return operation_writes(operation) || (operation == OPERATION_GET && linearizable);
}

bool coordinator_may_route_away(const struct coordinator *c) {
    return c->options.route != ROUTE_PROXY;
}

bool may_pass_on(const struct coordinator *c, const struct pending *p) {
    return p->origin != ORIGIN_CLIENT || !coordinator_may_route_away(c) ||
           !is_leaders(p->operation, p->linearizable);
}

bool coordinator_routes_away(const struct coordinator *c, const struct request *request,
                             struct coordinator_away *out) {
    struct member_id leader;
    char api[ADDRESS_TEXT_MAX];
    uint32_t group = c->options.self->group;
    enum owner owner = request->key.size == 0 ? OWNER_HERE : owner_of(c, request->key, &group);
    if (!coordinator_may_route_away(c) || !is_leaders(request->operation, request->linearizable) ||
        out_of_service(c) != ERROR_NONE)
        return false;
    if (owner == OWNER_HERE ? !own_leader(c, &leader, &out->api)
                            : owner == OWNER_UNKNOWN || !other_leader(c, group, &leader, &out->api))
        return false;
    snprintf(out->text, sizeof out->text, "node %.*s leads group %u, at http://%s", NODE_ID_SIZE,
             (const char *)leader.id, group, address_text(&out->api, api));
    out->reply =
        reply_error(c, c->options.route == ROUTE_REDIRECT ? ERROR_REDIRECT : ERROR_WRONG_NODE, out->text);
    return true;
}

bool refuse_late(struct coordinator *c, struct pending *p, const struct request *request) {
    struct coordinator_away away;
    if (p->origin != ORIGIN_CLIENT || !coordinator_routes_away(c, request, &away))
        return false;
    if (away.reply.error == ERROR_REDIRECT)
        away.reply = reply_error(c, ERROR_NO_LEADER, away.text);
    pending_answer(c, p, &away.reply);
    return true;
}
