/* What the tests of snapshots share: stores that change at random, what one holds, a snapshot loaded back. */
#ifndef TESTS_UNIT_STORAGE_SNAPSHOT_HELPER_H
#define TESTS_UNIT_STORAGE_SNAPSHOT_HELPER_H

#include "storage/random.h"
#include "storage/snapshot.h"
#include "storage/store_parts.h"
#include "tests/tap.h"

#define NAME         "snapshot-1"
#define ANSWERED_MAX 20 /* pairs that count, in these tests */

struct summary {
    uint64_t sum, count;
};

static inline uint64_t mix(uint64_t sum, struct bytes bytes) {
    sum = (sum ^ bytes.size) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < bytes.size; i++)
        sum = (sum ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static inline bool summary_each(void *arg, const struct store_record *record) {
    struct summary *summary = arg;
    summary->count++;
    summary->sum = mix(mix(mix(summary->sum, record->key), record->value), record->clock);
    summary->sum = (summary->sum ^ record->version.index ^ record->version.term << 40 ^ record->expiry_ms) *
                   UINT64_C(0x100000001b3);
    return true;
}

static inline struct store *new_store(void) {
    struct store *store = store_new(0);
    store->retries.rows_max = ANSWERED_MAX;
    return store;
}

static inline struct summary summary_of(const struct store *store) {
    struct summary summary = {1, 0};
    struct buffer answered = {0};
    size_t from, to;
    store_scan(store, (struct bytes){NULL, 0}, summary_each, &summary);
    retries_range(&store->retries, store->applied.index, &from, &to);
    while (from < to)
        retries_row_encode(&answered, retries_at(&store->retries, from++));
    summary.sum = mix(summary.sum, buffer_bytes(&answered));
    buffer_release(&answered);
    return summary;
}

static inline bool same(struct summary a, struct summary b) {
    return a.sum == b.sum && a.count == b.count;
}

static inline uint64_t term_of(uint64_t index) {
    return index / 1000 + 1;
}

static inline struct version version_at(uint64_t index) {
    return (struct version){index == 0 ? 0 : term_of(index), index};
}

static inline void apply(struct store *store, struct random *random, uint64_t keys, size_t value_max,
                         bool undo) {
    struct version at = version_at(store_applied(store).index + 1);
    char key[32], request[16];
    uint8_t value[4096];
    snprintf(key, sizeof key, "%s%d",
             random_below(random, 2) ? "" : "user:", (int)random_below(random, keys));
    memset(value, (int)random_below(random, 256), sizeof value);
    struct entry entry = {.key = bytes_of(key),
                          .value = {value, random_below(random, value_max + 1)},
                          .expiry_ms = random_below(random, 8) == 0 ? at.index : 0,
                          .clock = {value, random_below(random, 8) == 0 ? 5 : 0}};
    if (random_below(random, 3) == 0) {
        snprintf(request, sizeof request, "r%d", (int)random_below(random, 3 * ANSWERED_MAX));
        entry.client = bytes_of("client");
        entry.request = bytes_of(request);
        entry.condition = random_below(random, 4) == 0 ? CONDITION_ABSENT : CONDITION_NONE;
    }
    uint64_t dice = random_below(random, 16);
    enum entry_type type = dice == 0 ? ENTRY_NOOP : dice < 11 ? ENTRY_PUT : ENTRY_DELETE;
    store_apply(store, at, type, type == ENTRY_NOOP ? NULL : &entry, undo);
}

static inline void save(struct file_system *fs, struct bytes content) {
    struct file *file;
    if (file_open(fs, NAME, true, &file) != FILE_OK || file_truncate(file, 0) != FILE_OK ||
        file_write(file, 0, content) != FILE_OK)
        abort();
    file_close(file);
}

static inline void write_all(struct store *store, const struct snapshot_header *header, struct buffer *out) {
    struct snapshot_writer *writer = snapshot_writer_new(store, header);
    if (writer == NULL)
        abort();
    while (!snapshot_writer_step(writer, 10000, out))
        continue;
    snapshot_writer_free(writer);
}

struct loaded {
    enum snapshot_result result;
    struct store *store;
    struct snapshot_header header;
    struct buffer configuration;
    char why[200];
};

static inline struct loaded *load(struct bytes content) {
    struct loaded *l = calloc(1, sizeof *l);
    struct file_system *fs = file_system_memory_new();
    l->store = new_store();
    save(fs, content);
    l->result = snapshot_load(fs, NAME, l->store, &l->header, &l->configuration, l->why, sizeof l->why);
    file_system_free(fs);
    return l;
}

static inline void loaded_free(struct loaded *l) {
    store_free(l->store);
    buffer_release(&l->configuration);
    free(l);
}

#endif
