/* How old a follower's state may be: proofs that it held all that was committed at some time of its own
 * clock.
 *
 * The leader dates nothing, since clocks differ, and an append may be as old as a pause of either end. Each
 * answer of a follower bears its time. With its heartbeats the leader begins a read round (Ongaro's thesis,
 * section 6.4): it remembers the times it had by then, and the index that a read would need. A majority's
 * answers prove that nobody else had committed anything when the round began, so after the times that were
 * remembered: the leader sends them back with that index, and who has applied it held then what was current.
 */
#include "replication/raft_internal.h"

/* ---- the leader ---- */

void raft_proof_begin(struct raft *r) {
    if (!raft_term_committed(r) || r->round.sequence != 0)
        return;
    bool async = raft_configuration(r)->mode == ACK_ASYNC;
    uint64_t own = raft_own_held(r);
    r->round.sequence = ++r->read;
    r->round.index = async && own > r->commit ? own : r->commit; /* what has been answered */
    for (size_t i = 0; i < r->peer_count; i++)
        r->peers[i].bound = r->peers[i].asked;
}

void raft_proof_confirm(struct raft *r) {
    if (r->round.sequence == 0 || raft_read_confirmed(r) < r->round.sequence)
        return;
    for (size_t i = 0; i < r->peer_count; i++)
        r->peers[i].echo = (struct proof){r->peers[i].bound, r->round.index};
    r->round.sequence = 0;
}

/* ---- a follower ---- */

/* A time of this run of the node has a base that no other run has: what an earlier one asked is known by it.
 */
uint64_t raft_proof_asked(const struct raft *r) {
    return r->now_ms + r->time_base;
}

/* Two are waited for: with one only, a follower that is behind might never reach the newest. */
void raft_proof_take(struct raft *r, struct proof echo) {
    echo.asked -= r->time_base;
    if (echo.asked <= r->proven.asked || echo.asked < r->started_ms || echo.asked > r->now_ms)
        return;
    if (r->proofs[0].asked == 0)
        r->proofs[0] = echo;
    else if (r->proofs[0].asked < echo.asked)
        r->proofs[1] = echo;
}

void raft_proof_reach(struct raft *r) {
    while (r->proofs[0].asked != 0 && r->proofs[0].index <= r->commit) {
        r->proven = r->proofs[0];
        r->proofs[0] = r->proofs[1];
        r->proofs[1] = (struct proof){0};
    }
}

uint64_t raft_proven_ms(const struct raft *r, uint64_t *index) {
    *index = r->proven.index;
    return r->proven.asked;
}
