/* snapshot: writing while the store changes. */
#include "tests/unit/storage/snapshot_helper.h"

/* As an entry at the next index would that brings a key from another group. */
static void move_in(struct store *store, const char *key, struct version version) {
    uint64_t index = store_applied(store).index + 1;
    struct store_record content = {.key = bytes_of(key), .version = version, .moved = index};
    store_apply(store, version_at(index), ENTRY_NOOP, NULL, true);
    uint64_t before = store->digest.total;
    struct record *in = record_new(&store->slab, &content), *out = store_put_record(store, in);
    undo_push(&store->undo, &store->slab, (struct undo_item){index, before, out, in});
}

TEST(what_was_moved_here_by_the_position_is_in_a_snapshot_and_what_was_moved_later_is_not) {
    struct store *store = new_store();
    struct buffer out = {0};
    struct store_record record;
    move_in(store, "high", (struct version){5, 1000});
    move_in(store, "back", (struct version){5, 1001});
    move_in(store, "low", (struct version){1, 1});
    move_in(store, "back", (struct version){6, 2});
    struct snapshot_header header = {.at = version_at(2)};
    write_all(store, &header, &out);
    struct loaded *l = load(buffer_bytes(&out));
    EQUAL(l->result, SNAPSHOT_OK);
    EQUAL(store_count(l->store), 2);
    REQUIRE(store_get(l->store, bytes_of("high"), &record));
    OK(version_equal(record.version, (struct version){5, 1000}) && record.moved == 1);
    REQUIRE(store_get(l->store, bytes_of("back"), &record));
    OK(version_equal(record.version, (struct version){5, 1001}) && record.moved == 2);
    loaded_free(l);
    buffer_release(&out);
    store_free(store);
}

TEST(a_record_deleted_or_overwritten_before_the_scan_came_by_is_in_the_snapshot_as_it_was) {
    struct store *store = new_store();
    struct buffer out = {0};
    char key[16];
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key:%02u", i);
        struct entry entry = {.key = bytes_of(key), .value = bytes_of("before")};
        store_apply(store, version_at(i + 1), ENTRY_PUT, &entry, false);
    }
    struct summary want = summary_of(store);
    struct snapshot_header header = {.at = store_applied(store)};
    struct snapshot_writer *writer = snapshot_writer_new(store, &header);
    for (unsigned i = 0; i < 100; i++) {
        OK(!snapshot_writer_step(writer, 1, &out));
        snprintf(key, sizeof key, "key:%02u", 99 - i);
        struct entry entry = {.key = bytes_of(key), .value = bytes_of("after")};
        store_apply(store, version_at(i + 101), i % 2 ? ENTRY_PUT : ENTRY_DELETE, &entry, false);
    }
    while (!snapshot_writer_step(writer, 100, &out))
        continue;
    snapshot_writer_free(writer);
    struct loaded *l = load(buffer_bytes(&out));
    EQUAL(l->result, SNAPSHOT_OK);
    OK(same(summary_of(l->store), want));
    loaded_free(l);
    buffer_release(&out);
    store_free(store);
}

/* Blocks of records that did not wait for the scan: of one record, and of many in rising order of their keys.
 */
TEST(a_snapshot_loads_whatever_the_order_of_its_records) {
    for (unsigned pace = 1; pace <= 64; pace *= 4) {
        struct store *store = new_store();
        struct buffer out = {0};
        static uint8_t value[70000];
        char key[16];
        unsigned next = 3000;
        for (unsigned i = 0; i < 6000; i++) {
            snprintf(key, sizeof key, "key:%04u", i * 7 % 6000);
            struct entry entry = {.key = bytes_of(key), .value = {value, i % 500 == 0 ? sizeof value : 60}};
            store_apply(store, version_at(i + 1), ENTRY_PUT, &entry, false);
        }
        struct summary want = summary_of(store);
        struct snapshot_header header = {.at = store_applied(store)};
        struct snapshot_writer *writer = snapshot_writer_new(store, &header);
        while (!snapshot_writer_step(writer, 2000, &out))
            for (unsigned i = 0; i < pace && next < 6000; i++, next++) {
                snprintf(key, sizeof key, "key:%04u", next);
                struct entry entry = {.key = bytes_of(key), .value = bytes_of("after")};
                store_apply(store, version_at(store_applied(store).index + 1), ENTRY_PUT, &entry, false);
            }
        snapshot_writer_free(writer);
        OK(next > 3500);
        struct loaded *l = load(buffer_bytes(&out));
        EQUAL(l->result, SNAPSHOT_OK);
        OK(same(summary_of(l->store), want));
        loaded_free(l);
        buffer_release(&out);
        store_free(store);
    }
}

TEST(a_snapshot_that_the_undo_list_does_not_reach_is_not_begun) {
    struct random random;
    random_seed(&random, 3);
    struct store *store = new_store();
    for (int i = 0; i < 20; i++)
        apply(store, &random, 10, 10, true);
    store_forget(store, 10);
    struct snapshot_header header = {.at = version_at(9)};
    OK(snapshot_writer_new(store, &header) == NULL);
    header.at = version_at(10);
    struct snapshot_writer *writer = snapshot_writer_new(store, &header);
    OK(writer != NULL);
    snapshot_writer_free(writer); /* unfinished */
    writer = snapshot_writer_new(store, &header);
    OK(writer != NULL);
    snapshot_writer_free(writer);
    store_free(store);
}

#define HISTORY 4000

struct run {
    struct random random;
    struct store *store;
    struct summary summaries[HISTORY + 1]; /* of the state after each index */
    uint64_t committed;
    uint64_t keys;
    bool undo;
};

static void run_change(struct run *run) {
    uint64_t applied = store_applied(run->store).index;
    switch (random_below(&run->random, 8)) {
    case 0:
        if (run->undo) {
            uint64_t to = run->committed + random_below(&run->random, applied - run->committed + 1);
            if (!store_undo(run->store, version_at(to)) && to >= retries_floor(&run->store->retries))
                abort();
            return;
        }
        break;
    case 1:
        run->committed += random_below(&run->random, applied - run->committed + 1);
        store_forget(run->store, run->committed);
        return;
    }
    if (applied < HISTORY) {
        apply(run->store, &run->random, run->keys, 300, run->undo);
        run->summaries[applied + 1] = summary_of(run->store);
    }
}

/* One history with one snapshot in it, begun at the commit, or behind it as far as undo reaches. */
static void one_run(struct tap *tap, uint64_t seed) {
    struct run *run = calloc(1, sizeof *run);
    random_seed(&run->random, seed);
    run->store = new_store();
    run->keys = 1 + random_below(&run->random, 200);
    run->undo = random_below(&run->random, 4) != 0;
    run->summaries[0] = summary_of(run->store);
    for (uint64_t i = random_below(&run->random, 600); i > 0; i--)
        run_change(run);
    if (!run->undo)
        run->committed = store_applied(run->store).index;
    struct snapshot_header header = {.at = version_at(run->committed)};
    struct summary want = run->summaries[run->committed];
    struct buffer out = {0};
    struct snapshot_writer *writer = snapshot_writer_new(run->store, &header);
    size_t budget = 1 + random_below(&run->random, 2000);
    uint64_t slow =
        random_below(&run->random, 12); /* steps at first: the table changes before its rows are out */
    uint64_t pace = 1 + random_below(&run->random, 30);
    OK(writer != NULL || run->committed < retries_floor(&run->store->retries));
    while (writer != NULL && !snapshot_writer_step(writer, slow > 0 ? 8 : budget, &out)) {
        slow -= slow > 0;
        for (uint64_t i = random_below(&run->random, pace); i > 0; i--)
            run_change(run);
    }
    if (writer != NULL) {
        snapshot_writer_free(writer);
        struct loaded *l = load(buffer_bytes(&out));
        EQUAL(l->result, SNAPSHOT_OK);
        OK(same(summary_of(l->store), want));
        if (tap->failed)
            printf("# seed %" PRIu64 ": %s\n", seed, l->why);
        loaded_free(l);
    }
    buffer_release(&out);
    store_free(run->store);
    free(run);
}

TEST(applies_undos_and_forgets_between_steps_do_not_change_what_a_snapshot_holds) {
    for (uint64_t seed = 1; seed <= 150 && !tap->failed; seed++)
        one_run(tap, seed);
}

TESTS(TAP(what_was_moved_here_by_the_position_is_in_a_snapshot_and_what_was_moved_later_is_not),
      TAP(a_record_deleted_or_overwritten_before_the_scan_came_by_is_in_the_snapshot_as_it_was),
      TAP(a_snapshot_loads_whatever_the_order_of_its_records),
      TAP(a_snapshot_that_the_undo_list_does_not_reach_is_not_begun),
      TAP(applies_undos_and_forgets_between_steps_do_not_change_what_a_snapshot_holds))
