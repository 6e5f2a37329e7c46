/* Connections between nodes under hostile bytes: hellos true and forged, frames right and wrong, in any order
 * on many connections. The core keeps its bounds, and never speaks on a connection that is closed. */
#include "replication/hello.h"
#include "tests/frames.h"
#include "tests/fuzz/fuzz.h"

#define LINES_MAX 512

struct host {
    struct peers *peers;
    uint64_t now_ms;
    uint32_t number[LINES_MAX]; /* of connections that are open; 0: none */
    size_t open;
};

static uint32_t *line(struct host *host, uint32_t number) {
    for (size_t i = 0; i < LINES_MAX; i++)
        if (host->number[i] == number)
            return &host->number[i];
    return NULL;
}

static void opened(struct host *host, uint32_t number) {
    uint32_t *place = line(host, 0);
    MUST(place != NULL && number != 0 && line(host, number) == NULL);
    *place = number;
    host->open++;
}

static void gone(struct host *host, uint32_t number) {
    uint32_t *place = line(host, number);
    MUST(place != NULL);
    *place = 0;
    host->open--;
}

static void on_dial(void *arg, uint32_t connection, const struct address *to) {
    touch((struct bytes){to->ip, sizeof to->ip});
    opened(arg, connection);
}

static void on_write(void *arg, uint32_t connection, struct bytes data) {
    MUST(line(arg, connection) != NULL);
    touch(data);
}

static void on_close(void *arg, uint32_t connection) {
    gone(arg, connection);
}

static void on_hold(void *arg, uint32_t connection, bool held) {
    MUST(line(arg, connection) != NULL);
    (void)held;
}

static uint64_t on_prove(void *arg, struct bytes claim) {
    (void)arg;
    touch(claim);
    return claim.data[0];
}

static void touch_peer(const struct peer *peer) {
    MUST(node_id_valid((struct bytes){peer->info.id, NODE_ID_SIZE}));
    MUST(memcmp(peer->id.id, peer->info.id, NODE_ID_SIZE) == 0);
}

static void on_up(void *arg, const struct peer *peer) {
    (void)arg;
    touch_peer(peer);
}

static void on_down(void *arg, const struct peer *peer, bool refused) {
    (void)arg;
    (void)refused;
    touch_peer(peer);
}

static void on_info(void *arg, const struct peer *peer) {
    (void)arg;
    touch_peer(peer);
}

static void on_frame(void *arg, const struct peer *peer, enum frame_type type, struct bytes payload) {
    struct host *host = arg;
    touch_peer(peer);
    touch(payload);
    MUST(payload.size <= PEERS_FRAME_MAX && type >= FRAME_RAFT && type <= FRAME_ROUTED);
    if (payload.size % 3 == 1)
        peers_send(host->peers, host->now_ms, &peer->id, payload.size % 2 ? PEERS_MAIN : PEERS_BULK,
                   FRAME_REPLY, payload);
}

static void on_refused(void *arg, const struct address *at, const struct node_info *info,
                       enum peers_refusal reason, bool ours) {
    (void)arg;
    (void)at;
    (void)ours;
    touch((struct bytes){info->id, NODE_ID_SIZE});
    MUST(reason >= REFUSED_VERSION && reason <= REFUSED_SELF);
    MUST(peers_refusal_text(reason) != NULL);
}

static void on_duplicate(void *arg, const struct address *at, bool proved) {
    (void)proved;
    (void)arg;
    (void)at;
}

static struct address address_of(uint8_t n) {
    return (struct address){.family = 4, .ip = {10, 0, 0, n}, .port = 8000};
}

static struct node_info info_of(uint8_t n) {
    struct node_info info = {
        .incarnation = 1, .session = 1 + n / 32u, .group_id = n / 64u, .cluster = "kvnode"};
    memset(info.id, 'a' + n % 32 % 26, NODE_ID_SIZE);
    info.peer = address_of(n % 32);
    return info;
}

static void receive(struct host *host, uint32_t number, struct bytes data) {
    uint8_t *copy = exact(data);
    if (number != 0)
        peers_received(host->peers, host->now_ms, number, (struct bytes){copy, data.size});
    free(copy);
}

static void framed(struct host *host, uint32_t number, uint8_t type, struct bytes payload) {
    struct buffer out = {0};
    write_frame(&out, type, payload);
    receive(host, number, buffer_bytes(&out));
    buffer_release(&out);
}

static void say_hello(struct script *s, struct host *host, uint32_t number) {
    struct buffer out = {0};
    struct hello hello = {.uptime_ms = take_u8(s), .info = info_of(take_u8(s))};
    uint8_t flags = take_u8(s);
    hello.lane = flags & 1;
    hello.volatile_ = flags & 2;
    hello_write(&out, &hello);
    if (flags & 4)
        out.data[out.start + take_u8(s) % buffer_size(&out)] = take_u8(s);
    receive(host, number, buffer_bytes(&out));
    buffer_release(&out);
    if (!(flags & 8) && number != 0 && line(host, number) != NULL)
        framed(host, number, 3, (struct bytes){NULL, 0}); /* WELCOME */
}

static void accept_one(struct host *host, uint8_t from) {
    if (host->open >= LINES_MAX / 2)
        return;
    struct address at = address_of(from);
    uint32_t number = peers_next_number(host->peers);
    opened(host, number);
    peers_accepted(host->peers, host->now_ms, number, &at);
}

static void pass(struct host *host, uint64_t ms) {
    host->now_ms += ms;
    uint64_t next = peers_tick(host->peers, host->now_ms);
    MUST(next > host->now_ms);
}

static void others(struct script *s, struct host *host, uint8_t which, uint32_t number) {
    struct address at = address_of(which);
    struct node_info info = info_of(which & 192);
    switch (which % 8) {
    case 0:
        peers_learn(host->peers, host->now_ms, &at, which & 8 ? NULL : &at);
        break;
    case 1:
        peers_forget(host->peers, &at);
        break;
    case 2:
        peers_update(host->peers, &info);
        break;
    case 3:
        if (number != 0)
            peers_unsent(host->peers, number, (size_t)take_u8(s) << 20, which & 16);
        break;
    case 4:
        for (int i = 0; i < 70; i++)
            accept_one(host, which);
        break;
    default:
        pass(host, (uint64_t)take_u8(s) * 100);
    }
}

static void step(struct script *s, struct host *host) {
    uint8_t op = take_u8(s), which = take_u8(s);
    uint32_t number = host->number[which % 16];
    switch (op % 8) {
    case 0:
        accept_one(host, which);
        break;
    case 1:
        say_hello(s, host, number);
        break;
    case 2:
    case 3:
        framed(host, number, take_u8(s), take_sized(s));
        break;
    case 4:
        receive(host, number, take_sized(s));
        break;
    case 5:
        if (number != 0) {
            gone(host, number);
            peers_closed(host->peers, host->now_ms, number, which / 16 % 3);
        }
        break;
    case 6:
        if (number != 0)
            peers_connected(host->peers, host->now_ms, number);
        break;
    default:
        others(s, host, which, number);
    }
    pass(host, op >> 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = script_of(data, size);
    struct host host = {.now_ms = 1000};
    struct peers_host callbacks = {.arg = &host,
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
    struct node_info self = info_of(0);
    host.peers = peers_new(&callbacks, &self, false, 1);
    while (script_left(&s) > 0) {
        step(&s, &host);
        MUST(peers_count(host.peers) <= PEERS_MAX && host.open <= PEERS_CONNECTIONS_MAX);
        for (size_t i = 0; i < peers_count(host.peers); i++)
            touch_peer(peers_at(host.peers, i));
    }
    peers_free(host.peers);
    return 0;
}
