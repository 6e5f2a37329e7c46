/* Connections between nodes: whom to dial, who is at the other end, which of two connections stays.
 * PROTOCOL.md draws hello, frames and refusals. A core: its host opens, writes and closes connections by
 * number.
 *
 * A connection begins with one hello each way: magic, protocol version, kind (main or bulk), node_info,
 * newcomer's flags. Checked before any other frame is looked at, each failure told to the other side with its
 * reason, so that both can log it: version, cluster name, founding (two group ids of one group number), the
 * same id twice. Nodes of all groups of a cluster connect to each other. Then frames: size, type, payload,
 * crc32c. Sizes are checked before anything is allocated; a frame that is damaged or too large closes the
 * connection.
 *
 * For a pair of nodes one main connection lives, and one bulk connection where it is needed. Of two that
 * cross, the one on which the node with the lower id agreed first stays. A connection that closes is dialled
 * again: at once, then with a doubling delay (50 ms to 2 s, jitter); refused by a hello, after 30 s, or after
 * 1 s where two foundings of a group are still to be decided between. Refused by the peer's kernel is
 * reported, since it means the process is gone.
 *
 * A connection that stands is asked for a sign of life after 1 s of silence and closed after 4 s. node_info
 * is repeated every 5 s, so that what follows hellos alone hears of the node for as long as it is connected.
 *
 * There are no keys yet, so anybody may say anything. What decides is therefore what stands at an address
 * that this node dialled itself (peers_look): a node that comes by itself is dialled back at the address it
 * names. Addresses that were only heard of are dialled a few times, and only so many of one source and at all
 * in a given time. The members of the own group are dialled for as long as they are members, and where places
 * or memory run short, others give way to them.
 *
 * Two processes with one id: the later one ends, but only when the other has proved that it holds a copy of
 * the same directory. Anybody else who claims the id is turned away. */
#ifndef REPLICATION_PEERS_H
#define REPLICATION_PEERS_H

#include "cluster/node_info.h"
#include "replication/configuration.h"
#include "storage/random.h"

#define PEERS_PROTOCOL_VERSION 3
#define PEERS_MAX              64 /* nodes connected; for a further one somebody of less right gives way */
/* Of those, nodes of other groups: the own one has room. */
#define PEERS_FOREIGN_MAX     (PEERS_MAX - MEMBERS_MAX)
#define PEERS_CONNECTIONS_MAX 256                /* accepted, hello not yet seen included */
#define PEERS_FRAME_MAX       (4u * 1024 * 1024) /* bytes of a payload */
/* Bytes unsent on a connection; peers_send keeps within it, and a connection that its own replies bring
 * beyond is closed. */
#define PEERS_OUTPUT_MAX (64u * 1024 * 1024)
/* Memory that all connections hold together, incomplete frames and what is unsent, by capacity; and what
 * those may hold of it that are neither members of the own group nor named by -peers. From half of that on
 * they are not read from while what they were sent waits; beyond it the one of them that holds most is
 * closed, then the next. Beyond the whole, members' bulk connections are closed, and nothing larger than
 * PEERS_SMALL is sent: heartbeats always are. */
#define PEERS_MEMORY_MAX     (256u * 1024 * 1024)
#define PEERS_STRANGERS_HOLD (96u * 1024 * 1024)
#define PEERS_SMALL          1024
#define PEERS_HELLO_MS       3000 /* a hello must have come by then */

enum peers_lane { PEERS_MAIN, PEERS_BULK };

/* Payload types above the connection's own. */
enum frame_type {
    FRAME_RAFT = 16, /* replication/message.h */
    FRAME_REQUEST,   /* api/request.h: a client's request passed on */
    FRAME_REPLY,
    FRAME_INFO,   /* node_info of the sender: its role, term or group id changed */
    FRAME_RING,   /* replication/steward.h: what a group's log says of the ring */
    FRAME_ROUTED, /* api/routed.h: a request passed on to the group that owns its key */
};

enum peers_refusal {
    REFUSED_VERSION = 1,
    REFUSED_CLUSTER,      /* another cluster name */
    REFUSED_FOUNDING = 4, /* the same group number, founded twice */
    REFUSED_DUPLICATE,    /* a live node bears this id already */
    REFUSED_FULL,
    REFUSED_SELF,     /* it dialled itself */
    REFUSED_IMPOSTOR, /* bears our id and has not proved to hold our directory; reported, never told */
};

enum peers_close { PEERS_CLOSED, PEERS_CONNECT_REFUSED, PEERS_UNREACHABLE };

struct peer {
    struct node_info info;
    bool volatile_; /* keeps nothing on disk */
    struct member_id id;
};

/* What is called from within up, down, info, frame, refused and duplicate: peers_send, _learn, _forget,
 * _update, _unsent and what only reads. dial, write and close call back nothing but peers_unsent. */
struct peers_host {
    void *arg;
    /* Begins to connect; answered by peers_connected or peers_closed with this connection number. */
    void (*dial)(void *arg, uint32_t connection, const struct address *to);
    /* Bytes to send, copied by the host or written at once. */
    void (*write)(void *arg, uint32_t connection, struct bytes data);
    void (*close)(void *arg, uint32_t connection);
    /* Stops reading from it, or goes on. */
    void (*hold)(void *arg, uint32_t connection, bool held);
    /* The main connection to a node stands (up), has gone (down), or could not be made again because its
     * kernel refused (refused). */
    void (*up)(void *arg, const struct peer *peer);
    void (*down)(void *arg, const struct peer *peer, bool refused);
    void (*info)(void *arg, const struct peer *peer); /* after FRAME_INFO, also where nothing has changed */
    void (*frame)(void *arg, const struct peer *peer, enum frame_type type, struct bytes payload);
    /* A hello was refused, by us (`ours`) or by the other; info is empty where it was not understood.
     * Reported once a minute at most for the same node and reason; REFUSED_SELF never, since -peers may name
     * this node. */
    void (*refused)(void *arg, const struct address *at, const struct node_info *info,
                    enum peers_refusal reason, bool ours);
    /* Another live process bears our id and has run for longer. It has proved that it holds a copy of our
     * directory; or it has not, but answered a dial of ours. */
    void (*duplicate)(void *arg, const struct address *at, bool proved);
    /* A code of the claim under a secret of the directory, never told to anybody. */
    uint64_t (*prove)(void *arg, struct bytes claim);
};

/* What was last met at an address that this node dialled. */
struct peers_look {
    struct address at;
    struct node_info info; /* as its hello, or a later INFO there, says */
    uint64_t at_ms;        /* when it last was so; now, while the connection stands */
};

struct peers_member {
    uint8_t id[NODE_ID_SIZE];
    struct address at;
};

struct peers;

struct peers *peers_new(const struct peers_host *host, const struct node_info *self, bool volatile_,
                        uint64_t seed);
void peers_free(struct peers *p);
/* Told to the connected ones by FRAME_INFO. */
void peers_update(struct peers *p, const struct node_info *self);
/* An address of -peers (source NULL): dialled for as long as the node runs. Or one that was heard of, from
 * where: dialled a few times, and once more when it is heard of again; of one source, and of all together,
 * only so many in a given time. One that has answered is dialled again until it is forgotten. Of more than
 * 256 addresses one that was heard of and never answers makes room. */
void peers_learn(struct peers *p, uint64_t now_ms, const struct address *at, const struct address *source);
/* No longer to be dialled again (it left the table), unless it is a member's or from -peers. */
void peers_forget(struct peers *p, const struct address *at);
/* The other members of the own group, as its newest configuration lists them: dialled for as long as they are
 * listed, and never short of a place. At most MEMBERS_MAX; copied. */
void peers_members(struct peers *p, uint64_t now_ms, const struct peers_member *list, size_t count);
/* One after the other: begin with *cursor 0. NULL after the last. Borrowed until the next event. */
const struct peers_look *peers_look(struct peers *p, uint64_t now_ms, size_t *cursor);

/* An address that somebody named by hand: learned, and dialled at once, whatever became of it before. Then
 * how that went: *peer of the node that stands there, *reason of a refusal. */
enum peers_trial { PEERS_TRYING, PEERS_STANDS, PEERS_REFUSED, PEERS_UNANSWERED };
void peers_try(struct peers *p, uint64_t now_ms, const struct address *at);
enum peers_trial peers_tried(const struct peers *p, const struct address *at, const struct peer **peer,
                             enum peers_refusal *reason);

/* Events of the host. The host numbers accepted connections with peers_next_number. */
uint32_t peers_next_number(struct peers *p);
void peers_accepted(struct peers *p, uint64_t now_ms, uint32_t connection, const struct address *from);
void peers_connected(struct peers *p, uint64_t now_ms, uint32_t connection);
void peers_received(struct peers *p, uint64_t now_ms, uint32_t connection, struct bytes data);
void peers_closed(struct peers *p, uint64_t now_ms, uint32_t connection, enum peers_close why);
/* Returns when it wants to be called next, absolute; other calls may bring that forward. Costs nothing while
 * nothing is due: call it at the end of every turn. */
uint64_t peers_tick(struct peers *p, uint64_t now_ms);

/* False where there is no main connection to it, or its output is full. A bulk connection is dialled on first
 * use; until it stands the frame goes nowhere and false is returned. */
bool peers_send(struct peers *p, uint64_t now_ms, const struct member_id *to, enum peers_lane lane,
                enum frame_type type, struct bytes payload);
/* Told by the host, so that the bounds hold: memory of what the kernel has not taken yet. Until told
 * otherwise, all that was written. taken: the kernel has taken something since it was last told. */
void peers_unsent(struct peers *p, uint32_t connection, size_t size, bool taken);
size_t peers_count(const struct peers *p); /* main connections up */
const struct peer *peers_at(const struct peers *p, size_t position);
const struct peer *peers_find(const struct peers *p, const struct member_id *id);
size_t peers_held(const struct peers *p); /* bytes of memory that PEERS_MEMORY_MAX bounds */
/* Connections closed or refused for want of memory or places. */
uint64_t peers_shed(const struct peers *p);
/* All configured -peers and learned addresses have been dialled once: answered or failed. */
bool peers_settled(const struct peers *p);

const char *peers_refusal_text(enum peers_refusal reason);

#endif
