#include "storage/digest.h"

#include <assert.h>
#include <endian.h>
#include <err.h>
#include <stdlib.h>

/* FORMAT.md, "Digest": never to be changed. The fraction of pi in binary, from its first bit on, with the
 * lowest bit set. */
#define C0 UINT64_C(0x243f6a8885a308d3)
#define C1 UINT64_C(0x13198a2e03707345)
#define C2 UINT64_C(0xa4093822299f31d1)
#define C3 UINT64_C(0x082efa98ec4e6c89)
#define C4 UINT64_C(0x452821e638d01377)
#define C5 UINT64_C(0xbe5466cf34e90c6d)
#define C6 UINT64_C(0xc0ac29b7c97c50dd)
#define C7 UINT64_C(0x3f84d5b5b5470917)

__extension__ typedef unsigned __int128 uint128_t;

static inline uint64_t fold(uint64_t a, uint64_t b) {
    uint128_t product = (uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load64(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return le64toh(word);
}

static inline uint64_t load32(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return le32toh(word);
}

static inline uint64_t step(uint64_t hash, uint64_t first, uint64_t second) {
    return fold(first ^ C0, second ^ hash);
}

/* Four sums side by side: a step waits for the one before, and the processor need not. */
static uint64_t take_blocks(uint64_t hash, const uint8_t **at, size_t *size) {
    uint64_t a = hash ^ C2, b = hash ^ C3, c = hash ^ C4, d = hash ^ C5;
    for (; *size > 64; *at += 64, *size -= 64) {
        a = step(a, load64(*at), load64(*at + 8));
        b = step(b, load64(*at + 16), load64(*at + 24));
        c = step(c, load64(*at + 32), load64(*at + 40));
        d = step(d, load64(*at + 48), load64(*at + 56));
    }
    return step(step(a, b, c), d, C1);
}

static inline uint64_t hash_bytes(enum digest_seed seed, struct bytes bytes) {
    const uint8_t *at = bytes.data;
    size_t size = bytes.size;
    uint64_t hash = (uint64_t)seed ^ C7, first = 0, second = 0;
    if (size > 64)
        hash = take_blocks(hash, &at, &size);
    for (; size > 16; at += 16, size -= 16)
        hash = step(hash, load64(at), load64(at + 8));
    if (bytes.size >= 16) { /* the last 16, perhaps some of them again */
        first = load64(bytes.data + bytes.size - 16);
        second = load64(bytes.data + bytes.size - 8);
    } else if (size >= 8) {
        first = load64(at);
        second = load64(at + size - 8);
    } else if (size >= 4) {
        first = load32(at);
        second = load32(at + size - 4);
    } else if (size > 0) {
        first = (uint64_t)at[0] | (uint64_t)at[size / 2] << 8 | (uint64_t)at[size - 1] << 16;
    }
    return fold(step(hash, first, second) ^ C6, (uint64_t)bytes.size ^ C1);
}

uint64_t digest_bytes(enum digest_seed seed, struct bytes bytes) {
    return hash_bytes(seed, bytes);
}

/* Of all but the key. */
static inline uint64_t content_hash(const struct store_record *record) {
    /* Most records have neither: a constant then. */
    uint64_t what = record->expiry_ms == 0 && !record->object
                        ? fold(C5, C7)
                        : fold(record->expiry_ms ^ C5, record->object ? C6 : C7);
    if (record->clock.size > 0)
        what ^= hash_bytes(DIGEST_SEED_CLOCK, record->clock);
    else if (!record->object)
        what ^= fold(record->version.term ^ C2, record->version.index ^ C3);
    return fold(what, hash_bytes(DIGEST_SEED_VALUE, record->value));
}

static inline uint64_t joined(uint64_t key_hash, const struct store_record *record) {
    return fold(fold(key_hash, content_hash(record)) ^ C0, C4);
}

static inline uint32_t leaf_of(uint64_t key_hash) {
    return (uint32_t)(key_hash >> 60);
}

uint32_t digest_leaf_of(struct bytes key) {
    return leaf_of(hash_bytes(DIGEST_SEED_KEY, key));
}

uint64_t digest_hash(const struct store_record *record) {
    return joined(hash_bytes(DIGEST_SEED_KEY, record->key), record);
}

void digest_init(struct digest *digest, bool leaves) {
    *digest = (struct digest){0};
    if (!leaves)
        return;
    digest->leaves = calloc(DIGEST_LEAF_COUNT, sizeof *digest->leaves);
    if (digest->leaves == NULL)
        err(1, "out of memory for a digest");
}

void digest_release(struct digest *digest) {
    free(digest->leaves);
    *digest = (struct digest){0};
}

/* 0 of none. */
static inline uint64_t hash_of(uint64_t key_hash, const struct record *record) {
    struct store_record view;
    if (record == NULL)
        return 0;
    record_view(record, &view);
    return joined(key_hash, &view);
}

void digest_replace(struct digest *digest, const struct record *out, const struct record *in) {
    const struct record *either = in != NULL ? in : out;
    assert(either != NULL);
    struct bytes key = record_key(either);
    uint64_t key_hash = hash_bytes(DIGEST_SEED_KEY, key);
    uint64_t change = hash_of(key_hash, in) - hash_of(key_hash, out);
    digest->total += change;
    if (digest->leaves != NULL)
        digest->leaves[slot_of(key) * DIGEST_LEAVES + leaf_of(key_hash)] += change;
}

uint64_t digest_slot(const struct digest *digest, uint32_t slot) {
    uint64_t sum = 0;
    for (uint32_t leaf = 0; leaf < DIGEST_LEAVES; leaf++)
        sum += digest_leaf(digest, slot, leaf);
    return sum;
}

bool digest_equal(const struct digest *a, const struct digest *b) {
    assert((a->leaves == NULL) == (b->leaves == NULL));
    return a->total == b->total &&
           (a->leaves == NULL || memcmp(a->leaves, b->leaves, DIGEST_LEAF_COUNT * sizeof *a->leaves) == 0);
}
