/* The follower's side of appends: Raft, section 5.3. PROTOCOL.md, "Appends", says what is answered and when.
 */
#include "replication/raft_internal.h"

#include <assert.h>

#include "cluster/groups.h"

#define ASKED_AGAIN_MAX 10 /* a lost reply or two, and what was sent before it came, make fewer */

static void refuse_lower_term(struct raft *r, const struct member_id *to) {
    struct message m = {.type = MESSAGE_APPEND_REPLY};
    m.append_reply.last = log_last(r->log);
    raft_send(r, to, &m);
}

/* A term has one leader, so one of the two is none: a member is believed before somebody who is no member
 * here, and whoever speaks before one who has been silent for an election timeout. */
static bool takes_over(const struct raft *r, const struct member_id *from) {
    const struct configuration *known = raft_configuration(r);
    bool silent = r->heard_ms == 0 || r->now_ms - r->heard_ms >= r->options.election_max_ms;
    bool member = configuration_find(known, from) != NULL;
    bool before = configuration_find(known, &r->leader) != NULL;
    return member != before ? member : silent;
}

void raft_forget_leader(struct raft *r) {
    r->matched = r->read_seen = r->heard_ms = r->leader_commit = 0;
    r->asked_again = 0;
    r->owed = (struct owed_reply){0};
    r->proofs[0] = r->proofs[1] = (struct proof){0}; /* of an index that this log may never reach */
    raft_compare_reset(r);
}

bool raft_accept_leader(struct raft *r, const struct member_id *from, uint64_t term, bool alone) {
    if (term < r->state.term) {
        refuse_lower_term(r, from);
        return false;
    }
    if (!raft_near(r, term))
        return false;
    /* Compare even if no leader is known now: `matched` outlives a pre-vote. */
    bool other = !member_id_equal(&r->leader, from);
    bool rival = r->role == RAFT_LEADER || (r->leader_known && other && !takes_over(r, from));
    if (term == r->state.term && rival) {
        r->ignored++;
        return false;
    }
    if (other)
        raft_forget_leader(r);
    if (!raft_follow(r, term, from, RAFT_CAUSE_HIGHER_TERM))
        return false;
    if (!alone) {
        r->asking = false;
        r->heard_ms = r->led_ms = r->now_ms;
        raft_reset_deadline(r);
    }
    return true;
}

/* No correct leader lacks what is before it: the commit, but where disks may forget what was acknowledged.
 * What is compacted cannot be compared any more. */
static uint64_t certain(const struct raft *r) {
    return r->options.sync_always ? r->commit : log_first(r->log) - 1;
}

/* The last position at or before the one that did not fit whose term is not above its term. Never before
 * what is certain: a leader that asks about less goes on there, and is compared there. */
static struct version hint_for(const struct raft *r, struct version previous) {
    uint64_t index = previous.index < log_last(r->log) ? previous.index : log_last(r->log), term = 0;
    while (index > certain(r) && log_term_at(r->log, index, &term) && term > previous.term)
        index = log_term_start(r->log, index) - 1;
    if (index < certain(r))
        index = certain(r);
    if (!log_term_at(r->log, index, &term))
        term = 0;
    return (struct version){.term = term, .index = index};
}

/* What a disk without room leaves undone the leader sends again. */
static bool stored(struct raft *r, enum log_result result) {
    r->no_space = result == LOG_NO_SPACE;
    if (result != LOG_OK && result != LOG_NO_SPACE)
        raft_fail(r);
    return result == LOG_OK;
}

/* No correct leader overrules what is committed, unless a majority has lost it with its power: then the
 * records of the leader that they elected since are the group's. They are taken where the own -fsync makes no
 * better promise and the own state can be had back. */
static bool may_overrule(struct raft *r, uint64_t index) {
    if (index > r->commit)
        return true;
    r->ignored++;
    bool soft = !r->options.sync_always && r->configurations[0].index < index;
    if (!soft)
        r->diverged = true;
    return soft;
}

static bool before_truncate(struct raft *r, uint64_t index) {
    uint64_t commit = r->commit;
    if (index <= commit)
        r->commit = index - 1;
    enum log_result result = r->host.before_truncate(r->host.arg, index);
    if (result != LOG_OK)
        r->commit = commit;
    r->diverged = result == LOG_COMPACTED;
    return !r->diverged && stored(r, result);
}

/* Drops the records from index on, which the leader has overruled. All of it needs room, and has it before
 * anything is dropped. */
static bool overrule(struct raft *r, uint64_t index) {
    if (!may_overrule(r, index) || !stored(r, log_prepare_truncate(r->log)) || !before_truncate(r, index))
        return false;
    raft_configurations_truncate(r, index);
    if (log_truncate(r->log, index) != LOG_OK) {
        raft_fail(r);
        return false;
    }
    raft_count_truncate(r);
    if (r->matched >= index)
        r->matched = index - 1;
    return true;
}

enum taken { TAKEN, KNOWN, STOP };

/* Its checksum is right, but that any sender can make. A record that cannot be applied must never get into a
 * log, which would be unreadable from then on. */
static bool decodes(const struct log_record *record, struct configuration *configuration) {
    struct entry entry;
    struct groups_record ring;
    switch (record->type) {
    case ENTRY_NOOP:
        return true;
    case ENTRY_CONFIGURATION:
        return configuration_decode(record->payload, configuration);
    case ENTRY_PUT:
    case ENTRY_DELETE:
        return entry_decode(record->payload, &entry);
    case ENTRY_RING:
        return groups_record_decode(record->payload, &ring);
    }
    return false;
}

static enum taken append_record(struct raft *r, const struct log_record *record) {
    struct configuration configuration;
    if (!decodes(record, &configuration)) {
        r->ignored++;
        return STOP;
    }
    uint64_t size = log_size(r->log);
    if (!stored(r, log_append_record(r->log, record)))
        return STOP;
    r->diverged = false;
    raft_count_append(r, log_size(r->log) > size ? log_size(r->log) - size : 0);
    if (record->type == ENTRY_CONFIGURATION)
        raft_configuration_push(r, record->index, &configuration);
    return TAKEN;
}

static enum taken take_record(struct raft *r, const struct log_record *record) {
    uint64_t term;
    if (record->index <= log_last(r->log)) {
        bool known = log_term_at(r->log, record->index, &term);
        if (known ? term == record->term : record->index <= r->matched)
            return KNOWN;
        if (!known)
            return STOP;
        if (!overrule(r, record->index))
            return STOP;
    }
    return append_record(r, record);
}

/* Takes the records after previous; gives the last index up to which the log is the leader's. */
static uint64_t take_records(struct raft *r, const struct message *m) {
    struct bytes rest = m->append.records;
    struct log_record record;
    struct version at = m->append.previous;
    while (!r->failed && log_slice_next(&rest, &record)) {
        bool in_order = record.index == at.index + 1 && record.term >= at.term && record.term <= m->term;
        if (!in_order || take_record(r, &record) == STOP)
            break;
        at = (struct version){.term = record.term, .index = record.index};
    }
    return at.index;
}

/* Whether the log holds previous: by its term, or because this leader's log was found to be this one up to
 * there or further, and a leader's log only grows (Raft, section 5.3, Leader Append-Only). What is compacted
 * has no term and proves nothing. */
static bool fits(const struct raft *r, struct version previous) {
    uint64_t term;
    bool known = log_term_at(r->log, previous.index, &term);
    return known ? term == previous.term : previous.index <= r->matched && r->matched > 0;
}

/* A leader that has the position of the hint asks about that one next. One that asks about the same again and
 * again ends before what is certain here. */
static void note_incomparable(struct raft *r, uint64_t index) {
    r->asked_again = r->asked == index ? r->asked_again + 1 : 0;
    r->asked = index;
    if (r->asked_again >= ASKED_AGAIN_MAX)
        r->diverged = true;
}

void raft_match_position(struct raft *r, uint64_t index, uint64_t commit) {
    if (r->matched < index)
        r->matched = index;
    if (index >= r->commit)
        r->diverged = false;
    if (commit > r->matched)
        commit = r->matched;
    if (r->commit < commit)
        raft_set_commit(r, commit);
    r->asked_again = 0;
    r->owed.refusal = false;
    r->owed.wanted = true;
}

void raft_refuse_position(struct raft *r, struct version previous) {
    uint64_t term;
    bool known = log_term_at(r->log, previous.index, &term);
    if (!known || previous.index > certain(r)) {
        r->owed.refusal = r->owed.now = true;
        r->owed.refused = previous.index;
        r->owed.hint = hint_for(r, previous);
        if (!known && previous.index < certain(r))
            note_incomparable(r, previous.index);
    } else {
        r->ignored++;
        r->diverged = true;
    }
}

void raft_receive_append(struct raft *r, const struct member_id *from, const struct message *m) {
    if (!raft_accept_leader(r, from, m->term, m->append.alone))
        return;
    if (r->leader_commit < m->append.commit)
        r->leader_commit = m->append.commit;
    raft_proof_take(r, m->append.echo);
    if (r->read_seen < m->append.read) {
        r->read_seen = m->append.read;
        r->owed.now = true;
    }
    raft_compare_heard(r, m);
    if (!fits(r, m->append.previous)) {
        raft_refuse_position(r, m->append.previous);
        return;
    }
    uint64_t matched = take_records(r, m);
    if (r->failed)
        return;
    raft_match_position(r, matched, m->append.commit);
    raft_proof_reach(r);
    if (m->append.records.size == 0)
        r->owed.now = true;
}

void raft_send_owed(struct raft *r) {
    if (r->role != RAFT_FOLLOWER || !r->leader_known)
        return;
    uint64_t durable = raft_own_durable(r);
    if (durable > r->matched)
        durable = r->matched;
    bool due = r->owed.wanted && durable == r->matched;
    if (!r->owed.now && !due)
        return;
    struct message m = {.type = MESSAGE_APPEND_REPLY};
    m.append_reply.success = !r->owed.refusal;
    m.append_reply.match = r->owed.refusal ? r->owed.refused : r->matched;
    m.append_reply.durable = r->owed.refusal ? 0 : durable;
    m.append_reply.read = r->read_seen;
    m.append_reply.asked = raft_proof_asked(r);
    m.append_reply.hint = r->owed.refusal ? r->owed.hint : (struct version){0};
    m.append_reply.last = log_last(r->log);
    raft_compare_answer(r, &m);
    r->owed = (struct owed_reply){.wanted = r->owed.wanted && durable < r->matched};
    raft_send(r, &r->leader, &m);
}
