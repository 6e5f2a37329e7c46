/* The file system of the machine: one directory, opened once and held under an exclusive flock for as long as
 * the process lives. flock and not fcntl: an fcntl lock vanishes when any descriptor of the file is closed.
 */
#include "storage/file.h"

#include <assert.h>
#include <bsd/string.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct posix {
    struct file_system fs;
    int directory;
    bool read_only;
};

struct posix_file {
    struct file file;
    int descriptor;
    bool read_only;
};

static int descriptor_of(struct file *file) {
    return ((struct posix_file *)file)->descriptor;
}

static bool is_read_only(const struct file *file) {
    return ((const struct posix_file *)file)->read_only;
}

static int directory_of(struct file_system *fs) {
    return ((struct posix *)fs)->directory;
}

static bool only_looks(const struct file_system *fs) {
    return ((const struct posix *)fs)->read_only;
}

static enum file_result result_of(int error) {
    switch (error) {
    case 0:
        return FILE_OK;
    case ENOENT:
        return FILE_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return FILE_NO_SPACE;
    case EWOULDBLOCK:
        return FILE_LOCKED;
    case EACCES:
    case EPERM:
    case EROFS:
        return FILE_DENIED;
    default:
        return FILE_IO_ERROR;
    }
}

static enum file_result result_of_call(int returned) {
    return returned < 0 ? result_of(errno) : FILE_OK;
}

static const struct file_operations operations;

static enum file_result posix_open(struct file_system *fs, const char *name, bool create, struct file **out) {
    assert(strchr(name, '/') == NULL);
    assert(strlen(name) < FILE_NAME_MAX);
    int descriptor, flags = only_looks(fs) ? O_RDONLY : O_RDWR | (create ? O_CREAT : 0);
    do
        descriptor = openat(directory_of(fs), name, flags | O_CLOEXEC, 0600);
    while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0)
        return result_of(errno);
    struct posix_file *file = malloc(sizeof *file);
    if (file == NULL)
        err(1, "out of memory for a file");
    *file = (struct posix_file){{&operations}, descriptor, only_looks(fs)};
    *out = &file->file;
    return FILE_OK;
}

static void posix_close(struct file *file) {
    close(descriptor_of(file));
    free(file);
}

static enum file_result posix_write(struct file *file, uint64_t offset, struct bytes data) {
    if (is_read_only(file))
        return FILE_DENIED;
    while (data.size > 0) {
        ssize_t wrote = pwrite(descriptor_of(file), data.data, data.size, (off_t)offset);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return result_of(errno);
        offset += (uint64_t)wrote;
        data = (struct bytes){data.data + wrote, data.size - (size_t)wrote};
    }
    return FILE_OK;
}

static enum file_result posix_read(struct file *file, uint64_t offset, uint8_t *to, size_t size,
                                   size_t *got) {
    *got = 0;
    while (*got < size) {
        ssize_t have = pread(descriptor_of(file), to + *got, size - *got, (off_t)(offset + *got));
        if (have < 0 && errno == EINTR)
            continue;
        if (have < 0)
            return result_of(errno);
        if (have == 0)
            break;
        *got += (size_t)have;
    }
    return FILE_OK;
}

static enum file_result posix_size(struct file *file, uint64_t *out) {
    struct stat st;
    if (fstat(descriptor_of(file), &st) < 0)
        return result_of(errno);
    *out = (uint64_t)st.st_size;
    return FILE_OK;
}

static enum file_result write_zeros(struct file *file, uint64_t from, uint64_t to) {
    const size_t step = 256 * 1024;
    uint8_t *zeros = calloc(1, step);
    if (zeros == NULL)
        err(1, "out of memory for %zu zeros", step);
    enum file_result result = FILE_OK;
    while (from < to && result == FILE_OK) {
        size_t size = to - from < step ? (size_t)(to - from) : step;
        result = posix_write(file, from, (struct bytes){zeros, size});
        from += size;
    }
    free(zeros);
    return result;
}

/* Blocks that were only reserved have to be marked as written by the sync after their first use, which makes
 * that sync slower; so the zeros are written for real, once, ahead of use. */
static enum file_result posix_allocate(struct file *file, uint64_t size) {
    uint64_t held;
    if (is_read_only(file))
        return FILE_DENIED;
    enum file_result result = posix_size(file, &held);
    if (result != FILE_OK || held >= size)
        return result;
    int error;
    do
        error = posix_fallocate(descriptor_of(file), 0, (off_t)size);
    while (error == EINTR);
    return error != 0 ? result_of(error) : write_zeros(file, held, size);
}

static enum file_result posix_truncate(struct file *file, uint64_t size) {
    int returned;
    if (is_read_only(file))
        return FILE_DENIED;
    do
        returned = ftruncate(descriptor_of(file), (off_t)size);
    while (returned < 0 && errno == EINTR);
    return result_of_call(returned);
}

/* Only an interrupted call is repeated: any other failure may have dropped the dirty pages, and a second try
 * would succeed without them. */
static int sync_by(int (*sync)(int descriptor), int descriptor) {
    int returned;
    do
        returned = sync(descriptor);
    while (returned < 0 && errno == EINTR);
    return returned;
}

static enum file_result posix_sync(struct file *file) {
    return result_of_call(sync_by(fdatasync, descriptor_of(file)));
}

static enum file_result posix_rename(struct file_system *fs, const char *from, const char *to) {
    if (only_looks(fs))
        return FILE_DENIED;
    return result_of_call(renameat(directory_of(fs), from, directory_of(fs), to));
}

static enum file_result posix_remove(struct file_system *fs, const char *name) {
    if (only_looks(fs))
        return FILE_DENIED;
    return result_of_call(unlinkat(directory_of(fs), name, 0));
}

static enum file_result posix_sync_names(struct file_system *fs) {
    return result_of_call(sync_by(fsync, directory_of(fs)));
}

static enum file_result posix_list(struct file_system *fs, void (*each)(void *arg, const char *name),
                                   void *arg) {
    int again = openat(directory_of(fs), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again < 0)
        return result_of(errno);
    DIR *names = fdopendir(again);
    if (names == NULL)
        err(1, "out of memory for a directory");
    const struct dirent *entry;
    errno = 0;
    while ((entry = readdir(names)) != NULL) {
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < FILE_NAME_MAX)
            each(arg, entry->d_name);
        errno = 0;
    }
    enum file_result result = result_of(errno);
    closedir(names);
    return result;
}

static enum file_result posix_room(struct file_system *fs, uint64_t *bytes) {
    struct statvfs is;
    if (fstatvfs(directory_of(fs), &is) < 0)
        return result_of(errno);
    *bytes = (uint64_t)is.f_bavail * is.f_frsize;
    return FILE_OK;
}

static void posix_free(struct file_system *fs) {
    close(directory_of(fs));
    free(fs);
}

static const struct file_operations operations = {
    .open = posix_open,
    .close = posix_close,
    .write = posix_write,
    .read = posix_read,
    .size = posix_size,
    .allocate = posix_allocate,
    .truncate = posix_truncate,
    .sync = posix_sync,
    .rename = posix_rename,
    .remove = posix_remove,
    .sync_names = posix_sync_names,
    .list = posix_list,
    .room = posix_room,
    .free = posix_free,
};

/* Makes one directory and syncs the one above it, so that it is still there after a power cut. */
static int make_directory(char *path) {
    if (mkdir(path, 0700) < 0)
        return errno == EEXIST ? 0 : errno;
    char *slash = strrchr(path, '/');
    const char *above = slash == NULL ? "." : slash == path ? "/" : path;
    if (slash != NULL && slash != path)
        *slash = '\0';
    int directory = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = directory < 0 || sync_by(fsync, directory) < 0 ? errno : 0;
    if (directory >= 0)
        close(directory);
    if (slash != NULL)
        *slash = '/';
    return error;
}

static int make_path(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int error = make_directory(path);
        *slash = '/';
        if (error != 0)
            return error;
    }
    return make_directory(path);
}

static enum file_result failed(const char *path, int error, char *why, size_t why_size) {
    if (error == EWOULDBLOCK)
        snprintf(why, why_size, "%s: another process uses this data directory", path);
    else
        snprintf(why, why_size, "%s: %s", path, strerror(error));
    return result_of(error);
}

static enum file_result open_locked(const char *path, const char *exact, bool read_only,
                                    struct file_system **out, char *why, size_t why_size) {
    int directory = open(exact, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return failed(path, errno, why, why_size);
    if (flock(directory, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        close(directory);
        return failed(path, error, why, why_size);
    }
    struct posix *posix = malloc(sizeof *posix);
    if (posix == NULL)
        err(1, "out of memory for a file system");
    *posix = (struct posix){{&operations}, directory, read_only};
    *out = &posix->fs;
    return FILE_OK;
}

enum file_result file_system_posix_look(const char *path, struct file_system **out, char *why,
                                        size_t why_size) {
    return open_locked(path, path, true, out, why, why_size);
}

enum file_result file_system_posix_open(const char *path, struct file_system **out, char *why,
                                        size_t why_size) {
    char copy[PATH_MAX];
    if (path[0] == '\0' || strlcpy(copy, path, sizeof copy) >= sizeof copy)
        return failed(path, path[0] == '\0' ? ENOENT : ENAMETOOLONG, why, why_size);
    for (size_t size = strlen(copy); size > 1 && copy[size - 1] == '/'; size--)
        copy[size - 1] = '\0';
    int error = make_path(copy);
    if (error != 0)
        return failed(path, error, why, why_size);
    return open_locked(path, copy, false, out, why, why_size);
}
