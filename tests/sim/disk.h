/* A disk for tests and for the simulator: a file_system that forgets, tears, fails, fills up, lies and rots.
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
bool sim_disk_is_bounded(const struct sim_disk *disk);
uint64_t sim_disk_used(const struct sim_disk *disk);

/* Power cut and restart: also ends a fault. */
void sim_disk_crash(struct sim_disk *disk, struct random *random);
/* One such power cut: of the changes of names that were not synced the one of this number (0: the oldest) is
 * lost, and everything else is kept. */
void sim_disk_crash_out_of_order(struct sim_disk *disk, size_t lost);
/* The end of a process: nothing is lost. Ends a fault. */
void sim_disk_restart(struct sim_disk *disk);

/* A power cut in the midst of what a process does: after so many more operations that change something. What
 * the process does from then on changes nothing any more; its host must see to it that nothing of that is
 * seen, end it, and go on with the disk that sim_disk_take_cut gives. random: of the crash, when it comes. */
void sim_disk_cut_after(struct sim_disk *disk, uint64_t operations, struct random *random);
bool sim_disk_is_cut(const struct sim_disk *disk);
/* Frees the disk: all files are closed. */
struct sim_disk *sim_disk_take_cut(struct sim_disk *disk);

/* The next write is told as done, and its sync too, but it never reaches the disk, or reaches it elsewhere in
 * the file. The process reads what it wrote; a later one does not. Of the log only a write shows that
 * something on the disk tells of: disk_lie.c says why. */
void sim_disk_lie(struct sim_disk *disk, bool elsewhere, struct random *random);

/* Bit rot: inverts the bits of mask in a durable byte. False where the file is not that long. */
bool sim_disk_flip(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t mask);

enum sim_damage {
    DAMAGE_BIT,
    DAMAGE_SECTOR_ZEROS, /* 512 bytes */
    DAMAGE_SECTOR_NOISE,
    DAMAGE_PAGE_ZEROS, /* 4,096 bytes */
    DAMAGE_PAGE_NOISE,
    DAMAGE_UNREADABLE, /* a sector: reads fail until something is written there */
    DAMAGE_SHORT,      /* the file ends at the offset */
    DAMAGE_MISSING,    /* the name is gone */
    SIM_DAMAGES,
};
const char *sim_damage_text(enum sim_damage kind);
/* To what is durable, around the offset. False where there is nothing there. A process that has the file open
 * sees it too, except where it has written since. */
bool sim_disk_damage(struct sim_disk *disk, enum sim_damage kind, const char *name, uint64_t offset,
                     struct random *random);
/* Each of the two names now names the other's file. False where one is not there. */
bool sim_disk_swap(struct sim_disk *disk, const char *a, const char *b);
/* It, or the one that it is a copy of, was damaged, or told to lie or not to be read. */
bool sim_disk_is_hurt(const struct sim_disk *disk);
/* Calls each for every name, in the order of the names. */
void sim_disk_names(const struct sim_disk *disk, void (*each)(void *arg, const char *name), void *arg);
/* Bytes of a file, 0 where it is not there; and what is durable there. */
uint64_t sim_disk_size(const struct sim_disk *disk, const char *name);
size_t sim_disk_peek(const struct sim_disk *disk, const char *name, uint64_t offset, uint8_t *to,
                     size_t size);

/* An independent disk of the same state, files closed. */
struct sim_disk *sim_disk_copy(const struct sim_disk *disk);

#endif
