/* Bytes of a file in memory, in chunks that exist only where something was written; the rest reads as zeros.
 * An allocated segment of the log costs nothing until it is used. */
#ifndef STORAGE_SPARSE_H
#define STORAGE_SPARSE_H

#include "storage/bytes.h"

#define SPARSE_CHUNK_SIZE (64u * 1024)

struct sparse {
    uint8_t **chunks;
    size_t capacity; /* of chunks */
    uint64_t size;
};

/* All zero is an empty one; release returns it to that state. */
void sparse_release(struct sparse *s);
void sparse_write(struct sparse *s, uint64_t offset, struct bytes data);
/* How many bytes there were; fewer than size only at the end. */
size_t sparse_read(const struct sparse *s, uint64_t offset, uint8_t *to, size_t size);
/* Grows with zeros or cuts. */
void sparse_resize(struct sparse *s, uint64_t size);

#endif
