/* Snapshots in resumable chunks, one in flight (Raft, section 7). PROTOCOL.md, "Snapshots". */
#include "replication/raft_internal.h"

#include <assert.h>

/* The log must go on where the snapshot ends. */
static bool usable(const struct raft *r, struct version at) {
    return at.index > 0 && at.index + 1 >= log_first(r->log) && at.index <= log_last(r->log);
}

static bool choose(struct raft *r, struct raft_peer *p) {
    if (!usable(r, r->offer)) {
        if (r->now_ms < r->offer_ms)
            return false;
        r->offer_ms = r->now_ms + OFFER_PAUSE_MS;
        if (!r->host.snapshot_offer(r->host.arg, &r->offer, &r->offer_total) || !usable(r, r->offer)) {
            r->offer = (struct version){0};
            return false;
        }
    }
    p->transfer.at = r->offer;
    p->transfer.total = r->offer_total;
    p->transfer.offset = 0;
    p->transfer.waiting = false;
    p->transfer.delay_ms = CHUNK_RETRY_MS;
    return true;
}

/* It has been replaced by a newer one: the next turn begins with that. */
static void start_over(struct raft *r, struct raft_peer *p) {
    if (version_equal(r->offer, p->transfer.at))
        r->offer = (struct version){0};
    p->transfer.at.index = 0;
    p->transfer.waiting = false;
}

void raft_snapshot_send(struct raft *r, struct raft_peer *p) {
    struct transfer *t = &p->transfer;
    bool due = r->now_ms >= t->retry_ms;
    if (t->waiting ? !due : t->at.index == 0 && !due)
        return;
    if (t->at.index == 0 && !choose(r, p))
        return;
    uint64_t left = t->total - t->offset;
    struct message m = {.type = MESSAGE_SNAPSHOT};
    m.snapshot.at = t->at;
    m.snapshot.offset = t->offset;
    m.snapshot.total = t->total;
    size_t size = left < MESSAGE_CHUNK_SIZE ? (size_t)left : MESSAGE_CHUNK_SIZE;
    if (!r->host.snapshot_read(r->host.arg, t->at, t->offset, size, &m.snapshot.chunk)) {
        start_over(r, p);
        return;
    }
    assert(m.snapshot.chunk.size == size);
    t->delay_ms = !t->waiting ? CHUNK_RETRY_MS : t->delay_ms * 2;
    if (t->delay_ms > CHUNK_RETRY_MAX_MS)
        t->delay_ms = CHUNK_RETRY_MAX_MS;
    t->retry_ms = r->now_ms + t->delay_ms;
    t->waiting = true;
    raft_send(r, &p->id, &m);
}

static void installed(struct raft *r, struct raft_peer *p, uint64_t index) {
    if (p->match < index)
        p->match = index;
    if (p->durable < index)
        p->durable = index;
    raft_peer_replicate(p);
    raft_advance_commit(r);
}

void raft_receive_snapshot_reply(struct raft *r, struct raft_peer *p, const struct message *m) {
    struct transfer *t = &p->transfer;
    if (p->progress != PROGRESS_SNAPSHOT || !version_equal(t->at, m->snapshot_reply.at))
        return;
    uint64_t offset = m->snapshot_reply.offset;
    if (m->snapshot_reply.installed) {
        installed(r, p, t->at.index);
    } else if (m->snapshot_reply.refused) {
        start_over(r, p);
        t->retry_ms = r->now_ms + SNAPSHOT_PAUSE_MS;
    } else if (offset <= t->total && (offset != t->offset || !t->waiting)) {
        t->offset =
            offset; /* the answer to a repeated chunk asks for the one under way: it is not sent twice */
        t->waiting = false;
    }
}

static void reply(struct raft *r, const struct member_id *to, const struct message *m, uint64_t offset,
                  bool done, bool refused) {
    struct message answer = {.type = MESSAGE_SNAPSHOT_REPLY};
    answer.snapshot_reply.at = m->snapshot.at;
    answer.snapshot_reply.offset = offset;
    answer.snapshot_reply.installed = done;
    answer.snapshot_reply.refused = refused;
    raft_send(r, to, &answer);
}

/* A snapshot holds committed state only, so a log that has its last entry is committed that far. */
static bool known_already(struct raft *r, struct version at) {
    uint64_t term;
    bool known = log_term_at(r->log, at.index, &term);
    if (at.index <= r->commit && (r->options.sync_always || !known || term == at.term))
        return true;
    if (at.index > raft_own_durable(r) || !known || term != at.term)
        return false;
    raft_set_commit(r, at.index);
    return true;
}

void raft_receive_snapshot(struct raft *r, const struct member_id *from, const struct message *m) {
    if (!raft_accept_leader(r, from, m->term, false))
        return;
    if (known_already(r, m->snapshot.at)) {
        reply(r, from, m, m->snapshot.total, true, false);
        return;
    }
    uint64_t next = 0;
    bool taken = r->host.snapshot_chunk(r->host.arg, m->snapshot.at, m->snapshot.total, m->snapshot.offset,
                                        m->snapshot.chunk, &next);
    if (r->failed)
        return;
    reply(r, from, m, next, taken && r->commit >= m->snapshot.at.index, !taken);
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
}
