/* Whoever reaches the port can say anything: none of it ends a node, takes a connection over, locks a member
 * out or has it dial for long. */
#include "tests/unit/replication/peers_stranger.h"

static const struct bytes nothing = {NULL, 0};

static struct peers_member member_of(const struct world *w, int n) {
    struct peers_member member = {.at = w->node[n].info.peer};
    memcpy(member.id, w->node[n].info.id, NODE_ID_SIZE);
    return member;
}

TEST(a_refusal_from_a_stranger_ends_nothing) {
    struct world *w = world_new(2, 5);
    world_pair(w);
    for (uint8_t reason = 0; reason < 10; reason++) {
        struct link_end *end = world_stranger(w, 0);
        if (reason % 2)
            say_hello(w, end, &w->node[1].info);
        say(w, end, REFUSED, (struct bytes){&reason, 1});
        end = greeted_as(w, world_stranger(w, 0), 'f');
        say(w, end, REFUSED, (struct bytes){&reason, 1});
        world_run(w, 100);
    }
    world_run(w, 40000);
    EQUAL(w->node[0].seen.duplicate + w->node[0].seen.namesake, 0);
    struct member_id other = world_member(w, 1);
    OK(peers_find(w->node[0].peers, &other) != NULL);
    OK(world_send(w, 0, 1, PEERS_MAIN, bytes_of("still here")));
    world_run(w, 10);
    EQUAL(w->node[1].seen.frames, 1);
    world_free(w);
}

/* At the end with the lower id and at that with the higher one. */
TEST(a_copied_hello_takes_over_no_live_connection) {
    for (int at = 0; at < 2; at++) {
        struct world *w = world_new(2, 5);
        world_pair(w);
        struct link_end *end = world_stranger(w, at);
        say_hello(w, end, &w->node[!at].info);
        say(w, end, WELCOME, nothing);
        world_run(w, 5000);
        OK(!end->open);
        for (int n = 0; n < 2; n++) {
            EQUAL(w->node[n].seen.down, 0);
            OK(world_send(w, n, !n, PEERS_MAIN, bytes_of("to the node itself")));
        }
        world_run(w, 10);
        EQUAL(w->node[0].seen.frames, 1);
        EQUAL(w->node[1].seen.frames, 1);
        world_free(w);
    }
}

TEST(who_says_a_members_id_first_gives_way_to_the_member_at_its_address) {
    struct world *w = world_new(2, 5);
    struct peers_member member = member_of(w, 1);
    struct node_info forged = w->node[1].info;
    forged.session++;
    world_kill(w, 1);
    struct link_end *end = world_stranger(w, 0);
    say_hello(w, end, &forged);
    say(w, end, WELCOME, nothing);
    EQUAL(w->node[0].seen.up, 1);
    struct node_info info = world_info_of(1);
    world_start(w, 1, &info);
    peers_members(w->node[0].peers, w->now_ms, &member, 1);
    for (int i = 0; i < 100; i++) { /* the stranger stays lively */
        if (end->open)
            say(w, end, 1, (struct bytes){(const uint8_t *)"\0\0\0\0", 4});
        world_run(w, 100);
    }
    OK(!end->open);
    struct member_id id = world_member(w, 1);
    const struct peer *peer = peers_find(w->node[0].peers, &id);
    OK(peer != NULL && node_info_same_process(&peer->info, &info));
    EQUAL(w->node[1].seen.duplicate + w->node[1].seen.namesake, 0);
    world_free(w);
}

TEST(whoever_says_our_id_without_our_directory_is_turned_away) {
    struct world *w = world_new(2, 5);
    world_pair(w);
    struct node_info forged = w->node[0].info;
    forged.session++;
    for (int proves = 0; proves < 2; proves++) {
        struct link_end *end = world_stranger(w, 0);
        struct hello hello = {.info = forged, .uptime_ms = UINT64_MAX / 2};
        struct buffer out = {0};
        hello_write(&out, &hello);
        peers_received(end->owner, w->now_ms, end->number, buffer_bytes(&out));
        buffer_release(&out);
        if (proves)
            say(w, end, PROOF, bytes_of("12345678"));
        world_run(w, 5000);
        OK(!end->open);
    }
    EQUAL(w->node[0].seen.duplicate + w->node[0].seen.namesake, 0);
    EQUAL(w->node[0].seen.ours, REFUSED_IMPOSTOR);
    EQUAL(w->node[0].seen.down, 0);
    world_free(w);
}

/* Its question passed on to us by somebody between, whose session it is not. */
TEST(a_proof_that_was_asked_of_somebody_else_proves_nothing) {
    struct world *w = world_new(1, 5);
    struct node_info forged = w->node[0].info;
    size_t links[2];
    uint8_t asked[2][8];
    struct bytes said;
    for (int i = 0; i < 2; i++) {
        forged.session++;
        links[i] = w->links;
        say_hello(w, world_stranger(w, 0), &forged);
        REQUIRE(last_said(&w->link[links[i]], &said) == PROVE && said.size == 8);
        memcpy(asked[i], said.data, 8);
    }
    for (int i = 0; i < 2; i++)
        say(w, &w->link[links[!i]].end[1], PROVE, (struct bytes){asked[i], 8});
    for (int i = 0; i < 2; i++) {
        EQUAL(last_said(&w->link[links[!i]], &said), PROOF);
        say(w, &w->link[links[i]].end[1], PROOF, said);
    }
    world_run(w, 5000);
    EQUAL(w->node[0].seen.duplicate, 0);
    EQUAL(w->node[0].seen.ours, REFUSED_IMPOSTOR);
    world_free(w);
}

TEST(a_namesake_is_told_of_only_where_this_node_dialled_it_itself) {
    struct world *w = world_new(1, 5);
    struct address at = world_address(6);
    struct node_info forged = w->node[0].info;
    forged.session++;
    world_run(w, 10);
    peers_learn(w->node[0].peers, w->now_ms, &at, &at);
    peers_tick(w->node[0].peers, w->now_ms);
    struct link_end *end = world_answer_as_stranger(w, 0);
    REQUIRE(end != NULL);
    struct hello hello = {.info = forged, .uptime_ms = 1000};
    struct buffer out = {0};
    hello_write(&out, &hello);
    peers_received(end->owner, w->now_ms, end->number, buffer_bytes(&out));
    buffer_release(&out);
    say(w, end, PROOF, bytes_of("12345678"));
    EQUAL(w->node[0].seen.duplicate, 0);
    EQUAL(w->node[0].seen.namesake, 1);
    world_free(w);
}

static bool looks_at(struct world *w, int n, uint64_t group_id) {
    const struct peers_look *look;
    for (size_t cursor = 0; (look = peers_look(w->node[n].peers, w->now_ms, &cursor)) != NULL;)
        if (look->info.group_id == group_id)
            return true;
    return false;
}

TEST(another_founding_counts_when_it_was_met_at_an_address_that_was_dialled) {
    struct world *w = world_new(2, 5);
    w->node[0].info.group_id = 7;
    peers_update(w->node[0].peers, &w->node[0].info);
    struct node_info forged = world_info_of(1);
    forged.group_id = 9;
    for (int i = 0; i < 2; i++) {
        say_hello(w, world_stranger(w, 0), &forged);
        EQUAL(w->node[0].seen.ours, REFUSED_FOUNDING);
        OK(!looks_at(w, 0, 9));
    }
    world_run(w, 1000); /* node 1 is dialled back, and is of no founding */
    OK(!looks_at(w, 0, 9));
    OK(w->node[0].seen.up == 1);
    w->node[1].info.group_id = 9;
    peers_update(w->node[1].peers, &w->node[1].info);
    world_run(w, 1000);
    OK(looks_at(w, 0, 9));
    world_free(w);
}

TEST(strangers_leave_a_place_for_every_member_and_every_named_peer) {
    struct world *w = world_new(4, 5);
    struct peers_member members[] = {member_of(w, 1), member_of(w, 2)};
    greeted_many(w, 0, PEERS_MAX);
    EQUAL(peers_count(w->node[0].peers), PEERS_MAX);
    peers_members(w->node[0].peers, w->now_ms, members, 2);
    world_learn(w, 0, 3, true);
    world_run(w, 1000);
    for (int n = 1; n < 4; n++)
        EQUAL(w->node[n].seen.up, 1);
    EQUAL(peers_count(w->node[0].peers), PEERS_MAX);
    EQUAL(peers_shed(w->node[0].peers), 3);
    greeted_many(w, 0, 3); /* those that had to go come again, and find no place */
    world_run(w, 100);
    for (int n = 1; n < 4; n++)
        EQUAL(w->node[n].seen.down, 0);
    world_free(w);
}

/* Also one that comes by itself, while the node cannot reach it. */
TEST(a_member_that_comes_by_itself_finds_a_place_among_strangers) {
    struct world *w = world_new(2, 5);
    struct peers_member member = member_of(w, 1);
    peers_members(w->node[0].peers, w->now_ms, &member, 1);
    w->node[1].listening = false;
    world_run(w, 100);
    greeted_many(w, 0, PEERS_MAX);
    for (int i = 0; i < 200; i++)
        world_stranger(w, 0);
    world_learn(w, 1, 0, true);
    world_run(w, 500);
    EQUAL(w->node[1].seen.up, 1);
    world_free(w);
}

TEST(an_address_that_was_only_heard_of_costs_three_dials_and_one_more_each_time_it_is_heard_again) {
    struct world *w = world_new(1, 5);
    struct address at = world_address(6), source = world_address(7);
    peers_learn(w->node[0].peers, w->now_ms, &at, &source);
    world_run(w, 20000);
    EQUAL(w->node[0].seen.dials, 3);
    for (int i = 0; i < 10; i++)
        peers_learn(w->node[0].peers, w->now_ms, &at, &source);
    world_run(w, 3000);
    EQUAL(w->node[0].seen.dials, 4);
    world_run(w, 60000);
    EQUAL(w->node[0].seen.dials, 4);
    struct node_info info = world_info_of(6);
    world_start(w, 6, &info); /* and when somebody is there it is found */
    peers_learn(w->node[0].peers, w->now_ms, &at, &source);
    world_run(w, 1000);
    EQUAL(w->node[0].seen.up, 1);
    world_free(w);
}

static void name_addresses(struct world *w, const struct address *source, int from, int count) {
    for (int i = from; i < from + count; i++) {
        struct address at;
        char text[32];
        snprintf(text, sizeof text, "10.%d.%d.%d:8000", 50 + i / 40000, i / 200 % 200, i % 200 + 1);
        address_parse(text, &at);
        peers_learn(w->node[0].peers, w->now_ms, &at, source);
    }
}

TEST(one_source_has_a_node_dial_few_addresses_and_all_sources_together_not_many) {
    struct world *w = world_new(1, 5);
    struct address source = world_address(7);
    for (int i = 0; i < 10; i++) {
        name_addresses(w, &source, 1000 * i, 1000);
        world_run(w, 1000);
    }
    OK(w->node[0].seen.dials <= 3 * (32 + 2 * 10));
    OK(w->node[0].seen.dials >= 32);
    world_free(w);
    w = world_new(1, 5);
    for (int i = 0; i < 200; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.99.1.%d:8000", i + 1);
        address_parse(text, &source);
        name_addresses(w, &source, 100 * i, 100);
    }
    world_run(w, 1000);
    OK(w->node[0].seen.dials <= 3 * (128 + 10));
    world_free(w);
}

/* Three connections of one process, of which the last waits for the first, and the second takes its place. */
TEST(a_process_never_has_two_connections_that_stand) {
    struct world *w = world_new(1, 5);
    struct node_info info = world_info_of(5);
    memset(info.id, '-', sizeof info.id); /* lower than any: it would decide of crossing dials */
    struct link_end *first = world_stranger(w, 0), *second = world_stranger(w, 0),
                    *third = world_stranger(w, 0);
    say_hello(w, first, &info);
    say_hello(w, second, &info);
    say(w, first, WELCOME, nothing);
    say_hello(w, third, &info);
    say(w, third, WELCOME, nothing);
    say(w, second, WELCOME, nothing);
    EQUAL(peers_count(w->node[0].peers), 1);
    world_free(w);
}

TESTS(TAP(a_process_never_has_two_connections_that_stand), TAP(a_refusal_from_a_stranger_ends_nothing),
      TAP(a_copied_hello_takes_over_no_live_connection),
      TAP(who_says_a_members_id_first_gives_way_to_the_member_at_its_address),
      TAP(whoever_says_our_id_without_our_directory_is_turned_away),
      TAP(a_proof_that_was_asked_of_somebody_else_proves_nothing),
      TAP(a_namesake_is_told_of_only_where_this_node_dialled_it_itself),
      TAP(another_founding_counts_when_it_was_met_at_an_address_that_was_dialled),
      TAP(strangers_leave_a_place_for_every_member_and_every_named_peer),
      TAP(a_member_that_comes_by_itself_finds_a_place_among_strangers),
      TAP(an_address_that_was_only_heard_of_costs_three_dials_and_one_more_each_time_it_is_heard_again),
      TAP(one_source_has_a_node_dial_few_addresses_and_all_sources_together_not_many))
