/* What a look at a data directory says of values that no group reaches, and what can be done about them. */
#include "replication/examine.h"

#include "replication/message.h"
#include "replication/replica_internal.h"
#include "storage/snapshot.h"
#include "tests/tap.h"

static struct file_system *directory_of_group(uint64_t group_id, unsigned other_voters) {
    struct file_system *fs = file_system_memory_new();
    struct identity identity = {
        .incarnation = 5, .group_id = group_id, .other_voters = (uint8_t)other_voters};
    memcpy(identity.node_id, "0123456789abcdef", NODE_ID_SIZE);
    if (identity_save(fs, &identity) != FILE_OK)
        abort();
    return fs;
}

static struct file_system *directory_of(unsigned other_voters) {
    return directory_of_group(7, other_voters);
}

/* A snapshot without keys, whole by every checksum. */
static void put_snapshot(struct file_system *fs, struct version at) {
    struct buffer state = {0}, encoded = {0}, content = {0};
    struct configuration configuration = {.group_id = 7,
                                          .count = 1,
                                          .voters_max = 1,
                                          .members[0] = {.role = MEMBER_VOTER, .id.incarnation = 5}};
    struct groups_state groups = {0};
    memcpy(configuration.members[0].id.id, "0123456789abcdef", NODE_ID_SIZE);
    configuration_encode(&encoded, &configuration);
    write_bytes32(&state, buffer_bytes(&encoded));
    groups_state_write(&state, &groups);
    struct store *store = store_new(0);
    store_apply(store, at, ENTRY_NOOP, NULL, false);
    struct snapshot_header header = {
        .at = at, .configuration = buffer_bytes(&state), .digest = store_digest(store)};
    struct snapshot_writer *writer = snapshot_writer_new(store, &header);
    while (!snapshot_writer_step(writer, 10000, &content))
        continue;
    snapshot_writer_free(writer);
    store_free(store);
    if (file_replace(fs, SNAPSHOT_FILE, buffer_bytes(&content)) != FILE_OK)
        abort();
    buffer_release(&state);
    buffer_release(&encoded);
    buffer_release(&content);
}

/* A log of one record behind `base`, in term 6. */
static void put_log(struct file_system *fs, struct version base) {
    struct log *log;
    struct log_report report;
    struct log_options options = {.fs = fs};
    if (log_open(&options, (struct version){0, 0}, &log, &report) != LOG_OK ||
        (base.index > 0 && log_reset(log, base) != LOG_OK) ||
        log_append(log, 6, ENTRY_NOOP, (struct bytes){NULL, 0}) != LOG_OK ||
        log_write(log, 0, true) != LOG_OK)
        abort();
    log_close(log);
}

static struct mend look(struct file_system *fs, struct examination *x) {
    char why[200];
    if (!examine(fs, x, why, sizeof why))
        abort();
    return mend_of(x);
}

static const struct examine_row *row_of(const struct examination *x, const char *name) {
    for (size_t i = 0; i < x->count; i++)
        if (strcmp(x->rows[i].name, name) == 0)
            return &x->rows[i];
    abort();
}

static struct file_system *forged_snapshot(unsigned other_voters) {
    struct file_system *fs = directory_of(other_voters);
    put_snapshot(fs, (struct version){.term = MESSAGE_TERM_MAX + 1, .index = 1});
    if (hard_state_save(fs, &(struct hard_state){.term = 3}) != FILE_OK)
        abort();
    return fs;
}

TEST(a_snapshot_beyond_the_bounds_is_set_aside_where_others_vote) {
    struct examination x;
    char why[200];
    struct file_system *fs = forged_snapshot(2);
    struct mend m = look(fs, &x);
    EQUAL(row_of(&x, SNAPSHOT_FILE)->state, EXAMINE_BEYOND);
    TEXT_EQUAL(row_of(&x, SNAPSHOT_FILE)->text,
               "0 keys as of index 1, term 4611686018427387905: no group reaches that");
    OK(!x.whole && m.aside && !m.cut && !m.term && m.refused[0] == '\0');
    OK(mend_do(fs, &x, &m, 99, why, sizeof why));
    examine_release(&x);
    m = look(fs, &x);
    OK(x.whole && !m.aside && !m.copies && m.refused[0] == '\0');
    EQUAL(x.identity.incarnation, 99);
    EQUAL(x.identity.files, IDENTITY_FILES_BESIDE);
    EQUAL(row_of(&x, "aside-0000000000000063-snapshot")->state, EXAMINE_BESIDE);
    examine_release(&x);
    file_system_free(fs);
}

TEST(the_only_voters_snapshot_beyond_the_bounds_stays_where_it_is) {
    struct examination x;
    struct file_system *fs = forged_snapshot(0);
    struct mend m = look(fs, &x);
    OK(m.refused[0] != '\0' && !m.aside && !m.cut && !m.term && !m.copies);
    examine_release(&x);
    file_system_free(fs);
}

TEST(setting_aside_that_was_interrupted_is_finished) {
    struct examination x;
    char why[200];
    struct file_system *fs = forged_snapshot(2);
    struct identity identity;
    EQUAL(identity_load(fs, &identity, why, sizeof why), FILE_OK);
    identity.files = IDENTITY_FILES_GOING;
    identity_save(fs, &identity);
    struct mend m = look(fs, &x);
    OK(m.finish && !m.aside && !m.copies);
    OK(mend_do(fs, &x, &m, 99, why, sizeof why));
    examine_release(&x);
    look(fs, &x);
    OK(x.whole);
    EQUAL(x.identity.files, IDENTITY_FILES_BESIDE);
    EQUAL(x.identity.incarnation, 5);
    examine_release(&x);
    file_system_free(fs);
}

TEST(nothing_is_cut_of_a_log_whose_snapshot_is_gone) {
    struct examination x;
    struct file_system *fs = directory_of(0);
    put_log(fs, (struct version){.term = 5, .index = 40});
    EQUAL(hard_state_save(fs, &(struct hard_state){.term = 6}), FILE_OK);
    struct mend m = look(fs, &x);
    EQUAL(row_of(&x, "log-0000000000000002")->state, EXAMINE_DAMAGED);
    OK(!x.whole && m.refused[0] != '\0' && !m.cut && !m.aside && !m.copies);
    examine_release(&x);
    file_system_free(fs);
}

TEST(a_term_beyond_the_bounds_becomes_one_above_every_vote) {
    struct examination x;
    char why[200];
    struct file_system *fs = directory_of(2);
    struct hard_state state = {.term = MESSAGE_TERM_MAX + 1, .vote_incarnation = 4};
    put_log(fs, (struct version){0, 0});
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    struct mend m = look(fs, &x);
    EQUAL(row_of(&x, HARD_STATE_NAME)->state, EXAMINE_BEYOND);
    OK(m.term && !m.aside && m.new_term > 6 && m.new_term < MESSAGE_TERM_MAX);
    OK(mend_do(fs, &x, &m, 99, why, sizeof why));
    EQUAL(hard_state_load(fs, &state, why, sizeof why), FILE_OK);
    EQUAL(state.term, m.new_term);
    EQUAL(state.vote_incarnation, 0);
    examine_release(&x);
    look(fs, &x);
    OK(x.whole);
    examine_release(&x);
    file_system_free(fs);
}

TEST(the_damaged_log_of_an_unjoined_node_held_nothing) {
    struct examination x;
    struct file_system *fs = directory_of_group(0, 0);
    put_log(fs, (struct version){0, 0});
    EQUAL(file_system_remove(fs, "log_end"), FILE_OK);
    struct mend m = look(fs, &x);
    OK(!x.whole && !m.cut && !m.aside && !m.copies);
    OK(strstr(m.refused, "delete the directory") != NULL && strstr(m.refused, "voter") == NULL);
    examine_release(&x);
    file_system_free(fs);
}

/* Longer than any bound on its rows, most of it a torn end. */
TEST(a_ledger_of_any_size_is_read_in_its_place_and_not_written) {
    struct examination x;
    char why[200];
    struct ledger *l;
    struct file *file;
    struct file_system *fs = directory_of(0);
    const uint64_t size = LEDGER_SIZE_MAX + 8 * 1024 * 1024;
    REQUIRE(ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK);
    struct ledger_row row = {.group_id = 7, .at = {2, 3}, .type = ENTRY_PUT, .payload = bytes_of("payload")};
    REQUIRE(ledger_add(l, &row) == FILE_OK && ledger_sync(l) == FILE_OK);
    ledger_close(l);
    REQUIRE(file_open(fs, LEDGER_FILE, false, &file) == FILE_OK && file_allocate(file, size) == FILE_OK);
    look(fs, &x);
    EQUAL(row_of(&x, LEDGER_FILE)->state, EXAMINE_WHOLE);
    TEXT_EQUAL(row_of(&x, LEDGER_FILE)->text, "1 rejected or overruled writes");
    OK(!x.ledger_bad);
    uint64_t now = 0;
    file_size(file, &now);
    EQUAL(now, size);
    file_close(file);
    examine_release(&x);
    file_system_free(fs);
}

/* As a node leaves it that was killed before it joined: the first segment's head is not written yet. */
TEST(a_log_that_is_not_begun_is_none_yet) {
    struct file_system *fs = directory_of(0);
    struct log *log;
    struct log_report report;
    struct log_options options = {.fs = fs};
    REQUIRE(log_open(&options, (struct version){0, 0}, &log, &report) == LOG_OK);
    log_close(log);
    struct examination x;
    struct mend m = look(fs, &x);
    OK(!m.cut && !m.aside && !m.term && m.refused[0] == '\0');
    TEXT_EQUAL(x.summary, "there is no log yet");
    TEXT_EQUAL(row_of(&x, "log-0000000000000001")->text, "not begun");
    examine_release(&x);
    file_system_free(fs);
}

TESTS(TAP(a_log_that_is_not_begun_is_none_yet), TAP(the_damaged_log_of_an_unjoined_node_held_nothing),
      TAP(a_ledger_of_any_size_is_read_in_its_place_and_not_written),
      TAP(a_snapshot_beyond_the_bounds_is_set_aside_where_others_vote),
      TAP(the_only_voters_snapshot_beyond_the_bounds_stays_where_it_is),
      TAP(nothing_is_cut_of_a_log_whose_snapshot_is_gone),
      TAP(setting_aside_that_was_interrupted_is_finished),
      TAP(a_term_beyond_the_bounds_becomes_one_above_every_vote))
