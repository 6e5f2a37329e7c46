/* The HTTP server's core: connections as bytes in and bytes out, under an event-driven shell (api_io.c).
 *
 * For each client: the shell reads into api_input and calls api_process; answers gather in api_output, in the
 * order of their requests (pipelining), also where a later one is ready first; the shell writes them and
 * consumes what the kernel took. A request's bytes are parsed in place. A client with an answer that came
 * later is found through api_next_ready. Deadlines are absolute: a request's headers, its body, an idle
 * connection, an unread answer.
 *
 * Bounds: clients; header bytes and fields; body bytes; requests in flight and output bytes of a client (past
 * them it is not read from until it has caught up); what all clients together hold (past it large bodies and
 * reads get 503); /keys is streamed a slice at a time as output drains. */
#ifndef API_API_H
#define API_API_H

#include "api/coordinator.h"
#include "storage/buffer.h"

struct api_options {
    struct coordinator *coordinator; /* borrowed */
    const char *const *allow_hosts;  /* further names, lower case, NULL-terminated; may be NULL; borrowed */
    uint32_t clients_max;            /* 0: 10,000 */
};

struct api;
struct api_client;

struct api *api_new(const struct api_options *options);
void api_free(struct api *api);

/* NULL where there are too many clients: the shell writes api_full_answer and closes. */
struct api_client *api_open(struct api *api, uint64_t now_ms, void *shell);
struct bytes api_full_answer(void);
void *api_shell(const struct api_client *client);
struct buffer *api_input(struct api_client *client);
struct buffer *api_output(struct api_client *client);
/* Input has come, output has drained, or api_next_ready gave the client. */
void api_process(struct api_client *client, uint64_t now_ms);
/* The peer has sent all it will: what has come whole is answered, then the client is to be closed. */
void api_input_ended(struct api_client *client);
/* The client may be read from (it is not held back by its own unread answers). */
bool api_wants_input(const struct api_client *client);
/* To be closed once its output is written. */
bool api_wants_close(const struct api_client *client);
/* The shell closed it: answers still to come are dropped. */
void api_close(struct api_client *client, uint64_t now_ms);

/* A reply that came later: the coordinator's answer, with the api as arg. */
void api_reply(void *api, uint64_t ticket, const struct reply *reply);
/* The next client that has something to write or is to be closed; NULL when there is none. Each once. */
struct api_client *api_next_ready(struct api *api);
/* Past deadlines: such clients become ready, with a 408 and api_wants_close. Returns when it wants to be
 * called next, absolute. */
uint64_t api_tick(struct api *api, uint64_t now_ms);
size_t api_clients(const struct api *api);
/* Clean shutdown: no new requests are taken, answers under way go out, then clients are closed. True once
 * none has a request under way. */
bool api_drain(struct api *api);

#endif
