/* A seeded stream of random numbers (xoshiro256**, Blackman and Vigna 2018, seeded by splitmix64).
 *
 * Cores never ask the system for randomness: the program seeds a stream from arc4random, the simulator from
 * the seed of its run, and the same seed gives the same run. Not for secrets. */
#ifndef STORAGE_RANDOM_H
#define STORAGE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_seed(struct random *r, uint64_t seed);
uint64_t random_next(struct random *r);
/* Uniform in [0, bound); bound is not 0. */
uint64_t random_below(struct random *r, uint64_t bound);

#endif
