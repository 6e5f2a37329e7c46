#include "storage/directory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_DIGITS 16

bool directory_number(const char *name, const char *prefix, uint64_t *number) {
    size_t size = strlen(prefix);
    if (strncmp(name, prefix, size) != 0 || strlen(name) != size + NUMBER_DIGITS)
        return false;
    *number = 0;
    for (const char *c = name + size; *c != '\0'; c++) {
        bool digit = *c >= '0' && *c <= '9', letter = *c >= 'a' && *c <= 'f';
        if (!digit && !letter)
            return false;
        *number = *number << 4 | (uint64_t)(digit ? *c - '0' : *c - 'a' + 10);
    }
    return *number > 0 && *number < UINT64_MAX;
}

void directory_aside_name(char out[FILE_NAME_MAX], uint64_t incarnation, const char *name) {
    snprintf(out, FILE_NAME_MAX, DIRECTORY_ASIDE "%016" PRIx64 "-%s", incarnation, name);
}

bool directory_is_aside(const char *name) {
    size_t prefix = strlen(DIRECTORY_ASIDE) + NUMBER_DIGITS;
    return strncmp(name, DIRECTORY_ASIDE, strlen(DIRECTORY_ASIDE)) == 0 && strlen(name) > prefix &&
           strspn(name + strlen(DIRECTORY_ASIDE), "0123456789abcdef") == NUMBER_DIGITS &&
           name[prefix] == '-' && directory_owns(name + prefix + 1);
}

static bool has_suffix(const char *name, size_t *stem) {
    size_t size = strlen(name), suffix = strlen(DIRECTORY_NEW);
    *stem = size < suffix ? size : size - suffix;
    return strcmp(name + *stem, DIRECTORY_NEW) == 0;
}

static bool owns_stem(const char *name) {
    static const char *const names[] = {"identity",    "hard_state",     "log_end", "snapshot",
                                        "snapshot.in", DIRECTORY_LEDGER, "removed", "diverged"};
    uint64_t number;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return directory_number(name, DIRECTORY_SEGMENT, &number) ||
           directory_number(name, DIRECTORY_SPARE, &number);
}

bool directory_owns(const char *name) {
    char whole[FILE_NAME_MAX];
    size_t stem;
    if (!has_suffix(name, &stem))
        return owns_stem(name);
    if (stem >= sizeof whole)
        return false;
    memcpy(whole, name, stem);
    whole[stem] = '\0';
    return owns_stem(whole);
}

bool directory_is_unfinished(const char *name) {
    size_t stem;
    return has_suffix(name, &stem) && (directory_owns(name) || directory_is_aside(name));
}
