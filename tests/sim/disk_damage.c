/* Damage to what a disk holds. */
#include "tests/sim/disk_internal.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 4096u

bool sim_disk_flip(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t mask) {
    struct inode *inode = names_find(&disk->seen, name);
    uint8_t byte;
    if (inode == NULL || sparse_read(&inode->durable, offset, &byte, 1) != 1)
        return false;
    disk->hurt = true;
    byte ^= mask;
    sparse_write(&inode->durable, offset, (struct bytes){&byte, 1});
    inode_see(inode);
    return true;
}

static void overwrite(struct inode *inode, uint64_t offset, size_t size, struct random *noise) {
    uint8_t data[PAGE_SIZE];
    offset -= offset % size;
    size_t got = sparse_read(&inode->durable, offset, data, size);
    for (size_t i = 0; i < got; i++)
        data[i] = noise != NULL ? (uint8_t)random_next(noise) : 0;
    sparse_write(&inode->durable, offset, (struct bytes){data, got});
}

static void make_unreadable(struct inode *inode, uint64_t offset) {
    offset -= offset % SECTOR_SIZE;
    if (inode->bad_count < BAD_RANGES_MAX)
        inode->bad[inode->bad_count++] = (struct bad_range){offset, offset + SECTOR_SIZE};
}

static void remove_name(struct sim_disk *disk, const char *name, struct inode *inode) {
    struct move move = {.inode = inode};
    strncpy(move.from, name, sizeof move.from - 1);
    names_move(&disk->seen, &move);
    names_move(&disk->durable, &move);
    disk_collect(disk);
}

const char *sim_damage_text(enum sim_damage kind) {
    static const char *const texts[] = {
        [DAMAGE_BIT] = "a bit",
        [DAMAGE_SECTOR_ZEROS] = "a sector of zeros",
        [DAMAGE_SECTOR_NOISE] = "a sector of noise",
        [DAMAGE_PAGE_ZEROS] = "a page of zeros",
        [DAMAGE_PAGE_NOISE] = "a page of noise",
        [DAMAGE_UNREADABLE] = "a sector that cannot be read",
        [DAMAGE_SHORT] = "the end",
        [DAMAGE_MISSING] = "no file",
    };
    return texts[kind];
}

bool sim_disk_damage(struct sim_disk *disk, enum sim_damage kind, const char *name, uint64_t offset,
                     struct random *random) {
    struct inode *inode = names_find(&disk->seen, name);
    if (inode == NULL || (offset >= inode->durable.size && kind != DAMAGE_MISSING))
        return false;
    disk->hurt = true;
    switch (kind) {
    case DAMAGE_BIT:
        return sim_disk_flip(disk, name, offset, (uint8_t)(1u << random_below(random, 8)));
    case DAMAGE_SECTOR_ZEROS:
    case DAMAGE_SECTOR_NOISE:
        overwrite(inode, offset, SECTOR_SIZE, kind == DAMAGE_SECTOR_NOISE ? random : NULL);
        break;
    case DAMAGE_PAGE_ZEROS:
    case DAMAGE_PAGE_NOISE:
        overwrite(inode, offset, PAGE_SIZE, kind == DAMAGE_PAGE_NOISE ? random : NULL);
        break;
    case DAMAGE_UNREADABLE:
        make_unreadable(inode, offset);
        return true;
    case DAMAGE_SHORT:
        sparse_resize(&inode->durable, offset);
        break;
    case DAMAGE_MISSING:
        remove_name(disk, name, inode);
        return true;
    case SIM_DAMAGES:
        return false;
    }
    inode_see(inode);
    return true;
}

static void rename_inode(struct names *names, struct inode *inode, struct inode *to) {
    for (size_t i = 0; i < names->count; i++)
        if (names->names[i].inode == inode)
            names->names[i].inode = to;
}

static void swap_in(struct names *names, struct inode *a, struct inode *b) {
    struct inode between; /* only its address counts */
    rename_inode(names, a, &between);
    rename_inode(names, b, a);
    rename_inode(names, &between, b);
}

bool sim_disk_swap(struct sim_disk *disk, const char *a, const char *b) {
    struct inode *first = names_find(&disk->seen, a), *second = names_find(&disk->seen, b);
    if (first == NULL || second == NULL || first == second)
        return false;
    disk->hurt = true;
    swap_in(&disk->seen, first, second);
    swap_in(&disk->durable, first, second);
    return true;
}

bool sim_disk_is_hurt(const struct sim_disk *disk) {
    return disk->hurt;
}

static int by_text(const void *a, const void *b) {
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

void sim_disk_names(const struct sim_disk *disk, void (*each)(void *arg, const char *name), void *arg) {
    struct names names = {0};
    names_copy(&names, &disk->seen);
    if (names.count > 0)
        qsort(names.names, names.count, sizeof *names.names, by_text);
    for (size_t i = 0; i < names.count; i++)
        each(arg, names.names[i].text);
    free(names.names);
}

uint64_t sim_disk_size(const struct sim_disk *disk, const char *name) {
    const struct inode *inode = names_find(&disk->seen, name);
    return inode != NULL ? inode->durable.size : 0;
}

size_t sim_disk_peek(const struct sim_disk *disk, const char *name, uint64_t offset, uint8_t *to,
                     size_t size) {
    const struct inode *inode = names_find(&disk->seen, name);
    return inode != NULL ? sparse_read(&inode->durable, offset, to, size) : 0;
}
