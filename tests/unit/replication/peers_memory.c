/* What connections cost in memory, by capacity: all together, and those of strangers. */
#include "tests/unit/replication/peers_stranger.h"

#define STRANGERS 40
/* One frame beyond the bound before anybody is closed, and the ends of what goes. */
#define SLACK (2 * (PEERS_FRAME_MAX + 1024))

static uint8_t zeros[1u << 20];

static void within(struct tap *tap, struct world *w, size_t *most) {
    size_t held = peers_held(w->node[0].peers);
    *most = held > *most ? held : *most;
    if (held > PEERS_STRANGERS_HOLD + SLACK)
        EQUAL(held, PEERS_STRANGERS_HOLD);
}

static void member_still_heard(struct tap *tap, struct world *w) {
    int before = w->node[0].seen.frames;
    EQUAL(w->node[1].seen.down, 0);
    OK(world_send(w, 1, 0, PEERS_MAIN, bytes_of("a heartbeat")));
    OK(world_send(w, 0, 1, PEERS_MAIN, bytes_of("and its answer")));
    world_run(w, 1);
    OK(w->node[0].seen.frames > before);
}

static struct world *world_of_a_member(void) {
    struct world *w = world_new(2, 5);
    struct peers_member member = {.at = w->node[1].info.peer};
    memcpy(member.id, w->node[1].info.id, NODE_ID_SIZE);
    peers_members(w->node[0].peers, w->now_ms, &member, 1);
    world_run(w, 100);
    return w;
}

TEST(frames_of_four_mib_that_never_end_stay_within_the_share_of_strangers) {
    struct world *w = world_of_a_member();
    size_t most = 0, first = w->links;
    greeted_many(w, 0, STRANGERS);
    size_t last = w->links; /* what follows are dials back */
    for (size_t i = first; i < last; i++) {
        struct link_end *end = &w->link[i].end[1];
        uint8_t head[5] = {0};
        put_u32(head, PEERS_FRAME_MAX);
        head[4] = FRAME_REQUEST;
        peers_received(end->owner, w->now_ms, end->number, (struct bytes){head, sizeof head});
        for (int piece = 0; piece < 4 && end->open; piece++) { /* a MiB each, a little less in all */
            peers_received(end->owner, w->now_ms, end->number, (struct bytes){zeros, sizeof zeros - 1});
            peers_tick(w->node[0].peers, w->now_ms);
            within(tap, w, &most);
        }
    }
    OK(most > PEERS_STRANGERS_HOLD / 2);
    OK(peers_shed(w->node[0].peers) > 0);
    member_still_heard(tap, w);
    world_free(w);
}

/* A frame that is barely begun takes what it has, not what it says it will have. */
TEST(the_head_of_a_large_frame_takes_no_memory) {
    struct world *w = world_of_a_member();
    size_t first = w->links;
    greeted_many(w, 0, STRANGERS);
    size_t last = w->links; /* what follows are dials back */
    for (size_t i = first; i < last; i++) {
        uint8_t head[105] = {0};
        put_u32(head, PEERS_FRAME_MAX);
        head[4] = FRAME_REQUEST;
        const struct link_end *end = &w->link[i].end[1];
        for (size_t sent = 0; sent < sizeof head; sent += 35)
            peers_received(end->owner, w->now_ms, end->number, (struct bytes){head + sent, 35});
    }
    size_t unread = 0; /* hellos and welcomes that nobody has read */
    for (size_t i = first; i < last; i++)
        unread += buffer_size(&w->link[i].end[0].in);
    OK(peers_held(w->node[0].peers) <= unread + STRANGERS * 1024);
    world_free(w);
}

/* Each frame asks for 64 KiB, and nobody reads the answers. */
TEST(answers_that_nobody_reads_stay_within_the_share_of_strangers) {
    struct world *w = world_of_a_member();
    size_t most = 0, first = w->links;
    greeted_many(w, 0, STRANGERS);
    size_t last = w->links; /* what follows are dials back */
    struct buffer ask = {0};
    write_frame(&ask, FRAME_REQUEST, bytes_of("give"));
    w->node[0].frame_answer = 65536;
    for (int round = 0; round < 200; round++)
        for (size_t i = first; i < last; i++) {
            struct link_end *end = &w->link[i].end[1];
            if (!end->open || end->held)
                continue;
            peers_received(end->owner, w->now_ms, end->number, buffer_bytes(&ask));
            peers_tick(w->node[0].peers, w->now_ms);
            within(tap, w, &most);
        }
    unsigned held = 0;
    for (size_t i = first; i < last; i++)
        held += w->link[i].end[1].held;
    OK(held > 0); /* not read from, and left in peace */
    w->node[0].frame_answer = 0;
    member_still_heard(tap, w);
    /* Once they read, they are read from again. */
    for (size_t i = first; i < last; i++) {
        struct link_end *end = &w->link[i].end[1];
        buffer_clear(&w->link[i].end[0].in);
        if (end->open)
            peers_unsent(end->owner, end->number, 0, true);
    }
    world_run(w, 10);
    for (size_t i = first; i < last; i++)
        OK(!w->link[i].end[1].held);
    buffer_release(&ask);
    world_free(w);
}

TESTS(TAP(frames_of_four_mib_that_never_end_stay_within_the_share_of_strangers),
      TAP(the_head_of_a_large_frame_takes_no_memory),
      TAP(answers_that_nobody_reads_stay_within_the_share_of_strangers))
