/* What the API shows of a node, beside its group's keys. */
#include <stdio.h>

#include "cmd/node_internal.h"

#define CURRENT_MS 2000 /* a follower's state may be this old and the node still counts as ready */

static const char *const levels[] = {
    [NODE_DEBUG] = "debug",     [NODE_INFO] = "info",   [NODE_NOTICE] = "notice",
    [NODE_WARNING] = "warning", [NODE_ERROR] = "error",
};

/* ---- health ---- */

/* Its process is not there, as far as dialling it has shown. */
static bool is_missing(const struct node *n, const struct member *member) {
    const struct peer *peer;
    enum peers_refusal reason;
    if (member_id_equal(&member->id, &n->self_id) || peers_find(n->peers, &member->id) != NULL)
        return false;
    return peers_tried(n->peers, &member->peer, &peer, &reason) != PEERS_TRYING;
}

static bool majority_of(const struct node *n, enum voter_set set) {
    const struct configuration *configuration = raft_configuration(replica_raft_view(n->replica));
    size_t voters = configuration_voters_in(configuration, set), missing = 0;
    for (size_t i = 0; i < configuration->count; i++)
        missing += ((unsigned)configuration->members[i].role & set) != 0 &&
                   is_missing(n, &configuration->members[i]);
    return voters - missing > voters / 2;
}

static void look_at_group(const struct node *n, uint64_t now_ms, struct health_facts *f) {
    const struct raft *raft = replica_raft_view(n->replica);
    const struct configuration *configuration = raft_configuration(raft);
    const struct member *self = configuration_find(configuration, &n->self_id);
    uint64_t current_ms = replica_current_ms(n->replica);
    struct member_id leader;
    f->has_group = configuration->count > 0;
    f->listed = self != NULL;
    f->voter = self != NULL && member_votes(self);
    f->removed = node_members_removed(n);
    f->leads = raft_role(raft) == RAFT_LEADER;
    f->has_leader = coordinator_leader(n->coordinator, &leader);
    f->majority_answers = majority_of(n, VOTERS_OLD) && majority_of(n, VOTERS_NEW);
    f->alone = raft_alone(raft);
    f->term_committed = raft_term_committed(raft);
    f->caught_up = current_ms > 0;
    f->lagging = now_ms > current_ms + CURRENT_MS;
    f->stuck = raft_diverged(raft);
    f->diverged = raft_odd(raft);
    f->unequal = raft_unequal(raft);
    f->full = raft_no_space(raft);
    f->ledger_full = ledger_full(replica_ledger(n->replica));
    f->refuses_writes = coordinator_disk_full(n->coordinator);
}

void node_health_facts(const struct node *n, uint64_t now_ms, struct health_facts *out) {
    *out = n->known;
    look_at_group(n, now_ms, out);
    out->stopping = n->state == NODE_STOPPING || n->state == NODE_STOPPED || n->state == NODE_FAILED;
    out->starting_over = n->state == NODE_STARTING_OVER;
    out->bootstrapping = n->bootstrap.wanted || (n->options.leader && n->started_ms == 0);
    out->member_known = n->identity.group_id != 0 || node_group_found(n) != NULL;
    out->two_bootstraps = n->bootstrap.twin_ms != 0;
    out->yielding = n->bootstrap.holding;
    out->snapshot_damaged = replica_damage(n->replica)->snapshot;
    out->log_damaged = replica_damage(n->replica)->log;
}

size_t node_list_members(const struct node *n, bool missing_voters, const char *before, char *out,
                         size_t size) {
    const struct configuration *configuration = raft_configuration(replica_raft_view(n->replica));
    char id[NODE_ID_SIZE + 1], address[ADDRESS_TEXT_MAX];
    size_t used = strlen(out), count = 0;
    for (size_t i = 0; i < configuration->count && used < size; i++) {
        const struct member *member = &configuration->members[i];
        bool missing = member_votes(member) && peers_find(n->peers, &member->id) == NULL;
        if (member_id_equal(&member->id, &n->self_id) || (missing_voters && !missing))
            continue;
        used += (size_t)snprintf(out + used, size - used, "%snode %s at %s", count > 0 ? ", " : before,
                                 node_id_text(member->id.id, id), address_text(&member->peer, address));
        count++;
    }
    return count;
}

static void append_address(const struct address *at, char *out, size_t size) {
    char address[ADDRESS_TEXT_MAX];
    size_t used = strlen(out);
    snprintf(out + used, size - used, "; the other is at %s", address_text(at, address));
}

/* Which nodes, and where in the log; the leader knows the latter best. */
static void append_unequal(const struct node *n, char *out, size_t size) {
    const struct raft_comparison *comparison = raft_comparison(replica_raft_view(n->replica));
    uint64_t index = comparison->unequal_index != 0 ? comparison->unequal_index : comparison->index;
    char id[NODE_ID_SIZE + 1], before[80];
    snprintf(before, sizeof before, "; at index %llu, this node %s and ", (unsigned long long)index,
             node_id_text(n->self.id, id));
    node_list_members(n, false, before, out, size);
}

/* What the row cannot know. */
static void append_detail(const struct node *n, enum health state, char *out, size_t size) {
    switch (state) {
    case HEALTH_NO_MAJORITY:
    case HEALTH_LEADER_AWAY:
    case HEALTH_DEGRADED:
        node_list_members(n, true, "; missing: ", out, size);
        break;
    case HEALTH_UNEQUAL:
        append_unequal(n, out, size);
        break;
    case HEALTH_YIELDING:
    case HEALTH_TWO_BOOTSTRAPS:
        append_address(&n->bootstrap.twin, out, size);
        break;
    default:
        break;
    }
}

enum health node_health(struct node *n, uint64_t now_ms, struct health_view *out) {
    struct health_facts facts;
    node_health_facts(n, now_ms, &facts);
    enum health state = health_of(&facts);
    const struct health_row *row = health_row(state);
    snprintf(n->reason, sizeof n->reason, "%s", row->reason);
    append_detail(n, state, n->reason, sizeof n->reason);
    *out = (struct health_view){
        .status = row->status,
        .role = coordinator_role(n->coordinator),
        .group = n->self.group,
        .keys = store_count(replica_store(n->replica)),
        .ready = row->ready,
        .hopeless = health_hopeless(&facts),
        .reason = n->reason,
        .fix = row->fix,
    };
    return state;
}

void node_health_view(void *arg, uint64_t now_ms, struct health_view *out) {
    node_health(arg, now_ms, out);
}

/* ---- the API's host ---- */

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
        .health = node_health_view,
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
