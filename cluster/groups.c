#include "cluster/groups.h"

#include <assert.h>

#define RECORD_FORMAT 1
#define STATE_FORMAT  2

bool groups_equal(const struct groups *a, const struct groups *b) {
    if (a->ring_id != b->ring_id || a->epoch != b->epoch || a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].number != b->list[i].number || a->list[i].founding != b->list[i].founding)
            return false;
    return true;
}

const struct listed_group *groups_find(const struct groups *groups, uint32_t number) {
    for (size_t i = 0; i < groups->count; i++)
        if (groups->list[i].number == number)
            return &groups->list[i];
    return NULL;
}

bool groups_list(const struct groups *groups, uint32_t number, uint64_t founding) {
    const struct listed_group *listed = groups_find(groups, number);
    return listed != NULL && listed->founding == founding;
}

bool groups_add(struct groups *groups, uint32_t number, uint64_t founding) {
    size_t at = groups->count;
    if (at == GROUPS_MAX || groups_find(groups, number) != NULL)
        return false;
    for (; at > 0 && groups->list[at - 1].number > number; at--)
        groups->list[at] = groups->list[at - 1];
    groups->list[at] = (struct listed_group){number, founding};
    groups->count++;
    return true;
}

static void write_groups(struct buffer *out, const struct groups *groups) {
    assert(groups->count <= GROUPS_MAX);
    write_u64(out, groups->ring_id);
    write_u64(out, groups->epoch);
    write_u8(out, (uint8_t)groups->count);
    for (size_t i = 0; i < groups->count; i++) {
        write_u32(out, groups->list[i].number);
        write_u64(out, groups->list[i].founding);
    }
}

/* Either none at all, or a ring: id, epoch, at least one group, in order of number. */
static bool read_groups(struct reader *r, struct groups *out) {
    *out = (struct groups){0};
    out->ring_id = read_u64(r);
    out->epoch = read_u64(r);
    size_t count = read_u8(r);
    bool none = count == 0;
    if (count > GROUPS_MAX || (out->ring_id == 0) != none || (out->epoch == 0) != none)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint32_t number = read_u32(r);
        uint64_t founding = read_u64(r);
        if (!reader_ok(r) || founding == 0 || (i > 0 && number <= out->list[i - 1].number))
            return false;
        out->list[i] = (struct listed_group){number, founding};
    }
    out->count = count;
    return reader_ok(r);
}

void groups_record_encode(struct buffer *out, const struct groups_record *record) {
    write_u8(out, RECORD_FORMAT);
    write_u8(out, (uint8_t)record->step);
    write_u32(out, record->steward);
    write_groups(out, &record->groups);
}

bool groups_record_decode(struct bytes payload, struct groups_record *out) {
    struct reader r = reader_of(payload);
    uint8_t format = read_u8(&r), step = read_u8(&r);
    out->steward = read_u32(&r);
    if (format != RECORD_FORMAT || step < GROUPS_PROPOSED || step > GROUPS_YIELDED ||
        !read_groups(&r, &out->groups))
        return false;
    out->step = (enum groups_step)step;
    return reader_done(&r) && out->groups.count > 0;
}

void groups_state_write(struct buffer *out, const struct groups_state *state) {
    write_u8(out, STATE_FORMAT);
    write_u32(out, state->steward);
    write_u64(out, state->last_ring_id);
    write_u64(out, state->last_epoch);
    write_u64(out, state->written);
    write_u64(out, state->yielded);
    write_groups(out, &state->current);
    write_groups(out, &state->proposed);
}

bool groups_state_read(struct reader *r, struct groups_state *out) {
    uint8_t format = read_u8(r);
    out->steward = read_u32(r);
    out->last_ring_id = read_u64(r);
    out->last_epoch = read_u64(r);
    out->written = read_u64(r);
    out->yielded = read_u64(r);
    return read_groups(r, &out->current) && read_groups(r, &out->proposed) && format == STATE_FORMAT;
}

/* Keys cannot move: whoever holds one, or ever did, keeps its share of the ring. */
static bool may_take_part(const struct groups_state *state, const struct groups *groups) {
    if (state->written != 0 || state->yielded != 0 || state->proposed.epoch != 0)
        return false;
    if (groups->ring_id == state->last_ring_id && groups->epoch <= state->last_epoch)
        return false;
    const struct groups *current = &state->current;
    return current->epoch == 0 || (current->ring_id == groups->ring_id && current->epoch < groups->epoch);
}

static bool founds(const struct groups_state *state, const struct groups *groups) {
    return groups->epoch == 1 && groups->count == 1 && state->current.epoch == 0 &&
           state->proposed.epoch == 0;
}

static bool apply_in_force(struct groups_state *state, const struct groups *groups) {
    if (!groups_equal(&state->proposed, groups) && !founds(state, groups))
        return false;
    state->current = *groups;
    state->proposed = (struct groups){0};
    if (groups->epoch == 1) {
        state->last_ring_id = groups->ring_id;
        state->last_epoch = 1;
    }
    return true;
}

bool groups_unwritten(const struct groups_state *state) {
    return state->written == 0 && state->proposed.epoch == 0 && state->current.count <= 1;
}

bool groups_apply(struct groups_state *state, const struct groups_record *record) {
    const struct groups *groups = &record->groups;
    switch (record->step) {
    case GROUPS_PROPOSED:
        if (!may_take_part(state, groups))
            return false;
        state->proposed = *groups;
        state->steward = record->steward;
        state->last_ring_id = groups->ring_id;
        state->last_epoch = groups->epoch;
        return true;
    case GROUPS_IN_FORCE:
        return apply_in_force(state, groups);
    case GROUPS_ABORTED:
        if (!groups_equal(&state->proposed, groups))
            return false;
        state->proposed = (struct groups){0};
        return true;
    case GROUPS_LEFT:
        if (!groups_equal(&state->current, groups) || groups->count != 1 || state->written != 0 ||
            state->proposed.epoch != 0)
            return false;
        state->current = (struct groups){0};
        return true;
    case GROUPS_YIELDED:
        if (!groups_unwritten(state) || state->yielded != 0)
            return false;
        state->yielded = groups->list[0].founding;
        return true;
    }
    return false;
}
