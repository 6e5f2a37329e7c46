/* Reading segments again, a part at a time, to find what rots before somebody needs it: closed ones, and of
 * the one that is written what is durable, which nothing writes over. A segment that is being read keeps its
 * file: nothing that was let go is renamed or removed under the helper thread. */
#include "storage/log_internal.h"

#include "storage/wire.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define SCRUB_SIZE (256u * 1024) /* bytes read at once, unless a record is larger */

/* Both copies: the next start would write a damaged one again, and the other may rot before that. */
static bool heads_are_whole(const struct scrub *scrub) {
    for (unsigned copy = 0; copy < 2; copy++) {
        struct segment_head head;
        if (!segment_head_read(scrub->data + copy * LOG_PAGE_SIZE, &head) || head.number != scrub->number ||
            head.capacity != scrub->capacity)
            return false;
    }
    return true;
}

static bool read_part(struct scrub *scrub, uint32_t offset, uint32_t size) {
    size_t got = 0;
    if (size > scrub->data_capacity) {
        free(scrub->data);
        if ((scrub->data = malloc(size)) == NULL)
            err(1, "out of memory for reading the log");
        scrub->data_capacity = size;
    }
    scrub->read += size;
    return file_read(scrub->file, offset, scrub->data, size, &got) == FILE_OK && got == size;
}

/* The records in the first size bytes of the part, which is at scrub->offset, and that zeros end a closed
 * segment. *more: where the last record goes on, how many bytes it takes; else 0. */
static bool records_are_whole(struct scrub *scrub, uint32_t size, uint32_t *more) {
    uint32_t at = 0;
    *more = 0;
    while (size - at >= RECORD_HEADER_SIZE && !scrub->finished) {
        struct raw_record raw;
        const uint8_t *data = scrub->data + at;
        enum raw_result found = record_read((struct bytes){data, size - at}, &raw);
        if (scrub->offset == scrub->end)
            return scrub->finished = found == RAW_END;
        if (found == RAW_MORE) {
            *more = record_size(get_u32(data + 8));
            return *more <= scrub->end - scrub->offset;
        }
        if (found != RAW_OK || raw.size > scrub->end - scrub->offset ||
            !record_belongs(data, scrub->seed, scrub->offset))
            return false;
        scrub->offset += raw.size;
        at += raw.size;
        scrub->finished = scrub->open && scrub->offset == scrub->end;
    }
    return true;
}

static bool part_is_whole(struct scrub *scrub) {
    if (scrub->offset == 0) {
        if (!read_part(scrub, 0, SEGMENT_HEADS_SIZE) || !heads_are_whole(scrub))
            return false;
        scrub->offset = SEGMENT_HEADS_SIZE;
    }
    uint32_t before = scrub->offset;
    for (uint32_t want = SCRUB_SIZE, more;; want = more) {
        uint32_t end = scrub->end + (scrub->open ? 0 : SEGMENT_END_SIZE), left = end - scrub->offset,
                 size = want < left ? want : left;
        if (!read_part(scrub, scrub->offset, size) || !records_are_whole(scrub, size, &more))
            return false;
        if (scrub->offset > before || scrub->finished)
            return true;
        assert(more > want);
    }
}

static void scrub_run(struct job *job) {
    struct scrub *scrub = (struct scrub *)job;
    scrub->whole = part_is_whole(scrub);
}

static void scrub_done(struct job *job) {
    struct scrub *scrub = (struct scrub *)job;
    scrub->done(scrub->arg);
}

/* The first one at or behind the number that is not written any more, or of which something is durable. */
static struct segment *next_segment(const struct log *log, uint64_t number) {
    for (size_t i = 0; i < log->count; i++) {
        struct segment *segment = log->segments[i];
        bool open = i + 1 == log->count;
        if (segment->number >= number && !segment->damaged &&
            (open ? segment->synced > SEGMENT_HEADS_SIZE : segment->synced == segment->end))
            return segment;
    }
    return NULL;
}

struct job *log_scrub_begin(struct log *log, void (*done)(void *arg), void *arg) {
    struct scrub *scrub = &log->scrub;
    assert(!scrub->pending);
    struct segment *segment = log->failed ? NULL : next_segment(log, scrub->number);
    if (segment == NULL) {
        scrub->number = 0;
        scrub->offset = 0;
        return NULL;
    }
    bool open = segment == log_current(log);
    if (segment->number != scrub->number)
        scrub->offset = 0;
    scrub->job = (struct job){.lane = JOB_BULK, .run = scrub_run, .done = scrub_done};
    scrub->done = done;
    scrub->arg = arg;
    scrub->number = segment->number;
    scrub->file = segment->file;
    scrub->capacity = segment->capacity;
    scrub->seed = segment->seed;
    scrub->open = open;
    scrub->end = open ? segment->synced : segment->end;
    scrub->read = 0;
    scrub->finished = false;
    scrub->pending = true;
    return &scrub->job;
}

uint64_t log_scrub_end(struct log *log) {
    struct scrub *scrub = &log->scrub;
    assert(scrub->pending);
    scrub->pending = false;
    struct segment *segment = next_segment(log, scrub->number);
    if (!scrub->whole && segment != NULL && segment->number == scrub->number)
        segment->damaged = true;
    if (!scrub->whole || scrub->finished) {
        scrub->number++;
        scrub->offset = 0;
    }
    return scrub->read;
}

void log_scrub_log_end(struct log *log) {
    log->end_doubted = !log->failed;
}

uint64_t log_end_mended(const struct log *log) {
    return log->end_mended;
}

bool log_leaves_segment(const struct log *log) {
    return log_current(log)->damaged && log_current(log)->batch == 0;
}

size_t log_damaged_count(const struct log *log) {
    size_t count = log->count;
    while (count > 0 && !log->segments[count - 1]->damaged)
        count--;
    return count;
}

bool log_mended(const struct log *log) {
    for (size_t i = 0; i < log->dropping_count; i++)
        if (log->dropping[i]->damaged)
            return false;
    return log_damaged_count(log) == 0 && log->names_version == log->names_synced;
}

bool log_damaged(const struct log *log, uint64_t *last, char name[FILE_NAME_MAX]) {
    size_t count = log_damaged_count(log);
    if (count == 0)
        return false;
    *last = count == log->count ? UINT64_MAX : segment_next(log->segments[count - 1]) - 1;
    segment_name(name, log->segments[count - 1]->number);
    return true;
}
