/* store: conditions, undo, its bound, scans, determinism. */
#include "storage/store.h"

#include "storage/random.h"
#include "tests/tap.h"

static struct version next(const struct store *store) {
    return (struct version){2, store_applied(store).index + 1};
}

static struct store_effect put_when(struct store *store, const char *key, const char *value,
                                    enum condition condition, struct version match) {
    struct entry entry = {
        .key = bytes_of(key), .value = bytes_of(value), .condition = condition, .match = match};
    return store_apply(store, next(store), ENTRY_PUT, &entry, true);
}

static struct store_effect put(struct store *store, const char *key, const char *value) {
    return put_when(store, key, value, CONDITION_NONE, (struct version){0, 0});
}

static struct store_effect delete_when(struct store *store, const char *key, enum condition condition,
                                       struct version match) {
    struct entry entry = {.key = bytes_of(key), .condition = condition, .match = match};
    return store_apply(store, next(store), ENTRY_DELETE, &entry, true);
}

static bool holds(const struct store *store, const char *key, const char *value, uint64_t index) {
    struct store_record record;
    return store_get(store, bytes_of(key), &record) && bytes_equal(record.key, bytes_of(key)) &&
           bytes_equal(record.value, bytes_of(value)) && record.version.index == index;
}

static bool lacks(const struct store *store, const char *key) {
    struct store_record record;
    return !store_get(store, bytes_of(key), &record);
}

TEST(a_put_is_read_back_with_the_version_of_its_entry) {
    struct store *store = store_new(0);
    struct store_effect effect = put(store, "a", "1");
    EQUAL(effect.outcome, STORE_APPLIED);
    OK(version_equal(effect.current, (struct version){2, 1}));
    put(store, "b", "2");
    put(store, "a", "3");
    OK(holds(store, "a", "3", 3));
    OK(holds(store, "b", "2", 2));
    OK(lacks(store, "c"));
    EQUAL(store_count(store), 2);
    EQUAL(store_applied(store).index, 3);
    store_free(store);
}

TEST(a_key_and_a_value_keep_their_nul_bytes_and_an_expiry_and_a_clock_stay_with_them) {
    struct store *store = store_new(0);
    struct entry entry = {.key = {(const uint8_t *)"a\0b", 3},
                          .value = {(const uint8_t *)"\0\0", 2},
                          .expiry_ms = 1234567890123,
                          .clock = {(const uint8_t *)"\1\0\2", 3}};
    store_apply(store, next(store), ENTRY_PUT, &entry, false);
    OK(lacks(store, "a"));
    struct store_record record;
    REQUIRE(store_get(store, entry.key, &record));
    OK(bytes_equal(record.key, entry.key) && bytes_equal(record.value, entry.value));
    OK(bytes_equal(record.clock, entry.clock));
    EQUAL(record.expiry_ms, entry.expiry_ms);
    store_free(store);
}

TEST(a_delete_removes_the_key_and_of_an_absent_key_does_nothing_but_advance) {
    struct store *store = store_new(0);
    put(store, "a", "1");
    struct store_effect effect = delete_when(store, "a", CONDITION_NONE, (struct version){0, 0});
    EQUAL(effect.outcome, STORE_APPLIED);
    EQUAL(effect.current.index, 0);
    OK(lacks(store, "a"));
    effect = delete_when(store, "a", CONDITION_NONE, (struct version){0, 0});
    EQUAL(effect.outcome, STORE_ABSENT);
    EQUAL(store_count(store), 0);
    EQUAL(store_applied(store).index, 3);
    store_free(store);
}

TEST(an_entry_without_a_key_only_advances_the_position) {
    struct store *store = store_new(0);
    put(store, "a", "1");
    struct store_effect effect = store_apply(store, (struct version){7, 2}, ENTRY_NOOP, NULL, true);
    EQUAL(effect.outcome, STORE_APPLIED);
    store_apply(store, (struct version){7, 3}, ENTRY_CONFIGURATION, NULL, false);
    OK(version_equal(store_applied(store), (struct version){7, 3}));
    OK(holds(store, "a", "1", 1));
    OK(store_undo(store, (struct version){0, 0})); /* it overwrote nothing, so undo reaches past it */
    OK(lacks(store, "a"));
    store_free(store);
}

TEST(a_condition_that_fails_changes_nothing_and_tells_the_version_that_stands) {
    static const struct version none = {0, 0}, one = {2, 1}, other_term = {1, 1};
    struct store *store = store_new(0);
    put(store, "a", "1");
    struct {
        const char *key;
        enum condition condition;
        struct version match;
        bool applies;
    } cases[] = {
        {"a", CONDITION_ABSENT, none, false},  {"a", CONDITION_MATCH, other_term, false},
        {"a", CONDITION_MATCH, {2, 9}, false}, {"b", CONDITION_MATCH, one, false},
        {"b", CONDITION_MATCH, none, false},   {"b", CONDITION_EXISTS, none, false},
        {"a", CONDITION_MATCH, one, true},     {"a", CONDITION_EXISTS, none, true},
        {"b", CONDITION_ABSENT, none, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int deletes = 0; deletes < 2; deletes++) {
            struct store_effect effect =
                deletes ? delete_when(store, cases[i].key, cases[i].condition, cases[i].match)
                        : put_when(store, cases[i].key, "2", cases[i].condition, cases[i].match);
            uint64_t index = store_applied(store).index, stood = cases[i].key[0] == 'a' ? 1 : 0;
            if (!cases[i].applies) {
                EQUAL(effect.outcome, STORE_CONDITION_FAILED);
                EQUAL(effect.current.index, stood);
            } else if (deletes) {
                EQUAL(effect.outcome, cases[i].key[0] == 'a' ? STORE_APPLIED : STORE_ABSENT);
                OK(lacks(store, cases[i].key));
            } else {
                EQUAL(effect.outcome, STORE_APPLIED);
                OK(holds(store, cases[i].key, "2", index));
            }
            OK(store_undo(store, (struct version){2, index - 1}));
            OK(holds(store, "a", "1", 1));
            EQUAL(store_count(store), 1);
        }
    store_free(store);
}

/* ---- many stores against each other ---- */

#define STEPS 400

/* The same seed and position give the same entry. */
static void apply_random(struct store *store, uint64_t seed, bool undo) {
    struct random random;
    struct version at = next(store);
    random_seed(&random, seed * 1000003 + at.index);
    at.term = 1 + at.index / 50;
    uint8_t key[8], value[700];
    memset(value, (int)random_below(&random, 256), sizeof value);
    size_t size = 1 + random_below(&random, 2);
    for (size_t i = 0; i < size; i++)
        key[i] = (uint8_t)random_below(&random, 8);
    struct entry entry = {.key = {key, size},
                          .value = {value, random_below(&random, sizeof value)},
                          .condition = (enum condition)random_below(&random, 4),
                          .match = {1, at.index / 2}};
    uint64_t dice = random_below(&random, 10);
    if (dice == 0)
        store_apply(store, at, ENTRY_NOOP, NULL, undo);
    else
        store_apply(store, at, dice < 7 ? ENTRY_PUT : ENTRY_DELETE, &entry, undo);
}

struct summary {
    uint64_t sum, count;
};

static bool summary_each(void *arg, const struct store_record *record) {
    struct summary *summary = arg;
    summary->count++;
    uint64_t sum = summary->sum;
    for (size_t i = 0; i < record->key.size; i++)
        sum = (sum ^ record->key.data[i]) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < record->value.size; i++)
        sum = (sum ^ record->value.data[i]) * UINT64_C(0x100000001b3);
    summary->sum = (sum ^ record->version.index ^ record->version.term << 32) * UINT64_C(0x100000001b3);
    return true;
}

static struct summary summary_of(const struct store *store) {
    struct summary summary = {1, 0};
    store_scan(store, (struct bytes){NULL, 0}, summary_each, &summary);
    return summary;
}

static bool same(struct summary a, struct summary b) {
    return a.sum == b.sum && a.count == b.count;
}

TEST(undo_restores_the_state_after_every_earlier_entry_exactly) {
    struct summary summaries[STEPS + 1];
    for (uint64_t from = 0; from <= STEPS; from += 7) {
        struct store *store = store_new(0);
        summaries[0] = summary_of(store);
        for (uint64_t i = 1; i <= STEPS; i++) {
            apply_random(store, 1, true);
            summaries[i] = summary_of(store);
        }
        OK(store_undo(store, (struct version){1 + from / 50, from}));
        OK(same(summary_of(store), summaries[from]));
        EQUAL(store_applied(store).index, from);
        /* and from there on it is a store like any other */
        while (store_applied(store).index < STEPS)
            apply_random(store, 1, true);
        OK(same(summary_of(store), summaries[STEPS]));
        for (uint64_t i = STEPS; i-- > 0;) {
            OK(store_undo(store, (struct version){1 + i / 50, i}));
            OK(same(summary_of(store), summaries[i]));
            EQUAL(store_count(store), summaries[i].count);
        }
        store_free(store);
    }
}

TEST(undo_does_not_reach_behind_what_was_forgotten) {
    struct store *store = store_new(0);
    for (int i = 0; i < 20; i++)
        apply_random(store, 2, true);
    store_forget(store, 10);
    struct summary before = summary_of(store);
    OK(!store_undo(store, (struct version){1, 9}));
    OK(same(summary_of(store), before));
    EQUAL(store_applied(store).index, 20);
    OK(store_undo(store, (struct version){1, 10}));
    EQUAL(store_applied(store).index, 10);
    store_free(store);
}

TEST(forgetting_ahead_of_what_is_applied_forgets_only_what_is_applied) {
    struct store *store = store_new(0);
    put(store, "a", "1");
    store_forget(store, 100);
    put(store, "a", "2");
    OK(store_undo(store, (struct version){2, 1}));
    OK(holds(store, "a", "1", 1));
    store_free(store);
}

TEST(undo_does_not_reach_behind_an_entry_applied_without_undo) {
    struct store *store = store_new(0);
    put(store, "a", "1");
    put(store, "a", "2");
    struct entry entry = {.key = bytes_of("a"), .value = bytes_of("3")};
    store_apply(store, next(store), ENTRY_PUT, &entry, false);
    put(store, "a", "4");
    OK(!store_undo(store, (struct version){2, 2}));
    OK(holds(store, "a", "4", 4));
    OK(store_undo(store, (struct version){2, 3}));
    OK(holds(store, "a", "3", 3));
    store_free(store);
}

TEST(past_its_bound_the_oldest_undo_is_dropped_and_the_store_stays_as_it_was) {
    struct store *store = store_new(10000);
    struct summary summaries[STEPS + 1];
    for (uint64_t i = 1; i <= STEPS; i++) {
        apply_random(store, 3, true);
        summaries[i] = summary_of(store);
    }
    uint64_t reach = STEPS;
    while (reach > 0 && store_undo(store, (struct version){1 + (reach - 1) / 50, reach - 1})) {
        reach--;
        OK(same(summary_of(store), summaries[reach]));
    }
    OK(reach > STEPS - 200); /* entries of some 350 bytes */
    OK(reach < STEPS - 15);
    OK(same(summary_of(store), summaries[reach]));
    EQUAL(store_applied(store).index, reach);
    store_free(store);
}

TEST(what_one_entry_overwrote_is_dropped_when_it_alone_is_past_the_bound) {
    struct store *store = store_new(100);
    char large[200] = {0};
    memset(large, 'x', sizeof large - 1);
    put(store, "a", large);
    put(store, "a", "2");
    OK(!store_undo(store, (struct version){2, 1}));
    OK(holds(store, "a", "2", 2));
    put(store, "a", "3");
    OK(store_undo(store, (struct version){2, 2}));
    OK(holds(store, "a", "2", 2));
    store_free(store);
}

TEST(the_same_entries_give_the_same_store_whether_or_not_undo_is_kept) {
    struct store *a = store_new(0), *b = store_new(500), *c = store_new(0);
    for (int i = 0; i < 20000; i++) {
        apply_random(a, 4, true);
        apply_random(b, 4, true);
        apply_random(c, 4, false);
        store_forget(a, (uint64_t)(i < 30 ? 0 : i - 30));
    }
    OK(same(summary_of(a), summary_of(b)));
    OK(same(summary_of(a), summary_of(c)));
    OK(summary_of(a).count > 10);
    store_free(a);
    store_free(b);
    store_free(c);
}

TEST(memory_comes_back_when_keys_are_deleted_or_the_store_is_cleared) {
    struct store *store = store_new(0);
    uint64_t empty = store_memory(store);
    char key[32];
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        struct entry entry = {.key = bytes_of(key), .value = bytes_of("some value of some size")};
        store_apply(store, next(store), ENTRY_PUT, &entry, false);
    }
    uint64_t full = store_memory(store);
    OK(full - empty > 50000 * 32);
    OK(full - empty < 50000 * 100);
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        struct entry entry = {.key = bytes_of(key)};
        store_apply(store, next(store), ENTRY_DELETE, &entry, false);
    }
    EQUAL(store_count(store), 0);
    OK(store_memory(store) - empty < (full - empty) / 2);
    store_clear(store);
    EQUAL(store_memory(store), empty);
    EQUAL(store_applied(store).index, 0);
    store_free(store);
}

struct gathered {
    char text[256];
    int left;
};

static bool gather(void *arg, const struct store_record *record) {
    struct gathered *gathered = arg;
    size_t size = strlen(gathered->text);
    snprintf(gathered->text + size, sizeof gathered->text - size, "%.*s=%.*s ", (int)record->key.size,
             (const char *)record->key.data, (int)record->value.size, (const char *)record->value.data);
    return --gathered->left > 0;
}

TEST(a_scan_goes_in_byte_order_from_a_key_until_it_is_told_to_stop) {
    struct store *store = store_new(0);
    static const char *keys[] = {"b", "a", "ab", "abc", "c", "aa", "\xff"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        put(store, keys[i], i % 2 ? "1" : "0");
    struct gathered all = {.left = 100}, some = {.left = 3}, tail = {.left = 100}, none = {.left = 100};
    store_scan(store, (struct bytes){NULL, 0}, gather, &all);
    TEXT_EQUAL(all.text, "a=1 aa=1 ab=0 abc=1 b=0 c=0 \xff=0 ");
    store_scan(store, bytes_of("aab"), gather, &some);
    TEXT_EQUAL(some.text, "ab=0 abc=1 b=0 ");
    store_scan(store, bytes_of("c"), gather, &tail);
    TEXT_EQUAL(tail.text, "c=0 \xff=0 ");
    store_scan(store, bytes_of("\xff\x01"), gather, &none);
    TEXT_EQUAL(none.text, "");
    store_free(store);
}

TESTS(TAP(a_put_is_read_back_with_the_version_of_its_entry),
      TAP(a_key_and_a_value_keep_their_nul_bytes_and_an_expiry_and_a_clock_stay_with_them),
      TAP(a_delete_removes_the_key_and_of_an_absent_key_does_nothing_but_advance),
      TAP(an_entry_without_a_key_only_advances_the_position),
      TAP(a_condition_that_fails_changes_nothing_and_tells_the_version_that_stands),
      TAP(undo_restores_the_state_after_every_earlier_entry_exactly),
      TAP(undo_does_not_reach_behind_what_was_forgotten),
      TAP(forgetting_ahead_of_what_is_applied_forgets_only_what_is_applied),
      TAP(undo_does_not_reach_behind_an_entry_applied_without_undo),
      TAP(past_its_bound_the_oldest_undo_is_dropped_and_the_store_stays_as_it_was),
      TAP(what_one_entry_overwrote_is_dropped_when_it_alone_is_past_the_bound),
      TAP(the_same_entries_give_the_same_store_whether_or_not_undo_is_kept),
      TAP(memory_comes_back_when_keys_are_deleted_or_the_store_is_cleared),
      TAP(a_scan_goes_in_byte_order_from_a_key_until_it_is_told_to_stop))
