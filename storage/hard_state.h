/* The file `hard_state`: Raft's currentTerm and votedFor (Raft, figure 2), synced before the call returns:
 * they must be durable before any message that follows from them leaves. The file is written over in place,
 * one of its two copies after the other: a full disk stops no election, and no crash and no damage to one
 * copy loses it. */
#ifndef STORAGE_HARD_STATE_H
#define STORAGE_HARD_STATE_H

#include "storage/file.h"
#include "storage/name.h"

#define HARD_STATE_NAME "hard_state" /* of the file */

struct hard_state {
    uint64_t term;
    uint8_t vote_id[NODE_ID_SIZE]; /* all zero: no vote in this term */
    uint64_t vote_incarnation;
    bool worn; /* as loaded: one copy is damaged, and the next save mends it */
};

/* FILE_NOT_FOUND in a new directory; FILE_CORRUPT and FILE_OLD with `why`. */
enum file_result hard_state_load(struct file_system *fs, struct hard_state *out, char *why, size_t why_size);
enum file_result hard_state_save(struct file_system *fs, const struct hard_state *state);
/* What was loaded, once at start, before anything follows from it: a process that was killed may have left it
 * in the page cache alone. Content and name are durable then. */
enum file_result hard_state_save_again(struct file_system *fs, const struct hard_state *loaded);

#endif
