#include "cluster/groups.h"

#include "tests/tap.h"

static struct groups ring_of(uint64_t epoch, const uint32_t *numbers, size_t count) {
    struct groups groups = {.ring_id = 77, .epoch = epoch};
    for (size_t i = 0; i < count; i++)
        groups_add(&groups, numbers[i], 1000 + numbers[i]);
    return groups;
}

static struct groups three(uint64_t epoch) {
    return ring_of(epoch, (const uint32_t[]){5, 0, 2}, 3);
}

static struct groups alone(void) {
    return ring_of(1, (const uint32_t[]){0}, 1);
}

static bool apply(struct groups_state *state, enum groups_step step, struct groups groups) {
    struct groups_record record = {.step = step, .steward = 0, .groups = groups};
    return groups_apply(state, &record);
}

/* From an exact malloc, so that a sanitizer sees a read past the end. */
static bool decode(struct bytes bytes, struct groups_record *out) {
    uint8_t *copy = malloc(bytes.size > 0 ? bytes.size : 1);
    memcpy(copy, bytes.data, bytes.size);
    bool ok = groups_record_decode((struct bytes){copy, bytes.size}, out);
    free(copy);
    return ok;
}

TEST(groups_are_listed_in_order_once_and_up_to_the_bound) {
    struct groups groups = three(1);
    EQUAL(groups.list[0].number, 0);
    EQUAL(groups.list[1].number, 2);
    EQUAL(groups.list[2].number, 5);
    OK(!groups_add(&groups, 2, 9));
    OK(groups_list(&groups, 2, 1002) && !groups_list(&groups, 2, 9) && !groups_list(&groups, 3, 1003));
    for (uint32_t n = 100; groups.count < GROUPS_MAX; n++)
        OK(groups_add(&groups, n, 1));
    OK(!groups_add(&groups, 1000, 1));
}

TEST(a_record_comes_back_as_it_was_and_no_prefix_of_it_is_one) {
    struct groups_record record = {.step = GROUPS_PROPOSED, .steward = 2, .groups = three(4)}, out;
    struct buffer b = {0};
    groups_record_encode(&b, &record);
    REQUIRE(decode(buffer_bytes(&b), &out));
    OK(out.step == GROUPS_PROPOSED && out.steward == 2 && groups_equal(&out.groups, &record.groups));
    for (size_t i = 0; i < buffer_size(&b); i++)
        OK(!decode((struct bytes){b.data, i}, &out));
    write_u8(&b, 0);
    OK(!decode(buffer_bytes(&b), &out));
    buffer_release(&b);
}

TEST(a_flipped_bit_gives_no_record_or_one_in_order_and_within_bounds) {
    struct groups_record record = {.step = GROUPS_IN_FORCE, .groups = three(4)}, out;
    struct buffer b = {0};
    groups_record_encode(&b, &record);
    for (size_t bit = 0; bit < 8 * buffer_size(&b); bit++) {
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (decode(buffer_bytes(&b), &out)) {
            OK(out.groups.count >= 1 && out.groups.count <= GROUPS_MAX && out.groups.epoch > 0);
            for (size_t i = 1; i < out.groups.count; i++)
                OK(out.groups.list[i - 1].number < out.groups.list[i].number);
        }
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buffer_release(&b);
}

TEST(a_state_comes_back_as_it_was_and_no_prefix_of_it_is_one) {
    struct groups_state state = {.current = three(3),
                                 .proposed = three(7),
                                 .steward = 5,
                                 .last_ring_id = 77,
                                 .last_epoch = 7,
                                 .written = 12},
                        out;
    struct buffer b = {0};
    groups_state_write(&b, &state);
    struct reader r = reader_of(buffer_bytes(&b));
    REQUIRE(groups_state_read(&r, &out) && reader_done(&r));
    OK(groups_equal(&out.current, &state.current) && groups_equal(&out.proposed, &state.proposed));
    OK(out.steward == 5 && out.last_ring_id == 77 && out.last_epoch == 7 && out.written == 12);
    for (size_t i = 0; i < buffer_size(&b); i++) {
        uint8_t *copy = malloc(i > 0 ? i : 1);
        memcpy(copy, b.data, i);
        r = reader_of((struct bytes){copy, i});
        OK(!groups_state_read(&r, &out));
        free(copy);
    }
    for (size_t bit = 0; bit < 8 * buffer_size(&b); bit++) {
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        r = reader_of(buffer_bytes(&b));
        if (groups_state_read(&r, &out))
            OK(out.current.count <= GROUPS_MAX && out.proposed.count <= GROUPS_MAX);
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buffer_release(&b);
}

TEST(a_group_founds_a_ring_of_itself_once) {
    struct groups_state state = {0};
    OK(!apply(&state, GROUPS_IN_FORCE, three(1))); /* not of itself alone */
    OK(apply(&state, GROUPS_IN_FORCE, alone()));
    struct groups other = alone();
    other.ring_id = 78;
    OK(!apply(&state, GROUPS_IN_FORCE, other));
    EQUAL(state.current.ring_id, 77);
}

TEST(a_group_with_a_client_write_founds_but_never_takes_part) {
    struct groups_state state = {0};
    groups_note_write(&state, 8);
    groups_note_write(&state, 9);
    EQUAL(state.written, 8);
    OK(apply(&state, GROUPS_IN_FORCE, alone()));
    OK(!apply(&state, GROUPS_PROPOSED, three(2)));
    EQUAL(state.proposed.epoch, 0);
    OK(!apply(&state, GROUPS_LEFT, alone()));
}

TEST(a_proposal_is_decided_once_and_an_aborted_one_never_comes_back) {
    struct groups_state state = {0};
    apply(&state, GROUPS_IN_FORCE, alone());
    OK(apply(&state, GROUPS_PROPOSED, three(2)));
    OK(!apply(&state, GROUPS_PROPOSED, three(3))); /* one at a time */
    OK(!apply(&state, GROUPS_IN_FORCE, three(3)));
    OK(apply(&state, GROUPS_ABORTED, three(2)));
    OK(!apply(&state, GROUPS_IN_FORCE, three(2)));
    OK(!apply(&state, GROUPS_PROPOSED, three(2)));
    OK(apply(&state, GROUPS_PROPOSED, three(3)));
    OK(apply(&state, GROUPS_IN_FORCE, three(3)));
    OK(!apply(&state, GROUPS_ABORTED, three(3)));
    EQUAL(state.current.epoch, 3);
    EQUAL(state.current.count, 3);
}

TEST(another_ring_cannot_be_joined_before_the_own_one_was_left) {
    struct groups_state state = {0};
    struct groups other = three(2);
    other.ring_id = 5;
    apply(&state, GROUPS_IN_FORCE, alone());
    OK(!apply(&state, GROUPS_PROPOSED, other));
    OK(apply(&state, GROUPS_LEFT, alone()));
    EQUAL(state.current.epoch, 0);
    OK(apply(&state, GROUPS_PROPOSED, other));
    OK(apply(&state, GROUPS_IN_FORCE, other));
    OK(!apply(&state, GROUPS_LEFT, other)); /* others are on it */
}

static struct groups another_founding(void) {
    struct groups groups = {.ring_id = 88, .epoch = 1};
    groups_add(&groups, 0, 88);
    return groups;
}

TEST(a_group_without_a_client_write_gives_itself_up_once_and_takes_part_in_nothing_then) {
    struct groups_state state = {0};
    OK(apply(&state, GROUPS_IN_FORCE, alone()));
    OK(apply(&state, GROUPS_YIELDED, another_founding()));
    EQUAL(state.yielded, 88);
    OK(!apply(&state, GROUPS_YIELDED, another_founding()));
    OK(!apply(&state, GROUPS_PROPOSED, three(2)));
    struct groups_state again;
    struct buffer b = {0};
    groups_state_write(&b, &state);
    struct reader r = reader_of(buffer_bytes(&b));
    OK(groups_state_read(&r, &again) && again.yielded == 88);
    buffer_release(&b);
}

TEST(a_group_that_others_or_clients_count_on_does_not_give_itself_up) {
    struct groups_state state = {.written = 7};
    OK(!apply(&state, GROUPS_YIELDED, another_founding()));
    state = (struct groups_state){0};
    OK(apply(&state, GROUPS_IN_FORCE, alone()) && apply(&state, GROUPS_PROPOSED, three(2)));
    OK(!apply(&state, GROUPS_YIELDED, another_founding()));
    OK(apply(&state, GROUPS_IN_FORCE, three(2)));
    OK(!apply(&state, GROUPS_YIELDED, another_founding()));
    EQUAL(state.yielded, 0);
}

TESTS(TAP(groups_are_listed_in_order_once_and_up_to_the_bound),
      TAP(a_record_comes_back_as_it_was_and_no_prefix_of_it_is_one),
      TAP(a_flipped_bit_gives_no_record_or_one_in_order_and_within_bounds),
      TAP(a_state_comes_back_as_it_was_and_no_prefix_of_it_is_one), TAP(a_group_founds_a_ring_of_itself_once),
      TAP(a_group_with_a_client_write_founds_but_never_takes_part),
      TAP(a_proposal_is_decided_once_and_an_aborted_one_never_comes_back),
      TAP(another_ring_cannot_be_joined_before_the_own_one_was_left),
      TAP(a_group_without_a_client_write_gives_itself_up_once_and_takes_part_in_nothing_then),
      TAP(a_group_that_others_or_clients_count_on_does_not_give_itself_up))
