/* How writes come into the rejected-write ledger, and what becomes of its rows.
 *
 * A write goes there before it leaves the log, unless its client is known to have been told that its
 * condition failed. So a disk without room for it stops both: the log keeps the write, and what the leader
 * sends in its place has to wait.
 *
 * A row is settled by the entry that is committed at its index: another one rejects it, its own takes it
 * away. Behind the commit a row is rejected once a later term than its own is committed, since terms never
 * fall along a log. The log tells all that, unless a snapshot has taken that part of the log's place. Then
 * the store may tell: it holds, for each key, the order of the last entry that brought it. What neither tells
 * stays `overruled`. */
#include <assert.h>
#include <stdio.h>

#include "replication/replica_internal.h"

#define LEDGER_RETRY_MS 1000 /* after there was no room: each try reads all that was overruled */

/* What the client was told of a write that is overruled. */
enum told { TOLD_UNKNOWN, TOLD_OK, TOLD_CONDITION_FAILED };

static enum told told_of(const struct replica *r, const struct log_record *record) {
    struct version at = {record->term, record->index};
    struct entry entry;
    bool changed;
    if (at.term != r->answered.term || at.index > r->answered.index || r->host.unanswered(r->host.arg, at))
        return TOLD_UNKNOWN;
    /* A pair is answered at its commit. */
    if (!entry_decode(record->payload, &entry) || entry.client.size > 0)
        return TOLD_UNKNOWN;
    if (entry.condition == CONDITION_NONE)
        return TOLD_OK;
    bool changes = record->type == ENTRY_PUT || entry.condition != CONDITION_ABSENT; /* if it holds */
    if (!changes || !store_changed(r->store, at.index, &changed))
        return TOLD_UNKNOWN;
    return changed ? TOLD_OK : TOLD_CONDITION_FAILED;
}

/* From a try that ended without room. */
static bool is_kept(const struct replica *r, uint64_t index) {
    struct version at = {.index = index};
    if (!log_term_at(r->log, index, &at.term))
        return false;
    size_t position = ledger_find(r->ledger, r->options.group_id, at);
    if (position == ledger_count(r->ledger))
        return false;
    const struct ledger_row *row = ledger_at(r->ledger, position);
    return row->group_id == r->options.group_id && version_equal(row->at, at);
}

static enum file_result keep_row(struct replica *r, uint64_t index, size_t *kept) {
    struct log_record record;
    if (is_kept(r, index)) {
        ++*kept;
        return FILE_OK;
    }
    enum log_result result = log_read(r->log, index, &record);
    if (result != LOG_OK) {
        replica_fail(r, "cannot read the log back", log_result_text(result));
        return FILE_IO_ERROR;
    }
    if (!replica_is_write(record.type))
        return FILE_OK;
    struct version at = {record.term, record.index};
    enum told told = told_of(r, &record);
    if (told == TOLD_CONDITION_FAILED)
        return FILE_OK;
    struct ledger_row row = {
        .group_id = r->options.group_id,
        .at = at,
        .by_term = raft_term(r->raft),
        .recorded_ms = r->wall_ms,
        .answered = told == TOLD_OK,
        .type = record.type,
        .payload = record.payload,
    };
    ++*kept;
    return ledger_add(r->ledger, &row);
}

enum file_result replica_keep_overruled(struct replica *r, uint64_t index, size_t *kept) {
    enum file_result result = FILE_OK;
    *kept = 0;
    if (raft_configuration(r->raft)->mode != ACK_ASYNC)
        return FILE_OK;
    if (r->now_ms < r->ledger_retry_ms)
        return FILE_NO_SPACE;
    for (uint64_t i = index; i <= log_last(r->log) && result == FILE_OK; i++)
        result = keep_row(r, i, kept);
    if (result == FILE_NO_SPACE) {
        r->ledger_retry_ms = r->now_ms + LEDGER_RETRY_MS;
        return result;
    }
    if (result == FILE_OK && *kept > 0 && ledger_sync(r->ledger) != FILE_OK)
        result = FILE_IO_ERROR;
    if (result != FILE_OK)
        replica_fail(r, "cannot write the ledger of rejected writes", file_result_text(result));
    return result;
}

void replica_tell_overruled(struct replica *r, uint64_t index, size_t kept) {
    if (kept > 0) {
        char text[160];
        snprintf(text, sizeof text, "%zu writes from index %llu on were overruled by the leader of term %llu",
                 kept, (unsigned long long)index, (unsigned long long)raft_term(r->raft));
        r->host.notice(r->host.arg, REPLICA_OVERRULED, text);
    }
    r->host.overruled(r->host.arg, index);
}

/* The row's index is at most the commit, and the log begins behind it.
 *
 * Terms never fall along a log, so an entry of a term above that of the position before the log's first was
 * not committed there. A key that an older entry brought was not written by the row's entry, nor deleted;
 * unless that had a condition, which may have failed. A key that is not there may have been written and
 * deleted since. Which entry brought a key is its order: a moved key's version is of another group's log. */
static enum ledger_verdict judge(struct replica *r, size_t position) {
    const struct ledger_row *row = ledger_at(r->ledger, position);
    struct buffer payload = {0};
    struct entry entry;
    struct store_record record;
    uint64_t base_term;
    enum ledger_verdict verdict = LEDGER_UNDECIDED;
    if (log_term_at(r->log, log_first(r->log) - 1, &base_term) && row->at.term > base_term)
        return LEDGER_ANOTHER;
    if (ledger_read(r->ledger, position, &payload) == FILE_OK &&
        entry_decode(buffer_bytes(&payload), &entry) && store_get(r->store, entry.key, &record)) {
        bool certain = entry.condition == CONDITION_NONE && entry.client.size == 0;
        uint64_t order = store_record_order(&record);
        if (order == row->at.index)
            verdict =
                record.moved == 0 && version_equal(record.version, row->at) ? LEDGER_ITS_OWN : LEDGER_ANOTHER;
        else if (order < row->at.index && certain)
            verdict = LEDGER_ANOTHER;
    }
    buffer_release(&payload);
    return verdict;
}

/* The first unsettled row from *position on. False where no more can be said, or the disk failed. */
static bool settle_first(struct replica *r, struct version commit, size_t *position_from) {
    uint64_t group_id = r->options.group_id, term;
    uint64_t index = ledger_unsettled(r->ledger, group_id, position_from);
    size_t position = *position_from;
    enum file_result result;
    if (index == UINT64_MAX)
        return false;
    if (index > commit.index) {
        if (ledger_at(r->ledger, position)->at.term >= commit.term)
            return false;
        result = ledger_judge(r->ledger, position, LEDGER_ANOTHER);
    } else if (log_term_at(r->log, index, &term)) {
        result = ledger_settle(r->ledger, group_id, (struct version){term, index});
    } else {
        result = ledger_judge(r->ledger, position, judge(r, position));
    }
    if (result != FILE_OK && result != FILE_NO_SPACE)
        replica_fail(r, "cannot write the ledger of rejected writes", file_result_text(result));
    return result == FILE_OK;
}

/* Without room on the disk rows stay as they are until the next commit. */
void replica_settle(struct replica *r, uint64_t commit) {
    struct version at = {0, commit};
    log_term_at(r->log, commit, &at.term);
    size_t position = 0;
    bool settled = false;
    while (settle_first(r, at, &position))
        settled = true;
    /* One sync for all: there may be as many as an isolated leader could write. */
    enum file_result result = settled && r->failure[0] == '\0' ? ledger_settled(r->ledger) : FILE_OK;
    if (result != FILE_OK)
        replica_fail(r, "cannot write the ledger of rejected writes", file_result_text(result));
}

struct ledger *replica_rejected(struct replica *r) {
    return r->ledger;
}

enum file_result replica_rejected_drop(struct replica *r, size_t position) {
    assert(position < ledger_count(r->ledger));
    enum file_result result = ledger_drop(r->ledger, position);
    if (result != FILE_OK && result != FILE_NO_SPACE)
        replica_fail(r, "cannot write the ledger of rejected writes", file_result_text(result));
    return result;
}
