/* Several `peers` cores joined by in-memory pipes that split streams anywhere, under one simulated clock.
 *
 * What a core asks of its host happens in world_run, a millisecond at a time. A node can be killed (its
 * kernel closes its connections and refuses new ones), vanish (nothing of it answers any more) and come back.
 */
#ifndef TESTS_PEERS_WORLD_H
#define TESTS_PEERS_WORLD_H

#include "replication/peers.h"
#include "storage/crc32c.h"
#include "tests/tap.h"

#define WORLD_NODES 8
#define WORLD_LINKS 4096

struct world;

struct seen {
    int up, down, kernel_refused, info, duplicate, namesake, frames, refused_ours, refused_theirs;
    enum peers_refusal ours, theirs;
    struct node_info refused_info;
    uint64_t bytes, last_frame_type;
    uint64_t down_at_ms, kernel_refused_at_ms;
    int dials;
    uint64_t dialled_at_ms[64];
    struct buffer last_frame;
};

struct world_node {
    struct world *world;
    struct peers *peers;
    struct node_info info;
    uint32_t secret; /* of its directory */
    struct seen seen;
    bool listening, vanished;
    bool stuck;          /* takes nothing from its pipes */
    size_t frame_answer; /* bytes to send back on every frame, from within the callback */
};

struct link_end {
    struct world_node *node; /* NULL: a stranger, driven by the test */
    struct peers *owner;     /* the core that it belongs to: not a later one of the same node */
    uint32_t number;
    bool open, held;
    struct buffer in; /* on its way to this end */
};

struct link {
    bool pending; /* dialled, not yet answered */
    struct address to;
    struct link_end end[2];
};

struct world {
    uint64_t now_ms;
    struct random random;
    struct world_node node[WORLD_NODES];
    struct link link[WORLD_LINKS];
    size_t links;
};

static inline struct link_end *world_find(struct world_node *node, uint32_t number, struct link **link) {
    for (size_t i = 0; i < node->world->links; i++)
        for (int e = 0; e < 2; e++) {
            struct link_end *end = &node->world->link[i].end[e];
            if (end->node == node && end->owner == node->peers && end->number == number && end->open) {
                *link = &node->world->link[i];
                return end;
            }
        }
    return NULL;
}

static inline void world_dial(void *arg, uint32_t connection, const struct address *to) {
    struct world_node *node = arg;
    struct world *w = node->world;
    if (w->links == WORLD_LINKS)
        abort();
    if (node->seen.dials < 64)
        node->seen.dialled_at_ms[node->seen.dials] = w->now_ms;
    node->seen.dials++;
    w->link[w->links++] =
        (struct link){.pending = true,
                      .to = *to,
                      .end[0] = {.node = node, .owner = node->peers, .number = connection, .open = true}};
}

static inline void world_write(void *arg, uint32_t connection, struct bytes data) {
    struct link *link;
    struct link_end *end = world_find(arg, connection, &link);
    if (end == NULL)
        return;
    struct link_end *other = &link->end[end == &link->end[0]];
    buffer_append(&other->in, data);
    peers_unsent(((struct world_node *)arg)->peers, connection, buffer_size(&other->in), false);
}

static inline void world_close(void *arg, uint32_t connection) {
    struct link *link;
    struct link_end *end = world_find(arg, connection, &link);
    if (end != NULL)
        end->open = false;
}

static inline void world_hold(void *arg, uint32_t connection, bool held) {
    struct link *link;
    struct link_end *end = world_find(arg, connection, &link);
    if (end != NULL)
        end->held = held;
}

static inline void world_up(void *arg, const struct peer *peer) {
    struct world_node *node = arg;
    (void)peer;
    node->seen.up++;
}

static inline void world_down(void *arg, const struct peer *peer, bool refused) {
    struct world_node *node = arg;
    (void)peer;
    if (refused) {
        node->seen.kernel_refused++;
        node->seen.kernel_refused_at_ms = node->world->now_ms;
    } else {
        node->seen.down++;
        node->seen.down_at_ms = node->world->now_ms;
    }
}

static inline void world_info(void *arg, const struct peer *peer) {
    (void)peer;
    ((struct world_node *)arg)->seen.info++;
}

static inline void world_frame(void *arg, const struct peer *peer, enum frame_type type,
                               struct bytes payload) {
    struct world_node *node = arg;
    node->seen.frames++;
    node->seen.bytes += payload.size;
    node->seen.last_frame_type = type;
    buffer_clear(&node->seen.last_frame);
    buffer_append(&node->seen.last_frame, payload);
    if (node->frame_answer == 0)
        return;
    uint8_t *answer = calloc(1, node->frame_answer);
    peers_send(node->peers, node->world->now_ms, &peer->id, PEERS_MAIN, FRAME_REPLY,
               (struct bytes){answer, node->frame_answer});
    free(answer);
}

static inline void world_refused(void *arg, const struct address *at, const struct node_info *info,
                                 enum peers_refusal reason, bool ours) {
    struct world_node *node = arg;
    (void)at;
    node->seen.refused_info = *info;
    if (ours) {
        node->seen.refused_ours++;
        node->seen.ours = reason;
    } else {
        node->seen.refused_theirs++;
        node->seen.theirs = reason;
    }
}

static inline void world_duplicate(void *arg, const struct address *at, bool proved) {
    struct seen *seen = &((struct world_node *)arg)->seen;
    (void)at;
    seen->duplicate += proved;
    seen->namesake += !proved;
}

/* Nodes of one id hold the same secret here. */
static inline uint64_t world_prove(void *arg, struct bytes claim) {
    const struct world_node *node = arg;
    return (uint64_t)crc32c(node->secret, claim) << 32 | crc32c(~node->secret, claim);
}

static inline struct address world_address(int n) {
    struct address a;
    char text[32];
    snprintf(text, sizeof text, "10.0.0.%d:8000", n + 1);
    if (!address_parse(text, &a))
        abort();
    return a;
}

/* Node n's id is sixteen times the letter 'a' + n: node 0 has the lowest. */
static inline struct node_info world_info_of(int n) {
    struct node_info info = {
        .incarnation = 100 + (uint64_t)n, .session = 1000 + (uint64_t)n, .cluster = "kvnode"};
    memset(info.id, 'a' + n, NODE_ID_SIZE);
    info.peer = world_address(n);
    return info;
}

static inline void world_start(struct world *w, int n, const struct node_info *info) {
    struct world_node *node = &w->node[n];
    struct peers_host host = {.arg = node,
                              .dial = world_dial,
                              .write = world_write,
                              .close = world_close,
                              .hold = world_hold,
                              .up = world_up,
                              .down = world_down,
                              .info = world_info,
                              .frame = world_frame,
                              .refused = world_refused,
                              .duplicate = world_duplicate,
                              .prove = world_prove};
    node->world = w;
    node->info = *info;
    node->secret = info->id[0];
    node->peers = peers_new(&host, info, false, random_next(&w->random));
    node->listening = true;
    node->vanished = false;
    peers_tick(node->peers, w->now_ms);
}

static inline struct world *world_new(int nodes, uint64_t seed) {
    struct world *w = calloc(1, sizeof *w);
    w->now_ms = 1000000;
    random_seed(&w->random, seed);
    for (int n = 0; n < nodes; n++) {
        struct node_info info = world_info_of(n);
        world_start(w, n, &info);
    }
    return w;
}

static inline void world_kill(struct world *w, int n) {
    for (size_t i = 0; i < w->links; i++)
        for (int e = 0; e < 2; e++)
            if (w->link[i].end[e].owner == w->node[n].peers)
                w->link[i].end[e].open = false;
    peers_free(w->node[n].peers);
    w->node[n].peers = NULL;
    w->node[n].listening = false;
}

static inline void world_free(struct world *w) {
    for (int n = 0; n < WORLD_NODES; n++) {
        peers_free(w->node[n].peers);
        buffer_release(&w->node[n].seen.last_frame);
    }
    for (size_t i = 0; i < w->links; i++)
        for (int e = 0; e < 2; e++)
            buffer_release(&w->link[i].end[e].in);
    free(w);
}

static inline void world_learn(struct world *w, int n, int of, bool always) {
    struct address at = world_address(of);
    peers_learn(w->node[n].peers, w->now_ms, &at, always ? NULL : &at);
}

/* A node process at its address; NULL where nobody listens. */
static inline struct world_node *world_at(struct world *w, const struct address *at) {
    for (int n = 0; n < WORLD_NODES; n++)
        if (w->node[n].world != NULL && address_equal(&w->node[n].info.peer, at) &&
            (w->node[n].listening || w->node[n].vanished))
            return &w->node[n];
    return NULL;
}

static inline void world_answer_dial(struct world *w, struct link *link) {
    struct link_end *from = &link->end[0], *to = &link->end[1];
    struct world_node *node = world_at(w, &link->to);
    if (!from->open)
        link->pending = false;
    if (!from->open || (node != NULL && node->vanished) || from->node->vanished)
        return;
    link->pending = false;
    if (node == NULL) {
        from->open = false;
        peers_closed(from->owner, w->now_ms, from->number, PEERS_CONNECT_REFUSED);
        return;
    }
    *to = (struct link_end){
        .node = node, .owner = node->peers, .number = peers_next_number(node->peers), .open = true};
    struct address source = from->node->info.peer;
    source.port = 40000;
    peers_accepted(to->owner, w->now_ms, to->number, &source);
    peers_connected(from->owner, w->now_ms, from->number);
}

/* Some of what is on its way to an end, or the end of the stream. True when something happened. */
static inline bool world_deliver(struct world *w, struct link *link, struct link_end *end,
                                 const struct link_end *other) {
    if (!end->open || end->held || end->node == NULL || end->node->vanished || end->node->stuck ||
        (other->node != NULL && other->node->vanished))
        return false;
    size_t waiting = buffer_size(&end->in);
    if (waiting == 0) {
        if (other->open || link->pending)
            return false;
        end->open = false;
        peers_closed(end->owner, w->now_ms, end->number, PEERS_CLOSED);
        return true;
    }
    size_t most = waiting > 65536 ? waiting : waiting < 40 ? waiting : 40;
    size_t size = 1 + random_below(&w->random, most);
    uint8_t *exact = malloc(size);
    memcpy(exact, buffer_bytes(&end->in).data, size);
    buffer_consume(&end->in, size);
    if (other->node != NULL && other->open && other->owner == other->node->peers)
        peers_unsent(other->owner, other->number, buffer_size(&end->in), true);
    peers_received(end->owner, w->now_ms, end->number, (struct bytes){exact, size});
    free(exact);
    return true;
}

static inline bool world_step(struct world *w) {
    bool moved = false;
    for (size_t i = 0; i < w->links; i++) {
        struct link *link = &w->link[i];
        if (link->pending)
            world_answer_dial(w, link);
        int first = (int)random_below(&w->random, 2);
        moved |= world_deliver(w, link, &link->end[first], &link->end[!first]);
        moved |= world_deliver(w, link, &link->end[!first], &link->end[first]);
    }
    return moved;
}

static inline void world_run(struct world *w, uint64_t ms) {
    for (uint64_t i = 0; i <= ms; i++) {
        for (int n = 0; n < WORLD_NODES; n++)
            if (w->node[n].peers != NULL)
                peers_tick(w->node[n].peers, w->now_ms);
        while (world_step(w))
            ;
        if (i < ms)
            w->now_ms++;
    }
}

/* A connection whose other end is the test itself. */
static inline struct link_end *world_stranger(struct world *w, int n) {
    struct link *link = &w->link[w->links++];
    struct world_node *node = &w->node[n];
    *link = (struct link){.end[0] = {.open = true}};
    link->end[1] = (struct link_end){
        .node = node, .owner = node->peers, .number = peers_next_number(node->peers), .open = true};
    struct address source = world_address(77);
    peers_accepted(node->peers, w->now_ms, link->end[1].number, &source);
    return &link->end[1];
}

/* Open connections of a node's core that have another end. */
static inline int world_open(struct world *w, int n) {
    int open = 0;
    for (size_t i = 0; i < w->links; i++)
        for (int e = 0; e < 2; e++)
            open += w->link[i].end[e].open && w->link[i].end[e].node == &w->node[n] && !w->link[i].pending;
    return open;
}

static inline struct member_id world_member(struct world *w, int n) {
    struct member_id id = {.incarnation = w->node[n].info.incarnation};
    memcpy(id.id, w->node[n].info.id, NODE_ID_SIZE);
    return id;
}

static inline bool world_send(struct world *w, int from, int to, enum peers_lane lane, struct bytes payload) {
    struct member_id id = world_member(w, to);
    return peers_send(w->node[from].peers, w->now_ms, &id, lane, FRAME_RAFT, payload);
}

/* Nodes 0 and 1, connected; node 0 dialled. */
static inline struct world_node *world_pair(struct world *w) {
    world_learn(w, 0, 1, false);
    world_run(w, 100);
    return w->node;
}

#endif
