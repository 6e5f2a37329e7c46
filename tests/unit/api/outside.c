/* What is seen of a node from outside: readiness, metrics, the log's level, request lines, rejected writes.
 */
#include "api/api.h"
#include "api/prometheus.h"
#include "tests/tap.h"
#include "tests/unit/api/mock_coordinator.h"
#include "tests/unit/replication/follower.h"

struct fixture {
    struct coordinator *c;
    struct api *api;
    struct api_client *client;
    bool ready;
    char level[16];
    char line[512];
    unsigned lines, slow;
    char text[256 * 1024];
};

static void health(void *arg, uint64_t now_ms, struct health_view *out) {
    struct fixture *f = arg;
    (void)now_ms;
    *out = (struct health_view){.status = f->ready ? "healthy" : "lagging",
                                .role = "follower",
                                .ready = f->ready,
                                .reason = f->ready ? "" : "it is the wrong phase of the moon",
                                .fix = f->ready ? "" : "Wait a week."};
}

static void metrics(void *arg, uint64_t now_ms, struct buffer *out) {
    (void)arg;
    (void)now_ms;
    prometheus_gauge(out, "moon_phase", "Of the moon.", 3);
}

static const char *level(void *arg) {
    return ((struct fixture *)arg)->level;
}

static bool set_level(void *arg, struct bytes name) {
    struct fixture *f = arg;
    if (!bytes_equal(name, bytes_of("debug")))
        return false;
    snprintf(f->level, sizeof f->level, "debug");
    return true;
}

static void request(void *arg, bool slow, const char *text) {
    struct fixture *f = arg;
    f->lines++;
    f->slow += slow;
    snprintf(f->line, sizeof f->line, "%s", text);
}

static struct fixture *fixture_of(struct replica *replica) {
    struct fixture *f = calloc(1, sizeof *f);
    f->c = mock_new();
    snprintf(f->level, sizeof f->level, "info");
    struct api_options options = {
        .coordinator = f->c,
        .host = {f, health, metrics, level, set_level, request},
        .slow_ms = 200,
        .replica = replica,
    };
    f->api = api_new(&options);
    api_clock(f->api, 1000000);
    f->client = api_open(f->api, 1000, f);
    mock_set(f->c, bytes_of("username"), bytes_of("alice"));
    return f;
}

static struct fixture *fixture_new(void) {
    return fixture_of(NULL);
}

static void fixture_free(struct fixture *f) {
    api_free(f->api);
    mock_free(f->c);
    free(f);
}

static const char *take(struct fixture *f) {
    struct buffer *out = api_output(f->client);
    size_t size = buffer_size(out) < sizeof f->text - 1 ? buffer_size(out) : sizeof f->text - 1;
    if (size > 0)
        memcpy(f->text, buffer_bytes(out).data, size);
    f->text[size] = '\0';
    buffer_consume(out, buffer_size(out));
    return f->text;
}

static const char *say(struct fixture *f, const char *method, const char *target, const char *body) {
    char text[1024];
    snprintf(text, sizeof text,
             "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
             "%zu\r\n\r\n%s",
             method, target, strlen(body), body);
    buffer_append(api_input(f->client), bytes_of(text));
    api_process(f->client, 1000);
    return take(f);
}

static const char *ask(struct fixture *f, const char *target) {
    return say(f, "GET", target, "");
}

static bool has(const char *answer, const char *text) {
    bool found = strstr(answer, text) != NULL;
    if (!found)
        printf("# no \"%s\" in: %.2000s\n", text, answer);
    return found;
}

TEST(a_load_balancer_is_told_whether_the_node_can_serve_and_why_not) {
    struct fixture *f = fixture_new();
    const char *answer = ask(f, "/health?ready=1");
    OK(has(answer, "HTTP/1.1 503 ") && has(answer, "\"error\":\"not_ready\"") &&
       has(answer, "\"message\":\"it is the wrong phase of the moon\"") &&
       has(answer, "\"fix\":\"Wait a week.\""));
    answer = ask(f, "/health");
    OK(has(answer, "HTTP/1.1 200 OK") && has(answer, "\"status\":\"lagging\"") &&
       has(answer, "\"ready\":false"));
    f->ready = true;
    OK(has(ask(f, "/health?ready=1"), "HTTP/1.1 200 OK"));
    OK(has(ask(f, "/health?ready=2"), "HTTP/1.1 400 "));
    fixture_free(f);
}

TEST(requests_are_counted_by_route_and_status_and_timed_by_what_the_shell_says) {
    struct fixture *f = fixture_new();
    ask(f, "/get?key=username");
    ask(f, "/get?key=username");
    ask(f, "/get?key=missing");
    ask(f, "/nowhere");
    buffer_append_text(api_input(f->client), "GET /get?key=username HTTP/1.1\r\nHost: localhost\r\n"
                                             "If-None-Match: *\r\n\r\n");
    api_process(f->client, 1000);
    OK(has(take(f), "HTTP/1.1 304 "));
    api_clock(f->api, 1000100); /* the turn took 100 us */
    f->c->hold_writes = true;
    say(f, "POST", "/set", "{\"key\":\"k\",\"value\":\"v\"}");
    api_clock(f->api, 1003100);
    struct reply reply = {0};
    api_reply(f->api, f->c->held[0], &reply);
    take(f);
    const char *answer = ask(f, "/metrics");
    OK(has(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    OK(has(answer, "\nkvnode_http_requests_total{route=\"/get\",status=\"200\"} 2\n"));
    OK(has(answer, "\nkvnode_http_requests_total{route=\"/get\",status=\"404\"} 1\n"));
    OK(has(answer, "\nkvnode_http_requests_total{route=\"/get\",status=\"304\"} 1\n"));
    OK(has(answer, "\nkvnode_http_requests_total{route=\"other\",status=\"404\"} 1\n"));
    OK(has(answer, "\nkvnode_http_requests_total{route=\"/set\",status=\"200\"} 1\n"));
    OK(has(answer, "\nkvnode_http_request_duration_seconds_bucket{route=\"/get\",le=\"6.4e-05\"} 0\n"));
    OK(has(answer, "\nkvnode_http_request_duration_seconds_bucket{route=\"/get\",le=\"0.000128\"} 4\n"));
    OK(has(answer, "\nkvnode_http_request_duration_seconds_bucket{route=\"/get\",le=\"+Inf\"} 4\n"));
    OK(has(answer, "\nkvnode_http_request_duration_seconds_sum{route=\"/get\"} 0.0004\n"));
    OK(has(answer, "\nkvnode_http_request_duration_seconds_sum{route=\"/set\"} 0.003\n"));
    OK(has(answer, "\nkvnode_http_request_duration_seconds_count{route=\"/set\"} 1\n"));
    OK(has(answer, "\n# HELP moon_phase Of the moon.\n# TYPE moon_phase gauge\nmoon_phase 3\n"));
    OK(has(ask(f, "/metrics"), "\nkvnode_http_requests_total{route=\"/metrics\",status=\"200\"} 1\n"));
    EQUAL(f->lines, 0);
    fixture_free(f);
}

TEST(a_slow_request_is_logged_with_where_its_time_went) {
    struct fixture *f = fixture_new();
    f->c->hold_writes = true;
    say(f, "POST", "/set", "{\"key\":\"k\",\"value\":\"v\"}");
    say(f, "POST", "/set", "{\"key\":\"k\",\"value\":\"v\"}");
    struct reply reply = {.timing = {.known = 1u << TIMING_WAITED | 1u << TIMING_DURABLE, .ms = {7, 0, 240}}};
    api_clock(f->api, 1199999);
    api_reply(f->api, f->c->held[0], &reply);
    EQUAL(f->lines, 0);
    api_clock(f->api, 1247500);
    api_reply(f->api, f->c->held[1], &reply);
    EQUAL(f->slow, 1);
    TEXT_EQUAL(f->line,
               "POST /set: status 200 after 247.500 ms: 7 ms waiting for a leader, 240 ms from append to "
               "durable here");
    reply.timing = (struct timing){.known = 1u << TIMING_PASSED_ON, .ms = {[TIMING_PASSED_ON] = 240}};
    memcpy(reply.timing.node, "node-bbbbbbbbbbb", NODE_ID_SIZE);
    say(f, "POST", "/set", "{\"key\":\"k\",\"value\":\"v\"}");
    api_clock(f->api, 1500000);
    api_reply(f->api, f->c->held[2], &reply);
    TEXT_EQUAL(f->line, "POST /set: status 200 after 252.500 ms: 240 ms passed on and waiting for the answer "
                        "(node node-bbbbbbbbbbb)");
    take(f);
    OK(has(ask(f, "/metrics"), "\nkvnode_http_slow_requests_total 2\n"));
    fixture_free(f);
}

TEST(at_debug_every_request_is_a_line) {
    struct fixture *f = fixture_new();
    ask(f, "/get?key=username");
    EQUAL(f->lines, 0);
    api_log_requests(f->api, true);
    ask(f, "/get?key=missing");
    EQUAL(f->lines, 1);
    TEXT_EQUAL(f->line, "GET /get: status 404 after 0.000 ms");
    ask(f, "/nowhere");
    TEXT_EQUAL(f->line, "GET other: status 404 after 0.000 ms");
    EQUAL(f->slow, 0);
    fixture_free(f);
}

TEST(the_level_of_the_log_is_shown_and_changed) {
    struct fixture *f = fixture_new();
    OK(has(ask(f, "/log-level"), "{\"level\":\"info\"}"));
    OK(has(say(f, "POST", "/log-level", "{\"level\":\"debug\"}"), "{\"level\":\"debug\"}"));
    TEXT_EQUAL(f->level, "debug");
    OK(has(say(f, "POST", "/log-level", "{\"level\":\"loud\"}"), "HTTP/1.1 400 "));
    OK(has(say(f, "POST", "/log-level", "{\"level\":\"debug\",\"more\":1}"), "`more`"));
    OK(has(say(f, "POST", "/log-level", "{}"), "`level` is missing"));
    OK(has(say(f, "POST", "/log-level", "{\"level\":\"debug\",\"level\":\"debug\"}"), "HTTP/1.1 400 "));
    OK(has(say(f, "POST", "/log-level", "[]"), "HTTP/1.1 400 "));
    fixture_free(f);
}

TEST(a_node_without_a_ledger_has_no_such_route) {
    struct fixture *f = fixture_new();
    OK(has(ask(f, "/rejected"), "HTTP/1.1 501 "));
    OK(has(say(f, "POST", "/rejected/drop", "{\"position\":\"0:1.1\"}"), "HTTP/1.1 501 "));
    fixture_free(f);
}

/* Else a client takes it that the row is there still, and asks another node, which has no such row. */
TEST(where_the_disk_fails_it_is_unknown_whether_a_row_was_dropped) {
    struct follower *behind = follower_new(0);
    hear_records(behind, 2, base, 4, 1, base.index);
    overrule(behind);
    EQUAL(rows_of(behind), 1);
    struct fixture *f = fixture_of(behind->replica);
    sim_disk_inject(behind->disk, (struct sim_disk_fault){.kinds = SIM_DISK_SYNC | SIM_DISK_WRITE,
                                                          .result = FILE_IO_ERROR});
    const char *answer = say(f, "POST", "/rejected/drop", "{\"position\":\"0:4.11\"}");
    OK(has(answer, "HTTP/1.1 504 "));
    OK(has(answer, "\"outcome_unknown\""));
    OK(has(answer, "may still be there"));
    OK(has(answer, "GET /rejected"));
    OK(strstr(answer, "Nothing was written") == NULL);
    OK(strstr(answer, "Retry-After") == NULL);
    OK(replica_failure(behind->replica) != NULL);
    fixture_free(f);
    follower_free(behind);
}

TEST(a_histogram_puts_each_value_below_the_bound_it_reaches) {
    struct histogram h = {0};
    for (uint64_t i = 1; i <= 4; i++)
        histogram_add(&h, HISTOGRAM_SIZE_LOG2, i, 1);
    histogram_add(&h, HISTOGRAM_SIZE_LOG2, 0, 2);
    histogram_add(&h, HISTOGRAM_SIZE_LOG2, UINT64_MAX / 2, 1);
    EQUAL(h.counts[0], 3); /* 0, 0, 1 */
    EQUAL(h.counts[1], 1); /* 2 */
    EQUAL(h.counts[2], 2); /* 3, 4 */
    EQUAL(h.counts[HISTOGRAM_BUCKETS - 1], 1);
    struct histogram times = {0};
    histogram_add_us(&times, 32);
    histogram_add_us(&times, 33);
    EQUAL(times.counts[0], 1);
    EQUAL(times.counts[1], 1);
    EQUAL(times.sum, 65);
}

TEST(a_label_holds_no_byte_that_would_end_it) {
    char labels[64] = "";
    prometheus_label(labels, sizeof labels, "a", "x\"y\\z\n");
    prometheus_label(labels, sizeof labels, "b", "w");
    TEXT_EQUAL(labels, "a=\"x?y?z?\",b=\"w\"");
}

TESTS(TAP(a_load_balancer_is_told_whether_the_node_can_serve_and_why_not),
      TAP(requests_are_counted_by_route_and_status_and_timed_by_what_the_shell_says),
      TAP(a_slow_request_is_logged_with_where_its_time_went), TAP(at_debug_every_request_is_a_line),
      TAP(the_level_of_the_log_is_shown_and_changed), TAP(a_node_without_a_ledger_has_no_such_route),
      TAP(where_the_disk_fails_it_is_unknown_whether_a_row_was_dropped),
      TAP(a_histogram_puts_each_value_below_the_bound_it_reaches),
      TAP(a_label_holds_no_byte_that_would_end_it))
