/* The server and the client over loopback sockets, in one process. */
#include "api/api_io.h"
#include "api/client_io.h"
#include "storage/clock_io.h"
#include "tests/tap.h"
#include "tests/unit/api/mock_coordinator.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 10000 /* longest wait for anything */

struct world {
    struct event_base *base;
    struct coordinator *c;
    struct api *api;
    struct api_io *io;
    struct sockaddr_in address;
    bool stop; /* of a loop in a thread of its own */
};

static struct world *world_new(uint32_t clients_max) {
    struct world *w = calloc(1, sizeof *w);
    char why[API_IO_WHY_MAX];
    w->base = event_base_new();
    w->c = mock_new();
    mock_set(w->c, bytes_of("username"), bytes_of("alice"));
    struct api_options options = {
        .coordinator = w->c, .host = {.arg = w->c, .health = mock_health}, .clients_max = clients_max};
    w->api = api_new(&options);
    struct api_io_options io = {.base = w->base, .api = w->api};
    address_parse_ip("127.0.0.1", 0, &io.bind);
    w->io = api_io_open(&io, why);
    if (w->io == NULL) {
        printf("Bail out! %s\n", why);
        exit(1);
    }
    w->address.sin_family = AF_INET;
    w->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    w->address.sin_port = htons(api_io_address(w->io).port);
    return w;
}

static void world_free(struct world *w) {
    api_io_close(w->io);
    api_free(w->api);
    mock_free(w->c);
    event_base_free(w->base);
    free(w);
}

static void turn(struct world *w) {
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    api_io_flush(w->io);
}

static int dial(struct world *w) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&w->address, sizeof w->address) != 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Sends and receives with the server's turns between, until the answer holds `end` so many times, the server
 * has closed, or too much time has gone. 1 found, 0 closed, -1 reset or late. */
static int exchange(struct world *w, int fd, struct bytes send_this, struct buffer *got, const char *end,
                    size_t times) {
    uint64_t until = clock_ms() + WAIT_MS;
    size_t found = 0, seen = 0, size = strlen(end);
    while (clock_ms() < until) {
        if (send_this.size > 0) {
            ssize_t put = send(fd, send_this.data, send_this.size, MSG_NOSIGNAL);
            if (put > 0) {
                send_this.data += put;
                send_this.size -= (size_t)put;
            }
        }
        turn(w);
        uint8_t *at = buffer_reserve(got, 65536);
        ssize_t n = recv(fd, at, 65536, 0);
        if (n > 0)
            buffer_grow(got, (size_t)n);
        else if (n == 0)
            return 0;
        else if (errno != EAGAIN)
            return -1;
        const uint8_t *hit;
        while (buffer_size(got) - seen >= size &&
               (hit = memmem(got->data + seen, got->end - seen, end, size)) != NULL) {
            seen = (size_t)(hit - got->data) + size;
            if (++found == times)
                return 1;
        }
        if (got->end - seen > size)
            seen = got->end - size;
    }
    return -1;
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: localhost:9000\r\n\r\n"
#define SET_ALICE                                                                                            \
    "POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n"  \
    "{\"key\":\"username\",\"value\":\"alice\"}"

TEST(a_client_asks_again_and_again_over_one_connection) {
    struct world *w = world_new(0);
    struct buffer got = {0};
    int fd = dial(w);
    for (int i = 0; i < 3; i++) {
        EQUAL(exchange(w, fd, bytes_of(GET("/get?key=username")), &got, "\"value\":\"alice\"}", 1), 1);
        buffer_clear(&got);
    }
    EQUAL(api_clients(w->api), 1);
    close(fd);
    for (uint64_t until = clock_ms() + WAIT_MS; api_clients(w->api) > 0 && clock_ms() < until;)
        turn(w);
    EQUAL(api_clients(w->api), 0);
    buffer_release(&got);
    world_free(w);
}

TEST(late_answers_leave_at_the_end_of_a_turn) {
    struct world *w = world_new(0);
    struct buffer got = {0};
    int fd = dial(w);
    w->c->hold_writes = true;
    send(fd, SET_ALICE SET_ALICE, 2 * strlen(SET_ALICE), MSG_NOSIGNAL);
    for (uint64_t until = clock_ms() + WAIT_MS; w->c->held_count < 2 && clock_ms() < until;)
        turn(w);
    REQUIRE(w->c->held_count == 2);
    struct reply reply = mock_write_reply(w->c);
    api_reply(w->api, w->c->held[1], &reply);
    api_reply(w->api, w->c->held[0], &reply);
    EQUAL(exchange(w, fd, (struct bytes){0}, &got, "\"status\":\"ok\"", 2), 1);
    close(fd);
    buffer_release(&got);
    world_free(w);
}

TEST(a_client_that_sends_without_reading_is_held_back_and_loses_nothing) {
    struct world *w = world_new(0);
    struct buffer value = {0}, requests = {0}, got = {0};
    int fd = dial(w);
    memset(buffer_reserve(&value, 200000), 'v', 200000);
    buffer_grow(&value, 200000);
    mock_set(w->c, bytes_of("big"), buffer_bytes(&value));
    for (int i = 0; i < 300; i++)
        buffer_append_text(&requests, GET("/get?key=big"));
    struct bytes left = buffer_bytes(&requests);
    for (int i = 0; i < 2000; i++) {
        ssize_t put = left.size > 0 ? send(fd, left.data, left.size, MSG_NOSIGNAL) : 0;
        if (put > 0) {
            left.data += put;
            left.size -= (size_t)put;
        }
        turn(w);
    }
    OK(w->c->submitted < 100); /* 300 answers are 60 MB */
    EQUAL(exchange(w, fd, left, &got, "\"}", 300), 1);
    EQUAL(w->c->submitted, 300);
    close(fd);
    buffer_release(&value);
    buffer_release(&requests);
    buffer_release(&got);
    world_free(w);
}

TEST(an_answer_that_ends_the_connection_is_not_lost_to_a_reset) {
    struct world *w = world_new(0);
    struct buffer got = {0}, request = {0};
    int fd = dial(w);
    buffer_append_text(&request, "POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 20000000\r\n\r\n");
    memset(buffer_reserve(&request, 2000000), ' ', 2000000);
    buffer_grow(&request, 2000000);
    EQUAL(exchange(w, fd, buffer_bytes(&request), &got, "(nothing)", 1), 0);
    OK(memmem(got.data, got.end, "413 Content Too Large", 21) != NULL);
    OK(memmem(got.data, got.end, "Connection: close", 17) != NULL);
    close(fd);
    fd = dial(w);
    buffer_clear(&got);
    EQUAL(exchange(w, fd, bytes_of("nonsense\r\n\r\n"), &got, "(nothing)", 1), 0);
    OK(memmem(got.data, got.end, "400 Bad Request", 15) != NULL);
    close(fd);
    buffer_release(&request);
    buffer_release(&got);
    world_free(w);
}

TEST(a_half_closed_client_gets_its_answers) {
    struct world *w = world_new(0);
    struct buffer got = {0};
    int fd = dial(w);
    send(fd, GET("/get?key=username") GET("/health"), strlen(GET("/get?key=username") GET("/health")),
         MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    EQUAL(exchange(w, fd, (struct bytes){0}, &got, "(nothing)", 1), 0);
    OK(memmem(got.data, got.end, "alice", 5) != NULL && memmem(got.data, got.end, "healthy", 7) != NULL);
    close(fd);
    buffer_release(&got);
    world_free(w);
}

TEST(a_long_listing_arrives_whole) {
    struct world *w = world_new(0);
    struct buffer got = {0};
    char key[64];
    for (int i = 0; i < 4000; i++) {
        snprintf(key, sizeof key, "key-%04d-and-some-more-text-so-that-it-is-long", i);
        mock_set(w->c, bytes_of(key), bytes_of(""));
    }
    int fd = dial(w);
    EQUAL(exchange(w, fd, bytes_of(GET("/keys")), &got, "\"count\":4001}\r\n0\r\n\r\n", 1), 1);
    close(fd);
    buffer_release(&got);
    world_free(w);
}

TEST(a_connection_too_many_is_told_so_and_closed) {
    struct world *w = world_new(1);
    struct buffer got = {0};
    int first = dial(w);
    turn(w);
    int second = dial(w);
    EQUAL(exchange(w, second, (struct bytes){0}, &got, "(nothing)", 1), 0);
    OK(memmem(got.data, got.end, "503 Service Unavailable", 23) != NULL);
    close(first);
    close(second);
    buffer_release(&got);
    world_free(w);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    *(volatile bool *)arg = true;
}

/* Turns of the loop in so much time. */
static int turns_in(struct world *w, int ms) {
    struct timeval time = {.tv_usec = ms * 1000};
    volatile bool over = false;
    int turns = 0;
    struct event *timer = event_new(w->base, -1, 0, on_timer, (void *)&over);
    event_add(timer, &time);
    for (; !over; turns++)
        event_base_loop(w->base, EVLOOP_ONCE);
    event_free(timer);
    return turns;
}

TEST(a_full_table_of_descriptors_neither_spins_nor_ends_the_server) {
    struct world *w = world_new(0);
    struct buffer got = {0};
    struct rlimit before, few;
    int kept[256], count = 0;
    turn(w);
    int waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = 64;
    setrlimit(RLIMIT_NOFILE, &few);
    while (count < 256 && (kept[count] = dup(waiting)) >= 0)
        count++;
    EQUAL(errno, EMFILE);
    OK(connect(waiting, (struct sockaddr *)&w->address, sizeof w->address) == 0);
    OK(connect(second, (struct sockaddr *)&w->address, sizeof w->address) == 0);
    OK(turns_in(w, 80) < 10); /* bug 51 */
    setrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < count; i++)
        close(kept[i]);
    fcntl(second, F_SETFL, O_NONBLOCK);
    EQUAL(exchange(w, second, bytes_of(GET("/health")), &got, "healthy", 1), 1);
    close(waiting);
    close(second);
    buffer_release(&got);
    world_free(w);
}

TEST(a_busy_port_is_one_line_with_the_flag_to_mend_it) {
    struct world *w = world_new(0);
    char why[API_IO_WHY_MAX];
    struct api_io_options options = {.base = w->base, .api = w->api};
    options.bind = api_io_address(w->io);
    OK(api_io_open(&options, why) == NULL);
    OK(strstr(why, "Address already in use") != NULL && strstr(why, "-api") != NULL);
    OK(strchr(why, '\n') == NULL);
    address_parse_ip("203.0.113.1", 0, &options.bind);
    OK(api_io_open(&options, why) == NULL);
    OK(strstr(why, "-bind") != NULL);
    world_free(w);
}

TEST(a_server_that_stops_listening_still_serves_whom_it_has) {
    struct world *w = world_new(0);
    struct buffer got = {0};
    int fd = dial(w);
    turn(w);
    api_io_stop_listening(w->io);
    OK(dial(w) < 0);
    EQUAL(exchange(w, fd, bytes_of(GET("/health")), &got, "healthy", 1), 1);
    api_drain(w->api);
    EQUAL(exchange(w, fd, (struct bytes){0}, &got, "(nothing)", 1), 0);
    close(fd);
    buffer_release(&got);
    world_free(w);
}

/* ---- the client, against the server in a thread of its own ---- */

static void *serve(void *arg) {
    struct world *w = arg;
    while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
        struct pollfd none = {.fd = -1};
        turn(w);
        poll(&none, 1, 1);
    }
    return NULL;
}

TEST(the_client_asks_over_one_connection_and_keeps_every_byte) {
    struct world *w = world_new(0);
    char server[64], why[CLIENT_WHY_MAX], key[64];
    struct client_answer answer;
    struct buffer target = {0};
    pthread_t thread;
    for (int i = 0; i < 4000; i++) {
        snprintf(key, sizeof key, "key-%04d-and-some-more-text-so-that-it-is-long", i);
        mock_set(w->c, bytes_of(key), bytes_of(""));
    }
    mock_set(w->c, (struct bytes){(const uint8_t *)"a\0&%+ b", 7},
             (struct bytes){(const uint8_t *)"x\0y", 3});
    pthread_create(&thread, NULL, serve, w);
    snprintf(server, sizeof server, "127.0.0.1:%d", ntohs(w->address.sin_port));
    struct client *client = client_open(server, 5, why);
    REQUIRE(client != NULL);
    buffer_append_text(&target, "/get?key=");
    client_escape(&target, (struct bytes){(const uint8_t *)"a\0&%+ b", 7});
    OK(bytes_equal(buffer_bytes(&target), bytes_of("/get?key=a%00%26%25%2B%20b")));
    OK(client_ask(client, "GET", buffer_bytes(&target), "", (struct bytes){0}, &answer, why));
    EQUAL(answer.status, 200);
    OK(bytes_equal(buffer_bytes(&answer.body),
                   bytes_of("{\"key\":\"a\\u0000&%+ b\",\"value\":\"x\\u0000y\"}")));
    buffer_release(&answer.body);
    OK(client_ask(client, "GET", bytes_of("/keys"), "", (struct bytes){0}, &answer, why)); /* in chunks */
    OK(memmem(answer.body.data, answer.body.end, "\"count\":4002}", 13) != NULL);
    buffer_release(&answer.body);
    OK(client_ask(client, "POST", bytes_of("/set"), "", bytes_of("{\"key\":\"k\",\"value\":\"v\"}"), &answer,
                  why));
    OK(bytes_equal(buffer_bytes(&answer.body), bytes_of("{\"status\":\"ok\",\"key\":\"k\"}")));
    buffer_release(&answer.body);
    OK(client_ask(client, "GET", bytes_of("/get?key=none"), "", (struct bytes){0}, &answer, why));
    EQUAL(answer.status, 404);
    buffer_release(&answer.body);
    client_close(client);
    __atomic_store_n(&w->stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    OK(client_open("127.0.0.1:1", 1, why) == NULL && strstr(why, "cannot reach 127.0.0.1:1") != NULL);
    OK(client_open("::1:9000", 1, why) == NULL && strstr(why, "is not host:port") != NULL);
    OK(client_open("", 1, why) == NULL && client_open("a:", 1, why) == NULL &&
       client_open("[::1", 1, why) == NULL);
    buffer_release(&target);
    world_free(w);
}

/* A server that says `text` to whatever it is asked, and closes. */
struct liar {
    int fd;
    const char *text;
};

static void *lie(void *arg) {
    struct liar *liar = arg;
    char ignored[1024];
    int fd = accept(liar->fd, NULL, NULL);
    if (recv(fd, ignored, sizeof ignored, 0) > 0)
        send(fd, liar->text, strlen(liar->text), MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

TEST(answers_that_are_none_are_refused_by_the_client) {
    static const char *const texts[] = {
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n{}",
        "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        struct liar liar = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), texts[i]};
        struct client_answer answer;
        char server[64], why[CLIENT_WHY_MAX] = "";
        pthread_t thread;
        bind(liar.fd, (struct sockaddr *)&address, sizeof address);
        listen(liar.fd, 1);
        getsockname(liar.fd, (struct sockaddr *)&address, &size);
        pthread_create(&thread, NULL, lie, &liar);
        snprintf(server, sizeof server, "127.0.0.1:%d", ntohs(address.sin_port));
        struct client *client = client_open(server, 5, why);
        REQUIRE(client != NULL);
        OK(!client_ask(client, "GET", bytes_of("/"), "", (struct bytes){0}, &answer, why));
        OK(why[0] != '\0');
        buffer_release(&answer.body);
        client_close(client);
        pthread_join(thread, NULL);
        close(liar.fd);
    }
}

TESTS(TAP(a_client_asks_again_and_again_over_one_connection), TAP(late_answers_leave_at_the_end_of_a_turn),
      TAP(a_client_that_sends_without_reading_is_held_back_and_loses_nothing),
      TAP(an_answer_that_ends_the_connection_is_not_lost_to_a_reset),
      TAP(a_half_closed_client_gets_its_answers), TAP(a_long_listing_arrives_whole),
      TAP(a_connection_too_many_is_told_so_and_closed),
      TAP(a_full_table_of_descriptors_neither_spins_nor_ends_the_server),
      TAP(a_busy_port_is_one_line_with_the_flag_to_mend_it),
      TAP(a_server_that_stops_listening_still_serves_whom_it_has),
      TAP(the_client_asks_over_one_connection_and_keeps_every_byte),
      TAP(answers_that_are_none_are_refused_by_the_client))
