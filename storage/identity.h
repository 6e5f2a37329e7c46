/* The file `identity`: who this directory's node is, and what it has to know of its group where nothing else
 * can be read any more. Small, twice in the file, replaced as a whole and synced before the call returns. */
#ifndef STORAGE_IDENTITY_H
#define STORAGE_IDENTITY_H

#include "storage/file.h"
#include "storage/name.h"

#define IDENTITY_FILE        "identity"
#define IDENTITY_SECRET_SIZE 16

/* What has become of the directory's files. */
enum identity_files {
    IDENTITY_FILES_OWN,
    IDENTITY_FILES_GOING,  /* damaged, and being set aside: the rest of them has to follow */
    IDENTITY_FILES_BESIDE, /* set aside; the node is not a full member again yet */
};

struct identity {
    uint8_t node_id[NODE_ID_SIZE];
    uint64_t incarnation; /* random, new whenever the directory is new, or its files have been set aside */
    uint32_t group;       /* group number */
    uint64_t group_id;    /* random, made by the group's founding; 0: belongs to none yet */
    char cluster[CLUSTER_NAME_MAX + 1];
    uint8_t secret[IDENTITY_SECRET_SIZE]; /* random, told to nobody: it proves that a directory is a copy */
    uint8_t other_voters;                 /* in the last configuration seen */
    enum identity_files files;
    bool worn; /* as loaded: one copy is damaged, and the next save mends it */
};

/* FILE_NOT_FOUND in a new directory; FILE_CORRUPT and FILE_OLD with `why`. */
enum file_result identity_load(struct file_system *fs, struct identity *out, char *why, size_t why_size);
enum file_result identity_save(struct file_system *fs, const struct identity *identity);

#endif
