/* kvsim: seeds of the simulator; kvsim-tiny: the same with tiny bounds (tiny.h). A failing seed prints
 * itself, what was violated and the command that gives the same run again. */
#include <bsd/stdlib.h>
#include <err.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/corpus.h"
#include "tests/sim/floors.h"
#include "tests/sim/window.h"

#define PROGRAM (BOUNDS_TINY ? "kvsim-tiny" : "kvsim")

struct totals {
    uint64_t seeds, failed, twice, events;
    uint64_t cuts, answered, lost, oldest_lost_us, diverged; /* with --fsync */
    unsigned faults[FAULTS];
    struct tally tally;
};

static void usage(void) {
    fputs("usage: kvsim [--seed S] [--seeds N] [--nodes N] [--ack async|quorum|all] [--ms N] [--fsync MS] "
          "[--trace] [--history FILE] [--with leave|stuck-disk|lie|flip|hostile] [--quiet]\n"
          "       kvsim --mixed [--seed S] [--seeds N | --minutes N] [--floors]\n"
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
    enum ack_mode mode;
    if (!corpus_ack(text, &mode))
        errx(2, "--ack is async, quorum or all");
    return mode;
}

static unsigned with(const char *text) {
    for (unsigned i = 0; corpus_with_text(i) != NULL; i++)
        if (strcmp(text, corpus_with_text(i)) == 0)
            return 1u << i;
    errx(2, "--with is leave, stuck-disk, lie, flip or hostile");
}

/* --mixed: the mode of a seed by its number. */
static void mix(struct chaos_options *options) {
    options->ack = (enum ack_mode)(options->seed % 3);
    if (BOUNDS_TINY && options->seed % 6 >= 4) /* only async groups have ledgers */
        options->ack = ACK_ASYNC;
    options->sync_interval_ms = options->seed % 8 == 7 ? 100 : 0;
    /* Not in async groups: a leader that is heard by no majority gives its state on before it is compared. */
    bool flips = options->seed % 5 == 1 && options->ack != ACK_ASYNC;
    options->with = (flips ? WITH_FLIP : 0) | (options->seed % 5 == 2 ? WITH_HOSTILE : 0);
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

static void print_failure(const struct chaos_options *options, const struct chaos_result *result) {
    printf("seed %llu (%u nodes): %s\n    %s --seed %llu --ack %s", (unsigned long long)options->seed,
           result->machines, result->violation, PROGRAM, (unsigned long long)options->seed,
           corpus_ack_text(options->ack));
    if (options->machines > 0)
        printf(" --nodes %u", options->machines);
    if (options->duration_ms > 0)
        printf(" --ms %llu", (unsigned long long)options->duration_ms);
    if (options->sync_interval_ms > 0)
        printf(" --fsync %u", options->sync_interval_ms);
    for (unsigned i = 0; corpus_with_text(i) != NULL; i++)
        if (options->with >> i & 1)
            printf(" --with %s", corpus_with_text(i));
    printf("\n");
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
    /* A power cut of all takes back more than a tiny ledger can hold. */
    if (options->sync_interval_ms > 0 && result.passed && !BOUNDS_TINY)
        run_window(totals, options, &result);
    add(totals, &result);
    if (!result.passed)
        print_failure(options, &result);
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

struct batch {
    struct chaos_options options; /* of the first seed */
    uint64_t seeds, minutes;      /* minutes 0: that many seeds */
    bool mixed, floors, quiet;
    const char *corpus; /* NULL: none */
};

static void run_seeds(struct totals *totals, const struct batch *batch) {
    struct chaos_options options = batch->options;
    time_t end = time(NULL) + (time_t)batch->minutes * 60;
    for (uint64_t i = 0; batch->minutes > 0 ? time(NULL) < end : i < batch->seeds; i++, options.seed++) {
        if (batch->mixed)
            mix(&options);
        run_seed(totals, &options);
    }
}

static void parse(struct batch *batch, int argc, char *argv[]) {
    static const struct option flags[] = {
        {"history", required_argument, NULL, 'h'},
        {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'n'},
        {"nodes", required_argument, NULL, 'm'},
        {"ack", required_argument, NULL, 'a'},
        {"ms", required_argument, NULL, 'd'},
        {"trace", no_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},
        {"fsync", required_argument, NULL, 'f'},
        {"corpus", required_argument, NULL, 'c'},
        {"with", required_argument, NULL, 'w'},
        {"mixed", no_argument, NULL, 'x'},
        {"minutes", required_argument, NULL, 'M'},
        {"floors", no_argument, NULL, 'F'},
        {0},
    };
    struct chaos_options *options = &batch->options;
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (flag) {
        case 's':
            options->seed = number(optarg, INT64_MAX);
            break;
        case 'n':
            batch->seeds = number(optarg, INT64_MAX);
            break;
        case 'm':
            options->machines = (unsigned)number(optarg, MACHINES_MAX);
            break;
        case 'a':
            options->ack = ack_mode(optarg);
            break;
        case 'd':
            options->duration_ms = number(optarg, 1000000);
            break;
        case 'f':
            options->sync_interval_ms = (uint32_t)number(optarg, 60000);
            break;
        case 't':
            options->trace = stdout;
            break;
        case 'h':
            if ((options->history = fopen(optarg, "w")) == NULL)
                err(2, "%s", optarg);
            break;
        case 'w':
            options->with |= with(optarg);
            break;
        case 'c':
            batch->corpus = optarg;
            break;
        case 'q':
            batch->quiet = true;
            break;
        case 'x':
            batch->mixed = true;
            break;
        case 'M':
            batch->minutes = number(optarg, 100000);
            break;
        case 'F':
            batch->floors = true;
            break;
        default:
            usage();
        }
    }
}

int main(int argc, char *argv[]) {
    struct batch batch = {.options = {.seed = 1, .ack = ACK_ASYNC}, .seeds = 1};
    struct totals totals = {0};
    parse(&batch, argc, argv);
    if (batch.corpus != NULL)
        run_corpus(&totals, batch.corpus);
    else
        run_seeds(&totals, &batch);
    if (!batch.quiet)
        print_totals(&totals);
    unsigned missed = batch.floors ? floors_missed(&totals.tally, totals.faults, totals.seeds, stdout) : 0;
    return totals.failed > 0 || missed > 0;
}
