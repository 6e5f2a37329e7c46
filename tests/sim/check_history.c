/* The history that clients saw, recorded for a judge that knows nothing of the nodes (tests/check). */
#include <inttypes.h>

#include "tests/sim/check_internal.h"

static uint32_t numbered(struct check *c, char kind, size_t number) {
    char text[32];
    snprintf(text, sizeof text, "%c%zu", kind, number);
    return history_text(&c->history, text);
}

static uint32_t version_text(struct check *c, struct version version) {
    char text[48];
    if (version.index == 0)
        return HISTORY_NONE;
    snprintf(text, sizeof text, "%" PRIu64 ".%" PRIu64, version.term, version.index);
    return history_text(&c->history, text);
}

void check_history_begin(struct check *c, size_t number) {
    static const enum history_kind kinds[] = {[OP_SET] = HISTORY_SET,
                                              [OP_DELETE] = HISTORY_DELETE,
                                              [OP_GET] = HISTORY_GET,
                                              [OP_READ] = HISTORY_GET,
                                              [OP_KEYS] = HISTORY_KEYS};
    struct op *op = &c->ops[number];
    if (op->kind == OP_OUTCOME)
        return;
    struct history_op line = history_op(kinds[op->kind]);
    line.process = op->process;
    line.node = op->machine + 1;
    line.begin_us = c->sim->now_us;
    line.linearizable = op->kind == OP_READ || (op->kind == OP_KEYS && op->linearizable);
    line.condition = op->condition;
    if (op->kind == OP_KEYS) {
        line.prefix = history_text(&c->history, "k");
        line.after = op->after >= 0 ? numbered(c, 'k', (size_t)op->after) : HISTORY_NONE;
        line.limit = op->limit > 0 ? op->limit : HISTORY_NEVER;
    } else {
        line.key = numbered(c, 'k', op->key);
    }
    if (op->kind == OP_SET)
        line.value = numbered(c, 'v', number);
    if (op->condition == HISTORY_IF_MATCH)
        line.match = version_text(c, op->match);
    if (op->pair) {
        line.client = history_text(&c->history, "sim");
        line.request = numbered(c, 'r', number);
    }
    line.weak = op->kind <= OP_DELETE && !op->quorum;
    op->line = history_add(&c->history, &line);
}

/* The keys of {"keys":["k1","k10"],"count":2}. */
static void add_listed(struct check *c, const struct op *op, const struct response *r) {
    const char *at = (const char *)r->body.data, *end = at + r->body.size;
    while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
        const char *close = memchr(at + 1, '"', (size_t)(end - at - 1));
        char key[32];
        if (close == NULL)
            return;
        snprintf(key, sizeof key, "%.*s", (int)(close - at - 1), at + 1);
        if (key[0] == 'k' && key[1] != 'e')
            history_listed(&c->history, op->line, history_text(&c->history, key));
        at = close + 1;
    }
}

/* A node's clock may be slow or fast, and shows whole milliseconds. */
static uint64_t staleness_us(const struct response *r) {
    return r->follower && r->staleness_known ? (r->staleness_ms + 2) * 1020 : HISTORY_NEVER;
}

static enum history_outcome outcome_of(const struct op *op, const struct response *r) {
    bool none = r->status == 404 && strcmp(r->error, "not_found") == 0;
    if (r->status == 200 || (none && (op->kind == OP_GET || op->kind == OP_READ)))
        return HISTORY_OK;
    if (r->status == 412)
        return HISTORY_FAILED;
    return check_is_refusal(r) ? HISTORY_REFUSED : HISTORY_UNKNOWN;
}

void check_history_end(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    if (op->kind == OP_OUTCOME || r->status == 0)
        return;
    struct history_op *line = &c->history.ops[op->line];
    line->end_us = c->sim->now_us;
    line->outcome = outcome_of(op, r);
    if (op->kind != OP_DELETE || r->status != 200)
        line->etag = version_text(c, r->etag);
    if (line->outcome != HISTORY_OK)
        return;
    if (op->kind == OP_GET)
        line->staleness_us = staleness_us(r);
    if ((op->kind == OP_GET || op->kind == OP_READ) && r->status == 200) {
        size_t read = check_number_read(r);
        line->value = read == SIZE_MAX ? history_text(&c->history, "?") : numbered(c, 'v', read);
    }
    if (op->kind == OP_KEYS)
        add_listed(c, op, r);
}

/* A pair that was forgotten has had its effect more than once: to a judge, a write each time. Which one was
 * seen, or answered, is told by its version. The k-th effect came after the k-th attempt had begun, of those
 * that were not refused. */

#define ATTEMPTS_MAX 64

static size_t attempts_of(const struct check *c, uint32_t request, size_t lines[ATTEMPTS_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < c->history.count && count < ATTEMPTS_MAX; i++)
        if (c->history.ops[i].client != HISTORY_NONE && c->history.ops[i].request == request &&
            c->history.ops[i].outcome != HISTORY_REFUSED)
            lines[count++] = i;
    return count;
}

static size_t effects_of(const struct check *c, const struct op *op, struct version effects[ATTEMPTS_MAX]) {
    const struct group_log *log = &c->groups[c->owners[op->key] - 1];
    struct version newest_first[ATTEMPTS_MAX];
    size_t count = 0;
    for (size_t row = op->row; row > 0 && count < ATTEMPTS_MAX; row = log->pairs[row - 1].before)
        newest_first[count++] = log->pairs[row - 1].at;
    for (size_t i = 0; i < count; i++)
        effects[i] = newest_first[count - 1 - i];
    return count;
}

static uint32_t nth(struct check *c, char kind, size_t number, size_t effect) {
    char text[48];
    snprintf(text, sizeof text, "%c%zu.%zu", kind, number, effect);
    return history_text(&c->history, text);
}

static void move_answer(struct history_op *from, struct history_op *to) {
    to->outcome = from->outcome;
    to->end_us = from->end_us;
    to->etag = from->etag;
    from->outcome = HISTORY_UNKNOWN;
    from->end_us = HISTORY_NEVER;
    from->etag = HISTORY_NONE;
}

/* Whoever read what the write set, by the version that it saw. */
static void tell_reads_apart(struct check *c, size_t number, struct version effect, size_t k) {
    uint32_t value = numbered(c, 'v', number), etag = version_text(c, effect), other = nth(c, 'v', number, k);
    for (size_t i = 0; i < c->history.count; i++) {
        struct history_op *line = &c->history.ops[i];
        if (line->kind == HISTORY_GET && line->value == value && line->etag == etag)
            line->value = other;
    }
}

static void tell_apart(struct check *c, size_t number) {
    const struct op *op = &c->ops[number];
    size_t lines[ATTEMPTS_MAX], answered = SIZE_MAX;
    struct version effects[ATTEMPTS_MAX];
    size_t attempts = attempts_of(c, numbered(c, 'r', number), lines), count = effects_of(c, op, effects);
    if (count < 2)
        return;
    if (attempts < count) {
        sim_violated(c->sim, "write %zu was sent %zu times, and had %zu effects", number, attempts, count);
        return;
    }
    for (size_t i = 1; i < attempts; i++) {
        struct history_op *line = &c->history.ops[lines[i]];
        size_t k = i < count ? i : count - 1;
        line->request = nth(c, 'r', number, k);
        if (op->kind == OP_SET)
            line->value = nth(c, 'v', number, k);
    }
    for (size_t i = 0; i < attempts; i++)
        if (c->history.ops[lines[i]].outcome != HISTORY_UNKNOWN)
            answered = lines[i];
    for (size_t k = 0; k < count && answered != SIZE_MAX; k++)
        if (version_equal(effects[k], op->at) && lines[k] != answered)
            move_answer(&c->history.ops[answered], &c->history.ops[lines[k]]);
    for (size_t k = 1; k < count && op->kind == OP_SET; k++)
        tell_reads_apart(c, number, effects[k], k);
}

void check_judge(struct check *c) {
    struct verdict_options options = {0};
    struct verdict verdict;
    for (size_t i = 0; i < c->op_count; i++)
        if (c->ops[i].row > 0)
            tell_apart(c, i);
    history_judge(&c->history, &options, &verdict);
    c->sim->tally.counts[TALLY_JUDGED] += verdict.judged;
    if (verdict.result == LINEAR_OK)
        return;
    if (c->sim->options.trace != NULL)
        verdict_explain(&c->history, &verdict, c->sim->options.trace);
    sim_violated(c->sim, "%s", verdict.text);
}

const struct history *check_history(const struct check *c) {
    return &c->history;
}
