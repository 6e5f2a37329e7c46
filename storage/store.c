/* Records in a slab, an index over them, the undo list, and the table of answered pairs. What a put or a
 * delete takes out of the index moves to the undo list as it is, without a copy. */
#include "storage/store.h"

#include "storage/store_parts.h"

#include <assert.h>
#include <err.h>
#include <stdlib.h>

struct store *store_new(size_t undo_size_max) {
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        err(1, "out of memory for a store");
    slab_init(&store->slab);
    index_init(&store->index, &store->slab);
    digest_init(&store->digest, false);
    retries_init(&store->retries, &store->slab);
    undo_init(&store->undo, undo_size_max == 0 ? STORE_UNDO_SIZE : undo_size_max);
    return store;
}

void store_free(struct store *store) {
    if (store == NULL)
        return;
    store_clear(store);
    digest_release(&store->digest);
    free(store);
}

void store_clear(struct store *store) {
    assert(store->replaced == NULL);
    store_check_end(store);
    undo_release(&store->undo, &store->slab);
    retries_clear(&store->retries);
    slab_clear(&store->slab);
    index_init(&store->index, &store->slab);
    bool leaves = store->digest.leaves != NULL;
    digest_release(&store->digest);
    digest_init(&store->digest, leaves);
    store->applied = (struct version){0, 0};
}

uint64_t store_count(const struct store *store) {
    return index_count(&store->index);
}

uint64_t store_memory(const struct store *store) {
    size_t leaves = store->digest.leaves != NULL ? DIGEST_LEAF_COUNT * sizeof(uint64_t) : 0;
    return sizeof *store + slab_memory(&store->slab) + leaves +
           store->undo.capacity * sizeof(struct undo_item) + retries_memory(&store->retries);
}

struct version store_applied(const struct store *store) {
    return store->applied;
}

bool store_get(const struct store *store, struct bytes key, struct store_record *out) {
    const struct record *record = index_get(&store->index, key);
    if (record == NULL)
        return false;
    record_view(record, out);
    return true;
}

struct record *store_put_record(struct store *store, struct record *record) {
    struct record *out = index_put(&store->index, record);
    uint64_t before = store->digest.total;
    digest_replace(&store->digest, out, record);
    if (store->check.running)
        store_check_changed(store, record_key(record), store->digest.total - before);
    return out;
}

struct record *store_take_record(struct store *store, struct bytes key) {
    struct record *out = index_remove(&store->index, key);
    uint64_t before = store->digest.total;
    if (out == NULL)
        return NULL;
    digest_replace(&store->digest, out, NULL);
    if (store->check.running)
        store_check_changed(store, record_key(out), store->digest.total - before);
    return out;
}

bool store_run_add(struct store *store, struct index_run *run, struct record *record) {
    if (!index_run_add(run, record))
        return false;
    digest_replace(&store->digest, NULL, record);
    return true;
}

static bool condition_holds(const struct entry *entry, struct version current) {
    switch (entry->condition) {
    case CONDITION_NONE:
        return true;
    case CONDITION_MATCH:
        return current.index != 0 && version_equal(current, entry->match);
    case CONDITION_ABSENT:
        return current.index == 0;
    case CONDITION_EXISTS:
        return current.index != 0;
    }
    abort();
}

static struct version current_version(const struct store *store, struct bytes key) {
    const struct record *record = index_get(&store->index, key);
    return record == NULL ? (struct version){0, 0} : record_version(record);
}

/* The entry at index has taken `out` from the index and put `in` there; either may be NULL. The digest was
 * that of `before` then. */
static void keep(struct store *store, uint64_t index, uint64_t before, struct record *out, struct record *in,
                 bool undo) {
    if (out != NULL && store->replaced != NULL)
        store->replaced(store->replaced_arg, out);
    if (undo) {
        undo_push(&store->undo, &store->slab, (struct undo_item){index, before, out, in});
        return;
    }
    /* Earlier items may name what goes away here, and undoing past this entry is over in any case. */
    undo_forget(&store->undo, &store->slab, index);
    if (out != NULL)
        record_free(&store->slab, out);
}

static struct store_effect apply_put(struct store *store, struct version at, const struct entry *entry,
                                     bool undo) {
    struct record *in = record_new(&store->slab, &(struct store_record){.key = entry->key,
                                                                        .value = entry->value,
                                                                        .version = at,
                                                                        .expiry_ms = entry->expiry_ms,
                                                                        .clock = entry->clock});
    uint64_t before = store->digest.total;
    keep(store, at.index, before, store_put_record(store, in), in, undo);
    return (struct store_effect){.outcome = STORE_APPLIED, .current = at};
}

static struct store_effect apply_delete(struct store *store, struct version at, const struct entry *entry,
                                        bool undo) {
    uint64_t before = store->digest.total;
    struct record *out = store_take_record(store, entry->key);
    if (out == NULL)
        return (struct store_effect){.outcome = STORE_ABSENT};
    keep(store, at.index, before, out, NULL, undo);
    return (struct store_effect){.outcome = STORE_APPLIED};
}

static struct store_effect apply_write(struct store *store, struct version at, enum entry_type type,
                                       const struct entry *entry, bool undo) {
    if (entry->condition != CONDITION_NONE) {
        struct version current = current_version(store, entry->key);
        if (!condition_holds(entry, current))
            return (struct store_effect){.outcome = STORE_CONDITION_FAILED, .current = current};
    }
    return type == ENTRY_PUT ? apply_put(store, at, entry, undo) : apply_delete(store, at, entry, undo);
}

/* A write that bears a pair: the first one is done and remembered, the others are told about it. */
static struct store_effect apply_once(struct store *store, struct version at, enum entry_type type,
                                      const struct entry *entry, bool undo) {
    uint64_t fingerprint = retries_fingerprint(type, entry);
    struct store_answer known;
    if (retries_find(&store->retries, entry->client, entry->request, &known)) {
        if (known.fingerprint != fingerprint)
            return (struct store_effect){.outcome = STORE_PAIR_CONFLICT, .at = known.at};
        return (struct store_effect){known.outcome, known.current, known.at, true};
    }
    struct store_effect effect = apply_write(store, at, type, entry, undo);
    effect.at = at;
    retries_add(&store->retries, &(struct store_answer){.client = entry->client,
                                                        .request = entry->request,
                                                        .fingerprint = fingerprint,
                                                        .outcome = effect.outcome,
                                                        .at = at,
                                                        .slot = (uint16_t)slot_of(entry->key),
                                                        .current = effect.current});
    if (!undo)
        retries_forget(&store->retries, at.index);
    return effect;
}

struct store_effect store_apply(struct store *store, struct version at, enum entry_type type,
                                const struct entry *entry, bool undo) {
    assert(at.index == store->applied.index + 1);
    assert(at.term >= store->applied.term);
    assert(entry != NULL || (type != ENTRY_PUT && type != ENTRY_DELETE));
    store->applied = at;
    if (type != ENTRY_PUT && type != ENTRY_DELETE)
        return (struct store_effect){.outcome = STORE_APPLIED, .at = at};
    if (entry->client.size > 0)
        return apply_once(store, at, type, entry, undo);
    struct store_effect effect = apply_write(store, at, type, entry, undo);
    effect.at = at;
    return effect;
}

void store_warm(const struct store *store, const struct bytes *keys, size_t count) {
    index_warm(&store->index, keys, count);
}

bool store_answered(const struct store *store, struct bytes client, struct bytes request,
                    struct store_answer *out) {
    return retries_find(&store->retries, client, request, out);
}

void store_forget(struct store *store, uint64_t index) {
    if (index > store->applied.index)
        index = store->applied.index;
    undo_forget(&store->undo, &store->slab, index);
    retries_forget(&store->retries, index);
}

/* An entry was undone. Where the digest is not as it was before the entry, memory has failed since: what had
 * been put in was changed by that, and is gone, or what came back was, and store_check finds it. */
static void digest_undone(struct store *store, uint64_t before) {
    if (store->digest.total == before)
        return;
    digest_release(&store->digest); /* its leaves are counted again when they are asked for */
    store->digest.total = before;
}

bool store_changed(const struct store *store, uint64_t index, bool *changed) {
    if (index <= store->undo.floor || index > store->applied.index)
        return false;
    size_t position = undo_after(&store->undo, index - 1);
    *changed = position < store->undo.count && undo_at(&store->undo, position)->index == index;
    return true;
}

bool store_undo(struct store *store, struct version at) {
    assert(at.index <= store->applied.index);
    assert(store->replaced == NULL || at.index >= store->snapshot_index);
    if (at.index < store->undo.floor || at.index < retries_floor(&store->retries))
        return false;
    retries_undo(&store->retries, at.index);
    struct undo_item item;
    while (undo_pop(&store->undo, at.index, &item)) {
        struct record *gone = item.out != NULL ? store_put_record(store, item.out)
                                               : store_take_record(store, record_key(item.in));
        assert(gone == item.in);
        if (gone != NULL)
            record_free(&store->slab, gone);
        digest_undone(store, item.digest);
    }
    store->applied = at;
    return true;
}

uint64_t store_digest(const struct store *store) {
    return store->digest.total + store->retries.digest;
}

bool store_digest_at(const struct store *store, uint64_t index, uint64_t *digest) {
    if (index > store->applied.index || index < store->undo.floor || index < retries_floor(&store->retries))
        return false;
    size_t after = undo_after(&store->undo, index);
    *digest = after == store->undo.count ? store->digest.total : undo_at(&store->undo, after)->digest;
    *digest += retries_digest_at(&store->retries, index);
    return true;
}

static bool digest_each(void *arg, struct record *record) {
    digest_replace(arg, NULL, record);
    return true;
}

void store_digest_scan(const struct store *store, bool leaves, struct digest *out) {
    digest_init(out, leaves);
    index_walk(&store->index, (struct bytes){NULL, 0}, digest_each, out);
}

const struct digest *store_digest_records(struct store *store) {
    if (store->digest.leaves == NULL) {
        struct digest scanned;
        store_digest_scan(store, true, &scanned);
        store->digest.leaves = scanned.leaves;
    }
    return &store->digest;
}

bool store_digest_holds(const struct store *store) {
    struct digest scanned;
    store_digest_scan(store, store->digest.leaves != NULL, &scanned);
    bool holds = digest_equal(&scanned, &store->digest) && retries_digest_holds(&store->retries);
    digest_release(&scanned);
    return holds;
}

struct scan {
    bool (*each)(void *arg, const struct store_record *record);
    void *arg;
};

static bool scan_each(void *arg, struct record *record) {
    const struct scan *scan = arg;
    struct store_record view;
    record_view(record, &view);
    return scan->each(scan->arg, &view);
}

void store_scan(const struct store *store, struct bytes from,
                bool (*each)(void *arg, const struct store_record *record), void *arg) {
    index_walk(&store->index, from, scan_each, &(struct scan){each, arg});
}
