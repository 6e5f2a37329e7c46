/* A live key as memory and snapshots hold it: one piece of bytes, no pointers, as small as its content
 * allows.
 *
 *     flags       1   which of the fields below are wide or there
 *     key size    1   2 when over 255
 *     value size  1   2 when over 255, 4 when over 65,535
 *     index       5   8 when it does not fit; of the version
 *     term        2   8 when it does not fit; of the version
 *     expiry      0   8 when set
 *     clock size  0   2 when set
 *     extension   0   1 when one of its own flags is set
 *     order       0   5 when moved, 8 when it does not fit; store_record_order
 *     key, value, clock
 *
 * Numbers are little-endian. A record has exactly one encoding: a field is there, and is wide, only when it
 * has to be. With a 16-byte key and a 32-byte value the header is 10 bytes, and the whole fits a cell of 64.
 */
#ifndef STORAGE_RECORD_H
#define STORAGE_RECORD_H

#include <endian.h>

#include "storage/slab.h"
#include "storage/store.h"

enum record_flag {
    RECORD_KEY_WIDE = 1,
    RECORD_VALUE_2 = 2,
    RECORD_VALUE_4 = 4,
    RECORD_INDEX_WIDE = 8,
    RECORD_TERM_WIDE = 16,
    RECORD_EXPIRY = 32,
    RECORD_CLOCK = 64,
    RECORD_EXTENDED = 128,
};

enum record_extension {
    RECORD_MOVED = 1, /* an order follows */
    RECORD_OBJECT = 2,
    RECORD_ORDER_WIDE = 4,
};

/* Upper bound of a record's bytes within the limits of entry.h. */
#define RECORD_SIZE_MAX (42 + KEY_SIZE_MAX + VALUE_SIZE_MAX + CLOCK_SIZE_MAX)

struct record {
    uint8_t flags;
    uint8_t rest[];
};

/* Of a record whose fields all are narrow and plain, its flags 0. Most are like that: they have a short way
 * of their own through what follows. */
#define RECORD_HEADER_MIN 10

/* Bytes before the extension, or before the key where there is none. */
static inline size_t record_plain_size(uint8_t flags) {
    size_t value = flags & RECORD_VALUE_4 ? 4 : flags & RECORD_VALUE_2 ? 2 : 1;
    return 9 + (flags & RECORD_KEY_WIDE) + value + (flags & RECORD_INDEX_WIDE ? 3 : 0) +
           (flags & RECORD_TERM_WIDE ? 6 : 0) + (flags & RECORD_EXPIRY ? 8 : 0) +
           (flags & RECORD_CLOCK ? 2 : 0);
}

/* Bytes of the extension and the order. */
static inline size_t record_extension_size(uint8_t extension) {
    return 1 + (extension & RECORD_ORDER_WIDE ? 8 : extension & RECORD_MOVED ? 5 : 0);
}

static inline size_t record_header_size(const struct record *record) {
    if (record->flags == 0)
        return RECORD_HEADER_MIN;
    size_t size = record_plain_size(record->flags);
    if (record->flags & RECORD_EXTENDED)
        size += record_extension_size(record->rest[size - 1]);
    return size;
}

static inline struct bytes record_key(const struct record *record) {
    size_t size = record->rest[0];
    if (record->flags == 0)
        return (struct bytes){(const uint8_t *)record + RECORD_HEADER_MIN, size};
    if (record->flags & RECORD_KEY_WIDE)
        size |= (size_t)record->rest[1] << 8;
    return (struct bytes){(const uint8_t *)record + record_header_size(record), size};
}

/* Value size, index and term of such a one. */
static inline uint64_t record_narrow(const struct record *record) {
    uint64_t word;
    memcpy(&word, record->rest + 1, sizeof word);
    return le64toh(word);
}

/* All fields; they borrow from the record. */
void record_view_wide(const struct record *record, struct store_record *out);
static inline void record_view(const struct record *record, struct store_record *out) {
    if (record->flags != 0) {
        record_view_wide(record, out);
        return;
    }
    uint64_t narrow = record_narrow(record);
    const uint8_t *key = (const uint8_t *)record + RECORD_HEADER_MIN;
    *out = (struct store_record){.key = {key, record->rest[0]},
                                 .value = {key + record->rest[0], narrow & 0xff},
                                 .version = {.index = narrow >> 8 & 0xffffffffff, .term = narrow >> 48}};
    out->clock.data = out->value.data + out->value.size;
}

static inline struct version record_version(const struct record *record) {
    struct store_record view;
    record_view(record, &view);
    return view.version;
}

static inline uint64_t record_order(const struct record *record) {
    struct store_record view;
    record_view(record, &view);
    return store_record_order(&view);
}

static inline size_t record_size(const struct record *record) {
    struct store_record view;
    record_view(record, &view);
    return record_header_size(record) + view.key.size + view.value.size + view.clock.size;
}

struct record *record_new(struct slab *slab, const struct store_record *content);
/* A copy of bytes that record_check accepted. */
struct record *record_copy(struct slab *slab, struct bytes encoded);
void record_free(struct slab *slab, struct record *record);

/* Foreign bytes: the size of the record at their start, or 0 where there is no well-formed one. */
size_t record_check(struct bytes foreign);

#endif
