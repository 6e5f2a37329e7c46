/* The server's core against a coordinator that answers at once or when the test says so (mock_coordinator.h),
 * and one client of it. Include it in one file of a program. */
#ifndef TESTS_UNIT_API_SERVER_H
#define TESTS_UNIT_API_SERVER_H

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

static inline struct fixture *fixture_new(uint32_t clients_max) {
    static const char *const hosts[] = {"kv.example", NULL};
    struct fixture *f = calloc(1, sizeof *f);
    f->c = mock_new();
    struct api_options options = {.coordinator = f->c,
                                  .host = {.arg = f->c, .health = mock_health},
                                  .allow_hosts = hosts,
                                  .clients_max = clients_max};
    f->api = api_new(&options);
    f->now_ms = 1000;
    f->client = api_open(f->api, f->now_ms, f);
    mock_set(f->c, bytes_of("username"), bytes_of("alice"));
    return f;
}

static inline void fixture_free(struct fixture *f) {
    api_free(f->api);
    mock_free(f->c);
    free(f);
}

static inline void feed(struct fixture *f, struct bytes bytes) {
    buffer_append(api_input(f->client), bytes);
    api_process(f->client, f->now_ms);
}

/* What is there to be written, as text. */
static inline const char *take(struct fixture *f) {
    struct buffer *out = api_output(f->client);
    size_t size = buffer_size(out) < sizeof f->text - 1 ? buffer_size(out) : sizeof f->text - 1;
    if (size > 0)
        memcpy(f->text, buffer_bytes(out).data, size);
    f->text[size] = '\0';
    buffer_consume(out, buffer_size(out));
    return f->text;
}

static inline const char *say(struct fixture *f, const char *text) {
    feed(f, bytes_of(text));
    return take(f);
}

static inline int status(const char *answer) {
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

static inline const char *body(const char *answer) {
    const char *end = strstr(answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "(no body)";
}

static inline bool has(const char *answer, const char *text) {
    return strstr(answer, text) != NULL;
}

/* A whole exchange on a connection of its own. */
static inline const char *ask(struct fixture *f, const char *format, ...) {
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

/* ---- order ---- */

static inline void answer_held(struct fixture *f, size_t i) {
    struct reply reply = mock_write_reply(f->c);
    reply.version = (struct version){9, i + 1};
    api_reply(f->api, f->c->held[i], &reply);
}

static inline size_t count_of(const char *text, const char *what) {
    size_t count = 0;
    for (; (text = strstr(text, what)) != NULL; text++)
        count++;
    return count;
}

#endif
