#include "replication/steward.h"

#include <err.h>
#include <stdlib.h>

struct heard {
    uint32_t number;
    uint64_t founding;
    uint64_t at_ms;
    struct groups_state state;
};

struct steward {
    struct heard heard[GROUPS_MAX];
    size_t count;
    uint64_t led_ms;          /* of the leader that the rest is of */
    uint64_t epoch, since_ms; /* the proposal that is being decided, and since when this leader sees to it */
    uint64_t rest_ms;         /* nothing is proposed before */
};

struct steward *steward_new(void) {
    struct steward *s = calloc(1, sizeof *s);
    if (s == NULL)
        err(1, "out of memory for the ring");
    return s;
}

void steward_free(struct steward *s) {
    free(s);
}

static const struct heard *find(const struct steward *s, uint32_t number, uint64_t founding) {
    for (size_t i = 0; i < s->count; i++)
        if (s->heard[i].number == number && s->heard[i].founding == founding)
            return &s->heard[i];
    return NULL;
}

/* Its place, a free one, or that of the group not heard of for longest. */
static struct heard *place(struct steward *s, uint32_t number, uint64_t founding) {
    struct heard *found = (struct heard *)(uintptr_t)find(s, number, founding), *oldest = &s->heard[0];
    if (found != NULL)
        return found;
    if (s->count < GROUPS_MAX)
        return &s->heard[s->count++];
    for (size_t i = 1; i < s->count; i++)
        if (s->heard[i].at_ms < oldest->at_ms)
            oldest = &s->heard[i];
    return oldest;
}

void steward_heard(struct steward *s, uint64_t now_ms, uint32_t number, uint64_t founding,
                   const struct groups_state *state) {
    *place(s, number, founding) =
        (struct heard){.number = number, .founding = founding, .at_ms = now_ms, .state = *state};
}

const struct groups *steward_heard_ring(const struct steward *s) {
    const struct groups *best = NULL;
    for (size_t i = 0; i < s->count; i++) {
        const struct groups *ring = &s->heard[i].state.current;
        if (ring->epoch == 0)
            continue;
        if (best == NULL || ring->ring_id < best->ring_id ||
            (ring->ring_id == best->ring_id && ring->epoch > best->epoch))
            best = ring;
    }
    return best;
}

static bool record(struct groups_record *out, enum groups_step step, uint32_t steward,
                   const struct groups *groups) {
    *out = (struct groups_record){.step = step, .steward = steward, .groups = *groups};
    return true;
}

/* The group has turned this proposal down, or will: it holds a client's write, or has seen the proposal's
 * end. */
static bool turned_down(const struct groups_state *state, const struct groups *proposed) {
    return state->written != 0 ||
           (state->last_ring_id == proposed->ring_id && state->last_epoch >= proposed->epoch);
}

/* The steward's own: every group's log must have it before it is in force. */
static bool decide(struct steward *s, uint64_t now_ms, const struct steward_view *view,
                   struct groups_record *out) {
    const struct groups *proposed = &view->state->proposed;
    bool all = true, refused = false;
    if (s->epoch != proposed->epoch) {
        s->epoch = proposed->epoch;
        s->since_ms = now_ms;
    }
    for (size_t i = 0; i < proposed->count; i++) {
        const struct listed_group *listed = &proposed->list[i];
        if (listed->number == view->number)
            continue;
        const struct heard *h = find(s, listed->number, listed->founding);
        bool takes_part = h != NULL && groups_equal(&h->state.proposed, proposed);
        all = all && takes_part;
        refused = refused || (h != NULL && !takes_part && turned_down(&h->state, proposed));
    }
    if (all)
        return record(out, GROUPS_IN_FORCE, view->number, proposed);
    if (!refused && now_ms - s->since_ms < STEWARD_DECIDE_MS)
        return false;
    s->rest_ms = now_ms + STEWARD_REST_MS;
    return record(out, GROUPS_ABORTED, view->number, proposed);
}

/* Another group's: waits for the decision, however long it takes. That it is in force may be told by any
 * group; that it was aborted only by the steward's log, which has seen the proposal and has neither it nor
 * its result. */
static bool follow(const struct steward *s, const struct steward_view *view, struct groups_record *out) {
    const struct groups *proposed = &view->state->proposed;
    for (size_t i = 0; i < s->count; i++) {
        const struct heard *h = &s->heard[i];
        if (groups_equal(&h->state.current, proposed))
            return record(out, GROUPS_IN_FORCE, view->state->steward, proposed);
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct heard *h = &s->heard[i];
        if (h->number == view->state->steward && groups_list(proposed, h->number, h->founding) &&
            h->state.last_ring_id == proposed->ring_id && h->state.last_epoch >= proposed->epoch &&
            !groups_equal(&h->state.proposed, proposed))
            return record(out, GROUPS_ABORTED, view->state->steward, proposed);
    }
    return false;
}

static bool would_apply(const struct groups_state *state, const struct groups_record *record) {
    struct groups_state copy = *state;
    return groups_apply(&copy, record);
}

/* A steward asks this group to take part. */
static bool take_part(const struct steward *s, uint64_t now_ms, const struct steward_view *view,
                      struct groups_record *out) {
    for (size_t i = 0; i < s->count; i++) {
        const struct heard *h = &s->heard[i];
        if (h->state.proposed.epoch == 0 || h->state.steward != h->number ||
            now_ms - h->at_ms > STEWARD_FRESH_MS ||
            !groups_list(&h->state.proposed, view->number, view->founding))
            continue;
        record(out, GROUPS_PROPOSED, h->number, &h->state.proposed);
        if (would_apply(view->state, out))
            return true;
    }
    return false;
}

static bool found(const struct steward_view *view, struct groups_record *out) {
    struct groups alone = {.ring_id = view->ring_id, .epoch = 1};
    groups_add(&alone, view->number, view->founding);
    return record(out, GROUPS_IN_FORCE, view->number, &alone);
}

static bool without_ring(const struct steward *s, uint64_t now_ms, const struct steward_view *view,
                         struct groups_record *out) {
    if (view->state->written != 0) /* its keys stay with it */
        return found(view, out);
    for (size_t i = 0; i < s->count; i++)
        if (s->heard[i].state.current.epoch != 0 && now_ms - s->heard[i].at_ms < STEWARD_FORGET_MS)
            return false;
    if (view->ring_visible || view->lower_visible)
        return false;
    return now_ms - view->led_ms >= STEWARD_LISTEN_MS && found(view, out);
}

/* A ring of one empty group that was never asked to grow. */
static bool may_leave(const struct groups_state *state) {
    return state->current.epoch == 1 && state->current.count == 1 && state->written == 0 &&
           state->proposed.epoch == 0 && state->last_ring_id == state->current.ring_id &&
           state->last_epoch == 1;
}

static bool other_ring(const struct heard *h, const struct groups_state *state) {
    return h->state.current.epoch != 0 && h->state.current.ring_id != state->current.ring_id;
}

static bool give_way(const struct steward *s, uint64_t now_ms, const struct steward_view *view,
                     struct groups_record *out) {
    const struct groups_state *state = view->state;
    for (size_t i = 0; may_leave(state) && i < s->count; i++) {
        const struct heard *h = &s->heard[i];
        if (now_ms - h->at_ms <= STEWARD_FRESH_MS && other_ring(h, state) &&
            (!may_leave(&h->state) || state->current.ring_id > h->state.current.ring_id))
            return record(out, GROUPS_LEFT, view->number, &state->current);
    }
    return false;
}

static bool idle(const struct groups_state *state) {
    return state->written == 0 && state->proposed.epoch == 0;
}

/* The steward proposes all that may join at once; while every group can be asked, and none holds keys. */
static bool admit(struct steward *s, uint64_t now_ms, const struct steward_view *view,
                  struct groups_record *out) {
    const struct groups *current = &view->state->current;
    struct groups next = *current;
    if (current->list[0].number != view->number || !idle(view->state) || now_ms < s->rest_ms)
        return false;
    for (size_t i = 1; i < current->count; i++) {
        const struct heard *h = find(s, current->list[i].number, current->list[i].founding);
        if (h == NULL || now_ms - h->at_ms > STEWARD_FRESH_MS || !idle(&h->state) ||
            !groups_equal(&h->state.current, current))
            return false;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct heard *h = &s->heard[i];
        if (now_ms - h->at_ms <= STEWARD_FRESH_MS && h->state.current.epoch == 0 && idle(&h->state))
            groups_add(&next, h->number, h->founding);
    }
    if (next.count == current->count)
        return false;
    next.epoch = view->state->last_epoch + 1;
    return record(out, GROUPS_PROPOSED, view->number, &next);
}

bool steward_next(struct steward *s, uint64_t now_ms, const struct steward_view *view,
                  struct groups_record *out) {
    const struct groups_state *state = view->state;
    if (s->led_ms != view->led_ms)
        s->epoch = s->rest_ms = 0;
    s->led_ms = view->led_ms;
    if (state->proposed.epoch != 0)
        return state->steward == view->number ? decide(s, now_ms, view, out) : follow(s, view, out);
    s->epoch = 0;
    if (take_part(s, now_ms, view, out))
        return true;
    if (state->current.epoch == 0)
        return without_ring(s, now_ms, view, out);
    return give_way(s, now_ms, view, out) || admit(s, now_ms, view, out);
}

enum steward_trouble steward_trouble(const struct steward *s, const struct steward_view *view) {
    const struct groups_state *state = view->state;
    for (size_t i = 0; i < s->count; i++) {
        const struct heard *h = &s->heard[i];
        if (state->current.epoch != 0 && other_ring(h, state) && !may_leave(state) && !may_leave(&h->state))
            return STEWARD_TWO_RINGS;
        if (state->current.epoch == 0 && h->state.current.epoch != 0 && h->state.written != 0)
            return STEWARD_KEYS;
    }
    if (state->current.epoch != 0)
        return STEWARD_WELL;
    const struct groups *ring = steward_heard_ring(s);
    bool other = ring != NULL && groups_find(ring, view->number) != NULL &&
                 !groups_list(ring, view->number, view->founding);
    return other ? STEWARD_LISTED : STEWARD_WAITS;
}
