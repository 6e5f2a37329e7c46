#include "discovery/announce.h"
#include "storage/crc32c.h"
#include "tests/tap.h"

static struct announce example(enum announce_kind kind) {
    struct announce a = {.kind = kind,
                         .info = {.session = 7, .term = 9, .role = NODE_FOLLOWER, .cluster = "kvnode"}};
    memcpy(a.info.id, "0123456789abcdef", NODE_ID_SIZE);
    address_parse("127.0.0.2:8000", &a.info.peer);
    address_parse("127.0.0.2:9000", &a.info.api);
    return a;
}

static enum announce_result decode(struct bytes datagram, struct announce *out) {
    uint8_t *exact = malloc(datagram.size + 1);
    memcpy(exact + 1, datagram.data, datagram.size);
    enum announce_result result = announce_decode((struct bytes){exact + 1, datagram.size}, out);
    free(exact);
    return result;
}

TEST(every_kind_is_read_as_written_and_no_prefix_or_flipped_bit_of_it_is) {
    for (int kind = ANNOUNCE_HERE; kind <= ANNOUNCE_LEAVE; kind++) {
        struct announce a = example((enum announce_kind)kind), got;
        struct buffer out = {0};
        announce_encode(&out, &a);
        struct bytes whole = buffer_bytes(&out);
        EQUAL(decode(whole, &got), ANNOUNCE_OK);
        EQUAL(got.kind, kind);
        OK(memcmp(&got.info, &a.info, sizeof got.info) == 0);
        for (size_t size = 0; size < whole.size; size++)
            OK(decode((struct bytes){whole.data, size}, &got) != ANNOUNCE_OK);
        for (size_t bit = 0; bit < 8 * whole.size; bit++) {
            out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            enum announce_result want = bit < 32   ? ANNOUNCE_GARBAGE
                                        : bit < 40 ? ANNOUNCE_VERSION
                                                   : ANNOUNCE_CORRUPT;
            EQUAL(decode(whole, &got), want);
            out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        buffer_release(&out);
    }
}

TEST(an_answer_is_never_longer_than_the_question) {
    struct announce longest = example(ANNOUNCE_ANSWER), shortest = example(ANNOUNCE_NEW);
    memset(longest.info.cluster, 'x', CLUSTER_NAME_MAX);
    address_parse("[::1]:1", &longest.info.peer);
    address_parse("[::1]:1", &longest.info.api);
    shortest.info.peer = shortest.info.api = (struct address){0};
    struct buffer question = {0}, answer = {0};
    announce_encode(&question, &shortest);
    announce_encode(&answer, &longest);
    OK(buffer_size(&answer) <= buffer_size(&question));
    OK(buffer_size(&question) <= ANNOUNCE_SIZE_MAX);
    buffer_release(&question);
    buffer_release(&answer);
}

/* A correct checksum over a content that is none. */
static enum announce_result resealed(struct buffer *out, struct announce *got) {
    size_t size = buffer_size(out) - 4;
    put_u32(out->data + out->start + size, crc32c(0, (struct bytes){out->data + out->start, size}));
    return decode(buffer_bytes(out), got);
}

TEST(a_right_checksum_over_wrong_fields_is_still_corrupt) {
    struct announce a = example(ANNOUNCE_HERE), got;
    struct buffer out = {0};
    announce_encode(&out, &a);
    EQUAL(resealed(&out, &got), ANNOUNCE_OK);
    out.data[out.start + 5] = 4; /* kind */
    EQUAL(resealed(&out, &got), ANNOUNCE_CORRUPT);
    out.data[out.start + 5] = ANNOUNCE_NEW; /* which is padded, and this is not */
    EQUAL(resealed(&out, &got), ANNOUNCE_CORRUPT);
    out.data[out.start + 5] = ANNOUNCE_HERE;
    out.data[out.start + 6] = '/'; /* in the id */
    EQUAL(resealed(&out, &got), ANNOUNCE_CORRUPT);
    out.data[out.start + 6] = '0';
    write_u8(&out, 0); /* something left over */
    EQUAL(resealed(&out, &got), ANNOUNCE_CORRUPT);
    buffer_clear(&out);
    a.kind = ANNOUNCE_NEW;
    announce_encode(&out, &a);
    out.data[out.end - 5] = 1; /* in the padding */
    EQUAL(resealed(&out, &got), ANNOUNCE_CORRUPT);
    buffer_release(&out);
}

TEST(an_oversized_datagram_is_dropped_unseen) {
    static uint8_t huge[65536];
    struct announce got;
    EQUAL(announce_decode((struct bytes){huge, ANNOUNCE_SIZE_MAX + 1}, &got), ANNOUNCE_OVERSIZED);
    EQUAL(announce_decode((struct bytes){huge, ANNOUNCE_SIZE_MAX}, &got), ANNOUNCE_GARBAGE);
}

TESTS(TAP(every_kind_is_read_as_written_and_no_prefix_or_flipped_bit_of_it_is),
      TAP(an_answer_is_never_longer_than_the_question),
      TAP(a_right_checksum_over_wrong_fields_is_still_corrupt), TAP(an_oversized_datagram_is_dropped_unseen))
