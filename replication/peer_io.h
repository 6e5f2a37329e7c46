/* The TCP shell of `peers`: a listener, dials, and bytes between sockets and the core.
 *
 * The owner's peers_host forwards dial, write, close and hold to the functions below. What is written gathers
 * in a queue a connection and leaves in one send when the owner calls peer_io_flush at the end of its turn;
 * what the kernel does not take then leaves when the socket can take more. Up to 256 KiB are read from a
 * connection in a turn and parsed in place. When descriptors run out, a spare one is spent on accepting and
 * closing the connection that waits, so that the loop does not spin (bug 51).
 *
 * Times given to the core are milliseconds of CLOCK_MONOTONIC. */
#ifndef REPLICATION_PEER_IO_H
#define REPLICATION_PEER_IO_H

#include "replication/peers.h"

struct event_base;
struct peer_io;

/* Listens on bind (port 0: the kernel chooses); outgoing connections leave from its address, unless it is a
 * wildcard. NULL with one line of cause and mend in why. */
struct peer_io *peer_io_new(struct event_base *base, const struct address *bind, char *why, size_t why_size);
/* Closes every socket, the listener first; tells the core nothing. */
void peer_io_free(struct peer_io *io);
/* The core whose connections these are; before the loop runs. */
void peer_io_attach(struct peer_io *io, struct peers *peers);
/* Where it listens, with the port that the kernel chose. */
struct address peer_io_address(const struct peer_io *io);

/* For the owner's peers_host. */
void peer_io_dial(struct peer_io *io, uint32_t connection, const struct address *to);
void peer_io_write(struct peer_io *io, uint32_t connection, struct bytes data);
void peer_io_close(struct peer_io *io, uint32_t connection);
void peer_io_hold(struct peer_io *io, uint32_t connection, bool held);

/* End of a turn: sends what was written. */
void peer_io_flush(struct peer_io *io);
/* Connections turned away because descriptors had run out. */
uint64_t peer_io_turned_away(const struct peer_io *io);

#endif
