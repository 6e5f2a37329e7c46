/* Elections: Raft, section 5.2 and 5.4.1; pre-vote and the disregard of candidates while the leader is alive
 * as in the thesis, sections 9.6 and 4.2.3. PROTOCOL.md, "Terms and votes", says who grants what. */
#include "replication/raft_internal.h"

#include <assert.h>

static struct version last_version(const struct raft *r) {
    return (struct version){.term = log_last_term(r->log), .index = log_last(r->log)};
}

/* Raft, section 5.4.1: negative where a is the worse log. */
static int compare_logs(struct version a, struct version b) {
    if (a.term != b.term)
        return a.term < b.term ? -1 : 1;
    return a.index < b.index ? -1 : a.index > b.index;
}

bool raft_leader_alive(const struct raft *r) {
    if (r->role == RAFT_LEADER)
        return !r->alone && r->now_ms - raft_majority_heard(r) < r->options.election_min_ms;
    if (!r->leader_known || r->heard_ms == 0 || r->now_ms - r->heard_ms >= r->options.election_min_ms)
        return false;
    for (size_t i = 0; i < r->peer_count; i++)
        if (member_id_equal(&r->peers[i].id, &r->leader))
            return !r->peers[i].refused;
    return true;
}

static void ask_for_votes(struct raft *r, bool pre) {
    struct message m = {
        .type = MESSAGE_VOTE,
        .term = r->state.term + pre,
        .vote = {.last = last_version(r), .pre = pre, .transfer = r->transferred},
    };
    for (size_t i = 0; i < r->peer_count; i++) {
        r->peers[i].granted = r->peers[i].denied = false;
        if (r->peers[i].votes != 0)
            raft_send(r, &r->peers[i].id, &m);
    }
}

/* An odd one leaves it to the others while there is a leader, or time for one of them to become it. But where
 * all that could win are odd nobody else will: it serves nothing then, and has its own state compared.
 *
 * One that votes no more by a configuration that is not committed stands still: its log may be the only one
 * that wins, and its vote be needed until then (the thesis, section 4.2.2). */
bool raft_may_stand(const struct raft *r) {
    uint64_t at;
    const struct member *before = configuration_find(raft_configuration_committed(r, &at), &r->options.self);
    bool votes = raft_self_votes(r) || (before != NULL && member_votes(before));
    return votes && !r->retired && (!r->odd || r->now_ms - r->led_ms >= ODD_STANDS_MS);
}

/* Counted by member, so that a repeated reply adds nothing (bug 18). */
static bool granted(const struct raft_peer *p) {
    return p->granted;
}

/* Neither refused nor known to be gone. */
static bool may_grant(const struct raft_peer *p) {
    return !p->denied && (p->granted || !p->refused);
}

static void start_election(struct raft *r) {
    r->role = RAFT_CANDIDATE;
    r->asking = r->leader_known = false;
    r->counters.elections[r->pending_cause]++;
    raft_forget_leader(r);
    r->state =
        (struct hard_state){.term = r->state.term + 1, .vote_incarnation = r->options.self.incarnation};
    memcpy(r->state.vote_id, r->options.self.id, NODE_ID_SIZE);
    if (!raft_save(r))
        return;
    enum raft_cause cause = r->pending_cause;
    raft_reset_deadline(r);
    r->pending_cause = cause;
    ask_for_votes(r, false);
    if (raft_majority(r, granted))
        raft_lead(r, cause);
}

/* The process that led is gone for certain, so that waiting for it has no use. */
static bool leader_refused(const struct raft *r) {
    for (size_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].refused && member_id_equal(&r->peers[i].id, &r->leader))
            return true;
    return false;
}

void raft_campaign(struct raft *r, enum raft_cause cause) {
    assert(r->role != RAFT_LEADER);
    raft_reset_deadline(r);
    if (cause == RAFT_CAUSE_LINK && leader_refused(r))
        r->deadline_ms = r->now_ms + raft_between(r, RETRY_MIN_MS, RETRY_MAX_MS);
    r->pending_cause = r->cause = cause;
    r->role = RAFT_FOLLOWER;
    r->leader_known = r->transferred = false;
    r->asking = true;
    if (raft_only_voter(r))
        r->pending_cause = r->cause = RAFT_CAUSE_ALONE;
    else
        ask_for_votes(r, true);
    if (raft_majority(r, granted))
        start_election(r);
}

static void reply_to_vote(struct raft *r, const struct member_id *to, const struct message *m, bool grant) {
    struct message reply = {.type = MESSAGE_VOTE_REPLY};
    reply.term = m->vote.pre && grant ? m->term : r->state.term;
    reply.vote_reply.granted = grant;
    reply.vote_reply.pre = m->vote.pre;
    raft_send(r, to, &reply);
}

/* Of two that ask each other for pre-votes with equal logs the higher id goes on. */
static bool goes_first(const struct raft *r, const struct member_id *other, int logs) {
    if (!r->asking || logs != 0)
        return true;
    return memcmp(other->id, r->options.self.id, NODE_ID_SIZE) > 0;
}

static void receive_pre_vote(struct raft *r, const struct member_id *from, const struct message *m) {
    int logs = compare_logs(m->vote.last, last_version(r));
    bool grant = m->term > r->state.term && logs >= 0 && !raft_leader_alive(r) && goes_first(r, from, logs);
    if (grant && r->role == RAFT_FOLLOWER) {
        uint64_t later = r->now_ms + raft_between(r, YIELD_MIN_MS, YIELD_MAX_MS);
        r->asking = false;
        if (r->deadline_ms < later)
            r->deadline_ms = later;
    }
    reply_to_vote(r, from, m, grant);
}

static bool free_to_vote_for(const struct raft *r, const struct member_id *candidate) {
    static const uint8_t nobody[NODE_ID_SIZE];
    if (memcmp(r->state.vote_id, nobody, NODE_ID_SIZE) == 0)
        return true;
    return r->state.vote_incarnation == candidate->incarnation &&
           memcmp(r->state.vote_id, candidate->id, NODE_ID_SIZE) == 0;
}

void raft_receive_vote(struct raft *r, const struct member_id *from, const struct message *m) {
    if (m->vote.pre) {
        receive_pre_vote(r, from, m);
        return;
    }
    if (m->term > r->state.term) {
        if ((!m->vote.transfer && raft_leader_alive(r)) || !raft_near(r, m->term))
            return;
        if (!raft_follow(r, m->term, NULL, RAFT_CAUSE_HIGHER_TERM))
            return;
    }
    bool grant = m->term == r->state.term && r->role == RAFT_FOLLOWER && free_to_vote_for(r, from) &&
                 compare_logs(m->vote.last, last_version(r)) >= 0;
    if (grant) {
        memcpy(r->state.vote_id, from->id, NODE_ID_SIZE);
        r->state.vote_incarnation = from->incarnation;
        r->asking = false;
        if (!raft_save(r)) /* before the reply leaves: bug 15 */
            return;
        raft_reset_deadline(r);
    }
    reply_to_vote(r, from, m, grant);
}

/* Neither won nor to be won: again soon, at a moment that the other candidates do not draw too. */
static void retry_soon(struct raft *r) {
    uint64_t soon = r->now_ms + raft_between(r, RETRY_MIN_MS, RETRY_MAX_MS);
    if (soon < r->deadline_ms)
        r->deadline_ms = soon;
}

void raft_receive_vote_reply(struct raft *r, struct raft_peer *p, const struct message *m) {
    bool pre = m->vote_reply.pre;
    if (pre ? !r->asking : r->role != RAFT_CANDIDATE)
        return;
    if (m->term != r->state.term + (pre && m->vote_reply.granted))
        return;
    p->granted = p->granted || m->vote_reply.granted;
    p->denied = !p->granted;
    if (raft_majority(r, granted)) {
        if (pre)
            start_election(r);
        else
            raft_lead(r, r->pending_cause);
    } else if (!pre && !raft_majority(r, may_grant)) {
        retry_soon(r);
    }
}

void raft_receive_timeout_now(struct raft *r, const struct member_id *from, const struct message *m) {
    bool asked = m->term == r->state.term && r->role == RAFT_FOLLOWER && r->leader_known &&
                 member_id_equal(&r->leader, from);
    if (!asked || !raft_self_votes(r) || r->odd)
        return;
    r->transferred = true;
    r->cause = r->pending_cause = RAFT_CAUSE_TRANSFER;
    start_election(r);
}
