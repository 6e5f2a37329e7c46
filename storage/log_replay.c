/* Opening: FORMAT.md, "reading a log". Each segment is read into what becomes its image, a piece at a time,
 * and walked there while the piece is in the processor's cache. Only the last segment keeps its image.
 *
 * Who opens the log is told of the committed records on the way, so that nobody has to read them again. A
 * batch tells a commit, and every record at or before it that is held by then is final, unless a group has
 * lost committed records: a truncation behind it may then take one back. Such a truncation takes the commit
 * back too, and what was told is void. */
#include "storage/log_replay.h"

#include "storage/directory.h"
#include "storage/wire.h"

#include <assert.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PIECE_SIZE (256u * 1024) /* read at a time */

enum log_result replay_lost(struct replay *r, const char *file, const char *what) {
    snprintf(r->report->file, sizeof r->report->file, "%s", file);
    snprintf(r->report->detail, sizeof r->report->detail, "%s %s", file, what);
    return LOG_CORRUPT;
}

enum log_result replay_failure(struct replay *r, enum file_result result, const char *doing) {
    snprintf(r->report->detail, sizeof r->report->detail, "%s: %s", doing, file_result_text(result));
    return result == FILE_NO_SPACE ? LOG_NO_SPACE : LOG_IO_ERROR;
}

/* Finding the files. */

static void find_name(void *arg, const char *name) {
    struct replay *r = arg;
    uint64_t number;
    if (directory_number(name, DIRECTORY_SEGMENT, &number)) {
        r->found = log_grow(r->found, &r->capacity, r->count + 1, sizeof *r->found);
        r->found[r->count++] = (struct found){.number = number};
    } else if (directory_number(name, DIRECTORY_SPARE, &number)) {
        r->spares = log_grow(r->spares, &r->spare_capacity, r->spare_count + 1, sizeof *r->spares);
        r->spares[r->spare_count++] = number;
    }
}

static int by_number(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static void note_unreadable(struct replay *r, uint64_t segment, uint32_t offset) {
    r->unreadable =
        log_grow(r->unreadable, &r->unreadable_capacity, r->unreadable_count + 1, sizeof *r->unreadable);
    r->unreadable[r->unreadable_count++] =
        (struct log_place){segment, offset / LOG_PAGE_SIZE * LOG_PAGE_SIZE};
}

static void read_heads(struct replay *r, struct found *found) {
    uint8_t page[LOG_PAGE_SIZE];
    for (unsigned copy = 0; copy < 2; copy++) {
        struct segment_head head;
        size_t got;
        bool readable = file_read(found->file, copy * LOG_PAGE_SIZE, page, sizeof page, &got) == FILE_OK;
        bool valid =
            readable && got == sizeof page && segment_head_read(page, &head) && head.number == found->number;
        if (!readable)
            note_unreadable(r, found->number, copy * LOG_PAGE_SIZE);
        found->old = found->old || (readable && segment_head_is_old(page));
        found->copies[copy] = valid;
        if (valid)
            found->head = head;
        found->valid = found->valid || valid;
    }
}

static enum log_result open_found(struct replay *r, struct found *found) {
    char name[FILE_NAME_MAX];
    segment_name(name, found->number);
    enum file_result result = file_open(r->log->options.fs, name, false, &found->file);
    if (result == FILE_OK)
        result = file_size(found->file, &found->size);
    if (result != FILE_OK)
        return replay_failure(r, result, name);
    read_heads(r, found);
    if (found->valid || !found->old)
        return LOG_OK;
    snprintf(r->report->detail, sizeof r->report->detail,
             "%s: written by an older version of kvnode, whose format this one does not read", name);
    return LOG_OLD;
}

static enum log_result find_segments(struct replay *r) {
    enum file_result listed = file_system_list(r->log->options.fs, find_name, r);
    if (listed != FILE_OK)
        return replay_failure(r, listed, "listing the data directory");
    if (r->count == 0)
        return LOG_OK;
    qsort(r->found, r->count, sizeof *r->found, by_number);
    r->log->highest = r->found[r->count - 1].number;
    enum log_result result = LOG_OK;
    for (size_t i = 0; i < r->count && result == LOG_OK; i++)
        result = open_found(r, &r->found[i]);
    return result;
}

/* A spare may be a segment whose new name a crash took back, with records that would be valid if the same
 * number came to the same file again: none outlives the process that made it. */
static void remove_spares(struct replay *r) {
    struct log *log = r->log;
    for (size_t i = 0; i < r->spare_count; i++) {
        char name[FILE_NAME_MAX];
        if (r->spares[i] >= log->spare_number)
            log->spare_number = r->spares[i] + 1;
        log_spare_name(name, r->spares[i]);
        file_system_remove(log->options.fs, name);
        log->names_version++;
    }
}

/* Walking a segment. */

static struct segment *segment_of(struct found *found) {
    struct segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        err(1, "out of memory for a segment");
    segment->number = found->number;
    segment->file = found->file;
    segment->capacity = found->head.capacity;
    segment->seed = segment_seed(found->head.salt, found->number);
    segment->first = found->head.previous.index + 1;
    segment->end = SEGMENT_HEADS_SIZE;
    found->file = NULL;
    return segment;
}

static bool replay_entry(struct replay *r, struct segment *segment, const struct raw_record *raw) {
    struct log *log = r->log;
    struct log_record record;
    if (!record_entry(raw, &record) || record.index != log->last + 1 || record.term < log_last_term(log))
        return false;
    segment_push(segment, record.index, segment->end);
    log_terms_append(&log->terms, record.index, record.term, record.type);
    log->last = record.index;
    r->report->records++;
    return true;
}

static bool replay_truncation(struct replay *r, const struct raw_record *raw) {
    uint64_t term_before, index = record_truncation(raw, &term_before);
    if (index == 0 || index > r->log->last)
        return false;
    if (r->told > r->base.index && index <= r->told)
        r->report->took_back = true;
    if (r->report->commit >= index)
        r->report->commit = index - 1;
    log_cut_index(r->log, index, term_before);
    return true;
}

static void replay_batch(struct replay *r, const struct raw_record *raw) {
    uint64_t commit;
    struct log_place durable = record_batch_durable(raw, &commit);
    if (log_place_after(durable, r->attested))
        r->attested = durable;
    if (commit > r->report->commit)
        r->report->commit = commit;
}

static bool replay_record(struct replay *r, struct segment *segment, const struct raw_record *raw) {
    switch (raw->kind) {
    case RECORD_ENTRY:
        return replay_entry(r, segment, raw);
    case RECORD_TRUNCATION:
        return replay_truncation(r, raw);
    case RECORD_BATCH:
        replay_batch(r, raw);
        return true;
    }
    return false;
}

static void damaged_at(struct replay *r, uint64_t segment, uint32_t offset) {
    r->damaged = true;
    r->damage = (struct log_place){segment, offset};
}

/* Telling of what is committed. */

/* The record was verified when it was replayed. */
static void record_again(const uint8_t *at, struct log_record *out) {
    struct raw_record raw = {.kind = RECORD_ENTRY, .body = {at + RECORD_HEADER_SIZE, get_u32(at + 8)}};
    bool known = record_entry(&raw, out);
    assert(known);
}

static bool meets(const struct log *log, struct version base) {
    uint64_t term;
    return log->count > 0 && log_first(log) <= base.index + 1 && log_term_at(log, base.index, &term) &&
           term == base.term;
}

static enum log_result tell_older(struct replay *r) {
    struct log_record record;
    enum log_result result = log_read(r->log, r->told + 1, &record);
    if (result != LOG_OK) {
        snprintf(r->report->detail, sizeof r->report->detail, "reading the log back: %s",
                 log_result_text(result));
        return result;
    }
    r->told++;
    r->log->options.committed(r->log->options.committed_arg, &record, 1);
    return LOG_OK;
}

static void tell_current(struct replay *r, uint64_t until) {
    const struct log *log = r->log;
    const struct segment *segment = log_current(log);
    struct log_record records[LOG_TOLD_MAX];
    while (r->told < until) {
        size_t count = 0;
        for (; count < LOG_TOLD_MAX && r->told < until; count++)
            record_again(segment->image + segment->offsets[++r->told - segment->first], &records[count]);
        log->options.committed(log->options.committed_arg, records, count);
    }
}

/* Of all that is known to be committed by now. */
static enum log_result tell(struct replay *r) {
    const struct log *log = r->log;
    uint64_t until = r->report->commit < log->last ? r->report->commit : log->last;
    if (log->options.committed == NULL || r->report->took_back || until <= r->told || !meets(log, r->base))
        return LOG_OK;
    enum log_result result = LOG_OK;
    while (result == LOG_OK && r->told < until && r->told + 1 < log_current(log)->first)
        result = tell_older(r);
    if (result == LOG_OK)
        tell_current(r, until);
    return result;
}

/* A file that is too short is read as if zeros followed, a page that cannot be read as one of zeros. */
void replay_read(struct replay *r, const struct segment *segment, uint32_t offset, uint32_t size,
                 uint8_t *to) {
    size_t got = 0;
    if (file_read(segment->file, offset, to, size, &got) == FILE_OK) {
        memset(to + got, 0, size - got);
        return;
    }
    for (uint32_t done = 0; done < size;) {
        uint32_t step = size - done < LOG_PAGE_SIZE ? size - done : LOG_PAGE_SIZE;
        bool readable = file_read(segment->file, offset + done, to + done, step, &got) == FILE_OK;
        got = readable ? got : 0;
        memset(to + done + got, 0, step - got);
        if (!readable)
            note_unreadable(r, segment->number, offset + done);
        done += step;
    }
}

/* The next piece of the current segment. */
static void read_piece(struct replay *r, struct segment *segment) {
    uint32_t left = segment->capacity - r->have, size = left < PIECE_SIZE ? left : PIECE_SIZE;
    replay_read(r, segment, r->have, size, segment->image + r->have);
    r->have += size;
}

static void read_on(struct replay *r, struct segment *segment) {
    while (r->have < segment->capacity)
        read_piece(r, segment);
}

/* The record at the segment's end, as far as there is one. */
static enum raw_result read_next(struct replay *r, struct segment *segment, struct raw_record *raw) {
    for (;;) {
        struct bytes from = {segment->image + segment->end, r->have - segment->end};
        enum raw_result found = record_read(from, raw);
        bool whole = found != RAW_MORE && from.size >= RECORD_HEADER_SIZE;
        if (whole || r->have == segment->capacity)
            return found;
        read_piece(r, segment);
    }
}

/* A record that ends in zeros may seem whole where the file has lost its end: it could not be read back. */
static enum log_result walk(struct replay *r, struct segment *segment) {
    for (;;) {
        struct raw_record raw;
        enum raw_result found = read_next(r, segment, &raw);
        if (found == RAW_END)
            return LOG_OK;
        if (found != RAW_OK || segment->end + raw.size > r->held ||
            !record_belongs(segment->image + segment->end, segment->seed, segment->end) ||
            !replay_record(r, segment, &raw)) {
            damaged_at(r, segment->number, segment->end);
            return LOG_OK;
        }
        segment->end += raw.size;
        enum log_result result = raw.kind == RECORD_BATCH ? tell(r) : LOG_OK;
        if (result != LOG_OK)
            return result;
    }
}

static enum log_result replay_segment(struct replay *r, struct found *found) {
    struct log *log = r->log;
    struct segment *segment = segment_of(found);
    if (log->count > 0)
        log_image_free(log, log_current(log));
    log_segment_add(log, segment);
    segment->image = log_image_new(log, segment->capacity);
    r->have = 0;
    r->held = found->size;
    read_piece(r, segment);
    enum log_result result = walk(r, segment);
    segment->written = segment->synced = segment->end;
    log->size += segment->end - SEGMENT_HEADS_SIZE;
    return result == LOG_OK ? tell(r) : result;
}

/* Whether the next file continues the log where the last segment read has ended. */
static bool continues(struct replay *r, const struct found *next) {
    const struct log *log = r->log;
    const struct segment *last = log_current(log);
    if (next->number != last->number + 1 || !next->valid) {
        damaged_at(r, last->number + 1, 0);
        return false;
    }
    if (next->head.anew || next->head.previous.index != log->last ||
        next->head.previous.term != log_last_term(log)) {
        damaged_at(r, last->number, last->end);
        return false;
    }
    return true;
}

/* A header of zeros may be where a write was lost: then valid records stand behind it. */
static void check_end(struct replay *r) {
    const struct segment *last = log_current(r->log);
    struct raw_record raw;
    if (record_search(last->image, last->end, last->capacity, last->seed, &raw) < last->capacity)
        damaged_at(r, last->number, last->end);
}

/* As far as the segments can be read one after the other. */
static enum log_result replay_on(struct replay *r, size_t start) {
    enum log_result result = LOG_OK;
    while (result == LOG_OK && !r->damaged && r->next < r->count) {
        if (r->next > start && !continues(r, &r->found[r->next]))
            break;
        result = replay_segment(r, &r->found[r->next++]);
    }
    if (result == LOG_OK)
        read_on(r, log_current(r->log));
    if (result == LOG_OK && !r->damaged)
        check_end(r);
    return result;
}

/* The segments that a log begun anew has made void. */
static void let_go_before(struct replay *r, size_t start) {
    struct log *log = r->log;
    for (size_t i = 0; i < start; i++) {
        log->dropping = log_grow(log->dropping, &log->dropping_capacity, log->dropping_count + 1,
                                 sizeof(struct segment *));
        log->dropping[log->dropping_count++] = segment_of(&r->found[i]);
    }
}

static enum log_result replay_all(struct replay *r) {
    size_t start = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->found[i].valid && r->found[i].head.anew)
            start = i;
    r->next = start;
    if (r->count == 0)
        return LOG_OK;
    if (!r->found[start].valid) {
        damaged_at(r, r->found[start].number, 0);
        return LOG_OK;
    }
    log_terms_reset(&r->log->terms, r->found[start].head.previous);
    r->log->last = r->found[start].head.previous.index;
    enum log_result result = replay_on(r, start);
    let_go_before(r, start);
    return result;
}

/* The first segment's name is durable before anything else: without it, later ones would seem to follow a
 * gap. */
static enum log_result begin(struct replay *r, struct version base) {
    struct log *log = r->log;
    enum log_result result = log_begin_anew(log, base);
    if (result != LOG_OK) {
        snprintf(r->report->detail, sizeof r->report->detail, "beginning the log: %s",
                 log_result_text(result));
        return result;
    }
    enum file_result synced = file_system_sync(log->options.fs);
    if (synced != FILE_OK)
        return replay_failure(r, synced, "syncing the data directory");
    log->names_synced = log->names_version;
    return LOG_OK;
}

/* The snapshot that was loaded and the log have to meet. */
static enum log_result check_gap(struct replay *r) {
    const struct log *log = r->log;
    if (log_first(log) <= r->base.index + 1)
        return LOG_OK;
    struct log_report *report = r->report;
    report->gap = true;
    segment_name(report->file, log->segments[0]->number);
    snprintf(report->detail, sizeof report->detail,
             "gap: the log begins at index %" PRIu64 " in %s, the snapshot ends at %" PRIu64, log_first(log),
             report->file, r->base.index);
    return LOG_CORRUPT;
}

/* All that is written when a log is opened. */
static enum log_result make_usable(struct replay *r) {
    enum log_result result = log_repair(r);
    if (result != LOG_OK)
        return result;
    remove_spares(r);
    return meets(r->log, r->base) ? LOG_OK : begin(r, r->base);
}

/* Before the first segment. Where there is a snapshot, there was a log. */
static enum log_result open_end(struct replay *r) {
    struct log *log = r->log;
    enum file_result result = log_end_open(&log->end, log->options.fs);
    bool new = r->count == 0 && r->base.index == 0 && !log->options.exists;
    if (result == FILE_NOT_FOUND && new && !log->options.read_only)
        result = log_end_create(&log->end, log->options.fs, (struct log_place){0, 0});
    else if (result == FILE_NOT_FOUND && !new)
        return replay_lost(r, LOG_END_FILE, "is missing");
    else if (result == FILE_OK && log->end.copies == 0)
        return replay_lost(r, LOG_END_FILE, "is damaged");
    return result == FILE_OK || (new &&result == FILE_NOT_FOUND) ? LOG_OK
                                                                 : replay_failure(r, result, LOG_END_FILE);
}

static void replay_release(struct replay *r) {
    for (size_t i = 0; i < r->count; i++)
        if (r->found[i].file != NULL)
            file_close(r->found[i].file);
    free(r->found);
    free(r->spares);
    free(r->unreadable);
}

enum log_result log_open(const struct log_options *options, struct version base, struct log **out,
                         struct log_report *report) {
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL)
        err(1, "out of memory for the log");
    log->options = *options;
    if (log->options.segment_size == 0)
        log->options.segment_size = LOG_SEGMENT_SIZE;
    if (log->options.cache_size == 0)
        log->options.cache_size = LOG_CACHE_SIZE;
    assert(log->options.segment_size >= SEGMENT_SIZE_MIN);
    assert(log->options.segment_size <= SEGMENT_SIZE_MAX);
    assert(log->options.segment_size % 8 == 0);
    log->spare_number = 1;
    *report = (struct log_report){0};
    struct replay r = {.log = log, .report = report, .base = base, .told = base.index};
    enum log_result result = find_segments(&r);
    if (result == LOG_OK)
        result = open_end(&r);
    if (result == LOG_OK)
        result = replay_all(&r);
    if (result == LOG_OK)
        result = log_judge(&r);
    if (result == LOG_OK && log->count > 0)
        result = check_gap(&r);
    if (result == LOG_OK && !options->read_only)
        result = make_usable(&r);
    replay_release(&r);
    if (result != LOG_OK) {
        log_close(log);
        return result;
    }
    *out = log;
    return LOG_OK;
}
