/* A disk for tests that forgets in a crash what was not synced. Names survive at once. */
#ifndef TESTS_UNIT_REPLICATION_DISK_H
#define TESTS_UNIT_REPLICATION_DISK_H

#include "storage/file.h"

#include <assert.h>
#include <bsd/string.h>
#include <stdlib.h>

#define DISK_FILES_MAX 512

struct disk_content {
    uint8_t *data;
    size_t size;
};

struct disk_file {
    struct file file;
    struct disk *disk;
    char name[FILE_NAME_MAX];
    unsigned references; /* its name, and each open */
    struct disk_content now, synced;
};

struct disk {
    struct file_system fs;
    struct disk_file *files[DISK_FILES_MAX];
    bool full, broken; /* files cannot grow; every sync fails */
    uint64_t room;     /* that it says it has; 0: no bound */
    uint64_t reads;
};

static inline void content_resize(struct disk_content *c, size_t size) {
    c->data = realloc(c->data, size + 1);
    assert(c->data != NULL);
    if (size > c->size)
        memset(c->data + c->size, 0, size - c->size);
    c->size = size;
}

static inline void content_copy(struct disk_content *to, const struct disk_content *from) {
    content_resize(to, from->size);
    if (from->size > 0)
        memcpy(to->data, from->data, from->size);
}

static struct disk_file **disk_slot(struct disk *disk, const char *name) {
    for (size_t i = 0; i < DISK_FILES_MAX; i++)
        if (disk->files[i] != NULL && strcmp(disk->files[i]->name, name) == 0)
            return &disk->files[i];
    return NULL;
}

static void disk_unreference(struct disk_file *file) {
    if (--file->references > 0)
        return;
    free(file->now.data);
    free(file->synced.data);
    free(file);
}

static void disk_drop(struct disk_file **slot) {
    disk_unreference(*slot);
    *slot = NULL;
}

static const struct file_operations *disk_operations(void);

static enum file_result disk_open(struct file_system *fs, const char *name, bool create, struct file **out) {
    struct disk *disk = (struct disk *)fs;
    struct disk_file **slot = disk_slot(disk, name);
    if (slot == NULL && !create)
        return FILE_NOT_FOUND;
    for (size_t i = 0; slot == NULL; i++) {
        assert(i < DISK_FILES_MAX);
        if (disk->files[i] != NULL)
            continue;
        slot = &disk->files[i];
        *slot = calloc(1, sizeof **slot);
        assert(*slot != NULL);
        (*slot)->file.operations = disk_operations();
        (*slot)->disk = disk;
        (*slot)->references = 1;
        strlcpy((*slot)->name, name, sizeof(*slot)->name);
    }
    (*slot)->references++;
    *out = &(*slot)->file;
    return FILE_OK;
}

static void disk_close(struct file *file) {
    disk_unreference((struct disk_file *)file);
}

static enum file_result disk_write(struct file *file, uint64_t offset, struct bytes data) {
    struct disk_content *c = &((struct disk_file *)file)->now;
    if (offset + data.size > c->size && ((struct disk_file *)file)->disk->full)
        return FILE_NO_SPACE;
    if (offset + data.size > c->size)
        content_resize(c, offset + data.size);
    if (data.size > 0)
        memcpy(c->data + offset, data.data, data.size);
    return FILE_OK;
}

static enum file_result disk_read(struct file *file, uint64_t offset, uint8_t *to, size_t size, size_t *got) {
    struct disk_content *c = &((struct disk_file *)file)->now;
    ((struct disk_file *)file)->disk->reads++;
    *got = offset >= c->size ? 0 : c->size - offset < size ? c->size - offset : size;
    if (*got > 0)
        memcpy(to, c->data + offset, *got);
    return FILE_OK;
}

static enum file_result disk_size(struct file *file, uint64_t *out) {
    *out = ((struct disk_file *)file)->now.size;
    return FILE_OK;
}

static enum file_result disk_allocate(struct file *file, uint64_t size) {
    struct disk_file *f = (struct disk_file *)file;
    if (f->now.size < size && f->disk->full)
        return FILE_NO_SPACE;
    if (f->now.size < size)
        content_resize(&f->now, size);
    return FILE_OK;
}

static enum file_result disk_truncate(struct file *file, uint64_t size) {
    content_resize(&((struct disk_file *)file)->now, size);
    return FILE_OK;
}

static enum file_result disk_sync(struct file *file) {
    struct disk_file *f = (struct disk_file *)file;
    if (f->disk->broken)
        return FILE_IO_ERROR;
    content_copy(&f->synced, &f->now);
    return FILE_OK;
}

static enum file_result disk_rename(struct file_system *fs, const char *from, const char *to) {
    struct disk *disk = (struct disk *)fs;
    struct disk_file **old = disk_slot(disk, to), **slot = disk_slot(disk, from);
    if (slot == NULL)
        return FILE_NOT_FOUND;
    if (old != NULL && old != slot)
        disk_drop(old);
    strlcpy((*slot)->name, to, sizeof(*slot)->name);
    return FILE_OK;
}

static enum file_result disk_remove(struct file_system *fs, const char *name) {
    struct disk_file **slot = disk_slot((struct disk *)fs, name);
    if (slot == NULL)
        return FILE_NOT_FOUND;
    disk_drop(slot);
    return FILE_OK;
}

static enum file_result disk_sync_names(struct file_system *fs) {
    (void)fs;
    return FILE_OK;
}

static enum file_result disk_list(struct file_system *fs, void (*each)(void *arg, const char *name),
                                  void *arg) {
    struct disk *disk = (struct disk *)fs;
    for (size_t i = 0; i < DISK_FILES_MAX; i++)
        if (disk->files[i] != NULL)
            each(arg, disk->files[i]->name);
    return FILE_OK;
}

static enum file_result disk_room(struct file_system *fs, uint64_t *bytes) {
    const struct disk *disk = (const struct disk *)fs;
    *bytes = disk->room > 0 ? disk->room : UINT64_MAX;
    return FILE_OK;
}

static void disk_free(struct file_system *fs) {
    struct disk *disk = (struct disk *)fs;
    for (size_t i = 0; i < DISK_FILES_MAX; i++)
        if (disk->files[i] != NULL)
            disk_drop(&disk->files[i]);
    free(disk);
}

static const struct file_operations *disk_operations(void) {
    static const struct file_operations operations = {
        disk_open, disk_close,  disk_write,  disk_read,       disk_size, disk_allocate, disk_truncate,
        disk_sync, disk_rename, disk_remove, disk_sync_names, disk_list, disk_room,     disk_free,
    };
    return &operations;
}

static struct disk *disk_new(void) {
    struct disk *disk = calloc(1, sizeof *disk);
    assert(disk != NULL);
    disk->fs.operations = disk_operations();
    return disk;
}

/* What was not synced is gone. Nothing may have a file open. */
static inline void disk_crash(struct disk *disk) {
    for (size_t i = 0; i < DISK_FILES_MAX; i++)
        if (disk->files[i] != NULL)
            content_copy(&disk->files[i]->now, &disk->files[i]->synced);
}

#endif
