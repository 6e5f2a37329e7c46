#include <assert.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/coordinator_internal.h"

struct reply reply_here(const struct coordinator *c) {
    struct reply reply = {.group = c->options.self->group};
    memcpy(reply.node, c->options.self->id, NODE_ID_SIZE);
    reply.degraded = raft_alone(coordinator_raft(c));
    return reply;
}

struct reply reply_error(const struct coordinator *c, enum error error, const char *message) {
    struct reply reply = reply_here(c);
    reply.error = error;
    reply.message = bytes_of(message);
    reply.retry_after_s = error_passes(error) ? 1 : 0;
    return reply;
}

void reply_acks(const struct coordinator *c, struct version at, struct reply *reply) {
    const struct raft *raft = coordinator_raft(c);
    uint64_t term;
    unsigned voters;
    /* A leader that lost its term and leads again holds nothing for an entry that was overruled between. */
    if (raft_role(raft) != RAFT_LEADER || !log_term_at(replica_log(c->options.replica), at.index, &term) ||
        term != at.term)
        return;
    reply->acks = (uint8_t)raft_acks(raft, at.index, &voters);
    reply->voters = (uint8_t)voters;
}

struct pending *pending_new(struct coordinator *c, uint64_t now_ms, const struct request *request,
                            enum pending_origin origin, uint64_t ticket) {
    if (c->count >= COORDINATOR_PENDING_MAX)
        return NULL;
    struct pending *p = TAILQ_FIRST(&c->free);
    if (p != NULL)
        TAILQ_REMOVE(&c->free, p, link);
    else if ((p = malloc(sizeof *p)) == NULL)
        err(1, "out of memory for a request");
    *p = (struct pending){
        .state = PENDING_WAITING,
        .origin = origin,
        .linearizable = request->linearizable,
        .group = c->options.self->group,
        .number = ++c->number,
        .deadline_ms = request->deadline_ms,
        .began_ms = now_ms,
        .ticket = ticket,
        .operation = request->operation,
        .ack = request->ack,
        .explain = request->explain,
    };
    TAILQ_INSERT_TAIL(&c->states[p->state], p, link);
    c->count++;
    if (p->deadline_ms < c->due_ms)
        c->due_ms = p->deadline_ms;
    return p;
}

void pending_move(struct coordinator *c, struct pending *p, enum pending_state state) {
    TAILQ_REMOVE(&c->states[p->state], p, link);
    if (p->state == PENDING_WAITING)
        p->stepped_ms = c->now_ms;
    p->state = state;
    TAILQ_INSERT_TAIL(&c->states[state], p, link);
}

void pending_end(struct coordinator *c, struct pending *p) {
    assert(c->count > 0);
    TAILQ_REMOVE(&c->states[p->state], p, link);
    buffer_release(&p->copy);
    TAILQ_INSERT_HEAD(&c->free, p, link);
    c->count--;
}

static void answer_read_index(struct coordinator *c, struct pending *p, const struct reply *reply) {
    struct message message = {
        .type = MESSAGE_READ_INDEX_REPLY,
        .term = raft_term(coordinator_raft(c)),
        .read_index = {.id = p->ticket, .ok = reply->error == ERROR_NONE, .index = p->index},
    };
    c->host.read_index(c->host.arg, &p->peer, &message);
}

static void answer_client(struct coordinator *c, const struct pending *p, const struct reply *reply) {
    if (c->now_ms < p->began_ms + TIMING_FROM_MS) {
        c->host.answer(c->host.arg, p->ticket, reply);
        return;
    }
    struct reply timed = *reply;
    timed.timing = timing_of(c, p);
    c->host.answer(c->host.arg, p->ticket, &timed);
}

void pending_answer(struct coordinator *c, struct pending *p, const struct reply *reply) {
    struct reply explained = *reply;
    if (p->explain && reply->explain.size == 0) {
        explain(c, p, &explained);
        reply = &explained;
    }
    switch (p->origin) {
    case ORIGIN_CLIENT:
        answer_client(c, p, reply);
        break;
    case ORIGIN_NODE:
        buffer_clear(&c->scratch);
        reply_encode(&c->scratch, p->ticket, reply);
        c->host.reply(c->host.arg, &p->peer, buffer_bytes(&c->scratch));
        break;
    case ORIGIN_READ_INDEX:
        answer_read_index(c, p, reply);
        break;
    case ORIGIN_GATHER:
        gather_part(c, p, reply);
        break;
    }
    pending_end(c, p);
}

static void refuse_with(struct coordinator *c, struct pending *p, struct reply reply) {
    if (p->at.index > 0) {
        reply.position = (struct position){c->options.self->group, p->at};
        reply_acks(c, p->at, &reply);
    }
    pending_answer(c, p, &reply);
}

void pending_error(struct coordinator *c, struct pending *p, enum error error, const char *message) {
    refuse_with(c, p, reply_error(c, error, message));
}

void pending_unknown(struct coordinator *c, struct pending *p, const char *message) {
    struct reply reply;
    char text[200];
    bool members = operation_of_members(p->operation);
    if (p->state == PENDING_APPENDED || p->state == PENDING_ACKING)
        writes_untold(c, p->at);
    snprintf(text, sizeof text, "%s: the %s may have happened", message,
             members ? "change of the members" : "write");
    reply = reply_error(c, ERROR_OUTCOME_UNKNOWN, text);
    if (members)
        reply.fix = bytes_of("GET /cluster/nodes shows whether it happened: look there before asking again.");
    refuse_with(c, p, reply);
}
