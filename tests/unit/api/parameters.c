/* What the server makes of parameters, headers and bodies: what reaches the coordinator, and what is refused.
 */
#include "tests/unit/api/server.h"

#define SIXTY_FOUR "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

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
        {"GET /keys HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n", 400, "If-None-Match"},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"3.1\"\r\n\r\n", 400, "If-None-Match"},
        {"GET /cluster HTTP/1.1\r\nHost: localhost\r\nIf-Match: *\r\n\r\n", 400, "If-Match"},
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

#define GET_UNLESS(tag) "GET /get?key=username HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: " tag "\r\n\r\n"

TEST(a_read_of_the_version_that_the_client_has_is_answered_without_its_value) {
    static const struct case_of cases[] = {
        {GET_UNLESS("\"3.1\""), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS("W/\"3.1\""), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS("*"), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS("\"3.2\""), 200, "alice"},
        {GET_UNLESS("\"2.1\""), 200, "alice"},
        {GET_UNLESS("\"other's\""), 200, "alice"},
        {GET_UNLESS("3.1"), 400, "If-None-Match"},
        {GET_UNLESS("\"3.1\", \"3.2\""), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS("\"9.9\",\"3.1\""), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS("\"9.9\" \t,\t W/\"3.1\""), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS("W/\"9.9\", \"a, b\", W/\"\", \"3.1\""), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS(", \"3.1\",, ,"), 304, "ETag: \"3.1\"\r\n"},
        {GET_UNLESS("\"1.1\",\"x\",\"3.1\""), 304, "ETag"},
        {GET_UNLESS("\"1.1\",\"1.2\",\"3.1\""), 200, "alice"},
        {GET_UNLESS("\"9.9\", \"1.7\""), 200, "alice"},
        {GET_UNLESS("\"x, 3.1, y\""), 200, "alice"},
        {GET_UNLESS("\"3.1\" \"3.2\""), 400, "If-None-Match"},
        {GET_UNLESS("\"3.1\"\"3.2\""), 400, "If-None-Match"},
        {GET_UNLESS("\"3.1\", 3.2"), 400, "If-None-Match"},
        {GET_UNLESS("\"3.1\", \"3.2"), 400, "If-None-Match"},
        {GET_UNLESS("\"3.1\", *"), 400, "If-None-Match"},
        {GET_UNLESS("*, \"3.1\""), 400, "If-None-Match"},
        {GET_UNLESS("\"3.1\", W/"), 400, "If-None-Match"},
        {GET_UNLESS("w/\"3.1\""), 400, "If-None-Match"},
        {GET_UNLESS("W/ \"3.1\""), 400, "If-None-Match"},
        {GET_UNLESS("W/*"), 400, "If-None-Match"},
        {GET_UNLESS(", ,"), 400, "If-None-Match"},
        {GET_UNLESS("\""), 400, "If-None-Match"},
        {GET_UNLESS("W/"), 400, "If-None-Match"},
        {GET_UNLESS(""), 400, "If-None-Match"},
    };
    struct fixture *f = fixture_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EQUAL(status(ask(f, "%s", cases[i].text)), cases[i].status);
        if (!OK(has(f->text, cases[i].holds)))
            printf("# %s -> %s\n", cases[i].text, f->text);
        OK(cases[i].status != 304 || (*body(f->text) == '\0' && !has(f->text, "Content-")));
        OK(has(say(f, GET("/get?key=username")), "alice")); /* the next one is its own */
    }
    EQUAL(status(ask(f, "GET /get?key=nobody HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n")), 404);
    fixture_free(f);
}

TEST(a_read_that_waits_for_its_answer_is_compared_with_the_version_that_comes) {
    struct fixture *f = fixture_new(0);
    f->c->hold_reads = true;
    feed(f, bytes_of(GET_UNLESS("\"3.1\"") GET_UNLESS("\"3.1\"") GET("/get?key=username")));
    REQUIRE(f->c->held_count == 3);
    for (unsigned i = 0; i < 3; i++) {
        struct reply reply = f->c->base;
        reply.value = bytes_of("alice");
        reply.version = (struct version){3, i == 0 ? 2 : 1};
        api_reply(f->api, f->c->held[2 - i], &reply); /* the last one first */
    }
    take(f);
    EQUAL(status(f->text), 304);
    const char *second = strstr(f->text + 1, "HTTP/1.1 ");
    REQUIRE(second != NULL);
    EQUAL(status(second), 304);
    OK(has(second, "alice"));
    fixture_free(f);
}

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
        {CHANGE("leave", "2", "{}"), 400, "requires an id of 16"},
        {CHANGE("leave", "12", "{\"id\":\"short\"}"), 400, "bad_json"},
        {CHANGE("leave", "25", "{\"id\":\"node-aaaaaaaaaa/\"}"), 400, "requires an id of 16"},
        {CHANGE("leave", "43", "{\"id\":\"node-aaaaaaaaaaa\",\"address\":\"1.1:1\"}"), 400, "`address`"},
        {CHANGE("join", "25", "{\"id\":\"node-aaaaaaaaaaa\"}"), 400, "requires an address"},
        {CHANGE("join", "43", "{\"id\":\"node-aaaaaaaaaaa\",\"address\":\"host:\"}"), 400,
         "requires an address"},
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

TESTS(TAP(parameters_and_conditions_are_taken_strictly),
      TAP(conditions_acknowledgement_and_consistency_reach_the_coordinator),
      TAP(a_read_of_the_version_that_the_client_has_is_answered_without_its_value),
      TAP(a_read_that_waits_for_its_answer_is_compared_with_the_version_that_comes),
      TAP(the_pair_of_a_write_reaches_the_coordinator),
      TAP(a_pair_that_is_half_or_malformed_or_not_on_a_write_is_refused),
      TAP(what_is_not_built_is_refused_by_name), TAP(requests_about_members_want_an_id_and_a_join_an_address),
      TAP(kv_after_reaches_the_coordinator_of_reads_and_is_refused_elsewhere_or_malformed),
      TAP(a_node_that_does_not_pass_on_names_the_leader_with_the_target_as_it_was),
      TAP(other_methods_are_told_which_a_route_takes), TAP(only_hosts_and_origins_of_this_node_are_served),
      TAP(a_body_that_is_not_said_to_be_json_changes_nothing))
