/* Whether operations on one register can be put into an order that explains what each one saw and that keeps
 * to real time: an operation that ended before another one began comes first (Herlihy and Wing, 1990).
 *
 * The search is Wing and Gong's (1993): of all operations that may come next, one is taken, carried out on
 * the state, and taken back where it leads nowhere. With Lowe's pruning ("Testing for linearizability",
 * 2017): a set of operations that has been reached with a state is never searched from again. A store of many
 * keys is linearizable where each of its keys is, so one register at a time is enough.
 *
 * The register holds a value, a number, or nothing. An operation needs a state and leaves one; what it is in
 * terms of requests is the caller's matter (verdict.c). One that is not required may also never have
 * happened, or happen at any time after it began. */
#ifndef TESTS_CHECK_LINEAR_H
#define TESTS_CHECK_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINEAR_ABSENT 0u /* the state without a value; the first one */

enum linear_need {
    LINEAR_ANY,
    LINEAR_VALUE, /* `needed` is the state */
    LINEAR_NO_VALUE,
    LINEAR_SOME_VALUE,
    LINEAR_UNVERSIONED, /* a value of which the caller does not know the version: linear_check's unversioned
                         */
};

struct linear_op {
    uint64_t begin_us, end_us; /* end: of one that is required */
    enum linear_need need;
    uint32_t needed;
    bool writes;
    uint32_t value; /* of one that writes: the state after it; LINEAR_ABSENT: a delete */
    bool required;
    uint32_t twins; /* not 0: operations of this number are alike but for their begin, and not required */
    size_t source;  /* the caller's */
};

enum linear_result { LINEAR_OK, LINEAR_VIOLATED, LINEAR_UNDECIDED };

struct linear_options {
    uint64_t steps_max; /* LINEAR_UNDECIDED after so many */
    bool (*unversioned)(void *arg, uint32_t value);
    void *arg;
};

/* What the search did. */
struct linear_report {
    uint64_t steps;
    size_t
        stuck; /* LINEAR_VIOLATED: the operation that no order explains together with all that ended before */
};

/* Sorts ops by begin. */
enum linear_result linear_check(struct linear_op *ops, size_t count, const struct linear_options *options,
                                struct linear_report *report);

#endif
