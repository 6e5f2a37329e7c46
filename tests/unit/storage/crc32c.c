#include "storage/crc32c.h"

#include "storage/random.h"
#include "tests/tap.h"

TEST(the_published_values_come_out) {
    /* RFC 3720, appendix B.4. */
    uint8_t zeros[32] = {0}, ones[32], rising[32];
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < sizeof rising; i++)
        rising[i] = (uint8_t)i;
    EQUAL(crc32c(0, (struct bytes){zeros, 32}), 0x8a9136aa);
    EQUAL(crc32c(0, (struct bytes){ones, 32}), 0x62a8ab43);
    EQUAL(crc32c(0, (struct bytes){rising, 32}), 0x46dd794e);
    EQUAL(crc32c(0, bytes_of("123456789")), 0xe3069283);
    EQUAL(crc32c_tables(0, bytes_of("123456789")), 0xe3069283);
    EQUAL(crc32c(0, bytes_of("")), 0);
}

TEST(the_processor_and_the_tables_agree_at_every_size_and_alignment) {
    struct random r;
    random_seed(&r, 1);
    uint8_t data[3000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)random_next(&r);
    int differ = 0;
    for (size_t size = 0; size <= 2900; size += size < 1700 ? 1 : 37)
        for (size_t at = 0; at < 9; at++) {
            struct bytes part = {data + at, size};
            differ += crc32c(7, part) != crc32c_tables(7, part);
        }
    EQUAL(differ, 0);
}

TEST(a_checksum_can_be_continued) {
    uint8_t data[2000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    uint32_t whole = crc32c(0, (struct bytes){data, sizeof data});
    for (size_t cut = 0; cut <= sizeof data; cut += 13) {
        uint32_t first = crc32c(0, (struct bytes){data, cut});
        EQUAL(crc32c(first, (struct bytes){data + cut, sizeof data - cut}), whole);
    }
}

TESTS(TAP(the_published_values_come_out), TAP(the_processor_and_the_tables_agree_at_every_size_and_alignment),
      TAP(a_checksum_can_be_continued))
