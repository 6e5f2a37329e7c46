/* What a replica's whole state amounted to after each of the last applied entries, so that two replicas that
 * are not at the same position can be compared at the lower one of the two.
 *
 * The state is that of the store and of the ring. The sums are noted as entries are applied. An async leader
 * may be further ahead of its commit than they reach back: the store's undo list goes on from there. */
#include <err.h>
#include <stdlib.h>

#include "replication/replica_internal.h"
#include "storage/digest.h"

static uint64_t ring_digest(const struct groups_state *groups) {
    struct buffer encoded = {0};
    groups_state_write(&encoded, groups);
    uint64_t digest = digest_bytes(DIGEST_SEED_RING, buffer_bytes(&encoded));
    buffer_release(&encoded);
    return digest;
}

void replica_digest_ring(struct replica *r, uint64_t index) {
    r->digests.ring = ring_digest(&r->groups);
    r->digests.ring_index = index;
}

void replica_digest_note(struct replica *r) {
    uint64_t applied = store_applied(r->store).index;
    if (r->digests.first > applied)
        r->digests.first = applied;
    if (r->digests.noted < applied)
        r->digests.noted = applied;
    r->digests.sums[applied % REPLICA_DIGESTS] = store_digest(r->store) + r->digests.ring;
    if (applied == r->digests.asked) {
        r->digests.kept = r->digests.sums[applied % REPLICA_DIGESTS];
        r->digests.is_kept = true;
    } else if (applied < r->digests.asked) {
        r->digests.is_kept = false;
    }
}

void replica_digest_begin(struct replica *r) {
    uint64_t applied = store_applied(r->store).index;
    if (r->digests.sums == NULL)
        r->digests.sums = calloc(REPLICA_DIGESTS, sizeof *r->digests.sums);
    if (r->digests.sums == NULL)
        err(1, "out of memory for digests");
    r->digests.first = r->digests.noted = applied;
    r->digests.is_kept = false;
    replica_digest_ring(r, applied);
    replica_digest_note(r);
}

/* Behind the sums that are noted. Between `index` and now no ring record was applied. */
static bool digest_before(const struct replica *r, uint64_t index, uint64_t *digest) {
    if (!store_digest_at(r->store, index, digest) || index < r->digests.ring_index)
        return false;
    struct groups_state groups = r->groups;
    if (groups.written > index)
        groups.written = 0;
    *digest += ring_digest(&groups);
    return true;
}

bool replica_digest_at(const struct replica *r, uint64_t index, uint64_t *digest) {
    uint64_t applied = store_applied(r->store).index;
    if (index > applied || index < r->digests.first)
        return false;
    if (r->digests.noted - index >= REPLICA_DIGESTS) /* its place was taken, if only by what is undone now */
        return digest_before(r, index, digest);
    *digest = r->digests.sums[index % REPLICA_DIGESTS];
    return true;
}

bool replica_digest_asked(void *arg, uint64_t index, uint64_t *digest) {
    struct replica *r = arg;
    uint64_t applied = store_applied(r->store).index;
    if (index > applied) {
        r->digests.asked = index;
        r->digests.is_kept = false;
        return false;
    }
    if (index == applied) {
        *digest = store_digest(r->store) + r->digests.ring;
        return true;
    }
    if (index == r->digests.asked && r->digests.is_kept) {
        *digest = r->digests.kept;
        return true;
    }
    return replica_digest_at(r, index, digest);
}
