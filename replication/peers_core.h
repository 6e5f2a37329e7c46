/* What the files of `peers` share: connections and targets. Nobody else includes it.
 *
 *   peers.c        the table, frames in and out, silence, time
 *   peers_greet.c  from the hello to a connection that stands, or to a refusal
 *   peers_dial.c   targets: what to dial and when again
 *
 * A connection:
 *
 *   DIALLING -> GREETING -> WELCOMED -> UP
 *                  |  ^        |
 *                  v  |        v
 *                 HELD      CLOSING (refused or crossed: told, and left open for a moment so that it arrives)
 *
 * Each end sends its hello at once, and WELCOME when it agrees to the other's; a connection stands when both
 * have. Where an id is connected already, the new connection is HELD while the old one is asked for a sign of
 * life:
 *
 *   - another session: if it lives, there are two processes with one id, and the later is refused; if it does
 * not answer within PROBE_MS, it is what a crashed node left behind and makes room;
 *   - the same session: crossing dials. Only the node with the lower id decides, by the order in which it saw
 * the hellos, so both ends always keep the same connection.
 *
 * Connections are freed only within the calls that report an event of theirs and in peers_tick. What a host
 * may call from its callbacks (send, learn, forget, update, unsent) only marks them, and the next tick acts.
 */
#ifndef REPLICATION_PEERS_CORE_H
#define REPLICATION_PEERS_CORE_H

#include "replication/hello.h"

/* Addresses known; beyond, one that never answered makes room, or the new one waits. */
#define TARGETS_MAX 256
/* Accepted, and as many dialled, that do not stand: strangers cannot take every place. */
#define GREETING_MAX  64
#define REPORTS_MAX   64   /* refusals remembered, so as not to report them again within REPORT_MS */
#define PING_MS       1000 /* of silence, then a PING */
#define SILENCE_MS    4000 /* of silence, then the connection is closed */
#define LATE_MS       1000 /* a tick later than this: this process stood still, the silence was ours */
#define PROBE_MS      1000
#define LINGER_MS     1000
#define INFO_MS       5000 /* node_info is repeated this often, as an announcement is */
#define REDIAL_MIN_MS 50
#define REDIAL_MAX_MS 2000
#define REFUSED_MS    30000 /* until the next dial after a refusal */
#define REPORT_MS     60000
#define UNGREETED_MAX 64 /* bytes of a payload before the connection stands */
#define INPUT_KEEP    (1u << 20)

/* The connection's own frames; types from 16 on are in peers.h. */
enum {
    FRAME_PING = 1, /* u32, echoed by PONG */
    FRAME_PONG,
    FRAME_WELCOME,
    FRAME_REFUSED, /* u8 reason */
    FRAME_CROSSED, /* another connection between the two stays */
};

enum connection_state { DIALLING, GREETING, HELD, WELCOMED, UP, CLOSING };

struct connection {
    uint32_t number;
    enum connection_state state;
    enum peers_lane lane;
    bool dialled;
    bool welcome_heard;
    bool ping_out;
    bool overfull;         /* to be closed by the next tick */
    bool conflicting;      /* founded differently: to be refused by the next tick */
    struct address at;     /* dialled, or where it came from */
    struct target *target; /* what it was dialled for; NULL for accepted and bulk ones */
    uint32_t rival;        /* HELD: the connection asked for a sign of life */
    uint32_t bulk;         /* a main one's bulk connection, standing or being dialled; 0 none */
    uint64_t bulk_next_ms; /* not dialled again before */
    uint64_t since_ms;     /* in this state */
    uint64_t heard_ms, info_ms;
    uint64_t uptime_ms, generation; /* as told by our hello */
    uint64_t their_uptime_ms;
    struct peer peer;    /* from its hello on */
    struct buffer input; /* an incomplete frame */
    size_t unsent;
};

struct target {
    bool used, always, settled;
    bool known;    /* node is who answered here last */
    bool founding; /* refused for its founding: worth a try when ours changes */
    bool failed;   /* the last dial was not answered */
    bool lost;     /* lost_peer went down and its kernel has not refused a redial yet */
    struct address at;
    uint32_t connection;        /* 0 none */
    enum peers_refusal refusal; /* of the last dial; 0 none */
    uint32_t failures;
    uint64_t next_ms;
    uint8_t node[NODE_ID_SIZE];
    struct peer lost_peer;
};

struct report {
    uint64_t at_ms;
    enum peers_refusal reason;
    struct address at; /* where the node is not known */
    uint8_t id[NODE_ID_SIZE];
};

struct peers {
    struct peers_host host;
    struct node_info self;
    bool volatile_;
    struct random random;
    uint64_t generation; /* of self */
    bool born;
    uint64_t born_ms;
    uint32_t next_number;
    uint64_t wake_ms;  /* when something is due */
    uint64_t asked_ms; /* what the last tick asked for */
    struct connection *connections[PEERS_CONNECTIONS_MAX];
    size_t count;
    struct connection *up[PEERS_MAX]; /* main ones that stand */
    size_t up_count;
    struct target targets[TARGETS_MAX];
    struct report reports[REPORTS_MAX];
    size_t report_next;
};

/* peers.c */
void peers_wake_at(struct peers *p, uint64_t at_ms);
struct connection *connection_find(const struct peers *p, uint32_t number);
/* NULL where there is no room. */
struct connection *connection_new(struct peers *p, uint64_t now_ms, uint32_t number, const struct address *at,
                                  bool dialled);
void connection_enter(struct peers *p, uint64_t now_ms, struct connection *c, enum connection_state state);
void connection_frame(struct peers *p, struct connection *c, uint8_t type, struct bytes payload);
/* FRAME_INFO, on a main connection that stands. */
void connection_tell_info(struct peers *p, struct connection *c);
/* Takes it out of the table and frees it; the host knows that it is closed. */
void connection_drop(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_close why);
/* The same, closing it first. */
void connection_close(struct peers *p, uint64_t now_ms, struct connection *c);
/* A main connection that stood does no longer: tells the host and sees to the redial. */
void connection_fall(struct peers *p, uint64_t now_ms, struct connection *c);
struct connection *connection_up(const struct peers *p, const uint8_t id[NODE_ID_SIZE]);

/* peers_greet.c. Those that return bool: false when the connection is gone. */
void greet_send(struct peers *p, uint64_t now_ms, struct connection *c);
bool greet_hello(struct peers *p, uint64_t now_ms, struct connection *c, const struct hello *hello);
void greet_version(struct peers *p, uint64_t now_ms, struct connection *c);
/* Its bytes are no hello at all. */
void greet_garbage(struct peers *p, uint64_t now_ms, struct connection *c);
bool greet_welcomed(struct peers *p, uint64_t now_ms, struct connection *c);
/* c answered the PING that asked it for a sign of life because of connection number `held`. */
void greet_alive(struct peers *p, uint64_t now_ms, struct connection *c, uint32_t held);
/* A HELD one whose rival did not answer in time. */
void greet_overdue(struct peers *p, uint64_t now_ms, struct connection *c);
/* The rival of those HELD because of it is gone. */
void greet_released(struct peers *p, uint64_t now_ms, uint32_t rival);
void greet_refuse(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_refusal reason);
void greet_was_refused(struct peers *p, uint64_t now_ms, struct connection *c, uint8_t reason);
void greet_was_crossed(struct peers *p, uint64_t now_ms, struct connection *c);
bool greet_conflicts(const struct node_info *self, const struct node_info *other);

/* peers_dial.c */
void dial_due(struct peers *p, uint64_t now_ms);
uint64_t dial_next(const struct peers *p);
void dial_bulk(struct peers *p, uint64_t now_ms, struct connection *main);
void dial_failed(struct peers *p, uint64_t now_ms, struct target *t, enum peers_close why);
/* The main connection c stands, or another one between the two nodes does. */
void dial_satisfied(struct peers *p, uint64_t now_ms, struct connection *c);
void dial_lost(struct peers *p, uint64_t now_ms, struct connection *c);
void dial_refused(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_refusal reason);
void dial_refounded(struct peers *p);

#endif
