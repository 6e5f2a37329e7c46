/* A slice of all groups' keys, in byte order.
 *
 * Each group gives its next keys behind the last one listed, as many as fit its part. They are merged up to
 * where the first group that has more ends: behind that a key of it may come. So a slice needs nothing but
 * the key it begins behind, every group's memory is bounded, and whoever asks need not come back. */
#include <assert.h>
#include <err.h>
#include <stdlib.h>

#include "api/coordinator_internal.h"
#include "api/keys_slice.h"

/* The least bytes of one group's part of a slice: with many groups, their parts together are larger than
 * KEYS_SLICE_SIZE. */
#define PART_SIZE_MIN 4096u
#define GATHERS_MAX   256 /* under way; further ones get ERROR_OVERLOAD */

struct gather {
    TAILQ_ENTRY(gather) link;
    uint64_t number, ticket, deadline_ms, limit;
    bool begun, linearizable;
    uint64_t ring_id, epoch; /* it was begun with */
    struct position position;
    struct buffer prefix, after;
    unsigned count, waiting;
    struct buffer parts[GROUPS_MAX];
};

static void gather_end(struct coordinator *c, struct gather *g) {
    TAILQ_REMOVE(&c->gathers, g, link);
    buffer_release(&g->prefix);
    buffer_release(&g->after);
    for (unsigned i = 0; i < g->count; i++)
        buffer_release(&g->parts[i]);
    free(g);
}

void gathers_free(struct coordinator *c) {
    struct gather *g;
    while ((g = TAILQ_FIRST(&c->gathers)) != NULL)
        gather_end(c, g);
}

static void gather_answer(struct coordinator *c, struct gather *g, const struct reply *reply) {
    uint64_t ticket = g->ticket;
    gather_end(c, g);
    c->host.answer(c->host.arg, ticket, reply);
}

bool coordinator_gathers(const struct coordinator *c) {
    if (c->ring == NULL)
        return replica_groups(c->options.replica)->written == 0 &&
               raft_configuration(coordinator_raft(c))->count > 0;
    return c->groups.count > 1 || owner_of_group(c, c->groups.list[0].number) != OWNER_HERE;
}

/* Which groups have keys. Those from before there was a ring stay with the own group. */

static bool groups_known(const struct coordinator *c) {
    return c->ring != NULL || replica_groups(c->options.replica)->written != 0;
}

static unsigned groups_count(const struct coordinator *c) {
    return c->ring != NULL ? (unsigned)c->groups.count : 1;
}

static uint32_t group_at(const struct coordinator *c, unsigned position) {
    return c->ring != NULL ? c->groups.list[position].number : c->options.self->group;
}

static bool has_keys(const struct coordinator *c, uint32_t group) {
    for (unsigned i = 0; i < groups_count(c); i++)
        if (group_at(c, i) == group)
            return true;
    return false;
}

/* One group's part. A request for keys: its key is the prefix; its value u32 bytes wanted, u64 limit, then
 * `after`.
 */

struct part {
    struct bytes prefix, after;
    size_t size_max;
    uint64_t limit;
    struct buffer *out;
    bool more;
};

static bool part_key(void *arg, struct bytes key) {
    struct part *part = arg;
    if (buffer_size(part->out) > part->size_max || part->limit == 0) {
        part->more = true;
        return false;
    }
    write_bytes16(part->out, key);
    part->limit--;
    return true;
}

void keys_now(struct coordinator *c, const struct request *request, struct reply *reply) {
    struct reader r = reader_of(request->value);
    uint32_t size_max = read_u32(&r);
    struct part part = {.prefix = request->key, .limit = read_u64(&r), .out = &c->slice};
    part.after = read_rest(&r);
    part.size_max = size_max < KEYS_SLICE_SIZE ? size_max : KEYS_SLICE_SIZE;
    buffer_clear(&c->slice);
    write_u8(&c->slice, 0);
    coordinator_scan(c, part.prefix, part.after, part_key, &part);
    c->slice.data[c->slice.start] = part.more;
    reply->value = buffer_bytes(&c->slice);
}

static void ask(struct coordinator *c, uint64_t now_ms, struct gather *g, unsigned i) {
    struct buffer value = {0};
    uint32_t size = KEYS_SLICE_SIZE / g->count;
    write_u32(&value, size > PART_SIZE_MIN ? size : PART_SIZE_MIN);
    write_u64(&value, g->limit);
    buffer_append(&value, buffer_bytes(&g->after));
    struct request request = {
        .operation = OPERATION_KEYS,
        .key = buffer_bytes(&g->prefix),
        .value = buffer_bytes(&value),
        .linearizable = g->linearizable,
        .deadline_ms = g->deadline_ms,
    };
    if (g->position.group == group_at(c, i))
        request.after = g->position;
    struct pending *p = pending_new(c, now_ms, &request, ORIGIN_GATHER, g->number);
    if (p != NULL) {
        p->group = group_at(c, i);
        p->part = i;
        request_encode(&p->copy, p->number, now_ms, &request);
    }
    buffer_release(&value);
}

static void begin(struct coordinator *c, uint64_t now_ms, struct gather *g) {
    uint64_t number = g->number;
    if (g->position.at.index != 0 && !has_keys(c, g->position.group)) {
        struct reply reply = reply_error(c, ERROR_BAD_PARAMETER,
                                         "KV-After names a position of a group that is not on the ring");
        gather_answer(c, g, &reply);
        return;
    }
    if (c->count + GROUPS_MAX >= COORDINATOR_PENDING_MAX) { /* a part that is not asked never comes */
        struct reply reply = reply_error(c, ERROR_OVERLOAD, "too many requests are under way");
        gather_answer(c, g, &reply);
        return;
    }
    g->begun = true;
    g->ring_id = c->groups.ring_id;
    g->epoch = c->groups.epoch;
    g->count = g->waiting = groups_count(c);
    for (unsigned i = 0; i < g->count; i++)
        ask(c, now_ms, g, i);
    /* The last part may be answered at once, and with it the gather. */
    struct pending *p, *next;
    TAILQ_FOREACH_SAFE(p, &c->states[PENDING_WAITING], link, next)
    if (p->origin == ORIGIN_GATHER && p->ticket == number)
        step(c, now_ms, p);
}

void coordinator_keys(struct coordinator *c, uint64_t now_ms, const struct keys_request *request,
                      uint64_t ticket) {
    struct gather *g = calloc(1, sizeof *g), *other;
    unsigned under_way = 0;
    if (g == NULL)
        err(1, "out of memory for a listing");
    g->number = ++c->number;
    g->ticket = ticket;
    g->deadline_ms = request->deadline_ms;
    g->limit = request->limit;
    g->linearizable = request->linearizable;
    g->position = request->position;
    struct bytes after = request->after;
    if (after.size > KEY_SIZE_MAX) /* the keys behind it are those behind as much of it as a key can have */
        after.size = KEY_SIZE_MAX;
    buffer_append(&g->prefix, request->prefix);
    buffer_append(&g->after, after);
    TAILQ_FOREACH(other, &c->gathers, link)
    under_way++;
    TAILQ_INSERT_TAIL(&c->gathers, g, link);
    if (out_of_service(c) != ERROR_NONE) { /* its own group's part would be wrong */
        struct reply reply = reply_error(c, out_of_service(c), "");
        gather_answer(c, g, &reply);
    } else if (under_way >= GATHERS_MAX) {
        struct reply reply = reply_error(c, ERROR_OVERLOAD, "too many listings are under way");
        gather_answer(c, g, &reply);
    } else if (request->prefix.size > KEY_SIZE_MAX) { /* no key begins with it */
        struct reply reply = reply_here(c);
        buffer_clear(&c->slice);
        write_u8(&c->slice, false);
        reply.value = buffer_bytes(&c->slice);
        gather_answer(c, g, &reply);
    } else if (groups_known(c)) {
        begin(c, now_ms, g);
    }
}

void gathers_poll(struct coordinator *c, uint64_t now_ms) {
    struct gather *g, *next;
    TAILQ_FOREACH_SAFE(g, &c->gathers, link, next) {
        if (g->begun)
            continue;
        if (out_of_service(c) != ERROR_NONE) {
            struct reply reply = reply_error(c, out_of_service(c), "");
            gather_answer(c, g, &reply);
        } else if (g->deadline_ms <= now_ms) {
            struct reply reply = reply_no_leader(c, now_ms, ERROR_NO_LEADER,
                                                 "it is not decided yet which groups share the keys");
            gather_answer(c, g, &reply);
        } else if (groups_known(c)) {
            begin(c, now_ms, g);
        }
    }
}

struct cursor {
    struct keys_slice slice;
    struct bytes key;
    bool there;
};

/* The last key of the slice; empty for none. */
static struct bytes last_of(struct bytes part) {
    struct keys_slice slice = keys_slice_of(part);
    struct bytes key, last = {NULL, 0};
    while (keys_slice_next(&slice, &key))
        last = key;
    return last;
}

static struct cursor *lowest(struct cursor *cursors, unsigned count) {
    struct cursor *low = NULL;
    for (unsigned i = 0; i < count; i++)
        if (cursors[i].there && (low == NULL || bytes_compare(cursors[i].key, low->key) < 0))
            low = &cursors[i];
    return low;
}

/* Up to the least of the last keys of the parts that have more. */
static void merge(struct coordinator *c, struct gather *g) {
    struct cursor cursors[GROUPS_MAX], *low;
    struct bytes bound = {NULL, 0};
    for (unsigned i = 0; i < g->count; i++) {
        cursors[i].slice = keys_slice_of(buffer_bytes(&g->parts[i]));
        if (cursors[i].slice.more) {
            struct bytes last = last_of(buffer_bytes(&g->parts[i]));
            if (bound.size == 0 || bytes_compare(last, bound) < 0)
                bound = last;
        }
        cursors[i].there = keys_slice_next(&cursors[i].slice, &cursors[i].key);
    }
    buffer_clear(&c->slice);
    write_u8(&c->slice, bound.size > 0);
    for (uint64_t left = g->limit; left > 0 && (low = lowest(cursors, g->count)) != NULL; left--) {
        if (bound.size > 0 && bytes_compare(low->key, bound) > 0)
            break;
        write_bytes16(&c->slice, low->key);
        low->there = keys_slice_next(&low->slice, &low->key);
    }
}

void gather_part(struct coordinator *c, const struct pending *p, const struct reply *reply) {
    struct gather *g;
    TAILQ_FOREACH(g, &c->gathers, link)
    if (g->number == p->ticket)
        break;
    if (g == NULL)
        return; /* another part failed, and the client has its answer */
    assert(p->part < g->count);
    if (reply->error != ERROR_NONE) {
        gather_answer(c, g, reply);
        return;
    }
    buffer_clear(&g->parts[p->part]);
    buffer_append(&g->parts[p->part], reply->value);
    if (--g->waiting > 0)
        return;
    if (g->ring_id != c->groups.ring_id || g->epoch != c->groups.epoch) { /* groups may have been left out */
        g->begun = false;
        return;
    }
    struct reply done = reply_here(c);
    merge(c, g);
    done.value = buffer_bytes(&c->slice);
    gather_answer(c, g, &done);
}
