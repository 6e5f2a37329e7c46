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

struct check {
    struct sim *sim;
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

/* check_history.c */
void check_history_begin(struct check *c, size_t number);
void check_history_end(struct check *c, size_t number, const struct response *r);

#endif
