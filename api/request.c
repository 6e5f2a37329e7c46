/* Bytes of FRAME_REQUEST and FRAME_REPLY, little-endian:
 *
 *     request  u64 id, u8 operation, u8 flags, u8 condition, u8 ack, u32 time left in ms,
 *              [u64 term, u64 index: CONDITION_MATCH only], [u8 size and client, u8 size and request],
 *              [u32 group, u64 term, u64 index: KV-After], u16 size and key, u32 size and value
 *     reply    u64 id, u8 error, u8 flags, u8 acks, u8 voters, 16 bytes node, u32 group, u32 retry after in
 * s, [u64 term, u64 index: version], [u32 group, u64 term, u64 index: position], [u64 staleness in ms],
 *              [u8 outcome], [u32 size and explain], u32 size and value, u16 size and message, u16 size and
 * fix
 *
 * Fields in brackets are there when their flag is. A deadline travels as the time that is left, because
 * clocks of two nodes have nothing in common. */
#include "api/request.h"

#include "storage/wire.h"

#include <assert.h>

enum {
    REQUEST_ACK = 1,
    REQUEST_LINEARIZABLE = 2,
    REQUEST_PAIR = 4,
    REQUEST_EXPLAIN = 8,
    REQUEST_AFTER = 16,
    REQUEST_FLAGS = 31,
};

enum {
    REPLY_VERSION = 1,
    REPLY_POSITION = 2,
    REPLY_STALENESS = 4,
    REPLY_FOLLOWER = 8,
    REPLY_DEGRADED = 16,
    REPLY_OUTCOME = 32,
    REPLY_EXPLAIN = 64,
    REPLY_FLAGS = 127,
};

#define TIME_LEFT_MAX_MS (60u * 60 * 1000) /* more is a mistake of the sender */

static void version_write(struct buffer *out, struct version version) {
    write_u64(out, version.term);
    write_u64(out, version.index);
}

static struct version version_read(struct reader *r) {
    uint64_t term = read_u64(r);
    return (struct version){term, read_u64(r)};
}

void request_encode(struct buffer *out, uint64_t id, uint64_t now_ms, const struct request *request) {
    assert(request->key.size >= 1 || request->operation == OPERATION_KEYS);
    assert(request->key.size <= KEY_SIZE_MAX);
    assert(request->value.size <= VALUE_SIZE_MAX);
    assert(request->client.size <= CLIENT_SIZE_MAX && request->request.size <= CLIENT_SIZE_MAX);
    assert((request->client.size > 0) == (request->request.size > 0));
    uint64_t left = request->deadline_ms > now_ms ? request->deadline_ms - now_ms : 0;
    write_u64(out, id);
    write_u8(out, (uint8_t)request->operation);
    write_u8(out, (uint8_t)((request->ack_given ? REQUEST_ACK : 0) |
                            (request->linearizable ? REQUEST_LINEARIZABLE : 0) |
                            (request->client.size > 0 ? REQUEST_PAIR : 0) |
                            (request->explain ? REQUEST_EXPLAIN : 0) |
                            (request->after.at.index != 0 ? REQUEST_AFTER : 0)));
    write_u8(out, (uint8_t)request->condition);
    write_u8(out, (uint8_t)request->ack);
    write_u32(out, left > TIME_LEFT_MAX_MS ? TIME_LEFT_MAX_MS : (uint32_t)left);
    if (request->condition == CONDITION_MATCH)
        version_write(out, request->match);
    if (request->client.size > 0) {
        write_bytes8(out, request->client);
        write_bytes8(out, request->request);
    }
    if (request->after.at.index != 0) {
        write_u32(out, request->after.group);
        version_write(out, request->after.at);
    }
    write_bytes16(out, request->key);
    write_bytes32(out, request->value);
}

static bool pair_within_limits(const struct request *q, unsigned flags) {
    size_t least = flags & REQUEST_PAIR ? 1 : 0;
    if (q->client.size > CLIENT_SIZE_MAX || q->request.size > CLIENT_SIZE_MAX)
        return false;
    return q->client.size >= least && q->request.size >= least &&
           (least == 1 || q->operation != OPERATION_OUTCOME);
}

/* An operation on members is about an id, and only a join brings an address. */
static bool operation_within_limits(const struct request *q) {
    if (operation_of_members(q->operation))
        return node_id_valid(q->key) && (q->operation == OPERATION_JOIN || q->value.size == 0);
    return q->operation >= OPERATION_GET && q->operation <= OPERATION_KEYS &&
           (q->operation == OPERATION_SET || q->operation == OPERATION_KEYS || q->value.size == 0);
}

static bool request_within_limits(const struct request *q, unsigned flags, uint32_t left) {
    if (!operation_within_limits(q) || flags > REQUEST_FLAGS || !pair_within_limits(q, flags) ||
        q->condition > CONDITION_EXISTS || q->ack > ACK_ALL)
        return false;
    if (flags & REQUEST_AFTER && q->after.at.index == 0)
        return false;
    bool keys = q->operation == OPERATION_KEYS;
    if ((q->key.size < 1 && !keys) || q->key.size > KEY_SIZE_MAX || q->value.size > VALUE_SIZE_MAX)
        return false;
    return left <= TIME_LEFT_MAX_MS;
}

bool request_decode(struct bytes payload, uint64_t now_ms, uint64_t *id, struct request *out) {
    struct reader r = reader_of(payload);
    *out = (struct request){0};
    *id = read_u64(&r);
    out->operation = read_u8(&r);
    unsigned flags = read_u8(&r);
    out->condition = read_u8(&r);
    out->ack = read_u8(&r);
    uint32_t left = read_u32(&r);
    if (out->condition == CONDITION_MATCH)
        out->match = version_read(&r);
    if (flags & REQUEST_PAIR) {
        out->client = read_bytes8(&r);
        out->request = read_bytes8(&r);
    }
    if (flags & REQUEST_AFTER) {
        out->after.group = read_u32(&r);
        out->after.at = version_read(&r);
    }
    out->key = read_bytes16(&r);
    out->value = read_bytes32(&r);
    out->ack_given = (flags & REQUEST_ACK) != 0;
    out->linearizable = (flags & REQUEST_LINEARIZABLE) != 0;
    out->explain = (flags & REQUEST_EXPLAIN) != 0;
    out->deadline_ms = now_ms + left;
    return reader_done(&r) && request_within_limits(out, flags, left);
}

static struct bytes cut(struct bytes text) {
    return (struct bytes){text.data, text.size > UINT16_MAX ? UINT16_MAX : text.size};
}

void reply_encode(struct buffer *out, uint64_t id, const struct reply *reply) {
    bool position = reply->position.at.index != 0;
    assert(reply->error < ERROR_COUNT);
    assert(reply->value.size <= VALUE_SIZE_MAX);
    write_u64(out, id);
    write_u8(out, (uint8_t)reply->error);
    write_u8(out, (uint8_t)((reply->version.index != 0 ? REPLY_VERSION : 0) |
                            (position ? REPLY_POSITION : 0) | (reply->staleness_known ? REPLY_STALENESS : 0) |
                            (reply->follower ? REPLY_FOLLOWER : 0) | (reply->degraded ? REPLY_DEGRADED : 0) |
                            (reply->outcome != OUTCOME_NONE ? REPLY_OUTCOME : 0) |
                            (reply->explain.size > 0 ? REPLY_EXPLAIN : 0)));
    write_u8(out, reply->acks);
    write_u8(out, reply->voters);
    buffer_append(out, (struct bytes){reply->node, NODE_ID_SIZE});
    write_u32(out, reply->group);
    write_u32(out, reply->retry_after_s);
    if (reply->version.index != 0)
        version_write(out, reply->version);
    if (position) {
        write_u32(out, reply->position.group);
        version_write(out, reply->position.at);
    }
    if (reply->staleness_known)
        write_u64(out, reply->staleness_ms);
    if (reply->outcome != OUTCOME_NONE)
        write_u8(out, (uint8_t)reply->outcome);
    if (reply->explain.size > 0)
        write_bytes32(out, reply->explain);
    write_bytes32(out, reply->value);
    write_bytes16(out, cut(reply->message));
    write_bytes16(out, cut(reply->fix));
}

/* Either none (all zero), or characters that may stand in a header. */
static bool reply_node_valid(const uint8_t node[NODE_ID_SIZE]) {
    static const uint8_t none[NODE_ID_SIZE];
    if (memcmp(node, none, NODE_ID_SIZE) == 0)
        return true;
    return node_id_valid((struct bytes){node, NODE_ID_SIZE});
}

bool reply_decode(struct bytes payload, uint64_t *id, struct reply *out) {
    struct reader r = reader_of(payload);
    *out = (struct reply){0};
    *id = read_u64(&r);
    out->error = read_u8(&r);
    unsigned flags = read_u8(&r);
    out->acks = read_u8(&r);
    out->voters = read_u8(&r);
    struct bytes node = read_bytes(&r, NODE_ID_SIZE);
    if (node.size == NODE_ID_SIZE)
        memcpy(out->node, node.data, NODE_ID_SIZE);
    out->group = read_u32(&r);
    out->retry_after_s = read_u32(&r);
    if (flags & REPLY_VERSION)
        out->version = version_read(&r);
    if (flags & REPLY_POSITION) {
        out->position.group = read_u32(&r);
        out->position.at = version_read(&r);
    }
    out->staleness_known = (flags & REPLY_STALENESS) != 0;
    if (out->staleness_known)
        out->staleness_ms = read_u64(&r);
    out->follower = (flags & REPLY_FOLLOWER) != 0;
    out->degraded = (flags & REPLY_DEGRADED) != 0;
    if (flags & REPLY_OUTCOME)
        out->outcome = read_u8(&r);
    if (flags & REPLY_EXPLAIN)
        out->explain = read_bytes32(&r);
    out->value = read_bytes32(&r);
    out->message = read_bytes16(&r);
    out->fix = read_bytes16(&r);
    return reader_done(&r) && error_row(out->error) != NULL && out->error != ERROR_NOT_MODIFIED &&
           flags <= REPLY_FLAGS && out->outcome < OUTCOME_COUNT && out->value.size <= VALUE_SIZE_MAX &&
           reply_node_valid(out->node);
}
