/* What the last applied entries overwrote, oldest first, so that they can be undone newest first.
 *
 * An item keeps the record that an entry put out of the index (NULL: there was none) and names the one it put
 * in (NULL: a delete); undoing swaps them back. The bytes of kept records and items are bounded: past the
 * bound the oldest item goes, and the floor, the lowest index that undoing can reach, rises to its index. */
#ifndef STORAGE_UNDO_H
#define STORAGE_UNDO_H

#include "storage/record.h"

struct undo_item {
    uint64_t index;     /* of the entry */
    uint64_t digest;    /* of the records before the entry (digest.h) */
    struct record *out; /* owned; NULL: the key was not there */
    struct record *in;  /* the index's; NULL: the entry deleted the key */
};

struct undo {
    struct undo_item *items; /* a ring */
    size_t first, count, capacity;
    size_t size, size_max;
    uint64_t floor;
};

void undo_init(struct undo *undo, size_t size_max);
/* The records kept are in slab. */
void undo_release(struct undo *undo, struct slab *slab);

/* Takes item.out. The index is higher than that of any item before. */
void undo_push(struct undo *undo, struct slab *slab, struct undo_item item);
/* Drops the items up to and including index, which becomes the floor where it is above. */
void undo_forget(struct undo *undo, struct slab *slab, uint64_t index);
/* The oldest item whose entry came after index, by its position for undo_at; count where there is none. */
size_t undo_after(const struct undo *undo, uint64_t index);
/* The newest item, if its entry came after index; what it kept is the caller's. */
bool undo_pop(struct undo *undo, uint64_t index, struct undo_item *out);

/* The records have another digest than was thought, by so much, since before the oldest item. */
void undo_shift_digest(struct undo *undo, uint64_t by);

/* The item at a position from 0, the oldest, to count - 1. */
static inline const struct undo_item *undo_at(const struct undo *undo, size_t position) {
    return &undo->items[(undo->first + position) & (undo->capacity - 1)];
}

#endif
