/* digest: the hash's own numbers, how good it is, and that a store's digests always are those of its content.
 */
#include "storage/digest.h"

#include "storage/random.h"
#include "storage/store_parts.h"
#include "tests/tap.h"

/* Computed from FORMAT.md's text by another program. */
TEST(the_hash_is_the_one_that_the_format_defines) {
    static const struct {
        size_t size;
        uint64_t hash;
    } golden[] = {
        {0, 0xdc282476e2ee0755},    {1, 0xb7070c6b42057a9a},    {2, 0xd96e9996d19137e7},
        {3, 0x0a303f838d4ce713},    {4, 0x121813631bcc9982},    {7, 0x373bac0e6c899698},
        {8, 0x57d209ccf04730f3},    {15, 0x350af2171c449b37},   {16, 0x1c86af00177a4b44},
        {17, 0xbd30afda585582d7},   {32, 0x942b74c34dff881f},   {33, 0x4f9748d5c10b9f81},
        {64, 0x23c710293d4872cb},   {65, 0x41aa17afd6309483},   {80, 0xc414f1caaccba991},
        {128, 0xce9d75670f2cadc2},  {129, 0x5066834856b2e355},  {130, 0x7135f8f82a1d1310},
        {1000, 0x1f7c7c8fcc85f8d1}, {2000, 0xf5ff270457d51c87},
    };
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        uint8_t *exact = malloc(golden[i].size + 1);
        for (size_t b = 0; b < golden[i].size; b++)
            exact[b] = (uint8_t)(b * 7 + b / 251);
        EQUAL(digest_bytes(DIGEST_SEED_VALUE, (struct bytes){exact, golden[i].size}), golden[i].hash);
        free(exact);
    }
    struct store_record record = {.key = bytes_of("key"), .value = bytes_of("value"), .version = {3, 77}};
    EQUAL(digest_hash(&record), 0x01425bf1e165af97);
    record.expiry_ms = 1700000000000;
    EQUAL(digest_hash(&record), 0xff8375f80f9ed5e6);
    record.expiry_ms = 0;
    record.object = true;
    EQUAL(digest_hash(&record), 0xf992429ee4475ed0);
    record.object = false;
    record.clock = bytes_of("clock");
    EQUAL(digest_hash(&record), 0x23dd0f0e7de4c3a5);
    record.expiry_ms = 5;
    record.object = true;
    EQUAL(digest_hash(&record), 0x9deec777a0e67424);
    EQUAL(digest_leaf_of(bytes_of("key")), 7);
    EQUAL(digest_leaf_of(bytes_of("user:1")), 15);
}

TEST(an_answered_pairs_hash_is_the_one_that_the_format_defines) {
    struct slab slab;
    struct retries retries;
    slab_init(&slab);
    retries_init(&retries, &slab);
    struct store_answer answer = {.client = bytes_of("client"),
                                  .request = bytes_of("r1"),
                                  .fingerprint = 99,
                                  .outcome = STORE_CONDITION_FAILED,
                                  .at = {2, 5},
                                  .current = {1, 4},
                                  .slot = 12182};
    retries_add(&retries, &answer);
    EQUAL(retries.digest, 0x76b11db1ef5d9d9a);
    retries_clear(&retries);
    EQUAL(retries.digest, 0);
    answer.moved = 77;
    answer.origin = 3;
    retries_add(&retries, &answer);
    EQUAL(retries.digest, 0x76b11db1ef5d9d9a); /* wherever it came from */
    retries_clear(&retries);
    slab_clear(&slab);
}

TEST(every_field_changes_the_hash_but_the_order_and_a_version_beside_a_clock) {
    const struct store_record plain = {
        .key = bytes_of("key"), .value = bytes_of("value"), .version = {3, 77}, .expiry_ms = 9};
    struct store_record others[9];
    for (size_t i = 0; i < 9; i++)
        others[i] = plain;
    others[0].key = bytes_of("kez");
    others[1].value = bytes_of("valud");
    others[2].version.term = 4;
    others[3].version.index = 78;
    others[4].expiry_ms = 0;
    others[5].object = true;
    others[6].clock = bytes_of("c");
    others[7].key = bytes_of("keyv"), others[7].value = bytes_of("alue");
    others[8].version = (struct version){77, 3};
    for (size_t i = 0; i < 9; i++) {
        OK(digest_hash(&others[i]) != digest_hash(&plain));
        for (size_t j = 0; j < i; j++)
            OK(digest_hash(&others[i]) != digest_hash(&others[j]));
    }
    struct store_record moved = plain, clocked = others[6], object = others[5];
    moved.moved = 1234;
    EQUAL(digest_hash(&moved), digest_hash(&plain));
    clocked.version.index = 1;
    EQUAL(digest_hash(&clocked), digest_hash(&others[6]));
    object.version.index = 1;
    EQUAL(digest_hash(&object), digest_hash(&others[5]));
}

/* ---- how good the hash is: by what it is summed over, records that look alike ---- */

/* Record number i of a set: keys, values and versions count up as those of a test program do. */
static uint64_t hash_of(unsigned key, unsigned value, uint64_t index) {
    char key_text[24], value_text[24];
    snprintf(key_text, sizeof key_text, "key:%u", key);
    snprintf(value_text, sizeof value_text, "%u", value);
    return digest_hash(&(struct store_record){
        .key = bytes_of(key_text), .value = bytes_of(value_text), .version = {1, index}});
}

static int compare_words(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* How many of the sorted words' upper bits are those of the one before. */
static unsigned repeats(uint64_t *words, size_t count, unsigned bits) {
    unsigned found = 0;
    qsort(words, count, sizeof *words, compare_words);
    for (size_t i = 1; i < count; i++)
        found += words[i] >> (64 - bits) == words[i - 1] >> (64 - bits);
    return found;
}

#define MANY 262144 /* 2^18: of 32 random bits 8 repeat, give or take 3 */

TEST(alike_records_and_exchanges_among_them_change_the_sum_as_random_numbers_would) {
    static const char *const names[] = {"versions",         "values",       "keys",
                                        "exchanged values", "a write each", "upper and lower half"};
    uint64_t *words = malloc(MANY * sizeof *words);
    for (unsigned set = 0; set < 6; set++) {
        for (unsigned i = 0; i < MANY; i++) {
            unsigned a = i / 512, b = i % 512;
            words[i] = set == 0   ? hash_of(1, 1, i + 1)
                       : set == 1 ? hash_of(1, i, 1)
                       : set == 2 ? hash_of(i, 1, 1)
                       /* (a: x, b: y) against (a: y, b: x) */
                       : set == 3 ? hash_of(a, 1, 1) + hash_of(1000 + b, 2, 1) - hash_of(a, 2, 1) -
                                        hash_of(1000 + b, 1, 1)
                       /* what one overwrite changes */
                       : set == 4 ? hash_of(a, b, i + 2) - hash_of(a, b, i + 1)
                                  : hash_of(a, b, i) * UINT64_C(0x100000001);
        }
        for (unsigned turn = 0; turn < 2; turn++) {
            unsigned same = repeats(words, MANY, 32);
            if (!OK(same < 32))
                printf("# %s: %u repeats\n", names[set], same);
            EQUAL(repeats(words, MANY, 64), 0);
            for (unsigned i = 0; i < MANY; i++) /* and the lower half */
                words[i] = words[i] << 32 | words[i] >> 32;
        }
    }
    free(words);
}

/* Each bit of a record's fields turns each bit of the hash in about half of the cases. */
TEST(every_bit_of_a_record_turns_every_bit_of_its_hash_half_the_time) {
    static const size_t sizes[] = {1, 3, 7, 12, 16, 31, 64, 100, 200};
    struct random random;
    random_seed(&random, 5);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        unsigned turned[64] = {0}, trials = 0;
        for (unsigned round = 0; round < 40; round++) {
            uint8_t bytes[202];
            for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (uint8_t)random_next(&random);
            struct store_record record = {
                .key = {bytes, sizes[s]}, .value = {bytes + 2, sizes[s]}, .version = {1, round + 1}};
            uint64_t before = digest_hash(&record);
            for (size_t bit = 0; bit < 8 * (sizes[s] + 2) + 64; bit++, trials++) {
                bool in_bytes = bit < 8 * (sizes[s] + 2);
                uint8_t *at = &bytes[in_bytes ? bit / 8 : 0], mask = (uint8_t)(in_bytes ? 1 << bit % 8 : 0);
                *at ^= mask;
                record.version.index ^= in_bytes ? 0 : UINT64_C(1) << (bit - 8 * (sizes[s] + 2));
                uint64_t changed = digest_hash(&record) ^ before;
                OK(changed != 0 || (sizes[s] == 1 && bit >= 8 && bit < 16)); /* between the two */
                trials -= changed == 0;
                for (unsigned out = 0; out < 64; out++)
                    turned[out] += changed >> out & 1;
                *at ^= mask;
                record.version.index = round + 1;
            }
        }
        for (unsigned out = 0; out < 64; out++) { /* within five standard deviations */
            int64_t off = 2 * (int64_t)turned[out] - trials;
            if (!OK(off * off < 25 * (int64_t)trials))
                printf("# size %zu, bit %u: turned %u times of %u\n", sizes[s], out, turned[out], trials);
        }
    }
}

TEST(keys_spread_over_the_leaves_of_one_slot) {
    unsigned leaves[DIGEST_LEAVES] = {0};
    char key[32];
    for (unsigned i = 0; i < 16000; i++) {
        snprintf(key, sizeof key, "{tag}:%u", i);
        leaves[digest_leaf_of(bytes_of(key))]++;
    }
    for (unsigned i = 0; i < DIGEST_LEAVES; i++)
        OK(leaves[i] > 850 && leaves[i] < 1150);
}

/* ---- a store's digests ---- */

static const struct version nowhere = {0, 0};

static void put(struct store *store, const char *key, const char *value, bool undo) {
    struct entry entry = {.key = bytes_of(key), .value = bytes_of(value)};
    store_apply(store, (struct version){1, store_applied(store).index + 1}, ENTRY_PUT, &entry, undo);
}

TEST(a_record_is_in_the_sum_of_its_leaf_its_slot_and_all) {
    struct store *store = store_new(0);
    EQUAL(store_digest(store), 0);
    put(store, "{user}:1", "a", true);
    put(store, "{user}:2", "b", true);
    put(store, "other", "c", true);
    static const char *const keys[] = {"{user}:1", "{user}:2", "other"};
    const struct digest *digest = store_digest_records(store);
    uint64_t total = 0, user = 0, hashes[3];
    for (unsigned i = 0; i < 3; i++) {
        struct store_record record;
        REQUIRE(store_get(store, bytes_of(keys[i]), &record));
        hashes[i] = digest_hash(&record);
        total += hashes[i];
        user += i < 2 ? hashes[i] : 0;
    }
    EQUAL(store_digest(store), total);
    EQUAL(digest_slot(digest, slot_of(bytes_of("user"))), user);
    EQUAL(digest_slot(digest, slot_of(bytes_of("other"))), hashes[2]);
    EQUAL(digest_leaf(digest, slot_of(bytes_of("other")), digest_leaf_of(bytes_of("other"))), hashes[2]);
    EQUAL(digest_slot(digest, 5), 0);
    OK(store_digest_holds(store));
    OK(store_undo(store, nowhere));
    EQUAL(store_digest(store), 0);
    OK(store_digest_holds(store));
    store_free(store);
}

/* Changes of all kinds by a seed; the same seed and position give the same entry. */
static void apply_random(struct store *store, uint64_t seed, bool undo) {
    struct version at = {1, store_applied(store).index + 1};
    struct random random;
    random_seed(&random, seed * 1000003 + at.index);
    char key[8], request[8];
    uint8_t value[300];
    memset(value, (int)random_below(&random, 256), sizeof value);
    snprintf(key, sizeof key, "%d", (int)random_below(&random, 60));
    snprintf(request, sizeof request, "%d", (int)random_below(&random, 90));
    struct entry entry = {.key = bytes_of(key),
                          .value = {value, random_below(&random, sizeof value)},
                          .condition = (enum condition)random_below(&random, 4),
                          .match = {1, at.index / 2},
                          .expiry_ms = random_below(&random, 5) == 0 ? at.index : 0,
                          .clock = {value, random_below(&random, 5) == 0 ? 4 : 0}};
    if (random_below(&random, 3) == 0)
        entry.client = bytes_of("c"), entry.request = bytes_of(request);
    uint64_t dice = random_below(&random, 10);
    enum entry_type type = dice == 0 ? ENTRY_NOOP : dice < 7 ? ENTRY_PUT : ENTRY_DELETE;
    store_apply(store, at, type, type == ENTRY_NOOP ? NULL : &entry, undo);
}

#define HISTORY 3000

static struct store *store_of_tests(size_t undo_size_max) {
    struct store *store = store_new(undo_size_max);
    store->retries.rows_max = 20;
    return store;
}

TEST(through_applies_undos_and_forgets_the_digest_is_that_of_the_content) {
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct store *store = store_of_tests(seed % 3 == 0 ? 4000 : 0);
        if (seed % 2 == 0)
            store_digest_records(store);
        struct random random;
        uint64_t digests[HISTORY + 1] = {0}, forgotten = 0;
        random_seed(&random, seed);
        for (unsigned step = 0; step < 400; step++) {
            uint64_t applied = store_applied(store).index;
            switch (random_below(&random, 6)) {
            case 0: {
                uint64_t to = forgotten + random_below(&random, applied - forgotten + 1);
                if (store_undo(store, (struct version){1, to}))
                    EQUAL(store_digest(store), digests[to]);
                break;
            }
            case 1:
                forgotten += random_below(&random, applied - forgotten + 1);
                store_forget(store, forgotten);
                break;
            default:
                for (uint64_t count = random_below(&random, 12); count > 0; count--) {
                    apply_random(store, seed, random_below(&random, 40) != 0);
                    digests[store_applied(store).index] = store_digest(store);
                }
            }
            if (!OK(store_digest_holds(store)))
                break;
        }
        for (uint64_t index = 0; index <= store_applied(store).index; index++) {
            uint64_t digest = 0;
            bool known = store_digest_at(store, index, &digest);
            OK(!known || digest == digests[index]);
            OK(known || index < store_applied(store).index);
            if (index < forgotten)
                OK(!known);
        }
        OK(!store_digest_at(store, store_applied(store).index + 1, &digests[0]));
        store_free(store);
    }
}

TEST(leaves_are_there_from_when_they_are_asked_for_and_stay_through_changes_and_clearing) {
    struct store *asked = store_new(0), *later = store_new(0);
    uint64_t without = store_memory(asked);
    store_digest_records(asked);
    EQUAL(store_memory(asked) - without, DIGEST_LEAF_COUNT * sizeof(uint64_t));
    for (unsigned i = 0; i < 500; i++) {
        apply_random(asked, 5, true);
        apply_random(later, 5, true);
    }
    EQUAL(store_digest(asked), store_digest(later));
    OK(digest_equal(store_digest_records(asked), store_digest_records(later)));
    store_undo(asked, (struct version){1, 490});
    store_undo(later, (struct version){1, 490});
    OK(digest_equal(store_digest_records(asked), store_digest_records(later)));
    OK(store_digest_holds(later));
    store_clear(later);
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        if (digest_slot(store_digest_records(later), slot) != 0 && !OK(false))
            break;
    apply_random(later, 5, true);
    OK(store_digest_holds(later));
    store_free(asked);
    store_free(later);
}

TEST(an_earlier_digest_is_known_as_far_as_undoing_reaches) {
    struct store *store = store_of_tests(0);
    uint64_t digests[HISTORY + 1] = {0}, digest;
    for (unsigned i = 1; i <= HISTORY; i++) {
        apply_random(store, 77, true);
        digests[i] = store_digest(store);
    }
    uint64_t floor = retries_floor(&store->retries);
    OK(floor > 0 && floor < HISTORY);
    for (uint64_t index = 0; index <= HISTORY; index++) {
        EQUAL(store_digest_at(store, index, &digest), index >= floor);
        if (index >= floor)
            EQUAL(digest, digests[index]);
    }
    store_free(store);
}

/* Two stores whose keys, in opposite orders, end as the same records. */
TEST(neither_order_nor_detours_matter) {
    struct store *a = store_new(0), *b = store_new(0);
    struct slab *slab = &a->slab;
    for (unsigned i = 0; i < 1000; i++) {
        char key[16];
        for (unsigned s = 0; s < 2; s++) {
            unsigned number = s == 0 ? i : 999 - i;
            snprintf(key, sizeof key, "key:%u", number);
            struct store *store = s == 0 ? a : b;
            struct store_record content = {.key = bytes_of(key), .version = {1, number + 1}, .moved = i + 1};
            slab = &store->slab;
            if (s == 1 && i % 3 == 0) { /* another value first */
                content.value = bytes_of("before");
                store_put_record(store, record_new(slab, &content));
                content.value = bytes_of("");
            }
            struct record *out = store_put_record(store, record_new(slab, &content));
            if (out != NULL)
                record_free(slab, out);
        }
    }
    OK(store_digest(a) == store_digest(b) && store_digest(a) != 0);
    OK(digest_equal(store_digest_records(a), store_digest_records(b)));
    struct record *out = store_take_record(b, bytes_of("key:7"));
    REQUIRE(out != NULL);
    OK(!digest_equal(store_digest_records(a), store_digest_records(b)));
    record_free(&b->slab, out);
    OK(store_digest_holds(a) && store_digest_holds(b));
    store_free(a);
    store_free(b);
}

TEST(a_check_of_the_digest_finds_a_record_that_was_changed_behind_its_back) {
    struct store *store = store_new(0);
    put(store, "a", "1", true);
    put(store, "b", "2", true);
    OK(store_digest_holds(store));
    struct record *record = index_get(&store->index, bytes_of("a"));
    ((uint8_t *)record)[record_size(record) - 1] ^= 4;
    OK(!store_digest_holds(store));
    ((uint8_t *)record)[record_size(record) - 1] ^= 4;
    OK(store_digest_holds(store));
    store_free(store);
}

TEST(a_cleared_store_has_the_digest_of_nothing) {
    struct store *store = store_new(0);
    apply_random(store, 3, false);
    put(store, "a", "1", false);
    OK(store_digest(store) != 0);
    store_clear(store);
    EQUAL(store_digest(store), 0);
    OK(store_digest_holds(store));
    store_free(store);
}

TESTS(TAP(the_hash_is_the_one_that_the_format_defines),
      TAP(an_answered_pairs_hash_is_the_one_that_the_format_defines),
      TAP(every_field_changes_the_hash_but_the_order_and_a_version_beside_a_clock),
      TAP(alike_records_and_exchanges_among_them_change_the_sum_as_random_numbers_would),
      TAP(every_bit_of_a_record_turns_every_bit_of_its_hash_half_the_time),
      TAP(keys_spread_over_the_leaves_of_one_slot), TAP(a_record_is_in_the_sum_of_its_leaf_its_slot_and_all),
      TAP(through_applies_undos_and_forgets_the_digest_is_that_of_the_content),
      TAP(leaves_are_there_from_when_they_are_asked_for_and_stay_through_changes_and_clearing),
      TAP(an_earlier_digest_is_known_as_far_as_undoing_reaches), TAP(neither_order_nor_detours_matter),
      TAP(a_check_of_the_digest_finds_a_record_that_was_changed_behind_its_back),
      TAP(a_cleared_store_has_the_digest_of_nothing))
