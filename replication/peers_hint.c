/* Addresses that were only heard of: in a datagram, or from a node that came and named one as its own.
 *
 * Whoever hears of one dials it, so that a forged address is a way to have others dial it. Hence a hint is
 * worth HINT_DIALS dials; once nobody has answered to these, every time it is heard again one more,
 * HINT_AGAIN_MS after the last. A hint costs a token of its source and one of all sources together, whose
 * addresses may be forged too. A node that is there is announced every 5 s, and so is looked at again. An
 * address at which a node has answered once is dialled as others are until it is forgotten. */
#include "replication/peers_core.h"

#define HINT_DIALS      3
#define HINT_AGAIN_MS   4000
#define SOURCE_TOKENS   32
#define SOURCE_TOKEN_MS 500 /* until one comes back */
#define ALL_TOKENS      128
#define ALL_TOKEN_MS    100

/* True while a token is left, which is then taken if `take`. */
static bool bucket_take(struct bucket *b, uint64_t now_ms, uint64_t tokens, uint64_t token_ms, bool take) {
    uint64_t full_ms = b->full_ms > now_ms ? b->full_ms : now_ms;
    if (full_ms - now_ms > (tokens - 1) * token_ms)
        return false;
    if (take)
        b->full_ms = full_ms + token_ms;
    return true;
}

/* Its place, a free one, or that of the one that has been quiet for longest. */
static struct source *hint_source(struct peers *p, const struct address *ip) {
    struct source *found = &p->sources[0];
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        struct source *s = &p->sources[i];
        if (s->ip.family != 0 && address_same_ip(&s->ip, ip))
            return s;
        if (s->bucket.full_ms < found->bucket.full_ms)
            found = s;
    }
    *found = (struct source){.ip = *ip};
    return found;
}

static bool hint_allowed(struct peers *p, uint64_t now_ms, const struct address *source) {
    if (!bucket_take(&p->hints, now_ms, ALL_TOKENS, ALL_TOKEN_MS, false))
        return false;
    return bucket_take(&hint_source(p, source)->bucket, now_ms, SOURCE_TOKENS, SOURCE_TOKEN_MS, true) &&
           bucket_take(&p->hints, now_ms, ALL_TOKENS, ALL_TOKEN_MS, true);
}

/* Nobody has answered there, and its dials are spent. */
static bool is_spent(const struct target *t) {
    return !target_trusted(t) && t->look.at_ms == 0 && t->dials == 0 && t->connection == 0;
}

void hint(struct peers *p, uint64_t now_ms, const struct address *at, const struct address *source) {
    if (!dial_possible(p, at))
        return;
    struct target *t = target_find(p, at);
    if (t != NULL && (!is_spent(t) || now_ms < t->tried_ms + HINT_AGAIN_MS))
        return;
    if (!hint_allowed(p, now_ms, source))
        return;
    if (t != NULL) {
        t->dials = 1;
        dial_after(p, now_ms, t, 0);
        return;
    }
    t = target_new(p, now_ms, at, false);
    if (t != NULL)
        t->dials = HINT_DIALS;
}

bool hint_dial(struct peers *p, uint64_t now_ms, struct target *t) {
    size_t dialling = 0;
    if (is_spent(t)) {
        t->next_ms = UINT64_MAX;
        return false;
    }
    for (size_t i = 0; i < p->count; i++) {
        const struct connection *c = p->connections[i];
        dialling += c->dialled && c->target != NULL && !target_trusted(c->target) &&
                    (c->state == DIALLING || c->state == GREETING);
    }
    if (dialling >= HINTED_MAX) {
        dial_after(p, now_ms, t, 2 * REDIAL_MIN_MS);
        return false;
    }
    if (t->look.at_ms == 0)
        t->dials--;
    return true;
}
