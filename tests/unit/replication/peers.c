/* Connections between nodes that stand: what they carry, on which lane, how full they may be, and how they
 * end. Several cores, joined by in-memory pipes. */
#include "tests/unit/replication/peers_world.h"

TEST(two_nodes_connect_and_frames_arrive_whole_however_the_stream_is_split) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = world_new(2, seed);
        struct world_node *node = world_pair(w);
        EQUAL(node[0].seen.up, 1);
        EQUAL(node[1].seen.up, 1);
        struct member_id id = world_member(w, 1);
        REQUIRE(peers_find(node[0].peers, &id) != NULL);
        struct buffer payload = {0};
        for (size_t size = 0; size < 200; size++) {
            OK(world_send(w, 0, 1, PEERS_MAIN, buffer_bytes(&payload)));
            write_u8(&payload, (uint8_t)(size * 7));
        }
        memset(buffer_reserve(&payload, 300000), 'x', 300000);
        buffer_grow(&payload, 300000);
        OK(world_send(w, 0, 1, PEERS_MAIN, buffer_bytes(&payload)));
        world_run(w, 1);
        EQUAL(node[1].seen.frames, 201);
        EQUAL(node[1].seen.last_frame_type, FRAME_RAFT);
        OK(bytes_equal(buffer_bytes(&node[1].seen.last_frame), buffer_bytes(&payload)));
        buffer_release(&payload);
        world_free(w);
    }
}

TEST(a_role_change_is_told_to_connected_nodes) {
    struct world *w = world_new(2, 5);
    world_pair(w);
    w->node[0].info.role = NODE_LEADER;
    w->node[0].info.term = 9;
    peers_update(w->node[0].peers, &w->node[0].info);
    world_run(w, 1);
    EQUAL(w->node[1].seen.info, 1);
    EQUAL(peers_at(w->node[1].peers, 0)->info.term, 9);
    EQUAL(peers_at(w->node[1].peers, 0)->info.role, NODE_LEADER);
    world_free(w);
}

TEST(answers_sent_from_within_a_frame_leave_in_order) {
    struct world *w = world_new(2, 5);
    world_pair(w);
    w->node[1].frame_answer = 5000;
    for (int i = 0; i < 100; i++)
        OK(world_send(w, 0, 1, PEERS_MAIN, bytes_of("request")));
    world_run(w, 10);
    EQUAL(w->node[0].seen.frames, 100);
    EQUAL(w->node[0].seen.bytes, 500000);
    world_free(w);
}

TEST(a_full_output_takes_no_more_and_the_connection_lives_on) {
    struct world *w = world_new(2, 5);
    world_pair(w);
    w->node[1].stuck = true;
    static uint8_t megabyte[1 << 20];
    size_t taken = 0;
    while (taken < 1000 && world_send(w, 0, 1, PEERS_MAIN, (struct bytes){megabyte, sizeof megabyte}))
        taken++;
    EQUAL(taken, 63); /* the 64th would pass 64 MiB with its head */
    w->node[1].stuck = false;
    world_run(w, 50);
    EQUAL(w->node[1].seen.frames, 63);
    OK(world_send(w, 0, 1, PEERS_MAIN, bytes_of("again")));
    EQUAL(w->node[0].seen.down, 0);
    struct link_end *end = &w->link[0].end[0];
    peers_unsent(w->node[0].peers, end->number, PEERS_OUTPUT_MAX + 1, false);
    OK(!world_send(w, 0, 1, PEERS_MAIN, bytes_of("no")));
    EQUAL(w->node[0].seen.down, 0); /* not from within a call */
    world_run(w, 0);
    EQUAL(w->node[0].seen.down, 1);
    world_free(w);
}

TEST(the_bulk_lane_has_its_own_connection_that_goes_with_the_main_one) {
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct world *w = world_new(2, seed);
        struct world_node *node = world_pair(w);
        OK(!world_send(w, 0, 1, PEERS_BULK, bytes_of("chunk")));
        OK(!world_send(w, 1, 0, PEERS_BULK, bytes_of("chunk")));
        world_run(w, 1500);
        OK(world_send(w, 0, 1, PEERS_BULK, bytes_of("chunk")));
        OK(world_send(w, 1, 0, PEERS_BULK, bytes_of("chunk")));
        world_run(w, 10);
        EQUAL(node[0].seen.frames, 1);
        EQUAL(node[1].seen.frames, 1);
        EQUAL(world_open(w, 0), 2);
        EQUAL(world_open(w, 1), 2);
        EQUAL(node[0].seen.up, 1);
        world_run(w, 20000);
        EQUAL(world_open(w, 0), 2);
        world_kill(w, 1);
        world_run(w, 10);
        EQUAL(world_open(w, 0), 0);
        EQUAL(node[0].seen.down, 1);
        world_free(w);
    }
}

TEST(when_only_the_main_connection_closes_its_bulk_one_goes_too) {
    struct world *w = world_new(2, 6);
    world_pair(w);
    world_send(w, 0, 1, PEERS_BULK, bytes_of("chunk"));
    world_run(w, 5000);
    EQUAL(world_open(w, 0), 2);
    struct link_end *main = &w->link[0].end[0];
    main->open = false;
    peers_closed(main->owner, w->now_ms, main->number, PEERS_CLOSED);
    world_run(w, 500);
    EQUAL(w->node[0].seen.up, 2);
    EQUAL(world_open(w, 0), 1);
    EQUAL(world_open(w, 1), 1);
    world_free(w);
}

TEST(a_silent_connection_is_asked_then_closed_and_a_pause_of_ones_own_is_no_silence) {
    struct world *w = world_new(2, 5);
    world_pair(w);
    world_run(w, 60000);
    EQUAL(w->node[0].seen.down, 0); /* idle, but answering */
    OK(w->node[0].seen.info >= 10);
    w->now_ms += 20000; /* both stood still */
    world_run(w, 3000);
    EQUAL(w->node[0].seen.down, 0);
    w->node[1].vanished = true;
    world_run(w, 1500); /* a question is under way */
    w->now_ms += 20000;
    w->node[1].vanished = false;
    world_run(w, 3000);
    EQUAL(w->node[0].seen.down, 0);
    w->node[1].vanished = true;
    world_run(w, 2900); /* it may have been silent for 1 s before */
    EQUAL(w->node[0].seen.down, 0);
    world_run(w, 1200);
    EQUAL(w->node[0].seen.down, 1);
    world_run(w, 10000);
    EQUAL(w->node[0].seen.kernel_refused, 0); /* unreachable is not refused */
    world_free(w);
}

/* Behind 64 MiB the answer to a question takes long on a slow link. */
TEST(a_connection_that_takes_what_it_is_sent_is_not_silent) {
    struct world *w = world_new(2, 5);
    world_pair(w);
    w->node[1].vanished = true; /* nothing comes from it; what it takes is said by hand */
    struct link_end *end = &w->link[0].end[0];
    for (size_t left = 40; left > 20; left--) {
        peers_unsent(w->node[0].peers, end->number, left << 20, true);
        world_run(w, 1000);
    }
    EQUAL(w->node[0].seen.down, 0);
    for (unsigned i = 0; i < 5; i++) {
        peers_unsent(w->node[0].peers, end->number, 21 << 20, false);
        world_run(w, 1000);
    }
    EQUAL(w->node[0].seen.down, 1);
    world_free(w);
}

TESTS(TAP(two_nodes_connect_and_frames_arrive_whole_however_the_stream_is_split),
      TAP(a_role_change_is_told_to_connected_nodes), TAP(answers_sent_from_within_a_frame_leave_in_order),
      TAP(a_full_output_takes_no_more_and_the_connection_lives_on),
      TAP(the_bulk_lane_has_its_own_connection_that_goes_with_the_main_one),
      TAP(when_only_the_main_connection_closes_its_bulk_one_goes_too),
      TAP(a_silent_connection_is_asked_then_closed_and_a_pause_of_ones_own_is_no_silence),
      TAP(a_connection_that_takes_what_it_is_sent_is_not_silent))
