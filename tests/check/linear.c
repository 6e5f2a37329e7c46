#include "tests/check/linear.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#define NONE SIZE_MAX

/* A call or a return, in the order of time. Calls of what has been taken, and their returns, are out of the
 * list. */
struct moment {
    uint64_t at_us;
    size_t op;
    bool returns;
    size_t match; /* of a call: its return; NONE where it is not required */
    size_t previous, next;
};

struct taken {
    size_t call;
    uint32_t state; /* before it */
};

struct search {
    const struct linear_op *ops;
    const struct linear_options *options;
    size_t count;
    struct moment *moments; /* [0] is the list's head */
    size_t moment_count;
    uint64_t *bits; /* what has been taken */
    size_t words;
    size_t *twin_before; /* by op: must be taken first; NONE */
    struct taken *stack;
    size_t depth, left; /* required ones that are not taken */
    /* Reached before: each entry is `words` of bits and the state. Slots hold an entry's number + 1. */
    uint64_t *reached;
    size_t reached_count, reached_capacity;
    uint32_t *slots;
    size_t slot_count;
    size_t furthest, stuck; /* how many had been taken where the search stuck last, and at what */
};

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL)
        err(1, "out of memory for a check");
    return memory;
}

static int by_begin(const void *a, const void *b) {
    const struct linear_op *x = a, *y = b;
    if (x->begin_us != y->begin_us)
        return x->begin_us < y->begin_us ? -1 : 1;
    return x->source < y->source ? -1 : x->source > y->source;
}

/* At the same time calls come before returns: such operations overlap. */
static int by_time(const void *a, const void *b) {
    const struct moment *x = a, *y = b;
    if (x->at_us != y->at_us)
        return x->at_us < y->at_us ? -1 : 1;
    if (x->returns != y->returns)
        return x->returns ? 1 : -1;
    return x->op < y->op ? -1 : x->op > y->op;
}

static void make_moments(struct search *s) {
    size_t *calls = allocate(s->count, sizeof *calls);
    s->moments = allocate(2 * s->count + 1, sizeof *s->moments);
    s->moment_count = 1;
    for (size_t i = 0; i < s->count; i++) {
        s->moments[s->moment_count++] = (struct moment){.at_us = s->ops[i].begin_us, .op = i};
        if (s->ops[i].required)
            s->moments[s->moment_count++] =
                (struct moment){.at_us = s->ops[i].end_us, .op = i, .returns = true};
    }
    qsort(s->moments + 1, s->moment_count - 1, sizeof *s->moments, by_time);
    for (size_t i = 0; i < s->moment_count; i++) {
        struct moment *moment = &s->moments[i];
        moment->previous = i - 1;
        moment->next = i + 1 < s->moment_count ? i + 1 : 0;
        moment->match = NONE;
        if (i == 0)
            continue;
        if (moment->returns)
            s->moments[calls[moment->op]].match = i;
        else
            calls[moment->op] = i;
    }
    s->moments[0].previous = s->moment_count - 1;
    free(calls);
}

static void unlink_moment(struct search *s, size_t at) {
    struct moment *moment = &s->moments[at];
    s->moments[moment->previous].next = moment->next;
    s->moments[moment->next].previous = moment->previous;
}

/* In the reverse order of unlinking. */
static void link_moment(struct search *s, size_t at) {
    struct moment *moment = &s->moments[at];
    s->moments[moment->previous].next = at;
    s->moments[moment->next].previous = at;
}

static bool is_taken(const struct search *s, size_t op) {
    return s->bits[op / 64] >> op % 64 & 1;
}

/* Reached before. */

static uint64_t hash_of(const uint64_t *words, size_t count) {
    uint64_t hash = 0x9e3779b97f4a7c15ull;
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ words[i]) * 0xff51afd7ed558ccdull;
        hash ^= hash >> 32;
    }
    return hash;
}

static uint32_t *slot_of(struct search *s, const uint64_t *entry) {
    size_t size = s->words + 1, at = (size_t)hash_of(entry, size) & (s->slot_count - 1);
    while (s->slots[at] != 0 &&
           memcmp(&s->reached[(s->slots[at] - 1) * size], entry, size * sizeof *entry) != 0)
        at = (at + 1) & (s->slot_count - 1);
    return &s->slots[at];
}

static void reached_grow(struct search *s) {
    size_t size = s->words + 1;
    if (s->reached_count == s->reached_capacity) {
        s->reached_capacity = 2 * s->reached_capacity + 64;
        s->reached = reallocarray(s->reached, s->reached_capacity, size * sizeof *s->reached);
        if (s->reached == NULL)
            err(1, "out of memory for a check");
    }
    if (2 * s->reached_count < s->slot_count)
        return;
    free(s->slots);
    s->slot_count = s->slot_count > 0 ? 2 * s->slot_count : 256;
    s->slots = allocate(s->slot_count, sizeof *s->slots);
    for (size_t i = 0; i < s->reached_count; i++)
        *slot_of(s, &s->reached[i * size]) = (uint32_t)i + 1;
}

/* True where what is taken, and `op`, has not been reached with this state yet. */
static bool is_new(struct search *s, size_t op, uint32_t state) {
    reached_grow(s);
    uint64_t *entry = &s->reached[s->reached_count * (s->words + 1)];
    memcpy(entry, s->bits, s->words * sizeof *entry);
    entry[op / 64] |= 1ull << op % 64;
    entry[s->words] = state;
    uint32_t *slot = slot_of(s, entry);
    if (*slot != 0)
        return false;
    *slot = (uint32_t)++s->reached_count;
    return true;
}

/* The search. */

static bool fits(const struct search *s, const struct linear_op *op, uint32_t state) {
    switch (op->need) {
    case LINEAR_ANY:
        return true;
    case LINEAR_VALUE:
        return state == op->needed;
    case LINEAR_NO_VALUE:
        return state == LINEAR_ABSENT;
    case LINEAR_SOME_VALUE:
        return state != LINEAR_ABSENT;
    case LINEAR_UNVERSIONED:
        return state != LINEAR_ABSENT && s->options->unversioned(s->options->arg, state);
    }
    return false;
}

/* One that is not required is only worth taking where it changes the state, and its earlier twins before. */
static bool may_take(const struct search *s, size_t number, uint32_t state) {
    const struct linear_op *op = &s->ops[number];
    if (!fits(s, op, state))
        return false;
    if (op->required)
        return true;
    size_t before = s->twin_before[number];
    return op->writes && op->value != state && (before == NONE || is_taken(s, before));
}

static uint32_t take(struct search *s, size_t call, uint32_t state) {
    const struct moment *moment = &s->moments[call];
    const struct linear_op *op = &s->ops[moment->op];
    s->stack[s->depth++] = (struct taken){call, state};
    s->bits[moment->op / 64] |= 1ull << moment->op % 64;
    unlink_moment(s, call);
    if (moment->match != NONE)
        unlink_moment(s, moment->match);
    s->left -= op->required;
    return op->writes ? op->value : state;
}

static struct taken take_back(struct search *s) {
    struct taken taken = s->stack[--s->depth];
    const struct moment *moment = &s->moments[taken.call];
    s->bits[moment->op / 64] &= ~(1ull << moment->op % 64);
    if (moment->match != NONE)
        link_moment(s, moment->match);
    link_moment(s, taken.call);
    s->left += s->ops[moment->op].required;
    return taken;
}

static void stick(struct search *s, size_t op) {
    if (s->depth < s->furthest)
        return;
    s->furthest = s->depth;
    s->stuck = op;
}

static enum linear_result run(struct search *s, struct linear_report *report) {
    uint32_t state = LINEAR_ABSENT;
    size_t at = s->moments[0].next;
    while (s->left > 0) {
        const struct moment *moment = &s->moments[at];
        if (++report->steps > s->options->steps_max)
            return LINEAR_UNDECIDED;
        if (moment->returns) { /* it had to be taken before this */
            stick(s, moment->op);
            if (s->depth == 0)
                return LINEAR_VIOLATED;
            struct taken taken = take_back(s);
            state = taken.state;
            at = s->moments[taken.call].next;
            continue;
        }
        const struct linear_op *op = &s->ops[moment->op];
        if (may_take(s, moment->op, state) && is_new(s, moment->op, op->writes ? op->value : state)) {
            state = take(s, at, state);
            at = s->moments[0].next;
        } else {
            at = moment->next;
        }
    }
    return LINEAR_OK;
}

static void find_twins(struct search *s) {
    for (size_t i = 0; i < s->count; i++) {
        s->twin_before[i] = NONE;
        for (size_t j = i; s->ops[i].twins != 0 && j-- > 0 && s->twin_before[i] == NONE;)
            if (s->ops[j].twins == s->ops[i].twins)
                s->twin_before[i] = j;
    }
}

enum linear_result linear_check(struct linear_op *ops, size_t count, const struct linear_options *options,
                                struct linear_report *report) {
    qsort(ops, count, sizeof *ops, by_begin);
    struct search s = {.ops = ops, .options = options, .count = count, .words = (count + 63) / 64};
    s.bits = allocate(s.words, sizeof *s.bits);
    s.twin_before = allocate(count, sizeof *s.twin_before);
    s.stack = allocate(count, sizeof *s.stack);
    make_moments(&s);
    find_twins(&s);
    for (size_t i = 0; i < count; i++)
        s.left += ops[i].required;
    *report = (struct linear_report){0};
    enum linear_result result = run(&s, report);
    report->stuck = s.stuck;
    free(s.moments);
    free(s.bits);
    free(s.twin_before);
    free(s.stack);
    free(s.reached);
    free(s.slots);
    return result;
}
