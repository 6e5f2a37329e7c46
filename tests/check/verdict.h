/* What a history (history.h) says of the store that it was taken from, without knowing anything of that
 * store:
 *
 *  - linearizability, key by key: of writes that a majority acknowledged, of linearizable reads and of
 *    listings. A weak write, and one whose outcome is unknown, may have happened at any time after it began,
 * or never. A read that says how stale it may be is one that began so much earlier. A listing reads each key
 *    of its range for itself, at some time between its begin and its end: it promises no one moment for all;
 *  - that every read, at whatever level, returns what somebody wrote there, and nothing that was refused or
 *    whose condition failed;
 *  - that a key's version names one value, and a value has one version: a write that was carried out twice
 *    has two;
 *  - that all answers to one pair are one answer, and all lines of a pair have one effect;
 *  - that a listing is in order, within its range and limit, and names no key that nobody set. */
#ifndef TESTS_CHECK_VERDICT_H
#define TESTS_CHECK_VERDICT_H

#include "tests/check/history.h"
#include "tests/check/linear.h"

struct verdict_options {
    uint64_t steps_max; /* of the search, for each key; 0: 5 million */
};

struct verdict {
    enum linear_result result; /* LINEAR_UNDECIDED: of some key, and nothing else is wrong */
    char text[256];            /* what is wrong, or not decided */
    size_t op;                 /* in the history: the one it is about; SIZE_MAX: none */
    size_t keys, judged;       /* operations that the search had to place */
    uint64_t steps;            /* of all searches */
};

void history_judge(const struct history *h, const struct verdict_options *options, struct verdict *verdict);
/* The operations on the key of verdict->op up to that one, as lines. */
void verdict_explain(const struct history *h, const struct verdict *verdict, FILE *out);

#endif
