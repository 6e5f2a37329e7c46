#include "storage/undo.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

#define CAPACITY_FIRST 64 /* a power of two, as every capacity */

void undo_init(struct undo *undo, size_t size_max) {
    *undo = (struct undo){.size_max = size_max};
}

void undo_release(struct undo *undo, struct slab *slab) {
    undo_forget(undo, slab, UINT64_MAX);
    free(undo->items);
    undo_init(undo, undo->size_max);
}

static size_t item_size(const struct undo_item *item) {
    return sizeof *item + (item->out == NULL ? 0 : record_size(item->out));
}

static void drop_oldest(struct undo *undo, struct slab *slab) {
    const struct undo_item *item = undo_at(undo, 0);
    undo->size -= item_size(item);
    undo->floor = item->index;
    if (item->out != NULL)
        record_free(slab, item->out);
    undo->first = (undo->first + 1) & (undo->capacity - 1);
    undo->count--;
}

static void ring_grow(struct undo *undo) {
    size_t capacity = undo->capacity == 0 ? CAPACITY_FIRST : 2 * undo->capacity;
    struct undo_item *items = calloc(capacity, sizeof *items);
    if (items == NULL)
        err(1, "out of memory for %zu items of undo", capacity);
    for (size_t i = 0; i < undo->count; i++)
        items[i] = *undo_at(undo, i);
    free(undo->items);
    undo->items = items;
    undo->capacity = capacity;
    undo->first = 0;
}

void undo_push(struct undo *undo, struct slab *slab, struct undo_item item) {
    assert(undo->count == 0 || undo_at(undo, undo->count - 1)->index < item.index);
    if (undo->count == undo->capacity)
        ring_grow(undo);
    undo->items[(undo->first + undo->count++) & (undo->capacity - 1)] = item;
    undo->size += item_size(&item);
    while (undo->size > undo->size_max)
        drop_oldest(undo, slab);
}

void undo_forget(struct undo *undo, struct slab *slab, uint64_t index) {
    while (undo->count > 0 && undo_at(undo, 0)->index <= index)
        drop_oldest(undo, slab);
    if (undo->floor < index)
        undo->floor = index;
}

size_t undo_after(const struct undo *undo, uint64_t index) {
    size_t low = 0, high = undo->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (undo_at(undo, middle)->index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool undo_pop(struct undo *undo, uint64_t index, struct undo_item *out) {
    if (undo->count == 0 || undo_at(undo, undo->count - 1)->index <= index)
        return false;
    *out = *undo_at(undo, undo->count - 1);
    undo->size -= item_size(out);
    undo->count--;
    return true;
}

void undo_shift_digest(struct undo *undo, uint64_t by) {
    for (size_t i = 0; i < undo->count; i++)
        undo->items[(undo->first + i) & (undo->capacity - 1)].digest += by;
}
