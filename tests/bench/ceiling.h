/* What the ceiling programs share: a loopback listener, connections with buffers of their own, and the least
 * that tells one HTTP request from the next.
 *
 * A ceiling answers every request with the same bytes, made once: it does the sockets' work and nothing else,
 * and so says how fast a server on this machine could be. */
#ifndef TESTS_BENCH_CEILING_H
#define TESTS_BENCH_CEILING_H

#include <arpa/inet.h>
#include <bsd/stdlib.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CEILING_IN_SIZE = 65536, CEILING_OUT_SIZE = 1 << 20, CEILING_FDS_MAX = 4096 };

struct ceiling_connection {
    int fd;
    size_t in_size, out_size, out_sent;
    char in[CEILING_IN_SIZE], out[CEILING_OUT_SIZE];
};

struct ceiling_reply {
    char text[65536];
    size_t size;
};

static inline uint16_t ceiling_port(const char *text) {
    const char *problem;
    uint16_t port = (uint16_t)strtonum(text, 1, 65535, &problem);
    if (problem)
        errx(2, "port %s is %s", text, problem);
    return port;
}

/* congestion: the algorithm of its connections; NULL: the machine's default. */
static inline int ceiling_listen(uint16_t port, const char *congestion) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 512))
        err(1, "listen on port %u", port);
    if (congestion && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)))
        err(1, "congestion control %s", congestion);
    return fd;
}

/* NULL when nobody is waiting. */
static inline struct ceiling_connection *ceiling_accept(int listener) {
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct ceiling_connection *c = malloc(sizeof *c);
    if (!c || fd >= CEILING_FDS_MAX)
        err(1, "accept");
    c->fd = fd;
    c->in_size = c->out_size = c->out_sent = 0;
    return c;
}

/* False: the client is gone. */
static inline bool ceiling_read(struct ceiling_connection *c) {
    ssize_t n = recv(c->fd, c->in + c->in_size, CEILING_IN_SIZE - c->in_size, 0);
    if (n > 0)
        c->in_size += (size_t)n;
    return n > 0 || (n < 0 && errno == EAGAIN && c->in_size < CEILING_IN_SIZE);
}

/* True when all is written; false while the kernel takes no more. */
static inline bool ceiling_write(struct ceiling_connection *c) {
    ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        c->out_sent = c->out_size; /* a read will say that the client is gone */
    else if (n > 0)
        c->out_sent += (size_t)n;
    if (c->out_sent < c->out_size)
        return false;
    c->out_size = c->out_sent = 0;
    return true;
}

/* Room for one more reply; without it the client is not read from until its answers have gone out. */
static inline bool ceiling_answer(struct ceiling_connection *c, const struct ceiling_reply *reply) {
    if (CEILING_OUT_SIZE - c->out_size < reply->size)
        return false;
    memcpy(c->out + c->out_size, reply->text, reply->size);
    c->out_size += reply->size;
    return true;
}

/* A connection and its libevent events. Reading goes on until told otherwise; writing is waited for once each
 * time. */
struct ceiling_events {
    struct ceiling_connection *c;
    struct event *readable, *writable;
};

static inline void ceiling_events_init(struct ceiling_events *e, struct event_base *base,
                                       struct ceiling_connection *c, event_callback_fn on_readable,
                                       event_callback_fn on_writable, void *arg) {
    e->c = c;
    e->readable = event_new(base, c->fd, EV_READ | EV_PERSIST, on_readable, arg);
    e->writable = event_new(base, c->fd, EV_WRITE, on_writable, arg);
    if (!e->readable || !e->writable || event_add(e->readable, NULL))
        errx(1, "events");
}

static inline void ceiling_events_release(struct ceiling_events *e) {
    event_free(e->readable);
    event_free(e->writable);
    close(e->c->fd);
    free(e->c);
}

/* Takes what was served from the input. */
static inline void ceiling_taken(struct ceiling_connection *c, size_t size) {
    c->in_size -= size;
    if (c->in_size > 0)
        memmove(c->in, c->in + size, c->in_size);
}

/* The size of the request at data, its body included; 0 while it is not whole. */
static inline size_t ceiling_request(const char *data, size_t size, const char **body) {
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - data) + 4, length = 0;
    *body = end + 4;
    if (data[0] == 'P') {
        static const char name[] = "content-length:";
        const char *at = data;
        while ((at = memchr(at, '\n', (size_t)(end - at))) && strncasecmp(++at, name, sizeof name - 1))
            ;
        length = at ? strtoul(at + sizeof name - 1, NULL, 10) : 0;
    }
    return size - head < length ? 0 : head + length;
}

/* The answer's bytes: those of a file (one real reply, recorded), or built in. */
static inline void ceiling_reply_load(struct ceiling_reply *r, const char *path, const char *body,
                                      const char *headers) {
    if (!path) {
        r->size =
            (size_t)snprintf(r->text, sizeof r->text,
                             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                             "ETag: \"1.10042\"\r\n%sKV-Node: bench00000000000\r\nKV-Group: 0\r\n\r\n%s",
                             strlen(body), headers, body);
        return;
    }
    FILE *f = fopen(path, "rb");
    if (!f)
        err(1, "%s", path);
    r->size = fread(r->text, 1, sizeof r->text, f);
    fclose(f);
    if (r->size < 16 || !memmem(r->text, r->size, "\r\n\r\n", 4))
        errx(1, "%s holds no HTTP reply", path);
}

#endif
