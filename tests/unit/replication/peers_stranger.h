/* A stranger at the other end of a connection, whose bytes the test writes itself. */
#ifndef TESTS_PEERS_STRANGER_H
#define TESTS_PEERS_STRANGER_H

#include "replication/hello.h"
#include "tests/frames.h"
#include "tests/unit/replication/peers_world.h"

/* The connection's own frames, as PROTOCOL.md numbers them. */
#define WELCOME 3
#define REFUSED 4
#define PROVE   6
#define PROOF   7
#define BEARER  8

static inline void say(struct world *w, const struct link_end *end, uint8_t type, struct bytes payload) {
    struct buffer out = {0};
    write_frame(&out, type, payload);
    peers_received(end->owner, w->now_ms, end->number, buffer_bytes(&out));
    buffer_release(&out);
}

static inline void say_hello(struct world *w, const struct link_end *end, const struct node_info *info) {
    struct hello hello = {.info = *info};
    struct buffer out = {0};
    hello_write(&out, &hello);
    peers_received(end->owner, w->now_ms, end->number, buffer_bytes(&out));
    buffer_release(&out);
}

/* A stranger that says hello and WELCOME as a node whose id begins with `name`. */
static inline struct link_end *greeted_as(struct world *w, struct link_end *end, uint8_t name) {
    struct node_info info = world_info_of(5);
    info.id[0] = name;
    say_hello(w, end, &info);
    say(w, end, WELCOME, (struct bytes){NULL, 0});
    return end;
}

/* The same of n strangers, each of an id of its own. */
static inline void greeted_many(struct world *w, int node, int n) {
    static const char names[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";
    for (int i = 0; i < n; i++)
        greeted_as(w, world_stranger(w, node), (uint8_t)names[i]);
}

/* The type of the last frame that was said to the stranger at the other end; *payload borrows. */
static inline uint8_t last_said(struct link *link, struct bytes *payload) {
    struct bytes said = buffer_bytes(&link->end[0].in);
    struct hello hello;
    size_t used = 0;
    uint8_t type = 0;
    hello_parse(said, &hello, &used);
    while (used < said.size && frame_parse((struct bytes){said.data + used, said.size - used},
                                           PEERS_FRAME_MAX, &type, payload) == FRAME_DONE)
        used += payload->size + FRAME_OVERHEAD;
    return type;
}

/* A stranger takes the node's newest dial; NULL: there is none. */
static inline struct link_end *world_answer_as_stranger(struct world *w, int n) {
    for (size_t i = w->links; i-- > 0;) {
        struct link *link = &w->link[i];
        if (!link->pending || !link->end[0].open || link->end[0].node != &w->node[n])
            continue;
        link->pending = false;
        link->end[1] = (struct link_end){.open = true};
        peers_connected(link->end[0].owner, w->now_ms, link->end[0].number);
        return &link->end[0];
    }
    return NULL;
}

#endif
