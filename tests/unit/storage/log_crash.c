/* Random work on a disk that is cut off at any operation, against a model.
 *
 * The model keeps the state that was last known durable and the list of changes since. What a crash leaves
 * must be that state with some first part of those changes: nothing durable lost, nothing invented, nothing
 * out of order. Batches tell commits: what a start takes for committed is what was committed at that index.
 */
#include "tests/unit/storage/log_helper.h"

#define INDEXES 20000
#define CHANGES 20000
#define RUNS    2000

struct state {
    struct version base;
    uint64_t last;
    uint64_t terms[INDEXES];
};

enum change_kind { CHANGE_APPEND, CHANGE_TRUNCATE, CHANGE_RESET };

struct change {
    enum change_kind kind;
    struct version at;
};

struct model {
    struct tap *tap;
    struct sim_disk *disk;
    struct log *log;
    struct random random;
    struct state durable, now;
    struct change changes[CHANGES];
    size_t count, written, syncing; /* of changes */
    struct version snapshot;
    uint64_t commit;             /* of the group, as told to this log */
    uint64_t committed[INDEXES]; /* terms of what is committed, up to there */
    struct job *job;
    uint64_t term;
};

static void apply(struct state *state, struct change change) {
    if (change.kind == CHANGE_APPEND) {
        state->last = change.at.index;
        state->terms[state->last] = change.at.term;
    } else if (change.kind == CHANGE_TRUNCATE) {
        state->last = change.at.index - 1;
    } else {
        state->base = change.at;
        state->last = change.at.index;
        state->terms[state->last] = change.at.term;
    }
}

static void record_change(struct model *m, enum change_kind kind, struct version at) {
    struct change change = {kind, at};
    m->changes[m->count++] = change;
    apply(&m->now, change);
}

static void become_durable(struct model *m, size_t count) {
    for (size_t i = 0; i < count; i++)
        apply(&m->durable, m->changes[i]);
    m->count -= count;
    memmove(m->changes, m->changes + count, m->count * sizeof m->changes[0]);
    m->written -= m->written > count ? count : m->written;
}

/* As log_open does with a snapshot. */
static void meet_snapshot(struct state *state, struct version snapshot) {
    bool meets =
        state->last >= snapshot.index && (snapshot.index < state->base.index || snapshot.index == 0 ||
                                          state->terms[snapshot.index] == snapshot.term);
    if (!meets)
        apply(state, (struct change){CHANGE_RESET, snapshot});
}

static bool log_is(struct log *log, const struct state *state) {
    if (log_last(log) != state->last)
        return false;
    for (uint64_t i = log_first(log); i <= state->last; i++) {
        uint64_t term = 0;
        if (i > state->base.index && (!log_term_at(log, i, &term) || term != state->terms[i]))
            return false;
    }
    return true;
}

/* Not where the disk has refused to begin the log behind one. */
static bool reaches_snapshot(const struct model *m) {
    return m->snapshot.index == 0 ||
           (m->now.last >= m->snapshot.index && m->now.terms[m->snapshot.index] == m->snapshot.term);
}

static void do_appends(struct model *m) {
    if (!reaches_snapshot(m))
        return;
    for (uint64_t count = random_below(&m->random, 40); count > 0 && m->now.last < INDEXES - 300; count--) {
        uint64_t next = m->now.last + 1, term = next <= m->commit ? m->committed[next] : m->term;
        if (append_one(m->log, term) != LOG_OK)
            return;
        record_change(m, CHANGE_APPEND, (struct version){term, next});
    }
}

static void do_truncate(struct model *m) {
    uint64_t first = log_first(m->log), last = log_last(m->log);
    if (m->snapshot.index >= first)
        first = m->snapshot.index + 1;
    if (m->commit >= first)
        first = m->commit + 1;
    if (first > last)
        return;
    uint64_t index = last - random_below(&m->random, last - first + 1 > 60 ? 60 : last - first + 1);
    if (log_truncate(m->log, index) == LOG_OK) {
        record_change(m, CHANGE_TRUNCATE, (struct version){0, index});
        m->term++;
    }
}

/* The group has committed some of what this log holds, written or not. */
static void do_commit(struct model *m) {
    while (reaches_snapshot(m) && m->commit < m->now.last && random_below(&m->random, 16) > 0) {
        m->commit++;
        m->committed[m->commit] = m->now.terms[m->commit];
    }
}

static void do_write(struct model *m) {
    if (random_below(&m->random, 4) == 0)
        do_commit(m);
    if (log_write(m->log, m->commit, false) == LOG_OK)
        m->written = m->count;
}

static void do_sync(struct model *m) {
    if (m->job == NULL) {
        m->syncing = m->written;
        m->job = log_sync_begin(m->log, do_nothing, NULL);
        return;
    }
    m->job->run(m->job);
    m->job = NULL;
    if (log_sync_end(m->log) == LOG_OK)
        become_durable(m, m->syncing);
}

/* A snapshot of something durable, and the log let go up to there. */
static void do_compact(struct model *m) {
    uint64_t durable = log_durable(m->log), first = log_first(m->log), term;
    if (durable < first)
        return;
    uint64_t index = first + random_below(&m->random, durable - first + 1);
    if (index <= m->snapshot.index || !log_term_at(m->log, index, &term))
        return;
    m->snapshot = (struct version){.term = term, .index = index};
    log_compact(m->log, m->snapshot, random_below(&m->random, 3 * SMALL_SEGMENT));
}

static void do_reset(struct model *m) {
    uint64_t from = m->snapshot.index > m->commit ? m->snapshot.index : m->commit;
    uint64_t index = from + 1 + random_below(&m->random, 200);
    if (index >= INDEXES - 500)
        return;
    m->term++;
    m->snapshot = (struct version){.term = m->term, .index = index};
    if (log_reset(m->log, m->snapshot) == LOG_OK)
        record_change(m, CHANGE_RESET, m->snapshot);
    m->commit = index;
    m->committed[index] = m->term;
}

/* A leader's append that replaces records and tells that what replaces them is committed, in one batch. */
static void do_supersede(struct model *m) {
    do_write(m);
    do_truncate(m);
    do_appends(m);
    do_commit(m);
    if (log_write(m->log, m->commit, false) == LOG_OK)
        m->written = m->count;
}

static void do_something(struct model *m) {
    uint64_t choice = random_below(&m->random, 100);
    if (choice < 40)
        do_appends(m);
    else if (choice < 60)
        do_write(m);
    else if (choice < 85)
        do_sync(m);
    else if (choice < 91)
        do_truncate(m);
    else if (choice < 97)
        do_compact(m);
    else if (choice < 98)
        do_reset(m);
    else
        m->term++;
}

/* The state that the log came back with must be one of those that it went through since the last sync. */
static bool find_state(struct model *m) {
    static struct state candidate, met;
    candidate = m->durable;
    for (size_t i = 0;; i++) {
        met = candidate;
        meet_snapshot(&met, m->snapshot);
        if (log_is(m->log, &met)) {
            m->now = m->durable = met;
            return true;
        }
        if (i == m->count)
            return false;
        apply(&candidate, m->changes[i]);
    }
}

static bool contents_are_right(struct model *m) {
    struct log_record record;
    for (uint64_t i = log_first(m->log); i <= log_last(m->log); i++)
        if (log_read(m->log, i, &record) != LOG_OK || !record_is_right(&record, record.term, i))
            return false;
    return true;
}

/* Up to where the log holds what is committed. */
static uint64_t agreed(const struct model *m) {
    uint64_t index = m->snapshot.index, term;
    while (index < m->commit && log_term_at(m->log, index + 1, &term) && term == m->committed[index + 1])
        index++;
    return index;
}

/* What the crash has brought back in the place of something committed, a leader removes again. */
static bool follow_group(struct model *m) {
    uint64_t index = agreed(m) + 1;
    if (index > m->commit || index > log_last(m->log))
        return true;
    if (log_truncate(m->log, index) != LOG_OK)
        return false;
    record_change(m, CHANGE_TRUNCATE, (struct version){0, index});
    return true;
}

static bool commit_is_right(const struct model *m, uint64_t told) {
    uint64_t last = log_last(m->log);
    return agreed(m) >= (told < last ? told : last);
}

static bool crash_and_open(struct model *m, uint64_t seed) {
    struct tap *tap = m->tap;
    struct log_report report;
    log_close(m->log);
    m->job = NULL;
    if (random_below(&m->random, 4) == 0)
        sim_disk_restart(m->disk);
    else
        sim_disk_crash(m->disk, &m->random);
    sim_disk_set_capacity(m->disk, 0);
    if (random_below(&m->random, 3) == 0) { /* also cut off while opening */
        uint64_t after = random_below(&m->random, 40);
        sim_disk_inject(m->disk, (struct sim_disk_fault){after, SIM_DISK_ALL, FILE_IO_ERROR, true});
        if (open_on(m->disk, m->snapshot, &m->log, &report) == LOG_OK)
            log_close(m->log);
        sim_disk_crash(m->disk, &m->random);
    }
    enum log_result result = open_on(m->disk, m->snapshot, &m->log, &report);
    if (!OK(result == LOG_OK)) {
        printf("# seed %" PRIu64 ": %s\n", seed, report.detail);
        return false;
    }
    if (!OK(find_state(m)) || !OK(contents_are_right(m))) {
        printf("# seed %" PRIu64 ": records %" PRIu64 "..%" PRIu64 ", durable were %" PRIu64 "..%" PRIu64
               ", snapshot %" PRIu64 "\n",
               seed, log_first(m->log), log_last(m->log), m->durable.base.index + 1, m->durable.last,
               m->snapshot.index);
        log_close(m->log);
        return false;
    }
    if (!OK(commit_is_right(m, report.commit))) {
        printf("# seed %" PRIu64 ": commit %" PRIu64 " was told, index %" PRIu64 " was superseded\n", seed,
               report.commit, agreed(m) + 1);
        log_close(m->log);
        return false;
    }
    m->count = m->written = 0;
    m->term += 2;
    return OK(follow_group(m));
}

static void run_seed(struct tap *tap, struct model *m, uint64_t seed) {
    struct log_report report;
    *m = (struct model){.tap = tap, .disk = sim_disk_new(), .term = 1};
    random_seed(&m->random, seed);
    REQUIRE(open_on(m->disk, (struct version){0}, &m->log, &report) == LOG_OK);
    bool good = true;
    for (int life = 0; life < 6 && good; life++) {
        if (random_below(&m->random, 3) == 0)
            sim_disk_set_capacity(m->disk,
                                  sim_disk_used(m->disk) + random_below(&m->random, 6 * SMALL_SEGMENT));
        uint64_t after = random_below(&m->random, 60);
        unsigned kinds = SIM_DISK_ALL & ~(unsigned)SIM_DISK_READ;
        sim_disk_inject(m->disk, (struct sim_disk_fault){after, kinds, FILE_IO_ERROR, true});
        for (uint64_t steps = random_below(&m->random, 300); steps > 0 && m->count < CHANGES - 100; steps--)
            do_something(m);
        if (random_below(&m->random, 2) == 0)
            do_supersede(m);
        good = crash_and_open(m, seed);
    }
    if (good)
        log_close(m->log);
    sim_disk_free(m->disk);
}

TEST(whatever_a_crash_leaves_is_a_state_the_log_went_through_and_tells_only_what_was_committed) {
    struct model *m = malloc(sizeof *m);
    for (uint64_t seed = 1; seed <= RUNS && !tap->failed; seed++)
        run_seed(tap, m, seed);
    free(m);
}

TESTS(TAP(whatever_a_crash_leaves_is_a_state_the_log_went_through_and_tells_only_what_was_committed))
