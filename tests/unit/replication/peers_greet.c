/* Whom a node lets in: clusters, groups and foundings that differ, and ids that are borne twice. */
#include "tests/unit/replication/peers_world.h"

static void check_refusal(struct tap *tap, const struct node_info *other, enum peers_refusal reason) {
    struct world *w = world_new(1, 7);
    world_start(w, 1, other);
    world_learn(w, 0, 1, true);
    world_learn(w, 1, 0, false);
    world_run(w, 29000);
    for (int n = 0; n < 2; n++) {
        struct seen *seen = &w->node[n].seen;
        EQUAL(seen->up, 0);
        EQUAL(seen->refused_ours + seen->refused_theirs, 1);
        EQUAL(seen->refused_ours ? seen->ours : seen->theirs, reason);
        OK(memcmp(seen->refused_info.id, w->node[!n].info.id, NODE_ID_SIZE) == 0);
        EQUAL(seen->dials, 1);
        OK(peers_settled(w->node[n].peers));
        EQUAL(world_open(w, n), 0);
    }
    world_run(w, 4000);
    EQUAL(w->node[0].seen.dials, 2);
    EQUAL(w->node[0].seen.refused_ours + w->node[0].seen.refused_theirs, 1);
    world_free(w);
}

TEST(another_cluster_or_founding_is_refused_told_to_both_sides_and_left_alone_for_30_s) {
    struct node_info other = world_info_of(1);
    strcpy(other.cluster, "other");
    check_refusal(tap, &other, REFUSED_CLUSTER);
}

TEST(nodes_of_two_groups_connect_whatever_their_foundings) {
    struct world *w = world_new(1, 7);
    struct node_info other = world_info_of(1);
    other.group = 3;
    other.group_id = 777;
    w->node[0].info.group_id = 50;
    peers_update(w->node[0].peers, &w->node[0].info);
    world_start(w, 1, &other);
    world_learn(w, 0, 1, true);
    world_run(w, 7000); /* repeated infos change nothing */
    for (int n = 0; n < 2; n++) {
        EQUAL(peers_count(w->node[n].peers), 1);
        EQUAL(w->node[n].seen.refused_ours + w->node[n].seen.refused_theirs, 0);
    }
    EQUAL(peers_at(w->node[0].peers, 0)->info.group, 3);
    world_free(w);
}

TEST(two_foundings_of_a_group_refuse_each_other_until_one_starts_over) {
    struct world *w = world_new(2, 3);
    for (int n = 0; n < 2; n++) {
        w->node[n].info.group_id = 50 + (uint64_t)n;
        peers_update(w->node[n].peers, &w->node[n].info);
    }
    world_learn(w, 0, 1, true);
    world_run(w, 2000);
    for (int n = 0; n < 2; n++) {
        EQUAL(w->node[n].seen.up, 0);
        EQUAL(w->node[n].seen.refused_ours + w->node[n].seen.refused_theirs, 1);
        EQUAL(w->node[n].seen.refused_ours ? w->node[n].seen.ours : w->node[n].seen.theirs, REFUSED_FOUNDING);
    }
    w->node[0].info.group_id = 0;
    peers_update(w->node[0].peers, &w->node[0].info);
    world_run(w, 100);
    EQUAL(w->node[0].seen.up, 1);
    w->node[0].info.group_id = 51;
    peers_update(w->node[0].peers, &w->node[0].info);
    world_run(w, 100);
    EQUAL(w->node[0].seen.down, 0);
    EQUAL(w->node[1].seen.down, 0);
    EQUAL(w->node[1].seen.info, 1);
    EQUAL(peers_at(w->node[1].peers, 0)->info.group_id, 51);
    world_free(w);
}

TEST(a_connected_newcomer_that_joins_another_founding_is_refused) {
    struct world *w = world_new(2, 3);
    w->node[0].info.group_id = 50;
    peers_update(w->node[0].peers, &w->node[0].info);
    world_pair(w);
    EQUAL(w->node[1].seen.up, 1);
    w->node[1].info.group_id = 60;
    peers_update(w->node[1].peers, &w->node[1].info);
    world_run(w, 2000);
    for (int n = 0; n < 2; n++) {
        EQUAL(w->node[n].seen.down, 1);
        EQUAL(w->node[n].seen.refused_ours + w->node[n].seen.refused_theirs, 1);
        EQUAL(peers_count(w->node[n].peers), 0);
    }
    world_free(w);
}

TEST(a_later_process_with_an_id_in_use_is_told_and_the_earlier_one_stays_connected) {
    for (int dialler = 0; dialler < 3; dialler += 2) {
        struct world *w = world_new(2, 9);
        world_pair(w);
        world_run(w, 5000);
        struct node_info clone = world_info_of(1);
        clone.session = 77;
        clone.peer = world_address(2);
        world_start(w, 2, &clone);
        world_learn(w, dialler, dialler == 0 ? 2 : 0, false);
        world_run(w, 3000);
        OK(w->node[2].seen.duplicate >= 1);
        EQUAL(w->node[2].seen.up, 0);
        EQUAL(w->node[1].seen.duplicate, 0);
        EQUAL(w->node[0].seen.down, 0);
        EQUAL(w->node[1].seen.down, 0);
        EQUAL(w->node[0].seen.ours, REFUSED_DUPLICATE);
        world_free(w);
    }
}

TEST(of_two_processes_with_one_id_that_meet_the_later_is_told) {
    for (int dialler = 0; dialler < 2; dialler++) {
        struct world *w = world_new(1, 9);
        world_run(w, 5000);
        struct node_info clone = world_info_of(0);
        clone.session = 77;
        clone.peer = world_address(1);
        world_start(w, 1, &clone);
        world_learn(w, dialler, !dialler, false);
        world_run(w, 2000);
        EQUAL(w->node[0].seen.duplicate, 0);
        OK(w->node[1].seen.duplicate >= 1);
        world_free(w);
    }
}

TEST(a_restarted_node_takes_the_place_of_the_connection_its_crash_left_behind) {
    struct world *w = world_new(2, 11);
    world_pair(w);
    /* Its machine lost power: no end of stream comes, and soon a new process with the same id dials. */
    for (size_t i = 0; i < w->links; i++)
        w->link[i].end[1].node = NULL;
    peers_free(w->node[1].peers);
    struct node_info again = world_info_of(1);
    again.session = 78;
    world_start(w, 1, &again);
    world_learn(w, 1, 0, false);
    world_run(w, 1500);
    EQUAL(w->node[1].seen.duplicate, 0);
    EQUAL(w->node[0].seen.up, 2);
    EQUAL(w->node[0].seen.down, 1);
    REQUIRE(peers_count(w->node[0].peers) == 1);
    EQUAL(peers_at(w->node[0].peers, 0)->info.session, 78);
    world_free(w);
}

/* The PING to the old connection waits behind what that is sent. */
TEST(a_connection_that_takes_what_it_is_sent_is_not_closed_for_another_of_its_id) {
    struct world *w = world_new(2, 9);
    world_pair(w);
    struct link_end *end = &w->link[0].end[0];
    struct node_info clone = world_info_of(1);
    clone.session = 77;
    clone.peer = world_address(2);
    w->node[1].vanished = true; /* nothing comes from it; what it takes is said by hand */
    world_start(w, 2, &clone);
    world_learn(w, 2, 0, false);
    for (size_t left = 40; left > 20; left--) {
        peers_unsent(w->node[0].peers, end->number, left << 20, true);
        world_run(w, 100);
    }
    EQUAL(w->node[0].seen.down, 0);
    EQUAL(w->node[0].seen.up, 1);
    world_free(w);
}

TESTS(TAP(another_cluster_or_founding_is_refused_told_to_both_sides_and_left_alone_for_30_s),
      TAP(nodes_of_two_groups_connect_whatever_their_foundings),
      TAP(two_foundings_of_a_group_refuse_each_other_until_one_starts_over),
      TAP(a_connected_newcomer_that_joins_another_founding_is_refused),
      TAP(a_later_process_with_an_id_in_use_is_told_and_the_earlier_one_stays_connected),
      TAP(of_two_processes_with_one_id_that_meet_the_later_is_told),
      TAP(a_restarted_node_takes_the_place_of_the_connection_its_crash_left_behind),
      TAP(a_connection_that_takes_what_it_is_sent_is_not_closed_for_another_of_its_id))
