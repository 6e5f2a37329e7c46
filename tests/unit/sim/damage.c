/* Damage at rest, with whole nodes: what had been durable is rotten, short or gone when a process starts
 * again. Of a group of three nothing that was acknowledged is lost, no answer is wrong, and the damaged node
 * becomes a member again by itself; a group's only node refuses, or has all of it.
 *
 * DAMAGE_STEP is how far the places are apart, in bytes; 1 is every one. DAMAGE_JOBS: tried at a time. */
#include "tests/unit/sim/damage.h"

#define KEYS       15
#define WRITES     60 /* write i is of key i modulo the keys */
#define VALUE_SIZE 600
#define STEP       5003
#define LOST       6 /* writes that come into the ledger, */
#define DROPPED    2 /* and which of them is dropped from it */

/* The real size of segments. */
#define LARGE_STEP     (521u * 512)
#define LARGE_SIZE     60000u
#define LARGE_KEYS     100u
#define LARGE_WRITES   1250u
#define LARGE_LOG_SIZE (40u * 1024 * 1024)

struct content {
    unsigned keys, writes;
    size_t size; /* of a value */
};

static const struct content small = {KEYS, WRITES, VALUE_SIZE},
                            large = {LARGE_KEYS, LARGE_WRITES, LARGE_SIZE};

static void key_of(unsigned i, char key[32]) {
    snprintf(key, 32, "key-%u", i);
}

static void value_of(unsigned i, char *value, size_t size) {
    memset(value, 'v', size - 1);
    value[size - 1] = '\0';
    value[snprintf(value, size, "value-%u-", i)] = 'v';
}

/* Written and acknowledged: writes from `from` to before `to`. */
static bool fill(struct asking *a, const struct content *content, unsigned from, unsigned to) {
    char key[32], *value = malloc(content->size);
    bool ok = true;
    for (unsigned i = from; i < to && ok; i++) {
        key_of(i % content->keys, key);
        value_of(i, value, content->size);
        ok = set(a, 0, key, value) == 200;
    }
    free(value);
    return ok;
}

/* Keys that are not answered with what was written last. The first read is linearizable: the node then has
 * all that was acknowledged before. */
static unsigned wrong_at(struct asking *a, unsigned machine, const struct content *content) {
    char key[32], *value = malloc(content->size);
    unsigned wrong = 0;
    for (unsigned i = 0; i < content->keys; i++) {
        key_of(i, key);
        value_of((content->writes - 1 - i) / content->keys * content->keys + i, value, content->size);
        wrong += get(a, machine, key, i == 0) != 200 || strstr(a->body, value) == NULL;
    }
    free(value);
    return wrong;
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

static bool all_equal(const struct asking *a) {
    const struct store *first = NULL;
    for (unsigned i = 0; i < a->sim->options.machines; i++) {
        const struct machine *m = a->sim->machines[i];
        const struct store *store = m->node == NULL ? NULL : replica_store(node_replica(m->node));
        first = i == 0 ? store : first;
        if (store == NULL || first == NULL || store_applied(store).index != store_applied(first).index ||
            store_digest(store) != store_digest(first))
            return false;
    }
    return true;
}

static bool wait_equal(struct asking *a) {
    for (uint64_t end = a->sim->now_us + 30 * SECOND; a->sim->now_us < end; sim_run(a->sim, 100 * MS))
        if (all_equal(a))
            return true;
    return false;
}

/* A write through this node, as soon as one is taken. */
static bool wait_write(struct asking *a, unsigned machine) {
    for (uint64_t end = a->sim->now_us + 15 * SECOND; a->sim->now_us < end; sim_run(a->sim, 100 * MS))
        if (set(a, machine, "after", "1") == 200)
            return true;
    return false;
}

/* Histories. */

static struct asking *small_segments(unsigned machines, enum ack_mode ack) {
    trials_cheap();
    struct asking *a = asking_make(1, machines, 7, ack);
    for (unsigned i = 0; i < machines; i++)
        a->sim->machines[i]->segment_size = a->sim->machines[i]->snapshot_log_size = 16 * 1024;
    asking_start(a);
    return a;
}

static struct asking *three(void) {
    return small_segments(3, ACK_QUORUM);
}

/* All have everything, and one is down. */
static struct asking *one_down(struct tap *tap, unsigned machine) {
    struct asking *a = three();
    OK(fill(a, &small, 0, WRITES));
    sim_run(a->sim, SECOND);
    machine_kill(a->sim->machines[machine]);
    return a;
}

/* Only 1, which is down, and 0 have everything. */
static struct asking *one_behind(struct tap *tap) {
    struct asking *a = three();
    OK(fill(a, &small, 0, WRITES / 3));
    machine_kill(a->sim->machines[2]);
    OK(fill(a, &small, WRITES / 3, WRITES));
    sim_run(a->sim, SECOND);
    machine_kill(a->sim->machines[1]);
    return a;
}

static void isolate(struct asking *a, unsigned machine, bool is) {
    for (unsigned i = 0; i < 3; i++)
        a->sim->blocked[i][machine] = a->sim->blocked[machine][i] = is && i != machine;
}

static unsigned drop_row(struct asking *a, unsigned machine, const char *position) {
    char text[256], body[64];
    snprintf(body, sizeof body, "{\"position\":\"%s\"}", position);
    snprintf(text, sizeof text,
             "POST /rejected/drop HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    return ask_text(a, machine, text);
}

/* Of an async group: the writes that its leader, 0, acknowledged alone were superseded. It is down. */
static struct asking *one_with_ledger(struct tap *tap) {
    struct asking *a = small_segments(3, ACK_ASYNC);
    char key[32], value[40], position[32];
    OK(fill(a, &small, 0, WRITES / 2) && leader_in(a, 0) == 0);
    sim_run(a->sim, SECOND);
    isolate(a, 0, true);
    for (unsigned i = 0; i < LOST; i++) {
        snprintf(key, sizeof key, "lost-%u", i);
        snprintf(value, sizeof value, "rejected-%u", i);
        OK(set(a, 0, key, value) == 200);
        if (i == DROPPED)
            snprintf(position, sizeof position, "0:%llu.%llu", (unsigned long long)a->at.term,
                     (unsigned long long)a->at.index);
    }
    sim_run(a->sim, 5 * SECOND);
    OK(wait_write(a, 1));
    isolate(a, 0, false);
    sim_run(a->sim, 5 * SECOND);
    OK(fill(a, &small, WRITES / 2, WRITES));
    sim_run(a->sim, 2 * SECOND);
    OK(drop_row(a, 0, position) == 200);
    machine_kill(a->sim->machines[0]);
    return a;
}

/* Segments of the real size, several of them behind a snapshot; 2 is down. */
static struct asking *one_large(struct tap *tap) {
    trials_cheap();
    struct asking *a = asking_make(1, 3, 7, ACK_QUORUM);
    for (unsigned i = 0; i < 3; i++) {
        a->sim->machines[i]->segment_size = LOG_SEGMENT_SIZE;
        a->sim->machines[i]->snapshot_log_size = LARGE_LOG_SIZE;
    }
    asking_start(a);
    OK(fill(a, &large, 0, LARGE_WRITES));
    sim_run(a->sim, SECOND);
    machine_kill(a->sim->machines[2]);
    return a;
}

/* What becomes of a damaged directory. */

/* It starts, in a new incarnation where its files are set aside, or refuses, where it cannot know who it was.
 */
static enum ending start_damaged(struct tap *tap, struct asking *a, unsigned machine,
                                 const struct place *place) {
    struct machine *victim = a->sim->machines[machine];
    uint64_t incarnation = victim->incarnation;
    damage(a, machine, place);
    uint64_t before = place_sum(a, machine, place);
    if (!machine_start(victim)) {
        OK(told_in_refusal(a, machine, place) && strcmp(place->name, "identity") == 0);
        EQUAL(aside_on(a, machine), 0);
        return REFUSED;
    }
    bool aside = aside_on(a, machine) > 0;
    EQUAL(aside, victim->incarnation != incarnation);
    return aside                                    ? SET_ASIDE
           : victim->said_ledger_damaged            ? TOLD
           : place_sum(a, machine, place) != before ? REPAIRED
                                                    : WHOLE;
}

/* All have the same, and the last one to come back what was written. */
static void all_have_all(struct tap *tap, struct asking *a, unsigned last, const struct content *content) {
    OK(wait_equal(a));
    EQUAL(wrong_at(a, last, content), 0);
}

/* 2 is damaged. When it is a voter again 1 is killed: 0 and 2 hold everything, and 2 alone can tell of it to
 * 0. Then 1 comes back. */
static enum ending then_another_stops(struct tap *tap, struct asking *a, const struct place *place,
                                      const struct content *content) {
    enum ending ending = start_damaged(tap, a, 2, place);
    if (ending == REFUSED) {
        EQUAL(wrong_at(a, 0, content) + wrong_at(a, 1, content), 0);
        return ending;
    }
    if (!OK(wait_whole(a, 2)))
        return ending;
    machine_kill(a->sim->machines[1]);
    if (!OK(wait_write(a, 2)))
        return ending;
    EQUAL(wrong_at(a, 2, content), 0);
    EQUAL(wrong_at(a, 0, content), 0);
    OK(machine_start(a->sim->machines[1]));
    all_have_all(tap, a, 1, content);
    return ending;
}

static enum ending one_of_three(struct tap *tap, struct asking *a, const struct place *place) {
    return then_another_stops(tap, a, place, &small);
}

static enum ending one_of_three_large(struct tap *tap, struct asking *a, const struct place *place) {
    return then_another_stops(tap, a, place, &large);
}

/* 1, which alone beside 0 had everything, is damaged, and then 0 stops: what 1 cannot tell of nobody answers
 * for, until 0 is back. */
static enum ending after_another_stopped(struct tap *tap, struct asking *a, const struct place *place) {
    machine_kill(a->sim->machines[0]);
    enum ending ending = start_damaged(tap, a, 1, place);
    OK(machine_start(a->sim->machines[2]));
    if (ending == SET_ASIDE || ending == REFUSED) {
        sim_run(a->sim, 5 * SECOND);
        for (unsigned i = ending == REFUSED ? 2 : 1; i < 3; i++)
            OK(get(a, i, "key-0", true) >= 500);
    } else if (OK(wait_write(a, 2))) {
        EQUAL(wrong_at(a, 2, &small), 0);
        EQUAL(wrong_at(a, 1, &small), 0);
    }
    OK(machine_start(a->sim->machines[0]));
    OK(wait_write(a, 0));
    if (ending == REFUSED)
        EQUAL(wrong_at(a, 0, &small) + wrong_at(a, 2, &small), 0);
    else if (OK(wait_whole(a, 1)))
        all_have_all(tap, a, 1, &small);
    return ending;
}

/* How many rows the ledger has; each as it was. */
static unsigned rows_at(struct tap *tap, struct asking *a, unsigned machine, bool *dropped) {
    char row[128];
    unsigned rows = 0;
    EQUAL(ask_text(a, machine, "GET /rejected HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    for (unsigned i = 0; i < LOST; i++) {
        snprintf(row, sizeof row, "{\"key\":\"lost-%u\",", i);
        if (strstr(a->body, row) == NULL)
            continue;
        snprintf(row, sizeof row, "{\"key\":\"lost-%u\",\"operation\":\"set\",\"value\":\"rejected-%u\",", i,
                 i);
        OK(strstr(a->body, row) != NULL);
        rows += i != DROPPED;
        *dropped = *dropped || i == DROPPED;
    }
    return rows;
}

/* 0 is damaged: what becomes of its ledger, and of the keys. */
static enum ending with_ledger(struct tap *tap, struct asking *a, const struct place *place) {
    struct machine *victim = a->sim->machines[0];
    enum ending ending = start_damaged(tap, a, 0, place);
    if (ending == REFUSED || !OK(wait_whole(a, 0)))
        return ending;
    for (unsigned i = 0; i < 2; i++) {
        bool dropped = false, told = victim->said_ledger_damaged;
        unsigned rows = rows_at(tap, a, 0, &dropped);
        OK(rows == LOST - 1 || (told && strcmp(place->name, "rejected") == 0));
        OK(!dropped || told);
        sim_run(a->sim, 2 * SECOND);
        if (i == 0 && !told) { /* what is told is told once where the damage was between whole rows */
            machine_kill(victim);
            OK(machine_start(victim));
            sim_run(a->sim, 3 * SECOND);
        }
    }
    all_have_all(tap, a, 0, &small);
    return ending;
}

/* Refuses and leaves all as it is, or holds everything. */
static enum ending sole(struct tap *tap, struct asking *a, const struct place *place) {
    struct machine *victim = a->sim->machines[0];
    damage(a, 0, place);
    uint64_t before = place_sum(a, 0, place);
    if (!machine_start(victim)) {
        OK(victim->last_failure[0] != '\0');
        EQUAL(aside_on(a, 0), 0);
        EQUAL(place_sum(a, 0, place), before);
        OK(!machine_start(victim));
        return REFUSED;
    }
    enum ending ending = victim->said_ledger_damaged        ? TOLD
                         : place_sum(a, 0, place) != before ? REPAIRED
                                                            : WHOLE;
    sim_run(a->sim, 3 * SECOND);
    EQUAL(wrong_at(a, 0, &small), 0);
    return ending;
}

/* The tests. */

TEST(a_damaged_node_of_three_loses_nothing_and_is_a_voter_again_by_itself) {
    struct asking *a = one_down(tap, 2);
    struct trials t = each_place(tap, a, 2, NULL, number_from("DAMAGE_STEP", STEP), one_of_three);
    OK(t.counts[WHOLE] > 0 && t.counts[REPAIRED] > 0 && t.counts[SET_ASIDE] > t.begun / 5 &&
       t.counts[REFUSED] > 0);
    asking_free(a);
}

TEST(what_only_a_damaged_node_and_one_that_is_down_had_is_neither_lost_nor_answered_wrongly) {
    struct asking *a = one_behind(tap);
    struct trials t = each_place(tap, a, 1, NULL, number_from("DAMAGE_STEP", STEP), after_another_stopped);
    OK(t.counts[WHOLE] > 0 && t.counts[REPAIRED] > 0 && t.counts[SET_ASIDE] > t.begun / 5 &&
       t.counts[REFUSED] > 0);
    asking_free(a);
}

TEST(rejected_writes_outlast_damage_to_any_other_file_and_what_is_lost_of_them_is_told) {
    struct asking *a = one_with_ledger(tap);
    uint64_t step = number_from("DAMAGE_STEP", STEP);
    struct trials t = each_place(tap, a, 0, "rejected", step < 101 ? step : 101, with_ledger);
    OK(t.counts[WHOLE] > 0 && t.counts[REPAIRED] > 0 && t.counts[TOLD] > 0);
    t = each_place(tap, a, 0, NULL, 16 * step, with_ledger);
    OK(t.counts[SET_ASIDE] > 0);
    asking_free(a);
}

TEST(a_damaged_sole_node_refuses_or_holds_everything) {
    struct asking *a = small_segments(1, ACK_QUORUM);
    OK(fill(a, &small, 0, WRITES));
    sim_run(a->sim, SECOND);
    machine_kill(a->sim->machines[0]);
    struct trials t = each_place(tap, a, 0, NULL, number_from("DAMAGE_STEP", STEP), sole);
    OK(t.counts[REFUSED] > t.begun / 5);
    asking_free(a);
}

TEST(damage_to_segments_of_the_real_size_loses_nothing) {
    struct asking *a = one_large(tap);
    struct trials t =
        each_place(tap, a, 2, NULL, LARGE_STEP * number_from("DAMAGE_STEP", STEP), one_of_three_large);
    OK(t.counts[SET_ASIDE] > 3);
    asking_free(a);
}

TEST(a_damaged_node_founds_no_group_although_it_has_the_flag_and_nobody_is_there) {
    struct asking *a = three();
    struct machine *victim = a->sim->machines[2];
    OK(fill(a, &small, 0, WRITES));
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
    EQUAL(wrong_at(a, 2, &small), 0);
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
    OK(fill(a, &small, 0, WRITES));
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
        OK(fill(a, &small, 0, WRITES));
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
            !EQUAL(wrong_at(a, 2, &small), 0))
            printf("# after %u operations: %s\n", steps, victim->last_failure);
        asking_free(a);
    }
}

TESTS(TAP(a_damaged_node_of_three_loses_nothing_and_is_a_voter_again_by_itself),
      TAP(what_only_a_damaged_node_and_one_that_is_down_had_is_neither_lost_nor_answered_wrongly),
      TAP(rejected_writes_outlast_damage_to_any_other_file_and_what_is_lost_of_them_is_told),
      TAP(a_damaged_sole_node_refuses_or_holds_everything),
      TAP(damage_to_segments_of_the_real_size_loses_nothing),
      TAP(a_damaged_node_founds_no_group_although_it_has_the_flag_and_nobody_is_there),
      TAP(a_sole_node_of_which_only_the_identity_is_left_refuses_and_founds_nothing),
      TAP(a_crash_at_any_step_of_setting_aside_goes_on_with_it))
