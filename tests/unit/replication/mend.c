/* Files that rot while a replica runs: found when they are read, and mended from memory.
 *
 * Node 1 is its group's only voter and leads; node 2 is a learner that has nothing and needs the snapshot. */
#include "replication/replica.h"

#include "storage/hard_state.h"
#include "storage/log_internal.h"
#include "storage/wire.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"
#include "tests/unit/replication/begin_log.h"
#include "tests/unit/replication/one.h"
#include "tests/unit/replication/replica_parts.h"

#define JOBS_MAX 4

static const struct version base = {3, 10};

struct leader {
    struct sim_disk *disk;
    struct replica *replica;
    struct replica_options options; /* but for what every leader has */
    uint64_t now_ms;
    unsigned notices[REPLICA_FILE_MENDED + 1];
    char damage[320]; /* text of the last REPLICA_FILE_DAMAGED */
    struct job *jobs[JOBS_MAX];
    size_t job_count;
    struct buffer copy; /* what the learner has of the snapshot */
    struct version copy_at;
    uint64_t copy_total;
    struct message last; /* to the learner; borrowed bytes are gone */
    unsigned finished;   /* copies that arrived whole */
};

static void take_message(void *arg, const struct member_id *to, const struct message *m) {
    struct leader *l = arg;
    (void)to;
    l->last = *m;
    if (m->type != MESSAGE_SNAPSHOT)
        return;
    if (m->snapshot.offset == 0)
        buffer_clear(&l->copy);
    if (m->snapshot.offset != buffer_size(&l->copy))
        return;
    buffer_append(&l->copy, m->snapshot.chunk);
    l->copy_at = m->snapshot.at;
    l->copy_total = m->snapshot.total;
    l->finished += buffer_size(&l->copy) == m->snapshot.total;
}

static void keep_job(void *arg, struct job *job) {
    struct leader *l = arg;
    assert(l->job_count < JOBS_MAX);
    l->jobs[l->job_count++] = job;
}

static void ignore_applied(void *arg, struct version at, const struct store_effect *effect) {
    (void)arg;
    (void)at;
    (void)effect;
}

static void note(void *arg, enum replica_notice notice, const char *text) {
    struct leader *l = arg;
    l->notices[notice]++;
    if (notice == REPLICA_FILE_DAMAGED)
        snprintf(l->damage, sizeof l->damage, "%s", text);
}

/* Of some megabytes, so that it takes several chunks. */
static void make_snapshot(struct buffer *out) {
    static const uint8_t value[64 * 1024];
    struct store *store = store_new(0);
    struct configuration configuration = group_of(1, 1, ACK_QUORUM);
    for (uint64_t index = 1; index <= base.index; index++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", (unsigned)index);
        struct entry entry = {.key = bytes_of(key), .value = {value, sizeof value}};
        store_apply(store, (struct version){base.term, index}, ENTRY_PUT, &entry, false);
    }
    write_snapshot(out, store, base, &configuration);
    store_free(store);
}

static bool open_leader(struct leader *l) {
    struct replica_options options = l->options;
    char why[256] = "";
    options.fs = sim_disk_file_system(l->disk);
    options.self = id_of(1);
    options.group_id = 7;
    options.segment_size = 64 * 1024;
    options.sync = SYNC_ALWAYS;
    struct replica_host host = {
        l, take_message, keep_job, ignore_applied, none_unanswered, ignore_overruled, note};
    bool ok = replica_open(&options, &host, l->now_ms, &l->replica, why, sizeof why);
    if (!ok)
        printf("# %s\n", why);
    return ok;
}

static void finish_jobs(struct leader *l) {
    while (l->job_count > 0) {
        struct job *job = l->jobs[0];
        memmove(l->jobs, l->jobs + 1, --l->job_count * sizeof(struct job *));
        job->run(job);
        job->done(job);
    }
}

/* So many ticks, 20 ms apart. */
static void pass(struct leader *l, unsigned ticks) {
    for (; ticks > 0; ticks--) {
        l->now_ms += 20;
        replica_tick(l->replica, l->now_ms, 0);
        while (replica_flush(l->replica, l->now_ms))
            ;
        finish_jobs(l);
        while (replica_flush(l->replica, l->now_ms))
            ;
    }
}

static void hear(struct leader *l, const struct message *m) {
    struct member_id id = id_of(2);
    replica_receive(l->replica, l->now_ms, 0, &id, m);
    replica_flush(l->replica, l->now_ms);
}

/* The learner: it has nothing, takes chunks, and verifies a copy that it has whole. */
static void answer(struct leader *l) {
    struct message m = {.term = raft_term(replica_raft(l->replica))};
    if (l->last.type == MESSAGE_APPEND) {
        m.type = MESSAGE_APPEND_REPLY;
        m.append_reply.match = l->last.append.previous.index;
        m.append_reply.read = l->last.append.read;
    } else if (l->last.type == MESSAGE_SNAPSHOT) {
        m.type = MESSAGE_SNAPSHOT_REPLY;
        m.snapshot_reply.at = l->copy_at;
        m.snapshot_reply.offset = buffer_size(&l->copy);
        if (buffer_size(&l->copy) == l->copy_total) {
            m.snapshot_reply.offset = 0;
            m.snapshot_reply.refused = true;
        }
    }
    l->last.type = 0;
    if (m.type != 0)
        hear(l, &m);
}

static void run(struct leader *l, unsigned ticks) {
    for (; ticks > 0; ticks--) {
        pass(l, 1);
        answer(l);
    }
}

static struct leader *leader_new(const struct replica_options *options) {
    struct leader *l = calloc(1, sizeof *l);
    struct buffer snapshot = {0};
    struct hard_state state = {.term = base.term};
    l->disk = sim_disk_new();
    l->now_ms = 10000;
    l->options = *options;
    make_snapshot(&snapshot);
    save(sim_disk_file_system(l->disk), "snapshot", buffer_bytes(&snapshot));
    buffer_release(&snapshot);
    if (!begin_log(sim_disk_file_system(l->disk)) ||
        hard_state_save(sim_disk_file_system(l->disk), &state) != FILE_OK || !open_leader(l))
        abort();
    return l;
}

static bool reopen(struct leader *l) {
    l->job_count = 0; /* the process ends: what is under way is not seen any more */
    replica_close(l->replica);
    return open_leader(l);
}

static void leader_free(struct leader *l) {
    replica_close(l->replica);
    sim_disk_free(l->disk);
    buffer_release(&l->copy);
    free(l);
}

static void rot(struct leader *l, const char *name, uint64_t offset) {
    if (!sim_disk_flip(l->disk, name, offset, 4))
        abort();
}

/* Or it cannot be read any more. */
static void spoil(struct leader *l, const char *name, uint64_t offset, bool unreadable) {
    if (!unreadable)
        rot(l, name, offset);
    else if (!sim_disk_damage(l->disk, DAMAGE_UNREADABLE, name, offset, NULL))
        abort();
}

/* What has left, as a learner with nothing loads it. */
static bool copy_loads(const struct leader *l) {
    struct file_system *fs = file_system_memory_new();
    struct snapshot_header header;
    struct buffer state = {0};
    char why[160] = "";
    save(fs, "copy", buffer_bytes(&l->copy));
    bool ok = snapshot_verify(fs, "copy", &header, &state, why, sizeof why) == SNAPSHOT_OK;
    if (!ok)
        printf("# %s\n", why);
    buffer_release(&state);
    file_system_free(fs);
    return ok;
}

/* Wherever it is rotten: in the header, in records, in the end. */
TEST(a_rotten_snapshot_is_found_while_it_is_sent_and_a_new_one_is_sent_instead) {
    static const struct replica_options options;
    for (unsigned place = 0; place < 8; place++) {
        struct leader *l = leader_new(&options);
        uint64_t size = sim_disk_size(l->disk, "snapshot");
        const uint64_t offsets[] = {3, 40, size / 2, size - 3};
        spoil(l, "snapshot", offsets[place / 2], place % 2 != 0);
        run(l, 100);
        OK(raft_role(replica_raft(l->replica)) == RAFT_LEADER);
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
        OK(strncmp(l->damage, "snapshot: ", 10) == 0);
        OK(strstr(l->damage, "look at the disk") != NULL);
        EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
        EQUAL(replica_damage(l->replica)->found, 1);
        EQUAL(replica_damage(l->replica)->mended, 1);
        OK(!replica_damage(l->replica)->snapshot);
        OK(l->finished > 0);
        OK(copy_loads(l));
        OK(replica_failure(l->replica) == NULL);
        REQUIRE(reopen(l));
        leader_free(l);
    }
}

/* A copy is whole only when its last byte is there: that one does not leave before all have been verified. */
TEST(no_rotten_copy_ever_leaves_whole) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    rot(l, "snapshot", sim_disk_size(l->disk, "snapshot") / 2);
    for (unsigned i = 0, finished = 0; i < 100; i++, finished = l->finished) {
        run(l, 1);
        if (l->finished > finished)
            OK(copy_loads(l));
    }
    OK(l->finished > 0);
    leader_free(l);
}

/* The disk is full: it stays damaged, says so, and is mended when there is room. */
TEST(a_rotten_snapshot_stays_where_it_is_until_another_one_is_durable) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    rot(l, "snapshot", 5000);
    sim_disk_set_capacity(l->disk, sim_disk_used(l->disk) + 200 * 1024);
    run(l, 100);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->finished, 0);
    OK(l->notices[REPLICA_SNAPSHOT_FAILED] > 0);
    OK(replica_damage(l->replica)->snapshot);
    OK(sim_disk_size(l->disk, "snapshot") > 0);
    sim_disk_set_capacity(l->disk, 0);
    run(l, 600);
    OK(!replica_damage(l->replica)->snapshot);
    OK(l->finished > 0);
    OK(copy_loads(l));
    leader_free(l);
}

/* It rots after it was sent once and refused for another reason: each transfer verifies it again. */
TEST(a_snapshot_is_verified_with_every_transfer) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    run(l, 100);
    OK(l->finished > 0);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 0);
    rot(l, "snapshot", 5000);
    run(l, 200);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
    OK(copy_loads(l));
    leader_free(l);
}

/* The log's segments. */

#define PUTS 60

static void note_name(void *arg, const char *name) {
    char *first = arg;
    if (strncmp(name, "log-", 4) == 0 && first[0] == '\0')
        snprintf(first, FILE_NAME_MAX, "%s", name);
}

static void first_segment(const struct leader *l, char name[FILE_NAME_MAX]) {
    name[0] = '\0';
    sim_disk_names(l->disk, note_name, name);
}

/* Fills several segments of 64 KiB. */
static void fill(struct leader *l) {
    static const uint8_t value[8 * 1024];
    pass(l, 100);
    for (unsigned i = 0; i < PUTS; i++) {
        char key[8];
        struct version at;
        snprintf(key, sizeof key, "p%u", i);
        struct entry entry = {.key = bytes_of(key), .value = {value, sizeof value}};
        if (replica_propose(l->replica, ENTRY_PUT, &entry, &at) != RAFT_OK)
            abort();
        pass(l, 1);
    }
}

static bool has_all(const struct leader *l) {
    return store_count(replica_store(l->replica)) == base.index + PUTS;
}

/* Where a segment's records end. */
static uint64_t end_of(const struct leader *l, const char *name) {
    uint64_t at = SEGMENT_HEADS_SIZE;
    uint8_t head[RECORD_HEADER_SIZE];
    while (sim_disk_peek(l->disk, name, at, head, sizeof head) == sizeof head && get_u32(head + 8) != 0)
        at += record_size(get_u32(head + 8));
    return at;
}

TEST(the_scrub_finds_a_rotten_segment_and_a_snapshot_takes_its_place) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    for (unsigned place = 0; place < 12; place++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX];
        fill(l);
        first_segment(l, name);
        const uint64_t end = end_of(l, name), offsets[] = {20,    LOG_PAGE_SIZE + 20, SEGMENT_HEADS_SIZE + 8,
                                                           30000, end - 100,          end + 12};
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 0);
        spoil(l, name, offsets[place / 2], place % 2 != 0);
        pass(l, 200);
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
        OK(strstr(l->damage, name) == l->damage);
        EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
        OK(!replica_damage(l->replica)->log);
        EQUAL(replica_damage(l->replica)->mended, 1);
        pass(l, 50);
        EQUAL(sim_disk_size(l->disk, name), 0);
        REQUIRE(reopen(l));
        OK(has_all(l));
        leader_free(l);
    }
}

static void last_name(void *arg, const char *name) {
    if (strncmp(name, "log-", 4) == 0)
        snprintf(arg, FILE_NAME_MAX, "%s", name);
}

/* Nothing is written to the group meanwhile: the node leaves the segment by itself. */
TEST(the_scrub_reads_what_is_durable_of_the_segment_that_is_written_too_and_the_log_leaves_it) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    for (unsigned place = 0; place < 10; place++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX] = "";
        fill(l);
        sim_disk_names(l->disk, last_name, name);
        const uint64_t end = end_of(l, name), offsets[] = {20, LOG_PAGE_SIZE + 20, SEGMENT_HEADS_SIZE + 8,
                                                           SEGMENT_HEADS_SIZE + 60, end - 50};
        spoil(l, name, offsets[place / 2], place % 2 != 0);
        pass(l, 200);
        EQUAL(replica_damage(l->replica)->found, 1);
        OK(strstr(l->damage, name) == l->damage);
        EQUAL(replica_damage(l->replica)->mended, 1);
        pass(l, 200);
        EQUAL(replica_damage(l->replica)->found, 1);
        EQUAL(l->notices[REPLICA_SNAPSHOT_TAKEN], 1);
        EQUAL(sim_disk_size(l->disk, name), 0);
        OK(replica_failure(l->replica) == NULL);
        REQUIRE(reopen(l));
        OK(has_all(l));
        leader_free(l);
    }
}

TEST(the_scrub_of_a_segment_that_is_written_to_all_the_while_finds_nothing) {
    static const uint8_t value[5000];
    static const struct replica_options options = {.scrub_rest_ms = 1};
    struct leader *l = leader_new(&options);
    for (unsigned i = 0; i < 30; i++) {
        struct version at;
        struct entry entry = {.key = bytes_of("k"), .value = {value, 4000 + 13 * i}};
        pass(l, 10);
        if (raft_role(replica_raft(l->replica)) == RAFT_LEADER)
            replica_propose(l->replica, ENTRY_PUT, &entry, &at);
    }
    OK(replica_damage(l->replica)->passes > 5);
    EQUAL(replica_damage(l->replica)->found, 0);
    leader_free(l);
}

/* A byte of each copy that means something, one copy or both, or pages that cannot be read. */
TEST(the_scrub_finds_rotten_small_files_and_writes_them_again) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    static const char *const names[] = {"log_end", "hard_state", "rejected"};
    for (unsigned i = 0; i < 18; i++) {
        struct leader *l = leader_new(&options);
        const char *name = names[i % 3];
        fill(l);
        REQUIRE(reopen(l));
        l->notices[REPLICA_LEDGER_DAMAGED] = 0;
        pass(l, 100);
        for (unsigned copy = 0; copy < 2; copy++)
            if (i / 6 == 2 || i / 6 == copy)
                spoil(l, name, copy * LOG_PAGE_SIZE + 20, i % 6 >= 3);
        pass(l, 200);
        uint64_t found = replica_damage(l->replica)->found;
        /* one copy of log_end is written with every sync, and so perhaps before it is read */
        OK(found == 1 || (found == 0 && i % 3 == 0 && i / 6 < 2));
        EQUAL(replica_damage(l->replica)->mended, found);
        if (!OK(found == 0 || strncmp(l->damage, name, strlen(name)) == 0))
            printf("# %s: %s\n", name, l->damage);
        pass(l, 200);
        EQUAL(replica_damage(l->replica)->found, found);
        REQUIRE(reopen(l));
        EQUAL(l->notices[REPLICA_LEDGER_DAMAGED], 0);
        OK(has_all(l));
        leader_free(l);
    }
}

TEST(the_scrub_finds_a_rotten_snapshot_and_writes_another) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    pass(l, 10);
    rot(l, "snapshot", sim_disk_size(l->disk, "snapshot") - 2);
    pass(l, 200);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
    REQUIRE(reopen(l));
    leader_free(l);
}

TEST(the_scrub_goes_over_sound_files_again_and_again_and_says_nothing) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    fill(l);
    pass(l, 1000);
    OK(replica_damage(l->replica)->passes >= 3);
    OK(replica_damage(l->replica)->bytes > 3 * sim_disk_size(l->disk, "snapshot"));
    EQUAL(replica_damage(l->replica)->found, 0);
    leader_free(l);
}

/* From an operation of the disk on all others fail, and then the power goes. What it leaves has all, or is
 * refused as damaged: never opened with less. */
static void cut_while_mending(struct tap *tap, const char *which, unsigned *whole, unsigned *refused) {
    static const struct replica_options options = {.scrub_rest_ms = 200};
    struct random random;
    random_seed(&random, 12);
    bool reached = true;
    for (uint64_t after = 0; reached; after++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX] = "";
        fill(l);
        pass(l, 5); /* the last one is durable too */
        if (strcmp(which, "first") == 0)
            first_segment(l, name);
        else if (strcmp(which, "last") == 0)
            sim_disk_names(l->disk, last_name, name);
        else
            snprintf(name, sizeof name, "%s", which);
        rot(l, name, strncmp(name, "log-", 4) == 0 ? SEGMENT_HEADS_SIZE + 60 : 20);
        uint64_t from = sim_disk_operations(l->disk, SIM_DISK_ALL);
        sim_disk_inject(l->disk, (struct sim_disk_fault){after, SIM_DISK_ALL & ~(unsigned)SIM_DISK_READ,
                                                         FILE_IO_ERROR, true});
        for (unsigned i = 0; i < 150 && replica_failure(l->replica) == NULL; i++)
            pass(l, 1);
        reached = replica_failure(l->replica) != NULL;
        OK(reached || replica_damage(l->replica)->mended == 1);
        OK(sim_disk_operations(l->disk, SIM_DISK_ALL) > from);
        l->job_count = 0;
        replica_close(l->replica);
        l->replica = NULL;
        sim_disk_crash(l->disk, &random);
        bool damaged = false;
        l->options.damaged = &damaged;
        if (open_leader(l)) {
            pass(l, 100); /* it leads, and commits what is in its log */
            OK(has_all(l));
            ++*whole;
        } else {
            OK(damaged && reached);
            ++*refused;
        }
        leader_free(l);
    }
}

TEST(a_power_cut_at_any_operation_of_mending_a_file_loses_nothing_without_a_word) {
    static const char *const names[] = {"first", "last", "snapshot", "log_end", "hard_state", "rejected"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsigned whole = 0, refused = 0;
        cut_while_mending(tap, names[i], &whole, &refused);
        OK(whole > 0 && whole + refused > 4);
        OK(refused > 0 || i >= 3); /* two copies: one is always whole */
    }
}

/* Until there is room for the snapshot. */
TEST(a_rotten_segment_stays_until_a_snapshot_that_holds_it_is_durable) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    char name[FILE_NAME_MAX];
    fill(l);
    first_segment(l, name);
    rot(l, name, 30000);
    sim_disk_set_capacity(l->disk, sim_disk_used(l->disk) + 100 * 1024);
    pass(l, 200);
    OK(replica_damage(l->replica)->log);
    OK(sim_disk_size(l->disk, name) > 0);
    sim_disk_set_capacity(l->disk, 0);
    pass(l, 600);
    OK(!replica_damage(l->replica)->log);
    EQUAL(sim_disk_size(l->disk, name), 0);
    REQUIRE(reopen(l));
    OK(has_all(l));
    leader_free(l);
}

/* One copy is rotten, and its first write fails. */
static struct leader *with_failing_write(const char *name, enum file_result result) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    fill(l);
    pass(l, 20);
    rot(l, name, 20);
    sim_disk_inject(l->disk, (struct sim_disk_fault){0, SIM_DISK_WRITE, result, false});
    return l;
}

TEST(what_could_not_be_written_again_is_not_said_to_have_been) {
    static const char *const names[] = {"hard_state", "rejected"};
    for (unsigned i = 0; i < 2; i++) {
        struct leader *l = with_failing_write(names[i], FILE_IO_ERROR);
        pass(l, 300);
        OK(replica_failure(l->replica) != NULL);
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 0);
        EQUAL(replica_damage(l->replica)->mended, 0);
        leader_free(l);
    }
}

TEST(a_full_disk_ends_no_node_that_could_write_a_copy_of_the_ledgers_head_again) {
    struct leader *l = with_failing_write("rejected", FILE_NO_SPACE);
    pass(l, 500);
    OK(replica_failure(l->replica) == NULL);
    OK(replica_damage(l->replica)->passes > 1);
    EQUAL(replica_damage(l->replica)->mended, 1);
    OK(strncmp(l->damage, "rejected ", 9) == 0);
    l->notices[REPLICA_LEDGER_DAMAGED] = 0;
    REQUIRE(reopen(l));
    EQUAL(l->notices[REPLICA_LEDGER_DAMAGED], 0);
    leader_free(l);
}

/* Stopping. */

/* Damaged, found, and on a disk that has no room for a snapshot. */
static void find_damage(struct tap *tap, struct leader *l, const char *name, uint64_t offset) {
    rot(l, name, offset);
    sim_disk_set_capacity(l->disk, sim_disk_used(l->disk) + 100 * 1024);
    pass(l, 200);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    OK(replica_damage(l->replica)->snapshot || replica_damage(l->replica)->log);
    EQUAL(replica_damage(l->replica)->mended, 0);
}

TEST(a_stop_replaces_a_rotten_snapshot_however_large_the_store_is) {
    static const struct replica_options options = {.scrub_rest_ms = 1000, .stop_size_max = 1};
    struct leader *l = leader_new(&options);
    fill(l);
    find_damage(tap, l, "snapshot", 5000);
    sim_disk_set_capacity(l->disk, 0);
    OK(replica_shutdown(l->replica));
    REQUIRE(reopen(l));
    OK(has_all(l));
    leader_free(l);
}

TEST(a_stop_removes_a_rotten_segment_that_its_snapshot_has_replaced) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    for (unsigned which = 0; which < 2; which++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX] = "";
        fill(l);
        pass(l, 5);
        if (which == 0)
            first_segment(l, name);
        else
            sim_disk_names(l->disk, last_name, name);
        find_damage(tap, l, name, SEGMENT_HEADS_SIZE + 60);
        sim_disk_set_capacity(l->disk, 0);
        OK(replica_shutdown(l->replica));
        EQUAL(sim_disk_size(l->disk, name), 0);
        OK(!replica_damage(l->replica)->log);
        REQUIRE(reopen(l));
        OK(has_all(l));
        leader_free(l);
    }
}

TEST(a_stop_behind_the_snapshot_removes_what_was_left_of_a_rotten_segment) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    char name[FILE_NAME_MAX] = "";
    fill(l);
    pass(l, 5);
    sim_disk_names(l->disk, last_name, name);
    rot(l, name, SEGMENT_HEADS_SIZE + 60);
    for (unsigned i = 0; i < 300 && l->notices[REPLICA_SNAPSHOT_TAKEN] == 0; i++)
        pass(l, 1);
    finish_jobs(l); /* as the helper threads do before they end */
    OK(sim_disk_size(l->disk, name) > 0);
    OK(replica_shutdown(l->replica));
    EQUAL(sim_disk_size(l->disk, name), 0);
    REQUIRE(reopen(l));
    OK(has_all(l));
    leader_free(l);
}

TEST(a_stop_fails_and_names_the_file_where_damage_stays) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    static const char *const names[] = {"snapshot", "first segment"};
    for (unsigned i = 0; i < 2; i++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX];
        fill(l);
        first_segment(l, name);
        find_damage(tap, l, i == 0 ? names[i] : name, 5000 + i * SEGMENT_HEADS_SIZE);
        REQUIRE(!replica_shutdown(l->replica));
        OK(strstr(replica_failure(l->replica), i == 0 ? names[i] : name) != NULL);
        OK(strstr(replica_failure(l->replica), file_result_text(FILE_NO_SPACE)) != NULL);
        bool damaged = false;
        l->options.damaged = &damaged;
        OK(!reopen(l) && damaged);
        l->replica = NULL;
        leader_free(l);
    }
}

/* A member that lags asks for records that only a segment holds. */
static void read_for_a_member(struct tap *tap, bool unreadable) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    char name[FILE_NAME_MAX];
    fill(l);
    REQUIRE(reopen(l)); /* what it wrote before is in its files only */
    first_segment(l, name);
    spoil(l, name, SEGMENT_HEADS_SIZE + BATCH_SIZE + RECORD_HEADER_SIZE + 4, unreadable);
    l->last.type = 0;
    for (unsigned i = 0; i < 200 && l->last.type != MESSAGE_APPEND; i++)
        pass(l, 1);
    REQUIRE(l->last.type == MESSAGE_APPEND);
    struct message has_base = {.type = MESSAGE_APPEND_REPLY, .term = raft_term(replica_raft(l->replica))};
    has_base.append_reply.match = l->last.append.previous.index;
    has_base.append_reply.hint = base;
    has_base.append_reply.last = base.index;
    hear(l, &has_base);
    pass(l, 20);
    OK(replica_failure(l->replica) == NULL);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
    run(l, 100);
    OK(l->finished > 0);
    OK(l->copy_at.index >= base.index + PUTS);
    OK(copy_loads(l));
    leader_free(l);
}

TEST(a_rotten_segment_that_is_read_for_a_member_is_mended_and_the_member_gets_the_snapshot) {
    read_for_a_member(tap, false);
}

TEST(a_segment_that_cannot_be_read_for_a_member_is_mended_too_and_the_node_goes_on) {
    read_for_a_member(tap, true);
}

/* Between what is verified and what is sent: each read of it once. */
TEST(a_snapshot_that_a_read_fails_of_while_it_is_sent_is_written_again) {
    static const struct replica_options options;
    for (unsigned after = 0; after < 20; after++) {
        struct leader *l = leader_new(&options);
        pass(l, 20);
        sim_disk_inject(l->disk, (struct sim_disk_fault){after, SIM_DISK_READ, FILE_IO_ERROR, false});
        run(l, 200);
        OK(replica_failure(l->replica) == NULL);
        EQUAL(replica_damage(l->replica)->found, 1);
        EQUAL(replica_damage(l->replica)->mended, 1);
        OK(l->finished > 0);
        OK(copy_loads(l));
        leader_free(l);
    }
}

TESTS(TAP(a_rotten_snapshot_is_found_while_it_is_sent_and_a_new_one_is_sent_instead),
      TAP(no_rotten_copy_ever_leaves_whole),
      TAP(a_rotten_snapshot_stays_where_it_is_until_another_one_is_durable),
      TAP(a_snapshot_is_verified_with_every_transfer),
      TAP(the_scrub_finds_a_rotten_segment_and_a_snapshot_takes_its_place),
      TAP(the_scrub_reads_what_is_durable_of_the_segment_that_is_written_too_and_the_log_leaves_it),
      TAP(the_scrub_of_a_segment_that_is_written_to_all_the_while_finds_nothing),
      TAP(the_scrub_finds_rotten_small_files_and_writes_them_again),
      TAP(a_power_cut_at_any_operation_of_mending_a_file_loses_nothing_without_a_word),
      TAP(the_scrub_finds_a_rotten_snapshot_and_writes_another),
      TAP(the_scrub_goes_over_sound_files_again_and_again_and_says_nothing),
      TAP(a_rotten_segment_stays_until_a_snapshot_that_holds_it_is_durable),
      TAP(what_could_not_be_written_again_is_not_said_to_have_been),
      TAP(a_full_disk_ends_no_node_that_could_write_a_copy_of_the_ledgers_head_again),
      TAP(a_stop_replaces_a_rotten_snapshot_however_large_the_store_is),
      TAP(a_stop_removes_a_rotten_segment_that_its_snapshot_has_replaced),
      TAP(a_stop_behind_the_snapshot_removes_what_was_left_of_a_rotten_segment),
      TAP(a_stop_fails_and_names_the_file_where_damage_stays),
      TAP(a_rotten_segment_that_is_read_for_a_member_is_mended_and_the_member_gets_the_snapshot),
      TAP(a_segment_that_cannot_be_read_for_a_member_is_mended_too_and_the_node_goes_on),
      TAP(a_snapshot_that_a_read_fails_of_while_it_is_sent_is_written_again))
