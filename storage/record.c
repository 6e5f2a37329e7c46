#include "storage/record.h"

#include <assert.h>

#define INDEX_NARROW_MAX ((UINT64_C(1) << 40) - 1)
#define TERM_NARROW_MAX  UINT16_MAX

/* A little-endian number of size bytes, at most 8. Sizes are constants where these are called, so that each
 * is a load or a store or two. */
static inline uint64_t take(const uint8_t **at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, *at, size);
    *at += size;
    return le64toh(value);
}

static inline void give(uint8_t **at, uint64_t value, size_t size) {
    value = htole64(value);
    memcpy(*at, &value, size);
    *at += size;
}

static inline uint64_t take_value_size(const uint8_t **at, uint8_t flags) {
    if (flags & RECORD_VALUE_4)
        return take(at, 4);
    return flags & RECORD_VALUE_2 ? take(at, 2) : take(at, 1);
}

static inline void give_header(uint8_t **at, uint8_t flags, uint8_t extension,
                               const struct store_record *content) {
    if (flags & RECORD_KEY_WIDE)
        give(at, content->key.size, 2);
    else
        give(at, content->key.size, 1);
    if (flags & RECORD_VALUE_4)
        give(at, content->value.size, 4);
    else if (flags & RECORD_VALUE_2)
        give(at, content->value.size, 2);
    else
        give(at, content->value.size, 1);
    if (flags & RECORD_INDEX_WIDE)
        give(at, content->version.index, 8);
    else
        give(at, content->version.index, 5);
    if (flags & RECORD_TERM_WIDE)
        give(at, content->version.term, 8);
    else
        give(at, content->version.term, 2);
    if (flags & RECORD_EXPIRY)
        give(at, content->expiry_ms, 8);
    if (flags & RECORD_CLOCK)
        give(at, content->clock.size, 2);
    if (flags & RECORD_EXTENDED)
        give(at, extension, 1);
    if (extension & RECORD_ORDER_WIDE)
        give(at, content->moved, 8);
    else if (extension & RECORD_MOVED)
        give(at, content->moved, 5);
}

static void take_extension(const uint8_t **at, struct store_record *out) {
    uint8_t extension = (uint8_t)take(at, 1);
    out->object = extension & RECORD_OBJECT;
    if (extension & RECORD_ORDER_WIDE)
        out->moved = take(at, 8);
    else if (extension & RECORD_MOVED)
        out->moved = take(at, 5);
}

void record_view_wide(const struct record *record, struct store_record *out) {
    uint8_t flags = record->flags;
    const uint8_t *at = record->rest;
    out->key.size = flags & RECORD_KEY_WIDE ? take(&at, 2) : take(&at, 1);
    out->value.size = take_value_size(&at, flags);
    out->version.index = flags & RECORD_INDEX_WIDE ? take(&at, 8) : take(&at, 5);
    out->version.term = flags & RECORD_TERM_WIDE ? take(&at, 8) : take(&at, 2);
    out->expiry_ms = flags & RECORD_EXPIRY ? take(&at, 8) : 0;
    out->clock.size = flags & RECORD_CLOCK ? take(&at, 2) : 0;
    out->moved = 0;
    out->object = false;
    if (flags & RECORD_EXTENDED)
        take_extension(&at, out);
    out->key.data = at;
    out->value.data = out->key.data + out->key.size;
    out->clock.data = out->value.data + out->value.size;
}

static size_t bodies_size(const struct store_record *content) {
    return content->key.size + content->value.size + content->clock.size;
}

static uint8_t extension_for(const struct store_record *content) {
    unsigned extension = content->object ? RECORD_OBJECT : 0;
    if (content->moved != 0)
        extension |= RECORD_MOVED | (content->moved > INDEX_NARROW_MAX ? RECORD_ORDER_WIDE : 0);
    return (uint8_t)extension;
}

static uint8_t flags_for(const struct store_record *content) {
    unsigned flags = 0;
    flags |= content->key.size > UINT8_MAX ? RECORD_KEY_WIDE : 0;
    flags |= content->value.size > UINT16_MAX  ? RECORD_VALUE_4
             : content->value.size > UINT8_MAX ? RECORD_VALUE_2
                                               : 0;
    flags |= content->version.index > INDEX_NARROW_MAX ? RECORD_INDEX_WIDE : 0;
    flags |= content->version.term > TERM_NARROW_MAX ? RECORD_TERM_WIDE : 0;
    flags |= content->expiry_ms != 0 ? RECORD_EXPIRY : 0;
    flags |= content->clock.size != 0 ? RECORD_CLOCK : 0;
    flags |= extension_for(content) != 0 ? RECORD_EXTENDED : 0;
    return (uint8_t)flags;
}

static void give_bytes(uint8_t **at, struct bytes content) {
    if (content.size > 0)
        memcpy(*at, content.data, content.size);
    *at += content.size;
}

struct record *record_new(struct slab *slab, const struct store_record *content) {
    assert(content->key.size >= 1 && content->key.size <= KEY_SIZE_MAX);
    assert(content->value.size <= VALUE_SIZE_MAX);
    assert(content->clock.size <= CLOCK_SIZE_MAX);
    uint8_t flags = flags_for(content), extension = extension_for(content);
    size_t size = record_plain_size(flags) + (extension != 0 ? record_extension_size(extension) : 0) +
                  bodies_size(content);
    struct record *record = slab_alloc(slab, size);
    record->flags = flags;
    uint8_t *at = record->rest;
    give_header(&at, flags, extension, content);
    give_bytes(&at, content->key);
    give_bytes(&at, content->value);
    give_bytes(&at, content->clock);
    assert(at == (uint8_t *)record + size);
    return record;
}

struct record *record_copy(struct slab *slab, struct bytes encoded) {
    struct record *record = slab_alloc(slab, encoded.size);
    memcpy(record, encoded.data, encoded.size);
    return record;
}

void record_free(struct slab *slab, struct record *record) {
    slab_free(slab, record, record_size(record));
}

/* The header at the start of foreign bytes is there as a whole. */
static bool header_fits(struct bytes foreign) {
    size_t plain = record_plain_size(foreign.data[0]);
    if (!(foreign.data[0] & RECORD_EXTENDED))
        return plain <= foreign.size;
    return plain < foreign.size && plain + record_extension_size(foreign.data[plain]) <= foreign.size;
}

size_t record_check(struct bytes foreign) {
    if (foreign.size == 0 || !header_fits(foreign))
        return 0;
    const struct record *record = (const struct record *)foreign.data;
    struct store_record view;
    record_view(record, &view);
    if (record->flags == 0) {
        size_t size = record_size(record);
        return view.key.size > 0 && view.version.index > 0 && size <= foreign.size ? size : 0;
    }
    if (view.key.size < 1 || view.key.size > KEY_SIZE_MAX || view.value.size > VALUE_SIZE_MAX ||
        view.clock.size > CLOCK_SIZE_MAX || view.version.index == 0)
        return 0;
    /* A wide field that need not be, one that is there without content, an unknown flag. */
    if (flags_for(&view) != record->flags)
        return 0;
    if (record->flags & RECORD_EXTENDED &&
        extension_for(&view) != foreign.data[record_plain_size(record->flags)])
        return 0;
    size_t size = record_header_size(record) + bodies_size(&view);
    return size <= foreign.size ? size : 0;
}
