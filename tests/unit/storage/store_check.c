/* store_check: a store that changes while it is looked through is found right, and failed memory is found. */
#include <assert.h>

#include "storage/random.h"
#include "storage/store.h"
#include "tests/tap.h"

static void change(struct store *store, struct random *random) {
    char key[16], value[16];
    struct version applied = store_applied(store), at = {2, applied.index + 1};
    snprintf(key, sizeof key, "k%llu", (unsigned long long)random_below(random, 300));
    snprintf(value, sizeof value, "v%llu", (unsigned long long)random_below(random, 1000));
    struct entry entry = {.key = bytes_of(key), .value = bytes_of(value)};
    uint64_t what = random_below(random, 10);
    if (what == 0 && applied.index > 0) {
        uint64_t back = random_below(random, applied.index < 20 ? applied.index : 20);
        store_undo(store, (struct version){2, applied.index - back}); /* or it is out of reach */
        return;
    }
    store_apply(store, at, what < 7 ? ENTRY_PUT : ENTRY_DELETE, &entry, true);
    if (what == 1)
        store_forget(store, store_applied(store).index - random_below(random, 5));
}

static enum store_checked whole_pass(struct store *store) {
    enum store_checked checked;
    do
        checked = store_check(store, 3, 64);
    while (checked == STORE_CHECK_GOES_ON);
    return checked;
}

static void spoil(struct store *store, const char *key) {
    struct store_record record;
    bool there = store_get(store, bytes_of(key), &record);
    assert(there && record.value.size > 0);
    *(uint8_t *)(uintptr_t)record.value.data ^= 4;
}

static void put(struct store *store, const char *key, const char *value) {
    struct entry entry = {.key = bytes_of(key), .value = bytes_of(value)};
    store_apply(store, (struct version){2, store_applied(store).index + 1}, ENTRY_PUT, &entry, true);
}

TEST(a_store_that_changes_between_the_slices_is_right) {
    struct random random;
    unsigned passes = 0;
    random_seed(&random, 3);
    struct store *store = store_new(0);
    for (unsigned i = 0; i < 20000; i++) {
        change(store, &random);
        enum store_checked checked =
            store_check(store, 1 + random_below(&random, 30), 1 + random_below(&random, 300));
        if (!OK(checked != STORE_CHECK_WRONG))
            break;
        passes += checked == STORE_CHECK_RIGHT;
    }
    OK(passes > 100);
    OK(store_digest_holds(store));
    store_free(store);
}

TEST(an_empty_store_is_right_and_one_that_was_emptied_within_a_pass_begins_a_new_one) {
    struct store *store = store_new(0);
    EQUAL(store_check(store, 1, 1), STORE_CHECK_RIGHT);
    put(store, "a", "1");
    put(store, "b", "2");
    EQUAL(store_check(store, 1, 1), STORE_CHECK_GOES_ON);
    store_clear(store);
    EQUAL(store_check(store, 1, 1), STORE_CHECK_RIGHT);
    store_free(store);
}

TEST(a_bit_that_flips_is_found_once_and_the_digest_is_another_one_from_then_on) {
    struct random random;
    random_seed(&random, 5);
    for (unsigned round = 0; round < 50; round++) {
        struct store *store = store_new(0);
        for (unsigned i = 0; i < 400; i++)
            change(store, &random);
        put(store, "k150", "value");
        uint64_t digest = store_digest(store);
        for (uint64_t slices = random_below(&random, 100); slices > 0; slices--)
            store_check(store, 3, 64);
        spoil(store, "k150");
        enum store_checked first = whole_pass(store), second = whole_pass(store);
        OK((first == STORE_CHECK_WRONG) !=
           (second == STORE_CHECK_WRONG)); /* the pass may have been past it */
        OK(store_digest(store) != digest);
        OK(store_digest_holds(store));
        EQUAL(whole_pass(store), STORE_CHECK_RIGHT);
        put(store, "k150", "again");
        EQUAL(whole_pass(store), STORE_CHECK_RIGHT);
        store_free(store);
    }
}

TEST(a_record_that_was_spoiled_and_written_over_is_still_noticed) {
    struct store *store = store_new(0);
    put(store, "a", "1");
    spoil(store, "a");
    put(store, "a", "2");
    EQUAL(whole_pass(store), STORE_CHECK_WRONG);
    OK(store_digest_holds(store));
    store_free(store);
}

TEST(an_entry_whose_record_fails_in_memory_is_undone_to_the_state_before) {
    struct store *store = store_new(1024);
    put(store, "a", "before");
    store_digest_records(store);
    uint64_t digest = store_digest(store);
    put(store, "a", "after");
    put(store, "b", "after");
    spoil(store, "a");
    OK(store_undo(store, (struct version){2, 1}));
    EQUAL(store_digest(store), digest);
    store_digest_records(store);
    OK(store_digest_holds(store));
    EQUAL(whole_pass(store), STORE_CHECK_RIGHT);
    store_free(store);
}

TEST(a_record_that_fails_while_it_is_kept_for_undoing_is_found_when_it_is_back) {
    struct store *store = store_new(1024);
    struct store_record kept;
    put(store, "a", "before");
    OK(store_get(store, bytes_of("a"), &kept));
    put(store, "a", "after");
    *(uint8_t *)(uintptr_t)kept.value.data ^= 4;
    OK(store_undo(store, (struct version){2, 1}));
    OK(!store_digest_holds(store));
    EQUAL(whole_pass(store), STORE_CHECK_WRONG);
    store_free(store);
}

TEST(what_was_applied_after_failed_memory_can_still_be_undone) {
    struct store *store = store_new(0);
    uint64_t digest;
    put(store, "a", "1");
    put(store, "b", "1");
    spoil(store, "a");
    put(store, "b", "2");
    put(store, "c", "2");
    EQUAL(whole_pass(store), STORE_CHECK_WRONG);
    uint64_t now = store_digest(store);
    put(store, "b", "3");
    OK(store_undo(store, (struct version){2, 4}));
    EQUAL(store_digest(store), now);
    OK(store_undo(store, (struct version){2, 2}));
    OK(store_digest_at(store, 2, &digest));
    EQUAL(digest, store_digest(store));
    OK(store_digest_holds(store));
    store_free(store);
}

TESTS(TAP(a_store_that_changes_between_the_slices_is_right),
      TAP(an_empty_store_is_right_and_one_that_was_emptied_within_a_pass_begins_a_new_one),
      TAP(a_bit_that_flips_is_found_once_and_the_digest_is_another_one_from_then_on),
      TAP(a_record_that_was_spoiled_and_written_over_is_still_noticed),
      TAP(what_was_applied_after_failed_memory_can_still_be_undone),
      TAP(an_entry_whose_record_fails_in_memory_is_undone_to_the_state_before),
      TAP(a_record_that_fails_while_it_is_kept_for_undoing_is_found_when_it_is_back))
