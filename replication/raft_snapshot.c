/* Snapshots in resumable chunks, a few in flight (Raft, section 7). PROTOCOL.md, "Snapshots". */
#include "replication/raft_internal.h"

#include <assert.h>

/* The log must go on where the snapshot ends. */
static bool usable(const struct raft *r, struct version at) {
    return at.index > 0 && at.index + 1 >= log_first(r->log) && at.index <= log_last(r->log);
}

/* What replaces an odd member's state takes back nothing that it has acknowledged. */
static bool usable_for(const struct raft *r, const struct raft_peer *p, struct version at) {
    return usable(r, at) && (p->odd == 0 || at.index >= p->odd_end);
}

static bool choose(struct raft *r, struct raft_peer *p) {
    if (!usable_for(r, p, r->offer)) {
        if (r->now_ms < r->offer_ms)
            return false;
        r->offer_ms = r->now_ms + OFFER_PAUSE_MS;
        if (p->odd != 0)
            r->host.snapshot_needed(r->host.arg, p->odd_end);
        if (!r->host.snapshot_offer(r->host.arg, &r->offer, &r->offer_total) || !usable(r, r->offer)) {
            r->offer = (struct version){0};
            return false;
        }
        if (!usable_for(r, p, r->offer))
            return false;
    }
    p->transfer.at = r->offer;
    p->transfer.total = r->offer_total;
    p->transfer.offset = p->transfer.sent = 0;
    p->transfer.delay_ms = CHUNK_FIRST_MS;
    return true;
}

/* It has been replaced by a newer one: the next turn begins with that. */
static void start_over(struct raft *r, struct raft_peer *p) {
    if (version_equal(r->offer, p->transfer.at))
        r->offer = (struct version){0};
    p->transfer.at.index = 0;
    p->transfer.offset = p->transfer.sent = 0;
}

void raft_snapshot_outgrown(struct raft_peer *p) {
    if (p->odd == 0 && p->transfer.at.index != 0)
        p->transfer = (struct transfer){0};
}

uint64_t raft_snapshot_due(const struct raft_peer *p) {
    bool flying = p->progress == PROGRESS_SNAPSHOT && !p->down && p->transfer.sent > p->transfer.offset;
    return flying ? p->transfer.retry_ms : UINT64_MAX;
}

void raft_snapshot_rewind(struct raft_peer *p) {
    p->transfer.sent = p->transfer.offset;
}

bool raft_snapshot_preferred(struct raft *r, struct raft_peer *p) {
    if (p->progress != PROGRESS_PROBE || p->next != 1 || p->match > 0 || log_first(r->log) != 1 ||
        !choose(r, p))
        return false;
    double held = (double)p->transfer.at.index / (double)log_last(r->log);
    if ((double)p->transfer.total < (double)log_size(r->log) * held)
        return true;
    p->transfer.at.index = 0;
    return false;
}

/* False where the snapshot is gone. */
static bool send_chunk(struct raft *r, struct raft_peer *p) {
    struct transfer *t = &p->transfer;
    uint64_t left = t->total - t->sent, most = t->offset == 0 ? CHUNK_FIRST_SIZE : MESSAGE_CHUNK_SIZE;
    size_t size = (size_t)(left < most ? left : most);
    struct message m = {.type = MESSAGE_SNAPSHOT};
    m.snapshot.at = t->at;
    m.snapshot.offset = t->sent;
    m.snapshot.total = t->total;
    m.snapshot.odd = p->odd;
    if (!r->host.snapshot_read(r->host.arg, t->at, t->sent, size, &m.snapshot.chunk)) {
        start_over(r, p);
        return false;
    }
    assert(m.snapshot.chunk.size == size);
    t->sent += size;
    raft_send(r, &p->id, &m);
    return true;
}

/* The first chunk flies alone. */
static bool has_room(const struct transfer *t) {
    uint64_t window = t->offset == 0 ? 1 : CHUNKS_MAX * MESSAGE_CHUNK_SIZE;
    return t->sent < t->total && t->sent - t->offset < window;
}

void raft_snapshot_send(struct raft *r, struct raft_peer *p) {
    struct transfer *t = &p->transfer;
    bool due = r->now_ms >= t->retry_ms;
    if (r->odd || (p->odd != 0 && r->compare.right_ms <= p->odd_ms))
        return; /* nobody gets a copy of a state that may be wrong itself */
    if (t->at.index == 0 && (!due || !choose(r, p)))
        return;
    if (t->sent > t->offset && due) {
        t->delay_ms = t->delay_ms * 2 < CHUNK_RETRY_MAX_MS ? t->delay_ms * 2 : CHUNK_RETRY_MAX_MS;
        raft_snapshot_rewind(p);
    }
    if (t->sent == t->offset)
        t->retry_ms = r->now_ms + t->delay_ms;
    while (has_room(t))
        if (!send_chunk(r, p))
            return;
}

static void installed(struct raft *r, struct raft_peer *p, uint64_t index) {
    if (p->match < index || p->odd != 0)
        p->match = index;
    if (p->durable < index || p->odd != 0)
        p->durable = index;
    p->odd = 0;
    raft_peer_replicate(p);
    raft_advance_commit(r);
}

void raft_receive_snapshot_reply(struct raft *r, struct raft_peer *p, const struct message *m) {
    struct transfer *t = &p->transfer;
    if (p->progress != PROGRESS_SNAPSHOT || !version_equal(t->at, m->snapshot_reply.at) ||
        p->odd != m->snapshot_reply.odd)
        return;
    uint64_t offset = m->snapshot_reply.offset;
    if (m->snapshot_reply.installed) {
        installed(r, p, t->at.index);
    } else if (m->snapshot_reply.refused) {
        start_over(r, p);
        t->retry_ms = r->now_ms + SNAPSHOT_PAUSE_MS;
    } else if (offset < t->total && offset != t->offset) {
        /* Elsewhere than in what is in flight: it has more from before, or less after a restart. */
        bool in_flight = offset > t->offset && offset <= t->sent;
        t->offset = offset;
        if (!in_flight)
            t->sent = offset;
        t->delay_ms = CHUNK_RETRY_MS;
        t->retry_ms = r->now_ms + t->delay_ms;
    }
}

static void reply(struct raft *r, const struct member_id *to, const struct message *m, uint64_t offset,
                  bool done, bool refused) {
    struct message answer = {.type = MESSAGE_SNAPSHOT_REPLY};
    answer.snapshot_reply.at = m->snapshot.at;
    answer.snapshot_reply.offset = offset;
    answer.snapshot_reply.odd = m->snapshot.odd;
    answer.snapshot_reply.installed = done;
    answer.snapshot_reply.refused = refused;
    raft_send(r, to, &answer);
}

/* A snapshot holds committed state only, so a log that has its last entry has all of it: the acknowledgement
 * is that of an append, when the records are durable. One that ends before the log begins cannot be compared.
 */
static bool has_position(struct raft *r, struct version at) {
    uint64_t term;
    bool known = log_term_at(r->log, at.index, &term);
    if (known && term == at.term)
        raft_match_position(r, at.index, at.index);
    else if (at.index + 1 < log_first(r->log) || (at.index <= r->commit && r->options.sync_always))
        raft_refuse_position(r, at);
    else
        return false;
    return true;
}

/* It is to replace what this node has. No correct leader sends less than this node knows to be committed. */
static bool replaces(struct raft *r, const struct member_id *from, const struct message *m) {
    if (m->snapshot.odd <= r->odd_done) {
        reply(r, from, m, m->snapshot.total, true, false);
        return false;
    }
    raft_odd_told(r, m->snapshot.odd);
    r->ignored += m->snapshot.at.index < r->commit;
    return m->snapshot.at.index >= r->commit;
}

void raft_receive_snapshot(struct raft *r, const struct member_id *from, const struct message *m) {
    uint64_t odd = m->snapshot.odd;
    if (!raft_accept_leader(r, from, m->term, false))
        return;
    if (odd != 0 ? !replaces(r, from, m) : has_position(r, m->snapshot.at))
        return;
    uint64_t next = 0;
    bool taken = r->host.snapshot_chunk(r->host.arg, m->snapshot.at, m->snapshot.total, m->snapshot.offset,
                                        m->snapshot.chunk, &next);
    if (r->failed)
        return;
    bool done = odd != 0 ? r->odd_done >= odd : r->matched >= m->snapshot.at.index;
    reply(r, from, m, next, taken && done, !taken);
}

void raft_installed(struct raft *r, struct version at, const struct configuration *configuration,
                    uint64_t configuration_index) {
    assert(r->role != RAFT_LEADER);
    assert(log_last(r->log) == at.index);
    raft_configurations_replace(r, configuration_index, configuration);
    r->mark_count = 0;
    r->appended_at_commit = r->appended;
    r->matched = at.index;
    r->diverged = false;
    if (r->commit > at.index)
        r->commit = at.index;
    raft_set_commit(r, at.index);
    raft_odd_replaced(r);
}
