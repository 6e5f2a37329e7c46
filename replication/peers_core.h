/* What the files of `peers` share: connections and targets. Nobody else includes it.
 *
 *   peers.c         the table, frames in and out, silence, time
 *   peers_greet.c   from the hello to a connection that stands, or to a refusal
 *   peers_claim.c   whoever bears our own id: a copy of our directory, or somebody who only says so
 *   peers_dial.c    targets: what to dial and when again
 *   peers_hint.c    addresses that were only heard of: which are dialled, and how often
 *   peers_place.c   who gives way when places or memory run short
 *
 * A connection:
 *
 *   DIALLING -> GREETING -> WELCOMED -> UP
 *               |  |  ^        |
 *               |  v  |        v
 *               | HELD      CLOSING (refused or crossed: told, and left open for a moment so that it arrives)
 *               v
 *            CLAIMED (our own id)
 *
 * Each end sends its hello at once, and WELCOME when it agrees to the other's; a connection stands when both
 * have. Where an id is connected already, the new connection is HELD while the old one is asked for a sign of
 * life:
 *
 *   - another session: if it lives, there are two processes with one id, and the later is refused; if it does
 * not answer within PROBE_MS, it is what a crashed node left behind and makes room. What we dialled at the
 * address of the member of that id needs no such question: the member is there, and nowhere else;
 *   - the same session: crossing dials. While none of them stands, only the node with the lower id decides,
 * by the order in which it saw the hellos, so both ends always keep the same connection. One that stands is
 * given up by neither end while it answers: a copied hello takes nothing over.
 *
 * Connections are freed only within the calls that report an event of theirs, in peers_tick, and, where
 * somebody gives way, within peers_accepted and peers_received of another one. What a host may call from its
 * callbacks (send, learn, forget, members, update, unsent) only marks them, and the next tick acts. */
#ifndef REPLICATION_PEERS_CORE_H
#define REPLICATION_PEERS_CORE_H

#include "replication/hello.h"

/* Addresses known; beyond, one that never answered makes room, or the new one waits. */
#define TARGETS_MAX 256
/* Accepted, and as many dialled, that do not stand. Of the dialled so many to addresses that were only heard
 * of; a further accepted one takes the place of the one that has said nothing for longest. */
#define GREETING_MAX  64
#define HINTED_MAX    32
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
#define SETTLING_MS   1000  /* the same, while one of two foundings has not yielded and may */
#define REPORT_MS     60000
#define UNGREETED_MAX 64         /* bytes of a payload before the connection stands */
#define INPUT_KEEP    (1u << 20) /* of an emptied buffer, for members; the memory of others is given back */
#define HOLD_OUTPUT   (1u << 20) /* unsent on a connection that is not read from while memory is short */
#define SOURCES_MAX   64

/* The connection's own frames; types from 16 on are in peers.h. */
enum {
    FRAME_PING = 1, /* u32, echoed by PONG */
    FRAME_PONG,
    FRAME_WELCOME,
    FRAME_REFUSED, /* u8 reason */
    FRAME_CROSSED, /* another connection between the two stays */
    FRAME_PROVE,   /* u64: asks whoever bears our id to prove that it holds our directory */
    FRAME_PROOF,   /* u64 */
    FRAME_BEARER,  /* address: where another process of the receiver's id is said to be; REFUSED follows */
};

enum connection_state { DIALLING, GREETING, HELD, CLAIMED, WELCOMED, UP, CLOSING };

/* Who gives way to whom. */
enum place {
    PLACE_STRANGER, /* whoever came, or was only heard of */
    PLACE_LEADER,   /* says that it leads another group; so many of one group */
    PLACE_NAMED,    /* stands at an address of -peers */
    PLACE_MEMBER,   /* bears the id of a member of the own group */
};

struct connection {
    uint32_t number;
    enum connection_state state;
    enum peers_lane lane;
    bool dialled;
    bool welcome_heard;
    bool ping_out;
    bool overfull;    /* to be closed by the next tick */
    bool conflicting; /* founded differently: to be refused by the next tick */
    bool held_back;   /* the host does not read from it */
    bool asked;       /* CLAIMED: it was given its proof */
    enum place place;
    struct address at;     /* dialled, or where it came from */
    struct target *target; /* what it was dialled for; NULL for accepted and bulk ones */
    uint32_t rival;        /* HELD: the connection asked for a sign of life */
    uint32_t bulk;         /* a main one's bulk connection, standing or being dialled; 0 none */
    uint64_t bulk_next_ms; /* not dialled again before */
    uint64_t since_ms;     /* in this state */
    uint64_t heard_ms, info_ms;
    uint64_t uptime_ms, generation; /* as told by our hello */
    uint64_t their_uptime_ms;
    uint64_t nonce;      /* CLAIMED: what it was asked */
    struct peer peer;    /* from its hello on */
    struct buffer input; /* an incomplete frame, or what waits while it is held back */
    size_t unsent;       /* memory of what the host has not sent */
    size_t counted;      /* of the two, in p->held */
};

struct target {
    bool used, settled;
    bool always;   /* of -peers */
    bool member;   /* the address of the member `id` of the own group */
    bool known;    /* a dial of ours was agreed to here, by look's node */
    bool founding; /* refused for its founding: worth a try when ours changes */
    bool failed;   /* the last dial was not answered */
    bool lost;     /* lost_peer went down and its kernel has not refused a redial yet */
    uint8_t id[NODE_ID_SIZE];
    uint32_t connection;        /* 0 none */
    enum peers_refusal refusal; /* of the last dial; 0 none */
    uint32_t failures;
    uint32_t dials; /* left to an address that was only heard of and never answered */
    uint64_t tried_ms, next_ms;
    struct peers_look look; /* at is the address; at_ms 0: nobody was met there */
    struct peer lost_peer;
};

/* Tokens that come back one by one. */
struct bucket {
    uint64_t full_ms; /* when all have come back */
};

struct source {
    struct address ip;
    struct bucket bucket;
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
    uint64_t now_ms;   /* of the last event */
    uint64_t wake_ms;  /* when something is due */
    uint64_t asked_ms; /* what the last tick asked for */
    struct connection *connections[PEERS_CONNECTIONS_MAX];
    size_t count;
    struct connection *up[PEERS_MAX]; /* main ones that stand */
    size_t up_count;
    struct peers_member members[MEMBERS_MAX];
    size_t member_count;
    size_t held, held_by_strangers;
    uint64_t shed;
    struct target targets[TARGETS_MAX];
    struct source sources[SOURCES_MAX];
    struct bucket hints;
    struct report reports[REPORTS_MAX];
    size_t report_next;
};

/* peers.c */
void peers_wake_at(struct peers *p, uint64_t at_ms);
void peers_note_time(struct peers *p, uint64_t now_ms);
struct connection *connection_find(const struct peers *p, uint32_t number);
/* NULL where there is no room. */
struct connection *connection_new(struct peers *p, uint64_t now_ms, uint32_t number, const struct address *at,
                                  bool dialled);
void connection_enter(struct peers *p, uint64_t now_ms, struct connection *c, enum connection_state state);
void connection_frame(struct peers *p, struct connection *c, uint8_t type, struct bytes payload);
/* c's memory has changed: counts it, and sees to the bounds. */
void connection_count(struct peers *p, struct connection *c);
/* What was held back and need be no longer is read on. */
void peers_let_go_on(struct peers *p, uint64_t now_ms);
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
/* c is of another process than the one that bears its id here. */
void greet_duplicate(struct peers *p, uint64_t now_ms, struct connection *c, const struct connection *bearer);
bool greet_conflicts(const struct node_info *self, const struct node_info *other);
/* Once a REPORT_MS for the same node, or address where the node is not known, and reason. */
void greet_report(struct peers *p, uint64_t now_ms, const struct connection *c, enum peers_refusal reason,
                  bool ours);

/* Leaves it open for a moment, so that the last frame arrives before the end of the stream. */
void greet_linger(struct peers *p, uint64_t now_ms, struct connection *c);

/* peers_claim.c */
void claim_begin(struct peers *p, uint64_t now_ms, struct connection *c);
/* FRAME_PROVE and FRAME_PROOF. False when the connection is gone. */
bool claim_frame(struct peers *p, uint64_t now_ms, struct connection *c, uint8_t type, uint64_t value);
/* No proof came in time. */
void claim_overdue(struct peers *p, uint64_t now_ms, struct connection *c);

/* peers_dial.c */
void dial_due(struct peers *p, uint64_t now_ms);
uint64_t dial_next(const struct peers *p);
void dial_bulk(struct peers *p, uint64_t now_ms, struct connection *main);
void dial_failed(struct peers *p, uint64_t now_ms, struct target *t, enum peers_close why);
/* A hello, or an INFO, came on a connection that we dialled. */
void dial_met(struct peers *p, uint64_t now_ms, const struct connection *c);
/* The main connection c stands, or another one between the two nodes does. */
void dial_satisfied(struct peers *p, uint64_t now_ms, struct connection *c);
void dial_lost(struct peers *p, uint64_t now_ms, struct connection *c);
void dial_refused(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_refusal reason);
void dial_refounded(struct peers *p);
void dial_after(struct peers *p, uint64_t now_ms, struct target *t, uint64_t delay_ms);
/* An address at which somebody else may be. */
bool dial_possible(const struct peers *p, const struct address *at);
struct target *target_find(struct peers *p, const struct address *at);
/* A free place, or that of one of less use; NULL where there is none. */
struct target *target_new(struct peers *p, uint64_t now_ms, const struct address *at, bool trusted);
/* The operator or the group's log names it. */
bool target_trusted(const struct target *t);
/* The member of the id c bears was met, as that process, at the address at which it is listed. */
bool target_confirms(const struct peers *p, const struct connection *c);

/* peers_hint.c */
void hint(struct peers *p, uint64_t now_ms, const struct address *at, const struct address *source);
/* One that was only heard of is about to be dialled: false where it is not to be, and next_ms says when. */
bool hint_dial(struct peers *p, uint64_t now_ms, struct target *t);

/* peers_place.c */
/* After its hello, or when the members have changed. */
void place_set(struct peers *p, struct connection *c);
/* Whether there is room for c, which is about to be agreed to; another one may be closed for it. */
bool place_make(struct peers *p, uint64_t now_ms, const struct connection *c);
/* Accepted connections that do not stand leave no room: closes the one that has been silent for longest. */
bool place_accept(struct peers *p, uint64_t now_ms);
/* Marks whoever must go for the memory that is held. */
void place_shed(struct peers *p);
/* c is not to be read from until others have taken what waits for them. */
bool place_holds_back(const struct peers *p, const struct connection *c);

#endif
