/* Where requests come in, and the steps that each goes through; what becomes of it there is in the files
 * beside this one (coordinator_internal.h). */
#include "api/coordinator.h"

#include <bsd/sys/queue.h>
#include <err.h>
#include <stdlib.h>

#include "api/coordinator_internal.h"

/* How often requests that wait for a leader look again, beside every change of leader. */
#define RETRY_MS 50

struct coordinator *coordinator_new(const struct coordinator_options *options,
                                    const struct coordinator_host *host) {
    struct coordinator *c = calloc(1, sizeof *c);
    if (c == NULL)
        err(1, "out of memory");
    c->options = *options;
    c->host = *host;
    c->number = options->self->session;
    for (int i = 0; i < PENDING_STATES; i++)
        TAILQ_INIT(&c->states[i]);
    TAILQ_INIT(&c->free);
    TAILQ_INIT(&c->gathers);
    return c;
}

void coordinator_free(struct coordinator *c) {
    if (c == NULL)
        return;
    struct pending *p;
    gathers_free(c);
    for (int i = 0; i < PENDING_STATES; i++)
        while ((p = TAILQ_FIRST(&c->states[i])) != NULL)
            pending_end(c, p);
    while ((p = TAILQ_FIRST(&c->free)) != NULL) {
        TAILQ_REMOVE(&c->free, p, link);
        free(p);
    }
    buffer_release(&c->scratch);
    buffer_release(&c->explain);
    buffer_release(&c->view);
    buffer_release(&c->slice);
    ring_free(c->ring);
    free(c);
}

void coordinator_stop(struct coordinator *c) {
    c->stopping = true;
}

size_t coordinator_pending(const struct coordinator *c) {
    return c->count;
}

bool coordinator_full(const struct coordinator *c, struct reply *reply) {
    if (c->count < COORDINATOR_PENDING_MAX)
        return false;
    *reply = reply_error(c, ERROR_OVERLOAD, "too many requests are under way");
    return true;
}

/* A newcomer's empty store would answer "no such key" for keys that its group has. */
static bool belongs_to_none(struct coordinator *c, struct reply *reply) {
    if (raft_configuration(coordinator_raft(c))->count > 0)
        return false;
    *reply =
        reply_no_leader(c, c->now_ms, ERROR_NO_LEADER, "this node has joined no group yet and has no data");
    return true;
}

bool step_here(struct coordinator *c, uint64_t now_ms, struct pending *p, const struct request *request) {
    struct reply reply;
    if (operation_writes(request->operation))
        return !write_step(c, p, request);
    if (request->after.at.index != 0 && !after_step(c, p, request))
        return true;
    if (p->linearizable)
        return read_begin(c, now_ms, p);
    if (!belongs_to_none(c, &reply))
        read_now(c, now_ms, request, &reply);
    pending_answer(c, p, &reply);
    return true;
}

bool step(struct coordinator *c, uint64_t now_ms, struct pending *p) {
    struct request request;
    uint64_t id;
    if (p->barrier)
        return read_begin(c, now_ms, p);
    if (p->origin == ORIGIN_NODE) {
        pending_error(c, p, ERROR_NOT_LEADER, "this node can no longer take it");
        return false;
    }
    if (!request_decode(buffer_bytes(&p->copy), now_ms, &id, &request))
        return false;
    switch (owner_of_pending(c, p, &request)) {
    case OWNER_HERE:
        return step_here(c, now_ms, p, &request);
    case OWNER_THERE:
        return may_pass_on(c, p) ? route_pending(c, p) : refuse_late(c, p, &request);
    case OWNER_UNKNOWN:
        break;
    }
    return false;
}

/* For another group, or for one that is not known yet. */
static bool submit_elsewhere(struct coordinator *c, uint64_t now_ms, const struct request *request,
                             uint64_t ticket, struct reply *reply) {
    if (c->stopping && operation_writes(request->operation)) {
        *reply = reply_error(c, ERROR_SHUTTING_DOWN, "this node is stopping");
        return true;
    }
    if (coordinator_full(c, reply))
        return true;
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
    request_encode(&p->copy, p->number, now_ms, request);
    step(c, now_ms, p);
    return false;
}

static bool submit_linearizable(struct coordinator *c, uint64_t now_ms, const struct request *request,
                                uint64_t ticket, struct reply *reply) {
    if (coordinator_full(c, reply))
        return true;
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
    p->barrier = request->key.size == 0;
    if (!p->barrier)
        request_encode(&p->copy, p->number, now_ms, request);
    read_begin(c, now_ms, p);
    return false;
}

static bool submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                   struct reply *reply) {
    if (operation_of_members(request->operation))
        return members_submit(c, now_ms, request, ticket, reply);
    if (out_of_service(c) != ERROR_NONE) {
        *reply = reply_error(c, out_of_service(c), "");
        return true;
    }
    uint32_t group;
    bool elsewhere = request->key.size > 0 && owner_of(c, request->key, &group) != OWNER_HERE;
    if (elsewhere && (c->ring != NULL || raft_configuration(coordinator_raft(c))->count > 0))
        return submit_elsewhere(c, now_ms, request, ticket, reply);
    if (request->after.at.index != 0)
        return belongs_to_none(c, reply) || after_submit(c, now_ms, request, ticket, reply);
    if (operation_writes(request->operation))
        return write_submit(c, now_ms, request, ticket, reply);
    if (request->linearizable)
        return submit_linearizable(c, now_ms, request, ticket, reply);
    if (!belongs_to_none(c, reply))
        read_now(c, now_ms, request, reply);
    return true;
}

bool coordinator_submit(struct coordinator *c, uint64_t now_ms, const struct request *request,
                        uint64_t ticket, struct reply *reply) {
    c->now_ms = now_ms;
    if (!submit(c, now_ms, request, ticket, reply))
        return false;
    if (request->explain && reply->explain.size == 0)
        explain(c, NULL, reply);
    return true;
}

bool coordinator_barrier(struct coordinator *c, uint64_t now_ms, const struct request *request,
                         uint64_t ticket, struct reply *reply) {
    struct request barrier = *request;
    barrier.operation = OPERATION_GET;
    barrier.key = (struct bytes){NULL, 0};
    return coordinator_submit(c, now_ms, &barrier, ticket, reply);
}

/* True where this node leads and some of them went on: they have to be sent. */
static bool retry_waiting(struct coordinator *c, uint64_t now_ms) {
    struct pending *p, *next;
    bool begun = false;
    passed_poll(c, now_ms);
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_WAITING], link, next)
    begun = step(c, now_ms, p) || begun;
    no_leader_poll(c, now_ms);
    gathers_poll(c, now_ms);
    c->retried_ms = now_ms;
    return begun && coordinator_is_leader(c);
}

static bool leader_changed(struct coordinator *c) {
    const struct raft *raft = coordinator_raft(c);
    struct member_id leader = {0};
    raft_leader(raft, &leader);
    bool leading = raft_role(raft) == RAFT_LEADER;
    bool changed = raft_term(raft) != c->seen_term || leading != c->seen_leading ||
                   !member_id_equal(&leader, &c->seen_leader);
    c->seen_term = raft_term(raft);
    c->seen_leading = leading;
    c->seen_leader = leader;
    return changed;
}

/* A read that asked somebody else for its index can ask anew. */
static void ask_again(struct coordinator *c) {
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_ASKING], link, next)
    if (c->seen_leading || !member_id_equal(&p->asked, &c->seen_leader))
        pending_move(c, p, PENDING_WAITING);
}

bool coordinator_poll(struct coordinator *c, uint64_t now_ms) {
    timing_mark(c, now_ms);
    if (!is_diverged(c)) /* what its writes came to was found out with a wrong state */
        writes_poll(c);
    removed_poll(c);
    reads_poll(c, now_ms);
    after_poll(c, now_ms);
    bool proposed = members_poll(c, now_ms), changed = leader_changed(c);
    if (changed)
        ask_again(c);
    if (!c->seen_leading)
        c->full_ms = 0; /* not known any more */
    bool retried = (changed || now_ms - c->retried_ms >= RETRY_MS) && retry_waiting(c, now_ms);
    return proposed || retried;
}

/* Nearly all are answered long before their deadlines: they are not looked at in every tick. */
static void expire(struct coordinator *c, uint64_t now_ms) {
    struct pending *p, *next;
    for (int i = 0; i < PENDING_STATES; i++)
        TAILQ_FOREACH_SAFE(p, &c->states[i], link, next)
    if (p->deadline_ms <= now_ms)
        pending_expire(c, p);
    c->due_ms = UINT64_MAX;
    for (int i = 0; i < PENDING_STATES; i++)
        TAILQ_FOREACH(p, &c->states[i], link)
    if (p->deadline_ms < c->due_ms)
        c->due_ms = p->deadline_ms;
}

uint64_t coordinator_tick(struct coordinator *c, uint64_t now_ms) {
    c->now_ms = now_ms;
    uint64_t look_ms = look_for_room(c, now_ms);
    if (c->count == 0 && TAILQ_EMPTY(&c->gathers))
        return look_ms;
    if (c->due_ms <= now_ms)
        expire(c, now_ms);
    coordinator_poll(c, now_ms);
    return now_ms + RETRY_MS;
}

struct scan {
    struct bytes prefix, after;
    bool (*each)(void *arg, struct bytes key);
    void *arg;
};

static bool scan_key(void *arg, const struct store_record *record) {
    struct scan *scan = arg;
    if (scan->after.size > 0 && bytes_equal(record->key, scan->after))
        return true;
    if (!bytes_start_with(record->key, scan->prefix))
        return false;
    return scan->each(scan->arg, record->key);
}

void coordinator_scan(struct coordinator *c, struct bytes prefix, struct bytes after,
                      bool (*each)(void *arg, struct bytes key), void *arg) {
    struct scan scan = {prefix, after, each, arg};
    struct bytes from = bytes_compare(after, prefix) > 0 ? after : prefix;
    store_scan(replica_store(c->options.replica), from, scan_key, &scan);
}

const struct node_info *coordinator_self(const struct coordinator *c) {
    return c->options.self;
}

bool coordinator_is_leader(const struct coordinator *c) {
    return raft_role(coordinator_raft(c)) == RAFT_LEADER;
}
