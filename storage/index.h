/* The ordered index: keys to records, in byte order of keys (bytes_compare).
 *
 * An adaptive radix tree (Leis, Kemper, Neumann 2013) over the keys inside the records; index.c says how it
 * differs from the paper's and why it was chosen. The records belong to the caller; nodes come from the
 * caller's slab, which must outlive the index. Not for concurrent use. */
#ifndef STORAGE_INDEX_H
#define STORAGE_INDEX_H

#include "storage/record.h"

struct index {
    struct slab *slab;
    uintptr_t root;
    uint64_t count;
};

/* To release an index with all its records at once, clear its slab and init it again. */
void index_init(struct index *index, struct slab *slab);

static inline uint64_t index_count(const struct index *index) {
    return index->count;
}

struct record *index_get(const struct index *index, struct bytes key);
/* Descends to all of the keys at a time, so that what is read on the way, and what a put of them will read
 * again, is fetched from memory for all of them at once. */
void index_warm(const struct index *index, const struct bytes *keys, size_t count);
/* Returns the record that had the same key and is now out of the index, or NULL. */
struct record *index_put(struct index *index, struct record *record);
/* Returns the record that is now out of the index, or NULL. */
struct record *index_remove(struct index *index, struct bytes key);

/* Fills an empty index (asserted) with records in rising order of their keys: every node is made once, at its
 * size. The index must not be used before the end. */
struct index_run *index_run_new(struct index *index);
/* False for a record whose key is not behind the last one's: it was not taken. */
bool index_run_add(struct index_run *run, struct record *record);
/* The index holds what was added. Frees the run. */
void index_run_end(struct index_run *run);

/* Calls each for every record whose key is >= from, in order, until it returns false; then returns false too.
 * To resume after a key, give that key with a NUL appended: finding the place costs as much as one get. The
 * index must not change meanwhile. */
bool index_walk(const struct index *index, struct bytes from, bool (*each)(void *arg, struct record *record),
                void *arg);

#endif
