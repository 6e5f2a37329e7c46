/* KV-After: a read that waits until this node has applied a position of its group's log, so that a client
 * reads its own writes on any node.
 *
 * A position names an entry by term and index. Terms never fall along a log, so another entry is known to
 * stand there as soon as a committed one at or before the index has a later term: the wait ends early with
 * `overruled`. What the log has compacted away is committed and applied, but of its terms only the last is
 * known: a position there whose term is above that one was overruled; of one that is not, the node answers as
 * if it had been applied, which is wrong only for a write that was overruled so long ago that the log no
 * longer shows it. */
#include "api/coordinator_internal.h"

enum after after_state(const struct raft *raft, const struct log *log, uint64_t applied, struct version at) {
    uint64_t settled = raft_commit(raft) < applied ? raft_commit(raft) : applied, term;
    uint64_t look = at.index < settled ? at.index : settled;
    bool compacted = look + 1 < log_first(log);
    if (compacted)
        look = log_first(log) - 1;
    if (look > 0 && log_term_at(log, look, &term)) {
        if (compacted)
            return at.term > term ? AFTER_OVERRULED : AFTER_REACHED;
        if (term > at.term || (look == at.index && term != at.term))
            return AFTER_OVERRULED;
        if (look == at.index)
            return AFTER_REACHED;
    }
    /* The tail that an async leader has applied before it is committed. */
    bool tail = applied >= at.index && log_term_at(log, at.index, &term) && term == at.term;
    return tail ? AFTER_REACHED : AFTER_WAIT;
}

static enum after state_here(const struct coordinator *c, struct version at) {
    const struct replica *replica = c->options.replica;
    return after_state(coordinator_raft(c), replica_log(replica), replica_applied(replica), at);
}

static bool begin_wait(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                       struct reply *reply) {
    if (coordinator_full(c, reply))
        return true;
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
    p->barrier = request->key.size == 0;
    p->after = request->after;
    p->linearizable = request->linearizable;
    if (!p->barrier)
        request_encode(&p->copy, p->number, now_ms, request);
    pending_move(c, p, PENDING_AFTER);
    return false;
}

bool after_submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                  struct reply *reply) {
    if (request->after.group != c->options.self->group) {
        *reply =
            reply_error(c, ERROR_BAD_PARAMETER, "KV-After names a position of another group than the read's");
        return true;
    }
    switch (state_here(c, request->after.at)) {
    case AFTER_OVERRULED:
        *reply = reply_error(c, ERROR_OVERRULED, "");
        return true;
    case AFTER_WAIT:
        return begin_wait(c, now_ms, request, ticket, reply);
    case AFTER_REACHED:
        break;
    }
    struct request read = *request;
    read.after = (struct position){0};
    return coordinator_submit(c, now_ms, &read, ticket, reply);
}

bool after_step(struct coordinator *c, struct pending *p, const struct request *request) {
    p->after = request->after;
    if (p->after.group != c->options.self->group) {
        pending_error(c, p, ERROR_BAD_PARAMETER,
                      "KV-After names a position of another group than the read's");
        return false;
    }
    enum after state = state_here(c, p->after.at);
    if (state == AFTER_OVERRULED)
        pending_error(c, p, ERROR_OVERRULED, "");
    else if (state == AFTER_WAIT)
        pending_move(c, p, PENDING_AFTER);
    return state == AFTER_REACHED;
}

void after_poll(struct coordinator *c, uint64_t now_ms) {
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_AFTER], link, next) {
        enum after state = state_here(c, p->after.at);
        if (state == AFTER_OVERRULED) {
            pending_error(c, p, ERROR_OVERRULED, "");
        } else if (state == AFTER_REACHED && p->linearizable) {
            pending_move(c, p, PENDING_WAITING);
            read_begin(c, now_ms, p);
        } else if (state == AFTER_REACHED) {
            read_answer(c, now_ms, p);
        }
    }
}
