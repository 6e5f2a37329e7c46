/* What the API shows of a node, beside its group's keys. */
#include <stdio.h>

#include "cmd/node_internal.h"

#define CURRENT_MS 2000 /* a follower's state may be this old and the node still counts as ready */

static const char *const levels[] = {
    [NODE_DEBUG] = "debug",     [NODE_INFO] = "info",   [NODE_NOTICE] = "notice",
    [NODE_WARNING] = "warning", [NODE_ERROR] = "error",
};

bool node_ready(const struct node *n, uint64_t now_ms, const char **why) {
    const struct raft *raft = replica_raft_view(n->replica);
    uint64_t current_ms = replica_current_ms(n->replica);
    struct member_id leader;
    *why = NULL;
    if (n->state != NODE_RUNNING)
        *why = "The node is shutting down.";
    else if (raft_configuration(raft)->count == 0)
        *why = "The node belongs to no group yet.";
    else if (node_members_removed(n))
        *why = "The node was removed from its group.";
    else if (!raft_leader(raft, &leader))
        *why = "The group has no leader that this node knows of.";
    else if (raft_role(raft) == RAFT_LEADER && !raft_term_committed(raft) && !raft_alone(raft))
        *why = "The node has just been elected and has not heard from a majority yet.";
    else if (raft_role(raft) != RAFT_LEADER && current_ms == 0)
        *why = "The node has not caught up with its leader yet.";
    else if (raft_role(raft) != RAFT_LEADER && now_ms > current_ms + CURRENT_MS)
        *why = "The node lags more than 2 s behind its leader.";
    return *why == NULL;
}

static bool ready(void *arg, uint64_t now_ms, const char **why) {
    return node_ready(arg, now_ms, why);
}

static void metrics(void *arg, uint64_t now_ms, struct buffer *out) {
    node_metrics(arg, now_ms, out);
}

static const char *level(void *arg) {
    return levels[node_level(arg)];
}

static bool set_level(void *arg, struct bytes name) {
    for (unsigned i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (!bytes_equal(name, bytes_of(levels[i])))
            continue;
        node_set_level(arg, (enum node_level)i);
        return true;
    }
    return false;
}

static void request(void *arg, bool slow, const char *text) {
    if (slow)
        node_log(arg, NODE_NOTICE, "slow_request", "slow: %s", text);
    else
        node_log(arg, NODE_DEBUG, "request", "%s", text);
}

struct api_host node_outside(struct node *n) {
    return (struct api_host){
        .arg = n,
        .ready = ready,
        .metrics = metrics,
        .level = level,
        .set_level = set_level,
        .request = request,
    };
}

void node_set_level(struct node *n, enum node_level to) {
    n->options.level = to;
    api_log_requests(n->api, to == NODE_DEBUG);
    if (n->host.level != NULL)
        n->host.level(n->host.arg, to);
    node_log(n, NODE_NOTICE, "log_level", "the log's level is now %s", levels[to]);
}

enum node_level node_level(const struct node *n) {
    return n->options.level;
}
