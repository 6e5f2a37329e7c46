#include "storage/log_look.h"

#include "storage/directory.h"
#include "storage/log_internal.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>

/* As much of the file as can be read, the rest zeros. */
static uint8_t *read_image(struct file *file, uint32_t capacity) {
    uint8_t *image = calloc(1, capacity);
    if (image == NULL)
        err(1, "out of memory for a segment");
    for (uint32_t at = 0; at < capacity; at += LOG_PAGE_SIZE) {
        size_t got, size = capacity - at < LOG_PAGE_SIZE ? capacity - at : LOG_PAGE_SIZE;
        if (file_read(file, at, image + at, size, &got) != FILE_OK)
            memset(image + at, 0, size);
    }
    return image;
}

static void note(struct segment_look *out, uint64_t index, uint64_t term) {
    out->highest = index > out->highest ? index : out->highest;
    out->highest_term = term > out->highest_term ? term : out->highest_term;
}

static void walk(struct segment_look *out, const uint8_t *image, uint32_t seed) {
    struct raw_record raw;
    struct log_record entry;
    uint64_t term;
    for (out->stop = SEGMENT_HEADS_SIZE; out->stop < out->capacity; out->stop += raw.size) {
        const uint8_t *at = image + out->stop;
        if (record_read((struct bytes){at, out->capacity - out->stop}, &raw) != RAW_OK ||
            !record_belongs(at, seed, out->stop))
            return;
        if (raw.kind == RECORD_TRUNCATION)
            out->last = record_truncation(&raw, &term) - 1;
        if (raw.kind != RECORD_ENTRY)
            continue;
        if (!record_entry(&raw, &entry))
            return;
        out->first = out->first == 0 ? entry.index : out->first;
        out->last = entry.index;
        note(out, entry.index, entry.term);
    }
}

static void read_heads(struct file *file, uint64_t number, struct segment_look *out, uint64_t *salt) {
    uint8_t page[LOG_PAGE_SIZE];
    for (unsigned copy = 0; copy < 2; copy++) {
        struct segment_head head;
        size_t got;
        if (file_read(file, copy * LOG_PAGE_SIZE, page, sizeof page, &got) != FILE_OK || got < sizeof page)
            continue;
        out->old |= segment_head_is_old(page);
        if (!segment_head_read(page, &head) || head.number != number)
            continue;
        out->heads++;
        out->capacity = head.capacity;
        out->previous = head.previous;
        *salt = head.salt;
    }
}

enum file_result segment_look(struct file_system *fs, uint64_t number, struct segment_look *out) {
    char name[FILE_NAME_MAX];
    struct file *file;
    uint64_t salt = 0;
    *out = (struct segment_look){0};
    segment_name(name, number);
    enum file_result result = file_open(fs, name, false, &file);
    if (result != FILE_OK)
        return result;
    result = file_size(file, &out->size);
    read_heads(file, number, out, &salt);
    if (out->heads > 0) {
        uint8_t *image = read_image(file, out->capacity);
        note(out, out->previous.index, out->previous.term);
        walk(out, image, segment_seed(salt, number));
        free(image);
    }
    file_close(file);
    return result;
}

enum file_result log_end_look(struct file_system *fs, unsigned *copies, uint64_t *segment, uint32_t *offset) {
    struct log_end end = {0};
    enum file_result result = log_end_open(&end, fs);
    if (result != FILE_OK)
        return result;
    file_close(end.file);
    *copies = end.copies;
    *segment = end.durable.segment;
    *offset = end.durable.offset;
    return FILE_OK;
}

/* Cutting. */

struct behind {
    uint64_t from, highest; /* of the segments that are there, from `from` on; 0: none */
};

static void note_behind(void *arg, const char *name) {
    struct behind *b = arg;
    uint64_t number;
    if (directory_number(name, DIRECTORY_SEGMENT, &number) && number >= b->from && number > b->highest)
        b->highest = number;
}

static enum file_result set_aside(struct file_system *fs, const char *name, uint64_t number) {
    char aside[FILE_NAME_MAX];
    directory_aside_name(aside, number, name);
    return file_system_rename(fs, name, aside);
}

/* The last one first, so that no gap ever stands in the log. */
static enum file_result set_aside_from(struct file_system *fs, uint64_t from, uint64_t number) {
    enum file_result result = FILE_OK;
    while (result == FILE_OK) {
        char name[FILE_NAME_MAX];
        struct behind b = {.from = from};
        result = file_system_list(fs, note_behind, &b);
        if (b.highest == 0)
            break;
        segment_name(name, b.highest);
        if (result == FILE_OK)
            result = set_aside(fs, name, number);
    }
    return result == FILE_OK ? file_system_sync(fs) : result;
}

/* The segment as it was beside, then itself with zeros from the offset on. */
static enum file_result shorten(struct file_system *fs, const char *name, uint32_t offset, uint64_t number) {
    char aside[FILE_NAME_MAX];
    struct file *file;
    uint64_t size = 0;
    enum file_result result = file_open(fs, name, false, &file);
    if (result != FILE_OK)
        return result;
    result = file_size(file, &size);
    uint32_t capacity = size > SEGMENT_SIZE_MAX ? SEGMENT_SIZE_MAX : (uint32_t)size;
    uint8_t page[LOG_PAGE_SIZE], *image = read_image(file, capacity < offset ? offset : capacity);
    struct segment_head head = {0};
    if (segment_head_read(image, &head) || segment_head_read(image + LOG_PAGE_SIZE, &head))
        segment_head_put(page, &head);
    else
        result = FILE_CORRUPT;
    file_close(file);
    directory_aside_name(aside, number, name);
    if (result == FILE_OK)
        result = file_replace(fs, aside, (struct bytes){image, capacity});
    if (result == FILE_OK) {
        uint8_t *whole = calloc(1, head.capacity);
        if (whole == NULL)
            err(1, "out of memory for a segment");
        memcpy(whole, image, offset < head.capacity ? offset : head.capacity);
        memcpy(whole, page, sizeof page);
        memcpy(whole + LOG_PAGE_SIZE, page, sizeof page);
        result = file_replace(fs, name, (struct bytes){whole, head.capacity});
        free(whole);
    }
    free(image);
    return result;
}

/* The former one may be unreadable: it is not read. */
static enum file_result renew_end(struct file_system *fs, uint64_t number) {
    struct log_end end = {0};
    enum file_result result = set_aside(fs, LOG_END_FILE, number);
    if (result == FILE_OK || result == FILE_NOT_FOUND)
        result = log_end_create(&end, fs, (struct log_place){0, 0});
    if (end.file != NULL)
        file_close(end.file);
    return result;
}

static void note_unfinished(void *arg, const char *name) {
    if (directory_is_unfinished(name))
        snprintf(arg, FILE_NAME_MAX, "%s", name);
}

/* Whatever was interrupted, a cut among others. */
static enum file_result remove_unfinished(struct file_system *fs) {
    enum file_result result = FILE_OK;
    while (result == FILE_OK) {
        char name[FILE_NAME_MAX] = "";
        result = file_system_list(fs, note_unfinished, name);
        if (name[0] == '\0')
            break;
        if (result == FILE_OK)
            result = file_system_remove(fs, name);
    }
    return result;
}

enum file_result log_cut(struct file_system *fs, const char *name, uint64_t offset, uint64_t number) {
    uint64_t segment;
    enum file_result result = remove_unfinished(fs);
    if (result != FILE_OK)
        return result;
    if (strcmp(name, LOG_END_FILE) == 0)
        return renew_end(fs, number);
    if (!directory_number(name, DIRECTORY_SEGMENT, &segment) || offset >= SEGMENT_SIZE_MAX)
        return FILE_CORRUPT;
    bool all = offset < SEGMENT_HEADS_SIZE;
    result = set_aside_from(fs, all ? segment : segment + 1, number);
    if (result == FILE_OK && !all)
        result = shorten(fs, name, (uint32_t)offset, number);
    return result == FILE_OK ? renew_end(fs, number) : result;
}
