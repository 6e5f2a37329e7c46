/* Opening, its second half: FORMAT.md, "reading a log", from the damage on. What is damaged is a torn tail
 * and cut, or corruption and refused; and what was read past the attested point is made durable. */
#include "storage/log_replay.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A file that is too short is read as if zeros followed. */
static enum file_result read_image(struct file *file, uint8_t *image, uint32_t capacity) {
    size_t got;
    enum file_result result = file_read(file, 0, image, capacity, &got);
    if (result == FILE_OK)
        memset(image + got, 0, capacity - got);
    return result;
}

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
    return result == FILE_OK ? LOG_OK : replay_failure(r, result, "reading a segment");
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
        return replay_failure(r, result, "clearing the end of the log");
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
        return replay_failure(r, result, "syncing the log");
    log->names_synced = log->names_version;
    log->written = log->durable = log->last;
    if (log->count > 0)
        log->durable_position = (struct log_place){log_current(log)->number, log_current(log)->end};
    return LOG_OK;
}

enum log_result log_repair(struct replay *r) {
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
