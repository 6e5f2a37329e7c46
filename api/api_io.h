/* The HTTP server's shell: sockets under libevent around the core of api.h.
 *
 * Each client has one persistent read event. What a read brings is parsed, decided and, as far as answers are
 * ready, written in the same callback: a request answered at once costs one wait, one recv and one send. A
 * write event exists only while the kernel does not take all. Answers that come later leave in api_io_flush,
 * which the program calls at the end of each turn of its loop, behind api_tick.
 *
 * With no descriptors left the listener spends a spare one to accept and close, and pauses: a full table
 * never spins (bug 51). A connection the server ends is shut for writing first, and closed when the client
 * has closed or two seconds later, so that the last answer is not lost to a reset. */
#ifndef API_API_IO_H
#define API_API_IO_H

#include "api/api.h"

struct event_base;
struct api_io;

struct api_io_options {
    struct event_base *base; /* borrowed */
    struct api *api;         /* borrowed */
    struct address bind;     /* port 0: one that the kernel gives */
};

#define API_IO_WHY_MAX 200

/* NULL with one line of cause and mend in why. */
struct api_io *api_io_open(const struct api_io_options *options, char why[API_IO_WHY_MAX]);
/* Where it listens. */
struct address api_io_address(const struct api_io *io);
/* End of a turn: writes out clients whose answers came, and closes those that are done. True where there was
 * one: its requests that waited behind may have begun, and want another turn at once. */
bool api_io_flush(struct api_io *io);
/* No new connections from here on. */
void api_io_stop_listening(struct api_io *io);
/* Closes everything. */
void api_io_close(struct api_io *io);

#endif
