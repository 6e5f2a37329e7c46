#include "storage/buffer.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

void buffer_release(struct buffer *b) {
    free(b->data);
    *b = (struct buffer){0};
}

/* The content at the front of memory of that size. */
static void buffer_move(struct buffer *b, size_t capacity) {
    size_t held = b->end - b->start;
    assert(held <= capacity);
    uint8_t *data = malloc(capacity);
    if (data == NULL)
        err(1, "out of memory for a buffer of %zu bytes", capacity);
    if (held > 0)
        memcpy(data, b->data + b->start, held);
    free(b->data);
    *b = (struct buffer){.data = data, .end = held, .capacity = capacity};
}

uint8_t *buffer_make_room(struct buffer *b, size_t size) {
    if (size == 0 && b->data == NULL)
        return NULL; /* NULL + 0 is undefined */
    size_t held = b->end - b->start;
    assert(size <= SIZE_MAX / 4 - held);
    if (held + size <= b->capacity / 2) {
        /* The consumed front is large enough, and moving at most half keeps appends linear. */
        memmove(b->data, b->data + b->start, held);
        b->start = 0;
        b->end = held;
        return b->data + held;
    }
    size_t capacity = b->capacity == 0 ? 256 : b->capacity;
    while (capacity < held + size)
        capacity *= 2;
    buffer_move(b, capacity);
    return b->data + b->end;
}

void buffer_append_within(struct buffer *b, struct bytes more, size_t whole) {
    size_t needed = b->end - b->start + more.size, doubled = 2 * b->capacity;
    if (b->capacity - b->end < more.size) {
        size_t capacity = doubled < whole ? doubled : whole;
        buffer_move(b, capacity < needed ? needed : capacity);
    }
    buffer_append(b, more);
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

void buffer_shrink(struct buffer *b, size_t keep) {
    buffer_trim(b, keep);
    size_t held = b->end - b->start;
    if (b->capacity > keep && held < b->capacity / 4)
        buffer_move(b, held > keep ? held : keep > 0 ? keep : 1);
}
