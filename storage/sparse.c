#include "storage/sparse.h"

#include <bsd/stdlib.h>
#include <err.h>
#include <stdlib.h>

void sparse_release(struct sparse *s) {
    for (size_t i = 0; i < s->capacity; i++)
        free(s->chunks[i]);
    free(s->chunks);
    *s = (struct sparse){0};
}

static uint8_t *chunk_at(struct sparse *s, size_t number) {
    if (number >= s->capacity) {
        size_t capacity = s->capacity == 0 ? 16 : s->capacity;
        while (capacity <= number)
            capacity *= 2;
        s->chunks = reallocarray(s->chunks, capacity, sizeof *s->chunks);
        if (s->chunks == NULL)
            err(1, "out of memory for a file");
        memset(s->chunks + s->capacity, 0, (capacity - s->capacity) * sizeof *s->chunks);
        s->capacity = capacity;
    }
    if (s->chunks[number] == NULL && (s->chunks[number] = calloc(1, SPARSE_CHUNK_SIZE)) == NULL)
        err(1, "out of memory for a file");
    return s->chunks[number];
}

/* Of the range (offset, size), the part within the first chunk it touches. */
static size_t within_chunk(uint64_t offset, size_t size) {
    size_t room = SPARSE_CHUNK_SIZE - (size_t)(offset % SPARSE_CHUNK_SIZE);
    return size < room ? size : room;
}

void sparse_write(struct sparse *s, uint64_t offset, struct bytes data) {
    if (offset + data.size > s->size)
        s->size = offset + data.size;
    while (data.size > 0) {
        size_t part = within_chunk(offset, data.size);
        memcpy(chunk_at(s, (size_t)(offset / SPARSE_CHUNK_SIZE)) + offset % SPARSE_CHUNK_SIZE, data.data,
               part);
        offset += part;
        data = (struct bytes){data.data + part, data.size - part};
    }
}

size_t sparse_read(const struct sparse *s, uint64_t offset, uint8_t *to, size_t size) {
    if (offset >= s->size)
        return 0;
    if (size > s->size - offset)
        size = (size_t)(s->size - offset);
    for (size_t done = 0; done < size;) {
        uint64_t at = offset + done;
        size_t part = within_chunk(at, size - done), number = (size_t)(at / SPARSE_CHUNK_SIZE);
        if (number < s->capacity && s->chunks[number] != NULL)
            memcpy(to + done, s->chunks[number] + at % SPARSE_CHUNK_SIZE, part);
        else
            memset(to + done, 0, part);
        done += part;
    }
    return size;
}

void sparse_resize(struct sparse *s, uint64_t size) {
    if (size < s->size) {
        size_t whole = (size_t)(size / SPARSE_CHUNK_SIZE), left = (size_t)(size % SPARSE_CHUNK_SIZE);
        if (left > 0 && whole < s->capacity && s->chunks[whole] != NULL)
            memset(s->chunks[whole] + left, 0, SPARSE_CHUNK_SIZE - left);
        for (size_t i = whole + (left > 0); i < s->capacity; i++) {
            free(s->chunks[i]);
            s->chunks[i] = NULL;
        }
    }
    s->size = size;
}
