#include "tests/sim/disk_internal.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <err.h>
#include <stdlib.h>

struct sim_file {
    struct file file;
    struct sim_disk *disk;
    struct inode *inode;
};

void *disk_allocate(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL)
        err(1, "out of memory for the simulated disk");
    return memory;
}

void *disk_grow(void *array, size_t *capacity, size_t count, size_t size) {
    if (count <= *capacity)
        return array;
    *capacity = 2 * count;
    if ((array = reallocarray(array, *capacity, size)) == NULL)
        err(1, "out of memory for the simulated disk");
    return array;
}

/* Names. */

struct inode *names_find(const struct names *names, const char *text) {
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i].text, text) == 0)
            return names->names[i].inode;
    return NULL;
}

static void names_remove(struct names *names, const char *text, const struct inode *inode) {
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i].text, text) == 0 && names->names[i].inode == inode) {
            names->names[i] = names->names[--names->count];
            return;
        }
}

void names_set(struct names *names, const char *text, struct inode *inode) {
    names_remove(names, text, names_find(names, text));
    names->names = disk_grow(names->names, &names->capacity, names->count + 1, sizeof *names->names);
    struct name *name = &names->names[names->count++];
    size_t size = strlcpy(name->text, text, sizeof name->text);
    assert(size < sizeof name->text);
    name->inode = inode;
}

void names_copy(struct names *to, const struct names *from) {
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->names[i].text, from->names[i].inode);
}

static bool names_hold(const struct names *names, const struct inode *inode) {
    for (size_t i = 0; i < names->count; i++)
        if (names->names[i].inode == inode)
            return true;
    return false;
}

void names_move(struct names *names, const struct move *move) {
    if (move->from[0] != '\0')
        names_remove(names, move->from, move->inode);
    if (move->to[0] != '\0')
        names_set(names, move->to, move->inode);
}

static void move_add(struct sim_disk *disk, const char *from, const char *to, struct inode *inode) {
    disk->moves = disk_grow(disk->moves, &disk->move_capacity, disk->move_count + 1, sizeof *disk->moves);
    struct move *move = &disk->moves[disk->move_count++];
    *move = (struct move){.inode = inode};
    strlcpy(move->from, from, sizeof move->from);
    strlcpy(move->to, to, sizeof move->to);
    names_move(&disk->seen, move);
}

/* Content. */

void change_free(struct change *change) {
    free(change->data);
    free(change);
}

void changes_clear(struct inode *inode) {
    while (!STAILQ_EMPTY(&inode->changes)) {
        struct change *change = STAILQ_FIRST(&inode->changes);
        STAILQ_REMOVE_HEAD(&inode->changes, next);
        change_free(change);
    }
}

static void inode_free(struct inode *inode) {
    changes_clear(inode);
    sparse_release(&inode->seen);
    sparse_release(&inode->durable);
    LIST_REMOVE(inode, all);
    free(inode);
}

struct inode *disk_inode_new(struct sim_disk *disk) {
    struct inode *inode = disk_allocate(sizeof *inode);
    STAILQ_INIT(&inode->changes);
    LIST_INSERT_HEAD(&disk->inodes, inode, all);
    return inode;
}

/* An inode lives while a name, an open file or a change of names that a crash may bring back needs it. */
void disk_collect(struct sim_disk *disk) {
    struct inode *inode, *following;
    LIST_FOREACH_SAFE(inode, &disk->inodes, all, following) {
        bool needed = inode->open > 0 || names_hold(&disk->seen, inode) || names_hold(&disk->durable, inode);
        for (size_t i = 0; i < disk->move_count && !needed; i++)
            needed = disk->moves[i].inode == inode;
        for (size_t i = 0; i < disk->phantom_count && !needed; i++)
            needed = disk->phantoms[i].inode == inode;
        if (!needed)
            inode_free(inode);
    }
}

void content_copy(struct sparse *to, const struct sparse *from) {
    sparse_release(to);
    uint8_t *chunk = disk_allocate(SPARSE_CHUNK_SIZE);
    for (size_t i = 0; i < from->capacity; i++)
        if (from->chunks[i] != NULL) {
            uint64_t offset = (uint64_t)i * SPARSE_CHUNK_SIZE;
            size_t got = sparse_read(from, offset, chunk, SPARSE_CHUNK_SIZE);
            sparse_write(to, offset, (struct bytes){chunk, got});
        }
    sparse_resize(to, from->size);
    free(chunk);
}

void change_apply(struct sparse *to, const struct change *change) {
    if (change->data == NULL)
        sparse_resize(to, change->offset);
    else
        sparse_write(to, change->offset, (struct bytes){change->data, change->size});
}

void inode_see(struct inode *inode) {
    const struct change *change;
    content_copy(&inode->seen, &inode->durable);
    STAILQ_FOREACH(change, &inode->changes, next)
    change_apply(&inode->seen, change);
}

static struct change *change_new(struct inode *inode, uint64_t offset, const struct bytes *data) {
    struct change *change = disk_allocate(sizeof *change);
    change->offset = offset;
    if (data != NULL) {
        change->size = data->size;
        change->data = disk_allocate(data->size + 1);
        memcpy(change->data, data->data, data->size);
    }
    STAILQ_INSERT_TAIL(&inode->changes, change, next);
    change_apply(&inode->seen, change);
    return change;
}

void change_add(struct inode *inode, uint64_t offset, const struct bytes *data) {
    change_new(inode, offset, data);
}

/* Faults. */

uint64_t sim_disk_operations(const struct sim_disk *disk, unsigned kinds) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < 6; i++)
        if (kinds & 1u << i)
            sum += disk->operations[i];
    return sum;
}

/* Counts the operation, and says what it is to give. */
static enum file_result meet_fault(struct sim_disk *disk, unsigned kind) {
    for (unsigned i = 0; i < 6; i++)
        disk->operations[i] += (kind & 1u << i) != 0;
    if (disk->cut_after != UINT64_MAX && kind != SIM_DISK_READ && disk->cut_after-- == 0)
        disk_reach_cut(disk);
    struct sim_disk_fault *fault = &disk->fault;
    if ((fault->kinds & kind) == 0)
        return FILE_OK;
    if (fault->after > 0) {
        fault->after--;
        return FILE_OK;
    }
    enum file_result result = fault->result;
    if (!fault->stays)
        *fault = (struct sim_disk_fault){0};
    return result;
}

void sim_disk_inject(struct sim_disk *disk, struct sim_disk_fault fault) {
    disk->fault = fault;
    disk->hurt = disk->hurt || (fault.kinds & SIM_DISK_READ) != 0;
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes) {
    disk->capacity = bytes;
}

bool sim_disk_is_bounded(const struct sim_disk *disk) {
    return disk->capacity > 0;
}

uint64_t sim_disk_used(const struct sim_disk *disk) {
    uint64_t sum = 0;
    const struct inode *inode;
    LIST_FOREACH(inode, &disk->inodes, all)
    if (inode->open > 0 || names_hold(&disk->seen, inode))
        sum += inode->seen.size;
    return sum;
}

static bool has_room(const struct sim_disk *disk, const struct inode *inode, uint64_t size) {
    if (disk->capacity == 0 || size <= inode->seen.size)
        return true;
    return sim_disk_used(disk) - inode->seen.size + size <= disk->capacity;
}

/* The operations. */

static const struct file_operations operations;

static enum file_result sim_open(struct file_system *fs, const char *text, bool create, struct file **out) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_NAME);
    if (result != FILE_OK)
        return result;
    struct inode *inode = names_find(&disk->seen, text);
    if (inode == NULL && !create)
        return FILE_NOT_FOUND;
    if (inode == NULL)
        move_add(disk, "", text, inode = disk_inode_new(disk));
    struct sim_file *file = disk_allocate(sizeof *file);
    *file = (struct sim_file){{&operations}, disk, inode};
    inode->open++;
    *out = &file->file;
    return FILE_OK;
}

static void sim_close(struct file *file) {
    struct sim_file *sim = (struct sim_file *)file;
    assert(sim->inode->open > 0);
    sim->inode->open--;
    disk_collect(sim->disk);
    free(sim);
}

/* What is written can be read again. */
static void heal_bad(struct inode *inode, uint64_t from, uint64_t to) {
    for (size_t i = 0; i < inode->bad_count;) {
        if (inode->bad[i].from < to && from < inode->bad[i].to)
            inode->bad[i] = inode->bad[--inode->bad_count];
        else
            i++;
    }
}

static void add_write(struct sim_disk *disk, struct inode *inode, uint64_t offset, const struct bytes *data) {
    struct change *change = change_new(inode, offset, data);
    heal_bad(inode, offset, offset + data->size);
    if (disk->next_fate == CHANGE_DONE || data->size == 0)
        return;
    change->fate = disk->next_fate;
    change->elsewhere = (offset / SECTOR_SIZE + 1 + random_below(disk->fate_random, 16)) * SECTOR_SIZE;
    disk->next_fate = CHANGE_DONE;
}

static enum file_result sim_write(struct file *file, uint64_t offset, struct bytes data) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_WRITE);
    if (result == FILE_OK && !has_room(sim->disk, sim->inode, offset + data.size))
        result = FILE_NO_SPACE;
    struct bytes half = {data.data, data.size / 2};
    if (result == FILE_OK)
        add_write(sim->disk, sim->inode, offset, &data);
    else if (has_room(sim->disk, sim->inode, offset + half.size))
        change_add(sim->inode, offset, &half);
    return result;
}

static enum file_result sim_read(struct file *file, uint64_t offset, uint8_t *to, size_t size, size_t *got) {
    struct sim_file *sim = (struct sim_file *)file;
    const struct inode *inode = sim->inode;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_READ);
    for (size_t i = 0; i < inode->bad_count; i++)
        if (inode->bad[i].from < offset + size && offset < inode->bad[i].to)
            result = FILE_IO_ERROR;
    *got = result == FILE_OK ? sparse_read(&inode->seen, offset, to, size) : 0;
    return result;
}

static enum file_result sim_size(struct file *file, uint64_t *out) {
    *out = ((struct sim_file *)file)->inode->seen.size;
    return FILE_OK;
}

static enum file_result sim_allocate(struct file *file, uint64_t size) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_ALLOCATE);
    if (result != FILE_OK || size <= sim->inode->seen.size)
        return result;
    if (!has_room(sim->disk, sim->inode, size))
        return FILE_NO_SPACE;
    change_add(sim->inode, size, NULL);
    return FILE_OK;
}

static enum file_result sim_truncate(struct file *file, uint64_t size) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_WRITE);
    if (result != FILE_OK)
        return result;
    if (!has_room(sim->disk, sim->inode, size))
        return FILE_NO_SPACE;
    change_add(sim->inode, size, NULL);
    return FILE_OK;
}

static enum file_result sim_sync(struct file *file) {
    struct sim_file *sim = (struct sim_file *)file;
    struct inode *inode = sim->inode;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_SYNC);
    struct change *change;
    while (result == FILE_OK && (change = STAILQ_FIRST(&inode->changes)) != NULL) {
        STAILQ_REMOVE_HEAD(&inode->changes, next);
        if (change->fate == CHANGE_DONE) {
            change_apply(&inode->durable, change);
            change_free(change);
        } else {
            phantom_add(sim->disk, inode, change);
        }
    }
    changes_clear(inode);
    return result;
}

static enum file_result sim_rename(struct file_system *fs, const char *from, const char *to) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_NAME);
    struct inode *inode = names_find(&disk->seen, from);
    if (result == FILE_OK && inode == NULL)
        result = FILE_NOT_FOUND;
    if (result == FILE_OK && strcmp(from, to) != 0)
        move_add(disk, from, to, inode);
    return result;
}

static enum file_result sim_remove(struct file_system *fs, const char *text) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_NAME);
    struct inode *inode = names_find(&disk->seen, text);
    if (result == FILE_OK && inode == NULL)
        result = FILE_NOT_FOUND;
    if (result == FILE_OK)
        move_add(disk, text, "", inode);
    return result;
}

static enum file_result sim_sync_names(struct file_system *fs) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_SYNC_NAMES);
    if (result != FILE_OK)
        return result;
    names_copy(&disk->durable, &disk->seen);
    disk->move_count = 0;
    disk_collect(disk);
    return FILE_OK;
}

static enum file_result sim_list(struct file_system *fs, void (*each)(void *arg, const char *name),
                                 void *arg) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_NAME);
    struct names names = {0};
    names_copy(&names, &disk->seen);
    for (size_t i = 0; i < names.count && result == FILE_OK; i++)
        each(arg, names.names[i].text);
    free(names.names);
    return result;
}

static enum file_result sim_room(struct file_system *fs, uint64_t *bytes) {
    const struct sim_disk *disk = (const struct sim_disk *)fs;
    uint64_t used = sim_disk_used(disk);
    *bytes = disk->capacity == 0 ? UINT64_MAX : disk->capacity > used ? disk->capacity - used : 0;
    return FILE_OK;
}

static void sim_free(struct file_system *fs) {
    (void)fs;
}

static const struct file_operations operations = {
    .open = sim_open,
    .close = sim_close,
    .write = sim_write,
    .read = sim_read,
    .size = sim_size,
    .allocate = sim_allocate,
    .truncate = sim_truncate,
    .sync = sim_sync,
    .rename = sim_rename,
    .remove = sim_remove,
    .sync_names = sim_sync_names,
    .list = sim_list,
    .room = sim_room,
    .free = sim_free,
};

/* The disk. */

struct sim_disk *sim_disk_new(void) {
    struct sim_disk *disk = disk_allocate(sizeof *disk);
    disk->fs.operations = &operations;
    disk->cut_after = UINT64_MAX;
    LIST_INIT(&disk->inodes);
    return disk;
}

struct file_system *sim_disk_file_system(struct sim_disk *disk) {
    return &disk->fs;
}

void sim_disk_free(struct sim_disk *disk) {
    for (size_t i = 0; i < disk->phantom_count; i++)
        change_free(disk->phantoms[i].change);
    disk->phantom_count = 0;
    if (disk->after_cut != NULL)
        sim_disk_free(disk->after_cut);
    while (!LIST_EMPTY(&disk->inodes)) {
        assert(LIST_FIRST(&disk->inodes)->open == 0);
        inode_free(LIST_FIRST(&disk->inodes));
    }
    free(disk->seen.names);
    free(disk->durable.names);
    free(disk->moves);
    free(disk->phantoms);
    free(disk);
}
