/* What a disk is after its power was cut; copies of it. */
#include "tests/sim/disk_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void sim_disk_restart(struct sim_disk *disk) {
    disk->fault = (struct sim_disk_fault){0};
    disk->cut_after = UINT64_MAX;
    disk->next_fate = CHANGE_DONE;
    phantoms_see(disk);
    phantoms_show(disk);
}

/* A power cut. */

/* How a crash treats what was not synced: all lost, all kept, or each decided by itself. */
enum fate { FATE_LOST, FATE_KEPT, FATE_MIXED };

/* Keeps each sector of a write, or not. */
static void change_tear(struct sparse *to, const struct change *change, struct random *random) {
    for (size_t done = 0; done < change->size;) {
        size_t room = SECTOR_SIZE - (size_t)((change->offset + done) % SECTOR_SIZE);
        size_t size = change->size - done < room ? change->size - done : room;
        if (random_below(random, 2) == 0)
            sparse_write(to, change->offset + done, (struct bytes){change->data + done, size});
        done += size;
    }
}

static void inode_crash(struct inode *inode, enum fate fate, struct random *random) {
    const struct change *change;
    assert(inode->open == 0);
    STAILQ_FOREACH(change, &inode->changes, next) {
        if (change->fate != CHANGE_DONE)
            continue;
        uint64_t choice = fate == FATE_MIXED ? random_below(random, 3) : (uint64_t)fate;
        if (choice == FATE_KEPT)
            change_apply(&inode->durable, change);
        else if (choice == FATE_MIXED && change->data != NULL)
            change_tear(&inode->durable, change, random);
    }
    changes_clear(inode);
    content_copy(&inode->seen, &inode->durable);
}

static void names_crashed(struct sim_disk *disk) {
    disk->move_count = 0;
    names_copy(&disk->seen, &disk->durable);
}

void sim_disk_crash(struct sim_disk *disk, struct random *random) {
    struct inode *inode;
    phantoms_see(disk);
    enum fate names = (enum fate)random_below(random, 3);
    for (size_t i = 0; i < disk->move_count; i++)
        if (names == FATE_KEPT || (names == FATE_MIXED && random_below(random, 2) == 0))
            names_move(&disk->durable, &disk->moves[i]);
    names_crashed(disk);
    LIST_FOREACH(inode, &disk->inodes, all)
    inode_crash(inode, (enum fate)random_below(random, 3), random);
    disk_collect(disk);
    sim_disk_restart(disk);
}

void sim_disk_crash_out_of_order(struct sim_disk *disk, size_t lost) {
    struct inode *inode;
    phantoms_show(disk);
    for (size_t i = 0; i < disk->move_count; i++)
        if (i != lost)
            names_move(&disk->durable, &disk->moves[i]);
    names_crashed(disk);
    LIST_FOREACH(inode, &disk->inodes, all)
    inode_crash(inode, FATE_KEPT, NULL);
    disk_collect(disk);
    sim_disk_restart(disk);
}

/* Copies. */

static void names_copy_inodes(struct names *to, const struct names *from) {
    names_copy(to, from);
    for (size_t i = 0; i < to->count; i++)
        to->names[i].inode = to->names[i].inode->copy;
}

struct sim_disk *sim_disk_copy(const struct sim_disk *disk) {
    struct sim_disk *copy = sim_disk_new();
    copy->capacity = disk->capacity;
    struct inode *inode;
    LIST_FOREACH(inode, &disk->inodes, all) {
        inode->copy = disk_inode_new(copy);
        content_copy(&inode->copy->durable, &inode->durable);
        memcpy(inode->copy->bad, inode->bad, sizeof inode->bad);
        inode->copy->bad_count = inode->bad_count;
        const struct change *change;
        STAILQ_FOREACH(change, &inode->changes, next) {
            struct bytes data = {change->data, change->size};
            change_add(inode->copy, change->offset, change->data == NULL ? NULL : &data);
        }
        content_copy(&inode->copy->seen, &inode->seen);
    }
    names_copy_inodes(&copy->seen, &disk->seen);
    names_copy_inodes(&copy->durable, &disk->durable);
    copy->moves = disk_grow(NULL, &copy->move_capacity, disk->move_count, sizeof *copy->moves);
    for (size_t i = 0; i < disk->move_count; i++) {
        copy->moves[i] = disk->moves[i];
        copy->moves[i].inode = disk->moves[i].inode->copy;
    }
    copy->move_count = disk->move_count;
    for (size_t i = 0; i < disk->phantom_count; i++) {
        const struct phantom *phantom = &disk->phantoms[i];
        struct change *change = disk_allocate(sizeof *change);
        *change = *phantom->change;
        change->data = disk_allocate(change->size + 1);
        memcpy(change->data, phantom->change->data, change->size);
        phantom_add(copy, phantom->inode->copy, change);
    }
    copy->hurt = disk->hurt;
    return copy;
}

/* A cut that comes while the process goes on for a moment. */

void sim_disk_cut_after(struct sim_disk *disk, uint64_t operations, struct random *random) {
    disk->cut_after = operations;
    disk->cut_random = random;
}

void disk_reach_cut(struct sim_disk *disk) {
    disk->cut_after = UINT64_MAX;
    disk->after_cut = sim_disk_copy(disk);
    sim_disk_crash(disk->after_cut, disk->cut_random);
}

bool sim_disk_is_cut(const struct sim_disk *disk) {
    return disk->after_cut != NULL;
}

struct sim_disk *sim_disk_take_cut(struct sim_disk *disk) {
    struct sim_disk *after = disk->after_cut;
    disk->after_cut = NULL;
    sim_disk_free(disk);
    return after;
}
