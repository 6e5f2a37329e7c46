/* The leader's side: what each member has, what it is sent, what is committed, which reads are confirmed
 * (Raft, sections 5.3 and 5.4.2; the thesis, 3.10 and 6.4). PROTOCOL.md, "Appends", draws the states of a
 * member. */
#include "replication/raft_internal.h"

#include <assert.h>

static void flights_clear(struct flights *f) {
    f->head = f->count = f->size = 0;
}

static void flights_add(struct flights *f, uint64_t last, size_t size) {
    assert(f->count < FLIGHTS_MAX);
    size_t at = (f->head + f->count++) % FLIGHTS_MAX;
    f->ring[at].last = last;
    f->ring[at].size = size;
    f->size += size;
}

static void flights_landed(struct flights *f, uint64_t match) {
    while (f->count > 0 && f->ring[f->head].last <= match) {
        f->size -= f->ring[f->head].size;
        f->head = (f->head + 1) % FLIGHTS_MAX;
        f->count--;
    }
}

void raft_peer_probe(struct raft_peer *p, uint64_t next) {
    p->progress = PROGRESS_PROBE;
    p->next = next;
    p->probing = false;
    p->transfer.at.index = 0;
    flights_clear(&p->flights);
}

void raft_peer_replicate(struct raft_peer *p) {
    p->progress = PROGRESS_REPLICATE;
    p->next = p->match + 1;
    p->transfer.at.index = 0;
    flights_clear(&p->flights);
}

void raft_peer_start(struct raft *r, struct raft_peer *p) {
    raft_peer_probe(p, log_last(r->log) + 1);
    p->match = p->durable = p->read = p->commit_told = p->read_told = 0;
    p->asked = p->bound = 0;
    p->echo = (struct proof){0};
    p->odd = p->says_odd_ms = 0;
    p->answered = p->agrees = false;
    p->heard_ms = r->now_ms;
    p->transfer = (struct transfer){0};
}

void raft_lead(struct raft *r, enum raft_cause cause) {
    r->role = RAFT_LEADER;
    r->cause = cause;
    r->counters.won++;
    r->leader_known = true;
    r->leader = r->options.self;
    r->asking = r->alone = r->transferring = r->transferred = false;
    for (size_t i = 0; i < r->peer_count; i++)
        raft_peer_start(r, &r->peers[i]);
    r->heartbeat_ms = r->sample_ms = r->now_ms;
    r->round.sequence = 0;
    r->offer = (struct version){0};
    r->offer_ms = 0;
    if (log_last_term(r->log) < r->state.term) { /* a founding has written its first record already */
        enum log_result result = log_append(r->log, r->state.term, ENTRY_NOOP, (struct bytes){0});
        r->no_space = result == LOG_NO_SPACE;
        if (r->no_space) { /* a full disk cannot lead: somebody else's turn */
            raft_follow(r, r->state.term, NULL, RAFT_CAUSE_NONE);
            r->deadline_ms += r->options.election_max_ms;
            return;
        }
        if (result != LOG_OK) {
            raft_fail(r);
            return;
        }
    }
    r->term_start = r->sample_new = r->sample_old = log_last(r->log);
}

/* Sends an append after index next - 1 with at most size_max bytes of records, none for 0. Gives the last
 * index that it covers; false where nothing could be sent. */
static bool send_append(struct raft *r, struct raft_peer *p, uint64_t next, size_t size_max, uint64_t *last,
                        size_t *size) {
    struct message m = {.type = MESSAGE_APPEND};
    m.append.previous.index = next - 1;
    if (!log_term_at(r->log, next - 1, &m.append.previous.term))
        return false;
    *last = next - 1;
    if (size_max > 0 && next <= log_last(r->log)) {
        enum log_result result = log_slice(r->log, next, size_max, &m.append.records, last);
        /* What is committed has left the log, or will: the host's next snapshot stands for it. */
        if (result == LOG_COMPACTED || (result == LOG_CORRUPT && next <= r->commit))
            return false;
        if (result != LOG_OK) {
            raft_fail(r);
            return false;
        }
    }
    m.append.commit = r->commit;
    m.append.read = r->read;
    m.append.alone = r->alone;
    m.append.echo = p->echo;
    m.append.unequal = r->comparison.unequal_index != 0;
    m.append.agrees = p->agrees && p->odd == 0;
    m.append.compare = r->compare.index;
    m.append.odd = p->odd;
    *size = m.append.records.size;
    p->commit_told = r->commit;
    p->read_told = r->read;
    raft_send(r, &p->id, &m);
    return true;
}

static bool silent(const struct raft *r, const struct raft_peer *p) {
    return p->down || r->now_ms - p->heard_ms >= r->options.election_max_ms;
}

/* One that needs records which this log does not have whole hears its leader nevertheless, and answers. */
static void send_probe(struct raft *r, struct raft_peer *p) {
    size_t size;
    if (send_append(r, p, p->next, silent(r, p) ? 0 : PROBE_SIZE, &p->probe_last, &size) ||
        (!r->failed && send_append(r, p, p->next, 0, &p->probe_last, &size)))
        p->probing = true;
}

/* One that does not answer gets heartbeats only, so that nothing piles up before it. */
static bool has_news(const struct raft *r, const struct raft_peer *p) {
    return (p->commit_told < r->commit || p->read_told < r->read) && !silent(r, p);
}

static void send_pipelined(struct raft *r, struct raft_peer *p, bool heartbeat) {
    struct flights *f = &p->flights;
    bool sent = false;
    uint64_t last;
    size_t size;
    uint64_t end = r->holding ? log_written(r->log) : log_last(r->log);
    while (p->next <= end && f->size < r->options.window_size && f->count < FLIGHTS_MAX) {
        size_t room = r->options.window_size - f->size;
        if (p->unreadable == p->next && !heartbeat)
            break;
        if (!send_append(r, p, p->next, room < MESSAGE_RECORDS_MAX ? room : MESSAGE_RECORDS_MAX, &last,
                         &size)) {
            p->unreadable = p->next;
            break; /* a heartbeat goes out nevertheless */
        }
        flights_add(f, last, size);
        p->next = last + 1;
        p->unreadable = 0;
        sent = true;
    }
    if (!r->failed && !sent && (heartbeat || has_news(r, p)))
        send_append(r, p, p->next, 0, &last, &size);
}

/* Where a heartbeat's append begins while the snapshot is sent: a member that takes it has that. Where none
 * is chosen, or was refused, a member that has nothing goes on from a log that holds all. */
static uint64_t behind_snapshot(const struct raft *r, const struct raft_peer *p) {
    uint64_t at = p->transfer.at.index, first = log_first(r->log);
    return at + 1 > first ? at + 1 : first;
}

void raft_peer_send(struct raft *r, struct raft_peer *p, bool heartbeat) {
    uint64_t last;
    size_t size;
    if (p->down && !heartbeat)
        return;
    if (p->progress != PROGRESS_SNAPSHOT && p->next < log_first(r->log)) {
        p->progress = PROGRESS_SNAPSHOT;
        p->transfer = (struct transfer){0};
    } else if (raft_snapshot_preferred(r, p)) {
        p->progress = PROGRESS_SNAPSHOT;
    }
    switch (p->progress) {
    case PROGRESS_PROBE:
        if (!p->probing || heartbeat)
            send_probe(r, p);
        break;
    case PROGRESS_REPLICATE:
        send_pipelined(r, p, heartbeat);
        break;
    case PROGRESS_SNAPSHOT:
        if (heartbeat)
            send_append(r, p, behind_snapshot(r, p), 0, &last, &size);
        if (!r->failed && !p->down)
            raft_snapshot_send(r, p);
        break;
    }
}

void raft_tell(struct raft *r, uint64_t now_ms, const struct member_id *member) {
    uint64_t last;
    size_t size;
    struct raft_peer *p = r->failed || r->role != RAFT_LEADER ? NULL : raft_peer(r, member);
    if (p == NULL || p->down || p->progress != PROGRESS_REPLICATE)
        return;
    r->now_ms = now_ms;
    if (has_news(r, p))
        send_append(r, p, p->next, 0, &last, &size);
}

/* The last position of this log at or before hint whose term is not above the hint's. */
static uint64_t fits_at_most(struct raft *r, struct version hint) {
    uint64_t index = hint.index < log_last(r->log) ? hint.index : log_last(r->log), term;
    while (index >= log_first(r->log) && log_term_at(r->log, index, &term) && term > hint.term)
        index = log_term_start(r->log, index) - 1;
    return index;
}

/* A follower that lost its power may have lost records that it had acknowledged as appended, or have back a
 * tail that it had truncated: then what it acknowledged is forgotten, and found out again. */
static void forget_lost(struct raft_peer *p, uint64_t previous, uint64_t last, uint64_t fits) {
    if ((last < p->match || previous <= p->match) && p->match > fits)
        p->match = fits;
    if (p->durable > p->match)
        p->durable = p->match;
}

/* The follower's log begins, or is committed, behind what it was asked about: the leader goes on there. */
static void refused_as_compacted(struct raft *r, struct raft_peer *p, uint64_t previous, uint64_t hint) {
    uint64_t last = log_last(r->log), next = (hint < last ? hint : last) + 1;
    raft_peer_probe(p, next);
    if (next > previous + 1)
        return;
    p->probe_last = next - 1; /* the follower is ahead of this log: again at the next heartbeat only */
    p->probing = true;
}

static void refused(struct raft *r, struct raft_peer *p, const struct message *m) {
    uint64_t previous = m->append_reply.match, last = m->append_reply.last, hint = m->append_reply.hint.index;
    if (p->progress == PROGRESS_SNAPSHOT) {
        if (hint == 0 || hint < p->transfer.at.index || hint <= previous)
            return;
        if (hint + 1 >= log_first(r->log))
            refused_as_compacted(r, p, previous, hint);
        else
            raft_snapshot_outgrown(p);
        return;
    }
    if (p->progress == PROGRESS_PROBE ? previous != p->next - 1 : previous < p->match && last >= p->match)
        return; /* an old one */
    if (hint > previous) {
        refused_as_compacted(r, p, previous, hint);
        return;
    }
    if (previous == 0)
        return;
    uint64_t fits = fits_at_most(r, m->append_reply.hint);
    if (fits >= previous)
        fits = previous - 1;
    forget_lost(p, previous, last, fits);
    raft_peer_probe(p, (fits > p->match ? fits : p->match) + 1);
}

static void accepted(struct raft_peer *p, uint64_t match, uint64_t first) {
    switch (p->progress) {
    case PROGRESS_PROBE:
        p->next = p->next > p->match ? p->next : p->match + 1;
        if (p->match >= p->probe_last)
            raft_peer_replicate(p);
        break;
    case PROGRESS_REPLICATE:
        flights_landed(&p->flights, p->match);
        p->next = p->next > p->match ? p->next : p->match + 1;
        break;
    case PROGRESS_SNAPSHOT:
        if (p->match + 1 >= first)
            raft_peer_replicate(p);
        else if (match >= p->transfer.at.index)
            raft_snapshot_outgrown(p);
        break;
    }
}

void raft_receive_append_reply(struct raft *r, struct raft_peer *p, const struct message *m) {
    uint64_t read = m->append_reply.read < r->read ? m->append_reply.read : r->read;
    if (!raft_compare_reply(r, p, m))
        return;
    if (p->read < read)
        p->read = read;
    p->asked = m->append_reply.asked;
    if (!m->append_reply.success) {
        refused(r, p, m);
        return;
    }
    uint64_t match = m->append_reply.match, durable = m->append_reply.durable;
    if (match > log_last(r->log) || durable > match) {
        r->ignored++;
        return;
    }
    if (p->match < match)
        p->match = match;
    if (p->durable < durable)
        p->durable = durable;
    accepted(p, match, log_first(r->log));
    raft_advance_commit(r);
}

void raft_advance_commit(struct raft *r) {
    uint64_t reached = RAFT_REACHED(r, raft_own_durable(r), durable);
    /* Only this term's: Raft, section 5.4.2 (bug 16). */
    if (reached > r->commit && reached >= r->term_start)
        raft_set_commit(r, reached);
}

uint64_t raft_majority_heard(const struct raft *r) {
    return RAFT_REACHED(r, r->now_ms, heard_ms);
}

static void check_quorum(struct raft *r) {
    bool silent = r->now_ms - raft_majority_heard(r) >= r->options.election_max_ms;
    if (!silent || raft_configuration(r)->mode == ACK_ASYNC)
        r->alone = silent;
    else
        raft_follow(r, r->state.term, NULL, RAFT_CAUSE_NO_MAJORITY);
}

static void sample_last(struct raft *r) {
    if (r->now_ms - r->sample_ms < CAUGHT_UP_MS)
        return;
    r->sample_old = r->sample_new;
    r->sample_new = log_last(r->log);
    r->sample_ms = r->now_ms;
}

void raft_tick_leader(struct raft *r) {
    check_quorum(r);
    if (r->role != RAFT_LEADER)
        return;
    sample_last(r);
    raft_compare_tick(r);
    if (r->transferring && r->now_ms >= r->transfer_end_ms)
        r->transferring = false;
    if (r->now_ms < r->heartbeat_ms)
        return;
    r->heartbeat_ms = r->now_ms + r->options.heartbeat_ms;
    raft_proof_confirm(r);
    raft_proof_begin(r);
    for (size_t i = 0; i < r->peer_count && !r->failed; i++)
        raft_peer_send(r, &r->peers[i], true);
}

/* One that is odd itself hands over to whoever is right; to any other where nobody knows who that is. */
static bool may_succeed(const struct raft *r, const struct raft_peer *p) {
    bool heard = (p->votes & VOTERS_NEW) && !silent(r, p) && p->odd == 0;
    bool even =
        r->odd ? p->agrees || (r->comparison.unequal_index != 0 && raft_peer_even(p)) : raft_peer_even(p);
    return heard && even;
}

static const struct raft_peer *best_voter(const struct raft *r) {
    const struct raft_peer *best = NULL;
    for (size_t i = 0; i < r->peer_count; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (may_succeed(r, p) && (best == NULL || p->match > best->match))
            best = p;
    }
    return best;
}

bool raft_transfer(struct raft *r, uint64_t now_ms, const struct member_id *target) {
    if (r->failed || r->role != RAFT_LEADER)
        return false;
    r->now_ms = now_ms;
    const struct raft_peer *to = target != NULL ? raft_peer(r, target) : best_voter(r);
    if (to == NULL || to->votes == 0 || to->odd != 0 || (target != NULL && !raft_peer_even(to)))
        return false;
    r->transferring = true;
    r->transfer_to = to->id;
    r->transfer_end_ms = now_ms + r->options.election_max_ms;
    r->timeout_now_ms = 0;
    return true;
}

void raft_send_timeout_now(struct raft *r) {
    const struct raft_peer *p = raft_peer(r, &r->transfer_to);
    if (p == NULL || p->match < log_last(r->log) || r->now_ms < r->timeout_now_ms)
        return;
    struct message m = {.type = MESSAGE_TIMEOUT_NOW};
    raft_send(r, &p->id, &m);
    r->timeout_now_ms = r->now_ms + r->options.heartbeat_ms;
}

uint64_t raft_read(struct raft *r, uint64_t now_ms) {
    if (r->failed || r->role != RAFT_LEADER)
        return 0;
    r->now_ms = now_ms;
    return ++r->read;
}

uint64_t raft_read_confirmed(const struct raft *r) {
    if (!raft_term_committed(r)) /* bug 19 */
        return 0;
    return RAFT_REACHED(r, r->read, read);
}

unsigned raft_acks(const struct raft *r, uint64_t index, unsigned *voters) {
    uint64_t values[MEMBERS_MAX];
    size_t count = raft_of_voters(r, raft_own_held(r), offsetof(struct raft_peer, durable), values);
    unsigned acks = 0;
    for (size_t i = 0; i < count; i++)
        acks += values[i] >= index;
    *voters = (unsigned)count;
    return r->role == RAFT_LEADER ? acks : 0;
}

uint64_t raft_all_acked(const struct raft *r) {
    uint64_t values[MEMBERS_MAX], least = UINT64_MAX;
    size_t count = raft_of_voters(r, raft_own_durable(r), offsetof(struct raft_peer, durable), values);
    for (size_t i = 0; i < count; i++)
        least = values[i] < least ? values[i] : least;
    return r->role == RAFT_LEADER && count > 0 ? least : 0;
}

static const struct raft_peer *find(const struct raft *r, const struct member_id *member) {
    for (size_t i = 0; i < r->peer_count; i++)
        if (member_id_equal(&r->peers[i].id, member))
            return &r->peers[i];
    return NULL;
}

uint64_t raft_match(const struct raft *r, const struct member_id *member) {
    if (r->role != RAFT_LEADER)
        return 0;
    if (member_id_equal(member, &r->options.self))
        return log_last(r->log);
    const struct raft_peer *p = find(r, member);
    return p != NULL ? p->match : 0;
}

bool raft_caught_up(const struct raft *r, const struct member_id *member) {
    if (r->role != RAFT_LEADER)
        return false;
    if (member_id_equal(member, &r->options.self))
        return true;
    const struct raft_peer *p = find(r, member);
    return p != NULL && p->progress == PROGRESS_REPLICATE && raft_peer_even(p) &&
           p->durable >= r->sample_old && !silent(r, p);
}

uint64_t raft_match_durable(const struct raft *r, const struct member_id *member) {
    if (r->role != RAFT_LEADER)
        return 0;
    if (member_id_equal(member, &r->options.self))
        return raft_own_durable(r);
    const struct raft_peer *p = find(r, member);
    return p != NULL ? p->durable : 0;
}

uint64_t raft_silent_ms(const struct raft *r, const struct member_id *member, uint64_t now_ms) {
    const struct raft_peer *p = find(r, member);
    return p != NULL && now_ms > p->heard_ms ? now_ms - p->heard_ms : 0;
}

bool raft_answered(const struct raft *r, const struct member_id *member, uint64_t sequence) {
    if (r->role != RAFT_LEADER)
        return false;
    const struct raft_peer *p = find(r, member);
    return member_id_equal(member, &r->options.self) ||
           (p != NULL && raft_peer_even(p) && p->read >= sequence);
}

bool raft_transferring(const struct raft *r) {
    return r->role == RAFT_LEADER && r->transferring;
}

bool raft_member_odd(const struct raft *r, const struct member_id *member) {
    if (member_id_equal(member, &r->options.self))
        return r->odd;
    const struct raft_peer *p = find(r, member);
    return r->role == RAFT_LEADER && p != NULL && p->odd != 0;
}
