/* The slow way round: what the store holds against the digest that was kept with every change to it. */
#include "storage/store_parts.h"

#include <assert.h>

struct slice {
    struct store *store;
    size_t records, size; /* left */
};

static bool check_each(void *arg, struct record *record) {
    struct slice *slice = arg;
    struct store_check_pass *pass = &slice->store->check;
    struct store_record view;
    record_view(record, &view);
    if (slice->records == 0 || slice->size == 0) {
        buffer_clear(&pass->next);
        buffer_append(&pass->next, view.key);
        return false;
    }
    size_t size = view.key.size + view.value.size + view.clock.size;
    slice->records--;
    slice->size -= size < slice->size ? size : slice->size;
    pass->sum += digest_hash(&view);
    return true;
}

/* All of it at once, and every digest that is known of earlier states moved along: undoing ends where it
 * ended before. */
static void take_over(struct store *store) {
    struct digest digest;
    store_digest_scan(store, store->digest.leaves != NULL, &digest);
    undo_shift_digest(&store->undo, digest.total - store->digest.total);
    digest_release(&store->digest);
    store->digest = digest;
}

void store_check_changed(struct store *store, struct bytes key, uint64_t change) {
    if (bytes_compare(key, buffer_bytes(&store->check.next)) < 0)
        store->check.sum += change;
}

void store_check_end(struct store *store) {
    buffer_release(&store->check.next);
    store->check = (struct store_check_pass){0};
}

enum store_checked store_check(struct store *store, size_t records, size_t size) {
    struct slice slice = {store, records, size};
    assert(records > 0);
    assert(size > 0);
    store->check.running = true;
    if (!index_walk(&store->index, buffer_bytes(&store->check.next), check_each, &slice))
        return STORE_CHECK_GOES_ON;
    bool right = store->check.sum == store->digest.total;
    store_check_end(store);
    if (!right)
        take_over(store);
    return right ? STORE_CHECK_RIGHT : STORE_CHECK_WRONG;
}
