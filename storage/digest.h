/* Digests of a state: two stores that hold the same have the same digests.
 *
 * A digest is a sum modulo 2^64 of one 64-bit hash for each record. So it does not depend on order, a change
 * costs one hash for what goes and one for what comes, and the sums of two disjoint sets add up to that of
 * both. The sum of all is what replicas compare all the time. Whoever has to know where two stores differ, or
 * what one slot amounts to, has sums kept for each slot too, and within it for DIGEST_LEAVES sets of keys,
 * told apart by another hash of the key: the leaves. Their table is larger than the processor's cache, so
 * that a write to it costs more than the hash: a store is without them until they are asked for.
 *
 * The hash is of the key, its version, its expiry and its value; not of the order (store_record_order), so
 * that a key which moves to another group keeps its hash. A record with a vector clock has that in its
 * version's place, and an object neither, its clock being in the value: replicas of such a record agree in
 * those alone. FORMAT.md, "Digest", defines the hash; it is in snapshots and between nodes.
 *
 * How good it is. Each step multiplies two words to 128 bits and folds the halves, which spreads every bit of
 * either over the result; no record's hash is a sum of parts of its own, so that exchanging the values of two
 * keys, or versions, or bytes, changes the total as a random number would. Two different states have one
 * digest with a chance of 2^-64 then, unless somebody made them so: the hash has no secret, and who may write
 * any number of keys can compute a set of them that sums up to another one's. It guards against faults, not
 * against clients. */
#ifndef STORAGE_DIGEST_H
#define STORAGE_DIGEST_H

#include "storage/record.h"
#include "storage/slot.h"

#define DIGEST_LEAVES     16 /* of a slot */
#define DIGEST_LEAF_COUNT (SLOT_COUNT * DIGEST_LEAVES)

enum digest_seed {
    DIGEST_SEED_KEY = 1,
    DIGEST_SEED_VALUE,
    DIGEST_SEED_CLOCK,
    DIGEST_SEED_ANSWERED, /* a row of answered pairs (retries.h) */
    DIGEST_SEED_RING,     /* the ring's state (cluster/groups.h) */
};

struct digest {
    uint64_t total;
    uint64_t *leaves; /* DIGEST_LEAF_COUNT sums: 2 MiB; memory is used where a sum is not 0. NULL: not kept */
};

void digest_init(struct digest *digest, bool leaves);
void digest_release(struct digest *digest);

/* Of the same key, or one is NULL: `out` is not there any more, `in` is. */
void digest_replace(struct digest *digest, const struct record *out, const struct record *in);

/* The sum of a slot's leaves. As all of the leaves' functions, for a digest that has them. */
uint64_t digest_slot(const struct digest *digest, uint32_t slot);
static inline uint64_t digest_leaf(const struct digest *digest, uint32_t slot, uint32_t leaf) {
    return digest->leaves[slot * DIGEST_LEAVES + leaf];
}
/* Both with leaves, or both without. */
bool digest_equal(const struct digest *a, const struct digest *b);

/* Where a key's hash is added, and that hash. */
uint32_t digest_leaf_of(struct bytes key); /* below DIGEST_LEAVES */
uint64_t digest_hash(const struct store_record *record);

/* Of other bytes that belong to a state. */
uint64_t digest_bytes(enum digest_seed seed, struct bytes bytes);

#endif
