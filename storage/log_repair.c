/* Opening, its second half: FORMAT.md, "reading a log", from the damage on. What is damaged is a torn tail
 * and cut, or corruption and refused; and what was read past the attested point is made durable. */
#include "storage/log_replay.h"

#include "storage/wire.h"

#include <assert.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What is searched behind the damage. */
struct search {
    struct log_place damage;
    bool attested;       /* a durable position beyond it */
    uint64_t seen_index; /* highest of any entry */
};

static void search_image(struct search *s, const uint8_t *image, uint32_t from, uint32_t capacity,
                         uint32_t seed) {
    struct raw_record raw;
    struct log_record entry;
    for (uint32_t at = from; (at = record_search(image, at, capacity, seed, &raw)) < capacity; at += 8) {
        uint64_t commit;
        if (raw.kind == RECORD_BATCH)
            s->attested |= log_place_after(record_batch_durable(&raw, &commit), s->damage);
        else if (raw.kind == RECORD_ENTRY && record_entry(&raw, &entry) && entry.index > s->seen_index)
            s->seen_index = entry.index;
    }
}

static void search_file(struct replay *r, struct search *s, const struct found *found) {
    struct segment whole = {.number = found->number, .file = found->file};
    uint8_t *image = malloc(found->head.capacity);
    if (image == NULL)
        err(1, "out of memory for a segment");
    replay_read(r, &whole, 0, found->head.capacity, image);
    search_image(s, image, SEGMENT_HEADS_SIZE, found->head.capacity,
                 segment_seed(found->head.salt, found->number));
    free(image);
}

static void search_behind(struct replay *r, struct search *s) {
    const struct log *log = r->log;
    if (log->count > 0 && log_current(log)->number == s->damage.segment) {
        const struct segment *last = log_current(log);
        search_image(s, last->image, last->end, last->capacity, last->seed);
    }
    for (size_t i = r->next; i < r->count; i++)
        if (r->found[i].valid)
            search_file(r, s, &r->found[i]);
}

static const struct found *found_of(const struct replay *r, uint64_t number) {
    for (size_t i = 0; i < r->count; i++)
        if (r->found[i].number == number)
            return &r->found[i];
    return NULL;
}

static bool is_short(const struct found *found) {
    return found->valid && found->size < found->head.capacity;
}

/* A file of that much of the log as is known durable was in place, and allocated as a whole. */
static bool has_lost_files(const struct replay *r) {
    const struct log *log = r->log;
    struct log_place end = {0, 0};
    if (log->count > 0)
        end = (struct log_place){log_current(log)->number, log_current(log)->end};
    const struct found *last = found_of(r, end.segment);
    return log_place_after(log->end.durable, end) ||
           (last != NULL && is_short(last) && last->number <= log->end.durable.segment);
}

/* Reading has stopped at what cannot be read, which no power cut leaves. */
static bool is_unreadable(const struct replay *r) {
    const struct log *log = r->log;
    struct log_place at = r->damage;
    uint32_t size = RECORD_HEADER_SIZE;
    if (log->count > 0 && log_current(log)->number == at.segment) {
        const struct segment *last = log_current(log);
        struct raw_record raw;
        bool header = last->capacity - at.offset >= size &&
                      record_belongs(last->image + at.offset, last->seed, at.offset);
        if (header &&
            record_read((struct bytes){last->image + at.offset, last->capacity - at.offset}, &raw) == RAW_BAD)
            size = record_size(get_u32(last->image + at.offset + 8));
    } else {
        size = SEGMENT_HEADS_SIZE;
    }
    for (size_t i = 0; i < r->unreadable_count; i++)
        if (r->unreadable[i].segment == at.segment && r->unreadable[i].offset < at.offset + size &&
            r->unreadable[i].offset + LOG_PAGE_SIZE > at.offset)
            return true;
    return false;
}

static void describe(struct replay *r) {
    struct log_report *report = r->report;
    const struct found *found = found_of(r, r->damage.segment);
    segment_name(report->file, r->damage.segment);
    report->offset = r->damage.offset;
    if (found == NULL)
        snprintf(report->detail, sizeof report->detail, "%s is missing, and had been durable", report->file);
    else if (!found->valid)
        snprintf(report->detail, sizeof report->detail, "both heads of %s are damaged", report->file);
    else if (is_short(found))
        snprintf(report->detail, sizeof report->detail,
                 "%s has lost its end: it is %" PRIu64 " bytes long, not %" PRIu32, report->file, found->size,
                 found->head.capacity);
    else
        snprintf(report->detail, sizeof report->detail,
                 "%s is damaged at offset %" PRIu64 ", in what had been durable", report->file,
                 report->offset);
}

static struct log_place stop_of(const struct replay *r) {
    const struct log *log = r->log;
    if (r->damaged)
        return r->damage;
    return log->count == 0 ? (struct log_place){0, 0}
                           : (struct log_place){log_current(log)->number, log_current(log)->end};
}

enum log_result log_judge(struct replay *r) {
    const struct log *log = r->log;
    bool lost = has_lost_files(r);
    r->damage = stop_of(r);
    if (lost && !r->damaged && log->end.durable.segment > r->damage.segment)
        r->damage = (struct log_place){r->damage.segment + 1, 0};
    bool unreadable = is_unreadable(r);
    if (!lost && !r->damaged && !unreadable)
        return LOG_OK;
    struct search s = {.damage = r->damage, .attested = log_place_after(r->attested, r->damage)};
    search_behind(r, &s);
    describe(r);
    r->report->last = log->last;
    r->report->seen = s.seen_index > log->last ? s.seen_index : 0;
    return lost || unreadable || s.attested ? LOG_CORRUPT : LOG_OK;
}

/* Removes the segments behind the damage, the highest first; where none stands before it, the lowest only
 * when the others are gone for good, or one of them would seem to be the log's first. */
static enum log_result remove_rest(struct replay *r) {
    for (size_t i = r->count; i-- > r->next;) {
        char name[FILE_NAME_MAX];
        uint64_t size;
        segment_name(name, r->found[i].number);
        assert(r->found[i].number > r->log->end.durable.segment);
        size = r->found[i].size;
        file_close(r->found[i].file);
        r->found[i].file = NULL;
        enum file_result result = FILE_OK;
        if (i == r->next && r->log->count == 0)
            result = file_system_sync(r->log->options.fs);
        if (result == FILE_OK)
            result = file_system_remove(r->log->options.fs, name);
        if (result != FILE_OK)
            return replay_failure(r, result, name);
        r->report->cut_bytes += size;
    }
    return LOG_OK;
}

static uint32_t used_until(const uint8_t *image, uint32_t from, uint32_t to) {
    while (to > from && image[to - 1] == 0)
        to--;
    return to;
}

/* Nothing of what stood behind the damage may be read behind records that are appended in its place. */
static enum log_result clear_rest(struct replay *r) {
    struct segment *last = log_current(r->log);
    uint32_t used = r->damaged ? used_until(last->image, last->end, last->capacity) : last->end;
    enum file_result result = FILE_OK;
    if (used > last->end) {
        memset(last->image + last->end, 0, used - last->end);
        result = file_write(last->file, last->end, (struct bytes){last->image + last->end, used - last->end});
    }
    if (result != FILE_OK)
        return replay_failure(r, result, "clearing the end of the log");
    r->report->cut_bytes += used - last->end;
    return LOG_OK;
}

/* In the image too: the segment may be written again from there. */
static enum file_result write_head(const struct segment *segment, const struct found *found) {
    uint8_t page[LOG_PAGE_SIZE];
    segment_head_put(page, &found->head);
    enum file_result result = FILE_OK;
    for (unsigned copy = 0; copy < 2 && result == FILE_OK; copy++) {
        if (found->copies[copy])
            continue;
        if (segment->image != NULL)
            memcpy(segment->image + copy * LOG_PAGE_SIZE, page, sizeof page);
        result = file_write(segment->file, copy * LOG_PAGE_SIZE, (struct bytes){page, sizeof page});
    }
    return result == FILE_OK ? file_sync(segment->file) : result;
}

/* Copies that are damaged, while the others are not yet. */
static enum log_result write_heads(struct replay *r) {
    struct log *log = r->log;
    for (size_t i = 0; i < log->count; i++) {
        const struct found *found = found_of(r, log->segments[i]->number);
        if (found->copies[0] && found->copies[1])
            continue;
        enum file_result result = write_head(log->segments[i], found);
        if (result != FILE_OK)
            return replay_failure(r, result, "restoring a segment's head");
        r->report->restored++;
    }
    return LOG_OK;
}

/* The bytes from..to of a segment and its last ones, which make its size durable too: a file that is short
 * later would have lost something. */
static enum file_result write_part(const struct segment *segment, const uint8_t *image, uint32_t from,
                                   uint32_t to) {
    uint32_t tail = segment->capacity - SEGMENT_END_SIZE;
    enum file_result result = file_allocate(segment->file, segment->capacity);
    if (result == FILE_OK && from < to)
        result = file_write(segment->file, from, (struct bytes){image + from, to - from});
    if (result == FILE_OK)
        result = file_write(segment->file, tail, (struct bytes){image + tail, SEGMENT_END_SIZE});
    return result == FILE_OK ? file_sync(segment->file) : result;
}

/* What was read past the attested point may be only in the kernel's memory: the process that wrote it was
 * killed, or ended because a sync failed. After a failed sync the kernel may hold such pages as clean, and a
 * sync alone would pass them over; so they are written again first. */
static enum file_result write_again(const struct replay *r, const struct segment *segment) {
    uint32_t from = segment->number == r->attested.segment ? r->attested.offset : 0;
    uint32_t to = segment->end + SEGMENT_END_SIZE > segment->capacity ? segment->capacity
                                                                      : segment->end + SEGMENT_END_SIZE;
    if (segment->image != NULL)
        return write_part(segment, segment->image, from, to);
    uint8_t *read = calloc(1, segment->capacity);
    if (read == NULL)
        err(1, "out of memory for a segment");
    size_t got;
    enum file_result result = file_read(segment->file, 0, read, segment->capacity, &got);
    if (result == FILE_OK && got < to)
        result = FILE_IO_ERROR; /* it was there when the log was read */
    if (result == FILE_OK)
        result = write_part(segment, read, from, to);
    free(read);
    return result;
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
        return replay_failure(r, result, "syncing the log");
    log->names_synced = log->names_version;
    log->written = log->durable = log->last;
    if (log->count == 0)
        return LOG_OK;
    log->durable_position = (struct log_place){log_current(log)->number, log_current(log)->end};
    result = log_end_renew(&log->end, log->durable_position);
    return result == FILE_OK ? LOG_OK : replay_failure(r, result, LOG_END_FILE);
}

enum log_result log_repair(struct replay *r) {
    enum log_result result = r->damaged ? remove_rest(r) : LOG_OK;
    if (result == LOG_OK)
        result = write_heads(r);
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
