/* The two small files that are synced before the call returns.
 *
 * hard_state: Raft's currentTerm and votedFor (Raft, figure 2), which must be durable before any message that
 * follows from them leaves. It stands in its file twice, and is written over in place, one copy after the
 * other: a full disk stops no election, and no crash and no damage to one copy loses it. identity: who this
 * directory's node is; replaced as a whole. */
#ifndef STORAGE_HARD_STATE_H
#define STORAGE_HARD_STATE_H

#include "storage/file.h"
#include "storage/name.h"

#define HARD_STATE_NAME "hard_state" /* of the file */

struct hard_state {
    uint64_t term;
    uint8_t vote_id[NODE_ID_SIZE]; /* all zero: no vote in this term */
    uint64_t vote_incarnation;
};

#define IDENTITY_SECRET_SIZE 16

struct identity {
    uint8_t node_id[NODE_ID_SIZE];
    uint64_t incarnation; /* random, new whenever the directory is new */
    uint32_t group;       /* group number */
    uint64_t group_id;    /* random, made by the group's founding; 0: belongs to none yet */
    char cluster[CLUSTER_NAME_MAX + 1];
    uint8_t secret[IDENTITY_SECRET_SIZE]; /* random, told to nobody: it proves that a directory is a copy */
};

/* FILE_NOT_FOUND in a new directory; FILE_IO_ERROR with `why` for a damaged file. */
enum file_result hard_state_load(struct file_system *fs, struct hard_state *out, char *why, size_t why_size);
enum file_result hard_state_save(struct file_system *fs, const struct hard_state *state);
/* What was loaded, once at start, before anything follows from it: a process that was killed may have left it
 * in the page cache alone. Content and name are durable then. */
enum file_result hard_state_save_again(struct file_system *fs, const struct hard_state *loaded);
enum file_result identity_load(struct file_system *fs, struct identity *out, char *why, size_t why_size);
enum file_result identity_save(struct file_system *fs, const struct identity *identity);

#endif
