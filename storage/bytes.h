/* Borrowed bytes: a pointer and a size, owned by somebody else.
 *
 * Keys, values and datagrams are any bytes, NUL included, so nothing here ever looks for an end. A borrowed
 * range stays valid for as long as the function that gave it says. */
#ifndef STORAGE_BYTES_H
#define STORAGE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

/* Of a C string, without its terminating NUL. */
static inline struct bytes bytes_of(const char *text) {
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Byte order, as memcmp; of two where one is a prefix of the other the shorter comes first. */
static inline int bytes_compare(struct bytes a, struct bytes b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

static inline bool bytes_start_with(struct bytes a, struct bytes prefix) {
    return a.size >= prefix.size && (prefix.size == 0 || memcmp(a.data, prefix.data, prefix.size) == 0);
}

#endif
