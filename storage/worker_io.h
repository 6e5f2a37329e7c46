/* Helper threads for jobs (storage/job.h): one a lane, each a queue; what is done comes back on the loop. */
#ifndef STORAGE_WORKER_IO_H
#define STORAGE_WORKER_IO_H

#include "storage/histogram.h"
#include "storage/job.h"

struct event_base;
struct worker;

/* `finished` is called on the loop for each job whose run has returned; it calls the job's done. NULL where
 * no thread or descriptor can be had, with errno set. */
struct worker *worker_new(struct event_base *base, void (*finished)(void *arg, struct job *job), void *arg);
void worker_run(struct worker *worker, struct job *job);
/* How long the jobs of a lane took to run, in microseconds. */
void worker_times(struct worker *worker, enum job_lane lane, struct histogram *out);
/* Runs what is queued to its end, delivers it, and stops the threads. */
void worker_free(struct worker *worker);

#endif
