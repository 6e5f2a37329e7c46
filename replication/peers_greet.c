#include "replication/peers_core.h"

#include <assert.h>

static uint64_t uptime(const struct peers *p, uint64_t now_ms) {
    return now_ms > p->born_ms ? now_ms - p->born_ms : 0;
}

void greet_send(struct peers *p, uint64_t now_ms, struct connection *c) {
    c->uptime_ms = uptime(p, now_ms);
    c->generation = p->generation;
    c->heard_ms = now_ms;
    connection_enter(p, now_ms, c, GREETING);
    struct hello hello = {
        .lane = c->lane, .volatile_ = p->volatile_, .uptime_ms = c->uptime_ms, .info = p->self};
    struct buffer out = {0};
    hello_write(&out, &hello);
    p->host.write(p->host.arg, c->number, buffer_bytes(&out));
    buffer_release(&out);
}

bool greet_conflicts(const struct node_info *self, const struct node_info *other) {
    return self->group == other->group && self->group_id != 0 && other->group_id != 0 &&
           self->group_id != other->group_id;
}

/* Refusals. */

static bool same_report(const struct report *r, enum peers_refusal reason, const struct connection *c) {
    static const uint8_t nobody[NODE_ID_SIZE];
    bool named = memcmp(c->peer.id.id, nobody, NODE_ID_SIZE) != 0;
    return r->reason == reason && memcmp(r->id, c->peer.id.id, NODE_ID_SIZE) == 0 &&
           (named || address_same_ip(&r->at, &c->at));
}

void greet_report(struct peers *p, uint64_t now_ms, const struct connection *c, enum peers_refusal reason,
                  bool ours) {
    if (reason == REFUSED_SELF)
        return;
    for (size_t i = 0; i < REPORTS_MAX; i++)
        if (same_report(&p->reports[i], reason, c) && now_ms < p->reports[i].at_ms + REPORT_MS)
            return;
    struct report *r = &p->reports[p->report_next++ % REPORTS_MAX];
    *r = (struct report){.at_ms = now_ms, .reason = reason, .at = c->at};
    memcpy(r->id, c->peer.id.id, NODE_ID_SIZE);
    p->host.refused(p->host.arg, &c->at, &c->peer.info, reason, ours);
}

void greet_linger(struct peers *p, uint64_t now_ms, struct connection *c) {
    bool stood = c->state == UP && c->lane == PEERS_MAIN;
    if (stood)
        connection_fall(p, now_ms, c);
    uint32_t number = c->number;
    connection_enter(p, now_ms, c, CLOSING);
    greet_released(p, now_ms, number);
}

void greet_refuse(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_refusal reason) {
    uint8_t code = (uint8_t)reason;
    connection_frame(p, c, FRAME_REFUSED, (struct bytes){&code, 1});
    greet_linger(p, now_ms, c);
    dial_refused(p, now_ms, c, reason);
    if (reason == REFUSED_FOUNDING && !c->dialled) /* who it really is decides what becomes of ours */
        hint(p, now_ms, &c->peer.info.peer, &c->at);
    greet_report(p, now_ms, c, reason, true);
}

void greet_duplicate(struct peers *p, uint64_t now_ms, struct connection *c,
                     const struct connection *bearer) {
    struct buffer at = {0};
    address_write(&at, &bearer->peer.info.peer);
    connection_frame(p, c, FRAME_BEARER, buffer_bytes(&at));
    buffer_release(&at);
    greet_refuse(p, now_ms, c, REFUSED_DUPLICATE);
}

void greet_version(struct peers *p, uint64_t now_ms, struct connection *c) {
    greet_refuse(p, now_ms, c, REFUSED_VERSION);
}

void greet_garbage(struct peers *p, uint64_t now_ms, struct connection *c) {
    /* Who is dialled was meant to be a node, and the operator wants to know that it is none. Strangers who
     * come by themselves are not worth a word. */
    if (c->dialled)
        greet_report(p, now_ms, c, REFUSED_VERSION, true);
    connection_close(p, now_ms, c);
}

static bool known_reason(uint8_t reason) {
    return reason >= REFUSED_VERSION && reason <= REFUSED_SELF;
}

void greet_was_refused(struct peers *p, uint64_t now_ms, struct connection *c, uint8_t reason) {
    if (known_reason(reason)) {
        if (c->state == UP && c->lane == PEERS_MAIN)
            connection_fall(p, now_ms, c);
        dial_refused(p, now_ms, c, (enum peers_refusal)reason);
        greet_report(p, now_ms, c, (enum peers_refusal)reason, false);
    }
    connection_close(p, now_ms, c);
}

/* Crossing dials and ids borne twice. */

static void cross(struct peers *p, uint64_t now_ms, struct connection *c) {
    connection_frame(p, c, FRAME_CROSSED, (struct bytes){NULL, 0});
    dial_satisfied(p, now_ms, c);
    greet_linger(p, now_ms, c);
}

void greet_was_crossed(struct peers *p, uint64_t now_ms, struct connection *c) {
    dial_satisfied(p, now_ms, c);
    connection_close(p, now_ms, c);
}

/* The connection that this one would double: of another run of the same node; of the same run where one
 * stands, or where it is for us to decide. */
static struct connection *find_rival(const struct peers *p, const struct connection *c) {
    bool decides = memcmp(p->self.id, c->peer.id.id, NODE_ID_SIZE) < 0;
    for (size_t i = 0; i < p->count; i++) {
        struct connection *other = p->connections[i];
        if (other == c || other->lane != c->lane || (other->state != WELCOMED && other->state != UP) ||
            memcmp(other->peer.id.id, c->peer.id.id, NODE_ID_SIZE) != 0)
            continue;
        if (decides || other->state == UP || !node_info_same_process(&other->peer.info, &c->peer.info))
            return other;
    }
    return NULL;
}

/* The member of that id stands where the group's log says, and what calls itself so elsewhere is none. */
static bool displaces(const struct peers *p, const struct connection *c, const struct connection *rival) {
    return c->dialled && c->lane == PEERS_MAIN && !node_info_same_process(&rival->peer.info, &c->peer.info) &&
           target_confirms(p, c);
}

/* The older main connection to the node that c is now the connection to. Its other end is gone, or has agreed
 * to c and so given it up. */
static void replace_older(struct peers *p, uint64_t now_ms, const struct connection *c) {
    struct connection *older = connection_up(p, c->peer.id.id);
    if (older != NULL)
        connection_close(p, now_ms, older);
}

/* A bulk connection that stands and waits for this main one, or the other way round. */
static void hook_bulk(struct peers *p, uint64_t now_ms, struct connection *main, struct connection *bulk) {
    if (main->bulk == bulk->number)
        return;
    struct connection *older = main->bulk != 0 ? connection_find(p, main->bulk) : NULL;
    main->bulk = bulk->number;
    if (older != NULL && older->state == UP)
        connection_close(p, now_ms, older);
}

static void stand_bulk(struct peers *p, uint64_t now_ms, struct connection *c) {
    struct connection *main = connection_up(p, c->peer.id.id);
    if (main != NULL && node_info_same_process(&main->peer.info, &c->peer.info))
        hook_bulk(p, now_ms, main, c);
}

static void stand_main(struct peers *p, uint64_t now_ms, struct connection *c) {
    assert(p->up_count < PEERS_MAX);
    p->up[p->up_count++] = c;
    c->info_ms = now_ms;
    c->conflicting = greet_conflicts(&p->self, &c->peer.info);
    if (c->conflicting)
        peers_wake_at(p, 0);
    dial_satisfied(p, now_ms, c);
    if (!c->dialled) /* whether it is there, only a dial of ours tells */
        hint(p, now_ms, &c->peer.info.peer, &c->at);
    for (size_t i = 0; i < p->count; i++) {
        struct connection *bulk = p->connections[i];
        if (bulk->lane == PEERS_BULK && bulk->state == UP &&
            node_info_same_process(&bulk->peer.info, &c->peer.info))
            c->bulk = bulk->number;
    }
    if (c->generation != p->generation)
        connection_tell_info(p, c);
    p->host.up(p->host.arg, &c->peer);
}

static void stand(struct peers *p, uint64_t now_ms, struct connection *c) {
    connection_enter(p, now_ms, c, UP); /* first: what waited for the older one must wait for this one */
    if (c->lane == PEERS_BULK) {
        stand_bulk(p, now_ms, c);
        return;
    }
    replace_older(p, now_ms, c);
    stand_main(p, now_ms, c);
}

/* Its hello is in order: agrees to it, unless the node is connected already. */
static void greet(struct peers *p, uint64_t now_ms, struct connection *c) {
    struct connection *rival = find_rival(p, c);
    if (rival != NULL && displaces(p, c, rival)) {
        greet_duplicate(p, now_ms, rival, c);
    } else if (rival != NULL) {
        uint8_t held[sizeof(uint32_t)];
        put_u32(held, c->number);
        c->rival = rival->number;
        connection_enter(p, now_ms, c, HELD);
        connection_frame(p, rival, FRAME_PING, (struct bytes){held, sizeof held});
        return;
    }
    if (c->lane == PEERS_MAIN && !place_make(p, now_ms, c)) {
        greet_refuse(p, now_ms, c, REFUSED_FULL);
        return;
    }
    connection_frame(p, c, FRAME_WELCOME, (struct bytes){NULL, 0});
    connection_enter(p, now_ms, c, WELCOMED);
    if (c->welcome_heard)
        stand(p, now_ms, c);
}

void greet_alive(struct peers *p, uint64_t now_ms, struct connection *c, uint32_t held) {
    struct connection *later = held != 0 ? connection_find(p, held) : NULL;
    if (later == NULL || later->state != HELD || later->rival != c->number)
        return;
    if (node_info_same_process(&later->peer.info, &c->peer.info))
        cross(p, now_ms, later);
    else
        greet_duplicate(p, now_ms, later, c);
}

void greet_overdue(struct peers *p, uint64_t now_ms, struct connection *c) {
    struct connection *rival = connection_find(p, c->rival);
    if (rival != NULL && now_ms < rival->heard_ms + PROBE_MS)
        c->since_ms = rival->heard_ms; /* not silent: the PING waits behind what it is sent */
    else if (rival != NULL)
        connection_close(p, now_ms, rival);
    else
        greet(p, now_ms, c);
}

void greet_released(struct peers *p, uint64_t now_ms, uint32_t rival) {
    for (size_t i = 0; i < p->count; i++) {
        struct connection *c = p->connections[i];
        if (c->state != HELD || c->rival != rival)
            continue;
        c->rival = 0;
        greet(p, now_ms, c);
        i = SIZE_MAX; /* greet may have changed the table: look from the start */
    }
}

/* 0: welcome. */
static enum peers_refusal check(const struct peers *p, const struct connection *c) {
    const struct node_info *self = &p->self, *other = &c->peer.info;
    if (strcmp(self->cluster, other->cluster) != 0)
        return REFUSED_CLUSTER;
    if (node_info_same_process(self, other))
        return REFUSED_SELF;
    if (memcmp(self->id, other->id, NODE_ID_SIZE) == 0)
        return REFUSED_DUPLICATE;
    if (greet_conflicts(self, other))
        return REFUSED_FOUNDING;
    return 0;
}

/* What a bulk connection that we dialled leads to must be whom the main one leads to. */
static bool wrong_end(const struct peers *p, const struct connection *c) {
    if (c->lane != PEERS_BULK || !c->dialled)
        return false;
    for (size_t i = 0; i < p->up_count; i++)
        if (p->up[i]->bulk == c->number)
            return !node_info_same_process(&p->up[i]->peer.info, &c->peer.info);
    return true;
}

bool greet_hello(struct peers *p, uint64_t now_ms, struct connection *c, const struct hello *hello) {
    c->peer = (struct peer){.info = hello->info, .volatile_ = hello->volatile_};
    memcpy(c->peer.id.id, hello->info.id, NODE_ID_SIZE);
    c->peer.id.incarnation = hello->info.incarnation;
    c->their_uptime_ms = hello->uptime_ms;
    if (!c->dialled)
        c->lane = hello->lane;
    place_set(p, c);
    dial_met(p, now_ms, c);
    enum peers_refusal refusal = check(p, c);
    if (refusal == REFUSED_DUPLICATE) {
        claim_begin(p, now_ms, c);
        return true;
    }
    if (refusal != 0) {
        greet_refuse(p, now_ms, c, refusal);
        return true;
    }
    if (wrong_end(p, c)) {
        connection_close(p, now_ms, c);
        return false;
    }
    greet(p, now_ms, c);
    return true;
}

bool greet_welcomed(struct peers *p, uint64_t now_ms, struct connection *c) {
    c->welcome_heard = true;
    if (c->state == WELCOMED)
        stand(p, now_ms, c);
    return true;
}
