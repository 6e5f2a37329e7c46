/* Whom a node dials, when it dials again, and that one connection stays of several. */
#include "tests/unit/replication/peers_world.h"

TEST(of_crossing_dials_one_connection_stays_and_it_is_reported_once) {
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world *w = world_new(3, seed);
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                world_learn(w, a, b, true);
        world_run(w, 3000);
        for (int n = 0; n < 3; n++) {
            EQUAL(peers_count(w->node[n].peers), 2);
            EQUAL(w->node[n].seen.up, 2);
            EQUAL(w->node[n].seen.down, 0);
            EQUAL(world_open(w, n), 2);
            OK(peers_settled(w->node[n].peers));
            EQUAL(w->node[n].seen.refused_ours + w->node[n].seen.refused_theirs, 0);
        }
        world_free(w);
    }
}

TEST(a_second_address_of_a_connected_node_makes_no_second_connection) {
    struct world *w = world_new(2, 1);
    world_pair(w);
    struct address alias;
    address_parse("10.9.9.9:8000", &alias);
    w->node[1].info.peer = alias; /* the world's address of it; what it tells stays the first */
    peers_learn(w->node[0].peers, w->now_ms, &alias, NULL);
    world_run(w, 5000);
    EQUAL(w->node[0].seen.up, 1);
    EQUAL(w->node[0].seen.down, 0);
    EQUAL(world_open(w, 0), 1);
    EQUAL(w->node[0].seen.dials, 2);
    OK(peers_settled(w->node[0].peers));
    world_free(w);
}

TEST(an_address_named_by_hand_is_dialled_at_once_and_tells_what_became_of_it) {
    struct world *w = world_new(2, 3);
    struct address at = world_address(1), own = world_address(0), nobody = world_address(7);
    const struct peer *peer = NULL;
    enum peers_refusal reason = 0;
    for (int n = 0; n < 2; n++) {
        w->node[n].info.group_id = 50 + (uint64_t)n;
        peers_update(w->node[n].peers, &w->node[n].info);
    }
    world_learn(w, 0, 1, false);
    world_run(w, 2000); /* refused: the next dial of its own would be in 30 s */
    EQUAL(peers_tried(w->node[0].peers, &at, &peer, &reason), PEERS_REFUSED);
    EQUAL(reason, REFUSED_FOUNDING);
    w->node[1].info.group_id = 50;
    peers_update(w->node[1].peers, &w->node[1].info);
    peers_try(w->node[0].peers, w->now_ms, &at);
    EQUAL(peers_tried(w->node[0].peers, &at, &peer, &reason), PEERS_TRYING);
    world_run(w, 200);
    EQUAL(peers_tried(w->node[0].peers, &at, &peer, &reason), PEERS_STANDS);
    OK(peer != NULL && memcmp(peer->info.id, w->node[1].info.id, NODE_ID_SIZE) == 0);
    peers_try(w->node[0].peers, w->now_ms, &nobody);
    world_run(w, 500);
    EQUAL(peers_tried(w->node[0].peers, &nobody, &peer, &reason), PEERS_UNANSWERED);
    EQUAL(peers_tried(w->node[0].peers, &own, &peer, &reason), PEERS_REFUSED);
    EQUAL(reason, REFUSED_SELF);
    world_free(w);
}

TEST(a_killed_node_is_redialled_at_once_and_its_kernels_refusal_is_reported_once) {
    for (int dead = 0; dead < 2; dead++) { /* node 0 was the dialler */
        struct world *w = world_new(2, 5);
        world_pair(w);
        world_run(w, 5000);
        struct seen *seen = &w->node[!dead].seen;
        world_kill(w, dead);
        uint64_t killed_ms = w->now_ms;
        seen->dials = 0;
        world_run(w, 10000);
        EQUAL(seen->down, 1);
        EQUAL(seen->kernel_refused, 1);
        OK(seen->kernel_refused_at_ms <= killed_ms + 2);
        OK(seen->dialled_at_ms[0] <= killed_ms + 1);
        for (int i = 1; i < 6; i++) { /* 50 ms doubling, a quarter more or less */
            uint64_t gap = seen->dialled_at_ms[i] - seen->dialled_at_ms[i - 1], want = 50u << (i - 1);
            OK(gap >= want * 3 / 4 && gap <= want * 5 / 4 + 1);
        }
        OK(seen->dials >= 8 && seen->dials <= 13); /* then every 2 s */
        struct node_info again = world_info_of(dead);
        again.session = 5555;
        world_start(w, dead, &again);
        world_run(w, 2600);
        EQUAL(seen->up, 2);
        world_free(w);
    }
}

TEST(a_node_that_does_not_answer_is_dialled_again_only_after_the_hello_deadline) {
    struct world *w = world_new(2, 5);
    w->node[1].vanished = true;
    world_learn(w, 0, 1, true);
    world_run(w, 2900);
    EQUAL(w->node[0].seen.dials, 1);
    OK(!peers_settled(w->node[0].peers));
    world_run(w, 300);
    OK(peers_settled(w->node[0].peers));
    EQUAL(w->node[0].seen.dials, 2);
    EQUAL(w->node[0].seen.kernel_refused, 0);
    world_free(w);
}

TEST(a_forgotten_address_is_not_dialled_again_but_one_from_the_flags_always_is) {
    struct world *w = world_new(1, 5);
    world_learn(w, 0, 1, false);
    world_learn(w, 0, 2, true);
    world_run(w, 10);
    EQUAL(w->node[0].seen.dials, 2);
    for (int n = 1; n < 3; n++) {
        struct address at = world_address(n);
        peers_forget(w->node[0].peers, &at);
    }
    world_run(w, 10000);
    OK(w->node[0].seen.dials >= 8);
    for (size_t i = 2; i < w->links; i++)
        EQUAL(w->link[i].to.ip[3], 3);
    world_free(w);
}

TEST(of_too_many_addresses_one_that_never_answers_makes_room) {
    struct world *w = world_new(3, 5);
    struct address at;
    world_kill(w, 2); /* fails as well, but was named by the flags */
    world_learn(w, 0, 2, true);
    for (int i = 0; i < 600; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.1.%d.%d:8000", i / 200, i % 200 + 1);
        address_parse(text, &at);
        peers_learn(w->node[0].peers, w->now_ms, &at, &at);
        if (i % 50 == 49)
            world_run(w, 100);
    }
    world_learn(w, 0, 1, true);
    world_run(w, 1000);
    EQUAL(w->node[0].seen.up, 1);
    struct node_info again = world_info_of(2);
    world_start(w, 2, &again);
    world_run(w, 2600);
    EQUAL(w->node[0].seen.up, 2);
    world_free(w);
}

TEST(a_random_course_of_kills_restarts_and_outages_always_ends_fully_connected) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world *w = world_new(4, seed);
        for (int n = 0; n < 4; n++)
            for (int of = 0; of < 4; of++)
                if (of != n && (seed % 2 == 0 || of > n))
                    world_learn(w, n, of, seed % 3 == 0);
        for (int i = 0; i < 12; i++) {
            int n = (int)random_below(&w->random, 4);
            struct node_info info = w->node[n].info;
            switch (random_below(&w->random, 3)) {
            case 0:
                world_kill(w, n);
                world_run(w, random_below(&w->random, 300));
                info.session += 10;
                world_start(w, n, &info);
                for (int of = 0; of < 4; of++)
                    world_learn(w, n, of, false);
                break;
            case 1:
                w->node[n].vanished = true;
                world_run(w, random_below(&w->random, 6000));
                w->node[n].vanished = false;
                break;
            default:
                world_run(w, random_below(&w->random, 50));
            }
        }
        world_run(w, 12000);
        for (int n = 0; n < 4; n++) {
            EQUAL(peers_count(w->node[n].peers), 3);
            EQUAL(world_open(w, n), 3);
            EQUAL(w->node[n].seen.duplicate, 0);
        }
        if (tap->failed) {
            printf("# seed %d\n", (int)seed);
            world_free(w);
            return;
        }
        world_free(w);
    }
}

TESTS(TAP(of_crossing_dials_one_connection_stays_and_it_is_reported_once),
      TAP(a_second_address_of_a_connected_node_makes_no_second_connection),
      TAP(an_address_named_by_hand_is_dialled_at_once_and_tells_what_became_of_it),
      TAP(a_killed_node_is_redialled_at_once_and_its_kernels_refusal_is_reported_once),
      TAP(a_node_that_does_not_answer_is_dialled_again_only_after_the_hello_deadline),
      TAP(a_forgotten_address_is_not_dialled_again_but_one_from_the_flags_always_is),
      TAP(of_too_many_addresses_one_that_never_answers_makes_room),
      TAP(a_random_course_of_kills_restarts_and_outages_always_ends_fully_connected))
