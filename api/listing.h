/* GET /keys: every key in byte order, a slice at a time as the output drains.
 *
 * A listing that fits one slice is an ordinary answer. A longer one is sent in chunks; it walks the live
 * store, so a key that is set or deleted meanwhile may or may not be in it, and every other key is in it
 * once. Where other groups have keys too, or the listing is linearizable, each slice is gathered from all of
 * them (coordinator_keys); one that cannot be reached is an error before the first byte, and after it the
 * answer breaks off without its end. */
#ifndef API_LISTING_H
#define API_LISTING_H

#include "api/client.h"

#ifndef LISTING_SLICE_SIZE
#define LISTING_SLICE_SIZE (32 * 1024) /* bytes of JSON */
#endif
#define LISTING_DEADLINE_MS 5000 /* of a slice that is gathered */

struct listing;

/* Copies prefix and after. limit 0: none. */
struct listing *listing_new(struct manner manner, struct bytes prefix, struct bytes after, uint64_t limit);
void listing_free(struct listing *l);
struct manner listing_manner(const struct listing *l);
/* The keys are gathered: each slice is asked for by listing_ask, and listing_step prints the reply to it. */
void listing_gather(struct listing *l, bool linearizable, struct position position);
bool listing_gathers(const struct listing *l);
void listing_ask(const struct listing *l, struct coordinator *c, uint64_t now_ms, uint64_t ticket);
/* Bytes of it are out: an error can no longer be told. Ends it. */
bool listing_cut(struct listing *l);
/* Appends the next slice, the first with the answer's head; true when the listing is complete. */
bool listing_step(struct listing *l, struct coordinator *c, const struct speaker *speaker,
                  const struct reply *reply, struct buffer *out);

#endif
