/* What the files of the log share: log.c (append and read), log_record.c (the bytes of a record),
 * log_segment.c (a segment's file and image), log_spare.c (files for segments to come), log_terms.c (which
 * term an index has, and which are configurations), log_end.c (how far the log is durable, in a file of its
 * own), log_replay.c and log_repair.c (open), log_sync.c (the job), log_compact.c (letting go), log_scrub.c
 * (what rots).
 *
 * A segment's *image* is its content in memory, laid out as in the file: appends are encoded into it,
 * log_write writes from it, slices point into it. It exists for the segment being written and, as long as the
 * cache's size allows, for those before; older segments are read from their file through a window. */
#ifndef STORAGE_LOG_INTERNAL_H
#define STORAGE_LOG_INTERNAL_H

#include "storage/log.h"

#define RECORD_HEADER_SIZE 16u
#define ENTRY_PREFIX_SIZE  17u   /* bytes of an entry record's body before its payload: term, index, type */
#define BATCH_SIZE         40u   /* bytes of a whole batch record */
#define TRUNCATION_SIZE    32u   /* bytes of a whole truncation record */
#define LOG_PAGE_SIZE      4096u /* damage is thought of in pages */
#define SEGMENT_HEADS_SIZE (2 * LOG_PAGE_SIZE)
#define SEGMENT_END_SIZE   RECORD_HEADER_SIZE /* bytes of zeros behind the last batch */
#define SEGMENT_SIZE_MIN   (16u * 1024)
#define SEGMENT_SIZE_MAX   (256u * 1024 * 1024)

enum record_kind { RECORD_ENTRY = 1, RECORD_BATCH, RECORD_TRUNCATION };

/* In the whole log: a segment's number and an offset there. */
struct log_place {
    uint64_t segment;
    uint32_t offset;
};

static inline bool log_place_after(struct log_place a, struct log_place b) {
    return a.segment != b.segment ? a.segment > b.segment : a.offset > b.offset;
}

static inline bool log_place_equal(struct log_place a, struct log_place b) {
    return a.segment == b.segment && a.offset == b.offset;
}

/* A record's bytes taken apart. */
struct raw_record {
    enum record_kind kind;
    struct bytes body;
    uint32_t size; /* bytes of the whole, padding included */
};

enum raw_result {
    RAW_OK,
    RAW_END,  /* a header of zeros, or no room for a header */
    RAW_MORE, /* the record goes on past the end of the bytes */
    RAW_BAD,
};

static inline uint32_t record_size(size_t body_size) {
    return (RECORD_HEADER_SIZE + (uint32_t)body_size + 7) & ~7u;
}

/* Completes the record whose body stands behind at: header and padding. */
void record_seal(uint8_t *at, enum record_kind kind, uint32_t body_size, uint32_t seed, uint32_t offset);
/* Verifies everything but head_crc. */
enum raw_result record_read(struct bytes from, struct raw_record *out);
/* Whether head_crc fits the place. The header must be there. */
bool record_belongs(const uint8_t *at, uint32_t seed, uint32_t offset);
/* The first record from offset on (in steps of 8) that is valid at its place; capacity where there is none.
 */
uint32_t record_search(const uint8_t *image, uint32_t offset, uint32_t capacity, uint32_t seed,
                       struct raw_record *out);
/* Of a raw entry record. False for an unknown type. */
bool record_entry(const struct raw_record *raw, struct log_record *out);
void record_put_batch(uint8_t *at, struct log_place durable, uint64_t commit, uint32_t seed, uint32_t offset);
struct log_place record_batch_durable(const struct raw_record *raw, uint64_t *commit);
uint64_t record_truncation(const struct raw_record *raw, uint64_t *term_before);
void record_put_truncation(uint8_t *at, uint64_t index, uint64_t term_before, uint32_t seed, uint32_t offset);

/* A run of equal terms begins at index first. */
struct term_run {
    uint64_t first, term;
};

/* The terms of all records held, and of the one before the first (base); and which of them are
 * configurations. */
struct log_terms {
    struct version base;
    struct term_run *runs;
    size_t count, capacity;
    uint64_t *configurations; /* indexes */
    size_t configuration_count, configuration_capacity;
};

void log_terms_reset(struct log_terms *terms, struct version base);
void log_terms_release(struct log_terms *terms);
void log_terms_append(struct log_terms *terms, uint64_t index, uint64_t term, enum entry_type type);
void log_terms_truncate(struct log_terms *terms, uint64_t index, uint64_t term_before);
void log_terms_forget(struct log_terms *terms, uint64_t index); /* up to and including index, the new base */
/* The run that index, which is past the base, lies in. */
const struct term_run *log_terms_find(const struct log_terms *terms, uint64_t index);

struct segment {
    uint64_t number;
    struct file *file;
    uint32_t capacity, seed;
    uint32_t end;     /* bytes in use */
    uint32_t written; /* of them, in the file; 0 while the heads are not */
    uint32_t synced;
    uint32_t syncing;  /* of them, synced when the sync under way has ended */
    uint32_t batch;    /* offset of the open batch's record; 0: none is open */
    uint64_t first;    /* index of its first record; the next index when it holds none */
    uint32_t *offsets; /* of each record, by index - first */
    uint32_t count, offsets_capacity;
    uint8_t *image; /* NULL: only in the file */
    bool damaged;   /* its file is not what was written: it goes as soon as a snapshot stands for it */
};

struct segment_head {
    uint64_t number, salt;
    struct version previous;
    bool anew;
    uint32_t capacity;
};

void segment_name(char *out, uint64_t number);
/* One copy of a head, in LOG_PAGE_SIZE bytes. */
void segment_head_put(uint8_t *page, const struct segment_head *head);
bool segment_head_read(const uint8_t *page, struct segment_head *out);
bool segment_head_is_old(const uint8_t *page);
uint32_t segment_seed(uint64_t salt, uint64_t number);
void segment_push(struct segment *segment, uint64_t index, uint32_t offset);
void segment_free(struct segment *segment); /* closes the file */
static inline uint64_t segment_next(const struct segment *segment) {
    return segment->first + segment->count;
}

/* Part of a segment, read back. */
struct window {
    uint64_t segment; /* number; 0: empty */
    uint32_t offset, size;
    uint8_t *data;
    size_t capacity;
};

#define LOG_END_FILE "log_end"

/* The file that says how far the log is durable. */
struct log_end {
    struct file *file;
    struct log_place durable; /* by its durable copy; when opened, by the higher one */
    struct log_place noted;   /* by the other one, once one was written */
    unsigned copies;          /* that were valid when it was opened */
    unsigned next;            /* the copy to be written next */
};

/* FILE_NOT_FOUND: there is none. A file without a valid copy is FILE_OK, with copies 0. */
enum file_result log_end_open(struct log_end *end, struct file_system *fs);
enum file_result log_end_create(struct log_end *end, struct file_system *fs, struct log_place at);
/* May run in a helper thread, all three. `at` is durable already. One copy written: */
enum file_result log_end_note(struct log_end *end, struct log_place at);
/* Both copies are what was written last. */
bool log_end_holds(const struct log_end *end);
/* Both copies durable. */
enum file_result log_end_renew(struct log_end *end, struct log_place at);

/* A file that can become the next segment. */
struct spare {
    uint64_t number;
    struct file *file;
};

#define SPARES_MAX                                                                                           \
    6 /* kept ready, about as many as a snapshot lets go of; more than that gives its space back */

struct sync {
    struct job job;
    bool pending;
    void (*done)(void *arg);
    void *arg;
    struct file_system *fs;
    struct segment **segments;
    size_t count, capacity;
    bool names;
    struct file *spare; /* to be allocated up to spare_size; NULL: none */
    uint32_t spare_size;
    enum file_result result, spare_result;
    struct log_end *end;     /* to be brought to target; NULL: not now */
    bool save_end;           /* durably */
    bool check_end;          /* it is to be what was written last, */
    struct log_place before; /* or else is written again, with this position */
    bool end_was_damaged;
    struct log_place target; /* durable when it has succeeded */
    uint64_t target_index;
    uint64_t names_version;
};

/* The part of a segment that is read again, and where the next one begins. */
struct scrub {
    struct job job;
    bool pending;
    void (*done)(void *arg);
    void *arg;
    uint64_t number; /* of the segment */
    struct file *file;
    uint32_t capacity, seed, end; /* the segment's; of one that is written, end of what is durable */
    bool open;                    /* it is written */
    uint32_t offset;              /* verified up to here; 0: its heads are not */
    uint32_t read;                /* bytes, by the last job */
    bool whole, finished;         /* what it found; the segment's end was reached */
    uint8_t *data;
    size_t data_capacity;
};

struct log {
    struct log_options options;
    bool failed;
    bool truncated;                  /* since the last write */
    uint64_t last, written, durable; /* indexes */
    struct log_place durable_position;
    struct log_end end;
    bool closing;     /* the next sync makes it durable, */
    bool end_doubted; /* and looks at it */
    uint64_t end_mended;
    struct log_terms terms;
    struct segment **segments; /* by number; the last one is being written */
    size_t count, capacity;
    uint64_t size; /* bytes of records in all of them */
    struct log_counters counters;
    uint8_t *spare_image; /* of options.segment_size */
    struct window read_window, slice_window;

    uint64_t highest; /* number of any segment file seen or made */

    /* Files for segments to come. A growing one is allocated a piece with every sync, so that no sync takes
     * long; a recycled one must not be written before its new name is durable, or the old name would show new
     * bytes. */
    struct spare spares[SPARES_MAX];
    size_t spare_count;
    struct spare growing, recycled; /* file NULL: none */
    uint32_t growing_size;
    uint64_t spare_number; /* of the next spare */
    struct log_place
        spare_failed; /* where the log ended when the disk was full for one; segment 0: it was not */

    struct segment **dropping; /* let go, oldest first, their files still there */
    size_t dropping_count, dropping_capacity;
    /* Where the log ended when the last of them was let go. Their files stay until that is durable: the log
     * that is left may begin with records which only a truncation further on moves to where the snapshot
     * ends. */
    struct log_place drop_barrier;
    uint64_t names_version, names_synced; /* changes of names made, and known durable */
    struct sync sync;
    struct scrub scrub;
};

static inline struct segment *log_current(const struct log *log) {
    return log->segments[log->count - 1];
}

/* The last segment whose first index is at most index. */
struct segment *log_segment_of(const struct log *log, uint64_t index);
/* Makes the next segment out of a spare or a new file; nothing has changed on failure. anew: see FORMAT.md.
 */
enum log_result log_roll(struct log *log, struct version previous, bool anew);
/* Room for size bytes of records in the current segment, within an open batch; rolls over where needed. */
enum log_result log_reserve(struct log *log, uint32_t size, uint8_t **at);
enum log_result log_fail(struct log *log, enum file_result result);
void log_segment_add(struct log *log, struct segment *segment);
void log_evict(struct log *log);
uint8_t *log_image_new(struct log *log, uint32_t capacity);
void log_image_free(struct log *log, struct segment *segment);
/* Moves the first count segments to those that are being let go. */
void log_let_go(struct log *log, size_t count);
/* Lets go of the file of the oldest of them, where that is safe now. */
void log_drop_one(struct log *log);
bool log_can_drop(const struct log *log);
/* The one being written is damaged: it takes nothing more. */
bool log_leaves_segment(const struct log *log);
/* The segments up to the last damaged one. */
size_t log_damaged_count(const struct log *log);
enum file_result log_spare_open(struct log *log, struct spare *out); /* a new one, empty */
void log_spare_remove(struct log *log, struct spare spare);
/* Makes one here and now where there is none. */
enum file_result log_spare_ready(struct log *log);
/* Gives a spare, made here and now if need be, the name of segment `number`. */
enum file_result log_spare_take(struct log *log, uint64_t number, struct file **out);
void log_spare_name(char *out, uint64_t number);
/* A first segment behind `at`; all others are let go. */
enum log_result log_begin_anew(struct log *log, struct version at);
/* Shortens what memory knows to the records before index. */
void log_cut_index(struct log *log, uint64_t index, uint64_t term_before);
void *log_grow(void *array, size_t *capacity, size_t count, size_t size);

#endif
