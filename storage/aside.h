/* Setting a directory's files aside (FORMAT.md, `aside-…`): its node then has a new incarnation and joins its
 * group anew. A crash in between leaves IDENTITY_FILES_GOING, and aside_finish goes on from there. All block.
 */
#ifndef STORAGE_ASIDE_H
#define STORAGE_ASIDE_H

#include "storage/identity.h"

/* The identity says, durably, that the files are going, and which incarnation comes. */
enum file_result aside_begin(struct file_system *fs, struct identity *identity, uint64_t incarnation);
/* Every file but the identity and the ledger is renamed, then the identity says that they are beside. */
enum file_result aside_finish(struct file_system *fs, struct identity *identity);
/* Removes what was set aside, by whichever incarnation, and tells the number of files. On failure the
 * identity goes on saying that files are beside. */
enum file_result aside_remove(struct file_system *fs, struct identity *identity, size_t *count);

#endif
