/* Nanoseconds of a parsed GET, and of a GET handled by the server's core up to its printed answer.
 *
 *     build/tests/bench/http            the figures
 *     build/tests/bench/http serve PORT the server with keys in memory, for load generators */
#include "api/http.h"
#include "api/api_io.h"
#include "storage/random.h"
#include "tests/bench/measure.h"
#include "tests/unit/api/mock_coordinator.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#define CURL                                                                                                 \
    "GET /get?key=username HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nUser-Agent: curl/7.88.1\r\nAccept: "          \
    "*/*\r\n\r\n"
#define WRK "GET /get?key=username HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n"
#define BROWSER                                                                                              \
    "GET /get?key=username HTTP/1.1\r\nHost: localhost:9000\r\nConnection: keep-alive\r\n"                   \
    "sec-ch-ua: \"Chromium\";v=\"119\", \"Not?A_Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n"                \
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Safari/537.36\r\n"   \
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"      \
    "Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n\r\n"
#define SET_BODY "{\"key\":\"username\",\"value\":\"alice\"}"
#define SET                                                                                                  \
    "POST /set HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nContent-Type: application/json\r\nContent-Length: "       \
    "34\r\n\r\n" SET_BODY

static void bench_parse(const char *name, const char *text) {
    struct bytes request = bytes_of(text);
    const int rounds = 2000000;
    double from = now_s();
    size_t sum = 0;
    for (int i = 0; i < rounds; i++) {
        struct http_head head = {0};
        size_t size = 0;
        if (http_parse_head(&head, request, &size) != HTTP_DONE)
            exit(1);
        sum += size;
    }
    printf("parse %-8s %4zu bytes  %6.1f ns\n", name, request.size, (now_s() - from) * 1e9 / rounds);
    if (sum == 0)
        exit(1);
}

static void bench_handle(const char *name, const char *text, int pipelined) {
    struct coordinator *c = mock_new();
    struct api_options options = {.coordinator = c};
    struct api *api = api_new(&options);
    struct api_client *client = api_open(api, 1, NULL);
    const int rounds = 1000000 / pipelined;
    mock_set(c, bytes_of("username"), bytes_of("alice"));
    double from = now_s();
    for (int i = 0; i < rounds; i++) {
        for (int k = 0; k < pipelined; k++)
            buffer_append(api_input(client), bytes_of(text));
        api_process(client, 1);
        if (buffer_size(api_output(client)) == 0)
            exit(1);
        buffer_consume(api_output(client), buffer_size(api_output(client)));
    }
    printf("handle %-7s %2d a time    %6.1f ns\n", name, pipelined,
           (now_s() - from) * 1e9 / rounds / pipelined);
    api_free(api);
    mock_free(c);
}

static int serve(const char *port) {
    struct coordinator *c = mock_new();
    struct api_options options = {.coordinator = c};
    struct event_base *base = event_base_new();
    struct api_io_options io_options = {.base = base, .api = api_new(&options), .bind = {.family = 4}};
    char why[API_IO_WHY_MAX], text[64];
    snprintf(text, sizeof text, "127.0.0.1:%s", port);
    address_parse(text, &io_options.bind);
    mock_set(c, bytes_of("username"), bytes_of("alice"));
    struct api_io *io = api_io_open(&io_options, why);
    if (io == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    for (;;) {
        event_base_loop(base, EVLOOP_ONCE);
        api_io_flush(io);
    }
}

int main(int count, char **arguments) {
    if (count == 3)
        return serve(arguments[2]);
    bench_parse("wrk", WRK);
    bench_parse("curl", CURL);
    bench_parse("browser", BROWSER);
    bench_handle("get", CURL, 1);
    bench_handle("get", CURL, 16);
    bench_handle("set", SET, 1);
    bench_handle("set", SET, 16);
    return 0;
}
