#include "api/api_io.h"

#include <assert.h>
#include <bsd/sys/queue.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/clock_io.h"

#define ACCEPTS_MAX   64          /* connections taken in one turn, so that clients get theirs */
#define READ_SIZE     (64 * 1024) /* bytes read at a time, so that clients get their turns */
#define BULK_SIZE     (16 * 1024) /* bytes of an unfinished request from which it is read into its place */
#define PAUSE_MS      100         /* of a listener without descriptors */
#define LINGER_MS     2000
#define LINGERING_MAX 256 /* and an eighth of the clients at most; further connections are closed at once */

struct connection {
    struct api_io *io;
    struct api_client *client; /* NULL: lingering */
    int fd;
    bool reading, writing; /* which events are added */
    struct event read, write;
    uint64_t linger_until_ms;
    TAILQ_ENTRY(connection) list;
};

TAILQ_HEAD(connection_list, connection);

struct api_io {
    struct api_io_options options;
    int listener, spare;
    struct event accept, resume, sweep;
    struct connection_list live, lingering;
    size_t lingering_count;
    uint8_t scratch[READ_SIZE];
};

static struct timeval time_of(uint64_t ms) {
    return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

/* ---- connections ---- */

static void set_event(struct event *event, bool *added, bool wanted) {
    if (*added == wanted)
        return;
    if ((wanted ? event_add(event, NULL) : event_del(event)) != 0)
        errx(1, "libevent cannot watch a connection");
    *added = wanted;
}

static void connection_free(struct connection *c) {
    set_event(&c->read, &c->reading, false);
    set_event(&c->write, &c->writing, false);
    if (c->client != NULL) {
        api_close(c->client, clock_ms());
        TAILQ_REMOVE(&c->io->live, c, list);
    } else {
        c->io->lingering_count--;
        TAILQ_REMOVE(&c->io->lingering, c, list);
    }
    close(c->fd);
    free(c);
}

/* Closes those that have lingered long enough; the list is in the order of their times. */
static void on_sweep(evutil_socket_t fd, short what, void *arg) {
    struct api_io *io = arg;
    struct connection *c;
    uint64_t now_ms = clock_ms();
    (void)fd;
    (void)what;
    while ((c = TAILQ_FIRST(&io->lingering)) != NULL && c->linger_until_ms <= now_ms)
        connection_free(c);
    if (c == NULL)
        return;
    struct timeval wait = time_of(c->linger_until_ms - now_ms);
    event_add(&io->sweep, &wait);
}

/* Its answers are written. */
static void connection_linger(struct connection *c) {
    size_t most = api_clients_max(c->io->options.api) / 8 + 1;
    if (c->io->lingering_count >= (most < LINGERING_MAX ? most : LINGERING_MAX) ||
        shutdown(c->fd, SHUT_WR) != 0) {
        connection_free(c);
        return;
    }
    uint64_t now_ms = clock_ms();
    api_close(c->client, now_ms);
    c->client = NULL;
    TAILQ_REMOVE(&c->io->live, c, list);
    TAILQ_INSERT_TAIL(&c->io->lingering, c, list);
    c->io->lingering_count++;
    c->linger_until_ms = now_ms + LINGER_MS;
    if (c->io->lingering_count == 1) {
        struct timeval wait = time_of(LINGER_MS);
        event_add(&c->io->sweep, &wait);
    }
    set_event(&c->write, &c->writing, false);
    set_event(&c->read, &c->reading, true);
}

/* Drops what still comes; false at the end or an error. */
static bool connection_drain(struct connection *c) {
    char dropped[16 * 1024];
    ssize_t got = recv(c->fd, dropped, sizeof dropped, 0);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

enum sent { SENT_ALL, SENT_SOME, SENT_FAILED };

static enum sent connection_send(struct connection *c) {
    struct buffer *out = api_output(c->client);
    while (buffer_size(out) > 0) {
        struct bytes bytes = buffer_bytes(out);
        ssize_t put = send(c->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno == EAGAIN ? SENT_SOME : SENT_FAILED;
        buffer_consume(out, (size_t)put);
        if ((size_t)put < bytes.size)
            return SENT_SOME;
    }
    return SENT_ALL;
}

/* Lets the core go on and writes what it has to say. A client with a lot to say gets one slice a turn. */
static void connection_turn(struct connection *c, uint64_t now_us) {
    struct api *api = c->io->options.api;
    uint64_t now_ms = now_us / 1000;
    api_clock(api, now_us);
    api_process(c->client, now_ms);
    enum sent sent = connection_send(c);
    if (sent == SENT_ALL && !api_wants_close(c->client)) {
        api_process(c->client, now_ms); /* the output has drained */
        sent = buffer_size(api_output(c->client)) == 0 ? SENT_ALL : SENT_SOME;
    }
    if (api_wants_clock(api))
        api_clock(api, clock_us());
    if (sent == SENT_FAILED) {
        connection_free(c);
    } else if (sent == SENT_ALL && api_wants_close(c->client)) {
        connection_linger(c);
    } else {
        set_event(&c->write, &c->writing, sent == SENT_SOME);
        set_event(&c->read, &c->reading, api_wants_input(c->client));
    }
}

/* False where the connection is broken. Small requests are read into memory that all connections share, so
 * that a client keeps no more than what it sent; a body on its way is read into its place. */
static bool connection_receive(struct connection *c) {
    struct buffer *in = api_input(c->client);
    bool bulk = buffer_size(in) >= BULK_SIZE;
    uint8_t *at = bulk ? buffer_reserve(in, READ_SIZE) : c->io->scratch;
    ssize_t got = recv(c->fd, at, READ_SIZE, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0)
        api_input_ended(c->client);
    else if (bulk)
        buffer_grow(in, (size_t)got);
    else
        buffer_append(in, (struct bytes){at, (size_t)got});
    return true;
}

static void on_read(evutil_socket_t fd, short what, void *arg) {
    struct connection *c = arg;
    (void)fd;
    (void)what;
    if (c->client == NULL) {
        if (!connection_drain(c))
            connection_free(c);
    } else if (!connection_receive(c)) {
        connection_free(c);
    } else {
        connection_turn(c, clock_us());
    }
}

static void on_write(evutil_socket_t fd, short what, void *arg) {
    struct connection *c = arg;
    (void)fd;
    (void)what;
    if (c->client != NULL)
        connection_turn(c, clock_us());
}

bool api_io_flush(struct api_io *io) {
    struct api_client *client = api_next_ready(io->options.api);
    bool turned = client != NULL;
    uint64_t now_us = turned ? clock_us() : 0;
    for (; client != NULL; client = api_next_ready(io->options.api))
        connection_turn(api_shell(client), now_us);
    return turned;
}

/* ---- the listener ---- */

static void connection_new(struct api_io *io, int fd) {
    int one = 1;
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        err(1, "out of memory for a connection");
    c->client = api_open(io->options.api, clock_ms(), c);
    if (c->client == NULL) {
        struct bytes full = api_full_answer();
        if (send(fd, full.data, full.size, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
            errno = 0; /* it is gone already, which is as good */
        close(fd);
        free(c);
        return;
    }
    c->io = io;
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    event_assign(&c->read, io->options.base, fd, EV_READ | EV_PERSIST, on_read, c);
    event_assign(&c->write, io->options.base, fd, EV_WRITE | EV_PERSIST, on_write, c);
    TAILQ_INSERT_TAIL(&io->live, c, list);
    set_event(&c->read, &c->reading, true);
}

static int spare_open(void) {
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left: the spare one lets the connection be told by its end, and the listener rests. */
static void shed(struct api_io *io) {
    struct timeval pause = time_of(PAUSE_MS);
    if (io->spare >= 0)
        close(io->spare);
    int fd = accept4(io->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    io->spare = spare_open();
    event_del(&io->accept);
    event_add(&io->resume, &pause);
}

static void on_accept(evutil_socket_t fd, short what, void *arg) {
    struct api_io *io = arg;
    (void)what;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted >= 0) {
            connection_new(io, accepted);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            shed(io);
        return;
    }
}

static void on_resume(evutil_socket_t fd, short what, void *arg) {
    struct api_io *io = arg;
    (void)fd;
    (void)what;
    if (io->listener >= 0)
        event_add(&io->accept, NULL);
}

/* ---- opening and closing ---- */

static socklen_t socket_address(const struct address *address, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    if (address->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(address->port);
        memcpy(&in->sin_addr, address->ip, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)out;
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(address->port);
    memcpy(&in->sin6_addr, address->ip, 16);
    return sizeof *in;
}

static int listen_on(const struct address *address, char why[API_IO_WHY_MAX]) {
    struct sockaddr_storage storage;
    char text[ADDRESS_TEXT_MAX];
    int one = 1, error;
    socklen_t size = socket_address(address, &storage);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&storage, size) == 0 && listen(fd, 1024) == 0)
        return fd;
    error = errno;
    if (fd >= 0)
        close(fd);
    const char *mend = error == EADDRINUSE      ? "choose a free port with -api"
                       : error == EADDRNOTAVAIL ? "choose an address of this machine with -bind"
                       : error == EACCES        ? "choose a port from 1024 up with -api"
                                                : "check -bind and -api";
    snprintf(why, API_IO_WHY_MAX, "the HTTP port %s: %s; %s", address_text(address, text), strerror(error),
             mend);
    return -1;
}

struct api_io *api_io_open(const struct api_io_options *options, char why[API_IO_WHY_MAX]) {
    int listener = listen_on(&options->bind, why);
    if (listener < 0)
        return NULL;
    struct api_io *io = calloc(1, sizeof *io);
    if (io == NULL)
        err(1, "out of memory for the HTTP server");
    io->options = *options;
    io->listener = listener;
    io->spare = spare_open();
    TAILQ_INIT(&io->live);
    TAILQ_INIT(&io->lingering);
    event_assign(&io->accept, options->base, listener, EV_READ | EV_PERSIST, on_accept, io);
    event_assign(&io->resume, options->base, -1, 0, on_resume, io);
    event_assign(&io->sweep, options->base, -1, 0, on_sweep, io);
    if (event_add(&io->accept, NULL) != 0)
        errx(1, "libevent cannot watch the HTTP port");
    return io;
}

struct address api_io_address(const struct api_io *io) {
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof storage;
    struct address address = io->options.bind;
    if (io->listener >= 0 && getsockname(io->listener, (struct sockaddr *)&storage, &size) == 0) {
        /* The port stands at the same place in both families. */
        address.port = ntohs(((struct sockaddr_in *)&storage)->sin_port);
    }
    return address;
}

void api_io_stop_listening(struct api_io *io) {
    if (io->listener < 0)
        return;
    event_del(&io->accept);
    event_del(&io->resume);
    close(io->listener);
    io->listener = -1;
}

void api_io_close(struct api_io *io) {
    struct connection *c;
    if (io == NULL)
        return;
    api_io_stop_listening(io);
    event_del(&io->sweep);
    while ((c = TAILQ_FIRST(&io->live)) != NULL)
        connection_free(c);
    while ((c = TAILQ_FIRST(&io->lingering)) != NULL)
        connection_free(c);
    if (io->spare >= 0)
        close(io->spare);
    free(io);
}
