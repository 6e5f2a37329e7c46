#include "storage/buffer.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

void buffer_release(struct buffer *b) {
    free(b->data);
    *b = (struct buffer){0};
}

uint8_t *buffer_make_room(struct buffer *b, size_t size) {
    if (size == 0 && b->data == NULL)
        return NULL; /* NULL + 0 is undefined */
    size_t held = b->end - b->start;
    assert(size <= SIZE_MAX / 4 - held);
    if (held + size <= b->capacity / 2) {
        /* The consumed front is large enough, and moving at most half keeps appends linear. */
        memmove(b->data, b->data + b->start, held);
    } else {
        size_t capacity = b->capacity == 0 ? 256 : b->capacity;
        while (capacity < held + size)
            capacity *= 2;
        uint8_t *data = malloc(capacity);
        if (data == NULL)
            err(1, "out of memory for a buffer of %zu bytes", capacity);
        if (held > 0)
            memcpy(data, b->data + b->start, held);
        free(b->data);
        b->data = data;
        b->capacity = capacity;
    }
    b->start = 0;
    b->end = held;
    return b->data + b->end;
}

void buffer_append_text(struct buffer *b, const char *text) {
    buffer_append(b, bytes_of(text));
}

void buffer_consume(struct buffer *b, size_t size) {
    assert(size <= b->end - b->start);
    b->start += size;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buffer_clear(struct buffer *b) {
    b->start = b->end = 0;
}

void buffer_trim(struct buffer *b, size_t keep) {
    if (b->start == b->end && b->capacity > keep)
        buffer_release(b);
}
