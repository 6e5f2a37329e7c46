/* A state that is not what the log gives: a record that no entry wrote, in one replica's store, as rotten
 * memory or a fault in applying would leave it. The digest follows, since that is kept of what the store
 * holds. The record's key is nobody else's, so that nothing that clients wrote is lost by it. */
#ifndef TESTS_SIM_FLIP_H
#define TESTS_SIM_FLIP_H

#include "tests/sim/machine.h"

/* False where it cannot be done now: there is no process, or its snapshot is being written. */
bool flip_state(struct machine *m, const char *value);
/* A bit of the value that the key has in the store, which no digest has heard of: memory that fails. False
 * where there is no such key. */
bool flip_memory(struct machine *m, const char *key);
/* It holds such a record: flipped itself, or by a copy of one that was. */
bool is_flipped(const struct machine *m);
/* Of two that run: both hold the same such record, or neither does. */
bool flipped_alike(const struct machine *a, const struct machine *b);

#endif
