/* The load generator: N keep-alive connections in one epoll loop, each with `depth` requests on the way at a
 * time.
 *
 * A connection sends a batch of depth requests in one write, reads their replies, checks every one of them
 * whole (status, and body byte for byte), then sends the next batch. Keys are walked in a scattered order
 * that touches each of `keys` once before any comes again, so a run of -o set -n KEYS fills a store. One
 * thread, and no more work a request than patching a key into a template and comparing the answer: it has to
 * be cheaper than any server it measures. Only loopback is ever loaded, and time and requests are bounded.
 *
 * Prints one line: requests, seconds, errors, latency quantiles in ns (buckets of 1.6 %). Exit 1 after any
 * error. */
#include <arpa/inet.h>
#include <bsd/stdlib.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/grpc.h"

enum {
    CONNECTIONS_MAX = 1024,
    DEPTH_MAX = 1024,
    VALUE_SIZE_MAX = 1 << 20,
    HEADERS_SIZE_MAX = 4096,
    KEY_SIZE = 16, /* key-000000000042 */
    SILENCE_MS = 10000,
    REQUESTS_MAX = 1000000000,
    SECONDS_MAX = 7200,
    BUCKET_BITS = 6, /* 64 buckets for each doubling */
    BUCKETS = (64 - BUCKET_BITS + 1) << BUCKET_BITS,
};

/* Bytes in which a key stands at key_at; -1: none does. */
struct shape {
    char *text;
    size_t size;
    ssize_t key_at;
};

struct connection {
    int fd;
    unsigned waiting, batch; /* replies still to come, of how many */
    uint64_t batch_first;    /* sequence number of the batch's first request */
    uint64_t sent_ns;
    char *out, *in;
    size_t out_size, out_sent, in_size;
    bool blocked; /* the kernel takes no more of out */
    /* gRPC: the number of the stream under way, bytes that the server takes, whether the message is right. */
    uint32_t stream;
    int64_t window;
    bool message;
};

enum protocol { HTTP, RESP, GRPC };

static const char wait_text[] = "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n1000\r\n";

struct load {
    /* what to do */
    uint16_t port;
    struct in_addr address;
    unsigned connections, depth;
    uint64_t keys, requests_max, duration_ns;
    size_t value_size;
    enum protocol protocol;
    bool set, wait, any_key;
    const char *path, *body, *contains;
    /* how */
    struct shape request, reply; /* reply: an HTTP body, or a whole RESP reply */
    size_t data_at;              /* in a request of gRPC: its second frame */
    size_t in_capacity;
    int epoll_fd;
    struct connection *table;
    /* how far */
    uint64_t sequence, replies, errors, start_ns, now_ns;
    unsigned busy; /* connections that wait for a reply */
    uint64_t histogram[BUCKETS];
};

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t ns) {
    if (ns < 1 << BUCKET_BITS)
        return (unsigned)ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - BUCKET_BITS;
    return ((shift + 1) << BUCKET_BITS) + (unsigned)((ns >> shift) & ((1 << BUCKET_BITS) - 1));
}

static uint64_t bucket_top(unsigned bucket) {
    if (bucket < 1 << BUCKET_BITS)
        return bucket;
    unsigned shift = (bucket >> BUCKET_BITS) - 1;
    uint64_t mantissa = (bucket & ((1 << BUCKET_BITS) - 1)) | 1 << BUCKET_BITS;
    return ((mantissa + 1) << shift) - 1;
}

static uint64_t quantile(const struct load *l, double q) {
    uint64_t rank = (uint64_t)((double)l->replies * q), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += l->histogram[i];
        if (seen > rank)
            return bucket_top(i);
    }
    return 0;
}

/* The multiplier is a prime, so it shares no factor with keys and every key comes once in each `keys`
 * requests. */
static uint64_t key_of(const struct load *l, uint64_t sequence) {
    return sequence * 2654435761 % l->keys;
}

static void key_write(char *at, uint64_t key) {
    for (int i = KEY_SIZE - 1; i >= 4; i--, key /= 10)
        at[i] = (char)('0' + key % 10);
}

static struct shape shape_new(const char *before, bool key, const char *between, const char *value,
                              const char *after) {
    struct shape s = {.key_at = key ? (ssize_t)strlen(before) : -1};
    int n = asprintf(&s.text, "%s%s%s%s%s", before, key ? "key-000000000000" : "", between, value, after);
    if (n < 0)
        err(1, "memory");
    s.size = (size_t)n;
    return s;
}

static void shapes_resp(struct load *l, const char *value) {
    char size[32];
    snprintf(size, sizeof size, "\r\n$%zu\r\n", l->value_size);
    if (l->set) {
        l->request = shape_new("*3\r\n$3\r\nSET\r\n$16\r\n", true, size, value, "\r\n");
        l->reply = shape_new("+OK\r\n", false, "", "", "");
    } else {
        l->request = shape_new("*2\r\n$3\r\nGET\r\n$16\r\n", true, "\r\n", "", "");
        l->reply = shape_new(size + 2, false, "", value, "\r\n");
    }
}

static void shapes_http(struct load *l, const char *value) {
    char host[64], head[256], name[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &l->address, name, sizeof name);
    snprintf(host, sizeof host, " HTTP/1.1\r\nHost: %s:%u\r\n", name, l->port);
    if (l->body || l->set) {
        size_t size = l->body ? strlen(l->body) : strlen("{'key':'','value':''}") + KEY_SIZE + l->value_size;
        snprintf(head, sizeof head,
                 "POST %s%sContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 l->path ? l->path : "/set", host, size, l->body ? "" : "{\"key\":\"");
        l->request = l->body ? shape_new(head, false, "", l->body, "")
                             : shape_new(head, true, "\",\"value\":\"", value, "\"}");
        l->reply = shape_new("{\"status\":\"ok\",\"key\":\"", true, "\"}", "", "");
    } else {
        snprintf(head, sizeof head, "GET %s", l->path ? l->path : "/get?key=");
        l->request = shape_new(head, !l->path, host, "", "\r\n");
        l->reply = shape_new("{\"key\":\"", true, "\",\"value\":\"", value, "\"}");
    }
}

static void shapes_grpc(struct load *l, const char *value) {
    char host[64], name[INET_ADDRSTRLEN];
    size_t key_at;
    inet_ntop(AF_INET, &l->address, name, sizeof name);
    snprintf(host, sizeof host, "%s:%u", name, l->port);
    l->request.text = malloc(GRPC_CALL_MAX + l->value_size);
    if (!l->request.text)
        err(1, "memory");
    l->request.size =
        grpc_call(l->request.text, host, "key-000000000000", l->set ? value : NULL, &l->data_at, &key_at);
    l->request.key_at = (ssize_t)key_at;
    l->reply = shape_new("", true, "", "", "");
}

static void prepare(struct load *l) {
    static void (*const shapes[])(struct load * l, const char *value) = {shapes_http, shapes_resp,
                                                                         shapes_grpc};
    char *value = malloc(l->value_size + 1);
    if (!value)
        err(1, "memory");
    memset(value, 'x', l->value_size);
    value[l->value_size] = 0;
    shapes[l->protocol](l, value);
    free(value);
    l->in_capacity = 65536 + HEADERS_SIZE_MAX + l->reply.size;
    l->table = calloc(l->connections, sizeof *l->table);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!l->table || l->epoll_fd < 0)
        err(1, "start");
}

static void grpc_send(struct connection *c, const char *data, size_t size) {
    if (send(c->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
        err(1, "write");
}

static void connection_open(struct load *l, struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(l->port), .sin_addr = l->address};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to))
        err(1, "connect to port %u", l->port);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->in = malloc(l->in_capacity);
    c->out = malloc(l->depth * l->request.size + sizeof wait_text);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (!c->in || !c->out || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &e))
        err(1, "connection");
    if (l->protocol == GRPC) {
        char hello[GRPC_CALL_MAX];
        grpc_send(c, hello, grpc_open(hello));
        c->window = 65535;
    }
}

static void interest(struct load *l, struct connection *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, c->fd, &e))
        err(1, "epoll_ctl");
}

static void connection_write(struct load *l, struct connection *c) {
    bool blocked = false;
    while (c->out_sent < c->out_size && !blocked) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            err(1, "write");
        if (n < 0)
            blocked = true;
        else
            c->out_sent += (size_t)n;
    }
    if (blocked != c->blocked)
        interest(l, c, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->blocked = blocked;
}

static void grpc_next(struct load *l, struct connection *c, char *request) {
    c->stream += c->stream == 0 ? 1 : 2;
    c->window -= (int64_t)(l->request.size - l->data_at - GRPC_FRAME_SIZE);
    if (c->window < 0 || c->stream > INT32_MAX)
        errx(1, "the server takes no more on a connection");
    grpc_put_u32(request + 5, c->stream);
    grpc_put_u32(request + l->data_at + 5, c->stream);
    c->message = false;
}

/* The next batch, unless the run is over. */
static void connection_send(struct load *l, struct connection *c) {
    if (l->sequence >= l->requests_max || l->now_ns - l->start_ns >= l->duration_ns) {
        l->busy--;
        return;
    }
    uint64_t left = l->requests_max - l->sequence;
    c->batch = c->waiting = left < l->depth ? (unsigned)left : l->depth;
    c->batch_first = l->sequence;
    c->sent_ns = l->now_ns;
    char *at = c->out;
    for (unsigned i = 0; i < c->batch; i++, at += l->request.size) {
        memcpy(at, l->request.text, l->request.size);
        if (l->request.key_at >= 0)
            key_write(at + l->request.key_at, key_of(l, l->sequence));
        if (l->protocol == GRPC)
            grpc_next(l, c, at);
        l->sequence++;
    }
    if (l->wait)
        at = stpcpy(at, wait_text);
    c->out_size = (size_t)(at - c->out);
    c->out_sent = 0;
    connection_write(l, c);
}

static bool reply_is_right(struct load *l, const char *body, size_t size, uint64_t sequence) {
    const struct shape *s = &l->reply;
    if (l->contains)
        return memmem(body, size, l->contains, strlen(l->contains));
    if (size != s->size)
        return false;
    if (s->key_at < 0)
        return memcmp(body, s->text, size) == 0;
    key_write(s->text + s->key_at, key_of(l, sequence));
    size_t key_end = (size_t)s->key_at + KEY_SIZE;
    return memcmp(body, s->text, (size_t)s->key_at) == 0 &&
           (l->any_key || memcmp(body + s->key_at, s->text + s->key_at, KEY_SIZE) == 0) &&
           memcmp(body + key_end, s->text + key_end, size - key_end) == 0;
}

static size_t content_length(const char *head, const char *end) {
    static const char name[] = "\ncontent-length:";
    for (const char *at = head; (at = memchr(at, '\n', (size_t)(end - at))); at++)
        if ((size_t)(end - at) >= sizeof name && (at[1] | 32) == 'c' &&
            !strncasecmp(at, name, sizeof name - 1))
            return strtoul(at + sizeof name - 1, NULL, 10);
    errx(1, "a reply has no Content-Length: %.*s", (int)(end - head), head);
}

static size_t reply_size_resp(const struct load *l, const char *data, size_t size, bool *right) {
    size_t known = l->reply.size;
    if (memcmp(data, l->reply.text, size < known ? size : known))
        errx(1, "a wrong reply: %.*s", (int)(size < 80 ? size : 80), data);
    *right = true;
    return size < known ? 0 : known;
}

/* The replies to a batch and to its WAIT: the number of replicas, one digit, which is right from 1 on. */
static size_t batch_size_resp(const struct load *l, const struct connection *c, const char *data, size_t size,
                              bool *right) {
    size_t known = c->batch * l->reply.size, whole = known + strlen(":1\r\n");
    if (size < whole)
        return 0;
    for (unsigned i = 0; i < c->batch; i++)
        reply_size_resp(l, data + i * l->reply.size, l->reply.size, right);
    *right =
        data[known] == ':' && data[known + 1] >= '1' && data[known + 1] <= '9' && data[known + 2] == '\r';
    return whole;
}

static void grpc_acknowledge(struct connection *c, const struct grpc_frame *frame) {
    char answer[GRPC_FRAME_SIZE + 8];
    if (frame->flags & GRPC_END)
        return;
    size_t size = frame->type == GRPC_PING ? 8 : 0;
    memcpy(grpc_frame_head(answer, frame->type, GRPC_END, 0, size), frame->payload, size);
    grpc_send(c, answer, GRPC_FRAME_SIZE + size);
}

/* A frame of a reply, or one between replies. A get's message holds the key, a put's only a head. */
static size_t frame_size_grpc(struct load *l, struct connection *c, const char *data, size_t size,
                              bool *whole, bool *right) {
    struct grpc_frame frame;
    size_t used = grpc_frame_read(data, size, &frame);
    *whole = false;
    if (used == 0)
        return 0;
    switch (frame.type) {
    case GRPC_SETTINGS:
    case GRPC_PING:
        grpc_acknowledge(c, &frame);
        break;
    case GRPC_WINDOW_UPDATE:
        if (frame.stream == 0 && frame.size == 4)
            c->window += grpc_u32(frame.payload) & INT32_MAX;
        break;
    case GRPC_DATA:
        key_write(l->reply.text, key_of(l, c->batch_first));
        c->message = l->set ? frame.size > GRPC_PREFIX_SIZE
                            : memmem(frame.payload, frame.size, l->reply.text, KEY_SIZE) != NULL;
        break;
    case GRPC_HEADERS:
        *whole = frame.stream == c->stream && (frame.flags & GRPC_END);
        *right = c->message;
        break;
    case GRPC_RST_STREAM:
    case GRPC_GOAWAY:
        errx(1, "the server ended a call or a connection");
    default:
        break;
    }
    return used;
}

/* The size of the first reply in [data, data + size), 0 while it is not whole. Of gRPC: of a part of it. */
static size_t reply_size(struct load *l, struct connection *c, const char *data, size_t size, bool *whole,
                         bool *right) {
    *whole = true;
    if (l->protocol == GRPC)
        return frame_size_grpc(l, c, data, size, whole, right);
    if (l->protocol == RESP)
        return l->wait ? batch_size_resp(l, c, data, size, right) : reply_size_resp(l, data, size, right);
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - data) + 4, body = content_length(data, end + 4);
    if (body > l->in_capacity - HEADERS_SIZE_MAX)
        errx(1, "a reply of %zu bytes", body);
    if (size - head < body)
        return 0;
    *right = memcmp(data, "HTTP/1.1 200", 12) == 0 &&
             reply_is_right(l, end + 4, body, c->batch_first + c->batch - c->waiting);
    if (!*right && l->errors == 0)
        warnx("a wrong reply: %.*s", (int)(head + body < 600 ? head + body : 600), data);
    return head + body;
}

static void connection_read(struct load *l, struct connection *c) {
    ssize_t n = recv(c->fd, c->in + c->in_size, l->in_capacity - c->in_size, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        err(1, "read");
    if (n == 0)
        errx(1, "the server closed a connection");
    c->in_size += (size_t)n;
    l->now_ns = clock_ns();
    size_t at = 0, size;
    bool whole, right = false;
    while (c->waiting > 0 && (size = reply_size(l, c, c->in + at, c->in_size - at, &whole, &right))) {
        at += size;
        if (!whole)
            continue;
        unsigned count = l->wait ? c->batch : 1;
        c->waiting -= count;
        l->replies += count;
        l->errors += right ? 0 : count;
        l->histogram[bucket_of(l->now_ns - c->sent_ns)] += count;
    }
    c->in_size -= at;
    memmove(c->in, c->in + at, c->in_size);
    if (c->in_size == l->in_capacity || (c->waiting == 0 && c->in_size > 0 && l->protocol != GRPC))
        errx(1, "more came than was asked for");
    if (c->waiting == 0)
        connection_send(l, c);
}

static void run(struct load *l) {
    for (unsigned i = 0; i < l->connections; i++)
        connection_open(l, &l->table[i]);
    l->start_ns = l->now_ns = clock_ns();
    l->busy = l->connections;
    for (unsigned i = 0; i < l->connections; i++)
        connection_send(l, &l->table[i]);
    while (l->busy > 0) {
        struct epoll_event events[CONNECTIONS_MAX];
        int n = epoll_wait(l->epoll_fd, events, CONNECTIONS_MAX, SILENCE_MS);
        if (n < 0)
            err(1, "epoll_wait");
        if (n == 0)
            errx(1, "no reply in %d ms", SILENCE_MS);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                connection_write(l, c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                connection_read(l, c);
        }
    }
}

static uint64_t number(const char *text, uint64_t max) {
    const char *problem;
    long long n = strtonum(text, 1, (long long)max, &problem);
    if (problem)
        errx(2, "%s is %s (1 to %llu)", text, problem, (unsigned long long)max);
    return (uint64_t)n;
}

static unsigned choice(const char *text, const char *const choices[], unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(text, choices[i]))
            return i;
    errx(2, "%s is none of %s, %s%s%s", text, choices[0], choices[1], count > 2 ? ", " : "",
         count > 2 ? choices[2] : "");
}

static void usage(void) {
    fputs(
        "load -p PORT [-a 127.0.0.1] [-P http|resp|grpc] [-o get|set] [-c connections] [-d depth] [-k keys]\n"
        "     [-v value bytes] [-t seconds] [-n requests] [-w] [-f]\n"
        "     [-u path [-b body] -x text]\n"
        "Without -t and -n: 5 seconds.\n"
        "-w sends WAIT 1 1000 after each batch of RESP's SETs, which count when it is answered.\n"
        "grpc asks etcd: Put, and Range of what the member has; one request at a time on a connection.\n"
        "-f takes a reply with any key. -u sends one fixed HTTP request, a POST with -b; replies must "
        "contain -x.\n",
        stderr);
    exit(2);
}

static void options(struct load *l, int argc, char **argv) {
    static const char *const protocols[] = {"http", "resp", "grpc"}, *const operations[] = {"get", "set"};
    for (int o; (o = getopt(argc, argv, "a:p:P:o:c:d:k:v:t:n:u:b:x:fw")) != -1;) {
        switch (o) {
        case 'a':
            if (inet_pton(AF_INET, optarg, &l->address) != 1 || ntohl(l->address.s_addr) >> 24 != 127)
                errx(2, "%s is not a loopback address", optarg);
            break;
        case 'p':
            l->port = (uint16_t)number(optarg, UINT16_MAX);
            break;
        case 'P':
            l->protocol = (enum protocol)choice(optarg, protocols, 3);
            break;
        case 'o':
            l->set = choice(optarg, operations, 2) == 1;
            break;
        case 'c':
            l->connections = (unsigned)number(optarg, CONNECTIONS_MAX);
            break;
        case 'd':
            l->depth = (unsigned)number(optarg, DEPTH_MAX);
            break;
        case 'k':
            l->keys = number(optarg, 1000000000);
            break;
        case 'v':
            l->value_size = number(optarg, VALUE_SIZE_MAX);
            break;
        case 't':
            l->duration_ns = number(optarg, SECONDS_MAX) * 1000000000;
            break;
        case 'n':
            l->requests_max = number(optarg, REQUESTS_MAX);
            break;
        case 'u':
            l->path = optarg;
            break;
        case 'b':
            l->body = optarg;
            break;
        case 'x':
            l->contains = optarg;
            break;
        case 'w':
            l->wait = true;
            break;
        case 'f':
            l->any_key = true;
            break;
        default:
            usage();
        }
    }
    if (optind != argc || l->port == 0 || (l->wait && !(l->protocol == RESP && l->set)) ||
        (l->protocol == GRPC && (l->depth > 1 || l->path)) || !l->path != !l->contains ||
        (l->path && strlen(l->path) > 128))
        usage();
}

int main(int argc, char **argv) {
    struct load l = {.connections = 50, .depth = 1, .keys = 10000, .value_size = 32};
    l.address.s_addr = htonl(INADDR_LOOPBACK);
    options(&l, argc, argv);
    if (l.requests_max == 0 && l.duration_ns == 0)
        l.duration_ns = 5ull * 1000000000;
    if (l.requests_max == 0)
        l.requests_max = REQUESTS_MAX;
    if (l.duration_ns == 0)
        l.duration_ns = SECONDS_MAX * 1000000000ull;
    prepare(&l);
    run(&l);
    printf("requests=%llu seconds=%.3f errors=%llu p50_ns=%llu p99_ns=%llu p999_ns=%llu\n",
           (unsigned long long)l.replies, (double)(l.now_ns - l.start_ns) / 1e9, (unsigned long long)l.errors,
           (unsigned long long)quantile(&l, 0.5), (unsigned long long)quantile(&l, 0.99),
           (unsigned long long)quantile(&l, 0.999));
    return l.errors > 0;
}
