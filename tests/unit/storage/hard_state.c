#include "storage/hard_state.h"

#include "storage/buffer.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"

static const struct hard_state state = {
    .term = 7, .vote_id = "0123456789abcde", .vote_incarnation = 0x1122334455667788};

static bool states_equal(const struct hard_state *a, const struct hard_state *b) {
    return a->term == b->term && memcmp(a->vote_id, b->vote_id, NODE_ID_SIZE) == 0 &&
           a->vote_incarnation == b->vote_incarnation;
}

TEST(a_new_directory_has_neither) {
    struct file_system *fs = file_system_memory_new();
    struct hard_state hard;
    struct identity identity;
    char why[128];
    EQUAL(hard_state_load(fs, &hard, why, sizeof why), FILE_NOT_FOUND);
    EQUAL(identity_load(fs, &identity, why, sizeof why), FILE_NOT_FOUND);
    file_system_free(fs);
}

TEST(both_come_back_as_they_were_saved) {
    struct file_system *fs = file_system_memory_new();
    struct identity identity = {.node_id = "fedcba987654321", .incarnation = 9, .group = 4, .group_id = 12},
                    other;
    struct hard_state hard;
    char why[128];
    memset(identity.cluster, 'c', CLUSTER_NAME_MAX);
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    EQUAL(identity_save(fs, &identity), FILE_OK);
    EQUAL(hard_state_load(fs, &hard, why, sizeof why), FILE_OK);
    EQUAL(identity_load(fs, &other, why, sizeof why), FILE_OK);
    OK(states_equal(&hard, &state));
    OK(memcmp(identity.node_id, other.node_id, NODE_ID_SIZE) == 0);
    OK(other.incarnation == 9 && other.group == 4 && other.group_id == 12);
    TEXT_EQUAL(other.cluster, identity.cluster);
    file_system_free(fs);
}

static bool loads(struct file_system *fs, const struct hard_state *want) {
    struct hard_state hard;
    char why[128];
    return hard_state_load(fs, &hard, why, sizeof why) == FILE_OK && states_equal(&hard, want);
}

TEST(damage_to_one_copy_of_the_hard_state_does_no_harm_and_to_both_is_noticed) {
    struct file_system *fs = file_system_memory_new();
    struct hard_state hard;
    struct file *file;
    char why[128] = "";
    uint8_t content[1024], copy[44];
    size_t got;
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    REQUIRE(file_open(fs, "hard_state", false, &file) == FILE_OK);
    REQUIRE(file_read(file, 0, content, sizeof content, &got) == FILE_OK && got == sizeof content);
    for (size_t bit = 0; bit < sizeof copy * 8; bit++) {
        for (size_t at = 0; at < 1024; at += 512) {
            memcpy(copy, content, sizeof copy);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            file_write(file, 0, (struct bytes){content, sizeof content});
            file_write(file, at, (struct bytes){copy, sizeof copy});
            OK(loads(fs, &state));
        }
        file_write(file, 0, (struct bytes){copy, sizeof copy});
        EQUAL(hard_state_load(fs, &hard, why, sizeof why), FILE_IO_ERROR);
    }
    OK(strstr(why, "hard_state") != NULL);
    for (uint64_t cut = 0; cut <= sizeof content; cut++) {
        file_truncate(file, 0);
        file_write(file, 0, (struct bytes){content, (size_t)cut});
        if (cut < sizeof copy)
            EQUAL(hard_state_load(fs, &hard, why, sizeof why), FILE_IO_ERROR);
        else
            OK(loads(fs, &state));
    }
    file_close(file);
    file_system_free(fs);
}

TEST(every_flipped_bit_and_every_cut_of_the_identity_is_noticed_with_the_file_named) {
    struct file_system *fs = file_system_memory_new();
    struct identity identity = {.node_id = "fedcba987654321", .incarnation = 9, .cluster = "name"}, other;
    struct file *file;
    char why[128] = "";
    uint64_t size;
    uint8_t content[128];
    size_t got;
    EQUAL(identity_save(fs, &identity), FILE_OK);
    REQUIRE(file_open(fs, "identity", false, &file) == FILE_OK);
    file_size(file, &size);
    REQUIRE(size <= sizeof content);
    file_read(file, 0, content, sizeof content, &got);
    for (size_t bit = 0; bit < size * 8; bit++) {
        content[bit / 8] ^= (uint8_t)(1u << bit % 8);
        file_write(file, 0, (struct bytes){content, (size_t)size});
        EQUAL(identity_load(fs, &other, why, sizeof why), FILE_IO_ERROR);
        content[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    OK(strstr(why, "identity") != NULL);
    for (uint64_t cut = 0; cut < size; cut++) {
        file_truncate(file, 0);
        file_write(file, 0, (struct bytes){content, (size_t)cut});
        EQUAL(identity_load(fs, &other, why, sizeof why), FILE_IO_ERROR);
    }
    file_close(file);
    file_system_free(fs);
}

TEST(a_full_disk_takes_terms_and_votes) {
    struct sim_disk *disk = sim_disk_new();
    struct file_system *fs = sim_disk_file_system(disk);
    struct hard_state changed = state;
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    sim_disk_set_capacity(disk, sim_disk_used(disk));
    for (changed.term = 8; changed.term < 20; changed.term++) {
        changed.vote_id[0] = changed.term % 2 ? 'v' : 0;
        EQUAL(hard_state_save(fs, &changed), FILE_OK);
        OK(loads(fs, &changed));
    }
    sim_disk_free(disk);
}

TEST(a_file_of_one_copy_is_read_and_made_whole_by_the_next_save) {
    struct file_system *fs = file_system_memory_new();
    struct hard_state changed = state;
    struct file *file;
    uint64_t size = 0;
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    REQUIRE(file_open(fs, "hard_state", false, &file) == FILE_OK);
    EQUAL(file_truncate(file, 44), FILE_OK);
    file_close(file);
    OK(loads(fs, &state));
    changed.term++;
    EQUAL(hard_state_save(fs, &changed), FILE_OK);
    OK(loads(fs, &changed));
    REQUIRE(file_open(fs, "hard_state", false, &file) == FILE_OK);
    file_size(file, &size);
    EQUAL(size, 1024);
    file_close(file);
    file_system_free(fs);
}

TEST(a_crash_at_any_step_of_a_save_leaves_the_old_state_or_the_new_one) {
    struct random random;
    random_seed(&random, 3);
    unsigned old_seen = 0, new_seen = 0;
    for (uint64_t step = 0; step < 9; step++)
        for (int round = 0; round < 100; round++) {
            struct sim_disk *disk = sim_disk_new();
            struct file_system *fs = sim_disk_file_system(disk);
            struct hard_state changed = state, found;
            char why[128];
            changed.term = 8;
            EQUAL(hard_state_save(fs, &state), FILE_OK);
            sim_disk_inject(disk, (struct sim_disk_fault){step, SIM_DISK_ALL, FILE_IO_ERROR, true});
            bool saved = hard_state_save(fs, &changed) == FILE_OK;
            sim_disk_crash(disk, &random);
            EQUAL(hard_state_load(fs, &found, why, sizeof why), FILE_OK);
            OK(states_equal(&found, &changed) || (!saved && states_equal(&found, &state)));
            old_seen += found.term == 7;
            new_seen += found.term == 8;
            sim_disk_free(disk);
        }
    OK(old_seen > 0 && new_seen > 0);
}

TESTS(TAP(a_new_directory_has_neither), TAP(both_come_back_as_they_were_saved),
      TAP(damage_to_one_copy_of_the_hard_state_does_no_harm_and_to_both_is_noticed),
      TAP(every_flipped_bit_and_every_cut_of_the_identity_is_noticed_with_the_file_named),
      TAP(a_full_disk_takes_terms_and_votes), TAP(a_file_of_one_copy_is_read_and_made_whole_by_the_next_save),
      TAP(a_crash_at_any_step_of_a_save_leaves_the_old_state_or_the_new_one))
