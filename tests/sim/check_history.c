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

void check_judge(struct check *c) {
    struct verdict_options options = {0};
    struct verdict verdict;
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
