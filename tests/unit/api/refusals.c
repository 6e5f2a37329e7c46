/* What a request is refused with: the status, the error and the whole message, for every refusal that needs
 * nothing but the request. */
#include "tests/unit/api/server.h"

#define WITH(line, headers) line " HTTP/1.1\r\nHost: localhost\r\n" headers "\r\n"
#define JSON                "Content-Type: application/json\r\n"

struct refused {
    const char *request; /* its head, or, of a body for /set, the body */
    const char *code;
    const char *message;
};

static void is_refused(struct tap *tap, const char *answer, const struct refused *r) {
    char expected[512], line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %.3s ", r->code);
    snprintf(expected, sizeof expected, "{\"error\":\"%s\",\"message\":\"%s\",\"fix\":\"", r->code + 4,
             r->message);
    const char *content = body(answer);
    bool right = strncmp(answer, line, strlen(line)) == 0 &&
                 strncmp(content, expected, strlen(expected)) == 0 && strlen(content) > strlen(expected) + 12;
    if (!OK(right))
        printf("# %.60s\n#   answers %.3s %s\n", r->request, answer + 9, content);
}

TEST(bodies_that_set_cannot_take_are_refused_with_what_is_wrong) {
    static const struct refused rows[] = {
#define BAD(message) "400 bad_json", "The body is not the JSON that /set takes: " message "."
        {"", BAD("an object was expected")},
        {"[]", BAD("an object was expected")},
        {"{", BAD("a string was expected")},
        {"{\"key\":\"a\",\"value\":\"\\ud800\"}", BAD("a surrogate stands alone")},
        {"{\"key\":\"a", BAD("a string has no end")},
        {"{\"key\":\"a\xff\",\"value\":\"b\"}", BAD("a string is not UTF-8")},
        {"{\"key\":\"\\q\",\"value\":\"b\"}",
         BAD("a backslash is followed by a character that it does not escape")},
        {"{\"key\":\"a\tb\",\"value\":\"b\"}", BAD("a string holds a control byte that is not escaped")},
        {"{\"key\":\"\\u12\",\"value\":\"b\"}", BAD("\\\\u is not followed by four hexadecimal digits")},
        {"{\"key\":\"a\" \"value\":\"b\"}", BAD("a comma or a closing bracket was expected")},
        {"{\"key\" \"a\"}", BAD("a colon was expected")},
        {"{\"key\":\"a\",\"value\":\"b\"}x", BAD("something follows the end")},
        {"{\"key\":1,\"value\":\"b\"}", BAD("a string was expected")},
        {"{\"value\":\"b\"}", BAD("key is missing")},
        {"{\"key\":\"a\"}", BAD("value is missing")},
        {"{\"key\":\"a\",\"key\":\"b\",\"value\":\"c\"}", BAD("key occurs twice")},
        {"{\"key\":\"a\",\"value\":\"b\",\"n\":1}", "400 bad_json", "/set does not know the field `n`."},
        {"{\"key\":\"a\",\"value\":\"b\",\"ttl\":1}", "501 not_built",
         "This version does not have the field `ttl`."},
        {"{\"key\":\"\",\"value\":\"b\"}", "400 bad_key", "The key is missing or empty."},
    };
    struct fixture *f = fixture_new(0);
    uint64_t written = f->c->index;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        is_refused(tap,
                   ask(f, SET("Content-Length: %zu\r\n\r\n%s"), strlen(rows[i].request), rows[i].request),
                   &rows[i]);
    EQUAL(f->c->index, written);
    fixture_free(f);
}

TEST(parameters_headers_and_paths_are_refused_with_what_is_wrong) {
    static const struct refused rows[] = {
#define PARAMETER "400 bad_parameter"
        {GET("/get"), "400 bad_key", "The key is missing or empty."},
        {GET("/get?key=%zz"), PARAMETER, "The query holds a % that two hexadecimal digits do not follow."},
        {GET("/get?key=k&key=l"), PARAMETER, "There is more than one parameter `key`."},
        {GET("/get?key=k&colour=red"), PARAMETER, "The route does not know the parameter `colour`."},
        {GET("/get?key=k&consistency=some"), PARAMETER, "consistency is linearizable or default."},
        {GET("/get?key=k&explain=2"), PARAMETER, "explain is 1 or 0."},
        {GET("/get?key=%ff"), "404 not_found", "There is no such key."},
        {GET("/keys?limit=0"), PARAMETER, "limit is a whole number from 1 to 4294967295."},
        {GET("/outcome?client=c"), PARAMETER, "/outcome requires client, request and key."},
        {GET("/outcome?client=c%20c&request=r&key=k"), PARAMETER,
         "client and request have 1 to 64 visible ASCII characters each."},
        {GET("/health?ready=2"), PARAMETER, "ready is 1, or left out."},
        {WITH("GET /get?key=k", "KV-After: x\r\n"), PARAMETER,
         "KV-After takes what a write's KV-Position said: <group>:<term>.<index>."},
        {WITH("GET /health", "KV-After: 0:1.1\r\n"), PARAMETER,
         "KV-After belongs to reads: /get and /keys take it."},
        {WITH("GET /get?key=k", "KV-Client: c\r\nKV-Request: r\r\n"), PARAMETER,
         "KV-Client and KV-Request belong to writes: /set and /delete take them."},
        {WITH("GET /get?key=k", "If-Match: \"1.1\"\r\n"), PARAMETER,
         "If-Match is a condition of writes: /set and /delete take it."},
        {WITH("GET /health", "If-None-Match: *\r\n"), PARAMETER,
         "If-None-Match belongs to keys: /get, /set and /delete take it."},
        {WITH("GET /get?key=k", "If-None-Match: 1\r\n"), PARAMETER,
         "If-None-Match of a read takes ETags with commas between, or *."},
        {WITH("DELETE /delete?key=k", "If-Match: *\r\nIf-None-Match: *\r\n"), PARAMETER,
         "If-Match and If-None-Match stand together."},
        {WITH("DELETE /delete?key=k", "If-None-Match: \"1.1\"\r\n"), PARAMETER,
         "If-None-Match takes * only."},
        {WITH("DELETE /delete?key=k", "If-Match: 1.1\r\n"), PARAMETER,
         "If-Match takes one ETag, \\\"<term>.<index>\\\", or *."},
        {WITH("DELETE /delete?key=k", "KV-Client: c\r\n"), PARAMETER,
         "KV-Client and KV-Request stand together, and one of them is missing."},
        {WITH("DELETE /delete?key=k", "KV-Client: c c\r\nKV-Request: r\r\n"), PARAMETER,
         "KV-Client and KV-Request have 1 to 64 visible ASCII characters each."},
        {WITH("DELETE /delete?key=k&ack=some", ""), PARAMETER, "ack is async, quorum or all."},
        {WITH("GET /get?key=k", "Content-Length: 1\r\n"), "400 bad_request", "/get takes no body."},
        {WITH("PUT /set", "Content-Length: 0\r\n"), "405 method_not_allowed", "/set takes POST."},
        {WITH("POST /set", "Content-Type: text/plain\r\nContent-Length: 0\r\n"), "415 not_json",
         "The body's Content-Type is not application/json but `text/plain`."},
        {WITH("GET /nothing", ""), "404 no_route", "There is no route `/nothing`."},
        {WITH("GET /metrics", ""), "501 not_built", "This node does not have the route."},
        {WITH("GET /rejected", ""), "501 not_built", "This node does not have the route."},
        {WITH("POST /cluster/join", JSON "Content-Length: 2\r\n") "[]", "400 bad_json",
         "The body is not the JSON that is wanted: an object was expected."},
        {WITH("POST /cluster/leave", JSON "Content-Length: 10\r\n") "{\"id\":\"a\"}", "400 bad_json",
         "The body requires an id of 16 letters, digits, - or _."},
        {WITH("POST /cluster/join",
              JSON "Content-Length: 39\r\n") "{\"id\":\"aaaaaaaaaaaaaaaa\",\"address\":\"x\"}",
         "400 bad_json", "The body requires an address: IP and cluster port, such as 127.0.0.1:8001."},
    };
    struct fixture *f = fixture_new(0);
    uint64_t written = f->c->index;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        is_refused(tap, ask(f, "%s", rows[i].request), &rows[i]);
    EQUAL(f->c->index, written);
    fixture_free(f);
}

TEST(only_set_is_told_of_what_set_takes) {
    struct fixture *f = fixture_new(0);
    OK(has(ask(f, "%s", WITH("POST /set", JSON "Content-Length: 2\r\n") "[]"), "such as {\\\"key\\\":"));
    OK(!has(ask(f, "%s", WITH("POST /cluster/join", JSON "Content-Length: 2\r\n") "[]"), "such as {"));
    fixture_free(f);
}

TESTS(TAP(only_set_is_told_of_what_set_takes),
      TAP(bodies_that_set_cannot_take_are_refused_with_what_is_wrong),
      TAP(parameters_headers_and_paths_are_refused_with_what_is_wrong))
