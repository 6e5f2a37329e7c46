/* Majorities: everything that counts voters is here, so that a joint configuration, which needs a majority of
 * the voters before the change and one of those after it (the thesis, section 4.3), is in one place. Learners
 * count for nothing. */
#include "replication/raft_internal.h"

#include "replication/quorum.h"

/* An odd one is a voter whose value is 0, unless the question is whether it is there. */
static size_t of_set(const struct raft *r, enum voter_set set, uint64_t own, size_t offset,
                     uint64_t values[MEMBERS_MAX]) {
    bool heard = offset == offsetof(struct raft_peer, heard_ms);
    size_t count = 0;
    if (r->own_votes & set)
        values[count++] = own;
    for (size_t i = 0; i < r->peer_count; i++) {
        const struct raft_peer *p = &r->peers[i];
        if (!(p->votes & set))
            continue;
        values[count] = 0;
        if (p->odd == 0 || heard)
            memcpy(&values[count], (const uint8_t *)p + offset, sizeof *values);
        count++;
    }
    return count;
}

uint64_t raft_reached_in(const struct raft *r, enum voter_set set, uint64_t own, size_t offset) {
    uint64_t values[MEMBERS_MAX];
    size_t count = of_set(r, set, own, offset, values);
    return quorum_reached(values, count);
}

uint64_t raft_reached(const struct raft *r, uint64_t own, size_t offset) {
    uint64_t after = raft_reached_in(r, VOTERS_NEW, own, offset);
    if (!r->joint)
        return after;
    uint64_t before = raft_reached_in(r, VOTERS_OLD, own, offset);
    return before < after ? before : after;
}

size_t raft_of_voters(const struct raft *r, uint64_t own, size_t offset, uint64_t values[MEMBERS_MAX]) {
    return of_set(r, VOTERS_OLD | VOTERS_NEW, own, offset, values);
}

static bool majority_in(const struct raft *r, enum voter_set set, bool (*holds)(const struct raft_peer *p)) {
    size_t voters = (r->own_votes & set) != 0, held = voters;
    for (size_t i = 0; i < r->peer_count; i++) {
        voters += (r->peers[i].votes & set) != 0;
        held += (r->peers[i].votes & set) != 0 && holds(&r->peers[i]);
    }
    return held >= quorum_size(voters);
}

bool raft_majority(const struct raft *r, bool (*holds)(const struct raft_peer *p)) {
    return majority_in(r, VOTERS_NEW, holds) && (!r->joint || majority_in(r, VOTERS_OLD, holds));
}

bool raft_self_votes(const struct raft *r) {
    return r->own_votes != 0;
}

bool raft_only_voter(const struct raft *r) {
    for (size_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].votes != 0)
            return false;
    return raft_self_votes(r);
}
