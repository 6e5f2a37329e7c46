/* The versioned store: every live key with its value and version, in byte order of keys.
 *
 * Deterministic: the same entries in the same order give the same store on every node. Applying an entry and
 * advancing the applied position are one step (bug 30). The last applied entries can be undone, back to the
 * commit (ARCHITECTURE.md, applying before commit).
 *
 * Memory: records of key, value and version, each one allocation, under an ordered index. */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "storage/entry.h"

struct store;
struct digest; /* digest.h */

/* A live key, borrowed until the next call that changes the store. */
struct store_record {
    struct bytes key, value;
    struct version version;
    uint64_t expiry_ms;
    struct bytes clock;
    uint64_t moved; /* index in the own log of the entry that brought it from another group; 0: none */
    bool object;    /* the value is an object */
};

/* Index in the own log of the entry that brought the record. The version of a moved record is a position in
 * another group's log: what is asked of a position in the own log is asked of the order. */
static inline uint64_t store_record_order(const struct store_record *record) {
    return record->moved != 0 ? record->moved : record->version.index;
}

enum store_outcome {
    STORE_APPLIED,
    STORE_ABSENT,           /* a delete of a key that was not there: applied, nothing to do */
    STORE_CONDITION_FAILED, /* not applied; current: the version that stood against it, index 0 if absent */
    STORE_PAIR_CONFLICT, /* not applied; the entry at `at` bears the same pair and asks for another thing */
};

/* An entry that bears a pair (client, request) which was answered before has no effect: it is told what the
 * first one was. retries.h has how long a pair is remembered. */
struct store_effect {
    enum store_outcome outcome;
    struct version current; /* after the entry: its own version, or what stands; index 0: no such key */
    struct version at;      /* the entry that had the effect: itself, or the first one with its pair */
    bool repeated;          /* outcome and current are those of the entry at `at` */
};

/* What is remembered of the first entry with a pair; borrowed until the next call that changes the store. */
struct store_answer {
    struct bytes client, request;
    uint64_t fingerprint; /* of what it asked for */
    enum store_outcome outcome;
    struct version at, current; /* as in store_effect */
    uint16_t slot;              /* of the key */
    uint64_t moved;             /* as in store_record */
    uint32_t origin;            /* where moved: number of the group whose log `at` is a position of */
};

#ifndef STORE_UNDO_SIZE
#define STORE_UNDO_SIZE (64u * 1024 * 1024) /* bytes of undo kept; default */
#endif

struct store *store_new(size_t undo_size_max); /* 0: the default */
void store_free(struct store *store);

uint64_t store_count(const struct store *store);  /* live keys */
uint64_t store_memory(const struct store *store); /* bytes for records, index, undo, answered pairs */
struct version store_applied(const struct store *store);

bool store_get(const struct store *store, struct bytes key, struct store_record *out);

/* Applies the entry at `at`, whose index is applied + 1 (asserted). entry is NULL for a record that writes no
 * key (no-op, configuration). With `undo` set, what it overwrote is kept until store_forget passes it. */
struct store_effect store_apply(struct store *store, struct version at, enum entry_type type,
                                const struct entry *entry, bool undo);

/* Brings what applying entries with these keys touches nearer to the processor, for all keys at a time;
 * changes nothing. It pays where several are at hand that are about to be applied. */
void store_warm(const struct store *store, const struct bytes *keys, size_t count);

/* What the first entry with this pair was answered; false where the pair is not, or no longer, remembered. */
bool store_answered(const struct store *store, struct bytes client, struct bytes request,
                    struct store_answer *out);

/* Forgets the undo of entries up to and including index: they are committed. */
void store_forget(struct store *store, uint64_t index);
/* Undoes entries applied after index, newest first; `at` is the version at index. False where the list does
 * not reach that far back (its bound was passed, or an entry that changed something was applied without
 * undo): the store is then unchanged and must be rebuilt. Not behind a snapshot that is being written
 * (asserted). */
bool store_undo(struct store *store, struct version at);
/* Whether an entry that was applied changed anything, where it can still be undone; false: not known. */
bool store_changed(const struct store *store, uint64_t index, bool *changed);
/* Drops everything; applied becomes {0, 0}. A snapshot being written is freed first (asserted). */
void store_clear(struct store *store);

/* Of all records and of the answered pairs that count: stores with the same content have the same digest,
 * whatever brought it there (digest.h). */
uint64_t store_digest(const struct store *store);
/* As it was after the entry at index. False above applied, and where undoing does not reach that far back. */
bool store_digest_at(const struct store *store, uint64_t index, uint64_t *digest);
/* Its part of the records, by slot and leaf. The leaves are counted when they are
 * asked for first, in one whole walk, and are kept with every change from then on. */
const struct digest *store_digest_records(struct store *store);
/* The digest, kept with every change, is that of the content, each record and pair read again. Slow. */
bool store_digest_holds(const struct store *store);

/* Whether the records still have the digest that was kept with each change: memory that fails shows so,
 * before anybody asks for the record. A pass over all of them in slices of so many records and about so many
 * bytes, with other calls between. Where they do not, the digest is that of the records from then on, so that
 * it is the other replicas' no more; that takes one whole walk. */
enum store_checked { STORE_CHECK_GOES_ON, STORE_CHECK_RIGHT, STORE_CHECK_WRONG };
enum store_checked store_check(struct store *store, size_t records, size_t size);

/* Walks keys >= from in byte order; stops when `each` returns false. Must not change the store meanwhile. */
void store_scan(const struct store *store, struct bytes from,
                bool (*each)(void *arg, const struct store_record *record), void *arg);

#endif
