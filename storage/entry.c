#include "storage/entry.h"

#include "storage/wire.h"

#include <assert.h>

enum {
    HAS_CONDITION = 1,
    HAS_REQUEST = 2,
    HAS_CLUSTER_MS = 4,
    HAS_EXPIRY = 8,
    HAS_CLOCK = 16,
    HAS_ALL = 31,
};

static unsigned flags_of(const struct entry *e) {
    return (e->condition != CONDITION_NONE ? HAS_CONDITION : 0) | (e->client.size > 0 ? HAS_REQUEST : 0) |
           (e->cluster_ms != 0 ? HAS_CLUSTER_MS : 0) | (e->expiry_ms != 0 ? HAS_EXPIRY : 0) |
           (e->clock.size > 0 ? HAS_CLOCK : 0);
}

size_t entry_size(const struct entry *e) {
    unsigned flags = flags_of(e);
    size_t size = 1 + 2 + e->key.size + e->value.size;
    if (flags & HAS_CONDITION)
        size += e->condition == CONDITION_MATCH ? 17 : 1;
    if (flags & HAS_REQUEST)
        size += 2 + e->client.size + e->request.size;
    if (flags & HAS_CLUSTER_MS)
        size += 8;
    if (flags & HAS_EXPIRY)
        size += 8;
    if (flags & HAS_CLOCK)
        size += 2 + e->clock.size;
    return size;
}

void entry_encode(struct buffer *out, const struct entry *e) {
    assert(e->key.size >= 1 && e->key.size <= KEY_SIZE_MAX);
    assert(e->value.size <= VALUE_SIZE_MAX);
    assert(e->client.size <= CLIENT_SIZE_MAX && e->request.size <= CLIENT_SIZE_MAX);
    assert((e->client.size > 0) == (e->request.size > 0));
    assert(e->clock.size <= CLOCK_SIZE_MAX);
    unsigned flags = flags_of(e);
    buffer_reserve(out, entry_size(e));
    write_u8(out, (uint8_t)flags);
    write_u16(out, (uint16_t)e->key.size);
    if (flags & HAS_CONDITION)
        write_u8(out, (uint8_t)e->condition);
    if (e->condition == CONDITION_MATCH) {
        write_u64(out, e->match.term);
        write_u64(out, e->match.index);
    }
    if (flags & HAS_REQUEST) {
        write_bytes8(out, e->client);
        write_bytes8(out, e->request);
    }
    if (flags & HAS_CLUSTER_MS)
        write_u64(out, e->cluster_ms);
    if (flags & HAS_EXPIRY)
        write_u64(out, e->expiry_ms);
    if (flags & HAS_CLOCK)
        write_bytes16(out, e->clock);
    buffer_append(out, e->key);
    buffer_append(out, e->value);
}

static bool condition_read(struct reader *r, struct entry *out) {
    uint8_t condition = read_u8(r);
    if (condition < CONDITION_MATCH || condition > CONDITION_EXISTS)
        return false;
    out->condition = (enum condition)condition;
    if (condition == CONDITION_MATCH) {
        out->match.term = read_u64(r);
        out->match.index = read_u64(r);
    }
    return true;
}

static bool request_read(struct reader *r, struct entry *out) {
    out->client = read_bytes8(r);
    out->request = read_bytes8(r);
    return out->client.size <= CLIENT_SIZE_MAX && out->request.size <= CLIENT_SIZE_MAX &&
           out->client.size > 0 && out->request.size > 0;
}

bool entry_decode(struct bytes payload, struct entry *out) {
    *out = (struct entry){0};
    struct reader r = reader_of(payload);
    unsigned flags = read_u8(&r);
    uint16_t key_size = read_u16(&r);
    if (flags & ~(unsigned)HAS_ALL || key_size < 1 || key_size > KEY_SIZE_MAX)
        return false;
    if (flags & HAS_CONDITION && !condition_read(&r, out))
        return false;
    if (flags & HAS_REQUEST && !request_read(&r, out))
        return false;
    if (flags & HAS_CLUSTER_MS && (out->cluster_ms = read_u64(&r)) == 0)
        return false;
    if (flags & HAS_EXPIRY && (out->expiry_ms = read_u64(&r)) == 0)
        return false;
    if (flags & HAS_CLOCK) {
        out->clock = read_bytes16(&r);
        if (out->clock.size < 1 || out->clock.size > CLOCK_SIZE_MAX)
            return false;
    }
    out->key = read_bytes(&r, key_size);
    out->value = read_rest(&r);
    return reader_ok(&r) && out->value.size <= VALUE_SIZE_MAX;
}
