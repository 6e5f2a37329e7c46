/* What the opening of a log is made of: log_replay.c (reading it), log_repair.c (what was damaged, and what
 * is not durable yet). */
#ifndef STORAGE_LOG_REPLAY_H
#define STORAGE_LOG_REPLAY_H

#include "storage/log_internal.h"

/* A segment's file that is in the directory. */
struct found {
    uint64_t number;
    struct file *file; /* NULL once a segment owns it */
    struct segment_head head;
    bool valid; /* head */
};

struct replay {
    struct log *log;
    struct log_report *report;
    struct version base; /* end of the snapshot */
    uint64_t told;       /* index of the last record that was told of; the base's before the first */
    uint32_t have;       /* bytes of the current segment that are in its image */
    uint32_t held;       /* of them, those that its file has */
    struct found *found; /* by number */
    size_t count, capacity;
    uint64_t *spares; /* numbers */
    size_t spare_count, spare_capacity;
    size_t next;               /* of found: the first that is not part of the log */
    struct log_place attested; /* highest durable position that a batch recorded */
    bool damaged;
    struct log_place damage;
};

/* The result for a file system's failure, which the report then tells. */
enum log_result replay_failure(struct replay *r, enum file_result result, const char *doing);
/* Cuts a torn tail or refuses the log, clears what stands behind its end, and makes all of it durable. */
enum log_result log_repair(struct replay *r);

#endif
