/* Requests about the group's members: who they are, joining, leaving, handing leadership over.
 *
 * Any node takes them and passes them to the leader; it waits in PENDING_MEMBERS, here for a leader to pass
 * it to, and on the leader until the change can be proposed, and then until it is committed.
 * replication/roster.h decides what may be done. */
#include <assert.h>
#include <stdio.h>

#include "api/coordinator_internal.h"
#include "api/json_out.h"

static bool leads(const struct coordinator *c) {
    return raft_role(coordinator_raft(c)) == RAFT_LEADER;
}

static void refuse_change(struct coordinator *c, struct pending *p, enum error error, const char *message,
                          const char *fix) {
    struct reply reply = reply_error(c, error, message);
    reply.fix = bytes_of(fix);
    pending_answer(c, p, &reply);
}

/* {"status":"ok","id":...} */
static void done(struct coordinator *c, struct pending *p, const uint8_t id[NODE_ID_SIZE], const char *rest) {
    struct reply reply = reply_here(c);
    struct buffer body = {0};
    buffer_append_text(&body, "{\"status\":\"ok\",\"id\":");
    json_append(&body, (struct bytes){id, NODE_ID_SIZE});
    buffer_append_text(&body, rest);
    buffer_append_text(&body, "}");
    if (p->at.index != 0)
        reply.position = (struct position){c->options.self->group, p->at};
    reply.value = buffer_bytes(&body);
    pending_answer(c, p, &reply);
    buffer_release(&body);
}

/* ---- on the leader ---- */

/* False where it waits for its turn. */
static bool propose(struct coordinator *c, struct pending *p, const struct configuration *next,
                    bool at_once) {
    struct raft *raft = coordinator_raft(c);
    switch (raft_propose_configuration(raft, next, at_once)) {
    case RAFT_OK:
        p->at = (struct version){raft_term(raft), raft_configuration_index(raft)};
        return true;
    case RAFT_NO_SPACE:
        note_room(c, false);
        pending_error(c, p, ERROR_DISK_FULL, "the leader's disk is full; nothing was changed");
        return true;
    case RAFT_NOT_LEADER:
    case RAFT_TRANSFERRING:
    case RAFT_BUSY:
    case RAFT_FAILED:
        break;
    }
    return false;
}

/* Why not; the texts of each verdict. */
static void refuse_verdict(struct coordinator *c, struct pending *p, enum roster_verdict verdict) {
    static const struct {
        enum error error;
        const char *message, *fix;
    } rows[] = {
        [ROSTER_UNKNOWN] = {ERROR_NO_MEMBER, "", ""},
        [ROSTER_LAST_VOTER] = {ERROR_MEMBER_REFUSED,
                               "it is the group's only voter: nobody would keep the data",
                               "Start another node and let it become a voter first."},
        [ROSTER_NO_MAJORITY] =
            {ERROR_MEMBER_REFUSED,
             "without it no majority of the remaining voters is reachable, and the group would "
             "stop: a quorum is not lowered to what happens to be there",
             "Bring the other voters back, or have those that are away leave first."},
        [ROSTER_MEMBER] = {ERROR_MEMBER_REFUSED, "a node of this id is a member already",
                           "Nothing has to be done; where it lost its data directory it replaces itself."},
        [ROSTER_ELSEWHERE] = {ERROR_MEMBER_REFUSED, "the node belongs to another group",
                              "Start it with this group's -group, on an empty data directory."},
        [ROSTER_FULL] = {ERROR_MEMBER_REFUSED, "the group has as many members as it can have",
                         "Have one leave first: POST /cluster/leave."},
    };
    assert((size_t)verdict < sizeof rows / sizeof rows[0] && rows[verdict].error != 0);
    refuse_change(c, p, rows[verdict].error, rows[verdict].message, rows[verdict].fix);
}

/* A leader that is to leave hands over first, and its successor removes it. Were it to append that itself and
 * crash, those left might need its vote, and it could not stand: its log would be the longest, and not list
 * it. While it hands over it takes no writes, so that it tries once: where nobody can take over it stays. */
static void hand_over(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct raft *raft = coordinator_raft(c);
    if (raft_transferring(raft))
        return;
    if (p->tried || !raft_transfer(raft, now_ms, NULL))
        refuse_change(
            c, p, ERROR_MEMBER_REFUSED,
            "it leads the group, and no other voter took over within an election timeout",
            "See in GET /cluster/nodes which voters are connected and have caught up, and ask again.");
    else
        p->tried = true;
}

/* Who is left must be a majority that is there: by answers to a round that begins now, not by when they were
 * last heard. */
static void leave(struct coordinator *c, uint64_t now_ms, struct pending *p, const struct request *request) {
    struct raft *raft = coordinator_raft(c);
    struct roster_view view;
    struct configuration next;
    const struct configuration *current = raft_configuration(raft);
    if (configuration_is_joint(current))
        return; /* another change is under way */
    if (p->tried) {
        hand_over(c, now_ms, p);
        return;
    }
    bool begun = p->round.sequence != 0;
    roster_look(&view, raft, c->options.peers, c->options.self, &p->round, now_ms);
    enum roster_verdict verdict = roster_leave(current, &view, request->key.data, &next);
    if (verdict == ROSTER_NO_MAJORITY && !begun)
        roster_round_begin(&p->round, raft, now_ms);
    else if (verdict == ROSTER_NO_MAJORITY && roster_round_open(&p->round, raft, now_ms))
        return;
    else if (verdict != ROSTER_DONE)
        refuse_verdict(c, p, verdict);
    else if (memcmp(request->key.data, c->options.self->id, NODE_ID_SIZE) == 0)
        hand_over(c, now_ms, p);
    else if (!propose(c, p, &next, roster_at_once(current, &next, &view)))
        p->round = (struct roster_round){0}; /* when it is this one's turn, who is there then */
}

static const struct peer *connected(const struct coordinator *c, struct bytes id) {
    for (size_t i = 0; i < peers_count(c->options.peers); i++) {
        const struct peer *peer = peers_at(c->options.peers, i);
        if (memcmp(peer->id.id, id.data, NODE_ID_SIZE) == 0)
            return peer;
    }
    return NULL;
}

/* Nobody of that id is connected: what became of the address. */
static void join_dialled(struct coordinator *c, uint64_t now_ms, struct pending *p,
                         const struct address *at) {
    const struct peer *other = NULL;
    enum peers_refusal reason = 0;
    char text[200];
    if (!p->tried) {
        p->tried = true;
        peers_try(c->options.peers, now_ms, at);
        return;
    }
    switch (peers_tried(c->options.peers, at, &other, &reason)) {
    case PEERS_TRYING:
        break;
    case PEERS_STANDS:
        snprintf(text, sizeof text, "the node at that address has another id: %.*s", NODE_ID_SIZE,
                 (const char *)other->id.id);
        refuse_change(c, p, ERROR_MEMBER_REFUSED, text,
                      "Name the id that stands there, or the right address.");
        break;
    case PEERS_REFUSED:
        snprintf(text, sizeof text, "the node at that address cannot join: %s", peers_refusal_text(reason));
        refuse_change(
            c, p, ERROR_MEMBER_REFUSED, text,
            "Correct its -cluster or -group, or empty its data directory and start it without -leader.");
        break;
    case PEERS_UNANSWERED:
        pending_error(c, p, ERROR_UNREACHABLE, "");
        break;
    }
}

static void join(struct coordinator *c, uint64_t now_ms, struct pending *p, const struct request *request) {
    const struct configuration *current = raft_configuration(coordinator_raft(c));
    const struct node_info *self = c->options.self;
    char text[ADDRESS_TEXT_MAX] = "";
    struct address at;
    if (request->value.size < sizeof text)
        memcpy(text, request->value.data, request->value.size);
    if (!address_parse(text, &at)) {
        pending_error(c, p, ERROR_BAD_PARAMETER, "the address is no IP address with a port");
        return;
    }
    if (p->tried && configuration_find_name(current, request->key.data) != NULL) {
        /* A newcomer that was dialled for this, and was added before it was this request's turn. */
        p->at =
            (struct version){raft_term(coordinator_raft(c)), raft_configuration_index(coordinator_raft(c))};
        return;
    }
    const struct peer *peer = connected(c, request->key);
    if (peer == NULL && configuration_find_name(current, request->key.data) == NULL) {
        join_dialled(c, now_ms, p, &at);
        return;
    }
    struct roster_node node = {0};
    memcpy(node.id.id, request->key.data, NODE_ID_SIZE);
    if (peer != NULL)
        node = (struct roster_node){.id = peer->id, .peer = peer->info.peer, .api = peer->info.api};
    bool own = peer == NULL || (peer->info.group == self->group &&
                                (peer->info.group_id == 0 || peer->info.group_id == self->group_id));
    struct configuration next;
    enum roster_verdict verdict = roster_join(current, &node, own, &next);
    if (verdict == ROSTER_DONE)
        propose(c, p, &next, true);
    else
        refuse_verdict(c, p, verdict);
}

static void transfer(struct coordinator *c, uint64_t now_ms, struct pending *p,
                     const struct request *request) {
    struct raft *raft = coordinator_raft(c);
    const struct member *member = configuration_find_name(raft_configuration(raft), request->key.data);
    if (member != NULL && member_id_equal(&member->id, &p->asked)) { /* under way */
        if (!raft_transferring(raft))
            refuse_change(
                c, p, ERROR_MEMBER_REFUSED, "it did not take over within an election timeout",
                "See in GET /cluster/nodes whether it is connected and has caught up, and ask again.");
        return;
    }
    if (raft_transferring(raft))
        return;
    if (member == NULL)
        pending_error(c, p, ERROR_NO_MEMBER, "");
    else if (memcmp(member->id.id, c->options.self->id, NODE_ID_SIZE) == 0)
        done(c, p, member->id.id, ",\"role\":\"leader\"");
    else if (!member_votes(member))
        refuse_change(c, p, ERROR_MEMBER_REFUSED, "a learner cannot lead", "Name a voter.");
    else if (peers_find(c->options.peers, &member->id) == NULL)
        refuse_change(c, p, ERROR_MEMBER_REFUSED, "the leader has no connection to it",
                      "Start it, or name a voter that is connected.");
    else if (raft_transfer(raft, now_ms, &member->id))
        p->asked = member->id;
}

static void decide(struct coordinator *c, uint64_t now_ms, struct pending *p, const struct request *request) {
    switch (p->operation) {
    case OPERATION_LEAVE:
        leave(c, now_ms, p, request);
        break;
    case OPERATION_JOIN:
        join(c, now_ms, p, request);
        break;
    default:
        assert(p->operation == OPERATION_TRANSFER);
        transfer(c, now_ms, p, request);
        break;
    }
}

/* ---- a change that was proposed, a handover that was begun ---- */

static void view_now(struct coordinator *c, uint64_t now_ms, struct reply *reply) {
    *reply = reply_here(c);
    buffer_clear(&c->view);
    members_view(c, now_ms, &c->view);
    reply->value = buffer_bytes(&c->view);
}

/* False where the answer is not known yet. */
static bool finish(struct coordinator *c, struct pending *p, const struct request *request) {
    const struct raft *raft = coordinator_raft(c);
    struct member_id leader;
    uint64_t term, at;
    const struct configuration *committed = raft_configuration_committed(raft, &at);
    if (p->operation == OPERATION_TRANSFER) {
        bool led =
            p->asked.incarnation != 0 && raft_leader(raft, &leader) && member_id_equal(&leader, &p->asked);
        if (led)
            done(c, p, leader.id, ",\"role\":\"leader\"");
        return led;
    }
    if (p->at.index == 0 || raft_commit(raft) < p->at.index || configuration_is_joint(committed))
        return false;
    if (log_term_at(replica_log(c->options.replica), p->at.index, &term) && term != p->at.term)
        pending_error(c, p, ERROR_NO_LEADER, "another leader took over before the change was committed");
    else if (p->operation == OPERATION_LEAVE && configuration_find_name(committed, request->key.data) != NULL)
        refuse_verdict(c, p, ROSTER_NO_MAJORITY); /* taken back */
    else
        done(c, p, request->key.data, p->operation == OPERATION_JOIN ? ",\"role\":\"learner\"" : "");
    return true;
}

static bool begun(const struct pending *p) {
    return p->at.index != 0 || (p->operation == OPERATION_TRANSFER && p->asked.incarnation != 0);
}

static void pass_on(struct coordinator *c, struct pending *p) {
    if (p->origin == ORIGIN_NODE) {
        pending_error(c, p, ERROR_NOT_LEADER, "this node does not lead the group");
        return;
    }
    if (!raft_leader(coordinator_raft(c), &p->asked)) {
        p->asked = (struct member_id){0};
        return;
    }
    if (!pending_send(c, p))
        p->asked = (struct member_id){0};
}

static void answer_view(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct reply reply;
    view_now(c, now_ms, &reply);
    pending_answer(c, p, &reply);
}

/* The leader's view is asked for; where there is none to be had, the own one serves. */
static void list(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct member_id leader;
    if (!leads(c) && raft_leader(coordinator_raft(c), &leader))
        pass_on(c, p);
    else
        answer_view(c, now_ms, p);
}

static void step_members(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct request request;
    uint64_t id;
    if (!request_decode(buffer_bytes(&p->copy), now_ms, &id, &request))
        return;
    if (p->operation == OPERATION_NODES) {
        list(c, now_ms, p);
        return;
    }
    if (finish(c, p, &request))
        return;
    if (leads(c) && p->at.index == 0)
        decide(c, now_ms, p, &request);
    else if (!leads(c) && !begun(p))
        pass_on(c, p);
}

bool members_poll(struct coordinator *c, uint64_t now_ms) {
    uint64_t index = raft_configuration_index(coordinator_raft(c));
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_MEMBERS], link, next)
    step_members(c, now_ms, p);
    return raft_configuration_index(coordinator_raft(c)) > index;
}

void members_again(struct coordinator *c, struct pending *p) {
    p->asked = (struct member_id){0}; /* of a transfer it would be the one that is to lead */
    pending_move(c, p, PENDING_MEMBERS);
}

void members_overruled(struct coordinator *c, uint64_t index) {
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_MEMBERS], link, next)
    if (p->at.index >= index)
        pending_error(c, p, ERROR_NO_LEADER, "another leader took over before the change was committed");
}

void members_expire(struct coordinator *c, struct pending *p) {
    if (p->operation == OPERATION_NODES)
        answer_view(c, c->now_ms, p);
    else if (begun(p) || p->state == PENDING_FORWARDED)
        pending_unknown(c, p, "the deadline passed before it was committed");
    else if (!leads(c))
        pending_no_leader(c, p, ERROR_NO_LEADER, "the group has no leader that this node can reach");
    else if (p->operation == OPERATION_JOIN && p->tried)
        pending_error(c, p, ERROR_UNREACHABLE, "");
    else
        pending_error(c, p, ERROR_DEADLINE, "another change of the members was under way until the deadline");
}

/* ---- from a client, from another node ---- */

bool members_submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                    struct reply *reply) {
    struct member_id leader;
    bool lists = request->operation == OPERATION_NODES;
    if (lists && (leads(c) || !raft_leader(coordinator_raft(c), &leader) ||
                  peers_find(c->options.peers, &leader) == NULL)) {
        view_now(c, now_ms, reply);
        return true;
    }
    if (c->stopping) {
        *reply = reply_error(c, ERROR_SHUTTING_DOWN, "this node is stopping");
        return true;
    }
    if (out_of_service(c) != ERROR_NONE) {
        *reply = reply_error(c, out_of_service(c), "");
        return true;
    }
    if (coordinator_full(c, reply))
        return true;
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
    request_encode(&p->copy, p->number, now_ms, request);
    pending_move(c, p, PENDING_MEMBERS); /* taken up at the end of the turn: its answer may come at once */
    return false;
}

void members_request(struct coordinator *c, uint64_t now_ms, const struct member_id *from, uint64_t id,
                     const struct request *request) {
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_NODE, id);
    if (p == NULL)
        return;
    p->peer = *from;
    request_encode(&p->copy, p->number, now_ms, request);
    pending_move(c, p, PENDING_MEMBERS);
    if (c->stopping || !leads(c))
        pending_error(c, p, ERROR_NOT_LEADER, "this node does not lead the group");
    else
        step_members(c, now_ms, p);
}
