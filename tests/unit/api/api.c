/* What the server answers, byte for byte, and in which headers. */
#include "tests/unit/api/server.h"

TEST(the_replies_of_the_ledger_are_given_byte_for_byte) {
    struct fixture *f = fixture_new(0);
    TEXT_EQUAL(say(f, SET_ALICE),
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 32\r\n"
               "ETag: \"3.2\"\r\nKV-Position: 0:3.2\r\nKV-Acks: 1/1\r\n"
               "KV-Node: node-aaaaaaaaaaa\r\nKV-Group: 0\r\n\r\n"
               "{\"status\":\"ok\",\"key\":\"username\"}");
    TEXT_EQUAL(say(f, GET("/get?key=username")),
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 34\r\nETag: \"3.2\"\r\n"
               "KV-Node: node-aaaaaaaaaaa\r\nKV-Group: 0\r\n\r\n{\"key\":\"username\",\"value\":\"alice\"}");
    mock_set(f->c, bytes_of("email"), bytes_of("e"));
    mock_set(f->c, bytes_of("city"), bytes_of("c"));
    TEXT_EQUAL(say(f, GET("/keys")),
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 46\r\n"
               "KV-Node: node-aaaaaaaaaaa\r\nKV-Group: 0\r\n\r\n"
               "{\"keys\":[\"city\",\"email\",\"username\"],\"count\":3}");
    TEXT_EQUAL(body(say(f, GET("/cluster"))),
               "{\"self_node_id\":\"node-aaaaaaaaaaa\",\"self_group\":0,\"is_leader\":true,\"nodes\":["
               "{\"node_id\":\"node-aaaaaaaaaaa\",\"address\":\"127.0.0.1:8000\",\"group_id\":0,"
               "\"is_leader\":true}],\"node_count\":1}");
    TEXT_EQUAL(body(say(f, GET("/health"))),
               "{\"status\":\"healthy\",\"role\":\"leader\",\"group\":0,\"keys\":5}");
    TEXT_EQUAL(body(say(f, "DELETE /delete?key=username HTTP/1.1\r\nHost: localhost\r\n\r\n")),
               "{\"status\":\"ok\",\"key\":\"username\"}");
    TEXT_EQUAL(say(f, GET("/get?key=nobody")),
               "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 95\r\n"
               "KV-Node: node-aaaaaaaaaaa\r\nKV-Group: 0\r\n\r\n{\"error\":\"not_found\",\"message\":"
               "\"There is no such key.\",\"fix\":\"Check the key, or set it first.\"}");
    OK(!api_wants_close(f->client));
    fixture_free(f);
}

TEST(requests_split_at_every_byte_get_the_same_answers) {
    struct fixture *f = fixture_new(0);
    const char *text =
        GET("/get?key=username") SET("Transfer-Encoding: chunked\r\n\r\n"
                                     "5;x=y\r\n{\"key\r\n1d\r\n\":\"username\",\"value\":\"alice\"}"
                                     "\r\n0\r\nT: t\r\n\r\n") GET("/keys?limit=1");
    char want[4096];
    f->c->index = 10;
    snprintf(want, sizeof want, "%.*s", (int)sizeof want - 1, say(f, text));
    OK(has(want, "\"status\":\"ok\"") && has(want, "\"count\":1"));
    for (size_t split = 0; split <= strlen(text); split++) {
        f->c->index = 1;
        mock_set(f->c, bytes_of("username"), bytes_of("alice"));
        f->c->keys[0].version.index = 1;
        f->c->index = 10;
        feed(f, (struct bytes){(const uint8_t *)text, split});
        feed(f, bytes_of(text + split));
        if (strcmp(take(f), want) != 0) {
            TEXT_EQUAL(f->text, want);
            break;
        }
    }
    for (const char *c = text; *c != '\0'; c++)
        feed(f, (struct bytes){(const uint8_t *)c, 1});
    OK(has(take(f), "\"count\":1"));
    EQUAL(buffer_size(api_input(f->client)), 0);
    fixture_free(f);
}

TEST(keys_and_values_are_any_bytes_that_json_can_hold) {
    struct fixture *f = fixture_new(0);
    EQUAL(status(ask(f, SET("") BODY("{\"key\":\"a\\u0000b\",\"value\":\"x\\u0000\\n\\u00e9\"}"))), 200);
    TEXT_EQUAL(body(f->text), "{\"status\":\"ok\",\"key\":\"a\\u0000b\"}");
    OK(bytes_equal(buffer_bytes(&f->c->last_key), (struct bytes){(const uint8_t *)"a\0b", 3})); /* bug 48 */
    TEXT_EQUAL(body(ask(f, "%s", GET("/get?key=a%00b"))),
               "{\"key\":\"a\\u0000b\",\"value\":\"x\\u0000\\n\xc3\xa9\"}");
    EQUAL(status(ask(f, "%s", GET("/get?key=a"))), 404);
    mock_set(f->c, bytes_of("a b"), bytes_of("1"));
    EQUAL(status(ask(f, "%s", GET("/get?key=a+b"))), 200);
    EQUAL(status(ask(f, "%s", GET("/get?key=%FF"))), 404);
    mock_set(f->c, bytes_of("raw"), bytes_of("\xff"));
    EQUAL(status(ask(f, "%s", GET("/get?key=raw"))), 409);
    EQUAL(status(ask(f, "DELETE /delete?key=%%FF HTTP/1.1\r\nHost: localhost\r\n\r\n")), 409);
    fixture_free(f);
}

TEST(sizes_of_keys_values_and_bodies_hold_to_the_byte) {
    struct fixture *f = fixture_new(0);
    char key[1100];
    memset(key, 'k', sizeof key);
    key[1024] = '\0';
    EQUAL(status(ask(f, "GET /get?key=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", key)), 404);
    EQUAL(status(ask(f, "GET /get?key=%sx HTTP/1.1\r\nHost: localhost\r\n\r\n", key)), 400);
    OK(has(f->text, "bad_key"));
    EQUAL(status(ask(f, "%s", GET("/get?key="))), 400);
    EQUAL(status(ask(f, "%s", GET("/get"))), 400);
    OK(has(f->text, "bad_key"));
    for (size_t over = 0; over < 2; over++) {
        struct buffer b = {0};
        char head[200];
        size_t size = VALUE_SIZE_MAX + over;
        snprintf(head, sizeof head, SET("Content-Length: %zu\r\n\r\n{\"key\":\"a\",\"value\":\""), size + 22);
        buffer_append_text(&b, head);
        memset(buffer_reserve(&b, size), 'v', size);
        buffer_grow(&b, size);
        buffer_append_text(&b, "\"}");
        feed(f, buffer_bytes(&b));
        EQUAL(status(take(f)), over == 0 ? 200 : 413);
        buffer_release(&b);
    }
    OK(!api_wants_close(f->client));
    EQUAL(status(ask(f, SET("Content-Length: %u\r\n\r\n"), (unsigned)BODY_SIZE_MAX + 1)), 413);
    OK(api_wants_close(f->client));
    fixture_free(f);
}

TEST(an_outcome_is_told_in_json) {
    static const struct {
        enum outcome outcome;
        const char *body;
    } cases[] = {
        {OUTCOME_DONE, "\r\n\r\n{\"outcome\":\"committed\",\"position\":\"2:3.9\",\"result\":\"ok\"}"},
        {OUTCOME_FAILED,
         "\r\n\r\n{\"outcome\":\"committed\",\"position\":\"2:3.9\",\"result\":\"precondition_failed\"}"},
        {OUTCOME_PENDING, "\r\n\r\n{\"outcome\":\"pending\",\"position\":\"2:3.9\"}"},
        {OUTCOME_UNKNOWN, "\r\n\r\n{\"outcome\":\"unknown\"}"},
    };
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        f->c->outcome = cases[i].outcome;
        EQUAL(status(ask(f, "%s", GET("/outcome?client=c&request=r%2F1&key=k"))), 200);
        if (!OK(has(f->text, cases[i].body)))
            printf("# %s\n", f->text);
        OK(bytes_equal(buffer_bytes(&f->c->last_pair), bytes_of("c r/1")));
        OK(f->c->last.linearizable && f->c->last.operation == OPERATION_OUTCOME);
        OK(bytes_equal(buffer_bytes(&f->c->last_key), bytes_of("k")));
    }
    fixture_free(f);
}

TEST(an_explanation_is_the_last_member_of_the_answer) {
    struct fixture *f = fixture_new(0);
    f->c->base.explain = bytes_of("{\"x\":1}");
    TEXT_EQUAL(body(ask(f, "%s", GET("/get?key=username&explain=1"))),
               "{\"key\":\"username\",\"value\":\"alice\",\"explain\":{\"x\":1}}");
    OK(f->c->last.explain);
    TEXT_EQUAL(body(ask(f, "DELETE /delete?key=a&explain=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")),
               "{\"status\":\"ok\",\"key\":\"a\",\"explain\":{\"x\":1}}");
    ask(f, "%s", GET("/get?key=no&explain=0"));
    OK(!f->c->last.explain);
    fixture_free(f);
}

TEST(head_gets_the_headers_of_get_and_nothing_else) {
    struct fixture *f = fixture_new(0);
    const char *answer = ask(f, "HEAD /get?key=username HTTP/1.1\r\nHost: localhost\r\n\r\n");
    OK(status(answer) == 200 && has(answer, "Content-Length: 34\r\n") && has(answer, "ETag: \"3.1\""));
    TEXT_EQUAL(body(answer), "");
    EQUAL(status(say(f, "HEAD /get?key=no HTTP/1.1\r\nHost: localhost\r\n\r\n")), 404);
    TEXT_EQUAL(body(f->text), "");
    TEXT_EQUAL(body(say(f, "HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n")), "");
    TEXT_EQUAL(body(say(f, "HEAD /keys HTTP/1.1\r\nHost: localhost\r\n\r\n")), "");
    TEXT_EQUAL(body(say(f, GET("/health"))),
               "{\"status\":\"healthy\",\"role\":\"leader\",\"group\":0,\"keys\":5}");
    fixture_free(f);
}

TEST(the_ring_is_shown_where_there_is_more_than_one_group) {
    struct fixture *f = fixture_new(0);
    OK(!has(say(f, GET("/cluster")), "ring_epoch"));
    f->c->ring = (struct coordinator_ring){
        .several = true, .epoch = 3, .groups = {0, 4}, .group_count = 2, .joining = {9}, .joining_count = 1};
    OK(has(say(f, GET("/cluster")), "\"node_count\":1,\"ring_epoch\":3,\"groups\":[0,4],\"joining\":[9]}"));
    struct ring ring = {{0}};
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        ring.owners[slot] = slot == 7 || slot > 16000 ? 4 : 0;
    f->c->ring.slots = &ring;
    OK(has(say(f, GET("/cluster")),
           "\"joining\":[9],\"slots\":[[0,6,0],[7,7,4],[8,16000,0],[16001,16383,4]]}"));
    fixture_free(f);
}

/* ---- headers of replies ---- */

TEST(receipts_of_followers_and_degraded_leaders_are_in_the_headers) {
    struct fixture *f = fixture_new(0);
    f->c->base.follower = true;
    OK(has(ask(f, "%s", GET("/get?key=username")), "KV-Staleness-Ms: unknown\r\n"));
    f->c->base.staleness_known = true;
    f->c->base.staleness_ms = 42;
    f->c->base.degraded = true;
    f->c->base.group = 7;
    memcpy(f->c->base.node, "another-node-bbb", NODE_ID_SIZE);
    const char *text = ask(f, "%s", GET("/get?key=username"));
    OK(has(text, "KV-Staleness-Ms: 42\r\n") && has(text, "KV-Degraded: no-majority\r\n"));
    OK(has(text, "KV-Node: another-node-bbb\r\n") && has(text, "KV-Group: 7\r\n"));
    f->c->fixed = (struct reply){.error = ERROR_PRECONDITION, .version = {5, 6}};
    text = ask(f, "%s", SET_ALICE);
    OK(status(text) == 412 && has(text, "ETag: \"5.6\"\r\n") && has(text, "KV-Node: node-aaaaaaaaaaa\r\n"));
    f->c->fixed = (struct reply){.error = ERROR_NO_LEADER};
    OK(has(ask(f, "%s", SET_ALICE), "Retry-After: 1\r\n"));
    EQUAL(status(f->text), 503);
    f->c->fixed = (struct reply){.error = ERROR_OUTCOME_UNKNOWN, .position = {2, {3, 4}}};
    text = ask(f, "%s", SET_ALICE);
    OK(status(text) == 504 && has(text, "KV-Position: 2:3.4\r\n") && !has(text, "Retry-After"));
    f->c->fixed = (struct reply){
        .error = ERROR_OVERLOAD, .retry_after_s = 30, .message = bytes_of("a \"b\""), .fix = bytes_of("do")};
    text = ask(f, "%s", SET_ALICE);
    OK(has(text, "Retry-After: 30\r\n"));
    TEXT_EQUAL(body(text),
               "{\"error\":\"overload\",\"message\":\"a \\\"b\\\"\",\"fix\":\"Nothing was written. do\"}");
    fixture_free(f);
}

TEST(only_a_write_is_told_that_nothing_was_written) {
    static const enum error refusals[] = {ERROR_OVERLOAD,    ERROR_NO_LEADER,  ERROR_GROUP_UNREACHABLE,
                                          ERROR_NO_MAJORITY, ERROR_NOT_LEADER, ERROR_DEADLINE};
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        f->c->fixed = (struct reply){.error = refusals[i]};
        OK(has(ask(f, "%s", SET_ALICE), "\"fix\":\"Nothing was written. "));
        OK(!has(ask(f, "%s", GET("/get?key=username")), "written"));
        OK(has(f->text, "\"fix\":\""));
    }
    f->c->fixed = (struct reply){.error = ERROR_OUTCOME_UNKNOWN};
    OK(!has(ask(f, "%s", SET_ALICE), "Nothing was written"));
    fixture_free(f);
}

TEST(the_longest_headers_fit) {
    struct fixture *f = fixture_new(0);
    f->c->base = (struct reply){.version = {UINT64_MAX, UINT64_MAX},
                                .position = {UINT32_MAX, {UINT64_MAX, UINT64_MAX}},
                                .acks = 255,
                                .voters = 255,
                                .group = UINT32_MAX,
                                .follower = true,
                                .staleness_known = true,
                                .staleness_ms = UINT64_MAX,
                                .degraded = true,
                                .retry_after_s = UINT32_MAX};
    memcpy(f->c->base.node, f->c->self.id, NODE_ID_SIZE);
    f->c->fixed = f->c->base;
    f->c->fixed.error = ERROR_HEADERS_TOO_LARGE;
    const char *text = ask(f, "DELETE /delete?key=a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    OK(status(text) == 431 && has(text, "KV-Acks: 255/255\r\n") && has(text, "Connection: keep-alive\r\n"));
    fixture_free(f);
}

TEST(nodes_of_other_clusters_are_listed_apart) {
    struct fixture *f = fixture_new(0);
    f->c->nodes_count = 3;
    f->c->nodes[1] = f->c->nodes[0];
    f->c->nodes[1].is_leader = false;
    memcpy(f->c->nodes[1].info.id, "node-bbbbbbbbbbb", NODE_ID_SIZE);
    address_parse("127.0.0.1:8001", &f->c->nodes[1].info.peer);
    f->c->nodes[2] = f->c->nodes[1];
    memcpy(f->c->nodes[2].info.id, "node-ccccccccccc", NODE_ID_SIZE);
    snprintf(f->c->nodes[2].info.cluster, sizeof f->c->nodes[2].info.cluster, "oth\"er");
    f->c->leader = false;
    TEXT_EQUAL(
        body(say(f, GET("/cluster"))),
        "{\"self_node_id\":\"node-aaaaaaaaaaa\",\"self_group\":0,\"is_leader\":false,\"nodes\":["
        "{\"node_id\":\"node-aaaaaaaaaaa\",\"address\":\"127.0.0.1:8000\",\"group_id\":0,\"is_leader\":true},"
        "{\"node_id\":\"node-bbbbbbbbbbb\",\"address\":\"127.0.0.1:8001\",\"group_id\":0,\"is_leader\":false}"
        "],"
        "\"node_count\":2,\"foreign\":[{\"node_id\":\"node-ccccccccccc\",\"address\":\"127.0.0.1:8001\","
        "\"group_id\":0,\"cluster\":\"oth\\\"er\"}]}");
    f->c->health = (struct health_view){.status = "degraded",
                                        .role = "leader",
                                        .group = 2,
                                        .keys = 7,
                                        .ready = true,
                                        .reason = "no majority",
                                        .fix = "Start \"b\"."};
    TEXT_EQUAL(body(say(f, GET("/health"))),
               "{\"status\":\"degraded\",\"role\":\"leader\",\"group\":2,\"keys\":7,"
               "\"ready\":true,\"reason\":\"no majority\",\"fix\":\"Start \\\"b\\\".\"}");
    fixture_free(f);
}

TESTS(TAP(the_replies_of_the_ledger_are_given_byte_for_byte),
      TAP(requests_split_at_every_byte_get_the_same_answers),
      TAP(keys_and_values_are_any_bytes_that_json_can_hold),
      TAP(sizes_of_keys_values_and_bodies_hold_to_the_byte), TAP(an_outcome_is_told_in_json),
      TAP(an_explanation_is_the_last_member_of_the_answer),
      TAP(head_gets_the_headers_of_get_and_nothing_else),
      TAP(the_ring_is_shown_where_there_is_more_than_one_group),
      TAP(receipts_of_followers_and_degraded_leaders_are_in_the_headers), TAP(the_longest_headers_fit),
      TAP(only_a_write_is_told_that_nothing_was_written), TAP(nodes_of_other_clusters_are_listed_apart))
