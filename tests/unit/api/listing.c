/* GET /keys: streamed slice by slice, from the own store or gathered from all groups. */
#include "tests/unit/api/server.h"

#define AFTER(target) "GET " target " HTTP/1.1\r\nHost: localhost\r\nKV-After: 0:1.5\r\n\r\n"

/* ---- keys ---- */

/* The JSON in a chunked answer. */
static void join_chunks(const char *at, char *out) {
    for (unsigned long size = 1; size > 0;) {
        char *end;
        size = strtoul(at, &end, 16);
        memcpy(out, end + 2, size);
        out += size;
        at = end + 2 + size + 2;
    }
    *out = '\0';
}

static void fill_keys(struct fixture *f) {
    char key[64];
    for (int i = 0; i < 4000; i++) {
        snprintf(key, sizeof key, "key-%04d-and-some-more-text-so-that-it-is-long", i);
        mock_set(f->c, bytes_of(key), bytes_of(""));
    }
}

/* A slice that the coordinator gathered from all groups. */
static void answer_slice(struct fixture *f, bool more, const char *first, const char *second) {
    struct buffer value = {0};
    struct reply reply = f->c->base;
    write_u8(&value, more);
    write_bytes16(&value, bytes_of(first));
    write_bytes16(&value, bytes_of(second));
    reply.value = buffer_bytes(&value);
    api_reply(f->api, f->c->held[f->c->held_count - 1], &reply);
    api_next_ready(f->api);
    api_process(f->client, f->now_ms);
    buffer_release(&value);
}

TEST(a_long_listing_is_streamed_a_slice_at_a_time_as_output_drains) {
    struct fixture *f = fixture_new(0);
    struct buffer all = {0};
    fill_keys(f);
    feed(f, bytes_of(GET("/keys") GET("/health")));
    size_t slices = 0;
    while (buffer_size(api_output(f->client)) > 0) {
        slices++;
        OK(buffer_size(api_output(f->client)) < 3 * 32 * 1024);
        buffer_append(&all, buffer_bytes(api_output(f->client)));
        buffer_consume(api_output(f->client), buffer_size(api_output(f->client)));
        api_process(f->client, f->now_ms);
    }
    OK(slices > 3);
    buffer_append(&all, (struct bytes){(const uint8_t *)"", 1});
    char *text = (char *)all.data, *json = malloc(all.end);
    OK(has(text, "Transfer-Encoding: chunked\r\n") && !has(body(text), "Transfer-Encoding"));
    char *health = strstr(text, "0\r\n\r\nHTTP/1.1 200 OK");
    REQUIRE(health != NULL);
    join_chunks(body(text), json);
    EQUAL(count_of(json, "\"key-"), 4000);
    OK(has(json, "\"username\"],\"count\":4001}"));
    OK(strncmp(json, "{\"keys\":[\"key-0000-", 19) == 0);
    const char *at = json;
    for (int i = 0; i < 4000; i++) {
        char key[32];
        snprintf(key, sizeof key, "\"key-%04d-", i);
        if ((at = strstr(at, key)) == NULL)
            break;
    }
    OK(at != NULL);
    free(json);
    buffer_release(&all);
    fixture_free(f);
}

/* The key a slice begins behind is as long as those that differ, and ends as the last one does. */
TEST(every_slice_of_a_listing_has_keys_that_continue_the_one_before) {
    struct fixture *f = fixture_new(0);
    struct buffer all = {0};
    char key[512];
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "a%098d0", i);
        mock_set(f->c, bytes_of(key), bytes_of(""));
    }
    memset(key, 'b', sizeof key);
    static const size_t sizes[] = {99, 100, 511};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        key[99] = '0';
        mock_set(f->c, (struct bytes){(const uint8_t *)key, sizes[i]}, bytes_of(""));
    }
    feed(f, bytes_of(GET("/keys")));
    while (buffer_size(api_output(f->client)) > 0) {
        buffer_append(&all, buffer_bytes(api_output(f->client)));
        buffer_consume(api_output(f->client), buffer_size(api_output(f->client)));
        api_process(f->client, f->now_ms);
    }
    buffer_append(&all, (struct bytes){(const uint8_t *)"", 1});
    OK(has((char *)all.data, "Transfer-Encoding: chunked\r\n"));
    OK(has((char *)all.data, "\"count\":404}"));
    buffer_release(&all);
    fixture_free(f);
}

TEST(a_long_listing_for_old_http_ends_with_its_connection) {
    struct fixture *f = fixture_new(0);
    struct buffer all = {0};
    fill_keys(f);
    feed(f, bytes_of("GET /keys HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    while (buffer_size(api_output(f->client)) > 0) {
        buffer_append(&all, buffer_bytes(api_output(f->client)));
        buffer_consume(api_output(f->client), buffer_size(api_output(f->client)));
        api_process(f->client, f->now_ms);
    }
    buffer_append(&all, (struct bytes){(const uint8_t *)"", 1});
    OK(has((char *)all.data, "Connection: close\r\n") && !has((char *)all.data, "chunked"));
    OK(strncmp(body((char *)all.data), "{\"keys\":[\"key-0000", 18) == 0);
    OK(has((char *)all.data, "\"count\":4001}"));
    OK(api_wants_close(f->client));
    buffer_release(&all);
    fixture_free(f);
}

TEST(a_listing_takes_prefix_after_and_limit) {
    struct fixture *f = fixture_new(0);
    for (const char *key = "abcde"; *key != '\0'; key++) {
        char text[3] = {'p', *key, '\0'};
        mock_set(f->c, bytes_of(text), bytes_of(""));
    }
    TEXT_EQUAL(body(say(f, GET("/keys?prefix=p"))),
               "{\"keys\":[\"pa\",\"pb\",\"pc\",\"pd\",\"pe\"],\"count\":5}");
    TEXT_EQUAL(body(say(f, GET("/keys?prefix=p&after=pb&limit=2"))),
               "{\"keys\":[\"pc\",\"pd\"],\"count\":2}");
    TEXT_EQUAL(body(say(f, GET("/keys?prefix=none"))), "{\"keys\":[],\"count\":0}");
    TEXT_EQUAL(body(say(f, GET("/keys?after=pe"))), "{\"keys\":[\"username\"],\"count\":1}");
    fixture_free(f);
}

TEST(a_listing_that_waits_for_a_position_begins_when_it_is_reached) {
    struct fixture *f = fixture_new(0);
    f->c->hold_reads = true;
    TEXT_EQUAL(say(f, AFTER("/keys") GET("/health")), "");
    struct reply reply = f->c->base;
    api_reply(f->api, f->c->held[0], &reply);
    OK(api_next_ready(f->api) == f->client);
    api_process(f->client, f->now_ms);
    OK(has(take(f), "{\"keys\":[\"username\"],\"count\":1}HTTP/1.1 200 OK"));
    say(f, AFTER("/keys"));
    reply.error = ERROR_DEADLINE;
    api_reply(f->api, f->c->held[1], &reply);
    EQUAL(status(take(f)), 504);
    api_process(f->client, f->now_ms);
    EQUAL(status(say(f, GET("/health"))), 200);
    fixture_free(f);
}

TEST(every_slice_of_a_linearizable_listing_is_a_read_of_its_own) {
    struct fixture *f = fixture_new(0);
    TEXT_EQUAL(say(f, GET("/keys?consistency=linearizable") GET("/health")), "");
    EQUAL(f->c->held_count, 1);
    OK(f->c->keys_linearizable);
    answer_slice(f, true, "b", "c");
    EQUAL(f->c->held_count, 2);
    OK(f->c->keys_linearizable && bytes_equal(buffer_bytes(&f->c->last_key), bytes_of("c")));
    answer_slice(f, false, "d", "e");
    OK(has(take(f), "0\r\n\r\nHTTP/1.1 200 OK"));
    fixture_free(f);
}

TEST(a_gathered_listing_is_asked_for_slice_by_slice_behind_the_last_key) {
    struct fixture *f = fixture_new(0);
    f->c->gathers = true;
    TEXT_EQUAL(say(f, GET("/keys?after=a") GET("/health")), "");
    EQUAL(f->c->held_count, 1);
    OK(bytes_equal(buffer_bytes(&f->c->last_key), bytes_of("a")));
    answer_slice(f, true, "b", "c");
    EQUAL(f->c->held_count, 2);
    OK(bytes_equal(buffer_bytes(&f->c->last_key), bytes_of("c")));
    answer_slice(f, false, "d", "e");
    const char *text = take(f);
    char json[256];
    OK(has(text, "Transfer-Encoding: chunked\r\n") && has(text, "0\r\n\r\nHTTP/1.1 200 OK"));
    join_chunks(body(text), json);
    TEXT_EQUAL(json, "{\"keys\":[\"b\",\"c\",\"d\",\"e\"],\"count\":4}");
    say(f, GET("/keys?limit=2"));
    EQUAL(f->c->keys_limit, 2);
    answer_slice(f, true, "b", "c");
    TEXT_EQUAL(body(take(f)), "{\"keys\":[\"b\",\"c\"],\"count\":2}");
    EQUAL(f->c->held_count, 3);
    fixture_free(f);
}

TEST(a_group_that_cannot_be_reached_is_an_error_before_the_first_byte_and_an_end_without_end_after_it) {
    struct fixture *f = fixture_new(0);
    struct reply lost = {.error = ERROR_GROUP_UNREACHABLE, .message = bytes_of("group 2")};
    f->c->gathers = true;
    say(f, GET("/keys"));
    api_reply(f->api, f->c->held[0], &lost);
    const char *text = take(f);
    OK(status(text) == 503 && has(text, "group_unreachable") && has(text, "group 2"));
    api_process(f->client, f->now_ms);
    say(f, GET("/keys") GET("/health"));
    answer_slice(f, true, "b", "c");
    text = take(f);
    OK(status(text) == 200 && has(text, "\"c\""));
    api_reply(f->api, f->c->held[2], &lost);
    api_process(f->client, f->now_ms);
    TEXT_EQUAL(take(f), ""); /* no last chunk, and no answer to what was asked behind it */
    OK(api_wants_close(f->client));
    fixture_free(f);
}

TESTS(TAP(a_long_listing_is_streamed_a_slice_at_a_time_as_output_drains),
      TAP(every_slice_of_a_listing_has_keys_that_continue_the_one_before),
      TAP(a_long_listing_for_old_http_ends_with_its_connection), TAP(a_listing_takes_prefix_after_and_limit),
      TAP(a_listing_that_waits_for_a_position_begins_when_it_is_reached),
      TAP(every_slice_of_a_linearizable_listing_is_a_read_of_its_own),
      TAP(a_gathered_listing_is_asked_for_slice_by_slice_behind_the_last_key),
      TAP(a_group_that_cannot_be_reached_is_an_error_before_the_first_byte_and_an_end_without_end_after_it))
