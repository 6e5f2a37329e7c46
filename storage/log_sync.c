/* The sync: content of the segments written, names, a piece of the next segment's file, and `log_end`. */
#include "storage/log_internal.h"

#include <assert.h>

/* Bytes written to one segment, up to which its sync is brief: behind more there are other requests that
 * could be read meanwhile. */
#define BRIEF_SIZE  (16u * 1024)
#define SPARE_STEPS 32u /* pieces in which a spare is allocated; starting at a quarter, they are enough */

static void check_end(struct sync *sync) {
    sync->end_was_damaged = !log_end_holds(sync->end);
    if (sync->end_was_damaged)
        sync->result = log_end_renew(sync->end, sync->before);
}

/* In the helper thread. Content before names: a name must not become durable as a success that its content is
 * not. */
static void sync_run(struct job *job) {
    struct sync *sync = (struct sync *)job;
    if (sync->check_end)
        check_end(sync);
    for (size_t i = 0; i < sync->count && sync->result == FILE_OK; i++)
        sync->result = file_sync(sync->segments[i]->file);
    if (sync->spare != NULL && sync->result == FILE_OK) {
        sync->spare_result = file_allocate(sync->spare, sync->spare_size);
        if (sync->spare_result == FILE_OK)
            sync->result = file_sync(sync->spare);
    }
    if (sync->names && sync->result == FILE_OK)
        sync->result = file_system_sync(sync->fs);
    if (sync->end != NULL && sync->result == FILE_OK)
        sync->result =
            sync->save_end ? log_end_renew(sync->end, sync->target) : log_end_note(sync->end, sync->target);
}

static void sync_done(struct job *job) {
    struct sync *sync = (struct sync *)job;
    sync->done(sync->arg);
}

/* Whether the next segment's file should grow now. Where the disk was full, some more has to be written
 * first. */
static bool wants_spare(const struct log *log) {
    const struct segment *current = log_current(log);
    uint32_t used = current->end - SEGMENT_HEADS_SIZE, room = current->capacity - SEGMENT_HEADS_SIZE;
    if (log->spare_count > 0 || log->recycled.file != NULL || used < room / 4)
        return false;
    return log->spare_failed.segment != current->number ||
           current->end - log->spare_failed.offset >= current->capacity / SPARE_STEPS;
}

static void prepare_spare(struct log *log) {
    struct sync *sync = &log->sync;
    sync->spare = NULL;
    if (!wants_spare(log))
        return;
    if (log->growing.file == NULL) {
        log->growing_size = 0;
        if (log_spare_open(log, &log->growing) != FILE_OK) {
            log->growing.file = NULL;
            return;
        }
    }
    uint32_t step = log->options.segment_size / SPARE_STEPS,
             left = log->options.segment_size - log->growing_size;
    sync->spare = log->growing.file;
    sync->spare_size = log->growing_size + (left < 2 * step ? left : step);
}

static void gather_segments(struct log *log) {
    struct sync *sync = &log->sync;
    size_t from = log->count - 1;
    while (from > 0 && log->segments[from - 1]->synced < log->segments[from - 1]->end)
        from--;
    sync->count = 0;
    for (; from < log->count; from++) {
        struct segment *segment = log->segments[from];
        if (segment->synced == segment->written)
            continue;
        sync->segments = log_grow(sync->segments, &sync->capacity, sync->count + 1, sizeof(struct segment *));
        sync->segments[sync->count++] = segment;
        segment->syncing = segment->written;
        sync->target = (struct log_place){segment->number, segment->written};
    }
}

static bool is_brief(const struct sync *sync) {
    return sync->count == 1 && sync->segments[0]->written - sync->segments[0]->synced <= BRIEF_SIZE &&
           sync->spare == NULL && !sync->names && !sync->save_end && !sync->check_end;
}

/* Before anybody counts on the first records of a segment, its loss would be noticed. */
static bool wants_durable_end(const struct log *log) {
    const struct log_place *target = &log->sync.target, *durable = &log->end.durable;
    return target->segment > durable->segment || (log->closing && log_place_after(*target, *durable));
}

struct job *log_sync_begin(struct log *log, void (*done)(void *arg), void *arg) {
    struct sync *sync = &log->sync;
    assert(!sync->pending);
    if (log->failed)
        return NULL;
    sync->target = log->durable_position;
    sync->before = log->durable_position;
    sync->target_index = log->written;
    gather_segments(log);
    log_drop_one(log);
    prepare_spare(log);
    sync->names = log->names_version != log->names_synced;
    sync->save_end = wants_durable_end(log);
    sync->check_end = log->end_doubted;
    sync->end = sync->save_end || sync->check_end || sync->count > 0 ? &log->end : NULL;
    if (sync->count == 0 && sync->spare == NULL && !sync->names && sync->end == NULL)
        return NULL;
    sync->job = (struct job){.lane = JOB_LOG, .brief = is_brief(sync), .run = sync_run, .done = sync_done};
    sync->done = done;
    sync->arg = arg;
    sync->fs = log->options.fs;
    sync->names_version = log->names_version;
    sync->result = sync->spare_result = FILE_OK;
    sync->end_was_damaged = log->end_doubted = false;
    sync->pending = true;
    return &sync->job;
}

bool log_sync_pending(const struct log *log) {
    return log->sync.pending;
}

static void spare_grown(struct log *log) {
    if (log->sync.spare == NULL)
        return;
    if (log->sync.spare_result != FILE_OK) {
        log->spare_failed = (struct log_place){log_current(log)->number, log_current(log)->end};
        log_spare_remove(log, log->growing);
        log->growing = (struct spare){0};
        return;
    }
    log->growing_size = log->sync.spare_size;
    if (log->growing_size == log->options.segment_size && log->spare_count < SPARES_MAX) {
        log->spares[log->spare_count++] = log->growing;
        log->growing = (struct spare){0};
    }
}

enum log_result log_sync_end(struct log *log) {
    struct sync *sync = &log->sync;
    assert(sync->pending);
    sync->pending = false;
    if (sync->result != FILE_OK)
        return log_fail(log, sync->result);
    log->end_mended += sync->end_was_damaged;
    for (size_t i = 0; i < sync->count; i++)
        sync->segments[i]->synced = sync->segments[i]->syncing;
    if (sync->names)
        log->names_synced = sync->names_version;
    if (log_place_after(sync->target, log->durable_position))
        log->durable_position = sync->target;
    if (sync->target_index > log->durable)
        log->durable = sync->target_index;
    if (log->recycled.file != NULL && log->spare_count < SPARES_MAX) {
        log->spares[log->spare_count++] = log->recycled;
        log->recycled = (struct spare){0};
    }
    spare_grown(log);
    return LOG_OK;
}
