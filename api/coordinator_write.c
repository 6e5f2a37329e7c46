/* Writes: appended to the log where this node leads, passed on to the leader where it does not, answered when
 * they are applied and acknowledged as strongly as was asked for. */
#include <assert.h>

#include "api/coordinator_internal.h"

/* A disk is no longer full when it has taken all entries for so long: small ones may fit where large ones do
 * not. */
#define FULL_MS 5000
#define LOOK_MS 1000 /* between looks whether it has room */

static enum ack_mode needed_ack(const struct coordinator *c, const struct request *request) {
    enum ack_mode mode = raft_configuration(coordinator_raft(c))->mode;
    enum ack_mode ack = request->ack_given && request->ack > mode ? request->ack : mode;
    /* What a retry is told anywhere must not be overruled any more. */
    return request->client.size > 0 && ack < ACK_QUORUM ? ACK_QUORUM : ack;
}

/* Why the leader, this node, cannot take the write at all; ERROR_NONE where it can try. */
static enum error refusal(const struct coordinator *c, const struct request *request, const char **message) {
    const struct raft *raft = coordinator_raft(c);
    if (request->ack_given && request->client.size == 0 && request->ack < raft_configuration(raft)->mode) {
        *message = "the group's own mode acknowledges more strongly than ?ack asks for";
        return ERROR_WEAKER_ACK;
    }
    if (raft_alone(raft) && needed_ack(c, request) != ACK_ASYNC) {
        *message = "the leader hears no majority of the voters";
        return ERROR_NO_MAJORITY;
    }
    return ERROR_NONE;
}

void note_room(struct coordinator *c, bool room) {
    if (!room)
        c->full_ms = c->now_ms > 0 ? c->now_ms : 1;
    else if (c->full_ms != 0 && c->now_ms - c->full_ms >= FULL_MS)
        c->full_ms = 0;
}

/* A leader whose disk is full may get no write any more, since it is not ready: it looks by itself. */
uint64_t look_for_room(struct coordinator *c, uint64_t now_ms) {
    if (c->full_ms == 0)
        return UINT64_MAX;
    if (now_ms - c->full_ms >= FULL_MS && replica_has_room(c->options.replica))
        c->full_ms = 0;
    else if (now_ms - c->full_ms >= FULL_MS)
        c->full_ms += LOOK_MS;
    return now_ms + LOOK_MS;
}

bool coordinator_disk_full(const struct coordinator *c) {
    return c->full_ms != 0;
}

enum appended { APPENDED_YES, APPENDED_ANSWERED, APPENDED_WAIT };

/* On the leader. ANSWERED: *reply holds the refusal. */
static enum appended append(struct coordinator *c, const struct request *request, struct version *at,
                            struct reply *reply) {
    if (!may_append(c, request->key))
        return APPENDED_WAIT;
    const char *message = NULL;
    enum error error = refusal(c, request, &message);
    if (error != ERROR_NONE) {
        *reply = reply_error(c, error, message);
        return APPENDED_ANSWERED;
    }
    struct entry entry = {
        .key = request->key,
        .value = request->value,
        .condition = request->condition,
        .match = request->match,
        .client = request->client,
        .request = request->request,
    };
    enum entry_type type = request->operation == OPERATION_SET ? ENTRY_PUT : ENTRY_DELETE;
    switch (replica_propose(c->options.replica, type, &entry, at)) {
    case RAFT_OK:
        note_room(c, true);
        return APPENDED_YES;
    case RAFT_NO_SPACE:
        note_room(c, false);
        *reply = reply_error(c, ERROR_DISK_FULL, "the leader's disk is full; nothing was written");
        return APPENDED_ANSWERED;
    case RAFT_BUSY:
        *reply = reply_error(c, ERROR_OVERLOAD, "too much of the leader's log is not committed yet");
        return APPENDED_ANSWERED;
    case RAFT_NOT_LEADER:
    case RAFT_TRANSFERRING:
    case RAFT_FAILED:
        break;
    }
    return APPENDED_WAIT;
}

/* The leader, where it is another node. */
static bool other_leader(const struct coordinator *c, struct member_id *out) {
    const struct raft *raft = coordinator_raft(c);
    return raft_role(raft) != RAFT_LEADER && raft_leader(raft, out);
}

/* Passes the write on, once. False where there is nobody to pass it to, or no connection. */
static bool forward(struct coordinator *c, struct pending *p, const struct request *request) {
    if (!other_leader(c, &p->asked))
        return false;
    return refuse_late(c, p, request) || pending_send(c, p);
}

static void appended(struct coordinator *c, struct pending *p, const struct request *request,
                     struct version at) {
    assert(p->state == PENDING_WAITING);
    buffer_release(&p->copy);
    p->at = at;
    p->ack = needed_ack(c, request);
    pending_move(c, p, PENDING_APPENDED);
}

bool write_step(struct coordinator *c, struct pending *p, const struct request *request) {
    struct version at;
    struct reply reply;
    if (raft_role(coordinator_raft(c)) == RAFT_LEADER) {
        enum appended result = append(c, request, &at, &reply);
        if (result == APPENDED_YES)
            appended(c, p, request, at);
        else if (result == APPENDED_ANSWERED)
            pending_answer(c, p, &reply);
        return result == APPENDED_WAIT;
    }
    return !forward(c, p, request);
}

bool write_submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                  struct reply *reply) {
    if (c->stopping) {
        *reply = reply_error(c, ERROR_SHUTTING_DOWN, "this node is stopping");
        return true;
    }
    if (coordinator_full(c, reply))
        return true;
    if (raft_role(coordinator_raft(c)) == RAFT_LEADER) {
        struct version at;
        enum appended result = append(c, request, &at, reply);
        if (result == APPENDED_ANSWERED)
            return true;
        struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
        if (result == APPENDED_YES)
            appended(c, p, request, at);
        else
            request_encode(&p->copy, p->number, now_ms, request);
        return false;
    }
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
    request_encode(&p->copy, p->number, now_ms, request);
    forward(c, p, request);
    return false;
}

void coordinator_request(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                         struct bytes payload) {
    struct request request;
    struct reply reply;
    struct pending *p;
    uint64_t id;
    if (!request_decode(payload, now_ms, &id, &request))
        return;
    c->now_ms = now_ms;
    if (operation_of_members(request.operation)) {
        members_request(c, now_ms, from, id, &request);
        return;
    }
    if (!operation_writes(request.operation))
        return;
    bool leads = raft_role(coordinator_raft(c)) == RAFT_LEADER;
    if (c->stopping || !leads) {
        reply = reply_error(c, ERROR_NOT_LEADER, "this node does not lead the group");
    } else if (!coordinator_full(c, &reply)) {
        p = pending_new(c, now_ms, &request, ORIGIN_NODE, id);
        p->peer = *from;
        if (write_step(c, p, &request))
            pending_error(c, p, ERROR_NOT_LEADER, "leadership is being handed over");
        return;
    }
    buffer_clear(&c->scratch);
    reply_encode(&c->scratch, id, &reply);
    c->host.reply(c->host.arg, from, buffer_bytes(&c->scratch));
}

/* Whether an applied write has the acknowledgement it waits for. */
static bool acknowledged(const struct coordinator *c, const struct pending *p) {
    const struct raft *raft = coordinator_raft(c);
    if (p->ack == ACK_ASYNC)
        return true;
    if (raft_commit(raft) < p->at.index)
        return false;
    return p->ack == ACK_QUORUM || (raft_role(raft) == RAFT_LEADER && raft_all_acked(raft) >= p->at.index);
}

static void answer_write(struct coordinator *c, struct pending *p) {
    struct reply reply = reply_here(c);
    reply.position = (struct position){c->options.self->group, p->effect.at};
    reply.version = p->effect.current;
    reply_acks(c, p->at, &reply);
    if (p->effect.outcome == STORE_CONDITION_FAILED) {
        reply.error = ERROR_PRECONDITION;
        reply.message = bytes_of(p->effect.current.index > 0
                                     ? "the condition does not hold: the key is there, at the version in ETag"
                                     : "the condition does not hold: the key is not there");
    } else if (p->effect.outcome == STORE_PAIR_CONFLICT) {
        reply.error = ERROR_REQUEST_REUSED;
    }
    pending_answer(c, p, &reply);
}

void coordinator_applied(struct coordinator *c, uint64_t now_ms, struct version at,
                         const struct store_effect *effect) {
    struct pending *p;
    c->now_ms = now_ms;
    /* Writes that stand before it were passed over by a snapshot. */
    while ((p = TAILQ_FIRST(&c->states[PENDING_APPENDED])) != NULL && p->at.index <= at.index &&
           !version_equal(p->at, at))
        pending_unknown(c, p, "leadership was lost before it was acknowledged");
    if (p == NULL || p->at.index > at.index)
        return;
    p->effect = *effect;
    if (acknowledged(c, p))
        answer_write(c, p);
    else
        pending_move(c, p, PENDING_ACKING);
}

void coordinator_overruled(struct coordinator *c, uint64_t index) {
    static const enum pending_state states[] = {PENDING_APPENDED, PENDING_ACKING};
    struct pending *p, *next;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        TAILQ_FOREACH_SAFE(p, &c->states[states[i]], link, next)
    if (p->at.index >= index)
        pending_unknown(c, p, "another leader took over before it was acknowledged");
    members_overruled(c, index);
}

void writes_untold(struct coordinator *c, struct version at) {
    struct version *place = &c->untold[c->untold_next++ % UNTOLD_MAX];
    if (version_compare(*place, c->untold_before) > 0)
        c->untold_before = *place;
    *place = at;
}

bool coordinator_unanswered(const struct coordinator *c, struct version at) {
    const struct pending *p;
    TAILQ_FOREACH(p, &c->states[PENDING_ACKING], link)
    if (version_equal(p->at, at))
        return true;
    for (size_t i = 0; i < UNTOLD_MAX; i++)
        if (version_equal(c->untold[i], at))
            return true;
    return at.term == c->untold_before.term && at.index <= c->untold_before.index;
}

void writes_poll(struct coordinator *c) {
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_ACKING], link, next)
    if (acknowledged(c, p))
        answer_write(c, p);
}
