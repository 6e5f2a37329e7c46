/* States that are not their group's, under faults and load. SIM_SEEDS is the number of seeds of each mode,
 * SIM_SEED the first, SIM_TRACE one to trace. */
#include "tests/sim/flips.h"
#include "tests/tap.h"

static unsigned setting(const char *name, unsigned otherwise) {
    const char *text = getenv(name);
    return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

static void flips(struct tap *tap, enum ack_mode ack) {
    static const char *const modes[] = {"async", "quorum", "all"};
    unsigned first = setting("SIM_SEED", 1), count = setting("SIM_SEEDS", 30), spread = 0;
    uint64_t longest_us = 0;
    struct tally tally = {0};
    for (unsigned seed = first; seed < first + count; seed++) {
        bool traced = getenv("SIM_TRACE") != NULL;
        struct flips_options options = {.seed = seed, .ack = ack, .trace = traced ? stdout : NULL};
        struct flips_result result;
        flips_run(&options, &result);
        if (!OK(result.passed))
            printf("# SIM_TRACE=1 SIM_SEED=%u SIM_SEEDS=1, %s: %s\n", seed, modes[ack], result.violation);
        tally_add(&tally, &result.tally);
        spread += result.spread;
        longest_us = result.longest_us > longest_us ? result.longest_us : longest_us;
    }
    printf("# %s: %llu flipped, %llu told, %llu replaced, in %u rounds the flipped state won; the longest "
           "mending took %llu ms\n",
           modes[ack], (unsigned long long)tally.counts[TALLY_STATE_FLIPPED],
           (unsigned long long)tally.counts[TALLY_STATE_ODD],
           (unsigned long long)tally.counts[TALLY_STATE_REPLACED], spread,
           (unsigned long long)(longest_us / MS));
    OK(tally.counts[TALLY_STATE_FLIPPED] >= 2 * count);
    OK(tally.counts[TALLY_STATE_ODD] >= 2 * count); /* by the odd one and by its leader */
    OK(tally.counts[TALLY_STATE_REPLACED] >= count);
    OK(spread <= count / 5);
}

TEST(in_an_async_group_flipped_states_are_found_and_replaced_and_no_promise_is_broken) {
    flips(tap, ACK_ASYNC);
}

TEST(in_a_quorum_group_flipped_states_are_found_and_replaced_and_no_promise_is_broken) {
    flips(tap, ACK_QUORUM);
}

TEST(where_all_must_have_it_flipped_states_are_found_and_replaced_and_no_promise_is_broken) {
    flips(tap, ACK_ALL);
}

TESTS(TAP(in_an_async_group_flipped_states_are_found_and_replaced_and_no_promise_is_broken),
      TAP(in_a_quorum_group_flipped_states_are_found_and_replaced_and_no_promise_is_broken),
      TAP(where_all_must_have_it_flipped_states_are_found_and_replaced_and_no_promise_is_broken))
