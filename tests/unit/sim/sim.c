/* Whole nodes in the simulator: scenarios with an expected trace, and some seeds of every mode.
 *
 * SIM_SEEDS is the number of seeds of each mode, SIM_SEED the first. UPDATE_SCENARIOS writes the traces anew.
 */
#include "tests/tap.h"

#include <dirent.h>
#include <err.h>

#include "tests/sim/chaos.h"
#include "tests/sim/script.h"

#define SEEDS_DEFAULT 40

static const char folder[] = "tests/scenarios/node";

static unsigned setting(const char *name, unsigned otherwise) {
    const char *text = getenv(name);
    return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

static void seeds(struct tap *tap, enum ack_mode ack) {
    unsigned first = setting("SIM_SEED", 1), count = setting("SIM_SEEDS", SEEDS_DEFAULT);
    for (unsigned seed = first; seed < first + count; seed++) {
        struct chaos_options options = {.seed = seed, .ack = ack};
        struct chaos_result result;
        chaos_run(&options, &result);
        if (!OK(result.passed))
            printf("# kvsim --seed %u --ack %s --trace: %s\n", seed, ack == ACK_ASYNC ? "async" : "quorum",
                   result.violation);
    }
}

TEST(under_faults_async_groups_lose_no_answered_write_without_a_row_in_a_ledger) {
    seeds(tap, ACK_ASYNC);
}

TEST(under_faults_quorum_groups_lose_no_answered_write_and_are_linearizable) {
    seeds(tap, ACK_QUORUM);
}

TEST(the_same_seed_gives_the_same_run) {
    struct chaos_options options = {.seed = 7, .ack = ACK_ASYNC, .machines = 3};
    struct chaos_result first, second, other;
    chaos_run(&options, &first);
    chaos_run(&options, &second);
    options.seed = 8;
    chaos_run(&options, &other);
    EQUAL(second.hash, first.hash);
    EQUAL(second.events, first.events);
    OK(other.hash != first.hash);
}

static char *content_of(const char *path) {
    char *text = NULL;
    size_t capacity = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL || getdelim(&text, &capacity, '\0', file) < 0)
        err(1, "%s", path);
    fclose(file);
    return text;
}

static void scenario(struct tap *tap, const char *path) {
    char *expected = content_of(path), *got = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "r"), *out = open_memstream(&got, &size);
    if (in == NULL || out == NULL)
        err(1, "%s", path);
    OK(script_run(in, out));
    fclose(in);
    fclose(out);
    if (getenv("UPDATE_SCENARIOS") != NULL) {
        FILE *file = fopen(path, "w");
        if (file == NULL || fputs(got, file) < 0)
            err(1, "%s", path);
        fclose(file);
    } else if (!OK(strcmp(got, expected) == 0)) {
        printf("# %s gives now:\n", path);
        for (char *rest = got, *line; (line = strsep(&rest, "\n")) != NULL;)
            printf("#   %s\n", line);
    }
    free(expected);
    free(got);
}

TEST(each_scenario_gives_the_trace_in_its_file) {
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    REQUIRE(count > 2);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (strstr(entries[i]->d_name, ".txt") != NULL)
            scenario(tap, path);
        free(entries[i]);
    }
    free(entries);
}

TESTS(TAP(each_scenario_gives_the_trace_in_its_file), TAP(the_same_seed_gives_the_same_run),
      TAP(under_faults_async_groups_lose_no_answered_write_without_a_row_in_a_ledger),
      TAP(under_faults_quorum_groups_lose_no_answered_write_and_are_linearizable))
