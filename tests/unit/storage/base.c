/* buffer, wire and random. */
#include "storage/random.h"
#include "storage/wire.h"
#include "tests/tap.h"

TEST(a_buffer_keeps_its_content_while_it_grows_and_is_consumed) {
    struct buffer b = {0};
    for (uint32_t i = 0; i < 10000; i++) {
        write_u32(&b, i);
        if (i % 3 == 0)
            buffer_consume(&b, 4);
    }
    struct reader r = reader_of(buffer_bytes(&b));
    uint32_t first = read_u32(&r);
    EQUAL(first, 3334);
    for (uint32_t want = first + 1; want < 10000; want++)
        if (!EQUAL(read_u32(&r), want))
            break;
    OK(reader_done(&r));
    buffer_release(&b);
}

TEST(an_empty_buffer_gives_room_for_nothing_without_an_allocation) {
    struct buffer b = {0};
    OK(buffer_reserve(&b, 0) == NULL);
    buffer_grow(&b, 0);
    OK(b.data == NULL && buffer_size(&b) == 0);
    buffer_release(&b);
}

TEST(a_buffer_that_is_filled_towards_a_size_takes_no_more_memory_than_that) {
    static uint8_t piece[1000];
    struct buffer b = {0};
    for (size_t size = 0; size < 100 * sizeof piece; size += sizeof piece) {
        memset(piece, (int)(size / sizeof piece), sizeof piece);
        buffer_append_within(&b, (struct bytes){piece, sizeof piece}, 100 * sizeof piece);
        OK(b.capacity <= 100 * sizeof piece && b.capacity <= 2 * (size + sizeof piece));
    }
    for (size_t i = 0; i < 100; i++)
        EQUAL(buffer_bytes(&b).data[i * sizeof piece + 7], i);
    buffer_append_within(&b, (struct bytes){piece, 5}, 10);
    EQUAL(buffer_size(&b), 100 * sizeof piece + 5);
    buffer_consume(&b, 99 * sizeof piece);
    buffer_shrink(&b, 2000);
    OK(b.capacity <= 2000);
    EQUAL(buffer_size(&b), sizeof piece + 5);
    EQUAL(buffer_bytes(&b).data[0], 99);
    buffer_consume(&b, sizeof piece + 5);
    buffer_shrink(&b, 0);
    EQUAL(b.capacity, 0);
    buffer_release(&b);
}

TEST(every_prefix_of_encoded_fields_fails_softly) {
    struct buffer b = {0};
    write_u8(&b, 7);
    write_u16(&b, 0x1234);
    write_u64(&b, UINT64_MAX - 1);
    write_bytes8(&b, bytes_of("a"));
    write_bytes16(&b, bytes_of("bc"));
    write_bytes32(&b, bytes_of("def"));
    struct bytes whole = buffer_bytes(&b);
    for (size_t size = 0; size <= whole.size; size++) {
        uint8_t *exact = malloc(size + 1); /* so that a read past the end is seen by the sanitizer */
        memcpy(exact + 1, whole.data, size);
        struct reader r = reader_of((struct bytes){exact + 1, size});
        uint8_t a = read_u8(&r);
        uint16_t c = read_u16(&r);
        uint64_t d = read_u64(&r);
        struct bytes e = read_bytes8(&r), f = read_bytes16(&r), g = read_bytes32(&r);
        EQUAL(reader_done(&r), size == whole.size);
        if (size == whole.size)
            OK(a == 7 && c == 0x1234 && d == UINT64_MAX - 1 && e.size == 1 && f.size == 2 &&
               bytes_equal(g, bytes_of("def")));
        free(exact);
    }
    buffer_release(&b);
}

TEST(the_same_seed_gives_the_same_numbers) {
    struct random a, b, c;
    random_seed(&a, 1);
    random_seed(&b, 1);
    random_seed(&c, 2);
    int differ = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t x = random_next(&a);
        EQUAL(random_next(&b), x);
        differ += random_next(&c) != x;
    }
    EQUAL(differ, 100);
    for (int i = 0; i < 1000; i++)
        OK(random_below(&a, 3) < 3);
}

TESTS(TAP(an_empty_buffer_gives_room_for_nothing_without_an_allocation),
      TAP(a_buffer_keeps_its_content_while_it_grows_and_is_consumed),
      TAP(a_buffer_that_is_filled_towards_a_size_takes_no_more_memory_than_that),
      TAP(every_prefix_of_encoded_fields_fails_softly), TAP(the_same_seed_gives_the_same_numbers))
