/* Connections between nodes over real sockets of the loopback interface, several nodes in one process. */
#include "replication/peer_io.h"

#include "tests/tap.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct node {
    struct peer_io *io;
    struct peers *peers;
    struct node_info info;
    int up, down, refused, frames;
    uint64_t bytes;
    bool damaged;
    uint32_t written; /* the connection that was written to last */
    bool frozen;      /* neither reads nor ticks */
};

static struct event_base *base;
static struct node nodes[3];

static uint64_t clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void on_dial(void *arg, uint32_t connection, const struct address *to) {
    peer_io_dial(((struct node *)arg)->io, connection, to);
}

static void on_write(void *arg, uint32_t connection, struct bytes data) {
    ((struct node *)arg)->written = connection;
    peer_io_write(((struct node *)arg)->io, connection, data);
}

static void on_close(void *arg, uint32_t connection) {
    peer_io_close(((struct node *)arg)->io, connection);
}

static void on_hold(void *arg, uint32_t connection, bool held) {
    peer_io_hold(((struct node *)arg)->io, connection, held);
}

static uint64_t on_prove(void *arg, struct bytes claim) {
    (void)arg;
    return claim.size;
}

static void on_up(void *arg, const struct peer *peer) {
    (void)peer;
    ((struct node *)arg)->up++;
}

static void on_down(void *arg, const struct peer *peer, bool refused) {
    struct node *node = arg;
    (void)peer;
    node->down += !refused;
    node->refused += refused;
}

static void on_info(void *arg, const struct peer *peer) {
    (void)arg, (void)peer;
}

static void on_frame(void *arg, const struct peer *peer, enum frame_type type, struct bytes payload) {
    struct node *node = arg;
    (void)peer, (void)type;
    node->frames++;
    node->bytes += payload.size;
    for (size_t i = 1; i < payload.size; i++)
        node->damaged |= payload.data[i] != (uint8_t)(payload.data[0] + i);
}

static void on_refused(void *arg, const struct address *at, const struct node_info *info,
                       enum peers_refusal reason, bool ours) {
    (void)arg, (void)at, (void)info, (void)reason, (void)ours;
}

static void on_duplicate(void *arg, const struct address *at, bool proved) {
    (void)proved;
    (void)arg, (void)at;
}

static bool open_node(int n, const char *bind) {
    struct node *node = &nodes[n];
    struct peers_host host = {.arg = node,
                              .dial = on_dial,
                              .write = on_write,
                              .close = on_close,
                              .hold = on_hold,
                              .up = on_up,
                              .down = on_down,
                              .info = on_info,
                              .frame = on_frame,
                              .refused = on_refused,
                              .duplicate = on_duplicate,
                              .prove = on_prove};
    struct address at;
    char why[300];
    *node = (struct node){.info = {.session = 1 + (uint64_t)n, .cluster = "kvnode"}};
    memset(node->info.id, 'a' + n, NODE_ID_SIZE);
    address_parse_ip(bind, 0, &at);
    node->io = peer_io_new(base, &at, why, sizeof why);
    if (node->io == NULL) {
        printf("# %s\n", why);
        return false;
    }
    node->info.peer = peer_io_address(node->io);
    node->peers = peers_new(&host, &node->info, false, (uint64_t)n);
    peer_io_attach(node->io, node->peers);
    return true;
}

static void close_node(int n) {
    peer_io_free(nodes[n].io);
    peers_free(nodes[n].peers);
    nodes[n].io = NULL;
    nodes[n].peers = NULL;
}

static void open_all(void) {
    static const char *const binds[] = {"127.0.0.1", "127.0.0.2", "127.0.0.1"};
    base = event_base_new();
    for (int n = 0; n < 3; n++)
        if (!open_node(n, binds[n]))
            abort();
}

static void close_all(void) {
    for (int n = 0; n < 3; n++)
        close_node(n);
    event_base_free(base);
}

static void turn(void) {
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    for (int n = 0; n < 3; n++) {
        if (nodes[n].io == NULL || nodes[n].frozen)
            continue;
        peers_tick(nodes[n].peers, clock_ms());
        peer_io_flush(nodes[n].io);
    }
}

static bool wait_for(const int *value, int want) {
    uint64_t deadline_ms = clock_ms() + 10000;
    while (*value < want && clock_ms() < deadline_ms)
        turn();
    return *value == want;
}

static bool send_to(int from, int to, struct bytes payload) {
    struct member_id id = {.incarnation = nodes[to].info.incarnation};
    memcpy(id.id, nodes[to].info.id, NODE_ID_SIZE);
    return peers_send(nodes[from].peers, clock_ms(), &id, PEERS_MAIN, FRAME_RAFT, payload);
}

static uint8_t pattern[3 << 20];

TEST(nodes_on_several_addresses_connect_whoever_dials) {
    open_all();
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++)
            peers_learn(nodes[a].peers, clock_ms(), &nodes[b].info.peer, NULL);
    for (int n = 0; n < 3; n++)
        OK(wait_for(&nodes[n].up, 2));
    EQUAL(nodes[0].down + nodes[1].down + nodes[2].down, 0);
    close_all();
}

TEST(large_and_small_frames_arrive_whole_through_full_socket_buffers) {
    open_all();
    peers_learn(nodes[0].peers, clock_ms(), &nodes[1].info.peer, &nodes[1].info.peer);
    REQUIRE(wait_for(&nodes[0].up, 1) && wait_for(&nodes[1].up, 1));
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)i;
    uint64_t want = 0;
    for (int i = 0; i < 400; i++) {
        size_t size = i % 40 == 0 ? sizeof pattern : (size_t)i * 17;
        want += size;
        OK(send_to(0, 1, (struct bytes){pattern, size}));
        OK(send_to(1, 0, (struct bytes){pattern, 100}));
    }
    OK(wait_for(&nodes[1].frames, 400));
    OK(wait_for(&nodes[0].frames, 400));
    EQUAL(nodes[1].bytes, want);
    OK(!nodes[1].damaged && !nodes[0].damaged);
    EQUAL(nodes[0].down, 0);
    close_all();
}

TEST(what_the_kernel_does_not_take_counts_towards_the_bound) {
    open_all();
    peers_learn(nodes[0].peers, clock_ms(), &nodes[1].info.peer, &nodes[1].info.peer);
    REQUIRE(wait_for(&nodes[0].up, 1) && wait_for(&nodes[1].up, 1));
    int taken = 0;
    while (taken < 100 && send_to(0, 1, (struct bytes){pattern, sizeof pattern}))
        taken++;
    EQUAL(taken, 21); /* times 3 MiB: what fits in 64 MiB */
    OK(wait_for(&nodes[1].frames, taken));
    OK(send_to(0, 1, (struct bytes){pattern, sizeof pattern}));
    OK(wait_for(&nodes[1].frames, taken + 1));
    EQUAL(nodes[0].down, 0);
    close_all();
}

TEST(a_dead_nodes_kernel_refuses_the_redial_and_that_is_reported_within_milliseconds) {
    for (int dialler = 0; dialler < 2; dialler++) {
        open_all();
        peers_learn(nodes[dialler].peers, clock_ms(), &nodes[!dialler].info.peer, &nodes[!dialler].info.peer);
        REQUIRE(wait_for(&nodes[0].up, 1) && wait_for(&nodes[1].up, 1));
        uint64_t before_ms = clock_ms();
        close_node(1);
        OK(wait_for(&nodes[0].refused, 1));
        EQUAL(nodes[0].down, 1);
        OK(clock_ms() - before_ms < 1000);
        close_all();
    }
}

TEST(a_lost_node_that_comes_back_is_connected_again) {
    open_all();
    peers_learn(nodes[0].peers, clock_ms(), &nodes[1].info.peer, NULL);
    REQUIRE(wait_for(&nodes[0].up, 1) && wait_for(&nodes[1].up, 1));
    close_node(1);
    OK(wait_for(&nodes[0].refused, 1));
    OK(open_node(1, "127.0.0.2")); /* on another port, so it is for it to dial */
    peers_learn(nodes[1].peers, clock_ms(), &nodes[0].info.peer, &nodes[0].info.peer);
    OK(wait_for(&nodes[0].up, 2));
    close_all();
}

TEST(a_busy_port_is_told_in_one_line_with_the_mend) {
    open_all();
    char why[300] = "";
    struct address taken = nodes[0].info.peer;
    OK(peer_io_new(base, &taken, why, sizeof why) == NULL);
    OK(strstr(why, "in use") != NULL && strstr(why, "-port") != NULL && strchr(why, '\n') == NULL);
    address_parse_ip("203.0.113.77", 0, &taken);
    OK(peer_io_new(base, &taken, why, sizeof why) == NULL);
    OK(strstr(why, "-bind") != NULL);
    close_all();
}

/* Descriptors of this process, so far. */
static int highest_descriptor(void) {
    int fd = open("/dev/null", O_RDONLY);
    close(fd);
    return fd;
}

TEST(without_descriptors_a_connection_is_turned_away_and_the_loop_does_not_spin) {
    open_all();
    struct rlimit before, none;
    int stranger = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)highest_descriptor(), .rlim_max = before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(nodes[0].info.peer.port)};
    inet_pton(AF_INET, "127.0.0.1", &name.sin_addr);
    OK(connect(stranger, (struct sockaddr *)&name, sizeof name) == 0);
    uint64_t deadline_ms = clock_ms() + 5000;
    while (peer_io_turned_away(nodes[0].io) == 0 && clock_ms() < deadline_ms)
        turn();
    EQUAL(peer_io_turned_away(nodes[0].io), 1);
    uint8_t byte;
    OK(recv(stranger, &byte, 1, 0) <= 0);
    OK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    close(stranger);
    peers_learn(nodes[1].peers, clock_ms(), &nodes[0].info.peer, &nodes[0].info.peer);
    OK(wait_for(&nodes[0].up, 1));
    EQUAL(peer_io_turned_away(nodes[0].io), 1);
    close_all();
}

TEST(an_address_of_another_family_than_the_bind_fails_without_harm) {
    open_all();
    struct address six;
    address_parse("[::1]:8000", &six);
    peers_learn(nodes[0].peers, clock_ms(), &six, NULL);
    uint64_t deadline_ms = clock_ms() + 5000;
    while (!peers_settled(nodes[0].peers) && clock_ms() < deadline_ms)
        turn();
    OK(peers_settled(nodes[0].peers));
    close_all();
}

/* Of a machine that is gone nothing tells but that it takes nothing more. */
TEST(a_connection_with_a_full_socket_that_takes_nothing_more_is_silent_whatever_is_sent_upon_it) {
    open_all();
    peers_learn(nodes[0].peers, clock_ms(), &nodes[1].info.peer, &nodes[1].info.peer);
    REQUIRE(wait_for(&nodes[0].up, 1) && wait_for(&nodes[1].up, 1));
    peer_io_hold(nodes[1].io, nodes[1].written, true);
    nodes[1].frozen = true;
    for (int i = 0; i < 10; i++)
        OK(send_to(0, 1, (struct bytes){pattern, sizeof pattern}));
    uint64_t deadline_ms = clock_ms() + 8000, next_ms = 0;
    while (nodes[0].down == 0 && clock_ms() < deadline_ms) {
        if (clock_ms() >= next_ms) { /* as heartbeats */
            send_to(0, 1, (struct bytes){pattern, 100});
            next_ms = clock_ms() + 50;
        }
        turn();
    }
    EQUAL(nodes[0].down, 1);
    close_all();
}

TESTS(TAP(a_connection_with_a_full_socket_that_takes_nothing_more_is_silent_whatever_is_sent_upon_it),
      TAP(nodes_on_several_addresses_connect_whoever_dials),
      TAP(large_and_small_frames_arrive_whole_through_full_socket_buffers),
      TAP(what_the_kernel_does_not_take_counts_towards_the_bound),
      TAP(a_dead_nodes_kernel_refuses_the_redial_and_that_is_reported_within_milliseconds),
      TAP(a_lost_node_that_comes_back_is_connected_again), TAP(a_busy_port_is_told_in_one_line_with_the_mend),
      TAP(without_descriptors_a_connection_is_turned_away_and_the_loop_does_not_spin),
      TAP(an_address_of_another_family_than_the_bind_fails_without_harm))
