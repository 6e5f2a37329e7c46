/* Damage at rest, with whole nodes: what had been durable is rotten, short or gone when a process starts
 * again. Of a group of three nothing that was acknowledged is lost, and the damaged node becomes a member
 * again by itself; a group's only node refuses, or has all of it.
 *
 * DAMAGE_STEP is how far the places are apart, in bytes; 1 is every one. */
#include <stdlib.h>

#include "storage/directory.h"
#include "tests/unit/sim/asking.h"

#define WRITES 60

struct place {
    char name[FILE_NAME_MAX];
    uint64_t offset;
    enum how { REMOVED, CUT, PAGE_ZEROED, SECTOR_ZEROED, FLIPPED } how;
};

static struct file_system *disk_of(const struct asking *a, unsigned machine) {
    return sim_disk_file_system(a->sim->machines[machine]->disk);
}

static void damage(struct asking *a, unsigned machine, const struct place *place) {
    struct file_system *fs = disk_of(a, machine);
    static const uint8_t zeros[4096];
    struct file *file;
    uint64_t size;
    if (place->how == REMOVED) {
        file_system_remove(fs, place->name);
        return;
    }
    if (file_open(fs, place->name, false, &file) != FILE_OK)
        abort();
    file_size(file, &size);
    uint8_t byte = 0;
    size_t got;
    if (place->how == CUT) {
        file_truncate(file, place->offset);
    } else if (place->how == PAGE_ZEROED || place->how == SECTOR_ZEROED) {
        uint64_t left = size - place->offset, most = place->how == PAGE_ZEROED ? 4096 : 512;
        file_write(file, place->offset, (struct bytes){zeros, left < most ? (size_t)left : (size_t)most});
    } else {
        file_read(file, place->offset, &byte, 1, &got);
        byte ^= 0x10;
        file_write(file, place->offset, (struct bytes){&byte, 1});
    }
    file_close(file);
}

static const char *how_text(enum how how) {
    static const char *const texts[] = {"removed", "cut", "page zeroed", "sector zeroed", "flipped"};
    return texts[how];
}

static void key_of(unsigned i, char key[32]) {
    snprintf(key, 32, "key-%u", i);
}

/* Written and acknowledged, some of it after a snapshot. */
static bool fill(struct asking *a, unsigned count) {
    char key[32], value[600];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned i = 0; i < count; i++) {
        key_of(i, key);
        if (set(a, 0, key, value) != 200)
            return false;
    }
    return true;
}

static unsigned missing_at(struct asking *a, unsigned machine, unsigned count, bool linearizable) {
    char key[32];
    unsigned missing = 0;
    for (unsigned i = 0; i < count; i++) {
        key_of(i, key);
        missing += get(a, machine, key, linearizable) != 200;
    }
    return missing;
}

static bool is_voter(const struct asking *a, unsigned machine) {
    const struct machine *m = a->sim->machines[machine];
    uint64_t at;
    const struct configuration *configuration =
        m->node == NULL ? NULL : raft_configuration_committed(raft_at(a, machine), &at);
    for (size_t i = 0; configuration != NULL && i < configuration->count; i++)
        if (configuration->members[i].role == MEMBER_VOTER &&
            memcmp(configuration->members[i].id.id, node_self(m->node)->id, NODE_ID_SIZE) == 0 &&
            configuration->members[i].id.incarnation == node_self(m->node)->incarnation)
            return configuration->count == a->sim->options.machines;
    return false;
}

struct counted {
    unsigned aside, names;
};

static void count_aside(void *arg, const char *name) {
    struct counted *counted = arg;
    counted->aside += directory_is_aside(name);
    counted->names++;
}

static unsigned aside_on(const struct asking *a, unsigned machine) {
    struct counted counted = {0};
    file_system_list(disk_of(a, machine), count_aside, &counted);
    return counted.aside;
}

/* Until it is a voter, in the incarnation that it has now, and nothing is set aside. */
static bool wait_whole(struct asking *a, unsigned machine) {
    for (uint64_t end = a->sim->now_us + 60 * SECOND; a->sim->now_us < end; sim_run(a->sim, 100 * MS))
        if (is_voter(a, machine) && aside_on(a, machine) == 0)
            return true;
    return false;
}

static bool told_in_refusal(const struct asking *a, unsigned machine, const struct place *place) {
    return strstr(a->sim->machines[machine]->last_failure, place->name) != NULL;
}

static struct asking *three(void) {
    struct asking *a = asking_make(1, 3, 7, ACK_QUORUM);
    for (unsigned i = 0; i < 3; i++) {
        a->sim->machines[i]->segment_size = a->sim->machines[i]->snapshot_log_size = 16 * 1024;
    }
    asking_start(a);
    return a;
}

/* 3 is killed and its file damaged. When it is a voter again 2 is killed: 1 and 3 hold everything, and 3
 * alone can tell of it to 1. */
static bool one_of_three(struct tap *tap, const struct place *place) {
    struct asking *a = three();
    struct machine *victim = a->sim->machines[2];
    bool ok = OK(fill(a, WRITES)), aside = false;
    sim_run(a->sim, SECOND);
    uint64_t incarnation = node_self(victim->node)->incarnation;
    machine_kill(victim);
    damage(a, 2, place);
    if (strcmp(place->name, "identity") == 0 && !machine_start(victim)) {
        ok = OK(told_in_refusal(a, 2, place)) && ok;
        EQUAL(missing_at(a, 0, WRITES, true), 0);
    } else {
        ok = OK(victim->node != NULL || machine_start(victim)) && ok;
        aside = aside_on(a, 2) > 0;
        ok = ok && EQUAL(aside, node_self(victim->node)->incarnation != incarnation) && OK(wait_whole(a, 2));
        machine_kill(a->sim->machines[1]);
        sim_run(a->sim, 3 * SECOND);
        ok = ok && EQUAL(set(a, 2, "after", "1"), 200) && EQUAL(missing_at(a, 2, WRITES, true), 0);
    }
    if (!ok)
        printf("# %s %s at %llu: %s\n", place->name, how_text(place->how), (unsigned long long)place->offset,
               victim->last_failure);
    asking_free(a);
    return aside;
}

/* Refuses with the file's name and leaves all as it is, or holds everything. */
static bool sole(struct tap *tap, const struct place *place) {
    struct asking *a = asking_make(1, 1, 7, ACK_QUORUM);
    struct machine *victim = a->sim->machines[0];
    victim->segment_size = victim->snapshot_log_size = 16 * 1024;
    asking_start(a);
    bool ok = OK(fill(a, WRITES));
    sim_run(a->sim, SECOND);
    machine_kill(victim);
    damage(a, 0, place);
    bool started = machine_start(victim);
    if (started) {
        sim_run(a->sim, 3 * SECOND);
        ok = EQUAL(missing_at(a, 0, WRITES, true), 0) && ok;
    } else {
        ok = OK(victim->last_failure[0] != '\0') && EQUAL(aside_on(a, 0), 0) && ok;
        ok = OK(!machine_start(victim)) && ok;
    }
    if (!ok)
        printf("# %s %s at %llu: %s\n", place->name, how_text(place->how), (unsigned long long)place->offset,
               victim->last_failure);
    asking_free(a);
    return !started;
}

struct files {
    char names[40][FILE_NAME_MAX];
    uint64_t sizes[40];
    size_t count;
    struct file_system *fs;
};

static void files_add(void *arg, const char *name) {
    struct files *files = arg;
    struct file *file;
    uint64_t number;
    if (directory_number(name, DIRECTORY_SPARE, &number) || files->count == 40 ||
        file_open(files->fs, name, false, &file) != FILE_OK)
        return;
    snprintf(files->names[files->count], FILE_NAME_MAX, "%s", name);
    file_size(file, &files->sizes[files->count++]);
    file_close(file);
}

static uint64_t step_of(const char *name, uint64_t otherwise) {
    const char *value = getenv(name);
    return value != NULL && strtoull(value, NULL, 10) > 0 ? strtoull(value, NULL, 10) : otherwise;
}

/* Pages and sectors each once, or fewer. */
static uint64_t step_for(enum how how, uint64_t step) {
    uint64_t least = how == PAGE_ZEROED ? 4096 : how == SECTOR_ZEROED ? 512 : 1;
    return step < least ? least : (step + least - 1) / least * least;
}

/* Each file gone, cut, with a page or a sector of zeros, with a byte flipped. */
static void each_place(struct tap *tap, bool alone,
                       bool (*with)(struct tap *tap, const struct place *place)) {
    struct asking *a = alone ? asking_make(1, 1, 7, ACK_QUORUM) : three();
    struct files files = {0};
    if (alone) {
        a->sim->machines[0]->segment_size = a->sim->machines[0]->snapshot_log_size = 16 * 1024;
        asking_start(a);
    }
    OK(fill(a, WRITES));
    sim_run(a->sim, SECOND);
    machine_kill(a->sim->machines[alone ? 0 : 2]);
    files.fs = disk_of(a, alone ? 0 : 2);
    file_system_list(files.fs, files_add, &files);
    asking_free(a);
    OK(files.count >= 7);
    uint64_t step = step_of("DAMAGE_STEP", 5003);
    unsigned noticed = 0, places = 0;
    for (size_t i = 0; i < files.count && !tap->failed; i++) {
        struct place place = {.how = REMOVED};
        snprintf(place.name, sizeof place.name, "%s", files.names[i]);
        noticed += with(tap, &place);
        for (place.how = CUT; place.how <= FLIPPED; place.how++)
            for (place.offset = 0; place.offset < files.sizes[i]; place.offset += step_for(place.how, step))
                noticed += with(tap, &place), places++;
    }
    OK(noticed > places / 5);
}

TEST(a_damaged_node_of_three_loses_nothing_and_is_a_voter_again_by_itself) {
    each_place(tap, false, one_of_three);
}

TEST(a_damaged_sole_node_refuses_or_holds_everything) {
    each_place(tap, true, sole);
}

TEST(a_damaged_node_founds_no_group_although_it_has_the_flag_and_nobody_is_there) {
    struct asking *a = three();
    struct machine *victim = a->sim->machines[2];
    OK(fill(a, WRITES));
    victim->leader_flag = true;
    for (unsigned i = 0; i < 3; i++)
        machine_kill(a->sim->machines[i]);
    damage(a, 2, &(struct place){.name = "log_end", .how = REMOVED});
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(machine_start(victim));
        sim_run(a->sim, 20 * SECOND);
        EQUAL(raft_configuration(raft_at(a, 2))->count, 0);
        OK(aside_on(a, 2) > 0);
        machine_kill(victim);
    }
    REQUIRE(machine_start(victim) && machine_start(a->sim->machines[0]) &&
            machine_start(a->sim->machines[1]));
    OK(wait_whole(a, 2));
    EQUAL(missing_at(a, 2, WRITES, true), 0);
    asking_free(a);
}

static void remove_but_identity(void *arg, const char *name) {
    if (strcmp(name, "identity") != 0)
        file_system_remove(arg, name);
}

/* It names a group, and a log is made before a group is joined or founded. */
TEST(a_sole_node_of_which_only_the_identity_is_left_refuses_and_founds_nothing) {
    struct asking *a = asking_make(1, 1, 7, ACK_QUORUM);
    struct machine *victim = a->sim->machines[0];
    asking_start(a);
    OK(fill(a, WRITES));
    victim->leader_flag = true;
    machine_kill(victim);
    OK(file_system_list(disk_of(a, 0), remove_but_identity, disk_of(a, 0)) == FILE_OK);
    OK(!machine_start(victim));
    OK(strstr(victim->last_failure, "log_end is missing") != NULL);
    asking_free(a);
}

TEST(a_crash_at_any_step_of_setting_aside_goes_on_with_it) {
    for (unsigned steps = 0; steps < 60; steps++) {
        struct asking *a = three();
        struct machine *victim = a->sim->machines[2];
        OK(fill(a, WRITES));
        sim_run(a->sim, SECOND);
        machine_kill(victim);
        damage(a, 2, &(struct place){.name = "snapshot", .how = REMOVED});
        sim_disk_inject(victim->disk, (struct sim_disk_fault){steps, SIM_DISK_ALL & ~(unsigned)SIM_DISK_READ,
                                                              FILE_IO_ERROR, true});
        bool started = machine_start(victim);
        if (started)
            machine_power_cut(victim);
        else
            sim_disk_crash(victim->disk, &a->sim->random[STREAM_DISK]);
        if (started)
            machine_power_on(victim);
        if (!OK((victim->node != NULL || machine_start(victim)) && wait_whole(a, 2)) ||
            !EQUAL(missing_at(a, 2, WRITES, true), 0))
            printf("# after %u operations: %s\n", steps, victim->last_failure);
        asking_free(a);
    }
}

TESTS(TAP(a_damaged_node_of_three_loses_nothing_and_is_a_voter_again_by_itself),
      TAP(a_damaged_sole_node_refuses_or_holds_everything),
      TAP(a_damaged_node_founds_no_group_although_it_has_the_flag_and_nobody_is_there),
      TAP(a_sole_node_of_which_only_the_identity_is_left_refuses_and_founds_nothing),
      TAP(a_crash_at_any_step_of_setting_aside_goes_on_with_it))
