#include "storage/aside.h"

#include <bsd/string.h>
#include <err.h>
#include <stdlib.h>

#include "storage/directory.h"

struct names {
    bool (*wanted)(const char *name);
    char (*names)[FILE_NAME_MAX];
    size_t count, capacity;
};

static void names_add(void *arg, const char *name) {
    struct names *list = arg;
    if (!list->wanted(name))
        return;
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 32 : list->capacity * 2;
        list->names = reallocarray(list->names, list->capacity, sizeof list->names[0]);
        if (list->names == NULL)
            err(1, "out of memory");
    }
    strlcpy(list->names[list->count++], name, FILE_NAME_MAX);
}

static enum file_result names_list(struct file_system *fs, struct names *list,
                                   bool (*wanted)(const char *name)) {
    *list = (struct names){.wanted = wanted};
    return file_system_list(fs, names_add, list);
}

/* Not the ledger: rows are nowhere else, and it is open to damage of its own. */
static bool goes_aside(const char *name) {
    return directory_owns(name) && strncmp(name, IDENTITY_FILE, strlen(IDENTITY_FILE)) != 0 &&
           strcmp(name, DIRECTORY_LEDGER) != 0;
}

enum file_result aside_begin(struct file_system *fs, struct identity *identity, uint64_t incarnation) {
    identity->incarnation = incarnation;
    identity->files = IDENTITY_FILES_GOING;
    return identity_save(fs, identity);
}

enum file_result aside_finish(struct file_system *fs, struct identity *identity) {
    struct names list;
    enum file_result result = names_list(fs, &list, goes_aside);
    for (size_t i = 0; i < list.count && result == FILE_OK; i++) {
        char aside[FILE_NAME_MAX];
        directory_aside_name(aside, identity->incarnation, list.names[i]);
        result = file_system_rename(fs, list.names[i], aside);
    }
    free(list.names);
    if (result == FILE_OK)
        result = file_system_sync(fs);
    if (result != FILE_OK)
        return result;
    identity->files = IDENTITY_FILES_BESIDE;
    return identity_save(fs, identity);
}

enum file_result aside_remove(struct file_system *fs, struct identity *identity, size_t *count) {
    struct names list;
    enum file_result result = names_list(fs, &list, directory_is_aside);
    for (size_t i = 0; i < list.count; i++) {
        enum file_result removed = file_system_remove(fs, list.names[i]);
        if (result == FILE_OK)
            result = removed;
    }
    *count = list.count;
    free(list.names);
    if (result == FILE_OK)
        result = file_system_sync(fs);
    if (result != FILE_OK)
        return result;
    identity->files = IDENTITY_FILES_OWN;
    result = identity_save(fs, identity);
    if (result != FILE_OK)
        identity->files = IDENTITY_FILES_BESIDE;
    return result;
}
