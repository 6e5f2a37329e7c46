/* A stopped node's data directory, looked into and mended: what each file holds, what is damaged, what is
 * beyond the bounds of message.h, what can be done about it, and doing it. storage/FORMAT.md says what the
 * files are. */
#ifndef REPLICATION_EXAMINE_H
#define REPLICATION_EXAMINE_H

#include "storage/hard_state.h"
#include "storage/identity.h"
#include "storage/log.h"

enum examine_state {
    EXAMINE_WHOLE,
    EXAMINE_BESIDE,  /* of no meaning for the node: set aside, not finished, or for later use */
    EXAMINE_WORN,    /* one of two copies is damaged */
    EXAMINE_DAMAGED, /* what had been durable */
    EXAMINE_MISSING,
    EXAMINE_BEYOND, /* a term or an index that no group reaches: damage, or forged */
    EXAMINE_OLD,    /* of another version of kvnode */
};

struct examine_row {
    char name[FILE_NAME_MAX];
    enum examine_state state;
    char text[320]; /* what it holds, or how it is damaged */
};

struct examination {
    struct examine_row *rows; /* by name, the identity first */
    size_t count, capacity;
    size_t strangers; /* files that are not kvnode's */
    bool whole;
    char summary[320]; /* of the log: its range, commit, snapshot */

    bool known; /* the identity can be read: */
    struct identity identity;
    bool other_version; /* of any file: nothing here can judge the directory */
    bool identity_worn, copies_worn;
    bool hard_state_bad, hard_state_beyond;
    bool snapshot_bad, log_bad, data_beyond, ledger_bad;
    struct version base;          /* end of the snapshot */
    uint64_t last;                /* index before the log's damage, or the last one */
    uint64_t highest_term;        /* of any entry or snapshot that can be read */
    uint64_t lost;                /* the highest index read behind the damage; 0: none */
    char cut_file[FILE_NAME_MAX]; /* of the damage to the log, and its offset */
    uint64_t cut_offset;
};

/* Writes nothing. False with `why` where the directory cannot be read, or holds no file of a node. */
bool examine(struct file_system *fs, struct examination *out, char *why, size_t why_size);
void examine_release(struct examination *x);
const char *examine_state_text(enum examine_state state);

/* What is to be done, in this order. Without anything of it: nothing. */
struct mend {
    bool copies; /* second copies are written from the first ones */
    bool aside;  /* all files go aside, and the node joins its group anew */
    bool finish; /* that had begun: it is finished */
    bool term;   /* the term becomes new_term, without a vote */
    bool cut;    /* the log is cut behind last */
    uint64_t new_term;
    char refused[512]; /* not "": nothing can be done, and why */
};

struct mend mend_of(const struct examination *x);
/* `random` gives the new incarnation, the name of what is set aside, and the seed of checksums. Blocks. A
 * failure is tried again by the next mend; `why` holds one line. */
bool mend_do(struct file_system *fs, struct examination *x, const struct mend *mend, uint64_t random,
             char *why, size_t why_size);

#endif
