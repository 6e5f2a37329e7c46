/* One write as the log holds it: what a record of type ENTRY_PUT or ENTRY_DELETE carries as its payload.
 *
 * FORMAT.md draws the bytes. Fields that are not set take no room. A decoded entry borrows from the bytes it
 * was decoded from. */
#ifndef STORAGE_ENTRY_H
#define STORAGE_ENTRY_H

#include "storage/buffer.h"

#define KEY_SIZE_MAX    1024          /* bytes; at least 1 */
#define VALUE_SIZE_MAX  (1024 * 1024) /* bytes */
#define CLIENT_SIZE_MAX 64            /* bytes of a client's or a request's name */
#define CLOCK_SIZE_MAX  1024          /* bytes of an encoded vector clock */

enum entry_type {
    ENTRY_NOOP = 1,      /* opens a leader's term; no payload */
    ENTRY_CONFIGURATION, /* payload: replication/configuration.h */
    ENTRY_PUT,           /* payload: struct entry */
    ENTRY_DELETE,        /* payload: struct entry, without a value */
    ENTRY_RING,          /* payload: cluster/groups.h */
};

/* A log position, and so the version of what was written there. index 0 is none. */
struct version {
    uint64_t term, index;
};

static inline bool version_equal(struct version a, struct version b) {
    return a.term == b.term && a.index == b.index;
}

/* As positions of one log follow each other, and as versions of one key do. */
static inline int version_compare(struct version a, struct version b) {
    if (a.term != b.term)
        return a.term < b.term ? -1 : 1;
    return a.index < b.index ? -1 : a.index > b.index;
}

/* Decided when the entry is applied, the same on every node. */
enum condition {
    CONDITION_NONE,
    CONDITION_MATCH,  /* the key's version is the one given */
    CONDITION_ABSENT, /* the key is not there */
    CONDITION_EXISTS, /* the key is there (If-Match: *) */
};

struct entry {
    struct bytes key, value;
    enum condition condition;
    struct version match;         /* for CONDITION_MATCH */
    struct bytes client, request; /* exactly-once retries; both empty when not used, never one */
    uint64_t cluster_ms;          /* cluster time that the outcome depends on, Unix time; 0 none */
    uint64_t expiry_ms;           /* Unix time; 0 never */
    struct bytes clock;           /* encoded vector clock; empty when not used */
};

/* Upper bound of entry_encode's output for keys and values within the limits. */
#define ENTRY_SIZE_MAX (VALUE_SIZE_MAX + KEY_SIZE_MAX + CLOCK_SIZE_MAX + 2 * CLIENT_SIZE_MAX + 64)

/* Bytes that entry_encode appends. */
size_t entry_size(const struct entry *entry);
/* Appends. The limits above are the caller's to keep (asserted). */
void entry_encode(struct buffer *out, const struct entry *entry);
/* False where the bytes are no entry: a length past the end or a limit, an unknown flag, something left over.
 */
bool entry_decode(struct bytes payload, struct entry *out);

#endif
