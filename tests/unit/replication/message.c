#include "replication/message.h"
#include "tests/tap.h"

static const uint8_t records[] = {1, 2, 3, 4, 5};

/* One of each type, every field set to something of its own. */
static size_t samples(struct message out[16]) {
    size_t n = 0;
    struct bytes some = {records, sizeof records};
    out[n++] = (struct message){.type = MESSAGE_VOTE, .vote = {{2, 3}, true, false}};
    out[n++] = (struct message){.type = MESSAGE_VOTE, .vote = {{2, 3}, false, true}};
    out[n++] = (struct message){.type = MESSAGE_VOTE_REPLY, .vote_reply = {true, false}};
    out[n++] = (struct message){.type = MESSAGE_VOTE_REPLY, .vote_reply = {false, true}};
    out[n++] = (struct message){.type = MESSAGE_APPEND,
                                .append = {{2, 3}, 4, 5, true, {6, 7}, false, true, 11, 12, some}};
    out[n++] = (struct message){.type = MESSAGE_APPEND,
                                .append = {{2, 3}, 4, 5, false, {0, 0}, true, false, 11, 12, {NULL, 0}}};
    out[n++] = (struct message){.type = MESSAGE_APPEND_REPLY,
                                .append_reply = {true, 2, 3, 4, 11, {5, 6}, 7, 8, 9, 10}};
    out[n++] = (struct message){.type = MESSAGE_SNAPSHOT, .snapshot = {{2, 3}, 4, 9, 10, some}};
    out[n++] =
        (struct message){.type = MESSAGE_SNAPSHOT_REPLY, .snapshot_reply = {{2, 3}, 4, 5, true, false}};
    out[n++] =
        (struct message){.type = MESSAGE_SNAPSHOT_REPLY, .snapshot_reply = {{2, 3}, 4, 5, false, true}};
    out[n++] = (struct message){.type = MESSAGE_TIMEOUT_NOW};
    out[n++] = (struct message){.type = MESSAGE_READ_INDEX, .read_index = {.id = 8}};
    out[n++] = (struct message){.type = MESSAGE_READ_INDEX_REPLY, .read_index = {8, true, 9}};
    out[n++] = (struct message){.type = MESSAGE_REMOVED, .removed = {10}};
    for (size_t i = 0; i < n; i++)
        out[i].term = MESSAGE_TERM_MAX - i;
    return n;
}

static uint8_t *exact_copy(struct bytes b) {
    uint8_t *exact = malloc(b.size + (b.size == 0));
    if (b.size > 0)
        memcpy(exact, b.data, b.size);
    return exact;
}

/* Decoded and encoded again it gives the same bytes. */
static bool same_again(struct bytes b) {
    struct message m;
    struct buffer again = {0};
    uint8_t *exact = exact_copy(b);
    bool ok = message_decode((struct bytes){exact, b.size}, &m);
    if (ok)
        message_encode(&again, &m);
    ok = ok && bytes_equal(buffer_bytes(&again), b);
    buffer_release(&again);
    free(exact);
    return ok;
}

static bool decodes(struct bytes b, struct message *m) {
    uint8_t *exact = exact_copy(b);
    bool ok = message_decode((struct bytes){exact, b.size}, m);
    free(exact);
    return ok;
}

TEST(every_message_comes_back_as_it_was) {
    struct message all[16], m;
    size_t count = samples(all);
    for (size_t i = 0; i < count; i++) {
        struct buffer b = {0};
        message_encode(&b, &all[i]);
        OK(same_again(buffer_bytes(&b)));
        REQUIRE(message_decode(buffer_bytes(&b), &m));
        EQUAL(m.type, all[i].type);
        EQUAL(m.term, all[i].term);
        buffer_release(&b);
    }
}

TEST(the_fields_of_an_append_and_its_reply_are_where_they_belong) {
    struct message all[16], m;
    samples(all);
    struct buffer b = {0};
    message_encode(&b, &all[4]);
    REQUIRE(message_decode(buffer_bytes(&b), &m));
    OK(m.append.previous.term == 2 && m.append.previous.index == 3 && m.append.commit == 4);
    OK(m.append.read == 5 && m.append.alone && m.append.records.size == sizeof records);
    buffer_clear(&b);
    message_encode(&b, &all[6]);
    REQUIRE(message_decode(buffer_bytes(&b), &m));
    OK(m.append_reply.success && m.append_reply.match == 2 && m.append_reply.durable == 3);
    OK(m.append_reply.read == 4 && m.append_reply.hint.term == 5 && m.append_reply.hint.index == 6);
    EQUAL(m.append_reply.last, 7);
    buffer_release(&b);
}

TEST(a_prefix_is_no_message_unless_only_carried_bytes_are_missing) {
    struct message all[16], m;
    size_t count = samples(all);
    for (size_t i = 0; i < count; i++) {
        struct buffer b = {0};
        message_encode(&b, &all[i]);
        bool carries = all[i].type == MESSAGE_APPEND || all[i].type == MESSAGE_SNAPSHOT;
        size_t carried = carries ? (i == 5 ? 0 : sizeof records) : 0;
        for (size_t size = 0; size < buffer_size(&b); size++)
            EQUAL(decodes((struct bytes){b.data, size}, &m), carries && size >= buffer_size(&b) - carried);
        write_u8(&b, 0);
        EQUAL(decodes(buffer_bytes(&b), &m), all[i].type == MESSAGE_APPEND);
        buffer_release(&b);
    }
}

TEST(a_flipped_bit_gives_no_message_or_another_one_that_means_what_it_says) {
    struct message all[16], m;
    size_t count = samples(all);
    for (size_t i = 0; i < count; i++) {
        struct buffer b = {0};
        message_encode(&b, &all[i]);
        for (size_t bit = 0; bit < 8 * buffer_size(&b); bit++) {
            b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (decodes(buffer_bytes(&b), &m))
                OK(same_again(buffer_bytes(&b)));
            b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        buffer_release(&b);
    }
}

TEST(too_many_records_and_a_chunk_past_the_end_are_refused) {
    static uint8_t many[MESSAGE_RECORDS_MAX];
    struct message m = {.type = MESSAGE_APPEND}, out;
    struct buffer b = {0};
    m.append.records = (struct bytes){many, sizeof many};
    message_encode(&b, &m);
    OK(message_decode(buffer_bytes(&b), &out));
    write_u8(&b, 0);
    OK(!message_decode(buffer_bytes(&b), &out));
    buffer_clear(&b);
    m = (struct message){.type = MESSAGE_SNAPSHOT};
    m.snapshot.chunk = (struct bytes){many, MESSAGE_CHUNK_SIZE};
    m.snapshot.offset = UINT64_MAX - 10;
    m.snapshot.total = UINT64_MAX;
    message_encode(&b, &m);
    OK(!message_decode(buffer_bytes(&b), &out));
    buffer_release(&b);
}

static bool comes_through(const struct message *m) {
    struct message out;
    struct buffer b = {0};
    message_encode(&b, m);
    bool ok = message_decode(buffer_bytes(&b), &out);
    buffer_release(&b);
    return ok;
}

TEST(terms_indexes_and_sizes_beyond_their_bounds_are_no_message) {
    struct message all[16];
    size_t count = samples(all), bounded = 0;
    struct {
        size_t message;
        uint64_t *field, max;
    } fields[] = {
        {0, &all[0].vote.last.term, MESSAGE_TERM_MAX},
        {0, &all[0].vote.last.index, MESSAGE_INDEX_MAX},
        {4, &all[4].append.previous.term, MESSAGE_TERM_MAX},
        {4, &all[4].append.previous.index, MESSAGE_INDEX_MAX},
        {4, &all[4].append.commit, MESSAGE_INDEX_MAX},
        {4, &all[4].append.echo.index, MESSAGE_INDEX_MAX},
        {4, &all[4].append.compare, MESSAGE_INDEX_MAX},
        {6, &all[6].append_reply.match, MESSAGE_INDEX_MAX},
        {6, &all[6].append_reply.durable, MESSAGE_INDEX_MAX},
        {6, &all[6].append_reply.hint.term, MESSAGE_TERM_MAX},
        {6, &all[6].append_reply.hint.index, MESSAGE_INDEX_MAX},
        {6, &all[6].append_reply.last, MESSAGE_INDEX_MAX},
        {6, &all[6].append_reply.compared, MESSAGE_INDEX_MAX},
        {7, &all[7].snapshot.at.term, MESSAGE_TERM_MAX - 7}, /* the message's own term */
        {7, &all[7].snapshot.at.index, MESSAGE_INDEX_MAX},
        {7, &all[7].snapshot.total, MESSAGE_SNAPSHOT_MAX},
        {8, &all[8].snapshot_reply.at.index, MESSAGE_INDEX_MAX},
        {12, &all[12].read_index.index, MESSAGE_INDEX_MAX},
        {13, &all[13].removed.index, MESSAGE_INDEX_MAX},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        uint64_t before = *fields[i].field;
        *fields[i].field = fields[i].max;
        OK(comes_through(&all[fields[i].message]));
        *fields[i].field = fields[i].max + 1;
        bounded += !comes_through(&all[fields[i].message]);
        *fields[i].field = before;
    }
    EQUAL(bounded, sizeof fields / sizeof fields[0]);
    for (size_t i = 0; i < count; i++) {
        all[i].term = MESSAGE_TERM_MAX + 1;
        OK(!comes_through(&all[i]));
    }
    struct message nothing = {.type = MESSAGE_SNAPSHOT, .term = 3, .snapshot = {.at = {3, 0}, .total = 1}};
    OK(!comes_through(&nothing)); /* a snapshot of nothing */
}

TESTS(TAP(terms_indexes_and_sizes_beyond_their_bounds_are_no_message),
      TAP(every_message_comes_back_as_it_was),
      TAP(the_fields_of_an_append_and_its_reply_are_where_they_belong),
      TAP(a_prefix_is_no_message_unless_only_carried_bytes_are_missing),
      TAP(a_flipped_bit_gives_no_message_or_another_one_that_means_what_it_says),
      TAP(too_many_records_and_a_chunk_past_the_end_are_refused))
