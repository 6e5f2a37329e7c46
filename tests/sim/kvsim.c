/* kvsim: seeds of the simulator. A failing seed prints itself and what was violated, and gives the same run
 * again. */
#include <bsd/stdlib.h>
#include <err.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/corpus.h"
#include "tests/sim/window.h"

struct totals {
    uint64_t seeds, failed, twice, events;
    uint64_t cuts, answered, lost, oldest_lost_us, diverged; /* with --fsync */
    unsigned faults[FAULTS];
    struct tally tally;
};

static void usage(void) {
    fputs("usage: kvsim [--seed S] [--seeds N] [--nodes N] [--ack async|quorum|all] [--ms N] [--fsync MS] "
          "[--trace] [--history FILE] [--with damage|leave|stuck-disk] [--quiet]\n"
          "       kvsim --corpus FILE\n",
          stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t max) {
    const char *error;
    long long value = strtonum(text, 0, (long long)max, &error);
    if (error != NULL)
        errx(2, "%s: %s", text, error);
    return (uint64_t)value;
}

static enum ack_mode ack_mode(const char *text) {
    static const char *const names[] = {[ACK_ASYNC] = "async", [ACK_QUORUM] = "quorum", [ACK_ALL] = "all"};
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum ack_mode)i;
    errx(2, "--ack is async, quorum or all");
}

static unsigned with(const char *text) {
    static const char *const names[] = {"damage", "leave", "stuck-disk"}; /* as enum sim_with */
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0)
            return 1u << i;
    errx(2, "--with is damage, leave or stuck-disk");
}

static void add(struct totals *t, const struct chaos_result *r) {
    tally_add(&t->tally, &r->tally);
    for (int i = 0; i < FAULTS; i++)
        t->faults[i] += r->faults[i];
    t->events += r->events;
    t->failed += !r->passed;
    t->seeds++;
}

static void print_totals(const struct totals *t) {
    printf("%llu seeds, %llu failed, %llu run twice; %llu events\n", (unsigned long long)t->seeds,
           (unsigned long long)t->failed, (unsigned long long)t->twice, (unsigned long long)t->events);
    for (unsigned i = 0; i < SITUATION_COUNT; i++)
        printf("%s%s %llu", i == 0 ? "met: " : ", ", situation_text((enum situation)i),
               (unsigned long long)t->tally.counts[i]);
    printf("\n");
    if (t->cuts > 0)
        printf("%llu power cuts: %llu writes answered, %llu lost, the oldest %.1f ms before its cut; %llu "
               "nodes emptied\n",
               (unsigned long long)t->cuts, (unsigned long long)t->answered, (unsigned long long)t->lost,
               (double)t->oldest_lost_us / 1000, (unsigned long long)t->diverged);
    printf("faults:");
    for (int i = 0; i < FAULTS; i++)
        printf(" %s %u", chaos_fault_text((enum fault)i), t->faults[i]);
    printf("\n");
}

/* The same seed's power cuts. */
static void run_window(struct totals *totals, const struct chaos_options *options,
                       struct chaos_result *result) {
    struct window_result window;
    window_run(&(struct window_options){.seed = options->seed,
                                        .machines = options->machines,
                                        .ack = options->ack,
                                        .interval_ms = options->sync_interval_ms,
                                        .trace = options->trace},
               &window);
    totals->cuts += window.cuts;
    totals->answered += window.answered;
    totals->lost += window.lost;
    totals->diverged += window.diverged;
    if (window.oldest_lost_us > totals->oldest_lost_us)
        totals->oldest_lost_us = window.oldest_lost_us;
    if (window.passed)
        return;
    result->passed = false;
    result->machines = window.machines;
    memcpy(result->violation, window.violation, sizeof result->violation);
}

static void run_seed(struct totals *totals, const struct chaos_options *options) {
    struct chaos_result result, again;
    chaos_run(options, &result);
    if (options->seed % 100 == 0 && result.passed) {
        struct chaos_options quiet = *options;
        quiet.trace = quiet.history = NULL;
        chaos_run(&quiet, &again);
        totals->twice++;
        if (again.hash != result.hash) {
            result.passed = false;
            snprintf(result.violation, sizeof result.violation,
                     "two runs of the seed differ: %016llx, %016llx", (unsigned long long)result.hash,
                     (unsigned long long)again.hash);
        }
    }
    if (options->sync_interval_ms > 0 && result.passed)
        run_window(totals, options, &result);
    add(totals, &result);
    if (!result.passed)
        printf("seed %llu (%u nodes): %s\n", (unsigned long long)options->seed, result.machines,
               result.violation);
    fflush(stdout);
}

static void run_corpus(struct totals *totals, const char *path) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    if (file == NULL)
        err(2, "%s", path);
    for (unsigned at = 1; getline(&line, &size, file) >= 0; at++) {
        struct chaos_options options;
        enum corpus_line kind = corpus_parse(line, &options);
        if (kind == CORPUS_BAD)
            errx(2, "%s:%u: no seed with flags", path, at);
        if (kind == CORPUS_SEED)
            run_seed(totals, &options);
    }
    free(line);
    fclose(file);
}

int main(int argc, char *argv[]) {
    static const struct option flags[] = {
        {"history", required_argument, NULL, 'h'}, {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'n'},   {"nodes", required_argument, NULL, 'm'},
        {"ack", required_argument, NULL, 'a'},     {"ms", required_argument, NULL, 'd'},
        {"trace", no_argument, NULL, 't'},         {"quiet", no_argument, NULL, 'q'},
        {"fsync", required_argument, NULL, 'f'},   {"corpus", required_argument, NULL, 'c'},
        {"with", required_argument, NULL, 'w'},    {0},
    };
    struct chaos_options options = {.seed = 1, .ack = ACK_ASYNC};
    struct totals totals = {0};
    uint64_t seeds = 1;
    const char *corpus = NULL;
    bool quiet = false;
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (flag) {
        case 's':
            options.seed = number(optarg, INT64_MAX);
            break;
        case 'n':
            seeds = number(optarg, INT64_MAX);
            break;
        case 'm':
            options.machines = (unsigned)number(optarg, MACHINES_MAX);
            break;
        case 'a':
            options.ack = ack_mode(optarg);
            break;
        case 'd':
            options.duration_ms = number(optarg, 1000000);
            break;
        case 'f':
            options.sync_interval_ms = (uint32_t)number(optarg, 60000);
            break;
        case 't':
            options.trace = stdout;
            break;
        case 'h':
            if ((options.history = fopen(optarg, "w")) == NULL)
                err(2, "%s", optarg);
            break;
        case 'w':
            options.with |= with(optarg);
            break;
        case 'c':
            corpus = optarg;
            break;
        case 'q':
            quiet = true;
            break;
        default:
            usage();
        }
    }
    if (corpus != NULL)
        run_corpus(&totals, corpus);
    for (uint64_t end = options.seed + seeds; corpus == NULL && options.seed < end; options.seed++)
        run_seed(&totals, &options);
    if (!quiet)
        print_totals(&totals);
    return totals.failed > 0;
}
