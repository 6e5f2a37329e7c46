/* Power cuts of groups that sync at times: what may be lost, and nothing else is.
 *
 * SIM_SEEDS is the number of seeds of each mode, SIM_SEED the first. */
#include "tests/tap.h"

#include "tests/sim/chaos.h"
#include "tests/sim/window.h"

static unsigned setting(const char *name, unsigned otherwise) {
    const char *text = getenv(name);
    return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

static void cuts(struct tap *tap, enum ack_mode ack) {
    unsigned first = setting("SIM_SEED", 1), count = setting("SIM_SEEDS", 40);
    size_t lost = 0, answered = 0;
    for (unsigned seed = first; seed < first + count; seed++) {
        struct window_options options = {.seed = seed, .ack = ack, .interval_ms = 100};
        struct window_result result;
        window_run(&options, &result);
        if (!OK(result.passed))
            printf("# kvsim --seed %u --fsync 100 --trace: %s\n", seed, result.violation);
        lost += result.lost;
        answered += result.answered;
    }
    OK(answered > 20 * count);
    OK(lost > 0); /* or nothing was tried */
}

TEST(in_an_async_group_a_power_cut_loses_no_write_answered_before_the_last_interval) {
    cuts(tap, ACK_ASYNC);
}

TEST(in_a_quorum_group_a_power_cut_loses_no_write_answered_before_the_last_interval) {
    cuts(tap, ACK_QUORUM);
}

TEST(where_all_must_have_it_a_power_cut_loses_no_write_answered_before_the_last_interval) {
    cuts(tap, ACK_ALL);
}

TEST(without_power_cuts_a_group_that_syncs_at_times_keeps_every_promise) {
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct chaos_options options = {
            .seed = seed, .ack = seed % 2 ? ACK_QUORUM : ACK_ASYNC, .sync_interval_ms = 100};
        struct chaos_result result;
        chaos_run(&options, &result);
        if (!OK(result.passed))
            printf("# kvsim --seed %u --fsync 100 --ack %s --trace: %s\n", seed,
                   seed % 2 ? "quorum" : "async", result.violation);
    }
}

TEST(the_same_seed_gives_the_same_run) {
    struct window_options options = {.seed = 5, .ack = ACK_QUORUM, .interval_ms = 100};
    struct window_result first, second;
    window_run(&options, &first);
    window_run(&options, &second);
    EQUAL(second.hash, first.hash);
}

TESTS(TAP(in_an_async_group_a_power_cut_loses_no_write_answered_before_the_last_interval),
      TAP(in_a_quorum_group_a_power_cut_loses_no_write_answered_before_the_last_interval),
      TAP(where_all_must_have_it_a_power_cut_loses_no_write_answered_before_the_last_interval),
      TAP(without_power_cuts_a_group_that_syncs_at_times_keeps_every_promise),
      TAP(the_same_seed_gives_the_same_run))
