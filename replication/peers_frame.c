/* Frames in and out, and what one costs that does not fit. */
#include "replication/peers_core.h"

#include "replication/frame.h"

#include <assert.h>

#define SMALL_FRAME 1024 /* bytes of a payload that is worth copying for one write instead of three */

/* Frames out. */

void connection_frame(struct peers *p, struct connection *c, uint8_t type, struct bytes payload) {
    uint8_t frame[SMALL_FRAME + FRAME_OVERHEAD], tail[FRAME_TAIL_SIZE];
    frame_wrap(type, payload, frame, tail);
    c->unsent += payload.size + FRAME_OVERHEAD;
    connection_count(p, c);
    if (payload.size > SMALL_FRAME) {
        p->host.write(p->host.arg, c->number, (struct bytes){frame, FRAME_HEAD_SIZE});
        p->host.write(p->host.arg, c->number, payload);
        p->host.write(p->host.arg, c->number, (struct bytes){tail, FRAME_TAIL_SIZE});
        return;
    }
    if (payload.size > 0)
        memcpy(frame + FRAME_HEAD_SIZE, payload.data, payload.size);
    memcpy(frame + FRAME_HEAD_SIZE + payload.size, tail, FRAME_TAIL_SIZE);
    p->host.write(p->host.arg, c->number, (struct bytes){frame, payload.size + FRAME_OVERHEAD});
}

bool peers_send(struct peers *p, uint64_t now_ms, const struct member_id *to, enum peers_lane lane,
                enum frame_type type, struct bytes payload) {
    assert(payload.size <= PEERS_FRAME_MAX);
    assert(type >= FRAME_RAFT);
    struct connection *c = connection_up(p, to->id);
    if (c == NULL || c->peer.id.incarnation != to->incarnation)
        return false;
    if (lane == PEERS_BULK) {
        struct connection *bulk = c->bulk != 0 ? connection_find(p, c->bulk) : NULL;
        if (bulk == NULL)
            dial_bulk(p, now_ms, c);
        c = bulk;
    }
    if (c == NULL || c->state != UP || c->overfull ||
        c->unsent + payload.size + FRAME_OVERHEAD > PEERS_OUTPUT_MAX ||
        (p->held > PEERS_MEMORY_MAX && payload.size > PEERS_SMALL))
        return false;
    connection_frame(p, c, (uint8_t)type, payload);
    return true;
}

void peers_unsent(struct peers *p, uint32_t connection, size_t size, bool taken) {
    struct connection *c = connection_find(p, connection);
    if (c == NULL)
        return;
    c->unsent = size;
    connection_count(p, c);
    if (taken && (size > 0 || c->held_back)) /* a PING may wait behind what it was sent */
        c->heard_ms = p->now_ms;
    if (c->held_back && !place_holds_back(p, c))
        peers_wake_at(p, 0);
    if (size <= PEERS_OUTPUT_MAX)
        return;
    c->overfull = true;
    peers_wake_at(p, 0);
}

/* To a connection that stands. */
void connection_tell_info(struct peers *p, struct connection *c) {
    struct buffer info = {0};
    node_info_write(&info, &p->self);
    connection_frame(p, c, FRAME_INFO, buffer_bytes(&info));
    buffer_release(&info);
    c->generation = p->generation;
}

void peers_update(struct peers *p, const struct node_info *self) {
    bool refounded = self->group_id != p->self.group_id;
    p->self = *self;
    p->generation++;
    for (size_t i = 0; i < p->up_count; i++) {
        struct connection *c = p->up[i];
        connection_tell_info(p, c);
        if (!greet_conflicts(&p->self, &c->peer.info))
            continue;
        c->conflicting = true;
        peers_wake_at(p, 0);
    }
    if (refounded)
        dial_refounded(p);
}

/* Frames in. Each returns false when the connection is gone. */

static bool damaged(struct peers *p, uint64_t now_ms, struct connection *c) {
    connection_close(p, now_ms, c);
    return false;
}

static bool take_info(struct peers *p, uint64_t now_ms, struct connection *c, struct bytes payload) {
    struct reader r = reader_of(payload);
    struct node_info info, *before = &c->peer.info;
    if (c->lane != PEERS_MAIN || !node_info_read(&r, &info) || !reader_done(&r) ||
        !node_info_same_process(&info, before) || info.group != before->group ||
        strcmp(info.cluster, before->cluster) != 0)
        return damaged(p, now_ms, c);
    *before = info;
    place_set(p, c);
    dial_met(p, now_ms, c);
    if (greet_conflicts(&p->self, &info)) {
        greet_refuse(p, now_ms, c, REFUSED_FOUNDING);
        return true;
    }
    p->host.info(p->host.arg, &c->peer);
    return true;
}

/* A bulk connection may stand a moment before the main one does at this end: its first frames then go
 * nowhere. */
static void deliver(struct peers *p, struct connection *c, uint8_t type, struct bytes payload) {
    struct connection *main = c->lane == PEERS_MAIN ? c : connection_up(p, c->peer.id.id);
    if (main != NULL && node_info_same_process(&main->peer.info, &c->peer.info))
        p->host.frame(p->host.arg, &main->peer, (enum frame_type)type, payload);
}

/* A copy of our directory may run there, and only the two of us can tell. */
static bool take_bearer(struct peers *p, uint64_t now_ms, struct connection *c, struct bytes payload) {
    struct reader r = reader_of(payload);
    struct address at = address_read(&r);
    if (!reader_done(&r))
        return damaged(p, now_ms, c);
    hint(p, now_ms, &at, &c->at);
    return true;
}

/* A frame that only makes sense while the handshake or the connection is in some state, or not at all. */
static bool take_own_frame(struct peers *p, uint64_t now_ms, struct connection *c, uint8_t type,
                           struct bytes payload) {
    switch (type) {
    case FRAME_PING:
        if (payload.size != sizeof(uint32_t))
            return damaged(p, now_ms, c);
        connection_frame(p, c, FRAME_PONG, payload);
        return true;
    case FRAME_PONG:
        if (payload.size != sizeof(uint32_t))
            return damaged(p, now_ms, c);
        greet_alive(p, now_ms, c, get_u32(payload.data));
        return true;
    case FRAME_WELCOME:
        if (payload.size != 0 || c->welcome_heard)
            return damaged(p, now_ms, c);
        return greet_welcomed(p, now_ms, c);
    case FRAME_REFUSED:
        if (payload.size != 1)
            return damaged(p, now_ms, c);
        greet_was_refused(p, now_ms, c, payload.data[0]);
        return false;
    case FRAME_CROSSED:
        if (payload.size != 0 || c->state == UP)
            return damaged(p, now_ms, c);
        greet_was_crossed(p, now_ms, c);
        return false;
    case FRAME_BEARER:
        return take_bearer(p, now_ms, c, payload);
    case FRAME_PROVE:
    case FRAME_PROOF:
        if (payload.size != sizeof(uint64_t) || c->state != CLAIMED)
            return damaged(p, now_ms, c);
        return claim_frame(p, now_ms, c, type, get_u64(payload.data));
    default:
        return damaged(p, now_ms, c);
    }
}

static bool take_frame(struct peers *p, uint64_t now_ms, struct connection *c, uint8_t type,
                       struct bytes payload) {
    if (type < FRAME_RAFT)
        return take_own_frame(p, now_ms, c, type, payload);
    if (c->state != UP || type > FRAME_ROUTED)
        return damaged(p, now_ms, c);
    if (type == FRAME_INFO)
        return take_info(p, now_ms, c, payload);
    deliver(p, c, type, payload);
    return true;
}

static bool take_hello(struct peers *p, uint64_t now_ms, struct connection *c, struct bytes in,
                       size_t *used) {
    struct hello hello;
    switch (hello_parse(in, &hello, used)) {
    case HELLO_MORE:
        return true;
    case HELLO_DONE:
        return greet_hello(p, now_ms, c, &hello);
    case HELLO_VERSION:
        greet_version(p, now_ms, c);
        return true;
    case HELLO_BAD:
        break;
    }
    greet_garbage(p, now_ms, c);
    return false;
}

/* Takes the hello or the frame at the front of in; *used stays 0 where it is not complete. */
static bool take_next(struct peers *p, uint64_t now_ms, struct connection *c, struct bytes in, size_t *used) {
    *used = 0;
    if (c->state == CLOSING) {
        *used = in.size;
        return true;
    }
    if (c->state == GREETING)
        return take_hello(p, now_ms, c, in, used);
    uint8_t type;
    struct bytes payload;
    switch (frame_parse(in, c->state == UP ? PEERS_FRAME_MAX : UNGREETED_MAX, &type, &payload)) {
    case FRAME_MORE:
        return true;
    case FRAME_DONE:
        *used = payload.size + FRAME_OVERHEAD;
        return take_frame(p, now_ms, c, type, payload);
    case FRAME_BAD:
        break;
    }
    return damaged(p, now_ms, c);
}

/* Takes what is complete; *total is what was used. False when the connection is gone. */
static bool take_all(struct peers *p, uint64_t now_ms, struct connection *c, struct bytes data,
                     size_t *total) {
    size_t used = 1;
    for (*total = 0; used > 0 && *total < data.size; *total += used) {
        if (place_holds_back(p, c)) {
            c->held_back = true;
            p->host.hold(p->host.arg, c->number, true);
            return true;
        }
        if (!take_next(p, now_ms, c, (struct bytes){data.data + *total, data.size - *total}, &used))
            return false;
    }
    return true;
}

/* How large what begins there will be. */
static size_t whole_size(struct bytes data) {
    size_t size = data.size < FRAME_HEAD_SIZE ? 0 : (size_t)get_u32(data.data) + FRAME_OVERHEAD;
    return size <= PEERS_FRAME_MAX + FRAME_OVERHEAD && size > data.size ? size : data.size;
}

/* What is left waits for the rest. */
static void keep_rest(struct peers *p, struct connection *c, bool kept, struct bytes data, size_t used) {
    struct bytes rest = {data.data + used, data.size - used};
    if (kept)
        buffer_consume(&c->input, used);
    else if (rest.size > 0)
        buffer_append_within(&c->input, rest, rest.size);
    buffer_shrink(&c->input, c->place < PLACE_NAMED ? 0 : INPUT_KEEP);
    connection_count(p, c);
}

void peers_received(struct peers *p, uint64_t now_ms, uint32_t connection, struct bytes data) {
    struct connection *c = connection_find(p, connection);
    if (c == NULL || c->state == DIALLING)
        return;
    peers_note_time(p, now_ms);
    c->heard_ms = now_ms;
    if (c->ping_out)
        peers_wake_at(p, now_ms + PING_MS);
    c->ping_out = false;
    bool kept = buffer_size(&c->input) > 0;
    if (kept) {
        buffer_append_within(&c->input, data, whole_size(buffer_bytes(&c->input)));
        data = buffer_bytes(&c->input);
    }
    size_t used = 0;
    if (c->held_back || take_all(p, now_ms, c, data, &used))
        keep_rest(p, c, kept, data, used);
}

void peers_let_go_on(struct peers *p, uint64_t now_ms) {
    for (size_t i = 0; i < p->count; i++) {
        struct connection *c = p->connections[i];
        size_t used;
        if (!c->held_back || place_holds_back(p, c))
            continue;
        c->held_back = false;
        p->host.hold(p->host.arg, c->number, false);
        struct bytes waiting = buffer_bytes(&c->input);
        if (take_all(p, now_ms, c, waiting, &used))
            keep_rest(p, c, true, waiting, used);
        i = SIZE_MAX; /* taking may have changed the table: from the start */
    }
}
