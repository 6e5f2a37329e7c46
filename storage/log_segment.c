#include "storage/directory.h"
#include "storage/log_internal.h"

#include "storage/crc32c.h"
#include "storage/wire.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char head_magic[] = "KVNLOG02", old_magic[] = "KVNLOG01";

void *log_grow(void *array, size_t *capacity, size_t count, size_t size) {
    if (count <= *capacity)
        return array;
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    assert(count <= *capacity);
    array = reallocarray(array, *capacity, size);
    if (array == NULL)
        err(1, "out of memory for the log");
    return array;
}

void segment_name(char *out, uint64_t number) {
    snprintf(out, FILE_NAME_MAX, "log-%016" PRIx64, number);
}

size_t log_files(const struct log *log) {
    return log->count + (log->end.file != NULL);
}

bool log_is_file(const struct log *log, const char *name) {
    uint64_t number;
    if (strcmp(name, LOG_END_FILE) == 0)
        return log->end.file != NULL;
    if (!directory_number(name, DIRECTORY_SEGMENT, &number))
        return false;
    size_t from = 0, end = log->count;
    while (from < end) {
        size_t middle = from + (end - from) / 2;
        if (log->segments[middle]->number < number)
            from = middle + 1;
        else
            end = middle;
    }
    return from < log->count && log->segments[from]->number == number;
}

uint32_t segment_seed(uint64_t salt, uint64_t number) {
    uint8_t both[16];
    put_u64(both, salt);
    put_u64(both + 8, number);
    return crc32c(0, (struct bytes){both, sizeof both});
}

void segment_head_put(uint8_t *at, const struct segment_head *head) {
    memset(at, 0, LOG_PAGE_SIZE);
    memcpy(at, head_magic, 8);
    put_u64(at + 8, head->number);
    put_u64(at + 16, head->salt);
    put_u64(at + 24, head->previous.index);
    put_u64(at + 32, head->previous.term);
    put_u32(at + 40, head->anew ? 1 : 0);
    put_u32(at + 44, head->capacity);
    put_u32(at + 48, crc32c(0, (struct bytes){at, 48}));
}

bool segment_head_read(const uint8_t *at, struct segment_head *out) {
    if (memcmp(at, head_magic, 8) != 0 || crc32c(0, (struct bytes){at, 48}) != get_u32(at + 48))
        return false;
    out->number = get_u64(at + 8);
    out->salt = get_u64(at + 16);
    out->previous = (struct version){.term = get_u64(at + 32), .index = get_u64(at + 24)};
    out->anew = get_u32(at + 40) & 1;
    out->capacity = get_u32(at + 44);
    return out->capacity >= SEGMENT_SIZE_MIN && out->capacity <= SEGMENT_SIZE_MAX;
}

bool segment_head_is_old(const uint8_t *page) {
    return memcmp(page, old_magic, 8) == 0 && crc32c(0, (struct bytes){page, 48}) == get_u32(page + 48);
}

void segment_push(struct segment *segment, uint64_t index, uint32_t offset) {
    assert(index == segment_next(segment));
    if (segment->count == segment->offsets_capacity) {
        segment->offsets_capacity = segment->offsets_capacity == 0 ? 1024 : segment->offsets_capacity * 2;
        segment->offsets =
            reallocarray(segment->offsets, segment->offsets_capacity, sizeof *segment->offsets);
        if (segment->offsets == NULL)
            err(1, "out of memory for the log's index");
    }
    segment->offsets[segment->count++] = offset;
}

void segment_free(struct segment *segment) {
    if (segment->file != NULL)
        file_close(segment->file);
    free(segment->offsets);
    free(segment->image);
    free(segment);
}

void log_segment_add(struct log *log, struct segment *segment) {
    log->segments = log_grow(log->segments, &log->capacity, log->count + 1, sizeof(struct segment *));
    log->segments[log->count++] = segment;
    log->size += segment->end - SEGMENT_HEADS_SIZE;
}

struct segment *log_segment_of(const struct log *log, uint64_t index) {
    size_t low = 0, high = log->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle]->first <= index)
            low = middle;
        else
            high = middle;
    }
    return log->segments[low];
}

uint8_t *log_image_new(struct log *log, uint32_t capacity) {
    uint8_t *image = NULL;
    if (capacity == log->options.segment_size) {
        image = log->spare_image;
        log->spare_image = NULL;
    }
    if (image == NULL && (image = malloc(capacity)) == NULL)
        err(1, "out of memory for a segment of %" PRIu32 " bytes", capacity);
    return image;
}

void log_image_free(struct log *log, struct segment *segment) {
    if (log->spare_image == NULL && segment->capacity == log->options.segment_size)
        log->spare_image = segment->image;
    else
        free(segment->image);
    segment->image = NULL;
}

/* Drops the images of written segments that have a cache's size of newer ones behind them. */
void log_evict(struct log *log) {
    size_t newer = 0;
    for (size_t i = log->count; i-- > 0;) {
        struct segment *segment = log->segments[i];
        if (segment->image == NULL)
            continue;
        if (newer >= log->options.cache_size && segment->written == segment->end)
            log_image_free(log, segment);
        newer += segment->end;
    }
}

enum log_result log_roll(struct log *log, struct version previous, bool anew) {
    struct segment_head head = {
        .number = log->count > 0 ? log_current(log)->number + 1 : log->highest + 1,
        .salt = log->options.salt,
        .previous = previous,
        .anew = anew,
        .capacity = log->options.segment_size,
    };
    struct file *file;
    enum file_result result = log_spare_take(log, head.number, &file);
    if (result == FILE_NO_SPACE)
        return LOG_NO_SPACE;
    if (result != FILE_OK)
        return log_fail(log, result);
    struct segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        err(1, "out of memory for a segment");
    log->highest = head.number;
    segment->number = head.number;
    segment->file = file;
    segment->capacity = head.capacity;
    segment->seed = segment_seed(head.salt, head.number);
    segment->first = previous.index + 1;
    segment->image = log_image_new(log, head.capacity);
    segment->end = SEGMENT_HEADS_SIZE;
    segment_head_put(segment->image, &head);
    segment_head_put(segment->image + LOG_PAGE_SIZE, &head);
    log_segment_add(log, segment);
    log_evict(log);
    return LOG_OK;
}
