/* What the simulated disk's parts share. */
#ifndef TESTS_SIM_DISK_INTERNAL_H
#define TESTS_SIM_DISK_INTERNAL_H

#include <bsd/sys/queue.h>

#include "storage/sparse.h"
#include "tests/sim/disk.h"

#define SECTOR_SIZE 512u

/* What becomes of a write that the disk says it has done. */
enum change_fate { CHANGE_DONE, CHANGE_LOST, CHANGE_ELSEWHERE };

/* A change of content since the last sync, in order. data NULL: the size became offset. */
struct change {
    STAILQ_ENTRY(change) next;
    uint64_t offset;
    size_t size;
    uint8_t *data;
    enum change_fate fate;
    uint64_t elsewhere; /* the offset at which it lands */
};
STAILQ_HEAD(change_list, change);

/* Where reads fail, until something is written there. */
struct bad_range {
    uint64_t from, to;
};

#define BAD_RANGES_MAX 8

/* A synced write that never came to the disk, or came elsewhere. It shows once the process has ended: until
 * then the kernel's memory has it. */
struct phantom {
    struct inode *inode;
    struct change *change; /* owned */
    bool seen;             /* the change's data are what was seen there when the process ended */
};

struct inode {
    LIST_ENTRY(inode) all;
    struct sparse seen, durable;
    struct change_list changes;
    struct bad_range bad[BAD_RANGES_MAX];
    size_t bad_count;
    unsigned open;      /* files */
    struct inode *copy; /* while the disk is being copied */
};

struct name {
    char text[FILE_NAME_MAX];
    struct inode *inode;
};

struct names {
    struct name *names;
    size_t count, capacity;
};

/* A change of names since the last sync: `from` stops naming the inode, `to` begins to; either may be empty.
 */
struct move {
    char from[FILE_NAME_MAX], to[FILE_NAME_MAX];
    struct inode *inode;
};

struct sim_disk {
    struct file_system fs;
    LIST_HEAD(, inode) inodes;
    struct names seen, durable;
    struct move *moves;
    size_t move_count, move_capacity;
    uint64_t capacity;
    uint64_t operations[6]; /* by kind */
    struct sim_disk_fault fault;
    /* The power cut to come. */
    uint64_t cut_after; /* operations that change something; UINT64_MAX: none */
    struct random *cut_random;
    struct sim_disk *after_cut;
    /* Writes that lie. */
    enum change_fate next_fate; /* of the next write to a file */
    struct random *fate_random;
    struct phantom *phantoms;
    size_t phantom_count, phantom_capacity;
    bool hurt; /* it has been damaged, or told to lie or not to be read */
};

void *disk_allocate(size_t size);
void *disk_grow(void *array, size_t *capacity, size_t count, size_t size);

struct inode *names_find(const struct names *names, const char *text);
void names_set(struct names *names, const char *text, struct inode *inode);
void names_copy(struct names *to, const struct names *from);
void names_move(struct names *names, const struct move *move);

struct inode *disk_inode_new(struct sim_disk *disk);
/* Inodes that nothing needs any more go. */
void disk_collect(struct sim_disk *disk);
void content_copy(struct sparse *to, const struct sparse *from);
void change_apply(struct sparse *to, const struct change *change);
void change_add(struct inode *inode, uint64_t offset, const struct bytes *data);
void change_free(struct change *change);
void changes_clear(struct inode *inode);
/* seen becomes what is durable and what was written since. */
void inode_see(struct inode *inode);

/* disk_lie.c */
void phantom_add(struct sim_disk *disk, struct inode *inode, struct change *change);
/* The process has ended, and with it what only the kernel's memory had: before, and after what becomes of the
 * writes that were not synced. */
void phantoms_see(struct sim_disk *disk);
void phantoms_show(struct sim_disk *disk);
/* disk_crash.c */
void disk_reach_cut(struct sim_disk *disk);

#endif
