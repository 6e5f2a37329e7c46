#include "replication/peers_core.h"

#include <assert.h>

bool dial_possible(const struct peers *p, const struct address *at) {
    return at->family != 0 && at->port != 0 && !address_is_wildcard(at) && !address_equal(at, &p->self.peer);
}

struct target *target_find(struct peers *p, const struct address *at) {
    for (size_t i = 0; i < TARGETS_MAX; i++)
        if (p->targets[i].used && address_equal(&p->targets[i].look.at, at))
            return &p->targets[i];
    return NULL;
}

bool target_trusted(const struct target *t) {
    return t->always || t->member;
}

/* The connection to the process that was met there. Another one of its id may be anywhere. */
static struct connection *standing(const struct peers *p, const struct target *t) {
    struct connection *c = t->known ? connection_up(p, t->look.info.id) : NULL;
    return c != NULL && node_info_same_process(&c->peer.info, &t->look.info) ? c : NULL;
}

bool target_confirms(const struct peers *p, const struct connection *c) {
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        const struct target *t = &p->targets[i];
        if (t->used && t->member && memcmp(t->id, c->peer.id.id, NODE_ID_SIZE) == 0 && t->look.at_ms > 0 &&
            node_info_same_process(&t->look.info, &c->peer.info))
            return true;
    }
    return false;
}

/* How little an address that was only heard of is worth keeping; 0: it stays. */
static uint64_t dispensable(const struct peers *p, const struct target *t, bool trusted) {
    if (target_trusted(t) || standing(p, t) != NULL || (t->connection != 0 && !trusted))
        return 0;
    return t->failures > 0 ? 1 + (uint64_t)t->failures : trusted;
}

struct target *target_new(struct peers *p, uint64_t now_ms, const struct address *at, bool trusted) {
    struct target *worst = NULL;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (!t->used) {
            worst = t;
            break;
        }
        uint64_t least = worst != NULL ? dispensable(p, worst, trusted) : 0;
        if (dispensable(p, t, trusted) > least)
            worst = t;
    }
    if (worst == NULL)
        return NULL;
    if (worst->used)
        peers_forget(p, &worst->look.at);
    *worst = (struct target){.used = true, .look.at = *at, .next_ms = now_ms};
    peers_wake_at(p, now_ms);
    return worst;
}

static struct target *learn(struct peers *p, uint64_t now_ms, const struct address *at) {
    if (!dial_possible(p, at))
        return NULL;
    struct target *t = target_find(p, at);
    return t != NULL ? t : target_new(p, now_ms, at, true);
}

/* From now on it is dialled for as long as it is trusted. */
static void trust(struct peers *p, uint64_t now_ms, struct target *t) {
    if (t->connection == 0 && t->next_ms == UINT64_MAX)
        dial_after(p, now_ms, t, 0);
}

void peers_learn(struct peers *p, uint64_t now_ms, const struct address *at, const struct address *source) {
    if (source != NULL) {
        hint(p, now_ms, at, source);
        return;
    }
    struct target *t = learn(p, now_ms, at);
    if (t == NULL)
        return;
    t->always = true;
    trust(p, now_ms, t);
}

void peers_members(struct peers *p, uint64_t now_ms, const struct peers_member *list, size_t count) {
    assert(count <= MEMBERS_MAX);
    for (size_t i = 0; i < TARGETS_MAX; i++)
        p->targets[i].member = false;
    for (size_t i = 0; i < count; i++) {
        p->members[i] = list[i];
        struct target *t = learn(p, now_ms, &list[i].at);
        if (t == NULL)
            continue;
        t->member = true;
        memcpy(t->id, list[i].id, NODE_ID_SIZE);
        trust(p, now_ms, t);
    }
    p->member_count = count;
    for (size_t i = 0; i < p->count; i++)
        if (p->connections[i]->state == UP || p->connections[i]->state == WELCOMED)
            place_set(p, p->connections[i]);
}

void peers_forget(struct peers *p, const struct address *at) {
    struct target *t = target_find(p, at);
    if (t == NULL || target_trusted(t))
        return;
    for (size_t i = 0; i < p->count; i++)
        if (p->connections[i]->target == t)
            p->connections[i]->target = NULL;
    t->used = false;
}

const struct peers_look *peers_look(struct peers *p, uint64_t now_ms, size_t *cursor) {
    while (*cursor < TARGETS_MAX) {
        struct target *t = &p->targets[(*cursor)++];
        if (!t->used || t->look.at_ms == 0)
            continue;
        if (standing(p, t) != NULL)
            t->look.at_ms = now_ms;
        return &t->look;
    }
    return NULL;
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
    if (!target_trusted(t) && !hint_dial(p, now_ms, t))
        return;
    t->tried_ms = now_ms;
    struct connection *c = dial(p, now_ms, &t->look.at, PEERS_MAIN);
    if (c == NULL) {
        t->next_ms = now_ms + 2 * REDIAL_MIN_MS;
        return;
    }
    c->target = t;
    t->connection = c->number;
    p->host.dial(p->host.arg, c->number, &t->look.at);
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
        if (t->used && t->connection == 0 && t->next_ms <= now_ms && standing(p, t) == NULL)
            dial_target(p, now_ms, t);
    }
}

uint64_t dial_next(const struct peers *p) {
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        const struct target *t = &p->targets[i];
        if (t->used && t->connection == 0 && t->next_ms < next_ms && standing(p, t) == NULL)
            next_ms = t->next_ms;
    }
    return next_ms;
}

void dial_after(struct peers *p, uint64_t now_ms, struct target *t, uint64_t delay_ms) {
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

void dial_met(struct peers *p, uint64_t now_ms, const struct connection *c) {
    if (c->lane != PEERS_MAIN)
        return;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        bool there = c->dialled && t == c->target;
        bool known = t->look.at_ms > 0 && node_info_same_process(&t->look.info, &c->peer.info);
        if (!t->used || (!there && !known))
            continue;
        t->look.info = c->peer.info;
        t->look.at_ms = there ? now_ms : t->look.at_ms;
    }
}

static void answered(struct target *t) {
    t->known = t->settled = true;
    t->founding = t->lost = t->failed = false;
    t->refusal = 0;
    t->failures = 0;
}

void dial_satisfied(struct peers *p, uint64_t now_ms, struct connection *c) {
    if (c->lane != PEERS_MAIN)
        return;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        bool of_process = t->known && node_info_same_process(&t->look.info, &c->peer.info);
        if (!t->used || (t != c->target && !of_process))
            continue;
        answered(t);
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

/* Where the process at the other end says it is, unless another one was met there. */
static struct target *home(struct peers *p, const struct connection *c) {
    struct target *t = target_find(p, &c->peer.info.peer);
    bool other = t != NULL && t->look.at_ms > 0 && !node_info_same_process(&t->look.info, &c->peer.info);
    return other ? NULL : t;
}

void dial_lost(struct peers *p, uint64_t now_ms, struct connection *c) {
    struct target *first = c->target;
    if (first == NULL)
        first = home(p, c);
    else
        first->connection = 0;
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (!t->used || !t->known || !node_info_same_process(&t->look.info, &c->peer.info))
            continue;
        t->look.at_ms = now_ms;
        if (t != first)
            dial_after(p, now_ms, t, 5 * REDIAL_MIN_MS);
    }
    if (first == NULL)
        return;
    if (first->known)
        answered(first);
    first->lost = true;
    first->lost_peer = c->peer;
    if (first->connection != 0)
        return;
    if (now_ms < c->since_ms + LINGER_MS)
        back_off(p, now_ms, first); /* it hardly stood: no haste */
    else
        dial_after(p, now_ms, first, 0);
}

/* The address dialled; of a node that stood and found that it was founded differently, further ones at which
 * we met it. What somebody says who came by himself changes nothing. */
static bool is_refused(const struct target *t, const struct connection *c, enum peers_refusal reason) {
    if (t == c->target)
        return true;
    return c->dialled && reason == REFUSED_FOUNDING && t->known &&
           node_info_same_process(&t->look.info, &c->peer.info);
}

void dial_refused(struct peers *p, uint64_t now_ms, struct connection *c, enum peers_refusal reason) {
    bool settling = reason == REFUSED_FOUNDING && (p->self.fresh || c->peer.info.fresh);
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        struct target *t = &p->targets[i];
        if (!t->used || !is_refused(t, c, reason))
            continue;
        t->settled = true;
        t->founding = reason == REFUSED_FOUNDING;
        t->refusal = reason;
        dial_after(p, now_ms, t, settling ? SETTLING_MS : REFUSED_MS);
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
    struct target *t = learn(p, now_ms, at);
    if (t == NULL || t->connection != 0)
        return;
    t->failed = false;
    t->refusal = 0;
    t->dials++;
    dial_after(p, now_ms, t, 0);
}

enum peers_trial peers_tried(const struct peers *p, const struct address *at, const struct peer **peer,
                             enum peers_refusal *reason) {
    *reason = REFUSED_SELF;
    if (!dial_possible(p, at))
        return PEERS_REFUSED;
    const struct target *t = NULL;
    for (size_t i = 0; i < TARGETS_MAX && t == NULL; i++)
        if (p->targets[i].used && address_equal(&p->targets[i].look.at, at))
            t = &p->targets[i];
    if (t == NULL)
        return PEERS_UNANSWERED;
    const struct connection *c = standing(p, t);
    *peer = c != NULL ? &c->peer : NULL;
    if (c != NULL)
        return PEERS_STANDS;
    *reason = t->refusal;
    if (t->refusal != 0)
        return PEERS_REFUSED;
    return t->failed ? PEERS_UNANSWERED : PEERS_TRYING;
}
