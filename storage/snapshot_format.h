/* The snapshot file's numbers, shared by its writer and its reader. FORMAT.md draws them. */
#ifndef STORAGE_SNAPSHOT_FORMAT_H
#define STORAGE_SNAPSHOT_FORMAT_H

#include "storage/record.h"

#define SNAPSHOT_MAGIC      "KVNSNAP2" /* the last byte is the format's version */
#define SNAPSHOT_MAGIC_OLD  "KVNSNAP1" /* no single flipped bit makes one of the other */
#define SNAPSHOT_MAGIC_SIZE 8

enum snapshot_block {
    SNAPSHOT_BLOCK_HEADER = 1, /* the first, once */
    SNAPSHOT_BLOCK_RECORDS,
    SNAPSHOT_BLOCK_END, /* the last, once */
    SNAPSHOT_BLOCK_ANSWERED,
};

/* Type, size and checksum before a block's content. */
#define SNAPSHOT_BLOCK_HEADER_SIZE 9
/* A block of records, or of answered pairs, ends with the one that reaches this. */
#define SNAPSHOT_BLOCK_SIZE (64u * 1024)
#define SNAPSHOT_BLOCK_MAX  (SNAPSHOT_BLOCK_SIZE + RECORD_SIZE_MAX)

#endif
