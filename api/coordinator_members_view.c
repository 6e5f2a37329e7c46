/* GET /cluster/nodes: the group's members as its leader knows them, its former members, and the other nodes
 * that this node has heard of. Of what only a leader knows, other nodes say null. */
#include <stdarg.h>
#include <stdio.h>

#include "api/coordinator_internal.h"
#include "api/json_out.h"
#include "replication/roster.h"

static void add(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct buffer *out, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buffer_append_text(out, text);
}

static void add_id(struct buffer *out, const char *name, const uint8_t id[NODE_ID_SIZE]) {
    add(out, "\"%s\":\"%.*s\"", name, NODE_ID_SIZE, (const char *)id);
}

static void add_addresses(struct buffer *out, const struct address *peer, const struct address *api) {
    char first[ADDRESS_TEXT_MAX], second[ADDRESS_TEXT_MAX];
    add(out, ",\"address\":\"%s\",\"api\":\"%s\"", address_text(peer, first), address_text(api, second));
}

static void add_role(const struct coordinator *c, struct buffer *out, const struct member *member) {
    struct member_id leader;
    bool is_leader = coordinator_leader(c, &leader) && member_id_equal(&leader, &member->id);
    bool votes = member_votes(member);
    add(out, ",\"role\":\"%s\",\"voter\":%s",
        is_leader ? "leader"
        : votes   ? "follower"
                  : "learner",
        votes ? "true" : "false");
}

static const char *state_of(const struct member *member, bool connected, uint64_t silent_ms) {
    if (member->role == MEMBER_LEAVING)
        return "leaving";
    if (connected)
        return "connected";
    return silent_ms >= ROSTER_SILENT_MS ? "silent" : "away";
}

/* What the leader knows of a member's progress. */
static void add_progress(const struct coordinator *c, uint64_t now_ms, struct buffer *out,
                         const struct member *member, bool self, bool connected) {
    const struct raft *raft = coordinator_raft(c);
    if (raft_role(raft) != RAFT_LEADER) {
        add(out, ",\"state\":\"%s\",\"heard_ms\":null,\"match\":null,\"durable\":null,\"lag\":null",
            connected ? "connected" : "away");
        return;
    }
    uint64_t last = log_last(replica_log(c->options.replica)), match = raft_match(raft, &member->id);
    uint64_t silent = self ? 0 : raft_silent_ms(raft, &member->id, now_ms);
    add(out, ",\"state\":\"%s\",\"heard_ms\":%llu,\"match\":%llu,\"durable\":%llu,\"lag\":%llu",
        state_of(member, connected, silent), (unsigned long long)silent, (unsigned long long)match,
        (unsigned long long)raft_match_durable(raft, &member->id),
        (unsigned long long)(last > match ? last - match : 0));
}

static void add_member(const struct coordinator *c, uint64_t now_ms, struct buffer *out,
                       const struct member *member) {
    bool self = memcmp(member->id.id, c->options.self->id, NODE_ID_SIZE) == 0;
    bool connected = self || peers_find(c->options.peers, &member->id) != NULL;
    add(out, "{");
    add_id(out, "id", member->id.id);
    add_role(c, out, member);
    add_addresses(out, &member->peer, &member->api);
    add_progress(c, now_ms, out, member, self, connected);
    add(out, "}");
}

static const char *why_other(const struct coordinator *c, const struct node_info *info) {
    const struct configuration *configuration = raft_configuration(coordinator_raft(c));
    struct member_id id = {.incarnation = info->incarnation};
    memcpy(id.id, info->id, NODE_ID_SIZE);
    if (info->group != c->options.self->group)
        return "other_group";
    if (configuration_was_removed(configuration, &id))
        return "removed";
    if (info->group_id != 0 && info->group_id != c->options.self->group_id)
        return "other_founding";
    return "newcomer";
}

/* Nodes of this cluster that are no members. */
static void add_others(const struct coordinator *c, struct buffer *out) {
    const struct membership *membership = c->options.membership;
    const struct configuration *configuration = raft_configuration(coordinator_raft(c));
    const char *comma = "";
    add(out, ",\"others\":[");
    for (size_t i = 0; i < membership_count(membership) && buffer_size(out) < VALUE_SIZE_MAX / 2; i++) {
        const struct membership_row *row = membership_at(membership, i);
        struct member_id id = {.incarnation = row->info.incarnation};
        memcpy(id.id, row->info.id, NODE_ID_SIZE);
        if ((row->info.group == c->options.self->group && configuration_find(configuration, &id) != NULL) ||
            memcmp(row->info.id, c->options.self->id, NODE_ID_SIZE) == 0)
            continue;
        add(out, "%s{", comma);
        comma = ",";
        add_id(out, "id", row->info.id);
        add_addresses(out, &row->info.peer, &row->info.api);
        add(out, ",\"group\":%u,\"why\":\"%s\",\"state\":\"%s\"}", row->info.group, why_other(c, &row->info),
            row->state == MEMBERSHIP_ALIVE ? "alive" : "suspect");
    }
    add(out, "]");
}

void members_view(struct coordinator *c, uint64_t now_ms, struct buffer *out) {
    static const char *const modes[] = {[ACK_ASYNC] = "async", [ACK_QUORUM] = "quorum", [ACK_ALL] = "all"};
    const struct raft *raft = coordinator_raft(c);
    const struct configuration *configuration = raft_configuration(raft);
    uint64_t index = raft_configuration_index(raft);
    struct member_id leader;
    add(out, "{");
    add_id(out, "seen_by", c->options.self->id);
    add(out, ",\"group\":%u,\"term\":%llu", c->options.self->group, (unsigned long long)raft_term(raft));
    if (coordinator_leader(c, &leader)) {
        add(out, ",");
        add_id(out, "leader", leader.id);
    } else {
        add(out, ",\"leader\":null");
    }
    add(out, ",\"ack\":\"%s\",\"voters_max\":%u,\"changed_at\":%llu,\"committed\":%s,\"members\":[",
        modes[configuration->mode], configuration->voters_max, (unsigned long long)index,
        index <= raft_commit(raft) ? "true" : "false");
    for (size_t i = 0; i < configuration->count; i++) {
        add(out, i > 0 ? "," : "");
        add_member(c, now_ms, out, &configuration->members[i]);
    }
    add(out, "],\"removed\":[");
    for (size_t i = 0; i < configuration->removed_count; i++) {
        add(out, i > 0 ? ",{" : "{");
        add_id(out, "id", configuration->removed[i].id);
        add(out, "}");
    }
    add(out, "]");
    add_others(c, out);
    add(out, "}");
}
