/* The table of answered pairs that a group's log gives: a pair is a row from its first entry on, until
 * RETRIES_MAX newer ones have come. An entry with the pair behind that is a new write and makes another row.
 */
#include "storage/store_parts.h"
#include "tests/sim/check_internal.h"

bool check_pair_counts(const struct group_log *log, const struct op *op) {
    return op->row > 0 && op->row + RETRIES_MAX > log->pair_count;
}

const struct pair_row *check_pair_add(struct check *c, struct group_log *log, const struct pair_row *row) {
    struct op *op = &c->ops[row->op];
    log->pairs = check_grow(log->pairs, &log->pair_capacity, log->pair_count + 1, sizeof *log->pairs);
    log->pairs[log->pair_count] = *row;
    log->pairs[log->pair_count].before = op->row;
    if (op->row > 0)
        sim_count(c->sim, TALLY_RETRY_AFTER_EVICTION);
    op->row = ++log->pair_count;
    if (log->pair_count <= RETRIES_MAX)
        return NULL;
    sim_count(c->sim, TALLY_PAIR_EVICTED);
    return &log->pairs[log->pair_count - RETRIES_MAX - 1];
}

const struct pair_row *check_pair_at(const struct group_log *log, const struct op *op, uint64_t index) {
    return check_pair_told(log, op, index, 0);
}

const struct pair_row *check_pair_told(const struct group_log *log, const struct op *op, uint64_t index,
                                       uint64_t since_us) {
    for (size_t i = op->row; i > 0; i = log->pairs[i - 1].before) {
        const struct pair_row *row = &log->pairs[i - 1];
        if (row->at.index == index)
            return row;
        if (log->entries[row->at.index - 1].at_us < since_us)
            return NULL;
    }
    return NULL;
}
