#include "storage/log_internal.h"

#include "storage/crc32c.h"
#include "storage/wire.h"

#include <assert.h>

#define MARK            0x31766b00u /* `k` `v` `1` above the kind */
#define BATCH_BODY      (BATCH_SIZE - RECORD_HEADER_SIZE)
#define TRUNCATION_BODY (TRUNCATION_SIZE - RECORD_HEADER_SIZE)

static uint32_t head_crc(const uint8_t *at, uint32_t seed, uint32_t offset) {
    uint8_t covered[16];
    put_u32(covered, offset);
    memcpy(covered + 4, at + 4, 12);
    return crc32c(seed, (struct bytes){covered, sizeof covered});
}

void record_seal(uint8_t *at, enum record_kind kind, uint32_t body_size, uint32_t seed, uint32_t offset) {
    uint8_t *body = at + RECORD_HEADER_SIZE;
    uint32_t padding = record_size(body_size) - RECORD_HEADER_SIZE - body_size;
    memset(body + body_size, 0, padding);
    put_u32(at + 4, crc32c(0, (struct bytes){body, body_size}));
    put_u32(at + 8, body_size);
    put_u32(at + 12, MARK | kind);
    put_u32(at, head_crc(at, seed, offset));
}

static bool size_fits(uint32_t kind, uint32_t size) {
    switch (kind) {
    case RECORD_ENTRY:
        return size >= ENTRY_PREFIX_SIZE && size <= ENTRY_PREFIX_SIZE + ENTRY_SIZE_MAX;
    case RECORD_BATCH:
        return size == BATCH_BODY;
    case RECORD_TRUNCATION:
        return size == TRUNCATION_BODY;
    default:
        return false;
    }
}

static bool all_zero(const uint8_t *at, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (at[i] != 0)
            return false;
    return true;
}

enum raw_result record_read(struct bytes from, struct raw_record *out) {
    if (from.size < RECORD_HEADER_SIZE)
        return RAW_END;
    uint32_t mark = get_u32(from.data + 12), kind = mark & 0xff, size = get_u32(from.data + 8);
    if ((mark & ~0xffu) != MARK || !size_fits(kind, size))
        return all_zero(from.data, RECORD_HEADER_SIZE) ? RAW_END : RAW_BAD;
    if (record_size(size) > from.size)
        return RAW_MORE;
    out->kind = (enum record_kind)kind;
    out->body = (struct bytes){from.data + RECORD_HEADER_SIZE, size};
    out->size = record_size(size);
    return crc32c(0, out->body) == get_u32(from.data + 4) ? RAW_OK : RAW_BAD;
}

bool record_belongs(const uint8_t *at, uint32_t seed, uint32_t offset) {
    return head_crc(at, seed, offset) == get_u32(at);
}

uint32_t record_search(const uint8_t *image, uint32_t offset, uint32_t capacity, uint32_t seed,
                       struct raw_record *out) {
    for (; capacity - offset >= RECORD_HEADER_SIZE; offset += 8) {
        const uint8_t *at = image + offset;
        if ((get_u32(at + 12) & ~0xffu) == MARK && record_belongs(at, seed, offset) &&
            record_read((struct bytes){at, capacity - offset}, out) == RAW_OK)
            return offset;
    }
    return capacity;
}

bool record_entry(const struct raw_record *raw, struct log_record *out) {
    assert(raw->kind == RECORD_ENTRY);
    assert(raw->body.size >= ENTRY_PREFIX_SIZE);
    const uint8_t *body = raw->body.data;
    if (body[16] < ENTRY_NOOP || body[16] > ENTRY_RING)
        return false;
    out->term = get_u64(body);
    out->index = get_u64(body + 8);
    out->type = (enum entry_type)body[16];
    out->payload = (struct bytes){body + ENTRY_PREFIX_SIZE, raw->body.size - ENTRY_PREFIX_SIZE};
    return true;
}

void record_put_batch(uint8_t *at, struct log_place durable, uint64_t commit, uint32_t seed,
                      uint32_t offset) {
    put_u64(at + RECORD_HEADER_SIZE, durable.segment);
    put_u64(at + RECORD_HEADER_SIZE + 8, durable.offset);
    put_u64(at + RECORD_HEADER_SIZE + 16, commit);
    record_seal(at, RECORD_BATCH, BATCH_BODY, seed, offset);
}

void record_put_truncation(uint8_t *at, uint64_t index, uint64_t term_before, uint32_t seed,
                           uint32_t offset) {
    put_u64(at + RECORD_HEADER_SIZE, index);
    put_u64(at + RECORD_HEADER_SIZE + 8, term_before);
    record_seal(at, RECORD_TRUNCATION, TRUNCATION_BODY, seed, offset);
}

struct log_place record_batch_durable(const struct raw_record *raw, uint64_t *commit) {
    assert(raw->kind == RECORD_BATCH);
    *commit = get_u64(raw->body.data + 16);
    return (struct log_place){get_u64(raw->body.data), (uint32_t)get_u64(raw->body.data + 8)};
}

uint64_t record_truncation(const struct raw_record *raw, uint64_t *term_before) {
    assert(raw->kind == RECORD_TRUNCATION);
    *term_before = get_u64(raw->body.data + 8);
    return get_u64(raw->body.data);
}

bool log_slice_next(struct bytes *slice, struct log_record *out) {
    while (slice->size > 0) {
        struct raw_record raw;
        if (record_read(*slice, &raw) != RAW_OK || raw.kind == RECORD_TRUNCATION)
            return false;
        if (raw.kind == RECORD_ENTRY && !record_entry(&raw, out))
            return false;
        *slice = (struct bytes){slice->data + raw.size, slice->size - raw.size};
        if (raw.kind == RECORD_ENTRY)
            return true;
    }
    return false;
}
