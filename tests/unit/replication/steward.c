/* The steward's rules one by one; tests/unit/sim/groups.c has them all together. */
#include "replication/steward.h"

#include "tests/tap.h"

static struct groups ring_of(uint64_t id, uint64_t epoch, uint32_t first, uint32_t last) {
    struct groups groups = {.ring_id = id, .epoch = epoch};
    for (uint32_t n = first; n <= last; n++)
        groups_add(&groups, n, 100 + n);
    return groups;
}

static struct groups_state on(struct groups current) {
    return (struct groups_state){
        .current = current, .last_ring_id = current.ring_id, .last_epoch = current.epoch};
}

static struct groups_state taking_part(struct groups_state state, struct groups proposed, uint32_t steward) {
    state.proposed = proposed;
    state.steward = steward;
    state.last_ring_id = proposed.ring_id;
    state.last_epoch = proposed.epoch;
    return state;
}

static struct steward_view view_of(uint32_t number, const struct groups_state *state) {
    return (struct steward_view){
        .number = number, .founding = 100 + number, .state = state, .led_ms = 1000, .ring_id = 7};
}

static void hear(struct steward *s, uint64_t now_ms, uint32_t number, struct groups_state state) {
    steward_heard(s, now_ms, number, 100 + number, &state);
}

/* 0 where nothing is to be logged. */
static int next(struct steward *s, uint64_t now_ms, uint32_t number, const struct groups_state *state,
                struct groups_record *out) {
    struct steward_view view = view_of(number, state);
    return steward_next(s, now_ms, &view, out) ? (int)out->step : 0;
}

TEST(a_group_founds_a_ring_once_it_has_looked_around_and_at_once_with_keys) {
    struct steward *s = steward_new();
    struct groups_state none = {0}, written = {.written = 4};
    struct groups_record out;
    EQUAL(next(s, 1499, 3, &none, &out), 0);
    EQUAL(next(s, 1000, 3, &written, &out), GROUPS_IN_FORCE);
    REQUIRE(next(s, 1500, 3, &none, &out) == GROUPS_IN_FORCE);
    OK(out.groups.count == 1 && out.groups.epoch == 1 && out.groups.ring_id == 7 &&
       groups_list(&out.groups, 3, 103));
    struct steward_view view = view_of(3, &none);
    view.lower_visible = true;
    OK(!steward_next(s, 9000, &view, &out));
    view.lower_visible = false;
    view.ring_visible = true;
    OK(!steward_next(s, 9000, &view, &out));
    hear(s, 9000, 0, on(ring_of(5, 1, 0, 0)));
    EQUAL(next(s, 9000, 3, &none, &out), 0);
    EQUAL(next(s, 9000 + STEWARD_FORGET_MS, 3, &none, &out), GROUPS_IN_FORCE);
    steward_free(s);
}

TEST(only_the_steward_proposes_and_only_while_every_group_is_heard_and_holds_no_key) {
    struct steward *s = steward_new();
    struct groups_state ring = on(ring_of(5, 4, 1, 2)), none = {0}, written = ring;
    struct groups_record out;
    hear(s, 2000, 0, none);
    hear(s, 2000, 9, none);
    EQUAL(next(s, 2000, 1, &ring, &out), 0); /* group 2 is not heard */
    hear(s, 2000, 2, ring);
    REQUIRE(next(s, 2000, 1, &ring, &out) == GROUPS_PROPOSED);
    OK(out.steward == 1 && out.groups.epoch == 5 && out.groups.count == 4);
    EQUAL(next(s, 2000 + STEWARD_FRESH_MS + 1, 1, &ring, &out), 0);
    written.written = 8;
    EQUAL(next(s, 2000, 1, &written, &out), 0);
    hear(s, 2000, 2, written);
    EQUAL(next(s, 2000, 1, &ring, &out), 0);
    hear(s, 2000, 1, ring);
    hear(s, 2000, 2, ring);
    EQUAL(next(s, 2000, 2, &ring, &out), 0); /* not the lowest */
    steward_free(s);
}

TEST(a_proposal_is_in_force_when_all_take_part_and_aborted_when_one_refuses_or_time_is_up) {
    struct groups proposed = ring_of(5, 2, 0, 2);
    struct groups_state own = taking_part(on(ring_of(5, 1, 0, 0)), proposed, 0), none = {0};
    struct groups_state part = taking_part(none, proposed, 0), written = {.written = 3}, gone = part;
    struct groups_record out;
    gone.proposed = (struct groups){0};
    struct steward *s = steward_new();
    hear(s, 2000, 1, part);
    hear(s, 2000, 2, none);
    EQUAL(next(s, 2000, 0, &own, &out), 0);
    EQUAL(next(s, 2000 + STEWARD_DECIDE_MS - 1, 0, &own, &out), 0);
    EQUAL(next(s, 2000 + STEWARD_DECIDE_MS, 0, &own, &out), GROUPS_ABORTED);
    hear(s, 2000, 2, written);
    EQUAL(next(s, 2001, 0, &own, &out), GROUPS_ABORTED);
    hear(s, 2000, 2, gone); /* it knows of an abort */
    EQUAL(next(s, 2001, 0, &own, &out), GROUPS_ABORTED);
    hear(s, 2000, 2, part);
    EQUAL(next(s, 2001, 0, &own, &out), GROUPS_IN_FORCE);
    OK(groups_equal(&out.groups, &proposed));
    steward_free(s);
}

TEST(who_takes_part_waits_for_the_steward_s_decision_and_an_old_report_is_none) {
    struct groups proposed = ring_of(5, 3, 0, 2);
    struct groups_state before = on(ring_of(5, 1, 0, 0)),
                        own = taking_part((struct groups_state){0}, proposed, 0);
    struct groups_state open = taking_part(before, proposed, 0), aborted = open;
    struct groups_record out;
    aborted.proposed = (struct groups){0};
    struct steward *s = steward_new();
    EQUAL(next(s, 90000, 1, &own, &out), 0); /* however long */
    hear(s, 2000, 0, before);                /* from before the proposal */
    EQUAL(next(s, 2000, 1, &own, &out), 0);
    hear(s, 2000, 0, (struct groups_state){0});
    EQUAL(next(s, 2000, 1, &own, &out), 0);
    hear(s, 2000, 0, open);
    EQUAL(next(s, 2000, 1, &own, &out), 0);
    hear(s, 2000, 2, aborted); /* it is not the steward */
    EQUAL(next(s, 2000, 1, &own, &out), 0);
    hear(s, 2000, 0, aborted);
    EQUAL(next(s, 2000, 1, &own, &out), GROUPS_ABORTED);
    hear(s, 2000, 2, on(proposed)); /* whoever has it in force knows */
    EQUAL(next(s, 2000, 1, &own, &out), GROUPS_IN_FORCE);
    steward_free(s);
}

TEST(a_proposal_is_taken_part_in_where_it_lists_this_founding_and_no_key_is_held) {
    struct groups proposed = ring_of(5, 2, 0, 1);
    struct groups_state steward = taking_part(on(ring_of(5, 1, 0, 0)), proposed, 0), none = {0};
    struct groups_state written = {.written = 2}, other = on(ring_of(6, 1, 1, 1));
    struct groups_record out;
    struct steward *s = steward_new();
    hear(s, 2000, 0, steward);
    EQUAL(next(s, 2000, 1, &none, &out), GROUPS_PROPOSED);
    EQUAL(out.steward, 0);
    EQUAL(next(s, 2000, 2, &none, &out), 0); /* not listed */
    struct steward_view view = view_of(1, &none);
    view.founding = 999;
    OK(!steward_next(s, 2000, &view, &out));
    EQUAL(next(s, 2000, 1, &written, &out), GROUPS_IN_FORCE); /* its own */
    other.written = 2;
    EQUAL(next(s, 2000, 1, &other, &out), 0);
    EQUAL(next(s, 2000 + STEWARD_FRESH_MS + 1, 1, &none, &out), 0);
    steward_free(s);
}

TEST(of_two_rings_the_empty_one_gives_way_then_the_one_of_the_higher_id) {
    struct groups_state low = on(ring_of(5, 1, 0, 0)), high = on(ring_of(6, 1, 1, 1)), full = low, large;
    struct groups_record out;
    struct steward *s = steward_new(), *t = steward_new();
    hear(s, 2000, 1, high);
    hear(t, 2000, 0, low);
    EQUAL(next(s, 2000, 0, &low, &out), 0);
    EQUAL(next(t, 2000, 1, &high, &out), GROUPS_LEFT);
    high.written = 2;
    hear(s, 2000, 1, high);
    EQUAL(next(s, 2000, 0, &low, &out), GROUPS_LEFT);
    EQUAL(next(t, 2000, 1, &high, &out), 0);
    full.written = 2;
    struct steward_view view = view_of(0, &full);
    EQUAL(next(s, 2000, 0, &full, &out), 0);
    EQUAL(steward_trouble(s, &view), STEWARD_TWO_RINGS);
    large = on(ring_of(9, 2, 0, 0)); /* it asked others once: they may still wait for it */
    EQUAL(next(s, 2000, 0, &large, &out), 0);
    steward_free(s);
    steward_free(t);
}

TEST(a_group_without_a_ring_says_what_keeps_it_from_one) {
    struct groups_state none = {0}, ring = on(ring_of(5, 2, 0, 1));
    struct steward *s = steward_new();
    struct steward_view view = view_of(3, &none);
    EQUAL(steward_trouble(s, &view), STEWARD_WAITS);
    OK(steward_heard_ring(s) == NULL);
    hear(s, 2000, 0, ring);
    EQUAL(steward_trouble(s, &view), STEWARD_WAITS);
    EQUAL(steward_heard_ring(s)->epoch, 2);
    view = view_of(1, &none);
    view.founding = 999;
    EQUAL(steward_trouble(s, &view), STEWARD_LISTED);
    ring.written = 5;
    hear(s, 2000, 0, ring);
    EQUAL(steward_trouble(s, &view), STEWARD_KEYS);
    view.state = &ring;
    EQUAL(steward_trouble(s, &view), STEWARD_WELL);
    steward_free(s);
}

TESTS(TAP(a_group_founds_a_ring_once_it_has_looked_around_and_at_once_with_keys),
      TAP(only_the_steward_proposes_and_only_while_every_group_is_heard_and_holds_no_key),
      TAP(a_proposal_is_in_force_when_all_take_part_and_aborted_when_one_refuses_or_time_is_up),
      TAP(who_takes_part_waits_for_the_steward_s_decision_and_an_old_report_is_none),
      TAP(a_proposal_is_taken_part_in_where_it_lists_this_founding_and_no_key_is_held),
      TAP(of_two_rings_the_empty_one_gives_way_then_the_one_of_the_higher_id),
      TAP(a_group_without_a_ring_says_what_keeps_it_from_one))
