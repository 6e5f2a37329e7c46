#include "replication/peers_core.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

struct peers *peers_new(const struct peers_host *host, const struct node_info *self, bool volatile_,
                        uint64_t seed) {
    struct peers *p = calloc(1, sizeof *p);
    if (p == NULL)
        err(1, "out of memory for the table of peers");
    p->host = *host;
    p->self = *self;
    p->volatile_ = volatile_;
    random_seed(&p->random, seed);
    p->wake_ms = p->asked_ms = UINT64_MAX;
    return p;
}

static void connection_free(struct connection *c) {
    buffer_release(&c->input);
    free(c);
}

void peers_free(struct peers *p) {
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->count; i++)
        connection_free(p->connections[i]);
    free(p);
}

void peers_wake_at(struct peers *p, uint64_t at_ms) {
    if (at_ms < p->wake_ms)
        p->wake_ms = at_ms;
}

void peers_note_time(struct peers *p, uint64_t now_ms) {
    if (!p->born)
        p->born_ms = now_ms;
    p->born = true;
    p->now_ms = now_ms;
}

/* The table of connections. */

uint32_t peers_next_number(struct peers *p) {
    if (++p->next_number == 0)
        ++p->next_number;
    return p->next_number;
}

struct connection *connection_find(const struct peers *p, uint32_t number) {
    for (size_t i = 0; i < p->count; i++)
        if (p->connections[i]->number == number)
            return p->connections[i];
    return NULL;
}

struct connection *connection_up(const struct peers *p, const uint8_t id[NODE_ID_SIZE]) {
    for (size_t i = 0; i < p->up_count; i++)
        if (memcmp(p->up[i]->peer.id.id, id, NODE_ID_SIZE) == 0)
            return p->up[i];
    return NULL;
}

static bool has_room(const struct peers *p, bool dialled) {
    size_t greeting = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct connection *c = p->connections[i];
        greeting += c->dialled == dialled && c->state != WELCOMED && c->state != UP;
    }
    return p->count < PEERS_CONNECTIONS_MAX && greeting < GREETING_MAX;
}

void connection_count(struct peers *p, struct connection *c) {
    size_t held = c->input.capacity + c->unsent;
    bool grown = held > c->counted;
    p->held += held - c->counted;
    if (c->place < PLACE_NAMED)
        p->held_by_strangers += held - c->counted;
    c->counted = held;
    if (grown)
        place_shed(p);
}

struct connection *connection_new(struct peers *p, uint64_t now_ms, uint32_t number, const struct address *at,
                                  bool dialled) {
    peers_note_time(p, now_ms);
    if (!has_room(p, dialled) && (dialled || !place_accept(p, now_ms)))
        return NULL;
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        err(1, "out of memory for a connection");
    c->number = number;
    c->dialled = dialled;
    c->at = *at;
    c->heard_ms = now_ms;
    p->connections[p->count++] = c;
    return c;
}

void connection_enter(struct peers *p, uint64_t now_ms, struct connection *c, enum connection_state state) {
    c->state = state;
    c->since_ms = now_ms;
    peers_wake_at(p, now_ms + PING_MS);
}

static void take_out(struct connection **list, size_t *count, const struct connection *c) {
    for (size_t i = 0; i < *count; i++) {
        if (list[i] != c)
            continue;
        list[i] = list[--*count];
        return;
    }
}

/* What hangs on a main connection goes with it; what a bulk one hangs on forgets it. */
static void unhook_bulk(struct peers *p, uint64_t now_ms, struct connection *c) {
    struct connection *bulk = c->bulk != 0 ? connection_find(p, c->bulk) : NULL;
    c->bulk = 0;
    if (bulk != NULL)
        connection_close(p, now_ms, bulk);
    for (size_t i = 0; i < p->up_count; i++) {
        if (p->up[i]->bulk != c->number)
            continue;
        p->up[i]->bulk = 0;
        p->up[i]->bulk_next_ms = now_ms + REDIAL_MIN_MS * 4;
    }
}

void connection_fall(struct peers *p, uint64_t now_ms, struct connection *c) {
    assert(c->state == UP && c->lane == PEERS_MAIN);
    take_out(p->up, &p->up_count, c);
    c->state = CLOSING;
    dial_lost(p, now_ms, c);
    c->target = NULL;
    unhook_bulk(p, now_ms, c);
    p->host.down(p->host.arg, &c->peer, false);
}

void connection_drop(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_close why) {
    take_out(p->connections, &p->count, c);
    p->held -= c->counted;
    if (c->place < PLACE_NAMED)
        p->held_by_strangers -= c->counted;
    if (c->state == UP && c->lane == PEERS_MAIN)
        connection_fall(p, now_ms, c);
    else if (c->lane == PEERS_BULK)
        unhook_bulk(p, now_ms, c);
    if (c->target != NULL)
        dial_failed(p, now_ms, c->target, why);
    greet_released(p, now_ms, c->number);
    connection_free(c);
}

void connection_close(struct peers *p, uint64_t now_ms, struct connection *c) {
    p->host.close(p->host.arg, c->number);
    connection_drop(p, now_ms, c, PEERS_CLOSED);
}

/* Events of the host. */

void peers_accepted(struct peers *p, uint64_t now_ms, uint32_t connection, const struct address *from) {
    struct connection *c = connection_new(p, now_ms, connection, from, false);
    if (c == NULL) {
        p->host.close(p->host.arg, connection);
        return;
    }
    greet_send(p, now_ms, c);
}

void peers_connected(struct peers *p, uint64_t now_ms, uint32_t connection) {
    struct connection *c = connection_find(p, connection);
    if (c != NULL && c->state == DIALLING)
        greet_send(p, now_ms, c);
}

void peers_closed(struct peers *p, uint64_t now_ms, uint32_t connection, enum peers_close why) {
    struct connection *c = connection_find(p, connection);
    if (c != NULL)
        connection_drop(p, now_ms, c, why);
}

/* Time. */

/* A bulk connection without a main one, which should have stood soon after. */
static bool is_stray(const struct peers *p, const struct connection *c) {
    if (c->lane != PEERS_BULK || c->state != UP)
        return false;
    const struct connection *main = connection_up(p, c->peer.id.id);
    return main == NULL || !node_info_same_process(&main->peer.info, &c->peer.info);
}

static uint64_t next_of(const struct peers *p, const struct connection *c) {
    if (c->overfull || (c->conflicting && c->state == UP))
        return 0;
    if (is_stray(p, c))
        return c->since_ms + PEERS_HELLO_MS;
    switch (c->state) {
    case DIALLING:
    case GREETING:
    case CLAIMED:
    case WELCOMED:
        return c->since_ms + PEERS_HELLO_MS;
    case HELD:
        return c->since_ms + PROBE_MS;
    case CLOSING:
        return c->since_ms + LINGER_MS;
    case UP:
        break;
    }
    uint64_t silent_ms = c->heard_ms + (c->ping_out ? SILENCE_MS : PING_MS);
    uint64_t info_ms = c->lane == PEERS_MAIN ? c->info_ms + INFO_MS : UINT64_MAX;
    return silent_ms < info_ms ? silent_ms : info_ms;
}

/* A standing connection: sees to its silence and repeats the own node_info. False when the table has changed.
 */
static bool tend(struct peers *p, uint64_t now_ms, struct connection *c) {
    if (c->conflicting) {
        greet_refuse(p, now_ms, c, REFUSED_FOUNDING);
        return false;
    }
    if (now_ms >= c->heard_ms + SILENCE_MS && c->ping_out) {
        connection_close(p, now_ms, c);
        return false;
    }
    if (now_ms >= c->heard_ms + PING_MS && !c->ping_out) {
        uint8_t nobody[sizeof(uint32_t)] = {0};
        connection_frame(p, c, FRAME_PING, (struct bytes){nobody, sizeof nobody});
        c->ping_out = true;
    }
    if (c->lane == PEERS_MAIN && now_ms >= c->info_ms + INFO_MS) {
        connection_tell_info(p, c);
        c->info_ms = now_ms;
    }
    return true;
}

/* False when connections were taken out of the table. */
static bool tick_connection(struct peers *p, uint64_t now_ms, struct connection *c) {
    if (now_ms < next_of(p, c))
        return true;
    if (c->state == UP && !c->overfull && !is_stray(p, c))
        return tend(p, now_ms, c);
    if (c->state == HELD && !c->overfull)
        greet_overdue(p, now_ms, c);
    else if (c->state == CLAIMED && !c->overfull)
        claim_overdue(p, now_ms, c);
    else
        connection_close(p, now_ms, c);
    return false;
}

/* This process stood still: what the others sent meanwhile is still to be read, so nobody has been silent. */
static void forgive_silence(struct peers *p, uint64_t now_ms) {
    for (size_t i = 0; i < p->count; i++) {
        struct connection *c = p->connections[i];
        c->heard_ms = c->since_ms = now_ms;
        c->ping_out = false;
    }
}

uint64_t peers_tick(struct peers *p, uint64_t now_ms) {
    peers_note_time(p, now_ms);
    if (now_ms < p->wake_ms)
        return p->asked_ms = p->wake_ms;
    if (p->asked_ms != UINT64_MAX && now_ms > p->asked_ms + LATE_MS)
        forgive_silence(p, now_ms);
    for (size_t i = 0; i < p->count;)
        i = tick_connection(p, now_ms, p->connections[i]) ? i + 1 : 0;
    peers_let_go_on(p, now_ms);
    dial_due(p, now_ms);
    p->wake_ms = dial_next(p);
    for (size_t i = 0; i < p->count; i++)
        peers_wake_at(p, next_of(p, p->connections[i]));
    p->asked_ms = p->wake_ms;
    return p->wake_ms;
}

size_t peers_count(const struct peers *p) {
    return p->up_count;
}

const struct peer *peers_at(const struct peers *p, size_t position) {
    assert(position < p->up_count);
    return &p->up[position]->peer;
}

size_t peers_held(const struct peers *p) {
    return p->held;
}

uint64_t peers_shed(const struct peers *p) {
    return p->shed;
}

const struct peer *peers_find(const struct peers *p, const struct member_id *id) {
    const struct connection *c = connection_up(p, id->id);
    return c != NULL && c->peer.id.incarnation == id->incarnation ? &c->peer : NULL;
}

const char *peers_refusal_text(enum peers_refusal reason) {
    switch (reason) {
    case REFUSED_VERSION:
        return "it does not speak this version of the protocol between nodes";
    case REFUSED_CLUSTER:
        return "it belongs to a cluster of another name";
    case REFUSED_FOUNDING:
        return "its group has the same number but was founded separately";
    case REFUSED_DUPLICATE:
        return "a running node already uses its id";
    case REFUSED_FULL:
        return "there is no room for another node";
    case REFUSED_SELF:
        return "it is this node itself";
    case REFUSED_IMPOSTOR:
        return "it uses this node's id and has another data directory";
    }
    return "for a reason this version does not know";
}
