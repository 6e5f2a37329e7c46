/* One seed of flipped states: a group works under faults, and again and again the states of fewer voters than
 * a majority are flipped. Once the faults are over, all must have one state within FLIPS_MENDED_US, that of
 * the nodes that were left alone or, where a flipped leader has passed its own on before it was found, the
 * other; and nobody may be out of service. What clients were answered is judged as in chaos.h. */
#ifndef TESTS_SIM_FLIPS_H
#define TESTS_SIM_FLIPS_H

#include "tests/sim/sim.h"

#define FLIPS_MENDED_US (10 * SECOND)

struct flips_options {
    uint64_t seed;
    unsigned machines; /* 0: by the seed, 3 to 5 */
    enum ack_mode ack;
    FILE *trace;
};

struct flips_result {
    bool passed;
    char violation[512];
    uint64_t hash;
    unsigned machines;
    unsigned spread;     /* rounds after which the flipped state was all nodes' */
    uint64_t longest_us; /* from the end of the faults until all had one state and served */
    struct tally tally;
};

void flips_run(const struct flips_options *options, struct flips_result *result);

#endif
