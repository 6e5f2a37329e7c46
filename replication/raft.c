/* Life, terms and roles, and the turn that drives the rest. raft_internal.h says which file holds what. */
#include "replication/raft_internal.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define ELECTION_MIN_MS 250
#define ELECTION_MAX_MS 500
#define HEARTBEAT_MS    50
#define WINDOW_SIZE     (4u * 1024 * 1024)
#define IDLE_MS         1000 /* between ticks of a node that has nothing to wait for */

static void defaults(struct raft_options *o) {
    if (o->election_min_ms == 0)
        o->election_min_ms = ELECTION_MIN_MS;
    if (o->election_max_ms == 0)
        o->election_max_ms = ELECTION_MAX_MS;
    if (o->heartbeat_ms == 0)
        o->heartbeat_ms = HEARTBEAT_MS;
    if (o->uncommitted_max == 0)
        o->uncommitted_max = UNCOMMITTED_MAX;
    if (o->window_size == 0)
        o->window_size = WINDOW_SIZE;
    assert(o->election_min_ms < o->election_max_ms);
    assert(o->heartbeat_ms < o->election_min_ms);
}

struct raft *raft_new(const struct raft_options *options, const struct raft_host *host,
                      const struct configuration *configuration, uint64_t configuration_index,
                      uint64_t now_ms) {
    struct raft *r = calloc(1, sizeof *r);
    if (r == NULL)
        err(1, "raft_new");
    r->options = *options;
    defaults(&r->options);
    r->host = *host;
    r->log = options->log;
    r->state = r->saved = options->hard_state;
    r->odd = options->odd;
    r->now_ms = now_ms;
    r->commit = options->commit < log_last(r->log) ? options->commit : log_last(r->log);
    random_seed(&r->random, options->seed);
    r->time_base = ~r->random.state[0];
    r->started_ms = r->led_ms = now_ms;
    if (r->state.term < log_last_term(r->log))
        r->state = (struct hard_state){.term = log_last_term(r->log)};
    raft_configurations_load(r, configuration, configuration_index);
    raft_reset_deadline(r);
    if (raft_only_voter(r)) {
        r->deadline_ms = now_ms;
        r->odd = false; /* there is nobody else to be compared with */
    }
    return r;
}

void raft_free(struct raft *r) {
    if (r == NULL)
        return;
    free(r->configurations);
    free(r);
}

void raft_fail(struct raft *r) {
    r->failed = true;
}

bool raft_save(struct raft *r) {
    if (hard_state_save(r->options.fs, &r->state) == FILE_OK) {
        r->saved = r->state;
        return true;
    }
    raft_fail(r);
    return false;
}

static bool state_holds(const struct raft *r) {
    struct hard_state found;
    char ignored[160];
    enum file_result result = hard_state_load(r->options.fs, &found, ignored, sizeof ignored);
    if (result != FILE_OK)
        return result == FILE_NOT_FOUND || result == FILE_IO_ERROR;
    return !found.worn && found.term == r->saved.term &&
           found.vote_incarnation == r->saved.vote_incarnation &&
           memcmp(found.vote_id, r->saved.vote_id, NODE_ID_SIZE) == 0;
}

bool raft_mend_state(struct raft *r) {
    if (r->failed || state_holds(r))
        return false;
    return raft_save(r);
}

uint64_t raft_between(struct raft *r, uint64_t from_ms, uint64_t to_ms) {
    return from_ms + random_below(&r->random, to_ms - from_ms + 1);
}

void raft_reset_deadline(struct raft *r) {
    r->deadline_ms = r->now_ms + raft_between(r, r->options.election_min_ms, r->options.election_max_ms);
    r->pending_cause = RAFT_CAUSE_TIMEOUT;
}

bool raft_follow(struct raft *r, uint64_t term, const struct member_id *leader, enum raft_cause cause) {
    assert(term >= r->state.term);
    if (r->role != RAFT_FOLLOWER) {
        if (r->role == RAFT_LEADER) {
            r->cause = cause;
            r->counters.lost[cause]++;
            r->led_ms = r->now_ms;
        }
        raft_reset_deadline(r);
        r->matched = 0;
    }
    r->role = RAFT_FOLLOWER;
    r->alone = r->transferring = r->transferred = false;
    if (term > r->state.term) {
        r->state = (struct hard_state){.term = term};
        raft_forget_leader(r);
        r->leader_known = r->asking = false;
        if (!raft_save(r))
            return false;
    }
    if (leader == NULL) {
        r->leader_known = r->leader_known && !member_id_equal(&r->leader, &r->options.self);
        return true;
    }
    r->leader_known = true;
    r->leader = *leader;
    return true;
}

void raft_send(struct raft *r, const struct member_id *to, struct message *message) {
    assert(!r->failed);
    if (message->term == 0)
        message->term = r->state.term;
    r->host.send(r->host.arg, to, message);
}

struct raft_peer *raft_peer(struct raft *r, const struct member_id *id) {
    for (size_t i = 0; i < r->peer_count; i++)
        if (member_id_equal(&r->peers[i].id, id))
            return &r->peers[i];
    return NULL;
}

uint64_t raft_own_durable(const struct raft *r) {
    uint64_t durable = log_durable(r->log), written = log_written(r->log);
    if (r->options.sync_always)
        return durable;
    for (size_t i = 0; i < r->configuration_count; i++) {
        uint64_t at = r->configurations[i].index;
        if (at > durable && at <= written)
            return i == 0 ? durable : at - 1;
    }
    return written;
}

uint64_t raft_own_held(const struct raft *r) {
    return r->options.sync_always ? log_durable(r->log) : log_written(r->log);
}

void raft_count_append(struct raft *r, uint64_t bytes) {
    r->appended += bytes;
    uint64_t newest = r->appended_at_commit;
    if (r->mark_count > 0)
        newest = r->marks[(r->mark_head + r->mark_count - 1) % MARKS_MAX].appended;
    if (r->mark_count == MARKS_MAX || r->appended - newest < r->options.uncommitted_max / MARKS_MAX)
        return;
    size_t at = (r->mark_head + r->mark_count++) % MARKS_MAX;
    r->marks[at].index = log_last(r->log);
    r->marks[at].appended = r->appended;
}

void raft_count_truncate(struct raft *r) {
    while (r->mark_count > 0) {
        size_t at = (r->mark_head + r->mark_count - 1) % MARKS_MAX;
        r->appended = r->marks[at].appended;
        if (r->marks[at].index <= log_last(r->log))
            return;
        r->mark_count--;
    }
    r->appended = r->appended_at_commit;
}

void raft_set_commit(struct raft *r, uint64_t commit) {
    assert(commit >= r->commit);
    assert(commit <= log_last(r->log));
    r->commit = commit;
    while (r->mark_count > 0 && r->marks[r->mark_head].index <= commit) {
        r->appended_at_commit = r->marks[r->mark_head].appended;
        r->mark_head = (r->mark_head + 1) % MARKS_MAX;
        r->mark_count--;
    }
    if (commit == log_last(r->log)) {
        r->appended_at_commit = r->appended;
        r->mark_count = 0;
    }
    raft_configurations_prune(r);
}

/* Whoever speaks is there. */
static void heard_from(struct raft *r, struct raft_peer *p) {
    if (p->down && r->role == RAFT_LEADER)
        raft_link(r, r->now_ms, &p->id, RAFT_LINK_UP);
    p->down = p->refused = false;
}

/* Terms are kept for good, and one beyond which there is none would end the group: so one message raises them
 * by a step at most. A node that is further behind than that gets there by several. */
bool raft_near(struct raft *r, uint64_t term) {
    if (term <= r->state.term || term - r->state.term <= TERM_STEP)
        return true;
    raft_follow(r, r->state.term + TERM_STEP, NULL, RAFT_CAUSE_HIGHER_TERM);
    return false;
}

bool raft_hear_term(struct raft *r, uint64_t now_ms, uint64_t term) {
    if (r->failed || term > MESSAGE_TERM_MAX)
        return false;
    r->now_ms = now_ms;
    if (!raft_near(r, term))
        return false;
    return term <= r->state.term || raft_follow(r, term, NULL, RAFT_CAUSE_HIGHER_TERM);
}

static void receive_from_member(struct raft *r, struct raft_peer *p, const struct message *m) {
    bool pre = m->type == MESSAGE_VOTE_REPLY && m->vote_reply.pre && m->vote_reply.granted;
    if (m->term > r->state.term && !pre) {
        if (!raft_near(r, m->term))
            return;
        bool was_asking = r->asking || r->role == RAFT_CANDIDATE;
        if (raft_follow(r, m->term, NULL, RAFT_CAUSE_HIGHER_TERM) && was_asking)
            r->deadline_ms = r->now_ms + raft_between(r, RETRY_MIN_MS, RETRY_MAX_MS);
        return;
    }
    if (m->type == MESSAGE_VOTE_REPLY) {
        raft_receive_vote_reply(r, p, m);
        return;
    }
    if (m->term != r->state.term || r->role != RAFT_LEADER)
        return;
    p->heard_ms = r->now_ms;
    if (m->type == MESSAGE_APPEND_REPLY)
        raft_receive_append_reply(r, p, m);
    else
        raft_receive_snapshot_reply(r, p, m);
}

void raft_receive(struct raft *r, uint64_t now_ms, const struct member_id *from, const struct message *m) {
    if (r->failed || member_id_equal(from, &r->options.self) || m->term > MESSAGE_TERM_MAX)
        return;
    r->now_ms = now_ms;
    struct raft_peer *p = raft_peer(r, from);
    if (p != NULL)
        heard_from(r, p);
    switch (m->type) {
    case MESSAGE_VOTE:
        raft_receive_vote(r, from, m);
        break;
    case MESSAGE_APPEND:
        raft_receive_append(r, from, m);
        break;
    case MESSAGE_SNAPSHOT:
        raft_receive_snapshot(r, from, m);
        break;
    case MESSAGE_TIMEOUT_NOW:
        raft_receive_timeout_now(r, from, m);
        break;
    case MESSAGE_VOTE_REPLY:
    case MESSAGE_APPEND_REPLY:
    case MESSAGE_SNAPSHOT_REPLY:
        if (p != NULL)
            receive_from_member(r, p, m);
        break;
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_INDEX_REPLY:
    case MESSAGE_REMOVED:
        break; /* the host's */
    }
}

enum raft_result raft_may_propose(const struct raft *r) {
    if (r->failed)
        return RAFT_FAILED;
    if (r->role != RAFT_LEADER)
        return RAFT_NOT_LEADER;
    if (r->transferring || r->odd)
        return RAFT_TRANSFERRING;
    return RAFT_OK;
}

/* The log took it, or not. */
enum raft_result raft_appended(struct raft *r, enum log_result result, uint64_t size_before) {
    if (result == LOG_NO_SPACE)
        return RAFT_NO_SPACE;
    if (result != LOG_OK) {
        raft_fail(r);
        return RAFT_FAILED;
    }
    uint64_t size = log_size(r->log);
    raft_count_append(r, size > size_before ? size - size_before : 0);
    return RAFT_OK;
}

enum raft_result raft_propose(struct raft *r, enum entry_type type, const struct entry *entry,
                              struct version *at) {
    enum raft_result may = raft_may_propose(r);
    if (may != RAFT_OK)
        return may;
    if (r->appended - r->appended_at_commit >= r->options.uncommitted_max)
        return RAFT_BUSY;
    uint64_t size = log_size(r->log);
    enum raft_result result = raft_appended(r, log_append_entry(r->log, r->state.term, type, entry), size);
    if (result == RAFT_OK)
        *at = (struct version){.term = r->state.term, .index = log_last(r->log)};
    return result;
}

enum raft_result raft_propose_payload(struct raft *r, enum entry_type type, struct bytes payload,
                                      struct version *at) {
    enum raft_result may = raft_may_propose(r);
    if (may != RAFT_OK)
        return may;
    uint64_t size = log_size(r->log);
    enum raft_result result = raft_appended(r, log_append(r->log, r->state.term, type, payload), size);
    if (result == RAFT_OK)
        *at = (struct version){.term = r->state.term, .index = log_last(r->log)};
    return result;
}

enum raft_result raft_found(struct raft *r, uint64_t now_ms, const struct configuration *first) {
    assert(log_last(r->log) == 0);
    assert(first->count == 1 && first->members[0].role == MEMBER_VOTER);
    assert(member_id_equal(&first->members[0].id, &r->options.self));
    if (r->failed)
        return RAFT_FAILED;
    r->now_ms = now_ms;
    r->state =
        (struct hard_state){.term = r->state.term + 1, .vote_incarnation = r->options.self.incarnation};
    memcpy(r->state.vote_id, r->options.self.id, NODE_ID_SIZE);
    if (!raft_save(r))
        return RAFT_FAILED;
    enum raft_result result = raft_configuration_append(r, first);
    if (result == RAFT_OK)
        raft_lead(r, RAFT_CAUSE_FOUNDED);
    return result;
}

static void send_to_all(struct raft *r) {
    for (size_t i = 0; i < r->peer_count && !r->failed; i++)
        raft_peer_send(r, &r->peers[i], false);
}

/* A configuration without this leader is committed: it tells the others, hands over and goes. */
static void leave(struct raft *r) {
    if (raft_self_votes(r) || raft_configuration_index(r) > r->commit)
        return;
    if (raft_transfer(r, r->now_ms, NULL))
        raft_send_timeout_now(r);
    raft_follow(r, r->state.term, NULL, RAFT_CAUSE_REMOVED);
}

/* A batch is on its way, and its answers would set off more than waits now: one batch of all costs each node
 * as little as one of a few. Bounded, so that a long way between the nodes is used by several batches. */
static bool holds(const struct raft *r) {
    uint64_t last = log_last(r->log), written = log_written(r->log), done = r->commit;
    if (raft_configuration(r)->mode == ACK_ASYNC && log_durable(r->log) > done)
        done = log_durable(r->log);
    return r->options.sync_always && last > written && last - written <= HOLD_MAX && written > done &&
           r->now_ms - r->flight_ms < HOLD_MS;
}

bool raft_holding(const struct raft *r) {
    return r->holding;
}

void raft_flush(struct raft *r, uint64_t now_ms) {
    if (r->failed)
        return;
    r->now_ms = now_ms;
    r->holding = r->role == RAFT_LEADER && holds(r);
    if (r->role == RAFT_LEADER) {
        raft_configuration_finish(r);
        raft_proof_confirm(r);
        send_to_all(r);
        if (r->transferring && !r->failed)
            raft_send_timeout_now(r);
    }
    if (r->failed)
        return;
    /* What the sync under way does not cover waits for the next one, to be written as one batch. */
    bool little = r->appended - r->appended_at_write < LATE_MAX;
    bool later = r->holding || (r->options.sync_always && log_sync_pending(r->log) && little);
    uint64_t written = log_written(r->log);
    if (!later && log_write(r->log, r->commit, false) == LOG_IO_ERROR) {
        raft_fail(r);
        return;
    }
    if (log_written(r->log) > written) {
        r->flight_ms = now_ms;
        r->appended_at_write = r->appended;
    }
    if (r->role != RAFT_LEADER) {
        raft_send_owed(r);
        return;
    }
    uint64_t commit = r->commit;
    raft_advance_commit(r);
    if (r->commit > commit)
        send_to_all(r);
    if (!r->failed)
        leave(r);
}

void raft_synced(struct raft *r, uint64_t now_ms) {
    if (r->failed)
        return;
    r->now_ms = now_ms;
    if (r->role == RAFT_LEADER)
        raft_advance_commit(r);
    else if (r->owed.wanted)
        r->owed.now = true;
}

static uint64_t leader_due(const struct raft *r) {
    uint64_t due = r->heartbeat_ms;
    for (size_t i = 0; i < r->peer_count; i++) {
        uint64_t chunk = raft_snapshot_due(&r->peers[i]);
        due = chunk < due ? chunk : due;
    }
    return due;
}

uint64_t raft_tick(struct raft *r, uint64_t now_ms) {
    if (r->failed)
        return now_ms + IDLE_MS;
    r->now_ms = now_ms;
    bool stands = raft_may_stand(r);
    if (r->role != RAFT_LEADER && stands && now_ms >= r->deadline_ms)
        raft_campaign(r, r->pending_cause);
    if (r->role == RAFT_LEADER && !r->failed)
        raft_tick_leader(r);
    if (r->role == RAFT_LEADER)
        return leader_due(r);
    return stands ? r->deadline_ms : now_ms + IDLE_MS;
}

static void leader_gone(struct raft *r) {
    if (r->role != RAFT_FOLLOWER || !raft_may_stand(r))
        return;
    uint64_t soon = r->now_ms + raft_between(r, 0, LINK_DELAY_MS);
    if (soon < r->deadline_ms) {
        r->deadline_ms = soon;
        r->pending_cause = RAFT_CAUSE_LINK;
    }
}

void raft_link(struct raft *r, uint64_t now_ms, const struct member_id *peer, enum raft_link link) {
    struct raft_peer *p = raft_peer(r, peer);
    if (r->failed || p == NULL)
        return;
    r->now_ms = now_ms;
    p->down = link != RAFT_LINK_UP;
    p->refused = link == RAFT_LINK_REFUSED;
    if (r->role == RAFT_LEADER) {
        raft_snapshot_rewind(p);
        if (p->progress != PROGRESS_SNAPSHOT)
            raft_peer_probe(p, p->match + 1);
    } else if (p->refused && r->leader_known && member_id_equal(&r->leader, peer)) {
        leader_gone(r);
    }
}

enum raft_role raft_role(const struct raft *r) {
    return r->asking && !r->leader_known ? RAFT_CANDIDATE : r->role;
}

uint64_t raft_term(const struct raft *r) {
    return r->state.term;
}

uint64_t raft_commit(const struct raft *r) {
    return r->commit;
}

bool raft_term_committed(const struct raft *r) {
    return r->role == RAFT_LEADER && r->commit >= r->term_start;
}

bool raft_leader(const struct raft *r, struct member_id *out) {
    if (r->leader_known)
        *out = r->leader;
    return r->leader_known;
}

bool raft_led_by_another(struct raft *r, uint64_t now_ms, const struct member_id *than) {
    r->now_ms = now_ms;
    return raft_leader_alive(r) && !member_id_equal(&r->leader, than);
}

uint64_t raft_leader_commit(const struct raft *r) {
    return r->role == RAFT_LEADER ? r->commit : r->leader_commit;
}

bool raft_alone(const struct raft *r) {
    return r->alone;
}

enum raft_cause raft_cause(const struct raft *r) {
    return r->cause;
}

const struct raft_counters *raft_counters(const struct raft *r) {
    return &r->counters;
}

void raft_retire(struct raft *r, uint64_t now_ms, bool retired) {
    if (r->failed || retired == r->retired)
        return;
    r->now_ms = now_ms;
    r->retired = retired;
    if (retired && r->role != RAFT_LEADER)
        raft_follow(r, r->state.term, NULL, RAFT_CAUSE_REMOVED);
    if (retired)
        r->asking = false;
    raft_reset_deadline(r);
}

bool raft_no_space(const struct raft *r) {
    return r->no_space;
}

bool raft_odd(const struct raft *r) {
    return r->odd;
}

bool raft_unequal(const struct raft *r) {
    return r->role == RAFT_LEADER ? r->comparison.unequal_index != 0 : r->unequal;
}

const struct raft_comparison *raft_comparison(const struct raft *r) {
    return &r->comparison;
}

uint64_t raft_matched(const struct raft *r) {
    return r->matched;
}

bool raft_diverged(const struct raft *r) {
    return r->diverged;
}

bool raft_failed(const struct raft *r) {
    return r->failed;
}
