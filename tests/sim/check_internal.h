/* What the parts of check.h share. */
#ifndef TESTS_SIM_CHECK_INTERNAL_H
#define TESTS_SIM_CHECK_INTERNAL_H

#include "tests/sim/check.h"

struct committed {
    uint64_t term;
    uint32_t crc;
    uint64_t state;    /* hash of the store after it */
    uint64_t answered; /* hash of the answered pairs after it */
    uint64_t digest;   /* of the state after it, as the first replica asked told it */
    bool digest_told;
    int key;                    /* of a write; -1 otherwise */
    struct version key_version; /* of that key after it; index 0: absent */
    uint64_t at_us;             /* when somebody first had it committed */
};

struct leader {
    uint64_t term, incarnation;
    unsigned machine; /* + 1; 0 none */
};

/* What one group has committed. */
struct group_log {
    struct committed *entries; /* [index - 1] */
    size_t count, capacity;
    struct version versions[KEYS_MAX]; /* of keys at the end of entries */
    uint64_t hashes[KEYS_MAX];
    struct leader *leaders; /* [term] */
    size_t leader_count;
    uint64_t floor; /* highest index acknowledged at quorum or read linearizably */
};

/* What the process of a machine had when it last could be seen (check_start.c). */
struct kept {
    bool valid;
    bool exact; /* it ended there, not within a turn */
    uint64_t incarnation;
    struct hard_state state;
    uint64_t durable; /* index */
    uint64_t *held;   /* [index]: the term in which it had that durable; 0 never */
    size_t held_capacity;
    struct version *rows; /* of the ledger */
    size_t row_count, row_capacity;
};

/* A position that a machine had durable before another one took its place. */
struct replaced {
    unsigned machine;
    struct version at;
};

struct check {
    struct sim *sim;
    struct kept kept[MACHINES_MAX];
    uint64_t lost_us[MACHINES_MAX];     /* when a machine last lost what it had; 0 never */
    uint64_t together_us[MACHINES_MAX]; /* when its node last reached another one of its group */
    struct replaced *replaced;
    size_t replaced_count, replaced_capacity;
    struct group_log groups[SIM_GROUPS_MAX];
    uint32_t owners[KEYS_MAX]; /* the group, + 1, that has committed a write of the key; 0 none */
    struct op *ops;
    size_t op_count, op_capacity;
    struct history history;
};

void *check_grow(void *array, size_t *capacity, size_t wanted, size_t size);
/* The number in a value of the workload; SIZE_MAX: it is none. */
size_t check_value_number(struct bytes value);
uint64_t check_answered_hash(const struct store *store);
bool check_is_refusal(const struct response *r);
/* The number in the answer's value; SIZE_MAX where it holds none. */
size_t check_number_read(const struct response *r);
bool check_is_committed(const struct group_log *log, struct version at);

/* check_log.c */
void check_digest_holds(struct machine *m);

/* check_start.c. Note: at the end of a turn, or when the process ended. */
void check_kept_note(struct machine *m, bool ended);
void check_kept_start(struct machine *m);
/* The machine has had the entry durable, at some time. */
bool check_held(const struct check *c, unsigned machine, struct version at);

/* check_history.c */
void check_history_begin(struct check *c, size_t number);
void check_history_end(struct check *c, size_t number, const struct response *r);

#endif
