#include "sharding/ring.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#include "sharding/hash.h"

/* A key of the hash, so that no client's key can be made to fall on a group's place. Never to be changed: it
 * decides where data is. */
#define KEY_OF_GROUPS 0x6b766e6f64652e67

#define SLOT_DISTANCE (UINT64_C(1) << 50) /* 2^64 / SLOT_COUNT */

struct point {
    uint64_t at;
    uint32_t group;
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

static uint32_t points_of(const struct ring_group *group) {
    return (uint32_t)group->weight * RING_POINTS / RING_WEIGHT;
}

/* In order; *count of them. */
static struct point *make_points(const struct ring_group *groups, size_t group_count, size_t *count) {
    size_t total = 0, at = 0;
    for (size_t i = 0; i < group_count; i++)
        total += points_of(&groups[i]);
    assert(total > 0);
    struct point *points = calloc(total, sizeof *points);
    if (points == NULL)
        err(1, "out of memory for a ring");
    for (size_t i = 0; i < group_count; i++)
        for (uint32_t number = 0; number < points_of(&groups[i]); number++)
            points[at++] = (struct point){point_of(groups[i].number, number), groups[i].number};
    qsort(points, total, sizeof *points, compare);
    *count = total;
    return points;
}

struct ring *ring_new(const struct ring_group *groups, size_t count) {
    size_t point_count, next = 0;
    struct point *points = make_points(groups, count, &point_count);
    struct ring *ring = malloc(sizeof *ring);
    if (ring == NULL)
        err(1, "out of memory for a ring");
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        while (next < point_count && points[next].at < slot * SLOT_DISTANCE)
            next++;
        ring->owners[slot] = points[next == point_count ? 0 : next].group;
    }
    free(points);
    return ring;
}

void ring_free(struct ring *ring) {
    free(ring);
}

uint32_t ring_range_end(const struct ring *ring, uint32_t slot) {
    uint32_t end = slot + 1;
    assert(slot < SLOT_COUNT);
    while (end < SLOT_COUNT && ring->owners[end] == ring->owners[slot])
        end++;
    return end;
}
