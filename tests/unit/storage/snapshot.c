/* snapshot: round trips and damage. */
#include "storage/snapshot_format.h"
#include "storage/wire.h"
#include "tests/unit/storage/snapshot_helper.h"

static enum snapshot_result verify(struct bytes content) {
    struct file_system *fs = file_system_memory_new();
    struct snapshot_header header;
    struct buffer configuration = {0};
    char why[200] = "";
    save(fs, content);
    enum snapshot_result result = snapshot_verify(fs, NAME, &header, &configuration, why, sizeof why);
    if (result != SNAPSHOT_OK && strlen(why) == 0)
        abort();
    buffer_release(&configuration);
    file_system_free(fs);
    return result;
}

TEST(a_snapshot_loads_back_as_the_store_it_was_written_from) {
    struct random random;
    random_seed(&random, 1);
    struct store *store = new_store();
    for (int i = 0; i < 5000; i++)
        apply(store, &random, 1000, 700, false);
    struct snapshot_header header = {.at = store_applied(store),
                                     .configuration = {(const uint8_t *)"con\0fig", 7},
                                     .configuration_index = 17,
                                     .cluster_ms = 1700000000002};
    struct buffer out = {0};
    write_all(store, &header, &out);
    OK(buffer_size(&out) > 3 * SNAPSHOT_BLOCK_SIZE);
    EQUAL(verify(buffer_bytes(&out)), SNAPSHOT_OK);
    struct loaded *l = load(buffer_bytes(&out));
    EQUAL(l->result, SNAPSHOT_OK);
    OK(same(summary_of(l->store), summary_of(store)));
    EQUAL(store_count(l->store), store_count(store));
    OK(version_equal(store_applied(l->store), header.at));
    OK(version_equal(l->header.at, header.at));
    EQUAL(l->header.count, store_count(store));
    EQUAL(l->header.configuration_index, 17);
    EQUAL(l->header.cluster_ms, 1700000000002);
    EQUAL(l->header.digest, store_digest(store));
    OK(bytes_equal(l->header.configuration, header.configuration));
    OK(!store_undo(l->store, version_at(header.at.index - 1)));
    apply(l->store, &random, 1000, 700, true);
    OK(store_undo(l->store, header.at));
    OK(same(summary_of(l->store), summary_of(store)));
    loaded_free(l);
    buffer_release(&out);
    store_free(store);
}

TEST(a_snapshot_of_an_empty_store_loads) {
    struct store *store = new_store();
    struct snapshot_header header = {.at = {0, 0}};
    struct buffer out = {0};
    write_all(store, &header, &out);
    struct loaded *l = load(buffer_bytes(&out));
    EQUAL(l->result, SNAPSHOT_OK);
    EQUAL(store_count(l->store), 0);
    loaded_free(l);
    buffer_release(&out);
    store_free(store);
}

TEST(a_file_that_is_not_there_is_told_from_a_damaged_one) {
    struct file_system *fs = file_system_memory_new();
    struct store *store = new_store();
    struct snapshot_header header;
    struct buffer configuration = {0};
    char why[100] = "";
    EQUAL(snapshot_load(fs, NAME, store, &header, &configuration, why, sizeof why), SNAPSHOT_NONE);
    EQUAL(snapshot_verify(fs, NAME, &header, &configuration, why, sizeof why), SNAPSHOT_NONE);
    store_free(store);
    file_system_free(fs);
}

/* A file of a few small records, for tests that go through all of its bytes. */
static struct buffer small_file(void) {
    struct random random;
    random_seed(&random, 2);
    struct store *store = new_store();
    for (int i = 0; i < 30; i++)
        apply(store, &random, 10, 20, false);
    struct snapshot_header header = {.at = store_applied(store), .configuration = bytes_of("voters")};
    struct buffer out = {0};
    write_all(store, &header, &out);
    store_free(store);
    return out;
}

TEST(every_prefix_of_a_snapshot_is_refused_and_leaves_the_store_empty) {
    struct buffer file = small_file();
    for (size_t size = 0; size < buffer_size(&file); size++) {
        struct bytes prefix = {file.data + file.start, size};
        struct loaded *l = load(prefix);
        EQUAL(l->result, SNAPSHOT_CORRUPT);
        EQUAL(store_count(l->store), 0);
        EQUAL(store_applied(l->store).index, 0);
        OK(strlen(l->why) > 0);
        loaded_free(l);
        EQUAL(verify(prefix), SNAPSHOT_CORRUPT);
    }
    buffer_release(&file);
}

TEST(every_flipped_bit_of_a_snapshot_is_refused) {
    struct buffer file = small_file();
    for (size_t bit = 0; bit < buffer_size(&file) * 8; bit++) {
        file.data[file.start + bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct loaded *l = load(buffer_bytes(&file));
        EQUAL(l->result, SNAPSHOT_CORRUPT);
        EQUAL(store_count(l->store), 0);
        loaded_free(l);
        EQUAL(verify(buffer_bytes(&file)), SNAPSHOT_CORRUPT);
        file.data[file.start + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    EQUAL(verify(buffer_bytes(&file)), SNAPSHOT_OK);
    buffer_release(&file);
}

TEST(a_snapshot_of_the_format_before_is_told_from_a_damaged_one) {
    struct buffer file = small_file();
    file.data[7] = '1';
    struct loaded *l = load(buffer_bytes(&file));
    EQUAL(l->result, SNAPSHOT_OLD);
    OK(strstr(l->why, "older version") != NULL);
    EQUAL(verify(buffer_bytes(&file)), SNAPSHOT_OLD);
    loaded_free(l);
    buffer_release(&file);
}

TEST(bytes_after_the_end_block_are_refused) {
    struct buffer file = small_file();
    write_u8(&file, 0);
    EQUAL(verify(buffer_bytes(&file)), SNAPSHOT_CORRUPT);
    buffer_release(&file);
}

TESTS(TAP(a_snapshot_loads_back_as_the_store_it_was_written_from), TAP(a_snapshot_of_an_empty_store_loads),
      TAP(a_file_that_is_not_there_is_told_from_a_damaged_one),
      TAP(every_prefix_of_a_snapshot_is_refused_and_leaves_the_store_empty),
      TAP(every_flipped_bit_of_a_snapshot_is_refused), TAP(bytes_after_the_end_block_are_refused),
      TAP(a_snapshot_of_the_format_before_is_told_from_a_damaged_one))
