#include "api/coordinator.h"

#include <assert.h>
#include <bsd/sys/queue.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/coordinator_internal.h"

/* How often requests that wait for a leader look again, beside every change of leader. */
#define RETRY_MS 50
/* A disk is no longer full when it has taken all entries for so long: small ones may fit where large ones do
 * not. */
#define FULL_MS 5000

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

static void copy_request(struct coordinator *c, uint64_t now_ms, struct pending *p,
                         const struct request *request) {
    (void)c;
    request_encode(&p->copy, p->number, now_ms, request);
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

/* A write takes its first, or next, step. True while it goes on waiting. */
static bool step_write(struct coordinator *c, struct pending *p, const struct request *request) {
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

bool coordinator_full(const struct coordinator *c, struct reply *reply) {
    if (c->count < COORDINATOR_PENDING_MAX)
        return false;
    *reply = reply_error(c, ERROR_OVERLOAD, "too many requests are under way");
    return true;
}

/* A newcomer's empty store would answer "no such key" for keys that its group has. */
static bool belongs_to_none(const struct coordinator *c, struct reply *reply) {
    if (raft_configuration(coordinator_raft(c))->count > 0)
        return false;
    *reply = reply_error(c, ERROR_NO_LEADER, "this node waits to join its group and has no data yet");
    return true;
}

bool step_here(struct coordinator *c, uint64_t now_ms, struct pending *p, const struct request *request) {
    struct reply reply;
    if (operation_writes(request->operation))
        return !step_write(c, p, request);
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
    copy_request(c, now_ms, p, request);
    step(c, now_ms, p);
    return false;
}

static bool submit_write(struct coordinator *c, uint64_t now_ms, const struct request *request,
                         uint64_t ticket, struct reply *reply) {
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
            copy_request(c, now_ms, p, request);
        return false;
    }
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
    copy_request(c, now_ms, p, request);
    forward(c, p, request);
    return false;
}

static bool submit_linearizable(struct coordinator *c, uint64_t now_ms, const struct request *request,
                                uint64_t ticket, struct reply *reply) {
    if (coordinator_full(c, reply))
        return true;
    struct pending *p = pending_new(c, now_ms, request, ORIGIN_CLIENT, ticket);
    p->barrier = request->key.size == 0;
    if (!p->barrier)
        copy_request(c, now_ms, p, request);
    read_begin(c, now_ms, p);
    return false;
}

static bool submit(struct coordinator *c, uint64_t now_ms, const struct request *request, uint64_t ticket,
                   struct reply *reply) {
    if (operation_of_members(request->operation))
        return members_submit(c, now_ms, request, ticket, reply);
    if (is_removed(c)) {
        *reply = reply_error(c, ERROR_REMOVED, "");
        return true;
    }
    uint32_t group;
    bool elsewhere = request->key.size > 0 && owner_of(c, request->key, &group) != OWNER_HERE;
    if (elsewhere && (c->ring != NULL || raft_configuration(coordinator_raft(c))->count > 0))
        return submit_elsewhere(c, now_ms, request, ticket, reply);
    if (request->after.at.index != 0)
        return belongs_to_none(c, reply) || after_submit(c, now_ms, request, ticket, reply);
    if (operation_writes(request->operation))
        return submit_write(c, now_ms, request, ticket, reply);
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
        if (step_write(c, p, &request))
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
        pending_error(c, p, ERROR_OUTCOME_UNKNOWN, "leadership was lost before the write was acknowledged");
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

bool coordinator_unanswered(const struct coordinator *c, struct version at) {
    const struct pending *p;
    TAILQ_FOREACH(p, &c->states[PENDING_ACKING], link)
    if (version_equal(p->at, at))
        return true;
    return false;
}

/* True where this node leads and some of them went on: they have to be sent. */
static bool retry_waiting(struct coordinator *c, uint64_t now_ms) {
    struct pending *p, *next;
    bool begun = false;
    passed_poll(c, now_ms);
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_WAITING], link, next)
    begun = step(c, now_ms, p) || begun;
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
    struct pending *p, *next;
    timing_mark(c, now_ms);
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_ACKING], link, next)
    if (acknowledged(c, p))
        answer_write(c, p);
    c->now_ms = now_ms;
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

/* Its group is another one and did not answer, or is not known. */
static void expire_elsewhere(struct coordinator *c, struct pending *p) {
    char text[160];
    snprintf(text, sizeof text,
             p->operation == OPERATION_KEYS
                 ? "group %u cannot be reached, and the list needs its keys"
                 : "group %u owns the key and cannot be reached; its keys stay with it",
             p->group);
    if (c->ring == NULL)
        pending_error(c, p, ERROR_NO_LEADER, "it is not decided yet which groups share the keys");
    else
        pending_error(c, p, ERROR_GROUP_UNREACHABLE, text);
}

static bool is_elsewhere(const struct coordinator *c, const struct pending *p) {
    bool own = !p->barrier && c->ring == NULL && replica_groups(c->options.replica)->written == 0;
    return own || (c->ring != NULL && owner_of_group(c, p->group) == OWNER_THERE);
}

static void expire(struct coordinator *c, struct pending *p) {
    bool resendable =
        p->state == PENDING_WAITING || (p->state == PENDING_FORWARDED && !operation_writes(p->operation));
    if (resendable && is_elsewhere(c, p)) {
        expire_elsewhere(c, p);
        return;
    }
    switch (p->state) {
    case PENDING_WAITING:
        if (coordinator_is_leader(c) && !replica_takes_writes(c->options.replica)) {
            pending_error(c, p, ERROR_NO_LEADER, "a change of the groups that share the keys was under way");
            break;
        }
        pending_error(c, p, ERROR_NO_LEADER,
                      raft_configuration(coordinator_raft(c))->count == 2
                          ? "the group has no leader, and one of two voters alone cannot elect one: "
                            "start the other node"
                          : "the group has no leader that this node can reach");
        break;
    case PENDING_FORWARDED:
        if (operation_of_members(p->operation))
            members_expire(c, p);
        else if (operation_writes(p->operation))
            pending_unknown(c, p, "the deadline passed before it was acknowledged");
        else
            pending_error(c, p, ERROR_DEADLINE, "the node that was asked did not answer before the deadline");
        break;
    case PENDING_APPENDED:
    case PENDING_ACKING:
        pending_unknown(c, p, "the deadline passed before it was acknowledged");
        break;
    case PENDING_AFTER:
        pending_error(c, p, ERROR_DEADLINE,
                      "the position in KV-After was not applied here before the deadline");
        break;
    case PENDING_MEMBERS:
        members_expire(c, p);
        break;
    case PENDING_CONFIRMING:
    case PENDING_HOLDING:
    case PENDING_ASKING:
    case PENDING_APPLYING:
    case PENDING_STATES:
        pending_error(c, p, ERROR_NO_MAJORITY, "no majority confirmed the read before the deadline");
        break;
    }
}

uint64_t coordinator_tick(struct coordinator *c, uint64_t now_ms) {
    struct pending *p, *next;
    c->now_ms = now_ms;
    if (c->count == 0 && TAILQ_EMPTY(&c->gathers))
        return UINT64_MAX;
    for (int i = 0; i < PENDING_STATES; i++)
        TAILQ_FOREACH_SAFE(p, &c->states[i], link, next)
    if (p->deadline_ms <= now_ms)
        expire(c, p);
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
