/* A file system in memory: what `-memory` runs on.
 *
 * A name points to a node, an open file too; a node lives as long as either does, as on POSIX. Syncs have
 * nothing to do. Nothing here is shared between files except the list of names, which only the loop's calls
 * touch. */
#include "storage/file.h"
#include "storage/sparse.h"

#include <assert.h>
#include <bsd/string.h>
#include <bsd/sys/queue.h>
#include <err.h>
#include <stdlib.h>

struct node {
    struct sparse content;
    unsigned references; /* names and open files */
};

struct name {
    SLIST_ENTRY(name) next;
    char text[FILE_NAME_MAX];
    struct node *node;
};

struct memory {
    struct file_system fs;
    SLIST_HEAD(, name) names;
};

struct memory_file {
    struct file file;
    struct node *node;
};

static void *allocate_zeroed(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL)
        err(1, "out of memory for a file");
    return memory;
}

static void node_drop(struct node *node) {
    if (--node->references > 0)
        return;
    sparse_release(&node->content);
    free(node);
}

static struct name *name_find(struct file_system *fs, const char *text) {
    struct memory *memory = (struct memory *)fs;
    struct name *name;
    SLIST_FOREACH(name, &memory->names, next)
    if (strcmp(name->text, text) == 0)
        return name;
    return NULL;
}

static struct name *name_add(struct file_system *fs, const char *text, struct node *node) {
    struct memory *memory = (struct memory *)fs;
    struct name *name = allocate_zeroed(sizeof *name);
    size_t size = strlcpy(name->text, text, sizeof name->text);
    assert(size < sizeof name->text);
    name->node = node;
    node->references++;
    SLIST_INSERT_HEAD(&memory->names, name, next);
    return name;
}

static void name_drop(struct file_system *fs, struct name *name) {
    struct memory *memory = (struct memory *)fs;
    SLIST_REMOVE(&memory->names, name, name, next);
    node_drop(name->node);
    free(name);
}

static const struct file_operations operations;

static enum file_result memory_open(struct file_system *fs, const char *text, bool create,
                                    struct file **out) {
    struct name *name = name_find(fs, text);
    if (name == NULL && !create)
        return FILE_NOT_FOUND;
    if (name == NULL)
        name = name_add(fs, text, allocate_zeroed(sizeof(struct node)));
    struct memory_file *file = allocate_zeroed(sizeof *file);
    file->file.operations = &operations;
    file->node = name->node;
    file->node->references++;
    *out = &file->file;
    return FILE_OK;
}

static struct sparse *content_of(struct file *file) {
    return &((struct memory_file *)file)->node->content;
}

static void memory_close(struct file *file) {
    node_drop(((struct memory_file *)file)->node);
    free(file);
}

static enum file_result memory_write(struct file *file, uint64_t offset, struct bytes data) {
    sparse_write(content_of(file), offset, data);
    return FILE_OK;
}

static enum file_result memory_read(struct file *file, uint64_t offset, uint8_t *to, size_t size,
                                    size_t *got) {
    *got = sparse_read(content_of(file), offset, to, size);
    return FILE_OK;
}

static enum file_result memory_size(struct file *file, uint64_t *out) {
    *out = content_of(file)->size;
    return FILE_OK;
}

static enum file_result memory_allocate(struct file *file, uint64_t size) {
    if (size > content_of(file)->size)
        sparse_resize(content_of(file), size);
    return FILE_OK;
}

static enum file_result memory_truncate(struct file *file, uint64_t size) {
    sparse_resize(content_of(file), size);
    return FILE_OK;
}

static enum file_result memory_sync(struct file *file) {
    (void)file;
    return FILE_OK;
}

static enum file_result memory_rename(struct file_system *fs, const char *from, const char *to) {
    struct name *old = name_find(fs, from), *over = name_find(fs, to);
    if (old == NULL)
        return FILE_NOT_FOUND;
    if (old == over)
        return FILE_OK;
    name_add(fs, to, old->node);
    name_drop(fs, old);
    if (over != NULL)
        name_drop(fs, over);
    return FILE_OK;
}

static enum file_result memory_remove(struct file_system *fs, const char *text) {
    struct name *name = name_find(fs, text);
    if (name == NULL)
        return FILE_NOT_FOUND;
    name_drop(fs, name);
    return FILE_OK;
}

static enum file_result memory_sync_names(struct file_system *fs) {
    (void)fs;
    return FILE_OK;
}

static enum file_result memory_list(struct file_system *fs, void (*each)(void *arg, const char *name),
                                    void *arg) {
    struct memory *memory = (struct memory *)fs;
    struct name *name;
    SLIST_FOREACH(name, &memory->names, next)
    each(arg, name->text);
    return FILE_OK;
}

static enum file_result memory_room(struct file_system *fs, uint64_t *bytes) {
    (void)fs;
    *bytes = UINT64_MAX;
    return FILE_OK;
}

static void memory_free(struct file_system *fs) {
    struct memory *memory = (struct memory *)fs;
    while (!SLIST_EMPTY(&memory->names))
        name_drop(fs, SLIST_FIRST(&memory->names));
    free(memory);
}

static const struct file_operations operations = {
    .open = memory_open,
    .close = memory_close,
    .write = memory_write,
    .read = memory_read,
    .size = memory_size,
    .allocate = memory_allocate,
    .truncate = memory_truncate,
    .sync = memory_sync,
    .rename = memory_rename,
    .remove = memory_remove,
    .sync_names = memory_sync_names,
    .list = memory_list,
    .room = memory_room,
    .free = memory_free,
};

struct file_system *file_system_memory_new(void) {
    struct memory *memory = allocate_zeroed(sizeof *memory);
    memory->fs.operations = &operations;
    SLIST_INIT(&memory->names);
    return &memory->fs;
}
