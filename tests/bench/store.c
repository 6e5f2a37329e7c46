/* The store: memory beyond keys and values, and the time of every verb and of writing and loading a snapshot.
 *
 *     build/tests/bench/store [millions of keys]        default: 5
 *
 * 16-byte keys, dense decimals and random hexadecimals, in random order; values of 32 and of 100 bytes. The
 * snapshot is written to and loaded from files in memory, so no disk is measured. Each line is a process of
 * its own. */
#include "storage/random.h"
#include "storage/snapshot.h"
#include "tests/bench/measure.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY_SIZE   16
#define SLICE      (256u * 1024)
#define GETS       2000000u
#define OVERWRITES 1000000u

struct bench {
    bool hex;
    size_t value_size;
    uint64_t count;
    struct store *store;
    struct random random;
    double mark;
};

/* Nanoseconds an operation since the last call. */
static double lap(struct bench *b, uint64_t operations) {
    double now = now_s() * 1e9, elapsed = now - b->mark;
    b->mark = now;
    return elapsed / (double)operations;
}

static struct bytes key_at(const struct bench *b, uint64_t i, uint8_t to[KEY_SIZE]) {
    if (b->hex) {
        uint64_t bits = (i + 1) * 0x9e3779b97f4a7c15;
        bits = (bits ^ bits >> 29) * 0xbf58476d1ce4e5b9;
        for (size_t at = 0; at < KEY_SIZE; at++, bits >>= 4)
            to[at] = (uint8_t) "0123456789abcdef"[bits & 15];
    } else {
        memcpy(to, "key:", 4);
        for (size_t at = KEY_SIZE; at-- > 4; i /= 10)
            to[at] = (uint8_t)('0' + i % 10);
    }
    return (struct bytes){to, KEY_SIZE};
}

static void put(struct bench *b, uint64_t i, bool undo) {
    static const uint8_t value[4096];
    uint8_t key[KEY_SIZE];
    struct version at = {3, store_applied(b->store).index + 1};
    struct entry entry = {.key = key_at(b, i, key), .value = {value, b->value_size}};
    store_apply(b->store, at, ENTRY_PUT, &entry, undo);
    if (undo && at.index > 1000)
        store_forget(b->store, at.index - 1000);
}

static bool count_each(void *arg, const struct store_record *record) {
    *(uint64_t *)arg += record->key.size / KEY_SIZE;
    return true;
}

static void write_snapshot(struct bench *b, struct file_system *fs) {
    struct snapshot_header header = {.at = store_applied(b->store)};
    struct snapshot_writer *writer = snapshot_writer_new(b->store, &header);
    struct buffer out = {0};
    struct file *file;
    uint64_t offset = 0;
    if (file_open(fs, "snapshot", true, &file) != FILE_OK)
        errx(1, "no file in memory");
    for (bool done = false; !done; buffer_clear(&out)) {
        done = snapshot_writer_step(writer, SLICE, &out);
        if (file_write(file, offset, buffer_bytes(&out)) != FILE_OK)
            errx(1, "no room in memory");
        offset += buffer_size(&out);
    }
    file_close(file);
    buffer_release(&out);
    snapshot_writer_free(writer);
}

static void load_snapshot(struct file_system *fs, uint64_t count) {
    struct store *store = store_new(0);
    struct snapshot_header header;
    struct buffer configuration = {0};
    char why[200];
    if (snapshot_load(fs, "snapshot", store, &header, &configuration, why, sizeof why) != SNAPSHOT_OK)
        errx(1, "%s", why);
    if (store_count(store) != count)
        errx(1, "keys are missing");
}

static void run(void *arg) {
    struct bench *b = arg;
    uint8_t key[KEY_SIZE];
    struct store_record record;
    uint64_t seen = 0, before = resident();
    struct file_system *fs = file_system_memory_new();
    random_seed(&b->random, 1);
    b->store = store_new(0);
    lap(b, 1);
    for (uint64_t i = 0; i < b->count; i++)
        put(b, (uint64_t)((unsigned __int128)i * 2305843009213693951u % b->count), false);
    double insert = lap(b, b->count);
    double over = (double)(resident() - before) / (double)b->count - KEY_SIZE - (double)b->value_size;
    lap(b, 1);
    for (uint64_t i = 0; i < GETS; i++)
        if (!store_get(b->store, key_at(b, random_next(&b->random) % b->count, key), &record))
            errx(1, "a key is missing");
    double get = lap(b, GETS);
    for (uint64_t i = 0; i < OVERWRITES; i++)
        put(b, random_next(&b->random) % b->count, false);
    double overwrite = lap(b, OVERWRITES);
    for (uint64_t i = 0; i < OVERWRITES; i++)
        put(b, random_next(&b->random) % b->count, true);
    double undoable = lap(b, OVERWRITES);
    store_scan(b->store, (struct bytes){NULL, 0}, count_each, &seen);
    double scan = lap(b, b->count);
    write_snapshot(b, fs);
    double write = lap(b, b->count);
    load_snapshot(fs, b->count);
    double load = lap(b, b->count);
    printf("%-6s %5zu  %8.1f  %6.0f  %4.0f  %9.0f  %9.0f  %5.0f  %8.2f  %8.2f\n", b->hex ? "hex" : "dense",
           b->value_size, over, insert, get, overwrite, undoable, scan, 1e3 / write, 1e3 / load);
    if (seen != b->count)
        errx(1, "the scan is short");
}

int main(int argc, char **argv) {
    uint64_t count = (uint64_t)((argc > 1 ? atof(argv[1]) : 5) * 1e6);
    printf("%.1f million keys; ns an operation; snapshot in millions of keys a second\n",
           (double)count / 1e6);
    printf("keys   value  over B/key  insert  get  overwrite  with undo  scan  snapshot      load\n");
    for (int hex = 0; hex < 2; hex++)
        for (size_t value_size = 32; value_size <= 100; value_size += 68)
            run_apart(run, &(struct bench){.hex = hex, .value_size = value_size, .count = count});
    return 0;
}
