/* snapshot: round trips, damage, and writing while the store changes. */
#include "storage/snapshot.h"

#include "storage/crc32c.h"
#include "storage/random.h"
#include "storage/snapshot_format.h"
#include "storage/store_parts.h"
#include "storage/wire.h"
#include "tests/tap.h"

#define NAME         "snapshot-1"
#define ANSWERED_MAX 20 /* pairs that count, in these tests */

struct summary {
    uint64_t sum, count;
};

static uint64_t mix(uint64_t sum, struct bytes bytes) {
    sum = (sum ^ bytes.size) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < bytes.size; i++)
        sum = (sum ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static bool summary_each(void *arg, const struct store_record *record) {
    struct summary *summary = arg;
    summary->count++;
    summary->sum = mix(mix(mix(summary->sum, record->key), record->value), record->clock);
    summary->sum = (summary->sum ^ record->version.index ^ record->version.term << 40 ^ record->expiry_ms) *
                   UINT64_C(0x100000001b3);
    return true;
}

static struct store *new_store(void) {
    struct store *store = store_new(0);
    store->retries.rows_max = ANSWERED_MAX;
    return store;
}

static struct summary summary_of(const struct store *store) {
    struct summary summary = {1, 0};
    struct buffer answered = {0};
    size_t from, to;
    store_scan(store, (struct bytes){NULL, 0}, summary_each, &summary);
    retries_range(&store->retries, store->applied.index, &from, &to);
    while (from < to)
        retries_row_encode(&answered, retries_at(&store->retries, from++));
    summary.sum = mix(summary.sum, buffer_bytes(&answered));
    buffer_release(&answered);
    return summary;
}

static bool same(struct summary a, struct summary b) {
    return a.sum == b.sum && a.count == b.count;
}

static uint64_t term_of(uint64_t index) {
    return index / 1000 + 1;
}

static struct version version_at(uint64_t index) {
    return (struct version){index == 0 ? 0 : term_of(index), index};
}

static void apply(struct store *store, struct random *random, uint64_t keys, size_t value_max, bool undo) {
    struct version at = version_at(store_applied(store).index + 1);
    char key[32], request[16];
    uint8_t value[4096];
    snprintf(key, sizeof key, "%s%d",
             random_below(random, 2) ? "" : "user:", (int)random_below(random, keys));
    memset(value, (int)random_below(random, 256), sizeof value);
    struct entry entry = {.key = bytes_of(key),
                          .value = {value, random_below(random, value_max + 1)},
                          .expiry_ms = random_below(random, 8) == 0 ? at.index : 0,
                          .clock = {value, random_below(random, 8) == 0 ? 5 : 0}};
    if (random_below(random, 3) == 0) {
        snprintf(request, sizeof request, "r%d", (int)random_below(random, 3 * ANSWERED_MAX));
        entry.client = bytes_of("client");
        entry.request = bytes_of(request);
        entry.condition = random_below(random, 4) == 0 ? CONDITION_ABSENT : CONDITION_NONE;
    }
    uint64_t dice = random_below(random, 16);
    enum entry_type type = dice == 0 ? ENTRY_NOOP : dice < 11 ? ENTRY_PUT : ENTRY_DELETE;
    store_apply(store, at, type, type == ENTRY_NOOP ? NULL : &entry, undo);
}

static void save(struct file_system *fs, struct bytes content) {
    struct file *file;
    if (file_open(fs, NAME, true, &file) != FILE_OK || file_truncate(file, 0) != FILE_OK ||
        file_write(file, 0, content) != FILE_OK)
        abort();
    file_close(file);
}

static void write_all(struct store *store, const struct snapshot_header *header, struct buffer *out) {
    struct snapshot_writer *writer = snapshot_writer_new(store, header);
    if (writer == NULL)
        abort();
    while (!snapshot_writer_step(writer, 10000, out))
        continue;
    snapshot_writer_free(writer);
}

struct loaded {
    enum snapshot_result result;
    struct store *store;
    struct snapshot_header header;
    struct buffer configuration;
    char why[200];
};

static struct loaded *load(struct bytes content) {
    struct loaded *l = calloc(1, sizeof *l);
    struct file_system *fs = file_system_memory_new();
    l->store = new_store();
    save(fs, content);
    l->result = snapshot_load(fs, NAME, l->store, &l->header, &l->configuration, l->why, sizeof l->why);
    file_system_free(fs);
    return l;
}

static void loaded_free(struct loaded *l) {
    store_free(l->store);
    buffer_release(&l->configuration);
    free(l);
}

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

/* ---- files made by hand: every checksum fits, the content does not ---- */

struct forged {
    struct buffer file;
    uint64_t digest;   /* of what was forged */
    uint32_t miscount; /* what the chain of checksums is wrong by */
};

static void forge(struct forged *f, unsigned type, struct bytes content) {
    uint8_t header[SNAPSHOT_BLOCK_HEADER_SIZE] = {(uint8_t)type};
    put_u32(header + 1, (uint32_t)content.size);
    put_u32(header + 5, crc32c(crc32c(0, (struct bytes){header, 5}), content));
    buffer_append(&f->file, (struct bytes){header, sizeof header});
    buffer_append(&f->file, content);
}

#define HEADER_SIZE (6 * 8 + 4) /* of a header block's content without a configuration */

static void forge_header(struct forged *f, struct version at) {
    struct buffer header = {0};
    write_u64(&header, at.index);
    write_u64(&header, at.term);
    write_u64(&header, 0);
    write_u64(&header, 0);
    write_u64(&header, 0);
    write_u64(&header, f->digest);
    write_bytes32(&header, bytes_of(""));
    forge(f, SNAPSHOT_BLOCK_HEADER, buffer_bytes(&header));
    buffer_release(&header);
}

static void forge_start(struct forged *f, struct version at) {
    *f = (struct forged){0};
    buffer_append(&f->file, (struct bytes){(const uint8_t *)SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_SIZE});
    forge_header(f, at);
}

static void forge_moved(struct forged *f, const char *key, struct version version, uint64_t order) {
    struct slab slab;
    slab_init(&slab);
    struct store_record content = {.key = bytes_of(key), .version = version, .moved = order};
    struct record *record = record_new(&slab, &content);
    forge(f, SNAPSHOT_BLOCK_RECORDS, (struct bytes){(uint8_t *)record, record_size(record)});
    f->digest += digest_hash(&content);
    slab_clear(&slab);
}

static void forge_record(struct forged *f, const char *key, struct version version) {
    forge_moved(f, key, version, 0);
}

/* Without its last bytes. */
static void forge_cut(struct forged *f, struct store_record content, size_t lacking) {
    struct slab slab;
    slab_init(&slab);
    struct record *record = record_new(&slab, &content);
    forge(f, SNAPSHOT_BLOCK_RECORDS, (struct bytes){(uint8_t *)record, record_size(record) - lacking});
    slab_clear(&slab);
}

/* The header again, now that the digest is known. */
static void forge_header_again(struct forged *f) {
    struct buffer rest = {0};
    size_t behind = SNAPSHOT_MAGIC_SIZE + SNAPSHOT_BLOCK_HEADER_SIZE + HEADER_SIZE;
    const uint8_t *content = f->file.data + SNAPSHOT_MAGIC_SIZE + SNAPSHOT_BLOCK_HEADER_SIZE;
    struct version at = {get_u64(content + 8), get_u64(content)};
    buffer_append(&rest, (struct bytes){f->file.data + behind, buffer_size(&f->file) - behind});
    f->file.end = f->file.start + SNAPSHOT_MAGIC_SIZE;
    forge_header(f, at);
    buffer_append(&f->file, buffer_bytes(&rest));
    buffer_release(&rest);
}

static struct loaded *forge_end(struct forged *f, uint64_t records) {
    struct buffer end = {0};
    forge_header_again(f);
    uint32_t chain = crc32c(0, (struct bytes){f->file.data, SNAPSHOT_MAGIC_SIZE}) ^ f->miscount;
    for (size_t at = SNAPSHOT_MAGIC_SIZE; at < buffer_size(&f->file);) {
        chain = crc32c(chain, (struct bytes){f->file.data + at, SNAPSHOT_BLOCK_HEADER_SIZE});
        at += SNAPSHOT_BLOCK_HEADER_SIZE + get_u32(f->file.data + at + 1);
    }
    write_u64(&end, records);
    write_u32(&end, chain);
    forge(f, SNAPSHOT_BLOCK_END, buffer_bytes(&end));
    buffer_release(&end);
    struct loaded *l = load(buffer_bytes(&f->file));
    buffer_release(&f->file);
    return l;
}

TEST(the_same_record_twice_is_one_key) {
    struct forged f;
    forge_start(&f, (struct version){2, 9});
    forge_record(&f, "a", (struct version){1, 5});
    forge_record(&f, "b", (struct version){2, 9});
    uint64_t digest = f.digest;
    forge_record(&f, "a", (struct version){1, 5});
    f.digest = digest;
    struct loaded *l = forge_end(&f, 3);
    EQUAL(l->result, SNAPSHOT_OK);
    EQUAL(store_count(l->store), 2);
    loaded_free(l);
}

static void forge_answer(struct forged *f, const struct store_answer *answer) {
    struct slab slab;
    struct retries retries;
    struct buffer row = {0};
    slab_init(&slab);
    retries_init(&retries, &slab);
    retries_add(&retries, answer);
    retries_row_encode(&row, retries_at(&retries, 0));
    forge(f, SNAPSHOT_BLOCK_ANSWERED, buffer_bytes(&row));
    f->digest += retries.digest;
    buffer_release(&row);
    retries_clear(&retries);
    slab_clear(&slab);
}

static void forge_answered(struct forged *f, const char *request, struct version at) {
    forge_answer(f, &(struct store_answer){.client = bytes_of("c"), .request = bytes_of(request), .at = at});
}

static bool refused_because(struct loaded *l, const char *what) {
    bool refused =
        l->result == SNAPSHOT_CORRUPT && strstr(l->why, what) != NULL && store_count(l->store) == 0;
    if (!refused)
        printf("# result %d, why \"%s\"\n", (int)l->result, l->why);
    loaded_free(l);
    return refused;
}

TEST(answered_pairs_that_cannot_be_are_refused_though_their_checksums_fit) {
    static const struct version at = {2, 9}, good = {1, 5}, later = {1, 6}, beyond = {2, 10};
    struct forged f;
    struct store_answer answer;
    forge_start(&f, at);
    forge_answered(&f, "a", good);
    forge_answered(&f, "b", later);
    struct loaded *l = forge_end(&f, 0);
    EQUAL(l->result, SNAPSHOT_OK);
    OK(store_answered(l->store, bytes_of("c"), bytes_of("b"), &answer) && version_equal(answer.at, later));
    loaded_free(l);
    forge_start(&f, at);
    forge_answered(&f, "a", later);
    forge_answered(&f, "b", good);
    OK(refused_because(forge_end(&f, 0), "out of order"));
    forge_start(&f, at);
    forge_answered(&f, "a", good);
    forge_answered(&f, "a", later);
    OK(refused_because(forge_end(&f, 0), "twice"));
    forge_start(&f, at);
    forge_answered(&f, "a", beyond);
    OK(refused_because(forge_end(&f, 0), "newer than the snapshot"));
    forge_start(&f, at);
    forge_answer(&f, &(struct store_answer){
                         .client = bytes_of("c"), .request = bytes_of("a"), .at = later, .current = at});
    OK(refused_because(forge_end(&f, 0), "later version"));
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_ANSWERED, bytes_of("too short"));
    OK(refused_because(forge_end(&f, 0), "malformed"));
}

TEST(content_that_cannot_be_is_refused_though_its_checksums_fit) {
    static const struct version at = {2, 9}, good = {1, 5};
    struct forged f;
    forge_start(&f, at);
    forge_record(&f, "a", good);
    forge_record(&f, "a", (struct version){1, 6});
    OK(refused_because(forge_end(&f, 2), "twice and not alike"));
    forge_start(&f, at);
    forge_record(&f, "a", (struct version){2, 10});
    OK(refused_because(forge_end(&f, 1), "newer than the snapshot"));
    forge_start(&f, at);
    forge_record(&f, "a", (struct version){3, 9});
    OK(refused_because(forge_end(&f, 1), "newer than the snapshot"));
    forge_start(&f, at);
    forge_record(&f, "a", good);
    OK(refused_because(forge_end(&f, 2), "records are missing"));
    forge_start(&f, at);
    f.miscount = 1;
    OK(refused_because(forge_end(&f, 0), "out of order"));
    forge_start(&f, at);
    forge(&f, 77, bytes_of("later"));
    OK(refused_because(forge_end(&f, 0), "unknown type 77"));
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_RECORDS, bytes_of("nonsense"));
    OK(refused_because(forge_end(&f, 0), "malformed"));
    for (size_t i = 0; i < 6; i++) { /* a record that is longer than what is left of its block */
        forge_start(&f, at);
        forge_cut(&f, (struct store_record){.key = bytes_of("a key"), .version = good, .moved = i % 2 * 6},
                  1 + i / 2);
        OK(refused_because(forge_end(&f, 1), "malformed"));
    }
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_RECORDS, bytes_of(""));
    OK(refused_because(forge_end(&f, 0), "size is 0"));
    forge_start(&f, at);
    forge(&f, SNAPSHOT_BLOCK_HEADER, bytes_of("again"));
    OK(refused_because(forge_end(&f, 0), "unknown type 1"));
}

TEST(an_answered_pair_that_was_moved_is_judged_by_its_order_and_keeps_its_position) {
    struct store_answer moved = {.client = bytes_of("c"),
                                 .request = bytes_of("a"),
                                 .at = {7, 1000},
                                 .current = {6, 2000},
                                 .slot = SLOT_COUNT - 1,
                                 .moved = 9,
                                 .origin = UINT32_MAX};
    struct forged f;
    struct store_answer answer;
    forge_start(&f, (struct version){2, 9});
    forge_answer(&f, &moved);
    struct loaded *l = forge_end(&f, 0);
    EQUAL(l->result, SNAPSHOT_OK);
    REQUIRE(store_answered(l->store, moved.client, moved.request, &answer));
    OK(version_equal(answer.at, moved.at) && version_equal(answer.current, moved.current));
    OK(answer.slot == moved.slot && answer.moved == 9 && answer.origin == UINT32_MAX);
    loaded_free(l);
    forge_start(&f, (struct version){2, 8});
    forge_answer(&f, &moved);
    OK(refused_because(forge_end(&f, 0), "newer than the snapshot"));
    forge_start(&f, (struct version){2, 9});
    moved.slot = SLOT_COUNT;
    forge_answer(&f, &moved);
    OK(refused_because(forge_end(&f, 0), "malformed"));
}

TEST(content_that_does_not_give_the_digest_of_the_header_is_refused_though_its_checksums_fit) {
    static const struct version at = {2, 9};
    for (unsigned wrong = 0; wrong < 3; wrong++) {
        struct forged f;
        forge_start(&f, at);
        forge_record(&f, "a", (struct version){1, 5});
        forge_answered(&f, "r", (struct version){1, 6});
        if (wrong == 1)
            f.digest++;
        else if (wrong == 2) /* as if a bit of the version had flipped before it was written */
            f.digest += digest_hash(&(struct store_record){.key = bytes_of("a"), .version = {1, 4}}) -
                        digest_hash(&(struct store_record){.key = bytes_of("a"), .version = {1, 5}});
        struct loaded *l = forge_end(&f, 1);
        if (wrong == 0) {
            EQUAL(l->result, SNAPSHOT_OK);
            EQUAL(l->header.digest, store_digest(l->store));
            loaded_free(l);
        } else {
            OK(refused_because(l, "digest"));
        }
    }
}

TEST(a_moved_record_is_judged_by_its_order_and_keeps_its_version) {
    static const struct version at = {2, 9}, foreign = {7, 1000};
    struct forged f;
    struct store_record record;
    forge_start(&f, at);
    forge_moved(&f, "a", foreign, 9);
    struct loaded *l = forge_end(&f, 1);
    EQUAL(l->result, SNAPSHOT_OK);
    REQUIRE(store_get(l->store, bytes_of("a"), &record));
    OK(version_equal(record.version, foreign) && record.moved == 9);
    loaded_free(l);
    forge_start(&f, at);
    forge_moved(&f, "a", (struct version){1, 3}, 10);
    OK(refused_because(forge_end(&f, 1), "newer than the snapshot"));
}

/* ---- while the store changes ---- */

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

TESTS(TAP(a_snapshot_loads_back_as_the_store_it_was_written_from), TAP(a_snapshot_of_an_empty_store_loads),
      TAP(a_file_that_is_not_there_is_told_from_a_damaged_one),
      TAP(every_prefix_of_a_snapshot_is_refused_and_leaves_the_store_empty),
      TAP(every_flipped_bit_of_a_snapshot_is_refused), TAP(bytes_after_the_end_block_are_refused),
      TAP(a_snapshot_of_the_format_before_is_told_from_a_damaged_one), TAP(the_same_record_twice_is_one_key),
      TAP(answered_pairs_that_cannot_be_are_refused_though_their_checksums_fit),
      TAP(content_that_cannot_be_is_refused_though_its_checksums_fit),
      TAP(an_answered_pair_that_was_moved_is_judged_by_its_order_and_keeps_its_position),
      TAP(content_that_does_not_give_the_digest_of_the_header_is_refused_though_its_checksums_fit),
      TAP(a_moved_record_is_judged_by_its_order_and_keeps_its_version),
      TAP(what_was_moved_here_by_the_position_is_in_a_snapshot_and_what_was_moved_later_is_not),
      TAP(a_record_deleted_or_overwritten_before_the_scan_came_by_is_in_the_snapshot_as_it_was),
      TAP(a_snapshot_loads_whatever_the_order_of_its_records),
      TAP(a_snapshot_that_the_undo_list_does_not_reach_is_not_begun),
      TAP(applies_undos_and_forgets_between_steps_do_not_change_what_a_snapshot_holds))
