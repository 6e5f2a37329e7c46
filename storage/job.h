/* Blocking work done beside the loop: an fsync, a snapshot's rename.
 *
 * Whoever creates a job owns it until it hands it to its host's `background`. The host calls run in a helper
 * thread (the simulator: after a simulated delay), then done on the loop. run touches only what the job
 * holds; jobs of one lane run one after the other, in the order given. A crash may come before, within or
 * after run. A brief job may also run on the loop, behind everything that its turn sends. */
#ifndef STORAGE_JOB_H
#define STORAGE_JOB_H

#include <stdbool.h>

enum job_lane { JOB_LOG, JOB_BULK, JOB_LANES };

struct job {
    enum job_lane lane;
    bool brief; /* one sync of little in one file: takes about as long as the last one took */
    void (*run)(struct job *job);
    void (*done)(struct job *job);
    struct job *next; /* the host's */
};

#endif
