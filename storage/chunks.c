#include "storage/chunks.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

struct chunk {
    struct chunk *next;
    size_t start, end, capacity;
    uint8_t data[];
};

static void chunks_drop_first(struct chunks *q) {
    struct chunk *first = q->first;
    q->first = first->next;
    if (q->first == NULL)
        q->last = NULL;
    q->memory -= sizeof *first + first->capacity;
    free(first);
}

void chunks_release(struct chunks *q) {
    while (q->first != NULL)
        chunks_drop_first(q);
    assert(q->memory == 0);
    *q = (struct chunks){0};
}

/* Twice as large as the last one, or as what it is for. */
static void chunks_grow(struct chunks *q, size_t size) {
    size_t capacity = q->last == NULL ? CHUNK_SIZE_MIN : q->last->capacity;
    while (capacity < size && capacity < CHUNK_SIZE_MAX)
        capacity *= 2;
    if (q->last != NULL && capacity < CHUNK_SIZE_MAX)
        capacity *= 2;
    struct chunk *chunk = malloc(sizeof *chunk + capacity);
    if (chunk == NULL)
        err(1, "out of memory for bytes to be sent");
    *chunk = (struct chunk){.capacity = capacity};
    if (q->last != NULL)
        q->last->next = chunk;
    else
        q->first = chunk;
    q->last = chunk;
    q->memory += sizeof *chunk + capacity;
}

void chunks_append(struct chunks *q, struct bytes more) {
    while (more.size > 0) {
        if (q->last == NULL || q->last->end == q->last->capacity)
            chunks_grow(q, more.size);
        struct chunk *last = q->last;
        size_t room = last->capacity - last->end, size = more.size < room ? more.size : room;
        memcpy(last->data + last->end, more.data, size);
        last->end += size;
        q->size += size;
        more = (struct bytes){more.data + size, more.size - size};
    }
}

size_t chunks_front(const struct chunks *q, struct bytes *out, size_t most) {
    size_t count = 0;
    for (const struct chunk *chunk = q->first; chunk != NULL && count < most; chunk = chunk->next)
        if (chunk->end > chunk->start)
            out[count++] = (struct bytes){chunk->data + chunk->start, chunk->end - chunk->start};
    return count;
}

void chunks_consume(struct chunks *q, size_t size) {
    assert(size <= q->size);
    q->size -= size;
    while (size > 0) {
        struct chunk *first = q->first;
        size_t held = first->end - first->start, taken = size < held ? size : held;
        first->start += taken;
        size -= taken;
        if (first->start < first->end)
            return;
        if (first->next == NULL && first->capacity == CHUNK_SIZE_MIN)
            first->start = first->end = 0;
        else
            chunks_drop_first(q);
    }
}
