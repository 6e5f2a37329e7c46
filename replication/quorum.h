/* Quorum arithmetic: what a majority has reached. */
#ifndef REPLICATION_QUORUM_H
#define REPLICATION_QUORUM_H

#include <stddef.h>
#include <stdint.h>

/* How many of count make a majority. */
static inline size_t quorum_size(size_t count) {
    return count / 2 + 1;
}

/* The highest value that a majority of the count values have reached; 0 of none. Reorders values. */
uint64_t quorum_reached(uint64_t *values, size_t count);

#endif
