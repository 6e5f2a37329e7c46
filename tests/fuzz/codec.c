/* Every decoder of foreign bytes that keeps no state: what it takes can be written and read back as the same.
 */
#include "api/request.h"
#include "api/routed.h"
#include "cluster/groups.h"
#include "discovery/announce.h"
#include "replication/frame.h"
#include "replication/hello.h"
#include "replication/message.h"
#include "storage/log.h"
#include "storage/record.h"
#include "storage/retries.h"
#include "tests/fuzz/fuzz.h"

static void entry(struct bytes in) {
    struct entry entry;
    if (!entry_decode(in, &entry))
        return;
    struct buffer out = {0};
    entry_encode(&out, &entry);
    MUST(bytes_equal(buffer_bytes(&out), in) && entry_size(&entry) == in.size);
    buffer_release(&out);
}

static void record(struct bytes in) {
    size_t size = record_check(in);
    MUST(size <= in.size);
    if (size == 0)
        return;
    struct slab slab;
    slab_init(&slab);
    struct record *copy = record_copy(&slab, (struct bytes){in.data, size});
    struct store_record view;
    MUST(record_size(copy) == size);
    record_view(copy, &view);
    struct record *again = record_new(&slab, &view);
    MUST(record_size(again) == size && memcmp(again, in.data, size) == 0);
    record_free(&slab, copy);
    record_free(&slab, again);
    slab_clear(&slab);
}

static void answered(struct bytes in) {
    struct store_answer answer;
    size_t size = retries_decode(in, &answer);
    MUST(size <= in.size);
    if (size == 0)
        return;
    struct slab slab;
    struct retries retries;
    struct buffer out = {0};
    slab_init(&slab);
    retries_init(&retries, &slab);
    retries_add(&retries, &answer);
    retries_row_encode(&out, retries_at(&retries, 0));
    MUST(bytes_equal(buffer_bytes(&out), (struct bytes){in.data, size}));
    buffer_release(&out);
    retries_clear(&retries);
    slab_clear(&slab);
}

static void slice(struct bytes in) {
    struct log_record record;
    size_t left = in.size;
    while (log_slice_next(&in, &record)) {
        MUST(in.size < left);
        left = in.size;
        touch(record.payload);
    }
}

static void configuration(struct bytes in) {
    struct configuration configuration;
    if (!configuration_decode(in, &configuration))
        return;
    struct buffer out = {0};
    configuration_encode(&out, &configuration);
    MUST(bytes_equal(buffer_bytes(&out), in) && configuration_voters(&configuration) >= 1);
    buffer_release(&out);
}

static void request(struct bytes in) {
    struct request request;
    uint64_t id;
    if (!request_decode(in, 1000, &id, &request))
        return;
    struct buffer out = {0};
    request_encode(&out, id, 1000, &request);
    MUST(bytes_equal(buffer_bytes(&out), in));
    buffer_release(&out);
}

static void reply(struct bytes in) {
    struct reply reply;
    uint64_t id;
    if (!reply_decode(in, &id, &reply))
        return;
    struct buffer out = {0}, again = {0};
    reply_encode(&out, id, &reply);
    MUST(reply_decode(buffer_bytes(&out), &id, &reply));
    reply_encode(&again, id, &reply);
    MUST(bytes_equal(buffer_bytes(&out), buffer_bytes(&again)));
    buffer_release(&out);
    buffer_release(&again);
}

static void message(struct bytes in) {
    struct message message;
    if (!message_decode(in, &message))
        return;
    struct buffer out = {0};
    message_encode(&out, &message);
    MUST(bytes_equal(buffer_bytes(&out), in));
    buffer_release(&out);
}

static void hello(struct bytes in) {
    struct hello hello;
    size_t used;
    if (hello_parse(in, &hello, &used) != HELLO_DONE)
        return;
    struct buffer out = {0};
    hello_write(&out, &hello);
    MUST(used <= in.size && bytes_equal(buffer_bytes(&out), (struct bytes){in.data, used}));
    buffer_release(&out);
}

static void frame(struct bytes in) {
    uint8_t type;
    struct bytes payload;
    if (frame_parse(in, 4096, &type, &payload) != FRAME_DONE)
        return;
    MUST(payload.size <= 4096 && payload.size + FRAME_OVERHEAD <= in.size);
    touch(payload);
}

static void announce(struct bytes in) {
    struct announce announce, again;
    if (announce_decode(in, &announce) != ANNOUNCE_OK)
        return;
    struct buffer out = {0};
    announce_encode(&out, &announce);
    MUST(buffer_size(&out) <= ANNOUNCE_SIZE_MAX);
    MUST(announce_decode(buffer_bytes(&out), &again) == ANNOUNCE_OK && again.kind == announce.kind);
    MUST(node_info_same_process(&announce.info, &again.info));
    buffer_release(&out);
}

static void address(struct bytes in) {
    char text[128] = {0}, printed[ADDRESS_TEXT_MAX];
    struct address parsed, again;
    memcpy(text, in.data, in.size < sizeof text - 1 ? in.size : sizeof text - 1);
    if (!address_parse(text, &parsed))
        return;
    MUST(address_parse(address_text(&parsed, printed), &again) && address_equal(&parsed, &again));
}

static void ring_record(struct bytes in) {
    struct groups_record ring;
    struct groups_state state = {0};
    if (!groups_record_decode(in, &ring))
        return;
    struct buffer out = {0};
    groups_record_encode(&out, &ring);
    MUST(bytes_equal(buffer_bytes(&out), in));
    groups_apply(&state, &ring);
    buffer_release(&out);
}

static void ring_state(struct bytes in) {
    struct groups_state state;
    struct reader r = reader_of(in);
    if (!groups_state_read(&r, &state) || !reader_done(&r))
        return;
    struct buffer out = {0};
    groups_state_write(&out, &state);
    MUST(bytes_equal(buffer_bytes(&out), in));
    buffer_release(&out);
}

static void routed(struct bytes in) {
    struct routed routed;
    struct bytes request;
    if (!routed_decode(in, &routed, &request))
        return;
    struct buffer out = {0};
    routed_encode(&out, &routed);
    buffer_append(&out, request);
    MUST(bytes_equal(buffer_bytes(&out), in));
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const decoders[])(struct bytes) = {
        entry, record,   slice,   configuration, request,    reply,  message, hello,
        frame, announce, address, ring_record,   ring_state, routed, answered};
    struct script s = script_of(data, size);
    size_t which = take_u8(&s) % (sizeof decoders / sizeof decoders[0]);
    size_t left = script_left(&s);
    uint8_t *copy = exact((struct bytes){s.at, left});
    decoders[which]((struct bytes){copy, left});
    free(copy);
    return 0;
}
