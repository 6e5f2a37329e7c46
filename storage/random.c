#include "storage/random.h"

#include <assert.h>

static uint64_t rotate_left(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

void random_seed(struct random *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        r->state[i] = z ^ z >> 31;
    }
}

uint64_t random_next(struct random *r) {
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t random_below(struct random *r, uint64_t bound) {
    assert(bound > 0);
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound, value;
    do
        value = random_next(r);
    while (value >= limit);
    return value % bound;
}
