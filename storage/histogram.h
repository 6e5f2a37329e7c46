/* How often something took how long, or was how large: counts by powers of two, and the sum. Counting costs a
 * few instructions. */
#ifndef STORAGE_HISTOGRAM_H
#define STORAGE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 20 /* the last one is unbounded */

/* counts[i] holds what is at most first << i, and more than what the one before holds. */
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t sum;
};

/* Of values from `first` (a power of two given by its exponent) up. */
static inline void histogram_add(struct histogram *h, unsigned first_log2, uint64_t value, uint64_t times) {
    uint64_t above = value == 0 ? 0 : (value - 1) >> first_log2;
    unsigned bucket = above == 0 ? 0 : 64 - (unsigned)__builtin_clzll(above);
    h->counts[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1] += times;
    h->sum += value * times;
}

#define HISTOGRAM_TIME_LOG2 5 /* times are in microseconds: buckets from 32 us to 8.4 s, and above */
#define HISTOGRAM_SIZE_LOG2 0 /* counts: buckets from 1 to 262,144, and above */

static inline void histogram_add_us(struct histogram *h, uint64_t us) {
    histogram_add(h, HISTOGRAM_TIME_LOG2, us, 1);
}

#endif
