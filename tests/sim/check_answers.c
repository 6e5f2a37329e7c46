/* The answers, by what the nodes have committed. */
#include "tests/sim/check_internal.h"

static struct version version_at(const struct group_log *log, unsigned key, uint64_t index) {
    for (uint64_t i = index; i > 0; i--)
        if (log->entries[i - 1].key == (int)key)
            return log->entries[i - 1].key_version;
    return (struct version){0, 0};
}

void check_value(const struct check *check, size_t number, struct buffer *out) {
    char text[32];
    snprintf(text, sizeof text, "v%zu-", number);
    buffer_append_text(out, text);
    for (uint32_t i = 0; i < check->ops[number].value_size; i++)
        buffer_append(out, (struct bytes){(const uint8_t *)"abcdefghijklmnop" + i % 16, 1});
}

/* What clients saw. */

size_t check_begin(struct check *c, const struct op *op) {
    c->ops = check_grow(c->ops, &c->op_capacity, c->op_count + 1, sizeof *c->ops);
    struct op *begun = &c->ops[c->op_count];
    *begun = *op;
    begun->began_us = c->sim->now_us;
    begun->asked_term = c->sim->machines[op->machine]->checked_term;
    for (unsigned i = 0; i < SIM_GROUPS_MAX; i++)
        begun->floor[i] = c->groups[i].floor;
    if (op->kind == OP_OUTCOME)
        begun->target_done = c->ops[op->target].state == OP_DONE || c->ops[op->target].state == OP_FAILED;
    check_history_begin(c, c->op_count);
    return c->op_count++;
}

void check_attempted(struct check *c, size_t number, const struct response *r) {
    check_history_end(c, number, r);
    check_headers(c, number, r);
}

void check_again(struct check *c, size_t number, unsigned machine) {
    c->ops[number].unknown++;
    c->ops[number].machine = machine;
    c->ops[number].began_us = c->sim->now_us;
    c->ops[number].asked_term = c->sim->machines[machine]->checked_term;
    check_history_begin(c, number);
}

const struct op *check_op(const struct check *c, size_t number) {
    return &c->ops[number];
}

bool check_is_refusal(const struct response *r) {
    static const char *const names[] = {"overload", "no_leader", "no_majority",      "shutting_down",
                                        "deadline", "disk_full", "group_unreachable"};
    if (r->status >= 400 && r->status < 500 && r->status != 412)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(r->error, names[i]) == 0)
            return true;
    return false;
}

/* The log of a node whose disk failed cannot be read, and one that loses power within its turn is not looked
 * at behind it: what it committed and answered in it only the end will show. */
bool check_may_be_unseen(const struct sim *sim) {
    uint64_t unseen = sim->tally.counts[TALLY_CUT_WITHIN_TURN];
    for (unsigned i = 0; i < sim->options.machines; i++)
        unseen += sim->machines[i]->failures + machine_is_dark(sim->machines[i]);
    return unseen > 0;
}

bool check_is_committed(const struct group_log *log, struct version at) {
    return at.index > 0 && at.index <= log->count && log->entries[at.index - 1].term == at.term;
}

static bool took_effect(const struct group_log *log, const struct op *op, uint64_t index) {
    return op->committed == index || check_pair_at(log, op, index) != NULL;
}

/* A write that was acknowledged at quorum is committed where its answer says. */
static void check_quorum_write(struct check *c, size_t number, const struct op *op) {
    struct group_log *log = &c->groups[op->group];
    if (op->at.index > log->count && check_may_be_unseen(c->sim))
        return; /* the end will show it */
    if (!check_is_committed(log, op->at))
        sim_violated(c->sim, "write %zu was acknowledged at quorum at %llu.%llu and is not committed there",
                     number, (unsigned long long)op->at.term, (unsigned long long)op->at.index);
    else if (op->kind == OP_SET && !took_effect(log, op, op->at.index))
        sim_violated(c->sim, "write %zu was acknowledged at %llu and is committed at %llu", number,
                     (unsigned long long)op->at.index, (unsigned long long)op->committed);
    if (op->at.index > log->floor)
        log->floor = op->at.index;
}

/* Those who vote in a group since the index or before; NULL where that changes, or is not known. */
static const struct configuration *voters_of(const struct sim *sim, uint32_t group, uint64_t index) {
    const struct configuration *found = NULL;
    for (unsigned i = 0; i < sim->options.machines; i++) {
        struct machine *m = sim->machines[i];
        if (m->node == NULL || m->group != group)
            continue;
        const struct raft *raft = replica_raft(node_replica(m->node));
        if (raft_configuration_index(raft) > index)
            return NULL;
        if (raft_commit(raft) >= index)
            found = raft_configuration(raft);
    }
    return found;
}

/* A write that all voters acknowledged is on the disk of each. */
static void check_everywhere(struct check *c, size_t number, const struct op *op) {
    const struct configuration *voters = voters_of(c->sim, op->group, op->at.index);
    for (unsigned i = 0; voters != NULL && i < c->sim->options.machines; i++) {
        struct machine *m = c->sim->machines[i];
        bool forgets = c->sim->options.sync_interval_ms > 0 && c->started_us[i] >= op->began_us;
        if (m->node == NULL || node_state(m->node) == NODE_FAILED || forgets)
            continue;
        struct member_id self = {.incarnation = node_self(m->node)->incarnation};
        memcpy(self.id, node_self(m->node)->id, NODE_ID_SIZE);
        const struct member *member = configuration_find(voters, &self);
        const struct log *log = replica_log(node_replica(m->node));
        bool durable = c->sim->options.sync_interval_ms == 0 && !m->memory;
        uint64_t held = durable ? log_durable(log) : log_written(log);
        if (member != NULL && member->role == MEMBER_VOTER && held < op->at.index)
            sim_violated(c->sim, "write %zu at %llu was acknowledged by all, and node %u has up to %llu",
                         number, (unsigned long long)op->at.index, i + 1, (unsigned long long)held);
    }
}

/* KV-Acks counts who holds it durably, never more. What a retry's answer counts is the retry. */
static void check_acks(struct check *c, size_t number, const struct op *op, const struct response *r) {
    unsigned held = 0;
    bool known = c->sim->options.sync_interval_ms == 0 && !c->sim->machines[0]->memory;
    if (r->voters == 0 || op->pair || !known || check_may_be_unseen(c->sim))
        return;
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        held += c->sim->machines[i]->group == op->group && check_held(c, i, op->at);
    if (r->acks > held || r->acks > r->voters)
        sim_violated(c->sim, "write %zu at %llu.%llu was answered with KV-Acks: %u/%u, and %u nodes had it",
                     number, (unsigned long long)op->at.term, (unsigned long long)op->at.index, r->acks,
                     r->voters, held);
    sim_count(c->sim, TALLY_ACKS_COUNTED);
}

/* Whatever attempt it answers, it is what the entry gave that made the pair's row. */
static void check_pair(struct check *c, size_t number, const struct op *op, const struct response *r) {
    const struct group_log *log = &c->groups[op->group];
    const struct pair_row *row = check_pair_told(log, op, r->position.index, op->began_us);
    if (row == NULL && r->position.index > log->count && check_may_be_unseen(c->sim))
        return;
    bool gone = row != NULL && op->kind == OP_DELETE && !row->fails;
    if (row == NULL || (r->status == 412) != row->fails ||
        !version_equal(r->etag, gone ? (struct version){0, 0} : row->stands))
        sim_violated(c->sim, "write %zu had its effect at %llu, and was answered %u for %llu.%llu", number,
                     (unsigned long long)op->committed, r->status, (unsigned long long)r->position.term,
                     (unsigned long long)r->position.index);
}

static void write_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    if (r->status == 200 || r->status == 412) {
        op->state = r->status == 200 ? OP_DONE : OP_FAILED;
        op->at = r->position;
        op->group = r->group < SIM_GROUPS_MAX ? r->group : 0;
        sim_count(c->sim, r->status == 200 ? TALLY_WRITE_DONE : TALLY_WRITE_FAILED);
        if (op->quorum)
            check_quorum_write(c, number, op);
        if (op->all)
            check_everywhere(c, number, op);
        if (op->pair)
            check_pair(c, number, op, r);
        check_acks(c, number, op, r);
    } else if (check_is_refusal(r) && op->unknown == 0) {
        op->state = OP_REFUSED;
        sim_count(c->sim, TALLY_WRITE_REFUSED);
        if (strcmp(r->error, "overload") == 0)
            sim_count(c->sim, TALLY_WRITE_OVERLOAD);
        if (op->committed != 0)
            sim_violated(c->sim, "write %zu was refused (%s) and is committed at %llu", number, r->error,
                         (unsigned long long)op->committed);
    } else {
        op->state = OP_UNKNOWN;
        op->at = r->position;
        op->group = r->group < SIM_GROUPS_MAX ? r->group : 0;
        check_acks(c, number, op, r);
        sim_count(c->sim, TALLY_WRITE_UNKNOWN);
    }
}

/* The number in the answer's value; SIZE_MAX where it holds none. */
size_t check_number_read(const struct response *r) {
    static const char before[] = "\"value\":\"";
    const char *body = (const char *)r->body.data;
    for (size_t i = 0; i + sizeof before < r->body.size; i++)
        if (memcmp(body + i, before, sizeof before - 1) == 0)
            return check_value_number(
                (struct bytes){r->body.data + i + sizeof before - 1, r->body.size - i - sizeof before});
    return SIZE_MAX;
}

static void check_value_read(struct check *c, size_t number, const struct response *r) {
    const struct op *op = &c->ops[number];
    size_t written = check_number_read(r);
    if (written >= c->op_count || c->ops[written].kind != OP_SET || c->ops[written].key != op->key)
        sim_violated(c->sim, "read %zu of k%u returned what nobody wrote there", number, op->key);
    else if (c->ops[written].state == OP_REFUSED)
        sim_violated(c->sim, "read %zu returned write %zu, which was refused", number, written);
}

/* The version seen is committed, and no older than what the key had when the read began. */
static void check_linearizable(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    uint64_t seen = r->status == 200 ? r->etag.index : 0;
    if (c->owners[op->key] == 0) {
        if (seen > 0)
            sim_violated(c->sim, "linearizable read %zu of k%u saw %llu, and nobody has committed it", number,
                         op->key, (unsigned long long)seen);
        return;
    }
    unsigned group = c->owners[op->key] - 1;
    struct group_log *log = &c->groups[group];
    struct version need = version_at(log, op->key, op->floor[group]);
    unsigned long long floor = op->floor[group];
    if (seen > 0 && !check_is_committed(log, r->etag)) {
        sim_violated(c->sim, "linearizable read %zu returned version %llu.%llu, which is not committed",
                     number, (unsigned long long)r->etag.term, (unsigned long long)seen);
        return;
    }
    if (seen > 0 && seen < need.index)
        sim_violated(c->sim, "linearizable read %zu of k%u returned version %llu, older than %llu", number,
                     op->key, (unsigned long long)seen, (unsigned long long)need.index);
    if (seen > log->floor)
        log->floor = seen;
    if (seen > floor || version_equal(need, (struct version){r->etag.term, seen}))
        return;
    for (uint64_t i = floor; i < log->count; i++)
        if (seen == 0 && log->entries[i].key == (int)op->key && log->entries[i].key_version.index == 0)
            return;
    sim_violated(c->sim, "linearizable read %zu of k%u saw version %llu; at %llu it was %llu", number,
                 op->key, (unsigned long long)seen, floor, (unsigned long long)need.index);
}

static void outcome_committed(struct check *c, const struct op *op, const char *body) {
    const struct op *target = &c->ops[op->target];
    uint32_t group = c->owners[target->key] > 0 ? c->owners[target->key] - 1 : 0;
    unsigned long long index = 0;
    char want[160] = "none";
    sscanf(body, "{\"outcome\":\"committed\",\"position\":\"%*u:%*u.%llu", &index);
    const struct pair_row *row = check_pair_told(&c->groups[group], target, index, op->began_us);
    if (row != NULL)
        snprintf(want, sizeof want,
                 "{\"outcome\":\"committed\",\"position\":\"%u:%llu.%llu\",\"result\":\"%s\"}", group,
                 (unsigned long long)row->at.term, index, row->fails ? "precondition_failed" : "ok");
    if (strcmp(body, want) != 0)
        sim_violated(c->sim, "the outcome of write %zu, committed at %llu, is told as %s", op->target,
                     (unsigned long long)target->committed, body);
}

static void outcome_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    const struct op *target = &c->ops[op->target];
    const struct group_log *log = &c->groups[c->owners[target->key] > 0 ? c->owners[target->key] - 1 : 0];
    char body[160];
    op->state = r->status == 200 ? OP_DONE : OP_UNKNOWN;
    if (r->status != 200)
        return;
    sim_count(c->sim, TALLY_OUTCOME_TOLD);
    snprintf(body, sizeof body, "%.*s", (int)r->body.size, (const char *)r->body.data);
    if (strncmp(body, "{\"outcome\":\"unknown\"", 20) != 0 &&
        strncmp(body, "{\"outcome\":\"pending\"", 20) != 0)
        outcome_committed(c, op, body);
    else if (op->target_done && (target->row == 0 || check_pair_counts(log, target)))
        sim_violated(c->sim, "write %zu was answered before, and is told as %s", op->target, body);
    else if (op->target_done)
        sim_count(c->sim, TALLY_OUTCOME_FORGOTTEN);
}

static void read_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    bool none = r->status == 404 && strcmp(r->error, "not_found") == 0;
    if (r->status != 200 && !none) {
        op->state = OP_UNKNOWN;
        return;
    }
    op->state = OP_DONE;
    sim_count(c->sim, TALLY_READ);
    if (r->follower && r->staleness_known)
        sim_count(c->sim, TALLY_READ_STALENESS);
    if (!none)
        check_value_read(c, number, r);
    if (op->kind != OP_READ)
        return;
    sim_count(c->sim, TALLY_READ_LINEARIZABLE);
    check_linearizable(c, number, r);
}

static void listing_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    op->state = r->status == 200 ? OP_DONE : OP_UNKNOWN;
    if (r->status == 200)
        sim_count(c->sim, op->linearizable ? TALLY_LISTING_LINEARIZABLE : TALLY_LISTING);
    if (r->status == 200 && r->chunks > 1)
        sim_count(c->sim, TALLY_LISTING_SLICED);
}

void check_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    check_history_end(c, number, r);
    op->ended_us = c->sim->now_us;
    sim_mix(c->sim, r->status + number * 1000);
    if (c->sim->unchecked)
        return;
    check_headers(c, number, r);
    if (r->status >= 500 && r->status != 503 && r->status != 504 && r->status != 507)
        sim_violated(c->sim, "request %zu was answered %u %s", number, r->status, r->error);
    if (op->kind == OP_SET || op->kind == OP_DELETE)
        write_answered(c, number, r);
    else if (op->kind == OP_OUTCOME)
        outcome_answered(c, number, r);
    else if (op->kind == OP_KEYS)
        listing_answered(c, number, r);
    else
        read_answered(c, number, r);
}

/* The end. */

bool check_agree(const struct check *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        uint64_t count = c->groups[m->group].count;
        if (m->node == NULL || replica_applied(node_replica(m->node)) != count ||
            log_last(replica_log(node_replica(m->node))) != count)
            return false;
    }
    return true;
}

static bool in_ledger(const struct check *c, uint32_t group, struct version at) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        bool asked = m->node != NULL && m->group == group;
        const struct ledger *ledger = asked ? replica_ledger(node_replica(m->node)) : NULL;
        for (size_t row = 0; ledger != NULL && row < ledger_count(ledger); row++)
            if (version_equal(ledger_at(ledger, row)->at, at))
                return true;
    }
    return false;
}

/* Nobody but the leader that answered it had it for certain, and that one has lost what it had since. */
static bool lost_with_disk(const struct check *c, const struct op *op) {
    const struct group_log *log = &c->groups[op->group];
    if (op->quorum || op->at.term >= log->leader_count || log->leaders[op->at.term].machine == 0)
        return false;
    return c->lost_us[log->leaders[op->at.term].machine - 1] >= op->began_us;
}

static void check_kept(struct check *c, size_t number) {
    const struct op *op = &c->ops[number];
    bool there = check_is_committed(&c->groups[op->group], op->at);
    if (there && op->kind == OP_SET && !took_effect(&c->groups[op->group], op, op->at.index))
        sim_violated(c->sim, "write %zu was answered at %llu and is committed at %llu", number,
                     (unsigned long long)op->at.index, (unsigned long long)op->committed);
    if (there || (op->state == OP_FAILED && !op->quorum)) /* no effect of it can be lost */
        return;
    bool row = in_ledger(c, op->group, op->at) || check_was_dropped(c, op->group, op->at);
    if (!row && lost_with_disk(c, op))
        sim_count(c->sim, TALLY_WEAK_WRITE_LOST_WITH_DISK);
    else if (!row)
        sim_violated(c->sim, "write %zu was answered at %llu.%llu: it is neither committed nor in a ledger",
                     number, (unsigned long long)op->at.term, (unsigned long long)op->at.index);
    else if (op->quorum)
        sim_violated(c->sim, "write %zu was acknowledged at quorum and is in a ledger", number);
    else
        sim_count(c->sim, TALLY_WRITE_IN_LEDGER);
}

/* One of which it is not known what became is committed where its answer said, or not at all. */
static void check_position_kept(struct check *c, size_t number) {
    const struct op *op = &c->ops[number];
    if (op->at.index == 0 || op->pair)
        return;
    bool there = check_is_committed(&c->groups[op->group], op->at);
    if (there ? op->committed != op->at.index : op->committed != 0)
        sim_violated(c->sim, "write %zu was answered as unknown at %llu.%llu and is committed at %llu",
                     number, (unsigned long long)op->at.term, (unsigned long long)op->at.index,
                     (unsigned long long)op->committed);
    sim_count(c->sim, TALLY_POSITION_KEPT);
}

static void check_answered_pairs(struct check *c, const struct machine *m) {
    const struct group_log *log = &c->groups[m->group];
    if (log->count > 0 &&
        check_answered_hash(replica_store(node_replica(m->node))) != log->entries[log->count - 1].answered)
        sim_violated(c->sim, "node %u ends with other answered pairs than its log gives", m->index + 1);
}

void check_final(struct check *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        check_rejected(c, c->sim->machines[i]);
        check_ledger_told(c->sim->machines[i]);
        check_answered_pairs(c, c->sim->machines[i]);
        check_digest_holds(c->sim->machines[i]);
    }
    for (size_t i = 0; i < c->op_count && c->sim->violation[0] == '\0'; i++)
        if ((c->ops[i].kind == OP_SET || c->ops[i].kind == OP_DELETE) &&
            (c->ops[i].state == OP_DONE || c->ops[i].state == OP_FAILED))
            check_kept(c, i);
        else if (c->ops[i].kind == OP_SET && c->ops[i].state == OP_UNKNOWN)
            check_position_kept(c, i);
}
