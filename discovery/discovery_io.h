/* The UDP shell of discovery: broadcasts out, datagrams in.
 *
 * Two sockets. One receives, bound to the broadcast address of the interface that holds the bind address,
 * with SO_REUSEADDR: the kernel gives every node of a machine its own copy, on whatever address of that
 * interface the node is (127.0.0.2 too, since all of 127.0.0.0/8 is loopback's). The other sends, from the
 * bind address and a port that the kernel chose, so that answers to it reach this process alone; it is read
 * as well. */
#ifndef DISCOVERY_DISCOVERY_IO_H
#define DISCOVERY_DISCOVERY_IO_H

#include "cluster/address.h"

struct event_base;
struct discovery_io;

struct discovery_io_options {
    struct event_base *base;
    struct address bind;      /* its port is not used */
    struct address advertise; /* with a wildcard bind: the interface that has it is used */
    uint16_t port;
    /* A datagram that is longer than ANNOUNCE_SIZE_MAX comes cut to ANNOUNCE_SIZE_MAX + 1 bytes. */
    void (*received)(void *arg, const struct address *from, struct bytes datagram);
    void *arg;
};

/* NULL with one line of cause and mend in why. */
struct discovery_io *discovery_io_new(const struct discovery_io_options *options, char *why, size_t why_size);
void discovery_io_free(struct discovery_io *io);
/* to is NULL for a broadcast. What the kernel refuses is counted: the next announcement comes. */
void discovery_io_send(struct discovery_io *io, const struct address *to, struct bytes datagram);
uint64_t discovery_io_unsent(const struct discovery_io *io);
/* Where broadcasts go. */
struct address discovery_io_broadcast(const struct discovery_io *io);

#endif
