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
    unsigned keys;              /* live ones, after it */
    uint64_t at_us;             /* when somebody first had it committed */
};

/* A row of the table of answered pairs, as the log gives it. */
struct pair_row {
    size_t op, before;         /* before: the earlier row of its op, + 1; 0 none */
    struct version at, stands; /* stands: the key's version after it */
    bool fails;                /* its condition did not hold */
};

struct leader {
    uint64_t term, incarnation;
    unsigned machine;         /* + 1; 0 none */
    uint64_t since_us, epoch; /* of its process */
    unsigned fleeting;        /* + 1: one whose first turn did not end, as its power went */
};

/* A configuration that a group has committed. */
struct committed_members {
    uint64_t index;
    struct configuration configuration;
};

/* What one group has committed. */
struct group_log {
    uint64_t group_id;         /* of the founding */
    struct committed *entries; /* [index - 1] */
    size_t count, capacity;
    bool others_keys; /* a script has written some that are not the workload's: they are not counted */
    struct version versions[KEYS_MAX]; /* of keys at the end of entries */
    uint64_t hashes[KEYS_MAX];
    struct leader *leaders; /* [term] */
    size_t leader_count;
    uint64_t led[MACHINES_MAX];        /* the highest term in which each led, if for less than a turn */
    struct committed_members *members; /* by index */
    size_t members_count, members_capacity;
    struct pair_row *pairs; /* in the order of the log: the newest RETRIES_MAX count */
    size_t pair_count, pair_capacity;
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

/* What /metrics of a process said last (check_metrics.c). */
struct series {
    uint64_t name; /* hash of the text before the value; 0: free */
    uint64_t round;
    double value;
};

#define SERIES_MAX 2048 /* a power of 2 */

struct told {
    uint64_t epoch;        /* of the process */
    struct series *series; /* SERIES_MAX of them; NULL: none */
    size_t count;
    uint64_t round;       /* how often it was asked */
    uint64_t leaderships; /* of the process, as seen at the ends of turns */
};

/* How the machines could reach each other, looked at every 100 ms (check_reach.c). */
struct reach {
    uint64_t looked_us;
    uint64_t broken_us; /* when it was last not so that all reach all */
    uint64_t cut_us;    /* when a link was last cut: it gives later what was sent on it before */
    uint64_t minority_us[MACHINES_MAX]; /* when the node last reached no majority of its group's voters */
    uint64_t silent_us[MACHINES_MAX];   /* since when the machine runs nothing; 0: it does */
    uint64_t epochs[MACHINES_MAX];
};

/* A row that an operator dropped from a ledger. */
struct dropped {
    unsigned machine;
    uint32_t group;
    struct version at;
};

struct check {
    struct sim *sim;
    struct told told[MACHINES_MAX];
    struct reach reach;
    uint64_t inquired, inquire_us, inquire_dear_us; /* how often; when next */
    struct kept kept[MACHINES_MAX];
    uint64_t lost_us[MACHINES_MAX];     /* when a machine last lost what it had; 0 never */
    uint64_t started_us[MACHINES_MAX];  /* when its process was */
    uint64_t together_us[MACHINES_MAX]; /* when its node last reached another one of its group */
    struct replaced *replaced;
    size_t replaced_count, replaced_capacity;
    struct dropped *dropped;
    size_t dropped_count, dropped_capacity;
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

/* check_reach.c: what is true within LATE_US of the event that makes it so. */
#define LATE_US (6 * SECOND)
void check_reach(struct sim *sim);
bool check_reach_each_other(const struct machine *a, const struct machine *b);
/* The node has reached a majority of its group's voters for LATE_US. */
bool check_has_majority(const struct machine *m);
/* All have reached all for LATE_US, and so long it has led; NULL: there is none such. */
const struct leader *check_standing(const struct check *c, uint32_t group);
/* It has led the group, in this term or a later one. */
bool check_has_led(const struct check *c, uint32_t group, unsigned machine, uint64_t term);
/* By the id; NULL: no machine's. */
struct machine *check_named(const struct sim *sim, const char *id);
/* By the text of its peer or API address. */
struct machine *check_at_address(const struct sim *sim, const char *text, bool api);
/* Frames that no correct node sends may have told it anything. */
static inline bool check_may_be_fooled(const struct sim *sim) {
    return (sim->options.with & WITH_HOSTILE) != 0;
}
/* As the group has committed it there; NULL: it has not. */
const struct configuration *check_members_at(const struct group_log *group, uint64_t index);

/* check_inquiry.c, at the end of a turn. Asks through the HTTP server; false: it was not answered 200. */
void check_inquire_begin(struct check *c);
void check_inquire(struct machine *m);
bool check_ask(struct machine *m, const char *route, struct buffer *body);
/* check_metrics.c, check_cluster.c */
void check_metrics(struct machine *m);
void check_cluster(struct machine *m);
void check_nodes(struct machine *m);

/* check_headers.c */
void check_headers(struct check *c, size_t number, const struct response *r);

/* check_health.c */
void check_health_told(struct machine *m);

/* check_answers.c: a commit may not have been seen. */
bool check_may_be_unseen(const struct sim *sim);

/* check_ledger.c: all the while, and at the end. */
void check_ledger_told(struct machine *m);
void check_rejected(const struct check *c, const struct machine *m);

/* check_log.c */
/* The lowest index that undoing can reach. */
uint64_t check_undo_floor(const struct store *store);
void check_digest_holds(struct machine *m);

/* check_pairs.c */
bool check_pair_counts(const struct group_log *log, const struct op *op);
/* A new row; the one that does not count any more from now on, or NULL. */
const struct pair_row *check_pair_add(struct check *c, struct group_log *log, const struct pair_row *row);
/* The row of the op at that index; NULL: none. */
const struct pair_row *check_pair_at(const struct group_log *log, const struct op *op, uint64_t index);
/* The same, if it may be told to who asks since then: none of the op's later rows was committed before. */
const struct pair_row *check_pair_told(const struct group_log *log, const struct op *op, uint64_t index,
                                       uint64_t since_us);

/* check_bounds.c: at the end of a turn, what bounds the node has met. */
void check_bounds(struct machine *m);
bool check_was_dropped(const struct check *c, uint32_t group, struct version at);
/* The node has applied so far ahead that it can neither undo nor compare down to that index. */
bool check_beyond_undo(const struct machine *m, uint64_t index);

/* check_start.c. Note: at the end of a turn, or when the process ended. */
void check_kept_note(struct machine *m, bool ended);
void check_kept_start(struct machine *m);
/* The machine has had the entry durable, at some time. */
bool check_held(const struct check *c, unsigned machine, struct version at);

/* check_history.c */
void check_history_begin(struct check *c, size_t number);
void check_history_end(struct check *c, size_t number, const struct response *r);

#endif
