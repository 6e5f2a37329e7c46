/* Reads: the own node's state, or confirmed by the leader with a majority (ReadIndex; Raft thesis,
 * section 6.4).
 *
 * In an async group the leader's state runs ahead of the commit: what a confirmed read saw is answered only
 * once the commit has reached it. */
#include <assert.h>

#include "api/coordinator_internal.h"

static bool leads(const struct coordinator *c) {
    return raft_role(coordinator_raft(c)) == RAFT_LEADER;
}

/* What became of a pair, by the own table and log: a confirmed leader's, or a follower's that has caught up.
 */
static void read_outcome(struct coordinator *c, const struct request *request, struct reply *reply) {
    struct replica *replica = c->options.replica;
    struct store_answer answer = {0};
    reply->outcome = OUTCOME_UNKNOWN;
    if (store_answered(replica_store(replica), request->client, request->request, &answer)) {
        if (answer.at.index > raft_commit(coordinator_raft(c))) {
            reply->outcome = OUTCOME_PENDING;
        } else {
            reply->outcome = answer.outcome == STORE_CONDITION_FAILED ? OUTCOME_FAILED : OUTCOME_DONE;
            reply->version = answer.current;
        }
    } else if (replica_find(replica, request->client, request->request, &answer.at)) {
        reply->outcome = OUTCOME_PENDING;
    }
    reply->position = (struct position){c->options.self->group, answer.at};
}

void read_now(struct coordinator *c, uint64_t now_ms, const struct request *request, struct reply *reply) {
    *reply = reply_here(c);
    if (!leads(c)) {
        uint64_t current = replica_current_ms(c->options.replica);
        reply->follower = true;
        reply->staleness_known = current > 0;
        reply->staleness_ms = now_ms > current ? now_ms - current : 0;
    }
    struct store_record record;
    if (request->operation == OPERATION_KEYS) {
        keys_now(c, request, reply);
        return;
    }
    if (request->operation == OPERATION_OUTCOME)
        read_outcome(c, request, reply);
    if (request->operation == OPERATION_OUTCOME || request->key.size == 0)
        return;
    if (!store_get(replica_store(c->options.replica), request->key, &record)) {
        reply->error = ERROR_NOT_FOUND;
        reply->message = bytes_of("no such key");
        return;
    }
    reply->value = record.value;
    reply->version = record.version;
}

bool read_begin(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct raft *raft = coordinator_raft(c);
    if (leads(c)) {
        if (raft_alone(raft) || !replica_takes_writes(c->options.replica))
            return false;
        p->read = raft_read(raft, now_ms);
        p->term = raft_term(raft);
        pending_move(c, p, PENDING_CONFIRMING);
        return true;
    }
    struct message message = {
        .type = MESSAGE_READ_INDEX, .term = raft_term(raft), .read_index.id = p->number};
    if (!raft_leader(raft, &p->asked) || !c->host.read_index(c->host.arg, &p->asked, &message))
        return false;
    pending_move(c, p, PENDING_ASKING);
    return true;
}

/* The request that p holds a copy of; without a key for a barrier. */
static struct request request_of(const struct pending *p) {
    struct request request = {.operation = OPERATION_GET};
    uint64_t id;
    if (!p->barrier && !request_decode(buffer_bytes(&p->copy), 0, &id, &request))
        request = (struct request){.operation = OPERATION_GET};
    return request;
}

/* False where the ring has changed meanwhile and the key is another group's: it is looked at again. */
static bool still_here(struct coordinator *c, struct pending *p, const struct request *request) {
    if (p->barrier || owner_of_pending(c, p, request) == OWNER_HERE)
        return true;
    pending_move(c, p, PENDING_WAITING);
    return false;
}

void read_answer(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct reply reply;
    struct request request = request_of(p);
    if (!still_here(c, p, &request))
        return;
    read_now(c, now_ms, &request, &reply);
    pending_answer(c, p, &reply);
}

/* The state read is the answer once the commit reaches p->index: the value is copied until then. */
static void hold(struct coordinator *c, struct pending *p, const struct reply *reply) {
    struct buffer value = {0};
    buffer_append(&value, reply->value);
    p->held = *reply;
    p->held.value = buffer_bytes(&value);
    buffer_release(&p->copy);
    p->copy = value;
    pending_move(c, p, PENDING_HOLDING);
}

/* Whether the pair is known. If not, uncommitted entries may have evicted it. */
static bool tells_outcome(const struct reply *reply) {
    return reply->outcome != OUTCOME_NONE && reply->outcome != OUTCOME_UNKNOWN;
}

static void answer_or_hold(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct reply reply;
    struct request request = request_of(p);
    if (!still_here(c, p, &request))
        return;
    read_now(c, now_ms, &request, &reply);
    if (p->index <= raft_commit(coordinator_raft(c)) || tells_outcome(&reply))
        pending_answer(c, p, &reply);
    else
        hold(c, p, &reply);
}

static void confirmed(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    p->index = replica_applied(c->options.replica);
    if (p->origin == ORIGIN_READ_INDEX) {
        struct reply done = reply_here(c);
        pending_answer(c, p, &done);
    } else {
        answer_or_hold(c, now_ms, p);
    }
}

/* Whether the own state has everything that was committed before: a new leader knows that once its no-op is,
 * and what is committed is applied only at the end of a turn. While the ring changes the key may be another
 * group's. */
static bool may_read(const struct coordinator *c) {
    const struct raft *raft = coordinator_raft(c);
    return raft_term_committed(raft) && replica_takes_writes(c->options.replica) &&
           replica_applied(c->options.replica) >= raft_commit(raft);
}

static void poll_confirming(struct coordinator *c, uint64_t now_ms) {
    struct raft *raft = coordinator_raft(c);
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_CONFIRMING], link, next) {
        if (!leads(c) || raft_term(raft) != p->term) {
            if (p->origin == ORIGIN_READ_INDEX)
                pending_error(c, p, ERROR_NOT_LEADER, "leadership was lost");
            else
                pending_move(c, p, PENDING_WAITING);
        } else if (may_read(c) && raft_read_confirmed(raft) >= p->read) {
            confirmed(c, now_ms, p);
        }
    }
}

static void poll_holding(struct coordinator *c) {
    struct raft *raft = coordinator_raft(c);
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_HOLDING], link, next) {
        if (!leads(c) || raft_term(raft) != p->term)
            pending_error(c, p, ERROR_NO_LEADER, "leadership was lost before what was read was committed");
        else if (raft_commit(raft) >= p->index)
            pending_answer(c, p, &p->held);
    }
}

/* A node that leads now, or did, may have applied more than is committed: as a leader it proves its own
 * state, and otherwise the tail that is not committed will be, or will go. */
static void poll_applying(struct coordinator *c, uint64_t now_ms) {
    uint64_t applied = replica_applied(c->options.replica);
    bool committed = applied <= raft_commit(coordinator_raft(c));
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_APPLYING], link, next) {
        if (leads(c))
            pending_move(c, p, PENDING_WAITING);
        else if (committed && applied >= p->index)
            read_answer(c, now_ms, p);
    }
}

void reads_poll(struct coordinator *c, uint64_t now_ms) {
    poll_confirming(c, now_ms);
    poll_holding(c);
    poll_applying(c, now_ms);
}

static void asked_by_follower(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                              uint64_t id) {
    struct request request = {.operation = OPERATION_GET, .deadline_ms = now_ms + 5000};
    struct pending *p = pending_new(c, now_ms, &request, ORIGIN_READ_INDEX, id);
    if (p == NULL)
        return;
    p->peer = *from;
    if (!leads(c) || !read_begin(c, now_ms, p))
        pending_error(c, p, ERROR_NOT_LEADER, "this node cannot confirm a read");
}

void coordinator_read_index(struct coordinator *c, uint64_t now_ms, const struct member_id *from,
                            const struct message *message) {
    c->now_ms = now_ms;
    if (message->type == MESSAGE_READ_INDEX) {
        asked_by_follower(c, now_ms, from, message->read_index.id);
        return;
    }
    struct pending *p;
    TAILQ_FOREACH(p, &c->states[PENDING_ASKING], link)
    if (p->number == message->read_index.id && member_id_equal(&p->asked, from))
        break;
    if (p == NULL)
        return;
    p->index = message->read_index.index;
    pending_move(c, p, message->read_index.ok ? PENDING_APPLYING : PENDING_WAITING);
}
