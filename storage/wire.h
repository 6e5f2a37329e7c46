/* Little-endian fields, the one encoding of everything kvnode stores or sends.
 *
 * Writing appends to a buffer and cannot fail. Reading uses a cursor with a sticky error: read every field,
 * then ask once with reader_ok; a field read after the end is zero or empty. Foreign bytes never trip an
 * assertion. */
#ifndef STORAGE_WIRE_H
#define STORAGE_WIRE_H

#include "storage/buffer.h"

void write_u8(struct buffer *b, uint8_t value);
void write_u16(struct buffer *b, uint16_t value);
void write_u32(struct buffer *b, uint32_t value);
void write_u64(struct buffer *b, uint64_t value);
/* A u8, u16 or u32 size, then the bytes; the size must fit (asserted). */
void write_bytes8(struct buffer *b, struct bytes value);
void write_bytes16(struct buffer *b, struct bytes value);
void write_bytes32(struct buffer *b, struct bytes value);

/* In place, for headers whose room was reserved before. */
void put_u32(uint8_t *at, uint32_t value);
void put_u64(uint8_t *at, uint64_t value);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);

struct reader {
    const uint8_t *at, *end;
    bool failed;
};

static inline struct reader reader_of(struct bytes b) {
    return (struct reader){b.data, b.size == 0 ? b.data : b.data + b.size, false};
}

uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
/* Borrowed from the bytes being read. */
struct bytes read_bytes(struct reader *r, size_t size);
struct bytes read_bytes8(struct reader *r);
struct bytes read_bytes16(struct reader *r);
struct bytes read_bytes32(struct reader *r);
static inline struct bytes read_rest(struct reader *r) {
    return read_bytes(r, r->failed ? 0 : (size_t)(r->end - r->at));
}

static inline size_t reader_left(const struct reader *r) {
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

/* Every read succeeded. */
static inline bool reader_ok(const struct reader *r) {
    return !r->failed;
}

/* Every read succeeded and nothing is left over. */
static inline bool reader_done(const struct reader *r) {
    return !r->failed && r->at == r->end;
}

#endif
