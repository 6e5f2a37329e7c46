#include "tests/check/history.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 256u

static void *grow(void *array, size_t *capacity, size_t wanted, size_t size) {
    if (wanted <= *capacity)
        return array;
    *capacity = 2 * wanted + 16;
    if ((array = reallocarray(array, *capacity, size)) == NULL)
        err(1, "out of memory for a history");
    return array;
}

struct history_op history_op(enum history_kind kind) {
    return (struct history_op){
        .kind = kind,
        .outcome = HISTORY_UNKNOWN,
        .end_us = HISTORY_NEVER,
        .staleness_us = HISTORY_NEVER,
        .limit = HISTORY_NEVER,
        .key = HISTORY_NONE,
        .value = HISTORY_NONE,
        .etag = HISTORY_NONE,
        .match = HISTORY_NONE,
        .client = HISTORY_NONE,
        .request = HISTORY_NONE,
        .prefix = HISTORY_NONE,
        .after = HISTORY_NONE,
    };
}

void history_init(struct history *h) {
    *h = (struct history){.slot_count = SLOTS_MIN};
    if ((h->slots = calloc(h->slot_count, sizeof *h->slots)) == NULL)
        err(1, "out of memory for a history");
}

void history_release(struct history *h) {
    for (size_t i = 0; i < h->text_count; i++)
        free(h->texts[i]);
    free(h->texts);
    free(h->slots);
    free(h->listed);
    free(h->ops);
}

static uint32_t *slot_of(struct history *h, const char *text) {
    uint64_t hash = 0xcbf29ce484222325ull;
    for (const char *c = text; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3ull;
    size_t at = (size_t)(hash ^ hash >> 32) & (h->slot_count - 1);
    while (h->slots[at] != 0 && strcmp(h->texts[h->slots[at] - 1], text) != 0)
        at = (at + 1) & (h->slot_count - 1);
    return &h->slots[at];
}

static void rehash(struct history *h) {
    free(h->slots);
    h->slot_count *= 2;
    if ((h->slots = calloc(h->slot_count, sizeof *h->slots)) == NULL)
        err(1, "out of memory for a history");
    for (size_t i = 0; i < h->text_count; i++)
        *slot_of(h, h->texts[i]) = (uint32_t)i + 1;
}

uint32_t history_text(struct history *h, const char *text) {
    uint32_t *slot = slot_of(h, text);
    if (*slot != 0)
        return *slot - 1;
    h->texts = grow(h->texts, &h->text_capacity, h->text_count + 1, sizeof *h->texts);
    if ((h->texts[h->text_count] = strdup(text)) == NULL)
        err(1, "out of memory for a history");
    *slot = (uint32_t)++h->text_count;
    if (2 * h->text_count > h->slot_count)
        rehash(h);
    return (uint32_t)h->text_count - 1;
}

size_t history_add(struct history *h, const struct history_op *op) {
    h->ops = grow(h->ops, &h->capacity, h->count + 1, sizeof *h->ops);
    h->ops[h->count] = *op;
    h->ops[h->count].listed_count = 0;
    return h->count++;
}

void history_listed(struct history *h, size_t op, uint32_t key) {
    h->listed = grow(h->listed, &h->listed_capacity, h->listed_count + 1, sizeof *h->listed);
    if (h->ops[op].listed_count == 0)
        h->ops[op].listed = h->listed_count;
    assert(h->ops[op].listed + h->ops[op].listed_count == h->listed_count);
    h->listed[h->listed_count++] = key;
    h->ops[op].listed_count++;
}
