/* An HTTP client of one machine's node: bytes in, bytes out, one request under way at a time.
 *
 * Its connection ends when the node's process does; the answer is then response.status 0. */
#ifndef TESTS_SIM_CLIENT_H
#define TESTS_SIM_CLIENT_H

#include "tests/sim/machine.h"

struct response {
    unsigned status;               /* 0: the connection broke, or none could be had */
    struct version etag, position; /* index 0: none */
    uint32_t group;                /* of the position */
    unsigned acks, voters;         /* 0 voters: not told */
    bool follower, staleness_known;
    uint64_t staleness_ms;
    bool degraded;
    char node[NODE_ID_SIZE + 1]; /* who decided; empty: not told */
    bool grouped;
    uint32_t node_group;    /* where grouped: its group */
    unsigned retry_after_s; /* 0: not told */
    char location[128];     /* of a redirect */
    unsigned chunks;        /* with content, of the body; 0: it came whole */
    struct bytes body;      /* borrowed for the call */
    char error[32];         /* of the body; empty: none */
};

struct client {
    TAILQ_ENTRY(client) next;
    struct sim *sim;
    struct machine *machine;
    struct api_client *connection; /* NULL: none */
    uint64_t generation;           /* of the connection */
    bool listed, waiting;
    bool keeps; /* reads nothing: the test takes the output from the connection itself */
    uint64_t last_us[2];
    struct buffer received, body; /* body: of an answer in chunks */
    void (*answered)(void *arg, struct client *client, const struct response *response);
    void *arg;
};

void sim_client_init(struct client *client, struct sim *sim,
                     void (*answered)(void *arg, struct client *client, const struct response *response),
                     void *arg);
void sim_client_release(struct client *client);
/* Connects where it is not connected to this machine yet, and sends. */
void sim_client_ask(struct client *client, struct machine *machine, const char *request);
/* Closes, and waits for nothing any more. */
void sim_client_give_up(struct client *client);

void sim_client_turn(struct client *client);
void clients_broken(struct machine *m);

/* Requests of one's own making (request.c), each ended by a NUL. ack: NULL or a value of ?ack=; match: index
 * 0 for none. */
void request_set(struct buffer *out, const char *key, const char *value, const char *ack,
                 struct version match);
void request_delete(struct buffer *out, const char *key, const char *ack);
void request_get(struct buffer *out, const char *key, bool linearizable);
/* after: NULL from the first key; limit 0: none. */
void request_keys(struct buffer *out, const char *after, uint64_t limit, bool linearizable);
/* position: of the group's log, as text. */
void request_after(struct buffer *out, const char *key, const char *position);
void request_outcome(struct buffer *out, const char *key, size_t number);
void request_health(struct buffer *out, bool ready);
/* change: join, leave or transfer; the address is join's alone. */
void request_members(struct buffer *out, const char *change, const uint8_t id[NODE_ID_SIZE],
                     const struct address *address);
void request_drop(struct buffer *out, uint32_t group, struct version row);
/* Makes a request bear a header: "Name: value". */
void request_header(struct buffer *request, const char *line);
/* Makes a set or a delete bear the pair of this number. */
void request_pair(struct buffer *request, size_t number);

#endif
