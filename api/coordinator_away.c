/* -route: what a follower does with a request that is the leader's, beside passing it on. */
#include <stdio.h>

#include "api/coordinator_internal.h"

static bool find_leader(const struct coordinator *c, struct member_id *id, struct address *api) {
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

bool coordinator_routes_away(const struct coordinator *c, struct coordinator_away *out) {
    struct member_id leader;
    char api[ADDRESS_TEXT_MAX];
    if (c->options.route == ROUTE_PROXY || !find_leader(c, &leader, &out->api))
        return false;
    snprintf(out->text, sizeof out->text, "node %.*s leads the group, at http://%s", NODE_ID_SIZE,
             (const char *)leader.id, address_text(&out->api, api));
    out->reply =
        reply_error(c, c->options.route == ROUTE_REDIRECT ? ERROR_REDIRECT : ERROR_WRONG_NODE, out->text);
    return true;
}
