/* What a node says of its cluster, GET /cluster and GET /cluster/nodes: every node once, with the address at
 * which it is, in its group; the leader, if any, that of the node's term; the members as the group has
 * committed them; and of a member no more than it has on its disk. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>

#include "api/coordinator_internal.h"
#include "cmd/node_internal.h"
#include "tests/sim/check_internal.h"

/* A frame that was under way, a clock that is a hundredth off, and a look that came late. */
#define HEARD_SLACK_US SECOND

static const char *text_of(const cJSON *object, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

static double number_of(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : -1;
}

static bool is_true(const cJSON *object, const char *name) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static void wrong(const struct machine *m, const char *route, const char *what, const char *value) {
    sim_violated(m->sim, "node %u says in %s: %s %s", m->index + 1, route, what, value);
}

/* The machine that a row is of, which no row before was of; NULL: a node that is no machine. */
static struct machine *row_of(const struct machine *m, const char *route, const char *id, unsigned *seen) {
    struct machine *other = check_named(m->sim, id);
    if (other == NULL) {
        if (!check_may_be_fooled(m->sim))
            wrong(m, route, "there is a node", id);
        return NULL;
    }
    if (*seen >> other->index & 1)
        wrong(m, route, "twice there is the node", id);
    *seen |= 1u << other->index;
    return other;
}

static void check_address(const struct machine *m, const char *route, const struct machine *other,
                          const char *text, bool api) {
    if (check_at_address(m->sim, text, api) != other && !check_may_be_fooled(m->sim))
        wrong(m, route, "a node is where it is not, at", text);
}

/* Of the own group it leads in the node's term; of another one, or to a node that has no log of the group
 * yet, by what it said, it has led. */
static void check_is_leader(const struct machine *m, const char *route, const struct machine *other) {
    const struct check *c = m->sim->check;
    const struct group_log *group = &c->groups[m->group];
    bool by_log = other->group == m->group && machine_configuration(m)->count > 0;
    bool led = !by_log ? check_has_led(c, other->group, other->index, 1)
                       : m->checked_term < group->leader_count &&
                             (group->leaders[m->checked_term].machine == other->index + 1 ||
                              group->leaders[m->checked_term].fleeting == other->index + 1);
    const struct leader *standing = check_standing(c, other->group);
    char id[NODE_ID_SIZE + 1] = "";
    memcpy(id, other->id, NODE_ID_SIZE);
    if (check_may_be_fooled(m->sim))
        return;
    if (!led)
        wrong(m, route, "a node leads that does not,", id);
    else if (standing != NULL && standing->machine != other->index + 1 &&
             node_self(m->node)->role != NODE_REMOVED) /* who hears of none any more */
        wrong(m, route, "a node leads that no longer does,", id);
    sim_count(m->sim, TALLY_LEADER_NAMED);
}

/* ---- GET /cluster ---- */

static void check_node(const struct machine *m, const cJSON *node, unsigned *seen, unsigned leaders[]) {
    const struct machine *other = row_of(m, "/cluster", text_of(node, "node_id"), seen);
    if (other == NULL)
        return;
    check_address(m, "/cluster", other, text_of(node, "address"), false);
    if (number_of(node, "group_id") != other->group && !check_may_be_fooled(m->sim))
        wrong(m, "/cluster", "a node is in a group that is not its own,", text_of(node, "node_id"));
    if (!is_true(node, "is_leader"))
        return;
    check_is_leader(m, "/cluster", other);
    if (++leaders[other->group] > 1 && !check_may_be_fooled(m->sim))
        wrong(m, "/cluster", "two nodes lead a group,", text_of(node, "node_id"));
}

static void check_cluster_body(struct machine *m, const cJSON *body) {
    const cJSON *nodes = cJSON_GetObjectItemCaseSensitive(body, "nodes"), *node;
    unsigned seen = 0, leaders[SIM_GROUPS_MAX] = {0};
    bool leads = raft_role(replica_raft_view(node_replica(m->node))) == RAFT_LEADER;
    cJSON_ArrayForEach(node, nodes) check_node(m, node, &seen, leaders);
    if (check_named(m->sim, text_of(body, "self_node_id")) != m || (seen >> m->index & 1) == 0 ||
        number_of(body, "self_group") != m->group)
        wrong(m, "/cluster", "another who it is,", text_of(body, "self_node_id"));
    if (is_true(body, "is_leader") != leads)
        wrong(m, "/cluster", "it leads, or does not, against", "the truth");
    if (number_of(body, "node_count") != cJSON_GetArraySize(nodes))
        wrong(m, "/cluster", "there are more nodes, or fewer, than", "it names");
    if (cJSON_GetObjectItemCaseSensitive(body, "foreign") != NULL && !check_may_be_fooled(m->sim))
        wrong(m, "/cluster", "there are nodes of", "another cluster");
    sim_count(m->sim, TALLY_CLUSTER_ASKED);
}

void check_cluster(struct machine *m) {
    struct buffer body = {0};
    cJSON *json = check_ask(m, "/cluster", &body) ? cJSON_Parse((const char *)body.data + body.start) : NULL;
    if (json == NULL)
        sim_violated(m->sim, "node %u did not answer /cluster", m->index + 1);
    else
        check_cluster_body(m, json);
    cJSON_Delete(json);
    buffer_release(&body);
}

/* ---- GET /cluster/nodes, as the node itself would answer it ---- */

/* What it tells to be on a member's disk has been there. */
static void check_durable(const struct machine *m, const struct machine *other, const cJSON *row) {
    const struct check *c = m->sim->check;
    double durable = number_of(row, "durable"), match = number_of(row, "match");
    uint64_t index = durable > 0 ? (uint64_t)durable : 0;
    bool known = m->sim->options.sync_interval_ms == 0 && !other->memory && !check_may_be_unseen(m->sim);
    if (durable > match)
        wrong(m, "/cluster/nodes", "more is on a member's disk than it has, of", text_of(row, "id"));
    struct version at = {0, index};
    const struct log *log = replica_log(node_replica(m->node));
    if (!known || index == 0 || index > log_last(log) || other == m || check_may_be_fooled(m->sim))
        return;
    if (log_term_at(log, index, &at.term) && !check_held(c, other->index, at))
        wrong(m, "/cluster/nodes", "there is on a member's disk what has not been, of", text_of(row, "id"));
    sim_count(m->sim, TALLY_DURABLE_TOLD);
}

/* Nobody has heard of a machine that runs nothing. */
static void check_heard(const struct machine *m, const struct machine *other, const cJSON *row) {
    const struct reach *reach = &m->sim->check->reach;
    uint64_t silent_us = reach->silent_us[other->index], now_us = m->sim->now_us;
    double heard_ms = number_of(row, "heard_ms");
    bool silent = other->node == NULL || other->paused; /* and was at the last look, and in between */
    if (!silent || reach->epochs[other->index] != other->epoch || other->resumed_us > silent_us)
        return;
    if (heard_ms < 0 || m->sim->check->reach.cut_us + HEARD_SLACK_US > silent_us || silent_us == 0 ||
        silent_us + HEARD_SLACK_US > now_us)
        return;
    /* A leader counts from when it began to lead, or added the member. */
    if (number_of(row, "match") <= 0 && strcmp(text_of(row, "role"), "learner") == 0)
        return;
    const struct group_log *group = &m->sim->check->groups[m->group];
    uint64_t led_us = group->leaders[m->checked_term].since_us;
    if (silent_us < led_us)
        silent_us = led_us;
    if (heard_ms * 1000 + (double)HEARD_SLACK_US < (double)(now_us - silent_us) &&
        m->resumed_us + HEARD_SLACK_US < now_us)
        wrong(m, "/cluster/nodes", "a member was heard of that runs nothing,", text_of(row, "id"));
    sim_count(m->sim, TALLY_SILENCE_TOLD);
}

static void check_row(const struct machine *m, const cJSON *row, const struct configuration *members,
                      unsigned *seen) {
    const char *id = text_of(row, "id");
    const struct machine *other = row_of(m, "/cluster/nodes", id, seen);
    const struct member *member = configuration_find_name(members, (const uint8_t *)id);
    if (other == NULL)
        return;
    if (member == NULL || member_votes(member) != is_true(row, "voter"))
        wrong(m, "/cluster/nodes", "a member, or a voter, is", id);
    check_address(m, "/cluster/nodes", other, text_of(row, "address"), false);
    check_address(m, "/cluster/nodes", other, text_of(row, "api"), true);
    check_durable(m, other, row);
    check_heard(m, other, row);
}

static void check_nodes_body(struct machine *m, const cJSON *body) {
    static const char *const modes[] = {[ACK_ASYNC] = "async", [ACK_QUORUM] = "quorum", [ACK_ALL] = "all"};
    const struct group_log *group = &m->sim->check->groups[m->group];
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(body, "members"), *row;
    const char *leader = text_of(body, "leader");
    uint64_t at = (uint64_t)number_of(body, "changed_at");
    const struct configuration *members = check_members_at(group, at);
    bool committed = is_true(body, "committed");
    unsigned seen = 0;
    if (check_named(m->sim, text_of(body, "seen_by")) != m || number_of(body, "group") != m->group)
        wrong(m, "/cluster/nodes", "another node or group,", text_of(body, "seen_by"));
    if (number_of(body, "term") != (double)m->checked_term)
        wrong(m, "/cluster/nodes", "another term than that of", text_of(body, "seen_by"));
    if (committed != (at <= m->checked_commit) && !m->may_fail) /* else the log may not have been read */
        wrong(m, "/cluster/nodes", "wrongly whether its members are committed,", text_of(body, "seen_by"));
    if (leader[0] != '\0' && check_named(m->sim, leader) != NULL)
        check_is_leader(m, "/cluster/nodes", check_named(m->sim, leader));
    if (cJSON_GetArraySize(rows) == 0)
        return; /* it belongs to no group yet */
    if (strcmp(text_of(body, "ack"), modes[m->sim->options.ack]) != 0 ||
        number_of(body, "voters_max") != m->sim->options.voters_max)
        wrong(m, "/cluster/nodes", "the group acknowledges as", text_of(body, "ack"));
    if (committed && members == NULL && at <= group->count)
        wrong(m, "/cluster/nodes", "the members changed where they did not,", "by the log");
    if (!committed || members == NULL)
        members = raft_configuration(replica_raft_view(node_replica(m->node)));
    cJSON_ArrayForEach(row, rows) check_row(m, row, members, &seen);
    if ((size_t)cJSON_GetArraySize(rows) != members->count)
        wrong(m, "/cluster/nodes", "there are other members than", "those committed");
    sim_count(m->sim, TALLY_NODES_ASKED);
}

void check_nodes(struct machine *m) {
    struct buffer body = {0};
    members_view(m->node->coordinator, machine_ms(m), &body);
    buffer_append(&body, (struct bytes){(const uint8_t *)"", 1});
    cJSON *json = cJSON_Parse((const char *)body.data + body.start);
    if (json == NULL)
        sim_violated(m->sim, "node %u says in /cluster/nodes what is no JSON", m->index + 1);
    else
        check_nodes_body(m, json);
    cJSON_Delete(json);
    buffer_release(&body);
}
