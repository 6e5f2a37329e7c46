/* A coordinator for tests of the HTTP server: a few keys in memory, answers at once or held back by ticket.
 * Include it in one file of a program: it takes the place of the real one. */
#ifndef TESTS_UNIT_API_MOCK_COORDINATOR_H
#define TESTS_UNIT_API_MOCK_COORDINATOR_H

#include "api/coordinator.h"

#include <stdio.h>
#include <stdlib.h>

#define MOCK_KEYS_MAX 4096
#define MOCK_HELD_MAX 4096

struct mock_key {
    struct buffer key, value;
    struct version version;
};

struct coordinator {
    struct mock_key keys[MOCK_KEYS_MAX]; /* in byte order */
    size_t count;
    bool hold_writes, hold_reads; /* answers come later */
    uint64_t held[MOCK_HELD_MAX];
    size_t held_count;
    struct request last; /* without what it borrows */
    struct buffer last_key, last_value;
    struct buffer last_pair; /* "client request" */
    enum outcome outcome;    /* the answer to OUTCOME */
    size_t submitted;
    struct reply fixed; /* with an error: the answer to everything */
    struct reply base;  /* what every reply bears */
    uint64_t index;
    struct node_info self;
    struct coordinator_node nodes[4];
    size_t nodes_count;
    struct health_view health;
    bool leader;
    bool gathers, keys_linearizable;
    uint64_t keys_limit;
    struct coordinator_ring ring;
    struct coordinator_away away; /* without an error: requests are not routed away */
};

static inline struct mock_key *mock_find(struct coordinator *c, struct bytes key, size_t *position) {
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(buffer_bytes(&c->keys[middle].key), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *position = low;
    return low < c->count && bytes_equal(buffer_bytes(&c->keys[low].key), key) ? &c->keys[low] : NULL;
}

static inline void mock_set(struct coordinator *c, struct bytes key, struct bytes value) {
    size_t at;
    struct mock_key *found = mock_find(c, key, &at);
    if (found == NULL && c->count < MOCK_KEYS_MAX) {
        memmove(&c->keys[at + 1], &c->keys[at], (c->count - at) * sizeof c->keys[0]);
        c->count++;
        found = &c->keys[at];
        *found = (struct mock_key){0};
        buffer_append(&found->key, key);
    }
    if (found == NULL)
        return;
    buffer_clear(&found->value);
    buffer_append(&found->value, value);
    found->version = (struct version){3, ++c->index};
}

/* Of the api's host, with the mock as arg. */
static inline void mock_health(void *arg, uint64_t now_ms, struct health_view *out) {
    (void)now_ms;
    *out = ((struct coordinator *)arg)->health;
}

static inline void mock_free(struct coordinator *c) {
    for (size_t i = 0; i < c->count; i++) {
        buffer_release(&c->keys[i].key);
        buffer_release(&c->keys[i].value);
    }
    buffer_release(&c->last_key);
    buffer_release(&c->last_value);
    buffer_release(&c->last_pair);
    free(c);
}

static inline struct coordinator *mock_new(void) {
    struct coordinator *c = calloc(1, sizeof *c);
    memcpy(c->self.id, "node-aaaaaaaaaaa", NODE_ID_SIZE);
    address_parse("127.0.0.1:8000", &c->self.peer);
    address_parse("127.0.0.1:9000", &c->self.api);
    snprintf(c->self.cluster, sizeof c->self.cluster, "kvnode");
    memcpy(c->base.node, c->self.id, NODE_ID_SIZE);
    c->nodes[0] = (struct coordinator_node){c->self, true, true, "leader", "alive"};
    c->nodes_count = 1;
    c->leader = true;
    c->health = (struct health_view){
        .status = "healthy", .role = "leader", .keys = 5, .ready = true, .reason = "", .fix = ""};
    return c;
}

/* The reply to the last write. */
static inline struct reply mock_write_reply(const struct coordinator *c) {
    struct reply reply = c->base;
    reply.version = (struct version){3, c->index};
    reply.position.at = reply.version;
    reply.acks = 1;
    reply.voters = 1;
    return reply;
}

bool coordinator_submit(struct coordinator *c, uint64_t now_ms, const struct request *request,
                        uint64_t ticket, struct reply *reply) {
    size_t at;
    (void)now_ms;
    c->submitted++;
    c->last = *request;
    buffer_clear(&c->last_key);
    buffer_append(&c->last_key, request->key);
    buffer_clear(&c->last_value);
    buffer_append(&c->last_value, request->value);
    bool hold = operation_writes(request->operation) ? c->hold_writes : c->hold_reads;
    buffer_clear(&c->last_pair);
    buffer_append(&c->last_pair, request->client);
    buffer_append_text(&c->last_pair, " ");
    buffer_append(&c->last_pair, request->request);
    if (request->operation == OPERATION_SET)
        mock_set(c, request->key, request->value);
    if (hold && c->held_count < MOCK_HELD_MAX) {
        c->held[c->held_count++] = ticket;
        return false;
    }
    if (c->fixed.error != ERROR_NONE) {
        *reply = c->fixed;
        return true;
    }
    if (request->operation == OPERATION_OUTCOME) {
        *reply = c->base;
        reply->outcome = c->outcome;
        if (c->outcome != OUTCOME_UNKNOWN)
            reply->position = (struct position){2, {3, 9}};
        return true;
    }
    if (request->operation != OPERATION_GET) {
        *reply = mock_write_reply(c);
        if (operation_of_members(request->operation))
            reply->value = bytes_of("{}");
        return true;
    }
    *reply = c->base;
    struct mock_key *found = mock_find(c, request->key, &at);
    if (found == NULL) {
        reply->error = ERROR_NOT_FOUND;
    } else {
        reply->value = buffer_bytes(&found->value);
        reply->version = found->version;
    }
    return true;
}

void coordinator_scan(struct coordinator *c, struct bytes prefix, struct bytes after,
                      bool (*each)(void *arg, struct bytes key), void *arg) {
    for (size_t i = 0; i < c->count; i++) {
        struct bytes key = buffer_bytes(&c->keys[i].key);
        if (!bytes_start_with(key, prefix) || (after.size > 0 && bytes_compare(key, after) <= 0))
            continue;
        if (!each(arg, key))
            return;
    }
}

bool coordinator_barrier(struct coordinator *c, uint64_t now_ms, const struct request *request,
                         uint64_t ticket, struct reply *reply) {
    (void)now_ms;
    c->last = *request;
    if (c->hold_reads) {
        c->held[c->held_count++] = ticket;
        return false;
    }
    *reply = c->fixed.error != ERROR_NONE ? c->fixed : c->base;
    return true;
}

bool coordinator_gathers(const struct coordinator *c) {
    return c->gathers;
}

void coordinator_keys(struct coordinator *c, uint64_t now_ms, const struct keys_request *request,
                      uint64_t ticket) {
    (void)now_ms;
    c->keys_limit = request->limit;
    c->keys_linearizable = request->linearizable;
    buffer_clear(&c->last_key);
    buffer_append(&c->last_key, request->after);
    c->held[c->held_count++] = ticket;
}

void coordinator_ring(const struct coordinator *c, struct coordinator_ring *out) {
    *out = c->ring;
}

size_t coordinator_nodes(const struct coordinator *c, struct coordinator_node *out, size_t count_max) {
    size_t count = c->nodes_count < count_max ? c->nodes_count : count_max;
    memcpy(out, c->nodes, count * sizeof *out);
    return count;
}

const struct node_info *coordinator_self(const struct coordinator *c) {
    return &c->self;
}

bool coordinator_is_leader(const struct coordinator *c) {
    return c->leader;
}

bool coordinator_may_route_away(const struct coordinator *c) {
    return c->away.reply.error != ERROR_NONE;
}

bool coordinator_routes_away(const struct coordinator *c, const struct request *request,
                             struct coordinator_away *out) {
    if (!coordinator_may_route_away(c) || !(operation_writes(request->operation) || request->linearizable))
        return false;
    *out = c->away;
    return true;
}

#endif
