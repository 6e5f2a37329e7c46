/* Whose state is not the others'. PROTOCOL.md, "Comparing states", has the rules and why they are safe. */
#include "replication/raft_internal.h"

#include "replication/quorum.h"

#include <assert.h>

void raft_compare_reset(struct raft *r) {
    r->odd_number = r->odd_done = r->wanted = 0;
    r->unequal = false;
    r->comparison.unequal_index = 0;
    r->compare = (struct compare_round){.opened_ms = r->now_ms};
}

/* ---- the odd one itself ---- */

static void become_odd(struct raft *r) {
    if (r->odd)
        return;
    r->odd = true;
    r->asking = false;
    r->comparison.odd++;
    r->host.odd(r->host.arg, true);
}

void raft_odd_told(struct raft *r, uint64_t number) {
    if (number <= r->odd_done || r->host.odd == NULL)
        return;
    r->odd_number = number;
    become_odd(r);
}

/* Serves again. */
static void raft_even(struct raft *r) {
    if (r->odd)
        r->host.odd(r->host.arg, false);
    r->odd = false;
}

void raft_odd_replaced(struct raft *r) {
    r->odd_done = r->odd_number;
    r->wanted = 0;
    raft_even(r);
}

/* ---- the leader ---- */

bool raft_peer_even(const struct raft_peer *p) {
    return p->odd == 0 && p->says_odd_ms == 0;
}

static void mark(struct raft *r, struct raft_peer *p) {
    assert(p->odd == 0);
    p->odd = ++r->compare.marks;
    p->odd_end = log_last(r->log);
    p->odd_ms = r->now_ms;
    p->answered = p->agrees = false;
    p->progress = PROGRESS_SNAPSHOT;
    p->transfer = (struct transfer){0};
    if (r->transferring && member_id_equal(&p->id, &r->transfer_to))
        r->transferring = false;
}

static bool is_even(const struct raft_peer *p) {
    return p->odd == 0;
}

/* Without it the others must be a majority of all voters still: else nothing could be committed any more, and
 * so no snapshot be taken that would replace its state. */
static bool can_do_without(struct raft *r, struct raft_peer *p) {
    assert(p->odd == 0);
    p->odd = UINT64_MAX;
    bool can = p->votes == 0 || raft_majority(r, is_even);
    p->odd = 0;
    return can;
}

static void found_odd(struct raft *r, struct raft_peer *p, uint64_t index) {
    if (!can_do_without(r, p)) {
        r->comparison.unequal_index = index;
        return;
    }
    r->comparison.odd++;
    mark(r, p);
}

static void remember(struct raft *r, uint64_t index, uint64_t digest) {
    struct compare_round *round = &r->compare;
    size_t last = (round->known_next + COMPARE_AGREED - 1) % COMPARE_AGREED;
    size_t at = round->known[last].index == index ? last : round->known_next;
    round->known[at].index = index;
    round->known[at].digest = digest;
    round->known_next = (at + 1) % COMPARE_AGREED;
}

static bool agreed_in(const struct raft *r, enum voter_set set, uint64_t *digest) {
    struct quorum_vote votes[MEMBERS_MAX];
    size_t count = 0;
    if (r->own_votes & set)
        votes[count++] = (struct quorum_vote){true, r->compare.digest};
    for (size_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].votes & set)
            votes[count++] = (struct quorum_vote){r->peers[i].answered, r->peers[i].digest};
    return quorum_agreed(votes, count, digest);
}

static bool agreed_digest(const struct raft *r, uint64_t *digest) {
    uint64_t before;
    return agreed_in(r, VOTERS_NEW, digest) &&
           (!r->joint || (agreed_in(r, VOTERS_OLD, &before) && before == *digest));
}

/* With what has been answered so far. */
static void judge(struct raft *r) {
    struct compare_round *round = &r->compare;
    uint64_t right;
    if (!agreed_digest(r, &right))
        return;
    round->agreed = true;
    r->comparison.rounds++;
    r->comparison.index = round->index;
    r->comparison.unequal_index = 0;
    remember(r, round->index, right);
    for (size_t i = 0; i < r->peer_count; i++) {
        struct raft_peer *p = &r->peers[i];
        p->agrees = p->answered && p->digest == right;
        if (p->answered && !p->agrees)
            found_odd(r, p, round->index);
    }
    if (round->digest != right) {
        become_odd(r);
        return;
    }
    round->right_ms = round->opened_ms;
    raft_even(r);
}

static bool waits_for(const struct raft *r, const struct raft_peer *p) {
    bool heard = !p->down && r->now_ms - p->heard_ms < r->options.election_max_ms;
    return !p->answered && p->odd == 0 && heard;
}

static bool all_answered(const struct raft *r) {
    for (size_t i = 0; i < r->peer_count; i++)
        if (waits_for(r, &r->peers[i]))
            return false;
    return true;
}

/* It has answered nothing that could refute it: what it says of itself counts then. */
static void believe(struct raft *r, struct raft_peer *p) {
    bool said = p->says_odd_ms != 0 && p->says_odd_ms <= r->compare.opened_ms;
    if (said && waits_for(r, p) && can_do_without(r, p))
        mark(r, p);
}

/* No digest has a majority; nobody knows who is right where any two differ. */
static void close_round(struct raft *r) {
    r->compare.open = false;
    for (size_t i = 0; i < r->peer_count; i++)
        believe(r, &r->peers[i]);
    for (size_t i = 0; i < r->peer_count && !r->compare.agreed; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (p->votes != 0 && p->answered && p->digest != r->compare.digest)
            r->comparison.unequal_index = r->compare.index;
    }
}

static void open_round(struct raft *r) {
    uint64_t digest;
    if (r->commit == 0 || !r->host.digest(r->host.arg, r->commit, &digest))
        return;
    r->compare.open = true;
    r->compare.agreed = false;
    r->compare.index = r->commit;
    r->compare.digest = digest;
    r->compare.opened_ms = r->now_ms;
    for (size_t i = 0; i < r->peer_count; i++)
        r->peers[i].answered = false;
    judge(r); /* the only voter is right */
}

void raft_compare_tick(struct raft *r) {
    struct compare_round *round = &r->compare;
    if (raft_only_voter(r))
        raft_even(r);
    if (r->odd && !r->transferring)
        raft_transfer(r, r->now_ms, NULL);
    if (r->host.digest == NULL || !raft_term_committed(r) || r->peer_count == 0)
        return;
    uint64_t age = r->now_ms - round->opened_ms;
    if (round->open && (all_answered(r) || age >= COMPARE_MAX_MS))
        close_round(r);
    if (!round->open && age >= COMPARE_MS)
        open_round(r);
}

/* Of a round that has agreed, or is over. */
static void judge_late(struct raft *r, struct raft_peer *p, uint64_t index, uint64_t digest) {
    const struct compare_round *round = &r->compare;
    size_t at = 0;
    while (at < COMPARE_AGREED && round->known[at].index != index)
        at++;
    if (at == COMPARE_AGREED)
        return;
    p->agrees = round->known[at].digest == digest;
    if (!p->agrees)
        found_odd(r, p, index);
}

bool raft_compare_reply(struct raft *r, struct raft_peer *p, const struct message *m) {
    uint64_t index = m->append_reply.compared;
    if (m->append_reply.odd == 0)
        p->says_odd_ms = 0;
    else if (p->says_odd_ms == 0)
        p->says_odd_ms = r->now_ms;
    if (p->odd != 0)
        return false;
    if (index == 0)
        return true;
    bool current = index == r->compare.index && r->compare.open;
    if (current) {
        p->answered = true;
        p->digest = m->append_reply.digest;
    }
    if (current && !r->compare.agreed)
        judge(r);
    else
        judge_late(r, p, index, m->append_reply.digest);
    if (current && all_answered(r))
        close_round(r);
    return p->odd == 0;
}

/* ---- the follower ---- */

/* A question that waits for records to come is not given up for a newer one; but a leader's questions rise,
 * and one that is higher than a later one was not its own. */
void raft_compare_heard(struct raft *r, const struct message *m) {
    r->unequal = m->append.unequal;
    if (m->append.odd != 0)
        raft_odd_told(r, m->append.odd);
    else if (m->append.agrees)
        raft_even(r);
    if (r->wanted == 0 || r->wanted <= r->commit || r->wanted > m->append.compare)
        r->wanted = m->append.compare;
}

void raft_compare_answer(struct raft *r, struct message *reply) {
    uint64_t digest;
    if (r->odd)
        reply->append_reply.odd = r->odd_number != 0 ? r->odd_number : UINT64_MAX;
    if (r->host.digest == NULL || r->wanted == 0)
        return;
    bool known = r->host.digest(r->host.arg, r->wanted, &digest);
    if (!known || r->wanted > r->commit || r->wanted > r->matched)
        return;
    r->comparison.index = r->wanted;
    reply->append_reply.compared = r->wanted;
    reply->append_reply.digest = digest;
}
