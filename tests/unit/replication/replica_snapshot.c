/* Snapshots of a replica that a leader sends, forged or at a bad moment, and those that it takes itself. */
#include "storage/crc32c.h"
#include "storage/snapshot_format.h"
#include "storage/store_parts.h"
#include "storage/wire.h"
#include "tests/unit/replication/follower.h"

/* A records block more before the end, and an end that fits: every checksum is right. */
static void forge(struct buffer *file, struct version version) {
    struct slab slab;
    slab_init(&slab);
    struct record *record = record_new(
        &slab,
        &(struct store_record){.key = bytes_of("new"), .value = bytes_of("snapshot"), .version = version});
    struct bytes extra = {(uint8_t *)record, record_size(record)};
    size_t kept = buffer_size(file) - SNAPSHOT_BLOCK_HEADER_SIZE - 12;
    struct buffer end = {0};
    uint32_t chain = crc32c(0, (struct bytes){file->data, SNAPSHOT_MAGIC_SIZE});
    file->end = file->start + kept;
    for (size_t at = SNAPSHOT_MAGIC_SIZE; at < kept;) {
        chain = crc32c(chain, (struct bytes){file->data + at, SNAPSHOT_BLOCK_HEADER_SIZE});
        at += SNAPSHOT_BLOCK_HEADER_SIZE + get_u32(file->data + at + 1);
    }
    for (unsigned block = 0; block < 2; block++) {
        uint8_t header[SNAPSHOT_BLOCK_HEADER_SIZE] = {block == 0 ? SNAPSHOT_BLOCK_RECORDS
                                                                 : SNAPSHOT_BLOCK_END};
        struct bytes content = block == 0 ? extra : buffer_bytes(&end);
        put_u32(header + 1, (uint32_t)content.size);
        put_u32(header + 5, crc32c(crc32c(0, (struct bytes){header, 5}), content));
        chain = crc32c(chain, (struct bytes){header, sizeof header});
        buffer_append(file, (struct bytes){header, sizeof header});
        buffer_append(file, content);
        if (block == 0) {
            write_u64(&end, 2);
            write_u32(&end, chain);
        }
    }
    buffer_release(&end);
    slab_clear(&slab);
}

TEST(a_snapshot_whose_checksums_fit_and_that_cannot_be_loaded_is_refused_before_it_replaces_anything) {
    static const struct version at = {4, 40};
    for (unsigned forged = 0; forged < 2; forged++) {
        struct follower *f = follower_new(0);
        struct buffer file = {0};
        hear_records(f, 2, base, 4, 5, 12);
        make_snapshot(&file, at, "new");
        forge(&file, forged ? (struct version){4, 39} : at);
        hear_snapshot(f, 2, 4, at, buffer_bytes(&file));
        OK(replica_failure(f->replica) == NULL);
        EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], forged);
        EQUAL(f->sent.snapshot_reply.refused, forged == 1);
        EQUAL(has_key(f, "new"), forged == 0);
        EQUAL(has_key(f, "old"), forged == 1);
        EQUAL(has_key(f, "k"), forged == 1);
        EQUAL(replica_applied(f->replica), forged ? 12 : at.index);
        EQUAL(last_of(f), forged ? 15 : at.index);
        if (forged == 1)
            OK(strstr(f->text, "twice and not alike") != NULL);
        replica_close(f->replica);
        REQUIRE(open_follower(f));
        EQUAL(has_key(f, "old"), forged == 1);
        EQUAL(last_of(f), forged ? 15 : at.index);
        if (forged == 1) { /* and it goes on */
            struct message commit = heartbeat(4, (struct version){4, 15}, 15);
            hear(f, 2, &commit);
            EQUAL(replica_applied(f->replica), 15);
        }
        buffer_release(&file);
        follower_free(f);
    }
}

TEST(a_snapshot_that_the_disk_has_no_room_to_install_is_refused_and_taken_later) {
    static const struct version at = {5, 40};
    struct follower *f = follower_new(0);
    struct buffer file = {0};
    hear_records(f, 2, base, 4, 5, base.index);
    make_snapshot(&file, at, "new");
    struct message term = heartbeat(5, base, base.index);
    hear(f, 3, &term);
    sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + buffer_size(&file) + 130 * 1024);
    hear_snapshot(f, 3, 5, at, buffer_bytes(&file));
    EQUAL(replica_applied(f->replica), at.index);
    EQUAL(rows_of(f), 5);
    follower_free(f);
    for (uint64_t room = 0; room < 300; room += 50) {
        f = follower_new(0);
        hear_records(f, 2, base, 4, 5, base.index);
        hear(f, 3, &term);
        if (room % 100 == 0)
            sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + buffer_size(&file) + room * 400);
        else /* somebody else took it meanwhile */
            sim_disk_inject(f->disk,
                            (struct sim_disk_fault){.kinds = SIM_DISK_ALLOCATE, .result = FILE_NO_SPACE});
        hear_snapshot(f, 3, 5, at, buffer_bytes(&file));
        OK(replica_failure(f->replica) == NULL);
        EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], 1);
        EQUAL(f->notices[REPLICA_OVERRULED], 0);
        EQUAL(last_of(f), 15);
        OK(has_key(f, "old"));
        sim_disk_set_capacity(f->disk, 0);
        f->now_ms += 2000;
        hear_snapshot(f, 3, 5, at, buffer_bytes(&file));
        EQUAL(replica_applied(f->replica), at.index);
        EQUAL(rows_of(f), 5);
        OK(!has_key(f, "old"));
        follower_free(f);
    }
    buffer_release(&file);
}

TEST(a_snapshot_that_no_memory_could_hold_is_refused_at_its_first_chunk) {
    struct buffer file = {0};
    make_snapshot(&file, (struct version){5, 13}, "new");
    for (unsigned fits = 0; fits < 2; fits++) {
        struct replica_options options = {.sync = SYNC_ALWAYS, .snapshot_max = buffer_size(&file) - 1 + fits};
        struct follower *f = follower_with(&options, bytes_of("snapshot"));
        struct message m = {.type = MESSAGE_SNAPSHOT, .term = 5};
        m.snapshot.at = (struct version){5, 13};
        m.snapshot.total = buffer_size(&file);
        m.snapshot.chunk = (struct bytes){file.data + file.start, 20};
        hear(f, 3, &m);
        EQUAL(f->sent.snapshot_reply.refused, fits == 0);
        EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], fits == 0);
        follower_free(f);
    }
    buffer_release(&file);
}

TEST(a_chunk_of_a_snapshot_that_comes_twice_is_taken_once) {
    struct follower *f = follower_new(0);
    struct buffer file = {0};
    make_snapshot(&file, (struct version){5, 13}, "new");
    struct bytes whole = buffer_bytes(&file);
    const uint64_t sizes[] = {100, 100, whole.size - 100}, offsets[] = {0, 0, 100};
    for (size_t i = 0; i < 3; i++) {
        struct message m = {.type = MESSAGE_SNAPSHOT, .term = 5};
        m.snapshot.at = (struct version){5, 13};
        m.snapshot.total = whole.size;
        m.snapshot.offset = offsets[i];
        m.snapshot.chunk = (struct bytes){whole.data + offsets[i], sizes[i]};
        hear(f, 3, &m);
    }
    EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], 0);
    EQUAL(replica_applied(f->replica), 13);
    buffer_release(&file);
    follower_free(f);
}

/* A commit may be taken back where the group syncs at times only. */
static void hear_commit(struct follower *f) {
    struct message commit = heartbeat(4, (struct version){4, 15}, 15);
    hear_records(f, 2, base, 4, 5, base.index);
    hear(f, 2, &commit);
}

TEST(a_commit_that_is_taken_back_ends_the_snapshot_that_is_being_taken_of_it) {
    static const uint8_t large[600000];
    struct replica_options options = {.sync = SYNC_NEVER, .snapshot_log_size = 1};
    struct follower *f = follower_with(&options, (struct bytes){large, sizeof large});
    hear_commit(f);
    EQUAL(replica_tick(f->replica, f->now_ms, 0), f->now_ms); /* a slice of it, and more to come */
    hear_records(f, 3, (struct version){4, 12}, 5, 2, 12);
    EQUAL(last_of(f), 14);
    EQUAL(replica_applied(f->replica), 12);
    OK(replica_failure(f->replica) == NULL);
    follower_free(f);
}

TEST(a_snapshot_that_takes_the_place_of_committed_records_is_told) {
    struct replica_options options = {.sync = SYNC_NEVER};
    struct follower *f = follower_with(&options, bytes_of("snapshot"));
    struct buffer file = {0};
    hear_commit(f);
    make_snapshot(&file, (struct version){5, 13}, "new");
    hear_snapshot(f, 3, 5, (struct version){5, 13}, buffer_bytes(&file));
    EQUAL(last_of(f), 13);
    EQUAL(f->notices[REPLICA_COMMITS_LOST], 1);
    buffer_release(&file);
    follower_free(f);
}

/* Both logs hold what the leader of term 4 wrote, as far as the snapshot reaches. */
TEST(a_snapshot_overrules_no_entry_of_the_term_of_its_own_last_one) {
    struct buffer file = {0};
    struct follower *f = follower_new(0);
    hear_records(f, 2, base, 4, 5, 12);
    make_snapshot(&file, (struct version){4, 17}, "new");
    hear_snapshot(f, 3, 5, (struct version){4, 17}, buffer_bytes(&file));
    OK(has_key(f, "new"));
    EQUAL(rows_of(f), 0);
    buffer_release(&file);
    follower_free(f);
}

TESTS(TAP(a_snapshot_overrules_no_entry_of_the_term_of_its_own_last_one),
      TAP(a_commit_that_is_taken_back_ends_the_snapshot_that_is_being_taken_of_it),
      TAP(a_snapshot_that_takes_the_place_of_committed_records_is_told),
      TAP(a_snapshot_whose_checksums_fit_and_that_cannot_be_loaded_is_refused_before_it_replaces_anything),
      TAP(a_snapshot_that_no_memory_could_hold_is_refused_at_its_first_chunk),
      TAP(a_snapshot_that_the_disk_has_no_room_to_install_is_refused_and_taken_later),
      TAP(a_chunk_of_a_snapshot_that_comes_twice_is_taken_once))
