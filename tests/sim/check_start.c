/* What a process leaves behind, and what the next one on that directory must find.
 *
 * A node that starts under the incarnation it had before has what it had durable: its term is not lower, its
 * vote in that term is the same, the log reaches what it had acknowledged, and no row of its ledger is gone
 * without a word. That holds whatever happened to the disk in between: it may refuse to start, or take a new
 * incarnation and begin without a vote, but it must not go on as if it were whole. Where a process ended
 * within a turn it is not known what it had begun to truncate: of its log only what is committed is asked
 * for.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "replication/raft_internal.h"
#include "tests/sim/check_internal.h"

static bool is_kept(const struct machine *m) {
    return m->sim->options.sync_interval_ms == 0 && !m->memory;
}

static struct kept *kept_of(const struct machine *m) {
    return &m->sim->check->kept[m->index];
}

/* The log. */

static void hold(struct check *c, struct kept *k, uint64_t index, uint64_t term) {
    k->held = check_grow(k->held, &k->held_capacity, (size_t)index + 1, sizeof *k->held);
    if (k->held[index] != 0 && k->held[index] != term) {
        c->replaced =
            check_grow(c->replaced, &c->replaced_capacity, c->replaced_count + 1, sizeof *c->replaced);
        c->replaced[c->replaced_count++] =
            (struct replaced){(unsigned)(k - c->kept), {k->held[index], index}};
    }
    k->held[index] = term;
}

/* Of an entry that its log has, or its snapshot. */
static bool term_at(const struct machine *m, uint64_t index, uint64_t *term) {
    const struct group_log *group = &m->sim->check->groups[m->group];
    const struct log *log = replica_log(node_replica(m->node));
    if (index == 0 || (index < log_first(log) && index > group->count))
        return false;
    if (index >= log_first(log))
        return log_term_at(log, index, term);
    *term = group->entries[index - 1].term;
    return true;
}

static void note_log(struct machine *m, struct kept *k) {
    struct check *c = m->sim->check;
    uint64_t durable = log_durable(replica_log(node_replica(m->node))), term = 0;
    uint64_t from = durable < k->durable ? durable : k->durable;
    while (from < k->held_capacity && term_at(m, from, &term) && k->held[from] != term)
        from--;
    for (uint64_t i = from + 1; i <= durable; i++)
        if (term_at(m, i, &term))
            hold(c, k, i, term);
    if (durable < k->durable)
        sim_count(m->sim, TALLY_TRUNCATED);
    k->durable = durable;
}

bool check_held(const struct check *c, unsigned machine, struct version at) {
    const struct kept *k = &c->kept[machine];
    if (at.index < k->held_capacity && k->held[at.index] == at.term)
        return true;
    for (size_t i = 0; i < c->replaced_count; i++)
        if (c->replaced[i].machine == machine && version_equal(c->replaced[i].at, at))
            return true;
    return false;
}

/* The highest position that the log must still reach; 0: none. */
static uint64_t owed(const struct machine *m, const struct kept *k) {
    const struct group_log *group = &m->sim->check->groups[m->group];
    if (k->exact)
        return k->durable;
    uint64_t i = k->durable < group->count ? k->durable : group->count;
    while (i > 0 && k->held[i] != group->entries[i - 1].term)
        i--;
    return i;
}

static void check_log(struct machine *m, const struct kept *k) {
    const struct log *log = replica_log(node_replica(m->node));
    uint64_t index = owed(m, k), term = 0;
    if (index == 0 || (index < log_first(log) && index <= log_last(log)))
        return;
    if (!log_term_at(log, index, &term) || term != k->held[index])
        sim_violated(m->sim,
                     "node %u had %" PRIu64 ".%" PRIu64 " durable and starts with a log from %" PRIu64
                     " to %" PRIu64 " as if it were whole",
                     m->index + 1, k->held[index], index, log_first(log), log_last(log));
}

/* The ledger. */

static void note_ledger(struct machine *m, struct kept *k) {
    const struct ledger *ledger = replica_ledger(node_replica(m->node));
    k->row_count = ledger_count(ledger);
    k->rows = check_grow(k->rows, &k->row_capacity, k->row_count, sizeof *k->rows);
    for (size_t i = 0; i < k->row_count; i++)
        k->rows[i] = ledger_at(ledger, i)->at;
}

static bool has_row(const struct ledger *ledger, struct version at) {
    for (size_t i = 0; i < ledger_count(ledger); i++)
        if (version_equal(ledger_at(ledger, i)->at, at))
            return true;
    return false;
}

static void check_ledger(struct machine *m, const struct kept *k) {
    const struct ledger *ledger = replica_ledger(node_replica(m->node));
    const struct group_log *group = &m->sim->check->groups[m->group];
    for (size_t i = 0; i < k->row_count && !m->said_ledger_damaged; i++)
        if (!has_row(ledger, k->rows[i]) && !check_is_committed(group, k->rows[i]) &&
            !check_was_dropped(m->sim->check, m->group, k->rows[i]))
            sim_violated(m->sim,
                         "the ledger of node %u has lost the row of %" PRIu64 ".%" PRIu64 " without a notice",
                         m->index + 1, k->rows[i].term, k->rows[i].index);
}

/* The whole. */

static bool same_vote(const struct hard_state *a, const struct hard_state *b) {
    return memcmp(a->vote_id, b->vote_id, sizeof a->vote_id) == 0 &&
           a->vote_incarnation == b->vote_incarnation;
}

static void check_vote(struct machine *m, const struct kept *k) {
    static const struct hard_state none;
    if (k->durable == 0) /* it was nobody's voter yet: a voter has the record that makes it one, synced */
        return;
    const struct hard_state *now = &replica_raft(node_replica(m->node))->state;
    if (now->term < k->state.term)
        sim_violated(m->sim, "node %u had term %" PRIu64 " and starts with %" PRIu64, m->index + 1,
                     k->state.term, now->term);
    else if (now->term == k->state.term && !same_vote(&k->state, &none) && !same_vote(&k->state, now))
        sim_violated(m->sim, "node %u has forgotten its vote of term %" PRIu64, m->index + 1, now->term);
}

void check_kept_note(struct machine *m, bool ended) {
    struct kept *k = kept_of(m);
    if (!is_kept(m))
        return;
    uint64_t incarnation = node_self(m->node)->incarnation;
    if (!k->valid || k->incarnation != incarnation)
        k->durable = 0;
    k->valid = true;
    k->incarnation = incarnation;
    k->exact = ended;
    k->state = replica_raft(node_replica(m->node))->state;
    note_log(m, k);
    if (ended || k->row_count != ledger_count(replica_ledger(node_replica(m->node))))
        note_ledger(m, k);
}

void check_kept_none(struct machine *m) {
    kept_of(m)->valid = false;
}

void check_lost(const struct machine *m) {
    m->sim->check->lost_us[m->index] = m->sim->now_us;
}

void check_kept_start(struct machine *m) {
    struct kept *k = kept_of(m);
    if (!is_kept(m))
        return;
    if (k->valid && k->incarnation == node_self(m->node)->incarnation) {
        check_vote(m, k);
        check_log(m, k);
        check_ledger(m, k);
    }
    check_kept_note(m, false);
}
