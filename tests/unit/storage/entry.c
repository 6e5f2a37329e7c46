#include "storage/entry.h"

#include "storage/random.h"
#include "tests/tap.h"

static struct entry full_entry(void) {
    return (struct entry){.key = bytes_of("key"),
                          .value = bytes_of("value"),
                          .condition = CONDITION_MATCH,
                          .match = {.term = 3, .index = 77},
                          .client = bytes_of("client"),
                          .request = bytes_of("r1"),
                          .cluster_ms = 1700000000001,
                          .expiry_ms = 1700000000000,
                          .clock = bytes_of("clock")};
}

static bool entries_equal(const struct entry *a, const struct entry *b) {
    return bytes_equal(a->key, b->key) && bytes_equal(a->value, b->value) && a->condition == b->condition &&
           version_equal(a->match, b->match) && bytes_equal(a->client, b->client) &&
           bytes_equal(a->request, b->request) && a->cluster_ms == b->cluster_ms &&
           a->expiry_ms == b->expiry_ms && bytes_equal(a->clock, b->clock);
}

/* Decodes from memory that ends where the bytes do. */
static bool decode_exactly(struct bytes b, struct entry *out, uint8_t **memory) {
    *memory = malloc(b.size == 0 ? 1 : b.size);
    if (b.size > 0)
        memcpy(*memory, b.data, b.size);
    return entry_decode((struct bytes){*memory, b.size}, out);
}

TEST(what_is_encoded_is_decoded_with_every_set_of_fields) {
    for (unsigned set = 0; set < 64; set++) {
        struct entry entry = full_entry(), back;
        if (set & 1)
            entry.match = (struct version){0},
            entry.condition = (enum condition)(set & 2 ? CONDITION_EXISTS : 0);
        if (set & 2)
            entry.client = entry.request = (struct bytes){0};
        if (set & 4)
            entry.cluster_ms = 0;
        if (set & 8)
            entry.expiry_ms = 0;
        if (set & 16)
            entry.clock = (struct bytes){0};
        if (set & 32)
            entry.value = (struct bytes){0};
        struct buffer b = {0};
        uint8_t *memory;
        entry_encode(&b, &entry);
        EQUAL(buffer_size(&b), entry_size(&entry));
        OK(decode_exactly(buffer_bytes(&b), &back, &memory));
        OK(entries_equal(&entry, &back));
        free(memory);
        buffer_release(&b);
    }
}

TEST(a_plain_entry_costs_three_bytes) {
    struct entry entry = {.key = bytes_of("k"), .value = bytes_of("v")};
    EQUAL(entry_size(&entry), 5);
}

TEST(the_largest_entry_is_within_the_bound) {
    uint8_t *value = calloc(1, VALUE_SIZE_MAX), key[KEY_SIZE_MAX] = {0}, clock[CLOCK_SIZE_MAX] = {0};
    uint8_t name[CLIENT_SIZE_MAX] = {0};
    struct entry entry = full_entry(), back;
    entry.key = (struct bytes){key, sizeof key};
    entry.value = (struct bytes){value, VALUE_SIZE_MAX};
    entry.clock = (struct bytes){clock, sizeof clock};
    entry.client = entry.request = (struct bytes){name, sizeof name};
    struct buffer b = {0};
    entry_encode(&b, &entry);
    OK(buffer_size(&b) <= ENTRY_SIZE_MAX);
    OK(entry_decode(buffer_bytes(&b), &back));
    OK(entries_equal(&entry, &back));
    buffer_append_text(&b, "x"); /* one byte too many for a value */
    OK(!entry_decode(buffer_bytes(&b), &back));
    buffer_release(&b);
    free(value);
}

TEST(every_prefix_is_refused_or_is_a_shorter_value) {
    struct entry entry = full_entry(), back;
    struct buffer b = {0};
    entry_encode(&b, &entry);
    struct bytes whole = buffer_bytes(&b);
    size_t value_at = whole.size - entry.value.size;
    for (size_t size = 0; size <= whole.size; size++) {
        uint8_t *memory;
        EQUAL(decode_exactly((struct bytes){whole.data, size}, &back, &memory), size >= value_at);
        if (size >= value_at)
            EQUAL(back.value.size, size - value_at);
        free(memory);
    }
    buffer_release(&b);
}

TEST(a_flipped_bit_never_reaches_past_the_end_and_what_decodes_encodes_to_the_same_bytes) {
    struct entry entry = full_entry(), back;
    struct buffer b = {0};
    entry_encode(&b, &entry);
    struct bytes whole = buffer_bytes(&b);
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        uint8_t *memory;
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (decode_exactly(whole, &back, &memory)) {
            struct buffer again = {0};
            entry_encode(&again, &back);
            OK(bytes_equal(buffer_bytes(&again), whole));
            buffer_release(&again);
        }
        free(memory);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buffer_release(&b);
}

TEST(any_bytes_decode_to_an_entry_of_the_same_bytes_or_not_at_all) {
    struct random r;
    random_seed(&r, 5);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[64], *memory;
        size_t size = (size_t)random_below(&r, sizeof bytes + 1);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_below(&r, i < 3 ? 32 : 256);
        if (size > 2)
            bytes[2] = 0; /* a key that may fit */
        struct entry back;
        if (decode_exactly((struct bytes){bytes, size}, &back, &memory)) {
            struct buffer again = {0};
            entry_encode(&again, &back);
            OK(bytes_equal(buffer_bytes(&again), (struct bytes){bytes, size}));
            buffer_release(&again);
        }
        free(memory);
    }
}

TEST(unknown_flags_and_fields_that_say_nothing_are_refused) {
    struct entry back;
    static const uint8_t unknown_flag[] = {32, 1, 0, 'k'}, no_key[] = {0, 0, 0}, long_key[] = {0, 1, 4, 'k'},
                         no_condition[] = {1, 1, 0, 0, 'k'}, bad_condition[] = {1, 1, 0, 4, 'k'},
                         empty_pair[] = {2, 1, 0, 0, 0, 'k'}, no_request[] = {2, 1, 0, 1, 'c', 0, 'k'},
                         no_client[] = {2, 1, 0, 0, 1, 'r', 'k'},
                         no_time[] = {4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'k'},
                         empty_clock[] = {16, 1, 0, 0, 0, 'k'}, plain[] = {0, 1, 0, 'k'};
    OK(!entry_decode((struct bytes){unknown_flag, sizeof unknown_flag}, &back));
    OK(!entry_decode((struct bytes){no_key, sizeof no_key}, &back));
    OK(!entry_decode((struct bytes){long_key, sizeof long_key}, &back));
    OK(!entry_decode((struct bytes){no_condition, sizeof no_condition}, &back));
    OK(!entry_decode((struct bytes){bad_condition, sizeof bad_condition}, &back));
    OK(!entry_decode((struct bytes){empty_pair, sizeof empty_pair}, &back));
    OK(!entry_decode((struct bytes){no_request, sizeof no_request}, &back));
    OK(!entry_decode((struct bytes){no_client, sizeof no_client}, &back));
    OK(!entry_decode((struct bytes){no_time, sizeof no_time}, &back));
    OK(!entry_decode((struct bytes){empty_clock, sizeof empty_clock}, &back));
    OK(entry_decode((struct bytes){plain, sizeof plain}, &back));
}

TESTS(TAP(what_is_encoded_is_decoded_with_every_set_of_fields), TAP(a_plain_entry_costs_three_bytes),
      TAP(the_largest_entry_is_within_the_bound), TAP(every_prefix_is_refused_or_is_a_shorter_value),
      TAP(a_flipped_bit_never_reaches_past_the_end_and_what_decodes_encodes_to_the_same_bytes),
      TAP(any_bytes_decode_to_an_entry_of_the_same_bytes_or_not_at_all),
      TAP(unknown_flags_and_fields_that_say_nothing_are_refused))
