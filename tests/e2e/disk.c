/* What a process asks of the disk, seen and spoiled from outside: an LD_PRELOAD library between kvnode and
 * the system calls that write, sync and name files. Cluster/Disk.pm drives it.
 *
 * KVNODE_DISK names a directory. Each call, once it has returned, is a line of its file `trace`:
 *
 *   write FILE 0 512 OFFSET     sync FILE 0        create FILE 0     remove FILE 0
 *   sync_names DIRECTORY 0      rename FILE 0 TO   mkdir DIRECTORY 0
 *
 * (and read, which leaves no line), the number behind the name being 0 or the error. So a sync's line stands
 * there after what it made durable. Files with the words CALL PREFIX NUMBER change what calls on files of
 * that prefix do, read again at each call:
 *
 *   fail       one call does nothing and fails with the error; the file is removed by it
 *   interrupt  so many calls do nothing and fail with EINTR; the file is removed by the first
 *   slow       each call takes so many milliseconds more
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int descriptor);
int fsync(int descriptor);

static const char *folder(void) {
    return getenv("KVNODE_DISK");
}

static void path_in_folder(char out[PATH_MAX], const char *name) {
    snprintf(out, PATH_MAX, "%s/%s", folder(), name);
}

/* A file by its name, a directory by its path; "" for what is neither, such as a socket. */
static void name_of(int descriptor, char out[PATH_MAX]) {
    char link[64], path[PATH_MAX];
    struct stat st;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size > 0 ? size : 0] = '\0';
    out[0] = '\0';
    if (fstat(descriptor, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return;
    const char *slash = strrchr(path, '/');
    snprintf(out, PATH_MAX, "%s", S_ISREG(st.st_mode) && slash != NULL ? slash + 1 : path);
}

/* Reads the order of that name; true where it is for this call. */
static bool ordered(const char *order, const char *call, const char *name, int *number) {
    char path[PATH_MAX], text[256], its_call[64], prefix[128];
    path_in_folder(path, order);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    ssize_t size = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    text[size > 0 ? size : 0] = '\0';
    return sscanf(text, "%63s %127s %d", its_call, prefix, number) == 3 && strcmp(its_call, call) == 0 &&
           strncmp(prefix, name, strlen(prefix)) == 0;
}

/* An order that holds once is whose removal of its file succeeds. */
static bool taken(const char *order) {
    char path[PATH_MAX];
    path_in_folder(path, order);
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0) == 0;
}

/* What the call is to fail with; 0: it is to be done. */
static int order_for(const char *call, const char *name) {
    static atomic_int interruptions;
    int number, left = atomic_load(&interruptions);
    if (ordered("slow", call, name, &number)) {
        struct timespec pause = {number / 1000, number % 1000 * 1000000L};
        nanosleep(&pause, NULL);
    }
    if (ordered("fail", call, name, &number) && taken("fail"))
        return number;
    if (ordered("interrupt", call, name, &number) && taken("interrupt"))
        left = number;
    atomic_store(&interruptions, left > 0 ? left - 1 : 0);
    return left > 0 ? EINTR : 0;
}

static void trace(const char *call, const char *name, long returned, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void trace(const char *call, const char *name, long returned, const char *format, ...) {
    int error = errno;
    char path[PATH_MAX], more[PATH_MAX], line[3 * PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(more, sizeof more, format, arguments);
    va_end(arguments);
    path_in_folder(path, "trace");
    int descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int size = snprintf(line, sizeof line, "%s %s %d%s\n", call, name, returned < 0 ? error : 0, more);
    if (descriptor < 0 || write(descriptor, line, (size_t)size) != size)
        abort();
    close(descriptor);
    errno = error;
}

static long failing(int error) {
    errno = error;
    return -1;
}

static int sync_by(int descriptor, long number) {
    char name[PATH_MAX];
    if (folder() == NULL)
        return (int)syscall(number, descriptor);
    name_of(descriptor, name);
    const char *call = name[0] == '/' ? "sync_names" : "sync";
    int error = order_for(call, name);
    long returned = error != 0 ? failing(error) : syscall(number, descriptor);
    trace(call, name, returned, "%s", "");
    return (int)returned;
}

int fdatasync(int descriptor) {
    return sync_by(descriptor, SYS_fdatasync);
}

int fsync(int descriptor) {
    return sync_by(descriptor, SYS_fsync);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    char name[PATH_MAX];
    if (folder() == NULL)
        return syscall(SYS_pwrite64, descriptor, data, size, offset);
    name_of(descriptor, name);
    int error = order_for("write", name);
    long returned = error != 0 ? failing(error) : syscall(SYS_pwrite64, descriptor, data, size, offset);
    trace("write", name, returned, " %zu %lld", size, (long long)offset);
    return returned;
}

/* Not in the trace. */
ssize_t pread(int descriptor, void *data, size_t size, off_t offset) {
    char name[PATH_MAX];
    if (folder() == NULL)
        return syscall(SYS_pread64, descriptor, data, size, offset);
    name_of(descriptor, name);
    int error = order_for("read", name);
    return error != 0 ? failing(error) : syscall(SYS_pread64, descriptor, data, size, offset);
}

int openat(int directory, const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    struct stat st;
    bool creates = (flags & O_CREAT) && folder() != NULL && fstatat(directory, path, &st, 0) < 0;
    int error = creates ? order_for("create", path) : 0;
    long returned = error != 0 ? failing(error) : syscall(SYS_openat, directory, path, flags, mode);
    if (creates)
        trace("create", path, returned, "%s", "");
    return (int)returned;
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    int error = folder() == NULL ? 0 : order_for("rename", from);
    long returned =
        error != 0 ? failing(error) : syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);
    if (folder() != NULL)
        trace("rename", from, returned, " %s", to);
    return (int)returned;
}

int unlinkat(int directory, const char *path, int flags) {
    int error = folder() == NULL ? 0 : order_for("remove", path);
    long returned = error != 0 ? failing(error) : syscall(SYS_unlinkat, directory, path, flags);
    if (folder() != NULL)
        trace("remove", path, returned, "%s", "");
    return (int)returned;
}

int mkdir(const char *path, mode_t mode) {
    long returned = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (folder() != NULL && returned == 0)
        trace("mkdir", path, returned, "%s", "");
    return (int)returned;
}
