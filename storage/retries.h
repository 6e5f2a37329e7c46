/* What was answered to writes that bear a pair (client, request), so that a retry has no second effect and
 * gets the first answer. Part of the store: entries fill it, it is undone and put into snapshots with the
 * keys.
 *
 * A row is made by the first entry that bears its pair, and holds that entry's position, its outcome (a
 * condition that failed is an outcome too) and a fingerprint of what it asked for. A later entry with the
 * pair changes nothing: with the same fingerprint it is a retry, with another one a conflict.
 *
 * The bound: the newest RETRIES_MAX rows count, by their order in the log. A row is never renewed by its
 * retries, so which rows count depends on the log alone and is the same on every node. Names being at most 64
 * bytes, that is at most 25 MB, and as much again for undoing. A pair that was evicted is a new request
 * again.
 *
 *     rows, oldest first     | evicted, for undoing only | the newest RETRIES_MAX: in the tree |
 *
 * Undoing takes rows from the newest end, and as many evicted ones count again. An evicted row goes once no
 * undoing that the store allows needs it; never are more than RETRIES_MAX kept, and past that the floor, the
 * lowest index that undoing can reach, rises.
 *
 * The fingerprint is 64 bits of what a client asked for: put or delete, key, value, condition. It guards
 * against mistakes, not against a client that searches for collisions: of two different requests with one
 * pair and one fingerprint the second would be answered as the first, and not be done. By chance that is one
 * in 2^64. */
#ifndef STORAGE_RETRIES_H
#define STORAGE_RETRIES_H

#include <bsd/sys/tree.h>

#include "storage/slab.h"
#include "storage/store.h"

#ifndef RETRIES_MAX
#define RETRIES_MAX 100000 /* rows; the same on every node of a group, or their states part */
#endif

struct retries_row;
RB_HEAD(retries_tree, retries_row);

struct retries {
    struct slab *slab; /* borrowed, holds the rows */
    struct retries_tree tree;
    struct retries_row **rows; /* a ring */
    size_t first, count, capacity;
    size_t rows_max; /* RETRIES_MAX; tests set a smaller one before the first row */
    bool dropped;    /* a row has been dropped for good */
    uint64_t digest; /* of the rows that count (digest.h) */
    /* Set while a snapshot is being written: told of a row before it is dropped for good. */
    void (*dropping)(void *arg, const struct retries_row *row);
    void *dropping_arg;
};

void retries_init(struct retries *r, struct slab *slab);
/* Frees all rows; stays usable. */
void retries_clear(struct retries *r);
static inline uint64_t retries_memory(const struct retries *r) { /* beside the slab */
    return r->capacity * sizeof *r->rows;
}

uint64_t retries_fingerprint(enum entry_type type, const struct entry *entry);
/* The row of a pair, borrowed until the next change; false: no row that counts. */
bool retries_find(const struct retries *r, struct bytes client, struct bytes request,
                  struct store_answer *out);
/* The pair has no row that counts, and the answer's order comes after every row's. */
void retries_add(struct retries *r, const struct store_answer *answer);

/* Undoing to an index below this one is not possible any more. */
uint64_t retries_floor(const struct retries *r);
/* Takes back the rows of entries after index, which is not below the floor. */
void retries_undo(struct retries *r, uint64_t index);
/* No undoing will go below index. */
void retries_forget(struct retries *r, uint64_t index);

/* For snapshots. Rows that count after the entry at index, which is not below the floor: the positions from
 * *from up to, without it, *to. A row keeps its position until one is dropped. */
void retries_range(const struct retries *r, uint64_t index, size_t *from, size_t *to);
/* How many rows have an index up to this one, evicted ones too. */
size_t retries_until(const struct retries *r, uint64_t index);
const struct retries_row *retries_at(const struct retries *r, size_t position);
/* Index in the own log of the entry that brought it: its position's, unless it was moved. */
uint64_t retries_row_order(const struct retries_row *row);

/* The digest as it was after the entry at index, which is not below the floor. */
uint64_t retries_digest_at(const struct retries *r, uint64_t index);
/* The digest is that of the rows, each read again. */
bool retries_digest_holds(const struct retries *r);

/* FORMAT.md draws the bytes. */
void retries_row_encode(struct buffer *out, const struct retries_row *row);
/* Foreign bytes: reads the row at their start and returns its size; 0 where there is no well-formed one. */
size_t retries_decode(struct bytes foreign, struct store_answer *out);

#endif
