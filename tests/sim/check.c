#include "tests/sim/check.h"

#include <err.h>
#include <stdlib.h>

#include "storage/crc32c.h"
#include "storage/store_parts.h"

struct committed {
    uint64_t term;
    uint32_t crc;
    uint64_t state;             /* hash of the store after it */
    uint64_t answered;          /* hash of the answered pairs after it */
    int key;                    /* of a write; -1 otherwise */
    struct version key_version; /* of that key after it; index 0: absent */
};

struct leader {
    uint64_t term, incarnation;
    unsigned machine; /* + 1; 0 none */
};

struct check {
    struct sim *sim;
    struct committed *entries; /* [index - 1] */
    size_t count, capacity;
    struct version versions[KEYS_MAX]; /* of keys at the end of entries */
    uint64_t hashes[KEYS_MAX];
    struct leader *leaders; /* [term] */
    size_t leader_count;
    struct op *ops;
    size_t op_count, op_capacity;
    uint64_t floor; /* highest index acknowledged at quorum or read linearizably */
    struct check_counts counts;
};

static void *grow(void *array, size_t *capacity, size_t wanted, size_t size) {
    if (wanted <= *capacity)
        return array;
    size_t next = *capacity * 2 > wanted ? *capacity * 2 : wanted + 16;
    array = reallocarray(array, next, size);
    if (array == NULL)
        err(1, "out of memory");
    memset((char *)array + *capacity * size, 0, (next - *capacity) * size);
    *capacity = next;
    return array;
}

struct check *check_new(struct sim *sim) {
    struct check *check = calloc(1, sizeof *check);
    if (check == NULL)
        err(1, "out of memory");
    check->sim = sim;
    return check;
}

void check_free(struct check *check) {
    free(check->entries);
    free(check->leaders);
    free(check->ops);
    free(check);
}

static struct version version_at(const struct check *c, unsigned key, uint64_t index) {
    for (uint64_t i = index; i > 0; i--)
        if (c->entries[i - 1].key == (int)key)
            return c->entries[i - 1].key_version;
    return (struct version){0, 0};
}

/* Keys and values of the workload: "k7", "v123-xxx". */

static int key_number(struct bytes key) {
    int number = 0;
    if (key.size < 2 || key.size > 3 || key.data[0] != 'k')
        return -1;
    for (size_t i = 1; i < key.size; i++)
        number = number * 10 + (key.data[i] - '0');
    return number >= 0 && number < KEYS_MAX ? number : -1;
}

static size_t value_number(struct bytes value) {
    size_t number = 0;
    for (size_t i = 1; i < value.size && value.data[i] >= '0' && value.data[i] <= '9'; i++)
        number = number * 10 + (size_t)(value.data[i] - '0');
    return value.size > 1 && value.data[0] == 'v' ? number : SIZE_MAX;
}

void check_value(const struct check *check, size_t number, struct buffer *out) {
    char text[32];
    snprintf(text, sizeof text, "v%zu-", number);
    buffer_append_text(out, text);
    for (uint32_t i = 0; i < check->ops[number].value_size; i++)
        buffer_append(out, (struct bytes){(const uint8_t *)"abcdefghijklmnop" + i % 16, 1});
}

static uint64_t record_hash(struct bytes key, struct version version, struct bytes value) {
    uint64_t hash = ((uint64_t)crc32c(1, key) << 32) ^ crc32c(2, value);
    hash ^= version.term * 0x9e3779b97f4a7c15ull ^ version.index * 0xc2b2ae3d27d4eb4full;
    hash *= 0xff51afd7ed558ccdull;
    return hash ^ hash >> 31;
}

static bool add_hash(void *arg, const struct store_record *record) {
    uint64_t *sum = arg;
    if (key_number(record->key) >= 0)
        *sum += record_hash(record->key, record->version, record->value);
    return true;
}

static uint64_t store_hash(const struct store *store) {
    uint64_t sum = 0;
    store_scan(store, (struct bytes){NULL, 0}, add_hash, &sum);
    return sum;
}

static uint64_t answer_hash(size_t number, struct version at, struct version current, bool failed) {
    uint64_t hash =
        number * 0x9e3779b97f4a7c15ull ^ at.index << 20 ^ at.term << 40 ^ current.index * 2 ^ failed;
    hash *= 0xff51afd7ed558ccdull;
    return hash ^ hash >> 31;
}

/* Of a pair's request: "r123"; SIZE_MAX for another. */
static size_t pair_number(struct bytes request) {
    size_t number = 0;
    if (request.size < 2 || request.data[0] != 'r')
        return SIZE_MAX;
    for (size_t i = 1; i < request.size; i++)
        number = number * 10 + (size_t)(request.data[i] - '0');
    return number;
}

static uint64_t answered_hash(const struct store *store) {
    const struct retries *retries = &store->retries;
    struct buffer row = {0};
    uint64_t sum = 0;
    size_t from, to;
    retries_range(retries, store->applied.index, &from, &to);
    for (; from < to; from++) {
        struct store_answer answer;
        buffer_clear(&row);
        retries_row_encode(&row, retries_at(retries, from));
        retries_decode(buffer_bytes(&row), &answer);
        sum += answer_hash(pair_number(answer.request), answer.at, answer.current,
                           answer.outcome == STORE_CONDITION_FAILED);
    }
    buffer_release(&row);
    return sum;
}

/* What is committed. */

static bool condition_holds(const struct entry *entry, struct version current) {
    switch (entry->condition) {
    case CONDITION_NONE:
        return true;
    case CONDITION_MATCH:
        return current.index > 0 && version_equal(current, entry->match);
    case CONDITION_ABSENT:
        return current.index == 0;
    case CONDITION_EXISTS:
        return current.index > 0;
    }
    return false;
}

static void op_committed(struct check *c, const struct log_record *record, const struct entry *entry) {
    size_t number = value_number(entry->value);
    if (record->type != ENTRY_PUT)
        return;
    if (number >= c->op_count || c->ops[number].kind != OP_SET) {
        sim_violated(c->sim, "index %llu holds a value that nobody wrote", (unsigned long long)record->index);
        return;
    }
    struct op *op = &c->ops[number];
    if (op->committed != 0)
        sim_violated(c->sim, "write %zu is committed twice, at %llu and %llu", number,
                     (unsigned long long)op->committed, (unsigned long long)record->index);
    if (op->state == OP_REFUSED)
        sim_violated(c->sim, "write %zu was refused and is committed at %llu", number,
                     (unsigned long long)record->index);
    op->committed = record->index;
}

/* The op whose pair the entry bears; NULL: it bears none. */
static struct op *paired(struct check *c, const struct entry *write) {
    size_t number = write->request.size > 0 ? pair_number(write->request) : SIZE_MAX;
    return number < c->op_count && c->ops[number].pair ? &c->ops[number] : NULL;
}

/* A write takes effect. */
static void apply_write(struct check *c, struct committed *entry, const struct log_record *record,
                        const struct entry *write, uint64_t *state) {
    int key = entry->key;
    struct op *op = paired(c, write);
    struct version at = {record->term, record->index};
    bool holds = condition_holds(write, c->versions[key]);
    if (holds) {
        *state -= c->hashes[key];
        c->versions[key] = record->type == ENTRY_PUT ? at : (struct version){0, 0};
        c->hashes[key] = record->type == ENTRY_PUT ? record_hash(write->key, at, write->value) : 0;
        *state += c->hashes[key];
    }
    op_committed(c, record, write);
    if (op == NULL)
        return;
    op->committed = record->index;
    op->fails = !holds;
    op->stands = c->versions[key];
    entry->answered += answer_hash((size_t)(op - c->ops), at, op->stands, op->fails);
}

static void apply(struct check *c, struct committed *entry, const struct log_record *record) {
    struct entry write;
    uint64_t state = c->count > 0 ? c->entries[c->count - 1].state : 0;
    entry->answered = c->count > 0 ? c->entries[c->count - 1].answered : 0;
    entry->key = -1;
    if ((record->type == ENTRY_PUT || record->type == ENTRY_DELETE) &&
        entry_decode(record->payload, &write) && key_number(write.key) >= 0) {
        int key = key_number(write.key);
        entry->key = key;
        const struct op *op = paired(c, &write);
        if (op != NULL && op->committed != 0)
            c->counts.retries++;
        else
            apply_write(c, entry, record, &write, &state);
        entry->key_version = c->versions[key];
    }
    entry->state = state;
}

static void check_record(struct machine *m, const struct log_record *record) {
    struct check *c = m->sim->check;
    uint32_t crc = crc32c((uint32_t)record->type, record->payload);
    unsigned long long index = record->index;
    if (record->index <= c->count) {
        const struct committed *known = &c->entries[record->index - 1];
        if (known->term != record->term || known->crc != crc)
            sim_violated(
                m->sim, "node %u has committed another entry at %llu: term %llu, elsewhere term %llu",
                m->index + 1, index, (unsigned long long)record->term, (unsigned long long)known->term);
        return;
    }
    if (record->index != c->count + 1) {
        sim_violated(m->sim, "node %u has committed %llu, and nobody %zu", m->index + 1, index, c->count + 1);
        return;
    }
    c->entries = grow(c->entries, &c->capacity, c->count + 1, sizeof *c->entries);
    struct committed entry = {.term = record->term, .crc = crc};
    apply(c, &entry, record);
    c->entries[c->count++] = entry;
    c->counts.committed++;
    sim_mix(m->sim, crc);
}

static void check_commit(struct machine *m) {
    struct replica *replica = node_replica(m->node);
    struct log *log = (struct log *)(uintptr_t)replica_log(replica);
    uint64_t commit = raft_commit(replica_raft(replica));
    struct log_record record;
    if (commit < m->checked_commit)
        sim_violated(m->sim, "the commit of node %u went back from %llu to %llu", m->index + 1,
                     (unsigned long long)m->checked_commit, (unsigned long long)commit);
    uint64_t index = m->checked_commit + 1;
    if (index < log_first(log))
        index = log_first(log);
    for (; index <= commit && m->sim->violation[0] == '\0'; index++) {
        enum log_result result = log_read(log, index, &record);
        if (result != LOG_OK && m->may_fail)
            return;
        if (result != LOG_OK) {
            sim_violated(m->sim, "node %u cannot read %llu back: %s", m->index + 1, (unsigned long long)index,
                         log_result_text(result));
            return;
        }
        check_record(m, &record);
    }
    m->checked_commit = commit;
}

static void check_leader(struct machine *m) {
    struct check *c = m->sim->check;
    const struct raft *raft = replica_raft(node_replica(m->node));
    uint64_t term = raft_term(raft);
    if (term < m->checked_term)
        sim_violated(m->sim, "the term of node %u went back from %llu to %llu", m->index + 1,
                     (unsigned long long)m->checked_term, (unsigned long long)term);
    m->checked_term = term;
    if (raft_role(raft) != RAFT_LEADER)
        return;
    c->leaders = grow(c->leaders, &c->leader_count, (size_t)term + 1, sizeof *c->leaders);
    struct leader *leader = &c->leaders[term];
    uint64_t incarnation = node_self(m->node)->incarnation;
    if (leader->machine == 0) {
        *leader = (struct leader){term, incarnation, m->index + 1};
        c->counts.elections++;
    }
    if (leader->machine != m->index + 1 || leader->incarnation != incarnation)
        sim_violated(m->sim, "term %llu has two leaders, %u and %u", (unsigned long long)term,
                     leader->machine, m->index + 1);
}

static void check_store(struct machine *m) {
    struct check *c = m->sim->check;
    struct replica *replica = node_replica(m->node);
    uint64_t applied = replica_applied(replica), commit = raft_commit(replica_raft(replica));
    if (applied == m->checked_applied)
        return;
    m->checked_applied = applied;
    bool ahead = m->sim->options.ack == ACK_ASYNC && applied > commit;
    if (applied > commit && !ahead)
        sim_violated(m->sim, "node %u applied %llu and has committed only %llu", m->index + 1,
                     (unsigned long long)applied, (unsigned long long)commit);
    if (ahead || applied == 0 || applied > c->count)
        return;
    if (store_hash(replica_store(replica)) != c->entries[applied - 1].state)
        sim_violated(m->sim, "node %u has another state than its log gives at %llu", m->index + 1,
                     (unsigned long long)applied);
    if (applied % 32 == 0 && answered_hash(replica_store(replica)) != c->entries[applied - 1].answered)
        sim_violated(m->sim, "node %u has other answered pairs than its log gives at %llu", m->index + 1,
                     (unsigned long long)applied);
}

void check_turn(struct machine *m) {
    if (m->sim->unchecked)
        return;
    check_leader(m);
    check_commit(m);
    if (node_state(m->node) != NODE_FAILED)
        check_store(m);
}

void check_started(struct machine *m) {
    m->checked_commit = 0;
    m->checked_applied = UINT64_MAX;
    m->checked_term = 0;
    check_turn(m);
}

void check_ended(struct machine *m) {
    m->checked_commit = m->checked_term = 0;
}

void check_said(struct machine *m, const char *event) {
    struct check_counts *counts = &m->sim->check->counts;
    counts->snapshots += strcmp(event, "snapshot_taken") == 0;
    counts->installed += strcmp(event, "snapshot_installed") == 0;
    counts->overruled += strcmp(event, "writes_overruled") == 0;
}

/* What clients saw. */

size_t check_begin(struct check *c, const struct op *op) {
    c->ops = grow(c->ops, &c->op_capacity, c->op_count + 1, sizeof *c->ops);
    struct op *begun = &c->ops[c->op_count];
    *begun = *op;
    begun->began_us = c->sim->now_us;
    begun->floor = c->floor;
    if (op->kind == OP_OUTCOME)
        begun->target_done = c->ops[op->target].state == OP_DONE || c->ops[op->target].state == OP_FAILED;
    return c->op_count++;
}

void check_again(struct check *c, size_t number, unsigned machine) {
    c->ops[number].unknown++;
    c->ops[number].machine = machine;
    c->ops[number].began_us = c->sim->now_us;
}

const struct op *check_op(const struct check *c, size_t number) {
    return &c->ops[number];
}

static bool is_refusal(const struct response *r) {
    static const char *const names[] = {"overload", "no_leader", "no_majority",      "shutting_down",
                                        "deadline", "disk_full", "group_unreachable"};
    if (r->status >= 400 && r->status < 500 && r->status != 412)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(r->error, names[i]) == 0)
            return true;
    return false;
}

static bool any_failed(const struct sim *sim) {
    unsigned failures = 0;
    for (unsigned i = 0; i < sim->options.machines; i++)
        failures += sim->machines[i]->failures;
    return failures > 0;
}

/* A write that was acknowledged at quorum is committed where its answer says. */
static void check_quorum_write(struct check *c, size_t number, const struct op *op) {
    if (op->at.index > c->count && any_failed(c->sim))
        return; /* the log of a node whose disk failed cannot be read: the end will show it */
    if (op->at.index == 0 || op->at.index > c->count || c->entries[op->at.index - 1].term != op->at.term)
        sim_violated(c->sim, "write %zu was acknowledged at quorum at %llu.%llu and is not committed there",
                     number, (unsigned long long)op->at.term, (unsigned long long)op->at.index);
    else if (op->kind == OP_SET && op->committed != op->at.index)
        sim_violated(c->sim, "write %zu was acknowledged at %llu and is committed at %llu", number,
                     (unsigned long long)op->at.index, (unsigned long long)op->committed);
    if (op->at.index > c->floor)
        c->floor = op->at.index;
}

/* Whatever attempt it answers, it is what the first entry with the pair gave. */
static void check_pair(struct check *c, size_t number, const struct op *op, const struct response *r) {
    struct version stands = op->kind == OP_DELETE && !op->fails ? (struct version){0, 0} : op->stands;
    if (r->position.index != op->committed || (r->status == 412) != op->fails ||
        !version_equal(r->etag, stands))
        sim_violated(c->sim, "write %zu had its effect at %llu, and was answered %u for %llu.%llu", number,
                     (unsigned long long)op->committed, r->status, (unsigned long long)r->position.term,
                     (unsigned long long)r->position.index);
}

static void write_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    if (r->status == 200 || r->status == 412) {
        op->state = r->status == 200 ? OP_DONE : OP_FAILED;
        op->at = r->position;
        c->counts.done += r->status == 200;
        c->counts.failed += r->status == 412;
        if (op->quorum)
            check_quorum_write(c, number, op);
        if (op->pair)
            check_pair(c, number, op, r);
    } else if (is_refusal(r) && op->unknown == 0) {
        op->state = OP_REFUSED;
        c->counts.refused++;
        if (op->committed != 0)
            sim_violated(c->sim, "write %zu was refused (%s) and is committed at %llu", number, r->error,
                         (unsigned long long)op->committed);
    } else {
        op->state = OP_UNKNOWN;
        c->counts.unknown++;
    }
}

/* The number in the answer's value; SIZE_MAX where it holds none. */
static size_t number_read(const struct response *r) {
    static const char before[] = "\"value\":\"";
    const char *body = (const char *)r->body.data;
    for (size_t i = 0; i + sizeof before < r->body.size; i++)
        if (memcmp(body + i, before, sizeof before - 1) == 0)
            return value_number(
                (struct bytes){r->body.data + i + sizeof before - 1, r->body.size - i - sizeof before});
    return SIZE_MAX;
}

static void check_value_read(struct check *c, size_t number, const struct response *r) {
    const struct op *op = &c->ops[number];
    size_t written = number_read(r);
    if (written >= c->op_count || c->ops[written].kind != OP_SET || c->ops[written].key != op->key)
        sim_violated(c->sim, "read %zu of k%u returned what nobody wrote there", number, op->key);
    else if (c->ops[written].state == OP_REFUSED)
        sim_violated(c->sim, "read %zu returned write %zu, which was refused", number, written);
}

static void check_linearizable(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    struct version need = version_at(c, op->key, op->floor);
    uint64_t seen = r->status == 200 ? r->etag.index : 0;
    unsigned long long floor = op->floor;
    if (seen > c->count || (seen > 0 && c->entries[seen - 1].term != r->etag.term)) {
        sim_violated(c->sim, "linearizable read %zu returned version %llu.%llu, which is not committed",
                     number, (unsigned long long)r->etag.term, (unsigned long long)seen);
        return;
    }
    if (seen > 0 && seen < need.index)
        sim_violated(c->sim, "linearizable read %zu of k%u returned version %llu, older than %llu", number,
                     op->key, (unsigned long long)seen, (unsigned long long)need.index);
    if (seen > c->floor)
        c->floor = seen;
    if (seen > op->floor || version_equal(need, (struct version){r->etag.term, seen}))
        return;
    for (uint64_t i = op->floor; i < c->count; i++)
        if (seen == 0 && c->entries[i].key == (int)op->key && c->entries[i].key_version.index == 0)
            return;
    sim_violated(c->sim, "linearizable read %zu of k%u saw version %llu; at %llu it was %llu", number,
                 op->key, (unsigned long long)seen, floor, (unsigned long long)need.index);
}

static void outcome_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    const struct op *target = &c->ops[op->target];
    char body[160], want[160];
    op->state = r->status == 200 ? OP_DONE : OP_UNKNOWN;
    if (r->status != 200)
        return;
    c->counts.outcomes++;
    snprintf(body, sizeof body, "%.*s", (int)r->body.size, (const char *)r->body.data);
    if (strncmp(body, "{\"outcome\":\"unknown\"", 20) == 0 ||
        strncmp(body, "{\"outcome\":\"pending\"", 20) == 0) {
        if (op->target_done)
            sim_violated(c->sim, "write %zu was answered before, and is told as %s", op->target, body);
        return;
    }
    snprintf(want, sizeof want, "{\"outcome\":\"committed\",\"position\":\"0:%llu.%llu\",\"result\":\"%s\"}",
             target->committed > 0 ? (unsigned long long)c->entries[target->committed - 1].term : 0,
             (unsigned long long)target->committed, target->fails ? "precondition_failed" : "ok");
    if (strcmp(body, want) != 0)
        sim_violated(c->sim, "the outcome of write %zu is told as %s, not as %s", op->target, body, want);
}

static void read_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    bool none = r->status == 404 && strcmp(r->error, "not_found") == 0;
    if (r->status != 200 && !none) {
        op->state = OP_UNKNOWN;
        return;
    }
    op->state = OP_DONE;
    c->counts.reads++;
    if (!none)
        check_value_read(c, number, r);
    if (op->kind != OP_READ)
        return;
    c->counts.linearizable++;
    check_linearizable(c, number, r);
}

void check_answered(struct check *c, size_t number, const struct response *r) {
    struct op *op = &c->ops[number];
    op->ended_us = c->sim->now_us;
    sim_mix(c->sim, r->status + number * 1000);
    if (r->status >= 500 && r->status != 503 && r->status != 504 && r->status != 507)
        sim_violated(c->sim, "request %zu was answered %u %s", number, r->status, r->error);
    if (op->kind == OP_SET || op->kind == OP_DELETE)
        write_answered(c, number, r);
    else if (op->kind == OP_OUTCOME)
        outcome_answered(c, number, r);
    else
        read_answered(c, number, r);
}

/* The end. */

uint64_t check_committed(const struct check *c) {
    return c->count;
}

bool check_agree(const struct check *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        if (m->node == NULL || replica_applied(node_replica(m->node)) != c->count ||
            log_last(replica_log(node_replica(m->node))) != c->count)
            return false;
    }
    return true;
}

static const struct ledger_row *in_ledger(const struct check *c, struct version at) {
    for (unsigned i = 0; i < c->sim->options.machines; i++) {
        const struct machine *m = c->sim->machines[i];
        const struct ledger *ledger = m->node != NULL ? replica_ledger(node_replica(m->node)) : NULL;
        for (size_t row = 0; ledger != NULL && row < ledger_count(ledger); row++)
            if (version_equal(ledger_at(ledger, row)->at, at))
                return ledger_at(ledger, row);
    }
    return NULL;
}

static void check_kept(struct check *c, size_t number) {
    const struct op *op = &c->ops[number];
    bool there =
        op->at.index > 0 && op->at.index <= c->count && c->entries[op->at.index - 1].term == op->at.term;
    if (there && op->kind == OP_SET && op->committed != op->at.index)
        sim_violated(c->sim, "write %zu was answered at %llu and is committed at %llu", number,
                     (unsigned long long)op->at.index, (unsigned long long)op->committed);
    if (there)
        return;
    const struct ledger_row *row = in_ledger(c, op->at);
    if (row == NULL)
        sim_violated(c->sim, "write %zu was answered at %llu.%llu: it is neither committed nor in a ledger",
                     number, (unsigned long long)op->at.term, (unsigned long long)op->at.index);
    else if (op->quorum)
        sim_violated(c->sim, "write %zu was acknowledged at quorum and is in a ledger", number);
    else
        c->counts.ledger++;
}

/* What a ledger calls rejected is not committed. */
static void check_rejected(struct check *c, const struct ledger *ledger) {
    for (size_t i = 0; i < ledger_count(ledger); i++) {
        const struct ledger_row *row = ledger_at(ledger, i);
        bool committed = row->at.index <= c->count && c->entries[row->at.index - 1].term == row->at.term;
        if (committed && row->state == LEDGER_REJECTED)
            sim_violated(c->sim, "the write at %llu.%llu is committed, and a ledger calls it rejected",
                         (unsigned long long)row->at.term, (unsigned long long)row->at.index);
    }
}

void check_final(struct check *c) {
    for (unsigned i = 0; i < c->sim->options.machines; i++)
        check_rejected(c, replica_ledger(node_replica(c->sim->machines[i]->node)));
    for (unsigned i = 0; i < c->sim->options.machines && c->count > 0; i++)
        if (answered_hash(replica_store(node_replica(c->sim->machines[i]->node))) !=
            c->entries[c->count - 1].answered)
            sim_violated(c->sim, "node %u ends with other answered pairs than its log gives", i + 1);
    for (size_t i = 0; i < c->op_count && c->sim->violation[0] == '\0'; i++)
        if ((c->ops[i].kind == OP_SET || c->ops[i].kind == OP_DELETE) &&
            (c->ops[i].state == OP_DONE || c->ops[i].state == OP_FAILED))
            check_kept(c, i);
}

struct check_counts check_counts(const struct check *c) {
    return c->counts;
}
