#include "storage/slab.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>
#include <sys/mman.h>

#define REGION_SIZE   (2u * 1024 * 1024)
#define CHUNK_SIZE    (64u * 1024)
#define REGION_CHUNKS (REGION_SIZE / CHUNK_SIZE)
/* A small store must not take whole huge pages. A large one may be faster with them, as a random get then
 * misses the address translation cache less often: at 12 million random keys gets took about a third less
 * time, dense keys the same within the noise. */
#define SMALL_REGIONS 4

/* Under the address sanitizer every cell is an allocation of its own, so that it can see errors. */
#if defined(__SANITIZE_ADDRESS__)
#define CELL_MAX 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CELL_MAX 0
#endif
#endif
#ifndef CELL_MAX
#define CELL_MAX SLAB_CELL_MAX
#endif

struct slab_region {
    LIST_ENTRY(slab_region) link;
    uint8_t *base;
    uint32_t free; /* a bit for each chunk */
};

struct slab_chunk {
    LIST_ENTRY(slab_chunk) link; /* while it has a free cell */
    struct slab_region *region;
    void *free;         /* freed cells, each holding the next */
    uint32_t untouched; /* offset from which on no cell was given out yet */
    uint32_t live;
    uint32_t cell_size;
};

struct slab_large {
    LIST_ENTRY(slab_large) link;
};

static_assert(REGION_CHUNKS == 32, "a region's chunks are the bits of a uint32_t");
static_assert(sizeof(struct slab_chunk) <= 64, "the cells of a chunk start at its second cache line");
#define CHUNK_HEADER 64

void slab_init(struct slab *slab) {
    *slab = (struct slab){0};
    for (size_t i = 0; i < SLAB_SIZES; i++)
        LIST_INIT(&slab->partial[i]);
    LIST_INIT(&slab->open);
    LIST_INIT(&slab->full);
    LIST_INIT(&slab->larges);
}

static void region_unmap(struct slab_region *region) {
    LIST_REMOVE(region, link);
    munmap(region->base, REGION_SIZE);
    free(region);
}

void slab_clear(struct slab *slab) {
    struct slab_large *large;
    while ((large = LIST_FIRST(&slab->larges)) != NULL) {
        LIST_REMOVE(large, link);
        free(large);
    }
    while (!LIST_EMPTY(&slab->open))
        region_unmap(LIST_FIRST(&slab->open));
    while (!LIST_EMPTY(&slab->full))
        region_unmap(LIST_FIRST(&slab->full));
    slab_init(slab);
}

/* Maps twice the size and gives back what lies outside the aligned middle. */
static uint8_t *map_aligned(void) {
    uint8_t *at = mmap(NULL, 2 * REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        err(1, "out of memory for the store");
    size_t before = (REGION_SIZE - (uintptr_t)at % REGION_SIZE) % REGION_SIZE;
    if (before > 0)
        munmap(at, before);
    munmap(at + before + REGION_SIZE, REGION_SIZE - before);
    return at + before;
}

static struct slab_region *region_new(struct slab *slab) {
    struct slab_region *region = malloc(sizeof *region);
    if (region == NULL)
        err(1, "out of memory for the store");
    *region = (struct slab_region){.base = map_aligned(), .free = UINT32_MAX};
    if (++slab->regions > SMALL_REGIONS)
        madvise(region->base, REGION_SIZE, MADV_HUGEPAGE); /* a kernel without it serves as well */
    LIST_INSERT_HEAD(&slab->open, region, link);
    return region;
}

static struct slab_chunk *chunk_new(struct slab *slab, uint32_t cell_size) {
    struct slab_region *region = LIST_FIRST(&slab->open);
    if (region == NULL)
        region = region_new(slab);
    int position = __builtin_ctz(region->free);
    region->free &= region->free - 1;
    if (region->free == 0) {
        LIST_REMOVE(region, link);
        LIST_INSERT_HEAD(&slab->full, region, link);
    }
    struct slab_chunk *chunk = (struct slab_chunk *)(region->base + (size_t)position * CHUNK_SIZE);
    *chunk = (struct slab_chunk){.region = region, .untouched = CHUNK_HEADER, .cell_size = cell_size};
    LIST_INSERT_HEAD(&slab->partial[cell_size / SLAB_CELL_UNIT], chunk, link);
    slab->memory += CHUNK_SIZE;
    return chunk;
}

static void chunk_release(struct slab *slab, struct slab_chunk *chunk) {
    struct slab_region *region = chunk->region;
    LIST_REMOVE(chunk, link);
    LIST_REMOVE(region, link);
    LIST_INSERT_HEAD(&slab->open, region, link);
    region->free |= 1u << (((uint8_t *)chunk - region->base) / CHUNK_SIZE);
    slab->memory -= CHUNK_SIZE;
    if (region->free == UINT32_MAX) {
        region_unmap(region);
        slab->regions--;
    }
}

static void *large_alloc(struct slab *slab, size_t size) {
    struct slab_large *large = malloc(sizeof *large + size);
    if (large == NULL)
        err(1, "out of memory for a record of %zu bytes", size);
    LIST_INSERT_HEAD(&slab->larges, large, link);
    slab->memory += sizeof *large + size;
    return large + 1;
}

static void large_free(struct slab *slab, void *cell, size_t size) {
    struct slab_large *large = (struct slab_large *)cell - 1;
    LIST_REMOVE(large, link);
    slab->memory -= sizeof *large + size;
    free(large);
}

static uint32_t cell_size_of(size_t size) {
    return (uint32_t)((size + SLAB_CELL_UNIT - 1) / SLAB_CELL_UNIT * SLAB_CELL_UNIT);
}

static bool chunk_is_full(const struct slab_chunk *chunk) {
    return chunk->free == NULL && chunk->untouched + chunk->cell_size > CHUNK_SIZE;
}

void *slab_alloc(struct slab *slab, size_t size) {
    assert(size > 0);
    if (size > CELL_MAX)
        return large_alloc(slab, size);
    uint32_t cell_size = cell_size_of(size);
    struct slab_chunk *chunk = LIST_FIRST(&slab->partial[cell_size / SLAB_CELL_UNIT]);
    if (chunk == NULL)
        chunk = chunk_new(slab, cell_size);
    void *cell = chunk->free;
    if (cell != NULL) {
        chunk->free = *(void **)cell;
    } else {
        cell = (uint8_t *)chunk + chunk->untouched;
        chunk->untouched += cell_size;
    }
    chunk->live++;
    if (chunk_is_full(chunk))
        LIST_REMOVE(chunk, link);
    return cell;
}

void slab_free(struct slab *slab, void *cell, size_t size) {
    if (size > CELL_MAX) {
        large_free(slab, cell, size);
        return;
    }
    struct slab_chunk *chunk = (struct slab_chunk *)((uintptr_t)cell & ~(uintptr_t)(CHUNK_SIZE - 1));
    struct slab_chunks *partial = &slab->partial[chunk->cell_size / SLAB_CELL_UNIT];
    assert(chunk->cell_size == cell_size_of(size));
    assert(chunk->live > 0);
    if (chunk_is_full(chunk))
        LIST_INSERT_HEAD(partial, chunk, link);
    *(void **)cell = chunk->free;
    chunk->free = cell;
    chunk->live--;
    /* The last chunk of a size stays, so that one record coming and going does not map and unmap. */
    bool last = LIST_FIRST(partial) == chunk && LIST_NEXT(chunk, link) == NULL;
    if (chunk->live == 0 && !last)
        chunk_release(slab, chunk);
}
