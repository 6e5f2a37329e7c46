/* A disk for tests and for the simulator: a file_system that forgets, tears, fails, fills up and rots.
 *
 * It keeps two states. What was written or renamed is seen at once; what file_sync (content) and
 * file_system_sync (names) covered is durable. sim_disk_crash makes of the two what a power cut may leave: of
 * everything that was not synced, each write is kept, lost or kept in some of its 512-byte sectors, and each
 * change of a name is kept or lost, all by the numbers of the given stream.
 *
 * Close all files (log_close, ...) before a crash: a process does not outlive its power. The file_system
 * belongs to the disk; file_system_free on it does nothing, so a node may own it as any other. */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "storage/file.h"
#include "storage/random.h"

struct sim_disk;

struct sim_disk *sim_disk_new(void);
void sim_disk_free(struct sim_disk *disk);
struct file_system *sim_disk_file_system(struct sim_disk *disk);

enum sim_disk_kind {
    SIM_DISK_READ = 1,
    SIM_DISK_WRITE = 2, /* write, truncate */
    SIM_DISK_ALLOCATE = 4,
    SIM_DISK_SYNC = 8,  /* of content */
    SIM_DISK_NAME = 16, /* open, rename, remove, list */
    SIM_DISK_SYNC_NAMES = 32,
    SIM_DISK_ALL = 63,
};

/* How many operations of these kinds there were. */
uint64_t sim_disk_operations(const struct sim_disk *disk, unsigned kinds);

/* After `after` more operations of the kinds, the next one gives result, and with `stays` all later ones of
 * the kinds do. A failing write may leave its first half. A failing sync loses the writes it should have
 * covered: they stay visible, and no later sync brings them to the disk, as on a kernel that has dropped the
 * dirty pages. */
struct sim_disk_fault {
    uint64_t after;
    unsigned kinds; /* 0: none */
    enum file_result result;
    bool stays;
};
void sim_disk_inject(struct sim_disk *disk, struct sim_disk_fault fault);

/* The sum of all files' sizes may not pass this; 0: no limit. */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes);
uint64_t sim_disk_used(const struct sim_disk *disk);

/* Power cut and restart: also ends a fault. */
void sim_disk_crash(struct sim_disk *disk, struct random *random);
/* The end of a process: nothing is lost. Ends a fault. */
void sim_disk_restart(struct sim_disk *disk);

/* Bit rot: inverts the bits of mask in a durable byte. False where the file is not that long. */
bool sim_disk_flip(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t mask);
/* An independent disk of the same state, files closed. */
struct sim_disk *sim_disk_copy(const struct sim_disk *disk);

#endif
