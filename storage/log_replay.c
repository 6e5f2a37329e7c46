/* Opening: FORMAT.md, "reading a log". Each segment is read whole, into what becomes its image, and walked
 * there. */
#include "storage/log_internal.h"

#include <assert.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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
    struct found *found; /* by number */
    size_t count, capacity;
    uint64_t *spares; /* numbers */
    size_t spare_count, spare_capacity;
    size_t next;               /* of found: the first that is not part of the log */
    struct log_place attested; /* highest durable position that a batch recorded */
    bool damaged;
    struct log_place damage;
};

static enum log_result report_failure(struct replay *r, enum file_result result, const char *doing) {
    snprintf(r->report->detail, sizeof r->report->detail, "%s: %s", doing, file_result_text(result));
    return result == FILE_NO_SPACE ? LOG_NO_SPACE : LOG_IO_ERROR;
}

/* Finding the files. */

static bool parse_name(const char *name, const char *prefix, uint64_t *number) {
    size_t size = strlen(prefix);
    if (strncmp(name, prefix, size) != 0 || strlen(name) != size + 16)
        return false;
    *number = 0;
    for (const char *c = name + size; *c != '\0'; c++) {
        bool digit = *c >= '0' && *c <= '9', letter = *c >= 'a' && *c <= 'f';
        if (!digit && !letter)
            return false;
        *number = *number << 4 | (uint64_t)(digit ? *c - '0' : *c - 'a' + 10);
    }
    return *number > 0 && *number < UINT64_MAX;
}

static void find_name(void *arg, const char *name) {
    struct replay *r = arg;
    uint64_t number;
    if (parse_name(name, "log-", &number)) {
        r->found = log_grow(r->found, &r->capacity, r->count + 1, sizeof *r->found);
        r->found[r->count++] = (struct found){.number = number};
    } else if (parse_name(name, "spare-", &number)) {
        r->spares = log_grow(r->spares, &r->spare_capacity, r->spare_count + 1, sizeof *r->spares);
        r->spares[r->spare_count++] = number;
    }
}

static int by_number(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static enum log_result open_found(struct replay *r, struct found *found) {
    char name[FILE_NAME_MAX];
    uint8_t heads[SEGMENT_HEADS_SIZE];
    size_t got = 0;
    segment_name(name, found->number);
    enum file_result result = file_open(r->log->options.fs, name, false, &found->file);
    if (result == FILE_OK)
        result = file_read(found->file, 0, heads, sizeof heads, &got);
    if (result != FILE_OK)
        return report_failure(r, result, name);
    memset(heads + got, 0, sizeof heads - got);
    found->valid = segment_head_read((struct bytes){heads, sizeof heads}, &found->head) &&
                   found->head.number == found->number;
    return LOG_OK;
}

static enum log_result find_segments(struct replay *r) {
    enum file_result listed = file_system_list(r->log->options.fs, find_name, r);
    if (listed != FILE_OK)
        return report_failure(r, listed, "listing the data directory");
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

/* A file that is too short is read as if zeros followed. */
static enum file_result read_image(struct file *file, uint8_t *image, uint32_t capacity) {
    size_t got;
    enum file_result result = file_read(file, 0, image, capacity, &got);
    if (result == FILE_OK)
        memset(image + got, 0, capacity - got);
    return result;
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

static void walk(struct replay *r, struct segment *segment) {
    for (;;) {
        struct raw_record raw;
        const uint8_t *at = segment->image + segment->end;
        enum raw_result result = record_read((struct bytes){at, segment->capacity - segment->end}, &raw);
        if (result == RAW_END)
            return;
        if (result != RAW_OK || !record_belongs(at, segment->seed, segment->end) ||
            !replay_record(r, segment, &raw)) {
            damaged_at(r, segment->number, segment->end);
            return;
        }
        segment->end += raw.size;
    }
}

static enum log_result replay_segment(struct replay *r, struct found *found) {
    struct log *log = r->log;
    struct segment *segment = segment_of(found);
    log_segment_add(log, segment);
    segment->image = log_image_new(log, segment->capacity);
    enum file_result result = read_image(segment->file, segment->image, segment->capacity);
    if (result != FILE_OK) {
        segment_name(r->report->file, segment->number);
        return report_failure(r, result, r->report->file);
    }
    walk(r, segment);
    segment->written = segment->synced = segment->end;
    log->size += segment->end - SEGMENT_HEADS_SIZE;
    log_evict(log);
    return LOG_OK;
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
    enum log_result result = LOG_OK;
    while (result == LOG_OK && !r->damaged && r->next < r->count) {
        if (r->next > start && !continues(r, &r->found[r->next]))
            break;
        result = replay_segment(r, &r->found[r->next++]);
    }
    if (result == LOG_OK && !r->damaged)
        check_end(r);
    for (size_t i = 0; i < start; i++) {
        struct log *log = r->log;
        log->dropping = log_grow(log->dropping, &log->dropping_capacity, log->dropping_count + 1,
                                 sizeof(struct segment *));
        log->dropping[log->dropping_count++] = segment_of(&r->found[i]);
    }
    return result;
}

/* Damage: a torn tail or corruption. */

static bool attests(const uint8_t *image, uint32_t from, uint32_t capacity, uint32_t seed,
                    struct log_place damage) {
    struct raw_record raw;
    uint64_t commit;
    for (uint32_t at = from; (at = record_search(image, at, capacity, seed, &raw)) < capacity; at += 8)
        if (raw.kind == RECORD_BATCH && log_place_after(record_batch_durable(&raw, &commit), damage))
            return true;
    return false;
}

static enum log_result file_attests(struct replay *r, const struct found *found, bool *yes) {
    uint8_t *image = malloc(found->head.capacity);
    if (image == NULL)
        err(1, "out of memory for a segment");
    enum file_result result = read_image(found->file, image, found->head.capacity);
    if (result == FILE_OK)
        *yes = attests(image, SEGMENT_HEADS_SIZE, found->head.capacity,
                       segment_seed(found->head.salt, found->number), r->damage);
    free(image);
    return result == FILE_OK ? LOG_OK : report_failure(r, result, "reading a segment");
}

static enum log_result was_durable(struct replay *r, bool *yes) {
    const struct log *log = r->log;
    *yes = log_place_after(r->attested, r->damage);
    if (!*yes && log->count > 0 && log_current(log)->number == r->damage.segment) {
        const struct segment *last = log_current(log);
        *yes = attests(last->image, last->end, last->capacity, last->seed, r->damage);
    }
    enum log_result result = LOG_OK;
    for (size_t i = r->next; i < r->count && !*yes && result == LOG_OK; i++)
        if (r->found[i].valid)
            result = file_attests(r, &r->found[i], yes);
    return result;
}

/* Removes the segments behind the damage, the highest first; where none stands before it, the lowest only
 * when the others are gone for good, or one of them would seem to be the log's first. */
static enum log_result remove_rest(struct replay *r) {
    for (size_t i = r->count; i-- > r->next;) {
        char name[FILE_NAME_MAX];
        uint64_t size = 0;
        segment_name(name, r->found[i].number);
        file_size(r->found[i].file, &size);
        file_close(r->found[i].file);
        r->found[i].file = NULL;
        enum file_result result = FILE_OK;
        if (i == r->next && r->log->count == 0)
            result = file_system_sync(r->log->options.fs);
        if (result == FILE_OK)
            result = file_system_remove(r->log->options.fs, name);
        if (result != FILE_OK)
            return report_failure(r, result, name);
        r->report->cut_bytes += size;
    }
    return LOG_OK;
}

static uint32_t used_until(const uint8_t *image, uint32_t from, uint32_t to) {
    while (to > from && image[to - 1] == 0)
        to--;
    return to;
}

/* Nothing may stand behind the end of the log when it is appended to. */
static enum log_result clear_rest(struct replay *r) {
    struct segment *last = log_current(r->log);
    uint32_t used = used_until(last->image, last->end, last->capacity);
    enum file_result result = file_allocate(last->file, last->capacity);
    if (result == FILE_OK && used > last->end) {
        memset(last->image + last->end, 0, used - last->end);
        result = file_write(last->file, last->end, (struct bytes){last->image + last->end, used - last->end});
    }
    if (result != FILE_OK)
        return report_failure(r, result, "clearing the end of the log");
    if (r->damaged)
        r->report->cut_bytes += used - last->end;
    return LOG_OK;
}

static enum log_result judge_damage(struct replay *r) {
    struct log_report *report = r->report;
    bool corrupt = false;
    enum log_result result = was_durable(r, &corrupt);
    if (result != LOG_OK)
        return result;
    segment_name(report->file, r->damage.segment);
    report->offset = r->damage.offset;
    if (!corrupt)
        return remove_rest(r);
    snprintf(report->detail, sizeof report->detail,
             "%s is damaged at offset %" PRIu32 ", in what had been durable", report->file, r->damage.offset);
    return LOG_CORRUPT;
}

/* What was read past the attested point may be only in the kernel's memory: the process that wrote it was
 * killed, or ended because a sync failed. After a failed sync the kernel may hold such pages as clean, and a
 * sync alone would pass them over; so they are written again first. */
static enum file_result write_again(const struct replay *r, const struct segment *segment) {
    uint32_t from = segment->number == r->attested.segment ? r->attested.offset : 0;
    uint32_t to = segment->end + SEGMENT_END_SIZE > segment->capacity ? segment->capacity
                                                                      : segment->end + SEGMENT_END_SIZE;
    uint8_t *read = segment->image != NULL ? NULL : malloc(segment->capacity);
    if (segment->image == NULL && read == NULL)
        err(1, "out of memory for a segment");
    enum file_result result = read == NULL ? FILE_OK : read_image(segment->file, read, segment->capacity);
    if (result == FILE_OK && from < to) {
        const uint8_t *image = read == NULL ? segment->image : read;
        result = file_write(segment->file, from, (struct bytes){image + from, to - from});
    }
    free(read);
    return result == FILE_OK ? file_sync(segment->file) : result;
}

static enum log_result make_durable(struct replay *r) {
    struct log *log = r->log;
    enum file_result result = FILE_OK;
    for (size_t i = 0; i < log->count && result == FILE_OK; i++)
        if (log->segments[i]->number >= r->attested.segment)
            result = write_again(r, log->segments[i]);
    if (result == FILE_OK)
        result = file_system_sync(log->options.fs);
    if (result != FILE_OK)
        return report_failure(r, result, "syncing the log");
    log->names_synced = log->names_version;
    log->written = log->durable = log->last;
    if (log->count > 0)
        log->durable_position = (struct log_place){log_current(log)->number, log_current(log)->end};
    return LOG_OK;
}

static enum log_result repair(struct replay *r) {
    enum log_result result = r->damaged ? judge_damage(r) : LOG_OK;
    if (result == LOG_OK && r->log->count > 0)
        result = clear_rest(r);
    if (result == LOG_OK)
        result = make_durable(r);
    if (result == LOG_OK && r->damaged)
        snprintf(r->report->detail, sizeof r->report->detail,
                 "%s: cut %" PRIu64 " bytes of a torn tail at offset %" PRIu64, r->report->file,
                 r->report->cut_bytes, r->report->offset);
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
        return report_failure(r, synced, "syncing the data directory");
    log->names_synced = log->names_version;
    return LOG_OK;
}

/* The snapshot that was loaded and the log have to meet. */
static enum log_result meet(struct replay *r, struct version base) {
    struct log *log = r->log;
    uint64_t term;
    if (log->count > 0 && log_first(log) > base.index + 1) {
        snprintf(r->report->detail, sizeof r->report->detail,
                 "gap: the log begins at index %" PRIu64 ", the snapshot ends at %" PRIu64, log_first(log),
                 base.index);
        return LOG_CORRUPT;
    }
    if (log->count > 0 && log_term_at(log, base.index, &term) && term == base.term)
        return LOG_OK;
    return begin(r, base);
}

static void replay_release(struct replay *r) {
    for (size_t i = 0; i < r->count; i++)
        if (r->found[i].file != NULL)
            file_close(r->found[i].file);
    free(r->found);
    free(r->spares);
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
    struct replay r = {.log = log, .report = report};
    enum log_result result = find_segments(&r);
    if (result == LOG_OK)
        result = replay_all(&r);
    if (result == LOG_OK)
        result = repair(&r);
    if (result == LOG_OK) {
        remove_spares(&r);
        result = meet(&r, base);
    }
    replay_release(&r);
    if (result != LOG_OK) {
        log_close(log);
        return result;
    }
    *out = log;
    return LOG_OK;
}
