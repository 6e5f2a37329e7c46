/* What rots on the disks of whole nodes while they run, a leader's and a follower's: found by the scrub,
 * mended from memory, and the next start reads it all. */
#include "storage/log_internal.h"
#include "tests/unit/sim/asking.h"

#define KEYS     120
#define REST_MS  1000
#define FOUND_US (10 * SECOND) /* a pass, and what comes before it */

static struct asking *filled(uint64_t seed, uint64_t snapshot_log_size) {
    struct asking *a = asking_make(1, 3, seed, ACK_QUORUM);
    char key[8], value[3001];
    for (unsigned i = 0; i < 3; i++) {
        a->sim->machines[i]->scrub_rest_ms = REST_MS;
        a->sim->machines[i]->snapshot_log_size = snapshot_log_size;
    }
    asking_start(a);
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k%u", i);
        if (set(a, leader_in(a, 0), key, value) != 200)
            abort();
    }
    sim_run(a->sim, 2 * SECOND);
    return a;
}

static void note_name(void *arg, const char *name) {
    char *first = arg;
    if (strncmp(name, "log-", 4) == 0 && first[0] == '\0')
        snprintf(first, FILE_NAME_MAX, "%s", name);
}

static void note_last(void *arg, const char *name) {
    if (strncmp(name, "log-", 4) == 0)
        snprintf(arg, FILE_NAME_MAX, "%s", name);
}

static const struct replica_damage *damage_of(const struct asking *a, unsigned machine) {
    return replica_damage(node_replica(a->sim->machines[machine]->node));
}

static bool wait_mended(struct asking *a, unsigned machine) {
    for (uint64_t end = a->sim->now_us + FOUND_US; a->sim->now_us < end && sim_step(a->sim);)
        if (damage_of(a, machine)->mended > 0)
            return true;
    return false;
}

/* It starts from its own files: under the same incarnation, with all keys before it hears of anybody. */
static void restarts(struct tap *tap, struct asking *a, unsigned machine) {
    struct machine *m = a->sim->machines[machine];
    uint64_t incarnation = node_self(m->node)->incarnation;
    machine_kill(m);
    REQUIRE(machine_start(m));
    EQUAL(node_self(m->node)->incarnation, incarnation);
    EQUAL(store_count(replica_store(node_replica(m->node))), KEYS);
    sim_run(a->sim, 3 * SECOND);
}

static void health_is(struct tap *tap, struct asking *a, unsigned machine, const char *status) {
    STATUS_IS(a, ask_text(a, machine, "GET /health?ready=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    if (!OK(strstr(a->body, status) != NULL))
        printf("# %s\n", a->body);
}

static void is_mended(struct tap *tap, struct asking *a, unsigned machine, const char *name,
                      uint64_t offset) {
    EQUAL(damage_of(a, machine)->found, 0);
    REQUIRE(sim_disk_flip(a->sim->machines[machine]->disk, name, offset, 4));
    OK(wait_mended(a, machine));
    EQUAL(damage_of(a, machine)->found, 1);
    for (unsigned i = 0; i < 3; i++)
        EQUAL(damage_of(a, i)->found, i == machine);
    health_is(tap, a, machine, "\"healthy\"");
    restarts(tap, a, machine);
}

TEST(a_rotten_segment_is_found_and_mended_on_any_node) {
    for (unsigned follower = 0; follower < 2; follower++) {
        struct asking *a = filled(3 + follower, 0);
        unsigned machine = follower ? (leader_in(a, 0) + 1) % 3 : leader_in(a, 0);
        char name[FILE_NAME_MAX] = "";
        sim_disk_names(a->sim->machines[machine]->disk, note_name, name);
        is_mended(tap, a, machine, name, 30000);
        EQUAL(sim_disk_size(a->sim->machines[machine]->disk, name), 0);
        asking_free(a);
    }
}

TEST(a_rotten_snapshot_is_found_and_mended_on_any_node) {
    for (unsigned follower = 0; follower < 2; follower++) {
        struct asking *a = filled(5 + follower, 100 * 1024);
        unsigned machine = follower ? (leader_in(a, 0) + 1) % 3 : leader_in(a, 0);
        is_mended(tap, a, machine, "snapshot", 30000);
        asking_free(a);
    }
}

TEST(rotten_small_files_are_found_and_written_again_on_any_node) {
    static const char *const names[] = {"identity", "hard_state", "rejected"};
    for (unsigned i = 0; i < 6; i++) {
        struct asking *a = filled(8 + i, 0);
        unsigned machine = i % 2 != 0 ? (leader_in(a, 0) + 1) % 3 : leader_in(a, 0);
        is_mended(tap, a, machine, names[i / 2], i % 2 * 4096 + 20);
        asking_free(a);
    }
}

TEST(rot_in_the_segment_that_is_written_is_found_and_mended_on_any_node) {
    for (unsigned follower = 0; follower < 2; follower++) {
        struct asking *a = filled(15 + follower, 100 * 1024);
        unsigned machine = follower ? (leader_in(a, 0) + 1) % 3 : leader_in(a, 0);
        char name[FILE_NAME_MAX] = "";
        sim_disk_names(a->sim->machines[machine]->disk, note_last, name);
        is_mended(tap, a, machine, name, SEGMENT_HEADS_SIZE + 30);
        asking_free(a);
    }
}

/* Here because the disk has no room for another snapshot. */
TEST(a_node_says_that_it_is_damaged_and_ready_until_it_is_mended) {
    struct asking *a = filled(7, 100 * 1024);
    unsigned machine = (leader_in(a, 0) + 1) % 3;
    struct sim_disk *disk = a->sim->machines[machine]->disk;
    sim_disk_set_capacity(disk, sim_disk_used(disk) + 1000);
    REQUIRE(sim_disk_flip(disk, "snapshot", 30000, 4));
    OK(!wait_mended(a, machine));
    EQUAL(damage_of(a, machine)->found, 1);
    health_is(tap, a, machine, "\"damaged\"");
    sim_disk_set_capacity(disk, 0);
    OK(wait_mended(a, machine) || wait_mended(a, machine));
    health_is(tap, a, machine, "\"healthy\"");
    restarts(tap, a, machine);
    asking_free(a);
}

TESTS(TAP(a_rotten_segment_is_found_and_mended_on_any_node),
      TAP(a_rotten_snapshot_is_found_and_mended_on_any_node),
      TAP(rotten_small_files_are_found_and_written_again_on_any_node),
      TAP(rot_in_the_segment_that_is_written_is_found_and_mended_on_any_node),
      TAP(a_node_says_that_it_is_damaged_and_ready_until_it_is_mended))
