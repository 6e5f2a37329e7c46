/* What nodes say of rejected writes. All the while: none of them is committed. At the end, GET /rejected:
 * each row once, in order, a write that a client made, by its state what the log gives, and told as
 * answered where its client may have been, and by the process that told the client "ok" always. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tests/sim/check_internal.h"

void check_rejected(const struct check *c, const struct machine *m) {
    const struct ledger *ledger = replica_ledger(node_replica(m->node));
    for (size_t i = 0; i < ledger_count(ledger); i++) {
        const struct ledger_row *row = ledger_at(ledger, i);
        if (check_is_committed(&c->groups[m->group], row->at) && row->state == LEDGER_REJECTED)
            sim_violated(c->sim,
                         "the write at %" PRIu64 ".%" PRIu64 " is committed, and a ledger calls it rejected",
                         row->at.term, row->at.index);
    }
}

static const char *text_of(const cJSON *object, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

static void wrong(const struct machine *m, const char *what, const cJSON *row) {
    sim_violated(m->sim, "node %u says in /rejected of %s: %s", m->index + 1, text_of(row, "position"), what);
}

/* The write that the row is; NULL: a deletion, which nothing in the row numbers. */
static const struct op *write_of(const struct machine *m, const cJSON *row) {
    const struct check *c = m->sim->check;
    char key[16];
    if (strcmp(text_of(row, "operation"), "set") != 0)
        return NULL;
    size_t number = check_value_number(bytes_of(text_of(row, "value")));
    const struct op *op = number < c->op_count ? &c->ops[number] : NULL;
    snprintf(key, sizeof key, "k%u", op != NULL ? op->key : 0);
    if (op == NULL || op->kind != OP_SET || strcmp(text_of(row, "key"), key) != 0) {
        wrong(m, "it is a write that nobody made", row);
        return NULL;
    }
    return op;
}

static void check_told_ok(const struct machine *m, const cJSON *row, struct version at) {
    const struct check *c = m->sim->check;
    const struct group_log *group = &c->groups[m->group];
    const struct op *op = write_of(m, row);
    bool told = strcmp(text_of(row, "answered"), "yes") == 0;
    if (op == NULL || op->pair)
        return;
    bool done = op->state == OP_DONE && version_equal(op->at, at);
    bool answered_here = at.term < group->leader_count && group->leaders[at.term].machine == m->index + 1 &&
                         group->leaders[at.term].epoch == m->epoch;
    if (told && (op->state == OP_REFUSED || (op->state == OP_FAILED && version_equal(op->at, at))))
        wrong(m, "its client was answered, and it was refused", row);
    /* Of a condition it knows only as long as the write can be undone, and what that would change. */
    bool known = STORE_UNDO_SIZE >= 1024 * 1024 && (op->kind == OP_SET || op->condition != HISTORY_IF_ABSENT);
    if (!told && done && answered_here && (known || op->condition == HISTORY_ALWAYS))
        wrong(m, "its client was told ok, and it says that it may not have been", row);
}

static void check_row(const struct machine *m, const cJSON *row, struct version *last) {
    const struct group_log *group = &m->sim->check->groups[m->group];
    struct version at = {0, 0};
    unsigned number = UINT32_MAX;
    double by = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(row, "by_term"));
    if (sscanf(text_of(row, "position"), "%u:%" SCNu64 ".%" SCNu64, &number, &at.term, &at.index) != 3 ||
        number != m->group)
        wrong(m, "its position is none of the group", row);
    if (at.index < last->index || (at.index == last->index && at.term <= last->term))
        wrong(m, "it stands behind a later one, or twice", row);
    if (!(by > (double)at.term && by < (double)group->leader_count) ||
        (group->leaders[(size_t)by].machine == 0 && group->leaders[(size_t)by].fleeting == 0 &&
         !check_may_be_fooled(m->sim)))
        wrong(m, "the term that overruled it is no leader's", row);
    /* The log tells which it is, but not where a snapshot has taken its place. */
    bool rejected = strcmp(text_of(row, "state"), "rejected") == 0;
    bool told = at.index <= group->count && at.index >= log_first(replica_log(node_replica(m->node)));
    if ((told && !rejected) || (rejected && check_is_committed(group, at)))
        wrong(m, "its state is not what the log gives", row);
    check_told_ok(m, row, at);
    *last = at;
    sim_count(m->sim, TALLY_LEDGER_ROW);
}

void check_ledger_told(struct machine *m) {
    const struct ledger *ledger = replica_ledger(node_replica(m->node));
    struct buffer body = {0};
    struct version last = {0, 0};
    if (ledger_count(ledger) == 0 || sim_disk_is_hurt(m->disk))
        return;
    cJSON *json = check_ask(m, "/rejected", &body) ? cJSON_Parse((const char *)body.data + body.start) : NULL;
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(json, "rejected"), *row;
    cJSON_ArrayForEach(row, rows) check_row(m, row, &last);
    if (json == NULL || (size_t)cJSON_GetArraySize(rows) != ledger_count(ledger))
        sim_violated(m->sim, "node %u does not tell all rows of its ledger", m->index + 1);
    cJSON_Delete(json);
    buffer_release(&body);
}
