#include "storage/file.h"

#include "storage/buffer.h"

#include <assert.h>
#include <stdio.h>

const char *file_result_text(enum file_result result) {
    switch (result) {
    case FILE_OK:
        return "ok";
    case FILE_NOT_FOUND:
        return "no such file";
    case FILE_NO_SPACE:
        return "no space left on the disk";
    case FILE_LOCKED:
        return "in use by another process";
    case FILE_DENIED:
        return "permission denied";
    case FILE_IO_ERROR:
        return "input/output error";
    case FILE_CORRUPT:
        return "damaged";
    case FILE_OLD:
        return "of another version";
    }
    return "unknown";
}

static enum file_result write_whole(struct file_system *fs, const char *name, struct bytes content) {
    struct file *file;
    enum file_result result = file_open(fs, name, true, &file);
    if (result != FILE_OK)
        return result;
    result = file_truncate(file, 0);
    if (result == FILE_OK)
        result = file_write(file, 0, content);
    if (result == FILE_OK)
        result = file_sync(file);
    file_close(file);
    return result;
}

enum file_result file_replace(struct file_system *fs, const char *name, struct bytes content) {
    char fresh[FILE_NAME_MAX];
    int size = snprintf(fresh, sizeof fresh, "%s.new", name);
    assert(size > 0 && (size_t)size < sizeof fresh);
    enum file_result result = write_whole(fs, fresh, content);
    if (result == FILE_OK)
        result = file_system_rename(fs, fresh, name);
    if (result != FILE_OK) {
        file_system_remove(fs, fresh);
        return result;
    }
    return file_system_sync(fs);
}

enum file_result file_read_all(struct file_system *fs, const char *name, size_t size_max,
                               struct buffer *out) {
    struct file *file;
    enum file_result result = file_open(fs, name, false, &file);
    if (result != FILE_OK)
        return result;
    uint64_t size;
    size_t got = 0;
    result = file_size(file, &size);
    if (result == FILE_OK && size > size_max)
        result = FILE_IO_ERROR;
    if (result == FILE_OK)
        result = file_read(file, 0, buffer_reserve(out, (size_t)size), (size_t)size, &got);
    if (result == FILE_OK)
        buffer_grow(out, got);
    file_close(file);
    return result;
}
