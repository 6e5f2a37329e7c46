/* Discovery over real sockets of the loopback interface, several nodes in one process. */
#include "discovery/discovery_io.h"

#include "discovery/discovery.h"
#include "storage/clock_io.h"
#include "tests/tap.h"

#include <arpa/inet.h>
#include <bsd/stdlib.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct node {
    struct discovery_io *io;
    struct discovery *discovery;
    struct node_info info;
    int oversized, received, answered;
    struct address from;
};

static struct address ip(const char *text, uint16_t port) {
    struct address a = {0};
    address_parse_ip(text, port, &a);
    return a;
}

/* A UDP port that nobody uses: bound for a moment on every address. */
static uint16_t free_port(void) {
    for (;;) {
        uint16_t port = (uint16_t)(20000 + arc4random_uniform(10000));
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        int bound = bind(fd, (struct sockaddr *)&any, sizeof any);
        close(fd);
        if (bound == 0)
            return port;
    }
}

static void on_send(void *arg, const struct address *to, struct bytes datagram) {
    struct node *node = arg;
    node->answered += to != NULL;
    discovery_io_send(node->io, to, datagram);
}

static void on_heard(void *arg, const struct node_info *info, enum membership_event event,
                     const struct address *source) {
    (void)arg, (void)info, (void)event, (void)source;
}

static void on_foreign(void *arg, const struct node_info *info) {
    (void)arg;
    (void)info;
}

static void on_version(void *arg, const struct address *source) {
    (void)arg;
    (void)source;
}

static void on_removed(void *arg, const struct node_info *info) {
    (void)arg, (void)info;
}

static void on_received(void *arg, const struct address *from, struct bytes datagram) {
    struct node *node = arg;
    node->received++;
    node->from = *from;
    node->oversized += datagram.size > ANNOUNCE_SIZE_MAX;
    discovery_datagram(node->discovery, clock_ms(), from, datagram);
}

static bool open_node(struct node *node, struct event_base *base, int n, const char *bind, uint16_t port) {
    struct discovery_host host = {.arg = node,
                                  .send = on_send,
                                  .heard = on_heard,
                                  .removed = on_removed,
                                  .foreign = on_foreign,
                                  .version = on_version};
    struct discovery_io_options options = {.base = base,
                                           .bind = ip(bind, 0),
                                           .advertise = ip(bind, 0),
                                           .port = port,
                                           .received = on_received,
                                           .arg = node};
    char why[300] = "";
    *node = (struct node){.info = {.session = 1 + (uint64_t)n, .cluster = "kvnode", .peer = ip(bind, 8000)}};
    memset(node->info.id, 'a' + n, NODE_ID_SIZE);
    node->discovery = discovery_new(&host, &node->info, true, (uint64_t)n);
    node->io = discovery_io_new(&options, why, sizeof why);
    if (node->io == NULL)
        printf("# %s\n", why);
    return node->io != NULL;
}

static void close_node(struct node *node) {
    discovery_io_free(node->io);
    discovery_free(node->discovery);
}

static size_t listed(const struct node *node) {
    return membership_count(discovery_membership(node->discovery));
}

TEST(nodes_on_every_loopback_alias_of_one_machine_find_each_other) {
    static const char *const binds[] = {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.9.8.7"};
    struct event_base *base = event_base_new();
    struct node nodes[4];
    uint16_t port = free_port();
    for (int n = 0; n < 4; n++)
        REQUIRE(open_node(&nodes[n], base, n, binds[n], port));
    for (int n = 0; n < 4; n++)
        discovery_start(nodes[n].discovery, clock_ms());
    uint64_t deadline_ms = clock_ms() + 5000;
    bool all = false;
    while (!all && clock_ms() < deadline_ms) {
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        all = true;
        for (int n = 0; n < 4; n++)
            all = all && listed(&nodes[n]) == 3 && nodes[n].answered > 0;
    }
    OK(all);
    for (int n = 0; n < 4; n++) {
        EQUAL(discovery_io_unsent(nodes[n].io), 0);
        close_node(&nodes[n]);
    }
    event_base_free(base);
}

static bool wait_for(struct event_base *base, const int *value, int want) {
    uint64_t deadline_ms = clock_ms() + 5000;
    while (*value < want && clock_ms() < deadline_ms)
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    return *value == want;
}

TEST(a_burst_is_read_whole_and_an_oversized_datagram_is_seen_to_be) {
    struct event_base *base = event_base_new();
    struct node a, b;
    uint16_t port = free_port();
    REQUIRE(open_node(&a, base, 0, "127.0.0.1", port));
    REQUIRE(open_node(&b, base, 1, "127.0.0.2", port));
    static uint8_t data[4000];
    discovery_io_send(a.io, NULL, (struct bytes){data, sizeof data});
    OK(wait_for(base, &b.oversized, 1));
    discovery_io_send(a.io, NULL, (struct bytes){data, ANNOUNCE_SIZE_MAX});
    OK(wait_for(base, &b.received, 2));
    EQUAL(b.oversized, 1);
    OK(a.from.ip[3] == 1 && a.from.port != port); /* its own: from its address and the kernel's port */
    for (int i = 0; i < 100; i++)
        discovery_io_send(a.io, NULL, (struct bytes){data, 100});
    OK(wait_for(base, &b.received, 102));
    struct address to_b = a.from;
    b.received = 0;
    discovery_io_send(b.io, &to_b, (struct bytes){data, 10}); /* an answer, to a's sending socket */
    a.received = 0;
    OK(wait_for(base, &a.received, 1));
    EQUAL(b.received, 0);
    close_node(&a);
    close_node(&b);
    event_base_free(base);
}

static const char *failure(struct event_base *base, const char *bind, const char *advertise, uint16_t port) {
    static char why[400];
    struct discovery_io_options options = {.base = base,
                                           .bind = ip(bind, 0),
                                           .advertise = ip(advertise, 0),
                                           .port = port,
                                           .received = on_received};
    why[0] = '\0';
    struct discovery_io *io = discovery_io_new(&options, why, sizeof why);
    discovery_io_free(io);
    return io == NULL ? why : NULL;
}

static bool names(const char *why, const char *cause, const char *mend) {
    bool ok =
        why != NULL && strstr(why, cause) != NULL && strstr(why, mend) != NULL && strchr(why, '\n') == NULL;
    if (!ok)
        printf("# %s\n", why ? why : "(no failure)");
    return ok;
}

TEST(what_cannot_broadcast_is_told_in_one_line_with_the_mend) {
    struct event_base *base = event_base_new();
    uint16_t port = free_port();
    OK(names(failure(base, "::1", "::1", port), "only IPv4", "-peers"));
    OK(names(failure(base, "203.0.113.77", "203.0.113.77", port), "203.0.113.77", "-bind"));
    OK(names(failure(base, "0.0.0.0", "203.0.113.77", port), "203.0.113.77", "-advertise"));
    struct sockaddr_in taken = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.255.255.255", &taken.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    OK(bind(fd, (struct sockaddr *)&taken, sizeof taken) == 0);
    OK(names(failure(base, "127.0.0.1", "127.0.0.1", port), "in use", "-discovery-port"));
    close(fd);
    OK(failure(base, "127.0.0.1", "127.0.0.1", port) == NULL);
    event_base_free(base);
}

TEST(a_wildcard_bind_uses_the_interface_of_the_advertised_address) {
    struct event_base *base = event_base_new();
    char why[300];
    struct discovery_io_options options = {.base = base,
                                           .bind = ip("0.0.0.0", 0),
                                           .advertise = ip("127.0.0.3", 0),
                                           .port = free_port(),
                                           .received = on_received};
    struct discovery_io *io = discovery_io_new(&options, why, sizeof why);
    REQUIRE(io != NULL);
    struct address broadcast = discovery_io_broadcast(io);
    char text[ADDRESS_TEXT_MAX];
    TEXT_EQUAL(address_ip_text(&broadcast, text), "127.255.255.255");
    EQUAL(broadcast.port, options.port);
    discovery_io_free(io);
    event_base_free(base);
}

TESTS(TAP(nodes_on_every_loopback_alias_of_one_machine_find_each_other),
      TAP(a_burst_is_read_whole_and_an_oversized_datagram_is_seen_to_be),
      TAP(what_cannot_broadcast_is_told_in_one_line_with_the_mend),
      TAP(a_wildcard_bind_uses_the_interface_of_the_advertised_address))
