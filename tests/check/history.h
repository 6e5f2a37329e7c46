/* A history: what clients asked of a store and were answered, for checkers that know nothing else.
 *
 * An operation is one request: from `begin` (the client sends) to `end` (it has the whole answer) by one
 * clock, in microseconds. As text it is one line; history_read reads a file of them, history_write makes one:
 *
 *     kvnode-history 1
 *     set process=1 node=2 begin=100 end=420 ok key=k1 value=v17 etag=2.9
 *     set process=1 node=1 begin=500 unknown key=k1 value=v18 if-match=2.9 client=c1 request=r4
 *     delete process=2 node=1 begin=510 end=600 ok key=k1 weak
 *     get process=3 node=3 begin=610 end=700 ok key=k1 value=v17 etag=2.9 linearizable
 *     get process=3 node=3 begin=710 end=800 ok key=k2 absent staleness-ms=4
 *     keys process=3 node=1 begin=810 end=900 ok after=k1 limit=2 linearizable listed=k2,k7
 *
 * The kind comes first, then in any order fields with a value, and words without one:
 *
 *   begin, end         no end: the client never had an answer
 *   ok                 200, or 404 of a get
 *   failed             412: its condition did not hold
 *   refused            surely without effect: 4xx, and errors that promise that nothing was appended
 *   unknown            anything else
 *   key, value         value: of a set, or what a get found
 *   absent             a get found nothing
 *   etag               of the answer, without its quotes. Of a write: the key's version after it; of `failed`
 *                      the version that stood against it, none where the key was absent
 *   if-match=VERSION, if-match=*, if-none-match=*
 *   client, request    the pair of a write that may be sent again: lines of one pair are one write
 *   weak               a write that was not acknowledged by a majority: it may be lost, or come later
 *   linearizable       of a get, or keys
 *   staleness-ms       of a get: what the node said that its state may lack, at most
 *   prefix, after, limit, listed   of keys; listed may be empty
 *   process, node      numbers, for people: who asked whom
 *
 * Keys, values and names are percent-encoded: bytes outside of [A-Za-z0-9._-] as %XX, without NUL. Two sets
 * never write the same value to the same key, unless they are of one pair. Empty lines and lines that begin
 * with # mean nothing. */
#ifndef TESTS_CHECK_HISTORY_H
#define TESTS_CHECK_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HISTORY_NEVER UINT64_MAX
#define HISTORY_NONE  UINT32_MAX /* no text */

enum history_kind { HISTORY_SET, HISTORY_DELETE, HISTORY_GET, HISTORY_KEYS };

enum history_outcome { HISTORY_OK, HISTORY_FAILED, HISTORY_REFUSED, HISTORY_UNKNOWN };

enum history_condition { HISTORY_ALWAYS, HISTORY_IF_MATCH, HISTORY_IF_EXISTS, HISTORY_IF_ABSENT };

struct history_op {
    enum history_kind kind;
    enum history_outcome outcome;
    enum history_condition condition;
    bool weak, linearizable;
    uint32_t process, node;
    uint64_t begin_us, end_us; /* HISTORY_NEVER: without an answer */
    uint64_t staleness_us;     /* HISTORY_NEVER: not told */
    /* Texts by their numbers; HISTORY_NONE: none. value of a get: none where the key was absent. */
    uint32_t key, value, etag, match, client, request;
    uint32_t prefix, after;      /* KEYS */
    uint64_t limit;              /* KEYS; HISTORY_NEVER: none */
    size_t listed, listed_count; /* KEYS: its part of history->listed */
};

struct history {
    struct history_op *ops;
    size_t count, capacity;
    uint32_t *listed;
    size_t listed_count, listed_capacity;
    /* Texts: each once. */
    char **texts;
    size_t text_count, text_capacity;
    uint32_t *slots; /* open addressing, number + 1 */
    size_t slot_count;
};

/* An operation without fields: kind set, outcome unknown, no texts. */
struct history_op history_op(enum history_kind kind);

void history_init(struct history *h);
void history_release(struct history *h);
/* The number of a text, which is copied. */
uint32_t history_text(struct history *h, const char *text);
/* Returns its number. */
size_t history_add(struct history *h, const struct history_op *op);
/* A key that the operation of this number, of keys, has listed: one after the other, before another's. */
void history_listed(struct history *h, size_t op, uint32_t key);

/* False with one line in `why` where the text is no history. */
bool history_read(struct history *h, FILE *in, char *why, size_t why_size);
void history_write(const struct history *h, FILE *out);
/* One operation as its line, without a newline; cut to size. */
void history_line(const struct history *h, const struct history_op *op, char *out, size_t size);

#endif
