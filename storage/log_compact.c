/* Letting go of records that a snapshot holds. What memory knows changes at once; files follow one at a time,
 * each after everything that the remaining log rests on is durable (FORMAT.md, removing segments). */
#include "storage/log_internal.h"

#include <assert.h>

void log_let_go(struct log *log, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct segment *segment = log->segments[i];
        log->size -= segment->end - SEGMENT_HEADS_SIZE;
        if (segment->image != NULL)
            log_image_free(log, segment);
        log->dropping = log_grow(log->dropping, &log->dropping_capacity, log->dropping_count + 1,
                                 sizeof(struct segment *));
        log->dropping[log->dropping_count++] = segment;
    }
    log->drop_barrier = (struct log_place){log_current(log)->number, log_current(log)->end};
    log->count -= count;
    memmove(log->segments, log->segments + count, log->count * sizeof(struct segment *));
}

bool log_can_drop(const struct log *log) {
    return log->dropping_count > 0 && log->recycled.file == NULL && log->names_version == log->names_synced &&
           !(log->scrub.pending && log->scrub.number == log->dropping[0]->number) &&
           !log_place_after(log->drop_barrier, log->durable_position);
}

/* Under a spare's name where spares are short, and the file is a good one. */
static bool recycle(struct log *log, struct segment *segment, const char *from) {
    size_t ready = log->spare_count + (log->growing.file != NULL);
    uint64_t size;
    if (ready >= SPARES_MAX || segment->damaged || segment->capacity != log->options.segment_size ||
        file_size(segment->file, &size) != FILE_OK || size < segment->capacity)
        return false;
    char to[FILE_NAME_MAX];
    log_spare_name(to, log->spare_number);
    if (file_system_rename(log->options.fs, from, to) != FILE_OK)
        return false;
    log->recycled = (struct spare){log->spare_number++, segment->file};
    segment->file = NULL;
    return true;
}

void log_drop_one(struct log *log) {
    if (!log_can_drop(log))
        return;
    struct segment *segment = log->dropping[0];
    char name[FILE_NAME_MAX];
    segment_name(name, segment->number);
    /* A file that cannot be removed is tried again, and those behind it wait: the numbers must have no gap.
     */
    if (!recycle(log, segment, name) && file_system_remove(log->options.fs, name) != FILE_OK)
        return;
    log->names_version++;
    log->dropping_count--;
    memmove(log->dropping, log->dropping + 1, log->dropping_count * sizeof(struct segment *));
    segment_free(segment);
}

/* Only segments that are synced go: a batch attests all that stands before its durable position, and until
 * their files are gone a restart reads them. */
enum log_result log_compact(struct log *log, struct version at, uint64_t keep_size) {
    if (log->failed)
        return LOG_IO_ERROR;
    size_t count = 0, damaged = log_damaged_count(log);
    uint64_t left = log->size;
    while (count + 1 < log->count) {
        const struct segment *segment = log->segments[count];
        left -= segment->end - SEGMENT_HEADS_SIZE;
        if (segment_next(segment) > at.index + 1 || (count >= damaged && left < keep_size) ||
            segment->synced < segment->end)
            break;
        count++;
    }
    if (count > 0) {
        log_terms_forget(&log->terms, log->segments[count]->first - 1);
        log_let_go(log, count);
    }
    return LOG_OK;
}

enum log_result log_begin_anew(struct log *log, struct version at) {
    enum log_result result = log_roll(log, at, true);
    if (result != LOG_OK)
        return result;
    log_let_go(log, log->count - 1);
    log_terms_reset(&log->terms, at);
    log->last = log->written = log->durable = at.index;
    log->sync.target_index = at.index;
    uint8_t *room;
    result = log_reserve(log, 0, &room);
    assert(result == LOG_OK);
    return LOG_OK;
}

enum log_result log_prepare_reset(struct log *log) {
    enum file_result result = log->failed ? FILE_IO_ERROR : log_spare_ready(log);
    if (result == FILE_OK)
        return LOG_OK;
    return result == FILE_NO_SPACE ? LOG_NO_SPACE : log_fail(log, result);
}

enum log_result log_reset(struct log *log, struct version at) {
    return log->failed ? LOG_IO_ERROR : log_begin_anew(log, at);
}
