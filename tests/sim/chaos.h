/* One seed: nodes start, clients write and read, faults of a random subset of kinds come and go; then
 * everything is healed, every node must take a write within ten seconds, all must agree, and nothing answered
 * may be missing. */
#ifndef TESTS_SIM_CHAOS_H
#define TESTS_SIM_CHAOS_H

#include "tests/sim/sim.h"

enum fault {
    FAULT_KILL,
    FAULT_POWER,
    FAULT_PAUSE,
    FAULT_PARTITION,
    FAULT_ONE_WAY,
    FAULT_STORM, /* long and uneven delays */
    FAULT_SLOW_DISK,
    FAULT_RESET,
    FAULT_STOP,
    FAULT_DISK_FAILS,
    FAULT_DISK_FULL,
    FAULT_MEMBERS, /* somebody has nodes leave, join again, and lead */
    FAULTS,
};

struct chaos_options {
    uint64_t seed;
    unsigned machines; /* 0: by the seed, 1 to 5 */
    enum ack_mode ack;
    uint64_t duration_ms;      /* of the faults; 0: 15 s */
    uint32_t sync_interval_ms; /* -fsync; 0: always. Else no disk forgets: window.h is for that */
    FILE *trace;
    FILE *history; /* NULL: is not written */
};

struct chaos_result {
    bool passed;
    char violation[512];
    uint64_t hash, events;
    unsigned machines;
    unsigned faults[FAULTS];
    struct tally tally;
};

void chaos_run(const struct chaos_options *options, struct chaos_result *result);
const char *chaos_fault_text(enum fault fault);

#endif
