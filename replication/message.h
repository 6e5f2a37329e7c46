/* The messages of the consensus core and their bytes. PROTOCOL.md draws them. */
#ifndef REPLICATION_MESSAGE_H
#define REPLICATION_MESSAGE_H

#include "replication/configuration.h"
#include "storage/entry.h"

#ifndef MESSAGE_RECORDS_MAX
#define MESSAGE_RECORDS_MAX (2u * 1024 * 1024) /* bytes of records in one append: any one record fits */
#endif
#ifndef MESSAGE_CHUNK_SIZE
#define MESSAGE_CHUNK_SIZE (256u * 1024) /* bytes of a snapshot in one message */
#endif
/* No group ever reaches these: beyond, a message is damage or forged, and what it would do could not be
 * undone. */
#define MESSAGE_TERM_MAX     (1ull << 62)
#define MESSAGE_INDEX_MAX    (1ull << 56)
#define MESSAGE_SNAPSHOT_MAX (1ull << 40) /* bytes */

enum message_type {
    MESSAGE_VOTE = 1,
    MESSAGE_VOTE_REPLY,
    MESSAGE_APPEND,
    MESSAGE_APPEND_REPLY,
    MESSAGE_SNAPSHOT,
    MESSAGE_SNAPSHOT_REPLY,
    MESSAGE_TIMEOUT_NOW, /* leadership transfer: elect yourself at once */
    MESSAGE_READ_INDEX,  /* a follower asks how far it must have applied for a linearizable read */
    MESSAGE_READ_INDEX_REPLY,
    MESSAGE_REMOVED, /* to a former member: the committed configuration no longer lists it */
};

/* Whoever has applied up to index held at `asked` what was committed then. */
struct proof {
    uint64_t asked, index;
};

struct message {
    enum message_type type;
    uint64_t term; /* the sender's; for a pre-vote the term it would stand for */
    union {
        struct {
            struct version last; /* of the candidate's log */
            bool pre;
            bool transfer; /* the leader asked for it: a live leader is no reason to refuse */
        } vote;
        struct {
            bool granted, pre;
        } vote_reply;
        struct {
            struct version previous;
            uint64_t commit;
            uint64_t read;        /* sequence of the newest read waiting for a confirmation round */
            bool alone;           /* an async leader without a majority: resets no election timer */
            struct proof echo;    /* of the receiver's state; asked is 0 or a time of the receiver's */
            bool unequal;         /* voters differ, and none of their states has a majority */
            bool agrees;          /* the receiver's state, when it last answered, was the majority's */
            uint64_t compare;     /* index whose digest is wanted; 0 none */
            uint64_t odd;         /* number of the receiver's mark; 0: it bears none */
            struct bytes records; /* as log_slice gives them; empty for a heartbeat */
        } append;
        struct {
            bool success;
            uint64_t
                match; /* success: appended up to here; refusal: the index of the previous that did not fit */
            uint64_t durable;          /* of that, durable under the follower's own -fsync */
            uint64_t read;             /* echoed */
            uint64_t asked;            /* the sender's time, to be echoed */
            struct version hint;       /* refusal: where to try next (Raft, section 5.3, the fast way back) */
            uint64_t last;             /* refusal: the follower's last index */
            uint64_t compared, digest; /* an index that was asked for, 0 none, and the digest there */
            uint64_t odd;              /* the mark's number; UINT64_MAX: from another term; 0 none */
        } append_reply;
        struct {
            struct version at;
            uint64_t offset, total; /* bytes of the snapshot's file */
            uint64_t odd;           /* as in append: it replaces what the receiver has */
            struct bytes chunk;
        } snapshot;
        struct {
            struct version at;
            uint64_t offset; /* bytes held so far; total when it is installed */
            uint64_t odd;    /* the snapshot's */
            bool installed, refused;
        } snapshot_reply;
        struct {
            uint64_t id;
            bool ok;
            uint64_t index; /* reply: apply up to here before reading */
        } read_index;
        struct {
            uint64_t index; /* of that configuration */
        } removed;
    };
};

void message_encode(struct buffer *out, const struct message *message);
/* Borrows from the payload. False for bytes that are none, or beyond a bound; records inside an append are
 * not looked into. */
bool message_decode(struct bytes payload, struct message *out);

#endif
