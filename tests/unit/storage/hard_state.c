#include "storage/hard_state.h"
#include "storage/identity.h"

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
    struct identity identity = {.node_id = "fedcba987654321",
                                .incarnation = 9,
                                .group = 4,
                                .group_id = 12,
                                .other_voters = 2,
                                .files = IDENTITY_FILES_BESIDE},
                    other;
    struct hard_state hard;
    char why[128];
    memset(identity.cluster, 'c', CLUSTER_NAME_MAX);
    memset(identity.secret, 0xa5, IDENTITY_SECRET_SIZE);
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    EQUAL(identity_save(fs, &identity), FILE_OK);
    EQUAL(hard_state_load(fs, &hard, why, sizeof why), FILE_OK);
    EQUAL(identity_load(fs, &other, why, sizeof why), FILE_OK);
    OK(states_equal(&hard, &state));
    OK(memcmp(identity.node_id, other.node_id, NODE_ID_SIZE) == 0);
    OK(other.incarnation == 9 && other.group == 4 && other.group_id == 12);
    OK(other.other_voters == 2 && other.files == IDENTITY_FILES_BESIDE && !other.worn);
    TEXT_EQUAL(other.cluster, identity.cluster);
    OK(memcmp(identity.secret, other.secret, IDENTITY_SECRET_SIZE) == 0);
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
    uint8_t content[8192], copy[48];
    size_t got;
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    REQUIRE(file_open(fs, "hard_state", false, &file) == FILE_OK);
    REQUIRE(file_read(file, 0, content, sizeof content, &got) == FILE_OK && got == sizeof content);
    for (size_t bit = 0; bit < sizeof copy * 8; bit++) {
        for (size_t at = 0; at < sizeof content; at += 4096) {
            memcpy(copy, content, sizeof copy);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            file_write(file, 0, (struct bytes){content, sizeof content});
            file_write(file, at, (struct bytes){copy, sizeof copy});
            OK(loads(fs, &state));
        }
        file_write(file, 0, (struct bytes){copy, sizeof copy});
        EQUAL(hard_state_load(fs, &hard, why, sizeof why),
              bit / 8 == 7 && copy[7] >= '0' && copy[7] <= '9' ? FILE_OLD : FILE_CORRUPT);
    }
    OK(strstr(why, "hard_state") != NULL);
    for (size_t cut = 0; cut <= sizeof content; cut += cut < 600 || (cut >= 4000 && cut < 4200) ? 1 : 200) {
        file_truncate(file, 0);
        file_write(file, 0, (struct bytes){content, cut});
        if (cut < sizeof copy)
            EQUAL(hard_state_load(fs, &hard, why, sizeof why), FILE_CORRUPT);
        else
            OK(loads(fs, &state));
    }
    file_close(file);
    file_system_free(fs);
}

TEST(files_of_another_version_are_refused_in_words) {
    static const char *const names[] = {"identity", "hard_state"};
    struct file_system *fs = file_system_memory_new();
    struct identity identity;
    struct hard_state hard;
    char why[200];
    for (unsigned i = 0; i < 2; i++) {
        uint8_t old[200] = {0};
        memcpy(old, i == 0 ? "KVNIDEN1" : "KVNHARD1", 8);
        EQUAL(file_replace(fs, names[i], (struct bytes){old, sizeof old}), FILE_OK);
        EQUAL(i == 0 ? identity_load(fs, &identity, why, sizeof why)
                     : hard_state_load(fs, &hard, why, sizeof why),
              FILE_OLD);
        OK(strncmp(why, names[i], strlen(names[i])) == 0 &&
           strstr(why, " was written by another version of kvnode") != NULL);
    }
    file_system_free(fs);
}

TEST(each_flipped_bit_page_and_cut_of_the_identity_leaves_a_copy_or_is_noticed) {
    struct file_system *fs = file_system_memory_new();
    struct identity identity = {.node_id = "fedcba987654321", .incarnation = 9, .cluster = "name"}, other;
    struct file *file;
    char why[160] = "";
    uint8_t content[8192], flipped[8192];
    size_t got;
    EQUAL(identity_save(fs, &identity), FILE_OK);
    REQUIRE(file_open(fs, "identity", false, &file) == FILE_OK);
    file_read(file, 0, content, sizeof content, &got);
    EQUAL(got, sizeof content);
    size_t used = 4096;
    while (content[used - 1] == 0)
        used--;
    for (size_t bit = 0; bit < used * 8; bit++)
        for (unsigned both = 0; both < 2; both++) {
            memcpy(flipped, content, sizeof content);
            flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
            flipped[4096 + bit / 8] ^= (uint8_t)(both << bit % 8);
            file_write(file, 0, (struct bytes){flipped, sizeof flipped});
            enum file_result result = identity_load(fs, &other, why, sizeof why);
            OK(both ? result == FILE_CORRUPT || result == FILE_OLD
                    : result == FILE_OK && other.worn && other.incarnation == 9);
        }
    for (size_t page = 0; page < sizeof content; page += 4096) {
        memcpy(flipped, content, sizeof content);
        memset(flipped + page, 0, 4096);
        file_write(file, 0, (struct bytes){flipped, sizeof flipped});
        OK(identity_load(fs, &other, why, sizeof why) == FILE_OK && other.worn);
    }
    for (size_t cut = 0; cut < sizeof content; cut += cut < 200 || (cut > 4000 && cut < 4300) ? 1 : 100) {
        file_truncate(file, 0);
        file_write(file, 0, (struct bytes){content, cut});
        enum file_result result = identity_load(fs, &other, why, sizeof why);
        OK(result == FILE_OK ? other.incarnation == 9 : result == FILE_CORRUPT && cut < used);
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

/* All of `hard_state`, which has this size. */
static bool content_is(struct file_system *fs, uint8_t *content, size_t size) {
    struct buffer found = {0};
    bool fits = file_read_all(fs, "hard_state", size, &found) == FILE_OK && buffer_size(&found) == size;
    if (fits)
        memcpy(content, buffer_bytes(&found).data, size);
    buffer_release(&found);
    return fits;
}

TEST(a_copy_that_was_written_up_to_any_byte_leaves_the_other_and_a_lost_sector_takes_one_copy_only) {
    struct file_system *fs = file_system_memory_new();
    struct hard_state changed = state;
    uint8_t before[8192], after[8192], torn[8192];
    changed.term = 8;
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    REQUIRE(content_is(fs, before, sizeof before));
    EQUAL(hard_state_save(fs, &changed), FILE_OK);
    REQUIRE(content_is(fs, after, sizeof after));
    for (size_t written = 0; written <= 48; written++)
        for (unsigned which = 0; which < 2; which++) { /* the second copy first, then the first */
            memcpy(torn, before, sizeof torn);
            if (which == 1)
                memcpy(torn + 4096, after + 4096, 4096);
            memcpy(torn + (which == 0 ? 4096 : 0), after + (which == 0 ? 4096 : 0), written);
            EQUAL(file_replace(fs, "hard_state", (struct bytes){torn, sizeof torn}), FILE_OK);
            OK(loads(fs, which == 1 || memcmp(torn + 4096, after + 4096, 48) == 0 ? &changed : &state));
            EQUAL(hard_state_save(fs, &changed), FILE_OK);
            OK(content_is(fs, torn, sizeof torn) && memcmp(torn, after, sizeof torn) == 0);
        }
    for (size_t sector = 0; sector < sizeof after; sector += 4096) {
        memcpy(torn, after, sizeof torn);
        memset(torn + sector, 0xee, 4096);
        EQUAL(file_replace(fs, "hard_state", (struct bytes){torn, sizeof torn}), FILE_OK);
        OK(loads(fs, &changed));
    }
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

/* A process is killed after `steps` operations of its save, and then another one, that has loaded what it
 * left and writes it again, in the middle of that or behind it; then power is cut. */
static bool stays(struct random *random, uint64_t steps, uint64_t again_steps, bool no_room) {
    struct sim_disk *disk = sim_disk_new();
    struct file_system *fs = sim_disk_file_system(disk);
    struct hard_state changed = state, loaded, found;
    char why[128];
    changed.term = 8;
    bool ok = hard_state_save(fs, &state) == FILE_OK;
    if (no_room)
        sim_disk_set_capacity(disk, sim_disk_used(disk));
    sim_disk_inject(disk, (struct sim_disk_fault){steps, SIM_DISK_ALL, FILE_IO_ERROR, true});
    hard_state_save(fs, &changed);
    sim_disk_restart(disk);
    ok = ok && hard_state_load(fs, &loaded, why, sizeof why) == FILE_OK;
    sim_disk_inject(disk, (struct sim_disk_fault){again_steps, SIM_DISK_ALL, FILE_IO_ERROR, true});
    bool again = hard_state_save_again(fs, &loaded) == FILE_OK;
    sim_disk_crash(disk, random);
    ok = ok && hard_state_load(fs, &found, why, sizeof why) == FILE_OK &&
         (again ? states_equal(&found, &loaded)
                : states_equal(&found, &state) || states_equal(&found, &changed));
    sim_disk_free(disk);
    return ok && again == (again_steps > 7);
}

TEST(what_a_start_has_loaded_and_written_again_no_power_cut_takes_back) {
    struct random random;
    random_seed(&random, 5);
    for (uint64_t steps = 0; steps < 9; steps++)
        for (uint64_t again_steps = 0; again_steps < 9; again_steps++)
            for (int round = 0; round < 50; round++)
                if (!stays(&random, steps, again_steps, round % 2 == 0)) {
                    OK(false);
                    printf("# killed after %d operations, then after %d\n", (int)steps, (int)again_steps);
                    return;
                }
    OK(true);
}

TESTS(TAP(a_new_directory_has_neither), TAP(both_come_back_as_they_were_saved),
      TAP(damage_to_one_copy_of_the_hard_state_does_no_harm_and_to_both_is_noticed),
      TAP(files_of_another_version_are_refused_in_words),
      TAP(each_flipped_bit_page_and_cut_of_the_identity_leaves_a_copy_or_is_noticed),
      TAP(a_full_disk_takes_terms_and_votes),
      TAP(a_copy_that_was_written_up_to_any_byte_leaves_the_other_and_a_lost_sector_takes_one_copy_only),
      TAP(a_crash_at_any_step_of_a_save_leaves_the_old_state_or_the_new_one),
      TAP(what_a_start_has_loaded_and_written_again_no_power_cut_takes_back))
