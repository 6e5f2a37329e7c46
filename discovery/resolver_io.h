/* Names in -peers become addresses, without the loop ever waiting for it.
 *
 * Lookups that block run in a few helper threads, which share nothing with the loop but a socket pair: a
 * question goes out as one message, the answer comes back as one. Numbers are answered at once. */
#ifndef DISCOVERY_RESOLVER_IO_H
#define DISCOVERY_RESOLVER_IO_H

#include "cluster/address.h"

#define RESOLVER_NAME_MAX    255 /* bytes of "host:port" */
#define RESOLVER_FOUND_MAX   8   /* addresses of one name */
#define RESOLVER_WAITING_MAX 64  /* lookups under way */

struct event_base;
struct resolver;

/* found is empty where there is no such name or nobody to ask. Borrowed for the call. */
typedef void resolver_done(void *arg, const char *name, const struct address *found, size_t count);

struct resolver *resolver_new(struct event_base *base);
/* Lookups under way are forgotten; their threads end when they have finished. */
void resolver_free(struct resolver *r);
/* "host:port", where host is a name or an address ("[::1]:8000"). done is called once: for an address before
 * this returns, for a name later, on the loop. False, and no call, where it is neither, or too many lookups
 * are under way. A name whose address no longer answers is simply resolved again. */
bool resolver_resolve(struct resolver *r, const char *name, resolver_done *done, void *arg);
/* What resolver_resolve could take: a host of at most 253 bytes and a port from 1 to 65535. */
bool resolver_name_valid(const char *name);

#endif
