/* Slow and idle clients, too many of them, and those that take too much. */
#include "tests/unit/api/server.h"

/* ---- time and limits ---- */

TEST(slow_clients_meet_deadlines_that_a_trickle_does_not_move) {
    struct fixture *f = fixture_new(0);
    feed(f, bytes_of("GET /health"));
    for (uint64_t t = 0; t < 9; t++) { /* bug 51: a byte a second does not help */
        f->now_ms += 1000;
        feed(f, bytes_of("x"));
        api_tick(f->api, f->now_ms);
        EQUAL(buffer_size(api_output(f->client)), 0);
    }
    f->now_ms += 1000;
    api_tick(f->api, f->now_ms);
    OK(api_next_ready(f->api) == f->client);
    EQUAL(status(take(f)), 408);
    OK(has(f->text, "Connection: close") && api_wants_close(f->client));

    ask(f, SET("Content-Length: 100\r\n\r\n{"));
    f->now_ms += 29000;
    api_tick(f->api, f->now_ms);
    EQUAL(buffer_size(api_output(f->client)), 0);
    f->now_ms += 1000;
    api_tick(f->api, f->now_ms);
    EQUAL(status(take(f)), 408);
    OK(api_wants_close(f->client));

    ask(f, "%s", GET("/health"));
    f->now_ms += 59000;
    api_tick(f->api, f->now_ms);
    OK(!api_wants_close(f->client));
    f->now_ms += 1000;
    api_tick(f->api, f->now_ms);
    OK(api_wants_close(f->client));
    EQUAL(buffer_size(api_output(f->client)), 0); /* an idle end is silent */
    fixture_free(f);
}

TEST(answers_that_nobody_reads_are_dropped_after_thirty_seconds) {
    struct fixture *f = fixture_new(0);
    feed(f, bytes_of(GET("/health")));
    size_t size = buffer_size(api_output(f->client));
    api_tick(f->api, f->now_ms);
    f->now_ms += 29000;
    buffer_consume(api_output(f->client), 1); /* it reads */
    api_tick(f->api, f->now_ms);
    f->now_ms += 29000;
    api_tick(f->api, f->now_ms);
    EQUAL(buffer_size(api_output(f->client)), size - 1);
    f->now_ms += 1000;
    api_tick(f->api, f->now_ms);
    EQUAL(buffer_size(api_output(f->client)), 0);
    OK(api_next_ready(f->api) == f->client && api_wants_close(f->client));
    fixture_free(f);
}

TEST(a_request_that_the_node_works_on_has_no_idle_deadline) {
    struct fixture *f = fixture_new(0);
    f->c->hold_writes = true;
    say(f, SET_ALICE);
    f->now_ms += 120000;
    api_tick(f->api, f->now_ms);
    OK(!api_wants_close(f->client));
    answer_held(f, 0);
    EQUAL(status(take(f)), 200);
    fixture_free(f);
}

TEST(an_idle_client_gives_its_memory_back) {
    struct fixture *f = fixture_new(0);
    f->c->hold_writes = true;
    say(f, SET_ALICE);
    answer_held(f, 0);
    take(f);
    OK(api_input(f->client)->capacity > 0 && f->client->places != NULL);
    f->now_ms += 3000;
    api_tick(f->api, f->now_ms);
    EQUAL(api_input(f->client)->capacity, 0);
    EQUAL(api_output(f->client)->capacity, 0);
    OK(f->client->places == NULL);
    OK(sizeof(struct api_client) <= 512);
    f->c->hold_writes = false;
    EQUAL(status(say(f, SET_ALICE)), 200);
    fixture_free(f);
}

TEST(clients_beyond_the_limit_are_told_so) {
    struct fixture *f = fixture_new(2);
    struct api_client *second = api_open(f->api, f->now_ms, NULL);
    OK(second != NULL);
    OK(api_open(f->api, f->now_ms, NULL) == NULL);
    EQUAL(api_clients(f->api), 2);
    struct bytes full = api_full_answer();
    char *text = strndup((const char *)full.data, full.size), length[40];
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", strlen(body(text)));
    OK(status(text) == 503 && has(text, "Retry-After: 1\r\n") && has(text, length));
    free(text);
    api_close(second, f->now_ms);
    OK(api_open(f->api, f->now_ms, NULL) != NULL);
    fixture_free(f);
}

TEST(an_idle_or_slow_client_makes_room_for_a_new_one_and_a_busy_one_does_not) {
    struct fixture *f = fixture_new(3);
    struct api_client *busy = f->client, *slow = api_open(f->api, f->now_ms, NULL);
    struct api_client *idle = api_open(f->api, f->now_ms, NULL);
    f->c->hold_writes = true;
    feed(f, bytes_of(SET_ALICE));
    buffer_append(api_input(slow), bytes_of("GET /get?k"));
    api_process(slow, f->now_ms);
    f->now_ms += 999;
    OK(api_open(f->api, f->now_ms, NULL) == NULL);
    f->now_ms += 1;
    for (int i = 0; i < 2; i++) {
        struct api_client *more = api_open(f->api, f->now_ms, NULL), *gone = api_next_ready(f->api);
        REQUIRE(more != NULL && (gone == idle || gone == slow));
        OK(api_wants_close(gone));
        api_close(gone, f->now_ms);
    }
    OK(api_open(f->api, f->now_ms, NULL) == NULL);
    OK(!api_wants_close(busy));
    EQUAL(api_clients(f->api), 3);
    fixture_free(f);
}

TEST(large_requests_and_answers_of_all_clients_have_one_bound) {
    struct fixture *f = fixture_new(0);
    struct buffer value = {0};
    f->api->memory_max = 250000;
    memset(buffer_reserve(&value, 200000), 'v', 200000);
    buffer_grow(&value, 200000);
    mock_set(f->c, bytes_of("big"), buffer_bytes(&value));
    struct api_client *first = f->client, *second = api_open(f->api, f->now_ms, NULL);
    feed(f, bytes_of(GET("/get?key=big")));
    f->client = second;
    feed(f, bytes_of(GET("/get?key=big") SET("Content-Length: 6000000\r\n\r\n")));
    EQUAL(status(take(f)), 200);
    feed(f, buffer_bytes(&value));
    feed(f, bytes_of("more"));
    EQUAL(status(take(f)), 503);
    OK(has(f->text, "Retry-After: 1\r\n") && api_wants_close(second));
    api_close(second, f->now_ms);
    f->client = first;
    f->api->memory_max = 1000;
    feed(f, bytes_of(GET("/get?key=username")));
    OK(has(take(f), "overload") && has(f->text, "200 OK"));
    api_process(f->client, f->now_ms);
    EQUAL(f->api->memory, 0);
    EQUAL(status(say(f, GET("/get?key=big"))), 200);
    buffer_release(&value);
    fixture_free(f);
}

TESTS(TAP(slow_clients_meet_deadlines_that_a_trickle_does_not_move),
      TAP(answers_that_nobody_reads_are_dropped_after_thirty_seconds),
      TAP(a_request_that_the_node_works_on_has_no_idle_deadline), TAP(an_idle_client_gives_its_memory_back),
      TAP(clients_beyond_the_limit_are_told_so),
      TAP(an_idle_or_slow_client_makes_room_for_a_new_one_and_a_busy_one_does_not),
      TAP(large_requests_and_answers_of_all_clients_have_one_bound))
