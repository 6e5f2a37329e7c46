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

/* What a node shows beside its group's keys. Any may be NULL: the route then answers 501, or nothing is
 * logged. */
struct api_host {
    void *arg;
    void (*health)(void *arg, uint64_t now_ms, struct health_view *out);
    /* Appends families in Prometheus' form. */
    void (*metrics)(void *arg, uint64_t now_ms, struct buffer *out);
    const char *(*level)(void *arg); /* of the log */
    bool (*set_level)(void *arg, struct bytes name);
    /* A line for the log: a request that took longer than slow_ms, or (api_log_requests) any. */
    void (*request)(void *arg, bool slow, const char *text);
};

struct api_options {
    struct coordinator *coordinator; /* borrowed */
    struct replica *replica;         /* borrowed, for its ledger of rejected writes; may be NULL */
    struct api_host host;
    uint32_t slow_ms;               /* 0: no request is slow */
    const char *const *allow_hosts; /* further names, lower case, NULL-terminated; may be NULL; borrowed */
    uint32_t clients_max;           /* 0: 10,000 */
};

struct api;
struct api_client;

struct api *api_new(const struct api_options *options);
void api_free(struct api *api);

/* With clients_max of them, one that has been idle, or slow to send a head, for a second is closed to make
 * room (it becomes ready). NULL where none is: the shell writes api_full_answer and closes. */
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
uint32_t api_clients_max(const struct api *api);

/* The time, for what is measured: the shell tells it when a turn of a client begins and when its answers are
 * written, and before the turn of the node. A shell that never does measures nothing. */
void api_clock(struct api *api, uint64_t now_us);
/* A request was answered since, and what it took is not known yet. */
bool api_wants_clock(const struct api *api);
/* Whether every request makes a line of the log. */
void api_log_requests(struct api *api, bool all);
/* What the server counts, in Prometheus' form. */
void api_metrics(const struct api *api, struct buffer *out);
/* Clean shutdown: no new requests are taken, answers under way go out, then clients are closed. True once
 * none has a request under way, or an answer of which bytes are left. */
bool api_drain(struct api *api);

#endif
