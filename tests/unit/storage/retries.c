/* retries: the table of answered pairs, alone and within the store, against a model that replays everything.
 */
#include "storage/retries.h"

#include "storage/random.h"
#include "storage/snapshot.h"
#include "storage/store_parts.h"
#include "storage/wire.h"
#include "tests/tap.h"

static struct store *small_store(size_t rows_max) {
    struct store *store = store_new(0);
    store->retries.rows_max = rows_max;
    return store;
}

static struct store_effect write_as(struct store *store, enum entry_type type, const char *request,
                                    const char *key, const char *value, enum condition condition) {
    struct entry entry = {.key = bytes_of(key),
                          .value = bytes_of(value),
                          .client = bytes_of("client"),
                          .request = bytes_of(request),
                          .condition = condition};
    return store_apply(store, (struct version){3, store_applied(store).index + 1}, type, &entry, true);
}

static struct store_effect put_as(struct store *store, const char *request, const char *key,
                                  const char *value) {
    return write_as(store, ENTRY_PUT, request, key, value, CONDITION_NONE);
}

static bool known(const struct store *store, const char *request) {
    struct store_answer answer;
    return store_answered(store, bytes_of("client"), bytes_of(request), &answer);
}

static uint64_t version_of(const struct store *store, const char *key) {
    struct store_record record;
    return store_get(store, bytes_of(key), &record) ? record.version.index : 0;
}

TEST(a_retry_changes_nothing_and_is_told_the_first_outcome_and_position) {
    struct store *store = small_store(10);
    struct store_effect first = put_as(store, "r1", "k", "1");
    OK(!first.repeated && version_equal(first.at, (struct version){3, 1}));
    put_as(store, "r2", "k", "2");
    struct store_effect again = put_as(store, "r1", "k", "1");
    OK(again.repeated);
    EQUAL(again.outcome, STORE_APPLIED);
    OK(version_equal(again.at, first.at) && version_equal(again.current, first.current));
    EQUAL(version_of(store, "k"), 2);
    EQUAL(store_applied(store).index, 3);
    store_free(store);
}

TEST(a_failed_condition_is_an_outcome_that_a_retry_gets_though_it_would_hold_now) {
    struct store *store = small_store(10);
    put_as(store, "r1", "k", "1");
    struct store_effect failed = write_as(store, ENTRY_PUT, "r2", "k", "2", CONDITION_ABSENT);
    EQUAL(failed.outcome, STORE_CONDITION_FAILED);
    OK(version_equal(failed.at, (struct version){3, 2}));
    write_as(store, ENTRY_DELETE, "r3", "k", "", CONDITION_NONE);
    struct store_effect again = write_as(store, ENTRY_PUT, "r2", "k", "2", CONDITION_ABSENT);
    OK(again.repeated);
    EQUAL(again.outcome, STORE_CONDITION_FAILED);
    EQUAL(again.current.index, 1);
    EQUAL(again.at.index, 2);
    EQUAL(version_of(store, "k"), 0);
    again = write_as(store, ENTRY_DELETE, "r3", "k", "", CONDITION_NONE);
    OK(again.repeated);
    EQUAL(again.outcome, STORE_APPLIED);
    EQUAL(again.at.index, 3);
    store_free(store);
}

TEST(the_same_pair_with_any_other_request_is_a_conflict_and_changes_nothing) {
    struct store *store = small_store(10);
    put_as(store, "r1", "k", "1");
    OK(put_as(store, "r1", "k", "2").outcome == STORE_PAIR_CONFLICT);
    OK(put_as(store, "r1", "k", "").outcome == STORE_PAIR_CONFLICT);
    OK(put_as(store, "r1", "k1", "").outcome == STORE_PAIR_CONFLICT);
    OK(put_as(store, "r1", "l", "1").outcome == STORE_PAIR_CONFLICT);
    OK(write_as(store, ENTRY_PUT, "r1", "k", "1", CONDITION_EXISTS).outcome == STORE_PAIR_CONFLICT);
    struct store_effect conflict = write_as(store, ENTRY_DELETE, "r1", "k", "", CONDITION_NONE);
    EQUAL(conflict.outcome, STORE_PAIR_CONFLICT);
    EQUAL(conflict.at.index, 1);
    EQUAL(version_of(store, "k"), 1);
    OK(put_as(store, "r1", "k", "1").repeated); /* the row is as it was */
    struct entry other = {.key = bytes_of("k"),
                          .value = bytes_of("3"),
                          .client = bytes_of("clientr"),
                          .request = bytes_of("1")};
    struct store_effect effect = store_apply(store, (struct version){3, 9}, ENTRY_PUT, &other, true);
    OK(!effect.repeated); /* where one name ends and the other begins counts */
    EQUAL(effect.outcome, STORE_APPLIED);
    store_free(store);
}

TEST(the_oldest_pair_is_evicted_first_and_is_a_new_request_then) {
    struct store *store = small_store(3);
    put_as(store, "r1", "k", "1");
    put_as(store, "r2", "k", "2");
    put_as(store, "r3", "k", "3");
    OK(put_as(store, "r1", "k", "1").repeated); /* which does not make it younger */
    put_as(store, "r4", "k", "4");
    OK(!known(store, "r1") && known(store, "r2") && known(store, "r4"));
    struct store_effect anew = put_as(store, "r1", "k", "1");
    OK(!anew.repeated);
    EQUAL(version_of(store, "k"), 6);
    OK(!known(store, "r2"));
    store_free(store);
}

TEST(undoing_brings_evicted_pairs_back_and_forgetting_drops_them) {
    struct store *store = small_store(3);
    char name[24];
    for (int i = 1; i <= 6; i++) {
        snprintf(name, sizeof name, "r%d", i);
        put_as(store, name, "k", "v");
    }
    OK(!known(store, "r3"));
    REQUIRE(store_undo(store, (struct version){3, 4}));
    OK(!known(store, "r1") && known(store, "r2") && known(store, "r4") && !known(store, "r5"));
    EQUAL(store->retries.count, 4);
    store_forget(store, 4);
    EQUAL(store->retries.count, 3);
    OK(known(store, "r2") && known(store, "r4"));
    OK(!store_undo(store, (struct version){3, 3}));
    store_free(store);
}

TEST(more_than_a_whole_table_of_new_pairs_cannot_be_undone_and_the_store_says_so) {
    struct store *store = small_store(3);
    char name[24];
    for (int i = 1; i <= 7; i++) {
        snprintf(name, sizeof name, "r%d", i);
        put_as(store, name, "k", "v");
    }
    EQUAL(store->retries.count, 6);
    OK(!store_undo(store, (struct version){3, 3}));
    OK(known(store, "r7"));
    OK(store_undo(store, (struct version){3, 4}));
    OK(known(store, "r2") && known(store, "r4") && !known(store, "r5"));
    store_free(store);
}

TEST(memory_counts_the_table_and_clearing_gives_it_back) {
    struct store *store = store_new(0);
    char name[24];
    uint64_t before = store_memory(store);
    for (int i = 0; i < RETRIES_MAX + 5; i++) {
        snprintf(name, sizeof name, "request-%d", i);
        put_as(store, name, "k", "v");
        store_forget(store, store_applied(store).index);
    }
    EQUAL(store->retries.count, RETRIES_MAX);
    OK(!known(store, "request-4") && known(store, "request-5"));
    OK(store_memory(store) - before > RETRIES_MAX * 100 && store_memory(store) - before < RETRIES_MAX * 160);
    store_clear(store);
    OK(!known(store, "request-5"));
    EQUAL(store->retries.count, 0);
    store_free(store);
}

TEST(the_fingerprint_is_the_one_that_the_format_tells) {
    struct entry entry = {.key = bytes_of("key"), .value = bytes_of("a value of some length")};
    EQUAL(retries_fingerprint(ENTRY_PUT, &entry), UINT64_C(0xd29f8311c2924da3));
    struct entry split = {.key = bytes_of("keya"), .value = bytes_of(" value of some length")};
    OK(retries_fingerprint(ENTRY_PUT, &split) != retries_fingerprint(ENTRY_PUT, &entry));
}

/* ---- rows as foreign bytes ---- */

static struct buffer one_row(void) {
    struct slab slab;
    struct retries retries;
    struct buffer row = {0};
    slab_init(&slab);
    retries_init(&retries, &slab);
    retries_add(&retries, &(struct store_answer){.client = bytes_of("client"),
                                                 .request = bytes_of("r"),
                                                 .fingerprint = 7,
                                                 .outcome = STORE_CONDITION_FAILED,
                                                 .at = {3, 9},
                                                 .current = {2, 5}});
    retries_row_encode(&row, retries_at(&retries, 0));
    retries_clear(&retries);
    slab_clear(&slab);
    return row;
}

static size_t decode_exactly(struct bytes b, struct store_answer *out) {
    uint8_t *memory = malloc(b.size == 0 ? 1 : b.size);
    if (b.size > 0)
        memcpy(memory, b.data, b.size);
    size_t size = retries_decode((struct bytes){memory, b.size}, out);
    bool within = size <= b.size && (size == 0 || (out->client.size <= 64 && out->request.size <= 64));
    free(memory);
    return within ? size : SIZE_MAX;
}

TEST(a_row_is_read_back_and_every_prefix_is_refused) {
    struct buffer row = one_row();
    struct store_answer back;
    EQUAL(retries_decode(buffer_bytes(&row), &back), buffer_size(&row));
    OK(bytes_equal(back.client, bytes_of("client")) && bytes_equal(back.request, bytes_of("r")));
    OK(back.fingerprint == 7 && back.outcome == STORE_CONDITION_FAILED);
    OK(version_equal(back.at, (struct version){3, 9}) && version_equal(back.current, (struct version){2, 5}));
    for (size_t size = 0; size < buffer_size(&row); size++)
        EQUAL(decode_exactly((struct bytes){row.data, size}, &back), 0);
    buffer_release(&row);
}

TEST(every_flipped_bit_of_a_row_is_read_within_its_bytes_or_refused) {
    struct buffer row = one_row();
    struct store_answer back;
    for (size_t bit = 0; bit < 8 * buffer_size(&row); bit++) {
        row.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        OK(decode_exactly(buffer_bytes(&row), &back) != SIZE_MAX);
        row.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    uint8_t outcome = row.data[24];
    for (unsigned other = STORE_PAIR_CONFLICT; other < 256; other++) {
        row.data[24] = (uint8_t)other;
        EQUAL(decode_exactly(buffer_bytes(&row), &back), 0);
    }
    row.data[24] = outcome;
    buffer_release(&row);
}

/* ---- against a model: the whole log is kept, and the table is looked for in it ---- */

#define LOG_MAX  400
#define CLIENTS  2
#define REQUESTS 12
#define KEYS     4

struct step { /* an entry, and what the model says of it */
    bool write;
    enum entry_type type;
    unsigned client, request, key, value; /* client 0: bears no pair */
    enum condition condition;
    bool fresh; /* made a row */
    enum store_outcome outcome;
    uint64_t current, at;    /* indexes */
    uint64_t versions[KEYS]; /* of keys after it; 0: none */
};

struct model {
    struct random random;
    struct store *store;
    size_t rows_max;
    uint64_t count, committed;
    uint64_t floor; /* undoing below it may be refused: a whole table of rows came after it at some time */
    struct step log[LOG_MAX + 1]; /* [index] */
};

static uint64_t roll(struct model *m, uint64_t bound) {
    return random_below(&m->random, bound);
}

static struct version at_index(uint64_t index) {
    return (struct version){index == 0 ? 0 : 1 + index / 50, index};
}

static void raise_floor(struct model *m) {
    size_t rows = 0;
    for (uint64_t i = m->count; i > m->floor; i--)
        if (m->log[i].fresh && ++rows > m->rows_max)
            m->floor = i;
}

/* The step that made the pair's row, among the newest rows_max; 0: none. */
static uint64_t model_find(const struct model *m, unsigned client, unsigned request) {
    size_t rows = 0;
    for (uint64_t i = m->count; i > 0 && rows < m->rows_max; i--) {
        if (!m->log[i].fresh)
            continue;
        if (m->log[i].client == client && m->log[i].request == request)
            return i;
        rows++;
    }
    return 0;
}

static bool same_request(const struct step *a, const struct step *b) {
    return a->type == b->type && a->key == b->key && a->condition == b->condition &&
           (a->type == ENTRY_DELETE || a->value == b->value);
}

static void model_write(struct step *s, uint64_t index) {
    uint64_t stands = s->versions[s->key];
    s->at = index;
    if ((s->condition == CONDITION_ABSENT && stands != 0) ||
        (s->condition == CONDITION_EXISTS && stands == 0)) {
        s->outcome = STORE_CONDITION_FAILED;
        s->current = stands;
        return;
    }
    s->outcome = s->type == ENTRY_DELETE && stands == 0 ? STORE_ABSENT : STORE_APPLIED;
    s->versions[s->key] = s->current = s->type == ENTRY_PUT ? index : 0;
}

static void model_apply(struct model *m, struct step *s) {
    uint64_t index = m->count + 1,
             first = s->write && s->client > 0 ? model_find(m, s->client, s->request) : 0;
    memcpy(s->versions, m->log[m->count].versions, sizeof s->versions);
    if (first > 0 && same_request(s, &m->log[first])) {
        s->outcome = m->log[first].outcome;
        s->current = m->log[first].current;
        s->at = first;
    } else if (first > 0) {
        s->outcome = STORE_PAIR_CONFLICT;
        s->at = first;
    } else if (s->write) {
        model_write(s, index);
        s->fresh = s->client > 0;
    } else {
        s->at = index;
    }
    m->log[++m->count] = *s;
    raise_floor(m);
}

static void apply_one(struct tap *tap, struct model *m) {
    char client[16], request[16], key[16], value[16];
    struct step s = {.write = roll(m, 12) > 0,
                     .type = roll(m, 4) > 0 ? ENTRY_PUT : ENTRY_DELETE,
                     .client = (unsigned)roll(m, CLIENTS + 1),
                     .request = (unsigned)roll(m, REQUESTS),
                     .key = (unsigned)roll(m, KEYS),
                     .value = (unsigned)roll(m, 2),
                     .condition = roll(m, 3) > 0 ? CONDITION_NONE
                                  : roll(m, 2)   ? CONDITION_ABSENT
                                                 : CONDITION_EXISTS};
    uint64_t known_at = s.client > 0 ? model_find(m, s.client, s.request) : 0;
    if (known_at > 0 && roll(m, 3) > 0) { /* mostly a true retry */
        struct step first = m->log[known_at];
        s.write = true, s.type = first.type, s.key = first.key, s.value = first.value,
        s.condition = first.condition;
    }
    snprintf(client, sizeof client, "c%u", s.client);
    snprintf(request, sizeof request, "r%u", s.request);
    snprintf(key, sizeof key, "k%u", s.key);
    snprintf(value, sizeof value, "%u", s.value);
    struct entry entry = {.key = bytes_of(key), .condition = s.condition};
    if (s.type == ENTRY_PUT)
        entry.value = bytes_of(value);
    if (s.client > 0) {
        entry.client = bytes_of(client);
        entry.request = bytes_of(request);
    }
    model_apply(m, &s);
    bool undo = m->committed + 1 < m->count || roll(m, 4) > 0;
    if (!undo)
        m->committed = m->count;
    struct store_effect effect = store_apply(m->store, at_index(m->count), s.write ? s.type : ENTRY_NOOP,
                                             s.write ? &entry : NULL, undo);
    EQUAL(effect.outcome, s.outcome);
    EQUAL(effect.at.index, s.at);
    EQUAL(effect.current.index, s.current);
    EQUAL(effect.repeated, s.at != m->count && s.outcome != STORE_PAIR_CONFLICT);
}

static void undo_some(struct tap *tap, struct model *m) {
    uint64_t to = m->committed + roll(m, m->count - m->committed + 1);
    bool done = store_undo(m->store, at_index(to));
    OK(done || to < m->floor);
    if (done)
        m->count = to;
}

/* Through a snapshot's file and back, as of the commit. */
static void reload(struct tap *tap, struct model *m) {
    struct snapshot_header header = {.at = at_index(m->committed)};
    struct snapshot_writer *writer = snapshot_writer_new(m->store, &header);
    struct file_system *fs = file_system_memory_new();
    struct buffer bytes = {0}, configuration = {0};
    struct file *file;
    char why[160];
    OK(writer != NULL || m->committed < m->floor);
    if (writer != NULL) {
        while (!snapshot_writer_step(writer, 1 + roll(m, m->count % 2 ? 300 : 20), &bytes))
            if (m->count < LOG_MAX && roll(m, 3) > 0)
                apply_one(tap, m);
        snapshot_writer_free(writer);
        REQUIRE(file_open(fs, "s", true, &file) == FILE_OK &&
                file_write(file, 0, buffer_bytes(&bytes)) == FILE_OK);
        file_close(file);
        store_free(m->store);
        m->store = small_store(m->rows_max);
        OK(snapshot_load(fs, "s", m->store, &header, &configuration, why, sizeof why) == SNAPSHOT_OK);
        m->count = m->committed = header.at.index;
    }
    buffer_release(&bytes);
    buffer_release(&configuration);
    file_system_free(fs);
}

static void compare(struct tap *tap, const struct model *m) {
    char client[16], request[16], key[16];
    for (unsigned c = 1; c <= CLIENTS; c++)
        for (unsigned r = 0; r < REQUESTS; r++) {
            struct store_answer answer = {0};
            snprintf(client, sizeof client, "c%u", c);
            snprintf(request, sizeof request, "r%u", r);
            uint64_t first = model_find(m, c, r);
            EQUAL(store_answered(m->store, bytes_of(client), bytes_of(request), &answer), first > 0);
            EQUAL(answer.at.index, first);
            EQUAL(answer.outcome, first > 0 ? m->log[first].outcome : 0);
            EQUAL(answer.current.index, first > 0 ? m->log[first].current : 0);
        }
    for (unsigned k = 0; k < KEYS; k++) {
        snprintf(key, sizeof key, "k%u", k);
        EQUAL(version_of(m->store, key), m->log[m->count].versions[k]);
    }
    OK(m->store->retries.count <= 2 * m->rows_max);
}

static void one_history(struct tap *tap, uint64_t seed) {
    struct model *m = calloc(1, sizeof *m);
    random_seed(&m->random, seed);
    m->rows_max = 1 + roll(m, 10);
    m->store = small_store(m->rows_max);
    while (m->count < LOG_MAX && !tap->failed) {
        uint64_t dice = roll(m, 40);
        if (dice < 5) {
            undo_some(tap, m);
        } else if (dice < 9) {
            m->committed += roll(m, m->count - m->committed + 1);
            store_forget(m->store, m->committed);
        } else if (dice < 10) {
            reload(tap, m);
        } else {
            apply_one(tap, m);
        }
        compare(tap, m);
    }
    if (tap->failed)
        printf("# seed %" PRIu64 " at %" PRIu64 "\n", seed, m->count);
    store_free(m->store);
    free(m);
}

TEST(writes_retries_undos_evictions_and_snapshots_agree_with_a_replay_of_the_whole_log) {
    for (uint64_t seed = 1; seed <= 150 && !tap->failed; seed++)
        one_history(tap, seed);
}

TESTS(TAP(a_retry_changes_nothing_and_is_told_the_first_outcome_and_position),
      TAP(a_failed_condition_is_an_outcome_that_a_retry_gets_though_it_would_hold_now),
      TAP(the_same_pair_with_any_other_request_is_a_conflict_and_changes_nothing),
      TAP(the_oldest_pair_is_evicted_first_and_is_a_new_request_then),
      TAP(undoing_brings_evicted_pairs_back_and_forgetting_drops_them),
      TAP(more_than_a_whole_table_of_new_pairs_cannot_be_undone_and_the_store_says_so),
      TAP(memory_counts_the_table_and_clearing_gives_it_back),
      TAP(the_fingerprint_is_the_one_that_the_format_tells),
      TAP(a_row_is_read_back_and_every_prefix_is_refused),
      TAP(every_flipped_bit_of_a_row_is_read_within_its_bytes_or_refused),
      TAP(writes_retries_undos_evictions_and_snapshots_agree_with_a_replay_of_the_whole_log))
