/* A client of the HTTP server: its connection's state, and the answers it waits for. Inside of api.c,
 * routes.c and listing.c only.
 *
 * Requests have sequence numbers. [first, next) are under way or wait behind one that is: each has a place in
 * a ring. An answer that is ready while nothing is under way is printed straight into the output; another one
 * waits in its place until all before it are out. Reads may be under way together, and writes may, but a read
 * waits for the writes before it and a write for the reads: a connection sees its own requests in order. */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include "api/answer.h"
#include "api/api.h"
#include "api/http.h"
#include "api/metrics.h"
#include "api/parameters.h"

#include <bsd/sys/queue.h>

#define WRITES_MAX      64                    /* under way, of one client */
#define READS_MAX       8                     /* likewise: each may be answered with a value of 1 MiB */
#define PLACES_MAX      64                    /* answers that wait behind an earlier one */
#define OUTPUT_SIZE_MAX (256 * 1024)          /* bytes unread by the client before no more is done for it */
#define MEMORY_MAX      (1024u * 1024 * 1024) /* bytes held for all clients; past them large requests get 503 */
#define MEMORY_SMALL    (64 * 1024)           /* bytes of a body that is taken even then */
#define BODY_SIZE_MAX   (6 * (VALUE_SIZE_MAX + KEY_SIZE_MAX) + 1024) /* every byte escaped as \u00XX */

enum client_state {
    CLIENT_HEAD,   /* first line and headers are being read */
    CLIENT_EXPECT, /* the client waits for a 100 before it sends the body */
    CLIENT_BODY,
    CLIENT_WHOLE,   /* the request is there and waits for those before it */
    CLIENT_DISCARD, /* the body of a request that was refused */
    CLIENT_LISTING, /* the answer to GET /keys goes out a slice at a time */
    CLIENT_CLOSING, /* nothing more is read */
};

/* A ticket names a place: slot, the slot's generation, sequence number. */
#define SLOT_BITS       20
#define GENERATION_BITS 20
#define SEQUENCE_BITS   24
#define MASK(bits)      ((1u << (bits)) - 1)

/* A request as it is counted and logged. */
struct asked {
    uint8_t route; /* routes.h */
    enum http_method method;
    uint64_t started_us; /* when it was whole */
};

struct place {
    bool ready;
    struct asked asked;
    struct manner manner;
    enum operation operation;
    struct buffer key;    /* for the answer */
    struct buffer answer; /* printed, when ready */
};

struct listing; /* listing.h */

struct api_client {
    struct api *api;
    void *shell;
    uint32_t slot, generation;
    struct buffer input, output;

    enum client_state state;
    struct http_head head;
    struct http_chunked chunked;
    size_t head_size, body_size; /* of the request at the front of input */
    struct asked asked;          /* it */
    struct unless unless;        /* its, where it reads */

    uint32_t first, next;     /* sequence numbers */
    uint32_t places_capacity; /* a power of two */
    struct place *places;
    bool writes;    /* what is under way writes */
    size_t waiting; /* bytes in answers that are ready but not first */
    size_t counted; /* bytes of this client in api.memory */
    struct listing *listing;
    bool listing_begun, listing_done;
    bool ended; /* the peer sends no more */

    uint64_t deadline_ms; /* of the state */
    uint64_t stalled_ms;  /* output has not shrunk since */
    size_t stalled_start, stalled_size;
    bool started; /* a head's first byte has come */
    bool is_ready;
    TAILQ_ENTRY(api_client) ready;
};

struct api {
    struct api_options options;
    struct slot {
        struct api_client *client; /* NULL: free */
        uint32_t generation;
        uint32_t free_next;
    } * slots;
    uint32_t slots_capacity, free_first, clients;
    uint32_t hand; /* slot looked at last for one that gives way */
    bool draining;
    uint64_t tick_ms; /* next look at the clients */
    struct metrics metrics;
    bool log_requests;
    size_t memory, memory_max; /* bytes that clients hold: input, output, answers that wait */
    uint8_t host[64];          /* the last Host that was allowed: most requests bear the same */
    size_t host_size;
    TAILQ_HEAD(ready_head, api_client) ready;
};

static inline uint32_t client_under_way(const struct api_client *client) {
    return client->next - client->first;
}

struct place *client_place(const struct api_client *client, uint32_t sequence);
/* Answers of places that are ready go out until one is not. */
void client_release_ready(struct api_client *client);
void client_free_places(struct api_client *client);

/* How the request at the front asks to be answered. */
struct manner client_manner(const struct api_client *client);
struct speaker client_speaker(const struct api_client *client);
/* The answer to the request at the front is printed between these two. */
struct buffer *client_answer_begin(struct api_client *client);
void client_answer_end(struct api_client *client, struct buffer *answer, enum error error);
/* A request has its answer: counts it, and logs it where that is wanted. timing may be NULL. */
void client_count(struct api *api, const struct asked *asked, enum error error, const struct timing *timing);
/* What a reply is to a request of this manner: its error, or ERROR_NOT_MODIFIED. */
enum error client_result(const struct manner *manner, enum operation operation, const struct reply *reply);
/* The answer to a read or a write of this key. */
void client_print(struct api_client *client, struct buffer *out, struct manner manner,
                  enum operation operation, const struct reply *reply, struct bytes key);
/* The listing may begin: its barrier has been passed, or has failed. */
void client_list(struct api_client *client, const struct reply *reply);
/* Asks for the listing's next slice, which is gathered. */
void client_gather(struct api_client *client, uint64_t now_ms);
/* A place for an answer that comes later; key: for operations that name it in their answer. */
uint64_t client_ticket(const struct api_client *client);
void client_wait(struct api_client *client, enum operation operation, struct bytes key);
void client_refuse(struct api_client *client, const struct refusal *why, const char *allow);

#endif
