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

/* Who is connected answers a round. */
static void ask(struct scene *s) {
    for (size_t m = 0; m < s->current.count; m++)
        s->view.answered[m] = s->view.silent_ms[m] == 0;
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
        unsigned pair = cases[i].voters >= 3 && cases[i].voters % 2 == 1 ? 2 : 1;
        EQUAL(configuration_voters(&s.next), cases[i].voters + (cases[i].grows ? pair : 0));
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

TEST(a_voter_long_silent_is_replaced_by_a_learner_in_one_step) {
    struct scene s = scene_of(3, 1, 3);
    silence(&s, 2, ROSTER_SILENT_MS - 1);
    EQUAL(decide(&s), ROSTER_NONE);
    silence(&s, 2, ROSTER_SILENT_MS);
    EQUAL(decide(&s), ROSTER_REPLACE);
    OK(is_about(&s, 3));
    EQUAL(configuration_voters(&s.next), 3);
    EQUAL(role_of(&s.next, 3), MEMBER_VOTER);
    struct member_id silent = id_of(2);
    OK(configuration_was_removed(&s.next, &silent));
    OK(!roster_at_once(&s.current, &s.next, &s.view));
    proceed(&s);
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(nothing_is_called_for_while_a_change_of_the_voters_is_under_way) {
    struct scene s = scene_of(3, 1, 5);
    s.current.members[3].role = MEMBER_INCOMING;
    newcomer(&s, 6);
    EQUAL(decide(&s), ROSTER_NONE);
}

/* What the leader does by itself is safe only where it may be lost to no crash that could be borne before. */
TEST(no_step_of_a_replacement_leaves_fewer_failures_to_be_borne_nor_fewer_voters) {
    for (unsigned voters = 3; voters <= 9; voters++) {
        for (unsigned silent = 1; silent <= (voters - 1) / 2; silent++) {
            struct scene s = scene_of(voters, silent, (uint8_t)voters);
            for (unsigned i = 1; i <= silent; i++)
                silence(&s, i, ROSTER_SILENT_MS);
            int bears = bearable(&s);
            unsigned steps = 0;
            for (; decide(&s) != ROSTER_NONE && steps < 30; steps++) {
                ask(&s);
                OK(roster_safe(&s.current, &s.next, &s.view));
                proceed(&s);
                OK(bearable(&s) >= bears);
                bears = bearable(&s);
                EQUAL(configuration_voters(&s.current), voters);
            }
            EQUAL(steps, silent);
            EQUAL(bearable(&s), (int)voters - (int)(voters / 2 + 1));
        }
    }
}

/* Every set of answers, every change that the roster may call for or somebody may ask for: with what the
 * change needs while it is made, as few may fail as before. */
TEST(a_change_found_safe_is_made_by_those_that_answered_and_needs_nobody_else) {
    for (unsigned voters = 1; voters <= 6; voters++)
        for (unsigned answers = 0; answers < 1u << (voters + 2); answers++) {
            struct scene s = scene_of(voters, 2, 9);
            for (unsigned m = 0; m < voters + 2; m++)
                s.view.answered[m] = answers >> m & 1;
            for (unsigned kind = 0; kind < 4; kind++) {
                s.next = s.current;
                struct member_id last = s.current.members[voters - 1].id;
                if (kind != 3 || voters > 1)
                    if (kind == 2 || kind == 3)
                        configuration_remove(&s.next, &last);
                for (unsigned m = 0; m < s.next.count; m++)
                    if (s.next.members[m].role == MEMBER_LEARNER && kind < 3 &&
                        (kind == 1 || s.next.members[m].id.id[0] == 'a' + voters))
                        s.next.members[m].role = MEMBER_VOTER;
                int old_there = 0, new_there = 0, new_voters = (int)configuration_voters(&s.next);
                bool come_answered = true;
                for (unsigned m = 0; m < voters + 2; m++) {
                    bool before = m < voters, after = role_of(&s.next, m) == MEMBER_VOTER;
                    old_there += before && s.view.answered[m];
                    new_there += after && s.view.answered[m];
                    come_answered = come_answered && (before || !after || s.view.answered[m]);
                }
                bool old_majority = 2 * old_there > (int)voters, new_majority = 2 * new_there > new_voters;
                bool at_once = roster_at_once(&s.current, &s.next, &s.view);
                EQUAL(roster_answered(&s.current, &s.next, &s.view),
                      come_answered && new_majority && (old_majority || at_once));
                if (at_once && old_majority)
                    OK(new_majority || !come_answered || new_voters == 0); /* nobody else is needed */
                if (roster_safe(&s.current, &s.next, &s.view))
                    OK(new_there - (new_voters / 2 + 1) >= old_there - ((int)voters / 2 + 1));
            }
        }
}

TEST(one_voter_that_answers_leaves_by_a_joint_configuration_and_one_that_does_not_at_once) {
    struct scene s = scene_of(3, 0, 3);
    ask(&s);
    struct member_id gone = id_of(2);
    s.next = s.current;
    configuration_remove(&s.next, &gone);
    OK(!roster_at_once(&s.current, &s.next, &s.view));
    OK(roster_answered(&s.current, &s.next, &s.view) && !roster_safe(&s.current, &s.next, &s.view));
    s.view.answered[2] = false;
    OK(roster_at_once(&s.current, &s.next, &s.view) && roster_safe(&s.current, &s.next, &s.view));
    s = scene_of(2, 1, 5); /* a third comes at once, though one of two is gone; a second does not */
    s.view.answered[0] = s.view.answered[2] = true;
    EQUAL(decide(&s), ROSTER_PROMOTE);
    OK(roster_at_once(&s.current, &s.next, &s.view) && roster_safe(&s.current, &s.next, &s.view));
    s = scene_of(1, 1, 5);
    ask(&s);
    EQUAL(decide(&s), ROSTER_PROMOTE);
    OK(!roster_at_once(&s.current, &s.next, &s.view) && roster_safe(&s.current, &s.next, &s.view));
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
    ask(&s);
    s.view.answered[3] = false; /* away for a moment */
    EQUAL(decide(&s), ROSTER_REPLACE);
    OK(roster_safe(&s.current, &s.next, &s.view));
    s.view.answered[4] = false;
    OK(!roster_safe(&s.current, &s.next, &s.view));
    s.view.answered[4] = true;
    s.view.answered[5] = false; /* bug 59: the learner itself */
    OK(!roster_safe(&s.current, &s.next, &s.view));
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

TEST(leaving_by_hand_is_refused_where_no_majority_of_the_others_answers) {
    struct scene s = scene_of(3, 1, 3);
    struct member_id leader = id_of(0), other = id_of(1), learner = id_of(3), unknown = id_of(7);
    EQUAL(roster_leave(&s.current, &s.view, other.id, &s.next), ROSTER_NO_MAJORITY); /* bug 58: connected */
    ask(&s);
    EQUAL(roster_leave(&s.current, &s.view, other.id, &s.next), ROSTER_DONE);
    EQUAL(configuration_voters(&s.next), 2);
    OK(configuration_was_removed(&s.next, &other));
    EQUAL(roster_leave(&s.current, &s.view, leader.id, &s.next), ROSTER_DONE);
    EQUAL(roster_leave(&s.current, &s.view, unknown.id, &s.next), ROSTER_UNKNOWN);
    s.view.answered[2] = false;
    EQUAL(roster_leave(&s.current, &s.view, other.id, &s.next), ROSTER_NO_MAJORITY);
    struct member_id silent = id_of(2);
    EQUAL(roster_leave(&s.current, &s.view, silent.id, &s.next), ROSTER_DONE); /* the one that is away */
    EQUAL(roster_leave(&s.current, &s.view, learner.id, &s.next), ROSTER_DONE);
    s = scene_of(1, 1, 3);
    EQUAL(roster_leave(&s.current, &s.view, leader.id, &s.next), ROSTER_LAST_VOTER);
    s = scene_of(2, 0, 3); /* one of two is gone: the other goes on alone, by hand */
    s.view.answered[0] = true;
    EQUAL(roster_leave(&s.current, &s.view, other.id, &s.next), ROSTER_DONE);
    OK(roster_at_once(&s.current, &s.next, &s.view));
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
      TAP(a_voter_long_silent_is_replaced_by_a_learner_in_one_step),
      TAP(nothing_is_called_for_while_a_change_of_the_voters_is_under_way),
      TAP(a_change_found_safe_is_made_by_those_that_answered_and_needs_nobody_else),
      TAP(one_voter_that_answers_leaves_by_a_joint_configuration_and_one_that_does_not_at_once),
      TAP(no_step_of_a_replacement_leaves_fewer_failures_to_be_borne_nor_fewer_voters),
      TAP(the_quorum_never_shrinks_by_silence_alone),
      TAP(a_silent_voter_stays_while_its_replacement_is_not_caught_up_or_the_rest_is_no_majority),
      TAP(a_silent_learner_replaces_nobody_and_is_not_removed_while_there_is_room),
      TAP(a_learner_long_silent_makes_room_for_a_newcomer_in_a_full_configuration),
      TAP(a_learner_that_does_not_come_back_leaves_the_list_and_may_come_back_later_by_itself),
      TAP(a_member_that_is_connected_from_another_address_is_followed_there_unless_one_just_was),
      TAP(who_was_removed_is_no_newcomer_but_may_be_added_by_hand_and_is_then_forgotten_as_removed),
      TAP(joining_by_hand_is_refused_to_members_strangers_and_where_there_is_no_room),
      TAP(leaving_by_hand_is_refused_where_no_majority_of_the_others_answers),
      TAP(former_members_are_remembered_the_latest_of_them))
