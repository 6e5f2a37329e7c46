#include "discovery/resolver_io.h"

#include "tests/tap.h"

#include <event2/event.h>
#include <time.h>

struct result {
    int calls;
    size_t count;
    struct address first;
    char name[RESOLVER_NAME_MAX + 1];
};

static void done(void *arg, const char *name, const struct address *found, size_t count) {
    struct result *result = arg;
    result->calls++;
    result->count = count;
    if (count > 0)
        result->first = found[0];
    snprintf(result->name, sizeof result->name, "%s", name);
}

static bool wait_for(struct event_base *base, const struct result *result, int calls) {
    time_t deadline = time(NULL) + 20;
    while (result->calls < calls && time(NULL) < deadline)
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    return result->calls == calls;
}

TEST(a_number_is_answered_at_once) {
    struct event_base *base = event_base_new();
    struct resolver *r = resolver_new(base);
    struct result result = {0};
    OK(resolver_resolve(r, "127.0.0.2:8000", done, &result));
    EQUAL(result.calls, 1);
    EQUAL(result.first.port, 8000);
    OK(resolver_resolve(r, "[::1]:8001", done, &result));
    EQUAL(result.calls, 2);
    EQUAL(result.first.family, 6);
    resolver_free(r);
    event_base_free(base);
}

TEST(names_are_answered_on_the_loop_again_and_again) {
    struct event_base *base = event_base_new();
    struct resolver *r = resolver_new(base);
    struct result results[3] = {0};
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 3; i++) {
            OK(resolver_resolve(r, "localhost:8000", done, &results[i]));
            EQUAL(results[i].calls, round - 1);
        }
        for (int i = 0; i < 3; i++) {
            OK(wait_for(base, &results[i], round));
            OK(results[i].count >= 1);
            OK(address_is_loopback(&results[i].first));
            EQUAL(results[i].first.port, 8000);
            TEXT_EQUAL(results[i].name, "localhost:8000");
        }
    }
    resolver_free(r);
    event_base_free(base);
}

TEST(a_name_that_is_not_there_is_answered_with_nothing) {
    struct event_base *base = event_base_new();
    struct resolver *r = resolver_new(base);
    struct result result = {.count = 9};
    OK(resolver_resolve(r, "no..such..name:8000", done, &result));
    OK(wait_for(base, &result, 1));
    EQUAL(result.count, 0);
    resolver_free(r);
    event_base_free(base);
}

TEST(what_is_neither_a_name_nor_an_address_with_a_port_is_refused) {
    static const char *const bad[] = {"",           "host",   "host:",  ":80",   "host:0",
                                      "host:65536", "a:b:80", "::1:80", "[::1]", "[host]:80"};
    struct event_base *base = event_base_new();
    struct resolver *r = resolver_new(base);
    struct result result = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        OK(!resolver_name_valid(bad[i]));
        OK(!resolver_resolve(r, bad[i], done, &result));
    }
    char long_name[400];
    memset(long_name, 'a', sizeof long_name);
    memcpy(long_name + 390, ":8000", 6);
    OK(!resolver_name_valid(long_name));
    OK(resolver_name_valid("node-1.example:8000"));
    EQUAL(result.calls, 0);
    resolver_free(r);
    event_base_free(base);
}

TEST(lookups_under_way_are_bounded_and_may_be_left_behind) {
    struct event_base *base = event_base_new();
    struct resolver *r = resolver_new(base);
    struct result result = {0};
    int taken = 0;
    while (taken < 1000 && resolver_resolve(r, "localhost:1", done, &result))
        taken++;
    OK(taken >= 1 && taken <= RESOLVER_WAITING_MAX);
    resolver_free(r);
    EQUAL(result.calls, 0);
    event_base_free(base);
}

TESTS(TAP(a_number_is_answered_at_once), TAP(names_are_answered_on_the_loop_again_and_again),
      TAP(a_name_that_is_not_there_is_answered_with_nothing),
      TAP(what_is_neither_a_name_nor_an_address_with_a_port_is_refused),
      TAP(lookups_under_way_are_bounded_and_may_be_left_behind))
