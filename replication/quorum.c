#include "replication/quorum.h"

/* Insertion sort, descending: a handful of voters. */
static void sort(uint64_t *values, size_t count) {
    for (size_t i = 1; i < count; i++) {
        uint64_t value = values[i];
        size_t at = i;
        for (; at > 0 && values[at - 1] < value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
}

uint64_t quorum_reached(uint64_t *values, size_t count) {
    if (count == 0)
        return 0;
    sort(values, count);
    return values[quorum_size(count) - 1];
}

bool quorum_agreed(const struct quorum_vote *votes, size_t count, uint64_t *value) {
    for (size_t i = 0; i < count; i++) {
        size_t same = 0;
        for (size_t j = 0; j < count; j++)
            same += votes[i].known && votes[j].known && votes[j].value == votes[i].value;
        *value = votes[i].value;
        if (same >= quorum_size(count))
            return true;
    }
    return false;
}
