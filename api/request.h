/* A client's request and its reply, without HTTP, and their bytes when one node passes a request on to
 * another (FRAME_REQUEST, FRAME_REPLY). */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "api/error.h"
#include "replication/configuration.h"
#include "storage/entry.h"

enum operation {
    OPERATION_GET = 1,
    OPERATION_SET,
    OPERATION_DELETE,
    OPERATION_OUTCOME,
    OPERATION_KEYS, /* coordinator_keys.c */
    /* Of the group's members (coordinator_members.c); the key is the id of the node it is about. */
    OPERATION_NODES = 16, /* the asker's id */
    OPERATION_JOIN,       /* value: the address of its cluster port, as text */
    OPERATION_LEAVE,
    OPERATION_TRANSFER,
};

static inline bool operation_writes(enum operation operation) {
    return operation == OPERATION_SET || operation == OPERATION_DELETE;
}

static inline bool operation_of_members(enum operation operation) {
    return operation >= OPERATION_NODES && operation <= OPERATION_TRANSFER;
}

struct position {
    uint32_t group;
    struct version at; /* index 0: none */
};

struct request {
    enum operation operation;
    struct bytes key, value;
    enum condition condition; /* If-Match, If-None-Match */
    struct version match;
    bool ack_given;
    enum ack_mode ack;     /* ?ack= */
    bool linearizable;     /* ?consistency=linearizable */
    bool explain;          /* ?explain=1 */
    struct position after; /* KV-After of a read */
    struct bytes client;   /* KV-Client of a write, or of the one that OUTCOME asks for; empty: no pair */
    struct bytes request;  /* KV-Request, likewise */
    uint64_t deadline_ms;  /* absolute, of the own monotonic clock; travels as time left */
};

/* What OUTCOME tells of a pair. */
enum outcome {
    OUTCOME_NONE,
    OUTCOME_UNKNOWN, /* not committed before it was asked for, or forgotten since */
    OUTCOME_PENDING, /* in the log, and not committed yet: position */
    OUTCOME_DONE,    /* committed: position and version as in its answer */
    OUTCOME_FAILED,  /* likewise; its condition did not hold */
    OUTCOME_COUNT,
};

/* Where the time of a request went, as far as its coordinator knows; it does not travel between nodes. */
enum timing_step {
    TIMING_WAITED,
    TIMING_PASSED_ON,
    TIMING_DURABLE,
    TIMING_ACKNOWLEDGED,
    TIMING_ANSWERED,
    TIMING_CONFIRMED,
    TIMING_STEPS,
};

struct timing {
    uint32_t known; /* bits 1 << enum timing_step */
    uint32_t ms[TIMING_STEPS];
    uint8_t
        node[NODE_ID_SIZE]; /* that was waited for: PASSED_ON, or CONFIRMED by the leader; node[0] 0: none */
};

struct reply {
    enum error error;           /* ERROR_NONE: done */
    struct bytes message, fix;  /* errors: what happened; fix empty: the table's */
    struct bytes value;         /* GET */
    struct version version;     /* ETag; index 0: none. With ERROR_PRECONDITION the one that stands */
    struct position position;   /* KV-Position */
    uint8_t acks, voters;       /* KV-Acks; voters 0: none */
    uint8_t node[NODE_ID_SIZE]; /* KV-Node: who decided */
    uint32_t group;
    bool follower; /* a read answered by a follower: KV-Staleness-Ms */
    bool staleness_known;
    uint64_t staleness_ms;
    bool degraded;          /* KV-Degraded: no-majority */
    enum outcome outcome;   /* OUTCOME */
    uint32_t retry_after_s; /* 0: none */
    struct bytes explain;   /* a JSON object; empty: not asked for */
    struct timing timing;   /* of a request that took long */
};

/* What travels in front of both. */
/* Offset of the time left, u32 in ms: set again when the request leaves later. */
#define REQUEST_TIME_LEFT_AT 12
void request_encode(struct buffer *out, uint64_t id, uint64_t now_ms, const struct request *request);
/* Borrow from the payload. False for foreign bytes that are none, or break a limit of entry.h. */
bool request_decode(struct bytes payload, uint64_t now_ms, uint64_t *id, struct request *out);
void reply_encode(struct buffer *out, uint64_t id, const struct reply *reply);
bool reply_decode(struct bytes payload, uint64_t *id, struct reply *out);

#endif
