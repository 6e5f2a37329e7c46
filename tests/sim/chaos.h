/* One seed: nodes start, clients write and read, faults of a random subset of kinds come and go; in between,
 * a minority stays broken and the rest must serve; at the end everything is healed, every node must take a
 * write within ten seconds, all must agree, and nothing answered may be missing.
 *
 *   chaos.c     what a seed is, its course, its end
 *   faults.c    the faults of processes, machines, network and clocks
 *   damage.c    the faults of disks, and how many of them a group can bear
 *   foes.c      memory that fails, and hostile peers
 *   liveness.c  a minority stays broken
 *
 * A group bears that less than a majority of its voters lose what they had. To lose is: a disk that is wiped,
 * or damaged (beyond what its node can repair by itself, so far as anybody can tell), a node with -memory
 * that ends. A voter that has lost counts until it votes again as what it is then. Runs that are `beyond`
 * break this bound: of them only is asked that no answer is wrong. */
#ifndef TESTS_SIM_CHAOS_H
#define TESTS_SIM_CHAOS_H

#include "tests/sim/sim.h"

#define FAULT_KINDS(X)                                                                                       \
    X(KILL, "kill")                                                                                          \
    X(POWER, "power")                                                                                        \
    X(POWER_WITHIN, "power-within-turn")                                                                     \
    X(PAUSE, "pause")                                                                                        \
    X(PARTITION, "partition")                                                                                \
    X(ISOLATE, "isolate-leader")                                                                             \
    X(ONE_WAY, "one-way")                                                                                    \
    X(STORM, "storm") /* long and uneven delays */                                                           \
    X(SLOW_DISK, "slow-disk")                                                                                \
    X(STUCK_DISK, "stuck-disk")                                                                              \
    X(RESET, "reset")                                                                                        \
    X(STOP, "stop")                                                                                          \
    X(DISK_FAILS, "disk-fails")                                                                              \
    X(DISK_FULL, "disk-full")                                                                                \
    X(MEMBERS, "members") /* somebody has nodes leave, join again, and lead */                               \
    X(WIPE, "wipe")                                                                                          \
    X(CLOCK, "clock-jump")                                                                                   \
    X(LONG_PAUSE, "long-pause")                                                                              \
    X(ABSENCE, "absence") /* longer than it takes to replace a voter */                                      \
    X(DAMAGE, "damage")                                                                                      \
    X(LIE, "lying-write")                                                                                    \
    X(CLONE, "clone")                                                                                        \
    X(FLIP, "flip")       /* from here on: foes.c, and only with the option of that name */                  \
    X(HOSTILE, "hostile") /* somebody forges frames for a while */

enum fault {
#define FAULT_NAME(name, text) FAULT_##name,
    FAULT_KINDS(FAULT_NAME)
#undef FAULT_NAME
        FAULTS,
};

struct chaos_options {
    uint64_t seed;
    unsigned machines; /* 0: by the seed */
    enum ack_mode ack;
    uint64_t duration_ms;      /* of the faults; 0: 15 s, and what long ones take */
    uint32_t sync_interval_ms; /* -fsync; 0: always. Else no disk forgets: window.h is for that */
    unsigned with;             /* bits of enum sim_with */
    FILE *trace;
    FILE *history; /* NULL: is not written */
};

struct chaos_result {
    bool passed;
    char violation[512];
    uint64_t hash, events;
    unsigned machines, groups;
    bool beyond;
    unsigned faults[FAULTS];
    struct tally tally;
};

void chaos_run(const struct chaos_options *options, struct chaos_result *result);
const char *chaos_fault_text(enum fault fault);

#endif
