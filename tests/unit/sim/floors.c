/* Floors of a batch of seeds. */
#include "tests/tap.h"

#include "tests/sim/floors.h"

static unsigned missed(uint64_t met, uint64_t seeds) {
    struct tally tally;
    unsigned faults[FAULTS];
    FILE *out = fopen("/dev/null", "w");
    for (unsigned i = 0; i < SITUATION_COUNT; i++)
        tally.counts[i] = met;
    for (unsigned i = 0; i < FAULTS; i++)
        faults[i] = (unsigned)met;
    unsigned count = floors_missed(&tally, faults, seeds, out);
    fclose(out);
    return count;
}

TEST(a_batch_that_met_nothing_misses_every_floor) {
    OK(missed(0, 1000) > 40);
    EQUAL(missed(1000000, 1000), 0);
}

TEST(floors_grow_with_the_batch) {
    OK(missed(250, 100) < missed(250, 1000));
    OK(missed(250, 1000) < missed(250, 10000));
}

TESTS(TAP(a_batch_that_met_nothing_misses_every_floor), TAP(floors_grow_with_the_batch))
