/* ?explain=1: where an answer came from, and how far each replica was when it was given. */
#include <stdio.h>

#include "api/coordinator_internal.h"
#include "api/json_out.h"

static void add_text(struct buffer *out, const char *name, struct bytes text) {
    buffer_append_text(out, name);
    json_append(out, text);
}

static void add_number(struct buffer *out, const char *name, uint64_t number) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    buffer_append_text(out, name);
    buffer_append_text(out, text);
}

static struct bytes id_text(const uint8_t id[NODE_ID_SIZE]) {
    return (struct bytes){id, NODE_ID_SIZE};
}

static const char *source(const struct pending *p, const struct reply *reply) {
    if (reply->position.at.index != 0)
        return "log";
    if (p != NULL &&
        (p->state == PENDING_CONFIRMING || p->state == PENDING_HOLDING || p->state == PENDING_APPLYING))
        return "majority";
    if (p != NULL && p->operation != OPERATION_GET)
        return "none";
    return "own_state";
}

/* As the leader knows them. */
static void add_replicas(struct buffer *out, const struct raft *raft) {
    const struct configuration *configuration = raft_configuration(raft);
    buffer_append_text(out, ",\"replicas\":[");
    for (size_t i = 0; i < configuration->count; i++) {
        const struct member *member = &configuration->members[i];
        add_text(out, i > 0 ? ",{\"node\":" : "{\"node\":", id_text(member->id.id));
        buffer_append_text(out, member_votes(member) ? ",\"voter\":true" : ",\"voter\":false");
        add_number(out, ",\"acknowledged\":", raft_match(raft, &member->id));
        add_number(out, ",\"durable\":", raft_match_durable(raft, &member->id));
        buffer_append_text(out, "}");
    }
    buffer_append_text(out, "]");
}

void explain(struct coordinator *c, const struct pending *p, struct reply *reply) {
    const struct raft *raft = coordinator_raft(c);
    struct buffer *out = &c->explain;
    struct member_id leader;
    bool leads = raft_role(raft) == RAFT_LEADER;
    buffer_clear(out);
    add_text(out, "{\"node\":", id_text(c->options.self->id));
    add_text(out, ",\"role\":", bytes_of(leads ? "leader" : "follower"));
    add_text(out, ",\"source\":", bytes_of(source(p, reply)));
    if (p != NULL && p->origin == ORIGIN_NODE)
        add_text(out, ",\"passed_on_by\":", id_text(p->peer.id));
    if (raft_leader(raft, &leader))
        add_text(out, ",\"leader\":", id_text(leader.id));
    add_number(out, ",\"term\":", raft_term(raft));
    add_number(out, ",\"applied\":", replica_applied(c->options.replica));
    add_number(out, ",\"commit\":", raft_commit(raft));
    if (leads)
        add_replicas(out, raft);
    buffer_append_text(out, "}");
    reply->explain = buffer_bytes(out);
}
