/* The groups on the ring, and what a group's own log says of them. replication/PROTOCOL.md, "Groups and the
 * ring", says who decides and draws the bytes.
 *
 * The ring has an id, random and made when it was founded, and an epoch, which grows with each change. A
 * change is a proposal, taken part in by every group that it lists, then a decision; each step is a record in
 * each group's log (ENTRY_RING), and struct groups_state is what these records amount to. They count once
 * they are committed, never earlier, so that nothing here is ever undone. Deterministic: the same log gives
 * the same state. */
#ifndef CLUSTER_GROUPS_H
#define CLUSTER_GROUPS_H

#include "storage/wire.h"

#define GROUPS_MAX 64 /* on one ring; further ones stay joining */

struct listed_group {
    uint32_t number;
    uint64_t founding; /* the group id of its founding: another founding of the number is not on the ring */
};

struct groups {
    uint64_t ring_id; /* 0: none */
    uint64_t epoch;   /* 0: none */
    size_t count;
    struct listed_group list[GROUPS_MAX]; /* in order of number */
};

enum groups_step {
    GROUPS_PROPOSED = 1, /* the group takes part: client writes wait from here on */
    GROUPS_IN_FORCE,
    GROUPS_ABORTED,
    GROUPS_LEFT,    /* an empty ring of one group gives way to another ring */
    GROUPS_YIELDED, /* the group, without a client's write, gives itself up for another founding, the one that
                       is listed under its number */
};

/* The payload of ENTRY_RING. */
struct groups_record {
    enum groups_step step;
    uint32_t steward; /* the group whose log decides */
    struct groups groups;
};

struct groups_state {
    struct groups current;  /* in force; epoch 0: none yet */
    struct groups proposed; /* taken part in and not decided; epoch 0: none */
    uint32_t steward;       /* of proposed */
    uint64_t last_ring_id,
        last_epoch;   /* the newest proposal ever taken part in: it is never taken part in again */
    uint64_t written; /* index of the first client write in the log; 0: none ever */
    uint64_t yielded; /* the founding for which it gave itself up; 0: none */
};

bool groups_equal(const struct groups *a, const struct groups *b);
const struct listed_group *groups_find(const struct groups *groups, uint32_t number);
/* The number is listed with this founding. */
bool groups_list(const struct groups *groups, uint32_t number, uint64_t founding);
/* False where it is full or lists the number already. */
bool groups_add(struct groups *groups, uint32_t number, uint64_t founding);

void groups_record_encode(struct buffer *out, const struct groups_record *record);
/* False for foreign bytes that are none: an unknown step, numbers out of order, too many, an epoch or id of
 * 0. */
bool groups_record_decode(struct bytes payload, struct groups_record *out);

void groups_state_write(struct buffer *out, const struct groups_state *state);
bool groups_state_read(struct reader *r, struct groups_state *out);

/* A committed record, in the order of the log. True where it changed something; one that does not fit what is
 * there (a proposal behind a client write, a decision on something else) changes nothing. */
bool groups_apply(struct groups_state *state, const struct groups_record *record);
/* No client ever wrote, and no other group counts on this one: its founding may yield, or has. */
bool groups_unwritten(const struct groups_state *state);
/* A client's write stands at index: told for each. */
static inline void groups_note_write(struct groups_state *state, uint64_t index) {
    if (state->written == 0)
        state->written = index;
}

#endif
