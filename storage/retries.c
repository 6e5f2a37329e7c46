#include "storage/retries.h"

#include "storage/wire.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define CAPACITY_FIRST 64 /* a power of two, as every capacity */

struct retries_row {
    RB_ENTRY(retries_row) node;
    uint64_t fingerprint;
    struct version at, current;
    uint8_t outcome, client_size, request_size;
    uint8_t names[]; /* client, request */
};

static struct bytes row_client(const struct retries_row *row) {
    return (struct bytes){row->names, row->client_size};
}

static struct bytes row_request(const struct retries_row *row) {
    return (struct bytes){row->names + row->client_size, row->request_size};
}

static int compare(struct bytes a_client, struct bytes a_request, const struct retries_row *b) {
    int order = bytes_compare(a_client, row_client(b));
    return order != 0 ? order : bytes_compare(a_request, row_request(b));
}

static int row_compare(const struct retries_row *a, const struct retries_row *b) {
    return compare(row_client(a), row_request(a), b);
}

RB_GENERATE_INTERNAL(retries_tree, retries_row, node, row_compare, static __attribute__((unused)))

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
        .outcome = (uint8_t)answer->outcome,
        .client_size = (uint8_t)answer->client.size,
        .request_size = (uint8_t)answer->request.size,
    };
    memcpy(row->names, answer->client.data, answer->client.size);
    memcpy(row->names + answer->client.size, answer->request.data, answer->request.size);
    return row;
}

void retries_add(struct retries *r, const struct store_answer *answer) {
    assert(r->count == 0 || (*slot(r, r->count - 1))->at.index < answer->at.index);
    if (r->count == r->capacity)
        ring_grow(r);
    struct retries_row *row = row_new(r, answer), *known = RB_INSERT(retries_tree, &r->tree, row);
    assert(known == NULL);
    *slot(r, r->count++) = row;
    if (r->count > r->rows_max)
        RB_REMOVE(retries_tree, &r->tree, *slot(r, r->count - r->rows_max - 1));
    if (r->count > 2 * r->rows_max)
        drop_oldest(r);
}

uint64_t retries_floor(const struct retries *r) {
    return r->dropped ? (*slot(r, r->rows_max - 1))->at.index : 0;
}

void retries_undo(struct retries *r, uint64_t index) {
    assert(index >= retries_floor(r));
    while (r->count > 0 && (*slot(r, r->count - 1))->at.index > index) {
        struct retries_row *row = *slot(r, --r->count);
        RB_REMOVE(retries_tree, &r->tree, row);
        row_free(r, row);
        if (r->count < r->rows_max)
            continue;
        struct retries_row *known = RB_INSERT(retries_tree, &r->tree, *slot(r, r->count - r->rows_max));
        assert(known == NULL);
    }
}

void retries_forget(struct retries *r, uint64_t index) {
    while (r->count > r->rows_max && (*slot(r, r->rows_max))->at.index <= index)
        drop_oldest(r);
}

size_t retries_until(const struct retries *r, uint64_t index) {
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((*slot(r, middle))->at.index <= index)
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

uint64_t retries_row_index(const struct retries_row *row) {
    return row->at.index;
}

void retries_row_encode(struct buffer *out, const struct retries_row *row) {
    write_u64(out, row->at.index);
    write_u64(out, row->at.term);
    write_u64(out, row->fingerprint);
    write_u8(out, row->outcome);
    write_u64(out, row->current.index);
    write_u64(out, row->current.term);
    write_bytes8(out, row_client(row));
    write_bytes8(out, row_request(row));
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
    out->client = read_bytes8(&reader);
    out->request = read_bytes8(&reader);
    if (!reader_ok(&reader) || out->at.index == 0 || outcome > STORE_CONDITION_FAILED)
        return 0;
    out->outcome = (enum store_outcome)outcome;
    return name_valid(out->client) && name_valid(out->request) ? foreign.size - reader_left(&reader) : 0;
}
