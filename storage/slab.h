/* Small cells of memory without a header each: what records and index nodes are made of.
 *
 * A general allocator spends 8 to 16 bytes on every allocation beyond what was asked for; with tens of
 * millions of records of some sixty bytes that is a fifth of the memory. Here a cell is as large as was asked
 * for, rounded up to 8 bytes, and whoever frees it says its size, which records and nodes know of themselves.
 *
 *     region, 2 MiB, mapped     32 chunks of 64 KiB, aligned to their size
 *     chunk                     a header, then cells of one size; masking a cell's address finds the header
 *     above SLAB_CELL_MAX       an allocation of its own, listed so that slab_clear finds it
 *
 * An empty chunk goes back to its region for any size to use, and an empty region to the system. What cannot
 * be given back is the free cells of chunks that still hold a live one. Lack of memory ends the process. */
#ifndef STORAGE_SLAB_H
#define STORAGE_SLAB_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_CELL_MAX  512 /* bytes; above it 32 bytes of overhead are at most a sixteenth */
#define SLAB_CELL_UNIT 8
#define SLAB_SIZES     (SLAB_CELL_MAX / SLAB_CELL_UNIT + 1)

struct slab_chunk;
struct slab_region;
struct slab_large;
LIST_HEAD(slab_chunks, slab_chunk);
LIST_HEAD(slab_regions, slab_region);
LIST_HEAD(slab_larges, slab_large);

struct slab {
    struct slab_chunks partial[SLAB_SIZES]; /* chunks with a free cell, by cell size */
    struct slab_regions open, full;         /* regions with and without a free chunk */
    struct slab_larges larges;
    uint32_t regions;
    uint64_t memory;
};

void slab_init(struct slab *slab);
/* Frees every cell. The slab stays usable. */
void slab_clear(struct slab *slab);
/* Aligned to 8 bytes. size is at least 1. */
void *slab_alloc(struct slab *slab, size_t size);
void slab_free(struct slab *slab, void *cell, size_t size);
/* Bytes held in chunks that are in use and in large allocations. */
static inline uint64_t slab_memory(const struct slab *slab) {
    return slab->memory;
}

#endif
