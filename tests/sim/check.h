/* What must hold at every step, and the history that clients saw.
 *
 * Of the nodes, group by group (check_log.c):
 *  - at most one leader a term;
 *  - what one node has committed at an index, every node has there, and a key's writes are one group's;
 *  - the store of a node that has applied exactly what is committed is the one that these entries give, and
 *    so is its table of answered pairs;
 *  - all have the same digest of the state after it, ahead of the commit or not, and at the end it is that of
 *    what the store holds.
 *
 * Of a node that starts (check_start.c): that it has what it had durable, or is another member.
 *
 * Of the answers, by what is committed (check_answers.c):
 *  - a write that was answered is committed where its answer said: at once in quorum groups or with
 *    ?ack=quorum, at the end in async groups, unless a node's ledger holds it;
 *  - one that all voters acknowledged is on the disk of each of them;
 *  - a write that was refused is never committed, and no write is committed twice; one that bears a pair and
 *    is retried has its effect at the first entry that bears it, and its answers are what that entry gave. It
 *    has another one only where the group's newest RETRIES_MAX pairs do not hold it any more;
 *  - /outcome tells that entry's position and result, and nothing answered before is unknown to it while its
 *    pair is one of those;
 *  - a row leaves a ledger only when an operator drops it, and a node whose ledger is full says so;
 *  - a linearizable read never returns less than what was acknowledged at quorum, or read linearizably,
 *    before it began, and every read returns what somebody wrote.
 *
 *  - what an answer says beside its body is so (check_headers.c).
 *
 * Of what nodes say of themselves, asked now and then (check_inquiry.c): /metrics (check_metrics.c), /cluster
 * and /cluster/nodes (check_cluster.c), and all the while their health (check_health.c), by what is committed
 * and who could reach whom (check_reach.c).
 *
 * Of the answers, by nothing but themselves (check_history.c): tests/check/verdict.h. */
#ifndef TESTS_SIM_CHECK_H
#define TESTS_SIM_CHECK_H

#include "tests/check/verdict.h"
#include "tests/sim/client.h"

#define KEYS_MAX       64
#define SIM_GROUPS_MAX 3

enum op_kind { OP_SET, OP_DELETE, OP_GET, OP_READ, OP_KEYS, OP_OUTCOME }; /* READ: linearizable */

enum op_state {
    OP_OPEN,
    OP_DONE,    /* 200, or a read's 404 */
    OP_FAILED,  /* 412: its condition did not hold */
    OP_REFUSED, /* surely without effect */
    OP_UNKNOWN,
};

struct op {
    enum op_kind kind;
    enum op_state state;
    unsigned key, machine, process;
    bool quorum; /* answered at quorum: by mode or by ?ack= */
    bool all;    /* answered by all voters */
    enum history_condition condition;
    struct version match; /* of HISTORY_IF_MATCH */
    struct version at;    /* of its answer */
    uint32_t group;       /* of at */
    uint64_t began_us, ended_us;
    uint64_t asked_term;            /* of the node asked, when it began */
    uint64_t floor[SIM_GROUPS_MAX]; /* reads: index that it must see, by group */
    uint64_t committed;             /* index, of the last time; 0 none */
    uint32_t value_size;
    bool pair;         /* a write that bears a pair, by its number */
    unsigned unknown;  /* attempts before, of which it is not known what became */
    size_t row;        /* of the pairs' table, + 1, its last one; 0 none */
    size_t target;     /* OUTCOME: the write asked for */
    bool target_done;  /* it was answered before */
    int after;         /* KEYS: the key behind which it begins; -1: the first one */
    uint64_t limit;    /* KEYS; 0 none */
    bool linearizable; /* KEYS */
    size_t line;       /* of its last attempt, in the history */
};

struct check *check_new(struct sim *sim);
void check_free(struct check *check);

/* Its group has been, as far as anybody has seen. */
bool check_is_founded(const struct machine *m);
void check_started(struct machine *m);
void check_turn(struct machine *m);
/* The process is about to end, after a whole turn; not called where it ends within one. */
void check_ended(struct machine *m);
/* The same, in any case, and before. */
void check_ending(struct machine *m);
/* What it had is void: the disk is another one, or failed. */
void check_kept_none(struct machine *m);
/* The machine loses what it had, or may. */
void check_lost(const struct machine *m);
/* What the nodes say of their health; to be called a few times a second. */
void check_health(struct sim *sim);
void check_said(struct machine *m, const char *event, const char *text);
/* An operator is about to drop the row from the machine's ledger. */
void check_row_dropped(const struct machine *m, struct version at);

/* Of clients. The number names the op, and is in the value that a set writes. */
size_t check_begin(struct check *check, const struct op *op);
const struct op *check_op(const struct check *check, size_t number);
/* This attempt ended without an answer that counts, and the op is to be sent once more. */
void check_attempted(struct check *check, size_t number, const struct response *response);
/* It is about to be. */
void check_again(struct check *check, size_t number, unsigned machine);
void check_answered(struct check *check, size_t number, const struct response *response);
/* A set's value: its number, and padding up to value_size. */
void check_value(const struct check *check, size_t number, struct buffer *out);

/* All nodes run, and have applied all that is committed in their group. */
bool check_agree(const struct check *check);
/* The end: what was answered is committed, or in a ledger. */
void check_final(struct check *check);
/* The history that clients saw is judged; where it is not as promised, that is a violation. */
void check_judge(struct check *check);
const struct history *check_history(const struct check *check);

#endif
