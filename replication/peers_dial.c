#include "replication/peers_core.h"

#include <assert.h>

static bool can_be_dialled(const struct peers *p, const struct address *at) {
    return at->family != 0 && at->port != 0 && !address_is_wildcard(at) && !address_equal(at, &p->self.peer);
}

static struct target *find_target(struct peers *p, const struct address *at) {
    for (size_t i = 0; i < TARGETS_MAX; i++)
        if (p->targets[i].used && address_equal(&p->targets[i].at, at))
            return &p->targets[i];
    return NULL;
}

static bool stands(const struct peers *p, const struct target *t) {
    return t->known && connection_up(p, t->node) != NULL;
}

/* A free place, or that of the heard-of address that has failed most often. */
static struct target *free_target(struct peers *p) {
    struct target *worst = NULL;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (!t->used)
            return t;
        if (t->always || t->connection != 0 || t->failures == 0 || stands(p, t))
            continue;
        if (worst == NULL || t->failures > worst->failures)
            worst = t;
    }
    return worst;
}

static void answered_by(struct target *t, const struct connection *c) {
    memcpy(t->node, c->peer.id.id, NODE_ID_SIZE);
    t->known = t->settled = true;
    t->founding = t->lost = t->failed = false;
    t->refusal = 0;
    t->failures = 0;
}

static struct target *learn(struct peers *p, uint64_t now_ms, const struct address *at, bool always) {
    if (!can_be_dialled(p, at))
        return NULL;
    struct target *t = find_target(p, at);
    if (t == NULL) {
        t = free_target(p);
        if (t == NULL)
            return NULL;
        *t = (struct target){.used = true, .at = *at, .next_ms = now_ms};
        for (size_t i = 0; i < p->up_count; i++)
            if (address_equal(&p->up[i]->peer.info.peer, at))
                answered_by(t, p->up[i]);
        peers_wake_at(p, now_ms);
    }
    t->always |= always;
    return t;
}

void peers_learn(struct peers *p, uint64_t now_ms, const struct address *at, bool always) {
    learn(p, now_ms, at, always);
}

void peers_forget(struct peers *p, const struct address *at) {
    struct target *t = find_target(p, at);
    if (t == NULL || t->always)
        return;
    for (size_t i = 0; i < p->count; i++)
        if (p->connections[i]->target == t)
            p->connections[i]->target = NULL;
    t->used = false;
}

bool peers_settled(const struct peers *p) {
    for (size_t i = 0; i < TARGETS_MAX; i++)
        if (p->targets[i].used && !p->targets[i].settled)
            return false;
    return true;
}

/* Numbered and counted before the host hears of it. */
static struct connection *dial(struct peers *p, uint64_t now_ms, const struct address *at,
                               enum peers_lane lane) {
    struct connection *c = connection_new(p, now_ms, peers_next_number(p), at, true);
    if (c == NULL)
        return NULL;
    c->lane = lane;
    connection_enter(p, now_ms, c, DIALLING);
    return c;
}

static void dial_target(struct peers *p, uint64_t now_ms, struct target *t) {
    struct connection *c = dial(p, now_ms, &t->at, PEERS_MAIN);
    if (c == NULL) {
        t->next_ms = now_ms + 2 * REDIAL_MIN_MS;
        return;
    }
    c->target = t;
    t->connection = c->number;
    p->host.dial(p->host.arg, c->number, &t->at);
}

void dial_bulk(struct peers *p, uint64_t now_ms, struct connection *main) {
    if (main->bulk != 0 || now_ms < main->bulk_next_ms)
        return;
    const struct address *at = main->dialled ? &main->at : &main->peer.info.peer;
    struct connection *c = dial(p, now_ms, at, PEERS_BULK);
    if (c == NULL)
        return;
    main->bulk = c->number;
    p->host.dial(p->host.arg, c->number, at);
}

void dial_due(struct peers *p, uint64_t now_ms) {
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (t->used && t->connection == 0 && t->next_ms <= now_ms && !stands(p, t))
            dial_target(p, now_ms, t);
    }
}

uint64_t dial_next(const struct peers *p) {
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        const struct target *t = &p->targets[i];
        if (t->used && t->connection == 0 && t->next_ms < next_ms && !stands(p, t))
            next_ms = t->next_ms;
    }
    return next_ms;
}

static void dial_after(struct peers *p, uint64_t now_ms, struct target *t, uint64_t delay_ms) {
    t->next_ms = now_ms + delay_ms;
    peers_wake_at(p, t->next_ms);
}

/* The doubling delay, a quarter more or less. */
static void back_off(struct peers *p, uint64_t now_ms, struct target *t) {
    uint64_t delay_ms = REDIAL_MIN_MS;
    for (uint32_t i = 0; i < t->failures && delay_ms < REDIAL_MAX_MS; i++)
        delay_ms *= 2;
    if (delay_ms > REDIAL_MAX_MS)
        delay_ms = REDIAL_MAX_MS;
    t->failures++;
    dial_after(p, now_ms, t, delay_ms - delay_ms / 4 + random_below(&p->random, delay_ms / 2));
}

void dial_failed(struct peers *p, uint64_t now_ms, struct target *t, enum peers_close why) {
    t->connection = 0;
    t->settled = t->failed = true;
    back_off(p, now_ms, t);
    if (why != PEERS_CONNECT_REFUSED || !t->lost)
        return;
    struct peer lost = t->lost_peer;
    t->lost = false;
    p->host.down(p->host.arg, &lost, true);
}

void dial_satisfied(struct peers *p, uint64_t now_ms, struct connection *c) {
    if (c->lane != PEERS_MAIN)
        return;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        bool of_node = t->known && memcmp(t->node, c->peer.id.id, NODE_ID_SIZE) == 0;
        if (!t->used || (t != c->target && !of_node && !address_equal(&t->at, &c->peer.info.peer)))
            continue;
        answered_by(t, c);
        if (t->connection == 0 || t == c->target)
            t->next_ms = now_ms + 10 * REDIAL_MIN_MS;
    }
    /* One that gives way to another connection is no longer what its target is waited for with. */
    if (c->target != NULL && c->state != UP) {
        c->target->connection = 0;
        peers_wake_at(p, c->target->next_ms);
        c->target = NULL;
    }
}

void dial_lost(struct peers *p, uint64_t now_ms, struct connection *c) {
    struct target *first = c->target;
    if (first == NULL)
        first = learn(p, now_ms, &c->peer.info.peer, false);
    else
        first->connection = 0;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (t->used && t != first && t->known && memcmp(t->node, c->peer.id.id, NODE_ID_SIZE) == 0)
            dial_after(p, now_ms, t, 5 * REDIAL_MIN_MS);
    }
    if (first == NULL)
        return;
    answered_by(first, c);
    first->lost = true;
    first->lost_peer = c->peer;
    if (now_ms < c->since_ms + LINGER_MS)
        back_off(p, now_ms, first); /* it hardly stood: no haste */
    else
        dial_after(p, now_ms, first, 0);
}

/* The address dialled and the one that the node names. One that stood and found that it was founded
 * differently may have answered at further addresses; of an id borne twice those belong to the other process.
 */
static bool is_refused(const struct target *t, const struct connection *c, enum peers_refusal reason) {
    if (t == c->target || address_equal(&t->at, &c->peer.info.peer))
        return true;
    return reason == REFUSED_FOUNDING && t->known && memcmp(t->node, c->peer.id.id, NODE_ID_SIZE) == 0;
}

void dial_refused(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_refusal reason) {
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (!t->used || !is_refused(t, c, reason))
            continue;
        t->settled = true;
        t->founding = reason == REFUSED_FOUNDING;
        t->refusal = reason;
        dial_after(p, now_ms, t, REFUSED_MS);
    }
    if (c->target != NULL)
        c->target->connection = 0;
    c->target = NULL;
}

void dial_refounded(struct peers *p) {
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (!t->used || !t->founding)
            continue;
        t->founding = false;
        dial_after(p, 0, t, 0);
    }
}

void peers_try(struct peers *p, uint64_t now_ms, const struct address *at) {
    struct target *t = learn(p, now_ms, at, false);
    if (t == NULL || t->connection != 0)
        return;
    t->failed = false;
    t->refusal = 0;
    dial_after(p, now_ms, t, 0);
}

enum peers_trial peers_tried(const struct peers *p, const struct address *at, const struct peer **peer,
                             enum peers_refusal *reason) {
    for (size_t i = 0; i < p->up_count; i++) {
        *peer = &p->up[i]->peer;
        if (address_equal(&p->up[i]->peer.info.peer, at))
            return PEERS_STANDS;
    }
    *reason = REFUSED_SELF;
    if (!can_be_dialled(p, at))
        return PEERS_REFUSED;
    const struct target *t = NULL;
    for (size_t i = 0; i < TARGETS_MAX && t == NULL; i++)
        if (p->targets[i].used && address_equal(&p->targets[i].at, at))
            t = &p->targets[i];
    if (t == NULL)
        return PEERS_UNANSWERED;
    const struct connection *c = t->known ? connection_up(p, t->node) : NULL;
    *peer = c != NULL ? &c->peer : NULL;
    if (c != NULL)
        return PEERS_STANDS;
    *reason = t->refusal;
    if (t->refusal != 0)
        return PEERS_REFUSED;
    return t->failed ? PEERS_UNANSWERED : PEERS_TRYING;
}
