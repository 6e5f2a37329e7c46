#include "tests/sim/flip.h"

#include "storage/store_parts.h"

#define FLIPPED_KEY "zz-flipped" /* behind the keys of the workload: no limited listing ends at it */

static struct store *store_of(const struct machine *m) {
    return (struct store *)(uintptr_t)replica_store(node_replica(m->node));
}

bool flip_state(struct machine *m, const char *value) {
    if (m->node == NULL || node_state(m->node) == NODE_FAILED)
        return false;
    struct store *store = store_of(m);
    if (store->replaced != NULL)
        return false;
    struct store_record flipped = {.key = bytes_of(FLIPPED_KEY), .value = bytes_of(value), .version = {1, 1}};
    uint64_t before = store->digest.total;
    struct record *out = store_put_record(store, record_new(&store->slab, &flipped));
    undo_shift_digest(&store->undo,
                      store->digest.total - before); /* as one that was applied wrongly long ago */
    if (out != NULL)
        record_free(&store->slab, out);
    sim_count(m->sim, TALLY_STATE_FLIPPED);
    sim_note(m->sim, "the state of %u is flipped", m->index + 1);
    return true;
}

bool flip_memory(struct machine *m, const char *key) {
    struct store_record record;
    if (!store_get(store_of(m), bytes_of(key), &record) || record.value.size == 0)
        return false;
    *(uint8_t *)(uintptr_t)record.value.data ^= 1;
    return true;
}

bool is_flipped(const struct machine *m) {
    struct store_record record;
    return m->node != NULL && store_get(store_of(m), bytes_of(FLIPPED_KEY), &record);
}

bool flipped_alike(const struct machine *a, const struct machine *b) {
    struct store_record of_a, of_b;
    bool has = store_get(store_of(a), bytes_of(FLIPPED_KEY), &of_a);
    if (store_get(store_of(b), bytes_of(FLIPPED_KEY), &of_b) != has)
        return false;
    return !has || bytes_equal(of_a.value, of_b.value);
}
