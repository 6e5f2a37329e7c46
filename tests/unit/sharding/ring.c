#include "sharding/ring.h"

#include "sharding/hash.h"
#include "storage/random.h"
#include "tests/tap.h"

#define KEYS    20000
#define LAYOUTS 60

static struct bytes key_text(uint32_t number, char text[24]) {
    snprintf(text, 24, "user:%u", number);
    return bytes_of(text);
}

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
static size_t layout(struct random *random, uint32_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)(i * 1000 + random_below(random, 1000));
    return count;
}

/* Newton's, so that the test needs no -lm. */
static double root(double square) {
    double guess = square > 1 ? square : 1;
    for (int i = 0; i < 60; i++)
        guess = (guess + square / guess) / 2;
    return guess;
}

static double deviation(const uint32_t *numbers, size_t count) {
    size_t loads[64] = {0};
    double mean = (double)KEYS / (double)count, sum = 0;
    struct ring *ring = ring_new(numbers, count);
    char text[24];
    for (uint32_t k = 0; k < KEYS; k++) {
        uint32_t group = ring_group(ring, key_text(k, text));
        for (size_t i = 0; i < count; i++)
            loads[i] += numbers[i] == group;
    }
    for (size_t i = 0; i < count; i++)
        sum += ((double)loads[i] - mean) * ((double)loads[i] - mean);
    ring_free(ring);
    return root(sum / (double)count) / mean;
}

TEST(the_load_of_groups_deviates_by_ten_percent_at_most_averaged_over_many_layouts) {
    static const size_t sizes[] = {2, 3, 5, 8, 16};
    struct random random;
    uint32_t numbers[64];
    random_seed(&random, 7);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        double sum = 0;
        for (int i = 0; i < LAYOUTS; i++)
            sum += deviation(numbers, layout(&random, numbers, sizes[s]));
        printf("# %zu groups: relative standard deviation %.3f\n", sizes[s], sum / LAYOUTS);
        OK(sum / LAYOUTS <= 0.10);
        OK(sum / LAYOUTS > 0.01); /* a measure that is always nearly 0 measures nothing */
    }
}

TEST(a_group_that_comes_takes_about_its_share_and_nothing_else_moves) {
    struct random random;
    uint32_t numbers[64];
    char text[24];
    random_seed(&random, 11);
    for (size_t count = 1; count <= 12; count++) {
        layout(&random, numbers, count + 1);
        struct ring *before = ring_new(numbers, count), *after = ring_new(numbers, count + 1);
        size_t moved = 0, astray = 0;
        for (uint32_t k = 0; k < KEYS; k++) {
            uint32_t from = ring_group(before, key_text(k, text)), to = ring_group(after, key_text(k, text));
            moved += from != to;
            astray += from != to && to != numbers[count];
        }
        double share = (double)KEYS / (double)(count + 1);
        OK((double)moved > 0.65 * share && (double)moved < 1.35 * share);
        EQUAL(astray, 0);
        ring_free(before);
        ring_free(after);
    }
}

TEST(the_order_in_which_groups_are_named_changes_nothing) {
    static const uint32_t up[] = {0, 1, 2, 7, 4000000000}, down[] = {4000000000, 7, 2, 1, 0};
    struct ring *a = ring_new(up, 5), *b = ring_new(down, 5);
    char text[24];
    for (uint32_t k = 0; k < KEYS; k++)
        if (!EQUAL(ring_group(a, key_text(k, text)), ring_group(b, key_text(k, text))))
            break;
    ring_free(a);
    ring_free(b);
}

/* Where keys are is on disks: these owners may never change. */
TEST(keys_stay_with_the_groups_that_had_them_in_every_version) {
    static const uint32_t numbers[] = {0, 1, 2};
    static const char *const keys[] = {"username", "email", "city", "a", "b", "c", "user:1", "user:2"};
    struct ring *ring = ring_new(numbers, 3);
    char owners[16] = "";
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        owners[i] = (char)('0' + ring_group(ring, bytes_of(keys[i])));
    TEXT_EQUAL(owners, "22220110");
    uint8_t zeros[] = {0, 0};
    OK(hash_bytes(1, 2, (struct bytes){zeros, 1}) != hash_bytes(1, 2, (struct bytes){zeros, 2}));
    ring_free(ring);
}

TEST(one_group_owns_everything) {
    uint32_t number = 9;
    struct ring *ring = ring_new(&number, 1);
    char text[24];
    for (uint32_t k = 0; k < 1000; k++)
        EQUAL(ring_group(ring, key_text(k, text)), 9);
    ring_free(ring);
}

TESTS(TAP(the_hash_gives_the_published_values),
      TAP(the_load_of_groups_deviates_by_ten_percent_at_most_averaged_over_many_layouts),
      TAP(a_group_that_comes_takes_about_its_share_and_nothing_else_moves),
      TAP(the_order_in_which_groups_are_named_changes_nothing),
      TAP(keys_stay_with_the_groups_that_had_them_in_every_version), TAP(one_group_owns_everything))
