/* How often a batch of seeds must meet each situation and each fault, per thousand seeds: about a third of
 * what the batches of today meet. Below that a batch has shown less than it claims, whatever its seeds say:
 * some fault does not strike any more, or strikes where nothing happens. */
#ifndef TESTS_SIM_FLOORS_H
#define TESTS_SIM_FLOORS_H

#include <stdio.h>

#include "tests/sim/chaos.h"

/* How many floors were missed, of a batch over all modes (kvsim --mixed); each is a line in `out`. */
unsigned floors_missed(const struct tally *tally, const unsigned faults[FAULTS], uint64_t seeds, FILE *out);

#endif
