/* The seeds of tests/sim/corpus. */
#include "tests/tap.h"

#include <err.h>
#include <stdlib.h>

#include "tests/sim/corpus.h"
#include "tests/sim/window.h"

TEST(seeds_that_once_failed_pass) {
    FILE *file = fopen("tests/sim/corpus/seeds", "r");
    char *line = NULL;
    size_t size = 0, seeds = 0;
    if (file == NULL)
        err(1, "tests/sim/corpus/seeds");
    while (getline(&line, &size, file) >= 0) {
        struct chaos_options options;
        struct chaos_result result;
        enum corpus_line kind = corpus_parse(line, &options);
        OK(kind != CORPUS_BAD);
        if (kind != CORPUS_SEED)
            continue;
        chaos_run(&options, &result);
        if (!OK(result.passed))
            printf("# seed %llu: %s\n", (unsigned long long)options.seed, result.violation);
        if (result.passed && options.sync_interval_ms > 0) {
            struct window_result window;
            window_run(&(struct window_options){.seed = options.seed,
                                                .machines = options.machines,
                                                .ack = options.ack,
                                                .interval_ms = options.sync_interval_ms},
                       &window);
            if (!OK(window.passed))
                printf("# seed %llu: %s\n", (unsigned long long)options.seed, window.violation);
        }
        seeds++;
    }
    OK(seeds >= 5);
    free(line);
    fclose(file);
}

TEST(a_line_that_is_none_is_told_apart) {
    static const char *const bad[] = {"x",          "1 --ack", "1 --ack some", "1 --nodes 99",
                                      "1 --what 2", "1 --with"};
    struct chaos_options options;
    char line[64];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(line, sizeof line, "%s", bad[i]);
        EQUAL(corpus_parse(line, &options), CORPUS_BAD);
    }
    snprintf(line, sizeof line, "  # nothing\n");
    EQUAL(corpus_parse(line, &options), CORPUS_BLANK);
    snprintf(line, sizeof line, "12 --ack all --nodes 3 --fsync 50 --with leave # why\n");
    EQUAL(corpus_parse(line, &options), CORPUS_SEED);
    OK(options.seed == 12 && options.ack == ACK_ALL && options.machines == 3 &&
       options.sync_interval_ms == 50 && options.with == WITH_LEAVE);
}

TESTS(TAP(seeds_that_once_failed_pass), TAP(a_line_that_is_none_is_told_apart))
