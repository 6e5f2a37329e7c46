/* A snapshot: every live record as of one committed position, in one file, with checksums. FORMAT.md draws
 * it.
 *
 * It is written a slice at a time while the store goes on changing: a record that a later entry is about to
 * overwrite, delete or has overwritten is put out first, from the store or from its undo list, so the file
 * holds the state at `at` exactly, and never anything beyond the commit. Records come in no promised order.
 * The header carries a hint of the number of records. */
#ifndef STORAGE_SNAPSHOT_H
#define STORAGE_SNAPSHOT_H

#include "storage/file.h"
#include "storage/store.h"

struct snapshot_header {
    struct version at; /* the state after this entry */
    uint64_t count;    /* records, as counted when the snapshot began */
    struct bytes
        configuration; /* the group's configuration in force at `at`, as its entry's payload; borrowed */
    uint64_t configuration_index; /* its log position's index */
    uint64_t cluster_ms;          /* cluster time, Unix time; 0: none */
    uint64_t digest;              /* of the state (store_digest_at); the writer's own affair */
};

struct snapshot_writer;

/* Begins a snapshot of the state at header->at, which is at or before applied and reachable through the undo
 * list. At most one a store (asserted). NULL where the undo list does not reach back to it. */
struct snapshot_writer *snapshot_writer_new(struct store *store, const struct snapshot_header *header);
/* Appends at most `budget` bytes of the file to out, perhaps none. True when that was the last of it. Whoever
 * applies entries meanwhile steps at the same pace: what they replace waits in memory for the next step. */
bool snapshot_writer_step(struct snapshot_writer *writer, size_t budget, struct buffer *out);
/* Also ends one that was not finished. */
void snapshot_writer_free(struct snapshot_writer *writer);

enum snapshot_result {
    SNAPSHOT_OK,
    SNAPSHOT_NONE,
    SNAPSHOT_OLD, /* not damaged: of a format before this one */
    SNAPSHOT_CORRUPT,
    SNAPSHOT_IO_ERROR,
};

/* Reads the file `name` into an empty store and verifies it whole, its digest too. configuration's bytes are
 * appended to `configuration`, and out->configuration borrows from it. Foreign bytes: every length is checked
 * before it is used. On failure the store is cleared and `why` holds one line. */
enum snapshot_result snapshot_load(struct file_system *fs, const char *name, struct store *store,
                                   struct snapshot_header *out, struct buffer *configuration, char *why,
                                   size_t why_size);
/* Verifies the file without a store (a snapshot just received), and reads its header. Whether the content is
 * one that can be, and has the digest that the header names, only loading shows: a record may be there twice.
 */
enum snapshot_result snapshot_verify(struct file_system *fs, const char *name, struct snapshot_header *out,
                                     struct buffer *configuration, char *why, size_t why_size);

/* The same, a part at a time. Both are borrowed. NULL where the file's size cannot be had. */
struct snapshot_check;
struct snapshot_check *snapshot_check_new(const char *name, struct file *file);
/* Verifies whole blocks up to `offset`, in bytes, at least, or up to the end. After a failure, told in `why`,
 * not to be called again. May run in a helper thread. */
enum snapshot_result snapshot_check_to(struct snapshot_check *check, uint64_t offset, char *why,
                                       size_t why_size);
uint64_t snapshot_check_offset(const struct snapshot_check *check); /* bytes verified */
bool snapshot_check_ended(const struct snapshot_check *check);      /* the whole file was */
void snapshot_check_free(struct snapshot_check *check);

#endif
