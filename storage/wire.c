#include "storage/wire.h"

#include <assert.h>
#include <endian.h>

#define WRITE(name, type, swap)                                                                              \
    void name(struct buffer *b, type value) {                                                                \
        value = swap(value);                                                                                 \
        memcpy(buffer_reserve(b, sizeof value), &value, sizeof value);                                       \
        buffer_grow(b, sizeof value);                                                                        \
    }
#define SAME(value) (value)
WRITE(write_u8, uint8_t, SAME)
WRITE(write_u16, uint16_t, htole16)
WRITE(write_u32, uint32_t, htole32)
WRITE(write_u64, uint64_t, htole64)

void write_bytes8(struct buffer *b, struct bytes value) {
    assert(value.size <= UINT8_MAX);
    write_u8(b, (uint8_t)value.size);
    buffer_append(b, value);
}

void write_bytes16(struct buffer *b, struct bytes value) {
    assert(value.size <= UINT16_MAX);
    write_u16(b, (uint16_t)value.size);
    buffer_append(b, value);
}

void write_bytes32(struct buffer *b, struct bytes value) {
    assert(value.size <= UINT32_MAX);
    write_u32(b, (uint32_t)value.size);
    buffer_append(b, value);
}

void put_u32(uint8_t *at, uint32_t value) {
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

void put_u64(uint8_t *at, uint64_t value) {
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

uint32_t get_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

uint64_t get_u64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

struct bytes read_bytes(struct reader *r, size_t size) {
    if (r->failed || (size_t)(r->end - r->at) < size) {
        r->failed = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes value = {r->at, size};
    r->at += size;
    return value;
}

uint8_t read_u8(struct reader *r) {
    struct bytes b = read_bytes(r, 1);
    return b.size == 1 ? b.data[0] : 0;
}

uint16_t read_u16(struct reader *r) {
    struct bytes b = read_bytes(r, 2);
    return b.size == 2 ? (uint16_t)(b.data[0] | b.data[1] << 8) : 0;
}

uint32_t read_u32(struct reader *r) {
    struct bytes b = read_bytes(r, 4);
    return b.size == 4 ? get_u32(b.data) : 0;
}

uint64_t read_u64(struct reader *r) {
    struct bytes b = read_bytes(r, 8);
    return b.size == 8 ? get_u64(b.data) : 0;
}

struct bytes read_bytes8(struct reader *r) {
    return read_bytes(r, read_u8(r));
}

struct bytes read_bytes16(struct reader *r) {
    return read_bytes(r, read_u16(r));
}

struct bytes read_bytes32(struct reader *r) {
    return read_bytes(r, read_u32(r));
}
