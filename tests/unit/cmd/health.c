/* The table of how a node is: every state by the facts that make it, and what no facts may lead to. */
#include "cmd/node_health.h"

#include <ctype.h>
#include <stdlib.h>

#include "storage/random.h"
#include "tests/tap.h"

static struct health_facts follower(void) {
    return (struct health_facts){.has_group = true,
                                 .listed = true,
                                 .voter = true,
                                 .has_leader = true,
                                 .majority_answers = true,
                                 .caught_up = true};
}

static struct health_facts leader(void) {
    struct health_facts facts = follower();
    facts.caught_up = false;
    facts.leads = facts.term_committed = true;
    return facts;
}

/* The follower, or the leader, with some facts changed, is in this state. */
#define IS(of, state, ...)                                                                                   \
    do {                                                                                                     \
        struct health_facts f = of;                                                                          \
        __VA_ARGS__;                                                                                         \
        EQUAL(health_of(&f), state);                                                                         \
    } while (0)

TEST(a_leader_and_its_followers_are_healthy) {
    IS(leader(), HEALTH_HEALTHY, (void)0);
    IS(follower(), HEALTH_HEALTHY, (void)0);
    IS(follower(), HEALTH_HEALTHY, f.voter = false); /* a learner */
}

TEST(a_node_that_stops_or_starts_over_is_not_ready) {
    IS(leader(), HEALTH_STOPPING, f.stopping = true);
    IS(leader(), HEALTH_STARTING_OVER, f.starting_over = true);
    IS(follower(), HEALTH_REPAIRING, f.repairing = true);
}

TEST(a_node_without_a_group_says_what_it_waits_for) {
    IS(follower(), HEALTH_UNJOINED, f.has_group = f.listed = f.voter = false);
    IS(follower(), HEALTH_BOOTSTRAPPING, f.has_group = false, f.bootstrapping = true);
    IS(follower(), HEALTH_JOINS, f.has_group = false, f.member_known = true);
    IS(follower(), HEALTH_JOINS, f.has_group = false, f.bootstrapping = f.member_known = true);
}

TEST(a_node_outside_its_configuration_is_not_ready) {
    IS(follower(), HEALTH_REMOVED, f.removed = true, f.listed = false);
    IS(follower(), HEALTH_REMOVED, f.removed = true);
    IS(follower(), HEALTH_OUTSIDE, f.listed = f.voter = false);
    IS(follower(), HEALTH_OUTSIDE, f.listed = f.caught_up = f.has_leader = false);
    IS(follower(), HEALTH_CATCHING_UP, f.listed = f.caught_up = false);
}

TEST(a_node_without_a_leader_tells_an_election_from_missing_voters) {
    IS(follower(), HEALTH_ELECTION, f.has_leader = false);
    IS(follower(), HEALTH_NO_MAJORITY, f.has_leader = f.majority_answers = false);
    IS(follower(), HEALTH_LEADER_AWAY, f.has_leader = f.voter = false);
    IS(follower(), HEALTH_NO_MAJORITY, f.has_leader = f.voter = f.majority_answers = false);
    IS(follower(), HEALTH_HEALTHY, f.majority_answers = false); /* its leader may reach others */
}

TEST(a_follower_that_cannot_follow_is_not_ready) {
    IS(follower(), HEALTH_STUCK, f.stuck = true);
    IS(follower(), HEALTH_DIVERGED, f.diverged = true);
    IS(leader(), HEALTH_DIVERGED, f.diverged = true);
    IS(leader(), HEALTH_FILES_MISSING, f.files_missing = true);
    IS(follower(), HEALTH_FOLLOWER_DISK_FULL, f.full = true);
    IS(follower(), HEALTH_LEDGER_FULL, f.full = f.ledger_full = true);
    IS(follower(), HEALTH_HEALTHY, f.ledger_full = true); /* nothing had to be put into it */
    IS(follower(), HEALTH_CATCHING_UP, f.caught_up = false);
    IS(follower(), HEALTH_LAGGING, f.lagging = true);
}

TEST(a_leader_that_does_not_take_writes_is_not_ready) {
    IS(leader(), HEALTH_LEADER_DISK_FULL, f.refuses_writes = true);
    IS(leader(), HEALTH_NEW_LEADER, f.term_committed = false);
    IS(leader(), HEALTH_JOINING, f.ring = HEALTH_RING_WAITS);
    IS(leader(), HEALTH_JOINING_WITH_KEYS, f.ring = HEALTH_RING_KEYS);
    IS(follower(), HEALTH_JOINING_TAKEN, f.ring = HEALTH_RING_TAKEN);
    IS(leader(), HEALTH_YIELDING, f.yielding = true);
    IS(follower(), HEALTH_YIELDING, f.yielding = true);
    IS(leader(), HEALTH_HEALTHY, f.lagging = f.full = true); /* a follower's */
}

TEST(what_does_not_keep_a_node_from_serving_is_told_while_it_serves) {
    IS(leader(), HEALTH_DEGRADED, f.alone = true);
    IS(leader(), HEALTH_DEGRADED, f.alone = true, f.term_committed = false);
    IS(leader(), HEALTH_TWO_BOOTSTRAPS, f.two_bootstraps = true);
    IS(follower(), HEALTH_TWO_RINGS, f.two_rings = true);
    IS(follower(), HEALTH_UNEQUAL, f.unequal = true);
    IS(leader(), HEALTH_SNAPSHOT_DAMAGED, f.snapshot_damaged = true);
    IS(follower(), HEALTH_LOG_DAMAGED, f.log_damaged = true);
    IS(leader(), HEALTH_LEDGER_DAMAGED, f.ledger_damaged = true);
}

TEST(each_state_has_a_word_a_clause_and_what_to_do) {
    for (unsigned i = 0; i < HEALTH_STATES; i++) {
        const struct health_row *row = health_row((enum health)i);
        REQUIRE(row->status != NULL && row->reason != NULL && row->fix != NULL);
        for (const char *at = row->status; *at != '\0'; at++)
            OK(islower((unsigned char)*at) || *at == '_');
        if (i == HEALTH_HEALTHY) {
            OK(row->ready && row->reason[0] == '\0' && row->fix[0] == '\0');
            continue;
        }
        OK(row->ready == (i >= HEALTH_TWO_BOOTSTRAPS));
        size_t reason = strlen(row->reason), fix = strlen(row->fix);
        OK(strcmp(row->status, "healthy") != 0 && reason > 20 && fix > 10);
        if (!OK(row->reason[reason - 1] != '.' && row->fix[fix - 1] == '.'))
            printf("# %s: %s. %s\n", row->status, row->reason, row->fix);
    }
}

static struct health_facts random_facts(struct random *random) {
    struct health_facts facts;
    bool *facts_of[] = {
        &facts.stopping,       &facts.starting_over,
        &facts.repairing,      &facts.has_group,
        &facts.bootstrapping,  &facts.member_known,
        &facts.removed,        &facts.listed,
        &facts.voter,          &facts.leads,
        &facts.has_leader,     &facts.majority_answers,
        &facts.alone,          &facts.term_committed,
        &facts.caught_up,      &facts.lagging,
        &facts.stuck,          &facts.full,
        &facts.ledger_full,    &facts.refuses_writes,
        &facts.diverged,       &facts.unequal,
        &facts.yielding,       &facts.two_bootstraps,
        &facts.two_rings,      &facts.snapshot_damaged,
        &facts.ledger_damaged, &facts.files_missing,
        &facts.log_damaged,
    };
    facts = random_below(random, 2) == 0 ? leader() : follower();
    for (uint64_t changes = random_below(random, 6); changes > 0; changes--) {
        bool *fact = facts_of[random_below(random, sizeof facts_of / sizeof facts_of[0])];
        *fact = !*fact;
    }
    if (random_below(random, 4) == 0)
        facts.ring = (enum health_ring)random_below(random, 4);
    return facts;
}

TEST(no_facts_make_a_node_ready_that_does_not_serve_or_healthy_that_has_something_to_say) {
    static unsigned seen[HEALTH_STATES];
    struct random random;
    random_seed(&random, 1);
    for (unsigned i = 0; i < 400000; i++) {
        struct health_facts f = random_facts(&random);
        enum health state = health_of(&f);
        seen[state]++;
        bool ends = f.stopping || f.starting_over || f.repairing;
        bool member = f.has_group && f.listed && !f.removed && !f.diverged && !f.stuck && !f.files_missing &&
                      f.has_leader;
        bool leads = f.leads && !f.refuses_writes && (f.term_committed || f.alone);
        bool follows = !f.leads && !f.full && f.caught_up && !f.lagging;
        bool serves = !ends && member && f.ring == HEALTH_RING_SHARED && !f.yielding && (leads || follows);
        bool quiet = !f.two_bootstraps && !f.two_rings && !(f.leads && f.alone) && !f.unequal &&
                     !f.snapshot_damaged && !f.log_damaged && !f.ledger_damaged;
        if (health_row(state)->ready != serves || (state == HEALTH_HEALTHY) != (serves && quiet)) {
            OK(health_row(state)->ready == serves);
            OK((state == HEALTH_HEALTHY) == (serves && quiet));
            break;
        }
        if (health_hopeless(&f) && (f.majority_answers || (f.has_leader && !f.alone)))
            OK(!health_hopeless(&f));
    }
    for (unsigned i = 0; i < HEALTH_STATES; i++)
        OK(seen[i] > 0);
}

TESTS(TAP(a_leader_and_its_followers_are_healthy), TAP(a_node_that_stops_or_starts_over_is_not_ready),
      TAP(a_node_without_a_group_says_what_it_waits_for), TAP(a_node_outside_its_configuration_is_not_ready),
      TAP(a_node_without_a_leader_tells_an_election_from_missing_voters),
      TAP(a_follower_that_cannot_follow_is_not_ready), TAP(a_leader_that_does_not_take_writes_is_not_ready),
      TAP(what_does_not_keep_a_node_from_serving_is_told_while_it_serves),
      TAP(each_state_has_a_word_a_clause_and_what_to_do),
      TAP(no_facts_make_a_node_ready_that_does_not_serve_or_healthy_that_has_something_to_say))
