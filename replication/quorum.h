/* Quorum arithmetic: what a majority has reached. */
#ifndef REPLICATION_QUORUM_H
#define REPLICATION_QUORUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many of count make a majority. */
static inline size_t quorum_size(size_t count) {
    return count / 2 + 1;
}

/* The highest value that a majority of the count values have reached; 0 of none. Reorders values. */
uint64_t quorum_reached(uint64_t *values, size_t count);

/* What one voter says; unknown where it has not. */
struct quorum_vote {
    bool known;
    uint64_t value;
};

/* The value that a majority of the count voters says, whoever is silent; false where none has one. */
bool quorum_agreed(const struct quorum_vote *votes, size_t count, uint64_t *value);

#endif
