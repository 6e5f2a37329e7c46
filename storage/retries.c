#include "storage/retries.h"

#include "storage/digest.h"
#include "storage/wire.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define CAPACITY_FIRST 64 /* a power of two, as every capacity */

struct retries_row {
    RB_ENTRY(retries_row) node;
    uint64_t fingerprint;
    struct version at, current;
    uint64_t moved;
    uint64_t digest; /* the table's, before this row */
    uint32_t origin;
    uint16_t slot;
    uint8_t outcome, client_size, request_size;
    uint8_t names[]; /* client, request */
};

/* FORMAT.md, "Answered pairs". The digest is of the bytes before "moved". */
#define ROW_FIXED_SIZE (5 * 8 + 1 + 2 + 2)
#define ROW_SIZE_MAX   (ROW_FIXED_SIZE + 2 * CLIENT_SIZE_MAX + 1 + 4 + 8)

static struct bytes row_client(const struct retries_row *row) {
    return (struct bytes){row->names, row->client_size};
}

static struct bytes row_request(const struct retries_row *row) {
    return (struct bytes){row->names + row->client_size, row->request_size};
}

uint64_t retries_row_order(const struct retries_row *row) {
    return row->moved != 0 ? row->moved : row->at.index;
}

static uint8_t *put_name(uint8_t *to, struct bytes name) {
    *to = (uint8_t)name.size;
    memcpy(to + 1, name.data, name.size);
    return to + 1 + name.size;
}

/* Returns the end of what the digest is of. */
static uint8_t *row_put(const struct retries_row *row, uint8_t *to) {
    put_u64(to, row->at.index);
    put_u64(to + 8, row->at.term);
    put_u64(to + 16, row->fingerprint);
    to[24] = row->outcome;
    put_u64(to + 25, row->current.index);
    put_u64(to + 33, row->current.term);
    to[41] = (uint8_t)row->slot;
    to[42] = (uint8_t)(row->slot >> 8);
    return put_name(put_name(to + 43, row_client(row)), row_request(row));
}

static uint64_t row_hash(const struct retries_row *row) {
    uint8_t bytes[ROW_SIZE_MAX];
    size_t size = (size_t)(row_put(row, bytes) - bytes);
    return digest_bytes(DIGEST_SEED_ANSWERED, (struct bytes){bytes, size});
}

static int compare(struct bytes a_client, struct bytes a_request, const struct retries_row *b) {
    int order = bytes_compare(a_client, row_client(b));
    return order != 0 ? order : bytes_compare(a_request, row_request(b));
}

static int row_compare(const struct retries_row *a, const struct retries_row *b) {
    return compare(row_client(a), row_request(a), b);
}

RB_GENERATE_INTERNAL(retries_tree, retries_row, node, row_compare, static __attribute__((unused)))

/* The rows that count are those in the tree: what goes in and out of it changes the digest. */
static void count_row(struct retries *r, struct retries_row *row) {
    struct retries_row *known = RB_INSERT(retries_tree, &r->tree, row);
    assert(known == NULL);
    r->digest += row_hash(row);
}

static void uncount_row(struct retries *r, struct retries_row *row) {
    RB_REMOVE(retries_tree, &r->tree, row);
    r->digest -= row_hash(row);
}

static size_t size_of(size_t client_size, size_t request_size) {
    return sizeof(struct retries_row) + client_size + request_size;
}

static void row_free(struct retries *r, struct retries_row *row) {
    slab_free(r->slab, row, size_of(row->client_size, row->request_size));
}

void retries_init(struct retries *r, struct slab *slab) {
    *r = (struct retries){.slab = slab, .rows_max = RETRIES_MAX};
    RB_INIT(&r->tree);
}

static struct retries_row **slot(const struct retries *r, size_t position) {
    return &r->rows[(r->first + position) & (r->capacity - 1)];
}

static uint64_t order_at(const struct retries *r, size_t position) {
    return retries_row_order(*slot(r, position));
}

void retries_clear(struct retries *r) {
    assert(r->dropping == NULL);
    size_t rows_max = r->rows_max;
    for (size_t i = 0; i < r->count; i++)
        row_free(r, *slot(r, i));
    free(r->rows);
    retries_init(r, r->slab);
    r->rows_max = rows_max;
}

/* FORMAT.md, "Answered pairs": part of snapshots, so it never changes. */
static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

static uint64_t mix_bytes(uint64_t hash, struct bytes bytes) {
    uint8_t last[8] = {0};
    size_t whole = bytes.size / 8 * 8;
    for (size_t i = 0; i < whole; i += 8)
        hash = mix(hash, get_u64(bytes.data + i));
    if (whole < bytes.size)
        memcpy(last, bytes.data + whole, bytes.size - whole);
    return mix(mix(hash, get_u64(last)), bytes.size);
}

uint64_t retries_fingerprint(enum entry_type type, const struct entry *entry) {
    uint64_t hash = mix(0, (uint64_t)type | (uint64_t)entry->condition << 8);
    hash = mix(mix(hash, entry->match.term), entry->match.index);
    return mix_bytes(mix_bytes(hash, entry->key), entry->value);
}

bool retries_find(const struct retries *r, struct bytes client, struct bytes request,
                  struct store_answer *out) {
    const struct retries_row *row = RB_ROOT(&r->tree);
    for (int order; row != NULL; row = order < 0 ? RB_LEFT(row, node) : RB_RIGHT(row, node)) {
        order = compare(client, request, row);
        if (order != 0)
            continue;
        *out = (struct store_answer){
            .client = row_client(row),
            .request = row_request(row),
            .fingerprint = row->fingerprint,
            .outcome = row->outcome,
            .at = row->at,
            .current = row->current,
            .slot = row->slot,
            .moved = row->moved,
            .origin = row->origin,
        };
        return true;
    }
    return false;
}

static void ring_grow(struct retries *r) {
    size_t capacity = r->capacity == 0 ? CAPACITY_FIRST : 2 * r->capacity;
    struct retries_row **rows = calloc(capacity, sizeof(struct retries_row *));
    if (rows == NULL)
        err(1, "out of memory for %zu answered requests", capacity);
    for (size_t i = 0; i < r->count; i++)
        rows[i] = *slot(r, i);
    free(r->rows);
    r->rows = rows;
    r->capacity = capacity;
    r->first = 0;
}

static void drop_oldest(struct retries *r) {
    assert(r->count > r->rows_max);
    struct retries_row *row = *slot(r, 0);
    if (r->dropping != NULL)
        r->dropping(r->dropping_arg, row);
    row_free(r, row);
    r->first = (r->first + 1) & (r->capacity - 1);
    r->count--;
    r->dropped = true;
}

static struct retries_row *row_new(struct retries *r, const struct store_answer *answer) {
    assert(answer->client.size >= 1 && answer->client.size <= CLIENT_SIZE_MAX);
    assert(answer->request.size >= 1 && answer->request.size <= CLIENT_SIZE_MAX);
    struct retries_row *row = slab_alloc(r->slab, size_of(answer->client.size, answer->request.size));
    *row = (struct retries_row){
        .fingerprint = answer->fingerprint,
        .at = answer->at,
        .current = answer->current,
        .moved = answer->moved,
        .digest = r->digest,
        .origin = answer->origin,
        .slot = answer->slot,
        .outcome = (uint8_t)answer->outcome,
        .client_size = (uint8_t)answer->client.size,
        .request_size = (uint8_t)answer->request.size,
    };
    memcpy(row->names, answer->client.data, answer->client.size);
    memcpy(row->names + answer->client.size, answer->request.data, answer->request.size);
    return row;
}

void retries_add(struct retries *r, const struct store_answer *answer) {
    if (r->count == r->capacity)
        ring_grow(r);
    struct retries_row *row = row_new(r, answer);
    assert(r->count == 0 || order_at(r, r->count - 1) < retries_row_order(row));
    count_row(r, row);
    *slot(r, r->count++) = row;
    if (r->count > r->rows_max)
        uncount_row(r, *slot(r, r->count - r->rows_max - 1));
    if (r->count > 2 * r->rows_max)
        drop_oldest(r);
}

uint64_t retries_floor(const struct retries *r) {
    return r->dropped ? order_at(r, r->rows_max - 1) : 0;
}

void retries_undo(struct retries *r, uint64_t index) {
    assert(index >= retries_floor(r));
    while (r->count > 0 && order_at(r, r->count - 1) > index) {
        struct retries_row *row = *slot(r, --r->count);
        uncount_row(r, row);
        row_free(r, row);
        if (r->count >= r->rows_max)
            count_row(r, *slot(r, r->count - r->rows_max));
    }
}

void retries_forget(struct retries *r, uint64_t index) {
    while (r->count > r->rows_max && order_at(r, r->rows_max) <= index)
        drop_oldest(r);
}

size_t retries_until(const struct retries *r, uint64_t index) {
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order_at(r, middle) <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void retries_range(const struct retries *r, uint64_t index, size_t *from, size_t *to) {
    assert(index >= retries_floor(r));
    *to = retries_until(r, index);
    *from = *to > r->rows_max ? *to - r->rows_max : 0;
}

const struct retries_row *retries_at(const struct retries *r, size_t position) {
    assert(position < r->count);
    return *slot(r, position);
}

uint64_t retries_digest_at(const struct retries *r, uint64_t index) {
    assert(index >= retries_floor(r));
    size_t position = retries_until(r, index);
    return position == r->count ? r->digest : (*slot(r, position))->digest;
}

bool retries_digest_holds(const struct retries *r) {
    uint64_t digest = 0;
    for (size_t i = r->count > r->rows_max ? r->count - r->rows_max : 0; i < r->count; i++)
        digest += row_hash(*slot(r, i));
    return digest == r->digest;
}

void retries_row_encode(struct buffer *out, const struct retries_row *row) {
    uint8_t *from = buffer_reserve(out, ROW_SIZE_MAX), *to = row_put(row, from);
    *to++ = row->moved != 0;
    if (row->moved != 0) {
        put_u32(to, row->origin);
        put_u64(to + 4, row->moved);
        to += 12;
    }
    buffer_grow(out, (size_t)(to - from));
}

static bool name_valid(struct bytes name) {
    return name.size >= 1 && name.size <= CLIENT_SIZE_MAX;
}

size_t retries_decode(struct bytes foreign, struct store_answer *out) {
    struct reader reader = reader_of(foreign);
    *out = (struct store_answer){.at.index = read_u64(&reader)};
    out->at.term = read_u64(&reader);
    out->fingerprint = read_u64(&reader);
    uint8_t outcome = read_u8(&reader);
    out->current.index = read_u64(&reader);
    out->current.term = read_u64(&reader);
    out->slot = read_u16(&reader);
    out->client = read_bytes8(&reader);
    out->request = read_bytes8(&reader);
    uint8_t moved = read_u8(&reader);
    if (moved == 1) {
        out->origin = read_u32(&reader);
        out->moved = read_u64(&reader);
    }
    if (!reader_ok(&reader) || out->at.index == 0 || outcome > STORE_CONDITION_FAILED ||
        out->slot >= SLOT_COUNT || moved > 1 || (moved == 1) != (out->moved != 0))
        return 0;
    out->outcome = (enum store_outcome)outcome;
    return name_valid(out->client) && name_valid(out->request) ? foreign.size - reader_left(&reader) : 0;
}
