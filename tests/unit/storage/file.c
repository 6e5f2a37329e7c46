/* The same expectations of every file system: POSIX, memory and the simulated disk. */
#include "storage/file.h"

#include "storage/buffer.h"
#include "storage/sparse.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[128];

static const char *directory_new(void) {
    const char *above = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/kvnode-file-XXXXXX", above != NULL ? above : "/tmp");
    return mkdtemp(directory);
}

static bool content_is(struct file_system *fs, const char *name, const char *text) {
    struct buffer b = {0};
    bool same = file_read_all(fs, name, 1000, &b) == FILE_OK && bytes_equal(buffer_bytes(&b), bytes_of(text));
    buffer_release(&b);
    return same;
}

static void join_name(void *arg, const char *name) {
    char *all = arg;
    size_t size = strlen(all);
    snprintf(all + size, 100 - size, "%s ", name);
}

static void check_content(struct tap *tap, struct file_system *fs) {
    struct file *file;
    uint8_t back[200];
    size_t got;
    uint64_t size;
    EQUAL(file_open(fs, "a", false, &file), FILE_NOT_FOUND);
    REQUIRE(file_open(fs, "a", true, &file) == FILE_OK);
    EQUAL(file_write(file, 100, bytes_of("hello")), FILE_OK);
    EQUAL(file_size(file, &size), FILE_OK);
    EQUAL(size, 105);
    memset(back, 1, sizeof back);
    EQUAL(file_read(file, 98, back, sizeof back, &got), FILE_OK);
    EQUAL(got, 7);
    OK(memcmp(back, "\0\0hello", 7) == 0);
    EQUAL(file_read(file, 105, back, sizeof back, &got), FILE_OK);
    EQUAL(got, 0);
    EQUAL(file_truncate(file, 102), FILE_OK);
    EQUAL(file_allocate(file, 300000), FILE_OK);
    EQUAL(file_size(file, &size), FILE_OK);
    EQUAL(size, 300000);
    EQUAL(file_read(file, 100, back, 6, &got), FILE_OK);
    OK(got == 6 && memcmp(back, "he\0\0\0\0", 6) == 0);
    EQUAL(file_allocate(file, 10), FILE_OK);
    EQUAL(file_size(file, &size), FILE_OK);
    EQUAL(size, 300000);
    EQUAL(file_sync(file), FILE_OK);
    file_close(file);
}

static void check_names(struct tap *tap, struct file_system *fs) {
    struct file *old, *file;
    uint8_t back[8];
    size_t got;
    char all[100] = "";
    EQUAL(file_system_rename(fs, "none", "b"), FILE_NOT_FOUND);
    EQUAL(file_system_remove(fs, "none"), FILE_NOT_FOUND);
    EQUAL(file_replace(fs, "b", bytes_of("over")), FILE_OK);
    EQUAL(file_replace(fs, "c", bytes_of("moved")), FILE_OK);
    REQUIRE(file_open(fs, "b", false, &old) == FILE_OK);
    EQUAL(file_system_rename(fs, "c", "b"), FILE_OK);
    EQUAL(file_read(old, 0, back, sizeof back, &got), FILE_OK);
    OK(got == 4 && memcmp(back, "over", 4) == 0); /* an open file outlives its name */
    file_close(old);
    OK(content_is(fs, "b", "moved"));
    EQUAL(file_system_remove(fs, "a"), FILE_OK);
    EQUAL(file_system_sync(fs), FILE_OK);
    EQUAL(file_system_list(fs, join_name, all), FILE_OK);
    TEXT_EQUAL(all, "b ");
    EQUAL(file_open(fs, "a", false, &file), FILE_NOT_FOUND);
    EQUAL(file_replace(fs, "b", bytes_of("short")), FILE_OK);
    OK(content_is(fs, "b", "short"));
    struct buffer b = {0};
    EQUAL(file_read_all(fs, "b", 4, &b), FILE_IO_ERROR);
    buffer_release(&b);
    EQUAL(file_system_remove(fs, "b"), FILE_OK);
}

TEST(a_file_system_in_memory_behaves) {
    struct file_system *fs = file_system_memory_new();
    check_content(tap, fs);
    check_names(tap, fs);
    file_system_free(fs);
}

TEST(a_file_system_of_the_machine_behaves) {
    struct file_system *fs;
    char why[256];
    REQUIRE(directory_new() != NULL);
    REQUIRE(file_system_posix_open(directory, &fs, why, sizeof why) == FILE_OK);
    check_content(tap, fs);
    check_names(tap, fs);
    file_system_free(fs);
    EQUAL(rmdir(directory), 0);
}

TEST(a_simulated_disk_behaves) {
    struct sim_disk *disk = sim_disk_new();
    check_content(tap, sim_disk_file_system(disk));
    check_names(tap, sim_disk_file_system(disk));
    sim_disk_free(disk);
}

TEST(a_directory_is_made_with_its_parents) {
    char path[256], why[256];
    struct file_system *fs;
    struct stat st;
    REQUIRE(directory_new() != NULL);
    snprintf(path, sizeof path, "%s/one/two/", directory);
    REQUIRE(file_system_posix_open(path, &fs, why, sizeof why) == FILE_OK);
    file_system_free(fs);
    EQUAL(stat(path, &st), 0);
    rmdir(path);
    snprintf(path, sizeof path, "%s/one", directory);
    rmdir(path);
    EQUAL(rmdir(directory), 0);
}

TEST(a_second_process_on_one_directory_is_refused_until_the_first_ends) {
    struct file_system *fs, *again;
    char why[256] = "";
    int status = -1;
    REQUIRE(directory_new() != NULL);
    REQUIRE(file_system_posix_open(directory, &fs, why, sizeof why) == FILE_OK);
    pid_t child = fork();
    if (child == 0)
        _exit(file_system_posix_open(directory, &again, why, sizeof why) == FILE_LOCKED ? 0 : 1);
    waitpid(child, &status, 0);
    EQUAL(status, 0);
    EQUAL(file_system_posix_open(directory, &again, why, sizeof why), FILE_LOCKED);
    OK(strstr(why, directory) != NULL);
    file_system_free(fs);
    REQUIRE(file_system_posix_open(directory, &again, why, sizeof why) == FILE_OK);
    file_system_free(again);
    EQUAL(rmdir(directory), 0);
}

TEST(a_path_that_is_no_directory_is_refused_with_path_and_cause) {
    struct file_system *fs;
    char why[256] = "";
    OK(file_system_posix_open("/dev/null/data", &fs, why, sizeof why) != FILE_OK);
    OK(strstr(why, "/dev/null") != NULL);
    OK(file_system_posix_open("", &fs, why, sizeof why) != FILE_OK);
}

TEST(an_allocated_file_in_memory_takes_only_what_was_written) {
    struct sparse s = {0};
    sparse_resize(&s, 16u * 1024 * 1024);
    sparse_write(&s, 5 * SPARSE_CHUNK_SIZE - 2, bytes_of("over a border"));
    size_t chunks = 0;
    for (size_t i = 0; i < s.capacity; i++)
        chunks += s.chunks[i] != NULL;
    EQUAL(chunks, 2);
    uint8_t back[20];
    EQUAL(sparse_read(&s, 5 * SPARSE_CHUNK_SIZE - 4, back, 15), 15);
    OK(memcmp(back, "\0\0over a border", 15) == 0);
    sparse_resize(&s, 5 * SPARSE_CHUNK_SIZE + 1);
    sparse_resize(&s, 6 * SPARSE_CHUNK_SIZE);
    EQUAL(sparse_read(&s, 5 * SPARSE_CHUNK_SIZE - 2, back, 6), 6);
    OK(memcmp(back, "ove\0\0\0", 6) == 0); /* what was cut does not come back */
    sparse_release(&s);
}

TEST(the_simulated_disk_forgets_what_was_not_synced) {
    struct random random;
    random_seed(&random, 11);
    unsigned name_lost = 0, content_lost = 0, content_torn = 0;
    for (int round = 0; round < 300; round++) {
        struct sim_disk *disk = sim_disk_new();
        struct file_system *fs = sim_disk_file_system(disk);
        struct file *file;
        uint8_t block[2048], back[2048];
        size_t got;
        memset(block, 7, sizeof block);
        file_replace(fs, "synced", bytes_of("here"));
        file_open(fs, "new", true, &file);
        file_close(file);
        file_open(fs, "synced", false, &file);
        file_write(file, 4, (struct bytes){block, sizeof block});
        file_close(file);
        sim_disk_crash(disk, &random);
        REQUIRE(file_open(fs, "synced", false, &file) == FILE_OK);
        file_read(file, 0, back, sizeof back, &got);
        OK(got >= 4 && memcmp(back, "here", 4) == 0);
        content_lost += got == 4;
        content_torn += got > 4 && memchr(back + 4, 0, got - 4) != NULL;
        file_close(file);
        if (file_open(fs, "new", false, &file) == FILE_OK)
            file_close(file);
        else
            name_lost++;
        sim_disk_free(disk);
    }
    OK(name_lost > 0 && name_lost < 300);
    OK(content_lost > 0 && content_lost < 300);
    OK(content_torn > 0);
}

TEST(a_failed_sync_of_the_simulated_disk_loses_the_writes_for_good) {
    struct random random;
    random_seed(&random, 1);
    struct sim_disk *disk = sim_disk_new();
    struct file_system *fs = sim_disk_file_system(disk);
    struct file *file;
    file_replace(fs, "a", bytes_of("old"));
    file_open(fs, "a", false, &file);
    file_write(file, 0, bytes_of("new"));
    sim_disk_inject(disk, (struct sim_disk_fault){0, SIM_DISK_SYNC, FILE_IO_ERROR, false});
    EQUAL(file_sync(file), FILE_IO_ERROR);
    EQUAL(file_sync(file), FILE_OK);
    OK(content_is(fs, "a", "new"));
    file_close(file);
    sim_disk_crash(disk, &random);
    OK(content_is(fs, "a", "old"));
    sim_disk_free(disk);
}

TESTS(TAP(a_file_system_in_memory_behaves), TAP(a_file_system_of_the_machine_behaves),
      TAP(a_simulated_disk_behaves), TAP(a_directory_is_made_with_its_parents),
      TAP(a_second_process_on_one_directory_is_refused_until_the_first_ends),
      TAP(a_path_that_is_no_directory_is_refused_with_path_and_cause),
      TAP(an_allocated_file_in_memory_takes_only_what_was_written),
      TAP(the_simulated_disk_forgets_what_was_not_synced),
      TAP(a_failed_sync_of_the_simulated_disk_loses_the_writes_for_good))
