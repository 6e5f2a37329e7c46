#include "api/client_io.h"

#include "api/http.h"

#include <bsd/stdlib.h>
#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct client {
    int fd;
    struct buffer in; /* received, not yet consumed */
    char host[256];   /* for the Host header */
};

__attribute__((format(printf, 2, 3))) static bool fail(char why[CLIENT_WHY_MAX], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, CLIENT_WHY_MAX, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- connecting ---- */

/* host and port of `server`; the text is cut in place. */
static bool split_server(char *server, char **host, const char **port) {
    char *colon = strrchr(server, ':'), *bracket = strchr(server, ']');
    *host = server;
    *port = CLIENT_PORT;
    if (server[0] == '[') {
        if (bracket == NULL || (bracket[1] != '\0' && bracket[1] != ':'))
            return false;
        *host = server + 1;
        *bracket = '\0';
        colon = bracket[1] == ':' ? bracket + 1 : NULL;
    } else if (colon != NULL && strchr(server, ':') != colon) {
        return false; /* an IPv6 address wants brackets */
    }
    if (colon != NULL) {
        *colon = '\0';
        *port = colon + 1;
    }
    return **host != '\0' && **port != '\0';
}

static int connect_to(const struct addrinfo *address, unsigned timeout_s) {
    struct timeval timeout = {.tv_sec = timeout_s};
    int one = 1;
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    close(fd);
    errno = error;
    return -1;
}

struct client *client_open(const char *server, unsigned timeout_s, char why[CLIENT_WHY_MAX]) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char text[256], *host;
    const char *port;
    int fd = -1;
    size_t size = strlen(server);
    if (size < sizeof text)
        memcpy(text, server, size + 1);
    if (size >= sizeof text || !split_server(text, &host, &port)) {
        fail(why, "%.80s is not host:port", server);
        return NULL;
    }
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        fail(why, "cannot find %s: %s", server, gai_strerror(error));
        return NULL;
    }
    for (const struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next)
        fd = connect_to(a, timeout_s);
    error = errno;
    freeaddrinfo(found);
    if (fd < 0) {
        fail(why, "cannot reach %s: %s", server, strerror(error));
        return NULL;
    }
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        err(1, "out of memory for a connection");
    c->fd = fd;
    memcpy(c->host, server, size + 1);
    return c;
}

void client_close(struct client *c) {
    if (c == NULL)
        return;
    close(c->fd);
    buffer_release(&c->in);
    free(c);
}

/* ---- asking ---- */

void client_escape(struct buffer *out, struct bytes text) {
    for (size_t i = 0; i < text.size; i++) {
        char escaped[4];
        uint8_t c = text.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        snprintf(escaped, sizeof escaped, plain ? "%c" : "%%%02X", c);
        buffer_append_text(out, escaped);
    }
}

static bool send_all(struct client *c, struct bytes bytes, bool *any, char why[CLIENT_WHY_MAX]) {
    while (bytes.size > 0) {
        ssize_t put = send(c->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return fail(why, "sending to %s: %s", c->host, strerror(errno));
        *any = true;
        bytes.data += put;
        bytes.size -= (size_t)put;
    }
    return true;
}

/* More bytes. False at the end, too late, or broken. */
static bool receive(struct client *c, char why[CLIENT_WHY_MAX]) {
    uint8_t *at = buffer_reserve(&c->in, 16 * 1024);
    ssize_t got;
    while ((got = recv(c->fd, at, c->in.capacity - c->in.end, 0)) < 0 && errno == EINTR) {
    }
    if (got == 0)
        return fail(why, "%s closed the connection before its answer was whole", c->host);
    if (got < 0)
        return fail(why, "no answer from %s: %s", c->host,
                    errno == EAGAIN ? "it took too long" : strerror(errno));
    buffer_grow(&c->in, (size_t)got);
    return true;
}

struct answer_head {
    size_t size; /* with its empty line */
    bool chunked, has_length;
    unsigned long long length;
    char etag[sizeof((struct client_answer *)NULL)->etag];
};

/* The line that begins at `at`, without its CRLF; false at the empty line. */
static bool next_line(struct bytes head, size_t *at, struct bytes *line) {
    const uint8_t *from = head.data + *at;
    const uint8_t *end = memmem(from, head.size - *at, "\r\n", 2);
    if (end == NULL || end == from)
        return false;
    *line = (struct bytes){from, (size_t)(end - from)};
    *at += line->size + 2;
    return true;
}

static bool header_is(struct bytes line, const char *lower, struct bytes *value) {
    size_t size = strlen(lower);
    if (line.size <= size || line.data[size] != ':' || !http_text_is((struct bytes){line.data, size}, lower))
        return false;
    size++;
    while (size < line.size && line.data[size] == ' ')
        size++;
    *value = (struct bytes){line.data + size, line.size - size};
    return true;
}

static bool read_length(struct bytes value, unsigned long long *out) {
    char text[24];
    const char *error;
    if (value.size >= sizeof text)
        return false;
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    *out = (unsigned long long)strtonum(text, 0, CLIENT_BODY_SIZE_MAX, &error);
    return error == NULL;
}

static bool read_head(struct bytes bytes, struct answer_head *head, unsigned *status) {
    struct bytes line, value;
    size_t at = 0;
    *head = (struct answer_head){.size = bytes.size};
    if (!next_line(bytes, &at, &line) || line.size < 12 || memcmp(line.data, "HTTP/1.1 ", 9) != 0)
        return false;
    *status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line.data[i] < '0' || line.data[i] > '9')
            return false;
        *status = *status * 10 + (line.data[i] - '0');
    }
    while (next_line(bytes, &at, &line)) {
        if (header_is(line, "content-length", &value)) {
            if (head->has_length || !read_length(value, &head->length))
                return false;
            head->has_length = true;
        } else if (header_is(line, "transfer-encoding", &value)) {
            head->chunked = http_text_is(value, "chunked");
        } else if (header_is(line, "etag", &value) && value.size > 2 && value.size - 2 < sizeof head->etag) {
            memcpy(head->etag, value.data + 1, value.size - 2);
            head->etag[value.size - 2] = '\0';
        }
    }
    return head->chunked != head->has_length;
}

static bool receive_head(struct client *c, struct answer_head *head, unsigned *status,
                         char why[CLIENT_WHY_MAX]) {
    for (size_t seen = 0;;) {
        struct bytes in = buffer_bytes(&c->in);
        const uint8_t *end = in.size > 3 ? memmem(in.data + seen, in.size - seen, "\r\n\r\n", 4) : NULL;
        if (end != NULL) {
            struct bytes bytes = {in.data, (size_t)(end - in.data) + 4};
            return read_head(bytes, head, status) || fail(why, "%s does not answer as kvnode does", c->host);
        }
        if (in.size > CLIENT_HEAD_SIZE_MAX)
            return fail(why, "%s does not answer as kvnode does", c->host);
        seen = in.size > 3 ? in.size - 3 : 0;
        if (!receive(c, why))
            return false;
    }
}

static bool receive_sized(struct client *c, size_t size, struct buffer *body, char why[CLIENT_WHY_MAX]) {
    while (size > 0) {
        if (buffer_size(&c->in) == 0 && !receive(c, why))
            return false;
        struct bytes in = buffer_bytes(&c->in);
        if (in.size > size)
            in.size = size;
        buffer_append(body, in);
        buffer_consume(&c->in, in.size);
        size -= in.size;
    }
    return true;
}

static bool receive_chunked(struct client *c, struct buffer *body, char why[CLIENT_WHY_MAX]) {
    struct http_chunked chunked = {0};
    for (;;) {
        if (buffer_size(&c->in) == 0 && !receive(c, why))
            return false;
        uint8_t *data = c->in.data + c->in.start;
        size_t size = buffer_size(&c->in), used;
        enum http_result result = http_chunked_decode(&chunked, data, &size, &used, CLIENT_BODY_SIZE_MAX);
        if (result == HTTP_BAD)
            return fail(why, "%s does not answer as kvnode does: %s", c->host, chunked.message);
        buffer_append(body, (struct bytes){data, size});
        buffer_consume(&c->in, used);
        if (result == HTTP_DONE)
            return true;
    }
}

static void append_request(struct buffer *out, const struct client *c, const char *method,
                           struct bytes target, const char *headers, struct bytes body) {
    char length[80];
    buffer_append_text(out, method);
    buffer_append_text(out, " ");
    buffer_append(out, target);
    buffer_append_text(out, " HTTP/1.1\r\nHost: ");
    buffer_append_text(out, c->host);
    if (body.data != NULL) {
        snprintf(length, sizeof length, "\r\nContent-Type: application/json\r\nContent-Length: %zu",
                 body.size);
        buffer_append_text(out, length);
    }
    buffer_append_text(out, "\r\n");
    buffer_append_text(out, headers);
    buffer_append_text(out, "\r\n");
    buffer_append(out, body);
}

bool client_ask(struct client *c, const char *method, struct bytes target, const char *headers,
                struct bytes body, struct client_answer *out, char why[CLIENT_WHY_MAX]) {
    struct buffer request = {0};
    struct answer_head head = {0};
    *out = (struct client_answer){0};
    append_request(&request, c, method, target, headers, body);
    bool all = send_all(c, buffer_bytes(&request), &out->sent, why);
    buffer_release(&request);
    if (!all || !receive_head(c, &head, &out->status, why))
        return false;
    memcpy(out->etag, head.etag, sizeof out->etag);
    buffer_consume(&c->in, head.size);
    if (head.chunked)
        return receive_chunked(c, &out->body, why);
    return receive_sized(c, (size_t)head.length, &out->body, why);
}
