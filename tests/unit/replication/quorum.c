#include "replication/quorum.h"
#include "tests/tap.h"

TEST(a_majority_of_n_is_more_than_half) {
    static const size_t want[] = {1, 1, 2, 2, 3, 3, 4, 4, 5, 5};
    for (size_t n = 1; n < 10; n++)
        EQUAL(quorum_size(n), want[n]);
}

/* By definition: the highest value v such that at least quorum_size values are v or more. */
static uint64_t by_definition(const uint64_t *values, size_t count) {
    uint64_t best = 0;
    for (size_t i = 0; i < count; i++) {
        size_t reached = 0;
        for (size_t k = 0; k < count; k++)
            reached += values[k] >= values[i];
        if (reached >= quorum_size(count) && values[i] > best)
            best = values[i];
    }
    return best;
}

TEST(what_a_majority_has_reached_is_so_in_every_order_of_up_to_five) {
    EQUAL(quorum_reached(NULL, 0), 0);
    for (size_t count = 1; count <= 5; count++)
        for (unsigned code = 0; code < 3125; code++) {
            uint64_t values[5], copy[5];
            unsigned rest = code;
            for (size_t i = 0; i < count; i++, rest /= 5)
                copy[i] = values[i] = rest % 5;
            if (!EQUAL(quorum_reached(values, count), by_definition(copy, count)))
                return;
        }
}

TEST(what_a_majority_agrees_on_is_found_whoever_is_silent) {
    for (size_t count = 1; count <= 5; count++)
        for (unsigned code = 0; code < 1024; code++) { /* each is silent, or says 1, 2 or 3 */
            struct quorum_vote votes[5];
            size_t said[4] = {0};
            uint64_t value;
            for (size_t i = 0; i < count; i++) {
                unsigned says = code >> 2 * i & 3;
                votes[i] = (struct quorum_vote){says != 0, says};
                said[says]++;
            }
            bool agreed = quorum_agreed(votes, count, &value);
            unsigned right = 0;
            for (unsigned says = 1; says <= 3; says++)
                right = said[says] >= quorum_size(count) ? says : right;
            if (!OK(agreed == (right != 0) && (!agreed || value == right)))
                return;
        }
}

TESTS(TAP(a_majority_of_n_is_more_than_half),
      TAP(what_a_majority_has_reached_is_so_in_every_order_of_up_to_five),
      TAP(what_a_majority_agrees_on_is_found_whoever_is_silent))
