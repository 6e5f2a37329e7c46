/* Damage to files at rest, one place after the other: each is tried in a process of its own, forked from one
 * that has the cluster's history behind it. */
#ifndef TESTS_UNIT_SIM_DAMAGE_H
#define TESTS_UNIT_SIM_DAMAGE_H

#include <malloc.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storage/crc32c.h"
#include "storage/directory.h"
#include "tests/unit/sim/asking.h"

#define FILES_MAX      40
#define TRIALS_MAX     16 /* at a time */
#define FAILURES_MAX   20 /* behind them nothing more is tried */
#define TRIAL_MAX_S    300
#define PROGRESS_EVERY 10000

struct place {
    char name[FILE_NAME_MAX];
    uint64_t offset;
    enum how { REMOVED, CUT, PAGE_ZEROED, SECTOR_ZEROED, UNREADABLE, FLIPPED, HOWS } how;
};

enum ending {
    WHOLE,     /* it starts from its files, and what was damaged means nothing */
    REPAIRED,  /* the same, and the start wrote it again */
    TOLD,      /* the same, without rejected writes, which its log tells */
    SET_ASIDE, /* it joined its group anew */
    REFUSED,   /* it does not start, and names the file */
    ENDINGS,
};

#define ENDING_EXIT 10 /* status of a trial that passed: this and the ending */

struct files {
    char names[FILES_MAX][FILE_NAME_MAX];
    uint64_t sizes[FILES_MAX];
    size_t count;
    const struct sim_disk *disk;
};

struct trials {
    enum ending (*run)(struct tap *tap, struct asking *a, const struct place *place);
    struct asking *a;
    struct {
        pid_t pid; /* 0: none */
        struct place place;
    } under_way[TRIALS_MAX];
    unsigned jobs, failures;
    unsigned counts[ENDINGS];
    uint64_t begun, all;
    time_t since;
};

/* Before the history: large zeros then cost a trial no page that it does not use. */
static inline void trials_cheap(void) {
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

static inline struct file_system *disk_of(const struct asking *a, unsigned machine) {
    return sim_disk_file_system(a->sim->machines[machine]->disk);
}

static inline size_t place_size(const struct place *place) {
    return place->how == PAGE_ZEROED                                 ? 4096
           : place->how == SECTOR_ZEROED || place->how == UNREADABLE ? 512
                                                                     : 1;
}

static inline void damage(struct asking *a, unsigned machine, const struct place *place) {
    static const uint8_t zeros[4096];
    struct file_system *fs = disk_of(a, machine);
    struct file *file;
    uint64_t size;
    uint8_t byte = 0;
    size_t got;
    if (place->how == REMOVED) {
        file_system_remove(fs, place->name);
        file_system_sync(fs);
        return;
    }
    if (place->how == UNREADABLE) {
        sim_disk_damage(a->sim->machines[machine]->disk, DAMAGE_UNREADABLE, place->name, place->offset, NULL);
        return;
    }
    if (file_open(fs, place->name, false, &file) != FILE_OK)
        abort();
    file_size(file, &size);
    uint64_t left = size - place->offset;
    if (place->how == CUT) {
        file_truncate(file, place->offset);
    } else if (place->how == FLIPPED) {
        file_read(file, place->offset, &byte, 1, &got);
        byte ^= 0x10;
        file_write(file, place->offset, (struct bytes){&byte, 1});
    } else {
        size_t most = place_size(place);
        file_write(file, place->offset, (struct bytes){zeros, left < most ? (size_t)left : most});
    }
    file_sync(file);
    file_close(file);
}

/* Of what is there; another one after the start: it was written again. */
static inline uint64_t place_sum(const struct asking *a, unsigned machine, const struct place *place) {
    uint8_t data[4096];
    const struct sim_disk *disk = a->sim->machines[machine]->disk;
    size_t got = sim_disk_peek(disk, place->name, place->offset, data, place_size(place));
    return sim_disk_size(disk, place->name) << 32 | crc32c(0, (struct bytes){data, got});
}

static inline const char *how_text(enum how how) {
    static const char *const texts[] = {"removed",       "cut",        "page zeroed",
                                        "sector zeroed", "unreadable", "flipped"};
    return texts[how];
}

static inline void trial_failed(struct trials *t, const struct place *place, int status) {
    printf("# %s, %s at %llu: status %x\n", place->name, how_text(place->how),
           (unsigned long long)place->offset, (unsigned)status);
    t->failures++;
}

static inline void trial_wait(struct trials *t) {
    int status;
    pid_t pid = wait(&status);
    if (pid < 0)
        abort();
    for (unsigned i = 0; i < t->jobs; i++) {
        if (t->under_way[i].pid != pid)
            continue;
        int ending = WIFEXITED(status) ? WEXITSTATUS(status) - ENDING_EXIT : -1;
        t->under_way[i].pid = 0;
        if (ending >= 0 && ending < ENDINGS)
            t->counts[ending]++;
        else
            trial_failed(t, &t->under_way[i].place, status);
    }
}

static inline unsigned trials_under_way(const struct trials *t) {
    unsigned count = 0;
    for (unsigned i = 0; i < t->jobs; i++)
        count += t->under_way[i].pid != 0;
    return count;
}

static inline void trial_begin(struct trials *t, const struct place *place) {
    unsigned slot = 0;
    if (trials_under_way(t) == t->jobs)
        trial_wait(t);
    while (t->under_way[slot].pid != 0)
        slot++;
    if (++t->begun % PROGRESS_EVERY == 0)
        printf("# %llu of %llu places, %lld s\n", (unsigned long long)t->begun, (unsigned long long)t->all,
               (long long)(time(NULL) - t->since));
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        struct tap own = {0};
        alarm(TRIAL_MAX_S);
        int ending = (int)t->run(&own, t->a, place);
        if (own.failed > 0)
            printf("# %s\n", t->a->sim->violation);
        fflush(stdout);
        _exit(own.failed > 0 ? 1 : ENDING_EXIT + ending);
    }
    t->under_way[slot].pid = pid;
    t->under_way[slot].place = *place;
}

static inline void files_add(void *arg, const char *name) {
    struct files *files = arg;
    uint64_t number;
    if (directory_number(name, DIRECTORY_SPARE, &number) || files->count == FILES_MAX)
        return;
    snprintf(files->names[files->count], FILE_NAME_MAX, "%s", name);
    files->sizes[files->count++] = sim_disk_size(files->disk, name);
}

static inline uint64_t number_from(const char *name, uint64_t otherwise) {
    const char *value = getenv(name);
    return value != NULL && strtoull(value, NULL, 10) > 0 ? strtoull(value, NULL, 10) : otherwise;
}

/* Pages and sectors each once, or fewer. */
static inline uint64_t step_for(enum how how, uint64_t step) {
    uint64_t least = place_size(&(struct place){.how = how});
    return step < least ? least : (step + least - 1) / least * least;
}

static inline uint64_t places_in(const struct files *files, uint64_t step) {
    uint64_t count = files->count;
    for (size_t i = 0; i < files->count; i++)
        for (enum how how = CUT; how < HOWS; how++)
            count += (files->sizes[i] + step_for(how, step) - 1) / step_for(how, step);
    return count;
}

static inline void trials_file(struct trials *t, const struct files *files, size_t i, uint64_t step) {
    struct place place = {.how = REMOVED};
    snprintf(place.name, sizeof place.name, "%s", files->names[i]);
    trial_begin(t, &place);
    for (place.how = CUT; place.how < HOWS; place.how++)
        for (place.offset = 0; place.offset < files->sizes[i]; place.offset += step_for(place.how, step))
            if (t->failures < FAILURES_MAX)
                trial_begin(t, &place);
}

/* Each file of the machine gone, cut, with a page or a sector of zeros, with a byte flipped: at every step-th
 * byte. `only`: this file alone; NULL: all. */
static inline struct trials
each_place(struct tap *tap, struct asking *a, unsigned machine, const char *only, uint64_t step,
           enum ending (*run)(struct tap *tap, struct asking *a, const struct place *place)) {
    struct trials t = {.run = run, .a = a, .since = time(NULL)};
    struct files files = {.disk = a->sim->machines[machine]->disk};
    t.jobs = (unsigned)number_from("DAMAGE_JOBS", 1);
    t.jobs = t.jobs > TRIALS_MAX ? TRIALS_MAX : t.jobs;
    if (only != NULL)
        files_add(&files, only);
    else
        sim_disk_names(files.disk, files_add, &files);
    t.all = places_in(&files, step);
    for (size_t i = 0; i < files.count && t.failures < FAILURES_MAX; i++)
        trials_file(&t, &files, i, step);
    while (trials_under_way(&t) > 0)
        trial_wait(&t);
    EQUAL(t.failures, 0);
    printf("# %zu files (%llu at every byte), %llu places, %lld s: %u whole, %u repaired, %u told, %u set "
           "aside, %u refused, "
           "%u failed\n",
           files.count, (unsigned long long)places_in(&files, 1), (unsigned long long)t.begun,
           (long long)(time(NULL) - t.since), t.counts[WHOLE], t.counts[REPAIRED], t.counts[TOLD],
           t.counts[SET_ASIDE], t.counts[REFUSED], t.failures);
    return t;
}

#endif
