#include "replication/roster.h"
#include "tests/tap.h"

/* A group of which node 0 leads, and what it sees. */
struct scene {
    struct configuration current, next;
    struct roster_view view;
    struct member_id about;
};

static struct member_id id_of(unsigned number) {
    struct member_id id = {.incarnation = 1};
    memset(id.id, (int)('a' + number), NODE_ID_SIZE);
    return id;
}

static struct address address_of(unsigned number) {
    return (struct address){.family = 4, .ip = {127, 0, 0, 1}, .port = (uint16_t)(8000 + number)};
}

/* Members are connected and caught up. */
static struct scene scene_of(unsigned voters, unsigned learners, uint8_t voters_max) {
    struct scene s = {.current = {.voters_max = voters_max}};
    s.view.leader = id_of(0);
    for (unsigned i = 0; i < voters + learners; i++) {
        s.current.members[s.current.count++] = (struct member){
            .id = id_of(i), .role = i < voters ? MEMBER_VOTER : MEMBER_LEARNER, .peer = address_of(i)};
        s.view.nodes[s.view.count++] =
            (struct roster_node){.id = id_of(i), .peer = address_of(i), .caught_up = true};
    }
    return s;
}

static struct roster_node *newcomer(struct scene *s, unsigned number) {
    s->view.nodes[s->view.count] =
        (struct roster_node){.id = id_of(number), .peer = address_of(number), .newcomer = true};
    return &s->view.nodes[s->view.count++];
}

static enum roster_change decide(struct scene *s) {
    return roster_next(&s->current, &s->view, &s->next, &s->about);
}

/* Member `number` has no connection, and was last heard so long ago. */
static void silence(struct scene *s, unsigned number, uint64_t ms) {
    size_t kept = 0;
    for (size_t i = 0; i < s->view.count; i++)
        if (s->view.nodes[i].id.id[0] != 'a' + number)
            s->view.nodes[kept++] = s->view.nodes[i];
    s->view.count = kept;
    for (size_t m = 0; m < s->current.count; m++)
        if (s->current.members[m].id.id[0] == 'a' + number)
            s->view.silent_ms[m] = ms;
}

/* The change is made: silences move with their members. */
static void proceed(struct scene *s) {
    struct roster_view before = s->view;
    for (size_t m = 0; m < s->next.count; m++)
        for (size_t i = 0; i < s->current.count; i++)
            if (member_id_equal(&s->next.members[m].id, &s->current.members[i].id))
                s->view.silent_ms[m] = before.silent_ms[i];
    s->current = s->next;
}

static bool is_about(const struct scene *s, unsigned number) {
    struct member_id id = id_of(number);
    return member_id_equal(&s->about, &id);
}

static enum member_role role_of(const struct configuration *configuration, unsigned number) {
    struct member_id id = id_of(number);
    const struct member *member = configuration_find(configuration, &id);
    return member != NULL ? member->role : MEMBER_LEARNER;
}

/* Failures that the group can bear: those heard beyond a majority. */
static int bearable(const struct scene *s) {
    int voters = 0, heard = 0;
    for (size_t m = 0; m < s->current.count; m++) {
        voters += s->current.members[m].role == MEMBER_VOTER;
        heard += s->current.members[m].role == MEMBER_VOTER && s->view.silent_ms[m] == 0;
    }
    return heard - (voters / 2 + 1);
}

TEST(a_newcomer_is_added_as_a_learner_with_its_addresses) {
    struct scene s = scene_of(1, 0, 5);
    newcomer(&s, 4);
    EQUAL(decide(&s), ROSTER_ADD);
    struct member_id id = id_of(4);
    const struct member *member = configuration_find(&s.next, &id);
    REQUIRE(member != NULL);
    EQUAL(member->role, MEMBER_LEARNER);
    EQUAL(member->peer.port, 8004);
    OK(member_id_equal(&s.about, &id));
    EQUAL(s.next.count, 2);
}

TEST(a_connected_stranger_that_belongs_elsewhere_is_not_added) {
    struct scene s = scene_of(1, 0, 5);
    newcomer(&s, 4)->newcomer = false;
    EQUAL(decide(&s), ROSTER_NONE);
    EQUAL(s.next.count, 1);
}

TEST(a_full_configuration_takes_nobody) {
    struct scene s = scene_of(1, 0, 1);
    for (unsigned i = 1; i < MEMBERS_MAX; i++) {
        s.current.members[i] = (struct member){.id = id_of(i), .role = MEMBER_LEARNER};
        s.current.members[i].id.id[0] = 'Z';
    }
    s.current.count = MEMBERS_MAX;
    newcomer(&s, 4);
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(voters_grow_1_2_3_5_7_9_as_far_as_allowed) {
    static const struct {
        unsigned voters, learners, voters_max;
        bool grows;
    } cases[] = {
        {1, 1, 5, true},  {2, 1, 5, true},  {3, 1, 5, false}, {3, 2, 5, true},  {4, 1, 5, true},
        {5, 2, 5, false}, {5, 1, 9, false}, {5, 2, 9, true},  {6, 1, 9, true},  {7, 2, 9, true},
        {1, 1, 1, false}, {2, 1, 2, false}, {3, 2, 4, false}, {3, 2, 3, false}, {4, 1, 4, false},
        {1, 0, 5, false}, {8, 1, 9, true},  {9, 1, 9, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scene s = scene_of(cases[i].voters, cases[i].learners, (uint8_t)cases[i].voters_max);
        EQUAL(decide(&s), cases[i].grows ? ROSTER_PROMOTE : ROSTER_NONE);
        EQUAL(configuration_voters(&s.next), cases[i].voters + cases[i].grows);
    }
}

TEST(only_a_learner_that_has_caught_up_is_promoted) {
    struct scene s = scene_of(1, 2, 5);
    s.view.nodes[1].caught_up = false;
    EQUAL(decide(&s), ROSTER_PROMOTE);
    struct member_id second = id_of(2);
    OK(member_id_equal(&s.about, &second));
    s = scene_of(3, 2, 5);
    s.view.nodes[4].caught_up = false;
    EQUAL(decide(&s), ROSTER_NONE);
    s = scene_of(3, 2, 5);
    s.view.count--; /* the other one is not connected */
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(a_member_whose_id_returns_under_another_incarnation_is_removed_then_added_again) {
    struct scene s = scene_of(3, 0, 5);
    s.view.nodes[2] = (struct roster_node){.id = id_of(2), .newcomer = true};
    s.view.nodes[2].id.incarnation = 2;
    EQUAL(decide(&s), ROSTER_REMOVE);
    struct member_id old = id_of(2);
    OK(member_id_equal(&s.about, &old));
    EQUAL(s.next.count, 2);
    OK(configuration_find_name(&s.next, old.id) == NULL);
    proceed(&s);
    EQUAL(decide(&s), ROSTER_ADD);
    EQUAL(s.about.incarnation, 2);
}

TEST(a_member_that_is_connected_itself_is_not_gone) {
    struct scene s = scene_of(3, 0, 5);
    newcomer(&s, 2)->id.incarnation = 2;
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(a_newcomer_without_a_disk_replaces_the_member_at_its_address) {
    struct scene s = scene_of(3, 0, 5);
    s.view.nodes[2] = (struct roster_node){.id = id_of(7), .peer = address_of(2), .newcomer = true};
    EQUAL(decide(&s), ROSTER_ADD); /* with a disk it is somebody else */
    s.view.nodes[2].volatile_ = true;
    EQUAL(decide(&s), ROSTER_REMOVE);
    struct member_id old = id_of(2);
    OK(member_id_equal(&s.about, &old));
}

TEST(the_leader_is_never_removed) {
    struct scene s = scene_of(2, 0, 5);
    newcomer(&s, 0)->id.incarnation = 2;
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(a_voter_long_silent_is_replaced_by_a_learner_that_votes_first) {
    struct scene s = scene_of(3, 1, 3);
    silence(&s, 2, ROSTER_SILENT_MS - 1);
    EQUAL(decide(&s), ROSTER_NONE);
    silence(&s, 2, ROSTER_SILENT_MS);
    EQUAL(decide(&s), ROSTER_REPLACE);
    OK(is_about(&s, 3));
    EQUAL(configuration_voters(&s.next), 4);
    proceed(&s);
    EQUAL(decide(&s), ROSTER_REMOVE);
    OK(is_about(&s, 2));
    EQUAL(configuration_voters(&s.next), 3);
    struct member_id silent = id_of(2);
    OK(configuration_was_removed(&s.next, &silent));
    proceed(&s);
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(no_step_of_a_replacement_leaves_fewer_failures_to_be_borne_nor_fewer_voters) {
    for (unsigned voters = 3; voters <= 9; voters++) {
        for (unsigned silent = 1; silent <= (voters - 1) / 2; silent++) {
            struct scene s = scene_of(voters, silent, (uint8_t)voters);
            for (unsigned i = 1; i <= silent; i++)
                silence(&s, i, ROSTER_SILENT_MS);
            int bears = bearable(&s);
            unsigned steps = 0;
            for (; decide(&s) != ROSTER_NONE && steps < 30; steps++) {
                proceed(&s);
                OK(bearable(&s) >= bears);
                bears = bearable(&s);
                OK(configuration_voters(&s.current) >= voters);
            }
            EQUAL(steps, 2 * silent);
            EQUAL(configuration_voters(&s.current), voters);
            EQUAL(bearable(&s), (int)voters - (int)(voters / 2 + 1));
        }
    }
}

TEST(the_quorum_never_shrinks_by_silence_alone) {
    for (unsigned voters = 1; voters <= 9; voters++) {
        struct scene s = scene_of(voters, 0, 9);
        for (unsigned i = 1; i < voters; i++)
            silence(&s, i, 1000 * ROSTER_SILENT_MS);
        EQUAL(decide(&s), ROSTER_NONE);
    }
}

TEST(a_silent_voter_stays_while_its_replacement_is_not_caught_up_or_the_rest_is_no_majority) {
    struct scene s = scene_of(3, 1, 3);
    silence(&s, 2, ROSTER_SILENT_MS);
    s.view.nodes[2].caught_up = false;
    EQUAL(decide(&s), ROSTER_NONE);
    s = scene_of(5, 1, 5);
    silence(&s, 2, ROSTER_SILENT_MS);
    silence(&s, 3, ROSTER_HEARD_MS); /* away for a moment: 4 of 6 are heard */
    EQUAL(decide(&s), ROSTER_REPLACE);
    silence(&s, 4, ROSTER_HEARD_MS);
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(a_silent_learner_replaces_nobody_and_is_not_removed_while_there_is_room) {
    struct scene s = scene_of(3, 1, 3);
    silence(&s, 2, ROSTER_SILENT_MS);
    silence(&s, 3, ROSTER_SILENT_MS);
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(a_learner_long_silent_makes_room_for_a_newcomer_in_a_full_configuration) {
    struct scene s = scene_of(1, 0, 1);
    for (unsigned i = 1; i < MEMBERS_MAX; i++) {
        s.current.members[i] = (struct member){.id = id_of(0), .role = MEMBER_LEARNER};
        s.current.members[i].id.id[0] = (uint8_t)('A' + i % 26);
        s.current.members[i].id.id[1] = (uint8_t)('A' + i);
    }
    s.current.count = MEMBERS_MAX;
    newcomer(&s, 4);
    EQUAL(decide(&s), ROSTER_NONE);
    s.view.silent_ms[7] = ROSTER_SILENT_MS;
    struct member_id silent = s.current.members[7].id;
    EQUAL(decide(&s), ROSTER_DROP);
    OK(member_id_equal(&s.about, &silent));
    proceed(&s);
    EQUAL(decide(&s), ROSTER_ADD);
}

TEST(a_learner_that_does_not_come_back_leaves_the_list_and_may_come_back_later_by_itself) {
    struct scene s = scene_of(3, 2, 3);
    silence(&s, 3, ROSTER_DROP_MS - 1);
    silence(&s, 2, ROSTER_DROP_MS); /* a voter: there is a learner to replace it */
    EQUAL(decide(&s), ROSTER_REPLACE);
    s = scene_of(3, 2, 3);
    silence(&s, 4, ROSTER_DROP_MS - 1);
    EQUAL(decide(&s), ROSTER_NONE);
    silence(&s, 4, ROSTER_DROP_MS);
    EQUAL(decide(&s), ROSTER_DROP);
    OK(is_about(&s, 4));
    struct member_id gone = id_of(4);
    OK(configuration_find(&s.next, &gone) == NULL && !configuration_was_removed(&s.next, &gone));
    proceed(&s);
    EQUAL(decide(&s), ROSTER_NONE);
    newcomer(&s, 4); /* roster_view.c: neither a member nor a former one */
    EQUAL(decide(&s), ROSTER_ADD);
}

TEST(a_voter_that_is_back_when_its_place_was_taken_becomes_a_learner) {
    struct scene s = scene_of(3, 1, 3), back = scene_of(3, 1, 3);
    silence(&s, 2, ROSTER_SILENT_MS);
    EQUAL(decide(&s), ROSTER_REPLACE);
    proceed(&s);
    s.view = back.view;
    EQUAL(decide(&s), ROSTER_DEMOTE);
    EQUAL(role_of(&s.next, 2), MEMBER_LEARNER);
    EQUAL(configuration_voters(&s.next), 3);
    EQUAL(s.next.count, 4);
    proceed(&s);
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(a_new_leader_gives_a_voter_whose_place_was_taken_a_moment_to_be_heard) {
    struct scene s = scene_of(3, 1, 3);
    silence(&s, 2, ROSTER_SILENT_MS);
    EQUAL(decide(&s), ROSTER_REPLACE);
    proceed(&s);
    silence(&s, 2, 0); /* no connection, and the leader leads since now */
    EQUAL(decide(&s), ROSTER_NONE);
    silence(&s, 2, ROSTER_HEARD_MS);
    EQUAL(decide(&s), ROSTER_REMOVE);
}

TEST(a_voter_whose_place_was_taken_gives_it_up_also_where_it_leads_by_then) {
    struct scene s = scene_of(3, 1, 3);
    silence(&s, 2, ROSTER_SILENT_MS);
    EQUAL(decide(&s), ROSTER_REPLACE);
    s = (struct scene){.current = s.next, .view = scene_of(3, 1, 3).view};
    s.view.leader = id_of(2);
    EQUAL(decide(&s), ROSTER_DEMOTE);
    OK(is_about(&s, 2));
}

TEST(a_member_that_is_connected_from_another_address_is_followed_there_unless_one_just_was) {
    struct scene s = scene_of(3, 0, 5);
    s.view.nodes[1].peer.port = 8100;
    EQUAL(decide(&s), ROSTER_NONE);
    s.view.may_move = true;
    EQUAL(decide(&s), ROSTER_MOVE);
    OK(is_about(&s, 1));
    EQUAL(s.next.members[1].peer.port, 8100);
    EQUAL(s.next.members[1].role, MEMBER_VOTER);
    proceed(&s);
    s.view.nodes[0].api.port = 9100; /* the leader itself, which was elsewhere before its restart */
    EQUAL(decide(&s), ROSTER_MOVE);
    OK(is_about(&s, 0));
}

TEST(who_was_removed_is_no_newcomer_but_may_be_added_by_hand_and_is_then_forgotten_as_removed) {
    struct scene s = scene_of(3, 0, 5);
    struct member_id gone = id_of(2);
    configuration_remove(&s.current, &gone);
    EQUAL(s.current.count, 2);
    struct roster_node back = {.id = gone, .peer = address_of(2)};
    EQUAL(roster_join(&s.current, &back, true, &s.next), ROSTER_DONE);
    EQUAL(role_of(&s.next, 2), MEMBER_LEARNER);
    OK(configuration_find(&s.next, &gone) != NULL);
    OK(!configuration_was_removed(&s.next, &gone));
}

TEST(joining_by_hand_is_refused_to_members_strangers_and_where_there_is_no_room) {
    struct scene s = scene_of(3, 0, 5);
    struct roster_node node = {.id = id_of(2)};
    EQUAL(roster_join(&s.current, &node, true, &s.next), ROSTER_MEMBER);
    node.id.incarnation = 2;
    EQUAL(roster_join(&s.current, &node, true, &s.next), ROSTER_MEMBER);
    node.id = id_of(5);
    EQUAL(roster_join(&s.current, &node, false, &s.next), ROSTER_ELSEWHERE);
    s.current.count = MEMBERS_MAX;
    EQUAL(roster_join(&s.current, &node, true, &s.next), ROSTER_FULL);
}

TEST(leaving_by_hand_is_refused_where_no_majority_of_the_others_is_heard) {
    struct scene s = scene_of(3, 1, 3);
    struct member_id leader = id_of(0), other = id_of(1), learner = id_of(3), unknown = id_of(7);
    EQUAL(roster_leave(&s.current, &s.view, other.id, &s.next), ROSTER_DONE);
    EQUAL(configuration_voters(&s.next), 2);
    OK(configuration_was_removed(&s.next, &other));
    EQUAL(roster_leave(&s.current, &s.view, leader.id, &s.next), ROSTER_DONE);
    EQUAL(roster_leave(&s.current, &s.view, unknown.id, &s.next), ROSTER_UNKNOWN);
    silence(&s, 2, ROSTER_HEARD_MS);
    EQUAL(roster_leave(&s.current, &s.view, other.id, &s.next), ROSTER_NO_MAJORITY);
    struct member_id silent = id_of(2);
    EQUAL(roster_leave(&s.current, &s.view, silent.id, &s.next), ROSTER_DONE); /* the one that is away */
    EQUAL(roster_leave(&s.current, &s.view, learner.id, &s.next), ROSTER_DONE);
    s = scene_of(1, 1, 3);
    EQUAL(roster_leave(&s.current, &s.view, leader.id, &s.next), ROSTER_LAST_VOTER);
}

TEST(former_members_are_remembered_the_latest_of_them) {
    struct configuration c = {.voters_max = 5};
    struct member_id first = {.incarnation = 1}, id;
    memset(first.id, 'x', NODE_ID_SIZE);
    for (unsigned i = 0; i < REMOVED_MAX + 1; i++) {
        id = first;
        id.incarnation += i;
        configuration_add(&c, &id, &(struct address){0}, &(struct address){0});
        configuration_remove(&c, &id);
    }
    EQUAL(c.removed_count, REMOVED_MAX);
    OK(!configuration_was_removed(&c, &first));
    first.incarnation++;
    OK(configuration_was_removed(&c, &first) && configuration_was_removed(&c, &id));
}

TESTS(TAP(a_newcomer_is_added_as_a_learner_with_its_addresses),
      TAP(a_connected_stranger_that_belongs_elsewhere_is_not_added), TAP(a_full_configuration_takes_nobody),
      TAP(voters_grow_1_2_3_5_7_9_as_far_as_allowed), TAP(only_a_learner_that_has_caught_up_is_promoted),
      TAP(a_member_whose_id_returns_under_another_incarnation_is_removed_then_added_again),
      TAP(a_member_that_is_connected_itself_is_not_gone),
      TAP(a_newcomer_without_a_disk_replaces_the_member_at_its_address), TAP(the_leader_is_never_removed),
      TAP(a_voter_long_silent_is_replaced_by_a_learner_that_votes_first),
      TAP(no_step_of_a_replacement_leaves_fewer_failures_to_be_borne_nor_fewer_voters),
      TAP(the_quorum_never_shrinks_by_silence_alone),
      TAP(a_silent_voter_stays_while_its_replacement_is_not_caught_up_or_the_rest_is_no_majority),
      TAP(a_silent_learner_replaces_nobody_and_is_not_removed_while_there_is_room),
      TAP(a_learner_long_silent_makes_room_for_a_newcomer_in_a_full_configuration),
      TAP(a_learner_that_does_not_come_back_leaves_the_list_and_may_come_back_later_by_itself),
      TAP(a_voter_that_is_back_when_its_place_was_taken_becomes_a_learner),
      TAP(a_new_leader_gives_a_voter_whose_place_was_taken_a_moment_to_be_heard),
      TAP(a_voter_whose_place_was_taken_gives_it_up_also_where_it_leads_by_then),
      TAP(a_member_that_is_connected_from_another_address_is_followed_there_unless_one_just_was),
      TAP(who_was_removed_is_no_newcomer_but_may_be_added_by_hand_and_is_then_forgotten_as_removed),
      TAP(joining_by_hand_is_refused_to_members_strangers_and_where_there_is_no_room),
      TAP(leaving_by_hand_is_refused_where_no_majority_of_the_others_is_heard),
      TAP(former_members_are_remembered_the_latest_of_them))
