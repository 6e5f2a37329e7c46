/* The nodes: what they commit, and what their states are. */
#include <err.h>
#include <stdlib.h>

#include "storage/crc32c.h"
#include "storage/store_parts.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/flip.h"

void *check_grow(void *array, size_t *capacity, size_t wanted, size_t size) {
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
    check_inquire_begin(check);
    history_init(&check->history);
    return check;
}

void check_free(struct check *check) {
    for (unsigned i = 0; i < SIM_GROUPS_MAX; i++) {
        free(check->groups[i].entries);
        free(check->groups[i].leaders);
        free(check->groups[i].members);
        free(check->groups[i].pairs);
    }
    for (unsigned i = 0; i < MACHINES_MAX; i++) {
        free(check->kept[i].held);
        free(check->kept[i].rows);
        free(check->told[i].series);
    }
    free(check->replaced);
    free(check->dropped);
    free(check->ops);
    history_release(&check->history);
    free(check);
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

size_t check_value_number(struct bytes value) {
    size_t number = 0;
    for (size_t i = 1; i < value.size && value.data[i] >= '0' && value.data[i] <= '9'; i++)
        number = number * 10 + (size_t)(value.data[i] - '0');
    return value.size > 1 && value.data[0] == 'v' ? number : SIZE_MAX;
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

uint64_t check_answered_hash(const struct store *store) {
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

uint64_t check_undo_floor(const struct store *store) {
    uint64_t floor = retries_floor(&store->retries);
    return store->undo.floor > floor ? store->undo.floor : floor;
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
    size_t number = check_value_number(entry->value);
    if (record->type != ENTRY_PUT)
        return;
    if (number >= c->op_count || c->ops[number].kind != OP_SET) {
        sim_violated(c->sim, "index %llu holds a value that nobody wrote", (unsigned long long)record->index);
        return;
    }
    struct op *op = &c->ops[number];
    if (op->committed != 0 && !op->pair)
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
static void apply_write(struct check *c, struct group_log *group, struct committed *entry,
                        const struct log_record *record, const struct entry *write) {
    int key = entry->key;
    struct op *op = paired(c, write);
    struct version at = {record->term, record->index};
    bool holds = condition_holds(write, group->versions[key]);
    if (holds) {
        entry->keys += (record->type == ENTRY_PUT) - (group->versions[key].index > 0);
        entry->state -= group->hashes[key];
        group->versions[key] = record->type == ENTRY_PUT ? at : (struct version){0, 0};
        group->hashes[key] = record->type == ENTRY_PUT ? record_hash(write->key, at, write->value) : 0;
        entry->state += group->hashes[key];
    }
    op_committed(c, record, write);
    if (op == NULL)
        return;
    op->committed = record->index;
    const struct pair_row row = {
        .op = (size_t)(op - c->ops), .at = at, .stands = group->versions[key], .fails = !holds};
    const struct pair_row *evicted = check_pair_add(c, group, &row);
    entry->answered += answer_hash(row.op, at, row.stands, row.fails);
    if (evicted != NULL)
        entry->answered -= answer_hash(evicted->op, evicted->at, evicted->stands, evicted->fails);
}

static void check_owner(struct check *c, int key, uint32_t group) {
    if (c->owners[key] == 0)
        c->owners[key] = group + 1;
    else if (c->owners[key] != group + 1)
        sim_violated(c->sim, "k%d is written in group %u and in group %u", key, c->owners[key] - 1, group);
}

static void keep_members(struct group_log *group, const struct log_record *record) {
    group->members = check_grow(group->members, &group->members_capacity, group->members_count + 1,
                                sizeof *group->members);
    struct committed_members *members = &group->members[group->members_count];
    members->index = record->index;
    if (configuration_decode(record->payload, &members->configuration))
        group->members_count++;
}

static void apply(struct check *c, uint32_t number, struct committed *entry,
                  const struct log_record *record) {
    struct group_log *group = &c->groups[number];
    struct entry write;
    if (record->type == ENTRY_CONFIGURATION)
        keep_members(group, record);
    if (group->count > 0) {
        entry->state = group->entries[group->count - 1].state;
        entry->answered = group->entries[group->count - 1].answered;
        entry->keys = group->entries[group->count - 1].keys;
    }
    entry->key = -1;
    if ((record->type != ENTRY_PUT && record->type != ENTRY_DELETE) || !entry_decode(record->payload, &write))
        return;
    entry->key = key_number(write.key);
    group->others_keys = group->others_keys || entry->key < 0;
    if (entry->key < 0)
        return;
    check_owner(c, entry->key, number);
    const struct op *op = paired(c, &write);
    if (op != NULL && check_pair_counts(group, op))
        sim_count(c->sim, TALLY_RETRY_WITHOUT_EFFECT);
    else
        apply_write(c, group, entry, record, &write);
    entry->key_version = group->versions[entry->key];
}

static void check_record(struct machine *m, const struct log_record *record) {
    struct check *c = m->sim->check;
    struct group_log *group = &c->groups[m->group];
    uint32_t crc = crc32c((uint32_t)record->type, record->payload);
    unsigned long long index = record->index;
    if (record->index <= group->count) {
        const struct committed *known = &group->entries[record->index - 1];
        if (known->term != record->term || known->crc != crc)
            sim_violated(
                m->sim, "node %u has committed another entry at %llu: term %llu, elsewhere term %llu",
                m->index + 1, index, (unsigned long long)record->term, (unsigned long long)known->term);
        return;
    }
    if (record->index != group->count + 1 && m->mended_at_stop) {
        m->sim->unchecked = true; /* what its last syncs committed went into that snapshot at once, unseen */
        return;
    }
    if (record->index != group->count + 1) {
        sim_violated(m->sim, "node %u has committed %llu, and nobody %zu", m->index + 1, index,
                     group->count + 1);
        return;
    }
    group->entries = check_grow(group->entries, &group->capacity, group->count + 1, sizeof *group->entries);
    struct committed entry = {.term = record->term, .crc = crc, .at_us = m->sim->now_us};
    apply(c, m->group, &entry, record);
    group->entries[group->count++] = entry;
    sim_count(m->sim, TALLY_ENTRY_COMMITTED);
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

static bool holds_writes(const struct group_log *group) {
    for (size_t i = 0; i < group->count; i++)
        if (group->entries[i].key >= 0)
            return true;
    return false;
}

/* A group that was founded and holds no key is founded anew where nobody has the first founding any more:
 * another history begins. */
static void check_founding(struct machine *m) {
    struct group_log *group = &m->sim->check->groups[m->group];
    uint64_t group_id = machine_configuration(m)->group_id;
    if (group_id == group->group_id || group_id == 0)
        return;
    for (unsigned i = 0; i < m->sim->options.machines && group->group_id != 0; i++) {
        const struct machine *other = m->sim->machines[i];
        if (other->node != NULL && machine_configuration(other)->group_id == group->group_id)
            return;
    }
    if (holds_writes(group)) {
        m->sim->unchecked = m->sim->unchecked || m->sim->beyond;
        return;
    }
    bool anew = group->group_id != 0;
    group->group_id = group_id;
    if (!anew)
        return;
    group->count = group->floor = 0;
    memset(group->led, 0, sizeof group->led);
    if (group->leaders != NULL)
        memset(group->leaders, 0, group->leader_count * sizeof *group->leaders);
}

static void check_leader(struct machine *m) {
    struct group_log *group = &m->sim->check->groups[m->group];
    const struct raft *raft = replica_raft(node_replica(m->node));
    uint64_t term = raft_term(raft);
    if (term < m->checked_term)
        sim_violated(m->sim, "the term of node %u went back from %llu to %llu", m->index + 1,
                     (unsigned long long)m->checked_term, (unsigned long long)term);
    m->checked_term = term;
    if (raft_role(raft) != RAFT_LEADER)
        return;
    group->leaders =
        check_grow(group->leaders, &group->leader_count, (size_t)term + 1, sizeof *group->leaders);
    struct leader *leader = &group->leaders[term];
    uint64_t incarnation = node_self(m->node)->incarnation;
    if (leader->machine == 0) {
        *leader = (struct leader){.term = term,
                                  .incarnation = incarnation,
                                  .machine = m->index + 1,
                                  .since_us = m->sim->now_us,
                                  .epoch = m->epoch};
        group->led[m->index] = term > group->led[m->index] ? term : group->led[m->index];
        m->sim->check->told[m->index].leaderships++;
        sim_count(m->sim, TALLY_ELECTION_WON);
    }
    if (leader->machine != m->index + 1 || leader->incarnation != incarnation)
        sim_violated(m->sim, "term %llu has two leaders, %u and %u", (unsigned long long)term,
                     leader->machine, m->index + 1);
}

/* At its commit, or where it has not come that far. A state that was flipped is not what the log gives. */
static void check_digest(struct machine *m) {
    if (is_flipped(m))
        return;
    struct group_log *group = &m->sim->check->groups[m->group];
    struct replica *replica = node_replica(m->node);
    uint64_t applied = replica_applied(replica), commit = raft_commit(replica_raft(replica)), digest;
    uint64_t index = applied < commit ? applied : commit;
    if (index == 0 || index > group->count)
        return;
    struct committed *entry = &group->entries[index - 1];
    if (!replica_digest_at(replica, index, &digest)) {
        if (check_beyond_undo(m, index))
            return;
        sim_violated(m->sim, "node %u does not know its digest at %llu, having applied %llu", m->index + 1,
                     (unsigned long long)index, (unsigned long long)applied);
    } else if (!entry->digest_told) {
        entry->digest_told = true;
        entry->digest = digest;
    } else if (entry->digest != digest) {
        sim_violated(m->sim, "node %u has another digest than others at %llu, having applied %llu",
                     m->index + 1, (unsigned long long)index, (unsigned long long)applied);
    }
}

void check_digest_holds(struct machine *m) {
    if (m->node != NULL && node_state(m->node) != NODE_FAILED &&
        !store_digest_holds(replica_store(node_replica(m->node))))
        sim_violated(m->sim, "the digest of node %u is not that of what it holds", m->index + 1);
}

static void check_store(struct machine *m) {
    const struct group_log *group = &m->sim->check->groups[m->group];
    struct replica *replica = node_replica(m->node);
    uint64_t applied = replica_applied(replica), commit = raft_commit(replica_raft(replica));
    if (applied == m->checked_applied)
        return;
    m->checked_applied = applied;
    bool ahead = m->sim->options.ack == ACK_ASYNC && applied > commit;
    if (applied > commit && !ahead)
        sim_violated(m->sim, "node %u applied %llu and has committed only %llu", m->index + 1,
                     (unsigned long long)applied, (unsigned long long)commit);
    if (ahead || applied == 0 || applied > group->count)
        return;
    if (store_hash(replica_store(replica)) != group->entries[applied - 1].state)
        sim_violated(m->sim, "node %u has another state than its log gives at %llu", m->index + 1,
                     (unsigned long long)applied);
    if (applied % 32 == 0 &&
        check_answered_hash(replica_store(replica)) != group->entries[applied - 1].answered)
        sim_violated(m->sim, "node %u has other answered pairs than its log gives at %llu", m->index + 1,
                     (unsigned long long)applied);
}

void check_turn(struct machine *m) {
    if (m->sim->unchecked)
        return;
    check_founding(m);
    if (m->sim->unchecked)
        return;
    check_leader(m);
    check_commit(m);
    if (node_state(m->node) == NODE_FAILED)
        return;
    check_digest(m);
    check_store(m);
    check_bounds(m);
    check_kept_note(m, false);
    check_reach(m->sim);
    check_inquire(m);
}

bool check_is_founded(const struct machine *m) {
    return m->sim->check->groups[m->group].group_id != 0;
}

void check_started(struct machine *m) {
    struct check *c = m->sim->check;
    c->started_us[m->index] = c->reach.broken_us = m->sim->now_us; /* it did not serve before, seen or not */
    m->checked_commit = 0;
    m->checked_applied = UINT64_MAX;
    m->checked_term = 0;
    m->asked = m->answered = 0;
    m->sim->check->told[m->index].leaderships = 0;
    m->passed_undo = false;
    if (m->sim->unchecked)
        return;
    check_kept_start(m);
    check_turn(m);
}

void check_ending(struct machine *m) {
    struct group_log *group = &m->sim->check->groups[m->group];
    const struct raft *raft = replica_raft(node_replica(m->node));
    uint64_t term = raft_term(raft);
    if (m->sim->unchecked || raft_role(raft) != RAFT_LEADER)
        return;
    group->leaders =
        check_grow(group->leaders, &group->leader_count, (size_t)term + 1, sizeof *group->leaders);
    if (group->leaders[term].machine != 0)
        return;
    group->leaders[term].fleeting = m->index + 1;
    group->led[m->index] = term > group->led[m->index] ? term : group->led[m->index];
}

void check_ended(struct machine *m) {
    if (m->sim->unchecked || node_state(m->node) == NODE_FAILED)
        return;
    check_kept_note(m, true);
}

void check_said(struct machine *m, const char *event, const char *text) {
    static const struct {
        const char *event;
        enum situation situation;
    } rows[] = {
        {"snapshot_taken", TALLY_SNAPSHOT_TAKEN},
        {"snapshot_installed", TALLY_SNAPSHOT_INSTALLED},
        {"writes_overruled", TALLY_WRITES_SUPERSEDED},
        {"state_differs", TALLY_STATE_ODD},
        {"state_agrees", TALLY_STATE_REPLACED},
        {"removed", TALLY_REMOVED},
        {"adopted", TALLY_ADOPTED},
        {"alone", TALLY_ISOLATED_LEADER},
        {"disk_failed", TALLY_DISK_FAILED},
        {"disk_full", TALLY_DISK_FULL},
        {"ledger_full", TALLY_LEDGER_FULL},
        {"steps_down", TALLY_STEPPED_DOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(event, rows[i].event) == 0)
            sim_count(m->sim, rows[i].situation);
    if (strcmp(event, "leads") == 0 && strstr(text, "handed over") != NULL)
        sim_count(m->sim, TALLY_HANDED_OVER);
    if (strcmp(event, "ledger_damaged") == 0)
        m->said_ledger_damaged = true;
    if (strcmp(event, "file_mended") == 0 && m->node != NULL && node_state(m->node) == NODE_STOPPED)
        m->mended_at_stop = true;
}
