/* The ceiling of POST /set on one node with -fsync always: HTTP in front of a preallocated, already written
 * log.
 *
 * ceiling_log -p PORT -l LOGFILE [-r REPLYFILE] [-g CONGESTION] [-i]. A turn of the loop appends every
 * request's body to the batch that gathers; when no batch is on its way, this one goes: one pwrite and one
 * fdatasync on a helper thread (with -i: in the loop), then its answers. The log is as large as LOG_SIZE and
 * starts again at 0, so that every write finds blocks that exist. The answers are the same bytes for
 * everyone. What does not fit its buffers ends the program: it only ever serves tests/bench/load. */
#include "tests/bench/ceiling.h"

#include <pthread.h>
#include <sys/eventfd.h>

enum { LOG_SIZE = 64 << 20, BATCH_SIZE = 4 << 20, RECORD_HEAD_SIZE = 16 };

struct client {
    struct ceiling_events events;
    struct server *server;
    unsigned gathering,
        flushing; /* answers that wait for the batch that gathers, and for the one on its way */
    bool gone;
};

struct batch {
    char *data;
    size_t size;
    struct client *clients[CEILING_FDS_MAX];
    size_t clients_count;
};

struct server {
    struct event_base *base;
    int log_fd, go_fd, done_fd;
    off_t log_end;
    bool in_loop, under_way;
    struct batch batches[2], *gathering, *flushing;
    struct ceiling_reply reply;
};

static void client_free(struct client *client) {
    ceiling_events_release(&client->events);
    free(client);
}

static void client_close(struct client *client) {
    client->gone = true;
    event_del(client->events.readable);
    if (client->gathering + client->flushing == 0)
        client_free(client);
}

static void batch_add(struct client *client, const char *body, size_t size) {
    struct batch *b = client->server->gathering;
    uint32_t head[RECORD_HEAD_SIZE / 4] = {(uint32_t)size};
    if (b->size + sizeof head + size > BATCH_SIZE)
        errx(1, "more is on the way than a batch of %d bytes holds", BATCH_SIZE);
    memcpy(b->data + b->size, head, sizeof head);
    memcpy(b->data + b->size + sizeof head, body, size);
    b->size += sizeof head + size;
    if (client->gathering++ == 0)
        b->clients[b->clients_count++] = client;
}

static void client_take(struct client *client) {
    struct ceiling_connection *c = client->events.c;
    size_t at = 0, size;
    const char *body;
    while (at < c->in_size && (size = ceiling_request(c->in + at, c->in_size - at, &body))) {
        batch_add(client, body, (size_t)(c->in + at + size - body));
        at += size;
    }
    ceiling_taken(c, at);
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    struct client *client = arg;
    (void)fd, (void)what;
    if (ceiling_read(client->events.c))
        client_take(client);
    else
        client_close(client);
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
    struct client *client = arg;
    (void)fd, (void)what;
    if (!ceiling_write(client->events.c))
        event_add(client->events.writable, NULL);
}

static void on_accept(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    struct ceiling_connection *c = ceiling_accept(fd);
    (void)what;
    if (!c)
        return;
    struct client *client = malloc(sizeof *client);
    if (!client)
        err(1, "memory");
    *client = (struct client){.server = s};
    ceiling_events_init(&client->events, s->base, c, on_readable, on_writable, client);
}

static void flush(struct server *s) {
    struct batch *b = s->flushing;
    if (s->log_end + (off_t)b->size > LOG_SIZE)
        s->log_end = 0;
    if (pwrite(s->log_fd, b->data, b->size, s->log_end) != (ssize_t)b->size || fdatasync(s->log_fd))
        err(1, "log");
    s->log_end += (off_t)b->size;
}

static void *flush_thread(void *arg) {
    struct server *s = arg;
    for (eventfd_t n; eventfd_read(s->go_fd, &n) == 0;) {
        flush(s);
        eventfd_write(s->done_fd, 1);
    }
    err(1, "eventfd");
}

static void answer(struct server *s) {
    struct batch *b = s->flushing;
    for (size_t i = 0; i < b->clients_count; i++) {
        struct client *client = b->clients[i];
        for (; client->flushing > 0; client->flushing--)
            if (!ceiling_answer(client->events.c, &s->reply))
                errx(1, "a client does not read its answers");
        if (client->gone && client->gathering == 0)
            client_free(client);
        else if (!client->gone && !ceiling_write(client->events.c))
            event_add(client->events.writable, NULL);
    }
    b->size = b->clients_count = 0;
    s->under_way = false;
}

static void on_done(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    eventfd_t n;
    (void)what;
    if (eventfd_read(fd, &n) == 0)
        answer(s);
}

/* At the end of each turn. */
static void batch_start(struct server *s) {
    if (s->under_way || s->gathering->clients_count == 0)
        return;
    struct batch *b = s->gathering;
    s->gathering = s->flushing;
    s->flushing = b;
    s->under_way = true;
    for (size_t i = 0; i < b->clients_count; i++) {
        b->clients[i]->flushing = b->clients[i]->gathering;
        b->clients[i]->gathering = 0;
    }
    if (s->in_loop) {
        flush(s);
        answer(s);
    } else {
        eventfd_write(s->go_fd, 1);
    }
}

static void log_create(struct server *s, const char *path) {
    static char zeros[1 << 20];
    s->log_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (off_t at = 0; s->log_fd >= 0 && at < LOG_SIZE; at += (off_t)sizeof zeros)
        if (pwrite(s->log_fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros)
            err(1, "%s", path);
    if (s->log_fd < 0 || fsync(s->log_fd))
        err(1, "%s", path);
}

static void start(struct server *s, int listener) {
    for (int i = 0; i < 2; i++)
        if (!(s->batches[i].data = malloc(BATCH_SIZE)))
            err(1, "memory");
    s->gathering = &s->batches[0];
    s->flushing = &s->batches[1];
    s->go_fd = eventfd(0, EFD_CLOEXEC);
    s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->base = event_base_new();
    pthread_t thread;
    if (!s->in_loop && pthread_create(&thread, NULL, flush_thread, s))
        errx(1, "thread");
    event_add(event_new(s->base, s->done_fd, EV_READ | EV_PERSIST, on_done, s), NULL);
    event_add(event_new(s->base, listener, EV_READ | EV_PERSIST, on_accept, s), NULL);
}

int main(int argc, char **argv) {
    static struct server s;
    const char *file = NULL, *log = NULL, *congestion = NULL;
    uint16_t port = 0;
    for (int o; (o = getopt(argc, argv, "p:l:r:g:i")) != -1;) {
        if (o == 'p')
            port = ceiling_port(optarg);
        else if (o == 'l')
            log = optarg;
        else if (o == 'r')
            file = optarg;
        else if (o == 'g')
            congestion = optarg;
        else if (o == 'i')
            s.in_loop = true;
        else
            return 2;
    }
    if (!log)
        errx(2, "-l LOGFILE is missing");
    ceiling_reply_load(&s.reply, file, "{\"status\":\"ok\",\"key\":\"key-000000000042\"}",
                       "KV-Position: 0:1.10042\r\nKV-Acks: 1/1\r\n");
    log_create(&s, log);
    start(&s, ceiling_listen(port, congestion));
    while (event_base_loop(s.base, EVLOOP_ONCE) == 0)
        batch_start(&s);
    return 1;
}
