#include "sharding/ring.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#include "sharding/hash.h"

/* Two keys of the hash, so that no client's key can be made to fall on a group's place. Never to be changed:
 * they decide where data is. */
#define KEY_OF_KEYS   0x6b766e6f64652e6b
#define KEY_OF_GROUPS 0x6b766e6f64652e67

struct point {
    uint64_t at;
    uint32_t group;
};

struct ring {
    size_t count;
    struct point points[];
};

static uint64_t point_of(uint32_t group, uint32_t number) {
    uint8_t bytes[8];
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(group >> 8 * i);
        bytes[4 + i] = (uint8_t)(number >> 8 * i);
    }
    return hash_bytes(KEY_OF_GROUPS, 0, (struct bytes){bytes, sizeof bytes});
}

static int compare(const void *a, const void *b) {
    const struct point *p = a, *q = b;
    if (p->at != q->at)
        return p->at < q->at ? -1 : 1;
    return p->group < q->group ? -1 : p->group > q->group;
}

struct ring *ring_new(const uint32_t *numbers, size_t count) {
    assert(count > 0);
    struct ring *ring = malloc(sizeof *ring + count * RING_POINTS * sizeof ring->points[0]);
    if (ring == NULL)
        err(1, "out of memory for a ring");
    ring->count = count * RING_POINTS;
    for (size_t i = 0; i < ring->count; i++) {
        uint32_t group = numbers[i / RING_POINTS];
        ring->points[i] = (struct point){point_of(group, (uint32_t)(i % RING_POINTS)), group};
    }
    qsort(ring->points, ring->count, sizeof ring->points[0], compare);
    return ring;
}

void ring_free(struct ring *ring) {
    free(ring);
}

uint32_t ring_group(const struct ring *ring, struct bytes key) {
    uint64_t at = hash_bytes(KEY_OF_KEYS, 0, key);
    size_t low = 0, high = ring->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ring->points[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return ring->points[low == ring->count ? 0 : low].group;
}
