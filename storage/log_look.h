/* A stopped node's log, one file at a time: what a segment holds by itself, for whoever looks into a data
 * directory, and how a log is cut at damage that nothing else can mend. */
#ifndef STORAGE_LOG_LOOK_H
#define STORAGE_LOG_LOOK_H

#include "storage/log.h"

struct segment_look {
    uint64_t size;                  /* bytes of the file */
    uint32_t capacity;              /* by its head */
    unsigned heads;                 /* copies that are valid; with none, what follows is 0 */
    bool old;                       /* of an older version */
    struct version previous;        /* of the head */
    uint64_t first, last;           /* indexes of the entries read; last as truncations leave it; 0: none */
    uint64_t highest, highest_term; /* of any entry or head */
    uint32_t stop;                  /* offset where reading ended */
};

/* Reads only. A page that cannot be read counts as zeros. */
enum file_result segment_look(struct file_system *fs, uint64_t number, struct segment_look *out);

/* How many copies of `log_end` are valid. FILE_NOT_FOUND. */
enum file_result log_end_look(struct file_system *fs, unsigned *copies, uint64_t *segment, uint32_t *offset);

/* Cuts the log at that place, offset 0 being the whole file, and takes the segments behind it away: copies
 * and names `aside-<number>-…` keep all that was there. With the name of `log_end` only that file is made
 * anew. After a crash in between the log is damaged still, and may be cut again. Blocks. */
enum file_result log_cut(struct file_system *fs, const char *name, uint64_t offset, uint64_t number);

#endif
