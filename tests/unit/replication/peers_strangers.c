/* A stranger at the other end, whose bytes the test writes itself: wrong, damaged, late, or none at all. */
#include "tests/unit/replication/peers_stranger.h"

static struct link_end *greeted(struct world *w, struct link_end *end) {
    return greeted_as(w, end, 'f');
}

TEST(every_prefix_and_every_flipped_bit_of_a_hello_is_refused_softly) {
    struct hello hello = {.lane = PEERS_BULK, .volatile_ = true, .uptime_ms = 5, .info = world_info_of(3)},
                 got;
    struct buffer out = {0};
    hello_write(&out, &hello);
    struct bytes whole = buffer_bytes(&out);
    size_t used;
    for (size_t size = 0; size <= whole.size; size++) {
        uint8_t *exact = malloc(size + 1);
        memcpy(exact + 1, whole.data, size);
        EQUAL(hello_parse((struct bytes){exact + 1, size}, &got, &used),
              size == whole.size ? HELLO_DONE : HELLO_MORE);
        free(exact);
    }
    EQUAL(used, whole.size);
    OK(got.lane == PEERS_BULK && got.volatile_ && got.uptime_ms == 5 &&
       memcmp(&got.info, &hello.info, sizeof got.info) == 0);
    for (size_t bit = 0; bit < 8 * whole.size; bit++) {
        uint8_t *exact = malloc(whole.size);
        memcpy(exact, whole.data, whole.size);
        exact[bit / 8] ^= (uint8_t)(1u << bit % 8);
        OK(hello_parse((struct bytes){exact, whole.size}, &got, &used) != HELLO_DONE);
        free(exact);
    }
    buffer_release(&out);
}

TEST(another_protocol_version_is_refused_with_that_reason) {
    struct world *w = world_new(1, 5);
    struct link_end *end = world_stranger(w, 0), *stranger = &w->link[0].end[0];
    size_t hello_size = buffer_size(&stranger->in);
    const uint8_t other[] = {'K', 'V', 'N', 'P', 9, 0, 0xff, 0xff};
    peers_received(end->owner, w->now_ms, end->number, (struct bytes){other, sizeof other});
    EQUAL(w->node[0].seen.ours, REFUSED_VERSION);
    struct bytes said = buffer_bytes(&stranger->in);
    REQUIRE(said.size == hello_size + FRAME_OVERHEAD + 1);
    uint8_t type;
    struct bytes payload;
    OK(frame_parse((struct bytes){said.data + hello_size, said.size - hello_size}, 64, &type, &payload) ==
       FRAME_DONE);
    EQUAL(type, REFUSED);
    EQUAL(payload.data[0], REFUSED_VERSION);
    OK(end->open); /* for a moment, so that it arrives */
    world_run(w, 1100);
    OK(!end->open);
    world_free(w);
}

TEST(payloads_before_the_welcome_close_the_connection) {
    struct world *w = world_new(1, 5);
    struct link_end *end = world_stranger(w, 0);
    struct node_info info = world_info_of(5);
    say_hello(w, end, &info);
    say(w, end, FRAME_RAFT, (struct bytes){NULL, 0});
    OK(!end->open);
    EQUAL(w->node[0].seen.frames, 0);
    world_free(w);
}

TEST(what_changed_between_hello_and_welcome_is_told_when_the_connection_stands) {
    struct world *w = world_new(1, 5);
    struct link_end *end = world_stranger(w, 0);
    w->node[0].info.term = 99;
    peers_update(w->node[0].peers, &w->node[0].info);
    greeted(w, end);
    struct bytes payload;
    struct node_info told = {0};
    EQUAL(last_said(&w->link[0], &payload), FRAME_INFO);
    struct reader r = reader_of(payload);
    OK(node_info_read(&r, &told));
    EQUAL(told.term, 99);
    world_free(w);
}

TEST(a_founding_that_turns_out_to_differ_after_the_hello_is_refused) {
    struct node_info info = world_info_of(5);
    info.group_id = 60;
    for (int late = 0; late < 2; late++) { /* ours comes before the WELCOME; theirs comes in an INFO */
        struct world *w = world_new(1, 5);
        struct link_end *end = world_stranger(w, 0);
        struct node_info *own = &w->node[0].info;
        own->group_id = late ? 50 : 0;
        peers_update(w->node[0].peers, own);
        info.group_id = late ? 0 : 60;
        say_hello(w, end, &info);
        own->group_id = 50;
        peers_update(w->node[0].peers, own);
        say(w, end, WELCOME, (struct bytes){NULL, 0});
        EQUAL(w->node[0].seen.up, 1);
        if (late) {
            struct buffer out = {0};
            info.group_id = 60;
            node_info_write(&out, &info);
            say(w, end, FRAME_INFO, buffer_bytes(&out));
            buffer_release(&out);
        }
        world_run(w, 0);
        EQUAL(w->node[0].seen.down, 1);
        struct bytes payload;
        EQUAL(last_said(&w->link[0], &payload), REFUSED);
        EQUAL(payload.data[0], REFUSED_FOUNDING);
        world_free(w);
    }
}

TEST(an_info_of_somebody_else_closes_the_connection) {
    struct world *w = world_new(1, 5);
    struct link_end *end = greeted(w, world_stranger(w, 0));
    struct node_info other = world_info_of(6);
    struct buffer out = {0};
    node_info_write(&out, &other);
    say(w, end, FRAME_INFO, buffer_bytes(&out));
    buffer_release(&out);
    OK(!end->open);
    EQUAL(w->node[0].seen.info, 0);
    world_free(w);
}

TEST(a_frame_damaged_in_any_bit_closes_the_connection_and_reaches_nobody) {
    uint8_t frame[FRAME_OVERHEAD + 5];
    frame_wrap(FRAME_RAFT, bytes_of("hello"), frame, frame + FRAME_HEAD_SIZE + 5);
    memcpy(frame + FRAME_HEAD_SIZE, "hello", 5);
    struct world *w = world_new(1, 5);
    for (size_t bit = 0; bit < 8 * sizeof frame; bit++) {
        struct link_end *end = greeted(w, world_stranger(w, 0));
        EQUAL(peers_count(w->node[0].peers), 1);
        uint8_t bad[2 * sizeof frame];
        memcpy(bad, frame, sizeof frame);
        memcpy(bad + sizeof frame, frame, sizeof frame);
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int before = w->node[0].seen.frames;
        peers_received(end->owner, w->now_ms, end->number, (struct bytes){bad, sizeof bad});
        if (end->open) { /* a larger size: the frame is waited for, and its checksum fails when it is there */
            OK(bit < 32);
            static uint8_t more[PEERS_FRAME_MAX];
            peers_received(end->owner, w->now_ms, end->number, (struct bytes){more, sizeof more});
        }
        OK(!end->open);
        EQUAL(w->node[0].seen.frames, before);
        EQUAL(peers_count(w->node[0].peers), 0);
        buffer_release(&w->link[0].end[0].in);
        w->links = 0;
    }
    world_free(w);
}

TEST(a_size_beyond_the_limit_closes_at_once) {
    struct world *w = world_new(1, 5);
    struct link_end *end = greeted(w, world_stranger(w, 0));
    uint8_t head[4];
    put_u32(head, PEERS_FRAME_MAX + 1);
    peers_received(end->owner, w->now_ms, end->number, (struct bytes){head, sizeof head});
    OK(!end->open);
    /* And a small one, before a hello has been agreed to. */
    end = world_stranger(w, 0);
    struct hello hello = {.info = world_info_of(5)};
    struct buffer out = {0};
    hello_write(&out, &hello);
    write_u32(&out, 65);
    peers_received(end->owner, w->now_ms, end->number, buffer_bytes(&out));
    OK(!end->open);
    buffer_release(&out);
    world_free(w);
}

TEST(one_node_more_than_there_is_room_for_is_refused) {
    struct world *w = world_new(1, 5);
    greeted_many(w, 0, PEERS_MAX);
    EQUAL(peers_count(w->node[0].peers), PEERS_MAX);
    EQUAL(w->node[0].seen.refused_ours, 0);
    struct node_info last = world_info_of(1);
    world_start(w, 1, &last);
    world_learn(w, 1, 0, true);
    world_run(w, 500);
    EQUAL(w->node[0].seen.ours, REFUSED_FULL);
    EQUAL(w->node[1].seen.theirs, REFUSED_FULL);
    EQUAL(w->node[1].seen.up, 0);
    EQUAL(peers_count(w->node[0].peers), PEERS_MAX);
    world_free(w);
}

TEST(strangers_who_say_nothing_are_closed_after_the_deadline_and_cannot_take_every_place) {
    struct world *w = world_new(2, 5);
    for (int i = 0; i < 200; i++)
        world_stranger(w, 0);
    int open = 0;
    for (size_t i = 0; i < w->links; i++)
        open += w->link[i].end[1].open;
    EQUAL(open, 64);
    world_learn(w, 0, 1, false);
    world_run(w, 100);
    EQUAL(w->node[0].seen.up, 1);
    world_run(w, 3000);
    EQUAL(world_open(w, 0), 1);
    world_free(w);
}

TESTS(TAP(every_prefix_and_every_flipped_bit_of_a_hello_is_refused_softly),
      TAP(another_protocol_version_is_refused_with_that_reason),
      TAP(payloads_before_the_welcome_close_the_connection),
      TAP(what_changed_between_hello_and_welcome_is_told_when_the_connection_stands),
      TAP(a_founding_that_turns_out_to_differ_after_the_hello_is_refused),
      TAP(an_info_of_somebody_else_closes_the_connection),
      TAP(a_frame_damaged_in_any_bit_closes_the_connection_and_reaches_nobody),
      TAP(a_size_beyond_the_limit_closes_at_once), TAP(one_node_more_than_there_is_room_for_is_refused),
      TAP(strangers_who_say_nothing_are_closed_after_the_deadline_and_cannot_take_every_place))
