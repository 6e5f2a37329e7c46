/* A directory of files behind a table of functions: POSIX, or memory (which `-memory` and the simulator use).
 *
 * A file_system is one flat directory. What a call wrote is visible to later reads at once, and survives a
 * crash only after file_sync (content) and file_system_sync (names: creations, renames, removals). Only sync
 * and allocate may be called from a helper thread, on files that no other thread writes or closes meanwhile.
 *
 * A failed sync must end the process: what the kernel did with the dirty pages is unknown (bug 4). */
#ifndef STORAGE_FILE_H
#define STORAGE_FILE_H

#include "storage/bytes.h"

enum file_result {
    FILE_OK,
    FILE_NOT_FOUND,
    FILE_NO_SPACE,
    FILE_LOCKED,
    FILE_DENIED,
    FILE_IO_ERROR,
    FILE_CORRUPT, /* from who knows what the file has to hold: damaged, */
    FILE_OLD,     /* or of another version */
};

#define FILE_NAME_MAX 64 /* bytes, with the NUL; names are ours: letters, digits, '.', '-', '_' */

struct file;
struct file_system;

struct file_operations {
    enum file_result (*open)(struct file_system *fs, const char *name, bool create, struct file **out);
    void (*close)(struct file *file);
    enum file_result (*write)(struct file *file, uint64_t offset, struct bytes data);
    /* *got < size only at the end of the file. */
    enum file_result (*read)(struct file *file, uint64_t offset, uint8_t *to, size_t size, size_t *got);
    enum file_result (*size)(struct file *file, uint64_t *out);
    /* Reserves [0, size) on disk, so that later writes there cannot meet a full disk; new bytes read as 0. */
    enum file_result (*allocate)(struct file *file, uint64_t size);
    enum file_result (*truncate)(struct file *file, uint64_t size);
    enum file_result (*sync)(struct file *file);
    enum file_result (*rename)(struct file_system *fs, const char *from, const char *to);
    enum file_result (*remove)(struct file_system *fs, const char *name);
    enum file_result (*sync_names)(struct file_system *fs);
    /* Calls each for every name, in no order. */
    enum file_result (*list)(struct file_system *fs, void (*each)(void *arg, const char *name), void *arg);
    enum file_result (*room)(struct file_system *fs, uint64_t *bytes);
    void (*free)(struct file_system *fs);
};

/* Implementations embed these as their first member. */
struct file {
    const struct file_operations *operations;
};

struct file_system {
    const struct file_operations *operations;
};

static inline enum file_result file_open(struct file_system *fs, const char *name, bool create,
                                         struct file **out) {
    return fs->operations->open(fs, name, create, out);
}
static inline void file_close(struct file *file) {
    file->operations->close(file);
}
static inline enum file_result file_write(struct file *file, uint64_t offset, struct bytes data) {
    return file->operations->write(file, offset, data);
}
static inline enum file_result file_read(struct file *file, uint64_t offset, uint8_t *to, size_t size,
                                         size_t *got) {
    return file->operations->read(file, offset, to, size, got);
}
static inline enum file_result file_size(struct file *file, uint64_t *out) {
    return file->operations->size(file, out);
}
static inline enum file_result file_allocate(struct file *file, uint64_t size) {
    return file->operations->allocate(file, size);
}
static inline enum file_result file_truncate(struct file *file, uint64_t size) {
    return file->operations->truncate(file, size);
}
static inline enum file_result file_sync(struct file *file) {
    return file->operations->sync(file);
}
static inline enum file_result file_system_rename(struct file_system *fs, const char *from, const char *to) {
    return fs->operations->rename(fs, from, to);
}
static inline enum file_result file_system_remove(struct file_system *fs, const char *name) {
    return fs->operations->remove(fs, name);
}
static inline enum file_result file_system_sync(struct file_system *fs) {
    return fs->operations->sync_names(fs);
}
static inline enum file_result file_system_list(struct file_system *fs,
                                                void (*each)(void *arg, const char *name), void *arg) {
    return fs->operations->list(fs, each, arg);
}
/* Bytes that can still be written; UINT64_MAX where nothing bounds them. */
static inline enum file_result file_system_room(struct file_system *fs, uint64_t *bytes) {
    return fs->operations->room(fs, bytes);
}
static inline void file_system_free(struct file_system *fs) {
    fs->operations->free(fs);
}

const char *file_result_text(enum file_result result);

/* Writes name.new, syncs it, renames it over name, syncs the directory: after a crash the file is the old or
 * the new one, whole. Blocks. */
enum file_result file_replace(struct file_system *fs, const char *name, struct bytes content);

/* Reads a whole file of at most size_max bytes; FILE_IO_ERROR when it is larger. */
struct buffer;
enum file_result file_read_all(struct file_system *fs, const char *name, size_t size_max, struct buffer *out);

/* file_posix_io.c: makes the directory (and its parents) where missing and takes an exclusive flock on it.
 * FILE_LOCKED when another process holds it. On failure `why` holds one line with path and cause. */
enum file_result file_system_posix_open(const char *path, struct file_system **out, char *why,
                                        size_t why_size);

/* The same for a directory that is there, and it is only read: nothing is made, and every call that would
 * write is FILE_DENIED. */
enum file_result file_system_posix_look(const char *path, struct file_system **out, char *why,
                                        size_t why_size);

/* file_memory.c: nothing on disk. sync succeeds and does nothing. */
struct file_system *file_system_memory_new(void);

#endif
