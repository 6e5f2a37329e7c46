/* Requests of one connection: their order, what breaks it off, and what an attacker may send. */
#include "tests/unit/api/server.h"

TEST(answers_leave_in_request_order_whatever_order_they_come_in) {
    struct fixture *f = fixture_new(0);
    char request[300];
    f->c->hold_writes = true;
    for (int i = 0; i < 16; i++) {
        snprintf(request, sizeof request,
                 SET("Content-Length: 25\r\n\r\n{\"key\":\"k%02d\",\"value\":\"v\"}"), i);
        feed(f, bytes_of(request));
    }
    EQUAL(f->c->held_count, 16);
    EQUAL(buffer_size(api_output(f->client)), 0);
    for (size_t i = 15; i >= 1; i--)
        answer_held(f, i);
    EQUAL(buffer_size(api_output(f->client)), 0);
    OK(api_next_ready(f->api) == NULL);
    answer_held(f, 0);
    OK(api_next_ready(f->api) == f->client);
    OK(api_next_ready(f->api) == NULL);
    const char *at = take(f);
    EQUAL(count_of(at, "HTTP/1.1 200"), 16);
    for (int i = 0; i < 16; i++) {
        char etag[32], key[32];
        snprintf(etag, sizeof etag, "ETag: \"9.%d\"", i + 1);
        snprintf(key, sizeof key, "\"k%02d\"}", i);
        REQUIRE((at = strstr(at, etag)) != NULL && (at = strstr(at, key)) != NULL);
    }
    answer_held(f, 3); /* twice is once */
    EQUAL(buffer_size(api_output(f->client)), 0);
    fixture_free(f);
}

TEST(a_read_waits_for_the_writes_before_it_and_a_write_for_the_reads) {
    struct fixture *f = fixture_new(0);
    f->c->hold_writes = true;
    say(f, SET_ALICE SET_ALICE GET("/get?key=username") SET_ALICE);
    EQUAL(f->c->submitted, 2);
    answer_held(f, 0);
    api_process(f->client, f->now_ms);
    EQUAL(f->c->submitted, 2);
    answer_held(f, 1);
    OK(api_next_ready(f->api) == f->client);
    api_process(f->client, f->now_ms);
    EQUAL(f->c->submitted, 4);
    const char *text = take(f);
    EQUAL(count_of(text, "HTTP/1.1 200"), 3);
    OK(strstr(text, "\"value\":\"alice\"") > strstr(text, "\"status\":\"ok\""));
    answer_held(f, 2);
    EQUAL(count_of(take(f), "HTTP/1.1 200"), 1);
    f->c->hold_reads = true;
    f->c->held_count = 0;
    f->c->submitted = 0;
    say(f, GET("/get?key=a") GET("/get?key=b") SET_ALICE);
    EQUAL(f->c->submitted, 2);
    fixture_free(f);
}

TEST(an_error_behind_a_waiting_write_waits_its_turn_and_then_closes) {
    struct fixture *f = fixture_new(0);
    f->c->hold_writes = true;
    TEXT_EQUAL(say(f, SET_ALICE "nonsense\r\n\r\n" SET_ALICE), "");
    OK(!api_wants_close(f->client));
    EQUAL(f->c->submitted, 1);
    answer_held(f, 0);
    const char *text = take(f);
    EQUAL(status(text), 200);
    OK(has(text, "HTTP/1.1 400 Bad Request") && has(text, "Connection: close"));
    OK(api_wants_close(f->client));
    fixture_free(f);
}

TEST(a_malformed_request_is_answered_once_and_nothing_behind_it_runs) {
    struct fixture *f = fixture_new(0);
    const char *text =
        ask(f, "%s%s%s", GET("/get?key=username"), "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "DELETE /delete?key=username HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EQUAL(count_of(text, "HTTP/1.1 "), 2);
    OK(has(text, "400 Bad Request") && has(text, "bad_request"));
    OK(api_wants_close(f->client) && !api_wants_input(f->client));
    EQUAL(f->c->submitted, 1);
    EQUAL(status(ask(f, "GET / HTTP/3.0\r\n\r\n")), 505);
    EQUAL(status(ask(f, "GET / HTTP/1.1\r\nExpect: x\r\n\r\n")), 417);
    EQUAL(status(ask(f, SET("Transfer-Encoding: chunked\r\n\r\n0x5\r\n"))), 400);
    OK(api_wants_close(f->client));
    fixture_free(f);
}

TEST(late_answers_to_a_closed_connection_reach_nobody) {
    struct fixture *f = fixture_new(0);
    f->c->hold_writes = true;
    say(f, SET_ALICE);
    api_close(f->client, f->now_ms);
    f->client = api_open(f->api, f->now_ms, f); /* in the same slot */
    say(f, SET_ALICE);
    answer_held(f, 0);
    EQUAL(buffer_size(api_output(f->client)), 0);
    struct reply reply = mock_write_reply(f->c);
    api_reply(f->api, UINT64_MAX, &reply);
    api_reply(f->api, 0, &reply);
    EQUAL(buffer_size(api_output(f->client)), 0);
    answer_held(f, 1);
    OK(buffer_size(api_output(f->client)) > 0);
    fixture_free(f);
}

TEST(a_slow_reader_is_not_read_from_until_it_has_caught_up) {
    struct fixture *f = fixture_new(0);
    struct buffer value = {0};
    memset(buffer_reserve(&value, 100000), 'v', 100000);
    buffer_grow(&value, 100000);
    mock_set(f->c, bytes_of("big"), buffer_bytes(&value));
    for (int i = 0; i < 20; i++)
        feed(f, bytes_of(GET("/get?key=big")));
    EQUAL(f->c->submitted, 3);
    OK(!api_wants_input(f->client));
    OK(buffer_size(api_output(f->client)) < OUTPUT_SIZE_MAX + 100400);
    int answers = 0;
    while (buffer_size(api_output(f->client)) > 0) {
        answers += (int)count_of(take(f), "HTTP/1.1 200");
        api_process(f->client, f->now_ms);
    }
    EQUAL(answers, 20);
    OK(api_wants_input(f->client));
    buffer_release(&value);
    fixture_free(f);
}

TEST(writes_under_way_have_a_limit_and_go_on_behind_it) {
    struct fixture *f = fixture_new(0);
    f->c->hold_writes = true;
    for (int i = 0; i < 200; i++)
        feed(f, bytes_of(SET_ALICE));
    EQUAL(f->c->submitted, WRITES_MAX);
    OK(!api_wants_input(f->client));
    for (size_t i = 0; i < f->c->held_count; i++) {
        answer_held(f, i);
        api_process(f->client, f->now_ms);
    }
    EQUAL(f->c->submitted, 200);
    EQUAL(count_of(take(f), "HTTP/1.1 200"), 200);
    OK(api_wants_input(f->client));
    fixture_free(f);
}

/* ---- bodies ---- */

TEST(a_hundred_goes_out_only_when_the_body_is_wanted) {
    struct fixture *f = fixture_new(0);
    TEXT_EQUAL(ask(f, SET("Expect: 100-continue\r\nContent-Length: 23\r\n\r\n")),
               "HTTP/1.1 100 Continue\r\n\r\n");
    EQUAL(status(say(f, "{\"key\":\"a\",\"value\":\"b\"}")), 200);
    EQUAL(status(ask(f, "POST /nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                        "Content-Length: 23\r\n\r\n")),
          404);
    OK(api_wants_close(f->client));
    EQUAL(status(ask(f, SET("Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"))), 413);
    OK(api_wants_close(f->client));
    f->c->hold_writes = true;
    TEXT_EQUAL(ask(f, "%s", SET_ALICE SET("Expect: 100-continue\r\nContent-Length: 23\r\n\r\n")), "");
    answer_held(f, 0);
    api_process(f->client, f->now_ms);
    OK(has(take(f), "\"status\":\"ok\",\"key\":\"username\"}HTTP/1.1 100 Continue"));
    fixture_free(f);
}

TEST(a_refused_body_is_skipped_and_the_next_request_found) {
    struct fixture *f = fixture_new(0);
    const char *text = ask(f, "%s%s",
                           "POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "5\r\nGET /\r\n0\r\n\r\n",
                           GET("/health"));
    EQUAL(count_of(text, "HTTP/1.1"), 2);
    OK(has(text, "404") && has(text, "healthy"));
    OK(!api_wants_close(f->client));
    fixture_free(f);
}

TEST(old_http_is_answered_and_closed_unless_it_wants_more) {
    struct fixture *f = fixture_new(0);
    const char *text = ask(f, "GET /health HTTP/1.0\r\n\r\n");
    OK(status(text) == 200 && has(text, "Connection: close\r\n"));
    OK(api_wants_close(f->client));
    text = ask(f, "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    OK(status(text) == 200 && has(text, "Connection: keep-alive\r\n"));
    OK(!api_wants_close(f->client));
    text = ask(f, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /");
    OK(has(text, "Connection: close\r\n") && api_wants_close(f->client));
    fixture_free(f);
}

/* Streams made of good and bad pieces, changed at random, in random portions. */
TEST(no_stream_of_bytes_breaks_the_server_or_leaves_an_answer_malformed) {
    static const char *const pieces[] = {
        GET("/get?key=username"),
        GET("/keys"),
        GET("/cluster"),
        GET("/nothing"),
        SET_ALICE,
        SET("Transfer-Encoding: "
            "chunked\r\n\r\n5;x=y\r\n{\"key\r\n1d\r\n\":\"username\",\"value\":\"alice\"}\r\n0\r\n\r\n"),
        SET("Expect: 100-continue\r\nContent-Length: 23\r\n\r\n{\"key\":\"a\",\"value\":\"b\"}"),
        "POST /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        "DELETE /delete?key=a%20b HTTP/1.0\r\nConnection: keep-alive\r\nIf-Match: \"1.2\"\r\n\r\n",
        "HEAD /get?key=username HTTP/1.1\r\nHost: [::1]:9\r\nOrigin: http://[::1]:9\r\n\r\n",
    };
    struct random r;
    random_seed(&r, 20240229);
    struct fixture *f = fixture_new(0);
    for (int round = 0; round < 3000; round++) {
        struct buffer stream = {0};
        api_close(f->client, f->now_ms);
        f->client = api_open(f->api, f->now_ms, f);
        f->c->hold_writes = random_below(&r, 2) == 0;
        f->c->hold_reads = random_below(&r, 4) == 0;
        f->c->held_count = 0;
        for (uint64_t i = 1 + random_below(&r, 6); i > 0; i--)
            buffer_append_text(&stream, pieces[random_below(&r, sizeof pieces / sizeof pieces[0])]);
        for (uint64_t i = random_below(&r, 4); i > 0; i--)
            stream.data[random_below(&r, stream.end)] ^= (uint8_t)(1 << random_below(&r, 8));
        while (buffer_size(&stream) > 0) {
            size_t portion = 1 + (size_t)random_below(&r, 40);
            struct bytes next = buffer_bytes(&stream);
            next.size = portion < next.size ? portion : next.size;
            feed(f, next);
            buffer_consume(&stream, next.size);
            if (f->c->held_count > 0 && random_below(&r, 3) == 0)
                answer_held(f, (size_t)random_below(&r, f->c->held_count));
        }
        for (size_t i = f->c->held_count; i-- > 0;)
            answer_held(f, i);
        api_process(f->client, f->now_ms);
        const char *text = take(f);
        if (text[0] != '\0' && strncmp(text, "HTTP/1.1 ", 9) != 0) {
            OK(!"an answer begins with its status line");
            printf("# round %d: %s\n", round, text);
        }
        buffer_release(&stream);
    }
    OK(api_clients(f->api) == 1);
    fixture_free(f);
}

TEST(draining_answers_what_is_under_way_and_takes_nothing_new) {
    struct fixture *f = fixture_new(0);
    struct api_client *idle = api_open(f->api, f->now_ms, NULL);
    f->c->hold_writes = true;
    say(f, SET_ALICE);
    OK(!api_drain(f->api));
    OK(api_wants_close(idle) && !api_wants_close(f->client));
    OK(api_open(f->api, f->now_ms, NULL) == NULL);
    say(f, GET("/health"));
    TEXT_EQUAL(f->text, "");
    OK(!api_wants_input(f->client));
    answer_held(f, 0);
    OK(has(take(f), "Connection: close\r\n") && status(f->text) == 200);
    OK(api_wants_close(f->client));
    OK(api_drain(f->api));
    fixture_free(f);
}

TEST(a_client_that_ends_its_side_is_answered_first) {
    struct fixture *f = fixture_new(0);
    f->c->hold_writes = true;
    say(f, SET_ALICE GET("/health"));
    api_input_ended(f->client);
    api_process(f->client, f->now_ms);
    OK(!api_wants_close(f->client) && !api_wants_input(f->client));
    answer_held(f, 0);
    api_process(f->client, f->now_ms);
    EQUAL(count_of(take(f), "HTTP/1.1 200"), 2);
    OK(api_wants_close(f->client));
    ask(f, "GET /hea");
    api_input_ended(f->client);
    api_process(f->client, f->now_ms);
    OK(api_wants_close(f->client));
    fixture_free(f);
}

TESTS(TAP(answers_leave_in_request_order_whatever_order_they_come_in),
      TAP(a_read_waits_for_the_writes_before_it_and_a_write_for_the_reads),
      TAP(an_error_behind_a_waiting_write_waits_its_turn_and_then_closes),
      TAP(a_malformed_request_is_answered_once_and_nothing_behind_it_runs),
      TAP(late_answers_to_a_closed_connection_reach_nobody),
      TAP(a_slow_reader_is_not_read_from_until_it_has_caught_up),
      TAP(writes_under_way_have_a_limit_and_go_on_behind_it),
      TAP(a_hundred_goes_out_only_when_the_body_is_wanted),
      TAP(a_refused_body_is_skipped_and_the_next_request_found),
      TAP(old_http_is_answered_and_closed_unless_it_wants_more),
      TAP(no_stream_of_bytes_breaks_the_server_or_leaves_an_answer_malformed),
      TAP(draining_answers_what_is_under_way_and_takes_nothing_new),
      TAP(a_client_that_ends_its_side_is_answered_first))
