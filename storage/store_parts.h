/* What a store is made of, for store*.c and the snapshot's two halves only. */
#ifndef STORAGE_STORE_PARTS_H
#define STORAGE_STORE_PARTS_H

#include "storage/digest.h"
#include "storage/index.h"
#include "storage/retries.h"
#include "storage/undo.h"

/* Of store_check: the keys before `next` have been looked at. */
struct store_check_pass {
    bool running;
    struct buffer next;
    uint64_t sum; /* of their records' hashes, as they are now */
};

struct store {
    struct slab slab; /* of records, of the index's nodes, of the answered pairs */
    struct index index;
    struct digest digest; /* of the records in the index */
    struct undo undo;
    struct retries retries;
    struct version applied;
    /* Set while a snapshot is being written: told of every record that an entry has just put out of the
     * index. */
    void (*replaced)(void *arg, const struct record *record);
    void *replaced_arg;
    uint64_t snapshot_index; /* of the state being written: never undone */
    struct store_check_pass check;
};

/* The ways of a record into the index and out of it, so that the digest always is that of the index. They
 * return the record that is now out of it, or NULL. */
struct record *store_put_record(struct store *store, struct record *record);
struct record *store_take_record(struct store *store, struct bytes key);
/* As index_run_add. */
bool store_run_add(struct store *store, struct index_run *run, struct record *record);

/* The digest of the records in the index, each read again. */
void store_digest_scan(const struct store *store, bool leaves, struct digest *out);

/* store_check.c. While a pass is under way: the digest has changed by the key's record. */
void store_check_changed(struct store *store, struct bytes key, uint64_t change);
/* Ends the pass. */
void store_check_end(struct store *store);

#endif
