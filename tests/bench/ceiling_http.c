/* The ceiling of GET /get: libevent events (or, with -e, bare epoll), own buffers, and the same bytes for
 * everyone.
 *
 * ceiling_http -p PORT [-r REPLYFILE] [-g CONGESTION] [-e]. One read and one write a turn and connection, as
 * kvnode aims at.
 */
#include "tests/bench/ceiling.h"

#include <sys/epoll.h>

struct client {
    struct ceiling_events events;
    const struct ceiling_reply *reply;
};

/* Answers what has come; false when the kernel takes no more, and the client is not to be read from. */
static bool serve(struct ceiling_connection *c, const struct ceiling_reply *reply) {
    size_t at = 0, size = 1;
    const char *body;
    bool written = true;
    while (written && size > 0) {
        while (at < c->in_size && (size = ceiling_request(c->in + at, c->in_size - at, &body)) &&
               ceiling_answer(c, reply))
            at += size;
        if (at == c->in_size)
            size = 0;
        if (c->out_size > 0)
            written = ceiling_write(c);
    }
    ceiling_taken(c, at);
    return written;
}

static void client_free(struct client *client) {
    ceiling_events_release(&client->events);
    free(client);
}

static void client_serve(struct client *client) {
    if (serve(client->events.c, client->reply))
        return;
    event_del(client->events.readable);
    event_add(client->events.writable, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    struct client *client = arg;
    (void)fd, (void)what;
    if (ceiling_read(client->events.c))
        client_serve(client);
    else
        client_free(client);
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
    struct client *client = arg;
    (void)fd, (void)what;
    event_add(client->events.readable, NULL);
    client_serve(client);
}

struct server {
    struct event_base *base;
    const struct ceiling_reply *reply;
};

static void on_accept(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    struct ceiling_connection *c = ceiling_accept(fd);
    (void)what;
    if (!c)
        return;
    struct client *client = malloc(sizeof *client);
    if (!client)
        err(1, "memory");
    *client = (struct client){.reply = s->reply};
    ceiling_events_init(&client->events, s->base, c, on_readable, on_writable, client);
}

static void run_events(int listener, const struct ceiling_reply *reply) {
    struct server s = {.base = event_base_new(), .reply = reply};
    struct event *accepting = event_new(s.base, listener, EV_READ | EV_PERSIST, on_accept, &s);
    event_add(accepting, NULL);
    event_base_dispatch(s.base);
}

static void epoll_client(int epoll_fd, struct ceiling_connection *c, uint32_t events,
                         const struct ceiling_reply *reply) {
    if (!(events & EPOLLOUT) && !ceiling_read(c)) {
        close(c->fd);
        free(c);
        return;
    }
    bool written = serve(c, reply);
    if (written && !(events & EPOLLOUT))
        return;
    struct epoll_event e = {.events = written ? EPOLLIN : EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void run_epoll(int listener, const struct ceiling_reply *reply) {
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e))
        err(1, "epoll");
    for (;;) {
        struct epoll_event ready[512];
        int n = epoll_wait(epoll_fd, ready, 512, -1);
        for (int i = 0; i < n; i++) {
            struct ceiling_connection *c = ready[i].data.ptr;
            if (c) {
                epoll_client(epoll_fd, c, ready[i].events, reply);
            } else if ((c = ceiling_accept(listener))) {
                e = (struct epoll_event){.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
            }
        }
    }
}

int main(int argc, char **argv) {
    static struct ceiling_reply reply;
    const char *file = NULL, *congestion = NULL;
    uint16_t port = 0;
    bool bare = false;
    for (int o; (o = getopt(argc, argv, "p:r:g:e")) != -1;) {
        if (o == 'p')
            port = ceiling_port(optarg);
        else if (o == 'r')
            file = optarg;
        else if (o == 'g')
            congestion = optarg;
        else if (o == 'e')
            bare = true;
        else
            return 2;
    }
    ceiling_reply_load(&reply, file,
                       "{\"key\":\"key-000000000042\",\"value\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}", "");
    (bare ? run_epoll : run_events)(ceiling_listen(port, congestion), &reply);
    return 0;
}
