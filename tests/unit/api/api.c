/* The server's core against a coordinator that answers at once or when the test says so. */
#include "api/api.h"
#include "api/client.h"
#include "storage/random.h"
#include "tests/tap.h"
#include "tests/unit/api/mock_coordinator.h"

#include <stdarg.h>

struct fixture {
    struct coordinator *c;
    struct api *api;
    struct api_client *client;
    uint64_t now_ms;
    char text[2 * 1024 * 1024]; /* the last answers taken */
};

static struct fixture *fixture_new(uint32_t clients_max) {
    static const char *const hosts[] = {"kv.example", NULL};
    struct fixture *f = calloc(1, sizeof *f);
    f->c = mock_new();
    struct api_options options = {.coordinator = f->c, .allow_hosts = hosts, .clients_max = clients_max};
    f->api = api_new(&options);
    f->now_ms = 1000;
    f->client = api_open(f->api, f->now_ms, f);
    mock_set(f->c, bytes_of("username"), bytes_of("alice"));
    return f;
}

static void fixture_free(struct fixture *f) {
    api_free(f->api);
    mock_free(f->c);
    free(f);
}

static void feed(struct fixture *f, struct bytes bytes) {
    buffer_append(api_input(f->client), bytes);
    api_process(f->client, f->now_ms);
}

/* What is there to be written, as text. */
static const char *take(struct fixture *f) {
    struct buffer *out = api_output(f->client);
    size_t size = buffer_size(out) < sizeof f->text - 1 ? buffer_size(out) : sizeof f->text - 1;
    if (size > 0)
        memcpy(f->text, buffer_bytes(out).data, size);
    f->text[size] = '\0';
    buffer_consume(out, buffer_size(out));
    return f->text;
}

static const char *say(struct fixture *f, const char *text) {
    feed(f, bytes_of(text));
    return take(f);
}

static int status(const char *answer) {
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

static const char *body(const char *answer) {
    const char *end = strstr(answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "(no body)";
}

static bool has(const char *answer, const char *text) {
    return strstr(answer, text) != NULL;
}

/* A whole exchange on a connection of its own. */
static const char *ask(struct fixture *f, const char *format, ...) {
    char text[16384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    api_close(f->client, f->now_ms);
    f->client = api_open(f->api, f->now_ms, f);
    return say(f, text);
}

#define GET(target)  "GET " target " HTTP/1.1\r\nHost: localhost:9000\r\n\r\n"
#define SET(headers) "POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" headers
#define BODY(text)   "Content-Length: %zu\r\n\r\n%s", strlen(text), text
#define SET_ALICE                                                                                            \
    SET("Content-Length: 34\r\n\r\n"                                                                         \
        "{\"key\":\"username\",\"value\":\"alice\"}")

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
    snprintf(want, sizeof want, "%s", say(f, text));
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

struct case_of {
    const char *text;
    int status;
    const char *holds;
};

TEST(parameters_and_conditions_are_taken_strictly) {
    static const struct case_of cases[] = {
        {GET("/get?key=username&x=1"), 400, "`x`"},
        {GET("/get?key=username&key=username"), 400, "more than one parameter `key`"},
        {GET("/get?key=username&k%65y=username"), 400, "more than one parameter `key`"},
        {GET("/get?key=%4"), 400, "bad_parameter"},
        {GET("/get?key=a&ack=all"), 400, "`ack`"},
        {GET("/get?key=username&"), 200, "alice"},
        {GET("/get?&key=username"), 400, "``"},
        {GET("/get?key=username&consistency=strong"), 400, "linearizable or default"},
        {GET("/get?key=username&consistency=default"), 200, "alice"},
        {GET("/keys?limit=0"), 400, "limit"},
        {GET("/keys?limit=-1"), 400, "limit"},
        {GET("/keys?limit=1x"), 400, "limit"},
        {GET("/keys?limit=99999999999"), 400, "limit"},
        {GET("/health?x"), 400, "`x`"},
        {"DELETE /delete?key=a&ack=most HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "ack"},
        {"GET /get?key=username HTTP/1.1\r\nHost: localhost\r\nIf-Match: *\r\n\r\n", 400, "If-Match"},
        {"GET /get?key=username HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"3.1\"\r\n\r\n", 200, "alice"},
        {"DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"3.1\"\r\n\r\n", 400,
         "If-None-Match takes * only"},
        {"DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nIf-Match: W/\"3.1\"\r\n\r\n", 400, "If-Match"},
        {"DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nIf-Match: \"3.1\", \"3.2\"\r\n\r\n", 400,
         "If-Match"},
        {"DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nIf-Match: \"3.0\"\r\n\r\n", 400, "If-Match"},
        {"DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nIf-Match: 3.1\r\n\r\n", 400, "If-Match"},
        {"DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nIf-Match: *\r\nIf-None-Match: *\r\n\r\n", 400,
         "stand together"},
    };
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EQUAL(status(ask(f, "%s", cases[i].text)), cases[i].status);
        if (!OK(has(f->text, cases[i].holds)))
            printf("# %s -> %s\n", cases[i].text, f->text);
        OK(!api_wants_close(f->client));
    }
    fixture_free(f);
}

TEST(conditions_acknowledgement_and_consistency_reach_the_coordinator) {
    struct fixture *f = fixture_new(0);
    ask(f, "DELETE /delete?key=a&ack=quorum HTTP/1.1\r\nHost: localhost\r\nIf-Match: \"7.19\"\r\n\r\n");
    EQUAL(f->c->last.operation, OPERATION_DELETE);
    OK(f->c->last.ack_given && f->c->last.ack == ACK_QUORUM);
    EQUAL(f->c->last.condition, CONDITION_MATCH);
    OK(version_equal(f->c->last.match, (struct version){7, 19}));
    EQUAL(f->c->last.deadline_ms, f->now_ms + 5000);
    ask(f,
        "POST /set?ack=all HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; charset=utf-8\r\n"
        "If-None-Match: *\r\n" BODY("{\"value\":\"v\",\"key\":\"k\"}"));
    EQUAL(f->c->last.operation, OPERATION_SET);
    OK(f->c->last.ack == ACK_ALL && f->c->last.condition == CONDITION_ABSENT);
    OK(bytes_equal(buffer_bytes(&f->c->last_value), bytes_of("v")));
    ask(f, "DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nIf-Match: *\r\n\r\n");
    OK(f->c->last.condition == CONDITION_EXISTS && !f->c->last.ack_given);
    ask(f, "%s", GET("/get?key=a&consistency=linearizable"));
    OK(f->c->last.linearizable && f->c->last.operation == OPERATION_GET);
    ask(f, "%s", GET("/keys?consistency=linearizable"));
    OK(f->c->last.linearizable);
    fixture_free(f);
}

#define SIXTY_FOUR "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

TEST(the_pair_of_a_write_reaches_the_coordinator) {
    struct fixture *f = fixture_new(0);
    ask(f, "DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\nKV-Client: c!~\r\nKV-Request:  17 \r\n\r\n");
    OK(bytes_equal(buffer_bytes(&f->c->last_pair), bytes_of("c!~ 17")));
    ask(f, "POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nkv-client: " SIXTY_FOUR
           "\r\nkv-request: r\r\n" BODY("{\"value\":\"v\",\"key\":\"k\"}"));
    OK(bytes_equal(buffer_bytes(&f->c->last_pair), bytes_of(SIXTY_FOUR " r")));
    ask(f, "%s", SET("Content-Length: 23\r\n\r\n{\"key\":\"a\",\"value\":\"b\"}"));
    OK(bytes_equal(buffer_bytes(&f->c->last_pair), bytes_of(" ")));
    fixture_free(f);
}

TEST(a_pair_that_is_half_or_malformed_or_not_on_a_write_is_refused) {
#define DELETE_AS(headers) "DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\n" headers "\r\n"
    static const struct case_of cases[] = {
        {DELETE_AS("KV-Client: c\r\n"), 400, "stand together"},
        {DELETE_AS("KV-Request: r\r\n"), 400, "stand together"},
        {DELETE_AS("KV-Client: \r\nKV-Request: r\r\n"), 400, "1 to 64 visible"},
        {DELETE_AS("KV-Client: c\r\nKV-Request: a b\r\n"), 400, "1 to 64 visible"},
        {DELETE_AS("KV-Client: c\r\nKV-Request: \xc3\xa4\r\n"), 400, "1 to 64 visible"},
        {DELETE_AS("KV-Client: " SIXTY_FOUR "5\r\nKV-Request: r\r\n"), 400, "1 to 64 visible"},
        {"GET /get?key=a HTTP/1.1\r\nHost: localhost\r\nKV-Client: c\r\nKV-Request: r\r\n\r\n", 400,
         "belong to writes"},
        {GET("/outcome"), 400, "client, request and key"},
        {GET("/outcome?client=c&key=k"), 400, "client, request and key"},
        {GET("/outcome?client=c&request=r"), 400, "bad_key"},
        {GET("/outcome?client=c&request=a+b&key=k"), 400, "1 to 64 visible"},
        {GET("/outcome?client=&request=r&key=k"), 400, "1 to 64 visible"},
        {"POST /outcome HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405, "GET, HEAD"},
    };
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EQUAL(status(ask(f, "%s", cases[i].text)), cases[i].status);
        if (!OK(has(f->text, cases[i].holds)))
            printf("# %s -> %s\n", cases[i].text, f->text);
        EQUAL(status(say(f, GET("/health"))), 200);
    }
    EQUAL(f->c->submitted, 0);
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

TEST(what_is_not_built_is_refused_by_name) {
    static const struct case_of cases[] = {
        {GET("/kv/a"), 501, "/kv/a"},
        {GET("/api/v1/kv/a"), 501, "/api/v1/kv/a"},
        {GET("/get?key=a&explain"), 400, "explain is 1 or 0"},
        {SET("Content-Length: 40\r\n\r\n{\"key\":\"a\",\"value\":\"b\",\"ttl\":\"60000000\"}"), 501, "`ttl`"},
        {"DELETE /delete?key=a&ttl=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, "`ttl`"},
        {SET("Content-Length: 36\r\n\r\n{\"key\":\"a\",\"value\":\"b\",\"other\":true}"), 400, "`other`"},
        {GET("/nothing"), 404, "no_route"},
        {GET("/kv"), 404, "no_route"},
        {GET("/get/"), 404, "no_route"},
    };
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EQUAL(status(ask(f, "%s", cases[i].text)), cases[i].status);
        if (!OK(has(f->text, cases[i].holds)))
            printf("# %s -> %s\n", cases[i].text, f->text);
        OK(!api_wants_close(f->client));
        EQUAL(status(say(f, GET("/health"))), 200); /* and the connection is in step */
    }
    EQUAL(f->c->submitted, 0);
    fixture_free(f);
}

TEST(requests_about_members_want_an_id_and_a_join_an_address) {
#define CHANGE(path, size, body)                                                                             \
    "POST /cluster/" path                                                                                    \
    " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " size                \
    "\r\n\r\n" body
    static const struct case_of bad[] = {
        {CHANGE("leave", "2", "{}"), 400, "wants an id of 16"},
        {CHANGE("leave", "12", "{\"id\":\"short\"}"), 400, "bad_json"},
        {CHANGE("leave", "25", "{\"id\":\"node-aaaaaaaaaa/\"}"), 400, "wants an id of 16"},
        {CHANGE("leave", "43", "{\"id\":\"node-aaaaaaaaaaa\",\"address\":\"1.1:1\"}"), 400, "`address`"},
        {CHANGE("join", "25", "{\"id\":\"node-aaaaaaaaaaa\"}"), 400, "wants an address"},
        {CHANGE("join", "43", "{\"id\":\"node-aaaaaaaaaaa\",\"address\":\"host:\"}"), 400,
         "wants an address"},
        {CHANGE("transfer", "45", "{\"id\":\"node-aaaaaaaaaaa\",\"id\":\"node-bbbbbbb\"}"), 400,
         "occurs twice"},
        {"GET /cluster/leave HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "Allow: POST"},
    };
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        EQUAL(status(ask(f, "%s", bad[i].text)), bad[i].status);
        if (!OK(has(f->text, bad[i].holds)))
            printf("# %s -> %s\n", bad[i].text, f->text);
    }
    EQUAL(f->c->submitted, 0);
    EQUAL(
        status(ask(f, CHANGE("join", "52", "{\"id\":\"node-aaaaaaaaaaa\",\"address\":\"127.0.0.1:8001\"}"))),
        200);
    EQUAL(f->c->last.operation, OPERATION_JOIN);
    OK(bytes_equal(buffer_bytes(&f->c->last_value), bytes_of("127.0.0.1:8001")));
    fixture_free(f);
}

TEST(kv_after_reaches_the_coordinator_of_reads_and_is_refused_elsewhere_or_malformed) {
#define AFTER(target, text) "GET " target " HTTP/1.1\r\nHost: localhost\r\nKV-After: " text "\r\n\r\n"
    static const char *const bad[] = {
        "",       "1",    "0:1",     "0:1.",           "0:1.0",
        ":1.1",   "0:.1", "0:1.1 x", "4294967296:1.1", "0:1.18446744073709551616",
        "-1:1.1", "0:1,1"};
    struct fixture *f = fixture_new(0);
    EQUAL(status(ask(f, AFTER("/get?key=username", "7:3.18446744073709551615"))), 200);
    OK(f->c->last.after.group == 7 && f->c->last.after.at.term == 3 &&
       f->c->last.after.at.index == UINT64_MAX);
    EQUAL(status(ask(f, AFTER("/keys", "0:1.2"))), 200);
    EQUAL(f->c->last.after.at.index, 2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, AFTER("/get?key=username", "%s"), bad[i]);
        EQUAL(status(ask(f, "%s", text)), 400);
    }
    EQUAL(status(ask(f, AFTER("/health", "0:1.2"))), 400);
    OK(has(f->text, "KV-After belongs to reads"));
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

TEST(a_node_that_does_not_pass_on_names_the_leader_with_the_target_as_it_was) {
    struct fixture *f = fixture_new(0);
    address_parse("127.0.0.2:9001", &f->c->away.api);
    f->c->away.reply = f->c->base;
    f->c->away.reply.error = ERROR_REDIRECT;
    EQUAL(status(ask(f, "DELETE /delete?key=a%%20b%%26&ack=all HTTP/1.1\r\nHost: localhost\r\n\r\n")), 307);
    OK(has(f->text, "Location: http://127.0.0.2:9001/delete?key=a%20b%26&ack=all\r\n"));
    EQUAL(status(ask(f, "%s", GET("/get?key=username&consistency=linearizable"))), 307);
    EQUAL(f->c->submitted, 0);
    EQUAL(status(ask(f, "%s", GET("/get?key=username"))), 200);
    f->c->away.reply.error = ERROR_WRONG_NODE;
    EQUAL(status(ask(f, "DELETE /delete?key=a HTTP/1.1\r\nHost: localhost\r\n\r\n")), 421);
    OK(!has(f->text, "Location"));
    fixture_free(f);
}

TEST(other_methods_are_told_which_a_route_takes) {
    struct fixture *f = fixture_new(0);
    EQUAL(status(ask(f, "OPTIONS /set HTTP/1.1\r\nHost: localhost\r\n\r\n")), 405);
    OK(has(f->text, "Allow: POST\r\n"));
    EQUAL(status(ask(f, "POST /get?key=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")), 405);
    OK(has(f->text, "Allow: GET, HEAD\r\n"));
    EQUAL(status(say(f, GET("/health"))), 200);
    EQUAL(status(ask(f, "GET /delete?key=a HTTP/1.1\r\nHost: localhost\r\n\r\n")), 405);
    OK(has(f->text, "Allow: DELETE\r\n"));
    EQUAL(status(ask(f, "BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n")), 405);
    EQUAL(status(ask(f, "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")), 400);
    EQUAL(status(say(f, GET("/health"))), 200);
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

TEST(only_hosts_and_origins_of_this_node_are_served) {
    static const struct {
        const char *headers;
        int status;
    } cases[] = {
        {"Host: 127.0.0.1:9000", 200},
        {"Host: 10.1.2.3", 200},
        {"Host: [::1]:9000", 200},
        {"Host: [fe80::1]", 200},
        {"Host: LOCALHOST:1", 200},
        {"Host: kv.example:80", 200},
        {"Host: KV.Example", 200},
        {"Host: evil.example", 403},
        {"Host: kv.example.evil", 403},
        {"Host: localhost.evil", 403},
        {"Host: 127.0.0.1.evil", 403},
        {"Host: 127.0.0.1:9000x", 403},
        {"Host: a@localhost", 403},
        {"Host: ::1", 403},
        {"Host: [::1", 403},
        {"Host: [127.0.0.1]", 403},
        {"Host:", 403},
        {"Host: localhost:9000\r\nOrigin: http://localhost:9000", 200},
        {"Host: localhost:9000\r\nOrigin: https://LOCALHOST:9000", 200},
        {"Host: localhost:9000\r\nOrigin: http://localhost:9001", 403},
        {"Host: localhost:9000\r\nOrigin: http://evil.example", 403},
        {"Host: localhost:9000\r\nOrigin: null", 403},
        {"Host: localhost:9000\r\nOrigin: localhost:9000", 403},
        {"Host: localhost:9000\r\nOrigin:", 403},
    };
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!EQUAL(status(ask(f, "GET /get?key=username HTTP/1.1\r\n%s\r\n\r\n", cases[i].headers)),
                   cases[i].status))
            printf("# %s\n", cases[i].headers);
        if (cases[i].status == 403) {
            size_t before = f->c->submitted;
            ask(f, "DELETE /delete?key=username HTTP/1.1\r\n%s\r\n\r\n", cases[i].headers);
            EQUAL(f->c->submitted, before); /* bug 50 */
        }
    }
    fixture_free(f);
}

TEST(a_body_that_is_not_said_to_be_json_changes_nothing) {
    static const char *const types[] = {"text/plain",
                                        "application/x-www-form-urlencoded",
                                        "multipart/form-data",
                                        "application/jsonp",
                                        "application/json, text/plain",
                                        "application/json x",
                                        ""};
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        EQUAL(status(ask(
                  f,
                  "POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 23\r\n\r\n"
                  "{\"key\":\"a\",\"value\":\"b\"}",
                  types[i])),
              415);
        EQUAL(status(say(f, GET("/health"))), 200);
    }
    EQUAL(status(ask(f, "POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")), 415);
    EQUAL(f->c->submitted, 0);
    fixture_free(f);
}

/* ---- order ---- */

static void answer_held(struct fixture *f, size_t i) {
    struct reply reply = mock_write_reply(f->c);
    reply.version = (struct version){9, i + 1};
    api_reply(f->api, f->c->held[i], &reply);
}

static size_t count_of(const char *text, const char *what) {
    size_t count = 0;
    for (; (text = strstr(text, what)) != NULL; text++)
        count++;
    return count;
}

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

TEST(a_listing_that_waits_for_the_leader_begins_when_it_answers) {
    struct fixture *f = fixture_new(0);
    f->c->hold_reads = true;
    TEXT_EQUAL(say(f, GET("/keys?consistency=linearizable") GET("/health")), "");
    struct reply reply = f->c->base;
    api_reply(f->api, f->c->held[0], &reply);
    OK(api_next_ready(f->api) == f->client);
    api_process(f->client, f->now_ms);
    OK(has(take(f), "{\"keys\":[\"username\"],\"count\":1}HTTP/1.1 200 OK"));
    say(f, GET("/keys?consistency=linearizable"));
    reply.error = ERROR_NO_MAJORITY;
    api_reply(f->api, f->c->held[1], &reply);
    EQUAL(status(take(f)), 503);
    api_process(f->client, f->now_ms);
    EQUAL(status(say(f, GET("/health"))), 200);
    fixture_free(f);
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

TEST(the_ring_is_shown_where_there_is_more_than_one_group) {
    struct fixture *f = fixture_new(0);
    OK(!has(say(f, GET("/cluster")), "ring_epoch"));
    f->c->ring = (struct coordinator_ring){
        .several = true, .epoch = 3, .groups = {0, 4}, .group_count = 2, .joining = {9}, .joining_count = 1};
    OK(has(say(f, GET("/cluster")), "\"node_count\":1,\"ring_epoch\":3,\"groups\":[0,4],\"joining\":[9]}"));
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
    TEXT_EQUAL(body(text), "{\"error\":\"overload\",\"message\":\"a \\\"b\\\"\",\"fix\":\"do\"}");
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
    f->c->health = (struct coordinator_health){"degraded", "leader", 2, 7, "No majority."};
    TEXT_EQUAL(body(say(f, GET("/health"))),
               "{\"status\":\"degraded\",\"role\":\"leader\",\"group\":2,\"keys\":7,"
               "\"reason\":\"No majority.\"}");
    fixture_free(f);
}

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

TESTS(TAP(the_replies_of_the_ledger_are_given_byte_for_byte),
      TAP(requests_split_at_every_byte_get_the_same_answers),
      TAP(keys_and_values_are_any_bytes_that_json_can_hold),
      TAP(sizes_of_keys_values_and_bodies_hold_to_the_byte),
      TAP(parameters_and_conditions_are_taken_strictly),
      TAP(conditions_acknowledgement_and_consistency_reach_the_coordinator),
      TAP(the_pair_of_a_write_reaches_the_coordinator),
      TAP(a_pair_that_is_half_or_malformed_or_not_on_a_write_is_refused), TAP(an_outcome_is_told_in_json),
      TAP(what_is_not_built_is_refused_by_name), TAP(requests_about_members_want_an_id_and_a_join_an_address),
      TAP(kv_after_reaches_the_coordinator_of_reads_and_is_refused_elsewhere_or_malformed),
      TAP(an_explanation_is_the_last_member_of_the_answer),
      TAP(a_node_that_does_not_pass_on_names_the_leader_with_the_target_as_it_was),
      TAP(other_methods_are_told_which_a_route_takes), TAP(head_gets_the_headers_of_get_and_nothing_else),
      TAP(only_hosts_and_origins_of_this_node_are_served),
      TAP(a_body_that_is_not_said_to_be_json_changes_nothing),
      TAP(answers_leave_in_request_order_whatever_order_they_come_in),
      TAP(a_read_waits_for_the_writes_before_it_and_a_write_for_the_reads),
      TAP(an_error_behind_a_waiting_write_waits_its_turn_and_then_closes),
      TAP(a_malformed_request_is_answered_once_and_nothing_behind_it_runs),
      TAP(late_answers_to_a_closed_connection_reach_nobody),
      TAP(a_slow_reader_is_not_read_from_until_it_has_caught_up),
      TAP(writes_under_way_have_a_limit_and_go_on_behind_it),
      TAP(a_hundred_goes_out_only_when_the_body_is_wanted),
      TAP(a_refused_body_is_skipped_and_the_next_request_found),
      TAP(old_http_is_answered_and_closed_unless_it_wants_more),
      TAP(a_long_listing_is_streamed_a_slice_at_a_time_as_output_drains),
      TAP(every_slice_of_a_listing_has_keys_that_continue_the_one_before),
      TAP(a_long_listing_for_old_http_ends_with_its_connection), TAP(a_listing_takes_prefix_after_and_limit),
      TAP(a_listing_that_waits_for_the_leader_begins_when_it_answers),
      TAP(a_gathered_listing_is_asked_for_slice_by_slice_behind_the_last_key),
      TAP(a_group_that_cannot_be_reached_is_an_error_before_the_first_byte_and_an_end_without_end_after_it),
      TAP(the_ring_is_shown_where_there_is_more_than_one_group),
      TAP(receipts_of_followers_and_degraded_leaders_are_in_the_headers), TAP(the_longest_headers_fit),
      TAP(nodes_of_other_clusters_are_listed_apart),
      TAP(slow_clients_meet_deadlines_that_a_trickle_does_not_move),
      TAP(answers_that_nobody_reads_are_dropped_after_thirty_seconds),
      TAP(a_request_that_the_node_works_on_has_no_idle_deadline), TAP(an_idle_client_gives_its_memory_back),
      TAP(clients_beyond_the_limit_are_told_so),
      TAP(an_idle_or_slow_client_makes_room_for_a_new_one_and_a_busy_one_does_not),
      TAP(large_requests_and_answers_of_all_clients_have_one_bound),
      TAP(no_stream_of_bytes_breaks_the_server_or_leaves_an_answer_malformed),
      TAP(draining_answers_what_is_under_way_and_takes_nothing_new),
      TAP(a_client_that_ends_its_side_is_answered_first))
