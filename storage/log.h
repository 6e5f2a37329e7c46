/* The segmented write-ahead log: the database. FORMAT.md draws its bytes.
 *
 * Indexes are dense: first..last, the first record of a new log being 1. Appends go to memory; log_write puts
 * what has gathered into the current segment as one batch; a sync (log_sync_begin, run beside the loop,
 * log_sync_end) makes it durable. appended >= written >= durable.
 *
 * A record's bytes are encoded once: the leader's segment, the message to a follower and the follower's
 * segment hold the same size, body checksum and body. Recent records stay in memory; older ones are read back
 * from their segment, and every read verifies the body's checksum (bug 12).
 *
 * Errors: LOG_NO_SPACE leaves the log as it was, and an append may be tried again. LOG_IO_ERROR and a failed
 * sync are final: the caller ends the process (bugs 4, 9). */
#ifndef STORAGE_LOG_H
#define STORAGE_LOG_H

#include "storage/entry.h"
#include "storage/file.h"
#include "storage/histogram.h"
#include "storage/job.h"

enum log_result {
    LOG_OK,
    LOG_NO_SPACE,
    LOG_IO_ERROR,
    LOG_CORRUPT,
    LOG_OLD,       /* not damaged: of a format before this one */
    LOG_COMPACTED, /* the index is before log_first */
    LOG_BEYOND,    /* the index is after log_last */
};

#define LOG_SEGMENT_SIZE (16u * 1024 * 1024) /* bytes; default */
#ifndef LOG_CACHE_SIZE
#define LOG_CACHE_SIZE (16u * 1024 * 1024) /* bytes of recent records kept in memory, at least; default */
#endif

struct log_record {
    uint64_t term, index;
    enum entry_type type;
    struct bytes payload;
};

#define LOG_TOLD_MAX 32 /* records told of at once */

struct log_options {
    struct file_system *fs; /* borrowed; outlives the log */
    uint32_t segment_size;  /* 0: the default */
    size_t cache_size;      /* 0: the default */
    uint64_t salt;  /* random, new at every start: record checksums are seeded with it, so that no value can
                     * hold bytes that would pass for a record; 0 will do in tests */
    bool exists;    /* the directory has held a log: that it holds nothing of one is damage */
    bool read_only; /* nothing is written: the log can be read, and closed */
    /* Told by log_open, in order, of every record behind its base that a batch tells to be committed, with
     * bytes borrowed for the call; also where opening then fails. NULL: nobody wants to know. */
    void (*committed)(void *arg, const struct log_record *records, size_t count);
    void *committed_arg;
};

/* What opening found. */
struct log_report {
    uint64_t commit;    /* highest commit index that a batch recorded, before what was truncated since */
    bool took_back;     /* a truncation named a record that `committed` was told of: all of that is void */
    uint64_t records;   /* replayed */
    uint64_t cut_bytes; /* of a torn tail; 0 when there was none */
    char file[FILE_NAME_MAX]; /* of the cut, or of the corruption */
    uint64_t offset;          /* there */
    uint64_t last, seen; /* LOG_CORRUPT: the index before the damage, and the highest one read behind it */
    bool gap;            /* LOG_CORRUPT: the log begins after the snapshot's end: cutting does not help */
    unsigned restored;   /* pages that were damaged and have been restored */
    char detail[160];    /* one line, on any failure or cut */
};

struct log;

/* A torn tail, past the last attested point, is cut and reported; damage before it is LOG_CORRUPT with file
 * and offset: files that are missing, short or unreadable count. Then nothing was written. base is where the
 * snapshot that was loaded ends: {0, 0} without one. The log must reach base or start at or before
 * base.index + 1, else LOG_CORRUPT ("gap"); a log that ends before base is reset to it. LOG_OLD where a
 * segment is of an older version. */
enum log_result log_open(const struct log_options *options, struct version base, struct log **out,
                         struct log_report *report);
/* Writes nothing. The job of a sync under way must not run any more. */
void log_close(struct log *log);

uint64_t log_first(const struct log *log);   /* first index held; log_last + 1 when none is */
uint64_t log_last(const struct log *log);    /* appended */
uint64_t log_written(const struct log *log); /* in the segment, for the kernel to lose */
uint64_t log_durable(const struct log *log); /* synced */
uint64_t log_last_term(const struct log *log);
/* False where a directory was opened read_only and no segment of it has been begun: there are no indexes. */
bool log_begun(const struct log *log);
/* The files of the log: how many, and whether this is the name of one of them. */
size_t log_files(const struct log *log);
bool log_is_file(const struct log *log, const char *name);
/* The file of the next segment is there, or could be made now: after LOG_NO_SPACE, whether to try again. */
bool log_has_room(struct log *log);
uint64_t log_size(const struct log *log); /* bytes of records in the segments held and in memory */
/* The term at index; index log_first - 1 is known too. False where it is not. */
bool log_term_at(const struct log *log, uint64_t index, uint64_t *term);
/* The first index of the run of equal terms that index lies in, for the conflict hint of an append reply. */
uint64_t log_term_start(const struct log *log, uint64_t index);
/* The first index, from `index` on, of a configuration's record; log_last + 1 where there is none. */
uint64_t log_configuration_from(const struct log *log, uint64_t index);

/* Appends the record last + 1. LOG_NO_SPACE where the disk cannot take it (a segment that is needed for it
 * cannot be allocated): nothing was appended. */
enum log_result log_append(struct log *log, uint64_t term, enum entry_type type, struct bytes payload);
/* The same for one write, encoded straight into the log. */
enum log_result log_append_entry(struct log *log, uint64_t term, enum entry_type type,
                                 const struct entry *entry);

/* Records as they travel: from log_slice on one node to log_append_slice on another. log_slice gives the
 * records from index on, at least one and then as many as end within size_max bytes; borrowed until the next
 * call that changes the log or slices it. *last is the index of the last one. */
enum log_result log_slice(struct log *log, uint64_t index, size_t size_max, struct bytes *out,
                          uint64_t *last);
/* Walks foreign bytes: true with a verified record (borrowing from them), false at the end, where *slice is
 * empty, or at the first damage, where it is not. */
bool log_slice_next(struct bytes *slice, struct log_record *out);
/* Appends a verified record of another node with its own term; its index is last + 1 (asserted). */
enum log_result log_append_record(struct log *log, const struct log_record *record);

/* The record at index; payload borrowed until the next call on the log. */
enum log_result log_read(struct log *log, uint64_t index, struct log_record *out);

/* Takes beforehand what log_truncate, or log_reset, needs of the disk, so that the next call cannot meet a
 * full one; nothing may be appended in between. LOG_NO_SPACE: nothing changed. */
enum log_result log_prepare_truncate(struct log *log);
enum log_result log_prepare_reset(struct log *log);
/* Removes the records from index on; a record of its own in the segment, durable with the next sync. */
enum log_result log_truncate(struct log *log, uint64_t index);

/* Writes what has been appended or truncated since the last write as one batch that also records commit. Does
 * nothing when there is nothing; with force it writes an empty batch, to record commit at a clean shutdown.
 */
enum log_result log_write(struct log *log, uint64_t commit, bool force);

/* A sync of all that is written. At most one is under way. Begin returns NULL when all is durable and there
 * is nothing to prepare; else a job of lane JOB_LOG whose done the caller has set through `done` and `arg`.
 * The job's run also readies the next segment ahead of need. Then call log_sync_end from done: log_durable
 * has advanced, or LOG_IO_ERROR. Blocking shutdown: run and end can be called directly. */
struct job *log_sync_begin(struct log *log, void (*done)(void *arg), void *arg);
bool log_sync_pending(const struct log *log);
enum log_result log_sync_end(struct log *log);

/* The next part of what is durable in the segments, read from the disk and verified. Begin returns
 * NULL where the pass is over, and a new one may begin; else a job of lane JOB_BULK, like a sync's: call
 * log_scrub_end from done, which gives the bytes read. At most one is under way. */
struct job *log_scrub_begin(struct log *log, void (*done)(void *arg), void *arg);
uint64_t log_scrub_end(struct log *log);
/* The next sync, one that has begun apart, also looks at `log_end`, and writes it again from memory where it
 * is not what was written. */
void log_scrub_log_end(struct log *log);
uint64_t log_end_mended(const struct log *log); /* how often */
/* Whether a segment, read so or by log_read or log_slice, is not what was written, or cannot be read: of the
 * last of them the last index and the file's name. The index is UINT64_MAX for the one that is written: it
 * takes nothing more, and the next write, forced if need be, begins another. */
bool log_damaged(const struct log *log, uint64_t *last, char name[FILE_NAME_MAX]);

/* None is, nor any that was let go and whose file may still be there at the next start. */
bool log_mended(const struct log *log);

/* After a snapshot that ends at `at` is durable: forgets records up to and including it, as whole segments
 * allow, but keeps about keep_size bytes of them for followers that lag, and none of a damaged segment, nor
 * what is before one. Segments not synced yet stay. The
 * files go one with each sync from then on, so begin one afterwards also where nothing was written. */
enum log_result log_compact(struct log *log, struct version at, uint64_t keep_size);
/* After a snapshot from a leader is durable: forgets every record; the next index is at.index + 1. Those
 * files too go one with each sync. LOG_NO_SPACE: nothing changed. */
enum log_result log_reset(struct log *log, struct version at);

/* Since the log was opened. */
struct log_counters {
    uint64_t records;               /* written */
    struct histogram batch_records; /* records of each batch, HISTOGRAM_SIZE_LOG2 */
};

const struct log_counters *log_counters(const struct log *log);

const char *log_result_text(enum log_result result);

#endif
