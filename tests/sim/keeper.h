/* An operator who looks after full ledgers: all rows of one that is full go, one after the other, as if each
 * write was done again or given up. Only kvsim-tiny has ledgers that fill (tiny.h). */
#ifndef TESTS_SIM_KEEPER_H
#define TESTS_SIM_KEEPER_H

#include "tests/sim/client.h"

struct keeper {
    struct sim *sim;
    struct client client;
};

/* Looks from now on, until the end of the run. */
void keeper_init(struct keeper *k, struct sim *sim);
void keeper_release(struct keeper *k);

#endif
