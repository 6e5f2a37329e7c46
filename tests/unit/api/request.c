/* Requests and replies as one node passes them to another; the table of errors. */
#include "api/request.h"
#include "tests/tap.h"

#include <stdlib.h>

static const struct request request = {
    .operation = OPERATION_SET,
    .key = {(const uint8_t *)"k\0y", 3},
    .value = {(const uint8_t *)"va\0ue", 5},
    .condition = CONDITION_MATCH,
    .match = {7, 99},
    .ack_given = true,
    .ack = ACK_ALL,
    .linearizable = true,
    .explain = true,
    .after = {5, {6, 98}},
    .client = {(const uint8_t *)"client", 6},
    .request = {(const uint8_t *)"r1", 2},
    .deadline_ms = 5600,
};

static const struct reply reply = {
    .error = ERROR_PRECONDITION,
    .message = {(const uint8_t *)"message", 7},
    .fix = {(const uint8_t *)"fix", 3},
    .value = {(const uint8_t *)"\0", 1},
    .version = {4, 5},
    .position = {3, {4, 6}},
    .acks = 2,
    .voters = 3,
    .node = "node-aaaaaaaaaaa",
    .group = 3,
    .follower = true,
    .staleness_known = true,
    .staleness_ms = 123456789012u,
    .degraded = true,
    .retry_after_s = 9,
    .explain = {(const uint8_t *)"{}", 2},
    .outcome = OUTCOME_PENDING,
};

static bool decode_request(struct bytes payload, struct request *out, uint64_t *id) {
    uint8_t *exact = malloc(payload.size > 0 ? payload.size : 1);
    memcpy(exact, payload.data, payload.size);
    bool ok = request_decode((struct bytes){exact, payload.size}, 600, id, out);
    free(exact);
    return ok;
}

static bool decode_reply(struct bytes payload, struct reply *out, uint64_t *id) {
    uint8_t *exact = malloc(payload.size > 0 ? payload.size : 1);
    memcpy(exact, payload.data, payload.size);
    bool ok = reply_decode((struct bytes){exact, payload.size}, id, out);
    free(exact);
    return ok;
}

TEST(a_request_travels_whole_and_its_deadline_as_time_left) {
    struct buffer b = {0};
    struct request out;
    uint64_t id;
    request_encode(&b, 77, 5000, &request);
    REQUIRE(request_decode(buffer_bytes(&b), 100000, &id, &out));
    EQUAL(id, 77);
    EQUAL(out.operation, OPERATION_SET);
    OK(out.explain && out.after.group == 5 && out.after.at.term == 6 && out.after.at.index == 98);
    OK(bytes_equal(out.key, request.key) && bytes_equal(out.value, request.value));
    EQUAL(out.condition, CONDITION_MATCH);
    OK(version_equal(out.match, request.match));
    OK(out.ack_given && out.ack == ACK_ALL && out.linearizable);
    OK(bytes_equal(out.client, request.client) && bytes_equal(out.request, request.request));
    EQUAL(out.deadline_ms, 100600);
    buffer_clear(&b);
    request_encode(&b, 77, 6000, &request);
    REQUIRE(request_decode(buffer_bytes(&b), 100000, &id, &out));
    EQUAL(out.deadline_ms, 100000);
    buffer_release(&b);
}

TEST(a_reply_travels_whole) {
    struct buffer b = {0};
    struct reply out;
    uint64_t id;
    reply_encode(&b, UINT64_MAX, &reply);
    REQUIRE(reply_decode(buffer_bytes(&b), &id, &out));
    EQUAL(id, UINT64_MAX);
    EQUAL(out.error, reply.error);
    OK(bytes_equal(out.message, reply.message) && bytes_equal(out.fix, reply.fix));
    OK(bytes_equal(out.value, reply.value));
    OK(version_equal(out.version, reply.version));
    OK(version_equal(out.position.at, reply.position.at) && out.position.group == 3);
    OK(out.acks == 2 && out.voters == 3 && memcmp(out.node, reply.node, NODE_ID_SIZE) == 0);
    OK(out.group == 3 && out.follower && out.staleness_known && out.degraded);
    EQUAL(out.staleness_ms, reply.staleness_ms);
    EQUAL(out.retry_after_s, 9);
    EQUAL(out.outcome, OUTCOME_PENDING);
    buffer_clear(&b);
    struct reply none = {0};
    reply_encode(&b, 1, &none);
    REQUIRE(reply_decode(buffer_bytes(&b), &id, &out));
    OK(out.version.index == 0 && out.position.at.index == 0 && !out.staleness_known && !out.follower);
    buffer_release(&b);
}

TEST(a_KV_After_of_index_0_is_refused) {
    static const uint8_t after[] = {5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 98};
    struct buffer b = {0};
    struct request q;
    uint64_t id;
    request_encode(&b, 1, 0, &request);
    uint8_t *at = memmem(b.data, b.end, after, sizeof after);
    REQUIRE(at != NULL);
    at[sizeof after - 1] = 0;
    OK(!decode_request(buffer_bytes(&b), &q, &id));
    buffer_release(&b);
}

TEST(every_prefix_and_every_overlong_request_or_reply_is_refused) {
    struct buffer b = {0}, c = {0};
    struct request q;
    struct reply r;
    uint64_t id;
    request_encode(&b, 1, 0, &request);
    reply_encode(&c, 1, &reply);
    for (size_t size = 0; size < b.end; size++)
        OK(!decode_request((struct bytes){b.data, size}, &q, &id));
    for (size_t size = 0; size < c.end; size++)
        OK(!decode_reply((struct bytes){c.data, size}, &r, &id));
    buffer_append_text(&b, "x");
    buffer_append_text(&c, "x");
    OK(!decode_request(buffer_bytes(&b), &q, &id));
    OK(!decode_reply(buffer_bytes(&c), &r, &id));
    buffer_release(&b);
    buffer_release(&c);
}

TEST(a_flipped_bit_gives_a_request_within_its_limits_or_none) {
    struct buffer b = {0}, c = {0};
    struct request q;
    struct reply r;
    uint64_t id;
    request_encode(&b, 1, 0, &request);
    reply_encode(&c, 1, &reply);
    for (size_t bit = 0; bit < b.end * 8; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (decode_request(buffer_bytes(&b), &q, &id)) {
            OK(q.operation >= OPERATION_GET && q.operation <= OPERATION_OUTCOME &&
               q.condition <= CONDITION_EXISTS);
            OK(q.ack <= ACK_ALL && q.key.size >= 1 && q.key.size <= KEY_SIZE_MAX);
            OK(q.client.size <= CLIENT_SIZE_MAX && (q.client.size > 0) == (q.request.size > 0));
        }
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < c.end * 8; bit++) {
        c.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (decode_reply(buffer_bytes(&c), &r, &id))
            OK(error_row(r.error) != NULL && node_id_valid((struct bytes){r.node, NODE_ID_SIZE}));
        c.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buffer_release(&b);
    buffer_release(&c);
}

TEST(a_reply_with_a_header_injected_into_its_node_is_refused) {
    struct buffer b = {0};
    struct reply r = reply, out;
    uint64_t id;
    memcpy(r.node, "node\r\nSet-Cookie", NODE_ID_SIZE);
    reply_encode(&b, 1, &r);
    OK(!decode_reply(buffer_bytes(&b), &out, &id));
    buffer_release(&b);
}

TEST(a_reply_between_nodes_is_never_one_that_a_client_gets_without_a_body) {
    struct buffer b = {0};
    struct reply r = reply, out;
    uint64_t id;
    r.error = ERROR_NOT_MODIFIED;
    reply_encode(&b, 1, &r);
    OK(!decode_reply(buffer_bytes(&b), &out, &id));
    buffer_release(&b);
}

TEST(limits_of_keys_and_values_hold_on_the_wire) {
    struct buffer b = {0};
    struct request q = {.operation = OPERATION_SET}, out;
    uint64_t id;
    uint8_t *large = calloc(1, VALUE_SIZE_MAX);
    q.key = (struct bytes){large, KEY_SIZE_MAX};
    q.value = (struct bytes){large, VALUE_SIZE_MAX};
    request_encode(&b, 1, 0, &q);
    OK(decode_request(buffer_bytes(&b), &out, &id));
    b.data[16] = 1; /* a key of 1025 bytes */
    OK(!decode_request(buffer_bytes(&b), &out, &id));
    b.data[16] = 0;
    b.data[8] = OPERATION_GET; /* with a value */
    OK(!decode_request(buffer_bytes(&b), &out, &id));
    free(large);
    buffer_release(&b);
}

TEST(a_request_about_members_names_an_id_and_only_a_join_an_address) {
    struct request q = {.operation = OPERATION_JOIN,
                        .key = bytes_of("node-aaaaaaaaaaa"),
                        .value = bytes_of("x")},
                   out;
    struct buffer b = {0};
    uint64_t id;
    for (unsigned operation = OPERATION_NODES; operation <= OPERATION_TRANSFER; operation++) {
        q.operation = operation;
        buffer_clear(&b);
        request_encode(&b, 1, 0, &q);
        EQUAL(decode_request(buffer_bytes(&b), &out, &id), operation == OPERATION_JOIN);
    }
    q.operation = OPERATION_LEAVE;
    q.value.size = 0;
    buffer_clear(&b);
    request_encode(&b, 1, 0, &q);
    OK(decode_request(buffer_bytes(&b), &out, &id));
    q.key.size--;
    buffer_clear(&b);
    request_encode(&b, 1, 0, &q);
    OK(!decode_request(buffer_bytes(&b), &out, &id));
    buffer_release(&b);
}

TEST(the_time_left_can_be_set_again_when_a_request_leaves_later) {
    struct buffer b = {0};
    struct request out;
    uint64_t id;
    request_encode(&b, 77, 5000, &request);
    put_u32(b.data + b.start + REQUEST_TIME_LEFT_AT, 42);
    REQUIRE(request_decode(buffer_bytes(&b), 100, &id, &out));
    EQUAL(out.deadline_ms, 142);
    buffer_release(&b);
}

TEST(every_error_has_a_name_of_its_own_a_status_and_a_mend) {
    for (unsigned i = ERROR_BAD_REQUEST; i < ERROR_COUNT; i++) {
        const struct error_row *row = error_row(i);
        REQUIRE(row != NULL && row->name != NULL && row->message != NULL && row->fix != NULL);
        OK((row->status >= 400 && row->status < 600) || (i == ERROR_REDIRECT && row->status == 307) ||
           (i == ERROR_NOT_MODIFIED && row->status == 304));
        OK(strlen(row->message) > 10 && strlen(row->fix) > 10);
        for (unsigned j = i + 1; j < ERROR_COUNT; j++)
            OK(strcmp(row->name, error_row(j)->name) != 0);
    }
    OK(error_row(ERROR_COUNT) == NULL);
    OK(error_row(UINT32_MAX) == NULL);
    EQUAL(error_row(ERROR_NONE)->status, 200);
    EQUAL(error_row(ERROR_PRECONDITION)->status, 412);
}

TESTS(TAP(a_request_travels_whole_and_its_deadline_as_time_left), TAP(a_reply_travels_whole),
      TAP(every_prefix_and_every_overlong_request_or_reply_is_refused),
      TAP(a_flipped_bit_gives_a_request_within_its_limits_or_none),
      TAP(a_reply_with_a_header_injected_into_its_node_is_refused), TAP(a_KV_After_of_index_0_is_refused),
      TAP(a_reply_between_nodes_is_never_one_that_a_client_gets_without_a_body),
      TAP(limits_of_keys_and_values_hold_on_the_wire),
      TAP(a_request_about_members_names_an_id_and_only_a_join_an_address),
      TAP(the_time_left_can_be_set_again_when_a_request_leaves_later),
      TAP(every_error_has_a_name_of_its_own_a_status_and_a_mend))
