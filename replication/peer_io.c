#include "replication/peer_io.h"

#include "cluster/socket_io.h"
#include "storage/chunks.h"
#include "storage/clock_io.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RETRANSMIT_MIN_US 20000
#define SOCKET_RTO_MIN_US 45 /* TCP_RTO_MIN_US of Linux 6.17 and later, which older headers do not name */
#define READ_SIZE         (256u * 1024) /* bytes from one connection in a turn */
#define ACCEPTS_A_TURN    32
#define TELL_SIZE         (1u << 20) /* unsent bytes from which every write tells the core */
#define PIECES_MAX        16         /* chunks that leave in one send */
#define ACCEPT_PAUSE_MS   100

struct socket_connection {
    struct peer_io *io;
    uint32_t number;
    int fd; /* -1: the dial failed before there was one */
    bool connecting;
    bool dirty;           /* in the list of those to be flushed */
    enum peers_close why; /* of a failed dial */
    struct event *read;
    struct event *write; /* while it connects, or waits for the socket to take more */
    struct chunks output;
    TAILQ_ENTRY(socket_connection) all, next_dirty, next_failed;
};

TAILQ_HEAD(socket_list, socket_connection);

struct peer_io {
    struct event_base *base;
    struct peers *peers;
    struct address bind;
    int listener, spare;
    struct event *accept, *resume; /* resume: listens again after a pause */
    struct event *failed_soon;     /* reports dials that failed within peer_io_dial */
    struct socket_list all, dirty, failed;
    uint64_t turned_away;
    uint8_t *input; /* READ_SIZE, shared by all: what the core does not take it copies */
};

static struct address local_address(int fd) {
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0)
        return (struct address){0};
    return address_of_socket(&name);
}

/* Connections. */

static struct socket_connection *find(struct peer_io *io, uint32_t number) {
    struct socket_connection *c;
    TAILQ_FOREACH(c, &io->all, all)
    if (c->number == number)
        return c;
    return NULL;
}

static struct socket_connection *add(struct peer_io *io, uint32_t number, int fd) {
    struct socket_connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        err(1, "out of memory for a connection");
    c->io = io;
    c->number = number;
    c->fd = fd;
    TAILQ_INSERT_TAIL(&io->all, c, all);
    return c;
}

/* Sends what it can; true where something was taken. On a broken connection nothing more is to be sent; what
 * came before the break is still to be read, and the end is found there. */
static bool send_output(struct socket_connection *c) {
    bool taken = false;
    while (c->output.size > 0) {
        struct bytes rest[PIECES_MAX];
        struct iovec pieces[PIECES_MAX];
        struct msghdr message = {.msg_iov = pieces};
        message.msg_iovlen = chunks_front(&c->output, rest, PIECES_MAX);
        for (size_t i = 0; i < message.msg_iovlen; i++)
            pieces[i] = (struct iovec){(void *)(uintptr_t)rest[i].data, rest[i].size};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        taken = taken || sent > 0;
        chunks_consume(&c->output, sent < 0 ? c->output.size : (size_t)sent);
    }
    return taken;
}

static void writable(evutil_socket_t fd, short what, void *arg);

static void watch_writes(struct socket_connection *c) {
    c->write = event_new(c->io->base, c->fd, EV_WRITE | EV_PERSIST, writable, c);
    if (c->write == NULL || event_add(c->write, NULL) != 0)
        errx(1, "out of memory for a connection's events");
}

static void unwatch_writes(struct socket_connection *c) {
    if (c->write != NULL)
        event_free(c->write);
    c->write = NULL;
}

static void drop(struct socket_connection *c) {
    struct peer_io *io = c->io;
    if (c->read != NULL)
        event_free(c->read);
    unwatch_writes(c);
    if (c->dirty)
        TAILQ_REMOVE(&io->dirty, c, next_dirty);
    if (c->fd < 0)
        TAILQ_REMOVE(&io->failed, c, next_failed);
    else
        close(c->fd);
    TAILQ_REMOVE(&io->all, c, all);
    chunks_release(&c->output);
    free(c);
}

static void drop_and_tell(struct socket_connection *c, enum peers_close why) {
    struct peers *peers = c->io->peers;
    uint32_t number = c->number;
    drop(c);
    peers_closed(peers, clock_ms(), number, why);
}

static void flush(struct socket_connection *c) {
    bool taken = send_output(c);
    bool wait = c->output.size > 0;
    if (wait && c->write == NULL)
        watch_writes(c);
    else if (!wait)
        unwatch_writes(c);
    peers_unsent(c->io->peers, c->number, wait ? c->output.memory : 0, taken);
}

static void readable(evutil_socket_t fd, short what, void *arg) {
    struct socket_connection *c = arg;
    (void)what;
    ssize_t size = recv(fd, c->io->input, READ_SIZE, 0);
    if (size > 0)
        peers_received(c->io->peers, clock_ms(), c->number, (struct bytes){c->io->input, (size_t)size});
    else if (size == 0 || (errno != EAGAIN && errno != EINTR))
        drop_and_tell(c, PEERS_CLOSED);
}

static void begin(struct socket_connection *c) {
    c->connecting = false;
    unwatch_writes(c);
    c->read = event_new(c->io->base, c->fd, EV_READ | EV_PERSIST, readable, c);
    if (c->read == NULL || event_add(c->read, NULL) != 0)
        errx(1, "out of memory for a connection's events");
}

/* Dials. */

static void connected(struct socket_connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    struct sockaddr_storage there;
    socklen_t there_size = sizeof there;
    if (error == 0 && getpeername(c->fd, (struct sockaddr *)&there, &there_size) != 0)
        error = errno;
    if (error == 0) {
        /* Where nobody listens, a source port that happens to be the one dialled makes a socket connect to
         * itself. */
        struct address here = local_address(c->fd), peer = address_of_socket(&there);
        if (address_equal(&here, &peer))
            error = ECONNREFUSED;
    }
    if (error != 0) {
        drop_and_tell(c, error == ECONNREFUSED ? PEERS_CONNECT_REFUSED : PEERS_UNREACHABLE);
        return;
    }
    begin(c);
    peers_connected(c->io->peers, clock_ms(), c->number);
}

static void writable(evutil_socket_t fd, short what, void *arg) {
    struct socket_connection *c = arg;
    (void)fd;
    (void)what;
    if (c->connecting)
        connected(c);
    else
        flush(c);
}

static void prepare(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Where packets are lost, a heartbeat must come again well within an election timeout: repetitions of
     * such thin streams do not back off, and begin early where the kernel lets a socket say so. A kernel that
     * does not goes on as it is. */
    int repeat_us = RETRANSMIT_MIN_US;
    setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, SOCKET_RTO_MIN_US, &repeat_us, sizeof repeat_us);
}

/* A socket on its way to `to`, or -1 with errno. */
static int begin_to_connect(struct peer_io *io, const struct address *to) {
    bool from_any = address_is_wildcard(&io->bind);
    if (!from_any && to->family != io->bind.family) {
        errno = ENETUNREACH;
        return -1;
    }
    int fd = socket(socket_family(to), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    prepare(fd);
    struct sockaddr_storage name;
    socklen_t size;
    int on = 1;
    if (!from_any) {
        struct address source = io->bind;
        source.port = 0;
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        size = socket_of_address(&source, &name);
        if (bind(fd, (struct sockaddr *)&name, size) != 0)
            goto failed;
    }
    size = socket_of_address(to, &name);
    if (connect(fd, (struct sockaddr *)&name, size) == 0 || errno == EINPROGRESS)
        return fd;
failed:;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

void peer_io_dial(struct peer_io *io, uint32_t connection, const struct address *to) {
    int fd = begin_to_connect(io, to);
    enum peers_close why = errno == ECONNREFUSED ? PEERS_CONNECT_REFUSED : PEERS_UNREACHABLE;
    struct socket_connection *c = add(io, connection, fd);
    c->connecting = true;
    if (fd < 0) {
        c->why = why;
        TAILQ_INSERT_TAIL(&io->failed, c, next_failed);
        event_active(io->failed_soon, EV_TIMEOUT, 0);
        return;
    }
    watch_writes(c);
}

static void report_failed(evutil_socket_t fd, short what, void *arg) {
    struct peer_io *io = arg;
    struct socket_connection *c;
    (void)fd;
    (void)what;
    while ((c = TAILQ_FIRST(&io->failed)) != NULL)
        drop_and_tell(c, c->why);
}

/* The listener. */

static void open_spare(struct peer_io *io) {
    io->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left: spends the spare one to turn the waiting connection away. Without a spare, or when
 * that does not help, leaves the listener alone for a moment. */
static void turn_away(struct peer_io *io) {
    static const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
    int fd = -1;
    if (io->spare >= 0) {
        close(io->spare);
        fd = accept4(io->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            io->turned_away++;
        }
    }
    open_spare(io);
    if (fd >= 0)
        return;
    event_del(io->accept);
    event_add(io->resume, &pause);
}

static void resume(evutil_socket_t fd, short what, void *arg) {
    struct peer_io *io = arg;
    (void)fd;
    (void)what;
    if (io->spare < 0)
        open_spare(io);
    event_add(io->accept, NULL);
}

static void accepted(struct peer_io *io, int fd, const struct sockaddr_storage *from) {
    struct address at = address_of_socket(from);
    prepare(fd);
    uint32_t number = peers_next_number(io->peers);
    struct socket_connection *c = add(io, number, fd);
    begin(c);
    peers_accepted(io->peers, clock_ms(), number, &at);
}

static void acceptable(evutil_socket_t fd, short what, void *arg) {
    struct peer_io *io = arg;
    (void)what;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int taken = accept4((int)fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (taken >= 0) {
            accepted(io, taken, &from);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            turn_away(io);
        else if (errno == EINTR || errno == ECONNABORTED)
            continue;
        return;
    }
}

static const char *mend_for(int error) {
    switch (error) {
    case EADDRINUSE:
        return "another program listens there: end it, or choose another -port";
    case EADDRNOTAVAIL:
        return "no interface of this machine has that address: correct -bind";
    case EACCES:
        return "ports below 1024 need privileges: choose another -port";
    default:
        return "correct -bind and -port";
    }
}

static int listen_on(const struct address *address, char *why, size_t why_size) {
    struct sockaddr_storage name;
    socklen_t size = socket_of_address(address, &name);
    int on = 1;
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&name, size) == 0 && listen(fd, 128) == 0)
        return fd;
    int error = errno;
    char text[ADDRESS_TEXT_MAX];
    snprintf(why, why_size, "cannot listen for nodes on %s: %s (%s)", address_text(address, text),
             strerror(error), mend_for(error));
    if (fd >= 0)
        close(fd);
    return -1;
}

struct peer_io *peer_io_new(struct event_base *base, const struct address *bind, char *why, size_t why_size) {
    int listener = listen_on(bind, why, why_size);
    if (listener < 0)
        return NULL;
    struct peer_io *io = calloc(1, sizeof *io);
    if (io == NULL || (io->input = malloc(READ_SIZE)) == NULL)
        err(1, "out of memory for the connections between nodes");
    io->base = base;
    io->bind = *bind;
    io->listener = listener;
    open_spare(io);
    TAILQ_INIT(&io->all);
    TAILQ_INIT(&io->dirty);
    TAILQ_INIT(&io->failed);
    io->accept = event_new(base, listener, EV_READ | EV_PERSIST, acceptable, io);
    io->resume = event_new(base, -1, 0, resume, io);
    io->failed_soon = event_new(base, -1, 0, report_failed, io);
    if (io->accept == NULL || io->resume == NULL || io->failed_soon == NULL)
        errx(1, "out of memory for the events of the connections between nodes");
    return io;
}

void peer_io_attach(struct peer_io *io, struct peers *peers) {
    assert(io->peers == NULL);
    io->peers = peers;
    event_add(io->accept, NULL);
}

void peer_io_free(struct peer_io *io) {
    if (io == NULL)
        return;
    event_free(io->accept);
    event_free(io->resume);
    event_free(io->failed_soon);
    close(io->listener);
    struct socket_connection *c;
    while ((c = TAILQ_FIRST(&io->all)) != NULL)
        drop(c);
    if (io->spare >= 0)
        close(io->spare);
    free(io->input);
    free(io);
}

struct address peer_io_address(const struct peer_io *io) {
    return local_address(io->listener);
}

void peer_io_write(struct peer_io *io, uint32_t connection, struct bytes data) {
    struct socket_connection *c = find(io, connection);
    if (c == NULL || c->connecting)
        return;
    chunks_append(&c->output, data);
    if (!c->dirty)
        TAILQ_INSERT_TAIL(&io->dirty, c, next_dirty);
    c->dirty = true;
    if (c->output.size >= TELL_SIZE)
        peers_unsent(io->peers, connection, c->output.memory, false);
}

void peer_io_close(struct peer_io *io, uint32_t connection) {
    struct socket_connection *c = find(io, connection);
    if (c == NULL)
        return;
    if (!c->connecting)
        send_output(c);
    drop(c);
}

void peer_io_hold(struct peer_io *io, uint32_t connection, bool held) {
    struct socket_connection *c = find(io, connection);
    if (c == NULL || c->read == NULL)
        return;
    if (held)
        event_del(c->read);
    else
        event_add(c->read, NULL);
}

void peer_io_flush(struct peer_io *io) {
    struct socket_connection *c;
    while ((c = TAILQ_FIRST(&io->dirty)) != NULL) {
        TAILQ_REMOVE(&io->dirty, c, next_dirty);
        c->dirty = false;
        if (c->write == NULL)
            flush(c);
    }
}

uint64_t peer_io_turned_away(const struct peer_io *io) {
    return io->turned_away;
}
