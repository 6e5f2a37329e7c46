/* Files for segments to come. */
#include "storage/log_internal.h"

#include <inttypes.h>
#include <stdio.h>

void log_spare_name(char *out, uint64_t number) {
    snprintf(out, FILE_NAME_MAX, "spare-%016" PRIx64, number);
}

enum file_result log_spare_open(struct log *log, struct spare *out) {
    char name[FILE_NAME_MAX];
    out->number = log->spare_number++;
    log_spare_name(name, out->number);
    enum file_result result = file_open(log->options.fs, name, true, &out->file);
    if (result == FILE_OK)
        log->names_version++;
    return result;
}

void log_spare_remove(struct log *log, struct spare spare) {
    char name[FILE_NAME_MAX];
    log_spare_name(name, spare.number);
    file_close(spare.file);
    file_system_remove(log->options.fs, name);
    log->names_version++;
}

/* A ready one; else the growing one, completed; else a new one. */
static enum file_result spare_get(struct log *log, struct spare *out) {
    if (log->spare_count > 0) {
        *out = log->spares[--log->spare_count];
        return FILE_OK;
    }
    bool growing = log->growing.file != NULL && !log->sync.pending;
    if (growing) {
        *out = log->growing;
        log->growing = (struct spare){0};
    } else {
        enum file_result result = log_spare_open(log, out);
        if (result != FILE_OK)
            return result;
    }
    enum file_result result = file_allocate(out->file, log->options.segment_size);
    if (result != FILE_OK)
        log_spare_remove(log, *out);
    return result;
}

enum file_result log_spare_ready(struct log *log) {
    if (log->spare_count > 0)
        return FILE_OK;
    struct spare spare;
    enum file_result result = spare_get(log, &spare);
    if (result == FILE_OK)
        log->spares[log->spare_count++] = spare;
    return result;
}

enum file_result log_spare_take(struct log *log, uint64_t number, struct file **out) {
    struct spare spare;
    enum file_result result = spare_get(log, &spare);
    if (result != FILE_OK)
        return result;
    char from[FILE_NAME_MAX], to[FILE_NAME_MAX];
    log_spare_name(from, spare.number);
    segment_name(to, number);
    result = file_system_rename(log->options.fs, from, to);
    if (result != FILE_OK) {
        log_spare_remove(log, spare);
        return result;
    }
    log->names_version++;
    *out = spare.file;
    return FILE_OK;
}

bool log_has_room(struct log *log) {
    return !log->failed && log_spare_ready(log) == FILE_OK;
}
