#include "replication/configuration.h"
#include "tests/tap.h"

static struct configuration sample(void) {
    struct configuration c = {.group_id = 0x1122334455667788,
                              .group = 9,
                              .founded_ms = 1763737200123,
                              .mode = ACK_ALL,
                              .voters_max = 5,
                              .count = 3};
    static const char *const ids[] = {"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"};
    for (size_t i = 0; i < 3; i++) {
        memcpy(c.members[i].id.id, ids[i], NODE_ID_SIZE);
        c.members[i].id.incarnation = 100 + i;
        c.members[i].role = i == 2 ? MEMBER_LEARNER : MEMBER_VOTER;
        address_parse("127.0.0.1:8000", &c.members[i].peer);
        address_parse("[::1]:9000", &c.members[i].api);
    }
    c.removed_count = 2;
    memset(c.removed[0].id, 'r', NODE_ID_SIZE);
    c.removed[1] = c.removed[0];
    c.removed[1].incarnation = 7;
    return c;
}

/* Decodes from an allocation of exactly that size. */
static bool decode(struct bytes b, struct configuration *out) {
    uint8_t *exact = malloc(b.size + (b.size == 0));
    if (b.size > 0)
        memcpy(exact, b.data, b.size);
    bool ok = configuration_decode((struct bytes){exact, b.size}, out);
    free(exact);
    return ok;
}

static bool encodes_to_something_decodable(const struct configuration *c) {
    struct buffer b = {0};
    struct configuration out;
    configuration_encode(&b, c);
    bool ok = decode(buffer_bytes(&b), &out);
    buffer_release(&b);
    return ok;
}

TEST(a_configuration_comes_back_as_it_was) {
    struct configuration c = sample(), out;
    struct buffer b = {0};
    configuration_encode(&b, &c);
    REQUIRE(decode(buffer_bytes(&b), &out));
    OK(out.group_id == c.group_id && out.group == 9 && out.mode == ACK_ALL && out.voters_max == 5);
    EQUAL(out.founded_ms, 1763737200123);
    EQUAL(out.count, 3);
    for (size_t i = 0; i < 3; i++) {
        OK(member_id_equal(&out.members[i].id, &c.members[i].id));
        EQUAL(out.members[i].role, c.members[i].role);
        OK(address_equal(&out.members[i].peer, &c.members[i].peer));
        OK(address_equal(&out.members[i].api, &c.members[i].api));
    }
    EQUAL(configuration_voters(&out), 2);
    EQUAL(out.removed_count, 2);
    OK(member_id_equal(&out.removed[1], &c.removed[1]));
    buffer_release(&b);
}

TEST(members_are_found_by_id_and_incarnation_or_by_name) {
    struct configuration c = sample();
    struct member_id id = c.members[1].id;
    OK(configuration_find(&c, &id) == &c.members[1]);
    id.incarnation++;
    OK(configuration_find(&c, &id) == NULL);
    OK(configuration_find_name(&c, id.id) == &c.members[1]);
    id.id[0] = 'x';
    OK(configuration_find_name(&c, id.id) == NULL);
}

TEST(no_prefix_of_a_configuration_is_one_and_nothing_may_follow_it) {
    struct configuration c = sample(), out;
    struct buffer b = {0};
    configuration_encode(&b, &c);
    size_t size = buffer_size(&b);
    for (size_t i = 0; i < size; i++)
        OK(!decode((struct bytes){b.data, i}, &out));
    write_u8(&b, 0);
    OK(!decode(buffer_bytes(&b), &out));
    buffer_release(&b);
}

TEST(a_flipped_bit_gives_no_configuration_or_a_valid_one) {
    struct configuration c = sample(), out;
    struct buffer b = {0};
    configuration_encode(&b, &c);
    for (size_t bit = 0; bit < 8 * buffer_size(&b); bit++) {
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (decode(buffer_bytes(&b), &out)) {
            OK(out.count <= MEMBERS_MAX && configuration_voters(&out) >= 1 && out.mode <= ACK_ALL);
            OK(out.voters_max >= 1 && out.voters_max <= VOTERS_MAX);
            OK(encodes_to_something_decodable(&out));
        }
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buffer_release(&b);
}

TEST(a_repeated_id_no_voter_an_unknown_mode_or_role_and_too_many_are_refused) {
    struct configuration c = sample();
    OK(encodes_to_something_decodable(&c));
    memcpy(c.members[2].id.id, c.members[0].id.id, NODE_ID_SIZE); /* another incarnation changes nothing */
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.members[0].role = c.members[1].role = MEMBER_LEARNER;
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.count = 0;
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.mode = (enum ack_mode)3;
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.members[1].role = (enum member_role)4;
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.voters_max = VOTERS_MAX + 1;
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.members[1].id.id[3] = '/';
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.removed[1] = c.removed[0];
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    c.removed[1] = c.members[0].id;
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    for (unsigned role = 0; role < 8; role++) {
        c.members[1].role = (enum member_role)role;
        EQUAL(encodes_to_something_decodable(&c), role != 4 && role < 6);
    }
    c = sample(); /* nobody would vote afterwards, nobody voted before */
    c.members[0].role = MEMBER_OUTGOING;
    c.members[1].role = MEMBER_LEAVING;
    OK(!encodes_to_something_decodable(&c));
    c.members[0].role = c.members[1].role = MEMBER_INCOMING;
    OK(!encodes_to_something_decodable(&c));
    c = sample();
    for (; c.count < VOTERS_MAX + 1; c.count++) {
        c.members[c.count] = c.members[0];
        c.members[c.count].id.id[0] = (uint8_t)('d' + c.count);
    }
    OK(encodes_to_something_decodable(&c)); /* one of them is a learner */
    c.members[2].role = MEMBER_VOTER;
    OK(!encodes_to_something_decodable(&c));
    c.members[3].role = MEMBER_LEAVING; /* before and after there are nine */
    c.members[2].role = MEMBER_INCOMING;
    OK(encodes_to_something_decodable(&c));
}

static void same(struct tap *tap, const struct configuration *a, const struct configuration *b) {
    EQUAL(a->count, b->count);
    for (size_t i = 0; i < b->count; i++) {
        const struct member *there = configuration_find(a, &b->members[i].id);
        OK(there != NULL && there->role == b->members[i].role);
    }
    OK(configuration_same_voters(a, b) && configuration_same_voters(b, a));
}

TEST(between_two_sets_of_voters_stands_a_joint_configuration_that_leads_to_either) {
    struct configuration from = sample(), to = sample(), joint, after;
    to.members[0].role = MEMBER_LEARNER; /* the first steps back, the second goes, the third votes */
    to.members[2].role = MEMBER_VOTER;
    struct member_id second = to.members[1].id;
    configuration_remove(&to, &second);
    OK(!configuration_same_voters(&from, &to) && !configuration_same_voters(&to, &from));
    configuration_towards(&from, &to, &joint);
    OK(configuration_is_joint(&joint) && encodes_to_something_decodable(&joint));
    EQUAL(configuration_voters_in(&joint, VOTERS_OLD), 2);
    EQUAL(configuration_voters_in(&joint, VOTERS_NEW), 1);
    EQUAL(configuration_find(&joint, &second)->role, MEMBER_LEAVING);
    OK(!configuration_was_removed(&joint, &second));
    configuration_after(&joint, VOTERS_NEW, &after);
    same(tap, &after, &to);
    OK(configuration_was_removed(&after, &second));
    configuration_after(&joint, VOTERS_OLD, &after);
    same(tap, &after, &from);
    OK(!configuration_was_removed(&after, &second));
}

TEST(a_change_that_leaves_the_voters_needs_no_joint_configuration) {
    struct configuration from = sample(), to = sample(), next;
    struct member_id learner = to.members[2].id;
    to.members[0].peer.port++;
    configuration_remove(&to, &learner);
    OK(configuration_same_voters(&from, &to));
    configuration_towards(&from, &to, &next);
    OK(!configuration_is_joint(&next));
    same(tap, &next, &to);
    OK(configuration_was_removed(&next, &learner));
}

TESTS(TAP(between_two_sets_of_voters_stands_a_joint_configuration_that_leads_to_either),
      TAP(a_change_that_leaves_the_voters_needs_no_joint_configuration),
      TAP(a_configuration_comes_back_as_it_was), TAP(members_are_found_by_id_and_incarnation_or_by_name),
      TAP(no_prefix_of_a_configuration_is_one_and_nothing_may_follow_it),
      TAP(a_flipped_bit_gives_no_configuration_or_a_valid_one),
      TAP(a_repeated_id_no_voter_an_unknown_mode_or_role_and_too_many_are_refused))
