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
    bool valid;     /* head */
    bool copies[2]; /* of it, that are valid */
    bool old;       /* of an older version */
    uint64_t size;  /* of the file */
};

struct replay {
    struct log *log;
    struct log_report *report;
    struct version base; /* end of the snapshot */
    uint64_t told;       /* index of the last record that was told of; the base's before the first */
    uint32_t have;       /* bytes of the current segment that are in its image */
    uint64_t held;       /* bytes of its file */
    struct found *found; /* by number */
    size_t count, capacity;
    uint64_t *spares; /* numbers */
    size_t spare_count, spare_capacity;
    size_t next;               /* of found: the first that is not part of the log */
    struct log_place attested; /* highest durable position that a batch recorded */
    bool damaged;
    struct log_place damage;
    struct log_place *unreadable; /* pages */
    size_t unreadable_count, unreadable_capacity;
};

/* The result for a file system's failure, which the report then tells. */
enum log_result replay_failure(struct replay *r, enum file_result result, const char *doing);
/* LOG_CORRUPT, and says so, for a file that is missing or damaged. */
enum log_result replay_lost(struct replay *r, const char *file, const char *what);
void replay_read(struct replay *r, const struct segment *segment, uint32_t offset, uint32_t size,
                 uint8_t *to);
/* LOG_CORRUPT where what had been durable is damaged. Writes nothing. */
enum log_result log_judge(struct replay *r);
/* Cuts a torn tail, writes damaged heads again, clears what stands behind the log's end, and makes all of it
 * durable. */
enum log_result log_repair(struct replay *r);

#endif
