/* Owned, growing bytes with a consumed front: what a connection reads into and writes from.
 *
 * [0, start) has been consumed, [start, end) is the content, [end, capacity) is free. Pointers into a buffer
 * are valid until the next call that may grow or compact it (reserve, append). A buffer has no limit of its
 * own: whoever fills it checks one first. Lack of memory ends the process. */
#ifndef STORAGE_BUFFER_H
#define STORAGE_BUFFER_H

#include "storage/bytes.h"

struct buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

/* All zero is a valid empty buffer; release returns it to that state. */
void buffer_release(struct buffer *b);

static inline size_t buffer_size(const struct buffer *b) {
    return b->end - b->start;
}

static inline struct bytes buffer_bytes(const struct buffer *b) {
    size_t size = b->end - b->start;
    return (struct bytes){size == 0 ? b->data : b->data + b->start, size};
}

/* Where there is too little: moves the content to the front, or into more memory. */
__attribute__((noinline, cold)) uint8_t *buffer_make_room(struct buffer *b, size_t size);

/* Makes room for size more bytes and returns where they go; commit what was written with buffer_grow. */
static inline uint8_t *buffer_reserve(struct buffer *b, size_t size) {
    if (b->data != NULL && b->capacity - b->end >= size)
        return b->data + b->end;
    return buffer_make_room(b, size);
}

static inline void buffer_grow(struct buffer *b, size_t size) {
    b->end += size;
}

static inline void buffer_append(struct buffer *b, struct bytes more) {
    if (more.size == 0)
        return;
    memcpy(buffer_reserve(b, more.size), more.data, more.size);
    b->end += more.size;
}
void buffer_append_text(struct buffer *b, const char *text);
/* The same towards a content of `whole` bytes: no more memory than that, or than the content has. */
void buffer_append_within(struct buffer *b, struct bytes more, size_t whole);

/* Drops size bytes from the front; an emptied buffer starts again at 0. */
void buffer_consume(struct buffer *b, size_t size);
void buffer_clear(struct buffer *b);

/* Gives memory back when an empty buffer holds more than keep bytes. */
void buffer_trim(struct buffer *b, size_t keep);
/* The same also where the content fills less than a quarter of it. */
void buffer_shrink(struct buffer *b, size_t keep);

#endif
