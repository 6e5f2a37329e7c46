#include "replication/roster.h"
#include "tests/tap.h"

#define NODES 10

/* A group of which node 0 leads, and what it sees. */
struct scene {
    struct configuration current, next;
    struct roster_node nodes[NODES];
    size_t count;
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
    for (unsigned i = 0; i < voters + learners; i++) {
        s.current.members[s.current.count++] = (struct member){
            .id = id_of(i), .role = i < voters ? MEMBER_VOTER : MEMBER_LEARNER, .peer = address_of(i)};
        if (i > 0)
            s.nodes[s.count++] =
                (struct roster_node){.id = id_of(i), .peer = address_of(i), .caught_up = true};
    }
    return s;
}

static struct roster_node *newcomer(struct scene *s, unsigned number) {
    s->nodes[s->count] =
        (struct roster_node){.id = id_of(number), .peer = address_of(number), .newcomer = true};
    return &s->nodes[s->count++];
}

static enum roster_change decide(struct scene *s) {
    return roster_next(&s->current, &s->current.members[0].id, s->nodes, s->count, &s->next, &s->about);
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
    s.nodes[0].caught_up = false;
    EQUAL(decide(&s), ROSTER_PROMOTE);
    struct member_id second = id_of(2);
    OK(member_id_equal(&s.about, &second));
    s = scene_of(3, 2, 5);
    s.nodes[3].caught_up = false;
    EQUAL(decide(&s), ROSTER_NONE);
    s = scene_of(3, 2, 5);
    s.count--; /* the other one is not connected */
    EQUAL(decide(&s), ROSTER_NONE);
}

TEST(a_member_whose_id_returns_under_another_incarnation_is_removed_then_added_again) {
    struct scene s = scene_of(3, 0, 5);
    s.nodes[1] = (struct roster_node){.id = id_of(2), .newcomer = true};
    s.nodes[1].id.incarnation = 2;
    EQUAL(decide(&s), ROSTER_REMOVE);
    struct member_id old = id_of(2);
    OK(member_id_equal(&s.about, &old));
    EQUAL(s.next.count, 2);
    OK(configuration_find_name(&s.next, old.id) == NULL);
    s.current = s.next;
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
    s.nodes[1] = (struct roster_node){.id = id_of(7), .peer = address_of(2), .newcomer = true};
    EQUAL(decide(&s), ROSTER_ADD); /* with a disk it is somebody else */
    s.nodes[1].volatile_ = true;
    EQUAL(decide(&s), ROSTER_REMOVE);
    struct member_id old = id_of(2);
    OK(member_id_equal(&s.about, &old));
}

TEST(the_leader_is_never_removed) {
    struct scene s = scene_of(2, 0, 5);
    newcomer(&s, 0)->id.incarnation = 2;
    EQUAL(decide(&s), ROSTER_NONE);
}

TESTS(TAP(a_newcomer_is_added_as_a_learner_with_its_addresses),
      TAP(a_connected_stranger_that_belongs_elsewhere_is_not_added), TAP(a_full_configuration_takes_nobody),
      TAP(voters_grow_1_2_3_5_7_9_as_far_as_allowed), TAP(only_a_learner_that_has_caught_up_is_promoted),
      TAP(a_member_whose_id_returns_under_another_incarnation_is_removed_then_added_again),
      TAP(a_member_that_is_connected_itself_is_not_gone),
      TAP(a_newcomer_without_a_disk_replaces_the_member_at_its_address), TAP(the_leader_is_never_removed))
