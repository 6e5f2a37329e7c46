/* What an answer says beside its body, by what the simulator knows of the nodes:
 *
 *  - KV-Node and KV-Group: a node of that group, and for a write or a linearizable read the leader that
 *    decided it;
 *  - KV-Degraded: only of a leader of an async group that reached no majority, and of such a one always;
 *  - Retry-After: where a refusal is sure and may pass, and nowhere else;
 *  - Location, and the words "node X leads group G, at URL": one that has led the group in no older term than
 *    the node asked had heard of, and with the cluster whole for a while the one that leads. */
#include <inttypes.h>
#include <stdlib.h>

#include "tests/sim/check_internal.h"

static bool writes(const struct op *op) {
    return op->kind == OP_SET || op->kind == OP_DELETE;
}

/* ---- who decided ---- */

/* The leader of some term from that of the entry on: a retry is answered by a later one. */
static void check_decided(struct check *c, size_t number, const struct op *op, const struct response *r,
                          const struct machine *m) {
    bool decided = writes(op) && (r->status == 200 || r->status == 412) && r->position.index > 0;
    uint64_t term = op->pair || r->status == 412 ? r->position.term : 0;
    if (!decided)
        return;
    const struct group_log *group = &c->groups[m->group];
    bool led = term == 0 ? r->position.term < group->leader_count &&
                               group->leaders[r->position.term].machine == m->index + 1
                         : check_has_led(c, m->group, m->index, term);
    if (!led || r->group != m->group)
        sim_violated(c->sim,
                     "write %zu at %u:%" PRIu64 ".%" PRIu64 " was decided by %.*s, which did not lead",
                     number, r->group, r->position.term, r->position.index, NODE_ID_SIZE, r->node);
    sim_count(c->sim, TALLY_DECIDER_NAMED);
}

/* Only a follower tells the staleness of a read; who tells none has led. */
static void check_reader(struct check *c, size_t number, const struct op *op, const struct response *r,
                         const struct machine *m) {
    bool read = (op->kind == OP_GET || op->kind == OP_READ) && r->status == 200;
    if (read && !r->follower && !check_has_led(c, m->group, m->index, 1))
        sim_violated(c->sim, "read %zu was answered by %.*s as the leader, and it never led", number,
                     NODE_ID_SIZE, r->node);
    if (read && c->owners[op->key] > 0 && c->owners[op->key] != m->group + 1)
        sim_violated(c->sim, "read %zu was answered in group %u, and its key is of group %u", number,
                     m->group, c->owners[op->key] - 1);
}

/* By the node asked: an answer that was passed on may be old. */
static void check_degraded(struct check *c, size_t number, const struct response *r,
                           const struct machine *m) {
    bool async = c->sim->options.ack == ACK_ASYNC;
    bool quiet = c->reach.broken_us + LATE_US < c->sim->now_us;
    if (check_may_be_fooled(c->sim))
        return;
    if (r->degraded && (!async || (quiet && check_has_majority(m))))
        sim_violated(c->sim, "request %zu was answered by %.*s as degraded, and it reached a majority",
                     number, NODE_ID_SIZE, r->node);
    if (r->degraded)
        sim_count(c->sim, TALLY_DEGRADED_TOLD);
}

static void check_speaker(struct check *c, size_t number, const struct op *op, const struct response *r) {
    const struct machine *m = check_named(c->sim, r->node);
    if (m == NULL || !r->grouped || r->node_group != m->group) {
        sim_violated(c->sim, "request %zu was answered by node %s of group %u, which is none", number,
                     r->node, r->node_group);
        return;
    }
    check_decided(c, number, op, r, m);
    check_reader(c, number, op, r, m);
    if (op->machine == m->index && !m->paused)
        check_degraded(c, number, r, m);
}

/* ---- when to come again ---- */

static void check_retry_after(struct check *c, size_t number, const struct response *r) {
    static const char *const pass[] = {"no_leader",   "overload",   "shutting_down",
                                       "no_majority", "not_leader", "group_unreachable"};
    bool passes = false;
    for (size_t i = 0; i < sizeof pass / sizeof pass[0]; i++)
        passes = passes || strcmp(r->error, pass[i]) == 0;
    if (passes != (r->retry_after_s > 0) || r->retry_after_s > 60)
        sim_violated(c->sim, "request %zu was answered %u %s with Retry-After %u", number, r->status,
                     r->error, r->retry_after_s);
    if (r->retry_after_s > 0)
        sim_count(c->sim, TALLY_RETRY_AFTER);
}

/* ---- who leads ---- */

/* The text begins with the address of a node's API. */
static const struct machine *at_authority(const struct sim *sim, const char *text, size_t *size) {
    char address[ADDRESS_TEXT_MAX] = "";
    *size = strspn(text, "0123456789.:");
    if (*size < sizeof address)
        memcpy(address, text, *size);
    return check_at_address(sim, address, true);
}

static void check_hint(struct check *c, size_t number, const struct op *op, const struct machine *hint,
                       const char *text) {
    uint64_t term = hint != NULL && hint->group == c->sim->machines[op->machine]->group ? op->asked_term : 1;
    const struct leader *standing = hint != NULL ? check_standing(c, hint->group) : NULL;
    if (check_may_be_fooled(c->sim))
        return;
    if (hint == NULL || !check_has_led(c, hint->group, hint->index, term))
        sim_violated(c->sim, "request %zu was sent to who did not lead in term %" PRIu64 " or later: %s",
                     number, term, text);
    else if (standing != NULL && standing->machine != hint->index + 1)
        sim_violated(c->sim, "request %zu was sent to who leads no longer: %s", number, text);
    sim_count(c->sim, TALLY_LEADER_HINTED);
    if (standing != NULL)
        sim_count(c->sim, TALLY_STANDING_LEADER_HINTED);
}

/* The path and the query's beginning. */
static void route_of(const struct op *op, char *out, size_t size) {
    static const char *const routes[] = {
        [OP_SET] = "/set",        [OP_DELETE] = "/delete?key=k", [OP_GET] = "/get?key=k",
        [OP_READ] = "/get?key=k", [OP_KEYS] = "/keys?prefix=k",  [OP_OUTCOME] = "/outcome?client=sim"};
    bool keyed = op->kind == OP_DELETE || op->kind == OP_GET || op->kind == OP_READ;
    snprintf(out, size, keyed ? "%s%u" : "%s", routes[op->kind], op->key);
}

/* http://<who leads><what was asked for> */
static void check_location(struct check *c, size_t number, const struct op *op, const struct response *r) {
    char route[32];
    size_t size = 0;
    bool url = strncmp(r->location, "http://", 7) == 0;
    const struct machine *hint = url ? at_authority(c->sim, r->location + 7, &size) : NULL;
    check_hint(c, number, op, hint, r->location);
    route_of(op, route, sizeof route);
    const char *rest = url ? r->location + 7 + size : "";
    size_t length = strlen(route);
    if (strncmp(rest, route, length) != 0 || (rest[length] != '\0' && strchr("?&", rest[length]) == NULL))
        sim_violated(c->sim, "request %zu for %s was sent to %s", number, route, r->location);
}

/* "node X leads group G, at http://A" */
static void check_words(struct check *c, size_t number, const struct op *op, const struct response *r) {
    char body[512], id[NODE_ID_SIZE + 1];
    unsigned group;
    size_t size;
    snprintf(body, sizeof body, "%.*s", (int)r->body.size, (const char *)r->body.data);
    const char *words = strstr(body, "\"message\":\"node "), *at = strstr(body, ", at http://");
    if (words == NULL || at == NULL ||
        sscanf(words, "\"message\":\"node %16s leads group %u,", id, &group) != 2)
        return;
    const struct machine *hint = at_authority(c->sim, at + strlen(", at http://"), &size);
    if (hint != NULL && (hint != check_named(c->sim, id) || hint->group != group))
        hint = NULL;
    check_hint(c, number, op, hint, words);
}

void check_headers(struct check *c, size_t number, const struct response *r) {
    const struct op *op = &c->ops[number];
    if (r->status == 0)
        return;
    check_speaker(c, number, op, r);
    check_retry_after(c, number, r);
    if (r->status == 307)
        check_location(c, number, op, r);
    if (r->status >= 300)
        check_words(c, number, op, r);
}
