/* Bytes that wait to be sent, first in, first out, in chunks of memory that are given back as they are
 * emptied: what a queue holds is never much more than its content, however large that once was. */
#ifndef STORAGE_CHUNKS_H
#define STORAGE_CHUNKS_H

#include "storage/bytes.h"

#define CHUNK_SIZE_MIN 4096
#define CHUNK_SIZE_MAX 65536

struct chunk;

/* All zero is a valid empty queue; release returns it to that state. */
struct chunks {
    struct chunk *first, *last;
    size_t size;   /* of the content */
    size_t memory; /* of the chunks */
};

void chunks_release(struct chunks *q);
void chunks_append(struct chunks *q, struct bytes more);
/* Up to `most` pieces of the content, from its front, borrowed until the next append or consume. Returns how
 * many. */
size_t chunks_front(const struct chunks *q, struct bytes *out, size_t most);
/* Drops size bytes from the front. An empty queue keeps one small chunk at most. */
void chunks_consume(struct chunks *q, size_t size);

#endif
