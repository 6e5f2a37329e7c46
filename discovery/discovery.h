/* Discovery's core: when to announce, whom to answer, who is heard.
 *
 * Announces at once at the start (ANNOUNCE_NEW, three times within a second, for lost datagrams), then every
 * 5 s with a little jitter, and at once when the own role changes. Answers a newcomer directly, at most once
 * a source and 100 ms, and never with more bytes than it got. Owns the membership table.
 *
 * A datagram of this very process is dropped. One of another process that bears the own id is handed to
 * heard, so that it is dialled and the connection decides between the two, but is not listed. */
#ifndef DISCOVERY_DISCOVERY_H
#define DISCOVERY_DISCOVERY_H

#include "cluster/membership.h"
#include "discovery/announce.h"
#include "storage/random.h"

#define DISCOVERY_INTERVAL_MS 5000
#define DISCOVERY_LISTEN_MS   500 /* a founder listens this long first */

struct discovery_host {
    void *arg;
    /* One datagram; to is NULL for a broadcast. */
    void (*send)(void *arg, const struct address *to, struct bytes datagram);
    /* A node was heard over UDP, from source, or by discovery_heard, source NULL (own cluster name only);
     * also for unchanged rows. None of the four may call back into discovery. */
    void (*heard)(void *arg, const struct node_info *info, enum membership_event event,
                  const struct address *source);
    void (*removed)(void *arg, const struct node_info *info);
    /* One of another cluster name was heard that is not listed as such already. */
    void (*foreign)(void *arg, const struct node_info *info);
    /* The first announcement of another version has come. */
    void (*version)(void *arg, const struct address *source);
};

struct discovery_counters {
    uint64_t received, sent, garbage, oversized, version, corrupt, foreign, own;
};

struct discovery;

/* broadcast off: nothing is sent and datagrams are dropped, the table follows hellos alone. self is copied.
 */
struct discovery *discovery_new(const struct discovery_host *host, const struct node_info *self,
                                bool broadcast, uint64_t seed);
void discovery_free(struct discovery *d);
void discovery_start(struct discovery *d, uint64_t now_ms);
/* Role, term, group id or address changed: announces at once, at most every 100 ms. */
void discovery_update(struct discovery *d, uint64_t now_ms, const struct node_info *self);
void discovery_datagram(struct discovery *d, uint64_t now_ms, const struct address *from,
                        struct bytes datagram);
/* From a hello over TCP: as if announced. */
void discovery_heard(struct discovery *d, uint64_t now_ms, const struct node_info *info);
/* A farewell of one's own. */
void discovery_leave(struct discovery *d);
/* Returns when it wants to be called next, in absolute ms. */
uint64_t discovery_tick(struct discovery *d, uint64_t now_ms);
const struct membership *discovery_membership(const struct discovery *d);
struct discovery_counters discovery_counters(const struct discovery *d);
/* Nodes of another cluster name, listed but never joined; up to 64, in no order. */
size_t discovery_foreign_count(const struct discovery *d);
const struct node_info *discovery_foreign_at(const struct discovery *d, size_t position);

#endif
