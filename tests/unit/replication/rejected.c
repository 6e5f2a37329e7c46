/* What a restart or a snapshot leaves of the rejected-write ledger: rows whose index the log no longer holds
 * are settled by what the store shows. */
#include "replication/replica.h"
#include "storage/hard_state.h"
#include "storage/store_parts.h"
#include "tests/tap.h"
#include "tests/unit/replication/begin_log.h"

#define GROUP_ID 7

static void no_send(void *arg, const struct member_id *to, const struct message *message) {
    (void)arg;
    (void)to;
    (void)message;
}

static void no_background(void *arg, struct job *job) {
    (void)arg;
    (void)job;
}

static void no_applied(void *arg, struct version at, const struct store_effect *effect) {
    (void)arg;
    (void)at;
    (void)effect;
}

static bool no_unanswered(void *arg, struct version at) {
    (void)arg;
    (void)at;
    return false;
}

static void no_overruled(void *arg, uint64_t index) {
    (void)arg;
    (void)index;
}

static void no_notice(void *arg, enum replica_notice notice, const char *text) {
    (void)arg;
    (void)notice;
    (void)text;
}

static const struct member_id self = {.id = "node-00000000001", .incarnation = 1};

/* A store of ten entries, the first four of term 1 and the others of term 3, as a snapshot: `old` was written
 * at 1.2, `new` at 3.9, and `gone` at 1.3 and deleted at 3.10; entry 5 brought `moved`, whose version in
 * another group is 9.6, and `early`, whose version there is 1.2; no other key is there. */
static void move_in(struct store *store, const char *key, struct version version) {
    struct store_record content = {.key = bytes_of(key), .version = version, .moved = 5};
    store_put_record(store, record_new(&store->slab, &content));
}

static bool make_snapshot(struct file_system *fs) {
    struct store *store = store_new(0);
    struct configuration configuration = {.group_id = GROUP_ID, .voters_max = 5, .count = 1};
    struct groups_state groups = {0};
    struct buffer encoded = {0}, state = {0}, out = {0};
    struct file *file;
    configuration.members[0] = (struct member){.id = self, .role = MEMBER_VOTER};
    configuration_encode(&encoded, &configuration);
    write_bytes32(&state, buffer_bytes(&encoded));
    groups_state_write(&state, &groups);
    for (uint64_t index = 1; index <= 10; index++) {
        struct entry entry = {.value = bytes_of("value")};
        enum entry_type type = index == 10 ? ENTRY_DELETE : ENTRY_PUT;
        entry.key = bytes_of(index == 2 ? "old" : index == 9 ? "new" : "gone");
        bool writes = index == 2 || index == 3 || index >= 9;
        store_apply(store, (struct version){index <= 4 ? 1 : 3, index}, writes ? type : ENTRY_NOOP,
                    writes ? &entry : NULL, false);
    }
    move_in(store, "moved", (struct version){9, 6});
    move_in(store, "early", (struct version){1, 2});
    struct snapshot_header header = {{3, 10}, store_count(store), buffer_bytes(&state), 1, 0, 0};
    struct snapshot_writer *writer = snapshot_writer_new(store, &header);
    while (!snapshot_writer_step(writer, 65536, &out))
        ;
    snapshot_writer_free(writer);
    bool ok = file_open(fs, "snapshot", true, &file) == FILE_OK &&
              file_write(file, 0, buffer_bytes(&out)) == FILE_OK;
    file_close(file);
    store_free(store);
    buffer_release(&encoded);
    buffer_release(&state);
    buffer_release(&out);
    struct hard_state hard_state = {.term = 3};
    return ok && begin_log(fs) && hard_state_save(fs, &hard_state) == FILE_OK;
}

static bool add_row(struct ledger *l, uint64_t term, uint64_t index, const char *key,
                    enum condition condition) {
    struct entry entry = {.key = bytes_of(key), .value = bytes_of("lost"), .condition = condition};
    struct buffer payload = {0};
    entry_encode(&payload, &entry);
    struct ledger_row row = {
        .group_id = GROUP_ID,
        .at = {term, index},
        .by_term = 3,
        .type = ENTRY_PUT,
        .payload = buffer_bytes(&payload),
    };
    bool ok = ledger_add(l, &row) == FILE_OK;
    buffer_release(&payload);
    return ok;
}

static struct replica *reopened(struct file_system *fs) {
    struct replica_options options = {.fs = fs, .self = self, .group_id = GROUP_ID, .sync = SYNC_ALWAYS};
    struct replica_host host = {NULL,          no_send,      no_background, no_applied,
                                no_unanswered, no_overruled, no_notice};
    struct replica *r = NULL;
    char why[256] = "";
    if (!replica_open(&options, &host, 0, &r, why, sizeof why))
        printf("# %s\n", why);
    return r;
}

static enum ledger_state state_of(const struct replica *r, uint64_t term, uint64_t index) {
    const struct ledger *l = replica_ledger(r);
    size_t position = ledger_find(l, GROUP_ID, (struct version){term, index});
    if (position == ledger_count(l) ||
        !version_equal(ledger_at(l, position)->at, (struct version){term, index}))
        return LEDGER_GONE;
    return ledger_at(l, position)->state;
}

TEST(rows_behind_a_snapshot_are_settled_by_the_versions_it_shows_and_by_its_term) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l;
    char why[160];
    REQUIRE(make_snapshot(fs) && ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK);
    bool added = add_row(l, 1, 2, "old", CONDITION_NONE) &&      /* the version that stands */
                 add_row(l, 2, 5, "old", CONDITION_NONE) &&      /* an older one stands */
                 add_row(l, 2, 6, "old", CONDITION_EXISTS) &&    /* so it does where the condition failed */
                 add_row(l, 2, 7, "new", CONDITION_NONE) &&      /* written again since */
                 add_row(l, 2, 8, "missing", CONDITION_NONE) &&  /* perhaps deleted since */
                 add_row(l, 2, 9, "new", CONDITION_NONE) &&      /* another entry stands at its index */
                 add_row(l, 4, 9, "missing", CONDITION_NONE) &&  /* above the snapshot's term */
                 add_row(l, 2, 10, "missing", CONDITION_NONE) && /* at its end, whose term is known */
                 add_row(l, 2, 11, "missing", CONDITION_NONE) && /* behind it, of an earlier term */
                 add_row(l, 3, 12, "missing", CONDITION_NONE) && /* not decided yet */
                 ledger_sync(l) == FILE_OK;
    ledger_close(l);
    REQUIRE(added);
    for (int restart = 0; restart < 2; restart++) {
        struct replica *r = reopened(fs);
        REQUIRE(r != NULL);
        EQUAL(ledger_count(replica_ledger(r)), 9);
        EQUAL(state_of(r, 1, 2), LEDGER_GONE);
        EQUAL(state_of(r, 2, 5), LEDGER_REJECTED);
        EQUAL(state_of(r, 2, 6), LEDGER_OVERRULED);
        EQUAL(state_of(r, 2, 7), LEDGER_OVERRULED);
        EQUAL(state_of(r, 2, 8), LEDGER_OVERRULED);
        EQUAL(state_of(r, 2, 9), LEDGER_REJECTED);
        EQUAL(state_of(r, 4, 9), LEDGER_REJECTED);
        EQUAL(state_of(r, 2, 10), LEDGER_REJECTED);
        EQUAL(state_of(r, 2, 11), LEDGER_REJECTED);
        EQUAL(state_of(r, 3, 12), LEDGER_OVERRULED);
        replica_close(r);
    }
    file_system_free(fs);
}

TEST(a_moved_key_settles_a_row_by_the_entry_that_brought_it_not_by_its_version) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l;
    char why[160];
    REQUIRE(make_snapshot(fs) && ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK);
    bool added = add_row(l, 1, 2, "early", CONDITION_NONE) && /* the version, and yet another entry */
                 add_row(l, 2, 5, "moved", CONDITION_NONE) && /* what brought it stands at its index */
                 add_row(l, 2, 6, "moved", CONDITION_NONE) && /* an older entry brought it */
                 ledger_sync(l) == FILE_OK;
    ledger_close(l);
    REQUIRE(added);
    struct replica *r = reopened(fs);
    REQUIRE(r != NULL);
    EQUAL(state_of(r, 1, 2), LEDGER_OVERRULED);
    EQUAL(state_of(r, 2, 5), LEDGER_REJECTED);
    EQUAL(state_of(r, 2, 6), LEDGER_REJECTED);
    replica_close(r);
    file_system_free(fs);
}

static struct bytes content_of(struct file_system *fs, const char *name, struct buffer *out) {
    struct file *file;
    uint64_t size = 0;
    size_t got = 0;
    if (file_open(fs, name, false, &file) != FILE_OK)
        return (struct bytes){0};
    if (file_size(file, &size) == FILE_OK &&
        file_read(file, 0, buffer_reserve(out, size), size, &got) == FILE_OK)
        buffer_grow(out, got);
    file_close(file);
    return buffer_bytes(out);
}

TEST(a_directory_whose_snapshot_is_of_the_format_before_is_refused_and_left_as_it_is) {
    struct file_system *fs = file_system_memory_new();
    struct replica_options options = {.fs = fs, .self = self, .group_id = GROUP_ID, .sync = SYNC_ALWAYS};
    struct replica_host host = {NULL,          no_send,      no_background, no_applied,
                                no_unanswered, no_overruled, no_notice};
    static const char *const names[] = {"snapshot", "snapshot.in", "snapshot.new"};
    struct replica *r = NULL;
    char why[256] = "";
    struct file *file;
    REQUIRE(make_snapshot(fs));
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(file_open(fs, names[i], true, &file) == FILE_OK);
        EQUAL(file_write(file, 0, bytes_of("KVNSNAP1")), FILE_OK);
        file_close(file);
    }
    OK(!replica_open(&options, &host, 0, &r, why, sizeof why));
    OK(strstr(why, "snapshot: written by an older version of kvnode") != NULL &&
       strstr(why, "start it with that version") != NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct buffer content = {0};
        OK(bytes_start_with(content_of(fs, names[i], &content), bytes_of("KVNSNAP1")));
        buffer_release(&content);
    }
    file_system_free(fs);
}

TEST(a_row_dropped_through_the_replica_stays_away) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l;
    char why[160];
    REQUIRE(make_snapshot(fs) && ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK);
    bool added = add_row(l, 2, 7, "new", CONDITION_NONE) && add_row(l, 2, 8, "missing", CONDITION_NONE) &&
                 ledger_sync(l) == FILE_OK;
    ledger_close(l);
    REQUIRE(added);
    struct replica *r = reopened(fs);
    REQUIRE(r != NULL);
    EQUAL(replica_rejected_drop(r, 0), FILE_OK);
    replica_close(r);
    r = reopened(fs);
    REQUIRE(r != NULL);
    EQUAL(ledger_count(replica_ledger(r)), 1);
    EQUAL(state_of(r, 2, 8), LEDGER_OVERRULED);
    OK(replica_failure(r) == NULL);
    replica_close(r);
    file_system_free(fs);
}

TESTS(TAP(rows_behind_a_snapshot_are_settled_by_the_versions_it_shows_and_by_its_term),
      TAP(a_moved_key_settles_a_row_by_the_entry_that_brought_it_not_by_its_version),
      TAP(a_directory_whose_snapshot_is_of_the_format_before_is_refused_and_left_as_it_is),
      TAP(a_row_dropped_through_the_replica_stays_away))
