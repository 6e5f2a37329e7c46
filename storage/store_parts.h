/* What a store is made of, for store.c and the snapshot's two halves only. */
#ifndef STORAGE_STORE_PARTS_H
#define STORAGE_STORE_PARTS_H

#include "storage/index.h"
#include "storage/retries.h"
#include "storage/undo.h"

struct store {
    struct slab slab; /* of records, of the index's nodes, of the answered pairs */
    struct index index;
    struct undo undo;
    struct retries retries;
    struct version applied;
    /* Set while a snapshot is being written: told of every record that an entry has just put out of the
     * index. */
    void (*replaced)(void *arg, const struct record *record);
    void *replaced_arg;
    uint64_t snapshot_index; /* of the state being written: never undone */
};

#endif
