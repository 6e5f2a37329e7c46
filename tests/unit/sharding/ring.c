#include "sharding/ring.h"

#include "sharding/hash.h"
#include "storage/crc32c.h"
#include "storage/random.h"
#include "storage/wire.h"
#include "tests/tap.h"

#define LAYOUTS 60

/* The test vectors of the paper's appendix: key 00 01 .. 0f, input 00 01 .. of rising size. */
TEST(the_hash_gives_the_published_values) {
    uint8_t input[15];
    for (uint8_t i = 0; i < sizeof input; i++)
        input[i] = i;
    OK(hash_bytes(0x0706050403020100, 0x0f0e0d0c0b0a0908, (struct bytes){input, 15}) == 0xa129ca6149be45e5);
    OK(hash_bytes(0x0706050403020100, 0x0f0e0d0c0b0a0908, (struct bytes){input, 0}) == 0x726fdb47dd0e0e31);
    OK(hash_bytes(0x0706050403020100, 0x0f0e0d0c0b0a0908, (struct bytes){input, 8}) == 0x93f5f5799a932462);
}

/* Groups of random numbers. */
static size_t layout(struct random *random, struct ring_group *groups, size_t count) {
    for (size_t i = 0; i < count; i++)
        groups[i] = (struct ring_group){(uint32_t)(i * 1000 + random_below(random, 1000)), RING_WEIGHT};
    return count;
}

/* Newton's, so that the test needs no -lm. */
static double root(double square) {
    double guess = square > 1 ? square : 1;
    for (int i = 0; i < 60; i++)
        guess = (guess + square / guess) / 2;
    return guess;
}

static size_t slots_of(const struct ring *ring, uint32_t group) {
    size_t slots = 0;
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        slots += ring->owners[slot] == group;
    return slots;
}

static double deviation(const struct ring *ring, const struct ring_group *groups, size_t count) {
    double mean = (double)SLOT_COUNT / (double)count, sum = 0;
    for (size_t i = 0; i < count; i++) {
        double off = (double)slots_of(ring, groups[i].number) - mean;
        sum += off * off;
    }
    return root(sum / (double)count) / mean;
}

static size_t ranges_of(const struct ring *ring) {
    size_t ranges = 0;
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot = ring_range_end(ring, slot))
        ranges++;
    return ranges;
}

TEST(over_many_layouts_loads_deviate_and_ranges_are_as_many_as_the_header_says) {
    static const struct {
        size_t groups;
        double low, high; /* of the deviation */
        size_t few, many; /* ranges */
    } sizes[] = {{2, 0.02, 0.06, 140, 155},
                 {3, 0.03, 0.07, 285, 300},
                 {16, 0.06, 0.09, 2000, 2200},
                 {64, 0.07, 0.10, 6800, 7300}};
    struct random random;
    struct ring_group groups[64];
    random_seed(&random, 7);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        double sum = 0;
        size_t ranges = 0;
        for (int i = 0; i < LAYOUTS; i++) {
            struct ring *ring = ring_new(groups, layout(&random, groups, sizes[s].groups));
            sum += deviation(ring, groups, sizes[s].groups);
            ranges += ranges_of(ring);
            ring_free(ring);
        }
        printf("# %zu groups: relative standard deviation %.3f, %zu ranges\n", sizes[s].groups, sum / LAYOUTS,
               ranges / LAYOUTS);
        OK(sum / LAYOUTS > sizes[s].low && sum / LAYOUTS < sizes[s].high);
        OK(ranges / LAYOUTS >= sizes[s].few && ranges / LAYOUTS <= sizes[s].many);
    }
}

TEST(a_group_that_comes_takes_about_its_share_and_nothing_else_moves) {
    struct random random;
    struct ring_group groups[64];
    random_seed(&random, 11);
    for (size_t count = 1; count <= 12; count++) {
        layout(&random, groups, count + 1);
        struct ring *before = ring_new(groups, count), *after = ring_new(groups, count + 1);
        size_t moved = 0, astray = 0;
        for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
            uint32_t from = before->owners[slot], to = after->owners[slot];
            moved += from != to;
            astray += from != to && to != groups[count].number;
        }
        double share = (double)SLOT_COUNT / (double)(count + 1);
        OK((double)moved > 0.65 * share && (double)moved < 1.35 * share);
        EQUAL(astray, 0);
        ring_free(before);
        ring_free(after);
    }
}

TEST(a_groups_share_is_by_its_weight_and_without_one_it_owns_nothing_and_moves_nothing) {
    static const struct ring_group plain[] = {{0, 100}, {1, 50}, {3, 200}},
                                   more[] = {{0, 100}, {1, 50}, {2, 0}, {3, 200}};
    struct ring *ring = ring_new(more, 4), *without = ring_new(plain, 3);
    OK(memcmp(ring->owners, without->owners, sizeof ring->owners) == 0);
    EQUAL(slots_of(ring, 2), 0);
    EQUAL(slots_of(ring, 0), 4635); /* of 350 parts 100, 50 and 200 */
    EQUAL(slots_of(ring, 1), 2469);
    EQUAL(slots_of(ring, 3), 9280);
    ring_free(ring);
    ring_free(without);
}

TEST(the_order_in_which_groups_are_named_changes_nothing) {
    static const struct ring_group up[] = {{0, 100}, {1, 100}, {2, 70}, {7, 100}, {4000000000, 100}},
                                   down[] = {{4000000000, 100}, {7, 100}, {2, 70}, {1, 100}, {0, 100}};
    struct ring *a = ring_new(up, 5), *b = ring_new(down, 5);
    OK(memcmp(a->owners, b->owners, sizeof a->owners) == 0);
    ring_free(a);
    ring_free(b);
}

static uint32_t checksum(const struct ring *ring) {
    struct buffer owners = {0};
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        write_u32(&owners, ring->owners[slot]);
    uint32_t crc = crc32c(0, buffer_bytes(&owners));
    buffer_release(&owners);
    return crc;
}

/* Where keys are is on disks: these owners may never change. The checksums were computed from PROTOCOL.md's
 * text by another program. */
TEST(slots_stay_with_the_groups_that_had_them_in_every_version) {
    static const struct {
        size_t count;
        struct ring_group groups[4];
        uint32_t checksum, wrapped, first, last; /* slots behind the last place; its owner and the first's */
    } golden[] = {
        {3, {{0, 100}, {1, 100}, {2, 100}}, 0x9cad159f, 11, 1, 0},
        {2, {{0, 100}, {1, 100}}, 0x5c4b2a36, 11, 1, 0},
        {3, {{7, 100}, {9, 100}, {4000000000, 100}}, 0xcdd7f770, 67, 4000000000, 9},
        {4, {{0, 100}, {1, 50}, {2, 0}, {3, 200}}, 0xce29f6c1, 11, 3, 0},
    };
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        struct ring *ring = ring_new(golden[i].groups, golden[i].count);
        EQUAL(checksum(ring), golden[i].checksum);
        uint32_t slot = SLOT_COUNT - golden[i].wrapped;
        EQUAL(ring->owners[0], golden[i].first);
        EQUAL(ring->owners[SLOT_COUNT - 1], golden[i].first); /* around the end */
        EQUAL(ring->owners[slot], golden[i].first);
        EQUAL(ring->owners[slot - 1], golden[i].last);
        EQUAL(ring_range_end(ring, slot), SLOT_COUNT);
        ring_free(ring);
    }
    uint8_t zeros[] = {0, 0};
    OK(hash_bytes(1, 2, (struct bytes){zeros, 1}) != hash_bytes(1, 2, (struct bytes){zeros, 2}));
}

TEST(a_keys_group_is_that_of_its_slot) {
    static const struct ring_group groups[] = {{0, 100}, {1, 100}, {2, 100}};
    static const char *const keys[] = {"username", "email", "a", "b", "c", "d", "n", "{d}:name"};
    struct ring *ring = ring_new(groups, 3);
    char owners[16] = "";
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        EQUAL(ring_group(ring, bytes_of(keys[i])), ring->owners[slot_of(bytes_of(keys[i]))]);
        owners[i] = (char)('0' + ring_group(ring, bytes_of(keys[i])));
    }
    TEXT_EQUAL(owners, "22002121");
    ring_free(ring);
}

TEST(one_group_owns_everything) {
    struct ring *ring = ring_new(&(struct ring_group){9, 1}, 1);
    EQUAL(slots_of(ring, 9), SLOT_COUNT);
    EQUAL(ring_range_end(ring, 0), SLOT_COUNT);
    EQUAL(ring_range_end(ring, SLOT_COUNT - 1), SLOT_COUNT);
    ring_free(ring);
}

TESTS(TAP(the_hash_gives_the_published_values),
      TAP(over_many_layouts_loads_deviate_and_ranges_are_as_many_as_the_header_says),
      TAP(a_group_that_comes_takes_about_its_share_and_nothing_else_moves),
      TAP(a_groups_share_is_by_its_weight_and_without_one_it_owns_nothing_and_moves_nothing),
      TAP(the_order_in_which_groups_are_named_changes_nothing),
      TAP(slots_stay_with_the_groups_that_had_them_in_every_version), TAP(a_keys_group_is_that_of_its_slot),
      TAP(one_group_owns_everything))
