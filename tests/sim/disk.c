#include "tests/sim/disk.h"

#include "storage/sparse.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <bsd/sys/queue.h>
#include <err.h>
#include <stdlib.h>

#define SECTOR_SIZE 512u

/* A change of content since the last sync, in order. data NULL: the size became offset. */
struct change {
    STAILQ_ENTRY(change) next;
    uint64_t offset;
    size_t size;
    uint8_t *data;
};

struct node {
    LIST_ENTRY(node) all;
    struct sparse seen, durable;
    STAILQ_HEAD(, change) changes;
    unsigned open;     /* files */
    struct node *copy; /* while the disk is being copied */
};

struct name {
    char text[FILE_NAME_MAX];
    struct node *node;
};

struct names {
    struct name *names;
    size_t count, capacity;
};

/* A change of names since the last sync: `from` stops naming the node, `to` begins to; either may be empty.
 */
struct move {
    char from[FILE_NAME_MAX], to[FILE_NAME_MAX];
    struct node *node;
};

struct sim_disk {
    struct file_system fs;
    LIST_HEAD(, node) nodes;
    struct names seen, durable;
    struct move *moves;
    size_t move_count, move_capacity;
    uint64_t capacity;
    uint64_t operations[6]; /* by kind */
    struct sim_disk_fault fault;
};

struct sim_file {
    struct file file;
    struct sim_disk *disk;
    struct node *node;
};

static void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL)
        err(1, "out of memory for the simulated disk");
    return memory;
}

static void *grow(void *array, size_t *capacity, size_t count, size_t size) {
    if (count <= *capacity)
        return array;
    *capacity = 2 * count;
    if ((array = reallocarray(array, *capacity, size)) == NULL)
        err(1, "out of memory for the simulated disk");
    return array;
}

/* Names. */

static struct node *names_find(const struct names *names, const char *text) {
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i].text, text) == 0)
            return names->names[i].node;
    return NULL;
}

static void names_remove(struct names *names, const char *text, const struct node *node) {
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i].text, text) == 0 && names->names[i].node == node) {
            names->names[i] = names->names[--names->count];
            return;
        }
}

static void names_set(struct names *names, const char *text, struct node *node) {
    names_remove(names, text, names_find(names, text));
    names->names = grow(names->names, &names->capacity, names->count + 1, sizeof *names->names);
    struct name *name = &names->names[names->count++];
    size_t size = strlcpy(name->text, text, sizeof name->text);
    assert(size < sizeof name->text);
    name->node = node;
}

static void names_copy(struct names *to, const struct names *from) {
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->names[i].text, from->names[i].node);
}

static bool names_hold(const struct names *names, const struct node *node) {
    for (size_t i = 0; i < names->count; i++)
        if (names->names[i].node == node)
            return true;
    return false;
}

static void names_move(struct names *names, const struct move *move) {
    if (move->from[0] != '\0')
        names_remove(names, move->from, move->node);
    if (move->to[0] != '\0')
        names_set(names, move->to, move->node);
}

static void move_add(struct sim_disk *disk, const char *from, const char *to, struct node *node) {
    disk->moves = grow(disk->moves, &disk->move_capacity, disk->move_count + 1, sizeof *disk->moves);
    struct move *move = &disk->moves[disk->move_count++];
    *move = (struct move){.node = node};
    strlcpy(move->from, from, sizeof move->from);
    strlcpy(move->to, to, sizeof move->to);
    names_move(&disk->seen, move);
}

/* Content. */

static void change_free(struct change *change) {
    free(change->data);
    free(change);
}

static void changes_clear(struct node *node) {
    while (!STAILQ_EMPTY(&node->changes)) {
        struct change *change = STAILQ_FIRST(&node->changes);
        STAILQ_REMOVE_HEAD(&node->changes, next);
        change_free(change);
    }
}

static void node_free(struct node *node) {
    changes_clear(node);
    sparse_release(&node->seen);
    sparse_release(&node->durable);
    LIST_REMOVE(node, all);
    free(node);
}

static struct node *node_new(struct sim_disk *disk) {
    struct node *node = allocate(sizeof *node);
    STAILQ_INIT(&node->changes);
    LIST_INSERT_HEAD(&disk->nodes, node, all);
    return node;
}

/* A node lives while a name, an open file or a change of names that a crash may bring back needs it. */
static void nodes_collect(struct sim_disk *disk) {
    struct node *node, *following;
    LIST_FOREACH_SAFE(node, &disk->nodes, all, following) {
        bool needed = node->open > 0 || names_hold(&disk->seen, node) || names_hold(&disk->durable, node);
        for (size_t i = 0; i < disk->move_count && !needed; i++)
            needed = disk->moves[i].node == node;
        if (!needed)
            node_free(node);
    }
}

static void content_copy(struct sparse *to, const struct sparse *from) {
    sparse_release(to);
    uint8_t *chunk = allocate(SPARSE_CHUNK_SIZE);
    for (size_t i = 0; i < from->capacity; i++)
        if (from->chunks[i] != NULL) {
            uint64_t offset = (uint64_t)i * SPARSE_CHUNK_SIZE;
            size_t got = sparse_read(from, offset, chunk, SPARSE_CHUNK_SIZE);
            sparse_write(to, offset, (struct bytes){chunk, got});
        }
    sparse_resize(to, from->size);
    free(chunk);
}

static void change_apply(struct sparse *to, const struct change *change) {
    if (change->data == NULL)
        sparse_resize(to, change->offset);
    else
        sparse_write(to, change->offset, (struct bytes){change->data, change->size});
}

static void change_add(struct node *node, uint64_t offset, const struct bytes *data) {
    struct change *change = allocate(sizeof *change);
    change->offset = offset;
    if (data != NULL) {
        change->size = data->size;
        change->data = allocate(data->size + 1);
        memcpy(change->data, data->data, data->size);
    }
    STAILQ_INSERT_TAIL(&node->changes, change, next);
    change_apply(&node->seen, change);
}

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
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes) {
    disk->capacity = bytes;
}

uint64_t sim_disk_used(const struct sim_disk *disk) {
    uint64_t sum = 0;
    const struct node *node;
    LIST_FOREACH(node, &disk->nodes, all)
    if (node->open > 0 || names_hold(&disk->seen, node))
        sum += node->seen.size;
    return sum;
}

static bool has_room(const struct sim_disk *disk, const struct node *node, uint64_t size) {
    if (disk->capacity == 0 || size <= node->seen.size)
        return true;
    return sim_disk_used(disk) - node->seen.size + size <= disk->capacity;
}

/* The operations. */

static const struct file_operations operations;

static enum file_result sim_open(struct file_system *fs, const char *text, bool create, struct file **out) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_NAME);
    if (result != FILE_OK)
        return result;
    struct node *node = names_find(&disk->seen, text);
    if (node == NULL && !create)
        return FILE_NOT_FOUND;
    if (node == NULL)
        move_add(disk, "", text, node = node_new(disk));
    struct sim_file *file = allocate(sizeof *file);
    *file = (struct sim_file){{&operations}, disk, node};
    node->open++;
    *out = &file->file;
    return FILE_OK;
}

static void sim_close(struct file *file) {
    struct sim_file *sim = (struct sim_file *)file;
    assert(sim->node->open > 0);
    sim->node->open--;
    nodes_collect(sim->disk);
    free(sim);
}

static enum file_result sim_write(struct file *file, uint64_t offset, struct bytes data) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_WRITE);
    if (result == FILE_OK && !has_room(sim->disk, sim->node, offset + data.size))
        result = FILE_NO_SPACE;
    struct bytes half = {data.data, data.size / 2};
    if (result == FILE_OK)
        change_add(sim->node, offset, &data);
    else if (has_room(sim->disk, sim->node, offset + half.size))
        change_add(sim->node, offset, &half);
    return result;
}

static enum file_result sim_read(struct file *file, uint64_t offset, uint8_t *to, size_t size, size_t *got) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_READ);
    *got = result == FILE_OK ? sparse_read(&sim->node->seen, offset, to, size) : 0;
    return result;
}

static enum file_result sim_size(struct file *file, uint64_t *out) {
    *out = ((struct sim_file *)file)->node->seen.size;
    return FILE_OK;
}

static enum file_result sim_allocate(struct file *file, uint64_t size) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_ALLOCATE);
    if (result != FILE_OK || size <= sim->node->seen.size)
        return result;
    if (!has_room(sim->disk, sim->node, size))
        return FILE_NO_SPACE;
    change_add(sim->node, size, NULL);
    return FILE_OK;
}

static enum file_result sim_truncate(struct file *file, uint64_t size) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_WRITE);
    if (result != FILE_OK)
        return result;
    if (!has_room(sim->disk, sim->node, size))
        return FILE_NO_SPACE;
    change_add(sim->node, size, NULL);
    return FILE_OK;
}

static enum file_result sim_sync(struct file *file) {
    struct sim_file *sim = (struct sim_file *)file;
    enum file_result result = meet_fault(sim->disk, SIM_DISK_SYNC);
    const struct change *change;
    if (result == FILE_OK)
        STAILQ_FOREACH(change, &sim->node->changes, next)
    change_apply(&sim->node->durable, change);
    changes_clear(sim->node);
    return result;
}

static enum file_result sim_rename(struct file_system *fs, const char *from, const char *to) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_NAME);
    struct node *node = names_find(&disk->seen, from);
    if (result == FILE_OK && node == NULL)
        result = FILE_NOT_FOUND;
    if (result == FILE_OK && strcmp(from, to) != 0)
        move_add(disk, from, to, node);
    return result;
}

static enum file_result sim_remove(struct file_system *fs, const char *text) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_NAME);
    struct node *node = names_find(&disk->seen, text);
    if (result == FILE_OK && node == NULL)
        result = FILE_NOT_FOUND;
    if (result == FILE_OK)
        move_add(disk, text, "", node);
    return result;
}

static enum file_result sim_sync_names(struct file_system *fs) {
    struct sim_disk *disk = (struct sim_disk *)fs;
    enum file_result result = meet_fault(disk, SIM_DISK_SYNC_NAMES);
    if (result != FILE_OK)
        return result;
    names_copy(&disk->durable, &disk->seen);
    disk->move_count = 0;
    nodes_collect(disk);
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
    .free = sim_free,
};

/* The disk. */

struct sim_disk *sim_disk_new(void) {
    struct sim_disk *disk = allocate(sizeof *disk);
    disk->fs.operations = &operations;
    LIST_INIT(&disk->nodes);
    return disk;
}

struct file_system *sim_disk_file_system(struct sim_disk *disk) {
    return &disk->fs;
}

void sim_disk_free(struct sim_disk *disk) {
    while (!LIST_EMPTY(&disk->nodes)) {
        assert(LIST_FIRST(&disk->nodes)->open == 0);
        node_free(LIST_FIRST(&disk->nodes));
    }
    free(disk->seen.names);
    free(disk->durable.names);
    free(disk->moves);
    free(disk);
}

void sim_disk_restart(struct sim_disk *disk) {
    disk->fault = (struct sim_disk_fault){0};
}

/* How a crash treats what was not synced: all lost, all kept, or each decided by itself. */
enum fate { FATE_LOST, FATE_KEPT, FATE_MIXED };

static void node_crash(struct node *node, enum fate fate, struct random *random) {
    const struct change *change;
    assert(node->open == 0);
    STAILQ_FOREACH(change, &node->changes, next) {
        uint64_t choice = fate == FATE_MIXED ? random_below(random, 3) : (uint64_t)fate;
        if (choice == FATE_KEPT)
            change_apply(&node->durable, change);
        else if (choice == FATE_MIXED && change->data != NULL)
            change_tear(&node->durable, change, random);
    }
    changes_clear(node);
    content_copy(&node->seen, &node->durable);
}

void sim_disk_crash(struct sim_disk *disk, struct random *random) {
    struct node *node;
    enum fate names = (enum fate)random_below(random, 3);
    for (size_t i = 0; i < disk->move_count; i++)
        if (names == FATE_KEPT || (names == FATE_MIXED && random_below(random, 2) == 0))
            names_move(&disk->durable, &disk->moves[i]);
    disk->move_count = 0;
    names_copy(&disk->seen, &disk->durable);
    LIST_FOREACH(node, &disk->nodes, all)
    node_crash(node, (enum fate)random_below(random, 3), random);
    nodes_collect(disk);
    sim_disk_restart(disk);
}

bool sim_disk_flip(struct sim_disk *disk, const char *name, uint64_t offset, uint8_t mask) {
    struct node *node = names_find(&disk->seen, name);
    uint8_t byte;
    if (node == NULL || sparse_read(&node->durable, offset, &byte, 1) != 1)
        return false;
    byte ^= mask;
    sparse_write(&node->durable, offset, (struct bytes){&byte, 1});
    if (sparse_read(&node->seen, offset, &byte, 1) == 1) {
        byte ^= mask;
        sparse_write(&node->seen, offset, (struct bytes){&byte, 1});
    }
    return true;
}

static void names_copy_nodes(struct names *to, const struct names *from) {
    names_copy(to, from);
    for (size_t i = 0; i < to->count; i++)
        to->names[i].node = to->names[i].node->copy;
}

struct sim_disk *sim_disk_copy(const struct sim_disk *disk) {
    struct sim_disk *copy = sim_disk_new();
    copy->capacity = disk->capacity;
    struct node *node;
    LIST_FOREACH(node, &disk->nodes, all) {
        node->copy = node_new(copy);
        content_copy(&node->copy->durable, &node->durable);
        const struct change *change;
        STAILQ_FOREACH(change, &node->changes, next) {
            struct bytes data = {change->data, change->size};
            change_add(node->copy, change->offset, change->data == NULL ? NULL : &data);
        }
        content_copy(&node->copy->seen, &node->seen);
    }
    names_copy_nodes(&copy->seen, &disk->seen);
    names_copy_nodes(&copy->durable, &disk->durable);
    copy->moves = grow(NULL, &copy->move_capacity, disk->move_count, sizeof *copy->moves);
    for (size_t i = 0; i < disk->move_count; i++) {
        copy->moves[i] = disk->moves[i];
        copy->moves[i].node = disk->moves[i].node->copy;
    }
    copy->move_count = disk->move_count;
    return copy;
}
