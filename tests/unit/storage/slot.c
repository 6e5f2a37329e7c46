/* slot: the checksum, the hash tag, and Redis Cluster's own numbers. */
#include "storage/slot.h"

#include "storage/random.h"
#include "tests/tap.h"

TEST(the_checksum_is_crc16_xmodem) {
    EQUAL(slot_crc16(bytes_of("123456789")), 0x31c3);
    EQUAL(slot_crc16(bytes_of("")), 0);
    EQUAL(slot_crc16((struct bytes){NULL, 0}), 0);
    EQUAL(slot_crc16(bytes_of("A")), 0x58e5);
}

/* By the definition, a bit at a time. */
static uint16_t reference(struct bytes bytes) {
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        crc = (uint16_t)(crc ^ bytes.data[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

TEST(every_length_and_content_agrees_with_the_definition) {
    struct random random;
    random_seed(&random, 1);
    for (size_t size = 0; size <= 1100; size += size < 70 ? 1 : 97) {
        uint8_t *exact = malloc(size + 1);
        for (size_t i = 0; i < size; i++)
            exact[i] = (uint8_t)random_below(&random, 256);
        EQUAL(slot_crc16((struct bytes){exact, size}), reference((struct bytes){exact, size}));
        free(exact);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t bytes[16] = {0};
        for (unsigned at = 0; at < 16; at++) {
            bytes[at] = (uint8_t)byte;
            EQUAL(slot_crc16((struct bytes){bytes, 16}), reference((struct bytes){bytes, 16}));
            bytes[at] = 0;
        }
    }
}

/* As CLUSTER KEYSLOT answers. */
TEST(keys_have_the_slots_that_redis_cluster_gives_them) {
    EQUAL(slot_of(bytes_of("foo")), 12182);
    EQUAL(slot_of(bytes_of("bar")), 5061);
    EQUAL(slot_of(bytes_of("hello")), 866);
    EQUAL(slot_of(bytes_of("123456789")), 12739);
    EQUAL(slot_of(bytes_of("{user1000}.following")), 3443);
    EQUAL(slot_of(bytes_of("{user1000}.followers")), 3443);
    EQUAL(slot_of(bytes_of("user1000")), 3443);
}

TEST(the_hash_tag_is_what_stands_between_the_first_brace_and_the_next_closing_one_if_anything) {
    EQUAL(slot_of(bytes_of("foo{bar}{zap}")), slot_of(bytes_of("bar")));
    EQUAL(slot_of(bytes_of("{bar}")), slot_of(bytes_of("bar")));
    EQUAL(slot_of(bytes_of("}{bar}")), slot_of(bytes_of("bar")));
    EQUAL(slot_of(bytes_of("foo{{bar}}zap")), slot_of(bytes_of("{bar")));
    EQUAL(slot_of(bytes_of("foo{{bar}}zap")), 4015);
    EQUAL(slot_of(bytes_of("foo{}{bar}")), 8363); /* nothing between the first two: the whole key */
    EQUAL(slot_of(bytes_of("{}")), 15257);
    EQUAL(slot_of(bytes_of("a{b")), 13340);
    OK(slot_of(bytes_of("a}b{c")) == reference(bytes_of("a}b{c")) % SLOT_COUNT);
    OK(slot_of(bytes_of("{bar")) == reference(bytes_of("{bar")) % SLOT_COUNT);
    OK(slot_of((struct bytes){(const uint8_t *)"x{\0}y", 5}) ==
       reference((struct bytes){(const uint8_t *)"\0", 1}) % SLOT_COUNT);
}

TESTS(TAP(the_checksum_is_crc16_xmodem), TAP(every_length_and_content_agrees_with_the_definition),
      TAP(keys_have_the_slots_that_redis_cluster_gives_them),
      TAP(the_hash_tag_is_what_stands_between_the_first_brace_and_the_next_closing_one_if_anything))
