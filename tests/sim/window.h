/* One seed of power cuts where logs are synced at times (-fsync 100ms): a group answers writes, some or all
 * of its machines lose their power, come back, and agree.
 *
 * What was answered more than one interval and one sync before the cut must be there; of what one leader had
 * appended, nothing may be missing before something that is there. */
#ifndef TESTS_SIM_WINDOW_H
#define TESTS_SIM_WINDOW_H

#include "tests/sim/machine.h"

struct window_options {
    uint64_t seed;
    unsigned machines; /* 0: by the seed, 1, 3 or 5 */
    enum ack_mode ack;
    uint32_t interval_ms;
    FILE *trace;
};

struct window_result {
    bool passed;
    char violation[512];
    uint64_t hash;
    unsigned machines, cuts, diverged;
    size_t answered, lost;
    uint64_t oldest_lost_us; /* answered so long before its cut */
};

void window_run(const struct window_options *options, struct window_result *result);

#endif
