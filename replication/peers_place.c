/* Who gives way when places or memory run short.
 *
 * Without keys nobody is known for certain, so this goes by what costs most to pretend: the id of a member,
 * an address that the operator named, the leadership of another group, nothing. A member always finds a
 * place, and no stranger's bytes take the memory that members need. */
#include "replication/peers_core.h"

#define LEADERS_OF_A_GROUP 2 /* an old leader and its successor; further ones are strangers */

static bool is_counted(const struct connection *c) {
    return c->lane == PEERS_MAIN && (c->state == WELCOMED || c->state == UP);
}

static bool is_foreign(const struct peers *p, const struct connection *c) {
    return c->peer.info.group != p->self.group;
}

static bool leads_another_group(const struct peers *p, const struct connection *c) {
    if (!is_foreign(p, c) || c->peer.info.role != NODE_LEADER)
        return false;
    size_t others = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct connection *other = p->connections[i];
        others += other != c && is_counted(other) && other->place == PLACE_LEADER &&
                  other->peer.info.group == c->peer.info.group;
    }
    return others < LEADERS_OF_A_GROUP;
}

static enum place place_of(const struct peers *p, const struct connection *c) {
    for (size_t i = 0; i < p->member_count && !is_foreign(p, c); i++)
        if (memcmp(p->members[i].id, c->peer.id.id, NODE_ID_SIZE) == 0)
            return PLACE_MEMBER;
    if (c->target != NULL && c->target->always)
        return PLACE_NAMED;
    return leads_another_group(p, c) ? PLACE_LEADER : PLACE_STRANGER;
}

static bool is_stranger(enum place place) {
    return place < PLACE_NAMED;
}

void place_set(struct peers *p, struct connection *c) {
    enum place place = place_of(p, c);
    if (is_stranger(place) && !is_stranger(c->place))
        p->held_by_strangers += c->counted;
    else if (!is_stranger(place) && is_stranger(c->place))
        p->held_by_strangers -= c->counted;
    c->place = place;
}

/* Of those with less right the one with the least, of several the one that came last. */
static struct connection *weakest(const struct peers *p, enum place below, bool foreign_only) {
    struct connection *found = NULL;
    for (size_t i = 0; i < p->count; i++) {
        struct connection *c = p->connections[i];
        if (!is_counted(c) || c->place >= below || (foreign_only && !is_foreign(p, c)))
            continue;
        if (found == NULL || c->place < found->place ||
            (c->place == found->place && c->since_ms >= found->since_ms))
            found = c;
    }
    return found;
}

bool place_make(struct peers *p, uint64_t now_ms, const struct connection *c) {
    size_t nodes = 0, foreign = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct connection *other = p->connections[i];
        if (other == c || !is_counted(other))
            continue;
        if (memcmp(other->peer.id.id, c->peer.id.id, NODE_ID_SIZE) == 0)
            return true;
        nodes++;
        foreign += is_foreign(p, other);
    }
    bool full = nodes >= PEERS_MAX, foreign_full = is_foreign(p, c) && foreign >= PEERS_FOREIGN_MAX;
    if (!full && !foreign_full)
        return true;
    struct connection *other = weakest(p, c->place, foreign_full);
    if (other == NULL)
        return false;
    p->shed++;
    greet_refuse(p, now_ms, other, REFUSED_FULL);
    return true;
}

bool place_accept(struct peers *p, uint64_t now_ms) {
    struct connection *oldest = NULL;
    size_t greeting = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct connection *c = p->connections[i];
        greeting += !c->dialled && c->state != WELCOMED && c->state != UP;
        if (!c->dialled && c->state == GREETING && (oldest == NULL || c->since_ms < oldest->since_ms))
            oldest = c;
    }
    if (greeting < GREETING_MAX || oldest == NULL)
        return false;
    p->shed++;
    connection_close(p, now_ms, oldest);
    return true;
}

/* Memory. */

bool place_holds_back(const struct peers *p, const struct connection *c) {
    return is_stranger(c->place) && c->state == UP && c->unsent > HOLD_OUTPUT &&
           p->held_by_strangers > PEERS_STRANGERS_HOLD / 2;
}

void place_shed(struct peers *p) {
    size_t strangers = p->held_by_strangers, all = p->held;
    if (strangers <= PEERS_STRANGERS_HOLD && all <= PEERS_MEMORY_MAX)
        return;
    for (size_t i = 0; i < p->count; i++) { /* those that go already */
        const struct connection *c = p->connections[i];
        if (!c->overfull)
            continue;
        all -= c->counted;
        strangers -= is_stranger(c->place) ? c->counted : 0;
    }
    while (strangers > PEERS_STRANGERS_HOLD || all > PEERS_MEMORY_MAX) {
        struct connection *worst = NULL;
        for (size_t i = 0; i < p->count; i++) {
            struct connection *c = p->connections[i];
            bool may_go =
                !c->overfull && (is_stranger(c->place) || (strangers == 0 && c->lane == PEERS_BULK));
            if (may_go && c->counted > 0 && (worst == NULL || c->counted > worst->counted))
                worst = c;
        }
        if (worst == NULL)
            return;
        worst->overfull = true;
        all -= worst->counted;
        strangers -= is_stranger(worst->place) ? worst->counted : 0;
        p->shed++;
        peers_wake_at(p, 0);
    }
}
